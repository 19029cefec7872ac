/* copy.c: kd__copy_strided: between any two layouts of one shape and type. Layout changes (nchw and nhwc) are blocked transposes. */
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/simd.h"

enum { BLOCK = 16 };
typedef struct work {
  kd__nest s;                                    /* 0: to, 1: from */
  char *to;
  const char *from;
  size_t size;
  const kd__simd *simd;
} work;

#define ROW(T) \
  do { \
    T *o = (T *)to; \
    const T *p = (const T *)from; \
    if (s0 == 1 && s1 == 0) for (int64_t i = 0; i < n; i++) o[i] = *p; \
    else for (int64_t i = 0; i < n; i++) o[i * s0] = p[i * s1]; \
  } while (0)
static void copy_row(char *to, const char *from, size_t size, int64_t n, int64_t s0, int64_t s1) {
  if (s0 == 1 && s1 == 1) memcpy(to, from, (size_t)n * size);
  else if (size == 4) ROW(uint32_t);
  else if (size == 8) ROW(uint64_t);
  else ROW(uint8_t);
}

/* to[i + j * st] = from[i * sf + j] for i < n, j < m, by square blocks that stay in the cache. */
#define TRANSPOSE(T) \
  do { \
    T *o = (T *)to; \
    const T *p = (const T *)from; \
    for (int64_t j = 0; j < m; j += BLOCK) \
      for (int64_t i = 0; i < n; i += BLOCK) { \
        int64_t je = j + BLOCK < m ? j + BLOCK : m, ie = i + BLOCK < n ? i + BLOCK : n; \
        if (je - j == BLOCK && ie - i == BLOCK) { \
          T b[BLOCK][BLOCK]; \
          for (int u = 0; u < BLOCK; u++) memcpy(b[u], p + (i + u) * sf + j, sizeof b[u]); \
          for (int v = 0; v < BLOCK; v++) \
            for (int u = 0; u < BLOCK; u++) o[(j + v) * st + i + u] = b[u][v]; \
        } else \
          for (int64_t v = j; v < je; v++) \
            for (int64_t u = i; u < ie; u++) o[v * st + u] = p[u * sf + v]; \
      } \
  } while (0)
KD_CLONES static void copy_transpose(char *to, const char *from, size_t size, int64_t n, int64_t m, int64_t st, int64_t sf) {
  if (size == 4) TRANSPOSE(uint32_t);
  else if (size == 8) TRANSPOSE(uint64_t);
  else TRANSPOSE(uint8_t);
}
/* Elements of four bytes, whatever they are: whole blocks through registers. */
static void copy_words(const kd__simd *simd, char *to, const char *from, int64_t n, int64_t m, int64_t st, int64_t sf) {
  int64_t whole_n = n / BLOCK * BLOCK, whole_m = m / BLOCK * BLOCK;
  for (int64_t j = 0; j < whole_m; j += BLOCK)
    for (int64_t i = 0; i < whole_n; i += BLOCK) simd->turn16((const float *)(const void *)from + i * sf + j, sf, (float *)(void *)to + j * st + i, st);
  if (whole_n < n) copy_transpose(to + whole_n * 4, from + whole_n * sf * 4, 4, n - whole_n, whole_m, st, sf);
  if (whole_m < m) copy_transpose(to + whole_m * st * 4, from + whole_m * 4, 4, n, m - whole_m, st, sf);
}

void kd__copy_transpose(char *to, const char *from, size_t size, int64_t n, int64_t m, int64_t st, int64_t sf) {
  if (size == 4) copy_words(kd__simd_best(), to, from, n, m, st, sf);
  else copy_transpose(to, from, size, n, m, st, sf);
}

static void run_flat(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  int64_t s0 = w->s.stride[0][0], s1 = w->s.stride[1][0], z = (int64_t)w->size;
  (void)chunk;
  copy_row(w->to + begin * s0 * z, w->from + begin * s1 * z, w->size, end - begin, s0, s1);
}

static void run_rows(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__nest *s = &w->s;
  int64_t pos[KD_MAX_RANK], off[2], z = (int64_t)w->size;
  (void)chunk;
  kd__nest_seek(s, 1, begin, pos, off);
  for (int64_t r = begin; r < end; r++, kd__nest_next(s, 1, pos, off))
    copy_row(w->to + off[0] * z, w->from + off[1] * z, w->size, s->dim[0], s->stride[0][0], s->stride[1][0]);
}

/* Planes over dimensions 0 and 1 (the crossing one was moved there); a single plane is cut along dimension 1. */
static void run_planes(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__nest *s = &w->s;
  int64_t pos[KD_MAX_RANK], off[2], z = (int64_t)w->size;
  (void)chunk;
  for (int64_t r = begin; r < end;) {
    int64_t plane = r / s->dim[1], j = r % s->dim[1], m = kd__min(s->dim[1] - j, end - r);
    kd__nest_seek(s, 2, plane, pos, off);
    char *to = w->to + (off[0] + j * s->stride[0][1]) * z;
    const char *from = w->from + (off[1] + j) * z;
    if (z == 4) copy_words(w->simd, to, from, s->dim[0], m, s->stride[0][1], s->stride[1][0]);
    else copy_transpose(to, from, w->size, s->dim[0], m, s->stride[0][1], s->stride[1][0]);
    r += m;
  }
}

static void bring_to_front(kd__nest *s, int from) {
  for (int d = from; d > 1; d--) {
    int64_t v = s->dim[d];
    s->dim[d] = s->dim[d - 1], s->dim[d - 1] = v;
    for (int i = 0; i < s->n; i++) v = s->stride[i][d], s->stride[i][d] = s->stride[i][d - 1], s->stride[i][d - 1] = v;
  }
}

void kd__copy_strided(const kd_tensor *from, const kd_tensor *to, const kd_exec *x) {
  work w = { .to = to->data, .from = from->data, .size = kd__dtype_size(to->dtype), .simd = kd__simd_best() };
  const kd_tensor *both[2] = { to, from };
  kd__nest_make(&w.s, 2, both);
  kd__nest *s = &w.s;
  if (s->count == 0) return;
  w.to += s->offset[0] * (int64_t)w.size, w.from += s->offset[1] * (int64_t)w.size;
  if (s->rank == 0) { memcpy(w.to, w.from, w.size); return; }
  int64_t chunks = kd__par_chunks(x, s->count);
  if (s->rank == 1) { kd__par_for(x, s->dim[0], chunks, 256, run_flat, &w); return; }
  int cross = 0;
  for (int d = 1; d < s->rank; d++)
    if (s->stride[1][d] == 1) cross = d;
  if (cross && s->stride[0][0] == 1 && s->stride[1][0] > 1) {
    bring_to_front(s, cross);
    kd__par_for(x, s->count / s->dim[0], chunks, BLOCK, run_planes, &w);
  } else {
    kd__par_for(x, s->count / s->dim[0], chunks, 1, run_rows, &w);
  }
}

/* --- rows by number ----------------------------------------------------------------------------------------------------------------- */
typedef struct rows { const char *from; char *to; const int64_t *index; size_t bytes; } rows;

static void run_gather(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const rows *w = ctx;
  (void)chunk;
  for (int64_t i = begin; i < end; i++) memcpy(w->to + (size_t)i * w->bytes, w->from + (size_t)w->index[i] * w->bytes, w->bytes);
}

void kd__copy_rows(const void *from, const int64_t *index, void *to, int64_t n, size_t bytes, const kd_exec *x) {
  rows w = { from, to, index, bytes };
  if (n > 0) kd__par_for(x, n, kd__par_chunks(x, n * (int64_t)(bytes / sizeof(float))), 1, run_gather, &w);
}
