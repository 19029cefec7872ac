/* group_plan.h: what the compiler of tile programs knows while it works (group_shape.c, group_pairs.c, group_nodes.c, group_plan.c). Internal to kernels/. */
#ifndef KD_KERNELS_GROUP_PLAN_H
#define KD_KERNELS_GROUP_PLAN_H
#include "runtime/kernels/group_tile.h"

enum { KD__TILE_SHORT = 32, KD__TILE_FEW = 128 };
#define KD__NO_NODE UINT32_MAX

/* An instruction, on merged axes. Beside the group's own there are copies that spread a small value over a larger domain (`expand`). */
typedef struct kd__node {
  kd_group_ins v;
  uint32_t nin, in[4], order;                    /* operands: nodes; order: the instruction's number */
  uint16_t walk;                                 /* the phase in which it is computed */
  bool final, expand, view, hoisted, fixed, kept, gone;
  /* Two operators at once. ELEM: `op` of the first two operands, then `pair` of that and what follows; REDUCE: the sum of a product. */
  kd_op pair; bool swapped;                      /* KD_OP_COUNT: none */
  bool scaled;                                   /* a product of in[0] and in[1], less in[2], then `pair` */
  uint64_t lists;                                /* phases that compute it */
  uint32_t store;                                /* the STORE whose output it writes at once */
  /* where its value lies */
  uint32_t slot;
  int64_t offset, stride[KD_GROUP_AXES];         /* bytes */
  int64_t bytes, state;                          /* of its memory; offset of a reduction's accumulators */
  uint32_t state_slot, last_use;
} kd__node;

typedef struct kd__tiling {
  const kd_group *g;
  kd__tile_program *p;
  kd__arena *a;
  int32_t axis[KD_GROUP_AXES];                   /* merged axis of an axis; -1: of size 1 */
  int64_t (*stride)[KD_GROUP_AXES];              /* of operands, on merged axes, elements */
  uint32_t multi;                                /* axes of several tiles */
  uint32_t *node_of, *mate, *scale;              /* by instruction; what it is computed with */
  KD_VEC(kd__node) node;
  KD_VEC(kd__tile_slot) slot;
  KD_VEC(char) pool;
  KD_VEC(kd__tile_final) final;
} kd__tiling;

/* group_shape.c */
void kd__tiling_axes(kd__tiling *t);             /* merges axes, chooses tiles and chunks */
uint32_t kd__tiling_mask(const kd__tiling *t, uint32_t axes);
/* A nest over the axes `axes` of a tile with `args` strides each; NULL level: only counts. Returns the number of levels. */
uint32_t kd__tiling_nest(const kd__tiling *t, uint32_t axes, uint32_t variant, uint32_t args, const int64_t (*stride)[KD_GROUP_AXES], kd__tile_level *level);
/* Strides of a dense layout of a tile over `axes`; `whole`: of all pieces. Returns the number of elements. */
int64_t kd__tiling_dense(const kd__tiling *t, uint32_t axes, bool whole, int64_t size, int64_t *stride);

/* group_pairs.c */
int kd__tiling_last(const kd__tiling *t, uint32_t axes);
void kd__tiling_pairs(kd__tiling *t);            /* mate, scale */
void kd__tiling_join(const kd__tiling *t, uint32_t i, kd__node *v);

/* group_nodes.c */
void kd__tiling_nodes(kd__tiling *t);            /* nodes, their phases, what is read and written in place */
uint32_t kd__elem_mask(const kd__tiling *t, const kd__node *v, kd__tile_level *level, uint32_t *levels);

/* group_plan.c: storage and steps: kd__tile_compile */
#endif
