/* npy.c: NumPy's array files: a magic, a version, a Python dictionary as text, the data. */
#include "runtime/files/stored.h"
#include <stdio.h>
#include <stdlib.h>

enum { HEADER_MOST = 1 << 16 };

/* The text after `'key':`, or NULL. The dictionary has three known keys and no nesting but the shape. */
static const char *value_of(const char *text, const char *key) {
  char quoted[32];
  snprintf(quoted, sizeof quoted, "'%s'", key);
  const char *p = strstr(text, quoted);
  if (!p) return NULL;
  p += strlen(quoted);
  p += strspn(p, " ");
  if (*p != ':') return NULL;
  p++;
  return p + strspn(p, " ");
}

static bool parse_descr(const char *p, kd__stored *st) {
  if (!p || p[0] != '\'' || !p[1] || !p[2] || !p[3] || p[4] != '\'') return false;
  uint8_t bytes = (uint8_t)(p[3] - '0');
  if (p[1] != '<' && p[1] != '>' && !((p[1] == '|' || p[1] == '=') && bytes == 1)) return false;
  if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) return false;
  *st = (kd__stored){ KD_STORED_INT, bytes, p[1] == '>' };
  switch (p[2]) {
  case 'i': return true;
  case 'u': st->kind = KD_STORED_UINT; return bytes < 8;
  case 'f': st->kind = KD_STORED_FLOAT; return bytes > 1;
  case 'b': st->kind = KD_STORED_BOOL; return bytes == 1;
  default:  return false;
  }
}

static bool parse_shape(const char *p, kd_type *t) {
  if (!p || *p++ != '(') return false;
  for (;;) {
    p += strspn(p, " ");
    if (*p == ')') return true;
    if (*p < '0' || *p > '9' || t->rank == KD_MAX_RANK) return false;
    int64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++)
      if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v)) return false;
    t->dim[t->rank++] = v;
    p += strspn(p, " ");
    if (*p == ',') p++;
    else if (*p != ')') return false;
  }
}

static kd_status parse_text(const char *name, const char *text, kd__stored *st, kd_type *t, char *why, size_t n) {
  const char *order = value_of(text, "fortran_order");
  if (!parse_descr(value_of(text, "descr"), st))
    return kd__why(why, n, KD_E_FORMAT, "%s: its element type is not one of u1-u4, i1-i8, f2-f8, b1: %.60s", name, text);
  if (!order || strncmp(order, "False", 5) != 0)
    return kd__why(why, n, KD_E_FORMAT, "%s: is in Fortran order; save it with numpy.ascontiguousarray", name);
  if (!parse_shape(value_of(text, "shape"), t)) return kd__why(why, n, KD_E_FORMAT, "%s: its shape cannot be read: %.120s", name, text);
  if (t->rank == 0) return kd__why(why, n, KD_E_FORMAT, "%s: holds a single number, not an array", name);
  t->dtype = (uint8_t)kd__stored_dtype(st);
  return KD_OK;
}

static kd_status read_start(kd__input *in, kd__stored *st, kd_type *t, char *why, size_t n) {
  const char *name = kd__input_name(in);
  uint8_t h[12];
  size_t got, more = 0, len;
  *t = (kd_type){ 0 };
  kd_status s = kd__input_read(in, h, 10, &got, why, n);
  if (s != KD_OK) return s;
  if (got < 10 || memcmp(h, "\x93NUMPY", 6) != 0) return kd__why(why, n, KD_E_FORMAT, "%s: is no NumPy array file (.npy)", name);
  if (h[6] < 1 || h[6] > 3) return kd__why(why, n, KD_E_FORMAT, "%s: .npy version %d is unknown", name, h[6]);
  len = h[8] | (size_t)h[9] << 8;
  if (h[6] > 1) {
    s = kd__input_read(in, h + 10, 2, &more, why, n);
    if (s != KD_OK) return s;
    len |= more == 2 ? (size_t)h[10] << 16 | (size_t)h[11] << 24 : SIZE_MAX;
  }
  if (len > HEADER_MOST) return kd__why(why, n, KD_E_FORMAT, "%s: its header is too long or cut off", name);
  char *text = calloc(1, len + 1);
  if (!text) return kd__why(why, n, KD_E_MEMORY, "%s: out of memory", name);
  s = kd__input_read(in, text, len, &got, why, n);
  if (s == KD_OK && got < len) s = kd__why(why, n, KD_E_FORMAT, "%s: ends within its header; fetch it again", name);
  if (s == KD_OK) s = parse_text(name, text, st, t, why, n);
  free(text);
  return s;
}

kd_status kd__npy_read_input(kd__input *in, kd_array *out, char *why, size_t n) { return kd__start_array(in, read_start, out, why, n); }

kd_status kd__npy_header(const char *path, const kd__read_spec *spec, kd_type *type, char *why, size_t n) {
  (void)spec;
  return kd__start_header(path, read_start, type, why, n);
}

kd_status kd__npy_read(const char *path, const kd__read_spec *spec, kd_array *out, char *why, size_t n) {
  (void)spec;
  return kd__start_read(path, read_start, out, why, n);
}
