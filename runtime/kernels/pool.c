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
typedef struct line { const work *w; span box[2]; const float *x; float *out; int64_t *at; bool four; } line;      /* four: boxes have one layer of two rows */

#define EACH_POSITION(l) for (int64_t i = 0, n_ = (l)->w->out.dim[2]; i < n_; i++)
#define EACH_ROW(l, from, ...) \
  for (int64_t i0 = (l)->box[0].lo; i0 < (l)->box[0].hi; i0++) \
    for (int64_t i1 = (l)->box[1].lo; i1 < (l)->box[1].hi; i1++) { \
      const float *row_ = (from) + i0 * in->by[0] + i1 * in->by[1]; \
      int32_t number = (int32_t)((i0 * in->dim[1] + i1) * in->dim[2]); \
      (void)number; \
      __VA_ARGS__ \
    }
#define EACH_COLUMN(c) for (int64_t i2 = (c).lo; i2 < (c).hi; i2++)
/* Not unrolled to single elements before it is made one vector. */
#define KD_SIMD _Pragma("omp simd")

/* N channels of one box, side by side, in registers. A NaN wins once; of equal values the first. */
#define TAKE(I, best, place, v, here) do { \
    I take_ = ~(((v) <= (best)) | ((best) != (best))); \
    best = (__typeof__(best))(((I)(v) & take_) | ((I)(best) & ~take_)), place = ((here) & take_) | ((place) & ~take_); \
  } while (0)
#define TOP(I, best, v) do { I take_ = ~(((v) <= (best)) | ((best) != (best))); best = (__typeof__(best))(((I)(v) & take_) | ((I)(best) & ~take_)); } while (0)
#define BOXES(N) \
  typedef float f##N __attribute__((vector_size(4 * N))); \
  typedef int32_t i##N __attribute__((vector_size(4 * N))); \
  typedef int64_t l##N __attribute__((vector_size(8 * N))); \
  typedef float u##N __attribute__((vector_size(4 * N), aligned(4), may_alias)); \
  typedef int64_t p##N __attribute__((vector_size(8 * N), aligned(8), may_alias)); \
  KD_INLINE void max_box##N(const line *l, span column, const float *from, float *out, int64_t *at) { \
    const volume *in = &l->w->in; \
    int64_t by = in->by[2], row = in->by[1]; \
    const float *x = from + l->box[0].lo * in->by[0] + l->box[1].lo * row + column.lo * by; \
    int32_t here = (int32_t)((l->box[0].lo * in->dim[1] + l->box[1].lo) * in->dim[2] + column.lo); \
    f##N best; \
    i##N place = (i##N){ 0 } + here; \
    if (l->box[0].lo >= l->box[0].hi || l->box[1].lo >= l->box[1].hi || column.lo >= column.hi) best = (f##N){ 0 } - INFINITY, place = (i##N){ 0 }; \
    else { \
      best = *(const u##N *)x; \
      EACH_ROW(l, from, EACH_COLUMN(column) { f##N v = *(const u##N *)(row_ + i2 * by); i##N now = (i##N){ 0 } + (number + (int32_t)i2); TAKE(i##N, best, place, v, now); }) \
    } \
    *(u##N *)out = best, *(p##N *)at = __builtin_convertvector(place, l##N); \
  } \
  /* The usual window, two by two, from x on; `at` may be NULL. */ \
  KD_INLINE void four_box##N(const float *x, int64_t by, int64_t row, int32_t here, int32_t down, float *out, int64_t *at) { \
    f##N best = *(const u##N *)x, b = *(const u##N *)(x + by), c = *(const u##N *)(x + row), d = *(const u##N *)(x + row + by); \
    if (!at) { TOP(i##N, best, b); TOP(i##N, c, d); TOP(i##N, best, c); } \
    else { \
      i##N place = (i##N){ 0 } + here, lower = (i##N){ 0 } + (here + down), right = place + 1, corner = lower + 1; \
      TAKE(i##N, best, place, b, right); TAKE(i##N, c, lower, d, corner); TAKE(i##N, best, place, c, lower); \
      *(p##N *)at = __builtin_convertvector(place, l##N); \
    } \
    *(u##N *)out = best; \
  } \
  /* Any window, without places. */ \
  KD_INLINE void top_box##N(const line *l, span column, const float *from, float *out) { \
    const volume *in = &l->w->in; \
    int64_t by = in->by[2]; \
    f##N best = (f##N){ 0 } - INFINITY; \
    EACH_ROW(l, from, EACH_COLUMN(column) { f##N v = *(const u##N *)(row_ + i2 * by); TOP(i##N, best, v); }) \
    *(u##N *)out = best; \
  }
BOXES(8) BOXES(4)

/* All of n >= 4 channels that lie side by side in all tensors, position by position, as memory is read fastest; the last vector may overlap the one
 * before it. Or n is the size of a vector and more than there are, where that does no harm (wide_positions). Eight at a time: gcc makes single elements of longer comparisons that are combined. */
#define EACH_VECTOR(n, four, eight) \
  if ((n) < 8) { \
    for (int64_t j = 0, next_; j < (n); j = next_) { four; next_ = j + 4 < (n) && j + 8 > (n) ? (n) - 4 : j + 4; } \
  } else \
    for (int64_t j = 0, next_; j < (n); j = next_) { eight; next_ = j + 8 < (n) && j + 16 > (n) ? (n) - 8 : j + 8; }
/* A window of two by two at `column`, all of it on the map: what is read lies in registers, since results may alias what `l` points to. */
KD_INLINE void four(const line *l, span column, int64_t n, float *out, int64_t *at) {
  const volume *in = &l->w->in;
  int64_t by = in->by[2], row = in->by[1];
  const float *x = l->x + l->box[0].lo * in->by[0] + l->box[1].lo * row + column.lo * by;
  int32_t down = (int32_t)in->dim[2], here = (int32_t)((l->box[0].lo * in->dim[1] + l->box[1].lo) * in->dim[2] + column.lo);
  EACH_VECTOR(n, four_box4(x + j, by, row, here, down, out + j, at ? at + j : NULL), four_box8(x + j, by, row, here, down, out + j, at ? at + j : NULL))
}
KD_CLONES static void max_line(const line *l, int64_t n, int64_t begin, int64_t end) {
  const span *column = l->w->box + l->w->first[2];
  for (int64_t i = begin; i < end; i++) {
    float *out = l->out + i * l->w->out.by[2];
    int64_t *at = l->at ? l->at + i * l->w->at.by[2] : NULL;
    if (l->four && column[i].hi - column[i].lo == 2) {
      if (at) four(l, column[i], n, out, at);
      else four(l, column[i], n, out, NULL);
    } else if (at) { EACH_VECTOR(n, max_box4(l, column[i], l->x + j, out + j, at + j), max_box8(l, column[i], l->x + j, out + j, at + j)) }
    else { EACH_VECTOR(n, top_box4(l, column[i], l->x + j, out + j), top_box8(l, column[i], l->x + j, out + j)) }
  }
}

/* For any strides: `m` channels, at most LANES, by way of a buffer. */
KD_CLONES static void max_any(const line *l, int m) {
  const volume *in = &l->w->in;
  const span *column = l->w->box + l->w->first[2];
  int64_t by = in->by[2], sx = in->t->stride[1], so = l->w->out.t->stride[1], sa = l->at ? l->w->at.t->stride[1] : 0;
  float buffer[LANES] = { 0 };
  EACH_POSITION(l) {
    float *out = l->out + i * l->w->out.by[2], best[LANES];
    int32_t place[LANES];
    bool first = true;
    for (int j = 0; j < LANES; j++) best[j] = -INFINITY, place[j] = 0;
    EACH_ROW(l, l->x, EACH_COLUMN(column[i]) {
      int32_t here = number + (int32_t)i2;
      for (int j = 0; j < m; j++) buffer[j] = row_[i2 * by + j * sx];
      if (first) KD_SIMD for (int j = 0; j < LANES; j++) best[j] = buffer[j], place[j] = here;
      else KD_SIMD for (int j = 0; j < LANES; j++) {
        bool take = (buffer[j] > best[j]) | ((buffer[j] != buffer[j]) & (best[j] == best[j]));
        best[j] = take ? buffer[j] : best[j], place[j] = take ? here : place[j];
      }
      first = false;
    })
    for (int j = 0; j < m; j++) out[j * so] = best[j];
    for (int j = 0; l->at && j < m; j++) l->at[i * l->w->at.by[2] + j * sa] = place[j];
  }
}

/* m channels side by side, m a constant; or, for any strides, `there` < m. Rows of a box are added up first, so that large windows keep their digits. */
KD_INLINE void sum_some(const line *l, const int m, const bool dense, int there) {
  const volume *in = &l->w->in;
  const span *column = l->w->box + l->w->first[2];
  int64_t by = in->by[2], sx = in->t->stride[1], so = l->w->out.t->stride[1];
  EACH_POSITION(l) {
    float *out = l->out + i * l->w->out.by[2];
    float all[LANES];
    for (int j = 0; j < m; j++) all[j] = 0;
    EACH_ROW(l, l->x, {
      float part[LANES];
      for (int j = 0; j < m; j++) part[j] = 0;
      EACH_COLUMN(column[i]) {
        const float *v = row_ + i2 * by;
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
/* How many positions of the line, from the first, may be read and written m > n channels wide: what else is read is of the same image, and what else is
 * written is of the same line, and written again with the next position. */
static int64_t wide_positions(const work *w, const line *l, int64_t m) {
  const volume *in = &w->in;
  int64_t n = w->out.t->dim[1], last = w->out.dim[2] - 1, image = in->dim[0] * in->dim[1] * in->dim[2] * n;
  if (in->by[2] != n || (in->by[1] != n * in->dim[2] && in->dim[1] > 1) || (in->by[0] != n * in->dim[1] * in->dim[2] && in->dim[0] > 1) ||
      w->out.by[2] != n || (l->at && w->at.by[2] != n) || n * 4 < m) return 0;
  const span *column = w->box + w->first[2];
  int64_t row = l->box[0].hi > 0 && l->box[1].hi > 0 ? ((l->box[0].hi - 1) * in->dim[1] + l->box[1].hi - 1) * in->dim[2] : 0;
  while (last >= 0 && (last * n + m > w->out.dim[2] * n || (row + column[last].hi - 1) * n + m > image)) last--;
  return last + 1;
}

/* Blocks of channels; the last one may overlap the one before it, rather than be narrow. */
static void run_blocks(const work *w, line *l, bool dense) {
  int64_t n = w->out.t->dim[1], sx = w->in.t->stride[1], so = w->out.t->stride[1], sa = l->at ? w->at.t->stride[1] : 0;
  const float *x = l->x;
  float *out = l->out;
  int64_t *at = l->at;
  for (int64_t j = 0; j < n;) {
    int64_t left = n - j;
    int m = left >= 16 ? 16 : !dense ? (int)left : left > 8 ? 16 : left > 4 ? 8 : 4;
    while (m > n) m /= 2;
    if (dense && m > left) j = n - m;
    l->x = x + j * sx, l->out = out + j * so, l->at = at ? at + j * sa : NULL;
    if (w->op == KD_OP_MAX_POOL) max_any(l, m);
    else sum_line(l, m, dense);
    j += m;
  }
}

static void run_line(const work *w, line *l) {
  int64_t n = w->out.t->dim[1], m = n > 4 ? 8 : 4;
  bool dense = w->in.t->stride[1] == 1 && w->out.t->stride[1] == 1 && (!l->at || w->at.t->stride[1] == 1) && n >= 4;
  if (!dense || w->op != KD_OP_MAX_POOL) { run_blocks(w, l, dense); return; }
  int64_t begin = n < m ? wide_positions(w, l, m) : 0;
  max_line(l, m, 0, begin);
  max_line(l, n, begin, w->out.dim[2]);
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const volume *o = &w->out;
  (void)chunk;
  for (int64_t r = begin; r < end; r++) {
    int64_t i1 = r % o->dim[1], i0 = r / o->dim[1] % o->dim[0], b = r / o->dim[1] / o->dim[0];
    line l = { w, { w->box[w->first[0] + i0], w->box[w->first[1] + i1] }, (const float *)w->in.t->data + b * w->in.t->stride[0],
               (float *)o->t->data + b * o->t->stride[0] + i0 * o->by[0] + i1 * o->by[1], NULL, false };
    if (w->at.t) l.at = (int64_t *)w->at.t->data + b * w->at.t->stride[0] + i0 * w->at.by[0] + i1 * w->at.by[1];
    l.four = l.box[0].hi - l.box[0].lo == 1 && l.box[1].hi - l.box[1].lo == 2;
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
