/* safetensors_write.c: writing, in an order that depends on nothing but the content. */
#include "runtime/files/safetensors.h"
#include <stdlib.h>

/* The tensors' bytes begin at a multiple of this, so that a mapped file can be used in place by vector code. */
enum { START = 64 };

static const char *code_of(kd_dtype t) {
  switch (t) {
  case KD_F32:  return "F32";
  case KD_F64:  return "F64";
  case KD_I64:  return "I64";
  case KD_U8:   return "U8";
  case KD_BOOL: return "BOOL";
  default:      return NULL;
  }
}

static int by_size_and_name(const void *a, const void *b) {
  const kd__st_item *x = *(const kd__st_item *const *)a, *y = *(const kd__st_item *const *)b;
  size_t p = kd__dtype_size(x->type.dtype), q = kd__dtype_size(y->type.dtype);
  return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const kd__st_item *const *)a)->name, (*(const kd__st_item *const *)b)->name);
}

static int by_key(const void *a, const void *b) {
  return strcmp((*(const kd__st_pair *const *)a)->key, (*(const kd__st_pair *const *)b)->key);
}

static bool bytes_of(const kd__st_item *it, size_t *bytes) {
  int64_t count = kd__type_count(&it->type);
  return count >= 0 && !__builtin_mul_overflow((size_t)count, kd__dtype_size(it->type.dtype), bytes);
}

static kd_status add_items(kd__buf *h, const kd__st_item **item, size_t n, const char *path, char *why, size_t nwhy) {
  size_t at = 0, bytes, end;
  for (size_t i = 0; i < n; i++) {
    const kd__st_item *it = item[i];
    const char *code = code_of(it->type.dtype);
    if (!code || !bytes_of(it, &bytes) || __builtin_add_overflow(at, bytes, &end) || strcmp(it->name, "__metadata__") == 0)
      return kd__why(why, nwhy, KD_E_USAGE, "%s: tensor '%s' has a type, size or name that cannot be written", path, it->name);
    if (h->n > 1) kd__buf_putc(h, ',');
    kd__buf_json(h, it->name, strlen(it->name));
    kd__buf_printf(h, ":{\"dtype\":\"%s\",\"shape\":[", code);
    for (int k = 0; k < it->type.rank; k++) kd__buf_printf(h, "%s%lld", k ? "," : "", (long long)it->type.dim[k]);
    kd__buf_printf(h, "],\"data_offsets\":[%zu,%zu]}", at, end);
    at = end;
  }
  return KD_OK;
}

static void add_meta(kd__buf *h, const kd__st_pair **meta, size_t n) {
  if (!n) return;
  kd__buf_puts(h, "\"__metadata__\":{");
  for (size_t i = 0; i < n; i++) {
    if (i) kd__buf_putc(h, ',');
    kd__buf_json(h, meta[i]->key, strlen(meta[i]->key));
    kd__buf_putc(h, ':');
    kd__buf_json(h, meta[i]->value, strlen(meta[i]->value));
  }
  kd__buf_putc(h, '}');
}

static kd_status write_all(const char *path, const kd__buf *h, const kd__st_item **item, size_t n, char *why, size_t nwhy) {
  kd__output o;
  uint8_t length[8];
  size_t bytes = 0;
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)h->n >> 8 * i);
  kd_status s = kd__output_open(&o, path, true, why, nwhy);
  if (s != KD_OK) return s;
  kd__output_write(&o, length, sizeof length);
  kd__output_write(&o, h->p, h->n);
  for (size_t i = 0; i < n; i++)
    if (bytes_of(item[i], &bytes)) kd__output_write(&o, item[i]->data, bytes);
  return kd__output_commit(&o, why, nwhy);
}

kd_status kd__st_write(const char *path, const kd__st_item *item, size_t nitem, const kd__st_pair *meta, size_t nmeta, char *why, size_t n) {
  const kd__st_item **it = malloc((nitem + 1) * sizeof *it);
  const kd__st_pair **me = malloc((nmeta + 1) * sizeof *me);
  kd__buf h = { 0 };
  kd_status s = it && me ? KD_OK : KD_E_MEMORY;
  for (size_t i = 0; i < nitem && s == KD_OK; i++) it[i] = &item[i];
  for (size_t i = 0; i < nmeta && s == KD_OK; i++) me[i] = &meta[i];
  if (s == KD_OK) qsort(it, nitem, sizeof *it, by_name);
  for (size_t i = 1; i < nitem && s == KD_OK; i++)
    if (strcmp(it[i - 1]->name, it[i]->name) == 0) s = kd__why(why, n, KD_E_USAGE, "%s: two tensors are named '%s'", path, it[i]->name);
  if (s == KD_OK) {
    qsort(it, nitem, sizeof *it, by_size_and_name);
    qsort(me, nmeta, sizeof *me, by_key);
    kd__buf_putc(&h, '{');
    add_meta(&h, me, nmeta);
    s = add_items(&h, it, nitem, path, why, n);
    kd__buf_putc(&h, '}');
    while (!h.failed && (h.n + 8) % START) kd__buf_putc(&h, ' ');
    if (s == KD_OK && h.failed) s = KD_E_MEMORY;
  }
  if (s == KD_OK) s = write_all(path, &h, it, nitem, why, n);
  else if (s == KD_E_MEMORY) kd__why(why, n, s, "%s: out of memory", path);
  kd__buf_free(&h);
  free(it);
  free(me);
  return s;
}
