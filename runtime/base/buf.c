/* buf.c: growable text, JSON strings. */
#include "runtime/base/base.h"
#include <stdio.h>
#include <stdlib.h>

static bool reserve(kd__buf *b, size_t more) {
  if (b->failed) return false;
  if (b->n + more + 1 <= b->cap) return true;
  size_t cap = b->cap ? b->cap : 256;
  while (cap < b->n + more + 1) cap *= 2;
  char *p = realloc(b->p, cap);
  if (!p) { b->failed = true; return false; }
  b->p = p; b->cap = cap;
  return true;
}

void kd__buf_add(kd__buf *b, const void *s, size_t n) {
  if (!reserve(b, n)) return;
  if (n) memcpy(b->p + b->n, s, n);
  b->n += n;
  b->p[b->n] = 0;
}

void kd__buf_puts(kd__buf *b, const char *s) { kd__buf_add(b, s, strlen(s)); }
void kd__buf_putc(kd__buf *b, char c) { kd__buf_add(b, &c, 1); }

void kd__buf_printf(kd__buf *b, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n >= 0 && reserve(b, (size_t)n)) {
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
  }
  va_end(again);
  va_end(ap);
}

void kd__buf_free(kd__buf *b) { free(b->p); *b = (kd__buf){ 0 }; }

/* Length of the valid UTF-8 sequence at s, 0 where there is none. */
static size_t utf8_len(const unsigned char *s, size_t n) {
  if (s[0] < 0x80) return 1;
  size_t len = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
  if (len == 0 || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
  return len;
}

void kd__buf_json(kd__buf *b, const char *s, size_t n) {
  kd__buf_putc(b, '"');
  for (size_t i = 0; i < n;) {
    unsigned char c = (unsigned char)s[i];
    size_t len = utf8_len((const unsigned char *)s + i, n - i);
    if (len == 0) { kd__buf_puts(b, "\xef\xbf\xbd"); i++; continue; }
    if (c == '"' || c == '\\') { kd__buf_putc(b, '\\'); kd__buf_putc(b, (char)c); }
    else if (c == '\n') kd__buf_puts(b, "\\n");
    else if (c == '\t') kd__buf_puts(b, "\\t");
    else if (c < 0x20 || c == 0x7f) kd__buf_printf(b, "\\u%04x", c);
    else kd__buf_add(b, s + i, len);
    i += len;
  }
  kd__buf_putc(b, '"');
}
