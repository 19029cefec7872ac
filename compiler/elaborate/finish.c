/* finish.c: the module: every slot gets its place, every graph goes through the passes and becomes a plan. */
#include "compiler/elaborate/scheme.h"
#include "compiler/pass/pass.h"
#include <stdlib.h>

/* --- memory -------------------------------------------------------------------------------------------------------------------- */
/* All parameters lie in block 0 without gaps, network by network, so that a step's flat vector is the memory itself; states follow in
 * block 1; everything else has a block of its own. */
static void place_slots(elab *e) {
  size_t n = e->slot.n;
  int64_t *order = KD_NEWN(e->a, int64_t, n);
  size_t k = 0;
  for (size_t i = 0; i < n; i++) if (e->slot.v[i].s.kind == KD_SLOT_PARAM) order[k++] = (int64_t)i;
  for (size_t i = 1; i < k; i++)
    for (size_t j = i; j > 0 && kd__slot_rank(e, order[j - 1]) > kd__slot_rank(e, order[j]); j--) { int64_t t = order[j]; order[j] = order[j - 1]; order[j - 1] = t; }
  int64_t at = 0;
  for (size_t i = 0; i < k; i++) {
    kd_slot *s = &e->slot.v[order[i]].s;
    s->block = 0; s->offset = at;
    at += kd__type_count(&s->type) * (int64_t)kd__dtype_size((kd_dtype)s->type.dtype);
  }
  int64_t states = 0;
  uint32_t block = 2;
  for (size_t i = 0; i < n; i++) {
    kd_slot *s = &e->slot.v[i].s;
    if (s->kind == KD_SLOT_PARAM) continue;
    int64_t bytes = kd__type_count(&s->type) * (int64_t)kd__dtype_size((kd_dtype)s->type.dtype);
    if (s->kind == KD_SLOT_STATE) { s->block = 1; s->offset = states; states += (bytes + 63) & ~(int64_t)63; continue; }
    s->block = block++; s->offset = 0;
  }
}

/* --- plans ------------------------------------------------------------------------------------------------------------------------ */
typedef struct seen_ctx { elab *e; const char *program; bool bad; } seen_ctx;

static void check_pass(void *ctx, const kd_pass_info *p, const kd_graph *g) {
  seen_ctx *c = ctx;
  kd_shape_error err;
  if (!c->bad && !kd__graph_verify(g, &err)) {
    c->bad = true;
    kd__err(c->e, KD_D_INTERNAL, (kd_span){ 0 }, kd__arena_printf(c->e->a, "pass %s left program %s broken: %s", p->name, c->program, err.text));
  }
  if (c->e->opt->seen) c->e->opt->seen(c->e->opt->seen_ctx, p->name, c->program, g);
}

static void note_copy(void *ctx, const kd_plan_note *n) {
  seen_ctx *c = ctx;
  kd_span at = n->origin && n->origin < c->e->origin.n ? c->e->origin.v[n->origin].span : (kd_span){ 0 };
  kd_slot_kind kind = c->e->slot.v[n->slot].s.kind;  /* what programs leave for one another is nobody's update to mend */
  if (at.src && kind <= KD_SLOT_OPTIMIZER) kd__report(c->e->sink, KD_D_FORCED_COPY, at, c->e->slot.v[n->slot].s.name, (double)n->bytes / 1048576.0);
}

static int64_t kept_bytes(const kd_slot *slot, uint32_t nslot) {
  int64_t bytes = 0;
  for (uint32_t i = 0; i < nslot; i++) bytes += kd__type_count(&slot[i].type) * (int64_t)kd__dtype_size((kd_dtype)slot[i].type.dtype);
  return bytes;
}

static const char *bytes_text(elab *e, int64_t n) {
  if (n >= 10 << 20) return kd__arena_printf(e->a, "%lld MiB", (long long)((n + (1 << 20) - 1) >> 20));
  return n >= 10240 ? kd__arena_printf(e->a, "%lld KiB", (long long)((n + 1023) >> 10)) : kd__arena_printf(e->a, "%lld bytes", (long long)n);
}

/* Where a program runs: the statement whose code it is. */
static kd_span place_of(elab *e, const kd_code *code, uint32_t ncode, int64_t plan) {
  for (uint32_t i = 0; i < ncode; i++)
    if ((code[i].op == KD_CODE_RUN || code[i].op == KD_CODE_STEP || code[i].op == KD_CODE_LOSS || code[i].op == KD_CODE_EVAL) && code[i].a == plan && code[i].origin)
      return e->origin.v[code[i].origin].span;
  return e->file->syn->file->span;
}

/* Within the limit, if there is one. */
static kd_plan *plan_within(elab *e, const kd_graph *g, const kd_slot *slot, uint32_t nslot, const char *name, seen_ctx *c, kd_span at) {
  int64_t kept = kept_bytes(slot, nslot) + e->build->row_bytes, left = e->opt->memory - kept, least = 0;
  if (!e->opt->memory) return kd__plan_make(e->a, g, slot, nslot, name, note_copy, c);
  kd_plan *plan = kd__plan_within(e->a, g, slot, nslot, name, left, &least, note_copy, c);
  if (plan || !least) return plan;
  kd_diag *d = kd__err(e, KD_D_MEMORY, at, name, bytes_text(e, least), left > 0 ? kd__arena_printf(e->a, "%s beside %s that are kept", bytes_text(e, left), bytes_text(e, kept))
                                                                           : kd__arena_printf(e->a, "nothing beside the %s that are kept", bytes_text(e, kept)));
  bool large = kept + least >= 10 << 20;
  kd__diag_help(e->sink, d, "take a smaller batch, or allow %lld bytes (--memory-limit=%lld%c)", (long long)(kept + least),
                (long long)(large ? (kept + least + (1 << 20) - 1) >> 20 : (kept + least + 1023) >> 10), large ? 'M' : 'K');
  return NULL;
}

/* The graph through all passes but the one that joins operators into groups: programs may be split before. */
static bool improve(elab *e, planned *p) {
  prog whole = { .g = p->g, .name = p->name };
  if (kd__over_budget(e, &whole, e->heaviest.at.src ? e->heaviest.at : e->file->syn->file->span)) return false;
  seen_ctx c = { e, p->name, false };
  if (e->opt->seen) e->opt->seen(e->opt->seen_ctx, "graph", p->name, p->g);
  p->improved = kd__pass_until(p->g, "fuse", check_pass, &c);
  return !c.bad;
}

/* The graph of groups lies in `tmp`. */
static kd_plan *make_plan(elab *e, kd__arena *tmp, const planned *p, const kd_slot *slot, uint32_t nslot, kd_span at) {
  seen_ctx c = { e, p->name, false };
  kd_graph whole = *p->improved, *g = p->improved;
  whole.arena = tmp;
  if (!e->opt->apart) {
    const kd_pass_info *fuse = kd__pass_find("fuse");
    check_pass(&c, fuse, g = fuse->run(&whole));
    if (c.bad) return NULL;
  }
  kd_plan *plan = plan_within(e, g, slot, nslot, p->name, &c, at);
  if (plan && e->opt->planned) e->opt->planned(e->opt->seen_ctx, plan, slot);
  return plan;
}

static bool improve_all(elab *e) {
  for (size_t i = 0; i < e->build->plan.n; i++) if (!improve(e, &e->build->plan.v[i])) return false;
  return true;
}

static bool make_plans(elab *e, kd_module *m, const kd_code *code, uint32_t ncode) {
  kd__arena tmp;
  kd__oom here = { .armed = false }, *outer = e->a->oom;
  volatile bool jumped = true, good = true;
  kd__arena_init(&tmp, e->a->alloc, &here);
  e->a->oom = &here;                             /* so that the scratch arena is freed before the jump goes on */
  if (setjmp(here.jump) == 0) {
    here.armed = true;
    for (uint32_t i = 0; i < m->nplan && good; i++) {
      kd__arena_reset(&tmp);
      m->plan[i] = make_plan(e, &tmp, &e->build->plan.v[i], m->slot, m->nslot, place_of(e, code, ncode, (int64_t)i));
      good = m->plan[i] != NULL;
    }
    jumped = false;
  }
  e->a->oom = outer;
  kd__arena_free(&tmp);
  if (jumped && outer && outer->armed) longjmp(outer->jump, 1);
  return good && !jumped;
}

static const char *base_name(elab *e, const char *path) {
  const char *slash = strrchr(path, '/');
  path = slash ? slash + 1 : path;
  const char *dot = strrchr(path, '.');
  return kd__arena_strndup(e->a, path, dot && dot != path ? (size_t)(dot - path) : strlen(path));
}

kd_graph *kd__reset_graph(elab *e, const slots *s) {
  kd_graph *g = KD_NEW(e->a, kd_graph);
  *g = *e->init->g;                              /* the same nodes; only these writes. Passes build a new graph. */
  g->write.v = NULL; g->write.n = g->write.cap = 0;
  for (size_t i = 0; i < e->init->g->write.n; i++)
    for (size_t k = 0; k < s->n; k++)
      if (e->init->g->write.v[i].slot == s->v[k]) { KD_PUSH(e->a, g->write, e->init->g->write.v[i]); break; }
  return g;
}

/* --- code ---------------------------------------------------------------------------------------------------------------------------- */
int64_t *kd__code_target(kd_code *c) {
  switch (c->op) {
    case KD_CODE_LOOP: case KD_CODE_NEXT: case KD_CODE_BATCHES: case KD_CODE_MORE: case KD_CODE_BATCH_IF: case KD_CODE_EVERY:
    case KD_CODE_HOLD: case KD_CODE_KEEP: return &c->c;
    case KD_CODE_JUMP: return &c->a;
    case KD_CODE_JUMP_IF: return &c->b;
    default: return NULL;
  }
}

/* A program that nothing reads (values of a scheme that no later statement used), or a jump to what follows anyway. */
static bool idle(const mod_build *b, size_t i) {
  const kd_code *c = &b->code.v[i];
  if (c->op == KD_CODE_LOAD) return b->load.v[c->a].l.n == 0;
  if (c->op == KD_CODE_JUMP) return c->a == (int64_t)i + 1;
  if (c->op != KD_CODE_RUN) return false;
  const kd_graph *g = b->plan.v[c->a].g;
  return g->write.n == 0 && g->result.n == 0;
}

/* The first instructions initialise everything: what files give, then the rest. Idle ones go, and targets move. */
static kd_code *final_code(elab *e, uint32_t init, uint32_t *n) {
  mod_build *b = e->build;
  size_t load = kd__loads_first(e), loads = b->load.n - load;
  uint32_t *to = KD_NEWN(e->a, uint32_t, b->code.n + 1), *plan = KD_NEWN(e->a, uint32_t, b->plan.n + 1), k = (uint32_t)loads + 1, plans = 0;
  bool *used = KD_NEWN(e->a, bool, b->plan.n + 1);
  for (size_t i = 0; i < b->code.n; i++) {
    const kd_code *c = &b->code.v[i];
    to[i] = k;
    k += !idle(b, i);
    if (!idle(b, i) && (c->op == KD_CODE_RUN || c->op == KD_CODE_STEP || c->op == KD_CODE_LOSS || c->op == KD_CODE_EVAL)) used[c->a] = true;
  }
  to[b->code.n] = k;
  used[init] = true;
  for (size_t i = 0; i < b->plan.n; i++) {
    plan[i] = plans;
    if (used[i]) b->plan.v[plans++] = b->plan.v[i];
  }
  kd_code *code = KD_NEWN(e->a, kd_code, k);
  for (size_t i = 0; i < loads; i++) code[i] = (kd_code){ KD_CODE_LOAD, (int64_t)(load + i), 0, 0, kd__origin(e, kd__net_from(b->load.v[load + i].net)->at->span) };
  code[loads] = (kd_code){ KD_CODE_RUN, plan[init], 0, 0, 0 };
  for (size_t i = 0; i < b->code.n; i++) {
    kd_code c = b->code.v[i];
    if (to[i] == to[i + 1]) continue;
    int64_t *t = kd__code_target(&c);
    if (t) *t = to[*t];
    if (c.op == KD_CODE_RUN || c.op == KD_CODE_STEP || c.op == KD_CODE_LOSS || c.op == KD_CODE_EVAL) c.a = plan[c.a];
    code[to[i]] = c;
  }
  b->plan.n = plans;
  *n = k;
  return code;
}

static void give_trained(elab *e) {
  mod_build *b = e->build;
  for (uint32_t i = 0; i < b->stage.n; i++) {
    uint32_t *slot = KD_NEWN(e->a, uint32_t, b->trains.n);
    b->stage.v[i].trains = slot;
    for (size_t k = 0; k < b->trains.n; k++) if (b->trains.v[k].stage == i) slot[b->stage.v[i].ntrains++] = b->trains.v[k].slot;
  }
}

/* --- states that stay behind -------------------------------------------------------------------------------------------------------------- */
static bool plan_reads(const kd_plan *p, uint32_t slot) {
  for (uint32_t i = 0; i < p->ncall; i++)
    for (uint32_t k = 0; k < p->call[i].nin; k++) {
      const kd_plan_tensor *t = &p->tensor[p->call[i].in[k]];
      if (t->place == KD_IN_SLOT && t->slot == slot) return true;
    }
  return false;
}

static bool plan_writes(const kd_plan *p, uint32_t slot) {
  for (uint32_t i = 0; i < p->nwrites; i++) if (p->writes[i] == slot) return true;
  return false;
}

/* Set once at most: initial values, and copies outside of batches. */
static bool is_deferred(const mod_build *b, const kd_graph *g) {
  for (size_t i = 0; i < b->later.n; i++) if (b->later.v[i].g == g) return true;
  return false;
}

/* A network whose parameters follow another's by `update`, and whose states (running statistics) are read but follow nothing. */
static void warn_left_behind(elab *e, const kd_module *m) {
  const mod_build *b = e->build;
  for (size_t k = 0; k < b->averaged.n; k++)
    for (uint32_t i = 0; i < m->nslot; i++) {
      if (m->slot[i].kind != KD_SLOT_STATE || e->slot.v[i].owner->root_net != b->averaged.v[k].net) continue;
      bool read = false, written = false;
      for (uint32_t p = 0; p < m->nplan; p++) {
        read = read || plan_reads(m->plan[p], i);
        written = written || (strcmp(m->plan[p]->name, "init") != 0 && !is_deferred(b, b->plan.v[p].g) && plan_writes(m->plan[p], i));
      }
      if (!read || written) continue;
      const char *name = b->averaged.v[k].net->place->path;
      kd_diag *d = kd__err(e, KD_D_STATES_STAY, b->averaged.v[k].at->span, name, m->slot[i].name);
      kd__diag_help(e->sink, d, "take them along: let old = params(%s), copy S to %s, and update %s = ... of `old` and S, where S is the network that it follows", name, name, name);
      break;
    }
}

kd_module *kd__module_finish(elab *e) {
  mod_build *b = e->build;
  kd_module *m = KD_NEW(e->a, kd_module);
  slots all = { 0 };
  kd__resolve(e);
  if (!e->waits) kd__unhit_rules(e);
  kd__weights_check(e);
  if (e->sink->errors) return NULL;
  for (size_t i = 0; i < e->init->g->write.n; i++) KD_PUSH(e->a, all, e->init->g->write.v[i].slot);
  uint32_t init = kd__add_plan(e, "init", kd__reset_graph(e, &all)), ncode;
  kd_code *code = final_code(e, init, &ncode);
  if (!improve_all(e)) return NULL;
  code = kd__frozen_split(e, code, &ncode);          /* what joins operators into larger ones comes after it */
  if (e->sink->errors) return NULL;
  place_slots(e);
  m->arena = e->a;
  m->name = base_name(e, e->file->syn->src->path);
  m->real = e->opt->real;
  m->compiler = e;
  m->nslot = (uint32_t)e->slot.n;
  m->slot = KD_NEWN(e->a, kd_slot, e->slot.n);
  for (size_t i = 0; i < e->slot.n; i++) m->slot[i] = e->slot.v[i].s;
  memcpy(m->ambient, e->ambient, sizeof m->ambient);
  m->nplan = (uint32_t)b->plan.n;
  m->plan = KD_NEWN(e->a, kd_plan *, b->plan.n);
  if (!make_plans(e, m, code, ncode)) return NULL;
  warn_left_behind(e, m);
  m->ndataset = (uint32_t)e->data.n;
  m->dataset = KD_NEWN(e->a, kd_dataset, e->data.n);
  for (size_t i = 0; i < e->data.n; i++) m->dataset[i] = e->data.v[i].d;
  m->stream = b->stream.v; m->nstream = (uint32_t)b->stream.n;
  kd__data_whole(e, m);
  m->group = b->group.v; m->ngroup = (uint32_t)b->group.n;
  m->code = code; m->ncode = ncode; m->ncounter = b->ncounter;
  m->string = b->string.v; m->nstring = (uint32_t)b->string.n;
  give_trained(e);
  m->stage = b->stage.v; m->nstage = (uint32_t)b->stage.n;
  m->append = b->append.v; m->nappend = (uint32_t)b->append.n;
  m->pass = b->pass.v; m->npass = (uint32_t)b->pass.n;
  m->load = KD_NEWN(e->a, kd_load, b->load.n);
  m->nload = (uint32_t)b->load.n;
  for (size_t i = 0; i < b->load.n; i++) m->load[i] = b->load.v[i].l;
  m->weights = b->weights.v; m->nweights = (uint32_t)b->weights.n;
  m->kept = b->rows.v; m->nkept = (uint32_t)b->rows.n;
  m->frozen = b->parts.v; m->nfrozen = (uint32_t)b->parts.n;
  m->nreg = b->nreg;
  m->report = b->report.v; m->nreport = (uint32_t)b->report.n;
  m->decision = KD_NEWN(e->a, kd_decision, b->decision.n);
  m->ndecision = (uint32_t)b->decision.n;
  for (size_t i = 0; i < b->decision.n; i++) m->decision[i] = b->decision.v[i].d;
  return m;
}
