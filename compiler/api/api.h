/* api.h: what the files behind the public interface share. */
#ifndef KD_API_H
#define KD_API_H
#include "compiler/elaborate/elaborate.h"
#include "runtime/run/settings.h"
#include "runtime/files/safetensors.h"
#define KD__INSIDE
#include "include/kd.h"

typedef enum kd__say_code {
#define KD_SAY(ID, severity, code, text) KD__SAY_##ID,
#include "compiler/api/messages.def"
#undef KD_SAY
  KD__SAY_COUNT
} kd__say_code;

struct kd_session {
  kd_allocator alloc;
  kd__arena arena;                               /* the config's strings */
  kd_config config;
  size_t programs;                               /* alive: a session that is freed too early goes with the last of them */
  bool closed;
};

/* All that belongs to one compiled program lies in its arena: sources, trees, the module. */
struct kd_program {
  kd_session *session;
  kd__arena arena;
  kd__oom oom;
  kd_sink sink;
  const char *path;
  const char *stdlib;                            /* folder of the library, or NULL for the one built in */
  kd__settings *recorded;                        /* of a run that is gone on with: its sources are the only ones; else NULL */
  kd_module *module;                             /* NULL: there is nothing to run */
  kd__arena *again;                              /* of a module that was compiled anew in a run (decide.c); NULL: it lies in `arena` */
  kd__arena scratch;                             /* of what is only looked at while compiling */
  kd_dtype real;
  int64_t memory_limit;
  bool no_fuse;
  bool sealed;                                   /* its texts are those in `source`, whatever the files say by now */
  kd_frozen_options frozen;                      /* with what is free now in place of 0 */
  const char *const *folder; size_t nfolder;     /* where data is looked for */
  const char *const *set; size_t nset;           /* as given, for the run folder */
  kd_compile_options opt;                        /* while compiling; its strings are borrowed */
  KD_VEC(kd__source_copy) source;                /* every text that the program was made of */
  bool told;                                     /* an error went out that the sink does not hold */
  kd__buf dump;                                  /* being filled: freed when memory runs out half-way, as the file below is closed */
  int fd;                                        /* the file being read, or -1 */
  kd__safetensors weights;                       /* the file of weights whose header is being read; closed likewise */
  struct kd__last_run *run;                      /* state of the last kd_run, or NULL */
};

/* Tells the session's callback row `code` with its printf arguments. `file` may be NULL. */
void kd__say(kd_session *s, kd__say_code code, const char *file, ...);
/* Tells all diagnostics that the sink holds, and empties it. */
void kd__say_sink(kd_session *s, kd_sink *sink);

/* Reads a program's text into the arena: a regular file of UTF-8 without NUL bytes, at most KD_SOURCE_MAX bytes. Says why it cannot. */
kd_status kd__text_read(kd_program *p, const char *path, const char **text, size_t *size);
kd_status kd__text_check(kd_program *p, const char *path, const char *text, size_t size);
/* kd_elab_options.load, .weights and .describe; ctx is the kd_program. */
const char *kd__text_module(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown);
/* Keeps a source for the run folder. `text` and `shown` must live as long as the program. */
void kd__text_remember(kd_program *p, const char *shown, const char *text, size_t size);
kd_status kd__weights_header(void *ctx, const char *file, kd_weights *out, char *why, size_t n);
bool kd__data_rows(void *ctx, const kd_dataset *d, int64_t *rows, char *why, size_t n);
/* How many bytes may be kept, where the options leave that open. */
kd_frozen_options kd__room_for_rows(const kd_session *s, const kd_compile_options *o);
/* The folders for data files: the config's, the program's own, its `data`, the system's. */
void kd__data_folders(kd_program *p);

bool kd__dump_known(const char *stage);
/* kd_elab_options.seen and .planned; ctx is the kd_program. */
void kd__dump_seen(void *ctx, const char *stage, const char *program, const kd_graph *g);
void kd__dump_planned(void *ctx, const kd_plan *p, const kd_slot *slots);
void kd__dump_code(kd_program *p);
/* Hands the buffer to the options' writer and frees it. */
void kd__dump_out(const kd_program *p, kd__buf *b);

/* The module compiled once more from the same texts and settings, with what was decided so far, into an arena of its own. On failure *why has
 * the first error's words, until the program goes. */
kd_status kd__compile_again(kd_program *p, const int64_t *decided, size_t n, kd__arena **arena, kd_module **out, const char **why);
/* The program's module is this one from now on: the one before goes unless it was its first. */
void kd__compile_take(kd_program *p, kd__arena *arena, kd_module *m);
void kd__compile_drop(kd_program *p, kd__arena *arena);
/* kd_compile_file (text NULL) or _text; takes `recorded` over, also where it fails. */
kd_status kd__compile(kd_session *s, const char *path, const char *text, size_t n, const kd_compile_options *o, kd__settings *recorded, kd_program **out);
/* The machine's options, without events. */
kd__run_options kd__run_options_of(const kd_program *p, const kd_run_options *o);
/* Runs it in `o->out`; `resume`: goes on with the run there. */
kd_status kd__run(kd_program *p, const kd_run_options *o, bool resume);
void kd__run_forget(kd_program *p);              /* releases the state of the last run */
#endif
