/* profile.c: what a program costs as it is measured. */
#include "compiler/api/table.h"
#include <stdlib.h>

enum { STEPS = 20, BEFORE = 3, EVENTS = 200000 };

static void told_as_run(kd_program *p, const kd__run_error *err, kd_status s) {
  if (s != KD_E_CANCELLED) kd__say(p->session, KD__SAY_RUN_FAILED, NULL, err->text[0] ? err->text : kd_status_text(s));
}

/* --- events for the trace ------------------------------------------------------------------------------------------------------- */
static void event(kd_table *t, const char *name, const char *layer, int thread, double start, double end) {
  KD_PUSH(&t->arena, t->event, (kd__table_event){ name, layer, thread, start, end });
}

static void calls(kd_table *t, const kd__table_program *of, const kd_watch *w) {
  const kd__lines *l = &of->line[KD_LINE_CALL];
  for (size_t i = 0; i < w->nevent; i++)
    if (w->event[i].call < l->n) event(t, l->v[w->event[i].call].name, l->v[w->event[i].call].layer, 1 + w->event[i].thread, w->event[i].start, w->event[i].end);
}

static void machine(kd_table *t, const kd_module *m, const kd__profile *f) {
  for (size_t i = 0; i < f->nevent; i++) {
    const kd__profile_event *e = &f->event[i];
    const char *plan = m->plan[e->plan]->name, *name = e->kind == KD__PROFILE_DATA ? "data" : e->kind == KD__PROFILE_SCHEME ? "scheme" : NULL;
    event(t, name ? name : kd__arena_strndup(&t->arena, plan, strlen(plan)), "", 0, e->start, e->end);
  }
}

/* --- the table --------------------------------------------------------------------------------------------------------------------- */
static void one(kd_table *t, const kd_program *p, uint32_t plan, const kd_bound *b, const kd__profile_plan *f) {
  const kd__profile_run *r = kd__profile_median(f);
  double inside = 0;
  for (uint32_t k = 0; k < p->module->plan[plan]->ncall; k++) inside += r->call[k];
  kd__table_program *to = kd__table_add(t, p, plan, b, r->call);
  kd__table_place(t, &to->c, p->module, plan);
  kd__table_other(t, to, "data", r->data);
  kd__table_other(t, to, "dispatch", r->whole > inside ? r->whole - inside : 0);
  kd__table_other(t, to, "scheme", r->scheme);
  kd__table_close(t, to, p->module, plan);
  to->c.runs = f->runs;
  to->c.first = f->first;
  calls(t, to, &f->watch);
}

static kd_status fill(kd_table *t, kd_program *p, kd_machine *r, kd__profile *f, kd__oom *oom) {
  if (setjmp(oom->jump)) { kd__say(p->session, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  oom->armed = true;
  kd_status s = kd__table_limits(t, p->session, kd__machine_threads(r), false);
  for (uint32_t i = 0; s == KD_OK && i < p->module->nplan; i++)
    if (f->plan[i].runs > 0 && kd__machine_bound(r, i)) one(t, p, i, kd__machine_bound(r, i), &f->plan[i]);
  if (s == KD_OK) machine(t, p->module, f);
  oom->armed = false;
  return s;
}

static kd_status measure(kd_table *t, kd_program *p, const kd__run_options *run, const kd_profile_options *o, kd__oom *oom) {
  kd__run_error err = { 0 };
  kd_machine *r;
  kd__profile f = { .steps = o->steps ? o->steps : STEPS, .before = BEFORE, .stage = o->stage, .events = o->trace ? EVENTS : 0 };
  kd_status s = kd__machine_open(p->module, run, &r, &err);
  if (s != KD_OK) { told_as_run(p, &err, s); return s; }
  s = kd__machine_profile(r, &f, &err);
  if (s != KD_OK) told_as_run(p, &err, s);
  else if (o->stage && !f.found) { kd__say(p->session, KD__SAY_NO_STAGE, p->path, o->stage); s = KD_E_USAGE; }
  else s = fill(t, p, r, &f, oom);
  kd__profile_free(&f);
  kd__machine_close(r);
  return s;
}

kd_status kd_profile(kd_program *p, const kd_run_options *run, const kd_profile_options *o, kd_table **out) {
  if (out) *out = NULL;
  kd_run_options with = run ? *run : (kd_run_options){ 0 };
  kd_profile_options how = o ? *o : (kd_profile_options){ 0 };
  if (!p || !p->module || p->session->closed || !out || with.out || how.steps < 0) return KD_E_USAGE;
  kd__oom oom = { .armed = false };
  kd_table *t = kd__table_new(&oom);
  if (!t) { kd__say(p->session, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  kd__run_options r = kd__run_options_of(p, &with);
  kd_status s = measure(t, p, &r, &how, &oom);
  t->arena.oom = NULL;
  if (s == KD_OK) *out = t;
  else kd_table_free(t);
  return s;
}
