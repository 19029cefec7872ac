/* elem.c: the driver of all element-wise operators: any strides, tiles of contiguous runs, a team for large results.
 *
 * The loop nest is sorted by the result's strides, so a permuted but gap-free tensor is one flat loop. Where an operand is not
 * contiguous along the result it is gathered into a tile buffer (a scalar or a repeated row only once), so that each operator needs
 * just one loop: over contiguous runs. */
#include "runtime/kernels/elem.h"
#include "runtime/kernels/nest.h"

enum { TILE = 1024, MAX_IN = 3 };
typedef enum form { DIRECT, CONSTANT, REPEATED, STRIDED } form;

typedef struct work {
  kd__nest s;
  kd__elem_fn fn;
  char *data[1 + MAX_IN];                        /* 0: the result */
  size_t size[1 + MAX_IN];
  form how[1 + MAX_IN];
  int level;                                     /* dimensions inside a tile: 1 or 2 (0: rank 0) */
  int64_t inner, rows;                           /* a tile is `rows` whole rows of the inner dimension, or a part of one row (rows = 1) */
} work;

bool kd__elem_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  if (c->nin > MAX_IN) return false;
  if (c->op == KD_OP_CAST) return kd__elem_cast(c->in[0].dtype, c->out[0].dtype) != NULL;
  kd_dtype t = c->in[c->op == KD_OP_WHERE ? 1 : 0].dtype;
  return kd__elem_basic(c->op, t) || kd__elem_math(c->op, t);
}

static kd__elem_fn function(const kd_call *c) {
  if (c->op == KD_OP_CAST) return kd__elem_cast(c->in[0].dtype, c->out[0].dtype);
  kd_dtype t = c->in[c->op == KD_OP_WHERE ? 1 : 0].dtype;
  kd__elem_fn fn = kd__elem_basic(c->op, t);
  return fn ? fn : kd__elem_math(c->op, t);
}

static form classify(const kd__nest *s, int i, int level) {
  int64_t s0 = s->stride[i][0], s1 = level > 1 ? s->stride[i][1] : 0;
  if (s0 == 1 && (level < 2 || s1 == s->dim[0])) return DIRECT;
  if (level < 2) return s0 == 0 ? CONSTANT : STRIDED;
  if (s1 == 0) return s0 == 0 ? CONSTANT : REPEATED;
  return STRIDED;
}

/* Chooses what a tile is: short rows are taken several at a time. */
static void shape_tiles(work *w) {
  kd__nest *s = &w->s;
  w->level = s->rank > 1 && s->dim[0] * 2 <= TILE ? 2 : s->rank > 0 ? 1 : 0;
  w->inner = s->rank > 0 ? s->dim[0] : 1;
  w->rows = w->level == 2 ? kd__min(TILE / w->inner, s->dim[1]) : 1;
  for (int i = 0; i < s->n; i++) w->how[i] = s->rank == 0 ? DIRECT : classify(s, i, w->level);
}

#define GATHER(T) \
  do { \
    T *o = to; \
    const T *p = from; \
    for (int64_t r = 0; r < rows; r++, p += s1, o += n) \
      if (s0 == 1) memcpy(o, p, sizeof(T) * (size_t)n); \
      else if (s0 == 0) for (int64_t i = 0; i < n; i++) o[i] = *p; \
      else for (int64_t i = 0; i < n; i++) o[i] = p[i * s0]; \
  } while (0)
static void gather(void *to, const void *from, size_t size, int64_t rows, int64_t n, int64_t s1, int64_t s0) {
  if (size == 4) GATHER(uint32_t);
  else if (size == 8) GATHER(uint64_t);
  else GATHER(uint8_t);
}
#define SCATTER(T) \
  do { \
    const T *o = from; \
    T *p = to; \
    for (int64_t r = 0; r < rows; r++, p += s1) \
      for (int64_t i = 0; i < n; i++) p[i * s0] = *o++; \
  } while (0)
static void scatter(const void *from, void *to, size_t size, int64_t rows, int64_t n, int64_t s1, int64_t s0) {
  if (size == 4) SCATTER(uint32_t);
  else if (size == 8) SCATTER(uint64_t);
  else SCATTER(uint8_t);
}

/* The tile buffers of one thread, and what the ones for constants and repeated rows hold. */
typedef struct tiles { _Alignas(64) char bytes[1 + MAX_IN][TILE * 8]; const char *held[1 + MAX_IN]; int64_t rows[1 + MAX_IN], n[1 + MAX_IN]; } tiles;

/* Operand i from element `off` on, as a contiguous run of rows x n. */
static const void *fetch(const work *w, tiles *t, int i, int64_t off, int64_t rows, int64_t n) {
  const char *from = w->data[i] + off * (int64_t)w->size[i];
  if (w->how[i] == DIRECT || (rows == 1 && w->s.stride[i][0] == 1)) return from;
  if (w->how[i] != STRIDED) {
    if (t->held[i] == from && t->rows[i] >= rows && (w->how[i] == CONSTANT ? t->n[i] >= n : t->n[i] == n)) return t->bytes[i];
    t->held[i] = from, t->rows[i] = rows, t->n[i] = n;
  }
  gather(t->bytes[i], from, w->size[i], rows, n, w->level > 1 ? w->s.stride[i][1] : 0, w->s.stride[i][0]);
  return t->bytes[i];
}

static void run_tile(const work *w, tiles *t, const int64_t *off, int64_t rows, int64_t n) {
  const void *in[MAX_IN] = { NULL };
  for (int i = 1; i < w->s.n; i++) in[i - 1] = fetch(w, t, i, off[i], rows, n);
  char *to = w->data[0] + off[0] * (int64_t)w->size[0];
  bool direct = w->how[0] == DIRECT || (rows == 1 && w->s.stride[0][0] == 1);
  w->fn(rows * n, direct ? (void *)to : t->bytes[0], in[0], in[1], in[2]);
  if (!direct) scatter(t->bytes[0], to, w->size[0], rows, n, w->level > 1 ? w->s.stride[0][1] : 0, w->s.stride[0][0]);
}

/* Elements begin..end-1 of one row, in tiles unless everything is contiguous. */
static void run_row(const work *w, tiles *t, const int64_t *row_off, int64_t begin, int64_t end) {
  bool direct = true;
  for (int i = 0; i < w->s.n; i++) direct = direct && w->s.stride[i][0] == 1;
  int64_t step = direct ? end - begin : TILE;
  for (int64_t j = begin; j < end; j += step) {
    int64_t off[1 + MAX_IN];
    for (int i = 0; i < w->s.n; i++) off[i] = row_off[i] + j * w->s.stride[i][0];
    run_tile(w, t, off, 1, kd__min(step, end - j));
  }
}

/* A range of a nest with one dimension: cut anywhere. */
static void run_flat(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  tiles t;
  (void)chunk;
  for (int i = 0; i <= MAX_IN; i++) t.held[i] = NULL;
  run_row(w, &t, w->s.offset, begin, end);
}

/* A range of rows (positions over dimensions 1 and up), several rows a tile where they are short. */
static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__nest *s = &w->s;
  tiles t;
  int64_t pos[KD_MAX_RANK] = { 0 }, base[1 + MAX_IN], off[1 + MAX_IN];
  (void)chunk;
  for (int i = 0; i <= MAX_IN; i++) t.held[i] = NULL;
  kd__nest_seek(s, 1, begin, pos, base);
  for (int64_t r = begin; r < end;) {
    for (int i = 0; i < s->n; i++) off[i] = base[i] + s->offset[i];
    if (w->level == 1) {
      run_row(w, &t, off, 0, s->dim[0]);
      kd__nest_next(s, 1, pos, base);
      r++;
      continue;
    }
    int64_t left = s->dim[1] - pos[1];           /* rows until dimension 1 ends */
    int64_t rows = kd__min(w->rows, kd__min(left, end - r));
    run_tile(w, &t, off, rows, s->dim[0]);
    r += rows;
    if (rows == left) kd__nest_seek(s, 1, r, pos, base);
    else pos[1] += rows;
    for (int i = 0; rows < left && i < s->n; i++) base[i] += rows * s->stride[i][1];
  }
}

void kd__elem_run(const kd_call *c, const kd_exec *x) {
  work w = { .fn = function(c) };
  const kd_tensor *t[1 + MAX_IN];
  int n = 1 + (int)c->nin;
  t[0] = &c->out[0];
  for (int i = 1; i < n; i++) t[i] = &c->in[i - 1];
  kd__nest_make(&w.s, n, t);
  if (w.s.count == 0) return;
  for (int i = 0; i < n; i++) w.data[i] = t[i]->data, w.size[i] = kd__dtype_size(t[i]->dtype);
  shape_tiles(&w);
  if (w.s.rank == 0) {
    const void *in[MAX_IN] = { NULL };
    for (int i = 1; i < n; i++) in[i - 1] = w.data[i] + w.s.offset[i] * (int64_t)w.size[i];
    w.fn(1, w.data[0] + w.s.offset[0] * (int64_t)w.size[0], in[0], in[1], in[2]);
    return;
  }
  int64_t chunks = kd__par_chunks(x, w.s.count);
  if (w.s.rank == 1) kd__par_for(x, w.s.dim[0], chunks, 256, run_flat, &w);
  else kd__par_for(x, w.s.count / w.s.dim[0], chunks, 1, run_rows, &w);
}

/* --- idiv and rem of i64 ------------------------------------------------------------------------------------------------------------ */
bool kd__elem_checked_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return c->in[0].dtype == KD_I64 && kd__elem_basic(c->op, KD_I64);
}

static bool has_zero(const kd_tensor *all) {
  kd__nest s;
  int64_t pos[KD_MAX_RANK], off[1], dim[KD_MAX_RANK];
  kd_tensor one = *all, *t = &one;               /* what is repeated counts once */
  for (int d = 0; d < all->rank; d++) dim[d] = all->stride[d] || all->dim[d] == 0 ? all->dim[d] : 1;
  t->dim = dim;
  kd__nest_make(&s, 1, (const kd_tensor *const[]){ t });
  kd__nest_seek(&s, 0, 0, pos, off);
  for (int64_t i = 0; i < s.count; i++, kd__nest_next(&s, 0, pos, off))
    if (((const int64_t *)t->data)[s.offset[0] + off[0]] == 0) return true;
  return false;
}

/* The twin knows how to report; it is only met by runs that fail. */
void kd__elem_checked_run(const kd_call *c, const kd_exec *x) {
  if (has_zero(&c->in[1])) kd__ref_run(c, x);
  else kd__elem_run(c, x);
}
