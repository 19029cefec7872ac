/* group_build.h: fused groups written by hand: each function adds an instruction and returns its number. */
#ifndef KD_TEST_GROUP_BUILD_H
#define KD_TEST_GROUP_BUILD_H
#include "tests/kernels/group_random.h"

void b_begin(t_group *o, uint32_t rank, const int64_t *size, uint32_t outer);
/* An input over `axes`, row-major, or with the strides given. */
uint32_t b_load(t_group *o, kd_dtype type, uint32_t axes, const int64_t *stride);
uint32_t b_const(t_group *o, double v);
uint32_t b_one(t_group *o, kd_op op, uint32_t a);
uint32_t b_two(t_group *o, kd_op op, uint32_t a, uint32_t b);
uint32_t b_where(t_group *o, uint32_t c, uint32_t a, uint32_t b);
uint32_t b_cast(t_group *o, kd_dtype to, uint32_t a);
uint32_t b_reduce(t_group *o, kd_op op, uint32_t a, uint32_t over);
uint32_t b_spread(t_group *o, uint32_t moments);
/* A row of a table [limit, along `axes`] at an index. */
uint32_t b_gather(t_group *o, kd_dtype type, uint32_t index, uint32_t axes, int64_t limit);
/* A load of indices below `limit`. */
uint32_t b_index(t_group *o, uint32_t axes, int64_t limit);
/* Like input `like` (and in its memory where `share`), or row-major: -1. */
void b_store(t_group *o, uint32_t v, int32_t like, bool share);
/* Sorts instructions by phase and puts outputs behind inputs; then the group may be used. */
void b_end(t_group *o);
#endif
