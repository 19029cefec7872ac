/* record.c: what a run writes down in its folder. */
#include "runtime/run/machine.h"
#include "runtime/files/safetensors.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WHY = 700 };                              /* leaves room for the place in the program */

static void put_text(kd__buf *b, const char *s) { kd__buf_json(b, s ? s : "", s ? strlen(s) : 0); }
static void put_key(kd__buf *b, const char *key) { kd__buf_printf(b, "  \"%s\": ", key); }

static void put_time(kd__buf *b) {
  char text[32] = "";
  time_t now = time(NULL);
  struct tm t;
  if (gmtime_r(&now, &t)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &t);
  put_text(b, text);
}

/* --- the log ------------------------------------------------------------------------------------------------------------------ */
void kd__record_begin(const kd_machine *r, kd__buf *b, const char *event) {
  kd__buf_printf(b, "{\"event\":\"%s\",\"seconds\":", event);
  kd__json_number(b, (double)(int64_t)((kd__now() - r->progress.opened) * 1000) / 1000);
  if (r->pos.stage < 0) return;
  kd__buf_puts(b, ",\"stage\":");
  put_text(b, r->m->stage[r->pos.stage].name);
}

/* Two values of one name (two steps in a loop) are told apart by a number, so that the object has each key once. */
void kd__record_values(kd__buf *b, const kd__named *v, size_t n) {
  kd__buf_puts(b, ",\"values\":{");
  for (size_t i = 0; i < n; i++) {
    int same = 1;
    for (size_t k = 0; k < i; k++) same += strcmp(v[k].name, v[i].name) == 0;
    char *name = NULL;
    if (same > 1 && asprintf(&name, "%s (%d)", v[i].name, same) < 0) { b->failed = true; return; }
    if (i) kd__buf_putc(b, ',');
    put_text(b, name ? name : v[i].name);
    free(name);
    kd__buf_putc(b, ':');
    kd__json_number(b, v[i].value);
  }
  kd__buf_putc(b, '}');
}

kd_status kd__record_line(kd_machine *r, kd__buf *line) {
  char why[WHY];
  kd_status s = r->folder ? kd__folder_log(r->folder, line, why, sizeof why) : KD_OK;
  kd__buf_free(line);
  return s == KD_OK ? s : kd__fail(r, s, 0, "%s", why);
}

/* --- whole files ------------------------------------------------------------------------------------------------------------------ */
static kd_status write_buf(kd_machine *r, const char *name, kd__buf *b, bool later) {
  char why[WHY];
  kd_status s = b->failed ? kd__why(why, sizeof why, KD_E_MEMORY, "%s: out of memory", name)
                          : kd__folder_write(r->folder, name, b->p, b->n, later, why, sizeof why);
  kd__buf_free(b);
  return s == KD_OK ? s : kd__fail(r, s, 0, "%s", why);
}

kd_status kd__record_kernels(kd_machine *r) {
  char why[WHY];
  if (!r->folder || !r->bound_new) return KD_OK;
  r->bound_new = false;
  kd_status s = kd__record_settings(r);
  if (s != KD_OK) return s;
  s = kd__folder_sync(r->folder, why, sizeof why);
  return s == KD_OK ? s : kd__fail(r, s, 0, "%s", why);
}

static kd_status write_sources(kd_machine *r) {
  char why[WHY];
  kd_status s = KD_OK;
  for (size_t i = 0; i < r->opt.nsource && s == KD_OK; i++)
    s = kd__folder_write(r->folder, r->source_file[i], r->opt.source[i].text, r->opt.source[i].size, true, why, sizeof why);
  return s == KD_OK ? s : kd__fail(r, s, 0, "%s", why);
}

/* The settings come last: where they are, everything is there that a run can be begun again with. */
kd_status kd__record_start(kd_machine *r) {
  if (!r->folder) return KD_OK;
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "start");
  kd__buf_puts(&b, ",\"time\":"); put_time(&b);
  kd__buf_puts(&b, ",\"program\":"); put_text(&b, r->m->name);
  kd__buf_puts(&b, ",\"kdc\":"); put_text(&b, r->opt.version);
  kd__buf_printf(&b, ",\"seed\":%" PRIu64 ",\"threads\":%d}", r->opt.seed, r->set.threads);
  kd_status s = kd__record_line(r, &b);
  if (s == KD_OK) s = write_sources(r);
  return s == KD_OK ? kd__record_settings(r) : s;
}

kd_status kd__record_resumed(kd_machine *r) {
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "resume");
  kd__buf_puts(&b, ",\"time\":"); put_time(&b);
  kd__buf_printf(&b, ",\"steps\":%" PRId64 "}", r->pos.steps);
  return kd__record_line(r, &b);
}

/* --- weights ------------------------------------------------------------------------------------------------------------------------- */
kd_status kd__record_weights(kd_machine *r, uint32_t group, const char *name, uint32_t origin) {
  if (!r->folder) return KD_OK;
  char why[WHY] = "out of memory", seed[24];
  const kd_group *g = &r->m->group[group];
  kd_status s = KD_E_MEMORY;
  char *path = kd__folder_claim(r->folder, name, &s, why, sizeof why);
  if (!path) return kd__fail(r, s, origin, "%s", why);
  kd__st_item *item = calloc(g->n + (size_t)1, sizeof *item);
  snprintf(seed, sizeof seed, "%" PRIu64, r->opt.seed);
  kd__st_pair meta[] = { { "program", r->m->name }, { "seed", seed }, { "kdc", r->opt.version ? r->opt.version : "" }, { "group", g->name } };
  for (uint32_t i = 0; item && i < g->n; i++) item[i] = (kd__st_item){ g->path[i], r->m->slot[g->slot[i]].type, kd__store_at(&r->store, g->slot[i]) };
  s = item ? kd__st_write(path, item, g->n, meta, sizeof meta / sizeof *meta, why, sizeof why) : KD_E_MEMORY;
  free(item);
  free(path);
  if (s != KD_OK) return kd__fail(r, s, origin, "%s", why);
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "save");
  kd__buf_puts(&b, ",\"file\":"); put_text(&b, name);
  kd__buf_putc(&b, '}');
  return kd__record_line(r, &b);
}

/* --- the end ---------------------------------------------------------------------------------------------------------------------------- */
static void put_rows(const kd_machine *r, kd__buf *b, const char *part, const char *begin) {
  kd__buf_putc(b, '[');
  for (uint32_t i = 0; i < r->m->nreport; i++) {
    const kd_report_row *row = &r->m->report[i];
    kd__buf_puts(b, i ? part : begin);
    kd__buf_puts(b, "{\"label\":"); put_text(b, row->label);
    kd__buf_puts(b, ",\"on\":"); put_text(b, row->on);
    kd__buf_puts(b, ",\"value\":"); kd__json_number(b, r->pos.reg[row->reg]);
    kd__buf_putc(b, '}');
  }
  kd__buf_putc(b, ']');
}

static kd_status write_report(kd_machine *r) {
  kd__buf b = { 0 };
  kd__buf_puts(&b, "{\n");
  put_key(&b, "program"); put_text(&b, r->m->name);
  kd__buf_printf(&b, ",\n  \"seed\": %" PRIu64 ",\n", r->opt.seed);
  put_key(&b, "report"); put_rows(r, &b, ",\n    ", "\n    ");
  kd__buf_puts(&b, "\n}\n");
  kd_status s = write_buf(r, "report.json", &b, false);
  if (s != KD_OK) return s;
  kd__record_begin(r, &b, "report");
  kd__buf_puts(&b, ",\"rows\":"); put_rows(r, &b, ",", "");
  kd__buf_putc(&b, '}');
  return kd__record_line(r, &b);
}

static kd_status last_line(kd_machine *r, const char *status) {
  bool failed = r->error.status != KD_OK;
  char why[WHY];
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "end");
  kd__buf_printf(&b, ",\"status\":\"%s\"", !failed ? status : r->error.status == KD_E_CANCELLED ? "cancelled" : "failed");
  if (failed) { kd__buf_puts(&b, ",\"error\":"); put_text(&b, r->error.text); }
  kd__buf_puts(&b, ",\"time\":"); put_time(&b);
  kd__buf_putc(&b, '}');
  kd_status s = kd__folder_log(r->folder, &b, why, sizeof why);
  if (s == KD_OK) s = kd__folder_sync(r->folder, why, sizeof why);
  kd__buf_free(&b);
  return s == KD_OK || failed ? s : kd__fail(r, s, 0, "%s", why);
}

/* After a failure its own text is what counts: what can no longer be written (the disk is full) does not change it. */
kd_status kd__record_end(kd_machine *r) {
  if (!r->folder) return KD_OK;
  kd__run_error error = r->error;
  kd_status s = kd__record_kernels(r);
  if (s == KD_OK) s = kd__written_sync(r);
  if (s == KD_OK && error.status == KD_OK) s = write_report(r);
  if (error.status != KD_OK) r->error = error;
  kd_status last = last_line(r, "done");
  if (error.status != KD_OK) return KD_OK;
  if (s == KD_OK && last == KD_OK) kd__folder_remove(r->folder, KD__CHECKPOINT);         /* the log says by now that nobody needs it */
  return s != KD_OK ? s : last;
}

void kd__record_stopped(kd_machine *r) {
  if (r->folder) last_line(r, "stopped");
}
