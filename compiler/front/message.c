/* message.c: what to say about a token that does not fit. */
#include "compiler/front/syntax.h"
#include "grammar/parser.h"

const char *kd__token_show(kd__parser *p, const kd__token *t) {
  int n = (int)(t->span.len < 40 ? t->span.len : 40);
  const char *s = p->src->text + t->span.at, *more = t->span.len > 40 ? "…" : "";
  while (n > 0 && n < (int)t->span.len && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
  switch (t->kind) {
    case END: return "end of the file";
    case SEP: return t->made ? "end of the line" : "`;`";
    case NAME: return kd__arena_printf(p->arena, "name `%.*s%s`", n, s, more);
    case NUMBER: return kd__arena_printf(p->arena, "number %.*s%s", n, s, more);
    case STRING: return kd__arena_printf(p->arena, "string %.*s%s", n, s, more);
    default: return t->made ? kd__arena_printf(p->arena, "`%s`", kd__token_name(t->kind)) : kd__arena_printf(p->arena, "`%.*s%s`", n, s, more);
  }
}

/* --- what could have come ------------------------------------------------------------------------------------------------------------ */
typedef struct wanted { const char *const *v; int n; } wanted;
static bool wants(const wanted *w, const char *name) {
  for (int i = 0; i < w->n; i++) if (strcmp(w->v[i], name) == 0) return true;
  return false;
}

static bool one_of(const char *s, const char *const *list) {
  for (; *list; list++) if (strcmp(s, *list) == 0) return true;
  return false;
}

static bool is_contextual(const char *s) {
  for (int k = IF; k <= STEPS; k++) if (strcmp(kd__word_of(k)->text, s) == 0) return kd__word_of(k)->class != KD__RESERVED;
  return false;
}

/* A short list: whole families of tokens by one name. */
static const char *expected(kd__parser *p, const wanted *w) {
  static const char *const operators[] = { "+", "-", "*", "/", "%", "^", "<", ">", "<=", ">=", "==", "!=", "..", "|>", "and", "or", "(", "[", ".", "with", "at", NULL };
  static const char *const values[] = { "a name", "a number", "a string", "true", "false", "none", "(", "[", "-", "not", "if", "fn", "for", "repeat", NULL };
  static const char *const never[] = { "end of the file", "invalid token", "error", "end of the statement", "?", NULL };
  bool trailers = wants(w, "(") && wants(w, "[") && wants(w, ".");
  bool operator = wants(w, "*"), value = wants(w, "a number") && wants(w, "a string"), name = wants(w, "a name"), statement = wants(w, "return") && wants(w, "use");
  const char *list[8];
  size_t n = 0, more = 0;
  if (statement) return "a statement";
  if (value) list[n++] = "a value";
  else if (name) list[n++] = "a name";
  for (int i = 0; i < w->n; i++) {
    const char *s = w->v[i];
    if ((value && one_of(s, values)) || (operator && one_of(s, operators)) || one_of(s, never) || strcmp(s, "a name") == 0) continue;
    if (name && is_contextual(s)) continue;
    if (trailers && ((*s == '(' && wants(w, "minimizing")) || *s == '[' || (*s == '.' && !s[1]))) continue;   /* could go on, but hardly is what is meant */
    if (n == 6) { more++; continue; }
    list[n++] = *s == 'a' && s[1] == ' ' ? s : kd__arena_printf(p->arena, "`%s`", s);
  }
  if (more) return NULL;
  if (wants(w, "end of the statement") && n < 6) list[n++] = "the end of the line";
  if (operator && n && n < 4) list[n++] = "an operator";
  const char *text = n ? list[0] : NULL;
  for (size_t i = 1; i < n; i++) text = kd__arena_printf(p->arena, "%s%s%s", text, i + 1 == n ? " or " : ", ", list[i]);
  return text;
}

/* --- faults that have a better message ------------------------------------------------------------------------------------------------ */
static bool comparison(int k) { return k == EQ || k == NE || k == '<' || k == '>' || k == LE || k == GE; }
static int innermost(const kd__parser *p, const kd__token *t) {
  uint32_t k = p->nopen - (kd__bracket_open(t->kind) ? 1 : 0);
  return k ? p->open[k - 1].kind : 0;
}

static bool special(kd__parser *p, const kd__token *t, const wanted *w) {
  int in = innermost(p, t);
  const kd__word *word = kd__word_of(t->kind);
  bool operator = wants(w, "*");
  kd_diag *d;
  if ((t->kind == '(' || t->kind == '[') && wants(w, "return")) {
    d = kd__syntax_report(p, KD_D_LINE_BEGIN, t->span, t->kind);
    kd__diag_help(p->sink, d, "end the line above with an operator, or open the bracket there");
  } else if (t->kind == ':' && in == '[' && operator) {
    d = kd__syntax_report(p, KD_D_SLICE, t->span);
    kd__diag_help(p->sink, d, "x[1..3], x[1..], x[..3]; `:` comes after an axis: x[T: 1..3]");
  } else if (t->kind == ',' && in == '(' && operator && wants(w, ")")) {
    d = kd__syntax_report(p, KD_D_TUPLE, t->span);
    kd__diag_help(p->sink, d, "a list is [a, b], a record is (first: a, second: b)");
  } else if (t->kind == ',' && p->first == RETURN && in != '(' && in != '[') {
    d = kd__syntax_report(p, KD_D_TUPLE, t->span);
    kd__diag_help(p->sink, d, "return a record, (first: a, second: b), or a list, [a, b]");
  } else if (t->kind == IF && operator) {
    d = kd__syntax_report(p, KD_D_SYNTAX, t->span, kd__token_show(p, t));
    kd__diag_help(p->sink, d, "a choice is written if c then a else b");
  } else if (p->first == FOR && p->nth > 2 && (t->kind == USING || t->kind == ON || t->kind == FOR) && wants(w, "{")) {
    d = kd__syntax_report(p, KD_D_SYNTAX, t->span, kd__token_show(p, t));
    kd__diag_help(p->sink, d, "a line that begins with `for` is a loop; the clause of a training stands on the line of the clause before it: on d for 3 epochs");
  } else if (comparison(t->kind) && wants(w, "and") && !wants(w, "==")) {
    d = kd__syntax_report(p, KD_D_CHAIN, t->span);
    kd__diag_help(p->sink, d, "write a < b and b < c");
  } else if (t->kind == '=' && operator) {
    d = kd__syntax_report(p, KD_D_EQUALS, t->span);
    kd__diag_help(p->sink, d, in == '(' ? "an argument is written name: value; equality is `==`" : "equality is `==`");
  } else if (word && word->class == KD__RESERVED && wants(w, "a name") && !wants(w, "a number")) {
    kd__syntax_report(p, KD_D_RESERVED, t->span, word->text);
  } else if (p->second == '(' && (p->first == REPORT || p->first == EVALUATE || p->first == REPEAT || p->first == EVERY) && wants(w, "(") && in != '(' && in != '[') {
    d = kd__syntax_report(p, KD_D_CALL_WORD, t->span, p->first_text);
    kd__diag_help(p->sink, d, "give it a name: let y = (a + b), then %s y", p->first_text);
  } else return false;
  return true;
}

void kd__refuse(kd__parser *p, const char *const *names, int n) {
  const kd__token *t = &p->now;
  wanted w = { names, n };
  p->panic = true;
  if (t->told || p->deep || p->calm) return;
  if (kd__sink_full(p->sink)) { kd__syntax_report(p, KD_D_SYNTAX, t->span, ""); return; }
  if (special(p, t, &w)) return;
  kd_diag *d = kd__syntax_report(p, KD_D_SYNTAX, t->span, kd__token_show(p, t));
  const char *e = expected(p, &w), *help = p->nth <= 2 ? kd__habit(p->first_text, true) : NULL;
  if (help) kd__diag_help(p->sink, d, "%s", help);
  else if (e) kd__diag_primary(p->sink, d, "expected %s", e);
}
