/* test_commit.c: what plans do with slots: in place where that is right, aside where it is not, and what it costs. */
#include "tests/plan/rig.h"
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define COPY KD_OP_COUNT

typedef struct commit_case { const char *name; rig_places places; uint32_t calls, copies; const char *text; } commit_case;

/* `calls` counts all calls, copies too. */
static const commit_case cases[] = {
  { "an update in place", RIG_APART, 2, 0,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%g = input {slot=1, dtype=f32, shape=[6]}\n%m = mul %x, %g\n%y = sub %x, %m\nwrite 0 %y\n" },
  { "old values are read although they are overwritten", RIG_APART, 4, 0,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = neg %x\n%e = exp %x\n%f = exp %y\n%s = sum %x {axes=[0]}\nwrite 0 %y\nresult \"e\" %e\nresult \"f\" %f\nresult \"s\" %s\n" },
  { "a result that is the old value itself is kept aside", RIG_APART, 2, 1,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = neg %x\nwrite 0 %y\nresult \"x\" %x\n" },
  { "a result that is the new value lies in the slot", RIG_APART, 1, 0,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = neg %x\nwrite 0 %y\nresult \"y\" %y\n" },
  { "a slot takes another's value", RIG_APART, 1, 1, "%x = input {slot=0, dtype=f32, shape=[6]}\nwrite 1 %x\n" },
  { "... and that one is written too", RIG_APART, 2, 1,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = neg %x\nwrite 1 %x\nwrite 0 %y\n" },
  { "two slots swap", RIG_APART, 3, 3, "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = input {slot=1, dtype=f32, shape=[6]}\nwrite 0 %y\nwrite 1 %x\n" },
  { "three slots go round", RIG_TOGETHER, 4, 4,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = input {slot=1, dtype=f32, shape=[6]}\n%z = input {slot=2, dtype=f32, shape=[6]}\n"
    "write 0 %y\nwrite 1 %z\nwrite 2 %x\n" },
  { "two slots swap through a kernel: one of them in the arena first", RIG_APART, 3, 1,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = input {slot=1, dtype=f32, shape=[6]}\n%a = neg %y\n%b = exp %x\nwrite 0 %a\nwrite 1 %b\n" },
  { "... side by side, as one flat vector", RIG_TOGETHER, 4, 2,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = input {slot=1, dtype=f32, shape=[6]}\n%a = neg %y\n%b = exp %x\n%f = concat %a, %b {axis=0}\n"
    "%c = slice %f {start=[0], size=[6], step=[1]}\n%d = slice %f {start=[6], size=[6], step=[1]}\nwrite 0 %c\nwrite 1 %d\n" },
  { "one value into two slots: in place into one", RIG_APART, 2, 1,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = exp %x\nwrite 0 %y\nwrite 1 %y\n" },
  { "neighbours shifted by one are not overwritten while they are read", RIG_TOGETHER, 3, 2,
    "%x = input {slot=0, dtype=f32, shape=[6]}\n%y = input {slot=1, dtype=f32, shape=[6]}\n%z = input {slot=2, dtype=f32, shape=[6]}\n"
    "%f = concat %x, %y {axis=0}\n%n = neg %f\n%c = slice %n {start=[0], size=[6], step=[1]}\n%d = slice %n {start=[6], size=[6], step=[1]}\n"
    "write 1 %c\nwrite 2 %d\n" },
  { "the flat vector of neighbours is their memory", RIG_TOGETHER, 1, 0,
    "%x = input {slot=0, dtype=f32, shape=[2,3]}\n%y = input {slot=1, dtype=f32, shape=[4]}\n%a = reshape %x {shape=[6]}\n%f = concat %a, %y {axis=0}\n"
    "%s = sum %f {axes=[0]}\nresult \"s\" %s\n" },
  { "a state through a chain of scatters, in place", RIG_APART, 2, 0,
    "%x = input {slot=0, dtype=f32, shape=[5,4]}\n%i = input {slot=1, dtype=i64, shape=[3]}\n%v = input {slot=2, dtype=f32, shape=[3,4]}\n"
    "%a = scatter_set %x, %i, %v {batch=0, skip=0}\n%b = scatter_add %a, %i, %v {batch=0, skip=0}\nwrite 0 %b\n" },
  { "a scatter of a state into itself", RIG_APART, 2, 1,
    "%x = input {slot=0, dtype=f32, shape=[5,4]}\n%i = input {slot=1, dtype=i64, shape=[3]}\n%v = slice %x {start=[1,0], size=[3,4], step=[1,1]}\n"
    "%a = scatter_add %x, %i, %v {batch=0, skip=0}\nwrite 0 %a\n" },
  { "a scatter of an arena value into itself", RIG_APART, 2, 0,
    "%x = input {slot=0, dtype=f32, shape=[5,4]}\n%i = input {slot=1, dtype=i64, shape=[3]}\n%e = exp %x\n"
    "%v = slice %e {start=[1,0], size=[3,4], step=[1,1]}\n%a = scatter_add %e, %i, %v {batch=0, skip=0}\nresult \"a\" %a\n" },
  { "a state turned over", RIG_APART, 2, 2, "%x = input {slot=0, dtype=f32, shape=[4,4]}\n%y = permute %x {perm=[1,0]}\nwrite 0 %y\n" },
  { "what is there already is no write", RIG_APART, 0, 0,
    "%x = input {slot=0, dtype=f32, shape=[2,3]}\n%y = reshape %x {shape=[6]}\n%z = reshape %y {shape=[2,3]}\nwrite 0 %z\n" },
  { "a number and a broadcast into slots", RIG_APART, 4, 3,
    "%x = input {slot=0, dtype=f32, shape=[3]}\n%c = const {value=2, dtype=f32, shape=[2,3]}\n%b = broadcast %x {shape=[2,3], axes=[1]}\n"
    "%k = const {value=2, dtype=f32, shape=[]}\nwrite 1 %c\nwrite 2 %b\nwrite 3 %k\n" },
  { "nothing into empty slots", RIG_TOGETHER, 0, 0,
    "%x = input {slot=0, dtype=f32, shape=[0,3]}\n%y = neg %x\n%s = concat %x, %y {axis=0}\nwrite 0 %y\nwrite 1 %s\nresult \"y\" %y\n" },
  { "an average of two models in place", RIG_TOGETHER, 4, 0,
    "%a = input {slot=0, dtype=f32, shape=[6]}\n%b = input {slot=1, dtype=f32, shape=[6]}\n%k = const {value=0.75, dtype=f32, shape=[6]}\n"
    "%d = sub %a, %b\n%m = mul %d, %k\n%n = sub %a, %m\nwrite 0 %n\n" },
  { "channels put together by concat are made in place, with channels innermost", RIG_APART, 4, 0,
    "%x = input {slot=0, dtype=f32, shape=[2,3,6,6]}\n%u = input {slot=1, dtype=f32, shape=[4,3,3,3]}\n%v = input {slot=2, dtype=f32, shape=[5,4,3,3]}\n"
    "%w = input {slot=3, dtype=f32, shape=[2,9,3,3]}\n%a = conv %x, %u {stride=[1,1], pad_lo=[1,1], pad_hi=[1,1], dilation=[1,1], groups=1}\n"
    "%r = relu %a\n%b = conv %r, %v {stride=[1,1], pad_lo=[1,1], pad_hi=[1,1], dilation=[1,1], groups=1}\n%c = concat %r, %b {axis=1}\n"
    "%y = conv %c, %w {stride=[1,1], pad_lo=[1,1], pad_hi=[1,1], dilation=[1,1], groups=1}\nresult \"y\" %y\n" },
  { "heads of attention are written in the order in which they are joined", RIG_APART, 2, 0,
    "%1 = input {slot=0, dtype=f32, shape=[2, 3, 4, 5]} : f32[2, 3, 4, 5]\n"
    "%2 = input {slot=1, dtype=f32, shape=[2, 3, 5, 6]} : f32[2, 3, 5, 6]\n"
    "%3 = matmul %1, %2 : f32[2, 3, 4, 6]\n"
    "%4 = permute %3 {perm=[0, 2, 1, 3]} : f32[2, 4, 3, 6]\n"
    "%5 = reshape %4 {shape=[8, 18]} : f32[8, 18]\n"
    "%6 = input {slot=2, dtype=f32, shape=[18, 7]} : f32[18, 7]\n"
    "%7 = matmul %5, %6 : f32[8, 7]\n"
    "result \"y\" %7\n" },
  { "columns of a product that are joined with another axis are copied", RIG_APART, 3, 1,
    "%1 = input {slot=0, dtype=f32, shape=[2, 3, 4, 5]} : f32[2, 3, 4, 5]\n"
    "%2 = input {slot=1, dtype=f32, shape=[2, 3, 5, 6]} : f32[2, 3, 5, 6]\n"
    "%3 = matmul %1, %2 : f32[2, 3, 4, 6]\n"
    "%4 = permute %3 {perm=[0, 3, 1, 2]} : f32[2, 6, 3, 4]\n"
    "%5 = reshape %4 {shape=[12, 12]} : f32[12, 12]\n"
    "%6 = input {slot=2, dtype=f32, shape=[12, 7]} : f32[12, 7]\n"
    "%7 = matmul %5, %6 : f32[12, 7]\n"
    "result \"y\" %7\n" },
  { "an image flattened for a matrix product is copied once, back from it not at all", RIG_APART, 4, 1,
    "%x = input {slot=0, dtype=f32, shape=[2,3,6,6]}\n%u = input {slot=1, dtype=f32, shape=[4,3,3,3]}\n%w = input {slot=2, dtype=f32, shape=[144,5]}\n"
    "%a = conv %x, %u {stride=[1,1], pad_lo=[1,1], pad_hi=[1,1], dilation=[1,1], groups=1}\n%r = relu %a\n%f = reshape %r {shape=[2,144]}\n"
    "%y = matmul %f, %w\nresult \"y\" %y\n" },
};

static void every_case(void **state) {
  (void)state;
  int bad = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const commit_case *c = &cases[i];
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    rig r;
    rig_text(&r, &a, c->text, c->places);
    bool good = rig_run(&r, 0, c->name);
    if (r.plan->ncall != c->calls || rig_count(&r, COPY) != c->copies) {
      print_error("%s: %u calls, %u of them copies, instead of %u and %u\n", c->name, r.plan->ncall, rig_count(&r, COPY), c->calls, c->copies);
      good = false;
    }
    if (!good) print_error("%s", rig_print(&r));
    bad += !good;
    kd__arena_free(&a);
  }
  assert_int_equal(bad, 0);
}

static void costly_copies_are_told(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  rig r;
  rig_text(&r, &a, "%x = input {slot=0, dtype=f32, shape=[600,500]}\n%p = permute %x {perm=[1,0]}\n%f = reshape %p {shape=[600,500]}\nwrite 0 %f\n", RIG_APART);
  assert_true(rig_run(&r, 0, "turned over"));
  assert_int_equal(r.notes, 1);
  assert_int_equal(r.note.origin, 1000);         /* the write's own */
  assert_int_equal(r.note.slot, 0);
  assert_int_equal(r.note.bytes, 600 * 500 * 4);
  assert_int_equal(r.plan->copied, 600 * 500 * 4);
  rig_text(&r, &a, "%x = input {slot=0, dtype=f32, shape=[60,50]}\n%p = permute %x {perm=[1,0]}\n%f = reshape %p {shape=[60,50]}\nwrite 0 %f\n", RIG_APART);
  assert_int_equal(r.notes, 0);                  /* small ones are only counted */
  assert_int_equal(r.plan->copied, 60 * 50 * 4);
  rig_text(&r, &a, "%x = input {slot=0, dtype=f32, shape=[600,500]}\n%y = exp %x\nwrite 0 %y\n", RIG_APART);
  assert_int_equal(r.notes + (int)r.plan->copied, 0);
  kd__arena_free(&a);
}

/* --- memory runs out --------------------------------------------------------------------------------------------------------------- */

typedef struct budget { long left; long held; } budget;
static void *grudging(void *ctx, void *old, size_t old_size, size_t new_size) {
  budget *b = ctx;
  (void)old_size;
  if (new_size == 0) { b->held -= old != NULL; free(old); return NULL; }
  if (b->left-- <= 0) return NULL;
  b->held += old == NULL;
  return realloc(old, new_size);
}

static bool plan_on(kd__arena *poor, kd__oom *oom, const kd_graph *g, const kd_slot *slot) {
  oom->armed = true;
  if (setjmp(oom->jump)) return false;
  assert_non_null(kd__plan_make(poor, g, slot, 1, "poor", NULL, NULL));
  return true;
}

/* With n allocations granted. */
static bool plan_with(long n) {
  static const char text[] = "%x = input {slot=0, dtype=f32, shape=[5,4]}\n%y = exp %x\n%s = sum %y {axes=[0]}\nwrite 0 %y\nresult \"s\" %s\n";
  kd__arena good, poor;
  kd_shape_error err;
  budget b = { n, 0 };
  kd_allocator alloc = { grudging, &b };
  kd__oom oom;
  kd__arena_init(&good, NULL, NULL);
  kd__arena_init(&poor, &alloc, &oom);
  kd_graph *g = kd__graph_read(&good, text, sizeof text - 1, &err);
  assert_non_null(g);
  kd_slot slot = { .name = "x", .type = *kd__type_of(g, 1) };
  bool made = plan_on(&poor, &oom, g, &slot);
  kd__arena_free(&poor);
  assert_int_equal(b.held, 0);                   /* the planner's own memory is back too */
  kd__arena_free(&good);
  return made;
}

static void memory_runs_out(void **state) {
  (void)state;
  long n = 0;
  while (n < 40 && !plan_with(n)) n++;
  assert_in_range(n, 2, 39);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(every_case), cmocka_unit_test(costly_copies_are_told), cmocka_unit_test(memory_runs_out) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
