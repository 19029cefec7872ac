/* simd_body.h: the loops of simd.h; included once for each instruction set, with NAME and TARGET (no include guard for that reason).
 *
 * Winograd's F(4 x 4, 3 x 3): four by four results of a 3 x 3 window from a 6 x 6 piece of the map with 36 products in place of 144, as
 * A' [(G g G') . (B' x B)] A. The points are 0, 5/8, -5/8, 3/2, -3/2 and infinity: their powers are exact, and of the pairs that keep the transforms
 * short they lose least (a third of the error of the usual 1 and 2; tests/kernels holds it to what docs/kernels.md says). */
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

/* --- Winograd: the points are +-5/8 and +-3/2; A, B and G follow from them ---------------------------------------------------------------- */
#define P1 0.625f
#define P2 1.5f
#define SQ1 (P1 * P1)
#define SQ2 (P2 * P2)
#define N0 (1 / (SQ1 * SQ2))
#define N1 (1 / (2 * SQ1 * (SQ1 - SQ2)))
#define N2 (1 / (2 * SQ2 * (SQ2 - SQ1)))

/* One dimension: B' d (6 of 6), A g (6 of 4), A' m (4 of 6), G g (6 of 3), G' u (3 of 6). `s`, `r`: distances of operands and of results. */
INL void NAME(b6)(const VEC *d, int s, VEC *t, int r) {
  VEC d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
  VEC p = d4 - SQ2 * d2, q = P1 * d3 - P1 * SQ2 * d1, u = d4 - SQ1 * d2, v = P2 * d3 - P2 * SQ1 * d1;
  t[0] = SQ1 * SQ2 * d[0] + (d4 - (SQ1 + SQ2) * d2);
  t[r] = p + q, t[2 * r] = p - q, t[3 * r] = u + v, t[4 * r] = u - v;
  t[5 * r] = SQ1 * SQ2 * d1 + (d[5 * s] - (SQ1 + SQ2) * d3);
}
INL void NAME(a6)(const VEC *g, int s, VEC *t, int r) {
  VEC g0 = g[0], g1 = g[s], g2 = g[2 * s], g3 = g[3 * s];
  VEC p = g0 + SQ1 * g2, q = P1 * g1 + P1 * SQ1 * g3, u = g0 + SQ2 * g2, v = P2 * g1 + P2 * SQ2 * g3;
  t[0] = g0, t[r] = p + q, t[2 * r] = p - q, t[3 * r] = u + v, t[4 * r] = u - v, t[5 * r] = g3;
}
INL void NAME(a4)(const VEC *m, int s, VEC *t, int r) {
  VEC p = m[s] + m[2 * s], q = m[s] - m[2 * s], u = m[3 * s] + m[4 * s], v = m[3 * s] - m[4 * s];
  t[0] = m[0] + p + u, t[r] = P1 * q + P2 * v, t[2 * r] = SQ1 * p + SQ2 * u, t[3 * r] = (P1 * SQ1) * q + ((P2 * SQ2) * v + m[5 * s]);
}
INL void NAME(g6)(const VEC *g, int s, VEC *t, int r) {
  VEC g0 = g[0], g1 = g[s], g2 = g[2 * s];
  VEC p = N1 * g0 + (N1 * SQ1) * g2, u = N2 * g0 + (N2 * SQ2) * g2;
  t[0] = N0 * g0, t[r] = p + (N1 * P1) * g1, t[2 * r] = p - (N1 * P1) * g1, t[3 * r] = u + (N2 * P2) * g1, t[4 * r] = u - (N2 * P2) * g1, t[5 * r] = g2;
}
INL void NAME(g3)(const VEC *m, int s, VEC *t, int r) {
  VEC p = m[s] + m[2 * s], q = m[s] - m[2 * s], u = m[3 * s] + m[4 * s], v = m[3 * s] - m[4 * s];
  t[0] = N0 * m[0] + (N1 * p + N2 * u), t[r] = (N1 * P1) * q + (N2 * P2) * v, t[2 * r] = (N1 * SQ1) * p + ((N2 * SQ2) * u + m[5 * s]);
}

INL bool NAME(whole)(const kd__tile *t, int side) {
  return t->y0 >= 0 && t->x0 >= 0 && t->y0 + side <= t->height && t->x0 + side <= t->width;
}
/* Where the places of a tile begin, and how much further the next channels lie: outside of the map a place of zeros, and nothing. */
static const float NAME(zeros)[WIDTH];
INL void NAME(places)(const kd__tile *t, const float *map, int side, const float **at, int64_t *step) {
  for (int i = 0; i < side; i++)
    for (int j = 0; j < side; j++) {
      int64_t y = t->y0 + i, x = t->x0 + j;
      bool in = y >= 0 && x >= 0 && y < t->height && x < t->width;
      at[i * side + j] = in ? map + (y * t->width + x) * t->c : NAME(zeros);
      step[i * side + j] = in;
    }
}
/* Both dimensions of a tile of side * side vectors, to the 36 rows. */
#define SPREAD(STEP, side) \
  const float *place[side * side]; \
  int64_t step[side * side]; \
  bool whole = NAME(whole)(t, side); \
  if (!whole) NAME(places)(t, map, side, place, step); \
  for (int64_t c = 0; c < t->c; c += WIDTH) { \
    VEC e[KD__TILE_IN * side], q[KD__TILE_IN]; \
    const float *at = map + (t->y0 * t->width + t->x0) * t->c + c; \
    UNROLLED \
    for (int j = 0; j < side; j++) { \
      VEC column[side]; \
      if (whole) for (int i = 0; i < side; i++) column[i] = LOAD(at + (i * t->width + j) * t->c); \
      else for (int i = 0; i < side; i++) column[i] = LOAD(place[i * side + j] + c * step[i * side + j]); \
      STEP(column, 1, e + j, side); \
    } \
    UNROLLED \
    for (int i = 0; i < KD__TILE_IN; i++) { \
      STEP(e + i * side, 1, q, 1); \
      for (int j = 0; j < KD__TILE_IN; j++) STORE(v + (i * KD__TILE_IN + j) * fs + c, q[j]); \
    } \
  }
TARGET static void NAME(wino_in)(const kd__tile *t, const float *map, float *v, int64_t fs) { SPREAD(NAME(b6), KD__TILE_IN) }
TARGET static void NAME(wino_grad)(const kd__tile *t, const float *map, float *v, int64_t fs) { SPREAD(NAME(a6), KD__TILE_OUT) }
#undef SPREAD

INL VEC NAME(finish)(VEC v, int64_t at, int64_t c, const kd__post *post) {
  if (post->bias) v += LOAD(post->bias + c);
  if (post->add) v += LOAD(post->add + at);
  if (post->relu) v = (VEC)((IVEC)v & ~(IVEC)(v < 0));                           /* what is no number stays none */
  return v;
}
TARGET static void NAME(wino_out)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    VEC e[KD__TILE_OUT * KD__TILE_IN], q[KD__TILE_IN];
    for (int j = 0; j < KD__TILE_IN; j++) {
      for (int i = 0; i < KD__TILE_IN; i++) q[i] = LOAD(v + (i * KD__TILE_IN + j) * fs + c);
      NAME(a4)(q, 1, e + j, KD__TILE_IN);
    }
    for (int i = 0; i < KD__TILE_OUT && t->y0 + i < t->height; i++) {
      NAME(a4)(e + i * KD__TILE_IN, 1, q, 1);
      for (int j = 0; j < KD__TILE_OUT && t->x0 + j < t->width; j++) {
        int64_t at = ((t->y0 + i) * t->width + t->x0 + j) * t->c + c;
        STORE(map + at, NAME(finish)(q[j], at, c, post));
      }
    }
  }
}

TARGET static void NAME(wino_filter)(const float *g, float *u, int64_t fs) {
  for (int l = 0; l < 16; l += WIDTH) {
    VEC d[9], e[18], q[KD__TILE_IN];
    for (int i = 0; i < 9; i++) d[i] = LOAD(g + i * 16 + l);
    for (int j = 0; j < 3; j++) NAME(g6)(d + j, 3, e + j, 3);
    for (int i = 0; i < KD__TILE_IN; i++) {
      NAME(g6)(e + i * 3, 1, q, 1);
      for (int j = 0; j < KD__TILE_IN; j++) STORE(u + (i * KD__TILE_IN + j) * fs + l, q[j]);
    }
  }
}
TARGET static void NAME(wino_filter_grad)(const float *u, int64_t fs, float *g) {
  for (int l = 0; l < 16; l += WIDTH) {
    VEC e[18], q[KD__TILE_IN];
    for (int j = 0; j < KD__TILE_IN; j++) {
      for (int i = 0; i < KD__TILE_IN; i++) q[i] = LOAD(u + (i * KD__TILE_IN + j) * fs + l);
      NAME(g3)(q, 1, e + j, KD__TILE_IN);
    }
    for (int i = 0; i < 3; i++) {
      NAME(g3)(e + i * KD__TILE_IN, 1, q, 1);
      for (int j = 0; j < 3; j++) STORE(g + (i * 3 + j) * 16 + l, q[j]);
    }
  }
}

static const kd__simd NAME(table) = { NAME(label), NAME(mm), NAME(pack), NAME(mirror), NAME(wino_in), NAME(wino_grad), NAME(wino_out), NAME(wino_filter), NAME(wino_filter_grad) };
#undef VEC
#undef UVEC
#undef IVEC
#undef WIDTH
#undef ROWS
#undef INL
#undef LOAD
#undef STORE
#undef P1
#undef P2
#undef SQ1
#undef SQ2
#undef N0
#undef N1
#undef N2
