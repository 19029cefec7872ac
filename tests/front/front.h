/* front.h: a text through the front end, for tests. */
#ifndef KD_TEST_FRONT_H
#define KD_TEST_FRONT_H
#include "compiler/front/ast.h"
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

typedef struct front { kd__arena arena; kd__oom oom; kd_sink sink; const kd_source *src; kd_syntax *syn; kd__buf out; } front;

static inline void front_begin(front *f, const char *path, const char *text, size_t n) {
  memset(f, 0, sizeof *f);
  kd__arena_init(&f->arena, NULL, &f->oom);
  kd__sink_init(&f->sink, &f->arena);
  f->src = kd__source_new(&f->arena, path, text, n, 1);
}
static inline void front_parse(front *f, const char *text) {
  front_begin(f, "test.kd", text, strlen(text));
  f->syn = kd__parse(&f->arena, &f->sink, f->src);
  kd__sink_finish(&f->sink);
}
static inline void front_end(front *f) { kd__buf_free(&f->out); kd__arena_free(&f->arena); }

static inline const char *front_diags(front *f) {
  f->out.n = 0;
  kd__buf_puts(&f->out, "");
  for (size_t i = 0; i < f->sink.diag.n; i++) kd__diag_text(f->sink.diag.v[i], false, &f->out);
  return f->out.p;
}
static inline bool front_has(const front *f, const char *code) {
  for (size_t i = 0; i < f->sink.diag.n; i++) if (strcmp(kd__diag_code_name(f->sink.diag.v[i]->code), code) == 0) return true;
  return false;
}
#endif
