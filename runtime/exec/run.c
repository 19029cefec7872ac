/* run.c: running a bound plan: a loop over calls, and in them loops over bodies. */
#include "runtime/exec/bound.h"

static void run_calls(kd_bound *b, const kd_exec *x);

/* Row `turn` of a stack. */
static kd_tensor row(const kd_tensor *stack, int64_t turn) {
  char *at = (char *)stack->data + turn * stack->stride[0] * (int64_t)kd__dtype_size((kd_dtype)stack->dtype);
  return (kd_tensor){ .data = at, .dim = stack->dim + 1, .stride = stack->stride + 1, .dtype = stack->dtype, .rank = (uint8_t)(stack->rank - 1) };
}

static void run_loop(kd_bound *b, uint32_t i, const kd_exec *x) {
  const kd_plan_loop *p = b->plan->call[i].loop;
  const kd_call *c = &b->call[i];
  kd__bound_loop *l = b->loop[i];
  for (uint32_t j = 0; j < p->carries; j++) kd__copy_strided(&c->in[j], &c->out[j], x);
  for (l->turn = 0; l->turn < p->times; l->turn++) {
    run_calls(l->body, x);
    if (l->body->faulted) return;
    for (uint32_t k = 0; k < p->body->nresult; k++) {
      kd_tensor to = row(&c->out[p->carries + k], l->turn);
      kd__copy_strided(kd__bound_result(l->body, k), &to, x);
    }
  }
}

void kd__bound_call(kd_bound *b, uint32_t i, const kd_exec *x) {
  const kd_call *c = &b->call[i];
  if (b->loop[i]) run_loop(b, i, x);
  else if (b->kernel[i]) b->kernel[i]->run(c, x);
  else kd__copy_strided(&c->in[0], &c->out[0], x);
}

static void run_watched(kd_bound *b, uint32_t i, const kd_exec *x) {
  kd_watch *w = b->watch;
  uint32_t k = b->first + i;
  double start = kd__watch_now();
  kd__bound_call(b, i, x);
  double end = kd__watch_now();
  w->seconds[k] += end - start;
  w->times[k]++;
  if (w->nevent < w->cap) w->event[w->nevent++] = (kd_watch_event){ k, 0, start, end };
}

static bool run_single(kd_bound *b, uint32_t i, const kd_exec *x) {
  if (b->watch) run_watched(b, i, x);
  else kd__bound_call(b, i, x);
  if (!x->fault || !x->fault->set) return true;
  bool inside = b->loop[i] && b->loop[i]->body->faulted;                /* the body's call says more than the loop */
  b->faulted = inside ? b->loop[i]->body->faulted : &b->plan->call[i];
  return false;
}

static void run_calls(kd_bound *b, const kd_exec *x) {
  bool side = b->beside && x->threads > 1;
  uint32_t i = 0;
  b->faulted = NULL;
  while (!side && i < b->plan->ncall && run_single(b, i, x)) i++;      /* a loop of its own: of steps of a microsecond the difference can be seen */
  for (uint32_t n; side && i < b->plan->ncall; i += n) {
    n = b->beside[i].n ? b->beside[i].n : 1;
    if (!(n > 1 ? kd__run_side(b, i, x) : run_single(b, i, x))) return;
  }
}

static void run_all(void *ctx, const kd_exec *x) { run_calls(ctx, x); }

void kd__bound_run(kd_bound *b, const kd_exec *x) {
  kd_exec alone = *x;
  alone.threads = 1;
  kd__team_run(b->team ? x : &alone, run_all, b);
  for (uint32_t i = 0; i < b->plan->nwrites; i++) kd__store_changed(b->store, b->plan->writes[i]);
}

const kd_plan_call *kd__bound_faulted(const kd_bound *b) { return b->faulted; }
