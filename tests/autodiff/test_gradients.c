/* test_gradients.c: every gradient rule against finite differences in double precision, once and twice. */
#include "tests/autodiff/cases.h"
#include "tests/autodiff/check.h"
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static const char *const rule_name[KD_OP_COUNT] = {
#define KD_OP(ID, name, class, nin, nout, attrs, shape, grad, ...) [KD_OP_##ID] = #grad,
#include "runtime/op/ops.def"
#undef KD_OP
};
static bool has_rule(kd_op op) { return strcmp(rule_name[op], "zero") != 0 && strcmp(rule_name[op], "none") != 0; }

static void every_rule_has_a_case(void **state) {
  (void)state;
  bool seen[KD_OP_COUNT] = { false }, complete = true;
  for (size_t i = 0; i < grad_case_count; i++) seen[grad_cases[i].op] = true;
  for (int op = 0; op < KD_OP_COUNT; op++)
    if (has_rule((kd_op)op) && !seen[op] && op != KD_OP_LOOP) {          /* test_loop.c: its bodies do not fit a table */
      print_error("no gradient case for `%s`: add one to cases.c\n", kd__op_info((kd_op)op)->name);
      complete = false;
    }
  assert_true(complete);
}

/* The operator on its operands, and a loss of its results that is not linear in them: a linear one would hide the second derivative. */
static kd_value build(lab *l, const grad_case *c, kd_value *in) {
  for (uint32_t i = 0; i < c->nin; i++) {
    const operand *o = &c->in[i];
    in[i] = o->constant ? kd__b_const(&l->b, o->lo, o->t, o->dim, o->rank) : lab_input(l, o->t, o->lo, o->hi, o->dim, o->rank);
  }
  kd_shape_error err = { "" };
  kd_value out = kd__graph_add(l->g, c->op, in, c->nin, c->attr, 0, &err), loss = 0;
  if (!out) fail_msg("%s: %s", kd__op_info(c->op)->name, err.text);
  for (int k = 0; k < kd__op_info(c->op)->nout; k++) {
    kd_value v = out + (kd_value)k;
    if (!kd__dtype_real((kd_dtype)kd__type_of(l->g, v)->dtype)) continue;
    v = kd__b_cast(&l->b, v, KD_F64);
    kd_value curve = kd__b_op2(&l->b, KD_OP_ADD, v, kd__b_op2(&l->b, KD_OP_MUL, v, kd__b_op2(&l->b, KD_OP_MUL, kd__b_const_like(&l->b, 0.5, v), v)));
    kd_value part = lab_weighted(l, curve);
    loss = loss ? kd__b_op2(&l->b, KD_OP_ADD, loss, part) : part;
  }
  return loss;
}

static bool check_case(const grad_case *c, size_t number) {
  lab l;
  kd_value in[CASE_MAX_IN], wrt[CASE_MAX_IN], grad[CASE_MAX_IN], grad2[CASE_MAX_IN];
  size_t n = 0;
  char what[80];
  double h = c->h > 0 ? c->h : 1e-5, tolerance = c->tolerance > 0 ? c->tolerance : 1e-6;
  kd_grad_error err;
  lab_begin(&l, number + 1);
  kd_value loss = build(&l, c, in), inner = 0;
  for (uint32_t i = 0; i < c->nin; i++)
    if (c->in[i].t == KD_F64 && !c->in[i].constant) wrt[n++] = in[i];
  snprintf(what, sizeof what, "case %zu, %s", number, kd__op_info(c->op)->name);
  assert_true(kd__gradients(l.g, loss, wrt, n, grad, 0, &err));
  for (size_t i = 0; i < n; i++) assert_int_not_equal(grad[i], 0);
  bool good = lab_agrees(&l, loss, wrt, n, grad, h, tolerance, what);
  for (size_t i = 0; i < n; i++) {
    kd_value part = lab_weighted(&l, grad[i]);
    inner = inner ? kd__b_op2(&l.b, KD_OP_ADD, inner, part) : part;
  }
  if (good && kd__op_info(c->op)->diff == 2) {
    strcat(what, ", twice");
    assert_true(kd__gradients(l.g, inner, wrt, n, grad2, 0, &err));
    good = lab_agrees(&l, inner, wrt, n, grad2, h, tolerance * 10, what);
  }
  kd_shape_error broken;
  if (!kd__graph_verify(l.g, &broken)) fail_msg("%s: %s", what, broken.text);
  lab_end(&l);
  return good;
}

static void every_case_agrees(void **state) {
  (void)state;
  size_t bad = 0;
  for (size_t i = 0; i < grad_case_count; i++) bad += !check_case(&grad_cases[i], i);
  assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(every_rule_has_a_case), cmocka_unit_test(every_case_agrees) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
