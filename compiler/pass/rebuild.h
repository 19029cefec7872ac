/* rebuild.h: how a pass makes its new graph: node by node, in order, only what is live. Internal to pass/. */
#ifndef KD_PASS_REBUILD_H
#define KD_PASS_REBUILD_H
#include "compiler/ir/graph_private.h"

typedef struct kd__rebuild {
  const kd_graph *old;
  kd_graph *g;                                   /* the new graph, in the old one's arena */
  const bool *live;                              /* by old node: writes or results need it */
  kd_value *to;                                  /* by old value: the new one; 0: not live */
  void *ctx;
} kd__rebuild;

/* Gives the first of the values that take the place of n's results; the others follow it. `in`: n's operands, in the new graph. What it adds
 * gets n's origin. */
typedef kd_value (*kd__rebuild_fn)(kd__rebuild *r, const kd_node *n, const kd_value *in);

/* The same node in the new graph: what a rule does that changes nothing. */
kd_value kd__rebuild_same(kd__rebuild *r, const kd_node *n, const kd_value *in);
kd_graph *kd__rebuild_run(kd_graph *g, kd__rebuild_fn rule, void *ctx);
/* By node: do writes or results need it? What is left over from an earlier rewrite must not count as a reader. */
bool *kd__rebuild_live(const kd_graph *g);
#endif
