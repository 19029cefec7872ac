/* rows.c: twins of the products of gathered rows. */
#include "runtime/kernels/ref/ref.h"

/* The entries of part after part, each in the order of the index. */
void kd__ref_index_order(const kd_call *c, const kd_exec *x) {
  const kd_tensor *index = &c->in[0], *entry = &c->out[0], *bound = &c->out[1];
  int64_t rows = c->attr[0].u.i, part = c->attr[1].u.i, parts = bound->dim[1] - 1;
  for (int64_t b = 0; b < index->dim[0]; b++) {
    int64_t next = 0;
    for (int64_t p = 0; p < parts; p++) {
      kd__ref_storei(bound, b * bound->stride[0] + p * bound->stride[1], next);
      for (int64_t k = 0; k < index->dim[1]; k++) {
        int64_t v = kd__ref_loadi(index, b * index->stride[0] + k * index->stride[1]);
        if (v < 0 || v >= rows) {
          kd__fault(x, KD_OP_GATHER, v, rows, b * index->dim[1] + k);
          v = 0;
        }
        if (v / part == p) kd__ref_storei(entry, b * entry->stride[0] + next++ * entry->stride[1], (int64_t)((uint64_t)v << 32) + k);
      }
    }
    kd__ref_storei(bound, b * bound->stride[0] + parts * bound->stride[1], next);
  }
}

static int64_t entry_of(const kd_tensor *entry, int64_t b, int64_t i) { return kd__ref_loadi(entry, b * entry->stride[0] + i * entry->stride[1]); }

void kd__ref_gather_dot(const kd_call *c, const kd_exec *x) {
  const kd_tensor *v = &c->in[0], *t = &c->in[1], *entry = &c->in[2], *o = &c->out[0];
  (void)x;
  for (int64_t b = 0; b < entry->dim[0]; b++)
    for (int64_t i = 0; i < entry->dim[1]; i++) {
      int64_t e = entry_of(entry, b, i), row = e >> 32, k = e & 0xffffffff;
      double sum = 0;
      for (int64_t f = 0; f < t->dim[1]; f++)
        sum += kd__ref_load(v, b * v->stride[0] + f * v->stride[1]) * kd__ref_load(t, row * t->stride[0] + f * t->stride[1]);
      kd__ref_store(o, b * o->stride[0] + k * o->stride[1], sum);
    }
}

void kd__ref_gather_sum(const kd_call *c, const kd_exec *x) {
  const kd_tensor *w = &c->in[0], *t = &c->in[1], *entry = &c->in[2], *o = &c->out[0];
  (void)x;
  for (int64_t b = 0; b < entry->dim[0]; b++)
    for (int64_t f = 0; f < t->dim[1]; f++) {
      double sum = 0;
      for (int64_t i = 0; i < entry->dim[1]; i++) {
        int64_t e = entry_of(entry, b, i);
        sum += kd__ref_load(w, b * w->stride[0] + (e & 0xffffffff) * w->stride[1]) * kd__ref_load(t, (e >> 32) * t->stride[0] + f * t->stride[1]);
      }
      kd__ref_store(o, b * o->stride[0] + f * o->stride[1], sum);
    }
}
