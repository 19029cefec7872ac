/* settings.c: settings.json written, read back, and held against the machine that goes on with the run. */
#include "runtime/run/machine.h"
#include "runtime/run/settings.h"
#include "runtime/files/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WHY = 700, FILE_MAX = 64 << 20 };

static void put_text(kd__buf *b, const char *s) { kd__buf_json(b, s ? s : "", s ? strlen(s) : 0); }
static void put_key(kd__buf *b, const char *key) { kd__buf_printf(b, ",\n  \"%s\": ", key); }
static const char *yes(bool v) { return v ? "true" : "false"; }

/* --- the machine that it runs on ---------------------------------------------------------------------------------------------- */
static void put_processor(kd__buf *b) {
  char *text, *line = NULL;
  size_t n;
  if (kd__file_read("/proc/cpuinfo", 16 << 20, &text, &n, NULL, 0) != KD_OK) { kd__buf_puts(b, "unknown"); return; }
  char *at = strstr(text, "model name");
  if (at && (line = strchr(at, ':'))) line[strcspn(line, "\n")] = 0;
  kd__buf_puts(b, line && line[1] == ' ' ? line + 2 : "unknown");
  free(text);
}

static bool seen_before(char *const *line, size_t n) {
  for (size_t i = 0; i < n; i++) if (strcmp(line[i], line[n]) == 0) return true;
  return false;
}

/* The kernels of one plan, each kind of call once; from malloc, NULL without memory. */
static char *kernel_lines(const kd_bound *bound) {
  kd__buf text = { 0 }, out = { 0 };
  kd__bound_describe(bound, &text);
  size_t lines = 0, n = 0;
  for (size_t i = 0; i < text.n; i++) lines += text.p[i] == '\n';
  char **line = calloc(lines + 1, sizeof *line), *rest = text.p;
  out.failed = !line || text.failed;
  kd__buf_puts(&out, "");
  while (!out.failed && rest && n < lines) {
    line[n] = strsep(&rest, "\n");
    if (seen_before(line, n)) { lines--; continue; }
    if (n) kd__buf_putc(&out, '\n');
    kd__buf_puts(&out, line[n++]);
  }
  free(line);
  kd__buf_free(&text);
  if (!out.failed && !out.p) kd__buf_add(&out, "", 1);
  if (!out.failed) return out.p;
  kd__buf_free(&out);
  return NULL;
}

kd_status kd__record_bound(kd_machine *r, uint32_t plan, uint32_t origin) {
  if (!r->folder) return KD_OK;
  char *now = kernel_lines(r->bound[plan]), *then = r->kernels[plan];
  if (!now) return kd__fail(r, KD_E_MEMORY, origin, "out of memory");
  r->bound_new = true;
  r->kernels[plan] = now;
  bool same = !then || strcmp(now, then) == 0;
  if (!same) {
    kd__fail(r, KD_E_UNAVAILABLE, origin, "program `%s` would run other kernels here than where the run began, and end in other bits: `%.200s` there, `%.200s` here; "
             "go on with it on a machine of that kind", r->m->plan[plan]->name, then, now);
    r->kernels[plan] = then;
    free(now);
    return KD_E_UNAVAILABLE;
  }
  free(then);
  return KD_OK;
}

/* --- names of the sources' copies ------------------------------------------------------------------------------------------------ */
/* "source/" and the parts of the name that lead downwards; <stdlib>/x.kd is source/stdlib/x.kd. */
static char *source_name(const char *name, size_t number) {
  kd__buf b = { 0 };
  kd__buf_puts(&b, "source");
  if (number) kd__buf_printf(&b, "/%zu", number);
  for (const char *p = name; *p;) {
    size_t k = strcspn(p, "/");
    bool up = k == 0 || (k == 1 && p[0] == '.') || (k == 2 && p[0] == '.' && p[1] == '.'), inside = p == name && k > 2 && p[0] == '<' && p[k - 1] == '>';
    if (!up) { kd__buf_putc(&b, '/'); kd__buf_add(&b, p + inside, k - 2 * inside); }
    p += k + (p[k] == '/');
  }
  for (size_t i = 0; i < b.n && !b.failed; i++) if (b.p[i] == '\n') b.p[i] = '_';
  if (!b.failed) return b.p;
  kd__buf_free(&b);
  return NULL;
}

/* Two names may come to the same one ("../a.kd", "a.kd"): the later gets its number in between. */
bool kd__record_names(kd_machine *r) {
  r->source_file = calloc(r->opt.nsource + 1, sizeof *r->source_file);
  for (size_t i = 0; r->source_file && i < r->opt.nsource; i++) {
    if (!(r->source_file[i] = source_name(r->opt.source[i].name, 0))) return false;
    if (!seen_before(r->source_file, i)) continue;
    free(r->source_file[i]);
    if (!(r->source_file[i] = source_name(r->opt.source[i].name, i + 1))) return false;
  }
  return r->source_file != NULL;
}

/* --- writing ----------------------------------------------------------------------------------------------------------------------- */
/* Relative folders mean something in the present folder alone. From malloc; NULL: no memory. */
static char *whole_path(const char *folder) {
  char *real = realpath(folder[0] ? folder : ".", NULL), *here = NULL, *path = NULL;
  if (real || folder[0] == '/') return real ? real : strdup(folder);
  here = realpath(".", NULL);
  if (here && asprintf(&path, "%s/%s", here, folder) < 0) path = NULL;
  free(here);
  return path;
}

static void put_folders(const kd_machine *r, kd__buf *b) {
  size_t n = r->opt.search.nfolder, k = 0;
  char **path = calloc(n + 1, sizeof *path);
  kd__buf_putc(b, '[');
  for (size_t i = 0; path && i < n; i++) {
    path[k] = whole_path(r->opt.search.folder[i]);
    if (!path[k]) { b->failed = true; break; }
    if (seen_before(path, k)) { free(path[k]); continue; }
    kd__buf_puts(b, k ? ", " : "");
    put_text(b, path[k++]);
  }
  for (size_t i = 0; i < k; i++) free(path[i]);
  b->failed = b->failed || !path;
  free(path);
  kd__buf_putc(b, ']');
}

static void put_sources(const kd_machine *r, kd__buf *b) {
  for (size_t i = 0; i < r->opt.nsource; i++) {
    const kd__source_copy *s = &r->opt.source[i];
    kd__buf_puts(b, i ? ",\n    { \"name\": " : "\n    { \"name\": "); put_text(b, s->name);
    kd__buf_puts(b, ", \"file\": "); put_text(b, r->source_file[i]);
    kd__buf_printf(b, ", \"size\": %zu, \"hash\": \"%016" PRIx64 "\" }", s->size, kd__hash(s->text, s->size, 0));
  }
}

static void put_lines(kd__buf *b, const char *lines) {
  kd__buf_putc(b, '[');
  for (const char *p = lines; *p;) {
    size_t k = strcspn(p, "\n");
    kd__buf_puts(b, p == lines ? "\n      " : ",\n      ");
    kd__buf_json(b, p, k);
    p += k + (p[k] == '\n');
  }
  kd__buf_putc(b, ']');
}

static void put_seed(kd__buf *b, uint64_t seed) {
  kd__buf_printf(b, seed <= INT64_MAX ? "%" PRIu64 : "\"%" PRIu64 "\"", seed);           /* JSON readers have signed integers */
}

/* For people: a resumed run has them from its checkpoint. */
static void put_decided(const kd_module *m, kd__buf *b) {
  kd__buf_putc(b, '[');
  for (uint32_t i = 0; i < m->ndecision && m->decision[i].made; i++) {
    kd__buf_puts(b, i ? ", { \"name\": " : "{ \"name\": "); put_text(b, m->decision[i].name);
    kd__buf_printf(b, ", \"value\": %" PRId64 " }", m->decision[i].value);
  }
  kd__buf_putc(b, ']');
}

static const char *const cache_modes[] = { "program", "auto", "off", "memory", "disk" };
enum { CACHE_MODES = sizeof cache_modes / sizeof *cache_modes };

/* What was decided follows from the rest. Room that nothing asked for is not written down: what is free differs from run to run. */
static void put_cache(const kd_machine *r, kd__buf *b) {
  bool asked = false;
  for (uint32_t i = 0; i < r->m->nfrozen; i++) asked = asked || r->m->frozen[i].where >= KD_KEEPING_ROOM;
  int mode = r->opt.cache >= 0 && r->opt.cache < CACHE_MODES ? r->opt.cache : 0;
  kd__buf_printf(b, "{ \"mode\": \"%s\", \"given\": %s, ", cache_modes[mode], r->opt.cache_given ? "true" : "false");
  if (asked) kd__buf_printf(b, "\"memory\": %" PRId64 ", \"disk\": %" PRId64, r->opt.cache_memory, r->opt.cache_disk);
  else kd__buf_puts(b, "\"memory\": null, \"disk\": null");
  kd__buf_puts(b, ", \"kept\": [");
  for (uint32_t i = 0; i < r->m->nkept; i++) { kd__buf_puts(b, i ? ", " : ""); put_text(b, r->m->kept[i].name); }
  kd__buf_puts(b, "] }");
}

static void put_weights(const kd_machine *r, kd__buf *b) {
  bool any = false;
  kd__buf_putc(b, '[');
  for (uint32_t i = 0; i < r->m->nweights; i++) {
    if (!r->weights[i].path) continue;
    kd__buf_puts(b, any ? ",\n    { \"name\": " : "\n    { \"name\": "); put_text(b, r->m->weights[i]);
    kd__buf_puts(b, ", \"path\": "); put_text(b, r->weights[i].path);
    kd__buf_printf(b, ", \"hash\": \"%016" PRIx64 "\" }", r->weights[i].hash);
    any = true;
  }
  kd__buf_putc(b, ']');
}

kd_status kd__record_settings(kd_machine *r) {
  const kd__run_options *o = &r->opt;
  char why[WHY];
  kd__buf b = { 0 };
  bool any = false;
  kd__buf_puts(&b, "{\n  \"program\": "); put_text(&b, r->m->name);
  put_key(&b, "path"); put_text(&b, o->path);
  put_key(&b, "kdc"); put_text(&b, o->version);
  put_key(&b, "machine"); kd__buf_printf(&b, "\"%016" PRIx64 "\"", r->begun);
  put_key(&b, "settings"); kd__buf_putc(&b, '[');
  for (size_t i = 0; i < o->nsetting; i++) { kd__buf_puts(&b, i ? ", " : ""); put_text(&b, o->setting[i]); }
  kd__buf_putc(&b, ']');
  put_key(&b, "decided"); put_decided(r->m, &b);
  put_key(&b, "seed"); put_seed(&b, o->seed);
  kd__buf_printf(&b, ",\n  \"threads\": %d,\n  \"deterministic\": %s,\n  \"dnnl\": %s,\n  \"winograd\": %d,\n  \"reference\": %s,\n  \"jit\": %s", r->set.threads, yes(r->set.deterministic), yes(r->set.use_dnnl),
                 (int)r->set.winograd, yes(r->set.reference), yes(r->set.jit));
  put_key(&b, "real"); put_text(&b, kd__dtype_name(r->m->real));
  put_key(&b, "fuse"); kd__buf_puts(&b, yes(!o->no_fuse));
  put_key(&b, "memory"); kd__buf_printf(&b, "%" PRId64, o->memory_limit);
  put_key(&b, "checkpoint"); kd__buf_puts(&b, "{ \"seconds\": "); kd__json_number(&b, o->checkpoint_seconds);
  kd__buf_printf(&b, ", \"steps\": %" PRId64 " }", o->checkpoint_steps);
  put_key(&b, "cache"); put_cache(r, &b);
  put_key(&b, "stdlib"); if (o->stdlib) put_text(&b, o->stdlib); else kd__buf_puts(&b, "null");
  put_key(&b, "data"); put_folders(r, &b);
  put_key(&b, "sources"); kd__buf_putc(&b, '['); put_sources(r, &b); kd__buf_putc(&b, ']');
  put_key(&b, "weights"); put_weights(r, &b);
  put_key(&b, "processor"); put_text(&b, r->processor.p);
  put_key(&b, "libraries"); put_text(&b, r->libraries.p);
  put_key(&b, "kernels"); kd__buf_putc(&b, '{');
  for (uint32_t i = 0; i < r->m->nplan; i++) {
    if (!r->kernels[i]) continue;
    kd__buf_puts(&b, any ? ",\n    " : "\n    "); put_text(&b, r->m->plan[i]->name);
    kd__buf_puts(&b, ": "); put_lines(&b, r->kernels[i]);
    any = true;
  }
  kd__buf_puts(&b, "}\n}\n");
  kd_status s = b.failed ? kd__why(why, sizeof why, KD_E_MEMORY, "settings.json: out of memory")
                         : kd__folder_write(r->folder, "settings.json", b.p, b.n, true, why, sizeof why);
  kd__buf_free(&b);
  return s == KD_OK ? s : kd__fail(r, s, 0, "%s", why);
}

void kd__record_machine(kd_machine *r) {
  kd__kernel_libraries(&r->libraries);
  if (r->set.jit) kd__buf_printf(&r->libraries, ", %s", kd__jit_about());
  put_processor(&r->processor);
}

/* --- reading: `ok` is sticky ------------------------------------------------------------------------------------------------------- */
typedef struct reader { const json_t *o; kd__arena *a; bool ok, memory; } reader;

static const char *keep(reader *r, const json_t *v) {
  if (!json_is_string(v)) { r->ok = false; return ""; }
  char *s = kd__arena_strndup(r->a, json_string_value(v), json_string_length(v));
  if (!s) r->memory = false;
  return s ? s : "";
}

static const char *get_text(reader *r, const json_t *o, const char *key) { return keep(r, json_object_get(o, key)); }

static int64_t get_int(reader *r, const json_t *o, const char *key, int64_t limit) {
  const json_t *v = json_object_get(o, key);
  if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > limit) { r->ok = false; return 0; }
  return (int64_t)json_integer_value(v);
}

static bool get_bool(reader *r, const char *key) {
  const json_t *v = json_object_get(r->o, key);
  if (!json_is_boolean(v)) r->ok = false;
  return json_is_true(v);
}

static uint64_t get_bits(reader *r, const json_t *v, int base) {
  char *end = NULL;
  const char *s = json_string_value(v);
  uint64_t bits = s && *s ? strtoull(s, &end, base) : 0;
  if (!end || *end) r->ok = false;
  return bits;
}

static const char **get_texts(reader *r, const char *key, size_t *n) {
  const json_t *list = json_object_get(r->o, key);
  const char **v = KD_NEWN(r->a, const char *, json_array_size(list) + 1);
  if (!json_is_array(list)) r->ok = false;
  if (!v) { r->memory = false; return NULL; }
  *n = json_array_size(list);
  for (size_t i = 0; i < *n; i++) v[i] = keep(r, json_array_get(list, i));
  return v;
}

static void get_kernels(reader *r, kd__settings *s) {
  json_t *all = json_object_get(r->o, "kernels"), *list;
  const char *plan;
  s->kernel = KD_NEWN(r->a, kd__settings_kernels, json_object_size(all) + 1);
  if (!json_is_object(all)) r->ok = false;
  if (!s->kernel) { r->memory = false; return; }
  json_object_foreach(all, plan, list) {
    kd__buf b = { 0 };
    for (size_t i = 0; i < json_array_size(list); i++) {
      if (i) kd__buf_putc(&b, '\n');
      kd__buf_puts(&b, keep(r, json_array_get(list, i)));
    }
    kd__settings_kernels k = { kd__arena_strndup(r->a, plan, strlen(plan)), kd__arena_strndup(r->a, b.n ? b.p : "", b.n) };
    if (b.failed || !k.plan || !k.lines) r->memory = false;
    kd__buf_free(&b);
    s->kernel[s->nkernel++] = k;
  }
}

static void get_weights(reader *r, kd__settings *s) {
  const json_t *list = json_object_get(r->o, "weights");
  s->weights = KD_NEWN(r->a, kd__settings_weights, json_array_size(list) + 1);
  if (!json_is_array(list)) r->ok = false;
  if (!s->weights) { r->memory = false; return; }
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *o = json_array_get(list, i);
    s->weights[s->nweights++] = (kd__settings_weights){ get_text(r, o, "name"), get_text(r, o, "path"), get_bits(r, json_object_get(o, "hash"), 16) };
  }
}

static void get_plain(reader *r, kd__settings *s) {
  const json_t *seed = json_object_get(r->o, "seed"), *every = json_object_get(r->o, "checkpoint"), *stdlib = json_object_get(r->o, "stdlib");
  s->program = get_text(r, r->o, "program");
  s->path = get_text(r, r->o, "path");
  s->version = get_text(r, r->o, "kdc");
  s->stdlib = json_is_null(stdlib) ? NULL : keep(r, stdlib);
  s->fingerprint = get_bits(r, json_object_get(r->o, "machine"), 16);
  s->setting = get_texts(r, "settings", &s->nsetting);
  s->seed = json_is_integer(seed) && json_integer_value(seed) >= 0 ? (uint64_t)json_integer_value(seed) : get_bits(r, seed, 10);
  s->threads = (int)get_int(r, r->o, "threads", 1024);
  s->deterministic = get_bool(r, "deterministic");
  s->dnnl = get_bool(r, "dnnl");
  s->winograd = (int)get_int(r, r->o, "winograd", KD_WINOGRAD_ON);
  s->reference = get_bool(r, "reference");
  s->jit = get_bool(r, "jit");
  const json_t *seconds = json_object_get(every, "seconds");
  if (!json_is_number(seconds)) r->ok = false;
  s->checkpoint_seconds = json_number_value(seconds);
  s->checkpoint_steps = get_int(r, every, "steps", INT64_MAX);
  const json_t *cache = json_object_get(r->o, "cache");
  const char *mode = get_text(r, cache, "mode");
  while (s->cache < CACHE_MODES - 1 && strcmp(mode, cache_modes[s->cache]) != 0) s->cache++;
  s->cache_given = json_is_true(json_object_get(cache, "given"));
  bool asked = !json_is_null(json_object_get(cache, "memory"));
  s->cache_memory = asked ? get_int(r, cache, "memory", INT64_MAX) : -1;
  s->cache_disk = asked ? get_int(r, cache, "disk", INT64_MAX) : -1;
  const char *real = get_text(r, r->o, "real");
  s->real = strcmp(real, kd__dtype_name(KD_F64)) == 0 ? KD_F64 : KD_F32;
  if (strcmp(real, kd__dtype_name(s->real)) != 0) r->ok = false;
  s->fuse = get_bool(r, "fuse");
  s->memory_limit = get_int(r, r->o, "memory", INT64_MAX);
  s->processor = get_text(r, r->o, "processor");
  s->libraries = get_text(r, r->o, "libraries");
  s->folder = get_texts(r, "data", &s->nfolder);
  get_kernels(r, s);
  get_weights(r, s);
}

static kd_status get_source(reader *r, const char *folder, const json_t *o, kd__source_copy *out, char *why, size_t n) {
  char *text;
  const char *file = get_text(r, o, "file"), *name = get_text(r, o, "name");
  size_t size = (size_t)get_int(r, o, "size", FILE_MAX);
  uint64_t hash = get_bits(r, json_object_get(o, "hash"), 16);
  const char *path = kd__arena_printf(r->a, "%s/%s", folder, file);
  if (!r->ok || !r->memory || !path) return KD_OK;                       /* told by the caller */
  kd_status s = kd__file_read(path, FILE_MAX, &text, &out->size, why, n);
  if (s != KD_OK) return s;
  out->name = name;
  out->text = kd__arena_strndup(r->a, text, out->size);
  free(text);
  if (!out->text) { r->memory = false; return KD_OK; }
  if (out->size != size || kd__hash(out->text, size, 0) != hash) return kd__why(why, n, KD_E_FORMAT, "%s: is not the text that the run was compiled from any more", path);
  return KD_OK;
}

static kd_status parse(const char *folder, const char *path, const json_t *o, kd__settings *out, char *why, size_t n) {
  reader r = { o, &out->arena, true, true };
  const json_t *list = json_object_get(o, "sources");
  get_plain(&r, out);
  out->nsource = json_array_size(list);
  out->source = KD_NEWN(&out->arena, kd__source_copy, out->nsource + 1);
  if (!json_is_array(list)) r.ok = false;
  if (!out->source) r.memory = false;
  kd_status s = KD_OK;
  for (size_t i = 0; i < out->nsource && r.ok && r.memory && s == KD_OK; i++) s = get_source(&r, folder, json_array_get(list, i), &out->source[i], why, n);
  if (!r.memory) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  if (!r.ok) return kd__why(why, n, KD_E_FORMAT, "%s: lacks what is needed to go on with the run: was it changed, or written by another version of kdc?", path);
  return s;
}

static kd_status absent(const char *folder, const char *marker, char *why, size_t n) {
  struct stat st;
  if (stat(folder, &st) != 0) return kd__why(why, n, KD_E_IO, "%s: there is no such folder", folder);
  if (access(marker, F_OK) != 0) return kd__why(why, n, KD_E_IO, "%s: is not the folder of a run", folder);
  return kd__why(why, n, KD_E_IO, "%s: the run ended before its settings were written, so nothing is lost: begin it again with `kdc run`", folder);
}

kd_status kd__settings_load(const char *folder, kd__settings **out, char *why, size_t n) {
  json_t *o = NULL;
  *out = NULL;
  kd__settings *set = calloc(1, sizeof *set);
  if (!set) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  kd__arena_init(&set->arena, NULL, NULL);
  const char *path = kd__arena_printf(&set->arena, "%s/settings.json", folder), *marker = kd__arena_printf(&set->arena, "%s/" KD__RUN_MARKER, folder);
  kd_status s = path && marker ? KD_OK : kd__why(why, n, KD_E_MEMORY, "out of memory");
  if (s == KD_OK && (access(path, F_OK) != 0 || access(marker, F_OK) != 0)) s = absent(folder, marker, why, n);
  if (s == KD_OK) s = kd__json_load(path, FILE_MAX, &o, why, n);
  if (s == KD_OK) s = parse(folder, path, o, set, why, n);
  json_decref(o);
  if (s == KD_OK) *out = set;
  else kd__settings_free(set);
  return s;
}

void kd__settings_free(kd__settings *s) {
  if (!s) return;
  kd__arena_free(&s->arena);
  free(s->decided);
  free(s);
}

/* --- held against this machine ------------------------------------------------------------------------------------------------------- */
static kd_status differs(char *why, size_t n, const char *what, const char *then, const char *now) {
  return kd__why(why, n, KD_E_UNAVAILABLE, "the run began with %s `%s`, and here is `%s`: it would end in other bits; go on with it where it began", what, then, now ? now : "");
}

kd_status kd__settings_fit(kd_machine *r, const kd__settings *s, char *why, size_t n) {
  bool decided = r->m->ndecision && r->m->decision[0].made;
  if (!decided && s->fingerprint != r->fingerprint) return kd__why(why, n, KD_E_FORMAT, "the program was compiled to something else when the run began: this is another version of kdc");
  r->begun = s->fingerprint;
  if (s->seed != r->opt.seed || s->threads != r->set.threads || s->deterministic != r->set.deterministic || s->dnnl != r->set.use_dnnl || s->winograd != (int)r->set.winograd ||
       s->reference != r->set.reference || s->jit != r->set.jit)
    return kd__why(why, n, KD_E_USAGE, "seed, threads and kernels must be those that the run began with");
  if (strcmp(s->libraries, r->libraries.p ? r->libraries.p : "") != 0) return differs(why, n, "the libraries", s->libraries, r->libraries.p);
  if (strcmp(s->processor, r->processor.p ? r->processor.p : "") != 0) return differs(why, n, "the processor", s->processor, r->processor.p);
  for (size_t k = 0; k < s->nweights; k++)
    for (uint32_t i = 0; i < r->m->nweights; i++) {
      if (r->weights[i].path || strcmp(r->m->weights[i], s->weights[k].name) != 0) continue;
      r->weights[i].hash = s->weights[k].hash;
      if (!(r->weights[i].path = strdup(s->weights[k].path))) return kd__why(why, n, KD_E_MEMORY, "out of memory");
    }
  for (size_t k = 0; k < s->nkernel; k++)
    for (uint32_t i = 0; i < r->m->nplan; i++) {
      if (strcmp(r->m->plan[i]->name, s->kernel[k].plan) != 0) continue;
      free(r->kernels[i]);
      if (!(r->kernels[i] = strdup(s->kernel[k].lines))) return kd__why(why, n, KD_E_MEMORY, "out of memory");
    }
  return KD_OK;
}
