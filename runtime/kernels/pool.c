/* pool.c: pools of f32. For max_pool and sum_pool a result's window, for sum_pool_data the windows over a position, are a box of the operand:
 * all three are reductions over boxes. Channels side by side where they are innermost in memory. */
#include "runtime/kernels/pool.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include <math.h>

/* Not unrolled to single elements before it is made one vector. */
#define KD_SIMD _Pragma("omp simd")
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

/* --- one box ------------------------------------------------------------------------------------------------------------------------------ */
#define EACH_ROW(w, box, ...) \
  for (int64_t i0 = (box)[0].lo; i0 < (box)[0].hi; i0++) \
    for (int64_t i1 = (box)[1].lo; i1 < (box)[1].hi; i1++) { \
      const float *row = x + i0 * (w)->in.by[0] + i1 * (w)->in.by[1]; \
      int32_t number = (int32_t)((i0 * (w)->in.dim[1] + i1) * (w)->in.dim[2]); \
      (void)number; \
      __VA_ARGS__ \
    }
#define EACH_COLUMN(box) for (int64_t i2 = (box)[2].lo; i2 < (box)[2].hi; i2++)

/* m channels side by side, m a constant: 4, 8 or 16; or up to 16 in a buffer (from stride `sx`). A NaN wins once; of equal values the first. */
KD_INLINE void max_some(const work *w, const span *box, const float *x, int64_t sx, int there, float *best, int32_t *place, const int m) {
  float buffer[LANES] = { 0 };
  int64_t by = w->in.by[2];
  bool first = true;
  EACH_ROW(w, box, EACH_COLUMN(box) {
    const float *v = row + i2 * by;
    int32_t here = number + (int32_t)i2;
    if (there) {
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
}
KD_CLONES static int64_t max_lanes(const work *w, const span *box, const float *x, int64_t sx, float *top, int64_t so, int64_t *at, int64_t sa, int64_t n) {
  float best[LANES] = { 0 };
  int32_t place[LANES] = { 0 };
  int m = n >= 16 ? 16 : n >= 8 ? 8 : n >= 4 ? 4 : (int)n;
  if (sx != 1 || m < 4) max_some(w, box, x, sx, m, best, place, LANES);
  else if (m == 16) max_some(w, box, x, 1, 0, best, place, 16);
  else if (m == 8) max_some(w, box, x, 1, 0, best, place, 8);
  else max_some(w, box, x, 1, 0, best, place, 4);
  for (int j = 0; j < m; j++) top[j * so] = best[j], at[j * sa] = place[j];
  return m;
}

/* Rows of the box are added up first, so that large windows keep their digits. */
KD_INLINE void sum_some(const work *w, const span *box, const float *x, int64_t sx, float *all, const int m) {
  int64_t by = w->in.by[2];
  for (int j = 0; j < m; j++) all[j] = 0;
  EACH_ROW(w, box, {
    float line[LANES] = { 0 };
    EACH_COLUMN(box) KD_SIMD for (int j = 0; j < m; j++) line[j] += row[i2 * by + j * sx];
    KD_SIMD for (int j = 0; j < m; j++) all[j] += line[j];
  })
}
KD_CLONES static int64_t sum_lanes(const work *w, const span *box, const float *x, int64_t sx, float *sum, int64_t so, int64_t n) {
  float all[LANES];
  int m = n >= 16 ? 16 : n >= 8 ? 8 : n >= 4 ? 4 : (int)n;
  if (sx != 1 || m < 4) sum_some(w, box, x, sx, all, m);
  else if (m == 16) sum_some(w, box, x, 1, all, 16);
  else if (m == 8) sum_some(w, box, x, 1, all, 8);
  else sum_some(w, box, x, 1, all, 4);
  for (int j = 0; j < m; j++) sum[j * so] = all[j];
  return m;
}

static void run_box(const work *w, const span *box, const float *x, float *out, int64_t *at) {
  int64_t n = w->out.t->dim[1], sx = w->in.t->stride[1], so = w->out.t->stride[1], sa = at ? w->at.t->stride[1] : 0;
  bool empty = false;
  for (int d = 0; d < SPACE; d++) empty = empty || box[d].lo >= box[d].hi;
  if (empty) {
    for (int64_t j = 0; j < n; j++) out[j * so] = at ? -INFINITY : 0.0f;
    for (int64_t j = 0; at && j < n; j++) at[j * sa] = 0;
  } else {
    for (int64_t j = 0; j < n;)
      j += at ? max_lanes(w, box, x + j * sx, sx, out + j * so, so, at + j * sa, sa, n - j) : sum_lanes(w, box, x + j * sx, sx, out + j * so, so, n - j);
  }
}

/* --- all of them ---------------------------------------------------------------------------------------------------------------------------- */
/* Rows of results: along the last axis. */
static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const volume *o = &w->out;
  (void)chunk;
  for (int64_t r = begin; r < end; r++) {
    int64_t i1 = r % o->dim[1], i0 = r / o->dim[1] % o->dim[0], b = r / o->dim[1] / o->dim[0];
    const float *x = (const float *)w->in.t->data + b * w->in.t->stride[0];
    float *out = (float *)o->t->data + b * o->t->stride[0] + i0 * o->by[0] + i1 * o->by[1];
    int64_t *at = w->op == KD_OP_MAX_POOL ? (int64_t *)w->at.t->data + b * w->at.t->stride[0] + i0 * w->at.by[0] + i1 * w->at.by[1] : NULL;
    span box[SPACE] = { w->box[w->first[0] + i0], w->box[w->first[1] + i1] };
    for (int64_t i2 = 0; i2 < o->dim[2]; i2++) {
      box[2] = w->box[w->first[2] + i2];
      run_box(w, box, x, out + i2 * o->by[2], at ? at + i2 * w->at.by[2] : NULL);
    }
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
