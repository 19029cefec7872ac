/* test_wrong.c: wrong programs and what the compiler says of them. the .txt files of wrong/ hold cases:
 *
 *   == name            (a second word `check`: each definition is also tried by itself)
 *   the program
 *   -- NAME=value ...  (settings, if any; memory-limit=BYTES is that option)
 *   the diagnostics, to the letter
 *
 * KD_UPDATE_GOLDEN=1 writes what is said now into the files. Every row of diag_elab.def must be said in some case. */
#include "tests/elaborate/library.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct golden_case { const char *name, *program, *settings, *said; size_t program_size; bool check; } golden_case;
static bool seen[KD_DIAG_COUNT];
static size_t ncases;

/* --- running one -------------------------------------------------------------------------------------------------------------- */
static kd_setting *settings_of(kd__arena *a, const char *line, size_t *n, int64_t *memory) {
  kd_setting *s = KD_NEWN(a, kd_setting, 16);
  char *text = kd__arena_strndup(a, line, strlen(line));
  for (char *w = strtok(text, " "); w && *n < 16; w = strtok(NULL, " ")) {
    char *eq = strchr(w, '=');
    if (!eq) continue;
    *eq = 0;
    if (strcmp(w, "memory-limit") == 0) { *memory = strtoll(eq + 1, NULL, 10); continue; }
    s[(*n)++] = (kd_setting){ .path = w, .value = eq + 1 };
  }
  return s;
}

static void run_case(const golden_case *c, kd__buf *out) {
  kd__arena a;
  kd_sink sink;
  kd__arena_init(&a, NULL, NULL);
  kd__sink_init(&sink, &a);
  kd_elab_options opt = kd_test_options(&a);
  opt.check_definitions = c->check;
  opt.setting = settings_of(&a, c->settings, &opt.nsetting, &opt.memory);
  kd_source *src = kd__source_new(&a, kd__arena_printf(&a, "%s.kd", c->name), c->program, c->program_size, 0);
  bool definitions_only;
  kd_module *m = kd__elaborate(&a, &sink, kd__parse(&a, &sink, src), &opt, &definitions_only);
  if (m) assert_int_equal(sink.errors, 0);
  kd_test_diagnostics(&sink, out);
  for (size_t i = 0; i < sink.diag.n; i++) seen[sink.diag.v[i]->code] = true;
  kd__arena_free(&a);
}

/* --- files of cases -------------------------------------------------------------------------------------------------------------- */
static char *line_end(char *p) { char *e = strchr(p, '\n'); return e ? e + 1 : p + strlen(p); }

static char *next_case(kd__arena *a, char *p, golden_case *c) {
  char *e = line_end(p), name[128] = "", flag[16] = "";
  if (sscanf(p, "== %127s %15s", name, flag) < 1) return NULL;
  c->name = kd__arena_strndup(a, name, strlen(name));
  c->check = strcmp(flag, "check") == 0;
  c->program = e;
  while (*e && strncmp(e, "--", 2) != 0) e = line_end(e);
  c->program_size = (size_t)(e - c->program);
  char *s = line_end(e);
  c->settings = kd__arena_strndup(a, *e ? e + 2 : e, s > e + 3 ? (size_t)(s - e - 3) : 0);
  char *end = s;
  while (*end && strncmp(end, "== ", 3) != 0) end = line_end(end);
  c->said = kd__arena_strndup(a, s, (size_t)(end - s));
  return end;
}

static bool is_blank(const char *s) { return s[strspn(s, " \n")] == 0; }

/* Diagnostics compared without the blank lines around them. */
static bool same_text(const char *want, const kd__buf *got) {
  size_t n = strlen(want), m = got->n;
  while (n && want[n - 1] == '\n') n--;
  while (m && got->p[m - 1] == '\n') m--;
  return n == m && (n == 0 || memcmp(want, got->p, n) == 0);
}

static size_t run_file(const char *path) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  size_t size, bad = 0;
  char *text = kd_test_read(&a, path, &size);
  assert_non_null(text);
  kd__buf whole = { 0 };
  golden_case c;
  for (char *p = text; p && *p;) {
    p = next_case(&a, p, &c);
    if (!p) { print_error("%s: a case begins with `== name`\n", path); bad++; break; }
    kd__buf got = { 0 };
    run_case(&c, &got);
    ncases++;
    kd__buf_printf(&whole, "== %s%s\n%.*s--%s\n%s\n", c.name, c.check ? " check" : "", (int)c.program_size, c.program, c.settings, got.p ? got.p : "");
    if (!same_text(c.said, &got) || is_blank(got.p ? got.p : "")) {
      bad++;
      if (!getenv("KD_UPDATE_GOLDEN")) print_error("%s, case %s: expected\n%s\nbut was told\n%s\n", path, c.name, c.said, got.p ? got.p : "");
      if (is_blank(got.p ? got.p : "")) print_error("%s, case %s: nothing was said\n", path, c.name);
    }
    kd__buf_free(&got);
  }
  if (kd_test_update(path, &whole)) bad = 0;
  kd__buf_free(&whole);
  kd__arena_free(&a);
  return bad;
}

static void test_wrong_programs(void **state) {
  (void)state;
  size_t bad = kd_test_each_file("wrong", run_file);
  print_message("%zu wrong programs\n", ncases);
  assert_int_equal(bad, 0);
}

/* What only a broken compiler says has no program; what a run says is tested with the runs; no operator refuses a gradient so far
 * (tests/autodiff/test_contracts.c: with limits of its own). */
static bool elsewhere(kd_diag_code c) { return c == KD_D_INTERNAL || c == KD_D_RUN_FAILED || c == KD_D_NO_GRADIENT || c == KD_D_GRADIENT_ONCE; }

static void test_every_row_is_said(void **state) {
  (void)state;
  static const struct { kd_diag_code code; const char *name; } row[] = {
#define KD_DIAG(ID, severity, code, text) { KD_D_##ID, #ID },
#include "compiler/front/diag_elab.def"
#undef KD_DIAG
  };
  size_t missing = 0;
  for (size_t i = 0; i < sizeof row / sizeof *row; i++)
    if (!seen[row[i].code] && !elsewhere(row[i].code)) { print_error("no wrong program is told %s (%s)\n", row[i].name, kd__diag_code_name(row[i].code)); missing++; }
  assert_int_equal(missing, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_wrong_programs), cmocka_unit_test(test_every_row_is_said) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
