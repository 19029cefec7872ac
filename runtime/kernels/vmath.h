/* vmath.h: special functions in single precision, branch-free so that loops over them vectorise. Internal to kernels/.
 *
 * Errors over the whole range, measured by tests/kernels: see docs/kernels.md. NaN stays NaN, infinities and zeros are handled, results below
 * the normal range are rounded, not flushed. The reductions to an interval and the polynomials follow the usual sources (Cephes; fdlibm). */
#ifndef KD_KERNELS_VMATH_H
#define KD_KERNELS_VMATH_H
#include <math.h>
#include "runtime/kernels/par.h"

KD_INLINE uint32_t kd__bits(float x) { union { float f; uint32_t u; } v = { .f = x }; return v.u; }
KD_INLINE float kd__from_bits(uint32_t u) { union { uint32_t u; float f; } v = { .u = u }; return v.f; }

#define KD__MAGIC 12582912.0f                    /* 1.5 * 2^23: adding it rounds to an integer, left in the low bits */
#define KD__LN2_HI 0.693359375f
#define KD__LN2_LO (-2.12194440e-4f)
#define KD__INF __builtin_inff()
#define KD__NAN __builtin_nanf("")

/* 2^n for -126 <= n <= 127 */
KD_INLINE float kd__pow2i(int32_t n) { return kd__from_bits((uint32_t)(n + 127) << 23); }

KD_INLINE float kd__expf(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.5f ? -104.5f : x;
  float t = x * 1.44269504088896341f + KD__MAGIC, n = t - KD__MAGIC;
  float r = x - n * KD__LN2_HI;
  r = r - n * KD__LN2_LO;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  uint32_t i = kd__bits(t) - kd__bits(KD__MAGIC);  /* n as an integer; garbage for NaN, where p is NaN anyway */
  int32_t k = (int32_t)i, h = k >> 1;
  return p * kd__from_bits(((uint32_t)h + 127u) << 23) * kd__from_bits(((uint32_t)k - (uint32_t)h + 127u) << 23);
}

KD_INLINE float kd__expm1f(float x) {
  float c = x > 89.0f ? 89.0f : x;
  c = c < -30.0f ? -30.0f : c;
  float t = c * 1.44269504088896341f + KD__MAGIC, n = t - KD__MAGIC;
  float r = c - n * KD__LN2_HI;
  r = r - n * KD__LN2_LO;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;                             /* e^r - 1 */
  uint32_t k = kd__bits(t) - kd__bits(KD__MAGIC);
  float s = kd__from_bits((k + 126u) << 23);       /* 2^(n-1): n may be 128 */
  return (s * p + (s - 0.5f)) * 2.0f;
}

/* log of m * 2^e with m in [sqrt(1/2), sqrt 2), given f = m - 1; `low` is added to the result's small part. */
KD_INLINE float kd__log_core(float f, float e, float low) {
  float s = f / (2.0f + f), z = s * s, w = z * z;
  float t1 = w * (0.40000972152f + w * 0.24279078841f), t2 = z * (0.66666662693f + w * 0.28498786688f);
  float h = 0.5f * f * f;
  return s * (h + (t1 + t2)) + (e * 9.0580006145e-6f + low) - h + f + e * 6.9313812256e-1f;
}

KD_INLINE float kd__logf(float x) {
  bool tiny = x < 1.17549435e-38f;
  float y = tiny ? x * 8388608.0f : x;
  uint32_t u = kd__bits(y) - 0x3f3504f3u;
  int32_t e = (int32_t)u >> 23;
  float f = kd__from_bits((u & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
  float r = kd__log_core(f, (float)(tiny ? e - 23 : e), 0.0f);
  r = x > 3.4028234e38f ? x : r;
  r = x == 0.0f ? -KD__INF : r;
  r = x < 0.0f ? KD__NAN : r;
  return x != x ? x : r;
}

KD_INLINE float kd__log1pf(float x) {
  float v = 1.0f + x;
  uint32_t u = kd__bits(v) - 0x3f3504f3u;
  int32_t e = (int32_t)u >> 23;
  float f = kd__from_bits((u & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
  float lost = v > 2.0f ? 1.0f - (v - x) : x - (v - 1.0f);         /* what rounding 1 + x lost */
  bool whole = e == 0;                             /* 1 + x is its own reduced value: then f = x exactly */
  f = whole ? x : f;
  float r = kd__log_core(f, (float)e, whole ? 0.0f : lost / v);
  r = x > 3.4028234e38f ? x : r;
  r = x == -1.0f ? -KD__INF : r;
  r = x < -1.0f ? KD__NAN : r;
  r = x == 0.0f ? x : r;
  return x != x ? x : r;
}

KD_INLINE float kd__tanhf(float x) {
  float a = fabsf(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float small = p * z * x + x;
  float big = 1.0f - 2.0f / (kd__expf(2.0f * a) + 1.0f);
  big = copysignf(big, x);
  return a < 0.625f ? small : big;
}

KD_INLINE float kd__sigmoidf(float x) {
  float e = kd__expf(-fabsf(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

KD_INLINE float kd__softplusf(float x) { return (x > 0.0f ? x : 0.0f) + kd__log1pf(kd__expf(-fabsf(x))); }

/* Up to 0.93 a polynomial; above, 1 - 2^y with a polynomial for y: never below 2^-27, so its exponent is added as it is. */
KD_INLINE float kd__erff(float a) {
  float t = fabsf(a);
  t = t > 4.2f ? 4.2f : t;                         /* erf is 1 there */
  float s = t * t;
  float r = -2.49374844e-5f * t + 5.52836593e-4f, u = -5.60337615e-3f * t + 3.49920227e-2f;
  r = r * s + u;
  r = r * t - 1.54047914e-1f;
  r = r * t - 9.15890167e-1f;
  r = r * t - 1.62839516f;
  float y = r * t, m = y + KD__MAGIC, f = y - (m - KD__MAGIC);
  float q = 1.535336188e-4f;
  q = q * f + 1.339887440e-3f;
  q = q * f + 9.618437357e-3f;
  q = q * f + 5.550332472e-2f;
  q = q * f + 2.402264791e-1f;
  q = q * f + 6.931472029e-1f;
  q = q * f + 1.0f;
  float big = 1.0f - kd__from_bits(kd__bits(q) + (kd__bits(m) << 23));
  float p = -5.96761703e-4f;
  p = p * s + 4.99119423e-3f;
  p = p * s - 2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s - 3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  p = p * t + t;
  return copysignf(t > 0.927734375f ? big : p, a);
}

/* Floats as integers of the same order, NaN at the end that wins: so the largest of many is a reduction that vectorises. */
KD_INLINE int32_t kd__order(float x, int32_t nan) {
  int32_t u = (int32_t)kd__bits(x), k = u ^ ((u >> 31) & INT32_MAX), is_nan = (0x7f800000 - (u & INT32_MAX)) >> 31;
  return (k & ~is_nan) | (nan & is_nan);         /* no branch: GCC would keep it */
}
KD_INLINE float kd__from_order(int32_t k) { return kd__from_bits((uint32_t)(k ^ ((k >> 31) & INT32_MAX))); }
KD_INLINE float kd__max_of(const float *p, int64_t n) {
  int32_t m = INT32_MIN;
  for (int64_t i = 0; i < n; i++) { int32_t k = kd__order(p[i], INT32_MAX); m = k > m ? k : m; }
  return kd__from_order(m);
}
KD_INLINE float kd__min_of(const float *p, int64_t n) {
  int32_t m = INT32_MAX;
  for (int64_t i = 0; i < n; i++) { int32_t k = kd__order(p[i], INT32_MIN); m = k < m ? k : m; }
  return kd__from_order(m);
}

KD_INLINE float kd__maxf(float a, float b) { return ((a > b) | (a != a)) ? a : b; }
KD_INLINE float kd__minf(float a, float b) { return ((a < b) | (a != a)) ? a : b; }
KD_INLINE double kd__maxd(double a, double b) { return ((a > b) | (a != a)) ? a : b; }
KD_INLINE double kd__mind(double a, double b) { return ((a < b) | (a != a)) ? a : b; }
#endif
