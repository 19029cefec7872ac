/* The loader: order, coverage, short batches, resuming, ending passes early. And its speed. */
#include "tests/data/common.h"
#include <time.h>

enum { ROWS = 10, MANY = 60000, BIG = 1500 };    /* batches of BIG rows are gathered by a thread, small ones are not */

typedef struct stream_of { set s; kd_data *d; kd_stream stream; struct { uint32_t field; int64_t slot; } bind[2]; } stream_of;

static kd_loader *open_loader(temp *t, stream_of *o, int rows, int64_t batch, bool shuffle, bool drop_last) {
  const char *folder[] = { t->folder };
  kd__search search = { folder, 1, NULL };
  kd_loader *l;
  set_write(t, "i", "l", rows, false);
  set_make(&o->s, "i", "l", 2, 2, 3);
  assert_int_equal(kd__data_open(&o->s.data, &search, &o->d, t->why, sizeof t->why), KD_OK);
  o->bind[0].field = 1;                          /* label first: binds may come in any order */
  o->bind[1].field = 0;
  o->stream = (kd_stream){ .batch = batch, .shuffle = shuffle, .drop_last = drop_last, .bind = (void *)o->bind, .nbind = 2, .index_slot = -1 };
  assert_int_equal(kd__loader_open(o->d, &o->stream, &l, t->why, sizeof t->why), KD_OK);
  return l;
}

static void close_loader(stream_of *o, kd_loader *l) {
  kd__loader_close(l);
  kd__data_close(o->d);
}

/* Every row of a batch carries its own number. Adds the rows to `seen`, if not NULL, at *n. */
static void check_batch(const kd__batch *b, int64_t *seen, int64_t *n) {
  const uint8_t *label = b->field[0], *image = b->field[1];
  assert_int_equal((uintptr_t)image % 64, 0);
  for (int64_t i = 0; i < b->rows; i++) {
    assert_int_equal(image[4 * i], b->index[i] % 256);
    assert_int_equal(image[4 * i + 3], b->index[i] % 256);
    assert_int_equal(label[i], b->index[i] % 3);
    if (seen) seen[(*n)++] = b->index[i];
  }
}

static int64_t run_pass(kd_loader *l, uint64_t seed, uint64_t pass, int64_t from, int64_t *seen) {
  kd__batch b;
  int64_t n = 0, k = from;
  kd__loader_start(l, seed, pass, from);
  while (kd__loader_position(l) == k && kd__loader_next(l, &b)) {
    assert_int_equal(b.number, k++);
    check_batch(&b, seen, &n);
  }
  assert_false(kd__loader_next(l, &b));
  return n;
}

static void loader_in_order(void **state) {
  temp *t = *state;
  stream_of o;
  kd__batch b;
  int64_t seen[ROWS];
  kd_loader *l = open_loader(t, &o, ROWS, 4, false, false);
  assert_false(kd__loader_next(l, &b));          /* no pass was begun */
  assert_int_equal(kd__loader_batches(l), 3);
  assert_int_equal(run_pass(l, 1, 0, 0, seen), ROWS);
  for (int64_t i = 0; i < ROWS; i++) assert_int_equal(seen[i], i);
  kd__loader_start(l, 1, 1, 2);
  assert_true(kd__loader_next(l, &b));
  assert_int_equal(b.rows, 2);                   /* the short last batch */
  assert_int_equal(b.index[0], 8);
  close_loader(&o, l);
}

static void loader_drops_last(void **state) {
  temp *t = *state;
  stream_of o;
  kd__batch b;
  int64_t seen[ROWS];
  kd_loader *l = open_loader(t, &o, ROWS, 4, true, true);
  assert_int_equal(kd__loader_batches(l), 2);
  assert_int_equal(run_pass(l, 1, 0, 0, seen), 8);
  close_loader(&o, l);
  l = open_loader(t, &o, ROWS, 11, true, true);
  assert_int_equal(kd__loader_batches(l), 0);
  kd__loader_start(l, 1, 0, 0);
  assert_false(kd__loader_next(l, &b));
  close_loader(&o, l);
  l = open_loader(t, &o, ROWS, INT64_MAX, true, false);
  assert_int_equal(kd__loader_batches(l), 1);
  kd__loader_start(l, 1, 0, 0);
  assert_true(kd__loader_next(l, &b));
  assert_int_equal(b.rows, ROWS);
  close_loader(&o, l);
}

static void loader_covers_once_and_repeats(void **state) {
  temp *t = *state;
  stream_of o;
  enum { N = 1000 };
  static int64_t first[N], again[N], other[N];
  kd_loader *l = open_loader(t, &o, N, 7, true, false);
  for (uint64_t pass = 0; pass < 5; pass++) {
    bool hit[N] = { false };
    assert_int_equal(run_pass(l, 42, pass, 0, first), N);
    for (int i = 0; i < N; i++) { assert_false(hit[first[i]]); hit[first[i]] = true; }
    assert_int_equal(run_pass(l, 42, pass, 0, again), N);
    assert_memory_equal(first, again, sizeof first);
    run_pass(l, 42, pass + 1, 0, other);
    assert_memory_not_equal(first, other, sizeof first);
    run_pass(l, 43, pass, 0, other);
    assert_memory_not_equal(first, other, sizeof first);
  }
  close_loader(&o, l);
}

static void loader_resumes(void **state) {
  temp *t = *state;
  stream_of o;
  static int64_t whole[100], rest[100];
  kd_loader *l = open_loader(t, &o, 100, 8, true, false);
  run_pass(l, 5, 9, 0, whole);
  for (int64_t k = 0; k <= 13; k++) {
    int64_t n = run_pass(l, 5, 9, k, rest);
    assert_int_equal(n, k * 8 < 100 ? 100 - k * 8 : 0);
    if (n) assert_memory_equal(rest, whole + k * 8, (size_t)n * sizeof *rest);
  }
  close_loader(&o, l);
}

/* A new pass or the end may come at any moment of the old one. */
static void loader_stops_anywhere(void **state) {
  temp *t = *state;
  stream_of o;
  kd__batch b;
  kd_loader *l = open_loader(t, &o, 1000, 3, true, false);
  for (int i = 0; i < 300; i++) {
    kd__loader_start(l, 7, (uint64_t)i, i % 5);
    for (int k = 0; k < i % 7; k++) {
      assert_true(kd__loader_next(l, &b));
      check_batch(&b, NULL, NULL);
    }
  }
  close_loader(&o, l);
  for (int i = 0; i < 20; i++) {
    l = open_loader(t, &o, i % 4 < 2 ? ROWS : MANY, i % 4 < 2 ? 3 : BIG, true, false);
    if (i % 2) kd__loader_start(l, 7, 1, 0);
    close_loader(&o, l);
  }
}

static void wait_a_little(void) { nanosleep(&(struct timespec){ 0, 2000000 }, NULL); }

/* Batches from the thread: in order and shuffled, from anywhere, by a consumer that is faster and one that is slower than it. */
static void loader_thread(void **state) {
  temp *t = *state;
  stream_of o;
  kd__batch b;
  static int64_t whole[MANY], again[MANY];
  kd_loader *l = open_loader(t, &o, MANY, BIG, false, false);
  assert_int_equal(run_pass(l, 1, 0, 0, whole), MANY);
  for (int64_t i = 0; i < MANY; i++) assert_int_equal(whole[i], i);
  close_loader(&o, l);
  l = open_loader(t, &o, MANY, BIG, true, false);
  kd__loader_order(3, 5, again, MANY);
  assert_int_equal(run_pass(l, 3, 5, 0, whole), MANY);
  assert_memory_equal(whole, again, sizeof whole);
  assert_int_equal(run_pass(l, 3, 5, 33, whole), MANY - 33 * BIG);
  assert_memory_equal(whole, again + 33 * BIG, (MANY - 33 * BIG) * sizeof *whole);
  for (int i = 0; i < 200; i++) {                /* a new pass at any moment of the old one: begun, its ring full, half read, at its end */
    kd__loader_start(l, 7, (uint64_t)i, i % 5);
    if (i % 10 == 0) wait_a_little();
    for (int k = 0; k < i * 7 % 36; k++) {
      assert_true(kd__loader_next(l, &b));
      if (k == 20 && i % 15 == 0) wait_a_little();
      check_batch(&b, NULL, NULL);
    }
  }
  close_loader(&o, l);
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A hundred thousand small images a second is what training asks for at most; two million are measured with instrumentation, ten without. */
static void loader_is_fast(void **state) {
  enum { IMAGES = 40000, SIDE = 28 };
  temp *t = *state;
  set s;
  kd_data *d;
  kd_loader *l;
  kd__batch b;
  const char *folder[] = { t->folder };
  kd__search search = { folder, 1, NULL };
  struct { uint32_t field; int64_t slot; } bind[2] = { { 0, 0 }, { 1, 1 } };
  kd_stream stream = { .batch = 128, .shuffle = true, .bind = (void *)bind, .nbind = 2 };
  size_t bytes = IMAGES * SIDE * SIDE + 16;
  uint8_t *image = calloc(bytes, 1);
  assert_non_null(image);
  set_write(t, "i", "l", IMAGES, false);         /* for the labels */
  memcpy(image, (uint8_t[]){ 0, 0, 8, 3, 0, 0, (uint8_t)(IMAGES >> 8), (uint8_t)IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE }, 16);
  temp_write(t, "i", image, bytes);
  free(image);
  set_make(&s, "i", "l", SIDE, SIDE, 3);
  assert_int_equal(kd__data_open(&s.data, &search, &d, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__loader_open(d, &stream, &l, t->why, sizeof t->why), KD_OK);
  double best = 0;
  for (uint64_t pass = 0; pass < 8; pass++) {    /* the best of some: the machine may have other work */
    double from = seconds();
    kd__loader_start(l, 1, pass, 0);
    while (kd__loader_next(l, &b)) continue;
    double rate = IMAGES / (seconds() - from);
    if (rate > best) best = rate;
  }
  print_message("%.0f images of 28 x 28 a second\n", best);
  assert_true(best > 300000);
  kd__loader_close(l);
  kd__data_close(d);
}

static void loader_wrong_use(void **state) {
  temp *t = *state;
  stream_of o;
  kd_loader *l = open_loader(t, &o, ROWS, 3, true, false), *none;
  o.stream.batch = 0;
  assert_int_equal(kd__loader_open(o.d, &o.stream, &none, t->why, sizeof t->why), KD_E_USAGE);
  o.stream.batch = 1;
  o.bind[0].field = 2;
  assert_int_equal(kd__loader_open(o.d, &o.stream, &none, t->why, sizeof t->why), KD_E_USAGE);
  o.bind[0].field = 0;
  o.stream.split = 1;
  assert_int_equal(kd__loader_open(o.d, &o.stream, &none, t->why, sizeof t->why), KD_E_USAGE);
  close_loader(&o, l);
}

/* The order is part of what a resumed run relies on: it must not change between versions. */
static void loader_order_is_fixed(void **state) {
  (void)state;
  int64_t order[8];
  kd__loader_order(1, 0, order, 8);
  assert_memory_equal(order, ((int64_t[]){ 7, 6, 0, 4, 3, 5, 2, 1 }), sizeof order);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(loader_in_order, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_drops_last, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_covers_once_and_repeats, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_resumes, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_stops_anywhere, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_thread, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_is_fast, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(loader_wrong_use, temp_open, temp_close),
    cmocka_unit_test(loader_order_is_fixed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
