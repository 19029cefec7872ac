/* random.c: see random.h. */
#include "tests/eval/random.h"
#include <math.h>
#include <stdio.h>

typedef struct facts { double lo, hi; bool exact; } facts;
typedef struct maker {
  kd_random_graph *r;
  kd_random_spec spec;
  kd__arena *a;
  kd_build b;
  uint64_t state;
  KD_VEC(facts) fact;                            /* by value; [0] unused */
} maker;

enum { BIG = 10000 };                            /* no value is larger */

static uint64_t draw(maker *m) { return kd__mix(m->spec.seed * 0x9e3779b97f4a7c15u + 1, m->state++); }
static int64_t below(maker *m, int64_t n) { return n <= 0 ? 0 : (int64_t)(draw(m) % (uint64_t)n); }
static bool chance(maker *m, int percent) { return below(m, 100) < percent; }
static double uniform(maker *m, double lo, double hi) { return lo + (hi - lo) * (double)(draw(m) >> 11) * 0x1p-53; }
static kd_type type_of(const maker *m, kd_value v) { return *kd__type_of(m->r->g, v); }
static bool real(kd_dtype t) { return kd__dtype_real(t); }

/* --- leaves ------------------------------------------------------------------------------------------------------------- */

static void set_facts(maker *m, kd_value v, double lo, double hi, bool exact) {
  while (m->fact.n < m->r->g->type.n) KD_PUSH(m->a, m->fact, (facts){ 0 });
  m->fact.v[v] = (facts){ lo, hi, exact };
}

/* A new slot with data in [lo, hi]: whole numbers where exact. */
static kd_value fresh(maker *m, kd_type t, double lo, double hi, bool exact) {
  int64_t n = kd__type_count(&t), slot = (int64_t)m->r->slot.n;
  kd_dtype dt = (kd_dtype)t.dtype;
  char *data = kd__arena_get(m->a, kd__dtype_size(dt) * (size_t)(n + 1));
  bool nan = m->spec.nan && real(dt) && !exact;
  for (int64_t i = 0; i < n; i++) {
    double v = exact || !real(dt) ? floor(uniform(m, lo, hi + 1)) : uniform(m, lo, hi);
    if (nan && chance(m, 15)) v = NAN;
    if (dt == KD_F32) ((float *)data)[i] = (float)v;
    else if (dt == KD_F64) ((double *)data)[i] = v;
    else if (dt == KD_I64) ((int64_t *)data)[i] = (int64_t)v;
    else ((uint8_t *)data)[i] = (uint8_t)v;
  }
  KD_PUSH(m->a, m->r->slot, (kd_random_slot){ t, data });
  kd_value v = kd__b_input(&m->b, slot, &t);
  set_facts(m, v, lo, hi, exact || !real(dt));
  return v;
}

static kd_type some_shape(maker *m, kd_dtype dt) {
  kd_type t = { .dtype = (uint8_t)dt, .rank = (uint8_t)below(m, 5) };
  static const int64_t sizes[] = { 1, 2, 2, 3, 3, 4, 5 };
  for (int d = 0; d < t.rank; d++) t.dim[d] = chance(m, 2) ? 0 : sizes[below(m, 7)];
  return t;
}

static kd_value any_input(maker *m, kd_type t) {
  if (t.dtype == KD_BOOL) return fresh(m, t, 0, 1, true);
  if (t.dtype == KD_U8) return fresh(m, t, 0, 9, true);
  if (t.dtype == KD_I64) return fresh(m, t, -4, 4, true);
  return chance(m, 50) ? fresh(m, t, -3, 3, true) : fresh(m, t, -2, 2, false);
}

static kd_value constant(maker *m, kd_type t) {
  static const double numbers[] = { 0, 1, -1, 2, 0.5, 3, 0.1, -0.0 };
  double v = real((kd_dtype)t.dtype) ? numbers[below(m, 8)] : t.dtype == KD_BOOL ? (double)below(m, 2) : (double)below(m, 4);
  kd_value c = kd__b_const(&m->b, v, (kd_dtype)t.dtype, t.dim, t.rank);
  set_facts(m, c, v, v, v * 4 == floor(v * 4));
  return c;
}

/* --- picking operands --------------------------------------------------------------------------------------------------------- */

typedef bool (*want_fn)(const maker *m, kd_value v, const void *ctx);

static kd_value pick(maker *m, want_fn want, const void *ctx) {
  kd_value n = (kd_value)m->r->g->type.n - 1, start = (kd_value)below(m, n);
  for (kd_value i = 0; i < n && i < 60; i++) {
    kd_value v = (start + i) % n + 1;
    if (want(m, v, ctx)) return v;
  }
  return 0;
}

static bool of_type(const maker *m, kd_value v, const void *ctx) { return kd__type_equal(kd__type_of(m->r->g, v), ctx); }
static bool is_real(const maker *m, kd_value v, const void *ctx) { (void)ctx; return real((kd_dtype)type_of(m, v).dtype); }
static bool is_exact(const maker *m, kd_value v, const void *ctx) { (void)ctx; return m->fact.v[v].exact; }
static bool is_any(const maker *m, kd_value v, const void *ctx) { (void)m, (void)v, (void)ctx; return true; }
static bool is_bool(const maker *m, kd_value v, const void *ctx) { (void)ctx; return type_of(m, v).dtype == KD_BOOL; }
static bool is_arith(const maker *m, kd_value v, const void *ctx) { return is_real(m, v, ctx) || type_of(m, v).dtype == KD_I64; }
static bool is_matrix(const maker *m, kd_value v, const void *ctx) { return is_real(m, v, ctx) && type_of(m, v).rank >= 2; }
static bool is_image(const maker *m, kd_value v, const void *ctx) {
  kd_type t = type_of(m, v);
  return is_real(m, v, ctx) && t.rank >= 3 && t.rank <= 5 && kd__type_count(&t) > 0;
}

static kd_value to_shape(maker *m, kd_value v, const kd_type *t);

/* Something of the type: an older value, a constant, something repeated, a new input. */
static kd_value like(maker *m, kd_type t) {
  int64_t way = below(m, 10);
  kd_value v = 0;
  if (way < 4) v = pick(m, of_type, &t);
  else if (way < 5) v = constant(m, t);
  else if (way < 8) {
    kd_type part = t;
    int64_t axes[KD_MAX_RANK];
    part.rank = 0;
    for (int d = 0; d < t.rank; d++)
      if (chance(m, 50)) axes[part.rank] = d, part.dim[part.rank++] = t.dim[d];
    for (int d = part.rank; d < KD_MAX_RANK; d++) part.dim[d] = 0;
    kd_value source = pick(m, of_type, &part);
    if (!source) source = any_input(m, part);
    facts f = m->fact.v[source];
    v = kd__b_broadcast(&m->b, source, t.dim, t.rank, axes);
    set_facts(m, v, f.lo, f.hi, f.exact);
  } else {
    v = pick(m, is_any, NULL);
    if (v) v = to_shape(m, v, &t);
  }
  return v ? v : any_input(m, t);
}

/* v reshaped to a type of as many elements. */
static kd_value to_shape(maker *m, kd_value v, const kd_type *t) {
  kd_type have = type_of(m, v);
  if (have.dtype != t->dtype || kd__type_count(&have) != kd__type_count(t)) return 0;
  facts f = m->fact.v[v];
  v = kd__b_reshape(&m->b, v, t->dim, t->rank);
  set_facts(m, v, f.lo, f.hi, f.exact);
  return v;
}

/* --- making ------------------------------------------------------------------------------------------------------------------------ */

/* Adds the node where it fits and its results stay small; nothing else happens otherwise. */
static void add(maker *m, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr, double lo, double hi, bool exact) {
  kd_shape_error err;
  kd_type out[2];
  const kd_type *types[8];
  if (!(lo >= -BIG && hi <= BIG)) return;
  for (uint32_t i = 0; i < nin; i++) {
    if (!in[i]) return;
    types[i] = kd__type_of(m->r->g, in[i]);
  }
  if (!kd__infer(op, types, nin, attr, out, &err) || kd__type_count(&out[0]) > 4000) return;
  kd_value v = kd__graph_add(m->r->g, op, in, nin, attr, 1, &err);
  for (int k = 0; k < kd__op_info(op)->nout; k++) set_facts(m, v + (kd_value)k, lo, hi, exact);
}

static double largest(facts f) { return fmax(fabs(f.lo), fabs(f.hi)); }

static void make_unary(maker *m, kd_op op) {
  bool anything = op == KD_OP_NEG || op == KD_OP_ABS || op == KD_OP_SIGN || op == KD_OP_RELU;
  kd_value x = op == KD_OP_NOT ? pick(m, is_bool, NULL) : pick(m, op == KD_OP_STOP ? is_any : anything ? is_arith : is_real, NULL);
  if (!x) return;
  facts f = m->fact.v[x];
  double b = largest(f);
  bool jumps = op == KD_OP_SIGN || op == KD_OP_FLOOR || op == KD_OP_CEIL || op == KD_OP_ROUND || op == KD_OP_ISFINITE;
  if (jumps && !f.exact) return;
  switch (op) {
    case KD_OP_EXP: case KD_OP_EXPM1: if (b > 6) return; add(m, op, &x, 1, NULL, op == KD_OP_EXP ? exp(f.lo) : -1, exp(f.hi), false); return;
    case KD_OP_LOG: case KD_OP_RSQRT: case KD_OP_RECIP: if (f.lo < 0.05 || m->spec.nan) return; add(m, op, &x, 1, NULL, -20, 20, false); return;
    case KD_OP_LOG1P: if (f.lo < -0.9) return; add(m, op, &x, 1, NULL, -3, 10, false); return;
    case KD_OP_SQRT: if (f.lo < 0.05) return; add(m, op, &x, 1, NULL, 0.2, sqrt(f.hi), false); return;
    case KD_OP_SIGMOID: add(m, op, &x, 1, NULL, 0, 1, false); return;
    case KD_OP_SOFTPLUS: add(m, op, &x, 1, NULL, 0, b + 1, false); return;
    case KD_OP_SIN: case KD_OP_COS: case KD_OP_TANH: case KD_OP_ERF: case KD_OP_SIGN: add(m, op, &x, 1, NULL, -1, 1, jumps); return;
    case KD_OP_ABS: case KD_OP_RELU: add(m, op, &x, 1, NULL, 0, b, f.exact); return;
    case KD_OP_NEG: add(m, op, &x, 1, NULL, -f.hi, -f.lo, f.exact); return;
    case KD_OP_NOT: case KD_OP_ISFINITE: add(m, op, &x, 1, NULL, 0, 1, true); return;
    case KD_OP_STOP: add(m, op, &x, 1, NULL, f.lo, f.hi, f.exact); return;
    default: add(m, op, &x, 1, NULL, floor(f.lo), ceil(f.hi), true); return;           /* floor, ceil, round */
  }
}

static void make_cast(maker *m) {
  kd_value x = pick(m, is_any, NULL);
  static const kd_dtype to[] = { KD_F64, KD_F64, KD_I64, KD_U8, KD_BOOL };
  kd_dtype t = to[below(m, 5)];
  if (!x) return;
  if (real(t)) t = m->spec.real;
  facts f = m->fact.v[x];
  if (!real(t) && !f.exact) return;
  if (m->spec.real == KD_F32 && largest(f) > 1000) return;
  double lo = t == KD_BOOL || t == KD_U8 ? 0 : f.lo, hi = t == KD_BOOL ? 1 : t == KD_U8 ? 255 : f.hi;
  add(m, KD_OP_CAST, &x, 1, (kd_attr[]){ kd__at(t) }, lo, hi, true);
  if (!f.exact) m->fact.v[m->r->g->type.n - 1].exact = false;
}

static void make_binary(maker *m, kd_op op) {
  bool logic = op == KD_OP_AND || op == KD_OP_OR, compares = op == KD_OP_EQ || op == KD_OP_NE || op == KD_OP_LT || op == KD_OP_LE;
  kd_value x = pick(m, logic ? is_bool : compares ? is_exact : is_arith, NULL);
  if (!x) return;
  kd_value in[2] = { x, chance(m, 8) ? x : like(m, type_of(m, x)) };
  if (chance(m, 40)) { kd_value t = in[0]; in[0] = in[1]; in[1] = t; }
  facts f = m->fact.v[in[0]], g = m->fact.v[in[1]];
  double a = largest(f), b = largest(g);
  bool exact = f.exact && g.exact;
  kd_type t = type_of(m, x);
  switch (op) {
    case KD_OP_ADD: add(m, op, in, 2, NULL, f.lo + g.lo, f.hi + g.hi, exact); return;
    case KD_OP_SUB: add(m, op, in, 2, NULL, f.lo - g.hi, f.hi - g.lo, exact); return;
    case KD_OP_MUL: add(m, op, in, 2, NULL, f.lo >= 0 && g.lo >= 0 ? f.lo * g.lo : -a * b, a * b, exact); return;
    case KD_OP_MAX: add(m, op, in, 2, NULL, fmax(f.lo, g.lo), fmax(f.hi, g.hi), exact); return;
    case KD_OP_MIN: add(m, op, in, 2, NULL, fmin(f.lo, g.lo), fmin(f.hi, g.hi), exact); return;
    case KD_OP_DIV:
      if (m->spec.nan || !real((kd_dtype)t.dtype)) return;
      if (chance(m, 50)) in[1] = kd__b_const_like(&m->b, 4, x), set_facts(m, in[1], 4, 4, true);
      else if (g.lo < 0.05) in[1] = fresh(m, t, 1, 3, false);
      add(m, op, in, 2, NULL, -20 * a, 20 * a, false);
      return;
    case KD_OP_POW: {
      static const double exponents[] = { 0, 1, 2, 3, -1, 0.5, -0.5, 1.5 };
      double k = exponents[below(m, 8)];
      if (!real((kd_dtype)t.dtype) || m->spec.nan || f.lo < 0.05) return;
      in[1] = kd__b_const_like(&m->b, k, x), set_facts(m, in[1], k, k, true);
      add(m, op, in, 2, NULL, 0, fmax(20, a * a * a), false);
      return;
    }
    case KD_OP_XLOGY: if (g.lo < 0.05 || !real((kd_dtype)t.dtype)) return; add(m, op, in, 2, NULL, -10 * a, 10 * a, false); return;
    case KD_OP_IDIV: case KD_OP_REM:
      if (!exact || (op == KD_OP_IDIV && t.dtype != KD_I64)) return;
      in[1] = fresh(m, t, 1, 3, true);
      add(m, op, in, 2, NULL, -a - 3, a + 3, true);
      return;
    default:
      if (compares && !exact) return;
      add(m, op, in, 2, NULL, 0, 1, true);
  }
}

static void make_where(maker *m) {
  kd_value c = pick(m, is_bool, NULL);
  if (!c) return;
  kd_type t = type_of(m, c);
  t.dtype = chance(m, 70) ? m->spec.real : KD_I64;
  if (chance(m, 10)) t.dtype = KD_BOOL;
  kd_value in[3] = { c, like(m, t), like(m, t) };
  facts f = m->fact.v[in[1]], g = m->fact.v[in[2]];
  add(m, KD_OP_WHERE, in, 3, NULL, fmin(f.lo, g.lo), fmax(f.hi, g.hi), f.exact && g.exact);
}

static uint32_t some_axes(maker *m, int rank, int64_t *axes) {
  uint32_t n = 0;
  for (int d = 0; d < rank; d++)
    if (chance(m, 45)) axes[n++] = d;
  return n;
}

static void make_reduce(maker *m, kd_op op) {
  kd_value x = pick(m, op == KD_OP_ANY || op == KD_OP_ALL ? is_bool : op == KD_OP_SUM ? is_arith : is_real, NULL);
  if (!x) return;
  kd_type t = type_of(m, x);
  int64_t axes[KD_MAX_RANK], n = 1;
  uint32_t k = some_axes(m, t.rank, axes);
  for (uint32_t i = 0; i < k; i++) n *= t.dim[axes[i]];
  facts f = m->fact.v[x];
  double b = largest(f);
  bool arg = op == KD_OP_ARGMAX || op == KD_OP_ARGMIN;
  if (n == 0 && op != KD_OP_SUM && op != KD_OP_ANY && op != KD_OP_ALL) return;
  if (arg && (t.rank == 0 || !f.exact)) return;
  if (arg) { add(m, op, &x, 1, (kd_attr[]){ kd__ai(below(m, t.rank)) }, 0, 10, true); return; }
  if (op == KD_OP_CUMSUM) {
    if (t.rank) add(m, op, &x, 1, (kd_attr[]){ kd__ai(below(m, t.rank)), kd__ai(below(m, 2)) }, -b * 5, b * 5, f.exact);
    return;
  }
  double lo = f.lo, hi = f.hi;
  bool exact = f.exact;
  if (op == KD_OP_SUM) lo = n ? f.lo * (double)n : 0, hi = n ? f.hi * (double)n : 0;
  if (op == KD_OP_SUM && lo < 0) lo = -b * (double)n, hi = b * (double)n;
  if (op == KD_OP_MOMENTS) lo = -b, hi = fmax(b, 4 * b * b), exact = false;
  if (op == KD_OP_LOGSUMEXP) hi += 10, exact = false;
  if (op == KD_OP_SOFTMAX) lo = 0, hi = 1, exact = false;
  if (op == KD_OP_LOG_SOFTMAX) lo = -2 * b - 10, hi = 0, exact = false;
  add(m, op, &x, 1, (kd_attr[]){ kd__al(axes, k) }, lo, hi, exact);
}

static void make_view(maker *m, kd_op op) {
  kd_value x = pick(m, is_any, NULL);
  if (!x) return;
  kd_type t = type_of(m, x), to = t;
  facts f = m->fact.v[x];
  int64_t p[KD_MAX_RANK], q[KD_MAX_RANK], s[KD_MAX_RANK], n = kd__type_count(&t);
  for (int d = 0; d < t.rank; d++) p[d] = d;
  switch (op) {
    case KD_OP_PERMUTE:
      for (int d = t.rank - 1; d > 0; d--) { int64_t j = below(m, d + 1), k = p[d]; p[d] = p[j]; p[j] = k; }
      add(m, op, &x, 1, (kd_attr[]){ kd__al(p, t.rank) }, f.lo, f.hi, f.exact);
      return;
    case KD_OP_RESHAPE:
      to.rank = 0;
      for (int64_t left = n, k; left > 1 && to.rank < 4; left /= k) {
        for (k = 2 + below(m, 5); k > 1 && left % k; k--) {}
        if (k == 1) k = left;
        to.dim[to.rank++] = k;
        if (chance(m, 15)) to.dim[to.rank++] = 1;
      }
      if (n == 0) to.dim[to.rank++] = 0;
      add(m, op, &x, 1, (kd_attr[]){ kd__al(to.dim, to.rank) }, f.lo, f.hi, f.exact);
      return;
    case KD_OP_BROADCAST: {
      uint32_t k = 0;
      to.rank = 0;
      for (int d = 0; d <= t.rank; d++) {
        while (chance(m, 35) && to.rank < 6) to.dim[to.rank++] = 1 + below(m, 3);
        if (d < t.rank) p[k++] = to.rank, to.dim[to.rank++] = t.dim[d];
      }
      add(m, op, &x, 1, (kd_attr[]){ kd__al(to.dim, to.rank), kd__al(p, t.rank) }, f.lo, f.hi, f.exact);
      return;
    }
    case KD_OP_SLICE:
      for (int d = 0; d < t.rank; d++) {
        q[d] = below(m, t.dim[d] + 1), s[d] = chance(m, 60) ? 1 : chance(m, 50) ? -1 : 2, p[d] = 0;
        if (chance(m, 30)) q[d] = t.dim[d], s[d] = 1;
        if (q[d] && s[d] == 2) q[d] = (t.dim[d] + 1) / 2;
        if (q[d] && s[d] == 1) p[d] = below(m, t.dim[d] - q[d] + 1);
        if (q[d] && s[d] == -1) p[d] = t.dim[d] - 1;
      }
      add(m, op, &x, 1, (kd_attr[]){ kd__al(p, t.rank), kd__al(q, t.rank), kd__al(s, t.rank) }, f.lo, f.hi, f.exact);
      return;
    default:                                     /* pad */
      for (int d = 0; d < t.rank; d++) p[d] = below(m, 2), q[d] = below(m, 3);
      add(m, KD_OP_PAD, &x, 1, (kd_attr[]){ kd__al(p, t.rank), kd__al(q, t.rank), kd__af((double)below(m, 2)) }, fmin(f.lo, 0), fmax(f.hi, 1), f.exact);
  }
}

static void make_concat(maker *m) {
  kd_value x = pick(m, is_any, NULL), in[4];
  if (!x) return;
  kd_type t = type_of(m, x);
  if (t.rank == 0) return;
  int64_t axis = below(m, t.rank);
  uint32_t n = 1 + (uint32_t)below(m, 4);
  double lo = BIG, hi = -BIG;
  bool exact = true;
  for (uint32_t i = 0; i < n; i++) {
    kd_type part = t;
    if (chance(m, 40)) part.dim[axis] = below(m, 4);
    in[i] = i == 0 ? x : like(m, part);
    facts f = m->fact.v[in[i]];
    lo = fmin(lo, f.lo), hi = fmax(hi, f.hi), exact = exact && f.exact;
  }
  add(m, KD_OP_CONCAT, in, n, (kd_attr[]){ kd__ai(axis) }, lo, hi, exact);
}

static void make_index(maker *m, kd_op op) {
  kd_value x = pick(m, op == KD_OP_SCATTER_ADD ? is_arith : is_any, NULL);
  if (!x) return;
  kd_type t = type_of(m, x), it = { .dtype = KD_I64 }, vt;
  if (t.rank == 0) return;
  int64_t batch = below(m, t.rank), n = t.dim[batch], skip = op == KD_OP_GATHER ? 0 : below(m, 2);
  if (n == 0) return;
  it.rank = (uint8_t)batch;
  for (int d = 0; d < batch; d++) it.dim[d] = t.dim[d];
  for (int64_t k = below(m, 3); k > 0; k--) it.dim[it.rank++] = 1 + below(m, 3);
  kd_value index = fresh(m, it, skip ? -1 : 0, (double)n - 1, true), in[3] = { x, index, 0 };
  facts f = m->fact.v[x], g = f;
  if (op == KD_OP_GATHER) { add(m, op, in, 2, (kd_attr[]){ kd__ai(batch) }, f.lo, f.hi, f.exact); return; }
  vt = it, vt.dtype = t.dtype;
  for (int d = (int)batch + 1; d < t.rank; d++) vt.dim[vt.rank++] = t.dim[d];
  in[2] = like(m, vt), g = m->fact.v[in[2]];
  double b = op == KD_OP_SCATTER_ADD ? largest(f) + 40 * largest(g) : fmax(largest(f), largest(g));
  add(m, op, in, 3, (kd_attr[]){ kd__ai(batch), kd__ai(skip) }, -b, b, f.exact && g.exact);
}

static void make_matmul(maker *m) {
  kd_value x = pick(m, is_matrix, NULL);
  if (!x) return;
  kd_type t = type_of(m, x);
  int64_t k = t.dim[t.rank - 1];
  t.dim[t.rank - 2] = k, t.dim[t.rank - 1] = 1 + below(m, 4);
  kd_value in[2] = { x, like(m, t) };
  double b = largest(m->fact.v[in[0]]) * largest(m->fact.v[in[1]]) * (double)k;
  add(m, KD_OP_MATMUL, in, 2, NULL, -b, b, false);
}

static void make_window(maker *m, kd_op op) {
  kd_value x = pick(m, is_image, NULL), in[2];
  if (!x) return;
  kd_type t = type_of(m, x), w = t;
  int n = t.rank - 2;
  int64_t stride[3], lo[3], hi[3], one[3] = { 1, 1, 1 }, size[3], per = 1;
  for (int i = 0; i < n; i++) {
    size[i] = 1 + below(m, t.dim[2 + i] < 3 ? t.dim[2 + i] : 3), stride[i] = 1 + below(m, 2), lo[i] = below(m, 2), hi[i] = below(m, 2);
    per *= size[i];
  }
  double b = largest(m->fact.v[x]);
  if (op == KD_OP_SUM_POOL || op == KD_OP_MAX_POOL) {
    if (op == KD_OP_MAX_POOL && !m->fact.v[x].exact) return;
    kd_attr attr[4] = { kd__al(size, (uint32_t)n), kd__al(stride, (uint32_t)n), kd__al(op == KD_OP_MAX_POOL ? (int64_t[3]){ 0 } : lo, (uint32_t)n), kd__al(hi, (uint32_t)n) };
    add(m, op, &x, 1, attr, -fmax(b * (double)per, 200), fmax(b * (double)per, 200), m->fact.v[x].exact);
    return;
  }
  w.dim[0] = 1 + below(m, 3), w.dim[1] = t.dim[1];
  memcpy(w.dim + 2, size, sizeof(int64_t) * (size_t)n);
  in[0] = x, in[1] = like(m, w);
  b *= largest(m->fact.v[in[1]]) * (double)per * (double)t.dim[1];
  kd_attr attr[6] = { kd__al(stride, (uint32_t)n), kd__al(lo, (uint32_t)n), kd__al(hi, (uint32_t)n), kd__al(one, (uint32_t)n), kd__ai(1) };
  add(m, KD_OP_CONV, in, 2, attr, -b, b, false);
}

static void make_sort(maker *m, kd_op op) {
  kd_value x = pick(m, is_exact, NULL);
  if (!x) return;
  kd_type t = type_of(m, x);
  if (t.rank == 0 || t.dtype == KD_BOOL) return;
  int64_t axis = below(m, t.rank);
  facts f = m->fact.v[x];
  add(m, op, &x, 1, (kd_attr[]){ kd__ai(axis), kd__ai(op == KD_OP_SORT ? below(m, 2) : below(m, t.dim[axis] + 1)) }, fmin(f.lo, 0), fmax(f.hi, 10), true);
}

static void make_random(maker *m) {
  kd_type key = { .dtype = KD_I64 }, t = some_shape(m, m->spec.real);
  kd_value k = fresh(m, key, 0, 100, true);
  add(m, KD_OP_RANDOM_UNIFORM, &k, 1, (kd_attr[]){ kd__ai(below(m, 9)), kd__at(m->spec.real), kd__al(t.dim, t.rank) }, 0, 1, false);
}

static void make_leaf(maker *m, kd_op op) {
  static const kd_dtype others[] = { KD_I64, KD_U8, KD_BOOL };
  kd_type t = some_shape(m, chance(m, 60) ? m->spec.real : others[below(m, 3)]);
  if (op == KD_OP_CONST) constant(m, t);
  else if (op == KD_OP_INPUT) any_input(m, t);
  else if (t.rank && t.dtype != KD_BOOL) add(m, op, NULL, 0, (kd_attr[]){ kd__at((kd_dtype)t.dtype), kd__al(t.dim, t.rank), kd__ai(below(m, t.rank)) }, 0, 5, true);
}

/* A loop with a carry that stays in [-1, 1], something read from outside, the turn's number, and what each turn started from or made. */
static void make_loop(maker *m) {
  kd_value x = pick(m, is_real, NULL), in[2];
  if (!x) return;
  kd_type t = type_of(m, x), turn = { .dtype = KD_I64 };
  if (t.rank > 4 || kd__type_count(&t) > 300) return;
  kd_graph *body = kd__graph_new(m->a);
  kd_build b = { body, 1 };
  bool swap = chance(m, 30), seen = chance(m, 70);
  in[0] = kd__b_op1(&m->b, KD_OP_SIN, x);
  set_facts(m, in[0], -1, 1, false);
  in[1] = like(m, t);
  if (swap) set_facts(m, in[1] = kd__b_op1(&m->b, KD_OP_TANH, in[1]), -1, 1, false);
  kd_value a = kd__b_input(&b, 1, &t), c = kd__b_input(&b, 2, &t), i = kd__b_cast(&b, kd__b_input(&b, 0, &turn), (kd_dtype)t.dtype);
  kd_value step = kd__b_broadcast(&b, kd__b_op2(&b, KD_OP_MUL, i, kd__b_const_like(&b, 0.25, i)), t.dim, t.rank, (int64_t[]){ 0 });
  kd_value next = kd__b_op1(&b, KD_OP_SIN, kd__b_op2(&b, chance(m, 50) ? KD_OP_ADD : KD_OP_MUL, a, kd__b_op2(&b, KD_OP_SUB, step, c)));
  kd__graph_write(body, 1, swap ? c : next, 1);
  if (swap) kd__graph_write(body, 2, next, 1);
  if (seen) kd__graph_result(body, "before", a);
  if (seen) kd__graph_result(body, "after", kd__b_op1(&b, KD_OP_NEG, next));
  kd_value v = kd__b_loop(&m->b, body, below(m, 4), swap ? 2 : 1, in, 2);
  for (uint32_t k = 0; v && k < kd__node_of(m->r->g, v)->nout; k++) set_facts(m, v + k, -1, 1, false);
}

static void make_node(maker *m) {
  kd_op op = (kd_op)below(m, KD_OP_COUNT);
  static const kd_op often[] = { KD_OP_MUL, KD_OP_ADD, KD_OP_SUM, KD_OP_BROADCAST, KD_OP_RESHAPE, KD_OP_PERMUTE, KD_OP_SLICE, KD_OP_CONCAT, KD_OP_MUL, KD_OP_SUM };
  if (chance(m, 50)) op = often[below(m, 10)];
  switch (kd__op_info(op)->cls) {
    case KD_CLASS_LEAF: make_leaf(m, op); return;
    case KD_CLASS_ELEM:
      if (op == KD_OP_CAST) make_cast(m);
      else if (op == KD_OP_WHERE) make_where(m);
      else if (kd__op_info(op)->nin == 1) make_unary(m, op);
      else make_binary(m, op);
      return;
    case KD_CLASS_REDUCE:
    case KD_CLASS_NORM: make_reduce(m, op); return;
    case KD_CLASS_VIEW: make_view(m, op); return;
    case KD_CLASS_RANDOM: make_random(m); return;
    default: break;
  }
  switch (op) {
    case KD_OP_LOOP: make_loop(m); return;
    case KD_OP_MATMUL: make_matmul(m); return;
    case KD_OP_CONCAT: make_concat(m); return;
    case KD_OP_PAD: make_view(m, op); return;
    case KD_OP_GATHER: case KD_OP_SCATTER_ADD: case KD_OP_SCATTER_SET: make_index(m, op); return;
    case KD_OP_SORT: case KD_OP_TOP_K: make_sort(m, op); return;
    case KD_OP_CONV: case KD_OP_MAX_POOL: case KD_OP_SUM_POOL: make_window(m, op); return;
    default: return;                             /* the adjoints of windows have tests of their own */
  }
}

/* Values that nobody reads become results; some are written too, some slots swap. */
static void finish(maker *m) {
  kd_graph *g = m->r->g;
  bool *read = KD_NEWN(m->a, bool, g->type.n);
  for (size_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; k < g->node.v[i].nin; k++) read[g->node.v[i].in[k]] = true;
  size_t nslot = m->r->slot.n;
  for (size_t s = 0; s < nslot && m->spec.writes; s++) {
    if (chance(m, 40)) continue;
    kd_value v = pick(m, of_type, &m->r->slot.v[s].type);
    if (v) kd__graph_write(g, (int64_t)s, v, 1);
  }
  for (kd_value v = 1; v < g->type.n; v++) {
    char name[16];
    snprintf(name, sizeof name, "r%u", v);
    if (!read[v] && (!m->spec.writes || chance(m, 40))) kd__graph_result(g, name, v);
  }
}

void kd_random_make(kd_random_graph *r, kd__arena *a, const kd_random_spec *spec) {
  *r = (kd_random_graph){ .g = kd__graph_new(a) };
  maker m = { .r = r, .spec = *spec, .a = a, .b = { r->g, 1 } };
  for (int i = 0; i < 4; i++) any_input(&m, some_shape(&m, spec->real));
  for (int i = 0; i < spec->nodes; i++) {
    make_node(&m);
    while (m.fact.n < r->g->type.n) KD_PUSH(a, m.fact, (facts){ 0, 0, false });
  }
  finish(&m);
  r->eval = KD_NEWN(a, kd_eval_slot, r->slot.n);
  for (size_t s = 0; s < r->slot.n; s++) r->eval[s] = (kd_eval_slot){ (int64_t)s, r->slot.v[s].data };
}

double kd_random_tolerance(kd_dtype t) { return t == KD_F32 ? 1e-3 : t == KD_F64 ? 1e-8 : 0; }
