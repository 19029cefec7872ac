/* eval.h: runs a graph node by node on the naive twins: the oracle of tests. Slow, and as plain as can be.
 *
 * Every value keeps the element type that the graph gives it. Everything belongs to the evaluation until kd_eval_free. */
#ifndef KD_TEST_EVAL_H
#define KD_TEST_EVAL_H
#include "compiler/ir/graph.h"
#include "runtime/kernels/kernel.h"

/* What slot `slot` holds: row-major and dense, of the type of its `input` node. */
typedef struct kd_eval_slot { int64_t slot; const void *data; } kd_eval_slot;

/* How values lie in memory; the results must not depend on it. */
typedef enum kd_eval_layout { KD_EVAL_DENSE, KD_EVAL_STRANGE } kd_eval_layout;   /* strange: column-major, gaps, a reversed axis */

typedef struct kd_eval {
  const kd_graph *g;
  kd__arena arena;
  kd_tensor *value;                              /* by value; data is NULL where it was not computed */
  kd_fault fault;
} kd_eval;

/* Computes what `root` needs, or, with nroot = 0, every value whose inputs are given. False if a root could not be computed for want
 * of a slot, or on a fault (e->fault). Call kd_eval_free in any case. */
bool kd_eval_run(kd_eval *e, const kd_graph *g, const kd_eval_slot *slot, size_t nslot, const kd_value *root, size_t nroot, kd_eval_layout layout);
void kd_eval_free(kd_eval *e);

bool   kd_eval_has(const kd_eval *e, kd_value v);
double kd_eval_at(const kd_eval *e, kd_value v, int64_t i);            /* the i-th element in row-major order, as a double */
void   kd_eval_read(const kd_eval *e, kd_value v, void *to);           /* all elements, row-major and dense, in v's type */
kd_value kd_eval_result(const kd_eval *e, const char *name);           /* 0 if there is none */
kd_value kd_eval_write(const kd_eval *e, int64_t slot);                /* the value a slot gets, or 0 */
#endif
