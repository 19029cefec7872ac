/* reduce_f32.c: the inner loops of reductions: blocks of one row, blocks of columns, and how blocks combine. */
#include "runtime/kernels/extreme.h"
#include "runtime/kernels/reduce.h"
#include "runtime/kernels/vec.h"
#include "runtime/kernels/vmath.h"

/* --- sum -------------------------------------------------------------------------------------------------------------------------- */
KD_CLONES static float sum_run(const float *p, int64_t n) {
  kd__v16 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) s0 += KD__LOAD16(p + i), s1 += KD__LOAD16(p + i + 16), s2 += KD__LOAD16(p + i + 32), s3 += KD__LOAD16(p + i + 48);
  for (; i + 16 <= n; i += 16) s0 += KD__LOAD16(p + i);
  s0 = (s0 + s1) + (s2 + s3);
  float sum = KD__SUM16(s0), tail = 0;
  for (; i < n; i++) tail += p[i];
  return sum + tail;
}
/* Sum of (p[i] - mean)^2. */
KD_CLONES static float square_run(const float *p, int64_t n, float mean) {
  kd__v16 s0 = { 0 }, s1 = { 0 };
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    kd__v16 d0 = KD__LOAD16(p + i) - mean, d1 = KD__LOAD16(p + i + 16) - mean;
    s0 += d0 * d0, s1 += d1 * d1;
  }
  s0 += s1;
  float sum = KD__SUM16(s0), tail = 0;
  for (; i < n; i++) tail += (p[i] - mean) * (p[i] - mean);
  return sum + tail;
}
static void sum_row(const float *p, int64_t n, double *a, double *b) {
  (void)b;
  *a = (double)sum_run(p, n);
}
/* Column sums into f32: 64 columns in registers, then 16, then the rest row by row. */
KD_CLONES static void sum_columns(const float *p, int64_t stride, int64_t rows, int64_t n, float *o) {
  int64_t j = 0;
  for (; j + 64 <= n; j += 64) {
    kd__v16 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    const float *q = p + j;
    for (int64_t r = 0; r < rows; r++, q += stride) s0 += KD__LOAD16(q), s1 += KD__LOAD16(q + 16), s2 += KD__LOAD16(q + 32), s3 += KD__LOAD16(q + 48);
    KD__STORE16(o + j, s0);
    KD__STORE16(o + j + 16, s1);
    KD__STORE16(o + j + 32, s2);
    KD__STORE16(o + j + 48, s3);
  }
  for (; j + 16 <= n; j += 16) {
    kd__v16 s0 = { 0 }, s1 = { 0 };
    const float *q = p + j;
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2, q += 2 * stride) s0 += KD__LOAD16(q), s1 += KD__LOAD16(q + stride);
    if (r < rows) s0 += KD__LOAD16(q);
    s0 += s1;
    KD__STORE16(o + j, s0);
  }
  for (; j < n; j++) {
    float s = 0;
    for (int64_t r = 0; r < rows; r++) s += p[r * stride + j];
    o[j] = s;
  }
}
KD_CLONES static void square_columns(const float *p, int64_t stride, int64_t rows, int64_t n, const float *mean, float *o) {
  int64_t j = 0;
  for (; j + 32 <= n; j += 32) {
    kd__v16 m0 = KD__LOAD16(mean + j), m1 = KD__LOAD16(mean + j + 16), s0 = { 0 }, s1 = { 0 };
    const float *q = p + j;
    for (int64_t r = 0; r < rows; r++, q += stride) {
      kd__v16 d0 = KD__LOAD16(q) - m0, d1 = KD__LOAD16(q + 16) - m1;
      s0 += d0 * d0, s1 += d1 * d1;
    }
    KD__STORE16(o + j, s0);
    KD__STORE16(o + j + 16, s1);
  }
  for (; j + 16 <= n; j += 16) {
    kd__v16 m0 = KD__LOAD16(mean + j), s0 = { 0 };
    const float *q = p + j;
    for (int64_t r = 0; r < rows; r++, q += stride) {
      kd__v16 d0 = KD__LOAD16(q) - m0;
      s0 += d0 * d0;
    }
    KD__STORE16(o + j, s0);
  }
  for (; j < n; j++) {
    float s = 0, m = mean[j];
    for (int64_t r = 0; r < rows; r++) s += (p[r * stride + j] - m) * (p[r * stride + j] - m);
    o[j] = s;
  }
}
static void sum_cols(const float *p, int64_t stride, int64_t rows, int64_t n, double *a, double *b) {
  float s[KD__STRIP];
  (void)b;
  sum_columns(p, stride, rows, n, s);
  for (int64_t j = 0; j < n; j++) a[j] = (double)s[j];
}
static void sum_merge(int64_t n, double *a, double *b, int64_t na, const double *c, const double *d, int64_t nb) {
  (void)b, (void)d, (void)nb;
  for (int64_t j = 0; j < n; j++) a[j] = na ? a[j] + c[j] : c[j];
}
static void sum_finish(double a, double b, int64_t count, float *first, float *second) {
  (void)b, (void)second;
  *first = count ? (float)a : 0.0f;
}

/* --- mean and variance: two passes over a block that is in the cache, blocks by Chan's formula ------------------------------------- */
static void moments_row(const float *p, int64_t n, double *a, double *b) {
  double mean = (double)sum_run(p, n) / (double)n;
  float m = (float)mean;
  double d = mean - (double)m;                   /* the squares were taken around m */
  *a = mean;
  *b = (double)square_run(p, n, m) - d * d * (double)n;
}
static void moments_cols(const float *p, int64_t stride, int64_t rows, int64_t n, double *a, double *b) {
  float s[KD__STRIP], m[KD__STRIP];
  sum_columns(p, stride, rows, n, s);
  for (int64_t j = 0; j < n; j++) a[j] = (double)s[j] / (double)rows, m[j] = (float)a[j];
  square_columns(p, stride, rows, n, m, s);
  for (int64_t j = 0; j < n; j++) b[j] = (double)s[j] - (a[j] - (double)m[j]) * (a[j] - (double)m[j]) * (double)rows;
}
static void moments_merge(int64_t n, double *a, double *b, int64_t na, const double *c, const double *d, int64_t nb) {
  double f = (double)nb / (double)(na + nb), g = f * (double)na;
  for (int64_t j = 0; j < n; j++) {
    double e = c[j] - a[j];
    a[j] = na ? a[j] + e * f : c[j];
    b[j] = na ? b[j] + d[j] + e * e * g : d[j];
  }
}
static void moments_finish(double a, double b, int64_t count, float *first, float *second) {
  *first = count ? (float)a : KD__NAN;
  double v = b / (double)count;
  *second = !count ? KD__NAN : v < 0 ? 0.0f : (float)v;
}

/* --- maximum and minimum -------------------------------------------------------------------------------------------------------------- */
#define EXTREME(name, op, fn, none) \
  static void name##_row(const float *p, int64_t n, double *a, double *b) { \
    (void)b; \
    *a = (double)kd__##name##_run(p, n); \
  } \
  KD_CLONES static void name##_columns(const float *p, int64_t stride, int64_t rows, int64_t n, float *m) { \
    for (int64_t j = 0; j < n; j++) m[j] = p[j]; \
    for (int64_t r = 1; r < rows; r++) { \
      const float *q = p + r * stride; \
      for (int64_t j = 0; j < n; j++) m[j] = fn(m[j], q[j]); \
    } \
  } \
  static void name##_cols(const float *p, int64_t stride, int64_t rows, int64_t n, double *a, double *b) { \
    float m[KD__STRIP]; \
    (void)b; \
    name##_columns(p, stride, rows, n, m); \
    for (int64_t j = 0; j < n; j++) a[j] = (double)m[j]; \
  } \
  static void name##_merge(int64_t n, double *a, double *b, int64_t na, const double *c, const double *d, int64_t nb) { \
    (void)b, (void)d, (void)nb; \
    for (int64_t j = 0; j < n; j++) a[j] = !na || c[j] op a[j] || c[j] != c[j] ? c[j] : a[j]; \
  } \
  static void name##_finish(double a, double b, int64_t count, float *first, float *second) { \
    (void)b, (void)second; \
    *first = count ? (float)a : (none); \
  }
EXTREME(max, >, kd__maxf, -KD__INF)
EXTREME(min, <, kd__minf, KD__INF)

void kd__columns(kd_op op, const float *p, int64_t stride, int64_t rows, int64_t n, float *o) {
  if (op == KD_OP_SUM) sum_columns(p, stride, rows, n, o);
  else if (op == KD_OP_REDUCE_MAX) max_columns(p, stride, rows, n, o);
  else min_columns(p, stride, rows, n, o);
}

float kd__row_max(const float *p, int64_t n) { return kd__max_run(p, n); }

/* --- logsumexp: the state is the maximum and the sum of e^(x - maximum) ------------------------------------------------------------------ */
KD_CLONES static float exp_run(const float *p, int64_t n, float m, float *o) {
  float sum = 0, lane[64] = { 0 };
  int64_t i = 0;
  for (; i + 64 <= n; i += 64)
    for (int j = 0; j < 64; j++) {
      float e = kd__expf(p[i + j] - m);
      o[i + j] = e, lane[j] += e;
    }
  for (; i < n; i++) sum += o[i] = kd__expf(p[i] - m);
  for (int w = 32; w > 0; w /= 2)
    for (int j = 0; j < w; j++) lane[j] += lane[j + w];
  return sum + lane[0];
}
double kd__row_exp(const float *p, int64_t n, float m, float *o) {
  float t[KD__BLOCK_ROW];
  double sum = 0;
  for (int64_t i = 0; i < n; i += KD__BLOCK_ROW) sum += (double)exp_run(p + i, kd__min(n - i, KD__BLOCK_ROW), m, o ? o + i : t);
  return sum;
}
/* What to subtract: an infinite maximum would give infinity minus infinity. */
static float finite_or_0(float m) { return isfinite(m) ? m : 0.0f; }

static void lse_row(const float *p, int64_t n, double *a, double *b) {
  float m = kd__max_run(p, n);
  *a = (double)m;
  *b = kd__row_exp(p, n, finite_or_0(m), NULL);
}
KD_CLONES static void exp_columns(const float *p, int64_t stride, int64_t rows, int64_t n, const float *m, float *s) {
  for (int64_t j = 0; j < n; j++) s[j] = 0;
  for (int64_t r = 0; r < rows; r++) {
    const float *q = p + r * stride;
    for (int64_t j = 0; j < n; j++) s[j] += kd__expf(q[j] - m[j]);
  }
}
static void lse_cols(const float *p, int64_t stride, int64_t rows, int64_t n, double *a, double *b) {
  float m[KD__STRIP], s[KD__STRIP];
  max_columns(p, stride, rows, n, m);
  for (int64_t j = 0; j < n; j++) a[j] = (double)m[j], m[j] = finite_or_0(m[j]);
  exp_columns(p, stride, rows, n, m, s);
  for (int64_t j = 0; j < n; j++) b[j] = (double)s[j];
}
static void lse_merge(int64_t n, double *a, double *b, int64_t na, const double *c, const double *d, int64_t nb) {
  (void)nb;
  for (int64_t j = 0; j < n; j++) {
    if (!na) { a[j] = c[j], b[j] = d[j]; continue; }
    double m = c[j] > a[j] || c[j] != c[j] ? c[j] : a[j];
    if (isfinite(m)) b[j] = (isfinite(a[j]) ? b[j] * exp(a[j] - m) : 0) + (isfinite(c[j]) ? d[j] * exp(c[j] - m) : 0);
    a[j] = m;
  }
}
static void lse_finish(double a, double b, int64_t count, float *first, float *second) {
  (void)second;
  *first = !count ? -KD__INF : isfinite(a) ? (float)(a + log(b)) : (float)a;
}

const kd__reducer *kd__reducer_find(kd_op op) {
  static const kd__reducer sum = { sum_row, sum_cols, sum_merge, sum_finish }, max = { max_row, max_cols, max_merge, max_finish },
                           min = { min_row, min_cols, min_merge, min_finish }, lse = { lse_row, lse_cols, lse_merge, lse_finish },
                           moments = { moments_row, moments_cols, moments_merge, moments_finish };
  switch (op) {
    case KD_OP_SUM: return &sum;
    case KD_OP_REDUCE_MAX: return &max;
    case KD_OP_REDUCE_MIN: return &min;
    case KD_OP_LOGSUMEXP: return &lse;
    case KD_OP_MOMENTS: return &moments;
    default: return NULL;
  }
}
