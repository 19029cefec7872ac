/* wino_grad.c: weight gradients of 3 x 3 convolutions through Winograd's transforms: dU = sum over tiles of (B' x B)' (A dy A'), dw = G' dU G.
 *
 * The transformed tiles of the whole batch would not stay in the cache, so the batch goes in rounds of as many tiles as do. In a round the team
 * first transforms tiles, then shares the 36 products, each over all tiles of the round: so sums have one order, whoever computes them. */
#include "runtime/kernels/wino.h"

enum { CACHE = 8 << 20, ROUND_MIN = 64, LANES = 16, TOGETHER = 8 };

void kd__wino_grad_shape(kd__wino *w) {
  w->in_row = w->ci + KD__WINO_PAD, w->out_row = kd__ceil_div(w->co, KD__PANEL) * KD__PANEL + KD__WINO_PAD;
  int64_t per_tile = KD__FREQ * (w->in_row + w->out_row) * (int64_t)sizeof(float);
  w->blocks = kd__ceil_div(w->tiles, kd__max(ROUND_MIN, CACHE / per_tile)), w->block = kd__ceil_div(w->tiles, w->blocks);
  w->filters = kd__wino_reserve(w, KD__FREQ * w->ci * w->co);
  w->work = kd__wino_reserve(w, KD__FREQ * w->block * (w->in_row + w->out_row));
}

typedef struct job { const kd__wino *w; const float *x, *dy; float *vt, *yt, *filters, *to; int64_t first, n; } job;

static void transform(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  const kd__conv *v = &w->v;
  int64_t image;
  (void)chunk;
  for (int64_t t = begin; t < end; t++) {
    kd__tile in = kd__wino_tile(w, j->first + t, v->in[0], v->in[1], w->ci, v->pad_lo[0], v->pad_lo[1], &image);
    w->simd->wino_in(&in, j->x + image * v->in[0] * v->in[1] * w->ci, j->vt + t * w->in_row, j->n * w->in_row);
    kd__tile out = kd__wino_tile(w, j->first + t, v->out[0], v->out[1], w->co, 0, 0, &image);
    w->simd->wino_grad(&out, j->dy + image * v->out[0] * v->out[1] * w->co, j->yt + t * w->out_row, j->n * w->out_row);
  }
}

static void multiply(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  kd__mm g = { .m = w->ci, .n = w->co, .k = j->n, .ars = 1, .aks = w->in_row, .bps = KD__PANEL, .bks = w->out_row, .ldc = w->co, .add = j->first > 0, .padded = true };
  (void)chunk;
  for (int64_t f = begin; f < end; f++)
    w->simd->mm(&g, j->vt + f * j->n * w->in_row, j->yt + f * j->n * w->out_row, j->filters + f * w->ci * w->co);
}

static void back(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  const int64_t *s = w->v.t[KD__W]->stride;
  float g[9 * LANES];
  (void)chunk;
  for (int64_t c = begin; c < end; c++)
    for (int64_t o = 0; o < w->co; o += LANES) {
      w->simd->wino_filter_grad(j->filters + c * w->co + o, w->ci * w->co, g);
      for (int l = 0; l < LANES; l++)
        for (int a = 0; a < 9; a++) j->to[(o + l) * s[0] + c * s[1] + a / 3 * s[2] + a % 3 * s[3]] = g[a * LANES + l];
    }
}

void kd__wino_grad_run(const kd__wino *w, const kd_exec *x) {
  char *scratch = x->scratch;
  job j = { .w = w, .filters = (float *)(scratch + w->filters), .vt = (float *)(scratch + w->work), .to = w->v.t[KD__W]->data };
  j.x = kd__wino_map(w, KD__X, x, true), j.dy = kd__wino_map(w, KD__Y, x, true);
  for (; j.first < w->tiles; j.first += j.n) {
    j.n = kd__min(w->block, w->tiles - j.first);
    j.yt = j.vt + KD__FREQ * j.n * w->in_row;
    kd__par_for(x, j.n, kd__ceil_div(j.n, TOGETHER), 1, transform, &j);
    kd__par_for(x, KD__FREQ, KD__FREQ, 1, multiply, &j);
  }
  kd__par_for(x, w->ci, kd__min(w->ci, 4 * (int64_t)w->threads), 1, back, &j);
}
