/* reduce.c: twins of the reductions, and of the normalisations that give back their operand's shape. */
#include "runtime/kernels/ref/ref.h"
#include <math.h>

/* Calls `one` for each group: the elements of in[0] that share a position on the axes not reduced.
 * `from` is the offset of the group's first element in in[0], `to` of its result in out[0]. */
typedef void (*group_fn)(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to);
static void each_group(const kd_call *c, group_fn one) {
  kd__ref_axes rest, in, out = kd__ref_every(&c->out[0]);
  kd__ref_split(&c->in[0], c->attr[0].u.list, c->attr[0].n, &rest, &in);
  for (int64_t k = 0; k < rest.count; k++) one(c, &in, kd__ref_pos(&rest, k), kd__ref_pos(&out, k));
}

static void sum_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to) {
  double s = 0;
  uint64_t i = 0;
  bool real = kd__ref_real(&c->in[0]);
  for (int64_t k = 0; k < in->count; k++) {
    int64_t at = from + kd__ref_pos(in, k);
    if (real) s += kd__ref_load(&c->in[0], at);
    else i += (uint64_t)kd__ref_loadi(&c->in[0], at);
  }
  if (real) kd__ref_store(&c->out[0], to, s);
  else kd__ref_storei(&c->out[0], to, (int64_t)i);
}
void kd__ref_sum(const kd_call *c, const kd_exec *x) { (void)x; each_group(c, sum_one); }

/* What a maximum (sign 1) or minimum (sign -1) over no element is. */
static kd__wide extreme_of_none(kd_dtype t, int sign) {
  if (kd__dtype_real(t)) return sign > 0 ? -INFINITY : INFINITY;
  if (t == KD_I64) return sign > 0 ? (kd__wide)INT64_MIN : (kd__wide)INT64_MAX;
  return sign > 0 ? 0 : t == KD_BOOL ? 1 : 255;
}
static void extreme_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to, int sign) {
  kd__wide best = extreme_of_none((kd_dtype)c->in[0].dtype, sign);
  for (int64_t k = 0; k < in->count; k++) {
    kd__wide v = kd__ref_loadw(&c->in[0], from + kd__ref_pos(in, k));
    if (v != v || sign * v > sign * best) best = v;        /* once NaN, no comparison holds: NaN stays */
  }
  kd__ref_storew(&c->out[0], to, best);
}
static void max_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to) { extreme_one(c, in, from, to, 1); }
static void min_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to) { extreme_one(c, in, from, to, -1); }
void kd__ref_reduce_max(const kd_call *c, const kd_exec *x) { (void)x; each_group(c, max_one); }
void kd__ref_reduce_min(const kd_call *c, const kd_exec *x) { (void)x; each_group(c, min_one); }

static void any_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to) {
  bool r = false;
  for (int64_t k = 0; k < in->count; k++) r |= kd__ref_loadi(&c->in[0], from + kd__ref_pos(in, k)) != 0;
  kd__ref_storei(&c->out[0], to, r);
}
static void all_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to) {
  bool r = true;
  for (int64_t k = 0; k < in->count; k++) r &= kd__ref_loadi(&c->in[0], from + kd__ref_pos(in, k)) != 0;
  kd__ref_storei(&c->out[0], to, r);
}
void kd__ref_any(const kd_call *c, const kd_exec *x) { (void)x; each_group(c, any_one); }
void kd__ref_all(const kd_call *c, const kd_exec *x) { (void)x; each_group(c, all_one); }

/* argmax (sign 1) and argmin (sign -1); an empty axis gives 0. */
static void arg(const kd_call *c, int sign) {
  kd__ref_axes rest, in, out = kd__ref_every(&c->out[0]);
  kd__ref_split(&c->in[0], &c->attr[0].u.i, 1, &rest, &in);
  for (int64_t g = 0; g < rest.count; g++) {
    int64_t best = 0, from = kd__ref_pos(&rest, g);
    kd__wide top = in.count ? kd__ref_loadw(&c->in[0], from) : 0;
    for (int64_t k = 1; k < in.count && top == top; k++) {
      kd__wide v = kd__ref_loadw(&c->in[0], from + kd__ref_pos(&in, k));
      if (v != v || sign * v > sign * top) top = v, best = k;
    }
    kd__ref_storei(&c->out[0], kd__ref_pos(&out, g), best);
  }
}
void kd__ref_argmax(const kd_call *c, const kd_exec *x) { (void)x; arg(c, 1); }
void kd__ref_argmin(const kd_call *c, const kd_exec *x) { (void)x; arg(c, -1); }

/* Two passes: the mean first, then the mean square distance from it, so that no digits cancel. */
void kd__ref_moments(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_axes rest, in, mean = kd__ref_every(&c->out[0]), var = kd__ref_every(&c->out[1]);
  kd__ref_split(&c->in[0], c->attr[0].u.list, c->attr[0].n, &rest, &in);
  for (int64_t g = 0; g < rest.count; g++) {
    int64_t from = kd__ref_pos(&rest, g);
    double m = 0, v = 0;
    for (int64_t k = 0; k < in.count; k++) m += kd__ref_load(&c->in[0], from + kd__ref_pos(&in, k));
    m /= (double)in.count;
    for (int64_t k = 0; k < in.count; k++) {
      double d = kd__ref_load(&c->in[0], from + kd__ref_pos(&in, k)) - m;
      v += d * d;
    }
    kd__ref_store(&c->out[0], kd__ref_pos(&mean, g), m);
    kd__ref_store(&c->out[1], kd__ref_pos(&var, g), v / (double)in.count);
  }
}

/* The maximum of a group, and the sum of e^(x - maximum). NaN if any element is. */
static double group_max(const kd_tensor *t, const kd__ref_axes *in, int64_t from, double *sum) {
  double m = -INFINITY;
  *sum = 0;
  for (int64_t k = 0; k < in->count; k++) {
    double v = kd__ref_load(t, from + kd__ref_pos(in, k));
    if (v != v || v > m) m = v;
  }
  for (int64_t k = 0; k < in->count; k++) *sum += exp(kd__ref_load(t, from + kd__ref_pos(in, k)) - m);
  return m;
}

/* All -inf (and no element at all) gives -inf, any +inf gives +inf. */
static double group_logsumexp(const kd_tensor *t, const kd__ref_axes *in, int64_t from) {
  double sum, m = group_max(t, in, from, &sum);
  return isinf(m) ? m : m + log(sum);
}
static void logsumexp_one(const kd_call *c, const kd__ref_axes *in, int64_t from, int64_t to) {
  kd__ref_store(&c->out[0], to, group_logsumexp(&c->in[0], in, from));
}
void kd__ref_logsumexp(const kd_call *c, const kd_exec *x) { (void)x; each_group(c, logsumexp_one); }

/* softmax and log_softmax. A group that is all -inf, or has a +inf, gives NaN: it has no distribution. */
static void normalise(const kd_call *c, bool logs) {
  kd__ref_axes rest, in, orest, oin;
  kd__ref_split(&c->in[0], c->attr[0].u.list, c->attr[0].n, &rest, &in);
  kd__ref_split(&c->out[0], c->attr[0].u.list, c->attr[0].n, &orest, &oin);
  for (int64_t g = 0; g < rest.count; g++) {
    int64_t from = kd__ref_pos(&rest, g), to = kd__ref_pos(&orest, g);
    double sum, m = group_max(&c->in[0], &in, from, &sum), lse = log(sum);
    for (int64_t k = 0; k < in.count; k++) {
      double d = kd__ref_load(&c->in[0], from + kd__ref_pos(&in, k)) - m;
      kd__ref_store(&c->out[0], to + kd__ref_pos(&oin, k), logs ? d - lse : exp(d) / sum);
    }
  }
}
void kd__ref_softmax(const kd_call *c, const kd_exec *x) { (void)x; normalise(c, false); }
void kd__ref_log_softmax(const kd_call *c, const kd_exec *x) { (void)x; normalise(c, true); }

void kd__ref_cumsum(const kd_call *c, const kd_exec *x) {
  (void)x;
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  bool reverse = c->attr[1].u.i != 0;
  kd__ref_axes rest, in, orest, oin;
  kd__ref_split(a, &c->attr[0].u.i, 1, &rest, &in);
  kd__ref_split(o, &c->attr[0].u.i, 1, &orest, &oin);
  for (int64_t g = 0; g < rest.count; g++) {
    double s = 0;
    uint64_t i = 0;
    for (int64_t n = 0; n < in.count; n++) {
      int64_t k = reverse ? in.count - 1 - n : n;
      int64_t from = kd__ref_pos(&rest, g) + kd__ref_pos(&in, k), to = kd__ref_pos(&orest, g) + kd__ref_pos(&oin, k);
      if (kd__ref_real(a)) kd__ref_store(o, to, s += kd__ref_load(a, from));
      else kd__ref_storei(o, to, (int64_t)(i += (uint64_t)kd__ref_loadi(a, from)));
    }
  }
}
