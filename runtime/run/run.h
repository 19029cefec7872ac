/* run.h: the machine that runs a compiled module (runtime/exec/module.h): data, plans, events, the run folder.
 *
 * Ownership: the module is borrowed and must outlive the machine, and so must the options' strings until the run has ended; what a machine
 *   hands out lives until it is closed, and what an event holds until the callback returns. A run that has ended holds its results alone:
 *   data, threads and the run folder are given back.
 * Errors: a failing call fills the caller's kd__run_error. After a failure of kd__machine_go there is nothing to do but read, save and close.
 * Threads: one machine belongs to one thread at a time; only *cancel may be written from elsewhere. Machines share nothing.
 * Randomness: draws of training and of what a scheme computes depend on (seed, stage, times it was entered, step, turns of the loops around,
 *   pass and batch of the open streams), those along a batch that come round on (seed, sample, passes begun in the stage modulo so many), draws of values that are reset on the seed and how many resets ran before, all others (initial
 *   values, evaluation) on the seed alone. */
#ifndef KD_RUN_H
#define KD_RUN_H
#include "runtime/data/data.h"

/* --- events: the members of kd_event (include/kd.h), in its order ------------------------------------------------------ */
typedef struct kd__named { const char *name; double value; } kd__named;
typedef enum kd__event_kind { KD__EVENT_STAGE, KD__EVENT_STEP, KD__EVENT_EPOCH, KD__EVENT_SAY, KD__EVENT_NOTE } kd__event_kind;
typedef struct kd__event {
  kd__event_kind kind;
  const char *stage; int stage_number, stages;   /* number from 1; before the first stage: "" and 0 */
  int64_t epoch, epochs;                         /* epoch from 1; epochs 0: unknown */
  int64_t step, steps;                           /* within the stage; steps 0: unknown */
  double samples_per_second;                     /* 0: unknown */
  double seconds, seconds_left;                  /* since the machine was opened; of this stage, below 0: unknown */
  const kd__named *value; size_t nvalue;         /* STEP: the step's losses; EPOCH: their means over the epoch's steps; SAY: what is shown */
  const char *text;                              /* NOTE */
} kd__event;

/* --- options -------------------------------------------------------------------------------------------------------------- */
/* An exact copy of a source for the run folder: source/NAME. In a name, a leading "/" and parts that are ".." or "." are left out. */
typedef struct kd__source_copy { const char *name, *text; size_t size; } kd__source_copy;

/* What runs fused groups: whichever takes less time in all (kd__run_settings), tile programs, native code. */
typedef enum kd__backend { KD__BACKEND_AUTO, KD__BACKEND_INTERP, KD__BACKEND_JIT } kd__backend;

typedef struct kd__run_options {
  uint64_t seed;
  int threads;                                   /* 0: the cores that this process may use */
  bool deterministic;                            /* results do not depend on `threads` */
  bool no_dnnl;
  int backend;                                   /* a kd__backend */
  int winograd;                                  /* a kd_winograd */
  bool reference;                                /* the naive twins: for comparisons in double precision */
  kd__search search;                             /* where data lies, and its cache */
  const char *out;                               /* run folder (made if need be); NULL: nothing is written */
  bool resume;                                   /* go on with the run in `out`, which was begun with these options */
  double checkpoint_seconds;                     /* with `out`: a checkpoint that often; 0: every 60 seconds; below 0: not by time */
  int64_t checkpoint_steps;                      /* and after so many training steps; 0: not by steps */
  int cache; bool cache_given; int64_t cache_memory, cache_disk;        /* where rows were to be kept, and how many bytes, when it was compiled: for settings.json alone */
  const char *path;                              /* of the program and, for settings.json alone; may be NULL */
  const char *stdlib;                            /* where its library was read from; NULL: built in */
  const char *version;                           /* of kdc, for the files of the run folder; may be NULL */
  const kd__source_copy *source; size_t nsource;
  int64_t memory_limit;                          /* that it was compiled with; 0: none */
  bool no_fuse;                                  /* the same */
  const char *const *setting; size_t nsetting;   /* "path=value", as given */
  void (*event)(void *ctx, const kd__event *e);  /* may be NULL; STEP comes at most ten times a second */
  void *event_ctx;
  bool every_step;                               /* ... or after each step */
  const volatile int *cancel;                    /* becomes not 0: stops within one step, KD_E_CANCELLED; may be NULL */
} kd__run_options;

/* Why a machine failed. `text` is whole in itself: it names stage, epoch, step and term where they matter. */
typedef struct kd__run_error {
  kd_status status;
  uint32_t origin;                               /* the compiler's origin of the culprit; 0: none */
  const char *stage;                             /* NULL: outside of stages (or before the run) */
  int64_t epoch, step;                           /* within the stage, from 1: where it happened (step 0: before the first) */
  const char *term;                              /* KD_E_NUMERIC: the first term that is not finite; else NULL */
  char text[1024];
} kd__run_error;

/* --- running -------------------------------------------------------------------------------------------------------------- */
typedef struct kd_machine kd_machine;
/* Checks the module, opens data, memory and the run folder, and loads the numeric libraries; runs nothing. On failure *out is NULL.
 *   KD_E_USAGE: options out of range, or a module that is broken; KD_E_DATA, KD_E_FORMAT: data missing, unfit, or with another number of
 *   rows than it had when the program was compiled; KD_E_IO: the run folder cannot be made or written, or holds files that no run wrote
 *   (an earlier run's files are replaced); KD_E_UNAVAILABLE: no numeric library; KD_E_MEMORY.
 * With `resume`: KD_E_IO: no run's folder, or a run is at work there; KD_E_USAGE: it has ended, or had other options; KD_E_FORMAT: of another
 *   program or version, or changed since; KD_E_DATA: the data has changed; KD_E_UNAVAILABLE: another processor, libraries or kernels. */
kd_status kd__machine_open(const kd_module *m, const kd__run_options *o, kd_machine **out, kd__run_error *err);
/* Runs to the end. Writes the end of log.jsonl and, when all went well, report.json.
 *   KD_E_NUMERIC: a loss is not finite; KD_E_DATA: an index out of range, or the program's own FAIL; KD_E_CANCELLED; KD_E_IO ... */
kd_status kd__machine_go(kd_machine *r, kd__run_error *err);
/* The same, but pauses (KD_OK, *done false) when `steps` more training steps were done: for tests, and for saving in between. */
kd_status kd__machine_steps(kd_machine *r, int64_t steps, bool *done, kd__run_error *err);
/* After kd__machine_go: does it wait for a module in which one more decision is made (kd_decision), and what did that one come to? */
bool      kd__machine_waits(const kd_machine *r, int64_t *value, const char **name);
/* Goes on with that module: the machine at *at is closed and another one takes its place, its state, its run folder. On failure *at stays, or is
 * the new machine that has failed. The old module may go then. */
kd_status kd__machine_decided(kd_machine **at, const kd_module *m, kd__run_error *err);
/* There is no such module: the run ends here, and its log says why. */
kd_status kd__machine_give_up(kd_machine *r, kd_status s, const char *text, kd__run_error *err);
/* What had been decided at a run folder's checkpoint, from malloc; none without a checkpoint. */
kd_status kd__checkpoint_decided(const char *folder, int64_t **out, size_t *count, char *why, size_t n);
/* NULL is allowed. A run that was neither finished nor failed says so in the log. */
void      kd__machine_close(kd_machine *r);

/* --- measuring ------------------------------------------------------------------------------------------------------------- */
/* Of one run of a plan the seconds: `whole` is the instruction that runs it; `data` and `scheme` are what the machine did from there to the next
 * plan: for batches, and all else. `call`: by the call's number. */
typedef struct kd__profile_run { double whole, data, scheme, *call; } kd__profile_run;
/* Of one plan its runs after the first ones, as many as are to be measured. `first`: its very first run, in which kernels are prepared. */
typedef struct kd__profile_plan { kd__profile_run *run; int64_t runs, ran; double first, *calls; kd_watch watch; } kd__profile_plan;
typedef enum kd__profile_kind { KD__PROFILE_PLAN, KD__PROFILE_DATA, KD__PROFILE_SCHEME } kd__profile_kind;
typedef struct kd__profile_event { kd__profile_kind kind; uint32_t plan; double start, end; } kd__profile_event;
typedef struct kd__profile {
  int64_t steps, before;                         /* how many are measured in each stage, and how many run before them */
  const char *stage;                             /* of this one alone; NULL: of all */
  size_t events;                                 /* room for so many events of each plan, and of the machine; 0: none are kept */
  bool found;                                    /* the stage was entered */
  kd__profile_plan *plan; uint32_t nplan;        /* by plan */
  kd__profile_event *event; size_t nevent;       /* of the machine */
} kd__profile;
/* Runs the program with every loop cut short and measures. It stops at a decision. The machine must be fresh; after this there is nothing to do
 * but look and close. All but steps, before, stage and events is filled here; kd__profile_free gives it back, also after a failure. */
kd_status kd__machine_profile(kd_machine *r, kd__profile *p, kd__run_error *err);
void      kd__profile_free(kd__profile *p);
/* The run of median length of a plan that was measured: other processes disturb some. */
const kd__profile_run *kd__profile_median(const kd__profile_plan *p);
/* The plan as it was bound, NULL if it never ran; valid until the machine goes on or is closed. */
const kd_bound *kd__machine_bound(const kd_machine *r, uint32_t plan);

/* --- what came of it --------------------------------------------------------------------------------------------------------- */
/* Value of m->report[i]; NaN before it was evaluated. i < m->nreport. */
double      kd__machine_report(const kd_machine *r, uint32_t i);
/* The slot's memory, dense and row-major. slot < m->nslot. Valid until the machine is closed. */
const void *kd__machine_slot(const kd_machine *r, uint32_t slot);
/* The last error (status KD_OK: none). */
const kd__run_error *kd__machine_error(const kd_machine *r);
int         kd__machine_threads(const kd_machine *r);
/* What `kdc tune` measured on this machine, in the cache folder; NULL if nothing. broken: there is a file, but not of this machine and version. */
kd_choices *kd__choices_load(const char *cache, bool *broken);
/* Adds these to it; what was measured before stays. Several processes may do so at once. *where is the file, to be freed. */
kd_status   kd__choices_keep(const char *cache, const kd_choices *c, char **where, char *why, size_t n);
/* What chooses the kernels of a run with these options. Loads and tries the numeric libraries. */
kd_status   kd__run_settings(const kd_module *m, const kd__run_options *o, kd_kernel_settings *out, kd__run_error *err);
/* Cores that this process may use: its mask of processors and the control group's share; at least 1. */
int         kd__cores(void);

/* --- stopping and going on -------------------------------------------------------------------------------------------------------- */
/* Writes everything that the rest of the run depends on to a safetensors file: the position (as JSON in its metadata), all parameters,
 * states and optimizer states, and what `keep best` holds. Written aside, synced, renamed. A run with a folder does so by itself. */
kd_status kd__machine_save(kd_machine *r, const char *path, kd__run_error *err);
/* Into a machine freshly opened on the same module and options: it goes on from there and ends in the same bits. KD_E_FORMAT: not such
 * a file, or of another program or seed; KD_E_DATA: the data has changed; the machine is then as it was. */
kd_status kd__machine_restore(kd_machine *r, const char *path, kd__run_error *err);
#endif
