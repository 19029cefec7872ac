/* elem_basic.c: arithmetic, comparison, selection and conversion over runs. */
#include "runtime/kernels/elem.h"
#include "runtime/kernels/vmath.h"

/* One operand u of type T to a result of type R. */
#define UNARY(X) \
  X(NEG, f32, float, float, -u) X(NEG, f64, double, double, -u) X(NEG, i64, int64_t, int64_t, (int64_t)(0 - (uint64_t)u)) \
  X(ABS, f32, float, float, fabsf(u)) X(ABS, f64, double, double, fabs(u)) X(ABS, i64, int64_t, int64_t, u < 0 ? (int64_t)(0 - (uint64_t)u) : u) \
  X(SIGN, f32, float, float, u != u ? u : (float)(u > 0.0f) - (float)(u < 0.0f)) \
  X(SIGN, f64, double, double, u != u ? u : (double)(u > 0) - (double)(u < 0)) \
  X(SIGN, i64, int64_t, int64_t, (int64_t)(u > 0) - (int64_t)(u < 0)) \
  X(RELU, f32, float, float, u <= 0.0f ? 0.0f : u) X(RELU, f64, double, double, u <= 0 ? 0 : u) X(RELU, i64, int64_t, int64_t, u < 0 ? 0 : u) \
  X(ISFINITE, f32, float, uint8_t, (kd__bits(u) & 0x7f800000u) != 0x7f800000u) X(ISFINITE, f64, double, uint8_t, u - u == 0) \
  X(NOT, b8, uint8_t, uint8_t, !u) \
  X(STOP, f32, float, float, u) X(STOP, f64, double, double, u) X(STOP, i64, int64_t, int64_t, u) X(STOP, u8, uint8_t, uint8_t, u) \
  X(STOP, b8, uint8_t, uint8_t, u)

#define SAME(X, OP, expr) X(OP, f32, float, float, expr) X(OP, f64, double, double, expr)
#define COMPARE(X, OP, expr) \
  X(OP, f32, float, uint8_t, expr) X(OP, f64, double, uint8_t, expr) X(OP, i64, int64_t, uint8_t, expr) X(OP, u8, uint8_t, uint8_t, expr)
/* Two operands u, v. */
#define BINARY(X) \
  SAME(X, ADD, u + v) X(ADD, i64, int64_t, int64_t, (int64_t)((uint64_t)u + (uint64_t)v)) \
  SAME(X, SUB, u - v) X(SUB, i64, int64_t, int64_t, (int64_t)((uint64_t)u - (uint64_t)v)) \
  SAME(X, MUL, u * v) X(MUL, i64, int64_t, int64_t, (int64_t)((uint64_t)u * (uint64_t)v)) \
  SAME(X, DIV, u / v) \
  X(MAX, f32, float, float, kd__maxf(u, v)) X(MAX, f64, double, double, kd__maxd(u, v)) X(MAX, i64, int64_t, int64_t, u > v ? u : v) \
  X(MAX, u8, uint8_t, uint8_t, u > v ? u : v) X(MIN, u8, uint8_t, uint8_t, u < v ? u : v) \
  X(MIN, f32, float, float, kd__minf(u, v)) X(MIN, f64, double, double, kd__mind(u, v)) X(MIN, i64, int64_t, int64_t, u < v ? u : v) \
  COMPARE(X, EQ, u == v) COMPARE(X, NE, u != v) COMPARE(X, LT, u < v) COMPARE(X, LE, u <= v) \
  X(EQ, b8, uint8_t, uint8_t, !u == !v) X(NE, b8, uint8_t, uint8_t, !u != !v) \
  X(AND, b8, uint8_t, uint8_t, (u != 0) & (v != 0)) X(OR, b8, uint8_t, uint8_t, (u != 0) | (v != 0))

#define DEFINE1(OP, tn, T, R, expr) \
  KD_CLONES static void run_##OP##_##tn(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    R *to = o; \
    const T *p = a; \
    (void)b, (void)c; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { T u = p[i]; to[i] = (R)(expr); } \
  }
#define DEFINE2(OP, tn, T, R, expr) KD_CLONES DEFINE_PLAIN(OP, tn, T, R, expr)
#define DEFINE_PLAIN(OP, tn, T, R, expr) \
  static void run_##OP##_##tn(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    R *to = o; \
    const T *p = a, *q = b; \
    (void)c; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { T u = p[i], v = q[i]; to[i] = (R)(expr); } \
  }
UNARY(DEFINE1)
BINARY(DEFINE2)

/* Not compiled for CPUs with a fused multiply-add: fusing would turn exact zeros into rounding errors. In double for f32, since near a multiple
 * of v the floor jumps. */
#define REMAINDER(X) \
  X(REM, f32, float, float, (double)u - floor((double)u / (double)v) * (double)v) X(REM, f64, double, double, u - floor(u / v) * v)
REMAINDER(DEFINE_PLAIN)

/* i64, rounded down; a divisor of 0 never comes here, and -1 is apart since INT64_MIN / -1 does not fit. */
#define FLOOR_DIV(u, v) ((v) == -1 ? (int64_t)(0 - (uint64_t)(u)) : (u) / (v) - ((u) % (v) != 0 && ((u) < 0) != ((v) < 0)))
#define INTEGERS(X) X(IDIV, i64, int64_t, int64_t, ) X(REM, i64, int64_t, int64_t, )

/* By one divisor d, 2 to 2^61: products with 1/d in double. The first quotient of a number of 63 bits is off by less than 2^12 in what is left, or by 1; the second
 * by 1 at most. */
#define BY_ONE(OP, expr) \
  KD_CLONES static void by_one_##OP(int64_t n, int64_t *to, const int64_t *p, int64_t d) { \
    const double each = 1.0 / (double)d; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { \
      int64_t first = (int64_t)((double)p[i] * each), left = (int64_t)((uint64_t)p[i] - (uint64_t)first * (uint64_t)d); \
      int64_t second = (int64_t)((double)left * each), r = left - second * d, low = r < 0 ? -1 : r >= d ? 1 : 0, q = first + second + low; \
      r -= low * d; \
      (void)q; \
      to[i] = expr; \
    } \
  }
BY_ONE(IDIV, q)
BY_ONE(REM, r)

KD_CLONES static bool all_equal(int64_t n, const int64_t *q) {
  uint64_t other = 0;
  for (int64_t i = 1; i < n; i++) other |= (uint64_t)q[i] ^ (uint64_t)q[0];
  return other == 0;
}
enum { SAME_DIVISOR = 256 };
#define DIVIDE(OP, expr) \
  static void run_##OP##_i64(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    (void)c; \
    for (int64_t j = 0; j < n; j += SAME_DIVISOR) { \
      int64_t *to = (int64_t *)o + j, m = n - j < SAME_DIVISOR ? n - j : SAME_DIVISOR; \
      const int64_t *p = (const int64_t *)a + j, *q = (const int64_t *)b + j; \
      if (q[0] >= 2 && q[0] < (int64_t)1 << 61 && all_equal(m, q)) by_one_##OP(m, to, p, q[0]); \
      else KD_IVDEP for (int64_t i = 0; i < m; i++) { int64_t u = p[i], v = q[i]; to[i] = expr; } \
    } \
  }
DIVIDE(IDIV, FLOOR_DIV(u, v))
DIVIDE(REM, v == -1 ? 0 : (int64_t)((uint64_t)u - (uint64_t)FLOOR_DIV(u, v) * (uint64_t)v))

#define SELECT(X) X(f32, uint32_t) X(f64, uint64_t) X(i64, uint64_t) X(u8, uint8_t) X(b8, uint8_t)
#define DEFINE3(tn, T) \
  KD_CLONES static void run_WHERE_##tn(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    T *to = o; \
    const uint8_t *s = a; \
    const T *p = b, *q = c; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { T u = p[i], v = q[i]; to[i] = s[i] ? u : v; } \
  }
SELECT(DEFINE3)

kd__elem_fn kd__elem_basic(kd_op op, kd_dtype t) {
  static const struct { kd__elem_fn f32, f64, i64, u8, b8; } table[KD_OP_COUNT] = {
#define ENTRY(OP, tn, T, R, expr) [KD_OP_##OP].tn = run_##OP##_##tn,
#define ENTRY3(tn, T) [KD_OP_WHERE].tn = run_WHERE_##tn,
    UNARY(ENTRY) BINARY(ENTRY) REMAINDER(ENTRY) INTEGERS(ENTRY) SELECT(ENTRY3)
  };
  switch (t) {
    case KD_F32: return table[op].f32;
    case KD_F64: return table[op].f64;
    case KD_I64: return table[op].i64;
    case KD_U8: return table[op].u8;
    case KD_BOOL: return table[op].b8;
    default: return NULL;
  }
}

/* --- conversions. Real to integer: cut off toward 0, held at the type's ends, NaN is 0. ----------------------------------------------- */
#define TO_I64(v) ((v) != (v) ? 0 : (v) >= 0x1p63 ? INT64_MAX : (v) <= -0x1p63 ? INT64_MIN : (int64_t)(v))
#define TO_U8(v) ((v) >= 255 ? 255 : (v) > 0 ? (uint8_t)(v) : 0)
#define CASTS(X) \
  X(F32, I64, float, int64_t, TO_I64(v)) X(F64, I64, double, int64_t, TO_I64(v)) X(F32, U8, float, uint8_t, TO_U8(v)) X(F64, U8, double, uint8_t, TO_U8(v)) \
  X(I64, U8, int64_t, uint8_t, v) \
  X(F32, F64, float, double, v) X(F64, F32, double, float, v) X(I64, F32, int64_t, float, v) X(I64, F64, int64_t, double, v) \
  X(U8, F32, uint8_t, float, v) X(U8, F64, uint8_t, double, v) X(U8, I64, uint8_t, int64_t, v) \
  X(BOOL, F32, uint8_t, float, v != 0) X(BOOL, F64, uint8_t, double, v != 0) X(BOOL, I64, uint8_t, int64_t, v != 0) \
  X(BOOL, U8, uint8_t, uint8_t, v != 0) X(F32, BOOL, float, uint8_t, v != 0) X(F64, BOOL, double, uint8_t, v != 0) \
  X(I64, BOOL, int64_t, uint8_t, v != 0) X(U8, BOOL, uint8_t, uint8_t, v != 0) \
  X(F32, F32, float, float, v) X(F64, F64, double, double, v) X(I64, I64, int64_t, int64_t, v) X(U8, U8, uint8_t, uint8_t, v) \
  X(BOOL, BOOL, uint8_t, uint8_t, v != 0)
#define DEFINE_CAST(FROM, TO, T, R, expr) \
  KD_CLONES static void cast_##FROM##_##TO(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    R *to = o; \
    const T *p = a; \
    (void)b, (void)c; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { T v = p[i]; to[i] = (R)(expr); } \
  }
CASTS(DEFINE_CAST)

kd__elem_fn kd__elem_cast(kd_dtype t, kd_dtype to) {
  static const kd__elem_fn table[KD_DTYPE_COUNT][KD_DTYPE_COUNT] = {
#define CAST_ENTRY(FROM, TO, T, R, expr) [KD_##FROM][KD_##TO] = cast_##FROM##_##TO,
    CASTS(CAST_ENTRY)
  };
  return table[t][to];
}
