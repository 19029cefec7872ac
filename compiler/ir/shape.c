/* shape.c: shape inference: what holds of every operator, and the checks that the rules share. */
#include "compiler/ir/shape.h"
#include <stdio.h>

typedef bool (*rule_fn)(const kd__shape_call *c);
static const rule_fn rules[KD_OP_COUNT] = {
#define KD_OP(ID, name, cls, nin, nout, attrs, shape, ...) [KD_OP_##ID] = kd__shape_##shape,
#include "runtime/op/ops.def"
#undef KD_OP
};

/* Larger values could not be addressed; and sums of a few sizes then stay inside int64. */
static const int64_t max_bytes = (int64_t)1 << 62;

bool kd__no(const kd__shape_call *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(c->err->text, sizeof c->err->text, fmt, ap);
  va_end(ap);
  return false;
}

static const char too_large[] = "the result is too large for memory";
bool kd__no_memory(const kd__shape_call *c) { return kd__no(c, "%s", too_large); }
bool kd__is_too_large(const kd_shape_error *err) { return strcmp(err->text, too_large) == 0; }

const kd_attr *kd__shape_attr(const kd__shape_call *c, const char *name) {
  for (int i = 0; i < c->info->nattr; i++)
    if (strcmp(c->info->attr[i].name, name) == 0) return &c->attr[i];
  return NULL;
}
int64_t kd__shape_int(const kd__shape_call *c, const char *name) { return kd__shape_attr(c, name)->u.i; }
kd_dtype kd__shape_dtype(const kd__shape_call *c) { return (kd_dtype)kd__shape_attr(c, "dtype")->u.i; }

/* --- operands ------------------------------------------------------------------------------------------------------ */

bool kd__need_dtype(const kd__shape_call *c, uint32_t operand, unsigned set) {
  unsigned t = c->in[operand]->dtype;
  if (set & KD__SET(t)) return true;
  char names[64] = "";
  for (int i = 0; i < KD_DTYPE_COUNT; i++) {
    if (!(set & KD__SET(i))) continue;
    if (names[0]) strcat(names, " or ");
    strcat(names, kd__dtype_name((kd_dtype)i));
  }
  return kd__no(c, "operand %u is %s; %s takes %s there", operand + 1, kd__dtype_name((kd_dtype)t), c->info->name, names);
}

bool kd__need_one_dtype(const kd__shape_call *c, uint32_t first) {
  for (uint32_t i = first + 1; i < c->nin; i++)
    if (c->in[i]->dtype != c->in[first]->dtype)
      return kd__no(c, "element types differ: %s in operand %u, %s in operand %u", kd__dtype_name((kd_dtype)c->in[first]->dtype), first + 1,
                    kd__dtype_name((kd_dtype)c->in[i]->dtype), i + 1);
  return true;
}

bool kd__need_one_shape(const kd__shape_call *c) {
  for (uint32_t i = 1; i < c->nin; i++) {
    const kd_type *a = c->in[0], *b = c->in[i];
    if (a->rank != b->rank) return kd__no(c, "ranks differ: %d in operand 1, %d in operand %u", a->rank, b->rank, i + 1);
    for (int d = 0; d < a->rank; d++)
      if (a->dim[d] != b->dim[d])
        return kd__no(c, "sizes of axis %d differ: %lld in operand 1, %lld in operand %u", d, (long long)a->dim[d], (long long)b->dim[d], i + 1);
  }
  return true;
}

bool kd__need_rank(const kd__shape_call *c, uint32_t operand, int least) {
  if (c->in[operand]->rank >= least) return true;
  return kd__no(c, "operand %u has rank %d; %s needs at least %d there", operand + 1, c->in[operand]->rank, c->info->name, least);
}

/* --- attributes ------------------------------------------------------------------------------------------------------ */

bool kd__need_axis(const kd__shape_call *c, const char *name, int rank, int64_t *axis) {
  *axis = kd__shape_int(c, name);
  if (*axis >= 0 && *axis < rank) return true;
  return kd__no(c, "%s is %lld; the rank is %d", name, (long long)*axis, rank);
}

bool kd__need_axes(const kd__shape_call *c, const char *name, int rank, uint32_t *set) {
  const kd_attr *a = kd__shape_attr(c, name);
  *set = 0;
  for (uint32_t i = 0; i < a->n; i++) {
    int64_t axis = a->u.list[i];
    if (axis < 0 || axis >= rank) return kd__no(c, "%s has %lld; the rank is %d", name, (long long)axis, rank);
    if (*set & 1u << axis) return kd__no(c, "%s has %lld twice", name, (long long)axis);
    *set |= 1u << axis;
  }
  return true;
}

bool kd__need_flag(const kd__shape_call *c, const char *name) {
  int64_t v = kd__shape_int(c, name);
  return v == 0 || v == 1 || kd__no(c, "%s is %lld; it is 0 or 1", name, (long long)v);
}

bool kd__need_list(const kd__shape_call *c, const char *name, int n, int64_t least, const int64_t **list) {
  const kd_attr *a = kd__shape_attr(c, name);
  *list = a->u.list;
  if (a->n != (uint32_t)n) return kd__no(c, "%s has %u entries; %d are needed", name, a->n, n);
  for (int i = 0; i < n; i++)
    if (a->u.list[i] < least) return kd__no(c, "%s has %lld; at least %lld is needed", name, (long long)a->u.list[i], (long long)least);
  return true;
}

bool kd__need_value(const kd__shape_call *c, double v, kd_dtype t) {
  bool fits = true;
  if (t == KD_I64) fits = v >= -0x1p63 && v < 0x1p63 && (double)(int64_t)v == v;
  if (t == KD_U8) fits = v >= 0 && v <= 255 && (double)(uint8_t)v == v;
  if (t == KD_BOOL) fits = v == 0 || v == 1;
  return fits || kd__no(c, "value %.17g is no %s", v, kd__dtype_name(t));
}

bool kd__shape_sizes(const kd__shape_call *c, const char *name, kd_dtype t, kd_type *out) {
  const kd_attr *a = kd__shape_attr(c, name);
  const int64_t *list;
  if (!kd__need_list(c, name, (int)a->n, 0, &list)) return false;
  *out = (kd_type){ .dtype = (uint8_t)t, .rank = (uint8_t)a->n };
  if (a->n) memcpy(out->dim, list, sizeof(int64_t) * a->n);
  return true;
}

void kd__shape_drop(const kd_type *in, uint32_t axes, kd_dtype t, kd_type *out) {
  *out = (kd_type){ .dtype = (uint8_t)t };
  for (int d = 0; d < in->rank; d++)
    if (!(axes & 1u << d)) out->dim[out->rank++] = in->dim[d];
}

/* --- inference ------------------------------------------------------------------------------------------------------ */

static bool check_arity(const kd__shape_call *c) {
  int want = c->info->nin, have = (int)c->nin;
  if (want == -3 || (want == -1 && have >= 1)) return true;
  if (want == -2 && (have == 1 || have == 2)) return true;
  if (want == have) return true;
  if (want == -1) return kd__no(c, "%s takes one operand or more, not %d", c->info->name, have);
  if (want == -2) return kd__no(c, "%s takes one or two operands, not %d", c->info->name, have);
  return kd__no(c, "%s takes %d operand%s, not %d", c->info->name, want, want == 1 ? "" : "s", have);
}

static bool check_attrs(const kd__shape_call *c) {
  for (int i = 0; i < c->info->nattr; i++) {
    const kd_attr *a = &c->attr[i];
    const char *name = c->info->attr[i].name;
    if (a->kind != c->info->attr[i].kind) return kd__no(c, "attribute %s is missing or of another kind", name);
    if (a->kind == 't' && (a->u.i < 0 || a->u.i >= KD_DTYPE_COUNT)) return kd__no(c, "%s is no element type", name);
    if (a->kind == 'I' && a->n > KD_MAX_RANK) return kd__no(c, "%s has %u entries; the rank is at most %d", name, a->n, KD_MAX_RANK);
  }
  return true;
}

static bool check_result(const kd__shape_call *c, const kd_type *t) {
  int64_t n = (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  for (int d = 0; d < t->rank; d++)               /* a size of 0 must not hide an overflow: sub-products are used too */
    if (t->dim[d] && (__builtin_mul_overflow(n, t->dim[d], &n) || n >= max_bytes)) return kd__no_memory(c);
  return true;
}

bool kd__infer(kd_op op, const kd_type *const *in, uint32_t nin, const kd_attr *attr, kd_type *out, kd_shape_error *err) {
  kd_shape_error ignored;
  if (!err) err = &ignored;
  err->text[0] = 0;
  kd__shape_call c = { op, kd__op_info(op), in, nin, attr, out, err };
  if (!check_arity(&c) || !check_attrs(&c) || !rules[op](&c)) return false;
  for (uint32_t i = 0; i < kd__result_count(op, attr); i++)
    if (!check_result(&c, &out[i])) return false;
  return true;
}
