/* conv_im2col.c: convolutions and their adjoints as matrix products; always built. All tensors are used with channels innermost (and copied to
 * that layout when they lie otherwise), so that a patch is a few long copies: row p of the patch matrix is [tap, channel] of output place p.
 *
 * Work is shared by images. A weight gradient has parts (one for some images), added in their order. Depthwise convolutions have loops of their own. */
#include "runtime/kernels/conv.h"
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/libs.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include <stdlib.h>

enum { ALIGN = 64, PATCH = 131072, FIXED_PARTS = 8, EARLY_CHANNELS = 16 };
typedef struct work {
  kd__conv v;
  bool dnnl, depthwise, plain, pack[KD__ROLES];  /* plain: 1x1, the operand is its own patch matrix */
  int threads;
  int64_t cg, og, taps, k, places, block, parts, per_part, image[KD__ROLES], wsize;
  size_t at[KD__ROLES], patch, patch_size, sums, raw, add, bias, total;          /* raw: of conv_post, an image of results for each thread */
  bool pack_add;
  float *data[KD__ROLES], *scratch;
  const float *to_add, *to_bias;
} work;

static size_t reserve(work *w, int64_t floats) {
  size_t at = w->total;
  w->total += ((size_t)floats * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
  return at;
}

/* Strides of the packed weights: [O, taps, C/groups], or [taps, O] for depthwise ones. */
static void weight_strides(const work *w, int64_t *stride) {
  const kd_tensor *t = w->v.t[KD__W];
  kd__channels_last_strides(t, stride);
  if (!w->depthwise) return;
  for (int d = 2; d < t->rank; d++) stride[d] *= w->v.cout;
  stride[0] = 1, stride[1] = 1;
}

static void shape_work(work *w, const kd_call *c, const kd_kernel_settings *s) {
  *w = (work){ .threads = s->threads < 1 ? 1 : s->threads };
  kd__conv *v = &w->v;
  kd__conv_describe(v, c);
  w->dnnl = s->use_dnnl && kd__dnnl_multiplies();
  w->cg = v->cin / v->groups, w->og = v->cout / v->groups;
  w->depthwise = v->groups > 1 && w->cg == 1 && w->og == 1;
  w->taps = v->ker[0] * v->ker[1] * v->ker[2], w->k = w->taps * w->cg;
  w->places = v->out[0] * v->out[1] * v->out[2];
  w->wsize = v->cout * w->k;
  w->plain = w->taps == 1;
  for (int i = 0; i < 3; i++) w->plain = w->plain && v->stride[i] == 1 && v->pad_lo[i] == 0 && v->pad_hi[i] == 0;
  w->block = w->plain ? w->places : kd__min(w->places, kd__max(32, PATCH / w->k));
  w->parts = v->wanted != KD__W ? 1 : kd__min(v->batch, s->deterministic ? FIXED_PARTS : w->threads);
  w->per_part = kd__ceil_div(v->batch, w->parts), w->parts = kd__ceil_div(v->batch, w->per_part);
  for (int i = 0; i < KD__ROLES; i++) {
    int64_t want[KD_MAX_RANK];
    const kd_tensor *t = v->t[i];
    if (i == KD__W) weight_strides(w, want);
    else kd__channels_last_strides(t, want), w->image[i] = kd__count(t) / v->batch;
    for (int d = 0; d < t->rank; d++) w->pack[i] = w->pack[i] || (t->dim[d] != 1 && t->stride[d] != want[d]);
    if (w->pack[i]) w->at[i] = reserve(w, kd__count(t));
  }
  if (!w->plain && !w->depthwise) {
    w->patch = w->total;
    w->patch_size = (size_t)((w->block * w->k + 15) / 16 * 16) * sizeof(float);
    w->total += w->patch_size * (size_t)w->threads;
  }
  w->pack_add = v->add && !kd__channels_last(v->add);
  if (v->post) w->raw = reserve(w, w->image[KD__Y] * w->threads);
  if (w->pack_add) w->add = reserve(w, kd__count(v->add));
  if (v->bias) w->bias = reserve(w, v->cout);
  /* Depthwise gradients are summed image by image before they join their part. */
  if (v->wanted == KD__W) w->sums = reserve(w, w->wsize * (w->parts + (w->depthwise ? w->threads : 0)));
}

bool kd__conv_im2col_takes(const kd_call *c, const kd_kernel_settings *s) {
  kd__conv v;
  return c->out[0].dtype == KD_F32 && kd__conv_describe(&v, c) && kd__gemm_there(KD_F32, s->use_dnnl);
}
/* What is faster than oneDNN where operands come from memory, as in a step they do (docs/kernels.md): single taps but for plain forward ones, and
 * weight gradients with strides. With few channels the products are too narrow for that. */
bool kd__conv_im2col_early(const kd_call *c, const kd_kernel_settings *s) {
  kd__conv v;
  if (!kd__conv_im2col_takes(c, s) || !kd__conv_describe(&v, c) || v.groups != 1 || v.cin < EARLY_CHANNELS || v.cout < EARLY_CHANNELS) return false;
  bool strides = v.stride[0] > 1 || v.stride[1] > 1 || v.stride[2] > 1, tap = v.ker[0] * v.ker[1] * v.ker[2] == 1;
  return (tap && (strides || v.wanted != KD__Y)) || (strides && v.wanted == KD__W);
}
size_t kd__conv_im2col_scratch(const kd_call *c, const kd_kernel_settings *s) {
  work w;
  shape_work(&w, c, s);
  return w.total;
}
kd_status kd__conv_im2col_prepare(kd_call *c, const kd_kernel_settings *s) {
  work *w = malloc(sizeof *w);
  if (!w) return KD_E_MEMORY;
  shape_work(w, c, s);
  c->prepared = w;
  return KD_OK;
}

/* --- patches ------------------------------------------------------------------------------------------------------------------------- */
/* For output place p: the first input position under the window, which may lie in the padding. */
static void window_at(const kd__conv *v, int64_t p, int64_t *first) {
  for (int i = 2; i >= 0; i--) {
    first[i] = p % v->out[i] * v->stride[i] - v->pad_lo[i];
    p /= v->out[i];
  }
}
/* Copies places begin.. of one image between x and patches: in, or added back. `x` points at the group's first channel. */
static void patches(const work *w, float *x, int64_t begin, int64_t n, float *patch, bool back) {
  const kd__conv *v = &w->v;
  int64_t cg = w->cg, cin = v->cin, row = v->ker[2] * cg;
  for (int64_t p = begin; p < begin + n; p++) {
    int64_t at[3];
    window_at(v, p, at);
    for (int64_t a = 0; a < v->ker[0]; a++)
      for (int64_t b = 0; b < v->ker[1]; b++, patch += row) {
        int64_t i = at[0] + a * v->dilation[0], j = at[1] + b * v->dilation[1];
        bool inside = i >= 0 && i < v->in[0] && j >= 0 && j < v->in[1];
        if (!inside) {
          if (!back) memset(patch, 0, (size_t)row * sizeof(float));
          continue;
        }
        float *line = x + (i * v->in[1] + j) * v->in[2] * cin;
        if (!back && cg == cin && v->dilation[2] == 1 && at[2] >= 0 && at[2] + v->ker[2] <= v->in[2]) {
          memcpy(patch, line + at[2] * cin, (size_t)row * sizeof(float));
          continue;
        }
        for (int64_t u = 0; u < v->ker[2]; u++) {
          int64_t l = at[2] + u * v->dilation[2];
          float *tap = patch + u * cg, *q = line + l * cin;
          bool hit = l >= 0 && l < v->in[2];
          if (back) for (int64_t ch = 0; hit && ch < cg; ch++) q[ch] += tap[ch];
          else if (hit) memcpy(tap, q, (size_t)cg * sizeof(float));
          else memset(tap, 0, (size_t)cg * sizeof(float));
        }
      }
  }
}

/* One block of places of one image and one group. */
static void run_block(const work *w, int64_t image, float *result, int64_t group, int64_t begin, int64_t n, float *patch, float *sums, bool first) {
  const kd__conv *v = &w->v;
  float *x = w->data[KD__X] + image * w->image[KD__X] + group * w->cg, *y = result + begin * v->cout + group * w->og;
  float *weights = w->data[KD__W] + group * w->og * w->k, *col = w->plain ? x + begin * v->cin : patch;
  int64_t ldcol = w->plain ? v->cin : w->k;
  if (!w->plain && v->wanted != KD__X) patches(w, x, begin, n, patch, false);
  if (v->wanted == KD__Y) {
    kd__gemm g = { false, true, n, w->og, w->k, ldcol, w->k, v->cout, 0 };
    kd__gemm_f32(w->dnnl, &g, col, weights, y);
  } else if (v->wanted == KD__X) {
    kd__gemm g = { false, false, n, w->k, w->og, v->cout, w->k, ldcol, 0 };
    kd__gemm_f32(w->dnnl, &g, y, weights, col);
    if (!w->plain) patches(w, x, begin, n, patch, true);
  } else {
    kd__gemm g = { true, false, w->og, w->k, n, v->cout, ldcol, w->k, first ? 0 : 1 };
    kd__gemm_f32(w->dnnl, &g, y, col, sums + group * w->og * w->k);
  }
}

/* --- depthwise ----------------------------------------------------------------------------------------------------------------------- */
KD_CLONES static void multiply_add(float *restrict o, const float *restrict a, const float *restrict b, int64_t n) {
  for (int64_t i = 0; i < n; i++) o[i] += a[i] * b[i];
}
static void depthwise_image(const work *w, int64_t image, float *y, float *sums) {
  const kd__conv *v = &w->v;
  float *x = w->data[KD__X] + image * w->image[KD__X], *weights = w->data[KD__W];
  int64_t n = v->cout;
  if (v->wanted == KD__Y) memset(y, 0, (size_t)w->image[KD__Y] * sizeof(float));
  if (v->wanted == KD__W) memset(sums, 0, (size_t)w->wsize * sizeof(float));
  for (int64_t p = 0; p < w->places; p++, y += n) {
    int64_t at[3], tap = 0;
    window_at(v, p, at);
    for (int64_t a = 0; a < v->ker[0]; a++)
      for (int64_t b = 0; b < v->ker[1]; b++)
        for (int64_t u = 0; u < v->ker[2]; u++, tap++) {
          int64_t i = at[0] + a * v->dilation[0], j = at[1] + b * v->dilation[1], l = at[2] + u * v->dilation[2];
          if (i < 0 || i >= v->in[0] || j < 0 || j >= v->in[1] || l < 0 || l >= v->in[2]) continue;
          float *q = x + ((i * v->in[1] + j) * v->in[2] + l) * n;
          if (v->wanted == KD__Y) multiply_add(y, q, weights + tap * n, n);
          else if (v->wanted == KD__X) multiply_add(q, y, weights + tap * n, n);
          else multiply_add(sums + tap * n, q, y, n);
        }
  }
}

/* --- running -------------------------------------------------------------------------------------------------------------------------- */
static void run_part(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__conv *v = &w->v;
  int64_t first = begin * w->per_part, last = kd__min(first + w->per_part, v->batch);
  if (v->wanted != KD__W) first = begin, last = begin + 1;
  int t = kd__par_thread();
  float *patch = (float *)((char *)w->scratch + w->patch + (size_t)t * w->patch_size), *sums = (float *)((char *)w->scratch + w->sums) + begin * w->wsize;
  float *mine = (float *)((char *)w->scratch + w->sums) + (w->parts + t) * w->wsize;
  (void)end, (void)chunk;
  for (int64_t image = first; image < last; image++) {
    float *to = w->data[KD__Y] + image * w->image[KD__Y], *y = v->post ? (float *)((char *)w->scratch + w->raw) + t * w->image[KD__Y] : to;
    if (v->wanted == KD__X && !(w->plain && !w->depthwise))
      memset(w->data[KD__X] + image * w->image[KD__X], 0, (size_t)w->image[KD__X] * sizeof(float));
    if (w->depthwise) {
      depthwise_image(w, image, y, mine);
      for (int64_t i = 0; v->wanted == KD__W && i < w->wsize; i++) sums[i] = image == first ? mine[i] : sums[i] + mine[i];
    }
    for (int64_t g = 0; g < v->groups && !w->depthwise; g++)
      for (int64_t p = 0; p < w->places; p += w->block)
        run_block(w, image, y, g, p, kd__min(w->block, w->places - p), patch, sums, image == first && p == 0);
    if (v->post) kd__conv_finish(y, to, w->places, v->cout, w->to_bias, w->to_add ? w->to_add + image * w->image[KD__Y] : NULL, v->relu);
  }
}

static void add_parts(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const float *from = (const float *)((const char *)w->scratch + w->sums);
  (void)chunk;
  for (int64_t i = begin; i < end; i++) {
    float sum = from[i];
    for (int64_t k = 1; k < w->parts; k++) sum += from[k * w->wsize + i];
    w->data[KD__W][i] = sum;
  }
}

static void copy_packed(const work *w, int i, bool out, const kd_exec *x) {
  const kd_tensor *t = w->v.t[i];
  int64_t stride[KD_MAX_RANK];
  if (i == KD__W) weight_strides(w, stride);
  else kd__channels_last_strides(t, stride);
  kd_tensor tight = { w->data[i], t->dim, stride, t->dtype, t->rank };
  if (out) kd__copy_strided(&tight, t, x);
  else kd__copy_strided(t, &tight, x);
}

void kd__conv_im2col_run(const kd_call *c, const kd_exec *x) {
  work w = *(const work *)c->prepared;
  kd_exec team = *x;
  if (team.threads > w.threads) team.threads = 1;                  /* there is scratch for no more threads */
  kd__conv_describe(&w.v, c);                                      /* the tensors' addresses are those of this call */
  w.scratch = x->scratch;
  for (int i = 0; i < KD__ROLES; i++) {
    w.data[i] = w.pack[i] ? (float *)((char *)x->scratch + w.at[i]) : w.v.t[i]->data;
    if (w.pack[i] && i != (int)w.v.wanted) copy_packed(&w, i, false, x);
  }
  w.to_bias = kd__conv_bias(&w.v, (float *)((char *)x->scratch + w.bias)), w.to_add = w.v.add ? w.v.add->data : NULL;
  if (w.pack_add) w.to_add = kd__conv_pack(w.v.add, (float *)((char *)x->scratch + w.add), x);
  kd__par_library(&team, w.v.wanted == KD__W ? w.parts : w.v.batch, run_part, &w);
  if (w.v.wanted == KD__W) kd__par_for(x, w.wsize, kd__par_chunks(x, w.wsize), 16, add_parts, &w);
  if (w.pack[w.v.wanted]) copy_packed(&w, w.v.wanted, true, x);
}
