/* early_pairs.c: differences of pairs of samples, never written out.
 *
 * F: n x k are samples. Of the differences u(i, j) = F(i) - F(j), an array of n n k numbers, often only products over k are asked for: squared distances
 * |u(i, j)|^2, cosines u(j, i).u(k, i) / (|u(j, i)| |u(k, i)|). They follow from the Gram matrix G = FF' of n n numbers:
 *   u(j, i).u(k, i) = G(j, k) - G(j, i) - G(i, k) + G(i, i)
 * and their gradients are one product of an n x n matrix with F.
 *
 * Accuracy. The four terms cancel where samples are near each other. So G is computed in double precision from F less the mean of its rows (which
 * differences do not see): a product of differences is off by some 1e-15 t, t = the sum of the squares of all rows, and those below 1e-14 t become 0, as
 * they are for equal samples. Against single precision, which loses 1e-7 of a difference, the Gram form is as good wherever samples lie further apart
 * than about 1e-4 sqrt(t); nearer ones have a relative error of at most 1e-15 t / |u|^2, and samples nearer than 1e-7 sqrt(t) count as equal.
 *
 * It is done where the differences have more than three times as many elements as the samples. */
#include "compiler/pass/early.h"

enum { MOST = 4 };
/* A value as factor * sum of sign * F[along one axis of the value]: the axis that is contracted has no part in the factor. */
typedef struct pairs {
  kd_value of;                                   /* F, [n, k] or [k, n] */
  bool turned;                                   /* [k, n] */
  int n;
  struct { double sign; int axis; } term[MOST];
  int nfactor;
  struct { kd_value v; int axis[KD_MAX_RANK]; bool below; } factor[2];   /* below: divided by */
} pairs;

/* A repeated F: one axis of samples, and the contracted one. */
static bool repeated(const kd_graph *g, const kd_node *n, const int *axis, int k, double sign, pairs *p) {
  const kd_attr *at = &n->attr[1];
  if (at->n != 2 || p->n == MOST) return false;
  int first = axis[at->u.list[0]], second = axis[at->u.list[1]];
  if ((first == k) == (second == k) || (p->of && (p->of != n->in[0] || p->turned != (first == k)))) return false;
  p->of = n->in[0];
  p->turned = first == k;
  p->term[p->n].sign = sign;
  p->term[p->n++].axis = first == k ? second : first;
  return kd__dtype_real((kd_dtype)kd__type_of(g, p->of)->dtype);
}

static bool take_factor(const kd_graph *g, kd_value v, const int *axis, int k, bool below, pairs *p) {
  kd_node n;
  if (!kd__early_is(g, v, KD_OP_BROADCAST, &n) || p->nfactor == 2) return false;
  p->factor[p->nfactor].v = n.in[0];
  p->factor[p->nfactor].below = below;
  for (uint32_t i = 0; i < n.attr[1].n; i++) {
    p->factor[p->nfactor].axis[i] = axis[n.attr[1].u.list[i]];
    if (axis[n.attr[1].u.list[i]] == k) return false;
  }
  p->nfactor++;
  return true;
}

/* axis[d]: what axis d of v is called outside. */
static bool read_pairs(const kd_graph *g, kd_value v, const int *axis, int k, double sign, bool outermost, int depth, pairs *p) {
  kd_node n = *kd__node_of(g, v);
  int inner[KD_MAX_RANK];
  if (depth == 0) return false;
  switch (n.op) {
    case KD_OP_BROADCAST: return repeated(g, &n, axis, k, sign, p);
    case KD_OP_PERMUTE:
      for (uint32_t d = 0; d < n.attr[0].n; d++) inner[n.attr[0].u.list[d]] = axis[d];
      return read_pairs(g, n.in[0], inner, k, sign, outermost, depth - 1, p);
    case KD_OP_NEG: return read_pairs(g, n.in[0], axis, k, -sign, outermost, depth - 1, p);
    case KD_OP_ADD: case KD_OP_SUB:
      return read_pairs(g, n.in[0], axis, k, sign, false, depth - 1, p) && read_pairs(g, n.in[1], axis, k, n.op == KD_OP_SUB ? -sign : sign, false, depth - 1, p);
    case KD_OP_DIV: return outermost && take_factor(g, n.in[1], axis, k, true, p) && read_pairs(g, n.in[0], axis, k, sign, true, depth - 1, p);
    case KD_OP_MUL:
      if (!outermost) return false;
      if (take_factor(g, n.in[1], axis, k, false, p)) return read_pairs(g, n.in[0], axis, k, sign, true, depth - 1, p);
      return take_factor(g, n.in[0], axis, k, false, p) && read_pairs(g, n.in[1], axis, k, sign, true, depth - 1, p);
    default: return false;
  }
}

/* Differences: the signs add up to nothing, and the samples are few beside them. */
static bool differences(const kd_graph *g, kd_value v, const pairs *p) {
  double sum = 0;
  for (int i = 0; i < p->n; i++) sum += p->term[i].sign;
  int64_t whole = kd__type_count(kd__type_of(g, v)), few = p->of ? kd__type_count(kd__type_of(g, p->of)) : 0;
  return p->n >= 2 && sum == 0 && few > 0 && whole / few > 3;
}

/* --- the Gram matrix ---------------------------------------------------------------------------------------------------------------------- */
typedef struct inner { kd_value g, diagonal, least; int64_t n; } inner;  /* [n, n], [n]; below least a product of differences is 0 */

static inner make_inner(kd_build *b, const pairs *p) {
  kd_value f = kd__b_cast(b, p->of, KD_F64);
  if (p->turned) f = kd__b_permute(b, f, (int64_t[]){ 1, 0 });
  kd_type t = *kd__type_of(b->g, f);
  int64_t n = t.dim[0], square[2] = { n, n };
  kd_value mean = kd__b_op2(b, KD_OP_MUL, kd__b_reduce(b, KD_OP_SUM, f, (int64_t[]){ 0 }, 1), kd__b_const(b, 1.0 / (double)n, KD_F64, t.dim + 1, 1));
  kd_value c = kd__b_op2(b, KD_OP_SUB, f, kd__b_broadcast(b, kd__b_op1(b, KD_OP_STOP, mean), t.dim, 2, (int64_t[]){ 1 }));
  inner m = { .g = kd__b_matmul(b, c, kd__b_permute(b, c, (int64_t[]){ 1, 0 })), .n = n };
  kd_value on = kd__b_op2(b, KD_OP_EQ, kd__b_iota(b, KD_I64, square, 2, 0), kd__b_iota(b, KD_I64, square, 2, 1));
  m.diagonal = kd__b_reduce(b, KD_OP_SUM, kd__b_where(b, on, m.g, kd__b_const_like(b, 0, m.g)), (int64_t[]){ 1 }, 1);
  kd_value all = kd__b_reduce(b, KD_OP_SUM, kd__b_op1(b, KD_OP_STOP, m.diagonal), (int64_t[]){ 0 }, 1);
  m.least = kd__b_op2(b, KD_OP_MUL, all, kd__b_const(b, 1e-14, KD_F64, NULL, 0));
  return m;
}

static kd_value combine(kd_build *b, kd_value so_far, double sign, kd_value v) {
  if (!so_far) return sign < 0 ? kd__b_op1(b, KD_OP_NEG, v) : v;
  return kd__b_op2(b, sign < 0 ? KD_OP_SUB : KD_OP_ADD, so_far, v);
}

/* x.y over the contracted axis; `out`: the result's type, whose axes both name. Equal samples give an exact 0: the terms that meet then are the
 * same elements of G, and are subtracted first. */
static kd_value product(kd_build *b, const pairs *x, const pairs *y, const kd_type *out) {
  inner m = make_inner(b, x);
  kd_value sum = 0;
  for (int i = 0; i < x->n; i++) {
    kd_value row = 0;
    for (int j = 0; j < y->n; j++) {
      int64_t one[1] = { x->term[i].axis }, two[2] = { x->term[i].axis, y->term[j].axis };
      kd_value v = two[0] == two[1] ? kd__b_broadcast(b, m.diagonal, out->dim, out->rank, one)
                 : two[0] < two[1]  ? kd__b_broadcast(b, m.g, out->dim, out->rank, two)
                                    : kd__b_broadcast(b, kd__b_permute(b, m.g, (int64_t[]){ 1, 0 }), out->dim, out->rank, (int64_t[]){ two[1], two[0] });
      row = combine(b, row, y->term[j].sign, v);
    }
    sum = combine(b, sum, x->term[i].sign, row);
  }
  sum = kd__b_cast(b, sum, (kd_dtype)out->dtype);
  kd_value least = kd__b_broadcast(b, kd__b_cast(b, m.least, (kd_dtype)out->dtype), out->dim, out->rank, NULL);
  return kd__b_where(b, kd__b_op2(b, KD_OP_LE, kd__b_op1(b, KD_OP_ABS, sum), least), kd__b_const_like(b, 0, sum), sum);
}

static kd_value give_factors(kd_build *b, kd_value v, const pairs *p) {
  for (int i = 0; i < p->nfactor; i++) {
    const kd_type t = *kd__type_of(b->g, v), own = *kd__type_of(b->g, p->factor[i].v);
    int64_t axis[KD_MAX_RANK], perm[KD_MAX_RANK];
    for (int d = 0; d < own.rank; d++) {         /* broadcast wants its axes in order */
      int at = d;
      for (; at > 0 && axis[at - 1] > p->factor[i].axis[d]; at--) axis[at] = axis[at - 1], perm[at] = perm[at - 1];
      axis[at] = p->factor[i].axis[d], perm[at] = d;
    }
    kd_value f = kd__b_broadcast(b, own.rank > 1 ? kd__b_permute(b, p->factor[i].v, perm) : p->factor[i].v, t.dim, t.rank, axis);
    v = kd__b_op2(b, p->factor[i].below ? KD_OP_DIV : KD_OP_MUL, v, f);
  }
  return v;
}

/* --- the rules -------------------------------------------------------------------------------------------------------------------------- */
/* sum over the last axis of u * w */
kd_value kd__early_norm(kd_build *b, kd_value v, const kd_attr *axes) {
  kd_node m;
  kd_type t = *kd__type_of(b->g, v);
  pairs x = { 0 }, y = { 0 };
  int axis[KD_MAX_RANK];
  if (t.rank < 3 || axes->n != 1 || axes->u.list[0] != t.rank - 1 || !kd__early_is(b->g, v, KD_OP_MUL, &m)) return 0;
  for (int d = 0; d < t.rank; d++) axis[d] = d;
  if (!read_pairs(b->g, m.in[0], axis, t.rank - 1, 1, true, 8, &x) || !read_pairs(b->g, m.in[1], axis, t.rank - 1, 1, true, 8, &y)) return 0;
  if (x.of != y.of || x.turned != y.turned || !differences(b->g, m.in[0], &x) || !differences(b->g, m.in[1], &y)) return 0;
  t.rank--;
  t.dim[t.rank] = 0;
  return give_factors(b, give_factors(b, product(b, &x, &y, &t), &x), &y);
}

/* A matrix product of such values: batch axes and rows of the first, batch axes and columns of the second. */
kd_value kd__early_angle(kd_build *b, kd_value u, kd_value w) {
  kd_type l = *kd__type_of(b->g, u), t = l;
  pairs x = { 0 }, y = { 0 };
  int r = l.rank, left[KD_MAX_RANK], right[KD_MAX_RANK];
  if (r < 3) return 0;
  for (int d = 0; d < r; d++) left[d] = right[d] = d;
  left[r - 1] = r, right[r - 2] = r;             /* the contracted axis is none of the result's */
  if (!read_pairs(b->g, u, left, r, 1, true, 8, &x) || !read_pairs(b->g, w, right, r, 1, true, 8, &y)) return 0;
  if (x.of != y.of || x.turned != y.turned || !differences(b->g, u, &x) || !differences(b->g, w, &y)) return 0;
  t.dim[r - 1] = kd__type_of(b->g, w)->dim[r - 1];
  return give_factors(b, give_factors(b, product(b, &x, &y, &t), &x), &y);
}
