/* elem.c: gradient rules of the element-wise operators. */
#include "compiler/autodiff/rule.h"

/* y is the result, x the operand, g the gradient of y. */
#define RULE1(name, expr) \
  void kd__grad_##name(kd__rule *r) { \
    kd_value x = arg(r, 0), y = r->n.out, g = r->g[0]; \
    (void)x, (void)y; \
    r->d[0] = expr; \
  }

static kd_value one_minus(kd__rule *r, kd_value a) { return sub(r, fill(r, 1, a), a); }

RULE1(neg, neg(r, g))
RULE1(abs, mul(r, g, op1(r, KD_OP_SIGN, x)))
RULE1(exp, mul(r, g, y))
RULE1(expm1, add(r, g, mul(r, g, y)))
RULE1(log, op2(r, KD_OP_DIV, g, x))
RULE1(log1p, op2(r, KD_OP_DIV, g, add(r, fill(r, 1, x), x)))
RULE1(sqrt, op2(r, KD_OP_DIV, scale(r, 0.5, g), y))
RULE1(recip, neg(r, mul(r, g, mul(r, y, y))))
RULE1(sin, mul(r, g, op1(r, KD_OP_COS, x)))
RULE1(cos, neg(r, mul(r, g, op1(r, KD_OP_SIN, x))))
RULE1(tanh, mul(r, g, one_minus(r, mul(r, y, y))))
RULE1(sigmoid, mul(r, g, mul(r, y, one_minus(r, y))))
RULE1(softplus, mul(r, g, op1(r, KD_OP_SIGMOID, x)))
RULE1(relu, keep(r, op2(r, KD_OP_LT, fill(r, 0, x), x), g))
RULE1(cast, kd__b_cast(&r->b, g, (kd_dtype)type_at(r, x).dtype))

/* Operands that add nodes are made one after the other, in no order that a compiler may choose: the same graph everywhere. */
void kd__grad_rsqrt(kd__rule *r) {
  kd_value y = r->n.out, half = scale(r, -0.5, r->g[0]);
  r->d[0] = mul(r, half, mul(r, y, mul(r, y, y)));
}

void kd__grad_erf(kd__rule *r) {
  kd_value x = arg(r, 0), g = scale(r, 1.1283791670955125738961589031215, r->g[0]);
  r->d[0] = mul(r, g, op1(r, KD_OP_EXP, neg(r, mul(r, x, x))));
}

void kd__grad_add(kd__rule *r) { r->d[0] = r->d[1] = r->g[0]; }

void kd__grad_sub(kd__rule *r) {
  r->d[0] = r->g[0];
  if (r->need[1]) r->d[1] = neg(r, r->g[0]);
}

void kd__grad_mul(kd__rule *r) {
  if (r->need[0]) r->d[0] = mul(r, r->g[0], arg(r, 1));
  if (r->need[1]) r->d[1] = mul(r, r->g[0], arg(r, 0));
}

void kd__grad_div(kd__rule *r) {
  kd_value over = op2(r, KD_OP_DIV, r->g[0], arg(r, 1));
  r->d[0] = over;
  if (r->need[1]) r->d[1] = neg(r, mul(r, over, r->n.out));
}

/* a - floor(a / b) * b, with the floor held */
void kd__grad_rem(kd__rule *r) {
  r->d[0] = r->g[0];
  if (r->need[1]) r->d[1] = neg(r, mul(r, r->g[0], op1(r, KD_OP_FLOOR, op2(r, KD_OP_DIV, arg(r, 0), arg(r, 1)))));
}

/* Is v one number, known now? */
static bool constant(const kd__rule *r, kd_value v, double *k) {
  const kd_node *n = kd__node_of(r->b.g, v);
  while (n->op == KD_OP_BROADCAST || n->op == KD_OP_RESHAPE) n = kd__node_of(r->b.g, n->in[0]);
  if (n->op == KD_OP_CONST) *k = kd__attr(n, "value")->u.f;
  return n->op == KD_OP_CONST;
}

/* b a^(b-1). With an exponent known not to be 0 nothing is in the way; else 0 * 0^-1 is 0 at a = b = 0. */
static kd_value power_slope(kd__rule *r, kd_value a, kd_value b) {
  double k = 0;
  if (constant(r, b, &k)) {
    if (k == 0) return fill(r, 0, a);
    if (k == 1) return r->g[0];
    if (k == 2) return mul(r, r->g[0], scale(r, 2, a));
    return mul(r, r->g[0], scale(r, k, op2(r, KD_OP_POW, a, fill(r, k - 1, a))));
  }
  kd_value zero = fill(r, 0, a), no_a = op2(r, KD_OP_EQ, a, zero), no_b = op2(r, KD_OP_EQ, b, zero), both = op2(r, KD_OP_AND, no_a, no_b);
  kd_value safe = kd__b_where(&r->b, both, fill(r, 1, a), a);
  return mul(r, r->g[0], mul(r, b, op2(r, KD_OP_POW, safe, sub(r, b, fill(r, 1, b)))));
}

void kd__grad_pow(kd__rule *r) {
  kd_value a = arg(r, 0), b = arg(r, 1);
  if (r->need[0]) r->d[0] = power_slope(r, a, b);
  if (r->need[1]) {
    kd_value above = op2(r, KD_OP_LT, fill(r, 0, a), a), safe = kd__b_where(&r->b, above, a, fill(r, 1, a));
    r->d[1] = keep(r, above, mul(r, r->g[0], mul(r, r->n.out, op1(r, KD_OP_LOG, safe))));
  }
}

static void choose(kd__rule *r, kd_value first, int a, int b) {
  kd_value zero = fill(r, 0, r->g[0]);
  if (r->need[a]) r->d[a] = kd__b_where(&r->b, first, r->g[0], zero);
  if (r->need[b]) r->d[b] = kd__b_where(&r->b, first, zero, r->g[0]);
}
void kd__grad_max(kd__rule *r) { choose(r, op2(r, KD_OP_LE, arg(r, 1), arg(r, 0)), 0, 1); }
void kd__grad_min(kd__rule *r) { choose(r, op2(r, KD_OP_LE, arg(r, 0), arg(r, 1)), 0, 1); }
void kd__grad_where(kd__rule *r) { choose(r, arg(r, 0), 1, 2); }

void kd__grad_xlogy(kd__rule *r) {
  kd_value a = arg(r, 0), some = op2(r, KD_OP_NE, a, fill(r, 0, a));
  kd_value b = kd__b_where(&r->b, some, arg(r, 1), fill(r, 1, a));
  if (r->need[0]) r->d[0] = keep(r, some, mul(r, r->g[0], op1(r, KD_OP_LOG, b)));
  if (r->need[1]) r->d[1] = keep(r, some, mul(r, r->g[0], op2(r, KD_OP_DIV, a, b)));
}
