/* sort.c: sort and top_k. Elements become whole numbers that order like them, so that one merge sort serves all types; it is stable.
 * A few largest elements are found by insertion, without sorting the rest. */
#include "runtime/kernels/move.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"

enum { FEW = 64, RUN = 16 };                     /* RUN: pieces that are sorted by insertion before merging starts */
typedef struct item { uint64_t key; int64_t at; } item;
typedef struct work {
  kd__nest kept;                                 /* values, operand, positions */
  const kd_call *call;
  int axis;
  int64_t n, keep;
  bool top, descending;
  item *scratch;
} work;

bool kd__sort_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)c, (void)s;
  return true;
}
static int64_t room(const kd_call *c) {
  int64_t n = c->in[0].dim[c->attr[0].u.i];
  return c->op == KD_OP_TOP_K && c->attr[1].u.i <= FEW ? FEW + 1 : 2 * n;
}
size_t kd__sort_scratch(const kd_call *c, const kd_kernel_settings *s) {
  return (size_t)(room(c) * kd__max(1, s->threads)) * sizeof(item);
}

/* Smaller numbers come first. The bits of a real order like an integer once negative ones are turned round; -0 equals 0. NaN is last, but first
 * for top_k. */
static uint64_t real_key(double v, bool descending, uint64_t nan) {
  uint64_t u;
  if (v != v) return nan;
  v += 0.0;
  memcpy(&u, &v, sizeof u);
  u = u >> 63 ? ~u : u | (uint64_t)1 << 63;
  return descending ? ~u : u;
}
static uint64_t key_at(const work *w, int64_t at) {
  const kd_tensor *t = &w->call->in[0];
  uint64_t nan = w->top ? 0 : UINT64_MAX, u;
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return real_key((double)((const float *)t->data)[at], w->descending, nan);
    case KD_F64: return real_key(((const double *)t->data)[at], w->descending, nan);
    case KD_I64: u = (uint64_t)((const int64_t *)t->data)[at] ^ (uint64_t)1 << 63; break;
    default: u = ((const uint8_t *)t->data)[at];
  }
  return w->descending ? ~u : u;
}

static void insert_sorted(item *v, int64_t n) {
  for (int64_t i = 1; i < n; i++) {
    item e = v[i];
    int64_t k = i;
    for (; k > 0 && v[k - 1].key > e.key; k--) v[k] = v[k - 1];
    v[k] = e;
  }
}
static void merge(const item *a, int64_t na, const item *b, int64_t nb, item *o) {
  int64_t i = 0, k = 0;
  while (i < na && k < nb) *o++ = b[k].key < a[i].key ? b[k++] : a[i++];
  memcpy(o, a + i, (size_t)(na - i) * sizeof *a);
  memcpy(o + na - i, b + k, (size_t)(nb - k) * sizeof *b);
}
/* Sorts v with the help of as much room behind it; returns where the result is. */
static const item *sorted(item *v, int64_t n) {
  item *from = v, *to = v + n;
  for (int64_t i = 0; i < n; i += RUN) insert_sorted(v + i, kd__min(RUN, n - i));
  for (int64_t size = RUN; size < n; size *= 2) {
    for (int64_t i = 0; i < n; i += 2 * size) {
      int64_t na = kd__min(size, n - i);
      merge(from + i, na, from + i + na, kd__min(size, n - i - na), to + i);
    }
    item *other = from;
    from = to, to = other;
  }
  return from;
}

static const item *order_row(const work *w, item *v, int64_t off) {
  int64_t stride = w->call->in[0].stride[w->axis];
  if (!w->top || w->keep > FEW) {
    for (int64_t i = 0; i < w->n; i++) v[i] = (item){ key_at(w, off + i * stride), i };
    return sorted(v, w->n);
  }
  int64_t have = 0;
  for (int64_t i = 0; i < w->n; i++) {
    item e = { key_at(w, off + i * stride), i };
    if (have == w->keep && e.key >= v[have - 1].key) continue;
    int64_t k = have < w->keep ? have++ : have - 1;
    for (; k > 0 && v[k - 1].key > e.key; k--) v[k] = v[k - 1];
    v[k] = e;
  }
  return v;
}

#define PUT(T) for (int64_t i = 0; i < w->keep; i++) ((T *)o->data)[off[0] + i * so] = ((const T *)a->data)[off[1] + v[i].at * sa]
static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd_tensor *a = &w->call->in[0], *o = &w->call->out[0], *p = &w->call->out[1];
  int64_t pos[KD_MAX_RANK], off[3], sa = a->stride[w->axis], so = o->stride[w->axis], sp = p->stride[w->axis];
  item *mine = w->scratch + kd__par_thread() * room(w->call);
  size_t z = kd__dtype_size((kd_dtype)a->dtype);
  (void)chunk;
  kd__nest_seek(&w->kept, 0, begin, pos, off);
  for (int t = 0; t < 3; t++) off[t] += w->kept.offset[t];
  for (int64_t r = begin; r < end; r++, kd__nest_next(&w->kept, 0, pos, off)) {
    const item *v = order_row(w, mine, off[1]);
    if (z == 4) PUT(uint32_t);
    else if (z == 8) PUT(uint64_t);
    else PUT(uint8_t);
    for (int64_t i = 0; i < w->keep; i++) ((int64_t *)p->data)[off[2] + i * sp] = v[i].at;
  }
}

void kd__sort_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *t[3] = { &c->out[0], &c->in[0], &c->out[1] };
  work w = { .call = c, .axis = (int)c->attr[0].u.i, .top = c->op == KD_OP_TOP_K, .scratch = x->scratch };
  int64_t dim[KD_MAX_RANK], by[3][KD_MAX_RANK];
  int n = 0;
  for (int d = 0; d < t[1]->rank; d++) {
    if (d == w.axis) continue;
    dim[n] = t[1]->dim[d];
    for (int k = 0; k < 3; k++) by[k][n] = t[k]->stride[d];
    n++;
  }
  const int64_t *stride[3] = { by[0], by[1], by[2] };
  kd__nest_make_raw(&w.kept, 3, n, dim, stride);
  w.n = t[1]->dim[w.axis], w.keep = t[0]->dim[w.axis], w.descending = w.top || c->attr[1].u.i != 0;
  if (w.kept.count == 0 || w.keep == 0) return;
  kd__par_for(x, w.kept.count, kd__par_chunks(x, w.kept.count * w.n * 8), 1, run_rows, &w);
}
