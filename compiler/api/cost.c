/* cost.c: what a program will cost: its plans are bound to memory that nobody touches, and nothing runs. */
#include "compiler/api/table.h"
#include "runtime/kernels/choice.h"
#include "runtime/run/run.h"
#include "runtime/files/file.h"
#include <stdio.h>
#include <stdlib.h>

/* --- where plans stand in the scheme ---------------------------------------------------------------------------------------- */
static bool runs_plan(const kd_code *c, uint32_t plan) {
  return (c->op == KD_CODE_RUN || c->op == KD_CODE_STEP || c->op == KD_CODE_LOSS || c->op == KD_CODE_EVAL) && c->a == (int64_t)plan;
}

/* The innermost loop over batches around instruction i, or the batch that was taken for it; NULL: none. */
static const kd_stream *batches_around(const kd_module *m, uint32_t i) {
  for (uint32_t k = i; k-- > 0 && m->code[k].op != KD_CODE_STAGE && m->code[k].op != KD_CODE_LEAVE;)
    if (m->code[k].op == KD_CODE_TAKE || (m->code[k].op == KD_CODE_BATCHES && m->code[k].c > (int64_t)i)) return &m->stream[m->code[k].a];
  return NULL;
}

/* What of it is the same each time, and what the compiler made of that. */
static void keeping(kd_program_cost *c, const kd_module *m, uint32_t plan) {
  c->kept = "";
  for (uint32_t i = 0; i < m->nfrozen; i++) {
    const kd_frozen_part *f = &m->frozen[i];
    if (f->plan != plan || f->all_flops <= 0) continue;
    bool held = f->where == KD_KEEPING_MEMORY || f->where == KD_KEEPING_DISK;
    c->once_flops = f->frozen_flops / f->all_flops;
    c->kept_flops = held ? f->saved_flops / f->all_flops : 0;
    c->kept_bytes = f->where == KD_KEEPING_ROOM ? f->rows * f->want_bytes : held ? f->rows * f->sample_bytes : 0;
    c->kept = f->where == KD_KEEPING_MEMORY ? "memory" : f->where == KD_KEEPING_DISK ? "disk" : f->where == KD_KEEPING_ROOM ? "no room" : "";
  }
}

/* A short batch's plan is the one that BATCH_IF leads to. */
static int64_t rows_of(const kd_module *m, uint32_t i, const kd_stream *s) {
  for (uint32_t k = 0; k < i; k++)
    if (m->code[k].op == KD_CODE_BATCH_IF && m->code[k].c == (int64_t)i && &m->stream[m->code[k].a] == s) return m->code[k].b;
  return s->batch;
}

void kd__table_place(kd_table *t, kd_program_cost *c, const kd_module *m, uint32_t plan) {
  const kd_stage_info *stage = NULL;
  keeping(c, m, plan);
  for (uint32_t i = 0; i < m->ncode; i++) {
    const kd_code *k = &m->code[i];
    if (k->op == KD_CODE_STAGE) stage = &m->stage[k->a];
    if (!runs_plan(k, plan)) continue;
    const kd_stream *s = batches_around(m, i);
    c->trains = k->op == KD_CODE_STEP || k->op == KD_CODE_LOSS;
    bool within = stage && (c->trains || (s && strncmp(c->name, stage->name, strlen(stage->name)) == 0));
    if (within) c->stage = kd__arena_strndup(&t->arena, stage->name, strlen(stage->name));
    if (s) c->rows = rows_of(m, i, s);
    if (c->trains) c->runs = stage ? stage->steps : 0;
    return;
  }
}

/* --- memory ------------------------------------------------------------------------------------------------------------------------- */
/* Anonymous memory of this process that is in use. */
static int64_t anonymous(void) {
  char *text;
  size_t n;
  if (kd__file_read("/proc/self/status", 1 << 16, &text, &n, NULL, 0) != KD_OK) return 0;
  const char *at = strstr(text, "RssAnon:");
  int64_t kib = at ? strtoll(at + 8, NULL, 10) : 0;
  free(text);
  return kib << 10;
}

static int64_t slot_bytes(const kd_slot *s) { return kd__type_count(&s->type) * (int64_t)kd__dtype_size((kd_dtype)s->type.dtype); }

static int64_t stream_bytes(const kd_module *m, const kd_stream *s) {
  const kd_dataset *d = &m->dataset[s->dataset];
  int64_t row = 8;
  for (uint32_t i = 0; i < s->nbind; i++) {
    const kd_type *t = &d->split[s->split].field[s->bind[i].field].type;
    row += kd__type_count(t) * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  }
  return kd__loader_bytes(row * s->batch);
}

/* Orders of samples, and what is decoded where no cache folder keeps it. */
static int64_t rows_bytes(const kd_program *p, const kd_stream *s) {
  int64_t rows[64], per = 8;
  const kd_dataset *d = &p->module->dataset[s->dataset];
  char why[256];
  if (d->nsplit > 64 || d->made != KD_MADE_FILES || !kd__data_rows((void *)(uintptr_t)p, d, rows, why, sizeof why) || rows[s->split] < 0) return 0;
  for (uint32_t i = 0; i < d->split[s->split].nfield && !p->session->config.cache; i++) {
    const kd_type *t = &d->split[s->split].field[i].type;
    per += kd__type_count(t) * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  }
  return rows[s->split] * per;
}

static void memory(kd_table *t, const kd_program *p) {
  const kd_module *m = p->module;
  kd_memory_cost *c = &t->memory;
  for (uint32_t i = 0; i < m->nslot; i++) c->kept += slot_bytes(&m->slot[i]);
  for (uint32_t i = 0; i < m->nstream; i++) c->data += stream_bytes(m, &m->stream[i]) + rows_bytes(p, &m->stream[i]);
  for (uint32_t i = 0; i < m->nfrozen; i++) if (m->frozen[i].where == KD_KEEPING_MEMORY) c->data += m->frozen[i].rows * m->frozen[i].sample_bytes;
  for (uint32_t i = 0; i < m->ngroup; i++) {
    bool kept = false;
    for (uint32_t k = 0; k < m->ncode; k++) kept = kept || (m->code[k].op == KD_CODE_SNAPSHOT && m->code[k].a == (int64_t)i);
    for (uint32_t k = 0; k < m->group[i].n && kept; k++) c->best += slot_bytes(&m->slot[m->group[i].slot[k]]);
  }
  for (size_t i = 0; i < t->program.n; i++) {
    const kd_program_cost *k = &t->program.v[i].c;
    if (k->arena > c->arena) c->arena = k->arena;
    if (k->scratch > c->scratch) c->scratch = k->scratch;
    c->prepared += k->prepared;
  }
  c->compiler = (int64_t)(p->arena.used + (p->again ? p->again->used : 0));
  c->total = c->kept + c->arena + c->scratch + c->prepared + c->data + c->best + c->compiler;
}

/* --- binding ------------------------------------------------------------------------------------------------------------------------- */
typedef struct costing {
  kd_table *t;
  kd_store store;
  void *arena; size_t arena_size;
  kd_bound **bound; uint32_t n;
  kd_choices *choices;                           /* what was measured of the kernels */
  kd__oom oom;
} costing;

static void end(costing *c) {
  for (uint32_t i = 0; c->bound && i < c->n; i++) kd__bound_close(c->bound[i]);
  free(c->bound);
  kd__block_free(c->arena, c->arena_size);
  kd__store_close(&c->store);
  kd__choices_free(c->choices);
}

/* The batch into its slots, and what a step's machine does. */
static void others(costing *c, kd__table_program *to, const kd_module *m, uint32_t plan, bool team) {
  double bytes = 0;
  for (uint32_t i = 0; i < m->ncode; i++) {
    const kd_stream *s = runs_plan(&m->code[i], plan) ? batches_around(m, i) : NULL;
    if (!s) continue;
    for (uint32_t k = 0; k < s->nbind; k++) bytes += 2 * (double)slot_bytes(&m->slot[s->bind[k].slot]);
    for (uint32_t k = 0; k < s->nkept; k++) bytes += (double)slot_bytes(&m->slot[m->kept[s->kept[k].kept].column[s->kept[k].column].slot]);
    break;
  }
  if (bytes > 0) kd__table_other(c->t, to, "data", 1e-6 + bytes / c->t->limits.bytes[KD__ALONE][KD__REACH_MEMORY]);
  kd__table_other(c->t, to, "dispatch", kd__predict_dispatch(&c->t->limits, team));
}

static kd_status bind_all(costing *c, const kd_program *p, const kd_kernel_settings *set) {
  const kd_module *m = p->module;
  kd_status s = kd__store_open(&c->store, m->slot, m->nslot);
  for (uint32_t i = 0; i < m->nplan; i++)
    if ((size_t)m->plan[i]->arena_size > c->arena_size) c->arena_size = (size_t)m->plan[i]->arena_size;
  c->arena = s == KD_OK ? kd__block_get(c->arena_size) : NULL;
  c->bound = calloc(m->nplan + (size_t)1, sizeof *c->bound);
  if (!c->arena || !c->bound) return KD_E_MEMORY;
  c->n = m->nplan;
  for (uint32_t i = 0; i < m->nplan; i++) {
    int64_t before = anonymous();
    s = kd__plan_bind(m->plan[i], &c->store, c->arena, set, &c->bound[i]);
    if (s != KD_OK) return s;
    int64_t after = anonymous();
    kd__table_program *to = kd__table_add(c->t, p, i, c->bound[i], NULL);
    to->c.prepared = (after > before ? after - before : 0) + (int64_t)kd__bound_kept(c->bound[i]);
    kd__table_place(c->t, &to->c, m, i);
    kd__table_dead(c->t, to, m, i);
    others(c, to, m, i, kd__bound_team(c->bound[i]));
    kd__table_close(c->t, to, m, i);
  }
  memory(c->t, p);
  return KD_OK;
}

static kd_status cost(costing *c, kd_program *p, const kd__run_options *run, bool measure) {
  kd__run_error err = { 0 };
  kd_kernel_settings set;
  kd_status s = kd__run_settings(p->module, run, &set, &err);
  if (s != KD_OK) { kd__say(p->session, KD__SAY_RUN_FAILED, NULL, err.text); return s; }
  bool broken;                                   /* a run would say so */
  set.choices = c->choices = set.reference ? NULL : kd__choices_load(run->search.cache, &broken);
  if (setjmp(c->oom.jump)) { kd__say(p->session, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  c->oom.armed = true;
  s = kd__table_limits(c->t, p->session, set.threads, measure);
  if (s != KD_OK) return s;
  s = bind_all(c, p, &set);
  if (s != KD_OK) kd__say(p->session, KD__SAY_RUN_FAILED, NULL, kd_status_text(s));
  return s;
}

kd_status kd_cost(kd_program *p, const kd_run_options *run, const kd_cost_options *o, kd_table **out) {
  if (out) *out = NULL;
  if (!p || !p->module || p->session->closed || !out) return KD_E_USAGE;
  costing c = { 0 };
  c.t = kd__table_new(&c.oom);
  if (!c.t) { kd__say(p->session, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  kd__run_options r = kd__run_options_of(p, run ? run : &(kd_run_options){ 0 });
  kd_status s = cost(&c, p, &r, o && o->measure);
  c.oom.armed = false;
  end(&c);
  c.t->arena.oom = NULL;
  if (s == KD_OK) *out = c.t;
  else kd_table_free(c.t);
  return s;
}
