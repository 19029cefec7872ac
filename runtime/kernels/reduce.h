/* reduce.h: reductions of f32 over any axes. Internal to kernels/.
 *
 * A reducer's state is two doubles an output (and the number of elements seen). Blocks of at most KD__BLOCK_ROWS rows or KD__BLOCK_ROW
 * elements are summed in single precision; blocks are combined in double, in order, so long sums stay accurate. */
#ifndef KD_KERNELS_REDUCE_H
#define KD_KERNELS_REDUCE_H
#include "runtime/kernels/par.h"

enum { KD__BLOCK_ROW = 4096, KD__BLOCK_ROWS = 64, KD__STRIP = 512 };
typedef struct kd__reducer {
  /* The state of one contiguous run of n <= KD__BLOCK_ROW elements. */
  void (*row)(const float *p, int64_t n, double *a, double *b);
  /* The states of n <= KD__STRIP neighbouring columns over `rows` <= KD__BLOCK_ROWS rows. */
  void (*cols)(const float *p, int64_t stride, int64_t rows, int64_t n, double *a, double *b);
  /* (a, b) of na elements becomes the state of it and (c, d) of nb > 0 elements; na may be 0: then (a, b) holds nothing. */
  void (*merge)(int64_t n, double *a, double *b, int64_t na, const double *c, const double *d, int64_t nb);
  /* The result; `second` for moments only. count 0: the value of the empty reduction. */
  void (*finish)(double a, double b, int64_t count, float *first, float *second);
} kd__reducer;
const kd__reducer *kd__reducer_find(kd_op op);   /* NULL: none */

/* Largest of n > 0 contiguous elements, NaN wins; sum of e^(p[i] - m) for i < n, stored to `o` unless it is NULL. */
float kd__row_max(const float *p, int64_t n);
double kd__row_exp(const float *p, int64_t n, float m, float *o);

/* The sums, largest or smallest (op) of n columns of `rows` > 0 elements, in single precision. */
void kd__columns(kd_op op, const float *p, int64_t stride, int64_t rows, int64_t n, float *o);

bool kd__reduce_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__reduce_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__reduce_run(const kd_call *c, const kd_exec *x);

bool kd__logic_takes(const kd_call *c, const kd_kernel_settings *s);       /* any, all; sum, max, min of i64 */
void kd__logic_run(const kd_call *c, const kd_exec *x);
bool kd__arg_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__arg_run(const kd_call *c, const kd_exec *x);

bool kd__softmax_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__softmax_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__softmax_run(const kd_call *c, const kd_exec *x);
bool kd__cumsum_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__cumsum_run(const kd_call *c, const kd_exec *x);

/* Bit d is set where axis d is reduced. */
static inline uint32_t kd__axes_mask(const kd_attr *a) {
  uint32_t m = 0;
  for (uint32_t i = 0; i < a->n; i++) m |= 1u << a->u.list[i];
  return m;
}
#endif
