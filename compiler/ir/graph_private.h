/* graph_private.h: what graph.c shares with those who rebuild graphs (read.c, pass/). */
#ifndef KD_IR_GRAPH_PRIVATE_H
#define KD_IR_GRAPH_PRIVATE_H
#include "compiler/ir/graph.h"

/* The most results that any operator has whose row says how many; the table is checked against it where it is used. */
enum { KD_MAX_RESULTS = 2 };
#define KD_OP(ID, name, cls, nin, nout, ...) _Static_assert((nout) <= KD_MAX_RESULTS, #name " has too many results");
#include "runtime/op/ops.def"
#undef KD_OP

/* A new graph with room for so many nodes and values, so that rebuilding a large one does not copy its tables again and again. */
kd_graph *kd__graph_new_sized(kd__arena *a, size_t nodes, size_t values);

/* The first result of the node that kd__graph_add would find; 0 where it would add one. Operands and attributes fit. */
kd_value kd__graph_find(const kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr);
#endif
