/* table.c: what a program costs, as lines by layer, kernel and call. */
#include "compiler/api/table.h"
#include <stdio.h>
#include <stdlib.h>

/* --- beginning and ending --------------------------------------------------------------------------------------------------- */
kd_table *kd__table_new(kd__oom *oom) {
  kd_table *t = calloc(1, sizeof *t);
  if (t) kd__arena_init(&t->arena, NULL, oom);
  return t;
}

void kd_table_free(kd_table *t) {
  if (!t) return;
  kd__arena_free(&t->arena);
  free(t);
}

kd_status kd__table_limits(kd_table *t, kd_session *s, int threads, bool anew) {
  char why[256];
  kd__buf name = { 0 };
  kd__processor(&name);
  if (name.failed) { kd__buf_free(&name); kd__say(s, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  kd_machine_limits *m = &t->machine;
  m->processor = kd__buf_keep(&name, &t->arena);
  kd_status st = kd__limits_get(s->config.cache, m->processor, threads, anew, &t->limits, &m->measured, why, sizeof why);
  if (st != KD_OK) { kd__say(s, KD__SAY_RUN_FAILED, NULL, why); return st; }
  m->threads = threads;
  m->disturbed = t->limits.disturbed > 0;
  for (int how = 0; how < 2; how++) {
    m->flops[how] = t->limits.flops[how];
    m->l2[how] = t->limits.bytes[how][KD__REACH_L2];
    m->l3[how] = t->limits.bytes[how][KD__REACH_L3];
    m->memory[how] = t->limits.bytes[how][KD__REACH_MEMORY];
  }
  return KD_OK;
}

/* --- lines ------------------------------------------------------------------------------------------------------------------------ */
static void add(kd_line *to, const kd_line *l) {
  to->calls += l->calls, to->flops += l->flops, to->bytes += l->bytes, to->seconds += l->seconds, to->limit += l->limit, to->held += l->held;
}

/* The line of that name, made where there is none. */
static kd_line *line(kd_table *t, kd__table_program *to, kd_line_kind kind, const char *name) {
  void **at = kd__map_at(&to->seen[kind], name);
  if (!*at) {
    KD_PUSH(&t->arena, to->line[kind], (kd_line){ .name = kd__arena_strndup(&t->arena, name, strlen(name)), .layer = "" });
    *at = (void *)(uintptr_t)to->line[kind].n;
  }
  return &to->line[kind].v[(uintptr_t)*at - 1];
}

static void shape(kd__buf *b, const kd_type *t) {
  kd__buf_putc(b, '[');
  for (int d = 0; d < t->rank; d++) kd__buf_printf(b, "%s%lld", d ? "," : "", (long long)t->dim[d]);
  kd__buf_putc(b, ']');
}

static const char *op_name(kd_op op) { return op < KD_OP_COUNT ? kd__op_info(op)->name : "copy"; }

static const char *kind_of(kd_op op) {
  if (op < KD_OP_COUNT && kd__op_info(op)->cls == KD_CLASS_CONTRACT) return op == KD_OP_MATMUL ? "matrix products" : "convolutions";
  return op == KD_OP_GROUP ? "groups" : "others";
}

/* "conv.dnnl conv [64,16,32,32] [16,16,3,3] -> [64,16,32,32]": at most four operands. */
static const char *call_text(kd_table *t, const kd_plan *p, uint32_t call, const char *kernel) {
  const kd_plan_call *c = &p->call[call];
  kd__buf b = { 0 };
  kd__buf_printf(&b, "%s %s", kernel, op_name(c->op));
  for (uint32_t i = 0; i < c->nin && i < 4; i++) { kd__buf_putc(&b, ' '); shape(&b, &p->tensor[c->in[i]].type); }
  if (c->nin > 4) kd__buf_puts(&b, " ..");
  if (c->nout) { kd__buf_puts(&b, " -> "); shape(&b, &p->tensor[c->out[0]].type); }
  if (!b.failed) return kd__buf_keep(&b, &t->arena);
  kd__buf_free(&b);
  return kernel;
}

typedef struct visit {
  kd_table *t;
  kd__table_program *to;
  const kd_module *m;
  const double *seconds; uint32_t number;        /* of the next call */
  const kd_plan *plan;                           /* whose reaches and held bytes those are */
  kd__reached *reach; int64_t *held;
  bool team;
} visit;

static void look_at(visit *v, const kd_plan *p) {
  v->plan = p;
  v->reach = KD_NEWN(&v->t->arena, kd__reached, p->ncall + 1);
  v->held = KD_NEWN(&v->t->arena, int64_t, p->ncall + 1);
  (void)kd__work_reach(p, v->t->limits.size, v->reach);
  int64_t all = kd__work_held(p, v->held);
  if (all > v->to->c.held) v->to->c.held = all;
}

/* Each instruction of a group has its layer: the parts of a call's cost go by what they compute. The call itself counts where the call belongs. */
static void layers(visit *v, const kd_plan_call *c, const kd_line *l, const char *layer) {
  double all = 0;
  uint32_t n = kd__work_instructions(c), origin;
  kd_line whole = { .calls = l->calls, .held = l->held };
  for (uint32_t i = 0; i < n; i++) all += kd__work_instruction(c, i, &origin).slots;
  add(line(v->t, v->to, KD_LINE_LAYER, layer), all > 0 ? &whole : l);
  for (uint32_t i = 0; i < n && all > 0; i++) {
    kd__work w = kd__work_instruction(c, i, &origin);
    double share = w.slots / all;
    kd_line part = { .flops = w.flops * l->calls, .bytes = share * l->bytes, .seconds = share * l->seconds, .limit = share * l->limit };
    if (share > 0) add(line(v->t, v->to, KD_LINE_LAYER, kd__module_place(v->m, origin)), &part);
  }
}

static void one(void *ctx, const kd_plan *p, uint32_t call, double times, const char *kernel, double side) {
  visit *v = ctx;
  kd_table *t = v->t;
  const kd_plan_call *c = &p->call[call];
  if (p != v->plan) look_at(v, p);
  kd__work w = kd__work_call(p, call);
  double took = v->seconds ? v->seconds[v->number] : times * (side > 0 ? side : 1) * kd__predict_seconds(&t->limits, p, call, kernel, v->team && side == 0, &w, &v->reach[call]);
  kd_line l = { .calls = times, .flops = times * w.flops, .bytes = times * w.bytes, .seconds = took, .limit = times * kd__limit_seconds(&t->limits, &w, &v->reach[call]),
                .held = v->held[call] };
  v->number++;
  const char *layer = kd__module_place(v->m, c->origin);
  char name[128];
  if (strcmp(kernel, op_name(c->op)) == 0) (void)snprintf(name, sizeof name, "%s", kernel);
  else (void)snprintf(name, sizeof name, "%s %s", kernel, op_name(c->op));
  layers(v, c, &l, layer);
  add(line(t, v->to, KD_LINE_KERNEL, name), &l);
  add(line(t, v->to, KD_LINE_KIND, kind_of(c->op)), &l);
  l.name = call_text(t, p, call, kernel);
  l.layer = kd__arena_strndup(&t->arena, layer, strlen(layer));
  KD_PUSH(&t->arena, v->to->line[KD_LINE_CALL], l);
}

/* A measured loop has its body's time in it: that is taken out of the loop's own. */
static uint32_t take_out(const kd_plan *p, double *seconds, uint32_t first) {
  uint32_t next = first + p->ncall;
  for (uint32_t i = 0; i < p->ncall; i++) {
    if (!p->call[i].loop) continue;
    const kd_plan *body = p->call[i].loop->body;
    for (uint32_t k = 0; k < body->ncall; k++) seconds[first + i] -= seconds[next + k];
    if (seconds[first + i] < 0) seconds[first + i] = 0;
    next = take_out(body, seconds, next);
  }
  return next;
}

kd__table_program *kd__table_add(kd_table *t, const kd_program *p, uint32_t plan, const kd_bound *b, const double *seconds) {
  const kd_module *m = p->module;
  const char *name = m->plan[plan]->name;
  KD_PUSH(&t->arena, t->program, (kd__table_program){ .c = { .name = kd__arena_strndup(&t->arena, name, strlen(name)), .stage = "" } });
  kd__table_program *to = &t->program.v[t->program.n - 1];
  for (int i = 0; i < KD_LINE_OTHER; i++) kd__map_init(&to->seen[i], &t->arena);
  double *own = NULL;
  if (seconds) {
    own = kd__arena_copy(&t->arena, seconds, (kd__plan_calls(m->plan[plan]) + 1) * sizeof *own);
    (void)take_out(m->plan[plan], own, 0);
  }
  visit v = { .t = t, .to = to, .m = m, .seconds = own, .team = kd__bound_team(b) };
  kd__bound_each(b, one, &v);
  to->c.arena = m->plan[plan]->arena_size;
  to->c.scratch = (int64_t)kd__bound_scratch(b);
  return to;
}

void kd__table_other(kd_table *t, kd__table_program *to, const char *name, double seconds) {
  KD_PUSH(&t->arena, to->line[KD_LINE_OTHER], (kd_line){ .name = name, .layer = "", .seconds = seconds });
}

/* --- sums and states ---------------------------------------------------------------------------------------------------------------- */
/* "T.stage1.conv1.weight" is a parameter of "T.stage1.conv1". */
static const char *owner(kd_table *t, const kd_slot *s) {
  const char *dot = strrchr(s->name, '.');
  return kd__arena_strndup(&t->arena, s->name, dot ? (size_t)(dot - s->name) : 0);
}

static bool trains(const kd_stage_info *st, uint32_t slot) {
  for (uint32_t k = 0; st && k < st->ntrains; k++) if (st->trains[k] == slot) return true;
  return false;
}

/* Layers whose parameters the plan reads have a line, also where another layer's calls do all their work. */
static void parameters(kd_table *t, kd__table_program *to, const kd_module *m, const kd_plan *plan) {
  const kd_stage_info *st = NULL;
  for (uint32_t i = 0; i < m->nstage; i++) if (*to->c.stage && strcmp(m->stage[i].name, to->c.stage) == 0) st = &m->stage[i];
  for (uint32_t i = 0; i < plan->ntensor; i++)
    if (plan->tensor[i].place == KD_IN_SLOT && m->slot[plan->tensor[i].slot].kind == KD_SLOT_PARAM && to->c.trains)
      (void)line(t, to, KD_LINE_LAYER, owner(t, &m->slot[plan->tensor[i].slot]));
  for (uint32_t s = 0; s < m->nslot; s++) {
    void *at = m->slot[s].kind == KD_SLOT_PARAM ? kd__map_get(&to->seen[KD_LINE_LAYER], owner(t, &m->slot[s])) : NULL;
    if (!at) continue;
    kd_line *l = &to->line[KD_LINE_LAYER].v[(uintptr_t)at - 1];
    l->parameters += kd__type_count(&m->slot[s].type);
    if (l->state != KD_STATE_DEAD) l->state = trains(st, s) || l->state == KD_STATE_TRAINED ? KD_STATE_TRAINED : KD_STATE_FROZEN;
  }
}

void kd__table_close(kd_table *t, kd__table_program *to, const kd_module *m, uint32_t plan) {
  parameters(t, to, m, m->plan[plan]);
  kd_line all = { 0 };
  for (size_t i = 0; i < to->line[KD_LINE_CALL].n; i++) add(&all, &to->line[KD_LINE_CALL].v[i]);
  for (size_t i = 0; i < to->line[KD_LINE_OTHER].n; i++) all.seconds += to->line[KD_LINE_OTHER].v[i].seconds;
  for (size_t i = 0; i < to->line[KD_LINE_LAYER].n; i++)
    if (to->line[KD_LINE_LAYER].v[i].state == KD_STATE_DEAD) to->c.dead_flops += to->line[KD_LINE_LAYER].v[i].flops;
  to->c.calls = all.calls, to->c.flops = all.flops, to->c.bytes = all.bytes, to->c.seconds = all.seconds, to->c.limit = all.limit;
}

/* --- what kd.h gives out ------------------------------------------------------------------------------------------------------------- */
void kd_table_machine(const kd_table *t, kd_machine_limits *out) {
  if (out) *out = t ? t->machine : (kd_machine_limits){ .processor = "" };
}

void kd_table_memory(const kd_table *t, kd_memory_cost *out) {
  if (out) *out = t ? t->memory : (kd_memory_cost){ 0 };
}

bool kd_table_program(const kd_table *t, size_t i, kd_program_cost *out) {
  if (!t || !out || i >= t->program.n) return false;
  *out = t->program.v[i].c;
  return true;
}

bool kd_table_line(const kd_table *t, size_t program, kd_line_kind kind, size_t i, kd_line *out) {
  if (!t || !out || program >= t->program.n || (int)kind < KD_LINE_LAYER || kind > KD_LINE_OTHER || i >= t->program.v[program].line[kind].n) return false;
  *out = t->program.v[program].line[kind].v[i];
  return true;
}
