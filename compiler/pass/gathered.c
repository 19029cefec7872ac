/* gathered.c: rows of a table that an index picks, times a vector for each row of the index: gather_dot; their sum, each times a weight, which is what
 * the gradient of that comes to: gather_sum. Both read the rows where they lie, where the matrix product of the gathered rows would have them all
 * written and read again. What the rows are read in the order of is worked out once for all products with one index.
 *
 * It is done where nobody else reads the gathered rows, and there are enough of them that it matters. Requires gradients: the operators have none. */
#include "compiler/pass/early.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_gathered(kd_graph *g);

enum { LEAST = 1 << 16, NARROW = 16, FEW = 4, BATCH = 4 };            /* elements gathered; of a row; entries of a part; rows of the index that share the parts */
enum { CHUNK = 1 << 16, MOST = 1 << 19 };                              /* bytes of a part: what half of the nearest cache holds; what the next one does */

/* The gathered rows as the matrices [*b,k,f] of a product, or, exchanged, as [*b,f,k]. */
typedef struct rows { uint32_t gather; int64_t b, k, f; bool exchanged, fit; } rows;
typedef struct product { rows r; int side; bool dot; } product;

/* Behind permutes and reshapes: the gather, or 0. */
static uint32_t gather_of(const kd_graph *g, kd_value v) {
  const kd_node *n = kd__node_of(g, v);
  while (n->op == KD_OP_PERMUTE || n->op == KD_OP_RESHAPE) n = kd__node_of(g, n->in[0]);
  return n->op == KD_OP_GATHER && n->attr[0].u.i == 0 ? (uint32_t)(n - g->node.v) : 0;
}

static bool same_matrices(const kd_type *a, const kd_type *b) {
  return a->rank >= 2 && b->rank >= 2 && a->dim[a->rank - 1] == b->dim[b->rank - 1] && a->dim[a->rank - 2] == b->dim[b->rank - 2];
}

static rows rows_of(const kd_graph *g, kd_value v) {
  rows r = { .gather = gather_of(g, v) };
  kd_node n;
  if (!r.gather) return r;
  if (kd__early_is(g, v, KD_OP_RESHAPE, &n) && kd__node_of(g, n.in[0])->op == KD_OP_PERMUTE && same_matrices(kd__type_of(g, v), kd__type_of(g, n.in[0]))) v = n.in[0];
  kd_value inner = kd__early_is(g, v, KD_OP_PERMUTE, &n) ? n.in[0] : v;
  r.exchanged = inner != v;
  for (uint32_t d = 0; r.exchanged && d < n.attr[0].n; d++)
    if (n.attr[0].u.list[d] != (int64_t)(d + 2 < n.attr[0].n ? d : d + 1 < n.attr[0].n ? d + 1 : d - 1)) return r;
  const kd_type *t = kd__type_of(g, inner), *x = kd__type_of(g, g->node.v[r.gather].in[0]);
  if (kd__node_of(g, inner)->op == KD_OP_RESHAPE) inner = kd__node_of(g, inner)->in[0];
  if (kd__node_of(g, inner)->op != KD_OP_GATHER || t->rank < 2 || t->dtype != KD_F32) return r;
  int64_t all = kd__type_count(t), index = kd__type_count(kd__type_of(g, g->node.v[r.gather].in[1]));
  r.k = t->dim[t->rank - 2], r.f = t->dim[t->rank - 1];
  if (all < LEAST || r.f < NARROW || all != index * r.f || x->dim[0] > INT32_MAX || r.k > INT32_MAX) return r;
  r.b = index / r.k;
  r.fit = true;
  return r;
}

/* A matrix product in which operand `side` is rows, and the other a vector for each of their matrices. */
static bool match(const kd_graph *g, const kd_node *n, int side, product *p) {
  if (n->op != KD_OP_MATMUL) return false;
  const kd_type *other = kd__type_of(g, n->in[1 - side]);
  if (other->dim[other->rank - (side ? 2 : 1)] != 1) return false;
  *p = (product){ rows_of(g, n->in[side]), side, false };
  p->dot = p->r.exchanged == (side == 1);        /* summed over are columns on the left, rows on the right */
  return p->r.fit;
}

/* Rows to a part: a table that is read about once, or whose parts would have few entries, is read in the order of the index. */
static int64_t part_of(const rows *r, int64_t table) {
  int64_t part = 1, whole = 1;
  while (whole < table) whole *= 2;
  while (2 * part * r->f * (int64_t)sizeof(float) <= CHUNK) part *= 2;
  while (r->k * part < FEW * table && 2 * part * r->f * (int64_t)sizeof(float) <= MOST) part *= 2;
  bool worth = r->b >= BATCH && r->b * r->k > table && r->k * part >= FEW * table && table * r->f * (int64_t)sizeof(float) > MOST;
  return worth && part < whole ? part : whole;
}

static kd_value reshaped(kd_build *b, kd_value v, int64_t n, int64_t m) {
  kd_node inner;
  return kd__b_reshape(b, kd__early_is(b->g, v, KD_OP_RESHAPE, &inner) ? inner.in[0] : v, (int64_t[]){ n, m }, 2);
}

static kd_value made(kd__rebuild *r, const kd_node *n, const product *p) {
  const kd_node *gather = &r->old->node.v[p->r.gather];
  kd_build at = { r->g, gather->origin }, b = { r->g, n->origin };
  const kd_type *x = kd__type_of(r->old, gather->in[0]), *result = kd__type_of(r->old, n->out);
  kd_value index = reshaped(&at, r->to[gather->in[1]], p->r.b, p->r.k);
  kd_value order = kd__graph_add(r->g, KD_OP_INDEX_ORDER, &index, 1, (kd_attr[]){ kd__ai(x->dim[0]), kd__ai(part_of(&p->r, x->dim[0])) }, gather->origin, NULL);
  kd_value v = reshaped(&b, r->to[n->in[1 - p->side]], p->r.b, p->dot ? p->r.f : p->r.k);
  kd_value table = reshaped(&b, r->to[gather->in[0]], x->dim[0], p->r.f);
  kd_value out = kd__graph_add(r->g, p->dot ? KD_OP_GATHER_DOT : KD_OP_GATHER_SUM, (kd_value[]){ v, table, order, order + 1 }, 4, NULL, n->origin, NULL);
  return kd__b_reshape(&b, out, result->dim, result->rank);
}

/* kept, by node: gathered rows that someone else reads. */
static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  const bool *kept = r->ctx;
  product p;
  for (int side = 0; side < 2 && n->op == KD_OP_MATMUL; side++)
    if (match(r->old, n, side, &p) && !kept[p.r.gather]) return made(r, n, &p);
  return kd__rebuild_same(r, n, in);
}

kd_graph *kd__pass_gathered(kd_graph *g) {
  bool *kept = KD_NEWN(g->arena, bool, g->node.n), any = false;
  const bool *live = kd__rebuild_live(g);
  product p;
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    if (!live[i] || n->op == KD_OP_PERMUTE || n->op == KD_OP_RESHAPE) continue;
    bool first = match(g, n, 0, &p), second = !first && match(g, n, 1, &p);          /* of two operands that are rows one is gathered */
    any = any || first || second;
    for (uint32_t k = 0; k < n->nin; k++)
      if (!(k == 0 ? first : k == 1 && second)) kept[gather_of(g, n->in[k])] = true;
  }
  for (size_t i = 0; i < g->write.n; i++) kept[gather_of(g, g->write.v[i].value)] = true;
  for (size_t i = 0; i < g->result.n; i++) kept[gather_of(g, g->result.v[i].value)] = true;
  return any ? kd__rebuild_run(g, rule, kept) : g;
}
