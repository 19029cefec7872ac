/* bench_kernels.c: how fast the kernels are at the sizes of a residual net on 28x28 images, batch 128. Not a test: prints milliseconds on one
 * and two threads and the memory traffic. `bench_kernels [WORD [on|off]]`: only the lines whose operator contains
 * WORD, and with or without Winograd's convolutions. */
#include "tests/kernels/call.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* d: row-major; n: channels (axis 1) innermost; c: one value a channel, repeated over the other axes; s: one value for all. */
static int64_t lay_out(t_tensor *o, char how) {
  int64_t r = o->t.rank, step = 1, memory = 1;
  for (int64_t i = r - 1; i >= 0; i--) {
    int64_t d = how == 'n' ? (i == r - 1 ? 1 : i == 0 ? 0 : i + 1) : i;
    bool here = (how != 'c' || d == 1) && how != 's';
    o->stride[d] = here ? step : 0;
    if (here) step *= o->dim[d], memory *= o->dim[d];
  }
  return memory * (int64_t)kd__dtype_size((kd_dtype)o->t.dtype);
}

static kd_winograd winograd;
typedef struct bench { kd_call call; const kd_kernel *kernel; kd_exec x; double ms; } bench;

static void time_calls(void *ctx, const kd_exec *x) {
  bench *b = ctx;
  double t[31], first = now(), spent = 0;
  int n = 0;
  b->kernel->run(&b->call, x);
  double one = now() - first;
  int inner = one < 5e-5 ? (int)(1e-4 / (one + 1e-7)) + 1 : 1;
  while (n < 31 && (n < 5 || spent < 0.2)) {
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

/* Creates the kernel for a team and times it. `made`: milliseconds that choosing and preparing took. */
static double time_on(const t_case *c, const kd_tensor *in, const kd_tensor *out, int threads, bool deterministic, const char **name, double *made) {
  kd_fault fault = { 0 };
  bench b = { .call = { c->op, c->nin, c->nout, in, out, c->attr, NULL, NULL }, .x = { .threads = threads, .deterministic = deterministic, .fault = &fault } };
  kd_kernel_settings set = { .threads = threads, .deterministic = deterministic, .use_dnnl = true, .winograd = winograd };
  double start = now();
  b.kernel = kd__kernel_find(&b.call, &set);
  if (b.kernel->prepare && b.kernel->prepare(&b.call, &set) != KD_OK) { *name = "cannot be prepared"; return 0; }
  size_t scratch = b.kernel->scratch ? b.kernel->scratch(&b.call, &set) : 0;
  *made = (now() - start) * 1e3;
  b.x.scratch = aligned_alloc(64, (scratch + 127) / 64 * 64);
  memset(b.x.scratch, 0, scratch);
  *name = b.kernel->name;
  kd__team_run(&b.x, time_calls, &b);
  if (b.kernel->release) b.kernel->release(b.call.prepared);
  free(b.x.scratch);
  return b.ms;
}

static void measure(const char *op, const char *in, const char *out, const char *attrs, const char *layouts) {
  t_case c;
  t_tensor t[2 * T_MAX];
  kd_tensor operand[2 * T_MAX];
  uint64_t state = 1;
  int64_t bytes = 0;
  const char *name;
  double made, made2;
  if (!t_parse(&c, op, in, out, attrs)) { printf("mistake in %s %s %s\n", op, in, attrs); return; }
  for (uint32_t i = 0; i < c.nin + c.nout; i++) {
    t_make(&t[i], i < c.nin ? &c.in[i] : &c.out[i - c.nin], T_DENSE, false, &state);
    bytes += lay_out(&t[i], layouts[i]);
    if (i < c.nin) t_fill(&t[i], &c, i, false, &state);
    operand[i] = t[i].t;
  }
  double one = time_on(&c, operand, operand + c.nin, 1, false, &name, &made), two = time_on(&c, operand, operand + c.nin, 2, false, &name, &made2);
  double fixed = time_on(&c, operand, operand + c.nin, 2, true, &name, &made2);
  printf("%-14s %-52s %-9s %-16s %8.3f %8.3f %8.3f ms %7.1f GB/s %6.2f ms to prepare\n", op, in, layouts, name, one, two, fixed, (double)bytes / two * 1e-6, made);
  for (uint32_t i = 0; i < c.nin + c.nout; i++) t_free(&t[i]);
}

int main(int argc, char **argv) {
  static const struct { const char *op, *in, *out, *attrs, *layouts; } list[] = {
#define BENCH(op, in, out, attrs, layouts) { op, in, out, attrs, layouts },
#include "tests/kernels/bench.def"
#undef BENCH
  };
  if (argc > 2) winograd = strcmp(argv[2], "on") == 0 ? KD_WINOGRAD_ON : KD_WINOGRAD_OFF;
  printf("%-14s %-52s %-9s %-16s %8s %8s %8s\n", "operator", "operands", "layouts", "kernel", "1", "2", "2 determ.");
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
    if (argc < 2 || strstr(list[i].op, argv[1])) measure(list[i].op, list[i].in, list[i].out, list[i].attrs, list[i].layouts);
  return 0;
}
