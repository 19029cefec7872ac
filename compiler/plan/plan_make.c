/* plan_make.c: the planner's passes in order, and its state written out as a plan. */
#include "compiler/plan/planner.h"
#include <assert.h>

static const kd_attr *copy_attrs(kd__arena *a, kd_op op, const kd_attr *attr) {
  int n = kd__op_info(op)->nattr;
  if (n == 0) return NULL;
  kd_attr *to = kd__arena_copy(a, attr, sizeof *attr * (size_t)n);
  for (int i = 0; i < n; i++)
    if (to[i].kind == 'g') to[i].u.graph = NULL;           /* the plan outlives graphs */
    else if (to[i].kind == 'I') to[i].u.list = to[i].n ? kd__arena_copy(a, to[i].u.list, sizeof(int64_t) * to[i].n) : NULL;
  return to;
}

/* A place in a block is told relative to the slot that holds it: the last one that begins at or before it. */
static void place_in_slot(const kd__planner *p, const kd__pl_view *v, kd_plan_tensor *t) {
  const kd__pl_store *s = &p->store.v[v->store];
  int64_t at = s->base + v->offset;
  uint32_t i = kd__pl_slot_from(p, s->block, at);
  t->place = KD_IN_SLOT;
  if (i < p->nplaced && p->slot[p->by_place[i]].block == s->block && p->slot[p->by_place[i]].offset <= at) {
    t->slot = p->by_place[i];
  } else {                                       /* no elements here: any slot of the block will do */
    for (t->slot = 0; t->slot + 1 < p->nslot && p->slot[t->slot].block != s->block;) t->slot++;
  }
  t->offset = at - p->slot[t->slot].offset;
}

static uint32_t name_tensor(kd__planner *p, kd_plan *plan, uint32_t view) {
  kd__pl_view *v = &p->view.v[view];
  if (v->tensor) return v->tensor - 1;
  kd_plan_tensor *t = &plan->tensor[plan->ntensor++];
  *t = (kd_plan_tensor){ .type = *v->type };
  memcpy(t->stride, v->stride, sizeof(int64_t) * v->type->rank);
  if (p->store.v[v->store].in_slot) place_in_slot(p, v, t);
  else t->offset = p->store.v[v->store].base + v->offset;
  v->tensor = plan->ntensor;
  return plan->ntensor - 1;
}

static const uint32_t *name_tensors(kd__planner *p, kd_plan *plan, const uint32_t *view, uint32_t n) {
  uint32_t *to = KD_NEWN(p->out, uint32_t, n);
  for (uint32_t i = 0; i < n; i++) to[i] = name_tensor(p, plan, view[i]);
  return to;
}

/* Joins are no calls. */
static uint32_t calls_beside(const kd__planner *p, uint32_t pos) {
  uint32_t n = 0;
  for (uint32_t i = p->side[pos].first; i <= p->side[pos].last; i++) n += p->step.v[p->order[i]].op != KD__STEP_JOIN;
  return n;
}

static void write_call(kd__planner *p, kd_plan *plan, uint32_t pos, uint32_t *stretch) {
  const kd__pl_step *s = &p->step.v[p->order[pos]];
  kd_plan_call *c = &plan->call[plan->ncall++];
  *c = (kd_plan_call){ .op = (kd_op)s->op, .nin = s->nin, .nout = s->nout, .origin = s->origin, .loop = s->loop, .group = s->group };
  c->in = name_tensors(p, plan, s->in, s->nin);
  c->out = name_tensors(p, plan, s->out, s->nout);
  c->lane = p->side[pos].lane;
  if (p->side[pos].last > p->side[pos].first && p->side[pos].first != *stretch) c->side = calls_beside(p, pos);
  *stretch = p->side[pos].first;
  if (s->op != KD__STEP_COPY) c->attr = copy_attrs(p->out, c->op, s->attr);
}

static size_t count_tensors(const kd__planner *p) {
  size_t n = p->g->result.n;
  bool *named = KD_NEWN(p->tmp, bool, p->view.n);
  for (uint32_t i = 0; i < p->norder; i++) {
    const kd__pl_step *s = &p->step.v[p->order[i]];
    for (uint32_t k = 0; k < s->nin; k++) n += !named[s->in[k]], named[s->in[k]] = true;
    for (uint32_t k = 0; k < s->nout; k++) n += !named[s->out[k]], named[s->out[k]] = true;
  }
  return n;
}

static kd_plan *write_plan(kd__planner *p, const char *name) {
  const kd_graph *g = p->g;
  kd_plan *plan = KD_NEW(p->out, kd_plan);
  plan->name = kd__arena_strndup(p->out, name, strlen(name));
  plan->tensor = KD_NEWN(p->out, kd_plan_tensor, count_tensors(p));
  plan->call = KD_NEWN(p->out, kd_plan_call, p->norder);
  plan->result = KD_NEWN(p->out, kd_plan_result, g->result.n);
  plan->writes = KD_NEWN(p->out, uint32_t, g->write.n);
  plan->arena_size = p->arena_size;
  plan->copied = p->copied;
  uint32_t stretch = UINT32_MAX;
  for (uint32_t i = 0; i < p->norder; i++)
    if (p->step.v[p->order[i]].op != KD__STEP_JOIN) write_call(p, plan, i, &stretch);
  for (size_t i = 0; i < g->result.n; i++) {
    const char *label = kd__arena_strndup(p->out, g->result.v[i].name, strlen(g->result.v[i].name));
    plan->result[plan->nresult++] = (kd_plan_result){ label, name_tensor(p, plan, p->result[i]) };
  }
  for (size_t i = 0; i < g->write.n; i++)
    if (p->written[g->write.v[i].slot]) plan->writes[plan->nwrites++] = (uint32_t)g->write.v[i].slot;
  return plan;
}

/* Sizes that cannot be added up are as good as out of memory. */
static bool sizes_fit(const kd__planner *p) {
  int64_t total = 0;
  for (size_t v = 1; v < p->g->type.n; v++) {
    const kd_type *t = &p->g->type.v[v];
    int64_t n = kd__type_count(t);
    if (!p->live[p->g->def.v[v]]) continue;
    if (n < 0 || n > INT64_MAX / 64 || __builtin_add_overflow(total, 4 * kd__pl_bytes(t) + 4 * KD__PL_ALIGN, &total)) return false;
  }
  return true;
}

static kd_plan *make(kd__planner *p, const char *name) {
  const kd_graph *g = p->g;
  size_t nvalue = g->type.n;
  p->live = KD_NEWN(p->tmp, bool, g->node.n);
  p->channels = KD_NEWN(p->tmp, bool, nvalue);
  p->turned = KD_NEWN(p->tmp, const kd_node *, nvalue);
  p->read = KD_NEWN(p->tmp, bool, nvalue);
  p->row = KD_NEWN(p->tmp, bool, nvalue);
  p->home = KD_NEWN(p->tmp, kd__pl_home, nvalue);
  p->result = KD_NEWN(p->tmp, uint32_t, g->result.n);
  kd__map_init(&p->consts, p->tmp);
  p->view.v = KD_NEWN(p->tmp, kd__pl_view, nvalue + nvalue / 8 + 8);
  p->view.n = nvalue, p->view.cap = nvalue + nvalue / 8 + 8;
  for (size_t v = 0; v < nvalue; v++) p->view.v[v].type = &g->type.v[v];
  KD_PUSH(p->tmp, p->store, (kd__pl_store){ .first = KD__PL_NEVER });
  KD_PUSH(p->tmp, p->step, (kd__pl_step){ 0 });
  KD_PUSH(p->tmp, p->edge, (kd__pl_edge){ 0, 0 });
  kd__pl_mark(p);
  if (!sizes_fit(p)) return NULL;
  kd__pl_sort_slots(p);
  kd__pl_find_homes(p);
  kd__pl_lower(p);
  kd__pl_commit(p);
  kd__pl_order(p);
  return write_plan(p, name);
}

kd_plan *kd__plan_make(kd__arena *a, const kd_graph *g, const kd_slot *slots, uint32_t nslot, const char *name,
                       void (*note)(void *ctx, const kd_plan_note *n), void *ctx) {
  return kd__plan_make_at(a, g, slots, nslot, name, KD__SIDE_PRICE, note, ctx);
}

kd_plan *kd__plan_make_at(kd__arena *a, const kd_graph *g, const kd_slot *slots, uint32_t nslot, const char *name, double price,
                          void (*note)(void *ctx, const kd_plan_note *n), void *ctx) {
  kd__arena tmp, group;
  kd__oom here = { .armed = false }, *outer = a->oom;
  kd__arena_init(&tmp, a->alloc, &here);
  kd__arena_init(&group, a->alloc, &here);
  kd__planner p = { .tmp = &tmp, .group = &group, .out = a, .g = g, .slot = slots, .nslot = nslot, .note = note, .note_ctx = ctx, .side_price = price };
  kd_plan *volatile plan = NULL;
  a->oom = &here;                                /* so that the scratch arena is freed before the jump goes on */
  if (setjmp(here.jump) == 0) {
    here.armed = true;
    plan = make(&p, name);
  }
  a->oom = outer;
  kd__arena_free(&tmp);
  kd__arena_free(&group);
  if (!plan && outer && outer->armed) longjmp(outer->jump, 1);
  return plan;
}
