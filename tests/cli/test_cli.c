/* test_cli.c: the kdc program from outside: exit codes, messages, JSON, colours, progress, interrupts.   usage: test_cli KDC */
#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <jansson.h>
#include <cmocka.h>
#include "tests/api/toy.h"

static const char *kdc;
static toy here;                                 /* the folder that all runs start in */
enum { ROOM = 1 << 20 };
static char out[ROOM], err[ROOM];                /* what the last run wrote */

/* --- running ------------------------------------------------------------------------------------------------------------------------ */
static void become(char *const *argv, int to_out, int to_err) {
  if (chdir(here.folder) != 0) _exit(99);
  setenv("XDG_CACHE_HOME", here.folder, 1);
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  unsetenv("KD_DATA");
  int none = open("/dev/null", O_RDONLY);
  dup2(none, 0);
  dup2(to_out, 1);
  dup2(to_err, 2);
  execv(kdc, argv);
  _exit(98);
}

static size_t read_some(int fd, char *to, size_t n) {
  ssize_t got = n + 1 < ROOM ? read(fd, to + n, ROOM - 1 - n) : 0;
  return got > 0 ? (size_t)got : 0;
}

/* Reads both ends until they close, or kills what runs longer than a minute. */
static int collect(pid_t pid, int from_out, int from_err) {
  struct pollfd p[2] = { { .fd = from_out, .events = POLLIN }, { .fd = from_err, .events = POLLIN } };
  size_t n[2] = { 0, 0 };
  char *to[2] = { out, err };
  time_t end = time(NULL) + 60;
  while (p[0].fd >= 0 || p[1].fd >= 0) {
    if (time(NULL) > end) kill(pid, SIGKILL);
    if (poll(p, 2, 1000) <= 0) continue;
    for (int i = 0; i < 2; i++) {
      if (p[i].fd < 0 || !p[i].revents) continue;
      size_t got = read_some(p[i].fd, to[i], n[i]);
      if (got == 0) p[i].fd = -1;
      n[i] += got;
    }
  }
  out[n[0]] = err[n[1]] = 0;
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static pid_t begin(char *const *argv, bool terminal, int *from_out, int *from_err) {
  int o[2], e[2];
  assert_int_equal(pipe(o), 0);
  if (!terminal) assert_int_equal(pipe(e), 0);
  else if (openpty(&e[0], &e[1], NULL, NULL, &(struct winsize){ .ws_row = 24, .ws_col = 60 }) != 0) {
    print_message("skipped: there are no pseudo terminals here (is devpts mounted?)\n");
    skip();
  }
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    close(o[0]);
    close(e[0]);
    become(argv, o[1], e[1]);
  }
  close(o[1]);
  close(e[1]);
  *from_out = o[0];
  *from_err = e[0];
  return pid;
}

/* Exit code of `kdc ...`; `out` and `err` hold what it wrote. `terminal`: standard error is one, 60 columns wide. */
static int run_on(bool terminal, const char *const *arg) {
  char *argv[16] = { (char *)(uintptr_t)"kdc" };
  for (int i = 0; i < 14 && arg[i]; i++) argv[i + 1] = (char *)(uintptr_t)arg[i];
  int from_out, from_err;
  pid_t pid = begin(argv, terminal, &from_out, &from_err);
  int code = collect(pid, from_out, from_err);
  close(from_out);
  close(from_err);
  return code;
}
#define RUN(...) run_on(false, (const char *const[]){ __VA_ARGS__, NULL })
#define ON_TERMINAL(...) run_on(true, (const char *const[]){ __VA_ARGS__, NULL })

static void expect(int code, int want) {
  if (code != want) fail_msg("exit code %d and not %d; standard error:\n%s", code, want, err);
}

static bool exists(const char *name) {
  char *p = toy_path(&here, name);
  struct stat st;
  bool there = stat(p, &st) == 0;
  free(p);
  return there;
}

/* --- the folder ------------------------------------------------------------------------------------------------------------------- */
static FILE *create(const char *name) {
  char *p = toy_path(&here, name);
  FILE *f = fopen(p, "wb");
  assert_non_null(f);
  free(p);
  return f;
}

static void write_text(const char *name, const char *text) {
  FILE *f = create(name);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
}

/* The toy program with every `from` made `to`. */
static void variant(const char *name, const char *from, const char *to) {
  FILE *f = create(name);
  const char *p = toy_program;
  for (const char *hit; (hit = strstr(p, from)); p = hit + strlen(from)) fprintf(f, "%.*s%s", (int)(hit - p), p, to);
  fputs(p, f);
  assert_int_equal(fclose(f), 0);
}

static void write_deep(const char *name) {
  FILE *f = create(name);
  fputs("let a = ", f);
  for (int i = 0; i < 100000; i++) putc('(', f);
  putc('1', f);
  for (int i = 0; i < 100000; i++) putc(')', f);
  putc('\n', f);
  assert_int_equal(fclose(f), 0);
}

static int set_up(void **state) {
  (void)state;
  here = toy_new();
  write_text("toy.kd", toy_program);
  write_text("empty.kd", "");
  write_text("parts.kd", toy_definitions);
  write_text("wrong.kd", "let a = nowhere\nscheme {\n}\n");
  variant("cut.kd", "toy-x", "cut-x");
  variant("label.kd", "toy-y", "bad-y");
  variant("gone.kd", "toy-x", "gone-x");
  variant("nan.kd", "lr: 0.5", "lr: 9e37");
  variant("weights.kd", "two(hidden: 5, out: 3)", "two(hidden: 5, out: 3) from \"weights/S.safetensors\"");
  write_deep("deep.kd");
  FILE *f = create("binary.kd");
  for (int i = 255; i >= 0; i--) putc(i, f);
  fclose(f);
  f = create("large.kd");
  assert_int_equal(ftruncate(fileno(f), 100 << 20), 0);
  fclose(f);
  f = create("cut-x");                           /* 48 rows are promised, and 10 are there */
  fwrite((const unsigned char[]){ 0, 0, 8, 2, 0, 0, 0, 48, 0, 0, 0, 6 }, 1, 12, f);
  for (int i = 0; i < 60; i++) putc(i, f);
  fclose(f);
  f = create("bad-y");
  fwrite((const unsigned char[]){ 0, 0, 8, 1, 0, 0, 0, 48 }, 1, 8, f);
  for (int i = 0; i < 48; i++) putc(i == 17 ? 3 : i % 3, f);
  fclose(f);
  write_text("taken", "a file is in the way\n");
  char *p = toy_path(&here, "folder"), *q = toy_path(&here, "pipe"), *r = toy_path(&here, "foreign");
  assert_int_equal(mkdir(p, 0777) | mkfifo(q, 0666) | mkdir(r, 0777), 0);
  free(p);
  free(q);
  free(r);
  write_text("foreign/letter.txt", "not from a run\n");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  toy_free(&here);
  return 0;
}

/* --- usage and bad input ------------------------------------------------------------------------------------------------------------- */
static const struct { int code; const char *says; const char *arg[8]; } cases[] = {
#define CASE(code, says, ...) { code, says, { __VA_ARGS__ } },
#include "tests/cli/cases.def"
#undef CASE
};

static void each_case_has_its_code_and_message(void **state) {
  int bad = 0;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int code = run_on(false, cases[i].arg);
    if (code == cases[i].code && strstr(err, cases[i].says) && !strstr(err, "\033[")) continue;
    bad++;
    print_error("case %zu: kdc %s %s %s\n  exit %d, not %d, or without \"%s\":\n%s\n", i, cases[i].arg[0] ? cases[i].arg[0] : "", cases[i].arg[1] ? cases[i].arg[1] : "",
                cases[i].arg[1] && cases[i].arg[2] ? cases[i].arg[2] : "", code, cases[i].code, cases[i].says, err);
  }
  assert_int_equal(bad, 0);
}

static void a_failed_run_leaves_nothing_that_looks_whole(void **state) {
  static const char *const run[] = { "out-cut", "out-label", "out-gone", "out-nan" };
  (void)state;
  for (size_t i = 0; i < sizeof run / sizeof *run; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s/student.safetensors", run[i]);
    assert_false(exists(name));
    snprintf(name, sizeof name, "%s/report.json", run[i]);
    assert_false(exists(name));
  }
  assert_true(exists("foreign/letter.txt"));
  assert_false(exists("foreign/log.jsonl"));
}

static void a_full_disk_is_told(void **state) {
  char command[512];
  (void)state;
  snprintf(command, sizeof command, "'%s' help >/dev/full 2>/dev/null", kdc);
  int status = system(command);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 3);
}

/* --- help ------------------------------------------------------------------------------------------------------------------------------ */
static void help_names_everything(void **state) {
  static const char *const commands[] = { "run", "check", "compile", "cost", "profile", "tune", "info", "help" };
  static const char *const options[] = { "--set=PATH=VALUE", "--seed=N", "--threads=N", "--deterministic", "--out=DIR", "--quiet", "--json", "--stdlib=DIR", "--data=DIR",
                                         "--precision=single|double", "--memory-limit=SIZE", "--no-dnnl", "--backend=auto|interp|jit", "--winograd=auto|off|on", "--resume=DIR", "--checkpoint=N", "--checkpoint-steps=N", "--color=auto|always|never" };
  (void)state;
  expect(RUN("help"), 0);
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) assert_non_null(strstr(out, commands[i]));
  expect(RUN("help", "run"), 0);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (!strstr(out, options[i])) fail_msg("help run does not name %s", options[i]);
  char whole[ROOM];
  memcpy(whole, out, ROOM);
  expect(RUN("run", "--help"), 0);
  assert_string_equal(out, whole);
  expect(RUN("help", "compile"), 0);
  assert_non_null(strstr(out, "tokens ast graph"));
  expect(RUN("--version"), 0);
  assert_non_null(strstr(out, "kdc "));
  expect(RUN("info"), 0);
  assert_non_null(strstr(out, "numeric libraries: "));
}

/* What computes is a matter of the processor, not of the environment. */
static void environment_picks_no_kernels(void **state) {
  (void)state;
  static char first[ROOM];
  unsetenv("OPENBLAS_CORETYPE");
  unsetenv("OPENBLAS_L2_SIZE");
  expect(RUN("info"), 0);
  memcpy(first, out, ROOM);
  setenv("OPENBLAS_CORETYPE", "Prescott", 1);
  setenv("OPENBLAS_L2_SIZE", "64", 1);
  expect(RUN("info"), 0);
  unsetenv("OPENBLAS_CORETYPE");
  unsetenv("OPENBLAS_L2_SIZE");
  assert_string_equal(out, first);
  assert_non_null(strstr(out, "self-test: ok"));
}

/* What was measured is kept beside the other caches, taken by runs and copied for their resumption; a broken file is no reason to fail. */
static void tuned_kernels(void **state) {
  (void)state;
  expect(RUN("tune", "--threads=1", "toy.kd"), 0);
  char *file = strstr(out, "kept in ");
  assert_non_null(file);
  assert_non_null(strstr(out, "matmul"));
  file[strcspn(file, "\n")] = 0;
  char path[512];
  snprintf(path, sizeof path, "%s", file + 8);
  expect(RUN("run", "--threads=1", "--quiet", "--out=runs/tuned", "toy.kd"), 0);
  assert_true(exists("runs/tuned/kernels.txt"));
  FILE *f = fopen(path, "a");
  assert_non_null(f);
  fputs("more\n", f);
  fclose(f);
  expect(RUN("run", "--threads=1", "--out=runs/plain", "toy.kd"), 0);
  assert_non_null(strstr(err, "kdc tune"));
  assert_false(exists("runs/plain/kernels.txt"));
  assert_int_equal(unlink(path), 0);
}

/* --- runs ------------------------------------------------------------------------------------------------------------------------------ */
static int count(const char *text, const char *part) {
  int n = 0;
  for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
  return n;
}

static void off_a_terminal_a_line_an_epoch(void **state) {
  (void)state;
  for (int again = 0; again < 2; again++) {      /* the second time in place of the first */
    expect(RUN("run", "toy.kd"), 0);
    assert_int_equal(count(err, "fit  epoch "), 3);
    assert_null(strpbrk(err, "\r\033"));
    assert_null(strpbrk(out, "\r\033"));
    assert_non_null(strstr(out, "right(z, toy.y)  toy.test  "));
    assert_non_null(strstr(err, "run folder: runs/toy-0"));
    assert_true(exists("runs/toy-0/student.safetensors"));
    assert_true(exists("runs/toy-0/log.jsonl"));
  }
  expect(RUN("run", "--seed=5", "--quiet", "toy.kd"), 0);
  assert_string_equal(err, "");
  assert_true(exists("runs/toy-5/student.safetensors"));
}

static void on_a_terminal_one_live_line(void **state) {
  (void)state;
  expect(ON_TERMINAL("run", "--out=live", "--set=fit.epochs=400", "toy.kd"), 0);
  assert_true(count(err, "\r") >= 2);
  assert_true(count(err, "\033[K") >= 2);
  assert_int_equal(count(err, "\n") - count(err, "run folder"), 1);
  for (char *save = NULL, *line = strtok_r(err, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
    assert_true(strlen(line) <= 60 + 3);         /* the columns, and the erasing */
  expect(ON_TERMINAL("run", "--out=live", "--quiet", "toy.kd"), 0);
  assert_string_equal(err, "");
}

static void colour_on_a_terminal_only(void **state) {
  (void)state;
  expect(RUN("check", "wrong.kd"), 1);
  assert_null(strstr(err, "\033["));
  expect(ON_TERMINAL("check", "wrong.kd"), 1);
  assert_non_null(strstr(err, "\033[1;31m"));
  expect(ON_TERMINAL("check", "--color=never", "wrong.kd"), 1);
  assert_null(strstr(err, "\033["));
  expect(RUN("check", "--color=always", "wrong.kd"), 1);
  assert_non_null(strstr(err, "\033[1;31m"));
}

/* Every line of `out` is an object with an `event`; returns how many are of this one. */
static int json_events(const char *event) {
  int n = 0;
  for (char *line = out, *end; *line; line = end + 1) {
    end = strchr(line, '\n');
    assert_non_null(end);
    json_t *j = json_loadb(line, (size_t)(end - line), 0, NULL);
    if (!j) fail_msg("not JSON: %.*s", (int)(end - line), line);
    const char *is = json_string_value(json_object_get(j, "event"));
    assert_non_null(is);
    n += strcmp(is, event) == 0;
    json_decref(j);
  }
  return n;
}

static void json_lines_are_json(void **state) {
  (void)state;
  expect(RUN("run", "--json", "toy.kd"), 0);
  assert_string_equal(err, "");
  assert_int_equal(json_events("stage"), 1);
  assert_int_equal(json_events("epoch"), 3);
  assert_int_equal(json_events("report"), 1);
  assert_int_equal(json_events("end"), 1);
  char *last = strstr(out, "{\"event\":\"report\"");
  assert_non_null(last);
  json_t *j = json_loads(last, JSON_DISABLE_EOF_CHECK, NULL), *row = json_array_get(json_object_get(j, "rows"), 0);
  assert_string_equal(json_string_value(json_object_get(row, "label")), "right(z, toy.y)");
  assert_true(json_is_number(json_object_get(row, "value")));
  json_decref(j);
  expect(RUN("check", "--json", "wrong.kd", "toy.kd"), 1);
  assert_true(json_events("message") >= 1);
  assert_int_equal(json_events("checked"), 2);
  expect(RUN("run", "--json", "--out=out-nan", "--set=fit.epochs=20", "nan.kd"), 3);
  assert_int_equal(json_events("message"), 1);
  assert_int_equal(json_events("end"), 1);
}

/* A line a step, in order, with times that rise and the losses that the epochs are means of. */
static void every_step_is_written_down(void **state) {
  (void)state;
  expect(RUN("run", "--steps=steps.jsonl", "--json", "toy.kd"), 0);
  char *p = toy_path(&here, "steps.jsonl"), line[512];
  FILE *f = fopen(p, "r");
  assert_non_null(f);
  double before = 0, sum = 0;
  int n = 0;
  for (; fgets(line, sizeof line, f); n++) {
    json_t *j = json_loads(line, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "stage")), "fit");
    assert_int_equal(json_integer_value(json_object_get(j, "step")), n + 1);
    double at = json_number_value(json_object_get(j, "seconds"));
    assert_true(at > before);
    before = at;
    if (n >= 12) sum += json_number_value(json_object_get(json_object_get(j, "values"), "loss"));
    json_decref(j);
  }
  fclose(f);
  assert_int_equal(n, 18);                       /* 3 epochs of 6 steps */
  assert_true(json_events("step") < 18);         /* the screen gets no more than it did */
  char *last = strstr(strstr(out, "\"epoch\":3"), "\"loss\":");
  assert_true(fabs(strtod(last + 7, NULL) - sum / 6) < 1e-6);
  expect(RUN("run", "--quiet", "--steps=steps.jsonl", "toy.kd"), 0);
  f = fopen(p, "r");
  for (n = 0; fgets(line, sizeof line, f); n++) { }
  fclose(f);
  assert_int_equal(n, 18);                       /* anew, not appended */
  free(p);
  expect(RUN("run", "--steps=no-such-folder/steps", "toy.kd"), 3);
  assert_non_null(strstr(err, "cannot write no-such-folder/steps"));
}

/* What one program writes another reads: both element types. */
static void arrays_are_data(void **state) {
  (void)state;
  write_text("make.kd", "scheme { stage make { write made (x: real(iota(B: 6))[B as b] / 4 + zeros([b: 6, d: 2]), y: iota(b: 6)) } }\n");
  write_text("take.kd", "data d = dataset(batch: 3, train: (x: npy(\"made/made.x.npy\", axes: [D: 2]), y: npy(\"made/made.y.npy\", below: 6)))\n"
                        "state t: [] = 0\nscheme { for b in d { update t = t + sum(d.x) + 100 * sum(real(d.y)) } }\nreport t\n");
  expect(RUN("run", "--quiet", "--out=made", "make.kd"), 0);
  expect(RUN("run", "--quiet", "--out=made-of", "take.kd"), 0);
  assert_true(strtod(strpbrk(out, "0123456789"), NULL) == 15.0 / 4 * 2 + 1500);
}

static void check_says_what_is_trained(void **state) {
  (void)state;
  expect(RUN("check", "toy.kd"), 0);
  assert_non_null(strstr(out, "stage fit: 3 epochs of 6 steps, trains S 53"));
  expect(RUN("check", "--set=S.hidden=7", "--set", "fit.epochs=2", "toy.kd"), 0);
  assert_non_null(strstr(out, "stage fit: 2 epochs of 6 steps, trains S 73"));
  expect(RUN("compile", "--dump=graph", "toy.kd"), 0);
  assert_non_null(strstr(out, "// program fit.train.8"));
}

/* --- interrupts ------------------------------------------------------------------------------------------------------------------------ */
static void an_interrupt_ends_the_run(void **state) {
  char *argv[] = { (char *)(uintptr_t)"kdc", (char *)(uintptr_t)"run", (char *)(uintptr_t)"--out=stopped", (char *)(uintptr_t)"--set=fit.epochs=100000000",
                   (char *)(uintptr_t)"toy.kd", NULL };
  int from_out, from_err;
  (void)state;
  pid_t pid = begin(argv, false, &from_out, &from_err);
  char first[256];
  assert_true(read(from_err, first, sizeof first) > 0);            /* an epoch is over: it runs */
  assert_int_equal(kill(pid, SIGINT), 0);
  expect(collect(pid, from_out, from_err), 3);
  assert_non_null(strstr(err, "stopped on request"));
  assert_string_equal(out, "");
  assert_non_null(strstr(err, "`kdc run --resume stopped` goes on with it"));
  assert_false(exists("stopped/student.safetensors"));
  assert_false(exists("stopped/report.json"));
  assert_true(exists("stopped/checkpoint.safetensors"));
  close(from_out);
  close(from_err);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_case_has_its_code_and_message), cmocka_unit_test(a_failed_run_leaves_nothing_that_looks_whole),
    cmocka_unit_test(a_full_disk_is_told), cmocka_unit_test(help_names_everything), cmocka_unit_test(environment_picks_no_kernels), cmocka_unit_test(tuned_kernels), cmocka_unit_test(off_a_terminal_a_line_an_epoch),
    cmocka_unit_test(on_a_terminal_one_live_line), cmocka_unit_test(colour_on_a_terminal_only), cmocka_unit_test(json_lines_are_json), cmocka_unit_test(every_step_is_written_down), cmocka_unit_test(arrays_are_data),
    cmocka_unit_test(check_says_what_is_trained), cmocka_unit_test(an_interrupt_ends_the_run),
  };
  kdc = argc > 1 ? realpath(argv[1], NULL) : NULL;
  return kdc ? cmocka_run_group_tests(tests, set_up, tear_down) : 2;
}
