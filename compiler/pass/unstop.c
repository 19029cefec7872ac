/* unstop.c: requires gradients; breaks gradients (none may be built afterwards). */
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_unstop(kd_graph *g);

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) { return n->op == KD_OP_STOP ? in[0] : kd__rebuild_same(r, n, in); }

kd_graph *kd__pass_unstop(kd_graph *g) { return kd__rebuild_run(g, rule, NULL); }
