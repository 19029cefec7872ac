/* test_choice.c: measured choices: a table, its text, whatever became of it, and that a call gets the kernel it names. */
#include "runtime/kernels/choice.h"
#include "tests/kernels/call.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void a_table(void **state) {
  (void)state;
  kd_choices *c = kd__choices_new();
  uint64_t s = 9, key[300];
  for (int i = 0; i < 300; i++) assert_true(kd__choices_set(c, key[i] = t_random(&s), i % 2 ? "matmul.panel" : "conv.im2col", "what"));
  for (int i = 0; i < 300; i++) assert_string_equal(kd__choices_get(c, key[i]), i % 2 ? "matmul.panel" : "conv.im2col");
  assert_true(kd__choices_set(c, key[7], "matmul.openblas", "again"));
  assert_string_equal(kd__choices_get(c, key[7]), "matmul.openblas");
  assert_int_equal(kd__choices_count(c), 300);
  kd_choices *more = kd__choices_new();
  assert_true(kd__choices_set(more, key[8], "matmul.dnnl", "newer") && kd__choices_set(more, 12344, "matmul.dnnl", "new") && kd__choices_add(c, more));
  assert_string_equal(kd__choices_get(c, key[8]), "matmul.dnnl");
  assert_string_equal(kd__choices_get(c, 12344), "matmul.dnnl");
  assert_int_equal(kd__choices_count(c), 301);
  kd__choices_free(more);
  assert_null(kd__choices_get(c, 12345));
  assert_false(kd__choices_set(c, 1, "matmul.none", ""));
  kd__choices_free(c);
}

static void as_text(void **state) {
  (void)state;
  kd_choices *c = kd__choices_new();
  kd__buf text = { 0 }, again = { 0 };
  kd__choices_set(c, 77, "matmul.panel", "matmul f32[2,3] f32[3,4]");
  kd__choices_set(c, 5, "conv.im2col", "conv f32[1,2,3,4]");
  kd__choices_write(c, &text);
  kd_choices *r = kd__choices_read(text.p, text.n);
  assert_non_null(r);
  assert_int_equal(kd__choices_count(r), 2);
  assert_string_equal(kd__choices_get(r, 77), "matmul.panel");
  kd__choices_write(r, &again);
  assert_int_equal(again.n, text.n);
  assert_memory_equal(again.p, text.p, text.n);
  kd__choices_free(r);
  for (size_t i = 0; i < text.n; i++) {          /* any byte that is another: machine, version, choice, hash */
    text.p[i] ^= 1;
    assert_null(kd__choices_read(text.p, text.n));
    text.p[i] ^= 1;
    assert_null(kd__choices_read(text.p, i));
  }
  kd__buf_free(&text);
  kd__buf_free(&again);
  kd__choices_free(c);
}

static void a_call_gets_it(void **state) {
  (void)state;
  t_case c;
  t_tensor t[3];
  kd_tensor operand[3];
  uint64_t s = 1;
  assert_true(t_parse(&c, "matmul", "f32[64,40] f32[40,50]", "f32[64,50]", ""));
  for (int i = 0; i < 3; i++) t_make(&t[i], i < 2 ? &c.in[i] : &c.out[0], T_DENSE, false, &s), memset(t[i].whole, 0, t[i].size), operand[i] = t[i].t;
  kd_call call = { .op = c.op, .nin = 2, .nout = 1, .in = operand, .out = operand + 2, .attr = c.attr };
  kd_kernel_settings set = { .threads = 1 }, two = { .threads = 2 };
  const kd_kernel *usual = kd__kernel_find(&call, &set), *k;
  kd_choices *all = kd__choices_new();
  int tried = 0;
  for (int i = 0; kd__kernel_try(&call, &set, i, &k), k; i++, tried++) {
    assert_ptr_equal(k, kd__kernel_nth(&call, &set, i));
    assert_true(kd__choices_set(all, kd__call_key(&call, &set), k->name, ""));
    set.choices = two.choices = all;
    assert_ptr_equal(kd__kernel_find(&call, &set), k);
    assert_ptr_equal(kd__kernel_find(&call, &two), usual);         /* measured with one thread, says nothing of two */
    set.choices = NULL;
  }
  assert_true(tried >= 1);
  kd_kernel_settings fixed = { .threads = 1, .deterministic = true }, more = { .threads = 7, .deterministic = true };     /* one choice, or the bits would differ */
  assert_int_equal(kd__call_key(&call, &fixed), kd__call_key(&call, &more));
  assert_true(kd__call_key(&call, &fixed) != kd__call_key(&call, &set) && kd__call_key(&call, &set) != kd__call_key(&call, &two));
  assert_true(kd__choices_set(all, kd__call_key(&call, &set), "conv.im2col", ""));        /* of another operator: cannot be */
  set.choices = all;
  assert_ptr_equal(kd__kernel_find(&call, &set), usual);
  kd__choices_free(all);
  for (int i = 0; i < 3; i++) t_free(&t[i]);
}

static const char *usual(const char *op, const char *in, const char *out, const char *attrs) {
  t_case c;
  kd_tensor operand[3];
  t_tensor t[3];
  uint64_t s = 1;
  kd_kernel_settings set = { .threads = 2, .use_dnnl = true };
  if (!t_parse(&c, op, in, out, attrs)) fail_msg("mistake in %s %s", in, attrs);
  for (int i = 0; i < 3; i++) t_make(&t[i], i < 2 ? &c.in[i] : &c.out[0], T_DENSE, false, &s), operand[i] = t[i].t;
  kd_call call = { .op = c.op, .nin = 2, .nout = 1, .in = operand, .out = operand + 2, .attr = c.attr };
  const char *name = kd__kernel_find(&call, &set)->name;
  const kd_kernel *k;
  for (int i = 0, same = 0; (k = kd__kernel_nth(&call, &set, i)); i++) assert_true((same += strcmp(k->name, name) == 0) <= 1);       /* each once */
  for (int i = 0; i < 3; i++) t_free(&t[i]);
  return name;
}

/* Which convolutions do not go to oneDNN where it is there: single taps but plain forward ones, and weights with strides. */
static void im2col_comes_first(void **state) {
  (void)state;
#define TAP(by) "stride=" by " pad_lo=0,0 pad_hi=0,0 dilation=1,1 groups=1"
#define NINE(by) "stride=" by " pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1"
  const char *other = usual("conv", "f32[4,16,8,8] f32[32,16,1,1]", "f32[4,32,8,8]", TAP("1,1"));        /* oneDNN, where it was built with it */
  assert_string_equal(usual("conv", "f32[4,16,8,8] f32[32,16,1,1]", "f32[4,32,4,4]", TAP("2,2")), "conv.im2col");
  assert_string_equal(usual("conv_data", "f32[4,32,8,8] f32[32,16,1,1]", "f32[4,16,8,8]", TAP("1,1") " size=8,8"), "conv.im2col");
  assert_string_equal(usual("conv_weight", "f32[4,16,8,8] f32[4,32,8,8]", "f32[32,16,1,1]", TAP("1,1") " size=1,1"), "conv.im2col");
  assert_string_equal(usual("conv_weight", "f32[4,16,8,8] f32[4,32,4,4]", "f32[32,16,3,3]", NINE("2,2") " size=3,3"), "conv.im2col");
  assert_string_equal(usual("conv", "f32[4,16,8,8] f32[32,16,3,3]", "f32[4,32,4,4]", NINE("2,2")), other);
  assert_string_equal(usual("conv_data", "f32[4,32,4,4] f32[32,16,3,3]", "f32[4,16,8,8]", NINE("2,2") " size=8,8"), other);
  assert_string_equal(usual("conv_weight", "f32[4,3,8,8] f32[4,32,4,4]", "f32[32,3,3,3]", NINE("2,2") " size=3,3"), other);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(a_table), cmocka_unit_test(as_text), cmocka_unit_test(a_call_gets_it), cmocka_unit_test(im2col_comes_first) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
