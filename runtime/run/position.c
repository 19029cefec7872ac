/* position.c: the position as JSON, and back. */
#include "runtime/run/position.h"
#include "runtime/files/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

bool kd__position_init(kd_position *p, const kd_module *m) {
  *p = (kd_position){ .stage = -1 };
  p->counter = calloc(m->ncounter + (size_t)1, sizeof *p->counter);
  p->reg = calloc(m->nreg + (size_t)1, sizeof *p->reg);
  p->entered = calloc(m->nstage + (size_t)1, sizeof *p->entered);
  p->stream = calloc(m->nstream + (size_t)1, sizeof *p->stream);
  p->begun = calloc(m->nstream + (size_t)1, sizeof *p->begun);
  p->open = calloc(m->nstream + (size_t)1, sizeof *p->open);
  p->rows = calloc(m->ndataset + (size_t)1, sizeof *p->rows);
  p->best = calloc(m->ngroup + (size_t)1, sizeof *p->best);
  p->sum = calloc(m->nreg + (size_t)1, sizeof *p->sum);
  p->sums = calloc(m->nreg + (size_t)1, sizeof *p->sums);
  if (!p->counter || !p->reg || !p->entered || !p->stream || !p->begun || !p->open || !p->rows || !p->best || !p->sum || !p->sums) { kd__position_free(p); return false; }
  for (uint32_t i = 0; i < m->nreg; i++) p->reg[i] = NAN;
  return true;
}

void kd__position_free(kd_position *p) {
  free(p->counter);
  free(p->reg);
  free(p->entered);
  free(p->stream);
  free(p->begun);
  free(p->open);
  free(p->rows);
  free(p->best);
  free(p->sum);
  free(p->sums);
  *p = (kd_position){ 0 };
}

/* --- writing -------------------------------------------------------------------------------------------------------------- */
static void put_ints(kd__buf *b, const char *key, const int64_t *v, uint32_t n) {
  kd__buf_printf(b, ",\"%s\":[", key);
  for (uint32_t i = 0; i < n; i++) kd__buf_printf(b, "%s%" PRId64, i ? "," : "", v[i]);
  kd__buf_putc(b, ']');
}

static void put_real(kd__buf *b, double v) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  kd__buf_printf(b, "\"%016" PRIx64 "\"", bits);
}

static void put_reals(kd__buf *b, const char *key, const double *v, uint32_t n) {
  kd__buf_printf(b, ",\"%s\":[", key);
  for (uint32_t i = 0; i < n; i++) {
    if (i) kd__buf_putc(b, ',');
    put_real(b, v[i]);
  }
  kd__buf_putc(b, ']');
}

void kd__position_write(const kd_position *p, const kd_module *m, kd__buf *b) {
  kd__buf_printf(b, "{\"pc\":%" PRId64 ",\"stage\":%" PRId64 ",\"step\":%" PRId64 ",\"epoch\":%" PRId64 ",\"steps\":%" PRId64 ",\"passes\":%" PRId64 ",\"anew\":%" PRId64,
                 p->pc, p->stage, p->step, p->epoch, p->steps, p->passes, p->anew);
  put_ints(b, "counter", p->counter, m->ncounter);
  put_ints(b, "entered", p->entered, m->nstage);
  put_ints(b, "begun", p->begun, m->nstream);
  put_ints(b, "rows", p->rows, m->ndataset);
  put_ints(b, "sums", p->sums, m->nreg);
  put_reals(b, "sum", p->sum, m->nreg);
  put_reals(b, "reg", p->reg, m->nreg);
  kd__buf_puts(b, ",\"open\":[");
  for (uint32_t i = 0; i < p->nopen; i++) {
    const kd__stream_position *s = &p->stream[p->open[i]];
    kd__buf_printf(b, "%s{\"stream\":%" PRIu32 ",\"pass\":%" PRId64 ",\"batch\":%" PRId64 "}", i ? "," : "", p->open[i], s->pass, s->batch);
  }
  kd__buf_puts(b, "],\"best\":[");
  for (uint32_t i = 0; i < m->ngroup; i++) {
    const kd__best_position *k = &p->best[i];
    kd__buf_printf(b, "%s{\"tried\":%" PRId64 ",\"kept\":%d,\"best\":%" PRId64 ",\"value\":", i ? "," : "", k->tried, k->kept, k->best);
    put_real(b, k->value);
    kd__buf_putc(b, '}');
  }
  kd__buf_puts(b, "]}");
}

/* --- reading: `ok` is sticky ------------------------------------------------------------------------------------------------ */
typedef struct reader { const json_t *o; bool ok; } reader;

static int64_t get_int(reader *r, const json_t *o, const char *key, int64_t min, int64_t limit) {
  const json_t *v = json_object_get(o, key);
  int64_t i = json_is_integer(v) ? (int64_t)json_integer_value(v) : min - 1;
  if (i < min || i >= limit) { r->ok = false; return min; }
  return i;
}

static const json_t *get_list(reader *r, const char *key, size_t n) {
  const json_t *v = json_object_get(r->o, key);
  if (!json_is_array(v) || json_array_size(v) != n) { r->ok = false; return NULL; }
  return v;
}

static void get_ints(reader *r, const char *key, int64_t *to, uint32_t n) {
  const json_t *list = get_list(r, key, n);
  for (uint32_t i = 0; list && i < n; i++) {
    const json_t *v = json_array_get(list, i);
    if (json_is_integer(v)) to[i] = (int64_t)json_integer_value(v);
    else r->ok = false;
  }
}

static double get_real(reader *r, const json_t *v) {
  const char *s = json_string_value(v);
  double d = 0;
  if (!s || strlen(s) != 16 || strspn(s, "0123456789abcdef") != 16) { r->ok = false; return d; }
  uint64_t bits = strtoull(s, NULL, 16);
  memcpy(&d, &bits, sizeof d);
  return d;
}

static void get_reals(reader *r, const char *key, double *to, uint32_t n) {
  const json_t *list = get_list(r, key, n);
  for (uint32_t i = 0; list && i < n; i++) to[i] = get_real(r, json_array_get(list, i));
}

static void get_streams(reader *r, kd_position *p, const kd_module *m) {
  const json_t *list = json_object_get(r->o, "open");
  size_t n = json_array_size(list);
  if (!json_is_array(list) || n > m->nstream) { r->ok = false; return; }
  for (size_t i = 0; i < n; i++) {
    const json_t *o = json_array_get(list, i);
    int64_t k = get_int(r, o, "stream", 0, m->nstream);
    if (!r->ok || p->stream[k].open) { r->ok = false; return; }
    p->stream[k] = (kd__stream_position){ true, get_int(r, o, "pass", 0, INT64_MAX), get_int(r, o, "batch", 0, INT64_MAX) };
    p->open[p->nopen++] = (uint32_t)k;
  }
}

static void get_best(reader *r, kd_position *p, const kd_module *m) {
  const json_t *list = get_list(r, "best", m->ngroup);
  for (uint32_t i = 0; list && i < m->ngroup; i++) {
    const json_t *o = json_array_get(list, i);
    p->best[i] = (kd__best_position){ .tried = get_int(r, o, "tried", 0, INT64_MAX), .kept = get_int(r, o, "kept", 0, 2) == 1,
                                      .best = get_int(r, o, "best", 0, INT64_MAX), .value = get_real(r, json_object_get(o, "value")) };
  }
}

kd_status kd__position_read(kd_position *p, const kd_module *m, const char *text, size_t n, const char *name, char *why, size_t nwhy) {
  json_t *o;
  kd_status s = kd__json_parse(text, n, name, &o, why, nwhy);
  if (s != KD_OK) return s;
  reader r = { o, true };
  p->pc = get_int(&r, o, "pc", 0, m->ncode);
  p->stage = get_int(&r, o, "stage", -1, m->nstage);
  p->step = get_int(&r, o, "step", 0, INT64_MAX);
  p->epoch = get_int(&r, o, "epoch", 0, INT64_MAX);
  p->steps = get_int(&r, o, "steps", 0, INT64_MAX);
  p->passes = get_int(&r, o, "passes", 0, INT64_MAX);
  p->anew = get_int(&r, o, "anew", 0, INT64_MAX);
  get_ints(&r, "counter", p->counter, m->ncounter);
  get_ints(&r, "entered", p->entered, m->nstage);
  get_ints(&r, "begun", p->begun, m->nstream);
  for (uint32_t i = 0; i < m->nstream; i++) if (p->begun[i] < 0) r.ok = false;
  get_ints(&r, "rows", p->rows, m->ndataset);
  for (uint32_t i = 0; i < m->ndataset; i++) if (p->rows[i] < 0) r.ok = false;
  get_ints(&r, "sums", p->sums, m->nreg);
  get_reals(&r, "sum", p->sum, m->nreg);
  get_reals(&r, "reg", p->reg, m->nreg);
  get_streams(&r, p, m);
  get_best(&r, p, m);
  json_decref(o);
  return r.ok ? KD_OK : kd__why(why, nwhy, KD_E_FORMAT, "%s: the position does not fit the program", name);
}
