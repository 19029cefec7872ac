/* stored.c: widening of stored elements and reading of whole arrays. */
#include "runtime/files/stored.h"
#include <stdlib.h>

static const bool host_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

kd_dtype kd__stored_dtype(const kd__stored *st) {
  switch (st->kind) {
  case KD_STORED_BOOL:   return KD_BOOL;
  case KD_STORED_BFLOAT: return KD_F32;
  case KD_STORED_FLOAT:  return st->bytes == 8 ? KD_F64 : KD_F32;
  case KD_STORED_UINT:   return st->bytes == 1 ? KD_U8 : KD_I64;
  default:               return KD_I64;
  }
}

bool kd__stored_direct(const kd__stored *st) {
  return (st->bytes == 1 || st->big == host_big) && st->bytes == kd__dtype_size(kd__stored_dtype(st)) && st->kind != KD_STORED_BFLOAT;
}

bool kd__stored_converts(const kd__stored *st, kd_dtype as) {
  kd_dtype own = kd__stored_dtype(st);
  return as == own || (own == KD_F32 && as == KD_F64) || ((own == KD_U8 || own == KD_BOOL) && as == KD_I64);
}

static float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3ff, bits;
  if (e == 0) {                                  /* zero and subnormal: m * 2^-24 is exact */
    float f = (float)m * 0x1p-24f;
    return sign ? -f : f;
  }
  bits = sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* The element's bits, as an unsigned number in the low bytes. */
static uint64_t load(const uint8_t *p, size_t bytes, bool big) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes; i++) v |= (uint64_t)p[i] << 8 * (big ? bytes - 1 - i : i);
  return v;
}

static int64_t as_integer(const kd__stored *st, uint64_t v) {
  unsigned shift = 64 - 8 * (unsigned)st->bytes;
  return st->kind == KD_STORED_INT ? (int64_t)(v << shift) >> shift : (int64_t)v;
}

static double as_real(const kd__stored *st, uint64_t v) {
  if (st->bytes == 8) { double d; memcpy(&d, &v, 8); return d; }
  if (st->bytes == 2 && st->kind == KD_STORED_FLOAT) return half_to_float((uint16_t)v);
  uint32_t w = st->kind == KD_STORED_BFLOAT ? (uint32_t)v << 16 : (uint32_t)v;
  float f;
  memcpy(&f, &w, 4);
  return f;
}

void kd__stored_widen(const kd__stored *st, const void *from, size_t count, kd_dtype as, void *to) {
  const uint8_t *p = from;
  uint8_t *q = to;
  size_t step = kd__dtype_size(as);
  if (kd__stored_direct(st) && as == kd__stored_dtype(st)) { if (count) memmove(to, from, count * step); return; }
  for (size_t i = 0; i < count; i++, p += st->bytes, q += step) {
    uint64_t v = load(p, st->bytes, st->big);
    if (as == KD_F32 && st->kind == KD_STORED_FLOAT && st->bytes == 4) {   /* by its bits, so that a NaN stays what it is */
      uint32_t w = (uint32_t)v;
      memcpy(q, &w, 4);
    } else if (as == KD_F32) { float f = (float)as_real(st, v); memcpy(q, &f, 4); }
    else if (as == KD_F64)   { double d = as_real(st, v); memcpy(q, &d, 8); }
    else if (as == KD_I64)   { int64_t k = as_integer(st, v); memcpy(q, &k, 8); }
    else                     *q = (uint8_t)v;
  }
}

static kd_status wrong_size(const char *name, const kd_type *t, uint64_t want, uint64_t got, bool more, char *why, size_t n) {
  char text[200];
  kd__sample_text(t, text, sizeof text);
  if (more)
    return kd__why(why, n, KD_E_FORMAT, "%s: goes on after its end: the header says %s, %llu bytes, and more follows; is it the right file?", name, text,
                   (unsigned long long)want);
  return kd__why(why, n, KD_E_FORMAT, "%s: ends too early: the header says %s, %llu bytes, and there are %llu; fetch the file again", name, text,
                 (unsigned long long)want, (unsigned long long)got);
}

kd_status kd__stored_read(kd__input *in, const kd__stored *st, kd_type *type, kd_array *out, char *why, size_t n) {
  const char *name = kd__input_name(in);
  type->dtype = (uint8_t)kd__stored_dtype(st);
  int64_t count = kd__type_count(type);
  size_t size = kd__dtype_size(type->dtype);
  char text[200];
  if (count < 0 || (uint64_t)count > SIZE_MAX / 2 / size)
    return kd__why(why, n, KD_E_FORMAT, "%s: the header says %s, which no memory can hold; the file is damaged", name, kd__sample_text(type, text, sizeof text));
  uint64_t want = (uint64_t)count * st->bytes, bound = kd__input_bound(in), used = kd__input_position(in);
  uint64_t left = kd__input_gzip(in) ? bound : bound - used;
  if (want > left) return wrong_size(name, type, want, left, false, why, n);
  if (!kd__input_gzip(in) && want < left) return wrong_size(name, type, want, left, true, why, n);
  kd_array a = { .type = *type };
  if (kd__stored_direct(st) && kd__input_take(in, (size_t)want, &a)) { *out = a; return KD_OK; }
  /* Stored bytes go to the end of the block, so that they widen in place. */
  size_t whole = (size_t)count * size;
  a.heap = malloc(whole ? whole : 1);
  if (!a.heap) return kd__why(why, n, KD_E_MEMORY, "%s: out of memory (%zu bytes)", name, whole);
  char *tail = (char *)a.heap + (whole - (size_t)want), extra;
  size_t got = 0, after = 0;
  kd_status s = kd__input_read(in, tail, (size_t)want, &got, why, n);
  if (s == KD_OK && got < want) s = wrong_size(name, type, want, got, false, why, n);
  if (s == KD_OK) s = kd__input_read(in, &extra, 1, &after, why, n);
  if (s == KD_OK && after) s = wrong_size(name, type, want, 0, true, why, n);
  if (s != KD_OK) { kd__array_free(&a); return s; }
  kd__stored_widen(st, tail, (size_t)count, type->dtype, a.heap);
  a.data = a.heap;
  *out = a;
  return KD_OK;
}

kd_status kd__start_array(kd__input *in, kd__start_fn start, kd_array *out, char *why, size_t n) {
  kd__stored st;
  kd_type t;
  *out = (kd_array){ 0 };
  kd_status s = start(in, &st, &t, why, n);
  return s == KD_OK ? kd__stored_read(in, &st, &t, out, why, n) : s;
}

kd_status kd__start_header(const char *path, kd__start_fn start, kd_type *type, char *why, size_t n) {
  kd__input *in;
  kd__stored st;
  kd_status s = kd__input_open(path, &in, why, n);
  if (s != KD_OK) return s;
  s = start(in, &st, type, why, n);
  kd__input_close(in);
  return s;
}

kd_status kd__start_read(const char *path, kd__start_fn start, kd_array *out, char *why, size_t n) {
  *out = (kd_array){ 0 };
  kd__input *in;
  kd_status s = kd__input_open(path, &in, why, n);
  if (s != KD_OK) return s;
  s = kd__start_array(in, start, out, why, n);
  kd__input_close(in);
  return s;
}
