/* exp.c: powers of e of f32: of runs, and for groups of differences to one element a row or to another row (the softmax's numerators). Written by hand
 * for AVX-512, which scales by powers of two and looks sixteen values up in one instruction each. */
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

/* e^x = 2^n e^r with n a multiple of 1/16 and |r| <= ln 2 / 32: a table has the sixteen powers 2^(j/16), so the polynomial is short; scaling rounds n
 * down. Beyond the bounds the result is infinite or 0 whatever the operand; NaN passes both. */
static const float root[16] = { 0x1p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fep+0f, 0x1.3dea64p+0f, 0x1.4bfdaep+0f, 0x1.5ab07ep+0f,
                                0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f, 0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f };
WIDE static inline __m512 exp16(__m512 x, __m512 roots) {
  const __m512 magic = _mm512_set1_ps(KD__MAGIC / 16);
  x = _mm512_max_ps(_mm512_set1_ps(-104.5f), _mm512_min_ps(_mm512_set1_ps(89.0f), x));
  __m512 t = _mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504088896341f), magic), n = _mm512_sub_ps(t, magic);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(KD__LN2_LO), _mm512_fnmadd_ps(n, _mm512_set1_ps(KD__LN2_HI), x));
  __m512 p = _mm512_fmadd_ps(_mm512_fmadd_ps(r, _mm512_set1_ps(1.6666667163e-1f), _mm512_set1_ps(0.5f)), _mm512_mul_ps(r, r), r);
  __m512 q = _mm512_permutexvar_ps(_mm512_castps_si512(t), roots);
  return _mm512_scalef_ps(_mm512_fmadd_ps(q, p, q), n);
}

/* o[i] = e^(u[i] - v[i]); v moves on with i, or stays, or is not there. */
#define RUN(x) \
  int64_t i = 0; \
  const __m512 roots = _mm512_loadu_ps(root); \
  for (; i + 32 <= n; i += 32) { \
    const __mmask16 m = 0xffff; \
    __m512 y = exp16(x(i), roots), z = exp16(x(i + 16), roots); \
    _mm512_storeu_ps(o + i, y), _mm512_storeu_ps(o + i + 16, z); \
    (void)m; \
  } \
  for (; i < n; i += 16) { \
    const __mmask16 m = (__mmask16)(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1); \
    _mm512_mask_storeu_ps(o + i, m, exp16(x(i), roots)); \
  }
#define ALONE(i) _mm512_maskz_loadu_ps(m, u + (i))
#define LESS_ONE(i) _mm512_sub_ps(_mm512_maskz_loadu_ps(m, u + (i)), one)
#define LESS_ROW(i) _mm512_sub_ps(_mm512_maskz_loadu_ps(m, u + (i)), _mm512_maskz_loadu_ps(m, v + (i)))
/* The product is rounded before the difference is taken: the compiler may not join the two. */
WIDE static inline __m512 rounded(__m512 x) { __asm__("" : "+v"(x)); return x; }
#define TIMES_LESS(i) _mm512_sub_ps(rounded(_mm512_mul_ps(_mm512_maskz_loadu_ps(m, u + (i)), by)), one)

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
WIDE static void mul_sub_wide(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  for (int64_t r = 0; r < rows; r++) {
    float *o = (void *)(p[0] + r * s[0]);
    const float *u = (const void *)(p[1] + r * s[1]);
    const __m512 by = _mm512_set1_ps(*(const float *)(const void *)(p[2] + r * s[2])), one = _mm512_set1_ps(*(const float *)(const void *)(p[3] + r * s[3]));
    RUN(TIMES_LESS)
  }
}
static bool wide(void) { __builtin_cpu_init(); return __builtin_cpu_supports("avx512f"); }
kd__prim kd__exp_mul_sub(void) { return wide() ? mul_sub_wide : NULL; }
kd__elem_fn kd__exp_run(void) { return wide() ? run_wide : run_plain; }
kd__prim kd__exp_sub(uint32_t repeated) {
  bool w = wide();
  return repeated == 0 ? (w ? sub_vv_wide : sub_vv_plain) : repeated == 2 ? (w ? sub_vs_wide : sub_vs_plain) : NULL;
}
#else
kd__prim kd__exp_mul_sub(void) { return NULL; }
kd__elem_fn kd__exp_run(void) { return run_plain; }
kd__prim kd__exp_sub(uint32_t repeated) { return repeated == 0 ? sub_vv_plain : repeated == 2 ? sub_vs_plain : NULL; }
#endif
