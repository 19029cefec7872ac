/* ast.h: the syntax tree: one node shape, kinds in ast.def; every node has a span; comments are kept beside it. */
#ifndef KD_AST_H
#define KD_AST_H
#include "compiler/front/diag.h"

typedef enum kd_ast_kind {
#define KD_AST(KIND, name, kids) KD_AST_##KIND,
#include "compiler/front/ast.def"
#undef KD_AST
  KD_AST_KIND_COUNT
} kd_ast_kind;
enum { KD_AST_OPTIONAL = 1, KD_AST_REST_AXIS = 2, KD_AST_INTEGER = 4, KD_AST_MERGE = 8, KD_AST_PAREN = 16 };

typedef struct kd_ast {
  uint16_t kind, flag;
  uint32_t n;
  kd_span span;
  kd_span name;                                  /* where `text` stands, for carets under the name alone */
  const char *text, *text2;
  double num;                                    /* a NUMBER's value; a STRING's length in bytes, as it may hold NUL */
  const char *doc;                               /* joined `///` lines before a DEFINE, BIND or PARAM; NULL when none */
  struct kd_ast **kid;                           /* absent optional kids are NULL; those at the end are not counted in n, but may be read */
  uint32_t height;                               /* of the tree from here down, 1 for a leaf; at most KD_NEST_MAX for expressions and statements */
} kd_ast;

typedef struct kd_comment { uint32_t at, len; bool doc; } kd_comment;
typedef struct kd_syntax { const kd_source *src; kd_ast *file; KD_VEC(kd_comment) comment; } kd_syntax;

/* Lexes and parses one source; reports to the sink and returns the tree of what could be understood (never NULL). Nesting deeper
 * than KD_NEST_MAX brackets or nodes is one diagnostic, not a crash, so whoever walks the tree may recurse. */
enum { KD_NEST_MAX = 1000 };
kd_syntax *kd__parse(kd__arena *a, kd_sink *sink, const kd_source *src);
void kd__ast_dump(const kd_ast *n, kd__buf *out);                  /* indented, one node a line, with spans as line:col-line:col */
void kd__tokens_dump(kd__arena *a, kd_sink *sink, const kd_source *src, kd__buf *out);  /* one token a line */
const char *kd__ast_kind_name(kd_ast_kind k);
#endif
