/* group_random.h: fused groups made at random, all of them valid, with operands in any layout; and operands' memory. */
#ifndef KD_TEST_GROUP_RANDOM_H
#define KD_TEST_GROUP_RANDOM_H
#include "runtime/kernels/group.h"
#include "runtime/kernels/kernel.h"

enum { T_GROUP_INS = 96, T_GROUP_OPERANDS = 48 };
typedef struct t_group {
  kd_group g;
  kd_group_ins ins[T_GROUP_INS];
  int64_t stride[T_GROUP_OPERANDS][KD_GROUP_AXES];
  uint8_t dtype[T_GROUP_OPERANDS];
  int64_t limit[T_GROUP_OPERANDS], step[T_GROUP_OPERANDS];   /* of an operand that is gathered from: its indexed dimension; of indices: what they stay below */
  uint32_t axes[T_GROUP_OPERANDS];               /* domain */
  int32_t shares[T_GROUP_OPERANDS];              /* of an output: the input whose memory it has, or -1 */
} t_group;

/* The memory of one run. */
typedef struct t_memory { char *whole[T_GROUP_OPERANDS]; size_t size[T_GROUP_OPERANDS]; kd_tensor in[T_GROUP_OPERANDS], out[T_GROUP_OPERANDS]; int64_t none[1]; } t_memory;

/* `size`: about how many points. `real`: KD_F32 or KD_F64. */
void t_group_random(t_group *o, kd_dtype real, int64_t size, uint64_t *state);
/* Sets g's pointers to the arrays of o, and its hash. */
void t_group_close(t_group *o);
/* Inputs get values that depend on `seed` alone, gaps and outputs a pattern. */
void t_memory_make(t_memory *m, const t_group *o, uint64_t seed);
void t_memory_free(t_memory *m, const t_group *o);
/* Runs the kernel of the table (or the twin); returns its name, or what went wrong, with a blank in it. */
const char *t_group_run(const t_group *o, t_memory *m, int threads, bool twin, kd_fault *fault);
/* "" when all outputs agree within tol * (largest element of the output), and all other bytes are the same; tol < 0: the same bits. */
const char *t_memory_compare(const t_memory *a, const t_memory *want, const t_group *o, double tol);
#endif
