/* test_flow.c: schemes that decide, loop and carry values while they run, against values worked out by hand; run twice, and stopped, saved and
 * restored between instructions: the same bits. The .txt files beside it hold cases:
 *
 *   == name
 *   the program: below it stand the definitions of library.kd; its data are eight (1..8), four (1..4) and pairs (see write_data)
 *   --
 *   LABEL RELATION NUMBER: a row of the report; = is within 1e-9 */
#include "tests/files/temp.h"
#include "compiler/elaborate/elaborate.h"
#include "runtime/run/machine.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { STOPS = 10 };                             /* instructions after which a run is stopped: spread over the whole, elsewhere in each case */

static char *read_text(kd__arena *a, const char *path) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  kd__buf b = { 0 };
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) kd__buf_add(&b, part, n);
  (void)fclose(f);
  char *text = kd__arena_strndup(a, b.p ? b.p : "", b.n);
  kd__buf_free(&b);
  return text;
}

/* --- data ------------------------------------------------------------------------------------------------------------------------ */
static void write_data(temp *f) {
  unsigned char eight[8 + 8] = { 0, 0, 8, 1, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8 }, four[8 + 4] = { 0, 0, 8, 1, 0, 0, 0, 4, 1, 2, 3, 4 };
  temp_write(f, "eight", (char *)eight, sizeof eight);
  temp_write(f, "four", (char *)four, sizeof four);
}

static bool describe(void *ctx, const kd_dataset *d, int64_t *rows, char *why, size_t n) {
  (void)ctx, (void)why, (void)n;
  for (uint32_t i = 0; i < d->nsplit; i++) rows[i] = d->split[i].count >= 0 ? d->split[i].count : strstr(d->split[i].field[0].path, "eight") ? 8 : 4;
  return true;
}

static const char *load(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  (void)near;
  kd__arena *a = ctx;
  *shown = "library.kd";
  if (strcmp(name, "prelude") != 0) return NULL;
  const char *text = read_text(a, KD_TEST_DIR "/library.kd");
  *size = strlen(text);
  return text;
}

static size_t ncases;                            /* so far */

/* --- runs ------------------------------------------------------------------------------------------------------------------------- */
static kd__run_options options(const temp *f, const char **folder) {
  *folder = f->folder;
  return (kd__run_options){ .seed = 3, .threads = 1, .reference = true, .search = { folder, 1, NULL }, .version = "test" };
}

static kd_machine *open_machine(const kd_module *m, const kd__run_options *o) {
  kd_machine *r;
  kd__run_error err;
  if (kd__machine_open(m, o, &r, &err) != KD_OK) fail_msg("%s", err.text);
  return r;
}

static void go(kd_machine *r) {
  kd__run_error err;
  if (kd__machine_go(r, &err) != KD_OK) fail_msg("%s", err.text);
}

static void same(const kd_module *m, const kd_machine *a, const kd_machine *b, const char *name, int64_t stop) {
  for (uint32_t i = 0; i < m->nslot; i++) {
    const kd_slot *s = &m->slot[i];
    if (s->kind == KD_SLOT_FIELD || s->kind == KD_SLOT_SCALAR) continue;
    size_t bytes = (size_t)kd__type_count(&s->type) * kd__dtype_size((kd_dtype)s->type.dtype);
    if (memcmp(kd__machine_slot(a, i), kd__machine_slot(b, i), bytes) != 0) fail_msg("%s: stopped after %lld instructions, `%s` is another", name, (long long)stop, s->name);
  }
  if (memcmp(a->pos.reg, b->pos.reg, m->nreg * sizeof(double)) != 0) fail_msg("%s: stopped after %lld instructions, a register is another", name, (long long)stop);
}

static void stop_and_go_on(temp *f, const kd_module *m, const kd__run_options *o, const kd_machine *whole, int64_t stop, const char *name) {
  kd__run_error err;
  kd_machine *a = open_machine(m, o);
  for (int64_t k = 0; k < stop && !a->ended; k++) if (kd__code_one(a) != KD_OK) fail_msg("%s: %s", name, a->error.text);
  if (kd__machine_save(a, temp_path(f, "stopped.safetensors"), &err) != KD_OK) fail_msg("%s", err.text);
  kd__machine_close(a);
  kd_machine *b = open_machine(m, o);
  if (kd__machine_restore(b, f->path, &err) != KD_OK) fail_msg("%s: %s", name, err.text);
  go(b);
  same(m, whole, b, name, stop);
  kd__machine_close(b);
}

static size_t expect(const char *name, const kd_module *m, const kd_machine *r, const char *line) {
  char label[200], relation;
  double want;
  size_t n = strcspn(line, "=<>");
  if (n == 0 || n >= sizeof label || sscanf(line + n, "%c %lf", &relation, &want) != 2) { print_error("%s: `%.40s` is no expectation\n", name, line); return 1; }
  memcpy(label, line, n);
  while (n > 0 && label[n - 1] == ' ') n--;
  label[n] = 0;
  for (uint32_t i = 0; i < m->nreport; i++) {
    if (strcmp(m->report[i].label, label) != 0) continue;
    double got = kd__machine_report(r, i);
    if (relation == '=' ? fabs(got - want) < 1e-9 : relation == '<' ? got < want : got > want) return 0;
    print_error("%s: `%s` should be %c %.10g and is %.10g\n", name, label, relation, want, got);
    return 1;
  }
  print_error("%s: nothing is reported as `%s`\n", name, label);
  return 1;
}

static size_t run_case(temp *f, const char *name, const char *text, size_t n, const char *want) {
  kd__arena a;
  kd_sink sink;
  kd__arena_init(&a, NULL, NULL);
  kd__sink_init(&sink, &a);
  kd_elab_options opt = { .load = load, .load_ctx = &a, .describe = describe, .real = KD_F64 };
  bool definitions_only;
  kd_source *src = kd__source_new(&a, name, text, n, 0);
  kd_module *m = kd__elaborate(&a, &sink, kd__parse(&a, &sink, src), &opt, &definitions_only);
  kd__buf said = { 0 };
  kd__sink_finish(&sink);
  for (size_t i = 0; i < sink.diag.n; i++) kd__diag_text(sink.diag.v[i], false, &said);
  if (!m) { print_error("%s\n", said.p ? said.p : "no scheme"); kd__buf_free(&said); kd__arena_free(&a); return 1; }
  const char *folder;
  kd__run_options o = options(f, &folder);
  kd_machine *whole = open_machine(m, &o), *again = open_machine(m, &o);
  int64_t instructions = 0;
  for (; !whole->ended; instructions++) if (kd__code_one(whole) != KD_OK) fail_msg("%s: %s", name, whole->error.text);
  go(again);
  same(m, whole, again, name, 0);
  size_t bad = 0;
  for (const char *line = want; *line; line += strcspn(line, "\n"), line += *line == '\n') if (*line != '\n') bad += expect(name, m, whole, line);
  if (!bad) for (int64_t k = 0; k < STOPS; k++) stop_and_go_on(f, m, &o, whole, instructions < STOPS ? k : ((int64_t)ncases * 7 % STOPS + k * STOPS) * instructions / (STOPS * STOPS), name);
  kd__machine_close(again);
  kd__machine_close(whole);
  kd__buf_free(&said);
  kd__arena_free(&a);
  return bad;
}

static size_t run_file(temp *f, const char *path) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  size_t bad = 0;
  char *text = read_text(&a, path), *p = text;
  const char *only = getenv("KD_CASE");
  for (; p && *p; ncases++) {
    char *head = strchr(p, '\n'), *cut = strstr(p, "\n--\n"), *next = strstr(p + 1, "\n== ");
    assert_true(strncmp(p, "== ", 3) == 0 && cut && (!next || cut < next));
    const char *name = kd__arena_strndup(&a, p + 3, (size_t)(head - p - 3));
    if (!only || strcmp(only, name) == 0)
      bad += run_case(f, name, head + 1, (size_t)(cut - head), kd__arena_strndup(&a, cut + 4, next ? (size_t)(next - cut - 4) : strlen(cut + 4)));
    p = next ? next + 1 : NULL;
  }
  kd__arena_free(&a);
  return bad;
}

static int is_cases(const struct dirent *d) { const char *dot = strrchr(d->d_name, '.'); return dot && strcmp(dot, ".txt") == 0 && strcmp(d->d_name, "CMakeLists.txt") != 0; }

static void test_flow(void **state) {
  temp *f = *state;
  struct dirent **file;
  write_data(f);
  int n = scandir(KD_TEST_DIR, &file, is_cases, alphasort);
  assert_true(n > 0);
  size_t bad = 0;
  for (int i = 0; i < n; i++) {
    char path[4096];
    assert_true(snprintf(path, sizeof path, "%s/%s", KD_TEST_DIR, file[i]->d_name) < (int)sizeof path);
    bad += run_file(f, path);
    free(file[i]);
  }
  free(file);
  print_message("%zu schemes\n", ncases);
  assert_true(ncases > 0);
  assert_int_equal(bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_flow, temp_open, temp_close) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
