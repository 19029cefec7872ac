/* autodiff.h: reverse-mode gradients as a graph-to-graph pass; every rule is written in operators, so it can be run again. */
#ifndef KD_AUTODIFF_H
#define KD_AUTODIFF_H
#include "compiler/ir/graph.h"

typedef struct kd_grad_error {
  kd_value at;                                   /* the value where the walk stopped */
  kd_op op;                                      /* the operator that cannot be differentiated (again) */
  bool again;                                    /* it may be differentiated, but not this often */
} kd_grad_error;

/* Gradient of the rank-0 real value `loss` with respect to each of wrt[0..n): fills grad[0..n), a value of the same type each.
 * Where loss does not depend on wrt[i] (or only through `stop` and zero-gradient ops), grad[i] = 0: the caller decides whether that is
 * an error or zeros. wrt may be any values, inner ones too. Adds nodes to g, changes none. False with `err` on an operator that
 * may not be differentiated (grad `none`), or not as often as its row says: the gradient of a row marked 1 has no gradient.
 * Also false, with err->at = 0, when memory ran out and the arena has no recovery point. err may be NULL. */
bool kd__gradients(kd_graph *g, kd_value loss, const kd_value *wrt, size_t n, kd_value *grad, kd_origin origin, kd_grad_error *err);

/* The same with another table of how often each operator may be differentiated (0, 1 or 2, by operator). */
bool kd__gradients_within(kd_graph *g, kd_value loss, const kd_value *wrt, size_t n, kd_value *grad, kd_origin origin, const uint8_t *limit,
                          kd_grad_error *err);

/* True where `to` depends on `from` through differentiable paths only. */
bool kd__reaches(const kd_graph *g, kd_value from, kd_value to);
/* The same from any of n values, for paths on which no value lies that `past` (by value) marks. */
bool kd__reaches_past(const kd_graph *g, const kd_value *from, size_t n, kd_value to, const bool *past);
#endif
