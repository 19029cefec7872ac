/* test_shapes.c: shapes.def, case by case, through the reader. */
#include "compiler/ir/graph.h"
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct shape_case { const char *op, *in, *attrs, *want; } shape_case;
static const shape_case cases[] = {
#define CASE(op, in, attrs, want) { op, in, attrs, want },
#include "tests/ir/shapes.def"
#undef CASE
};
enum { CASES = sizeof cases / sizeof *cases };

static const char *const rule_name[KD_OP_COUNT] = {
#define KD_OP(ID, name, cls, nin, nout, attrs, shape, ...) [KD_OP_##ID] = #shape,
#include "runtime/op/ops.def"
#undef KD_OP
};

/* A program of the case: an input for each operand type, then the operator. */
static void program(const shape_case *c, kd__buf *text) {
  int n = 0;
  kd_op op;
  assert_true(kd__op_parse(c->op, strlen(c->op), &op));
  for (const char *p = c->in; *p; n++) {
    const char *open = strchr(p, '['), *close = strchr(p, ']');
    kd__buf_printf(text, "%%%d = input {slot=%d, dtype=%.*s, shape=%.*s}\n", n, n, (int)(open - p), p, (int)(close + 1 - open), open);
    p = close + 1 + (close[1] == ' ');
  }
  for (int k = 0; k < kd__op_info(op)->nout; k++) kd__buf_printf(text, "%s%%r%d", k ? ", " : "", k);
  kd__buf_printf(text, " = %s", c->op);
  for (int i = 0; i < n; i++) kd__buf_printf(text, "%s%%%d", i ? ", " : " ", i);
  if (c->attrs[0]) kd__buf_printf(text, " {%s}", c->attrs);
}

static bool check(const shape_case *c) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd__buf text = { 0 }, got = { 0 };
  kd_shape_error err;
  program(c, &text);
  kd_graph *g = kd__graph_read(&a, text.p, text.n, &err);
  if (g) {
    const kd_node *n = &g->node.v[g->node.n - 1];
    char s[KD_TYPE_TEXT];
    for (uint32_t k = 0; k < n->nout; k++) kd__buf_printf(&got, "%s%s", k ? " " : "", kd__type_text(kd__type_of(g, n->out + k), s, sizeof s));
  } else {
    const char *colon = strstr(err.text, ": ");
    kd__buf_printf(&got, "!%s", colon ? colon + 2 : err.text);
  }
  bool good = c->want[0] == '!' ? got.p[0] == '!' && strncmp(got.p, c->want, strlen(c->want)) == 0 : strcmp(got.p, c->want) == 0;
  if (!good) print_error("%s\n  wanted %s\n  got    %s\n", text.p, c->want, got.p);
  kd__buf_free(&text);
  kd__buf_free(&got);
  kd__arena_free(&a);
  return good;
}

static void every_case(void **state) {
  (void)state;
  int bad = 0;
  for (int i = 0; i < CASES; i++) bad += !check(&cases[i]);
  assert_int_equal(bad, 0);
}

/* For each rule a case that fits and one that does not. */
static void every_rule_both_ways(void **state) {
  (void)state;
  bool complete = true;
  for (int op = 0; op < KD_OP_COUNT; op++) {
    bool good = false, bad = false;
    for (int i = 0; i < CASES; i++) {
      kd_op of;
      assert_true(kd__op_parse(cases[i].op, strlen(cases[i].op), &of));
      if (strcmp(rule_name[of], rule_name[op]) != 0) continue;
      if (cases[i].want[0] == '!') bad = true;
      else good = true;
    }
    if ((good && bad) || op == KD_OP_LOOP || op == KD_OP_GROUP) continue;   /* test_loop.c: its bodies need more than a line */
    print_error("shape rule `%s` needs %s case in shapes.def\n", rule_name[op], good ? "a bad" : "a good");
    complete = false;
  }
  assert_true(complete);
}

/* Whatever the operands and attributes, inference gives sound types or an error: never a crash. */
static void odd_operands(void **state) {
  (void)state;
  static const int64_t dims[] = { 0, 1, 2, 3, 7, INT64_MAX, (int64_t)1 << 40 };
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  static const char text[] = "%t = input {slot=0, dtype=i64, shape=[]}\n%x = input {slot=1, dtype=f32, shape=[2]}\n%y = neg %x\nwrite 1 %y\nresult \"y\" %y\n";
  const kd_graph *body = kd__graph_read(&a, text, sizeof text - 1, NULL);
  assert_non_null(body);
  for (uint64_t i = 0; i < 60000; i++) {
    uint64_t r = kd__mix(i, 1);
    kd_op op = (kd_op)(r % KD_OP_COUNT);
    const kd_op_info *info = kd__op_info(op);
    kd_type in[4], out[8];
    const kd_type *types[4];
    int64_t list[KD_MAX_ATTRS][KD_MAX_RANK];
    kd_attr attr[KD_MAX_ATTRS];
    for (int k = 0; k < 4; k++) {
      in[k] = (kd_type){ .dtype = (uint8_t)(kd__mix(i, (uint64_t)k + 200) % KD_DTYPE_COUNT), .rank = (uint8_t)(kd__mix(i, (uint64_t)k + 204) % 5) };
      for (int d = 0; d < in[k].rank; d++) in[k].dim[d] = dims[kd__mix(i, (uint64_t)(k * 16 + d) + 9) % (i % 2 ? 5 : 7)];
      types[k] = &in[k];
    }
    for (int k = 0; k < info->nattr; k++) {
      uint64_t v = kd__mix(i, 100 + (uint64_t)k);
      attr[k] = (kd_attr){ .kind = info->attr[k].kind };
      if (attr[k].kind == 'i') attr[k].u.i = (int64_t)(v % 5) - 1;
      else if (attr[k].kind == 'f') attr[k].u.f = (double)(v % 5) - 1;
      else if (attr[k].kind == 'g') attr[k].u.graph = v % 4 ? body : NULL;
      else if (attr[k].kind == 't') attr[k].u.i = (int64_t)(v % (KD_DTYPE_COUNT + 1));
      else {
        attr[k].n = (uint32_t)(v % 5);
        attr[k].u.list = list[k];
        for (uint32_t d = 0; d < attr[k].n; d++) list[k][d] = i % 3 ? (int64_t)(kd__mix(v, d) % 6) - 1 : dims[kd__mix(v, d) % 7];
      }
    }
    uint32_t nin = info->nin >= 0 ? (uint32_t)info->nin : 1 + (uint32_t)(r >> 32) % 2;
    if (!kd__infer(op, types, nin, attr, out, NULL)) continue;
    for (uint32_t k = 0; k < kd__result_count(op, attr); k++) {
      assert_in_range(out[k].rank, 0, KD_MAX_RANK);
      assert_true(kd__type_count(&out[k]) >= 0);
      for (int d = 0; d < KD_MAX_RANK; d++) assert_true(d < out[k].rank ? out[k].dim[d] >= 0 : out[k].dim[d] == 0);
    }
  }
  kd__arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(every_case), cmocka_unit_test(every_rule_both_ways), cmocka_unit_test(odd_operands) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
