/* source.h: source texts, spans and line maps. */
#ifndef KD_SOURCE_H
#define KD_SOURCE_H
#include "runtime/base/base.h"

typedef struct kd_source {
  const char *path;                              /* as shown in messages: "examples/first.kd", "<stdlib>/losses.kd" */
  const char *text; size_t size;                 /* UTF-8; text[size] is 0 */
  uint32_t *line; size_t nline;                  /* byte offset of each line's start */
  uint32_t id;
} kd_source;
/* A range of bytes of one source. */
typedef struct kd_span { const kd_source *src; uint32_t at, len; } kd_span;

/* Copies text into the arena and maps its lines. Limits: KD_SOURCE_MAX bytes (larger sources are refused by the caller with a diagnostic). */
enum { KD_SOURCE_MAX = 16 << 20 };
kd_source *kd__source_new(kd__arena *a, const char *path, const char *text, size_t n, uint32_t id);
/* 1-based line and column (in bytes + 1 of code points) of an offset. */
void kd__source_pos(const kd_source *s, uint32_t at, int *line, int *col);
int kd__source_line(const kd_source *s, uint32_t at);   /* the line alone: its cost does not grow with the line's length */
kd_span kd__span_join(kd_span a, kd_span b);     /* from the first to the last byte of both (same source) */
#endif
