/* test_ops.c: native code of every operator against its twin, ordinary and special values; the errors of special functions over all floats; faults. */
#include "tests/kernels/call.h"
#include "tests/kernels/group_build.h"
#include "runtime/kernels/jit_final.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *run(const t_group *o, t_memory *m, bool twin, kd_fault *fault) {
  kd_call c = { .op = KD_OP_GROUP, .nin = o->g.nin, .nout = o->g.nout, .in = m->in, .out = m->out, .group = &o->g };
  kd_kernel_settings set = { .threads = 1, .reference = twin, .jit = true };
  const kd_kernel *k = kd__kernel_find(&c, &set);
  if (k->prepare && k->prepare(&c, &set) != KD_OK) return "cannot be prepared";
  void *scratch = aligned_alloc(64, (k->scratch(&c, &set) + 127) / 64 * 64);
  k->run(&c, &(kd_exec){ .threads = 1, .scratch = scratch, .fault = fault });
  free(scratch);
  if (k->release && c.prepared) k->release(c.prepared);
  return k->name;
}

/* --- every operator ----------------------------------------------------------------------------------------------------------------------------- */
enum { N = 1003 };
static const double special[] = { NAN, INFINITY, -INFINITY, 0, -0.0, 1, -1, .5, 2, -2, 1e-42, -1e-42, 1e-30, 87.5, -87.5, 120, -120, 1e5, -3e5, 1e30, 3e38, 100.5, 255, 300 };
enum { SPECIAL = sizeof special / sizeof special[0] };

/* Operand k: so that with two operands every pair of special values comes up. */
static void fill(const kd_tensor *t, uint32_t k, uint64_t *state) {
  for (int64_t i = 0; i < N; i++) {
    double v = i < SPECIAL * SPECIAL ? special[k ? i / SPECIAL : i % SPECIAL] : 8 * t_uniform(state) - 4;
    int64_t w = i < 81 ? (k ? i / 9 : i % 9) - 4 : (int64_t)(t_random(state) >> 40) - (1 << 23);
    switch ((kd_dtype)t->dtype) {
      case KD_F32: ((float *)t->data)[i] = (float)v; break;
      case KD_F64: ((double *)t->data)[i] = v; break;
      case KD_I64: ((int64_t *)t->data)[i] = i == 90 ? INT64_MIN : w; break;
      case KD_BOOL: ((uint8_t *)t->data)[i] = (uint8_t)(t_random(state) >> 20 & 1); break;
      default: ((uint8_t *)t->data)[i] = (uint8_t)(t_random(state) >> 20);
    }
  }
}

static int differ(const t_group *o, const kd_tensor *got, const kd_tensor *want, double tol) {
  kd_tensor a = *got, b = *want;
  int64_t n = N, one = 1;
  a.dim = b.dim = &n, a.stride = b.stride = &one, a.rank = b.rank = 1;
  for (int64_t i = 0; i < N; i++) {
    double u = t_load(&a, i), v = t_load(&b, i);
    if (u == v || (u != u && v != v) || fabs(u - v) <= tol * fabs(v) || (fabs(v) < 1e-37 && fabs(u - v) < 3e-45)) continue;
    kd__buf text = { 0 };
    kd__group_print(&o->g, &text);
    print_error("element %lld is %.9g, not %.9g\n%s\n", (long long)i, u, v, text.p);
    kd__buf_free(&text);
    return 1;
  }
  return 0;
}

/* 1: wrong; -1: no such operator. */
static int check_elem(kd_op op, const kd_dtype *from, kd_dtype to) {
  static t_group o;
  char why[100];
  uint32_t in[3] = { 0 }, n = (uint32_t)kd__op_info(op)->nin;
  uint64_t state = 1;
  b_begin(&o, 1, (int64_t[]){ N }, 1);
  for (uint32_t k = 0; k < n; k++) in[k] = b_load(&o, from[k], 1, NULL);
  uint32_t r = op == KD_OP_CAST ? b_cast(&o, to, in[0]) : n == 1 ? b_one(&o, op, in[0]) : n == 2 ? b_two(&o, op, in[0], in[1]) : b_where(&o, in[0], in[1], in[2]);
  o.ins[r].dtype = (uint8_t)to;
  b_store(&o, r, -1, false);
  b_end(&o);
  if (!kd__group_valid(&o.g, why, sizeof why)) return -1;
  t_memory got, want;
  kd_fault f = { 0 }, g = { 0 };
  t_memory_make(&got, &o, 1), t_memory_make(&want, &o, 1);
  for (uint32_t k = 0; k < n; k++) fill(&got.in[k], k, &state), memcpy(want.in[k].data, got.in[k].data, N * kd__dtype_size(from[k]));
  const char *name = run(&o, &got, false, &f);
  run(&o, &want, true, &g);
  int wrong = strcmp(name, "group.jit") != 0 || f.set != g.set || f.value != g.value || f.position != g.position || f.op != g.op || differ(&o, &got.out[0], &want.out[0], to == KD_F32 ? 2.5e-7 : 1e-15);
  if (wrong) print_error("%s of %s gives %s: kernel %s, faults %d %d\n", kd__op_info(op)->name, kd__dtype_name(from[0]), kd__dtype_name(to), name, f.set, g.set);
  t_memory_free(&got, &o), t_memory_free(&want, &o);
  return wrong;
}

static void every_operator(void **state) {
  static const kd_dtype type[] = { KD_F32, KD_F64, KD_I64, KD_BOOL, KD_U8 };
  int wrong = 0, tried = 0;
  (void)state;
  for (kd_op op = 0; op < KD_OP_COUNT; op++) {
    if (kd__op_info(op)->cls != KD_CLASS_ELEM) continue;
    int here = 0;
    for (int a = 0; a < 5; a++)
      for (int to = 0; to < 5; to++) {
        kd_dtype from[3] = { type[a], type[a], type[a] };
        if (op == KD_OP_WHERE) from[0] = KD_BOOL;
        int r = check_elem(op, from, type[to]);
        here += r >= 0, wrong += r > 0;
      }
    if (!here) print_error("%s was not tried\n", kd__op_info(op)->name), wrong++;
    tried += here;
  }
  assert_int_equal(wrong, 0);
  assert_true(tried > 100);
}

/* --- accuracy: every 5003rd float, as tests/kernels/test_rules.c ---------------------------------------------------------------------------------- */
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double recip(double x) { return 1 / x; }
static double power(double x) { return pow(x, (double)1.7f); }

static double units(float v, double exact) {
  float near = (float)exact;
  if (v != v || exact != exact) return v != v && exact != exact ? 0 : INFINITY;
  if (isinf(near) || isinf(v)) return v == near || fabs(exact) > 3.40282e38 ? 0 : INFINITY;
  int e;
  frexp(exact, &e);
  return fabs((double)v - exact) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void accuracy(void **state) {
  enum { FLOATS = 858000 };
  static const struct { kd_op op; double (*exact)(double); double limit; } list[] = {
    { KD_OP_EXP, exp, 1.2 }, { KD_OP_EXPM1, expm1, 1.7 }, { KD_OP_LOG, log, 1 }, { KD_OP_LOG1P, log1p, 1 }, { KD_OP_TANH, tanh, 1.7 }, { KD_OP_SIGMOID, sigmoid, 2 },
    { KD_OP_SOFTPLUS, softplus, 2 }, { KD_OP_ERF, erf, 1.5 }, { KD_OP_SIN, sin, 1 }, { KD_OP_COS, cos, 1 }, { KD_OP_RSQRT, rsqrt, 1.6 }, { KD_OP_RECIP, recip, .51 },
    { KD_OP_SQRT, sqrt, .51 }, { KD_OP_POW, power, 1 } };
  int wrong = 0;
  (void)state;
  for (size_t f = 0; f < sizeof list / sizeof list[0]; f++) {
    static t_group o;
    b_begin(&o, 1, (int64_t[]){ FLOATS }, 1);
    uint32_t x = b_load(&o, KD_F32, 1, NULL);
    b_store(&o, list[f].op == KD_OP_POW ? b_two(&o, KD_OP_POW, x, b_const(&o, 1.7)) : b_one(&o, list[f].op, x), -1, false);
    b_end(&o);
    t_memory m;
    kd_fault fault = { 0 };
    double worst = 0, at = 0;
    t_memory_make(&m, &o, 1);
    for (uint32_t i = 0; i < FLOATS; i++) memcpy((float *)m.in[0].data + i, &(uint32_t){ i * 5003u }, sizeof(float));
    assert_string_equal(run(&o, &m, false, &fault), "group.jit");
    for (int64_t i = 0; i < FLOATS; i++) {
      double v = (double)((float *)m.in[0].data)[i], u = units(((float *)m.out[0].data)[i], list[f].exact(v));
      if (u > worst) worst = u, at = v;
    }
    if (getenv("KD_TEST_UNITS")) printf("%-9s %.2f units at %g\n", kd__op_info(list[f].op)->name, worst, at);
    if (worst > list[f].limit) print_error("%s is off by %.2f units in the last place at %.9g\n", kd__op_info(list[f].op)->name, worst, at), wrong++;
    t_memory_free(&m, &o);
  }
  assert_int_equal(wrong, 0);
}

/* --- faults --------------------------------------------------------------------------------------------------------------------------------------- */
/* One bad index among many: value, limit, position and origin are the twin's, in lanes and without. */
static void faults(void **state) {
  (void)state;
  for (int how = 0; how < 4; how++) {
    static t_group o;
    int64_t n = how & 1 ? 77 : 5, d = how & 1 ? 3 : 40;
    b_begin(&o, 2, (int64_t[]){ n, d }, 3);
    uint32_t index = b_index(&o, how & 2 ? 3 : 1, 9);
    b_store(&o, b_gather(&o, KD_F32, index, how & 2 ? 0 : 2, 9), -1, false);
    b_end(&o);
    kd_fault f[2] = { { 0 }, { 0 } };
    for (int twin = 0; twin < 2; twin++) {
      t_memory m;
      t_memory_make(&m, &o, 1);
      ((int64_t *)m.in[0].data)[n - 2] = -5 + 20 * (how & 1);
      run(&o, &m, twin == 1, &f[twin]);
      t_memory_free(&m, &o);
    }
    assert_true(f[0].set && f[1].set);
    assert_memory_equal(&f[0], &f[1], sizeof f[0]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(every_operator), cmocka_unit_test(accuracy), cmocka_unit_test(faults) };
  if (!kd__jit_there()) { fprintf(stderr, "%s\n", kd__jit_about()); return 1; }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
