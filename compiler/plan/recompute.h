/* recompute.h: what the files of recomputation share (docs/plan.md, "A limit of memory"). Private to compiler/plan.
 *
 * A *candidate* says which values are thrown away after a point of the program, its *turn*, and made once more where they are read behind it. From it
 * follows a sequence of *instances*: instance i < n is node i of the graph, instance n + i is node i made once more. What a sequence takes is
 * estimated without a plan: views cost nothing, element-wise results take over an operand that dies, slots are not counted. */
#ifndef KD_RECOMPUTE_H
#define KD_RECOMPUTE_H
#include "compiler/ir/graph.h"

typedef struct kd__rc {
  const kd_graph *g;
  uint32_t n;                                    /* nodes */
  kd__arena *a;
  int64_t *bytes;                                /* by node: of its results; 0 where they take no memory of their own */
  int64_t *part;                                 /* by value: its share of that; each result is free when it was read for the last time itself */
  double *cost;                                  /* by node: about the nanoseconds that it takes */
  bool *fixed;                                   /* by node: results, writes, slots, constants: never thrown away */
  uint32_t *root;                                /* by node: whose memory it lies in */
  uint32_t *last;                                /* by node (a root): the last node that reads it */
  uint32_t end;                                  /* the last node that makes a result: the losses are known here */
  /* a candidate */
  uint32_t turn;
  bool *drop;                                    /* by node */
  /* what came of it */
  uint32_t *seq, nseq;                           /* instances, in order */
  double again;                                  /* cost of what is made once more */
  int64_t peak; uint32_t at;                     /* the most that is in use, and by which node's turn */
  double excess;                                 /* by how much it is above `target`, summed over the sequence */
  int64_t target;
  /* room to work in, by instance; where and reader by value: v of a first instance, v + values of a second one */
  uint32_t *stack, *where, *reader;
  bool *there;
} kd__rc;

kd__rc   *kd__rc_new(kd__arena *a, const kd_graph *g);
/* Fills seq and all that follows it from turn, drop and target. Without drops: the graph as it is. */
void      kd__rc_try(kd__rc *r);
/* The graph of the last kd__rc_try. */
kd_graph *kd__rc_graph(kd__rc *r);
#endif
