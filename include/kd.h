/* kd.h: the public interface of kdc, the compiler and runtime for knowledge distillation. C99 and C++.
 *
 * A session compiles programs; a program runs. Nothing prints, exits or keeps state outside of a session: what there is to say goes to
 * the callbacks of kd_config and kd_run_options.
 *
 * Ownership: what a function takes is borrowed until it returns, what a callback is given holds until the callback returns, and what
 *   a program hands out (report rows, parameters) until its next kd_run or kd_program_free.
 * Errors: every call that can fail returns a kd_status; for KD_E_PROGRAM and others the session's message callback has been told why.
 * Threads: a session and its programs belong to one thread at a time. Different sessions share nothing and may work at the same time. Only
 *   the flag kd_run_options.cancel may be written from elsewhere (another thread, a signal handler). */
#ifndef KD_H
#define KD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define KD_API __attribute__((visibility("default")))
#else
#define KD_API
#endif
#ifdef __cplusplus
extern "C" {
#endif

#ifndef KD__INSIDE                               /* the library's own sources have these types from its inner headers */
typedef enum kd_status {
  KD_OK = 0,
  KD_E_MEMORY,                                   /* out of memory */
  KD_E_PROGRAM,                                  /* the program is wrong; its errors were told */
  KD_E_USAGE,                                    /* wrong use of this interface */
  KD_E_IO,                                       /* input or output failed */
  KD_E_FORMAT,                                   /* a file is not of the expected format */
  KD_E_DATA,                                     /* data is missing or out of range */
  KD_E_NUMERIC,                                  /* a value is not finite */
  KD_E_CANCELLED,                                /* stopped on request */
  KD_E_UNAVAILABLE                               /* not available in this build or on this machine */
} kd_status;

typedef enum kd_severity { KD_ERROR, KD_WARNING, KD_NOTE } kd_severity;

/* Like realloc, told the old size; new_size 0 frees and returns NULL. NULL otherwise means that there is no memory. Called only from
 * the thread that uses the session. Serves the compiler and what it makes; the buffers of a run come from the system. */
typedef struct kd_allocator {
  void *(*resize)(void *ctx, void *old, size_t old_size, size_t new_size);
  void *ctx;
} kd_allocator;
#endif

/* The status in words. Never NULL. */
KD_API const char *kd_status_text(kd_status s);
/* "0.1.0" */
KD_API const char *kd_version(void);

/* --- sessions --------------------------------------------------------------------------------------------------------- */
/* One thing that the compiler or a run has to say about a program. */
typedef struct kd_message {
  kd_severity severity;
  const char *code;                              /* "E0102": stable, for tools; "" where there is none */
  const char *file;                              /* NULL: no place in a source */
  int line, col;                                 /* from 1; 0 without a place */
  const char *message;                           /* one sentence */
  const char *text;                              /* the whole message with source lines and carets, ends with a newline */
  const char *json;                              /* the whole message as one JSON object */
} kd_message;

/* All zero (or a NULL kd_config) is a good start. The config is copied; the strings in it are too. */
typedef struct kd_config {
  const kd_allocator *allocator;                 /* NULL: malloc. Copied; its ctx must outlive the session */
  void (*message)(void *ctx, const kd_message *m);
  void *message_ctx;
  bool color;                                    /* kd_message.text with terminal colours */
  const char *stdlib;                            /* folder to read the standard library from; NULL: the one that is built in */
  const char *const *data; size_t ndata;         /* folders in which data files, and weights, are looked for, in order */
  const char *cache;                             /* folder for decoded copies of data (made if need be); NULL: in memory */
} kd_config;

typedef struct kd_session kd_session;
/* On failure *out is NULL. */
KD_API kd_status kd_session_new(const kd_config *config, kd_session **out);
/* After the session's programs were freed. NULL is allowed. */
KD_API void kd_session_free(kd_session *s);

/* --- compiling -------------------------------------------------------------------------------------------------------- */
typedef void (*kd_writer)(void *ctx, const char *text, size_t n);

/* What a program computes of a sample that is the same each time it meets it (a frozen teacher's answer) can be kept by the sample's number: nowhere,
 * in memory, in the session's cache folder, where later runs find it; AUTO: where it pays and there is room, memory first; PROGRAM: as the program says of
 * its data sets, AUTO where it says nothing. */
typedef enum kd_keep { KD_KEEP_PROGRAM, KD_KEEP_AUTO, KD_KEEP_OFF, KD_KEEP_MEMORY, KD_KEEP_DISK } kd_keep;

typedef struct kd_compile_options {
  const char *const *set; size_t nset;           /* "path.to.name=value": settings of the program, of equal paths the last; one that fits nothing is an error */
  bool double_precision;                         /* real numbers are f64 */
  int64_t memory_limit;                          /* bytes that all that is kept and a step may take; 0: none. Where need be, values are made twice rather than kept: the
                                                  * same results, more time. Working memory of numeric libraries comes on top */
  bool no_fuse;                                  /* operators one by one, not several in one walk over memory */
  bool check;                                    /* also try every definition of the file by itself; a file of definitions alone is right */
  const char *dump;                              /* a name of kd_dump_stage: what to print while compiling; NULL: nothing */
  kd_writer dump_to; void *dump_ctx;
  kd_keep keep;
  uint64_t keep_memory, keep_disk;               /* bytes of it at a time, whatever the program says; both 0: a quarter of what is free now */
} kd_compile_options;

typedef struct kd_program kd_program;
/* Compiles an experiment. NULL options are all zero. Modules that it names are looked for beside it and then in the standard library.
 * KD_OK with *out NULL: the file is right but has nothing to run (definitions alone), or the dump asked for comes before a program. */
KD_API kd_status kd_compile_file(kd_session *s, const char *path, const kd_compile_options *o, kd_program **out);
/* The same for a text in memory (UTF-8, n bytes); `path` is what messages call it, and where its modules are looked for. */
KD_API kd_status kd_compile_text(kd_session *s, const char *path, const char *text, size_t n, const kd_compile_options *o, kd_program **out);
KD_API void kd_program_free(kd_program *p);      /* NULL is allowed */

/* Names of what can be dumped, in the order in which it is made: "tokens", "ast", "graph", the passes, "split", "plan", "code". NULL past the end. */
KD_API const char *kd_dump_stage(size_t i);
/* What was compiled, in a few lines: stages, parameters by model, memory. */
KD_API void kd_program_describe(const kd_program *p, kd_writer to, void *ctx);

/* --- running ---------------------------------------------------------------------------------------------------------- */
typedef struct kd_named { const char *name; double value; } kd_named;

typedef enum kd_event_kind {
  KD_EVENT_STAGE,                                /* a stage of the scheme begins */
  KD_EVENT_STEP,                                 /* progress within it, after some of the steps, or after each */
  KD_EVENT_EPOCH,                                /* an epoch ended: `value` has its mean losses */
  KD_EVENT_SAY,                                  /* the program shows `value` */
  KD_EVENT_NOTE                                  /* `text` says something worth knowing (a choice, a warning) */
} kd_event_kind;

typedef struct kd_event {
  kd_event_kind kind;
  const char *stage; int stage_number, stages;   /* number from 1 */
  int64_t epoch, epochs;                         /* epoch from 1; epochs 0: unknown */
  int64_t step, steps;                           /* within the stage; steps 0: unknown */
  double samples_per_second;                     /* 0: unknown */
  double seconds, seconds_left;                  /* since the run began; of this stage, below 0: unknown */
  const kd_named *value; size_t nvalue;
  const char *text;                              /* KD_EVENT_NOTE */
} kd_event;

typedef struct kd_run_options {
  uint64_t seed;
  int threads;                                   /* 0: the cores that this process may use */
  bool deterministic;                            /* results do not depend on the number of threads */
  bool no_dnnl;                                  /* do without oneDNN */
  int backend;                                   /* of fused groups: 0 whichever takes less time in all, 1 tile programs, 2 native code, for which LLVM must be there */
  int winograd;                                  /* convolutions through Winograd's transforms: 0 where that pays, 1 never, 2 wherever possible */
  const char *out;                               /* folder for what the run writes (made if need be); NULL: nothing is written */
  double checkpoint_seconds;                     /* with `out`: how often kd_resume gets a place to go on from; 0: every 60; below 0: not by time */
  int64_t checkpoint_steps;                      /* and after so many training steps; 0: not by steps */
  void (*event)(void *ctx, const kd_event *e);
  void *event_ctx;
  bool every_step;                               /* KD_EVENT_STEP after each training step, not ten times a second at most */
  const volatile int *cancel;                    /* becomes not 0: the run stops soon, with KD_E_CANCELLED; may be NULL */
} kd_run_options;

/* Runs the program from the start. NULL options are all zero. Numeric libraries are loaded here and not before.
 * A scheme may decide shapes as it goes (`decide`): then the rest of it is compiled within this call, from the texts that were read before, and
 * what the program has (parameters, report, description) is as far as that has come. KD_E_PROGRAM: the rest is wrong with what was decided. */
KD_API kd_status kd_run(kd_program *p, const kd_run_options *o);

/* Goes on with a run that came to no good end, whatever ended it, from the last checkpoint in its folder (or anew, if there is none yet) to
 * the end: the same bits as if it had never been stopped. Sources and settings are those of the folder; of `o` (may be NULL) only event,
 * cancel and the checkpoints' settings may be set (those of the run otherwise), else KD_E_USAGE. Data is looked for in the session's folders
 * and then where it was. *out is the program with what came of it; it may be there after a failure too. Besides kd_compile_file's and kd_run's:
 *   KD_E_IO: no run's folder, or a run is at work there; KD_E_USAGE: it has ended well already; KD_E_FORMAT: written by another version of
 *   kdc, or changed since; KD_E_DATA: the data has changed; KD_E_UNAVAILABLE: another processor or libraries, which give other bits. */
KD_API kd_status kd_resume(kd_session *s, const char *folder, const kd_run_options *o, kd_program **out);

/* Row i of the report of the last run: `accuracy(s.logits, ..)` on `fashion.test`. False past the end. */
typedef struct kd_row { const char *label, *on; double value; } kd_row;
KD_API bool kd_report(const kd_program *p, size_t i, kd_row *out);

/* A parameter or state: after a run its value, dense and row-major; before, `data` is NULL. */
typedef struct kd_parameter {
  const char *name;                              /* "S.stage1.conv1.W" */
  const char *type;                              /* element type: "f32", "f64", "i64" .. */
  int rank; const int64_t *dim;
  const void *data; size_t bytes;
} kd_parameter;
KD_API bool kd_parameter_named(const kd_program *p, const char *name, kd_parameter *out);
/* By number; false past the end. */
KD_API bool kd_parameter_at(const kd_program *p, size_t i, kd_parameter *out);

/* --- which kernels ------------------------------------------------------------------------------------------------------ */
/* One shape that was tried: `usual` is the kernel that runs have without measuring, `kernel` the one that they have from now on. */
typedef struct kd_tuned { const char *what, *usual, *kernel; double usual_seconds, seconds; } kd_tuned;
typedef void (*kd_tune_fn)(void *ctx, const kd_tuned *t);
/* Tries every kernel for every product and convolution of the program with these options (threads, deterministic, no_dnnl, winograd count), tells
 * what came of it, and keeps the choices in the session's cache folder, beside those for other programs: later runs on this machine take them, and
 * a run folder has a copy for its resumption. *file is the file, to be freed. */
KD_API kd_status kd_tune(kd_program *p, const kd_run_options *run, kd_tune_fn tell, void *ctx, char **file);

/* --- what it costs ---------------------------------------------------------------------------------------------------- */
/* A table of what a program costs: foretold before anything runs (kd_cost) or measured (kd_profile). Times are seconds, memory is bytes; of one
 * run of a program of the scheme, such as a training step. It stays whole when the program goes; kd_table_free ends it. */
typedef struct kd_table kd_table;

typedef struct kd_cost_options {
  bool measure;                                  /* measure the machine's limits anew, whatever the cache folder knows */
} kd_cost_options;
/* Chooses and prepares the kernels of every program and computes nothing. Loads the numeric libraries; measures the machine (under a second)
 * where the session's cache folder does not know it yet. `run`: how it would run. NULL options are all zero. On failure *out is NULL. */
KD_API kd_status kd_cost(kd_program *p, const kd_run_options *run, const kd_cost_options *o, kd_table **out);

typedef struct kd_profile_options {
  int64_t steps;                                 /* to be measured in each stage; 0: 20 */
  const char *stage;                             /* of this stage alone; NULL: of all */
  bool trace;                                    /* keep what kd_table_trace writes */
} kd_profile_options;
/* Runs the program with every loop cut short (a few steps in each stage before those that are measured) up to its first decision. `run` as for
 * kd_run; nothing is written: its folder must be NULL. What the run came to is void. */
KD_API kd_status kd_profile(kd_program *p, const kd_run_options *run, const kd_profile_options *o, kd_table **out);
KD_API void kd_table_free(kd_table *t);          /* NULL is allowed */

/* The machine and its measured limits: operations and bytes a second for one thread and for the team. */
typedef struct kd_machine_limits {
  const char *processor; int threads;
  double flops[2], l2[2], l3[2], memory[2];      /* [0] one thread, [1] the team */
  bool measured;                                 /* just now */
  bool disturbed;                                /* whenever it was measured other processes were at work: the limits may be higher */
} kd_machine_limits;
KD_API void kd_table_machine(const kd_table *t, kd_machine_limits *out);

/* One program of the scheme; false past the end. */
typedef struct kd_program_cost {
  const char *name, *stage;                      /* "distil.train.128"; stage "": outside of stages */
  bool trains;                                   /* a training step, or part of one */
  int64_t runs;                                  /* foretold: planned in all, 0: unknown; measured: how many were */
  int64_t rows;                                  /* samples of its batch; 0: it has none */
  double calls, flops, bytes;                    /* kernel calls; operations of direct algorithms; bytes read and written */
  double seconds;                                /* of one run, with what brings the batch and dispatches */
  double limit;                                  /* at least so many seconds by the machine's limits */
  double first;                                  /* measured: the very first run, with the preparation of kernels; else 0 */
  double dead_flops;                             /* written in the program, and not computed because nothing needs it */
  double once_flops, kept_flops;                 /* shares: of the work as written, what is the same each time for a sample, and what is therefore done once and kept */
  int64_t kept_bytes; const char *kept;          /* what that takes, and where: "memory", "disk"; "no room": it would take so much; "": nothing is kept */
  int64_t arena, held, scratch, prepared;        /* intermediate values: the memory planned, and in use at its fullest; kernels' work space, and what they prepared */
} kd_program_cost;
KD_API bool kd_table_program(const kd_table *t, size_t i, kd_program_cost *out);

typedef enum kd_line_kind {
  KD_LINE_LAYER,                                 /* what one part of a network, loss or optimizer does, without the parts in it: "T.stage1.conv1"; forward and backward */
  KD_LINE_KERNEL,                                /* all calls of one kernel for one operator: "conv.dnnl conv_data" */
  KD_LINE_CALL,                                  /* one call, in order */
  KD_LINE_KIND,                                  /* all calls of one kind: "convolutions", "matrix products", "groups", "others" */
  KD_LINE_OTHER                                  /* what is no kernel: "data", "dispatch", "scheme" */
} kd_line_kind;
typedef enum kd_line_state { KD_STATE_NONE, KD_STATE_TRAINED, KD_STATE_FROZEN, KD_STATE_DEAD } kd_line_state;     /* DEAD: never computed; what it would cost */

typedef struct kd_line {
  const char *name;
  const char *layer;                             /* KD_LINE_CALL: where it belongs */
  double calls, flops, bytes, seconds, limit;    /* as of a program */
  int64_t parameters;                            /* KD_LINE_LAYER: elements */
  int64_t held;                                  /* bytes of its results that are in use when most are */
  kd_line_state state;
} kd_line;
/* Line i of that kind of program `program`; false past the end. */
KD_API bool kd_table_line(const kd_table *t, size_t program, kd_line_kind kind, size_t i, kd_line *out);

/* Memory of a run beyond what the process has at its start. */
typedef struct kd_memory_cost {
  int64_t kept;                                  /* parameters, states, optimizer states, fields of batches */
  int64_t arena, scratch, prepared;              /* of the programs: the largest arena, the largest work space, all that kernels prepared */
  int64_t data;                                  /* batches ahead of the step, orders of samples, data that is decoded in memory */
  int64_t best;                                  /* copies that `keep best` holds */
  int64_t compiler;                              /* the compiled program itself */
  int64_t total;
} kd_memory_cost;
KD_API void kd_table_memory(const kd_table *t, kd_memory_cost *out);

/* A Chrome trace (JSON, for chrome://tracing and Perfetto) of what kd_profile kept. */
KD_API void kd_table_trace(const kd_table *t, kd_writer to, void *ctx);

/* Versions, processor, numeric libraries and the built-in standard library, as lines of text. Loads the numeric libraries. */
KD_API void kd_info(kd_writer to, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
