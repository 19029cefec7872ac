/* logic.c: reductions whose order cannot matter (any, all; sum, maximum, minimum of i64), and positions of extremes. */
#include "runtime/kernels/nest.h"
#include "runtime/kernels/reduce.h"

bool kd__logic_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  if (c->op == KD_OP_ANY || c->op == KD_OP_ALL) return true;
  return c->in[0].dtype == KD_I64;
}

typedef struct work { kd_op op; kd__nest kept, red; const char *in; char *out; } work;

static void split_axes(work *w, const kd_call *c, uint32_t mask) {
  const kd_tensor *t = &c->in[0];
  int64_t dim[2][KD_MAX_RANK], in[2][KD_MAX_RANK];
  int n[2] = { 0, 0 };
  for (int d = 0; d < t->rank; d++) {
    int s = mask >> d & 1;
    dim[s][n[s]] = t->dim[d], in[s][n[s]++] = t->stride[d];
  }
  const int64_t *kept[2] = { in[0], c->out[0].stride }, *red[1] = { in[1] };
  kd__nest_make_raw(&w->kept, 2, n[0], dim[0], kept);
  kd__nest_make_raw(&w->red, 1, n[1], dim[1], red);
}

/* Some byte of n (stride s) is not 0. */
KD_CLONES static bool any_run(const uint8_t *p, int64_t n, int64_t s) {
  uint8_t r = 0;
  if (s == 1) for (int64_t i = 0; i < n; i++) r |= p[i];
  else for (int64_t i = 0; i < n; i++) r |= p[i * s];
  return r != 0;
}
KD_CLONES static bool all_run(const uint8_t *p, int64_t n, int64_t s) {
  uint8_t r = 1;
  if (s == 1) for (int64_t i = 0; i < n; i++) r &= p[i] != 0;
  else for (int64_t i = 0; i < n; i++) r &= p[i * s] != 0;
  return r != 0;
}
static int64_t merge(kd_op op, int64_t v, const char *in, int64_t off, int64_t n, int64_t s) {
  const int64_t *p = (const int64_t *)in + off;
  switch (op) {
    case KD_OP_ANY: return v || any_run((const uint8_t *)in + off, n, s);
    case KD_OP_ALL: return v && all_run((const uint8_t *)in + off, n, s);
    case KD_OP_SUM:
      for (int64_t i = 0; i < n; i++) v = (int64_t)((uint64_t)v + (uint64_t)p[i * s]);
      return v;
    case KD_OP_REDUCE_MAX:
      for (int64_t i = 0; i < n; i++) v = p[i * s] > v ? p[i * s] : v;
      return v;
    default:
      for (int64_t i = 0; i < n; i++) v = p[i * s] < v ? p[i * s] : v;
      return v;
  }
}

static void run_results(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__nest *k = &w->kept, *r = &w->red;
  int64_t pos[KD_MAX_RANK], off[2], at[KD_MAX_RANK], in[1], inner = r->rank ? r->dim[0] : 1, s = r->rank ? r->stride[0][0] : 0;
  bool bytes = w->op == KD_OP_ANY || w->op == KD_OP_ALL;
  int64_t none = w->op == KD_OP_REDUCE_MAX ? INT64_MIN : w->op == KD_OP_REDUCE_MIN ? INT64_MAX : w->op == KD_OP_ALL;
  (void)chunk;
  kd__nest_seek(k, 0, begin, pos, off);
  for (int64_t i = begin; i < end; i++, kd__nest_next(k, 0, pos, off)) {
    int64_t v = none;
    kd__nest_seek(r, 1, 0, at, in);
    for (int64_t u = 0; u < r->count / inner; u++, kd__nest_next(r, 1, at, in)) v = merge(w->op, v, w->in, off[0] + in[0], inner, s);
    if (bytes) ((uint8_t *)w->out)[off[1]] = (uint8_t)v;
    else ((int64_t *)w->out)[off[1]] = v;
  }
}

void kd__logic_run(const kd_call *c, const kd_exec *x) {
  work w = { .op = c->op };
  split_axes(&w, c, kd__axes_mask(&c->attr[0]));
  if (w.kept.count == 0) return;
  int64_t z = (int64_t)kd__dtype_size(c->in[0].dtype), zo = (int64_t)kd__dtype_size(c->out[0].dtype);
  w.in = (const char *)c->in[0].data + (w.kept.offset[0] + w.red.offset[0]) * z;
  w.out = (char *)c->out[0].data + w.kept.offset[1] * zo;
  kd__par_for(x, w.kept.count, kd__par_chunks(x, w.kept.count * w.red.count), 1, run_results, &w);
}

/* --- argmax, argmin ------------------------------------------------------------------------------------------------------------------ */
bool kd__arg_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return c->in[0].dtype == KD_F32 && c->in[0].dim[c->attr[0].u.i] > 0;
}

typedef struct arg { kd__nest kept; const float *in; int64_t *out; int64_t n, stride; bool least; } arg;
static void run_arg(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const arg *w = ctx;
  int64_t pos[KD_MAX_RANK], off[2];
  (void)chunk;
  kd__nest_seek(&w->kept, 0, begin, pos, off);
  for (int64_t i = begin; i < end; i++, kd__nest_next(&w->kept, 0, pos, off)) {
    const float *p = w->in + off[0];
    float top = *p;
    int64_t best = 0;
    for (int64_t k = 1; k < w->n && top == top; k++) {
      float v = p[k * w->stride];
      if ((w->least ? v < top : v > top) || v != v) top = v, best = k;
    }
    w->out[off[1]] = best;
  }
}
void kd__arg_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *t = &c->in[0];
  int axis = (int)c->attr[0].u.i;
  work s = { .op = c->op };
  split_axes(&s, c, 1u << axis);
  if (s.kept.count == 0) return;
  arg w = { s.kept, (const float *)t->data + s.kept.offset[0], (int64_t *)c->out[0].data + s.kept.offset[1], t->dim[axis], t->stride[axis],
            c->op == KD_OP_ARGMIN };
  kd__par_for(x, s.kept.count, kd__par_chunks(x, s.kept.count * w.n), 1, run_arg, &w);
}
