/* limits.c: measuring the machine's limits: multiply-adds out of registers, and one pass after another over arrays of three sizes.
 *
 * Everything is tried for some milliseconds in turn, again and again for about a second, and the best of each counts: other processes only make it
 * slower. What they took is seen from the time that threads had no processor. */
#include "runtime/cost/limits.h"
#include "runtime/files/file.h"
#include "runtime/kernels/par.h"
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 14, ROUNDS_LEAST = 3, CALM_TIMES = 2 };
static const double longest = 1.1, pause_between = 0.02;               /* seconds */
static const double lost_share = 0.03;           /* of a trial that others may take and leave it one that counts as calm */

static int64_t read_clock(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static double now(void) { return 1e-9 * (double)read_clock(CLOCK_MONOTONIC); }

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
  _Atomic int64_t most, lost;                    /* of all pieces: nanoseconds that one took, and that one had no processor */
} task;

static void raise_to(_Atomic int64_t *at, int64_t v) {
  int64_t old = atomic_load(at);
  while (old < v && !atomic_compare_exchange_weak(at, &old, v)) {}
}

static void piece(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  task *t = ctx;
  (void)chunk;
  if (t->regions) return;
  int64_t start = read_clock(CLOCK_MONOTONIC), busy = read_clock(CLOCK_THREAD_CPUTIME_ID);
  if (t->turns) {
    float v = t->c.run(t->turns * (end - begin));
    if (v == 1234.5f) t->kept = (double)v;       /* so that it is not left out */
  }
  for (int64_t p = 0; p < t->passes; p++) pass(t->x + begin, t->y + begin, end - begin);
  busy = read_clock(CLOCK_THREAD_CPUTIME_ID) - busy;
  int64_t took = read_clock(CLOCK_MONOTONIC) - start;
  raise_to(&t->most, took);
  raise_to(&t->lost, took - busy);
}

static void work(void *ctx, const kd_exec *x) {
  task *t = ctx;
  int64_t n = t->turns ? x->threads : t->n;
  for (int again = 0; again < 2; again++) {      /* the first time wakes the cores */
    t->most = t->lost = 0;
    double start = now();
    for (int64_t i = 0; i < t->regions; i++) kd__par_for(x, x->threads, x->threads, 1, piece, t);
    if (!t->regions) kd__par_for(x, n, x->threads, t->turns ? 1 : 64, piece, t);
    t->took = now() - start;
  }
}

/* --- what is measured --------------------------------------------------------------------------------------------------------------- */
typedef struct quantity { int threads; task t; double amount, least; int calm; double *to; } quantity;

static void try(quantity *q) {
  kd__team_run(&(kd_exec){ .threads = q->threads }, work, &q->t);
  double took = q->t.took, lost = 1e-9 * (double)q->t.lost + (took - 1e-9 * (double)q->t.most);
  if (took > 0 && (q->least <= 0 || took < q->least)) q->least = took;
  q->calm += q->t.regions || lost <= lost_share * took + 2e-5;
}

static quantity flops(int threads, double *to) {
  quantity q = { .threads = threads, .t = { .c = best_chains(), .turns = 1 << 21 }, .to = to };
  q.amount = (double)threads * (double)q.t.turns * q.t.c.each;
  return q;
}

/* Bytes a second over so many bytes in all, in two arrays; `moved` at least, of each thread. */
static quantity rate(int threads, float *memory, size_t room, double bytes, int64_t moved, double *to) {
  quantity q = { .threads = threads, .t = { .x = memory, .y = memory + room / 2, .n = (int64_t)(bytes / 8) & ~(int64_t)1023 }, .to = to };
  if (q.t.n < 1024) q.t.n = 1024;
  q.t.passes = 1 + moved * threads / (q.t.n * 12);
  q.amount = (double)q.t.passes * (double)q.t.n * 12;
  return q;
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
  quantity q[2 * (1 + KD__REACHES) + 1];
  size_t n = 0;
  for (int how = KD__ALONE; how <= (threads > 1 ? KD__TEAM : KD__ALONE); how++) {
    int team = how == KD__TEAM ? threads : 1;
    q[n++] = flops(team, &out->flops[how]);
    q[n++] = rate(team, memory, room, l2 / 2 * team, 256 << 20, &out->bytes[how][KD__REACH_L2]);
    q[n++] = rate(team, memory, room, mid, 128 << 20, &out->bytes[how][KD__REACH_L3]);
    q[n++] = rate(team, memory, room, big, 48 << 20, &out->bytes[how][KD__REACH_MEMORY]);
  }
  if (threads > 1) q[n++] = (quantity){ .threads = threads, .t = { .regions = 1000 }, .to = &out->region };
  double start = now();
  for (int i = 0; i < ROUNDS && (i < ROUNDS_LEAST || now() - start < longest); i++) {
    if (i) nanosleep(&(struct timespec){ .tv_nsec = (long)(1e9 * pause_between) }, NULL);
    for (size_t k = 0; k < n; k++) try(&q[k]);
  }
  munmap(memory, room * sizeof(float));
  for (size_t k = 0; k < n; k++) {
    double least = q[k].least > 0 ? q[k].least : 1e-9;
    *q[k].to = q[k].t.regions ? least / (double)q[k].t.regions : q[k].amount / least;
    if (q[k].calm < CALM_TIMES) out->disturbed = 1;
  }
  if (threads == 1) out->flops[KD__TEAM] = out->flops[KD__ALONE], memcpy(out->bytes[KD__TEAM], out->bytes[KD__ALONE], sizeof out->bytes[0]);
  return true;
}
