/* gathered.c: rows of a table that an index picks, times a vector for each row of the index: gather_dot; their sum, each times a weight, which is what
 * the gradient of that comes to: gather_sum; either as a matrix product or as a sum over a product with what is repeated. Both read the rows where
 * they lie, where the matrix product of the gathered rows would have them all written and read again. What the rows are read in the order of is worked
 * out once for all products with one index.
 *
 * It is done where nobody else reads the gathered rows, and there are enough of them that it matters. Requires gradients: the operators have none. */
#include "compiler/pass/early.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_gathered(kd_graph *g);

enum { LEAST = 1 << 16, NARROW = 16, FEW = 4, BATCH = 4 };            /* elements gathered; of a row; entries of a part; rows of the index that share the parts */
enum { CHUNK = 1 << 15, MOST = 1 << 19, VECTORS = 1 << 18 };           /* bytes: of a part, what the nearest cache holds; what half of the next one does; of vectors */

/* Gathered rows of f elements, the index as a matrix of b rows of k. */
typedef struct rows { uint32_t gather; int64_t b, k, f; } rows;
typedef struct product { rows r; kd_value v; int side; bool dot; } product;       /* side: the operand that is rows; of a sum, that of the product under it */

/* Behind permutes and reshapes: the gather, or 0. */
static uint32_t gather_of(const kd_graph *g, kd_value v) {
  const kd_node *n = kd__node_of(g, v);
  while (n->op == KD_OP_PERMUTE || n->op == KD_OP_RESHAPE) n = kd__node_of(g, n->in[0]);
  return n->op == KD_OP_GATHER && n->attr[0].u.i == 0 ? (uint32_t)(n - g->node.v) : 0;
}

/* Is v what is gathered, or that in another shape, whose last axis is a row? There must be enough of it. */
static bool is_rows(const kd_graph *g, kd_value v, rows *r) {
  const kd_node *n = kd__node_of(g, v);
  const kd_type *t = kd__type_of(g, v);
  *r = (rows){ .gather = gather_of(g, v) };
  if (n->op == KD_OP_RESHAPE) n = kd__node_of(g, n->in[0]);
  if (!r->gather || n->op != KD_OP_GATHER || t->dtype != KD_F32 || t->rank < 1) return false;
  int64_t all = kd__type_count(t), index = kd__type_count(kd__type_of(g, n->in[1]));
  r->f = t->dim[t->rank - 1];
  return all >= LEAST && r->f >= NARROW && all == index * r->f && kd__type_of(g, n->in[0])->dim[0] <= INT32_MAX;
}

static bool exchanges(const kd_attr *perm) {
  for (uint32_t d = 0; d < perm->n; d++)
    if (perm->u.list[d] != (int64_t)(d + 2 < perm->n ? d : d + 1 < perm->n ? d + 1 : d - 1)) return false;
  return perm->n >= 2;
}
static bool same_matrices(const kd_type *a, const kd_type *b) {
  return a->rank >= 2 && b->rank >= 2 && a->dim[a->rank - 1] == b->dim[b->rank - 1] && a->dim[a->rank - 2] == b->dim[b->rank - 2];
}

/* A matrix product in which operand `side` is rows, [*b,k,f] or exchanged, and the other a vector for each of their matrices. */
static bool match_product(const kd_graph *g, const kd_node *n, int side, product *p) {
  const kd_type *other = kd__type_of(g, n->in[1 - side]);
  kd_value v = n->in[side];
  kd_node m;
  if (other->dim[other->rank - (side ? 2 : 1)] != 1) return false;
  if (kd__early_is(g, v, KD_OP_RESHAPE, &m) && kd__node_of(g, m.in[0])->op == KD_OP_PERMUTE && same_matrices(kd__type_of(g, v), kd__type_of(g, m.in[0]))) v = m.in[0];
  bool exchanged = kd__early_is(g, v, KD_OP_PERMUTE, &m) && exchanges(&m.attr[0]);
  *p = (product){ .v = n->in[1 - side], .side = side, .dot = exchanged == (side == 1) };      /* summed over are columns on the left, rows on the right */
  if (exchanged) v = m.in[0];
  if (!is_rows(g, v, &p->r) || kd__type_of(g, v)->rank < 2) return false;
  p->r.k = kd__type_of(g, v)->dim[kd__type_of(g, v)->rank - 2];
  return true;
}

/* sum(rows * v): over the last axis, with v the same all along the axes before it from some axis on, or over those, with v the same all along the row. */
static bool match_sum(const kd_graph *g, const kd_node *n, int side, product *p) {
  kd_node m, v;
  if (!kd__early_is(g, n->in[0], KD_OP_MUL, &m) || !kd__early_is(g, m.in[1 - side], KD_OP_BROADCAST, &v)) return false;
  const kd_attr *over = &n->attr[0], *axes = &v.attr[1];
  const kd_type *t = kd__type_of(g, m.out);
  uint32_t last = (uint32_t)t->rank - 1, own = 0, first;
  *p = (product){ .v = v.in[0], .side = side, .dot = over->n == 1 && over->u.list[0] == (int64_t)last };
  if (t->rank < 2 || over->n == 0 || !is_rows(g, m.in[side], &p->r)) return false;
  while (own < axes->n && axes->u.list[own] == (int64_t)own) own++;
  first = p->dot ? own : last - over->n;         /* of the axes that are k */
  if (p->dot ? own >= last || axes->n != own + 1 || axes->u.list[own] != (int64_t)last : own != last || axes->n != last) return false;
  for (uint32_t i = 0; i < over->n && !p->dot; i++)
    if (over->u.list[i] != (int64_t)(first + i)) return false;
  p->r.k = 1;
  for (uint32_t d = first; d < last; d++) p->r.k *= t->dim[d];
  return true;
}

static bool match(const kd_graph *g, const kd_node *n, product *p) {
  for (int side = 0; side < 2; side++) {
    if (n->op == KD_OP_MATMUL ? !match_product(g, n, side, p) : n->op != KD_OP_SUM || !match_sum(g, n, side, p)) continue;
    p->r.b = kd__type_count(kd__type_of(g, g->node.v[p->r.gather].in[1])) / p->r.k;
    if (p->r.k <= INT32_MAX) return true;
  }
  return false;
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

/* Rows of the index that share an order: those whose vectors stay near while parts come by; each for itself where nothing is put in order. */
static int64_t count_blocks(const rows *r, int64_t table, int64_t part) {
  int64_t most = part < table ? VECTORS / (r->f * (int64_t)sizeof(float)) : 1;
  if (most > INT32_MAX / r->k) most = INT32_MAX / r->k;
  return most > 1 ? (r->b + most - 1) / most : r->b;
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
  int64_t part = part_of(&p->r, x->dim[0]), blocks = count_blocks(&p->r, x->dim[0], part);
  kd_value order = kd__graph_add(r->g, KD_OP_INDEX_ORDER, &index, 1, (kd_attr[]){ kd__ai(x->dim[0]), kd__ai(part), kd__ai(blocks) }, gather->origin, NULL);
  kd_value v = reshaped(&b, r->to[p->v], p->r.b, p->dot ? p->r.f : p->r.k);
  kd_value table = reshaped(&b, r->to[gather->in[0]], x->dim[0], p->r.f);
  kd_value out = kd__graph_add(r->g, p->dot ? KD_OP_GATHER_DOT : KD_OP_GATHER_SUM, (kd_value[]){ v, table, order, order + 1 }, 4, NULL, n->origin, NULL);
  return kd__b_reshape(&b, out, result->dim, result->rank);
}

/* kept, by node: gathered rows that someone else reads. */
static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  const bool *kept = r->ctx;
  product p;
  if (match(r->old, n, &p) && !kept[p.r.gather]) return made(r, n, &p);
  return kd__rebuild_same(r, n, in);
}

typedef struct reading { uint32_t all, sums; int side; } reading;      /* of a product: by whom; by sums of rows, which are the operand `side` */

kd_graph *kd__pass_gathered(kd_graph *g) {
  bool *kept = KD_NEWN(g->arena, bool, g->node.n), any = false;
  reading *of = KD_NEWN(g->arena, reading, g->node.n);
  const bool *live = kd__rebuild_live(g);
  product p;
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    for (uint32_t k = 0; k < n->nin && live[i]; k++) of[g->def.v[n->in[k]]].all++;
    if (live[i] && n->op == KD_OP_SUM && match(g, n, &p)) of[g->def.v[n->in[0]]].sums++, of[g->def.v[n->in[0]]].side = p.side;
  }
  for (size_t i = 0; i < g->write.n; i++) kept[gather_of(g, g->write.v[i].value)] = true, of[g->def.v[g->write.v[i].value]].all++;
  for (size_t i = 0; i < g->result.n; i++) kept[gather_of(g, g->result.v[i].value)] = true, of[g->def.v[g->result.v[i].value]].all++;
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    if (!live[i] || n->op == KD_OP_PERMUTE || n->op == KD_OP_RESHAPE) continue;
    bool direct = n->op == KD_OP_MATMUL && match(g, n, &p), summed = n->op == KD_OP_MUL && of[i].sums > 0 && of[i].sums == of[i].all;
    int side = direct ? p.side : summed ? of[i].side : -1;
    any = any || side >= 0;
    for (uint32_t k = 0; k < n->nin; k++)
      if ((int)k != side) kept[gather_of(g, n->in[k])] = true;           /* of two operands that are rows one is gathered */
  }
  return any ? kd__rebuild_run(g, rule, kept) : g;
}
