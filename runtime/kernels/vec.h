/* vec.h: 16 floats as one value (GCC and clang vector extension); narrower CPUs get several registers. Internal to kernels/. */
#ifndef KD_KERNELS_VEC_H
#define KD_KERNELS_VEC_H
#include "runtime/kernels/par.h"

typedef float kd__v16 __attribute__((vector_size(64)));
typedef float kd__v16u __attribute__((vector_size(64), aligned(4), may_alias));   /* for loads and stores anywhere */
#define KD__LOAD16(p) (*(const kd__v16u *)(p))
#define KD__STORE16(p, v) (*(kd__v16u *)(p) = (v))
/* Sum of the 16 lanes in a fixed order. A macro, since a vector argument has a different calling convention for each CPU. */
#define KD__SUM16(v) \
  ((((v)[0] + (v)[8]) + ((v)[4] + (v)[12])) + (((v)[2] + (v)[10]) + ((v)[6] + (v)[14])) + \
   ((((v)[1] + (v)[9]) + ((v)[5] + (v)[13])) + (((v)[3] + (v)[11]) + ((v)[7] + (v)[15]))))
#endif
