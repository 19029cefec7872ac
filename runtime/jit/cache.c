/* cache.c: compiled groups in a folder, a file each, named after the hash of what it was made from and for. The file repeats all of that, and its
 * own checksum: what is broken, cut off or another's is not used but made again. Written aside and renamed, so that processes may share the folder. */
#include "runtime/files/file.h"
#include "runtime/jit/build.h"
#include <llvm-c/Core.h>
#include <llvm/Config/llvm-config.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct header { char magic[8]; uint64_t key_bytes, bytes, hash; } header;     /* then key and object; hash: of both and the sizes */
static const char magic[8] = "kdcjit1";

static void put(kd__buf *out, const void *p, size_t n) { kd__buf_add(out, p, n); }
static void put_text(kd__buf *out, const char *s) { put(out, s, strlen(s) + 1); }

void kdj_key(const kd_group *g, kd__buf *out) {
  unsigned major = 0, minor = 0, patch = 0;      /* of the library that is there, not only of the one that was built with */
#if LLVM_VERSION_MAJOR >= 16
  LLVMGetVersion(&major, &minor, &patch);
#endif
  kd__buf_printf(out, "kdc jit %d abi %d, LLVM " LLVM_VERSION_STRING " %u.%u.%u", KDJ_VERSION, KD_JIT_ABI, major, minor, patch);
  kd__buf_putc(out, 0);
  put_text(out, kdj_cpu());
  put_text(out, kdj_features());
  uint64_t head[] = { g->rank, g->outer, g->nins, g->nin, g->nout };
  put(out, head, sizeof head);
  put(out, g->size, g->rank * sizeof *g->size);
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    uint64_t part[] = { v->kind, v->dtype, v->op, v->in[0], v->in[1], v->in[2], v->operand, v->axes, v->over, (uint64_t)v->limit, (uint64_t)v->step };
    put(out, part, sizeof part);
    put(out, &v->value, sizeof v->value);
  }
  for (uint32_t o = 0; o < g->nin + g->nout; o++) put(out, &g->dtype[o], 1), put(out, g->stride[o], g->rank * sizeof(int64_t));
}

static char *path_of(const char *folder, const kd__buf *key) {
  char *path;
  return asprintf(&path, "%s/%016llx.kdjit", folder, (unsigned long long)kd__hash(key->p, key->n, 0)) < 0 ? NULL : path;
}
static uint64_t hash_of(const header *h, const void *key, const void *object) {
  return kd__hash(object, (size_t)h->bytes, kd__hash(key, (size_t)h->key_bytes, kd__mix(h->key_bytes, h->bytes)));
}

bool kdj_cache_get(const char *folder, const kd__buf *key, kdj_object *out) {
  char *path = path_of(folder, key);
  kd__map_file m = { 0 };
  header h;
  bool ok = path && kd__map_open(path, &m, NULL, 0) == KD_OK && m.n > sizeof h;
  if (ok) {
    memcpy(&h, m.p, sizeof h);
    const uint8_t *p = m.p + sizeof h;
    size_t rest = m.n - sizeof h;
    ok = memcmp(h.magic, magic, sizeof magic) == 0 && h.key_bytes == key->n && key->n <= rest && h.bytes == rest - key->n && h.bytes > 0 &&
         memcmp(p, key->p, key->n) == 0 && h.hash == hash_of(&h, p, p + key->n);
    if (ok) {
      *out = (kdj_object){ malloc((size_t)h.bytes), (size_t)h.bytes };
      ok = out->p != NULL;
      if (ok) memcpy(out->p, p + key->n, out->n);
    }
  }
  kd__map_close(&m);
  free(path);
  return ok;
}

void kdj_cache_put(const char *folder, const kd__buf *key, const kdj_object *o) {
  header h = { .key_bytes = key->n, .bytes = o->n };
  char *path = path_of(folder, key);
  kd__output out;
  memcpy(h.magic, magic, sizeof magic);
  h.hash = hash_of(&h, key->p, o->p);
  if (path && kd__make_folders(folder) && kd__output_open(&out, path, false, NULL, 0) == KD_OK) {
    kd__output_write(&out, &h, sizeof h);
    kd__output_write(&out, key->p, key->n);
    kd__output_write(&out, o->p, o->n);
    kd__output_commit(&out, NULL, 0);
  }
  free(path);
}
