/* json.c: writing JSON. */
#include "compiler/cli/cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s, which ends with a NUL; 0: it is none. */
static size_t sequence(const unsigned char *s) {
  size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  bool wrong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
  return wrong ? 0 : len;
}

void json_string(FILE *f, const char *s) {
  putc('"', f);
  while (*s) {
    size_t len = sequence((const unsigned char *)s);
    if (len == 0) fputs("\xef\xbf\xbd", f);
    else if (*s == '"' || *s == '\\') fprintf(f, "\\%c", *s);
    else if ((unsigned char)*s < 0x20 || *s == 0x7f) fprintf(f, "\\u%04x", (unsigned)*s);
    else fwrite(s, 1, len, f);
    s += len ? len : 1;
  }
  putc('"', f);
}

/* As short as it can be and still come back; what is not finite is a string, as in the run folder. */
void json_number(FILE *f, double v) {
  char text[40];
  if (!isfinite(v)) { fputs(isnan(v) ? "\"nan\"" : v > 0 ? "\"inf\"" : "\"-inf\"", f); return; }
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  fputs(text, f);
}

void json_values(FILE *f, const kd_named *v, size_t n) {
  putc('{', f);
  for (size_t i = 0; i < n; i++) {
    if (i) putc(',', f);
    json_string(f, v[i].name);
    putc(':', f);
    json_number(f, v[i].value);
  }
  putc('}', f);
}
