/* test_kernels.c: every row of ops.def: the kernel that the table chooses against the naive twin, in many shapes and layouts, on one and two
 * threads, with and without oneDNN; the same bits on any number of threads when deterministic. A row without a case fails. */
#include "tests/kernels/call.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static int cases_of[KD_OP_COUNT], fast_cases_of[KD_OP_COUNT];
static int failures, told;                       /* told: how often the present case has complained */

static void complain(const t_case *c, const char *what, const char *kernel, int layout, t_settings s) {
  char text[512];
  failures++;
  if (told++) return;                            /* one message a case */
  int n = snprintf(text, sizeof text, "%s", kd__op_info(c->op)->name);
  for (uint32_t i = 0; i < c->nin + c->nout; i++) {
    const kd_type *t = i < c->nin ? &c->in[i] : &c->out[i - c->nin];
    n += snprintf(text + n, sizeof text - (size_t)n, " %s[", kd__dtype_name((kd_dtype)t->dtype));
    for (int d = 0; d < t->rank; d++) n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", d ? "," : "", (long long)t->dim[d]);
    n += snprintf(text + n, sizeof text - (size_t)n, "]");
  }
  print_error("%s: layout %d, %d thread(s), deterministic %d, dnnl %d, winograd %d, kernel %s: %s\n", text, layout, s.threads, s.deterministic, s.dnnl, s.winograd, kernel, what);
}

/* Without an order that is fixed, the same threads still give the same bits again; with it any number of threads does. */
#define TEAMS(dnnl, winograd) { 1, false, dnnl, winograd }, { 2, false, dnnl, winograd }, { 2, false, dnnl, winograd }, \
                              { 1, true, dnnl, winograd }, { 2, true, dnnl, winograd }, { 3, true, dnnl, winograd }
static const t_settings settings[] = { TEAMS(false, false), TEAMS(true, false), TEAMS(false, true) };
enum { WITHOUT_DNNL = 6, WITHOUT_WINOGRAD = 12, ALL_SETTINGS = 18 };
static bool same_promised(t_settings a, t_settings b) {
  return a.dnnl == b.dnnl && a.winograd == b.winograd && a.deterministic == b.deterministic && (a.deterministic || a.threads == b.threads);
}

static void check_result(const t_case *c, const t_tensor *out, const t_tensor *want, double tol, const t_tensor *before, const char *name, int layout, t_settings s) {
  const char *wrong = t_compare(out, want, tol);
  if (*wrong) complain(c, wrong, name, layout, s);
  if (!t_untouched(out)) complain(c, "wrote outside of its result", name, layout, s);
  if (before && !t_same_bits(out, before)) complain(c, s.deterministic ? "another number of threads gives other bits" : "another run gives other bits", name, layout, s);
}

/* One case in one layout: the twin once, the kernel under all settings. */
static void check_layout(const t_case *c, t_layout layout, bool special, double tol, uint64_t *state) {
  t_tensor in[T_MAX], want[T_MAX], out[T_MAX], first[T_MAX];
  for (uint32_t i = 0; i < c->nin; i++) t_make(&in[i], &c->in[i], layout, true, state), t_fill(&in[i], c, i, special, state);
  for (uint32_t i = 0; i < c->nout; i++) t_make(&want[i], &c->out[i], T_DENSE, false, state);
  t_run(c, in, want, settings[0], true);
  uint64_t shape = *state;
  int n = kd__op_info(c->op)->cls != KD_CLASS_CONTRACT ? WITHOUT_DNNL : c->op == KD_OP_MATMUL ? WITHOUT_WINOGRAD : ALL_SETTINGS;
  for (int v = 0; v < n; v++) {
    bool again = v > 0 && same_promised(settings[v], settings[v - 1]);
    *state = shape;                              /* the same layout of results each time */
    for (uint32_t i = 0; i < c->nout; i++) t_make(&out[i], &c->out[i], layout, false, state);
    const char *name = t_run(c, in, out, settings[v], false);
    if (strstr(name, " ")) complain(c, name, name, layout, settings[v]);
    if (strcmp(name, "ref") != 0) fast_cases_of[c->op]++;
    for (uint32_t i = 0; i < c->nout; i++) {
      check_result(c, &out[i], &want[i], tol, again ? &first[i] : NULL, name, layout, settings[v]);
      if (again) t_free(&out[i]);
      else {
        if (v > 0) t_free(&first[i]);
        first[i] = out[i];
      }
    }
  }
  for (uint32_t i = 0; i < c->nin; i++) t_free(&in[i]);
  for (uint32_t i = 0; i < c->nout; i++) t_free(&want[i]), t_free(&first[i]);
}

static void check(const t_case *c, bool special, double tol) {
  uint64_t state = 17 + (uint64_t)c->op;
  cases_of[c->op]++;
  told = 0;
  int turns = kd__type_count(&c->out[0]) > 10000 ? 1 : 3;       /* the twins are slow */
  for (int layout = 0; layout < T_LAYOUTS; layout++)
    for (int turn = 0; turn < (layout >= T_RANDOM ? turns : 1); turn++) check_layout(c, (t_layout)layout, special, tol, &state);
}

/* --- element-wise rows: made from the shape rule's name in ops.def ----------------------------------------------------------------- */
static double elem_tolerance(kd_op op) {
  switch (op) {
    case KD_OP_EXP: case KD_OP_LOG: case KD_OP_TANH: case KD_OP_SIGMOID: case KD_OP_EXPM1: case KD_OP_LOG1P: case KD_OP_ERF: case KD_OP_XLOGY:
    case KD_OP_SOFTPLUS: case KD_OP_SIN: case KD_OP_COS: case KD_OP_POW: case KD_OP_RSQRT: return -3.0e-7;
    case KD_OP_SQRT: case KD_OP_RECIP: case KD_OP_DIV: case KD_OP_REM: return -1.2e-7;
    default: return 0;
  }
}
static void elem_case(kd_op op, const char *shape, const kd_dtype *in, kd_dtype out, bool special) {
  t_case c;
  char types[160] = "", result[64];
  int n = 0, nin = kd__op_info(op)->nin;
  for (int i = 0; i < nin; i++) n += snprintf(types + n, sizeof types - (size_t)n, "%s[%s]%s", kd__dtype_name(in[i]), shape, i + 1 < nin ? " " : "");
  snprintf(result, sizeof result, "%s[%s]", kd__dtype_name(out), shape);
  assert_true(t_parse(&c, kd__op_info(op)->name, types, result, ""));
  check(&c, special, elem_tolerance(op));
}
static bool member(const char *rule, const char *list) { return strstr(list, rule) != NULL; }
static void elem_row(kd_op op, const char *rule) {
  static const char *const shapes[] = { "", "1", "7", "0,3", "3,5", "1000", "4,1,33", "600,5", "5,600", "2,3,4,5,3,2", "17,3,24,33", "33000" };
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
    for (kd_dtype t = 0; t < KD_DTYPE_COUNT; t++) {
      bool real = kd__dtype_real(t), special = k % 2 == 1;
      kd_dtype in[3] = { t, t, t };
      if (k >= 10 && t != KD_F32 && t != KD_BOOL) continue;
      if (member(rule, "real predicate") && !real) continue;
      if (member(rule, "ints") && t != KD_I64) continue;
      if (member(rule, "bools") != (t == KD_BOOL) && member(rule, "bools")) continue;
      if (member(rule, "same") && t == KD_BOOL && op != KD_OP_STOP) continue;
      if (member(rule, "where")) in[0] = KD_BOOL;
      if (member(rule, "cast")) {
        for (kd_dtype to = 0; to < KD_DTYPE_COUNT; to++) elem_case(op, shapes[k], in, to, special);
        continue;
      }
      elem_case(op, shapes[k], in, member(rule, "predicate compare") ? KD_BOOL : t, special);
    }
}

static void test_element_wise(void **state) {
  (void)state;
  failures = 0;
#define KD_OP(ID, name, class, nin, nout, attrs, shape, ...) \
  if (KD_CLASS_##class == KD_CLASS_ELEM) elem_row(KD_OP_##ID, #shape);
#include "runtime/op/ops.def"
#undef KD_OP
  assert_int_equal(failures, 0);
}

/* With what may follow it: bias, another operand, relu. */
static void post_cases(const char *x, const char *w, const char *y, const char *attrs) {
  for (int how = 0; how < 8; how++) {
    char operands[160], all[200], bias[24];
    snprintf(bias, sizeof bias, "f32[%.*s]", (int)strcspn(w + 4, ","), w + 4);
    snprintf(operands, sizeof operands, "%s %s %s %s", x, w, how & 1 ? bias : "", how & 2 ? y : "");
    snprintf(all, sizeof all, "%s bias=%d relu=%d", attrs, how & 1, how >> 2);
    t_case c;
    if (!t_parse(&c, "conv_post", operands, y, all)) fail_msg("mistake in case conv_post %s %s", operands, all);
    check(&c, false, 5e-5);                      /* what is added may cancel most of the sum */
  }
}

/* A convolution, the gradient of its operand and that of its weights; `dense`: only in rows, where no operand repeats itself. */
static void conv_cases(const char *x, const char *w, const char *y, const char *attrs, double tol, bool dense) {
  static const char *const name[] = { "conv", "conv_data", "conv_weight" };
  const char *in[3][2] = { { x, w }, { y, w }, { x, y } }, *out[3] = { y, x, w };
  for (int i = 0; i < 3; i++) {
    char operands[96], all[160], size[48];
    const char *from = strchr(strchr(out[i], ',') + 1, ',') + 1;       /* the spatial sizes of the result */
    snprintf(size, sizeof size, "%.*s", (int)strcspn(from, "]"), from);
    snprintf(operands, sizeof operands, "%s %s", in[i][0], in[i][1]);
    snprintf(all, sizeof all, "%s size=%s", attrs, size);
    t_case c;
    if (!t_parse(&c, name[i], operands, out[i], all)) fail_msg("mistake in case %s %s %s", name[i], operands, all);
    uint64_t state = 5;
    told = 0;
    if (dense) check_layout(&c, T_DENSE, false, tol, &state);
    else check(&c, false, tol);
  }
}
static void test_convolutions(void **state) {
  (void)state;
  failures = 0;
#define CASE(op, in, out, attrs, tol)
#define CONV(x, w, y, attrs) conv_cases(x, w, y, attrs, 1e-5, false), post_cases(x, w, y, attrs);
#include "tests/kernels/cases.def"
#undef CASE
#undef CONV
  assert_int_equal(failures, 0);
}

/* Sums over 256 channels, forward and in the gradient of the map: within what docs/kernels.md says, error over largest value. */
static void test_wide_convolutions(void **state) {
  (void)state;
  failures = 0;
  conv_cases("f32[1,256,8,8]", "f32[16,256,3,3]", "f32[1,16,8,8]", "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1", 2.5e-6, true);
  conv_cases("f32[1,16,8,8]", "f32[256,16,3,3]", "f32[1,256,8,8]", "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1", 2.5e-6, true);
  conv_cases("f32[1,256,8,8]", "f32[16,256,3,3]", "f32[1,16,4,4]", "stride=2,2 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1", 2.5e-6, true);
  conv_cases("f32[1,16,8,8]", "f32[256,16,3,3]", "f32[1,256,4,4]", "stride=2,2 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1", 2.5e-6, true);
  assert_int_equal(failures, 0);
}

static void test_cases(void **state) {
  static const struct { const char *op, *in, *out, *attrs; double tol; } list[] = {
#define CASE(op, in, out, attrs, tol) { op, in, out, attrs, tol },
#include "tests/kernels/cases.def"
#undef CASE
  };
  (void)state;
  failures = 0;
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    t_case c;
    if (!t_parse(&c, list[i].op, list[i].in, list[i].out, list[i].attrs)) fail_msg("mistake in case %s %s %s", list[i].op, list[i].in, list[i].attrs);
    check(&c, false, list[i].tol);
    bool ordered = c.op == KD_OP_REDUCE_MAX || c.op == KD_OP_REDUCE_MIN || c.op == KD_OP_ARGMAX || c.op == KD_OP_ARGMIN || c.op == KD_OP_LOGSUMEXP || c.op == KD_OP_SOFTMAX || c.op == KD_OP_LOG_SOFTMAX ||
                   c.op == KD_OP_MAX_POOL || c.op == KD_OP_SORT || c.op == KD_OP_TOP_K || kd__op_info(c.op)->cls == KD_CLASS_VIEW;
    if (ordered) check(&c, true, list[i].tol);
  }
  assert_int_equal(failures, 0);
}

static void test_every_row_has_a_case(void **state) {
  (void)state;
  failures = 0;
  for (int op = 0; op < KD_OP_COUNT; op++)
    if (op != KD_OP_INPUT && op != KD_OP_LOOP && op != KD_OP_GROUP && (!cases_of[op] || !fast_cases_of[op]))
      print_error("no case for %s%s\n", kd__op_info((kd_op)op)->name, cases_of[op] ? " that runs a fast kernel" : ""), failures++;
  assert_int_equal(failures, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_element_wise), cmocka_unit_test(test_convolutions), cmocka_unit_test(test_wide_convolutions), cmocka_unit_test(test_cases),
                                       cmocka_unit_test(test_every_row_has_a_case) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
