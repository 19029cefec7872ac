/* shape_elem.c: shape rules of leaves, element-wise operators, reductions and random draws. */
#include "compiler/ir/shape.h"

/* --- leaves ------------------------------------------------------------------------------------------------------ */

bool kd__shape_explicit(const kd__shape_call *c) {
  kd_dtype t = kd__shape_dtype(c);
  if (!kd__shape_sizes(c, "shape", t, c->out)) return false;
  if (c->op == KD_OP_CONST) return kd__need_value(c, kd__shape_attr(c, "value")->u.f, t);
  if (c->op == KD_OP_INPUT) return kd__shape_int(c, "slot") >= 0 || kd__no(c, "slot is %lld", (long long)kd__shape_int(c, "slot"));
  int64_t axis;
  if (!kd__need_axis(c, "axis", c->out->rank, &axis)) return false;
  return t != KD_BOOL || kd__no(c, "%s counts; its elements cannot be bool", c->info->name);
}

/* --- element-wise ------------------------------------------------------------------------------------------------- */

/* Operands of one type out of the set and of one shape; the result has that shape and elements of type t. */
static bool alike(const kd__shape_call *c, unsigned set, int t) {
  for (uint32_t i = 0; i < c->nin; i++)
    if (!kd__need_dtype(c, i, set)) return false;
  if (!kd__need_one_dtype(c, 0) || !kd__need_one_shape(c)) return false;
  *c->out = *c->in[0];
  if (t >= 0) c->out->dtype = (uint8_t)t;
  return true;
}

bool kd__shape_same(const kd__shape_call *c) {
  bool picks = c->op == KD_OP_MAX || c->op == KD_OP_MIN;        /* arithmetic on bytes would wrap unseen; picking one cannot */
  return alike(c, c->op == KD_OP_STOP ? KD__EVERY : picks ? KD__ORDERED : KD__ARITH, -1);
}
bool kd__shape_real(const kd__shape_call *c) { return alike(c, KD__REAL, -1); }
bool kd__shape_ints(const kd__shape_call *c) { return alike(c, KD__SET(KD_I64), -1); }
bool kd__shape_bools(const kd__shape_call *c) { return alike(c, KD__SET(KD_BOOL), -1); }
bool kd__shape_predicate(const kd__shape_call *c) { return alike(c, KD__REAL, KD_BOOL); }
bool kd__shape_compare(const kd__shape_call *c) {
  return alike(c, c->op == KD_OP_EQ || c->op == KD_OP_NE ? KD__EVERY : KD__ORDERED, KD_BOOL);
}
bool kd__shape_cast(const kd__shape_call *c) { return alike(c, KD__EVERY, kd__shape_dtype(c)); }

bool kd__shape_where(const kd__shape_call *c) {
  if (!kd__need_dtype(c, 0, KD__SET(KD_BOOL)) || !kd__need_one_dtype(c, 1) || !kd__need_one_shape(c)) return false;
  *c->out = *c->in[1];
  return true;
}

/* --- reductions --------------------------------------------------------------------------------------------------- */

static bool reduced(const kd__shape_call *c, unsigned set) {
  uint32_t axes;
  if (!kd__need_dtype(c, 0, set) || !kd__need_axes(c, "axes", c->in[0]->rank, &axes)) return false;
  for (int i = 0; i < c->info->nout; i++) kd__shape_drop(c->in[0], axes, (kd_dtype)c->in[0]->dtype, &c->out[i]);
  return true;
}

bool kd__shape_reduce(const kd__shape_call *c) {
  return reduced(c, c->op == KD_OP_LOGSUMEXP ? KD__REAL : c->op == KD_OP_SUM ? KD__ARITH : KD__ORDERED);
}
bool kd__shape_reduce_bool(const kd__shape_call *c) { return reduced(c, KD__SET(KD_BOOL)); }
bool kd__shape_moments(const kd__shape_call *c) { return reduced(c, KD__REAL); }

bool kd__shape_arg(const kd__shape_call *c) {
  int64_t axis;
  if (!kd__need_dtype(c, 0, KD__ORDERED) || !kd__need_axis(c, "axis", c->in[0]->rank, &axis)) return false;
  if (c->in[0]->dim[axis] == 0) return kd__no(c, "axis %lld has size 0: there is no position to give", (long long)axis);
  kd__shape_drop(c->in[0], 1u << axis, KD_I64, c->out);
  return true;
}

bool kd__shape_axes_real(const kd__shape_call *c) {
  uint32_t axes;
  return alike(c, KD__REAL, -1) && kd__need_axes(c, "axes", c->in[0]->rank, &axes);
}

bool kd__shape_axis_same(const kd__shape_call *c) {
  int64_t axis;
  return alike(c, KD__ARITH, -1) && kd__need_axis(c, "axis", c->in[0]->rank, &axis) && kd__need_flag(c, "reverse");
}

/* --- random draws -------------------------------------------------------------------------------------------------- */

bool kd__shape_random(const kd__shape_call *c) {
  kd_dtype t = kd__shape_dtype(c);
  bool bits = c->op == KD_OP_RANDOM_BITS;
  for (uint32_t i = 0; i < c->nin; i++)
    if (!kd__need_dtype(c, i, KD__SET(KD_I64))) return false;
  if (c->in[0]->rank != 0) return kd__no(c, "operand 1, the key, has rank %d; it is a scalar", c->in[0]->rank);
  if (bits ? t != KD_I64 : !kd__dtype_real(t)) return kd__no(c, "dtype is %s; %s draws %s", kd__dtype_name(t), c->info->name, bits ? "i64" : "f32 or f64");
  if (!kd__shape_sizes(c, "shape", t, c->out)) return false;
  if (c->nin < 2) return true;
  if (c->in[1]->rank != 1) return kd__no(c, "operand 2, the sample numbers, has rank %d; it is a list", c->in[1]->rank);
  if (c->out->rank == 0) return kd__no(c, "sample numbers key axis 0, and the result is a scalar");
  if (c->out->dim[0] != c->in[1]->dim[0])
    return kd__no(c, "sizes differ: %lld on axis 0 of the result, %lld sample numbers", (long long)c->out->dim[0], (long long)c->in[1]->dim[0]);
  return true;
}
