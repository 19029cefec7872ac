/* jit.h: native code for groups: what the loader (jit.c) and the plug-in (runtime/jit) say to each other. Nothing else pays for LLVM: the plug-in is
 * opened when a program asks for native code, and is never linked. */
#ifndef KD_KERNELS_JIT_H
#define KD_KERNELS_JIT_H
#include "runtime/kernels/group.h"
#include "runtime/kernels/kernel.h"

enum { KD_JIT_ABI = 1 };                         /* of this header: a plug-in of another build is refused */

/* What a chunk function gets besides its range. `fault` is told of the lanes in `mask` that hold bad values; lane k is element number + k * step of
 * the instruction's domain. `helper` are functions over runs of values that stand in no loop of their own. */
typedef struct kd_jit_args {
  void *const *operand;                          /* inputs, then outputs */
  void (*fault)(const struct kd_jit_args *a, uint32_t ins, const int64_t *value, uint64_t mask, int64_t number, int64_t step);
  const kd_exec *x;
  const kd_group *g;
  const void *const *helper;
} kd_jit_args;
/* Units begin..end-1. `slot`: the chunk's partial results of final reductions, 8 bytes each; `lane`: the same in single precision for this call alone. */
typedef void (*kd_jit_fn)(const kd_jit_args *a, int64_t begin, int64_t end, double *slot, float *lane, void *scratch);

/* A final reduction. Tiled: a call leaves sums of single precision (of moments: a first value, the sum and the sum of squares of differences from it)
 * in `lane`, which its caller adds to the slots. Moments in slots: number, mean and squares if tiled, else number, sum and sum of squares. */
typedef struct kd_jit_final {
  uint16_t op; uint8_t dtype; bool tiled;
  int64_t count, per_unit;                       /* results; tiled moments: elements that one unit adds to a result */
  int64_t slot, lane;                            /* where its slots and lanes begin */
} kd_jit_final;
typedef struct kd_jit_store {                    /* a final result and the output it goes to */
  uint32_t final, operand;
  uint8_t dtype, rank;
  bool spread;                                   /* of moments: the variance */
  int64_t dim[KD_GROUP_AXES], from[KD_GROUP_AXES], to[KD_GROUP_AXES];            /* strides in results, and in the output */
} kd_jit_store;

typedef struct kd_jit_code {
  kd_jit_fn fn;
  int64_t units, chunks, tile;                   /* tile: most units a call; 0: any */
  int64_t slots, lanes;                          /* a chunk's slots; lanes of a thread */
  size_t scratch;                                /* bytes of a thread, a multiple of 64 */
  uint32_t nfinal, nstore;
  const kd_jit_final *final;
  const kd_jit_store *store;
} kd_jit_code;

/* What the plug-in can do: found by the name kd_jit_plugin_entry. */
typedef struct kd_jit_plugin {
  uint32_t abi;
  const char *(*about)(void);                    /* "LLVM 19.1.7, znver4, vectors of 512 bits" */
  /* Code for the groups, from the folder of compiled groups (NULL: none) where it is there. KD_E_UNAVAILABLE with a reason: out[i] is NULL for what
   * cannot be compiled. Any thread may call; release when nothing runs the code any more. */
  kd_status (*compile)(const kd_group *const *g, size_t n, const char *folder, kd_jit_code **out, char *why, size_t nwhy);
  void (*release)(kd_jit_code *code);
  bool (*takes)(const kd_group *g);              /* can it be compiled? */
  bool (*print)(const kd_group *g, kd__buf *out, char *why, size_t n);         /* what LLVM makes of it */
  const void *const *helper;
} kd_jit_plugin;
#endif
