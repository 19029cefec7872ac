/* reduce.c: gradient rules of reductions and normalisations. */
#include "compiler/autodiff/rule.h"

static kd_value spread(kd__rule *r, kd_value v, kd_value like) {
  return kd__b_unreduce(&r->b, v, like, r->n.attr[0].u.list, (int)r->n.attr[0].n);
}
static kd_value total(kd__rule *r, kd_value v) {
  return kd__b_reduce(&r->b, KD_OP_SUM, v, r->n.attr[0].u.list, (int)r->n.attr[0].n);
}
/* v's sum over the axes, everywhere. */
static kd_value spread_total(kd__rule *r, kd_value v) { return spread(r, total(r, v), v); }
static kd_value over_axes(kd__rule *r, kd_op op, kd_value v) {
  return kd__b_reduce(&r->b, op, v, r->n.attr[0].u.list, (int)r->n.attr[0].n);
}

void kd__grad_sum(kd__rule *r) { r->d[0] = spread(r, r->g[0], arg(r, 0)); }

/* Also of reduce_min: the gradient goes in equal parts to all elements that are the result. */
void kd__grad_reduce_max(kd__rule *r) {
  kd_value x = arg(r, 0), is = op2(r, KD_OP_EQ, x, spread(r, r->n.out, x));
  kd_value count = total(r, kd__b_cast(&r->b, is, (kd_dtype)type_at(r, x).dtype));
  r->d[0] = keep(r, is, spread(r, op2(r, KD_OP_DIV, r->g[0], count), x));
}

/* mean: g / n; variance: g * 2 (x - mean) / n, where the mean's own motion cancels. */
void kd__grad_moments(kd__rule *r) {
  kd_value x = arg(r, 0), dm = 0, dv = 0;
  kd_type t = type_at(r, x);
  double n = 1;
  for (uint32_t i = 0; i < r->n.attr[0].n; i++) n *= (double)t.dim[r->n.attr[0].u.list[i]];
  if (r->g[0]) dm = spread(r, scale(r, 1 / n, r->g[0]), x);
  if (r->g[1]) {
    kd_value slope = spread(r, scale(r, 2 / n, r->g[1]), x);
    dv = mul(r, slope, sub(r, x, spread(r, r->n.out, x)));
  }
  r->d[0] = dm && dv ? add(r, dm, dv) : dm ? dm : dv;
}

void kd__grad_logsumexp(kd__rule *r) {
  kd_value g = spread(r, r->g[0], arg(r, 0));
  r->d[0] = mul(r, g, over_axes(r, KD_OP_SOFTMAX, arg(r, 0)));
}

void kd__grad_softmax(kd__rule *r) {
  kd_value y = r->n.out, g = r->g[0];
  r->d[0] = mul(r, y, sub(r, g, spread_total(r, mul(r, g, y))));
}

void kd__grad_log_softmax(kd__rule *r) {
  kd_value p = op1(r, KD_OP_EXP, r->n.out), g = r->g[0];
  r->d[0] = sub(r, g, mul(r, p, spread_total(r, g)));
}

void kd__grad_cumsum(kd__rule *r) {
  kd_attr attr[2] = { r->n.attr[0], kd__ai(!r->n.attr[1].u.i) };
  r->d[0] = kd__graph_add(r->b.g, KD_OP_CUMSUM, &r->g[0], 1, attr, r->b.origin, NULL);
}
