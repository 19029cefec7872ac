/* simplify.c: requires nothing, breaks nothing. Each node is added in its simplest form (algebra.h), in order: its operands are simple then. */
#include "compiler/pass/algebra.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_simplify(kd_graph *g);

enum { DEPTH = 40 };                             /* rules within rules; each makes something smaller, so this is never reached but by a bug */

/* A value without elements is a constant, whatever made it. */
static bool empty(const kd__term *t) { return kd__type_count(&t->type) == 0 && kd__op_info(t->op)->cls != KD_CLASS_LEAF; }

static kd_value rewrite(kd__simp *s, const kd__term *t) {
  kd_value v = 0;
  if (empty(t)) return kd__simp_const(s, 0, &t->type);
  switch (kd__op_info(t->op)->cls) {
    case KD_CLASS_ELEM:
      v = kd__simp_fold(s, t);
      if (!v) v = kd__simp_elem(s, t);
      if (!v) v = kd__simp_lift(s, t);
      return v ? v : kd__simp_pieces(s, t);
    case KD_CLASS_REDUCE: return kd__simp_reduce(s, t);
    case KD_CLASS_VIEW:
    case KD_CLASS_MOVE: return kd__simp_view(s, t);
    case KD_CLASS_CONTRACT: return t->op == KD_OP_MATMUL ? kd__simp_matmul(s, t) : 0;
    default: return 0;
  }
}

kd_value kd__simp_add(kd__simp *s, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr) {
  enum { FEW = 8 };
  const kd_type *few[FEW], **types = nin <= FEW ? few : KD_NEWN(s->g->arena, const kd_type *, nin);
  for (uint32_t i = 0; i < nin; i++) types[i] = kd__type_of(s->g, in[i]);
  kd__term t = { .op = op, .nin = nin, .in = in, .attr = attr };
  kd_type type[KD_MAX_RESULTS];
  kd_shape_error why;
  if (kd__op_info(op)->nout == 1 && s->depth < DEPTH && kd__infer(op, types, nin, attr, type, &why)) {
    t.type = type[0];
    s->depth++;
    kd_value v = rewrite(s, &t);
    s->depth--;
    if (v) return v;
  }
  return kd__graph_add(s->g, op, in, nin, attr, s->origin, NULL);
}

/* --- what a value is -------------------------------------------------------------------------------------------------------- */

bool kd__simp_is(const kd__simp *s, kd_value v, kd_op op, kd_node *n) {
  *n = *kd__node_of(s->g, v);
  return n->op == op && n->out == v;
}

bool kd__simp_number(const kd__simp *s, kd_value v, double *k) {
  kd_node n;
  if (!kd__simp_is(s, v, KD_OP_CONST, &n)) return false;
  *k = kd__type_of(s->g, v)->dtype == KD_F32 ? (double)(float)n.attr[0].u.f : n.attr[0].u.f;
  return true;
}

bool kd__simp_cheap(const kd__simp *s, kd_value v, int64_t *count, uint32_t *axes) {
  kd_node n;
  double k;
  *axes = 0, *count = 1;
  if (kd__simp_number(s, v, &k)) return true;
  if (!kd__simp_is(s, v, KD_OP_BROADCAST, &n)) return false;
  for (uint32_t j = 0; j < n.attr[1].n; j++) *axes |= 1u << n.attr[1].u.list[j];
  *count = kd__type_count(kd__type_of(s->g, n.in[0]));
  return *count < kd__type_count(kd__type_of(s->g, v));
}

bool kd__simp_runs(const kd_type *a, const kd_type *b, kd__runs *r) {
  *r = (kd__runs){ 0 };
  if (kd__type_count(a) <= 0) return false;
  int i = 0, k = 0;
  while (i < a->rank || k < b->rank) {
    int64_t na = i < a->rank ? a->dim[i++] : 1, nb = k < b->rank ? b->dim[k++] : 1;
    while (na != nb) {
      if (na < nb) na *= a->dim[i++];
      else nb *= b->dim[k++];
    }
    r->n++;
    r->from[r->n] = (uint8_t)i, r->to[r->n] = (uint8_t)k;
  }
  return true;
}

/* --- the pass ---------------------------------------------------------------------------------------------------------------- */

typedef struct state { kd__simp s; KD_VEC(uint32_t) uses; uint32_t *old_uses; } state;

static void count_uses(kd_graph *g, state *st) {
  const bool *live = kd__rebuild_live(g);
  st->old_uses = KD_NEWN(g->arena, uint32_t, g->type.n);
  for (size_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; k < g->node.v[i].nin && live[i]; k++) st->old_uses[g->node.v[i].in[k]]++;
  for (size_t i = 0; i < g->write.n; i++) st->old_uses[g->write.v[i].value]++;
  for (size_t i = 0; i < g->result.n; i++) st->old_uses[g->result.v[i].value]++;
}

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  state *st = r->ctx;
  st->s.g = r->g, st->s.origin = n->origin;
  kd_value v = kd__simp_add(&st->s, (kd_op)n->op, in, n->nin, n->attr);
  while (st->uses.n < r->g->type.n) KD_PUSH(r->g->arena, st->uses, 0);
  for (uint32_t k = 0; k < n->nout; k++) st->uses.v[v + k] += st->old_uses[n->out + k];
  st->s.uses = st->uses.v, st->s.nuses = st->uses.n;
  return v;
}

kd_graph *kd__pass_simplify(kd_graph *g) {
  state st = { 0 };
  count_uses(g, &st);
  return kd__rebuild_run(g, rule, &st);
}
