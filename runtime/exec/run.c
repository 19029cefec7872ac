/* run.c: running a bound plan: a loop over calls, and nothing else. */
#include "runtime/exec/bound.h"
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_call(const kd_bound *b, uint32_t i, const kd_exec *x) {
  const kd_call *c = &b->call[i];
  if (b->kernel[i]) b->kernel[i]->run(c, x);
  else kd__copy_strided(&c->in[0], &c->out[0], x);
}

static void run_all(void *ctx, const kd_exec *x) {
  kd_bound *b = ctx;
  for (uint32_t i = 0; i < b->plan->ncall; i++) {
    if (b->seconds) {
      double start = now();
      run_call(b, i, x);
      b->seconds[i] += now() - start;
    } else {
      run_call(b, i, x);
    }
    if (x->fault && x->fault->set) { b->faulted = &b->plan->call[i]; return; }
  }
}

void kd__bound_run(kd_bound *b, const kd_exec *x) {
  b->faulted = NULL;
  kd_exec alone = *x;
  alone.threads = 1;
  if (b->team) kd__team_run(x, run_all, b);
  else run_all(b, &alone);
}

const kd_plan_call *kd__bound_faulted(const kd_bound *b) { return b->faulted; }
void kd__bound_time(kd_bound *b, double *seconds) { b->seconds = seconds; }
