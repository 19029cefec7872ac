/* test_work.c: operations, bytes, reaches and what is held, of small plans worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "runtime/cost/work.h"
#include "runtime/kernels/group.h"

enum { MOST = 16 };
typedef struct trial { kd_plan p; kd_plan_tensor t[MOST]; kd_plan_call c[MOST]; uint32_t at[MOST][8]; } trial;

/* A dense tensor in the arena. */
static uint32_t tensor(trial *x, kd_dtype dtype, int64_t offset, int rank, const int64_t *dim) {
  kd_plan_tensor *t = &x->t[x->p.ntensor];
  *t = (kd_plan_tensor){ .type = { .dtype = (uint8_t)dtype, .rank = (uint8_t)rank }, .place = KD_IN_ARENA, .offset = offset };
  int64_t n = 1;
  for (int d = rank - 1; d >= 0; d--) {
    t->type.dim[d] = dim[d];
    t->stride[d] = n;
    n *= dim[d];
  }
  x->p.tensor = x->t;
  return x->p.ntensor++;
}
#define T(dtype, offset, ...) tensor(&x, dtype, offset, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ })

static uint32_t call(trial *x, kd_op op, int nin, int nout, const uint32_t *operand, const kd_attr *attr) {
  uint32_t i = x->p.ncall++;
  memcpy(x->at[i], operand, sizeof(uint32_t) * (size_t)(nin + nout));
  x->c[i] = (kd_plan_call){ .op = op, .nin = (uint32_t)nin, .nout = (uint32_t)nout, .in = x->at[i], .out = x->at[i] + nin, .attr = attr };
  x->p.call = x->c;
  return i;
}
#define CALL(op, nin, nout, attr, ...) call(&x, op, nin, nout, (uint32_t[]){ __VA_ARGS__ }, attr)

static void costs(const trial *x, uint32_t i, double flops, double bytes) {
  kd__work w = kd__work_call(&x->p, i);
  if (w.flops != flops || w.bytes != bytes) fail_msg("call %u: %g operations and %g bytes, not %g and %g", i, w.flops, w.bytes, flops, bytes);
}

static void every_class(void **state) {
  (void)state;
  trial x = { 0 };
  uint32_t a = T(KD_F32, 0, 8, 3), b = T(KD_F32, 0, 3, 5), c = T(KD_F32, 0, 8, 5), row = T(KD_F32, 0, 8), mask = T(KD_BOOL, 0, 8, 5);
  costs(&x, CALL(KD_OP_MATMUL, 2, 1, NULL, a, b, c), 2 * 8 * 3 * 5, 4 * (24 + 15 + 40));
  costs(&x, CALL(KD_OP_ADD, 2, 1, NULL, c, c, c), 40, 4 * 120);
  costs(&x, CALL(KD_OP_LT, 2, 1, NULL, c, c, mask), 40, 4 * 80 + 40);
  costs(&x, CALL(KD_OP_SUM, 1, 1, NULL, c, row), 40, 4 * 48);
  costs(&x, CALL(KD_OP_SOFTMAX, 1, 1, NULL, c, c), 200, 4 * 80);
  costs(&x, CALL(KD_OP_COUNT, 1, 1, NULL, c, c), 0, 4 * 80);
  x.t[row].stride[0] = 0;                        /* one number that is repeated lies there once */
  costs(&x, CALL(KD_OP_CONST, 0, 1, NULL, row), 0, 4);
}

/* Images 2 of 3 channels 8 x 8, 4 filters 3 x 3, padded: each of the 2*4*64 results adds up 3*9 products. */
static void convolutions(void **state) {
  (void)state;
  trial x = { 0 };
  uint32_t img = T(KD_F32, 0, 2, 3, 8, 8), w = T(KD_F32, 0, 4, 3, 3, 3), out = T(KD_F32, 0, 2, 4, 8, 8), pooled = T(KD_F32, 0, 2, 4, 4, 4), place = T(KD_I64, 0, 2, 4, 4, 4);
  double bytes = 4.0 * (2 * 3 * 64 + 4 * 27 + 2 * 4 * 64), taps = 2 * 4 * 64 * 27;
  costs(&x, CALL(KD_OP_CONV, 2, 1, NULL, img, w, out), 2 * taps, bytes);
  costs(&x, CALL(KD_OP_CONV_DATA, 2, 1, NULL, out, w, img), 2 * taps, bytes);
  costs(&x, CALL(KD_OP_CONV_WEIGHT, 2, 1, NULL, img, out, w), 2 * taps, bytes);
  static const int64_t two[] = { 2, 2 };
  static const kd_attr window[4] = { { .kind = 'I', .n = 2, .u.list = two } };
  costs(&x, CALL(KD_OP_MAX_POOL, 1, 2, window, out, pooled, place), 2 * 4 * 16 * 4, 4 * 512 + 4 * 128 + 8 * 128);
}

static void rows(void **state) {
  (void)state;
  trial x = { 0 };
  uint32_t bank = T(KD_F32, 0, 1000, 16), index = T(KD_I64, 65536, 4), v = T(KD_F32, 131072, 4, 16);
  static const kd_attr batch[2] = { { .kind = 'i' }, { .kind = 'i' } };
  costs(&x, CALL(KD_OP_GATHER, 2, 1, batch, bank, index, v), 0, 8 * 4 + 2 * 4 * 64);           /* four rows, not the bank */
  costs(&x, CALL(KD_OP_SCATTER_ADD, 3, 1, batch, bank, index, v, bank), 0, 8 * 4 + 3 * 4 * 64);
}

/* y = sum over j of (a[i,j] + b[j]): an addition and a sum over 6 x 10. */
static void groups(void **state) {
  (void)state;
  trial x = { 0 };
  static const kd_group_ins ins[] = {
    { .kind = KD_GROUP_LOAD, .dtype = KD_F32, .operand = 0, .axes = 3 }, { .kind = KD_GROUP_LOAD, .dtype = KD_F32, .operand = 1, .axes = 2 },
    { .kind = KD_GROUP_ELEM, .dtype = KD_F32, .op = KD_OP_ADD, .in = { 0, 1 }, .axes = 3, .origin = 7 },
    { .kind = KD_GROUP_REDUCE, .dtype = KD_F32, .op = KD_OP_SUM, .in = { 2 }, .axes = 1, .over = 2, .origin = 8 },
    { .kind = KD_GROUP_STORE, .dtype = KD_F32, .in = { 3 }, .operand = 0, .axes = 1 } };
  static const int64_t stride[][KD_GROUP_AXES] = { { 10, 1 }, { 0, 1 }, { 1, 0 } };
  static const uint8_t dtype[] = { KD_F32, KD_F32, KD_F32 };
  static const kd_group g = { .rank = 2, .outer = 1, .size = { 6, 10 }, .ins = ins, .nins = 5, .nin = 2, .nout = 1, .stride = stride, .dtype = dtype };
  uint32_t a = T(KD_F32, 0, 6, 10), b = T(KD_F32, 0, 10), y = T(KD_F32, 0, 6), origin;
  uint32_t i = CALL(KD_OP_GROUP, 2, 1, NULL, a, b, y);
  x.c[i].group = &g;
  costs(&x, i, 60 + 60, 4 * (60 + 10 + 6));
  assert_int_equal(kd__work_instructions(&x.c[i]), 5);
  assert_true(kd__work_instruction(&x.c[i], 2, &origin).flops == 60 && origin == 7);
  assert_true(kd__work_instruction(&x.c[i], 3, &origin).flops == 60 && origin == 8);
}

/* Three arrays of 64 KiB in a row, over and over: each was touched 128 KiB ago, but for the one that is read again at once. */
static void reaches(void **state) {
  (void)state;
  trial x = { 0 };
  int64_t n = 16384, each = 4 * n;
  uint32_t a = T(KD_F32, 0, n), b = T(KD_F32, each, n), c = T(KD_F32, 2 * each, n);
  x.p.arena_size = 3 * each;
  CALL(KD_OP_NEG, 1, 1, NULL, a, b);
  CALL(KD_OP_NEG, 1, 1, NULL, b, c);
  kd__reached r[2];
  assert_true(kd__work_reach(&x.p, (double[]){ 100 << 10, 1 << 20 }, r));
  assert_true(r[0].bytes[KD__REACH_L3] == 2.0 * (double)each && r[0].bytes[KD__REACH_L2] == 0 && r[0].bytes[KD__REACH_MEMORY] == 0);
  assert_true(r[1].bytes[KD__REACH_L2] == (double)each && r[1].bytes[KD__REACH_L3] == (double)each);
  assert_true(kd__work_reach(&x.p, (double[]){ 1 << 10, 100 << 10 }, r));
  assert_true(r[0].bytes[KD__REACH_MEMORY] == 2.0 * (double)each && r[1].bytes[KD__REACH_L3] == (double)each);
}

/* b of 64 KiB and c of 128 KiB are there at once; then a's place is taken by d. */
static void held(void **state) {
  (void)state;
  trial x = { 0 };
  int64_t n = 16384, k = 4 * n;
  uint32_t a = T(KD_F32, 0, n), b = T(KD_F32, k, n), c = T(KD_F32, 2 * k, 2 * n), d = T(KD_F32, 0, n);
  x.p.arena_size = 4 * k;
  CALL(KD_OP_CONST, 0, 1, NULL, a);
  CALL(KD_OP_NEG, 1, 1, NULL, a, b);
  CALL(KD_OP_CONCAT, 2, 1, NULL, a, b, c);
  CALL(KD_OP_SUM, 1, 1, NULL, c, d);
  int64_t four[4];
  assert_int_equal(kd__work_held(&x.p, four), 4 * k);
  assert_int_equal(four[0], k), assert_int_equal(four[1], k), assert_int_equal(four[2], 2 * k), assert_int_equal(four[3], 0);
}

/* A row for each operator: one that was forgotten would cost nothing. */
static void all_operators(void **state) {
  (void)state;
  static const bool known[KD_OP_COUNT] = {
#define KD_WORK(OP, ...) [KD_OP_##OP] = true,
#include "runtime/cost/work.def"
#undef KD_WORK
  };
  for (int i = 0; i < KD_OP_COUNT; i++) if (!known[i]) fail_msg("work.def has no row for %s", kd__op_info((kd_op)i)->name);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(every_class), cmocka_unit_test(convolutions), cmocka_unit_test(rows), cmocka_unit_test(groups), cmocka_unit_test(reaches),
                                      cmocka_unit_test(held), cmocka_unit_test(all_operators) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
