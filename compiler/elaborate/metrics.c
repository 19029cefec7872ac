/* metrics.c: metrics over a whole split: states reset, one pass with true counts (a plan per batch size), the end's value. */
#include "compiler/elaborate/scheme.h"

static const char *plan_name(elab *e, const char *what) {
  return kd__arena_printf(e->a, "%s.%s", e->build->stage_name ? e->build->stage_name : "report", what);
}

/* The metrics' update half over one batch. */
static prog *batch_program(elab *e, scope *s, const kd_ast *const *expr, uint32_t n, opening *o, const char *name) {
  prog *p = kd__prog_new(e, PROG_EVAL, name);
  p->open = o;
  prog *up = e->prog;
  e->prog = p;
  for (uint32_t i = 0; i < n; i++) kd__eval(e, s, expr[i]);
  kd__commit(e, p, expr[0]);
  e->prog = up;
  return p;
}

/* States that the batch program writes: the metrics' own. */
static void written(elab *e, const prog *p, slots *out) {
  for (size_t i = 0; i < p->version.n; i++) KD_PUSH(e->a, *out, p->version.v[i].slot);
}

bool kd__reads_batch(const kd_graph *g, const elab *e, kd_value v, int64_t *slot) {
  /* nodes are in topological order: mark what v needs */
  uint8_t *need = kd__arena_get(g->arena, g->node.n);
  need[g->def.v[v]] = 1;
  for (size_t i = g->def.v[v] + 1; i-- > 1;) {
    if (!need[i]) continue;
    const kd_node *n = &g->node.v[i];
    if (n->op == KD_OP_INPUT) {
      int64_t k = n->attr[0].u.i;
      if (e->slot.v[k].s.kind == KD_SLOT_FIELD && !e->slot.v[k].whole) { *slot = k; return true; }
    }
    for (uint32_t k = 0; k < n->nin; k++) need[g->def.v[n->in[k]]] = 1;
  }
  return false;
}

static prog *finish_program(elab *e, scope *s, const kd_ast *const *expr, uint32_t n, opening *o) {
  prog *p = kd__prog_new(e, PROG_FINISH, plan_name(e, "value"));
  p->open = o;
  prog *up = e->prog;
  e->prog = p;
  e->metric_finish = true;
  bool ok = true;
  for (uint32_t i = 0; i < n; i++) {
    tensor *t = kd__want_tensor(e, kd__eval(e, s, expr[i]), expr[i]);
    int64_t slot;
    if (!t) { ok = false; continue; }
    if (t->rank) { kd__err(e, KD_D_NOT_SCALAR, expr[i]->span, "what is reported", kd__t_show(e, t)); ok = false; continue; }
    if (kd__reads_batch(p->g, e, t->v, &slot)) {
      kd_diag *d = kd__err(e, KD_D_NOT_METRIC, expr[i]->span, e->slot.v[slot].s.name);
      (void)kd__library_help(e, d, "metric", 0);
      ok = false;
      continue;
    }
    kd__graph_result(p->g, kd__arena_printf(e->a, "m%u", i), kd__t_cast(e, t, e->opt->real, expr[i])->v);
  }
  e->metric_finish = false;
  e->prog = up;
  return ok ? p : NULL;
}

/* One pass over the split: `full` runs on whole batches, `part` (when not NULL) on the last short one of `tail` rows. */
static void emit_pass(elab *e, const opening *o, const prog *full, const prog *part, int64_t tail, const kd_ast *at) {
  mod_build *b = e->build;
  uint32_t stream = kd__add_stream(e, o, false, e->data.v[o->data].d.made != KD_MADE_FILES), begin = kd__emit(e, KD_CODE_BATCHES, stream, 0, 0, at) + 1;
  uint32_t branch = part ? kd__emit(e, KD_CODE_BATCH_IF, stream, tail, 0, at) : 0;
  kd__emit(e, KD_CODE_RUN, kd__add_plan(e, full->name, full->g), 0, 0, at);
  if (part) {
    uint32_t over = kd__emit(e, KD_CODE_JUMP, 0, 0, 0, at);
    b->code.v[branch].c = kd__here(e);
    kd__emit(e, KD_CODE_RUN, kd__add_plan(e, part->name, part->g), 0, 0, at);
    b->code.v[over].a = kd__here(e);
  }
  kd__emit(e, KD_CODE_MORE, stream, 0, begin, at);
  b->code.v[begin - 1].c = kd__here(e);
  kd__bind_stream(e, stream, o);
}

bool kd__eval_metrics(elab *e, scope *s, const kd_ast *const *expr, uint32_t n, uint32_t data, uint32_t split, uint32_t *first) {
  size_t errors = e->sink->errors;
  const kd_ast *at = expr[0];
  int64_t batch = e->data.v[data].d.batch, rows = e->data.v[data].rows[split], tail = rows % batch;
  if (!kd__written_readable(e, data, at)) return false;
  if (e->prog && e->prog->segment) kd__flow_cut(e, at);
  opening *o = kd__open(e, NULL, data, split, batch, at), *short_ = kd__arena_copy(e->a, o, sizeof *o);
  short_->rows = tail;
  prog *full = batch_program(e, s, expr, n, o, plan_name(e, kd__arena_printf(e->a, "eval.%lld", (long long)batch)));
  prog *part = tail && e->sink->errors == errors ? batch_program(e, s, expr, n, short_, plan_name(e, kd__arena_printf(e->a, "eval.%lld", (long long)tail))) : NULL;
  prog *end = e->sink->errors == errors ? finish_program(e, s, expr, n, o) : NULL;
  *first = e->build->nreg;
  e->build->nreg += n;
  if (!end || e->sink->errors != errors) return false;
  slots states = { 0 };
  written(e, full, &states);
  if (states.n) kd__emit(e, KD_CODE_RUN, kd__add_plan(e, plan_name(e, "reset"), kd__reset_graph(e, &states)), 0, 0, at);
  emit_pass(e, o, full, part, tail, at);
  kd__emit(e, KD_CODE_EVAL, kd__add_plan(e, end->name, end->g), *first, 0, at);
  return true;
}
