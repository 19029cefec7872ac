/* elem_math.c: special functions over runs. f32 through vmath.h (powers of e through exp.h), f64 through the C library. */
#include "runtime/kernels/elem.h"
#include "runtime/kernels/exp.h"
#include "runtime/kernels/vmath.h"

#define MATH(X) \
  X(EXP, f64, double, exp(v)) \
  X(EXPM1, f32, float, kd__expm1f(v))        X(EXPM1, f64, double, expm1(v)) \
  X(LOG, f32, float, kd__logf(v))            X(LOG, f64, double, log(v)) \
  X(LOG1P, f32, float, kd__log1pf(v))        X(LOG1P, f64, double, log1p(v)) \
  X(SQRT, f32, float, sqrtf(v))              X(SQRT, f64, double, sqrt(v)) \
  X(RSQRT, f32, float, 1.0f / sqrtf(v))      X(RSQRT, f64, double, 1.0 / sqrt(v)) \
  X(RECIP, f32, float, 1.0f / v)             X(RECIP, f64, double, 1.0 / v) \
  X(SIN, f32, float, sinf(v))                X(SIN, f64, double, sin(v)) \
  X(COS, f32, float, cosf(v))                X(COS, f64, double, cos(v)) \
  X(TANH, f32, float, kd__tanhf(v))          X(TANH, f64, double, tanh(v)) \
  X(SIGMOID, f32, float, kd__sigmoidf(v))    X(SIGMOID, f64, double, v < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-v))) \
  X(SOFTPLUS, f32, float, kd__softplusf(v))  X(SOFTPLUS, f64, double, (v > 0 ? v : 0) + log1p(exp(-fabs(v)))) \
  X(ERF, f32, float, kd__erff(v))            X(ERF, f64, double, erf(v)) \
  X(FLOOR, f32, float, floorf(v))            X(FLOOR, f64, double, floor(v)) \
  X(CEIL, f32, float, ceilf(v))              X(CEIL, f64, double, ceil(v)) \
  X(ROUND, f32, float, rintf(v))             X(ROUND, f64, double, rint(v))

#define DEFINE(OP, tn, T, expr) \
  KD_CLONES static void run_##OP##_##tn(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    T *to = o; \
    const T *from = a; \
    (void)b, (void)c; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { T v = from[i]; to[i] = expr; } \
  }
MATH(DEFINE)

#define POWER(X) \
  X(POW, f32, float, powf(u, v))             X(POW, f64, double, pow(u, v)) \
  X(XLOGY, f32, float, u == 0.0f ? 0.0f : u * kd__logf(v)) X(XLOGY, f64, double, u == 0 ? 0 : u * log(v))
#define DEFINE2(OP, tn, T, expr) \
  KD_CLONES static void run_##OP##_##tn(int64_t n, void *o, const void *a, const void *b, const void *c) { \
    T *to = o; \
    const T *p = a, *q = b; \
    (void)c; \
    KD_IVDEP for (int64_t i = 0; i < n; i++) { T u = p[i], v = q[i]; to[i] = expr; } \
  }
POWER(DEFINE2)

kd__elem_fn kd__elem_math(kd_op op, kd_dtype t) {
  static const struct { kd__elem_fn f32, f64; } table[KD_OP_COUNT] = {
#define ENTRY(OP, tn, T, expr) [KD_OP_##OP].tn = run_##OP##_##tn,
    MATH(ENTRY) POWER(ENTRY)
  };
  if (op == KD_OP_EXP && t == KD_F32) return kd__exp_run();
  return t == KD_F32 ? table[op].f32 : t == KD_F64 ? table[op].f64 : NULL;
}
