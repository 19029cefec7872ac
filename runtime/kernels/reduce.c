/* reduce.c: the driver of f32 reductions. The axes fall into kept ones and reduced ones; each set is a sorted loop nest.
 *
 * Where a reduced axis is innermost in memory, rows are reduced one by one; where a kept axis is, strips of columns are accumulated side by
 * side (bias gradients, statistics of batches over nhwc). Few results over many elements are cut into chunks that depend on the shape alone; their
 * states are combined in chunk order, so the bits never depend on the number of threads. */
#include "runtime/kernels/nest.h"
#include "runtime/kernels/reduce.h"

enum { BUFFER = 8192, MOST_CHUNKS = 32, CHUNK_WORK = 16384, FEW = 16, SHORT_RUN = 16, LANES = 16 };

typedef struct work {
  const kd__reducer *f;
  kd__nest kept, red;                            /* kept: operand, results; red: operand */
  bool rows;                                     /* rows, or strips of columns */
  bool direct;                                   /* the reducer may read the operand itself */
  int64_t width, strips, items, chunk, chunks;   /* columns a strip; strips a kept row; results or strips; reduced positions a chunk; chunks */
  int64_t fold;                                  /* rows that are read as one: few columns without gaps make wide ones */
  const float *in;
  float *out[2];
  double *parts;                                 /* [items][chunks][2][width] where chunks > 1 */
} work;

static void split_axes(work *w, const kd_call *c) {
  const kd_tensor *t = &c->in[0];
  uint32_t mask = kd__axes_mask(&c->attr[0]);
  int64_t dim[2][KD_MAX_RANK], in[2][KD_MAX_RANK];
  int n[2] = { 0, 0 };
  for (int d = 0; d < t->rank; d++) {
    int s = mask >> d & 1;
    dim[s][n[s]] = t->dim[d], in[s][n[s]++] = t->stride[d];
  }
  const int64_t *kept[3] = { in[0], c->out[0].stride, c->nout > 1 ? c->out[1].stride : NULL }, *red[1] = { in[1] };
  kd__nest_make_raw(&w->kept, 1 + (int)c->nout, n[0], dim[0], kept);
  kd__nest_make_raw(&w->red, 1, n[1], dim[1], red);
}

static int64_t inner_stride(const kd__nest *s) {
  int64_t v = s->rank ? s->stride[0][0] : 0;
  return v == 0 ? INT64_MAX : v;                 /* turned round by the nest: not negative */
}

/* All of this depends on the call alone. */
static void shape_work(work *w, const kd_call *c) {
  *w = (work){ .f = kd__reducer_find(c->op), .chunks = 1, .width = 1, .strips = 1, .fold = 1 };
  split_axes(w, c);
  w->rows = w->kept.rank == 0 || inner_stride(&w->red) <= inner_stride(&w->kept);
  w->items = w->kept.count;
  int64_t unit = KD__BLOCK_ROW;
  if (w->rows) {
    w->direct = w->red.rank == 0 || (w->red.rank == 1 && w->red.stride[0][0] == 1);
  } else {
    int64_t n = w->kept.dim[0];
    w->width = kd__min(n, KD__STRIP), w->strips = kd__ceil_div(n, w->width);
    w->items = w->kept.count / n * w->strips;
    w->direct = w->kept.stride[0][0] == 1 && (w->red.rank <= 1 || w->red.dim[0] >= SHORT_RUN);
    if (n < LANES && w->direct && w->red.rank && w->red.stride[0][0] == n) w->fold = LANES / (n & -n);
    unit = KD__BLOCK_ROWS * w->fold;
  }
  if (w->items < FEW) w->chunks = kd__max(1, kd__min(MOST_CHUNKS, w->red.count * w->width / CHUNK_WORK));
  w->chunk = kd__max(1, kd__ceil_div(kd__ceil_div(w->red.count, w->chunks), unit) * unit);
  w->chunks = kd__max(1, kd__ceil_div(w->red.count, w->chunk));
}

bool kd__reduce_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return c->in[0].dtype == KD_F32 && kd__reducer_find(c->op) != NULL;
}
size_t kd__reduce_scratch(const kd_call *c, const kd_kernel_settings *s) {
  work w;
  (void)s;
  shape_work(&w, c);
  return w.chunks > 1 ? (size_t)(w.items * w.chunks * w.width) * 2 * sizeof(double) : 0;
}

/* --- reading -------------------------------------------------------------------------------------------------------------------- */
/* Copies `rows` reduced positions from `first` on, `n` columns each (stride sn), to `to` without gaps. */
static void gather(const kd__nest *red, const float *p, int64_t first, int64_t rows, int64_t n, int64_t sn, float *to) {
  int64_t pos[KD_MAX_RANK], off[1], by = red->rank ? red->stride[0][0] : 0;
  for (int64_t r = 0; r < rows;) {
    kd__nest_seek(red, 0, first + r, pos, off);
    int64_t run = red->rank ? kd__min(rows - r, red->dim[0] - pos[0]) : 1;
    const float *q = p + off[0];
    r += run;
    if (n == 1 && by == 1) { memcpy(to, q, sizeof *to * (size_t)run); to += run; continue; }
    for (; run > 0; run--, q += by)
      for (int64_t j = 0; j < n; j++) *to++ = q[j * sn];
  }
}

static void reduce_row(const work *w, const float *p, int64_t begin, int64_t end, double *a, double *b) {
  float buffer[KD__BLOCK_ROW];
  int64_t seen = 0;
  for (int64_t r = begin; r < end; r += KD__BLOCK_ROW) {
    int64_t n = kd__min(KD__BLOCK_ROW, end - r);
    double c = 0, d = 0;
    if (!w->direct) gather(&w->red, p, r, n, 1, 0, buffer);
    w->f->row(w->direct ? p + r : buffer, n, &c, &d);
    w->f->merge(1, a, b, seen, &c, &d, n);
    seen += n;
  }
}

/* `rows` rows of n columns, a multiple of w->fold: the columns of the wide rows belong to each other in turn. */
static void fold_columns(const work *w, const float *p, int64_t rows, int64_t n, double *c, double *d) {
  int64_t wide = n * w->fold, each = rows / w->fold;
  w->f->cols(p, wide, each, wide, c, d);
  for (int64_t g = 1; g < w->fold; g++) w->f->merge(n, c, d, g * each, c + g * n, d + g * n, each);
}

static void reduce_strip(const work *w, const float *p, int64_t n, int64_t begin, int64_t end, double *a, double *b) {
  float buffer[BUFFER];
  double c[KD__STRIP], d[KD__STRIP];
  const kd__nest *red = &w->red;
  int64_t seen = 0, pos[KD_MAX_RANK], off[1];
  for (int64_t j = 0; j < n; j++) a[j] = b[j] = c[j] = d[j] = 0;
  for (int64_t r = begin; r < end;) {
    int64_t rows = kd__min(KD__BLOCK_ROWS * w->fold, end - r);
    if (w->direct) {
      kd__nest_seek(red, 0, r, pos, off);
      if (red->rank > 1) rows = kd__min(rows, red->dim[0] - pos[0]);
      if (w->fold > 1 && rows >= w->fold) rows -= rows % w->fold, fold_columns(w, p + off[0], rows, n, c, d);
      else w->f->cols(p + off[0], red->rank ? red->stride[0][0] : 0, rows, n, c, d);
    } else {
      rows = kd__min(rows, BUFFER / n);
      gather(red, p, r, rows, n, w->kept.stride[0][0], buffer);
      w->f->cols(buffer, n, rows, n, c, d);
    }
    w->f->merge(n, a, b, seen, c, d, rows);
    seen += rows, r += rows;
  }
}

/* --- writing -------------------------------------------------------------------------------------------------------------------- */
static void store(const work *w, const int64_t *off, int64_t n, const double *a, const double *b) {
  const kd__nest *k = &w->kept;
  int64_t s0 = k->rank && !w->rows ? k->stride[1][0] : 0, s1 = k->n > 2 && k->rank && !w->rows ? k->stride[2][0] : 0;
  float *second = k->n > 2 ? w->out[1] + off[2] : NULL;
  for (int64_t j = 0; j < n; j++) w->f->finish(a[j], b[j], w->red.count, w->out[0] + off[1] + j * s0, second ? second + j * s1 : NULL);
}

/* Where item i lies: offsets of operand and results, and its number of columns. */
static int64_t locate(const work *w, int64_t i, int64_t *off) {
  const kd__nest *k = &w->kept;
  int64_t pos[KD_MAX_RANK], n = 1, first = 0;
  kd__nest_seek(k, w->rows ? 0 : 1, i / w->strips, pos, off);
  if (!w->rows) first = i % w->strips * w->width, n = kd__min(w->width, k->dim[0] - first);
  for (int t = 0; t < k->n; t++) off[t] += k->offset[t] + (w->rows ? 0 : first * k->stride[t][0]);
  return n;
}

static void run_units(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  (void)chunk;
  for (int64_t u = begin; u < end; u++) {
    int64_t item = u / w->chunks, at = u % w->chunks, off[3], n = locate(w, item, off);
    int64_t from = at * w->chunk, to = kd__min(from + w->chunk, w->red.count);
    double here[2 * KD__STRIP], *a = w->chunks > 1 ? w->parts + u * 2 * w->width : here, *b = a + w->width;
    *a = *b = 0;
    if (w->rows) reduce_row(w, w->in + off[0], from, to, a, b);
    else reduce_strip(w, w->in + off[0], n, from, to, a, b);
    if (w->chunks == 1) store(w, off, n, a, b);
  }
}

/* Rows that are one block each: no states to combine. */
static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__nest *k = &w->kept;
  int64_t pos[KD_MAX_RANK], off[3], n = w->red.count;
  (void)chunk;
  kd__nest_seek(k, 0, begin, pos, off);
  for (int t = 0; t < k->n; t++) off[t] += k->offset[t];
  for (int64_t i = begin; i < end; i++, kd__nest_next(k, 0, pos, off)) {
    double a = 0, b = 0;
    w->f->row(w->in + off[0], n, &a, &b);
    w->f->finish(a, b, n, w->out[0] + off[1], k->n > 2 ? w->out[1] + off[2] : NULL);
  }
}

static void combine(const work *w) {
  for (int64_t i = 0; i < w->items; i++) {
    int64_t off[3], n = locate(w, i, off), seen = w->chunk;
    double *a = w->parts + i * w->chunks * 2 * w->width;
    for (int64_t u = 1; u < w->chunks; u++) {
      double *c = a + u * 2 * w->width;
      int64_t more = kd__min(w->chunk, w->red.count - seen);
      w->f->merge(n, a, a + w->width, seen, c, c + w->width, more);
      seen += more;
    }
    store(w, off, n, a, a + w->width);
  }
}

void kd__reduce_run(const kd_call *c, const kd_exec *x) {
  work w;
  shape_work(&w, c);
  if (w.kept.count == 0) return;
  w.in = (const float *)c->in[0].data + w.red.offset[0];
  for (uint32_t i = 0; i < c->nout; i++) w.out[i] = c->out[i].data;
  w.parts = x->scratch;
  int64_t team = kd__par_chunks(x, w.kept.count * w.red.count);
  if (w.rows && w.direct && w.chunks == 1 && w.red.count > 0 && w.red.count <= KD__BLOCK_ROW) kd__par_for(x, w.items, team, 1, run_rows, &w);
  else kd__par_for(x, w.items * w.chunks, team > 1 ? 4 * team : 1, 1, run_units, &w);
  if (w.chunks > 1) combine(&w);
}
