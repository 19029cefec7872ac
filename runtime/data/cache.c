/* cache.c: decoded copies, see cache.h. Layout: a page with the header, then the array. */
#include "runtime/data/cache.h"
#include "runtime/files/file.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { START = 4096, ENDS = 64 << 10, VERSION = 1, ORDER_MARK = 0x01020304 };

typedef struct header {
  char magic[8];
  uint32_t version, order;                       /* byte order of the machine that wrote it */
  kd__cache_id id;
  uint32_t dtype, rank;
  int64_t dim[KD_MAX_RANK];
  uint64_t bytes, data_hash, header_hash;        /* header_hash: of all before it */
} header;
static const char magic[8] = "kdcache";
_Static_assert(sizeof(header) <= START, "the header fits its page");

static uint64_t header_hash(const header *h) { return kd__hash(h, offsetof(header, header_hash), VERSION); }

bool kd__cache_identify(const char *path, const char *format, const kd__read_spec *s, kd__cache_id *id) {
  kd__map_file m;
  struct stat st;
  char *real = realpath(path, NULL);
  if (!real) return false;
  bool ok = stat(real, &st) == 0 && kd__map_open(real, &m, NULL, 0) == KD_OK;
  if (ok) {
    uint64_t spec[3] = { (uint64_t)s->column_from, (uint64_t)s->column_to, s->dtype };
    uint64_t seen[3] = { m.n, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec };
    size_t ends = m.n < ENDS ? m.n : ENDS;
    id->place = kd__hash(real, strlen(real), kd__hash(format, strlen(format), kd__hash(spec, sizeof spec, 0)));
    if (s->part) id->place = kd__hash(s->part, strlen(s->part), id->place);
    id->content = kd__hash(seen, sizeof seen, 0);
    if (ends) id->content = kd__hash(m.p, ends, kd__hash(m.p + m.n - ends, ends, id->content));
    kd__map_close(&m);
  }
  free(real);
  return ok;
}

static char *name_of(const char *folder, const kd__cache_id *id) {
  char *name;
  return asprintf(&name, "%s/%016llx.kdcache", folder, (unsigned long long)id->place) < 0 ? NULL : name;
}

/* All of it is checked, the content too: one pass at memory speed, against unpacking again. */
static bool intact(const kd__map_file *m, const kd__cache_id *id, kd_type *t) {
  header h;
  if (m->n < START) return false;
  memcpy(&h, m->p, sizeof h);
  if (memcmp(h.magic, magic, sizeof magic) != 0 || h.version != VERSION || h.order != ORDER_MARK || h.header_hash != header_hash(&h)) return false;
  if (h.id.place != id->place || h.id.content != id->content) return false;
  if (h.dtype >= KD_DTYPE_COUNT || h.rank > KD_MAX_RANK || h.bytes != m->n - START) return false;
  *t = (kd_type){ .dtype = (uint8_t)h.dtype, .rank = (uint8_t)h.rank };
  memcpy(t->dim, h.dim, sizeof h.dim);
  int64_t count = kd__type_count(t);
  if (count < 0 || (uint64_t)count > SIZE_MAX / 8 || (uint64_t)count * kd__dtype_size(t->dtype) != h.bytes) return false;
  return kd__hash(m->p + START, (size_t)h.bytes, VERSION) == h.data_hash;
}

bool kd__cache_get(const char *folder, const kd__cache_id *id, kd_array *out) {
  char *name = name_of(folder, id);
  kd__map_file m = { 0 };
  kd_type t;
  bool ok = name && kd__map_open(name, &m, NULL, 0) == KD_OK && intact(&m, id, &t);
  free(name);
  if (ok) *out = (kd_array){ .type = t, .data = m.p + START, .map = (void *)(uintptr_t)m.p, .map_bytes = m.n };
  else kd__map_close(&m);
  return ok;
}

void kd__cache_put(const char *folder, const kd__cache_id *id, const kd_array *a) {
  int64_t count = kd__type_count(&a->type);
  size_t bytes = (size_t)count * kd__dtype_size(a->type.dtype);
  static const char zero[START];
  header h;
  memset(&h, 0, sizeof h);                       /* padding is hashed */
  memcpy(h.magic, magic, sizeof magic);
  h.version = VERSION;
  h.order = ORDER_MARK;
  h.id = *id;
  h.dtype = a->type.dtype;
  h.rank = a->type.rank;
  memcpy(h.dim, a->type.dim, sizeof h.dim);
  h.bytes = bytes;
  h.data_hash = kd__hash(a->data, bytes, VERSION);
  h.header_hash = header_hash(&h);
  char *name = name_of(folder, id);
  kd__output o;
  if (name && kd__make_folders(folder) && kd__output_open(&o, name, false, NULL, 0) == KD_OK) {
    kd__output_write(&o, &h, sizeof h);
    kd__output_write(&o, zero, START - sizeof h);
    kd__output_write(&o, a->data, bytes);
    kd__output_commit(&o, NULL, 0);
  }
  free(name);
}
