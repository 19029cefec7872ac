/* simplify_parts.c: sums of values that are 0 where the other is not. The gradient of n slices is a sum of n padded values, which would cost
 * n passes over the whole; side by side they are one concat, whose operands are made in place. */
#include "compiler/pass/algebra.h"

enum { MOST = 512 };                             /* parts: a chain of sums is merged from its start each time */

/* A value as parts along one axis. */
typedef struct parts { kd_value v[MOST + 2]; int n; } parts;

/* The only axis along which the pad adds something; -1 if there are several. */
static int64_t padded_axis(const kd_node *p) {
  int64_t axis = -1;
  for (uint32_t d = 0; d < p->attr[0].n; d++) {
    if (p->attr[0].u.list[d] == 0 && p->attr[1].u.list[d] == 0) continue;
    if (axis >= 0) return -1;
    axis = d;
  }
  return axis;
}

static void zeros(kd__simp *s, parts *p, const kd_type *like, int64_t axis, int64_t n) {
  kd_type t = *like;
  t.dim[axis] = n;
  if (n > 0) p->v[p->n++] = kd__simp_const(s, 0, &t);
}

static bool is_zero(const kd__simp *s, kd_value v) {
  double k;
  return kd__simp_number(s, v, &k) && k == 0;
}

/* v as parts along the axis (-1: the axis is v's to choose). */
static bool split(kd__simp *s, kd_value v, int64_t *axis, parts *p) {
  kd_node n;
  p->n = 0;
  if (kd__simp_is(s, v, KD_OP_PAD, &n)) {
    int64_t mine = padded_axis(&n);
    if (mine < 0 || (*axis >= 0 && *axis != mine) || n.attr[2].u.f != 0) return false;
    kd_type t = kd__simp_type(s, n.in[0]);
    *axis = mine;
    zeros(s, p, &t, mine, n.attr[0].u.list[mine]);
    p->v[p->n++] = n.in[0];
    zeros(s, p, &t, mine, n.attr[1].u.list[mine]);
    return true;
  }
  if (!kd__simp_is(s, v, KD_OP_CONCAT, &n) || n.nin > MOST || (*axis >= 0 && *axis != n.attr[0].u.i)) return false;
  *axis = n.attr[0].u.i;
  memcpy(p->v, n.in, sizeof *p->v * n.nin);
  p->n = (int)n.nin;
  return true;
}

/* One part of a or b after the other, wherever the other is 0 all along; false where both are something. */
static bool merge(kd__simp *s, const parts *a, const parts *b, int64_t axis, parts *to) {
  int64_t ends[2] = { 0 }, at = 0, whole = 0;
  const parts *p[2] = { a, b };
  int next[2] = { 0 };
  for (int i = 0; i < a->n; i++) whole += kd__type_of(s->g, a->v[i])->dim[axis];
  for (to->n = 0; at < whole;) {
    bool starts[2], zero[2];
    for (int k = 0; k < 2; k++) {
      starts[k] = ends[k] == at;
      if (starts[k]) ends[k] += kd__type_of(s->g, p[k]->v[next[k]++])->dim[axis];
      zero[k] = is_zero(s, p[k]->v[next[k] - 1]);
    }
    int k = zero[0] ? 1 : 0;                     /* whose part is taken */
    int64_t end = zero[0] && zero[1] ? (ends[0] < ends[1] ? ends[0] : ends[1]) : ends[k];
    if (!zero[1 - k] || (!zero[k] && (!starts[k] || ends[1 - k] < end)) || to->n == MOST) return false;
    kd_type t = *kd__type_of(s->g, p[k]->v[next[k] - 1]);
    if (zero[k]) zeros(s, to, &t, axis, end - at);
    else to->v[to->n++] = p[k]->v[next[k] - 1];
    at = end;
  }
  return true;
}

kd_value kd__simp_apart(kd__simp *s, const kd__term *t) {
  int64_t axis = -1;
  kd_node n;
  if (!kd__simp_is(s, t->in[0], KD_OP_PAD, &n) && !kd__simp_is(s, t->in[1], KD_OP_PAD, &n)) return 0;
  axis = padded_axis(&n);
  parts p[3];
  if (axis < 0 || !split(s, t->in[0], &axis, &p[0]) || !split(s, t->in[1], &axis, &p[1]) || !merge(s, &p[0], &p[1], axis, &p[2])) return 0;
  return kd__simp_add(s, KD_OP_CONCAT, p[2].v, (uint32_t)p[2].n, (kd_attr[]){ kd__ai(axis) });
}
