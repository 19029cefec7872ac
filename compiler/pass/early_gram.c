/* early_gram.c: sums of squares of matrix products.
 *
 *   sum (XY)^2 = sum (X'X) . (YY')        X: m x k, Y: k x n, where k is clearly the smallest: 2 k^2 (m + n) products for 2 m n k, shared by equal X and Y
 *   a |P|^2 + c |Q|^2 - 2 sqrt(a c) P.Q = |sqrt(a) P - sqrt(c) Q|^2
 *
 * The second is also the exacter form: its terms nearly cancel where P and Q are alike (a student that has learned), and errors of about eps |P|^2 would be
 * left; those of the difference are eps |P - Q| |P|. Elsewhere results differ by roundings of the order in which sums are taken. */
#include "compiler/pass/early.h"
#include <math.h>

/* Both of the last two axes are summed. */
static bool sums_matrices(const kd_attr *axes, int rank) {
  uint32_t set = 0;
  for (uint32_t i = 0; i < axes->n; i++) set |= 1u << axes->u.list[i];
  return rank >= 2 && (set >> (rank - 2) & 3) == 3;
}

/* A batch of one is reshaped from a product without (early.c). */
static bool is_product(const kd_graph *g, kd_value v, kd_node *n) {
  if (kd__early_is(g, v, KD_OP_MATMUL, n)) return true;
  const kd_type *t = kd__type_of(g, v);
  if (!kd__early_is(g, v, KD_OP_RESHAPE, n) || t->rank < 2 || !kd__early_is(g, n->in[0], KD_OP_MATMUL, n)) return false;
  const kd_type *m = kd__type_of(g, n->out);
  return m->rank == 2 && m->dim[0] == t->dim[t->rank - 2] && m->dim[1] == t->dim[t->rank - 1];
}

kd_value kd__early_square(kd_build *b, kd_value x, const kd_attr *axes) {
  kd_node square, product;
  if (!kd__early_is(b->g, x, KD_OP_MUL, &square) || square.in[0] != square.in[1]) return 0;
  if (!is_product(b->g, square.in[0], &product)) return 0;
  int whole = kd__type_of(b->g, x)->rank, rank = kd__type_of(b->g, product.out)->rank;
  const int64_t *l = kd__type_of(b->g, product.in[0])->dim, *r = kd__type_of(b->g, product.in[1])->dim;
  int64_t m = l[rank - 2], k = l[rank - 1], n = r[rank - 1];
  if (!sums_matrices(axes, whole) || k < 2 || k >= 0.8 * (double)(m < n ? m : n)) return 0;
  kd_value left = kd__b_matmul(b, kd__early_transpose(b, product.in[0]), product.in[0]);
  kd_value right = kd__b_matmul(b, product.in[1], kd__early_transpose(b, product.in[1]));
  kd_value both = kd__b_op2(b, KD_OP_MUL, left, right);
  if (rank == whole) return kd__b_reduce(b, KD_OP_SUM, both, axes->u.list, (int)axes->n);
  const int64_t ones[KD_MAX_RANK] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
  return kd__b_reshape(b, kd__b_reduce(b, KD_OP_SUM, both, (int64_t[]){ 0, 1 }, 2), ones, whole - (int)axes->n);
}

/* --- |P|^2 - 2 P.Q + |Q|^2 ---------------------------------------------------------------------------------------------------------------- */
enum { TERMS = 8 };
typedef struct term { double factor; kd_value v; kd_value p, q; } term;  /* factor * v; where v is a sum of products: p * q */
typedef struct terms { term t[TERMS]; int n; bool full; } terms;

static bool number(const kd_graph *g, kd_value v, double *k) {
  kd_node n;
  if (kd__early_is(g, v, KD_OP_CONST, &n)) { *k = n.attr[0].u.f; return true; }
  if (kd__early_is(g, v, KD_OP_BROADCAST, &n) || kd__early_is(g, v, KD_OP_CAST, &n)) return number(g, n.in[0], k);
  return false;
}

static void collect(const kd_graph *g, kd_value v, double factor, int depth, terms *to) {
  kd_node n = *kd__node_of(g, v);
  double k;
  if (depth > 0 && (n.op == KD_OP_ADD || n.op == KD_OP_SUB)) {
    collect(g, n.in[0], factor, depth - 1, to);
    collect(g, n.in[1], n.op == KD_OP_SUB ? -factor : factor, depth - 1, to);
  } else if (n.op == KD_OP_NEG) {
    collect(g, n.in[0], -factor, depth, to);
  } else if (n.op == KD_OP_MUL && number(g, n.in[0], &k)) {
    collect(g, n.in[1], factor * k, depth, to);
  } else if ((n.op == KD_OP_MUL || n.op == KD_OP_DIV) && number(g, n.in[1], &k) && k != 0) {
    collect(g, n.in[0], n.op == KD_OP_MUL ? factor * k : factor / k, depth, to);
  } else if (to->n == TERMS) {
    to->full = true;
  } else {
    kd_node m;
    term *t = &to->t[to->n++];
    *t = (term){ factor, v, 0, 0 };
    if (n.op == KD_OP_SUM && kd__early_is(g, n.in[0], KD_OP_MUL, &m)) t->p = m.in[0], t->q = m.in[1];
  }
}

static bool same_axes(const kd_graph *g, kd_value x, kd_value y) {
  const kd_attr *a = &kd__node_of(g, x)->attr[0], *b = &kd__node_of(g, y)->attr[0];
  return a->n == b->n && (a->n == 0 || memcmp(a->u.list, b->u.list, sizeof *a->u.list * a->n) == 0) && kd__same_shape(kd__type_of(g, kd__node_of(g, x)->in[0]), kd__type_of(g, kd__node_of(g, y)->in[0]));
}

/* The squares i and j whose mixed term is m. */
static bool matches(const kd_graph *g, const terms *t, int i, int j, int m) {
  const term *x = &t->t[i], *y = &t->t[j], *z = &t->t[m];
  if (i == m || j == m || !x->p || !y->p || !z->p || x->p != x->q || y->p != y->q || x->p == y->p || x->factor <= 0 || y->factor <= 0) return false;
  if (!((z->p == x->p && z->q == y->p) || (z->p == y->p && z->q == x->p))) return false;
  double want = 2 * sqrt(x->factor * y->factor);
  return fabs(fabs(z->factor) - want) <= 1e-6 * want && same_axes(g, x->v, y->v) && same_axes(g, x->v, z->v);
}

static kd_value scaled(kd_build *b, double k, kd_value v) { return k == 1 ? v : kd__b_op2(b, KD_OP_MUL, v, kd__b_const_like(b, k, v)); }

static kd_value merge(kd_build *b, const terms *t, int i, int j, int m) {
  const kd_attr axes = kd__node_of(b->g, t->t[i].v)->attr[0];
  double a = t->t[i].factor, c = t->t[j].factor;
  bool alike = fabs(a - c) <= 1e-7 * a;
  kd_value p = alike ? t->t[i].p : scaled(b, sqrt(a), t->t[i].p), q = alike ? t->t[j].p : scaled(b, sqrt(c), t->t[j].p);
  kd_value d = kd__b_op2(b, t->t[m].factor < 0 ? KD_OP_SUB : KD_OP_ADD, p, q);
  kd_value sum = scaled(b, alike ? a : 1, kd__b_reduce(b, KD_OP_SUM, kd__b_op2(b, KD_OP_MUL, d, d), axes.u.list, (int)axes.n));
  for (int k = 0; k < t->n; k++)
    if (k != i && k != j && k != m) sum = kd__b_op2(b, KD_OP_ADD, sum, scaled(b, t->t[k].factor, t->t[k].v));
  return sum;
}

kd_value kd__early_combined(kd_build *b, kd_op op, kd_value x, kd_value y) {
  terms t = { .n = 0 };
  if (kd__type_of(b->g, x)->rank > 2) return 0;    /* what is left of a sum over matrices */
  collect(b->g, x, 1, 4, &t);
  collect(b->g, y, op == KD_OP_SUB ? -1 : 1, 4, &t);
  if (t.full || t.n < 3) return 0;
  for (int i = 0; i < t.n; i++)
    for (int j = i + 1; j < t.n; j++)
      for (int m = 0; m < t.n; m++)
        if (matches(b->g, &t, i, j, m)) return merge(b, &t, i, j, m);
  return 0;
}
