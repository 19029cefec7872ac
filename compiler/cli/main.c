/* main.c: kdc, the command line. */
#include "compiler/cli/cli.h"
#include <string.h>

static int dispatch(const args *a) {
  static int (*const run[])(const args *) = { [CMD_RUN] = cmd_run, [CMD_CHECK] = cmd_check, [CMD_COMPILE] = cmd_compile, [CMD_COST] = cmd_cost,
                                              [CMD_PROFILE] = cmd_profile, [CMD_TUNE] = cmd_tune, [CMD_INFO] = cmd_info,
                                              [CMD_HELP] = cmd_help };
  return run[a->command](a);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("kdc %s\n", kd_version());
    return EXIT_DONE;
  }
  args a;
  int code = args_parse(argc, argv, &a) ? dispatch(&a) : EXIT_USAGE;
  args_free(&a);
  /* What was printed may not have arrived: a full disk, a closed pipe. */
  if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_DONE) {
    perror("kdc: standard output");
    code = EXIT_RUN;
  }
  return code;
}
