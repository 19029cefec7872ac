/* elem.c: twins of the leaves and of the element-wise operators. */
#include "runtime/kernels/ref/ref.h"
#include <assert.h>
#include <math.h>

/* --- leaves ------------------------------------------------------------------------------------------------------ */

void kd__ref_input(const kd_call *c, const kd_exec *x) {
  (void)c, (void)x;
  assert(!"an input has no kernel: the plan binds its slot");
}

void kd__ref_loop(const kd_call *c, const kd_exec *x) {
  (void)c, (void)x;
  assert(!"a loop has no kernel: its body's calls have");
}

void kd__ref_const(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_axes o = kd__ref_every(&c->out[0]);
  for (int64_t k = 0; k < o.count; k++) kd__ref_store(&c->out[0], kd__ref_pos(&o, k), c->attr[0].u.f);
}

void kd__ref_iota(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *t = &c->out[0];
  int64_t axis = c->attr[2].u.i, index[KD_MAX_RANK] = { 0 }, n = kd__ref_count(t->dim, t->rank);
  for (int64_t k = 0; k < n; k++, kd__ref_next(index, t->dim, t->rank))
    kd__ref_storei(t, kd__ref_offset(t->stride, index, t->rank), index[axis]);
}

/* --- one operand ------------------------------------------------------------------------------------------------- */

typedef double (*real1)(double);
typedef int64_t (*int1)(int64_t);

static void map1(const kd_call *c, real1 real, int1 integer) {
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  kd__ref_axes pa = kd__ref_every(a), po = kd__ref_every(o);
  assert(real || !kd__ref_real(a));
  assert(integer || kd__ref_real(a));
  for (int64_t k = 0; k < po.count; k++) {
    int64_t ka = kd__ref_pos(&pa, k), ko = kd__ref_pos(&po, k);
    if (kd__ref_real(a)) kd__ref_store(o, ko, real(kd__ref_load(a, ka)));
    else kd__ref_storei(o, ko, integer(kd__ref_loadi(a, ka)));
  }
}

static int64_t wrap_neg(int64_t a) { return (int64_t)(0 - (uint64_t)a); }
static int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static int64_t wrap_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }

/* Real only. */
#define REAL1(name, expr) \
  static double real_##name(double a) { return expr; } \
  void kd__ref_##name(const kd_call *c, const kd_exec *x) { (void)x; map1(c, real_##name, NULL); }
/* Real, and of integers. */
#define BOTH1(name, expr, iexpr) \
  static double real_##name(double a) { return expr; } \
  static int64_t int_##name(int64_t a) { return iexpr; } \
  void kd__ref_##name(const kd_call *c, const kd_exec *x) { (void)x; map1(c, real_##name, int_##name); }

BOTH1(neg, -a, wrap_neg(a))
BOTH1(abs, fabs(a), a < 0 ? wrap_neg(a) : a)
BOTH1(sign, a != a ? a : (double)((a > 0) - (a < 0)), (a > 0) - (a < 0))
BOTH1(relu, a < 0 ? 0 : a, a < 0 ? 0 : a)
REAL1(exp, exp(a))
REAL1(expm1, expm1(a))
REAL1(log, log(a))
REAL1(log1p, log1p(a))
REAL1(sqrt, sqrt(a))
REAL1(rsqrt, 1 / sqrt(a))
REAL1(recip, 1 / a)
REAL1(sin, sin(a))
REAL1(cos, cos(a))
REAL1(tanh, tanh(a))
REAL1(sigmoid, a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a)))
REAL1(softplus, (a > 0 ? a : 0) + log1p(exp(-fabs(a))))
REAL1(erf, erf(a))
REAL1(floor, floor(a))
REAL1(ceil, ceil(a))
REAL1(round, rint(a))                              /* the default rounding mode: ties to even */

void kd__ref_isfinite(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_axes pa = kd__ref_every(&c->in[0]), po = kd__ref_every(&c->out[0]);
  for (int64_t k = 0; k < po.count; k++) {
    double a = kd__ref_load(&c->in[0], kd__ref_pos(&pa, k));
    kd__ref_storei(&c->out[0], kd__ref_pos(&po, k), a - a == 0);
  }
}

void kd__ref_not(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_axes pa = kd__ref_every(&c->in[0]), po = kd__ref_every(&c->out[0]);
  for (int64_t k = 0; k < po.count; k++)
    kd__ref_storei(&c->out[0], kd__ref_pos(&po, k), !kd__ref_loadi(&c->in[0], kd__ref_pos(&pa, k)));
}

void kd__ref_cast(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  kd__ref_axes pa = kd__ref_every(a), po = kd__ref_every(o);
  for (int64_t k = 0; k < po.count; k++) {
    int64_t ka = kd__ref_pos(&pa, k), ko = kd__ref_pos(&po, k);
    if (o->dtype == KD_BOOL) kd__ref_storei(o, ko, kd__ref_loadw(a, ka) != 0);
    else if (a->dtype == KD_BOOL) kd__ref_storei(o, ko, kd__ref_loadi(a, ka) != 0);
    else if (!kd__ref_real(a)) kd__ref_storei(o, ko, kd__ref_loadi(a, ka));       /* i64 to u8 keeps the low byte */
    else kd__ref_store(o, ko, kd__ref_load(a, ka));
  }
}

void kd__ref_stop(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_axes pa = kd__ref_every(&c->in[0]), po = kd__ref_every(&c->out[0]);
  for (int64_t k = 0; k < po.count; k++) kd__ref_put(&c->out[0], kd__ref_pos(&po, k), &c->in[0], kd__ref_pos(&pa, k));
}

/* --- two operands ------------------------------------------------------------------------------------------------- */

typedef double (*real2)(double, double);
typedef int64_t (*int2)(int64_t, int64_t);

static void map2(const kd_call *c, real2 real, int2 integer) {
  const kd_tensor *a = &c->in[0], *b = &c->in[1], *o = &c->out[0];
  kd__ref_axes pa = kd__ref_every(a), pb = kd__ref_every(b), po = kd__ref_every(o);
  assert(real || !kd__ref_real(a));
  assert(integer || kd__ref_real(a));
  for (int64_t k = 0; k < po.count; k++) {
    int64_t ka = kd__ref_pos(&pa, k), kb = kd__ref_pos(&pb, k), ko = kd__ref_pos(&po, k);
    if (kd__ref_real(a)) kd__ref_store(o, ko, real(kd__ref_load(a, ka), kd__ref_load(b, kb)));
    else kd__ref_storei(o, ko, integer(kd__ref_loadi(a, ka), kd__ref_loadi(b, kb)));
  }
}

/* 0 for a divisor of 0: idiv and rem report that themselves. */
static int64_t floor_div(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return wrap_neg(a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
static void report_zero_divisors(const kd_call *c, const kd_exec *x) {
  kd__ref_axes pa = kd__ref_every(&c->in[0]), pb = kd__ref_every(&c->in[1]);
  for (int64_t k = 0; k < pa.count; k++)
    if (kd__ref_loadi(&c->in[1], kd__ref_pos(&pb, k)) == 0) kd__fault(x, c->op, kd__ref_loadi(&c->in[0], kd__ref_pos(&pa, k)), 0, k);
}

#define REAL2(name, expr) \
  static double real_##name(double a, double b) { return expr; } \
  void kd__ref_##name(const kd_call *c, const kd_exec *x) { (void)x; map2(c, real_##name, NULL); }
#define BOTH2(name, expr, iexpr) \
  static double real_##name(double a, double b) { return expr; } \
  static int64_t int_##name(int64_t a, int64_t b) { return iexpr; } \
  void kd__ref_##name(const kd_call *c, const kd_exec *x) { (void)x; map2(c, real_##name, int_##name); }

BOTH2(add, a + b, wrap_add(a, b))
BOTH2(sub, a - b, wrap_sub(a, b))
BOTH2(mul, a * b, wrap_mul(a, b))
REAL2(div, a / b)
REAL2(pow, pow(a, b))
BOTH2(max, a != a ? a : b != b ? b : a >= b ? a : b, a >= b ? a : b)
BOTH2(min, a != a ? a : b != b ? b : a <= b ? a : b, a <= b ? a : b)
REAL2(xlogy, a == 0 ? 0 : a * log(b))

/* The reports come first: a result may lie where an operand does. */
void kd__ref_idiv(const kd_call *c, const kd_exec *x) {
  report_zero_divisors(c, x);
  map2(c, NULL, floor_div);
}

static double real_rem(double a, double b) { return a - floor(a / b) * b; }
static int64_t int_rem(int64_t a, int64_t b) { return b == 0 ? 0 : wrap_sub(a, wrap_mul(floor_div(a, b), b)); }
void kd__ref_rem(const kd_call *c, const kd_exec *x) {
  if (!kd__ref_real(&c->in[0])) report_zero_divisors(c, x);
  map2(c, real_rem, int_rem);
}

typedef bool (*predicate2)(kd__wide, kd__wide);
static void compare2(const kd_call *c, predicate2 holds) {
  kd__ref_axes pa = kd__ref_every(&c->in[0]), pb = kd__ref_every(&c->in[1]), po = kd__ref_every(&c->out[0]);
  for (int64_t k = 0; k < po.count; k++) {
    kd__wide a = kd__ref_loadw(&c->in[0], kd__ref_pos(&pa, k)), b = kd__ref_loadw(&c->in[1], kd__ref_pos(&pb, k));
    if (c->in[0].dtype == KD_BOOL) a = a != 0, b = b != 0;
    kd__ref_storei(&c->out[0], kd__ref_pos(&po, k), holds(a, b));
  }
}
#define COMPARE2(name, expr) \
  static bool holds_##name(kd__wide a, kd__wide b) { return expr; } \
  void kd__ref_##name(const kd_call *c, const kd_exec *x) { (void)x; compare2(c, holds_##name); }

COMPARE2(eq, a == b)
COMPARE2(ne, a != b)
COMPARE2(lt, a < b)
COMPARE2(le, a <= b)
COMPARE2(and, a != 0 && b != 0)
COMPARE2(or, a != 0 || b != 0)

/* --- three operands ------------------------------------------------------------------------------------------------ */

void kd__ref_where(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_axes pc = kd__ref_every(&c->in[0]), pa = kd__ref_every(&c->in[1]), pb = kd__ref_every(&c->in[2]), po = kd__ref_every(&c->out[0]);
  for (int64_t k = 0; k < po.count; k++) {
    bool first = kd__ref_loadi(&c->in[0], kd__ref_pos(&pc, k)) != 0;
    kd__ref_put(&c->out[0], kd__ref_pos(&po, k), &c->in[first ? 1 : 2], kd__ref_pos(first ? &pa : &pb, k));
  }
}
