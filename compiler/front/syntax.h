/* syntax.h: the inside of the front end: tokens, the state of one parse, builders of nodes. Private to grammar/ and compiler/front/.
 *
 * text -> kd__lex (lexer.re) -> kd__filter (filter.c: newlines, brackets) -> kd__push (parser.y) -> nodes (build.c). All state is in
 * one kd__parser; what it hands out lives in its arena. */
#ifndef KD_SYNTAX_H
#define KD_SYNTAX_H
#include "compiler/front/ast.h"

/* kind: the parser's token number, 0 at the end of the text. line: the first on its line. made: put in by the filter. told: what is
 * wrong with it was already reported, so the parser says nothing more. */
typedef struct kd__token {
  int kind; kd_span span;
  const char *text; double num;                  /* names and strings: text; numbers: text as written and value */
  uint32_t doc, ndoc;                            /* `///` lines right before it: a range of kd_syntax.comment */
  bool line, made, told, cut;                    /* cut: a string without an end, which took the rest of its line */
} kd__token;
typedef struct kd__word { const char *text; int kind; enum { KD__RESERVED = 1, KD__KIND, KD__BIND, KD__OWN, KD__STATEMENT, KD__CLAUSE, KD__UNIT, KD__PLAIN } class; } kd__word;
const kd__word *kd__word_of(int kind);           /* NULL: not a word */

typedef KD_VEC(kd_ast *) kd__list;
typedef struct kd__open { int kind; kd_span span; bool record, loop; uint32_t indent; } kd__open;   /* record: a `{` that stands for `(`, already reported; loop: a loop begins in it, a block may follow */
typedef struct kd__doc_at { uint32_t at, doc, n; bool used; } kd__doc_at;

typedef struct kd__parser {
  kd__arena *arena; kd_sink *sink; const kd_source *src;
  kd_syntax *syntax;
  kd__map names;                                 /* every name once; the words' values are their rows */
  /* lexer */
  const unsigned char *cursor, *limit;
  bool line;                                     /* a newline was passed since the last token */
  uint32_t doc, ndoc;
  bool endless;                                  /* the rest of the text has no end of a block comment */
  /* filter */
  kd__token ahead[4]; uint32_t nahead;
  kd__token last;                                /* handed to the parser last */
  kd__open open[KD_NEST_MAX + 1]; uint32_t nopen, nclose;   /* open brackets; how many of them are being closed */
  kd__open suspect; kd_span suspected;           /* a block that seems to lack its `}`, and the line that says so; kind 0: none */
  int first, second; const char *first_text; uint32_t nth; /* the statement's first two tokens, for messages */
  bool deep;                                     /* TOO_DEEP was reported: the rest is not judged */
  /* parser */
  kd__list *top;                                 /* the file's statements so far */
  KD_VEC(kd__doc_at) docs;
  kd__token now;                                 /* the token being pushed */
  bool panic;                                    /* it was refused */
  int calm;                                      /* tokens after a fault for which further ones are not reported */
} kd__parser;

kd__parser *kd__parser_new(kd__arena *a, kd_sink *sink, const kd_source *src);
bool kd__is_text(kd__parser *p);                                 /* false after one diagnostic: there is nothing to be read */
void kd__lex(kd__parser *p, kd__token *t);                       /* raw tokens; reports what is no token */
void kd__filter(kd__parser *p, kd__token *t);                    /* tokens as the grammar wants them; for ever END after the end */
bool kd__bracket_open(int kind);
bool kd__bracket_close(int kind);
const char *kd__token_show(kd__parser *p, const kd__token *t);   /* for messages: "name `x`", "`(`", "end of the file" */
kd_diag *kd__syntax_report(kd__parser *p, kd_diag_code c, kd_span at, ...);   /* kd__report, unless the rest is not judged */

/* --- parser.y: a push parser, so that running out of memory can leave it and free it --- */
typedef struct kd__yypstate kd__state;
kd__state *kd__state_new(void);
void kd__state_free(kd__state *s);
enum { KD__PUSH_MORE, KD__PUSH_DONE, KD__PUSH_GIVEN_UP, KD__PUSH_FULL };
int kd__push(kd__state *s, kd__parser *p, const kd__token *t);   /* FULL: the grammar's stack has reached its limit */
/* message.c: says what is wrong with p->now, given what could have come. */
void kd__refuse(kd__parser *p, const char *const *expected, int n);
const char *kd__token_name(int kind);                            /* as in the grammar: "(", "a name" */

/* --- build.c: nodes. A tree higher than KD_NEST_MAX is one diagnostic and an ERROR node in its place. --- */
#define KD__NIL ((kd_ast *)NULL)
kd__list *kd__list_new(kd__parser *p, kd_ast *first);            /* first may be NULL: empty */
kd__list *kd__list_add(kd__parser *p, kd__list *l, kd_ast *n);
/* k leading kids (NULL allowed), then those of the list (NULL: none). Trailing NULL kids are not counted in n, but may be read. */
kd_ast *kd__node(kd__parser *p, int kind, kd_span at, const kd__list *rest, int k, ...);
kd_ast *kd__named(kd__parser *p, int kind, kd_span at, kd_span name, const char *text, const char *text2, const kd__list *rest, int k, ...);
kd_ast *kd__binary_node(kd__parser *p, kd_span at, kd_span sign, const char *op, kd_ast *a, kd_ast *b);
kd_ast *kd__attach(kd__parser *p, kd_span at, kd_ast *base, kd_ast *trailer);   /* a call, index or field, made without its first kid */
kd_ast *kd__view(kd__parser *p, kd_span at, kd__list *sources, kd_ast *target, int flag);
kd_ast *kd__stream(kd__parser *p, kd_span at, kd__list *names, kd_ast *expr);   /* `name in expr` of a loop over several streams */
kd__list *kd__list_before(kd__parser *p, kd_ast *first, kd__list *l);
kd_ast *kd__with(kd__parser *p, kd_span at, kd_ast *base, const kd_ast *record);
kd_ast *kd__number(kd__parser *p, kd_ast *n, double value);
kd_ast *kd__statement(kd__parser *p, kd_ast *expr);              /* an expression as a statement: must be a call */
kd_ast *kd__document(kd__parser *p, kd_ast *n);                  /* attaches the `///` lines before it */
#endif
