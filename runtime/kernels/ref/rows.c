/* rows.c: twins of the products of gathered rows. */
#include "runtime/kernels/ref/ref.h"

/* Element i of a matrix, row after row. */
static int64_t at(const kd_tensor *t, int64_t i) { return i / t->dim[1] * t->stride[0] + i % t->dim[1] * t->stride[1]; }

/* How many entries of a part a row of the index has, or 15, which also stands for more. */
static int64_t alike(const kd_tensor *index, int64_t b, int64_t p, int64_t part, int64_t rows) {
  int64_t n = 0;
  for (int64_t k = 0; k < index->dim[1]; k++) {
    int64_t v = kd__ref_loadi(index, b * index->stride[0] + k * index->stride[1]);
    n += (v < 0 || v >= rows ? 0 : v) / part == p;
  }
  return n < 15 ? n : 15;
}

/* For each range of rows of the index the entries of part after part; in a part those of the rows with one entry, with two and so on, each in the order
 * of the index. */
void kd__ref_index_order(const kd_call *c, const kd_exec *x) {
  const kd_tensor *index = &c->in[0], *entry = &c->out[0], *bound = &c->out[1];
  int64_t rows = c->attr[0].u.i, part = c->attr[1].u.i, blocks = bound->dim[0], parts = bound->dim[1] - 1, next = 0;
  for (int64_t block = 0; block < blocks; block++) {
    int64_t from = index->dim[0] * block / blocks, to = index->dim[0] * (block + 1) / blocks, first = next;
    for (int64_t p = 0; p < parts; p++) {
      kd__ref_storei(bound, block * bound->stride[0] + p * bound->stride[1], next - first);
      for (int64_t n = 1; n <= 15; n++)
        for (int64_t b = from; b < to; b++) {
          if (alike(index, b, p, part, rows) != n) continue;
          for (int64_t k = 0; k < index->dim[1]; k++) {
            int64_t v = kd__ref_loadi(index, b * index->stride[0] + k * index->stride[1]);
            if (v < 0 || v >= rows) {
              kd__fault(x, KD_OP_GATHER, v, rows, b * index->dim[1] + k);
              v = 0;
            }
            if (v / part == p) kd__ref_storei(entry, at(entry, next++), (int64_t)((uint64_t)v << 32) + (b - from) * index->dim[1] + k);
          }
        }
    }
    kd__ref_storei(bound, block * bound->stride[0] + parts * bound->stride[1], next - first);
  }
}

/* Entry i of all: a row of the table, and the place in the index that it is of. */
typedef struct entry { int64_t row, b, k; } entry;
static entry entry_of(const kd_call *c, int64_t i) {
  const kd_tensor *t = &c->in[2];
  int64_t blocks = c->in[3].dim[0], b = t->dim[0], k = t->dim[1], e = kd__ref_loadi(t, at(t, i)), block = 0;
  while (b * (block + 1) / blocks * k <= i) block++;
  int64_t place = b * block / blocks * k + (e & 0xffffffff);
  return (entry){ e >> 32, place / k, place % k };
}

void kd__ref_gather_dot(const kd_call *c, const kd_exec *x) {
  const kd_tensor *v = &c->in[0], *t = &c->in[1], *o = &c->out[0];
  (void)x;
  for (int64_t i = 0; i < o->dim[0] * o->dim[1]; i++) {
    entry e = entry_of(c, i);
    double sum = 0;
    for (int64_t f = 0; f < t->dim[1]; f++)
      sum += kd__ref_load(v, e.b * v->stride[0] + f * v->stride[1]) * kd__ref_load(t, e.row * t->stride[0] + f * t->stride[1]);
    kd__ref_store(o, e.b * o->stride[0] + e.k * o->stride[1], sum);
  }
}

void kd__ref_gather_sum(const kd_call *c, const kd_exec *x) {
  const kd_tensor *w = &c->in[0], *t = &c->in[1], *o = &c->out[0];
  (void)x;
  enum { SOME = 64 };                            /* columns at once */
  for (int64_t b = 0; b < o->dim[0]; b++)
    for (int64_t f = 0; f < o->dim[1]; f += SOME) {
      double sum[SOME] = { 0 };
      for (int64_t i = 0; i < w->dim[0] * w->dim[1]; i++) {
        entry e = entry_of(c, i);
        for (int64_t j = f; e.b == b && j < f + SOME && j < o->dim[1]; j++)
          sum[j - f] += kd__ref_load(w, b * w->stride[0] + e.k * w->stride[1]) * kd__ref_load(t, e.row * t->stride[0] + j * t->stride[1]);
      }
      for (int64_t j = f; j < f + SOME && j < o->dim[1]; j++) kd__ref_store(o, b * o->stride[0] + j * o->stride[1], sum[j - f]);
    }
}
