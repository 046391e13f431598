// Whether a test runs under a sanitizer, where everything takes ten times as long: exhaustive tests then take a part
// of their cases, as the others are tried in the release build.
#pragma once

namespace tutti {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;
#else
constexpr bool kIsSanitized = false;
#endif

}  // namespace tutti
