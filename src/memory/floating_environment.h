// Gives the enclosed code IEEE 754's default arithmetic: round to nearest even, subnormals kept, exceptions masked. A
// reduction runs on whatever thread calls it, and applications change these (fast-math libraries set flush-to-zero),
// which would let two ranks get different bits. Costs two or three nanoseconds where nothing has to be changed.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tutti {

class DefaultFloatingEnvironment {
 public:
  DefaultFloatingEnvironment() : saved_(read()) {
    if ((saved_ & kControlBits) != kDefault) write((saved_ & ~kControlBits) | kDefault);
  }
  ~DefaultFloatingEnvironment() {
    if ((saved_ & kControlBits) != kDefault) write(saved_);
  }
  DefaultFloatingEnvironment(const DefaultFloatingEnvironment&) = delete;
  DefaultFloatingEnvironment& operator=(const DefaultFloatingEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  using Register = std::uint32_t;
  static constexpr Register kControlBits = 0xffc0;  // flush to zero, rounding, masks, denormals are zero
  static constexpr Register kDefault = 0x1f80;
  static Register read() { return _mm_getcsr(); }
  static void write(Register value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = std::uint64_t;
  static constexpr Register kControlBits = 0x07ff9f07;  // alternative half, default NaN, flush, rounding, traps
  static constexpr Register kDefault = 0;
  static Register read() {
    Register value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void write(Register value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
  using Register = std::uint32_t;  // no control is known here: the caller's environment is used as it is
  static constexpr Register kControlBits = 0;
  static constexpr Register kDefault = 0;
  static Register read() { return 0; }
  static void write(Register) {}
#endif

  const Register saved_;
};

}  // namespace tutti
