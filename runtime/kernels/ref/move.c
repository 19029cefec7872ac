/* move.c: twins of the operators that only move elements. The views are copies here. */
#include "runtime/kernels/ref/ref.h"

static void copy_row_major(const kd_tensor *from, const kd_tensor *to) {
  kd__ref_axes pf = kd__ref_every(from), pt = kd__ref_every(to);
  for (int64_t k = 0; k < pt.count; k++) kd__ref_put(to, kd__ref_pos(&pt, k), from, kd__ref_pos(&pf, k));
}

void kd__ref_reshape(const kd_call *c, const kd_exec *x) {
  (void)x;
  copy_row_major(&c->in[0], &c->out[0]);
}

/* The operand seen with the result's axes: its strides in their order. */
static void copy_seen_as(const kd_call *c, const int64_t *stride) {
  kd_tensor seen = c->in[0];
  seen.dim = c->out[0].dim;
  seen.rank = c->out[0].rank;
  seen.stride = stride;
  copy_row_major(&seen, &c->out[0]);
}

void kd__ref_permute(const kd_call *c, const kd_exec *x) {
  (void)x;
  int64_t stride[KD_MAX_RANK];
  for (int i = 0; i < c->out[0].rank; i++) stride[i] = c->in[0].stride[c->attr[0].u.list[i]];
  copy_seen_as(c, stride);
}

void kd__ref_broadcast(const kd_call *c, const kd_exec *x) {
  (void)x;
  int64_t stride[KD_MAX_RANK] = { 0 };
  for (int j = 0; j < c->in[0].rank; j++) stride[c->attr[1].u.list[j]] = c->in[0].stride[j];
  copy_seen_as(c, stride);
}

void kd__ref_slice(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  kd__ref_axes po = kd__ref_every(o), pa = po;
  int64_t first = 0;
  for (int i = 0; i < a->rank; i++) {
    first += c->attr[0].u.list[i] * a->stride[i];
    pa.stride[i] = a->stride[i] * c->attr[2].u.list[i];
  }
  for (int64_t k = 0; k < po.count; k++) kd__ref_put(o, kd__ref_pos(&po, k), a, first + kd__ref_pos(&pa, k));
}

void kd__ref_concat(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *o = &c->out[0];
  int64_t axis = c->attr[0].u.i, start = 0;
  for (uint32_t j = 0; j < c->nin; j++) {
    const kd_tensor *a = &c->in[j];
    int64_t index[KD_MAX_RANK] = { 0 }, n = kd__ref_count(a->dim, a->rank);
    for (int64_t k = 0; k < n; k++, kd__ref_next(index, a->dim, a->rank))
      kd__ref_put(o, kd__ref_offset(o->stride, index, o->rank) + start * o->stride[axis], a, kd__ref_offset(a->stride, index, a->rank));
    start += a->dim[axis];
  }
}

void kd__ref_pad(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  int64_t index[KD_MAX_RANK] = { 0 }, n = kd__ref_count(o->dim, o->rank);
  for (int64_t k = 0; k < n; k++, kd__ref_next(index, o->dim, o->rank)) {
    int64_t from = 0, to = kd__ref_offset(o->stride, index, o->rank);
    bool inside = true;
    for (int i = 0; i < o->rank; i++) {
      int64_t at = index[i] - c->attr[0].u.list[i];
      inside &= at >= 0 && at < a->dim[i];
      from += at * a->stride[i];
    }
    if (inside) kd__ref_put(o, to, a, from);
    else kd__ref_store(o, to, c->attr[2].u.f);
  }
}
