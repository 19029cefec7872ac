/* pool.h: pooling over windows of one to three spatial dimensions. Internal to kernels/. */
#ifndef KD_KERNELS_POOL_H
#define KD_KERNELS_POOL_H
#include "runtime/kernels/kernel.h"

bool kd__pool_takes(const kd_call *c, const kd_kernel_settings *s);            /* max_pool, sum_pool, sum_pool_data of f32 */
size_t kd__pool_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__pool_run(const kd_call *c, const kd_exec *x);
#endif
