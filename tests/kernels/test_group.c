/* test_group.c: the tile interpreter against the naive twin, on groups made at random and on some made by hand; what is a valid group; who may share
 * memory. `test_group SEED [COUNT]`: runs other groups than the usual ones. */
#include "tests/kernels/call.h"
#include "tests/kernels/group_list.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t first_seed = 1, count = 1500;

static void show(const t_group *o, const char *what, uint64_t seed, const char *kernel) {
  kd__buf b = { 0 };
  kd__group_print(&o->g, &b);
  for (uint32_t k = 0; k < o->g.nout; k++)
    if (o->shares[k] >= 0) kd__buf_printf(&b, "output %u shares input %d\n", k, o->shares[k]);
  print_error("group %llu, %s: %s\n%s\n", (unsigned long long)seed, kernel, what, b.p);
  kd__buf_free(&b);
}

/* 0 when the kernel agrees with the twin on 1 to 3 threads. */
static int check_group(const t_group *o, uint64_t seed, double tol) {
  t_memory want, first, again;
  kd_fault f = { 0 }, g = { 0 };
  t_memory_make(&want, o, seed), t_memory_make(&first, o, seed);
  const char *twin = t_group_run(o, &want, 1, true, &f), *name = t_group_run(o, &first, 1, false, &g), *wrong;
  wrong = strcmp(twin, "ref") || strcmp(name, "group.tile") ? name : t_memory_compare(&first, &want, o, tol);
  if (!*wrong && (f.set != g.set)) wrong = "another fault";
  for (int threads = 2; !*wrong && threads <= 3; threads++) {
    t_memory_make(&again, o, seed);
    t_group_run(o, &again, threads, false, &g);
    wrong = t_memory_compare(&again, &first, o, -1);
    t_memory_free(&again, o);
  }
  if (*wrong) show(o, wrong, seed, name);
  t_memory_free(&want, o), t_memory_free(&first, o);
  return *wrong != 0;
}

static void many(kd_dtype real, int64_t size, uint64_t n) {
  int wrong = 0;
  for (uint64_t seed = first_seed; seed < first_seed + n && wrong < 3; seed++) {
    static t_group o;
    char why[100] = "";
    uint64_t state = seed * 2654435761u + (uint64_t)size;
    t_group_random(&o, real, size, &state);
    if (!kd__group_valid(&o.g, why, sizeof why)) show(&o, why, seed, "generator"), wrong++;
    else wrong += check_group(&o, seed, real == KD_F32 ? 2e-5 : 1e-12);
  }
  assert_int_equal(wrong, 0);
}
static void test_small(void **state) { (void)state; many(KD_F32, 300, count); }
static void test_medium(void **state) { (void)state; many(KD_F32, 5000, count / 3); }
static void test_large(void **state) { (void)state; many(KD_F32, 200000, count / 10); }
static void test_double(void **state) { (void)state; many(KD_F64, 3000, count / 4); }

/* Groups of training, in their full size but where the twin would take long. */
static void test_listed(void **state) {
  static t_group o;
  const char *name;
  int wrong = 0;
  (void)state;
  for (uint32_t i = 0; (name = t_group_listed(i, &o)) != NULL; i++) {
    char why[100] = "";
    if (!kd__group_valid(&o.g, why, sizeof why)) show(&o, why, i, name), wrong++;
    else if (o.g.size[0] * (o.g.rank > 2 ? o.g.size[1] : 1) <= 20000) wrong += check_group(&o, i, 2e-5);
  }
  assert_int_equal(wrong, 0);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_small), cmocka_unit_test(test_medium), cmocka_unit_test(test_large), cmocka_unit_test(test_double), cmocka_unit_test(test_listed) };
  if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
  if (argc > 2) count = strtoull(argv[2], NULL, 10);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
