/* Diagnostics: the sink, the text with carets, JSON. */
#include "tests/front/front.h"

static kd_span find(const front *f, const char *what) {
  const char *at = strstr(f->src->text, what);
  assert_non_null(at);
  return (kd_span){ f->src, (uint32_t)(at - f->src->text), (uint32_t)strlen(what) };
}

static const char *text_of(front *f, const kd_diag *d, bool color) {
  f->out.n = 0;
  kd__diag_text(d, color, &f->out);
  return f->out.p;
}

static const char *json_of(front *f, const kd_diag *d) {
  f->out.n = 0;
  kd__diag_json(d, &f->out);
  return f->out.p;
}

static void begin(front *f, const char *text) { front_begin(f, "a.kd", text, strlen(text)); }

static void the_shape_of_the_design(void **s) {
  (void)s;
  front f;
  begin(&f, "// first\n  loss fit = mse(guide, hint)\nnet g(x) = x\nlet y = g(fit)\n");
  kd_diag *d = kd__report(&f.sink, KD_D_SIZE_DIFFERS, find(&f, "guide"), "mse", "C", 32LL, 64LL);
  kd__diag_primary(&f.sink, d, "[B 128, C %d] from s.stage2", 32);
  kd__diag_label(&f.sink, d, find(&f, "hint"), "[B 128, C 64] from t.stage2");
  kd__diag_frame(&f.sink, d, find(&f, "g(fit)"), "in `%s`, called here", "g");
  kd__diag_help(&f.sink, d, "a trainable adapter: %s", "conv2d(out: 64)");
  assert_string_equal(text_of(&f, d, false),
    "a.kd:2:18: error: `mse` needs equal sizes, and C differs: 32 here and 64 there [E0133]\n"
    "    2 |   loss fit = mse(guide, hint)\n"
    "      |                  ^^^^^ [B 128, C 32] from s.stage2\n"
    "      |                         ^^^^ [B 128, C 64] from t.stage2\n"
    "   in `g`, called here: a.kd:4:9\n"
    "    4 | let y = g(fit)\n"
    "      |         ^^^^^^\n"
    "   help: a trainable adapter: conv2d(out: 64)\n");
  assert_string_equal(json_of(&f, d),
    "{\"severity\":\"error\",\"code\":\"E0133\",\"message\":\"`mse` needs equal sizes, and C differs: 32 here and 64 there\","
    "\"file\":\"a.kd\",\"line\":2,\"column\":18,\"end_line\":2,\"end_column\":23,"
    "\"labels\":[{\"file\":\"a.kd\",\"line\":2,\"column\":18,\"end_line\":2,\"end_column\":23,\"text\":\"[B 128, C 32] from s.stage2\"},"
    "{\"file\":\"a.kd\",\"line\":2,\"column\":25,\"end_line\":2,\"end_column\":29,\"text\":\"[B 128, C 64] from t.stage2\"}],"
    "\"calls\":[{\"file\":\"a.kd\",\"line\":4,\"column\":9,\"end_line\":4,\"end_column\":15,\"text\":\"in `g`, called here\"}],"
    "\"help\":\"a trainable adapter: conv2d(out: 64)\"}");
  front_end(&f);
}

static void labels_of_several_lines_and_files_are_in_order(void **s) {
  (void)s;
  front f;
  begin(&f, "let a = 1\nlet b = 2\nlet a = 3\n");
  const kd_source *other = kd__source_new(&f.arena, "<stdlib>/b.kd", "fn a() = 1", 10, 2);
  kd_diag *d = kd__report(&f.sink, KD_D_DUPLICATE_NAME, (kd_span){ f.src, 24, 1 }, "a");
  kd__diag_label(&f.sink, d, (kd_span){ other, 3, 1 }, "and here");
  kd__diag_label(&f.sink, d, (kd_span){ f.src, 4, 1 }, "the first one");
  kd__diag_label(&f.sink, d, (kd_span){ NULL, 0, 0 }, "from the command line");
  assert_string_equal(text_of(&f, d, false),
    "a.kd:3:5: error: `a` is defined twice [E0103]\n"
    "    1 | let a = 1\n"
    "      |     ^ the first one\n"
    "    3 | let a = 3\n"
    "      |     ^\n"
    "   in <stdlib>/b.kd:1:4\n"
    "    1 | fn a() = 1\n"
    "      |    ^ and here\n"
    "   from the command line\n");
  front_end(&f);
}

static void without_a_place(void **s) {
  (void)s;
  front f;
  begin(&f, "x");
  kd_diag *d = kd__report(&f.sink, KD_D_UNKNOWN_NAME, (kd_span){ 0 }, "x");
  kd__diag_primary(&f.sink, d, "given by --set");
  kd__diag_frame(&f.sink, d, (kd_span){ 0 }, "in `main`");
  assert_string_equal(text_of(&f, d, false), "error: unknown name `x` [E0100]\n   given by --set\n   in `main`\n");
  assert_string_equal(json_of(&f, d), "{\"severity\":\"error\",\"code\":\"E0100\",\"message\":\"unknown name `x`\","
                                      "\"labels\":[{\"text\":\"given by --set\"}],\"calls\":[{\"text\":\"in `main`\"}]}");
  front_end(&f);
}

static void tabs_wide_and_strange_characters(void **s) {
  (void)s;
  front f;
  begin(&f, "\tx\ty = \"\xe4\xbd\xa0 e\xcc\x81 \x01\" + z\r\n");
  kd_diag *d = kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "z"), "z");
  kd__diag_label(&f.sink, d, find(&f, "y"), "tab");
  kd__diag_label(&f.sink, d, find(&f, "\xe4\xbd\xa0"), "wide");
  assert_string_equal(text_of(&f, d, false),
    "a.kd:1:19: error: unknown name `z` [E0100]\n"
    "    1 |     x   y = \"\xe4\xbd\xa0 e\xcc\x81 \xef\xbf\xbd\" + z\n"
    "      |         ^ tab\n"
    "      |              ^^ wide\n"
    "      |                        ^\n");
  assert_non_null(strstr(json_of(&f, d), "\"line\":1,\"column\":19,"));
  front_end(&f);
}

static void long_lines_are_cut_around_the_place(void **s) {
  (void)s;
  char line[1000];
  memset(line, 'a', sizeof line - 1);
  line[sizeof line - 1] = 0;
  memcpy(line + 500, " HERE ", 6);
  front f;
  begin(&f, line);
  const char *text = text_of(&f, kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "HERE"), "HERE"), false);
  const char *row = strchr(text, '\n') + 1, *carets = strchr(row, '\n') + 1;
  assert_true(strstr(row, "…") && strlen(text) < 400);
  int cell = 0;                                  /* `…` is one cell and three bytes */
  for (const char *p = row; strncmp(p, "HERE", 4) != 0; p++) cell += ((unsigned char)*p & 0xc0) != 0x80;
  assert_memory_equal(carets + cell, "^^^^\n", 5);
  text = text_of(&f, kd__report(&f.sink, KD_D_UNKNOWN_NAME, (kd_span){ f.src, 0, 999 }, "a"), false);
  assert_true(strlen(text) < 400);               /* a caret line is cut with its row */
  front_end(&f);
}

static void spans_at_the_ends(void **s) {
  (void)s;
  front f;
  begin(&f, "let a =\nb");
  const uint32_t at[] = { 0, 7, 8, 9, 9, 100 }, len[] = { 1000, 0, 1, 0, 5, 2 };
  for (size_t i = 0; i < 6; i++) {
    const char *text = text_of(&f, kd__report(&f.sink, KD_D_UNKNOWN_NAME, (kd_span){ f.src, at[i], len[i] }, "a"), false);
    assert_non_null(strchr(text, '^'));
    json_of(&f, f.sink.diag.v[i]);
  }
  front_end(&f);
}

static void color_is_only_color(void **s) {
  (void)s;
  front f;
  begin(&f, "let a = b\n");
  kd_diag *d = kd__report(&f.sink, KD_D_UNUSED, find(&f, "a"), "a");
  kd__diag_label(&f.sink, d, find(&f, "b"), "words");
  kd__diag_help(&f.sink, d, "mend");
  const char *text = text_of(&f, d, false);
  char *plain = kd__arena_strndup(&f.arena, text, strlen(text));
  text = text_of(&f, d, true);
  char *out = kd__arena_strndup(&f.arena, text, strlen(text)), *o = out;
  assert_null(strchr(plain, '\033'));
  assert_non_null(strchr(out, '\033'));
  for (const char *p = out; *p; p++) { if (*p == '\033') p = strchr(p, 'm'); else *o++ = *p; }
  *o = 0;
  assert_string_equal(out, plain);
  front_end(&f);
}

static void a_long_chain_shows_its_ends(void **s) {
  (void)s;
  front f;
  begin(&f, "let a = f(1)\n");
  kd_diag *d = kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "f"), "f");
  for (int i = 0; i < 10; i++) kd__diag_frame(&f.sink, d, find(&f, "f(1)"), "call %d", i);
  const char *text = text_of(&f, d, false);
  assert_true(strstr(text, "call 0:") && strstr(text, "call 2:") && strstr(text, "and 4 more calls") && strstr(text, "call 7:") && strstr(text, "call 9:"));
  assert_null(strstr(text, "call 3:"));
  front_end(&f);
}

static void json_is_escaped(void **s) {
  (void)s;
  front f;
  begin(&f, "x");
  kd_diag *d = kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "x"), "a\"b\\c\n\xff\x01");
  assert_non_null(strstr(json_of(&f, d), "\"unknown name `a\\\"b\\\\c\\n\xef\xbf\xbd\\u0001`\""));
  front_end(&f);
}

static void the_sink_sorts_and_says_once(void **s) {
  (void)s;
  front f;
  begin(&f, "a b c");
  kd__report(&f.sink, KD_D_UNKNOWN_NAME, (kd_span){ 0 }, "none");
  kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "c"), "c");
  kd__report(&f.sink, KD_D_UNUSED, find(&f, "a"), "a");
  kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "a"), "a");
  kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "c"), "c");
  kd__report(&f.sink, KD_D_UNKNOWN_NAME, find(&f, "b"), "b");
  kd__report(&f.sink, KD_D_UNUSED, find(&f, "a"), "a");
  kd__sink_finish(&f.sink);
  assert_int_equal(f.sink.diag.n, 5);
  const char *const want[] = { "`a` is never used", "unknown name `a`", "unknown name `b`", "unknown name `c`", "unknown name `none`" };
  for (size_t i = 0; i < 5; i++) assert_string_equal(f.sink.diag.v[i]->message, want[i]);
  assert_int_equal(f.sink.errors, 5);
  assert_int_equal(f.sink.warnings, 2);
  front_end(&f);
}

static void past_the_limit_errors_are_counted(void **s) {
  (void)s;
  front f;
  begin(&f, "a");
  f.sink.limit = 3;
  for (int i = 0; i < 10; i++) {
    kd_diag *d = kd__report(&f.sink, KD_D_UNKNOWN_NAME, (kd_span){ f.src, 0, 1 }, "a");
    assert_non_null(d);
    kd__diag_help(&f.sink, d, "never lost on a NULL");
  }
  kd__report(&f.sink, KD_D_UNUSED, find(&f, "a"), "a");
  assert_int_equal(f.sink.errors, 10);
  assert_int_equal(f.sink.diag.n, 4);            /* warnings have no limit */
  front_end(&f);
}

/* Codes are distinct, well formed, and agree with their severity. */
static void the_table_is_sound(void **s) {
  (void)s;
  static const kd_severity severities[] = {
#define KD_DIAG(ID, severity, code, text) severity,
#include "compiler/front/diag.def"
#undef KD_DIAG
  };
  for (int i = 0; i < KD_DIAG_COUNT; i++) {
    const char *c = kd__diag_code_name((kd_diag_code)i);
    assert_int_equal(strlen(c), 5);
    assert_int_equal(*c, severities[i] == KD_ERROR ? 'E' : severities[i] == KD_WARNING ? 'W' : 'N');
    for (int k = 0; k < i; k++) assert_string_not_equal(c, kd__diag_code_name((kd_diag_code)k));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_shape_of_the_design), cmocka_unit_test(labels_of_several_lines_and_files_are_in_order), cmocka_unit_test(without_a_place),
    cmocka_unit_test(tabs_wide_and_strange_characters), cmocka_unit_test(long_lines_are_cut_around_the_place), cmocka_unit_test(spans_at_the_ends),
    cmocka_unit_test(color_is_only_color), cmocka_unit_test(a_long_chain_shows_its_ends), cmocka_unit_test(json_is_escaped),
    cmocka_unit_test(the_sink_sorts_and_says_once), cmocka_unit_test(past_the_limit_errors_are_counted), cmocka_unit_test(the_table_is_sound) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
