/* saved.c: a machine's whole state as a safetensors file, and back. */
#include "runtime/run/machine.h"
#include "runtime/files/safetensors.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_ambient(const kd_module *m, uint32_t slot) {
  for (int a = 0; a < KD_AMBIENT_COUNT; a++) if (m->ambient[a] == (int64_t)slot) return true;
  return false;
}

bool kd__slot_kept(const kd_module *m, uint32_t slot) { return m->slot[slot].kind != KD_SLOT_FIELD && m->slot[slot].kind != KD_SLOT_HELD && !is_ambient(m, slot); }

/* --- the data -------------------------------------------------------------------------------------------------------------- */
enum { WHOLE = 16 << 20, PIECE = 64 << 10 };     /* columns up to the first are hashed whole, of larger ones as much in pieces */

static uint64_t hash_column(const kd__column *c, int64_t rows) {
  size_t bytes = c->sample_bytes * (size_t)rows, pieces = WHOLE / PIECE;
  if (bytes <= WHOLE) return kd__hash(c->data, bytes, bytes);
  uint64_t h = bytes;
  for (size_t i = 0; i < pieces; i++) h = kd__hash((const char *)c->data + (bytes - PIECE) / (pieces - 1) * i, PIECE, h);
  return h;
}

const char *kd__state_data(kd_machine *r) {
  kd__buf *b = &r->data_now;
  if (b->p) return b->p;
  kd__buf_puts(b, "\n");
  for (uint32_t d = 0; d < r->m->ndataset; d++)
    for (uint32_t i = 0; r->data[d] && r->m->dataset[d].made == KD_MADE_FILES && i < r->m->dataset[d].nsplit; i++) {
      const kd__split_data *s = kd__data_split(r->data[d], i);
      for (uint32_t k = 0; k < s->nfield; k++)
        kd__buf_printf(b, "%s.%s.%s %" PRId64 " %016" PRIx64 "\n", r->m->dataset[d].name, s->name, s->field[k].source->name, s->count, hash_column(&s->field[k], s->count));
    }
  return b->failed ? NULL : b->p;
}

/* The line of `name`, or NULL. */
static const char *line_of(const char *text, const char *name, size_t len) {
  for (const char *at = text; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
    if (strncmp(at, name, len) == 0 && at[len] == ' ') return at;
  return NULL;
}

/* The first line that is not as it was. */
static kd_status check_data(kd_machine *r, const char *then, char *why, size_t n) {
  const char *now = kd__state_data(r);
  if (!now) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  for (const char *line = now, *end; (end = strchr(line, '\n')); line = end + 1) {
    size_t name = strcspn(line, " \n");
    const char *old = line_of(then, line, name);
    if (name == 0 || (old && strncmp(old, line, (size_t)(end - line) + 1) == 0)) continue;
    long long rows = strtoll(line + name, NULL, 10), before = old ? strtoll(old + name, NULL, 10) : 0;
    if (rows == before) return kd__why(why, n, KD_E_DATA, "data `%.*s` has changed since the run stopped: bring the old data back to go on", (int)name, line);
    return kd__why(why, n, KD_E_DATA, "data `%.*s` has %lld rows now, and had %lld when the run stopped: bring the old data back to go on", (int)name, line, rows, before);
  }
  return KD_OK;
}

/* Fields and scalars are brought anew, so what is saved are the slots that programs write, and each group's kept copy as one run of bytes. */
static kd_status collect(const kd_machine *r, kd__arena *a, kd__st_item **out, size_t *n) {
  kd__st_item *item = KD_NEWN(a, kd__st_item, r->m->nslot + (size_t)r->m->ngroup + 1);
  size_t k = 0;
  if (!item) return KD_E_MEMORY;
  for (uint32_t i = 0; i < r->m->nslot; i++)
    if (kd__slot_kept(r->m, i)) item[k++] = (kd__st_item){ kd__arena_printf(a, "slot.%s", r->m->slot[i].name), r->m->slot[i].type, kd__store_at(&r->store, i) };
  for (uint32_t i = 0; i < r->m->ngroup; i++) {
    if (!r->pos.best[i].kept) continue;
    kd_type t = { .dtype = KD_U8, .rank = 1, .dim = { (int64_t)kd__group_bytes(r->m, i) } };
    item[k++] = (kd__st_item){ kd__arena_printf(a, "best.%u", i), t, r->best[i] };
  }
  for (size_t i = 0; i < k; i++) if (!item[i].name) return KD_E_MEMORY;
  *out = item;
  *n = k;
  return KD_OK;
}

static void put_decided(const kd_module *m, kd__buf *b) {
  kd__buf_puts(b, "");
  for (uint32_t i = 0; i < m->ndecision && m->decision[i].made; i++) kd__buf_printf(b, "%s%" PRId64, i ? " " : "", m->decision[i].value);
}

static kd_status done(kd__run_error *err, kd_status s, const char *why) {
  *err = (kd__run_error){ .status = s };
  return s == KD_OK ? s : kd__why(err->text, sizeof err->text, s, "%s", why);
}

kd_status kd__machine_save(kd_machine *r, const char *path, kd__run_error *err) {
  char why[900] = "out of memory", id[24], seed[24], log[24], ms[24];
  const char *data = kd__state_data(r);
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd__buf position = { 0 }, decided = { 0 };
  kd__st_item *item = NULL;
  size_t n = 0;
  kd__position_write(&r->pos, r->m, &position);
  put_decided(r->m, &decided);
  snprintf(id, sizeof id, "%016" PRIx64, r->fingerprint);
  snprintf(seed, sizeof seed, "%" PRIu64, r->opt.seed);
  snprintf(log, sizeof log, "%" PRId64, r->folder ? kd__folder_log_size(r->folder) : -1);
  snprintf(ms, sizeof ms, "%" PRId64, (int64_t)((kd__now() - r->progress.opened) * 1000));
  kd_status s = position.failed || decided.failed || !data ? KD_E_MEMORY : collect(r, &a, &item, &n);
  kd__st_pair meta[] = { { "position", position.p }, { "machine", id }, { "seed", seed }, { "program", r->m->name },
                         { "data", data }, { "log", log }, { "milliseconds", ms }, { "decided", decided.p } };
  if (s == KD_OK) s = kd__st_write(path, item, n, meta, sizeof meta / sizeof *meta, why, sizeof why);
  kd__buf_free(&position);
  kd__buf_free(&decided);
  kd__arena_free(&a);
  return done(err, s, why);
}

static bool has(const kd__safetensors *f, const char *name, const kd_type *t) {
  const kd__st_tensor *x = kd__st_find(f, name);
  return x && x->direct && kd__type_equal(&x->type, t);
}

/* Everything is looked at before anything is changed. */
static kd_status check(kd_machine *r, const kd__safetensors *f, const char *path, kd__arena *a, kd_position *p, char *why, size_t n) {
  char id[24], seed[24];
  snprintf(id, sizeof id, "%016" PRIx64, r->fingerprint);
  snprintf(seed, sizeof seed, "%" PRIu64, r->opt.seed);
  const char *text = kd__st_meta(f, "position"), *machine = kd__st_meta(f, "machine"), *with = kd__st_meta(f, "seed"), *data = kd__st_meta(f, "data");
  if (!text || !machine || !with || !data || !kd__st_meta(f, "log") || !kd__st_meta(f, "milliseconds")) return kd__why(why, n, KD_E_FORMAT, "%s: is not a saved run", path);
  if (strcmp(machine, id) != 0) return kd__why(why, n, KD_E_FORMAT, "%s: was saved by another program", path);
  if (strcmp(with, seed) != 0) return kd__why(why, n, KD_E_FORMAT, "%s: was saved by a run with seed %s", path, with);
  kd_status s = check_data(r, data, why, n);
  if (s == KD_OK) s = kd__position_read(p, r->m, text, strlen(text), path, why, n);
  for (uint32_t i = 0; i < r->m->nslot && s == KD_OK; i++) {
    const char *name = kd__arena_printf(a, "slot.%s", r->m->slot[i].name);
    if (kd__slot_kept(r->m, i) && !(name && has(f, name, &r->m->slot[i].type))) s = kd__why(why, n, KD_E_FORMAT, "%s: lacks %s", path, r->m->slot[i].name);
  }
  for (uint32_t i = 0; i < p->nopen && s == KD_OK; i++)                /* of written sets that is known when they are shown */
    if (r->m->dataset[r->m->stream[p->open[i]].dataset].made == KD_MADE_FILES && !kd__stream_has(r, p->open[i], p->stream[p->open[i]].batch)) s = kd__why(why, n, KD_E_FORMAT, "%s: its place in the data is past the end", path);
  for (uint32_t i = 0; i < r->m->ngroup && s == KD_OK; i++) {
    kd_type t = { .dtype = KD_U8, .rank = 1, .dim = { (int64_t)kd__group_bytes(r->m, i) } };
    const char *name = kd__arena_printf(a, "best.%u", i);
    if (!p->best[i].kept) continue;
    if (!(name && has(f, name, &t))) s = kd__why(why, n, KD_E_FORMAT, "%s: lacks the copy that `keep best` kept", path);
    else if (!r->best[i] && !(r->best[i] = kd__block_get((size_t)t.dim[0]))) s = kd__why(why, n, KD_E_MEMORY, "out of memory");
  }
  return s;
}

static void take(kd_machine *r, const kd__safetensors *f, kd__arena *a) {
  for (uint32_t i = 0; i < r->m->nslot; i++) {
    if (!kd__slot_kept(r->m, i)) continue;
    const kd__st_tensor *t = kd__st_find(f, kd__arena_printf(a, "slot.%s", r->m->slot[i].name));
    memcpy(kd__store_at(&r->store, i), t->data, t->bytes);
    kd__store_changed(&r->store, i);
  }
  for (uint32_t i = 0; i < r->m->ngroup; i++) {
    if (!r->pos.best[i].kept) continue;
    const kd__st_tensor *t = kd__st_find(f, kd__arena_printf(a, "best.%u", i));
    memcpy(r->best[i], t->data, t->bytes);
  }
}

kd_status kd__state_read(kd_machine *r, const char *path, int64_t *log, kd__run_error *err) {
  char why[900] = "out of memory";
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd__safetensors f;
  kd_position p;
  if (r->ended) return done(err, KD_E_USAGE, "a run that has ended cannot go on from elsewhere");
  kd_status s = kd__st_open(path, &f, why, sizeof why);
  if (s != KD_OK) return done(err, s, why);
  s = kd__position_init(&p, r->m) ? check(r, &f, path, &a, &p, why, sizeof why) : KD_E_MEMORY;
  if (s == KD_OK) {
    kd_position old = r->pos;
    r->pos = p;
    p = old;
    take(r, &f, &a);
    *log = strtoll(kd__st_meta(&f, "log"), NULL, 10);
    r->progress.opened = kd__now() - (double)strtoll(kd__st_meta(&f, "milliseconds"), NULL, 10) / 1000;
    r->progress.first_step = r->pos.step + 1;
    r->progress.pass = kd__now();
    kd__written_close(r);
    s = kd__written_open(r);
    if (s == KD_OK && r->pos.stage >= 0) s = kd__written_stage(r, r->pos.stage);
    if (s == KD_OK) s = kd__kept_resume(r);
    if (s == KD_OK) s = kd__streams_resume(r);
    if (s != KD_OK) kd__why(why, sizeof why, s, "%.800s", r->error.text);
  }
  kd__position_free(&p);
  kd__st_close(&f);
  kd__arena_free(&a);
  return done(err, s, why);
}

kd_status kd__machine_restore(kd_machine *r, const char *path, kd__run_error *err) {
  int64_t log;
  return kd__state_read(r, path, &log, err);
}
