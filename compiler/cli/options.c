/* options.c: the command line taken apart by the tables. */
#include "compiler/cli/cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const command_info cli_commands[] = {
#define KD_COMMAND(ID, name, arguments, least, most, summary, text) { name, arguments, least, most, summary, text },
#include "compiler/cli/commands.def"
#undef KD_COMMAND
};
const option_info cli_options[] = {
#define KD_OPTION(ID, name, kind, value, commands, text) { name, kind, value, commands, text },
#include "compiler/cli/options.def"
#undef KD_OPTION
};

/* --- did you mean ----------------------------------------------------------------------------------------------------------- */
static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Letters to add, drop or change; names longer than a row are far from everything. */
static size_t distance(const char *a, const char *b) {
  enum { ROW = 64 };
  size_t row[ROW], n = strlen(b);
  if (n >= ROW || strlen(a) >= ROW) return ROW;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 0; a[i]; i++) {
    size_t corner = row[0];
    row[0] = i + 1;
    for (size_t j = 1; j <= n; j++) {
      size_t change = corner + (a[i] != b[j - 1]);
      corner = row[j];
      row[j] = least(change, least(row[j], row[j - 1]) + 1);
    }
  }
  return row[n];
}

const char *nearest(const char *name, const char *const *names, size_t n) {
  size_t best = strlen(name) < 5 ? 3 : 4;        /* nearer than this */
  const char *found = NULL;
  for (size_t i = 0; i < n; i++) {
    size_t d = distance(name, names[i]);
    if (d < best) { best = d; found = names[i]; }
  }
  return found;
}

/* --- commands ------------------------------------------------------------------------------------------------------------------ */
static bool unknown_command(const char *name) {
  const char *names[CMD_COUNT];
  for (int i = 0; i < CMD_COUNT; i++) names[i] = cli_commands[i].name;
  const char *near = nearest(name, names, CMD_COUNT);
  size_t len = strlen(name);
  fprintf(stderr, "kdc: there is no command `%s`", name);
  if (near) fprintf(stderr, "; did you mean `%s`?\n", near);
  else if (len > 3 && strcmp(name + len - 3, ".kd") == 0) fprintf(stderr, "; did you mean `kdc run %s`?\n", name);
  else fputs("; `kdc help` lists them\n", stderr);
  return false;
}

static bool find_command(const char *name, command *out) {
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
  for (int i = 0; i < CMD_COUNT; i++)
    if (strcmp(name, cli_commands[i].name) == 0) { *out = (command)i; return true; }
  return unknown_command(name);
}

/* The folder has the program and its settings. */
static bool resume_alone(const args *a) {
  if (a->nfile) { fprintf(stderr, "kdc: --resume takes no FILE (here `%s`): the program is in the run folder\n", a->file[0]); return false; }
  for (int i = 0; i < OPT_COUNT; i++)
    if (a->given[i].n && !(cli_options[i].commands & WITH_RESUME)) {
      fprintf(stderr, "kdc: %s cannot be given with --resume: the run goes on with what it was begun with\n", cli_options[i].name);
      return false;
    }
  return true;
}

static bool count_files(const args *a) {
  if (a->given[OPT_RESUME].n) return resume_alone(a);
  const command_info *c = &cli_commands[a->command];
  size_t n = a->nfile;
  if (n >= (size_t)c->least && (c->most < 0 || n <= (size_t)c->most)) return true;
  if (n < (size_t)c->least) fprintf(stderr, "kdc: `kdc %s` needs %s\n", c->name, c->arguments);
  else fprintf(stderr, "kdc: `%s` is one argument too many for `kdc %s`\n", a->file[c->most], c->name);
  help_usage(stderr, a->command);
  return false;
}

/* --- options --------------------------------------------------------------------------------------------------------------------- */
static bool unknown_option(const args *a, const char *name, size_t len) {
  const char *names[OPT_COUNT];
  char *own = strndup(name, len);
  size_t n = 0;
  for (int i = 0; i < OPT_COUNT; i++)
    if (cli_options[i].commands & 1u << a->command) names[n++] = cli_options[i].name;
  const char *near = own ? nearest(own, names, n) : NULL;
  fprintf(stderr, "kdc: `kdc %s` has no option `%.*s`", cli_commands[a->command].name, (int)len, name);
  if (near) fprintf(stderr, "; did you mean `%s`?\n", near);
  else fprintf(stderr, "; `kdc help %s` lists them\n", cli_commands[a->command].name);
  free(own);
  return false;
}

/* All commands with an option of that name: there may be several rows. */
static bool foreign_option(const args *a, const option_info *o) {
  fprintf(stderr, "kdc: `kdc %s` has no option `%s`; it belongs to", cli_commands[a->command].name, o->name);
  bool first = true;
  for (int i = 0; i < CMD_COUNT; i++)
    for (int k = 0; k < OPT_COUNT; k++)
      if (strcmp(cli_options[k].name, o->name) == 0 && cli_options[k].commands & 1u << i) { fprintf(stderr, "%s `kdc %s`", first ? "" : ",", cli_commands[i].name); first = false; }
  putc('\n', stderr);
  return false;
}

static bool is_number(const char *s, const char *limit) {
  char *end;
  errno = 0;
  if (s[0] < '0' || s[0] > '9') return false;
  unsigned long long v = strtoull(s, &end, 10);
  return !*end && errno == 0 && v <= strtoull(limit, NULL, 10);
}

/* "512M" in bytes; 0: it is no size. */
static int64_t size_of(const char *s) {
  char *end = NULL;
  errno = 0;
  unsigned long long v = s[0] >= '0' && s[0] <= '9' ? strtoull(s, &end, 10) : 0;
  int shift = v == 0 || errno ? 0 : *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
  if (v == 0 || errno || end[shift > 0] || v > (unsigned long long)INT64_MAX >> shift) return 0;
  return (int64_t)(v << shift);
}

static int choice_of(const char *choices, const char *s) {
  size_t len = strlen(s);
  for (int i = 0; *choices; i++) {
    size_t n = strcspn(choices, "|");
    if (n == len && strncmp(choices, s, n) == 0) return i;
    choices += n + (choices[n] == '|');
  }
  return -1;
}

static bool fits(const option_info *o, const char *v) {
  switch (o->kind) {
    case NUMBER:
      if (is_number(v, o->value)) return true;
      fprintf(stderr, "kdc: %s takes a whole number from 0 to %s, not `%s`\n", o->name, o->value, v);
      return false;
    case SIZE:
      if (size_of(v) > 0) return true;
      fprintf(stderr, "kdc: %s takes a size such as 200000, 512M or 2G, not `%s`\n", o->name, v);
      return false;
    case CHOICE:
      if (choice_of(o->value, v) >= 0) return true;
      fprintf(stderr, "kdc: %s is one of %s, not `%s`\n", o->name, o->value, v);
      return false;
    case SETTING:
      if (strchr(v, '=') && v[0] != '=') return true;
      fprintf(stderr, "kdc: %s takes %s, not `%s`\n", o->name, o->value, v);
      return false;
    default:
      if (*v) return true;
      fprintf(stderr, "kdc: %s has an empty value\n", o->name);
      return false;
  }
}

static bool add_text(const char ***v, size_t *n, const char *s) {
  const char **more = realloc(*v, (*n + 1) * sizeof *more);
  if (!more) { fputs("kdc: out of memory\n", stderr); return false; }
  *v = more;
  more[(*n)++] = s;
  return true;
}

/* One option at argv[*i]; its value may be the next argument. */
static bool take_option(args *a, int argc, char **argv, int *i) {
  const char *s = argv[*i];
  size_t len = strcspn(s, "=");
  const option_info *foreign = NULL;
  for (int k = 0; k < OPT_COUNT; k++) {
    const option_info *o = &cli_options[k];
    if (strlen(o->name) != len || strncmp(o->name, s, len) != 0) continue;
    if (!(o->commands & 1u << a->command)) { foreign = o; continue; }
    const char *v = s[len] ? s + len + 1 : NULL;
    if (o->kind == FLAG && v) { fprintf(stderr, "kdc: %s takes no value\n", o->name); return false; }
    if (o->kind == FLAG) v = "";
    else if (!v && *i + 1 < argc) v = argv[++*i];
    if (!v) { fprintf(stderr, "kdc: %s needs a value: %s=%s\n", o->name, o->name, o->kind == NUMBER ? "N" : o->value); return false; }
    return (o->kind == FLAG || fits(o, v)) && add_text(&a->given[k].v, &a->given[k].n, v);
  }
  return foreign ? foreign_option(a, foreign) : unknown_option(a, s, len);
}

bool args_parse(int argc, char **argv, args *out) {
  *out = (args){ .command = CMD_HELP };
  if (argc < 2) { fputs("kdc: a command is missing; `kdc help` lists them\n", stderr); return false; }
  if (!find_command(argv[1], &out->command)) return false;
  bool options = true, ok = true;
  for (int i = 2; i < argc && ok; i++) {
    const char *s = argv[i];
    if (options && (strcmp(s, "--help") == 0 || strcmp(s, "-h") == 0)) {
      args_free(out);
      command c = out->command;
      *out = (args){ .command = CMD_HELP };
      return c == CMD_HELP || add_text(&out->file, &out->nfile, cli_commands[c].name);
    }
    if (options && strcmp(s, "--") == 0) options = false;
    else if (options && s[0] == '-' && s[1]) ok = take_option(out, argc, argv, &i);
    else ok = add_text(&out->file, &out->nfile, s);
  }
  return ok && count_files(out);
}

void args_free(args *a) {
  free(a->file);
  a->file = NULL;
  for (int i = 0; i < OPT_COUNT; i++) {
    free(a->given[i].v);
    a->given[i].v = NULL;
  }
}

bool args_flag(const args *a, option o) { return a->given[o].n > 0; }
const char *args_text(const args *a, option o) { return a->given[o].n ? a->given[o].v[a->given[o].n - 1] : NULL; }
uint64_t args_number(const args *a, option o, uint64_t otherwise) { return a->given[o].n ? strtoull(args_text(a, o), NULL, 10) : otherwise; }
int64_t args_size(const args *a, option o) { return a->given[o].n ? size_of(args_text(a, o)) : 0; }
int args_choice(const args *a, option o) { return a->given[o].n ? choice_of(cli_options[o].value, args_text(a, o)) : 0; }
