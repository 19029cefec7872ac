/* nest.h: several strided tensors of one shape as one loop nest, dimensions sorted and merged. Internal to kernels/. */
#ifndef KD_KERNELS_NEST_H
#define KD_KERNELS_NEST_H
#include "runtime/kernels/kernel.h"

enum { KD__NEST_TENSORS = 5 };
/* Dimension 0 is the innermost. Sizes of 1 are gone; a scalar has rank 0. Strides and offsets are in elements. */
typedef struct kd__nest {
  int rank, n;
  int64_t count;
  int64_t dim[KD_MAX_RANK];
  int64_t stride[KD__NEST_TENSORS][KD_MAX_RANK];
  int64_t offset[KD__NEST_TENSORS];              /* of element 0 of the nest: a leader's negative strides are turned round */
} kd__nest;

/* All tensors have t[0]'s shape. Dimensions are ordered by the strides of t[0], then t[1] ...; neighbours merge where all tensors allow. */
void kd__nest_make(kd__nest *s, int n, const kd_tensor *const *t);
/* The same from bare arrays: stride[i] belongs to tensor i. */
void kd__nest_make_raw(kd__nest *s, int n, int rank, const int64_t *dim, const int64_t *const *stride);
/* The same, but the dimensions whose bit is set in `keep` stay in their order and direction among each other. */
void kd__nest_make_ordered(kd__nest *s, int n, int rank, const int64_t *dim, const int64_t *const *stride, uint32_t keep);
/* Element offsets of flat position `index` counted over dimensions from.. (innermost first), without s->offset. */
void kd__nest_seek(const kd__nest *s, int from, int64_t index, int64_t *pos, int64_t *off);
/* Steps pos[from..] on by one and moves off[] along. */
static inline void kd__nest_next(const kd__nest *s, int from, int64_t *pos, int64_t *off) {
  for (int d = from; d < s->rank; d++) {
    for (int i = 0; i < s->n; i++) off[i] += s->stride[i][d];
    if (++pos[d] < s->dim[d]) return;
    pos[d] = 0;
    for (int i = 0; i < s->n; i++) off[i] -= s->stride[i][d] * s->dim[d];
  }
}
static inline int64_t kd__count(const kd_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}
/* No gaps, and row-major in some order of the axes. */
bool kd__tensor_packed(const kd_tensor *t);
/* Row-major and gap-free in the logical axes. */
bool kd__tensor_dense(const kd_tensor *t);
#endif
