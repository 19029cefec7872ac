/* program.h: a method's program, its variants, and their runs. README.md says what the comment lines of a program mean. */
#ifndef KD_TESTS_METHODS_PROGRAM_H
#define KD_TESTS_METHODS_PROGRAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "include/kd.h"

enum { VARIANTS = 24, ITEMS = 24, SERIES = 256, LETS = 60, LONGEST = 400, SEEDS = 20 };

/* Mean losses of a stage's epochs, by name: `distil.loss`. */
typedef struct series { char name[120]; double *v; size_t n; } series;

typedef struct variant {
  char name[60];
  int line;
  bool used, quiet;                              /* an expectation names it; no warnings */
  char *text;                                    /* the program with this variant's replacements */
  char *set[ITEMS]; size_t nset;
  kd_session *session;
  kd_program *program;
  series series[SERIES]; size_t nseries;
  char folder[200];
} variant;

typedef struct named { char *name, *text; bool open; } named;

typedef struct method {
  const char *path;
  variant *v[VARIANTS]; size_t n;
  named let[LETS]; size_t nlet;                  /* names that stand for expressions */
  bool single;
  int faults;
} method;

void method_complain(method *m, int line, const char *what, const char *why);
char *method_read(const char *path);                 /* NULL: cannot be read */
char *method_copy(const char *s, size_t n);
const char *method_space(const char *s);             /* past the spaces at s */
variant *method_new(const char *name, size_t n, int line, const char *text);              /* text: the whole file */
bool method_items(method *m, variant *v, const char *s, int line);                        /* a variant's items, to the end of the line */
bool method_compile(method *m, variant *v);
bool method_run(method *m, variant *v, uint64_t seed);                                    /* compiles, and runs */
void method_forget(variant *v);

/* accuracy.c: the `// accuracy:` lines of a program, each with the `// baseline:` line behind it. With seeds they are run, and a line of the table
 * is printed for each; without they are compiled, and their figures must be among those of the program's own report (m->v[0], which has run). */
void method_accuracy(method *m, const char *text, int seeds);
#endif
