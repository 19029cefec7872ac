/* rebuild.c: see rebuild.h. */
#include "compiler/pass/rebuild.h"
#include <assert.h>

kd_value kd__rebuild_same(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  return kd__graph_add(r->g, (kd_op)n->op, in, n->nin, n->attr, n->origin, NULL);
}

bool *kd__rebuild_live(const kd_graph *g) {
  bool *live = KD_NEWN(g->arena, bool, g->node.n);
  for (size_t i = 0; i < g->write.n; i++) live[g->def.v[g->write.v[i].value]] = true;
  for (size_t i = 0; i < g->result.n; i++) live[g->def.v[g->result.v[i].value]] = true;
  for (size_t i = g->node.n; i-- > 1;) {
    const kd_node *n = &g->node.v[i];
    for (uint32_t k = 0; k < n->nin && live[i]; k++) live[g->def.v[n->in[k]]] = true;
  }
  return live;
}

kd_graph *kd__rebuild_run(kd_graph *g, kd__rebuild_fn rule, void *ctx) {
  size_t nodes = 0, values = 0;
  kd__rebuild r = { .old = g, .ctx = ctx, .live = kd__rebuild_live(g) };
  for (size_t i = 1; i < g->node.n; i++)
    if (r.live[i]) nodes++, values += g->node.v[i].nout;
  r.g = kd__graph_new_sized(g->arena, nodes, values);
  r.to = KD_NEWN(g->arena, kd_value, g->type.n);
  KD_VEC(kd_value) in = { 0 };
  for (size_t i = 1; i < g->node.n; i++) {
    if (!r.live[i]) continue;
    const kd_node *n = &g->node.v[i];
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) KD_PUSH(g->arena, in, r.to[n->in[k]]);
    kd_value v = rule(&r, n, in.v);
    for (uint32_t k = 0; k < n->nout; k++) {
      r.to[n->out + k] = v + k;
      assert(kd__type_equal(kd__type_of(g, n->out + k), kd__type_of(r.g, v + k)) && "a rewrite changed a type");
    }
  }
  for (size_t i = 0; i < g->write.n; i++) kd__graph_write(r.g, g->write.v[i].slot, r.to[g->write.v[i].value], g->write.v[i].origin);
  for (size_t i = 0; i < g->result.n; i++) kd__graph_result(r.g, g->result.v[i].name, r.to[g->result.v[i].value]);
  return r.g;
}
