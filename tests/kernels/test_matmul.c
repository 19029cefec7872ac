/* test_matmul.c: products whose two operands are one matrix and its transpose: against the naive twin, symmetric bit by bit, the same bits with any team;
 * and the ways of sharing that need large operands. */
#include "tests/kernels/call.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* b: a with its last two axes exchanged, in the same memory. */
static void exchange(t_tensor *b, const t_tensor *a) {
  int r = a->t.rank;
  *b = *a;
  for (int d = 0; d < r; d++) b->dim[d] = a->dim[d < r - 2 ? d : 2 * r - 3 - d], b->stride[d] = a->stride[d < r - 2 ? d : 2 * r - 3 - d];
  b->t.dim = b->dim, b->t.stride = b->stride;
}

static float at(const t_tensor *y, int64_t item, int64_t i, int64_t j) {
  int r = y->t.rank;
  int64_t off = i * y->stride[r - 2] + j * y->stride[r - 1] + (r > 2 ? item * y->stride[0] : 0);
  return ((const float *)y->t.data)[off];
}

/* how: bit 0 the result lies turned, bit 1 the first operand does. */
static void one(int64_t batch, int64_t n, int64_t k, int how) {
  char first[80], second[80], out[80];
  uint64_t state = (uint64_t)(n * 31 + k);
  t_case c;
  t_tensor in[T_MAX], want[T_MAX], got[T_MAX], before[T_MAX];
  if (batch) snprintf(first, sizeof first, "f32[%lld,%lld,%lld]", (long long)batch, (long long)n, (long long)k), snprintf(second, sizeof second, " f32[%lld,%lld,%lld]", (long long)batch, (long long)k, (long long)n);
  else snprintf(first, sizeof first, "f32[%lld,%lld]", (long long)n, (long long)k), snprintf(second, sizeof second, " f32[%lld,%lld]", (long long)k, (long long)n);
  char both[180];
  snprintf(both, sizeof both, "%s%s", first, second);
  if (batch) snprintf(out, sizeof out, "f32[%lld,%lld,%lld]", (long long)batch, (long long)n, (long long)n);
  else snprintf(out, sizeof out, "f32[%lld,%lld]", (long long)n, (long long)n);
  assert_true(t_parse(&c, "matmul", both, out, ""));
  t_tensor x;
  t_make(&x, how & 2 ? &c.in[1] : &c.in[0], T_DENSE, true, &state);
  t_fill(&x, &c, 0, false, &state);
  if (how & 2) exchange(&in[0], &x), in[1] = x, in[1].t.dim = in[1].dim, in[1].t.stride = in[1].stride;
  else in[0] = x, in[0].t.dim = in[0].dim, in[0].t.stride = in[0].stride, exchange(&in[1], &x);
  t_make(&want[0], &c.out[0], T_DENSE, false, &state);
  t_run(&c, in, want, (t_settings){ .threads = 1 }, true);
  for (int threads = 1; threads <= 3; threads++) {
    t_tensor y;
    t_make(&y, &c.out[0], T_DENSE, false, &state);
    if (how & 1) exchange(&got[0], &y);
    else got[0] = y, got[0].t.dim = got[0].dim, got[0].t.stride = got[0].stride;
    t_run(&c, in, got, (t_settings){ .threads = threads, .deterministic = threads == 3 }, false);
    const char *wrong = t_compare(&got[0], &want[0], 2e-6);
    if (wrong[0]) fail_msg("%s how %d, %d threads: %s", both, how, threads, wrong);
    assert_true(t_untouched(&y));
    for (int64_t item = 0; item < (batch ? batch : 1); item++)
      for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
          if (at(&got[0], item, i, j) != at(&got[0], item, j, i)) fail_msg("%s how %d: not symmetric at %lld,%lld", both, how, (long long)i, (long long)j);
    if (threads > 1) assert_true(t_same_bits(&got[0], &before[0])), t_free(&before[0]);
    before[0] = got[0], before[0].t.dim = before[0].dim, before[0].t.stride = before[0].stride;
  }
  t_free(&before[0]), t_free(&want[0]), t_free(&x);
}

/* Items, pieces, parts of the sums; packed and by dot products; full panels and not; many items, so that the next ones are asked for. */
static void with_itself(void **state) {
  static const struct { int64_t batch, n, k; } list[] = { { 9, 33, 20 }, { 8, 64, 129 }, { 12, 128, 40 }, { 8, 50, 300 }, { 2, 100, 70 }, { 0, 40, 9 }, { 0, 64, 2048 },
    { 0, 97, 2500 }, { 0, 128, 600 }, { 0, 450, 80 }, { 50, 250, 6 },
    { 8, 64, 256 }, { 9, 13, 330 }, { 3, 37, 144 }, { 20, 128, 256 }, { 0, 64, 4096 }, { 0, 70, 2100 }, { 0, 200, 512 }, { 0, 300, 192 }, { 5, 31, 600 } };
  (void)state;
  for (size_t q = 0; q < sizeof list / sizeof *list; q++)
    for (int how = 0; how < 4; how++) one(list[q].batch, list[q].n, list[q].k, how);
}

static void large(void **state) {
  static const char *const list[][2] = { { "f32[50,256,6] f32[50,6,250]", "f32[50,256,250]" }, { "f32[40,64] f32[64,8192]", "f32[40,8192]" }, { "f32[30,64] f32[64,8192]", "f32[30,8192]" } };
  (void)state;
  for (size_t q = 0; q < sizeof list / sizeof *list; q++) {
    uint64_t seed = q + 1;
    t_case c;
    t_tensor in[T_MAX], want[T_MAX], got[T_MAX];
    assert_true(t_parse(&c, "matmul", list[q][0], list[q][1], ""));
    for (uint32_t i = 0; i < 2; i++) t_make(&in[i], &c.in[i], T_DENSE, true, &seed), t_fill(&in[i], &c, i, false, &seed);
    t_make(&want[0], &c.out[0], T_DENSE, false, &seed);
    t_run(&c, in, want, (t_settings){ .threads = 1 }, true);
    for (int threads = 1; threads <= 3; threads++) {
      t_make(&got[0], &c.out[0], T_DENSE, false, &seed);
      t_run(&c, in, got, (t_settings){ .threads = threads }, false);
      const char *wrong = t_compare(&got[0], &want[0], 2e-6);
      if (wrong[0]) fail_msg("%s, %d threads: %s", list[q][0], threads, wrong);
      assert_true(t_untouched(&got[0]));
      t_free(&got[0]);
    }
    t_free(&in[0]), t_free(&in[1]), t_free(&want[0]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(with_itself), cmocka_unit_test(large) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
