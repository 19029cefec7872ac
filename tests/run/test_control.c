/* test_control.c: control flow, keep best, losses that are not finite, faults, stopping, and modules that are broken. */
#include "tests/run/toy.h"
#include "runtime/run/machine.h"
#include <math.h>

/* Numbers from a list, one a run of the program "next": register 0 gets the sum of `a` and `b`, which are registers 1 and 2; the slot `at`
 * counts. The test writes the lists. */
enum { LIST_A, LIST_B, AT, N = 6 };

static const float zero_list[N];

static void list_module(toy *t, int64_t *next, bool checked) {
  static const int64_t n = N;
  toy_open(t);
  toy_slot(t, "a", KD_SLOT_STATE, KD_F32, 1, &n);
  toy_slot(t, "b", KD_SLOT_STATE, KD_F32, 1, &n);
  toy_slot(t, "at", KD_SLOT_PARAM, KD_I64, 0, NULL);
  kd_build b = { toy_graph(t, "next", next), 77 };
  kd_value at = toy_input(t, &b, AT, 0), x[2];
  for (int i = 0; i < 2; i++) x[i] = kd__b_gather(&b, toy_input(t, &b, i ? LIST_B : LIST_A, 0), at, 0);
  kd__graph_write(b.g, AT, kd__b_op2(&b, KD_OP_ADD, at, kd__b_const(&b, 1, KD_I64, NULL, 0)), 77);
  kd__graph_result(b.g, checked ? "loss" : "value", kd__b_op2(&b, KD_OP_ADD, x[0], x[1]));
  kd__graph_result(b.g, "hint", x[0]);
  kd__graph_result(b.g, "soft", x[1]);
  t->group[0] = (kd_group){ "S", kd__arena_copy(&t->arena, (uint32_t[]){ AT }, 4), kd__arena_copy(&t->arena, (const char *[]){ "at" }, sizeof(char *)), 1 };
  t->m.ngroup = 1;
  t->stage[0] = (kd_stage_info){ .name = "first", .epochs = 2, .steps = 6 };
  t->stage[1] = (kd_stage_info){ .name = "second", .epochs = 0, .steps = 0 };
  t->m.nstage = 2;
  t->m.nreg = 3;
  t->m.ncounter = 2;
}

static kd_machine *open_list(const toy *t, const kd__run_options *o, const float *a, const float *b) {
  kd_machine *r;
  kd__run_error err;
  if (kd__machine_open(&t->m, o, &r, &err) != KD_OK) fail_msg("%s", err.text);
  memcpy(kd__store_at(&r->store, LIST_A), a, N * sizeof *a);
  memcpy(kd__store_at(&r->store, LIST_B), b, N * sizeof *b);
  return r;
}

static int64_t counted(const kd_machine *r) { return *(const int64_t *)kd__machine_slot(r, AT); }

static int64_t run_list(const toy *t, const kd__run_options *o, const float *a) {
  kd__run_error err;
  kd_machine *r = open_list(t, o, a, zero_list);
  if (kd__machine_go(r, &err) != KD_OK) fail_msg("%s", err.text);
  int64_t n = counted(r);
  kd__machine_close(r);
  return n;
}

/* --- loops ------------------------------------------------------------------------------------------------------------------------ */
static void loops(void **state) {
  (void)state;
  static const struct { int64_t outer, inner, want; } c[] = { { 2, 3, 6 }, { 3, 1, 3 }, { 1, 0, 0 }, { 0, 3, 0 }, { 2, -1, 0 } };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    toy t;
    int64_t next;
    list_module(&t, &next, false);
    int64_t out = toy_emit(&t, KD_CODE_LOOP, 0, c[i].outer, 0), in = toy_emit(&t, KD_CODE_LOOP, 1, c[i].inner, 0);
    toy_emit(&t, KD_CODE_RUN, next, 0, 0);
    toy_emit(&t, KD_CODE_NEXT, 1, c[i].inner, in + 1);
    t.code[in].c = toy_emit(&t, KD_CODE_NEXT, 0, c[i].outer, out + 1);
    t.code[out].c = toy_emit(&t, KD_CODE_HALT, 0, 0, 0);
    toy_finish(&t);
    kd__run_options o = toy_options();
    assert_int_equal(run_list(&t, &o, zero_list), c[i].want);
    toy_close(&t);
  }
}

static void jumps(void **state) {
  (void)state;
  toy t;
  int64_t next;
  list_module(&t, &next, false);
  toy_emit(&t, KD_CODE_EVAL, next, 0, 0);        /* until a value is not 0 */
  toy_emit(&t, KD_CODE_JUMP_IF, 0, 3, 0);
  toy_emit(&t, KD_CODE_JUMP, 0, 0, 0);
  toy_emit(&t, KD_CODE_HALT, 0, 0, 0);
  toy_finish(&t);
  kd__run_options o = toy_options();
  assert_int_equal(run_list(&t, &o, (float[N]){ 0, 0, 0, -2, 0, 0 }), 4);
  toy_close(&t);
}

/* --- keep best ------------------------------------------------------------------------------------------------------------------------ */
static void note(void *ctx, const kd__event *e) {
  if (e->kind == KD__EVENT_NOTE) snprintf(ctx, 200, "%s", e->text);
}

static void keep_best(void **state) {
  (void)state;
  const float nan_ = NAN, inf_ = INFINITY;
  const struct { float score[N]; int64_t larger, want; const char *note; } c[] = {
    { { 1, 3, 2, 3, 0, 3 }, 1, 2, "with 3" },                          /* the first of equals */
    { { 5, 4, 4, 6, 7, 4 }, 0, 2, "with 4" },
    { { nan_, 1, nan_, 2, inf_, nan_ }, 1, 4, "with 2" },              /* what is not finite is never best */
    { { -inf_, 0, nan_, -1, -1, nan_ }, 0, 4, "with -1" },
    { { nan_, nan_, inf_, nan_, -inf_, nan_ }, 1, N, "none of the 6 values" },
    { { -0.0f, 0, 0, 0, 0, 0 }, 1, 1, "with" },
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    toy t;
    int64_t next;
    char text[200] = "";
    list_module(&t, &next, false);
    toy_emit(&t, KD_CODE_STAGE, 0, 0, 0);
    toy_emit(&t, KD_CODE_LOOP, 0, N, 6);
    toy_emit(&t, KD_CODE_EVAL, next, 0, 0);
    toy_emit(&t, KD_CODE_EPOCH, 0, 0, 0);
    toy_emit(&t, KD_CODE_SNAPSHOT, 0, c[i].larger, 0);
    toy_emit(&t, KD_CODE_NEXT, 0, N, 2);
    toy_emit(&t, KD_CODE_RESTORE, 0, 0, 0);
    toy_emit(&t, KD_CODE_RESTORE, 0, 0, 0);      /* nothing is kept any more: does nothing, says nothing */
    toy_emit(&t, KD_CODE_HALT, 0, 0, 0);
    toy_finish(&t);
    kd__run_options o = toy_options();
    o.event = note;
    o.event_ctx = text;
    assert_int_equal(run_list(&t, &o, c[i].score), c[i].want);
    assert_contains(text, c[i].note);
    toy_close(&t);
  }
}

/* --- errors ---------------------------------------------------------------------------------------------------------------------------------- */
/* Two epochs of three steps over the lists. */
static void training(toy *t, int64_t times) {
  int64_t next;
  list_module(t, &next, true);
  toy_emit(t, KD_CODE_STAGE, 0, 0, 0);
  toy_emit(t, KD_CODE_LOOP, 0, times, 6);
  toy_emit(t, KD_CODE_LOOP, 1, 3, 5);
  toy_emit(t, KD_CODE_STEP, next, 0, 0);
  toy_emit(t, KD_CODE_NEXT, 1, 3, 3);
  toy_emit(t, KD_CODE_EPOCH, 0, 0, 0);
  toy_emit(t, KD_CODE_NEXT, 0, times, 2);
  toy_emit(t, KD_CODE_HALT, 0, 0, 0);
  t->code[1].c = 7;
  toy_finish(t);
}

static void not_finite(void **state) {
  (void)state;
  toy t;
  training(&t, 2);
  kd__run_options o = toy_options();
  kd__run_error err;
  kd_machine *r = open_list(&t, &o, zero_list, (float[N]){ 1, 1, 1, 1, NAN, 1 });
  assert_int_equal(kd__machine_go(r, &err), KD_E_NUMERIC);
  assert_int_equal(err.status, KD_E_NUMERIC);
  assert_string_equal(err.term, "soft");         /* not the sum that it spoils */
  assert_string_equal(err.stage, "first");
  assert_int_equal(err.epoch, 2);
  assert_int_equal(err.step, 5);
  assert_int_equal(err.origin, 1003);
  assert_contains(err.text, "`soft` is nan");
  assert_contains(err.text, "hint = 0");
  assert_contains(err.text, "stage `first`, epoch 2, step 5");
  assert_int_equal(kd__machine_go(r, &err), KD_E_NUMERIC);              /* and stays so */
  assert_int_equal(kd__machine_error(r)->step, 5);
  kd__machine_close(r);
  /* finite terms whose sum is too large for f32: the loss itself */
  r = open_list(&t, &o, (float[N]){ 3e38f }, (float[N]){ 3e38f });
  assert_int_equal(kd__machine_go(r, &err), KD_E_NUMERIC);
  assert_string_equal(err.term, "loss");
  assert_int_equal(err.step, 1);
  kd__machine_close(r);
  toy_close(&t);
}

static void index_faults(void **state) {
  (void)state;
  toy t;
  training(&t, 3);                               /* nine steps over six numbers */
  kd__run_options o = toy_options();
  kd__run_error err;
  for (int reference = 0; reference < 2; reference++) {
    o.reference = reference;
    kd_machine *r = open_list(&t, &o, zero_list, zero_list);
    assert_int_equal(kd__machine_go(r, &err), KD_E_DATA);
    assert_int_equal(err.origin, 77);            /* the operator's own place, not the statement's */
    assert_contains(err.text, "index 6 is out of range: gather takes 0 to 5");
    assert_contains(err.text, "epoch 3, step 7");
    assert_null(err.term);
    kd__machine_close(r);
  }
  toy_close(&t);
}

static void fails_on_purpose(void **state) {
  (void)state;
  toy t;
  int64_t next;
  list_module(&t, &next, false);
  t.string[0] = "the teacher is worse than chance";
  t.m.nstring = 1;
  toy_emit(&t, KD_CODE_FAIL, 0, 0, 0);
  toy_finish(&t);
  kd__run_options o = toy_options();
  kd__run_error err;
  kd_machine *r = open_list(&t, &o, zero_list, zero_list);
  assert_int_equal(kd__machine_go(r, &err), KD_E_DATA);
  assert_string_equal(err.text, "the teacher is worse than chance");
  assert_int_equal(err.origin, 1000);
  assert_null(err.stage);
  kd__machine_close(r);
  toy_close(&t);
}

typedef struct stopper { volatile int flag; int64_t at; } stopper;
static void stop_at(void *ctx, const kd__event *e) {
  stopper *s = ctx;
  if (e->kind == KD__EVENT_EPOCH && e->epoch == s->at) s->flag = 1;
}

static void cancels(void **state) {
  (void)state;
  toy t;
  training(&t, 2);
  stopper s = { 0, 1 };
  kd__run_options o = toy_options();
  o.event = stop_at;
  o.event_ctx = &s;
  o.cancel = &s.flag;
  kd__run_error err;
  kd_machine *r = open_list(&t, &o, zero_list, zero_list);
  assert_int_equal(kd__machine_go(r, &err), KD_E_CANCELLED);
  assert_int_equal(counted(r), 3);
  assert_contains(err.text, "stopped on request (stage `first`, epoch 1, step 3)");
  kd__machine_close(r);
  r = open_list(&t, &o, zero_list, zero_list);   /* the flag is still set: nothing is begun */
  assert_int_equal(kd__machine_go(r, &err), KD_E_CANCELLED);
  assert_int_equal(counted(r), 0);
  kd__machine_close(r);
  toy_close(&t);
}

/* --- scalars ------------------------------------------------------------------------------------------------------------------------------------- */
static void scalars(void **state) {
  (void)state;
  toy t;
  int64_t plan;
  toy_open(&t);
  kd_build b = { toy_graph(&t, "look", &plan), 0 };
  for (int a = 0; a < KD_AMBIENT_KEY; a++) kd__graph_result(b.g, "x", toy_ambient(&t, &b, (kd_ambient)a));
  t.stage[0] = (kd_stage_info){ .name = "s", .epochs = 2, .steps = 4 };
  t.m.nstage = 1;
  t.m.nreg = KD_AMBIENT_KEY;
  t.m.ncounter = 2;
  toy_emit(&t, KD_CODE_STAGE, 0, 0, 0);
  toy_emit(&t, KD_CODE_LOOP, 0, 2, 7);
  toy_emit(&t, KD_CODE_LOOP, 1, 2, 5);
  toy_emit(&t, KD_CODE_STEP, plan, 0, 0);
  toy_emit(&t, KD_CODE_NEXT, 1, 2, 3);
  toy_emit(&t, KD_CODE_EPOCH, 0, 0, 0);
  toy_emit(&t, KD_CODE_NEXT, 0, 2, 2);
  toy_emit(&t, KD_CODE_EVAL, plan, 0, 0);
  toy_emit(&t, KD_CODE_HALT, 0, 0, 0);
  toy_finish(&t);
  kd__run_options o = toy_options();
  kd_machine *r;
  kd__run_error err;
  bool done;
  assert_int_equal(kd__machine_open(&t.m, &o, &r, &err), KD_OK);
  const double want[4][KD_AMBIENT_KEY] = { { 0, 0, 0, 2, 4, 0, 0 }, { 1, 0, 0.25, 2, 4, 0, 1 }, { 2, 1, 0.5, 2, 4, 0, 2 }, { 3, 1, 0.75, 2, 4, 0, 3 } };
  for (int i = 0; i < 4; i++) {
    assert_int_equal(kd__machine_steps(r, 1, &done, &err), KD_OK);
    assert_memory_equal(r->pos.reg, want[i], sizeof want[i]);
  }
  assert_int_equal(kd__machine_steps(r, 1, &done, &err), KD_OK);
  assert_true(done);
  assert_memory_equal(r->pos.reg, ((double[]){ 4, 2, 1, 2, 4, 0, 4 }), sizeof want[0]);
  kd__machine_close(r);
  toy_close(&t);
}

/* --- broken modules ------------------------------------------------------------------------------------------------------------------------------- */
static void refuse(const toy *t, const char *part) {
  kd__run_options o = toy_options();
  kd_machine *r;
  kd__run_error err;
  assert_int_equal(kd__machine_open(&t->m, &o, &r, &err), KD_E_USAGE);
  assert_null(r);
  assert_contains(err.text, part);
}

static void broken_modules(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 1);
  for (uint32_t i = 0; i < t.m.ncode; i++) {     /* every operand that is an index, out of range on both sides */
    int64_t *operand[3] = { &t.code[i].a, &t.code[i].b, &t.code[i].c };
    kd_machine *r;
    kd__run_error err;
    kd__run_options o = toy_options();
    for (int k = 0; k < 3; k++) {
      int64_t old = *operand[k];
      for (int side = 0; side < 2; side++) {
        *operand[k] = side ? INT64_MAX : INT64_MIN;
        if (kd__machine_open(&t.m, &o, &r, &err) == KD_OK) {
          uint16_t op = t.code[i].op;            /* only unused operands, counts of a loop and rows may be anything */
          assert_true(op == KD_CODE_LOOP || op == KD_CODE_NEXT || op == KD_CODE_BATCH_IF || old == 0);
          kd__machine_close(r);
        } else {
          assert_true(err.status == KD_E_USAGE || (t.code[i].op == KD_CODE_BATCH_IF && k == 1));
        }
      }
      *operand[k] = old;
    }
  }
  t.code[0].op = KD_CODE_COUNT;
  refuse(&t, "instruction 0");
  t.code[0].op = KD_CODE_RUN;
  t.m.ncode--;
  refuse(&t, "end at instruction");
  t.m.ncode++;
  t.stream[1].bind[0].slot = DIGITS_LABEL;
  refuse(&t, "stream 1");
  t.stream[1].bind[0].slot = DIGITS_IMAGE;
  t.stream[0].batch = 65;
  refuse(&t, "stream 0");
  t.stream[0].batch = 64;
  t.group[0].slot[1] = t.m.nslot;
  refuse(&t, "group 0");
  t.group[0].slot[1] = 1;
  t.report[1].reg = 7;
  refuse(&t, "report row 1");
  toy_close(&t);
}

static void wrong_options(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 1);
  kd__run_options o = toy_options();
  kd_machine *r;
  kd__run_error err;
  o.threads = -1;
  assert_int_equal(kd__machine_open(&t.m, &o, &r, &err), KD_E_USAGE);
  assert_contains(err.text, "threads");
  o.threads = 0;
  assert_int_equal(kd__machine_open(&t.m, &o, &r, &err), KD_OK);
  assert_in_range(kd__machine_threads(r), 1, 256);
  assert_int_equal(kd__machine_threads(r), kd__cores());
  assert_true(isnan(kd__machine_report(r, 0)));
  kd__machine_close(r);
  toy_close(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(loops), cmocka_unit_test(jumps), cmocka_unit_test(keep_best), cmocka_unit_test(not_finite), cmocka_unit_test(index_faults),
    cmocka_unit_test(fails_on_purpose), cmocka_unit_test(cancels), cmocka_unit_test(scalars), cmocka_unit_test(broken_modules),
    cmocka_unit_test(wrong_options),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
