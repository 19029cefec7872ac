/* pass.h: graph-to-graph passes. A pass rebuilds the live part of a graph into a new one in the same arena and keeps
 * writes and results; spans follow every rewrite. Each takes time nearly in proportion to the number of nodes. */
#ifndef KD_PASS_H
#define KD_PASS_H
#include "compiler/ir/graph.h"

typedef kd_graph *(*kd_pass_fn)(kd_graph *g);
typedef struct kd_pass_info { const char *name; kd_pass_fn run; const char *requires, *breaks, *doc; } kd_pass_info;
extern const kd_pass_info kd__passes[];          /* passes.def, in pipeline order; ends with name NULL */
const kd_pass_info *kd__pass_find(const char *name);
/* The pipeline up to the pass `end` (not with it; NULL: the whole); after each pass `seen`, if not NULL, is told (for --dump and for the verifier). */
kd_graph *kd__pass_until(kd_graph *g, const char *end, void (*seen)(void *ctx, const kd_pass_info *p, const kd_graph *g), void *ctx);
kd_graph *kd__pass_all(kd_graph *g, void (*seen)(void *ctx, const kd_pass_info *p, const kd_graph *g), void *ctx);
#endif
