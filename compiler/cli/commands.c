/* commands.c: the commands that do not run anything. */
#include "compiler/cli/cli.h"
#include <string.h>

static void to_stdout(void *ctx, const char *text, size_t n) {
  (void)ctx;
  fwrite(text, 1, n, stdout);
}

/* --- check ------------------------------------------------------------------------------------------------------------------------ */
static kd_status check_one(const args *a, kd_session *s, teller *t, const char *file) {
  kd_program *p;
  kd_compile_options o = compile_options(a);
  o.check = true;
  int errors = t->errors, warnings = t->warnings;
  kd_status st = kd_compile_file(s, file, &o, &p);
  if (t->json) {
    fputs("{\"event\":\"checked\",\"file\":", stdout);
    json_string(stdout, file);
    printf(",\"ok\":%s,\"errors\":%d,\"warnings\":%d}\n", st == KD_OK ? "true" : "false", t->errors - errors, t->warnings - warnings);
  } else if (st == KD_OK && !t->quiet) {
    if (p) kd_program_describe(p, to_stdout, NULL);
    else printf("%s\n  definitions alone\n", file);
  }
  kd_program_free(p);
  return st;
}

static void count(const char *what, int n, bool first) {
  if (n) fprintf(stderr, "%s%d %s%s", first ? "" : ", ", n, what, n == 1 ? "" : "s");
}

int cmd_check(const args *a) {
  surroundings env;
  if (!surroundings_read(a, &env)) return EXIT_RUN;
  teller t = teller_new(a);
  kd_session *s = session_open(a, &env, &t);
  int worst = s ? EXIT_DONE : EXIT_RUN;
  for (size_t i = 0; s && i < a->nfile; i++) {
    int code = exit_of_compile(check_one(a, s, &t, a->file[i]));
    if (code > worst) worst = code;
  }
  if (!t.json && !t.quiet && t.errors + t.warnings) {
    count("error", t.errors, true);
    count("warning", t.warnings, t.errors == 0);
    putc('\n', stderr);
  }
  kd_session_free(s);
  surroundings_free(&env);
  return worst;
}

/* --- compile ---------------------------------------------------------------------------------------------------------------------- */
static int bad_stage(const char *dump) {
  const char *names[64];
  size_t n = 0;
  while (n < 64 && (names[n] = kd_dump_stage(n))) n++;
  const char *near = dump ? nearest(dump, names, n) : NULL;
  if (dump) fprintf(stderr, "kdc: there is no stage `%s` to dump", dump);
  else fputs("kdc: `kdc compile` needs --dump=STAGE", stderr);
  if (near) fprintf(stderr, "; did you mean `%s`?", near);
  fputs("; the stages are", stderr);
  for (size_t i = 0; i < n; i++) fprintf(stderr, "%s %s", i ? "," : "", names[i]);
  putc('\n', stderr);
  return EXIT_USAGE;
}

int cmd_compile(const args *a) {
  const char *name, *dump = args_text(a, OPT_DUMP);
  bool known = false;
  for (size_t i = 0; dump && (name = kd_dump_stage(i)); i++) known = known || strcmp(name, dump) == 0;
  if (!known) return bad_stage(dump);
  surroundings env;
  if (!surroundings_read(a, &env)) return EXIT_RUN;
  teller t = teller_new(a);
  kd_session *s = session_open(a, &env, &t);
  kd_status st = KD_E_MEMORY;
  if (s) {
    kd_program *p;
    kd_compile_options o = compile_options(a);
    o.dump = dump;
    o.dump_to = to_stdout;
    st = kd_compile_file(s, a->file[0], &o, &p);
    kd_program_free(p);
  }
  kd_session_free(s);
  surroundings_free(&env);
  return exit_of_compile(st);
}

/* --- info -------------------------------------------------------------------------------------------------------------------------- */
int cmd_info(const args *a) {
  surroundings env;
  if (!surroundings_read(a, &env)) return EXIT_RUN;
  kd_info(to_stdout, NULL);
  fputs("data folders:", stdout);
  for (size_t i = 0; i < env.ndata; i++) printf(" %s", env.data[i]);
  printf("%s\ncache folder: %s\n", env.ndata ? "" : " none beside the program's and the system's", env.cache ? env.cache : "none");
  surroundings_free(&env);
  return EXIT_DONE;
}
