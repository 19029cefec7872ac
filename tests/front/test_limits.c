/* Limits: depth, size, texts that are none, out of memory. */
#include "tests/front/front.h"

/* `open` n times, `middle`, `close` n times. */
static char *nested(const char *head, const char *open, size_t n, const char *middle, const char *close) {
  size_t a = strlen(open), b = strlen(close);
  char *s = malloc(strlen(head) + n * (a + b) + strlen(middle) + 2), *o = s;
  o += sprintf(o, "%s", head);
  for (size_t i = 0; i < n; i++) { memcpy(o, open, a); o += a; }
  o += sprintf(o, "%s", middle);
  for (size_t i = 0; i < n; i++) { memcpy(o, close, b); o += b; }
  strcpy(o, "\n");
  return s;
}

static uint32_t height(const kd_ast *n) {
  uint32_t h = 0;
  for (uint32_t i = 0; i < n->n; i++) {
    uint32_t k = n->kid[i] ? height(n->kid[i]) : 0;
    if (k > h) h = k;
  }
  return h + 1;
}

/* 100,000 deep or long: one diagnostic, a tree that can be walked, no time to speak of. */
static void deep_texts(void **s) {
  (void)s;
  static const struct { const char *head, *open, *middle, *close; } texts[] = {
    { "let x = ", "(", "1", ")" }, { "let x = ", "[", "", "]" }, { "let x = ", "f(a, ", "1", ")" }, { "let x = ", "x[", "0", "]" }, { "", "if a { ", "b = 1", " }" },
{ "let x = ", "(a: ", "1", ")" }, { "let x = ", "[f(", "1", ")]" }, { "fn f(x: ", "(a: ", "[B]", ")" }, { "let x = ", "(", "", "" },
    { "let x = ", "1 + ", "1", "" }, { "let x = ", "- ", "1", "" }, { "let x = ", "not ", "a", "" }, { "let x = ", "2 ^ ", "1", "" }, { "let x = ", "if a then b else ", "c", "" },
    { "let x = ", "fn(x) = ", "c", "" }, { "let x = a", "", "", ".b" }, { "let x = a", "", "", "(1)" }, { "let x = a", "", "", "[0]" }, { "if a { b = 1 }", "", "", " else if a { b = 1 }" },
    { "let x = a", "", "", " |> f" }, { "let x = a", "", "", " and b" } };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char *text = nested(texts[i].head, texts[i].open, 100000, texts[i].middle, texts[i].close);
    front f;
    front_parse(&f, text);
    if (f.sink.diag.n != 1) { f.sink.diag.n = f.sink.diag.n > 5 ? 5 : f.sink.diag.n; fail_msg("case %zu: %s", i, front_diags(&f)); }
    assert_string_equal(kd__diag_code_name(f.sink.diag.v[0]->code), "E0023");
    assert_true(f.syn->file->height <= 1 + KD_NEST_MAX + 8);
    kd__ast_dump(f.syn->file, &f.out);
    front_end(&f);
    free(text);
  }
}

static void as_deep_as_allowed(void **s) {
  (void)s;
  char *text = nested("let x = ", "(", KD_NEST_MAX, "1", ")");
  front f;
  front_parse(&f, text);
  assert_string_equal(front_diags(&f), "");
  front_end(&f);
  free(text);
  text = nested("let x = 1", "", KD_NEST_MAX - 2, "", " + 1");   /* and the statement around it */
  front_parse(&f, text);
  assert_string_equal(front_diags(&f), "");
  assert_int_equal(height(f.syn->file->kid[0]), f.syn->file->kid[0]->height);
  front_end(&f);
  free(text);
}

/* Long texts that are not deep are no trouble. */
static void long_texts(void **s) {
  (void)s;
  static const struct { const char *head, *open, *middle, *close; size_t statements; } texts[] = {
    { "", "a = 1\n", "", "", 100000 }, { "let x = [", "1, ", "2", "", 1 }, { "a", ", a", "", "", 1 }, { "use a", ".b", "", "", 1 }, { "", "// c\n", "a = 1", "", 1 } };
  static const char *const tails[] = { "", "]", " = f(1)", "", "" };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    char *body = nested(texts[i].head, texts[i].open, i == 3 ? 1000 : 100000, texts[i].middle, texts[i].close), *text = malloc(strlen(body) + 20);
    body[strlen(body) - 1] = 0;
    sprintf(text, "%s%s\n", body, tails[i]);
    front f;
    front_parse(&f, text);
    assert_string_equal(front_diags(&f), "");
    assert_int_equal(f.syn->file->n, texts[i].statements);
    front_end(&f);
    free(text);
    free(body);
  }
}

static void many_faults_are_counted(void **s) {
  (void)s;
  char *text = nested("", "a b\n", 100000, "", "");
  front f;
  front_parse(&f, text);
  assert_true(f.sink.errors >= 1000 && f.sink.diag.n == 50);
  front_end(&f);
  free(text);
}

static void the_largest_text(void **s) {
  (void)s;
  static const char line[] = "// sixteen bytes\n";
  char *text = malloc(KD_SOURCE_MAX + 1);
  size_t n = 0;
  for (; n + sizeof line <= KD_SOURCE_MAX; n += sizeof line - 1) memcpy(text + n, line, sizeof line - 1);
  memset(text + n, ' ', KD_SOURCE_MAX - n);
  memcpy(text + KD_SOURCE_MAX - 6, "\na = @", 6);
  text[KD_SOURCE_MAX] = 0;
  front f;
  front_begin(&f, "large.kd", text, KD_SOURCE_MAX);
  f.syn = kd__parse(&f.arena, &f.sink, f.src);
  assert_int_equal(f.sink.errors, 1);
  assert_int_equal(f.sink.diag.v[0]->label[0].span.at, KD_SOURCE_MAX - 1);
  assert_true(strlen(front_diags(&f)) < 300);
  front_end(&f);
  free(text);
}

static void texts_that_are_none(void **s) {
  (void)s;
  static const struct { const char *text; size_t n; const char *code; } texts[] = {
    { "", 0, "E0003" }, { "\n\n  \n", 5, "E0003" }, { "// only\n", 8, "E0003" }, { ";;\n", 3, "E0003" }, { "a = 1\0b = 2", 11, "E0001" }, { "\0", 1, "E0001" },
    { "a = \"\xe9\"\n", 8, "E0002" }, { "\xff\xfe" "a\0", 4, "E0002" }, { "\xc0\x80", 2, "E0002" }, { "\xed\xa0\x80", 3, "E0002" }, { "\xf4\x90\x80\x80", 4, "E0002" },
    { "a = 1 \xe2\x82", 8, "E0002" } };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    front f;
    front_begin(&f, "a.kd", texts[i].text, texts[i].n);
    f.syn = kd__parse(&f.arena, &f.sink, f.src);
    assert_int_equal(f.sink.diag.n, 1);
    assert_string_equal(kd__diag_code_name(f.sink.diag.v[0]->code), texts[i].code);
    assert_int_equal(f.syn->file->kind, KD_AST_FILE);
    kd__ast_dump(f.syn->file, &f.out);
    front_diags(&f);
    front_end(&f);
  }
}

/* --- out of memory ------------------------------------------------------------------------------------------------------------------ */
typedef struct counted { size_t calls, fail_at; } counted;
static void *counting(void *ctx, void *old, size_t old_size, size_t new_size) {
  counted *c = ctx;
  if (new_size && c->calls++ == c->fail_at) return NULL;
  return kd__default_allocator.resize(NULL, old, old_size, new_size);
}

/* A program whose nodes need several blocks, with faults, so that diagnostics are made as well. */
static char *program(void) {
  return nested("net f(x: [B, D]) { return x }\nlet b = x[1:3]\n", "if a { b = f(-x, [(1 + 2) * 3 for y in z]) } else { c = (\n", 300, "d = 2\n", "}\n");
}

/* Returns false when memory ran out, true when it was enough. `before` bytes of the arena are taken, so that its blocks end elsewhere. */
static bool parse_with(const char *text, size_t fail_at, size_t before) {
  counted c = { 0, SIZE_MAX };
  kd_allocator alloc = { counting, &c };
  kd__oom oom = { .armed = true };
  kd__arena a;
  kd__arena_init(&a, &alloc, &oom);
  if (setjmp(oom.jump)) {
    assert_ptr_equal(a.oom, &oom);               /* the parser put back the way out that it had replaced */
    kd__arena_free(&a);
    return false;
  }
  kd__arena_get(&a, before);
  const kd_source *src = kd__source_new(&a, "a.kd", text, strlen(text), 1);
  kd_sink sink;
  kd__sink_init(&sink, &a);
  c.fail_at = c.calls + fail_at;
  kd_syntax *syn = kd__parse(&a, &sink, src);
  kd__sink_finish(&sink);
  assert_non_null(syn->file);
  assert_true(sink.errors > 0);
  kd__arena_free(&a);
  return true;
}

static void memory_may_run_out_anywhere(void **s) {
  (void)s;
  char *text = program();
  size_t n = 0;
  while (!parse_with(text, n, 16)) n++;
  assert_true(n >= 2);                           /* it failed at each block in turn; leaks are the sanitizer's */
  for (size_t before = 16; before < (64 << 10); before += 144) parse_with(text, 0, before);
  free(text);
  assert_false(parse_with("let a = b", 0, 60 << 10));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(deep_texts), cmocka_unit_test(as_deep_as_allowed), cmocka_unit_test(long_texts), cmocka_unit_test(many_faults_are_counted),
    cmocka_unit_test(the_largest_text), cmocka_unit_test(texts_that_are_none), cmocka_unit_test(memory_may_run_out_anywhere) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
