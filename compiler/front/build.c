/* build.c: nodes of the tree, the limit of its height, documentation. */
#include "compiler/front/syntax.h"
#include "grammar/parser.h"

kd__list *kd__list_new(kd__parser *p, kd_ast *first) {
  kd__list *l = KD_NEW(p->arena, kd__list);
  return first ? kd__list_add(p, l, first) : l;
}

kd__list *kd__list_add(kd__parser *p, kd__list *l, kd_ast *n) { KD_PUSH(p->arena, *l, n); return l; }

/* Parts of statements and expressions, which their readers do not expect to be ERROR. */
static bool is_part(int kind) {
  switch (kind) {
    case KD_AST_FILE: case KD_AST_BLOCK: case KD_AST_USE_ITEM: case KD_AST_PARAMS: case KD_AST_PARAM: case KD_AST_CLAUSE: case KD_AST_MODELS: case KD_AST_SHOWN:
    case KD_AST_TYPE: case KD_AST_TYPE_ARGS: case KD_AST_TYPE_RECORD: case KD_AST_AXES: case KD_AST_AXIS: case KD_AST_ARG: case KD_AST_SUB: case KD_AST_VIEW:
    case KD_AST_COMP: case KD_AST_EXCEPT: case KD_AST_STREAM: case KD_AST_MASK: return true;
    default: return false;
  }
}

/* What would make the tree too high is left out, with one message for the whole text: whoever walks the tree may recurse. */
static kd_ast *limit(kd__parser *p, kd_ast *n) {
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i] && n->kid[i]->height >= n->height) n->height = n->kid[i]->height + 1;
  if (n->height <= KD_NEST_MAX || is_part(n->kind)) return n;
  kd_diag *d = p->deep ? NULL : kd__syntax_report(p, KD_D_DEEP, n->name.len ? n->name : n->span, (int)KD_NEST_MAX);
  if (d) kd__diag_help(p->sink, d, "give parts of it names: let part = ...");
  p->deep = true;
  *n = (kd_ast){ .kind = KD_AST_ERROR, .span = n->span, .height = 1 };
  return n;
}

static kd_ast *node(kd__parser *p, int kind, kd_span at, const kd__list *rest, int k, va_list ap) {
  kd_ast *n = KD_NEW(p->arena, kd_ast);
  n->kind = (uint16_t)kind;
  n->span = at;
  n->height = 1;
  size_t all = (size_t)k + (rest ? rest->n : 0);
  if (all) n->kid = KD_NEWN(p->arena, kd_ast *, all);
  for (int i = 0; i < k; i++) n->kid[i] = va_arg(ap, kd_ast *);
  if (rest && rest->n) memcpy(n->kid + k, rest->v, rest->n * sizeof *rest->v);
  while (all && !n->kid[all - 1]) all--;
  n->n = (uint32_t)all;
  return n;
}

kd_ast *kd__node(kd__parser *p, int kind, kd_span at, const kd__list *rest, int k, ...) {
  va_list ap;
  va_start(ap, k);
  kd_ast *n = node(p, kind, at, rest, k, ap);
  va_end(ap);
  return limit(p, n);
}

kd_ast *kd__named(kd__parser *p, int kind, kd_span at, kd_span name, const char *text, const char *text2, const kd__list *rest, int k, ...) {
  va_list ap;
  va_start(ap, k);
  kd_ast *n = node(p, kind, at, rest, k, ap);
  va_end(ap);
  n->name = name;
  n->text = text;
  n->text2 = text2;
  return limit(p, n);
}

kd_ast *kd__binary_node(kd__parser *p, kd_span at, kd_span sign, const char *op, kd_ast *a, kd_ast *b) {
  return kd__named(p, KD_AST_BINARY, at, sign, op, NULL, NULL, 2, a, b);
}

kd_ast *kd__attach(kd__parser *p, kd_span at, kd_ast *base, kd_ast *trailer) {
  trailer->span = at;
  if (trailer->kind == KD_AST_ERROR) return trailer;
  trailer->kid[0] = base;
  if (!trailer->n) trailer->n = 1;
  return limit(p, trailer);
}

kd_ast *kd__view(kd__parser *p, kd_span at, kd__list *sources, kd_ast *target, int flag) {
  if (target->kind == KD_AST_ERROR) return kd__node(p, KD_AST_ERROR, at, NULL, 0);
  kd_ast *n = kd__node(p, KD_AST_VIEW, at, kd__list_add(p, sources, target), 0);
  n->flag |= (uint16_t)flag;
  return n;
}

kd_ast *kd__number(kd__parser *p, kd_ast *n, double value) {
  (void)p;
  n->num = value;
  if (!strpbrk(n->text, ".eE")) n->flag |= KD_AST_INTEGER;
  return n;
}

kd__list *kd__list_before(kd__parser *p, kd_ast *first, kd__list *l) {
  kd__list *r = kd__list_new(p, first);
  for (size_t i = 0; i < l->n; i++) kd__list_add(p, r, l->v[i]);
  return r;
}

kd_ast *kd__stream(kd__parser *p, kd_span at, kd__list *names, kd_ast *expr) {
  if (names->n != 1) {
    kd__syntax_report(p, KD_D_STREAM_NAME, kd__span_join(names->v[0]->span, names->v[names->n - 1]->span));
    return kd__node(p, KD_AST_ERROR, at, NULL, 0);
  }
  const kd_ast *n = names->v[0];
  return kd__named(p, KD_AST_STREAM, at, n->span, n->text, NULL, NULL, 1, expr);
}

kd_ast *kd__with(kd__parser *p, kd_span at, kd_ast *base, const kd_ast *record) {
  kd__list fields = { 0 };
  for (uint32_t i = 0; i < record->n; i++) kd__list_add(p, &fields, record->kid[i]);
  return kd__node(p, KD_AST_WITH, at, &fields, 1, base);
}

kd_ast *kd__statement(kd__parser *p, kd_ast *expr) {
  if (expr->kind != KD_AST_CALL && expr->kind != KD_AST_ERROR) {
    kd_diag *d = kd__syntax_report(p, KD_D_NO_EFFECT, expr->span);
    const char *help = expr->kind == KD_AST_NAME ? kd__habit(expr->text, true) : NULL;
    if (d && help) {
      kd__diag_help(p->sink, d, "%s", help);
      return kd__node(p, KD_AST_ERROR, expr->span, NULL, 0);
    }
    if (d) kd__diag_help(p->sink, d, "a statement is a call or a binding: let y = %.*s", (int)(expr->span.len < 60 ? expr->span.len : 60), p->src->text + expr->span.at);
  }
  return kd__node(p, KD_AST_EXPR_STMT, expr->span, NULL, 1, expr);
}

/* --- documentation ---------------------------------------------------------------------------------------------------------------- */
static kd__doc_at *doc_before(kd__parser *p, uint32_t at) {
  size_t lo = 0, hi = p->docs.n;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (p->docs.v[mid].at < at) lo = mid + 1; else hi = mid;
  }
  return lo < p->docs.n && p->docs.v[lo].at == at ? &p->docs.v[lo] : NULL;
}

/* The lines without `///`, the space after it and what stands at their end. */
static const char *joined(kd__parser *p, const kd__doc_at *d) {
  const kd_comment *c = p->syntax->comment.v;
  size_t size = 1;
  uint32_t left = d->n;
  for (uint32_t i = d->doc; left; i++) if (c[i].doc) { size += c[i].len; left--; }
  char *s = kd__arena_get(p->arena, size), *o = s;
  left = d->n;
  for (uint32_t i = d->doc; left; i++) {
    if (!c[i].doc) continue;
    const char *from = p->src->text + c[i].at + 3, *end = p->src->text + c[i].at + c[i].len;
    if (from < end && *from == ' ') from++;
    while (end > from && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
    memcpy(o, from, (size_t)(end - from));
    o += end - from;
    if (--left) *o++ = '\n';
  }
  return s;
}

kd_ast *kd__document(kd__parser *p, kd_ast *n) {
  kd__doc_at *d = doc_before(p, n->span.at);
  if (!d || d->used) return n;
  d->used = true;
  n->doc = joined(p, d);
  return n;
}
