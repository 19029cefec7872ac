/* toy.c: modules built by hand. */
#include "tests/run/toy.h"
#include "compiler/autodiff/autodiff.h"
#include "compiler/plan/plan_make.h"

const char *const toy_folder[1] = { KD_ROOT "/examples/data/digits" };
kd__run_options toy_options(void) { return (kd__run_options){ .seed = 1, .threads = 2, .search = { toy_folder, 1, NULL }, .version = "test" }; }

void toy_open(toy *t) {
  memset(t, 0, sizeof *t);
  kd__arena_init(&t->arena, NULL, NULL);
  for (int i = 0; i < KD_AMBIENT_COUNT; i++) t->m.ambient[i] = -1;
  t->m.real = KD_F32;
  t->m.name = "toy";
}

void toy_close(toy *t) { kd__arena_free(&t->arena); }

int64_t toy_slot(toy *t, const char *name, kd_slot_kind kind, kd_dtype type, int rank, const int64_t *dim) {
  assert_true(t->m.nslot < TOY_MAX);
  kd_slot *s = &t->slot[t->m.nslot];
  *s = (kd_slot){ .name = name, .kind = kind, .type = { .dtype = (uint8_t)type, .rank = (uint8_t)rank } };
  for (int i = 0; i < rank; i++) s->type.dim[i] = dim[i];
  return t->m.nslot++;
}

kd_graph *toy_graph(toy *t, const char *name, int64_t *plan) {
  assert_true(t->m.nplan < TOY_MAX);
  t->graph_name[t->m.nplan] = name;
  *plan = t->m.nplan;
  return t->graph[t->m.nplan++] = kd__graph_new(&t->arena);
}

int64_t toy_emit(toy *t, kd_code_op op, int64_t a, int64_t b, int64_t c) {
  assert_true(t->m.ncode < TOY_MAX);
  t->code[t->m.ncode] = (kd_code){ (uint16_t)op, a, b, c, 1000 + t->m.ncode };
  return t->m.ncode++;
}

kd_value toy_ambient(toy *t, kd_build *b, kd_ambient a) {
  static const char *const name[] = {
#define KD_AMBIENT(ID, text, doc) text,
#include "runtime/exec/ambient.def"
#undef KD_AMBIENT
  };
  if (t->m.ambient[a] < 0) t->m.ambient[a] = toy_slot(t, name[a], KD_SLOT_SCALAR, a == KD_AMBIENT_KEY ? KD_I64 : t->m.real, 0, NULL);
  return toy_input(t, b, t->m.ambient[a], 0);
}

kd_value toy_input(toy *t, kd_build *b, int64_t slot, int64_t rows) {
  kd_type type = t->slot[slot].type;
  if (rows) type.dim[0] = rows;
  return kd__b_input(b, slot, &type);
}

void toy_finish(toy *t) {
  uint32_t block = 1;
  int64_t at = 0;
  for (uint32_t i = 0; i < t->m.nslot; i++) {
    kd_slot *s = &t->slot[i];
    if (s->kind != KD_SLOT_PARAM) { s->block = block++; continue; }
    s->offset = at;
    at += kd__type_count(&s->type) * (int64_t)kd__dtype_size((kd_dtype)s->type.dtype);
  }
  t->m.arena = &t->arena;
  t->m.plan = KD_NEWN(&t->arena, kd_plan *, t->m.nplan + 1);
  for (uint32_t i = 0; i < t->m.nplan; i++) {
    t->m.plan[i] = kd__plan_make(&t->arena, t->graph[i], t->slot, t->m.nslot, t->graph_name[i], NULL, NULL);
    assert_non_null(t->m.plan[i]);
  }
  t->m.slot = t->slot; t->m.code = t->code; t->m.stream = t->stream; t->m.group = t->group; t->m.stage = t->stage;
  t->m.report = t->report; t->m.string = t->string; t->m.dataset = &t->data;
}

/* --- digits -------------------------------------------------------------------------------------------------------------------- */
static const kd_type scalar = { .dtype = KD_F32 };

static kd_value broadcast_row(kd_build *b, kd_value row, const int64_t *dim) { return kd__b_broadcast(b, row, dim, 2, (int64_t[]){ 1 }); }

/* Logits and targets (one where the label is) of `rows` samples. */
static kd_value logits(toy *t, kd_build *b, int64_t rows, bool noisy, kd_value *want, kd_value *label) {
  int64_t flat[2] = { rows, 64 }, out[2] = { rows, 10 };
  kd_value x = kd__b_reshape(b, kd__b_cast(b, toy_input(t, b, DIGITS_IMAGE, rows), KD_F32), flat, 2);
  x = kd__b_op2(b, KD_OP_MUL, x, kd__b_const_like(b, 1.0 / 16, x));
  if (noisy) {
    kd_value in[2] = { toy_ambient(t, b, KD_AMBIENT_KEY), toy_input(t, b, DIGITS_INDEX, rows) };
    kd_attr attr[3] = { kd__ai(7), kd__at(KD_F32), kd__al(flat, 2) };
    kd_shape_error err;
    kd_value u = kd__graph_add(b->g, KD_OP_RANDOM_UNIFORM, in, 2, attr, 0, &err);
    assert_int_not_equal(u, 0);
    x = kd__b_op2(b, KD_OP_ADD, x, kd__b_op2(b, KD_OP_MUL, u, kd__b_const_like(b, 0.1, u)));
  }
  *label = kd__b_cast(b, toy_input(t, b, DIGITS_LABEL, rows), KD_I64);
  kd_value y = kd__b_op2(b, KD_OP_EQ, kd__b_broadcast(b, *label, out, 2, (int64_t[]){ 0 }), kd__b_iota(b, KD_I64, out, 2, 1));
  *want = kd__b_cast(b, y, KD_F32);
  return kd__b_op2(b, KD_OP_ADD, kd__b_matmul(b, x, toy_input(t, b, DIGITS_W, 0)), broadcast_row(b, toy_input(t, b, DIGITS_B, 0), out));
}

static kd_value mean_square(kd_build *b, kd_value x) {
  kd_value s = kd__b_reduce(b, KD_OP_SUM, kd__b_op2(b, KD_OP_MUL, x, x), (int64_t[]){ 0, 1 }, 2);
  return kd__b_op2(b, KD_OP_MUL, s, kd__b_const(b, 1.0 / (double)kd__type_count(kd__type_of(b->g, x)), KD_F32, NULL, 0));
}

static int64_t train_plan(toy *t) {
  int64_t plan;
  kd_build b = { toy_graph(t, "fit.train.64", &plan), 500 };
  kd_value want, label, z = logits(t, &b, DIGITS_BATCH, true, &want, &label);
  kd_value w = toy_input(t, &b, DIGITS_W, 0), bias = toy_input(t, &b, DIGITS_B, 0), grad[2];
  kd_value fit = mean_square(&b, kd__b_op2(&b, KD_OP_SUB, z, want)), size = mean_square(&b, w);
  kd_value loss = kd__b_op2(&b, KD_OP_ADD, fit, kd__b_op2(&b, KD_OP_MUL, size, kd__b_const(&b, 0.01, KD_F32, NULL, 0)));
  assert_true(kd__gradients(b.g, loss, (kd_value[]){ w, bias }, 2, grad, 500, NULL));
  kd_value one = kd__b_const(&b, 1, KD_F32, NULL, 0);
  kd_value rate = kd__b_op2(&b, KD_OP_MUL, kd__b_op2(&b, KD_OP_SUB, one, toy_ambient(t, &b, KD_AMBIENT_PROGRESS)), kd__b_const(&b, 0.5, KD_F32, NULL, 0));
  kd_value v = toy_input(t, &b, DIGITS_MOMENTUM, 0);
  v = kd__b_op2(&b, KD_OP_ADD, kd__b_op2(&b, KD_OP_MUL, v, kd__b_const_like(&b, 0.9, v)), grad[0]);
  kd__graph_write(b.g, DIGITS_MOMENTUM, v, 0);
  kd_value step = kd__b_op2(&b, KD_OP_MUL, v, kd__b_broadcast(&b, rate, (int64_t[]){ 64, 10 }, 2, NULL));
  kd__graph_write(b.g, DIGITS_W, kd__b_op2(&b, KD_OP_SUB, w, step), 0);
  step = kd__b_op2(&b, KD_OP_MUL, grad[1], kd__b_broadcast(&b, rate, (int64_t[]){ 10 }, 1, NULL));
  kd__graph_write(b.g, DIGITS_B, kd__b_op2(&b, KD_OP_SUB, bias, step), 0);
  kd__graph_result(b.g, "loss", loss);
  kd__graph_result(b.g, "fit", fit);
  kd__graph_result(b.g, "size", size);
  return plan;
}

static int64_t eval_plan(toy *t, const char *name, int64_t rows) {
  int64_t plan;
  kd_build b = { toy_graph(t, name, &plan), 0 };
  kd_value want, label, z = logits(t, &b, rows, false, &want, &label);
  kd_attr axis = kd__ai(1);
  kd_value best = kd__graph_add(b.g, KD_OP_ARGMAX, &z, 1, &axis, 0, NULL);
  kd_value right = kd__b_reduce(&b, KD_OP_SUM, kd__b_cast(&b, kd__b_op2(&b, KD_OP_EQ, best, label), KD_I64), (int64_t[]){ 0 }, 1);
  kd__graph_write(b.g, DIGITS_CORRECT, kd__b_op2(&b, KD_OP_ADD, toy_input(t, &b, DIGITS_CORRECT, 0), right), 0);
  kd__graph_write(b.g, DIGITS_SEEN, kd__b_op2(&b, KD_OP_ADD, toy_input(t, &b, DIGITS_SEEN, 0), toy_ambient(t, &b, KD_AMBIENT_ROWS)), 0);
  return plan;
}

static int64_t finish_plan(toy *t) {
  int64_t plan;
  kd_build b = { toy_graph(t, "value", &plan), 0 };
  kd_value n = toy_input(t, &b, DIGITS_SEEN, 0);
  kd__graph_result(b.g, "accuracy", kd__b_op2(&b, KD_OP_DIV, kd__b_cast(&b, toy_input(t, &b, DIGITS_CORRECT, 0), KD_F32), n));
  kd__graph_result(b.g, "seen", n);
  return plan;
}

static int64_t init_plan(toy *t, bool all) {
  int64_t plan, shape[2] = { 64, 10 };
  kd_build b = { toy_graph(t, all ? "init" : "reset", &plan), 0 };
  kd__graph_write(b.g, DIGITS_CORRECT, kd__b_const(&b, 0, KD_I64, NULL, 0), 0);
  kd__graph_write(b.g, DIGITS_SEEN, kd__b_const(&b, 0, KD_F32, NULL, 0), 0);
  if (!all) return plan;
  kd_value key = toy_ambient(t, &b, KD_AMBIENT_KEY);
  kd_attr attr[3] = { kd__ai(3), kd__at(KD_F32), kd__al(shape, 2) };
  kd_value w = kd__graph_add(b.g, KD_OP_RANDOM_NORMAL, &key, 1, attr, 0, NULL);
  kd__graph_write(b.g, DIGITS_W, kd__b_op2(&b, KD_OP_MUL, w, kd__b_const_like(&b, 0.01, w)), 0);
  kd__graph_write(b.g, DIGITS_B, kd__b_const(&b, 0, KD_F32, shape + 1, 1), 0);
  kd__graph_write(b.g, DIGITS_MOMENTUM, kd__b_const(&b, 0, KD_F32, shape, 2), 0);
  return plan;
}

static void digits_data(toy *t) {
  static const char *const file[2][2] = { { "train-images-idx3-ubyte", "train-labels-idx1-ubyte" }, { "test-images-idx3-ubyte", "test-labels-idx1-ubyte" } };
  static const kd_split split[3] = { { "train", NULL, 2, 0, DIGITS_TRAIN }, { "valid", NULL, 2, DIGITS_TRAIN, DIGITS_VALID }, { "test", NULL, 2, 0, -1 } };
  for (int i = 0; i < 3; i++) {
    t->split[i] = split[i];
    t->split[i].field = t->field[i];
    t->field[i][0] = (kd_field_source){ .name = "image", .format = "idx", .path = file[i == 2][0], .type = { .dtype = KD_U8, .rank = 2, .dim = { 8, 8 } } };
    t->field[i][1] = (kd_field_source){ .name = "label", .format = "idx", .path = file[i == 2][1], .type = { .dtype = KD_U8 }, .below = 10 };
  }
  t->data = (kd_dataset){ .name = "digits", .split = t->split, .nsplit = 3, .batch = DIGITS_BATCH };
  t->m.ndataset = 1;
  for (uint32_t i = 0; i < 3; i++) {
    kd_stream *s = &t->stream[i];
    *s = (kd_stream){ .split = i, .batch = DIGITS_BATCH, .shuffle = i == 0, .drop_last = i == 0, .nbind = 2, .index_slot = i == 0 ? DIGITS_INDEX : -1 };
    s->bind = kd__arena_get(&t->arena, 2 * sizeof *s->bind);
    s->bind[0].field = 0, s->bind[0].slot = DIGITS_IMAGE;
    s->bind[1].field = 1, s->bind[1].slot = DIGITS_LABEL;
  }
  t->m.nstream = 3;
}

/* One pass over a split, its short batch by a plan of its own; registers from `reg` on get accuracy and count. */
static void emit_evaluation(toy *t, int64_t stream, int64_t rows, const int64_t plan[3], int64_t part, int64_t reg) {
  toy_emit(t, KD_CODE_RUN, plan[0], 0, 0);
  int64_t begin = toy_emit(t, KD_CODE_BATCHES, stream, 0, 0) + 1;
  int64_t branch = toy_emit(t, KD_CODE_BATCH_IF, stream, rows % DIGITS_BATCH, 0);
  toy_emit(t, KD_CODE_RUN, plan[1], 0, 0);
  int64_t over = toy_emit(t, KD_CODE_JUMP, 0, 0, 0);
  t->code[branch].c = toy_emit(t, KD_CODE_RUN, part, 0, 0);
  t->code[over].a = toy_emit(t, KD_CODE_MORE, stream, 0, begin);
  t->code[begin - 1].c = toy_emit(t, KD_CODE_EVAL, plan[2], reg, 0);
}

void toy_digits(toy *t, int64_t epochs) {
  static const int64_t w[2] = { 64, 10 }, image[3] = { DIGITS_BATCH, 8, 8 };
  toy_open(t);
  t->m.name = "digits";
  toy_slot(t, "S.W", KD_SLOT_PARAM, KD_F32, 2, w);
  toy_slot(t, "S.b", KD_SLOT_PARAM, KD_F32, 1, w + 1);
  toy_slot(t, "sgd.v", KD_SLOT_OPTIMIZER, KD_F32, 2, w);
  toy_slot(t, "digits.label", KD_SLOT_FIELD, KD_U8, 1, image);
  toy_slot(t, "digits.image", KD_SLOT_FIELD, KD_U8, 3, image);
  toy_slot(t, "digits.index", KD_SLOT_FIELD, KD_I64, 1, image);
  toy_slot(t, "correct", KD_SLOT_STATE, KD_I64, 0, scalar.dim);
  toy_slot(t, "seen", KD_SLOT_STATE, KD_F32, 0, scalar.dim);
  digits_data(t);
  int64_t init = init_plan(t, true), train = train_plan(t);
  int64_t plan[3] = { init_plan(t, false), eval_plan(t, "eval.64", DIGITS_BATCH), finish_plan(t) };
  int64_t valid_part = eval_plan(t, "eval.8", DIGITS_VALID % DIGITS_BATCH), test_part = eval_plan(t, "eval.44", DIGITS_TEST % DIGITS_BATCH);
  t->stage[0] = (kd_stage_info){ .name = "fit", .epochs = epochs, .steps = epochs * (DIGITS_TRAIN / DIGITS_BATCH) };
  t->m.nstage = 1;
  t->group[0] = (kd_group){ "S", (uint32_t *)kd__arena_copy(&t->arena, (uint32_t[]){ DIGITS_W, DIGITS_B }, 8),
                            kd__arena_copy(&t->arena, (const char *[]){ "W", "b" }, 2 * sizeof(char *)), 2 };
  t->m.ngroup = 1;
  t->string[0] = "valid accuracy(S, y),seen";
  t->string[1] = "S.safetensors";
  t->m.nstring = 2;
  t->report[0] = (kd_report_row){ "accuracy", "digits.test", 5 };
  t->report[1] = (kd_report_row){ "seen", "digits.test", 6 };
  t->m.nreport = 2;
  t->m.nreg = 7;
  t->m.ncounter = 1;
  toy_emit(t, KD_CODE_RUN, init, 0, 0);
  toy_emit(t, KD_CODE_STAGE, 0, 0, 0);
  int64_t loop = toy_emit(t, KD_CODE_LOOP, 0, epochs, 0), batches = toy_emit(t, KD_CODE_BATCHES, 0, 0, 0);
  toy_emit(t, KD_CODE_STEP, train, 0, 0);
  toy_emit(t, KD_CODE_MORE, 0, 0, batches + 1);
  t->code[batches].c = toy_emit(t, KD_CODE_EPOCH, 0, 0, 0);
  emit_evaluation(t, 1, DIGITS_VALID, plan, valid_part, 3);
  toy_emit(t, KD_CODE_SAY, 0, 3, 2);
  toy_emit(t, KD_CODE_SNAPSHOT, 0, 1, 3);
  toy_emit(t, KD_CODE_NEXT, 0, epochs, loop + 1);
  t->code[loop].c = toy_emit(t, KD_CODE_RESTORE, 0, 0, 0);
  emit_evaluation(t, 2, DIGITS_TEST, plan, test_part, 5);
  toy_emit(t, KD_CODE_SAVE, 0, 1, 0);
  toy_emit(t, KD_CODE_HALT, 0, 0, 0);
  toy_finish(t);
}
