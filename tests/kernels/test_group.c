/* test_group.c: the tile interpreter against the naive twin, on groups made at random and on some made by hand; what is a valid group; who may share
 * memory. `test_group SEED [COUNT]`: runs other groups than the usual ones. */
#include "tests/kernels/call.h"
#include "tests/kernels/group_list.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t first_seed = 1, count = 1500;

static void show(const t_group *o, const char *what, uint64_t seed, const char *kernel) {
  kd__buf b = { 0 };
  kd__group_print(&o->g, &b);
  for (uint32_t k = 0; k < o->g.nout; k++)
    if (o->shares[k] >= 0) kd__buf_printf(&b, "output %u shares input %d\n", k, o->shares[k]);
  print_error("group %llu, %s: %s\n%s\n", (unsigned long long)seed, kernel, what, b.p);
  kd__buf_free(&b);
}

/* 0 when the kernel agrees with the twin on 1 to 3 threads. */
static int check_group(const t_group *o, uint64_t seed, double tol) {
  t_memory want, first, again;
  kd_fault f = { 0 }, g = { 0 };
  t_memory_make(&want, o, seed), t_memory_make(&first, o, seed);
  const char *twin = t_group_run(o, &want, 1, true, &f), *name = t_group_run(o, &first, 1, false, &g), *wrong;
  wrong = strcmp(twin, "ref") || strcmp(name, "group.tile") ? name : t_memory_compare(&first, &want, o, tol);
  if (!*wrong && (f.set != g.set)) wrong = "another fault";
  for (int threads = 2; !*wrong && threads <= 3; threads++) {
    t_memory_make(&again, o, seed);
    t_group_run(o, &again, threads, false, &g);
    wrong = t_memory_compare(&again, &first, o, -1);
    t_memory_free(&again, o);
  }
  if (*wrong) show(o, wrong, seed, name);
  t_memory_free(&want, o), t_memory_free(&first, o);
  return *wrong != 0;
}

static void many(kd_dtype real, int64_t size, uint64_t n) {
  int wrong = 0;
  for (uint64_t seed = first_seed; seed < first_seed + n && wrong < 3; seed++) {
    static t_group o;
    char why[100] = "";
    uint64_t state = seed * 2654435761u + (uint64_t)size;
    t_group_random(&o, real, size, &state);
    if (!kd__group_valid(&o.g, why, sizeof why)) show(&o, why, seed, "generator"), wrong++;
    else wrong += check_group(&o, seed, real == KD_F32 ? 2e-5 : 1e-12);
  }
  assert_int_equal(wrong, 0);
}
static void test_small(void **state) { (void)state; many(KD_F32, 300, count); }
static void test_medium(void **state) { (void)state; many(KD_F32, 5000, count / 3); }
static void test_large(void **state) { (void)state; many(KD_F32, 150000, count / 20); }
static void test_double(void **state) { (void)state; many(KD_F64, 3000, count / 4); }

/* Groups of training, but for those with which the twin would take long. */
static void test_listed(void **state) {
  static t_group o;
  const char *name;
  int wrong = 0;
  (void)state;
  for (uint32_t i = 0; (name = t_group_listed(i, &o)) != NULL; i++) {
    char why[100] = "";
    if (!kd__group_valid(&o.g, why, sizeof why)) { show(&o, why, i, name), wrong++; continue; }
    int64_t points = 1;
    for (uint32_t a = 0; a < o.g.rank; a++) points *= o.g.size[a];
    if (points <= 600000) wrong += check_group(&o, i, 2e-5);
  }
  assert_int_equal(wrong, 0);
}

/* --- faults ------------------------------------------------------------------------------------------------------------------------------- */
static kd_fault fault_of(const t_group *o, uint32_t input, int64_t at, int64_t value, int threads, bool twin) {
  t_memory m;
  kd_fault f = { 0 };
  t_memory_make(&m, o, 3);
  ((int64_t *)m.in[input].data)[at] = value;
  t_group_run(o, &m, threads, twin, &f);
  t_memory_free(&m, o);
  return f;
}

/* An index outside of the table, a divisor of 0: what, how much, where, and by which instruction. */
static void test_faults(void **state) {
  static t_group o;
  (void)state;
  b_begin(&o, 3, (int64_t[]){ 40, 300, 64 }, 3);
  uint32_t index = b_index(&o, 3, 1000), row = b_gather(&o, KD_F32, index, 4, 1000);
  b_store(&o, b_reduce(&o, KD_OP_SUM, b_two(&o, KD_OP_MUL, row, b_load(&o, KD_F32, 5, NULL)), 4), -1, false);
  b_end(&o);
  for (int threads = 0; threads < 3; threads++) {
    kd_fault f = fault_of(&o, 0, 7654, threads == 1 ? -1 : 1000, threads ? threads : 1, threads == 0);
    assert_true(f.set && f.op == KD_OP_GATHER && f.limit == 1000 && f.position == 7654 && f.origin == 2 && f.value == (threads == 1 ? -1 : 1000));
    assert_false(fault_of(&o, 0, 7654, 999, threads ? threads : 1, threads == 0).set);
  }
  b_begin(&o, 2, (int64_t[]){ 50, 70 }, 3);
  uint32_t a = b_index(&o, 3, 100), b = b_load(&o, KD_I64, 1, NULL), one = b_const(&o, 1);
  o.ins[one].dtype = KD_I64;
  b_store(&o, b_two(&o, KD_OP_IDIV, a, b_two(&o, KD_OP_ADD, b_two(&o, KD_OP_MAX, b, one), b_two(&o, KD_OP_MIN, b, one))), -1, false);
  b_end(&o);
  for (int threads = 0; threads < 3; threads++) {
    kd_fault f = fault_of(&o, 1, 31, -1, threads ? threads : 1, threads == 0);        /* max(-1, 1) + min(-1, 1) = 0 */
    assert_true(f.set && f.op == KD_OP_IDIV && f.limit == 0 && f.position >= 31 * 70 && f.position < 32 * 70 && f.origin == 7);
  }
}

/* --- what is valid, and who may share ------------------------------------------------------------------------------------------------------ */
static t_group *one_group(uint32_t outer) {      /* row lengths: v0 load, v1 v0 * v0, v2 sum over 1, v3 sqrt, v4 v0 / v3, v5 store v4, shares v0 */
  static t_group o;
  b_begin(&o, 2, (int64_t[]){ 6, 5 }, outer);
  uint32_t x = b_load(&o, KD_F32, 3, NULL), n = b_one(&o, KD_OP_SQRT, b_reduce(&o, KD_OP_SUM, b_two(&o, KD_OP_MUL, x, x), 2));
  b_store(&o, b_two(&o, KD_OP_DIV, x, n), 0, false);
  b_end(&o);
  return &o;
}
static void refused(const t_group *o, const char *why) {
  char text[100] = "";
  assert_false(kd__group_valid(&o->g, text, sizeof text));
  if (!strstr(text, why)) fail_msg("'%s', not '%s'", text, why);
}
static void test_valid(void **state) {
  char why[100];
  (void)state;
  assert_true(kd__group_valid(&one_group(1)->g, why, sizeof why));
  refused(one_group(3), "instruction 3: a reduction over outer axes is read");
  t_group *o = one_group(1);
  o->ins[1].in[1] = 4, refused(o, "instruction 1: an operand that is no earlier value");
  o = one_group(1), o->ins[1].axes = 1, refused(o, "another domain");
  o = one_group(1), o->ins[3].dtype = KD_I64, refused(o, "element types");
  o = one_group(1), o->ins[2].over = 4, refused(o, "axes that do not fit");
  o = one_group(1), o->ins[2].op = KD_OP_LOGSUMEXP, refused(o, "not a reduction");
  o = one_group(1), o->ins[0].operand = 1, refused(o, "no such operand");
  o = one_group(1), o->dtype[0] = KD_F64, refused(o, "another element type");
  o = one_group(1), o->ins[0].axes = 1, refused(o, "strides along an axis");
  o = one_group(1), o->stride[1][0] = 0, refused(o, "elements stored twice");
  o = one_group(1), o->ins[5].in[0] = 1, refused(o, "not in the order of phases");
  o = one_group(1), o->g.nins = 5, refused(o, "an output that is not stored");
  o = one_group(1), o->g.size[0] = 0, refused(o, "a size below 1");
  o = one_group(1), o->g.size[0] = o->g.size[1] = INT64_C(1) << 40, refused(o, "too many points");
  o = one_group(1), o->ins[1].kind = 77, refused(o, "no such kind");
}

static void test_sharing(void **state) {
  (void)state;
  t_group *o = one_group(1);
  assert_true(kd__group_may_share(&o->g, 0, 0));
  o->stride[1][0]++;
  assert_false(kd__group_may_share(&o->g, 0, 0));            /* other strides */
  b_begin(o, 1, (int64_t[]){ 9 }, 1);                        /* p and m as in an update by momentum: m' is stored before p' is made of it */
  uint32_t p = b_load(o, KD_F32, 1, NULL), m = b_load(o, KD_F32, 1, NULL), m1 = b_two(o, KD_OP_ADD, m, p);
  b_store(o, m1, -1, false);
  b_store(o, b_two(o, KD_OP_SUB, p, m1), -1, false);
  b_end(o);
  assert_true(kd__group_may_share(&o->g, 1, 0) && kd__group_may_share(&o->g, 0, 1));
  assert_false(kd__group_may_share(&o->g, 0, 0));            /* p is read again */
  b_begin(o, 2, (int64_t[]){ 9, 4 }, 1);                     /* a value of an early phase is stored, and made again later */
  uint32_t x = b_load(o, KD_F32, 3, NULL), y = b_one(o, KD_OP_NEG, x), s = b_reduce(o, KD_OP_SUM, y, 2);
  b_store(o, y, -1, false);
  b_store(o, b_two(o, KD_OP_ADD, y, s), -1, false);
  b_end(o);
  assert_false(kd__group_may_share(&o->g, 0, 0));
  assert_true(kd__group_may_share(&o->g, 0, 1));
  b_begin(o, 2, (int64_t[]){ 9, 4 }, 1);                     /* a row's value is read at each of its points */
  uint32_t r = b_load(o, KD_F32, 1, NULL), z = b_two(o, KD_OP_MUL, r, b_load(o, KD_F32, 3, NULL));
  b_store(o, z, -1, false);
  b_store(o, b_one(o, KD_OP_NEG, r), -1, false);
  b_end(o);
  assert_false(kd__group_may_share(&o->g, 0, 1));
  assert_true(kd__group_may_share(&o->g, 1, 0));
}

static void test_text(void **state) {
  kd__buf b = { 0 };
  (void)state;
  kd__group_print(&one_group(1)->g, &b);
  assert_string_equal(b.p, "axes 6 x 5, outer 0\nv0 = load in0[5,1]: f32 by 0,1\nv1 = mul v0 v0: f32 by 0,1\nv2 = sum v1 over 1: f32 by 0\n"
                           "v3 = sqrt v2: f32 by 0\nv4 = div v0 v3: f32 by 0,1\nstore out0[5,1] v4: f32 by 0,1\n");
  kd__buf_free(&b);
  uint64_t h = kd__group_hash(&one_group(1)->g);
  t_group *o = one_group(1);
  assert_true(o->g.hash == h);
  o->ins[1].origin = 99;
  assert_true(kd__group_hash(&o->g) == h);
  o->stride[0][1] = 2;
  assert_true(kd__group_hash(&o->g) != h);
}

/* --- accuracy -------------------------------------------------------------------------------------------------------------------------------- */
/* Sums and moments of a million values around 1000: single precision alone would lose them. */
static void test_accuracy(void **state) {
  static t_group o;
  (void)state;
  for (int columns = 0; columns < 2; columns++)
    for (uint32_t outer = 0; outer < 4; outer += 3) {
      t_memory m, want;
      kd_fault f = { 0 };
      b_begin(&o, 2, columns ? (int64_t[]){ 100000, 10 } : (int64_t[]){ 10, 100000 }, outer);
      uint32_t x = b_two(&o, KD_OP_ADD, b_load(&o, KD_F32, 3, NULL), b_const(&o, 1000)), mean = b_reduce(&o, KD_OP_MOMENTS, x, columns ? 1 : 2);
      uint32_t spread = b_spread(&o, mean);
      b_store(&o, mean, -1, false);
      b_store(&o, spread, -1, false);
      b_store(&o, b_reduce(&o, KD_OP_SUM, x, 3), -1, false);
      b_store(&o, b_reduce(&o, KD_OP_SUM, b_two(&o, KD_OP_MUL, x, x), columns ? 1 : 2), -1, false);
      b_end(&o);
      t_memory_make(&m, &o, 9), t_memory_make(&want, &o, 9);
      t_group_run(&o, &want, 1, true, &f), t_group_run(&o, &m, 2, false, &f);
      assert_string_equal(t_memory_compare(&m, &want, &o, 4e-6), "");
      t_memory_free(&m, &o), t_memory_free(&want, &o);
    }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_small), cmocka_unit_test(test_medium), cmocka_unit_test(test_large), cmocka_unit_test(test_double), cmocka_unit_test(test_listed),
                                       cmocka_unit_test(test_faults), cmocka_unit_test(test_valid), cmocka_unit_test(test_sharing), cmocka_unit_test(test_text), cmocka_unit_test(test_accuracy) };
  if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
  if (argc > 2) count = strtoull(argv[2], NULL, 10);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
