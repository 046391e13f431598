// Workers: threads for what follows an operation's end and may wait for something itself: the callbacks of a Future
// start other collectives, or want Python's lock. Whatever is posted is begun at once: there is always one thread
// more than are busy, so nothing here waits for anything else here.
#pragma once

#include <functional>

namespace tutti::pytorch {

// Returns soon, from any thread, under any lock. Never called at the end of the process, or after it: what has not
// begun by then does not.
void post(std::function<void()> work);

}  // namespace tutti::pytorch
