/* unroll.h: a loop written out: what the loop's results must be, bit by bit. */
#ifndef KD_TEST_UNROLL_H
#define KD_TEST_UNROLL_H
#include "compiler/ir/graph.h"

/* Adds to g the body of the loop (its first result: `loop`) once for each turn; fills out[0..nout) with what takes the place of its results. */
void kd_unroll(kd_graph *g, kd_value loop, kd_value *out);
#endif
