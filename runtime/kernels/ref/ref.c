/* ref.c: element access, multi-indices, and the table of twins. */
#include "runtime/kernels/ref/ref.h"
#include <assert.h>

double kd__ref_load(const kd_tensor *t, int64_t at) {
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return ((const float *)t->data)[at];
    case KD_F64: return ((const double *)t->data)[at];
    default: return (double)kd__ref_loadi(t, at);
  }
}

int64_t kd__ref_loadi(const kd_tensor *t, int64_t at) {
  assert(!kd__ref_real(t));
  return t->dtype == KD_I64 ? ((const int64_t *)t->data)[at] : ((const uint8_t *)t->data)[at];
}

kd__wide kd__ref_loadw(const kd_tensor *t, int64_t at) {
  return kd__ref_real(t) ? (kd__wide)kd__ref_load(t, at) : (kd__wide)kd__ref_loadi(t, at);
}

/* A real as an integer type: cut off toward zero, held at the type's ends, NaN to 0 (C leaves these open). */
static int64_t truncate_to(kd_dtype to, double v) {
  double lo = to == KD_I64 ? -0x1p63 : 0, hi = to == KD_I64 ? 0x1p63 : 255;
  if (v != v) return 0;
  if (v <= lo) return to == KD_I64 ? INT64_MIN : 0;
  if (v >= hi) return to == KD_I64 ? INT64_MAX : 255;
  return (int64_t)v;
}

void kd__ref_store(const kd_tensor *t, int64_t at, double v) {
  switch ((kd_dtype)t->dtype) {
    case KD_F32: ((float *)t->data)[at] = (float)v; break;
    case KD_F64: ((double *)t->data)[at] = v; break;
    case KD_BOOL: ((uint8_t *)t->data)[at] = v != 0; break;
    default: kd__ref_storei(t, at, truncate_to((kd_dtype)t->dtype, v)); break;
  }
}

void kd__ref_storei(const kd_tensor *t, int64_t at, int64_t v) {
  switch ((kd_dtype)t->dtype) {
    case KD_F32: ((float *)t->data)[at] = (float)v; break;           /* one rounding, not two by way of double */
    case KD_F64: ((double *)t->data)[at] = (double)v; break;
    case KD_I64: ((int64_t *)t->data)[at] = v; break;
    default: ((uint8_t *)t->data)[at] = (uint8_t)v; break;
  }
}

void kd__ref_storew(const kd_tensor *t, int64_t at, kd__wide v) {
  if (kd__ref_real(t)) kd__ref_store(t, at, (double)v);
  else kd__ref_storei(t, at, (int64_t)v);
}

void kd__ref_put(const kd_tensor *to, int64_t at, const kd_tensor *from, int64_t from_at) {
  size_t size = kd__dtype_size((kd_dtype)to->dtype);
  assert(to->dtype == from->dtype);
  memmove((char *)to->data + at * (int64_t)size, (const char *)from->data + from_at * (int64_t)size, size);
}

int64_t kd__ref_count(const int64_t *dim, int rank) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++) n *= dim[i];
  return n;
}

int64_t kd__ref_offset(const int64_t *stride, const int64_t *index, int rank) {
  int64_t at = 0;
  for (int i = 0; i < rank; i++) at += index[i] * stride[i];
  return at;
}

void kd__ref_next(int64_t *index, const int64_t *dim, int rank) {
  for (int i = rank - 1; i >= 0; i--) {
    if (++index[i] < dim[i]) return;
    index[i] = 0;
  }
}

void kd__ref_split(const kd_tensor *t, const int64_t *axes, uint32_t n, kd__ref_axes *rest, kd__ref_axes *in) {
  *rest = *in = (kd__ref_axes){ .count = 1 };
  for (int i = 0; i < t->rank; i++) {
    kd__ref_axes *to = rest;
    for (uint32_t j = 0; j < n; j++)
      if (axes[j] == i) to = in;
    to->dim[to->rank] = t->dim[i];
    to->stride[to->rank++] = t->stride[i];
    to->count *= t->dim[i];
  }
}

int64_t kd__ref_pos(const kd__ref_axes *a, int64_t k) {
  int64_t at = 0;
  for (int i = a->rank - 1; i >= 0; i--) {
    at += k % a->dim[i] * a->stride[i];
    k /= a->dim[i];
  }
  return at;
}

static void (*const twins[KD_OP_COUNT])(const kd_call *c, const kd_exec *x) = {
#define KD_OP(ID, name, ...) [KD_OP_##ID] = kd__ref_##name,
#include "runtime/op/ops.def"
#undef KD_OP
};

void kd__ref_run(const kd_call *c, const kd_exec *x) { twins[c->op](c, x); }
