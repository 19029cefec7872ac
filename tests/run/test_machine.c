/* test_machine.c: training on real digits: what is learnt, counted and told; the same bits again, and after being stopped anywhere. */
#include "tests/run/toy.h"
#include "runtime/run/machine.h"
#include <math.h>

static kd_machine *open_machine(const toy *t, const kd__run_options *o) {
  kd_machine *r;
  kd__run_error err;
  if (kd__machine_open(&t->m, o, &r, &err) != KD_OK) fail_msg("%s", err.text);
  return r;
}

static void go(kd_machine *r) {
  kd__run_error err;
  if (kd__machine_go(r, &err) != KD_OK) fail_msg("%s", err.text);
}

static kd_machine *run(const toy *t, const kd__run_options *o) {
  kd_machine *r = open_machine(t, o);
  go(r);
  return r;
}

static void same_state(const toy *t, const kd_machine *a, const kd_machine *b) {
  for (uint32_t i = 0; i < t->m.nslot; i++) {
    const kd_slot *s = &t->m.slot[i];
    if (s->kind == KD_SLOT_PARAM || s->kind == KD_SLOT_STATE || s->kind == KD_SLOT_OPTIMIZER)
      assert_memory_equal(kd__machine_slot(a, i), kd__machine_slot(b, i), (size_t)kd__type_count(&s->type) * kd__dtype_size((kd_dtype)s->type.dtype));
  }
  assert_memory_equal(a->pos.reg, b->pos.reg, t->m.nreg * sizeof(double));
}

/* Accuracy on the test split from the parameters, by plain loops. */
static double accuracy_by_hand(const kd_machine *r) {
  const float *w = kd__machine_slot(r, DIGITS_W), *b = kd__machine_slot(r, DIGITS_B);
  kd__search search = { toy_folder, 1, NULL };
  kd_data *d;
  char why[300];
  if (kd__data_open(&r->m->dataset[0], &search, &d, why, sizeof why) != KD_OK) fail_msg("%s", why);
  const kd__split_data *s = kd__data_split_named(d, "test");
  const uint8_t *image = s->field[0].data, *label = s->field[1].data;
  int right = 0;
  for (int64_t i = 0; i < s->count; i++) {
    int best = 0;
    float z[10];
    for (int k = 0; k < 10; k++) {
      z[k] = b[k];
      for (int p = 0; p < 64; p++) z[k] += (float)image[i * 64 + p] / 16 * w[p * 10 + k];
      if (z[k] > z[best]) best = k;
    }
    right += best == label[i];
  }
  double share = (double)right / (double)s->count;
  kd__data_close(d);
  return share;
}

static void learns_and_counts(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 8);
  kd__run_options o = toy_options();
  kd_machine *r = run(&t, &o);
  assert_true(kd__machine_report(r, 0) > 0.8);
  assert_true(kd__machine_report(r, 0) == (double)(float)accuracy_by_hand(r));
  assert_true(kd__machine_report(r, 1) == DIGITS_TEST);                 /* each sample once, the short batch too */
  assert_true(r->pos.reg[4] == DIGITS_VALID);
  assert_int_equal(r->pos.steps, 8 * (DIGITS_TRAIN / DIGITS_BATCH));
  kd__machine_close(r);
  toy_close(&t);
}

/* --- events ---------------------------------------------------------------------------------------------------------------------- */
typedef struct heard { int stages, steps, epochs, says, notes; double loss[8]; double first_step, last; char note[200]; } heard;

static void hear(void *ctx, const kd__event *e) {
  heard *h = ctx;
  assert_string_equal(e->stage, "fit");
  assert_int_equal(e->stage_number, 1);
  assert_int_equal(e->stages, 1);
  assert_int_equal(e->epochs, 3);
  assert_int_equal(e->steps, 60);
  switch (e->kind) {
    case KD__EVENT_STAGE: h->stages++; assert_int_equal(e->epoch, 1); break;
    case KD__EVENT_STEP:
      if (h->steps++ == 0) h->first_step = e->value[0].value;
      else assert_true(e->seconds - h->last > 0.0999);               /* at most ten times a second */
      h->last = e->seconds;
      assert_int_equal(e->nvalue, 3);
      assert_string_equal(e->value[1].name, "fit");
      break;
    case KD__EVENT_EPOCH:
      assert_int_equal(e->nvalue, 3);
      assert_string_equal(e->value[0].name, "loss");
      assert_int_equal(e->step, 20 * (h->epochs + 1));
      assert_true(e->samples_per_second > 0);
      assert_true(e->seconds_left >= 0);
      h->loss[h->epochs++] = e->value[0].value;
      assert_int_equal(e->epoch, h->epochs);
      break;
    case KD__EVENT_SAY:
      assert_int_equal(e->epoch, ++h->says);
      assert_int_equal(e->nvalue, 2);
      assert_string_equal(e->value[0].name, "valid accuracy(S, y)");
      assert_string_equal(e->value[1].name, "seen");
      break;
    case KD__EVENT_NOTE: h->notes++; snprintf(h->note, sizeof h->note, "%s", e->text); break;
  }
}

static void tells(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 3);
  heard h = { 0 };
  kd__run_options o = toy_options();
  o.event = hear;
  o.event_ctx = &h;
  kd_machine *r = open_machine(&t, &o);
  double sum = 0;
  for (int i = 0; i < 20; i++) {                 /* the mean of the first epoch's losses, step by step */
    bool done;
    kd__run_error err;
    assert_int_equal(kd__machine_steps(r, 1, &done, &err), KD_OK);
    assert_false(done);
    sum += r->pos.reg[0];
    if (i == 0) assert_true(h.steps == 1 && h.first_step == r->pos.reg[0]);
  }
  go(r);
  assert_true(h.loss[0] == sum / 20);
  assert_true(h.loss[2] < h.loss[0]);
  assert_int_equal(h.stages, 1);
  assert_int_equal(h.epochs, 3);
  assert_int_equal(h.says, 3);
  assert_int_equal(h.notes, 1);
  assert_contains(h.note, "keep best: value ");
  kd__machine_close(r);
  toy_close(&t);
}

/* --- memory: the linker sends the library's own calls here ----------------------------------------------------------------------------- */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
static _Atomic long allocations;                 /* the loader's thread counts, too */
void *__wrap_malloc(size_t n) { allocations++; return __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t each) { allocations++; return __real_calloc(n, each); }
void *__wrap_realloc(void *p, size_t n) { allocations++; return __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t align, size_t n) { allocations++; return __real_aligned_alloc(align, n); }

static void ignore(void *ctx, const kd__event *e) { (void)ctx, (void)e; }

static void steps_allocate_nothing(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 2);
  kd__run_options o = toy_options();
  o.event = ignore;
  long before = allocations;
  kd_machine *r = open_machine(&t, &o);
  kd__run_error err;
  bool done;
  assert_int_equal(kd__machine_steps(r, 2, &done, &err), KD_OK);
  assert_true(allocations > before + 10);        /* the count works */
  before = allocations;
  assert_int_equal(kd__machine_steps(r, 18, &done, &err), KD_OK);
  assert_int_equal(allocations, before);
  kd__machine_close(r);
  toy_close(&t);
}

/* --- the same bits ------------------------------------------------------------------------------------------------------------------ */
static void same_seed_same_bits(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 2);
  kd__run_options o = toy_options();
  o.deterministic = true;
  kd_machine *a = run(&t, &o), *b = run(&t, &o);
  same_state(&t, a, b);
  kd__machine_close(b);
  o.threads = 1;
  b = run(&t, &o);
  same_state(&t, a, b);
  kd__machine_close(b);
  o.seed = 2;
  b = run(&t, &o);
  assert_memory_not_equal(kd__machine_slot(a, DIGITS_W), kd__machine_slot(b, DIGITS_W), 64 * 10 * sizeof(float));
  kd__machine_close(b);
  kd__machine_close(a);
  toy_close(&t);
}

static void draws(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 2);
  kd__run_options o = toy_options();
  kd_machine *r = open_machine(&t, &o);
  int64_t key[4];
  kd__run_error err;
  bool done;
  uint32_t slot = (uint32_t)t.m.ambient[KD_AMBIENT_KEY];
  kd__code_one(r);                               /* init */
  memcpy(&key[0], kd__machine_slot(r, slot), 8);
  for (int i = 1; i < 3; i++) {
    assert_int_equal(kd__machine_steps(r, 1, &done, &err), KD_OK);
    memcpy(&key[i], kd__machine_slot(r, slot), 8);
  }
  assert_int_equal(kd__machine_steps(r, 18, &done, &err), KD_OK);
  while (r->pos.pc != 8) assert_int_equal(kd__code_one(r), KD_OK);      /* past the reset of the metrics' states */
  memcpy(&key[3], kd__machine_slot(r, slot), 8);
  assert_int_not_equal(key[0], key[1]);
  assert_int_not_equal(key[1], key[2]);
  assert_int_equal(key[0], key[3]);              /* initial values and evaluations: the seed alone */
  kd__machine_close(r);
  toy_close(&t);
}

/* --- stopped, saved, restored ----------------------------------------------------------------------------------------------------------- */
static void resumes_anywhere(void **state) {
  temp *f = *state;
  toy t;
  toy_digits(&t, 3);
  kd__run_options o = toy_options();
  kd_machine *whole = run(&t, &o);
  kd__run_error err;
  /* by instructions: within an epoch, in evaluations and between, before and after a copy is kept, at the end */
  static const int64_t stops[] = { 0, 1, 3, 4, 5, 6, 30, 43, 44, 45, 47, 50, 62, 63, 64, 65, 66, 67, 90, 150, 190, 205, 220 };
  for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
    kd_machine *a = open_machine(&t, &o);
    for (int64_t k = 0; k < stops[i] && !a->ended; k++) assert_int_equal(kd__code_one(a), KD_OK);
    if (kd__machine_save(a, temp_path(f, "stopped.safetensors"), &err) != KD_OK) fail_msg("%s", err.text);
    kd__machine_close(a);
    kd_machine *b = open_machine(&t, &o);
    if (kd__machine_restore(b, f->path, &err) != KD_OK) fail_msg("%s", err.text);
    go(b);
    same_state(&t, whole, b);
    assert_int_equal(b->pos.steps, whole->pos.steps);
    kd__machine_close(b);
  }
  kd__machine_close(whole);
  toy_close(&t);
}

static void refuses_other_saves(void **state) {
  temp *f = *state;
  toy t, other;
  toy_digits(&t, 3);
  toy_digits(&other, 2);
  kd__run_options o = toy_options();
  kd__run_error err;
  bool done;
  kd_machine *a = open_machine(&t, &o);
  assert_int_equal(kd__machine_steps(a, 5, &done, &err), KD_OK);
  assert_int_equal(kd__machine_save(a, temp_path(f, "a.safetensors"), &err), KD_OK);
  kd_machine *b = open_machine(&other, &o);
  assert_int_equal(kd__machine_restore(b, f->path, &err), KD_E_FORMAT);
  assert_contains(err.text, "another program");
  assert_int_equal(b->pos.steps, 0);
  kd__machine_close(b);
  o.seed = 9;
  b = open_machine(&t, &o);
  assert_int_equal(kd__machine_restore(b, f->path, &err), KD_E_FORMAT);
  assert_contains(err.text, "seed 1");
  assert_int_equal(kd__machine_restore(b, temp_write(f, "junk.safetensors", "junk", 4), &err), KD_E_FORMAT);
  assert_int_equal(kd__machine_restore(b, temp_path(f, "absent.safetensors"), &err), KD_E_IO);
  go(b);                                         /* and is none the worse for it */
  kd__machine_close(b);
  kd__machine_close(a);
  toy_close(&other);
  toy_close(&t);
}

static void positions_come_back(void **state) {
  (void)state;
  toy t;
  toy_digits(&t, 3);
  kd_position a, b;
  char why[200];
  assert_true(kd__position_init(&a, &t.m) && kd__position_init(&b, &t.m));
  a.pc = 4; a.stage = 0; a.step = 7; a.epoch = 1; a.steps = 27; a.passes = 2; a.counter[0] = 1; a.entered[0] = 1;
  a.reg[0] = -0.0; a.reg[1] = INFINITY; a.reg[2] = 0x1.fffffffffffffp-1; a.sum[1] = 5e-324; a.sums[1] = 7;
  a.stream[0] = (kd__stream_position){ true, 1, 6 };
  a.open[a.nopen++] = 0;
  a.best[0] = (kd__best_position){ 1, true, 0.1, 1 };
  kd__buf text = { 0 }, again = { 0 };
  kd__position_write(&a, &t.m, &text);
  assert_int_equal(kd__position_read(&b, &t.m, text.p, text.n, "position", why, sizeof why), KD_OK);
  kd__position_write(&b, &t.m, &again);
  assert_string_equal(text.p, again.p);
  assert_memory_equal(a.reg, b.reg, t.m.nreg * sizeof(double));
  for (size_t cut = 0; cut < text.n; cut += 7) {
    kd_position c;
    assert_true(kd__position_init(&c, &t.m));
    assert_int_equal(kd__position_read(&c, &t.m, text.p, cut, "position", why, sizeof why), KD_E_FORMAT);
    kd__position_free(&c);
  }
  text.n = 0;
  a.pc = t.m.ncode;                              /* past the code */
  kd__position_write(&a, &t.m, &text);
  assert_int_equal(kd__position_read(&b, &t.m, text.p, text.n, "position", why, sizeof why), KD_E_FORMAT);
  kd__buf_free(&text);
  kd__buf_free(&again);
  kd__position_free(&a);
  kd__position_free(&b);
  toy_close(&t);
}

/* --- data -------------------------------------------------------------------------------------------------------------------------------- */
static void bad_data(void **state) {
  temp *f = *state;
  toy t;
  toy_digits(&t, 3);
  kd__run_options o = toy_options();
  kd_machine *r;
  kd__run_error err;
  const char *empty[1] = { f->folder };
  o.search.folder = empty;
  assert_int_equal(kd__machine_open(&t.m, &o, &r, &err), KD_E_DATA);
  assert_null(r);
  assert_contains(err.text, "train-images-idx3-ubyte");
  o = toy_options();
  t.split[1].count = 100;                        /* was 200: its short batch had 8, now it has 36 */
  assert_int_equal(kd__machine_open(&t.m, &o, &r, &err), KD_E_DATA);
  assert_contains(err.text, "compile it again");
  toy_close(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(learns_and_counts), cmocka_unit_test(tells), cmocka_unit_test(steps_allocate_nothing),
    cmocka_unit_test(same_seed_same_bits), cmocka_unit_test(draws),
    cmocka_unit_test_setup_teardown(resumes_anywhere, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(refuses_other_saves, temp_open, temp_close),
    cmocka_unit_test(positions_come_back), cmocka_unit_test_setup_teardown(bad_data, temp_open, temp_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
