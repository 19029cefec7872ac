/* Golden files. good/NAME.kd parses without a word and gives NAME.tokens and NAME.ast; bad/NAME.kd gives NAME.diag. Each diagnostic of
 * the front end (codes below 100) must come from a case in bad/. To write the files anew: KD_UPDATE_GOLDEN=1 test_front_golden; then read the
 * difference before it is committed. */
#include "tests/front/front.h"
#include <dirent.h>

static bool updating(void) { const char *s = getenv("KD_UPDATE_GOLDEN"); return s && *s == '1'; }

static char *read_file(kd__arena *a, const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  kd__buf b = { 0 };
  char part[4096];
  for (size_t k; (k = fread(part, 1, sizeof part, f)); ) kd__buf_add(&b, part, k);
  fclose(f);
  char *s = kd__arena_strndup(a, b.p ? b.p : "", b.n);
  *n = b.n;
  kd__buf_free(&b);
  return s;
}

static void compare(front *f, const char *path) {
  size_t n;
  kd__buf_puts(&f->out, "");
  if (updating()) {
    FILE *w = fopen(path, "wb");
    assert_non_null(w);
    fwrite(f->out.p, 1, f->out.n, w);
    assert_int_equal(fclose(w), 0);
    return;
  }
  const char *want = read_file(&f->arena, path, &n);
  if (!want) fail_msg("%s is missing: KD_UPDATE_GOLDEN=1 writes it", path);
  if (n != f->out.n || memcmp(want, f->out.p, n) != 0) fail_msg("%s differs; this came:\n%s", path, f->out.p);
}

static void good(const char *dir, const char *name) {
  front f;
  size_t n;
  char path[512];
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  snprintf(path, sizeof path, "%s/%s.kd", dir, name);
  const char *text = read_file(&a, path, &n);
  char file[256];
  snprintf(file, sizeof file, "%s.kd", name);
  front_begin(&f, file, text, n);
  f.syn = kd__parse(&f.arena, &f.sink, f.src);
  assert_string_equal(front_diags(&f), "");
  f.out.n = 0;
  kd__ast_dump(f.syn->file, &f.out);
  snprintf(path, sizeof path, "%s/%s.ast", dir, name);
  compare(&f, path);
  f.out.n = 0;
  kd__tokens_dump(&f.arena, &f.sink, f.src, &f.out);
  assert_int_equal(f.sink.diag.n, 0);
  snprintf(path, sizeof path, "%s/%s.tokens", dir, name);
  compare(&f, path);
  front_end(&f);
  kd__arena_free(&a);
}

static bool seen[KD_DIAG_COUNT];                 /* rows that some case in bad/ gave */

static void bad(const char *dir, const char *name) {
  front f;
  size_t n;
  char path[512], file[256];
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  snprintf(path, sizeof path, "%s/%s.kd", dir, name);
  snprintf(file, sizeof file, "%s.kd", name);
  const char *text = read_file(&a, path, &n);
  front_begin(&f, file, text, n);
  f.syn = kd__parse(&f.arena, &f.sink, f.src);
  assert_non_null(f.syn->file);
  assert_true(f.sink.diag.n > 0);
  kd__sink_finish(&f.sink);
  for (size_t i = 0; i < f.sink.diag.n; i++) seen[f.sink.diag.v[i]->code] = true;
  front_diags(&f);
  snprintf(path, sizeof path, "%s/%s.diag", dir, name);
  compare(&f, path);
  f.out.n = 0;
  kd__ast_dump(f.syn->file, &f.out);             /* what was understood can be walked */
  for (size_t i = 0; i < f.sink.diag.n; i++) { f.out.n = 0; kd__diag_json(f.sink.diag.v[i], &f.out); assert_int_equal(f.out.p[f.out.n - 1], '}'); }
  front_end(&f);
  kd__arena_free(&a);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static size_t each(const char *dir, void (*run)(const char *dir, const char *name)) {
  char *names[256];
  size_t n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d)); ) {
    size_t len = strlen(e->d_name);
    if (len < 4 || strcmp(e->d_name + len - 3, ".kd") != 0) continue;
    assert_true(n < 256);
    names[n] = strdup(e->d_name);
    names[n++][len - 3] = 0;
  }
  closedir(d);
  qsort(names, n, sizeof *names, by_name);
  for (size_t i = 0; i < n; i++) { run(dir, names[i]); free(names[i]); }
  return n;
}

static void good_texts(void **s) { (void)s; assert_true(each(KD_TEST_DIR "/good", good) >= 5); }
static void bad_texts(void **s) { (void)s; assert_true(each(KD_TEST_DIR "/bad", bad) >= 5); }

static void every_row_has_a_case(void **s) {
  (void)s;
  int missing = 0;
  for (int i = 0; i < KD_DIAG_COUNT; i++) {
    const char *code = kd__diag_code_name((kd_diag_code)i);
    if (atoi(code + 1) >= 100 || seen[i]) continue;
    print_error("no case in tests/front/bad gives %s\n", code);
    missing++;
  }
  assert_int_equal(missing, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(good_texts), cmocka_unit_test(bad_texts), cmocka_unit_test(every_row_has_a_case) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
