/* cse.c: requires nothing, breaks nothing. Adding an equal node gives back the old one, so rebuilding does most of it; here commutative
 * operands are put in order first. Only those whose gradient does not tell them apart: at a tie that of max and min goes to the first. */
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_cse(kd_graph *g);

static bool commutes(uint16_t op) {
  return op == KD_OP_ADD || op == KD_OP_MUL || op == KD_OP_EQ || op == KD_OP_NE || op == KD_OP_AND || op == KD_OP_OR;
}

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  if (!commutes(n->op) || in[0] <= in[1]) return kd__rebuild_same(r, n, in);
  return kd__rebuild_same(r, n, (kd_value[]){ in[1], in[0] });
}

kd_graph *kd__pass_cse(kd_graph *g) { return kd__rebuild_run(g, rule, NULL); }
