/* op.h: element types, static shapes, attributes and the operator table. Shared by compiler and runtime; knows no graph. */
#ifndef KD_OP_H
#define KD_OP_H
#include "runtime/base/base.h"

typedef enum kd_dtype {
#define KD_DTYPE(ID, name, ctype, bytes, fl) KD_##ID,
#include "runtime/op/dtypes.def"
#undef KD_DTYPE
  KD_DTYPE_COUNT
} kd_dtype;
const char *kd__dtype_name(kd_dtype t);
size_t      kd__dtype_size(kd_dtype t);
bool        kd__dtype_real(kd_dtype t);
bool        kd__dtype_parse(const char *s, size_t n, kd_dtype *out);

/* The one place that bounds the rank; shapes beyond it get a diagnostic. */
#define KD_MAX_RANK 16
typedef struct kd_type { uint8_t dtype, rank; int64_t dim[KD_MAX_RANK]; } kd_type;   /* unused dims are 0 */
int64_t kd__type_count(const kd_type *t);        /* number of elements; -1 on overflow of int64 */
bool    kd__type_equal(const kd_type *a, const kd_type *b);
bool    kd__same_shape(const kd_type *a, const kd_type *b);

typedef enum kd_op {
#define KD_OP(ID, ...) KD_OP_##ID,
#include "runtime/op/ops.def"
#undef KD_OP
  KD_OP_COUNT
} kd_op;
typedef enum kd_op_class { KD_CLASS_LEAF, KD_CLASS_ELEM, KD_CLASS_REDUCE, KD_CLASS_NORM, KD_CLASS_CONTRACT, KD_CLASS_VIEW, KD_CLASS_MOVE, KD_CLASS_OPAQUE, KD_CLASS_RANDOM } kd_op_class;
typedef enum kd_op_layout { KD_LAYOUT_ANY, KD_LAYOUT_DENSE, KD_LAYOUT_CONV } kd_op_layout;

/* One attribute value. Kind as in ops.def: 'i', 'f', 'I', 't', 'g'. Lists are owned by whoever owns the node; a graph is a loop's body, which
 * only the compiler looks into. */
struct kd_graph;
typedef struct kd_attr { char kind; uint32_t n; union { int64_t i; double f; const int64_t *list; const struct kd_graph *graph; } u; } kd_attr;
enum { KD_MAX_ATTRS = 8 };
typedef struct kd_attr_spec { const char *name; char kind; } kd_attr_spec;

typedef struct kd_op_info {
  const char *name; kd_op_class cls; int nin, nout;
  kd_attr_spec attr[KD_MAX_ATTRS];               /* in the row's order; ends at the first NULL name */
  int nattr;
  int diff; kd_op_layout layout; const char *doc;
} kd_op_info;
const kd_op_info *kd__op_info(kd_op op);         /* a row of the constant table */
bool kd__op_parse(const char *name, size_t n, kd_op *out);
#endif
