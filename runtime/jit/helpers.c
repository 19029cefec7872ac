/* helpers.c: functions over runs of values, for what native code does not write out: double precision, and rare arguments. */
#include "runtime/jit/emit.h"
#include <math.h>

#define HELPER1(name, T, expr) \
  static void name(T *p, const T *q, int64_t n) { \
    (void)q; \
    for (int64_t i = 0; i < n; i++) { T v = p[i]; p[i] = expr; } \
  }
#define HELPER2(name, T, expr) \
  static void name(T *p, const T *q, int64_t n) { \
    for (int64_t i = 0; i < n; i++) { T u = p[i], v = q[i]; p[i] = expr; } \
  }
HELPER1(run_exp, double, exp(v))
HELPER1(run_expm1, double, expm1(v))
HELPER1(run_log, double, log(v))
HELPER1(run_log1p, double, log1p(v))
HELPER1(run_sin, double, sin(v))
HELPER1(run_cos, double, cos(v))
HELPER1(run_tanh, double, tanh(v))
HELPER1(run_sigmoid, double, v < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-v)))
HELPER1(run_softplus, double, (v > 0 ? v : 0) + log1p(exp(-fabs(v))))
HELPER1(run_erf, double, erf(v))
HELPER2(run_pow, double, pow(u, v))
HELPER2(run_xlogy, double, u == 0 ? 0 : u * log(v))
HELPER1(run_sinf, float, sinf(v))
HELPER1(run_cosf, float, cosf(v))
HELPER2(run_powf, float, powf(u, v))

/* Functions as data: POSIX promises that the bytes are the same. */
#define AS_DATA(f) ((const void *)(uintptr_t)(f))
const void *const kdj_helper_table[KDJ_HELPERS] = {
  [KDJ_EXP] = AS_DATA(run_exp), [KDJ_EXPM1] = AS_DATA(run_expm1), [KDJ_LOG] = AS_DATA(run_log), [KDJ_LOG1P] = AS_DATA(run_log1p),
  [KDJ_SIN] = AS_DATA(run_sin), [KDJ_COS] = AS_DATA(run_cos), [KDJ_TANH] = AS_DATA(run_tanh), [KDJ_SIGMOID] = AS_DATA(run_sigmoid),
  [KDJ_SOFTPLUS] = AS_DATA(run_softplus), [KDJ_ERF] = AS_DATA(run_erf), [KDJ_POW] = AS_DATA(run_pow), [KDJ_XLOGY] = AS_DATA(run_xlogy),
  [KDJ_SINF] = AS_DATA(run_sinf), [KDJ_COSF] = AS_DATA(run_cosf), [KDJ_POWF] = AS_DATA(run_powf),
};
