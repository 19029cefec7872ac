/* run.c: kdc run. */
#include "compiler/cli/cli.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The one thing that a signal can reach. */
static volatile int stop;
static void on_signal(int number) {
  (void)number;
  stop = 1;
}

/* The first interrupt ends the run cleanly, the second at once. */
static void watch_signals(void) {
  struct sigaction s = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
  sigemptyset(&s.sa_mask);
  sigaction(SIGINT, &s, NULL);
  sigaction(SIGTERM, &s, NULL);
}

/* runs/NAME-SEED, or what --out says; from malloc. */
static char *run_folder(const args *a, uint64_t seed) {
  const char *out = args_text(a, OPT_OUT);
  if (out) return strdup(out);
  const char *slash = strrchr(a->file[0], '/'), *name = slash ? slash + 1 : a->file[0];
  const char *dot = strrchr(name, '.');
  int len = (int)(dot && dot != name ? (size_t)(dot - name) : strlen(name));
  size_t room = strlen(name) + 64;
  char *p = malloc(room);
  if (p) snprintf(p, room, "runs/%.*s-%llu", len, name, (unsigned long long)seed);
  return p;
}

/* --- the report -------------------------------------------------------------------------------------------------------------------- */
static int width(const char *s) {
  int n = 0;
  for (; *s; s++) n += (*s & 0xc0) != 0x80;
  return n;
}

static void print_value(double v) {
  if (isnan(v)) puts("not evaluated");
  else printf(fabs(v) >= 0.001 && fabs(v) < 1e6 ? "%.4f\n" : "%.6g\n", v);
}

static void print_report(const kd_program *p) {
  kd_row r;
  int label = 0, on = 0;
  for (size_t i = 0; kd_report(p, i, &r); i++) {
    if (width(r.label) > label) label = width(r.label);
    if (width(r.on) > on) on = width(r.on);
  }
  for (size_t i = 0; kd_report(p, i, &r); i++) {
    printf("%s%*s  %s%*s  ", r.label, label - width(r.label), "", r.on, on - width(r.on), "");
    print_value(r.value);
  }
}

static void json_report(const kd_program *p, kd_status s, int code, const char *out) {
  kd_row r;
  fputs("{\"event\":\"report\",\"rows\":[", stdout);
  for (size_t i = 0; s == KD_OK && kd_report(p, i, &r); i++) {
    fputs(i ? ",{\"label\":" : "{\"label\":", stdout);
    json_string(stdout, r.label);
    fputs(",\"on\":", stdout);
    json_string(stdout, r.on);
    fputs(",\"value\":", stdout);
    json_number(stdout, r.value);
    putchar('}');
  }
  fputs("]}\n{\"event\":\"end\",\"status\":", stdout);
  json_string(stdout, kd_status_text(s));
  printf(",\"exit\":%d,\"out\":", code);
  json_string(stdout, out);
  puts("}");
}

/* --- the run ------------------------------------------------------------------------------------------------------------------------ */
static kd_run_options run_options(const args *a, progress *live) {
  double every = (double)args_number(a, OPT_CHECKPOINT, 0);
  return (kd_run_options){ .seed = args_number(a, OPT_SEED, 0), .threads = (int)args_number(a, OPT_THREADS, 0), .deterministic = args_flag(a, OPT_DETERMINISTIC),
                           .no_dnnl = args_flag(a, OPT_NO_DNNL), .backend = args_choice(a, OPT_BACKEND), .winograd = args_choice(a, OPT_WINOGRAD),
                           .checkpoint_seconds = args_flag(a, OPT_CHECKPOINT) && every == 0 ? -1 : every,
                           .checkpoint_steps = (int64_t)args_number(a, OPT_CHECKPOINT_STEPS, 0), .event = progress_event, .event_ctx = live,
                           .every_step = live->steps != NULL, .cancel = &stop };
}

/* What came of it, in words. */
static int show(const kd_program *p, const teller *t, kd_status s, const char *out) {
  int code = exit_of_run(s);
  if (t->json) {
    json_report(p, s, code, out);
  } else if (s == KD_OK) {
    print_report(p);
    if (!t->quiet) fprintf(stderr, "run folder: %s\n", out);
  } else if (s == KD_E_CANCELLED) {
    fprintf(stderr, "stopped on request; what was done so far is in %s, and `kdc run --resume %s` goes on with it\n", out, out);
  }
  return code;
}

static int run_file(const args *a, kd_session *s, teller *t, progress *live) {
  kd_program *p;
  kd_compile_options c = compile_options(a);
  int code = exit_of_compile(kd_compile_file(s, a->file[0], &c, &p));
  if (!p) return code;
  kd_run_options o = run_options(a, live);
  char *out = run_folder(a, o.seed);
  if (out) {
    o.out = out;
    watch_signals();
    kd_status st = kd_run(p, &o);
    progress_end(live);
    code = show(p, t, st, out);
  } else {
    fputs("kdc: out of memory\n", stderr);
    code = EXIT_RUN;
  }
  free(out);
  kd_program_free(p);
  return code;
}

static int resume(const args *a, kd_session *s, teller *t, progress *live) {
  kd_program *p;
  kd_run_options o = run_options(a, live);
  const char *folder = args_text(a, OPT_RESUME);
  watch_signals();
  kd_status st = kd_resume(s, folder, &o, &p);
  progress_end(live);
  int code = p ? show(p, t, st, folder) : st == KD_E_PROGRAM ? EXIT_PROGRAM : exit_of_run(st);
  kd_program_free(p);
  return code;
}

int cmd_run(const args *a) {
  surroundings env;
  if (!surroundings_read(a, &env)) return EXIT_RUN;
  teller t = teller_new(a);
  progress live = progress_new(a);
  t.progress = &live;
  const char *path = args_text(a, OPT_STEPS);
  if (path && !(live.steps = steps_open(path, a->given[OPT_RESUME].n > 0))) { surroundings_free(&env); return EXIT_RUN; }
  kd_session *s = session_open(a, &env, &t);
  int code = EXIT_RUN;
  if (s) code = a->given[OPT_RESUME].n ? resume(a, s, &t, &live) : run_file(a, s, &t, &live);
  kd_session_free(s);
  surroundings_free(&env);
  if (!steps_close(live.steps) && code == EXIT_DONE) code = EXIT_RUN;
  return code;
}
