/* scheme_stmt.c: statements of schemes that change or tell: update, copy, reset, freeze, evaluate, report, save. */
#include "compiler/elaborate/scheme.h"

/* --- update ------------------------------------------------------------------------------------------------------------------------ */
static void not_a_target(elab *e, scope *s, const kd_ast *target, const kd_ast *name, const binding *b) {
  kd_diag *d = kd__err(e, KD_D_SCHEME_TARGET, target->span);
  const char *names[64];
  size_t k = 0;
  for (scope *t = s; t && k < 64; t = t->up) for (size_t i = 0; i < t->b.n && k < 64; i++) if (t->b.v[i]->kind == B_STATE || t->b.v[i]->kind == B_PARAM) names[k++] = t->b.v[i]->name;
  const char *near = b || name->kind != KD_AST_NAME ? NULL : kd__nearest(e, name->text, names, k);
  if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
  else if (name->kind == KD_AST_NAME) kd__diag_help(e->sink, d, "declare it: state %s: [] = 0", name->text);
}

/* Commits at once, so what follows reads the new value; formulas are computed anew. */
static void set_now(elab *e, int64_t slot, kd_value v, const kd_ast *at) {
  kd__slot_set(e, e->prog, slot, v, at);
  e->prog->clock++;
}

static bool refuse_frozen(elab *e, int64_t slot, const kd_ast *at) {
  if (!kd__slot_frozen(e, slot)) return false;
  kd_diag *d = kd__err(e, KD_D_FROZEN, at->span, e->slot.v[slot].s.name);
  kd__diag_help(e->sink, d, "unfreeze it before");
  return true;
}

/* `update T = ...`: the parameters of a network or a part of one, leaf by leaf; `where c`: if c holds. */
static void update_tree(elab *e, scope *s, val *to, const kd_ast *n) {
  const kd_ast *mask = n->n > 2 ? n->kid[2] : NULL;
  tensor *c = mask ? kd__want_tensor(e, kd__eval(e, s, mask), mask) : NULL;
  if (mask && !c) return;
  if (c && c->rank) {
    kd_diag *d = kd__err(e, KD_D_NOT_SCALAR, mask->span, "the condition", kd__t_show(e, c));
    kd__diag_help(e->sink, d, "where(c, a, b) selects element by element; any(c) and all(c) make one truth value of many");
    return;
  }
  tree *old = kd__tree_of(e, to, n->kid[0]), *now = old ? kd__tree_of(e, kd__eval(e, s, n->kid[1]), n->kid[1]) : NULL;
  tensor **t = now ? kd__alike(e, old, now, n) : NULL;
  for (uint32_t i = 0; t && i < old->n; i++) if (refuse_frozen(e, old->leaf[i].slot, n->kid[0])) return;
  for (uint32_t i = 0; t && i < old->n; i++) {
    tensor *v = c ? kd__t_where(e, c, t[i], old->leaf[i].t, mask) : t[i];
    if (!v) return;
    set_now(e, old->leaf[i].slot, v->v, n);
  }
  if (t && to->kind == V_NET) KD_PUSH(e->a, e->build->averaged, (averaged){ to->u.net, n });
}

void kd__scheme_update(elab *e, scope *s, const kd_ast *n) {
  const kd_ast *to = n->kid[0], *name = to->kind == KD_AST_INDEX ? to->kid[0] : to;
  prog *up = e->prog;
  e->prog = e->probe;                            /* what is named, without reading it */
  val *v = kd__eval(e, s, name);
  e->prog = up;
  if (v->kind == V_POISON) return;
  if (kd__treelike(v) && v->kind != V_TREE && name == to) { update_tree(e, s, v, n); return; }
  int64_t slot = kd__read_from(e, v);
  if (slot < 0) { not_a_target(e, s, to, name, name->kind == KD_AST_NAME ? kd__scope_find(s, name->text, NULL) : NULL); return; }
  v = kd__scheme_value(e, s, n->kid[1]);
  tensor *now = kd__updated(e, s, n, v, kd__read_slot(e, slot, name)->u.t);
  if (now && !refuse_frozen(e, slot, to)) set_now(e, slot, now->v, n);
}

/* --- copy ------------------------------------------------------------------------------------------------------------------------------ */
/* The slots of what is named, with their paths below it. */
typedef struct part_slot { int64_t slot; const char *path; } part_slot;
typedef KD_VEC(part_slot) part_slots;

static const char *below(const mention *t, const slot_info *s) {
  const char *top = t->net ? t->net->place->path : t->part ? t->part->path : NULL;
  size_t n = top ? strlen(top) : 0;
  return top && s->s.name[n] == '.' ? s->s.name + n + 1 : top ? s->s.name : "";
}

static void slots_of(elab *e, const models *m, part_slots *out) {
  for (size_t i = 0; i < e->slot.n; i++) {
    const slot_info *s = &e->slot.v[i];
    if ((s->s.kind == KD_SLOT_PARAM || s->s.kind == KD_SLOT_STATE) && kd__mentioned(e, m, (int64_t)i)) KD_PUSH(e->a, *out, (part_slot){ (int64_t)i, below(&m->what.v[0], s) });
  }
}

/* x laid over the leading slices of `onto`. */
static kd_value overlap(elab *e, kd_value x, kd_value onto, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  const kd_type tx = *kd__type_of(b.g, x), ty = *kd__type_of(b.g, onto);
  int64_t start[KD_MAX_RANK] = { 0 }, step[KD_MAX_RANK], size[KD_MAX_RANK], high[KD_MAX_RANK];
  for (int i = 0; i < tx.rank; i++) {
    step[i] = 1;
    size[i] = tx.dim[i] < ty.dim[i] ? tx.dim[i] : ty.dim[i];
    high[i] = ty.dim[i] - size[i];
  }
  kd_value part = kd__b_slice(&b, x, start, size, step), one = kd__b_const(&b, 1, KD_I64, size, tx.rank);
  kd_value in = kd__b_op2(&b, KD_OP_EQ, kd__b_pad(&b, one, start, high, 0), kd__b_const(&b, 1, KD_I64, ty.dim, ty.rank));
  return kd__b_where(&b, in, kd__b_pad(&b, part, start, high, 0), onto);
}

static bool copy_one(elab *e, const part_slot *from, const part_slot *to, bool by_overlap, const kd_ast *at) {
  const slot_info *x = &e->slot.v[from->slot], *y = &e->slot.v[to->slot];
  if (refuse_frozen(e, to->slot, at->kid[1])) return false;
  bool same = kd__type_equal(&x->s.type, &y->s.type);
  if (!same && (!by_overlap || x->s.type.rank != y->s.type.rank || x->s.type.dtype != y->s.type.dtype)) {
    tensor a = { .rank = x->s.type.rank }, b = { .rank = y->s.type.rank };
    memcpy(a.ax, x->ax, sizeof a.ax);
    memcpy(b.ax, y->ax, sizeof b.ax);
    kd_diag *d = kd__err(e, KD_D_COPY_SHAPE, at->span, x->s.name, kd__t_show(e, &a), y->s.name, kd__t_show(e, &b));
    if (!by_overlap && a.rank == b.rank) kd__diag_help(e->sink, d, "copy ... to ... by overlap takes the leading slices that both have");
    return false;
  }
  kd_value v = kd__slot_now(e, from->slot, at);
  kd__slot_set(e, e->prog, to->slot, same ? v : overlap(e, v, kd__slot_now(e, to->slot, at), at), at);
  return true;
}

/* By path below what is named. Unless only an overlap is asked for, each must have what the other has. */
static void copy_now(elab *e, const models *from, const models *to, const char *how, const kd_ast *at) {
  part_slots x = { 0 }, y = { 0 };
  slots_of(e, from, &x);
  slots_of(e, to, &y);
  bool by_overlap = how != NULL;
  if (!x.n || !y.n) {
    kd_diag *d = kd__err(e, KD_D_COPY_NOTHING, (x.n ? at->kid[1] : at->kid[0])->span);
    kd__diag_help(e->sink, d, "a network has parameters once it is applied somewhere: let s = S(x)");
    return;
  }
  for (size_t i = 0; i < y.n; i++) {
    size_t k = 0;
    while (k < x.n && strcmp(x.v[k].path, y.v[i].path) != 0) k++;
    if (k < x.n) { if (!copy_one(e, &x.v[k], &y.v[i], by_overlap, at)) return; continue; }
    if (by_overlap) continue;
    kd_diag *d = kd__err(e, KD_D_COPY_UNLIKE, at->span, e->slot.v[y.v[i].slot].s.name);
    kd__diag_help(e->sink, d, "both must be of one definition; copy ... by overlap takes what both have");
    return;
  }
  for (size_t k = 0; k < x.n && !by_overlap; k++) {
    size_t i = 0;
    while (i < y.n && strcmp(x.v[k].path, y.v[i].path) != 0) i++;
    if (i < y.n) continue;
    kd_diag *d = kd__err(e, KD_D_COPY_UNLIKE, at->span, e->slot.v[x.v[k].slot].s.name);
    kd__diag_help(e->sink, d, "both must be of one definition; copy ... by overlap takes what both have");
    return;
  }
  e->prog->clock++;
}

/* A program of its own, made when all slots are known: a network may be applied for the first time below. */
static void defer(elab *e, const char *name, deferred d, int64_t key) {
  mod_build *b = e->build;
  kd__flow_cut(e, d.at);
  d.g = kd__graph_for(e);
  d.frame = e->frame;
  KD_PUSH(e->a, b->later, d);
  const char *stage = b->stage_name ? b->stage_name : "scheme";
  kd__emit(e, KD_CODE_RUN, kd__add_plan(e, kd__arena_printf(e->a, "%s.%s", stage, name), d.g), key, 0, d.at);
}

static bool one_target(elab *e, scope *s, const kd_ast *n, models *out) {
  kd_ast *list = kd__arena_copy(e->a, n, sizeof *n);
  const kd_ast **kid = KD_NEW(e->a, const kd_ast *);
  *kid = n;
  *list = (kd_ast){ .kind = KD_AST_MODELS, .span = n->span, .n = 1, .kid = (kd_ast **)(uintptr_t)kid };
  return kd__models(e, s, list, out);
}

void kd__copy(elab *e, scope *s, const kd_ast *n) {
  deferred d = { .how = n->text ? n->text : NULL, .at = n };
  if (!one_target(e, s, n->kid[0], &d.what) || !one_target(e, s, n->kid[1], &d.to)) return;
  if (d.how && strcmp(d.how, "overlap") != 0) { kd__err(e, KD_D_COPY_HOW, n->span, d.how); return; }
  part_slots x = { 0 }, y = { 0 };
  slots_of(e, &d.what, &x);
  slots_of(e, &d.to, &y);
  for (size_t i = 0; i < d.to.what.n; i++) {
    const mention *t = &d.to.what.v[i];
    net *w = t->net ? t->net : t->part ? t->part->top->root_net : NULL;
    if (w) w->given = true;
  }
  if (e->build->batches && x.n && y.n) copy_now(e, &d.what, &d.to, d.how, n);
  else defer(e, "copy", d, 0);
}

/* --- reset ------------------------------------------------------------------------------------------------------------------------------- */
void kd__reset(elab *e, scope *s, const kd_ast *n) {
  deferred d = { .at = n };
  if (!kd__models(e, s, n->kid[0], &d.what)) return;
  kd__flow_cut(e, n);
  d.load = e->build->load.n;
  d.nload = kd__loads(e, n);
  defer(e, "reset", d, 2);
}

void kd__reset_below(elab *e, place *p, const kd_ast *at) {
  mod_build *b = e->build;
  deferred d = { .below = p, .at = at, .g = kd__graph_for(e), .frame = e->frame };
  KD_PUSH(e->a, b->later, d);
  kd__emit(e, KD_CODE_RUN, kd__add_plan(e, kd__arena_printf(e->a, "%s.begin", b->stage_name), d.g), 0, 0, at);
}

static bool within(const place *p, const place *top) {
  while (p && p != top) p = p->up;
  return p != NULL;
}

/* An optimizer's states begin anew with the parameters that they belong to, when all of those do. */
static bool optimizer_of(elab *e, int64_t slot, const models *m) {
  const slots *of = e->slot.v[slot].of;
  for (size_t i = 0; of && i < of->n; i++) if (!kd__mentioned(e, m, of->v[i])) return false;
  return of && of->n;
}

static void reset_later(elab *e, const deferred *d) {
  slots all = { 0 };
  for (size_t i = 0; i < e->slot.n; i++) {
    const slot_info *s = &e->slot.v[i];
    bool in = d->below ? s->s.kind == KD_SLOT_OPTIMIZER && within(s->owner, d->below)
                       : s->s.kind == KD_SLOT_OPTIMIZER ? optimizer_of(e, (int64_t)i, &d->what)
                                                        : (s->s.kind == KD_SLOT_PARAM || s->s.kind == KD_SLOT_STATE) && kd__mentioned(e, &d->what, (int64_t)i);
    if (in) KD_PUSH(e->a, all, (int64_t)i);
  }
  if (!d->below) { kd__unhit(e, &d->what.what); kd__unhit(e, &d->what.except); }
  kd__loads_fill(e, d->load, d->nload, &d->what);
  *d->g = *kd__reset_graph(e, &all);
}

void kd__resolve(elab *e) {
  mod_build *b = e->build;
  for (size_t i = b->resolved; i < b->later.n; i++) {
    const deferred d = b->later.v[i];
    frame *up = e->frame;
    prog *at = e->prog;
    e->frame = d.frame;
    if (d.to.what.n) {
      prog *p = kd__prog_new(e, PROG_TRAIN, "copy");
      p->g = d.g;
      e->prog = p;
      copy_now(e, &d.what, &d.to, d.how, d.at);
      e->prog = at;
    } else {
      reset_later(e, &d);
    }
    e->frame = up;
  }
  b->resolved = b->later.n;
}

void kd__unhit_rules(elab *e) {
  mod_build *b = e->build;
  for (size_t i = 0; i < b->frozen.n; i++) {
    for (size_t k = 0; k < e->slot.n; k++) { kd__covers(e, &b->frozen.v[i].what, (int64_t)k); kd__covers(e, &b->frozen.v[i].except, (int64_t)k); }
    kd__unhit(e, &b->frozen.v[i].what);
    kd__unhit(e, &b->frozen.v[i].except);
  }
}

/* --- freeze -------------------------------------------------------------------------------------------------------------------------------- */
/* Decided before the run: it holds for the statements below it. */
void kd__freeze(elab *e, scope *s, const kd_ast *n, bool on) {
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m)) return;
  if (e->build->arm) {
    kd_diag *d = kd__err(e, KD_D_FREEZE_BRANCH, n->span, on ? "freeze" : "unfreeze");
    kd__diag_help(e->sink, d, "leave it out of the step instead: if ... { step S except S.head ... } else { step S ... }");
    return;
  }
  KD_PUSH(e->a, e->build->frozen, (freeze_rule){ m.what, m.except, on });
  e->prog->clock++;
}

/* --- evaluation, report, save ------------------------------------------------------------------------------------------------------------------- */
static const char *label_of(elab *e, const kd_ast *k) {
  if (k->kind == KD_AST_ARG && k->text) return k->text;
  const kd_ast *x = k->kind == KD_AST_ARG ? k->kid[0] : k;
  return kd__arena_strndup(e->a, x->span.src->text + x->span.at, x->span.len);
}

static const kd_ast **shown_of(elab *e, const kd_ast *shown) {
  const kd_ast **expr = KD_NEWN(e->a, const kd_ast *, shown->n);
  for (uint32_t i = 0; i < shown->n; i++) expr[i] = shown->kid[i]->kind == KD_AST_ARG ? shown->kid[i]->kid[0] : shown->kid[i];
  return expr;
}

static bool needs_on(elab *e, const kd_ast *n, const kd_ast *on) {
  if (on) return true;
  kd_diag *d = kd__err(e, KD_D_NO_ON, n->span);
  if (e->data.n) kd__diag_help(e->sink, d, "add: on %s.test", e->data.v[0].name);
  return false;
}

/* `report x, y` without data: values at hand. */
static void report_values(elab *e, scope *s, const kd_ast *shown) {
  const kd_ast **expr = shown_of(e, shown);
  for (uint32_t i = 0; i < shown->n; i++) {
    tensor *t = kd__want_tensor(e, kd__eval(e, s, expr[i]), expr[i]);
    if (!t) return;
    if (t->rank) { kd__err(e, KD_D_NOT_SCALAR, expr[i]->span, "what is reported", kd__t_show(e, t)); return; }
    uint32_t reg = kd__flow_register(e, t, expr[i]);
    KD_PUSH(e->a, e->build->report, (kd_report_row){ label_of(e, shown->kid[i]), "", reg });
  }
}

void kd__evaluate(elab *e, scope *s, const kd_ast *n, bool report) {
  const kd_ast *shown = n->kid[0], *on = n->n > 1 ? n->kid[1] : NULL;
  uint32_t data, split, first;
  if (report && !on) { report_values(e, s, shown); return; }
  if (!needs_on(e, n, on) || !kd__data_of(e, s, on, "test", &data, &split)) return;
  if (!kd__eval_metrics(e, s, shown_of(e, shown), shown->n, data, split, &first)) return;
  const char *where = kd__arena_printf(e->a, "%s.%s", e->data.v[data].name, e->data.v[data].d.split[split].name);
  const char *names = "";
  for (uint32_t i = 0; i < shown->n; i++) {
    const char *label = label_of(e, shown->kid[i]);
    names = kd__arena_printf(e->a, "%s%s%s %s", names, i ? "," : "", where, label);
    if (report) KD_PUSH(e->a, e->build->report, (kd_report_row){ label, where, first + i });
  }
  if (!report) kd__emit(e, KD_CODE_SAY, kd__add_string(e, names), first, shown->n, n);
}

/* `let acc = evaluate m on D`: numbers known when it runs; a list of several. */
val *kd__evaluate_value(elab *e, scope *s, const kd_ast *n) {
  const kd_ast *shown = n->kid[0], *on = n->n > 1 ? n->kid[1] : NULL;
  uint32_t data, split, first;
  if (!needs_on(e, n, on) || !kd__data_of(e, s, on, "test", &data, &split)) return &kd__poison;
  if (!kd__eval_metrics(e, s, shown_of(e, shown), shown->n, data, split, &first)) return &kd__poison;
  val **v = KD_NEWN(e->a, val *, shown->n);
  for (uint32_t i = 0; i < shown->n; i++) {
    int64_t slot = kd__value_slot(e, e->opt->real, NULL, 0, n->span);
    kd__emit(e, KD_CODE_PUT, slot, first + i, 0, n);
    v[i] = kd__read_slot(e, slot, n);
  }
  return shown->n == 1 ? v[0] : kd__v_list(e, v, shown->n);
}

/* `save deployed`: a network that the experiment composes of others, with exactly what it reaches. NULL: the statement saves networks. */
static def *composed(elab *e, scope *s, const kd_ast *what) {
  val *v = what->n == 1 && what->kid[0]->kind == KD_AST_NAME ? kd__eval(e, s, what->kid[0]) : NULL;
  return v && v->kind == V_DEF && kd__def_is_net(v->u.def) ? v->u.def : NULL;
}

static void save_slots(elab *e, const def *d, const slot_list *l, const char *file, const kd_ast *n) {
  kd_group g = { .name = d->name, .n = (uint32_t)l->n };
  g.slot = KD_NEWN(e->a, uint32_t, l->n + 1);
  g.path = KD_NEWN(e->a, const char *, l->n + 1);
  for (size_t i = 0; i < l->n; i++) { g.slot[i] = (uint32_t)l->v[i]; g.path[i] = e->slot.v[l->v[i]].s.name; }
  KD_PUSH(e->a, e->build->group, g);
  kd__emit(e, KD_CODE_SAVE, (int64_t)e->build->group.n - 1, kd__add_string(e, file), 0, n);
}

void kd__save(elab *e, scope *s, const kd_ast *n) {
  const char *file;
  models m = { 0 };
  slot_list reached = { 0 };
  def *whole = composed(e, s, n->kid[0]);
  if (whole ? !kd__reached_by(e, whole, n->kid[0], &reached) : !kd__models(e, s, n->kid[0], &m)) return;
  if (!kd__want_str(e, kd__eval(e, s, n->kid[1]), n->kid[1], "the file", &file)) return;
  size_t len = strlen(file);
  if (len < 13 || strcmp(file + len - 12, ".safetensors") != 0 || strchr(file, '/')) {
    kd_diag *d = kd__err(e, KD_D_SAVE_NAME, n->kid[1]->span, file);
    kd__diag_help(e->sink, d, "it is written to the run's folder: save S to \"student.safetensors\"");
    return;
  }
  kd__flow_cut(e, n);
  if (whole) { save_slots(e, whole, &reached, file, n); return; }
  const char *name = m.n ? m.v[0]->place->path : e->slot.v[m.what.v[0].slot].s.name;
  kd__emit(e, KD_CODE_SAVE, kd__add_group(e, name, &m, false, m.what.n == 1 && m.n == 1), kd__add_string(e, file), 0, n);
  kd__unhit(e, &m.what);
  kd__unhit(e, &m.except);
}
