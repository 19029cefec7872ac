/* matmul.c: the matrix product over any number of batch dimensions. */
#include "runtime/kernels/ref/ref.h"

void kd__ref_matmul(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *a = &c->in[0], *b = &c->in[1], *o = &c->out[0];
  int r = o->rank;
  int64_t mn[2] = { r - 2, r - 1 }, depth = a->dim[r - 1];
  kd__ref_axes ba, bb, bo, in;
  kd__ref_split(a, mn, 2, &ba, &in);
  kd__ref_split(b, mn, 2, &bb, &in);
  kd__ref_split(o, mn, 2, &bo, &in);
  for (int64_t g = 0; g < bo.count; g++) {
    int64_t ga = kd__ref_pos(&ba, g), gb = kd__ref_pos(&bb, g), go = kd__ref_pos(&bo, g);
    for (int64_t i = 0; i < o->dim[r - 2]; i++)
      for (int64_t j = 0; j < o->dim[r - 1]; j++) {
        double s = 0;
        for (int64_t k = 0; k < depth; k++)
          s += kd__ref_load(a, ga + i * a->stride[r - 2] + k * a->stride[r - 1]) *
               kd__ref_load(b, gb + k * b->stride[r - 2] + j * b->stride[r - 1]);
        kd__ref_store(o, go + i * o->stride[r - 2] + j * o->stride[r - 1], s);
      }
  }
}
