/* hash.c: hashing, string maps, Philox, edit distance. */
#include "runtime/base/base.h"

uint64_t kd__mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + (b ^ (b >> 32)) * 0xd6e8feb86659fd93u + 0x2545f4914f6cdd1du;
  x ^= x >> 32; x *= 0xd6e8feb86659fd93u;
  x ^= x >> 29; x *= 0xbf58476d1ce4e5b9u;
  return x ^ (x >> 32);
}

uint64_t kd__hash(const void *p, size_t n, uint64_t seed) {
  const unsigned char *s = p;
  uint64_t h = 0xcbf29ce484222325u ^ seed;
  for (; n >= 8; n -= 8, s += 8) {
    uint64_t w;
    memcpy(&w, s, 8);
    h = (h ^ w) * 0x100000001b3u;
    h ^= h >> 31;
  }
  for (; n; n--, s++) h = (h ^ *s) * 0x100000001b3u;
  return kd__mix(h, seed);
}

void kd__map_init(kd__map *m, kd__arena *a) { *m = (kd__map){ .arena = a }; }

static size_t find_slot(const kd__map *m, const char *key, size_t len, uint64_t hash) {
  size_t i = hash & (m->nslot - 1);
  for (; m->slot[i]; i = (i + 1) & (m->nslot - 1)) {
    const struct kd__map_item *it = &m->item[m->slot[i] - 1];
    if (it->hash == hash && it->len == len && memcmp(it->key, key, len) == 0) break;
  }
  return i;
}

static void rehash(kd__map *m) {
  m->nslot = m->nslot ? m->nslot * 2 : 16;
  m->slot = KD_NEWN(m->arena, uint32_t, m->nslot);
  for (size_t i = 0; i < m->n; i++)
    m->slot[find_slot(m, m->item[i].key, m->item[i].len, m->item[i].hash)] = (uint32_t)i + 1;
}

void **kd__map_at(kd__map *m, const char *key) {
  if (m->n * 2 >= m->nslot) rehash(m);
  size_t len = strlen(key);
  uint64_t hash = kd__hash(key, len, 0);
  size_t i = find_slot(m, key, len, hash);
  if (!m->slot[i]) {
    if (m->n == m->cap) kd__vec_grow(m->arena, (void **)&m->item, &m->cap, m->n, sizeof *m->item);
    m->item[m->n++] = (struct kd__map_item){ kd__arena_strndup(m->arena, key, len), len, hash, NULL };
    m->slot[i] = (uint32_t)m->n;
  }
  return &m->item[m->slot[i] - 1].value;
}

bool kd__map_has(const kd__map *m, const char *key) {
  if (!m->nslot) return false;
  size_t len = strlen(key);
  return m->slot[find_slot(m, key, len, kd__hash(key, len, 0))] != 0;
}

void *kd__map_get(const kd__map *m, const char *key) {
  if (!m->nslot) return NULL;
  size_t len = strlen(key), i = find_slot(m, key, len, kd__hash(key, len, 0));
  return m->slot[i] ? m->item[m->slot[i] - 1].value : NULL;
}

void kd__philox(uint64_t key, uint64_t ctr_lo, uint64_t ctr_hi, uint32_t out[4]) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  uint32_t c0 = (uint32_t)ctr_lo, c1 = (uint32_t)(ctr_lo >> 32), c2 = (uint32_t)ctr_hi, c3 = (uint32_t)(ctr_hi >> 32);
  for (int r = 0; r < 10; r++) {
    uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1; c3 = (uint32_t)p0; c0 = n0; c2 = n2;
    k0 += 0x9e3779b9u; k1 += 0xbb67ae85u;
  }
  out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

size_t kd__edit_distance(const char *a, const char *b, size_t cap) {
  size_t la = strlen(a), lb = strlen(b), row[65];
  if (la > 64 || lb > 64 || (la > lb ? la - lb : lb - la) > cap) return cap + 1;
  for (size_t j = 0; j <= lb; j++) row[j] = j;
  for (size_t i = 1; i <= la; i++) {
    size_t diag = row[0], best = row[0] = i;
    for (size_t j = 1; j <= lb; j++) {
      size_t cost = diag + (a[i - 1] != b[j - 1]);
      diag = row[j];
      if (row[j] + 1 < cost) cost = row[j] + 1;
      if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1;
      row[j] = cost;
      if (cost < best) best = cost;
    }
    if (best > cap) return cap + 1;
  }
  return row[lb] <= cap ? row[lb] : cap + 1;
}
