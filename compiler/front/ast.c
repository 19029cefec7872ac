/* ast.c: node kinds by name, the tree as text. */
#include "compiler/front/ast.h"

static const char *const kind_name[] = {
#define KD_AST(KIND, name, kids) name,
#include "compiler/front/ast.def"
#undef KD_AST
};
static const char *const kind_kids[] = {
#define KD_AST(KIND, name, kids) kids,
#include "compiler/front/ast.def"
#undef KD_AST
};
const char *kd__ast_kind_name(kd_ast_kind k) { return (unsigned)k < KD_AST_KIND_COUNT ? kind_name[k] : "unknown"; }

/* The role of kid i as ast.def words it: "cond", "type", "stmt". */
static void role(kd__buf *out, kd_ast_kind k, uint32_t i) {
  const char *s = kind_kids[k], *last = s;
  for (; *s && i; i--) {
    last = s;
    while (*s && *s != ' ') s++;
    if (*s) s++;
  }
  if (!*s) s = last;                             /* the last one is repeated */
  const char *end = s;
  while (*end && *end != ' ' && *end != '?' && *end != '*') end++;
  kd__buf_add(out, s, (size_t)(end - s));
}

static void dump(const kd_ast *n, const char *of, uint32_t index, kd_ast_kind up, int depth, kd__buf *out) {
  for (int i = 0; i < depth; i++) kd__buf_puts(out, "  ");
  if (of) { role(out, up, index); kd__buf_puts(out, ": "); }
  kd__buf_puts(out, kd__ast_kind_name((kd_ast_kind)n->kind));
  if (n->kind == KD_AST_STRING) { kd__buf_putc(out, ' '); kd__buf_json(out, n->text, (size_t)n->num); }
  else if (n->text) kd__buf_printf(out, " `%s`", n->text);
  if (n->text2) kd__buf_printf(out, " (%s)", n->text2);
  static const struct { int bit; const char *name; } flags[] = {
    { KD_AST_OPTIONAL, "optional" }, { KD_AST_REST_AXIS, "rest" }, { KD_AST_INTEGER, "integer" }, { KD_AST_MERGE, "merge" }, { KD_AST_PAREN, "paren" } };
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) if (n->flag & flags[i].bit) kd__buf_printf(out, " %s", flags[i].name);
  if (n->span.src) {
    int line, col;
    kd__source_pos(n->span.src, n->span.at, &line, &col);
    kd__buf_printf(out, "  %d:%d", line, col);
    kd__source_pos(n->span.src, n->span.at + n->span.len, &line, &col);
    kd__buf_printf(out, "-%d:%d", line, col);
  }
  if (n->doc) { kd__buf_puts(out, "  doc "); kd__buf_json(out, n->doc, strlen(n->doc)); }
  kd__buf_putc(out, '\n');
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) dump(n->kid[i], "", i, (kd_ast_kind)n->kind, depth + 1, out);
}

void kd__ast_dump(const kd_ast *n, kd__buf *out) { dump(n, NULL, 0, KD_AST_FILE, 0, out); }
