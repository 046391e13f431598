// Two processes that measure something together: this one and a child of it, with a piece of memory that both share.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>

namespace tutti_limits {

// Memory that a child made by fork shares. Pages of their own, zeroed; nullptr in data() if it could not be had.
class Shared {
 public:
  explicit Shared(std::size_t bytes);
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// A child process that runs `work` and ends; it is killed when this object goes, or when its parent ends.
class Child {
 public:
  explicit Child(const std::function<void()>& work);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool runs() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

// "Cannot allocate memory (12)": the words of errno.
std::string system_words(int error);

}  // namespace tutti_limits
