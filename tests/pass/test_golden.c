/* test_golden.c: passes on text: golden files of cases, each a graph before and after a pass.
 *
 *   === PASS: what the case shows        (PASS: a row of passes.def, or `all` but `fuse`)
 *   graph
 *   ---
 *   graph after the pass
 *
 * KD_UPDATE_GOLDEN=1 writes what comes out into the files. The graph after is run through the pass again and must stay as it is. */
#include "compiler/pass/pass.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char *read_file(kd__arena *a, const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("%s: cannot be read", path);
  fseek(f, 0, SEEK_END);
  *n = (size_t)ftell(f);
  rewind(f);
  char *text = kd__arena_get(a, *n + 1);
  assert_int_equal(fread(text, 1, *n, f), *n);
  fclose(f);
  return text;
}

static kd_graph *run(const char *name, kd_graph *g) {
  if (strcmp(name, "all") == 0) return kd__pass_until(g, "fuse", NULL, NULL);
  const kd_pass_info *p = kd__pass_find(name);
  if (!p) fail_msg("there is no pass %s", name);
  return p->run(g);
}

/* The graph of the text after the pass, printed. Dead nodes are left out, as the next pass would. */
static void transform(kd__arena *a, const char *where, const char *pass, const char *text, size_t n, kd__buf *out) {
  kd_shape_error err;
  kd_graph *g = kd__graph_read(a, text, n, &err);
  if (!g) fail_msg("%s: %s", where, err.text);
  g = kd__pass_find("dce")->run(run(pass, g));
  if (!kd__graph_verify(g, &err)) fail_msg("%s: broken after the pass: %s", where, err.text);
  kd__graph_print(g, out);
}

/* Reads one case at p (`=== ...`) and appends what it should be to `now`. False where it differs. */
static bool one_case(kd__arena *a, const char *file, const char **p, kd__buf *now) {
  const char *line = strchr(*p, '\n') + 1, *mid = strstr(line, "---\n"), *end = mid ? strstr(mid, "\n=== ") : NULL;
  char pass[32], where[640];
  int title = (int)(line - 1 - *p);
  if (!mid) fail_msg("%s: a case without ---", file);
  if (sscanf(*p, "=== %31[a-z]:", pass) != 1) fail_msg("%s: %.*s", file, title, *p);
  snprintf(where, sizeof where, "%s, %.*s", file, title > 200 ? 200 : title, *p);
  const char *want = mid + 4, *stop = end ? end + 1 : want + strlen(want);
  kd__buf got = { 0 }, again = { 0 };
  transform(a, where, pass, line, (size_t)(mid - line), &got);
  transform(a, where, pass, got.p, got.n, &again);
  bool stable = again.n == got.n && memcmp(again.p, got.p, got.n) == 0;
  if (!stable) print_error("%s: a second run changes it further:\n%s", where, again.p);
  kd__buf_add(now, *p, (size_t)(want - *p));
  kd__buf_add(now, got.p, got.n);
  kd__buf_putc(now, '\n');
  while (stop > want && stop[-1] == '\n') stop--;
  bool same = (size_t)(stop - want) + 1 == got.n && memcmp(want, got.p, got.n - 1) == 0;
  if (!same && !getenv("KD_UPDATE_GOLDEN")) print_error("%s: wanted\n%.*s\ngot\n%s", where, (int)(stop - want), want, got.p);
  kd__buf_free(&got);
  kd__buf_free(&again);
  *p = end ? end + 1 : NULL;
  return same && stable;
}

static int check_file(const char *path, size_t *cases) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  size_t n;
  int bad = 0;
  const char *text = read_file(&a, path, &n), *p = strstr(text, "=== ");
  kd__buf now = { 0 };
  if (!p) fail_msg("%s: no case", path);
  kd__buf_add(&now, text, (size_t)(p - text));
  for (; p; ++*cases) bad += !one_case(&a, path, &p, &now);
  if (getenv("KD_UPDATE_GOLDEN")) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(now.p, 1, now.n - 1, f), now.n - 1);        /* without the last empty line */
    fclose(f);
  }
  kd__buf_free(&now);
  kd__arena_free(&a);
  return bad;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void golden_files(void **state) {
  (void)state;
  struct dirent **list;
  int n = scandir(KD_TEST_DIR, &list, NULL, by_name), bad = 0;
  size_t cases = 0;
  for (int i = 0; i < n; i++) {
    const char *name = list[i]->d_name, *dot = strrchr(name, '.');
    char path[400];
    if (dot && strcmp(dot, ".ir") == 0) {
      snprintf(path, sizeof path, "%s/%s", KD_TEST_DIR, name);
      bad += check_file(path, &cases);
    }
    free(list[i]);
  }
  if (n >= 0) free(list);
  print_message("%zu cases\n", cases);
  assert_true(cases >= 40);
  if (!getenv("KD_UPDATE_GOLDEN")) assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(golden_files) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
