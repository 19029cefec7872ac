/* test_simd.c: the loops of simd.h for every instruction set that this processor has, against plain sums in double precision; the sets with fused
 * multiply-add also against each other, bit for bit. */
#include "runtime/kernels/simd.h"
#include "tests/kernels/call.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <cmocka.h>

static float *numbers(int64_t n, uint64_t *state) {
  float *v = malloc((size_t)(n + 64) * sizeof *v);
  assert_non_null(v);
  for (int64_t i = 0; i < n + 64; i++) v[i] = (float)(t_uniform(state) * 2 - 1);
  return v;
}

typedef struct shape { int64_t m, n, k; } shape;
/* how: bit 0 A by columns, 1 B packed, 2 B by columns and packed, 3 added, 4 turned, 5 rows of A a power of two apart. */
static void product(const kd__simd *s, shape z, int how, float **result) {
  uint64_t state = 7;
  bool by_columns = how & 1, packed = how & 6, b_columns = how & 4, turned = how & 16;
  int64_t panels = (z.n + KD__PANEL - 1) / KD__PANEL, lda = how & 32 ? 1024 : (by_columns ? z.m : z.k) + 3, ldb = (b_columns ? z.k : z.n) + 2, ldc = (turned ? z.m : z.n) + 1;
  float *a = numbers(lda * (by_columns ? z.k : z.m), &state), *b = numbers(ldb * (b_columns ? z.n : z.k), &state);
  float *c = numbers(ldc * (turned ? z.n : z.m), &state), *before = malloc((size_t)(ldc * (turned ? z.n : z.m) + 64) * sizeof *before);
  float *panel = numbers(panels * KD__PANEL * z.k, &state);
  memcpy(before, c, (size_t)(ldc * (turned ? z.n : z.m) + 64) * sizeof *before);
  kd__mm g = { .m = z.m, .n = z.n, .k = z.k, .ars = by_columns ? 1 : lda, .aks = by_columns ? lda : 1, .bps = KD__PANEL, .bks = ldb, .ldc = ldc, .add = how & 8, .turned = turned };
  if (packed) {
    for (int64_t j = 0; j < panels; j++) {
      int64_t n = z.n - j * KD__PANEL < KD__PANEL ? z.n - j * KD__PANEL : KD__PANEL, row = b_columns ? 1 : ldb, col = b_columns ? ldb : 1;
      s->pack(z.k, n, b + j * KD__PANEL * col, row, col, panel + j * KD__PANEL * z.k);
    }
    g.bps = KD__PANEL * z.k, g.bks = KD__PANEL, g.padded = true;
  }
  s->mm(&g, a, packed ? panel : b, c);
  for (int64_t i = 0; i < (turned ? z.n : z.m); i++)
    for (int64_t j = 0; j < ldc + (i + 1 == (turned ? z.n : z.m) ? 64 : 0); j++) {
      float got = c[i * ldc + j], was = before[i * ldc + j];
      if (j >= (turned ? z.m : z.n)) { assert_true(memcmp(&got, &was, sizeof got) == 0); continue; }
      int64_t row = turned ? j : i, col = turned ? i : j;
      double want = how & 8 ? was : 0, size = fabs(want);
      for (int64_t p = 0; p < z.k; p++) {
        double t = (double)a[by_columns ? p * lda + row : row * lda + p] * b[b_columns ? col * ldb + p : p * ldb + col];
        want += t, size += fabs(t);
      }
      if (fabs(got - want) > 4e-7 * size) fail_msg("%s %lldx%lldx%lld how %d: %g for %g at %lld,%lld", s->name, (long long)z.m, (long long)z.n, (long long)z.k, how, got, want, (long long)row, (long long)col);
    }
  free(a), free(b), free(panel), free(before);
  *result = c;
}

static void products(void **state) {
  static const shape shapes[] = { { 1, 1, 1 }, { 14, 32, 9 }, { 15, 33, 17 }, { 29, 31, 256 }, { 5, 70, 257 }, { 43, 101, 600 }, { 3, 64, 1024 }, { 30, 130, 512 }, { 13, 96, 40 } };
  (void)state;
  for (size_t q = 0; q < sizeof shapes / sizeof *shapes; q++)
    for (int how = 0; how < 64; how++) {
      float *first = NULL, *c;
      size_t n = (size_t)((how & 16 ? shapes[q].m + 1 : shapes[q].n + 1) * (how & 16 ? shapes[q].n : shapes[q].m));
      for (int i = 0; kd__simd_nth(i); i++) {
        product(kd__simd_nth(i), shapes[q], how, &c);
        if (first && strcmp(kd__simd_nth(i)->name, "base") != 0) assert_memory_equal(first, c, n * sizeof *c);
        if (first) free(c);
        else first = c;
      }
      free(first);
    }
}

/* Rows with rows: sums of a's and b's, of a's with a's; set and added. */
static void dots(void **state) {
  static const shape shapes[] = { { 4, 4, 16 }, { 1, 3, 32 }, { 7, 13, 48 }, { 32, 32, 256 }, { 30, 30, 112 }, { 9, 9, 16 } };
  (void)state;
  for (size_t q = 0; q < sizeof shapes / sizeof *shapes; q++)
    for (int how = 0; how < 4; how++) {
      shape z = shapes[q];
      bool add = how & 1, symmetric = how & 2;
      int64_t n = symmetric ? z.m : z.n, lda = z.k + 3, ldb = symmetric ? lda : z.k + 1, ldc = n + 2;
      float *first = NULL;
      for (int i = 0; kd__simd_nth(i); i++) {
        const kd__simd *s = kd__simd_nth(i);
        uint64_t seed = 5;
        float *a = numbers(lda * z.m, &seed), *other = numbers(ldb * n, &seed), *b = symmetric ? a : other, *c = numbers(ldc * z.m, &seed), *was = numbers(ldc * z.m, &seed);
        if (symmetric)
          for (int64_t r = 0; r < n; r++)
            for (int64_t j = 0; j < r; j++) c[r * ldc + j] = c[j * ldc + r];
        memcpy(was, c, (size_t)(ldc * z.m + 64) * sizeof *was);
        s->dots(&(kd__dots){ .m = z.m, .n = n, .k = z.k, .ars = lda, .brs = ldb, .ldc = ldc, .add = add, .symmetric = symmetric, .then = { a, z.m, lda, 1 } }, a, b, c);
        for (int64_t at = 0; at < ldc * z.m + 64; at++) {
          int64_t row = at / ldc, col = at % ldc;
          if (row >= z.m || col >= n) { assert_true(memcmp(c + at, was + at, sizeof *c) == 0); continue; }
          double want = add ? was[at] : 0, size = fabs(want);
          for (int64_t p = 0; p < z.k; p++) want += (double)a[row * lda + p] * b[col * ldb + p], size += fabs((double)a[row * lda + p] * b[col * ldb + p]);
          if (fabs(c[at] - want) > 4e-7 * size) fail_msg("%s %lldx%lldx%lld how %d: %g for %g at %lld,%lld", s->name, (long long)z.m, (long long)n, (long long)z.k, how, c[at], want, (long long)row, (long long)col);
          if (symmetric) assert_true(c[at] == c[col * ldc + row]);
        }
        if (first && strcmp(s->name, "base") != 0) assert_memory_equal(first, c, (size_t)(ldc * z.m) * sizeof *c);
        free(a), free(other), free(was);
        if (first) free(c);
        else first = c;
      }
      free(first);
    }
}

/* Bits, not numbers: what is no number comes through as it is. */
static void turns(void **state) {
  enum { ROW = 21, TO = 19 };
  uint32_t from[16 * ROW], to[16 * TO];
  (void)state;
  for (int i = 0; i < 16 * ROW; i++) from[i] = 0x7f800000u + (uint32_t)i * 2654435761u;
  for (int s = 0; kd__simd_nth(s); s++) {
    memset(to, 0x5a, sizeof to);
    kd__simd_nth(s)->turn16((const float *)(const void *)from, ROW, (float *)(void *)to, TO);
    for (int j = 0; j < 16; j++)
      for (int i = 0; i < TO && j * TO + i < 15 * TO + 16; i++) assert_true(to[j * TO + i] == (i < 16 ? from[i * ROW + j] : 0x5a5a5a5au));
  }
}

static void mirrors(void **state) {
  enum { MOST = 101, LD = MOST + 2 };
  static float c[MOST * LD], was[MOST * LD];
  (void)state;
  for (int i = 0; kd__simd_nth(i); i++)
    for (int64_t n = 1; n <= MOST; n += 20) {
      for (int64_t q = 0; q < MOST * LD; q++) was[q] = c[q] = (float)(q * 37 % 1009);
      for (int64_t at = 0; at < n; at += KD__PANEL) kd__simd_nth(i)->mirror(at, at + KD__PANEL < n ? at + KD__PANEL : n, c, LD);
      for (int64_t q = 0; q < MOST * LD; q++) {
        int64_t row = q / LD, col = q % LD;
        bool below = row < n && col < row / KD__PANEL * KD__PANEL;
        assert_true(c[q] == (below ? was[col * LD + row] : was[q]));
      }
    }
}

enum { C = 16, SIDE = 7 };
/* One tile of a 3 x 3 window over one channel of sixteen: through the transforms, with bias, residual and relu, and its weight gradient. */
static void tile(const kd__simd *s, int64_t y0, int64_t x0, float *out, float *grad) {
  uint64_t state = 3;
  float *x = numbers(SIDE * SIDE * C, &state), *g = numbers(9 * C, &state), *add = numbers(SIDE * SIDE * C, &state), *bias = numbers(C, &state), *dy = numbers(SIDE * SIDE * C, &state);
  float v[KD__FREQ * C], u[KD__FREQ * C], w[KD__FREQ * C];
  kd__tile in = { y0 - 1, x0 - 1, SIDE, SIDE, C }, to = { y0, x0, SIDE, SIDE, C };
  s->wino[0].in(&in, x, v, C), s->wino[0].filter(g, u, C), s->wino[0].grad(&to, dy, w, C);
  for (int i = 0; i < KD__FREQ * C; i++) w[i] *= v[i], v[i] *= u[i];             /* channel by channel */
  s->wino[0].out(&to, out, v, C, &(kd__post){ bias, add, true });
  s->wino[0].filter_grad(w, C, grad);
  for (int64_t i = y0; i < y0 + 4 && i < SIDE; i++)
    for (int64_t j = x0; j < x0 + 4 && j < SIDE; j++)
      for (int c = 0; c < C; c++) {
        double want = bias[c] + add[(i * SIDE + j) * C + c];
        for (int a = 0; a < 9; a++) {
          int64_t yy = i + a / 3 - 1, xx = j + a % 3 - 1;
          if (yy >= 0 && xx >= 0 && yy < SIDE && xx < SIDE) want += (double)g[a * C + c] * x[(yy * SIDE + xx) * C + c];
        }
        assert_float_equal(out[(i * SIDE + j) * C + c], want < 0 ? 0 : want, 5e-6);
      }
  for (int a = 0; a < 9; a++)
    for (int c = 0; c < C; c++) {
      double want = 0;
      for (int64_t i = y0; i < y0 + 4 && i < SIDE; i++)
        for (int64_t j = x0; j < x0 + 4 && j < SIDE; j++) {
          int64_t yy = i + a / 3 - 1, xx = j + a % 3 - 1;
          if (yy >= 0 && xx >= 0 && yy < SIDE && xx < SIDE) want += (double)dy[(i * SIDE + j) * C + c] * x[(yy * SIDE + xx) * C + c];
        }
      assert_float_equal(grad[a * C + c], want, 1e-5);
    }
  free(x), free(g), free(add), free(bias), free(dy);
}
static void tiles(void **state) {
  (void)state;
  for (int64_t y = 0; y < SIDE; y += 4)
    for (int64_t x = 0; x < SIDE; x += 4) {
      static float out[2][SIDE * SIDE * C], grad[2][9 * C];
      for (int i = 0; kd__simd_nth(i); i++) {
        memset(out[i > 0], 0, sizeof out[0]);
        tile(kd__simd_nth(i), y, x, out[i > 0], grad[i > 0]);
        if (i == 0 || strcmp(kd__simd_nth(i)->name, "base") == 0) continue;
        assert_memory_equal(out[1], out[0], sizeof out[0]);
        assert_memory_equal(grad[1], grad[0], sizeof grad[0]);
      }
    }
}

/* The same of a 3 x 3 window with stride 2: 4 x 4 results from 9 x 9 values; and of its gradient of the map, 8 x 8 from 5 x 5. Which values meet in
 * which product is said at pair_up in wino.c. */
enum { BIG = 2 * SIDE - 1, HALF_IN = 9, HALF_OUT = 7 };
static const int half_taps[HALF_IN] = { 0, 1, 2, 3, 4, 5, 5, 5, 5 }, slots[HALF_IN] = { 0, 1, 2, 3, 4, 0, 5, 6, 4 };
typedef struct half { float *x, *g, *turned, *dy, *add, *more, *bias; } half;
static void half_make(half *h) {
  uint64_t state = 11;
  *h = (half){ numbers(BIG * BIG * C, &state), numbers(9 * C, &state), numbers(9 * C, &state), numbers(SIDE * SIDE * C, &state), numbers(SIDE * SIDE * C, &state),
               numbers(BIG * BIG * C, &state), numbers(C, &state) };
  for (int a = 0; a < 9; a++) memcpy(h->turned + (8 - a) * C, h->g + a * C, C * sizeof *h->g);
}
static void half_free(half *h) { free(h->x), free(h->g), free(h->turned), free(h->dy), free(h->add), free(h->more), free(h->bias); }

static void half_compute(const kd__simd *s, const half *h, int64_t y0, int64_t x0, int pad, float *out, float *grad, float *dx) {
  float v[HALF_IN * HALF_IN * C], w[HALF_OUT * HALF_OUT * C], m[HALF_OUT * HALF_OUT * C] = { 0 }, u[KD__FREQ * C], du[KD__FREQ * C] = { 0 };
  const kd__wino_steps *on = &s->wino[KD__WINO_HALF], *back = &s->wino[pad & 1 ? KD__WINO_BACK_ODD : KD__WINO_BACK_EVEN];
  int64_t off = pad & 1 ? -(pad / 2) : 1 - pad / 2;
  kd__tile in = { 2 * y0 - pad, 2 * x0 - pad, BIG, BIG, C }, to = { y0, x0, SIDE, SIDE, C }, from = { y0 - off, x0 - off, SIDE, SIDE, C }, dest = { 2 * y0, 2 * x0, BIG, BIG, C };
  on->in(&in, h->x, v, C), on->filter(h->g, u, C), on->grad(&to, h->dy, w, C);
  for (int i = 0; i < HALF_IN * HALF_IN; i++)
    for (int c = 0; c < C; c++) {
      int at = (slots[i / HALF_IN] * HALF_OUT + slots[i % HALF_IN]) * C + c, f = (half_taps[i / HALF_IN] * KD__TILE_IN + half_taps[i % HALF_IN]) * C + c;
      m[at] += v[i * C + c] * u[f], du[f] += v[i * C + c] * w[at];
    }
  on->out(&to, out, m, C, &(kd__post){ h->bias, h->add, true }), on->filter_grad(du, C, grad);
  back->in(&from, h->dy, v, C), back->filter(h->turned, u, C);
  for (int i = 0; i < HALF_IN * HALF_IN * C; i++) v[i] *= u[(half_taps[i / C / HALF_IN] * KD__TILE_IN + half_taps[i / C % HALF_IN]) * C + i % C];
  back->out(&dest, dx, v, C, &(kd__post){ h->bias, h->more, true });
}

static bool inside(int64_t y, int64_t x, int64_t side) { return y >= 0 && x >= 0 && y < side && x < side; }
static void half_check(const half *h, int64_t y0, int64_t x0, int pad, const float *out, const float *grad, const float *dx) {
  double dw[9 * C] = { 0 };
  for (int64_t i = y0; i < y0 + 4 && i < SIDE; i++)
    for (int64_t j = x0; j < x0 + 4 && j < SIDE; j++)
      for (int c = 0; c < C; c++) {
        double want = h->bias[c] + h->add[(i * SIDE + j) * C + c];
        for (int a = 0; a < 9; a++) {
          int64_t y = 2 * i + a / 3 - pad, x = 2 * j + a % 3 - pad;
          if (!inside(y, x, BIG)) continue;
          want += (double)h->g[a * C + c] * h->x[(y * BIG + x) * C + c], dw[a * C + c] += (double)h->dy[(i * SIDE + j) * C + c] * h->x[(y * BIG + x) * C + c];
        }
        assert_float_equal(out[(i * SIDE + j) * C + c], want < 0 ? 0 : want, 5e-6);
      }
  for (int a = 0; a < 9 * C; a++) assert_float_equal(grad[a], dw[a], 1e-5);
  for (int64_t i = 0; i < BIG; i++)
    for (int64_t j = 0; j < BIG; j++)
      for (int c = 0; c < C; c++) {
        bool mine = i >= 2 * y0 && j >= 2 * x0 && i < 2 * y0 + 8 && j < 2 * x0 + 8;
        double want = h->bias[c] + h->more[(i * BIG + j) * C + c];
        for (int a = 0; a < 9; a++) {
          int64_t y = i + pad - a / 3, x = j + pad - a % 3;
          if (y % 2 == 0 && x % 2 == 0 && inside(y / 2, x / 2, SIDE) && y >= 0 && x >= 0) want += (double)h->g[a * C + c] * h->dy[(y / 2 * SIDE + x / 2) * C + c];
        }
        assert_float_equal(dx[(i * BIG + j) * C + c], !mine || want < 0 ? 0 : want, 5e-6);
      }
}
static void half_tiles(void **state) {
  static float out[2][SIDE * SIDE * C], grad[2][9 * C], dx[2][BIG * BIG * C];
  half h;
  (void)state;
  half_make(&h);
  for (int which = 0; which < 12; which++) {
    int64_t y0 = which / 2 % 2 * 4, x0 = which % 2 * 4;
    for (int i = 0; kd__simd_nth(i); i++) {
      int k = i > 0;
      memset(out[k], 0, sizeof out[k]), memset(dx[k], 0, sizeof dx[k]);
      half_compute(kd__simd_nth(i), &h, y0, x0, which / 4, out[k], grad[k], dx[k]);
      half_check(&h, y0, x0, which / 4, out[k], grad[k], dx[k]);
      if (i == 0 || strcmp(kd__simd_nth(i)->name, "base") == 0) continue;
      assert_memory_equal(out[1], out[0], sizeof out[0]);
      assert_memory_equal(grad[1], grad[0], sizeof grad[0]);
      assert_memory_equal(dx[1], dx[0], sizeof dx[0]);
    }
  }
  half_free(&h);
}

/* What is no number stays none. */
static void relu_keeps_nan(void **state) {
  (void)state;
  for (int i = 0; kd__simd_nth(i); i++) {
    float v[KD__FREQ * C] = { 0 }, y[16 * C];
    v[0] = NAN, v[1] = -1, v[2] = 1;
    kd__simd_nth(i)->wino[0].out(&(kd__tile){ 0, 0, 4, 4, C }, y, v, C, &(kd__post){ .relu = true });
    assert_true(isnan(y[0]));
    assert_true(y[1] == 0 && y[2] > 0);
  }
}

/* One row of a convolution of few channels, and sums over two rows: `rows` of the kernel's rows, from `first` on. */
typedef struct few { int64_t c, co, kh, kw, n, first, rows; } few;
static void direct(const kd__simd *s, few z, bool relu, float *y, float *sums) {
  uint64_t state = 11;
  bool pair = z.co <= 8;
  int64_t group = pair ? 2 : 1, lanes = s->width / group, vectors = (z.co + lanes - 1) / lanes, rs = z.n + z.kw - 1 + pair, cs = (z.kh + 1) * rs, taps = z.c * z.kh * z.kw;
  float *x = numbers(z.c * cs, &state), *f = numbers(z.co * taps, &state), *b = numbers(z.co, &state), *dy = numbers(2 * z.n * z.co, &state);          /* ... or read */
  float *w = calloc((size_t)(vectors * taps * s->width), sizeof *w), *bias = calloc((size_t)(vectors * s->width), sizeof *bias), *sum = calloc((size_t)(vectors * taps * s->width), sizeof *sum);
  float *out = numbers(z.n * z.co, &state);       /* with room for what is written beyond a row */
  for (int64_t l = 0; l < vectors * s->width; l++)
    for (int64_t t = 0; t < taps && l / group < z.co; t++)
      w[(l / s->width * taps + t) * s->width + l % s->width] = f[l / group * taps + t], bias[l] = b[l / group];
  kd__direct d = { .c = z.c, .kh = z.rows, .kw = z.kw, .cs = cs, .rs = rs, .rows = z.kh, .vs = taps * s->width, .n = z.n, .co = z.co, .height = 2, .pair = pair, .relu = relu };
  s->direct(&d, x + z.first * rs, w + z.first * z.kw * s->width, bias, out);
  d.kh = z.kh;
  if (z.kw == 3 || z.kw == 5 || z.kw == 7) s->direct_sums(&d, x, dy, sum);
  for (int64_t i = 0; i < z.n * z.co; i++) {
    int64_t o = i % z.co, at = i / z.co;
    double want = b[o], size = fabs(want);
    for (int64_t c = 0; c < z.c; c++)
      for (int64_t a = z.first; a < z.first + z.rows; a++)
        for (int64_t k = 0; k < z.kw; k++) {
          double t = (double)f[((o * z.c + c) * z.kh + a) * z.kw + k] * x[c * cs + a * rs + at + k];
          want += t, size += fabs(t);
        }
    if (fabs(out[i] - (relu && want < 0 ? 0 : want)) > 3e-7 * size) fail_msg("%s: %g for %g at place %lld, channel %lld of %lld", s->name, out[i], want, (long long)at, (long long)o, (long long)z.co);
    y[i] = out[i];
  }
  for (int64_t i = 0; i < z.co * taps; i++) {
    int64_t o = i / taps, t = i % taps, c = t / (z.kh * z.kw), a = t / z.kw % z.kh, k = t % z.kw;
    double want = 0, size = 0;
    for (int64_t q = 0; q < 2 * z.n; q++) {
      double term = (double)dy[q * z.co + o] * x[c * cs + (a + q / z.n) * rs + q % z.n + k];
      want += term, size += fabs(term);
    }
    const float *at = sum + (o / lanes * taps + t) * s->width + o % lanes * group;
    sums[i] = pair ? at[0] + at[1] : at[0];
    if ((z.kw == 3 || z.kw == 5 || z.kw == 7) && fabs(sums[i] - want) > 1e-6 * size + 1e-6) fail_msg("%s: sum %g for %g of channel %lld, term %lld", s->name, sums[i], want, (long long)o, (long long)t);
  }
  free(x), free(f), free(b), free(dy), free(w), free(bias), free(sum), free(out);
}
static void few_channels(void **state) {
  static const few shapes[] = { { 1, 6, 5, 5, 28, 0, 5 }, { 3, 16, 3, 3, 32, 0, 3 }, { 4, 20, 3, 3, 9, 1, 2 }, { 2, 1, 2, 4, 5, 0, 1 }, { 6, 33, 7, 7, 3, 2, 4 }, { 1, 8, 4, 3, 1, 0, 4 }, { 7, 5, 1, 7, 31, 0, 1 } };
  enum { MOST = 33 * 6 * 49 };
  static float y[2][MOST], sums[2][MOST];
  (void)state;
  for (size_t q = 0; q < sizeof shapes / sizeof *shapes; q++)
    for (int relu = 0; relu < 2; relu++)
      for (int i = 0; kd__simd_nth(i); i++) {
        few z = shapes[q];
        direct(kd__simd_nth(i), z, relu, y[i > 0], sums[i > 0]);
        if (i == 0 || strcmp(kd__simd_nth(i)->name, "base") == 0) continue;
        assert_memory_equal(y[1], y[0], (size_t)(z.n * z.co) * sizeof **y);
        assert_memory_equal(sums[1], sums[0], (size_t)(z.co * z.c * z.kh * z.kw) * sizeof **sums);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(products), cmocka_unit_test(dots), cmocka_unit_test(turns), cmocka_unit_test(mirrors), cmocka_unit_test(tiles), cmocka_unit_test(half_tiles),
                                      cmocka_unit_test(few_channels), cmocka_unit_test(relu_keeps_nan) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
