/* exp.h: powers of e of f32, in the instructions of this processor. Internal to kernels/. */
#ifndef KD_KERNELS_EXP_H
#define KD_KERNELS_EXP_H
#include "runtime/kernels/group_tile.h"

kd__elem_fn kd__exp_run(void);
/* Of operand 1 less operand 2, which repeats one element along a row where `repeated` is 2; of anything else there is none. The same bits as one by one. */
kd__prim kd__exp_sub(uint32_t repeated);
/* Of operand 1 times operand 2, rounded, less operand 3, which both repeat one element along a row; NULL: there is none for this processor. */
kd__prim kd__exp_mul_sub(void);
#endif
