/* gemv.c: products that no library does well: one column or row (limited by memory), and very small ones (limited by the call). f32. */
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/vec.h"

enum { TINY = 4096, BLOCK = 64 };

/* y[i] = sum over l of a[i, l] * x[l]; a stack of them. */
typedef struct work {
  int64_t m, k, batch, bdim[KD_MAX_RANK], sa[KD_MAX_RANK], sx[KD_MAX_RANK], sy[KD_MAX_RANK];
  int64_t row, col, xs, ys;
  int nbatch;
  const float *a, *x;
  float *y;
} work;

static bool vector_case(const kd_call *c) {
  const kd_tensor *a = &c->in[0], *b = &c->in[1], *o = &c->out[0];
  int r = o->rank;
  bool column = o->dim[r - 1] == 1;
  if (!column && o->dim[r - 2] != 1) return false;
  const kd_tensor *mat = column ? a : b, *vec = column ? b : a;
  int64_t k = a->dim[r - 1], xs = vec->stride[column ? r - 2 : r - 1];
  if (k > 1 && xs != 1) return false;
  int64_t row = mat->stride[column ? r - 2 : r - 1], col = mat->stride[column ? r - 1 : r - 2];
  return col == 1 || row == 1 || k == 1;
}

bool kd__matmul_own_takes(const kd_call *c, const kd_kernel_settings *s) {
  const kd_tensor *o = &c->out[0];
  (void)s;
  if (o->dtype != KD_F32) return false;
  int r = o->rank;
  int64_t k = c->in[0].dim[r - 1];
  if (kd__count(o) * k <= TINY) return true;
  return k >= 16 && vector_case(c);
}

KD_CLONES static void dot_rows(int64_t m, int64_t k, const float *a, int64_t row, const float *x, float *y, int64_t ys) {
  for (int64_t i = 0; i < m; i++, a += row) {
    kd__v16 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    int64_t l = 0;
    for (; l + 64 <= k; l += 64) {
      s0 += KD__LOAD16(a + l) * KD__LOAD16(x + l);
      s1 += KD__LOAD16(a + l + 16) * KD__LOAD16(x + l + 16);
      s2 += KD__LOAD16(a + l + 32) * KD__LOAD16(x + l + 32);
      s3 += KD__LOAD16(a + l + 48) * KD__LOAD16(x + l + 48);
    }
    for (; l + 16 <= k; l += 16) s0 += KD__LOAD16(a + l) * KD__LOAD16(x + l);
    s0 = (s0 + s1) + (s2 + s3);
    float sum = KD__SUM16(s0);
    for (; l < k; l++) sum += a[l] * x[l];
    y[i * ys] = sum;
  }
}

/* The matrix lies by columns: blocks of rows stay in registers while k runs. */
KD_CLONES static void axpy_rows(int64_t m, int64_t k, const float *a, int64_t col, const float *x, float *y, int64_t ys) {
  int64_t i = 0;
  for (; i + BLOCK <= m; i += BLOCK) {
    kd__v16 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    for (int64_t l = 0; l < k; l++) {
      const float *p = a + l * col + i;
      s0 += x[l] * KD__LOAD16(p), s1 += x[l] * KD__LOAD16(p + 16), s2 += x[l] * KD__LOAD16(p + 32), s3 += x[l] * KD__LOAD16(p + 48);
    }
    float t[BLOCK];
    KD__STORE16(t, s0);
    KD__STORE16(t + 16, s1);
    KD__STORE16(t + 32, s2);
    KD__STORE16(t + 48, s3);
    for (int j = 0; j < BLOCK; j++) y[(i + j) * ys] = t[j];
  }
  for (; i < m; i++) {
    float sum = 0;
    for (int64_t l = 0; l < k; l++) sum += a[l * col + i] * x[l];
    y[i * ys] = sum;
  }
}

/* Blocks of rows begin..end-1, counted over the whole stack. */
static void run_blocks(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  int64_t per = kd__ceil_div(w->m, BLOCK);
  (void)chunk;
  while (begin < end) {
    int64_t item = begin / per, first = begin % per, n = kd__min(per - first, end - begin), off[3] = { 0 };
    for (int64_t d = w->nbatch - 1, q = item; d >= 0; d--) {
      int64_t at = q % w->bdim[d];
      q /= w->bdim[d];
      off[0] += at * w->sa[d], off[1] += at * w->sx[d], off[2] += at * w->sy[d];
    }
    int64_t i = first * BLOCK, m = kd__min((first + n) * BLOCK, w->m) - i;
    const float *a = w->a + off[0] + i * w->row, *x = w->x + off[1];
    float *y = w->y + off[2] + i * w->ys;
    if (w->col == 1 || w->k == 1) dot_rows(m, w->k, a, w->row, x, y, w->ys);
    else axpy_rows(m, w->k, a, w->col, x, y, w->ys);
    begin += n;
  }
}

static void run_vector(const kd_call *c, const kd_exec *x) {
  const kd_tensor *o = &c->out[0];
  int r = o->rank;
  bool column = o->dim[r - 1] == 1;
  const kd_tensor *mat = &c->in[column ? 0 : 1], *vec = &c->in[column ? 1 : 0];
  int across = column ? r - 2 : r - 1, along = column ? r - 1 : r - 2;
  work w = { .m = o->dim[across], .k = mat->dim[along], .batch = 1, .row = mat->stride[across], .col = mat->stride[along],
             .ys = o->stride[across], .nbatch = r - 2, .a = mat->data, .x = vec->data, .y = o->data };
  for (int d = 0; d < r - 2; d++) {
    w.bdim[d] = o->dim[d], w.batch *= o->dim[d];
    w.sa[d] = mat->stride[d], w.sx[d] = vec->stride[d], w.sy[d] = o->stride[d];
  }
  kd__par_for(x, w.batch * kd__ceil_div(w.m, BLOCK), kd__par_chunks(x, w.batch * w.m * w.k), 1, run_blocks, &w);
}

/* One row of a small product: sum[j] over j < n, with any strides. */
KD_CLONES static void tiny_row(int64_t n, int64_t k, const float *a, int64_t sa, const float *b, int64_t sb0, int64_t sb1, float *sum) {
  for (int64_t j = 0; j < n; j++) sum[j] = 0;
  for (int64_t l = 0; l < k; l++, b += sb0) {
    float v = a[l * sa];
    if (sb1 == 1) for (int64_t j = 0; j < n; j++) sum[j] += v * b[j];
    else for (int64_t j = 0; j < n; j++) sum[j] += v * b[j * sb1];
  }
}

/* Blocks of k, so that long sums keep their digits. */
static void tiny(int64_t m, int64_t n, int64_t k, const float *a, const int64_t *sa, const float *b, const int64_t *sb, float *c, const int64_t *sc) {
  float sum[BLOCK], part[BLOCK];
  for (int64_t i = 0; i < m; i++)
    for (int64_t j0 = 0; j0 < n; j0 += BLOCK) {
      int64_t w = kd__min(n - j0, BLOCK);
      tiny_row(w, kd__min(k, BLOCK), a + i * sa[0], sa[1], b + j0 * sb[1], sb[0], sb[1], sum);
      for (int64_t l = BLOCK; l < k; l += BLOCK) {
        tiny_row(w, kd__min(k - l, BLOCK), a + i * sa[0] + l * sa[1], sa[1], b + l * sb[0] + j0 * sb[1], sb[0], sb[1], part);
        for (int64_t j = 0; j < w; j++) sum[j] += part[j];
      }
      for (int64_t j = 0; j < w; j++) c[i * sc[0] + (j0 + j) * sc[1]] = sum[j];
    }
}

static void run_tiny(const kd_call *c) {
  const kd_tensor *a = &c->in[0], *b = &c->in[1], *o = &c->out[0];
  int r = o->rank;
  int64_t batch = 1;
  for (int d = 0; d < r - 2; d++) batch *= o->dim[d];
  for (int64_t item = 0; item < batch; item++) {
    int64_t oa = 0, ob = 0, oc = 0;
    for (int64_t d = r - 3, q = item; d >= 0; d--) {
      int64_t at = q % o->dim[d];
      q /= o->dim[d];
      oa += at * a->stride[d], ob += at * b->stride[d], oc += at * o->stride[d];
    }
    tiny(o->dim[r - 2], o->dim[r - 1], a->dim[r - 1], (const float *)a->data + oa, a->stride + r - 2, (const float *)b->data + ob, b->stride + r - 2,
         (float *)o->data + oc, o->stride + r - 2);
  }
}

void kd__matmul_own_run(const kd_call *c, const kd_exec *x) {
  if (c->in[0].dim[c->in[0].rank - 1] >= 16 && vector_case(c)) run_vector(c, x);   /* short sums one after the other would lose more digits */
  else run_tiny(c);
}
