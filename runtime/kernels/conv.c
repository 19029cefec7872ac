/* conv.c: reading a convolution's call. */
#include "runtime/kernels/conv.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"

bool kd__conv_describe(kd__conv *v, const kd_call *c) {
  kd__role first = c->op == KD_OP_CONV_DATA ? KD__Y : KD__X, second = c->op == KD_OP_CONV_WEIGHT ? KD__Y : KD__W;
  *v = (kd__conv){ .wanted = c->op == KD_OP_CONV_DATA ? KD__X : c->op == KD_OP_CONV_WEIGHT ? KD__W : KD__Y, .groups = c->attr[4].u.i };
  v->t[first] = &c->in[0], v->t[second] = &c->in[1], v->t[v->wanted] = &c->out[0];
  v->post = c->op == KD_OP_CONV_POST, v->relu = v->post && c->attr[6].u.i;
  if (v->post && c->attr[5].u.i) v->bias = &c->in[2];
  if (v->post && c->nin > 2u + (v->bias != NULL)) v->add = &c->in[c->nin - 1];
  const kd_tensor *x = v->t[KD__X], *w = v->t[KD__W], *y = v->t[KD__Y];
  v->spatial = x->rank - 2;
  if (v->spatial < 1 || v->spatial > 3 || kd__count(x) == 0 || kd__count(w) == 0 || kd__count(y) == 0) return false;
  v->batch = x->dim[0], v->cin = x->dim[1], v->cout = y->dim[1];
  for (int i = 0; i < 3; i++) {
    bool there = i < v->spatial;
    v->in[i] = there ? x->dim[2 + i] : 1, v->ker[i] = there ? w->dim[2 + i] : 1, v->out[i] = there ? y->dim[2 + i] : 1;
    v->stride[i] = there ? c->attr[0].u.list[i] : 1, v->dilation[i] = there ? c->attr[3].u.list[i] : 1;
    v->pad_lo[i] = there ? c->attr[1].u.list[i] : 0, v->pad_hi[i] = there ? c->attr[2].u.list[i] : 0;
  }
  return true;
}

KD_CLONES void kd__conv_finish(const float *from, float *to, int64_t rows, int64_t c, const float *bias, const float *add, bool relu) {
  for (int64_t r = 0; r < rows; r++, from += c, to += c) {
    if (bias && add) { KD_IVDEP for (int64_t i = 0; i < c; i++) to[i] = from[i] + bias[i] + add[i]; }
    else if (bias) { KD_IVDEP for (int64_t i = 0; i < c; i++) to[i] = from[i] + bias[i]; }
    else if (add) { KD_IVDEP for (int64_t i = 0; i < c; i++) to[i] = from[i] + add[i]; }
    else { KD_IVDEP for (int64_t i = 0; i < c; i++) to[i] = from[i]; }
    if (relu) { KD_IVDEP for (int64_t i = 0; i < c; i++) to[i] = to[i] < 0 ? 0 : to[i]; }
    if (add) add += c;
  }
}

const float *kd__conv_bias(const kd__conv *v, float *room) {
  if (!v->bias) return NULL;
  const float *b = v->bias->data;
  if (v->bias->stride[0] == 1 || v->cout == 1) return b;
  for (int64_t i = 0; i < v->cout; i++) room[i] = b[i * v->bias->stride[0]];
  return room;
}

void kd__channels_last_strides(const kd_tensor *t, int64_t *stride) {
  int64_t step = t->dim[1];
  stride[1] = 1;
  for (int d = t->rank - 1; d >= 2; d--) stride[d] = step, step *= t->dim[d];
  stride[0] = step;
}
bool kd__channels_last(const kd_tensor *t) {
  int64_t want[KD_MAX_RANK];
  kd__channels_last_strides(t, want);
  for (int d = 0; d < t->rank; d++)
    if (t->dim[d] != 1 && t->stride[d] != want[d]) return false;
  return true;
}

static kd_tensor tight(const kd_tensor *t, float *room, int64_t *stride) {
  kd__channels_last_strides(t, stride);
  return (kd_tensor){ room, t->dim, stride, t->dtype, t->rank };
}
float *kd__conv_pack(const kd_tensor *t, float *room, const kd_exec *x) {
  int64_t stride[KD_MAX_RANK];
  kd_tensor to = tight(t, room, stride);
  kd__copy_strided(t, &to, x);
  return room;
}
void kd__conv_unpack(float *room, const kd_tensor *t, const kd_exec *x) {
  int64_t stride[KD_MAX_RANK];
  kd_tensor from = tight(t, room, stride);
  kd__copy_strided(&from, t, x);
}
