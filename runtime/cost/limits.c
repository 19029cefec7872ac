/* limits.c: measuring the machine's limits: multiply-adds out of registers, and one pass after another over arrays of three sizes. */
#include "runtime/cost/limits.h"
#include "runtime/files/file.h"
#include "runtime/kernels/par.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- multiply-adds -------------------------------------------------------------------------------------------------------------- */
/* Enough sums at a time that none has to wait for itself, and few enough that all stay in registers. */
#define CHAINS(name, lanes, sums, attribute) \
  typedef float name##_vec __attribute__((vector_size(4 * lanes))); \
  attribute static float name(int64_t turns) { \
    name##_vec a[sums], x = { 0 }, y = { 0 }; \
    for (int k = 0; k < sums; k++) a[k] = x + (float)k; \
    x += 0.999f, y += 0.001f; \
    for (int64_t i = 0; i < turns; i++) \
      for (int k = 0; k < sums; k++) a[k] = a[k] * x + y; \
    for (int k = 1; k < sums; k++) a[0] += a[k]; \
    return a[0][0]; \
  }
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"
CHAINS(chains_512, 16, 12, __attribute__((target("avx512f"))))
CHAINS(chains_256, 8, 10, __attribute__((target("avx2,fma"))))
#pragma GCC diagnostic pop
#endif
CHAINS(chains_128, 4, 8, )

typedef struct chains { float (*run)(int64_t turns); double each; } chains;
static chains best_chains(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return (chains){ chains_512, 2 * 16 * 12 };
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (chains){ chains_256, 2 * 8 * 10 };
#endif
  return (chains){ chains_128, 2 * 4 * 8 };
}

/* --- passes over memory ----------------------------------------------------------------------------------------------------------- */
KD_CLONES static void pass(float *restrict x, const float *restrict y, int64_t n) {
  KD_IVDEP
  for (int64_t i = 0; i < n; i++) x[i] = x[i] * 0.5f + y[i];
}

/* --- a team at work ----------------------------------------------------------------------------------------------------------------- */
typedef struct task {
  chains c; int64_t turns;                       /* multiply-adds, or */
  float *x, *y; int64_t n, passes;               /* passes over n elements of each array */
  int64_t regions;                               /* or loops with nothing in them */
  double took, kept;
} task;

static void piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  task *t = ctx;
  (void)chunk;
  if (t->turns) {
    float v = t->c.run(t->turns * (end - begin));
    if (v == 1234.5f) t->kept = (double)v;       /* so that it is not left out */
  }
  for (int64_t p = 0; p < t->passes; p++) pass(t->x + begin, t->y + begin, end - begin);
}

static void work(void *ctx, const kd_exec *x) {
  task *t = ctx;
  int64_t n = t->turns ? x->threads : t->n;
  double start = now();
  for (int64_t i = 0; i < t->regions; i++) kd__par_for(x, x->threads, x->threads, 1, piece, t);
  if (!t->regions) kd__par_for(x, n, x->threads, t->turns ? 1 : 64, piece, t);
  t->took = now() - start;
}

/* The shortest of some tries: other processes only make it longer. */
static double best(int threads, task *t, int tries) {
  double least = HUGE_VAL;
  for (int i = 0; i < tries; i++) {
    kd__team_run(&(kd_exec){ .threads = threads }, work, t);
    if (i > 0 && t->took < least) least = t->took;                     /* the first one wakes the cores */
  }
  return least > 0 ? least : 1e-9;
}

static double flops(int threads) {
  task t = { .c = best_chains(), .turns = 1 << 20 };
  return (double)threads * (double)t.turns * t.c.each / best(threads, &t, 4);
}

/* Bytes a second over so many bytes in all, in two arrays. */
static double rate(int threads, float *memory, size_t room, double bytes) {
  enum { AT_LEAST = 48 << 20 };
  task t = { .x = memory, .y = memory + room / 2, .n = (int64_t)(bytes / 8) & ~(int64_t)1023 };
  if (t.n < 1024) t.n = 1024;
  t.passes = 1 + AT_LEAST * (int64_t)threads / (t.n * 12);
  return (double)t.passes * (double)t.n * 12 / best(threads, &t, 8);
}

/* As the kernel has it ("32768K"); the C library may count a host's processors that a virtual machine has not. */
static double cache_size(int level, int name, double otherwise) {
  char path[80], *text, *end;
  size_t n;
  double size = 0;
  (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", level);
  if (kd__file_read(path, 64, &text, &n, NULL, 0) == KD_OK) {
    size = strtod(text, &end);
    size *= *end == 'K' ? 1024 : *end == 'M' ? 1 << 20 : 1;
    free(text);
  }
  if (size <= 0) size = (double)sysconf(name);
  return size > 0 ? size : otherwise;
}

bool kd__limits_measure(int threads, kd__limits *out) {
  *out = (kd__limits){ .threads = threads };
  double l2 = cache_size(2, _SC_LEVEL2_CACHE_SIZE, 1 << 20), l3 = fmax(cache_size(3, _SC_LEVEL3_CACHE_SIZE, 8 << 20), 2 * l2);
  double big = fmin(fmax(3 * l3, 64 << 20), 256 << 20), mid = fmin(fmax(3 * l2 * threads, l3 / 4), l3 / 2);
  size_t room = (size_t)big / sizeof(float) & ~(size_t)2047;
  float *memory = mmap(NULL, room * sizeof(float), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  madvise(memory, room * sizeof(float), MADV_HUGEPAGE);
  memset(memory, 0, room * sizeof(float));
  out->size[KD__REACH_L2] = l2;
  out->size[KD__REACH_L3] = l3;
  for (int how = KD__ALONE; how <= KD__TEAM; how++) {
    int team = how == KD__TEAM ? threads : 1;
    if (how == KD__TEAM && threads == 1) { out->flops[1] = out->flops[0]; memcpy(out->bytes[1], out->bytes[0], sizeof out->bytes[0]); break; }
    out->flops[how] = flops(team);
    out->bytes[how][KD__REACH_L2] = rate(team, memory, room, l2 / 2 * team);
    out->bytes[how][KD__REACH_L3] = rate(team, memory, room, mid);
    out->bytes[how][KD__REACH_MEMORY] = rate(team, memory, room, big);
  }
  task t = { .regions = 2000 };
  out->region = threads > 1 ? best(threads, &t, 4) / (double)t.regions : 0;
  munmap(memory, room * sizeof(float));
  return true;
}
