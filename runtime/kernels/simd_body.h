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
/* Rows x 32 results (or their first half and then the other, where vectors are narrow): sums over one block of k. */
#define BLOCK(M) \
  TARGET static void NAME(block##M)(int64_t k, const float *a, int64_t ars, int64_t aks, const float *b, int64_t bks, float *c, int64_t ldc, bool add) { \
    for (int64_t j = 0; j < KD__PANEL; j += 2 * WIDTH) { \
      VEC acc[M][2]; \
      const float *ap = a, *bp = b + j; \
      UNROLLED \
      for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = (VEC){ 0 }; \
      for (int64_t p = 0; p < k; p++, ap += aks, bp += bks) { \
        VEC b0 = LOAD(bp), b1 = LOAD(bp + WIDTH); \
        UNROLLED \
        for (int i = 0; i < M; i++) { \
          float x = ap[i * ars]; \
          acc[i][0] += x * b0, acc[i][1] += x * b1; \
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
BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6)
typedef void (*NAME(block))(int64_t k, const float *a, int64_t ars, int64_t aks, const float *b, int64_t bks, float *c, int64_t ldc, bool add);
#if KD__SIMD_ROWS > 6
BLOCK(7) BLOCK(8) BLOCK(9) BLOCK(10) BLOCK(11) BLOCK(12) BLOCK(13) BLOCK(14)
#endif
static const NAME(block) NAME(blocks)[] = { NULL, NAME(block1), NAME(block2), NAME(block3), NAME(block4), NAME(block5), NAME(block6),
#if KD__SIMD_ROWS > 6
  NAME(block7), NAME(block8), NAME(block9), NAME(block10), NAME(block11), NAME(block12), NAME(block13), NAME(block14)
#endif
};
#undef BLOCK

enum { NAME(KC) = 256 };
/* Asks the caches for some of what is wanted next, while a block is computed. */
INL void NAME(fetch)(kd__ahead *w, int64_t rows) {
  for (; rows > 0 && w->rows > 0; rows--, w->rows--, w->at += w->step)
    for (int64_t l = 0; l < w->lines; l++) __builtin_prefetch(w->at + 16 * l, 0, 2);
}
/* `rows` rows of the panel at b, `n` of its columns, through a tile of their own where C has another form. */
TARGET static void NAME(rows)(const kd__mm *g, int64_t rows, int64_t n, const float *a, const float *b, float *c) {
  float tile[ROWS * KD__PANEL];
  bool direct = n == KD__PANEL && !g->turned;
  for (int64_t p = 0; p < g->k; p += NAME(KC)) {
    int64_t k = g->k - p < NAME(KC) ? g->k - p : NAME(KC);
    NAME(blocks)[rows](k, a + p * g->aks, g->ars, g->aks, b + p * g->bks, g->bks, direct ? c : tile, direct ? g->ldc : KD__PANEL,
                       direct ? g->add || p > 0 : p > 0);
  }
  if (direct) return;
  int64_t rs = g->turned ? 1 : g->ldc, cs = g->turned ? g->ldc : 1;
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < rows; i++) c[i * rs + j * cs] = tile[i * KD__PANEL + j] + (g->add ? c[i * rs + j * cs] : 0);
}
/* A block of rows of A as NEAR wants it: near itself. Rows or columns that lie a large power of two apart would meet in the same cache lines. */
TARGET static void NAME(bring)(const float *a, int64_t ars, int64_t aks, int64_t rows, int64_t k, float *near) {
  if (aks == 1)
    for (int64_t r = 0; r < rows; r++) memcpy(near + r * (NAME(KC) + 16), a + r * ars, (size_t)k * sizeof *near);
  else
    for (int64_t p = 0; p < k; p++, a += aks, near += ROWS) {
      if (rows < 8) memcpy(near, a, (size_t)rows * sizeof *near);
      else memcpy(near, a, 8 * sizeof *near), memcpy(near + rows - 8, a + rows - 8, 8 * sizeof *near);         /* two that overlap */
    }
}
/* The rows of A that follow, where they lie pages apart: the processor does not foresee that they will be read. */
INL kd__ahead NAME(next_rows)(const kd__mm *g, const float *a, int64_t rows) {
  int64_t step = g->aks == 1 ? g->ars : g->ars == 1 ? g->aks : 0;
  if (step < 4096) return (kd__ahead){ 0 };
  return g->aks == 1 ? (kd__ahead){ a, rows, step, (g->k + 15) / 16 } : (kd__ahead){ a, g->k, step, 1 };
}
/* All rows, in blocks of nearly equal size, by some panels. */
TARGET static void NAME(panels)(const kd__mm *g, const float *a, const float *b, float *c) {
  float near[ROWS * (NAME(KC) + 16)];
  kd__ahead then[2] = { g->then[0], g->then[1] };
  int64_t all = (g->m + ROWS - 1) / ROWS * ((g->n + KD__PANEL - 1) / KD__PANEL), each[2] = { (then[0].rows + all - 1) / all, (then[1].rows + all - 1) / all };
  int64_t parts = (g->m + ROWS - 1) / ROWS, next = KD__PANEL * (g->turned ? g->ldc : 1);
  bool copy = g->n > 2 * KD__PANEL && g->k <= NAME(KC) && (g->aks == 1 ? g->ars % 512 == 0 : g->ars == 1 && g->aks > KD__PANEL);
  for (int64_t q = 0, i = 0, rows; q < parts; q++, i += rows) {
    rows = (g->m - i + parts - q - 1) / (parts - q);
    kd__mm part = *g;
    const float *from = a + i * g->ars;
    if (copy) {
      NAME(bring)(from, g->ars, g->aks, rows, g->k, near);
      from = near, part.ars = g->aks == 1 ? NAME(KC) + 16 : 1, part.aks = g->aks == 1 ? 1 : ROWS;
    }
    kd__ahead more = q + 1 < parts ? NAME(next_rows)(g, a + (i + rows) * g->ars, rows) : (kd__ahead){ 0 };
    int64_t blocks = (g->n + KD__PANEL - 1) / KD__PANEL, share = (more.rows + blocks - 1) / blocks;
    const float *bp = b;
    float *cp = c + i * (g->turned ? 1 : g->ldc);
    for (int64_t j = 0; j < g->n; j += KD__PANEL, bp += g->bps, cp += next) {
      NAME(fetch)(&more, share), NAME(fetch)(&then[0], each[0]), NAME(fetch)(&then[1], each[1]);
      NAME(rows)(&part, rows, g->n - j < KD__PANEL ? g->n - j : KD__PANEL, from, bp, cp);
    }
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
    NAME(panels)(&part, a + p * g->aks, tail, c);
  }
}
TARGET static void NAME(mm)(const kd__mm *g, const float *a, const float *b, float *c) {
  int64_t whole = g->padded ? g->n : g->n / KD__PANEL * KD__PANEL, at = whole / KD__PANEL;
  for (int64_t p = 0; whole && p < g->k; p += g->turned ? g->k : NAME(KC)) {
    kd__mm part = *g;
    part.n = whole, part.add = g->add || p > 0;
    if (!g->turned) part.k = g->k - p < NAME(KC) ? g->k - p : NAME(KC);
    NAME(panels)(&part, a + p * g->aks, b + p * g->bks, c);
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

static const kd__simd NAME(table) = { NAME(label), NAME(mm), NAME(pack), NAME(mirror), NAME(wino_in), NAME(wino_grad), NAME(wino_out), NAME(wino_filter), NAME(wino_filter_grad) };
#undef VEC
#undef UVEC
#undef IVEC
#undef WIDTH
#undef ROWS
#undef INL
#undef LOAD
#undef STORE
