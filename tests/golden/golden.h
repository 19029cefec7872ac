/* golden.h: one call of a loss as a public implementation computed it, and the library's own value for it.
 *
 * A file METHOD.CASE.safetensors holds inputs, weights, the loss and its gradients. tests/golden/methods.kd has a definition for each method
 * that the library has: its parameters bear the names of the file's `in.` and `param.` tensors (underscores for dots) and of its
 * hyper-parameters. Weights that a library definition owns itself get the file's values through golden.def. */
#ifndef KD_GOLDEN_H
#define KD_GOLDEN_H
#include "compiler/elaborate/elaborate.h"
#include "runtime/files/safetensors.h"
#include "tests/eval/eval.h"
#include <jansson.h>

enum { GOLDEN_MANY = 256 };

/* How the graph is run: on the naive twins in double precision, or as a run does it: passes, plan, fast kernels, single precision. */
typedef enum golden_way { GOLDEN_TWINS, GOLDEN_PLAN, GOLDEN_WAYS } golden_way;

typedef struct golden_case {
  const char *label, *method;                    /* "rkd.a_large", "rkd" */
  kd__safetensors file;
  json_t *hyper;
  kd__arena arena;
  golden_way way;
  double worst_loss[GOLDEN_WAYS], worst_grad[GOLDEN_WAYS];   /* differences, as shares of what is allowed */
  char why[4096];                                /* what is wrong, or "" */
} golden_case;

/* What `load` needs of the library: its folder. */
typedef struct golden_library { const char *folder; const kd_syntax *methods; kd__arena *arena; } golden_library;

/* The results of a graph's run, by name. */
typedef struct golden_value { const char *name; int64_t count; double *x; } golden_value;
typedef struct golden_values { golden_value *v; size_t n; } golden_values;

/* The definition of a method in methods.kd, or NULL. */
const kd_ast *golden_definition(const kd_syntax *methods, const char *method);
/* Elaborates the method on the case's inputs, runs it in both ways, and compares loss and gradients. False: c->why says what differs. */
bool golden_compare(golden_case *c, const golden_library *lib);

/* golden_run.c: results of an entry whose slots hold data[slot]. False: it could not be run. */
bool golden_run(kd__arena *a, golden_way way, const kd_entry *e, void *const *data, golden_values *out);
#endif
