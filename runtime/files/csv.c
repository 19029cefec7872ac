/* csv.c: numbers in columns. Commas, or semicolons or tabs where the first line has those and no comma; fields may be quoted; a first
 * line whose wanted columns are not numbers is a header. Columns that are not wanted may hold any text. */
#include "runtime/files/stored.h"
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

enum { CHUNK = 64 << 10, LINE_MOST = 16 << 20 };

typedef struct csv {
  kd__input *in;
  const kd__read_spec *spec;
  locale_t c;                                    /* numbers are read in the C locale, whatever the program's is */
  char *text; size_t cap, from, to;              /* unread bytes are text[from .. to) */
  bool ended;
  char separator;
  int64_t line, columns, rows;                   /* columns of a line, all of them */
  void *data; size_t data_cap;                   /* NULL data: only counting */
  bool keep;
  char *why; size_t n;
} csv;

static const char *file_of(const csv *r) { return kd__input_name(r->in); }

/* The next line without its end, NUL-terminated in place; *line NULL at the end of the file. */
static kd_status next_line(csv *r, char **line) {
  size_t seen = 0;
  *line = NULL;
  for (;;) {
    char *start = r->text + r->from, *end = r->to > r->from + seen ? memchr(start + seen, '\n', r->to - r->from - seen) : NULL;
    if (!end && r->ended && r->to > r->from) end = r->text + r->to;
    if (end) {
      size_t len = (size_t)(end - start);
      r->from += len + (end < r->text + r->to);
      if (memchr(start, 0, len)) return kd__why(r->why, r->n, KD_E_FORMAT, "%s:%lld: holds a zero byte: this is no text", file_of(r), (long long)r->line + 1);
      if (len && start[len - 1] == '\r') len--;
      start[len] = 0;
      r->line++;
      *line = start;
      return KD_OK;
    }
    if (r->ended) return KD_OK;
    seen = r->to - r->from;
    if (seen > LINE_MOST) return kd__why(r->why, r->n, KD_E_FORMAT, "%s:%lld: this line is longer than %d bytes: is it a CSV file?", file_of(r), (long long)r->line + 1, LINE_MOST);
    if (r->from) memmove(r->text, start, seen);
    r->from = 0;
    r->to = seen;
    if (r->cap - seen < CHUNK + 1) {             /* one byte stays free for the last line's NUL */
      char *p = realloc(r->text, r->cap * 2);
      if (!p) return kd__why(r->why, r->n, KD_E_MEMORY, "%s: out of memory", file_of(r));
      r->text = p;
      r->cap *= 2;
    }
    size_t got;
    kd_status s = kd__input_read(r->in, r->text + seen, CHUNK, &got, r->why, r->n);
    if (s != KD_OK) return s;
    r->to += got;
    r->ended = got < CHUNK;
  }
}

/* Cuts the next field out of *p (NUL-terminated, quotes removed); *p is NULL after the last. False: an unclosed quote. */
static bool next_field(char **p, char separator, char **field) {
  char *s = *p, *to;
  while (*s == ' ') s++;
  if (*s != '"') {
    *field = s;
    to = strchr(s, separator);
    *p = to ? to + 1 : NULL;
    if (!to) to = s + strlen(s);
    while (to > s && to[-1] == ' ') to--;
    *to = 0;
    return true;
  }
  *field = to = ++s;
  for (; *s; s++) {
    if (*s == '"' && s[1] != '"') break;
    if (*s == '"') s++;
    *to++ = *s;
  }
  if (!*s) return false;
  s++;
  while (*s == ' ') s++;
  if (*s && *s != separator) return false;
  *p = *s ? s + 1 : NULL;
  *to = 0;
  return true;
}

/* Plain decimal numbers only: strtod alone would take "nan", "inf" and hexadecimal. */
static bool parse_number(const csv *r, const char *s, void *to) {
  if (!*s || s[strspn(s, "0123456789+-.eE")]) return false;
  char *end;
  errno = 0;
  if (kd__dtype_real(r->spec->dtype)) {
    double d = strtod_l(s, &end, r->c);
    if (*end || !isfinite(d)) return false;
    float f = (float)d;
    if (r->spec->dtype == KD_F64) memcpy(to, &d, 8);
    else if (!isfinite(f)) return false;
    else memcpy(to, &f, 4);
    return true;
  }
  long long v = strtoll(s, &end, 10);
  if (*end || errno) return false;
  if (r->spec->dtype == KD_I64) { int64_t k = v; memcpy(to, &k, 8); return true; }
  if (v < 0 || v > (r->spec->dtype == KD_BOOL ? 1 : 255)) return false;
  *(uint8_t *)to = (uint8_t)v;
  return true;
}

static int64_t wanted(const csv *r) { return (r->spec->column_to ? r->spec->column_to : r->columns) - r->spec->column_from; }

/* Reads one line's wanted columns to `to`. *header: some of them are no numbers, which the first line may have. */
static kd_status parse_line(csv *r, char *line, char *to, bool *header) {
  const char *name = file_of(r);
  int64_t k = 0, end = r->spec->column_to ? r->spec->column_to : r->columns ? r->columns : INT64_MAX;
  size_t size = kd__dtype_size(r->spec->dtype);
  char spare[8];
  *header = false;
  for (char *p = line, *field; p; k++) {
    if (!next_field(&p, r->separator, &field))
      return kd__why(r->why, r->n, KD_E_FORMAT, "%s:%lld: a quoted field is not closed on its line", name, (long long)r->line);
    if (k < r->spec->column_from || k >= end) continue;
    if (parse_number(r, field, to ? to : spare)) { to = to ? to + size : NULL; continue; }
    *header = true;
    kd__why(r->why, r->n, KD_E_FORMAT, "%s:%lld: column %lld is not %s: '%.40s'", name, (long long)r->line, (long long)k,
            r->spec->dtype == KD_U8 ? "a whole number from 0 to 255" : r->spec->dtype == KD_BOOL ? "0 or 1"
            : kd__dtype_real(r->spec->dtype) ? "a finite number" : "a whole number", field);
    if (r->columns) return KD_E_FORMAT;
    to = NULL;
  }
  if (!r->columns) r->columns = k;
  if (k == r->columns) return KD_OK;
  return kd__why(r->why, r->n, KD_E_FORMAT, "%s:%lld: has %lld columns where the first line has %lld", name, (long long)r->line, (long long)k, (long long)r->columns);
}

static kd_status first_line(csv *r, const char *line, bool *header) {
  r->separator = strchr(line, ',') ? ',' : strchr(line, ';') ? ';' : strchr(line, '\t') ? '\t' : ',';
  char *copy = strdup(line);
  if (!copy) return kd__why(r->why, r->n, KD_E_MEMORY, "%s: out of memory", file_of(r));
  kd_status s = parse_line(r, copy, NULL, header);
  free(copy);
  if (s == KD_OK && r->columns < (r->spec->column_to ? r->spec->column_to : r->spec->column_from + 1))
    s = kd__why(r->why, r->n, KD_E_FORMAT, "%s: has %lld columns; column %lld is asked for (they count from 0)", file_of(r), (long long)r->columns,
                (long long)(r->spec->column_to ? r->spec->column_to - 1 : r->spec->column_from));
  return s;
}

static kd_status reserve_row(csv *r, size_t row) {
  size_t need;
  if (__builtin_mul_overflow((size_t)r->rows + 1, row, &need)) return kd__why(r->why, r->n, KD_E_MEMORY, "%s: too large", file_of(r));
  if (need <= r->data_cap) return KD_OK;
  size_t cap = r->data_cap ? r->data_cap * 2 : 4096;
  if (cap < need) cap = need;
  void *p = realloc(r->data, cap);
  if (!p) return kd__why(r->why, r->n, KD_E_MEMORY, "%s: out of memory (%zu bytes)", file_of(r), cap);
  r->data = p;
  r->data_cap = cap;
  return KD_OK;
}

static kd_status read_lines(csv *r) {
  char *line;
  bool header = false;
  for (;;) {
    kd_status s = next_line(r, &line);
    if (s != KD_OK || !line) return s;
    if (!line[strspn(line, " \t")]) continue;
    if (!r->columns) {
      s = first_line(r, line, &header);
      if (s != KD_OK) return s;
      if (header) continue;
    }
    if (r->keep) {
      size_t row = (size_t)wanted(r) * kd__dtype_size(r->spec->dtype);
      s = reserve_row(r, row);
      if (s == KD_OK) s = parse_line(r, line, (char *)r->data + (size_t)r->rows * row, &header);
      if (s != KD_OK) return s;
    }
    r->rows++;
  }
}

static kd_status run(kd__input *in, const kd__read_spec *spec, bool keep, kd_type *type, kd_array *out, char *why, size_t n) {
  csv r = { .in = in, .spec = spec, .keep = keep, .cap = 2 * CHUNK, .why = why, .n = n };
  if (spec->column_from < 0 || spec->column_to < 0 || (spec->column_to && spec->column_to <= spec->column_from))
    return kd__why(why, n, KD_E_USAGE, "%s: columns %lld to %lld are no columns", file_of(&r), (long long)spec->column_from, (long long)spec->column_to);
  r.text = malloc(r.cap);
  r.c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  kd_status s = r.text && r.c ? read_lines(&r) : kd__why(why, n, KD_E_MEMORY, "%s: out of memory", file_of(&r));
  if (s == KD_OK && !r.columns) s = kd__why(why, n, KD_E_FORMAT, "%s: is empty", file_of(&r));
  if (r.c) freelocale(r.c);
  free(r.text);
  if (s != KD_OK) { free(r.data); return s; }
  *type = (kd_type){ .dtype = (uint8_t)spec->dtype, .rank = 2, .dim = { r.rows, wanted(&r) } };
  if (keep) *out = (kd_array){ .type = *type, .data = r.data, .heap = r.data };
  return KD_OK;
}

kd_status kd__csv_read_input(kd__input *in, const kd__read_spec *s, kd_array *out, char *why, size_t n) {
  kd_type type;
  *out = (kd_array){ 0 };
  return run(in, s, true, &type, out, why, n);
}

kd_status kd__csv_header(const char *path, const kd__read_spec *s, kd_type *type, char *why, size_t n) {
  kd__input *in;
  kd_array none;
  kd_status st = kd__input_open(path, &in, why, n);
  if (st != KD_OK) return st;
  st = run(in, s, false, type, &none, why, n);
  kd__input_close(in);
  return st;
}

kd_status kd__csv_read(const char *path, const kd__read_spec *s, kd_array *out, char *why, size_t n) {
  *out = (kd_array){ 0 };
  kd__input *in;
  kd_status st = kd__input_open(path, &in, why, n);
  if (st != KD_OK) return st;
  st = kd__csv_read_input(in, s, out, why, n);
  kd__input_close(in);
  return st;
}
