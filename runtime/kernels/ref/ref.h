/* ref.h: what the naive twins share. Written for clearness: every element goes through load and store, every loop over an index.
 *
 * Real elements are computed in double, i64 in int64 with wrap-around, u8 and bool through int64. Operators that only order or pick
 * elements use kd__wide, which holds every double and every int64 exactly, so that one loop serves all element types. */
#ifndef KD_REF_H
#define KD_REF_H
#include "runtime/kernels/kernel.h"
#include <float.h>

typedef long double kd__wide;
#if LDBL_MANT_DIG < 64
#error "kd__wide must hold every int64: the ordering twins need another carrier here"
#endif

double   kd__ref_load(const kd_tensor *t, int64_t at);                 /* element at offset `at` (in elements) as a double */
int64_t  kd__ref_loadi(const kd_tensor *t, int64_t at);                /* of an integer tensor */
kd__wide kd__ref_loadw(const kd_tensor *t, int64_t at);                /* of any tensor, exactly; NaN stays NaN */
void     kd__ref_store(const kd_tensor *t, int64_t at, double v);      /* to integers: cut off, held at the type's ends, NaN is 0; to bool: not 0 */
void     kd__ref_storei(const kd_tensor *t, int64_t at, int64_t v);
void     kd__ref_storew(const kd_tensor *t, int64_t at, kd__wide v);   /* v came from loadw of a tensor of the same type */
void     kd__ref_put(const kd_tensor *to, int64_t at, const kd_tensor *from, int64_t from_at); /* one element, equal types, bit by bit */
static inline bool kd__ref_real(const kd_tensor *t) { return kd__dtype_real((kd_dtype)t->dtype); }

int64_t  kd__ref_count(const int64_t *dim, int rank);
int64_t  kd__ref_offset(const int64_t *stride, const int64_t *index, int rank);
/* The next multi-index in row-major order. Loops run `count` times, so that rank 0 and empty tensors need no special case. */
void     kd__ref_next(int64_t *index, const int64_t *dim, int rank);

/* A set of positions with an offset each: some axes of a tensor. */
typedef struct kd__ref_axes { int rank; int64_t count, dim[KD_MAX_RANK], stride[KD_MAX_RANK]; } kd__ref_axes;
/* Splits t's axes into those listed in `axes` (in) and the others (rest), both in increasing order. */
void     kd__ref_split(const kd_tensor *t, const int64_t *axes, uint32_t n, kd__ref_axes *rest, kd__ref_axes *in);
/* The offset of the k-th position in row-major order. */
int64_t  kd__ref_pos(const kd__ref_axes *a, int64_t k);
static inline kd__ref_axes kd__ref_every(const kd_tensor *t) { kd__ref_axes r, none; kd__ref_split(t, NULL, 0, &r, &none); return r; }

#define KD_OP(ID, name, ...) void kd__ref_##name(const kd_call *c, const kd_exec *x);
#include "runtime/op/ops.def"
#undef KD_OP
#endif
