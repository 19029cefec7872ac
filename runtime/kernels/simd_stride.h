/* simd_stride.h: the transforms of Winograd's convolutions with stride 2, a part of simd_body.h (no include guard, as there).
 *
 * In one dimension, y_i = d_2i w0 + d_2i+1 w1 + d_2i+2 w2: a convolution of two taps over the even places and one of a single tap over the odd ones.
 * Four results of the first take 5 products by F(4,2), of the second 4: nine for twelve, and 81 for 144 in both dimensions, with 36 filters since the
 * single tap serves four places. A' m of both has 7 values, where 0 and infinity are points: these go to one result each, as odd places do. The
 * gradient of the map is the same from places of dy to even places (two taps) and odd ones. The points are 0, 3/4, -3/4, 2 and infinity; the errors
 * are those of F(4 x 4, 3 x 3) with its points or less. */
#define P 0.75f
#define Q 2.0f
#define PP (P * P)
#define QQ (Q * Q)
#define N0 (1 / (PP * Q))
#define N1 (1 / (2 * PP * (P - Q)))
#define N2 (-1 / (2 * PP * (P + Q)))
#define N3 (1 / (Q * (QQ - PP)))

/* One dimension: B' d (5 of 5), A' m of two taps (4 of 5) and of both (4 of 7), A g (7 of 4), G g (6 of 3), G' u (3 of 6). */
INL void NAME(b5)(const VEC *d, int s, VEC *t, int r) {
  VEC h1 = d[s] - Q * d[0], h2 = d[2 * s] - Q * d[s], h3 = d[3 * s] - Q * d[2 * s], h4 = d[4 * s] - Q * d[3 * s];
  t[0] = h3 - PP * h1, t[r] = h3 + P * h2, t[2 * r] = h3 - P * h2, t[3 * r] = d[3 * s] - PP * d[s], t[4 * r] = h4 - PP * h2;
}
INL void NAME(a5)(const VEC *m, VEC *t) {
  VEC p = m[1] + m[2], q = m[1] - m[2];
  t[0] = m[0] + p + m[3], t[1] = P * q + Q * m[3], t[2] = PP * p + QQ * m[3], t[3] = (P * PP) * q + ((Q * QQ) * m[3] + m[4]);
}
INL void NAME(a47)(const VEC *m, VEC *t, int r) {
  VEC p = m[1] + m[2], q = m[1] - m[2];
  t[0] = m[0] + p + m[3], t[r] = P * q + (Q * m[3] + m[5]), t[2 * r] = PP * p + (QQ * m[3] + m[6]), t[3 * r] = (P * PP) * q + ((Q * QQ) * m[3] + m[4]);
}
INL void NAME(a74)(const VEC *g, int s, VEC *t) {
  VEC g0 = g[0], g1 = g[s], g2 = g[2 * s], g3 = g[3 * s], u = g0 + PP * g2, v = g1 + PP * g3;
  t[0] = g0, t[1] = u + P * v, t[2] = u - P * v, t[3] = g0 + Q * (g1 + Q * (g2 + Q * g3)), t[4] = g3, t[5] = g1, t[6] = g2;
}
INL void NAME(g63)(const VEC *g, int s, VEC *t, int r) {
  VEC g0 = g[0], g2 = g[2 * s];
  t[0] = N0 * g0, t[r] = N1 * g0 + (N1 * P) * g2, t[2 * r] = N2 * g0 - (N2 * P) * g2, t[3 * r] = N3 * g0 + (N3 * Q) * g2, t[4 * r] = g2, t[5 * r] = g[s];
}
INL void NAME(g36)(const VEC *m, int s, VEC *t, int r) {
  t[0] = (N0 * m[0] + N1 * m[s]) + (N2 * m[2 * s] + N3 * m[3 * s]), t[r] = m[5 * s];
  t[2 * r] = ((N1 * P) * m[s] - (N2 * P) * m[2 * s]) + ((N3 * Q) * m[3 * s] + m[4 * s]);
}

enum { NAME(SIDE) = 9 };
/* A column of nine places, or of five of dy (`odd` as below), to its nine rows. */
INL void NAME(column9)(const VEC *e, int s, float *to, int64_t fs) {
  VEC q[9];
  NAME(b5)(e, 2 * s, q, 1);
  UNROLLED
  for (int k = 0; k < 4; k++) q[5 + k] = e[(2 * k + 1) * s];
  NAME(line_store)(to, 9 * fs, 9, q);
}
INL void NAME(column5)(const VEC *e, int s, int odd, float *to, int64_t fs) {
  VEC q[9];
  NAME(b5)(e, s, q, 1);
  UNROLLED
  for (int k = 0; k < 4; k++) q[5 + k] = e[(k + 1 - odd) * s];
  NAME(line_store)(to, 9 * fs, 9, q);
}
/* Values a and b of the five of each row of even places. */
INL void NAME(in_pair)(const kd__tile *t, const float *map, const float **place, const int64_t *bits, bool whole, float *v, int64_t fs, int64_t c, int a, int b) {
  VEC e[2 * NAME(SIDE)];
  UNROLLED
  for (int i = 0; i < NAME(SIDE); i++) {
    VEC d[5], q[5];
    if (whole) NAME(line_load)(map + ((t->y0 + i) * t->width + t->x0) * t->c + c, 2 * t->c, 5, d);
    else
      UNROLLED
      for (int j = 0; j < 5; j++) d[j] = LOAD(place[i * NAME(SIDE) + 2 * j] + (c & bits[i * NAME(SIDE) + 2 * j]));
    NAME(b5)(d, 1, q, 1);
    e[2 * i] = q[a], e[2 * i + 1] = q[b];
  }
  NAME(column9)(e, 2, v + a * fs + c, fs);
  if (b != a) NAME(column9)(e + 1, 2, v + b * fs + c, fs);
}
INL void NAME(in_tile2)(const kd__tile *t, const float *map, const float **place, const int64_t *bits, bool whole, float *v, int64_t fs) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    NAME(in_pair)(t, map, place, bits, whole, v, fs, c, 1, 2);
    NAME(in_pair)(t, map, place, bits, whole, v, fs, c, 0, 4);
    NAME(in_pair)(t, map, place, bits, whole, v, fs, c, 3, 3);
    for (int k = 0; k < 4; k++) {
      VEC e[NAME(SIDE)];
      if (whole) NAME(line_load)(map + (t->y0 * t->width + t->x0 + 2 * k + 1) * t->c + c, t->width * t->c, NAME(SIDE), e);
      else
        UNROLLED
        for (int i = 0; i < NAME(SIDE); i++) e[i] = LOAD(place[i * NAME(SIDE) + 2 * k + 1] + (c & bits[i * NAME(SIDE) + 2 * k + 1]));
      NAME(column9)(e, 1, v + (5 + k) * fs + c, fs);
    }
  }
}
TARGET static void NAME(wino2_in)(const kd__tile *t, const float *map, float *v, int64_t fs) {
  const float *place[NAME(SIDE) * NAME(SIDE)];
  int64_t bits[NAME(SIDE) * NAME(SIDE)];
  if (NAME(whole)(t, NAME(SIDE))) { NAME(in_tile2)(t, map, NULL, NULL, true, v, fs); return; }
  NAME(places)(t, map, NAME(SIDE), place, bits);
  NAME(in_tile2)(t, map, place, bits, false, v, fs);
}

/* `odd`: the tile's first place among results lies on an odd place of the padded map. */
INL void NAME(back_tile)(const kd__tile *t, const float *map, const float **place, const int64_t *bits, bool whole, int odd, float *v, int64_t fs) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    VEC e[25];
    UNROLLED
    for (int i = 0; i < 5; i++) {
      VEC d[5];
      if (whole) NAME(line_load)(map + ((t->y0 + i) * t->width + t->x0) * t->c + c, t->c, 5, d);
      else
        UNROLLED
        for (int j = 0; j < 5; j++) d[j] = LOAD(place[i * 5 + j] + (c & bits[i * 5 + j]));
      NAME(b5)(d, 1, e + i * 5, 1);
    }
    UNROLLED
    for (int j = 0; j < 5; j++) NAME(column5)(e + j, 5, odd, v + j * fs + c, fs);
    for (int k = 0; k < 4; k++) {
      VEC d[5];
      int j = k + 1 - odd;
      if (whole) NAME(line_load)(map + (t->y0 * t->width + t->x0 + j) * t->c + c, t->width * t->c, 5, d);
      else
        UNROLLED
        for (int i = 0; i < 5; i++) d[i] = LOAD(place[i * 5 + j] + (c & bits[i * 5 + j]));
      NAME(column5)(d, 1, odd, v + (5 + k) * fs + c, fs);
    }
  }
}
INL void NAME(back_any)(const kd__tile *t, const float *map, int odd, float *v, int64_t fs) {
  const float *place[25];
  int64_t bits[25];
  if (NAME(whole)(t, 5)) { NAME(back_tile)(t, map, NULL, NULL, true, odd, v, fs); return; }
  NAME(places)(t, map, 5, place, bits);
  NAME(back_tile)(t, map, place, bits, false, odd, v, fs);
}
TARGET static void NAME(wino2_back_even)(const kd__tile *t, const float *map, float *v, int64_t fs) { NAME(back_any)(t, map, 0, v, fs); }
TARGET static void NAME(wino2_back_odd)(const kd__tile *t, const float *map, float *v, int64_t fs) { NAME(back_any)(t, map, 1, v, fs); }

/* The nine values of row y of results, as they are stored. */
INL void NAME(back_row)(const kd__tile *t, float *map, const VEC *m, int64_t y, int64_t c, const kd__post *post, bool whole, int odd) {
  VEC q[4];
  if (!whole && y >= t->height) return;
  NAME(a5)(m, q);
  UNROLLED
  for (int k = 0; k < 4; k++) {
    int64_t x = t->x0 + 2 * k + odd, z = t->x0 + 2 * k + 1 - odd, at = (y * t->width + x) * t->c + c, to = (y * t->width + z) * t->c + c;
    if (whole || x < t->width) STORE(map + at, NAME(finish)(q[k], at, c, post));
    if (whole || z < t->width) STORE(map + to, NAME(finish)(m[5 + k], to, c, post));
  }
}
INL void NAME(back_out_tile)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post, bool whole, int odd) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    UNROLLED
    for (int half = 0; half < 4; half += 2) {
      VEC e[18];
      UNROLLED
      for (int j = 0; j < 9; j++) {
        VEC m[5], q[4];
        NAME(line_load)(v + j * fs + c, 9 * fs, 5, m);
        NAME(a5)(m, q);
        e[j] = q[half], e[9 + j] = q[half + 1];
      }
      NAME(back_row)(t, map, e, t->y0 + 2 * half + odd, c, post, whole, odd), NAME(back_row)(t, map, e + 9, t->y0 + 2 * half + 2 + odd, c, post, whole, odd);
    }
    for (int k = 0; k < 4; k++) {
      VEC m[9];
      NAME(line_load)(v + (5 + k) * 9 * fs + c, fs, 9, m);
      NAME(back_row)(t, map, m, t->y0 + 2 * k + 1 - odd, c, post, whole, odd);
    }
  }
}
TARGET static void NAME(wino2_put_even)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post) {
  if (NAME(whole)(t, 8)) NAME(back_out_tile)(t, map, v, fs, post, true, 0);
  else NAME(back_out_tile)(t, map, v, fs, post, false, 0);
}
TARGET static void NAME(wino2_put_odd)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post) {
  if (NAME(whole)(t, 8)) NAME(back_out_tile)(t, map, v, fs, post, true, 1);
  else NAME(back_out_tile)(t, map, v, fs, post, false, 1);
}

TARGET static void NAME(wino2_out)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post) {
  bool whole = NAME(whole)(t, KD__TILE_OUT);
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    VEC e[28], q[7];
    UNROLLED
    for (int j = 0; j < 7; j++) {
      NAME(line_load)(v + j * fs + c, 7 * fs, 7, q);
      NAME(a47)(q, e + j, 7);
    }
    UNROLLED
    for (int i = 0; i < KD__TILE_OUT; i++) {
      if (!whole && t->y0 + i >= t->height) break;
      NAME(a47)(e + i * 7, q, 1);
      int64_t at = ((t->y0 + i) * t->width + t->x0) * t->c + c;
      UNROLLED
      for (int j = 0; j < KD__TILE_OUT; j++, at += t->c)
        if (whole || t->x0 + j < t->width) STORE(map + at, NAME(finish)(q[j], at, c, post));
    }
  }
}
INL void NAME(grad_tile2)(const kd__tile *t, const float *map, const float **place, const int64_t *bits, bool whole, float *v, int64_t fs) {
  for (int64_t c = 0; c < t->c; c += WIDTH) {
    VEC e[28], q[7];
    UNROLLED
    for (int i = 0; i < KD__TILE_OUT; i++) {
      VEC row[KD__TILE_OUT];
      if (whole) NAME(line_load)(map + ((t->y0 + i) * t->width + t->x0) * t->c + c, t->c, KD__TILE_OUT, row);
      else
        UNROLLED
        for (int j = 0; j < KD__TILE_OUT; j++) row[j] = LOAD(place[i * KD__TILE_OUT + j] + (c & bits[i * KD__TILE_OUT + j]));
      NAME(a74)(row, 1, e + i * 7);
    }
    UNROLLED
    for (int j = 0; j < 7; j++) {
      NAME(a74)(e + j, 7, q);
      NAME(line_store)(v + j * fs + c, 7 * fs, 7, q);
    }
  }
}
TARGET static void NAME(wino2_grad)(const kd__tile *t, const float *map, float *v, int64_t fs) {
  const float *place[KD__TILE_OUT * KD__TILE_OUT];
  int64_t bits[KD__TILE_OUT * KD__TILE_OUT];
  if (NAME(whole)(t, KD__TILE_OUT)) { NAME(grad_tile2)(t, map, NULL, NULL, true, v, fs); return; }
  NAME(places)(t, map, KD__TILE_OUT, place, bits);
  NAME(grad_tile2)(t, map, place, bits, false, v, fs);
}

TARGET static void NAME(wino2_filter)(const float *g, float *u, int64_t fs) {
  for (int l = 0; l < 16; l += WIDTH) {
    VEC d[9], e[18], q[6];
    for (int i = 0; i < 9; i++) d[i] = LOAD(g + i * 16 + l);
    for (int j = 0; j < 3; j++) NAME(g63)(d + j, 3, e + j, 3);
    for (int i = 0; i < 6; i++) {
      NAME(g63)(e + i * 3, 1, q, 1);
      for (int j = 0; j < 6; j++) STORE(u + (i * 6 + j) * fs + l, q[j]);
    }
  }
}
TARGET static void NAME(wino2_filter_grad)(const float *u, int64_t fs, float *g) {
  for (int l = 0; l < 16; l += WIDTH) {
    VEC e[18], q[6];
    for (int j = 0; j < 6; j++) {
      for (int i = 0; i < 6; i++) q[i] = LOAD(u + (i * 6 + j) * fs + l);
      NAME(g36)(q, 1, e + j, 6);
    }
    for (int i = 0; i < 3; i++) {
      NAME(g36)(e + i * 6, 1, q, 1);
      for (int j = 0; j < 3; j++) STORE(g + (i * 3 + j) * 16 + l, q[j]);
    }
  }
}
#undef P
#undef Q
#undef PP
#undef QQ
#undef N0
#undef N1
#undef N2
#undef N3
