/* source.c: source texts, their lines, spans. */
#include "compiler/front/source.h"

kd_source *kd__source_new(kd__arena *a, const char *path, const char *text, size_t n, uint32_t id) {
  kd_source *s = KD_NEW(a, kd_source);
  size_t lines = 1;
  for (const char *p = text, *end = text + n; n && (p = memchr(p, '\n', (size_t)(end - p))); p++) lines++;
  s->path = kd__arena_strndup(a, path, strlen(path));
  char *copy = kd__arena_strndup(a, text, n);
  s->text = copy;
  s->size = n;
  s->id = id;
  s->line = KD_NEWN(a, uint32_t, lines);
  s->nline = lines;
  size_t k = 1;
  for (size_t i = 0; i < n; i++) if (copy[i] == '\n') s->line[k++] = (uint32_t)i + 1;
  return s;
}

int kd__source_line(const kd_source *s, uint32_t at) {
  size_t lo = 0, hi = s->nline;
  while (hi - lo > 1) {
    size_t mid = (lo + hi) / 2;
    if (s->line[mid] <= at) lo = mid; else hi = mid;
  }
  return (int)lo + 1;
}

void kd__source_pos(const kd_source *s, uint32_t at, int *line, int *col) {
  if (at > s->size) at = (uint32_t)s->size;
  *line = kd__source_line(s, at);
  int c = 1;
  for (uint32_t i = s->line[*line - 1]; i < at; i++) c += ((unsigned char)s->text[i] & 0xc0) != 0x80;
  *col = c;
}

kd_span kd__span_join(kd_span a, kd_span b) {
  if (!a.src) return b;
  if (!b.src) return a;
  uint32_t from = a.at < b.at ? a.at : b.at, x = a.at + a.len, y = b.at + b.len;
  return (kd_span){ a.src, from, (x > y ? x : y) - from };
}
