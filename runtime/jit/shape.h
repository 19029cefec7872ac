/* shape.h: a group as this code maker walks it: which axis lies in the lanes of vectors, which values are made where, what is kept in memory.
 *
 * A function's body is: what all points share (scope ENTRY); a loop over the outer axes without the vectors' axis (what depends on them: ROW); a loop
 * over blocks of the vectors' axis, where that is an outer one (UNIT). Within a scope: nests of loops over inner axes, in the order of phases. Each
 * nest makes what its roots need (stores, reductions, checks, buffers); cheap values are made again in each, others are kept in a buffer. */
#ifndef KD_JIT_SHAPE_H
#define KD_JIT_SHAPE_H
#include "runtime/kernels/jit.h"

enum { KDJ_ENTRY, KDJ_ROW, KDJ_UNIT, KDJ_SCOPES };
enum { KDJ_MAX_LANES = 64, KDJ_SINGLE = 4096, KDJ_WAYS = 4 };         /* KDJ_SINGLE: most elements summed in single precision; KDJ_WAYS: most rows at once */

typedef struct kdj_ins {
  kd_group_ins v;                                /* axes as this code maker numbers them */
  uint32_t nops, points;                         /* points: the axes of what a root walks over; of a value: its domain */
  uint16_t phase;
  uint8_t scope;
  bool final, live, kept, shares, told, was;                /* live: made at the level of its scope; kept: the root of a nest that fills its buffer; shares: a STORE
                                                  that may go to an input's memory; told: nobody reads it, but it may be a fault; was: a
                                                  reduction, of one element */
  int32_t buffer;                                /* or -1 */
} kdj_ins;

typedef struct kdj_buffer { uint32_t ins, axes; int64_t at, count, stride[KD_GROUP_AXES]; bool vec; uint8_t dtype; } kdj_buffer;

typedef struct kdj_nest {
  uint8_t scope;
  uint16_t phase;
  uint32_t axes, over, n, order[KD_GROUP_AXES];  /* inner axes: a loop each; the innermost of them are reduced (over) */
  bool by_rows;                                  /* what is reduced comes first: sums stand in their buffers, and memory is read in its order */
  KD_VEC(uint32_t) root;                         /* instructions, sorted */
  KD_VEC(uint32_t) need;                         /* values to be made or read from buffers here, sorted */
} kdj_nest;

typedef struct kdj_shape {
  kd_group g;
  kdj_ins *ins;
  int v;                                         /* the vectors' axis; -1: there is none */
  bool v_outer;
  int64_t nvec;                                  /* whole vectors along v */
  uint32_t lanes, rest;                          /* of the last one, if it is not whole: its lanes */
  uint32_t row_axes, inner;                      /* masks */
  int64_t rows;
  uint32_t ways;                                 /* rows that a unit walks side by side, so that the chain of one is not waited for */
  bool cut_vec;                                  /* units are blocks of v, not rows */
  bool far;                                      /* what the next unit needs is asked for: rows are short, and all of them do not fit the nearer caches */
  KD_VEC(kdj_nest) nest;
  KD_VEC(kdj_buffer) buffer;
  KD_VEC(kd_jit_final) final;
  KD_VEC(kd_jit_store) store;
  int32_t *final_of;                             /* instruction -> index of final, or -1 */
  int64_t (*kept)[KD_GROUP_AXES];                /* of each final: the stride of its results along an axis */
  int64_t units, chunks, tile, slots, nlanes;
  size_t scratch, way_bytes;                     /* of all ways; what one of them has for itself */
} kdj_shape;

/* NULL with a reason: a group that this code maker does not take. All memory comes from the arena. */
kdj_shape *kdj_shape_make(const kd_group *g, kd__arena *a, char *why, size_t n);
uint32_t kdj_cost(const kd_group_ins *v);        /* in vector operations, about */
static inline bool kdj_vec(const kdj_shape *s, uint32_t axes) { return s->v >= 0 && (axes >> s->v & 1); }
#endif
