/* build.c: short builders for code that knows its shapes are right. A value of 0 in gives 0 out. */
#include "compiler/ir/graph.h"
#include <assert.h>

static kd_value add(kd_build *b, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr) {
  return kd__graph_add(b->g, op, in, nin, attr, b->origin, NULL);
}
static const kd_type *type_of(const kd_build *b, kd_value v) { return kd__type_of(b->g, v); }

static bool same_dims(const kd_type *t, const int64_t *dim, int rank) {
  return t->rank == rank && (rank == 0 || memcmp(t->dim, dim, sizeof(int64_t) * (size_t)rank) == 0);
}

/* --- element-wise and leaves ----------------------------------------------------------------------------------------- */

kd_value kd__b_op1(kd_build *b, kd_op op, kd_value a) { return add(b, op, &a, 1, NULL); }
kd_value kd__b_op2(kd_build *b, kd_op op, kd_value x, kd_value y) { return add(b, op, (kd_value[]){ x, y }, 2, NULL); }
kd_value kd__b_where(kd_build *b, kd_value c, kd_value x, kd_value y) { return add(b, KD_OP_WHERE, (kd_value[]){ c, x, y }, 3, NULL); }

kd_value kd__b_const(kd_build *b, double v, kd_dtype t, const int64_t *dim, int rank) {
  return add(b, KD_OP_CONST, NULL, 0, (kd_attr[]){ kd__af(v), kd__at(t), kd__al(dim, (uint32_t)rank) });
}

kd_value kd__b_const_like(kd_build *b, double v, kd_value like) {
  if (like == 0) return 0;
  kd_type t = *type_of(b, like);
  return kd__b_const(b, v, (kd_dtype)t.dtype, t.dim, t.rank);
}

kd_value kd__b_input(kd_build *b, int64_t slot, const kd_type *t) {
  return add(b, KD_OP_INPUT, NULL, 0, (kd_attr[]){ kd__ai(slot), kd__at((kd_dtype)t->dtype), kd__al(t->dim, t->rank) });
}

kd_value kd__b_iota(kd_build *b, kd_dtype t, const int64_t *dim, int rank, int axis) {
  return add(b, KD_OP_IOTA, NULL, 0, (kd_attr[]){ kd__at(t), kd__al(dim, (uint32_t)rank), kd__ai(axis) });
}

kd_value kd__b_cast(kd_build *b, kd_value x, kd_dtype t) {
  if (x == 0 || type_of(b, x)->dtype == t) return x;
  return add(b, KD_OP_CAST, &x, 1, (kd_attr[]){ kd__at(t) });
}

/* --- reductions and products ------------------------------------------------------------------------------------------ */

kd_value kd__b_reduce(kd_build *b, kd_op op, kd_value x, const int64_t *axes, int n) {
  assert(strcmp(kd__op_info(op)->attr[0].name, "axes") == 0);
  return add(b, op, &x, 1, (kd_attr[]){ kd__al(axes, (uint32_t)n) });
}

kd_value kd__b_unreduce(kd_build *b, kd_value r, kd_value like, const int64_t *axes, int n) {
  if (r == 0 || like == 0) return 0;
  const kd_type *t = type_of(b, like);
  uint32_t gone = 0;
  for (int i = 0; i < n; i++) gone |= 1u << axes[i];
  int64_t kept[KD_MAX_RANK];
  int k = 0;
  for (int d = 0; d < t->rank; d++)
    if (!(gone & 1u << d)) kept[k++] = d;
  assert(k == type_of(b, r)->rank);
  return kd__b_broadcast(b, r, t->dim, t->rank, kept);
}

kd_value kd__b_matmul(kd_build *b, kd_value x, kd_value y) { return kd__b_op2(b, KD_OP_MATMUL, x, y); }

/* --- shape and movement ------------------------------------------------------------------------------------------------ */

kd_value kd__b_reshape(kd_build *b, kd_value x, const int64_t *dim, int rank) {
  if (x == 0 || same_dims(type_of(b, x), dim, rank)) return x;
  return add(b, KD_OP_RESHAPE, &x, 1, (kd_attr[]){ kd__al(dim, (uint32_t)rank) });
}

kd_value kd__b_permute(kd_build *b, kd_value x, const int64_t *perm) {
  if (x == 0) return 0;
  int rank = type_of(b, x)->rank, i = 0;
  while (i < rank && perm[i] == i) i++;
  return i == rank ? x : add(b, KD_OP_PERMUTE, &x, 1, (kd_attr[]){ kd__al(perm, (uint32_t)rank) });
}

kd_value kd__b_broadcast(kd_build *b, kd_value x, const int64_t *dim, int rank, const int64_t *axes) {
  if (x == 0 || same_dims(type_of(b, x), dim, rank)) return x;           /* equal ranks leave only one choice of axes */
  return add(b, KD_OP_BROADCAST, &x, 1, (kd_attr[]){ kd__al(dim, (uint32_t)rank), kd__al(axes, type_of(b, x)->rank) });
}

kd_value kd__b_slice(kd_build *b, kd_value x, const int64_t *start, const int64_t *size, const int64_t *step) {
  if (x == 0) return 0;
  uint32_t r = type_of(b, x)->rank;
  return add(b, KD_OP_SLICE, &x, 1, (kd_attr[]){ kd__al(start, r), kd__al(size, r), kd__al(step, r) });
}

kd_value kd__b_concat(kd_build *b, const kd_value *x, int n, int axis) { return add(b, KD_OP_CONCAT, x, (uint32_t)n, (kd_attr[]){ kd__ai(axis) }); }

kd_value kd__b_pad(kd_build *b, kd_value x, const int64_t *low, const int64_t *high, double value) {
  if (x == 0) return 0;
  uint32_t r = type_of(b, x)->rank;
  return add(b, KD_OP_PAD, &x, 1, (kd_attr[]){ kd__al(low, r), kd__al(high, r), kd__af(value) });
}

kd_value kd__b_gather(kd_build *b, kd_value x, kd_value index, int batch) {
  return add(b, KD_OP_GATHER, (kd_value[]){ x, index }, 2, (kd_attr[]){ kd__ai(batch) });
}

kd_value kd__b_scatter(kd_build *b, kd_op op, kd_value base, kd_value index, kd_value v, int batch, int skip) {
  return add(b, op, (kd_value[]){ base, index, v }, 3, (kd_attr[]){ kd__ai(batch), kd__ai(skip) });
}
