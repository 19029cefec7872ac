/* conv.h: what the convolution kernels share: the roles of the tensors, sizes and attributes. Internal to kernels/. */
#ifndef KD_KERNELS_CONV_H
#define KD_KERNELS_CONV_H
#include "runtime/kernels/kernel.h"

/* One convolution y = conv(x, w), whichever of the three is wanted. Spatial dimensions beyond `spatial` have size 1. */
typedef enum kd__role { KD__X, KD__W, KD__Y, KD__ROLES } kd__role;
typedef struct kd__conv {
  const kd_tensor *t[KD__ROLES];
  kd__role wanted;
  int spatial;
  const kd_tensor *bias, *add;                   /* of conv_post, or NULL */
  bool post, relu;
  int64_t batch, cin, cout, groups;
  int64_t in[3], ker[3], out[3], stride[3], pad_lo[3], pad_hi[3], dilation[3];
} kd__conv;
/* False when a size is 0 or there are more than three spatial dimensions. */
bool kd__conv_describe(kd__conv *v, const kd_call *c);

/* conv_post: `rows` places of c channels from `from` to `to`, + bias + add (as `to` lies; may be `to`) and relu; NULL, false: not. */
void kd__conv_finish(const float *from, float *to, int64_t rows, int64_t c, const float *bias, const float *add, bool relu);
/* The bias without gaps: where it lies, or copied to `room`. NULL if there is none. */
const float *kd__conv_bias(const kd__conv *v, float *room);

/* Does the tensor lie as [B, s..., C] without gaps? */
bool kd__channels_last(const kd_tensor *t);
/* Strides of that layout. */
void kd__channels_last_strides(const kd_tensor *t, int64_t *stride);
/* A map to `room` in that layout, and what lies there so back to the map. */
float *kd__conv_pack(const kd_tensor *t, float *room, const kd_exec *x);
void kd__conv_unpack(float *room, const kd_tensor *t, const kd_exec *x);

bool kd__conv_dnnl_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__conv_dnnl_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__conv_dnnl_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__conv_dnnl_release(void *prepared);
void kd__conv_dnnl_run(const kd_call *c, const kd_exec *x);

bool kd__conv_wino_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__conv_wino_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__conv_wino_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__conv_wino_release(void *prepared);
void kd__conv_wino_run(const kd_call *c, const kd_exec *x);

bool kd__conv_direct_takes(const kd_call *c, const kd_kernel_settings *s);
bool kd__conv_direct_early(const kd_call *c, const kd_kernel_settings *s);      /* before oneDNN */
size_t kd__conv_direct_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__conv_direct_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__conv_direct_run(const kd_call *c, const kd_exec *x);

bool kd__conv_im2col_takes(const kd_call *c, const kd_kernel_settings *s);
bool kd__conv_im2col_early(const kd_call *c, const kd_kernel_settings *s);      /* before oneDNN */
size_t kd__conv_im2col_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__conv_im2col_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__conv_im2col_run(const kd_call *c, const kd_exec *x);
#endif
