// Configures Highway for this folder: included before any of its headers, everywhere, so that all files agree on the
// targets. Only Highway's headers are used; its run-time part (target detection, abort) is not linked. Each target
// costs about a hundred kilobytes, so only those that make a difference here are compiled; scalable vectors (SVE,
// RVV) are left out because the kernels keep vectors in structs, which those types do not allow.
#pragma once

#ifdef TUTTI_FEW_VECTOR_TARGETS
// Instrumented, each target compiles for most of a minute, and all are made from the same lines.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#define HWY_DISABLE_PCLMUL_AES  // not used, so SSE4 need not imply it
#define HWY_IS_DEBUG_BUILD 0    // its assertions would need its run-time part

// Highway's emulation of vectors in plain code is not worth compiling: where there is nothing better, the scalar
// reference serves. To be used after an include of Highway, and evaluated once per target.
#define TUTTI_VECTOR_TARGET (HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR)
#define TUTTI_VECTOR_BASELINE (HWY_STATIC_TARGET != HWY_EMU128 && HWY_STATIC_TARGET != HWY_SCALAR)
