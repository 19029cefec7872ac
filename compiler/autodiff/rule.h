/* rule.h: what a gradient rule gets and gives. One rule kd__grad_<name> for each name in the grad column of ops.def.
 *
 * A rule adds operators that compute, from the gradients of a node's results, those of its operands. It reads operands, results and
 * attributes of the node, and uses operators with gradients of their own only, so that its result can be differentiated again.
 * Where a factor may be infinite in a branch that `where` discards, the rule replaces the factor's operand, not only the product:
 * the second derivative would multiply the discarded infinity by 0. */
#ifndef KD_AUTODIFF_RULE_H
#define KD_AUTODIFF_RULE_H
#include "compiler/autodiff/autodiff.h"

typedef struct kd__rule {
  kd_build b;
  kd_node n;                                     /* a copy: adding nodes may move the graph's */
  const kd_value *g;                             /* by result: its gradient, or 0 where there is none; at least one is there */
  const bool *need;                              /* by operand: is its gradient asked for? */
  kd_value *d;                                   /* by operand: all 0 at first; left 0 where no gradient flows */
  const kd_value *have;                          /* by operand: its gradient so far, or 0 */
  bool *whole;                                   /* by operand: set by a rule whose d goes on from `have`, and is all of the gradient */
  bool failed;                                   /* set by a rule that differentiates a body: that has something that forbids it */
  const uint8_t *limit;                          /* how often each operator may be differentiated */
  kd_grad_error *err;                            /* what (its value is one of the body; 0: memory ran out) */
} kd__rule;

/* Gradients of several values at once: grad[i] = sum over k of the derivative of end[k] for wrt[i], weighted with seed[k] (of end[k]'s type).
 * Where an end is a wrt itself its seed is the first term. Else as kd__gradients_within. */
bool kd__pull_back(kd_graph *g, const kd_value *end, const kd_value *seed, size_t nend, const kd_value *wrt, size_t n, kd_value *grad,
                   kd_origin origin, const uint8_t *limit, kd_grad_error *err);
/* Which of `to` depend on some of `from` through differentiable paths. Adds nothing to g. False: memory ran out. */
bool kd__active(kd_graph *g, const kd_value *from, size_t n, const kd_value *to, bool *reached, size_t nto);
/* Which results of a loop depend on its active operands, over any number of turns. False: memory ran out. */
bool kd__loop_active(const kd_node *n, const bool *in, bool *out);

#define KD_OP(ID, name, class, nin, nout, attrs, shape, grad, ...) void kd__grad_##grad(kd__rule *r);
#include "runtime/op/ops.def"
#undef KD_OP

static inline kd_type type_at(const kd__rule *r, kd_value v) { return *kd__type_of(r->b.g, v); }
static inline kd_value arg(const kd__rule *r, int i) { return r->n.in[i]; }
static inline kd_value op1(kd__rule *r, kd_op op, kd_value a) { return kd__b_op1(&r->b, op, a); }
static inline kd_value op2(kd__rule *r, kd_op op, kd_value a, kd_value b) { return kd__b_op2(&r->b, op, a, b); }
static inline kd_value add(kd__rule *r, kd_value a, kd_value b) { return op2(r, KD_OP_ADD, a, b); }
static inline kd_value sub(kd__rule *r, kd_value a, kd_value b) { return op2(r, KD_OP_SUB, a, b); }
static inline kd_value mul(kd__rule *r, kd_value a, kd_value b) { return op2(r, KD_OP_MUL, a, b); }
static inline kd_value neg(kd__rule *r, kd_value a) { return op1(r, KD_OP_NEG, a); }
static inline kd_value fill(kd__rule *r, double v, kd_value like) { return kd__b_const_like(&r->b, v, like); }
static inline kd_value scale(kd__rule *r, double k, kd_value a) { return mul(r, fill(r, k, a), a); }
/* c ? a : 0 */
static inline kd_value keep(kd__rule *r, kd_value c, kd_value a) { return kd__b_where(&r->b, c, a, fill(r, 0, a)); }
#endif
