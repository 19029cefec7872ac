/* group_prim.c: primitives of tile programs, most of them on f32: rows of elements, operands that repeat one element along a row, pairs of operators in one pass,
 * and reductions that are complete in a tile. Compiled without fusing a multiplication into an addition: so a group gives the bits that its
 * operators give one by one, and differences of equal values are exactly 0. */
#include "runtime/kernels/exp.h"
#include "runtime/kernels/extreme.h"
#include "runtime/kernels/vec.h"
#include "runtime/kernels/vmath.h"

/* --- element-wise ---------------------------------------------------------------------------------------------------------------------- */
/* How operand k is read: V from element to element, S one element a row. */
#define AT_V(x, i) x[i]
#define AT_S(x, i) x##0
#define ONE_V(T, x)
#define ONE_S(T, x) const T x##0 = *x;

#define ROWS2(name, T, A, B, R, expr) \
  KD_CLONES static void name(int64_t rows, int64_t n, char *const *p, const int64_t *s) { \
    for (int64_t r = 0; r < rows; r++) { \
      R *o = (void *)(p[0] + r * s[0]); \
      const T *a = (void *)(p[1] + r * s[1]), *b = (void *)(p[2] + r * s[2]); \
      ONE_##A(T, a) ONE_##B(T, b) \
      KD_IVDEP for (int64_t i = 0; i < n; i++) { const T u = AT_##A(a, i), v = AT_##B(b, i); o[i] = (R)(expr); } \
    } \
  }
#define BINARY(OP, R, expr) ROWS2(OP##_vv, float, V, V, R, expr) ROWS2(OP##_sv, float, S, V, R, expr) ROWS2(OP##_vs, float, V, S, R, expr)
/* kd__maxf and kd__minf, with what is asked of the second operand apart: where that one stays the same along a row, it is asked once. */
KD_INLINE float larger(float u, float v) { return v != v ? v : u <= v ? v : u; }
KD_INLINE float smaller(float u, float v) { return v != v ? v : u >= v ? v : u; }

#define OPERATORS(X) \
  X(ADD, float, u + v) X(SUB, float, u - v) X(MUL, float, u * v) X(DIV, float, u / v) X(MAX, float, larger(u, v)) X(MIN, float, smaller(u, v)) \
  X(EQ, uint8_t, u == v) X(NE, uint8_t, u != v) X(LT, uint8_t, u < v) X(LE, uint8_t, u <= v)
OPERATORS(BINARY)
#define DOUBLES(X) X(ADD, u + v) X(SUB, u - v) X(MUL, u * v) X(DIV, u / v)
#define BINARY64(OP, expr) ROWS2(OP##_64_vv, double, V, V, double, expr) ROWS2(OP##_64_sv, double, S, V, double, expr) ROWS2(OP##_64_vs, double, V, S, double, expr)
DOUBLES(BINARY64)

#define ROWS_WHERE(name, T, A, B) \
  KD_CLONES static void name(int64_t rows, int64_t n, char *const *p, const int64_t *s) { \
    for (int64_t r = 0; r < rows; r++) { \
      T *o = (void *)(p[0] + r * s[0]); \
      const uint8_t *c = (void *)(p[1] + r * s[1]); \
      const T *a = (void *)(p[2] + r * s[2]), *b = (void *)(p[3] + r * s[3]); \
      ONE_##A(T, a) ONE_##B(T, b) \
      KD_IVDEP for (int64_t i = 0; i < n; i++) { const T u = AT_##A(a, i), v = AT_##B(b, i); o[i] = c[i] ? u : v; } \
    } \
  }
ROWS_WHERE(WHERE_vv, float, V, V) ROWS_WHERE(WHERE_sv, float, S, V) ROWS_WHERE(WHERE_vs, float, V, S) ROWS_WHERE(WHERE_ss, float, S, S)
ROWS_WHERE(WHERE_64_vv, double, V, V) ROWS_WHERE(WHERE_64_sv, double, S, V) ROWS_WHERE(WHERE_64_vs, double, V, S) ROWS_WHERE(WHERE_64_ss, double, S, S)

/* A label against positions. */
#define ROWS_I64(name, expr) \
  KD_CLONES static void name(int64_t rows, int64_t n, char *const *p, const int64_t *s) { \
    for (int64_t r = 0; r < rows; r++) { \
      uint8_t *o = (void *)(p[0] + r * s[0]); \
      const int64_t *a = (void *)(p[1] + r * s[1]), *b = (void *)(p[2] + r * s[2]), a0 = *a, b0 = *b; \
      (void)a0, (void)b0; \
      KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = expr; \
    } \
  }
ROWS_I64(eq_i64_vv, a[i] == b[i]) ROWS_I64(eq_i64_sv, a0 == b[i]) ROWS_I64(eq_i64_vs, a[i] == b0)

kd__prim kd__prim_find(kd_op op, kd_dtype type, uint32_t repeated) {
  if (type == KD_I64) {
    static const kd__prim eq[3] = { eq_i64_vv, eq_i64_sv, eq_i64_vs };
    return op == KD_OP_EQ && repeated < 3 ? eq[repeated] : NULL;
  }
  if (type == KD_F64) {
    static const kd__prim doubles[KD_OP_COUNT][4] = {
#define ENTRY64(OP, expr) [KD_OP_##OP] = { OP##_64_vv, OP##_64_sv, OP##_64_vs },
      DOUBLES(ENTRY64)
      [KD_OP_WHERE] = { WHERE_64_vv, WHERE_64_sv, WHERE_64_vs, WHERE_64_ss },
    };
    bool select = op == KD_OP_WHERE;
    return repeated >= (select ? 8u : 4u) || (select && repeated & 1) ? NULL : doubles[op][select ? repeated >> 1 : repeated];
  }
  if (type != KD_F32) return NULL;
  static const kd__prim two[KD_OP_COUNT][3] = {
#define ENTRY(OP, R, expr) [KD_OP_##OP] = { OP##_vv, OP##_sv, OP##_vs },
    OPERATORS(ENTRY)
  };
  if (op == KD_OP_WHERE) {
    static const kd__prim select[4] = { WHERE_vv, WHERE_sv, WHERE_vs, WHERE_ss };
    return repeated & 1 ? NULL : select[repeated >> 1];
  }
  return repeated < 3 ? two[op][repeated] : NULL;
}

/* Pairs: u, v are the operands of the first operator, w the third. */
#define ROWS3(name, T, A, B, C, expr) \
  KD_CLONES static void name(int64_t rows, int64_t n, char *const *p, const int64_t *s) { \
    for (int64_t r = 0; r < rows; r++) { \
      T *o = (void *)(p[0] + r * s[0]); \
      const T *a = (void *)(p[1] + r * s[1]), *b = (void *)(p[2] + r * s[2]), *c = (void *)(p[3] + r * s[3]); \
      ONE_##A(T, a) ONE_##B(T, b) ONE_##C(T, c) \
      KD_IVDEP for (int64_t i = 0; i < n; i++) { const T u = AT_##A(a, i), v = AT_##B(b, i), w = AT_##C(c, i); o[i] = expr; } \
    } \
  }
#define PAIR_OF(T, name, first, then, swapped, expr) \
  ROWS3(name##_vvv, T, V, V, V, expr) ROWS3(name##_svv, T, S, V, V, expr) ROWS3(name##_vsv, T, V, S, V, expr) ROWS3(name##_vvs, T, V, V, S, expr) \
  ROWS3(name##_svs, T, S, V, S, expr) ROWS3(name##_vss, T, V, S, S, expr)
#define PAIR(name, first, then, swapped, expr) PAIR_OF(float, name, first, then, swapped, expr)
#define PAIR64(name, first, then, swapped, expr) PAIR_OF(double, name##_64, first, then, swapped, expr)
/* name, first, then, swapped (-1: either way), expr */
#define PAIRS(X) \
  X(mul_add, MUL, ADD, -1, u * v + w) X(mul_sub, MUL, SUB, 0, u * v - w) X(sub_of_mul, MUL, SUB, 1, w - u * v) X(mul_mul, MUL, MUL, -1, (u * v) * w) \
  X(sub_mul, SUB, MUL, -1, (u - v) * w) X(add_mul, ADD, MUL, -1, (u + v) * w) X(add_add, ADD, ADD, -1, (u + v) + w) X(sub_sub, SUB, SUB, 0, (u - v) - w) \
  X(max_mul, MAX, MUL, -1, larger(u, v) * w)
PAIRS(PAIR)
#define PAIRS64(X) X(sub_sub, SUB, SUB, 0, (u - v) - w) X(mul_sub, MUL, SUB, 0, u * v - w) X(sub_of_mul, MUL, SUB, 1, w - u * v) X(mul_add, MUL, ADD, -1, u * v + w)
PAIRS64(PAIR64)

/* A comparison of u and v chooses between c and d. */
#define ROWS4(name, A, B, P, Q, expr) \
  KD_CLONES static void name(int64_t rows, int64_t n, char *const *p, const int64_t *s) { \
    for (int64_t r = 0; r < rows; r++) { \
      float *o = (void *)(p[0] + r * s[0]); \
      const float *a = (void *)(p[1] + r * s[1]), *b = (void *)(p[2] + r * s[2]), *c = (void *)(p[3] + r * s[3]), *d = (void *)(p[4] + r * s[4]); \
      ONE_##A(float, a) ONE_##B(float, b) ONE_##P(float, c) ONE_##Q(float, d) \
      KD_IVDEP for (int64_t i = 0; i < n; i++) { const float u = AT_##A(a, i), v = AT_##B(b, i), x = AT_##P(c, i), y = AT_##Q(d, i); o[i] = expr ? x : y; } \
    } \
  }
#define CHOICE(name, expr) \
  ROWS4(name##_svvs, S, V, V, S, expr) ROWS4(name##_vsvs, V, S, V, S, expr) ROWS4(name##_vvvs, V, V, V, S, expr) ROWS4(name##_vvvv, V, V, V, V, expr) \
  ROWS4(name##_svvv, S, V, V, V, expr) ROWS4(name##_vsvv, V, S, V, V, expr) ROWS4(name##_svsv, S, V, S, V, expr) ROWS4(name##_vssv, V, S, S, V, expr)
CHOICE(lt_where, (u < v)) CHOICE(le_where, (u <= v))
static kd__prim choice(kd_op first, uint32_t repeated) {
  static const kd__prim lt[16] = { lt_where_vvvv, lt_where_svvv, lt_where_vsvv, [5] = lt_where_svsv, lt_where_vssv, [8] = lt_where_vvvs, lt_where_svvs, lt_where_vsvs };
  static const kd__prim le[16] = { le_where_vvvv, le_where_svvv, le_where_vsvv, [5] = le_where_svsv, le_where_vssv, [8] = le_where_vvvs, le_where_svvs, le_where_vsvs };
  return first == KD_OP_LT ? lt[repeated & 15] : first == KD_OP_LE ? le[repeated & 15] : NULL;
}

kd__prim kd__prim_pair(kd_op first, kd_op then, kd_dtype type, bool swapped, uint32_t repeated) {
  static const struct { kd_op first, then; kd_dtype type; int swapped; kd__prim prim[8]; } table[] = {
#define ROW_OF(type, name, first, then, swapped) \
  { KD_OP_##first, KD_OP_##then, type, swapped, { name##_vvv, name##_svv, name##_vsv, NULL, name##_vvs, name##_svs, name##_vss, NULL } },
#define PAIR_ENTRY(name, first, then, swapped, expr) ROW_OF(KD_F32, name, first, then, swapped)
#define PAIR64_ENTRY(name, first, then, swapped, expr) ROW_OF(KD_F64, name##_64, first, then, swapped)
    PAIRS(PAIR_ENTRY)
    PAIRS64(PAIR64_ENTRY)
  };
  if (then == KD_OP_EXP) return first == KD_OP_SUB && type == KD_F32 ? kd__exp_sub(repeated) : NULL;
  if (then == KD_OP_WHERE) return swapped || type != KD_F32 ? NULL : choice(first, repeated);
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (table[i].first == first && table[i].then == then && table[i].type == type && (table[i].swapped < 0 || table[i].swapped == (int)swapped)) return table[i].prim[repeated & 7];
  return NULL;
}

/* A scaled row less one number a row. */
KD_CLONES static void mul_sub_sub(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  for (int64_t r = 0; r < rows; r++) {
    float *o = (void *)(p[0] + r * s[0]);
    const float *a = (void *)(p[1] + r * s[1]), u = *(float *)(void *)(p[2] + r * s[2]), v = *(float *)(void *)(p[3] + r * s[3]), w = *(float *)(void *)(p[4] + r * s[4]);
    KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = (a[i] * u - v) - w;
  }
}
static void mul_sub_exp(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  mul_sub_vss(rows, n, p, s);
  for (int64_t r = 0; r < rows; r++) kd__exp_run()(n, p[0] + r * s[0], p[0] + r * s[0], NULL, NULL);
}
kd__prim kd__prim_scaled(kd_op then, uint32_t repeated) {
  if (then == KD_OP_SUB) return repeated == 14 ? mul_sub_sub : NULL;
  kd__prim wide = kd__exp_mul_sub();
  return then == KD_OP_EXP && repeated == 6 ? wide ? wide : mul_sub_exp : NULL;
}

/* --- reductions ------------------------------------------------------------------------------------------------------------------------ */
/* Rows shorter than a vector: 16 rows side by side. */
#define SHORT_ROWS(start, step) \
  for (; r + 16 <= rows; r += 16) { \
    const float *q = (const void *)(p[1] + r * s[1]); \
    float lane[16]; \
    for (int l = 0; l < 16; l++) lane[l] = (start) ? 0.0f : q[l * stride]; \
    for (int64_t j = (start) ? 0 : 1; j < n; j++) \
      for (int l = 0; l < 16; l++) { const float m = lane[l], x = q[l * stride + j]; lane[l] = step; } \
    for (int l = 0; l < 16; l++) *(float *)(void *)(p[0] + (r + l) * s[0]) = lane[l]; \
  }

KD_CLONES static void sum_rows(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  int64_t r = 0, stride = s[1] / 4;
  if (n < 16) SHORT_ROWS(1, m + x)
  for (; r < rows; r++) {
    const float *q = (const void *)(p[1] + r * s[1]);
    kd__v16 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) s0 += KD__LOAD16(q + i), s1 += KD__LOAD16(q + i + 16), s2 += KD__LOAD16(q + i + 32), s3 += KD__LOAD16(q + i + 48);
    for (; i + 16 <= n; i += 16) s0 += KD__LOAD16(q + i);
    s0 = (s0 + s1) + (s2 + s3);
    float sum = KD__SUM16(s0), tail = 0;
    for (; i < n; i++) tail += q[i];
    *(float *)(void *)(p[0] + r * s[0]) = sum + tail;
  }
}

/* Sums of products. */
KD_INLINE float products(const float *q, const float *t, int64_t n) {
  kd__v16 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 += KD__LOAD16(q + i) * KD__LOAD16(t + i), s1 += KD__LOAD16(q + i + 16) * KD__LOAD16(t + i + 16);
    s2 += KD__LOAD16(q + i + 32) * KD__LOAD16(t + i + 32), s3 += KD__LOAD16(q + i + 48) * KD__LOAD16(t + i + 48);
  }
  for (; i + 16 <= n; i += 16) s0 += KD__LOAD16(q + i) * KD__LOAD16(t + i);
  s0 = (s0 + s1) + (s2 + s3);
  float sum = KD__SUM16(s0), tail = 0;
  for (; i < n; i++) tail += q[i] * t[i];
  return sum + tail;
}
KD_CLONES float kd__sum_products(const float *q, const float *t, int64_t n) { return products(q, t, n); }
KD_CLONES static void dot_rows(int64_t rows, int64_t n, char *const *p, const int64_t *s) {
  for (int64_t r = 0; r < rows; r++)
    *(float *)(void *)(p[0] + r * s[0]) = products((const void *)(p[1] + r * s[1]), (const void *)(p[2] + r * s[2]), n);
}

/* Column sums of products, 64 columns in registers, then 16. */
#define STRIPES(width, T) \
  for (; j + width <= n; j += width) { \
    kd__v16 a[width / 16] = { { 0 } }; \
    for (int64_t r = 0; r < rows; r++) \
      for (int k = 0; k < width / 16; k++) a[k] += KD__LOAD16(p + r * sp + j + 16 * k) * (T); \
    for (int k = 0; k < width / 16; k++) KD__STORE16(o + j + 16 * k, a[k]); \
  }
KD_CLONES void kd__column_products(const float *p, int64_t sp, const float *q, int64_t sq, bool one, int64_t rows, int64_t n, float *o) {
  int64_t j = 0;
  if (one) {
    STRIPES(64, q[r * sq])
    STRIPES(16, q[r * sq])
  } else {
    STRIPES(256, KD__LOAD16(q + r * sq + j + 16 * k))
    STRIPES(64, KD__LOAD16(q + r * sq + j + 16 * k))
    STRIPES(16, KD__LOAD16(q + r * sq + j + 16 * k))
  }
  for (; j < n; j++) {
    float s = 0;
    for (int64_t r = 0; r < rows; r++) s += p[r * sp + j] * q[r * sq + (one ? 0 : j)];
    o[j] = s;
  }
}

#define EXTREME_ROWS(name, fn, of) \
  KD_CLONES static void name(int64_t rows, int64_t n, char *const *p, const int64_t *s) { \
    int64_t r = 0, stride = s[1] / 4; \
    if (n < 16) SHORT_ROWS(0, fn(x, m)) \
    for (; r < rows; r++) *(float *)(void *)(p[0] + r * s[0]) = of((const void *)(p[1] + r * s[1]), n); \
  }
EXTREME_ROWS(max_rows, kd__maxf, kd__max_run)
EXTREME_ROWS(min_rows, kd__minf, kd__min_run)

kd__prim kd__prim_rows(kd_op op) {
  return op == KD_OP_SUM ? sum_rows : op == KD_OP_REDUCE_MAX ? max_rows : op == KD_OP_REDUCE_MIN ? min_rows : op == KD_OP_MUL ? dot_rows : NULL;
}

static void sum_cols(int64_t rows, int64_t n, char *const *p, const int64_t *s) { kd__columns(KD_OP_SUM, (void *)p[1], s[1] / 4, rows, n, (void *)p[0]); }
static void max_cols(int64_t rows, int64_t n, char *const *p, const int64_t *s) { kd__columns(KD_OP_REDUCE_MAX, (void *)p[1], s[1] / 4, rows, n, (void *)p[0]); }
static void min_cols(int64_t rows, int64_t n, char *const *p, const int64_t *s) { kd__columns(KD_OP_REDUCE_MIN, (void *)p[1], s[1] / 4, rows, n, (void *)p[0]); }
kd__prim kd__prim_cols(kd_op op) { return op == KD_OP_SUM ? sum_cols : op == KD_OP_REDUCE_MAX ? max_cols : op == KD_OP_REDUCE_MIN ? min_cols : NULL; }

/* --- in double precision ----------------------------------------------------------------------------------------------------------------- */
KD_CLONES void kd__add_floats(int64_t n, double *o, const float *p) {
  KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] += (double)p[i];
}
KD_CLONES void kd__add_doubles(int64_t n, double *o, const double *p) {
  KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] += p[i];
}
KD_CLONES void kd__round_doubles(int64_t n, float *o, const double *p) {
  KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = (float)p[i];
}
KD_CLONES double kd__sum_doubles(int64_t n, const double *p) {
  double lane[32] = { 0 }, sum = 0;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int l = 0; l < 32; l++) lane[l] += p[i + l];
  for (; i < n; i++) sum += p[i];
  for (int w = 16; w > 0; w /= 2)
    for (int l = 0; l < w; l++) lane[l] += lane[l + w];
  return sum + lane[0];
}
