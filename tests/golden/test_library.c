/* test_library.c: optimizers and schedules against their formulas written out in C, metrics against themselves with other batches.
 *
 * A network with parameters and the loss (|w|^2 + |bias|^2) / 2 has the parameters as its gradient, so a few lines follow every step. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "include/kd.h"

enum { STEPS = 6 };                                /* 1497 digits in batches of 499, two epochs */

static void say(void *ctx, const kd_message *m) { (void)ctx; if (m->severity == KD_ERROR) print_error("%s", m->text); }

static kd_program *compile(kd_session **s, const char *text) {
  static const char *const data[] = { KD_ROOT "/examples" };
  kd_config config = { .message = say, .stdlib = KD_ROOT "/stdlib", .data = data, .ndata = 1 };
  kd_compile_options o = { .double_precision = true };
  kd_program *p;
  assert_int_equal(kd_session_new(&config, s), KD_OK);
  assert_int_equal(kd_compile_text(*s, "test.kd", text, strlen(text), &o, &p), KD_OK);
  assert_non_null(p);
  assert_int_equal(kd_run(p, &(kd_run_options){ .threads = 1 }), KD_OK);
  return p;
}

/* Trains with an optimizer; w begins as (1, -2), bias as 0.5. */
static void train(const char *optimizer, double w[2], double *bias) {
  char text[2000];
  snprintf(text, sizeof text,
           "use data.digits, optim.sgd, optim.adam, optim.adamw, optim.clip, optim.accumulate\n"
           "use schedules.one_cycle, schedules.cosine, schedules.step_decay, schedules.linear_decay, schedules.epoch_decay, schedules.exponential, schedules.constant\n"
           "data d = digits(batch: 499)\n"
           "net bowl(x: [B, C, H, W]) {\n  param w: [D: 2] = 1 - 3 * iota(D)\n  param bias: [E: 1] = full(0.5)\n"
           "  return (sum(square(w)) + sum(square(bias))) / 2\n}\n"
           "student S = bowl()\n"
           "scheme { stage a: train S minimizing S(d.image) on d for 2 epochs using %s }\n", optimizer);
  kd_session *s;
  kd_program *p = compile(&s, text);
  kd_parameter q;
  assert_true(kd_parameter_named(p, "S.w", &q));
  memcpy(w, q.data, 2 * sizeof *w);
  assert_true(kd_parameter_named(p, "S.bias", &q));
  memcpy(bias, q.data, sizeof *bias);
  kd_program_free(p);
  kd_session_free(s);
}

/* What one step does to the three parameters x, the last of which is the bias. */
typedef struct state { double x[3], v[3], m[3], total[3]; int t, step; } state;
typedef void (*rule)(state *s);

static void expect(const char *optimizer, rule step) {
  double w[2], bias;
  state s = { .x = { 1, -2, 0.5 } };
  for (s.step = 0; s.step < STEPS; s.step++) step(&s);
  train(optimizer, w, &bias);
  double off = fabs(w[0] - s.x[0]) + fabs(w[1] - s.x[1]) + fabs(bias - s.x[2]);
  if (!(off < 1e-12)) fail_msg("%s: (%.15g, %.15g, %.15g), and its formula gives (%.15g, %.15g, %.15g)", optimizer, w[0], w[1], bias, s.x[0], s.x[1], s.x[2]);
}

/* --- optimizers ------------------------------------------------------------------------------------------------------------------ */
static void sgd(double *x, double *v, double g, double lr, double momentum, bool nesterov) {
  *v = momentum * *v + g;
  *x -= lr * (nesterov ? g + momentum * *v : *v);
}
static void plain(state *s) { for (int i = 0; i < 3; i++) sgd(&s->x[i], &s->v[i], s->x[i], 0.1, 0, false); }
static void heavy(state *s) { for (int i = 0; i < 3; i++) sgd(&s->x[i], &s->v[i], s->x[i], 0.1, 0.9, false); }
static void decayed(state *s) { for (int i = 0; i < 3; i++) sgd(&s->x[i], &s->v[i], s->x[i] * (i < 2 ? 1.25 : 1), 0.1, 0.5, true); }

static void moments(state *s, int i, double g, double *slow, double *root) {
  s->m[i] = 0.8 * s->m[i] + 0.2 * g;
  s->v[i] = 0.95 * s->v[i] + 0.05 * g * g;
  *slow = s->m[i] / (1 - pow(0.8, s->t));
  *root = sqrt(s->v[i] / (1 - pow(0.95, s->t))) + 1e-3;
}
static void adam(state *s) {
  double slow, root;
  s->t++;
  for (int i = 0; i < 3; i++) { moments(s, i, s->x[i] * 1.5, &slow, &root); s->x[i] -= 0.01 * slow / root; }
}
static void adamw(state *s) {
  double slow, root;
  s->t++;
  for (int i = 0; i < 3; i++) { double x = s->x[i]; moments(s, i, x, &slow, &root); s->x[i] = x * (1 - (i < 2 ? 0.01 * 0.5 : 0)) - 0.01 * slow / root; }
}
static void clipped(state *s) {
  double n = sqrt(s->x[0] * s->x[0] + s->x[1] * s->x[1] + s->x[2] * s->x[2]), k = fmin(1, 1.5 / (n + 1e-6));
  for (int i = 0; i < 3; i++) sgd(&s->x[i], &s->v[i], k * s->x[i], 0.3, 0.5, false);
}
static void accumulated(state *s) {
  for (int i = 0; i < 3; i++) s->total[i] += s->x[i] / 2;
  if (++s->t % 2) return;
  for (int i = 0; i < 3; i++) { sgd(&s->x[i], &s->v[i], s->total[i], 0.1, 0.9, false); s->total[i] = 0; }
}

static void optimizers(void **unused) {
  (void)unused;
  expect("sgd(lr: 0.1)", plain);
  expect("sgd(lr: 0.1, momentum: 0.9)", heavy);
  expect("sgd(lr: 0.1, momentum: 0.5, nesterov: true, weight_decay: 0.25, no_decay: [\"*.bias\"])", decayed);
  expect("adam(lr: 0.01, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.5)", adam);
  expect("adamw(lr: 0.01, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.5, no_decay: [\"*.bias\"])", adamw);
  expect("clip(1.5, sgd(lr: 0.3, momentum: 0.5))", clipped);
  expect("accumulate(2, sgd(lr: 0.1, momentum: 0.9))", accumulated);
}

/* --- schedules ------------------------------------------------------------------------------------------------------------------- */
static const double pi = 3.14159265358979323846;
static void with(state *s, double lr) { for (int i = 0; i < 3; i++) s->x[i] -= lr * s->x[i]; }
static double half_cosine(double from, double to, double t) { return to + (from - to) * 0.5 * (1 + cos(pi * t)); }
static double progress(const state *s) { return (double)s->step / STEPS; }

static void same(state *s) { with(s, 0.2); }
static void line(state *s) { with(s, 0.05 + 0.25 * (1 - progress(s))); }
static void wave(state *s) { with(s, half_cosine(0.3, 0.1, progress(s))); }
static void warm(state *s) { double p = progress(s); with(s, p < 0.5 ? 0.3 * p / 0.5 : half_cosine(0.3, 0, (p - 0.5) / 0.5)); }
static void stairs(state *s) { double p = progress(s); with(s, 0.4 * (p >= 0.5 ? 0.1 : 1) * (p >= 0.75 ? 0.1 : 1)); }
static void epochs(state *s) { with(s, s->step < 3 ? 0.4 : 0.2); }
static void powers(state *s) { with(s, s->step < 3 ? 0.4 : 0.4 * 0.7); }
static void cycle(state *s) {
  double p = progress(s), low = 0.3 / 25;
  with(s, p < 0.3 ? half_cosine(low, 0.3, p / 0.3) : half_cosine(0.3, low / 1e4, (p - 0.3) / 0.7));
}

static void schedules(void **unused) {
  (void)unused;
  expect("sgd(lr: constant(0.2))", same);
  expect("sgd(lr: linear_decay(0.3, final: 0.05))", line);
  expect("sgd(lr: cosine(0.3, final: 0.1))", wave);
  expect("sgd(lr: cosine(0.3, warmup: 0.5))", warm);
  expect("sgd(lr: step_decay(0.4, at: [0.5, 0.75]))", stairs);
  expect("sgd(lr: epoch_decay(0.4, at: [1], factor: 0.5))", epochs);
  expect("sgd(lr: exponential(0.4, factor: 0.7))", powers);
  expect("sgd(lr: one_cycle(0.3))", cycle);
}

/* --- metrics --------------------------------------------------------------------------------------------------------------------- */
static void report(int batch, double *out, int n) {
  char text[1500];
  snprintf(text, sizeof text,
           "use data.digits, nets.mlp, metrics.top_k_accuracy, metrics.calibration_error\n"
           "data d = digits(batch: %d)\nstudent A = mlp(hidden: [16], classes: 10)\nstudent B = mlp(hidden: [8], classes: 10)\n"
           "let a = A(d.image)\nlet b = B(d.image)\n"
           "report accuracy(a, d.label), top_k_accuracy(a, d.label, k: 1), top_k_accuracy(a, d.label, k: 10), agreement(a, b), agreement(a, a),\n"
           "       mean_of(-log_softmax(a, over: D)[D: d.label]), calibration_error(a, d.label) on d.test\n", batch);
  kd_session *s;
  kd_program *p = compile(&s, text);
  kd_row row;
  for (int i = 0; i < n; i++) { assert_true(kd_report(p, (size_t)i, &row)); out[i] = row.value; }
  assert_false(kd_report(p, (size_t)n, &row));
  kd_program_free(p);
  kd_session_free(s);
}

static void metrics(void **unused) {
  (void)unused;
  double a[7], b[7];
  report(300, a, 7);                               /* the whole split at once */
  report(37, b, 7);                                /* eight batches and four samples more */
  for (int i = 0; i < 7; i++)
    if (!(fabs(a[i] - b[i]) < 1e-12)) fail_msg("metric %d: %.15g in one batch, %.15g in nine", i, a[i], b[i]);
  assert_true(a[0] > 0 && a[0] < 1 && a[0] == a[1] && a[2] == 1 && a[3] < 1 && a[4] == 1);
  assert_true(a[5] > 1 && a[5] < 10 && a[6] > 0 && a[6] < 1);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(optimizers), cmocka_unit_test(schedules), cmocka_unit_test(metrics) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
