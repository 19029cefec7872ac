/* help.c: what the tables say, as text. */
#include "compiler/cli/cli.h"
#include <string.h>

static bool has_options(command c) {
  for (int i = 0; i < OPT_COUNT; i++)
    if (cli_options[i].commands & 1u << c) return true;
  return false;
}

void help_usage(FILE *f, command c) {
  const command_info *i = &cli_commands[c];
  fprintf(f, "usage: kdc %s%s%s%s\n", i->name, has_options(c) ? " [OPTIONS]" : "", i->arguments[0] ? " " : "", i->arguments);
}

static void option_line(const option_info *o) {
  char left[64];
  const char *value = o->kind == NUMBER ? "N" : o->value;
  snprintf(left, sizeof left, "%s%s%s", o->name, o->kind == FLAG ? "" : "=", o->kind == FLAG ? "" : value);
  printf("  %-28s %s\n", left, o->text);
}

static void one(command c) {
  const command_info *i = &cli_commands[c];
  help_usage(stdout, c);
  printf("\n%c%s.\n%s", i->summary[0] - 'a' + 'A', i->summary + 1, i->text);
  if (c == CMD_COMPILE) {
    const char *name;
    for (size_t k = 0; (name = kd_dump_stage(k)); k++) printf("%s%s", k ? " " : "  ", name);
    putchar('\n');
  }
  if (has_options(c)) puts("\noptions:");
  for (int k = 0; k < OPT_COUNT; k++)
    if (cli_options[k].commands & 1u << c) option_line(&cli_options[k]);
}

static void all(void) {
  printf("kdc %s: a compiler, runtime and language for knowledge distillation\n\n", kd_version());
  for (int i = 0; i < CMD_COUNT; i++) {
    char left[64];
    snprintf(left, sizeof left, "%s %s", cli_commands[i].name, cli_commands[i].arguments);
    printf("  kdc %-20s %s\n", left, cli_commands[i].summary);
  }
  puts("\n`kdc help COMMAND` tells all about one command.\n\n"
       "environment:\n"
       "  KD_DATA          folders with data files, separated by colons; after these come the program's folder, its `data`, /usr/share/datasets\n"
       "  XDG_CACHE_HOME   where decoded copies of data are kept, in the subfolder kdc (default: ~/.cache)\n"
       "  NO_COLOR         no colours in messages\n\n"
       "exit codes:\n"
       "  0  done\n"
       "  1  the program is wrong\n"
       "  2  usage: an option, a command, or a FILE that cannot be read\n"
       "  3  the run failed or was interrupted: missing data, disk full, a loss that is not finite");
}

int cmd_help(const args *a) {
  if (a->nfile == 0) { all(); return EXIT_DONE; }
  const char *names[CMD_COUNT];
  for (int i = 0; i < CMD_COUNT; i++) {
    names[i] = cli_commands[i].name;
    if (strcmp(a->file[0], names[i]) == 0) { one((command)i); return EXIT_DONE; }
  }
  const char *near = nearest(a->file[0], names, CMD_COUNT);
  fprintf(stderr, "kdc: there is no command `%s`%s%s%s\n", a->file[0], near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
  return EXIT_USAGE;
}
