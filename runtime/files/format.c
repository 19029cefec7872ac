/* format.c: the table of formats. */
#include "runtime/files/format.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static const kd__format table[] = {
#define KD_FORMAT(id, name, header, read, doc) { name, header, read, doc },
#include "runtime/files/formats.def"
#undef KD_FORMAT
};

const kd__format *kd__format_at(size_t i) { return i < sizeof table / sizeof *table ? &table[i] : NULL; }

const kd__format *kd__format_find(const char *name) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(table[i].name, name) == 0) return &table[i];
  return NULL;
}

void kd__array_free(kd_array *a) {
  if (a->map) munmap(a->map, a->map_bytes);
  free(a->heap);
  *a = (kd_array){ 0 };
}

const char *kd__sample_text(const kd_type *t, char *buf, size_t n) {
  size_t at = 0;
  buf[0] = 0;
  for (int i = 0; i < t->rank && at < n; i++) {
    int k = snprintf(buf + at, n - at, "%s%lld", i ? " x " : "", (long long)t->dim[i]);
    at += k > 0 ? (size_t)k : 0;
  }
  if (at < n) snprintf(buf + at, n - at, "%s%s", t->rank ? " " : "", kd__dtype_name(t->dtype));
  return buf;
}
