/* memory.c: the machine's large blocks, and the number of cores. */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ALIGN = 64, LARGE = 2 << 20, CORES_MAX = 256 };

void *kd__block_get(size_t size) {
  if (size < ALIGN) size = ALIGN;
  if (size >= LARGE) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    madvise(p, size, MADV_HUGEPAGE);             /* fewer page faults and TLB misses where the system has them; no harm where not */
    return p;
  }
  size = (size + ALIGN - 1) / ALIGN * ALIGN;
  void *p = aligned_alloc(ALIGN, size);
  return p ? memset(p, 0, size) : NULL;
}

void kd__block_free(void *p, size_t size) {
  if (p && size >= LARGE) munmap(p, size);
  else free(p);
}

/* The control group's share (version 2: "200000 100000" is two cores; "max" is all), rounded up; 0: unknown or without limit. */
static long group_share(void) {
  char *text, *end;
  size_t n;
  long share = 0;
  if (kd__file_read("/sys/fs/cgroup/cpu.max", 256, &text, &n, NULL, 0) != KD_OK) return 0;
  long quota = strtol(text, &end, 10), period = strtol(end, NULL, 10);
  if (end != text && quota > 0 && period > 0) share = (quota + period - 1) / period;
  free(text);
  return share;
}

int kd__cores(void) {
  cpu_set_t set;
  long n = 1, share = group_share();
  if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
  if (share > 0 && share < n) n = share;
  return n < 1 ? 1 : n > CORES_MAX ? CORES_MAX : (int)n;
}
