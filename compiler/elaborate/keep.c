/* keep.c: what is looked at between the steps of a training: `keep best by`, `until`. */
#include "compiler/elaborate/scheme.h"

/* Does the expression read batches, so that it is a metric over a data set? Found by a trial of which nothing remains. */
static bool over_batches(elab *e, scope *s, const kd_ast *n, val **v, uint32_t *data) {
  prog *up = e->prog, *p = kd__prog_new(e, PROG_PROBE, "trial");
  e->prog = p;
  e->metric_finish = true;
  *v = kd__force_app(kd__eval(e, s, n));
  e->metric_finish = false;
  e->prog = up;
  if (p->open) *data = p->open->data;
  return p->open != NULL;
}

static bool valid_split(const elab *e, uint32_t data, uint32_t *split) {
  const kd_dataset *d = &e->data.v[data].d;
  for (uint32_t i = 0; i < d->nsplit; i++) if (strcmp(d->split[i].name, "valid") == 0) { *split = i; return true; }
  *split = 0;
  return false;
}

/* The data set of `keep best by`: that which the metric reads, else that of the loop; its validation split. */
static bool keep_on(elab *e, scope *s, uint32_t *data, uint32_t *split) {
  mod_build *b = e->build;
  const kd_ast *expr = b->keep->kid[0];
  size_t errors = e->sink->errors;
  val *v;
  if (!over_batches(e, s, expr, &v, data)) {
    if (e->sink->errors > errors) return false;
    if (!b->batch_seen) { kd__err(e, KD_D_NO_ON, b->keep->span); return false; }
    *data = b->batch_data;
  }
  if (valid_split(e, *data, split)) return e->sink->errors == errors;
  kd_diag *d = kd__err(e, KD_D_NO_VALID, b->keep->span, e->data.v[*data].name);
  kd__diag_help(e->sink, d, "hold samples out: valid: 5000");
  return false;
}

/* The copy of a stage's loops within one another is one, of all networks that they change: those that steps train, and those updated or copied to. */
static void keep_changed(elab *e) {
  mod_build *b = e->build;
  for (size_t i = b->before; i < b->plan.n; i++)
    for (size_t k = 0; k < b->plan.v[i].g->write.n; k++) {
      net *w = e->slot.v[b->plan.v[i].g->write.v[k].slot].owner->root_net;
      if (w && !kd__has_net(&b->best, w)) KD_PUSH(e->a, b->best, w);
    }
  uint32_t group = kd__add_group(e, "best", &b->best, true, false);
  if (b->kept) b->group.v[b->kept - 1] = b->group.v[--b->group.n];
  else b->kept = group + 1;
}

static void keep(elab *e, const models *of, uint32_t reg) {
  mod_build *b = e->build;
  const kd_ast *expr = b->keep->kid[0];
  b->looked = true;
  for (size_t i = 0; i < of->n; i++) if (!kd__has_net(&b->best, of->v[i])) KD_PUSH(e->a, b->best, of->v[i]);
  keep_changed(e);
  const char *text = kd__arena_strndup(e->a, expr->span.src->text + expr->span.at, expr->span.len);
  kd__emit(e, KD_CODE_SAY, kd__add_string(e, kd__arena_printf(e->a, "valid %s", text)), reg, 1, expr);
  kd__emit(e, KD_CODE_SNAPSHOT, b->kept - 1, 1, reg, expr);
}

uint32_t kd__look(elab *e, scope *s, const models *kept, const kd_ast *until) {
  mod_build *b = e->build;
  uint32_t data, split, reg, other;
  val *v;
  if (!b->keep || !kept) return until ? kd__until_turn(e, s, until) : 0;
  if (!keep_on(e, s, &data, &split)) return 0;
  bool both = until && over_batches(e, s, until, &v, &other) && other == data;
  const kd_ast *expr[2] = { b->keep->kid[0], until };
  if (!kd__eval_metrics(e, s, expr, both ? 2 : 1, data, split, &reg)) return 0;
  keep(e, kept, reg);
  if (both) return kd__emit(e, KD_CODE_JUMP_IF, reg + 1, 0, 0, until);
  return until ? kd__until_turn(e, s, until) : 0;
}

/* Where the loop counts no epochs: as many batches as its data have, or without data the training split of the metric's, are a pass. */
int64_t kd__keep_every(elab *e, scope *s, const models *kept, int64_t pass, const kd_ast *at) {
  mod_build *b = e->build;
  uint32_t data, split;
  if (!b->keep || !b->steps || !keep_on(e, s, &data, &split)) return 0;
  const data_set *d = &e->data.v[data];
  if (pass < 1) pass = d->rows[0] / d->d.batch;
  if (pass < 1) pass = 1;
  kd__flow_end(e, at);
  uint32_t over = kd__emit(e, KD_CODE_EVERY, b->ncounter++, pass, 0, at);
  kd__flow_begin(e);
  (void)kd__look(e, s, kept, NULL);
  kd__flow_end(e, at);
  b->code.v[over].c = kd__here(e);
  kd__flow_begin(e);
  return pass;
}

void kd__keep_end(elab *e, const kd_ast *at) {
  mod_build *b = e->build;
  if (b->control > b->outside || !b->kept) return;
  kd__flow_cut(e, at);
  keep_changed(e);
  kd__emit(e, KD_CODE_RESTORE, b->kept - 1, 0, 0, at);
  b->kept = 0;
  b->before = b->plan.n;
  b->best = (models){ 0 };
}

/* A metric over the validation split of what it reads, or a condition on values at hand. */
uint32_t kd__until_turn(elab *e, scope *s, const kd_ast *until) {
  uint32_t reg, split, data;
  val *v;
  if (over_batches(e, s, until, &v, &data)) {
    (void)valid_split(e, data, &split);
    if (!kd__eval_metrics(e, s, &until, 1, data, split, &reg)) return 0;
  } else {
    if (v->kind == V_POISON) return 0;
    tensor *t = kd__want_tensor(e, kd__eval(e, s, until), until);
    if (!t) return 0;
    if (t->rank) { kd__err(e, KD_D_NOT_SCALAR, until->span, "the condition", kd__t_show(e, t)); return 0; }
    reg = kd__flow_register(e, t, until);
  }
  return kd__emit(e, KD_CODE_JUMP_IF, reg, 0, 0, until);
}
