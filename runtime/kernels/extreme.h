/* extreme.h: the largest and the smallest of a run of f32, in the instructions of this processor. Internal to kernels/. */
#ifndef KD_KERNELS_EXTREME_H
#define KD_KERNELS_EXTREME_H
#include <stdint.h>

/* Of n > 0 elements; NaN wins. Where zeros of both signs are largest or smallest, any of them. */
float kd__max_run(const float *p, int64_t n);
float kd__min_run(const float *p, int64_t n);
#endif
