/* test_machine_limits.c: the machine's limits are measured where their file is missing, broken, or another machine's, and read where it is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "runtime/cost/limits.h"
#include "runtime/files/file.h"

static char folder[64];
static const char name[] = "A processor of the test";

/* The cache folder is made with what it lies in. */
static char *only_file(void) {
  static char path[400];
  DIR *d = opendir(folder);
  struct dirent *e;
  path[0] = 0;
  while (d && (e = readdir(d)))
    if (e->d_name[0] != '.') {
      assert_int_equal(path[0], 0);
      (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    }
  if (d) closedir(d);
  return path;
}

static bool get(const char *processor, int threads, bool anew, kd__limits *l) {
  bool measured;
  assert_int_equal(kd__limits_get(folder, processor, threads, anew, l, &measured, NULL, 0), KD_OK);
  return measured;
}

static void sensible(const kd__limits *l) {
  assert_true(l->flops[0] > 1e8 && l->flops[1] >= 0.2 * l->flops[0]);
  for (int how = 0; how < 2; how++)
    for (int k = 0; k < KD__REACHES; k++) assert_true(l->bytes[how][k] > 1e7 && l->bytes[how][k] < 1e14);
  assert_true(l->size[0] >= 1 << 15 && l->size[1] >= l->size[0]);
}

static void kept(void **state) {
  (void)state;
  kd__limits a, b;
  assert_true(get(name, 2, false, &a));
  sensible(&a);
  assert_false(get(name, 2, false, &b));         /* read back: to nine digits */
  assert_true(b.threads == 2 && b.flops[1] / a.flops[1] < 1.000001 && a.flops[1] / b.flops[1] < 1.000001 && b.size[1] == a.size[1]);
  assert_true(get(name, 2, true, &b));
  assert_int_equal(unlink(only_file()), 0);
}

/* Every byte of the file counts: changed, cut, or lengthened it is measured anew, and the file is right again. */
static void broken(void **state) {
  (void)state;
  kd__limits l;
  char *text, *path;
  size_t n;
  assert_true(get(name, 1, false, &l));
  path = only_file();
  assert_int_equal(kd__file_read(path, 1 << 16, &text, &n, NULL, 0), KD_OK);
  const struct { size_t at; int how; } wrong[] = { { n - 3, '0' }, { n - 3, '1' } };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    char was = text[wrong[i].at];
    if (was == (char)wrong[i].how) continue;
    text[wrong[i].at] = (char)wrong[i].how;
    assert_int_equal(kd__file_write(path, text, n, NULL, 0), KD_OK);
    text[wrong[i].at] = was;
    assert_true(get(name, 1, false, &l));
    assert_false(get(name, 1, false, &l));
  }
  assert_int_equal(kd__file_write(path, text, n - 5, NULL, 0), KD_OK);
  assert_true(get(name, 1, false, &l));
  assert_int_equal(kd__file_write(path, "", 0, NULL, 0), KD_OK);
  assert_true(get(name, 1, false, &l));
  assert_int_equal(kd__file_write(path, text, n, NULL, 0), KD_OK);               /* another machine's, under this one's name */
  kd__limits other;
  char moved[400];
  (void)snprintf(moved, sizeof moved, "%s", path);
  assert_int_equal(unlink(moved), 0);
  assert_true(get("Another processor", 1, false, &other));
  path = only_file();
  assert_int_equal(kd__file_write(path, text, n, NULL, 0), KD_OK);
  assert_true(get("Another processor", 1, false, &other));
  assert_false(get("Another processor", 1, false, &other));
  assert_int_equal(unlink(path), 0);
  free(text);
}

/* A folder that cannot be written is no reason to fail. */
static void nowhere(void **state) {
  (void)state;
  kd__limits l;
  bool measured;
  assert_int_equal(kd__limits_get("/proc/nowhere", name, 1, false, &l, &measured, NULL, 0), KD_OK);
  assert_true(measured);
  assert_int_equal(kd__limits_get(NULL, name, 1, false, &l, &measured, NULL, 0), KD_OK);
  assert_true(measured);
  sensible(&l);
}

static int drop(const char *path, const struct stat *s, int flag, struct FTW *w) {
  (void)s, (void)flag, (void)w;
  return remove(path);
}

int main(void) {
  (void)snprintf(folder, sizeof folder, "/tmp/kd-limits-XXXXXX");
  if (!mkdtemp(folder)) return 2;
  strcat(folder, "/cache/kdc");
  const struct CMUnitTest tests[] = { cmocka_unit_test(kept), cmocka_unit_test(broken), cmocka_unit_test(nowhere) };
  int bad = cmocka_run_group_tests(tests, NULL, NULL);
  folder[strlen(folder) - strlen("/cache/kdc")] = 0;
  (void)nftw(folder, drop, 16, FTW_DEPTH | FTW_PHYS);
  return bad;
}
