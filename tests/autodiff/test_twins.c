/* test_twins.c: the corners of the operators' meaning on the naive twins: NaN, infinities, ties, bad indices, strides, random keys. */
#include "runtime/kernels/kernel.h"
#include "runtime/kernels/random.h"
#include <math.h>
#include <setjmp.h>
#include <cmocka.h>

/* Shapes of the tensors that a test makes. */
static struct { int64_t dim[4], stride[4]; } shapes[128];
static int made;
static kd_fault fault;
static int begin(void **state) { (void)state; made = 0; fault = (kd_fault){ 0 }; return 0; }

static kd_tensor tensor(kd_dtype t, void *data, int rank, int64_t d0, int64_t d1, int64_t d2) {
  int64_t dim[3] = { d0, d1, d2 }, n = 1;
  int id = made++;
  for (int i = rank - 1; i >= 0; i--) {
    shapes[id].dim[i] = dim[i];
    shapes[id].stride[i] = n;
    n *= dim[i];
  }
  return (kd_tensor){ .data = data, .dim = shapes[id].dim, .stride = shapes[id].stride, .dtype = (uint8_t)t, .rank = (uint8_t)rank };
}
static kd_tensor reals(double *v, int64_t n) { return tensor(KD_F64, v, 1, n, 0, 0); }
static kd_tensor ints(int64_t *v, int64_t n) { return tensor(KD_I64, v, 1, n, 0, 0); }

static void run(kd_op op, const kd_tensor *in, uint32_t nin, const kd_tensor *out, uint32_t nout, const kd_attr *attr) {
  kd_exec x = { .threads = 1, .fault = &fault };
  kd__ref_run(&(kd_call){ .op = op, .nin = nin, .nout = nout, .in = in, .out = out, .attr = attr }, &x);
}
static double binary(kd_op op, double a, double b) {
  double r = 99;
  run(op, (kd_tensor[]){ reals(&a, 1), reals(&b, 1) }, 2, (kd_tensor[]){ reals(&r, 1) }, 1, NULL);
  return r;
}
static double unary(kd_op op, double a) {
  double r = 99;
  run(op, (kd_tensor[]){ reals(&a, 1) }, 1, (kd_tensor[]){ reals(&r, 1) }, 1, NULL);
  return r;
}
static int64_t integers(kd_op op, int64_t a, int64_t b) {
  int64_t r = 99;
  run(op, (kd_tensor[]){ ints(&a, 1), ints(&b, 1) }, 2, (kd_tensor[]){ ints(&r, 1) }, 1, NULL);
  return r;
}
static const int64_t axis0[] = { 0 };
static const kd_attr over0 = { .kind = 'I', .n = 1, .u.list = axis0 };
static double reduced(kd_op op, double *v, int64_t n) {
  double r = 99;
  run(op, (kd_tensor[]){ reals(v, n) }, 1, (kd_tensor[]){ tensor(KD_F64, &r, 0, 0, 0, 0) }, 1, &over0);
  return r;
}
#define AI(v) { .kind = 'i', .u.i = v }

static void elements(void **state) {
  (void)state;
  assert_true(isnan(binary(KD_OP_MAX, NAN, 1)) && isnan(binary(KD_OP_MAX, 1, NAN)) && isnan(binary(KD_OP_MIN, 1, NAN)));
  assert_true(isnan(unary(KD_OP_RELU, NAN)) && isnan(unary(KD_OP_SIGN, NAN)));
  assert_true(unary(KD_OP_SIGN, -3) == -1 && unary(KD_OP_SIGN, 0) == 0);
  assert_true(binary(KD_OP_XLOGY, 0, 0) == 0 && binary(KD_OP_XLOGY, 0, NAN) == 0 && binary(KD_OP_XLOGY, 2, 1) == 0);
  assert_true(unary(KD_OP_SIGMOID, -1000) == 0 && unary(KD_OP_SIGMOID, 1000) == 1);
  assert_true(unary(KD_OP_SOFTPLUS, 1000) == 1000 && unary(KD_OP_SOFTPLUS, -1000) == 0 && isnan(unary(KD_OP_SOFTPLUS, NAN)));
  assert_true(unary(KD_OP_ROUND, 2.5) == 2 && unary(KD_OP_ROUND, 3.5) == 4);
  assert_true(binary(KD_OP_REM, -3, 5) == 2 && binary(KD_OP_REM, 3, -5) == -2);
}

static void whole_numbers(void **state) {
  (void)state;
  assert_true(integers(KD_OP_IDIV, -7, 2) == -4 && integers(KD_OP_IDIV, 7, -2) == -4 && integers(KD_OP_IDIV, -8, 2) == -4);
  assert_true(integers(KD_OP_REM, -7, 2) == 1 && integers(KD_OP_REM, 7, -2) == -1);
  assert_true(integers(KD_OP_IDIV, INT64_MIN, -1) == INT64_MIN && integers(KD_OP_REM, INT64_MIN, -1) == 0);
  assert_true(integers(KD_OP_ADD, INT64_MAX, 1) == INT64_MIN);
  assert_true(integers(KD_OP_MAX, INT64_MAX, INT64_MAX - 1) == INT64_MAX);             /* apart only beyond the reach of doubles */
  assert_false(fault.set);
  assert_true(integers(KD_OP_IDIV, 5, 0) == 0);
  assert_true(fault.set && fault.op == KD_OP_IDIV && fault.value == 5);
}

static void conversions(void **state) {
  (void)state;
  double v[] = { -2.7, 2.7, NAN, 1e30, 300 };
  int64_t i[5];
  uint8_t u[5], b[5];
  kd_attr none = { .kind = 't' };
  run(KD_OP_CAST, (kd_tensor[]){ reals(v, 5) }, 1, (kd_tensor[]){ ints(i, 5) }, 1, &none);
  assert_true(i[0] == -2 && i[1] == 2 && i[2] == 0 && i[3] == INT64_MAX && i[4] == 300);
  run(KD_OP_CAST, (kd_tensor[]){ reals(v, 5) }, 1, (kd_tensor[]){ tensor(KD_U8, u, 1, 5, 0, 0) }, 1, &none);
  assert_true(u[0] == 0 && u[1] == 2 && u[4] == 255);
  run(KD_OP_CAST, (kd_tensor[]){ reals(v, 5) }, 1, (kd_tensor[]){ tensor(KD_BOOL, b, 1, 5, 0, 0) }, 1, &none);
  assert_true(b[0] == 1 && b[2] == 1);
}

static void selection(void **state) {
  (void)state;
  uint8_t c[] = { 1, 0 };
  double a[] = { 1, NAN }, b[] = { NAN, 2 }, r[2];
  run(KD_OP_WHERE, (kd_tensor[]){ tensor(KD_BOOL, c, 1, 2, 0, 0), reals(a, 2), reals(b, 2) }, 3, (kd_tensor[]){ reals(r, 2) }, 1, NULL);
  assert_true(r[0] == 1 && r[1] == 2);
}

static void reductions(void **state) {
  (void)state;
  double v[] = { 1, NAN, 3, NAN }, low[] = { -INFINITY, -INFINITY }, big[] = { 1000, 1000 }, far[] = { 1e9 + 1, 1e9 + 2, 1e9 + 3 };
  assert_true(isnan(reduced(KD_OP_REDUCE_MAX, v, 4)) && isnan(reduced(KD_OP_REDUCE_MIN, v, 4)));
  assert_true(reduced(KD_OP_REDUCE_MAX, v, 0) == -INFINITY && reduced(KD_OP_SUM, v, 0) == 0);
  assert_true(reduced(KD_OP_LOGSUMEXP, low, 2) == -INFINITY && fabs(reduced(KD_OP_LOGSUMEXP, big, 2) - 1000 - log(2)) < 1e-12);
  int64_t at;
  run(KD_OP_ARGMAX, (kd_tensor[]){ reals(v, 4) }, 1, (kd_tensor[]){ tensor(KD_I64, &at, 0, 0, 0, 0) }, 1, &(kd_attr)AI(0));
  assert_int_equal(at, 1);
  run(KD_OP_ARGMIN, (kd_tensor[]){ reals(big, 2) }, 1, (kd_tensor[]){ tensor(KD_I64, &at, 0, 0, 0, 0) }, 1, &(kd_attr)AI(0));
  assert_int_equal(at, 0);
  double p[2], mean, var;
  run(KD_OP_SOFTMAX, (kd_tensor[]){ reals(big, 2) }, 1, (kd_tensor[]){ reals(p, 2) }, 1, &over0);
  assert_true(p[0] == 0.5 && p[1] == 0.5);
  run(KD_OP_SOFTMAX, (kd_tensor[]){ reals(low, 2) }, 1, (kd_tensor[]){ reals(p, 2) }, 1, &over0);
  assert_true(isnan(p[0]));
  run(KD_OP_MOMENTS, (kd_tensor[]){ reals(far, 3) }, 1, (kd_tensor[]){ tensor(KD_F64, &mean, 0, 0, 0, 0), tensor(KD_F64, &var, 0, 0, 0, 0) }, 2, &over0);
  assert_true(mean == 1e9 + 2 && fabs(var - 2.0 / 3) < 1e-12);
}

static void order(void **state) {
  (void)state;
  double v[] = { 2, NAN, 1, 2, 3 }, s[5];
  int64_t p[5];
  kd_attr up[] = { AI(0), AI(0) }, down[] = { AI(0), AI(1) }, top[] = { AI(0), AI(3) };
  run(KD_OP_SORT, (kd_tensor[]){ reals(v, 5) }, 1, (kd_tensor[]){ reals(s, 5), ints(p, 5) }, 2, up);
  assert_memory_equal(p, ((int64_t[]){ 2, 0, 3, 4, 1 }), sizeof p);
  run(KD_OP_SORT, (kd_tensor[]){ reals(v, 5) }, 1, (kd_tensor[]){ reals(s, 5), ints(p, 5) }, 2, down);
  assert_memory_equal(p, ((int64_t[]){ 4, 0, 3, 2, 1 }), sizeof p);
  assert_true(s[0] == 3 && s[1] == 2 && isnan(s[4]));
  run(KD_OP_TOP_K, (kd_tensor[]){ reals(v, 5) }, 1, (kd_tensor[]){ reals(s, 3), ints(p, 3) }, 2, top);
  assert_memory_equal(p, ((int64_t[]){ 1, 4, 0 }), 3 * sizeof *p);
}

static void indices(void **state) {
  (void)state;
  double table[] = { 1, 2, 3 }, r[4], sum[3], v[] = { 10, 20, 30, 40 };
  int64_t i[] = { 2, 3, -1, 0 };
  run(KD_OP_GATHER, (kd_tensor[]){ reals(table, 3), ints(i, 4) }, 2, (kd_tensor[]){ reals(r, 4) }, 1, &(kd_attr)AI(0));
  assert_true(r[0] == 3 && r[1] == 0 && r[2] == 0 && r[3] == 1);
  assert_true(fault.set && fault.op == KD_OP_GATHER && fault.value == 3 && fault.limit == 3 && fault.position == 1);
  fault = (kd_fault){ 0 };
  i[1] = 2;
  kd_attr skip[] = { AI(0), AI(1) }, strict[] = { AI(0), AI(0) };
  kd_tensor in[] = { reals(table, 3), ints(i, 4), reals(v, 4) }, out = reals(sum, 3);
  run(KD_OP_SCATTER_ADD, in, 3, &out, 1, skip);
  assert_true(sum[0] == 41 && sum[1] == 2 && sum[2] == 33 && !fault.set);
  run(KD_OP_SCATTER_SET, in, 3, &out, 1, skip);
  assert_true(sum[0] == 40 && sum[1] == 2 && sum[2] == 20 && !fault.set);
  run(KD_OP_SCATTER_ADD, in, 3, &out, 1, strict);
  assert_true(fault.set && fault.value == -1 && fault.position == 2);
  run(KD_OP_SCATTER_ADD, in, 3, &in[0], 1, skip);                      /* the result in the base's place */
  assert_true(table[0] == 41 && table[1] == 2 && table[2] == 33);
}

static void pools(void **state) {
  (void)state;
  double v[] = { -5, -5, -7, NAN, -1 }, top[3];
  int64_t at[3];
  static const int64_t three[] = { 3 }, two[] = { 2 }, one[] = { 1 };
  kd_attr attr[] = { { 'I', 1, { .list = three } }, { 'I', 1, { .list = two } }, { 'I', 1, { .list = one } }, { 'I', 1, { .list = one } } };
  run(KD_OP_MAX_POOL, (kd_tensor[]){ tensor(KD_F64, v, 3, 1, 1, 5) }, 1, (kd_tensor[]){ tensor(KD_F64, top, 3, 1, 1, 3), tensor(KD_I64, at, 3, 1, 1, 3) }, 2, attr);
  assert_true(top[0] == -5 && at[0] == 0 && isnan(top[1]) && at[1] == 3 && isnan(top[2]) && at[2] == 3);
}

static void strides(void **state) {
  (void)state;
  float store[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
  double r[2];
  int64_t dim[] = { 2, 3 }, stride[] = { -1, 3 };                       /* rows 1,4,7 and 0,3,6 */
  kd_tensor a = { .data = store + 1, .dim = dim, .stride = stride, .dtype = KD_F32, .rank = 2 };
  static const int64_t axis1[] = { 1 };
  kd_attr over = { .kind = 'I', .n = 1, .u.list = axis1 };
  run(KD_OP_SUM, &a, 1, (kd_tensor[]){ reals(r, 2) }, 1, &over);
  assert_true(r[0] == 12 && r[1] == 9);
}

static void draws(void **state) {
  (void)state;
  int64_t key = 42, sample[] = { 7, 3, 7 };
  double all[6], keyed[6], z[6];
  float f[6];
  kd_attr attr[] = { AI(5), { .kind = 't' }, { .kind = 'I' } };
  kd_tensor k = tensor(KD_I64, &key, 0, 0, 0, 0), s = ints(sample, 3);
  run(KD_OP_RANDOM_UNIFORM, &k, 1, (kd_tensor[]){ tensor(KD_F64, all, 2, 3, 2, 0) }, 1, attr);
  run(KD_OP_RANDOM_UNIFORM, &k, 1, (kd_tensor[]){ tensor(KD_F32, f, 2, 3, 2, 0) }, 1, attr);
  run(KD_OP_RANDOM_UNIFORM, (kd_tensor[]){ k, s }, 2, (kd_tensor[]){ tensor(KD_F64, keyed, 2, 3, 2, 0) }, 1, attr);
  run(KD_OP_RANDOM_NORMAL, (kd_tensor[]){ k, s }, 2, (kd_tensor[]){ tensor(KD_F64, z, 2, 3, 2, 0) }, 1, attr);
  uint64_t mixed = kd__random_key(42, 5);
  for (int i = 0; i < 6; i++) {
    assert_true(all[i] == kd__random_uniform_at(mixed, 0, (uint64_t)i) && all[i] >= 0 && all[i] < 1);
    assert_true((double)f[i] <= all[i] && all[i] - (double)f[i] < 0x1p-24);
    assert_true(z[i] == kd__random_normal_at(mixed, (uint64_t)sample[i / 2], (uint64_t)(i % 2)));
  }
  assert_memory_equal(keyed, keyed + 4, 2 * sizeof *keyed);            /* the same sample, wherever it stands */
  assert_true(keyed[0] != keyed[2]);
  double mean = 0, square = 0;
  for (uint64_t i = 0; i < 20000; i++) {
    double v = kd__random_normal_at(mixed, 1, i);
    mean += v / 20000, square += v * v / 20000;
    assert_true(kd__random_bits_at(mixed, 1, i) >= 0);
  }
  assert_true(fabs(mean) < 0.03 && fabs(square - 1) < 0.05);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup(f, begin)
  const struct CMUnitTest tests[] = {
    TEST(elements), TEST(whole_numbers), TEST(conversions), TEST(selection), TEST(reductions), TEST(order), TEST(indices), TEST(pools),
    TEST(strides), TEST(draws),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
