/* mirror.c: requires nothing, breaks nothing. G X + (X' G)' = (G + G') X, and X G + (G X')' = X (G + G'): what the gradient of a Gram matrix XX' comes to
 * takes one matrix product instead of two. It is done where G is symmetric itself (then it is 2 G X), where it is made element by element of symmetric
 * matrices and of values for each row (then G' is made of values for each column), or where its columns are few beside what is contracted (adding a
 * matrix to its transpose is no cheap walk through memory), where nobody else reads the two products, and also where other terms stand between them: the
 * order in which three terms are added changes then, which costs a rounding. */
#include "compiler/pass/early.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_mirror(kd_graph *g);

typedef struct mirror { const kd_graph *g; const uint32_t *readers; } mirror;
typedef struct product { kd_value left, right; bool turned, any; } product;      /* turned: the result's last two axes are exchanged */

static bool is_exchange(const kd_graph *g, kd_value v, kd_node *n) {
  if (!kd__early_is(g, v, KD_OP_PERMUTE, n) || n->attr[0].n < 2) return false;
  uint32_t r = n->attr[0].n;
  for (uint32_t d = 0; d < r; d++)
    if (n->attr[0].u.list[d] != (int64_t)(d + 2 < r ? d : d + 1 < r ? r - 1 : r - 2)) return false;
  return true;
}

static bool is_transpose(const kd_graph *g, kd_value x, kd_value y) {
  kd_node n;
  return (is_exchange(g, x, &n) && n.in[0] == y) || (is_exchange(g, y, &n) && n.in[0] == x);
}

static product product_of(const mirror *m, kd_value v) {
  kd_node n;
  product p = { 0 };
  if (m->readers[v] != 1) return p;
  if (is_exchange(m->g, v, &n)) { p.turned = true; v = n.in[0]; }
  if (m->readers[v] != 1 || !kd__early_is(m->g, v, KD_OP_MATMUL, &n)) return p;
  p.left = n.in[0], p.right = n.in[1], p.any = true;
  return p;
}

/* Equal to its transpose, bit by bit or but for roundings: XX', and what is made of such element by element. */
static bool is_symmetric(const kd_graph *g, kd_value v, int depth) {
  kd_node n = *kd__node_of(g, v);
  int r = kd__type_of(g, v)->rank;
  if (depth == 0 || r < 2) return false;
  if (n.op == KD_OP_CONST) return true;
  if (n.op == KD_OP_MATMUL) return is_transpose(g, n.in[0], n.in[1]);
  if (n.op == KD_OP_BROADCAST) {
    for (uint32_t d = 0; d < n.attr[1].n; d++) if (n.attr[1].u.list[d] >= r - 2) return false;
    return true;
  }
  if (kd__op_info((kd_op)n.op)->cls != KD_CLASS_ELEM) return false;
  for (uint32_t k = 0; k < n.nin; k++) if (!is_symmetric(g, n.in[k], depth - 1)) return false;
  return true;
}

/* The transpose of what is made element by element of symmetric matrices and of values for each row or column: made alike, of the same matrices and of
 * values for each column or row, so that no matrix is read across. 0: it is made of something else. `left`: how many nodes it may take. */
static kd_value exchanged(kd__rebuild *r, kd_value v, int *left) {
  kd_node n = *kd__node_of(r->old, v);
  int rank = kd__type_of(r->old, v)->rank;
  kd_build b = { r->g, n.origin };
  kd_value in[3];
  if (--*left < 0 || rank < 2) return 0;
  if (is_symmetric(r->old, v, 1)) return r->to[v];
  if (n.op == KD_OP_BROADCAST) {
    int64_t axes[KD_MAX_RANK];
    const kd_attr *to = &n.attr[1];
    for (uint32_t d = 0; d < to->n; d++) axes[d] = to->u.list[d] >= rank - 2 ? 2 * rank - 3 - to->u.list[d] : to->u.list[d];
    if (to->n > 1 && to->u.list[to->n - 2] >= rank - 2) return 0;
    return kd__b_broadcast(&b, r->to[n.in[0]], kd__type_of(r->old, v)->dim, rank, axes);
  }
  if (kd__op_info((kd_op)n.op)->cls != KD_CLASS_ELEM || n.nin > sizeof in / sizeof in[0]) return 0;
  for (uint32_t k = 0; k < n.nin; k++)
    if (!(in[k] = exchanged(r, n.in[k], left))) return 0;
  return kd__graph_add(r->g, (kd_op)n.op, in, n.nin, n.attr, n.origin, NULL);
}

enum { FAR = 256, NEAR = 16, MOST = 60 };                              /* contracted elements of the products that a transpose is worth, and that other elements are */

/* The sum of two values as one product, or 0. */
static kd_value joined(kd__rebuild *r, const kd_node *n, kd_value x, kd_value y) {
  const mirror *m = r->ctx;
  product p = product_of(m, x), q = product_of(m, y);
  if (!p.any || !q.any || p.turned == q.turned) return 0;
  if (p.turned) { product t = p; p = q, q = t; }
  bool first = p.left == q.right && is_transpose(r->old, p.right, q.left), second = p.right == q.left && is_transpose(r->old, p.left, q.right);
  if (!first && !second) return 0;
  kd_build b = { r->g, n->origin };
  kd_value old = first ? p.left : p.right, g = r->to[old], other = r->to[first ? p.right : p.left];
  bool symmetric = is_symmetric(r->old, old, 8);
  const kd_type *t = kd__type_of(r->g, other);
  int64_t far = t->dim[first ? t->rank - 1 : t->rank - 2];
  int most = MOST;
  kd_value across = symmetric ? g : far >= NEAR ? exchanged(r, old, &most) : 0;
  if (!across && far < FAR) return 0;
  kd_value both = kd__b_op2(&b, KD_OP_ADD, g, across ? across : kd__early_transpose(&b, g));
  return first ? kd__b_matmul(&b, both, other) : kd__b_matmul(&b, other, both);
}

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  const mirror *m = r->ctx;
  if (n->op != KD_OP_ADD) return kd__rebuild_same(r, n, in);
  kd_value v = joined(r, n, n->in[0], n->in[1]);
  kd_build b = { r->g, n->origin };
  for (int k = 0; k < 2 && !v; k++) {            /* a + (b + c) */
    kd_node inner;
    if (m->readers[n->in[k]] != 1 || !kd__early_is(r->old, n->in[k], KD_OP_ADD, &inner)) continue;
    for (int j = 0; j < 2 && !v; j++)
      if ((v = joined(r, n, n->in[1 - k], inner.in[j]))) v = kd__b_op2(&b, KD_OP_ADD, r->to[inner.in[1 - j]], v);
  }
  return v ? v : kd__rebuild_same(r, n, in);
}

kd_graph *kd__pass_mirror(kd_graph *g) {
  uint32_t *readers = KD_NEWN(g->arena, uint32_t, g->type.n);
  const bool *live = kd__rebuild_live(g);
  for (size_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; k < g->node.v[i].nin && live[i]; k++) readers[g->node.v[i].in[k]]++;
  for (size_t i = 0; i < g->write.n; i++) readers[g->write.v[i].value]++;
  for (size_t i = 0; i < g->result.n; i++) readers[g->result.v[i].value]++;
  return kd__rebuild_run(g, rule, &(mirror){ g, readers });
}
