/* Sources: lines, columns in code points, spans. */
#include "tests/front/front.h"

static void at(const char *text, uint32_t offset, int line, int col) {
  front f;
  int l, c;
  front_begin(&f, "a.kd", text, strlen(text));
  kd__source_pos(f.src, offset, &l, &c);
  assert_int_equal(l, line);
  assert_int_equal(c, col);
  front_end(&f);
}

static void lines_and_columns(void **s) {
  (void)s;
  at("", 0, 1, 1);
  at("ab\ncd\n", 0, 1, 1);
  at("ab\ncd\n", 2, 1, 3);                       /* the newline belongs to its line */
  at("ab\ncd\n", 3, 2, 1);
  at("ab\ncd\n", 6, 3, 1);                       /* after the last newline */
  at("ab", 99, 1, 3);                            /* past the end: the end */
  at("\n\n\nx", 3, 4, 1);
}

static void columns_count_code_points(void **s) {
  (void)s;
  at("\xc3\xa9=1", 2, 1, 2);                     /* two bytes */
  at("\xe2\x82\xac\xf0\x9f\x98\x80x", 7, 1, 3);  /* three, four */
  at("\xff\xfe x", 3, 1, 4);                     /* bytes that are no UTF-8 count as one each */
}

static void texts_are_copied_and_may_hold_nul(void **s) {
  (void)s;
  char text[] = "a\0b\nc";
  front f;
  front_begin(&f, "a.kd", text, 5);
  text[0] = 'x';
  assert_int_equal(f.src->text[0], 'a');
  assert_int_equal(f.src->text[5], 0);
  assert_int_equal(f.src->size, 5);
  assert_int_equal(f.src->nline, 2);
  front_end(&f);
}

static void spans_join(void **s) {
  (void)s;
  front f;
  front_begin(&f, "a.kd", "0123456789", 10);
  kd_span a = { f.src, 2, 3 }, b = { f.src, 7, 1 }, none = { 0 };
  kd_span j = kd__span_join(a, b), k = kd__span_join(b, a), in = kd__span_join((kd_span){ f.src, 1, 9 }, a);
  assert_true(j.at == 2 && j.len == 6 && k.at == 2 && k.len == 6);
  assert_true(in.at == 1 && in.len == 9);
  assert_ptr_equal(kd__span_join(none, a).src, f.src);
  assert_ptr_equal(kd__span_join(a, none).src, f.src);
  front_end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(lines_and_columns), cmocka_unit_test(columns_count_code_points),
                                      cmocka_unit_test(texts_are_copied_and_may_hold_nul), cmocka_unit_test(spans_join) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
