/* run.c: a program runs, and what came of it. */
#include "compiler/api/api.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SAME(kind) _Static_assert((int)KD_EVENT_##kind == (int)KD__EVENT_##kind, "kd_event_kind and kd__event_kind differ at " #kind)
SAME(STAGE);
SAME(STEP);
SAME(EPOCH);
SAME(SAY);
SAME(NOTE);
#undef SAME

/* The machine stays open until the next run, because what it computed is its memory. */
struct kd__last_run { kd_machine *machine; };

/* --- events ------------------------------------------------------------------------------------------------------------------- */
typedef struct listener { void (*event)(void *ctx, const kd_event *e); void *ctx; kd_named *value; size_t cap; } listener;

static void hear(void *ctx, const kd__event *e) {
  listener *l = ctx;
  if (e->nvalue > l->cap) {
    kd_named *more = realloc(l->value, sizeof *more * e->nvalue);
    if (more) { l->value = more; l->cap = e->nvalue; }
  }
  size_t n = e->nvalue < l->cap ? e->nvalue : l->cap;
  for (size_t i = 0; i < n; i++) l->value[i] = (kd_named){ e->value[i].name, e->value[i].value };
  kd_event out = { .kind = (kd_event_kind)e->kind, .stage = e->stage, .stage_number = e->stage_number, .stages = e->stages,
                   .epoch = e->epoch, .epochs = e->epochs, .step = e->step, .steps = e->steps, .samples_per_second = e->samples_per_second,
                   .seconds = e->seconds, .seconds_left = e->seconds_left, .value = l->value, .nvalue = n, .text = e->text };
  l->event(l->ctx, &out);
}

/* --- failures ------------------------------------------------------------------------------------------------------------------ */
/* With its place in the program. False: that is not known, or there is no memory to say it. */
static bool tell_place(kd_program *p, const kd__run_error *err) {
  kd__arena a;
  kd__oom oom = { .armed = false };
  kd_sink sink;
  if (!err->origin) return false;
  kd__arena_init(&a, &p->session->alloc, &oom);
  if (setjmp(oom.jump)) { kd__arena_free(&a); return false; }
  oom.armed = true;
  kd__sink_init(&sink, &a);
  bool told = kd__module_report(p->module, &sink, err->origin, err->text);
  if (told) kd__say_sink(p->session, &sink);
  oom.armed = false;
  kd__arena_free(&a);
  return told;
}

static kd_status failed(kd_program *p, kd_status s, const kd__run_error *err) {
  if (s == KD_OK || s == KD_E_CANCELLED) return s;
  if (!tell_place(p, err)) kd__say(p->session, KD__SAY_RUN_FAILED, NULL, err->text[0] ? err->text : kd_status_text(s));
  return s;
}

/* --- running -------------------------------------------------------------------------------------------------------------------- */
void kd__run_forget(kd_program *p) {
  if (!p->run) return;
  kd__machine_close(p->run->machine);
  free(p->run);
  p->run = NULL;
}

/* The machine waits for the rest of the program, which depends on `value`. */
static kd_status decided(kd_program *p, kd_machine **at, int64_t value, const char *name, kd__run_error *err) {
  const kd_module *m = p->module;
  size_t n = 0;
  kd__arena *arena = NULL;
  kd_module *more = NULL;
  const char *why;
  char text[900];
  int64_t *all = calloc(m->ndecision + (size_t)1, sizeof *all);
  if (!all) return kd__machine_give_up(*at, KD_E_MEMORY, "out of memory", err);
  while (n < m->ndecision && m->decision[n].made) { all[n] = m->decision[n].value; n++; }
  all[n++] = value;
  kd_status s = kd__compile_again(p, all, n, &arena, &more, &why);
  free(all);
  if (s != KD_OK) {
    snprintf(text, sizeof text, "with %.100s = %lld the rest of the program is wrong: %.600s", name, (long long)value, why);
    return kd__machine_give_up(*at, s, s == KD_E_PROGRAM ? text : why, err);
  }
  kd_machine *before = *at;
  s = kd__machine_decided(at, more, err);
  if (s == KD_OK || *at != before) { kd__compile_take(p, arena, more); return s; }
  snprintf(text, sizeof text, "%.800s", err->text);
  s = kd__machine_give_up(*at, s, text, err);
  kd__compile_drop(p, arena);
  return s;
}

static kd_status go(kd_program *p, kd_machine **at, kd__run_error *err) {
  int64_t value;
  const char *name;
  kd_status s = kd__machine_go(*at, err);
  while (s == KD_OK && kd__machine_waits(*at, &value, &name)) {
    s = decided(p, at, value, name, err);
    if (s == KD_OK) s = kd__machine_go(*at, err);
  }
  return s;
}

kd__run_options kd__run_options_of(const kd_program *p, const kd_run_options *o) {
  return (kd__run_options){ .seed = o->seed, .threads = o->threads, .deterministic = o->deterministic, .no_dnnl = o->no_dnnl, .backend = o->backend, .winograd = o->winograd,
                            .search = { .folder = p->folder, .nfolder = p->nfolder, .cache = p->session->config.cache },
                            .out = o->out, .checkpoint_seconds = o->checkpoint_seconds, .checkpoint_steps = o->checkpoint_steps, .path = p->path, .stdlib = p->stdlib,
                            .version = kd_version(), .source = p->source.v, .nsource = p->source.n, .memory_limit = p->memory_limit, .no_fuse = p->no_fuse,
                            .cache = p->frozen.mode, .cache_given = p->frozen.given, .cache_memory = p->frozen.memory, .cache_disk = p->frozen.disk,
                            .setting = p->set, .nsetting = p->nset, .every_step = o->every_step, .cancel = o->cancel };
}

kd_status kd__run(kd_program *p, const kd_run_options *o, bool resume) {
  listener l = { .event = o->event, .ctx = o->event_ctx };
  kd__run_options r = kd__run_options_of(p, o);
  r.resume = resume;
  r.event = o->event ? hear : NULL;
  r.event_ctx = &l;
  kd__run_error err = { 0 };
  struct kd__last_run *run = calloc(1, sizeof *run);
  if (!run) { kd__say(p->session, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  kd_status s = kd__machine_open(p->module, &r, &run->machine, &err);
  if (s != KD_OK) { free(run); free(l.value); return failed(p, s, &err); }
  p->run = run;
  s = go(p, &run->machine, &err);
  free(l.value);
  return failed(p, s, &err);
}

/* Another run decides for itself. */
static kd_status begin_anew(kd_program *p) {
  kd__arena *arena;
  kd_module *m;
  const char *why;
  if (!p->module->ndecision || !p->module->decision[0].made) return KD_OK;
  kd_status s = kd__compile_again(p, NULL, 0, &arena, &m, &why);
  if (s == KD_OK) kd__compile_take(p, arena, m);
  else if (s == KD_E_MEMORY) kd__say(p->session, KD__SAY_NO_MEMORY, NULL);
  return s;
}

kd_status kd_run(kd_program *p, const kd_run_options *o) {
  if (!p || !p->module || p->session->closed || (o && o->checkpoint_steps < 0)) return KD_E_USAGE;
  kd__run_forget(p);
  kd_status s = begin_anew(p);
  return s != KD_OK ? s : kd__run(p, o ? o : &(kd_run_options){ 0 }, false);
}

/* --- what came of it --------------------------------------------------------------------------------------------------------------- */
bool kd_report(const kd_program *p, size_t i, kd_row *out) {
  if (!p || !out || !p->run || i >= p->module->nreport) return false;
  const kd_report_row *r = &p->module->report[i];
  *out = (kd_row){ .label = r->label, .on = r->on ? r->on : "", .value = kd__machine_report(p->run->machine, (uint32_t)i) };
  return true;
}

static bool is_parameter(const kd_slot *s) { return s->kind == KD_SLOT_PARAM || s->kind == KD_SLOT_STATE; }

static void describe(const kd_program *p, uint32_t slot, kd_parameter *out) {
  const kd_slot *s = &p->module->slot[slot];
  *out = (kd_parameter){ .name = s->name, .type = kd__dtype_name((kd_dtype)s->type.dtype), .rank = s->type.rank, .dim = s->type.dim,
                         .data = p->run ? kd__machine_slot(p->run->machine, slot) : NULL,
                         .bytes = (size_t)kd__type_count(&s->type) * kd__dtype_size((kd_dtype)s->type.dtype) };
}

bool kd_parameter_named(const kd_program *p, const char *name, kd_parameter *out) {
  if (!p || !name || !out) return false;
  for (uint32_t i = 0; i < p->module->nslot; i++)
    if (is_parameter(&p->module->slot[i]) && strcmp(p->module->slot[i].name, name) == 0) { describe(p, i, out); return true; }
  return false;
}

bool kd_parameter_at(const kd_program *p, size_t i, kd_parameter *out) {
  if (!p || !out) return false;
  for (uint32_t k = 0; k < p->module->nslot; k++)
    if (is_parameter(&p->module->slot[k]) && i-- == 0) { describe(p, k, out); return true; }
  return false;
}
