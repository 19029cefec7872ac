/* jit_final.h: final reductions of native code: what chunks leave, joined in the order of chunks. Internal to kernels/. */
#ifndef KD_KERNELS_JIT_FINAL_H
#define KD_KERNELS_JIT_FINAL_H
#include "runtime/kernels/jit.h"

const kd_jit_plugin *kd__jit(void);              /* NULL: not there */
void kd__jit_final_begin(const kd_jit_code *k, double *slot, float *lane);     /* a chunk's slots, a thread's lanes */
void kd__jit_final_tile(const kd_jit_code *k, int64_t units, double *slot, float *lane);          /* lanes go to slots, and begin anew */
void kd__jit_final_end(const kd_jit_code *k, int64_t chunks, double *slot, void *const *operand); /* to the outputs */

bool kd__jit_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__jit_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__jit_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__jit_release(void *prepared);
void kd__jit_run(const kd_call *c, const kd_exec *x);
#endif
