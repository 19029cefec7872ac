/* step.c: one training step: what it trains, its gradients, its optimizer over the flat parameters, what commits. */
#include "compiler/elaborate/builtin.h"
#include "compiler/elaborate/scheme.h"
#include <fnmatch.h>

/* --- models -------------------------------------------------------------------------------------------------------------------- */
static net *base_of(net *w) { return w->base ? w->base : w; }

static bool add_models(elab *e, val *v, const kd_ast *at, models *out) {
  if (v->kind == V_POISON) return false;
  if (v->kind == V_LIST) {
    for (uint32_t i = 0; i < v->u.list.n; i++) if (!add_models(e, v->u.list.v[i], at, out)) return false;
    return true;
  }
  if (v->kind != V_NET) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "a step", "networks to train", kd__v_show(e, v));
    if (v->kind == V_APP) kd__diag_help(e->sink, d, "name the network, not its application: %s", v->u.app->net->place->path);
    return false;
  }
  if (v->u.net->with) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "a step", "networks to train", "a network at other parameters");
    kd__diag_help(e->sink, d, "train `%s`, whose parameters those are computed from", v->u.net->place->path);
    return false;
  }
  net *w = base_of(v->u.net);
  for (size_t i = 0; i < out->n; i++)
    if (out->v[i] == w) { kd__err(e, KD_D_DUPLICATE, at->span, w->place->path); return false; }
  KD_PUSH(e->a, *out, w);
  return true;
}

bool kd__models(elab *e, scope *s, const kd_ast *n, models *out) {
  bool ok = true;
  for (uint32_t i = 0; i < n->n; i++) ok = add_models(e, kd__eval(e, s, n->kid[i]), n->kid[i], out) && ok;
  return ok;
}

/* --- what a step trains (design 2.7, rule 4) -------------------------------------------------------------------------------------- */
static bool listed(const models *m, const net *w) {
  for (size_t i = 0; i < m->n; i++) if (m->v[i] == w) return true;
  return false;
}

static bool trainable(const slot_info *s, const models *m) {
  if (s->s.kind != KD_SLOT_PARAM || s->frozen) return false;
  const net *w = s->owner->root_net;
  if (w && w->frozen) return false;
  return listed(m, w) || !w || strcmp(w->role, "transform") == 0;
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
    if (!trainable(&e->slot.v[i], m)) continue;
    KD_PUSH(e->a, *out, (int64_t)i);
    for (size_t k = out->n - 1; k > 0 && kd__slot_rank(e, out->v[k - 1]) > kd__slot_rank(e, out->v[k]); k--) {
      int64_t t = out->v[k]; out->v[k] = out->v[k - 1]; out->v[k - 1] = t;
    }
  }
}

static void report_unreached(elab *e, const net *w, const kd_ast *models_ast, const kd_ast *loss) {
  kd_span at = models_ast->span;
  for (uint32_t i = 0; i < models_ast->n; i++)
    if (models_ast->kid[i]->kind == KD_AST_NAME && strcmp(models_ast->kid[i]->text, w->place->path) == 0) at = models_ast->kid[i]->span;
  kd_diag *d = kd__err(e, KD_D_NOT_REACHED, at, w->place->path);
  kd__diag_label(e->sink, d, loss->span, "this loss");
  kd__diag_help(e->sink, d, w->frozen ? "`%s` is frozen: unfreeze it first" : "apply `%s` in the loss, or leave it out of the list; behind `stop` nothing is trained", w->place->path);
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
    if (!kd__reaches_past(p->g, kd__slot_input(e, p, slot), loss, past)) return false;
    const net *w = e->slot.v[slot].owner->root_net;
    kd_diag *d = kd__err(e, KD_D_STALE, at->span, w ? w->place->path : e->slot.v[slot].s.name);
    kd__diag_help(e->sink, d, "compute it again after the step, or stop(...) it");
    return true;
  }
  return false;
}

typedef struct reached { slots slot; KD_VEC(kd_value) now; KD_VEC(kd_value) grad; } reached;

static bool differentiate(elab *e, tensor *loss, const models *m, const kd_ast *models_ast, const kd_ast *loss_ast, reached *out) {
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
  for (size_t k = 0; k < m->n && ok; k++) {
    bool found = false;
    for (size_t i = 0; i < out->slot.n && !found; i++) found = e->slot.v[out->slot.v[i]].owner->root_net == m->v[k];
    if (!found) { report_unreached(e, m->v[k], models_ast, loss_ast); ok = false; }
  }
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

static void unflatten(elab *e, const reached *r, tensor *now, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  int64_t start = 0, step = 1;
  for (size_t i = 0; i < r->slot.n; i++) {
    int64_t n = count_of(e, r->slot.v[i]);
    const kd_type *t = &e->slot.v[r->slot.v[i]].s.type;
    kd_value v = r->slot.n == 1 ? now->v : kd__b_slice(&b, now->v, &start, &n, &step);
    kd__slot_set(e, e->prog, r->slot.v[i], kd__b_reshape(&b, v, t->dim, t->rank), at);
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
static void commit_step(elab *e, const models *m, size_t own, const kd_ast *at) {
  prog *p = e->prog;
  size_t kept = 0;
  for (size_t i = 0; i < p->pending.n; i++) {
    if (p->pending.v[i].trial) continue;         /* what a gradient or a virtual step only tried */
    const net *w = p->pending.v[i].owner->root_net;
    if (!w || strcmp(w->role, "transform") == 0 || listed(m, w)) kd__slot_set(e, p, p->pending.v[i].slot, p->pending.v[i].value, at);
    else if (i < own) p->pending.v[kept++] = p->pending.v[i];
  }
  p->pending.n = kept;
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

bool kd__train_step(elab *e, scope *s, const models *m, const kd_ast *models_ast, const kd_ast *loss_ast, const kd_ast *using_ast, place *home) {
  prog *p = e->prog;
  size_t memo_from = p->memo.n, own = p->pending.n;
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
  val *opt = using_ast ? kd__eval(e, s, using_ast) : default_optimizer(e, models_ast);
  if (opt->kind == V_POISON) return false;
  if (opt->kind != V_SPEC) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, using_ast->span, "`using`", "an optimizer", kd__v_show(e, opt));
    (void)kd__library_help(e, d, "optimizer", 0);
    return false;
  }
  reached r = { 0 };
  if (!differentiate(e, loss, m, models_ast, loss_ast, &r)) return false;
  int64_t total = 0;
  for (size_t i = 0; i < r.slot.n; i++) total += count_of(e, r.slot.v[i]);
  axis ax = { kd__intern(e, "P"), total, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
  tensor *param = flat(e, &r, r.now.v, ax, models_ast), *grad = flat(e, &r, r.grad.v, ax, models_ast);
  step_ctx st = { &r.slot };
  e->opt_ctx.step = &st;
  e->opt_ctx.place = home;
  val *now = kd__run_optimizer(e, opt->u.spec, kd__v_tensor(e, param), kd__v_tensor(e, grad), 0, using_ast);
  e->opt_ctx.step = NULL;
  if (now->kind != V_TENSOR) return false;
  unflatten(e, &r, now->u.t, models_ast);
  commit_step(e, m, own, models_ast);
  char name[32] = "loss";
  for (int k = 2;; k++) {
    bool taken = false;
    for (size_t i = 0; i < p->g->result.n; i++) taken = taken || strcmp(p->g->result.v[i].name, name) == 0;
    if (!taken) break;
    (void)snprintf(name, sizeof name, "loss%d", k);
  }
  kd__graph_result(p->g, kd__arena_strndup(e->a, name, strlen(name)), loss->v);
  name_terms(e, memo_from);
  p->clock++;
  return true;
}
