/* test_graph.c: hash-consing, writes and results, and the verifier, which must notice each kind of breach. */
#include "compiler/ir/graph_private.h"
#include <setjmp.h>
#include <cmocka.h>

typedef struct fixture { kd__arena a; kd_graph *g; kd_build b; kd_value x, y; } fixture;

static const kd_type vec = { .dtype = KD_F32, .rank = 2, .dim = { 3, 4 } };

static void begin(fixture *f) {
  kd__arena_init(&f->a, NULL, NULL);
  f->g = kd__graph_new(&f->a);
  f->b = (kd_build){ f->g, 1 };
  f->x = kd__b_input(&f->b, 0, &vec);
  f->y = kd__b_input(&f->b, 1, &vec);
}
static void end(fixture *f) { kd__arena_free(&f->a); }

static kd_value sum(fixture *f, kd_value v, const int64_t *axes, int n) { return kd__b_reduce(&f->b, KD_OP_SUM, v, axes, n); }

static void equal_nodes_are_one(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  kd_value a = kd__b_op2(&f.b, KD_OP_ADD, f.x, f.y);
  size_t n = f.g->node.n;
  f.b.origin = 9;
  assert_int_equal(kd__b_op2(&f.b, KD_OP_ADD, f.x, f.y), a);
  assert_int_equal(f.g->node.n, n);
  assert_int_equal(kd__node_of(f.g, a)->origin, 1);                    /* the first origin stays */
  assert_int_not_equal(kd__b_op2(&f.b, KD_OP_ADD, f.y, f.x), a);
  assert_int_not_equal(kd__b_op2(&f.b, KD_OP_SUB, f.x, f.y), a);
  assert_int_equal(kd__b_input(&f.b, 0, &vec), f.x);
  kd_type other = vec;
  other.dim[1] = 5;
  assert_int_not_equal(kd__b_input(&f.b, 0, &other), f.x);
  end(&f);
}

static void attributes_are_compared(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  assert_int_equal(sum(&f, f.x, (int64_t[]){ 1, 0 }, 2), sum(&f, f.x, (int64_t[]){ 0, 1 }, 2));       /* a set */
  assert_int_not_equal(sum(&f, f.x, (int64_t[]){ 0 }, 1), sum(&f, f.x, (int64_t[]){ 1 }, 1));
  kd_value zero = kd__b_const_like(&f.b, 0.0, f.x), minus = kd__b_const_like(&f.b, -0.0, f.x), nan = kd__b_const_like(&f.b, __builtin_nan(""), f.x);
  assert_int_not_equal(zero, minus);
  assert_int_equal(nan, kd__b_const_like(&f.b, __builtin_nan(""), f.x));
  int64_t list[2] = { 1, 0 };
  kd_value p = kd__b_permute(&f.b, f.x, list);
  list[0] = 0, list[1] = 1;                      /* the graph has its own copy */
  assert_int_equal(kd__attr(kd__node_of(f.g, p), "perm")->u.list[0], 1);
  assert_int_equal(kd__b_permute(&f.b, f.x, list), f.x);
  end(&f);
}

static void finding_adds_nothing(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  size_t n = f.g->node.n;
  assert_int_equal(kd__graph_find(f.g, KD_OP_NEG, &f.x, 1, NULL), 0);
  assert_int_equal(f.g->node.n, n);
  kd_value v = kd__b_op1(&f.b, KD_OP_NEG, f.x);
  assert_int_equal(kd__graph_find(f.g, KD_OP_NEG, &f.x, 1, NULL), v);
  kd_value s = sum(&f, f.x, (int64_t[]){ 0, 1 }, 2);
  assert_int_equal(kd__graph_find(f.g, KD_OP_SUM, &f.x, 1, (kd_attr[]){ kd__al((int64_t[]){ 1, 0 }, 2) }), s);
  end(&f);
}

static void poison_is_silent(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  kd_shape_error err = { "" };
  assert_int_equal(kd__graph_add(f.g, KD_OP_ADD, (kd_value[]){ f.x, 0 }, 2, NULL, 0, &err), 0);
  assert_int_equal(err.text[0], 0);
  assert_int_equal(kd__b_reshape(&f.b, 0, vec.dim, 2), 0);
  assert_int_equal(kd__b_unreduce(&f.b, 0, f.x, NULL, 0), 0);
  end(&f);
}

static void several_results(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  kd_value m = kd__b_reduce(&f.b, KD_OP_MOMENTS, f.x, (int64_t[]){ 0 }, 1);
  assert_int_equal(kd__node_of(f.g, m + 1)->out, m);
  assert_int_equal(kd__type_of(f.g, m + 1)->rank, 1);
  assert_int_equal(kd__b_op1(&f.b, KD_OP_NEG, m), m + 2);
  end(&f);
}

static void many_writes(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  for (int64_t i = 0; i < 5000; i++) kd__graph_write(f.g, i * 1000003 % 5000, f.x, 1);
  assert_int_equal(f.g->write.n, 5000);
  for (int64_t i = 0; i < 5000; i++) kd__graph_write(f.g, i, f.y, 2);     /* replaces */
  assert_int_equal(f.g->write.n, 5000);
  for (int64_t i = 0; i < 5000; i++) {
    assert_int_equal(f.g->write.v[i].slot, i * 1000003 % 5000);           /* in the order of the first write */
    assert_int_equal(f.g->write.v[i].value, f.y);
    assert_int_equal(f.g->write.v[i].origin, 2);
  }
  end(&f);
}

/* --- the verifier ---------------------------------------------------------------------------------------------------------------------- */

static void sound(fixture *f) {
  begin(f);
  kd_value a = kd__b_op2(&f->b, KD_OP_MUL, f->x, f->y), m = kd__b_reduce(&f->b, KD_OP_MOMENTS, a, (int64_t[]){ 0 }, 1);
  kd__graph_write(f->g, 0, a, 1);
  kd__graph_result(f->g, "mean", m);
}

/* Expects the text in the verifier's error. */
static void breach(fixture *f, const char *want) {
  kd_shape_error err;
  if (kd__graph_verify(f->g, &err)) fail_msg("not noticed: %s", want);
  if (!strstr(err.text, want)) fail_msg("wanted `%s`, got `%s`", want, err.text);
  assert_false(kd__graph_verify(f->g, NULL));
  end(f);
}

static void sound_graphs_pass(void **state) {
  (void)state;
  fixture f;
  sound(&f);
  assert_true(kd__graph_verify(f.g, NULL));
  kd_graph *empty = kd__graph_new(&f.a);
  assert_true(kd__graph_verify(empty, NULL));
  end(&f);
}

static void breaches_of_nodes(void **state) {
  (void)state;
  fixture f;
  sound(&f);
  f.g->node.v[3].op = KD_OP_COUNT;
  breach(&f, "no operator");
  sound(&f), f.g->node.v[3].nout = 2, breach(&f, "results");
  sound(&f), f.g->node.v[3].nin = 1, breach(&f, "takes 2 operands");
  sound(&f), f.g->node.v[3].op = KD_OP_MATMUL, breach(&f, "contracted sizes differ");
  sound(&f), f.g->node.v[3].out = 4, breach(&f, "not the next values");
  sound(&f), ((kd_value *)(uintptr_t)f.g->node.v[3].in)[0] = 3, breach(&f, "not made above");
  sound(&f), ((kd_value *)(uintptr_t)f.g->node.v[3].in)[1] = 0, breach(&f, "not made above");
  sound(&f), ((kd_value *)(uintptr_t)f.g->node.v[3].in)[1] = 700, breach(&f, "not made above");
  sound(&f), f.g->def.v[3] = 2, breach(&f, "its node is");
  sound(&f), f.g->node.v[4].attr = NULL, breach(&f, "no attributes");
  sound(&f), ((kd_attr *)(uintptr_t)f.g->node.v[4].attr)->kind = 'i', breach(&f, "of another kind");
  sound(&f), ((int64_t *)(uintptr_t)f.g->node.v[4].attr->u.list)[0] = 2, breach(&f, "the rank is 2");
}

static void breaches_of_types(void **state) {
  (void)state;
  fixture f;
  sound(&f);
  f.g->type.v[3].dim[0] = 7;
  breach(&f, "%3 has type f32[7,4], but f32[3,4] is inferred");
  sound(&f), f.g->type.v[3].dtype = KD_F64, breach(&f, "%3 has type f64[3,4]");
  sound(&f), f.g->type.v[3].dim[9] = 1, breach(&f, "beyond its rank");
  sound(&f), f.g->type.n--, f.g->def.n--, breach(&f, "not the next values");
  sound(&f), f.g->def.n--, breach(&f, "tables");
  sound(&f), f.g->node.n--, f.g->result.n = 0, breach(&f, "values without a node");
}

static void breaches_of_ends(void **state) {
  (void)state;
  fixture f;
  sound(&f);
  f.g->write.v[0].value = 99;
  breach(&f, "write 0");
  sound(&f), f.g->write.v[0].value = 0, breach(&f, "write 0");
  sound(&f), f.g->write.v[0].slot = -1, breach(&f, "write 0");
  sound(&f), f.g->result.v[0].value = 99, breach(&f, "result 0");
  sound(&f), f.g->result.v[0].name = NULL, breach(&f, "result 0");
  sound(&f), kd__graph_write(f.g, 1, f.g->result.v[0].value, 0), breach(&f, "slot 1 is f32[3,4] and f32[4]");
  sound(&f), kd__graph_write(f.g, 7, f.x, 0), f.g->write.v[1].slot = 0, breach(&f, "written twice");
  sound(&f);
  kd_type other = vec;
  other.dtype = KD_F64;
  kd__b_input(&f.b, 1, &other);
  breach(&f, "slot 1 is");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_nodes_are_one), cmocka_unit_test(attributes_are_compared), cmocka_unit_test(finding_adds_nothing),
    cmocka_unit_test(poison_is_silent), cmocka_unit_test(several_results), cmocka_unit_test(many_writes), cmocka_unit_test(sound_graphs_pass),
    cmocka_unit_test(breaches_of_nodes), cmocka_unit_test(breaches_of_types), cmocka_unit_test(breaches_of_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
