/* The front end on any bytes: lexer, filter, grammar, the tree and the tokens as text, each diagnostic as text and as JSON. */
#include "compiler/front/ast.h"

/* Every span lies in the text, and what has a name has one. */
static void check(const kd_ast *n, const kd_source *src) {
  if (n->span.src != src || n->span.at > src->size || n->span.len > src->size - n->span.at) __builtin_trap();
  if ((n->kind == KD_AST_NAME || n->kind == KD_AST_BIND || n->kind == KD_AST_DEFINE || n->kind == KD_AST_PARAM || n->kind == KD_AST_FIELD) && !n->text) __builtin_trap();
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) check(n->kid[i], src);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
  kd__arena a;
  kd__oom oom = { .armed = true };
  kd__buf out = { 0 };
  kd__arena_init(&a, NULL, &oom);
  if (setjmp(oom.jump)) { kd__buf_free(&out); kd__arena_free(&a); return 0; }
  kd_sink sink;
  kd__sink_init(&sink, &a);
  const kd_source *src = kd__source_new(&a, "fuzz.kd", (const char *)p, n, 0);
  kd_syntax *syn = kd__parse(&a, &sink, src);
  if (!syn || !syn->file || syn->file->kind != KD_AST_FILE || syn->file->height > KD_NEST_MAX + 16) __builtin_trap();
  if (n && !sink.errors && !syn->file->n) __builtin_trap();       /* nothing understood, nothing said */
  check(syn->file, src);
  kd__ast_dump(syn->file, &out);
  kd__sink_finish(&sink);
  for (size_t i = 0; i < sink.diag.n; i++) {
    out.n = 0;
    kd__diag_text(sink.diag.v[i], i & 1, &out);
    kd__diag_json(sink.diag.v[i], &out);
  }
  kd__tokens_dump(&a, &sink, src, &out);
  kd__buf_free(&out);
  kd__arena_free(&a);
  return 0;
}
