/* profile.c: a program runs with all its loops cut short, and every instruction and call is timed. */
#include "runtime/run/machine.h"
#include <stdlib.h>

typedef struct driver { kd_machine *r; kd__profile *p; int64_t before, at; bool on; } driver;       /* before: of the stage at hand; at: the plan that ran last, -1: none; on: that run was measured */

static bool runs_plan(const kd_code *c) { return c->op == KD_CODE_RUN || c->op == KD_CODE_STEP || c->op == KD_CODE_LOSS || c->op == KD_CODE_EVAL; }
static bool brings_data(const kd_code *c) {
  return c->op == KD_CODE_BATCHES || c->op == KD_CODE_MORE || c->op == KD_CODE_TAKE || c->op == KD_CODE_LEAVE || c->op == KD_CODE_WRITE;
}

static bool wanted(const driver *d) {
  const kd_machine *r = d->r;
  return !d->p->stage || (r->pos.stage >= 0 && strcmp(r->m->stage[r->pos.stage].name, d->p->stage) == 0);
}

/* A stage that is not measured has one step, so that what follows has something to read. */
static int64_t most(const driver *d) { return wanted(d) ? d->before + d->p->steps : 1; }

/* Does this instruction lead back to where enough was done? Then what follows it comes next. */
static bool enough(driver *d, const kd_code *c) {
  kd_position *p = &d->r->pos;
  if (c->op != KD_CODE_MORE && c->op != KD_CODE_NEXT) return false;
  bool stepped = p->step >= most(d);
  if (c->op == KD_CODE_MORE) {
    if (!stepped && p->stream[c->a].open && p->stream[c->a].batch + 1 < most(d)) return false;
    kd__stream_leave(d->r, (uint32_t)c->a);
  } else {
    if (!stepped && p->counter[c->a] + 1 < most(d)) return false;
    p->counter[c->a] = 0;
  }
  p->pc++;
  return true;
}

static void note(kd__profile *p, kd__profile_kind kind, int64_t plan, double start, double end) {
  if (p->nevent < p->events) p->event[p->nevent++] = (kd__profile_event){ kind, (uint32_t)plan, start, end };
}

static kd_status one(driver *d) {
  kd_machine *r = d->r;
  const kd_code *c = &r->m->code[r->pos.pc];
  kd__profile_plan *plan = runs_plan(c) ? &d->p->plan[c->a] : NULL;
  d->p->found = d->p->found || (c->op == KD_CODE_STAGE && d->p->stage && strcmp(r->m->stage[c->a].name, d->p->stage) == 0);
  if (enough(d, c)) return KD_OK;
  if (c->op == KD_CODE_STAGE) {                  /* of a stage with a few steps not all come before those that are measured */
    int64_t steps = r->m->stage[c->a].steps;
    d->before = steps > 0 && steps / 2 < d->p->before ? steps / 2 : d->p->before;
    d->at = -1;
  }
  bool measured = plan && plan->ran >= d->before && wanted(d);
  if (plan && r->bound[c->a]) kd__bound_watch(r->bound[c->a], measured ? &plan->watch : NULL);
  double start = kd__now();
  kd_status s = kd__code_one(r);
  double end = kd__now();
  if (plan) {
    if (plan->ran++ == 0) plan->first = end - start;
    if (measured) plan->runs++, plan->whole += end - start;
    d->at = c->a;
    d->on = measured;
    if (measured) note(d->p, KD__PROFILE_PLAN, c->a, start, end);
  } else if (d->at >= 0 && d->on) {
    if (brings_data(c)) d->p->plan[d->at].data += end - start;
    else d->p->plan[d->at].scheme += end - start;
    note(d->p, brings_data(c) ? KD__PROFILE_DATA : KD__PROFILE_SCHEME, d->at, start, end);
  }
  return s;
}

static bool get_room(kd__profile *p, const kd_module *m) {
  p->nplan = m->nplan;
  p->plan = calloc(m->nplan + (size_t)1, sizeof *p->plan);
  p->event = p->events ? calloc(p->events, sizeof *p->event) : NULL;
  if (!p->plan || (p->events && !p->event)) return false;
  for (uint32_t i = 0; i < m->nplan; i++) {
    kd_watch *w = &p->plan[i].watch;
    size_t n = kd__plan_calls(m->plan[i]) + (size_t)1;
    w->seconds = calloc(n, sizeof *w->seconds);
    w->times = calloc(n, sizeof *w->times);
    w->cap = p->events;
    w->event = p->events ? malloc(p->events * sizeof *w->event) : NULL;
    if (!w->seconds || !w->times || (p->events && !w->event)) return false;
  }
  return true;
}

void kd__profile_free(kd__profile *p) {
  for (uint32_t i = 0; p->plan && i < p->nplan; i++) {
    free(p->plan[i].watch.seconds);
    free(p->plan[i].watch.times);
    free(p->plan[i].watch.event);
  }
  free(p->plan);
  free(p->event);
  p->plan = NULL;
  p->event = NULL;
}

kd_status kd__machine_profile(kd_machine *r, kd__profile *p, kd__run_error *err) {
  driver d = { r, p, p->before, -1, false };
  kd_status s = get_room(p, r->m) ? KD_OK : kd__fail(r, KD_E_MEMORY, 0, "out of memory for what is measured");
  while (s == KD_OK && !r->ended && !r->waits) {
    if (r->opt.cancel && *r->opt.cancel) s = kd__fail(r, KD_E_CANCELLED, 0, "stopped on request");
    else s = one(&d);
  }
  for (uint32_t i = 0; i < r->m->nplan; i++)
    if (r->bound[i]) kd__bound_watch(r->bound[i], NULL);
  r->ended = true;
  *err = r->error;
  return s;
}

const kd_bound *kd__machine_bound(const kd_machine *r, uint32_t plan) { return plan < r->m->nplan ? r->bound[plan] : NULL; }
