/* arena.c: allocation hook, arenas, growable arrays. */
#include "runtime/base/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *resize_default(void *ctx, void *old, size_t old_size, size_t new_size) {
  (void)ctx; (void)old_size;
  if (new_size == 0) { free(old); return NULL; }
  return realloc(old, new_size);
}
const kd_allocator kd__default_allocator = { resize_default, NULL };

static const char *const status_text[] = {
#define KD_STATUS(id, text) [KD_##id] = text,
#include "runtime/base/status.def"
#undef KD_STATUS
};
const char *kd_status_text(kd_status s) { return (unsigned)s < KD_STATUS_COUNT ? status_text[s] : "unknown status"; }

struct kd__arena_block { struct kd__arena_block *next; size_t size, used; };
enum { HEADER = (sizeof(struct kd__arena_block) + 15) & ~15u, BLOCK_MIN = 64 << 10, BLOCK_MAX = 4 << 20, HUGE_PAGE = 2 << 20 };

void kd__arena_init(kd__arena *a, const kd_allocator *alloc, kd__oom *oom) {
  *a = (kd__arena){ .alloc = alloc ? alloc : &kd__default_allocator, .oom = oom };
}

void kd__arena_free(kd__arena *a) {
  while (a->head) {
    struct kd__arena_block *next = a->head->next;
    a->alloc->resize(a->alloc->ctx, a->head, a->head->size, 0);
    a->head = next;
  }
  a->used = 0;
}

void kd__arena_reset(kd__arena *a) {
  struct kd__arena_block *kept = a->head;
  if (!kept) return;
  a->head = kept->next;
  kd__arena_free(a);
  kept->next = NULL, kept->used = HEADER;
  a->head = kept;
}

static void *out_of_memory(kd__arena *a) {
  if (a->oom && a->oom->armed) longjmp(a->oom->jump, 1);
  return NULL;
}

/* Blocks double up to BLOCK_MAX, so that small sessions stay small and large ones allocate rarely. */
static bool add_block(kd__arena *a, size_t need) {
  size_t size = a->head ? a->head->size * 2 : BLOCK_MIN;
  if (size > BLOCK_MAX) size = BLOCK_MAX;
  if (size < need + HEADER) size = need + HEADER;
  struct kd__arena_block *b = a->alloc->resize(a->alloc->ctx, NULL, 0, size);
  if (!b) return false;
  if (a->lasting && size >= BLOCK_MAX) {         /* first touches of small pages took a third of the time for an experiment */
    size_t before = (HUGE_PAGE - (uintptr_t)b % HUGE_PAGE) % HUGE_PAGE;
    madvise((char *)b + before, (size - before) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);     /* no harm where the system has none */
  }
  b->next = a->head; b->size = size; b->used = HEADER;
  a->head = b;
  return true;
}

void *kd__arena_get(kd__arena *a, size_t size) {
  if (size > SIZE_MAX / 2) return out_of_memory(a);
  size = (size + 15) & ~(size_t)15;
  if (!a->head || a->head->size - a->head->used < size)
    if (!add_block(a, size)) return out_of_memory(a);
  void *p = (char *)a->head + a->head->used;
  a->head->used += size;
  a->used += size;
  return memset(p, 0, size);
}

void *kd__arena_copy(kd__arena *a, const void *src, size_t size) {
  void *p = kd__arena_get(a, size);
  if (p && size) memcpy(p, src, size);
  return p;
}

char *kd__arena_strndup(kd__arena *a, const char *s, size_t n) {
  char *p = kd__arena_get(a, n + 1);
  if (p && n) memcpy(p, s, n);
  return p;
}

char *kd__buf_keep(kd__buf *b, kd__arena *a) {
  kd__oom *oom = a->oom;
  a->oom = NULL;
  char *p = b->failed ? NULL : kd__arena_strndup(a, b->p, b->n);
  a->oom = oom;
  kd__buf_free(b);
  return p ? p : out_of_memory(a);
}

char *kd__arena_vprintf(kd__arena *a, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  char *p = n < 0 ? NULL : kd__arena_get(a, (size_t)n + 1);
  if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}

char *kd__arena_printf(kd__arena *a, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *p = kd__arena_vprintf(a, fmt, ap);
  va_end(ap);
  return p;
}

void kd__vec_grow(kd__arena *a, void **v, size_t *cap, size_t n, size_t elem) {
  size_t want = *cap ? *cap * 2 : 8;
  void *p = kd__arena_get(a, want * elem);
  if (!p) abort();                               /* only reachable on an arena without a recovery point: a bug of the caller */
  if (n) memcpy(p, *v, n * elem);
  *v = p;
  *cap = want;
}
