/* test_exec.c: stores, and plans written by hand: bound, run, faulted, timed, printed; and broken ones, which must not bind. */
#include "runtime/exec/plan.h"
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static const kd_slot slots[] = {
  { "w", KD_SLOT_PARAM, { .dtype = KD_F32, .rank = 2, .dim = { 2, 3 } }, 0, 0 },
  { "b", KD_SLOT_PARAM, { .dtype = KD_F32, .rank = 1, .dim = { 3 } }, 0, 24 },
  { "i", KD_SLOT_FIELD, { .dtype = KD_I64, .rank = 1, .dim = { 2 } }, 2, 0 },
};
enum { NSLOT = sizeof slots / sizeof *slots, ARENA = 256 };

static void stores(void **state) {
  (void)state;
  kd_store s;
  assert_int_equal(kd__store_open(&s, slots, NSLOT), KD_OK);
  assert_int_equal(s.nblock, 3);
  assert_int_equal(s.block_size[0], 36);
  assert_int_equal(s.block_size[1], 0);          /* nobody's: empty, but there */
  assert_int_equal(s.block_size[2], 16);
  assert_ptr_equal(kd__store_at(&s, 1), (char *)kd__store_at(&s, 0) + 24);
  for (uint32_t i = 0; i < s.nblock; i++) assert_int_equal((uintptr_t)s.block[i] % 64, 0);
  for (int i = 0; i < 9; i++) assert_true(((float *)kd__store_at(&s, 0))[i] == 0);
  kd__store_close(&s);
  assert_int_equal(kd__store_open(&s, NULL, 0), KD_OK);
  kd__store_close(&s);
  kd_slot huge = { "h", KD_SLOT_STATE, { .dtype = KD_F32, .rank = 2, .dim = { (int64_t)1 << 40, (int64_t)1 << 40 } }, 0, 0 };
  assert_int_equal(kd__store_open(&s, &huge, 1), KD_E_MEMORY);
  huge.type.rank = 1, huge.type.dim[0] = 4, huge.offset = INT64_MAX - 8;
  assert_int_equal(kd__store_open(&s, &huge, 1), KD_E_MEMORY);
  huge.offset = -4;
  assert_int_equal(kd__store_open(&s, &huge, 1), KD_E_MEMORY);
}

/* --- a plan by hand: e = exp(w) + b, g = gather(e, i), w = e, result g --------------------------------------------------------------- */

#define MATRIX { .dtype = KD_F32, .rank = 2, .dim = { 2, 3 } }
static const kd_plan_tensor tensors[] = {
  { MATRIX, { 3, 1 }, KD_IN_SLOT, 0, 0 },
  { MATRIX, { 3, 1 }, KD_IN_ARENA, 0, 64 },
  { MATRIX, { 0, 1 }, KD_IN_SLOT, 1, 0 },
  { { .dtype = KD_I64, .rank = 1, .dim = { 2 } }, { 1 }, KD_IN_SLOT, 2, 0 },
  { MATRIX, { 3, 1 }, KD_IN_ARENA, 0, 128 },
  { MATRIX, { -3, 1 }, KD_IN_ARENA, 0, 140 },
};
static const kd_attr batch0[] = { { .kind = 'i' } };
static const kd_plan_call calls[] = {
  { KD_OP_EXP, 1, 1, (uint32_t[]){ 0 }, (uint32_t[]){ 1 }, NULL, 11, NULL, NULL, 0, 0 },
  { KD_OP_ADD, 2, 1, (uint32_t[]){ 1, 2 }, (uint32_t[]){ 1 }, NULL, 12, NULL, NULL, 0, 0 },
  { KD_OP_GATHER, 2, 1, (uint32_t[]){ 1, 3 }, (uint32_t[]){ 4 }, batch0, 13, NULL, NULL, 0, 0 },
  { KD_OP_COUNT, 1, 1, (uint32_t[]){ 1 }, (uint32_t[]){ 0 }, NULL, 14, NULL, NULL, 0, 0 },
};
static const kd_plan_result results[] = { { "g", 4 }, { "turned", 5 } };

typedef struct rig { kd_plan_tensor tensor[6]; kd_plan_call call[4]; kd_plan plan; kd_store store; void *arena; kd_bound *b; } rig;

static const kd_kernel_settings settings = { .threads = 2 };

static void begin(rig *r) {
  *r = (rig){ .b = NULL };
  memcpy(r->tensor, tensors, sizeof tensors);
  memcpy(r->call, calls, sizeof calls);
  r->plan = (kd_plan){ .name = "by hand", .tensor = r->tensor, .ntensor = 6, .call = r->call, .ncall = 4, .arena_size = ARENA, .nresult = 2 };
  r->plan.result = (kd_plan_result *)(uintptr_t)results;
  static uint32_t writes[] = { 0 };
  r->plan.writes = writes, r->plan.nwrites = 1;
  assert_int_equal(kd__store_open(&r->store, slots, NSLOT), KD_OK);
  float *w = kd__store_at(&r->store, 0), *b = kd__store_at(&r->store, 1);
  int64_t *i = kd__store_at(&r->store, 2);
  for (int k = 0; k < 3; k++) w[k] = 0, w[k + 3] = 1, b[k] = (float)k;
  i[0] = 1, i[1] = 0;
  r->arena = aligned_alloc(64, ARENA);
}

static void end(rig *r) {
  kd__bound_close(r->b);
  kd__store_close(&r->store);
  free(r->arena);
}

static void bind_and_run(void **state) {
  (void)state;
  rig r;
  begin(&r);
  assert_int_equal(kd__plan_bind(&r.plan, &r.store, r.arena, &settings, &r.b), KD_OK);
  kd_fault fault = { 0 };
  void *scratch = aligned_alloc(64, (kd__bound_scratch(r.b) + 127) / 64 * 64);
  kd_exec x = { .threads = 2, .scratch = scratch, .fault = &fault };
  double seconds[4] = { 0 };
  int64_t times[4] = { 0 };
  kd_watch_event event[3];
  kd_watch watch = { .seconds = seconds, .times = times, .event = event, .cap = 3 };
  assert_int_equal(kd__plan_calls(&r.plan), 4);
  kd__bound_watch(r.b, &watch);
  kd__bound_run(r.b, &x);
  assert_null(kd__bound_faulted(r.b));
  const float *g = kd__bound_result(r.b, 0)->data, *w = kd__store_at(&r.store, 0);
  for (int k = 0; k < 3; k++) {
    assert_true(g[k + 3] == 1.0f + (float)k);    /* row 1 of the result is row 0 of e */
    assert_true(g[k] > 2.7182f + (float)k && g[k] < 2.7184f + (float)k);
    assert_true(w[k] == g[k + 3] && w[k + 3] == g[k]);
  }
  const kd_tensor *turned = kd__bound_result(r.b, 1);
  assert_ptr_equal((const char *)turned->data + turned->stride[0] * 4, g);
  for (int k = 0; k < 4; k++) assert_true(seconds[k] > 0 && times[k] == 1);
  assert_int_equal(watch.nevent, 3);             /* no more than there is room for */
  for (uint32_t k = 0; k < 3; k++) assert_true(event[k].call == k && event[k].end >= event[k].start);
  kd__bound_watch(r.b, NULL);
  double before = seconds[0];
  kd__bound_run(r.b, &x);
  assert_true(seconds[0] == before);
  free(scratch);
  end(&r);
}

static void a_fault_stops_the_run(void **state) {
  (void)state;
  rig r;
  begin(&r);
  ((int64_t *)kd__store_at(&r.store, 2))[1] = 2;
  assert_int_equal(kd__plan_bind(&r.plan, &r.store, r.arena, &settings, &r.b), KD_OK);
  kd_fault fault = { 0 };
  void *scratch = aligned_alloc(64, (kd__bound_scratch(r.b) + 127) / 64 * 64);
  kd__bound_run(r.b, &(kd_exec){ .threads = 1, .scratch = scratch, .fault = &fault });
  assert_int_equal(fault.set, 1);
  assert_int_equal(fault.value, 2);
  assert_int_equal(fault.limit, 2);
  assert_non_null(kd__bound_faulted(r.b));
  assert_int_equal(kd__bound_faulted(r.b)->origin, 13);
  assert_true(*(float *)kd__store_at(&r.store, 0) == 0);                /* the copy after it did not run */
  free(scratch);
  end(&r);
}

static void text(void **state) {
  (void)state;
  rig r;
  begin(&r);
  kd__buf out = { 0 };
  kd__plan_print(&r.plan, slots, &out);
  assert_string_equal(out.p,
    "plan \"by hand\": arena 256 bytes, copied 0 bytes\n"
    "t0 = f32[2,3] slot w+0\nt1 = f32[2,3] arena+64\nt2 = f32[2,3] slot b+0 strides (0,1)\nt3 = i64[2] slot i+0\nt4 = f32[2,3] arena+128\n"
    "t5 = f32[2,3] arena+140 strides (-3,1)\n"
    "exp t0 -> t1\nadd t1, t2 -> t1\ngather t1, t3 -> t4 {batch=0}\ncopy t1 -> t0\nresult \"g\" t4\nresult \"turned\" t5\nwrites w\n");
  out.n = 0;
  kd_kernel_settings ref = { .threads = 1, .reference = true };
  assert_int_equal(kd__plan_bind(&r.plan, &r.store, r.arena, &ref, &r.b), KD_OK);
  kd__bound_describe(r.b, &out);
  assert_string_equal(out.p, "ref f32 [2,3]->[2,3]\nref f32 [2,3]x[2,3]->[2,3]\nref f32 [2,3]x[2]->[2,3]\ncopy f32 [2,3]->[2,3]\n");
  kd__buf_free(&out);
  end(&r);
}

/* Expects that the plan, changed as `what` says, does not bind. */
static void refuses(rig *r, const char *what) {
  kd_status st = kd__plan_bind(&r->plan, &r->store, r->arena, &settings, &r->b);
  if (st != KD_E_USAGE || r->b) fail_msg("%s: bound with status %d", what, (int)st);
  end(r);
}

static void broken_plans(void **state) {
  (void)state;
  rig r;
  begin(&r), r.tensor[1].offset = ARENA - 20, refuses(&r, "past the arena");
  begin(&r), r.tensor[1].offset = -4, refuses(&r, "before the arena");
  begin(&r), r.tensor[5].offset = 8, refuses(&r, "a negative stride before the arena");
  begin(&r), r.tensor[0].offset = 16, refuses(&r, "past the slot's block");
  begin(&r), r.tensor[2].offset = -28, refuses(&r, "before the slot's block");
  begin(&r), r.tensor[0].slot = NSLOT, refuses(&r, "no such slot");
  begin(&r), r.tensor[1].stride[0] = 100, refuses(&r, "strides past the arena");
  begin(&r), r.tensor[1].stride[0] = INT64_MAX / 2, refuses(&r, "strides past all memory");
  begin(&r), r.tensor[1].offset = INT64_MAX - 8, refuses(&r, "an offset past all memory");
  begin(&r), r.call[0].in = (uint32_t[]){ 6 }, refuses(&r, "no such tensor");
  begin(&r), r.call[3].nin = 0, refuses(&r, "a copy of nothing");
  begin(&r);
  r.tensor[1].type.dim[0] = 0, r.tensor[1].offset = 100000;            /* no elements: no memory is touched */
  r.plan.ncall = 0, r.plan.nresult = 0;
  assert_int_equal(kd__plan_bind(&r.plan, &r.store, r.arena, &settings, &r.b), KD_OK);
  end(&r);
}

static void nothing_to_close(void **state) {
  (void)state;
  kd__bound_close(NULL);
  kd_plan empty = { .name = "empty" };
  kd_store s;
  kd_bound *b;
  assert_int_equal(kd__store_open(&s, NULL, 0), KD_OK);
  assert_int_equal(kd__plan_bind(&empty, &s, NULL, &settings, &b), KD_OK);
  kd__bound_run(b, &(kd_exec){ .threads = 1 });
  assert_null(kd__bound_faulted(b));
  kd__bound_close(b);
  kd__store_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(stores), cmocka_unit_test(bind_and_run), cmocka_unit_test(a_fault_stops_the_run), cmocka_unit_test(text),
    cmocka_unit_test(broken_plans), cmocka_unit_test(nothing_to_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
