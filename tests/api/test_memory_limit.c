/* test_memory_limit.c: programs within limits of memory: what they take is within the limit, what they compute is the same bit by bit, the least that a
 * message names is enough, and a run that is gone on with has its limit still. */
#include "tests/files/temp.h"
#include "include/kd.h"
#include <stdio.h>
#include <stdlib.h>

enum { TEXT = 4000 };
typedef struct told { char text[TEXT]; } told;

static void hear(void *ctx, const kd_message *m) {
  told *t = ctx;
  if (m->severity == KD_ERROR) snprintf(t->text, sizeof t->text, "%s", m->text);
}

static void keep_text(void *ctx, const char *text, size_t n) {
  told *t = ctx;
  size_t at = strlen(t->text), more = n < sizeof t->text - at - 1 ? n : sizeof t->text - at - 1;
  memcpy(t->text + at, text, more);
  t->text[at + more] = 0;
}

static double unit(const char *word) { return word[0] == 'K' ? 1024 : word[0] == 'M' ? 1 << 20 : 1; }

/* Bytes that the program says it takes, rounded up as it says them. */
static double taken(const kd_program *p) {
  told t = { "" };
  char a[16], b[16];
  double kept, step;
  kd_program_describe(p, keep_text, &t);
  const char *line = strstr(t.text, "  memory: ");
  assert_non_null(line);
  assert_int_equal(sscanf(line, " memory: %lf %15s kept, %lf %15s while", &kept, a, &step, b), 4);
  return kept * unit(a) + step * unit(b);
}

static kd_program *compile(kd_session *s, const char *text, int64_t limit) {
  kd_program *p;
  kd_compile_options o = { .memory_limit = limit };
  kd_status st = kd_compile_text(s, "limit.kd", text, strlen(text), &o, &p);
  assert_true(p ? st == KD_OK : st == KD_E_PROGRAM);
  return p;
}

static void train(kd_program *p) {
  kd_run_options o = { .threads = 2, .seed = 3, .deterministic = true };
  assert_int_equal(kd_run(p, &o), KD_OK);
}

static void same_parameters(const kd_program *x, const kd_program *y) {
  kd_parameter a, b;
  size_t i = 0;
  for (; kd_parameter_at(x, i, &a); i++) {
    assert_true(kd_parameter_at(y, i, &b));
    assert_string_equal(a.name, b.name);
    assert_int_equal(a.bytes, b.bytes);
    if (memcmp(a.data, b.data, a.bytes) != 0) fail_msg("%s has other bits", a.name);
  }
  assert_true(i > 2);
}

/* The least must be at most `share` of what the program takes without a limit. */
static void within(const char *text, double share) {
  told t = { "" };
  kd_session *s;
  kd_config c = { .message = hear, .message_ctx = &t, .data = (const char *const[]){ KD_ROOT "/examples" }, .ndata = 1 };
  assert_int_equal(kd_session_new(&c, &s), KD_OK);
  kd_program *free_one = compile(s, text, 0);
  assert_non_null(free_one);
  train(free_one);
  double all = taken(free_one);
  assert_null(compile(s, text, 1));
  const char *least = strstr(t.text, "or allow ");
  assert_non_null(least);
  assert_non_null(strstr(t.text, "while it runs, and the limit leaves it nothing beside"));
  int64_t low = strtoll(least + 9, NULL, 10);
  assert_true(low > 0 && (double)low < share * all);
  assert_null(compile(s, text, low - 1));
  for (int i = 0; i <= 4; i++) {
    int64_t limit = low + (int64_t)((all - (double)low) * i / 4);
    kd_program *p = compile(s, text, limit);
    if (!p) fail_msg("a limit of %lld is not met, and %lld is: %s", (long long)limit, (long long)low, t.text);
    assert_true(taken(p) <= (double)limit + 2 * 1048576);          /* it is said rounded up */
    train(p);
    same_parameters(free_one, p);
    kd_program_free(p);
  }
  kd_program_free(free_one);
  kd_session_free(s);
}

static void residual(void **state) {
  (void)state;
  within("use nets.resnet, losses.cross_entropy, logit.kd, optim.sgd\nstate x: [B: 32, C: 3, H: 16, W: 16] = normal()\nlet label = random_int([B: 32], below: 10)\n"
         "model T = resnet(depth: 8, width: 8, classes: 10)\nstudent S = resnet(depth: 32, width: 8, classes: 10)\nlet t = T(x)\nlet s = S(x)\n"
         "scheme { stage fit { for 3 batches { step S minimizing cross_entropy(s.logits, label) + kd(s.logits, t.logits) using sgd(lr: 0.05, momentum: 0.9) } } }\n", 0.5);
}

/* With dropout: what is drawn once more is the same. */
static void attention(void **state) {
  (void)state;
  within("use nets.transformer.transformer_classifier, losses.cross_entropy, optim.adam\nlet label = random_int([B: 8], below: 2)\n"
         "let word = random_int([B: 8, T: 32], below: 50)\nstudent S = transformer_classifier(vocabulary: 50, width: 32, depth: 6, drop: 0.1)\nlet s = S(word)\n"
         "scheme { stage fit { for 3 batches { step S minimizing cross_entropy(s.logits, label) using adam(lr: 0.01) } } }\n", 0.6);
}

static void recurrent(void **state) {
  (void)state;
  within("use nets.recurrent.gru, layers.linear, losses.cross_entropy, optim.sgd\nstate x: [B: 16, T: 40, D: 32] = normal()\nlet label = random_int([B: 16], below: 4)\n"
         "net deep(x: [B, T, D]) = linear(gru(gru(gru(gru(x, hidden: 32), hidden: 32), hidden: 32), hidden: 32)[T: -1], out: 4)\nstudent S = deep()\nlet s = S(x)\n"
         "scheme { stage fit { for 3 batches { step S minimizing cross_entropy(s, label) using sgd(lr: 0.1) } } }\n", 0.9);
}

static int stop;
static void stop_soon(void *ctx, const kd_event *e) {
  (void)ctx;
  if (e->kind == KD_EVENT_EPOCH && e->epoch == 1) stop = 1;
}

static void resumed(void **state) {
  temp *t = *state;
  told said = { "" };
  kd_session *s;
  kd_program *again;
  char folder[600];
  static const char text[] =
    "use data.digits, nets.resnet, losses.cross_entropy, optim.sgd\ndata d = digits(batch: 64)\nstudent S = resnet(depth: 14, width: 8, classes: 10)\nlet s = S(d.image)\n"
    "scheme { stage fit: train S minimizing cross_entropy(s.logits, d.label) on d for 2 epochs using sgd(lr: 0.05) }\n";
  snprintf(folder, sizeof folder, "%s/run", t->folder);
  kd_config c = { .message = hear, .message_ctx = &said, .data = (const char *const[]){ KD_ROOT "/examples" }, .ndata = 1 };
  assert_int_equal(kd_session_new(&c, &s), KD_OK);
  kd_program *free_one = compile(s, text, 0), *small = compile(s, text, 1700 << 10);
  assert_non_null(small);
  assert_true(taken(small) < taken(free_one));
  train(free_one);
  stop = 0;
  kd_run_options o = { .threads = 2, .seed = 3, .deterministic = true, .out = folder, .event = stop_soon, .cancel = &stop };
  assert_int_equal(kd_run(small, &o), KD_E_CANCELLED);
  assert_int_equal(kd_resume(s, folder, NULL, &again), KD_OK);
  assert_true(taken(again) == taken(small));
  same_parameters(free_one, again);
  kd_program_free(again);
  kd_program_free(small);
  kd_program_free(free_one);
  kd_session_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(residual), cmocka_unit_test(attention), cmocka_unit_test(recurrent),
                                      cmocka_unit_test_setup_teardown(resumed, temp_open, temp_close) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
