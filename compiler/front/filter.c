/* filter.c: between lexer and parser: which newlines end statements, and brackets that do not match (language-notes 2.1, 2.18).
 *
 * What leaves here has balanced brackets, separators only where a statement can end, and words after `.` as plain names. */
#include "compiler/front/syntax.h"
#include "grammar/parser.h"

static const kd__word words[] = {
#define KD_WORD(TOKEN, text, class) [TOKEN - IF] = { text, TOKEN, KD__##class },
#include "compiler/front/words.def"
#undef KD_WORD
};
const kd__word *kd__word_of(int kind) { return kind >= IF && kind <= STEPS ? &words[kind - IF] : NULL; }

static int class_of(int kind) { const kd__word *w = kd__word_of(kind); return w ? (int)w->class : 0; }
static bool is_name(int kind) { return kind == NAME || class_of(kind) > KD__RESERVED; }
bool kd__bracket_open(int kind) { return kind == '(' || kind == '[' || kind == '{'; }
bool kd__bracket_close(int kind) { return kind == ')' || kind == ']' || kind == '}'; }
static int closer(int open) { return open == '(' ? ')' : open == '[' ? ']' : '}'; }

/* --- reading ahead ------------------------------------------------------------------------------------------------------------ */
static kd__token *peek(kd__parser *p, uint32_t i) {
  while (p->nahead <= i) {
    kd__token *t = &p->ahead[p->nahead], *before = p->nahead ? t - 1 : &p->last;
    kd__lex(p, t);
    if (before->kind == '.' && t->text && class_of(t->kind)) t->kind = NAME;
    p->nahead++;
  }
  return &p->ahead[i];
}

static void skip(kd__parser *p) {
  if (p->ahead[0].ndoc && p->ahead[0].kind) KD_PUSH(p->arena, p->docs, (kd__doc_at){ p->ahead[0].span.at, p->ahead[0].doc, p->ahead[0].ndoc, false });
  p->nahead--;
  memmove(p->ahead, p->ahead + 1, p->nahead * sizeof *p->ahead);
}

/* --- newlines ------------------------------------------------------------------------------------------------------------------- */
static bool binary(int k) {
  switch (k) {
    case '+': case '-': case '*': case '/': case '%': case '^': case '<': case '>': case EQ: case NE: case LE: case GE: case DOTS: case PIPE: case AND: case OR: return true;
    default: return false;
  }
}

/* Whether a statement may end with token k. */
static bool may_end(int k) {
  if (binary(k) || k == 0 || k == SEP) return false;
  switch (k) {
    case ',': case '=': case ':': case '.': case ARROW: case '{': case '(': case '[': return false;
    case TRUE: case FALSE: case NONE: return true;
    default: return class_of(k) != KD__RESERVED;
  }
}

/* Whether the statement before goes on with the token ahead, although that begins a line. */
static bool goes_on(kd__parser *p) {
  int k = peek(p, 0)->kind;
  if (binary(k)) return true;
  switch (k) {
    case ')': case ']': case '}': case '{': case ',': case '=': case ':': case '.': case ARROW: case ELSE: case THEN: case AS: case IN: return true;
    case 0: return false;
    default: break;
  }
  if (class_of(k) != KD__CLAUSE) return false;
  int next = peek(p, 1)->kind;
  return next != '=' && next != '.' && next != '[' && next != ',' && next != ':';
}

/* --- brackets ------------------------------------------------------------------------------------------------------------------- */
static kd__open *top(kd__parser *p) { return p->nopen ? &p->open[p->nopen - 1] : NULL; }
static bool inside(kd__parser *p) { return p->nopen && (top(p)->kind != '{' || top(p)->record); }

/* Whether the line that begins with the token ahead can only be a statement: nothing in brackets begins so. */
static bool begins_statement(kd__parser *p) {
  int k = peek(p, 0)->kind, class = class_of(k), next;
  if (k == REPEAT && (p->last.kind == '(' || p->last.kind == ',' || p->last.kind == ':')) return false;   /* a loop as a value */
  if (k == LET || k == USE || k == RETURN) return true;
  if (k == FN) return is_name(peek(p, 1)->kind);
  if (class != KD__KIND && class != KD__BIND && class != KD__OWN && class != KD__STATEMENT) return false;
  if (k == SCHEME && peek(p, 1)->kind == '{') return true;
  if (!is_name(peek(p, 1)->kind)) return class == KD__STATEMENT && peek(p, 1)->kind == NUMBER;
  if (class == KD__STATEMENT) return true;
  next = peek(p, 2)->kind;
  return next == '(' || next == '=' || next == ':';
}

/* The column at which the line of `at` begins, in bytes. */
static uint32_t indent(kd__parser *p, uint32_t at) {
  uint32_t from = p->src->line[kd__source_line(p->src, at) - 1], i = from;
  while (i < at && i - from < 1000 && (p->src->text[i] == ' ' || p->src->text[i] == '\t')) i++;
  return i - from;
}

/* Indentation means nothing, but where a `}` is missing it shows which: the first block with a line that stands no further in than its
 * opener's line. */
static void suspect(kd__parser *p, const kd__token *t) {
  if (p->suspect.kind || !p->nopen || t->kind == '}' || top(p)->kind != '{' || indent(p, t->span.at) > top(p)->indent) return;
  p->suspect = *top(p);
  p->suspected = t->span;
}

static void unclosed_block(kd__parser *p) {
  const kd__open *o = p->suspect.kind ? &p->suspect : top(p);
  kd_diag *d = kd__syntax_report(p, KD_D_UNCLOSED, o->span, o->kind, kd__source_line(p->src, o->span.at));
  if (!d) return;
  kd__diag_primary(p->sink, d, "opened here");
  if (p->suspect.kind) kd__diag_label(p->sink, d, p->suspected, "going by the indentation, `}` is missing before this");
}

static void unclosed(kd__parser *p, const kd__open *o, const kd__token *t) {
  kd_diag *d = kd__syntax_report(p, KD_D_UNCLOSED, o->span, o->kind, kd__source_line(p->src, o->span.at));
  if (!d) return;
  kd__diag_primary(p->sink, d, "opened here");
  if (t->kind) kd__diag_label(p->sink, d, t->span, "`%c` should stand before this", closer(o->kind));
}

/* Closes what is open above the innermost block, or above entry `keep`. */
static void close_down(kd__parser *p, uint32_t keep) { p->nclose = p->nopen - keep; }
static void close_to_block(kd__parser *p) {
  uint32_t k = p->nopen;
  while (k && (p->open[k - 1].kind != '{' || p->open[k - 1].record)) k--;
  close_down(p, k);
}

/* A string without an end took the brackets that would have been closed on its line. */
static void close_line(kd__parser *p, const kd__token *string) {
  uint32_t k = p->nopen;
  int line = kd__source_line(p->src, string->span.at);
  while (k && (p->open[k - 1].kind != '{' || p->open[k - 1].record) && kd__source_line(p->src, p->open[k - 1].span.at) == line) k--;
  close_down(p, k);
}

/* A closer ahead: makes it fit what is open. */
static void fit_closer(kd__parser *p, kd__token *t) {
  uint32_t k = p->nopen;
  for (; k; k--) {
    const kd__open *o = &p->open[k - 1];
    if (closer(o->kind) == t->kind) break;
    if (o->kind == '{' && !o->record) { k = 0; break; }            /* a block is left by `}` alone */
  }
  if (k) {
    if (k < p->nopen) { unclosed(p, top(p), t); close_down(p, k); }
  } else if (inside(p) && t->kind != '}') {                        /* the wrong one of two keys */
    kd_diag *d = kd__syntax_report(p, KD_D_WRONG_CLOSER, t->span, t->kind, closer(top(p)->kind));
    if (d) kd__diag_label(p->sink, d, top(p)->span, "opened here");
    t->kind = closer(top(p)->kind);
  } else {
    kd__syntax_report(p, KD_D_STRAY_CLOSER, t->span, t->kind);
    t->kind = KD__YYUNDEF;
    t->told = true;
  }
}

/* An opener ahead: pushes it. Braces where a value stands are read as a record, so that what is in them is understood. */
static void open_bracket(kd__parser *p, kd__token *t) {
  kd__open o = { .kind = t->kind, .span = t->span, .indent = t->kind == '{' ? indent(p, t->span.at) : 0 };
  bool body = t->kind == '{' && inside(p) && top(p)->loop;
  if (body) top(p)->loop = false;
  if (!body && t->kind == '{' && (inside(p) || p->last.kind == '=')) {      /* in brackets only after what needs a value: see step */
    kd_diag *d = kd__syntax_report(p, KD_D_BRACES, t->span);
    o.record = inside(p) || (is_name(peek(p, 1)->kind) && peek(p, 2)->kind == ':') || peek(p, 1)->kind == '}';
    if (d) kd__diag_help(p->sink, d, o.record ? "a record is written (a: 1, b: 2)" : "a body in braces has no `=` before it");
    if (o.record) t->kind = '(';
    else t->told = true;
  }
  p->open[p->nopen++] = o;
}

static void too_deep(kd__parser *p, const kd__token *t) {
  kd__syntax_report(p, KD_D_DEEP, t->span, (int)KD_NEST_MAX);
  p->deep = true;
  p->cursor = p->limit;                          /* the rest is not read: its brackets could not be counted */
  p->nahead = 0;
  p->ndoc = 0;
  p->line = false;
}

/* --- the filter ------------------------------------------------------------------------------------------------------------------ */
static void make(kd__parser *p, kd__token *t, int kind) {
  uint32_t at = p->last.span.at + p->last.span.len;
  *t = (kd__token){ .kind = kind, .span = { p->src, at, 0 }, .made = true };
}

static void give(kd__parser *p, kd__token *t) {
  if (kd__bracket_close(t->kind)) p->nopen--;
  if (t->kind == SEP || t->kind == '{' || t->kind == '}') p->nth = 0;
  else if (p->nth++ == 0) { p->first = t->kind; p->first_text = t->text; p->second = 0; }
  else if (p->nth == 2) p->second = t->kind;
  p->last = *t;
}

/* After what is handed to the parser, a value begins: `for` and `repeat` here are loops, not parts of a comprehension. */
static bool begins_value(const kd__parser *p) {
  int k = p->last.kind;
  return k == '(' || k == '[' || k == ',' || k == ':' || k == '=' || binary(k) || k == THEN || k == ELSE;
}

/* Looks at the token ahead; true: t was given, or (nclose) closers are due first. */
static bool step(kd__parser *p, kd__token *t) {
  kd__token *r = peek(p, 0);
  if (p->last.cut && r->line && !p->last.made) { p->last.cut = false; close_line(p, &p->last); if (p->nclose) return false; }
  if (!r->kind) {
    if (p->nopen) {
      if (inside(p)) unclosed(p, top(p), r); else unclosed_block(p);
      close_down(p, 0);
      return false;
    }
    *t = *r;
    return true;
  }
  if (r->line) suspect(p, r);
  if (inside(p)) {
    bool labels = top(p)->kind == '(' && (p->last.kind == '(' || p->last.kind == ',');
    if (labels && r->text && class_of(r->kind) == KD__RESERVED && peek(p, 1)->kind == ':') r->kind = NAME;   /* stack(xs, as: m) */
    if (r->line && begins_statement(p)) { unclosed(p, top(p), r); close_to_block(p); return false; }
    if ((r->kind == FOR || r->kind == REPEAT) && begins_value(p)) top(p)->loop = true;
    if (r->kind == '{' && !top(p)->loop && p->last.kind != '(' && p->last.kind != '[' && p->last.kind != ',' && p->last.kind != ':' && p->last.kind != '=') {
      unclosed(p, top(p), r);
      close_to_block(p);
      r->told = true;                            /* a statement that has no block may be the bracket's fault */
      return false;
    }
  } else if (r->kind == SEP || (r->line && (may_end(p->last.kind) ? !goes_on(p) : p->last.kind != ':' && begins_statement(p)))) {
    bool written = r->kind == SEP, doubled = p->last.kind == SEP || p->last.kind == '{' || !p->last.kind;
    if (written && doubled) { skip(p); return false; }
    if (!doubled) {
      if (written) { *t = *r; skip(p); } else make(p, t, SEP);
      return true;
    }
  }
  if (kd__bracket_close(r->kind)) {
    fit_closer(p, r);
    if (p->nclose) return false;
  }
  if (kd__bracket_open(r->kind)) {
    if (p->nopen == KD_NEST_MAX) { too_deep(p, r); return false; }
    open_bracket(p, r);
  }
  *t = *r;
  if (kd__bracket_close(t->kind) && top(p)->record) t->kind = ')';
  skip(p);
  return true;
}

void kd__filter(kd__parser *p, kd__token *t) {
  for (;;) {
    if (p->nclose) {
      make(p, t, top(p)->record ? ')' : closer(top(p)->kind));
      t->told = true;
      p->nclose--;
      break;
    }
    if (step(p, t)) break;
  }
  give(p, t);
}
