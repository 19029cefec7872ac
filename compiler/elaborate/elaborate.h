/* elaborate.h: from syntax trees to a module: names, static values, named axes, instances, programs, scheme code.
 *
 * Everything that can be wrong in a program is found here (or in the passes it calls) and goes to the sink. The result is a
 * kd_module that the runtime executes; the compiler never reads data: sizes of data sets come from `describe`. */
#ifndef KD_ELABORATE_H
#define KD_ELABORATE_H
#include "compiler/front/ast.h"
#include "compiler/plan/plan_make.h"
#include "runtime/exec/module.h"

/* `--set path=value`: overrides a top-level setting or an argument of a top-level binding. `used` is set when it was taken. */
typedef struct kd_setting { const char *path, *value; bool used; } kd_setting;

/* A tensor of a file of weights: `type` has the element type that the reader makes of it, `stored` is the one in the file ("BF16"). */
typedef struct kd_weight { const char *name, *stored; kd_type type; } kd_weight;
typedef struct kd_weights { const kd_weight *tensor; size_t n; } kd_weights;             /* sorted by name */

/* What is done about parts of programs that are the same each time. Where rows of samples are kept: as the program says of their data set (PROGRAM; AUTO where
 * it says nothing), nowhere, in memory, in the cache folder, or where it pays (AUTO); and how many bytes there may be in each at a time. */
typedef enum kd_cache_mode { KD_CACHE_PROGRAM, KD_CACHE_AUTO, KD_CACHE_OFF, KD_CACHE_MEMORY, KD_CACHE_DISK } kd_cache_mode;
typedef struct kd_frozen_options { kd_cache_mode mode; int64_t memory, disk; bool given; } kd_frozen_options;      /* given: asked for, so that a program's own budgets are passed over */

typedef struct kd_elab_options {
  /* Text of a library or local module, NULL when there is none: name is a slash-separated path without ".kd" ("logit/kd").
   * `shown` gets the path for messages. `near`: the source that asked. */
  const char *(*load)(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown);
  void *load_ctx;
  /* Rows of each split, from the data's headers: fills rows[0..nsplit) (-1 unknown). False: data missing; `why` says so (a note). */
  bool (*describe)(void *ctx, const kd_dataset *d, int64_t *rows, char *why, size_t n);
  void *describe_ctx;
  /* The tensors of a file of weights, from its header. KD_E_DATA: the file is not here (a note); others: it is no such file. NULL: not looked at. */
  kd_status (*weights)(void *ctx, const char *file, kd_weights *out, char *why, size_t n);
  void *weights_ctx;
  kd_dtype real;                                 /* KD_F32 or KD_F64 */
  kd_setting *setting; size_t nsetting;
  int64_t memory;                                /* limit in bytes of what is kept and what a program takes; 0: none */
  bool apart;                                    /* operators one by one, not in groups */
  int64_t unroll;                                /* loops of at most so many turns are written out; 0: as many as is usual, -1: none (for tests) */
  bool check_definitions;                        /* also elaborate every definition of the file by itself (kdc check) */
  const int64_t *decided; size_t ndecided;        /* what the first decisions of the scheme came to; at the next one the module ends */
  bool tried;                                    /* what follows a decision was checked before */
  kd__arena *scratch;                            /* for that check: empty, and needed until the diagnostics are told; NULL: the module's arena */
  const kd_frozen_options *frozen;               /* NULL: every program computes all that it computes each time */
  bool other_batch;                              /* another batch size than the program says (elaborate.c) */
  /* Called with each program's graph: stage name of the pipeline ("graph", then each pass), for --dump. May be NULL. */
  void (*seen)(void *ctx, const char *stage, const char *program, const kd_graph *g);
  void (*planned)(void *ctx, const kd_plan *p, const kd_slot *slots);
  void *seen_ctx;
} kd_elab_options;

/* Elaborates the file. Returns NULL when errors were reported (or the file has no scheme: then `*definitions_only` is true and no
 * error need have been reported). The module lives in `a`. */
kd_module *kd__elaborate(kd__arena *a, kd_sink *sink, const kd_syntax *file, const kd_elab_options *opt, bool *definitions_only);

/* Reports `text` where origin `o` of the module's plans and code stands in the program, with the chain of calls that led there. False: that
 * is not known. */
bool kd__module_report(const kd_module *m, kd_sink *sink, kd_origin o, const char *text);

/* The path of bindings that origin `o` belongs to: "T.stage1.conv1"; "" where it is none's. */
const char *kd__module_place(const kd_module *m, kd_origin o);
/* The graph that a plan was made from, as it was elaborated, with what nothing needs. */
const kd_graph *kd__module_graph(const kd_module *m, uint32_t plan);

/* One definition of a file applied to given tensors, without data or scheme: for tests against reference vectors and for tools.
 * `entry` names an fn or loss of the file; each argument is a tensor input (slot i for arg i) or, with `text`, a value in the language.
 * The graph's results: "loss" (the entry's value, or field `loss` of a record), each other field of a record under its name, and
 * "grad.NAME" for each input with `grad` and "grad.PATH" for each parameter that the loss reaches (zeros where it does not depend on it).
 * Updates of states are written to their slots. NULL after reporting to the sink. */
typedef struct kd_entry_arg { const char *name; kd_type type; bool grad; const char *text; } kd_entry_arg;
typedef struct kd_entry { kd_graph *graph, *init; kd_slot *slot; uint32_t nslot; } kd_entry;   /* init writes the initial value of params and states */
bool kd__elaborate_entry(kd__arena *a, kd_sink *sink, const kd_syntax *file, const kd_elab_options *opt, const char *entry,
                         const kd_entry_arg *arg, size_t narg, kd_entry *out);
#endif
