/* test_cache.c: compiled groups on disk: used when they are what they should be, made again when they are broken, cut off or another's. */
#include "tests/kernels/group_build.h"
#include "runtime/kernels/jit_final.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/kdjit.XXXXXX";

static void make(t_group *o, double factor) {
  b_begin(o, 1, (int64_t[]){ 100 }, 1);
  b_store(o, b_two(o, KD_OP_MUL, b_load(o, KD_F32, 1, NULL), b_const(o, factor)), -1, false);
  b_end(o);
}
/* Compiles, runs, releases: what the code makes of ones. */
static double result(const t_group *o, const char *in) {
  t_memory m;
  t_memory_make(&m, o, 1);
  for (int i = 0; i < 100; i++) ((float *)m.in[0].data)[i] = 1;
  kd_call c = { .op = KD_OP_GROUP, .nin = 1, .nout = 1, .in = m.in, .out = m.out, .group = &o->g };
  kd_kernel_settings set = { .threads = 1, .jit = true, .compiled = in };
  const kd_kernel *k = kd__kernel_find(&c, &set);
  assert_string_equal(k->name, "group.jit");
  assert_int_equal(k->prepare(&c, &set), KD_OK);
  void *scratch = aligned_alloc(64, (k->scratch(&c, &set) + 127) / 64 * 64);
  k->run(&c, &(kd_exec){ .threads = 1, .scratch = scratch });
  free(scratch);
  k->release(c.prepared);
  double v = (double)((float *)m.out[0].data)[99];
  t_memory_free(&m, o);
  return v;
}

/* The one file (or the one that is not `but`). */
static char *file(const char *but) {
  static char path[2][600];
  static int turn;
  char *found = NULL;
  DIR *d = opendir(folder);
  for (struct dirent *e; (e = readdir(d));) {
    if (!strstr(e->d_name, ".kdjit") || strlen(e->d_name) != 22) continue;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, e->d_name);
    if (!but || strcmp(but, path[turn])) found = path[turn];
    if (found) break;
  }
  closedir(d);
  turn = !turn;
  return found;
}
static char *content(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  char *p = malloc(1 << 20);
  assert_non_null(f);
  *n = fread(p, 1, 1 << 20, f);
  fclose(f);
  return p;
}
static void put(const char *path, const char *p, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_int_equal(fwrite(p, 1, n, f), n);
  fclose(f);
}
static ino_t inode(const char *path) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_ino;
}

static void used_or_made_again(void **state) {
  static t_group two, three;
  size_t n, m, k;
  (void)state;
  for (char *p; (p = file(NULL));) unlink(p);
  make(&two, 2), make(&three, 3);
  assert_true(result(&two, folder) == 2);
  char *path = file(NULL);
  assert_non_null(path);
  char name[600];
  snprintf(name, sizeof name, "%s", path);
  char *whole = content(name, &n);
  ino_t was = inode(name);
  assert_true(result(&two, folder) == 2);
  assert_int_equal(inode(name), was);                          /* used as it is */

  assert_true(result(&three, folder) == 3);
  char *other = content(file(name), &m);
  size_t cut[] = { 0, 1, 31, 32, 40, n / 2, n - 1 };
  for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {    /* cut off */
    put(name, whole, cut[i]);
    assert_true(result(&two, folder) == 2);
    char *again = content(name, &k);
    assert_int_equal(k, n);
    assert_memory_equal(again, whole, n);
    free(again);
  }
  for (size_t i = 0; i < n; i += n / 37) {                     /* one bit */
    whole[i] ^= 4;
    put(name, whole, n);
    whole[i] ^= 4;
    assert_true(result(&two, folder) == 2);
    char *again = content(name, &k);
    assert_int_equal(k, n);
    assert_memory_equal(again, whole, n);
    free(again);
  }
  put(name, other, m);                                         /* another's, whole in itself */
  assert_true(result(&two, folder) == 2);
  char *again = content(name, &k);
  assert_memory_equal(again, whole, n);
  free(again);
  put(name, whole, n), truncate(name, 0);
  put(name, "not at all what it should be, but long enough for a header", 58);
  assert_true(result(&two, folder) == 2);
  unlink(name);
  assert_int_equal(mkdir(name, 0777), 0);                      /* cannot be written: does without */
  assert_true(result(&two, folder) == 2);
  rmdir(name);
  free(whole), free(other);
}

static void no_folder(void **state) {
  static t_group o;
  (void)state;
  make(&o, 5);
  assert_true(result(&o, NULL) == 5);
  assert_true(result(&o, "/proc/no/such/folder") == 5);
}

/* Several processes at once, on one folder that is empty again and again. */
static void many_processes(void **state) {
  static t_group o;
  pid_t child[4];
  (void)state;
  for (int i = 0; i < 4; i++) {
    child[i] = fork();
    if (child[i] == 0) {
      bool ok = true;
      for (int k = 0; k < 8 && ok; k++) {
        make(&o, 10 + k % 3);
        ok = result(&o, folder) == 10 + k % 3;
        if (i == 0) for (char *p; (p = file(NULL));) unlink(p);
      }
      _exit(ok ? 0 : 1);
    }
  }
  for (int i = 0; i < 4; i++) {
    int status;
    assert_int_equal(waitpid(child[i], &status, 0), child[i]);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

static int open_folder(void **state) { (void)state; return mkdtemp(folder) ? 0 : -1; }
static int close_folder(void **state) {
  (void)state;
  for (char *p; (p = file(NULL));) unlink(p);
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(many_processes), cmocka_unit_test(used_or_made_again), cmocka_unit_test(no_folder) };
  if (!kd__jit_there()) { fprintf(stderr, "%s\n", kd__jit_about()); return 1; }
  return cmocka_run_group_tests(tests, open_folder, close_folder);
}
