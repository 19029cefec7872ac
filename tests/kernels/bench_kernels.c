/* bench_kernels.c: how fast the kernels are at the sizes of a residual net on 28x28 images, batch 128. Not a test: prints milliseconds on one
 * and two threads and the memory traffic. `bench_kernels [WORD [SHAPE]]`: only the lines whose operator contains WORD and whose operands contain
 * SHAPE.
 * Of products and convolutions every kernel is timed that takes the call, not only the one that is chosen. */
#include "tests/kernels/call.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* d: row-major; t: the last two axes exchanged; n: channels (axis 1) innermost; c: one value a channel, repeated over the other axes; s: one value for all;
 * g: the operand before, its last two axes exchanged. */
static int64_t lay_out(t_tensor *o, char how) {
  int64_t r = o->t.rank, step = 1, memory = 1;
  for (int64_t i = r - 1; i >= 0; i--) {
    int64_t d = how == 'n' ? (i == r - 1 ? 1 : i == 0 ? 0 : i + 1) : how == 't' && i >= r - 2 ? 2 * r - 3 - i : i;
    bool here = (how != 'c' || d == 1) && how != 's';
    o->stride[d] = here ? step : 0;
    if (here) step *= o->dim[d], memory *= o->dim[d];
  }
  return memory * (int64_t)kd__dtype_size((kd_dtype)o->t.dtype);
}

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

/* Creates kernel `nth` for a team and times it. `made`: milliseconds that choosing and preparing took. False: there are not so many. */
static bool time_on(const t_case *c, const kd_tensor *in, const kd_tensor *out, int threads, bool deterministic, int nth, const char **name, double *ms, double *made) {
  kd_fault fault = { 0 };
  bench b = { .call = { .op = c->op, .nin = c->nin, .nout = c->nout, .in = in, .out = out, .attr = c->attr }, .x = { .threads = threads, .deterministic = deterministic, .fault = &fault } };
  kd_kernel_settings set = { .threads = threads, .deterministic = deterministic, .use_dnnl = true, .winograd = KD_WINOGRAD_ON };
  double start = now();
  if (!(b.kernel = kd__kernel_nth(&b.call, &set, nth))) return false;
  if (b.kernel->prepare && b.kernel->prepare(&b.call, &set) != KD_OK) { *name = "cannot be prepared"; return true; }
  size_t scratch = b.kernel->scratch ? b.kernel->scratch(&b.call, &set) : 0;
  *made = (now() - start) * 1e3;
  b.x.scratch = aligned_alloc(64, (scratch + 127) / 64 * 64);
  memset(b.x.scratch, 0, scratch);
  *name = b.kernel->name;
  kd__team_run(&b.x, time_calls, &b);
  if (b.kernel->release) b.kernel->release(b.call.prepared);
  free(b.x.scratch);
  *ms = b.ms;
  return true;
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
    if (layouts[i] == 'g') {                     /* the operand before, its last two axes exchanged */
      int64_t r = t[i].t.rank;
      for (int64_t d = 0; d < r; d++) t[i].stride[d] = t[i - 1].stride[d < r - 2 ? d : 2 * r - 3 - d];
      operand[i].data = operand[i - 1].data;
    }
  }
  int most = kd__op_info(c.op)->cls == KD_CLASS_CONTRACT ? 8 : 1;
  double one, two, fixed, flops = 2;
  if (most > 1) {
    const kd_type *a = &c.in[0], *y = &c.out[0];
    for (int d = 0; d < y->rank; d++) flops *= (double)y->dim[d];
    if (c.op == KD_OP_MATMUL) flops *= (double)a->dim[a->rank - 1];
    else flops = 0;
  }
  for (int k = 0; k < most && time_on(&c, operand, operand + c.nin, 1, false, k, &name, &one, &made); k++) {
    time_on(&c, operand, operand + c.nin, 2, false, k, &name, &two, &made2);
    time_on(&c, operand, operand + c.nin, 2, true, k, &name, &fixed, &made2);
    printf("%-14s %-44s %-5s %-16s %8.4f %8.4f %8.4f ms %7.1f GB/s %6.0f GFLOP/s %6.2f ms to prepare\n", op, in, layouts, name, one, two, fixed, (double)bytes / two * 1e-6,
           flops / two * 1e-6, made);
  }
  for (uint32_t i = 0; i < c.nin + c.nout; i++) t_free(&t[i]);
}

int main(int argc, char **argv) {
  static const struct { const char *op, *in, *out, *attrs, *layouts; } list[] = {
#define BENCH(op, in, out, attrs, layouts) { op, in, out, attrs, layouts },
#include "tests/kernels/bench.def"
#undef BENCH
  };
  printf("%-14s %-52s %-9s %-16s %8s %8s %8s\n", "operator", "operands", "layouts", "kernel", "1", "2", "2 determ.");
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
    if ((argc < 2 || strstr(list[i].op, argv[1])) && (argc < 3 || strstr(list[i].in, argv[2]))) measure(list[i].op, list[i].in, list[i].out, list[i].attrs, list[i].layouts);
  return 0;
}
