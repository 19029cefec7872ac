/* test_schemes.c: what schemes become. The .txt files of schemes/ hold cases:
 *
 *   == name
 *   the program
 *   --
 *   each program's plan: what it reads of networks, what it writes, its results; then the scheme's instructions
 *
 * So the rules of design 2.7 about what a step trains, what commits and which mode holds are visible as names of slots.
 * KD_UPDATE_GOLDEN=1 writes what is made now into the files. */
#include "tests/elaborate/library.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static bool in(const uint32_t *list, uint32_t n, uint32_t x) {
  for (uint32_t i = 0; i < n; i++) if (list[i] == x) return true;
  return false;
}

/* Slots that calls read before the plan ends. */
static bool reads(const kd_plan *p, uint32_t slot) {
  for (uint32_t i = 0; i < p->ncall; i++)
    for (uint32_t k = 0; k < p->call[i].nin; k++) {
      const kd_plan_tensor *t = &p->tensor[p->call[i].in[k]];
      if (t->place == KD_IN_SLOT && t->slot == slot) return true;
    }
  return false;
}

static void show_plan(const kd_module *m, const kd_plan *p, kd__buf *out) {
  kd__buf_printf(out, "%s\n  reads", p->name);
  for (uint32_t i = 0; i < m->nslot; i++) if (reads(p, i)) kd__buf_printf(out, " %s", m->slot[i].name);
  kd__buf_puts(out, "\n  writes");
  for (uint32_t i = 0; i < m->nslot; i++) if (in(p->writes, p->nwrites, i)) kd__buf_printf(out, " %s", m->slot[i].name);
  kd__buf_puts(out, "\n  results");
  for (uint32_t i = 0; i < p->nresult; i++) kd__buf_printf(out, " %s", p->result[i].name);
  kd__buf_putc(out, '\n');
}

static void show_code(const kd_module *m, kd__buf *out) {
  static const char *const name[] = {
#define KD_CODE(ID, a, b, c, doc) #ID,
#include "runtime/exec/code.def"
#undef KD_CODE
  };
  for (uint32_t i = 0; i < m->ncode; i++) {
    const kd_code *c = &m->code[i];
    kd__buf_printf(out, "%3u %s", i, name[c->op]);
    if (c->op == KD_CODE_RUN || c->op == KD_CODE_STEP || c->op == KD_CODE_LOSS || c->op == KD_CODE_EVAL) kd__buf_printf(out, " %s", m->plan[c->a]->name);
    else if (c->op == KD_CODE_STAGE) kd__buf_printf(out, " %s, %lld epochs of %lld steps", m->stage[c->a].name, (long long)m->stage[c->a].epochs,
                                                   (long long)(m->stage[c->a].epochs ? m->stage[c->a].steps / m->stage[c->a].epochs : m->stage[c->a].steps));
    else kd__buf_printf(out, " %lld %lld %lld", (long long)c->a, (long long)c->b, (long long)c->c);
    if (c->op == KD_CODE_SAVE && c->origin) {    /* what the program itself saves */
      kd__buf_printf(out, " %s:", m->string[c->b]);
      for (uint32_t k = 0; k < m->group[c->a].n; k++) kd__buf_printf(out, " %s", m->group[c->a].path[k]);
    }
    kd__buf_putc(out, '\n');
  }
}

static void run_case(const char *name, const char *text, size_t n, kd__buf *out) {
  kd__arena a;
  kd_sink sink;
  kd__arena_init(&a, NULL, NULL);
  kd__sink_init(&sink, &a);
  kd_elab_options opt = kd_test_options(&a);
  bool definitions_only;
  kd_source *src = kd__source_new(&a, name, text, n, 0);
  kd_module *m = kd__elaborate(&a, &sink, kd__parse(&a, &sink, src), &opt, &definitions_only);
  kd_test_diagnostics(&sink, out);
  for (uint32_t i = 0; m && i < m->nplan; i++) if (strcmp(m->plan[i]->name, "init") != 0) show_plan(m, m->plan[i], out);
  if (m) show_code(m, out);
  kd__arena_free(&a);
}

static size_t ncases;
static size_t run_file(const char *path) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  size_t size, bad = 0;
  char *text = kd_test_read(&a, path, &size);
  assert_non_null(text);
  kd__buf whole = { 0 };
  for (char *p = strncmp(text, "== ", 3) == 0 ? text : NULL; p; ncases++) {
    char *head = strchr(p, '\n'), *cut = head ? strstr(head, "\n--\n") : NULL;
    if (!cut) { print_error("%s: a case lacks its `--`\n", path); bad++; break; }
    char *next = strstr(cut, "\n== "), *name = kd__arena_strndup(&a, p + 3, (size_t)(head - p - 3));
    const char *want = kd__arena_strndup(&a, cut + 4, next ? (size_t)(next + 1 - cut - 4) : strlen(cut + 4));
    kd__buf got = { 0 };
    run_case(name, head + 1, (size_t)(cut - head), &got);
    kd__buf_printf(&whole, "== %s\n%.*s--\n%s", name, (int)(cut - head), head + 1, got.p ? got.p : "");
    if (!got.p || strcmp(want, got.p) != 0) {
      bad++;
      if (!getenv("KD_UPDATE_GOLDEN")) print_error("%s, case %s: expected\n%s\nbut it became\n%s\n", path, name, want, got.p ? got.p : "");
    }
    kd__buf_free(&got);
    p = next ? next + 1 : NULL;
  }
  if (kd_test_update(path, &whole)) bad = 0;
  kd__buf_free(&whole);
  kd__arena_free(&a);
  return bad;
}

static void test_schemes(void **state) {
  (void)state;
  size_t bad = kd_test_each_file("schemes", run_file);
  print_message("%zu schemes\n", ncases);
  assert_true(ncases > 0);
  assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_schemes) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
