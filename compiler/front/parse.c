/* parse.c: a text through lexer, filter and grammar. */
#include "compiler/front/syntax.h"
#include "grammar/parser.h"

kd_diag *kd__syntax_report(kd__parser *p, kd_diag_code c, kd_span at, ...) {
  if (p->deep) return NULL;
  va_list ap;
  va_start(ap, at);
  kd_diag *d = kd__vreport(p->sink, c, at, ap);
  va_end(ap);
  return d;
}

/* --- texts that are none -------------------------------------------------------------------------------------------------------- */
/* Length of the valid UTF-8 sequence at s, 0 where there is none; s ends in a NUL byte. */
static size_t utf8_length(const unsigned char *s) {
  if (*s < 0x80) return 1;
  size_t len = *s >= 0xf0 && *s < 0xf5 ? 4 : *s >= 0xe0 && *s < 0xf0 ? 3 : *s >= 0xc2 && *s < 0xe0 ? 2 : 0;
  for (size_t i = 1; i < len; i++) if ((s[i] & 0xc0) != 0x80) return 0;
  if (len && ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) || (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))) return 0;
  return len;
}

bool kd__is_text(kd__parser *p) {
  const unsigned char *s = (const unsigned char *)p->src->text;
  const size_t n = p->src->size;
  const unsigned char *nul = memchr(s, 0, n);
  if (n >= 2 && ((s[0] == 0xff && s[1] == 0xfe) || (s[0] == 0xfe && s[1] == 0xff))) {
    kd_diag *d = kd__syntax_report(p, KD_D_ENCODING, (kd_span){ p->src, 0, 0 }, "UTF-16");
    kd__diag_help(p->sink, d, "save it as UTF-8");
    return false;
  }
  if (nul) {
    kd__syntax_report(p, KD_D_BINARY, (kd_span){ p->src, (uint32_t)(nul - s), 0 }, (long long)(nul - s));
    return false;
  }
  for (size_t i = 0, len; i < n; i += len) {
    len = utf8_length(s + i);
    if (len) continue;
    kd_diag *d = kd__syntax_report(p, KD_D_ENCODING, (kd_span){ p->src, (uint32_t)i, 1 }, kd__arena_printf(p->arena, "in another encoding than UTF-8 (byte 0x%02x)", s[i]));
    kd__diag_help(p->sink, d, "save it as UTF-8");
    return false;
  }
  return true;
}

/* --- the parser's driver --------------------------------------------------------------------------------------------------------- */
/* After a refused token: reads on to the end of what the grammar's `error` stands for, at bracket depth `depth`, and leaves the token
 * there in `t`. Inside ( ) and [ ] that is the closer; elsewhere a separator, the block's end or the beginning of one. */
static void resume(kd__parser *p, kd__token *t, uint32_t depth) {
  bool brackets = depth && (p->open[depth - 1].kind != '{' || p->open[depth - 1].record);
  for (;;) {
    if (!t->kind || p->nopen + 1 == depth) return;
    if (!brackets && ((p->nopen == depth && t->kind == SEP) || (p->nopen == depth + 1 && t->kind == '{' && !p->open[depth].record))) return;
    kd__filter(p, t);
  }
}

static void run(kd__parser *p, kd__state *s) {
  int status = KD__PUSH_MORE;
  kd__token t;
  for (kd__filter(p, &t); status == KD__PUSH_MORE; ) {
    uint32_t depth = p->nopen - (kd__bracket_open(t.kind) ? 1 : 0);
    p->now = t;
    p->panic = false;
    status = kd__push(s, p, &t);
    p->calm = p->panic ? 3 : t.kind == SEP || kd__bracket_close(t.kind) || !p->calm ? 0 : p->calm - 1;
    bool fits = t.kind == 0 || t.kind == SEP || kd__bracket_close(t.kind) || t.kind == '{';
    kd__filter(p, &t);
    if (p->panic && !fits) resume(p, &t, depth);
  }
  if (status != KD__PUSH_FULL) return;
  kd__syntax_report(p, KD_D_DEEP, p->now.span, (int)KD_NEST_MAX);
  p->deep = true;
}

static void stray_doc(kd__parser *p, uint32_t doc) {
  const kd_comment *c = &p->syntax->comment.v[doc];
  kd__syntax_report(p, KD_D_STRAY_DOC, (kd_span){ p->src, c->at, c->len });
}

static void stray_docs(kd__parser *p) {
  for (size_t i = 0; i < p->docs.n; i++) if (!p->docs.v[i].used) stray_doc(p, p->docs.v[i].doc);
  if (p->nahead && p->ahead[0].ndoc) stray_doc(p, p->ahead[0].doc);   /* before the end */
}

kd__parser *kd__parser_new(kd__arena *a, kd_sink *sink, const kd_source *src) {
  kd__parser *p = KD_NEW(a, kd__parser);
  p->arena = a; p->sink = sink; p->src = src;
  p->syntax = KD_NEW(a, kd_syntax);
  p->syntax->src = src;
  p->cursor = (const unsigned char *)src->text;
  p->limit = p->cursor + src->size;
  p->last.span = (kd_span){ src, 0, 0 };
  kd__map_init(&p->names, a);
  for (int k = IF; k <= STEPS; k++) {
    const kd__word *w = kd__word_of(k);
    *kd__map_at(&p->names, w->text) = (void *)(uintptr_t)w;
  }
  return p;
}

kd_syntax *kd__parse(kd__arena *a, kd_sink *sink, const kd_source *src) {
  kd__parser *p = kd__parser_new(a, sink, src);
  const size_t errors = sink->errors;
  if (kd__is_text(p)) {
    kd__oom here = { .armed = true }, *outer = a->oom;             /* the grammar's stack is not in the arena: free it on every way out */
    kd__state *volatile s = kd__state_new();
    bool failed = setjmp(here.jump) != 0;
    if (!failed && s) {
      a->oom = &here;
      run(p, s);
      stray_docs(p);
    }
    a->oom = outer;
    if (s) kd__state_free(s);
    if (outer && outer->armed && (failed || !s)) longjmp(outer->jump, 1);
    if (p->top && !p->top->n && sink->errors == errors) kd__syntax_report(p, KD_D_EMPTY, (kd_span){ src, 0, 0 });
  }
  if (!p->syntax->file) p->syntax->file = kd__node(p, KD_AST_FILE, (kd_span){ src, 0, (uint32_t)src->size }, p->top, 0);
  return p->syntax;
}
