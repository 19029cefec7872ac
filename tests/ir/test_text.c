/* test_text.c: the text form: what is printed reads back and prints the same; what cannot be read is told with its line. */
#include "tests/eval/random.h"
#include <locale.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static kd_graph *read_text(kd__arena *a, const char *text, kd_shape_error *err) { return kd__graph_read(a, text, strlen(text), err); }

static void round_trip(kd__arena *a, const kd_graph *g, const char *what) {
  kd__buf first = { 0 }, second = { 0 };
  kd_shape_error err;
  kd__graph_print(g, &first);
  kd_graph *again = kd__graph_read(a, first.p, first.n, &err);
  if (!again) fail_msg("%s: %s", what, err.text);
  kd__graph_print(again, &second);
  if (first.n != second.n || memcmp(first.p, second.p, first.n) != 0) fail_msg("%s: prints otherwise:\n%s\n%s", what, first.p, second.p);
  if (!kd__graph_verify(again, &err)) fail_msg("%s: %s", what, err.text);
  kd__buf_free(&first);
  kd__buf_free(&second);
}

static void random_graphs(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 150; seed++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_random_graph r;
    char what[40];
    snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
    kd_random_make(&r, &a, &(kd_random_spec){ .seed = seed, .nodes = 80, .real = seed % 2 ? KD_F32 : KD_F64, .writes = seed % 3 == 0 });
    round_trip(&a, r.g, what);
    kd__arena_free(&a);
  }
}

static void odd_numbers_and_names(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_graph *g = kd__graph_new(&a);
  kd_build b = { g, 0 };
  uint64_t strange = 0xfff8000000000123u;
  double nan;
  memcpy(&nan, &strange, sizeof nan);
  const double numbers[] = { 0, -0.0, 0.1, 1.0 / 3, 1e-310, 5e-324, 1.7976931348623157e308, 1e22, -123456789012345678.0, 3.5, __builtin_inf(), -__builtin_inf(),
                             __builtin_nan(""), nan };
  kd_value v = 0;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) v = kd__b_const(&b, numbers[i], KD_F64, NULL, 0);
  assert_int_equal(g->node.n - 1, sizeof numbers / sizeof *numbers);     /* no two are equal */
  kd__b_const(&b, -0x1p63, KD_I64, NULL, 0);
  kd__graph_result(g, "", v);
  kd__graph_result(g, "a \"quoted\" \\ name\n\t\x01\x7f \xc3\xa4 \xff", v);
  round_trip(&a, g, "odd numbers");
  const char *de[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8" };       /* a decimal comma, where the machine has such a locale */
  for (int i = 0; i < 3; i++)
    if (setlocale(LC_NUMERIC, de[i])) round_trip(&a, g, de[i]);
  setlocale(LC_NUMERIC, "C");
  kd__arena_free(&a);
}

static void names_comments_and_missing_types(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_shape_error err;
  kd_graph *g = read_text(&a, "// a comment\n\n  %x = input {slot=3, dtype=f32, shape=[2,3]}\r\n\t%loss.1 = sum %x { axes = [ 1, 0 ] } : f32[]\n"
                              "%m, %v = moments %x {axes=[]}\nwrite 3 %m\nresult \"loss\" %loss.1   \n%again = neg %x", &err);
  if (!g) fail_msg("%s", err.text);
  kd__buf out = { 0 };
  kd__graph_print(g, &out);
  assert_string_equal(out.p, "%1 = input {slot=3, dtype=f32, shape=[2,3]} : f32[2,3]\n%2 = sum %1 {axes=[0,1]} : f32[]\n"
                             "%3, %4 = moments %1 {axes=[]} : f32[2,3], f32[2,3]\n%5 = neg %1 : f32[2,3]\nwrite 3 %3\nresult \"loss\" %2\n");
  kd__buf_free(&out);
  kd__arena_free(&a);
}

static void errors_name_their_line(void **state) {
  (void)state;
  static const char head[] = "%x = input {slot=0, dtype=f32, shape=[2]}\n%i = input {slot=1, dtype=i64, shape=[2]}\n";
  static const struct { const char *line, *want; } bad[] = {
    { "%y = add %x, %z", "line 3: no value %z above" },
    { "%y = ad %x, %x", "line 3: no operator `ad`" },
    { "%y = add %x", "line 3: add takes 2 operands, not 1" },
    { "%y = add %x, %i", "line 3: element types differ: f32 in operand 1, i64 in operand 2" },
    { "%y = neg %x : f32[3]", "line 3: the type is f32[2], not f32[3]" },
    { "%y = neg %x : f64[2]", "line 3: the type is f32[2], not f64[2]" },
    { "%y, %z = neg %x", "line 3: neg has 1 result, not 2" },
    { "%y = moments %x {axes=[0]}", "line 3: moments has 2 results, not 1" },
    { "%x = neg %x", "line 3: %x is there already" },
    { "%y, %y = moments %x {axes=[0]}", "line 3: %y twice" },
    { "%y = sum %x", "line 3: attribute axes is missing" },
    { "%y = sum %x {axis=[0]}", "line 3: sum has no attribute axis" },
    { "%y = sum %x {axes=[0], axes=[0]}", "line 3: attribute axes twice" },
    { "%y = sum %x {axes=[5]}", "line 3: axes has 5; the rank is 1" },
    { "%y = sum %x {axes=[0}", "line 3: `]` is missing" },
    { "%y = sum %x {axes=[0]", "line 3: `}` is missing" },
    { "%y = sum %x {axes=0}", "line 3: `[` is missing" },
    { "%y = sum %x {axes=[99999999999999999999]}", "line 3: `99999999999999999999` is no integer" },
    { "%y = reshape %x {shape=[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]}", "line 3: more than 16 entries" },
    { "%y = cast %x {dtype=f16}", "line 3: no element type `f16`" },
    { "%y = const {value=1x, dtype=f32, shape=[]}", "line 3: `1x` is no number" },
    { "%y = const {value=nan:12, dtype=f32, shape=[]}", "line 3: `nan:12` is no number" },
    { "%y = const {value=0.5, dtype=i64, shape=[]}", "line 3: value 0.5 is no i64" },
    { "%y = input {slot=-2, dtype=f32, shape=[]}", "line 3: slot is -2" },
    { "%y = neg %x nonsense", "line 3: something is left at the end" },
    { "%y neg %x", "line 3: `=` is missing" },
    { "% = neg %x", "line 3: a word is missing" },
    { "%y =", "line 3: a word is missing" },
    { "nonsense", "line 3: `nonsense` begins no line" },
    { "write -1 %x", "line 3: slot is -1" },
    { "write x %x", "line 3: `x` is no integer" },
    { "write 0 x", "line 3: `%` is missing" },
    { "result loss %x", "line 3: `\"` is missing" },
    { "result \"loss %x", "line 3: `\"` is missing" },
    { "result \"a\\q\" %x", "line 3: no such escape" },
    { "result \"a\\x4\" %x", "line 3: `\\x` needs two digits" },
    { "%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = neg %x", "line 3: a word is too long" },
  };
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[500];
    kd_shape_error err;
    snprintf(text, sizeof text, "%s%s\n%%after = neg %%x\n", head, bad[i].line);
    if (read_text(&a, text, &err)) fail_msg("read: %s", bad[i].line);
    if (strncmp(err.text, bad[i].want, strlen(bad[i].want)) != 0) fail_msg("%s: wanted `%s`, got `%s`", bad[i].line, bad[i].want, err.text);
    assert_null(read_text(&a, text, NULL));
  }
  kd__arena_free(&a);
}

static void any_bytes(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_shape_error err;
  assert_non_null(kd__graph_read(&a, "", 0, &err));
  assert_null(kd__graph_read(&a, "\0", 1, &err));
  assert_null(kd__graph_read(&a, "%x = input {slot=0, dtype=f32, shape=[2]}\n%\0", 44, &err));
  char noise[512];
  for (uint64_t i = 0; i < 3000; i++) {
    for (size_t k = 0; k < sizeof noise; k++) noise[k] = (char)kd__mix(i, k);
    kd__graph_read(&a, noise, kd__mix(i, 999) % sizeof noise, &err);
  }
  kd__arena_free(&a);
}

/* Every beginning of a good text either reads or is told with a line. */
static void cut_texts(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_random_graph r;
  kd__buf text = { 0 };
  kd_shape_error err;
  kd_random_make(&r, &a, &(kd_random_spec){ .seed = 5, .nodes = 40, .real = KD_F32, .writes = true });
  kd__graph_print(r.g, &text);
  for (size_t n = 0; n < text.n && n < 3000; n++) {
    char *exact = kd__arena_copy(&a, text.p, n);
    if (!kd__graph_read(&a, exact, n, &err)) assert_memory_equal(err.text, "line ", 5);
  }
  kd__buf_free(&text);
  kd__arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_graphs), cmocka_unit_test(odd_numbers_and_names), cmocka_unit_test(names_comments_and_missing_types),
    cmocka_unit_test(errors_name_their_line), cmocka_unit_test(any_bytes), cmocka_unit_test(cut_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
