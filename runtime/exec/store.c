/* store.c: the memory of a module's slots. */
#include "runtime/exec/plan.h"
#include <stdlib.h>

enum { ALIGN = 64 };

static int64_t slot_bytes(const kd_slot *s) {
  int64_t n = kd__type_count(&s->type), bytes;
  if (n < 0 || s->offset < 0 || __builtin_mul_overflow(n, (int64_t)kd__dtype_size((kd_dtype)s->type.dtype), &bytes)) return -1;
  return bytes;
}

/* The blocks' sizes; false when a slot's size or place is out of range. */
static bool measure(kd_store *s) {
  for (uint32_t i = 0; i < s->nslot; i++) {
    int64_t bytes = slot_bytes(&s->slot[i]), end;
    if (bytes < 0 || __builtin_add_overflow(bytes, s->slot[i].offset, &end) || end > INT64_MAX - ALIGN) return false;
    int64_t *size = &s->block_size[s->slot[i].block];
    if (end > *size) *size = end;
  }
  return true;
}

kd_status kd__store_open(kd_store *s, const kd_slot *slot, uint32_t nslot) {
  *s = (kd_store){ .slot = slot, .nslot = nslot };
  for (uint32_t i = 0; i < nslot; i++)
    if (slot[i].block >= s->nblock) s->nblock = slot[i].block + 1;
  s->block = calloc(s->nblock + (size_t)1, sizeof *s->block);
  s->block_size = calloc(s->nblock + (size_t)1, sizeof *s->block_size);
  s->version = calloc(nslot + (size_t)1, sizeof *s->version);
  if (!s->block || !s->block_size || !s->version || !measure(s)) { kd__store_close(s); return KD_E_MEMORY; }
  for (uint32_t i = 0; i < s->nblock; i++) {
    s->block[i] = kd__block_get((size_t)s->block_size[i]);
    if (!s->block[i]) { kd__store_close(s); return KD_E_MEMORY; }
  }
  return KD_OK;
}

void kd__store_close(kd_store *s) {
  for (uint32_t i = 0; s->block && i < s->nblock; i++) kd__block_free(s->block[i], (size_t)s->block_size[i]);
  free(s->block);
  free(s->block_size);
  free(s->version);
  *s = (kd_store){ 0 };
}

void *kd__store_at(const kd_store *s, uint32_t slot) {
  return (char *)s->block[s->slot[slot].block] + s->slot[slot].offset;
}

void kd__store_changed(const kd_store *s, uint32_t slot) {
  if (s->version) s->version[slot]++;
}
