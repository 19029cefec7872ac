/* simplify_elem.c: element-wise rules: constants, algebra, and work that is done before a broadcast instead of after it. */
#include "compiler/pass/algebra.h"
#include "runtime/kernels/kernel.h"
#include <math.h>

/* --- constants ---------------------------------------------------------------------------------------------------------------- */

/* One element of any type. */
typedef union cell { double f; int64_t i; float s; uint8_t b; } cell;

static kd_tensor one(cell *c, kd_dtype t) {
  static const int64_t nothing[1] = { 0 };
  return (kd_tensor){ .data = c, .dim = nothing, .stride = nothing, .dtype = (uint8_t)t, .rank = 0 };
}

static double value_of(const cell *c, kd_dtype t) {
  return t == KD_F32 ? (double)c->s : t == KD_F64 ? c->f : t == KD_I64 ? (double)c->i : (double)c->b;
}

static void run_twin(kd_op op, const kd_tensor *in, uint32_t nin, const kd_tensor *out, const kd_attr *attr, kd_fault *fault) {
  kd_exec x = { .threads = 1, .deterministic = true, .fault = fault };
  kd__ref_run(&(kd_call){ .op = op, .nin = nin, .nout = 1, .in = in, .out = out, .attr = attr }, &x);
}

/* Through the naive twins, on one element: what the run would compute. Whatever faults, or is an integer that a constant cannot hold, stays. */
kd_value kd__simp_fold(kd__simp *s, const kd__term *t) {
  enum { MOST = 3 };
  cell c[MOST], r = { .i = 0 };
  kd_tensor in[MOST], out = one(&r, (kd_dtype)t->type.dtype);
  kd_fault fault = { 0 };
  if (t->nin > MOST) return 0;
  for (uint32_t i = 0; i < t->nin; i++) {
    kd_node n;
    if (!kd__simp_is(s, t->in[i], KD_OP_CONST, &n)) return 0;
    c[i].i = 0;
    in[i] = one(&c[i], (kd_dtype)kd__type_of(s->g, t->in[i])->dtype);
    run_twin(KD_OP_CONST, NULL, 0, &in[i], n.attr, &fault);
  }
  run_twin(t->op, in, t->nin, &out, t->attr, &fault);
  double v = value_of(&r, (kd_dtype)t->type.dtype);
  if (fault.set || (t->type.dtype == KD_I64 && (v >= 0x1p63 || (int64_t)v != r.i))) return 0;
  return kd__simp_const(s, v, &t->type);
}

kd_value kd__simp_const(kd__simp *s, double v, const kd_type *t) {
  return kd__graph_add(s->g, KD_OP_CONST, NULL, 0, (kd_attr[]){ kd__af(v), kd__at((kd_dtype)t->dtype), kd__al(t->dim, t->rank) }, s->origin, NULL);
}

/* --- broadcasts ---------------------------------------------------------------------------------------------------------------- */

/* The axes of `type` in the set, as a type of their own. */
static kd_type keep_axes(const kd_type *type, uint32_t axes, int64_t *list) {
  kd_type t = { .dtype = type->dtype };
  for (int d = 0; d < type->rank; d++) {
    if (!(axes & 1u << d)) continue;
    list[t.rank] = d;
    t.dim[t.rank++] = type->dim[d];
  }
  return t;
}

/* A number or broadcast of `axes` of its shape (or of some of them), along those only. */
static kd_value along(kd__simp *s, kd_value v, uint32_t axes) {
  kd_type full = kd__simp_type(s, v);
  int64_t list[KD_MAX_RANK];
  kd_type t = keep_axes(&full, axes, list);
  kd_node n;
  double k;
  if (kd__simp_number(s, v, &k)) return kd__simp_const(s, k, &t);
  kd__simp_is(s, v, KD_OP_BROADCAST, &n);
  int64_t to[KD_MAX_RANK];
  for (uint32_t j = 0; j < n.attr[1].n; j++)
    for (int i = 0; i < t.rank; i++)
      if (list[i] == n.attr[1].u.list[j]) to[j] = i;
  return kd__simp_broadcast(s, n.in[0], t.dim, t.rank, to);
}

/* All operands repeat along some axes: compute once, repeat the result. */
kd_value kd__simp_lift(kd__simp *s, const kd__term *t) {
  enum { MOST = 3 };
  uint32_t all = 0, axes;
  int64_t count, list[KD_MAX_RANK];
  if (t->nin > MOST) return 0;
  bool numbers = true;
  for (uint32_t i = 0; i < t->nin; i++) {
    if (!kd__simp_cheap(s, t->in[i], &count, &axes)) return 0;
    kd_node n;
    numbers = numbers && kd__simp_is(s, t->in[i], KD_OP_CONST, &n);
    all |= axes;
  }
  kd_type part = keep_axes(&t->type, all, list);
  if (numbers || kd__type_count(&part) >= kd__type_count(&t->type)) return 0;
  kd_value in[MOST];
  for (uint32_t i = 0; i < t->nin; i++) in[i] = along(s, t->in[i], all);
  return kd__simp_broadcast(s, kd__simp_add(s, t->op, in, t->nin, t->attr), t->type.dim, t->type.rank, list);
}

/* --- numbers side by side ---------------------------------------------------------------------------------------------------------- */

/* An operand that is one number, or numbers side by side; where a walk along the axis stands in it. */
typedef struct pieces { kd_value v; kd_node concat; bool several; uint32_t at; int64_t end; double k; } pieces;

static bool are_numbers(const kd__simp *s, const kd_node *n) {
  double k;
  for (uint32_t i = 0; i < n->nin; i++)
    if (!kd__simp_number(s, n->in[i], &k)) return false;
  return true;
}

/* Goes on to the piece that begins at `begin`. */
static void next_piece(const kd__simp *s, pieces *p, int64_t begin, int64_t axis, int64_t whole) {
  if (!p->several) { kd__simp_number(s, p->v, &p->k), p->end = whole; return; }
  if (begin < p->end) return;
  kd_value v = p->concat.in[p->at++];
  kd__simp_number(s, v, &p->k);
  p->end = begin + kd__type_of(s->g, v)->dim[axis];
}

/* Masks over a flat vector: computed piece by piece. */
kd_value kd__simp_pieces(kd__simp *s, const kd__term *t) {
  enum { MOST = 3 };
  pieces p[MOST];
  int64_t axis = -1, begin = 0, end;
  if (t->nin > MOST) return 0;
  for (uint32_t i = 0; i < t->nin; i++) {
    p[i] = (pieces){ .v = t->in[i] };
    p[i].several = kd__simp_is(s, t->in[i], KD_OP_CONCAT, &p[i].concat);
    if (!p[i].several && !kd__simp_number(s, t->in[i], &p[i].k)) return 0;
    if (!p[i].several) continue;
    if ((axis >= 0 && axis != p[i].concat.attr[0].u.i) || !are_numbers(s, &p[i].concat)) return 0;
    axis = p[i].concat.attr[0].u.i;
  }
  if (axis < 0) return 0;
  KD_VEC(kd_value) part = { 0 };
  for (; begin < t->type.dim[axis]; begin = end) {
    kd_value in[MOST];
    end = t->type.dim[axis];
    for (uint32_t i = 0; i < t->nin; i++) {
      next_piece(s, &p[i], begin, axis, t->type.dim[axis]);
      if (p[i].end < end) end = p[i].end;
    }
    for (uint32_t i = 0; i < t->nin; i++) {
      kd_type small = kd__simp_type(s, t->in[i]);
      small.dim[axis] = end - begin;
      in[i] = kd__simp_const(s, p[i].k, &small);
    }
    KD_PUSH(s->g->arena, part, kd__simp_add(s, t->op, in, t->nin, t->attr));
  }
  return kd__simp_add(s, KD_OP_CONCAT, part.v, (uint32_t)part.n, (kd_attr[]){ kd__ai(axis) });
}

/* --- sums and products ------------------------------------------------------------------------------------------------------------ */

static bool is_number(const kd__simp *s, kd_value v, double want) {
  double k;
  return kd__simp_number(s, v, &k) && k == want;
}
static bool real(const kd__term *t) { return kd__dtype_real((kd_dtype)t->type.dtype); }

/* a + b, where b is zeros with values at one place a batch: they can as well be added to a, which then need not move. With several places
 * the order of sums would be another. */
static kd_value add_at(kd__simp *s, kd_value a, kd_value b) {
  kd_node n;
  if (!kd__simp_is(s, b, KD_OP_SCATTER_ADD, &n) || !is_number(s, n.in[0], 0)) return 0;
  kd_type index = kd__simp_type(s, n.in[1]);
  for (int d = (int)n.attr[0].u.i; d < index.rank; d++)
    if (index.dim[d] != 1) return 0;
  return kd__simp_add(s, KD_OP_SCATTER_ADD, (kd_value[]){ a, n.in[1], n.in[2] }, 3, n.attr);
}

static kd_value add(kd__simp *s, const kd__term *t) {
  kd_value a = t->in[0], b = t->in[1], v;
  kd_node n;
  if (is_number(s, b, 0)) return a;
  if (is_number(s, a, 0)) return b;
  if (a == b) return kd__simp_2(s, KD_OP_MUL, a, kd__simp_const(s, 2, &t->type));
  if (kd__simp_is(s, b, KD_OP_NEG, &n)) return kd__simp_2(s, KD_OP_SUB, a, n.in[0]);
  if (kd__simp_is(s, a, KD_OP_NEG, &n)) return kd__simp_2(s, KD_OP_SUB, b, n.in[0]);
  if ((v = add_at(s, a, b)) || (v = add_at(s, b, a))) return v;
  return kd__simp_apart(s, t);
}

static kd_value sub(kd__simp *s, const kd__term *t) {
  kd_value a = t->in[0], b = t->in[1];
  kd_node n;
  if (is_number(s, b, 0)) return a;
  if (is_number(s, a, 0)) return kd__simp_1(s, KD_OP_NEG, b);
  if (a == b && !real(t)) return kd__simp_const(s, 0, &t->type);
  if (kd__simp_is(s, b, KD_OP_NEG, &n)) return kd__simp_2(s, KD_OP_ADD, a, n.in[0]);
  return 0;
}

/* Two cheap factors as one that is no larger than the larger of them; 0 if they do not combine so. */
static kd_value combine(kd__simp *s, kd_value a, kd_value b) {
  int64_t na, nb, n;
  uint32_t axes;
  double ka, kb;
  if (!kd__simp_cheap(s, a, &na, &axes) || !kd__simp_cheap(s, b, &nb, &axes)) return 0;
  if (kd__dtype_real((kd_dtype)kd__type_of(s->g, a)->dtype)) {
    if (kd__simp_number(s, a, &ka) && !kd__simp_moderate(ka)) return 0;
    if (kd__simp_number(s, b, &kb) && !kd__simp_moderate(kb)) return 0;
  }
  kd_value v = kd__simp_2(s, KD_OP_MUL, a, b);
  return kd__simp_cheap(s, v, &n, &axes) && n <= (na > nb ? na : nb) ? v : 0;
}

/* v, an operand of a contraction, times the cheap factor f of the result: one number, or one for each place along v's axis `to`. */
static kd_value scaled(kd__simp *s, kd_value v, kd_value f, int64_t to) {
  kd_type t = kd__simp_type(s, v);
  kd_node n;
  double k;
  if (kd__simp_number(s, f, &k)) return kd__simp_2(s, KD_OP_MUL, v, kd__simp_const(s, k, &t));
  kd__simp_is(s, f, KD_OP_BROADCAST, &n);
  return kd__simp_2(s, KD_OP_MUL, v, kd__simp_broadcast(s, n.in[0], t.dim, t.rank, &to));
}

/* A factor for each channel of a convolution, each row or column of a matrix product, or for all: into the operand it belongs to, where that
 * has at most half as many elements as the result (filters as many: what is left after a convolution becomes part of it), and nobody needs the
 * result without the factor. */
static kd_value into_operand(kd__simp *s, kd_value product, kd_value f) {
  kd_node n = *kd__node_of(s->g, product);
  int64_t count;
  uint32_t axes, last = kd__type_of(s->g, product)->rank - 1u;
  double k;
  if ((n.op != KD_OP_CONV && n.op != KD_OP_MATMUL) || !kd__simp_cheap(s, f, &count, &axes)) return 0;
  if (product >= s->nuses || s->uses[product] != 1 || (kd__simp_number(s, f, &k) && !kd__simp_moderate(k))) return 0;
  for (int i = 1; i >= 0; i--) {
    uint32_t of = n.op == KD_OP_CONV ? 1 : last - 1 + (uint32_t)i;     /* the axis of the result that comes from operand i */
    if ((n.op == KD_OP_CONV && i == 0) || (axes && axes != 1u << of)) continue;
    int64_t times = n.op == KD_OP_CONV ? 1 : 2;
    if (times * kd__type_count(kd__type_of(s->g, n.in[i])) > kd__type_count(kd__type_of(s->g, product))) continue;
    kd_value in[2] = { n.in[0], n.in[1] };
    in[i] = scaled(s, in[i], f, n.op == KD_OP_CONV ? 0 : of);
    return kd__simp_add(s, (kd_op)n.op, in, 2, n.attr);
  }
  return 0;
}

static kd_value mul(kd__simp *s, const kd__term *t) {
  kd_value a = t->in[0], b = t->in[1], c;
  kd_node n, m;
  int64_t count;
  uint32_t axes;
  double k;
  bool cheap = kd__simp_cheap(s, b, &count, &axes);
  if (!cheap && kd__simp_cheap(s, a, &count, &axes)) return kd__simp_2(s, KD_OP_MUL, b, a);   /* the cheap factor stands second */
  if (kd__simp_number(s, a, &k) && !kd__simp_number(s, b, &k)) return kd__simp_2(s, KD_OP_MUL, b, a);
  if (kd__simp_is(s, a, KD_OP_NEG, &n) && kd__simp_is(s, b, KD_OP_NEG, &m)) return kd__simp_2(s, KD_OP_MUL, n.in[0], m.in[0]);
  if (is_number(s, b, 1)) return a;
  if (is_number(s, b, -1)) return kd__simp_1(s, KD_OP_NEG, a);
  if (is_number(s, b, 0) && !real(t)) return b;
  if (!cheap) return 0;
  if (kd__simp_is(s, a, KD_OP_NEG, &n)) return kd__simp_2(s, KD_OP_MUL, n.in[0], kd__simp_1(s, KD_OP_NEG, b));
  if (kd__simp_is(s, a, KD_OP_MUL, &n) && (c = combine(s, n.in[1], b))) return kd__simp_2(s, KD_OP_MUL, n.in[0], c);
  return into_operand(s, a, b);
}

/* Is 1/k exact? */
static bool power_of_two(double k, kd_dtype t) {
  int e;
  return fabs(frexp(k, &e)) == 0.5 && fabs((double)e) < (t == KD_F32 ? 120 : 1000);
}

static kd_value divide(kd__simp *s, const kd__term *t) {
  kd_value a = t->in[0], b = t->in[1];
  kd_node n, m;
  double k;
  if (kd__simp_number(s, b, &k) && power_of_two(k, (kd_dtype)t->type.dtype)) return kd__simp_2(s, KD_OP_MUL, a, kd__simp_const(s, 1 / k, &t->type));
  if (is_number(s, a, 1)) return kd__simp_1(s, KD_OP_RECIP, b);
  /* By the square root of less than there are quotients: a root is far from the ends of the range, so its reciprocal is safe. */
  if (kd__simp_is(s, b, KD_OP_BROADCAST, &n) && kd__simp_is(s, n.in[0], KD_OP_SQRT, &m)) {
    kd_value r = kd__simp_1(s, KD_OP_RSQRT, m.in[0]);
    return kd__simp_2(s, KD_OP_MUL, a, kd__simp_broadcast(s, r, t->type.dim, t->type.rank, n.attr[1].u.list));
  }
  return 0;
}

static kd_value power(kd__simp *s, const kd__term *t) {
  kd_value x = t->in[0];
  double k;
  if (!kd__simp_number(s, t->in[1], &k)) return 0;
  if (k == 0) return kd__simp_const(s, 1, &t->type);
  if (k == 1) return x;
  if (k == 2) return kd__simp_2(s, KD_OP_MUL, x, x);
  if (k == 3) return kd__simp_2(s, KD_OP_MUL, kd__simp_2(s, KD_OP_MUL, x, x), x);
  if (k == -1) return kd__simp_1(s, KD_OP_RECIP, x);
  if (k == 0.5) return kd__simp_1(s, KD_OP_SQRT, x);                   /* -inf alone comes out otherwise: NaN, as sqrt has it */
  if (k == -0.5) return kd__simp_1(s, KD_OP_RSQRT, x);
  return 0;
}

/* --- one operand -------------------------------------------------------------------------------------------------------------------- */

static kd_value negate(kd__simp *s, const kd__term *t) {
  kd_value x = t->in[0];
  kd_node n;
  int64_t count;
  uint32_t axes;
  if (kd__simp_is(s, x, KD_OP_NEG, &n)) return n.in[0];
  if (kd__simp_is(s, x, KD_OP_SUB, &n)) return kd__simp_2(s, KD_OP_SUB, n.in[1], n.in[0]);
  if (kd__simp_is(s, x, KD_OP_MUL, &n) && kd__simp_cheap(s, n.in[1], &count, &axes))
    return kd__simp_2(s, KD_OP_MUL, n.in[0], kd__simp_1(s, KD_OP_NEG, n.in[1]));
  return 0;
}

/* Does every value of type a exist in type b? */
static bool holds(kd_dtype b, kd_dtype a) {
  if (a == b || a == KD_BOOL) return true;
  if (a == KD_U8) return b != KD_BOOL;
  return a == KD_F32 && b == KD_F64;
}

static kd_value cast(kd__simp *s, const kd__term *t) {
  kd_node n;
  kd_type from = kd__simp_type(s, t->in[0]);
  if (from.dtype == t->type.dtype) return t->in[0];
  if (!kd__simp_is(s, t->in[0], KD_OP_CAST, &n)) return 0;
  kd_type first = kd__simp_type(s, n.in[0]);
  return holds((kd_dtype)from.dtype, (kd_dtype)first.dtype) ? kd__simp_add(s, KD_OP_CAST, n.in, 1, t->attr) : 0;
}

/* f(g(x)) = g(x) or f(x) for the operators where that is so. */
static kd_value twice(kd__simp *s, const kd__term *t) {
  kd_node n = *kd__node_of(s->g, t->in[0]);
  if (n.out != t->in[0]) return 0;
  if (n.op == t->op) return t->op == KD_OP_NOT ? n.in[0] : t->in[0];   /* abs, relu, sign, floor, ceil, round, stop */
  if (t->op == KD_OP_ABS && n.op == KD_OP_NEG) return kd__simp_1(s, KD_OP_ABS, n.in[0]);
  if (t->op == KD_OP_RECIP && n.op == KD_OP_SQRT) return kd__simp_1(s, KD_OP_RSQRT, n.in[0]);
  return 0;
}

/* --- comparisons and choices ------------------------------------------------------------------------------------------------------------ */

static bool holds_for(kd_op op, double a, double b) { return op == KD_OP_EQ ? a == b : op == KD_OP_NE ? a != b : op == KD_OP_LT ? a < b : a <= b; }

/* A bool made a number and compared with one: it is the bool again, or its opposite, or known. */
static kd_value compare_bool(kd__simp *s, const kd__term *t) {
  for (int i = 0; i < 2; i++) {
    kd_node n;
    double k;
    if (!kd__simp_is(s, t->in[i], KD_OP_CAST, &n) || kd__simp_type(s, n.in[0]).dtype != KD_BOOL || !kd__simp_number(s, t->in[1 - i], &k)) continue;
    bool off = i ? holds_for(t->op, k, 0) : holds_for(t->op, 0, k), on = i ? holds_for(t->op, k, 1) : holds_for(t->op, 1, k);
    return off == on ? kd__simp_const(s, on, &t->type) : on ? n.in[0] : kd__simp_1(s, KD_OP_NOT, n.in[0]);
  }
  return 0;
}

static kd_value compare(kd__simp *s, const kd__term *t) {
  kd_value a = t->in[0], b = t->in[1], r;
  bool same = a == b, exact = !kd__dtype_real((kd_dtype)kd__type_of(s->g, a)->dtype);
  if (same && t->op == KD_OP_LT) return kd__simp_const(s, 0, &t->type);
  if (same && exact) return kd__simp_const(s, t->op == KD_OP_EQ || t->op == KD_OP_LE, &t->type);
  /* 0 < x where relu(x) is there: it says the same, and x need not be kept for it. */
  if (t->op == KD_OP_LT && is_number(s, a, 0) && (r = kd__graph_find(s->g, KD_OP_RELU, &b, 1, NULL))) return kd__simp_2(s, KD_OP_LT, a, r);
  return compare_bool(s, t);
}

static kd_value both(kd__simp *s, const kd__term *t) {
  double k, neutral = t->op == KD_OP_AND;
  if (t->in[0] == t->in[1]) return t->in[0];
  for (int i = 0; i < 2; i++)
    if (kd__simp_number(s, t->in[i], &k)) return k == neutral ? t->in[1 - i] : t->in[i];
  return 0;
}

static kd_value where(kd__simp *s, const kd__term *t) {
  kd_value c = t->in[0], a = t->in[1], b = t->in[2];
  kd_node n;
  double k, l;
  if (kd__simp_number(s, c, &k)) return k != 0 ? a : b;
  if (a == b) return a;
  if (kd__simp_is(s, c, KD_OP_NOT, &n)) return kd__simp_add(s, KD_OP_WHERE, (kd_value[]){ n.in[0], b, a }, 3, NULL);
  if (kd__simp_is(s, a, KD_OP_WHERE, &n) && n.in[0] == c) return kd__simp_add(s, KD_OP_WHERE, (kd_value[]){ c, n.in[1], b }, 3, NULL);
  if (kd__simp_is(s, b, KD_OP_WHERE, &n) && n.in[0] == c) return kd__simp_add(s, KD_OP_WHERE, (kd_value[]){ c, a, n.in[2] }, 3, NULL);
  if (t->type.dtype == KD_BOOL && kd__simp_number(s, a, &k) && kd__simp_number(s, b, &l)) return k != 0 ? c : kd__simp_1(s, KD_OP_NOT, c);
  return 0;
}

static kd_value pick(kd__simp *s, const kd__term *t) { (void)s; return t->in[0] == t->in[1] ? t->in[0] : 0; }

kd_value kd__simp_elem(kd__simp *s, const kd__term *t) {
  static kd_value (*const rules[KD_OP_COUNT])(kd__simp *, const kd__term *) = {
    [KD_OP_ADD] = add, [KD_OP_SUB] = sub, [KD_OP_MUL] = mul, [KD_OP_DIV] = divide, [KD_OP_POW] = power,
    [KD_OP_NEG] = negate, [KD_OP_CAST] = cast, [KD_OP_NOT] = twice, [KD_OP_ABS] = twice, [KD_OP_RELU] = twice, [KD_OP_SIGN] = twice,
    [KD_OP_FLOOR] = twice, [KD_OP_CEIL] = twice, [KD_OP_ROUND] = twice, [KD_OP_STOP] = twice, [KD_OP_RECIP] = twice,
    [KD_OP_EQ] = compare, [KD_OP_NE] = compare, [KD_OP_LT] = compare, [KD_OP_LE] = compare, [KD_OP_AND] = both, [KD_OP_OR] = both,
    [KD_OP_WHERE] = where, [KD_OP_MAX] = pick, [KD_OP_MIN] = pick,
  };
  return rules[t->op] ? rules[t->op](s, t) : 0;
}
