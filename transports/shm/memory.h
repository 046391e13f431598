// Owners of descriptors and mappings, and the ways in which this transport makes and accepts shared memory.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "src/base/status.h"

namespace tutti::shm {

// An open file descriptor, closed with the object.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  void reset();

 private:
  int number_ = -1;
};

// Mapped memory, unmapped with the object.
class Mapping {
 public:
  Mapping() = default;
  Mapping(std::byte* base, std::size_t bytes) : base_(base), bytes_(bytes) {}
  ~Mapping() { reset(); }
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      base_ = std::exchange(other.base_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  std::byte* base() const { return base_; }
  std::size_t bytes() const { return bytes_; }
  explicit operator bool() const { return base_ != nullptr; }
  void reset();

 private:
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

struct SharedMemory {
  Descriptor descriptor;
  Mapping mapping;
};

enum class Access { read, read_write };

// New sealed memory, mapped. The first `allocated_bytes` are there for certain; the rest comes as it is touched.
Result<SharedMemory> create_shared(const char* name, std::size_t bytes, std::size_t allocated_bytes);

// Maps memory that another process sent. Refuses a file that is shorter than `bytes`, or that could become so.
Result<Mapping> map_received(const Descriptor& descriptor, std::size_t bytes, Access access, std::string_view what);

}  // namespace tutti::shm
