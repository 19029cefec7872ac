/* unroll.c: see unroll.h. */
#include "tests/eval/unroll.h"

/* The body's values in g, given those of its slots. */
static void copy_body(kd_build *b, const kd_graph *body, const kd_value *slot, kd_value *map) {
  for (size_t i = 1; i < body->node.n; i++) {
    const kd_node *n = &body->node.v[i];
    kd_value *in = KD_NEWN(b->g->arena, kd_value, n->nin + 1);
    for (uint32_t k = 0; k < n->nin; k++) in[k] = map[n->in[k]];
    kd_value v = n->op == KD_OP_INPUT ? slot[n->attr[0].u.i] : kd__graph_add(b->g, (kd_op)n->op, in, n->nin, n->attr, n->origin, NULL);
    for (uint32_t k = 0; k < n->nout; k++) map[n->out + k] = v + k;
  }
}

static kd_value row(kd_build *b, kd_value v) {
  kd_type t = *kd__type_of(b->g, v);
  int64_t dim[KD_MAX_RANK] = { 1 };
  memcpy(dim + 1, t.dim, sizeof *dim * t.rank);
  return kd__b_reshape(b, v, dim, t.rank + 1);
}

void kd_unroll(kd_graph *g, kd_value loop, kd_value *out) {
  kd_node n = *kd__node_of(g, loop);
  const kd_graph *body = n.attr[0].u.graph;
  int64_t times = n.attr[1].u.i, carries = n.attr[2].u.i;
  kd_build b = { g, n.origin };
  kd_value *slot = KD_NEWN(g->arena, kd_value, n.nin + 1), *map = KD_NEWN(g->arena, kd_value, body->type.n);
  kd_value *rows = KD_NEWN(g->arena, kd_value, (size_t)times * body->result.n + 1);
  for (uint32_t i = 0; i < n.nin; i++) slot[i + 1] = n.in[i];
  for (int64_t t = 0; t < times; t++) {
    slot[0] = kd__b_const(&b, (double)t, KD_I64, NULL, 0);
    copy_body(&b, body, slot, map);
    for (size_t i = 0; i < body->write.n; i++) slot[body->write.v[i].slot] = map[body->write.v[i].value];
    for (size_t k = 0; k < body->result.n; k++) rows[k * (size_t)times + (size_t)t] = row(&b, map[body->result.v[k].value]);
  }
  for (int64_t j = 0; j < carries; j++) out[j] = slot[j + 1];
  for (size_t k = 0; k < body->result.n; k++) {
    kd_type t = *kd__type_of(g, n.out + (kd_value)carries + (kd_value)k);
    out[carries + (int64_t)k] = times ? kd__b_concat(&b, rows + k * (size_t)times, (int)times, 0) : kd__b_const(&b, 0, (kd_dtype)t.dtype, t.dim, t.rank);
  }
}
