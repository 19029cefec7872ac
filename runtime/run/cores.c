/* cores.c: the number of cores. */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"
#include <sched.h>
#include <stdlib.h>

enum { CORES_MAX = 256 };

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
