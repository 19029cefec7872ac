/* shape.h: what the shape rules share. Internal to ir/. A rule checks operands and attributes and fills the result types;
 * shape.c has already checked arity and attribute kinds, and afterwards checks what holds of any result (rank, size in bytes).
 * Texts number operands from 1, axes from 0. */
#ifndef KD_IR_SHAPE_H
#define KD_IR_SHAPE_H
#include "compiler/ir/graph.h"

typedef struct kd__shape_call {
  kd_op op;
  const kd_op_info *info;
  const kd_type *const *in; uint32_t nin;
  const kd_attr *attr;
  kd_type *out;
  kd_shape_error *err;
} kd__shape_call;

/* One rule a name in the `shape` column of ops.def: a row without its rule does not link. */
#define KD_OP(ID, name, cls, nin, nout, attrs, shape, ...) bool kd__shape_##shape(const kd__shape_call *c);
#include "runtime/op/ops.def"
#undef KD_OP

/* Sets of element types, as bits. */
#define KD__SET(t) (1u << (t))
enum {
  KD__REAL = KD__SET(KD_F32) | KD__SET(KD_F64),
  KD__ARITH = KD__REAL | KD__SET(KD_I64),
  KD__ORDERED = KD__ARITH | KD__SET(KD_U8),
  KD__EVERY = KD__ORDERED | KD__SET(KD_BOOL)
};

/* Writes the text and gives false, so that rules can `return kd__no(...)`. */
bool kd__no(const kd__shape_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool kd__no_memory(const kd__shape_call *c);                                       /* that the result is too large */
const kd_attr *kd__shape_attr(const kd__shape_call *c, const char *name);
int64_t        kd__shape_int(const kd__shape_call *c, const char *name);
kd_dtype       kd__shape_dtype(const kd__shape_call *c);

bool kd__need_dtype(const kd__shape_call *c, uint32_t operand, unsigned set);
bool kd__need_one_dtype(const kd__shape_call *c, uint32_t first);                  /* operands first.. agree */
bool kd__need_one_shape(const kd__shape_call *c);
bool kd__need_rank(const kd__shape_call *c, uint32_t operand, int least);
bool kd__need_axis(const kd__shape_call *c, const char *name, int rank, int64_t *axis);
bool kd__need_axes(const kd__shape_call *c, const char *name, int rank, uint32_t *set);   /* in range, no two equal; as bits */
bool kd__need_flag(const kd__shape_call *c, const char *name);                     /* 0 or 1 */
bool kd__need_list(const kd__shape_call *c, const char *name, int n, int64_t least, const int64_t **list);
bool kd__need_value(const kd__shape_call *c, double v, kd_dtype t);                /* v exists in t */
/* Result type with the sizes of a list; for the attribute `shape`. */
bool kd__shape_sizes(const kd__shape_call *c, const char *name, kd_dtype t, kd_type *out);
/* `in` without the axes in the set, elements of type t. */
void kd__shape_drop(const kd_type *in, uint32_t axes, kd_dtype t, kd_type *out);
#endif
