/* graph.h: the graph IR: a DAG of typed, positional, static-shape operators in SSA form (docs/ir.md).
 *
 * A graph belongs to one program (what one batch of a scheme does). Nodes are appended only, so operands precede their users and
 * ids are a topological order. Values are numbered; a node with several results owns consecutive values. Nodes are
 * hash-consed: adding an equal pure node (same op, operands, attributes, mark) gives back the old one. Every node carries a span.
 * Ownership: everything lives in the graph's arena. Names and labels of axes do not exist here. */
#ifndef KD_GRAPH_H
#define KD_GRAPH_H
#include "runtime/op/op.h"

typedef uint32_t kd_value;                       /* index of a value; 0 is "no value" (an error was reported: poison) */

/* Where a value came from: an opaque index into the compile session's tree of source spans and calls; 0 = unknown. */
typedef uint32_t kd_origin;

typedef struct kd_node {
  uint16_t op, nout;
  uint32_t nin;
  const kd_value *in;
  const kd_attr *attr;                           /* as many as the op's row says */
  kd_value out;                                  /* first result; the others follow */
  kd_origin origin;
  uint16_t once;                                 /* the operator, differentiable once, whose gradient this belongs to; 0: none */
} kd_node;

/* What a program leaves behind: slot `slot` becomes `value` when the program commits. */
typedef struct kd_write { int64_t slot; kd_value value; kd_origin origin; } kd_write;
/* A scalar or tensor handed to the host after the program ran, under a name ("loss", "m0"). */
typedef struct kd_result { const char *name; kd_value value; } kd_result;

/* Why a node could not be made. The text names operands by number ("size of axis 1 differs: 8 in operand 1, 7 in operand 2"). */
typedef struct kd_shape_error { char text[240]; } kd_shape_error;
bool kd__is_too_large(const kd_shape_error *err);          /* the result has more bytes than can be counted: what no caller looks at beforehand */

typedef struct kd_graph {
  kd__arena *arena;
  KD_VEC(kd_node) node;                          /* [0] is unused */
  KD_VEC(kd_type) type;                          /* by value; [0] unused */
  KD_VEC(uint32_t) def;                          /* by value: the node that makes it */
  KD_VEC(kd_write) write;
  KD_VEC(kd_result) result;
  uint16_t once;                                 /* mark of the nodes being added (see kd_node) */
  bool apart;                                    /* the next node added is new even where an equal one exists: what it holds has a gradient of its own */
  /* Gives a value that takes the place of a node about to be added, or 0; not asked while it adds nodes itself, nor for nodes of gradients. NULL: none. */
  kd_value (*early)(struct kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr, kd_origin origin);
  uint32_t *cons; size_t ncons;                  /* hash-cons table (private to graph.c) */
  uint32_t *by_slot; size_t nby_slot;            /* writes by their slot (the same) */
  /* Told where a node does not fit whose maker claimed that it does; does not return. NULL: an assertion. */
  void (*refuse)(void *ctx, const kd_shape_error *why, kd_origin origin); void *refuse_ctx;
} kd_graph;

kd_graph *kd__graph_new(kd__arena *a);

/* How many results a node of these attributes has (of the right kinds): the row's number, or what a loop's body says. */
uint32_t kd__result_count(kd_op op, const kd_attr *attr);
/* Infers the result types of an op. False and `err` filled when operands or attributes do not fit. `out` has room for kd__result_count. */
bool kd__infer(kd_op op, const kd_type *const *in, uint32_t nin, const kd_attr *attr, kd_type *out, kd_shape_error *err);

/* Adds a node (or finds its equal) and returns its first result; 0 with `err` filled on a shape error, 0 silently when an operand is 0.
 * Attributes are copied. err may be NULL only where the caller has proved the shapes (a failure then is an internal error: assert). */
kd_value kd__graph_add(kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr, kd_origin origin, kd_shape_error *err);

static inline const kd_type *kd__type_of(const kd_graph *g, kd_value v) { return &g->type.v[v]; }
static inline const kd_node *kd__node_of(const kd_graph *g, kd_value v) { return &g->node.v[g->def.v[v]]; }

/* Short builders (build.c) for compiler code that knows its shapes are right: gradients, passes, elaboration after its own checks.
 * All take and give values; constants follow the type of `like`. Axes lists are int64 arrays. */
typedef struct kd_build { kd_graph *g; kd_origin origin; } kd_build;
kd_value kd__b_op1(kd_build *b, kd_op op, kd_value a);
kd_value kd__b_op2(kd_build *b, kd_op op, kd_value x, kd_value y);
kd_value kd__b_where(kd_build *b, kd_value c, kd_value x, kd_value y);
kd_value kd__b_const(kd_build *b, double v, kd_dtype t, const int64_t *dim, int rank);
kd_value kd__b_const_like(kd_build *b, double v, kd_value like);                 /* same dtype and shape */
kd_value kd__b_input(kd_build *b, int64_t slot, const kd_type *t);
kd_value kd__b_iota(kd_build *b, kd_dtype t, const int64_t *dim, int rank, int axis);
kd_value kd__b_cast(kd_build *b, kd_value x, kd_dtype t);                        /* x itself when it has that type */
kd_value kd__b_reduce(kd_build *b, kd_op op, kd_value x, const int64_t *axes, int n);   /* any op with attribute "axes" */
kd_value kd__b_unreduce(kd_build *b, kd_value r, kd_value like, const int64_t *axes, int n); /* broadcast a reduction's result back to like's shape */
kd_value kd__b_reshape(kd_build *b, kd_value x, const int64_t *dim, int rank);   /* x itself when the shape is equal */
kd_value kd__b_permute(kd_build *b, kd_value x, const int64_t *perm);
kd_value kd__b_broadcast(kd_build *b, kd_value x, const int64_t *dim, int rank, const int64_t *axes);
kd_value kd__b_slice(kd_build *b, kd_value x, const int64_t *start, const int64_t *size, const int64_t *step);
kd_value kd__b_concat(kd_build *b, const kd_value *x, int n, int axis);
kd_value kd__b_pad(kd_build *b, kd_value x, const int64_t *low, const int64_t *high, double value);
kd_value kd__b_matmul(kd_build *b, kd_value x, kd_value y);
kd_value kd__b_gather(kd_build *b, kd_value x, kd_value index, int batch);
kd_value kd__b_scatter(kd_build *b, kd_op op, kd_value base, kd_value index, kd_value v, int batch, int skip);

/* A loop (the row in ops.def says what its body is). The body must not change any more; it lives in the same arena. */
kd_value kd__b_loop(kd_build *b, const kd_graph *body, int64_t times, int64_t carries, const kd_value *in, uint32_t nin);
/* A group (as a loop's, its body must not change any more). */
kd_value kd__b_group(kd_build *b, const kd_graph *body, const kd_value *in, uint32_t nin);
/* Of a loop or a group: what it holds, else NULL. */
static inline const kd_graph *kd__body_of(const kd_node *n) { return n->op == KD_OP_LOOP || n->op == KD_OP_GROUP ? n->attr[0].u.graph : NULL; }
/* The body's value of a slot of its own, or 0 where it does not read it. */
kd_value kd__body_input(const kd_graph *body, int64_t slot);
/* What the body leaves in a slot: 0 where it leaves it as it was. */
kd_value kd__body_write(const kd_graph *body, int64_t slot);
/* Lets the body yield its first `carries` slots as they are when a turn starts: what the loop's gradient starts from (it runs the loop once more
 * where they are missing; a pass takes out what nobody asks for). */
void kd__body_save(kd_graph *body, int64_t carries, const kd_type *type);

void kd__graph_write(kd_graph *g, int64_t slot, kd_value v, kd_origin origin);   /* a later write to the same slot replaces the earlier */
void kd__graph_result(kd_graph *g, const char *name, kd_value v);

/* Attribute access by name; asserts that it exists. */
const kd_attr *kd__attr(const kd_node *n, const char *name);
static inline kd_attr kd__ai(int64_t v) { return (kd_attr){ .kind = 'i', .u.i = v }; }
static inline kd_attr kd__af(double v) { return (kd_attr){ .kind = 'f', .u.f = v }; }
static inline kd_attr kd__at(kd_dtype v) { return (kd_attr){ .kind = 't', .u.i = (int64_t)v }; }
static inline kd_attr kd__ag(const kd_graph *v) { return (kd_attr){ .kind = 'g', .u.graph = v }; }
static inline kd_attr kd__al(const int64_t *v, uint32_t n) { return (kd_attr){ .kind = 'I', .n = n, .u.list = v }; }

/* Text form (print.c, read.c): one node a line,
 *   %5 = add %3, %4 : f32[128,10]
 *   %6, %7 = moments %5 {axes=[0]} : f32[10], f32[10]
 *   write 3 %8            (slot, value)
 *   result "loss" %9
 *   body b1 {             (a loop's body, before the node that names it; what it says inside is a graph of its own)
 *   }
 * Reading what was printed gives an equal graph. Lines beginning with `//` are comments. */
void kd__graph_print(const kd_graph *g, kd__buf *out);
/* "f32[128,10]"; cut to n bytes, the NUL included. KD_TYPE_TEXT is always enough. */
enum { KD_TYPE_TEXT = 384 };
const char *kd__type_text(const kd_type *t, char *out, size_t n);
/* Reads the text form; values may have any names (%x, %loss.1), and the types after `:` may be left out. NULL and `err` ("line 3: ...") on anything else, for any bytes. */
kd_graph *kd__graph_read(kd__arena *a, const char *text, size_t n, kd_shape_error *err);

/* Checks every invariant (operands before users, arity, attributes, types as inferred, live writes). False and `err` on the first breach. */
bool kd__graph_verify(const kd_graph *g, kd_shape_error *err);
#endif
