/* libs.h: the numeric libraries, opened at first use: a program that only compiles never loads them. Internal to kernels/. */
#ifndef KD_KERNELS_LIBS_H
#define KD_KERNELS_LIBS_H
#include "runtime/kernels/kernel.h"
#ifdef KD__HAVE_DNNL
#include <dnnl.h>
/* Every oneDNN function in use: a member of kd__dnnl_api, found by its name. */
#define KD__DNNL_FUNCTIONS(X) \
  X(dnnl_version) X(dnnl_sgemm) X(dnnl_engine_create) X(dnnl_engine_destroy) X(dnnl_stream_create) X(dnnl_stream_destroy) \
  X(dnnl_memory_create) X(dnnl_memory_destroy) X(dnnl_memory_set_data_handle) X(dnnl_memory_desc_init_by_strides) \
  X(dnnl_memory_desc_init_by_tag) X(dnnl_memory_desc_get_size) X(dnnl_memory_desc_equal) X(dnnl_primitive_desc_create) \
  X(dnnl_primitive_desc_destroy) X(dnnl_primitive_desc_query) X(dnnl_primitive_desc_query_md) X(dnnl_primitive_create) \
  X(dnnl_primitive_destroy) X(dnnl_primitive_execute) X(dnnl_primitive_attr_create) X(dnnl_primitive_attr_destroy) \
  X(dnnl_primitive_attr_set_scratchpad_mode) X(dnnl_reorder_primitive_desc_create) X(dnnl_dilated_convolution_forward_desc_init) \
  X(dnnl_dilated_convolution_backward_data_desc_init) X(dnnl_dilated_convolution_backward_weights_desc_init)
typedef struct kd__dnnl_api {
#define KD__MEMBER(name) __typeof__(&name) f_##name;
  KD__DNNL_FUNCTIONS(KD__MEMBER)
#undef KD__MEMBER
} kd__dnnl_api;
/* NULL when the library cannot be opened. */
const kd__dnnl_api *kd__dnnl(void);
#endif
bool kd__dnnl_there(void);                       /* built in, and the library opens */
/* Also multiplies right: a self-test at the first question. That costs 20 ms, since oneDNN then makes its kernels for products. */
bool kd__dnnl_multiplies(void);

typedef struct kd__blas_api {
  void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
  void (*dgemm)(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a, int lda, const double *b, int ldb, double beta, double *c, int ldc);
  char *(*get_config)(void);
  char *(*get_corename)(void);
} kd__blas_api;
/* The OpenMP build of OpenBLAS, or NULL: then kd__blas_why says what is wrong. */
const kd__blas_api *kd__blas(void);
const char *kd__blas_why(void);
#endif
