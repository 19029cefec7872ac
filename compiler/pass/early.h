/* early.h: algebra that must be done before gradients are built, since they follow the form of what they are the gradients of. A rule gives a value that
 * takes the place of a node about to be added. */
#ifndef KD_PASS_EARLY_H
#define KD_PASS_EARLY_H
#include "compiler/ir/graph.h"

/* For kd_graph.early: the rules one after the other; 0: the node stays as it is. Operands and attributes fit. */
kd_value kd__early(kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr, kd_origin origin);

/* early_gram.c: squares of products by the smaller of their two Gram matrices; |P|^2 - 2 P.Q + |Q|^2 as |P - Q|^2. */
kd_value kd__early_square(kd_build *b, kd_value x, const kd_attr *axes);
kd_value kd__early_combined(kd_build *b, kd_op op, kd_value x, kd_value y);
/* early_pairs.c: products of differences of pairs from the Gram matrix of the samples. */
kd_value kd__early_norm(kd_build *b, kd_value x, const kd_attr *axes);
kd_value kd__early_angle(kd_build *b, kd_value x, kd_value y);

/* Is v the (first) result of such an operator? Then *n is its node: a copy, since adding moves nodes. */
bool kd__early_is(const kd_graph *g, kd_value v, kd_op op, kd_node *n);
/* The last two axes exchanged; what such an exchange was made of where it is one. */
kd_value kd__early_transpose(kd_build *b, kd_value x);
#endif
