/* diag_text.c: a diagnostic for people (design 2.6): where and what, source lines with carets, the chain of calls, help. */
#include "compiler/front/diag.h"

enum { TAB = 4, WIDTH = 120, BEFORE = 50, GUTTER = 5, FRAMES = 6 };
typedef struct style { const char *bold, *red, *yellow, *blue, *green, *off; } style;
static const style plain = { "", "", "", "", "", "" }, colored = { "\033[1m", "\033[1;31m", "\033[1;33m", "\033[1;34m", "\033[1;32m", "\033[0m" };

static const char *severity_word(kd_severity s) { return s == KD_ERROR ? "error" : s == KD_WARNING ? "warning" : "note"; }

/* --- one source line as cells of a terminal -------------------------------------------------------------------------------------- */
/* The code point at s and its bytes; 0xfffd for a byte that begins none. */
static uint32_t decode(const char *text, size_t n, size_t *len) {
  const unsigned char *s = (const unsigned char *)text;
  size_t k = *s < 0x80 ? 1 : *s >= 0xf0 && *s < 0xf5 ? 4 : *s >= 0xe0 && *s < 0xf0 ? 3 : *s >= 0xc2 && *s < 0xe0 ? 2 : 0;
  uint32_t u = k == 1 ? *s : k == 2 ? *s & 31u : k == 3 ? *s & 15u : *s & 7u;
  *len = 1;
  if (k == 0 || k > n) return 0xfffd;
  for (size_t i = 1; i < k; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0xfffd;
    u = u << 6 | (s[i] & 63u);
  }
  *len = k;
  return u;
}

static int cells(uint32_t u, int at) {
  if (u == '\t') return TAB - at % TAB;
  if ((u >= 0x300 && u < 0x370) || u == 0x200b || u == 0x200d || (u >= 0xfe00 && u < 0xfe10)) return 0;
  bool wide = (u >= 0x1100 && u < 0x1160) || (u >= 0x2e80 && u < 0xa4d0) || (u >= 0xac00 && u < 0xd7a4) || (u >= 0xf900 && u < 0xfb00) ||
              (u >= 0xff00 && u < 0xff61) || (u >= 0x1f300 && u < 0x1fb00) || (u >= 0x20000 && u < 0x3fffe);
  return wide ? 2 : 1;
}

typedef struct row { const char *text; size_t n; int line, from, to; } row;   /* cells [from, to) are shown */

static row row_of(const kd_source *s, int line) {
  size_t a = s->line[line - 1], b = (size_t)line < s->nline ? s->line[line] - 1 : s->size;
  while (b > a && s->text[b - 1] == '\r') b--;
  return (row){ s->text + a, b - a, line, 0, 0 };
}

/* The cell at which byte `at` of the row begins; past its end one more for each byte. */
static int cell_of(const row *r, size_t at) {
  int c = 0;
  size_t len;
  for (size_t i = 0; i < r->n && i < at; i += len) { uint32_t u = decode(r->text + i, r->n - i, &len); c += cells(u, c); }
  return c;
}

static void show_row(const row *r, const style *st, kd__buf *out) {
  int c = 0, w;
  size_t len;
  kd__buf_printf(out, "%s%*d |%s ", st->blue, GUTTER, r->line, st->off);
  if (r->from > 0) kd__buf_puts(out, "…");
  for (size_t i = 0; i < r->n; i += len, c += w) {
    uint32_t u = decode(r->text + i, r->n - i, &len);
    w = cells(u, c);
    if (c < r->from) continue;
    if (c + w > r->to) { kd__buf_puts(out, "…"); break; }
    if (u == '\t') kd__buf_printf(out, "%*s", w, "");
    else if (u < 0x20 || u == 0x7f || u == 0xfffd || (u >= 0x80 && u < 0xa0)) kd__buf_puts(out, "\xef\xbf\xbd");
    else if ((u >= 0x202a && u < 0x202f) || (u >= 0x2066 && u < 0x206a)) kd__buf_puts(out, "\xef\xbf\xbd");   /* would turn the line around */
    else kd__buf_add(out, r->text + i, len);
  }
  while (out->n && out->p[out->n - 1] == ' ') out->n--;
  kd__buf_putc(out, '\n');
}

/* Carets under bytes [at, at + len) of a row, then words. */
static void show_carets(const row *r, size_t at, size_t len, const char *text, const char *color, const style *st, kd__buf *out) {
  int a = cell_of(r, at), b = cell_of(r, at + len < r->n ? at + len : r->n), shift = r->from > 0 ? 1 : 0;
  if (a < r->from) a = r->from;
  if (a > r->to) a = r->to;
  if (b > r->to) b = r->to;
  if (b <= a) b = a + 1;
  kd__buf_printf(out, "%s%*s |%s %*s%s", st->blue, GUTTER, "", st->off, a - r->from + shift, "", color);
  for (int i = a; i < b; i++) kd__buf_putc(out, '^');
  if (text && *text) kd__buf_printf(out, " %s", text);
  kd__buf_printf(out, "%s\n", st->off);
}

/* --- labels, grouped by line ------------------------------------------------------------------------------------------------------- */
typedef struct mark { const kd_label *l; size_t index; int line, col; } mark;

static bool before(const mark *a, const mark *b, const kd_source *first) {
  bool x = a->l->span.src == first, y = b->l->span.src == first;
  if (x != y) return x;
  if (a->l->span.src != b->l->span.src) return a->index < b->index;
  return a->line != b->line ? a->line < b->line : a->col != b->col ? a->col < b->col : a->index < b->index;
}

static void show_line(const mark *m, size_t n, const char *primary, const style *st, kd__buf *out) {
  const kd_source *src = m->l->span.src;
  row r = row_of(src, m->line);
  int at = cell_of(&r, m->l->span.at - src->line[m->line - 1]), all = cell_of(&r, r.n);
  r.from = all > WIDTH && at > BEFORE ? at - BEFORE : 0;
  r.to = all > WIDTH ? r.from + WIDTH : all;
  show_row(&r, st, out);
  for (size_t i = 0; i < n; i++)
    show_carets(&r, m[i].l->span.at - src->line[m->line - 1], m[i].l->span.len, m[i].l->text, m[i].index ? st->blue : primary, st, out);
}

static void show_labels(const kd_diag *d, const char *primary, const style *st, kd__buf *out) {
  enum { MOST = 16 };
  mark m[MOST];
  size_t n = 0;
  for (size_t i = 0; i < d->nlabel && n < MOST; i++) {
    if (!d->label[i].span.src) continue;
    mark x = { &d->label[i], i, 0, 0 };
    kd__source_pos(x.l->span.src, x.l->span.at, &x.line, &x.col);
    size_t k = n++;
    for (; k && before(&x, &m[k - 1], d->label[0].span.src); k--) m[k] = m[k - 1];
    m[k] = x;
  }
  for (size_t i = 0, k; i < n; i = k) {
    const kd_source *src = m[i].l->span.src;
    if (i ? src != m[i - 1].l->span.src : src != d->label[0].span.src) kd__buf_printf(out, "   in %s:%d:%d\n", src->path, m[i].line, m[i].col);
    for (k = i + 1; k < n && m[k].l->span.src == src && m[k].line == m[i].line; ) k++;
    show_line(m + i, k - i, primary, st, out);
  }
  for (size_t i = 0; i < d->nlabel; i++)
    if (!d->label[i].span.src && d->label[i].text && *d->label[i].text) kd__buf_printf(out, "   %s\n", d->label[i].text);
}

static void show_frame(const kd_frame *f, const style *st, kd__buf *out) {
  if (!f->span.src) { kd__buf_printf(out, "   %s\n", f->what); return; }
  kd_label l = { f->span, NULL };
  mark m = { &l, 1, 0, 0 };
  kd__source_pos(f->span.src, f->span.at, &m.line, &m.col);
  kd__buf_printf(out, "   %s: %s:%d:%d\n", f->what, f->span.src->path, m.line, m.col);
  show_line(&m, 1, st->blue, st, out);
}

void kd__diag_text(const kd_diag *d, bool color, kd__buf *out) {
  const style *st = color ? &colored : &plain;
  const char *tint = d->severity == KD_ERROR ? st->red : d->severity == KD_WARNING ? st->yellow : st->blue;
  const kd_span at = d->nlabel ? d->label[0].span : (kd_span){ 0 };
  if (at.src) {
    int line, col;
    kd__source_pos(at.src, at.at, &line, &col);
    kd__buf_printf(out, "%s%s:%d:%d: %s", st->bold, at.src->path, line, col, st->off);
  }
  kd__buf_printf(out, "%s%s:%s %s%s%s [%s]\n", tint, severity_word(d->severity), st->off, st->bold, d->message, st->off, kd__diag_code_name(d->code));
  show_labels(d, tint, st, out);
  for (size_t i = 0; i < d->nframe; i++) {
    if (d->nframe > FRAMES && i == FRAMES / 2) {                   /* a long chain: its two ends */
      size_t left = d->nframe - FRAMES;
      kd__buf_printf(out, "   and %zu more call%s\n", left, left > 1 ? "s" : "");
      i += left;
    }
    show_frame(&d->frame[i], st, out);
  }
  if (d->help) kd__buf_printf(out, "   %shelp:%s %s\n", st->green, st->off, d->help);
}
