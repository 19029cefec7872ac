/* gemm.h: one-thread library products, shared by matmul and the im2col convolutions. Internal to kernels/. */
#ifndef KD_KERNELS_GEMM_H
#define KD_KERNELS_GEMM_H
#include "runtime/kernels/kernel.h"

/* C[m,n] = A[m,k] B[k,n] + beta C, row-major; ta: A is stored [k,m]; tb: B is stored [n,k]. Sizes are limited to int by the libraries. */
typedef struct kd__gemm { bool ta, tb; int64_t m, n, k, lda, ldb, ldc; double beta; } kd__gemm;
/* Call only below kd__par_library, so that the library stays on one thread. */
void kd__gemm_f32(bool use_dnnl, const kd__gemm *g, const float *a, const float *b, float *c);
void kd__gemm_f64(const kd__gemm *g, const double *a, const double *b, double *c);
/* Is there a library for this type? */
bool kd__gemm_there(kd_dtype t, bool use_dnnl);

bool kd__matmul_own_takes(const kd_call *c, const kd_kernel_settings *s);
bool kd__matmul_dnnl_takes(const kd_call *c, const kd_kernel_settings *s);
bool kd__matmul_blas_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__matmul_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__matmul_prepare(kd_call *c, const kd_kernel_settings *s);
bool kd__matmul_panel_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__matmul_panel_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__matmul_panel_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__matmul_panel_release(void *prepared);
void kd__matmul_panel_run(const kd_call *c, const kd_exec *x);
void kd__matmul_own_run(const kd_call *c, const kd_exec *x);
void kd__matmul_run(const kd_call *c, const kd_exec *x);
#endif
