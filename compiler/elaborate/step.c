/* step.c: one training step: what it trains, its gradients, its optimizer over the flat parameters, what commits. */
#include "compiler/elaborate/builtin.h"
#include "compiler/elaborate/scheme.h"
#include <fnmatch.h>

/* --- what statements name ---------------------------------------------------------------------------------------------------------- */
static net *base_of(net *w) { return w->base ? w->base : w; }

bool kd__has_net(const models *m, const net *w) {
  for (size_t i = 0; i < m->n; i++) if (m->v[i] == w) return true;
  return false;
}

static void add_model(elab *e, models *out, net *w) {
  if (!kd__has_net(out, w)) KD_PUSH(e->a, *out, w);
}

static bool add_target(elab *e, targets *to, mention t) {
  for (size_t i = 0; i < to->n; i++)
    if (t.net && to->v[i].net == t.net) { kd__err(e, KD_D_DUPLICATE, t.at->span, t.net->place->path); return false; }
  KD_PUSH(e->a, *to, t);
  return true;
}

/* The parameter or state that a value is, read as it is (S.head.W, a parameter of the experiment), or -1. */
int64_t kd__read_from(elab *e, const val *v) {
  if (v->kind != V_TENSOR || v->u.t->in != e->probe) return -1;            /* names are looked up there; a value that was read before is none */
  const kd_node *n = kd__node_of(v->u.t->in->g, v->u.t->v);
  if (n->op != KD_OP_INPUT || kd__is_open(e, n)) return -1;
  int64_t slot = kd__attr(n, "slot")->u.i;
  return e->slot.v[slot].s.kind == KD_SLOT_PARAM || e->slot.v[slot].s.kind == KD_SLOT_STATE ? slot : -1;
}

static bool add_value(elab *e, val *v, const kd_ast *at, targets *to, models *out) {
  if (v->kind == V_POISON) return false;
  if (v->kind == V_LIST) {
    for (uint32_t i = 0; i < v->u.list.n; i++) if (!add_value(e, v->u.list.v[i], at, to, out)) return false;
    return true;
  }
  if (v->kind == V_PART) {
    if (out) add_model(e, out, v->u.part->top->root_net);
    return add_target(e, to, (mention){ .v = v, .part = v->u.part, .slot = -1, .at = at });
  }
  int64_t slot = kd__read_from(e, v);
  if (slot >= 0) {
    if (out && e->slot.v[slot].owner->root_net) add_model(e, out, e->slot.v[slot].owner->root_net);
    return add_target(e, to, (mention){ .v = v, .slot = slot, .at = at });
  }
  if (v->kind != V_NET) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "this statement", "networks, or parameters and states of the experiment", kd__v_show(e, v));
    if (v->kind == V_APP) kd__diag_help(e->sink, d, "name the network, not its application: %s", v->u.app->net->place->path);
    return false;
  }
  if (v->u.net->with) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "a step", "networks to train", "a network at other parameters");
    kd__diag_help(e->sink, d, "train `%s`, whose parameters those are computed from", v->u.net->place->path);
    return false;
  }
  if (out) add_model(e, out, base_of(v->u.net));
  return add_target(e, to, (mention){ .v = v, .net = base_of(v->u.net), .slot = -1, .at = at });
}

static bool add_named(elab *e, scope *s, const kd_ast *n, targets *to, models *out) {
  if (n->kind == KD_AST_STRING) return add_target(e, to, (mention){ .pattern = n->text, .slot = -1, .at = n });
  return add_value(e, kd__eval(e, s, n), n, to, out);
}

bool kd__models(elab *e, scope *s, const kd_ast *n, models *out) {
  bool ok = true;
  prog *up = e->prog;
  e->prog = e->probe;                            /* names of networks, no computation */
  for (uint32_t i = 0; i < n->n; i++) {
    const kd_ast *k = n->kid[i];
    if (k->kind != KD_AST_EXCEPT) { ok = add_named(e, s, k, &out->what, out) && ok; continue; }
    for (uint32_t j = 0; j < k->n; j++) ok = add_named(e, s, k->kid[j], &out->except, NULL) && ok;
  }
  e->prog = up;
  return ok;
}

static bool covers(const elab *e, const mention *t, int64_t slot) {
  const slot_info *s = &e->slot.v[slot];
  if (t->net) return s->owner->root_net == t->net;
  if (t->part) return kd__part_owns(e, t->part, (size_t)slot);
  if (t->pattern) return fnmatch(t->pattern, s->s.name, 0) == 0;
  return t->slot == slot;
}

bool kd__covers(elab *e, const targets *t, int64_t slot) {
  bool hit = false;
  for (size_t i = 0; i < t->n; i++) if (covers(e, &t->v[i], slot)) hit = t->v[i].hit = true;
  return hit;
}

bool kd__mentioned(elab *e, const models *m, int64_t slot) { return kd__covers(e, &m->what, slot) && !kd__covers(e, &m->except, slot); }

void kd__unhit(elab *e, const targets *t) {
  for (size_t i = 0; i < t->n; i++) {
    if (t->v[i].hit) continue;
    kd_diag *d = kd__err(e, KD_D_MATCHES_NOTHING, t->v[i].at->span);
    for (size_t k = 0; k < e->slot.n; k++)
      if (e->slot.v[k].s.kind == KD_SLOT_PARAM) { kd__diag_help(e->sink, d, "parameters are named like %s; a pattern takes * for any characters", e->slot.v[k].s.name); break; }
  }
}

/* --- what a step trains (design 2.7, rule 4) -------------------------------------------------------------------------------------- */
/* Does a rule hold for all that lies at a place? */
static bool place_in(const targets *t, const place *p) {
  for (size_t i = 0; i < t->n; i++) {
    const mention *m = &t->v[i];
    size_t n = m->part ? strlen(m->part->path) : 0;
    if (m->net && m->net == p->root_net) return true;
    if (m->part && kd__within(p, m->part->top) && strncmp(p->path, m->part->path, n) == 0 && (!p->path[n] || p->path[n] == '.')) return true;
  }
  return false;
}

bool kd__place_frozen(elab *e, const place *p) {
  bool on = false;
  for (size_t i = 0; i < e->build->frozen.n; i++) {
    const freeze_rule *r = &e->build->frozen.v[i];
    if (place_in(&r->what, p) && !place_in(&r->except, p)) on = r->on;
  }
  return on;
}

bool kd__slot_frozen(elab *e, int64_t slot) {
  bool on = false;
  for (size_t i = 0; i < e->build->frozen.n; i++) {
    const freeze_rule *r = &e->build->frozen.v[i];
    if (kd__covers(e, &r->what, slot) && !kd__covers(e, &r->except, slot)) on = r->on;
  }
  return on;
}

static bool trainable(elab *e, int64_t slot, const models *m) {
  const slot_info *s = &e->slot.v[slot];
  if (s->s.kind != KD_SLOT_PARAM) return false;
  const net *w = s->owner->root_net;
  bool free = !s->apart && (!w || strcmp(w->role, "transform") == 0);
  bool named = kd__covers(e, &m->what, slot), without = (named || free) && kd__covers(e, &m->except, slot);
  return (named || free) && !without && !kd__slot_frozen(e, slot);
}

/* Parameters lie in memory network by network; a step's flat vector follows that order, so that it is the memory itself. */
int64_t kd__slot_rank(elab *e, int64_t slot) {
  const net *w = e->slot.v[slot].owner->root_net;
  int64_t k = (int64_t)e->nets.n;
  for (size_t i = 0; w && i < e->nets.n; i++) if (e->nets.v[i] == w) k = (int64_t)i;
  return k * ((int64_t)1 << 32) + slot;
}

static void candidates(elab *e, const models *m, slots *out) {
  for (size_t i = 0; i < e->slot.n; i++) {
    if (!trainable(e, (int64_t)i, m)) continue;
    KD_PUSH(e->a, *out, (int64_t)i);
    for (size_t k = out->n - 1; k > 0 && kd__slot_rank(e, out->v[k - 1]) > kd__slot_rank(e, out->v[k]); k--) {
      int64_t t = out->v[k]; out->v[k] = out->v[k - 1]; out->v[k - 1] = t;
    }
  }
}

static void report_unreached(elab *e, const mention *t, const kd_ast *loss) {
  const net *w = t->net;
  const char *name = w ? w->place->path : t->part ? t->part->path : e->slot.v[t->slot].s.name;
  bool off = t->slot >= 0 && kd__slot_frozen(e, t->slot), any = false;
  for (size_t i = 0; t->slot < 0 && i < e->slot.n; i++)
    if (e->slot.v[i].s.kind == KD_SLOT_PARAM && covers(e, t, (int64_t)i)) { off = (!any || off) && kd__slot_frozen(e, (int64_t)i); any = true; }
  kd_diag *d = kd__err(e, KD_D_NOT_REACHED, t->at->span, name);
  kd__diag_label(e->sink, d, loss->span, "this loss");
  kd__diag_help(e->sink, d, off ? "`%s` is frozen: unfreeze it first" : w ? "apply `%s` in the loss, or leave it out of the list; behind `stop`, `argmax` and comparisons, and by metrics, nothing is trained"
                                                                       : "use `%s` in the loss, or leave it out of the list; behind `stop`, `argmax` and comparisons, and by metrics, nothing is trained", name);
}

/* What parameters and states are by now: a loss that reaches the old ones through these alone is right. */
static bool *updated(elab *e, const prog *p) {
  bool *past = KD_NEWN(e->a, bool, p->g->type.n);
  for (size_t i = 0; i < p->version.n; i++) past[p->version.v[i].now] = true;
  return past;
}

/* A value made before its model was updated: its gradient would belong to parameters that are gone (rule 1). */
static bool stale(elab *e, int64_t slot, kd_value loss, const bool *past, const kd_ast *at) {
  prog *p = e->prog;
  for (size_t i = 0; i < p->version.n; i++) {
    if (p->version.v[i].slot != slot) continue;
    KD_VEC(kd_value) from = { 0 };
    KD_PUSH(e->a, from, kd__slot_input(e, p, slot));
    for (size_t k = 0; k < p->past.n; k++) if (p->past.v[k].slot == slot) KD_PUSH(e->a, from, p->past.v[k].now);
    if (!kd__reaches_past(p->g, from.v, from.n, loss, past)) return false;
    const net *w = e->slot.v[slot].owner->root_net;
    kd_diag *d = kd__err(e, KD_D_STALE, at->span, w ? w->place->path : e->slot.v[slot].s.name);
    kd__diag_help(e->sink, d, "compute it again after the step, or stop(...) it");
    return true;
  }
  return false;
}

typedef struct reached { slots slot; KD_VEC(kd_value) now; KD_VEC(kd_value) grad; } reached;

/* A value of an earlier program that depends on what is trained here: no gradient flows through it. */
static bool through_carried(elab *e, const slots *all, kd_value loss, const kd_ast *at) {
  kd_graph *g = e->prog->g;
  for (size_t i = 1; i <= g->def.v[loss]; i++) {
    const kd_node *n = &g->node.v[i];
    int64_t slot = kd__value_read(e, n), param = slot >= 0 && kd__reaches(g, n->out, loss) ? kd__carried_from(e, slot, all) : -1;
    if (param < 0) continue;
    const net *w = e->slot.v[param].owner->root_net;
    kd_diag *d = kd__err(e, KD_D_CARRIED, at->span, w ? w->place->path : e->slot.v[param].s.name);
    if (e->slot.v[slot].at.src) kd__diag_label(e->sink, d, e->slot.v[slot].at, "computed here");
    kd__diag_help(e->sink, d, "compute it again after the branch or loop, or stop(...) it");
    return true;
  }
  return false;
}

static bool differentiate(elab *e, tensor *loss, const models *m, const kd_ast *loss_ast, reached *out) {
  slots all = { 0 };
  candidates(e, m, &all);
  kd_value *wrt = KD_NEWN(e->a, kd_value, all.n), *grad = KD_NEWN(e->a, kd_value, all.n);
  for (size_t i = 0; i < all.n; i++) wrt[i] = kd__slot_now(e, all.v[i], loss_ast);
  kd_grad_error err;
  if (!kd__gradients(e->prog->g, loss->v, wrt, all.n, grad, kd__origin(e, loss_ast->span), &err)) {
    kd__no_gradient(e, &err, loss_ast);
    return false;
  }
  bool ok = true;
  for (size_t i = 0; i < all.n; i++) {
    if (!grad[i]) continue;
    KD_PUSH(e->a, out->slot, all.v[i]);
    KD_PUSH(e->a, out->now, wrt[i]);
    KD_PUSH(e->a, out->grad, grad[i]);
  }
  const bool *past = e->prog->version.n ? updated(e, e->prog) : NULL;
  for (size_t i = 0; i < all.n && ok && past; i++) if (stale(e, all.v[i], loss->v, past, loss_ast)) ok = false;
  if (ok && through_carried(e, &all, loss->v, loss_ast)) ok = false;
  for (size_t k = 0; k < m->what.n && ok; k++) {
    bool found = m->what.v[k].pattern != NULL;
    for (size_t i = 0; i < out->slot.n && !found; i++) found = covers(e, &m->what.v[k], out->slot.v[i]);
    if (!found) { report_unreached(e, &m->what.v[k], loss_ast); ok = false; }
  }
  if (ok) kd__unhit(e, &m->except);
  return ok;
}

/* --- the flat vector -------------------------------------------------------------------------------------------------------------- */
static int64_t count_of(elab *e, int64_t slot) { return kd__type_count(&e->slot.v[slot].s.type); }

static tensor *flat(elab *e, const reached *r, const kd_value *v, axis ax, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  kd_value *part = KD_NEWN(e->a, kd_value, r->slot.n);
  for (size_t i = 0; i < r->slot.n; i++) {
    int64_t n = count_of(e, r->slot.v[i]);
    part[i] = kd__b_reshape(&b, v[i], &n, 1);
  }
  kd_value f = r->slot.n == 1 ? part[0] : kd__b_concat(&b, part, (int)r->slot.n, 0);
  return kd__t_wrap(e, f, &ax, 1, at);
}

static void note_trained(elab *e, int64_t slot) {
  mod_build *b = e->build;
  if (!b->stage.n) return;
  stage_slot s = { (uint32_t)b->stage.n - 1, (uint32_t)slot };
  for (size_t i = 0; i < b->trains.n; i++) if (b->trains.v[i].stage == s.stage && b->trains.v[i].slot == s.slot) return;
  KD_PUSH(e->a, b->trains, s);
}

static void unflatten(elab *e, const reached *r, tensor *now, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  int64_t start = 0, step = 1;
  for (size_t i = 0; i < r->slot.n; i++) {
    int64_t n = count_of(e, r->slot.v[i]);
    const kd_type *t = &e->slot.v[r->slot.v[i]].s.type;
    kd_value v = r->slot.n == 1 ? now->v : kd__b_slice(&b, now->v, &start, &n, &step);
    kd__slot_set(e, e->prog, r->slot.v[i], kd__b_reshape(&b, v, t->dim, t->rank), at);
    note_trained(e, r->slot.v[i]);
    start += n;
  }
}

val *kd__param_mask(elab *e, const char *pattern, const kd_ast *at) {
  const step_ctx *st = e->opt_ctx.step;
  kd_build b = kd__b(e, at);
  const tensor *pv = e->opt_ctx.pv->u.t;
  if (!st->slot->n) return kd__v_tensor(e, kd__t_const(e, 1, e->opt->real, pv->ax, pv->rank, at));   /* an optimizer checked by itself */
  kd_value *part = KD_NEWN(e->a, kd_value, st->slot->n);
  bool any = false;
  for (size_t i = 0; i < st->slot->n; i++) {
    int64_t n = count_of(e, st->slot->v[i]);
    bool hit = fnmatch(pattern, e->slot.v[st->slot->v[i]].s.name, 0) == 0;
    any = any || hit;
    part[i] = kd__b_const(&b, hit, e->opt->real, &n, 1);
  }
  if (!any && *pattern) {
    kd_diag *d = kd__err(e, KD_D_PATTERN, at->span, pattern);
    kd__diag_help(e->sink, d, "parameters are named like %s", e->slot.v[st->slot->v[0]].s.name);
    return &kd__poison;
  }
  kd_value f = st->slot->n == 1 ? part[0] : kd__b_concat(&b, part, (int)st->slot->n, 0);
  return kd__v_tensor(e, kd__t_wrap(e, f, e->opt_ctx.pv->u.t->ax, 1, at));
}

/* --- commits ------------------------------------------------------------------------------------------------------------------------ */
/* Updates of this step's networks, of losses and of the optimizer commit. Those of other networks never do when this step's loss made them
 * (from `own` on); made before it, by a value of the batch, they wait for the step that trains their network. */
/* A state of one formula that two steps of a batch write moves twice. */
static void note_commit(elab *e, int64_t slot, const kd_ast *by) {
  mod_build *b = e->build;
  for (size_t i = 0; i < b->committed.n; i++) {
    committed *c = &b->committed.v[i];
    if (c->slot != slot || c->by == by || (c->arm != b->arm && c->arm && b->arm)) continue;
    kd_diag *d = kd__err(e, KD_D_STATE_TWICE, by->span, e->slot.v[slot].s.name);
    kd__diag_label(e->sink, d, c->by->span, "this step writes it, too");
    kd__diag_help(e->sink, d, "compute it once for both, let v = ... above them, or call its definition for each step");
    return;
  }
  KD_PUSH(e->a, b->committed, (committed){ slot, by, b->arm });
}

/* An application above a decision waited for a step that trains its network, and this one does not apply the network again. */
static void say_lost(elab *e, const models *m, const kd_ast *at) {
  mod_build *b = e->build;
  size_t kept = 0, said = 0;
  for (size_t i = 0; i < b->dropped.n; i++) {
    const pending u = b->dropped.v[i];
    const net *w = u.owner->root_net;
    bool moved = false, due = kd__has_net(m, w) && !kd__place_frozen(e, u.owner);
    for (size_t k = 0; k < e->prog->version.n && due; k++) moved = moved || e->prog->version.v[k].slot == u.slot;
    if (!due) b->dropped.v[kept++] = u;
    else if (!moved && said++ == 0) {
      kd_diag *d = kd__err(e, KD_D_UPDATE_LOST, at->span, w->place->path, e->slot.v[u.slot].s.name);
      kd__diag_label(e->sink, d, u.at, "this update");
      kd__diag_help(e->sink, d, "a decision, a loop or an evaluation ends a program: apply `%s` below it, or make the step above it", w->place->path);
    }
  }
  b->dropped.n = kept;
}

static void commit_step(elab *e, const models *m, size_t own, const kd_ast *at) {
  prog *p = e->prog;
  size_t kept = 0;
  for (size_t i = 0; i < p->pending.n; i++) {
    if (p->pending.v[i].trial) continue;         /* what a gradient or a virtual step only tried */
    const pending *u = &p->pending.v[i];
    const net *w = u->owner->root_net;
    if (!kd__place_frozen(e, u->owner) && (!w || strcmp(w->role, "transform") == 0 || kd__has_net(m, w))) {
      kd__slot_set(e, p, u->slot, u->value, at);
      if (u->owner->in_loss && e->slot.v[u->slot].s.kind == KD_SLOT_STATE) note_commit(e, u->slot, at);
    } else if (i < own) {
      p->pending.v[kept++] = p->pending.v[i];
    }
  }
  p->pending.n = kept;
  say_lost(e, m, at);
}

static void name_terms(elab *e, size_t memo_from) {
  prog *p = e->prog;
  for (size_t i = memo_from; i < p->memo.n; i++) {
    const binding *b = p->memo.v[i].key;
    val *v = kd__force_app(p->memo.v[i].v);
    if (b->at && b->at->kind == KD_AST_BIND && strcmp(b->at->text2, "loss") == 0 && v->kind == V_TENSOR && v->u.t->rank == 0 && kd__dtype_real(v->u.t->dtype))
      kd__graph_result(p->g, b->name, v->u.t->v);
  }
}

static val *default_optimizer(elab *e, const kd_ast *at) {
  kd_diag *d = kd__err(e, KD_D_NO_OPTIMIZER, at->span);
  (void)kd__library_help(e, d, "optimizer", 0);
  return &kd__poison;
}

/* A named optimizer is shared and kept: one for each set of parameters, over steps and stages (rule 17). */
static place *shared_home(elab *e, const spec *o, const kd_ast *name, const slots *of) {
  uint64_t loop = e->loop;
  e->loop = kd__mix(o->loop, kd__hash(of->v, sizeof *of->v * of->n, 0));
  place *p = kd__place_at(e, e->top, o->at, kd__arena_printf(e->a, "optimizer.%.*s", (int)name->span.len, name->span.src->text + name->span.at), o->def->name);
  e->loop = loop;
  return p;
}

static val *optimizer_of(elab *e, scope *s, const kd_ast *using_ast, const kd_ast *models_ast) {
  val *opt = using_ast ? kd__eval(e, s, using_ast) : default_optimizer(e, models_ast);
  if (opt->kind == V_POISON) return NULL;
  if (opt->kind != V_SPEC) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, using_ast->span, "`using`", "an optimizer", kd__v_show(e, opt));
    (void)kd__library_help(e, d, "optimizer", 0);
    return NULL;
  }
  return opt;
}

/* Optimizer states belong to the step as it is written and to the parameters that it trains, whatever turn of a static loop it is in (rule 17). */
place *kd__step_home(elab *e, const kd_ast *n) {
  uint64_t loop = e->loop;
  const char *turns = e->turns;
  e->loop = 0; e->turns = "";
  place *p = kd__place_at(e, e->build->home, n, "step", "step");
  e->loop = loop; e->turns = turns;
  return p;
}

/* The optimizer over the flat parameters. */
static bool apply(elab *e, reached *r, spec *o, const kd_ast *using_ast, place *home, const kd_ast *models_ast) {
  int64_t total = 0;
  for (size_t i = 0; i < r->slot.n; i++) total += count_of(e, r->slot.v[i]);
  axis ax = { kd__intern(e, "P"), total, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
  tensor *param = flat(e, r, r->now.v, ax, models_ast), *grad = flat(e, r, r->grad.v, ax, models_ast);
  step_ctx st = { kd__arena_copy(e->a, &r->slot, sizeof r->slot) };
  e->opt_ctx.step = &st;
  e->opt_ctx.place = using_ast->kind == KD_AST_CALL ? home : shared_home(e, o, using_ast, &r->slot);
  uint64_t loop = e->loop;
  e->loop = kd__hash(r->slot.v, sizeof *r->slot.v * r->slot.n, 1);              /* a scheme called for two networks has one for each, too */
  val *now = kd__run_optimizer(e, o, kd__v_tensor(e, param), kd__v_tensor(e, grad), 0, using_ast);
  e->loop = loop;
  e->opt_ctx.step = NULL;
  if (now->kind != V_TENSOR) return false;
  unflatten(e, r, now->u.t, models_ast);
  return true;
}

bool kd__train_step(elab *e, scope *s, const models *m, const kd_ast *models_ast, const kd_ast *loss_ast, const kd_ast *using_ast, place *home) {
  prog *p = e->prog;
  size_t memo_from = p->memo.n, own = p->pending.n;
  kd__spend(e, (int64_t)p->g->node.n / 8);       /* each step looks through all that its program does before */
  if (kd__over_budget(e, p, models_ast->span)) { kd__give_up(e); return false; }
  val *lv = kd__eval(e, s, loss_ast);
  if (lv->kind == V_POISON) return false;
  tensor *loss = kd__want_tensor(e, lv, loss_ast);
  if (!loss) return false;
  if (loss->rank) {
    kd_diag *d = kd__err(e, KD_D_NOT_SCALAR, loss_ast->span, "what a step minimises", kd__t_show(e, loss));
    kd__diag_help(e->sink, d, "mean(...) makes a scalar of it");
    return false;
  }
  loss = kd__t_cast(e, loss, e->opt->real, loss_ast);
  val *opt = optimizer_of(e, s, using_ast, models_ast);
  if (!opt) return false;
  reached r = { 0 };
  if (!differentiate(e, loss, m, loss_ast, &r) || !apply(e, &r, opt->u.spec, using_ast, home, models_ast)) return false;
  commit_step(e, m, own, models_ast);
  char name[32] = "loss";
  if (e->build->losses++) (void)snprintf(name, sizeof name, "loss%u", e->build->losses);
  kd__graph_result(p->g, kd__arena_strndup(e->a, name, strlen(name)), loss->v);
  name_terms(e, memo_from);
  p->clock++;
  p->steps++;
  e->build->steps++;
  return true;
}

/* The gradient's leaves by the parameters that they belong to, in the order of memory. */
static bool given_gradient(elab *e, scope *s, const models *m, const kd_ast *n, reached *out) {
  const kd_ast *at = n->kid[1];
  val *g = kd__eval(e, s, at), **v = KD_NEWN(e->a, val *, m->what.n);
  if (g->kind == V_POISON) return false;
  tree *have;
  for (size_t i = 0; i < m->what.n; i++) v[i] = m->what.v[i].v;
  bool one = m->what.n == 1, apart = one && m->what.v[0].slot >= 0;
  if (apart) {
    have = KD_NEW(e->a, tree);
    *have = (tree){ KD_NEW(e->a, leaf), 1, NULL };
    have->leaf[0] = (leaf){ "", kd__read_slot(e, m->what.v[0].slot, at)->u.t, m->what.v[0].slot };
    tensor *t = kd__want_tensor(e, g, at);
    t = t ? kd__t_align(e, t, have->leaf[0].t, at) : NULL;
    if (!t) return false;
    leaf l = { "", t, -1 };
    g = kd__v_tree(e, kd__arena_copy(e->a, &l, sizeof l), 1, NULL);
  } else {
    have = kd__tree_of(e, one ? v[0] : kd__v_list(e, v, (uint32_t)m->what.n), n->kid[0]);
  }
  tree *given = have ? kd__tree_of(e, g, at) : NULL;
  tensor **t = given ? kd__alike(e, have, given, at) : NULL;
  if (!t) return false;
  kd_build b = kd__b(e, at);
  for (uint32_t i = 0; i < have->n; i++) {
    int64_t slot = have->leaf[i].slot;
    if (!trainable(e, slot, m)) continue;
    KD_PUSH(e->a, out->slot, slot);
    KD_PUSH(e->a, out->now, kd__slot_now(e, slot, at));
    KD_PUSH(e->a, out->grad, kd__b_op1(&b, KD_OP_STOP, t[i]->v));
    for (size_t k = out->slot.n - 1; k > 0 && kd__slot_rank(e, out->slot.v[k - 1]) > kd__slot_rank(e, out->slot.v[k]); k--) {
      int64_t x = out->slot.v[k]; out->slot.v[k] = out->slot.v[k - 1]; out->slot.v[k - 1] = x;
      kd_value y = out->now.v[k]; out->now.v[k] = out->now.v[k - 1]; out->now.v[k - 1] = y;
      y = out->grad.v[k]; out->grad.v[k] = out->grad.v[k - 1]; out->grad.v[k - 1] = y;
    }
  }
  for (size_t k = 0; k < m->what.n; k++) {
    bool found = false;
    for (size_t i = 0; i < out->slot.n && !found; i++) found = covers(e, &m->what.v[k], out->slot.v[i]);
    if (!found) { report_unreached(e, &m->what.v[k], at); return false; }
  }
  kd__unhit(e, &m->except);
  return true;
}

bool kd__step_along(elab *e, scope *s, const models *m, const kd_ast *n, place *home) {
  const kd_ast *using_ast = n->n > 2 ? n->kid[2] : NULL;
  size_t own = e->prog->pending.n;
  val *opt = optimizer_of(e, s, using_ast, n->kid[0]);
  reached r = { 0 };
  if (!opt || !given_gradient(e, s, m, n, &r) || !apply(e, &r, opt->u.spec, using_ast, home, n->kid[0])) return false;
  commit_step(e, m, own, n->kid[0]);
  e->prog->clock++;
  e->prog->steps++;
  e->build->steps++;
  return true;
}
