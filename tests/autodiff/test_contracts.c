/* test_contracts.c: what gradients promise beyond single rules: `stop`, paths, inner values, ties, winners, gradients of gradients. */
#include "tests/autodiff/check.h"
#include <math.h>
#include <setjmp.h>
#include <cmocka.h>

static kd_value op1(lab *l, kd_op op, kd_value a) { return kd__b_op1(&l->b, op, a); }
static kd_value op2(lab *l, kd_op op, kd_value a, kd_value b) { return kd__b_op2(&l->b, op, a, b); }
static kd_value gradient(lab *l, kd_value loss, kd_value wrt) {
  kd_value g;
  assert_true(kd__gradients(l->g, loss, &wrt, 1, &g, 0, NULL));
  return g;
}
static void expect(lab *l, kd_value v, const double *want, int64_t n) {
  assert_int_not_equal(v, 0);
  assert_int_equal(kd__type_count(kd__type_of(l->g, v)), n);
  for (int64_t i = 0; i < n; i++) assert_true(fabs(lab_at(l, v, i) - want[i]) < 1e-12);
}
static const int64_t three[] = { 3 };
static const double x3[] = { 0.5, -1.25, 2 };

/* stop(x) + k (stop(x) - x): x forward, -k backward */
static void reversal(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 1);
  kd_value x = lab_values(&l, x3, three, 1), s = op1(&l, KD_OP_STOP, x);
  kd_value y = op2(&l, KD_OP_ADD, s, op2(&l, KD_OP_MUL, kd__b_const_like(&l.b, 3, x), op2(&l, KD_OP_SUB, s, x)));
  expect(&l, y, x3, 3);
  expect(&l, gradient(&l, lab_total(&l, y), x), (double[]){ -3, -3, -3 }, 3);
  lab_end(&l);
}

/* stop(q) + (x - stop(x)): q forward, x backward */
static void straight_through(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 2);
  kd_value x = lab_values(&l, x3, three, 1), q = op1(&l, KD_OP_ROUND, x);
  kd_value y = op2(&l, KD_OP_ADD, op1(&l, KD_OP_STOP, q), op2(&l, KD_OP_SUB, x, op1(&l, KD_OP_STOP, x)));
  expect(&l, y, (double[]){ 0, -1, 2 }, 3);
  expect(&l, gradient(&l, lab_total(&l, op2(&l, KD_OP_MUL, y, y)), x), (double[]){ 0, -2, 4 }, 3);
  lab_end(&l);
}

/* sum(stop(g) x): the gradient is g, even where g depends on x, and a second one is 0 */
static void injection(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 3);
  kd_value x = lab_values(&l, x3, three, 1), g = op2(&l, KD_OP_MUL, x, x);
  kd_value d = gradient(&l, lab_total(&l, op2(&l, KD_OP_MUL, op1(&l, KD_OP_STOP, g), x)), x);
  expect(&l, d, (double[]){ 0.25, 1.5625, 4 }, 3);
  assert_int_equal(gradient(&l, lab_total(&l, d), x), 0);
  lab_end(&l);
}

/* An operator that may be differentiated once: its gradient can be computed with, but not differentiated; another use of the same nodes can. */
static void once(void **state) {
  (void)state;
  uint8_t limit[KD_OP_COUNT];
  memset(limit, 2, sizeof limit);
  limit[KD_OP_SIN] = 1;
  lab l;
  kd_grad_error err;
  lab_begin(&l, 4);
  kd_value x = lab_values(&l, x3, three, 1), c = op1(&l, KD_OP_COS, x), g, again;
  assert_true(kd__gradients_within(l.g, lab_total(&l, op1(&l, KD_OP_SIN, x)), &x, 1, &g, 0, limit, &err));
  expect(&l, g, (double[]){ cos(0.5), cos(-1.25), cos(2) }, 3);
  assert_false(kd__gradients_within(l.g, lab_total(&l, op2(&l, KD_OP_MUL, g, x)), &x, 1, &again, 0, limit, &err));
  assert_true(err.again);
  assert_int_equal(err.op, KD_OP_SIN);
  assert_true(kd__gradients_within(l.g, lab_total(&l, op2(&l, KD_OP_MUL, op1(&l, KD_OP_STOP, g), x)), &x, 1, &again, 0, limit, &err));
  expect(&l, again, (double[]){ cos(0.5), cos(-1.25), cos(2) }, 3);
  assert_true(kd__gradients_within(l.g, lab_total(&l, c), &x, 1, &again, 0, limit, &err));      /* a cosine of the program's own */
  expect(&l, again, (double[]){ -sin(0.5), -sin(-1.25), -sin(2) }, 3);
  limit[KD_OP_COS] = 0;
  assert_false(kd__gradients_within(l.g, lab_total(&l, c), &x, 1, &again, 0, limit, &err));
  assert_false(err.again);
  assert_int_equal(err.op, KD_OP_COS);
  lab_end(&l);
}

static void paths(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 4);
  kd_value x = lab_values(&l, x3, three, 1), y = lab_values(&l, x3, three, 1), e = op1(&l, KD_OP_EXP, x);
  kd_value stopped = op2(&l, KD_OP_MUL, op1(&l, KD_OP_STOP, e), y), signs = op1(&l, KD_OP_SIGN, e);
  assert_true(kd__reaches(l.g, x, e));
  assert_true(kd__reaches(l.g, x, x));
  assert_false(kd__reaches(l.g, e, x));
  assert_false(kd__reaches(l.g, y, e));
  assert_false(kd__reaches(l.g, x, stopped));
  assert_true(kd__reaches(l.g, y, stopped));
  assert_false(kd__reaches(l.g, x, signs));
  assert_false(kd__reaches(l.g, x, op2(&l, KD_OP_LT, x, y)));
  assert_true(kd__reaches(l.g, x, op2(&l, KD_OP_ADD, stopped, e)));
  kd_value onward = op2(&l, KD_OP_MUL, e, y), around = op2(&l, KD_OP_ADD, onward, x);
  bool past[64] = { false };
  assert_true(around < 64);
  assert_true(kd__reaches_past(l.g, &x, 1, onward, past));
  past[e] = true;
  assert_false(kd__reaches_past(l.g, &x, 1, onward, past));
  assert_true(kd__reaches_past(l.g, &x, 1, around, past));
  assert_int_equal(gradient(&l, lab_total(&l, stopped), x), 0);
  assert_int_equal(gradient(&l, lab_total(&l, stopped), 0), 0);
  lab_end(&l);
}

/* For two values at once where one is made from the other, and the loss itself. */
static void inner_values(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 5);
  kd_value x = lab_values(&l, x3, three, 1), y = op2(&l, KD_OP_MUL, x, x), later;
  kd_value loss = lab_total(&l, op2(&l, KD_OP_MUL, y, y)), wrt[3] = { x, y, loss }, g[4];
  assert_true(kd__gradients(l.g, loss, wrt, 3, g, 0, NULL));
  expect(&l, g[0], (double[]){ 4 * 0.125, 4 * -1.953125, 4 * 8 }, 3);
  expect(&l, g[1], (double[]){ 0.5, 3.125, 8 }, 3);
  expect(&l, g[2], (double[]){ 1 }, 1);
  later = op1(&l, KD_OP_EXP, loss);
  assert_int_equal(gradient(&l, loss, later), 0);
  kd_value mean = kd__b_reduce(&l.b, KD_OP_MOMENTS, x, (int64_t[]){ 0 }, 1), var = mean + 1;
  assert_int_equal(gradient(&l, mean, var), 0);                        /* a sibling, not a cause */
  expect(&l, gradient(&l, op2(&l, KD_OP_MUL, var, mean), var), (double[]){ 1.25 / 3 }, 1);
  lab_end(&l);
}

static void ties_and_kinks(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 6);
  kd_value a = lab_values(&l, (double[]){ 1, 4, 4, 0 }, (int64_t[]){ 4 }, 1), b = lab_values(&l, (double[]){ 1, 5, 3, 0 }, (int64_t[]){ 4 }, 1);
  kd_value top = kd__b_reduce(&l.b, KD_OP_REDUCE_MAX, a, (int64_t[]){ 0 }, 1);
  expect(&l, gradient(&l, top, a), (double[]){ 0, 0.5, 0.5, 0 }, 4);
  kd_value most = lab_total(&l, op2(&l, KD_OP_MAX, a, b)), least = lab_total(&l, op2(&l, KD_OP_MIN, a, b));
  expect(&l, gradient(&l, most, a), (double[]){ 1, 0, 1, 1 }, 4);
  expect(&l, gradient(&l, most, b), (double[]){ 0, 1, 0, 0 }, 4);
  expect(&l, gradient(&l, least, a), (double[]){ 1, 1, 0, 1 }, 4);
  expect(&l, gradient(&l, lab_total(&l, op1(&l, KD_OP_RELU, a)), a), (double[]){ 1, 1, 1, 0 }, 4);
  expect(&l, gradient(&l, lab_total(&l, op1(&l, KD_OP_ABS, a)), a), (double[]){ 1, 1, 1, 0 }, 4);
  lab_end(&l);
}

/* Where `where` discards an infinity, it must not come back as 0 * inf in either derivative. */
static void no_poison_at_zero(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 7);
  kd_value a = lab_values(&l, (double[]){ 0, 2 }, (int64_t[]){ 2 }, 1), b = lab_values(&l, (double[]){ 0, 3 }, (int64_t[]){ 2 }, 1);
  kd_value y = lab_total(&l, op2(&l, KD_OP_XLOGY, a, b)), da = gradient(&l, y, a), db = gradient(&l, y, b);
  expect(&l, da, (double[]){ 0, log(3) }, 2);
  expect(&l, db, (double[]){ 0, 2.0 / 3 }, 2);
  expect(&l, gradient(&l, lab_total(&l, da), b), (double[]){ 0, 1.0 / 3 }, 2);
  expect(&l, gradient(&l, lab_total(&l, db), a), (double[]){ 0, 1.0 / 3 }, 2);
  kd_value p = lab_total(&l, op2(&l, KD_OP_POW, a, b));
  expect(&l, gradient(&l, p, a), (double[]){ 0, 12 }, 2);
  expect(&l, gradient(&l, p, b), (double[]){ 0, 8 * log(2) }, 2);
  expect(&l, gradient(&l, lab_total(&l, gradient(&l, p, b)), b), (double[]){ 0, 8 * log(2) * log(2) }, 2);
  kd_value two = kd__b_const_like(&l.b, 2, a), square = lab_total(&l, op2(&l, KD_OP_POW, a, two));
  expect(&l, gradient(&l, lab_total(&l, gradient(&l, square, a)), a), (double[]){ 2, 2 }, 2);
  lab_end(&l);
}

/* Of equal indices the last one wins and alone has a gradient; a skipped one has none. */
static void last_one_wins(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 8);
  kd_value base = lab_values(&l, (double[]){ 1, 2, 3 }, three, 1), v = lab_values(&l, (double[]){ 4, 5, 6, 7 }, (int64_t[]){ 4 }, 1);
  kd_value index = lab_input(&l, KD_I64, 0, 1, (int64_t[]){ 4 }, 1);
  memcpy((void *)(uintptr_t)l.slot[2].data, (int64_t[]){ 2, 0, 2, -1 }, 4 * sizeof(int64_t));
  kd_value y = kd__b_scatter(&l.b, KD_OP_SCATTER_SET, base, index, v, 0, 1), loss = lab_total(&l, op2(&l, KD_OP_MUL, y, y));
  expect(&l, y, (double[]){ 5, 2, 6 }, 3);
  expect(&l, gradient(&l, loss, base), (double[]){ 0, 4, 0 }, 3);
  expect(&l, gradient(&l, loss, v), (double[]){ 0, 10, 12, 0 }, 4);
  y = kd__b_scatter(&l.b, KD_OP_SCATTER_ADD, base, index, v, 0, 1);
  expect(&l, gradient(&l, lab_total(&l, op2(&l, KD_OP_MUL, y, y)), v), (double[]){ 26, 12, 26, 0 }, 4);
  lab_end(&l);
}

/* Gradients of a small network, then of a penalty on its input gradient. */
static void gradient_of_gradient(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 9);
  kd_value x = lab_input(&l, KD_F64, -1, 1, (int64_t[]){ 4, 3 }, 2), w1 = lab_input(&l, KD_F64, -1, 1, (int64_t[]){ 3, 5 }, 2);
  kd_value b1 = lab_input(&l, KD_F64, -1, 1, (int64_t[]){ 5 }, 1), w2 = lab_input(&l, KD_F64, -1, 1, (int64_t[]){ 5, 2 }, 2);
  kd_value bias = kd__b_broadcast(&l.b, b1, (int64_t[]){ 4, 5 }, 2, (int64_t[]){ 1 });
  kd_value hidden = op1(&l, KD_OP_TANH, op2(&l, KD_OP_ADD, kd__b_matmul(&l.b, x, w1), bias));
  kd_value logp = kd__b_reduce(&l.b, KD_OP_LOG_SOFTMAX, kd__b_matmul(&l.b, hidden, w2), (int64_t[]){ 1 }, 1);
  kd_value loss = lab_weighted(&l, logp), wrt[4] = { x, w1, b1, w2 }, g[4], g2[4], g3[4];
  assert_true(kd__gradients(l.g, loss, wrt, 4, g, 0, NULL));
  assert_true(lab_agrees(&l, loss, wrt, 4, g, 1e-5, 1e-7, "network"));
  kd_value penalty = lab_total(&l, op2(&l, KD_OP_MUL, g[0], g[0]));
  assert_true(kd__gradients(l.g, penalty, wrt, 4, g2, 0, NULL));
  assert_true(lab_agrees(&l, penalty, wrt, 4, g2, 1e-5, 1e-7, "penalty"));
  kd_value third = lab_weighted(&l, g2[1]);
  assert_true(kd__gradients(l.g, third, wrt, 4, g3, 0, NULL));
  assert_true(lab_agrees(&l, third, wrt, 4, g3, 1e-5, 1e-6, "third derivative"));
  lab_end(&l);
}

/* A chain as long as no stack would bear. */
static void long_chain(void **state) {
  (void)state;
  lab l;
  lab_begin(&l, 10);
  kd_value x = lab_values(&l, (double[]){ 0.75 }, NULL, 0), y = x;
  for (int i = 0; i < 50000; i++) y = op2(&l, KD_OP_ADD, y, x);
  expect(&l, gradient(&l, y, x), (double[]){ 50001 }, 1);
  lab_end(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(reversal), cmocka_unit_test(straight_through), cmocka_unit_test(injection), cmocka_unit_test(once), cmocka_unit_test(paths),
    cmocka_unit_test(inner_values), cmocka_unit_test(ties_and_kinks), cmocka_unit_test(no_poison_at_zero), cmocka_unit_test(last_one_wins),
    cmocka_unit_test(gradient_of_gradient), cmocka_unit_test(long_chain),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
