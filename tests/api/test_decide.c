/* test_decide.c: runs that decide shapes as they go: what is decided is what was measured, a run that is stopped anywhere and gone on with ends in
 * the same files, and so does a program that is run twice; decisions out of their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/api/toy.h"

/* A teacher is trained, what it says is written down, its large hidden units are counted and copied, and a student of that width goes on; then
 * two generations more, each as wide as the one before lets it be. */
static const char scheme[] =
  "data toy = dataset(batch: 8, valid: 8,\n"
  "  train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)),\n"
  "  test: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n"
  "teacher T = two(hidden: 9, out: 3)\n"
  "let epochs = 3\n"
  "let most = 8\n"
  "let wrong = 0\n"
  "state seen: [] = 0\n"
  "fn large(score: [O]) = sum(real(score > mean(score)))\n"
  "scheme follow(Q, D, n: int) { train Q minimizing ce(Q(D.x), D.y) on D for n epochs using gd(lr: 0.2)\n"
  "  keep best by right(Q(D.x), D.y) }\n"
  "scheme {\n"
  "  stage teach: train T minimizing ce(T(toy.x), toy.y) on toy for 4 epochs using gd(lr: 0.5)\n"
  "  stage cache: for batch in toy { write soft (z: T(batch.x)) keyed batch.index\n"
  "    update seen = seen + 1 }\n"
  "  let score = sum(T.first.W * T.first.W, over: D)\n"
  "  let early = score\n"
  "  let kept = decide(large(score), min: 1, max: most)\n"
  "  require(kept != wrong, \"not this one\")\n"
  "  student P = two(hidden: kept, out: 3)\n"
  "  let blank = P(zeros([B: 1, D: 6]))\n"
  "  let rows = top_k(early, kept, over: O, as: J).index\n"
  "  update P.first.W = T.first.W[O: rows][J as O]\n"
  "  update P.first.b = T.first.b[O: rows][J as O]\n"
  "  stage distil: for epochs epochs { for b in join(toy, soft, on: index) { step P minimizing mean((P(b.x) - b.z)^2) using gd(lr: 0.3) } }\n"
  "  if decide(seen > 3) { stage more: follow(P, toy, epochs) } else { stage never: follow(T, toy, 1) }\n"
  "  for i in 0..2 {\n"
  "    let w = decide(min(large(score) + i + seen, 7), min: 1, max: 7)\n"
  "    student Q = two(hidden: w, out: 3)\n"
  "    stage next[i]: follow(Q, toy, 2)\n"
  "  }\n"
  "  report early: sum(early), seen\n"
  "  report right(P(toy.x), toy.y) on toy.test\n"
  "}\n";

static char *whole(void) {
  char *text;
  assert_true(asprintf(&text, "%s%s", toy_definitions, scheme) > 0);
  return text;
}

/* The n-th event stops the run. */
typedef struct stopper { long left; int stop; } stopper;
static void count_down(void *ctx, const kd_event *e) {
  stopper *s = ctx;
  if (e->kind != KD_EVENT_STEP && --s->left == 0) s->stop = 1;       /* how many STEP events come depends on the clock */
}

static kd_status compile(kd_session *s, const char *set, kd_program **p) {
  char *text = whole();
  kd_status st = kd_compile_text(s, "decide.kd", text, strlen(text), &(kd_compile_options){ .set = &set, .nset = set ? 1 : 0, .double_precision = false }, p);
  free(text);
  return st;
}

static const float *numbers(const kd_program *p, const char *name, int64_t rows, int64_t columns) {
  kd_parameter q;
  if (!kd_parameter_named(p, name, &q)) fail_msg("there is no %s", name);
  assert_int_equal(q.dim[0], rows);
  if (columns) assert_int_equal(q.dim[1], columns);
  return q.data;
}

static char *file(const char *folder, const char *name, size_t *n) {
  char path[600];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("there is no %s", path);
  char *text = calloc(1, 1 << 20);
  assert_non_null(text);
  *n = fread(text, 1, 1 << 20, f);
  (void)fclose(f);
  return text;
}

/* --- what is decided ---------------------------------------------------------------------------------------------------------------- */
enum { UNITS = 9, WIDTH = 6 };
typedef struct unit { double score; int number; } unit;
static int larger(const void *a, const void *b) {
  const unit *x = a, *y = b;
  return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : x->number - y->number;
}

static void the_width_is_what_was_measured(void **state) {
  (void)state;
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  if (compile(s, "epochs=0", &p) != KD_OK || kd_run(p, &(kd_run_options){ .seed = 5, .threads = 2 }) != KD_OK) fail_msg("%s", h.text);
  const float *w = numbers(p, "T.first.W", UNITS, WIDTH), *b = numbers(p, "T.first.b", UNITS, 0);
  unit u[UNITS];
  double mean = 0;
  int kept = 0;
  for (int i = 0; i < UNITS; i++) {
    u[i] = (unit){ 0, i };
    for (int k = 0; k < WIDTH; k++) u[i].score += (double)w[i * WIDTH + k] * (double)w[i * WIDTH + k];
    mean += u[i].score / UNITS;
  }
  for (int i = 0; i < UNITS; i++) kept += u[i].score > mean;
  assert_true(kept > 1 && kept < UNITS - 1);
  qsort(u, UNITS, sizeof *u, larger);
  const float *copied = numbers(p, "P.first.W", kept, WIDTH), *bias = numbers(p, "P.first.b", kept, 0);
  for (int i = 0; i < kept; i++) {
    assert_memory_equal(copied + i * WIDTH, w + u[i].number * WIDTH, WIDTH * sizeof *w);
    assert_true(bias[i] == b[u[i].number]);
  }
  (void)numbers(p, "Q.0.first.W", 7, WIDTH);
  kd_row r;
  assert_true(kd_report(p, 1, &r) && strcmp(r.label, "seen") == 0 && r.value == 5);          /* 40 samples in batches of 8 */
  assert_true(kd_report(p, 0, &r) && r.value > 0.99 * mean * UNITS && r.value < 1.01 * mean * UNITS);
  kd_program_free(p);
  kd_session_free(s);
  toy_free(&t);
}

static void out_of_bounds_ends_the_run(void **state) {
  (void)state;
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  if (compile(s, "most=1", &p) != KD_OK) fail_msg("%s", h.text);
  assert_int_equal(kd_run(p, &(kd_run_options){ .seed = 5 }), KD_E_DATA);
  assert_non_null(strstr(h.text, "`kept` comes to"));
  assert_non_null(strstr(h.text, "made for 1 to 1"));
  kd_program_free(p);
  kd_session_free(s);
  toy_free(&t);
}

/* Worked out by hand: n + m is 3 in all places, so k is 3 and n becomes 2 + 3 + 9; m becomes 5 + 3 + 4; then n doubles twice. */
static void what_was_computed_before_is_known_after(void **state) {
  (void)state;
  static const char text[] =
    "state n: [] = 2\n"
    "state m: [K: 3] = 1\n"
    "scheme pick(x, most: int) {\n"
    "  let y = x + n\n"
    "  let k = decide(sum(y) / 3, min: 1, max: most)\n"
    "  if k > 2 { update n = n + k + sum(y) } else { update n = n - sum(y) }\n"
    "}\n"
    "scheme {\n"
    "  let before = m * 5\n"
    "  let list = [m + 1, m + 2]\n"
    "  let record = (a: m + 3)\n"
    "  update m = 0 * m\n"
    "  let back = m + 1\n"
    "  update m = m + 1\n"
    "  pick(m, 8)\n"
    "  update m = before * back + list[1] + record.a\n"
    "  repeat 2 { let g = decide(n, min: 1, max: 300)\n"
    "    update n = n + g }\n"
    "}\n"
    "report n, m[K: 0]\n";
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  kd_row r[2];
  if (kd_compile_text(s, "hand.kd", text, strlen(text), NULL, &p) != KD_OK || kd_run(p, NULL) != KD_OK) fail_msg("%s", h.text);
  assert_true(kd_report(p, 0, &r[0]) && kd_report(p, 1, &r[1]));
  assert_true(r[0].value == 56 && r[1].value == 12);
  kd_program_free(p);
  kd_session_free(s);
  toy_free(&t);
}

/* Of the values within the bounds a few are tried beforehand; another one may still be wrong. */
static void a_value_that_nobody_tried_ends_the_run(void **state) {
  (void)state;
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  kd_parameter q;
  char set[32];
  if (compile(s, "epochs=0", &p) != KD_OK || kd_run(p, &(kd_run_options){ .seed = 5 }) != KD_OK) fail_msg("%s", h.text);
  assert_true(kd_parameter_named(p, "P.first.W", &q));
  snprintf(set, sizeof set, "wrong=%d", (int)q.dim[0]);
  assert_true(q.dim[0] != 1 && q.dim[0] != 4 && q.dim[0] != 8);
  kd_program_free(p);
  char *out = toy_path(&t, "out");
  size_t n;
  if (compile(s, set, &p) != KD_OK) fail_msg("%s", h.text);
  assert_int_equal(kd_run(p, &(kd_run_options){ .seed = 5, .out = out }), KD_E_PROGRAM);
  assert_non_null(strstr(h.text, "not this one"));
  char *log = file(out, "log.jsonl", &n);
  assert_non_null(strstr(log, "the rest of the program is wrong"));
  free(log);
  kd_program_free(p);
  assert_int_equal(compile(s, "wrong=8", &p), KD_E_PROGRAM);
  free(out);
  kd_session_free(s);
  toy_free(&t);
}

/* --- stopped and gone on with --------------------------------------------------------------------------------------------------------- */
static void same_file(const char *a, const char *b, const char *name) {
  size_t n, m;
  char *x = file(a, name, &n), *y = file(b, name, &m);
  if (n != m || memcmp(x, y, n) != 0) fail_msg("%s/%s differs", b, name);
  free(x);
  free(y);
}

static const char *const names[] = { "T.safetensors", "P.safetensors", "Q.0.safetensors", "Q.1.safetensors", "report.json", "settings.json", "soft.z.npy" };

static void stopped_anywhere_it_ends_in_the_same_files(void **state) {
  (void)state;
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p, *q;
  char *out = toy_path(&t, "whole"), *again = toy_path(&t, "again");
  stopper never = { 0 };
  kd_run_options o = { .seed = 5, .threads = 2, .out = out, .event = count_down, .event_ctx = &never, .checkpoint_steps = 7 };
  if (compile(s, NULL, &p) != KD_OK || kd_run(p, &o) != KD_OK) fail_msg("%s", h.text);
  long stops = 0, decided = 0;
  for (bool stopped = true; stopped; stops++) {
    stopper at = { .left = 2 * stops + 1 };
    kd_run_options half = o;
    half.out = again; half.event_ctx = &at; half.cancel = &at.stop;
    kd_status st = kd_run(p, &half);             /* the program that has decided before begins anew */
    stopped = st == KD_E_CANCELLED;
    if (!stopped && st != KD_OK) fail_msg("stop %ld: %s", stops, h.text);
    kd_parameter w;
    decided += stopped && kd_parameter_named(p, "P.first.W", &w);
    if (stopped && kd_resume(s, again, NULL, &q) != KD_OK) fail_msg("resume after stop %ld: %s", stops, h.text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) same_file(out, again, names[i]);
    if (stopped) kd_program_free(q);
  }
  assert_true(decided > 5 && stops - decided > 2);                    /* before the first decision, and after it */
  kd_program_free(p);
  kd_session_free(s);
  free(out);
  free(again);
  toy_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(the_width_is_what_was_measured), cmocka_unit_test(what_was_computed_before_is_known_after), cmocka_unit_test(out_of_bounds_ends_the_run),
                                      cmocka_unit_test(a_value_that_nobody_tried_ends_the_run),
                                      cmocka_unit_test(stopped_anywhere_it_ends_in_the_same_files) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
