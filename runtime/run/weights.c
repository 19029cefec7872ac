/* weights.c: networks that begin with what a safetensors file holds. A file is found and looked at before the run begins and read when the program
 * says so: at its start, and again where it resets a network. All of that must be the same bytes, whatever happens to the file in between. */
#include "runtime/run/machine.h"
#include "runtime/files/safetensors.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { WHY = 700 };

/* --- the file ------------------------------------------------------------------------------------------------------------------ */
static kd_status find(const kd_machine *r, uint32_t file, char **path, char *why, size_t n) {
  if (!r->weights[file].path) return kd__weights_find(&r->opt.search, r->m->weights[file], path, why, n);
  *path = strdup(r->weights[file].path);
  return *path ? KD_OK : kd__why(why, n, KD_E_MEMORY, "out of memory");
}

/* Opens the file. The first time it is remembered, later it must be as it was. */
static kd_status open_file(kd_machine *r, uint32_t file, kd__safetensors *f, char *why, size_t n) {
  kd__weights_file *w = &r->weights[file];
  char *path;
  kd_status s = find(r, file, &path, why, n);
  if (s != KD_OK) return s;
  s = kd__st_open(path, f, why, n);
  uint64_t hash = s == KD_OK ? kd__hash(f->map.p, f->map.n, f->map.n) : 0;
  if (s == KD_OK && w->path && w->hash != hash)
    s = kd__why(why, n, KD_E_DATA, "%s: its weights are not those any more that the run began with: bring the old file back", path);
  if (s == KD_OK && !w->path) {
    w->path = realpath(path, NULL);
    w->hash = hash;
    r->bound_new = r->folder != NULL;            /* settings.json names it */
    if (!w->path) s = kd__why(why, n, KD_E_IO, "%s: cannot tell where it lies", path);
  }
  free(path);
  if (s != KD_OK) kd__st_close(f);
  return s;
}

/* --- what a load takes of it ------------------------------------------------------------------------------------------------------ */
static void show(const kd_type *t, char *to, size_t n) {
  size_t at = (size_t)snprintf(to, n, "[");
  for (int i = 0; i < t->rank && at < n; i++) at += (size_t)snprintf(to + at, n - at, "%s%" PRId64, i ? ", " : "", t->dim[i]);
  if (at < n) snprintf(to + at, n - at, "]");
}

static bool same_shape(const kd_type *a, const kd_type *b) {
  return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof *a->dim * a->rank) == 0;
}

static kd_status check(const kd_machine *r, const kd_load *l, const kd__safetensors *f, char *why, size_t n) {
  const char *file = r->m->weights[l->file];
  for (uint32_t i = 0; i < l->n; i++) {
    const kd_type *want = &r->m->slot[l->slot[i]].type;
    const kd__st_tensor *t = kd__st_find(f, l->name[i]);
    char a[200], b[200];
    if (!t) return kd__why(why, n, KD_E_DATA, "%.200s has no `%.150s`, which network `%.60s` needs", file, l->name[i], l->network);
    if (!kd__load_fits((kd_dtype)t->type.dtype, (kd_dtype)want->dtype))
      return kd__why(why, n, KD_E_DATA, "`%.150s` is of type %s in %.200s, and network `%.60s` has %s there", l->name[i], t->stored, file, l->network, kd__dtype_name((kd_dtype)want->dtype));
    if (same_shape(&t->type, want)) continue;
    show(&t->type, a, sizeof a);
    show(want, b, sizeof b);
    return kd__why(why, n, KD_E_DATA, "`%.150s` is %s in %.200s, and %s in network `%.60s`", l->name[i], a, file, b, l->network);
  }
  return KD_OK;
}

/* Real numbers of twice the size are rounded on their way. */
static bool copy(const kd__st_tensor *t, kd_dtype to, void *data) {
  if (to != KD_F32 || t->type.dtype != KD_F64) return kd__st_copy(t, to, data);
  size_t count = t->bytes / sizeof(double);
  double *wide = malloc(t->bytes ? t->bytes : 1);
  bool ok = wide && kd__st_copy(t, KD_F64, wide);
  for (size_t i = 0; ok && i < count; i++) ((float *)data)[i] = (float)wide[i];
  free(wide);
  return ok;
}

/* --- the machine's --------------------------------------------------------------------------------------------------------------- */
static uint32_t origin_of(const kd_module *m, uint32_t load) {
  for (uint32_t i = 0; i < m->ncode; i++) if (m->code[i].op == KD_CODE_LOAD && m->code[i].a == load) return m->code[i].origin;
  return 0;
}

/* A new run removes what an earlier one wrote in its folder. */
static bool in_the_way(const kd_machine *r, const char *path) {
  char *out = r->opt.out ? realpath(r->opt.out, NULL) : NULL;
  size_t n = out ? strlen(out) : 0;
  bool in = out && strncmp(path, out, n) == 0 && path[n] == '/';
  free(out);
  return in;
}

kd_status kd__weights_open(kd_machine *r) {
  char why[WHY] = "out of memory";
  for (uint32_t i = 0; i < r->m->nload; i++) {
    kd__safetensors f;
    if (r->m->load[i].n == 0) continue;
    kd_status s = open_file(r, r->m->load[i].file, &f, why, sizeof why);
    if (s == KD_OK) {
      s = check(r, &r->m->load[i], &f, why, sizeof why);
      kd__st_close(&f);
    }
    if (s == KD_OK && in_the_way(r, r->weights[r->m->load[i].file].path))
      s = kd__why(why, sizeof why, KD_E_USAGE, "%.500s: lies in the folder that this run writes anew; choose another folder with --out", r->weights[r->m->load[i].file].path);
    if (s != KD_OK) return kd__fail(r, s, origin_of(r->m, i), "%s", why);
  }
  return KD_OK;
}

static kd_status record(kd_machine *r, const kd_load *l) {
  if (!r->folder) return KD_OK;
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "load");
  kd__buf_puts(&b, ",\"network\":"); kd__buf_json(&b, l->network, strlen(l->network));
  kd__buf_puts(&b, ",\"file\":"); kd__buf_json(&b, r->m->weights[l->file], strlen(r->m->weights[l->file]));
  kd__buf_printf(&b, ",\"hash\":\"%016" PRIx64 "\"}", r->weights[l->file].hash);
  return kd__record_line(r, &b);
}

kd_status kd__weights_load(kd_machine *r, uint32_t load, uint32_t origin) {
  const kd_load *l = &r->m->load[load];
  char why[WHY] = "out of memory";
  kd__safetensors f;
  kd_status s = open_file(r, l->file, &f, why, sizeof why);
  if (s != KD_OK) return kd__fail(r, s, origin, "%s", why);
  s = check(r, l, &f, why, sizeof why);
  for (uint32_t i = 0; i < l->n && s == KD_OK; i++)
    if (kd__store_changed(&r->store, l->slot[i]), !copy(kd__st_find(&f, l->name[i]), (kd_dtype)r->m->slot[l->slot[i]].type.dtype, kd__store_at(&r->store, l->slot[i])))
      s = kd__why(why, sizeof why, KD_E_MEMORY, "out of memory");
  kd__st_close(&f);
  return s == KD_OK ? record(r, l) : kd__fail(r, s, origin, "%s", why);
}
