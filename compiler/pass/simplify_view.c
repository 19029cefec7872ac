/* simplify_view.c: rules of views, concat and pad: chains become one, what does nothing goes, slices move towards what they take from. */
#include "compiler/pass/algebra.h"

static bool list_is(const int64_t *v, uint32_t n, int64_t all) {
  for (uint32_t i = 0; i < n; i++)
    if (v[i] != all) return false;
  return true;
}

/* --- short forms --------------------------------------------------------------------------------------------------------------- */

kd_value kd__simp_reshape(kd__simp *s, kd_value x, const int64_t *dim, int rank) {
  return kd__simp_add(s, KD_OP_RESHAPE, &x, 1, (kd_attr[]){ kd__al(dim, (uint32_t)rank) });
}
kd_value kd__simp_permute(kd__simp *s, kd_value x, const int64_t *perm) {
  return kd__simp_add(s, KD_OP_PERMUTE, &x, 1, (kd_attr[]){ kd__al(perm, kd__type_of(s->g, x)->rank) });
}
kd_value kd__simp_broadcast(kd__simp *s, kd_value x, const int64_t *dim, int rank, const int64_t *axes) {
  return kd__simp_add(s, KD_OP_BROADCAST, &x, 1, (kd_attr[]){ kd__al(dim, (uint32_t)rank), kd__al(axes, kd__type_of(s->g, x)->rank) });
}
static kd_value slice_of(kd__simp *s, kd_value x, const int64_t *start, const int64_t *size, const int64_t *step) {
  uint32_t r = kd__type_of(s->g, x)->rank;
  return kd__simp_add(s, KD_OP_SLICE, &x, 1, (kd_attr[]){ kd__al(start, r), kd__al(size, r), kd__al(step, r) });
}

/* --- reshape -------------------------------------------------------------------------------------------------------------------- */

/* reshape(broadcast(y)) = broadcast(reshape(y)) where no run of axes mixes those of y with new ones. */
static kd_value reshape_broadcast(kd__simp *s, const kd__term *t, const kd_node *b) {
  kd_type from = kd__simp_type(s, b->out);
  kd__runs run;
  uint32_t own = 0;
  int64_t dim[KD_MAX_RANK], axes[KD_MAX_RANK];
  int n = 0;
  if (!kd__simp_runs(&from, &t->type, &run)) return 0;
  for (uint32_t j = 0; j < b->attr[1].n; j++) own |= 1u << b->attr[1].u.list[j];
  for (int i = 0; i < run.n; i++) {
    int mine = 0, others = 0;
    for (int d = run.from[i]; d < run.from[i + 1]; d++)
      if (from.dim[d] != 1) *(own & 1u << d ? &mine : &others) += 1;
    if (mine && others) return 0;
    for (int d = run.to[i]; d < run.to[i + 1] && mine; d++) axes[n] = d, dim[n++] = t->type.dim[d];
  }
  return kd__simp_broadcast(s, kd__simp_reshape(s, b->in[0], dim, n), t->type.dim, t->type.rank, axes);
}

static kd_value reshape(kd__simp *s, const kd__term *t) {
  kd_node n;
  if (kd__same_shape(kd__type_of(s->g, t->in[0]), &t->type)) return t->in[0];
  if (kd__simp_is(s, t->in[0], KD_OP_RESHAPE, &n)) return kd__simp_reshape(s, n.in[0], t->type.dim, t->type.rank);
  return kd__simp_is(s, t->in[0], KD_OP_BROADCAST, &n) ? reshape_broadcast(s, t, &n) : 0;
}

/* --- permute -------------------------------------------------------------------------------------------------------------------- */

static kd_value permute_broadcast(kd__simp *s, const kd__term *t, const kd_node *b) {
  int64_t order[KD_MAX_RANK], axes[KD_MAX_RANK];
  int n = 0;
  for (int i = 0; i < t->type.rank; i++)
    for (uint32_t j = 0; j < b->attr[1].n; j++)
      if (b->attr[1].u.list[j] == t->attr[0].u.list[i]) order[n] = (int64_t)j, axes[n++] = i;
  return kd__simp_broadcast(s, kd__simp_permute(s, b->in[0], order), t->type.dim, t->type.rank, axes);
}

static kd_value permute(kd__simp *s, const kd__term *t) {
  const int64_t *perm = t->attr[0].u.list;
  kd_node n;
  int64_t last = -1, merged[KD_MAX_RANK];
  bool order = true;                             /* of the axes that have more than one element */
  for (int i = 0; i < t->type.rank; i++) {
    if (t->type.dim[i] == 1) continue;
    order = order && perm[i] > last;
    last = perm[i];
  }
  if (order) return kd__simp_reshape(s, t->in[0], t->type.dim, t->type.rank);
  if (kd__simp_is(s, t->in[0], KD_OP_PERMUTE, &n)) {
    for (int i = 0; i < t->type.rank; i++) merged[i] = n.attr[0].u.list[perm[i]];
    return kd__simp_permute(s, n.in[0], merged);
  }
  return kd__simp_is(s, t->in[0], KD_OP_BROADCAST, &n) ? permute_broadcast(s, t, &n) : 0;
}

/* --- broadcast ------------------------------------------------------------------------------------------------------------------- */

/* Its source never has axes of size 1: they can as well be new. */
static kd_value squeeze(kd__simp *s, const kd__term *t, const kd_type *x) {
  int64_t dim[KD_MAX_RANK], axes[KD_MAX_RANK];
  int n = 0;
  for (int d = 0; d < x->rank; d++)
    if (x->dim[d] != 1) axes[n] = t->attr[1].u.list[d], dim[n++] = x->dim[d];
  return kd__simp_broadcast(s, kd__simp_reshape(s, t->in[0], dim, n), t->type.dim, t->type.rank, axes);
}

static kd_value broadcast(kd__simp *s, const kd__term *t) {
  kd_type x = kd__simp_type(s, t->in[0]);
  const int64_t *axes = t->attr[1].u.list;
  int64_t merged[KD_MAX_RANK];
  kd_node n;
  double k;
  if (kd__simp_number(s, t->in[0], &k)) return kd__simp_const(s, k, &t->type);
  if (kd__type_count(&x) == kd__type_count(&t->type)) return kd__simp_reshape(s, t->in[0], t->type.dim, t->type.rank);
  for (int d = 0; d < x.rank; d++)
    if (x.dim[d] == 1) return squeeze(s, t, &x);
  if (!kd__simp_is(s, t->in[0], KD_OP_BROADCAST, &n)) return 0;
  for (uint32_t j = 0; j < n.attr[1].n; j++) merged[j] = axes[n.attr[1].u.list[j]];
  return kd__simp_broadcast(s, n.in[0], t->type.dim, t->type.rank, merged);
}

/* --- slice ----------------------------------------------------------------------------------------------------------------------- */

static kd_value slice_slice(kd__simp *s, const kd__term *t, const kd_node *n) {
  int64_t start[KD_MAX_RANK], step[KD_MAX_RANK];
  for (int d = 0; d < t->type.rank; d++) {
    int64_t inner = n->attr[2].u.list[d];
    start[d] = n->attr[0].u.list[d] + t->attr[0].u.list[d] * inner;
    if (t->type.dim[d] <= 1) step[d] = 1;
    else if (__builtin_mul_overflow(inner, t->attr[2].u.list[d], &step[d])) return 0;
  }
  return slice_of(s, n->in[0], start, t->type.dim, step);
}

static kd_value slice_broadcast(kd__simp *s, const kd__term *t, const kd_node *b) {
  int64_t start[KD_MAX_RANK], size[KD_MAX_RANK], step[KD_MAX_RANK];
  for (uint32_t j = 0; j < b->attr[1].n; j++) {
    int64_t d = b->attr[1].u.list[j];
    start[j] = t->attr[0].u.list[d], size[j] = t->attr[1].u.list[d], step[j] = t->attr[2].u.list[d];
  }
  return kd__simp_broadcast(s, slice_of(s, b->in[0], start, size, step), t->type.dim, t->type.rank, b->attr[1].u.list);
}

/* First and last position taken along axis d. */
static void taken(const kd__term *t, int d, int64_t *lo, int64_t *hi) {
  int64_t first = t->attr[0].u.list[d], last = t->type.dim[d] > 1 ? first + (t->type.dim[d] - 1) * t->attr[2].u.list[d] : first;
  *lo = first < last ? first : last, *hi = first < last ? last : first;
}

/* Only of what was there before the padding. */
static kd_value slice_pad(kd__simp *s, const kd__term *t, const kd_node *p) {
  kd_type x = kd__simp_type(s, p->in[0]);
  int64_t start[KD_MAX_RANK], lo, hi;
  for (int d = 0; d < t->type.rank; d++) {
    int64_t low = p->attr[0].u.list[d];
    taken(t, d, &lo, &hi);
    if (lo < low || hi >= low + x.dim[d]) return 0;
    start[d] = t->attr[0].u.list[d] - low;
  }
  return slice_of(s, p->in[0], start, t->type.dim, t->attr[2].u.list);
}

/* Only of one of the parts. */
static kd_value slice_concat(kd__simp *s, const kd__term *t, const kd_node *c) {
  int64_t axis = c->attr[0].u.i, begin = 0, lo, hi, start[KD_MAX_RANK];
  taken(t, (int)axis, &lo, &hi);
  for (uint32_t i = 0; i < c->nin; i++) {
    int64_t end = begin + kd__type_of(s->g, c->in[i])->dim[axis];
    if (lo >= begin && hi < end) {
      memcpy(start, t->attr[0].u.list, sizeof *start * t->type.rank);
      start[axis] -= begin;
      return slice_of(s, c->in[i], start, t->type.dim, t->attr[2].u.list);
    }
    if (lo < end) return 0;
    begin = end;
  }
  return 0;
}

static kd_value slice(kd__simp *s, const kd__term *t) {
  kd_value x = t->in[0];
  kd_node n;
  bool plain = true;
  int64_t step[KD_MAX_RANK];
  for (int d = 0; d < t->type.rank; d++) {
    step[d] = t->type.dim[d] <= 1 ? 1 : t->attr[2].u.list[d];           /* a step that is not taken says nothing */
    plain = plain && step[d] == t->attr[2].u.list[d];
  }
  if (!plain) return slice_of(s, x, t->attr[0].u.list, t->type.dim, step);
  if (kd__same_shape(kd__type_of(s->g, x), &t->type) && list_is(step, t->type.rank, 1)) return x;
  if (kd__simp_is(s, x, KD_OP_SLICE, &n)) return slice_slice(s, t, &n);
  if (kd__simp_is(s, x, KD_OP_BROADCAST, &n)) return slice_broadcast(s, t, &n);
  if (kd__simp_is(s, x, KD_OP_PAD, &n)) return slice_pad(s, t, &n);
  return kd__simp_is(s, x, KD_OP_CONCAT, &n) ? slice_concat(s, t, &n) : 0;
}

/* --- concat and pad ----------------------------------------------------------------------------------------------------------------- */

/* Are these slices of one value, the second right after the first along the axis? Then *whole is both as one. */
static bool follows(kd__simp *s, kd_value a, kd_value b, int64_t axis, kd_value *whole) {
  kd_node m, n;
  if (!kd__simp_is(s, a, KD_OP_SLICE, &m) || !kd__simp_is(s, b, KD_OP_SLICE, &n) || m.in[0] != n.in[0]) return false;
  int64_t size[KD_MAX_RANK], rank = m.attr[0].n;
  for (int d = 0; d < rank; d++) {
    size[d] = m.attr[1].u.list[d];
    if (m.attr[2].u.list[d] != n.attr[2].u.list[d] || (d == axis && m.attr[2].u.list[d] != 1)) return false;
    if (n.attr[0].u.list[d] != m.attr[0].u.list[d] + (d == axis ? size[d] : 0)) return false;
    if (d == axis) size[d] += n.attr[1].u.list[d];
  }
  *whole = slice_of(s, m.in[0], m.attr[0].u.list, size, m.attr[2].u.list);
  return true;
}

/* The same number twice: once, over both. */
static bool same_number(kd__simp *s, kd_value a, kd_value b, int64_t axis, kd_value *whole) {
  double k, l;
  if (!kd__simp_number(s, a, &k) || !kd__simp_number(s, b, &l) || memcmp(&k, &l, sizeof k) != 0) return false;
  kd_type t = kd__simp_type(s, a);
  t.dim[axis] += kd__type_of(s->g, b)->dim[axis];
  *whole = kd__simp_const(s, k, &t);
  return true;
}

static kd_value concat(kd__simp *s, const kd__term *t) {
  int64_t axis = t->attr[0].u.i;
  kd_value *part = KD_NEWN(s->g->arena, kd_value, t->nin), whole;
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->nin; i++) {
    if (kd__type_of(s->g, t->in[i])->dim[axis] == 0) continue;
    if (n && (follows(s, part[n - 1], t->in[i], axis, &whole) || same_number(s, part[n - 1], t->in[i], axis, &whole))) part[n - 1] = whole;
    else part[n++] = t->in[i];
  }
  if (n == 1) return part[0];
  return n < t->nin ? kd__simp_add(s, KD_OP_CONCAT, part, n, t->attr) : 0;
}

static kd_value pad(kd__simp *s, const kd__term *t) {
  kd_node n;
  double k, value = t->attr[2].u.f;
  int64_t low[KD_MAX_RANK], high[KD_MAX_RANK];
  uint32_t rank = t->type.rank;
  if (list_is(t->attr[0].u.list, rank, 0) && list_is(t->attr[1].u.list, rank, 0)) return t->in[0];
  if (kd__type_count(kd__type_of(s->g, t->in[0])) == 0 || (kd__simp_number(s, t->in[0], &k) && memcmp(&k, &value, sizeof k) == 0))
    return kd__simp_const(s, value, &t->type);
  if (!kd__simp_is(s, t->in[0], KD_OP_PAD, &n) || memcmp(&n.attr[2].u.f, &value, sizeof value) != 0) return 0;
  for (uint32_t d = 0; d < rank; d++) {
    low[d] = n.attr[0].u.list[d] + t->attr[0].u.list[d];
    high[d] = n.attr[1].u.list[d] + t->attr[1].u.list[d];
  }
  return kd__simp_add(s, KD_OP_PAD, n.in, 1, (kd_attr[]){ kd__al(low, rank), kd__al(high, rank), t->attr[2] });
}

/* A view of one number is that number. */
static bool number_stays(kd_op op) { return op == KD_OP_RESHAPE || op == KD_OP_PERMUTE || op == KD_OP_SLICE || op == KD_OP_BROADCAST; }

kd_value kd__simp_view(kd__simp *s, const kd__term *t) {
  kd_node n;
  if (number_stays(t->op) && kd__simp_is(s, t->in[0], KD_OP_CONST, &n)) return kd__simp_const(s, n.attr[0].u.f, &t->type);
  switch (t->op) {
    case KD_OP_RESHAPE: return reshape(s, t);
    case KD_OP_PERMUTE: return permute(s, t);
    case KD_OP_BROADCAST: return broadcast(s, t);
    case KD_OP_SLICE: return slice(s, t);
    case KD_OP_CONCAT: return concat(s, t);
    case KD_OP_PAD: return pad(s, t);
    default: return 0;
  }
}
