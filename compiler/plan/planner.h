/* planner.h: the planner's own state, shared by its files only (docs/plan.md says how they work together).
 *
 * A graph is lowered to *steps* over *views* of *stores*. A store is a stretch of memory, in the arena or in a block of slots; a
 * view is a strided tensor in a store. View i is the view of graph value i; more views follow for copies. Steps are created in an
 * order that fits the data; edges between steps say what must come first, and the schedule is made from them. */
#ifndef KD_PLANNER_H
#define KD_PLANNER_H
#include "compiler/plan/plan_make.h"

enum { KD__STEP_COPY = KD_OP_COUNT, KD__STEP_JOIN };  /* join: only an edge collector, no call comes of it */
enum { KD__PL_ALIGN = 64 };
#define KD__PL_NEVER UINT32_MAX

typedef struct kd__pl_view {
  const kd_type *type;
  uint32_t store;                                /* 0: not made yet */
  uint32_t ready;                                /* the step after which it may be read; 0: from the start */
  uint32_t tensor;                               /* 1 + its index in the plan; 0: not named yet */
  int64_t offset;                                /* bytes from the store's start to element 0 */
  int64_t stride[KD_MAX_RANK];                   /* elements */
} kd__pl_view;

typedef struct kd__pl_store {
  int64_t size, base;                            /* bytes; where it begins in the arena or in its block */
  uint32_t block;                                /* in_slot */
  uint32_t into;                                 /* the store whose memory this one took over; itself if none */
  uint32_t first, last;                          /* positions in the schedule; first = KD__PL_NEVER: not used */
  bool in_slot;                                  /* memory of a block, not of the arena */
  bool old;                                      /* the block as the program found it: its readers come before what overwrites it */
  bool fixed;                                    /* a constant: never moved into a slot */
} kd__pl_store;

typedef struct kd__pl_step {
  uint16_t op;
  uint32_t nin, nout;
  uint32_t *in, *out;                            /* views */
  const kd_attr *attr;                           /* the graph's */
  kd_origin origin;
  const kd_plan_loop *loop;                      /* of a loop: its body's plan */
  const struct kd_group *group;                  /* of a group */
  uint32_t succ;                                 /* list of edges to the steps that wait for this one; 0 ends */
} kd__pl_step;

typedef struct kd__pl_edge { uint32_t to, next; } kd__pl_edge;
typedef struct kd__pl_home { uint32_t node, index; int64_t at; } kd__pl_home; /* operand `index` of concat `node`, from position `at`; node 0: none */

/* The first and the last position of the stretch whose steps run side by side, or just itself; the lane in it. */
typedef struct kd__pl_side { uint32_t first, last, lane; } kd__pl_side;

typedef struct kd__planner {
  kd__arena *tmp, *out, *group;                  /* group: what the group at hand needs while it is lowered */
  const kd_graph *g;
  const kd_slot *slot; uint32_t nslot;
  void (*note)(void *ctx, const kd_plan_note *n);
  void *note_ctx;
  KD_VEC(kd__pl_view) view;
  KD_VEC(kd__pl_store) store;                    /* [0] unused */
  KD_VEC(kd__pl_step) step;                      /* [0] unused */
  KD_VEC(kd__pl_edge) edge;                      /* [0] unused */
  bool *live;                                    /* by node */
  bool *channels;                                /* by value: a reader wants channels innermost */
  const kd_node **turned;                        /* by value, of products: the permute after which a reshape wants it row-major; NULL: none */
  bool *read;                                    /* by value: something reads it */
  bool *row;                                     /* by value: it is written to a slot, so it should be row-major */
  kd__pl_home *home;                             /* by value: the concat in whose memory it should be produced */
  uint32_t *result;                              /* views, by result of the graph */
  kd__map consts;                                /* dtype and value -> store */
  uint32_t *block_store; uint32_t nblock;        /* the `old` store of each block; 0: not made yet */
  uint32_t *by_place;                            /* slots that have elements, by (block, offset) */
  uint32_t nplaced;
  bool *written;                                 /* by slot: the program changes it */
  uint32_t *order; uint32_t norder;              /* the schedule */
  kd__pl_side *side;                             /* by position in it */
  double side_price;                             /* kernel.h: kd__side_pays */
  int64_t copied, arena_size;
} kd__planner;

/* --- layout.c: strides and views; pure functions of their arguments. Axes of size 1 never count in comparisons. ----------- */
void kd__pl_dense(const kd_type *t, int64_t *stride);                          /* row-major */
void kd__pl_dense_like(const kd_type *t, const int64_t *like, int64_t *stride); /* gap-free, axes in the order of `like`'s strides */
void kd__pl_dense_in_order(const kd_type *t, const uint8_t *order, int64_t *stride);    /* gap-free, axes in this order */
void kd__pl_channels_last(const kd_type *t, int64_t *stride);
bool kd__pl_same_strides(const kd_type *t, const int64_t *a, const int64_t *b);
bool kd__pl_row_major(const kd_type *t, const int64_t *stride);
int64_t kd__pl_bytes(const kd_type *t);
/* Lowest and one past the highest byte of the view within its store; false when it has no elements. */
bool kd__pl_extent(const kd__pl_view *v, int64_t *lo, int64_t *hi);
/* What VIEW node `n` (or stop) makes of `from`; `to` gets type, store, offset and strides. False when strides cannot express it. */
bool kd__pl_apply(const kd_node *n, const kd__pl_view *from, const kd_type *type, kd__pl_view *to);
/* The other way round, for reshape, permute and stop: where the operand must lie for the result to lie at `to`. */
bool kd__pl_invert(const kd_node *n, const kd__pl_view *to, const kd_type *type, kd__pl_view *from);
bool kd__pl_invertible(kd_op op);
bool kd__pl_spatial(kd_op op);                   /* results are channels innermost */
/* Fills live, channels, turned, read and row. */
void kd__pl_mark(kd__planner *p);
/* The gap-free strides that result k of kernel node `n` takes if nothing else decides. Operands' views are made. */
void kd__pl_natural(const kd__planner *p, const kd_node *n, uint32_t k, int64_t *stride);

/* --- lower.c: steps ---------------------------------------------------------------------------------------------------------- */
uint32_t kd__pl_new_store(kd__planner *p, int64_t size);
uint32_t kd__pl_new_view(kd__planner *p, const kd_type *t, uint32_t store, int64_t offset, const int64_t *stride);
void     kd__pl_edge_add(kd__planner *p, uint32_t from, uint32_t to);
/* Adds a step that waits for its operands; results become ready with it. Arrays are copied. */
uint32_t kd__pl_step_add(kd__planner *p, uint32_t op, const uint32_t *in, uint32_t nin, const uint32_t *out, uint32_t nout, const kd_attr *attr,
                         kd_origin origin);
uint32_t kd__pl_copy(kd__planner *p, uint32_t from, uint32_t to, kd_origin origin);
/* A gap-free copy of a view in its own store, with these strides; the new view. */
uint32_t kd__pl_materialise(kd__planner *p, uint32_t view, const int64_t *stride, kd_origin origin);
/* Makes the view of value `v` in a store of its own, or where its concat wants it. */
void     kd__pl_place(kd__planner *p, kd_value v, const int64_t *natural, bool strict);
void     kd__pl_lower(kd__planner *p);

/* --- loop.c: the step of a loop, with the plan of its body ----------------------------------------------------------------------- */
void kd__pl_loop(kd__planner *p, const kd_node *n);

/* --- group.c: the step of a group: loop order, what is cut, layouts of results, instructions ------------------------------------------------- */
void kd__pl_group(kd__planner *p, const kd_node *n);

/* --- concat.c ------------------------------------------------------------------------------------------------------------------ */
void kd__pl_find_homes(kd__planner *p);
bool kd__pl_go_home(kd__planner *p, kd_value v, const int64_t *natural, bool strict);
void kd__pl_concat(kd__planner *p, const kd_node *n);

/* --- commit.c: what happens to slots -------------------------------------------------------------------------------------------- */
void kd__pl_sort_slots(kd__planner *p);
/* Index in by_place of the first slot of `block` that ends after byte `at`; nplaced if none. */
uint32_t kd__pl_slot_from(const kd__planner *p, uint32_t block, int64_t at);
void kd__pl_commit(kd__planner *p);

/* May result `r` be written over operand `k` where both lie at one place? An element-wise kernel, the base of a scatter, and groups that say so. */
bool kd__pl_overwrites(const kd__planner *p, const kd__pl_step *s, uint32_t k, uint32_t r);

/* --- schedule.c ------------------------------------------------------------------------------------------------------------------ */
/* Is one of the marked steps reachable from one of `from`? Gives up with true when `budget` runs out. `mark` is by step. */
typedef struct kd__pl_search { uint32_t *seen, *mark, stamp; uint32_t *stack; int64_t budget; } kd__pl_search;
bool kd__pl_reaches(const kd__planner *p, kd__pl_search *s, const uint32_t *from, uint32_t nfrom);
void kd__pl_schedule(kd__planner *p);

/* --- side.c ---------------------------------------------------------------------------------------------------------------------- */
void kd__pl_order(kd__planner *p);               /* schedule, stretches where they take little more memory, and memory */

/* --- memory.c, fit.c -------------------------------------------------------------------------------------------------------------- */
void kd__pl_memory(kd__planner *p);              /* liveness, take-overs, places in the arena */
/* Something that needs `size` bytes from schedule position `first` to `last` (both included); fit() sets `at`. */
typedef struct kd__pl_span { int64_t size, at; uint32_t first, last, id; } kd__pl_span;
/* Places the spans so that no two that live at the same time overlap; the bytes needed in all. Sizes are multiples of the alignment. */
int64_t kd__pl_fit(kd__arena *tmp, kd__pl_span *span, uint32_t n);
#endif
