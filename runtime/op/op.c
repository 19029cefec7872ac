/* op.c: the operator and element-type tables as data. */
#include "runtime/op/op.h"

static const struct { const char *name; size_t size; bool real; } dtypes[] = {
#define KD_DTYPE(ID, name, ctype, bytes, fl) [KD_##ID] = { name, bytes, fl },
#include "runtime/op/dtypes.def"
#undef KD_DTYPE
};

const char *kd__dtype_name(kd_dtype t) { return dtypes[t].name; }
size_t kd__dtype_size(kd_dtype t) { return dtypes[t].size; }
bool kd__dtype_real(kd_dtype t) { return dtypes[t].real; }

bool kd__dtype_parse(const char *s, size_t n, kd_dtype *out) {
  for (int i = 0; i < KD_DTYPE_COUNT; i++)
    if (strlen(dtypes[i].name) == n && memcmp(dtypes[i].name, s, n) == 0) { *out = (kd_dtype)i; return true; }
  return false;
}

int64_t kd__type_count(const kd_type *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    if (__builtin_mul_overflow(n, t->dim[i], &n)) return -1;
  return n;
}

bool kd__same_shape(const kd_type *a, const kd_type *b) {
  return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof(int64_t) * a->rank) == 0;
}

bool kd__type_equal(const kd_type *a, const kd_type *b) { return a->dtype == b->dtype && kd__same_shape(a, b); }

#define AI(x) { #x, 'i' },
#define AF(x) { #x, 'f' },
#define AL(x) { #x, 'I' },
#define AT(x) { #x, 't' },
#define AG(x) { #x, 'g' },
#define COUNT_ATTRS(...) (int)(sizeof((kd_attr_spec[]){ { 0, 0 }, __VA_ARGS__ }) / sizeof(kd_attr_spec) - 1)
static const kd_op_info ops[KD_OP_COUNT] = {
#define KD_OP(ID, nm, class, in, out, attrs, shape, grad, df, lay, text) \
  [KD_OP_##ID] = { .name = #nm, .cls = KD_CLASS_##class, .nin = in, .nout = out, .attr = { attrs { 0, 0 } }, \
                   .nattr = COUNT_ATTRS(attrs), .diff = df, .layout = KD_LAYOUT_##lay, .doc = text },
#include "runtime/op/ops.def"
#undef KD_OP
};

const kd_op_info *kd__op_info(kd_op op) { return &ops[op]; }

bool kd__op_parse(const char *name, size_t n, kd_op *out) {
  for (int i = 0; i < KD_OP_COUNT; i++)
    if (strlen(ops[i].name) == n && memcmp(ops[i].name, name, n) == 0) { *out = (kd_op)i; return true; }
  return false;
}
