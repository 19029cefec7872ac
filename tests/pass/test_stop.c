/* test_stop.c: `stop` is not the identity until gradients are built (design, rule 16): what is written with it keeps its value and its gradient
 * through every pass, and every pass that may run before gradients leaves gradients as they are. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/pass/pass.h"
#include "tests/eval/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

enum { N = 6 };
static const double X[N] = { 0.3, -1.7, 2.5, 1e-9, -0.0, 4096.25 }, G[N] = { 1, -2, 0.5, 3, 7, -0.125 };
static const kd_type vec = { .dtype = KD_F64, .rank = 1, .dim = { N } };
static const kd_eval_slot data[] = { { 0, X }, { 1, G } };
static const int64_t axis0[1] = { 0 };

typedef kd_value (*form_fn)(kd_build *b, kd_value x, kd_value g);

static kd_value op2(kd_build *b, kd_op op, kd_value x, kd_value y) { return kd__b_op2(b, op, x, y); }
static kd_value stop(kd_build *b, kd_value x) { return kd__b_op1(b, KD_OP_STOP, x); }

static kd_value reversal(kd_build *b, kd_value x, kd_value g) {
  (void)g;
  return op2(b, KD_OP_ADD, stop(b, x), op2(b, KD_OP_MUL, kd__b_const_like(b, 0.25, x), op2(b, KD_OP_SUB, stop(b, x), x)));
}
static kd_value through(kd_build *b, kd_value x, kd_value g) {
  (void)g;
  kd_value q = kd__b_op1(b, KD_OP_ROUND, op2(b, KD_OP_MUL, x, kd__b_const_like(b, 3, x)));
  return op2(b, KD_OP_ADD, stop(b, q), op2(b, KD_OP_SUB, x, stop(b, x)));
}
/* Its sum's gradient is g, whatever x is. */
static kd_value injection(kd_build *b, kd_value x, kd_value g) { return op2(b, KD_OP_MUL, stop(b, g), x); }

static double want_reversal(int i) { return -0.25 * cos(X[i]); }
static double want_through(int i) { return cos(rint(X[i] * 3)); }
static double want_injection(int i) { return G[i] * cos(G[i] * X[i]); }

static const struct { const char *name; form_fn make; double (*grad)(int); } forms[] = {
  { "reversal", reversal, want_reversal }, { "straight-through", through, want_through }, { "injection", injection, want_injection },
};
enum { FORMS = sizeof forms / sizeof *forms };

/* sum(sin(form(x))): the results are the form's value and its gradient for x. */
static kd_graph *build(kd__arena *a, int form, bool gradients) {
  kd_graph *g = kd__graph_new(a);
  kd_build b = { g, 1 };
  kd_value x = kd__b_input(&b, 0, &vec), w = kd__b_input(&b, 1, &vec), y = forms[form].make(&b, x, w);
  kd__graph_result(g, "y", y);
  kd__graph_result(g, "x", x);
  kd_value loss = kd__b_reduce(&b, KD_OP_SUM, kd__b_op1(&b, KD_OP_SIN, y), axis0, 1);
  kd__graph_result(g, "loss", loss);
  kd_value d;
  if (gradients) {
    assert_true(kd__gradients(g, loss, &x, 1, &d, 1, NULL));
    kd__graph_result(g, "grad", d);
  }
  return g;
}

static kd_value result(const kd_graph *g, const char *name) {
  for (size_t i = 0; i < g->result.n; i++)
    if (strcmp(g->result.v[i].name, name) == 0) return g->result.v[i].value;
  fail_msg("no result %s", name);
  return 0;
}

static void check_value(const kd_graph *g, int form, const char *what) {
  kd_eval e;
  assert_true(kd_eval_run(&e, g, data, 2, NULL, 0, KD_EVAL_DENSE));
  for (int i = 0; i < N; i++) {
    double y = kd_eval_at(&e, result(g, "y"), i), d = kd_eval_at(&e, result(g, "grad"), i), want = forms[form].grad(i);
    if (forms[form].make == through && y != rint(X[i] * 3)) fail_msg("%s, %s: not exactly q: %.17g", forms[form].name, what, y);
    if (forms[form].make == reversal && y != X[i]) fail_msg("%s, %s: not exactly x: %.17g", forms[form].name, what, y);
    if (!(fabs(d - want) <= 1e-12 * (1 + fabs(want)))) fail_msg("%s, %s: gradient %.17g instead of %.17g", forms[form].name, what, d, want);
  }
  kd_eval_free(&e);
}

static void gradients_first(void **state) {
  (void)state;
  for (int form = 0; form < FORMS; form++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_graph *g = build(&a, form, true), *chain = g;
    check_value(g, form, "no pass");
    for (const kd_pass_info *p = kd__passes; p->name; p++) {
      check_value(p->run(g), form, p->name);
      chain = p->run(chain);
      check_value(chain, form, "the pipeline so far");
    }
    kd__arena_free(&a);
  }
}

/* Every pass that requires nothing, once and twice, and all of them; then gradients; then the pipeline. */
static void passes_first(void **state) {
  (void)state;
  for (int form = 0; form < FORMS; form++)
    for (const kd_pass_info *p = kd__passes; p->name; p++) {
      if (p->requires[0]) continue;
      kd__arena a;
      kd__arena_init(&a, NULL, NULL);
      kd_graph *g = p->run(p->run(build(&a, form, false)));
      kd_value x = result(g, "x"), d;
      assert_true(kd__gradients(g, result(g, "loss"), &x, 1, &d, 1, NULL));
      assert_int_not_equal(d, 0);
      kd__graph_result(g, "grad", d);
      check_value(g, form, p->name);
      check_value(kd__pass_all(g, NULL, NULL), form, p->name);
      kd__arena_free(&a);
    }
}

/* Only a pass that says that gradients must be there takes `stop` away, and the first does. */
static void the_table_says_so(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  for (const kd_pass_info *p = kd__passes; p->name; p++) {
    kd_graph *g = p->run(build(&a, 1, false));
    size_t stops = 0;
    for (size_t i = 1; i < g->node.n; i++) stops += g->node.v[i].op == KD_OP_STOP;
    assert_true(stops > 0 || strcmp(p->requires, "gradients") == 0);
    if (p == kd__passes) assert_int_equal(stops, 0);
  }
  assert_string_equal(kd__passes[0].requires, "gradients");
  kd_graph *g = kd__pass_all(build(&a, 1, true), NULL, NULL);
  for (size_t i = 1; i < g->node.n; i++) assert_int_not_equal(g->node.v[i].op, KD_OP_STOP);
  kd__arena_free(&a);
}

/* --- random graphs ------------------------------------------------------------------------------------------------------------------ */

/* The sum of all real results, weighted so that they do not cancel. */
static kd_value total(kd_graph *g) {
  kd_build b = { g, 1 };
  kd_value loss = 0;
  for (size_t i = 0; i < g->result.n; i++) {
    kd_value v = g->result.v[i].value;
    kd_type t = *kd__type_of(g, v);
    int64_t axes[KD_MAX_RANK];
    if (t.dtype != KD_F64) continue;
    for (int d = 0; d < t.rank; d++) axes[d] = d;
    v = kd__b_op2(&b, KD_OP_MUL, v, kd__b_const_like(&b, 1 + 0.1 * (double)(i % 7), v));
    if (t.rank) v = kd__b_reduce(&b, KD_OP_SUM, v, axes, t.rank);
    loss = loss ? kd__b_op2(&b, KD_OP_ADD, loss, v) : v;
  }
  return loss;
}

/* By slot: the gradient of total(g), or 0. */
static kd_value *gradients(kd__arena *a, kd_graph *g, size_t nslot) {
  kd_value *wrt = KD_NEWN(a, kd_value, nslot), *grad = KD_NEWN(a, kd_value, nslot), loss = total(g);
  for (size_t i = 1; i < g->node.n; i++)
    if (g->node.v[i].op == KD_OP_INPUT) wrt[kd__attr(&g->node.v[i], "slot")->u.i] = g->node.v[i].out;
  assert_true(kd__gradients(g, loss, wrt, nslot, grad, 1, NULL));
  return grad;
}

static bool same_gradients(uint64_t seed, const kd_pass_info *p) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_random_graph r, s;
  kd_random_make(&r, &a, &(kd_random_spec){ .seed = seed, .nodes = 40, .real = KD_F64 });
  kd_random_make(&s, &a, &(kd_random_spec){ .seed = seed, .nodes = 40, .real = KD_F64 });
  s.g = p->run(s.g);
  kd_value *before = gradients(&a, r.g, r.slot.n), *after = gradients(&a, s.g, r.slot.n);
  kd_eval x, y;
  kd_eval_run(&x, r.g, r.eval, r.slot.n, before, 0, KD_EVAL_DENSE);
  kd_eval_run(&y, s.g, r.eval, r.slot.n, after, 0, KD_EVAL_DENSE);
  bool good = true;
  for (size_t i = 0; i < r.slot.n && good; i++) {
    int64_t n = kd__type_count(&r.slot.v[i].type);
    for (int64_t k = 0; k < n && good && (before[i] || after[i]); k++) {
      double want = before[i] ? kd_eval_at(&x, before[i], k) : 0, got = after[i] ? kd_eval_at(&y, after[i], k) : 0;
      good = isfinite(want) ? fabs(got - want) <= 1e-6 * (1 + fabs(want)) : !isfinite(got);
      if (!good) print_error("seed %llu, %s: gradient of slot %zu, element %lld: %.10g before, %.10g after\n", (unsigned long long)seed, p->name, i, (long long)k, want, got);
    }
  }
  kd_eval_free(&x);
  kd_eval_free(&y);
  kd__arena_free(&a);
  return good;
}

static void random_gradients_stay(void **state) {
  (void)state;
  int bad = 0;
  for (uint64_t seed = 1; seed <= 120 && bad < 5; seed++)
    for (const kd_pass_info *p = kd__passes; p->name; p++)
      if (!p->requires[0]) bad += !same_gradients(seed, p);
  assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradients_first), cmocka_unit_test(passes_first), cmocka_unit_test(the_table_says_so), cmocka_unit_test(random_gradients_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
