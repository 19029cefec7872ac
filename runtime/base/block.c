/* block.c: memory for numbers: parameters, banks, intermediate values. */
#include "runtime/base/base.h"
#include <stdlib.h>
#include <sys/mman.h>

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };

/* Mapped from the start of a huge page on: what lies before and behind is given back. */
static void *map(size_t size) {
  size_t page = 4096, all, whole = (size + page - 1) / page * page;
  if (whole < size || __builtin_add_overflow(whole, (size_t)HUGE_PAGE, &all)) return NULL;
  char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return NULL;
  size_t before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
  if (before) munmap(p, before);
  if (before < HUGE_PAGE) munmap(p + before + whole, HUGE_PAGE - before);
  madvise(p + before, whole, MADV_HUGEPAGE);     /* no harm where the system has none */
  return p + before;
}

void *kd__block_get(size_t size) {
  if (size >= HUGE_PAGE) return map(size);
  size = size < ALIGN ? ALIGN : (size + ALIGN - 1) / ALIGN * ALIGN;
  void *p = aligned_alloc(ALIGN, size);
  return p ? memset(p, 0, size) : NULL;
}

void kd__block_free(void *p, size_t size) {
  if (p && size >= HUGE_PAGE) munmap(p, (size + 4095) / 4096 * 4096);
  else free(p);
}
