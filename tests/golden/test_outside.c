/* test_outside.c: a loss that the library lacks, written in a file outside of the tree, used by an experiment beside it through the public interface:
 * its value and its gradient are those of the reference. Localisation distillation, Zheng et al. 2021 (LD), with a weight for each row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>
#include <cmocka.h>
#include "include/kd.h"

static const char loss[] =
  "loss localization_kd(student: [B, K], teacher: [B, K], weight: [B], tau: real = 10) {\n"
  "  p = softmax(stop(teacher) / tau, over: K)\n"
  "  return tau^2 * mean(weight * kl(p, log_softmax(student / tau, over: K), over: K)) / size(K)\n"
  "}\n";
static const char experiment[] =
  "use detection.localization_kd\n"
  "data d = dataset(batch: 6, train: (student: csv(\"in.student_logits\", columns: 0..8, axes: [K: 8]), teacher: csv(\"in.teacher_logits\", columns: 0..8, axes: [K: 8]),\n"
  "                                   weight: csv(\"in.weight\", columns: 0..1, axes: []), gradient: csv(\"grad.student_logits\", columns: 0..8, axes: [K: 8])))\n"
  "let value = 0.25 * localization_kd(d.student, d.teacher, d.weight)\n"
  "report value: mean_of(value), apart: mean_of(max(abs(grad(value, wrt: d.student) - d.gradient))) on d.train\n";

static FILE *new_file(const char *folder, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "w");
  if (!f) fail_msg("cannot write %s", path);
  return f;
}

static void write_text(const char *folder, const char *name, const char *text) {
  FILE *f = new_file(folder, name);
  fputs(text, f);
  fclose(f);
}

/* The file: 8 bytes of length, a JSON header, the tensors' bytes. */
typedef struct reference { char *bytes; uint64_t header; json_t *tensors; } reference;

static void open_reference(reference *r, const char *path) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  r->bytes = malloc(1 << 20);
  assert_non_null(r->bytes);
  size_t n = fread(r->bytes, 1, 1 << 20, f);
  fclose(f);
  assert_true(n > 8 && n < 1 << 20);
  memcpy(&r->header, r->bytes, 8);
  r->tensors = json_loadb(r->bytes + 8, r->header, 0, NULL);
  assert_non_null(r->tensors);
}

/* Value i of a tensor of 4 or 8 bytes each. */
static double value_at(const reference *r, const char *name, size_t i) {
  json_t *t = json_object_get(r->tensors, name);
  size_t at = (size_t)json_integer_value(json_array_get(json_object_get(t, "data_offsets"), 0));
  const char *bytes = r->bytes + 8 + r->header + at;
  float narrow;
  double wide;
  assert_non_null(t);
  if (strcmp(json_string_value(json_object_get(t, "dtype")), "F32") == 0) { memcpy(&narrow, bytes + i * 4, 4); return (double)narrow; }
  memcpy(&wide, bytes + i * 8, 8);
  return wide;
}

static void write_rows(const char *folder, const reference *r, const char *name, size_t rows, size_t columns) {
  FILE *f = new_file(folder, name);
  for (size_t i = 0; i < rows * columns; i++) fprintf(f, "%.17g%c", value_at(r, name, i), (i + 1) % columns ? ',' : '\n');
  fclose(f);
}

static void say(void *ctx, const kd_message *m) { (void)ctx; if (m->severity == KD_ERROR) print_error("%s", m->text); }

static void matches(void **state) {
  static const char *const files[] = { "in.student_logits", "in.teacher_logits", "in.weight", "grad.student_logits", "detection.kd", "experiment.kd" };
  char path[4096], folder[] = "/tmp/kd-outside-XXXXXX";
  (void)state;
  const char *golden = getenv("KD_GOLDEN");
  snprintf(path, sizeof path, "%s/localization_kd.a.safetensors", golden && *golden ? golden : KD_ROOT "/../shared/golden");
  if (access(path, R_OK) != 0) { printf("no %s: passed over (KD_GOLDEN names its folder)\n", path); skip(); }
  reference r;
  open_reference(&r, path);
  assert_non_null(mkdtemp(folder));
  for (int i = 0; i < 4; i++) write_rows(folder, &r, files[i], 6, i == 2 ? 1 : 8);
  write_text(folder, "detection.kd", loss);
  write_text(folder, "experiment.kd", experiment);
  kd_config config = { .message = say, .stdlib = KD_ROOT "/stdlib" };
  kd_compile_options o = { .double_precision = true };
  kd_session *s;
  kd_program *p;
  kd_row value, apart;
  double want = value_at(&r, "out.loss_f64", 0), most = 0;
  assert_int_equal(kd_session_new(&config, &s), KD_OK);
  snprintf(path, sizeof path, "%s/experiment.kd", folder);
  assert_int_equal(kd_compile_file(s, path, &o, &p), KD_OK);
  assert_int_equal(kd_run(p, &(kd_run_options){ .threads = 1 }), KD_OK);
  assert_true(kd_report(p, 0, &value) && kd_report(p, 1, &apart));
  for (size_t i = 0; i < 48; i++) most = fmax(most, fabs(value_at(&r, "grad.student_logits", i)));
  printf("value %.9g, reference %.9g; gradient off by %.2g of %.2g\n", value.value, want, apart.value, most);
  assert_true(fabs(value.value - want) <= 1e-6 * fabs(want) && most > 0 && apart.value <= 1e-4 * most);
  kd_program_free(p);
  kd_session_free(s);
  json_decref(r.tensors);
  free(r.bytes);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) { snprintf(path, sizeof path, "%s/%s", folder, files[i]); unlink(path); }
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(matches) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
