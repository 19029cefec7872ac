/* vec.h: 16 floats as one value (GCC and clang vector extension); narrower CPUs get several registers. Internal to kernels/. */
#ifndef KD_KERNELS_VEC_H
#define KD_KERNELS_VEC_H
#include "runtime/kernels/par.h"

typedef float kd__v16 __attribute__((vector_size(64)));
typedef float kd__v8 __attribute__((vector_size(32)));
typedef float kd__v4 __attribute__((vector_size(16)));
typedef float kd__v16u __attribute__((vector_size(64), aligned(4), may_alias));   /* for loads and stores anywhere */
#define KD__LOAD16(p) (*(const kd__v16u *)(p))
#define KD__STORE16(p, v) (*(kd__v16u *)(p) = (v))
/* Sum of the 16 lanes by halves: lane i and i + 8, then i + 4, i + 2, i + 1. A macro, since a vector argument has a different calling convention for
 * each CPU. */
#define KD__SUM16(v) \
  __extension__({ \
    const kd__v16 z_ = (v); \
    const kd__v8 a_ = __builtin_shufflevector(z_, z_, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(z_, z_, 8, 9, 10, 11, 12, 13, 14, 15); \
    const kd__v4 b_ = __builtin_shufflevector(a_, a_, 0, 1, 2, 3) + __builtin_shufflevector(a_, a_, 4, 5, 6, 7); \
    const kd__v4 c_ = b_ + __builtin_shufflevector(b_, b_, 2, 3, 2, 3); \
    c_[0] + c_[1]; \
  })
#endif
