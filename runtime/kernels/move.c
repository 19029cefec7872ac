/* move.c: constants, positions, views as copies, concat and pad: everything is kd__copy_strided between suitable strides. */
#include "runtime/kernels/move.h"
#include "runtime/kernels/elem.h"
#include "runtime/kernels/nest.h"

/* --- views ---------------------------------------------------------------------------------------------------------------------- */
/* Two layouts of the same elements in row-major order, cut into common dimensions, innermost first. */
typedef struct cut { int rank; int64_t dim[KD_MAX_RANK], from[KD_MAX_RANK], to[KD_MAX_RANK]; } cut;
typedef struct side { int rank; int64_t dim[KD_MAX_RANK], stride[KD_MAX_RANK]; } side;

/* Neighbours that lie like one axis become one, innermost first; sizes of 1 are gone. */
static side merged(const kd_tensor *t) {
  side s = { 0 };
  for (int d = t->rank - 1; d >= 0; d--) {
    if (t->dim[d] == 1) continue;
    int top = s.rank - 1;
    if (top >= 0 && t->stride[d] == s.stride[top] * s.dim[top]) { s.dim[top] *= t->dim[d]; continue; }
    s.dim[s.rank] = t->dim[d], s.stride[s.rank++] = t->stride[d];
  }
  return s;
}

static bool cut_reshape(const kd_tensor *from, const kd_tensor *to, cut *c) {
  side a = merged(from), b = merged(to);
  c->rank = 0;
  for (int i = 0, k = 0; i < a.rank && k < b.rank;) {
    int64_t n = a.dim[i] < b.dim[k] ? a.dim[i] : b.dim[k];
    if (c->rank == KD_MAX_RANK || a.dim[i] % n || b.dim[k] % n) return false;
    c->dim[c->rank] = n, c->from[c->rank] = a.stride[i], c->to[c->rank++] = b.stride[k];
    a.dim[i] /= n, a.stride[i] *= n, b.dim[k] /= n, b.stride[k] *= n;
    i += a.dim[i] == 1, k += b.dim[k] == 1;
  }
  return true;
}

bool kd__view_takes(const kd_call *c, const kd_kernel_settings *s) {
  cut both;
  (void)s;
  return c->op != KD_OP_RESHAPE || kd__count(&c->out[0]) == 0 || cut_reshape(&c->in[0], &c->out[0], &both);
}

static void copy_reshaped(const kd_call *c, const kd_exec *x) {
  cut both;
  cut_reshape(&c->in[0], &c->out[0], &both);
  kd_tensor from = { c->in[0].data, both.dim, both.from, c->in[0].dtype, (uint8_t)both.rank };
  kd_tensor to = { c->out[0].data, both.dim, both.to, c->out[0].dtype, (uint8_t)both.rank };
  kd__copy_strided(&from, &to, x);
}

void kd__view_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  const kd_attr *attr = c->attr;
  int64_t stride[KD_MAX_RANK] = { 0 }, first = 0;
  if (kd__count(o) == 0) return;
  if (c->op == KD_OP_RESHAPE) { copy_reshaped(c, x); return; }
  for (int i = 0; i < a->rank; i++) {
    if (c->op == KD_OP_PERMUTE) stride[i] = a->stride[attr[0].u.list[i]];
    if (c->op == KD_OP_BROADCAST) stride[attr[1].u.list[i]] = a->stride[i];
    if (c->op == KD_OP_SLICE) first += attr[0].u.list[i] * a->stride[i], stride[i] = a->stride[i] * attr[2].u.list[i];
  }
  kd_tensor seen = { (char *)a->data + first * (int64_t)kd__dtype_size((kd_dtype)a->dtype), o->dim, stride, a->dtype, o->rank };
  kd__copy_strided(&seen, o, x);
}

/* --- leaves ------------------------------------------------------------------------------------------------------------------------ */
bool kd__move_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)c, (void)s;
  return true;
}

/* Every element of `to` becomes v. */
static void fill(const kd_tensor *to, double v, const kd_exec *x) {
  int64_t one, none[KD_MAX_RANK] = { 0 };        /* room for an element of any type */
  kd__elem_cast(KD_F64, (kd_dtype)to->dtype)(1, &one, &v, NULL, NULL);
  kd_tensor from = { &one, to->dim, none, to->dtype, to->rank };
  kd__copy_strided(&from, to, x);
}

void kd__const_run(const kd_call *c, const kd_exec *x) { fill(&c->out[0], c->attr[0].u.f, x); }

size_t kd__iota_scratch(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return (size_t)c->out[0].dim[c->attr[2].u.i] * 2 * sizeof(int64_t);
}
void kd__iota_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *o = &c->out[0];
  int64_t axis = c->attr[2].u.i, n = o->dim[axis], stride[KD_MAX_RANK] = { 0 }, *number = x->scratch;
  void *line = number + n;
  for (int64_t i = 0; i < n; i++) number[i] = i;
  kd__elem_cast(KD_I64, (kd_dtype)o->dtype)(n, line, number, NULL, NULL);
  stride[axis] = 1;
  kd_tensor from = { line, o->dim, stride, o->dtype, o->rank };
  kd__copy_strided(&from, o, x);
}

/* --- concat and pad ------------------------------------------------------------------------------------------------------------------ */
/* The part of t that begins at `first` along the axis and has the shape `dim`. */
static kd_tensor part_of(const kd_tensor *t, int axis, int64_t first, const int64_t *dim) {
  kd_tensor part = *t;
  part.data = (char *)t->data + first * t->stride[axis] * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  part.dim = dim;
  return part;
}

void kd__concat_run(const kd_call *c, const kd_exec *x) {
  int axis = (int)c->attr[0].u.i;
  int64_t first = 0;
  for (uint32_t i = 0; i < c->nin; i++) {
    kd_tensor to = part_of(&c->out[0], axis, first, c->in[i].dim);
    kd__copy_strided(&c->in[i], &to, x);
    first += c->in[i].dim[axis];
  }
}

/* The border is filled axis by axis: both ends of the axis, within the operand along the axes before it. */
void kd__pad_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *a = &c->in[0], *o = &c->out[0];
  const int64_t *low = c->attr[0].u.list;
  int64_t dim[KD_MAX_RANK];
  kd_tensor inner = *o;
  memcpy(dim, o->dim, sizeof *dim * o->rank);
  inner.dim = dim;
  for (int d = 0; d < o->rank; d++) {
    int64_t end[2] = { low[d], o->dim[d] - low[d] - a->dim[d] };
    for (int e = 0; e < 2; e++) {
      dim[d] = end[e];
      kd_tensor edge = part_of(&inner, d, e ? low[d] + a->dim[d] : 0, dim);
      fill(&edge, c->attr[2].u.f, x);
    }
    dim[d] = a->dim[d];
    inner = part_of(&inner, d, low[d], dim);
  }
  kd__copy_strided(a, &inner, x);
}
