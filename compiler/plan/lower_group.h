/* lower_group.h: what group.c (axes) and group_ins.c (instructions) share. */
#ifndef KD_PLAN_LOWER_GROUP_H
#define KD_PLAN_LOWER_GROUP_H
#include "compiler/fuse/space.h"
#include "compiler/plan/planner.h"
#include "runtime/kernels/group.h"

typedef struct kd__pl_voter { int64_t count, stride[KD__SPACE_ATOMS]; } kd__pl_voter;
typedef struct kd__pl_input { uint32_t view; uint64_t atoms; bool gathered; int64_t stride[KD__SPACE_ATOMS]; } kd__pl_input;

typedef struct kd__pl_lowering {
  kd__planner *p;
  const kd_node *node;
  const kd_graph *body;
  kd__space s;
  KD_VEC(kd__pl_voter) voter;                    /* largest first */
  KD_VEC(kd__pl_input) input;
  uint32_t *input_of;                            /* by entry */
  uint32_t *result, n_out;                       /* entries */
  int64_t (*out_stride)[KD__SPACE_ATOMS];
  uint64_t all, outer, apart;                    /* atoms; apart: positions along them are computed with */
  uint8_t order[KD__SPACE_ATOMS], rank_of[KD__SPACE_ATOMS], axis_of[KD__SPACE_ATOMS]; int n;
} kd__pl_lowering;

uint64_t kd__pl_place_atoms(const kd__place *p);
void kd__pl_atom_strides(const kd__space *s, const kd__place *p, const int64_t *stride, int64_t *to);
void kd__pl_find_apart(kd__pl_lowering *l);
void kd__pl_instructions(kd__pl_lowering *l, kd_group *g);
#endif
