/* test_folder.c: what a run leaves in its folder, whose folder it is, and what happens when it cannot be written. */
#include "tests/run/toy.h"
#include "runtime/files/json.h"
#include "runtime/files/safetensors.h"
#include "runtime/run/machine.h"
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

typedef struct env { temp t; toy toy; kd__run_options o; char folder[400]; } env;

static int open_env(void **state) {
  temp *t;
  env *e = calloc(1, sizeof *e);
  if (!e || temp_open((void **)&t) != 0) return -1;
  e->t = *t;
  free(t);
  toy_digits(&e->toy, 2);
  snprintf(e->folder, sizeof e->folder, "%s/runs/first", e->t.folder);
  e->o = toy_options();
  e->o.out = e->folder;
  *state = e;
  return 0;
}

static int close_env(void **state) {
  env *e = *state;
  toy_close(&e->toy);
  temp_empty(e->t.folder);
  rmdir(e->t.folder);
  free(e);
  return 0;
}

static kd_status try_run(env *e, kd__run_error *err) {
  kd_machine *r;
  kd_status s = kd__machine_open(&e->toy.m, &e->o, &r, err);
  if (s != KD_OK) return s;
  s = kd__machine_go(r, err);
  kd__machine_close(r);
  return s;
}

static void run(env *e) {
  kd__run_error err;
  if (try_run(e, &err) != KD_OK) fail_msg("%s", err.text);
}

static const char *in_folder(env *e, const char *name) {
  snprintf(e->t.path, sizeof e->t.path, "%s/%s", e->folder, name);
  return e->t.path;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static json_t *load(env *e, const char *name) {
  json_t *o;
  if (kd__json_load(in_folder(e, name), 1 << 20, &o, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  return o;
}

/* Every line of the log as one JSON object; the text must end with a newline. */
static json_t *load_log(env *e) {
  char *text;
  size_t n;
  json_t *list = json_array(), *o;
  if (kd__file_read(in_folder(e, "log.jsonl"), 1 << 20, &text, &n, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  for (char *line = text, *end; line < text + n; line = end + 1) {
    end = strchr(line, '\n');
    assert_non_null(end);
    if (kd__json_parse(line, (size_t)(end - line), "log.jsonl", &o, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
    json_array_append_new(list, o);
  }
  free(text);
  return list;
}

static const char *string_of(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "(none)";
}

static int files_in(const char *folder) {
  int n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *x; d && (x = readdir(d));) n += strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0;
  if (d) closedir(d);
  return n;
}

/* --- what it holds --------------------------------------------------------------------------------------------------------------- */
static void check_log(env *e, double accuracy) {
  static const char *const want[] = { "start", "stage", "epoch", "say", "epoch", "say", "note", "save", "report", "end" };
  json_t *log = load_log(e);
  assert_int_equal(json_array_size(log), sizeof want / sizeof *want);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) assert_string_equal(string_of(json_array_get(log, i), "event"), want[i]);
  const json_t *epoch = json_array_get(log, 4), *report = json_array_get(log, 8);
  assert_string_equal(string_of(epoch, "stage"), "fit");
  assert_int_equal(json_integer_value(json_object_get(epoch, "epoch")), 2);
  assert_int_equal(json_integer_value(json_object_get(epoch, "step")), 40);
  assert_true(json_is_number(json_object_get(json_object_get(epoch, "values"), "loss")));
  assert_true(json_number_value(json_object_get(json_array_get(json_object_get(report, "rows"), 0), "value")) == accuracy);
  assert_string_equal(string_of(json_array_get(log, 9), "status"), "done");
  json_decref(log);
}

static void check_settings(env *e) {
  json_t *s = load(e, "settings.json");
  assert_string_equal(string_of(s, "program"), "digits");
  assert_string_equal(string_of(s, "kdc"), "test");
  assert_string_equal(string_of(s, "real"), "f32");
  assert_int_equal(json_integer_value(json_object_get(s, "seed")), 1);
  assert_int_equal(json_integer_value(json_object_get(s, "threads")), 2);
  assert_true(json_is_false(json_object_get(s, "deterministic")));
  assert_string_equal(json_string_value(json_array_get(json_object_get(s, "settings"), 0)), "fit.epochs=2");
  assert_true(strlen(string_of(s, "processor")) > 3 && strlen(string_of(s, "libraries")) > 3);
  const json_t *kernels = json_object_get(s, "kernels");
  for (uint32_t i = 0; i < e->toy.m.nplan; i++) assert_true(json_array_size(json_object_get(kernels, e->toy.m.plan[i]->name)) > 0);
  json_decref(s);
}

static void check_weights(env *e, const kd_machine *r) {
  kd__safetensors f;
  if (kd__st_open(in_folder(e, "S.safetensors"), &f, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  assert_int_equal(f.n, 2);
  const kd__st_tensor *w = kd__st_find(&f, "W"), *b = kd__st_find(&f, "b");
  assert_true(kd__type_equal(&w->type, &e->toy.m.slot[DIGITS_W].type));
  assert_memory_equal(w->data, kd__machine_slot(r, DIGITS_W), w->bytes);
  assert_memory_equal(b->data, kd__machine_slot(r, DIGITS_B), b->bytes);
  assert_string_equal(kd__st_meta(&f, "program"), "digits");
  assert_string_equal(kd__st_meta(&f, "seed"), "1");
  assert_string_equal(kd__st_meta(&f, "kdc"), "test");
  kd__st_close(&f);
}

static void whole_folder(void **state) {
  env *e = *state;
  static const char text[] = "scheme {\0}\n";
  const kd__source_copy source[] = { { "digits.kd", text, sizeof text - 1 }, { "/lib/../losses/./kd.kd", "loss\n", 5 } };
  const char *const setting[] = { "fit.epochs=2" };
  e->o.source = source;
  e->o.nsource = 2;
  e->o.setting = setting;
  e->o.nsetting = 1;
  kd_machine *r;
  kd__run_error err;
  if (kd__machine_open(&e->toy.m, &e->o, &r, &err) != KD_OK || kd__machine_go(r, &err) != KD_OK) fail_msg("%s", err.text);
  double accuracy = kd__machine_report(r, 0);
  check_log(e, accuracy);
  check_settings(e);
  check_weights(e, r);
  kd__machine_close(r);
  json_t *report = load(e, "report.json");
  const json_t *row = json_array_get(json_object_get(report, "report"), 0);
  assert_string_equal(string_of(row, "label"), "accuracy");
  assert_string_equal(string_of(row, "on"), "digits.test");
  assert_true(json_number_value(json_object_get(row, "value")) == accuracy);
  json_decref(report);
  char *got;
  size_t n;
  assert_int_equal(kd__file_read(in_folder(e, "source/digits.kd"), 1000, &got, &n, NULL, 0), KD_OK);
  assert_int_equal(n, sizeof text - 1);
  assert_memory_equal(got, text, n);
  free(got);
  assert_true(exists(in_folder(e, "source/lib/losses/kd.kd")));
  assert_int_equal(files_in(e->folder), 6);      /* marker, log, settings, source, weights, report: nothing half-written */
}

static void same_weights_same_bytes(void **state) {
  env *e = *state;
  char *a, *b;
  size_t n, m;
  run(e);
  assert_int_equal(kd__file_read(in_folder(e, "S.safetensors"), 1 << 20, &a, &n, NULL, 0), KD_OK);
  run(e);
  assert_int_equal(kd__file_read(in_folder(e, "S.safetensors"), 1 << 20, &b, &m, NULL, 0), KD_OK);
  assert_int_equal(n, m);
  assert_memory_equal(a, b, n);
  free(a);
  free(b);
}

static void numbers(void **state) {
  (void)state;
  static const struct { double v; const char *text; } c[] = { { 0.1, "0.1" }, { 1, "1" }, { -2.5e-300, "-2.5e-300" }, { 1.0 / 3, "0.3333333333333333" },
    { 100000, "100000" }, { NAN, "\"nan\"" }, { INFINITY, "\"inf\"" }, { -INFINITY, "\"-inf\"" }, { (double)0.1f, "0.10000000149011612" } };
  const char *old = setlocale(LC_NUMERIC, "de_DE.UTF-8");              /* where it is not installed, the plain case is checked */
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    kd__buf b = { 0 };
    kd__json_number(&b, c[i].v);
    assert_string_equal(b.p, c[i].text);
    kd__buf_free(&b);
  }
  if (old) setlocale(LC_NUMERIC, "C");
}

/* --- whose folder it is ---------------------------------------------------------------------------------------------------------------- */
static void replaces_an_earlier_run(void **state) {
  env *e = *state;
  const kd__source_copy source = { "old/deep/digits.kd", "old", 3 };
  e->o.source = &source;
  e->o.nsource = 1;
  run(e);
  char own[600];
  snprintf(own, sizeof own, "%s", in_folder(e, "notes.txt"));
  FILE *f = fopen(own, "w");
  assert_non_null(f);
  fclose(f);
  f = fopen(in_folder(e, ".S.safetensors.0000abcd.part"), "w");       /* as a killed run leaves it */
  assert_non_null(f);
  fclose(f);
  e->o.nsource = 0;
  kd_machine *r;
  kd__run_error err;
  assert_int_equal(kd__machine_open(&e->toy.m, &e->o, &r, &err), KD_OK);
  assert_false(exists(in_folder(e, "S.safetensors")));                 /* nothing of the earlier run looks like this one's */
  assert_false(exists(in_folder(e, "report.json")));
  assert_false(exists(in_folder(e, "source")));
  assert_false(exists(in_folder(e, ".S.safetensors.0000abcd.part")));
  assert_true(exists(own));                      /* and what no run wrote stays */
  kd_machine *second;
  assert_int_equal(kd__machine_open(&e->toy.m, &e->o, &second, &err), KD_E_IO);
  assert_contains(err.text, "another run is writing there");
  kd__machine_close(r);                          /* never run: the log says so */
  json_t *log = load_log(e);
  assert_string_equal(string_of(json_array_get(log, json_array_size(log) - 1), "status"), "stopped");
  json_decref(log);
}

static void refuses_folders_of_others(void **state) {
  env *e = *state;
  kd__run_error err;
  e->o.out = e->t.folder;
  temp_write(&e->t, "thesis.tex", "x", 1);
  assert_int_equal(try_run(e, &err), KD_E_IO);
  assert_contains(err.text, "holds files that no run wrote");
  assert_int_equal(files_in(e->t.folder), 1);
  temp_write(&e->t, ".kdc-run", "something else\nthesis.tex\n", 26);
  assert_int_equal(try_run(e, &err), KD_E_IO);
  assert_contains(err.text, "was not written by a run");
  temp_write(&e->t, ".kdc-run", "kdc run folder 1\n../x\n/etc/passwd\n\nthesis.t", 43);
  snprintf(e->folder, sizeof e->folder, "%s/../x", e->t.folder);
  run(e);                                        /* a marker is no licence to remove what lies outside, nor half a name */
  assert_true(exists(temp_path(&e->t, "thesis.tex")));
  assert_true(exists("/etc/passwd"));
}

static void cannot_be_made(void **state) {
  env *e = *state;
  kd__run_error err;
  temp_write(&e->t, "file", "x", 1);
  snprintf(e->folder, sizeof e->folder, "%s/file", e->t.folder);
  assert_int_equal(try_run(e, &err), KD_E_IO);
  assert_contains(err.text, "Not a directory");
  snprintf(e->folder, sizeof e->folder, "%s/file/run", e->t.folder);
  assert_int_equal(try_run(e, &err), KD_E_IO);
  assert_contains(err.text, "cannot make this folder");
  snprintf(e->folder, sizeof e->folder, "/proc/kdc-run");
  assert_int_equal(try_run(e, &err), KD_E_IO);
  assert_contains(err.text, "/proc/kdc-run");
  e->o.out = "";
  assert_int_equal(try_run(e, &err), KD_E_IO);
  if (geteuid() == 0) return;                    /* to root everything may be written */
  snprintf(e->folder, sizeof e->folder, "%s/locked", e->t.folder);
  assert_int_equal(mkdir(e->folder, 0555), 0);
  e->o.out = e->folder;
  assert_int_equal(try_run(e, &err), KD_E_IO);
  assert_contains(err.text, "check who may write there");
}

/* --- the disk is full: files of this process may not grow past a limit ------------------------------------------------------------------------ */
static kd_status run_limited(env *e, rlim_t bytes, kd__run_error *err) {
  struct rlimit old, now;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
  now = old;
  now.rlim_cur = bytes;
  setrlimit(RLIMIT_FSIZE, &now);
  kd_status s = try_run(e, err);
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, before);
  return s;
}

static void disk_full(void **state) {
  env *e = *state;
  kd__run_error err;
  /* 2500 bytes: the log fits, 2.6 kB of weights do not */
  static const rlim_t limit[] = { 10, 60, 200, 400, 700, 1000, 2500 };
  for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
    assert_int_equal(run_limited(e, limit[i], &err), KD_E_IO);
    assert_contains(err.text, "cannot");
    assert_false(exists(in_folder(e, "S.safetensors")));
    assert_false(exists(in_folder(e, "report.json")));
    json_t *log = exists(in_folder(e, "log.jsonl")) ? load_log(e) : NULL;          /* whole lines alone */
    json_decref(log);
    DIR *d = opendir(e->folder);
    for (struct dirent *x; d && (x = readdir(d));) assert_null(strstr(x->d_name, ".part"));
    if (d) closedir(d);
  }
  json_t *log = load_log(e);
  const json_t *last = json_array_get(log, json_array_size(log) - 1);
  assert_string_equal(string_of(last, "status"), "failed");
  assert_contains(string_of(last, "error"), "S.safetensors");
  json_decref(log);
  assert_contains(err.text, "(stage `fit`, epoch 2, step 40)");
  assert_int_equal(err.origin, 1000 + e->toy.m.ncode - 2);             /* the statement that saves */
  run(e);                                        /* with room again, the same folder serves */
}

static void failure_is_logged(void **state) {
  env *e = *state;
  kd__run_error err;
  volatile int cancel = 1;
  e->o.cancel = &cancel;
  assert_int_equal(try_run(e, &err), KD_E_CANCELLED);
  json_t *log = load_log(e);
  const json_t *last = json_array_get(log, json_array_size(log) - 1);
  assert_string_equal(string_of(last, "event"), "end");
  assert_string_equal(string_of(last, "status"), "cancelled");
  assert_string_equal(string_of(last, "error"), err.text);
  json_decref(log);
  assert_false(exists(in_folder(e, "report.json")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(whole_folder, open_env, close_env), cmocka_unit_test_setup_teardown(same_weights_same_bytes, open_env, close_env),
    cmocka_unit_test(numbers), cmocka_unit_test_setup_teardown(replaces_an_earlier_run, open_env, close_env),
    cmocka_unit_test_setup_teardown(refuses_folders_of_others, open_env, close_env), cmocka_unit_test_setup_teardown(cannot_be_made, open_env, close_env),
    cmocka_unit_test_setup_teardown(disk_full, open_env, close_env), cmocka_unit_test_setup_teardown(failure_is_logged, open_env, close_env),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
