/* test_random.c: plans of random graphs, call by call beside the oracle: every operand of every call is what the graph says, so no live
 * value is ever overwritten; results and slots at the end too; and again with calls side by side on two threads, wherever they can. */
#include "tests/plan/rig.h"
#include "compiler/pass/pass.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static int seeds(void) { return getenv("KD_SEEDS") ? atoi(getenv("KD_SEEDS")) : 200; }

typedef enum passes { NONE, APART, FUSED } passes;       /* all but `fuse`; all */
typedef struct way { kd_dtype real; passes passes; double tolerance; bool reference; const char *name; } way;

static bool check(uint64_t seed, const way *w, int *beside) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_random_graph r;
  char what[100];
  kd_random_make(&r, &a, &(kd_random_spec){ .seed = seed, .nodes = 30 + (int)(seed % 90), .real = w->real, .writes = seed % 4 != 0 });
  kd_graph *g = w->passes == NONE ? r.g : kd__pass_until(r.g, w->passes == APART ? "fuse" : NULL, NULL, NULL);
  rig p, q;
  double price = (double[]){ KD__SIDE_PRICE, -1000, -0.01 }[seed % 3];           /* below 0: many short stretches side by side, few long ones */
  rig_plan_at(&p, &a, g, r.slot.v, r.slot.n, seed % 2 ? RIG_TOGETHER : RIG_APART, price);
  snprintf(what, sizeof what, "seed %llu, %s, %s", (unsigned long long)seed, kd__dtype_name(w->real), w->name);
  p.reference = w->reference;
  bool good = rig_run(&p, w->tolerance, what);
  *beside += p.beside;
  rig_plan_at(&q, &a, g, r.slot.v, r.slot.n, seed % 2 ? RIG_TOGETHER : RIG_APART, price);
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

static void run_all(way w) {
  int bad = 0, beside = 0;
  for (int seed = 1; seed <= seeds() && bad < 5; seed++) bad += !check((uint64_t)seed, &w, &beside);
  assert_int_equal(bad, 0);
  assert_true(beside > 2 * seeds());
}

static void as_they_are(void **state) { (void)state; run_all((way){ KD_F32, NONE, 0, true, "as they are" }); }
static void after_passes(void **state) { (void)state; run_all((way){ KD_F64, APART, 0, true, "after passes" }); }
static void on_fast_kernels(void **state) { (void)state; run_all((way){ KD_F32, APART, 2e-4, false, "after passes, fast" }); }
static void fused(void **state) { (void)state; run_all((way){ KD_F64, FUSED, 1e-9, true, "fused" }); }
static void fused_in_double(void **state) { (void)state; run_all((way){ KD_F64, FUSED, 1e-9, false, "fused, fast" }); }
static void fused_in_single(void **state) { (void)state; run_all((way){ KD_F32, FUSED, 5e-4, false, "fused, fast" }); }

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(as_they_are), cmocka_unit_test(after_passes), cmocka_unit_test(on_fast_kernels), cmocka_unit_test(fused), cmocka_unit_test(fused_in_double),
    cmocka_unit_test(fused_in_single),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
