/* test_checkpoint.c: runs that die between two instructions and go on from their folder; what is refused, and what a full disk does. */
#include "tests/run/toy.h"
#include "runtime/files/json.h"
#include "runtime/kernels/choice.h"
#include "runtime/run/machine.h"
#include "runtime/run/settings.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { EPOCHS = 3, STEPS = DIGITS_TRAIN / DIGITS_BATCH * EPOCHS };
typedef struct env { temp t; toy toy; kd__run_options o; char whole[400], folder[400]; kd__run_error err; } env;
static const kd__source_copy source[] = { { "dir/digits.kd", "scheme {}\n", 10 }, { "../digits.kd", "other\n", 6 }, { "digits.kd", "third\n", 6 }, { "<stdlib>/losses/kd.kd", "loss\n", 5 } };

static int open_env(void **state) {
  temp *t;
  env *e = calloc(1, sizeof *e);
  if (!e || temp_open((void **)&t) != 0) return -1;
  e->t = *t;
  free(t);
  toy_digits(&e->toy, EPOCHS);
  snprintf(e->whole, sizeof e->whole, "%s/whole", e->t.folder);
  snprintf(e->folder, sizeof e->folder, "%s/run", e->t.folder);
  e->o = toy_options();
  e->o.source = source;
  e->o.nsource = 4;
  e->o.path = "dir/digits.kd";
  e->o.checkpoint_seconds = -1;
  e->o.checkpoint_steps = 7;
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

static kd_machine *open_run(env *e) {
  kd_machine *r;
  if (kd__machine_open(&e->toy.m, &e->o, &r, &e->err) != KD_OK) fail_msg("%s", e->err.text);
  return r;
}

/* The machine is gone without a word, as after SIGKILL: no last line in the log, and the system gives the lock back. */
static void die(kd_machine *r) {
  r->ended = true;
  kd__machine_close(r);
}

static void die_after(env *e, int64_t steps) {
  bool done;
  kd_machine *r = open_run(e);
  if (kd__machine_steps(r, steps, &done, &e->err) != KD_OK) fail_msg("%s", e->err.text);
  assert_false(done);
  die(r);
}

static void to_the_end(env *e) {
  kd_machine *r = open_run(e);
  if (kd__machine_go(r, &e->err) != KD_OK) fail_msg("%s", e->err.text);
  kd__machine_close(r);
}

static const char *file(env *e, const char *folder, const char *name) {
  snprintf(e->t.path, sizeof e->t.path, "%s/%s", folder, name);
  return e->t.path;
}

static char *text_of(env *e, const char *folder, const char *name, size_t *n) {
  char *text;
  if (kd__file_read(file(e, folder, name), 1 << 20, &text, n, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  return text;
}

static void same_file(env *e, const char *name) {
  size_t n, m;
  char *a = text_of(e, e->whole, name, &n), *b = text_of(e, e->folder, name, &m);
  assert_int_equal(n, m);
  assert_memory_equal(a, b, n);
  free(a);
  free(b);
}

/* How often the log has this text, and are its seconds in order? */
static int in_log(env *e, const char *part) {
  size_t n;
  int count = 0;
  double last = 0;
  char *text = text_of(e, e->folder, "log.jsonl", &n);
  for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
    json_t *o;
    *end = 0;
    count += strstr(line, part) != NULL;
    if (kd__json_parse(line, (size_t)(end - line), "log.jsonl", &o, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
    double now = json_number_value(json_object_get(o, "seconds"));
    assert_true(now >= last);
    last = now;
    json_decref(o);
  }
  free(text);
  return count;
}

static bool exists(env *e, const char *name) { return access(file(e, e->folder, name), F_OK) == 0; }

static void edit(env *e, const char *name, const char *from, const char *to) {
  size_t n, cut;
  char *text = text_of(e, e->folder, name, &n);
  for (cut = 0; cut < n && strncmp(text + cut, from, strlen(from)) != 0;) cut++;
  if (cut == n) fail_msg("%s has no %s:\n%s", name, from, text);
  FILE *f = fopen(file(e, e->folder, name), "wb");
  assert_non_null(f);
  fwrite(text, 1, cut, f);
  fputs(to, f);
  fputs(text + cut + strlen(from), f);
  fclose(f);
  free(text);
}

static void resumed_ends_alike(env *e) {
  e->o.resume = true;
  to_the_end(e);
  e->o.resume = false;
  same_file(e, "S.safetensors");
  same_file(e, "report.json");
  same_file(e, "settings.json");
  assert_int_equal(in_log(e, "\"event\":\"start\""), 1);
  assert_int_equal(in_log(e, "\"event\":\"stage\""), 1);
  assert_int_equal(in_log(e, "\"event\":\"epoch\""), EPOCHS);
  assert_int_equal(in_log(e, "\"event\":\"save\""), 1);
  assert_int_equal(in_log(e, "\"status\":\"done\""), 1);
  assert_false(exists(e, KD__CHECKPOINT));
}

static void a_whole_run(env *e) {
  e->o.out = e->whole;
  to_the_end(e);
  e->o.out = e->folder;
}

static void goes_on_after_death(void **state) {
  env *e = *state;
  static const int64_t steps[] = { 0, 1, 6, 7, 20, 21, 39, 40, 59 };
  a_whole_run(e);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    die_after(e, steps[i]);
    assert_int_equal(exists(e, KD__CHECKPOINT), steps[i] >= 7);
    resumed_ends_alike(e);
    assert_int_equal(in_log(e, "\"event\":\"resume\""), 1);
  }
  die_after(e, 10);                              /* dies again and again */
  e->o.resume = true;
  for (int i = 0; i < 4; i++) die_after(e, 9);
  resumed_ends_alike(e);
}

/* Death in the middle of writing: what was not whole is taken away, and what was whole before is still there. */
static void cleans_up_what_was_half_written(void **state) {
  env *e = *state;
  size_t n;
  a_whole_run(e);
  die_after(e, 10);
  FILE *f = fopen(file(e, e->folder, KD__RUN_MARKER), "a");
  fputs("S.safet", f);
  fclose(f);
  f = fopen(file(e, e->folder, ".checkpoint.safetensors.00000001.part"), "w");
  fputs("half a checkpoint", f);
  fclose(f);
  f = fopen(file(e, e->folder, "source/dir/.digits.kd.00000002.part"), "w");
  fclose(f);
  f = fopen(file(e, e->folder, "report.json"), "w");
  fclose(f);
  f = fopen(file(e, e->folder, "log.jsonl"), "a");
  fputs("{\"event\":\"epo", f);
  fclose(f);
  e->o.resume = true;
  kd_machine *r = open_run(e);
  assert_false(exists(e, "report.json"));        /* there only when the run ended well */
  die(r);
  resumed_ends_alike(e);
  assert_false(exists(e, ".checkpoint.safetensors.00000001.part"));
  assert_false(exists(e, "source/dir/.digits.kd.00000002.part"));
  char *marker = text_of(e, e->folder, KD__RUN_MARKER, &n);
  assert_null(strstr(marker, "S.safet\n"));
  assert_non_null(strstr(marker, "\nS.safetensors\n"));
  free(marker);
}

static void a_request_to_stop_leaves_a_checkpoint(void **state) {
  env *e = *state;
  volatile int cancel = 0;
  bool done;
  a_whole_run(e);
  for (int never = 0; never < 2; never++) {
    e->o.cancel = &cancel;
    e->o.checkpoint_steps = never ? 0 : 1000;
    kd_machine *r = open_run(e);
    assert_int_equal(kd__machine_steps(r, 25, &done, &e->err), KD_OK);
    cancel = 1;
    assert_int_equal(kd__machine_go(r, &e->err), KD_E_CANCELLED);
    kd__machine_close(r);
    cancel = 0;
    assert_int_equal(exists(e, KD__CHECKPOINT), !never);
    if (never) break;
    e->o.checkpoint_steps = 7;
    e->o.resume = true;
    r = open_run(e);
    assert_int_equal(r->pos.steps, 25);
    die(r);
    resumed_ends_alike(e);
  }
}

static void by_time(void **state) {
  env *e = *state;
  bool done;
  e->o.checkpoint_seconds = 1e-9;                /* but no more than a share of the time goes to it */
  e->o.checkpoint_steps = 0;
  kd_machine *r = open_run(e);
  assert_int_equal(kd__machine_steps(r, 1, &done, &e->err), KD_OK);
  assert_true(exists(e, KD__CHECKPOINT));
  assert_true(r->due.at > kd__now() - 1);
  die(r);
  e->o.checkpoint_seconds = 0;                   /* the default: in a minute */
  r = open_run(e);
  assert_true(r->due.at > kd__now() + 50 && r->due.at <= kd__now() + 60);
  assert_int_equal(r->due.step, INT64_MAX);
  die(r);
}

/* --- what is refused -------------------------------------------------------------------------------------------------------------------- */
static void refused(env *e, kd_status want, const char *says) {
  kd_machine *r;
  e->o.resume = true;
  kd_status s = kd__machine_open(&e->toy.m, &e->o, &r, &e->err);
  e->o.resume = false;
  if (s != want) fail_msg("status %s: %s", kd_status_text(s), e->err.text);
  assert_contains(e->err.text, says);
}

static void refuses_what_is_no_stopped_run(void **state) {
  env *e = *state;
  refused(e, KD_E_IO, "is not the folder of a run");
  kd_machine *r = open_run(e);
  refused(e, KD_E_IO, "the run is still at work");
  assert_int_equal(kd__machine_go(r, &e->err), KD_OK);
  kd__machine_close(r);
  refused(e, KD_E_USAGE, "has ended");
  die_after(e, 10);
  assert_int_equal(unlink(file(e, e->folder, "settings.json")), 0);
  refused(e, KD_E_IO, "begin it again");
}

static void refuses_what_was_changed(void **state) {
  env *e = *state;
  die_after(e, 10);
  e->o.seed = 2;
  refused(e, KD_E_USAGE, "must be those that the run began with");
  e->o.seed = 1;
  edit(e, "source/dir/digits.kd", "{}", "{ }");
  refused(e, KD_E_FORMAT, "is not the text that the run was compiled from");
  edit(e, "source/dir/digits.kd", "{ }", "{}");
  edit(e, "settings.json", "\"seed\"", "\"sead\"");
  refused(e, KD_E_FORMAT, "lacks what is needed");
  edit(e, "settings.json", "\"sead\"", "\"seed\"");
  int64_t times = e->toy.code[2].b;
  e->toy.code[2].b = times + 1;                  /* an epoch more */
  refused(e, KD_E_FORMAT, "another version of kdc");
  e->toy.code[2].b = times;
  edit(e, "settings.json", "\"libraries\": \"", "\"libraries\": \"old ");
  refused(e, KD_E_UNAVAILABLE, "the libraries `old ");
  edit(e, "settings.json", "\"libraries\": \"old ", "\"libraries\": \"");
  edit(e, "settings.json", "\"processor\": \"", "\"processor\": \"old ");
  refused(e, KD_E_UNAVAILABLE, "the processor `old ");
  edit(e, "settings.json", "\"processor\": \"old ", "\"processor\": \"");
  assert_int_equal(truncate(file(e, e->folder, "log.jsonl"), 20), 0);
  refused(e, KD_E_FORMAT, "log.jsonl is shorter");
}

/* A plan's kernels are compared when it is bound again: the run stops before it computes anything with others. */
static void refuses_other_kernels(void **state) {
  env *e = *state;
  die_after(e, 10);
  edit(e, "settings.json", "matmul", "matmul.old");
  e->o.resume = true;
  kd_machine *r = open_run(e);
  assert_int_equal(kd__machine_go(r, &e->err), KD_E_UNAVAILABLE);
  assert_contains(e->err.text, "would run other kernels here");
  kd__machine_close(r);
  edit(e, "settings.json", "matmul.old", "matmul");      /* as it was: goes on */
  a_whole_run((e->o.resume = false, e));
  resumed_ends_alike(e);
}

/* --- measured kernels ------------------------------------------------------------------------------------------------------------------ */
typedef struct chosen { kd_choices *c; const char *kernel; } chosen;
static bool all_of_them(void *ctx, uint64_t key) {
  (void)ctx, (void)key;
  return true;
}
static void choose(void *ctx, const kd_tried *t) {
  chosen *w = ctx;
  assert_true(t->usual_seconds > 0 && t->best_seconds > 0 && t->best_seconds <= t->usual_seconds);
  assert_string_not_equal(t->usual, w->kernel);
  assert_true(kd__choices_set(w->c, t->key, w->kernel, t->what));
}

/* As if this kernel had been measured to be the fastest for all products of the run. Returns the file. */
static char *as_measured(env *e, const char *kernel) {
  chosen w = { kd__choices_new(), kernel };
  const char *cache = e->o.search.cache;
  char *where;
  bool done;
  e->o.search.cache = NULL;
  kd_machine *r = open_run(e);
  assert_int_equal(kd__machine_steps(r, 1, &done, &e->err), KD_OK);
  for (uint32_t i = 0; i < e->toy.m.nplan; i++)
    if (r->bound[i]) kd__bound_try(r->bound[i], all_of_them, choose, &w);
  die(r);
  e->o.search.cache = cache;
  assert_true(kd__choices_count(w.c) >= 1);
  if (kd__choices_keep(cache, w.c, &where, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  kd__choices_free(w.c);
  return where;
}

static bool says(env *e, const char *name, const char *part) {
  size_t n;
  char *text = text_of(e, e->folder, name, &n);
  bool there = strstr(text, part) != NULL;
  free(text);
  return there;
}

/* A run takes what was measured, and a resumed one what it began with, whatever was measured since. */
static void takes_and_replays_measured_kernels(void **state) {
  static const char other[] = "matmul.openblas";
  env *e = *state;
  char cache[420];
  snprintf(cache, sizeof cache, "%s/cache", e->t.folder);
  e->o.search.cache = cache;
  die_after(e, 10);
  assert_false(says(e, "settings.json", other));
  assert_false(exists(e, "kernels.txt"));
  char *tuned = as_measured(e, other);
  a_whole_run(e);
  die_after(e, 10);
  assert_true(says(e, "settings.json", other) && says(e, "kernels.txt", other));
  assert_int_equal(unlink(tuned), 0);
  resumed_ends_alike(e);
  free(as_measured(e, other));
  die_after(e, 10);
  edit(e, "kernels.txt", other, "matmul.panel");         /* nobody else's choices, and no broken ones */
  refused(e, KD_E_UNAVAILABLE, "kernels.txt is broken");
  edit(e, "kernels.txt", "matmul.panel", other);
  resumed_ends_alike(e);
  die_after(e, 10);
  assert_int_equal(unlink(file(e, e->folder, "kernels.txt")), 0);
  e->o.resume = true;
  kd_machine *r = open_run(e);
  assert_int_equal(kd__machine_go(r, &e->err), KD_E_UNAVAILABLE);
  assert_contains(e->err.text, "would run other kernels here");
  kd__machine_close(r);
  e->o.resume = false;
  free(tuned);
}

/* Processes that measure at the same time lose nothing of each other's. */
static void keeps_what_several_processes_measure(void **state) {
  enum { PROCESSES = 4, EACH = 12 };
  env *e = *state;
  pid_t child[PROCESSES];
  for (int p = 0; p < PROCESSES; p++) {
    child[p] = fork();
    if (child[p]) continue;
    bool ok = true;
    for (int i = 0; i < EACH; i++) {
      char *where;
      kd_choices *c = kd__choices_new();
      ok = ok && c && kd__choices_set(c, (uint64_t)(1 + p * EACH + i), "matmul.openblas", "a shape") && kd__choices_keep(e->t.folder, c, &where, NULL, 0) == KD_OK;
      if (ok) free(where);
      kd__choices_free(c);
    }
    _exit(ok ? 0 : 1);
  }
  for (int p = 0, how; p < PROCESSES; p++) assert_true(waitpid(child[p], &how, 0) == child[p] && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  bool broken;
  kd_choices *all = kd__choices_load(e->t.folder, &broken);
  assert_false(broken);
  assert_non_null(all);
  assert_int_equal(kd__choices_count(all), PROCESSES * EACH);
  kd__choices_free(all);
}

static void refuses_other_data(void **state) {
  env *e = *state;
  static const char *const name[] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "test-images-idx3-ubyte", "test-labels-idx1-ubyte" };
  const char *own[] = { e->t.folder };
  for (size_t i = 0; i < 4; i++) {
    size_t n;
    char *path = kd__data_find(e->o.search.folder, e->o.search.nfolder, name[i]);
    kd__input *in;
    assert_non_null(path);
    assert_int_equal(kd__input_open(path, &in, e->t.why, sizeof e->t.why), KD_OK);
    char *bytes = malloc(1 << 20);
    assert_int_equal(kd__input_read(in, bytes, 1 << 20, &n, e->t.why, sizeof e->t.why), KD_OK);
    temp_write(&e->t, name[i], bytes, n);
    kd__input_close(in);
    free(bytes);
    free(path);
  }
  e->o.search.folder = own;
  e->o.search.nfolder = 1;
  die_after(e, 10);
  FILE *f = fopen(temp_path(&e->t, name[0]), "r+b");
  fseek(f, 16 + 5000, SEEK_SET);
  int old = fgetc(f);
  fseek(f, 16 + 5000, SEEK_SET);
  fputc((old + 1) % 16, f);
  fclose(f);
  refused(e, KD_E_DATA, "data `digits.train.image` has changed");
  f = fopen(e->t.path, "r+b");
  fseek(f, 16 + 5000, SEEK_SET);
  fputc(old, f);
  fclose(f);
  a_whole_run(e);
  resumed_ends_alike(e);
}

/* --- the disk is full ---------------------------------------------------------------------------------------------------------------------- */
static void a_full_disk_stops_checkpoints_alone(void **state) {
  env *e = *state;
  struct rlimit old, now;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
  now = old;
  now.rlim_cur = 6000;                           /* a checkpoint has more than 8000 bytes, all else less */
  setrlimit(RLIMIT_FSIZE, &now);
  kd_machine *r = open_run(e);
  kd_status s = kd__machine_go(r, &e->err);
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, before);
  if (s != KD_OK) fail_msg("%s", e->err.text);
  kd__machine_close(r);
  assert_true(in_log(e, "no checkpoint was written") > 2);
  assert_true(exists(e, "report.json"));
}

/* --- settings --------------------------------------------------------------------------------------------------------------------------------- */
static void settings_come_back(void **state) {
  env *e = *state;
  static const char *const set[] = { "fit.epochs=3", "name=\"x, y\"" };
  kd__settings *s;
  e->o.seed = UINT64_MAX;
  e->o.setting = set;
  e->o.nsetting = 2;
  e->o.stdlib = "lib";
  e->o.version = "7.8";
  die(open_run(e));
  if (kd__settings_load(e->folder, &s, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  assert_true(s->seed == UINT64_MAX);
  assert_int_equal(s->threads, 2);
  assert_int_equal(s->nsetting, 2);
  assert_string_equal(s->setting[1], set[1]);
  assert_string_equal(s->stdlib, "lib");
  assert_string_equal(s->version, "7.8");
  assert_string_equal(s->path, "dir/digits.kd");
  assert_int_equal(s->checkpoint_steps, 7);
  assert_true(s->checkpoint_seconds == -1 && s->real == KD_F32 && s->dnnl && !s->deterministic && !s->reference);
  assert_int_equal(s->nfolder, 1);
  assert_true(s->folder[0][0] == '/');
  assert_int_equal(s->nsource, 4);
  for (size_t i = 0; i < 4; i++) {               /* "../digits.kd" and "digits.kd" are two files */
    assert_string_equal(s->source[i].name, source[i].name);
    assert_int_equal(s->source[i].size, source[i].size);
    assert_memory_equal(s->source[i].text, source[i].text, source[i].size);
  }
  kd__settings_free(s);
  assert_true(exists(e, "source/stdlib/losses/kd.kd"));
  assert_true(exists(e, "source/digits.kd"));
  assert_true(exists(e, "source/3/digits.kd"));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_env, close_env)
  const struct CMUnitTest tests[] = {
    TEST(goes_on_after_death), TEST(cleans_up_what_was_half_written), TEST(a_request_to_stop_leaves_a_checkpoint), TEST(by_time), TEST(refuses_what_is_no_stopped_run),
    TEST(refuses_what_was_changed), TEST(refuses_other_kernels), TEST(takes_and_replays_measured_kernels), TEST(keeps_what_several_processes_measure),
    TEST(refuses_other_data), TEST(a_full_disk_stops_checkpoints_alone), TEST(settings_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
