/* recompute.c: a program in which some values are made a second time rather than kept: its order, what it takes, its graph. */
#include "compiler/plan/recompute.h"
#include "compiler/ir/graph_private.h"
#include "compiler/plan/planner.h"
#include <assert.h>

/* --- nodes ------------------------------------------------------------------------------------------------------------------------- */
static const kd_node *node(const kd__rc *r, uint32_t i) { return &r->g->node.v[i]; }
static uint32_t maker(const kd__rc *r, const kd_node *n, uint32_t k) { return r->g->def.v[n->in[k]]; }

static bool is_view(const kd_node *n) { return kd__op_info((kd_op)n->op)->cls == KD_CLASS_VIEW || n->op == KD_OP_STOP; }
static bool is_free(const kd_node *n) { return n->op == KD_OP_INPUT || n->op == KD_OP_CONST; }

/* About: a core reads 16 bytes and computes 100 products in a nanosecond. */
static double time_for(const kd_graph *g, const kd_node *n) {
  double bytes = 0, products = 0;
  for (uint32_t k = 0; k < n->nin; k++) bytes += (double)kd__pl_bytes(kd__type_of(g, n->in[k]));
  for (uint32_t k = 0; k < n->nout; k++) bytes += (double)kd__pl_bytes(kd__type_of(g, n->out + k));
  if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_CONTRACT) {
    const kd_type *x = kd__type_of(g, n->in[0]), *y = kd__type_of(g, n->in[1]), *z = kd__type_of(g, n->out);
    const kd_type *weight = n->op == KD_OP_CONV_WEIGHT ? z : y;
    double a = (double)kd__type_count(n->op == KD_OP_CONV_DATA ? x : n->op == KD_OP_CONV_WEIGHT ? y : z);
    products = n->op == KD_OP_MATMUL ? a * (double)x->dim[x->rank - 1] : a * (double)kd__type_count(weight) / (double)(weight->dim[0] > 0 ? weight->dim[0] : 1);
  }
  double once = 20 + bytes / 16 + products / 100;
  const kd_graph *body = kd__body_of(n);
  if (n->op != KD_OP_LOOP || !body) return once;
  double turn = 0;
  for (size_t i = 1; i < body->node.n; i++) turn += time_for(body, &body->node.v[i]);
  return once + turn * (double)kd__attr(n, "times")->u.i;
}

static void measure(kd__rc *r, uint32_t i, bool live) {
  const kd_node *n = node(r, i);
  r->root[i] = i;
  r->last[i] = i;
  if (!live) return;
  r->cost[i] = is_view(n) || is_free(n) ? 0 : time_for(r->g, n);
  if (is_view(n)) r->root[i] = r->root[maker(r, n, 0)];
  for (uint32_t k = 0; k < n->nout && !is_view(n) && !is_free(n); k++) r->bytes[i] += r->part[n->out + k] = kd__pl_bytes(kd__type_of(r->g, n->out + k));
  r->fixed[i] = is_free(n) || r->fixed[i];
  for (uint32_t k = 0; k < n->nin; k++) r->last[r->root[maker(r, n, k)]] = i;
}

kd__rc *kd__rc_new(kd__arena *a, const kd_graph *g) {
  kd__rc *r = KD_NEW(a, kd__rc);
  uint32_t n = (uint32_t)g->node.n;
  *r = (kd__rc){ .g = g, .n = n, .a = a };
  r->bytes = KD_NEWN(a, int64_t, n); r->cost = KD_NEWN(a, double, n); r->fixed = KD_NEWN(a, bool, n);
  r->root = KD_NEWN(a, uint32_t, n); r->last = KD_NEWN(a, uint32_t, n); r->drop = KD_NEWN(a, bool, n);
  r->seq = KD_NEWN(a, uint32_t, 2 * n); r->where = KD_NEWN(a, uint32_t, 2 * g->type.n); r->reader = KD_NEWN(a, uint32_t, 2 * g->type.n);
  r->part = KD_NEWN(a, int64_t, g->type.n);
  r->stack = KD_NEWN(a, uint32_t, 2 * n); r->there = KD_NEWN(a, bool, 2 * n);
  for (size_t i = 0; i < g->write.n; i++) r->fixed[g->def.v[g->write.v[i].value]] = true;
  for (size_t i = 0; i < g->result.n; i++) {
    uint32_t d = g->def.v[g->result.v[i].value];
    r->fixed[d] = true;
    if (d > r->end) r->end = d;
  }
  bool *live = KD_NEWN(a, bool, n);
  for (uint32_t i = n; i-- > 1;) {
    live[i] = live[i] || (r->fixed[i] && !is_free(node(r, i)));
    for (uint32_t k = 0; k < node(r, i)->nin && live[i]; k++) live[maker(r, node(r, i), k)] = true;
  }
  for (uint32_t i = 1; i < n; i++) measure(r, i, live[i]);
  /* What is written goes into its slot: no memory of the arena, as a rule. */
  for (size_t i = 0; i < g->write.n; i++) {
    kd_value v = g->write.v[i].value;
    while (is_view(kd__node_of(g, v))) v = kd__node_of(g, v)->in[0];
    r->bytes[g->def.v[v]] -= r->part[v];
    r->part[v] = 0;
  }
  for (size_t i = 0; i < g->result.n; i++) r->last[r->root[g->def.v[g->result.v[i].value]]] = n;
  return r;
}

/* --- the sequence ------------------------------------------------------------------------------------------------------------------- */
/* The instance that stands for operand k of an instance: behind the turn what was thrown away is the one made again. */
static uint32_t operand(const kd__rc *r, uint32_t inst, uint32_t k) {
  uint32_t i = inst % r->n, d = maker(r, node(r, i), k);
  return r->drop[d] && (inst >= r->n || i > r->turn) ? d + r->n : d;
}

static void emit(kd__rc *r, uint32_t inst) {
  r->there[inst] = true;
  r->seq[r->nseq++] = inst;
  if (inst >= r->n) r->again += r->cost[inst - r->n];
}

/* Node i once more, and before it whatever it needs that is gone, too. */
static void emit_again(kd__rc *r, uint32_t i) {
  uint32_t n = 0;
  r->stack[n++] = i + r->n;
  while (n > 0) {
    uint32_t inst = r->stack[n - 1], before = n;
    for (uint32_t k = 0; k < node(r, inst - r->n)->nin && !r->there[inst]; k++) {
      uint32_t o = operand(r, inst, k);
      if (o >= r->n && !r->there[o]) { r->stack[n++] = o; break; }
    }
    if (n > before) continue;
    if (!r->there[inst]) emit(r, inst);
    n--;
  }
}

/* Drops those that nobody needs: originals that only what lies behind the turn reads. */
static void sweep(kd__rc *r) {
  bool *need = r->there;
  memset(need, 0, sizeof *need * 2 * r->n);
  for (size_t i = 0; i < r->g->write.n; i++) need[r->g->def.v[r->g->write.v[i].value]] = true;
  for (size_t i = 0; i < r->g->result.n; i++) need[r->g->def.v[r->g->result.v[i].value]] = true;
  for (uint32_t p = r->nseq; p-- > 0;)
    for (uint32_t k = 0; k < node(r, r->seq[p] % r->n)->nin && need[r->seq[p]]; k++) need[operand(r, r->seq[p], k)] = true;
  uint32_t m = 0;
  for (uint32_t p = 0; p < r->nseq; p++) if (need[r->seq[p]]) r->seq[m++] = r->seq[p];
  r->nseq = m;
}

static void order(kd__rc *r) {
  r->nseq = 0;
  r->again = 0;
  memset(r->there, 0, sizeof *r->there * 2 * r->n);
  for (uint32_t i = 1; i < r->n; i++) {
    for (uint32_t k = 0; k < node(r, i)->nin && i > r->turn; k++) {
      uint32_t o = operand(r, i, k);
      if (o >= r->n && !r->there[o]) emit_again(r, o - r->n);
    }
    emit(r, i);
  }
  sweep(r);
}

/* --- what it takes ------------------------------------------------------------------------------------------------------------------- */
/* Value v as instance `inst` makes it, and operand k of an instance. */
static uint32_t made_by(const kd__rc *r, uint32_t inst, kd_value v) { return inst < r->n ? v : v + (uint32_t)r->g->type.n; }
static uint32_t operand_value(const kd__rc *r, uint32_t inst, uint32_t k) { return made_by(r, operand(r, inst, k), node(r, inst % r->n)->in[k]); }
static int64_t part_of(const kd__rc *r, uint32_t value) { return r->part[value % r->g->type.n]; }

/* where: by value, what it is a view of; reader: by that, the position after which it is free. */
static void find_readers(kd__rc *r) {
  for (uint32_t p = 0; p < r->nseq; p++) {
    uint32_t inst = r->seq[p];
    const kd_node *n = node(r, inst % r->n);
    for (kd_value v = n->out; v < n->out + n->nout; v++) {
      uint32_t o = made_by(r, inst, v);
      r->where[o] = is_view(n) ? r->where[operand_value(r, inst, 0)] : o;
      if (!is_view(n)) r->reader[o] = p;
    }
    for (uint32_t k = 0; k < n->nin; k++) r->reader[r->where[operand_value(r, inst, k)]] = p;
  }
  for (size_t i = 0; i < r->g->result.n; i++) r->reader[r->where[r->g->result.v[i].value]] = UINT32_MAX;
}

static void measure_sequence(kd__rc *r) {
  int64_t used = 0;
  find_readers(r);
  r->peak = 0, r->excess = 0, r->at = 0;
  for (uint32_t p = 0; p < r->nseq; p++) {
    uint32_t inst = r->seq[p];
    const kd_node *n = node(r, inst % r->n);
    int64_t own = r->bytes[inst % r->n], shared = 0, dies = 0;
    for (uint32_t k = 0; k < n->nin; k++) {
      uint32_t o = r->where[operand_value(r, inst, k)];
      if (r->reader[o] != p) continue;
      r->reader[o] = UINT32_MAX - 1;             /* counted */
      dies += part_of(r, o);
      if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_ELEM && part_of(r, o) == own) shared = own;
    }
    used += own;
    if (used - shared > r->peak) r->peak = used - shared, r->at = inst % r->n;
    if (used - shared > r->target) r->excess += (double)(used - shared - r->target);
    used -= dies;
    for (kd_value v = n->out; v < n->out + n->nout && !is_view(n); v++)
      if (r->reader[made_by(r, inst, v)] == p) used -= r->part[v];
  }
}

void kd__rc_try(kd__rc *r) {
  order(r);
  measure_sequence(r);
}

/* --- the graph ----------------------------------------------------------------------------------------------------------------------- */
kd_graph *kd__rc_graph(kd__rc *r) {
  const kd_graph *g = r->g;
  size_t values = 0;
  for (uint32_t p = 0; p < r->nseq; p++) values += node(r, r->seq[p] % r->n)->nout;
  kd_graph *to = kd__graph_new_sized(r->a, r->nseq, values);
  kd_value *first = KD_NEWN(r->a, kd_value, 2 * (size_t)r->n);
  KD_VEC(kd_value) in = { 0 };
  for (uint32_t p = 0; p < r->nseq; p++) {
    uint32_t inst = r->seq[p];
    const kd_node *n = node(r, inst % r->n);
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) {
      uint32_t o = operand(r, inst, k);
      assert(first[o] && "an operand is made before it is read");
      KD_PUSH(r->a, in, first[o] + (n->in[k] - node(r, o % r->n)->out));
    }
    to->apart = true;                            /* what was made twice before stays so */
    to->once = n->once;
    first[inst] = kd__graph_add(to, (kd_op)n->op, in.v, n->nin, n->attr, n->origin, NULL);
  }
  to->once = 0;
  for (size_t i = 0; i < g->write.n; i++) {
    uint32_t d = g->def.v[g->write.v[i].value];
    kd__graph_write(to, g->write.v[i].slot, first[d] + (g->write.v[i].value - g->node.v[d].out), g->write.v[i].origin);
  }
  for (size_t i = 0; i < g->result.n; i++) {
    uint32_t d = g->def.v[g->result.v[i].value];
    kd__graph_result(to, g->result.v[i].name, first[d] + (g->result.v[i].value - g->node.v[d].out));
  }
  return to;
}
