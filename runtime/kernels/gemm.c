/* gemm.c: matmul through oneDNN or OpenBLAS.
 *
 * A product is cut into pieces (batch items, blocks of rows and columns, and for small results with long inner sums pieces of k), each a
 * one-thread library call, run by our own team. The cut depends on the shape alone when deterministic, else also on the team's size.
 * Operands that no transpose flag describes are packed into scratch first. */
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/libs.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include <limits.h>
#include <stdlib.h>

enum { ROW_UNIT = 24, COL_UNIT = 48, K_UNIT = 256, ALIGN = 64, DNNL_FLOPS = 2000000 };

/* One operand as a stack of matrices. */
typedef struct side { int64_t row, col; int64_t batch[KD_MAX_RANK]; bool pack; size_t at, bytes; } side;
typedef struct product {
  bool dnnl, swap;                               /* swap: the transposed product is computed, operands exchanged */
  int nbatch;
  size_t elem, scratch, partial;                 /* partial: where the pieces of k are, in scratch */
  int64_t m, n, k, batch, bdim[KD_MAX_RANK];
  int64_t mc, nc, kc, mp, np, kp;                /* piece sizes, and how many */
  side a, b, c;
} product;

void kd__gemm_f32(bool use_dnnl, const kd__gemm *g, const float *a, const float *b, float *c) {
#ifdef KD__HAVE_DNNL
  if (use_dnnl) {
    kd__dnnl()->f_dnnl_sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', g->m, g->n, g->k, 1.0f, a, g->lda, b, g->ldb, (float)g->beta, c, g->ldc);
    return;
  }
#else
  (void)use_dnnl;
#endif
  kd__blas()->sgemm(101, g->ta ? 112 : 111, g->tb ? 112 : 111, (int)g->m, (int)g->n, (int)g->k, 1.0f, a, (int)g->lda, b, (int)g->ldb, (float)g->beta, c, (int)g->ldc);
}
void kd__gemm_f64(const kd__gemm *g, const double *a, const double *b, double *c) {
  kd__blas()->dgemm(101, g->ta ? 112 : 111, g->tb ? 112 : 111, (int)g->m, (int)g->n, (int)g->k, 1.0, a, (int)g->lda, b, (int)g->ldb, g->beta, c, (int)g->ldc);
}
bool kd__gemm_there(kd_dtype t, bool use_dnnl) { return ((t == KD_F32 || t == KD_F64) && kd__blas()) || (t == KD_F32 && use_dnnl && kd__dnnl_multiplies()); }

/* --- describing the call -------------------------------------------------------------------------------------------------------- */
static side side_of(const kd_tensor *t, bool turned) {
  int r = t->rank;
  side s = { .row = t->stride[turned ? r - 1 : r - 2], .col = t->stride[turned ? r - 2 : r - 1] };
  for (int d = 0; d < r - 2; d++) s.batch[d] = t->dim[d] == 1 ? 0 : t->stride[d];
  return s;
}

/* Gives the strides of dimensions of size 1 a value the libraries accept, and says whether one unit stride remains. */
static bool straighten(side *s, int64_t rows, int64_t cols) {
  if (rows == 1 && cols == 1) s->row = s->col = 1;
  else if (cols == 1) { if (s->row > 0) s->col = 1; }
  else if (rows == 1) { if (s->col == 1) s->row = cols; else s->row = 1; }
  return (s->col == 1 && s->row >= cols) || (s->row == 1 && s->col >= rows);
}

static void pack_later(product *p, side *s, int64_t rows, int64_t cols, bool by_rows) {
  int64_t n = rows * cols;
  s->pack = true, s->at = p->scratch;
  for (int d = p->nbatch - 1; d >= 0; d--) {
    if (s->batch[d] == 0) continue;              /* repeated matrices are packed once */
    s->batch[d] = n, n *= p->bdim[d];
  }
  s->row = by_rows ? cols : 1, s->col = by_rows ? 1 : rows;
  s->bytes = (size_t)n * p->elem;
  p->scratch += (s->bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The number of pieces to aim for. */
static int64_t pieces_wanted(const product *p, const kd_kernel_settings *s) {
  double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k * (double)p->batch;
  if (flops < 1e6) return 1;
  if (s->deterministic) return flops < 4e6 ? 2 : flops < 16e6 ? 4 : 8;
  if (s->threads < 2) return 1;
  return flops < 64e6 ? s->threads : 2 * (int64_t)s->threads;
}

/* Cuts each matrix so that the least is packed twice: rows make B packed again, columns A. */
static void cut_product(product *p, int64_t want) {
  int64_t most_m = kd__max(1, p->m / ROW_UNIT), most_n = kd__max(1, p->n / COL_UNIT), best = INT64_MAX;
  p->mp = p->np = p->kp = 1;
  want = kd__ceil_div(want, kd__max(1, p->batch));
  for (int64_t i = 1; i <= want && i <= most_m; i++) {
    int64_t j = kd__min(kd__ceil_div(want, i), most_n);
    int64_t cost = i * p->n + j * p->m, short_of = want - i * j;
    if (short_of > 0) cost += short_of * (p->m + p->n) * 64;
    if (cost < best) best = cost, p->mp = i, p->np = j;
  }
  int64_t left = want / (p->mp * p->np);
  if (left > 1) p->kp = kd__max(1, kd__min(left, p->k / K_UNIT));
  p->mc = kd__ceil_div(kd__ceil_div(p->m, p->mp), 8) * 8, p->mp = kd__ceil_div(p->m, p->mc);
  p->nc = kd__ceil_div(kd__ceil_div(p->n, p->np), 16) * 16, p->np = kd__ceil_div(p->n, p->nc);
  p->kc = kd__ceil_div(kd__ceil_div(p->k, p->kp), 16) * 16, p->kp = kd__ceil_div(p->k, p->kc);
}

/* Small products gain nothing that oneDNN's start would not eat up. */
static bool through_dnnl(const kd_call *c, const kd_kernel_settings *s) {
  const kd_tensor *o = &c->out[0];
  if (o->dtype != KD_F32 || !s->use_dnnl) return false;
  if (kd__blas() && 2.0 * (double)kd__count(o) * (double)c->in[0].dim[o->rank - 1] < DNNL_FLOPS) return false;
  return kd__dnnl_multiplies();
}

static void describe(product *p, const kd_call *c, const kd_kernel_settings *s) {
  const kd_tensor *a = &c->in[0], *b = &c->in[1], *o = &c->out[0];
  int r = o->rank;
  *p = (product){ .nbatch = r - 2, .batch = 1, .elem = kd__dtype_size(o->dtype), .k = a->dim[r - 1] };
  p->dnnl = through_dnnl(c, s);
  for (int d = 0; d < r - 2; d++) p->bdim[d] = o->dim[d], p->batch *= o->dim[d];
  int64_t m = o->dim[r - 2], n = o->dim[r - 1];
  p->swap = o->stride[r - 1] != 1 && n > 1 && (o->stride[r - 2] == 1 || m == 1);
  p->m = p->swap ? n : m, p->n = p->swap ? m : n;
  p->a = side_of(p->swap ? b : a, p->swap), p->b = side_of(p->swap ? a : b, p->swap), p->c = side_of(o, p->swap);
  if (!straighten(&p->a, p->m, p->k)) pack_later(p, &p->a, p->m, p->k, true);
  if (!straighten(&p->b, p->k, p->n)) pack_later(p, &p->b, p->k, p->n, true);
  straighten(&p->c, p->m, p->n);
  if (p->c.col != 1 || p->c.row < p->n) pack_later(p, &p->c, p->m, p->n, true);
  cut_product(p, pieces_wanted(p, s));
  p->partial = p->scratch;
  if (p->kp > 1) p->scratch += (size_t)(p->kp * p->batch * p->m * p->n) * p->elem;
}

/* --- which row of the table ----------------------------------------------------------------------------------------------------- */
static bool takes(const kd_call *c, bool blas) {
  const kd_tensor *o = &c->out[0];
  int r = o->rank;
  if (o->dtype != KD_F32 && o->dtype != KD_F64) return false;
  if (c->in[0].dim[r - 1] == 0 || kd__count(o) == 0) return false;
  if (o->dim[r - 1] > INT_MAX / 2 || o->dim[r - 2] > INT_MAX / 2 || c->in[0].dim[r - 1] > INT_MAX / 2) return false;
  for (int i = 0; blas && i < 3; i++) {          /* leading dimensions are int there */
    const kd_tensor *t = i < 2 ? &c->in[i] : o;
    if (t->stride[r - 1] > INT_MAX || t->stride[r - 2] > INT_MAX) return false;
  }
  return true;
}
bool kd__matmul_dnnl_takes(const kd_call *c, const kd_kernel_settings *s) {
  return takes(c, false) && through_dnnl(c, s);
}
bool kd__matmul_blas_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return takes(c, true) && kd__blas() != NULL;
}
size_t kd__matmul_scratch(const kd_call *c, const kd_kernel_settings *s) {
  product p;
  describe(&p, c, s);
  return p.scratch;
}
kd_status kd__matmul_prepare(kd_call *c, const kd_kernel_settings *s) {
  product *p = malloc(sizeof *p);
  if (!p) return KD_E_MEMORY;
  describe(p, c, s);
  c->prepared = p;
  return KD_OK;
}

/* --- running -------------------------------------------------------------------------------------------------------------------- */
typedef struct job { const product *p; const char *a, *b; char *c, *partial; } job;

static void run_piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *w = ctx;
  const product *p = w->p;
  (void)end, (void)chunk;
  int64_t i = begin % p->mp, rest = begin / p->mp, off[3] = { 0 };
  int64_t j = rest % p->np;
  rest /= p->np;
  int64_t l = rest % p->kp, item = rest / p->kp;
  for (int64_t d = p->nbatch - 1, q = item; d >= 0; d--) {
    int64_t at = q % p->bdim[d];
    q /= p->bdim[d];
    off[0] += at * p->a.batch[d], off[1] += at * p->b.batch[d], off[2] += at * p->c.batch[d];
  }
  bool ta = p->a.col != 1, tb = p->b.col != 1;
  kd__gemm g = { .ta = ta, .tb = tb, .lda = ta ? p->a.col : p->a.row, .ldb = tb ? p->b.col : p->b.row, .ldc = p->kp > 1 ? p->n : p->c.row };
  g.m = kd__min(p->mc, p->m - i * p->mc), g.n = kd__min(p->nc, p->n - j * p->nc), g.k = kd__min(p->kc, p->k - l * p->kc);
  off[0] += i * p->mc * p->a.row + l * p->kc * p->a.col;
  off[1] += l * p->kc * p->b.row + j * p->nc * p->b.col;
  off[2] = p->kp > 1 ? (item * p->kp + l) * p->m * p->n + i * p->mc * p->n + j * p->nc : off[2] + i * p->mc * p->c.row + j * p->nc;
  int64_t z = (int64_t)p->elem;
  const void *a = w->a + off[0] * z, *b = w->b + off[1] * z;
  void *to = (p->kp > 1 ? w->partial : w->c) + off[2] * z;
  if (p->elem == sizeof(float)) kd__gemm_f32(p->dnnl, &g, a, b, to);
  else kd__gemm_f64(&g, a, b, to);
}

#define ADD_PARTS(T) \
  do { \
    const T *from = (const T *)w->partial + item * p->kp * p->m * p->n + i * p->n; \
    T *to = (T *)w->c + off + i * p->c.row; \
    for (int64_t j = 0; j < p->n; j++) to[j] = from[j]; \
    for (int64_t l = 1; l < p->kp; l++) \
      for (int64_t j = 0; j < p->n; j++) to[j] += from[l * p->m * p->n + j]; \
  } while (0)
/* Rows begin..end-1 of all results: adds the pieces of k, in their order. */
static void add_pieces(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *w = ctx;
  const product *p = w->p;
  (void)chunk;
  for (int64_t r = begin; r < end; r++) {
    int64_t item = r / p->m, i = r % p->m, off = 0;
    for (int64_t d = p->nbatch - 1, q = item; d >= 0; d--) off += q % p->bdim[d] * p->c.batch[d], q /= p->bdim[d];
    if (p->elem == sizeof(float)) ADD_PARTS(float);
    else ADD_PARTS(double);
  }
}

/* Copies between a tensor of the call and its packed form in scratch. */
static void repack(const product *p, const side *s, const kd_tensor *t, void *at, bool out, const kd_exec *x) {
  int r = t->rank;
  int64_t dim[KD_MAX_RANK], packed[KD_MAX_RANK];
  for (int d = 0; d < r; d++) dim[d] = t->dim[d];
  for (int d = 0; d < r - 2; d++) {
    packed[d] = s->batch[d];
    if (s->batch[d] == 0) dim[d] = 1;
  }
  packed[r - 2] = p->swap ? s->col : s->row, packed[r - 1] = p->swap ? s->row : s->col;
  kd_tensor whole = { t->data, dim, t->stride, t->dtype, t->rank }, tight = { at, dim, packed, t->dtype, t->rank };
  if (out) kd__copy_strided(&tight, &whole, x);
  else kd__copy_strided(&whole, &tight, x);
}

void kd__matmul_run(const kd_call *c, const kd_exec *x) {
  const product *p = c->prepared;
  const kd_tensor *a = &c->in[p->swap ? 1 : 0], *b = &c->in[p->swap ? 0 : 1], *o = &c->out[0];
  char *scratch = x->scratch;
  job w = { p, p->a.pack ? scratch + p->a.at : a->data, p->b.pack ? scratch + p->b.at : b->data,
            p->c.pack ? scratch + p->c.at : o->data, scratch + p->partial };
  if (p->a.pack) repack(p, &p->a, a, scratch + p->a.at, false, x);
  if (p->b.pack) repack(p, &p->b, b, scratch + p->b.at, false, x);
  kd__par_library(x, p->mp * p->np * p->kp * p->batch, run_piece, &w);
  if (p->kp > 1) kd__par_for(x, p->batch * p->m, kd__par_chunks(x, p->batch * p->m * p->n), 1, add_pieces, &w);
  if (p->c.pack) repack(p, &p->c, o, scratch + p->c.at, true, x);
}
