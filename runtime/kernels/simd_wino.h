/* simd_wino.h: the transforms of Winograd's convolutions, a part of simd_body.h (no include guard, as there).
 *
 * F(4 x 4, 3 x 3): four by four results of a 3 x 3 window from a 6 x 6 piece of the map with 36 products in place of 144, as
 * A' [(G g G') . (B' x B)] A. The points are 0, 5/8, -5/8, 3/2, -3/2 and infinity: their powers are exact, and of the pairs that keep the transforms
 * short they lose least (a third of the error of the usual 1 and 2; tests/kernels holds it to what docs/kernels.md says). */
#define P1 0.625f
#define P2 1.5f
#define SQ1 (P1 * P1)
#define SQ2 (P2 * P2)
#define N0 (1 / (SQ1 * SQ2))
#define N1 (1 / (2 * SQ1 * (SQ1 - SQ2)))
#define N2 (1 / (2 * SQ2 * (SQ2 - SQ1)))

/* One dimension: B' d (6 of 6; the first or the last three of them), A g (6 of 4), A' m (4 of 6), G g (6 of 3), G' u (3 of 6). `s`, `r`: distances of
 * operands and of results. */
INL void NAME(b6_low)(const VEC *d, int s, VEC *t, int r) {
  VEC d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
  VEC p = d4 - SQ2 * d2, q = d3 - SQ2 * d1;
  t[0] = SQ1 * SQ2 * d[0] + (d4 - (SQ1 + SQ2) * d2), t[r] = p + P1 * q, t[2 * r] = p - P1 * q;
}
INL void NAME(b6_high)(const VEC *d, int s, VEC *t, int r) {
  VEC d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
  VEC u = d4 - SQ1 * d2, v = d3 - SQ1 * d1;
  t[0] = u + P2 * v, t[r] = u - P2 * v, t[2 * r] = SQ1 * SQ2 * d1 + (d[5 * s] - (SQ1 + SQ2) * d3);
}
INL void NAME(a6)(const VEC *g, int s, VEC *t, int r) {
  VEC g0 = g[0], g1 = g[s], g2 = g[2 * s], g3 = g[3 * s];
  VEC p = g0 + SQ1 * g2, q = g1 + SQ1 * g3, u = g0 + SQ2 * g2, v = g1 + SQ2 * g3;
  t[0] = g0, t[r] = p + P1 * q, t[2 * r] = p - P1 * q, t[3 * r] = u + P2 * v, t[4 * r] = u - P2 * v, t[5 * r] = g3;
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
/* Where the places of a tile begin, and which bits of a channel's number count there: outside of the map a place of zeros, and none. */
static const float NAME(zeros)[WIDTH];
INL void NAME(places)(const kd__tile *t, const float *map, int side, const float **at, int64_t *bits) {
  for (int i = 0; i < side; i++)
    for (int j = 0; j < side; j++) {
      int64_t y = t->y0 + i, x = t->x0 + j, in = -(int64_t)((y >= 0) & (x >= 0) & (y < t->height) & (x < t->width));
      at[i * side + j] = in ? map + (y * t->width + x) * t->c : NAME(zeros);
      bits[i * side + j] = in;
    }
}
/* Places that lie a step apart, in an order of its own for each count: two addresses serve all, where a compiler would keep as many as there are
 * places, and read them from the stack. */
INL void NAME(line_load)(const float *p, int64_t step, int n, VEC *to) {
  const float *q = p + step;
  __asm__("" : "+r"(p), "+r"(q));
  UNROLLED
  for (int i = 0; i < n; i++) to[i] = LOAD((i % 2 ? q : p) + i / 2 * 2 * step);
}
INL void NAME(line_store)(float *p, int64_t step, int n, const VEC *from) {
  float *q = p + step;
  __asm__("" : "+r"(p), "+r"(q));
  UNROLLED
  for (int i = 0; i < n; i++) STORE((i % 2 ? q : p) + i / 2 * 2 * step, from[i]);
}
/* Row i of a tile at channel c. */
#define ROW(side, i) \
  VEC row[side]; \
  if (whole) NAME(line_load)(map + ((t->y0 + i) * t->width + t->x0) * t->c + c, t->c, side, row); \
  else \
    UNROLLED \
    for (int j = 0; j < side; j++) row[j] = LOAD(place[i * side + j] + (c & bits[i * side + j]));
/* Three of the six columns of a transformed 6 x 6 tile: so many fit in registers. */
#define HALF(STEP, column) { \
    VEC e[3 * KD__TILE_IN], q[KD__TILE_IN]; \
    UNROLLED \
    for (int i = 0; i < KD__TILE_IN; i++) { ROW(KD__TILE_IN, i) STEP(row, 1, e + i * 3, 1); } \
    UNROLLED \
    for (int j = 0; j < 3; j++) { \
      NAME(b6_low)(e + j, 3, q, 1), NAME(b6_high)(e + j, 3, q + 3, 1); \
      NAME(line_store)(v + (column + j) * fs + c, KD__TILE_IN * fs, KD__TILE_IN, q); \
    } \
  }
INL void NAME(in_tile)(const kd__tile *t, const float *map, const float **place, const int64_t *bits, bool whole, float *v, int64_t fs) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    HALF(NAME(b6_low), 0)
    HALF(NAME(b6_high), 3)
  }
}
TARGET static void NAME(wino_in)(const kd__tile *t, const float *map, float *v, int64_t fs) {
  const float *place[KD__FREQ];
  int64_t bits[KD__FREQ];
  if (NAME(whole)(t, KD__TILE_IN)) { NAME(in_tile)(t, map, NULL, NULL, true, v, fs); return; }
  NAME(places)(t, map, KD__TILE_IN, place, bits);
  NAME(in_tile)(t, map, place, bits, false, v, fs);
}
INL void NAME(grad_tile)(const kd__tile *t, const float *map, const float **place, const int64_t *bits, bool whole, float *v, int64_t fs) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    VEC e[KD__TILE_IN * KD__TILE_OUT], q[KD__TILE_IN];
    UNROLLED
    for (int i = 0; i < KD__TILE_OUT; i++) { ROW(KD__TILE_OUT, i) NAME(a6)(row, 1, e + i * KD__TILE_IN, 1); }
    UNROLLED
    for (int j = 0; j < KD__TILE_IN; j++) {
      NAME(a6)(e + j, KD__TILE_IN, q, 1);
      NAME(line_store)(v + j * fs + c, KD__TILE_IN * fs, KD__TILE_IN, q);
    }
  }
}
TARGET static void NAME(wino_grad)(const kd__tile *t, const float *map, float *v, int64_t fs) {
  const float *place[KD__TILE_OUT * KD__TILE_OUT];
  int64_t bits[KD__TILE_OUT * KD__TILE_OUT];
  if (NAME(whole)(t, KD__TILE_OUT)) { NAME(grad_tile)(t, map, NULL, NULL, true, v, fs); return; }
  NAME(places)(t, map, KD__TILE_OUT, place, bits);
  NAME(grad_tile)(t, map, place, bits, false, v, fs);
}
#undef ROW
#undef HALF

INL VEC NAME(finish)(VEC v, int64_t at, int64_t c, const kd__post *post) {
  if (post->bias) v += LOAD(post->bias + c);
  if (post->add) v += LOAD(post->add + at);
  if (post->relu) v = (VEC)((IVEC)v & ~(IVEC)(v < 0));                           /* what is no number stays none */
  return v;
}
INL void NAME(out_tile)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post, bool whole) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    VEC e[KD__TILE_OUT * KD__TILE_IN], q[KD__TILE_IN];
    UNROLLED
    for (int j = 0; j < KD__TILE_IN; j++) {
      NAME(line_load)(v + j * fs + c, KD__TILE_IN * fs, KD__TILE_IN, q);
      NAME(a4)(q, 1, e + j, KD__TILE_IN);
    }
    UNROLLED
    for (int i = 0; i < KD__TILE_OUT; i++) {
      if (!whole && t->y0 + i >= t->height) break;
      NAME(a4)(e + i * KD__TILE_IN, 1, q, 1);
      int64_t at = ((t->y0 + i) * t->width + t->x0) * t->c + c;
      UNROLLED
      for (int j = 0; j < KD__TILE_OUT; j++, at += t->c)
        if (whole || t->x0 + j < t->width) STORE(map + at, NAME(finish)(q[j], at, c, post));
    }
  }
}
TARGET static void NAME(wino_out)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post) {
  static const kd__post none = { 0 };
  bool plain = !post->bias && !post->add && !post->relu;
  if (!NAME(whole)(t, KD__TILE_OUT)) NAME(out_tile)(t, map, v, fs, post, false);
  else if (plain) NAME(out_tile)(t, map, v, fs, &none, true);
  else NAME(out_tile)(t, map, v, fs, post, true);
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
#undef P1
#undef P2
#undef SQ1
#undef SQ2
#undef N0
#undef N1
#undef N2
