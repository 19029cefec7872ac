/* matmul_gram.c: XX' by matmul.panel: only the blocks on the diagonal and above it are computed, the others are the same, exchanged. X' is packed a
 * block of terms after the other, and both operands are read from there: panels of 32 columns of X' are also 32 rows of X. The result's bits are
 * symmetric, and do not depend on the number of threads. */
#include "runtime/kernels/matmul_panel.h"

enum { DEPTH = 128, NEAR_PANELS = 12, FEW = 4, SMALL = 400000 };   /* two packed panels of so many terms fit the first-level cache */

/* The same memory, rows for columns? Whether the two begin at the same place is only known when they are bound. */
static bool transposed(const kd_tensor *a, const kd_tensor *b) {
  int r = a->rank;
  for (int d = 0; d < r - 2; d++)
    if (a->dim[d] != b->dim[d] || a->stride[d] != b->stride[d]) return false;
  return a->dim[r - 2] == b->dim[r - 1] && a->stride[r - 2] == b->stride[r - 1] && a->stride[r - 1] == b->stride[r - 2];
}

/* Terms that are packed at a time. */
static int64_t depth(const kd__product *p) { return p->by == KD__BY_PIECE ? p->k : p->by == KD__BY_DEPTH ? KD__MM_DEPTH : DEPTH; }

bool kd__gram_describe(kd__product *g, const kd__product *plain, const kd_call *c) {
  if (!transposed(&c->in[0], &c->in[1])) return false;
  *g = *plain;                                   /* with operands exchanged or not, b is X' of k rows and n columns */
  double flops = 2.0 * (double)g->n * (double)g->n * (double)g->k;
  g->gram = true, g->swap = g->keep = g->local = g->turned = false, g->kept = NULL, g->total = 0;
  g->dots = kd__dots_take(g), g->pack = !g->dots;
  if (!g->dots && (g->n <= KD__PANEL || (g->by == KD__BY_DEPTH && g->panels < FEW))) return *g = (kd__product){ 0 }, false;     /* what would be saved goes into packing */
  if (g->c.col != 1) g->c.row = g->c.col, g->c.col = 1;                /* a symmetric result lies either way */
  if (g->copy) g->result = kd__mm_reserve(g, g->n * g->n * g->batch);
  if (plain->by == KD__BY_PIECE && (flops * (double)g->batch < SMALL || g->batch >= 2 * g->threads)) g->by = KD__BY_ITEM;
  if (g->by != KD__BY_DEPTH) g->parts = 1;
  g->each = (size_t)(g->dots ? kd__dots_room(g) : g->panels * KD__PANEL * depth(g));
  g->packed = kd__mm_reserve(g, (int64_t)g->each * (!g->dots && g->by == KD__BY_PIECE ? g->batch : g->threads));
  if (g->parts > 1) g->partial = kd__mm_reserve(g, g->parts * g->n * g->n);
  return true;
}

/* The rows of panel i, from the diagonal on for so many panels; k terms, packed. */
static void rows(const kd__product *p, const float *packed, int64_t k, int64_t i, int64_t from, int64_t panels, bool add, float *c, int64_t ldc, kd__ahead then) {
  int64_t step = KD__PANEL * k, at = i * KD__PANEL, col = from * KD__PANEL;
  kd__mm g = { .m = kd__min(KD__PANEL, p->n - at), .n = kd__min(panels * KD__PANEL, p->n - col), .k = k, .ars = 1, .aks = KD__PANEL, .bps = step,
               .bks = KD__PANEL, .ldc = ldc, .add = add, .padded = true, .then = { then } };
  p->simd->mm(&g, packed + i * step, packed + from * step, c + at * ldc + col);
}

/* Terms begin..end-1 of the upper results. `then`: what comes next, asked for bit by bit. */
static void upper(const kd__product *p, const float *b, int64_t begin, int64_t end, float *packed, float *c, int64_t ldc, kd__ahead then) {
  int64_t left = p->panels * (p->panels + 1) / 2 * kd__ceil_div(end - begin, depth(p));
  for (int64_t at = begin, k; at < end; at += k) {
    k = kd__min(depth(p), end - at);
    kd__mm_pack(p, b + at * p->b.row, packed, k, 0, p->panels);
    for (int64_t i = 0; i < p->panels; i++) {
      kd__ahead some = then;
      some.rows = then.rows * (p->panels - i) / left, left -= p->panels - i;
      rows(p, packed, k, i, i, p->panels - i, at > begin, c, ldc, some);
      then.rows -= some.rows, then.at += some.rows * then.step;
    }
  }
}

static void run_item(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  float *mine = w->packed + (size_t)kd__par_thread() * p->each;
  (void)chunk;
  for (int64_t item = begin; item < end; item++) {
    int64_t following = kd__mm_following(p, item, begin, end), off[3];
    kd__ahead then = { 0 };
    if (p->far && following < p->batch) {
      kd__mm_item(p, following, off);
      then = kd__mm_ahead(w->b + off[1], &p->b, p->k, p->n);
    }
    kd__mm_item(p, item, off);
    upper(p, w->b + off[1], 0, p->k, mine, w->c + off[2], p->c.row, then);
    p->simd->mirror(0, p->n, w->c + off[2], p->c.row);
  }
}

static void run_part(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  float *mine = w->packed + (size_t)kd__par_thread() * p->each;
  (void)chunk;
  for (int64_t i = begin; i < end; i++)
    upper(p, w->b, i * p->depth, kd__min(i * p->depth + p->depth, p->k), mine, w->partial + i * p->n * p->n, p->n, (kd__ahead){ 0 });
}
static void add_parts(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  (void)chunk;
  for (int64_t i = begin; i < end; i++) {
    float *to = w->c + i * p->c.row;
    const float *from = w->partial + i * p->n;
    for (int64_t j = i / KD__PANEL * KD__PANEL; j < p->n; j++) {
      float sum = from[j];
      for (int64_t q = 1; q < p->parts; q++) sum += from[q * p->n * p->n + j];
      to[j] = sum;
    }
  }
}

static void pack_shared(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  (void)chunk;
  for (int64_t q = begin; q < end; q++) {
    int64_t item = q / p->panels, at = q % p->panels, off[3];
    kd__mm_item(p, item, off);
    kd__mm_pack(p, w->b + off[1], w->packed + (size_t)item * p->each + at * KD__PANEL * p->k, p->k, at, at + 1);
  }
}
static void run_piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  int64_t across = kd__ceil_div(p->panels, NEAR_PANELS);
  (void)chunk;
  for (int64_t q = begin; q < end; q++) {
    int64_t item = q / across / p->panels, i = q / across % p->panels, last = kd__min(p->panels, (q % across + 1) * NEAR_PANELS), off[3];
    int64_t from = kd__max(i, q % across * NEAR_PANELS);
    if (from >= last) continue;
    kd__mm_item(p, item, off);
    rows(p, w->packed + (size_t)item * p->each, p->k, i, from, last - from, false, w->c + off[2], p->c.row, (kd__ahead){ 0 });
  }
}
static void run_mirror(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  (void)chunk;
  for (int64_t q = begin; q < end; q++) {
    int64_t at = q % p->panels * KD__PANEL, off[3];
    kd__mm_item(p, q / p->panels, off);
    p->simd->mirror(at, kd__min(at + KD__PANEL, p->n), w->c + off[2], p->c.row);
  }
}

void kd__gram_run(const kd__product *p, const kd__mm_job *w, const kd_exec *team) {
  void *job = (void *)w;
  int64_t panels = p->batch * p->panels, pieces = panels * kd__ceil_div(p->panels, NEAR_PANELS);
  if (p->dots) kd__dots_run(p, w, team, run_mirror);
  if (p->dots && p->by != KD__BY_DEPTH) return;
  if (p->by == KD__BY_ITEM) {
    int64_t together = kd__max(1, (int64_t)(1e6 / (double)(p->n * p->n * p->k)));
    kd__par_for(team, p->batch, kd__max(kd__min(p->batch, team->threads), p->batch / together), 1, run_item, job);
    return;
  }
  if (p->by == KD__BY_DEPTH) {
    if (!p->dots) kd__par_for(team, p->parts, p->parts, 1, run_part, job);
    if (p->parts > 1) kd__par_for(team, p->n, kd__par_chunks(team, p->n * p->n * p->parts / 2), KD__PANEL, add_parts, job);
    p->simd->mirror(0, p->n, w->c, p->c.row);
    return;
  }
  kd__par_for(team, panels, kd__min(panels, 4 * (int64_t)team->threads), 1, pack_shared, job);
  kd__par_for(team, pieces, pieces, 1, run_piece, job);
  kd__par_for(team, panels, kd__min(panels, 4 * (int64_t)team->threads), 1, run_mirror, job);
}
