/* matmul_dots.c: XX' of rows whose terms lie side by side, by matmul.panel: dot products (simd_dots.h) of four rows with four, of 256 terms at a time.
 * Nothing is packed; rows that do not follow each other, or do not end at a multiple of 16, are copied, some while others are computed, as memory is slow.
 * Results on and above the diagonal are computed, and the rest is the same. Bits depend on the shape only. */
#include "runtime/kernels/matmul_panel.h"

enum { DEPTH = 256, LINE = 16, LEAST = 8, LONG = 128, MOST = 512, MOST_COPIED = 256 };

/* Rows that are brought near bit by bit: asked for, and the next time copied, if there is a place for them. */
typedef struct feed {
  const float *from;
  int64_t step, rows, terms, asked, copied;
  float *to;                                     /* rows of DEPTH terms, or NULL: they stay where they are */
} feed;

/* Copies those that were asked for, and says which are to be asked for now. */
static kd__ahead bring(feed *f, int64_t rows) {
  int64_t lines = kd__ceil_div(f->terms, LINE), at = f->asked;
  for (; f->to && f->copied < f->asked; f->copied++) {
    float *to = f->to + f->copied * DEPTH;
    memcpy(to, f->from + f->copied * f->step, (size_t)f->terms * sizeof *to);
    for (int64_t p = f->terms; p < lines * LINE; p++) to[p] = 0;
  }
  f->asked = kd__min(f->rows, at + rows);
  return (kd__ahead){ f->from + at * f->step, f->asked - at, f->step, lines };
}
static void bring_all(feed *f) { bring(f, f->rows), bring(f, 0); }

static bool as_they_lie(const kd__product *p) { return p->k <= DEPTH && p->k % LINE == 0 && p->b.col == p->k; }
bool kd__dots_take(const kd__product *p) {
  return p->b.row == 1 && p->k >= LONG && p->n >= LEAST && p->n <= (as_they_lie(p) ? MOST : MOST_COPIED) && p->k * p->n >= LONG * KD__PANEL;
}
/* Floats that one thread copies to. */
int64_t kd__dots_room(const kd__product *p) { return as_they_lie(p) ? 0 : p->by == KD__BY_PIECE ? 2 * KD__PANEL * DEPTH : 2 * p->n * DEPTH; }

/* Panel `at` of the results on and above the diagonal; `some` rows are fed with each four. */
static void panel(const kd__product *p, const float *x, int64_t step, int64_t terms, int64_t at, float *c, bool add, feed *next, int64_t some) {
  int64_t col = at * KD__PANEL, cols = kd__min(KD__PANEL, p->n - col);
  kd__dots g = { .m = 4, .n = cols, .k = (terms + LINE - 1) / LINE * LINE, .ars = step, .brs = step, .ldc = p->c.row, .add = add };
  for (int64_t i = 0; i < col; i += 4) {
    if (next) g.then = bring(next, some);
    p->simd->dots(&g, x + i * step, x + col * step, c + i * g.ldc + col);
  }
  g.m = cols, g.symmetric = true;
  if (next) g.then = bring(next, 4 * some);
  p->simd->dots(&g, x + col * step, x + col * step, c + col * g.ldc + col);
}
/* Terms begin..end-1 of one item's results; `then`: what comes next. */
static void terms_of(const kd__product *p, const float *x, int64_t begin, int64_t end, float *near, float *c, feed *then) {
  int64_t ticks = 0;
  for (int64_t q = 0; q < p->panels; q++) ticks += KD__PANEL / 4 * q + 4;
  feed next = { x + begin, p->b.col, p->n, kd__min(DEPTH, end - begin), 0, 0, near };
  if (near) bring_all(&next);
  for (int64_t at = begin, k; at < end; at += k) {
    k = kd__min(DEPTH, end - at);
    const float *rows = near ? next.to : x + at;
    int64_t following = kd__min(DEPTH, end - at - k);
    next = (feed){ x + at + k, p->b.col, p->n, following, 0, 0, !near ? NULL : next.to == near ? near + p->n * DEPTH : near };
    feed *f = following > 0 && near ? &next : following > 0 ? NULL : then;
    int64_t some = f ? kd__ceil_div(f->rows, ticks) : 0;
    for (int64_t q = 0; q < p->panels; q++) panel(p, rows, near ? DEPTH : p->b.col, k, q, c, at > begin, f, some);
    if (f == &next) bring_all(f);
  }
}

static void run_item(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  float *near = p->each ? w->packed + (size_t)kd__par_thread() * p->each : NULL;
  (void)chunk;
  for (int64_t item = begin; item < end; item++) {
    int64_t following = kd__mm_following(p, item, begin, end), off[3];
    feed then = { 0 };
    if (p->far && following < p->batch) {
      kd__mm_item(p, following, off);
      then = (feed){ w->b + off[1], p->b.col, p->n, kd__min(p->k, DEPTH), 0, 0, NULL };
    }
    kd__mm_item(p, item, off);
    terms_of(p, w->b + off[1], 0, p->k, near, w->c + off[2], &then);
    p->simd->mirror(0, p->n, w->c + off[2], p->c.row);
  }
}
static void run_part(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  kd__product p = *w->p;
  float *near = p.each ? w->packed + (size_t)kd__par_thread() * p.each : NULL;
  (void)chunk;
  if (p.parts > 1) p.c.row = p.n;
  for (int64_t i = begin; i < end; i++)
    terms_of(&p, w->b, i * p.depth, kd__min(i * p.depth + p.depth, p.k), near, p.parts > 1 ? w->partial + i * p.n * p.n : w->c, NULL);
}
/* One square of panels; the one below the diagonal is left to who mirrors. */
static void run_piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const kd__mm_job *w = ctx;
  const kd__product *p = w->p;
  float *near = p->each ? w->packed + (size_t)kd__par_thread() * p->each : NULL;
  (void)chunk;
  for (int64_t q = begin; q < end; q++) {
    int64_t i = q / p->panels % p->panels * KD__PANEL, j = q % p->panels * KD__PANEL, off[3];
    if (j < i) continue;
    kd__mm_item(p, q / p->panels / p->panels, off);
    kd__dots g = { .m = kd__min(KD__PANEL, p->n - i), .n = kd__min(KD__PANEL, p->n - j), .ldc = p->c.row, .symmetric = i == j };
    for (int64_t at = 0; at < p->k; at += DEPTH) {
      const float *x = w->b + off[1] + i * p->b.col + at, *y = w->b + off[1] + j * p->b.col + at;
      g.k = kd__min(DEPTH, p->k - at), g.ars = g.brs = near ? DEPTH : p->b.col, g.add = at > 0;
      if (near) {
        bring_all(&(feed){ x, p->b.col, g.m, g.k, 0, 0, near });
        if (i != j) bring_all(&(feed){ y, p->b.col, g.n, g.k, 0, 0, near + KD__PANEL * DEPTH });
        x = near, y = i == j ? near : near + KD__PANEL * DEPTH;
      }
      g.k = kd__ceil_div(g.k, LINE) * LINE;
      p->simd->dots(&g, x, y, w->c + off[2] + i * p->c.row + j);
    }
  }
}

void kd__dots_run(const kd__product *p, const kd__mm_job *w, const kd_exec *team, kd__range_fn mirror) {
  void *job = (void *)w;
  int64_t pieces = p->batch * p->panels * p->panels;
  if (p->by == KD__BY_ITEM) {
    int64_t together = kd__max(1, (int64_t)(1e6 / (double)(p->n * p->n * p->k)));
    kd__par_for(team, p->batch, kd__max(kd__min(p->batch, team->threads), p->batch / together), 1, run_item, job);
  } else if (p->by == KD__BY_DEPTH) {
    kd__par_for(team, p->parts, p->parts, 1, run_part, job);
  } else {
    kd__par_for(team, pieces, pieces, 1, run_piece, job);
    kd__par_for(team, p->batch * p->panels, p->panels > 1 ? kd__min(p->batch * p->panels, 4 * (int64_t)team->threads) : 1, 1, mirror, job);
  }
}
