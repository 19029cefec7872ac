/* test_random.c: plans of random graphs, call by call beside the oracle: every operand of every call is what the graph says, so no live
 * value is ever overwritten; results and slots at the end too. */
#include "tests/plan/rig.h"
#include "compiler/pass/pass.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static int seeds(void) { return getenv("KD_SEEDS") ? atoi(getenv("KD_SEEDS")) : 200; }

static bool check(uint64_t seed, kd_dtype real, bool passes, double tolerance) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_random_graph r;
  char what[100];
  kd_random_make(&r, &a, &(kd_random_spec){ .seed = seed, .nodes = 30 + (int)(seed % 90), .real = real, .writes = seed % 4 != 0 });
  kd_graph *g = passes ? kd__pass_all(r.g, NULL, NULL) : r.g;
  rig p, q;
  rig_plan(&p, &a, g, r.slot.v, r.slot.n, seed % 2 ? RIG_TOGETHER : RIG_APART);
  snprintf(what, sizeof what, "seed %llu, %s%s%s", (unsigned long long)seed, kd__dtype_name(real), passes ? ", after passes" : "", tolerance > 0 ? ", fast" : "");
  bool good = rig_run(&p, tolerance, what);
  rig_plan(&q, &a, g, r.slot.v, r.slot.n, seed % 2 ? RIG_TOGETHER : RIG_APART);
  if (strcmp(rig_print(&p), rig_print(&q)) != 0) good = false, print_error("%s: planned twice, two plans\n", what);
  if (!good && getenv("KD_SHOW")) {
    kd__buf text = { 0 };
    kd__graph_print(g, &text);
    print_error("%s\n%s\n", text.p, rig_print(&p));
    kd__buf_free(&text);
  }
  kd__arena_free(&a);
  return good;
}

static void run_all(kd_dtype real, bool passes, double tolerance) {
  int bad = 0;
  for (int seed = 1; seed <= seeds() && bad < 5; seed++) bad += !check((uint64_t)seed, real, passes, tolerance);
  assert_int_equal(bad, 0);
}

static void as_they_are(void **state) { (void)state; run_all(KD_F32, false, 0); }
static void after_passes(void **state) { (void)state; run_all(KD_F64, true, 0); }
static void on_fast_kernels(void **state) { (void)state; run_all(KD_F32, true, 2e-4); }

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(as_they_are), cmocka_unit_test(after_passes), cmocka_unit_test(on_fast_kernels) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
