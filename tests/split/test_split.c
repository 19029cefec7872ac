/* test_split.c: what is found frozen is so, in random graphs on the naive twins; programs that are taken apart compute what the whole did; the cut is where
 * the prices say. */
#include "compiler/split/split.h"
#include "tests/eval/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { GRAPHS = 600 };
static int seeds(void) { return getenv("KD_SEEDS") ? atoi(getenv("KD_SEEDS")) : GRAPHS; }

/* --- slots: some hold samples, some change, the others are constant ------------------------------------------------------------------------- */
typedef struct world { kd_random_graph r; int64_t batch; kd_slot_is *is; } world;

static kd_slot_is slot_is(void *ctx, int64_t slot) { return ((world *)ctx)->is[slot]; }

static world make_world(kd__arena *a, uint64_t seed) {
  world w = { .batch = 2 + (int64_t)(seed % 4) };
  kd_random_make(&w.r, a, &(kd_random_spec){ .seed = seed, .nodes = 30 + (int)(seed % 50), .real = KD_F64 });
  w.is = KD_NEWN(a, kd_slot_is, w.r.slot.n + 1);
  for (size_t i = 0; i < w.r.slot.n; i++) {
    const kd_type *t = &w.r.slot.v[i].type;
    w.is[i] = t->rank > 0 && t->dim[0] == w.batch && kd__mix(seed, i) % 4 ? KD_SLOT_SAMPLES : kd__mix(seed, i) % 9 == 0 ? KD_SLOT_CHANGES : KD_SLOT_CONSTANT;
    if (w.is[i] == KD_SLOT_SAMPLES && kd__mix(seed, 1000 + i) % 4 == 0) w.is[i] = KD_SLOT_TURNS;
  }
  return w;
}

static bool of_samples(const world *w, size_t slot) { return w->is[slot] == KD_SLOT_SAMPLES || w->is[slot] == KD_SLOT_TURNS; }

/* Another batch: sample i is sample to[i] of the old one, and where that is -1 a new one, made of others' numbers. What changes does. */
static kd_eval_slot *other_batch(kd__arena *a, const world *w, const int64_t *to, uint64_t seed) {
  kd_eval_slot *s = KD_NEWN(a, kd_eval_slot, w->r.slot.n + 1);
  for (size_t i = 0; i < w->r.slot.n; i++) {
    const kd_type *t = &w->r.slot.v[i].type;
    size_t size = kd__dtype_size((kd_dtype)t->dtype), all = size * (size_t)kd__type_count(t), row = of_samples(w, i) ? all / (size_t)w->batch : all;
    const char *old = w->r.slot.v[i].data;
    char *data = kd__arena_get(a, all + 1);
    memcpy(data, old, all);
    for (int64_t k = 0; of_samples(w, i) && k < w->batch; k++)
      memcpy(data + (size_t)k * row, old + (size_t)(to[k] >= 0 ? to[k] : (int64_t)(kd__mix(seed, (uint64_t)k) % (uint64_t)w->batch)) * row, row);
    if (w->is[i] == KD_SLOT_CHANGES && all > size) { memcpy(data, old + size, all - size); memcpy(data + all - size, old, size); }
    s[i] = (kd_eval_slot){ (int64_t)i, data };
  }
  return s;
}

/* The same batch in another turn: samples have the numbers of others. */
static kd_eval_slot *other_turn(kd__arena *a, const world *w) {
  kd_eval_slot *s = KD_NEWN(a, kd_eval_slot, w->r.slot.n + 1);
  for (size_t i = 0; i < w->r.slot.n; i++) {
    const kd_type *t = &w->r.slot.v[i].type;
    size_t all = kd__dtype_size((kd_dtype)t->dtype) * (size_t)kd__type_count(t), row = w->is[i] == KD_SLOT_TURNS ? all / (size_t)w->batch : 0;
    const char *old = w->r.slot.v[i].data;
    char *data = kd__arena_get(a, all + 1);
    memcpy(data, old + row, all - row);
    memcpy(data + all - row, old, row);
    s[i] = (kd_eval_slot){ (int64_t)i, data };
  }
  return s;
}

static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* Of element i, the place along axis d. */
static int64_t place(const kd_type *t, int64_t i, int d) {
  for (int k = t->rank - 1; k > d; k--) i /= t->dim[k];
  return i % t->dim[d];
}

static int64_t moved(const kd_type *t, int64_t i, int d, int64_t by) {
  for (int k = t->rank - 1; k > d; k--) by *= t->dim[k];
  return i + by;
}

static const char *op_name(const kd_graph *g, kd_value v) { return kd__op_info((kd_op)kd__node_of(g, v)->op)->name; }

/* Rows of samples that are in both batches agree; what is constant is the same, and repeats itself as it says. */
static bool holds(const world *w, const kd_frozenness *f, const kd_eval *x, const kd_eval *y, const int64_t *to, kd_value v) {
  const kd_graph *g = w->r.g;
  const kd_type *t = kd__type_of(g, v);
  for (int64_t i = 0; i < kd__type_count(t); i++) {
    if (f->is == KD_CONSTANT) {
      if (!same(kd_eval_at(x, v, i), kd_eval_at(y, v, i))) { print_error("%%%u = %s is said to be constant\n", v, op_name(g, v)); return false; }
      for (int d = 0; d < t->rank; d++)
        if (place(t, i, d) >= f->period[d] && !same(kd_eval_at(x, v, i), kd_eval_at(x, v, moved(t, i, d, -f->period[d])))) { print_error("%%%u = %s has no period %lld on axis %d\n", v, op_name(g, v), (long long)f->period[d], d); return false; }
      continue;
    }
    int64_t at = place(t, i, f->axis), sample = at / f->inner % w->batch;
    if (to[sample] < 0 || same(kd_eval_at(y, v, i), kd_eval_at(x, v, moved(t, i, f->axis, (to[sample] - sample) * f->inner)))) continue;
    print_error("%%%u = %s is said to be rows (axis %d, inner %lld)\n", v, op_name(g, v), f->axis, (long long)f->inner);
    return false;
  }
  return true;
}

static bool check_frozen(uint64_t seed, size_t *rows, size_t *turned) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  world w = make_world(&a, seed);
  kd_eval x, y;
  int64_t to[8];
  for (int64_t i = 0; i < w.batch; i++) to[i] = kd__mix(seed, 77 + (uint64_t)i) % 3 == 0 ? -1 : (i + 1 + (int64_t)(seed % 2)) % w.batch;
  const kd_frozenness *f = kd__frozen_values(&a, w.r.g, &(kd_slots_are){ slot_is, &w, w.batch });
  (void)kd_eval_run(&x, w.r.g, w.r.eval, w.r.slot.n, NULL, 0, KD_EVAL_DENSE);
  (void)kd_eval_run(&y, w.r.g, other_batch(&a, &w, to, seed), w.r.slot.n, NULL, 0, KD_EVAL_DENSE);
  kd_eval z;
  (void)kd_eval_run(&z, w.r.g, other_turn(&a, &w), w.r.slot.n, NULL, 0, KD_EVAL_DENSE);
  bool good = true;
  for (kd_value v = 1; v < w.r.g->type.n && good; v++) {
    for (int64_t i = 0; good && f[v].is != KD_LIVE && !f[v].turned && kd_eval_has(&x, v) && kd_eval_has(&z, v) && i < kd__type_count(kd__type_of(w.r.g, v)); i++)
      if (!(good = same(kd_eval_at(&x, v, i), kd_eval_at(&z, v, i)))) print_error("%%%u = %s is said to be the same in each turn\n", v, op_name(w.r.g, v));
    if (f[v].is == KD_LIVE || !kd_eval_has(&x, v) || !kd_eval_has(&y, v)) continue;
    if (f[v].is == KD_ROWS) rows[kd__node_of(w.r.g, v)->op]++;
    *turned += f[v].turned;
    good = good && holds(&w, &f[v], &x, &y, to, v);
  }
  if (!good) print_error("seed %llu\n", (unsigned long long)seed);
  kd_eval_free(&x);
  kd_eval_free(&y);
  kd_eval_free(&z);
  kd__arena_free(&a);
  return good;
}

static void what_is_frozen_is_so(void **state) {
  size_t rows[KD_OP_COUNT] = { 0 }, turned = 0;
  int bad = 0;
  (void)state;
  for (int seed = 1; seed <= seeds() && bad < 5; seed++) bad += !check_frozen((uint64_t)seed, rows, &turned);
  assert_int_equal(bad, 0);
  assert_true(turned > 100);
  static const kd_op must[] = { KD_OP_ADD, KD_OP_EXP, KD_OP_SUM, KD_OP_MOMENTS, KD_OP_SOFTMAX, KD_OP_MATMUL, KD_OP_RESHAPE, KD_OP_PERMUTE, KD_OP_BROADCAST, KD_OP_SLICE, KD_OP_CONCAT, KD_OP_GATHER };
  for (size_t i = 0; i < sizeof must / sizeof *must; i++) if (!rows[must[i]]) fail_msg("no %s of rows was met", kd__op_info(must[i])->name);
}

/* --- two programs for one ------------------------------------------------------------------------------------------------------------------------ */
static bool check_parts(uint64_t seed, kd_frozen kind, size_t *cuts) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  world w = make_world(&a, seed);
  const kd_graph *g = w.r.g;
  const kd_frozenness *f = kd__frozen_values(&a, g, &(kd_slots_are){ slot_is, &w, w.batch });
  kd_cut c = kd__cut_choose(&a, g, f, &(kd_cut_prices){ .kind = kind, .read = (double)(seed % 5) * 20, .make = 10, .make_turned = 30, .turns = 3 });
  int64_t *slot = KD_NEWN(&a, int64_t, c.n + 1);
  for (uint32_t i = 0; i < c.n; i++) slot[i] = (int64_t)w.r.slot.n + i;
  kd_graph *make = kd__graph_new(&a), *rest = kd__split_rest(&a, g, f, c.value, slot, c.n, w.batch);
  kd__split_make(&a, make, g, f, c.value, slot, c.n, w.batch);
  *cuts += c.n;
  kd_shape_error err = { "" };
  bool good = kd__graph_verify(make, &err) && kd__graph_verify(rest, &err);
  if (!good) print_error("seed %llu: broken: %s\n", (unsigned long long)seed, err.text);
  kd_eval whole, before, after = { 0 };
  kd_eval_slot *all = KD_NEWN(&a, kd_eval_slot, w.r.slot.n + c.n + 1);
  memcpy(all, w.r.eval, sizeof *all * w.r.slot.n);
  (void)kd_eval_run(&whole, g, w.r.eval, w.r.slot.n, NULL, 0, KD_EVAL_DENSE);
  (void)kd_eval_run(&before, make, w.r.eval, w.r.slot.n, NULL, 0, KD_EVAL_DENSE);
  for (uint32_t i = 0; i < c.n; i++) {
    kd_type t = kd__rows_type(g, c.value[i], f, w.batch);
    void *data = kd__arena_get(&a, 8 * (size_t)kd__type_count(&t) + 8);
    kd_eval_read(&before, kd_eval_write(&before, slot[i]), data);
    all[w.r.slot.n + i] = (kd_eval_slot){ slot[i], data };
    if (kind == KD_ROWS && t.dim[0] != w.batch) good = false, print_error("seed %llu: the samples do not come first\n", (unsigned long long)seed);
  }
  (void)kd_eval_run(&after, rest, all, w.r.slot.n + c.n, NULL, 0, KD_EVAL_STRANGE);
  for (size_t i = 0; good && i < g->result.n; i++) {
    kd_value x = g->result.v[i].value, y = kd_eval_result(&after, g->result.v[i].name);
    for (int64_t k = 0; good && k < kd__type_count(kd__type_of(g, x)); k++) good = same(kd_eval_at(&whole, x, k), kd_eval_at(&after, y, k));
    if (!good) print_error("seed %llu: result %s differs\n", (unsigned long long)seed, g->result.v[i].name);
  }
  kd_eval_free(&whole);
  kd_eval_free(&before);
  kd_eval_free(&after);
  kd__arena_free(&a);
  return good;
}

static void parts_compute_the_whole(void **state) {
  size_t rows = 0, constants = 0;
  int bad = 0;
  (void)state;
  for (int seed = 1; seed <= seeds() && bad < 5; seed++) bad += !check_parts((uint64_t)seed, KD_ROWS, &rows) + !check_parts((uint64_t)seed, KD_CONSTANT, &constants);
  assert_int_equal(bad, 0);
  if (getenv("KD_SHOW")) print_message("%zu values of rows, %zu constant ones\n", rows, constants);
  assert_true(rows > 100 && constants > 100);
}

/* --- where ---------------------------------------------------------------------------------------------------------------------------------------------- */
static kd_slot_is by_number(void *ctx, int64_t slot) { (void)ctx; return slot == 0 ? KD_SLOT_SAMPLES : slot == 1 ? KD_SLOT_CHANGES : slot == 4 ? KD_SLOT_TURNS : KD_SLOT_CONSTANT; }

static kd_cut cut_of(kd__arena *a, const char *text, const kd_cut_prices *p, int64_t bytes, kd_graph **g) {
  kd_shape_error err;
  *g = kd__graph_read(a, text, strlen(text), &err);
  if (!*g) fail_msg("%s", err.text);
  const kd_frozenness *f = kd__frozen_values(a, *g, &(kd_slots_are){ by_number, NULL, 8 });
  return bytes < 0 ? kd__cut_choose(a, *g, f, p) : kd__cut_within(a, *g, f, p, bytes);
}

/* A teacher of one layer; its logits are read twice, softened both times. */
static const char teacher[] =
  "%x = input {slot=0, dtype=f32, shape=[8,400]}\n%w = input {slot=2, dtype=f32, shape=[400,10]}\n%s = input {slot=1, dtype=f32, shape=[8,10]}\n"
  "%z = matmul %x, %w\n%p = softmax %z {axes=[1]}\n%q = log_softmax %z {axes=[1]}\n%a = mul %p, %s\n%b = mul %q, %s\n%c = add %a, %b\nresult \"c\" %c\n";

static void one_value_is_kept_where_two_are_made_of_it(void **state) {
  kd__arena a;
  kd_graph *g;
  (void)state;
  kd__arena_init(&a, NULL, NULL);
  kd_cut c = cut_of(&a, teacher, &(kd_cut_prices){ .kind = KD_ROWS, .read = 1000, .make = 100 }, -1, &g);
  assert_int_equal(c.n, 1);
  assert_string_equal(op_name(g, c.value[0]), "matmul");
  assert_int_equal(c.bytes, 8 * 10 * 4);
  c = cut_of(&a, teacher, &(kd_cut_prices){ .kind = KD_ROWS, .read = 1, .make = 100 }, -1, &g);          /* reading is cheap: both */
  assert_int_equal(c.n, 2);
  c = cut_of(&a, teacher, &(kd_cut_prices){ .kind = KD_ROWS, .read = 1e6, .make = 100 }, -1, &g);        /* dearer than making it */
  assert_int_equal(c.n, 0);
  c = cut_of(&a, teacher, &(kd_cut_prices){ .kind = KD_ROWS, .read = 1, .make = 1000 }, -1, &g);         /* it is needed once */
  assert_int_equal(c.n, 0);
  kd__arena_free(&a);
}

/* A map of 4,096 numbers a sample, and logits that come of it by more work. */
static const char maps[] =
  "%x = input {slot=0, dtype=f32, shape=[8,64]}\n%v = input {slot=2, dtype=f32, shape=[64,4096]}\n%w = input {slot=3, dtype=f32, shape=[4096,10]}\n"
  "%s = input {slot=1, dtype=f32, shape=[8,4096]}\n%t = input {slot=1, dtype=f32, shape=[8,4096]}\n%m = matmul %x, %v\n%z = matmul %m, %w\n"
  "%d = mul %m, %s\n%e = sum %d {axes=[1]}\n%f = sum %z {axes=[1]}\n%c = add %e, %f\nresult \"c\" %c\n";

static void a_part_is_kept_where_there_is_no_room_for_all(void **state) {
  kd__arena a;
  kd_graph *g;
  (void)state;
  kd__arena_init(&a, NULL, NULL);
  kd_cut_prices p = { .kind = KD_ROWS, .read = 10, .make = 100 };
  kd_cut all = cut_of(&a, maps, &p, -1, &g), some = cut_of(&a, maps, &p, 1000, &g), none = cut_of(&a, maps, &p, 30, &g);
  assert_int_equal(all.n, 2);
  assert_string_equal(op_name(g, all.value[0]), "matmul");
  assert_int_equal(some.n, 1);
  assert_true(some.bytes <= 1000 && some.saved > 0 && some.saved < all.saved);
  assert_int_equal(none.n, 0);
  kd__arena_free(&a);
}

/* The same teacher for samples as they are drawn in each of four turns, and for samples as they are. */
static void rows_for_each_turn_take_more(void **state) {
  static const char text[] =
    "%x = input {slot=0, dtype=f32, shape=[8,400]}\n%n = input {slot=4, dtype=i64, shape=[8]}\n%k = input {slot=3, dtype=i64, shape=[]}\n%w = input {slot=2, dtype=f32, shape=[400,10]}\n"
    "%s = input {slot=1, dtype=f32, shape=[8,10]}\n%u = random_uniform %k, %n {path=1, dtype=f32, shape=[8,400]}\n%y = add %x, %u\n%z = matmul %x, %w\n%t = matmul %y, %w\n"
    "%a = mul %z, %s\n%b = mul %t, %s\n%c = add %a, %b\nresult \"c\" %c\nresult \"z\" %a\nresult \"t\" %b\n";
  kd__arena a;
  kd_graph *g;
  (void)state;
  kd__arena_init(&a, NULL, NULL);
  kd_cut_prices p = { .kind = KD_ROWS, .read = 100, .make = 100, .make_turned = 400, .turns = 4 };
  kd_cut c = cut_of(&a, text, &p, -1, &g);
  const kd_frozenness *f = kd__frozen_values(&a, g, &(kd_slots_are){ by_number, NULL, 8 });
  assert_int_equal(c.n, 2);
  assert_true(!f[c.value[0]].turned && f[c.value[1]].turned);
  assert_int_equal(c.read, 2 * 8 * 10 * 4);
  assert_int_equal(c.bytes, 5 * 8 * 10 * 4);
  assert_true(c.turned > 0 && c.turned < c.saved);
  c = cut_of(&a, text, &p, 4 * 8 * 10 * 4, &g);                          /* no room for both: a draw is dear */
  assert_int_equal(c.n, 1);
  assert_true(f[c.value[0]].turned && c.bytes == 4 * 8 * 10 * 4 && c.turned > c.saved);
  p.make_turned = 1000;                          /* no turn comes again */
  c = cut_of(&a, text, &p, -1, &g);
  assert_int_equal(c.n, 1);
  assert_false(f[c.value[0]].turned);
  kd__arena_free(&a);
}

/* Statistics over the batch are no rows, and what is made of them neither. */
static void what_samples_share_is_live(void **state) {
  static const char text[] = "%x = input {slot=0, dtype=f32, shape=[8,4,4]}\n%m, %v = moments %x {axes=[0]}\n%b = broadcast %m {shape=[8,4,4], axes=[1,2]}\n%y = sub %x, %b\n"
                             "%r = reshape %x {shape=[32,4]}\n%t = permute %r {perm=[1,0]}\n%p = matmul %r, %t\n%z = reshape %x {shape=[4,8,4]}\n%i = iota {dtype=f32, shape=[8,4,4], axis=0}\n"
                             "%j = mul %x, %i\n%k = iota {dtype=f32, shape=[8,4,4], axis=1}\n%l = mul %x, %k\n"
                             "result \"y\" %y\nresult \"p\" %p\nresult \"z\" %z\nresult \"r\" %r\nresult \"j\" %j\nresult \"l\" %l\n";
  static const struct { const char *name; kd_frozen is; int axis; int64_t inner; } want[] = { { "y", KD_LIVE, 0, 0 }, { "p", KD_LIVE, 0, 0 }, { "z", KD_LIVE, 0, 0 }, { "r", KD_ROWS, 0, 4 },
    { "j", KD_LIVE, 0, 0 }, { "l", KD_ROWS, 0, 1 } };
  kd__arena a;
  kd_shape_error err;
  (void)state;
  kd__arena_init(&a, NULL, NULL);
  kd_graph *g = kd__graph_read(&a, text, strlen(text), &err);
  if (!g) fail_msg("%s", err.text);
  const kd_frozenness *f = kd__frozen_values(&a, g, &(kd_slots_are){ by_number, NULL, 8 });
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    const kd_frozenness *r = &f[g->result.v[i].value];
    if (r->is != want[i].is || (r->is == KD_ROWS && (r->axis != want[i].axis || r->inner != want[i].inner))) fail_msg("%s: %d, axis %d, inner %lld", want[i].name, r->is, r->axis, (long long)r->inner);
  }
  kd__arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_frozen_is_so), cmocka_unit_test(parts_compute_the_whole), cmocka_unit_test(one_value_is_kept_where_two_are_made_of_it),
    cmocka_unit_test(a_part_is_kept_where_there_is_no_room_for_all), cmocka_unit_test(rows_for_each_turn_take_more), cmocka_unit_test(what_samples_share_is_live),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
