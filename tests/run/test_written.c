/* test_written.c: data sets that a program writes: what is in their files, what streams over them and over sets joined with them bring, and the
 * same after being stopped anywhere. */
#include "tests/run/toy.h"
#include "runtime/files/file.h"
#include "runtime/files/format.h"
#include "runtime/run/machine.h"
#include <signal.h>
#include <sys/resource.h>

/* Stage "write": two passes over the digits in order; of each batch the threes are written: ink (the sum of the image, and how many batches were
 * before this one), keyed by the sample's number. Stage "read": three shuffled passes over what was written. Stage "join": digits and ink. */
enum { IMAGE, LABEL, INDEX, OUT_INK, OUT_ID, OUT_THREE, INK, ID, J_IMAGE, J_INK, J_ID, J_INDEX, TURN, HASH, SEEN, STEPS, WRONG, MET };
enum { READ = 8, WHOLE = DIGITS_TRAIN / DIGITS_BATCH, PASSES = 2, EPOCHS = 3 };
typedef struct written { toy toy; kd_dataset set[3]; kd_split split[2]; kd_field_source field[2], joined[4]; kd_append append; uint32_t slot[2]; kd_pass pass; int64_t write_at; } written;

static void state_slot(toy *t, const char *name, kd_dtype type) { toy_slot(t, name, KD_SLOT_STATE, type, 0, NULL); }

static void slots(toy *t) {
  static const int64_t n[3] = { DIGITS_BATCH, 8, 8 }, few[3] = { READ, 8, 8 };
  toy_slot(t, "image", KD_SLOT_FIELD, KD_U8, 3, n);
  toy_slot(t, "label", KD_SLOT_FIELD, KD_U8, 1, n);
  toy_slot(t, "index", KD_SLOT_FIELD, KD_I64, 1, n);
  toy_slot(t, "out.ink", KD_SLOT_STATE, KD_F32, 1, n);
  toy_slot(t, "out.id", KD_SLOT_STATE, KD_I64, 1, n);
  toy_slot(t, "out.three", KD_SLOT_STATE, KD_BOOL, 1, n);
  toy_slot(t, "ink", KD_SLOT_FIELD, KD_F32, 1, few);
  toy_slot(t, "id", KD_SLOT_FIELD, KD_I64, 1, few);
  toy_slot(t, "joined.image", KD_SLOT_FIELD, KD_U8, 3, few);
  toy_slot(t, "joined.ink", KD_SLOT_FIELD, KD_F32, 1, few);
  toy_slot(t, "joined.id", KD_SLOT_FIELD, KD_I64, 1, few);
  toy_slot(t, "joined.index", KD_SLOT_FIELD, KD_I64, 1, few);
  state_slot(t, "turn", KD_I64);
  state_slot(t, "hash", KD_F32);
  state_slot(t, "seen", KD_I64);
  state_slot(t, "steps", KD_F32);
  state_slot(t, "wrong", KD_I64);
  state_slot(t, "met", KD_I64);
}

static kd_value sum_all(kd_build *b, kd_value x) { return kd__b_reduce(b, KD_OP_SUM, x, (int64_t[]){ 0 }, 1); }
static kd_value ink_of(toy *t, kd_build *b, int64_t image) {
  return kd__b_reduce(b, KD_OP_SUM, kd__b_cast(b, toy_input(t, b, image, 0), KD_F32), (int64_t[]){ 1, 2 }, 2);
}
static void count(toy *t, kd_build *b, int64_t slot, kd_value more) { kd__graph_write(b->g, slot, kd__b_op2(b, KD_OP_ADD, toy_input(t, b, slot, 0), more), 0); }

static int64_t write_plan(toy *t) {
  int64_t plan, n = DIGITS_BATCH;
  kd_build b = { toy_graph(t, "write", &plan), 0 };
  kd_value turn = toy_input(t, &b, TURN, 0), label = toy_input(t, &b, LABEL, 0);
  kd__graph_write(b.g, OUT_INK, kd__b_op2(&b, KD_OP_ADD, ink_of(t, &b, IMAGE), kd__b_broadcast(&b, kd__b_cast(&b, turn, KD_F32), &n, 1, NULL)), 0);
  kd__graph_write(b.g, OUT_ID, toy_input(t, &b, INDEX, 0), 0);
  kd_value digit = kd__b_cast(&b, label, KD_I64);
  kd__graph_write(b.g, OUT_THREE, kd__b_op2(&b, KD_OP_EQ, digit, kd__b_const_like(&b, 3, digit)), 0);
  count(t, &b, TURN, kd__b_const(&b, 1, KD_I64, NULL, 0));
  return plan;
}

static int64_t read_plan(toy *t) {
  int64_t plan, n = READ;
  kd_build b = { toy_graph(t, "read", &plan), 0 };
  kd_value ink = toy_input(t, &b, INK, 0), hash = toy_input(t, &b, HASH, 0), place = kd__b_cast(&b, kd__b_iota(&b, KD_I64, &n, 1, 0), KD_F32);
  kd__graph_write(b.g, HASH, kd__b_op2(&b, KD_OP_ADD, kd__b_op2(&b, KD_OP_MUL, hash, kd__b_const_like(&b, 0.9, hash)), sum_all(&b, kd__b_op2(&b, KD_OP_MUL, ink, place))), 0);
  count(t, &b, SEEN, kd__b_const(&b, READ, KD_I64, NULL, 0));
  kd__graph_write(b.g, STEPS, toy_ambient(t, &b, KD_AMBIENT_STEPS), 0);
  kd__graph_result(b.g, "loss", sum_all(&b, ink));
  return plan;
}

/* Counts what is not as it must be: the key, and the ink of the last write: image, 20 batches of the first pass, and those before in the second. */
static int64_t join_plan(toy *t) {
  int64_t plan;
  kd_build b = { toy_graph(t, "join", &plan), 0 };
  kd_value index = toy_input(t, &b, J_INDEX, 0), batch = kd__b_op2(&b, KD_OP_IDIV, index, kd__b_const_like(&b, DIGITS_BATCH, index));
  kd_value turn = kd__b_cast(&b, kd__b_op2(&b, KD_OP_ADD, batch, kd__b_const_like(&b, WHOLE, batch)), KD_F32);
  kd_value bad[2] = { kd__b_op2(&b, KD_OP_NE, toy_input(t, &b, J_ID, 0), index),
                      kd__b_op2(&b, KD_OP_NE, toy_input(t, &b, J_INK, 0), kd__b_op2(&b, KD_OP_ADD, ink_of(t, &b, J_IMAGE), turn)) };
  count(t, &b, WRONG, kd__b_op2(&b, KD_OP_ADD, sum_all(&b, kd__b_cast(&b, bad[0], KD_I64)), sum_all(&b, kd__b_cast(&b, bad[1], KD_I64))));
  count(t, &b, MET, sum_all(&b, index));
  return plan;
}

static void sets(written *w) {
  toy *t = &w->toy;
  static const char *const file[2] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte" };
  t->field[0][0] = (kd_field_source){ .name = "image", .format = "idx", .path = file[0], .type = { .dtype = KD_U8, .rank = 2, .dim = { 8, 8 } } };
  t->field[0][1] = (kd_field_source){ .name = "label", .format = "idx", .path = file[1], .type = { .dtype = KD_U8 }, .below = 10 };
  t->split[0] = (kd_split){ "train", t->field[0], 2, 0, DIGITS_TRAIN };
  w->field[0] = (kd_field_source){ .name = "ink", .type = { .dtype = KD_F32 } };
  w->field[1] = (kd_field_source){ .name = "key", .type = { .dtype = KD_I64 } };
  memcpy(w->joined, t->field[0], 2 * sizeof *w->joined);
  memcpy(w->joined + 2, w->field, 2 * sizeof *w->joined);
  w->split[0] = (kd_split){ "all", w->field, 2, 0, -1 };
  w->split[1] = (kd_split){ "all", w->joined, 4, 0, -1 };
  w->set[0] = (kd_dataset){ .name = "digits", .split = t->split, .nsplit = 1, .batch = DIGITS_BATCH };
  w->set[1] = (kd_dataset){ .name = "threes", .split = &w->split[0], .nsplit = 1, .batch = READ, .made = KD_MADE_WRITTEN, .key = 1 };
  w->set[2] = (kd_dataset){ .name = "both", .split = &w->split[1], .nsplit = 1, .batch = READ, .made = KD_MADE_JOINED, .left = 0, .right = 1 };
  w->slot[0] = OUT_INK, w->slot[1] = OUT_ID;
  w->append = (kd_append){ .dataset = 1, .slot = w->slot, .mask = OUT_THREE };
}

static void bind(toy *t, uint32_t stream, uint32_t set, bool shuffle, int64_t batch, int64_t index, uint32_t n, const int64_t (*field)[2]) {
  kd_stream *s = &t->stream[stream];
  *s = (kd_stream){ .dataset = set, .batch = batch, .shuffle = shuffle, .drop_last = true, .nbind = n, .index_slot = index };
  s->bind = kd__arena_get(&t->arena, n * sizeof *s->bind);
  for (uint32_t i = 0; i < n; i++) s->bind[i].field = (uint32_t)field[i][0], s->bind[i].slot = field[i][1];
}

static void make(written *w) {
  toy *t = &w->toy;
  memset(w, 0, sizeof *w);
  toy_open(t);
  slots(t);
  sets(w);
  int64_t write = write_plan(t), read = read_plan(t), join = join_plan(t);
  bind(t, 0, 0, false, DIGITS_BATCH, INDEX, 2, (const int64_t[][2]){ { 0, IMAGE }, { 1, LABEL } });
  bind(t, 1, 1, true, READ, -1, 2, (const int64_t[][2]){ { 0, INK }, { 1, ID } });
  bind(t, 2, 2, true, READ, J_INDEX, 3, (const int64_t[][2]){ { 0, J_IMAGE }, { 2, J_INK }, { 3, J_ID } });
  t->m.nstream = 3;
  t->stage[0] = (kd_stage_info){ .name = "write", .epochs = PASSES, .steps = WHOLE };
  t->stage[1] = (kd_stage_info){ .name = "read", .epochs = EPOCHS, .steps = 0 };
  t->stage[2] = (kd_stage_info){ .name = "join", .epochs = 1, .steps = 0 };
  t->m.nstage = 3;
  t->m.nreg = 1;
  t->m.ncounter = 2;
  for (int64_t s = 0; s < 3; s++) {
    toy_emit(t, KD_CODE_STAGE, s, 0, 0);
    int64_t loop = s < 2 ? toy_emit(t, KD_CODE_LOOP, s, s ? EPOCHS : PASSES, 0) : 0, begin = toy_emit(t, KD_CODE_BATCHES, s, 0, 0);
    toy_emit(t, s == 1 ? KD_CODE_STEP : KD_CODE_RUN, s == 0 ? write : s == 1 ? read : join, 0, 0);
    if (s == 0) w->write_at = toy_emit(t, KD_CODE_WRITE, 0, 0, 0);
    toy_emit(t, KD_CODE_MORE, s, 0, begin + 1);
    t->code[begin].c = toy_emit(t, KD_CODE_EPOCH, 0, 0, 0);
    if (s < 2) t->code[loop].c = toy_emit(t, KD_CODE_NEXT, s, s ? EPOCHS : PASSES, loop + 1) + 1;
  }
  toy_emit(t, KD_CODE_HALT, 0, 0, 0);
  toy_finish(t);
  w->pass = (kd_pass){ .stage = 1, .stream = 1, .times = EPOCHS };
  t->m.dataset = w->set; t->m.ndataset = 3;
  t->m.append = &w->append; t->m.nappend = 1;
  t->m.pass = &w->pass; t->m.npass = 1;
}

/* --- running -------------------------------------------------------------------------------------------------------------------- */
typedef struct env { temp t; written w; kd__run_options o; char folder[400]; kd__run_error err; } env;

static int open_env(void **state) {
  temp *t;
  env *e = calloc(1, sizeof *e);
  if (!e || temp_open((void **)&t) != 0) return -1;
  e->t = *t;
  free(t);
  make(&e->w);
  e->o = toy_options();
  e->o.checkpoint_seconds = -1;
  snprintf(e->folder, sizeof e->folder, "%s/run", e->t.folder);
  e->o.out = e->folder;
  *state = e;
  return 0;
}

static int close_env(void **state) {
  env *e = *state;
  toy_close(&e->w.toy);
  temp_empty(e->t.folder);
  rmdir(e->t.folder);
  free(e);
  return 0;
}

static kd_machine *open_run(env *e) {
  kd_machine *r;
  if (kd__machine_open(&e->w.toy.m, &e->o, &r, &e->err) != KD_OK) fail_msg("%s", e->err.text);
  return r;
}

static kd_machine *whole_run(env *e) {
  kd_machine *r = open_run(e);
  if (kd__machine_go(r, &e->err) != KD_OK) fail_msg("%s", e->err.text);
  return r;
}

static int64_t number(const kd_machine *r, uint32_t slot) { return *(const int64_t *)kd__machine_slot(r, slot); }
static float real(const kd_machine *r, uint32_t slot) { return *(const float *)kd__machine_slot(r, slot); }

static const char *in_folder(env *e, const char *name) {
  snprintf(e->t.path, sizeof e->t.path, "%s/%s", e->folder, name);
  return e->t.path;
}

static kd_array load(env *e, const char *name) {
  kd_array a;
  kd__read_spec spec = { 0 };
  if (kd__format_find("npy")->read(in_folder(e, name), &spec, &a, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  return a;
}

/* --- what is written, and what is read ---------------------------------------------------------------------------------------------- */
static kd_data *digits(env *e) {
  kd_data *d;
  if (kd__data_open(&e->w.set[0], &e->o.search, &d, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  return d;
}

/* The files by plain loops; returns how many threes a pass meets, and the sum of their numbers. */
static int64_t check_files(env *e, int64_t *sum) {
  kd_data *d = digits(e);
  const uint8_t *image = kd__data_split(d, 0)->field[0].data, *label = kd__data_split(d, 0)->field[1].data;
  kd_array ink = load(e, "threes.ink.npy"), key = load(e, "threes.key.npy");
  int64_t n = 0, each = 0;
  *sum = 0;
  for (int64_t pass = 0; pass < PASSES; pass++)
    for (int64_t i = 0; i < (int64_t)WHOLE * DIGITS_BATCH; i++) {
      float want = (float)(pass * WHOLE + i / DIGITS_BATCH), got;
      int64_t id;
      if (label[i] != 3) continue;
      for (int k = 0; k < 64; k++) want += image[i * 64 + k];
      assert_true(n < ink.type.dim[0] && n < key.type.dim[0]);
      memcpy(&got, (const char *)ink.data + n * 4, 4);
      memcpy(&id, (const char *)key.data + n * 8, 8);
      assert_true(got == want && id == i);
      n++;
      each += pass == 0;
      if (pass == 0) *sum += i;
    }
  assert_int_equal(ink.type.dim[0], n);
  assert_int_equal(key.type.dim[0], n);
  kd__array_free(&ink);
  kd__array_free(&key);
  kd__data_close(d);
  return each;
}

static void rows_are_written_and_read(void **state) {
  env *e = *state;
  int64_t sum;
  kd_machine *r = whole_run(e);
  int64_t n = check_files(e, &sum);
  assert_true(n > 100);
  assert_int_equal(r->pos.rows[1], PASSES * n);
  assert_int_equal(number(r, SEEN), EPOCHS * (n / READ * READ));        /* of equal keys one row, and no short batch */
  assert_true(real(r, STEPS) == (float)(EPOCHS * (n / READ)));
  assert_int_equal(number(r, WRONG), 0);
  assert_int_equal(r->pos.steps, EPOCHS * (n / READ));
  int64_t left = sum - number(r, MET);                                  /* the numbers of the n % READ samples that the pass dropped */
  assert_true(n % READ ? left > 0 && left < (n % READ) * DIGITS_TRAIN : left == 0);
  e->o.out = NULL;                               /* without a folder nothing is seen, and all the rest is the same */
  kd_machine *bare = whole_run(e);
  assert_true(real(bare, HASH) == real(r, HASH));
  assert_int_equal(number(bare, MET), number(r, MET));
  kd__machine_close(bare);
  kd__machine_close(r);
}

/* --- stopped anywhere ----------------------------------------------------------------------------------------------------------------- */
static char *bytes_of(env *e, const char *name, size_t *n) {
  char *p;
  if (kd__file_read(in_folder(e, name), 1 << 20, &p, n, e->t.why, sizeof e->t.why) != KD_OK) fail_msg("%s", e->t.why);
  return p;
}

static void die_after(env *e, int64_t checkpoint, int64_t further) {
  kd_machine *r = open_run(e);
  for (int64_t i = 0; i < checkpoint; i++) assert_int_equal(kd__code_one(r), KD_OK);
  if (checkpoint) assert_int_equal(kd__checkpoint_write(r), KD_OK);
  for (int64_t i = 0; i < further && !r->ended; i++) assert_int_equal(kd__code_one(r), KD_OK);
  r->ended = true;
  kd__machine_close(r);
}

static void the_same_after_death(void **state) {
  env *e = *state;
  /* in the writing stage between a plan and its write, after it, at its end; in the reading passes; in the joined one */
  static const int64_t at[] = { 0, 3, 4, 5, 31, 32, 33, 64, 65, 124, 125, 126, 127, 128, 129, 130, 131, 160, 210, 240, 260, 270 };
  size_t n[2], m;
  kd_machine *whole = whole_run(e);
  char *file[2] = { bytes_of(e, "threes.ink.npy", &n[0]), bytes_of(e, "threes.key.npy", &n[1]) };
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    e->o.resume = false;
    die_after(e, at[i], 1 + (int64_t)i * 5 % 23);
    e->o.resume = true;
    kd_machine *r = whole_run(e);
    for (uint32_t k = TURN; k <= MET; k++) assert_memory_equal(kd__machine_slot(r, k), kd__machine_slot(whole, k), 4);
    kd__machine_close(r);
    for (int k = 0; k < 2; k++) {
      char *now = bytes_of(e, k ? "threes.key.npy" : "threes.ink.npy", &m);
      assert_int_equal(m, n[k]);
      assert_memory_equal(now, file[k], m);
      free(now);
    }
  }
  free(file[0]);
  free(file[1]);
  kd__machine_close(whole);
}

static void rows_that_are_gone_are_missed(void **state) {
  env *e = *state;
  kd_machine *r;
  die_after(e, 40, 3);
  assert_int_equal(truncate(in_folder(e, "threes.ink.npy"), 300), 0);
  e->o.resume = true;
  assert_int_equal(kd__machine_open(&e->w.toy.m, &e->o, &r, &e->err), KD_E_FORMAT);
  assert_contains(e->err.text, "threes.ink.npy has fewer than the");
  e->o.resume = false;
  e->o.out = NULL;                               /* saved by hand, from a run whose rows nobody kept */
  r = open_run(e);
  for (int i = 0; i < 40; i++) assert_int_equal(kd__code_one(r), KD_OK);
  assert_int_equal(kd__machine_save(r, temp_path(&e->t, "a.safetensors"), &e->err), KD_OK);
  kd__machine_close(r);
  r = open_run(e);
  assert_int_equal(kd__machine_restore(r, e->t.path, &e->err), KD_E_FORMAT);
  assert_contains(e->err.text, "a run without a folder has fewer than the");
  kd__machine_close(r);
}

/* --- failures --------------------------------------------------------------------------------------------------------------------------- */
static void too_few_rows(void **state) {
  env *e = *state;
  kd_code *c = &e->w.toy.code[e->w.write_at];
  *c = (kd_code){ KD_CODE_JUMP, e->w.write_at + 1, 0, 0, c->origin };   /* nothing is written */
  kd_machine *r = open_run(e);
  assert_int_equal(kd__machine_go(r, &e->err), KD_E_DATA);
  assert_contains(e->err.text, "data 'threes' has 0 rows when it is read, and a batch has 8");
  assert_int_equal(e->err.origin, 1000 + e->w.write_at + 6);            /* the pass that wanted them */
  kd__machine_close(r);
}

static void disk_full(void **state) {
  env *e = *state;
  struct rlimit old, now;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
  kd_machine *r = open_run(e);
  now = old;
  now.rlim_cur = 700;
  setrlimit(RLIMIT_FSIZE, &now);
  kd_status s = kd__machine_go(r, &e->err);
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, before);
  assert_int_equal(s, KD_E_IO);
  assert_contains(e->err.text, "data 'threes': cannot write");
  assert_int_equal(e->err.origin, 1000 + e->w.write_at);
  kd__machine_close(r);
}

static void broken(env *e, const char *says) {
  kd_machine *r;
  assert_int_equal(kd__machine_open(&e->w.toy.m, &e->o, &r, &e->err), KD_E_USAGE);
  assert_contains(e->err.text, says);
}

static void broken_modules(void **state) {
  env *e = *state;
  written *w = &e->w;
  w->toy.stream[1].drop_last = false;
  broken(e, "stream 1");
  w->toy.stream[1].drop_last = true;
  w->slot[0] = OUT_ID;
  broken(e, "write 0");
  w->slot[0] = OUT_INK;
  w->append.mask = OUT_INK;
  broken(e, "write 0");
  w->append.mask = OUT_THREE;
  w->append.dataset = 0;
  broken(e, "write 0");
  w->append.dataset = 1;
  w->set[1].key = 0;
  broken(e, "data set 1");
  w->set[1].key = 1;
  w->set[2].left = 2;
  broken(e, "data set 2");
  w->set[2].left = 0;
  w->pass.stream = 0;
  broken(e, "pass 0");
  w->pass.stream = 1;
  kd__machine_close(whole_run(e));
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_env, close_env)
  const struct CMUnitTest tests[] = {
    TEST(rows_are_written_and_read), TEST(the_same_after_death), TEST(rows_that_are_gone_are_missed), TEST(too_few_rows), TEST(disk_full), TEST(broken_modules),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
