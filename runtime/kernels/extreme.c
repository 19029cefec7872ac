/* extreme.c: the largest and the smallest of a run. With AVX-512 by hand: one comparison of two vectors with each other finds NaN in either of them. */
#include "runtime/kernels/extreme.h"
#include "runtime/kernels/vmath.h"

KD_CLONES static float max_plain(const float *p, int64_t n) { return kd__max_of(p, n); }
KD_CLONES static float min_plain(const float *p, int64_t n) { return kd__min_of(p, n); }

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WIDE __attribute__((target("avx512f")))

#define RUN(name, take, none, across) \
  WIDE static inline float name(const float *p, int64_t n) { \
    __m512 a = _mm512_set1_ps(none), b = a, c = a, d = a; \
    __mmask16 nan = 0; \
    int64_t i = 0; \
    for (; i + 64 <= n; i += 64) { \
      __m512 w = _mm512_loadu_ps(p + i), x = _mm512_loadu_ps(p + i + 16), y = _mm512_loadu_ps(p + i + 32), z = _mm512_loadu_ps(p + i + 48); \
      a = take(a, w), b = take(b, x), c = take(c, y), d = take(d, z); \
      nan |= _mm512_cmp_ps_mask(w, x, _CMP_UNORD_Q) | _mm512_cmp_ps_mask(y, z, _CMP_UNORD_Q); \
    } \
    for (; i < n; i += 16) { \
      __m512 w = _mm512_mask_loadu_ps(a, n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1), p + i); \
      a = take(a, w); \
      nan |= _mm512_cmp_ps_mask(w, w, _CMP_UNORD_Q); \
    } \
    return nan ? KD__NAN : across(take(take(a, b), take(c, d))); \
  }
RUN(max_wide, _mm512_max_ps, -KD__INF, _mm512_reduce_max_ps)
RUN(min_wide, _mm512_min_ps, KD__INF, _mm512_reduce_min_ps)

static bool wide(void) { return __builtin_cpu_supports("avx512f"); }
float kd__max_run(const float *p, int64_t n) { return wide() ? max_wide(p, n) : max_plain(p, n); }
float kd__min_run(const float *p, int64_t n) { return wide() ? min_wide(p, n) : min_plain(p, n); }
#else
float kd__max_run(const float *p, int64_t n) { return max_plain(p, n); }
float kd__min_run(const float *p, int64_t n) { return min_plain(p, n); }
#endif
