/* elem.h: element-wise kernels: one function a (operator, type), over contiguous runs. Internal to kernels/. */
#ifndef KD_KERNELS_ELEM_H
#define KD_KERNELS_ELEM_H
#include "runtime/kernels/par.h"

/* o[i] = f(a[i], b[i], c[i]); o may be one of the operands when the element sizes agree; operands not used are NULL. */
typedef void (*kd__elem_fn)(int64_t n, void *o, const void *a, const void *b, const void *c);

/* The function for an operator on operands of type t (for `where`: of the values; for `cast`: from t to `to`). NULL: none. */
kd__elem_fn kd__elem_basic(kd_op op, kd_dtype t);
kd__elem_fn kd__elem_math(kd_op op, kd_dtype t);
kd__elem_fn kd__elem_cast(kd_dtype t, kd_dtype to);

bool kd__elem_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__elem_run(const kd_call *c, const kd_exec *x);
bool kd__elem_checked_takes(const kd_call *c, const kd_kernel_settings *s);    /* idiv and rem of i64: a divisor of 0 is reported */
void kd__elem_checked_run(const kd_call *c, const kd_exec *x);
#endif
