/* test_side.c: calls side by side, in plans written by hand: two lanes really run at once, each of them in order; faults, watches, and what must not bind. */
#include "runtime/exec/bound.h"
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

enum { N = 64, BYTES = 4 * N, CALLS = 5, ALL = -1000 };
#define VECTOR(at) { { .dtype = KD_F32, .rank = 1, .dim = { N } }, { 1 }, KD_IN_ARENA, 0, (at) * BYTES }
#define WHERE(at) { { .dtype = KD_I64, .rank = 1, .dim = { 2 } }, { 1 }, KD_IN_SLOT, at, 0 }

/* a = exp x, b = exp y, c = neg a, d = neg b, e = c + d: lanes a c and b d. */
static const kd_plan_tensor tensors[] = { VECTOR(0), VECTOR(1), VECTOR(2), VECTOR(3), VECTOR(4), VECTOR(5), VECTOR(6) };
static const kd_plan_call calls[CALLS] = {
  { KD_OP_EXP, 1, 1, (uint32_t[]){ 0 }, (uint32_t[]){ 2 }, NULL, 11, NULL, NULL, 4, 0 },
  { KD_OP_EXP, 1, 1, (uint32_t[]){ 1 }, (uint32_t[]){ 3 }, NULL, 12, NULL, NULL, 0, 1 },
  { KD_OP_NEG, 1, 1, (uint32_t[]){ 2 }, (uint32_t[]){ 4 }, NULL, 13, NULL, NULL, 0, 0 },
  { KD_OP_NEG, 1, 1, (uint32_t[]){ 3 }, (uint32_t[]){ 5 }, NULL, 14, NULL, NULL, 0, 1 },
  { KD_OP_ADD, 2, 1, (uint32_t[]){ 4, 5 }, (uint32_t[]){ 6 }, NULL, 15, NULL, NULL, 0, 0 },
};

typedef struct rig {
  kd_plan_tensor tensor[7];
  kd_plan_call call[CALLS];
  kd_plan plan;
  kd_store store;
  _Alignas(64) float arena[7 * N];
  kd_bound *b;
  kd_fault fault;
  kd_exec x;
} rig;

static void begin(rig *r, int threads, double price) {
  *r = (rig){ .b = NULL };
  memcpy(r->tensor, tensors, sizeof tensors);
  memcpy(r->call, calls, sizeof calls);
  r->plan = (kd_plan){ .name = "by hand", .tensor = r->tensor, .ntensor = 7, .call = r->call, .ncall = CALLS, .arena_size = sizeof r->arena };
  for (int i = 0; i < N; i++) r->arena[i] = (float)i / N, r->arena[N + i] = 1;
  assert_int_equal(kd__store_open(&r->store, NULL, 0), KD_OK);
  kd_kernel_settings set = { .threads = threads };
  assert_int_equal(kd__plan_bind(&r->plan, &r->store, r->arena, &set, &r->b), KD_OK);
  assert_null(r->b->beside);                     /* no call is worth a team */
  r->b->team = true;
  assert_int_equal(kd__bind_side(r->b, price), KD_OK);
  r->x = (kd_exec){ .threads = threads, .scratch = aligned_alloc(64, (kd__bound_scratch(r->b) + 127) / 64 * 64), .fault = &r->fault };
}

static void end(rig *r) {
  free(r->x.scratch);
  kd__bound_close(r->b);
  kd__store_close(&r->store);
}

static void check_sum(const rig *r) {
  for (int i = 0; i < N; i++) assert_float_equal(r->arena[6 * N + i], -r->arena[2 * N + i] - 2.7182817f, 1e-5);
}

/* --- kernels that look around ------------------------------------------------------------------------------------------------------- */
enum { WAITS, RUNS, DONE };
static struct {
  kd_bound *b;
  const kd_kernel *was[CALLS];
  atomic_int state[CALLS];
  atomic_int here, met;                          /* first calls of a lane that run now; that have seen the other one run */
  atomic_bool bad;
  bool meeting;
} spy;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Neither goes on before the other one has come, or for ten seconds. */
static void meet(void) {
  double until = now() + 10;
  atomic_fetch_add(&spy.here, 1);
  while (atomic_load(&spy.here) < 2 && now() < until) sched_yield();
  if (atomic_load(&spy.here) == 2) atomic_fetch_add(&spy.met, 1);
}

static void look_around(const kd_call *c, const kd_exec *x) {
  int i = (int)(c - spy.b->call);
  for (int k = 0; k < CALLS; k++) {
    bool same = k == 4 || i == 4 || k % 2 == i % 2;                    /* one lane, or the sum, which needs both */
    if (k != i && same && atomic_load(&spy.state[k]) != (k < i ? DONE : WAITS)) atomic_store(&spy.bad, true);
  }
  atomic_store(&spy.state[i], RUNS);
  if (spy.meeting && i < 2) meet();
  spy.was[i]->run(c, x);
  atomic_store(&spy.state[i], DONE);
}

static const kd_kernel looking = { .name = "looking", .run = look_around };

static void spy_on(rig *r, bool meeting) {
  memset(&spy, 0, sizeof spy);
  spy.b = r->b, spy.meeting = meeting;
  for (int i = 0; i < CALLS; i++) spy.was[i] = r->b->kernel[i], r->b->kernel[i] = &looking;
}

static void two_lanes_run_at_once(void **state) {
  (void)state;
  rig r;
  begin(&r, 2, ALL);
  assert_int_equal(r.b->beside[0].n, 4);
  spy_on(&r, true);
  for (int turn = 0; turn < 20; turn++) {
    for (int i = 0; i < CALLS; i++) atomic_store(&spy.state[i], WAITS);
    atomic_store(&spy.here, 0), atomic_store(&spy.met, 0);
    kd__bound_run(r.b, &r.x);
    assert_int_equal(atomic_load(&spy.met), 2);
    assert_false(atomic_load(&spy.bad));
    check_sum(&r);
  }
  end(&r);
}

/* With one thread nothing changes, nor where a loop of the team costs more than is saved. */
static void one_after_another(void **state) {
  (void)state;
  rig r;
  begin(&r, 1, ALL);
  assert_null(r.b->beside);
  spy_on(&r, false);
  kd__bound_run(r.b, &r.x);
  assert_false(atomic_load(&spy.bad));
  check_sum(&r);
  end(&r);
  begin(&r, 2, KD__SIDE_PRICE);
  assert_int_equal(r.b->beside[0].n, 0);
  kd__bound_run(r.b, &r.x);
  check_sum(&r);
  end(&r);
  begin(&r, 2, ALL);                             /* bound for two, run by one */
  r.x.threads = 1;
  kd__bound_run(r.b, &r.x);
  check_sum(&r);
  end(&r);
}

static void watched(void **state) {
  (void)state;
  rig r;
  begin(&r, 2, ALL);
  double seconds[CALLS] = { 0 }, sum = 0;
  int64_t times[CALLS] = { 0 };
  kd_watch_event event[CALLS];
  kd_watch watch = { .seconds = seconds, .times = times, .event = event, .cap = CALLS };
  kd__bound_watch(r.b, &watch);
  double start = now();
  kd__bound_run(r.b, &r.x);
  double took = now() - start;
  for (int i = 0; i < CALLS; i++) {
    assert_true(seconds[i] > 0 && times[i] == 1);
    sum += seconds[i];
  }
  assert_true(sum <= took);                      /* shared out, not counted twice */
  assert_int_equal(watch.nevent, CALLS);
  for (uint32_t i = 0; i < CALLS; i++) assert_true(event[i].call == i && event[i].end >= event[i].start && event[i].thread >= 0 && event[i].thread < 2);
  for (int i = 0; i < 2; i++) assert_int_equal(event[i].thread, event[i + 2].thread);      /* a lane has one thread */
  end(&r);
}

/* --- faults --------------------------------------------------------------------------------------------------------------------------- */
static const kd_slot indices[] = {
  { "i", KD_SLOT_FIELD, { .dtype = KD_I64, .rank = 1, .dim = { 2 } }, 0, 0 }, { "k", KD_SLOT_FIELD, { .dtype = KD_I64, .rank = 1, .dim = { 2 } }, 1, 0 },
};
static const kd_attr batch0[] = { { .kind = 'i' } };

/* Two lanes that gather by i and by k: the first of the plan's order that faults is told, whichever came first. */
static void the_first_fault_is_told(void **state) {
  (void)state;
  kd_plan_tensor tensor[] = { VECTOR(0), WHERE(0), WHERE(1), VECTOR(1), VECTOR(2) };
  tensor[3].type.dim[0] = tensor[4].type.dim[0] = 2;
  kd_plan_call call[] = {
    { KD_OP_GATHER, 2, 1, (uint32_t[]){ 0, 1 }, (uint32_t[]){ 3 }, batch0, 21, NULL, NULL, 2, 0 },
    { KD_OP_GATHER, 2, 1, (uint32_t[]){ 0, 2 }, (uint32_t[]){ 4 }, batch0, 22, NULL, NULL, 0, 1 },
  };
  kd_plan plan = { .name = "by hand", .tensor = tensor, .ntensor = 5, .call = call, .ncall = 2, .arena_size = 3 * BYTES };
  _Alignas(64) float arena[3 * N] = { 0 };
  _Alignas(64) char scratch[4096];
  kd_store store;
  kd_bound *b;
  assert_int_equal(kd__store_open(&store, indices, 2), KD_OK);
  assert_int_equal(kd__plan_bind(&plan, &store, arena, &(kd_kernel_settings){ .threads = 2 }, &b), KD_OK);
  b->team = true;
  assert_int_equal(kd__bind_side(b, ALL), KD_OK);
  assert_int_equal(b->beside[0].n, 2);
  assert_true(kd__bound_scratch(b) <= sizeof scratch);
  for (int which = 0; which < 4; which++) {
    ((int64_t *)kd__store_at(&store, 0))[1] = which & 1 ? N + 1 : 0;
    ((int64_t *)kd__store_at(&store, 1))[1] = which & 2 ? N + 2 : 0;
    for (int turn = 0; turn < 50; turn++) {
      kd_fault fault = { 0 };
      kd__bound_run(b, &(kd_exec){ .threads = 2, .scratch = scratch, .fault = &fault });
      assert_int_equal(fault.set, which > 0);
      if (which == 0) { assert_null(kd__bound_faulted(b)); continue; }
      assert_int_equal(fault.value, which & 1 ? N + 1 : N + 2);
      assert_int_equal(kd__bound_faulted(b)->origin, which & 1 ? 21 : 22);
    }
  }
  kd__bound_close(b);
  kd__store_close(&store);
}

/* --- broken plans ---------------------------------------------------------------------------------------------------------------------- */
static void refuses(const rig *r, const char *what) {
  kd_bound *b;
  kd_status st = kd__plan_bind(&r->plan, &r->store, (void *)(uintptr_t)r->arena, &(kd_kernel_settings){ .threads = 2 }, &b);
  if (st != KD_E_USAGE || b) fail_msg("%s: bound with status %d", what, (int)st);
}

static void broken_plans(void **state) {
  (void)state;
  rig r;
  begin(&r, 2, ALL);
  r.call[0].side = 5, refuses(&r, "the sum reads what another lane writes");
  r.call[0].side = 6, refuses(&r, "more calls than there are");
  r.call[0].side = UINT32_MAX, refuses(&r, "far more calls");
  r.call[0].side = 4, r.call[3].lane = 0, refuses(&r, "a lane reads what another writes");
  r.call[3].lane = 4, refuses(&r, "a lane too many");
  r.call[3].lane = 1, r.tensor[5].offset = 2 * BYTES, refuses(&r, "two lanes write to one place");
  r.tensor[5].offset = 2 * BYTES - 4, refuses(&r, "... in part");
  r.tensor[5].offset = 0, refuses(&r, "a lane overwrites what another reads");
  end(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_lanes_run_at_once), cmocka_unit_test(one_after_another), cmocka_unit_test(watched), cmocka_unit_test(the_first_fault_is_told),
    cmocka_unit_test(broken_plans),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
