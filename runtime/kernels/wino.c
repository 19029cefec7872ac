/* wino.c: convolutions of 3 x 3 with stride 1 or 2 and their data gradients, through Winograd's F(4 x 4, 3 x 3) or, for even and odd places apart,
 * F(4, 2) with F(4, 1), on maps with channels innermost: so no map is ever reordered, and transforms are plain vector code over channels (simd_wino.h
 * and simd_stride.h say how).
 *
 * Filters are transformed first, U = G g G', a matrix [ci, co] for each of the 36 frequencies. Then some tiles at a time, as many as stay in the
 * second-level cache: V = B' x B, 36 products M = V U (81 with stride 2), y = A' M A. Blocks of tiles are shared by the team; a result's bits do not
 * depend on the cut. A data gradient is the same with the filters turned around. */
#include "runtime/kernels/wino.h"
#include "runtime/kernels/nest.h"
#include <stdlib.h>

enum { ALIGN = 64, CACHE = 640 * 1024, BLOCK_MIN = 14, BLOCK_MAX = 42, LANES = 16, RUNS = 8, HALF_TILES = 64 };

size_t kd__wino_reserve(kd__wino *w, int64_t floats) {
  size_t at = w->total;
  w->total += ((size_t)floats * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
  return at;
}

kd__tile kd__wino_tile(const kd__wino *w, kd__role role, int64_t t, int64_t *before) {
  const int64_t *size = role == KD__X ? w->v.in : w->v.out, *off = w->off[role];
  int64_t each = w->down * w->across, r = t % each, c = role == KD__X ? w->v.cin : w->v.cout;
  *before = t / each * size[0] * size[1] * c;
  return (kd__tile){ r / w->across * w->step[role] - off[0], r % w->across * w->step[role] - off[1], size[0], size[1], c };
}

static int64_t panels(int64_t n) { return kd__ceil_div(n, KD__PANEL); }

static int64_t filter_floats(const kd__wino *w) { return KD__FREQ * w->ci * panels(w->co) * KD__PANEL; }

static void forward_shape(kd__wino *w) {
  w->in_row = w->nin * w->ci + KD__WINO_PAD, w->out_row = w->nout * panels(w->co) * KD__PANEL + KD__WINO_PAD;
  int64_t per_tile = (w->in_row + w->out_row) * (int64_t)sizeof(float);
  w->block = kd__min(BLOCK_MAX, kd__max(BLOCK_MIN, CACHE / per_tile));
  w->blocks = kd__ceil_div(kd__ceil_div(w->tiles, w->block), w->threads) * w->threads;        /* as many for each thread */
  w->block = kd__ceil_div(w->tiles, w->blocks), w->blocks = kd__ceil_div(w->tiles, w->block);
  w->filters = kd__wino_reserve(w, filter_floats(w));
  w->work_size = (size_t)(w->block * per_tile);
  w->work = kd__wino_reserve(w, (int64_t)(w->work_size / sizeof(float)) * w->threads);
}

/* Each pair of values in the two dimensions: which V, U and M they meet in (simd_stride.h), those with most products a filter first. */
static void pair_up(kd__wino *w, int side, const uint8_t *u, const uint8_t *m, int slots) {
  w->nin = side * side, w->nout = slots * slots;
  bool seen_m[KD__WINO_PRODUCTS] = { false }, seen_u[KD__FREQ] = { false };
  for (int f = KD__FREQ - 1; f >= 0; f--)
    for (int i = 0; i < w->nin; i++) {
      int a = i / side, b = i % side, at = m[a] * slots + m[b];
      if (u[a] * KD__TILE_IN + u[b] != f) continue;
      w->product[w->products++] = (kd__wino_product){ (uint8_t)i, (uint8_t)f, (uint8_t)at, seen_m[at], seen_u[f] };
      seen_m[at] = seen_u[f] = true;
    }
}
static bool kind(kd__wino *w) {
  static const uint8_t same[6] = { 0, 1, 2, 3, 4, 5 }, all[9] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 }, taps[9] = { 0, 1, 2, 3, 4, 5, 5, 5, 5 }, slots[9] = { 0, 1, 2, 3, 4, 0, 5, 6, 4 };
  const kd__conv *v = &w->v;
  bool back = v->wanted == KD__X, half = v->stride[0] == 2, odd = v->pad_lo[0] & 1;
  for (int i = 0; i < 2; i++) {
    if (v->ker[i] != 3 || v->stride[i] != (half ? 2 : 1) || v->dilation[i] != 1 || v->pad_lo[i] < 0 || v->pad_lo[i] > 2 || v->pad_hi[i] < 0 || v->pad_hi[i] > 2) return false;
    if (half && (v->pad_lo[i] & 1) != odd) return false;
    w->off[w->from][i] = !back ? v->pad_lo[i] : !half ? 2 - v->pad_lo[i] : odd ? -(v->pad_lo[i] / 2) : 1 - v->pad_lo[i] / 2;
  }
  w->step[KD__X] = half ? 2 * KD__TILE_OUT : KD__TILE_OUT, w->step[KD__Y] = KD__TILE_OUT;
  w->steps = &w->simd->wino[!half ? KD__WINO_SAME : !back ? KD__WINO_HALF : odd ? KD__WINO_BACK_ODD : KD__WINO_BACK_EVEN];
  if (!half) pair_up(w, 6, same, same, 6);
  else pair_up(w, 9, taps, back ? all : slots, back ? 9 : 7);
  return true;
}

static bool shape(kd__wino *w, const kd_call *c, const kd_kernel_settings *s) {
  *w = (kd__wino){ .simd = kd__simd_best(), .threads = s->threads < 1 ? 1 : s->threads };
  kd__conv *v = &w->v;
  if (!kd__conv_describe(v, c) || v->spatial != 2 || v->groups != 1 || v->cin % LANES || v->cout % LANES) return false;
  w->from = v->wanted == KD__X ? KD__Y : KD__X, w->to = v->wanted == KD__X ? KD__X : KD__Y;
  w->ci = v->wanted == KD__X ? v->cout : v->cin, w->co = v->wanted == KD__X ? v->cin : v->cout;
  if (!kind(w)) return false;
  const int64_t *out = v->wanted == KD__X ? v->in : v->out;
  w->down = kd__ceil_div(out[0], w->step[w->to]), w->across = kd__ceil_div(out[1], w->step[w->to]), w->tiles = v->batch * w->down * w->across;
  for (int i = 0; i < KD__ROLES; i++) {
    w->pack[i] = i != KD__W && !kd__channels_last(v->t[i]);
    if (w->pack[i]) w->at[i] = kd__wino_reserve(w, kd__count(v->t[i]));
  }
  w->pack_add = v->add && !kd__channels_last(v->add);
  if (w->pack_add) w->add = kd__wino_reserve(w, kd__count(v->add));
  if (v->bias) w->bias = kd__wino_reserve(w, v->cout);
  if (v->wanted == KD__W) kd__wino_grad_shape(w);
  else forward_shape(w);
  return true;
}

/* Where it wins over direct convolution and im2col, measured (docs/kernels.md). The ends of tiles that reach beyond the map are work for nothing, and a
 * few tiles do not pay for the filters' transform. With stride 2 there is less to win, and transforms are longer: more channels have to share them. The
 * choice does not look at the threads: a fixed order means the same code on any number of them. */
static bool pays(const kd__wino *w) {
  const int64_t *out = w->v.wanted == KD__X ? w->v.in : w->v.out;
  double used = (double)(out[0] * out[1]) / (double)(w->down * w->across * w->step[w->to] * w->step[w->to]);
  int64_t narrow = kd__min(w->ci, w->co), wide = kd__max(w->ci, w->co);
  if (w->v.stride[0] == 2) return w->tiles >= HALF_TILES && used > (narrow >= 128 ? 0.7 : 0.8) && narrow >= 32 && wide >= 64;
  return w->tiles >= 32 && used > 0.5 && (w->v.wanted != KD__W || w->ci + w->co >= 48);
}

bool kd__conv_wino_takes(const kd_call *c, const kd_kernel_settings *s) {
  kd__wino w;
  if (s->winograd == KD_WINOGRAD_OFF || c->out[0].dtype != KD_F32 || !shape(&w, c, s)) return false;
  return s->winograd == KD_WINOGRAD_ON || pays(&w);
}
size_t kd__conv_wino_scratch(const kd_call *c, const kd_kernel_settings *s) {
  kd__wino w;
  return c->prepared ? ((const kd__wino *)c->prepared)->total : shape(&w, c, s) ? w.total : 0;
}
kd_status kd__conv_wino_prepare(kd_call *c, const kd_kernel_settings *s) {
  kd__wino *w = malloc(sizeof *w);
  if (!w) return KD_E_MEMORY;
  shape(w, c, s);
  c->prepared = w;
  if (w->v.wanted == KD__W || !c->version || !c->version[1]) return KD_OK;
  c->kept = ((size_t)filter_floats(w) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
  w->kept = aligned_alloc(ALIGN, c->kept);
  if (!w->kept) { free(w); c->prepared = NULL; return KD_E_MEMORY; }
  return KD_OK;
}
void kd__conv_wino_release(void *prepared) {
  kd__wino *w = prepared;
  if (w) free(w->kept);
  free(w);
}

float *kd__wino_map(const kd__wino *w, kd__role role, const kd_exec *x, bool fill) {
  const kd_tensor *t = w->v.t[role];
  float *room = (float *)((char *)x->scratch + w->at[role]);
  if (!w->pack[role]) return t->data;
  return fill ? kd__conv_pack(t, room, x) : room;
}
void kd__wino_map_done(const kd__wino *w, kd__role role, const kd_exec *x) {
  if (w->pack[role]) kd__conv_unpack((float *)((char *)x->scratch + w->at[role]), w->v.t[role], x);
}

void kd__wino_ahead_map(const kd__wino *w, kd__wino_ahead *a, kd__role role, const float *map, int64_t first, int64_t n) {
  const int64_t *size = role == KD__X ? w->v.in : w->v.out, row = size[1] * (role == KD__X ? w->v.cin : w->v.cout), each = w->down * w->across, last = first + n - 1;
  int64_t reach = role == w->from ? (w->v.stride[0] == 1 ? 2 : 1) - w->off[role][0] : 0;         /* rows that a tile shares with the one above it */
  int64_t from = first / each * size[0] + kd__min(size[0], kd__max(0, first % each / w->across * w->step[role] + reach));
  int64_t to = last / each * size[0] + kd__min(size[0], (last % each / w->across + 1) * w->step[role] + reach);
  for (int i = 0; i < 3 && n > 0 && to > from; i++)
    if (!a->lines[i]) {
      a->at[i] = map + from * row, a->lines[i] = (to - from) * row / LANES, a->left += a->lines[i], a->each = kd__ceil_div(a->left, w->products);
      return;
    }
}
void kd__wino_ahead_take(kd__wino_ahead *a, kd__ahead then[2]) {
  int64_t want = a->each;
  then[0] = then[1] = (kd__ahead){ 0 };
  for (int i = 0, k = 0; i < 3 && k < 2 && want > 0; i++) {
    int64_t n = kd__min(want, a->lines[i]);
    if (n <= 0) continue;
    then[k++] = (kd__ahead){ a->at[i], n, LANES, 1 };
    a->at[i] += n * LANES, a->lines[i] -= n, want -= n;
  }
}

/* --- running -------------------------------------------------------------------------------------------------------------------------- */
typedef struct job { const kd__wino *w; const float *from, *weights; float *to, *filters; char *work; kd__post post; } job;

/* Filters of input channels begin..end-1: sixteen output channels at a time. Columns that fill up the last panel are zeros. */
static void filter_range(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  const kd_tensor *t = w->v.t[KD__W];
  bool turned = w->v.wanted == KD__X;
  int64_t out = t->stride[turned ? 1 : 0], in = t->stride[turned ? 0 : 1], fs = w->ci * panels(w->co) * KD__PANEL;
  (void)chunk;
  for (int64_t c = begin; c < end; c++)
    for (int64_t o = 0; o < panels(w->co) * KD__PANEL; o += LANES) {
      float g[9 * LANES] = { 0 };
      const float *at = j->weights + c * in + o * out;
      for (int l = 0; l < LANES && o < w->co; l++, at += out)
        for (int a = 0; a < 3; a++)
          for (int b = 0; b < 3; b++) g[(turned ? 8 - a * 3 - b : a * 3 + b) * LANES + l] = at[a * t->stride[2] + b * t->stride[3]];
      w->steps->filter(g, j->filters + (o / KD__PANEL * w->ci + c) * KD__PANEL + o % KD__PANEL, fs);
    }
}

/* While a block is multiplied, what its results go to and are added to is asked for, and what the next block reads: most of it lies in memory. */
static void run_blocks(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const kd__wino *w = j->w;
  int64_t vs = w->ci, ms = panels(w->co) * KD__PANEL, us = w->ci * panels(w->co) * KD__PANEL, last = kd__min(end * w->block, w->tiles), at;
  float *vt = (float *)(j->work + (size_t)kd__par_thread() * w->work_size), *m = vt + w->block * w->in_row;
  kd__mm g = { .n = panels(w->co) * KD__PANEL, .k = w->ci, .ars = w->in_row, .aks = 1, .bps = w->ci * KD__PANEL, .bks = KD__PANEL, .ldc = w->out_row };
  (void)chunk;
  for (int64_t first = begin * w->block; first < last; first += g.m) {
    g.m = kd__min(w->block, last - first);
    for (int64_t t = 0; t < g.m; t++) {
      kd__tile tile = kd__wino_tile(w, w->from, first + t, &at);
      w->steps->in(&tile, j->from + at, vt + t * w->in_row, vs);
    }
    kd__wino_ahead ahead = { 0 };
    if (j->post.add) kd__wino_ahead_map(w, &ahead, w->to, j->post.add, first, g.m);
    kd__wino_ahead_map(w, &ahead, w->to, j->to, first, g.m);
    kd__wino_ahead_map(w, &ahead, w->from, j->from, first + g.m, kd__min(w->block, last - first - g.m));
    for (const kd__wino_product *p = w->product; p < w->product + w->products; p++) {
      kd__wino_ahead_take(&ahead, g.then);
      g.add = p->add_m;
      w->simd->mm(&g, vt + p->v * vs, j->filters + p->u * us, m + p->m * ms);
    }
    for (int64_t t = 0; t < g.m; t++) {
      kd__tile tile = kd__wino_tile(w, w->to, first + t, &at);
      kd__post post = j->post;
      if (post.add) post.add += at;
      w->steps->out(&tile, j->to + at, m + t * w->out_row, ms, &post);
    }
  }
}

void kd__conv_wino_run(const kd_call *c, const kd_exec *x) {
  kd__wino w = *(const kd__wino *)c->prepared;
  kd_exec team = *x;
  if (team.threads > w.threads) team.threads = 1;                  /* there is scratch for no more threads */
  kd__conv_describe(&w.v, c);                                      /* the tensors' addresses are those of this call */
  if (w.v.wanted == KD__W) { kd__wino_grad_run(&w, &team); return; }
  char *scratch = x->scratch;
  job j = { .w = &w, .weights = w.v.t[KD__W]->data, .filters = (float *)(scratch + w.filters), .work = scratch + w.work };
  j.from = kd__wino_map(&w, w.from, &team, true), j.to = kd__wino_map(&w, w.to, &team, false);
  j.post = (kd__post){ kd__conv_bias(&w.v, (float *)(scratch + w.bias)), w.v.add ? w.v.add->data : NULL, w.v.relu };
  if (w.pack_add) j.post.add = kd__conv_pack(w.v.add, (float *)(scratch + w.add), &team);
  kd__wino *own = c->prepared;
  uint64_t now = own->kept ? *c->version[1] + 1 : 0;               /* 0: not made yet */
  if (own->kept) j.filters = own->kept;
  if (!own->kept || own->made != now) kd__par_for(&team, w.ci, kd__min(w.ci, 4 * (int64_t)w.threads), 1, filter_range, &j);
  own->made = now;
  kd__par_for(&team, w.blocks, kd__min(w.blocks, RUNS * (int64_t)w.threads), 1, run_blocks, &j);
  kd__wino_map_done(&w, w.to, &team);
}
