/* data.c: opening and checking data sets. */
#include "runtime/data/data.h"
#include "runtime/data/cache.h"
#include "runtime/files/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* An array may serve several splits and fields; it is opened once. */
typedef struct opened {
  struct opened *next;
  const char *path;                              /* the file found */
  const kd__format *format;
  kd__read_spec spec;
  kd_array array;                                /* only described: the type alone */
} opened;

struct kd_data {
  kd__arena arena;
  const kd_dataset *def;
  kd__split_data *split;
  opened *all;
};

/* What every step of opening needs. */
typedef struct job { kd_data *d; const kd__search *search; bool describe; char *why; size_t n; } job;

static kd_status no_memory(const job *j) { return kd__why(j->why, j->n, KD_E_MEMORY, "data '%s': out of memory", j->d->def->name); }

char *kd__data_find(const char *const *folder, size_t nfolder, const char *name) {
  struct stat st;
  size_t count = name[0] == '/' ? 1 : nfolder;
  for (size_t i = 0; i < count; i++)
    for (int gz = 0; gz < 2; gz++) {
      const char *f = name[0] == '/' ? "" : folder[i][0] ? folder[i] : ".";
      char *path;
      if (asprintf(&path, "%s%s%s%s", f, *f && f[strlen(f) - 1] != '/' ? "/" : "", name, gz ? ".gz" : "") < 0) return NULL;
      if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) return path;
      free(path);
    }
  return NULL;
}

kd_status kd__weights_find(const kd__search *s, const char *name, char **out, char *why, size_t n) {
  static const char *const here[] = { "." };
  *out = kd__data_find(s->folder, s->nfolder, name);
  if (!*out) *out = kd__data_find(here, 1, name);
  if (*out) return KD_OK;
  if (name[0] == '/') return kd__why(why, n, KD_E_DATA, "there is no file %s", name);
  kd__buf b = { 0 };
  for (size_t i = 0; i < s->nfolder; i++) kd__buf_printf(&b, "%s, ", s->folder[i]);
  kd_status st = b.failed ? kd__why(why, n, KD_E_MEMORY, "out of memory")
                          : kd__why(why, n, KD_E_DATA, "cannot find %s in %sthe present folder; name the folder that has it with --data", name, b.p ? b.p : "");
  kd__buf_free(&b);
  return st;
}

static kd_status missing(const job *j, const char *name) {
  kd__buf b = { 0 };
  kd__buf_printf(&b, "data '%s': cannot find %s (nor %s.gz)", j->d->def->name, name, name);
  if (name[0] != '/') {
    kd__buf_puts(&b, " in ");
    for (size_t i = 0; i < j->search->nfolder; i++) kd__buf_printf(&b, "%s%s", i ? ", " : "", j->search->folder[i]);
    if (!j->search->nfolder) kd__buf_puts(&b, "any folder: the search path is empty");
    kd__buf_puts(&b, "; ");
    if (j->d->def->package) kd__buf_printf(&b, "install it with: apt-get install %s, or ", j->d->def->package);
    kd__buf_puts(&b, "name the folder that has it in KD_DATA");
  }
  kd_status s = b.failed ? no_memory(j) : kd__why(j->why, j->n, KD_E_DATA, "%s", b.p);
  kd__buf_free(&b);
  return s;
}

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

/* Takes "file#part" apart and finds the file. */
static kd_status locate(const job *j, const kd_field_source *f, opened *o) {
  o->format = kd__format_find(f->format);
  if (!o->format) return kd__why(j->why, j->n, KD_E_USAGE, "data '%s': there is no file format '%s'", j->d->def->name, f->format);
  o->spec = (kd__read_spec){ .column_from = f->column_from, .column_to = f->column_to, .dtype = (kd_dtype)f->type.dtype };
  const char *hash = strrchr(f->path, '#');
  if (strcmp(f->format, "safetensors") != 0) hash = NULL;
  char *name = kd__arena_strndup(&j->d->arena, f->path, hash ? (size_t)(hash - f->path) : strlen(f->path));
  if (!name) return no_memory(j);
  if (hash) o->spec.part = hash + 1;
  char *path = kd__data_find(j->search->folder, j->search->nfolder, name);
  if (!path) return missing(j, name);
  o->path = kd__arena_strndup(&j->d->arena, path, strlen(path));
  free(path);
  return o->path ? KD_OK : no_memory(j);
}

/* Reads through the cache. A source that changed while it was read is not kept. */
static kd_status read_array(const job *j, opened *o) {
  const char *cache = j->search->cache;
  kd__cache_id id, after;
  bool known = cache && kd__cache_identify(o->path, o->format->name, &o->spec, &id);
  if (known && kd__cache_get(cache, &id, &o->array)) return KD_OK;
  kd_status s = o->format->read(o->path, &o->spec, &o->array, j->why, j->n);
  if (s != KD_OK || !known || o->array.map) return s;
  if (kd__cache_identify(o->path, o->format->name, &o->spec, &after) && after.content == id.content) kd__cache_put(cache, &id, &o->array);
  return KD_OK;
}

static kd_status open_array(const job *j, const kd_field_source *f, const opened **out) {
  opened want = { 0 };
  kd_status s = locate(j, f, &want);
  if (s != KD_OK) return s;
  for (opened *o = j->d->all; o; o = o->next)
    if (o->format == want.format && strcmp(o->path, want.path) == 0 && o->spec.column_from == want.spec.column_from &&
        o->spec.column_to == want.spec.column_to && o->spec.dtype == want.spec.dtype && same_text(o->spec.part, want.spec.part)) {
      *out = o;
      return KD_OK;
    }
  opened *o = KD_NEW(&j->d->arena, opened);
  if (!o) return no_memory(j);
  *o = want;
  s = j->describe ? o->format->header(o->path, &o->spec, &o->array.type, j->why, j->n) : read_array(j, o);
  if (s != KD_OK) return s;
  o->next = j->d->all;
  j->d->all = o;
  *out = o;
  return KD_OK;
}

/* Dimensions agree but for those of size 1, which programs keep to themselves, or the file's rows are flat and hold as many numbers (columns of a
 * table as an image). */
static bool fits(const kd_type *have, const kd_type *want) {
  if (have->rank == 0 || have->dtype != want->dtype) return false;
  kd_type sample = { .dtype = have->dtype };
  for (uint8_t i = 1; i < have->rank; i++)
    if (have->dim[i] != 1) sample.dim[sample.rank++] = have->dim[i];
  return kd__type_equal(&sample, want) || (sample.rank <= 1 && kd__type_count(&sample) == kd__type_count(want));
}

static kd_status open_field(const job *j, const kd_split *sp, const kd_field_source *f, kd__column *c) {
  const opened *o = NULL;
  kd_status s = open_array(j, f, &o);
  if (s != KD_OK) return s;
  const kd_type *have = &o->array.type;
  int64_t count = kd__type_count(&f->type);
  size_t size = kd__dtype_size(f->type.dtype);
  if (!fits(have, &f->type)) {
    char a[200], b[200];
    kd_type sample = *have;
    sample.rank = have->rank ? have->rank - 1 : 0;
    memmove(sample.dim, have->dim + 1, sizeof sample.dim - sizeof *sample.dim);
    return kd__why(j->why, j->n, KD_E_DATA, "data '%s': field '%s' of '%s' is declared as %s a sample, and %s holds %s", j->d->def->name, f->name, sp->name,
                   kd__sample_text(&f->type, a, sizeof a), o->path, kd__sample_text(&sample, b, sizeof b));
  }
  if (count < 0 || (uint64_t)count > (uint64_t)INT64_MAX / size) return kd__why(j->why, j->n, KD_E_DATA, "%s: a sample is too large", o->path);
  *c = (kd__column){ .source = f, .path = o->path, .type = f->type, .sample_bytes = (size_t)count * size, .file_rows = have->dim[0], .data = o->array.data };
  return KD_OK;
}

static bool integer_at(const kd__column *c, size_t i, int64_t *v) {
  const uint8_t *p = c->data;
  if (c->type.dtype == KD_I64) memcpy(v, p + i * 8, 8);
  else if (c->type.dtype == KD_U8) *v = p[i];
  else return false;
  return true;
}

static kd_status check_below(const job *j, const kd__split_data *sp, const kd__column *c) {
  int64_t limit = c->source->below, v, each = kd__type_count(&c->type);
  if (limit <= 0 || kd__dtype_real(c->type.dtype) || (c->type.dtype == KD_U8 && limit > 255)) return KD_OK;
  size_t n = (size_t)sp->count * (size_t)each;
  for (size_t i = 0; i < n && integer_at(c, i, &v); i++)
    if (v < 0 || v >= limit)
      return kd__why(j->why, j->n, KD_E_DATA, "%s: sample %lld (counted from 0; number %lld of split '%s') has %s %lld, and it must be from 0 to %lld", c->path,
                     (long long)(sp->first + (int64_t)i / each), (long long)((int64_t)i / each), sp->name, c->source->name, (long long)v, (long long)limit - 1);
  return KD_OK;
}

/* Which rows the split takes, all fields having as many. */
static kd_status choose_rows(const job *j, const kd_split *def, kd__split_data *sp) {
  const char *data = j->d->def->name;
  if (sp->nfield == 0) return kd__why(j->why, j->n, KD_E_USAGE, "data '%s': split '%s' has no fields", data, sp->name);
  int64_t rows = sp->field[0].file_rows;
  for (uint32_t i = 1; i < sp->nfield; i++)
    if (sp->field[i].file_rows != rows)
      return kd__why(j->why, j->n, KD_E_DATA, "data '%s': fields of '%s' differ in length: %s has %lld rows, %s has %lld", data, sp->name, sp->field[0].path,
                     (long long)rows, sp->field[i].path, (long long)sp->field[i].file_rows);
  int64_t count = def->count == -1 && def->first >= 0 && def->first <= rows ? rows - def->first : def->count;
  if (def->first < 0 || count < 0 || def->first > rows || count > rows - def->first)
    return kd__why(j->why, j->n, KD_E_DATA, "data '%s': split '%s' asks for %lld rows from row %lld on, and %s has %lld", data, sp->name, (long long)def->count,
                   (long long)def->first, sp->field[0].path, (long long)rows);
  if (count == 0) return kd__why(j->why, j->n, KD_E_DATA, "data '%s': split '%s' is empty (%s)", data, sp->name, sp->field[0].path);
  sp->first = def->first;
  sp->count = count;
  return KD_OK;
}

static kd_status open_split(const job *j, const kd_split *def, kd__split_data *sp) {
  *sp = (kd__split_data){ .name = def->name, .nfield = def->nfield };
  sp->field = KD_NEWN(&j->d->arena, kd__column, def->nfield + 1);
  if (!sp->field) return no_memory(j);
  kd_status s = KD_OK;
  for (uint32_t i = 0; i < def->nfield && s == KD_OK; i++) s = open_field(j, def, &def->field[i], &sp->field[i]);
  if (s == KD_OK) s = choose_rows(j, def, sp);
  for (uint32_t i = 0; i < def->nfield && s == KD_OK && !j->describe; i++) {
    kd__column *c = &sp->field[i];
    c->data = (const char *)c->data + (size_t)sp->first * c->sample_bytes;
    s = check_below(j, sp, c);
  }
  return s;
}

static kd_status open_all(const kd_dataset *def, const kd__search *search, bool describe, kd_data **out, char *why, size_t n) {
  *out = NULL;
  kd_data *d = calloc(1, sizeof *d);
  if (!d) return kd__why(why, n, KD_E_MEMORY, "data '%s': out of memory", def->name);
  kd__arena_init(&d->arena, NULL, NULL);
  d->def = def;
  d->split = KD_NEWN(&d->arena, kd__split_data, def->nsplit + 1);
  job j = { d, search, describe, why, n };
  kd_status s = d->split ? KD_OK : no_memory(&j);
  for (uint32_t i = 0; i < def->nsplit && s == KD_OK; i++) s = open_split(&j, &def->split[i], &d->split[i]);
  if (s != KD_OK) { kd__data_close(d); return s; }
  *out = d;
  return KD_OK;
}

kd_status kd__data_open(const kd_dataset *d, const kd__search *s, kd_data **out, char *why, size_t n) { return open_all(d, s, false, out, why, n); }
kd_status kd__data_describe(const kd_dataset *d, const kd__search *s, kd_data **out, char *why, size_t n) { return open_all(d, s, true, out, why, n); }

kd_status kd__data_empty(const kd_dataset *def, kd_data **out, char *why, size_t n) {
  *out = NULL;
  kd_data *d = calloc(1, sizeof *d);
  if (!d) return kd__why(why, n, KD_E_MEMORY, "data '%s': out of memory", def->name);
  kd__arena_init(&d->arena, NULL, NULL);
  d->def = def;
  d->split = KD_NEW(&d->arena, kd__split_data);
  const kd_split *s = def->split;
  if (d->split) d->split->field = KD_NEWN(&d->arena, kd__column, s->nfield + 1);
  if (!d->split || !d->split->field) {
    kd__data_close(d);
    return kd__why(why, n, KD_E_MEMORY, "data '%s': out of memory", def->name);
  }
  d->split->name = s->name;
  d->split->nfield = s->nfield;
  for (uint32_t i = 0; i < s->nfield; i++)
    d->split->field[i] = (kd__column){ .source = &s->field[i], .type = s->field[i].type,
                                       .sample_bytes = (size_t)kd__type_count(&s->field[i].type) * kd__dtype_size((kd_dtype)s->field[i].type.dtype) };
  *out = d;
  return KD_OK;
}

void kd__data_show(kd_data *d, int64_t count, const kd__shown *column, const int64_t *number) {
  kd__split_data *s = d->split;
  s->count = count;
  s->number = number;
  for (uint32_t i = 0; i < s->nfield; i++) {
    s->field[i].file_rows = count;
    s->field[i].data = column[i].data;
    s->field[i].row = column[i].row;
  }
}

uint32_t kd__data_splits(const kd_data *d) { return d->def->nsplit; }
const kd__split_data *kd__data_split(const kd_data *d, uint32_t i) { return i < d->def->nsplit ? &d->split[i] : NULL; }

const kd__split_data *kd__data_split_named(const kd_data *d, const char *name) {
  for (uint32_t i = 0; i < d->def->nsplit; i++)
    if (strcmp(d->split[i].name, name) == 0) return &d->split[i];
  return NULL;
}

void kd__data_close(kd_data *d) {
  if (!d) return;
  for (opened *o = d->all; o; o = o->next) kd__array_free(&o->array);
  kd__arena_free(&d->arena);
  free(d);
}
