/* loop.h: what loop.c (what a loop means, and loops written out) and loop_node.c (loops as one node) share. */
#ifndef KD_LOOP_H
#define KD_LOOP_H
#include "compiler/elaborate/scheme.h"

/* A loop in the source. */
typedef struct loop {
  const kd_ast *n, *body, *until, *name;         /* name: the variable's, or NULL */
  axis ax;                                       /* of what it yields; over an axis, that axis */
  bool over_axis;
  bool value;                                    /* the loop is an expression */
  bool range;                                    /* over whole numbers, from + 0, 1, ...; else over `items` */
  int64_t from, times;
  val_vec items;
  KD_VEC(binding *) carry;                       /* known outside, assigned inside */
} loop;

/* Parts of values that tensors are in: lists, records and applications taken apart. */
typedef struct leaves { KD_VEC(val *) v; } leaves;
void kd__leaves(elab *e, val *v, leaves *out);
/* The same value with other leaves, from *at on. */
val *kd__with_leaves(elab *e, val *like, val *const *part, size_t *at);
bool kd__same_parts(const val *a, const val *b);      /* lists and records of the same keys, down to the leaves */
/* The value at the end of a turn in the axes of the one at its start; NULL where it does not fit. Says nothing. */
tensor *kd__carried(elab *e, const tensor *start, tensor *end, const kd_ast *at);
int64_t kd__few_turns(const elab *e);             /* loops of so many turns are written out */
bool kd__until(elab *e, scope *s, const loop *l, tensor **c);           /* *c NULL: it does not hold, statically */

/* One leaf of a carry. */
typedef struct cell {
  val *start;                                    /* when the loop begins */
  tensor *open;                                  /* when a turn begins; NULL: a static value that stays */
  tensor *next;                                  /* when it ends */
} cell;

/* Elaborates the body once, open, and with `make` the node: carries and collected names are bound to what it leaves, *out is what it yields.
 * False: one body does not do for all turns; nothing has changed then but dead nodes. `why` gets what was in the way. */
bool kd__loop_node(elab *e, scope *s, loop *l, bool make, val **out, kd_sink *why);
#endif
