// The two float operators, shared by float32/float64 and by the low-precision types; compiled once per instruction
// set.
#if defined(TUTTI_SRC_MEMORY_ARITHMETIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_SRC_MEMORY_ARITHMETIC_INL_H_
#undef TUTTI_SRC_MEMORY_ARITHMETIC_INL_H_
#else
#define TUTTI_SRC_MEMORY_ARITHMETIC_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

struct Add {
  template <class V>
  static HWY_INLINE V apply(V a, V b) {
    return hn::Add(a, b);
  }
};

struct Multiply {
  template <class V>
  static HWY_INLINE V apply(V a, V b) {
    return hn::Mul(a, b);
  }
};

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tutti
HWY_AFTER_NAMESPACE();

#endif  // include guard per instruction set
