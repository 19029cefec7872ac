/* library.c: see library.h. */
#include "tests/elaborate/library.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

char *kd_test_read(kd__arena *a, const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  kd__buf b = { 0 };
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) kd__buf_add(&b, part, n);
  (void)fclose(f);
  char *text = kd__arena_strndup(a, b.p ? b.p : "", b.n);
  *size = b.n;
  kd__buf_free(&b);
  return text;
}

static const char *load(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  (void)near;
  kd__arena *a = ctx;
  *shown = kd__arena_printf(a, "lib/%s.kd", name);
  return strcmp(name, "?") == 0 ? "sets\nnets\nlosses\noptim\nmetrics\n" : kd_test_read(a, kd__arena_printf(a, "%s/lib/%s.kd", KD_TEST_DIR, name), size);
}

static const char *load_stdlib(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  (void)near;
  *shown = kd__arena_printf(ctx, "stdlib/%s.kd", name);
  return strcmp(name, "?") == 0 ? "" : kd_test_read(ctx, kd__arena_printf(ctx, "%s/stdlib/%s.kd", KD_ROOT, name), size);
}

static bool describe(void *ctx, const kd_dataset *d, int64_t *rows, char *why, size_t n) {
  (void)ctx;
  for (uint32_t i = 0; i < d->nsplit; i++) {
    const char *path = d->split[i].field[0].path;
    if (strncmp(path, "absent", 6) == 0) { (void)snprintf(why, n, "%s: no such file", path); return false; }
    rows[i] = d->split[i].count >= 0 ? d->split[i].count : strstr(path, "test") ? 10 : 40;
  }
  return true;
}

/* Of a `linear(out: 3)` on 16 numbers, or what somebody might have instead. */
static kd_status weights(void *ctx, const char *file, kd_weights *out, char *why, size_t n) {
  (void)ctx;
  static const kd_weight whole[] = { { "W", "F32", { KD_F32, 2, { 3, 16 } } }, { "b", "F32", { KD_F32, 1, { 3 } } } };
  static const kd_weight types[] = { { "W", "I32", { KD_I64, 2, { 3, 16 } } }, { "b", "BF16", { KD_F32, 1, { 3 } } } };
  static const kd_weight names[] = { { "bias", "F32", { KD_F32, 1, { 3 } } }, { "weight", "F32", { KD_F32, 2, { 3, 16 } } } };
  static const kd_weight several[] = { { "A.W", "F32", { KD_F32, 2, { 3, 16 } } }, { "A.b", "F32", { KD_F32, 1, { 3 } } }, { "A.count", "I64", { KD_I64, 0, { 0 } } }, { "B.W", "F32", { KD_F32, 2, { 3, 16 } } } };
  static const kd_weight near[] = { { "fist.W", "F32", { KD_F32, 2, { 3, 16 } } }, { "fist.b", "F32", { KD_F32, 1, { 4 } } } };
  static const struct { const char *file; const kd_weight *tensor; size_t n; } files[] = {
    { "whole.safetensors", whole, 2 }, { "types.safetensors", types, 2 }, { "names.safetensors", names, 2 }, { "several.safetensors", several, 4 }, { "empty.safetensors", whole, 0 }, { "near.safetensors", near, 2 },
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (strcmp(files[i].file, file) == 0) { *out = (kd_weights){ files[i].tensor, files[i].n }; return KD_OK; }
  bool absent = strncmp(file, "absent", 6) == 0;
  (void)snprintf(why, n, absent ? "%s: no such file" : "%s: its header is no JSON object", file);
  return absent ? KD_E_DATA : KD_E_FORMAT;
}

kd_elab_options kd_test_options(kd__arena *a) {
  return (kd_elab_options){ .load = load, .load_ctx = a, .describe = describe, .weights = weights, .real = KD_F32 };
}

kd_elab_options kd_test_stdlib(kd__arena *a) {
  return (kd_elab_options){ .load = load_stdlib, .load_ctx = a, .describe = describe, .real = KD_F32 };
}

void kd_test_diagnostics(kd_sink *s, kd__buf *out) {
  kd__sink_finish(s);
  for (size_t i = 0; i < s->diag.n; i++) kd__diag_text(s->diag.v[i], false, out);
}

static int is_cases(const struct dirent *d) { const char *dot = strrchr(d->d_name, '.'); return dot && strcmp(dot, ".txt") == 0; }

size_t kd_test_each_file(const char *folder, size_t (*run)(const char *path)) {
  char path[4096];
  struct dirent **file;
  assert_true(snprintf(path, sizeof path, "%s/%s", KD_TEST_DIR, folder) < (int)sizeof path);
  int n = scandir(path, &file, is_cases, alphasort);
  assert_true(n > 0);
  size_t bad = 0;
  for (int i = 0; i < n; i++) {
    assert_true(snprintf(path, sizeof path, "%s/%s/%s", KD_TEST_DIR, folder, file[i]->d_name) < (int)sizeof path);
    bad += run(path);
    free(file[i]);
  }
  free(file);
  return bad;
}

bool kd_test_update(const char *path, const kd__buf *whole) {
  if (!getenv("KD_UPDATE_GOLDEN")) return false;
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(whole->p, 1, whole->n, f), whole->n);
  assert_int_equal(fclose(f), 0);
  return true;
}
