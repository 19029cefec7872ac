/* rows.c: products of gathered rows and vectors, which read the rows where they lie: index_order, gather_dot, gather_sum.
 *
 * Rows at random places of a large table come from far away, each several times a step. So the entries of an index are put in order by parts of the
 * table that a core's cache holds: a part is read while it is near, by all rows of the index, and rows that come soon are asked for ahead of time.
 * An entry is index * 2^32 + its place. Work is cut into units, ranges of parts (of entries, where there is one part) times ranges of the rows of the
 * index: what they are depends on the shapes alone, and sums of units are added in their order, so bits do not depend on who does what. */
#include "runtime/kernels/move.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/vec.h"

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
enum { UNITS = 16, SHORT = 64, NEAR = 8, FAR = 24, LINES = 32 };      /* entries ahead: with parts, without; cache lines of a row that are asked for */

static bool row_major(const kd_tensor *t) { return t->stride[1] == 1 && t->stride[0] == t->dim[1]; }

/* --- the order --------------------------------------------------------------------------------------------------------------------------- */
typedef struct order { const int64_t *index; int64_t *entry, *bound, k, rows, parts; int shift; const kd_exec *x; } order;

bool kd__rows_order_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return row_major(&c->in[0]) && row_major(&c->out[0]) && row_major(&c->out[1]);
}

static int64_t checked(const order *o, int64_t at) {
  int64_t v = o->index[at];
  if ((uint64_t)v < (uint64_t)o->rows) return v;
  kd__fault(o->x, KD_OP_GATHER, v, o->rows, at);
  return 0;
}

static void pack(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const order *o = ctx;
  (void)chunk;
  int64_t place = begin % o->k;
  for (int64_t i = begin; i < end; i++) {
    o->entry[i] = checked(o, i) << 32 | place;
    if (++place == o->k) place = 0;
  }
}

/* By counting: bound[p + 1] counts part p, then bound[p] is where its next entry goes, in the end where part p + 1 begins. */
static void sort_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const order *o = ctx;
  (void)chunk;
  for (int64_t b = begin; b < end; b++) {
    int64_t *entry = o->entry + b * o->k, *bound = o->bound + b * (o->parts + 1);
    memset(bound, 0, (size_t)(o->parts + 1) * sizeof *bound);
    for (int64_t k = 0; k < o->k; k++) bound[(checked(o, b * o->k + k) >> o->shift) + 1]++;
    for (int64_t p = 0; p < o->parts; p++) bound[p + 1] += bound[p];
    for (int64_t k = 0; k < o->k; k++) {
      int64_t v = o->index[b * o->k + k];
      if ((uint64_t)v >= (uint64_t)o->rows) v = 0;
      entry[bound[v >> o->shift]++] = v << 32 | k;
    }
    memmove(bound + 1, bound, (size_t)o->parts * sizeof *bound);
    bound[0] = 0;
  }
}

void kd__rows_order_run(const kd_call *c, const kd_exec *x) {
  int64_t b = c->in[0].dim[0], k = c->in[0].dim[1];
  order o = { c->in[0].data, c->out[0].data, c->out[1].data, k, c->attr[0].u.i, c->out[1].dim[1] - 1, __builtin_ctzll((uint64_t)c->attr[1].u.i), x };
  int64_t chunks = b * k < KD__PAR_MIN || x->threads < 2 ? 1 : UNITS;
  if (o.parts != 1) { kd__par_for(x, b, chunks, 1, sort_rows, &o); return; }
  for (int64_t i = 0; i < b; i++) o.bound[2 * i] = 0, o.bound[2 * i + 1] = k;
  kd__par_for(x, b * k, chunks, 1, pack, &o);
}

/* --- products ------------------------------------------------------------------------------------------------------------------------------ */
typedef struct work {
  const float *x, *v;                            /* the table; of a dot the vectors, of a sum the weights */
  const int64_t *entry, *bound;
  float *out;                                    /* of a dot the result, of a sum room for one [b, f] a piece */
  int64_t b, k, f, row, parts, vb, vk, ob, ok;
  int64_t pieces, cuts;                          /* units: ranges of parts times ranges of b */
  int64_t ahead;
} work;

/* Entries begin .. end-1 of one row of the index. */
typedef struct stretch { const float *x, *v; const int64_t *entry; float *out; int64_t begin, end, last, f, row, step, ahead; } stretch;

KD_INLINE void ask(const stretch *s, int64_t i) {
  if (i + s->ahead >= s->last) return;
  const float *p = s->x + (s->entry[i + s->ahead] >> 32) * s->row;
  for (int64_t l = 0; l < s->f && l < 16 * LINES; l += 16) __builtin_prefetch(p + l);
}

/* Rows of 16 N elements: the vector, or the sum, stays in registers. */
#define FIXED(N) \
  KD_CLONES static void dots_##N(const stretch *s) { \
    kd__v16 v[N]; \
    UNROLLED for (int j = 0; j < N; j++) v[j] = KD__LOAD16(s->v + 16 * j); \
    for (int64_t i = s->begin; i < s->end; i++) { \
      const float *r = s->x + (s->entry[i] >> 32) * s->row; \
      ask(s, i); \
      kd__v16 even = v[0] * KD__LOAD16(r), odd = v[1] * KD__LOAD16(r + 16); \
      UNROLLED for (int j = 2; j < N; j += 2) even += v[j] * KD__LOAD16(r + 16 * j), odd += v[j + 1] * KD__LOAD16(r + 16 * j + 16); \
      s->out[(int64_t)(uint32_t)s->entry[i] * s->step] = KD__SUM16(even + odd); \
    } \
  } \
  KD_CLONES static void sums_##N(const stretch *s) { \
    kd__v16 sum[N]; \
    UNROLLED for (int j = 0; j < N; j++) sum[j] = KD__LOAD16(s->out + 16 * j); \
    for (int64_t i = s->begin; i < s->end; i++) { \
      const float *r = s->x + (s->entry[i] >> 32) * s->row; \
      float w = s->v[(int64_t)(uint32_t)s->entry[i] * s->step]; \
      ask(s, i); \
      UNROLLED for (int j = 0; j < N; j++) sum[j] += w * KD__LOAD16(r + 16 * j); \
    } \
    UNROLLED for (int j = 0; j < N; j++) KD__STORE16(s->out + 16 * j, sum[j]); \
  }
FIXED(4)
FIXED(8)
FIXED(16)

KD_CLONES static void dots_any(const stretch *s) {
  for (int64_t i = s->begin; i < s->end; i++) {
    const float *r = s->x + (s->entry[i] >> 32) * s->row, *v = s->v;
    kd__v16 even = { 0 }, odd = { 0 };
    int64_t j = 0;
    ask(s, i);
    for (; j + 32 <= s->f; j += 32) even += KD__LOAD16(v + j) * KD__LOAD16(r + j), odd += KD__LOAD16(v + j + 16) * KD__LOAD16(r + j + 16);
    float sum = KD__SUM16(even + odd), rest = 0;
    for (; j < s->f; j++) rest += v[j] * r[j];
    s->out[(int64_t)(uint32_t)s->entry[i] * s->step] = sum + rest;
  }
}
KD_CLONES static void sums_any(const stretch *s) {
  float *sum = s->out;
  for (int64_t i = s->begin; i < s->end; i++) {
    const float *r = s->x + (s->entry[i] >> 32) * s->row;
    float w = s->v[(int64_t)(uint32_t)s->entry[i] * s->step];
    ask(s, i);
    KD_IVDEP for (int64_t j = 0; j < s->f; j++) sum[j] += w * r[j];
  }
}

typedef void (*stretch_fn)(const stretch *s);
static stretch_fn fit(int64_t f, bool sum) {
  if (f == 64) return sum ? sums_4 : dots_4;
  if (f == 128) return sum ? sums_8 : dots_8;
  if (f == 256) return sum ? sums_16 : dots_16;
  return sum ? sums_any : dots_any;
}

static void run_units(const work *w, bool sum, int64_t begin, int64_t end) {
  stretch_fn fn = fit(w->f, sum);
  for (int64_t u = begin; u < end; u++) {
    int64_t piece = u / w->cuts, cut = u % w->cuts, b0 = w->b * cut / w->cuts, b1 = w->b * (cut + 1) / w->cuts;
    int64_t all = w->parts > 1 ? w->parts : w->pieces, p1 = all * (piece + 1) / w->pieces;
    float *to = w->out + (sum ? piece * w->b * w->f : 0);
    if (sum) memset(to + b0 * w->f, 0, (size_t)((b1 - b0) * w->f) * sizeof *to);
    for (int64_t p = all * piece / w->pieces; p < p1; p++)
      for (int64_t b = b0; b < b1; b++) {
        const int64_t *bound = w->bound + b * (w->parts + 1) + p;
        stretch s = { .x = w->x, .v = w->v + b * w->vb, .entry = w->entry + b * w->k, .out = to + b * (sum ? w->f : w->ob), .last = w->k, .f = w->f, .row = w->row,
                      .step = sum ? w->vk : w->ok, .ahead = w->ahead };
        s.begin = w->parts > 1 ? bound[0] : w->k * p / w->pieces, s.end = w->parts > 1 ? bound[1] : w->k * (p + 1) / w->pieces;
        fn(&s);
      }
  }
}
static void dot_units(void *ctx, int64_t begin, int64_t end, int64_t chunk) { (void)chunk; run_units(ctx, false, begin, end); }
static void sum_units(void *ctx, int64_t begin, int64_t end, int64_t chunk) { (void)chunk; run_units(ctx, true, begin, end); }

/* Vectors or weights, the table, entries and bounds; f of the table. */
bool kd__rows_takes(const kd_call *c, const kd_kernel_settings *s) {
  const kd_tensor *v = &c->in[0], *x = &c->in[1], *entry = &c->in[2];
  (void)s;
  if (x->dtype != KD_F32 || x->stride[1] != 1 || !row_major(entry) || !row_major(&c->in[3])) return false;
  return x->dim[0] > 0 && x->dim[1] > 0 && entry->dim[0] > 0 && entry->dim[1] > 0 && (c->op == KD_OP_GATHER_SUM || v->stride[1] == 1);
}

static work describe(const kd_call *c) {
  const kd_tensor *v = &c->in[0], *x = &c->in[1], *entry = &c->in[2], *o = &c->out[0];
  work w = { .x = x->data, .v = v->data, .entry = entry->data, .bound = c->in[3].data, .out = o->data, .b = entry->dim[0], .k = entry->dim[1], .f = x->dim[1],
             .row = x->stride[0], .parts = c->in[3].dim[1] - 1, .vb = v->stride[0], .vk = v->stride[1], .ob = o->stride[0], .ok = o->stride[1] };
  w.pieces = kd__min(UNITS, kd__max(1, w.parts > 1 ? kd__min(w.parts, w.k / SHORT) : w.k / SHORT));
  w.cuts = kd__min(w.b, kd__ceil_div(UNITS, w.pieces));
  w.ahead = w.parts > 1 ? NEAR : FAR;
  return w;
}

static int64_t chunks_of(const work *w, const kd_exec *x) { return w->b * w->k * w->f < KD__PAR_MIN || x->threads < 2 ? 1 : w->pieces * w->cuts; }

void kd__rows_dot_run(const kd_call *c, const kd_exec *x) {
  work w = describe(c);
  kd__par_for(x, w.pieces * w.cuts, chunks_of(&w, x), 1, dot_units, &w);
}

size_t kd__rows_sum_scratch(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  work w = describe(c);
  return (size_t)(w.pieces * w.b * w.f) * sizeof(float);
}

typedef struct total { const work *w; const float *part; float *out; } total;
KD_CLONES static void add_pieces(int64_t pieces, int64_t n, const float *part, int64_t from, int64_t to, float *sum) {
  for (int64_t i = from; i < to; i++) sum[i - from] = part[i];
  for (int64_t p = 1; p < pieces; p++)
    KD_IVDEP for (int64_t i = from; i < to; i++) sum[i - from] += part[p * n + i];
}
static void totals(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const total *t = ctx;
  const work *w = t->w;
  enum { BLOCK = 512 };
  (void)chunk;
  for (int64_t b = begin; b < end; b++)
    for (int64_t j = 0; j < w->f; j += BLOCK) {
      float sum[BLOCK];
      int64_t n = kd__min(BLOCK, w->f - j);
      add_pieces(w->pieces, w->b * w->f, t->part, b * w->f + j, b * w->f + j + n, sum);
      for (int64_t i = 0; i < n; i++) t->out[b * w->ob + (j + i) * w->ok] = sum[i];
    }
}

void kd__rows_sum_run(const kd_call *c, const kd_exec *x) {
  work w = describe(c);
  w.out = x->scratch;
  total t = { &w, x->scratch, c->out[0].data };
  kd__par_for(x, w.pieces * w.cuts, chunks_of(&w, x), 1, sum_units, &w);
  kd__par_for(x, w.b, kd__par_chunks(x, w.pieces * w.b * w.f), 1, totals, &t);
}
