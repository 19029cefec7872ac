/* test_frozen.c: of the library's networks as teachers nothing is left in a step when their answers are kept: it has the calls of the student alone, and reads
 * rows; and it ends in the same bits as with a live teacher, since a row of what a kernel computes does not depend on its place. Without a cache, what lies
 * behind the last value that is read is in no plan: calls are counted. */
#include "tests/files/temp.h"
#include "include/kd.h"

enum { TEXT = 4 << 20 };
typedef struct text { char *p; size_t n; } text;

static void append(void *ctx, const char *s, size_t n) {
  text *t = ctx;
  if (t->n + n + 1 > TEXT) n = TEXT - t->n - 1;
  memcpy(t->p + t->n, s, n);
  t->n += n;
  t->p[t->n] = 0;
}

static void say(void *ctx, const kd_message *m) {
  (void)ctx;
  if (m->severity == KD_ERROR) print_error("%s\n", m->text);
}

#define BEGIN "use data.digits, nets.mlp, nets.resnet, nets.wide_resnet, nets.vit, nets.lenet, nets.recurrent.gru, nets.recurrent.lstm\n" \
              "use losses.cross_entropy, logit.kd, feature.fitnet.hint_regressor, optim.sgd\ndata d = digits(batch: 64)\n"

/* Compiles; `stage` of the dump, or NULL: what kdc check says. From malloc. */
static char *compiled(const char *program, const char *stage, kd_keep keep) {
  text t = { calloc(1, TEXT), 0 };
  kd_session *s;
  kd_program *p;
  kd_config c = { .message = say, .data = (const char *const[]){ KD_ROOT "/examples" }, .ndata = 1 };
  assert_non_null(t.p);
  assert_int_equal(kd_session_new(&c, &s), KD_OK);
  kd_compile_options o = { .keep = keep, .keep_memory = (uint64_t)1 << 40, .dump = stage, .dump_to = append, .dump_ctx = &t };
  assert_int_equal(kd_compile_text(s, "frozen.kd", program, strlen(program), &o, &p), KD_OK);
  if (!stage) kd_program_describe(p, append, &t);
  kd_program_free(p);
  kd_session_free(s);
  return t.p;
}

/* Lines of the plan of program `name` that begin with `call`. */
static int calls(const char *dump, const char *name, const char *call) {
  char head[200];
  int n = 0;
  snprintf(head, sizeof head, "// program %s\n", name);
  const char *at = strstr(dump, head);
  if (!at) fail_msg("there is no program %s in %.2000s", name, dump);
  for (at = strchr(at, '\n') + 1; *at && *at != '\n'; at = strchr(at, '\n') + 1) {
    const char *eq = strstr(at, " = "), *end = strchr(at, '\n');
    n += eq && eq < end && strncmp(eq + 3, call, strlen(call)) == 0;
  }
  return n;
}

static void nothing_is_left_of_a_teacher(void **state) {
  static const char *const teacher[] = { "mlp(hidden: [64, 64])(d.image)", "resnet(depth: 8, width: 8)(d.image)", "wide_resnet(depth: 10, widen: 1)(d.image)",
                                         "vit(patch: 2, width: 32, depth: 2)(d.image)" };
  static const char *const work[] = { "matmul", "conv", "moments", "softmax" };
  (void)state;
  for (size_t i = 0; i < sizeof teacher / sizeof *teacher; i++) {
    char with[2000], alone[2000];
    int args = (int)(strstr(teacher[i], ")(") - teacher[i]) + 1;
    snprintf(with, sizeof with, BEGIN "teacher T = %.*s\nstudent S = mlp(hidden: [8])\nlet t = T(d.image)\nlet s = S(d.image)\n"
             "scheme { stage warm: train T minimizing cross_entropy(t.logits, d.label) on d for 1 epochs using sgd(lr: 0.1)\n"
             "stage fit: train S minimizing kd(s.logits, t.logits) on d for 30 epochs using sgd(lr: 0.1) }\n", args, teacher[i]);
    snprintf(alone, sizeof alone, BEGIN "student S = mlp(hidden: [8])\nlet s = S(d.image)\nstate t: [B: 64, K: 10] = zeros()\n"
             "scheme { stage fit: train S minimizing kd(s.logits, t) on d for 30 epochs using sgd(lr: 0.1) }\n");
    char *said = compiled(with, NULL, KD_KEEP_MEMORY), *a = compiled(with, "split", KD_KEEP_MEMORY), *b = compiled(alone, "split", KD_KEEP_OFF);
    if (!strstr(said, "fit.train.64 keeps ") || strstr(said, "no room")) fail_msg("%s: %s", teacher[i], said);
    for (size_t k = 0; k < sizeof work / sizeof *work; k++) {
      int have = calls(a, "fit.train.64", work[k]), want = calls(b, "fit.train.64", work[k]);
      if (have > want) fail_msg("%s: %d calls of %s are left, and the student has %d", teacher[i], have, work[k], want);
    }
    free(said);
    free(a);
    free(b);
  }
}

/* The student's parameters after a run. */
static size_t trained(const char *program, const kd_run_options *run, kd_keep keep, char *bits, size_t room) {
  kd_session *s;
  kd_program *p;
  kd_parameter q;
  size_t n = 0;
  kd_config c = { .message = say, .data = (const char *const[]){ KD_ROOT "/examples" }, .ndata = 1 };
  assert_int_equal(kd_session_new(&c, &s), KD_OK);
  assert_int_equal(kd_compile_text(s, "frozen.kd", program, strlen(program), &(kd_compile_options){ .keep = keep, .keep_memory = (uint64_t)1 << 30 }, &p), KD_OK);
  assert_int_equal(kd_run(p, run), KD_OK);
  for (size_t i = 0; kd_parameter_at(p, i, &q); i++) {
    if (q.name[0] != 'S') continue;
    assert_true(n + q.bytes <= room);
    memcpy(bits + n, q.data, q.bytes);
    n += q.bytes;
  }
  kd_program_free(p);
  kd_session_free(s);
  return n;
}

/* Batches of 50: no multiple of what kernels take at a time, and samples in another place of them each time. */
static void a_live_teacher_ends_in_the_same_bits(void **state) {
  static const char *const teacher[] = { "mlp(hidden: [40, 30])", "resnet(depth: 8, width: 4)", "vit(patch: 2, width: 16, depth: 1, heads: 2)" };
  static const kd_run_options how[] = { { .threads = 1 }, { .threads = 2 }, { .threads = 2, .no_dnnl = true }, { .threads = 2, .deterministic = true, .winograd = 2 } };
  static char live[8192], kept[8192];
  (void)state;
  for (size_t i = 0; i < sizeof teacher / sizeof *teacher; i++)
    for (size_t k = 0; k < sizeof how / sizeof *how; k++) {
      char program[2000];
      snprintf(program, sizeof program, "use data.digits, nets.mlp, nets.resnet, nets.vit\nuse losses.cross_entropy, logit.kd, optim.sgd\ndata d = digits(batch: 50)\n"
               "teacher T = %s\nstudent S = mlp(hidden: [8])\nlet t = T(d.image)\nlet s = S(d.image)\n"
               "scheme { stage warm: train T minimizing cross_entropy(t.logits, d.label) on d for 1 epochs using sgd(lr: 0.1)\n"
               "stage fit: train S minimizing kd(s.logits, t.logits) on d for 3 epochs using sgd(lr: 0.1) }\n", teacher[i]);
      size_t n = trained(program, &how[k], KD_KEEP_OFF, live, sizeof live), m = trained(program, &how[k], KD_KEEP_MEMORY, kept, sizeof kept);
      assert_true(n > 1000 && n == m);
      if (memcmp(live, kept, n) != 0) fail_msg("%s, options %zu: other bits with rows that are kept", teacher[i], k);
    }
}

/* A teacher's answers to images that are drawn, two draws for each: they are kept where they come round. */
static void answers_to_drawn_images_are_kept(void **state) {
  static const char *const teacher[] = { "mlp(hidden: [40, 30])", "resnet(depth: 8, width: 4)", "vit(patch: 2, width: 16, depth: 1, heads: 2)" };
  static const kd_run_options how[] = { { .threads = 2, .seed = 3 }, { .threads = 1, .no_dnnl = true, .deterministic = true } };
  static char live[8192], kept[8192];
  (void)state;
  for (size_t i = 0; i < sizeof teacher / sizeof *teacher; i++) {
    char program[2000];
    snprintf(program, sizeof program, "use data.digits, nets.mlp, nets.resnet, nets.vit, augment.random_crop, augment.random_flip, augment.cutout\n"
             "use losses.cross_entropy, logit.kd, optim.sgd\ndata d = digits(batch: 50) with (replay: 2)\n"
             "let x = cutout(random_flip(random_crop(d.image, padding: 1)), side: 3)\nteacher T = %s\nstudent S = mlp(hidden: [8])\nlet t = T(x)\nlet s = S(x)\n"
             "scheme { stage warm: train T minimizing cross_entropy(t.logits, d.label) on d for 1 epochs using sgd(lr: 0.1)\n"
             "stage fit: train S minimizing kd(s.logits, t.logits) on d for 5 epochs using sgd(lr: 0.1) }\n", teacher[i]);
    char *said = compiled(program, NULL, KD_KEEP_MEMORY), *dump = compiled(program, "split", KD_KEEP_MEMORY);
    if (!strstr(said, "fit.train.50 keeps ") || !strstr(said, "or once for each of 2 epochs")) fail_msg("%s: %s", teacher[i], said);
    assert_int_equal(calls(dump, "fit.train.50", "random"), 0);
    assert_int_equal(calls(dump, "fit.train.50.replayed", "random"), 5);
    assert_int_equal(calls(dump, "warm.train.50", "random"), 5);
    free(said);
    free(dump);
    for (size_t k = 0; k < sizeof how / sizeof *how; k++) {
      size_t n = trained(program, &how[k], KD_KEEP_OFF, live, sizeof live), m = trained(program, &how[k], KD_KEEP_MEMORY, kept, sizeof kept);
      assert_true(n > 1000 && n == m);
      if (memcmp(live, kept, n) != 0) fail_msg("%s, options %zu: other bits with rows that are kept", teacher[i], k);
    }
  }
}

/* Left to itself the compiler keeps what comes round often enough. */
static void what_comes_round_often_enough_is_kept(void **state) {
  static const struct { int replay; const char *said; } c[] = { { 4, "or once for each of 4 epochs" }, { 39, NULL }, { 40, NULL }, { 80, NULL } };
  (void)state;
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    char program[2000];
    snprintf(program, sizeof program, BEGIN "data a = digits(batch: 64) with (replay: %d)\nuse augment.random_crop\nlet x = random_crop(a.image, padding: 1)\n"
             "teacher T = resnet(depth: 20, width: 16)\nstudent S = mlp(hidden: [8])\nlet t = T(x)\nlet s = S(x)\n"
             "scheme { stage warm: train T minimizing cross_entropy(t.logits, a.label) on a for 1 epochs using sgd(lr: 0.1)\n"
             "stage fit: train S minimizing kd(s.logits, t.logits) on a for 40 epochs using sgd(lr: 0.1) }\n", c[i].replay);
    char *said = compiled(program, NULL, KD_KEEP_PROGRAM);
    if (c[i].said ? !strstr(said, c[i].said) : strstr(said, " keeps ") != NULL) fail_msg("replay: %d: %s", c[i].replay, said);
    free(said);
  }
}

/* A recurrent teacher is a loop, and its samples are apart in it, too. */
static void loops_are_kept(void **state) {
  static const char program[] = BEGIN
    "net reader(x: [B, C, H, W], classes: int = 10) { let seq: [B, T, D] = x[C: 0]\n  let h: [B, T, E] = gru(seq, hidden: 32)\n  logits = linear(mean(h, over: T), out: classes)\n  return logits }\n"
    "teacher T = reader()\nstudent S = mlp(hidden: [8])\nlet t = T(d.image)\nlet s = S(d.image)\n"
    "scheme { stage warm: train T minimizing cross_entropy(t.logits, d.label) on d for 1 epochs using sgd(lr: 0.1)\n"
    "stage fit: train S minimizing kd(s.logits, t.logits) on d for 30 epochs using sgd(lr: 0.1) }\n";
  (void)state;
  char *said = compiled(program, NULL, KD_KEEP_MEMORY);
  if (!strstr(said, "fit.train.64 keeps ")) fail_msg("%s", said);
  free(said);
}

/* A hint from the first of a WRN's stages: the teacher's convolutions behind it are in no plan. The student's are: its running statistics are updated by a step
 * that trains it; they have no gradients. depth 16: two blocks a stage, and a shortcut where the channels change. */
static void what_lies_behind_the_last_tap_is_not_computed(void **state) {
  static const char program[] = BEGIN
    "teacher T = wide_resnet(depth: 16, widen: 2)\nstudent S = wide_resnet(depth: 16, widen: 1)\nlet t = T(d.image)\nlet s = S(d.image)\n"
    "transform fit = hint_regressor(out: 32, rows: 8, columns: 8)\nloss hint = mse(fit(s.stage1), t.stage1)\n"
    "scheme { stage warm: train T minimizing cross_entropy(t.logits, d.label) on d for 1 epochs using sgd(lr: 0.1)\n"
    "stage hints: train S, fit minimizing hint on d for 1 epochs using sgd(lr: 0.1) }\n";
  (void)state;
  char *dump = compiled(program, "split", KD_KEEP_OFF);
  /* Forward: teacher 1 + 2 x 2 + 1, student 1 + 2 x 2 + 2 x (2 x 2 + 1), regressor 1. */
  int weight = calls(dump, "hints.train.64", "conv_weight"), data = calls(dump, "hints.train.64", "conv_data"), forward = calls(dump, "hints.train.64", "conv") - weight - data;
  assert_int_equal(forward, 6 + 15 + 1);
  assert_int_equal(weight, 5 + 1);               /* the student's and the regressor's */
  assert_int_equal(data, 5);                     /* not into the image */
  assert_int_equal(calls(dump, "hints.train.64", "softmax"), 0);
  free(dump);
}

/* Without statistics nothing is left of a student's layers behind its last value that is read. */
static void students_layers_that_nothing_reads_are_not_computed(void **state) {
  static const char program[] = BEGIN "teacher T = mlp(hidden: [16, 16, 16])\nstudent S = mlp(hidden: [16, 16, 16])\nlet t = T(d.image)\nlet s = S(d.image)\n"
    "loss hint = mse(s.layer[0], t.layer[1])\n"
    "scheme { stage warm: train T minimizing cross_entropy(t.logits, d.label) on d for 1 epochs using sgd(lr: 0.1)\n"
    "stage hints: train S minimizing hint on d for 1 epochs using sgd(lr: 0.1) }\n";
  (void)state;
  char *dump = compiled(program, "split", KD_KEEP_OFF);
  assert_int_equal(calls(dump, "hints.train.64", "matmul"), 2 + 1 + 1);          /* teacher 2, student 1, and its gradient */
  free(dump);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_is_left_of_a_teacher), cmocka_unit_test(a_live_teacher_ends_in_the_same_bits), cmocka_unit_test(answers_to_drawn_images_are_kept), cmocka_unit_test(what_comes_round_often_enough_is_kept),
                                      cmocka_unit_test(loops_are_kept), cmocka_unit_test(what_lies_behind_the_last_tap_is_not_computed),
                                      cmocka_unit_test(students_layers_that_nothing_reads_are_not_computed) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
