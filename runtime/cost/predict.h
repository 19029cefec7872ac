/* predict.h: how long a call will take, from what it costs, what the machine can do, and what kernels reach of that (speed.def). */
#ifndef KD_PREDICT_H
#define KD_PREDICT_H
#include "runtime/cost/limits.h"

/* What the machine's limits allow at best: no kernel is faster but one that computes less than the direct algorithm. */
double kd__limit_seconds(const kd__limits *l, const kd__work *w, const kd__reached *r);
/* One run of a call by that kernel in a team; `team` false: the program is too small for one. */
double kd__predict_seconds(const kd__limits *l, const kd_plan *p, uint32_t call, const char *kernel, bool team, const kd__work *w, const kd__reached *r);
/* What the machine does around a plan: setting scalars, gathering a team, reading results. */
double kd__predict_dispatch(const kd__limits *l, bool team);
#endif
