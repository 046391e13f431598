// Configures Highway for this folder: included before any of its headers, everywhere, so that all files agree on the
// targets. Only Highway's headers are used; its run-time part (target detection, abort) is not linked. Each target
// costs about a hundred kilobytes, so only those that make a difference here are compiled; scalable vectors (SVE,
// RVV) are left out because the kernels keep vectors in structs, which those types do not allow.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SCALAR | HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
// Plain code for processors without any of the others. Highway avoids it with GCC before 12.3 because of a
// miscompiled MulHigh (GCC bug 106322), an operation that is not used here.
#define HWY_BROKEN_EMU128 0
#define HWY_DISABLE_PCLMUL_AES  // not used, so SSE4 need not imply it
#define HWY_IS_DEBUG_BUILD 0    // its assertions would need its run-time part
