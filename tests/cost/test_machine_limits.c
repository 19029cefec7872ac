/* test_machine_limits.c: the machine's limits are measured where their file is missing, broken, or another machine's, and read where it is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "runtime/cost/limits.h"
#include "runtime/files/file.h"

/* The file's tests make up what is measured: whether the machine is calm is not theirs to say. */
bool __real_kd__limits_measure(int threads, kd__limits *out);
bool __wrap_kd__limits_measure(int threads, kd__limits *out);
static struct { double speed, disturbed; int times; } made;
bool __wrap_kd__limits_measure(int threads, kd__limits *out) {
  *out = (kd__limits){ .threads = threads, .disturbed = made.disturbed, .region = 1e-6 / made.speed };
  made.times++;
  for (int how = 0; how < 2; how++) {
    out->flops[how] = 1e9 / 3 * made.speed;
    for (int k = 0; k < KD__REACHES; k++) out->bytes[how][k] = (double)(k + 1) * 1e9 * made.speed;
  }
  for (int k = 0; k < KD__REACH_MEMORY; k++) out->size[k] = (double)(k + 1) * (1 << 20);
  return true;
}

/* The share of the time that threads have a processor, as their own clock says. */
int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
static double had_share = 1;
int __wrap_clock_gettime(clockid_t id, struct timespec *t) {
  int bad = __real_clock_gettime(id, t);
  if (bad || id != CLOCK_THREAD_CPUTIME_ID || had_share >= 1) return bad;
  int64_t had = (int64_t)(had_share * (1e9 * (double)t->tv_sec + (double)t->tv_nsec));
  *t = (struct timespec){ .tv_sec = had / 1000000000, .tv_nsec = had % 1000000000 };
  return 0;
}

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

static void kept(void **state) {
  (void)state;
  kd__limits a, b;
  made.speed = 1, made.disturbed = 0;
  assert_true(get(name, 2, false, &a));
  assert_false(get(name, 2, false, &b));         /* read back: to nine digits */
  assert_true(b.threads == 2 && b.flops[1] / a.flops[1] < 1.000001 && a.flops[1] / b.flops[1] < 1.000001 && b.size[1] == a.size[1] && b.disturbed == 0);
  made.speed = 0.5;
  assert_true(get(name, 2, true, &b));           /* anew is anew, also where it is less */
  assert_true(b.flops[1] < 0.6 * a.flops[1]);
  assert_int_equal(unlink(only_file()), 0);
}

/* What was measured while others were at work is measured again, a few times or until it was calm, and the best of all stays. */
static void until_it_is_calm(void **state) {
  (void)state;
  static const double speed[] = { 1, 0.5, 2, 0.25, 1, 3, 3 };
  kd__limits l;
  for (int calm = 0; calm < 2; calm++) {
    made.disturbed = 1, made.times = 0;
    for (int i = 0; i < 7; i++) {
      if (calm && i == 3) made.disturbed = 0;
      made.speed = speed[i];
      assert_int_equal(get(name, 2, false, &l), i < (calm ? 4 : KD__LIMITS_TRIES));
      double best = i < 2 ? 1 : 2;
      assert_true(fabs(l.flops[0] / (1e9 / 3 * best) - 1) < 1e-6 && fabs(l.bytes[1][KD__REACH_L3] / (2e9 * best) - 1) < 1e-6 && fabs(l.region / (1e-6 / best) - 1) < 1e-6);
      assert_int_equal((int)l.disturbed, calm && i >= 3 ? 0 : i < KD__LIMITS_TRIES ? i + 1 : KD__LIMITS_TRIES);
    }
    assert_int_equal(made.times, calm ? 4 : KD__LIMITS_TRIES);
    assert_int_equal(unlink(only_file()), 0);
  }
}

/* --- the measurement itself ------------------------------------------------------------------------------------------------------------ */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void measured(void **state) {
  (void)state;
  for (int threads = 1; threads <= 2; threads++) {
    kd__limits l;
    double start = now();
    assert_true(__real_kd__limits_measure(threads, &l));
    double took = now() - start;
    assert_true(l.threads == threads && l.flops[0] > 1e8 && l.flops[1] >= 0.2 * l.flops[0] && (l.disturbed == 0 || l.disturbed == 1));
    for (int how = 0; how < 2; how++)
      for (int k = 0; k < KD__REACHES; k++) assert_true(l.bytes[how][k] > 1e7 && l.bytes[how][k] < 1e14);
    assert_true(l.size[0] >= 1 << 15 && l.size[1] >= l.size[0] && (l.region > 0) == (threads > 1));
    if (!l.disturbed && took > 3) fail_msg("it took %.1f s", took);            /* 1 on a machine with nothing else to do */
  }
}

/* What others take is the time that a thread had no processor; here its own clock stands still for a part of the time. Real others would not do:
 * a trial of milliseconds may find its processor free among any number of them, and is then right to count. */
static void sees_others(void **state) {
  (void)state;
  kd__limits l;
  had_share = 0.5;
  bool ok = __real_kd__limits_measure(1, &l);
  had_share = 1;
  assert_true(ok && l.disturbed > 0);
}

/* Every byte of the file counts: changed, cut, or lengthened it is measured anew, and the file is right again. */
static void broken(void **state) {
  (void)state;
  kd__limits l;
  char *text, *path;
  size_t n;
  made.speed = 1, made.disturbed = 0;
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
}

static int drop(const char *path, const struct stat *s, int flag, struct FTW *w) {
  (void)s, (void)flag, (void)w;
  return remove(path);
}

int main(void) {
  (void)snprintf(folder, sizeof folder, "/tmp/kd-limits-XXXXXX");
  if (!mkdtemp(folder)) return 2;
  strcat(folder, "/cache/kdc");
  const struct CMUnitTest tests[] = { cmocka_unit_test(kept), cmocka_unit_test(until_it_is_calm), cmocka_unit_test(broken), cmocka_unit_test(nowhere), cmocka_unit_test(measured), cmocka_unit_test(sees_others) };
  int bad = cmocka_run_group_tests(tests, NULL, NULL);
  folder[strlen(folder) - strlen("/cache/kdc")] = 0;
  (void)nftw(folder, drop, 16, FTW_DEPTH | FTW_PHYS);
  return bad;
}
