/* hint.c: what messages propose: where the library has a name, what other languages' words are here, how a value of the wrong kind is made a right one. */
#include "compiler/elaborate/elab.h"

/* Whether a module's text defines the name: a line WORD NAME(... or WORD NAME =. */
static bool defines(const char *text, const char *name) {
  static const char *const words[] = { "fn", "net", "loss", "metric", "optimizer", "scheme", "data", "transform" };
  size_t n = strlen(name);
  for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
      size_t k = strlen(words[i]);
      if (strncmp(line, words[i], k) == 0 && line[k] == ' ' && strncmp(line + k + 1, name, n) == 0 && (line[k + 1 + n] == '(' || line[k + 1 + n] == ' ')) return true;
    }
  return false;
}

/* `use` of the library's module that defines the name; NULL: none does. */
static const char *in_library(elab *e, const char *name, const kd_source *near) {
  size_t size;
  const char *shown, *all = e->opt->load ? e->opt->load(e->opt->load_ctx, "?", near, &size, &shown) : NULL;
  for (const char *line = all; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
    size_t n = strcspn(line, "\n");
    char *path = kd__arena_strndup(e->a, line, n), *last;
    for (char *p = path; *p; p++) if (*p == '.') *p = '/';
    const char *text = n ? e->opt->load(e->opt->load_ctx, path, near, &size, &shown) : NULL;
    if (!text || !defines(text, name)) continue;
    for (char *p = path; *p; p++) if (*p == '/') *p = '.';
    last = strrchr(path, '.');
    return strcmp(last ? last + 1 : path, name) == 0 ? path : kd__arena_printf(e->a, "%s.%s", path, name);
  }
  return NULL;
}

bool kd__hint_name(elab *e, kd_diag *d, const char *name, const kd_source *near) {
  const char *path = in_library(e, name, near), *help = kd__habit(name, false);
  if (path) kd__diag_help(e->sink, d, "the library has it: use %s", path);
  else if (help) kd__diag_help(e->sink, d, "%s", help);
  return path || help;
}

bool kd__hint_field(elab *e, kd_diag *d, const char *name, const kd_ast *of) {
  const char *help = kd__habit(name, false);
  bool function = kd__builtin_find(name) || (e->prelude && e->prelude->scope && kd__scope_here(e->prelude->scope, name));
  if (help) kd__diag_help(e->sink, d, "%s", help);
  else if (function) kd__diag_help(e->sink, d, "it is a function: %s(%.*s)", name, (int)(of->span.len < 40 ? of->span.len : 1), of->span.len < 40 ? of->span.src->text + of->span.at : "x");
  return help || function;
}

static const char *field_list(elab *e, const kd_dataset *d, const char *of) {
  kd__buf b = { 0 };
  const kd_split *s = d->nsplit ? &d->split[0] : NULL;
  for (uint32_t i = 0; s && i < s->nfield && i < 8; i++) kd__buf_printf(&b, "%s%s.%s", b.n ? ", " : "", of, s->field[i].name);
  return b.n ? kd__buf_keep(&b, e->a) : NULL;
}

void kd__hint_value(elab *e, kd_diag *d, const val *v, const kd_ast *at) {
  int len = (int)at->span.len;
  const char *text = at->span.src ? at->span.src->text + at->span.at : "";
  bool name = at->kind == KD_AST_NAME;
  const char *list = NULL;
  if (v->kind == V_DATA) list = field_list(e, &e->data.v[v->u.data].d, name ? at->text : "D");
  if (v->kind == V_BATCH) list = field_list(e, &e->data.v[v->u.batch->data].d, name ? at->text : "batch");
  if (list) kd__diag_help(e->sink, d, "take one of its fields: %s", list);
  else if (v->kind == V_RECORD && v->u.rec.n) kd__diag_help(e->sink, d, "take one of its fields: %.*s.%s", name ? len : 1, name ? text : "r", v->u.rec.key[0]);
  else if (v->kind == V_LIST && v->u.list.n) kd__diag_help(e->sink, d, "take one of its items, such as %.*s[0], or join them: stack(..., as: m), concat(..., over: K)", name ? len : 2, name ? text : "xs");
  else if (v->kind == V_NONE) kd__diag_help(e->sink, d, "a body without `return` gives none, and so does an argument that was left out");
}
