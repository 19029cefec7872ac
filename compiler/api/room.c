/* room.c: how much may be kept of what is the same each time: a quarter of the memory and of the disk that is free. */
#include "compiler/api/api.h"
#include <stdio.h>
#include <sys/statvfs.h>

enum { PART = 4 };

#define SAME(kind) _Static_assert((int)KD_KEEP_##kind == (int)KD_CACHE_##kind, "kd_keep and kd_cache_mode differ at " #kind)
SAME(PROGRAM);
SAME(AUTO);
SAME(OFF);
SAME(MEMORY);
SAME(DISK);
#undef SAME

static int64_t number_in(const char *path, const char *format) {
  char line[256];
  long long n = -1;
  FILE *f = fopen(path, "r");
  while (f && n < 0 && fgets(line, sizeof line, f)) if (sscanf(line, format, &n) != 1) n = -1;
  if (f) fclose(f);
  return n;
}

/* What the system has left, or the control group, where that is less. */
static int64_t free_memory(void) {
  int64_t kib = number_in("/proc/meminfo", "MemAvailable: %lld kB"), most = number_in("/sys/fs/cgroup/memory.max", "%lld"), used = number_in("/sys/fs/cgroup/memory.current", "%lld");
  int64_t bytes = kib < 0 || kib > INT64_MAX >> 10 ? 0 : kib << 10;
  return most >= 0 && used >= 0 && most - used < bytes ? most - used : bytes;
}

/* Of the folder, or of the first one above it that is there. */
static int64_t free_disk(const char *folder) {
  char path[4096];
  struct statvfs v;
  int n = snprintf(path, sizeof path, "%s", folder);
  if (n < 0 || (size_t)n >= sizeof path) return 0;
  while (statvfs(path[0] ? path : "/", &v) != 0) {
    char *slash = strrchr(path, '/');
    if (!slash) return 0;
    *slash = 0;
    if (slash == path) return statvfs("/", &v) == 0 ? (int64_t)v.f_bavail * (int64_t)v.f_frsize : 0;
  }
  return (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}

static int64_t limited(uint64_t n) { return n > INT64_MAX ? INT64_MAX : (int64_t)n; }

kd_frozen_options kd__room_for_rows(const kd_session *s, const kd_compile_options *o) {
  kd_frozen_options f = { .mode = (kd_cache_mode)o->keep, .memory = limited(o->keep_memory), .disk = limited(o->keep_disk), .given = o->keep_memory || o->keep_disk };
  if (f.mode == KD_CACHE_OFF) return f;
  if (!f.memory) f.memory = free_memory() / PART;
  if (!s->config.cache) f.disk = 0;
  else if (!f.disk) f.disk = free_disk(s->config.cache) / PART;
  return f;
}
