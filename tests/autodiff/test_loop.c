/* test_loop.c: gradients of loops against finite differences, once and twice, and against those of the loop written out. */
#include "tests/autodiff/check.h"
#include "tests/eval/unroll.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/eval/loops.h"

/* The program in a lab: its inputs get contents, and `wrt` lists them. */
static size_t begin(lab *l, const kd_test_loop *c, uint64_t seed, kd_value *wrt) {
  kd_shape_error err;
  lab_begin(l, seed);
  l->g = kd__graph_read(&l->arena, c->text, strlen(c->text), &err);
  if (!l->g) fail_msg("%s: %s", c->what, err.text);
  l->b = (kd_build){ l->g, 0 };
  for (size_t i = 1; i < l->g->node.n && l->g->node.v[i].op == KD_OP_INPUT; i++) {
    kd_type t = *kd__type_of(l->g, l->g->node.v[i].out);
    wrt[l->nin] = l->g->node.v[i].out;
    lab_input(l, KD_F64, -1, 1, t.dim, t.rank);                        /* the same slot: the same node */
    assert_int_equal(l->in[l->nin - 1], wrt[l->nin - 1]);
  }
  return l->nin;
}

/* A loss that is not linear in the values. */
static kd_value loss_of(lab *l, const kd_value *v, size_t n) {
  kd_value loss = 0;
  for (size_t i = 0; i < n; i++) {
    if (kd__type_of(l->g, v[i])->dtype != KD_F64) continue;
    kd_value curve = kd__b_op2(&l->b, KD_OP_ADD, v[i], kd__b_op2(&l->b, KD_OP_MUL, v[i], kd__b_op2(&l->b, KD_OP_MUL, kd__b_const_like(&l->b, 0.5, v[i]), v[i])));
    kd_value part = lab_weighted(l, curve);
    loss = loss ? kd__b_op2(&l->b, KD_OP_ADD, loss, part) : part;
  }
  return loss;
}

static size_t results(const lab *l, kd_value *v) {
  for (size_t i = 0; i < l->g->result.n; i++) v[i] = l->g->result.v[i].value;
  return l->g->result.n;
}

static void differences(void **state) {
  (void)state;
  for (int i = 0; i < KD_TEST_LOOPS; i++) {
    const kd_test_loop *c = &kd_test_loops[i];
    lab l;
    kd_value wrt[LAB_MAX], grad[LAB_MAX], again[LAB_MAX], out[LAB_MAX], inner = 0;
    kd_grad_error err;
    char what[120];
    if (!c->smooth) continue;
    size_t n = begin(&l, c, (uint64_t)i + 1, wrt);
    kd_value loss = loss_of(&l, out, results(&l, out));
    assert_true(kd__gradients(l.g, loss, wrt, n, grad, 0, &err));
    assert_true(lab_agrees(&l, loss, wrt, n, grad, 1e-5, 1e-6, c->what));
    for (size_t k = 0; k < n; k++) {
      if (!grad[k]) continue;
      kd_value part = lab_weighted(&l, grad[k]);
      inner = inner ? kd__b_op2(&l.b, KD_OP_ADD, inner, part) : part;
    }
    assert_true(kd__gradients(l.g, inner, wrt, n, again, 0, &err));
    snprintf(what, sizeof what, "%s, twice", c->what);
    assert_true(lab_agrees(&l, inner, wrt, n, again, 1e-5, 1e-5, what));
    kd_shape_error broken;
    if (!kd__graph_verify(l.g, &broken)) fail_msg("%s: %s", c->what, broken.text);
    lab_end(&l);
  }
}

/* The loss of one set of values, its gradients, and those of a weighted sum of these. */
static void both_orders(lab *l, const kd_value *v, size_t n, const kd_value *wrt, size_t nin, kd_value *grad, kd_value *again) {
  kd_value inner = 0, loss = 0;
  for (size_t i = 0; i < n; i++) {
    if (kd__type_of(l->g, v[i])->dtype != KD_F64) continue;
    kd_value part = lab_total(l, kd__b_op2(&l->b, KD_OP_MUL, v[i], kd__b_op1(&l->b, KD_OP_SIN, v[i])));
    loss = loss ? kd__b_op2(&l->b, KD_OP_ADD, loss, part) : part;
  }
  assert_true(kd__gradients(l->g, loss, wrt, nin, grad, 0, NULL));
  for (size_t i = 0; i < nin; i++) {
    if (!grad[i]) continue;
    kd_value part = lab_total(l, kd__b_op2(&l->b, KD_OP_MUL, grad[i], grad[i]));
    inner = inner ? kd__b_op2(&l->b, KD_OP_ADD, inner, part) : part;
  }
  assert_true(kd__gradients(l->g, inner, wrt, nin, again, 0, NULL));
}

static void same(lab *l, kd_value got, kd_value want, double tolerance, const char *what) {
  kd_eval e;
  kd_value v[2] = { got, want };
  assert_int_equal(got == 0, want == 0);
  if (!got) return;
  assert_true(kd_eval_run(&e, l->g, l->slot, l->nin, v, 2, KD_EVAL_STRANGE));
  for (int64_t x = 0; x < kd__type_count(kd__type_of(l->g, got)); x++) {
    double u = kd_eval_at(&e, got, x), w = kd_eval_at(&e, want, x);
    bool good = tolerance > 0 ? fabs(u - w) <= tolerance * (1 + fabs(w)) : memcmp(&u, &w, sizeof u) == 0;
    if (!good) fail_msg("%s: %.17g in the loop, %.17g written out", what, u, w);
  }
  kd_eval_free(&e);
}

/* Written out, values and gradients are the same bits; but where a carry never changes, which no program says, its gradient is added up apart. Second
 * derivatives, of a loop that computes again what the loop written out has at hand, are as good as equal. */
static void written_out(void **state) {
  (void)state;
  for (int i = 0; i < KD_TEST_LOOPS; i++) {
    const kd_test_loop *c = &kd_test_loops[i];
    lab l;
    kd_value wrt[LAB_MAX], loop[LAB_MAX], flat[LAB_MAX], got[LAB_MAX], want[LAB_MAX], got2[LAB_MAX], want2[LAB_MAX];
    size_t nin = begin(&l, c, (uint64_t)i + 1, wrt), n = results(&l, loop), nodes = l.g->node.n;
    kd_value *to = KD_NEWN(&l.arena, kd_value, l.g->type.n);
    for (size_t k = 1; k < nodes; k++)
      if (l.g->node.v[k].op == KD_OP_LOOP) kd_unroll(l.g, l.g->node.v[k].out, to + l.g->node.v[k].out);
    for (size_t k = 0; k < n; k++) same(&l, loop[k], flat[k] = to[loop[k]], 0, c->what);
    both_orders(&l, loop, n, wrt, nin, got, got2);
    both_orders(&l, flat, n, wrt, nin, want, want2);
    double exact = strstr(c->what, "never changes") ? 1e-12 : 0;
    for (size_t k = 0; k < nin; k++) same(&l, got[k], want[k], exact, c->what), same(&l, got2[k], want2[k], 1e-12, c->what);
    lab_end(&l);
  }
}

/* What reaches what, through any number of turns and not through `stop`. */
static void reaching(void **state) {
  (void)state;
  lab l;
  kd_value wrt[LAB_MAX], out[LAB_MAX];
  begin(&l, &kd_test_loops[1], 1, wrt);
  results(&l, out);
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < 5; i++) assert_int_equal(kd__reaches(l.g, wrt[k], out[i]), i != 2 && i != 4);   /* not the numbers that count */
  lab_end(&l);
  begin(&l, &kd_test_loops[5], 1, wrt);
  results(&l, out);
  assert_true(kd__reaches(l.g, wrt[0], out[3]) && kd__reaches(l.g, wrt[0], out[4]) && kd__reaches(l.g, wrt[0], out[5]));
  assert_false(kd__reaches(l.g, wrt[1], out[3]));
  assert_false(kd__reaches(l.g, wrt[1], out[5]));
  lab_end(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(differences), cmocka_unit_test(written_out), cmocka_unit_test(reaching) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
