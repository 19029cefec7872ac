/* test_run.c: programs run through the interface: the same bits alone and beside another session, events, parameters, failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/api/toy.h"

/* --- one whole run -------------------------------------------------------------------------------------------------------------- */
enum { MOST = 256 };
typedef struct outcome {
  const toy *t;
  const char *set;
  uint64_t seed;
  kd_status status;
  double report;
  unsigned char bits[MOST]; size_t n;            /* all parameters and states, one after the other */
  heard heard;
} outcome;

static void keep_bits(const kd_program *p, outcome *o) {
  kd_parameter q;
  for (size_t i = 0; kd_parameter_at(p, i, &q); i++) {
    if (q.name[0] != 'S' || !q.data || o->n + q.bytes > MOST) continue;
    memcpy(o->bits + o->n, q.data, q.bytes);
    o->n += q.bytes;
  }
}

static void *whole_run(void *arg) {
  outcome *o = arg;
  kd_session *s = toy_session(o->t, &o->heard, NULL);
  kd_program *p = NULL;
  kd_row r = { 0 };
  kd_compile_options c = { .set = &o->set, .nset = o->set ? 1 : 0 };
  o->status = kd_compile_text(s, "toy.kd", toy_program, strlen(toy_program), &c, &p);
  if (o->status == KD_OK) o->status = kd_run(p, &(kd_run_options){ .seed = o->seed, .threads = 2 });
  if (o->status == KD_OK && kd_report(p, 0, &r)) o->report = r.value;
  if (p) keep_bits(p, o);
  kd_program_free(p);
  kd_session_free(s);
  return NULL;
}

static void assert_same(const outcome *a, const outcome *b) {
  assert_int_equal(a->n, b->n);
  assert_memory_equal(a->bits, b->bits, a->n);
  assert_true(a->report == b->report);
}

static void sessions_do_not_know_of_each_other(void **state) {
  toy t = toy_new();
  outcome alone = { .t = &t, .seed = 7 }, other = { .t = &t, .seed = 8, .set = "S.hidden=4" };
  (void)state;
  whole_run(&alone);
  if (alone.status != KD_OK) fail_msg("%s: %s", kd_status_text(alone.status), alone.heard.text);
  assert_int_equal(alone.n, 4 * (5 * 6 + 5 + 3 * 5 + 3) + 4);
  whole_run(&other);
  assert_int_equal(other.status, KD_OK);
  outcome after = { .t = &t, .seed = 7 };
  whole_run(&after);
  assert_same(&alone, &after);
  outcome both[2] = { { .t = &t, .seed = 7 }, { .t = &t, .seed = 8, .set = "S.hidden=4" } };
  pthread_t thread[2];
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, whole_run, &both[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
  assert_int_equal(both[0].status, KD_OK);
  assert_int_equal(both[1].status, KD_OK);
  assert_same(&alone, &both[0]);
  assert_same(&other, &both[1]);
  toy_free(&t);
}

/* --- events, parameters, the report ------------------------------------------------------------------------------------------------ */
typedef struct seen { int stages, epochs, steps; int64_t last_epoch; double loss[3]; int cancel; } seen;

static void note(void *ctx, const kd_event *e) {
  seen *s = ctx;
  s->stages += e->kind == KD_EVENT_STAGE;
  s->steps += e->kind == KD_EVENT_STEP;
  if (e->kind != KD_EVENT_EPOCH) return;
  assert_string_equal(e->stage, "fit");
  assert_int_equal(e->epochs, 3);
  assert_true(e->nvalue >= 1);
  if (s->epochs < 3) s->loss[s->epochs] = e->value[0].value;
  s->epochs++;
  s->last_epoch = e->epoch;
}

static void tells_its_progress(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  counting c = { 0 };
  kd_allocator a = counting_new(&c);
  kd_session *s = toy_session(&t, &h, &a);
  kd_program *p;
  seen e = { 0 };
  kd_row r;
  kd_parameter q;
  (void)state;
  assert_int_equal(kd_compile_text(s, "toy.kd", toy_program, strlen(toy_program), NULL, &p), KD_OK);
  for (int again = 0; again < 2; again++) {      /* a program can run more than once */
    e = (seen){ 0 };
    if (kd_run(p, &(kd_run_options){ .seed = 3, .event = note, .event_ctx = &e }) != KD_OK) fail_msg("%s", h.text);
    assert_int_equal(e.stages, 1);
    assert_int_equal(e.epochs, 3);
    assert_int_equal(e.last_epoch, 3);
    assert_true(e.loss[2] < e.loss[0]);
    assert_true(kd_report(p, 0, &r));
    assert_string_equal(r.label, "right(z, toy.y)");
    assert_string_equal(r.on, "toy.test");
    assert_true(r.value > 0.4 && r.value <= 1);
    assert_true(fabs(r.value * 48 - round(r.value * 48)) < 1e-4);      /* a share of 48 samples */
    assert_false(kd_report(p, 1, &r));
    assert_true(kd_parameter_named(p, "S.seen", &q));
    assert_non_null(q.data);
    assert_true(*(const float *)q.data == 18);   /* 3 epochs of 6 steps */
    e = (seen){ 0 };
    assert_int_equal(kd_run(p, &(kd_run_options){ .seed = 3, .event = note, .event_ctx = &e, .every_step = true }), KD_OK);
    assert_int_equal(e.steps, 18);
  }
  kd_program_free(p);
  kd_session_free(s);
  assert_int_equal(c.live, 0);
  assert_int_equal(c.live_bytes, 0);
  toy_free(&t);
}

static void writes_a_run_folder(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  struct stat st;
  char *out = toy_path(&t, "a/run"), *student = toy_path(&t, "a/run/student.safetensors");
  (void)state;
  assert_int_equal(kd_compile_text(s, "toy.kd", toy_program, strlen(toy_program), NULL, &p), KD_OK);
  if (kd_run(p, &(kd_run_options){ .out = out }) != KD_OK) fail_msg("%s", h.text);
  assert_int_equal(stat(student, &st), 0);
  assert_true(st.st_size > 4 * 53);
  kd_program_free(p);
  kd_session_free(s);
  free(out);
  free(student);
  toy_free(&t);
}

/* --- data that a program writes ------------------------------------------------------------------------------------------------------ */
/* The labels are 0 1 2 0 1 2 ..., a batch has 10 of the 48 samples. `ones` gets twice the number of each sample of class 1 (1, 4 .. 46), then for
 * those below 10 the number itself, which takes the place of the first. A pass over 16 keys is one batch: 1 4 7 10 .. 28. */
static const char writing[] =
  "metric total(x: [B]) {\n"
  "  state sum_: [] = zeros()\n"
  "  update sum_ = sum_ + sum(x)\n"
  "  return sum_\n"
  "}\n"
  "data toy = dataset(batch: 10, train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n"
  "scheme {\n"
  "  stage cache: for batch in toy { write ones (v: 2 * real(batch.index), big: batch.index > 20) keyed batch.index where batch.y == 1 }\n"
  "  stage again: for batch in toy { write ones (v: real(batch.index), big: batch.index > 20) keyed batch.index where batch.y == 1 and batch.index < 10 }\n"
  "  stage pool: for batch in toy { write pool (y: batch.y, pair: stack([real(batch.y), real(batch.index)], as: j)) }\n"
  "}\n"
  "report v: total(ones.v), big: total(real(ones.big)), number: total(real(ones.index)) on ones\n"
  "report v: total(ones.v), y: total(real(toy.y)), off: total(real(toy.index) - real(ones.key)) on join(toy, ones, on: index)\n"
  "report y: total(real(pool.y)), pair: total(pool.pair[j: 1]) on pool\n";

static void writes_data(void **state) {
  static const double want[] = { 12 + 2 * 133, 3, 145, 12 + 2 * 133, 10, 0, 39, 780 };
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p = NULL;
  kd_row r;
  (void)state;
  if (kd_compile_text(s, "w.kd", writing, strlen(writing), NULL, &p) != KD_OK) fail_msg("%s", h.text);
  for (int again = 0; again < 2; again++) {
    char *out = toy_path(&t, "run");
    if (kd_run(p, &(kd_run_options){ .out = again ? out : NULL }) != KD_OK) fail_msg("%s", h.text);
    free(out);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
      assert_true(kd_report(p, i, &r));
      if (r.value != want[i]) fail_msg("%s on %s: %g and not %g", r.label, r.on, r.value, want[i]);
    }
    assert_false(kd_report(p, sizeof want / sizeof *want, &r));
  }
  kd_program_free(p);
  kd_session_free(s);
  toy_free(&t);
}

/* --- failures ----------------------------------------------------------------------------------------------------------------------- */
static void stops_on_request(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  volatile int cancel = 1;
  (void)state;
  assert_int_equal(kd_compile_text(s, "toy.kd", toy_program, strlen(toy_program), NULL, &p), KD_OK);
  assert_int_equal(kd_run(p, &(kd_run_options){ .cancel = &cancel }), KD_E_CANCELLED);
  cancel = 0;
  assert_int_equal(kd_run(p, &(kd_run_options){ .cancel = &cancel }), KD_OK);
  kd_program_free(p);
  kd_session_free(s);
  toy_free(&t);
}

/* --- going on --------------------------------------------------------------------------------------------------------------------------- */
static volatile int stop_now;
static void stop_in_the_second_epoch(void *ctx, const kd_event *e) {
  *(int *)ctx += e->kind == KD_EVENT_EPOCH;
  if (e->kind == KD_EVENT_EPOCH) stop_now = 1;
}

static void edit_settings(const toy *t, const char *from, char to) {
  char *path = toy_path(t, "run/settings.json"), text[32768];
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  char *at = strstr(text, from);
  assert_non_null(at);
  fseek(f, at - text + (long)strlen(from), SEEK_SET);
  putc(to, f);
  fclose(f);
  free(path);
}

static kd_status resume_in(const toy *t, const kd_run_options *o, heard *h, outcome *out) {
  char *folder = toy_path(t, "run");
  kd_program *p = NULL;
  kd_row r;
  kd_session *s = toy_session(NULL, h, NULL);    /* without data folders: the run's own are remembered */
  kd_status st = kd_resume(s, folder, o, &p);
  if (p && st == KD_OK && kd_report(p, 0, &r)) out->report = r.value;
  if (p && st == KD_OK) keep_bits(p, out);
  kd_program_free(p);
  kd_session_free(s);
  free(folder);
  return st;
}

static void goes_on_with_a_stopped_run(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  outcome whole = { .t = &t, .seed = 7, .set = "S.hidden=4" }, on = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  char *out = toy_path(&t, "run");
  int epochs = 0;
  (void)state;
  whole_run(&whole);
  stop_now = 0;
  assert_int_equal(kd_compile_text(s, "toy.kd", toy_program, strlen(toy_program), &(kd_compile_options){ .set = &whole.set, .nset = 1 }, &p), KD_OK);
  kd_run_options o = { .seed = 7, .threads = 2, .out = out, .event = stop_in_the_second_epoch, .event_ctx = &epochs, .cancel = &stop_now };
  assert_int_equal(kd_run(p, &o), KD_E_CANCELLED);
  kd_program_free(p);
  kd_session_free(s);
  assert_int_equal(epochs, 1);
  assert_int_equal(resume_in(&t, &(kd_run_options){ .seed = 7 }, &h, &on), KD_E_USAGE);
  assert_non_null(strstr(h.text, "are the run's own"));
  edit_settings(&t, "\"kdc\": \"", '9');
  assert_int_equal(resume_in(&t, NULL, &h, &on), KD_E_FORMAT);
  assert_non_null(strstr(h.text, "was begun by kdc 9.1.0, and this is kdc 0.1.0"));
  edit_settings(&t, "\"kdc\": \"", '0');
  stop_now = 0;
  if (resume_in(&t, &(kd_run_options){ .event = stop_in_the_second_epoch, .event_ctx = &epochs }, &h, &on) != KD_OK) fail_msg("%s", h.text);
  assert_int_equal(epochs, 3);
  assert_same(&whole, &on);
  assert_int_equal(resume_in(&t, NULL, &h, &on), KD_E_USAGE);
  assert_non_null(strstr(h.text, "the run has ended"));
  free(out);
  toy_free(&t);
}

static kd_status run_damaged(toy *t, heard *h, const char *file, long at, int byte, long cut) {
  kd_session *s = toy_session(t, h, NULL);
  kd_program *p = NULL;
  kd_status st = kd_compile_text(s, "toy.kd", toy_program, strlen(toy_program), NULL, &p);
  assert_int_equal(st, KD_OK);
  char *path = toy_path(t, file);
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  if (byte >= 0) { fseek(f, at, SEEK_SET); putc(byte, f); }
  if (cut) assert_int_equal(ftruncate(fileno(f), cut), 0);
  fclose(f);
  if (!byte && !cut) unlink(path);
  st = kd_run(p, NULL);
  free(path);
  kd_program_free(p);
  kd_session_free(s);
  return st;
}

static void bad_data_is_told(void **state) {
  static const struct { const char *file; long at; int byte; long cut; const char *says; } bad[] = {
    { "toy-y", 8 + 5, 3, 0, "sample 5" }, { "toy-x", 0, -1, 100, "toy-x" }, { "toy-x", 0, 0, 0, "toy-x" }, { "toy-y", 3, 9, 0, "toy-y" },
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    toy t = toy_new();
    heard h = { 0 };
    kd_status st = run_damaged(&t, &h, bad[i].file, bad[i].at, bad[i].byte, bad[i].cut);
    if (st != KD_E_DATA && st != KD_E_FORMAT) fail_msg("case %zu: %s", i, kd_status_text(st));
    if (!strstr(h.text, bad[i].says)) fail_msg("case %zu: %s", i, h.text);
    toy_free(&t);
  }
}

/* A learning rate of 9e37 makes the second loss infinite or NaN. */
static void a_loss_that_is_not_finite_has_a_place(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  char *text;
  const char *lr = strstr(toy_program, "lr: 0.5");
  (void)state;
  assert_true(asprintf(&text, "%.*slr: 9e37%s", (int)(lr - toy_program), toy_program, lr + 7) > 0);
  if (kd_compile_text(s, "toy.kd", text, strlen(text), NULL, &p) != KD_OK) fail_msg("%s", h.text);
  assert_int_equal(kd_run(p, NULL), KD_E_NUMERIC);
  assert_non_null(strstr(h.text, "toy.kd:28:"));
  assert_non_null(strstr(h.text, "stage fit"));
  kd_program_free(p);
  kd_session_free(s);
  free(text);
  toy_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(sessions_do_not_know_of_each_other), cmocka_unit_test(tells_its_progress), cmocka_unit_test(writes_a_run_folder),
    cmocka_unit_test(stops_on_request), cmocka_unit_test(goes_on_with_a_stopped_run), cmocka_unit_test(writes_data), cmocka_unit_test(bad_data_is_told), cmocka_unit_test(a_loss_that_is_not_finite_has_a_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
