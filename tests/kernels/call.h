/* call.h: building calls of kernels from text, in any layout, and comparing a fast kernel with its naive twin. */
#ifndef KD_TEST_KERNEL_CALL_H
#define KD_TEST_KERNEL_CALL_H
#include "runtime/kernels/kernel.h"

enum { T_MAX = 4, T_ATTRS = KD_MAX_ATTRS };
/* A tensor with room around its elements; `whole` is filled with a pattern, so that stray writes show. */
typedef struct t_tensor { kd_tensor t; int64_t dim[KD_MAX_RANK], stride[KD_MAX_RANK]; unsigned char *whole; size_t size; } t_tensor;
typedef struct t_case {
  kd_op op;
  uint32_t nin, nout;
  kd_type in[T_MAX], out[T_MAX];
  kd_attr attr[T_ATTRS];
  int64_t lists[T_ATTRS][KD_MAX_RANK];
} t_case;
typedef enum t_layout { T_DENSE, T_NHWC, T_RANDOM, T_BROADCAST, T_LAYOUTS } t_layout;

/* "conv", "f32[2,3,8,8] f32[4,3,3,3]", "f32[2,4,8,8]", "stride=1,1 pad_lo=1,1 ...". False on a mistake in the text. */
bool t_parse(t_case *c, const char *op, const char *in, const char *out, const char *attrs);

uint64_t t_random(uint64_t *state);
double t_uniform(uint64_t *state);
/* A tensor of this type; broadcast strides only where `operand`. */
void t_make(t_tensor *o, const kd_type *type, t_layout layout, bool operand, uint64_t *state);
void t_free(t_tensor *o);
/* Fills with values that suit operand i of the case; `special`: also infinities, NaN, zeros, denormals. */
void t_fill(t_tensor *o, const t_case *c, uint32_t i, bool special, uint64_t *state);
double t_load(const kd_tensor *t, int64_t k);      /* element k in row-major order */
int64_t t_count(const kd_tensor *t);

typedef struct t_settings { int threads; bool deterministic, dnnl, winograd; } t_settings;
/* Runs the kernel that the table chooses (or the twin) and returns its name: large calls as a program of its own,
 * or, where order is fixed, without a team. */
const char *t_run(const t_case *c, const t_tensor *in, t_tensor *out, t_settings s, bool twin);
/* The same within kd__team_run. */
const char *t_run_with(const t_case *c, const t_tensor *in, t_tensor *out, t_settings s, kd__team *team);
/* "" when `a` agrees with `want` within tol * (|want| + largest |want|), or for tol < 0 within |tol| * |want|; otherwise says where not. */
const char *t_compare(const t_tensor *a, const t_tensor *want, double tol);
bool t_same_bits(const t_tensor *a, const t_tensor *b);
/* Bytes outside of the tensor's elements are as t_make left them. */
bool t_untouched(const t_tensor *a);
#endif
