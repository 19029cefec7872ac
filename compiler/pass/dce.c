/* dce.c: requires nothing, breaks nothing. Every rebuild leaves dead nodes behind; this one also takes writes that change nothing. */
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_dce(kd_graph *g);

static bool changes_nothing(const kd_graph *g, const kd_write *w) {
  const kd_node *n = kd__node_of(g, w->value);
  return n->op == KD_OP_INPUT && kd__attr(n, "slot")->u.i == w->slot;
}

kd_graph *kd__pass_dce(kd_graph *g) {
  kd_graph kept = *g;                            /* the same nodes under a shorter list of writes: g itself stays as it is */
  kept.write.v = KD_NEWN(g->arena, kd_write, g->write.n);
  kept.write.n = 0, kept.write.cap = g->write.n;
  for (size_t i = 0; i < g->write.n; i++)
    if (!changes_nothing(g, &g->write.v[i])) kept.write.v[kept.write.n++] = g->write.v[i];
  return kd__rebuild_run(&kept, kd__rebuild_same, NULL);
}
