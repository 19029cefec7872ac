/* test_calc.c: the calculator against values worked out by hand, and the runner on programs whose expectations do not hold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/methods/calc.h"

static const char *runner;

static bool find(void *ctx, calc *c, const char *name, calc_array *out) {
  static const double x[] = { 3, 4, 0, 5 };
  (void)ctx;
  if (strcmp(name, "run:a.x[0]") != 0 && strcmp(name, "x") != 0) return false;
  *out = calc_new(c, 2, (const size_t[]){ 2, 2 });
  memcpy(out->v, x, sizeof x);
  return true;
}
static double stored(void *ctx, const char *file, const char *pattern) { (void)ctx; return strcmp(file, "S") == 0 && strcmp(pattern, "*.w") == 0 ? 3 : -1; }

static void holds(void **state) {
  static const char *const text[] = {
    "1 + 2 * 3 ^ 2 == 19", "(1 + 2) / 4 == 0.75", "-2 * 3 == -6", "8 - 4 - 2 == 2", "0 < 0.5 <= 0.5 < 1", "1 != 2", "0.1 + 0.2 ~ 0.3", "x[0] == [3, 4]", "x[0..1] == x[0]",
    "`run:a.x[0]`[1][1] == 5", "norms(x) == 5", "sums(x) == [7, 5]", "sum(x) == 12", "mean(x) == 3", "max(x) == 5", "min(x) == 0", "size(x) == 4",
    "distinct([3, 1, 3]) == 2", "argmax(x) == 1", "unit(x) ~ x / 5", "sums(softmax(x)) ~ 1", "softmax([0, log(3)]) ~ [0.25, 0.75]", "log_softmax(x) ~ log(softmax(x))", "logsumexp(log([1, 3])) ~ log(4)", "column(logsumexp(x)) ~ x - log_softmax(x)",
    "dot(x, [1, 2]) == [11, 10]", "dot(x, x)[0] == [25, 20]", "onehot([1, 0], 2) == 1 - onehot([0, 1], 2)", "x - column([3, 0])[0..1] != 9", "flat(x) == [3, 4, 0, 5]",
    "found(x, x[1..2]) == 1", "join(x, column([7, 8]))[1] == [0, 5, 8]", "join([1], [2]) == [1, 2]", "turned(join(x, x))[3] == [4, 5]", "sums(turned(x)) == [3, 9]", "rows([1, 2, 3, 4], 2)[1] == [3, 4]", "lerp(2, 4, 0.25) == 2.5", "abs(0 - 2) + sqrt(9) + exp(0) + log(1) + relu(-1) + round(0.6) == 7", "stored(\"S\", \"*.w\") == 3",
    "x + [1, 0] != x", "x / column([1, 5]) == lerp(x, x / column([1, 5]), 1)",
  };
  calc c = { .find = find, .stored = stored, .tolerance = 1e-9 };
  (void)state;
  for (size_t i = 0; i < sizeof text / sizeof *text; i++)
    if (!calc_holds(&c, text[i])) fail_msg("%s: %s", text[i], c.why);
  calc_free(&c);
}

static void does_not_hold(void **state) {
  static const char *const text[][2] = {
    { "1 == 2", "1 == 2" }, { "x < 5", "1 of 4" }, { "x == x + [0, 1]", "2 of 4" }, { "1 < 2 < 2", "2 < 2" }, { "1 ~ 1.00001", "gap" }, { "x != x", "4 of 4" },
    { "0 / 0 == 0 / 0", "nan" }, { "x", "nothing is compared" }, { "1 == 1 1", "too much" }, { "y == 1", "no `y`" }, { "f(1) == 1", "no function `f`" },
    { "lerp(1) == 1", "3 arguments" }, { "x == [1, 2, 3]", "do not meet" }, { "dot(x, [1, 2, 3]) == 1", "rows of" }, { "x[2] == 1", "not within" }, { "(1 == 1", "missing" },
    { "stored(\"T\", \"*\") == 0", "no file T" }, { "x[1..1] == 1", "nothing to compare" }, { "== 1", "a value is missing" }, { "found(x, [1]) == 1", "rows of" }, { "join(x, [1]) == 1", "rows" }, { "turned([1]) == 1", "two axes" }, { "rows(x, 3) == 1", "no rows" },
  };
  calc c = { .find = find, .stored = stored, .tolerance = 1e-9 };
  (void)state;
  for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
    if (calc_holds(&c, text[i][0])) fail_msg("%s holds", text[i][0]);
    if (!strstr(c.why, text[i][1])) fail_msg("%s: %s", text[i][0], c.why);
  }
  calc_free(&c);
}

/* What the runner says of a program with these lines, and its exit code. */
static int outcome(const char *flags, const char *lines, char *said, size_t n) {
  char file[] = "/tmp/kd-method-XXXXXX", command[600];
  int fd = mkstemp(file);
  assert_true(fd >= 0);
  FILE *f = fdopen(fd, "w");
  assert_non_null(f);
  fprintf(f, "use data.digits, nets.mlp, optim.sgd, losses.cross_entropy\nlet rate = 0.1\ndata d = digits(batch: 1497)\nstudent S = mlp(hidden: [4], classes: 10)\n"
             "scheme { stage fit: train S minimizing cross_entropy(S(d.image), d.label) on d for 2 epochs using sgd(lr: rate) }\n"
             "report accuracy: accuracy(S(d.image), d.label) on d.test\n%s", lines);
  assert_int_equal(fclose(f), 0);
  snprintf(command, sizeof command, "'%s' %s %s 2>&1", runner, flags, file);
  FILE *p = popen(command, "r");
  assert_non_null(p);
  size_t got = fread(said, 1, n - 1, p);
  said[got] = 0;
  int code = pclose(p);
  (void)remove(file);
  return code;
}

static void runner_tells(void **state) {
  static const char start[] = "// variant start: fit.epochs=0\n// variant still: rate=0\n// variant other: `hidden: [4]` -> `hidden: [5]`\n";
  static const struct { const char *lines, *said; } bad[] = {
    { "", "a program that only runs" }, { "// expect: accuracy > 2\n", ":7: accuracy > 2" }, { "// variant a: rate=0\n// expect: 1 == 1\n", "no expectation names" },
    { "// variant a: rat=0\n// expect: a:accuracy > 0\n", "no setting" }, { "// variant a: `abc` -> `d`\n// expect: a:accuracy > 0\n", "not in the program" },
    { "// variant a: `hidden` -> `hiden`\n// expect: a:accuracy > 0\n", "hiden" }, { "// expect: S.lodgits.weight == 0\n", "there is no" }, { "// variant\n", "only runs" }, { "// let a = 1 2\n// expect: a == 1\n", "too much" },
    { "// let a = 1\n", "only runs" }, { "// precision: single\n// expect: accuracy == 1/3\n", "1 of 1" }, { "// let a = b\n// let b = a\n// expect: a == 1\n", "there is no" },
    { "// variant a\n// expect: 1 == 1\n", "// variant NAME: ITEMS" },
    { "// expect: 1 == 1\n", "no longer run" }, { "// expect: 1 == 1\n// accuracy: all; accuracy > 0;\n", "no // baseline:" },
    { "// expect: 1 == 1\n// baseline: all; ;\n", "accuracy: is missing" }, { "// expect: 1 == 1\n// accuracy: all; accuracy;\n// baseline: b; ;\n", "FIGURE > FLOOR" },
    { "// expect: 1 == 1\n// accuracy: all; acuracy > 0;\n// baseline: b; ; rate=0\n", "no such figure" },
    { "// expect: 1 == 1\n// accuracy: all; accuracy > 0;\n// baseline: b; ; rat=0\n", "no setting" },
  };
  char said[4000], lines[2000];
  (void)state;
  snprintf(lines, sizeof lines, "%s// expect: accuracy >= 0\n// expect: S.* != start:S.*\n// expect: still:S.* == start:S.*\n// expect: size(other:S.logits.weight) == 50\n"
                                "// let drop = a - b\n// let a = fit.loss[0]\n// let b = fit.loss[1]\n// expect: drop > 0\n// expect: size(fit.loss) == 2\n// expect: fit.loss[1] < fit.loss[0]\n// expect: still:fit.loss[1] ~ fit.loss[0]\n"
                                "// accuracy: all; accuracy > 0; fit.epochs=1\n// baseline: none; ; fit.epochs=0\n", start);
  if (outcome("", lines, said, sizeof said)) fail_msg("%s", said);
  assert_non_null(strstr(said, "4 runs, 8 expectations hold"));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (!outcome("", bad[i].lines, said, sizeof said)) fail_msg("%s passes", bad[i].lines);
    if (!strstr(said, bad[i].said)) fail_msg("%s: %s", bad[i].lines, said);
  }
}

/* The longer runs: a line of the table, in which figures are as their settings say, and a floor that is missed. */
static void longer_runs(void **state) {
  static const char base[] = "// baseline: none; ; rate=0\n";
  char said[4000], lines[400];
  double without, with, difference, error;
  (void)state;
  snprintf(lines, sizeof lines, "// accuracy: all; accuracy > 0.3; rate=0.5, fit.epochs=200\n%s", base);
  if (outcome("--accuracy 2", lines, said, sizeof said)) fail_msg("%s", said);
  const char *at = strstr(said, "\tall\tnone\t");
  assert_non_null(at);
  assert_int_equal(sscanf(at + 10, "%lf\t%lf\t%lf\t%lf\t> 0.3\t", &without, &with, &difference, &error), 4);
  assert_true(without < 0.25 && with > 0.3 && error < 0.3);
  assert_true(difference - (with - without) < 0.002 && with - without - difference < 0.002);
  snprintf(lines, sizeof lines, "// accuracy: all; accuracy > 0.3; fit.epochs=0\n%s", base);
  assert_int_not_equal(outcome("--accuracy 2", lines, said, sizeof said), 0);
  assert_non_null(strstr(said, "should be > 0.3"));
  snprintf(lines, sizeof lines, "// accuracy: all; accuracy < 1;\n// baseline: the same; accuracy;\n");
  if (outcome("--accuracy 2", lines, said, sizeof said)) fail_msg("%s", said);
  assert_non_null(strstr(said, "\t+0.000\t0.000\t< 1\t"));
  assert_int_not_equal(outcome("--accuracy 1", lines, said, sizeof said), 0);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(holds), cmocka_unit_test(does_not_hold), cmocka_unit_test(runner_tells), cmocka_unit_test(longer_runs) };
  runner = argc > 1 ? argv[1] : "method_run";
  return cmocka_run_group_tests(tests, NULL, NULL);
}
