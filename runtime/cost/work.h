/* work.h: what the calls of a plan cost: operations and bytes by the table work.def, where the bytes come from, what is held in memory. */
#ifndef KD_WORK_H
#define KD_WORK_H
#include "runtime/exec/plan.h"

/* Of one run of a call. */
typedef struct kd__work {
  double flops;                                  /* floating-point operations of the direct algorithm */
  double slots;                                  /* vector operations by lane (work.def) */
  double bytes;                                  /* read and written, each element once */
  double elements;                               /* of the largest operand or result */
  double points;                                 /* of a fused group: elements of all its values together; else 0 */
} kd__work;
kd__work kd__work_call(const kd_plan *p, uint32_t call);
/* Of a call that runs a fused group: its instructions (0: it runs none), and what one costs, without bytes, and where it comes from. */
uint32_t kd__work_instructions(const kd_plan_call *c);
kd__work kd__work_instruction(const kd_plan_call *c, uint32_t i, uint32_t *origin);

/* How far away the bytes of a call are when they are touched: how many others were touched since the last time, in a step after others like it. */
typedef enum kd__reach { KD__REACH_L2, KD__REACH_L3, KD__REACH_MEMORY, KD__REACHES } kd__reach;
typedef struct kd__reached { double bytes[KD__REACHES]; } kd__reached;
/* By call of the plan itself (bodies of loops are plans of their own). `size`: of the caches, for the whole team. False: no memory. */
bool kd__work_reach(const kd_plan *p, const double size[KD__REACH_MEMORY], kd__reached *out);

/* What lies in the arena when most of it is in use: bytes by the call that made them. Returns their sum, below 0: no memory. */
int64_t kd__work_held(const kd_plan *p, int64_t *by_call);
#endif
