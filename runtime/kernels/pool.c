/* pool.c: pools of f32. For max_pool and sum_pool a result's window, for sum_pool_data the windows over a position, are a box of the operand:
 * all three are reductions over boxes. Channels side by side where they are innermost in memory. */
#include "runtime/kernels/pool.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include <math.h>

enum { SPACE = 3, LANES = 16 };
typedef struct span { int64_t lo, hi; } span;
typedef struct volume { const kd_tensor *t; int64_t dim[SPACE], by[SPACE]; } volume;   /* fewer dimensions are filled up in front with size 1 */
typedef struct work {
  kd_op op;
  volume in, out, at;
  int64_t first[SPACE];                          /* where each axis begins in `box` */
  const span *box;                               /* by axis and position of the result */
} work;

bool kd__pool_takes(const kd_call *c, const kd_kernel_settings *s) {
  int64_t n = 1;
  (void)s;
  if (c->in[0].dtype != KD_F32 || c->in[0].rank > SPACE + 2) return false;
  for (int i = 2; i < c->in[0].rank; i++) n *= c->in[0].dim[i];
  return n <= INT32_MAX;                         /* positions are 32 bits wide while they are compared */
}
size_t kd__pool_scratch(const kd_call *c, const kd_kernel_settings *s) {
  size_t n = SPACE;
  (void)s;
  for (int i = 2; i < c->out[0].rank; i++) n += (size_t)c->out[0].dim[i];
  return n * sizeof(span);
}

static volume volume_of(const kd_tensor *t) {
  volume v = { t, { 1, 1, 1 }, { 0 } };
  for (int i = 2, k = SPACE + 2 - t->rank; i < t->rank; i++, k++) v.dim[k] = t->dim[i], v.by[k] = t->stride[i];
  return v;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static span clipped(int64_t lo, int64_t hi, int64_t limit) { return (span){ kd__min(kd__max(lo, 0), limit), kd__max(0, kd__min(hi, limit)) }; }

/* Fills the table of boxes. Attributes: window, stride, pad_lo. */
static void find_boxes(work *w, const kd_call *c, span *box) {
  int missing = SPACE + 2 - c->out[0].rank;
  int64_t n = 0;
  w->box = box;
  for (int d = 0; d < SPACE; d++) {
    int64_t window = 1, step = 1, pad = 0, limit = w->in.dim[d];
    if (d >= missing) window = c->attr[0].u.list[d - missing], step = c->attr[1].u.list[d - missing], pad = c->attr[2].u.list[d - missing];
    w->first[d] = n;
    for (int64_t i = 0; i < w->out.dim[d]; i++)
      box[n++] = w->op == KD_OP_SUM_POOL_DATA ? clipped(floor_div(i + pad - window, step) + 1, floor_div(i + pad, step) + 1, limit)
                                              : clipped(i * step - pad, i * step - pad + window, limit);
  }
}

/* --- a line of boxes ------------------------------------------------------------------------------------------------------------------- */
/* All results of one image along the last axis, for some channels from pointers x, out and at on. */
typedef struct line { const work *w; span box[2]; const float *x; float *out; int64_t *at; } line;

#define EACH_POSITION(l) for (int64_t i = 0, n_ = (l)->w->out.dim[2]; i < n_; i++)
#define EACH_ROW(l, ...) \
  for (int64_t i0 = (l)->box[0].lo; i0 < (l)->box[0].hi; i0++) \
    for (int64_t i1 = (l)->box[1].lo; i1 < (l)->box[1].hi; i1++) { \
      const float *row = (l)->x + i0 * in->by[0] + i1 * in->by[1]; \
      int32_t number = (int32_t)((i0 * in->dim[1] + i1) * in->dim[2]); \
      (void)number; \
      __VA_ARGS__ \
    }
#define EACH_COLUMN(c) for (int64_t i2 = (c).lo; i2 < (c).hi; i2++)
/* Not unrolled to single elements before it is made one vector. */
#define KD_SIMD _Pragma("omp simd")

/* m channels side by side, m a constant; or, for any strides, `there` < m channels by way of a buffer. A NaN wins once; of equal values the first. */
KD_INLINE void max_some(const line *l, const int m, const bool dense, int there) {
  const volume *in = &l->w->in;
  const span *column = l->w->box + l->w->first[2];
  int64_t by = in->by[2], sx = in->t->stride[1], so = dense ? 1 : l->w->out.t->stride[1], sa = dense ? 1 : l->w->at.t->stride[1];
  float buffer[LANES] = { 0 };
  EACH_POSITION(l) {
    float *out = l->out + i * l->w->out.by[2];
    int64_t *at = l->at + i * l->w->at.by[2];
    float best[LANES];
    int32_t place[LANES];
    bool first = true;
    for (int j = 0; j < m; j++) best[j] = -INFINITY, place[j] = 0;
    EACH_ROW(l, EACH_COLUMN(column[i]) {
      const float *v = row + i2 * by;
      int32_t here = number + (int32_t)i2;
      if (!dense) {
        for (int j = 0; j < there; j++) buffer[j] = v[j * sx];
        v = buffer;
      }
      if (first) KD_SIMD for (int j = 0; j < m; j++) best[j] = v[j], place[j] = here;
      else KD_SIMD for (int j = 0; j < m; j++) {
        bool take = (v[j] > best[j]) | ((v[j] != v[j]) & (best[j] == best[j]));
        best[j] = take ? v[j] : best[j], place[j] = take ? here : place[j];
      }
      first = false;
    })
    if (dense) KD_SIMD for (int j = 0; j < m; j++) out[j] = best[j], at[j] = place[j];
    else for (int j = 0; j < there; j++) out[j * so] = best[j], at[j * sa] = place[j];
  }
}
KD_CLONES static void max_line(const line *l, int m, bool dense) {
  if (!dense) max_some(l, LANES, false, m);
  else if (m == 16) max_some(l, 16, true, 16);
  else if (m == 8) max_some(l, 8, true, 8);
  else max_some(l, 4, true, 4);
}

/* Rows of a box are added up first, so that large windows keep their digits. */
KD_INLINE void sum_some(const line *l, const int m, const bool dense, int there) {
  const volume *in = &l->w->in;
  const span *column = l->w->box + l->w->first[2];
  int64_t by = in->by[2], sx = in->t->stride[1], so = l->w->out.t->stride[1];
  EACH_POSITION(l) {
    float *out = l->out + i * l->w->out.by[2];
    float all[LANES];
    for (int j = 0; j < m; j++) all[j] = 0;
    EACH_ROW(l, {
      float part[LANES];
      for (int j = 0; j < m; j++) part[j] = 0;
      EACH_COLUMN(column[i]) {
        const float *v = row + i2 * by;
        if (dense) KD_SIMD for (int j = 0; j < m; j++) part[j] += v[j];
        else for (int j = 0; j < there; j++) part[j] += v[j * sx];
      }
      KD_SIMD for (int j = 0; j < m; j++) all[j] += part[j];
    })
    if (dense) KD_SIMD for (int j = 0; j < m; j++) out[j] = all[j];
    else for (int j = 0; j < there; j++) out[j * so] = all[j];
  }
}
KD_CLONES static void sum_line(const line *l, int m, bool dense) {
  if (!dense) sum_some(l, LANES, false, m);
  else if (m == 16) sum_some(l, 16, true, 16);
  else if (m == 8) sum_some(l, 8, true, 8);
  else sum_some(l, 4, true, 4);
}

/* --- all of them ---------------------------------------------------------------------------------------------------------------------------- */
/* Blocks of channels; the last one may overlap the one before it, rather than be narrow. */
static void run_line(const work *w, line *l) {
  int64_t n = w->out.t->dim[1], sx = w->in.t->stride[1], so = w->out.t->stride[1], sa = l->at ? w->at.t->stride[1] : 0;
  const float *x = l->x;
  float *out = l->out;
  int64_t *at = l->at;
  bool dense = sx == 1 && so == 1 && (!at || sa == 1) && n >= 4;
  for (int64_t j = 0; j < n;) {
    int64_t left = n - j;
    int m = left >= 16 ? 16 : !dense ? (int)left : left > 8 ? 16 : left > 4 ? 8 : 4;
    while (m > n) m /= 2;
    if (dense && m > left) j = n - m;
    l->x = x + j * sx, l->out = out + j * so, l->at = at ? at + j * sa : NULL;
    if (at) max_line(l, m, dense);
    else sum_line(l, m, dense);
    j += m;
  }
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const volume *o = &w->out;
  (void)chunk;
  for (int64_t r = begin; r < end; r++) {
    int64_t i1 = r % o->dim[1], i0 = r / o->dim[1] % o->dim[0], b = r / o->dim[1] / o->dim[0];
    line l = { w, { w->box[w->first[0] + i0], w->box[w->first[1] + i1] }, (const float *)w->in.t->data + b * w->in.t->stride[0],
               (float *)o->t->data + b * o->t->stride[0] + i0 * o->by[0] + i1 * o->by[1], NULL };
    if (w->op == KD_OP_MAX_POOL) l.at = (int64_t *)w->at.t->data + b * w->at.t->stride[0] + i0 * w->at.by[0] + i1 * w->at.by[1];
    run_line(w, &l);
  }
}

void kd__pool_run(const kd_call *c, const kd_exec *x) {
  work w = { .op = c->op, .in = volume_of(&c->in[0]), .out = volume_of(&c->out[0]) };
  int64_t rows = c->out[0].dim[0] * w.out.dim[0] * w.out.dim[1];
  if (c->nout > 1) w.at = volume_of(&c->out[1]);
  if (kd__count(&c->out[0]) == 0) return;
  find_boxes(&w, c, x->scratch);
  kd__par_for(x, rows, kd__par_chunks(x, kd__count(&c->out[0]) + kd__count(&c->in[0])), 1, run_rows, &w);
}
