/* simd.c: simd_body.h for each instruction set, and the choice. */
#include "runtime/kernels/simd.h"

/* Vectors pass between inlined functions only, so no calling convention is at stake. */
#pragma GCC diagnostic ignored "-Wpsabi"
#if defined(__clang__)
#if __has_feature(address_sanitizer)
#define UNROLLED                                 /* clang takes ten minutes and more to check every access of what is unrolled */
#else
#define UNROLLED _Pragma("clang loop unroll(full)")
#endif
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define KD__SIMD_ROWS 14
#define WIDTH_HERE 16
enum { WIDTH_avx512 = WIDTH_HERE, ROWS_avx512 = KD__SIMD_ROWS };
static const char label_avx512[] = "avx512";
#include "runtime/kernels/simd_body.h"
#undef NAME
#undef TARGET
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#undef KD__SIMD_ROWS
#define KD__SIMD_ROWS 6
#undef WIDTH_HERE
#define WIDTH_HERE 8
enum { WIDTH_avx2 = WIDTH_HERE, ROWS_avx2 = KD__SIMD_ROWS };
static const char label_avx2[] = "avx2";
#include "runtime/kernels/simd_body.h"
#undef NAME
#undef TARGET
#endif
#define NAME(x) x##_base
#define TARGET
#undef KD__SIMD_ROWS
#define KD__SIMD_ROWS 6
#undef WIDTH_HERE
#define WIDTH_HERE 4
enum { WIDTH_base = WIDTH_HERE, ROWS_base = KD__SIMD_ROWS };
static const char label_base[] = "base";
#include "runtime/kernels/simd_body.h"

const kd__simd *kd__simd_nth(int i) {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), wide = fma && __builtin_cpu_supports("avx512f") &&
       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (wide && i-- == 0) return &table_avx512;
  if (fma && i-- == 0) return &table_avx2;
#endif
  return i == 0 ? &table_base : NULL;
}
const kd__simd *kd__simd_best(void) { return kd__simd_nth(0); }
