/* expand.c: operators that groups hold as simpler ones: a softmax is a maximum, a difference, a power of e, a sum and a quotient. What it costs in
 * memory traffic is then seen where it is fused, and what several of them have in common is computed once. A power of e of a log-softmax is the
 * softmax, and p log p of a softmax p needs no logarithm of its elements. */
#include "compiler/fuse/fuse.h"
#include "compiler/ir/graph_private.h"
#include <float.h>

enum { LONGEST = 65536 };

static bool short_enough(const kd_graph *g, const kd_node *n) {
  const kd_type *t = kd__type_of(g, n->in[0]);
  int64_t points = 1;
  for (uint32_t i = 0; i < n->attr[0].n; i++) points *= t->dim[n->attr[0].u.list[i]];
  return n->attr[0].n > 0 && points > 0 && points <= LONGEST && kd__type_count(t) > 0;
}

/* The largest of k x is k times the largest x for a positive number k, to the bit, since rounding keeps the order: so it does not wait for k x. (Here, and
 * not in simplify, since ties share a gradient.) */
static kd_value largest(kd_build *b, kd_value x, const int64_t *axes, int k) {
  const kd_node *n = kd__node_of(b->g, x);
  const kd_node *by = n->op == KD_OP_MUL ? kd__node_of(b->g, n->in[1]) : NULL;
  double f = by && by->op == KD_OP_CONST ? by->attr[0].u.f : 0;
  if (kd__type_of(b->g, x)->dtype == KD_F32) f = (double)(float)f;
  if (!(f > 0) || f - f != 0) return kd__b_reduce(b, KD_OP_REDUCE_MAX, x, axes, k);
  kd_value m = kd__b_reduce(b, KD_OP_REDUCE_MAX, n->in[0], axes, k);
  return kd__b_op2(b, KD_OP_MUL, m, kd__b_const_like(b, f, m));
}

static kd_value expanded(kd_build *b, kd_op op, const kd_node *n, kd_value x) {
  const int64_t *axes = n->attr[0].u.list;
  int k = (int)n->attr[0].n;
  kd_value m = largest(b, x, axes, k);
  kd_value d = kd__b_op2(b, KD_OP_SUB, x, kd__b_unreduce(b, m, x, axes, k)), e = kd__b_op1(b, KD_OP_EXP, d);
  kd_value s = kd__b_reduce(b, KD_OP_SUM, e, axes, k);
  if (op == KD_OP_SOFTMAX) return kd__b_op2(b, KD_OP_MUL, e, kd__b_unreduce(b, kd__b_op1(b, KD_OP_RECIP, s), x, axes, k));
  kd_value l = kd__b_op1(b, KD_OP_LOG, s);
  if (op == KD_OP_LOG_SOFTMAX) return kd__b_op2(b, KD_OP_SUB, d, kd__b_unreduce(b, l, x, axes, k));
  return kd__b_where(b, kd__b_op1(b, KD_OP_ISFINITE, m), kd__b_op2(b, KD_OP_ADD, m, l), m);
}

/* p log p; log p may be -inf only where p is 0. */
static kd_value p_log_p(kd_build *b, const kd_node *softmax, kd_value p, kd_value x) {
  double least = kd__type_of(b->g, p)->dtype == KD_F32 ? -(double)FLT_MAX : -DBL_MAX;
  return kd__b_op2(b, KD_OP_MUL, p, kd__b_op2(b, KD_OP_MAX, expanded(b, KD_OP_LOG_SOFTMAX, softmax, x), kd__b_const_like(b, least, p)));
}

/* The softmax or log-softmax that a node is made of, where it is to be made another way. */
static const kd_node *made_of(const kd_graph *g, const kd_node *n) {
  const kd_node *d = n->nin ? &g->node.v[g->def.v[n->in[0]]] : NULL;
  if (n->op == KD_OP_EXP) return d->op == KD_OP_LOG_SOFTMAX && short_enough(g, d) ? d : NULL;
  if (n->op != KD_OP_XLOGY || n->in[0] != n->in[1]) return NULL;
  return d->op == KD_OP_EXP ? made_of(g, d) : d->op == KD_OP_SOFTMAX && short_enough(g, d) ? d : NULL;
}

/* An infinite maximum is the result itself; that of -inf alone, and NaN, come out the same either way. */
kd_graph *kd__fuse_expand(kd_graph *g) {
  size_t i = 1;
  while (i < g->node.n && g->node.v[i].op != KD_OP_SOFTMAX && g->node.v[i].op != KD_OP_LOG_SOFTMAX && g->node.v[i].op != KD_OP_LOGSUMEXP) i++;
  if (i == g->node.n) return g;
  kd_graph *to = kd__graph_new_sized(g->arena, g->node.n + 32, g->type.n + 32);
  kd_value *map = KD_NEWN(g->arena, kd_value, g->type.n);
  KD_VEC(kd_value) in = { 0 };
  for (i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    kd_build b = { to, n->origin };
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) KD_PUSH(g->arena, in, map[n->in[k]]);
    const kd_node *from = made_of(g, n);
    bool simpler = (n->op == KD_OP_SOFTMAX || n->op == KD_OP_LOG_SOFTMAX || n->op == KD_OP_LOGSUMEXP) && short_enough(g, n);
    kd_value v = from && n->op == KD_OP_EXP ? expanded(&b, KD_OP_SOFTMAX, from, map[from->in[0]]) : from ? p_log_p(&b, from, in.v[0], map[from->in[0]])
               : simpler ? expanded(&b, (kd_op)n->op, n, in.v[0]) : kd__graph_add(to, (kd_op)n->op, in.v, n->nin, n->attr, n->origin, NULL);
    for (uint32_t k = 0; k < n->nout; k++) map[n->out + k] = v + k;
  }
  for (i = 0; i < g->write.n; i++) kd__graph_write(to, g->write.v[i].slot, map[g->write.v[i].value], g->write.v[i].origin);
  for (i = 0; i < g->result.n; i++) kd__graph_result(to, g->result.v[i].name, map[g->result.v[i].value]);
  return to;
}
