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
  const char *out = args_text(a, OPT_OUT), *slash = strrchr(a->file[0], '/'), *name = slash ? slash + 1 : a->file[0];
  if (out) return strdup(out);
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
static int run_program(const args *a, kd_program *p, teller *t, progress *live) {
  uint64_t seed = args_number(a, OPT_SEED, 0);
  char *out = run_folder(a, seed);
  if (!out) { fputs("kdc: out of memory\n", stderr); return EXIT_RUN; }
  kd_run_options o = { .seed = seed, .threads = (int)args_number(a, OPT_THREADS, 0), .deterministic = args_flag(a, OPT_DETERMINISTIC),
                       .no_dnnl = args_flag(a, OPT_NO_DNNL), .out = out, .event = progress_event, .event_ctx = live, .cancel = &stop };
  watch_signals();
  kd_status s = kd_run(p, &o);
  progress_end(live);
  int code = exit_of_run(s);
  if (t->json) {
    json_report(p, s, code, out);
  } else if (s == KD_OK) {
    print_report(p);
    if (!t->quiet) fprintf(stderr, "run folder: %s\n", out);
  } else if (s == KD_E_CANCELLED) {
    fprintf(stderr, "stopped on request; what was done so far is in %s\n", out);
  }
  free(out);
  return code;
}

int cmd_run(const args *a) {
  surroundings env;
  if (!surroundings_read(a, &env)) return EXIT_RUN;
  teller t = teller_new(a);
  progress live = progress_new(a);
  t.progress = &live;
  kd_session *s = session_open(a, &env, &t);
  int code = EXIT_RUN;
  if (s) {
    kd_program *p;
    kd_compile_options o = compile_options(a);
    code = exit_of_compile(kd_compile_file(s, a->file[0], &o, &p));
    if (p) code = run_program(a, p, &t, &live);
    kd_program_free(p);
  }
  kd_session_free(s);
  surroundings_free(&env);
  return code;
}
