/* test_loop.c: loops as text, their shapes and what the verifier says of them. */
#include "compiler/ir/graph.h"
#include <stdbool.h>
#include <setjmp.h>
#include <cmocka.h>
#include "tests/eval/loops.h"

static kd_graph *read_text(kd__arena *a, const char *text, kd_shape_error *err) { return kd__graph_read(a, text, strlen(text), err); }

static void text_of_a_loop(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_shape_error err;
  kd__buf out = { 0 };
  kd_graph *g = read_text(&a, kd_test_loops[3].text, &err);
  if (!g) fail_msg("%s", err.text);
  kd__graph_print(g, &out);
  assert_string_equal(out.p,
    "%1 = input {slot=0, dtype=f64, shape=[2]} : f64[2]\n"
    "%2 = const {value=0, dtype=f64, shape=[2]} : f64[2]\n"
    "body b1 {\n"
    "  %1 = input {slot=1, dtype=f64, shape=[2]} : f64[2]\n"
    "  %2 = input {slot=2, dtype=f64, shape=[2]} : f64[2]\n"
    "  %3 = add %1, %2 : f64[2]\n"
    "  body b1 {\n"
    "    %1 = input {slot=0, dtype=i64, shape=[]} : i64[]\n"
    "    %2 = input {slot=1, dtype=f64, shape=[2]} : f64[2]\n"
    "    %3 = input {slot=2, dtype=f64, shape=[2]} : f64[2]\n"
    "    %4 = cast %1 {dtype=f64} : f64[]\n"
    "    %5 = broadcast %4 {shape=[2], axes=[]} : f64[2]\n"
    "    %6 = add %3, %5 : f64[2]\n"
    "    %7 = mul %6, %2 : f64[2]\n"
    "    %8 = sin %7 : f64[2]\n"
    "    write 1 %8\n"
    "    result \"n\" %8\n"
    "  }\n"
    "  %4, %5 = loop %3, %2 {body=b1, times=2, carries=1} : f64[2], f64[2,2]\n"
    "  write 1 %4\n"
    "  result \"is\" %5\n"
    "}\n"
    "%3, %4 = loop %2, %1 {body=b1, times=3, carries=1} : f64[2], f64[3,2,2]\n"
    "result \"o\" %3\n"
    "result \"os\" %4\n");
  kd__buf_free(&out);
  kd__arena_free(&a);
}

static void round_trips(void **state) {
  (void)state;
  for (int i = 0; i < KD_TEST_LOOPS; i++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_shape_error err;
    kd__buf first = { 0 }, second = { 0 };
    kd_graph *g = read_text(&a, kd_test_loops[i].text, &err);
    if (!g || !kd__graph_verify(g, &err)) fail_msg("%s: %s", kd_test_loops[i].what, err.text);
    kd__graph_print(g, &first);
    kd_graph *again = read_text(&a, first.p, &err);
    if (!again || !kd__graph_verify(again, &err)) fail_msg("%s: %s", kd_test_loops[i].what, err.text);
    kd__graph_print(again, &second);
    assert_string_equal(first.p, second.p);
    kd__buf_free(&first);
    kd__buf_free(&second);
    kd__arena_free(&a);
  }
}

#define GROUP(inside, tail) "%a = input {slot=0, dtype=f32, shape=[2]}\nbody b {\n%x = input {slot=0, dtype=f32, shape=[2]}\n" inside "}\n" tail

static void text_of_a_group(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_shape_error err;
  kd__buf out = { 0 };
  kd_graph *g = read_text(&a, GROUP("%e = exp %x\n%s = sum %e {axes=[0]}\nresult \"0\" %e\nresult \"1\" %s\n", "%p, %q = group %a {body=b}\nresult \"q\" %q\n"), &err);
  if (!g || !kd__graph_verify(g, &err)) fail_msg("%s", err.text);
  kd__graph_print(g, &out);
  assert_string_equal(out.p,
    "%1 = input {slot=0, dtype=f32, shape=[2]} : f32[2]\n"
    "body b1 {\n"
    "  %1 = input {slot=0, dtype=f32, shape=[2]} : f32[2]\n"
    "  %2 = exp %1 : f32[2]\n"
    "  %3 = sum %2 {axes=[0]} : f32[]\n"
    "  result \"0\" %2\n"
    "  result \"1\" %3\n"
    "}\n"
    "%2, %3 = group %1 {body=b1} : f32[2], f32[]\n"
    "result \"q\" %3\n");
  assert_ptr_equal(kd__body_of(kd__node_of(g, 2)), kd__node_of(g, 2)->attr[0].u.graph);
  assert_null(kd__body_of(kd__node_of(g, 1)));
  kd__buf_free(&out);
  kd__arena_free(&a);
}

#define BODY "%a = input {slot=0, dtype=f32, shape=[2]}\n%b = input {slot=1, dtype=f32, shape=[3]}\nbody b {\n%x = input {slot=1, dtype=f32, shape=[2]}\n%n = neg %x\n"
#define LOOP(tail) BODY "write 1 %n\nresult \"n\" %n\n}\n" tail

static void what_does_not_fit(void **state) {
  (void)state;
  static const struct { const char *text, *want; } cases[] = {
    { LOOP("%o, %s = loop %b {body=b, times=2, carries=1}"), "line 9: the body reads slot 1 as f32[2]; it is f32[3]" },
    { LOOP("%o, %s = loop {body=b, times=2, carries=0}"), "line 9: loop has 1 result, not 2" },
    { LOOP("%s = loop {body=b, times=2, carries=0}"), "line 9: the body reads slot 1; the loop has 0 operands" },
    { LOOP("%s = loop %a {body=b, times=2, carries=0}"), "line 9: the body writes slot 1, which is no carry" },
    { LOOP("%o, %s = loop %a {body=b, times=-1, carries=1}"), "line 9: times is -1" },
    { LOOP("%o, %p, %s = loop %a {body=b, times=1, carries=2}"), "line 9: carries is 2; there are 1 operands" },
    { LOOP("%o = loop %a {body=b, times=1, carries=1}"), "line 9: loop has 2 results, not 1" },
    { LOOP("%o, %s = loop %a {body=c, times=1, carries=1}"), "line 9: no body c above" },
    { LOOP("%o, %s = loop %a {times=1, carries=1}"), "line 9: loop has 0 results, not 2" },
    { LOOP("body b {\n}"), "line 9: body b is there already" },
    { BODY, "line 5: the body b has no end" },
    { "}", "line 1: no body is open" },
    { BODY "%m = neg %a\n", "line 6: no value %a above" },
    { "%a = input {slot=0, dtype=f32, shape=[2]}\nbody b {\n%t = input {slot=0, dtype=f32, shape=[]}\nresult \"t\" %t\n}\n%s = loop {body=b, times=1, carries=0}",
      "line 6: the body reads slot 0 as f32[]; it is i64[]" },
    { BODY "%y = slice %n {start=[0], size=[1], step=[1]}\nwrite 1 %y\n}\n%o = loop %a {body=b, times=1, carries=1}", "line 9: the body writes slot 1 as f32[1]; it is f32[2]" },
    { "body b {\n%c = const {value=1, dtype=f32, shape=[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}\nresult \"c\" %c\n}\n%s = loop {body=b, times=1, carries=0}",
      "line 5: result 1 of the body has rank 16: there is no room for the turns" },
    { GROUP("write 1 %x\nresult \"x\" %x\n", "%o = group %a {body=b}"), "line 7: the body of a group writes a slot" },
    { GROUP("", "%o = group %a {body=b}"), "line 5: group has 0 results, not 1" },
    { GROUP("result \"x\" %x\n", "%o = group {body=b}"), "line 6: the body reads slot 0; the group has 0 operands" },
    { GROUP("%y = input {slot=1, dtype=f32, shape=[]}\nresult \"x\" %x\n", "%o = group %a, %a {body=b}"), "line 7: the body reads slot 1 as f32[]; it is f32[2]" },
    { GROUP("body b {\n%y = input {slot=0, dtype=f32, shape=[2]}\nresult \"y\" %y\n}\n%z = group %x {body=b}\nresult \"z\" %z\n", "%o = group %a {body=b}"),
      "line 11: the body of a group holds a group" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_shape_error err;
    assert_null(read_text(&a, cases[i].text, &err));
    assert_string_equal(err.text, cases[i].want);
    kd__arena_free(&a);
  }
}

/* What a body promises is checked as that of any graph, and named as the body's. */
static void broken_bodies(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_shape_error err;
  kd_graph *g = read_text(&a, LOOP("%o, %s = loop %a {body=b, times=2, carries=1}\nresult \"o\" %o\n"), &err);
  assert_non_null(g);
  kd_graph *body = (kd_graph *)(uintptr_t)kd__node_of(g, 3)->attr[0].u.graph;
  body->type.v[2].dtype = KD_F64;
  assert_false(kd__graph_verify(g, &err));
  assert_non_null(strstr(err.text, "in the body of node 3: %2 has type f64[2], but f32[2] is inferred"));
  body->type.v[2].dtype = KD_F32;
  assert_true(kd__graph_verify(g, &err));
  g->node.v[3].nout = 1;
  assert_false(kd__graph_verify(g, &err));
  kd__arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(text_of_a_loop), cmocka_unit_test(text_of_a_group), cmocka_unit_test(round_trips), cmocka_unit_test(what_does_not_fit),
                                      cmocka_unit_test(broken_bodies) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
