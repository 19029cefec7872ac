/* test_cost.c: kdc cost on a small program whose operations, parameters and dead layers were worked out by hand; kdc profile, its JSON and its trace.
 *   usage: test_cost KDC */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <jansson.h>
#include <cmocka.h>
#include "tests/api/toy.h"

static const char *kdc;
static toy here;

/* The teacher's last layer is trained with, and not needed for its tap. Batches have 8 rows of 6 numbers. */
static const char program[] =
  "net deep(x: [B, D]) {\n"
  "  transform first = lin(out: 7)\n"
  "  transform last = lin(out: 3)\n"
  "  mid = first(x)\n"
  "  return last(tanh(mid))\n"
  "}\n"
  "loss near(a: [B, K], b: [B, K]) = mean(sum((a - b)^2, over: K))\n"
  "data toy = dataset(batch: 8, train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n"
  "teacher T = deep()\n"
  "student S = lin(out: 7)\n"
  "let t = T(toy.x)\n"
  "let s = S(toy.x)\n"
  "scheme {\n"
  "  stage warm: train T minimizing ce(t, toy.y) on toy for 2 epochs using gd(lr: 0.5)\n"
  "  stage distil: train S minimizing near(s, t.mid) on toy for 3 epochs using gd(lr: 0.5)\n"
  "}\n";

/* A loop within a step, and nothing but its own numbers. */
static const char loop[] =
  "param W: [D: 256, E: 256] = normal(0, 0.05)\n"
  "optimizer gd(lr: real) { update param = param - lr * grad }\n"
  "fn recurrence(W: [D, E], x: [B, D]) {\n"
  "  h = 0 * x\n"
  "  ys = repeat 40 as t {\n"
  "    h = tanh(dot(h, W, over: D)[E as D] + x)\n"
  "    yield h\n"
  "  }\n"
  "  return mean(ys^2, over: [t, B, D])\n"
  "}\n"
  "loss total = recurrence(W, normal([B: 64, D: 256]))\n"
  "scheme { stage fit: for 20 batches { step W minimizing total using gd(lr: 0.1) } }\n";

/* One group, of 65,536 numbers. */
static const char group[] =
  "let n = 20\n"
  "param W: [D: 256, E: 256] = normal(0, 0.05)\n"
  "optimizer gd(lr: real) { update param = param - lr * grad }\n"
  "loss total = mean(tanh(W)^2, over: [D, E])\n"
  "scheme { stage fit: for n batches { step W minimizing total using gd(lr: 0.1) } }\n";

static char *path_of(const char *name) {
  static char path[4][300];
  static int turn;
  char *p = path[turn++ % 4];
  (void)snprintf(p, sizeof path[0], "%s/%s", here.folder, name);
  return p;
}

static json_t *json_of(const char *command, int exit_code) {
  json_error_t err;
  FILE *f = popen(command, "r");
  assert_non_null(f);
  json_t *j = json_loadf(f, 0, &err);
  int status = pclose(f);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != exit_code) fail_msg("`%s` ended with %d", command, WEXITSTATUS(status));
  if (!j) fail_msg("`%s`: %s (line %d)", command, err.text, err.line);
  return j;
}

static json_t *item(const json_t *list, const char *name) {
  size_t i;
  json_t *v;
  json_array_foreach(list, i, v) if (strcmp(json_string_value(json_object_get(v, "name")), name) == 0) return v;
  fail_msg("no %s", name);
  return NULL;
}

static double number(const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  if (!json_is_number(v)) fail_msg("%s is no number", key);
  return json_number_value(v);
}
static const char *word(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

static double sum(const json_t *program_, const char *list, const char *key) {
  size_t i;
  double s = 0;
  json_t *v;
  json_array_foreach(json_object_get(program_, list), i, v) if (!word(v, "state") || strcmp(word(v, "state"), "dead") != 0) s += number(v, key);
  return s;
}

/* Operations of all kernels for the operator. */
static double flops_of(const json_t *program_, const char *op) {
  size_t i;
  double s = 0;
  json_t *v;
  json_array_foreach(json_object_get(program_, "kernels"), i, v) {
    const char *name = word(v, "name"), *last = strrchr(name, ' ');
    if (strcmp(last ? last + 1 : name, op) == 0) s += number(v, "flops");
  }
  return s;
}

static void near(double a, double b) { if (!(fabs(a - b) <= 1e-6 * fabs(b) + 1e-12)) fail_msg("%.12g is not %.12g", a, b); }

static void layer(const json_t *program_, const char *name, const char *state, double parameters, double least) {
  const json_t *l = item(json_object_get(program_, "layers"), name);
  assert_string_equal(word(l, "state"), state);
  near(number(l, "parameters"), parameters);
  if (number(l, "flops") < least) fail_msg("%s: %g operations", name, number(l, "flops"));
}

static void worked_out_by_hand(void **state) {
  (void)state;
  char command[700];
  (void)snprintf(command, sizeof command, "'%s' cost --json --depth 0 '%s'", kdc, path_of("cost.kd"));
  json_t *j = json_of(command, 0), *p = json_object_get(j, "programs");
  /* 8 rows: products forward 6 x 7 and 7 x 3; backward both weights, and one for what lies between them. */
  const json_t *warm = item(p, "warm.train.8"), *distil = item(p, "distil.train.8");
  near(flops_of(warm, "matmul"), 2 * 8 * (2 * 6 * 7 + 3 * 7 * 3));
  near(number(warm, "runs"), 12), near(number(warm, "rows"), 8), near(number(warm, "dead_flops"), 0);
  assert_string_equal(word(warm, "stage"), "warm");
  layer(warm, "T.first", "trained", 6 * 7 + 7, 2 * 2 * 8 * 6 * 7);
  layer(warm, "T.last", "trained", 7 * 3 + 3, 3 * 2 * 8 * 7 * 3);
  near(number(warm, "flops"), sum(warm, "kernels", "flops"));
  near(number(warm, "flops"), sum(warm, "layers", "flops"));
  near(number(warm, "bytes"), sum(warm, "layers", "bytes"));
  near(number(warm, "bytes"), sum(warm, "kinds", "bytes"));
  near(flops_of(warm, "matmul"), number(item(json_object_get(warm, "kinds"), "matrix products"), "flops"));
  near(number(warm, "flops"), sum(warm, "calls_in_order", "flops"));
  near(number(warm, "seconds"), sum(warm, "calls_in_order", "seconds") + sum(warm, "others", "seconds"));
  /* The tap is before the last layer: its product and its bias are dead, and so is the tanh. */
  near(flops_of(distil, "matmul"), 2 * 8 * 6 * 7 * 3);
  near(number(distil, "runs"), 18);
  layer(distil, "T.first", "frozen", 6 * 7 + 7, 2 * 8 * 6 * 7);
  layer(distil, "T.last", "dead", 7 * 3 + 3, 2 * 8 * 7 * 3);
  layer(distil, "S", "trained", 6 * 7 + 7, 2 * 2 * 8 * 6 * 7);
  near(number(distil, "dead_flops"), 2 * 8 * 7 * 3 + 8 * 3 + 8 * 7);
  const json_t *m = json_object_get(j, "memory");
  assert_true(number(m, "total") >= number(m, "kept") + number(m, "arena") && number(m, "kept") >= 4 * (2 * 49 + 24));
  json_decref(j);
}

static void folded_by_depth(void **state) {
  (void)state;
  char command[700];
  (void)snprintf(command, sizeof command, "'%s' cost --json --depth 1 '%s'", kdc, path_of("cost.kd"));
  json_t *j = json_of(command, 0);
  const json_t *distil = item(json_object_get(j, "programs"), "distil.train.8");
  size_t i, teacher = 0;
  json_t *v;
  json_array_foreach(json_object_get(distil, "layers"), i, v) {
    assert_null(strchr(word(v, "name"), '.'));
    teacher += strcmp(word(v, "name"), "T") == 0;
  }
  assert_int_equal(teacher, 2);                  /* what runs of it, and what is dead */
  json_decref(j);
}

static bool holds(const char *command, const char *const *part) {
  static char text[1 << 16];
  FILE *f = popen(command, "r");
  size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
  text[n] = 0;
  if (!f || pclose(f) != 0) return false;
  for (; *part; part++) if (!strstr(text, *part)) { print_message("`%s` does not say `%s`:\n%s\n", command, *part, text); return false; }
  return true;
}

static void for_people(void **state) {
  (void)state;
  char command[700];
  (void)snprintf(command, sizeof command, "'%s' cost '%s'", kdc, path_of("cost.kd"));
  assert_true(holds(command, (const char *const[]){ "stage distil: distil.train.8, 18 steps of 8 samples", "T.last   ", "dead ", "frozen ", "predicted: ", "memory: ", "never computed", NULL }));
  (void)snprintf(command, sizeof command, "'%s' profile --steps 4 '%s'", kdc, path_of("cost.kd"));
  assert_true(holds(command, (const char *const[]){ "distil.train.8, 4 measured steps of 8 samples", "the slowest calls", "of limit", "dispatch", "kernels take ", "  matrix products: ", "flop/s on average, ", NULL }));
  (void)snprintf(command, sizeof command, "'%s' profile --stage distill '%s' 2>&1 | grep -q 'no stage `distill`'", kdc, path_of("cost.kd"));
  assert_int_equal(system(command), 0);
}

/* Each measured step is accounted for: what the trace says of the machine leaves no gaps, and kernels lie within. */
static void profiled(void **state) {
  (void)state;
  char command[900];
  (void)snprintf(command, sizeof command, "'%s' profile --json --threads 1 --steps 5 --trace '%s' '%s'", kdc, path_of("trace.json"), path_of("loop.kd"));
  json_t *j = json_of(command, 0);
  const json_t *p = item(json_object_get(j, "programs"), "fit.train");
  near(number(p, "runs"), 5);
  near(number(p, "seconds"), sum(p, "kernels", "seconds") + sum(p, "others", "seconds"));
  near(sum(p, "kernels", "seconds"), sum(p, "layers", "seconds"));
  assert_true(number(p, "first") > 0 && number(p, "limit") > 0);
  double covered = sum(p, "kernels", "seconds") / number(p, "seconds");
  if (covered < 0.9) fail_msg("kernels are %.1f %% of a step", 100 * covered);
  near(flops_of(p, "matmul"), 2.0 * 64 * 256 * 256 * (40 + 40 + 40 + 40));        /* forward, once more for what turns begin with, and both gradients */
  json_decref(j);
  json_error_t err;
  json_t *t = json_load_file(path_of("trace.json"), 0, &err), *e;
  if (!t) fail_msg("the trace: %s", err.text);
  size_t i;
  double first = HUGE_VAL, last = 0, programs = 0, kernels = 0, seen = 0;
  json_array_foreach(json_object_get(t, "traceEvents"), i, e) {
    if (strcmp(word(e, "ph"), "X") != 0) { assert_string_equal(word(e, "ph"), "M"); continue; }
    double start = number(e, "ts"), took = number(e, "dur");
    assert_true(start >= 0 && took >= 0 && word(e, "name"));
    seen++;
    if (number(e, "tid") != 0) { kernels += took; continue; }
    programs += took;
    if (start < first) first = start;
    if (start + took > last) last = start + took;
  }
  assert_true(seen > 5 * 40 && kernels > 0);
  if (programs < 0.97 * (last - first)) fail_msg("%.1f %% of the time is accounted for", 100 * programs / (last - first));
  json_decref(t);
}

/* What a run of n steps takes by itself. */
static bool takes_native(int threads, long n, const char *more) {
  char command[700];
  (void)snprintf(command, sizeof command, "'%s' cost --json --threads %d --set n=%ld %s '%s'", kdc, threads, n, more, path_of("group.kd"));
  json_t *j = json_of(command, 0), *k;
  bool native = false, tiles = false;
  size_t i;
  json_array_foreach(json_object_get(item(json_object_get(j, "programs"), "fit.train"), "kernels"), i, k) {
    native |= strncmp(word(k, "name"), "group.jit", 9) == 0;
    tiles |= strncmp(word(k, "name"), "group.tile", 10) == 0;
  }
  json_decref(j);
  assert_true(native != tiles);
  return native;
}

/* Native code where it is there and the run is long enough to gain by it: on two threads twice as long as on one, since they share what is spared. */
static void native_by_length(void **state) {
  (void)state;
  char command[700];
  (void)snprintf(command, sizeof command, "'%s' info | grep -q '^native code: LLVM'", kdc);
  bool there = system(command) == 0;
  assert_false(takes_native(1, 20, ""));
  assert_true(takes_native(1, 100000000, "") == there);
  if (!there) return;
  long n[3] = { 0 };
  for (int threads = 1; threads < 3; threads++)
    for (n[threads] = 1024; !takes_native(threads, n[threads], "");) n[threads] *= 2;
  if (n[2] != 2 * n[1]) fail_msg("from %ld steps on one thread, from %ld on two", n[1], n[2]);
  for (int threads = 1; threads < 4; threads++)  /* the same bits, so the same code */
    if (takes_native(threads, n[1], "--deterministic") || !takes_native(threads, n[2], "--deterministic")) fail_msg("--deterministic, %d threads", threads);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  kdc = argv[1];
  here = toy_new();
  setenv("XDG_CACHE_HOME", path_of("cache"), 1);
  setenv("KD_DATA", here.folder, 1);
  FILE *f = fopen(path_of("loop.kd"), "w");
  if (!f || fputs(loop, f) < 0 || fclose(f) != 0) return 2;
  f = fopen(path_of("group.kd"), "w");
  if (!f || fputs(group, f) < 0 || fclose(f) != 0) return 2;
  f = fopen(path_of("cost.kd"), "w");
  if (!f || fputs(toy_definitions, f) < 0 || fputs(program, f) < 0 || fclose(f) != 0) return 2;
  const struct CMUnitTest tests[] = { cmocka_unit_test(worked_out_by_hand), cmocka_unit_test(folded_by_depth), cmocka_unit_test(for_people), cmocka_unit_test(profiled), cmocka_unit_test(native_by_length) };
  int bad = cmocka_run_group_tests(tests, NULL, NULL);
  toy_free(&here);
  return bad;
}
