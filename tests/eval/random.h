/* random.h: random graphs with data for their slots, to hold passes and plans against the oracle.
 *
 * Every value carries an interval, so that operators only get what they are defined on and nothing grows without bound; and whether it is
 * exact, so that what jumps (comparisons, rounding, sorting) never sees a value that a rewrite may change by a rounding. */
#ifndef KD_TEST_RANDOM_H
#define KD_TEST_RANDOM_H
#include "tests/eval/eval.h"

typedef struct kd_random_slot { kd_type type; void *data; } kd_random_slot;      /* data: dense, row-major */
typedef struct kd_random_graph {
  kd_graph *g;
  KD_VEC(kd_random_slot) slot;
  kd_eval_slot *eval;                            /* the slots as the oracle takes them */
} kd_random_graph;

typedef struct kd_random_spec {
  uint64_t seed;
  int nodes;
  kd_dtype real;                                 /* of all reals */
  bool nan;                                      /* NaN among the inputs; then nothing is made that can be infinite */
  bool writes;                                   /* some values are written to slots of their type; else all ends are results */
} kd_random_spec;

void kd_random_make(kd_random_graph *r, kd__arena *a, const kd_random_spec *spec);
/* How far a computed real may be from the wanted one, rounding along the way included. */
double kd_random_tolerance(kd_dtype t);
#endif
