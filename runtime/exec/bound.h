/* bound.h: a plan bound to memory, as bind.c makes it and run.c uses it. */
#ifndef KD_BOUND_H
#define KD_BOUND_H
#include "runtime/exec/plan.h"

struct kd_bound {
  const kd_plan *plan;
  kd_kernel_settings set;
  kd_tensor *tensor;                             /* as the plan's tensors, with addresses */
  kd_tensor *operand;                            /* operands and results of all calls, in order: what the calls point to */
  kd_call *call;
  const kd_kernel **kernel;                      /* by call; NULL: a strided copy */
  size_t scratch;
  bool team;                                     /* some call is worth one */
  const kd_plan_call *faulted;
  double *seconds;                               /* by call, or NULL */
};
#endif
