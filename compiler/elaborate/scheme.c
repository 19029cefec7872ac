/* scheme.c: schemes to machine code: stages, train, loops over epochs and batches, evaluation, keep best, save, report. */
#include "compiler/elaborate/scheme.h"

uint32_t kd__emit(elab *e, kd_code_op op, int64_t a, int64_t b, int64_t c, const kd_ast *at) {
  kd_code i = { (uint16_t)op, a, b, c, at ? kd__origin(e, at->span) : 0 };
  KD_PUSH(e->a, e->build->code, i);
  return (uint32_t)e->build->code.n - 1;
}

/* A program's name is its address in logs and dumps, so no two share one. */
static bool plan_named(const mod_build *b, const char *name) {
  for (size_t i = 0; i < b->plan.n; i++) if (strcmp(b->plan.v[i].name, name) == 0) return true;
  return false;
}

uint32_t kd__add_plan(elab *e, const char *name, kd_graph *g) {
  const char *base = name;
  for (int k = 2; plan_named(e->build, name); k++) name = kd__arena_printf(e->a, "%s_%d", base, k);
  KD_PUSH(e->a, e->build->plan, (planned){ name, g });
  return (uint32_t)e->build->plan.n - 1;
}

uint32_t kd__add_string(elab *e, const char *s) {
  KD_PUSH(e->a, e->build->string, s);
  return (uint32_t)e->build->string.n - 1;
}

uint32_t kd__add_stream(elab *e, const prog *p, bool shuffle, bool drop_last) {
  const data_set *d = &e->data.v[p->data];
  kd_stream st = { .dataset = (uint32_t)p->data, .split = p->split, .batch = d->d.batch, .shuffle = shuffle, .drop_last = drop_last, .index_slot = -1 };
  st.bind = kd__arena_get(e->a, sizeof *st.bind * (p->field.n + 1));
  for (size_t i = 0; i < p->field.n; i++) {
    if (p->field.v[i] == d->index_slot) { st.index_slot = d->index_slot; continue; }
    for (uint32_t f = 0; f < d->nfield; f++)
      if (d->field[f].slot == p->field.v[i]) { st.bind[st.nbind].field = f; st.bind[st.nbind].slot = p->field.v[i]; st.nbind++; }
  }
  KD_PUSH(e->a, e->build->stream, st);
  return (uint32_t)e->build->stream.n - 1;
}

uint32_t kd__reset_plan(elab *e, const char *name, const slots *s) {
  kd_graph *g = KD_NEW(e->a, kd_graph);
  *g = *e->init->g;                              /* the same nodes; only these writes. Passes build a new graph. */
  g->write.v = NULL; g->write.n = g->write.cap = 0;
  for (size_t i = 0; i < e->init->g->write.n; i++)
    for (size_t k = 0; k < s->n; k++)
      if (e->init->g->write.v[i].slot == s->v[k]) KD_PUSH(e->a, g->write, e->init->g->write.v[i]);
  return kd__add_plan(e, name, g);
}

/* --- clauses ------------------------------------------------------------------------------------------------------------------------ */
static const kd_ast *clause(const kd_ast *n, uint32_t from, const char *word) {
  for (uint32_t i = from; i < n->n; i++) if (strcmp(n->kid[i]->text, word) == 0) return n->kid[i];
  return NULL;
}

static bool data_of(elab *e, scope *s, const kd_ast *n, const char *split, uint32_t *data, uint32_t *which) {
  val *v = kd__eval(e, s, n);
  if (v->kind == V_SPLIT) { *data = v->u.split.data; *which = v->u.split.split; return true; }
  if (v->kind != V_DATA) {
    if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, n->span, "`on`", "a data set or one of its splits", kd__v_show(e, v));
    return false;
  }
  *data = v->u.data; *which = 0;
  const kd_dataset *d = &e->data.v[v->u.data].d;
  for (uint32_t i = 0; split && i < d->nsplit; i++) if (strcmp(d->split[i].name, split) == 0) *which = i;
  return true;
}

/* Rows of the last short batch that training takes too; 0: it is dropped, or there is none. */
static int64_t tail_of(const data_set *d, uint32_t split) { return d->keep_last ? d->rows[split] % d->d.batch : 0; }
static int64_t steps_per_epoch(const data_set *d, uint32_t split) { return d->rows[split] / d->d.batch + (tail_of(d, split) > 0); }

/* --- groups of slots: kept, restored, saved ---------------------------------------------------------------------------------------- */
static uint32_t add_group(elab *e, const char *name, const models *m, bool transforms, bool strip) {
  kd_group g = { .name = name };
  g.slot = KD_NEWN(e->a, uint32_t, e->slot.n);
  g.path = KD_NEWN(e->a, const char *, e->slot.n);
  for (size_t i = 0; i < e->slot.n; i++) {
    const slot_info *s = &e->slot.v[i];
    if (s->s.kind != KD_SLOT_PARAM && s->s.kind != KD_SLOT_STATE) continue;
    const net *w = s->owner->root_net;
    bool in = transforms && ((w && strcmp(w->role, "transform") == 0) || (!w && s->s.kind == KD_SLOT_PARAM));
    for (size_t k = 0; k < m->n; k++) in = in || m->v[k] == w;
    if (!in) continue;
    const char *path = s->s.name;
    if (strip && w && strncmp(path, w->place->path, strlen(w->place->path)) == 0 && path[strlen(w->place->path)] == '.') path += strlen(w->place->path) + 1;
    g.path[g.n] = path;
    g.slot[g.n++] = (uint32_t)i;
  }
  KD_PUSH(e->a, e->build->group, g);
  return (uint32_t)e->build->group.n - 1;
}

/* --- epochs of batches ------------------------------------------------------------------------------------------------------------------- */
typedef struct keep { bool on; uint32_t group; } keep;

static void emit_keep(elab *e, scope *s, const models *m, uint32_t data, keep *k) {
  if (!e->build->keep) return;
  uint32_t first, d = data, split = 0;
  const kd_dataset *ds = &e->data.v[data].d;
  bool valid = false;
  for (uint32_t i = 0; i < ds->nsplit; i++) if (strcmp(ds->split[i].name, "valid") == 0) { split = i; valid = true; }
  const kd_ast *expr = e->build->keep->kid[0];
  if (!valid) {
    kd_diag *dg = kd__err(e, KD_D_NO_VALID, e->build->keep->span, e->data.v[data].name);
    kd__diag_help(e->sink, dg, "hold samples out: valid: 5000");
    return;
  }
  if (!kd__eval_metrics(e, s, &expr, 1, d, split, &first)) return;
  const char *text = kd__arena_strndup(e->a, expr->span.src->text + expr->span.at, expr->span.len);
  kd__emit(e, KD_CODE_SAY, kd__add_string(e, kd__arena_printf(e->a, "valid %s", text)), first, 1, expr);
  if (!k->on) { k->on = true; k->group = add_group(e, "best", m, true, false); }
  kd__emit(e, KD_CODE_SNAPSHOT, k->group, 1, first, expr);
}

/* `until` on metrics or run-time scalars, at each epoch's end. */
static uint32_t emit_until(elab *e, scope *s, const kd_ast *until, uint32_t data) {
  uint32_t first, split = 0;
  const kd_dataset *ds = &e->data.v[data].d;
  for (uint32_t i = 0; i < ds->nsplit; i++) if (strcmp(ds->split[i].name, "valid") == 0) split = i;
  if (!kd__eval_metrics(e, s, (const kd_ast *const *)&until, 1, data, split, &first)) return 0;
  return kd__emit(e, KD_CODE_JUMP_IF, first, 0, 0, until);
}

static uint32_t begin_stage(elab *e, const char *name, const kd_ast *at) {
  mod_build *b = e->build;
  for (size_t i = 0; i < b->stage.n; i++)
    if (strcmp(b->stage.v[i].name, name) == 0) kd__err(e, KD_D_DUPLICATE_NAME, at->span, name);
  b->stage_name = name;
  b->keep = NULL;
  b->home = kd__place_at(e, e->top, at, kd__arena_printf(e->a, "optimizer.%s", name), name);
  KD_PUSH(e->a, b->stage, (kd_stage_info){ .name = name });
  return kd__emit(e, KD_CODE_STAGE, (int64_t)b->stage.n - 1, 0, 0, at);
}

static void end_stage(elab *e) {
  e->build->stage_name = NULL;
  e->build->keep = NULL;
}

static void remember_trained(elab *e, const models *m) {
  for (size_t i = 0; i < m->n; i++) {
    bool seen = false;
    for (size_t k = 0; k < e->build->trained.n; k++) seen = seen || e->build->trained.v[k] == m->v[i];
    if (!seen) KD_PUSH(e->a, e->build->trained, m->v[i]);
  }
}

static prog *batch_prog(elab *e, uint32_t data, uint32_t split, int64_t rows, const models *m) {
  prog *p = kd__prog_new(e, PROG_TRAIN, kd__arena_printf(e->a, "%s.train.%lld", e->build->stage_name, (long long)rows));
  p->data = data; p->split = split; p->rows = rows;
  for (size_t i = 0; i < m->n; i++) KD_PUSH(e->a, p->trained, m->v[i]);
  return p;
}

static void emit_plan(elab *e, const prog *p, int64_t first_reg, const kd_ast *at) {
  uint32_t plan = kd__add_plan(e, p->name, p->g);
  if (first_reg >= 0 && p->g->result.n) kd__emit(e, KD_CODE_STEP, plan, first_reg, 0, at);
  else kd__emit(e, KD_CODE_RUN, plan, 0, 0, at);
}

void kd__emit_pass(elab *e, uint32_t stream, const prog *full, const prog *part, int64_t tail, int64_t first_reg, const kd_ast *at) {
  mod_build *b = e->build;
  uint32_t begin = kd__emit(e, KD_CODE_BATCHES, stream, 0, 0, at) + 1;
  if (part) {
    uint32_t branch = kd__emit(e, KD_CODE_BATCH_IF, stream, tail, 0, at);
    emit_plan(e, full, first_reg, at);
    uint32_t over = kd__emit(e, KD_CODE_JUMP, 0, 0, 0, at);
    b->code.v[branch].c = (int64_t)b->code.n;
    emit_plan(e, part, first_reg, at);
    b->code.v[over].a = (int64_t)b->code.n;
  } else {
    emit_plan(e, full, first_reg, at);
  }
  kd__emit(e, KD_CODE_MORE, stream, 0, begin, at);
  b->code.v[begin - 1].c = (int64_t)b->code.n;
}

/* A training pass; results of the plan become registers, the loss first. */
static void emit_training(elab *e, const prog *full, const prog *part, int64_t tail, const kd_ast *at) {
  uint32_t first = e->build->nreg;
  e->build->nreg += (uint32_t)full->g->result.n;
  kd__emit_pass(e, kd__add_stream(e, full, true, part == NULL), full, part, tail, first, at);
}

static bool epochs_of(elab *e, scope *s, const kd_ast *f, const char *unit, int64_t *epochs) {
  if (!f) return true;
  val *set;
  if (!unit || strcmp(unit, "epochs") != 0) { kd__err(e, KD_D_LATER, f->span, "a training length in batches or steps"); return false; }
  val *v = kd__setting(e, kd__arena_printf(e->a, "%s.epochs", e->build->stage_name), &set) ? set : kd__eval(e, s, f);
  if (!kd__want_int(e, v, f, "the number of epochs", epochs)) return false;
  if (*epochs < 0 || *epochs > 1000000000) { kd__err(e, KD_D_AXIS_SIZE, f->span, "epochs", (long long)*epochs); return false; }
  return true;
}

static void train(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (!b->stage_name) {
    begin_stage(e, kd__arena_printf(e->a, "train%zu", b->stage.n + 1), n);
    train(e, s, n);
    end_stage(e);
    return;
  }
  const kd_ast *on = clause(n, 2, "on"), *until = clause(n, 2, "until"), *using_ = clause(n, 2, "using"), *f = clause(n, 2, "for");
  uint32_t data, split;
  int64_t epochs = 1;
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m)) return;
  remember_trained(e, &m);
  if (!on) { kd_diag *d = kd__err(e, KD_D_NO_ON, n->span); if (e->data.n) kd__diag_help(e->sink, d, "add: on %s", e->data.v[0].name); return; }
  if (!data_of(e, s, on->kid[0], "train", &data, &split) || !epochs_of(e, s, f ? f->kid[0] : NULL, f ? f->text2 : NULL, &epochs)) return;
  const data_set *d = &e->data.v[data];
  place *home = kd__place_at(e, b->home, n, "step", "step");
  prog *p[2] = { 0 }, *up = e->prog;
  int64_t rows[2] = { d->d.batch, tail_of(d, split) };
  for (int k = 0; k < 2 && rows[k] > 0; k++) {
    e->prog = p[k] = batch_prog(e, data, split, rows[k], &m);
    bool ok = kd__train_step(e, s, &m, n->kid[0], n->kid[1], using_ ? using_->kid[0] : NULL, home);
    e->prog = up;
    if (!ok) return;
  }
  kd_stage_info *st = &b->stage.v[b->stage.n - 1];
  st->epochs += epochs;
  st->steps_per_epoch = steps_per_epoch(&e->data.v[data], split);
  uint32_t counter = b->ncounter++;
  uint32_t loop = kd__emit(e, KD_CODE_LOOP, counter, epochs, 0, n);
  emit_training(e, p[0], p[1], rows[1], n);
  kd__emit(e, KD_CODE_EPOCH, 0, 0, 0, n);
  keep k = { 0 };
  emit_keep(e, s, &m, data, &k);
  uint32_t out = until ? emit_until(e, s, until->kid[0], data) : 0;
  kd__emit(e, KD_CODE_NEXT, counter, epochs, loop + 1, n);
  b->code.v[loop].c = (int64_t)b->code.n;
  if (out) b->code.v[out].b = (int64_t)b->code.n;
  if (k.on) kd__emit(e, KD_CODE_RESTORE, k.group, 0, 0, n);
}

/* --- loops written out -------------------------------------------------------------------------------------------------------------------- */
/* Networks that some step in a block trains: their mode is training in the whole batch. */
static bool stepped_models(elab *e, scope *s, const kd_ast *n, models *out) {
  if (n->kind == KD_AST_STEP) {
    models one = { 0 };
    if (!kd__models(e, s, n->kid[0], &one)) return false;
    for (size_t i = 0; i < one.n; i++) {
      bool seen = false;
      for (size_t k = 0; k < out->n; k++) seen = seen || out->v[k] == one.v[i];
      if (!seen) KD_PUSH(e->a, *out, one.v[i]);
    }
    return true;
  }
  if (n->kind == KD_AST_BLOCK || n->kind == KD_AST_IF)
    for (uint32_t i = 0; i < n->n; i++) if (n->kid[i] && !stepped_models(e, s, n->kid[i], out)) return false;
  return true;
}

/* The body of `for batch in D`, with the batch under its name. */
static scope *batch_scope(elab *e, scope *s, const kd_ast *n, val *batch) {
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  kd__scope_bind(e, in, n->kid[2]->text, batch, n->kid[2])->used = true;
  return in;
}

static void for_batches(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  uint32_t data, split;
  models m = { 0 };
  if (n->n != 3) { kd__err(e, KD_D_LATER, n->span, "a loop over several streams"); return; }
  if (b->batch) { kd__err(e, KD_D_LATER, n->span, "a loop over batches inside another"); return; }
  if (!data_of(e, s, n->kid[0], "train", &data, &split)) return;
  if (!b->stage_name) { begin_stage(e, kd__arena_printf(e->a, "loop%zu", b->stage.n + 1), n); for_batches(e, s, n); end_stage(e); return; }
  val *v = kd__v_new(e, V_DATA);
  v->u.data = data;
  scope *find = batch_scope(e, s, n, v);
  if (!stepped_models(e, find, n->kid[1], &m)) return;
  remember_trained(e, &m);
  const data_set *d = &e->data.v[data];
  prog *p[2] = { 0 }, *up = e->prog;
  int64_t rows[2] = { d->d.batch, tail_of(d, split) };
  size_t errors = e->sink->errors;
  for (int k = 0; k < 2 && rows[k] > 0; k++) {
    e->prog = b->batch = p[k] = batch_prog(e, data, split, rows[k], &m);
    kd__exec_block(e, batch_scope(e, s, n, v), n->kid[1]);
    e->prog = up; b->batch = NULL;
    if (e->sink->errors != errors) return;
  }
  b->stage.v[b->stage.n - 1].steps_per_epoch += steps_per_epoch(&e->data.v[data], split);
  b->batch_data = data; b->batch_seen = true;
  for (size_t i = 0; i < m.n; i++) KD_PUSH(e->a, b->batch_models, m.v[i]);
  emit_training(e, p[0], p[1], rows[1], n);
  if (b->epoch_loops) return;                    /* outside of a loop over epochs one pass is one epoch */
  b->stage.v[b->stage.n - 1].epochs++;
  kd__emit(e, KD_CODE_EPOCH, 0, 0, 0, n);
}

static void for_count(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (!n->text) {
    kd_diag *d = kd__err(e, KD_D_NO_UNIT, n->span);
    kd__diag_help(e->sink, d, "for %.*s epochs {, or repeat %.*s {", (int)n->kid[0]->span.len, n->kid[0]->span.src->text + n->kid[0]->span.at,
                  (int)n->kid[0]->span.len, n->kid[0]->span.src->text + n->kid[0]->span.at);
    return;
  }
  if (!b->stage_name) { begin_stage(e, kd__arena_printf(e->a, "loop%zu", b->stage.n + 1), n); for_count(e, s, n); end_stage(e); return; }
  int64_t epochs;
  if (!epochs_of(e, s, n->kid[0], n->text, &epochs)) return;
  b->stage.v[b->stage.n - 1].epochs += epochs;
  uint32_t counter = b->ncounter++, loop = kd__emit(e, KD_CODE_LOOP, counter, epochs, 0, n);
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  b->batch_seen = false;
  b->batch_models.n = 0;
  b->stage.v[b->stage.n - 1].steps_per_epoch = 0;    /* its loops over batches add up */
  b->epoch_loops++;
  kd__exec_block(e, in, n->kid[2]);
  b->epoch_loops--;
  kd__emit(e, KD_CODE_EPOCH, 0, 0, 0, n);
  if ((b->keep || n->kid[1]) && !b->batch_seen) { kd__err(e, KD_D_NO_ON, n->kid[1] ? n->kid[1]->span : b->keep->span); return; }
  keep k = { 0 };
  emit_keep(e, s, &b->batch_models, b->batch_data, &k);
  uint32_t out = n->kid[1] ? emit_until(e, s, n->kid[1], b->batch_data) : 0;
  kd__emit(e, KD_CODE_NEXT, counter, epochs, loop + 1, n);
  b->code.v[loop].c = (int64_t)b->code.n;
  if (out) b->code.v[out].b = (int64_t)b->code.n;
  if (k.on) kd__emit(e, KD_CODE_RESTORE, k.group, 0, 0, n);
}

static void step(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (!b->batch) {
    kd_diag *d = kd__err(e, KD_D_STEP_NO_BATCH, n->span);
    kd__diag_help(e->sink, d, "for batch in D { step ... }, or train ... on D");
    return;
  }
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m)) return;
  kd__train_step(e, s, &m, n->kid[0], n->kid[1], n->n > 2 ? n->kid[2] : NULL, kd__place_at(e, b->home, n, "step", "step"));
}

/* --- stage ---------------------------------------------------------------------------------------------------------------------------------- */
/* `keep best by` holds for its whole stage, wherever in the stage's blocks and loops it stands. */
static void find_keep(elab *e, const kd_ast *body) {
  if (body->kind == KD_AST_KEEP_BEST) {
    if (e->build->keep) kd__err(e, KD_D_DUPLICATE, body->span, "keep best");
    e->build->keep = body;
  } else if (body->kind == KD_AST_BLOCK || body->kind == KD_AST_FOR_COUNT) {
    for (uint32_t i = 0; i < body->n; i++) if (body->kid[i]) find_keep(e, body->kid[i]);
  }
}

static void call_scheme(elab *e, scope *s, const kd_ast *call) {
  if (call->kind != KD_AST_CALL) { kd__eval(e, s, call); return; }
  val *f = kd__eval(e, s, call->kid[0]);
  if (f->kind != V_DEF || strcmp(f->u.def->word, "scheme") != 0) { kd__eval(e, s, call); return; }
  arg *a;
  uint32_t n = kd__args(e, s, call, &a);
  scope *in = kd__bind_call(e, s, f->u.def, a, n, call);
  if (!in) return;
  in->scheme = true;
  find_keep(e, f->u.def->ast->kid[2]);
  kd__exec_block(e, in, f->u.def->ast->kid[2]);
}

/* `fit`, or `hop[i]` with the number in place of i. */
static const char *stage_name(elab *e, scope *s, const kd_ast *name) {
  if (name->kind == KD_AST_NAME) return name->text;
  if (name->kind != KD_AST_INDEX || name->n != 2 || name->kid[1]->kind != KD_AST_SUB || name->kid[1]->n != 1) { kd__err(e, KD_D_LIST_INDEX, name->span); return NULL; }
  int64_t i;
  const kd_ast *at = name->kid[1]->kid[0];
  if (!kd__want_int(e, kd__eval(e, s, at), at, "a stage's number", &i)) return NULL;
  return kd__arena_printf(e->a, "%s[%lld]", name->kid[0]->text, (long long)i);
}

static void stage(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (b->stage_name) { kd__err(e, KD_D_STAGE_NESTED, n->span); return; }
  const kd_ast *name = n->kid[0], *body = n->kid[1];
  const char *text = stage_name(e, s, name);
  if (!text) return;
  if (e->loop && name->kind == KD_AST_NAME) text = kd__arena_printf(e->a, "%s_%zu", text, b->stage.n + 1);
  begin_stage(e, text, n);
  find_keep(e, body);
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  if (body->kind == KD_AST_TRAIN) train(e, in, body);
  else if (body->kind == KD_AST_BLOCK) kd__exec_block(e, in, body);
  else if (body->kind == KD_AST_FOR_IN || body->kind == KD_AST_FOR_COUNT || body->kind == KD_AST_REPEAT || body->kind == KD_AST_EVERY) kd__exec(e, in, body);
  else call_scheme(e, in, body->kind == KD_AST_EXPR_STMT ? body->kid[0] : body);
  end_stage(e);
}

/* --- evaluation, report, save ------------------------------------------------------------------------------------------------------------------- */
static const char *label_of(elab *e, const kd_ast *k) {
  if (k->kind == KD_AST_ARG && k->text) return k->text;
  const kd_ast *x = k->kind == KD_AST_ARG ? k->kid[0] : k;
  return kd__arena_strndup(e->a, x->span.src->text + x->span.at, x->span.len);
}

static void evaluate(elab *e, scope *s, const kd_ast *n, bool report) {
  const kd_ast *shown = n->kid[0], *on = n->n > 1 ? n->kid[1] : NULL;
  uint32_t data, split, first;
  if (e->build->batch) { kd__err(e, KD_D_LATER, n->span, "an evaluation inside a loop over batches"); return; }
  if (!on) { kd_diag *d = kd__err(e, KD_D_NO_ON, n->span); if (e->data.n) kd__diag_help(e->sink, d, "add: on %s.test", e->data.v[0].name); return; }
  if (!data_of(e, s, on, "test", &data, &split)) return;
  const kd_ast **expr = KD_NEWN(e->a, const kd_ast *, shown->n);
  for (uint32_t i = 0; i < shown->n; i++) expr[i] = shown->kid[i]->kind == KD_AST_ARG ? shown->kid[i]->kid[0] : shown->kid[i];
  if (!kd__eval_metrics(e, s, expr, shown->n, data, split, &first)) return;
  const char *where = kd__arena_printf(e->a, "%s.%s", e->data.v[data].name, e->data.v[data].d.split[split].name);
  const char *names = "";
  for (uint32_t i = 0; i < shown->n; i++) {
    const char *label = label_of(e, shown->kid[i]);
    names = kd__arena_printf(e->a, "%s%s%s %s", names, i ? "," : "", where, label);
    if (report) KD_PUSH(e->a, e->build->report, (kd_report_row){ label, where, first + i });
  }
  if (!report) kd__emit(e, KD_CODE_SAY, kd__add_string(e, names), first, shown->n, n);
}

static void save(elab *e, scope *s, const kd_ast *n) {
  const char *file;
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m) || !kd__want_str(e, kd__eval(e, s, n->kid[1]), n->kid[1], "the file", &file)) return;
  size_t len = strlen(file);
  if (len < 13 || strcmp(file + len - 12, ".safetensors") != 0 || strchr(file, '/')) {
    kd_diag *d = kd__err(e, KD_D_SAVE_NAME, n->kid[1]->span, file);
    kd__diag_help(e->sink, d, "it is written to the run's folder: save S to \"student.safetensors\"");
    return;
  }
  kd__emit(e, KD_CODE_SAVE, add_group(e, m.v[0]->place->path, &m, false, m.n == 1), kd__add_string(e, file), 0, n);
}

static void freeze(elab *e, scope *s, const kd_ast *n, bool on) {
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m)) return;
  for (size_t i = 0; i < m.n; i++) m.v[i]->frozen = on;
}

static void reset(elab *e, scope *s, const kd_ast *n) {
  models m = { 0 };
  if (e->build->batch) { kd__err(e, KD_D_LATER, n->span, "a reset inside a loop over batches"); return; }
  if (!kd__models(e, s, n->kid[0], &m)) return;
  slots all = { 0 };
  for (size_t i = 0; i < e->slot.n; i++)
    for (size_t k = 0; k < m.n; k++)
      if (e->slot.v[i].owner->root_net == m.v[k]) KD_PUSH(e->a, all, (int64_t)i);
  kd__emit(e, KD_CODE_RUN, kd__reset_plan(e, "reset", &all), 0, 0, n);
}

bool kd__scheme_is_stmt(const kd_ast *n) {
  switch (n->kind) {
    case KD_AST_STAGE: case KD_AST_TRAIN: case KD_AST_STEP: case KD_AST_FOR_COUNT: case KD_AST_EVALUATE: case KD_AST_REPORT: case KD_AST_KEEP_BEST:
    case KD_AST_SAVE: case KD_AST_FREEZE: case KD_AST_UNFREEZE: case KD_AST_RESET: case KD_AST_COPY: case KD_AST_EVERY:
    case KD_AST_STEP_ALONG: case KD_AST_FOR_STREAMS: case KD_AST_WRITE: return true;
    default: return false;
  }
}

void kd__scheme_stmt(elab *e, scope *s, const kd_ast *n) {
  switch (n->kind) {
    case KD_AST_STAGE: stage(e, s, n); break;
    case KD_AST_TRAIN: train(e, s, n); break;
    case KD_AST_STEP: step(e, s, n); break;
    case KD_AST_FOR_COUNT: for_count(e, s, n); break;
    case KD_AST_FOR_IN: for_batches(e, s, n); break;
    case KD_AST_EVALUATE: evaluate(e, s, n, false); break;
    case KD_AST_REPORT: evaluate(e, s, n, true); break;
    case KD_AST_KEEP_BEST: if (!e->build->keep) kd__err(e, KD_D_KEEP_PLACE, n->span); break;
    case KD_AST_SAVE: save(e, s, n); break;
    case KD_AST_FREEZE: freeze(e, s, n, true); break;
    case KD_AST_UNFREEZE: freeze(e, s, n, false); break;
    case KD_AST_RESET: reset(e, s, n); break;
    case KD_AST_EXPR_STMT: call_scheme(e, s, n->kid[0]); break;
    default: kd__err(e, KD_D_LATER, n->span, kd__ast_kind_name((kd_ast_kind)n->kind)); break;
  }
}

/* --- the whole -------------------------------------------------------------------------------------------------------------------------------- */
static void save_trained(elab *e) {
  for (size_t i = 0; i < e->build->trained.n; i++) {
    models one = { 0 };
    net *w = e->build->trained.v[i];
    if (strcmp(w->role, "transform") == 0) continue;
    KD_PUSH(e->a, one, w);
    kd__emit(e, KD_CODE_SAVE, add_group(e, w->place->path, &one, false, true), kd__add_string(e, kd__arena_printf(e->a, "%s.safetensors", w->place->path)), 0, NULL);
  }
}

void kd__scheme_run(elab *e, scope *s, const kd_ast *file) {
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  e->prog = e->probe;
  for (uint32_t i = 0; i < file->n; i++) {
    const kd_ast *n = file->kid[i];
    if (n->kind == KD_AST_SCHEME) kd__exec_block(e, in, n->kid[0]);
    else if (kd__scheme_is_stmt(n)) kd__scheme_stmt(e, in, n);
    else if (n->kind == KD_AST_EXPR_STMT) call_scheme(e, in, n->kid[0]);
  }
  e->prog = NULL;
  save_trained(e);
  kd__emit(e, KD_CODE_HALT, 0, 0, 0, NULL);
}
