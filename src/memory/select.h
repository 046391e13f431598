// TUTTI_SELECT_KERNEL(set, function, arguments...): calls tutti::N_<target>::function for the InstructionSet `set`.
// To be used where HWY_ONCE holds. A set that is not compiled in gets the baseline (see `supported`), and that is
// null where it has no vectors.
#pragma once

#if (HWY_TARGETS & HWY_SSE4) && (HWY_STATIC_TARGET != HWY_SSE4)
#define TUTTI_SELECT_SSE4(function, ...) \
  case InstructionSet::sse4:             \
    return N_SSE4::function(__VA_ARGS__);
#else
#define TUTTI_SELECT_SSE4(function, ...)
#endif

#if (HWY_TARGETS & HWY_AVX2) && (HWY_STATIC_TARGET != HWY_AVX2)
#define TUTTI_SELECT_AVX2(function, ...) \
  case InstructionSet::avx2:             \
    return N_AVX2::function(__VA_ARGS__);
#else
#define TUTTI_SELECT_AVX2(function, ...)
#endif

#if (HWY_TARGETS & HWY_AVX3) && (HWY_STATIC_TARGET != HWY_AVX3)
#define TUTTI_SELECT_AVX512(function, ...) \
  case InstructionSet::avx512:             \
    return N_AVX3::function(__VA_ARGS__);
#else
#define TUTTI_SELECT_AVX512(function, ...)
#endif

#if TUTTI_VECTOR_BASELINE
#define TUTTI_SELECT_BASELINE(function, ...) HWY_STATIC_DISPATCH(function)(__VA_ARGS__)
#else
#define TUTTI_SELECT_BASELINE(function, ...) nullptr
#endif

#define TUTTI_SELECT_KERNEL(set, function, ...)            \
  switch (set) {                                           \
    TUTTI_SELECT_SSE4(function, __VA_ARGS__)               \
    TUTTI_SELECT_AVX2(function, __VA_ARGS__)               \
    TUTTI_SELECT_AVX512(function, __VA_ARGS__)             \
    default:                                               \
      return TUTTI_SELECT_BASELINE(function, __VA_ARGS__); \
  }
