/* index.c: twins of gather and scatter. A position outside the table reports the first fault and counts as absent. */
#include "runtime/kernels/ref/ref.h"
#include <assert.h>

/* How the axes of [*b,*i,*r] (values) fall on [*b,*i] (index) and [*b,N,*r] (table). */
typedef struct span { const kd_tensor *table, *index, *value; int batch, ni; } span;

/* The offset in the table for the value at `at`, or -1 with `found` set to the number that was no position. */
static bool table_offset(const span *s, const int64_t *at, int64_t *offset, int64_t *found) {
  int rest = s->table->rank - s->batch - 1, first = s->batch + s->ni;
  int64_t p = kd__ref_loadi(s->index, kd__ref_offset(s->index->stride, at, first));
  *found = p;
  *offset = kd__ref_offset(s->table->stride, at, s->batch) + p * s->table->stride[s->batch] +
            kd__ref_offset(s->table->stride + s->batch + 1, at + first, rest);
  return p >= 0 && p < s->table->dim[s->batch];
}

/* Which element of the index tensor `at` is, in row-major order: what a report names. */
static int64_t index_number(const span *s, const int64_t *at) {
  int64_t k = 0;
  for (int i = 0; i < s->batch + s->ni; i++) k = k * s->index->dim[i] + at[i];
  return k;
}

void kd__ref_gather(const kd_call *c, const kd_exec *x) {
  const kd_tensor *o = &c->out[0];
  int batch = (int)c->attr[0].u.i;
  span s = { &c->in[0], &c->in[1], o, batch, c->in[1].rank - batch };
  int64_t at[KD_MAX_RANK] = { 0 }, n = kd__ref_count(o->dim, o->rank), from, p;
  for (int64_t k = 0; k < n; k++, kd__ref_next(at, o->dim, o->rank)) {
    int64_t to = kd__ref_offset(o->stride, at, o->rank);
    if (table_offset(&s, at, &from, &p)) { kd__ref_put(o, to, s.table, from); continue; }
    kd__fault(x, c->op, p, s.table->dim[batch], index_number(&s, at));
    kd__ref_storei(o, to, 0);
  }
}

static void scatter(const kd_call *c, const kd_exec *x, bool add) {
  const kd_tensor *base = &c->in[0], *v = &c->in[2], *o = &c->out[0];
  int batch = (int)c->attr[0].u.i;
  bool skip = c->attr[1].u.i != 0;
  span s = { o, &c->in[1], v, batch, c->in[1].rank - batch };
  kd__ref_axes pb = kd__ref_every(base), po = kd__ref_every(o);
  for (int64_t k = 0; k < po.count; k++) kd__ref_put(o, kd__ref_pos(&po, k), base, kd__ref_pos(&pb, k));
  int64_t at[KD_MAX_RANK] = { 0 }, n = kd__ref_count(v->dim, v->rank), to, p;
  for (int64_t k = 0; k < n; k++, kd__ref_next(at, v->dim, v->rank)) {
    int64_t from = kd__ref_offset(v->stride, at, v->rank);
    if (!table_offset(&s, at, &to, &p)) {
      if (!(skip && p == -1)) kd__fault(x, c->op, p, o->dim[batch], index_number(&s, at));
    } else if (!add) {
      kd__ref_put(o, to, v, from);
    } else if (kd__ref_real(o)) {
      kd__ref_store(o, to, kd__ref_load(o, to) + kd__ref_load(v, from));
    } else {
      kd__ref_storei(o, to, (int64_t)((uint64_t)kd__ref_loadi(o, to) + (uint64_t)kd__ref_loadi(v, from)));
    }
  }
}
void kd__ref_scatter_add(const kd_call *c, const kd_exec *x) { scatter(c, x, true); }
void kd__ref_scatter_set(const kd_call *c, const kd_exec *x) { scatter(c, x, false); }
