/* simplify_reduce.c: rules of reductions and matrix products: what does not change along the reduced axes is taken out, views are looked
 * through. */
#include "compiler/pass/algebra.h"

static uint32_t bits(const kd_attr *list) {
  uint32_t set = 0;
  for (uint32_t i = 0; i < list->n; i++) set |= 1u << list->u.list[i];
  return set;
}

kd_value kd__simp_sum(kd__simp *s, kd_op op, kd_value x, uint32_t axes) {
  int64_t list[KD_MAX_RANK];
  uint32_t n = 0;
  for (int d = 0; d < kd__type_of(s->g, x)->rank; d++)
    if (axes & 1u << d) list[n++] = d;
  return kd__simp_add(s, op, &x, 1, (kd_attr[]){ kd__al(list, n) });
}

/* What is left of axis `d` of a value reduced over the set: its position. */
static int left(int d, uint32_t reduced) { return __builtin_popcount(~reduced & ((1u << d) - 1)); }

static int64_t elements(const kd_type *t, uint32_t axes) {
  int64_t n = 1;
  for (int d = 0; d < t->rank; d++)
    if (axes & 1u << d) n *= t->dim[d];
  return n;
}

/* --- through views --------------------------------------------------------------------------------------------------------------- */

/* Reduces the source over the axes it has among them; along the others it repeats: `times` so often. */
static kd_value through_broadcast(kd__simp *s, const kd__term *t, const kd_node *b, uint32_t reduced) {
  kd_type whole = kd__simp_type(s, b->out);
  uint32_t own = 0, inner = 0;
  int64_t axes[KD_MAX_RANK];
  int n = 0;
  for (uint32_t j = 0; j < b->attr[1].n; j++) {
    int64_t d = b->attr[1].u.list[j];
    own |= 1u << d;
    if (reduced & 1u << d) inner |= 1u << j;
    else axes[n++] = left((int)d, reduced);
  }
  kd_value v = kd__simp_sum(s, t->op, b->in[0], inner);
  if (t->op == KD_OP_SUM) {
    kd_type small = kd__simp_type(s, v);
    v = kd__simp_2(s, KD_OP_MUL, v, kd__simp_const(s, (double)elements(&whole, reduced & ~own), &small));
  }
  return kd__simp_broadcast(s, v, t->type.dim, t->type.rank, axes);
}

static kd_value through_permute(kd__simp *s, const kd__term *t, const kd_node *p, uint32_t reduced) {
  const int64_t *perm = p->attr[0].u.list;
  uint32_t inner = 0;
  int64_t order[KD_MAX_RANK];
  int n = 0;
  for (int i = 0; i < (int)p->attr[0].n; i++)
    if (reduced & 1u << i) inner |= 1u << perm[i];
  for (int i = 0; i < (int)p->attr[0].n; i++)
    if (!(reduced & 1u << i)) order[n++] = left((int)perm[i], inner);
  return kd__simp_permute(s, kd__simp_sum(s, t->op, p->in[0], inner), order);
}

/* Where each run of axes is reduced as a whole or not at all. */
static kd_value through_reshape(kd__simp *s, const kd__term *t, const kd_node *r, uint32_t reduced) {
  kd_type from = kd__simp_type(s, r->in[0]), to = kd__simp_type(s, r->out);
  kd__runs run;
  uint32_t inner = 0;
  if (!kd__simp_runs(&from, &to, &run)) return 0;
  for (int i = 0; i < run.n; i++) {
    uint32_t mine = ((1u << run.to[i + 1]) - 1) & ~((1u << run.to[i]) - 1), some = reduced & mine;
    for (int d = run.to[i]; d < run.to[i + 1]; d++)
      if (to.dim[d] == 1) mine &= ~(1u << d), some &= ~(1u << d);      /* axes of size 1 may be reduced or not */
    if (some && some != mine) return 0;
    if (some) inner |= ((1u << run.from[i + 1]) - 1) & ~((1u << run.from[i]) - 1);
  }
  return kd__simp_reshape(s, kd__simp_sum(s, t->op, r->in[0], inner), t->type.dim, t->type.rank);
}

/* --- out of sums ------------------------------------------------------------------------------------------------------------------- */

/* A factor that does not change along the reduced axes, in the shape of the result; 0 if v is none. */
static kd_value outside(kd__simp *s, const kd__term *t, kd_value v, uint32_t reduced) {
  kd_node b;
  int64_t count, list[KD_MAX_RANK];
  uint32_t axes;
  double k;
  if (kd__simp_number(s, v, &k)) return kd__simp_moderate(k) ? kd__simp_const(s, k, &t->type) : 0;
  if (!kd__simp_cheap(s, v, &count, &axes) || (axes & reduced)) return 0;
  kd__simp_is(s, v, KD_OP_BROADCAST, &b);
  for (uint32_t j = 0; j < b.attr[1].n; j++) list[j] = left((int)b.attr[1].u.list[j], reduced);
  return kd__simp_broadcast(s, b.in[0], t->type.dim, t->type.rank, list);
}

static kd_value from_product(kd__simp *s, const kd__term *t, const kd_node *m, uint32_t reduced) {
  kd_node n;
  kd_value out;
  for (int i = 1; i >= 0; i--)
    if ((out = outside(s, t, m->in[i], reduced))) return kd__simp_2(s, KD_OP_MUL, kd__simp_sum(s, KD_OP_SUM, m->in[1 - i], reduced), out);
  if (m->out < s->nuses && s->uses[m->out] > 1) return 0;              /* the product is needed as it is */
  for (int i = 1; i >= 0; i--)
    if (kd__simp_is(s, m->in[i], KD_OP_MUL, &n) && (out = outside(s, t, n.in[1], reduced)))
      return kd__simp_2(s, KD_OP_MUL, kd__simp_sum(s, KD_OP_SUM, kd__simp_2(s, KD_OP_MUL, m->in[1 - i], n.in[0]), reduced), out);
  return 0;
}

static kd_value sum(kd__simp *s, const kd__term *t, uint32_t reduced) {
  kd_node n;
  kd_value out;
  double k;
  kd_type x = kd__simp_type(s, t->in[0]);
  if (elements(&x, reduced) == 0) return kd__simp_const(s, 0, &t->type);
  if (kd__simp_number(s, t->in[0], &k)) {
    kd_value each = kd__simp_const(s, k, &t->type), times = kd__simp_const(s, (double)elements(&x, reduced), &t->type);
    return kd__simp_2(s, KD_OP_MUL, each, times);
  }
  if (kd__simp_is(s, t->in[0], KD_OP_NEG, &n)) return kd__simp_1(s, KD_OP_NEG, kd__simp_sum(s, KD_OP_SUM, n.in[0], reduced));
  if (kd__simp_is(s, t->in[0], KD_OP_MUL, &n)) return from_product(s, t, &n, reduced);
  if (kd__simp_is(s, t->in[0], KD_OP_DIV, &n) && (out = outside(s, t, n.in[1], reduced)))
    return kd__simp_2(s, KD_OP_DIV, kd__simp_sum(s, KD_OP_SUM, n.in[0], reduced), out);
  return 0;
}

/* A reduction of a reduction over other axes is one over all of them. Not so for max and min: their gradient is shared among ties. */
static kd_value nested(kd__simp *s, const kd__term *t, const kd_node *inner, uint32_t reduced) {
  uint32_t first = bits(&inner->attr[0]), all = first;
  int rank = kd__type_of(s->g, inner->in[0])->rank;
  for (int d = 0; d < rank; d++)
    if (!(first & 1u << d) && reduced & 1u << left(d, first)) all |= 1u << d;
  return kd__simp_sum(s, t->op, inner->in[0], all);
}

kd_value kd__simp_reduce(kd__simp *s, const kd__term *t) {
  bool total = t->op == KD_OP_SUM, pick = t->op == KD_OP_REDUCE_MAX || t->op == KD_OP_REDUCE_MIN || t->op == KD_OP_ANY || t->op == KD_OP_ALL;
  if (!total && !pick && t->op != KD_OP_LOGSUMEXP) return 0;
  kd_type x = kd__simp_type(s, t->in[0]);
  uint32_t reduced = bits(&t->attr[0]);
  kd_value v = 0;
  kd_node n;
  double k;
  if (reduced == 0) return t->in[0];
  if (elements(&x, reduced) == 1 && t->op != KD_OP_LOGSUMEXP) return kd__simp_reshape(s, t->in[0], t->type.dim, t->type.rank);
  if (total && (v = sum(s, t, reduced))) return v;
  if (total && t->type.dtype == KD_F64 && kd__simp_is(s, t->in[0], KD_OP_CAST, &n) && kd__simp_type(s, n.in[0]).dtype == KD_F32)
    return kd__simp_add(s, KD_OP_CAST, (kd_value[]){ kd__simp_sum(s, KD_OP_SUM, n.in[0], reduced) }, 1, (kd_attr[]){ kd__at(KD_F64) });     /* partial sums are double as it is */
  bool some = elements(&x, reduced) > 0;
  if (pick && some && kd__simp_number(s, t->in[0], &k)) return kd__simp_const(s, k, &t->type);
  if (some && (total || pick) && kd__simp_is(s, t->in[0], KD_OP_BROADCAST, &n)) v = through_broadcast(s, t, &n, reduced);
  if (!v && kd__simp_is(s, t->in[0], KD_OP_PERMUTE, &n)) v = through_permute(s, t, &n, reduced);
  if (!v && kd__simp_is(s, t->in[0], KD_OP_RESHAPE, &n)) v = through_reshape(s, t, &n, reduced);
  bool shares = t->op == KD_OP_REDUCE_MAX || t->op == KD_OP_REDUCE_MIN;
  if (!v && !shares && kd__simp_is(s, t->in[0], t->op, &n)) v = nested(s, t, &n, reduced);
  return v;
}

/* A batch of one matrix product is one matrix product: fewer views around it, and they meet those of its neighbours. */
kd_value kd__simp_matmul(kd__simp *s, const kd__term *t) {
  int r = t->type.rank;
  kd_type x = kd__simp_type(s, t->in[0]), y = kd__simp_type(s, t->in[1]);
  if (r == 2 || elements(&t->type, (1u << (r - 2)) - 1) != 1) return 0;
  kd_value a = kd__simp_reshape(s, t->in[0], x.dim + r - 2, 2), b = kd__simp_reshape(s, t->in[1], y.dim + r - 2, 2);
  return kd__simp_reshape(s, kd__simp_2(s, KD_OP_MATMUL, a, b), t->type.dim, r);
}
