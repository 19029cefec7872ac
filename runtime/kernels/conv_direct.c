/* conv_direct.c: convolutions with few channels and stride 1, and both of their gradients, without patches or products: a patch would be written, read
 * once and thrown away, and a matrix of six columns fills no vector. Each thread lays an image out as planes with its padding, small enough for the first
 * cache; the loops (simd_direct.h) then go along its rows. A data gradient is the same with the filters turned around.
 *
 * A weight gradient is summed in parts, one for some images; parts are added in their order. */
#include "runtime/kernels/conv.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/simd.h"
#include <stdlib.h>

enum { ALIGN = 64, SLACK = 64, FIXED_PARTS = 8, RUNS = 4, PAIRS = 8, KERNEL_MAX = 11, PLANES_MAX = 64 << 10, WEIGHTS_MAX = 64 << 10 };
enum { PLACES_MIN = 16, BATCH_MIN = 8, FEW = 4, LANES = 16 };
typedef struct work {
  kd__conv v;
  const kd__simd *simd;
  kd__direct d;
  int threads;
  kd__role from, to;                             /* the maps that are read by rows and lie as they must */
  int64_t ci, co, in[2], out[2], pad[2], pitch, rows, planes, beyond, vectors, lanes, parts, per_part;
  bool turned, pack, pack_add, partial;
  size_t weights, bias, room, room_size, map, add, total;
} work;

static size_t reserve(work *w, int64_t floats) {
  size_t at = w->total;
  w->total += ((size_t)floats * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
  return at;
}

static bool shape(work *w, const kd_call *c, const kd_kernel_settings *s) {
  *w = (work){ .simd = kd__simd_best(), .threads = s->threads < 1 ? 1 : s->threads };
  kd__conv *v = &w->v;
  if (!kd__conv_describe(v, c) || v->spatial != 2 || v->groups != 1 || v->ker[0] * v->ker[1] == 1) return false;
  w->turned = v->wanted == KD__X;
  w->ci = w->turned ? v->cout : v->cin, w->co = w->turned ? v->cin : v->cout;
  w->from = w->turned ? KD__Y : KD__X, w->to = w->turned ? KD__X : KD__Y;
  for (int i = 0; i < 2; i++) {
    int64_t k = v->ker[i];
    if (k > KERNEL_MAX || v->stride[i] != 1 || v->dilation[i] != 1 || v->pad_lo[i] < 0 || v->pad_lo[i] >= k || v->pad_hi[i] < 0 || v->pad_hi[i] >= k) return false;
    w->in[i] = w->turned ? v->out[i] : v->in[i], w->out[i] = w->turned ? v->in[i] : v->out[i], w->pad[i] = w->turned ? k - 1 - v->pad_lo[i] : v->pad_lo[i];
  }
  if (v->wanted == KD__W && v->ker[1] != 3 && v->ker[1] != 5 && v->ker[1] != 7) return false;
  bool pair = w->co <= PAIRS, sums = v->wanted == KD__W;
  w->lanes = pair ? w->simd->width / 2 : w->simd->width, w->vectors = kd__ceil_div(w->co, w->lanes), w->partial = w->co % w->lanes;
  w->pitch = w->out[1] + v->ker[1] - 1 + pair;
  w->rows = sums ? w->out[0] + v->ker[0] - 1 : w->in[0];           /* sums have no use for a row left out */
  w->planes = w->ci * w->rows * w->pitch;
  w->d = (kd__direct){ .c = w->ci, .kh = v->ker[0], .kw = v->ker[1], .cs = w->rows * w->pitch, .rs = w->pitch, .rows = v->ker[0], .n = w->out[1], .co = w->co,
                       .height = w->out[0], .pair = pair, .relu = v->relu && !v->add };
  w->d.vs = w->ci * v->ker[0] * v->ker[1] * w->simd->width;
  if (w->planes > PLANES_MAX || w->d.vs * w->vectors > WEIGHTS_MAX) return false;
  w->parts = !sums ? 1 : kd__min(v->batch, s->deterministic ? FIXED_PARTS : w->threads);
  w->per_part = kd__ceil_div(v->batch, w->parts), w->parts = kd__ceil_div(v->batch, w->per_part);
  w->weights = reserve(w, w->d.vs * w->vectors * w->parts);
  w->bias = reserve(w, w->vectors * w->simd->width);
  w->room = w->total;
  w->beyond = 4 * w->simd->width;
  int64_t aside = sums ? (w->partial ? w->out[0] * w->out[1] * w->co + SLACK : 0) : w->out[1] * w->co + w->beyond;
  w->room_size = ((size_t)(w->planes + SLACK + aside) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
  w->total += w->room_size * (size_t)w->threads;
  w->pack = !kd__channels_last(v->t[w->to]), w->pack_add = v->add && !kd__channels_last(v->add);
  if (w->pack) w->map = reserve(w, kd__count(v->t[w->to]));
  if (w->pack_add) w->add = reserve(w, kd__count(v->add));
  return true;
}

static bool takes(work *w, const kd_call *c, const kd_kernel_settings *s) {
  return c->out[0].dtype == KD_F32 && shape(w, c, s) && w->out[0] * w->out[1] >= PLACES_MIN;
}
bool kd__conv_direct_takes(const kd_call *c, const kd_kernel_settings *s) {
  work w;
  return takes(&w, c, s);
}
/* What is faster than oneDNN, measured (docs/kernels.md): it has no good loops for a few channels, and wants vectors of them whole. */
bool kd__conv_direct_early(const kd_call *c, const kd_kernel_settings *s) {
  work w;
  return takes(&w, c, s) && w.v.wanted != KD__X && w.v.batch >= BATCH_MIN && (w.ci <= FEW || (w.co % LANES && w.ci <= LANES));
}
size_t kd__conv_direct_scratch(const kd_call *c, const kd_kernel_settings *s) {
  work w;
  return shape(&w, c, s) ? w.total : 0;
}
kd_status kd__conv_direct_prepare(kd_call *c, const kd_kernel_settings *s) {
  work *w = malloc(sizeof *w);
  if (!w) return KD_E_MEMORY;
  shape(w, c, s);
  c->prepared = w;
  return KD_OK;
}

/* room: of each thread, planes, and a row or a map beside them. */
typedef struct job { const work *w; const kd_tensor *from; float *to, *sums; const float *weights, *bias, *add; char *room; } job;

/* Image `image` of a map as planes: pitch floats a row, zeros around it. */
static void lay_planes(const work *w, const kd_tensor *t, int64_t image, float *to) {
  int64_t above = w->v.wanted == KD__W ? w->pad[0] : 0, sx = t->stride[3], width = w->in[1];
  memset(to, 0, (size_t)(w->planes + SLACK) * sizeof *to);
  for (int64_t c = 0; c < w->ci; c++)
    for (int64_t h = 0; h < w->in[0]; h++) {
      const float *at = (const float *)t->data + image * t->stride[0] + c * t->stride[1] + h * t->stride[2];
      float *row = to + (c * w->rows + above + h) * w->pitch + w->pad[1];
      if (sx == 1) memcpy(row, at, (size_t)width * sizeof *row);
      else for (int64_t i = 0; i < width; i++) row[i] = at[i * sx];
    }
}

static void run_images(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const work *w = j->w;
  kd__direct d = w->d;
  float *planes = (float *)(j->room + (size_t)kd__par_thread() * w->room_size);
  int64_t row = w->out[1] * w->co;
  (void)chunk;
  for (int64_t image = begin; image < end; image++) {
    lay_planes(w, j->from, image, planes);
    for (int64_t h = 0; h < w->out[0]; h++) {
      int64_t first = kd__max(0, w->pad[0] - h), last = kd__min(w->d.kh, w->in[0] + w->pad[0] - h), at = (image * w->out[0] + h) * row;
      bool aside = j->add || (w->out[0] - h - 1) * row < w->beyond;          /* what is written beyond the row comes to be written again */
      float *to = aside ? planes + w->planes + SLACK : j->to + at;
      d.kh = kd__max(0, last - first);
      w->simd->direct(&d, planes + (h + first - w->pad[0]) * w->pitch, j->weights + first * d.kw * w->simd->width, j->bias, to);
      if (j->add) kd__conv_finish(to, j->to + at, 1, row, NULL, j->add + at, w->v.relu);
      else if (aside) memcpy(j->to + at, to, (size_t)row * sizeof *to);
    }
  }
}

static void run_part(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *j = ctx;
  const work *w = j->w;
  float *planes = (float *)(j->room + (size_t)kd__par_thread() * w->room_size), *copy = planes + w->planes + SLACK, *sums = j->sums + begin * w->d.vs * w->vectors;
  int64_t map = w->out[0] * w->out[1] * w->co, last = kd__min(w->v.batch, (begin + 1) * w->per_part);
  (void)end, (void)chunk;
  memset(sums, 0, (size_t)(w->d.vs * w->vectors) * sizeof *sums);
  for (int64_t image = begin * w->per_part; image < last; image++) {
    const float *dy = j->to + image * map;
    lay_planes(w, j->from, image, planes);
    if (w->partial) {                            /* the last vector reaches beyond the map */
      memcpy(copy, dy, (size_t)map * sizeof *copy), memset(copy + map, 0, SLACK * sizeof *copy);
      dy = copy;
    }
    w->simd->direct_sums(&w->d, planes, dy, sums);
  }
}

/* Element (o, c, a, b) of the filters as they are seen from the map that is read. */
static float *filter(const work *w, int64_t o, int64_t c, int64_t a, int64_t b) {
  const kd_tensor *t = w->v.t[KD__W];
  if (w->turned) a = w->v.ker[0] - 1 - a, b = w->v.ker[1] - 1 - b;
  return (float *)t->data + (w->turned ? c : o) * t->stride[0] + (w->turned ? o : c) * t->stride[1] + a * t->stride[2] + b * t->stride[3];
}
static void lay_filters(const work *w, float *to) {
  int64_t group = w->d.pair ? 2 : 1;
  for (int64_t v = 0; v < w->vectors; v++)
    for (int64_t c = 0; c < w->ci; c++)
      for (int64_t a = 0; a < w->d.kh; a++)
        for (int64_t b = 0; b < w->d.kw; b++)
          for (int64_t l = 0; l < w->simd->width; l++) {
            int64_t o = v * w->lanes + l / group;
            *to++ = o < w->co ? *filter(w, o, c, a, b) : 0;
          }
}
static void add_sums(const work *w, const float *sums) {
  int64_t taps = w->d.kh * w->d.kw, group = w->d.pair ? 2 : 1;
  for (int64_t o = 0; o < w->co; o++)
    for (int64_t c = 0; c < w->ci; c++)
      for (int64_t k = 0; k < taps; k++) {
        const float *at = sums + o / w->lanes * w->d.vs + (c * taps + k) * w->simd->width + o % w->lanes * group;
        float sum = 0;
        for (int64_t p = 0; p < w->parts; p++, at += w->d.vs * w->vectors) sum += group == 2 ? at[0] + at[1] : at[0];
        *filter(w, o, c, k / w->d.kw, k % w->d.kw) = sum;
      }
}

void kd__conv_direct_run(const kd_call *c, const kd_exec *x) {
  work w = *(const work *)c->prepared;
  kd_exec team = *x;
  if (team.threads > w.threads) team.threads = 1;                  /* there is scratch for no more threads */
  kd__conv_describe(&w.v, c);                                      /* the tensors' addresses are those of this call */
  char *scratch = x->scratch;
  bool sums = w.v.wanted == KD__W;
  float *weights = (float *)(scratch + w.weights), *bias = (float *)(scratch + w.bias);
  job j = { .w = &w, .from = w.v.t[w.from], .sums = weights, .weights = weights, .bias = bias, .room = scratch + w.room };
  float *room = (float *)(scratch + w.map);
  j.to = !w.pack ? w.v.t[w.to]->data : sums ? kd__conv_pack(w.v.t[w.to], room, &team) : room;
  if (sums) {
    kd__par_for(&team, w.parts, w.parts, 1, run_part, &j);
    add_sums(&w, weights);
    return;
  }
  lay_filters(&w, weights);
  for (int64_t l = 0, group = w.d.pair ? 2 : 1; l < w.vectors * w.simd->width; l++)
    bias[l] = w.v.bias && l / group < w.co ? ((const float *)w.v.bias->data)[l / group * w.v.bias->stride[0]] : 0;
  if (w.v.add) j.add = w.pack_add ? kd__conv_pack(w.v.add, (float *)(scratch + w.add), &team) : w.v.add->data;
  kd__par_for(&team, w.v.batch, kd__min(w.v.batch, RUNS * (int64_t)w.threads), 1, run_images, &j);
  if (w.pack) kd__conv_unpack(room, w.v.t[w.to], &team);
}
