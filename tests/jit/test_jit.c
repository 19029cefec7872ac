/* test_jit.c: native code of groups against the naive twin: groups made at random, then what a group owes apart from ordinary values.
 * `test_jit SEED [COUNT]`: other groups than the usual ones. */
#include "tests/kernels/call.h"
#include "tests/kernels/group_list.h"
#include "tests/kernels/group_random.h"
#include "runtime/kernels/jit_final.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t first_seed = 1, count = 200;

static const char *run(const t_group *o, t_memory *m, int threads, bool twin, kd_fault *fault) {
  kd_call c = { .op = KD_OP_GROUP, .nin = o->g.nin, .nout = o->g.nout, .in = m->in, .out = m->out, .group = &o->g };
  kd_kernel_settings set = { .threads = threads, .reference = twin, .jit = true };
  const kd_kernel *k = kd__kernel_find(&c, &set);
  if (k->prepare && k->prepare(&c, &set) != KD_OK) return "cannot be prepared";
  size_t size = k->scratch ? k->scratch(&c, &set) : 0;
  char *scratch = aligned_alloc(64, (size + 191) / 64 * 64);
  memset(scratch, 0x77, size + 64);
  k->run(&c, &(kd_exec){ .threads = threads, .scratch = scratch, .fault = fault });
  bool beyond = false;
  for (int i = 0; i < 64; i++) beyond = beyond || scratch[size + (size_t)i] != 0x77;
  free(scratch);
  if (k->release && c.prepared) k->release(c.prepared);
  return beyond ? "wrote beyond its scratch" : k->name;
}

static void show(const t_group *o, const char *what, uint64_t seed, const char *kernel) {
  kd__buf b = { 0 };
  char why[200] = "";
  kd__group_print(&o->g, &b);
  for (uint32_t k = 0; k < o->g.nout; k++)
    if (o->shares[k] >= 0) kd__buf_printf(&b, "output %u shares input %d\n", k, o->shares[k]);
  if (getenv("KD_TEST_IR") && strcmp(kernel, "generator") != 0) kd__jit()->print(&o->g, &b, why, sizeof why);
  print_error("group %llu, %s: %s %s\n%s\n", (unsigned long long)seed, kernel, what, why, b.p);
  kd__buf_free(&b);
}

/* 0 when native code agrees with the twin, and with itself on 1 to 3 threads. */
static int check_group(const t_group *o, uint64_t seed, double tol) {
  t_memory want, got, again;
  kd_fault f = { 0 }, g = { 0 };
  t_memory_make(&want, o, seed), t_memory_make(&got, o, seed);
  const char *twin = run(o, &want, 1, true, &f), *name = run(o, &got, 1, false, &g), *wrong;
  wrong = strcmp(twin, "ref") || strcmp(name, "group.jit") ? name : t_memory_compare(&got, &want, o, tol);
  if (!*wrong && f.set != g.set) wrong = "another fault";
  for (int threads = 2; !*wrong && threads <= 3; threads++) {
    t_memory_make(&again, o, seed);
    run(o, &again, threads, false, &g);
    wrong = t_memory_compare(&again, &got, o, -1);
    t_memory_free(&again, o);
  }
  if (*wrong) show(o, wrong, seed, name);
  t_memory_free(&want, o), t_memory_free(&got, o);
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
static void test_medium(void **state) { (void)state; many(KD_F32, 5000, count / 2); }
static void test_large(void **state) { (void)state; many(KD_F32, 200000, count / 4); }
static void test_double(void **state) { (void)state; many(KD_F64, 3000, count / 4); }

/* As they come from training. */
static void test_listed(void **state) {
  static t_group o;
  int wrong = 0;
  (void)state;
  for (uint32_t i = 0; t_group_listed(i, &o) != NULL; i++) {
    double points = 1;
    for (uint32_t a = 0; a < o.g.rank; a++) points *= (double)o.g.size[a];
    if (points < 3e6) wrong += check_group(&o, i, 1e-4);
  }
  assert_int_equal(wrong, 0);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_small), cmocka_unit_test(test_medium), cmocka_unit_test(test_large), cmocka_unit_test(test_double), cmocka_unit_test(test_listed) };
  if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
  if (argc > 2) count = strtoull(argv[2], NULL, 10);
  if (!kd__jit_there()) { fprintf(stderr, "%s\n", kd__jit_about()); return 1; }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
