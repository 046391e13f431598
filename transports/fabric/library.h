// A shared library that is there or not: loaded at run time, so that one build runs everywhere. Never unloaded, since
// such libraries leave threads and handlers behind.
//
// Some of them install handlers for signals when they are loaded, which print and end the process in their own way: a
// library must not, so those of the program are put back.
#pragma once

#include <span>
#include <string>

#include "src/base/status.h"

namespace tutti::fabric {

class Library {
 public:
  // The first of `names` that can be loaded; the error has the linker's words for the first.
  static Result<Library> load(std::span<const char* const> names);

  // False, and the name is in missing(), where the library has no such function.
  template <typename Function>
  bool find(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(address_of(name));
    return function != nullptr;
  }
  const std::string& missing() const { return missing_; }
  const std::string& name() const { return name_; }

 private:
  Library(void* handle, std::string name) : handle_(handle), name_(std::move(name)) {}
  void* address_of(const char* name);

  void* handle_;
  std::string name_;
  std::string missing_;
};

}  // namespace tutti::fabric
