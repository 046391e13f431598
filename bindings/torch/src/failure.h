// What has gone wrong with an operation of Tutti's, and how torch hears of it.
#pragma once

#include <tutti/tutti.h>

#include <exception>
#include <string>

namespace tutti::pytorch {

struct Failure {
  tutti_status status = TUTTI_OK;
  std::string text;
  int rank = -1;  // whose fault, as far as is known

  bool is_ok() const { return status == TUTTI_OK; }

  // What a call has just returned on this thread.
  static Failure of(tutti_status status);
};

// DistBackendError: the operation ("tutti:all_reduce"), the group, the rank, and Tutti's sentence. Says " Timed out "
// and "Connection closed by peer", by which programs and torchft tell gloo's errors apart.
std::exception_ptr exception_of(const Failure& failure, const std::string& what, const std::string& group);
[[noreturn]] void raise(const Failure& failure, const std::string& what, const std::string& group);

}  // namespace tutti::pytorch
