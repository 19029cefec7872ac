/* simd_dots.h: dot products of rows with rows, the terms of which lie side by side; a part of simd_body.h (no include guard for that reason).
 *
 * Sixteen results at a time, of four rows by four, each in sixteen partial sums: as terms are read as they lie, nothing is packed, and a triangle of
 * results is cut at four rows. A result is the same tree of the same sums for every instruction set that has multiply-adds. */
#if WIDTH_HERE == 16
#define GROUPS(x, y, a, b, c, d) \
  __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12)
#define OTHER 16
#elif WIDTH_HERE == 8
#define GROUPS(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4)
#define OTHER 8
#else
#define GROUPS(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d)
#define OTHER 4
#endif
/* In each group of four lanes: the sums of the four lanes of x, y, z and w. */
INL VEC NAME(sums)(VEC x, VEC y, VEC z, VEC w) {
  x = GROUPS(x, y, 0, OTHER, 1, OTHER + 1) + GROUPS(x, y, 2, OTHER + 2, 3, OTHER + 3);
  z = GROUPS(z, w, 0, OTHER, 1, OTHER + 1) + GROUPS(z, w, 2, OTHER + 2, 3, OTHER + 3);
  return GROUPS(x, z, 0, 1, OTHER, OTHER + 1) + GROUPS(x, z, 2, 3, OTHER + 2, OTHER + 3);
}
#undef GROUPS
#undef OTHER

/* Results of four rows by four, result (i,j) at to[4*i + j], of k terms. Row i begins at a + i*ars, but the rows from `rows` on are row 0 again. */
#if WIDTH_HERE == 16
#define ADD_UP(x, y) (__builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) + \
                      __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
INL void NAME(four)(int64_t k, const float *a, int64_t a1, int64_t a2, int64_t a3, const float *b, int64_t b1, int64_t b2, int64_t b3, float *to) {
  VEC s[16];
  UNROLLED
  for (int i = 0; i < 16; i++) s[i] = (VEC){ 0 };
  for (const float *end = a + k; a < end; a += WIDTH, b += WIDTH) {
    VEC y0 = LOAD(b), y1 = LOAD(b + b1), y2 = LOAD(b + b2), y3 = LOAD(b + b3), x = LOAD(a);
    s[0] += x * y0, s[1] += x * y1, s[2] += x * y2, s[3] += x * y3, x = LOAD(a + a1);
    s[4] += x * y0, s[5] += x * y1, s[6] += x * y2, s[7] += x * y3, x = LOAD(a + a2);
    s[8] += x * y0, s[9] += x * y1, s[10] += x * y2, s[11] += x * y3, x = LOAD(a + a3);
    s[12] += x * y0, s[13] += x * y1, s[14] += x * y2, s[15] += x * y3;
  }
  VEC q0 = NAME(sums)(s[0], s[1], s[2], s[3]), q1 = NAME(sums)(s[4], s[5], s[6], s[7]), q2 = NAME(sums)(s[8], s[9], s[10], s[11]);
  VEC q3 = NAME(sums)(s[12], s[13], s[14], s[15]);
  q0 = ADD_UP(q0, q1), q2 = ADD_UP(q2, q3);
  STORE(to, ADD_UP(q0, q2));
}
#undef ADD_UP
#else
/* A row after the other, as there are fewer registers; the lanes of one VEC at a time, in the order of the tree above. */
INL void NAME(four)(int64_t k, const float *a, int64_t a1, int64_t a2, int64_t a3, const float *b, int64_t b1, int64_t b2, int64_t b3, float *to) {
  enum { PER = 16 / WIDTH };
  const float *row[4] = { a, a + a1, a + a2, a + a3 };
  for (int i = 0; i < 4; i++, to += 4) {
    float part[4][4];                            /* sums of four lanes, for each result */
    for (int h = 0; h < PER; h++) {
      VEC s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
      for (int64_t p = h * WIDTH; p < k; p += 16) {
        VEC x = LOAD(row[i] + p);
        s0 += x * LOAD(b + p), s1 += x * LOAD(b + b1 + p), s2 += x * LOAD(b + b2 + p), s3 += x * LOAD(b + b3 + p);
      }
      STORE(part[h * WIDTH / 4], NAME(sums)(s0, s1, s2, s3));
    }
    for (int j = 0; j < 4; j++) to[j] = (part[0][j] + part[1][j]) + (part[2][j] + part[3][j]);
  }
}
#endif

#ifndef KD__QUAD
#define KD__QUAD
typedef float kd__quad __attribute__((vector_size(16)));
typedef float kd__quad_at __attribute__((vector_size(16), aligned(4), may_alias));
#endif
/* Asks for `lines` more of what is wanted next, line by line: all at once would be waited for. */
typedef struct NAME(asking) { kd__ahead of; int64_t line, each; } NAME(asking);
INL void NAME(ask)(NAME(asking) *w) {
  for (int64_t n = w->each; n > 0 && w->of.rows > 0; n--) {
    __builtin_prefetch(w->of.at + 16 * w->line, 0, 3);
    if (++w->line == w->of.lines) w->line = 0, w->of.at += w->of.step, w->of.rows--;
  }
}
/* Four rows of A, or fewer, by n of B. `both`: result (i,j) is also result (j,i). */
TARGET static void NAME(strip)(const kd__dots *g, int64_t rows, int64_t n, const float *a, const float *b, float *c, bool both, NAME(asking) *next) {
  int64_t a1 = rows > 1 ? g->ars : 0, a2 = rows > 2 ? 2 * g->ars : 0, a3 = rows > 3 ? 3 * g->ars : 0, brs = g->brs, ldc = g->ldc, k = g->k;
  float sums[16];
  bool add = g->add;
  int64_t j = 0;
  for (; rows == 4 && j + 4 <= n; j += 4, b += 4 * brs) {
    NAME(ask)(next);
    NAME(four)(k, a, a1, a2, a3, b, brs, 2 * brs, 3 * brs, sums);
    kd__quad q[4], t[4];
    UNROLLED
    for (int i = 0; i < 4; i++) {
      float *at = c + i * ldc + j;
      q[i] = *(const kd__quad_at *)(sums + 4 * i);
      if (add) q[i] += *(const kd__quad_at *)at;
      *(kd__quad_at *)at = q[i];
    }
    if (!both || j == 0) continue;
    for (int i = 0; i < 4; i += 2)
      t[i] = __builtin_shufflevector(q[i], q[i + 1], 0, 4, 1, 5), t[i + 1] = __builtin_shufflevector(q[i], q[i + 1], 2, 6, 3, 7);
    for (int i = 0; i < 2; i++) {
      *(kd__quad_at *)(c + (j + 2 * i) * ldc) = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 4, 5);
      *(kd__quad_at *)(c + (j + 2 * i + 1) * ldc) = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 6, 7);
    }
  }
  for (; j < n; j += 4, b += 4 * brs) {
    int64_t cols = n - j < 4 ? n - j : 4;
    NAME(four)(k, a, a1, a2, a3, b, cols > 1 ? brs : 0, cols > 2 ? 2 * brs : 0, cols > 3 ? 3 * brs : 0, sums);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t s = 0; s < cols; s++) {
        float *at = c + r * ldc + j + s, sum = add ? *at + sums[4 * r + s] : sums[4 * r + s];
        *at = sum;
        if (both && j) c[(j + s) * ldc + r] = sum;
      }
  }
}
TARGET static void NAME(dots)(const kd__dots *g, const float *a, const float *b, float *c) {
  int64_t up = (g->m + 3) / 4, across = (g->n + 3) / 4, squares = g->symmetric ? up * (up + 1) / 2 : up * across;
  NAME(asking) next = { g->then, 0, (g->then.rows * g->then.lines + squares - 1) / squares };
  for (int64_t i = 0; i < g->m; i += 4) {
    int64_t j = g->symmetric ? i : 0;
    NAME(strip)(g, g->m - i < 4 ? g->m - i : 4, g->n - j, a + i * g->ars, b + j * g->brs, c + i * g->ldc + j, g->symmetric, &next);
  }
}
