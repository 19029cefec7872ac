/* matmul_panel.c: matmul in single precision by our own blocks (simd.h): no operand must lie in one way, small products of a stack are as fast as
 * large ones, and a result's bits do not depend on how the work is cut: so the cut may follow the team. A matrix times its own transpose has half of
 * its results computed (matmul_gram.c).
 *
 * B is read in panels of 32 columns: as it lies where its rows are contiguous, else packed, or, where that is less to pack, the transposed product
 * is computed. A stack of many products is shared by item, each packed by who computes it; else the team packs first and then shares rows and panels. */
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/libs.h"
#include "runtime/kernels/matmul_panel.h"
#include <math.h>
#include <stdlib.h>

enum { SMALL = 400000, TOGETHER = 1000000, NEAR_PANELS = 16, SPLIT = 8, DEEP = 1024, PARTS = 8, FAR = 1 << 20 };

static kd__mm_side side_of(const kd_tensor *t, bool turned, int64_t rows, int64_t cols) {
  int r = t->rank;
  kd__mm_side s = { .row = t->stride[turned ? r - 1 : r - 2], .col = t->stride[turned ? r - 2 : r - 1] };
  for (int d = 0; d < r - 2; d++) s.batch[d] = t->dim[d] == 1 ? 0 : t->stride[d];
  if (rows == 1) s.row = s.col == 1 ? cols : 1;  /* strides that are never taken: what suits best */
  if (cols == 1) s.col = s.row == 1 && rows > 1 ? rows : 1;
  return s;
}

/* In cycles, roughly: 32 results take k, packing a quarter an element, a result that is stored across takes one. */
static double cost(int64_t m, int64_t n, int64_t k, bool pack, bool across) {
  return (double)m * (double)kd__ceil_div(n, KD__PANEL) * (double)k * (1 + 2.0 / (double)kd__min(m, KD__MM_ROWS)) / 1.15 +
         (pack ? 0.25 * (double)n * (double)k : 0) + (across ? (double)m * (double)n : 0);
}
/* Rows of B that lie a power of two apart share cache lines: packed if they are used often. */
static bool packs(const kd__mm_side *b, int64_t m, int64_t n, int64_t k) {
  return b->col != 1 || (b->row % 2048 == 0 && m >= 8 * KD__MM_ROWS && k >= 64 && n >= 1);
}

/* Cycles of a team for mp pieces of rows and nc panels each: the sums of whoever has most of them, operands that are read again, the start of a piece, and
 * what is waited for where somebody is disturbed in his last one. */
static double piece_cost(const kd__product *p, int64_t mp, int64_t nc) {
  int64_t mc = kd__ceil_div(p->m, mp), np = kd__ceil_div(p->panels, nc), threads = p->threads, pieces = mp * np * p->batch, rounds = kd__ceil_div(pieces, threads);
  double row = (double)p->k * (double)(mc + kd__ceil_div(mc, KD__MM_ROWS)), piece = row * (double)nc, last = row * (double)(p->panels - (np - 1) * nc);
  double sums = (double)(rounds - 1) * piece + (pieces - (rounds - 1) * threads <= mp ? last : piece);
  double again = (0.25 * (double)np * (double)p->m + 0.15 * KD__PANEL * (double)mp * (double)p->panels) * (double)p->k * (double)p->batch / (double)threads;
  return sums + again + 2000 * (double)rounds + (threads > 1 ? 0.03 * piece : 0);
}

static void cut(kd__product *p) {
  double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k, best = INFINITY;
  int64_t units = kd__ceil_div(p->m, KD__MM_ROWS);
  p->parts = 1, p->depth = p->k;
  if (p->batch >= 4 * p->threads || (p->batch > 1 && flops < SMALL)) { p->by = KD__BY_ITEM; return; }
  if (p->batch == 1 && !p->keep && p->k >= 2 * DEEP && p->m * p->n <= 128 * 128) {           /* the same parts for any team: their sums make the bits */
    p->by = KD__BY_DEPTH, p->parts = kd__min(PARTS, p->k / DEEP), p->depth = kd__ceil_div(kd__ceil_div(p->k, p->parts), KD__MM_DEPTH) * KD__MM_DEPTH;
    p->parts = kd__ceil_div(p->k, p->depth);
    return;
  }
  p->mp = 1, p->nc = kd__min(NEAR_PANELS, p->panels);
  bool shared = p->threads > 1 && flops * (double)p->batch >= SMALL;
  for (int64_t mp = 1; mp <= (shared ? kd__min(units, SPLIT * p->threads) : 1); mp++)
    for (int64_t nc = kd__min(NEAR_PANELS, p->panels); nc >= 1; nc--) {
      double cycles = piece_cost(p, mp, nc);
      if (cycles < best) best = cycles, p->mp = mp, p->nc = nc;
    }
  p->np = kd__ceil_div(p->panels, p->nc);
  p->mc = kd__ceil_div(p->m, p->mp), p->mp = kd__ceil_div(p->m, p->mc);
}

size_t kd__mm_reserve(kd__product *p, int64_t floats) {
  size_t at = p->total;
  p->total += ((size_t)floats * sizeof(float) + KD__MM_ALIGN - 1) / KD__MM_ALIGN * KD__MM_ALIGN;
  return at;
}

/* A frozen operand that is no stack can be packed once. */
static bool keeps(const kd_call *c, int i) { return c->version && c->version[i] && c->out[0].rank == 2; }

static void describe(kd__product *p, const kd_call *c, const kd_kernel_settings *s) {
  const kd_tensor *o = &c->out[0];
  int r = o->rank;
  int64_t m = o->dim[r - 2], n = o->dim[r - 1], k = c->in[0].dim[r - 1];
  *p = (kd__product){ .simd = kd__simd_best(), .threads = s->threads < 1 ? 1 : s->threads, .nbatch = r - 2, .batch = 1, .k = k };
  for (int d = 0; d < r - 2; d++) p->bdim[d] = o->dim[d], p->batch *= o->dim[d];
  kd__mm_side a = side_of(&c->in[0], false, m, k), b = side_of(&c->in[1], false, k, n), at = side_of(&c->in[0], true, k, m), bt = side_of(&c->in[1], true, n, k);
  kd__mm_side y = side_of(o, false, m, n), yt = side_of(o, true, n, m);
  bool keep_a = keeps(c, 0), keep_b = keeps(c, 1);
  p->swap = cost(n, m, k, !keep_a && packs(&at, n, m, k), yt.col != 1) < cost(m, n, k, !keep_b && packs(&b, m, n, k), y.col != 1);
  p->m = p->swap ? n : m, p->n = p->swap ? m : n;
  p->a = p->swap ? bt : a, p->b = p->swap ? at : b, p->c = p->swap ? yt : y;
  p->keep = p->swap ? keep_a : keep_b;
  p->pack = p->keep || packs(&p->b, p->m, p->n, k);
  p->turned = p->c.col != 1 && p->c.row == 1;
  p->copy = p->c.col != 1 && p->c.row != 1;
  if (p->copy) {
    int64_t step = p->m * p->n;
    p->c.row = p->n, p->c.col = 1, p->result = kd__mm_reserve(p, step * p->batch);
    for (int d = r - 3; d >= 0; d--) p->c.batch[d] = step, step *= p->bdim[d];
  }
  p->panels = kd__ceil_div(p->n, KD__PANEL);
  cut(p);
  p->far = (p->m * p->n + (p->m + p->n) * k) * p->batch >= FAR;
  p->local = p->pack && !p->keep && p->by == KD__BY_PIECE && p->mp == 1;
  p->each = p->pack ? (size_t)((p->local ? p->nc : p->panels) * KD__PANEL * (p->by == KD__BY_DEPTH ? KD__MM_DEPTH : k)) : 0;
  p->packed = kd__mm_reserve(p, p->keep ? 0 : (int64_t)p->each * (p->by == KD__BY_PIECE && !p->local ? p->batch : p->threads));
  if (p->parts > 1) p->partial = kd__mm_reserve(p, p->parts * p->m * p->n);
}

bool kd__matmul_panel_takes(const kd_call *c, const kd_kernel_settings *s) {
  const kd_tensor *o = &c->out[0];
  (void)s;
  if (strcmp(kd__simd_best()->name, "base") == 0 && kd__blas()) return false;    /* there are better ones for the oldest processors */
  return o->dtype == KD_F32 && c->in[0].dim[o->rank - 1] > 0 && kd__count(o) > 0;
}
size_t kd__matmul_panel_scratch(const kd_call *c, const kd_kernel_settings *s) {
  kd__product p, gram;
  describe(&p, c, s);
  return kd__gram_describe(&gram, &p, c) && gram.total > p.total ? gram.total : p.total;
}
kd_status kd__matmul_panel_prepare(kd_call *c, const kd_kernel_settings *s) {
  kd__product *p = calloc(2, sizeof *p);         /* the second: for where both operands are one */
  if (!p) return KD_E_MEMORY;
  describe(p, c, s);
  kd__gram_describe(p + 1, p, c);
  c->prepared = p;
  if (!p->keep) return KD_OK;
  c->kept = (p->each * sizeof(float) + KD__MM_ALIGN - 1) / KD__MM_ALIGN * KD__MM_ALIGN;
  p->kept = aligned_alloc(KD__MM_ALIGN, c->kept);
  if (!p->kept) { free(p); c->prepared = NULL; return KD_E_MEMORY; }
  return KD_OK;
}
void kd__matmul_panel_release(void *prepared) {
  kd__product *p = prepared;
  if (p) free(p->kept);
  free(p);
}

/* --- running -------------------------------------------------------------------------------------------------------------------------- */
void kd__mm_item(const kd__product *p, int64_t item, int64_t off[3]) {
  off[0] = off[1] = off[2] = 0;
  for (int d = p->nbatch - 1; d >= 0; d--) {
    int64_t at = item % p->bdim[d];
    item /= p->bdim[d];
    off[0] += at * p->a.batch[d], off[1] += at * p->b.batch[d], off[2] += at * p->c.batch[d];
  }
}

/* Panels begin..end-1 of B, one after the other. */
void kd__mm_pack(const kd__product *p, const float *b, float *to, int64_t k, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j++, to += KD__PANEL * k)
    p->simd->pack(k, kd__min(KD__PANEL, p->n - j * KD__PANEL), b + j * KD__PANEL * p->b.col, p->b.row, p->b.col, to);
}

/* Rows i.. and panels j.. of one item; `packed`: from panel j on. */
static void multiply(const kd__product *p, const float *a, const float *b, const float *packed, float *c, int64_t i, int64_t rows, int64_t j, int64_t panels,
                     const kd__ahead *then) {
  kd__mm g = { .m = rows, .n = kd__min(panels * KD__PANEL, p->n - j * KD__PANEL), .k = p->k, .ars = p->a.row, .aks = p->a.col, .turned = p->turned,
               .ldc = p->turned ? p->c.col : p->c.row, .padded = p->pack, .bps = p->pack ? KD__PANEL * p->k : KD__PANEL, .bks = p->pack ? KD__PANEL : p->b.row };
  if (then) g.then[0] = then[0], g.then[1] = then[1];
  p->simd->mm(&g, a + i * p->a.row, p->pack ? packed : b + j * KD__PANEL, c + i * p->c.row + j * KD__PANEL * p->c.col);
}

/* The item that this thread is likely to take next. */
int64_t kd__mm_following(const kd__product *p, int64_t item, int64_t begin, int64_t end) {
  return item + 1 < end ? item + 1 : item + 1 + (p->threads - 1) * (end - begin);
}
kd__ahead kd__mm_ahead(const float *at, const kd__mm_side *s, int64_t rows, int64_t cols) {
  if (s->col != 1) return s->row == 1 ? kd__mm_ahead(at, &(kd__mm_side){ .row = s->col, .col = 1 }, cols, rows) : (kd__ahead){ 0 };
  return s->row == cols ? (kd__ahead){ at, rows * cols / 16, 16, 1 } : (kd__ahead){ at, rows, s->row, kd__ceil_div(cols, 16) };
}

static void run_item(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  float *mine = w->packed + (p->pack ? (size_t)kd__par_thread() * p->each : 0);
  (void)chunk;
  for (int64_t item = begin; item < end; item++) {
    int64_t off[3];
    kd__mm_item(p, item, off);
    kd__ahead then[2] = { { 0 }, { 0 } };
    int64_t following = kd__mm_following(p, item, begin, end), next[3];
    if (p->far && following < p->batch) {
      kd__mm_item(p, following, next);
      then[0] = kd__mm_ahead(w->a + next[0], &p->a, p->m, p->k), then[1] = kd__mm_ahead(w->b + next[1], &p->b, p->k, p->n);
    }
    if (p->pack) kd__mm_pack(p, w->b + off[1], mine, p->k, 0, p->panels);
    multiply(p, w->a + off[0], w->b + off[1], mine, w->c + off[2], 0, p->m, 0, p->panels, then);
  }
}

static void pack_shared(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  (void)chunk;
  for (int64_t q = begin; q < end; q++) {
    int64_t item = q / p->panels, off[3];
    kd__mm_item(p, item, off);
    kd__mm_pack(p, w->b + off[1], w->packed + (size_t)item * p->each + q % p->panels * KD__PANEL * p->k, p->k, q % p->panels, q % p->panels + 1);
  }
}
static void run_piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  (void)chunk;
  for (int64_t q = begin; q < end; q++) {
    int64_t item = q / (p->mp * p->np), j = q / p->mp % p->np * p->nc, i = q % p->mp * p->mc, off[3];
    float *packed = w->packed + (p->local ? (size_t)kd__par_thread() * p->each : (size_t)item * p->each + (size_t)(p->pack ? j * KD__PANEL * p->k : 0));
    kd__mm_item(p, item, off);
    if (p->local) kd__mm_pack(p, w->b + off[1], packed, p->k, j, kd__min(j + p->nc, p->panels));
    multiply(p, w->a + off[0], w->b + off[1], packed, w->c + off[2], i, kd__min(p->mc, p->m - i), j, kd__min(p->nc, p->panels - j), NULL);
  }
}

/* One part of the sums of all results, to its place in `partial`, packed as it goes. */
static void run_part(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  float *mine = w->packed + (p->pack ? (size_t)kd__par_thread() * p->each : 0), *to = p->parts > 1 ? w->partial + begin * p->m * p->n : w->c;
  (void)end, (void)chunk;
  for (int64_t at = begin * p->depth, stop = kd__min(at + p->depth, p->k), first = at; at < stop; at += KD__MM_DEPTH) {
    int64_t k = kd__min(KD__MM_DEPTH, stop - at);
    const float *b = w->b + at * p->b.row;
    if (p->pack) kd__mm_pack(p, b, mine, k, 0, p->panels);
    kd__mm g = { .m = p->m, .n = p->n, .k = k, .ars = p->a.row, .aks = p->a.col, .ldc = p->n, .add = at > first, .padded = p->pack,
                 .bps = p->pack ? KD__PANEL * k : KD__PANEL, .bks = p->pack ? KD__PANEL : p->b.row };
    if (at + k < stop) {
      int64_t next = kd__min(KD__MM_DEPTH, stop - at - k);
      g.then[0] = kd__mm_ahead(w->a + (at + k) * p->a.col, &p->a, p->m, next), g.then[1] = kd__mm_ahead(b + k * p->b.row, &p->b, next, p->n);
    }
    if (p->parts == 1) g.turned = p->turned, g.ldc = p->turned ? p->c.col : p->c.row;
    p->simd->mm(&g, w->a + at * p->a.col, p->pack ? mine : b, to);
  }
}
static void add_parts(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  (void)chunk;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < p->n; j++) {
      const float *from = w->partial + i * p->n + j;
      float sum = from[0];
      for (int64_t q = 1; q < p->parts; q++) sum += from[q * p->m * p->n];
      w->c[i * p->c.row + j * p->c.col] = sum;
    }
}

void kd__matmul_panel_run(const kd_call *c, const kd_exec *x) {
  const kd__product *p = c->prepared;
  if (p[1].panels && c->in[0].data == c->in[1].data) p++;
  kd_exec team = *x;
  const kd_tensor *o = &c->out[0];
  char *scratch = x->scratch;
  kd__mm_job w = { p, c->in[p->swap ? 1 : 0].data, c->in[p->swap ? 0 : 1].data, p->copy ? (float *)(scratch + p->result) : o->data, (float *)(scratch + p->packed),
            (float *)(scratch + p->partial) };
  double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
  if (team.threads > p->threads || flops * (double)p->batch < SMALL) team.threads = 1;
  if (p->gram) {
    kd__gram_run(p, &w, &team);
  } else if (p->by == KD__BY_ITEM) {
    int64_t together = kd__max(1, (int64_t)(TOGETHER / flops));
    kd__par_for(&team, p->batch, kd__max(kd__min(p->batch, team.threads), p->batch / together), 1, run_item, &w);
  } else if (p->by == KD__BY_DEPTH) {
    kd__par_for(&team, p->parts, p->parts, 1, run_part, &w);
    if (p->parts > 1) kd__par_for(&team, p->m, kd__par_chunks(&team, p->m * p->n * p->parts), 1, add_parts, &w);
  } else {
    int64_t panels = p->panels * p->batch, pieces = p->mp * p->np * p->batch;
    kd__product *own = c->prepared;
    uint64_t now = p->keep ? *c->version[p->swap ? 0 : 1] + 1 : 0; /* 0: not made yet */
    if (p->keep) w.packed = p->kept;
    if (p->pack && !p->local && (!p->keep || p->made != now)) kd__par_for(&team, panels, p->each < 16384 ? 1 : kd__min(panels, 4 * (int64_t)team.threads), 1, pack_shared, &w);
    own->made = now;
    kd__par_for(&team, pieces, pieces, 1, run_piece, &w);
  }
  if (!p->copy) return;
  int64_t stride[KD_MAX_RANK];
  for (int d = 0; d < p->nbatch; d++) stride[d] = p->c.batch[d];
  stride[o->rank - 2] = p->swap ? p->c.col : p->c.row, stride[o->rank - 1] = p->swap ? p->c.row : p->c.col;
  kd_tensor tight = { w.c, o->dim, stride, o->dtype, o->rank };
  kd__copy_strided(&tight, o, x);
}
