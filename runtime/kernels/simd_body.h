/* simd_body.h: the loops of simd.h; included once for each instruction set, with NAME and TARGET (no include guard for that reason). */
#define VEC NAME(vec)
#define UVEC NAME(uvec)
#define IVEC NAME(ivec)
#define WIDTH NAME(WIDTH)
#define ROWS NAME(ROWS)
#define INL static inline __attribute__((always_inline)) TARGET
#define LOAD NAME(load)
#define STORE NAME(store)
typedef float VEC __attribute__((vector_size(4 * WIDTH)));
typedef int IVEC __attribute__((vector_size(4 * WIDTH)));
typedef float UVEC __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
INL VEC LOAD(const float *p) { return *(const UVEC *)p; }
INL void STORE(float *p, VEC v) { *(UVEC *)p = v; }

/* --- products ------------------------------------------------------------------------------------------------------------------------ */
/* Memory that is copied meanwhile: `left` pieces of 16 floats, or of 8 to 15, as two halves that overlap, the second `half` floats on. */
typedef struct NAME(carried) { const float *from; float *to; int64_t left, half, line, lines, on, to_on, each; } NAME(carried);
/* What is done while a block is computed; the last stream is results, which will be written. */
typedef struct NAME(meanwhile) { kd__stream ahead[KD__STREAMS]; NAME(carried) carry; } NAME(meanwhile);
INL void NAME(carry)(NAME(carried) *c, int64_t n) {
  c->left -= n;
  for (; n > 0; n--) {
    memcpy(c->to, c->from, 8 * sizeof *c->to), memcpy(c->to + c->half, c->from + c->half, 8 * sizeof *c->to);
    if (++c->line < c->lines) c->from += 16, c->to += 16;
    else c->from += c->on, c->to += c->to_on, c->line = 0;
  }
}
/* Asks the caches for some of what is wanted next, and copies some of it: a little every KD__TICK terms, so that nothing else has to wait for it. */
INL void NAME(tick)(NAME(meanwhile) *w, bool carry) {
  kd__stream *s = w->ahead;
  for (int q = 0; q < KD__STREAMS - 1; q++, s++) {
    const float *at = s->at;
    int64_t n = s->each < s->left ? s->each : s->left, line = s->line;
    if (n <= 0) continue;
    s->left -= n;
    if (s->lines == 1)
      for (; n > 0; n--, at += s->on) __builtin_prefetch(at, 0, 2);
    else
      for (; n > 0; n--) {
        __builtin_prefetch(at, 0, 2);
        if (++line < s->lines) at += 16; else at += s->on, line = 0;
      }
    s->at = at, s->line = line;
  }
  for (int64_t n = s->each; n > 0 && s->left > 0; n--, s->left--, s->at += s->on) __builtin_prefetch(s->at, 1), __builtin_prefetch(s->at + 16, 1);
  if (carry && w->carry.left > 0) NAME(carry)(&w->carry, w->carry.each < w->carry.left ? w->carry.each : w->carry.left);
}
/* Rows x 32 results (or their first half and then the other, where vectors are narrow): sums over one block of k. */
#define BLOCK(M, KIND, CARRY) \
  TARGET static void NAME(KIND##M)(int64_t k, const float *a, int64_t ars, int64_t aks, const float *b, int64_t bks, float *c, int64_t ldc, bool add, \
                              NAME(meanwhile) *w) { \
    for (int64_t j = 0; j < KD__PANEL; j += 2 * WIDTH) { \
      VEC acc[M][2]; \
      const float *ap = a, *bp = b + j; \
      UNROLLED \
      for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = (VEC){ 0 }; \
      for (int64_t p = 0, stop; p < k; ) { \
        NAME(tick)(w, CARRY); \
        for (stop = p + KD__TICK < k ? p + KD__TICK : k; p < stop; p++, ap += aks, bp += bks) { \
          VEC b0 = LOAD(bp), b1 = LOAD(bp + WIDTH); \
          UNROLLED \
          for (int i = 0; i < M; i++) { \
            float x = ap[i * ars]; \
            acc[i][0] += x * b0, acc[i][1] += x * b1; \
          } \
        } \
      } \
      UNROLLED \
      for (int i = 0; i < M; i++) { \
        float *at = c + i * ldc + j; \
        if (add) acc[i][0] += LOAD(at), acc[i][1] += LOAD(at + WIDTH); \
        STORE(at, acc[i][0]), STORE(at + WIDTH, acc[i][1]); \
      } \
    } \
  }
#define BLOCKS(KIND, CARRY) BLOCK(1, KIND, CARRY) BLOCK(2, KIND, CARRY) BLOCK(3, KIND, CARRY) BLOCK(4, KIND, CARRY) BLOCK(5, KIND, CARRY) BLOCK(6, KIND, CARRY)
#define NAMES(KIND) NAME(KIND##1), NAME(KIND##2), NAME(KIND##3), NAME(KIND##4), NAME(KIND##5), NAME(KIND##6)
BLOCKS(block, false) BLOCKS(bearer, true)
#if KD__SIMD_ROWS > 6
#define MORE(KIND, CARRY) BLOCK(7, KIND, CARRY) BLOCK(8, KIND, CARRY) BLOCK(9, KIND, CARRY) BLOCK(10, KIND, CARRY) BLOCK(11, KIND, CARRY) BLOCK(12, KIND, CARRY) \
  BLOCK(13, KIND, CARRY) BLOCK(14, KIND, CARRY)
#define MORE_NAMES(KIND) , NAME(KIND##7), NAME(KIND##8), NAME(KIND##9), NAME(KIND##10), NAME(KIND##11), NAME(KIND##12), NAME(KIND##13), NAME(KIND##14)
MORE(block, false) MORE(bearer, true)
#undef MORE
#else
#define MORE_NAMES(KIND)
#endif
typedef void (*NAME(block))(int64_t k, const float *a, int64_t ars, int64_t aks, const float *b, int64_t bks, float *c, int64_t ldc, bool add, NAME(meanwhile) *w);
static const NAME(block) NAME(blocks)[2][ROWS + 1] = { { NULL, NAMES(block) MORE_NAMES(block) }, { NULL, NAMES(bearer) MORE_NAMES(bearer) } };    /* 1: those that copy meanwhile */
#undef MORE_NAMES
#undef NAMES
#undef BLOCKS
#undef BLOCK

enum { NAME(KC) = 256, NAME(NEAR_B) = 128 << 10 };   /* terms that are summed at once; floats of B, or of A and B, that stay in the second-level cache */
INL kd__stream NAME(stream)(kd__ahead w, int64_t ticks) {
  int64_t lines = w.rows * w.lines;
  return (kd__stream){ .at = w.at, .left = lines, .lines = w.lines, .on = w.step - 16 * (w.lines - 1), .each = (lines + ticks - 1) / ticks };
}
/* `rows` rows of the panel at b, `n` of its columns, through a tile of their own where C has another form. */
TARGET static void NAME(rows)(const kd__mm *g, int64_t rows, int64_t n, const float *a, const float *b, float *c, NAME(meanwhile) *w) {
  float tile[ROWS * KD__PANEL];
  bool direct = n == KD__PANEL && !g->turned;
  for (int64_t p = 0; p < g->k; p += NAME(KC)) {
    int64_t k = g->k - p < NAME(KC) ? g->k - p : NAME(KC);
    NAME(blocks)[w->carry.left > 0][rows](k, a + p * g->aks, g->ars, g->aks, b + p * g->bks, g->bks, direct ? c : tile, direct ? g->ldc : KD__PANEL,
                       direct ? g->add || p > 0 : p > 0, w);
  }
  if (direct) return;
  int64_t rs = g->turned ? 1 : g->ldc, cs = g->turned ? g->ldc : 1;
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < rows; i++) c[i * rs + j * cs] = tile[i * KD__PANEL + j] + (g->add ? c[i * rs + j * cs] : 0);
}
/* A block of rows of A, or of its columns: near itself. Such as lie a large power of two apart would meet in the same cache lines. Where pieces allow, it
 * is copied while the block before it is computed. */
typedef struct NAME(piece) { int64_t i, rows, p, k; } NAME(piece);
enum { NAME(NEAR_ROW) = NAME(KC) + 16, NAME(NEAR) = ROWS * NAME(NEAR_ROW) };
TARGET static void NAME(bring)(const kd__mm *g, NAME(piece) b, const float *a, float *near) {
  if (g->aks == 1)
    for (int64_t r = 0; r < b.rows; r++) memcpy(near + r * NAME(NEAR_ROW), a + r * g->ars, (size_t)b.k * sizeof *near);
  else
    for (int64_t p = 0; p < b.k; p++, a += g->aks, near += ROWS) {
      if (b.rows < 8) memcpy(near, a, (size_t)b.rows * sizeof *near);
      else memcpy(near, a, 8 * sizeof *near), memcpy(near + b.rows - 8, a + b.rows - 8, 8 * sizeof *near);         /* two that overlap */
    }
}
INL NAME(carried) NAME(bringing)(const kd__mm *g, NAME(piece) b, const float *a, float *near, int64_t ticks) {
  int64_t lines = g->aks == 1 ? b.k / 16 : 1, left = lines * (g->aks == 1 ? b.rows : b.k);
  return (NAME(carried)){ a, near, left, g->aks == 1 ? 8 : b.rows - 8, 0, lines, (g->aks == 1 ? g->ars : g->aks) - 16 * (lines - 1),
                      (g->aks == 1 ? NAME(NEAR_ROW) : ROWS) - 16 * (lines - 1), (left + ticks - 1) / ticks };
}
/* The rows of A that follow, where not all of A was asked for before: the processor does not foresee that so many streams, each of a few lines, will go on
 * elsewhere. Of columns the first lines were there already: the rows before have the other part of them. */
INL kd__stream NAME(next_rows)(const kd__mm *g, const float *a, int64_t rows, int64_t k, int64_t ticks) {
  if (g->then[0].rows || (g->aks == 1 ? g->ars : g->ars == 1 ? g->aks : 0) < 4 * 16) return (kd__stream){ 0 };
  return NAME(stream)(g->aks == 1 ? (kd__ahead){ a, rows, g->ars, (k + 15) / 16 } : (kd__ahead){ a + rows - 1, k, g->aks, 1 }, ticks);
}
/* The terms of B that follow, where so many are left. */
INL kd__stream NAME(next_terms)(const kd__mm *g, const float *b, int64_t left, int64_t ticks) {
  int64_t k = left < g->k ? left : g->k;
  const float *at = b + g->k * g->bks;
  if (!k) return (kd__stream){ 0 };
  return NAME(stream)(g->bks == KD__PANEL ? (kd__ahead){ at, (g->n + KD__PANEL - 1) / KD__PANEL, g->bps, 2 * k } : (kd__ahead){ at, k, g->bks, (g->n + 15) / 16 }, ticks);
}
/* The piece after `b`: `parts` blocks of rows of nearly equal size, each cut after every `depth` terms. */
INL NAME(piece) NAME(after)(const kd__mm *g, NAME(piece) b, int64_t rows, int64_t more, int64_t depth) {
  b.p += b.k;
  if (b.p >= g->k) b.i += b.rows, b.rows = b.i < more * (rows + 1) ? rows + 1 : rows, b.p = 0;
  b.k = g->k - b.p < depth ? g->k - b.p : depth;
  return b;
}
/* All rows by some panels; `left` terms follow. A block of rows passes all terms, and for each part of them all panels. */
TARGET static void NAME(panels)(const kd__mm *g, int64_t left, const float *a, const float *b, float *c) {
  float near[2 * NAME(NEAR)] __attribute__((aligned(64)));
  int64_t parts = (g->m + ROWS - 1) / ROWS, blocks = (g->n + KD__PANEL - 1) / KD__PANEL, depth = g->turned || g->k < NAME(KC) ? g->k : NAME(KC);
  int64_t ticks = (depth + KD__TICK - 1) / KD__TICK, pieces = parts * ((g->k + depth - 1) / depth), all = pieces * blocks * ticks;
  int64_t down = g->turned ? 1 : g->ldc, across = KD__PANEL * (g->turned ? g->ldc : 1);
  NAME(meanwhile) w = { .ahead = { NAME(stream)(g->then[0], all), NAME(stream)(g->then[1], all), NAME(next_terms)(g, b, left, all) } };
  int64_t base = g->m / parts, more = g->m % parts;
  bool copy = g->n > 2 * KD__PANEL && depth <= NAME(KC) && (g->aks == 1 ? g->ars % 1024 == 0 : g->ars == 1 && g->aks > KD__PANEL);
  bool carry = copy && (g->aks == 1 ? g->k % 16 == 0 : base >= 8);
  NAME(piece) at = { 0, base + (more > 0), 0, depth }, next = NAME(after)(g, at, base, more, depth), then;
  for (int64_t t = 0; t < pieces; t++, at = next, next = then) {
    kd__mm part = *g;
    const float *from = a + at.i * g->ars + at.p * g->aks, *bp = b + at.p * g->bks;
    float *cp = c + at.i * down;
    int64_t asked = t + 1 + carry, rest = blocks * ((at.k + KD__TICK - 1) / KD__TICK);
    part.k = at.k, part.add = g->add || at.p > 0;
    w.ahead[3] = (kd__stream){ 0 };
    then = NAME(after)(g, next, base, more, depth);
    if (asked < pieces) {
      const NAME(piece) *f = carry ? &then : &next;
      w.ahead[3] = NAME(next_rows)(g, a + f->i * g->ars + f->p * g->aks, f->rows, f->k, rest);
    } else if (asked == pieces) w.ahead[3] = NAME(next_rows)(g, a + g->k * g->aks, g->m < ROWS ? g->m : ROWS, left < depth ? left : depth, rest);
    if (copy) {
      float *to = near + (carry ? t % 2 : 0) * NAME(NEAR);
      if (!carry || t == 0) NAME(bring)(g, at, from, to);
      from = to, part.ars = g->aks == 1 ? NAME(NEAR_ROW) : 1, part.aks = g->aks == 1 ? 1 : ROWS;
      if (carry && t + 1 < pieces) w.carry = NAME(bringing)(g, next, a + next.i * g->ars + next.p * g->aks, near + (t + 1) % 2 * NAME(NEAR), rest);
    }
    for (int64_t j = 0; j < g->n; j += KD__PANEL, bp += g->bps, cp += across) {
      bool beside = j + 2 * KD__PANEL <= g->n, below = !beside && t + 1 < pieces && next.p == 0;
      if (!g->turned && (beside || below))
        w.ahead[4] = (kd__stream){ .at = beside ? cp + KD__PANEL : c + next.i * down, .left = next.rows, .on = down, .each = (next.rows + ticks - 1) / ticks };
      NAME(rows)(&part, at.rows, g->n - j < KD__PANEL ? g->n - j : KD__PANEL, from, bp, cp, &w);
    }
    NAME(carry)(&w.carry, w.carry.left);
  }
}
/* The last columns, where no more may be read: a panel of them with zeros. */
TARGET static void NAME(tail)(const kd__mm *g, int64_t n, const float *a, const float *b, float *c) {
  float tail[NAME(KC) * KD__PANEL] = { 0 };
  for (int64_t p = 0; p < g->k; p += NAME(KC)) {
    kd__mm part = *g;
    part.n = n, part.k = g->k - p < NAME(KC) ? g->k - p : NAME(KC), part.bks = KD__PANEL, part.add = g->add || p > 0;
    for (int64_t q = 0; q < part.k; q++)
      memcpy(tail + q * KD__PANEL, b + (p + q) * g->bks, (size_t)n * sizeof *tail);
    NAME(panels)(&part, 0, a + p * g->aks, tail, c);
  }
}
/* Terms whose panels of B stay in the second-level cache while many rows pass: so results are added to while they are near. Few rows: B comes from
 * far and is better asked for a part ahead; A's columns: it had better be read as it lies. */
INL int64_t NAME(deep)(const kd__mm *g, int64_t n) {
  if (g->turned || !n) return g->k;
  int64_t most = g->m < 16 * ROWS ? 0 : NAME(NEAR_B) / ((n + (g->ars == 1 ? g->m : 0)) * NAME(KC)) * NAME(KC);
  return most < NAME(KC) ? NAME(KC) : most;
}
TARGET static void NAME(mm)(const kd__mm *g, const float *a, const float *b, float *c) {
  int64_t whole = g->padded ? g->n : g->n / KD__PANEL * KD__PANEL, at = whole / KD__PANEL, depth = NAME(deep)(g, whole);
  for (int64_t p = 0; whole && p < g->k; p += depth) {
    kd__mm part = *g;
    part.n = whole, part.add = g->add || p > 0, part.k = g->k - p < depth ? g->k - p : depth;
    NAME(panels)(&part, g->k - p - part.k, a + p * g->aks, b + p * g->bks, c);
  }
  if (whole < g->n) NAME(tail)(g, g->n - whole, a, b + at * g->bps, c + at * KD__PANEL * (g->turned ? g->ldc : 1));
}

/* --- packing ------------------------------------------------------------------------------------------------------------------------- */
#if WIDTH_HERE == 16
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(x, y) __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif WIDTH_HERE == 8
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(x, y) __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LOW(x, y) __builtin_shufflevector(x, y, 0, 4, 1, 5)
#define HIGH(x, y) __builtin_shufflevector(x, y, 2, 6, 3, 7)
#endif
/* Each round interleaves rows i and i + WIDTH/2; after log2(WIDTH) rounds rows are columns. */
TARGET static void NAME(turn)(const float *from, int64_t step, float *to, int64_t to_step) {
  VEC r[WIDTH], q[WIDTH];
  UNROLLED
  for (int i = 0; i < WIDTH; i++) r[i] = LOAD(from + i * step);
  UNROLLED
  for (int n = 1; n < WIDTH; n *= 2) {
    UNROLLED
    for (int i = 0; i < WIDTH / 2; i++) q[2 * i] = LOW(r[i], r[i + WIDTH / 2]), q[2 * i + 1] = HIGH(r[i], r[i + WIDTH / 2]);
    UNROLLED
    for (int i = 0; i < WIDTH; i++) r[i] = q[i];
  }
  UNROLLED
  for (int i = 0; i < WIDTH; i++) STORE(to + i * to_step, r[i]);
}
#undef LOW
#undef HIGH
TARGET static void NAME(turn16)(const float *from, int64_t row, float *to, int64_t to_row) {
  for (int i = 0; i < 16; i += WIDTH)
    for (int j = 0; j < 16; j += WIDTH) NAME(turn)(from + i * row + j, row, to + j * to_row + i, to_row);
}
/* One panel of n columns; element (p,j) of B is b[p*row + j*col]. */
TARGET static void NAME(pack)(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, float *to) {
  int64_t p = 0;
  if (n < KD__PANEL) memset(to, 0, (size_t)(k * KD__PANEL) * sizeof *to);
  if (row == 1)
    for (; p + WIDTH <= k; p += WIDTH) {
      int64_t j = 0;
      for (; j + WIDTH <= n; j += WIDTH) NAME(turn)(b + p + j * col, col, to + p * KD__PANEL + j, KD__PANEL);
      for (; j < n; j++)
        for (int64_t q = p; q < p + WIDTH; q++) to[q * KD__PANEL + j] = b[q + j * col];
    }
  for (; p < k; p++) {
    if (col == 1 && n == KD__PANEL) memcpy(to + p * KD__PANEL, b + p * row, KD__PANEL * sizeof *to);
    else for (int64_t j = 0; j < n; j++) to[p * KD__PANEL + j] = b[p * row + j * col];
  }
}

/* Rows begin..end-1 left of the panel of the diagonal: what stands above it, exchanged. */
TARGET static void NAME(mirror)(int64_t begin, int64_t end, float *c, int64_t ldc) {
  for (int64_t i = begin, rows; i < end; i += rows) {
    rows = end - i < WIDTH ? end - i : WIDTH;
    for (int64_t j = 0; j < i / KD__PANEL * KD__PANEL; j += WIDTH) {
      if (rows == WIDTH) { NAME(turn)(c + j * ldc + i, ldc, c + i * ldc + j, ldc); continue; }
      for (int64_t r = i; r < end; r++)
        for (int64_t q = j; q < j + WIDTH; q++) c[r * ldc + q] = c[q * ldc + r];
    }
  }
}

#include "runtime/kernels/simd_wino.h"
#include "runtime/kernels/simd_stride.h"

#include "runtime/kernels/simd_dots.h"

#include "runtime/kernels/simd_direct.h"

static const kd__simd NAME(table) = { NAME(label), WIDTH, NAME(mm), NAME(dots), NAME(pack), NAME(turn16), NAME(mirror),
  { { NAME(wino_in), NAME(wino_grad), NAME(wino_out), NAME(wino_filter), NAME(wino_filter_grad) },
    { NAME(wino2_in), NAME(wino2_grad), NAME(wino2_out), NAME(wino2_filter), NAME(wino2_filter_grad) },
    { NAME(wino2_back_even), NULL, NAME(wino2_put_even), NAME(wino2_filter), NULL }, { NAME(wino2_back_odd), NULL, NAME(wino2_put_odd), NAME(wino2_filter), NULL } },
  NAME(direct), NAME(direct_sums) };
#undef VEC
#undef UVEC
#undef IVEC
#undef WIDTH
#undef ROWS
#undef INL
#undef LOAD
#undef STORE
