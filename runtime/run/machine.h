/* machine.h: what the files of the machine share. Private to runtime/run. */
#ifndef KD_MACHINE_H
#define KD_MACHINE_H
#include "runtime/run/folder.h"
#include "runtime/run/position.h"

/* What a stream holds while the machine is open; where it stands is in the position. */
typedef struct kd__stream_state { kd_loader *loader; int64_t rows; } kd__stream_state;       /* rows of the current batch */

/* Clocks of the stage at hand: for progress only, nothing that a result depends on. */
typedef struct kd__progress {
  double opened, told;                           /* told: time of the last STEP event */
  double first; int64_t first_step;              /* when the stage's first step was done, and its number */
  double pass; int64_t samples;                  /* when the training pass began, and the samples since */
} kd__progress;

typedef struct kd__weights_file { char *path; uint64_t hash; } kd__weights_file;        /* path NULL: not looked for yet */
typedef struct kd__written kd__written;          /* written.c */
/* Rows that are kept (kept.c), in force for the instructions up to `end`. NULL: none are. */
typedef struct kd__kept { struct kd__rows *rows; uint64_t key[2]; int64_t end; } kd__kept;

struct kd_machine {
  const kd_module *m;
  kd__run_options opt;
  kd_kernel_settings set;
  kd_exec exec;
  kd_fault fault;
  kd_position pos;
  uint64_t fingerprint;                          /* of the module: a saved position fits no other */
  uint64_t begun;                                /* of the module that the run began with, before anything was decided */
  bool waits; int64_t decided;                   /* at a DECIDE that the module was compiled without, and what it came to */
  kd_data **data;                                /* by data set; NULL: no stream reads it */
  kd__written **written;                         /* by data set; NULL: its rows are in files */
  kd__kept *kept;                                /* by number */
  kd__weights_file *weights;                     /* by file of the module: where it was found, and the hash of its bytes then */
  kd_store store;
  void *arena; size_t arena_size;
  size_t scratch_size;                           /* of exec.scratch; grows when a plan is bound that needs more */
  kd_bound **bound;                              /* by plan; NULL until it is first run */
  kd__stream_state *stream;
  void **best;                                   /* by group: the kept copy of its slots, or NULL */
  void *ambient[KD_AMBIENT_COUNT];               /* the scalars' memory, or NULL */
  bool *looping;                                 /* by counter: a loop's, so that it is part of where the run stands */
  const char **reg_name;                         /* by register: the loss that lands there, or NULL */
  kd__named *value;                              /* room for the values of one event */
  kd__progress progress;
  kd__folder *folder;                            /* NULL: nothing is written */
  bool bound_new;                                /* a plan was bound since settings.json was written */
  char **kernels;                                /* by plan: the kernels it runs, here or before it was resumed, a line each; NULL: not known yet */
  char **source_file;                            /* by source: its copy's name in the folder */
  kd_choices *choices;                           /* measured ones; NULL: none */
  kd__buf libraries, processor;                  /* the numeric libraries in use, as text */
  kd__buf data_now;                              /* what the data looks like, for checkpoints; made when it is first needed */
  struct { double at; int64_t step; } due;       /* the next checkpoint: time, or steps done in all */
  bool brief;                                    /* what comes of it does not matter: rows that are kept are those of one batch, again and again */
  bool in_step;                                  /* a training step is at work: errors name it */
  bool ended;                                    /* done or failed: the log has its last line */
  kd__run_error error;
};

/* --- errors: fill r->error; the machine's place in the program (" (stage `distil`, epoch 2, step 1043)") is added ------------------- */
kd_status kd__fail(kd_machine *r, kd_status s, uint32_t origin, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The epoch at hand, from 1. */
int64_t   kd__epoch_number(const kd_machine *r);

/* --- code.c: runs instructions until the program ends, `until` steps were done in all, or something fails ------------------------------- */
kd_status kd__code_go(kd_machine *r, int64_t until);
kd_status kd__code_one(kd_machine *r);           /* one instruction, of a machine that has not ended */

/* --- machine.c ---------------------------------------------------------------------------------------------------------------------- */
/* A machine at the start of its module, without a run folder. */
kd_status kd__machine_prepare(const kd_module *m, const kd__run_options *o, kd_machine **out, kd__run_error *err);
void      kd__machine_release(kd_machine *r);    /* all but what came of the run */

/* --- check.c ----------------------------------------------------------------------------------------------------------------------- */
/* Every operand within its range, every index of the module sound: after this the machine need not look. */
kd_status kd__module_check(const kd_module *m, kd__run_error *err);
uint64_t  kd__module_fingerprint(const kd_module *m);

/* --- choices.c: which kernels were measured to be fastest ----------------------------------------------------------------------------- */
/* Into r->set. KD_E_UNAVAILABLE: the run to be gone on with has some that cannot be read here. */
kd_status kd__choices_open(kd_machine *r, char *why, size_t n);
/* A machine that goes on from a decision has those of the one before: lent while it begins, and its own when it has taken over. */
void      kd__choices_lend(const kd_machine *from, kd_machine *to);
void      kd__choices_move(kd_machine *from, kd_machine *to);
kd_status kd__choices_record(kd_machine *r, char *why, size_t n);

/* --- program.c: one plan ------------------------------------------------------------------------------------------------------------ */
/* What a plan's random draws depend on (operand `key` of code.def; run.h has the whole). */
typedef enum kd__key { KD__KEY_FIXED, KD__KEY_POSITION, KD__KEY_ANEW } kd__key;
/* Sets the run-time scalars, binds the plan if it is its first time, runs it; a fault is an error. */
kd_status kd__plan_go(kd_machine *r, uint32_t plan, kd__key key, uint32_t origin);
/* Binds the plan if it is not bound yet. */
kd_status kd__plan_ready(kd_machine *r, uint32_t plan, uint32_t origin);
/* Puts the plan's results in registers from first_reg on. */
void      kd__results(kd_machine *r, uint32_t plan, int64_t first_reg);

/* --- stream.c ------------------------------------------------------------------------------------------------------------------------- */
kd_status kd__streams_open(kd_machine *r, kd__run_error *err);      /* data sets; loaders come with their first pass */
void      kd__streams_close(kd_machine *r);
/* A loader's batch into the slots that `s` binds, as it is in a turn of its draws. */
void      kd__stream_fill(kd_machine *r, const kd_stream *s, const kd__batch *b, int64_t turn);
/* The innermost open stream's number, or -1. */
int64_t   kd__stream_current(const kd_machine *r);
kd_status kd__stream_begin(kd_machine *r, uint32_t stream, uint32_t origin, bool *any);
bool      kd__stream_more(kd_machine *r, uint32_t stream);
kd_status kd__stream_take(kd_machine *r, uint32_t stream, uint32_t origin);      /* the next batch, of a new pass where need be */
void      kd__stream_leave(kd_machine *r, uint32_t stream);
bool      kd__stream_has(const kd_machine *r, uint32_t stream, int64_t batch);
/* Loaders and field slots as the position says, after it was read back. */
kd_status kd__streams_resume(kd_machine *r);

/* --- written.c: data sets that the program writes -------------------------------------------------------------------------------------- */
/* Files for the rows that the position knows; those that are open stay so. */
kd_status kd__written_open(kd_machine *r);
void      kd__written_close(kd_machine *r);
kd_status kd__written_sync(kd_machine *r);
kd_status kd__written_append(kd_machine *r, uint32_t write);
/* Streams over this set see all rows that there are now. Closes loaders if that changes anything. */
kd_status kd__written_show(kd_machine *r, uint32_t dataset);
kd_status kd__written_stage(kd_machine *r, int64_t stage);             /* shows what the stage's steps are counted from */
int64_t   kd__stage_steps(const kd_machine *r, int64_t stage);         /* planned, by what is known now */

void      kd__written_move(kd_machine *from, kd_machine *to);           /* the files of the same sets; nobody sees rows of them until they are shown */

/* --- weights.c: networks that begin with what a file holds ------------------------------------------------------------------------------ */
/* Finds each file that is not known yet and checks that it holds what its loads take, so that a run fails before it begins. */
kd_status kd__weights_open(kd_machine *r);
/* Fills the load's slots. The file must still hold what it held when it was found. */
kd_status kd__weights_load(kd_machine *r, uint32_t load, uint32_t origin);

/* --- kept.c: values of samples that are the same each time ------------------------------------------------------------------------------- */
/* The rows of all samples: found in the cache folder, or made now. They are in force up to instruction `end`; rows in force elsewhere go. */
kd_status kd__kept_open(kd_machine *r, uint32_t kept, int64_t end, uint32_t origin, bool again);
void      kd__kept_close(kd_machine *r);
/* Are there rows for this turn of the stream's draws? */
kd_status kd__kept_turn(kd_machine *r, const kd_stream *s, int64_t turn, uint32_t origin);
/* Rows of the samples of a batch into their slots. */
void      kd__kept_bring(kd_machine *r, const kd_stream *s, const int64_t *index, int64_t rows, int64_t turn);
/* What HOLD and KEEP instructions made that are in force where the machine stands now. */
kd_status kd__kept_resume(kd_machine *r);

/* --- best.c ---------------------------------------------------------------------------------------------------------------------------- */
size_t    kd__group_bytes(const kd_module *m, uint32_t group);
kd_status kd__best_keep(kd_machine *r, uint32_t group, bool larger, double value, uint32_t origin);
kd_status kd__best_restore(kd_machine *r, uint32_t group);

/* --- progress.c: events to the caller and to the log ---------------------------------------------------------------------------------- */
double    kd__now(void);
kd_status kd__tell_stage(kd_machine *r);
void      kd__tell_step(kd_machine *r, int64_t first_reg, int64_t n);
kd_status kd__tell_epoch(kd_machine *r);
kd_status kd__tell_say(kd_machine *r, const char *names, int64_t first_reg, int64_t n);
void      kd__tell_resumed(kd_machine *r, bool anew);      /* to the caller alone */
/* The rows of a KEEP are there: how many samples they are of, how many of them were found, and the bytes of one. */
kd_status kd__tell_kept(kd_machine *r, const kd_kept *k, const char *where, int64_t rows, int64_t found, int64_t bytes, double seconds);
void      kd__tell_only(kd_machine *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));        /* to the caller alone */
kd_status kd__tell_note(kd_machine *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- checkpoint.c --------------------------------------------------------------------------------------------------------------------- */
#define KD__CHECKPOINT "checkpoint.safetensors"
void      kd__checkpoint_begin(kd_machine *r);   /* counts from now on */
bool      kd__checkpoint_due(const kd_machine *r);
/* Writes the state and how long the log is. A full disk is no reason to end a run: it is told, and tried again later. */
kd_status kd__checkpoint_write(kd_machine *r);
/* The run folder of an earlier run, and the machine to where its last checkpoint was, or to the start if there is none. */
kd_status kd__checkpoint_resume(kd_machine *r, kd__run_error *err);
bool      kd__checkpoint_wanted(const kd_machine *r);

/* --- saved.c ------------------------------------------------------------------------------------------------------------------------- */
/* Is the slot part of the state? Fields are brought anew by the streams, the machine's own scalars before each plan. */
bool      kd__slot_kept(const kd_module *m, uint32_t slot);
/* As kd__machine_restore; *log: how long the log was, or -1. */
kd_status kd__state_read(kd_machine *r, const char *path, int64_t *log, kd__run_error *err);
/* The data as it is now: a line for each field that streams read: "NAME.SPLIT.FIELD ROWS HASH". Of large files the hash takes samples. */
const char *kd__state_data(kd_machine *r);

/* --- settings.c ---------------------------------------------------------------------------------------------------------------------- */
struct kd__settings;
void      kd__record_machine(kd_machine *r);     /* libraries and processor */
bool      kd__record_names(kd_machine *r);       /* source_file; false: no memory */
kd_status kd__record_settings(kd_machine *r);
/* A plan was bound: notes its kernels; KD_E_UNAVAILABLE: they are not those that the run began with. */
kd_status kd__record_bound(kd_machine *r, uint32_t plan, uint32_t origin);
/* Is this the machine that the settings were written on, with the same program? Takes the recorded kernels over. */
kd_status kd__settings_fit(kd_machine *r, const struct kd__settings *s, char *why, size_t n);

/* --- record.c: what goes to the run folder; all do nothing without one ------------------------------------------------------------------ */
/* Copies of the sources, settings.json, and the log's first line. */
kd_status kd__record_start(kd_machine *r);
kd_status kd__record_resumed(kd_machine *r);     /* a line of the log */
/* settings.json again when plans were bound since: with their kernels. */
kd_status kd__record_kernels(kd_machine *r);
/* One line; frees it. */
kd_status kd__record_line(kd_machine *r, kd__buf *line);
/* {"event":"NAME","seconds":12.345 : the line's owner goes on, and closes the brace. */
void      kd__record_begin(const kd_machine *r, kd__buf *b, const char *event);
void      kd__record_values(kd__buf *b, const kd__named *v, size_t n);
kd_status kd__record_weights(kd_machine *r, uint32_t group, const char *name, uint32_t origin);
/* report.json and the log's last lines; on a failure its text in the last line, and what can still be written is. */
kd_status kd__record_end(kd_machine *r);
void      kd__record_stopped(kd_machine *r);     /* closed before its end */
#endif
