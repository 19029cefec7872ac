/* cli.h: what the files of the command line share. It knows the public interface (kd.h) and the C library, nothing of the compiler. */
#ifndef KD_CLI_H
#define KD_CLI_H
#include "include/kd.h"
#include <stdio.h>

/* --- commands and options (options.c) --------------------------------------------------------------------------------------- */
typedef enum command {
#define KD_COMMAND(ID, name, arguments, least, most, summary, text) CMD_##ID,
#include "compiler/cli/commands.def"
#undef KD_COMMAND
  CMD_COUNT
} command;
enum {
#define KD_COMMAND(ID, name, arguments, least, most, summary, text) IN_##ID = 1 << CMD_##ID,
#include "compiler/cli/commands.def"
#undef KD_COMMAND
  WITH_RESUME = 1 << CMD_COUNT
};
typedef enum option {
#define KD_OPTION(ID, name, kind, value, commands, text) OPT_##ID,
#include "compiler/cli/options.def"
#undef KD_OPTION
  OPT_COUNT
} option;
typedef enum option_kind { FLAG, TEXT, LIST, SETTING, NUMBER, SIZE, CHOICE } option_kind;

typedef struct command_info { const char *name, *arguments; int least, most; const char *summary, *text; } command_info;
typedef struct option_info { const char *name; option_kind kind; const char *value; unsigned commands; const char *text; } option_info;
extern const command_info cli_commands[];
extern const option_info cli_options[];

/* A command line taken apart. Strings belong to argv, lists to this struct. */
typedef struct args {
  command command;
  const char **file; size_t nfile;
  struct { const char **v; size_t n; } given[OPT_COUNT];
} args;
enum { EXIT_DONE = 0, EXIT_PROGRAM = 1, EXIT_USAGE = 2, EXIT_RUN = 3 };

/* False after saying what is wrong on standard error: usage. */
bool args_parse(int argc, char **argv, args *out);
void args_free(args *a);
bool args_flag(const args *a, option o);
const char *args_text(const args *a, option o);                       /* the last one given, or NULL */
uint64_t args_number(const args *a, option o, uint64_t otherwise);
int64_t args_size(const args *a, option o);                             /* in bytes; 0 where nothing is given */
int args_choice(const args *a, option o);                              /* number of the choice; 0, the first, where nothing is given */
/* The nearest of n names, or NULL when none is near. */
const char *nearest(const char *name, const char *const *names, size_t n);

/* --- sessions and messages (session.c) ---------------------------------------------------------------------------------------- */
struct progress;
/* Where messages go: text to standard error or JSON lines to standard output. */
typedef struct teller { bool json, quiet, color; int errors, warnings; struct progress *progress; } teller;
/* What the environment says: KD_DATA after the --data folders, the cache folder. */
typedef struct surroundings { const char **data; size_t ndata; char *path, *cache; } surroundings;
bool surroundings_read(const args *a, surroundings *out);              /* false: no memory */
void surroundings_free(surroundings *s);
teller teller_new(const args *a);
kd_session *session_open(const args *a, const surroundings *s, teller *t);   /* NULL after a message */
kd_compile_options compile_options(const args *a);
/* The exit code for what compiling came back with: what cannot be read as a file is a matter of usage. */
int exit_of_compile(kd_status s);
int exit_of_run(kd_status s);

/* --- JSON lines (json.c) -------------------------------------------------------------------------------------------------------- */
void json_string(FILE *f, const char *s);                              /* invalid UTF-8 becomes U+FFFD */
void json_number(FILE *f, double v);                                   /* "nan", "inf", "-inf" where it is not finite */
void json_values(FILE *f, const kd_named *v, size_t n);                /* one object */

/* --- progress (progress.c) ------------------------------------------------------------------------------------------------------- */
typedef struct progress {
  bool json, quiet, live;                        /* live: one line that is drawn again and again */
  bool drawn;                                    /* it stands on the screen */
  double told;                                   /* when a step was shown last */
  struct steps *steps;                           /* where every step is written down, or NULL */
  char line[512];                                /* as drawn last */
} progress;
progress progress_new(const args *a);
void progress_event(void *ctx, const kd_event *e);
void progress_clear(progress *p);                /* takes the live line off the screen, before something else is written */
void progress_end(progress *p);                  /* leaves it there */

/* --- the record of all steps (steps.c) ------------------------------------------------------------------------------------------- */
typedef struct steps steps;
steps *steps_open(const char *path, bool append);                      /* NULL after a message */
void steps_add(steps *s, const kd_event *e);                           /* of a step that has just ended */
bool steps_close(steps *s);                                            /* false after a message: not all could be written. NULL is allowed */

/* --- the commands ------------------------------------------------------------------------------------------------------------------ */
int cmd_run(const args *a);
int cmd_check(const args *a);
int cmd_compile(const args *a);
int cmd_cost(const args *a);
int cmd_profile(const args *a);
int cmd_tune(const args *a);
int cmd_info(const args *a);
int cmd_help(const args *a);
void help_usage(FILE *f, command c);             /* "usage: kdc run [options] FILE" */
#endif
