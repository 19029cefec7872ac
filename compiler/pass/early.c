/* early.c: which rule looks at which operator. */
#include "compiler/pass/early.h"

bool kd__early_is(const kd_graph *g, kd_value v, kd_op op, kd_node *n) {
  *n = *kd__node_of(g, v);
  return n->op == op && n->out == v;
}

static bool exchanges(const kd_attr *perm) {
  for (uint32_t d = 0; d < perm->n; d++)
    if (perm->u.list[d] != (int64_t)(d + 2 < perm->n ? d : d + 1 < perm->n ? perm->n - 1 : perm->n - 2)) return false;
  return perm->n >= 2;
}

kd_value kd__early_transpose(kd_build *b, kd_value x) {
  kd_node n;
  int64_t perm[KD_MAX_RANK];
  int rank = kd__type_of(b->g, x)->rank;
  if (kd__early_is(b->g, x, KD_OP_PERMUTE, &n) && exchanges(&n.attr[0])) return n.in[0];
  for (int d = 0; d < rank; d++) perm[d] = d < rank - 2 ? d : d == rank - 2 ? rank - 1 : rank - 2;
  return kd__b_permute(b, x, perm);
}

/* A batch of one is none: fewer views around it, also in its gradient. */
static kd_value matrix(kd_build *b, kd_value x) {
  kd_node n;
  kd_type t = *kd__type_of(b->g, x);
  const int64_t *dim = t.dim + t.rank - 2;
  if (kd__early_is(b->g, x, KD_OP_RESHAPE, &n) && kd__type_of(b->g, n.in[0])->rank == 2 && memcmp(kd__type_of(b->g, n.in[0])->dim, dim, 2 * sizeof *dim) == 0) return n.in[0];
  if (kd__early_is(b->g, x, KD_OP_PERMUTE, &n) && exchanges(&n.attr[0])) return kd__early_transpose(b, kd__b_reshape(b, n.in[0], (int64_t[]){ dim[1], dim[0] }, 2));
  return kd__b_reshape(b, x, dim, 2);
}

static kd_value flat(kd_build *b, kd_value x, kd_value y) {
  kd_type t = *kd__type_of(b->g, x);
  int64_t count = 1;
  for (int d = 0; d < t.rank - 2; d++) count *= t.dim[d];
  if (t.rank == 2 || count != 1) return 0;
  t.dim[t.rank - 1] = kd__type_of(b->g, y)->dim[t.rank - 1];
  return kd__b_reshape(b, kd__b_matmul(b, matrix(b, x), matrix(b, y)), t.dim, t.rank);
}

/* Axes that lie side by side before a permutation and are merged after it: merged first, so that [c, h w] and [h w, c] are seen to be transposes. */
static kd_value merged_first(kd_build *b, kd_value x, const kd_attr *shape) {
  kd_node p;
  int64_t start[KD_MAX_RANK], dim[KD_MAX_RANK], perm[KD_MAX_RANK];
  int r = (int)shape->n, i = 0, source = kd__type_of(b->g, x)->rank;
  if (!kd__early_is(b->g, x, KD_OP_PERMUTE, &p) || r >= source || r < 2) return 0;
  const kd_type t = *kd__type_of(b->g, p.in[0]);
  for (int d = 0; d < r; d++) {                  /* axis d is what lies from `start` on */
    int64_t have = 1;
    start[d] = i < source ? p.attr[0].u.list[i] : 0;
    for (; i < source && have < shape->u.list[d]; i++) {
      if (have > 1 && p.attr[0].u.list[i] != p.attr[0].u.list[i - 1] + 1) return 0;
      have *= t.dim[p.attr[0].u.list[i]];
      if (t.dim[p.attr[0].u.list[i]] < 2) return 0;
    }
    if (have != shape->u.list[d] || have < 2) return 0;
  }
  if (i != source) return 0;
  for (int d = 0; d < r; d++) {
    int at = 0;
    for (int e = 0; e < r; e++) at += start[e] < start[d];
    perm[d] = at;
    dim[at] = shape->u.list[d];
  }
  return kd__b_permute(b, kd__b_reshape(b, p.in[0], dim, r), perm);
}

kd_value kd__early(kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr, kd_origin origin) {
  kd_build b = { g, origin };
  kd_value v = 0;
  if (op == KD_OP_RESHAPE) return merged_first(&b, in[0], &attr[0]);
  if (nin == 0 || !kd__dtype_real((kd_dtype)kd__type_of(g, in[0])->dtype)) return 0;
  switch (op) {
    case KD_OP_SUM:
      v = kd__early_square(&b, in[0], &attr[0]);
      return v ? v : kd__early_norm(&b, in[0], &attr[0]);
    case KD_OP_MATMUL:
      v = flat(&b, in[0], in[1]);
      return v ? v : kd__early_angle(&b, in[0], in[1]);
    case KD_OP_ADD: case KD_OP_SUB: return kd__early_combined(&b, op, in[0], in[1]);
    default: return 0;
  }
}
