// Ctrl-C while a thread waits in C++.
#pragma once

namespace tutti::pytorch {

// On the program's main thread: lets Python handle the signals that have come, and throws what their handlers raise.
void check_interrupt();

}  // namespace tutti::pytorch
