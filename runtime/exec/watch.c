/* watch.c: looking on while a plan runs: time by call, and which kernel each call has. */
#include "runtime/exec/bound.h"
#include <time.h>

double kd__watch_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint32_t kd__plan_calls(const kd_plan *p) {
  uint32_t n = p->ncall;
  for (uint32_t i = 0; i < p->ncall; i++)
    if (p->call[i].loop) n += kd__plan_calls(p->call[i].loop->body);
  return n;
}

static uint32_t watch(kd_bound *b, kd_watch *w, uint32_t first) {
  b->watch = w;
  b->first = first;
  first += b->plan->ncall;
  for (uint32_t i = 0; i < b->plan->ncall; i++)
    if (b->loop[i]) first = watch(b->loop[i]->body, w, first);
  return first;
}

void kd__bound_watch(kd_bound *b, kd_watch *w) { (void)watch(b, w, 0); }

static void each(const kd_bound *b, double times, kd_each_call fn, void *ctx) {
  for (uint32_t i = 0; i < b->plan->ncall; i++) fn(ctx, b->plan, i, times, b->loop[i] ? "loop" : b->kernel[i] ? b->kernel[i]->name : "copy", b->beside ? b->beside[i].share : 0);
  for (uint32_t i = 0; i < b->plan->ncall; i++)
    if (b->loop[i]) each(b->loop[i]->body, times * (double)b->plan->call[i].loop->times, fn, ctx);
}

void kd__bound_each(const kd_bound *b, kd_each_call fn, void *ctx) { each(b, 1, fn, ctx); }
