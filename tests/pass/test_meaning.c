/* test_meaning.c: random graphs mean the same after each pass, and after all of them. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/pass/pass.h"
#include "tests/eval/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Values as passes may leave them: what was finite is as good as equal; what was not is not finite. */
static bool agrees(double got, double want, double tolerance, bool nan_only) {
  if (isnan(want)) return nan_only ? isnan(got) : !isfinite(got);
  if (!isfinite(want)) return !isfinite(got);
  return fabs(got - want) <= tolerance * fmax(1, fabs(want));
}

static double tolerance_of(const kd_graph *g, kd_value v) { return kd_random_tolerance((kd_dtype)kd__type_of(g, v)->dtype) * 100; }

static bool same_value(const kd_eval *a, kd_value va, const kd_eval *b, kd_value vb, const char *what, bool nan) {
  const kd_type *t = kd__type_of(a->g, va);
  if (!kd__type_equal(t, kd__type_of(b->g, vb))) { print_error("%s: the type differs\n", what); return false; }
  for (int64_t i = 0; i < kd__type_count(t); i++) {
    double want = kd_eval_at(a, va, i), got = kd_eval_at(b, vb, i);
    if (agrees(got, want, tolerance_of(a->g, va), nan)) continue;
    print_error("%s, element %lld: %.17g before, %.17g after\n", what, (long long)i, want, got);
    return false;
  }
  return true;
}

static void show(const kd_graph *g, const char *title) {
  kd__buf text = { 0 };
  kd__graph_print(g, &text);
  print_error("--- %s\n%s", title, text.p ? text.p : "");
  kd__buf_free(&text);
}

/* The slot's value at the start is what is written to it: a pass may leave that out. */
static bool writes_back(const kd_eval *a, const kd_random_slot *slot, kd_value v) {
  size_t size = kd__dtype_size((kd_dtype)slot->type.dtype) * (size_t)kd__type_count(&slot->type);
  void *now = kd__arena_get((kd__arena *)(uintptr_t)&a->arena, size + 1);
  kd_eval_read(a, v, now);
  return memcmp(now, slot->data, size) == 0;
}

/* Results by name and writes by slot agree. */
static bool same_meaning(const kd_random_graph *r, const kd_graph *after, const char *what, bool nan) {
  kd_eval a, b;
  char label[160];
  bool good = kd_eval_run(&a, r->g, r->eval, r->slot.n, NULL, 0, KD_EVAL_DENSE);
  if (!good) print_error("%s: the graph itself faults\n", what);
  good = kd_eval_run(&b, after, r->eval, r->slot.n, NULL, 0, KD_EVAL_STRANGE) && good;
  for (size_t i = 0; good && i < r->g->result.n; i++) {
    snprintf(label, sizeof label, "%s, result %s", what, r->g->result.v[i].name);
    good = same_value(&a, r->g->result.v[i].value, &b, kd_eval_result(&b, r->g->result.v[i].name), label, nan);
  }
  for (size_t i = 0; good && i < r->g->write.n; i++) {
    kd_write w = r->g->write.v[i];
    kd_value v = kd_eval_write(&b, w.slot);
    snprintf(label, sizeof label, "%s, slot %lld", what, (long long)w.slot);
    good = v ? same_value(&a, w.value, &b, v, label, nan) : writes_back(&a, &r->slot.v[w.slot], w.value);
    if (!good && !v) print_error("%s: the write is gone\n", label);
  }
  kd_eval_free(&a);
  kd_eval_free(&b);
  return good;
}

static kd_graph *all_passes(kd_graph *g) { return kd__pass_all(g, NULL, NULL); }

/* One graph through one pass (or all). */
static bool check(uint64_t seed, kd_dtype real, bool nan, kd_pass_fn run, const char *name) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_random_graph r;
  kd_random_make(&r, &a, &(kd_random_spec){ .seed = seed, .nodes = 40 + (int)(seed % 60), .real = real, .nan = nan, .writes = seed % 2 });
  char what[80];
  snprintf(what, sizeof what, "seed %llu, %s%s, pass %s", (unsigned long long)seed, kd__dtype_name(real), nan ? " with NaN" : "", name);
  kd_shape_error err;
  if (!kd__graph_verify(r.g, &err)) fail_msg("%s: the random graph is broken: %s", what, err.text);
  kd_graph *after = run(r.g);
  bool good = kd__graph_verify(after, &err);
  if (!good) print_error("%s: broken: %s\n", what, err.text);
  for (size_t i = 1; good && i < after->node.n; i++)
    if (after->node.v[i].origin != 1) good = false, print_error("%s: node %zu has lost its origin\n", what, i);
  good = good && same_meaning(&r, after, what, nan);
  if (!good && getenv("KD_SHOW")) show(r.g, "before"), show(after, "after");
  kd__arena_free(&a);
  return good;
}

static int seeds(void) { return getenv("KD_SEEDS") ? atoi(getenv("KD_SEEDS")) : 150; }

static void every_pass(bool nan, kd_dtype real) {
  int bad = 0, n = seeds();
  for (int seed = 1; seed <= n && bad < 5; seed++) {
    for (const kd_pass_info *p = kd__passes; p->name; p++) bad += !check((uint64_t)seed, real, nan, p->run, p->name);
    bad += !check((uint64_t)seed, real, nan, all_passes, "all");
  }
  assert_int_equal(bad, 0);
}

static void in_double(void **state) { (void)state; every_pass(false, KD_F64); }
static void in_single(void **state) { (void)state; every_pass(false, KD_F32); }
static void with_nan(void **state) { (void)state; every_pass(true, KD_F64); }

/* Slices of one value, side by side or overlapping, and the gradient that they leave in it. */
static bool check_slices(uint64_t seed, bool apart) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  enum { N = 24, SLICES = 5 };
  double data[N * 2];
  kd_random_slot slot = { { .dtype = KD_F64, .rank = 2, .dim = { seed % 2 ? N : 2, seed % 2 ? 2 : N } }, data };
  kd_eval_slot eval = { 0, data };
  kd_random_graph r = { .g = kd__graph_new(&a), .eval = &eval };
  KD_PUSH(&a, r.slot, slot);
  kd_build b = { r.g, 1 };
  kd_value x = kd__b_input(&b, 0, &slot.type), loss = kd__b_const(&b, 0, KD_F64, NULL, 0), d;
  int64_t axis = seed % 2 ? 0 : 1, at = 0, one[2] = { 1, 1 }, both[2] = { 0, 1 };
  for (int i = 0; i < N * 2; i++) data[i] = (double)(kd__mix(seed, (uint64_t)i) % 100) / 10 - 5;
  for (int i = 0; i < SLICES; i++) {
    int64_t start[2] = { 0 }, size[2] = { slot.type.dim[0], slot.type.dim[1] };
    start[axis] = apart ? at : (int64_t)(kd__mix(seed, 200 + (uint64_t)i) % 18), size[axis] = 1 + (int64_t)(kd__mix(seed, 300 + (uint64_t)i) % 4);
    at += size[axis] + (int64_t)(kd__mix(seed, 400 + (uint64_t)i) % 2);
    if (at > N) break;
    kd_value v = kd__b_slice(&b, x, start, size, one);
    loss = kd__b_op2(&b, KD_OP_ADD, loss, kd__b_reduce(&b, KD_OP_SUM, kd__b_op1(&b, i % 2 ? KD_OP_SIN : KD_OP_EXP, v), both, 2));
  }
  assert_true(kd__gradients(r.g, loss, &x, 1, &d, 1, NULL));
  kd__graph_result(r.g, "grad", d);
  kd_graph *after = all_passes(r.g);
  char what[60];
  snprintf(what, sizeof what, "slices, seed %llu%s", (unsigned long long)seed, apart ? ", apart" : "");
  bool good = kd__graph_verify(after, NULL) && same_meaning(&r, after, what, false);
  for (size_t i = 1; apart && i < after->node.n; i++)
    if (after->node.v[i].op == KD_OP_PAD) good = false, print_error("%s: a pad is left\n", what);
  if (!good && getenv("KD_SHOW")) show(r.g, "before"), show(after, "after");
  kd__arena_free(&a);
  return good;
}

static void slices_of_one_value(void **state) {
  (void)state;
  int bad = 0;
  for (uint64_t seed = 1; seed <= 200; seed++) bad += !check_slices(seed, true) + !check_slices(seed, false);
  assert_int_equal(bad, 0);
}

/* The graphs must have in them what the passes are for. */
static void random_graphs_are_rich(void **state) {
  (void)state;
  size_t seen[KD_OP_COUNT] = { 0 };
  for (int seed = 1; seed <= seeds(); seed++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_random_graph r;
    kd_random_make(&r, &a, &(kd_random_spec){ .seed = (uint64_t)seed, .nodes = 90, .real = KD_F64 });
    for (size_t i = 1; i < r.g->node.n; i++) seen[r.g->node.v[i].op]++;
    kd__arena_free(&a);
  }
  for (int op = 0; op < KD_OP_COUNT; op++) {
    bool skipped = op == KD_OP_CONV_DATA || op == KD_OP_CONV_WEIGHT || op == KD_OP_SUM_POOL_DATA || op == KD_OP_CONV_POST || op == KD_OP_GROUP ||
                   op == KD_OP_INDEX_ORDER || op == KD_OP_GATHER_DOT || op == KD_OP_GATHER_SUM ||
                   op == KD_OP_RANDOM_NORMAL || op == KD_OP_RANDOM_BITS;
    if (!skipped && seen[op] == 0) fail_msg("no random graph has %s", kd__op_info((kd_op)op)->name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_graphs_are_rich), cmocka_unit_test(in_double), cmocka_unit_test(in_single), cmocka_unit_test(with_nan),
    cmocka_unit_test(slices_of_one_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
