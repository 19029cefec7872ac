/* scheme.h: what the files that compile schemes share.
 *
 * Statements go to programs in a row (segments, scheme_flow.c): a program ends where the machine must decide or count something, and the
 * next one begins there. A value of an earlier program that a later one reads is carried in a slot of its own. */
#ifndef KD_SCHEME_H
#define KD_SCHEME_H
#include "compiler/elaborate/elab.h"
#include <stdio.h>


/* What a statement names: a network, a part of one, a parameter or state, or a pattern of paths. */
typedef struct mention { val *v; net *net; const net_part *part; int64_t slot; const char *pattern; const kd_ast *at; bool hit; } mention;
typedef struct targets { mention *v; size_t n, cap; } targets;
/* `v`: the networks among what is named (or that own a part of it). */
typedef struct models { net **v; size_t n, cap; targets what, except; } models;
typedef struct freeze_rule { targets what, except; bool on; } freeze_rule;

/* The module under construction. Graphs are planned at the end, when every slot has its place. */
typedef struct planned { const char *name; kd_graph *g, *improved; } planned;          /* improved: through the passes */
/* Programs whose slots are known at the end only: initial values set again, parameters copied. */
typedef struct deferred { size_t load, nload; kd_graph *g; models what, to; const char *how; place *below; const kd_ast *at; frame *frame; } deferred;
/* Where a carried value comes from. */
typedef struct made_in { int64_t slot; prog *in; kd_value v; } made_in;
/* Registers that the programs of a body get, so that its form for a short batch takes the same ones. */
typedef struct registers { KD_VEC(uint32_t) first; size_t next; bool again; uint32_t from, to; struct registers *up; } registers;   /* from .. to: all that were made meanwhile */
/* `update` of a whole network: its parameters, not its states. */
typedef struct averaged { const net *net; const kd_ast *at; } averaged;
typedef struct committed { int64_t slot; const kd_ast *by; uint32_t arm; } committed;
typedef struct taken { kd_load l; net *net; } taken;                       /* what a network takes from its file: all of it, or what a reset names */
typedef struct stage_slot { uint32_t stage, slot; } stage_slot;
typedef struct decision { kd_decision d; const kd_ast *at; } decision;
typedef struct mod_build {
  KD_VEC(decision) decision;
  KD_VEC(kd_code) code;
  KD_VEC(planned) plan;
  KD_VEC(kd_stream) stream;
  KD_VEC(const char *) string;
  KD_VEC(kd_stage_info) stage;
  KD_VEC(stage_slot) trains;                       /* what steps train, by stage */
  KD_VEC(kd_group) group;
  KD_VEC(kd_report_row) report;
  KD_VEC(kd_append) append;
  KD_VEC(kd_pass) pass;
  KD_VEC(taken) load;
  KD_VEC(const char *) weights;                    /* files of the loads */
  KD_VEC(deferred) later; size_t resolved;         /* the first ones are done */
  KD_VEC(made_in) made;
  KD_VEC(freeze_rule) frozen;
  KD_VEC(averaged) averaged;
  KD_VEC(kd_kept) rows; int64_t row_bytes;         /* row_bytes: in memory at a time, at most */
  KD_VEC(kd_frozen_part) parts;
  KD_VEC(committed) committed;                     /* in the batch at hand */
  KD_VEC(pending) dropped;                         /* of the batch at hand: updates that waited for a step when a program ended */
  uint32_t nreg, ncounter;
  const char *stage_name;
  place *home;                                     /* owner of the optimizer states of the stage at hand */
  const kd_ast *keep; bool looked;                 /* `keep best by` of the stage at hand; whether something has looked after it */
  models best; uint32_t kept; size_t before;       /* whose values it keeps in the loops around us; 1 + their group, 0: nothing yet; plans before them */
  models trained;                                  /* every network that some step trains, for the saved weights */
  uint32_t turning;                                /* loops of the machine around us */
  uint32_t batches, epochs, control, outside;      /* around us: loops over batches, over epochs, anything that the machine decides; that of the stage */
  const models *stepped;                           /* what the steps of the loop over batches at hand train */
  uint32_t losses, steps;                          /* of the batch at hand, so far: losses named, steps made */
  uint32_t arm, arms;                              /* the branch at hand (0: none), and how many there were */
  registers *regs;
  int64_t turns;                                   /* how often the statement is executed within its stage, as planned */
  models batch_models; uint32_t batch_data; bool batch_seen;            /* the data set of the last loop over batches in this stage */
} mod_build;

/* --- step.c ----- */
bool kd__models(elab *e, scope *s, const kd_ast *n, models *out);
bool kd__covers(elab *e, const targets *t, int64_t slot);                /* is the slot among them? They are marked as hit. */
bool kd__has_net(const models *m, const net *w);
bool kd__mentioned(elab *e, const models *m, int64_t slot);                  /* among what is named, and not excepted */
void kd__unhit(elab *e, const targets *t);                               /* reports what matched nothing */
int64_t kd__read_from(elab *e, const val *v);
bool kd__slot_frozen(elab *e, int64_t slot);
int64_t kd__slot_rank(elab *e, int64_t slot);
place *kd__step_home(elab *e, const kd_ast *n);   /* owns the optimizer states of a `step` */
/* One step in the current program; false after reporting. `home` owns the optimizer's states. */
bool kd__train_step(elab *e, scope *s, const models *m, const kd_ast *models_ast, const kd_ast *loss, const kd_ast *using_ast, place *home);
/* The same with a gradient that is given: a tree of parameters, a tensor for a parameter of the experiment. */
bool kd__step_along(elab *e, scope *s, const models *m, const kd_ast *n, place *home);

/* --- scheme_flow.c ----- */
uint32_t kd__emit(elab *e, kd_code_op op, int64_t a, int64_t b, int64_t c, const kd_ast *at);
uint32_t kd__here(elab *e);                                              /* the next instruction's address */
uint32_t kd__add_plan(elab *e, const char *name, kd_graph *g);
uint32_t kd__add_string(elab *e, const char *s);
/* A stream for an opening; its fields are bound when all that read it are known. */
uint32_t kd__add_stream(elab *e, const opening *o, bool shuffle, bool drop_last);
void kd__bind_stream(elab *e, uint32_t stream, const opening *o);
/* The program at hand becomes a plan / a new one begins / both, when something is in it. */
void kd__flow_end(elab *e, const kd_ast *at);
void kd__flow_begin(elab *e);
void kd__flow_cut(elab *e, const kd_ast *at);
/* A program's end at which the rank-0 value `c` is in a register; a new one begins. */
uint32_t kd__flow_register(elab *e, tensor *c, const kd_ast *at);
/* The VALUE slot that a node reads, or -1. */
int64_t kd__value_read(const elab *e, const kd_node *n);
/* A slot for one number or tensor that the machine or several programs write. */
int64_t kd__value_slot(elab *e, kd_dtype t, const axis *ax, int rank, kd_span at);
void kd__value_from(elab *e, int64_t slot, tensor *v, const kd_ast *at); /* the program at hand writes it */
int64_t kd__carried_slot(elab *e, const tensor *t, const kd_ast *at);    /* where a later program finds it */
/* The parameters that the carried value in `slot` depends on, among `all`: -1 or the first. */
int64_t kd__carried_from(elab *e, int64_t slot, const slots *all);
/* `if`, `let x = if ...`, `let x = evaluate ...` of a scheme. */
void kd__scheme_if(elab *e, scope *s, const kd_ast *n, tensor *c);
val *kd__scheme_value(elab *e, scope *s, const kd_ast *n);
scope *kd__flow_scope(elab *e, scope *s);                                /* a body that the machine enters */

/* --- scheme_loop.c ----- */
void kd__begin_stage(elab *e, const char *name, const kd_ast *at);
void kd__end_stage(elab *e, const kd_ast *at);
bool kd__data_of(elab *e, scope *s, const kd_ast *n, const char *split, uint32_t *data, uint32_t *which);
void kd__train(elab *e, scope *s, const kd_ast *n);
void kd__for_data(elab *e, scope *s, const kd_ast *n);
void kd__for_count(elab *e, scope *s, const kd_ast *n);
void kd__scheme_repeat(elab *e, scope *s, const kd_ast *n);
void kd__every(elab *e, scope *s, const kd_ast *n);
uint32_t kd__add_group(elab *e, const char *name, const models *m, bool whole, bool strip);

/* --- keep.c ----- */
/* At the end of a turn: `keep best by` of the stage (`kept`: the networks of its steps; NULL: not here) and `until` (or NULL), in one evaluation where
 * they read the same split. Returns the jump to patch, 0: none. */
uint32_t kd__look(elab *e, scope *s, const models *kept, const kd_ast *until);
uint32_t kd__until_turn(elab *e, scope *s, const kd_ast *until);
int64_t kd__keep_every(elab *e, scope *s, const models *kept, int64_t pass, const kd_ast *at);    /* the same each time that a pass of a counted loop is over; returns its batches */
void kd__keep_end(elab *e, const kd_ast *at);                            /* outside of all loops, what was best is brought back */

/* --- written.c ----- */
void kd__write(elab *e, scope *s, const kd_ast *n);
bool kd__only_writes(const kd_ast *n);                                   /* a body that writes and makes no step: no training */

/* --- scheme_stmt.c ----- */
void kd__scheme_update(elab *e, scope *s, const kd_ast *n);
void kd__copy(elab *e, scope *s, const kd_ast *n);
void kd__reset(elab *e, scope *s, const kd_ast *n);
void kd__reset_below(elab *e, place *p, const kd_ast *at);               /* the optimizers' states below a place, each time it is reached */
void kd__freeze(elab *e, scope *s, const kd_ast *n, bool on);
void kd__save(elab *e, scope *s, const kd_ast *n);
void kd__evaluate(elab *e, scope *s, const kd_ast *n, bool report);
val *kd__evaluate_value(elab *e, scope *s, const kd_ast *n);
void kd__resolve(elab *e);                                               /* what was deferred, so far */
void kd__unhit_rules(elab *e);                                           /* `freeze` that matched nothing */

/* --- frozen.c ----- */
/* What programs would compute anew each time although it is the same goes into programs of its own, and instructions for them into the code. Graphs have
 * been through the passes. */
int64_t *kd__code_target(kd_code *c);                                    /* the instruction's address that is an operand, or NULL (finish.c) */
kd_code *kd__frozen_split(elab *e, kd_code *code, uint32_t *ncode);

/* --- weights.c ----- */
size_t kd__loads(elab *e, const kd_ast *at);                             /* a load, still empty, for each network with `from` before a reset: how many */
void kd__loads_fill(elab *e, size_t first, size_t n, const models *m);   /* with those of its slots that are mentioned */
size_t kd__loads_first(elab *e);                                         /* whole networks, for the program's start: the number of the first load */
void kd__weights_check(elab *e);                                         /* each network against its file */

/* --- metrics.c, finish.c ----- */
/* A plan that sets the given slots to their initial values. */
kd_graph *kd__reset_graph(elab *e, const slots *s);
/* Evaluates expressions of metrics over a whole split; registers from *first on hold the values, in order. */
bool kd__eval_metrics(elab *e, scope *s, const kd_ast *const *expr, uint32_t n, uint32_t data, uint32_t split, uint32_t *first);
bool kd__reads_batch(const kd_graph *g, const elab *e, kd_value v, int64_t *slot);
void kd__scheme_stmt(elab *e, scope *s, const kd_ast *n);
bool kd__scheme_is_stmt(const kd_ast *n);
#endif
