/* rows.c: products of gathered rows and vectors, which read the rows where they lie: index_order, gather_dot, gather_sum.
 *
 * Rows at random places of a large table come from far away, each several times a step. So the entries of an index are put in order by parts of the
 * table that a core's nearest cache holds: the table comes by once, part after part, and while one part is read, by all rows of the index, the next is
 * asked for. An entry is index * 2^32 + its place in its block of rows of the index; those of one row of the index follow each other in a part, so
 * its vector, or its sum, stays in registers meanwhile. Work is cut into units, ranges of parts (of entries, where there is one part) times ranges of
 * blocks: what they are depends on the shapes alone, and sums of units are added in their order, so bits do not depend on who does what. */
#include "runtime/kernels/move.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/vec.h"

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
enum { UNITS = 16, SHORT = 64, AHEAD = 24, LINES = 32, MOST = 16 };               /* entries ahead; cache lines that are asked for of a row, at once of a part */
enum { TILE = 16, ALIKE = 16 };                  /* parts at a time; entries of a row in a part, from which on it does not matter how many */

static bool row_major(const kd_tensor *t) { return t->stride[1] == 1 && t->stride[0] == t->dim[1]; }

/* --- the order --------------------------------------------------------------------------------------------------------------------------- */
/* Of each row of the index a count for each part, in the end where in its block the row's next entry of that part goes. */
typedef struct order { const int64_t *index; int64_t *entry, *bound, b, k, rows, parts, blocks; uint32_t *count; int shift; const kd_exec *x; } order;

bool kd__rows_order_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return row_major(&c->in[0]) && row_major(&c->out[0]) && row_major(&c->out[1]);
}

static void count_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const order *o = ctx;
  (void)chunk;
  for (int64_t b = begin; b < end; b++) {
    const int64_t *index = o->index + b * o->k;
    uint32_t *count = o->count + b * o->parts;
    memset(count, 0, (size_t)o->parts * sizeof *count);
    if (o->parts == 1) { *count = (uint32_t)o->k; continue; }
    for (int64_t i = 0; i < o->k; i++) count[(uint64_t)index[i] < (uint64_t)o->rows ? index[i] >> o->shift : 0]++;
  }
}
static void add_counts(const order *o) {
  for (int64_t block = 0; block < o->blocks; block++) {
    int64_t *bound = o->bound + block * (o->parts + 1), to = o->b * (block + 1) / o->blocks;
    memset(bound, 0, (size_t)(o->parts + 1) * sizeof *bound);
    for (int64_t b = o->b * block / o->blocks; b < to; b++)
      for (int64_t p = 0; p < o->parts; p++) bound[p + 1] += o->count[b * o->parts + p];
    for (int64_t p = 0; p < o->parts; p++) bound[p + 1] += bound[p];
  }
}

/* In each part the rows by how many entries they have in it, as far as those are few: the products' loops over a row's entries then end alike, time after
 * time, which processors foretell. Some parts at a time: `next` is where the next row with so many entries begins. */
static void rank_parts(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const order *o = ctx;
  int64_t tiles = kd__ceil_div(o->parts, TILE);
  (void)chunk;
  for (int64_t u = begin; u < end; u++) {
    int64_t block = u / tiles, p = u % tiles * TILE, n = kd__min(TILE, o->parts - p), from = o->b * block / o->blocks, to = o->b * (block + 1) / o->blocks;
    const int64_t *bound = o->bound + block * (o->parts + 1) + p;
    uint32_t next[TILE][ALIKE] = { { 0 } };
    for (int64_t b = from; b < to; b++)
      for (int64_t j = 0; j < n; j++) {
        uint32_t entries = o->count[b * o->parts + p + j];
        next[j][entries < ALIKE ? entries : ALIKE - 1] += entries;
      }
    for (int64_t j = 0; j < n; j++) {
      uint32_t sum = (uint32_t)bound[j];
      for (int i = 0; i < ALIKE; i++) { uint32_t entries = next[j][i]; next[j][i] = sum; sum += entries; }
    }
    for (int64_t b = from; b < to; b++)
      for (int64_t j = 0; j < n; j++) {
        uint32_t *count = &o->count[b * o->parts + p + j], entries = *count, *at = &next[j][entries < ALIKE ? entries : ALIKE - 1];
        *count = *at;
        *at += entries;
      }
  }
}

static int64_t checked(const order *o, int64_t at) {
  int64_t v = o->index[at];
  if ((uint64_t)v < (uint64_t)o->rows) return v;
  kd__fault(o->x, KD_OP_GATHER, v, o->rows, at);
  return 0;
}
static void place_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const order *o = ctx;
  (void)chunk;
  for (int64_t b = begin; b < end; b++) {
    int64_t block = ((b + 1) * o->blocks - 1) / o->b, first = o->b * block / o->blocks * o->k;
    int64_t *entry = o->entry + first, from = b * o->k, to = from + o->k;
    uint32_t *next = o->count + b * o->parts;
    for (int64_t i = from; i < to && o->parts == 1; i++) entry[i - first] = checked(o, i) << 32 | (i - first);
    for (int64_t i = from; i < to && o->parts > 1; i++) {
      int64_t v = checked(o, i);
      entry[next[v >> o->shift]++] = v << 32 | (i - first);
    }
  }
}

size_t kd__rows_order_scratch(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return (size_t)(c->in[0].dim[0] * (c->out[1].dim[1] - 1)) * sizeof(uint32_t);
}

void kd__rows_order_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *bound = &c->out[1];
  order o = { c->in[0].data, c->out[0].data, bound->data, c->in[0].dim[0], c->in[0].dim[1], c->attr[0].u.i, bound->dim[1] - 1, bound->dim[0], x->scratch,
              __builtin_ctzll((uint64_t)c->attr[1].u.i), x };
  int64_t chunks = o.b * o.k < KD__PAR_MIN || x->threads < 2 ? 1 : UNITS;
  kd__par_for(x, o.b, chunks, 1, count_rows, &o);
  add_counts(&o);
  kd__par_for(x, o.blocks * kd__ceil_div(o.parts, TILE), chunks, 1, rank_parts, &o);
  kd__par_for(x, o.b, chunks, 1, place_rows, &o);
}

/* --- products ------------------------------------------------------------------------------------------------------------------------------ */
typedef struct work {
  const float *x, *v;                            /* the table; of a dot the vectors, of a sum the weights */
  const int64_t *entry, *bound;
  float *out;                                    /* of a dot the result, of a sum room for one [b, f] a piece */
  int64_t b, k, f, n, row, part, parts, blocks, vb, vk, ob, ok;       /* n rows of the table, `part` to a part */
  int64_t pieces, cuts;                          /* units: ranges of parts times ranges of blocks */
} work;

/* Entries begin .. end-1 of one block, those of one part or some of it. */
typedef struct stretch {
  const float *x, *v;
  float *out;
  const int64_t *entry;
  int64_t begin, end, f, row, k, vb, vk, ob, ok;
  bool ordered;                                  /* what comes of the table is asked for, some lines an entry; or else rows, some entries ahead */
  const float *next, *stop;
  int64_t lines;
} stretch;

/* A row of the index, as one of its block, and the place of its first entry. Entries of the row and of the next come often. */
typedef struct owner { uint32_t row, first; } owner;
KD_INLINE bool owns(owner o, int64_t entry, uint32_t k) { return (uint32_t)entry - o.first < k; }
KD_INLINE owner owner_of(owner o, int64_t entry, uint32_t k) {
  if ((uint32_t)entry - o.first - k < k) return (owner){ o.row + 1, o.first + k };
  uint32_t row = (uint32_t)entry / k;
  return (owner){ row, row * k };
}

/* Of the next part, some lines: two, where it has enough entries before it. */
KD_INLINE const float *ask_part(const float *next, const float *stop, int64_t lines) {
  if (next >= stop) return next;
  do {
    __builtin_prefetch(next), __builtin_prefetch(next + 16);
    next += 32;
  } while ((lines -= 2) > 0);
  return next;
}
KD_INLINE void ask_row(const stretch *s, int64_t i) {
  if (i + AHEAD >= s->end) return;
  const float *p = s->x + (s->entry[i + AHEAD] >> 32) * s->row;
  for (int64_t l = 0; l < s->f && l < 16 * LINES; l += 16) __builtin_prefetch(p + l);
}

/* Rows of 16 N elements that lie together, results or weights too: the vector, or the sum, stays in registers. */
#define FIXED(N, HOW, ASK) \
  KD_CLONES static void dots_##HOW##_##N(stretch *s) { \
    const float *const x = s->x, *const stop = s->stop, *next = s->next; \
    const int64_t *const entry = s->entry, end = s->end; \
    const uint32_t k = (uint32_t)s->k; \
    owner own = { 0 }; \
    (void)stop; \
    for (int64_t i = s->begin; i < end;) { \
      int64_t e = entry[i]; \
      if (!owns(own, e, k)) own = owner_of(own, e, k); \
      kd__v16 v[N]; \
      UNROLLED for (int j = 0; j < N; j++) v[j] = KD__LOAD16(s->v + own.row * s->vb + 16 * j); \
      float *out = s->out + own.row * s->ob; \
      do { \
        const float *r = x + (e >> 32) * (16 * N); \
        ASK; \
        kd__v16 even = v[0] * KD__LOAD16(r), odd = v[1] * KD__LOAD16(r + 16); \
        UNROLLED for (int j = 2; j < N; j += 2) even += v[j] * KD__LOAD16(r + 16 * j), odd += v[j + 1] * KD__LOAD16(r + 16 * j + 16); \
        out[(uint32_t)e - own.first] = KD__SUM16(even + odd); \
        if (++i == end) break; \
        e = entry[i]; \
      } while (owns(own, e, k)); \
    } \
    s->next = next; \
  } \
  KD_CLONES static void sums_##HOW##_##N(stretch *s) { \
    const float *const x = s->x, *const stop = s->stop, *next = s->next; \
    const int64_t *const entry = s->entry, end = s->end; \
    const uint32_t k = (uint32_t)s->k; \
    owner own = { 0 }; \
    (void)stop; \
    for (int64_t i = s->begin; i < end;) { \
      int64_t e = entry[i]; \
      if (!owns(own, e, k)) own = owner_of(own, e, k); \
      kd__v16 sum[N]; \
      float *out = s->out + own.row * (16 * N); \
      const float *w = s->v + own.row * s->vb; \
      UNROLLED for (int j = 0; j < N; j++) sum[j] = KD__LOAD16(out + 16 * j); \
      do { \
        const float *r = x + (e >> 32) * (16 * N); \
        float by = w[(uint32_t)e - own.first]; \
        ASK; \
        UNROLLED for (int j = 0; j < N; j++) sum[j] += by * KD__LOAD16(r + 16 * j); \
        if (++i == end) break; \
        e = entry[i]; \
      } while (owns(own, e, k)); \
      UNROLLED for (int j = 0; j < N; j++) KD__STORE16(out + 16 * j, sum[j]); \
    } \
    s->next = next; \
  }
#define BOTH(N) FIXED(N, parts, next = ask_part(next, stop, s->lines)) FIXED(N, rows, ask_row(s, i))
BOTH(4)
BOTH(8)
BOTH(16)

KD_INLINE void ask(stretch *s, int64_t i) {
  if (s->ordered) s->next = ask_part(s->next, s->stop, s->lines);
  else ask_row(s, i);
}
KD_CLONES static void dots_any(stretch *s) {
  const uint32_t k = (uint32_t)s->k;
  owner own = { 0 };
  for (int64_t i = s->begin; i < s->end; i++) {
    if (!owns(own, s->entry[i], k)) own = owner_of(own, s->entry[i], k);
    const float *r = s->x + (s->entry[i] >> 32) * s->row, *v = s->v + own.row * s->vb;
    kd__v16 even = { 0 }, odd = { 0 };
    int64_t j = 0;
    ask(s, i);
    for (; j + 32 <= s->f; j += 32) even += KD__LOAD16(v + j) * KD__LOAD16(r + j), odd += KD__LOAD16(v + j + 16) * KD__LOAD16(r + j + 16);
    float sum = KD__SUM16(even + odd), rest = 0;
    for (; j < s->f; j++) rest += v[j] * r[j];
    s->out[own.row * s->ob + ((uint32_t)s->entry[i] - own.first) * s->ok] = sum + rest;
  }
}
KD_CLONES static void sums_any(stretch *s) {
  const uint32_t k = (uint32_t)s->k;
  owner own = { 0 };
  for (int64_t i = s->begin; i < s->end; i++) {
    if (!owns(own, s->entry[i], k)) own = owner_of(own, s->entry[i], k);
    const float *r = s->x + (s->entry[i] >> 32) * s->row;
    float w = s->v[own.row * s->vb + ((uint32_t)s->entry[i] - own.first) * s->vk], *sum = s->out + own.row * s->f;
    ask(s, i);
    KD_IVDEP for (int64_t j = 0; j < s->f; j++) sum[j] += w * r[j];
  }
}

/* By parts of the table, which lie together? */
static bool ordered(const work *w) { return w->parts > 1 && w->row < 2 * w->f; }

typedef void (*stretch_fn)(stretch *s);
static stretch_fn fit(const work *w, bool sum) {
  bool parts = ordered(w);
  if (w->row != w->f || (sum ? w->vk : w->ok) != 1) return sum ? sums_any : dots_any;
#define FIT(N) if (w->f == 16 * N) return sum ? (parts ? sums_parts_##N : sums_rows_##N) : parts ? dots_parts_##N : dots_rows_##N;
  FIT(4)
  FIT(8)
  FIT(16)
  return sum ? sums_any : dots_any;
}

/* What of the table is asked for during a stretch: the rest of its part, and the next part, up to `end`. */
static void ask_for(const work *w, stretch *s, int64_t p, const float *end) {
  const float *from = w->x + p * w->part * w->row, *to = from + 2 * w->part * w->row;
  if (s->next < from) s->next = from;
  s->stop = to < end ? to : end;
  s->lines = kd__min(MOST, s->stop > s->next ? kd__ceil_div(kd__ceil_div(s->stop - s->next, 16), kd__max(1, s->end - s->begin)) : 0);
}

static void run_units(const work *w, bool sum, int64_t begin, int64_t end) {
  stretch_fn fn = fit(w, sum);
  for (int64_t u = begin; u < end; u++) {
    int64_t piece = u / w->cuts, cut = u % w->cuts, from = w->blocks * cut / w->cuts, to = w->blocks * (cut + 1) / w->cuts;
    int64_t all = w->parts > 1 ? w->parts : w->pieces, p1 = all * (piece + 1) / w->pieces, b0 = w->b * from / w->blocks, b1 = w->b * to / w->blocks;
    const float *stop = w->x + kd__min(w->n, p1 * w->part) * w->row, *next = w->x;
    float *out = w->out + (sum ? piece * w->b * w->f : 0);
    if (sum) memset(out + b0 * w->f, 0, (size_t)((b1 - b0) * w->f) * sizeof *out);
    for (int64_t p = all * piece / w->pieces; p < p1; p++)
      for (int64_t block = from; block < to; block++) {
        const int64_t *bound = w->bound + block * (w->parts + 1) + p, b = w->b * block / w->blocks, n = (w->b * (block + 1) / w->blocks - b) * w->k;
        stretch s = { .x = w->x, .v = w->v + b * w->vb, .out = out + b * (sum ? w->f : w->ob), .entry = w->entry + b * w->k, .f = w->f, .row = w->row, .k = w->k,
                      .vb = w->vb, .vk = w->vk, .ob = w->ob, .ok = w->ok, .ordered = ordered(w), .next = next };
        s.begin = w->parts > 1 ? bound[0] : n * p / w->pieces, s.end = w->parts > 1 ? bound[1] : n * (p + 1) / w->pieces;
        if (s.ordered) ask_for(w, &s, p, stop);
        fn(&s);
        next = s.next;
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
  work w = { .x = x->data, .v = v->data, .entry = entry->data, .bound = c->in[3].data, .out = o->data, .b = entry->dim[0], .k = entry->dim[1], .f = x->dim[1], .n = x->dim[0],
             .row = x->stride[0], .part = 1, .parts = c->in[3].dim[1] - 1, .blocks = c->in[3].dim[0], .vb = v->stride[0], .vk = v->stride[1], .ob = o->stride[0], .ok = o->stride[1] };
  int64_t entries = w.b / w.blocks * w.k;
  while (kd__ceil_div(w.n, w.part) > w.parts) w.part *= 2;
  w.pieces = kd__min(UNITS, kd__max(1, w.parts > 1 ? kd__min(w.parts, entries / SHORT) : entries / SHORT));
  w.cuts = kd__min(w.blocks, kd__ceil_div(UNITS, w.pieces));
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
