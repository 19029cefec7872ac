/* test_embed.c: the example program runs, prints its report row, and says what is wrong.   usage: test_embed PROGRAM */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "tests/api/toy.h"

static const char *program;

static int run(const char *file, char *out, size_t n) {
  char *command;
  assert_true(asprintf(&command, "'%s' '%s' 2>&1", program, file) > 0);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  out[fread(out, 1, n - 1, f)] = 0;
  free(command);
  int status = pclose(f);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void the_example_runs(void **state) {
  toy t = toy_new();
  char out[4096], *path = toy_path(&t, "toy.kd");
  (void)state;
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(toy_program, f);
  fclose(f);
  assert_int_equal(run(path, out, sizeof out), 0);
  assert_non_null(strstr(out, "fit: epoch 3, loss "));
  assert_non_null(strstr(out, "right(z, toy.y) on toy.test: "));
  assert_non_null(strstr(out, "the first parameter is S."));
  assert_int_equal(run("/nonexistent.kd", out, sizeof out), 1);
  assert_non_null(strstr(out, "/nonexistent.kd: error: cannot read this file"));
  free(path);
  toy_free(&t);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(the_example_runs) };
  program = argc > 1 ? argv[1] : NULL;
  return program ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}
