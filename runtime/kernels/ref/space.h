/* space.h: windows over 1 to 3 spatial dimensions, as convolutions and pools slide them. Fewer dimensions are filled up with size 1. */
#ifndef KD_REF_SPACE_H
#define KD_REF_SPACE_H
#include "runtime/kernels/ref/ref.h"

/* A tensor of rank 3..5 seen as [2 leading axes, 3 spatial axes]. */
typedef struct kd__ref_vol { const kd_tensor *t; int64_t dim[5], stride[5]; } kd__ref_vol;
typedef struct kd__ref_window { int64_t size[3], stride[3], pad[3], dilation[3]; } kd__ref_window;

static inline kd__ref_vol kd__ref_volume(const kd_tensor *t) {
  kd__ref_vol v = { .t = t, .dim = { t->dim[0], t->dim[1], 1, 1, 1 }, .stride = { t->stride[0], t->stride[1], 0, 0, 0 } };
  for (int i = 2; i < t->rank; i++) v.dim[i] = t->dim[i], v.stride[i] = t->stride[i];
  return v;
}

static inline int64_t kd__ref_vat(const kd__ref_vol *v, int64_t a, int64_t b, const int64_t s[3]) {
  return a * v->stride[0] + b * v->stride[1] + s[0] * v->stride[2] + s[1] * v->stride[3] + s[2] * v->stride[4];
}

/* The position that the window at t has under its element k; false in the padding. `limit` is the spatial size of what it slides over. */
static inline bool kd__ref_under(const kd__ref_window *w, const int64_t t[3], const int64_t k[3], const int64_t limit[3], int64_t s[3]) {
  for (int i = 0; i < 3; i++) {
    s[i] = t[i] * w->stride[i] - w->pad[i] + k[i] * w->dilation[i];
    if (s[i] < 0 || s[i] >= limit[i]) return false;
  }
  return true;
}

/* The other way round: the window whose element k lies on position s; false if there is none. `limit` is the number of windows. */
static inline bool kd__ref_over(const kd__ref_window *w, const int64_t s[3], const int64_t k[3], const int64_t limit[3], int64_t t[3]) {
  for (int i = 0; i < 3; i++) {
    int64_t d = s[i] + w->pad[i] - k[i] * w->dilation[i];
    t[i] = d / w->stride[i];
    if (d < 0 || d % w->stride[i] || t[i] >= limit[i]) return false;
  }
  return true;
}
#endif
