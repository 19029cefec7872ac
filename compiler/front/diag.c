/* diag.c: the table of codes and the sink. */
#include "compiler/front/diag.h"

static const struct row { const char *code, *text; kd_severity severity; } rows[] = {
#define KD_DIAG(ID, severity, code, text) { code, text, severity },
#include "compiler/front/diag.def"
#undef KD_DIAG
};
const char *kd__diag_code_name(kd_diag_code c) { return (unsigned)c < KD_DIAG_COUNT ? rows[c].code : "E0000"; }

void kd__sink_init(kd_sink *s, kd__arena *a) { *s = (kd_sink){ .arena = a }; }

bool kd__sink_full(const kd_sink *s) { return s->errors >= (s->limit ? s->limit : 50); }

kd_diag *kd__vreport(kd_sink *s, kd_diag_code code, kd_span at, va_list ap) {
  const bool error = rows[code].severity == KD_ERROR, kept = !error || !kd__sink_full(s);
  if (error) s->errors++;
  if (rows[code].severity == KD_WARNING) s->warnings++;
  if (!kept && s->spare) return s->spare;
  kd_diag *d = KD_NEW(s->arena, kd_diag);
  d->code = code;
  d->severity = rows[code].severity;
  d->message = kd__arena_vprintf(s->arena, rows[code].text, ap);
  d->label = KD_NEW(s->arena, kd_label);
  d->label[0].span = at;
  d->nlabel = 1;
  if (kept) KD_PUSH(s->arena, s->diag, d); else s->spare = d;
  return d;
}

kd_diag *kd__report(kd_sink *s, kd_diag_code code, kd_span at, ...) {
  va_list ap;
  va_start(ap, at);
  kd_diag *d = kd__vreport(s, code, at, ap);
  va_end(ap);
  return d;
}

/* A copy with one element more: the lists of a diagnostic are short. */
static void *longer(kd__arena *a, const void *old, size_t n, size_t size) {
  char *p = kd__arena_get(a, (n + 1) * size);
  if (n) memcpy(p, old, n * size);
  return p;
}

void kd__diag_label(kd_sink *s, kd_diag *d, kd_span at, const char *fmt, ...) {
  if (d == s->spare) return;
  va_list ap;
  va_start(ap, fmt);
  const char *text = kd__arena_vprintf(s->arena, fmt, ap);
  va_end(ap);
  d->label = longer(s->arena, d->label, d->nlabel, sizeof *d->label);
  d->label[d->nlabel++] = (kd_label){ at, text };
}

void kd__diag_primary(kd_sink *s, kd_diag *d, const char *fmt, ...) {
  if (d == s->spare) return;
  va_list ap;
  va_start(ap, fmt);
  d->label[0].text = kd__arena_vprintf(s->arena, fmt, ap);
  va_end(ap);
}

void kd__diag_frame(kd_sink *s, kd_diag *d, kd_span at, const char *fmt, ...) {
  if (d == s->spare) return;
  va_list ap;
  va_start(ap, fmt);
  const char *what = kd__arena_vprintf(s->arena, fmt, ap);
  va_end(ap);
  d->frame = longer(s->arena, d->frame, d->nframe, sizeof *d->frame);
  d->frame[d->nframe++] = (kd_frame){ at, what };
}

void kd__diag_help(kd_sink *s, kd_diag *d, const char *fmt, ...) {
  if (d == s->spare) return;
  va_list ap;
  va_start(ap, fmt);
  d->help = kd__arena_vprintf(s->arena, fmt, ap);
  va_end(ap);
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------ */
/* Order of places: those without a source last. */
static int compare(const kd_diag *a, const kd_diag *b) {
  const kd_span *x = &a->label[0].span, *y = &b->label[0].span;
  uint64_t i = x->src ? x->src->id : UINT64_MAX, j = y->src ? y->src->id : UINT64_MAX;
  if (i != j) return i < j ? -1 : 1;
  return x->at != y->at ? (x->at < y->at ? -1 : 1) : 0;
}

static bool same(const kd_diag *a, const kd_diag *b) {
  return a->code == b->code && compare(a, b) == 0 && a->label[0].span.src == b->label[0].span.src && a->label[0].span.len == b->label[0].span.len
      && strcmp(a->message, b->message) == 0;
}

static void merge_sort(kd_diag **v, kd_diag **tmp, size_t n) {
  if (n < 2) return;
  size_t half = n / 2, i = 0, j = half, k = 0;
  merge_sort(v, tmp, half);
  merge_sort(v + half, tmp, n - half);
  while (i < half || j < n) tmp[k++] = j == n || (i < half && compare(v[i], v[j]) <= 0) ? v[i++] : v[j++];
  memcpy(v, tmp, n * sizeof *v);
}

void kd__sink_finish(kd_sink *s) {
  size_t kept = 0;
  kd_diag **tmp = KD_NEWN(s->arena, kd_diag *, s->diag.n);
  merge_sort(s->diag.v, tmp, s->diag.n);
  for (size_t i = 0; i < s->diag.n; i++) {
    bool again = false;
    for (size_t k = kept; k && !again && compare(s->diag.v[k - 1], s->diag.v[i]) == 0; k--) again = same(s->diag.v[k - 1], s->diag.v[i]);
    if (!again) s->diag.v[kept++] = s->diag.v[i];
  }
  s->diag.n = kept;
}
