/* plan_make.h: from a finished graph to a plan: physical layouts, views as strided aliases, liveness, one arena, in-place updates. */
#ifndef KD_PLAN_MAKE_H
#define KD_PLAN_MAKE_H
#include "compiler/ir/graph.h"
#include "runtime/exec/plan.h"

/* A copy over 1 MiB that an in-place chain of a slot could not avoid, with its place. */
typedef struct kd_plan_note { kd_origin origin; uint32_t slot; int64_t bytes; } kd_plan_note;

/* Plans `g` (already through kd__pass_all). `slots` gives the placement of every slot that g names. The plan lives in `a`.
 * Contract of the result:
 *  - every write happens as if all reads came first: a slot's buffer is overwritten in place only when no later read needs the old value;
 *  - VIEW operators become aliases wherever strides can express them; a copy otherwise;
 *  - `concat` of values that already lie next to each other in one block (parameters of a group), in order, is an alias; other concat
 *    operands are produced in place in the concat's buffer where their layout allows it;
 *  - a write of a value that already lies in the slot is free;
 *  - activations of convolutions and pools are nhwc inside the plan (channels innermost), and element-wise results follow their largest operand;
 *  - the same graph gives the same plan. */
kd_plan *kd__plan_make(kd__arena *a, const kd_graph *g, const kd_slot *slots, uint32_t nslot, const char *name,
                       void (*note)(void *ctx, const kd_plan_note *n), void *ctx);
/* The same where a loop of the team takes `price` microseconds: it says which calls run side by side (docs/plan.md). For tests: below 0, all that can. */
kd_plan *kd__plan_make_at(kd__arena *a, const kd_graph *g, const kd_slot *slots, uint32_t nslot, const char *name, double price,
                          void (*note)(void *ctx, const kd_plan_note *n), void *ctx);
/* The same within `limit` bytes of arena, where need be by making values twice rather than keeping them (within.c): the same operators on the same values,
 * so the bits of the results are those of kd__plan_make. NULL: the least that was found, *least, is more than that. A limit of *least is met. */
kd_plan *kd__plan_within(kd__arena *a, const kd_graph *g, const kd_slot *slots, uint32_t nslot, const char *name, int64_t limit, int64_t *least,
                         void (*note)(void *ctx, const kd_plan_note *n), void *ctx);
#endif
