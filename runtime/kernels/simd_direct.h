/* simd_direct.h: the loops of convolutions with few channels (conv_direct.c); a part of simd_body.h, included once for each instruction set.
 *
 * Lanes are output channels of one place, or of two places side by side: lane 2*o + i is channel o of place i, and two neighbours in a plane of x are
 * spread over all lanes at once. Terms are added in the order channel, kernel row, kernel column. */
typedef long long NAME(pairs) __attribute__((vector_size(4 * WIDTH)));
enum { NAME(HALF) = WIDTH / 2 };
/* The compiler must not see that columns that follow each other share numbers: it would carry them from one to the next, in more registers than there are. */
#if defined(__GNUC__)
#define HIDE(p) __asm__("" : "+r"(p))
#else
#define HIDE(p) (void)0
#endif
INL VEC NAME(spread)(const float *x) {
  long long two;
  memcpy(&two, x, sizeof two);
  return (VEC)((NAME(pairs)){ 0 } + two);
}
#if WIDTH_HERE == 16
#define FIRST(x) __builtin_shufflevector(x, x, 0, 2, 4, 6, 8, 10, 12, 14)
#define SECOND(x) __builtin_shufflevector(x, x, 1, 3, 5, 7, 9, 11, 13, 15)
#define TOGETHER(x, y) __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)
#elif WIDTH_HERE == 8
#define FIRST(x) __builtin_shufflevector(x, x, 0, 2, 4, 6)
#define SECOND(x) __builtin_shufflevector(x, x, 1, 3, 5, 7)
#define TOGETHER(x, y) __builtin_shufflevector(x, y, 0, 4, 1, 5, 2, 6, 3, 7)
#else
#define FIRST(x) __builtin_shufflevector(x, x, 0, 2)
#define SECOND(x) __builtin_shufflevector(x, x, 1, 3)
#define TOGETHER(x, y) __builtin_shufflevector(x, y, 0, 2, 1, 3)
#endif
typedef float NAME(part) __attribute__((vector_size(2 * WIDTH)));
/* Half a vector of each of two places, or zeros for the second. */
INL VEC NAME(both)(const float *first, const float *second) {
  NAME(part) a, b = { 0 };
  memcpy(&a, first, sizeof a);
  if (second) memcpy(&b, second, sizeof b);
  return TOGETHER(a, b);
}
INL void NAME(put)(NAME(part) v, float *to) { memcpy(to, &v, sizeof v); }

/* P places (or pairs of them), V vectors of channels each, to t, `step` floats from place to place. */
#define ROW(P, V, PAIR) \
  TARGET static void NAME(direct##P##_##V##_##PAIR)(const kd__direct *d, const float *x, const float *w, const float *bias, float *t, int64_t step) { \
    VEC acc[P][V], floor = (VEC){ 0 } + (d->relu ? 0.0f : -__builtin_inff()); \
    UNROLLED \
    for (int i = 0; i < P; i++) { \
      acc[i][0] = LOAD(bias); \
      if (V > 1) acc[i][V - 1] = LOAD(bias + WIDTH); \
    } \
    for (int64_t c = 0; c < d->c; c++) \
      for (int64_t a = 0; a < d->kh; a++) { \
        const float *xp = x + c * d->cs + a * d->rs, *wp = w + (c * d->rows + a) * d->kw * WIDTH; \
        for (int64_t b = 0; b < d->kw; b++, xp++, wp += WIDTH) { \
          HIDE(xp); \
          VEC w0 = LOAD(wp), w1 = V > 1 ? LOAD(wp + d->vs) : w0; \
          UNROLLED \
          for (int i = 0; i < P; i++) { \
            if (PAIR) { \
              VEC s = NAME(spread)(xp + 2 * i); \
              acc[i][0] += s * w0; \
              if (V > 1) acc[i][V - 1] += s * w1; \
            } else { \
              float s = xp[i]; \
              acc[i][0] += s * w0; \
              if (V > 1) acc[i][V - 1] += s * w1; \
            } \
          } \
        } \
      } \
    UNROLLED \
    for (int i = 0; i < P; i++) { \
      UNROLLED \
      for (int v = 0; v < V; v++) { \
        IVEC below = acc[i][v] < floor; \
        VEC r = (VEC)(((IVEC)acc[i][v] & ~below) | ((IVEC)floor & below)); \
        if (PAIR) NAME(put)(FIRST(r), t + 2 * i * step + v * NAME(HALF)); \
        else STORE(t + i * step + v * WIDTH, r); \
        acc[i][v] = r; \
      } \
      UNROLLED \
      for (int v = 0; v < V; v++) \
        if (PAIR) NAME(put)(SECOND(acc[i][v]), t + (2 * i + 1) * step + v * NAME(HALF)); \
    } \
  }
#define ROWS_OF(V, PAIR) ROW(1, V, PAIR) ROW(2, V, PAIR) ROW(3, V, PAIR) ROW(4, V, PAIR) ROW(5, V, PAIR) ROW(6, V, PAIR)
#define NAMES(V, PAIR) NULL, NAME(direct1_##V##_##PAIR), NAME(direct2_##V##_##PAIR), NAME(direct3_##V##_##PAIR), NAME(direct4_##V##_##PAIR), \
                       NAME(direct5_##V##_##PAIR), NAME(direct6_##V##_##PAIR)
#if KD__SIMD_ROWS > 6
#define MORE_OF(V, PAIR) ROW(7, V, PAIR) ROW(8, V, PAIR) ROW(9, V, PAIR) ROW(10, V, PAIR) ROW(11, V, PAIR) ROW(12, V, PAIR) ROW(13, V, PAIR) ROW(14, V, PAIR)
#define MORE_NAMES(V, PAIR) , NAME(direct7_##V##_##PAIR), NAME(direct8_##V##_##PAIR), NAME(direct9_##V##_##PAIR), NAME(direct10_##V##_##PAIR), \
                            NAME(direct11_##V##_##PAIR), NAME(direct12_##V##_##PAIR), NAME(direct13_##V##_##PAIR), NAME(direct14_##V##_##PAIR)
#else
#define MORE_OF(V, PAIR)
#define MORE_NAMES(V, PAIR)
#endif
ROWS_OF(1, 0) ROWS_OF(2, 0) ROWS_OF(1, 1) ROWS_OF(2, 1)
MORE_OF(1, 0) MORE_OF(2, 0) MORE_OF(1, 1) MORE_OF(2, 1)
static void (*const NAME(direct_rows)[2][2][ROWS + 1])(const kd__direct *d, const float *x, const float *w, const float *bias, float *t, int64_t step) = {
  { { NAMES(1, 0) MORE_NAMES(1, 0) }, { NAMES(2, 0) MORE_NAMES(2, 0) } }, { { NAMES(1, 1) MORE_NAMES(1, 1) }, { NAMES(2, 1) MORE_NAMES(2, 1) } } };
#undef ROW
#undef ROWS_OF
#undef MORE_OF
#undef NAMES
#undef MORE_NAMES

/* Whole vectors are written: what they reach beyond a place's channels the next place puts right. Where channels of one vector more follow others, that
 * would be wrong: they are copied. */
TARGET static void NAME(direct)(const kd__direct *d, const float *x, const float *w, const float *bias, float *y) {
  float t[(2 * ROWS) * 2 * WIDTH];
  int64_t group = d->pair ? 2 : 1, lanes = WIDTH / group, vectors = (d->co + lanes - 1) / lanes, all = (d->n + group - 1) / group, parts = (all + ROWS - 1) / ROWS;
  for (int64_t v = 0, together; v < vectors; v += together) {
    together = vectors - v > 1 ? 2 : 1;
    int64_t each = together * lanes, left = d->co - v * lanes;
    bool apart = v > 0 && left < each;
    for (int64_t q = 0, i = 0, p; q < parts; q++, i += p) {
      p = (all - i + parts - q - 1) / (parts - q);
      float *to = y + i * group * d->co + v * lanes;
      NAME(direct_rows)[d->pair][together - 1][p](d, x + i * group, w + v * d->vs, bias + v * WIDTH, apart ? t : to, apart ? each : d->co);
      for (int64_t s = 0; apart && s < p * group && s < d->n - i * group; s++)
        for (int64_t k = 0; k < left; k++) to[s * d->co + k] = t[s * each + k];
    }
  }
}

/* Sums of C channels, R rows and K columns of the kernel, over all places of an image. */
#define SUMS(K, C, R, PAIR) \
  TARGET static void NAME(sums##K##_##C##_##R##_##PAIR)(const kd__direct *d, const float *x, const float *y, float *sums) { \
    VEC acc[C * R][K]; \
    UNROLLED \
    for (int r = 0; r < C * R; r++) \
      for (int k = 0; k < K; k++) acc[r][k] = (VEC){ 0 }; \
    for (int64_t h = 0; h < d->height; h++, x += d->rs) { \
      const float *at[C * R]; \
      UNROLLED \
      for (int r = 0; r < C * R; r++) at[r] = x + r / R * d->cs + r % R * d->rs; \
      for (int64_t i = 0; i < d->n; i += 1 + PAIR, y += d->co * (1 + PAIR)) { \
        VEC g = PAIR ? NAME(both)(y, i + 1 < d->n ? y + d->co : NULL) : LOAD(y); \
        UNROLLED \
        for (int r = 0; r < C * R; r++) { \
          HIDE(at[r]); \
          UNROLLED \
          for (int k = 0; k < K; k++) { \
            if (PAIR) acc[r][k] += NAME(spread)(at[r] + k) * g; \
            else acc[r][k] += at[r][k] * g; \
          } \
          at[r] += 1 + PAIR; \
        } \
      } \
      if (PAIR && d->n % 2) y -= d->co; \
    } \
    UNROLLED \
    for (int r = 0; r < C * R; r++) \
      for (int k = 0; k < K; k++) { \
        float *to = sums + ((r / R * d->rows + r % R) * K + k) * WIDTH; \
        STORE(to, LOAD(to) + acc[r][k]); \
      } \
  }
#define BOTH(K, C, R) SUMS(K, C, R, 0) SUMS(K, C, R, 1)
#define ENTRY(K, C, R) { K, C, R, { NAME(sums##K##_##C##_##R##_0), NAME(sums##K##_##C##_##R##_1) } }
typedef struct NAME(taps) { int k, c, r; void (*run[2])(const kd__direct *d, const float *x, const float *y, float *sums); } NAME(taps);
#if KD__SIMD_ROWS > 6
BOTH(3, 3, 3) BOTH(5, 1, 5) BOTH(7, 1, 4)
#else
BOTH(5, 1, 2)
#endif
BOTH(3, 1, 3) BOTH(3, 1, 1) BOTH(5, 1, 1) BOTH(7, 1, 1)
static const NAME(taps) NAME(all_taps)[] = {
#if KD__SIMD_ROWS > 6
  ENTRY(3, 3, 3), ENTRY(5, 1, 5), ENTRY(7, 1, 4),
#else
  ENTRY(5, 1, 2),
#endif
  ENTRY(3, 1, 3), ENTRY(3, 1, 1), ENTRY(5, 1, 1), ENTRY(7, 1, 1) };
#undef SUMS
#undef BOTH
#undef ENTRY
#undef FIRST
#undef SECOND
#undef HIDE
#undef TOGETHER
TARGET static void NAME(direct_sums)(const kd__direct *d, const float *x, const float *y, float *sums) {
  int64_t lanes = d->pair ? WIDTH / 2 : WIDTH, vectors = (d->co + lanes - 1) / lanes;
  for (int64_t v = 0; v < vectors; v++, y += lanes, sums += d->vs)
    for (int64_t c = 0, channels = 1; c < d->c; c += channels)
      for (int64_t a = 0; a < d->kh; ) {
        const NAME(taps) *s = NAME(all_taps);
        while (s->k != d->kw || s->r > d->kh - a || (s->c > 1 && (s->r != d->kh || s->c > d->c - c))) s++;         /* the last of each k takes all */
        s->run[d->pair](d, x + c * d->cs + a * d->rs, y, sums + (c * d->rows + a) * d->kw * WIDTH);
        channels = s->c, a += s->r;
      }
}
