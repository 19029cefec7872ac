/* test_rules.c: what the kernels owe apart from ordinary values: NaN, infinities, ties, bad indices and divisors, copies between any two layouts,
 * and libraries that stay closed until a product needs them. Each row of rules.def goes to the fast kernel and to the twin. */
#include "runtime/kernels/extreme.h"
#include "runtime/kernels/libs.h"
#include "tests/kernels/call.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define INF INFINITY
enum { MOST = 12 };
typedef struct rule { const char *op, *in, *out, *attrs; double a[MOST], b[MOST], c[MOST], want[MOST], also[MOST]; } rule;

static void set(t_tensor *t, const double *v) {
  for (int64_t k = 0; k < t_count(&t->t); k++)
    switch ((kd_dtype)t->t.dtype) {
      case KD_F32: ((float *)t->t.data)[k] = (float)v[k]; break;
      case KD_F64: ((double *)t->t.data)[k] = v[k]; break;
      case KD_I64: ((int64_t *)t->t.data)[k] = (int64_t)v[k]; break;
      default: ((uint8_t *)t->t.data)[k] = (uint8_t)v[k];
    }
}
static bool same(const t_tensor *t, const double *want, double tol) {
  for (int64_t k = 0; k < t_count(&t->t); k++) {
    double v = t_load(&t->t, k), w = want[k];
    if (!(v == w || (v != v && w != w) || fabs(v - w) <= tol * fabs(w))) { print_error("element %lld is %g, not %g: ", (long long)k, v, w); return false; }
  }
  return true;
}

static int check_rule(const rule *r, bool twin) {
  t_case c;
  t_tensor in[T_MAX], out[T_MAX];
  const double *from[3] = { r->a, r->b, r->c }, *to[2] = { r->want, r->also };
  uint64_t state = 1;
  if (!t_parse(&c, r->op, r->in, r->out, r->attrs)) fail_msg("mistake in rule %s %s %s", r->op, r->in, r->attrs);
  for (uint32_t i = 0; i < c.nin; i++) t_make(&in[i], &c.in[i], T_DENSE, true, &state), set(&in[i], from[i]);
  for (uint32_t i = 0; i < c.nout; i++) t_make(&out[i], &c.out[i], T_DENSE, false, &state);
  const char *name = t_run(&c, in, out, (t_settings){ .threads = 1, .dnnl = true }, twin);
  int wrong = strcmp(name, "ref") == 0 && !twin;
  for (uint32_t i = 0; i < c.nout; i++) wrong += !same(&out[i], to[i], kd__dtype_real((kd_dtype)c.out[i].dtype) ? 1e-6 : 0);
  if (wrong) print_error("%s %s, kernel %s\n", r->op, r->in, name);
  for (uint32_t i = 0; i < c.nin; i++) t_free(&in[i]);
  for (uint32_t i = 0; i < c.nout; i++) t_free(&out[i]);
  return wrong;
}

static void corners(void **state) {
  static const rule list[] = {
#define V(...) { __VA_ARGS__ }
#define RULE(op, in, out, attrs, a, b, c, want, also) { op, in, out, attrs, a, b, c, want, also },
#include "tests/kernels/rules.def"
#undef RULE
  };
  int wrong = 0;
  (void)state;
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) wrong += check_rule(&list[i], false) + check_rule(&list[i], true);
  assert_int_equal(wrong, 0);
}

/* --- faults ------------------------------------------------------------------------------------------------------------------------- */
static kd_fault fault_of(const char *op, const char *in, const char *out, const char *attrs, const double *a, const double *b, const double *v, int threads) {
  t_case c;
  t_tensor in_[T_MAX], out_[T_MAX];
  kd_tensor operand[T_MAX], result[T_MAX];
  const double *from[3] = { a, b, v };
  uint64_t state = 1;
  kd_fault fault = { 0 };
  kd_exec x = { .threads = threads, .fault = &fault };
  kd_kernel_settings set_ = { .threads = threads, .use_dnnl = true };
  assert_true(t_parse(&c, op, in, out, attrs));
  for (uint32_t i = 0; i < c.nin; i++) {
    t_make(&in_[i], &c.in[i], T_DENSE, true, &state);
    memset(in_[i].whole, 0, in_[i].size);
    if (t_count(&in_[i].t) <= MOST) set(&in_[i], from[i]);
    operand[i] = in_[i].t;
  }
  for (uint32_t i = 0; i < c.nout; i++) t_make(&out_[i], &c.out[i], T_DENSE, false, &state), result[i] = out_[i].t;
  if (c.nin > 1 && t_count(&in_[1].t) > MOST) ((int64_t *)in_[1].t.data)[t_count(&in_[1].t) - 2] = (int64_t)b[0];
  kd_call call = { .op = c.op, .nin = c.nin, .nout = c.nout, .in = operand, .out = result, .attr = c.attr };
  const kd_kernel *k = kd__kernel_find(&call, &set_);
  size_t scratch = k->scratch ? k->scratch(&call, &set_) : 0;
  if (scratch > 0) assert_non_null(x.scratch = malloc(scratch));
  k->run(&call, &x);
  free(x.scratch);
  for (uint32_t i = 0; i < c.nin; i++) t_free(&in_[i]);
  for (uint32_t i = 0; i < c.nout; i++) t_free(&out_[i]);
  return fault;
}
static void faults(void **state) {
  (void)state;
  double a[MOST] = { 1, 2, 3 }, b[MOST] = { 0, 3, 1 }, skip[MOST] = { 0, -1, 1 }, minus[MOST] = { 0, -2, 1 }, far[MOST] = { 900 }, beyond[MOST] = { 0, 9e18 };
  kd_fault f = fault_of("gather", "f32[3] i64[3]", "f32[3]", "batch=0", a, b, NULL, 1);
  assert_true(f.set && f.op == KD_OP_GATHER && f.value == 3 && f.limit == 3 && f.position == 1);
  f = fault_of("gather", "f32[3] i64[3]", "f32[3]", "batch=0", a, skip, NULL, 1);
  assert_true(f.set && f.value == -1);
  f = fault_of("scatter_add", "f32[3] i64[3] f32[3]", "f32[3]", "batch=0 skip=0", a, skip, a, 1);
  assert_true(f.set && f.op == KD_OP_SCATTER_ADD && f.value == -1 && f.position == 1);
  f = fault_of("scatter_add", "f32[3] i64[3] f32[3]", "f32[3]", "batch=0 skip=1", a, skip, a, 1);
  assert_false(f.set);
  f = fault_of("scatter_set", "f32[3] i64[3] f32[3]", "f32[3]", "batch=0 skip=1", a, minus, a, 1);
  assert_true(f.set && f.op == KD_OP_SCATTER_SET && f.value == -2);
  f = fault_of("gather", "f32[3,2] i64[40000]", "f32[40000,2]", "batch=0", a, far, NULL, 2);
  assert_true(f.set && f.value == 900 && f.position == 39998);
  f = fault_of("gather", "f32[3,2] i64[2]", "f32[2,2]", "batch=0", a, beyond, NULL, 1);
  assert_true(f.set && f.value == 9000000000000000000 && f.position == 1);
  f = fault_of("index_order", "i64[1,3]", "i64[1,3] i64[1,2]", "rows=3 part=4 blocks=1", b, NULL, NULL, 1);
  assert_true(f.set && f.op == KD_OP_GATHER && f.value == 3 && f.limit == 3 && f.position == 1);
  f = fault_of("index_order", "i64[3,1]", "i64[3,1] i64[3,4]", "rows=3 part=1 blocks=3", skip, NULL, NULL, 1);
  assert_true(f.set && f.op == KD_OP_GATHER && f.value == -1 && f.limit == 3 && f.position == 1);
  f = fault_of("idiv", "i64[3] i64[3]", "i64[3]", "", a, b, NULL, 1);
  assert_true(f.set && f.op == KD_OP_IDIV && f.value == 1);
  f = fault_of("rem", "i64[3] i64[3]", "i64[3]", "", b, a, NULL, 1);
  assert_false(f.set);
}

__extension__ typedef __int128 wide;
/* Whole numbers of any size by one divisor: multiplied by its reciprocal, corrected twice. */
static void one_divisor(void **state) {
  static const int64_t by[] = { 2, 3, 7, 10, 50000, 65536, 1000003, (int64_t)1 << 40, ((int64_t)1 << 61) - 1, (int64_t)1 << 61, INT64_MAX, 1, -1, -7, INT64_MIN };
  enum { N = 700 };
  static int64_t x[N], q[N];
  const int64_t dim[1] = { N }, along[1] = { 1 }, none[1] = { 0 };
  uint64_t seed = 5;
  (void)state;
  for (size_t k = 0; k < sizeof by / sizeof by[0]; k++) {
    int64_t d = by[k];
    for (int i = 0; i < N; i++) {
      x[i] = (int64_t)(t_random(&seed) >> (i % 3 ? i % 64 : 0));
      if (i % 3 == 1) x[i] = -x[i];
      if (i % 5 == 0) x[i] = (int64_t)((uint64_t)(x[i] / (d == -1 ? 1 : d)) * (uint64_t)d - (uint64_t)(i % 2));          /* multiples, and just below */
    }
    x[0] = INT64_MAX, x[1] = INT64_MIN, x[2] = 0, x[3] = -1;
    for (int op = 0; op < 2; op++) {
      kd_tensor in[2] = { { x, dim, along, KD_I64, 1 }, { &d, dim, none, KD_I64, 1 } }, out = { q, dim, along, KD_I64, 1 };
      kd_call c = { .op = op ? KD_OP_REM : KD_OP_IDIV, .nin = 2, .nout = 1, .in = in, .out = &out };
      kd__kernel_find(&c, &(kd_kernel_settings){ .threads = 1 })->run(&c, &(kd_exec){ .threads = 1 });
      for (int i = 0; i < N; i++) {
        wide low = (wide)x[i] / d - ((wide)x[i] % d != 0 && (x[i] < 0) != (d < 0)), want = op ? (wide)x[i] - low * d : low;
        if (q[i] != (int64_t)want) fail_msg("%s of %lld by %lld is %lld", op ? "rem" : "idiv", (long long)x[i], (long long)d, (long long)q[i]);
      }
    }
  }
}

/* --- copies --------------------------------------------------------------------------------------------------------------------------- */
static void copy_between(const char *type, t_layout from, t_layout to, int threads, uint64_t *state) {
  t_case c;
  t_tensor a, b;
  char in[64];
  snprintf(in, sizeof in, "%s %s", type, type);
  assert_true(t_parse(&c, "add", in, type, ""));
  t_make(&a, &c.in[0], from, true, state);
  t_fill(&a, &c, 0, true, state);
  t_make(&b, &c.in[0], to, false, state);
  kd_exec x = { .threads = threads };
  kd__copy_strided(&a.t, &b.t, &x);
  const char *wrong = t_compare(&b, &a, 0);
  if (*wrong || !t_untouched(&b)) fail_msg("copy of %s from layout %d to %d on %d thread(s): %s", type, from, to, threads, *wrong ? wrong : "wrote outside");
  t_free(&a);
  t_free(&b);
}
static void copies(void **state) {
  static const char *const types[] = { "f32[]", "f32[7]", "u8[5,0,3]", "f32[40,50]", "f64[3,17,9,9]", "u8[5,33,18,16]", "f32[4,16,28,28]", "bool[2,3,4,5,3,2]", "f32[1,70,1,90]" };
  uint64_t random = 3;
  (void)state;
  for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
    for (int from = 0; from < T_LAYOUTS; from++)
      for (int to = 0; to <= T_RANDOM; to++)
        for (int turn = 0; turn < (from == T_RANDOM || to == T_RANDOM ? 6 : 2); turn++) copy_between(types[k], (t_layout)from, (t_layout)to, 1 + turn % 2, &random);
}

/* --- accuracy of the special functions ------------------------------------------------------------------------------------------------ */
/* Every 5003rd float, NaN and infinities among them: the largest error in units of the last place of the exact result. */
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double recip(double x) { return 1 / x; }

static double units(float v, double exact) {
  float near = (float)exact;
  if (v != v || exact != exact) return v != v && exact != exact ? 0 : INF;
  if (isinf(near) || isinf(v)) return v == near || fabs(exact) > 3.40282e38 ? 0 : INF;
  int e;
  frexp(exact, &e);
  return fabs((double)v - exact) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void accuracy(void **state) {
  static const struct { const char *op; double (*exact)(double); double limit; } list[] = {
    { "exp", exp, 1.2 }, { "expm1", expm1, 1.7 }, { "log", log, 1 }, { "log1p", log1p, 1 }, { "tanh", tanh, 1.7 }, { "sigmoid", sigmoid, 2.5 },
    { "softplus", softplus, 2 }, { "erf", erf, 1.3 }, { "sin", sin, 1 }, { "cos", cos, 1 }, { "rsqrt", rsqrt, 1.6 }, { "recip", recip, .51 }, { "sqrt", sqrt, .51 },
  };
  enum { N = 858000 };
  (void)state;
  for (size_t f = 0; f < sizeof list / sizeof list[0]; f++) {
    t_case c;
    t_tensor in, out;
    uint64_t random = 1;
    double worst = 0;
    float at = 0;
    assert_true(t_parse(&c, list[f].op, "f32[858000]", "f32[858000]", ""));
    t_make(&in, &c.in[0], T_DENSE, true, &random);
    t_make(&out, &c.out[0], T_DENSE, false, &random);
    for (uint32_t i = 0; i < N; i++) memcpy((float *)in.t.data + i, &(uint32_t){ i * 5003u }, sizeof(float));
    t_run(&c, &in, &out, (t_settings){ .threads = 1, .deterministic = true }, false);
    for (int64_t i = 0; i < N; i++) {
      float x = ((float *)in.t.data)[i];
      double u = units(((float *)out.t.data)[i], list[f].exact((double)x));
      if (u > worst) worst = u, at = x;
    }
    if (getenv("KD_TEST_UNITS")) printf("%-9s %.2f units at %g\n", list[f].op, worst, (double)at);
    if (worst > list[f].limit) fail_msg("%s is off by %.2f units in the last place at %.9g", list[f].op, worst, (double)at);
    t_free(&in);
    t_free(&out);
  }
}

static bool is_long(const char *op, const char *in, const char *out) {
  t_case c;
  t_tensor t[T_MAX];
  kd_tensor operand[T_MAX];
  uint64_t random = 1;
  assert_true(t_parse(&c, op, in, out, ""));
  for (uint32_t i = 0; i <= c.nin; i++) t_make(&t[i], i < c.nin ? &c.in[i] : &c.out[0], T_DENSE, false, &random), operand[i] = t[i].t;
  bool long_one = kd__call_long(&(kd_call){ .op = c.op, .nin = c.nin, .nout = 1, .in = operand, .out = operand + c.nin, .attr = c.attr });
  for (uint32_t i = 0; i <= c.nin; i++) t_free(&t[i]);
  return long_one;
}
static void worth_a_team(void **state) {
  (void)state;
  assert_false(is_long("add", "f32[100,100] f32[100,100]", "f32[100,100]"));
  assert_true(is_long("add", "f32[300,300] f32[300,300]", "f32[300,300]"));
  assert_false(is_long("matmul", "f32[64,64] f32[64,10]", "f32[64,10]"));
  assert_true(is_long("matmul", "f32[128,64] f32[64,100]", "f32[128,100]"));
}

/* Of runs of any length, with NaN, infinities and zeros at any place. */
static void extremes(void **state) {
  float run[180];
  uint64_t random = 7;
  (void)state;
  for (int64_t n = 1; n <= 180; n++)
    for (int64_t at = -1; at < n; at++)
      for (int what = 0; what < (at < 0 ? 1 : 3); what++) {
        float least = INF, most = -INF;
        for (int64_t i = 0; i < n; i++) run[i] = (float)(t_uniform(&random) - 0.5), least = fminf(least, run[i]), most = fmaxf(most, run[i]);
        if (at >= 0) run[at] = what == 0 ? NAN : what == 1 ? INF : -INF;
        float high = kd__max_run(run, n), low = kd__min_run(run, n);
        if (at >= 0 && what == 0) { assert_true(high != high && low != low); continue; }
        if (at < 0) assert_true(high == most && low == least);
        else assert_true(what == 1 ? high == INF : low == -INF);
        if (at >= 0 && n > 1) assert_true(what == 1 ? isfinite(low) : isfinite(high));
      }
  run[0] = 0.0f, run[1] = -0.0f;
  assert_true(kd__max_run(run, 2) == 0 && kd__min_run(run, 2) == 0);
}

/* --- packed copies -------------------------------------------------------------------------------------------------------------------- */
/* Each kernel that keeps a packed copy of a frozen operand: it works with the copy while the count stays, and renews it when that changes. */
static int kept_copies(const char *op, const char *in, const char *out, const char *attrs, int which) {
  t_case c;
  t_tensor from[T_MAX], now[1], before[1];
  kd_tensor ti[T_MAX];
  uint64_t state = 5, count = 3;
  const uint64_t *version[T_MAX] = { NULL };
  int found = 0;
  assert_true(t_parse(&c, op, in, out, attrs));
  kd_kernel_settings set_ = { .threads = 2, .use_dnnl = true, .winograd = KD_WINOGRAD_ON };
  version[which] = &count;
  for (int i = 0;; i++) {
    for (uint32_t k = 0; k < c.nin; k++) t_make(&from[k], &c.in[k], T_NHWC, false, &state), t_fill(&from[k], &c, k, false, &state), ti[k] = from[k].t;
    t_make(now, &c.out[0], T_NHWC, false, &state), t_make(before, &c.out[0], T_NHWC, false, &state);
    kd_call call = { .op = c.op, .nin = c.nin, .nout = 1, .in = ti, .out = &now->t, .attr = c.attr, .version = version };
    const kd_kernel *k = kd__kernel_nth(&call, &set_, i);
    if (k && (!k->prepare || k->prepare(&call, &set_) == KD_OK)) {
      kd_exec x = { .threads = 2, .scratch = aligned_alloc(64, (k->scratch ? k->scratch(&call, &set_) : 0) / 64 * 64 + 128) };
      k->run(&call, &x);
      memcpy(before->whole, now->whole, now->size);
      for (int64_t e = 0; e < t_count(&from[which].t); e++) ((float *)from[which].t.data)[e] *= 2;       /* dense, in some order */
      k->run(&call, &x);
      assert_true(t_same_bits(now, before) == (call.kept > 0));
      count++;
      k->run(&call, &x);
      if (call.kept) {
        float *a = (float *)before->t.data, *b = (float *)now->t.data;
        for (int64_t e = 0; e < t_count(&now->t); e++) assert_true(b[e] == 2 * a[e]);
      }
      found += call.kept > 0;
      if (k->release) k->release(call.prepared);
      free(x.scratch);
    }
    for (uint32_t q = 0; q < c.nin; q++) t_free(&from[q]);
    t_free(now), t_free(before);
    if (!k) return found;
  }
}
static void copies_are_renewed(void **state) {
  (void)state;
  int dnnl = kd__dnnl_there();
  const char *same = "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1";
  assert_int_equal(kept_copies("conv", "f32[4,16,8,8] f32[32,16,3,3]", "f32[4,32,8,8]", same, 1), 1 + dnnl);
  assert_int_equal(kept_copies("conv_post", "f32[4,16,8,8] f32[32,16,3,3]", "f32[4,32,8,8]", "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1 bias=0 relu=1", 1), 1 + dnnl);
  assert_int_equal(kept_copies("conv_data", "f32[4,32,8,8] f32[32,16,3,3]", "f32[4,16,8,8]", "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1 size=8,8", 1), 1 + dnnl);
  assert_int_equal(kept_copies("matmul", "f32[128,96] f32[96,80]", "f32[128,80]", "", 1), 1);
  assert_int_equal(kept_copies("matmul", "f32[96,96] f32[96,128]", "f32[96,128]", "", 0), 0);
}

/* --- libraries -------------------------------------------------------------------------------------------------------------------------- */
static bool loaded(const char *name) {
  char line[512];
  bool found = false;
  FILE *f = fopen("/proc/self/maps", "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) found = found || strstr(line, name);
  fclose(f);
  return found;
}
static void libraries(void **state) {
  (void)state;
  char why[200];
  assert_false(loaded("openblas") || loaded("libdnnl"));         /* after everything above */
  assert_int_equal(kd__kernel_check(why, sizeof why), KD_OK);
  assert_string_equal(why, "");
  assert_true(loaded("openblas") || loaded("libdnnl"));
  kd__buf b = { 0 };
  kd__kernel_libraries(&b);
  assert_non_null(strstr(b.p, loaded("openblas") ? "OpenBLAS " : "oneDNN "));
  kd__buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(corners), cmocka_unit_test(faults), cmocka_unit_test(one_divisor), cmocka_unit_test(copies), cmocka_unit_test(accuracy), cmocka_unit_test(worth_a_team), cmocka_unit_test(extremes),
                                       cmocka_unit_test(libraries), cmocka_unit_test(copies_are_renewed) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
