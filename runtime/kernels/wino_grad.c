/* wino_grad.c: weight gradients of 3 x 3 convolutions through Winograd's transforms: dU = sum over tiles of (B' x B)' (A dy A'), dw = G' dU G.
 *
 * Where 36 matrices [ci, co] fit the second-level cache, tiles are cut into a few parts, the same for any team: a part has sums of its own, and takes
 * as many tiles at a time as fit beside them, so that nothing but x and dy is read from further away; parts are added in their order. Otherwise the
 * batch goes in rounds of as many tiles as the last-level cache has room for: the team first transforms them, then shares the 36 products, each over
 * all tiles of the round. Either way sums have one order, whoever computes them. */
#include "runtime/kernels/wino.h"

enum { NEAR = 800 * 1024, SUMS = 640 * 1024, TILES_MIN = 16, TILES_MAX = 64, PARTS = 8, PART_MIN = 32, CACHE = 8 << 20, ROUND_MIN = 64, LANES = 16, TOGETHER = 8 };

static void parts_shape(kd__wino *w) {
  int64_t sums = KD__FREQ * w->ci * w->co, per_tile = w->nin * w->in_row + w->nout * w->out_row;
  w->parts = kd__max(1, kd__min(PARTS, w->tiles / PART_MIN)), w->blocks = kd__ceil_div(w->tiles, w->parts), w->parts = kd__ceil_div(w->tiles, w->blocks);
  w->block = kd__max(TILES_MIN, kd__min(TILES_MAX, (NEAR / (int64_t)sizeof(float) - sums) / per_tile));
  w->block = kd__ceil_div(w->blocks, kd__ceil_div(w->blocks, w->block));
  w->filters = kd__wino_reserve(w, sums * w->parts);
  w->work_size = (size_t)(w->block * per_tile + (w->nin + w->nout) * KD__WINO_PAD) * sizeof(float);
  w->work = kd__wino_reserve(w, (int64_t)(w->work_size / sizeof(float)) * w->threads);
}

void kd__wino_grad_shape(kd__wino *w) {
  w->in_row = w->ci, w->out_row = kd__ceil_div(w->co, KD__PANEL) * KD__PANEL;
  if (KD__FREQ * w->ci * w->co * (int64_t)sizeof(float) <= SUMS) { parts_shape(w); return; }
  w->in_row += KD__WINO_PAD, w->out_row += KD__WINO_PAD;
  int64_t per_tile = (w->nin * w->in_row + w->nout * w->out_row) * (int64_t)sizeof(float);
  w->blocks = kd__ceil_div(w->tiles, kd__max(ROUND_MIN, CACHE / per_tile)), w->block = kd__ceil_div(w->tiles, w->blocks);
  w->filters = kd__wino_reserve(w, KD__FREQ * w->ci * w->co);
  w->work = kd__wino_reserve(w, w->block * (w->nin * w->in_row + w->nout * w->out_row) + (w->nin + w->nout) * KD__WINO_PAD);
}

/* vs, ys: floats from frequency to frequency of the tiles at vt and yt, the first of which is `first`. */
typedef struct job { const kd__wino *w; const float *x, *dy; float *vt, *yt, *filters, *to; char *work; int64_t first, n, vs, ys; } job;

static void transform(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  int64_t at;
  (void)chunk;
  for (int64_t t = begin; t < end; t++) {
    kd__tile in = kd__wino_tile(w, KD__X, j->first + t, &at);
    w->steps->in(&in, j->x + at, j->vt + t * w->in_row, j->vs);
    kd__tile out = kd__wino_tile(w, KD__Y, j->first + t, &at);
    w->steps->grad(&out, j->dy + at, j->yt + t * w->out_row, j->ys);
  }
}

/* The products of filters begin..end-1, those that come first in the list. */
static void multiply(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  kd__mm g = { .m = w->ci, .n = w->co, .k = j->n, .ars = 1, .aks = w->in_row, .bps = KD__PANEL, .bks = w->out_row, .ldc = w->co, .padded = true };
  (void)chunk;
  for (const kd__wino_product *p = w->product; p < w->product + w->products; p++) {
    if (KD__FREQ - 1 - p->u < begin || KD__FREQ - 1 - p->u >= end) continue;
    g.add = j->first > 0 || p->add_u;
    w->simd->mm(&g, j->vt + p->v * j->vs, j->yt + p->m * j->ys, j->filters + p->u * w->ci * w->co);
  }
}

static void run_part(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  job j = *(const job *)ctx;
  const kd__wino *w = j.w;
  int64_t last = kd__min(w->tiles, (begin + 1) * w->blocks);
  kd__mm g = { .m = w->ci, .n = w->co, .ars = 1, .aks = w->in_row, .bps = KD__PANEL, .bks = w->out_row, .ldc = w->co, .padded = true };
  (void)end, (void)chunk;
  j.filters += begin * KD__FREQ * w->ci * w->co, j.vt = (float *)(j.work + (size_t)kd__par_thread() * w->work_size);
  j.vs = w->block * w->in_row + KD__WINO_PAD, j.ys = w->block * w->out_row + KD__WINO_PAD, j.yt = j.vt + w->nin * j.vs;
  for (j.first = begin * w->blocks; j.first < last; j.first += j.n) {
    j.n = g.k = kd__min(w->block, last - j.first);
    transform(&j, 0, j.n, 0);
    int64_t more = kd__min(w->block, last - j.first - j.n);
    kd__wino_ahead ahead = { 0 };
    kd__wino_ahead_map(w, &ahead, KD__X, j.x, j.first + j.n, more);
    kd__wino_ahead_map(w, &ahead, KD__Y, j.dy, j.first + j.n, more);
    for (const kd__wino_product *p = w->product; p < w->product + w->products; p++) {
      kd__wino_ahead_take(&ahead, g.then);
      g.add = j.first > begin * w->blocks || p->add_u;
      w->simd->mm(&g, j.vt + p->v * j.vs, j.yt + p->m * j.ys, j.filters + p->u * w->ci * w->co);
    }
  }
}
/* Adds the later parts to the first. */
static void add_parts(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  int64_t step = KD__FREQ * j->w->ci * j->w->co;
  (void)chunk;
  for (int64_t p = 1; p < j->w->parts; p++)
    for (int64_t i = begin; i < end; i++) j->filters[i] += j->filters[p * step + i];
}

static void back(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  const int64_t *s = w->v.t[KD__W]->stride;
  float g[9 * LANES];
  (void)chunk;
  for (int64_t c = begin; c < end; c++)
    for (int64_t o = 0; o < w->co; o += LANES) {
      w->steps->filter_grad(j->filters + c * w->co + o, w->ci * w->co, g);
      for (int l = 0; l < LANES; l++)
        for (int a = 0; a < 9; a++) j->to[(o + l) * s[0] + c * s[1] + a / 3 * s[2] + a % 3 * s[3]] = g[a * LANES + l];
    }
}

static void rounds(job *j, const kd_exec *x) {
  const kd__wino *w = j->w;
  for (; j->first < w->tiles; j->first += j->n) {
    j->n = kd__min(w->block, w->tiles - j->first), j->vs = j->n * w->in_row + KD__WINO_PAD, j->ys = j->n * w->out_row + KD__WINO_PAD;
    j->yt = j->vt + w->nin * j->vs;
    kd__par_for(x, j->n, kd__ceil_div(j->n, TOGETHER), 1, transform, j);
    kd__par_for(x, KD__FREQ, KD__FREQ, 1, multiply, j);
  }
}

void kd__wino_grad_run(const kd__wino *w, const kd_exec *x) {
  char *scratch = x->scratch;
  job j = { .w = w, .filters = (float *)(scratch + w->filters), .work = scratch + w->work, .vt = (float *)(scratch + w->work), .to = w->v.t[KD__W]->data };
  j.x = kd__wino_map(w, KD__X, x, true), j.dy = kd__wino_map(w, KD__Y, x, true);
  if (w->parts) {
    kd__par_for(x, w->parts, w->parts, 1, run_part, &j);
    if (w->parts > 1) kd__par_for(x, KD__FREQ * w->ci * w->co, kd__ceil_div(KD__FREQ * w->ci * w->co, 4096), LANES, add_parts, &j);
  } else rounds(&j, x);
  kd__par_for(x, w->ci, kd__min(w->ci, 4 * (int64_t)w->threads), 1, back, &j);
}
