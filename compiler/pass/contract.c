/* contract.c: requires nothing, breaks nothing. sum(a * b) over axes, with a and b repeated along some, is a matrix product: each axis of
 * the product is a batch axis (kept, in both), a row (kept, in a only), a column (kept, in b only), or contracted (reduced, in both).
 * An axis that is reduced and in one of them only is summed there first. It is done where the product is larger than its operands
 * together, and nobody but such sums needs it. */
#include "compiler/pass/algebra.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_contract(kd_graph *g);

typedef struct factor { kd_value v; uint32_t axes; } factor;           /* axes of the product along which it changes, in order: v's own */
typedef struct shape { kd_type product; uint32_t reduced, batch, row, column, contracted; } shape;

static int64_t size_of(const shape *c, uint32_t axes) {
  int64_t n = 1;
  for (int d = 0; d < c->product.rank; d++)
    if (axes & 1u << d) n *= c->product.dim[d];
  return n;
}

static factor factor_of(const kd__simp *s, kd_value v) {
  kd_node n;
  if (!kd__simp_is(s, v, KD_OP_BROADCAST, &n)) return (factor){ v, (1u << kd__type_of(s->g, v)->rank) - 1 };
  factor f = { n.in[0], 0 };
  for (uint32_t j = 0; j < n.attr[1].n; j++) f.axes |= 1u << n.attr[1].u.list[j];
  return f;
}

/* Sums f over those of the axes that it has. */
static factor reduce(kd__simp *s, factor f, uint32_t axes) {
  uint32_t own = 0;
  for (int d = 0, j = 0; d < KD_MAX_RANK; d++)
    if (f.axes & 1u << d) own |= axes & 1u << d ? 1u << j : 0, j++;
  return (factor){ kd__simp_sum(s, KD_OP_SUM, f.v, own), f.axes & ~axes };
}

/* f as [batch, first, second], or [first, second] where there is no batch axis. */
static kd_value matrix(kd__simp *s, const shape *c, factor f, uint32_t first, uint32_t second) {
  int64_t perm[KD_MAX_RANK];
  const uint32_t group[3] = { c->batch, first, second };
  int n = 0;
  for (int i = 0; i < 3; i++)
    for (int d = 0; d < c->product.rank; d++)
      if (f.axes & group[i] & 1u << d) perm[n++] = __builtin_popcount(f.axes & ((1u << d) - 1));
  const int64_t dim[3] = { size_of(c, c->batch), size_of(c, first), size_of(c, second) };
  return kd__simp_reshape(s, kd__simp_permute(s, f.v, perm), c->batch ? dim : dim + 1, c->batch ? 3 : 2);
}

/* [batch, row, column] as the kept axes in their order; what neither factor has is repeated. */
static kd_value unpack(kd__simp *s, const shape *c, kd_value m, const kd_type *result) {
  const uint32_t group[3] = { c->batch, c->row, c->column };
  int64_t dim[KD_MAX_RANK], axis[KD_MAX_RANK], perm[KD_MAX_RANK], kept[KD_MAX_RANK];
  int n = 0, k = 0;
  for (int i = 0; i < 3; i++)
    for (int d = 0; d < c->product.rank; d++)
      if (group[i] & 1u << d) axis[n] = d, dim[n++] = c->product.dim[d];
  m = kd__simp_reshape(s, m, dim, n);
  uint32_t have = c->batch | c->row | c->column;
  for (int d = 0; d < c->product.rank; d++)
    for (int j = 0; j < n; j++)
      if (axis[j] == d) {
        kept[k] = __builtin_popcount(~c->reduced & ((1u << d) - 1));
        perm[k++] = j;
      }
  m = kd__simp_permute(s, m, perm);
  return have == (~c->reduced & ((1u << c->product.rank) - 1)) ? m : kd__simp_broadcast(s, m, result->dim, result->rank, kept);
}

/* The sum over `reduced` of a * b; 0 where that is no matrix product, or none worth it. */
static kd_value contracted(kd__simp *s, kd_value product, uint32_t reduced, const kd_type *result) {
  kd_node m;
  if (!kd__simp_is(s, product, KD_OP_MUL, &m)) return 0;
  shape c = { .product = kd__simp_type(s, product), .reduced = reduced };
  factor a = factor_of(s, m.in[0]), b = factor_of(s, m.in[1]);
  int64_t whole = kd__type_count(&c.product), parts = kd__type_count(kd__type_of(s->g, a.v)) + kd__type_count(kd__type_of(s->g, b.v));
  c.contracted = a.axes & b.axes & reduced;
  c.batch = a.axes & b.axes & ~reduced, c.row = a.axes & ~b.axes & ~reduced, c.column = b.axes & ~a.axes & ~reduced;
  uint32_t neither = reduced & ~(a.axes | b.axes);                     /* simplify takes those out of the sum */
  if (!kd__dtype_real((kd_dtype)c.product.dtype) || whole <= parts || neither || size_of(&c, c.contracted) < 2) return 0;
  if (c.row && c.column && __builtin_ctz(c.column) < __builtin_ctz(c.row)) {           /* the result comes out in order */
    factor f = a;
    uint32_t axes = c.row;
    a = b, b = f, c.row = c.column, c.column = axes;
  }
  a = reduce(s, a, reduced & ~b.axes), b = reduce(s, b, reduced & ~c.contracted);
  kd_value left = matrix(s, &c, a, c.row, c.contracted), right = matrix(s, &c, b, c.contracted, c.column);
  return unpack(s, &c, kd__simp_2(s, KD_OP_MATMUL, left, right), result);
}

/* By value: does someone other than a sum read it? */
static bool *read_otherwise(const kd_graph *g) {
  bool *other = KD_NEWN(g->arena, bool, g->type.n);
  const bool *live = kd__rebuild_live(g);
  for (size_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; k < g->node.v[i].nin && live[i]; k++)
      if (g->node.v[i].op != KD_OP_SUM) other[g->node.v[i].in[k]] = true;
  for (size_t i = 0; i < g->write.n; i++) other[g->write.v[i].value] = true;
  for (size_t i = 0; i < g->result.n; i++) other[g->result.v[i].value] = true;
  return other;
}

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  kd__simp s = { .g = r->g, .origin = n->origin };
  const bool *other = r->ctx;
  kd_value v = 0;
  uint32_t reduced = 0;
  if (n->op == KD_OP_SUM && !other[n->in[0]]) {
    for (uint32_t i = 0; i < n->attr[0].n; i++) reduced |= 1u << n->attr[0].u.list[i];
    v = contracted(&s, in[0], reduced, kd__type_of(r->old, n->out));
  }
  return v ? v : kd__rebuild_same(r, n, in);
}

kd_graph *kd__pass_contract(kd_graph *g) { return kd__rebuild_run(g, rule, read_otherwise(g)); }
