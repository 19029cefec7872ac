/* cost.c: kdc cost, kdc profile and kdc tune. */
#include "compiler/cli/table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The program of the command line, or NULL: then *code says how it ends. */
static kd_program *compiled(const args *a, kd_session *s, int *code) {
  kd_program *p = NULL;
  kd_compile_options c = compile_options(a);
  *code = s ? exit_of_compile(kd_compile_file(s, a->file[0], &c, &p)) : EXIT_RUN;
  return p;
}

static kd_run_options options(const args *a) {
  return (kd_run_options){ .seed = args_number(a, OPT_SEED, 0), .threads = (int)args_number(a, OPT_THREADS, 0), .deterministic = args_flag(a, OPT_DETERMINISTIC),
                           .no_dnnl = args_flag(a, OPT_NO_DNNL), .backend = args_choice(a, OPT_BACKEND), .winograd = args_choice(a, OPT_WINOGRAD) };
}

static table_view view(const args *a, bool measured) {
  uint64_t depth = args_number(a, OPT_DEPTH, 2);
  return (table_view){ .path = a->file[0], .depth = depth ? (int)depth : 1000, .measured = measured, .json = args_flag(a, OPT_JSON) };
}

static int show_cost(const args *a, kd_session *s) {
  int code;
  kd_table *t = NULL;
  kd_program *p = compiled(a, s, &code);
  if (!p) return code;
  kd_run_options run = options(a);
  kd_status st = kd_cost(p, &run, &(kd_cost_options){ .measure = args_flag(a, OPT_MEASURE) }, &t);
  if (st == KD_OK) {
    table_view v = view(a, false);
    table_show(t, &v);
  }
  kd_table_free(t);
  kd_program_free(p);
  return exit_of_run(st);
}

static void to_file(void *ctx, const char *text, size_t n) { fwrite(text, 1, n, ctx); }

static int write_trace(const kd_table *t, const char *path) {
  FILE *f = fopen(path, "w");
  if (f) kd_table_trace(t, to_file, f);
  bool bad = !f || ferror(f);
  if ((f && fclose(f) != 0) || bad) { fprintf(stderr, "kdc: cannot write %s: %s\n", path, strerror(errno)); return EXIT_RUN; }
  return EXIT_DONE;
}

static int show_profile(const args *a, kd_session *s) {
  int code;
  kd_table *t = NULL;
  kd_program *p = compiled(a, s, &code);
  if (!p) return code;
  kd_run_options run = options(a);
  const char *trace = args_text(a, OPT_TRACE);
  kd_status st = kd_profile(p, &run, &(kd_profile_options){ .steps = (int64_t)args_number(a, OPT_MEASURED_STEPS, 0), .stage = args_text(a, OPT_STAGE), .trace = trace != NULL }, &t);
  code = exit_of_run(st);
  if (st == KD_OK) {
    table_view v = view(a, true);
    table_show(t, &v);
    if (trace) code = write_trace(t, trace);
  }
  kd_table_free(t);
  kd_program_free(p);
  return code;
}

static int with_session(const args *a, int (*show)(const args *a, kd_session *s)) {
  surroundings env;
  if (!surroundings_read(a, &env)) return EXIT_RUN;
  teller t = teller_new(a);
  t.json = false;                                /* the table is all there is on standard output */
  kd_session *s = session_open(a, &env, &t);
  int code = show(a, s);
  kd_session_free(s);
  surroundings_free(&env);
  return code;
}

static void show_tuned(void *ctx, const kd_tuned *t) {
  (void)ctx;
  bool other = strcmp(t->usual, t->kernel) != 0;
  printf("%-16s %9.1f us  %s", t->kernel, t->seconds * 1e6, t->what);
  if (other) printf("  (%s: %.1f us)", t->usual, t->usual_seconds * 1e6);
  putchar('\n');
  fflush(stdout);
}

static int show_tune(const args *a, kd_session *s) {
  int code;
  char *file;
  kd_program *p = compiled(a, s, &code);
  if (!p) return code;
  kd_run_options run = options(a);
  kd_status st = kd_tune(p, &run, args_flag(a, OPT_QUIET) ? NULL : show_tuned, NULL, &file);
  if (st == KD_OK && !args_flag(a, OPT_QUIET)) printf("kept in %s\n", file);
  free(file);
  kd_program_free(p);
  return exit_of_run(st);
}

int cmd_tune(const args *a) { return with_session(a, show_tune); }
int cmd_cost(const args *a) { return with_session(a, show_cost); }
int cmd_profile(const args *a) { return with_session(a, show_profile); }
