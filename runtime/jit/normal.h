/* normal.h: axes joined and chosen, before a group's code is laid out (shape.c). */
#ifndef KD_JIT_NORMAL_H
#define KD_JIT_NORMAL_H
#include "runtime/jit/shape.h"

void kdj_join_axes(kdj_shape *s);
void kdj_choose_axes(kdj_shape *s);
int64_t kdj_points(const kd_group *g, uint32_t axes);
#endif
