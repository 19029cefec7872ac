/* input.c: sequential reading of plain and gzip files. The whole source is mapped, so there is one buffer less and one way to
 * read for files and for bytes in memory. */
#include "runtime/files/stored.h"
#include <stdlib.h>
#include <zlib.h>

/* One byte of deflate makes at most 1032 bytes (zlib's technical notes). */
enum { DEFLATE_MOST = 1032 };

struct kd__input {
  const uint8_t *p;
  size_t n, at;
  kd__map_file map;                              /* empty when the bytes are the caller's */
  char *name;
  bool gzip, ended;                              /* ended: the last gzip member is complete */
  z_stream z;
};

const char *kd__input_name(const kd__input *in) { return in->name; }
bool kd__input_gzip(const kd__input *in) { return in->gzip; }

uint64_t kd__input_bound(const kd__input *in) {
  if (!in->gzip) return in->n;
  return in->n > UINT64_MAX / DEFLATE_MOST ? UINT64_MAX : (uint64_t)in->n * DEFLATE_MOST;
}

static bool ends_gz(const char *name) {
  size_t n = strlen(name);
  return n > 3 && strcmp(name + n - 3, ".gz") == 0;
}

kd_status kd__input_memory(const void *p, size_t bytes, const char *name, kd__input **out, char *why, size_t n) {
  *out = NULL;
  kd__input *in = calloc(1, sizeof *in);
  if (!in || !(in->name = strdup(name))) { free(in); return kd__why(why, n, KD_E_MEMORY, "%s: out of memory", name); }
  in->p = p;
  in->n = bytes;
  in->gzip = bytes >= 2 && in->p[0] == 0x1f && in->p[1] == 0x8b;
  kd_status s = KD_OK;
  if (!in->gzip && ends_gz(name))
    s = kd__why(why, n, KD_E_FORMAT, "%s: is named .gz but is no gzip file; fetch it again, or rename it if it is already unpacked", name);
  else if (in->gzip && inflateInit2(&in->z, 15 + 16) != Z_OK)
    s = kd__why(why, n, KD_E_MEMORY, "%s: out of memory", name);
  if (s != KD_OK) { free(in->name); free(in); return s; }
  *out = in;
  return KD_OK;
}

kd_status kd__input_open(const char *path, kd__input **out, char *why, size_t n) {
  *out = NULL;
  kd__map_file map;
  kd_status s = kd__map_open(path, &map, why, n);
  if (s != KD_OK) return s;
  s = kd__input_memory(map.p, map.n, path, out, why, n);
  if (s != KD_OK) kd__map_close(&map);
  else (*out)->map = map;
  return s;
}

void kd__input_close(kd__input *in) {
  if (!in) return;
  if (in->gzip) inflateEnd(&in->z);
  kd__map_close(&in->map);
  free(in->name);
  free(in);
}

static kd_status broken(const kd__input *in, const char *what, char *why, size_t n) {
  return kd__why(why, n, KD_E_FORMAT, "%s: the gzip data is damaged (%s); fetch the file again", in->name, what);
}

static kd_status read_gzip(kd__input *in, uint8_t *to, size_t want, size_t *got, char *why, size_t n) {
  z_stream *z = &in->z;
  while (*got < want && !in->ended) {
    size_t room = want - *got, left = in->n - in->at;
    uInt give = left < (1u << 30) ? (uInt)left : 1u << 30, take = room < (1u << 30) ? (uInt)room : 1u << 30;
    z->next_in = (z_const Bytef *)(uintptr_t)(in->p + in->at);
    z->avail_in = give;
    z->next_out = to + *got;
    z->avail_out = take;
    int r = inflate(z, Z_NO_FLUSH);
    in->at += give - z->avail_in;
    *got += take - z->avail_out;
    if (r == Z_MEM_ERROR) return kd__why(why, n, KD_E_MEMORY, "%s: out of memory", in->name);
    if (r == Z_STREAM_END) {
      /* Another member may follow (files joined by cat); anything else is damage. */
      if (in->at == in->n) { in->ended = true; break; }
      if (in->n - in->at < 2 || in->p[in->at] != 0x1f || in->p[in->at + 1] != 0x8b) return broken(in, "other bytes follow its end", why, n);
      if (inflateReset(z) != Z_OK) return broken(in, "bad member", why, n);
      continue;
    }
    if (r == Z_BUF_ERROR || (r == Z_OK && in->at == in->n && *got < want && z->avail_out)) return broken(in, "it ends too early", why, n);
    if (r != Z_OK) return broken(in, z->msg ? z->msg : "bad data", why, n);
  }
  return KD_OK;
}

kd_status kd__input_read(kd__input *in, void *to, size_t want, size_t *got, char *why, size_t n) {
  *got = 0;
  if (!want) return KD_OK;
  if (in->gzip) return read_gzip(in, to, want, got, why, n);
  size_t left = in->n - in->at;
  *got = want < left ? want : left;
  if (*got) memcpy(to, in->p + in->at, *got);
  in->at += *got;
  return KD_OK;
}

size_t kd__input_position(const kd__input *in) { return in->at; }

bool kd__input_take(kd__input *in, size_t bytes, kd_array *out) {
  if (in->gzip || !in->map.n || in->n - in->at < bytes) return false;
  out->data = in->p + in->at;
  out->map = (void *)(uintptr_t)in->map.p;
  out->map_bytes = in->map.n;
  in->map = (kd__map_file){ 0 };
  in->p = NULL;
  in->n = in->at = 0;
  return true;
}
