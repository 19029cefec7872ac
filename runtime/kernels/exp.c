/* exp.c: powers of e of f32: of runs, and for groups of differences to one element a row or to another row (the softmax's numerators). Written by hand
 * for AVX-512, which scales by powers of two in one instruction: then it is the polynomial of kd__expf with half as many instructions around it. */
#include "runtime/kernels/exp.h"
#include "runtime/kernels/vmath.h"

KD_CLONES static void run_plain(int64_t n, void *o, const void *a, const void *b, const void *c) {
  float *to = o;
  const float *from = a;
  (void)b, (void)c;
  KD_IVDEP for (int64_t i = 0; i < n; i++) to[i] = kd__expf(from[i]);
}
KD_CLONES static void sub_one(int64_t n, float *o, const float *u, float v) {
  KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = kd__expf(u[i] - v);
}
KD_CLONES static void sub_row(int64_t n, float *o, const float *u, const float *v) {
  KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = kd__expf(u[i] - v[i]);
}
static void rows_plain(int64_t rows, int64_t n, char *const *p, const int64_t *s, bool one) {
  for (int64_t r = 0; r < rows; r++) {
    float *o = (void *)(p[0] + r * s[0]);
    const float *u = (const void *)(p[1] + r * s[1]), *v = (const void *)(p[2] + r * s[2]);
    if (one) sub_one(n, o, u, *v);
    else sub_row(n, o, u, v);
  }
}
static void sub_vs_plain(int64_t rows, int64_t n, char *const *p, const int64_t *s) { rows_plain(rows, n, p, s, true); }
static void sub_vv_plain(int64_t rows, int64_t n, char *const *p, const int64_t *s) { rows_plain(rows, n, p, s, false); }

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WIDE __attribute__((target("avx512f")))

/* e^x = 2^n e^r, |r| <= ln 2 / 2. Beyond the bounds the result is infinite or 0 whatever the operand; NaN passes both. */
WIDE static inline __m512 exp16(__m512 x) {
  static const float c[] = { 1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f };
  const __m512 magic = _mm512_set1_ps(KD__MAGIC);
  x = _mm512_max_ps(_mm512_set1_ps(-104.5f), _mm512_min_ps(_mm512_set1_ps(89.0f), x));
  __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504088896341f), magic), magic);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(KD__LN2_LO), _mm512_fnmadd_ps(n, _mm512_set1_ps(KD__LN2_HI), x));
  __m512 p = _mm512_set1_ps(c[0]);
  for (int i = 1; i < 6; i++) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c[i]));
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

/* o[i] = e^(u[i] - v[i]); v moves on with i, or stays, or is not there. */
#define RUN(x) \
  int64_t i = 0; \
  for (; i + 32 <= n; i += 32) { \
    const __mmask16 m = 0xffff; \
    __m512 y = exp16(x(i)), z = exp16(x(i + 16)); \
    _mm512_storeu_ps(o + i, y), _mm512_storeu_ps(o + i + 16, z); \
    (void)m; \
  } \
  for (; i < n; i += 16) { \
    const __mmask16 m = (__mmask16)(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1); \
    _mm512_mask_storeu_ps(o + i, m, exp16(x(i))); \
  }
#define ALONE(i) _mm512_maskz_loadu_ps(m, u + (i))
#define LESS_ONE(i) _mm512_sub_ps(_mm512_maskz_loadu_ps(m, u + (i)), one)
#define LESS_ROW(i) _mm512_sub_ps(_mm512_maskz_loadu_ps(m, u + (i)), _mm512_maskz_loadu_ps(m, v + (i)))

WIDE static void run_wide(int64_t n, void *to, const void *from, const void *b, const void *c) {
  float *o = to;
  const float *u = from;
  (void)b, (void)c;
  RUN(ALONE)
}
WIDE static void sub_vs_wide(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  for (int64_t r = 0; r < rows; r++) {
    float *o = (void *)(p[0] + r * s[0]);
    const float *u = (const void *)(p[1] + r * s[1]);
    const __m512 one = _mm512_set1_ps(*(const float *)(const void *)(p[2] + r * s[2]));
    RUN(LESS_ONE)
  }
}
WIDE static void sub_vv_wide(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  for (int64_t r = 0; r < rows; r++) {
    float *o = (void *)(p[0] + r * s[0]);
    const float *u = (const void *)(p[1] + r * s[1]), *v = (const void *)(p[2] + r * s[2]);
    RUN(LESS_ROW)
  }
}
static bool wide(void) { __builtin_cpu_init(); return __builtin_cpu_supports("avx512f"); }
kd__elem_fn kd__exp_run(void) { return wide() ? run_wide : run_plain; }
kd__prim kd__exp_sub(uint32_t repeated) {
  bool w = wide();
  return repeated == 0 ? (w ? sub_vv_wide : sub_vv_plain) : repeated == 2 ? (w ? sub_vs_wide : sub_vs_plain) : NULL;
}
#else
kd__elem_fn kd__exp_run(void) { return run_plain; }
kd__prim kd__exp_sub(uint32_t repeated) { return repeated == 0 ? sub_vv_plain : repeated == 2 ? sub_vs_plain : NULL; }
#endif
