/* softmax.c: softmax, log_softmax and cumsum. Rows that are contiguous, or are copied to be; strips of columns where the axis is not innermost. */
#include "runtime/kernels/nest.h"
#include "runtime/kernels/reduce.h"
#include "runtime/kernels/vmath.h"

enum { STRIP = 256 };
typedef struct work {
  kd__nest kept, red;                            /* operand, result */
  bool logs, cols;
  const float *in;
  float *out, *scratch;
} work;

static void split_axes(work *w, const kd_call *c, uint32_t mask) {
  const kd_tensor *t = &c->in[0], *o = &c->out[0];
  int64_t dim[2][KD_MAX_RANK], in[2][KD_MAX_RANK], out[2][KD_MAX_RANK];
  int n[2] = { 0, 0 };
  for (int d = 0; d < t->rank; d++) {
    int s = mask >> d & 1;
    dim[s][n[s]] = t->dim[d], in[s][n[s]] = t->stride[d], out[s][n[s]++] = o->stride[d];
  }
  const int64_t *kept[2] = { out[0], in[0] }, *red[2] = { out[1], in[1] };
  kd__nest_make_raw(&w->kept, 2, n[0], dim[0], kept);
  kd__nest_make_raw(&w->red, 2, n[1], dim[1], red);
  /* Tensor 0 is the result. Columns: the kept inner dimension is contiguous in both, the reduced one in neither. */
  w->cols = w->kept.rank > 0 && w->red.rank == 1 && w->kept.stride[0][0] == 1 && w->kept.stride[1][0] == 1 && w->red.stride[0][0] != 1;
}

static bool contiguous(const kd__nest *red, int i) { return red->rank == 0 || (red->rank == 1 && red->stride[i][0] == 1); }

bool kd__softmax_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return c->in[0].dtype == KD_F32;
}
size_t kd__softmax_scratch(const kd_call *c, const kd_kernel_settings *s) {
  work w;
  split_axes(&w, c, kd__axes_mask(&c->attr[0]));
  bool direct = w.cols || (contiguous(&w.red, 0) && contiguous(&w.red, 1));
  return direct ? 0 : (size_t)(w.red.count * kd__max(1, s->threads)) * sizeof(float);
}

/* p and o may be the same. */
KD_CLONES static void scale_row(const float *p, int64_t n, float m, float f, bool logs, float *o) {
  if (logs) { KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = (p[i] - m) - f; }
  else { KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] = o[i] * f; }
}
static void one_row(const work *w, const float *p, int64_t n, float *o) {
  float m = kd__row_max(p, n);
  double sum = kd__row_exp(p, n, m, w->logs ? NULL : o);
  scale_row(p, n, m, w->logs ? (float)log(sum) : (float)(1.0 / sum), w->logs, o);
}

static void copy_row(const kd__nest *red, int t, const float *p, float *o, bool in) {
  int64_t pos[KD_MAX_RANK] = { 0 }, off[2] = { 0, 0 };
  for (int64_t i = 0; i < red->count; i++, kd__nest_next(red, 0, pos, off))
    if (in) o[i] = p[off[t]];
    else o[off[t]] = p[i];
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__nest *red = &w->red;
  int64_t pos[KD_MAX_RANK], off[2], n = red->count;
  float *row = w->scratch ? w->scratch + kd__par_thread() * n : NULL;           /* needed where rows do not lie in one piece */
  bool from = contiguous(red, 1), to = contiguous(red, 0);
  (void)chunk;
  kd__nest_seek(&w->kept, 0, begin, pos, off);
  for (int64_t i = begin; i < end; i++, kd__nest_next(&w->kept, 0, pos, off)) {
    const float *p = w->in + off[1];
    float *o = w->out + off[0];
    if (!from) copy_row(red, 1, p, row, true);
    one_row(w, from ? p : row, n, to ? o : row);
    if (!to) copy_row(red, 0, row, o, false);
  }
}

/* n <= STRIP columns side by side, `rows` elements each. */
KD_CLONES static void strip(const float *p, int64_t sp, float *o, int64_t so, int64_t rows, int64_t n, bool logs) {
  float m[STRIP], s[STRIP];
  for (int64_t j = 0; j < n; j++) m[j] = p[j], s[j] = 0;
  for (int64_t r = 1; r < rows; r++)
    for (int64_t j = 0; j < n; j++) m[j] = kd__maxf(m[j], p[r * sp + j]);
  for (int64_t r = 0; r < rows; r++) {
    const float *q = p + r * sp;
    float *t = o + r * so;
    if (logs) for (int64_t j = 0; j < n; j++) s[j] += kd__expf(q[j] - m[j]);
    else KD_IVDEP for (int64_t j = 0; j < n; j++) { float e = kd__expf(q[j] - m[j]); s[j] += e, t[j] = e; }
  }
  for (int64_t j = 0; j < n; j++) s[j] = logs ? kd__logf(s[j]) : 1.0f / s[j];
  for (int64_t r = 0; r < rows; r++) {
    const float *q = p + r * sp;
    float *t = o + r * so;
    if (logs) KD_IVDEP for (int64_t j = 0; j < n; j++) t[j] = (q[j] - m[j]) - s[j];
    else for (int64_t j = 0; j < n; j++) t[j] *= s[j];
  }
}

static void run_strips(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  int64_t n = w->kept.dim[0], per = kd__ceil_div(n, STRIP), pos[KD_MAX_RANK], off[2];
  (void)chunk;
  for (int64_t i = begin; i < end; i++) {
    int64_t first = i % per * STRIP;
    kd__nest_seek(&w->kept, 1, i / per, pos, off);
    strip(w->in + off[1] + first, w->red.stride[1][0], w->out + off[0] + first, w->red.stride[0][0], w->red.count, kd__min(STRIP, n - first), w->logs);
  }
}

void kd__softmax_run(const kd_call *c, const kd_exec *x) {
  work w = { .logs = c->op == KD_OP_LOG_SOFTMAX, .scratch = x->scratch };
  split_axes(&w, c, kd__axes_mask(&c->attr[0]));
  if (w.kept.count == 0 || w.red.count == 0) return;
  w.in = (const float *)c->in[0].data + w.kept.offset[1] + w.red.offset[1];
  w.out = (float *)c->out[0].data + w.kept.offset[0] + w.red.offset[0];
  int64_t items = w.cols ? w.kept.count / w.kept.dim[0] * kd__ceil_div(w.kept.dim[0], STRIP) : w.kept.count;
  /* e^x costs several times a plain operation, so the team pays earlier. */
  kd__par_for(x, items, kd__par_chunks(x, w.kept.count * w.red.count * 4), 1, w.cols ? run_strips : run_rows, &w);
}

/* --- cumsum -------------------------------------------------------------------------------------------------------------------------- */
bool kd__cumsum_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return c->in[0].dtype == KD_F32 || c->in[0].dtype == KD_I64;
}

typedef struct sums { kd__nest kept; const kd_tensor *in, *out; int axis; bool reverse; } sums;
static void run_sums(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const sums *w = ctx;
  int64_t pos[KD_MAX_RANK], off[2], n = w->in->dim[w->axis], so = w->out->stride[w->axis], si = w->in->stride[w->axis];
  (void)chunk;
  kd__nest_seek(&w->kept, 0, begin, pos, off);
  for (int64_t i = begin; i < end; i++, kd__nest_next(&w->kept, 0, pos, off)) {
    int64_t o = off[0] + w->kept.offset[0], p = off[1] + w->kept.offset[1], step_o = so, step_p = si;
    if (w->reverse) o += (n - 1) * so, p += (n - 1) * si, step_o = -so, step_p = -si;
    double s = 0;
    uint64_t u = 0;
    for (int64_t k = 0; k < n; k++, o += step_o, p += step_p)
      if (w->in->dtype == KD_F32) ((float *)w->out->data)[o] = (float)(s += (double)((const float *)w->in->data)[p]);
      else ((int64_t *)w->out->data)[o] = (int64_t)(u += (uint64_t)((const int64_t *)w->in->data)[p]);
  }
}
void kd__cumsum_run(const kd_call *c, const kd_exec *x) {
  sums w = { .in = &c->in[0], .out = &c->out[0], .axis = (int)c->attr[0].u.i, .reverse = c->attr[1].u.i != 0 };
  work s;
  split_axes(&s, c, 1u << w.axis);
  w.kept = s.kept;
  if (w.kept.count == 0 || w.in->dim[w.axis] == 0) return;
  kd__par_for(x, w.kept.count, kd__par_chunks(x, w.kept.count * w.in->dim[w.axis]), 1, run_sums, &w);
}
