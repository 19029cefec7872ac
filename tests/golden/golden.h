/* golden.h: one call of a loss as a public implementation computed it, and the library's own value for it.
 *
 * A file METHOD.CASE.safetensors holds inputs, weights, the loss and its gradients. tests/golden/methods.kd has a definition for each method
 * that the library has: its parameters bear the names of the file's `in.` and `param.` tensors and of its hyper-parameters. Weights that a
 * library definition owns itself get the file's values through golden.def. */
#ifndef KD_GOLDEN_H
#define KD_GOLDEN_H
#include "compiler/elaborate/elaborate.h"
#include "runtime/files/safetensors.h"
#include "tests/eval/eval.h"
#include <jansson.h>

enum { GOLDEN_MANY = 256 };

typedef struct golden_case {
  const char *label, *method;                    /* "rkd.a_large", "rkd" */
  kd__safetensors file;
  json_t *hyper;
  kd__arena arena;
  double worst_loss, worst_grad;                 /* differences, as shares of what is allowed */
  char why[4096];                                /* what is wrong, or "" */
} golden_case;

/* What `load` needs of the library: its folder. */
typedef struct golden_library { const char *folder; const kd_syntax *methods; kd__arena *arena; } golden_library;

/* The definition of a method in methods.kd, or NULL. */
const kd_ast *golden_definition(const kd_syntax *methods, const char *method);
/* Elaborates the method on the case's inputs, in double precision, and compares loss and gradients. False: c->why says what differs. */
bool golden_compare(golden_case *c, const golden_library *lib);
#endif
