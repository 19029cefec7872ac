/* bench_groups.c: how fast fused groups run: milliseconds on one and two threads as tile programs and as native code, and the traffic if every operand is touched once. Not a test.
 * `bench_groups [WORD]`: only groups whose name contains WORD. */
#include "tests/kernels/group_list.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct bench { kd_call call; const kd_kernel *kernel; double ms; } bench;
static void time_calls(void *ctx, const kd_exec *x) {
  bench *b = ctx;
  double t[41], spent = 0;
  int n = 0, inner = 1;
  for (double one = 0; one < 5e-5 && inner < 100000; inner *= 2) {
    double start = now();
    for (int i = 0; i < inner; i++) b->kernel->run(&b->call, x);
    one = now() - start;
  }
  while (n < 41 && (n < 7 || spent < 0.15)) {
    double start = now();
    for (int i = 0; i < inner; i++) b->kernel->run(&b->call, x);
    double took = now() - start;
    spent += took;
    int k = n++;
    for (; k > 0 && t[k - 1] > took / inner; k--) t[k] = t[k - 1];
    t[k] = took / inner;
  }
  b->ms = t[n / 2] * 1e3;
}

static double time_on(const t_group *o, t_memory *m, int threads, bool jit, double *made) {
  kd_fault fault = { 0 };
  kd_kernel_settings set = { .threads = threads, .jit = jit };
  bench b = { .call = { .op = KD_OP_GROUP, .nin = o->g.nin, .nout = o->g.nout, .in = m->in, .out = m->out, .group = &o->g } };
  double start = now();
  b.kernel = kd__kernel_find(&b.call, &set);
  if (b.kernel->prepare(&b.call, &set) != KD_OK) return 0;
  *made = now() - start;
  size_t scratch = b.kernel->scratch(&b.call, &set);
  kd_exec x = { .threads = threads, .fault = &fault, .scratch = aligned_alloc(64, (scratch + 127) / 64 * 64) };
  memset(x.scratch, 0, scratch);
  kd__team_run(&x, time_calls, &b);
  b.kernel->release(b.call.prepared);
  free(x.scratch);
  return b.ms;
}

int main(int argc, char **argv) {
  static t_group o;
  const char *name;
  printf("%-48s %9s %9s %9s %9s\n", "group; tile programs and native code", "1", "2", "1", "2");
  for (uint32_t i = 0; (name = t_group_listed(i, &o)) != NULL; i++) {
    t_memory m;
    double bytes = 0, made;
    if (argc > 1 && !strstr(name, argv[1])) continue;
    t_memory_make(&m, &o, 1);
    for (uint32_t k = 0; k < o.g.nin; k++) {
      double n = (double)kd__dtype_size((kd_dtype)o.dtype[k]);
      for (uint32_t a = 0; a < o.g.rank; a++)
        if (o.axes[k] >> a & 1 || (o.step[k] && a + 1 < o.g.rank)) n *= (double)o.g.size[a];
      bytes += n;
    }
    for (uint32_t k = o.g.nin; k < o.g.nin + o.g.nout; k++) {
      double n = (double)kd__dtype_size((kd_dtype)o.dtype[k]);
      for (uint32_t a = 0; a < o.g.rank; a++)
        if (o.axes[k] >> a & 1) n *= (double)o.g.size[a];
      bytes += n;
    }
    double one = time_on(&o, &m, 1, false, &made), two = time_on(&o, &m, 2, false, &made), native = 0, both = 0, compiled = 0;
    if (kd__jit_there()) native = time_on(&o, &m, 1, true, &compiled), both = time_on(&o, &m, 2, true, &made);
    printf("%-48s %9.5f %9.5f %9.5f %9.5f ms %6.2f x %7.1f GB/s %8.1f ms to compile\n", name, one, two, native, both, both > 0 ? two / both : 0,
           bytes / (both > 0 ? both : two) * 1e-6, compiled * 1e3);
    t_memory_free(&m, &o);
  }
  return 0;
}
