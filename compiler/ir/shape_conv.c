/* shape_conv.c: shape rules of matrix products, convolutions and pooling. */
#include "compiler/ir/shape.h"

bool kd__shape_matmul(const kd__shape_call *c) {
  const kd_type *a = c->in[0], *b = c->in[1];
  if (!kd__need_dtype(c, 0, KD__REAL) || !kd__need_one_dtype(c, 0) || !kd__need_rank(c, 0, 2)) return false;
  if (a->rank != b->rank) return kd__no(c, "ranks differ: %d in operand 1, %d in operand 2", a->rank, b->rank);
  int r = a->rank;
  for (int d = 0; d < r - 2; d++)
    if (a->dim[d] != b->dim[d])
      return kd__no(c, "sizes of batch axis %d differ: %lld in operand 1, %lld in operand 2", d, (long long)a->dim[d], (long long)b->dim[d]);
  if (a->dim[r - 1] != b->dim[r - 2])
    return kd__no(c, "contracted sizes differ: %lld on axis %d of operand 1, %lld on axis %d of operand 2", (long long)a->dim[r - 1], r - 1,
                  (long long)b->dim[r - 2], r - 2);
  *c->out = *a;
  c->out->dim[r - 1] = b->dim[r - 1];
  return true;
}

/* --- windows ------------------------------------------------------------------------------------------------------ */

/* The kernels know lines, planes and volumes. */
enum { MAX_SPATIAL = 3 };

typedef struct windows {
  int n;                                         /* spatial axes */
  const int64_t *stride, *lo, *hi, *dilation;    /* dilation may be NULL: 1 */
} windows;

static bool read_windows(const kd__shape_call *c, windows *w) {
  for (uint32_t i = 0; i < c->nin; i++) {
    if (c->in[i]->rank < 3 || c->in[i]->rank > 2 + MAX_SPATIAL)
      return kd__no(c, "operand %u has rank %d; two axes and 1 to %d spatial ones are needed", i + 1, c->in[i]->rank, MAX_SPATIAL);
    if (c->in[i]->rank != c->in[0]->rank) return kd__no(c, "ranks differ: %d in operand 1, %d in operand %u", c->in[0]->rank, c->in[i]->rank, i + 1);
    if (!kd__need_dtype(c, i, c->op == KD_OP_MAX_POOL ? KD__ORDERED : KD__REAL)) return false;
  }
  w->n = c->in[0]->rank - 2;
  w->dilation = NULL;
  if (!kd__need_list(c, "stride", w->n, 1, &w->stride) || !kd__need_list(c, "pad_lo", w->n, 0, &w->lo) || !kd__need_list(c, "pad_hi", w->n, 0, &w->hi)) return false;
  return (!kd__shape_attr(c, "dilation") || kd__need_list(c, "dilation", w->n, 1, &w->dilation)) && kd__need_one_dtype(c, 0);
}

/* Where windows of `size` over `space` elements lie: their number a spatial axis goes to t. */
static bool slide(const kd__shape_call *c, const windows *w, const int64_t *space, const int64_t *size, int64_t *t) {
  for (int i = 0; i < w->n; i++) {
    int64_t span, room;
    if (size[i] < 1) return kd__no(c, "the window has size %lld on spatial axis %d", (long long)size[i], i);
    if (__builtin_mul_overflow(size[i] - 1, w->dilation ? w->dilation[i] : 1, &span) || __builtin_add_overflow(span, 1, &span) ||
        __builtin_add_overflow(space[i], w->lo[i], &room) || __builtin_add_overflow(room, w->hi[i], &room))
      return kd__no(c, "sizes on spatial axis %d are too large", i);
    if (span > room)
      return kd__no(c, "a window that spans %lld does not fit spatial axis %d: %lld with padding", (long long)span, i, (long long)room);
    t[i] = (room - span) / w->stride[i] + 1;
  }
  return true;
}

/* The sizes of operand `operand` must be what the windows give. */
static bool same_places(const kd__shape_call *c, const windows *w, uint32_t operand, const int64_t *t) {
  for (int i = 0; i < w->n; i++)
    if (c->in[operand]->dim[2 + i] != t[i])
      return kd__no(c, "operand %u has size %lld on spatial axis %d; the windows give %lld", operand + 1, (long long)c->in[operand]->dim[2 + i], i, (long long)t[i]);
  return true;
}

static void spatial(kd_type *out, kd_dtype t, const windows *w, int64_t a, int64_t b, const int64_t *s) {
  *out = (kd_type){ .dtype = (uint8_t)t, .rank = (uint8_t)(2 + w->n), .dim = { a, b } };
  for (int i = 0; i < w->n; i++) out->dim[2 + i] = s[i];
}

static bool need_groups(const kd__shape_call *c, const char *of, int64_t channels) {
  int64_t g = kd__shape_int(c, "groups");
  if (g < 1) return kd__no(c, "groups is %lld", (long long)g);
  return channels % g == 0 || kd__no(c, "%lld groups do not divide %lld %s channels", (long long)g, (long long)channels, of);
}

/* --- convolution ---------------------------------------------------------------------------------------------------- */

bool kd__shape_conv(const kd__shape_call *c) {
  const kd_type *x = c->in[0], *k = c->in[1];
  windows w;
  int64_t t[MAX_SPATIAL];
  if (!read_windows(c, &w) || !need_groups(c, "input", x->dim[1]) || !need_groups(c, "output", k->dim[0])) return false;
  int64_t per = x->dim[1] / kd__shape_int(c, "groups");
  if (k->dim[1] != per) return kd__no(c, "operand 2 takes %lld channels a group; operand 1 has %lld", (long long)k->dim[1], (long long)per);
  if (!slide(c, &w, x->dim + 2, k->dim + 2, t)) return false;
  spatial(c->out, (kd_dtype)x->dtype, &w, x->dim[0], k->dim[0], t);
  return true;
}

bool kd__shape_conv_post(const kd__shape_call *c) {
  kd__shape_call first = *c;
  int64_t bias = kd__shape_int(c, "bias"), relu = kd__shape_int(c, "relu");
  if (bias < 0 || bias > 1 || relu < 0 || relu > 1) return kd__no(c, "bias and relu are 0 or 1");
  if (c->nin < 2 + bias || c->nin > 3 + bias) return kd__no(c, "%u operands; a convolution, its bias and one more have %d or %d", c->nin, (int)(2 + bias), (int)(3 + bias));
  first.nin = 2;
  if (!kd__shape_conv(&first) || !kd__need_one_dtype(c, 0)) return false;
  if (bias && (c->in[2]->rank != 1 || c->in[2]->dim[0] != c->out->dim[1])) return kd__no(c, "operand 3 is not one value for each of %lld channels", (long long)c->out->dim[1]);
  if (c->nin == 3 + bias && !kd__same_shape(c->in[2 + bias], c->out)) return kd__no(c, "operand %d has not the shape of the result", (int)(3 + bias));
  return true;
}

bool kd__shape_conv_data(const kd__shape_call *c) {
  const kd_type *g = c->in[0], *k = c->in[1];
  const int64_t *size;
  windows w;
  int64_t t[MAX_SPATIAL], channels;
  if (!read_windows(c, &w) || !kd__need_list(c, "size", w.n, 0, &size) || !need_groups(c, "output", k->dim[0])) return false;
  if (g->dim[1] != k->dim[0]) return kd__no(c, "operand 1 has %lld channels; operand 2 makes %lld", (long long)g->dim[1], (long long)k->dim[0]);
  if (!slide(c, &w, size, k->dim + 2, t) || !same_places(c, &w, 0, t)) return false;
  if (__builtin_mul_overflow(k->dim[1], kd__shape_int(c, "groups"), &channels)) return kd__no_memory(c);
  spatial(c->out, (kd_dtype)g->dtype, &w, g->dim[0], channels, size);
  return true;
}

bool kd__shape_conv_weight(const kd__shape_call *c) {
  const kd_type *x = c->in[0], *g = c->in[1];
  const int64_t *size;
  windows w;
  int64_t t[MAX_SPATIAL];
  if (!read_windows(c, &w) || !kd__need_list(c, "size", w.n, 1, &size)) return false;
  if (!need_groups(c, "input", x->dim[1]) || !need_groups(c, "output", g->dim[1])) return false;
  if (x->dim[0] != g->dim[0]) return kd__no(c, "sizes of axis 0 differ: %lld in operand 1, %lld in operand 2", (long long)x->dim[0], (long long)g->dim[0]);
  if (!slide(c, &w, x->dim + 2, size, t) || !same_places(c, &w, 1, t)) return false;
  spatial(c->out, (kd_dtype)x->dtype, &w, g->dim[1], x->dim[1] / kd__shape_int(c, "groups"), size);
  return true;
}

/* --- pooling ---------------------------------------------------------------------------------------------------- */

static bool pooled(const kd__shape_call *c, kd_type *out) {
  const int64_t *window;
  windows w;
  int64_t t[MAX_SPATIAL];
  if (!read_windows(c, &w) || !kd__need_list(c, "window", w.n, 1, &window) || !slide(c, &w, c->in[0]->dim + 2, window, t)) return false;
  spatial(out, (kd_dtype)c->in[0]->dtype, &w, c->in[0]->dim[0], c->in[0]->dim[1], t);
  return true;
}

bool kd__shape_sum_pool(const kd__shape_call *c) { return pooled(c, c->out); }

bool kd__shape_max_pool(const kd__shape_call *c) {
  if (!pooled(c, c->out)) return false;
  c->out[1] = c->out[0];
  c->out[1].dtype = KD_I64;
  return true;
}

bool kd__shape_sum_pool_data(const kd__shape_call *c) {
  const int64_t *window, *size;
  windows w;
  int64_t t[MAX_SPATIAL];
  if (!read_windows(c, &w) || !kd__need_list(c, "window", w.n, 1, &window) || !kd__need_list(c, "size", w.n, 0, &size)) return false;
  if (!slide(c, &w, size, window, t) || !same_places(c, &w, 0, t)) return false;
  spatial(c->out, (kd_dtype)c->in[0]->dtype, &w, c->in[0]->dim[0], c->in[0]->dim[1], size);
  return true;
}
