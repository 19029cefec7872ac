/* test_golden.c: every loss of the library that a reference file has the values of, compared with it: loss and gradients.
 *
 * The files lie in ../shared/golden beside the project, or where KD_GOLDEN says; without them the test says so and is passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/golden/golden.h"
#include "runtime/files/json.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static const char *folder(void) {
  const char *f = getenv("KD_GOLDEN");
  return f && *f ? f : KD_ROOT "/../shared/golden";
}

static int only_files(const struct dirent *d) {
  const char *dot = strrchr(d->d_name, '.');
  return dot && strcmp(dot, ".safetensors") == 0;
}

static kd_syntax *methods(kd__arena *a) {
  char why[256], *text;
  size_t n;
  if (kd__file_read(KD_TEST_DIR "/methods.kd", KD_SOURCE_MAX, &text, &n, why, sizeof why) != KD_OK) fail_msg("%s", why);
  kd_sink sink = { 0 };
  kd__sink_init(&sink, a);
  kd_syntax *s = kd__parse(a, &sink, kd__source_new(a, "tests/golden/methods.kd", text, n, 1));
  free(text);
  kd__buf b = { 0 };
  for (size_t i = 0; i < sink.diag.n; i++) kd__diag_text(sink.diag.v[i], false, &b);
  if (sink.errors) fail_msg("%.*s", (int)b.n, b.p);
  kd__buf_free(&b);
  return s;
}

/* What became of the functions that the files are of, in alphabetic order as the files are. */
typedef struct function { char name[128]; int cases; bool known, failed; } function;
typedef struct tally { function *f; size_t n; int cases, failed; } tally;

static function *function_of(tally *t, const char *name) {
  if (t->n && strcmp(t->f[t->n - 1].name, name) == 0) return &t->f[t->n - 1];
  function *f = &t->f[t->n++];
  *f = (function){ 0 };
  snprintf(f->name, sizeof f->name, "%s", name);
  return f;
}

static void open_case(golden_case *c, const char *path) {
  char why[512];
  if (kd__st_open(path, &c->file, why, sizeof why) != KD_OK) fail_msg("%s", why);
  const char *hyper = kd__st_meta(&c->file, "hyper_parameters");
  if (hyper && kd__json_parse(hyper, strlen(hyper), path, &c->hyper, why, sizeof why) != KD_OK) fail_msg("%s", why);
}

static void one_file(const golden_library *lib, const char *name, tally *t) {
  char path[4096], method[128], label[128];
  snprintf(path, sizeof path, "%s/%s", folder(), name);
  snprintf(method, sizeof method, "%.*s", (int)strcspn(name, "."), name);
  snprintf(label, sizeof label, "%.*s", (int)(strlen(name) - strlen(".safetensors")), name);
  function *f = function_of(t, method);
  f->cases++;
  f->known = golden_definition(lib->methods, method) != NULL;
  if (!f->known) return;
  golden_case *c = calloc(1, sizeof *c);
  assert_non_null(c);
  c->label = label; c->method = method;
  open_case(c, path);
  bool ok = golden_compare(c, lib);
  t->cases++;
  t->failed += !ok;
  f->failed = f->failed || !ok;
  if (ok) printf("matched  %-32s of what is allowed: loss %.2f, gradients %.2f; single precision %.2f, %.2f\n", label,
                 c->worst_loss[0], c->worst_grad[0], c->worst_loss[1], c->worst_grad[1]);
  else printf("FAILED   %s: %s\n", label, c->why);
  json_decref(c->hyper);
  kd__st_close(&c->file);
  free(c);
}

/* Which functions match, and of each other one why not. Returns how many match. */
static int summary(const tally *t) {
  int matched = 0;
  for (size_t i = 0; i < t->n; i++) matched += t->f[i].known && !t->f[i].failed;
  printf("%d of %zu functions match (%d files):", matched, t->n, t->cases);
  for (size_t i = 0; i < t->n; i++) if (t->f[i].known && !t->f[i].failed) printf(" %s", t->f[i].name);
  printf("\n");
  for (size_t i = 0; i < t->n; i++)
    if (!t->f[i].known || t->f[i].failed) printf("not matched: %s: %s\n", t->f[i].name, t->f[i].failed ? "its value differs, see above" : "methods.kd has no definition for it");
  return matched;
}

static void references(void **state) {
  (void)state;
  struct dirent **file;
  int n = scandir(folder(), &file, only_files, alphasort);
  if (n <= 0) { printf("no reference files in %s: passed over (KD_GOLDEN names their folder)\n", folder()); skip(); }
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  golden_library lib = { KD_ROOT "/stdlib", methods(&a), &a };
  tally t = { calloc((size_t)n, sizeof(function)), 0, 0, 0 };
  assert_non_null(t.f);
  const char *only = getenv("KD_GOLDEN_ONLY");   /* one method, while working on it */
  for (int i = 0; i < n; i++) {
    if (!only || strncmp(file[i]->d_name, only, strlen(only)) == 0) one_file(&lib, file[i]->d_name, &t);
    free(file[i]);
  }
  free(file);
  kd__arena_free(&a);
  int matched = summary(&t);
  free(t.f);
  assert_int_equal(t.failed, 0);
  assert_true(only ? matched > 0 : matched >= 164);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(references) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
