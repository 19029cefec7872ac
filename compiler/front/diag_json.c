/* diag_json.c: a diagnostic for programs: one JSON object. Lines and columns count from 1, columns in code points. */
#include "compiler/front/diag.h"

static void text(kd__buf *out, const char *key, const char *s) {
  kd__buf_printf(out, "\"%s\":", key);
  kd__buf_json(out, s, strlen(s));
}

/* "file":..,"line":..,"column":..,"end_line":..,"end_column":.. ; nothing without a source. */
static bool place(kd__buf *out, kd_span at) {
  int line, col;
  if (!at.src) return false;
  text(out, "file", at.src->path);
  kd__source_pos(at.src, at.at, &line, &col);
  kd__buf_printf(out, ",\"line\":%d,\"column\":%d", line, col);
  kd__source_pos(at.src, at.at + at.len, &line, &col);
  kd__buf_printf(out, ",\"end_line\":%d,\"end_column\":%d", line, col);
  return true;
}

void kd__diag_json(const kd_diag *d, kd__buf *out) {
  kd__buf_putc(out, '{');
  text(out, "severity", d->severity == KD_ERROR ? "error" : d->severity == KD_WARNING ? "warning" : "note");
  kd__buf_putc(out, ',');
  text(out, "code", kd__diag_code_name(d->code));
  kd__buf_putc(out, ',');
  text(out, "message", d->message);
  if (d->nlabel && d->label[0].span.src) { kd__buf_putc(out, ','); place(out, d->label[0].span); }
  kd__buf_puts(out, ",\"labels\":[");
  for (size_t i = 0; i < d->nlabel; i++) {
    kd__buf_puts(out, i ? ",{" : "{");
    if (place(out, d->label[i].span)) kd__buf_putc(out, ',');
    text(out, "text", d->label[i].text ? d->label[i].text : "");
    kd__buf_putc(out, '}');
  }
  kd__buf_puts(out, "],\"calls\":[");
  for (size_t i = 0; i < d->nframe; i++) {
    kd__buf_puts(out, i ? ",{" : "{");
    if (place(out, d->frame[i].span)) kd__buf_putc(out, ',');
    text(out, "text", d->frame[i].what);
    kd__buf_putc(out, '}');
  }
  kd__buf_putc(out, ']');
  if (d->help) { kd__buf_putc(out, ','); text(out, "help", d->help); }
  kd__buf_putc(out, '}');
}
