/* safetensors.c: reading. Every number of the header is checked before it is used; the tensors' own numbers are not looked at. */
#include "runtime/files/safetensors.h"
#include "runtime/files/format.h"
#include "runtime/files/json.h"
#include "runtime/files/stored.h"
#include <stdlib.h>

enum { HEADER_MOST = 100000000 };                /* the limit of the reference implementation */

static const struct { const char *code; kd__stored stored; } codes[] = {
  { "F32",  { KD_STORED_FLOAT, 4, false } },  { "F64", { KD_STORED_FLOAT, 8, false } },  { "I64", { KD_STORED_INT, 8, false } },
  { "U8",   { KD_STORED_UINT, 1, false } },   { "BOOL", { KD_STORED_BOOL, 1, false } },  { "I32", { KD_STORED_INT, 4, false } },
  { "I16",  { KD_STORED_INT, 2, false } },    { "I8",  { KD_STORED_INT, 1, false } },    { "U16", { KD_STORED_UINT, 2, false } },
  { "U32",  { KD_STORED_UINT, 4, false } },   { "F16", { KD_STORED_FLOAT, 2, false } },  { "BF16", { KD_STORED_BFLOAT, 2, false } },
};

static const kd__stored *stored_of(const char *code) {
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (strcmp(codes[i].code, code) == 0) return &codes[i].stored;
  return NULL;
}

/* What one parse needs at hand. */
typedef struct parse { const char *name; kd__safetensors *out; const uint8_t *data; size_t bytes; char *why; size_t n; } parse;

static kd_status bad(const parse *p, const char *tensor, const char *what) {
  return kd__why(p->why, p->n, KD_E_FORMAT, "%s: tensor '%.100s': %s; the file is damaged or no safetensors file", p->name, tensor, what);
}

static kd_status no_memory(const parse *p) { return kd__why(p->why, p->n, KD_E_MEMORY, "%s: out of memory", p->name); }

/* The member as a number from 0 up; -1 otherwise. */
static int64_t natural(const json_t *v) {
  if (!json_is_integer(v)) return -1;
  json_int_t k = json_integer_value(v);
  return k >= 0 && k < INT64_MAX ? (int64_t)k : -1;
}

static kd_status parse_tensor(const parse *p, const char *name, const json_t *v, kd__st_tensor *t) {
  const json_t *dtype = json_object_get(v, "dtype"), *shape = json_object_get(v, "shape"), *range = json_object_get(v, "data_offsets");
  if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(range) || json_array_size(range) != 2 || json_object_size(v) != 3)
    return bad(p, name, "it must have dtype, shape and data_offsets [begin, end] and nothing else");
  const char *code = json_string_value(dtype);
  const kd__stored *st = stored_of(code);
  if (!st) return kd__why(p->why, p->n, KD_E_FORMAT, "%s: tensor '%.100s': element type '%.20s' is not supported", p->name, name, code);
  size_t rank = json_array_size(shape);
  if (rank > KD_MAX_RANK) return kd__why(p->why, p->n, KD_E_FORMAT, "%s: tensor '%.100s': %zu axes are not supported (%d are)", p->name, name, rank, KD_MAX_RANK);
  t->type = (kd_type){ .dtype = (uint8_t)kd__stored_dtype(st), .rank = (uint8_t)rank };
  for (size_t i = 0; i < rank; i++)
    if ((t->type.dim[i] = natural(json_array_get(shape, i))) < 0) return bad(p, name, "a size in its shape is not a natural number");
  int64_t begin = natural(json_array_get(range, 0)), end = natural(json_array_get(range, 1)), count = kd__type_count(&t->type), want;
  if (begin < 0 || end < begin || (uint64_t)end > p->bytes) return bad(p, name, "its data_offsets lie outside the file");
  if (count < 0 || __builtin_mul_overflow(count, (int64_t)st->bytes, &want) || want != end - begin)
    return bad(p, name, "its shape and its data_offsets disagree about its size");
  size_t len = strlen(name);
  t->name = kd__arena_strndup(&p->out->arena, name, len);
  t->stored = kd__arena_strndup(&p->out->arena, code, strlen(code));
  t->direct = kd__stored_direct(st);
  t->data = p->data + begin;
  t->bytes = (size_t)want;
  return t->name && t->stored ? KD_OK : no_memory(p);
}

static kd_status parse_meta(const parse *p, json_t *v) {
  if (!json_is_object(v)) return kd__why(p->why, p->n, KD_E_FORMAT, "%s: __metadata__ must map texts to texts", p->name);
  kd__safetensors *f = p->out;
  f->meta = KD_NEWN(&f->arena, kd__st_pair, json_object_size(v) + 1);
  if (!f->meta) return no_memory(p);
  const char *key;
  json_t *value;
  json_object_foreach(v, key, value) {
    if (!json_is_string(value)) return kd__why(p->why, p->n, KD_E_FORMAT, "%s: __metadata__ '%.100s' is not a text", p->name, key);
    kd__st_pair pair = { kd__arena_strndup(&f->arena, key, strlen(key)),
                         kd__arena_strndup(&f->arena, json_string_value(value), json_string_length(value)) };
    if (!pair.key || !pair.value) return no_memory(p);
    f->meta[f->nmeta++] = pair;
  }
  return KD_OK;
}

static int by_data(const void *a, const void *b) {
  const kd__st_tensor *x = a, *y = b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b) { return strcmp(((const kd__st_tensor *)a)->name, ((const kd__st_tensor *)b)->name); }

/* End to end from the first byte to the last: so nothing overlaps, and nothing hides between. */
static kd_status check_ranges(const parse *p) {
  kd__safetensors *f = p->out;
  qsort(f->tensor, f->n, sizeof *f->tensor, by_data);
  const uint8_t *at = p->data;
  for (size_t i = 0; i < f->n; i++) {
    const kd__st_tensor *t = &f->tensor[i];
    if ((const uint8_t *)t->data != at) return bad(p, t->name, (const uint8_t *)t->data < at ? "its bytes overlap another tensor's" : "there is a gap before its bytes");
    at += t->bytes;
  }
  size_t used = (size_t)(at - p->data);
  if (used != p->bytes)
    return kd__why(p->why, p->n, KD_E_FORMAT, "%s: %zu bytes belong to no tensor; the file is damaged", p->name, p->bytes - used);
  qsort(f->tensor, f->n, sizeof *f->tensor, by_name);
  return KD_OK;
}

static kd_status parse_root(const parse *p, json_t *root) {
  kd__safetensors *f = p->out;
  if (!json_is_object(root)) return kd__why(p->why, p->n, KD_E_FORMAT, "%s: its header is no JSON object", p->name);
  f->tensor = KD_NEWN(&f->arena, kd__st_tensor, json_object_size(root) + 1);
  if (!f->tensor) return no_memory(p);
  const char *key;
  json_t *value;
  json_object_foreach(root, key, value) {
    kd_status s = strcmp(key, "__metadata__") == 0 ? parse_meta(p, value) : parse_tensor(p, key, value, &f->tensor[f->n]);
    if (s != KD_OK) return s;
    f->n += strcmp(key, "__metadata__") != 0;
  }
  return check_ranges(p);
}

kd_status kd__st_parse(const void *bytes, size_t nbytes, const char *name, kd__safetensors *out, char *why, size_t n) {
  *out = (kd__safetensors){ 0 };
  const uint8_t *p = bytes;
  uint64_t header = 0;
  if (nbytes < 8) return kd__why(why, n, KD_E_FORMAT, "%s: too short to be a safetensors file (%zu bytes)", name, nbytes);
  for (int i = 0; i < 8; i++) header |= (uint64_t)p[i] << 8 * i;
  if (header > HEADER_MOST || header > nbytes - 8)
    return kd__why(why, n, KD_E_FORMAT, "%s: its header should be %llu bytes long, and the file has %zu: it is cut off or no safetensors file", name,
                   (unsigned long long)header, nbytes);
  kd__arena_init(&out->arena, NULL, NULL);
  json_t *root;
  kd_status s = kd__json_parse((const char *)p + 8, (size_t)header, name, &root, why, n);
  if (s == KD_OK) {
    parse all = { name, out, p + 8 + header, nbytes - 8 - (size_t)header, why, n };
    s = parse_root(&all, root);
    json_decref(root);
  }
  if (s != KD_OK) kd__st_close(out);
  return s;
}

kd_status kd__st_open(const char *path, kd__safetensors *out, char *why, size_t n) {
  *out = (kd__safetensors){ 0 };
  kd__map_file map;
  kd_status s = kd__map_open(path, &map, why, n);
  if (s != KD_OK) return s;
  s = kd__st_parse(map.p, map.n, path, out, why, n);
  if (s != KD_OK) kd__map_close(&map);
  else out->map = map;
  return s;
}

void kd__st_close(kd__safetensors *f) {
  if (f->arena.alloc) kd__arena_free(&f->arena);
  kd__map_close(&f->map);
  *f = (kd__safetensors){ 0 };
}

const kd__st_tensor *kd__st_find(const kd__safetensors *f, const char *name) {
  kd__st_tensor key = { .name = name };
  return f->n ? bsearch(&key, f->tensor, f->n, sizeof *f->tensor, by_name) : NULL;
}

const char *kd__st_meta(const kd__safetensors *f, const char *key) {
  for (size_t i = 0; i < f->nmeta; i++)
    if (strcmp(f->meta[i].key, key) == 0) return f->meta[i].value;
  return NULL;
}

bool kd__st_copy(const kd__st_tensor *t, kd_dtype as, void *to) {
  const kd__stored *st = stored_of(t->stored);
  if (!st || !kd__stored_converts(st, as)) return false;
  kd__stored_widen(st, t->data, t->bytes / st->bytes, as, to);
  return true;
}

/* --- as a format of data sets: one tensor of a file ------------------------------------------------------------------- */
static kd_status pick(const char *path, const kd__read_spec *s, kd__safetensors *f, const kd__st_tensor **t, char *why, size_t n) {
  kd_status st = kd__st_open(path, f, why, n);
  if (st != KD_OK) return st;
  *t = s->part ? kd__st_find(f, s->part) : f->n == 1 ? f->tensor : NULL;
  if (*t && (*t)->type.rank > 0) return KD_OK;
  st = *t ? kd__why(why, n, KD_E_FORMAT, "%s: tensor '%s' is a single number, not rows", path, (*t)->name)
     : s->part ? kd__why(why, n, KD_E_FORMAT, "%s: has no tensor '%s'; it has %zu, the first is '%s'", path, s->part, f->n, f->n ? f->tensor[0].name : "")
               : kd__why(why, n, KD_E_FORMAT, "%s: holds %zu tensors: say which, as in %s#NAME", path, f->n, path);
  kd__st_close(f);
  return st;
}

kd_status kd__st_header(const char *path, const kd__read_spec *s, kd_type *type, char *why, size_t n) {
  kd__safetensors f;
  const kd__st_tensor *t;
  kd_status st = pick(path, s, &f, &t, why, n);
  if (st != KD_OK) return st;
  *type = t->type;
  kd__st_close(&f);
  return KD_OK;
}

kd_status kd__st_read(const char *path, const kd__read_spec *s, kd_array *out, char *why, size_t n) {
  *out = (kd_array){ 0 };
  kd__safetensors f;
  const kd__st_tensor *t;
  kd_status st = pick(path, s, &f, &t, why, n);
  if (st != KD_OK) return st;
  out->type = t->type;
  if (t->direct) {
    out->data = t->data;
    out->map = (void *)(uintptr_t)f.map.p;
    out->map_bytes = f.map.n;
    f.map = (kd__map_file){ 0 };
  } else {
    size_t count = (size_t)kd__type_count(&t->type), size = kd__dtype_size(t->type.dtype), bytes;
    out->heap = __builtin_mul_overflow(count, size, &bytes) ? NULL : malloc(bytes ? bytes : 1);
    out->data = out->heap;
    if (out->heap) kd__st_copy(t, t->type.dtype, out->heap);
    else st = kd__why(why, n, KD_E_MEMORY, "%s: out of memory", path);
  }
  kd__st_close(&f);
  if (st != KD_OK) *out = (kd_array){ 0 };
  return st;
}
