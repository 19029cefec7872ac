/* conv_dnnl.c: convolutions and their adjoints through oneDNN, channels innermost.
 *
 * The batch is cut into pieces, each a primitive that runs on one thread, so that our team shares them and the bits depend on the cut alone; a
 * weight gradient's pieces are added in their order. Weights are reordered to the layout that oneDNN likes at each call (they change each step);
 * x and y only if they lie otherwise. */
#include "runtime/kernels/conv.h"
#include "runtime/kernels/libs.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include <stdlib.h>

#ifdef KD__HAVE_DNNL
enum { ALIGN = 64, FIXED_PIECES = 8, FIXED_PARTS = 4, ARGS = KD__ROLES + 1 };

/* A primitive for some number of images, with a set of memory handles for each thread. */
typedef struct piece { dnnl_primitive_t run; dnnl_memory_t (*mem)[ARGS]; dnnl_memory_desc_t desc[ARGS]; int64_t images; } piece;
typedef struct turn { dnnl_primitive_t run; dnnl_memory_t from, to; } turn;

typedef struct state {
  const kd__dnnl_api *d;
  kd__role wanted;
  int threads;                                   /* there are handles for so many */
  dnnl_engine_t engine;
  dnnl_stream_t *stream;                         /* one a thread */
  piece part[2];                                 /* the usual piece, and the smaller last one (images = 0: none) */
  int64_t pieces, image[KD__ROLES];              /* elements of one image of x and y */
  turn weights;                                  /* between the call's layout of w and the primitive's; run NULL: they are the same */
  char *kept;                                    /* frozen weights as the primitives want them, and the count that they were made at; else NULL */
  uint64_t made;
  bool pack[KD__ROLES], post, pack_add;          /* post: results go to `raw`, one piece a thread, and on from there */
  int64_t places, cout;                          /* of an image */
  size_t add;
  size_t at[KD__ROLES], blocked, blocked_size, pads, pad_size, raw, raw_size, bias, total;   /* byte offsets in scratch */
} state;

static size_t reserve(state *s, size_t bytes) {
  size_t at = s->total;
  s->total += (bytes + ALIGN - 1) / ALIGN * ALIGN;
  return at;
}

/* --- descriptors ---------------------------------------------------------------------------------------------------------------- */
static dnnl_format_tag_t last_tag(int spatial) { return spatial == 1 ? dnnl_nwc : spatial == 2 ? dnnl_nhwc : dnnl_ndhwc; }

/* Sizes of w, with the groups as a dimension of their own where there are several. Returns the rank. */
static int weight_dims(const kd__conv *v, dnnl_dims_t dims) {
  int n = 0;
  if (v->groups > 1) dims[n++] = v->groups;
  dims[n++] = v->cout / v->groups, dims[n++] = v->cin / v->groups;
  for (int i = 0; i < v->spatial; i++) dims[n++] = v->ker[i];
  return n;
}
static bool weight_desc(const kd__dnnl_api *d, const kd__conv *v, const int64_t *stride, dnnl_memory_desc_t *md) {
  const kd_tensor *w = v->t[KD__W];
  dnnl_dims_t dims, by;
  int rank = weight_dims(v, dims), n = 0;
  if (v->groups > 1) by[n++] = stride[0] * (v->cout / v->groups);
  for (int i = 0; i < w->rank; i++) by[n++] = stride[i];
  for (int i = 0; i < rank; i++)
    if (dims[i] == 1) by[i] = kd__count(w);      /* any value that does not look like an overlap */
  return d->f_dnnl_memory_desc_init_by_strides(md, rank, dims, dnnl_f32, by) == dnnl_success;
}

/* The primitive descriptor for `images` images, or NULL. */
static dnnl_primitive_desc_t describe(const kd__dnnl_api *d, dnnl_engine_t engine, const kd__conv *v, int64_t images) {
  dnnl_dims_t xd = { images, v->cin }, yd = { images, v->cout }, wd, by = { 0 }, lo = { 0 }, hi = { 0 }, dil = { 0 };
  for (int i = 0; i < v->spatial; i++) {
    xd[2 + i] = v->in[i], yd[2 + i] = v->out[i];
    by[i] = v->stride[i], lo[i] = v->pad_lo[i], hi[i] = v->pad_hi[i], dil[i] = v->dilation[i] - 1;
  }
  int rank = v->spatial + 2, wrank = weight_dims(v, wd);
  dnnl_memory_desc_t mx, mw, my;
  dnnl_convolution_desc_t cd;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL, forward = NULL;
  if (d->f_dnnl_memory_desc_init_by_tag(&mx, rank, xd, dnnl_f32, last_tag(v->spatial)) != dnnl_success ||
      d->f_dnnl_memory_desc_init_by_tag(&my, rank, yd, dnnl_f32, last_tag(v->spatial)) != dnnl_success ||
      d->f_dnnl_memory_desc_init_by_tag(&mw, wrank, wd, dnnl_f32, dnnl_format_tag_any) != dnnl_success) return NULL;
  if (d->f_dnnl_primitive_attr_create(&attr) != dnnl_success) return NULL;
  bool ok = d->f_dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
  ok = ok && d->f_dnnl_dilated_convolution_forward_desc_init(&cd, dnnl_forward_training, dnnl_convolution_direct, &mx, &mw, NULL, &my, by, dil, lo, hi) == dnnl_success;
  ok = ok && d->f_dnnl_primitive_desc_create(v->wanted == KD__Y ? &pd : &forward, &cd, attr, engine, NULL) == dnnl_success;
  if (ok && v->wanted == KD__X)
    ok = d->f_dnnl_dilated_convolution_backward_data_desc_init(&cd, dnnl_convolution_direct, &mx, &mw, &my, by, dil, lo, hi) == dnnl_success;
  if (ok && v->wanted == KD__W)
    ok = d->f_dnnl_dilated_convolution_backward_weights_desc_init(&cd, dnnl_convolution_direct, &mx, &mw, NULL, &my, by, dil, lo, hi) ==
         dnnl_success;
  if (ok && v->wanted != KD__Y && d->f_dnnl_primitive_desc_create(&pd, &cd, attr, engine, forward) != dnnl_success) pd = NULL;
  if (forward) d->f_dnnl_primitive_desc_destroy(forward);
  d->f_dnnl_primitive_attr_destroy(attr);
  return pd;
}

static const dnnl_memory_desc_t *desc_of(const kd__dnnl_api *d, dnnl_primitive_desc_t pd, kd__role wanted, int arg) {
  static const dnnl_query_t query[KD__ROLES][2] = {
    [KD__X] = { dnnl_query_src_md, dnnl_query_diff_src_md }, [KD__W] = { dnnl_query_weights_md, dnnl_query_diff_weights_md },
    [KD__Y] = { dnnl_query_dst_md, dnnl_query_diff_dst_md } };
  if (arg == KD__ROLES) return d->f_dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  bool gradient = wanted != KD__Y && (arg == (int)wanted || arg == KD__Y);
  return d->f_dnnl_primitive_desc_query_md(pd, query[arg][gradient], 0);
}

static int arg_id(kd__role wanted, int arg) {
  static const int id[KD__ROLES][2] = { [KD__X] = { DNNL_ARG_SRC, DNNL_ARG_DIFF_SRC }, [KD__W] = { DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_WEIGHTS },
                                        [KD__Y] = { DNNL_ARG_DST, DNNL_ARG_DIFF_DST } };
  if (arg == KD__ROLES) return DNNL_ARG_SCRATCHPAD;
  return id[arg][wanted != KD__Y && (arg == (int)wanted || arg == KD__Y)];
}

/* --- building and releasing ------------------------------------------------------------------------------------------------------- */
static void free_piece(const state *s, piece *p) {
  for (int t = 0; p->mem && t < s->threads; t++)
    for (int i = 0; i < ARGS; i++)
      if (p->mem[t][i]) s->d->f_dnnl_memory_destroy(p->mem[t][i]);
  if (p->run) s->d->f_dnnl_primitive_destroy(p->run);
  free(p->mem);
  *p = (piece){ 0 };
}

void kd__conv_dnnl_release(void *prepared) {
  state *s = prepared;
  if (!s) return;
  const kd__dnnl_api *d = s->d;
  for (int k = 0; k < 2; k++) free_piece(s, &s->part[k]);
  if (s->weights.run) d->f_dnnl_primitive_destroy(s->weights.run);
  if (s->weights.from) d->f_dnnl_memory_destroy(s->weights.from);
  if (s->weights.to) d->f_dnnl_memory_destroy(s->weights.to);
  for (int t = 0; s->stream && t < s->threads; t++)
    if (s->stream[t]) d->f_dnnl_stream_destroy(s->stream[t]);
  free(s->stream);
  free(s->kept);
  if (s->engine) d->f_dnnl_engine_destroy(s->engine);
  free(s);
}

static bool make_piece(state *s, const kd__conv *v, piece *p, int64_t images) {
  const kd__dnnl_api *d = s->d;
  dnnl_primitive_desc_t pd = describe(d, s->engine, v, images);
  if (!pd) return false;
  p->images = images;
  bool ok = d->f_dnnl_primitive_create(&p->run, pd) == dnnl_success;
  for (int i = 0; i < ARGS; i++) p->desc[i] = *desc_of(d, pd, v->wanted, i);
  d->f_dnnl_primitive_desc_destroy(pd);
  p->mem = calloc((size_t)s->threads, sizeof *p->mem);
  for (int t = 0; ok && p->mem && t < s->threads; t++)
    for (int i = 0; ok && i < ARGS; i++) ok = d->f_dnnl_memory_create(&p->mem[t][i], &p->desc[i], s->engine, DNNL_MEMORY_NONE) == dnnl_success;
  size_t pad = d->f_dnnl_memory_desc_get_size(&p->desc[KD__ROLES]);
  if (pad > s->pad_size) s->pad_size = (pad + ALIGN - 1) / ALIGN * ALIGN;
  return ok && p->mem;
}

static bool make_turn(state *s, const kd__conv *v, const dnnl_memory_desc_t *mine) {
  const kd__dnnl_api *d = s->d;
  dnnl_memory_desc_t plain;
  dnnl_primitive_desc_t pd;
  const kd_tensor *w = v->t[KD__W];
  int64_t dense[KD_MAX_RANK], step = 1;
  for (int i = w->rank - 1; i >= 0; i--) dense[i] = step, step *= w->dim[i];
  s->pack[KD__W] = !kd__tensor_packed(w);
  if (!weight_desc(d, v, s->pack[KD__W] ? dense : w->stride, &plain)) return false;
  if (d->f_dnnl_memory_desc_equal(&plain, mine)) return true;
  bool out = v->wanted == KD__W;
  const dnnl_memory_desc_t *from = out ? mine : &plain, *to = out ? &plain : mine;
  if (d->f_dnnl_reorder_primitive_desc_create(&pd, from, s->engine, to, s->engine, NULL) != dnnl_success) return false;
  bool ok = d->f_dnnl_primitive_create(&s->weights.run, pd) == dnnl_success;
  d->f_dnnl_primitive_desc_destroy(pd);
  return ok && d->f_dnnl_memory_create(&s->weights.from, from, s->engine, DNNL_MEMORY_NONE) == dnnl_success &&
         d->f_dnnl_memory_create(&s->weights.to, to, s->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

/* How many pieces the batch is cut into. */
static int64_t cut_batch(const kd__conv *v, const kd_kernel_settings *s) {
  bool parts = v->wanted == KD__W;
  if (s->deterministic) return kd__min(v->batch, parts ? FIXED_PARTS : FIXED_PIECES);
  if (v->post) return kd__min(v->batch, kd__max(FIXED_PIECES, 4 * (int64_t)s->threads));       /* small enough to finish in the cache */
  return s->threads < 2 ? 1 : kd__min(v->batch, (parts ? 2 : 4) * (int64_t)s->threads);
}

typedef struct building { state *s; const kd__conv *v; const kd_kernel_settings *set; bool ok; } building;
static void build(void *ctx) {
  building *b = ctx;
  state *s = b->s;
  const kd__conv *v = b->v;
  if (s->d->f_dnnl_engine_create(&s->engine, dnnl_cpu, 0) != dnnl_success) return;
  s->stream = calloc((size_t)s->threads, sizeof(dnnl_stream_t));
  for (int t = 0; t < s->threads; t++)
    if (!s->stream || s->d->f_dnnl_stream_create(&s->stream[t], s->engine, dnnl_stream_default_flags) != dnnl_success) return;
  int64_t wanted = cut_batch(v, b->set), size = kd__ceil_div(v->batch, wanted);
  if (!make_piece(s, v, &s->part[0], size)) return;
  int64_t rest = v->batch % size;
  if (rest && !make_piece(s, v, &s->part[1], rest)) return;
  /* Where the two would like different layouts of the weights, one size must serve all. */
  if (rest && !s->d->f_dnnl_memory_desc_equal(&s->part[0].desc[KD__W], &s->part[1].desc[KD__W])) {
    size = v->wanted == KD__W ? v->batch : 1;
    free_piece(s, &s->part[0]);
    free_piece(s, &s->part[1]);
    if (!make_piece(s, v, &s->part[0], size)) return;
  }
  s->pieces = kd__ceil_div(v->batch, size);
  b->ok = make_turn(s, v, &s->part[0].desc[KD__W]);
}

static void lay_out(state *s, const kd__conv *v) {
  for (int i = 0; i < KD__ROLES; i++) {
    const kd_tensor *t = v->t[i];
    if (i != KD__W) s->pack[i] = !kd__channels_last(t), s->image[i] = kd__count(t) / v->batch;
    if (s->pack[i]) s->at[i] = reserve(s, (size_t)kd__count(t) * sizeof(float));
  }
  s->blocked_size = (s->d->f_dnnl_memory_desc_get_size(&s->part[0].desc[KD__W]) + ALIGN - 1) / ALIGN * ALIGN;
  bool parts = v->wanted == KD__W && s->pieces > 1;
  if (s->weights.run || parts) s->blocked = reserve(s, s->blocked_size * (size_t)(parts ? s->pieces : 1));
  s->post = v->post, s->pack_add = v->add && !kd__channels_last(v->add);
  s->places = v->out[0] * v->out[1] * v->out[2], s->cout = v->cout;
  if (s->pack_add) s->add = reserve(s, (size_t)kd__count(v->add) * sizeof(float));
  if (v->bias) s->bias = reserve(s, (size_t)v->cout * sizeof(float));
  if (s->post) s->raw_size = ((size_t)(s->part[0].images * s->image[KD__Y]) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN, s->raw = reserve(s, s->raw_size * (size_t)s->threads);
  s->pads = reserve(s, s->pad_size * (size_t)s->threads);
}

static state *make_state(const kd_call *c, const kd_kernel_settings *set) {
  kd__conv v;
  if (!kd__conv_describe(&v, c) || !kd__dnnl()) return NULL;
  state *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->d = kd__dnnl(), s->wanted = v.wanted, s->threads = set->threads < 1 ? 1 : set->threads;
  building b = { s, &v, set, false };
  kd__par_alone(build, &b);
  if (b.ok) { lay_out(s, &v); return s; }
  kd__conv_dnnl_release(s);
  return NULL;
}

/* --- the kernel's entries ----------------------------------------------------------------------------------------------------------- */
bool kd__conv_dnnl_takes(const kd_call *c, const kd_kernel_settings *s) {
  kd__conv v;
  if (!s->use_dnnl || c->out[0].dtype != KD_F32 || !kd__conv_describe(&v, c)) return false;
  for (int i = 0; i < 3; i++)
    if (v.pad_lo[i] < 0 || v.pad_hi[i] < 0) return false;
  const kd__dnnl_api *d = kd__dnnl();
  dnnl_engine_t engine;
  if (!d || d->f_dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) return false;
  const char *name = "ref";
  dnnl_primitive_desc_t pd = describe(d, engine, &v, v.batch);
  if (pd) d->f_dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
  bool fast = strncmp(name, "ref", 3) != 0 && strncmp(name, "gemm", 4) != 0;     /* its own naive loops, or an im2col no better than ours */
  if (pd) d->f_dnnl_primitive_desc_destroy(pd);
  d->f_dnnl_engine_destroy(engine);
  return fast;
}
size_t kd__conv_dnnl_scratch(const kd_call *c, const kd_kernel_settings *set) {
  state *s = c->prepared ? c->prepared : make_state(c, set);
  size_t n = s ? s->total : 0;
  if (!c->prepared) kd__conv_dnnl_release(s);
  return n;
}
kd_status kd__conv_dnnl_prepare(kd_call *c, const kd_kernel_settings *s) {
  state *made = make_state(c, s);
  c->prepared = made;
  if (!made) return KD_E_MEMORY;
  if (made->wanted == KD__W || !made->weights.run || !c->version || !c->version[1]) return KD_OK;
  made->kept = aligned_alloc(ALIGN, made->blocked_size);
  if (!made->kept) { kd__conv_dnnl_release(made); c->prepared = NULL; return KD_E_MEMORY; }
  c->kept = made->blocked_size;
  return KD_OK;
}

typedef struct job { const state *s; char *data[KD__ROLES], *scratch; const float *bias, *add; bool relu; } job;

static void run_piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *w = ctx;
  const state *s = w->s;
  const kd__dnnl_api *d = s->d;
  int t = kd__par_thread();
  const piece *p = s->part[1].images && begin == s->pieces - 1 ? &s->part[1] : &s->part[0];
  char *raw = w->scratch + s->raw + (size_t)t * s->raw_size, *to = NULL;
  (void)end, (void)chunk;
  dnnl_exec_arg_t arg[ARGS];
  for (int i = 0; i < ARGS; i++) {
    char *at = i == KD__ROLES ? w->scratch + s->pads + (size_t)t * s->pad_size : w->data[i];
    if (i == KD__X || i == KD__Y) at += begin * s->part[0].images * s->image[i] * (int64_t)sizeof(float);
    if (i == KD__W && s->wanted == KD__W && s->pieces > 1) at += (size_t)begin * s->blocked_size;
    if (i == KD__Y && s->post) to = at, at = raw;
    d->f_dnnl_memory_set_data_handle(p->mem[t][i], at);
    arg[i] = (dnnl_exec_arg_t){ arg_id(s->wanted, i), p->mem[t][i] };
  }
  d->f_dnnl_primitive_execute(p->run, s->stream[t], ARGS, arg);
  const float *add = w->add ? w->add + begin * s->part[0].images * s->image[KD__Y] : NULL;
  if (s->post) kd__conv_finish((float *)raw, (float *)to, p->images * s->places, s->cout, w->bias, add, w->relu);
}

static void run_turn(void *ctx) {
  const state *s = ((const job *)ctx)->s;
  dnnl_exec_arg_t arg[2] = { { DNNL_ARG_FROM, s->weights.from }, { DNNL_ARG_TO, s->weights.to } };
  s->d->f_dnnl_primitive_execute(s->weights.run, s->stream[0], 2, arg);
}

/* Adds the later parts to the first, in their order. */
KD_CLONES static void add_parts(float *to, const float *from, int64_t n, int64_t parts, int64_t step) {
  for (int64_t k = 1; k < parts; k++, from += step)
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}
static void add_range(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const job *w = ctx;
  int64_t step = (int64_t)(w->s->blocked_size / sizeof(float));
  float *to = (float *)(w->scratch + w->s->blocked);
  (void)chunk;
  for (int64_t i = begin; i < end; i += 2048) add_parts(to + i, to + i + step, kd__min(2048, end - i), w->s->pieces, step);
}

static void copy_packed(const kd_tensor *t, char *at, bool weights, bool out, const kd_exec *x) {
  int64_t stride[KD_MAX_RANK], step = 1;
  if (!weights) kd__channels_last_strides(t, stride);
  for (int i = t->rank - 1; weights && i >= 0; i--) stride[i] = step, step *= t->dim[i];
  kd_tensor tight = { at, t->dim, stride, t->dtype, t->rank };
  if (out) kd__copy_strided(&tight, t, x);
  else kd__copy_strided(t, &tight, x);
}

void kd__conv_dnnl_run(const kd_call *c, const kd_exec *x) {
  state *s = c->prepared;
  kd__conv v;
  kd__conv_describe(&v, c);
  uint64_t now = s->kept ? *c->version[1] + 1 : 0;               /* 0: not made yet */
  bool there = s->kept && s->made == now;
  job w = { .s = s, .scratch = x->scratch };
  kd_exec team = *x;
  if (team.threads > s->threads) team.threads = 1;
  for (int i = 0; i < KD__ROLES; i++) {
    w.data[i] = s->pack[i] ? w.scratch + s->at[i] : v.t[i]->data;
    if (s->pack[i] && i != (int)s->wanted && !(there && i == KD__W)) copy_packed(v.t[i], w.data[i], i == KD__W, false, x);
  }
  w.bias = kd__conv_bias(&v, (float *)(w.scratch + s->bias)), w.relu = v.relu, w.add = v.add ? v.add->data : NULL;
  if (s->pack_add) copy_packed(v.add, w.scratch + s->add, false, false, x), w.add = (float *)(w.scratch + s->add);
  bool out = s->wanted == KD__W, parts = out && s->pieces > 1;
  char *plain = w.data[KD__W], *blocked = s->kept ? s->kept : w.scratch + s->blocked;
  if (s->weights.run) {
    s->d->f_dnnl_memory_set_data_handle(s->weights.from, out ? blocked : plain);
    s->d->f_dnnl_memory_set_data_handle(s->weights.to, out ? plain : blocked);
  }
  if (s->weights.run || parts) w.data[KD__W] = blocked;
  if (s->weights.run && !out && !there) kd__par_alone(run_turn, &w);
  s->made = now;
  kd__par_library(&team, s->pieces, run_piece, &w);
  if (parts) {
    int64_t n = (int64_t)(s->blocked_size / sizeof(float));
    kd__par_for(x, n, kd__par_chunks(x, n), 16, add_range, &w);
    if (!s->weights.run) memcpy(plain, blocked, s->d->f_dnnl_memory_desc_get_size(&s->part[0].desc[KD__W]));
  }
  if (s->weights.run && out) kd__par_alone(run_turn, &w);
  if (s->pack[s->wanted]) copy_packed(v.t[s->wanted], s->wanted == KD__W ? plain : w.data[s->wanted], out, true, x);
}
#else
bool kd__conv_dnnl_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)c, (void)s;
  return false;
}
size_t kd__conv_dnnl_scratch(const kd_call *c, const kd_kernel_settings *s) {
  (void)c, (void)s;
  return 0;
}
kd_status kd__conv_dnnl_prepare(kd_call *c, const kd_kernel_settings *s) {
  (void)c, (void)s;
  return KD_E_UNAVAILABLE;
}
void kd__conv_dnnl_release(void *prepared) { (void)prepared; }
void kd__conv_dnnl_run(const kd_call *c, const kd_exec *x) { (void)c, (void)x; }
#endif
