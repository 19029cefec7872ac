/* algebra.h: adding a node in its simplest form. Internal to pass/: simplify adds every node this way, contract what it makes.
 *
 * A rule looks at an operator whose operands are simple already and gives the value that takes its place, made with the same functions, or
 * 0. What a rule must keep (docs/ir.md): NaN and infinities come out where they came out before, so x*0 and x-x stay for reals;
 * gradients are the same; sums are not regrouped (the order carries their precision), products by numbers or broadcasts may be, which
 * costs a rounding. What may change: the sign of a zero, and what leaves the range of the type on the way only. */
#ifndef KD_PASS_ALGEBRA_H
#define KD_PASS_ALGEBRA_H
#include "compiler/ir/graph_private.h"

typedef struct kd__simp {
  kd_graph *g;
  kd_origin origin;                              /* of what is added */
  int depth;                                     /* of rules within rules */
  const uint32_t *uses; size_t nuses;            /* by value: how many readers are known so far; may be short */
} kd__simp;

/* An operator about to be added. */
typedef struct kd__term { kd_op op; uint32_t nin; const kd_value *in; const kd_attr *attr; kd_type type; } kd__term;

kd_value kd__simp_add(kd__simp *s, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr);

/* The rules, by family. */
kd_value kd__simp_fold(kd__simp *s, const kd__term *t);                /* element-wise on constants */
kd_value kd__simp_lift(kd__simp *s, const kd__term *t);                /* element-wise on broadcasts */
kd_value kd__simp_pieces(kd__simp *s, const kd__term *t);              /* element-wise on numbers side by side */
kd_value kd__simp_apart(kd__simp *s, const kd__term *t);               /* sums of values that are 0 where the other is not */
kd_value kd__simp_elem(kd__simp *s, const kd__term *t);
kd_value kd__simp_matmul(kd__simp *s, const kd__term *t);
kd_value kd__simp_reduce(kd__simp *s, const kd__term *t);
kd_value kd__simp_view(kd__simp *s, const kd__term *t);                /* views, concat and pad */

/* --- short forms ------------------------------------------------------------------------------------------------------------- */
kd_value kd__simp_const(kd__simp *s, double v, const kd_type *t);
kd_value kd__simp_reshape(kd__simp *s, kd_value x, const int64_t *dim, int rank);
kd_value kd__simp_permute(kd__simp *s, kd_value x, const int64_t *perm);
kd_value kd__simp_broadcast(kd__simp *s, kd_value x, const int64_t *dim, int rank, const int64_t *axes);
kd_value kd__simp_sum(kd__simp *s, kd_op op, kd_value x, uint32_t axes);              /* any reduction with `axes`, here a set of bits */
static inline kd_value kd__simp_1(kd__simp *s, kd_op op, kd_value a) { return kd__simp_add(s, op, &a, 1, NULL); }
static inline kd_value kd__simp_2(kd__simp *s, kd_op op, kd_value a, kd_value b) { return kd__simp_add(s, op, (kd_value[]){ a, b }, 2, NULL); }

/* --- what a value is ---------------------------------------------------------------------------------------------------------- */
static inline kd_type kd__simp_type(const kd__simp *s, kd_value v) { return *kd__type_of(s->g, v); }
/* Is v the (first) result of such an operator? Then *n is its node: a copy, since adding moves nodes. */
bool kd__simp_is(const kd__simp *s, kd_value v, kd_op op, kd_node *n);
bool kd__simp_number(const kd__simp *s, kd_value v, double *k);        /* one number, known now: *k as the type holds it */
/* A number or a broadcast: something with fewer elements than its shape says. Fills how many, and the axes along which it changes. */
bool kd__simp_cheap(const kd__simp *s, kd_value v, int64_t *count, uint32_t *axes);
/* Not so large or small that a product of two of them could leave the range. */
static inline bool kd__simp_moderate(double k) { double a = k < 0 ? -k : k; return a >= 0x1p-30 && a <= 0x1p30; }

/* Which runs of axes of one shape hold the same elements as which of another: a reshape as independent small ones. Run i is the axes
 * from[i]..from[i+1]-1 of the one and to[i]..to[i+1]-1 of the other. False for shapes without elements. */
typedef struct kd__runs { int n; uint8_t from[KD_MAX_RANK + 2], to[KD_MAX_RANK + 2]; } kd__runs;
bool kd__simp_runs(const kd_type *a, const kd_type *b, kd__runs *r);
#endif
