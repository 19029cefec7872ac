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
  bool measured = plan && plan->ran >= d->before && plan->runs < d->p->steps && wanted(d);
  if (measured) plan->watch.seconds = plan->run[plan->runs].call;
  if (plan && r->bound[c->a]) kd__bound_watch(r->bound[c->a], measured ? &plan->watch : NULL);
  double start = kd__now();
  kd_status s = kd__code_one(r);
  double end = kd__now();
  if (plan) {
    if (plan->ran++ == 0) plan->first = end - start;
    if (measured) plan->run[plan->runs++].whole = end - start;
    d->at = c->a;
    d->on = measured;
    if (measured) note(d->p, KD__PROFILE_PLAN, c->a, start, end);
  } else if (d->at >= 0 && d->on) {
    kd__profile_run *run = &d->p->plan[d->at].run[d->p->plan[d->at].runs - 1];
    if (brings_data(c)) run->data += end - start;
    else run->scheme += end - start;
    note(d->p, brings_data(c) ? KD__PROFILE_DATA : KD__PROFILE_SCHEME, d->at, start, end);
  }
  return s;
}

static bool room_of(kd__profile *p, kd__profile_plan *f, size_t calls) {
  kd_watch *w = &f->watch;
  size_t n = (size_t)p->steps;
  f->run = calloc(n + 1, sizeof *f->run);
  f->calls = calloc(n * calls + 1, sizeof *f->calls);
  w->times = calloc(calls + 1, sizeof *w->times);
  w->cap = p->events;
  w->event = p->events ? malloc(p->events * sizeof *w->event) : NULL;
  if (!f->run || !f->calls || !w->times || (p->events && !w->event)) return false;
  for (size_t i = 0; i < n; i++) f->run[i].call = f->calls + i * calls;
  return true;
}

static bool get_room(kd__profile *p, const kd_module *m) {
  p->nplan = m->nplan;
  p->plan = calloc(m->nplan + (size_t)1, sizeof *p->plan);
  p->event = p->events ? calloc(p->events, sizeof *p->event) : NULL;
  bool got = p->plan && (!p->events || p->event);
  for (uint32_t i = 0; i < m->nplan && got; i++) got = room_of(p, &p->plan[i], kd__plan_calls(m->plan[i]));
  return got;
}

void kd__profile_free(kd__profile *p) {
  for (uint32_t i = 0; p->plan && i < p->nplan; i++) {
    free(p->plan[i].run);
    free(p->plan[i].calls);
    free(p->plan[i].watch.times);
    free(p->plan[i].watch.event);
  }
  free(p->plan);
  free(p->event);
  p->plan = NULL;
  p->event = NULL;
}

static double length(const kd__profile_run *r) { return r->whole + r->data + r->scheme; }

/* The one that as many are shorter than as longer. */
const kd__profile_run *kd__profile_median(const kd__profile_plan *p) {
  for (int64_t i = 0; i < p->runs; i++) {
    int64_t below = 0;
    for (int64_t k = 0; k < p->runs; k++) below += length(&p->run[k]) < length(&p->run[i]) || (k < i && length(&p->run[k]) == length(&p->run[i]));
    if (below == (p->runs - 1) / 2) return &p->run[i];
  }
  return &p->run[0];
}

kd_status kd__machine_profile(kd_machine *r, kd__profile *p, kd__run_error *err) {
  driver d = { r, p, p->before, -1, false };
  r->brief = true;
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
