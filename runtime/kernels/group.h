/* group.h: a fused group: what one walk over an iteration space computes. The compiler makes groups (compiler/fuse decides, the planner lowers
 * them when strides are known); kernels run them: the tile interpreter, native code made by LLVM, and the naive twin, from the same description.
 *
 * The space has `rank` axes, in loop order: the last one lies closest in memory for most operands. A value varies over some of the axes, its
 * *domain*, a bit mask; every instruction makes one value (STORE and CHECK make none) from earlier ones. Axes are *outer* or *inner* (`outer` is a
 * mask). An outer point is a piece of work of its own: outer axes are cut into chunks and tiles, inner axes are always walked whole.
 *
 *  - A reduction over inner axes alone ("inner") is complete within an outer point: later instructions may read it (softmax of a row, the length of
 *    a sample). It ends a *phase*: phase(x) is the largest phase of x's operands, plus one where x is an inner reduction's result.
 *  - A reduction over outer axes, with or without inner ones ("final"), is complete when all chunks are done: only STOREs may read it.
 *  - Instructions are sorted by phase. A value whose domain has no outer axis is the same for all chunks.
 *
 * Memory: LOAD and STORE go to operands, each with a stride (elements, any sign, 0 outside of its domain) for each axis; several operands may be
 * views of one memory. An output never shares memory with an input but where kd__group_may_share allows it, and then exactly: same address, same
 * strides. Every element of an output is stored once.
 *
 * Bits: chunks depend on the group alone, never on the number of threads; partial results of final reductions are added in the order of chunks.
 * So the bits do not depend on threads. Sums are as exact as those of the reduce kernels (docs/kernels.md): at most 4096 elements in single precision
 * for one partial sum, partial sums in double precision. */
#ifndef KD_KERNELS_GROUP_H
#define KD_KERNELS_GROUP_H
#include "runtime/op/op.h"

enum { KD_GROUP_AXES = 16, KD_GROUP_MAX_INS = 4096 };

typedef enum kd_group_kind {
#define KD_GROUP_INS(ID, name, nin, doc) KD_GROUP_##ID,
#include "runtime/kernels/group.def"
#undef KD_GROUP_INS
  KD_GROUP_KINDS
} kd_group_kind;

typedef struct kd_group_ins {
  uint8_t kind;
  uint8_t dtype;                                 /* of the value; of STORE: of the memory */
  uint16_t op;                                   /* ELEM, REDUCE: kd_op */
  uint32_t in[3];                                /* indices of earlier instructions */
  uint32_t operand;                              /* LOAD, GATHER: input; STORE: output */
  uint32_t axes;                                 /* domain of the value; of STORE: of what it stores, maybe more than the value's */
  uint32_t over;                                 /* REDUCE: axes; IOTA: the bit of the one axis */
  double value;                                  /* CONST */
  int64_t limit, step;                           /* GATHER: the indexed dimension and its stride in elements; CHECK: the limit */
  uint32_t origin;                               /* for faults */
} kd_group_ins;

typedef struct kd_group {
  uint32_t rank, outer;                          /* outer: mask */
  int64_t size[KD_GROUP_AXES];                   /* all at least 1 */
  const kd_group_ins *ins; uint32_t nins;
  uint32_t nin, nout;                            /* operands */
  const int64_t (*stride)[KD_GROUP_AXES];        /* [nin + nout]: inputs, then outputs */
  const uint8_t *dtype;                          /* [nin + nout] */
  uint64_t hash;                                 /* of everything above but origins: names compiled code */
} kd_group;

/* The number of operands in in[]. Is the value complete only when all chunks are done? */
uint32_t kd__group_operands(const kd_group_ins *v);
bool kd__group_final(const kd_group *g, uint32_t i);
/* The phases of all instructions; returns the largest. */
uint32_t kd__group_phases(const kd_group *g, uint16_t *phase);

/* What it takes to compute, in elements of simple operators. */
double kd__group_effort(const kd_group *g);

/* May output `out` lie in the memory of input `in`? So when both have the same element type, domain and strides, the domain has every outer axis
 * of more than one element, `in` is not gathered from, every LOAD of `in` and every instruction that uses one stands before the STORE, and what is
 * made from an element of `in` is not made again at a later time: it has no axis that the STORE lacks and, but for reductions, no later phase. */
bool kd__group_may_share(const kd_group *g, uint32_t in, uint32_t out);

/* Is the group well-formed: operands before users, domains as the operators make them, phases sorted, final reductions only stored? `why` says
 * what is not. Whatever the bytes are: kernels trust what this passes. */
bool kd__group_valid(const kd_group *g, char *why, size_t n);

uint64_t kd__group_hash(const kd_group *g);      /* what `hash` is to be */

/* "axes 128 x 10, outer 0; v0 = load a ..." for --dump=plan and tests. */
void kd__group_print(const kd_group *g, kd__buf *out);
#endif
