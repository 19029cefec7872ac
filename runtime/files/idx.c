/* idx.c: IDX, the format of MNIST and its successors: two zero bytes, a type byte, the rank, the sizes (big-endian u32), the data. */
#include "runtime/files/stored.h"

static bool stored_of(uint8_t code, kd__stored *st) {
  switch (code) {
  case 0x08: *st = (kd__stored){ KD_STORED_UINT, 1, true }; return true;
  case 0x09: *st = (kd__stored){ KD_STORED_INT, 1, true }; return true;
  case 0x0b: *st = (kd__stored){ KD_STORED_INT, 2, true }; return true;
  case 0x0c: *st = (kd__stored){ KD_STORED_INT, 4, true }; return true;
  case 0x0d: *st = (kd__stored){ KD_STORED_FLOAT, 4, true }; return true;
  case 0x0e: *st = (kd__stored){ KD_STORED_FLOAT, 8, true }; return true;
  default:   return false;
  }
}

static kd_status read_start(kd__input *in, kd__stored *st, kd_type *t, char *why, size_t n) {
  const char *name = kd__input_name(in);
  uint8_t h[4], dims[4 * KD_MAX_RANK];
  size_t got;
  *t = (kd_type){ 0 };
  kd_status s = kd__input_read(in, h, sizeof h, &got, why, n);
  if (s != KD_OK) return s;
  if (got < sizeof h) return kd__why(why, n, KD_E_FORMAT, "%s: too short to be an IDX file (%zu bytes); fetch it again", name, got);
  if (h[0] || h[1]) return kd__why(why, n, KD_E_FORMAT, "%s: is no IDX file: it begins with %02x %02x, not 00 00", name, h[0], h[1]);
  if (!stored_of(h[2], st)) return kd__why(why, n, KD_E_FORMAT, "%s: is no IDX file: 0x%02x stands where the element type should", name, h[2]);
  if (h[3] == 0 || h[3] > KD_MAX_RANK)
    return kd__why(why, n, KD_E_FORMAT, "%s: an IDX file of %d axes is not supported (1 to %d are)", name, h[3], KD_MAX_RANK);
  size_t bytes = (size_t)h[3] * 4;
  s = kd__input_read(in, dims, bytes, &got, why, n);
  if (s != KD_OK) return s;
  if (got < bytes) return kd__why(why, n, KD_E_FORMAT, "%s: ends within its IDX header; fetch it again", name);
  t->dtype = (uint8_t)kd__stored_dtype(st);
  t->rank = h[3];
  for (int i = 0; i < t->rank; i++)
    t->dim[i] = (int64_t)((uint32_t)dims[4 * i] << 24 | (uint32_t)dims[4 * i + 1] << 16 | (uint32_t)dims[4 * i + 2] << 8 | dims[4 * i + 3]);
  return KD_OK;
}

kd_status kd__idx_read_input(kd__input *in, kd_array *out, char *why, size_t n) { return kd__start_array(in, read_start, out, why, n); }

kd_status kd__idx_header(const char *path, const kd__read_spec *spec, kd_type *type, char *why, size_t n) {
  (void)spec;
  return kd__start_header(path, read_start, type, why, n);
}

kd_status kd__idx_read(const char *path, const kd__read_spec *spec, kd_array *out, char *why, size_t n) {
  (void)spec;
  return kd__start_read(path, read_start, out, why, n);
}
