/* test_nets.c: networks of the library against their formulas in plain loops, from the same parameters. tests/golden/nets.kd calls them.
 *
 * A parameter's values are a function of its name and position, so the loops below read them by name, as a state dict is read. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/golden/golden.h"

enum { B = 2, T = 5, D = 6, V = 7, MOST = 4096 };

typedef struct net {
  kd__arena a;
  kd_entry e;
  void **data;
  golden_values out;
  const char *name;
} net;

/* --- running ------------------------------------------------------------------------------------------------------------------------ */
static const char *load(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  kd__arena *a = ctx;
  char why[256], *text, *path = kd__arena_printf(a, "%s/stdlib/%s.kd", KD_ROOT, name);
  (void)near;
  if (kd__file_read(path, KD_SOURCE_MAX, &text, size, why, sizeof why) != KD_OK) return NULL;
  const char *kept = kd__arena_strndup(a, text, *size);
  free(text);
  *shown = kd__arena_printf(a, "stdlib/%s.kd", name);
  return kept;
}

static double seeded(const char *name, int64_t i) {
  double h = 0;
  for (const char *p = name; *p; p++) h = fmod(h * 1.7 + *p, 100);
  return 0.6 * sin(h + 1.3 * (double)i);
}

static double input(const char *name, int64_t i) { return seeded(name, 3 * i + 1); }
static int64_t whole(const char *name, int64_t i) { return strcmp(name, "keep") == 0 ? i % T < 3 + i / T : (i * 5 + 3) % V; }

/* Elaborates the definition on inputs (each: name, rank, sizes, ..., NULL; integers when the name says so) and runs it in both ways. */
static void open_net(net *n, const char *name, ...) {
  char why[256], *text;
  size_t size, narg = 0;
  kd_entry_arg arg[4];
  *n = (net){ .name = name };
  kd__arena_init(&n->a, NULL, NULL);
  if (kd__file_read(KD_TEST_DIR "/nets.kd", KD_SOURCE_MAX, &text, &size, why, sizeof why) != KD_OK) fail_msg("%s", why);
  va_list ap;
  va_start(ap, name);
  for (const char *s; (s = va_arg(ap, const char *)) != NULL; narg++) {
    arg[narg] = (kd_entry_arg){ .name = s, .type = { .dtype = strcmp(s, "x") == 0 || strcmp(s, "z") == 0 ? KD_F64 : KD_I64 } };
    arg[narg].type.rank = (uint8_t)va_arg(ap, int);
    for (int d = 0; d < arg[narg].type.rank; d++) arg[narg].type.dim[d] = va_arg(ap, int);
  }
  va_end(ap);
  kd_sink sink = { 0 };
  kd__sink_init(&sink, &n->a);
  kd_syntax *s = kd__parse(&n->a, &sink, kd__source_new(&n->a, "tests/golden/nets.kd", text, size, 1));
  free(text);
  kd_elab_options opt = { .load = load, .load_ctx = &n->a, .real = KD_F64 };
  if (!kd__elaborate_entry(&n->a, &sink, s, &opt, name, arg, narg, &n->e) || sink.errors) {
    kd__buf b = { 0 };
    for (size_t i = 0; i < sink.diag.n; i++) kd__diag_text(sink.diag.v[i], false, &b);
    fail_msg("%s: %.*s", name, (int)b.n, b.p ? b.p : "");
  }
  n->data = KD_NEWN(&n->a, void *, n->e.nslot + 1);
  for (uint32_t i = 0; i < n->e.nslot; i++) {
    const kd_slot *slot = &n->e.slot[i];
    int64_t count = kd__type_count(&slot->type);
    n->data[i] = kd__arena_get(&n->a, (size_t)count * 8 + 8);
    for (int64_t k = 0; k < count; k++)
      if (slot->type.dtype == KD_I64) ((int64_t *)n->data[i])[k] = slot->kind == KD_SLOT_FIELD ? whole(slot->name, k) : 0;
      else if (slot->type.dtype == KD_F64) ((double *)n->data[i])[k] = slot->kind == KD_SLOT_FIELD ? input(slot->name, k) : slot->kind == KD_SLOT_PARAM ? seeded(slot->name, k) : 0;
  }
  assert_true(golden_run(&n->a, GOLDEN_TWINS, &n->e, n->data, &n->out));
}

/* The parameter whose path ends in the name: "block.1.linear1.weight". */
__attribute__((format(printf, 2, 3))) static const double *par(net *n, const char *fmt, ...) {
  char name[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(name, sizeof name, fmt, ap);
  va_end(ap);
  for (uint32_t i = 0; i < n->e.nslot; i++) {
    const char *s = n->e.slot[i].name;
    size_t a = strlen(s), b = strlen(name);
    if (n->e.slot[i].kind == KD_SLOT_PARAM && a > b && s[a - b - 1] == '.' && strcmp(s + a - b, name) == 0) return n->data[i];
  }
  for (uint32_t i = 0; i < n->e.nslot; i++) print_error("%s\n", n->e.slot[i].name);
  fail_msg("%s has no parameter %s", n->name, name);
  return NULL;
}

static const char *join(net *n, const char *path, const char *part) { return kd__arena_printf(&n->a, "%s.%s", path, part); }

static void expect(net *n, const char *what, const double *want, int count) {
  for (size_t i = 0; i < n->out.n; i++) {
    if (strcmp(n->out.v[i].name, what) != 0) continue;
    assert_int_equal(n->out.v[i].count, count);
    for (int k = 0; k < count; k++)
      if (!(fabs(n->out.v[i].x[k] - want[k]) <= 1e-9 * fmax(1, fabs(want[k])))) fail_msg("%s.%s[%d] is %.12g, and the formula gives %.12g", n->name, what, k, n->out.v[i].x[k], want[k]);
    return;
  }
  fail_msg("%s has no %s", n->name, what);
}

static void close_net(net *n) { kd__arena_free(&n->a); }

/* --- parts -------------------------------------------------------------------------------------------------------------------------- */
static void linear(double *y, const double *x, int rows, int in, int out, const double *w, const double *bias) {
  for (int r = 0; r < rows; r++)
    for (int o = 0; o < out; o++) {
      double s = bias ? bias[o] : 0;
      for (int i = 0; i < in; i++) s += w[o * in + i] * x[r * in + i];
      y[r * out + o] = s;
    }
}
static void layer(net *n, const char *path, double *y, const double *x, int rows, int in, int out) { linear(y, x, rows, in, out, par(n, "%s.weight", path), par(n, "%s.bias", path)); }

static void layer_norm(net *n, const char *path, double *y, const double *x, int rows, int width, double eps) {
  const double *w = par(n, "%s.weight", path), *bias = par(n, "%s.bias", path);
  for (int r = 0; r < rows; r++) {
    double m = 0, v = 0;
    for (int i = 0; i < width; i++) m += x[r * width + i] / width;
    for (int i = 0; i < width; i++) v += (x[r * width + i] - m) * (x[r * width + i] - m) / width;
    for (int i = 0; i < width; i++) y[r * width + i] = (x[r * width + i] - m) / sqrt(v + eps) * w[i] + bias[i];
  }
}

static double gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double leaky(double x, double slope) { return x > 0 ? x : slope * x; }

/* One sequence x [t, D] asks memory [s, D]; keep [s] or NULL. scores: [heads, t, s] or NULL. */
static void attention(net *n, const char *path, double *y, const double *x, int t, const double *memory, int s, int heads, const int64_t *keep, bool causal, double *scores, double *value) {
  double q[MOST], k[MOST], v[MOST], c[MOST], p[64];
  int d = D / heads;
  layer(n, join(n, path, "q_proj"), q, x, t, D, D);
  layer(n, join(n, path, "k_proj"), k, memory, s, D, D);
  layer(n, join(n, path, "v_proj"), v, memory, s, D, D);
  for (int h = 0; h < heads; h++)
    for (int i = 0; i < t; i++) {
      double total = 0;
      for (int j = 0; j < s; j++) {
        double z = 0;
        for (int e = 0; e < d; e++) z += q[i * D + h * d + e] * k[j * D + h * d + e];
        z /= sqrt(d);
        if (scores) scores[(h * t + i) * s + j] = z;
        p[j] = (keep && !keep[j]) || (causal && j > i) ? 0 : exp(z);
        total += p[j];
      }
      for (int e = 0; e < d; e++) {
        c[i * D + h * d + e] = 0;
        for (int j = 0; j < s; j++) c[i * D + h * d + e] += p[j] / total * v[j * D + h * d + e];
      }
    }
  for (int h = 0; value && h < heads; h++) for (int j = 0; j < s; j++) for (int e = 0; e < d; e++) value[(h * s + j) * d + e] = v[j * D + h * d + e];
  layer(n, join(n, path, "out_proj"), y, c, t, D, D);
}

typedef struct block { const char *path; int heads, inner; bool causal, pre; double eps; const double *memory; int s; const int64_t *memory_keep; } block;

static void run_block(net *n, const block *b, double *x, int t, const int64_t *keep, double *scores, double *value) {
  double a[MOST], y[MOST], h[MOST];
  memcpy(a, x, sizeof(double) * (size_t)(t * D));
  if (b->pre) layer_norm(n, join(n, b->path, "norm1"), a, x, t, D, b->eps);
  attention(n, join(n, b->path, "self_attn"), y, a, t, a, t, b->heads, keep, b->causal, scores, value);
  for (int i = 0; i < t * D; i++) h[i] = x[i] + y[i];
  if (!b->pre) layer_norm(n, join(n, b->path, "norm1"), h, h, t, D, b->eps);
  if (b->memory) {
    attention(n, join(n, b->path, "cross_attn"), y, h, t, b->memory, b->s, b->heads, b->memory_keep, false, NULL, NULL);
    for (int i = 0; i < t * D; i++) h[i] += y[i];
    layer_norm(n, join(n, b->path, "norm_cross"), h, h, t, D, b->eps);
  }
  memcpy(a, h, sizeof(double) * (size_t)(t * D));
  if (b->pre) layer_norm(n, join(n, b->path, "norm2"), a, h, t, D, b->eps);
  layer(n, join(n, b->path, "linear1"), y, a, t, D, b->inner);
  for (int i = 0; i < t * b->inner; i++) y[i] = gelu(y[i]);
  layer(n, join(n, b->path, "linear2"), a, y, t, b->inner, D);
  for (int i = 0; i < t * D; i++) x[i] = h[i] + a[i];
  if (!b->pre) layer_norm(n, join(n, b->path, "norm2"), x, x, t, D, b->eps);
}

static void embed(double *x, const double *token, const double *position, const char *name, int b) {
  for (int t = 0; t < T; t++) for (int d = 0; d < D; d++) x[t * D + d] = token[whole(name, b * T + t) * D + d] + position[t * D + d];
}

static void padding(int64_t *keep, int b) { for (int t = 0; t < T; t++) keep[t] = whole("keep", b * T + t); }

/* --- transformers ------------------------------------------------------------------------------------------------------------------- */
static void encoders(void **state) {
  (void)state;
  static double y[B * T * D], scores[B * 2 * T * T], value[B * 2 * T * 3];
  int64_t keep[T];
  net n;
  open_net(&n, "encoder", "tokens", 2, B, T, "keep", 2, B, T, NULL);
  for (int b = 0; b < B; b++) {
    double *x = y + b * T * D;
    padding(keep, b);
    embed(x, par(&n, "token.weight"), par(&n, "position"), "tokens", b);
    layer_norm(&n, "hidden", x, x, T, D, 1e-5);
    run_block(&n, &(block){ "block.0", 2, 5, false, false, 1e-5, NULL, 0, NULL }, x, T, keep, NULL, value + b * 2 * T * 3);
    run_block(&n, &(block){ "block.1", 2, 5, false, false, 1e-5, NULL, 0, NULL }, x, T, keep, scores + b * 2 * T * T, NULL);
  }
  expect(&n, "y", y, B * T * D);
  expect(&n, "hidden", y, B * T * D);
  expect(&n, "scores", scores, B * 2 * T * T);
  expect(&n, "value", value, B * 2 * T * 3);
  close_net(&n);
  open_net(&n, "encoder_pre", "tokens", 2, B, T, "keep", 2, B, T, NULL);
  for (int b = 0; b < B; b++) {
    double *x = y + b * T * D;
    padding(keep, b);
    embed(x, par(&n, "token.weight"), par(&n, "position"), "tokens", b);
    run_block(&n, &(block){ "block.0", 3, 4 * D, false, true, 1e-5, NULL, 0, NULL }, x, T, keep, NULL, NULL);
    run_block(&n, &(block){ "block.1", 3, 4 * D, false, true, 1e-5, NULL, 0, NULL }, x, T, keep, NULL, NULL);
    layer_norm(&n, "hidden", x, x, T, D, 1e-5);
  }
  expect(&n, "y", y, B * T * D);
  close_net(&n);
}

static void decoders(void **state) {
  (void)state;
  static double y[B * T * V], x[T * D], memory[T * D];
  int64_t keep[T];
  net n;
  open_net(&n, "lm", "tokens", 2, B, T, NULL);
  for (int b = 0; b < B; b++) {
    embed(x, par(&n, "wte"), par(&n, "wpe"), "tokens", b);
    run_block(&n, &(block){ "block.0", 2, 4 * D, true, true, 1e-5, NULL, 0, NULL }, x, T, NULL, NULL, NULL);
    run_block(&n, &(block){ "block.1", 2, 4 * D, true, true, 1e-5, NULL, 0, NULL }, x, T, NULL, NULL, NULL);
    layer_norm(&n, "ln_f", x, x, T, D, 1e-5);
    linear(y + b * T * V, x, T, D, V, par(&n, "wte"), NULL);
  }
  expect(&n, "y", y, B * T * V);
  close_net(&n);
  open_net(&n, "seq2seq", "source", 2, B, T, "tokens", 2, B, T, "keep", 2, B, T, NULL);
  for (int b = 0; b < B; b++) {
    padding(keep, b);
    embed(memory, par(&n, "encoder.embeddings.token.weight"), par(&n, "encoder.embeddings.position"), "source", b);
    layer_norm(&n, "encoder.hidden", memory, memory, T, D, 1e-5);
    run_block(&n, &(block){ "encoder.block.0", 2, 5, false, false, 1e-5, NULL, 0, NULL }, memory, T, keep, NULL, NULL);
    embed(x, par(&n, "transformer_seq2seq.embeddings.token.weight"), par(&n, "transformer_seq2seq.embeddings.position"), "tokens", b);
    run_block(&n, &(block){ "transformer_seq2seq.block.0", 2, 5, true, false, 1e-5, memory, T, keep }, x, T, NULL, NULL, NULL);
    layer(&n, "logits", y + b * T * V, x, T, D, V);
  }
  expect(&n, "y", y, B * T * V);
  close_net(&n);
}

static void vision(void **state) {
  (void)state;
  enum { C = 2, H = 4, W = 6, P = 6, K = 3 };
  static double x[(P + 2) * D], patches[B * P * D], y[B * K], head[B * K], other[K];
  net n;
  open_net(&n, "vision", "x", 4, B, C, H, W, NULL);
  const double *w = par(&n, "proj.weight"), *bias = par(&n, "proj.bias"), *position = par(&n, "pos_embed");
  for (int b = 0; b < B; b++) {
    for (int p = 0; p < P; p++)
      for (int d = 0; d < D; d++) {
        double s = bias[d];
        for (int c = 0; c < C; c++) for (int k = 0; k < 2; k++) for (int l = 0; l < 2; l++)
          s += w[((d * C + c) * 2 + k) * 2 + l] * input("x", ((b * C + c) * H + p / 3 * 2 + k) * W + p % 3 * 2 + l);
        patches[(b * P + p) * D + d] = s;
      }
    for (int d = 0; d < D; d++) {
      x[d] = par(&n, "cls_token")[d] + position[d];
      x[D + d] = par(&n, "dist_token")[d] + position[D + d];
      for (int p = 0; p < P; p++) x[(p + 2) * D + d] = patches[(b * P + p) * D + d] + position[(p + 2) * D + d];
    }
    run_block(&n, &(block){ "block.0", 2, 4 * D, false, true, 1e-6, NULL, 0, NULL }, x, P + 2, NULL, NULL, NULL);
    layer_norm(&n, "norm", x, x, P + 2, D, 1e-6);
    layer(&n, "head", head + b * K, x, 1, D, K);
    layer(&n, "head_dist", other, x + D, 1, D, K);
    for (int k = 0; k < K; k++) y[b * K + k] = (head[b * K + k] + other[k]) / 2;
  }
  expect(&n, "patches", patches, B * P * D);
  expect(&n, "head", head, B * K);
  expect(&n, "y", y, B * K);
  close_net(&n);
}

/* --- recurrent ------------------------------------------------------------------------------------------------------------------------ */
static void recurrent(void **state) {
  (void)state;
  enum { N = 4, E = 3 };
  static double y[B * T * N], x[E], a[4 * N], u[4 * N];
  for (int gates = 3; gates <= 4; gates++) {
    net n;
    open_net(&n, gates == 3 ? "gated" : "long", "x", 3, B, T, E, NULL);
    for (int b = 0; b < B; b++) {
      double h[N] = { 0 }, c[N] = { 0 };
      for (int t = 0; t < T; t++) {
        for (int i = 0; i < E; i++) x[i] = input("x", (b * T + t) * E + i);
        linear(a, x, 1, E, gates * N, par(&n, "weight_ih"), par(&n, "bias_ih"));
        linear(u, h, 1, N, gates * N, par(&n, "weight_hh"), par(&n, "bias_hh"));
        for (int i = 0; i < N; i++) {
          if (gates == 3) {
            double r = sigmoid(a[i] + u[i]), z = sigmoid(a[N + i] + u[N + i]), m = tanh(a[2 * N + i] + r * u[2 * N + i]);
            h[i] = (1 - z) * m + z * h[i];
          } else {
            c[i] = sigmoid(a[N + i] + u[N + i]) * c[i] + sigmoid(a[i] + u[i]) * tanh(a[2 * N + i] + u[2 * N + i]);
            h[i] = sigmoid(a[3 * N + i] + u[3 * N + i]) * tanh(c[i]);
          }
          y[(b * T + t) * N + i] = h[i];
        }
      }
    }
    expect(&n, "y", y, B * T * N);
    close_net(&n);
  }
}

/* --- images ----------------------------------------------------------------------------------------------------------------------------- */
typedef struct maps { int c, h, w; double x[MOST]; } maps;                /* of the whole batch: [B, c, h, w] */
static double *at(maps *m, int b, int c, int h, int w) { return &m->x[((b * m->c + c) * m->h + h) * m->w + w]; }

static void conv(net *n, const char *path, maps *m, int out, int kernel, int stride, int pad) {
  static maps y;
  const double *w = par(n, "%s.weight", path), *bias = par(n, "%s.bias", path);
  y.c = out; y.h = (m->h + 2 * pad - kernel) / stride + 1; y.w = (m->w + 2 * pad - kernel) / stride + 1;
  for (int b = 0; b < B; b++) for (int o = 0; o < out; o++) for (int i = 0; i < y.h; i++) for (int j = 0; j < y.w; j++) {
    double s = bias[o];
    for (int c = 0; c < m->c; c++) for (int k = 0; k < kernel; k++) for (int l = 0; l < kernel; l++) {
      int r = i * stride + k - pad, q = j * stride + l - pad;
      if (r >= 0 && r < m->h && q >= 0 && q < m->w) s += w[((o * m->c + c) * kernel + k) * kernel + l] * *at(m, b, c, r, q);
    }
    *at(&y, b, o, i, j) = s;
  }
  *m = y;
}

/* Each position sends its value times the kernel to the positions around it: kernel 4, stride 2, padding 1. */
static void conv_transpose(net *n, const char *path, maps *m, int out, bool with_bias) {
  static maps y;
  const double *w = par(n, "%s.weight", path), *bias = with_bias ? par(n, "%s.bias", path) : NULL;
  memset(&y, 0, sizeof y);
  y.c = out; y.h = 2 * m->h; y.w = 2 * m->w;
  for (int b = 0; b < B; b++) for (int o = 0; o < out; o++) {
    for (int i = 0; bias && i < y.h; i++) for (int j = 0; j < y.w; j++) *at(&y, b, o, i, j) = bias[o];
    for (int c = 0; c < m->c; c++) for (int i = 0; i < m->h; i++) for (int j = 0; j < m->w; j++) for (int k = 0; k < 4; k++) for (int l = 0; l < 4; l++) {
      int r = 2 * i + k - 1, q = 2 * j + l - 1;
      if (r >= 0 && r < y.h && q >= 0 && q < y.w) *at(&y, b, o, r, q) += w[((c * out + o) * 4 + k) * 4 + l] * *at(m, b, c, i, j);
    }
  }
  *m = y;
}

static void batch_norm(net *n, const char *path, maps *m) {
  int count = B * m->h * m->w;
  for (int c = 0; c < m->c; c++) {
    double mean = 0, var = 0;
    for (int i = 0; i < count; i++) mean += *at(m, i / (m->h * m->w), c, 0, i % (m->h * m->w)) / count;
    for (int i = 0; i < count; i++) { double d = *at(m, i / (m->h * m->w), c, 0, i % (m->h * m->w)) - mean; var += d * d / count; }
    for (int i = 0; i < count; i++) {
      double *x = at(m, i / (m->h * m->w), c, 0, i % (m->h * m->w));
      *x = (*x - mean) / sqrt(var + 1e-5);
      if (path) *x = *x * par(n, "%s.weight", path)[c] + par(n, "%s.bias", path)[c];
    }
  }
}

static void each(maps *m, double slope, bool squash) {
  for (int i = 0; i < B * m->c * m->h * m->w; i++) m->x[i] = squash ? tanh(m->x[i]) : leaky(m->x[i], slope);
}

static void twice(maps *m) {
  static maps y;
  y.c = m->c; y.h = 2 * m->h; y.w = 2 * m->w;
  for (int b = 0; b < B; b++) for (int c = 0; c < y.c; c++) for (int i = 0; i < y.h; i++) for (int j = 0; j < y.w; j++) *at(&y, b, c, i, j) = *at(m, b, c, i / 2, j / 2);
  *m = y;
}

static void from_noise(net *n, maps *m, int c, int h, int w) {
  double z[B * 3];
  for (int i = 0; i < B * 3; i++) z[i] = input("z", i);
  *m = (maps){ .c = c, .h = h, .w = w };
  layer(n, "l1", m->x, z, B, 3, c * h * w);
}

static void images(void **state) {
  (void)state;
  static maps m;
  net n;
  open_net(&n, "made", "z", 2, B, 3, NULL);
  from_noise(&n, &m, 4, 2, 1);
  batch_norm(&n, "start", &m);
  twice(&m); conv(&n, "conv1", &m, 4, 3, 1, 1); batch_norm(&n, "bn1", &m); each(&m, 0.2, false);
  twice(&m); conv(&n, "conv2", &m, 2, 3, 1, 1); batch_norm(&n, "bn2", &m); each(&m, 0.2, false);
  conv(&n, "conv3", &m, 2, 3, 1, 1); each(&m, 0, true); batch_norm(&n, NULL, &m);
  expect(&n, "y", m.x, B * 2 * 8 * 4);
  close_net(&n);
  open_net(&n, "dcgan", "z", 2, B, 3, NULL);
  from_noise(&n, &m, 4, 1, 1);
  batch_norm(&n, "bn1", &m); each(&m, 0, false); conv_transpose(&n, "up1", &m, 2, false);
  batch_norm(&n, "bn2", &m); each(&m, 0, false); conv_transpose(&n, "up2", &m, 1, false);
  batch_norm(&n, "bn3", &m); each(&m, 0, false); conv_transpose(&n, "up3", &m, 2, true); each(&m, 0, true);
  expect(&n, "y", m.x, B * 2 * 8 * 8);
  close_net(&n);
  open_net(&n, "judged", "x", 4, B, 2, 8, 4, NULL);
  m = (maps){ .c = 2, .h = 8, .w = 4 };
  for (int i = 0; i < B * 2 * 8 * 4; i++) m.x[i] = input("x", i);
  conv(&n, "conv.0", &m, 2, 4, 2, 1); each(&m, 0.2, false);
  conv(&n, "conv.1", &m, 4, 4, 2, 1); batch_norm(&n, "bn.1", &m); each(&m, 0.2, false);
  double score[B];
  layer(&n, "score", score, m.x, B, m.c * m.h * m.w, 1);
  expect(&n, "y", score, B);
  close_net(&n);
}

/* --- heads ------------------------------------------------------------------------------------------------------------------------------ */
static void unit(double *x, int rows, int width) {
  for (int r = 0; r < rows; r++) {
    double s = 0;
    for (int i = 0; i < width; i++) s += x[r * width + i] * x[r * width + i];
    for (int i = 0; i < width; i++) x[r * width + i] /= sqrt(s);
  }
}

static void heads(void **state) {
  (void)state;
  double x[B * 4], a[B * 5], b[B * 5], z[B * 4], w[3 * 4], y[B * 3];
  for (int i = 0; i < B * 4; i++) x[i] = input("x", i);
  net n;
  open_net(&n, "dino", "x", 2, B, 4, NULL);
  layer(&n, "mlp.0", a, x, B, 4, 5);
  for (int i = 0; i < B * 5; i++) a[i] = gelu(a[i]);
  layer(&n, "mlp.1", b, a, B, 5, 5);
  for (int i = 0; i < B * 5; i++) b[i] = gelu(b[i]);
  layer(&n, "mlp.2", z, b, B, 5, 4);
  unit(z, B, 4);
  memcpy(w, par(&n, "weight_v"), sizeof w);
  unit(w, 3, 4);
  linear(y, z, B, 4, 3, w, NULL);
  expect(&n, "y", y, B * 3);
  close_net(&n);
  open_net(&n, "byol", "x", 2, B, 4, NULL);
  static maps m;
  m = (maps){ .c = 5, .h = 1, .w = 1 };
  layer(&n, "fc1", m.x, x, B, 4, 5);
  batch_norm(&n, "bn", &m); each(&m, 0, false);
  layer(&n, "fc2", y, m.x, B, 5, 3);
  expect(&n, "y", y, B * 3);
  close_net(&n);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(encoders), cmocka_unit_test(decoders), cmocka_unit_test(vision), cmocka_unit_test(recurrent),
                                      cmocka_unit_test(images), cmocka_unit_test(heads) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
