/* tokens.c: the tokens that the parser gets, one a line. */
#include "compiler/front/syntax.h"
#include "grammar/parser.h"

static void one(const kd__token *t, kd__buf *out) {
  int line, col;
  kd__source_pos(t->span.src, t->span.at, &line, &col);
  kd__buf_printf(out, "%d:%d ", line, col);
  switch (t->kind) {
    case NAME: kd__buf_printf(out, "name %s", t->text); break;
    case NUMBER: kd__buf_printf(out, "number %s", t->text); break;
    case STRING: kd__buf_puts(out, "string "); kd__buf_json(out, t->text, (size_t)t->num); break;
    case SEP: kd__buf_puts(out, t->made ? "newline" : ";"); break;
    case END: kd__buf_puts(out, "end"); break;
    default: kd__buf_puts(out, kd__token_name(t->kind)); break;
  }
  if (t->made && t->kind != SEP) kd__buf_puts(out, " (made)");
  kd__buf_putc(out, '\n');
}

static void comments(const kd__parser *p, size_t from, kd__buf *out) {
  for (size_t i = from; i < p->syntax->comment.n; i++) {
    const kd_comment *c = &p->syntax->comment.v[i];
    int line, col;
    kd__source_pos(p->src, c->at, &line, &col);
    kd__buf_printf(out, "%d:%d %s ", line, col, c->doc ? "doc" : "comment");
    kd__buf_json(out, p->src->text + c->at, c->len);
    kd__buf_putc(out, '\n');
  }
}

void kd__tokens_dump(kd__arena *a, kd_sink *sink, const kd_source *src, kd__buf *out) {
  kd__parser *p = kd__parser_new(a, sink, src);
  kd__token t = { .kind = SEP };
  if (!kd__is_text(p)) return;
  while (t.kind) { kd__filter(p, &t); one(&t, out); }
  comments(p, 0, out);
}
