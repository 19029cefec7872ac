/* tables.c: writes docs/reference.md, all of it from the tables that the code itself is made from.   usage: tables > docs/reference.md */
#include "compiler/front/diag.h"
#include "runtime/op/op.h"
#include <stdio.h>

/* Text in a Markdown table. */
static void cell(const char *s) {
  for (; *s; s++) {
    if (*s == '|') (void)fputs("\\|", stdout);
    else if (*s == '*' || *s == '_') (void)printf("\\%c", *s);
    else (void)putchar(*s);
  }
}

static void row(const char *code, const char *a, const char *b) {
  (void)printf("| `%s` | ", code);
  cell(a);
  if (b) { (void)fputs(" | ", stdout); cell(b); }
  (void)fputs(" |\n", stdout);
}

static void head(const char *title, const char *text, const char *columns, int n) {
  (void)printf("\n## %s\n\n%s\n\n%s\n", title, text, columns);
  for (int i = 0; i < n; i++) (void)fputs("| --- ", stdout);
  (void)fputs("|\n", stdout);
}

static void builtins(void) {
  head("Built-in functions", "What the language knows without its library. `?` marks what may be left out; `@` an axis, a list of axes or a shape.",
       "| function | parameters | value |", 3);
#define KD_BUILTIN(name, fn, op, sig, doc) row(#name, sig, doc);
#include "compiler/elaborate/builtins.def"
#undef KD_BUILTIN
}

static void ambients(void) {
  head("Run-time scalars", "Names that every formula may read. `training` is one more: true or false, decided before the run.", "| name | value |", 2);
#define KD_AMBIENT(ID, name, doc) if (KD_AMBIENT_SHOWN(ID)) row(name, doc, NULL);
#define KD_AMBIENT_SHOWN(ID) (#ID[0] != 'K')
#include "runtime/exec/ambient.def"
#undef KD_AMBIENT
#undef KD_AMBIENT_SHOWN
}

static void operators(void) {
  static const char *const cls[] = { "leaf", "element-wise", "reduction", "normalisation", "contraction", "view", "movement", "opaque", "random" };
  static const char *const times[] = { "no", "once", "yes" };
  head("Operators of the graph", "Rows of `runtime/op/ops.def`. Differentiable: `yes` is any number of times.",
       "| operator | class | operands | results | differentiable | meaning |", 6);
  for (int i = 0; i < KD_OP_COUNT; i++) {
    const kd_op_info *o = kd__op_info((kd_op)i);
    (void)printf("| `%s", o->name);
    for (int k = 0; k < o->nattr; k++) (void)printf("%s%s", k ? ", " : " {", o->attr[k].name);
    (void)printf("%s` | %s | ", o->nattr ? "}" : "", cls[o->cls]);
    if (o->nin == -1) (void)printf("1 or more");
    else if (o->nin == -2) (void)printf("1 or 2");
    else if (o->nin == -3) (void)printf("any");
    else (void)printf("%d", o->nin);
    if (o->nout < 0) (void)printf(" | any | %s | ", times[o->diff]);
    else (void)printf(" | %d | %s | ", o->nout, times[o->diff]);
    cell(o->doc);
    (void)printf(" |\n");
  }
}

static void costs(void) {
  head("What operators cost", "Rows of `runtime/cost/work.def`, for `kdc cost` and `kdc profile`: floating-point operations for each of what is counted, and the bytes that count.",
       "| operator | counted | operations | bytes |", 4);
#define KD_WORK(OP, counted, flops, slots, touched) (void)printf("| `%s` | %s | %d | %s |\n", kd__op_info(KD_OP_##OP)->name, #counted, flops, #touched);
#include "runtime/cost/work.def"
#undef KD_WORK
}

static void passes(void) {
  head("Passes", "In the order of the pipeline; `kdc compile --dump=NAME FILE` prints the graph after one.", "| pass | what it does |", 2);
#define KD_PASS(name, requires, breaks, doc) row(#name, doc, NULL);
#include "compiler/pass/passes.def"
#undef KD_PASS
}

static void instructions(void) {
  head("Instructions of a scheme", "What a scheme is compiled to; `kdc compile --dump=code FILE` prints it.", "| instruction | what it does |", 2);
#define KD_CODE(ID, a, b, c, doc) row(#ID, doc, NULL);
#include "runtime/exec/code.def"
#undef KD_CODE
}

static void formats(void) {
  head("File formats", "Of data sets.", "| format | content |", 2);
#define KD_FORMAT(id, name, header, read, doc) row(name, doc, NULL);
#include "runtime/files/formats.def"
#undef KD_FORMAT
}

static void diagnostics(void) {
  static const char *const severity[] = { [KD_ERROR] = "error", [KD_WARNING] = "warning", [KD_NOTE] = "note" };
  head("Diagnostics", "`%…` stands for names, numbers and shapes of the program at hand.", "| code | | text |", 3);
#define KD_DIAG(ID, sev, code, text) row(code, severity[sev], text);
#include "compiler/front/diag.def"
#undef KD_DIAG
#define KD_SAY(ID, sev, code, text) row(code, severity[sev], text);
#include "compiler/api/messages.def"
#undef KD_SAY
}

int main(void) {
  (void)puts("# Reference\n\nMade from the tables in the source by `tests/docs/tables.c`; a test fails where they differ. The commands' options are in `kdc help`.");
  builtins();
  ambients();
  passes();
  operators();
  costs();
  instructions();
  formats();
  diagnostics();
  return ferror(stdout) != 0;
}
