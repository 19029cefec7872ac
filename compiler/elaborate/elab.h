/* elab.h: the elaborator's inside: values, scopes, places, programs. Private to compiler/elaborate.
 *
 * A *place* is a node of the tree of calls: (parent place, call in the source, loop index). What a definition owns (parameters,
 * states, random draws, sub-networks) belongs to its place, so a formula that is elaborated again finds the same things.
 * A *program* is one graph under construction: what one batch, one metric's end or one initialisation does. */
#ifndef KD_ELAB_H
#define KD_ELAB_H
#include "compiler/elaborate/elaborate.h"
#include "compiler/autodiff/autodiff.h"

typedef struct elab elab;
typedef struct val val;
typedef struct scope scope;
typedef struct place place;
typedef struct prog prog;
struct pick;

/* --- named axes (language-notes, section 4) ----------------------------------------------------------------------------- */
typedef enum root_kind { ROOT_FEATURE, ROOT_SAMPLE, ROOT_MERGED, ROOT_OPEN } root_kind;
typedef struct root { uint8_t kind; const char *text; uint32_t whole; int part; } root;   /* text: for messages ("fashion", "H 14, W 14"); part `part` of a split whose first part has root `whole` */
/* Labels are interned; rest axes begin with '.'. mask: which of its places are valid (valid.c), over axes of the same tensor; NULL: all. */
typedef struct axis { const char *label; int64_t size; uint32_t root; uint8_t guessed; const struct tensor *mask; } axis;
enum { AXIS_GUESSED = 1, AXIS_NAMED = 2 };       /* axis.guessed: named by position; named by the experiment itself; else 0 */
typedef struct tensor { kd_value v; uint8_t rank; kd_dtype dtype; axis ax[KD_MAX_RANK]; const char *from, *shown; kd_span made; prog *in; } tensor;   /* from: words it was read by; shown: as the caller names it; in: its program */

/* --- values --------------------------------------------------------------------------------------------------------------- */
typedef enum val_kind { V_POISON, V_NONE, V_BOOL, V_INT, V_REAL, V_STRING, V_LIST, V_RECORD, V_RANGE, V_AXIS, V_TENSOR, V_DEF, V_LAMBDA,
                        V_BUILTIN, V_NET, V_APP, V_SPEC, V_DATA, V_SPLIT, V_MODULE, V_SOURCE, V_TREE, V_PART, V_BATCH } val_kind;

/* A definition; `fixed`: arguments given beforehand where it stands for a part of a network, `rule`: the replacement that put it there. */
typedef struct def { const kd_ast *ast; const char *word, *name; scope *scope; struct arg *fixed; uint32_t nfixed; struct rule *rule; struct app *first; prog *first_in; } def;
typedef struct arg { const char *name; val *v; const kd_ast *ast; } arg;       /* a call's argument; v NULL until evaluated */
/* A network instance (or a definition waiting for its inputs): `fixed` are the arguments given at construction. */
typedef struct net { def *def; arg *fixed; uint32_t nfixed; place *place; int8_t mode; const char *role; const kd_ast *at; struct net *base; struct tree *with; struct rule *rules; struct net *like; struct from_file *from; bool given; } net;   /* given: an update or a copy writes it */
/* `from "file#part"`: the file that gives a network its initial values; of its tensors those below `part`, or all (NULL). */
typedef struct from_file { const char *file, *part; const kd_ast *at; } from_file;
/* `net with (name: to)`: the bodies that belong to the network read `to` where they name a definition `name`. */
typedef struct rule { struct rule *up; const char *name; val *to; const kd_ast *at; net *net; bool used; } rule;
/* `N(x) with (name: to)`: taps that take given values while the body runs (material.c). */
typedef struct rewired { const char *name; const kd_ast *at; val *to; uint32_t binds, seen; bool turns; } rewired;
typedef struct rewire { const kd_ast *call, *with; rewired *item; uint32_t n; bool taken, replacing; size_t upstream; } rewire;
/* `key: k` around us: draws belong to k and the place below `base`, not to the application. */
typedef struct draw_key { uint64_t hash; kd_value v; place *base; } draw_key;
/* A tree of tensors by path: parameters of a network as values, or what was computed of them leaf by leaf (tree.c). */
typedef struct leaf { const char *path; tensor *t; int64_t slot; } leaf;        /* slot: the parameter that it was read from, or -1 */
typedef struct tree { leaf *leaf; uint32_t n; const char *of; } tree;           /* of: the network, for messages */
typedef struct relabel { const char *formal, *actual; } relabel;
typedef struct labels { KD_VEC(relabel) map; } labels;
/* A part of a network: what it owns below a path ("S.stage1"). */
typedef struct net_part { place *top; const char *path; } net_part;
/* A network applied: its value and the bindings of its body (taps). */
typedef struct app { net *net; val *ret; scope *body; labels *back; struct overlay *over; KD_VEC(struct app *) inner; arg *args; uint32_t nargs; } app;   /* inner: networks applied inside */
typedef struct spec { def *def; arg *args; uint32_t nargs; const kd_ast *at; scope *scope; uint64_t loop; } spec;   /* optimizer awaiting its step */
/* A column of a file, as idx(...) or csv(...) describe it. */
typedef struct data_source { kd_field_source src; axis ax[KD_MAX_RANK]; uint32_t rank; double scale; bool real; } data_source;

struct val {
  uint8_t kind;
  union {
    bool b; int64_t i; double r; const char *s;
    struct { val **v; uint32_t n; } list;
    struct { const char **key; val **v; uint32_t n; } rec;
    struct { int64_t from, to; } range;
    axis ax; tensor *t; def *def; net *net; app *app; spec *spec; tree *tree;
    net_part *part;
    struct { const kd_ast *ast; scope *scope; struct rule *rule; } lambda;
    const struct builtin *builtin;
    uint32_t data;                                 /* index into elab.data */
    struct { uint32_t data, split; bool cycle, whole; int64_t take; } split;        /* whole: all of it at once; cycle: starts over at its end; take: so many batches, -1: its call is awaited */
    struct opening *batch;
    struct module *mod;
    data_source *source;
  } u;
};
extern val kd__poison, kd__none;

/* --- scopes ------------------------------------------------------------------------------------------------------------------ */
typedef enum bind_kind { B_VALUE, B_FORMULA, B_LIST, B_STACK, B_STATE, B_PARAM } bind_kind;   /* B_STACK: what a loop node collects, a list once it is read */
typedef struct binding {
  const char *name; val *v; uint8_t kind; bool used, is_let, param;
  const kd_ast *at;                                /* where it was bound */
  const kd_ast *expr; scope *scope;                /* B_FORMULA; for B_STATE and B_PARAM: slot */
  const kd_ast *type; struct scope *formal;        /* B_FORMULA that an argument is: its parameter's type, and where the sizes in it are known */
  int64_t slot;
  uint64_t loop; const char *turns;                /* B_FORMULA: the static loops around it */
} binding;
struct scope {
  scope *up;
  KD_VEC(binding *) b;
  kd__map *index;                                  /* of b by name, in scopes that hold many; else NULL */
  KD_VEC(axis) axes;                               /* labels in sight: what `size(K)` and `[K]` mean here */
  place *place;                                    /* owner of what is made here */
  struct module *mod;
  KD_VEC(const char *) absent;                     /* optional axes that this call has not */
  bool definition, loop, scheme, entered;          /* a definition's body; a static loop's; a scheme's; one that the machine enters or not */
  scope *caller;                                   /* of a scheme that is called: the scheme that calls it */
  rewire *rewire;                                  /* of a network's body: taps that take given values */
  const char *bound_as, *prefix;                   /* the binding whose expression is being evaluated: names the places of its calls */
};

/* --- places, slots ------------------------------------------------------------------------------------------------------------ */
typedef struct owned_item { const kd_ast *at; uint64_t loop; int64_t slot; } owned_item;
struct place {
  place *up;
  const kd_ast *call; uint64_t loop;               /* key below `up` */
  const char *path;                                /* "S.stage1.conv" ; "" for the root */
  const char *draws_as;                            /* the path that its random draws go by: its own, or that of the network it is `like` */
  const char *what;                                /* callee's name, for frames */
  net *root_net;                                   /* the experiment-level network that owns this, or NULL */
  bool in_loss;                                    /* below a loss or a free transform */
  KD_VEC(place *) kid;
  KD_VEC(owned_item) owned;
  KD_VEC(const kd_ast *) draws;                    /* random draws made here, in order of first sight */
  uint64_t hash;
  uint32_t serial;                                 /* in the order in which places are made */
  bool loose;                                      /* made by a trial of a loop: forgotten if that fails */
};
typedef KD_VEC(int64_t) slots;
typedef struct step_ctx { const slots *slot; } step_ctx;
typedef struct slot_info {
  kd_slot s;
  axis ax[KD_MAX_RANK];
  place *owner; kd_span at;
  bool apart;                                      /* of no definition: trained only where it is named */
  const slots *of;                                 /* OPTIMIZER: of these parameters */
  uint32_t data, bank;                             /* FIELD: 1 + the data set, and for which opening of it */
  bool whole;                                      /* FIELD: a whole split, not a batch */
} slot_info;

/* --- programs --------------------------------------------------------------------------------------------------------------------- */
typedef enum prog_kind { PROG_PROBE, PROG_INIT, PROG_TRAIN, PROG_EVAL, PROG_FINISH } prog_kind;
/* A trial: what is evaluated inside a `grad`, a virtual step or a network at other parameters, whose updates never commit (rule 3). */
typedef struct trial { struct trial *up; } trial;
typedef struct pending { int64_t slot; kd_value value; place *owner; kd_span at; trial *trial; } pending;
/* A formula's value in this program; `trial`: where it was read first; its updates and the formulas it read are those from .. on. */
typedef struct memo { const void *key; uint64_t version; val *v; trial *trial; size_t pending_from, pending_to, memo_from; } memo;
/* `M at tree` around us: reads of parameters below `place` give the tree's leaves. */
typedef struct overlay { struct overlay *up; place *place; tree *tree; } overlay;
typedef struct slot_version { int64_t slot; kd_value now; uint32_t version; } slot_version;
/* A data set's batch that programs read: `bank` numbers the openings of one data set within one another, since each has memory of its own.
 * `beside`: a further stream of a loop over several. `field`: the slots that were read, to bind the stream. */
typedef struct fields { KD_VEC(int64_t) slot; } fields;
typedef struct opening { struct opening *up; uint32_t data, split; int64_t rows; uint32_t bank, root; bool beside; fields *field; int64_t replay; uint32_t around; } opening;   /* replay: of the data set, where it is trained on; around: loops of the machine around its body */
typedef struct carried { kd_value v; int64_t slot; } carried;
struct prog {
  prog_kind kind; const char *name;
  kd_graph *g;
  opening *open;                                   /* the batches in sight, innermost first */
  KD_VEC(memo) memo;
  KD_VEC(slot_version) version, past;              /* slots that were written inside the program: as they are, and as they were between */
  KD_VEC(pending) pending;
  KD_VEC(net *) trained;
  KD_VEC(carried) carried;                         /* values that a later program reads */
  uint32_t clock;                                  /* counts steps in the program */
  uint32_t steps;                                  /* training steps in it */
  bool training;
  uint32_t decisions;                              /* that were made before it */
  bool segment;                                    /* one of the programs that a scheme's statements become */
  int64_t chain;                                   /* 1 + the slot whose update is being evaluated: its own pending value is read */
};

/* What drawing and filling builtins make when no shape is given: the declared type of the parameter or state at hand. */
typedef struct expect { uint32_t rank; axis ax[KD_MAX_RANK]; place *place; kd_dtype dtype; } expect;

/* --- data ----------------------------------------------------------------------------------------------------------------------------- */
enum { KD__BANKS = 4 };                          /* openings of one data set within one another */
typedef struct data_field { const char *name; axis ax[KD_MAX_RANK]; uint32_t rank; kd_dtype stored; bool real; double scale; int64_t below; int64_t slot[KD__BANKS]; } data_field;
enum { KD__COLUMNS = 64 };                       /* of a set that a scheme writes, at most */
typedef KD_VEC(uint32_t) stages;
typedef struct data_set {
  const char *name; kd_dataset d; data_field *field; uint32_t nfield; int64_t rows[8]; bool known, told, keep_last;
  int64_t replay;                                  /* draws of its samples are the same again after so many epochs; 0: they are not */
  uint8_t cache; int64_t cache_budget;             /* what the program says of rows that are kept (kd_cache_mode; PROGRAM: nothing), and how many bytes (0: nothing) */
  uint32_t root[KD__BANKS]; int64_t index_slot[KD__BANKS], turned_slot[KD__BANKS]; const kd_ast *at;
  stages writers, readers;                         /* of a written set: stages by number, from 1 */
  int64_t *whole[8]; uint32_t whole_root[8];       /* by split: slots that hold a field of all of its samples, -1 until used; NULL: none */
} data_set;

typedef struct module { const char *name; kd_syntax *syn; scope *scope; int state; const kd_ast *used_at; kd__map *wrt; } module;   /* state: 0 new, 1 loading, 2 ready; wrt: names that it differentiates for */
typedef struct frame { struct frame *up; const char *what; kd_span at; uint32_t depth; const place *place; } frame;
typedef struct origin { kd_span span; frame *frame; const place *place; } origin;       /* place: whose body it is in; NULL: none */

/* --- loops (loop.c) ------------------------------------------------------------------------------------------------------------------- */
/* A loop's body is tried once, with its carries and turn number open: does one body do for all turns? */
typedef struct tryout { struct tryout *up; uint32_t places; trial *trial; bool failed, rough; } tryout;           /* rough: nothing of it is kept */
typedef struct loop_turn { struct loop_turn *up; kd_value number; } loop_turn;                  /* i64: in the random key of what is drawn in it */
typedef struct yielded { val *v; uint32_t n; const kd_ast *at; } yielded;

struct elab {
  kd__arena *a; kd_sink *sink; const kd_elab_options *opt;
  kd_sink *aloud; jmp_buf *stop; bool given_up;    /* where messages go outside of trials, and what asks for too much jumps to (bounds.c) */
  kd_span here; int64_t work, most_work;           /* the value being worked out; how much was, and may be */
  kd__map interned, modules, slot_names, plan_names;
  module *prelude, *file;
  KD_VEC(root) root; KD_VEC(slot_info) slot; KD_VEC(data_set) data; KD_VEC(origin) origin;
  prog *prog, *init, *probe;
  opening *open;                                   /* the batches of the loops around the statement */
  frame *frame; place *top;
  const place *outside;                            /* where no frame is: whose formula is being evaluated */
  expect *expect;
  const char *turns;                               /* ".0.2": the turns of the static loops around us in this body: they are part of paths */
  uint64_t turn;                                   /* hash of the turns of a scheme's `repeat` that is written out */
  uint64_t loop, salt;                             /* hashes of the static loop indices, and of the network applications, around us */
  tryout *tryout; loop_turn *loop_turn; yielded *yielded;      /* the loops around us */
  const char *turned;                              /* the axis on which the last loop stacked */
  bool unapplied, late;                            /* a network's parameters were asked for before its first application; a formula of the file waits for one */
  KD_VEC(kd_value) mapping;                        /* by value of a program: zero but while loop_node.c cuts a body out */
  place *applied;                                  /* of the network whose application is outermost in the trial */
  uint32_t places; int64_t opened, budget;                   /* counts places; counts open values of trials */
  struct { size_t nodes; kd_span at; } heaviest;   /* the loop written out that made the most nodes */
  int depth;                                       /* evaluation depth */
  bool waits;                                      /* at a decision that is made in the run: what follows it is not elaborated */
  bool returned;                                   /* a `return` was executed in the body being run */
  bool refused;                                    /* a `require` failed in it: the rest would be wrong too */
  val *result;
  struct { val *pv, *gv, *now; kd_value when; place *place; step_ctx *step; bool apart; } opt_ctx;   /* the optimizer being run: param, grad, new param; apart: in a virtual step */
  trial *trial; overlay *over;                       /* around us, innermost first */
  rule *rules; KD_VEC(rule *) all_rules;           /* in force; all ever made */
  rewire *rewire; app *inside; draw_key *key;      /* awaiting its application; the application being run; around us */
  uint64_t free_leaves;                            /* seeds of jvp made so far */
  KD_VEC(tensor *) local;                          /* states of virtual steps' optimizers: slots -2, -3, ... */
  int8_t mode;                                     /* 1: eval(M) around us, 2: train(M) */
  const char *role;                                /* word of the experiment-level binding being made */
  const kd_ast *override_call; const char *override_name;
  bool metric_finish;                              /* evaluating the end of a metric: updates are skipped */
  int64_t ambient[KD_AMBIENT_COUNT];               /* slots of run-time scalars, -1 until used */
  struct mod_build *build;                         /* the module under construction (scheme.c) */
  KD_VEC(const char *) settings_seen;
  KD_VEC(net *) nets;                              /* experiment-level networks in order */
};

/* --- value.c ----- */
val *kd__v_bool(elab *e, bool b);
val *kd__v_int(elab *e, int64_t i);
val *kd__v_real(elab *e, double r);
val *kd__v_str(elab *e, const char *s);
val *kd__v_list(elab *e, val **v, uint32_t n);
val *kd__v_rec(elab *e, const char **key, val **v, uint32_t n);
val *kd__v_tensor(elab *e, const tensor *t);
val *kd__v_new(elab *e, val_kind k);
const char *kd__intern(elab *e, const char *s);
const char *kd__v_kind(const val *v);                                   /* "a number", "a tensor [B 128, K 10]" needs kd__v_show */
const char *kd__v_show(elab *e, const val *v);
const char *kd__t_show(elab *e, const tensor *t);                       /* "[B 128, K 10]" */
bool kd__is_num(const val *v);
double kd__num(const val *v);
/* A tensor from a tensor, an applied network or a static number (constant of rank 0); NULL after reporting at `at`. */
tensor *kd__want_tensor(elab *e, val *v, const kd_ast *at);
bool kd__want_int(elab *e, val *v, const kd_ast *at, const char *what, int64_t *out);
bool kd__want_real(elab *e, val *v, const kd_ast *at, const char *what, double *out);
bool kd__want_bool(elab *e, val *v, const kd_ast *at, const char *what, bool *out);
bool kd__want_str(elab *e, val *v, const kd_ast *at, const char *what, const char **out);
val *kd__force_app(val *v);                                            /* an application's value; anything else as it is */

tensor *kd__carry(elab *e, const tensor *t, const kd_ast *at);         /* a value of an earlier program of the scheme, or NULL (scheme_flow.c) */

/* --- scope.c: scopes, places, origins, reporting ----- */
scope *kd__scope_new(elab *e, scope *up, place *p);
binding *kd__scope_find(scope *s, const char *name, scope **where);
binding *kd__scope_here(scope *s, const char *name);
binding *kd__scope_bind(elab *e, scope *s, const char *name, val *v, const kd_ast *at);
const axis *kd__scope_axis(scope *s, const char *label);
bool kd__absent(elab *e, scope *s, const char *label, const kd_ast *at);    /* reports an optional axis that a call has not */
void kd__scope_add_axis(elab *e, scope *s, axis a);
place *kd__place_at(elab *e, place *up, const kd_ast *call, const char *name, const char *what);
void kd__draw_as(elab *e, place *p, const char *path);                   /* its draws, and those below it, are those of a place of that path */
kd_origin kd__origin(elab *e, kd_span at);
kd_diag *kd__err(elab *e, kd_diag_code c, kd_span at, ...);             /* reports with the chain of calls; returns the diagnostic */
uint32_t kd__root_new(elab *e, root_kind k, const char *text);
const char *kd__nearest(elab *e, const char *name, const char *const *names, size_t n);

/* --- axes.c: named axes to positional operators ----- */
kd_build kd__b(elab *e, const kd_ast *at);
bool kd__axis_free(const char *label);
int kd__t_find(const tensor *t, const char *label);                     /* position or -1 */
tensor *kd__t_unary(elab *e, kd_op op, tensor *x, const kd_ast *at);
tensor *kd__t_binary(elab *e, kd_op op, tensor *a, tensor *b, const kd_ast *at, const kd_ast *la, const kd_ast *lb);
tensor *kd__t_where(elab *e, tensor *c, tensor *a, tensor *b, const kd_ast *at);
tensor *kd__t_cast(elab *e, tensor *x, kd_dtype t, const kd_ast *at);
tensor *kd__t_reduce(elab *e, kd_op op, tensor *x, const int64_t *axes, int n, const kd_ast *at);   /* positions; keeps labels of the rest */
tensor *kd__t_keep(elab *e, kd_op op, tensor *x, const int64_t *axes, int n, const kd_ast *at);     /* softmax and kin */
tensor *kd__t_dot(elab *e, tensor *a, tensor *b, const char *const *over, int n, const kd_ast *at);
tensor *kd__t_concat(elab *e, tensor **x, int n, const char *label, const kd_ast *at);
tensor *kd__t_stack(elab *e, tensor **x, int n, const char *label, const kd_ast *at);
tensor *kd__t_align(elab *e, tensor *x, const tensor *to, const kd_ast *at);   /* broadcasts and permutes x to to's axes; NULL after reporting */
tensor *kd__t_const(elab *e, double v, kd_dtype t, const axis *ax, int rank, const kd_ast *at);
tensor *kd__t_wrap(elab *e, kd_value v, const axis *ax, int rank, const kd_ast *at);
kd_value kd__t_spread(elab *e, const tensor *x, const axis *ax, int rank, const kd_ast *at);     /* permuted and broadcast to axes that x's are among */
int kd__t_joined(const tensor *a, const tensor *b, axis *out);                                   /* the axes of a meeting of a and b; -1: too many */
void kd__t_moments(elab *e, tensor *x, const int64_t *axes, int n, const kd_ast *at, tensor *out[2]);    /* mean and biased variance */

/* --- valid.c: masks on axes --- */
bool kd__masked(const tensor *x);
const tensor *kd__valid_and(elab *e, const tensor *a, const tensor *b, const kd_ast *at);
const tensor *kd__valid_of(elab *e, const tensor *x, const int64_t *axes, int n, const kd_ast *at);
const tensor *kd__valid_all(elab *e, const tensor *x, const kd_ast *at);
tensor *kd__valid_or(elab *e, tensor *x, const tensor *m, double fill, const kd_ast *at);
tensor *kd__valid_factor(elab *e, tensor *x, const tensor *other, const kd_ast *at);
const tensor *kd__valid_left(elab *e, const tensor *x, int i, const int64_t *axes, int n, const kd_ast *at);
tensor *kd__valid_some(elab *e, const tensor *x, const tensor *m, const int64_t *axes, int n, const kd_ast *at);
tensor *kd__valid_count(elab *e, const tensor *x, const tensor *m, const int64_t *axes, int n, const kd_ast *at);
void kd__valid_meet(elab *e, const tensor *a, const tensor *b, axis *out, int rank, const kd_ast *at);
void kd__valid_rename(elab *e, tensor *x, const char *const *was, int n);
void kd__valid_merge(elab *e, const tensor *x, const int64_t *pos, int n, const char *label, tensor *y, const kd_ast *at);
void kd__valid_split(elab *e, const tensor *x, int p, int n, tensor *y, const kd_ast *at);
void kd__valid_slice(elab *e, const char *label, int64_t from, int64_t to, bool drop, axis *ax, int rank, const kd_ast *at);
const tensor *kd__valid_gather(elab *e, const tensor *x, const tensor *mask, int p, tensor *idx, const kd_ast *at);
void kd__valid_join(elab *e, tensor **x, int n, const char *label, bool stacked, axis *ax, int rank, const kd_ast *at);
tensor *kd__valid_where(elab *e, tensor *x, int p, tensor *m, const kd_ast *at);
/* The axes named in an `over:` argument (a name, `..`, or a list of them): positions in x, ascending. False after reporting. */
bool kd__over(elab *e, scope *s, const kd_ast *over, const tensor *x, int64_t *axes, int *n, const char *what);
val *kd__index(elab *e, scope *s, val *x, const kd_ast *n);             /* x[...] : list and record items, views, gathers, slices */
bool kd__t_unique(elab *e, const tensor *t, const kd_ast *at);         /* no label twice */
tensor *kd__t_merge(elab *e, tensor *x, const int64_t *pos, int n, const char *label, const kd_ast *at);   /* axes into one, at the first one's place */
tensor *kd__index_tensor(elab *e, const tensor *x, int p, val *i, const kd_ast *at);                        /* a number, range or tensor as index of axis p */
const char *kd__new_label(elab *e, scope *s, const char *text);           /* the label that an axis made here gets */
const char *kd__index_label(elab *e, scope *s, const tensor *x, const char *text);   /* the axis that a label in brackets means */
tensor *kd__t_slice(elab *e, tensor *x, int p, int64_t from, int64_t to, bool drop, const kd_ast *at);
bool kd__picks(elab *e, scope *s, const tensor *x, const kd_ast *n, struct pick *picks, int *npick);         /* the indices of an INDEX node, for writing */

/* --- gather.c: tensors as indices --- */
typedef struct pick { const char *label; tensor *idx; const kd_ast *at; } pick;    /* axis `label` of a tensor, indexed by idx */
tensor *kd__t_gather(elab *e, tensor *x, int axis, tensor *idx, const kd_ast *at);
tensor *kd__t_gather_at(elab *e, tensor *x, const pick *p, int n, const kd_ast *at);       /* at several indices at once, aligned by name */
tensor *kd__t_scatter_at(elab *e, kd_op op, tensor *x, const pick *p, int n, tensor *v, tensor *where, const kd_ast *at);
bool kd__labels_fit(elab *e, const tensor *idx, const axis *ax, const kd_ast *at);
bool kd__picks_distinct(elab *e, const tensor *x, const pick *p, int n);
void kd__say_equal_indices(elab *e, const char *name, const kd_ast *at);
/* A list of axes in brackets as a shape ([B, M: n]); new labels get the sizes given. */
bool kd__shape(elab *e, scope *s, const kd_ast *list, axis *ax, uint32_t *rank);
bool kd__axes_type(elab *e, scope *s, const kd_ast *axes, axis *ax, uint32_t *rank);    /* the same for a declared type `[O: out, D]` */

/* --- eval.c, call.c ----- */
val *kd__eval(elab *e, scope *s, const kd_ast *n);
void kd__exec(elab *e, scope *s, const kd_ast *stmt);
void kd__exec_block(elab *e, scope *s, const kd_ast *block);
val *kd__read(elab *e, scope *s, const kd_ast *n, const char *name);
val *kd__read_binding(elab *e, binding *b, const kd_ast *n);
val *kd__call(elab *e, scope *s, const kd_ast *n);
val *kd__call_value(elab *e, scope *s, val *f, arg *args, uint32_t n, const kd_ast *at);
val *kd__field(elab *e, scope *s, val *v, const kd_ast *n);
val *kd__app_tap(elab *e, app *a, const char *name);
void kd__bind_stmt(elab *e, scope *s, const kd_ast *n);
val *kd__binary(elab *e, const kd_ast *n, const char *op, val *a, val *b);
val *kd__unary(elab *e, const kd_ast *n, kd_op op, val *a);
uint32_t kd__args(elab *e, scope *s, const kd_ast *call, arg **out);     /* arguments unevaluated (v NULL) */
val *kd__arg_eval(elab *e, scope *s, arg *a);
uint32_t kd__override_args(elab *e, const val *f, const kd_ast *call, arg **a, uint32_t n);   /* --set NAME.arg=value */
bool kd__setting(elab *e, const char *path, val **out);                  /* --set path=value, when given */
scope *kd__bind_call(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at);
bool kd__def_is_net(const def *d);
bool kd__like_before(elab *e, scope *in, const tensor *t, const tensor *out, const labels *back, size_t n, const kd_ast *at, const char *callee);   /* guard.c */
bool kd__inputs_in_order(elab *e, scope *in, const def *d, const labels *back, const kd_ast *at);
bool kd__match_axes(elab *e, scope *in, const kd_ast *type, tensor *t, labels *back, const kd_ast *at, const char *pname, tensor *out, const char *callee);
bool kd__typed(elab *e, scope *in, const kd_ast *type, val **v, labels *back, const kd_ast *at, const char *pname, const char *callee);
bool kd__computed(const val *v);                                         /* a tensor, an application, a tree, or something that holds one */
val *kd__back(elab *e, const labels *l, val *v, const kd_ast *at, const char *callee);
val *kd__run_optimizer(elab *e, spec *o, val *param, val *grad, kd_value when, const kd_ast *at);
val *kd__apply_net(elab *e, scope *s, net *n, arg *args, uint32_t nargs, const kd_ast *at);
val *kd__run_net(elab *e, scope *s, net *w, arg *a, uint32_t n, const kd_ast *at, rewire *taps);     /* apply_net, with its taps at hand */
bool kd__fix_args(elab *e, scope *s, const def *d, arg *a, uint32_t n, arg **out, uint32_t *nout);    /* those that construct, not the inputs */
net *kd__net_new(elab *e, scope *s, def *d, arg *fixed, uint32_t nfixed, rule *rules, const kd_ast *at);   /* an instance of the place at hand */

/* --- own.c: params, states, updates, draws, programs ----- */
prog *kd__prog_new(elab *e, prog_kind k, const char *name);
void kd__own(elab *e, scope *s, const kd_ast *n);                       /* executes a `param` or `state` statement */
void kd__update(elab *e, scope *s, const kd_ast *n);                    /* executes `update target = expr` */
tensor *kd__updated(elab *e, scope *s, const kd_ast *n, val *v, tensor *old);       /* the target's new value of v: written at indices, where the mask holds */
val *kd__read_slot(elab *e, int64_t slot, const kd_ast *at);
val *kd__next(elab *e, scope *s, const kd_ast *name);
kd_value kd__slot_now(elab *e, int64_t slot, const kd_ast *at);
void kd__slot_set(elab *e, prog *p, int64_t slot, kd_value v, const kd_ast *at);
bool kd__commits(elab *e, const prog *p, const place *owner);            /* design 2.7, rule 3 */
void kd__commit(elab *e, prog *p, const kd_ast *at);                     /* pending updates become the new versions */
kd_value kd__slot_input(elab *e, prog *p, int64_t slot);                 /* the value at the program's start */
int64_t kd__slot_add(elab *e, const char *path, kd_slot_kind k, kd_dtype t, const axis *ax, int rank, place *owner, kd_span at);
val *kd__ambient(elab *e, kd_ambient a, const kd_ast *at);
val *kd__draw(elab *e, scope *s, kd_op op, const kd_ast *call, const axis *ax, uint32_t rank);
uint64_t kd__below_key(const draw_key *k, const place *p);
bool kd__training(elab *e, scope *s);
bool kd__place_frozen(elab *e, const place *p);                          /* `freeze`: no updates, evaluation mode (step.c) */

/* --- weights.c ----- */
void kd__from(elab *e, const kd_ast *bind, scope *s, val *v);            /* `from` of a binding whose value is v */
const from_file *kd__net_from(const net *w);                                  /* of the network, or of the one that it is like; NULL: none */

/* --- loop.c ----- */
val *kd__loop_value(elab *e, scope *s, const kd_ast *n);                /* `repeat` and `for` as expressions */
void kd__loop_stmt(elab *e, scope *s, const kd_ast *n);                 /* the same as statements of definitions, and over static lists anywhere */
void kd__yield(elab *e, scope *s, const kd_ast *n);
bool kd__trial_owns(elab *e);                                           /* what is owned here would be each turn's own: the trial fails */
bool kd__trial_changes(elab *e);                                        /* a state changes: the same */
kd_value kd__turn_key(elab *e, kd_value key, const kd_ast *at);         /* the random key with the turns around us in it */
val *kd__unstack(elab *e, binding *b, const kd_ast *at);
/* An input that stands for a value of a loop's turn while its body is tried: it has no slot. */
static inline bool kd__is_open(const elab *e, const kd_node *n) { return (size_t)n->attr[0].u.i >= e->slot.n; }
const char *kd__new_name(elab *e, kd__map *taken, const char *name);     /* of two that are alike the later gets a number (scope.c) */
/* --- bounds.c ----- */
enum { KD__CALL_WORK = 10, KD__CODE_WORK = 100, KD__NODES_LOOKED_AT = 25000 };                /* of a program of a scheme; fewer nodes are no matter */
bool kd__guarded(elab *e, void (*work)(elab *e, void *ctx), void *ctx);
void kd__spend(elab *e, int64_t n);                                     /* counts work; jumps where it is too much */
void kd__exhausted(elab *e);                                            /* jumps if the program has too many nodes or was too much work */
void kd__budgets(elab *e);                                              /* reads their settings */
void kd__give_up(elab *e);                                              /* after an error that nothing can follow: jumps */
kd_graph *kd__graph_for(elab *e);                                       /* a graph whose nodes are refused with a message */
int64_t kd__node_budget(elab *e);
bool kd__over_budget(elab *e, const prog *p, kd_span at);               /* reports when the program has too many nodes */
void kd__loop_made(elab *e, size_t before, kd_span at);                 /* a loop was written out: remembers the largest */
/* in eval.c */
typedef KD_VEC(val *) val_vec;
void kd__enter_turn(elab *e, uint64_t loop, const char *turns, size_t i);
bool kd__items_of(elab *e, val *v, const kd_ast *at, val_vec *out);
bool kd__bind_item(elab *e, scope *s, const kd_ast *const *names, uint32_t n, val *item, const kd_ast *at);
binding *kd__assignable(scope *s, const char *name);
val *kd__list_plus(elab *e, val *a, val *b);

/* --- builtin.c ----- */
typedef struct builtin { const char *name; val *(*fn)(elab *e, scope *s, const struct builtin *b, const kd_ast *call, arg *a, uint32_t n); int op; const char *sig, *doc; } builtin;
const builtin *kd__builtin_find(const char *name);
size_t kd__builtin_names(const char **out, size_t max);

/* --- tree.c ----- */
typedef KD_VEC(tensor *) tensor_list;
typedef KD_VEC(int64_t) slot_list;
typedef val *(*leaf_fn)(elab *e, void *ctx, const kd_ast *at, val **given);
bool kd__within(const place *p, const place *top);
bool kd__part_owns(const elab *e, const net_part *p, size_t slot);
/* A network, a part of one, a tree: something that arithmetic takes leaf by leaf. */
bool kd__treelike(const val *v);
/* The parameters of a network, of a part, of a list of networks (paths then begin with the networks' own), as they are here; a tree as it is.
 * NULL after reporting. Leaves are in the order of the slots; leaf.slot is where the value belongs, so a scheme can write it back. */
tree *kd__tree_of(elab *e, val *v, const kd_ast *at);
/* The parameters (and states) that a network, a part or a list of them owns, in order. False after reporting: not a network. */
bool kd__slots_of(elab *e, val *v, bool states, const kd_ast *at, slot_list *out);
/* The leaf of `b` that belongs to each leaf of `a`, by path; NULL after reporting the first path or shape that differs. */
tensor **kd__alike(elab *e, const tree *a, const tree *b, const kd_ast *at);
const leaf *kd__leaf_at(const tree *t, const char *path);
val *kd__v_tree(elab *e, leaf *l, uint32_t n, const char *of);
/* f over the leaves of the trees among given[0..n); the others (numbers, truth values) are passed as they are. */
val *kd__tree_map(elab *e, const kd_ast *at, val **given, uint32_t n, leaf_fn f, void *ctx);
val *kd__tree_reduce(elab *e, const kd_ast *at, kd_op op, val *v);       /* over all elements of all leaves: SUM, REDUCE_MAX, REDUCE_MIN, ANY, ALL */
val *kd__tree_dot(elab *e, const kd_ast *at, val *a, val *b);
int64_t kd__tree_count(const tree *t);                                   /* numbers in all leaves */
val *kd__tree_items(elab *e, const tree *t);                             /* the leaves as a list */
val *kd__tree_field(elab *e, const tree *t, const char *name);           /* a leaf, or the tree below it; NULL: neither */
val *kd__tree_pick(elab *e, val *v, const char *pattern, const kd_ast *at);
val *kd__part_field(elab *e, const net_part *p, const char *name, const kd_ast *at);   /* S.head, S.head.W: a part, a list of parts, a parameter; NULL */
const char *kd__part_names(elab *e, const net_part *p);
/* The tensors of a value (a tensor, applied network, tree, network, list or record of them), in order, and the same structure with others. */
bool kd__flatten(elab *e, val *v, const kd_ast *at, const char *what, tensor_list *out);
val *kd__unflatten(elab *e, val *like, tensor *const *t, size_t *used, const kd_ast *at);
val *kd__over_slot(elab *e, int64_t slot, const kd_ast *at);
/* M at tree */
val *kd__net_at(elab *e, net *w, tree *t);
val *kd__eval_at(elab *e, scope *s, const kd_ast *n);

/* --- material.c ----- */
val *kd__eval_with(elab *e, scope *s, const kd_ast *n);
val *kd__eval_like(elab *e, scope *s, const kd_ast *n);
val *kd__eval_of(elab *e, scope *s, const kd_ast *n);
val *kd__apply_rewired(elab *e, scope *s, net *w, arg *a, uint32_t n, const kd_ast *at);
val *kd__rewired(elab *e, scope *s, const char *name, val *v);           /* what a body binds to a name: v, or what a `with` puts there */
val *kd__by_rule(elab *e, scope *s, const char *name);                   /* what a `with` puts in place of a definition; NULL */
void kd__unused_rules(elab *e);
/* The parameters and states that a composed network (a `net` of the experiment) reaches, each once. False after reporting. */
bool kd__reached_by(elab *e, def *d, const kd_ast *at, slot_list *out);
bool kd__key_arg(elab *e, scope *s, arg *key, place *base, draw_key *out);

/* --- gradient.c ----- */
void kd__no_gradient(elab *e, const kd_grad_error *err, const kd_ast *at);
val *kd__own_value(elab *e, const scope *s, const char *name, const kd_ast *expr, val *v);   /* what `name = expr` binds: with a gradient of its own where one is asked for */

/* --- data.c ----- */
val *kd__data_field(elab *e, val *d, const char *name, const kd_ast *n);            /* of a data set or a batch */
val *kd__split_field(elab *e, val *v, const char *name, const kd_ast *n);             /* D.train.all, D.train.all.image, D.train.cycle */
void kd__data_whole(elab *e, kd_module *m);                              /* the module's list of them */
val *kd__data_make(elab *e, scope *s, const kd_ast *call, arg *a, uint32_t n);       /* builtin dataset(...) */
/* A batch of a data set's split comes into sight, below `up`. */
opening *kd__open(elab *e, opening *up, uint32_t data, uint32_t split, int64_t rows, const kd_ast *at);
int64_t kd__data_index(elab *e, opening *o, const kd_ast *at);           /* slot of the batch's sample numbers */
int64_t kd__data_turned(elab *e, opening *o, const kd_ast *at);          /* of numbers that differ from epoch to epoch, up to `replay` */
/* --- clauses.c: what is said of a data set ----- */
enum { KD__CLAUSES = 8 };                        /* at most */
extern const char *const kd__cache_word[];       /* by kd_cache_mode */
size_t kd__clause_names(const char **out);
bool kd__clause(elab *e, scope *s, arg *a, data_set *d);                 /* takes an argument that is a clause; false after reporting */
val *kd__data_with(elab *e, scope *s, val *v, const kd_ast *n);          /* dataset(...) with (clause: value) */
/* --- written.c: sets that a scheme writes, and those joined with them ----- */
void kd__written_declare(elab *e, scope *s, const kd_ast *n);            /* the names that `write` statements in n give to sets */
bool kd__written_readable(elab *e, uint32_t data, const kd_ast *at);         /* may it be read here? False after reporting */
val *kd__join(elab *e, scope *s, const kd_ast *call, arg *a, uint32_t n);
/* The batch of a joined set that has this set's fields, or NULL; the field's number there. */
opening *kd__joined_open(elab *e, const prog *p, uint32_t data);
uint32_t kd__joined_field(elab *e, const opening *o, uint32_t data, uint32_t field);
opening *kd__open_of(const prog *p, uint32_t data);                      /* the batch that formulas read, or NULL */
val *kd__take_call(elab *e, scope *s, val *v, arg *a, uint32_t n, const kd_ast *at);       /* D.take(n) */
val *kd__data_source(elab *e, scope *s, const char *format, const kd_ast *call, arg *a, uint32_t n);

/* --- module.c ----- */
module *kd__module_load(elab *e, const char *name, const kd_ast *at);
bool kd__library_help(elab *e, kd_diag *d, const char *subject, int64_t number);
void kd__fit_help(elab *e, kd_diag *d, const char *label, int rank, int64_t size);
void kd__use(elab *e, scope *s, const kd_ast *n);
void kd__late_formulas(elab *e, scope *s);                               /* those that asked for parts of a network above its first application */
void kd__probe_formula(elab *e, binding *b, const kd_ast *at);           /* once, so that its errors show where it stands */
bool kd__hint_name(elab *e, kd_diag *d, const char *name, const kd_source *near);         /* an unknown name: where the library has it, what it is called here (hint.c) */
bool kd__hint_field(elab *e, kd_diag *d, const char *name, const kd_ast *of);             /* a field of what has none */
void kd__hint_value(elab *e, kd_diag *d, const val *v, const kd_ast *at);                 /* what stands where a tensor is needed */
const char *kd__nearest_line(elab *e, const char *name, const char *lines);
void kd__define(elab *e, scope *s, const kd_ast *n);

/* --- decide.c ----- */
bool kd__decision_call(const kd_ast *n);                                 /* decide(...) */
const char *kd__decided_since(const elab *e, const prog *p);             /* the name of a decision that was made after p, or NULL */
void kd__explore(elab *e, const kd_syntax *syn);                         /* the rest of the program below the decision that it waits for: its errors, by what is decided */

/* --- elaborate.c ----- */
/* The whole file, up to the decision that it waits for; the errors are in the sink. */
elab *kd__elaborate_file(kd__arena *a, kd_sink *sink, const kd_syntax *syn, const kd_elab_options *opt);
void kd__absences(elab *e);                                              /* what no statement used: rules, teachers without training, names, settings */

/* --- scheme*.c ----- */
void kd__scheme_run(elab *e, scope *s, const kd_ast *file);
uint32_t kd__turns_around(const elab *e);                               /* loops of the machine around the statement */
val *kd__scheme_value(elab *e, scope *s, const kd_ast *n);              /* of `let` and `=`: `if` and `evaluate` may be the machine's */
kd_module *kd__module_finish(elab *e);                                  /* layout of slots, passes, plans (finish.c) */
void kd__check_definitions(elab *e, const kd_ast *file, scope *s);       /* each typed definition by itself, A16 (witness.c) */
#endif
