/* contract.c: gradient rules of matrix products, convolutions and pools. */
#include "compiler/autodiff/rule.h"
#include <string.h>

static kd_value turned(kd__rule *r, kd_value v) {
  int64_t perm[KD_MAX_RANK];
  int rank = type_at(r, v).rank;
  for (int i = 0; i < rank; i++) perm[i] = i;
  perm[rank - 2] = rank - 1;
  perm[rank - 1] = rank - 2;
  return kd__b_permute(&r->b, v, perm);
}

void kd__grad_matmul(kd__rule *r) {
  if (r->need[0]) r->d[0] = kd__b_matmul(&r->b, r->g[0], turned(r, arg(r, 1)));
  if (r->need[1]) r->d[1] = kd__b_matmul(&r->b, turned(r, arg(r, 0)), r->g[0]);
}

/* One of the windowed operators with this node's first `nattr` attributes and, where `like` is given, its spatial sizes as `size`. */
static kd_value windowed(kd__rule *r, kd_op op, const kd_value *in, uint32_t nin, int nattr, kd_value like) {
  kd_attr attr[KD_MAX_ATTRS];
  kd_type t = type_at(r, like);
  memcpy(attr, r->n.attr, sizeof *attr * (size_t)nattr);
  if (like) attr[nattr] = kd__al(t.dim + 2, t.rank - 2u);
  return kd__graph_add(r->b.g, op, in, nin, attr, r->b.origin, NULL);
}
enum { CONV_ATTRS = 5, POOL_ATTRS = 4 };

/* The three convolutions are the three partial maps of one trilinear form over (x, w, g): each one's gradients are the other two. */
static kd_value conv(kd__rule *r, kd_value x, kd_value w) { return windowed(r, KD_OP_CONV, (kd_value[]){ x, w }, 2, CONV_ATTRS, 0); }
static kd_value conv_data(kd__rule *r, kd_value g, kd_value w, kd_value x) {
  return windowed(r, KD_OP_CONV_DATA, (kd_value[]){ g, w }, 2, CONV_ATTRS, x);
}
static kd_value conv_weight(kd__rule *r, kd_value x, kd_value g, kd_value w) {
  return windowed(r, KD_OP_CONV_WEIGHT, (kd_value[]){ x, g }, 2, CONV_ATTRS, w);
}

void kd__grad_conv(kd__rule *r) {
  kd_value x = arg(r, 0), w = arg(r, 1);
  if (r->need[0]) r->d[0] = conv_data(r, r->g[0], w, x);
  if (r->need[1]) r->d[1] = conv_weight(r, x, r->g[0], w);
}
void kd__grad_conv_data(kd__rule *r) {
  kd_value g = arg(r, 0), w = arg(r, 1);
  if (r->need[0]) r->d[0] = conv(r, r->g[0], w);
  if (r->need[1]) r->d[1] = conv_weight(r, r->g[0], g, w);
}
void kd__grad_conv_weight(kd__rule *r) {
  kd_value x = arg(r, 0), g = arg(r, 1);
  if (r->need[0]) r->d[0] = conv_data(r, g, r->g[0], x);
  if (r->need[1]) r->d[1] = conv(r, x, r->g[0]);
}

void kd__grad_sum_pool(kd__rule *r) { r->d[0] = windowed(r, KD_OP_SUM_POOL_DATA, &r->g[0], 1, POOL_ATTRS, arg(r, 0)); }
void kd__grad_sum_pool_data(kd__rule *r) { r->d[0] = windowed(r, KD_OP_SUM_POOL, &r->g[0], 1, POOL_ATTRS, 0); }

/* v [B,C,s...] as [B,C,S]. */
static kd_value flat(kd__rule *r, kd_value v) {
  kd_type t = type_at(r, v);
  int64_t dim[3] = { t.dim[0], t.dim[1], 1 };
  for (int i = 2; i < t.rank; i++) dim[2] *= t.dim[i];
  return kd__b_reshape(&r->b, v, dim, 3);
}

/* Adds each window's gradient at the position it took its maximum from. */
void kd__grad_max_pool(kd__rule *r) {
  kd_value x = arg(r, 0);
  kd_type t = type_at(r, x);
  kd_value base = flat(r, fill(r, 0, x)), at = flat(r, r->n.out + 1);
  kd_value sum = kd__b_scatter(&r->b, KD_OP_SCATTER_ADD, base, at, flat(r, r->g[0]), 2, 0);
  r->d[0] = kd__b_reshape(&r->b, sum, t.dim, t.rank);
}
