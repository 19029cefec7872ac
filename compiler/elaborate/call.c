/* call.c: calls: running bodies, networks made and applied, optimizers. */
#include "compiler/elaborate/call.h"

/* --- running bodies ---------------------------------------------------------------------------------------------------------------- */
static val *check_return(elab *e, scope *in, const def *d, val *v, const kd_ast *at) {
  const kd_ast *type = d->ast->kid[1];
  if (!type || type->kind != KD_AST_TYPE || !type->n || !type->kid[0] || v->kind == V_POISON) return v;
  tensor *t = kd__want_tensor(e, v, at), out;
  if (!t || !kd__match_axes(e, in, type, t, NULL, at, "the result", &out, d->name)) return &kd__poison;
  val *r = kd__v_tensor(e, &out);
  if (v->kind != V_APP) return r;
  val *w = kd__v_new(e, V_APP);
  w->u.app = kd__arena_copy(e->a, v->u.app, sizeof *v->u.app);
  w->u.app->ret = r;
  return w;
}

static rule *without(elab *e, const rule *list, const rule *one) {
  if (!list) return NULL;
  rule *up = without(e, list->up, one);
  if (list == one || strcmp(list->name, one->name) == 0) return up;
  rule *r = kd__arena_copy(e->a, list, sizeof *list);
  r->up = up;
  return r;
}

static val *run_body(elab *e, scope *in, const def *d, const kd_ast *at) {
  const kd_ast *body = d->ast->kid[2];
  bool returned = e->returned, refused = e->refused;
  val *result = e->result;
  const char *turns = e->turns;
  rule *rules = e->rules;
  yielded *y = e->yielded;
  e->returned = e->refused = false; e->result = NULL; e->turns = ""; e->yielded = NULL;         /* the body's own place bears the turns around it */
  if (d->rule) e->rules = without(e, rules, d->rule);           /* a part that replaces another may name what it replaces */
  if (body->kind == KD_AST_BLOCK) kd__exec_block(e, in, body);
  else e->result = kd__eval(e, in, body);
  val *v = e->refused ? &kd__poison : e->result ? e->result : &kd__none;
  e->returned = returned; e->refused = refused; e->result = result; e->turns = turns; e->rules = rules; e->yielded = y;
  return check_return(e, in, d, v, at);
}

static frame *push_frame(elab *e, frame *f, const char *what, const place *p, const kd_ast *at) {
  kd__spend(e, KD__CALL_WORK);
  *f = (frame){ e->frame, what, at->span, e->frame ? e->frame->depth + 1 : 1, p };
  frame *kept = kd__arena_copy(e->a, f, sizeof *f);
  frame *up = e->frame;
  e->frame = kept;
  return up;
}

enum { CALLS_MAX = 200 };
static bool too_many_calls(elab *e, const char *name, const kd_ast *at) {
  if (!e->frame || e->frame->depth < CALLS_MAX) return false;
  if (e->frame->depth == CALLS_MAX) { e->frame->depth++; kd__err(e, KD_D_RECURSION, at->span, name); }
  return true;
}

static const char *call_name(elab *e, scope *s, const char *callee) {
  const char *as = s->bound_as ? s->bound_as : s->prefix;
  if (*e->turns) as = kd__arena_printf(e->a, "%s%s", as ? as : callee, e->turns);
  if (!as) return callee;
  return s->bound_as || (*e->turns && !s->prefix) ? as : kd__arena_printf(e->a, "%s.%s", as, callee);
}

/* A function whose parameter has axes, given a tree: it is called for each leaf. */
typedef struct leaf_call { scope *s; def *d; arg *a; uint32_t n; } leaf_call;
static val *call_def(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at);

static val *call_leaf(elab *e, void *ctx, const kd_ast *at, val **v) {
  const leaf_call *c = ctx;
  arg *a = kd__arena_copy(e->a, c->a, sizeof(arg) * (c->n + 1));
  for (uint32_t i = 0; i < c->n; i++) if (a[i].v) a[i].v = v[i];
  return call_def(e, c->s, c->d, a, c->n, at);
}

static bool takes_tree(elab *e, scope *s, const def *d, arg *a, uint32_t n) {
  const kd_ast *params = d->ast->kid[0];
  if (strcmp(d->word, "fn") != 0) return false;
  bool leaves = false, network = false, rows = false;
  uint32_t at = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = at;
    if (a[i].name) for (k = 0; k < params->n && strcmp(params->kid[k]->text, a[i].name) != 0;) k++;
    else at++;
    const kd_ast *type = k < params->n && params->kid[k]->n ? params->kid[k]->kid[0] : NULL;
    if (!type || type->kind != KD_AST_TYPE || !type->n || !type->kid[0]) continue;
    const val *v = kd__force_app(kd__arg_eval(e, s, &a[i]));
    leaves = leaves || v->kind == V_TREE || v->kind == V_PART;
    network = network || v->kind == V_NET;
    rows = rows || (v->kind == V_TENSOR && v->u.t->rank);
  }
  return leaves || (network && !rows);           /* beside a tensor a network is one that was forgotten to be applied */
}

static val *call_tree(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at) {
  leaf_call c = { s, d, a, n };
  val **v = KD_NEWN(e->a, val *, n + 1);
  for (uint32_t i = 0; i < n; i++) v[i] = a[i].v ? a[i].v : &kd__none;
  return kd__tree_map(e, at, v, n, call_leaf, &c);
}

/* The name of a definition's place: of what it stands for. */
static const char *called(const def *d) { return d->rule ? d->rule->name : d->name; }

static val *call_def(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at) {
  if (takes_tree(e, s, d, a, n)) return call_tree(e, s, d, a, n, at);
  if (too_many_calls(e, d->name, at)) return &kd__poison;
  place *p = kd__place_at(e, s->place, at, call_name(e, s, called(d)), d->name);
  if (strcmp(d->word, "loss") == 0 && !p->root_net) p->in_loss = true;
  scope *in = kd__scope_new(e, d->scope, p);
  in->definition = true;
  labels back = { 0 };
  frame f, *up = push_frame(e, &f, kd__arena_printf(e->a, "in `%s`, called here", d->name), p, at);
  val *v = &kd__poison;
  frame *inside = e->frame;
  e->frame = up;                                 /* argument errors belong to the caller */
  bool ok = kd__bind_params(e, s, in, d->ast->kid[0], NULL, 0, a, n, &back, at, d->name);
  e->frame = inside;
  if (ok) v = run_body(e, in, d, at);
  e->frame = up;
  return kd__back(e, &back, v, at, d->name);
}

static val *call_lambda(elab *e, scope *s, val *f, arg *a, uint32_t n, const kd_ast *at) {
  const kd_ast *l = f->u.lambda.ast;
  if (too_many_calls(e, "fn", at)) return &kd__poison;
  scope *in = kd__scope_new(e, f->u.lambda.scope, kd__place_at(e, s->place, at, call_name(e, s, "fn"), "fn"));
  in->definition = true;
  labels back = { 0 };
  if (!kd__bind_params(e, s, in, l->kid[0], NULL, 0, a, n, &back, at, "fn")) return &kd__poison;
  frame f2, *up = push_frame(e, &f2, "in a function called here", in->place, at);
  const char *turns = e->turns;
  rule *rules = e->rules;
  e->turns = "";
  if (f->u.lambda.rule) e->rules = without(e, rules, f->u.lambda.rule);
  val *v = kd__eval(e, in, l->kid[2]);
  e->turns = turns; e->rules = rules;
  e->frame = up;
  return kd__back(e, &back, v, at, "fn");
}

/* --- networks ------------------------------------------------------------------------------------------------------------------------ */
bool kd__fix_args(elab *e, scope *s, const def *d, arg *a, uint32_t n, arg **out, uint32_t *nout) {
  const kd_ast *params = d->ast->kid[0];
  arg *fixed = KD_NEWN(e->a, arg, params->n + 1);
  uint32_t nfixed = 0;
  bool ok = true;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = 0;
    if (a[i].name) while (k < params->n && strcmp(params->kid[k]->text, a[i].name) != 0) k++;
    else {                                       /* by position over what is not an input */
      uint32_t skip = 0;
      for (uint32_t j = 0; j < i; j++) skip += !a[j].name;
      while (k < params->n && (kd__is_input(params->kid[k]) || skip-- > 0)) k++;
    }
    if (k >= params->n) {
      if (a[i].name) kd__unknown_keyword(e, params, &a[i], d->name);
      else kd__err(e, KD_D_TOO_MANY_ARGS, a[i].ast->span, d->name, params->n);
      ok = false;
      continue;
    }
    fixed[nfixed++] = (arg){ params->kid[k]->text, kd__arg_eval(e, s, &a[i]), a[i].ast };
  }
  *out = fixed; *nout = nfixed;
  return ok;
}

net *kd__net_new(elab *e, scope *s, def *d, arg *fixed, uint32_t nfixed, rule *rules, const kd_ast *at) {
  net *w = KD_NEW(e->a, net);
  w->def = d; w->at = at; w->fixed = fixed; w->nfixed = nfixed; w->rules = rules;
  w->place = kd__place_at(e, s->place, at, call_name(e, s, called(d)), d->name);
  if (s->place == e->top && !w->place->root_net) {
    w->place->root_net = w;
    w->role = e->role ? e->role : "transform";
    KD_PUSH(e->a, e->nets, w);
  }
  return w;
}

static val *make_net(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at) {
  arg *fixed;
  uint32_t nfixed;
  if (!kd__fix_args(e, s, d, a, n, &fixed, &nfixed)) return &kd__poison;
  val *v = kd__v_new(e, V_NET);
  v->u.net = kd__net_new(e, s, d, fixed, nfixed, e->rules, at);
  return v;
}

/* `key: k` of an application, taken out of its arguments; not where the definition has such a parameter of its own. */
static arg *key_of(const net *w, arg *a, uint32_t *n) {
  const kd_ast *params = w->def->ast->kid[0];
  for (uint32_t k = 0; k < params->n; k++) if (strcmp(params->kid[k]->text, "key") == 0) return NULL;
  for (uint32_t i = 0; i < *n; i++) {
    if (!a[i].name || strcmp(a[i].name, "key") != 0) continue;
    arg key = a[i];
    memmove(a + i, a + i + 1, sizeof(arg) * (--*n - i));
    a[*n] = key;
    return &a[*n];
  }
  return NULL;
}

val *kd__apply_net(elab *e, scope *s, net *w, arg *a, uint32_t n, const kd_ast *at) {
  arg *own = kd__arena_copy(e->a, a, sizeof(arg) * (n + 1)), *given = key_of(w, own, &n);
  draw_key key, *up = e->key;
  if (given) {
    if (!kd__key_arg(e, s, given, w->place, &key)) return &kd__poison;
    e->key = &key;
  }
  bool rewires = e->rewire && e->rewire->call == at && !e->rewire->taken;
  val *v = rewires ? kd__apply_rewired(e, s, w, own, n, at) : kd__run_net(e, s, w, own, n, at, NULL);
  e->key = up;
  if (v->kind != V_APP) return v;
  if (e->inside) KD_PUSH(e->a, e->inside->inner, v->u.app);
  if (!w->def->first || w->def->first_in->kind != PROG_PROBE) { w->def->first = v->u.app; w->def->first_in = e->prog; }
  return v;
}

val *kd__run_net(elab *e, scope *s, net *w, arg *a, uint32_t n, const kd_ast *at, rewire *taps) {
  if (too_many_calls(e, w->def->name, at)) return &kd__poison;
  scope *in = kd__scope_new(e, w->def->scope, w->place);
  in->definition = true;
  app *ap = KD_NEW(e->a, app);
  in->rewire = taps;
  ap->net = w; ap->body = in; ap->back = KD_NEW(e->a, labels);
  ap->args = a; ap->nargs = n;
  for (uint32_t i = 0; i < n; i++) kd__arg_eval(e, s, &a[i]);
  overlay *over_up = e->over;
  trial *trial_up = e->trial;
  if (w->with) {                                 /* at other parameters: its states are read, and nothing of it commits */
    e->over = kd__arena_copy(e->a, &(overlay){ e->over, w->place, w->with }, sizeof(overlay));
    e->trial = kd__arena_copy(e->a, &(trial){ e->trial }, sizeof(trial));
  }
  ap->over = e->over;
  uint64_t loop = e->loop, salt = e->salt;
  int8_t mode = e->mode;
  frame f, *up = e->frame;
  place *here = kd__place_at(e, s->place, at, call_name(e, s, called(w->def)), w->def->name);
  e->salt = kd__mix(salt, e->key ? kd__below_key(e->key, here) : here->hash);       /* draws do */
  if (e->key && e->key->base == w->place) e->salt = 0;
  rule *rules = e->rules;
  app *inside = e->inside;
  e->rules = w->rules; e->inside = ap;
  e->loop = 0;                                   /* what a network owns does not depend on where it is applied */
  place *applied = e->applied;
  if (!applied) e->applied = w->place;
  if (w->mode) e->mode = w->mode;
  val *v = &kd__poison;
  bool ok = kd__bind_params(e, s, in, w->def->ast->kid[0], w->fixed, w->nfixed, a, n, ap->back, at, w->def->name);
  ok = ok && kd__inputs_in_order(e, in, w->def, ap->back, at);
  push_frame(e, &f, kd__arena_printf(e->a, "in `%s`, applied here", w->def->name), in->place, at);
  if (ok) v = run_body(e, in, w->def, at);
  e->frame = up; e->loop = loop; e->mode = mode; e->salt = salt; e->over = over_up; e->trial = trial_up; e->rules = rules; e->inside = inside; e->applied = applied;
  if (v->kind == V_POISON) return v;
  ap->ret = kd__back(e, ap->back, v, at, w->def->name);
  val *r = kd__v_new(e, V_APP);
  r->u.app = ap;
  return ap->ret->kind == V_POISON ? ap->ret : r;
}

/* A call of a net definition with its inputs given makes an instance here and applies it; without them, only the instance. */
static val *call_net(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at) {
  const kd_ast *params = d->ast->kid[0];
  bool inputs = false, any_input = false;
  for (uint32_t i = 0; i < params->n; i++) any_input = any_input || kd__is_input(params->kid[i]);
  for (uint32_t i = 0; i < n && !inputs; i++) {
    if (!a[i].name) {
      val *v = kd__force_app(kd__arg_eval(e, s, &a[i]));
      inputs = v->kind == V_TENSOR || v->kind == V_POISON || (v->kind == V_LIST && params->n && kd__is_input(params->kid[0]));
    } else {
      for (uint32_t k = 0; k < params->n; k++) inputs = inputs || (strcmp(params->kid[k]->text, a[i].name) == 0 && kd__is_input(params->kid[k]));
    }
  }
  if (!inputs && any_input) return make_net(e, s, d, a, n, at);
  net *w = KD_NEW(e->a, net);
  w->def = d; w->at = at; w->fixed = NULL; w->rules = e->rules;
  w->place = kd__place_at(e, s->place, at, call_name(e, s, called(d)), d->name);
  return kd__apply_net(e, s, w, a, n, at);
}

static val *make_spec(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at) {
  spec *o = KD_NEW(e->a, spec);
  o->def = d; o->at = at; o->scope = s; o->nargs = n;
  o->args = kd__arena_copy(e->a, a, sizeof(arg) * (n + 1));
  o->loop = e->loop;
  arg **slot = KD_NEWN(e->a, arg *, d->ast->kid[0]->n + 1);
  if (!kd__assign_args(e, d->ast->kid[0], NULL, 0, o->args, n, slot, at, d->name)) return &kd__poison;
  val *v = kd__v_new(e, V_SPEC);
  v->u.spec = o;
  return v;
}

/* Runs an optimizer's body on flat `param` and `grad`; the new parameters are returned, its states go to the pending updates. */
val *kd__run_optimizer(elab *e, spec *o, val *param, val *grad, kd_value when, const kd_ast *at) {
  val *pv = e->opt_ctx.pv, *gv = e->opt_ctx.gv, *now = e->opt_ctx.now;
  kd_value wh = e->opt_ctx.when;
  scope *in = kd__scope_new(e, o->def->scope, kd__place_at(e, e->opt_ctx.place, o->at, o->def->name, o->def->name));
  in->definition = true;
  labels back = { 0 };
  uint64_t loop = e->loop;
  arg *args = kd__arena_copy(e->a, o->args, sizeof(arg) * (o->nargs + 1));   /* arguments are formulas: evaluated at each step */
  e->loop = 0;
  frame f, *up = push_frame(e, &f, kd__arena_printf(e->a, "in optimizer `%s`, used here", o->def->name), in->place, at);
  place *outer = e->opt_ctx.place;
  val *r = &kd__poison;
  size_t errors = e->sink->errors;
  if (kd__bind_params(e, o->scope, in, o->def->ast->kid[0], NULL, 0, args, o->nargs, &back, o->at, o->def->name)) {
    e->opt_ctx.pv = param; e->opt_ctx.gv = grad; e->opt_ctx.now = param; e->opt_ctx.when = when; e->opt_ctx.place = in->place;
    run_body(e, in, o->def, at);
    r = e->opt_ctx.now;
    if (r == param && e->sink->errors == errors) {
      kd_diag *d = kd__err(e, KD_D_IDLE_OPTIMIZER, o->def->ast->name.len ? o->def->ast->name : o->def->ast->span, o->def->name);
      kd__diag_help(e->sink, d, "update param = param - lr * grad, or what another makes of it: update param = inner(grad: grad)");
      r = &kd__poison;
    }
  }
  e->opt_ctx.pv = pv; e->opt_ctx.gv = gv; e->opt_ctx.now = now; e->opt_ctx.when = wh; e->opt_ctx.place = outer;
  e->frame = up; e->loop = loop;
  return r;
}

/* What is given in place of `param` or `grad`: one value for each parameter. */
static val *like_param(elab *e, const arg *a) {
  tensor *t = kd__want_tensor(e, a->v, a->ast);
  t = t ? kd__t_align(e, t, e->opt_ctx.pv->u.t, a->ast) : NULL;
  return t ? kd__v_tensor(e, t) : &kd__poison;
}

/* The steps in which an optimizer runs, which is in those of the one around it at most. */
static kd_value when_both(elab *e, const arg *a) {
  const tensor *t = a->v->kind == V_BOOL || (a->v->kind == V_TENSOR && !a->v->u.t->rank && a->v->u.t->dtype == KD_BOOL) ? kd__want_tensor(e, a->v, a->ast) : NULL;
  if (!t) {
    if (a->v->kind != V_POISON) kd__err(e, KD_D_UNTIL, a->ast->span, "when", a->v->kind == V_TENSOR && !a->v->u.t->rank ? "a number" : kd__v_show(e, a->v));
    return 0;
  }
  kd_build b = kd__b(e, a->ast);
  return e->opt_ctx.when ? kd__b_op2(&b, KD_OP_AND, e->opt_ctx.when, t->v) : t->v;
}

/* inner(param: p, grad: g, when: c) inside an optimizer. */
static val *call_spec(elab *e, scope *s, spec *o, arg *a, uint32_t n, const kd_ast *at) {
  if (!e->opt_ctx.pv) { kd__err(e, KD_D_SPEC_CALL, at->span); return &kd__poison; }
  val *param = e->opt_ctx.pv, *grad = e->opt_ctx.gv;
  kd_value when = e->opt_ctx.when;
  for (uint32_t i = 0; i < n; i++) {
    val *v = kd__arg_eval(e, s, &a[i]);
    if (v->kind == V_POISON) return v;
    if (a[i].name && strcmp(a[i].name, "grad") == 0) grad = like_param(e, &a[i]);
    else if (a[i].name && strcmp(a[i].name, "param") == 0) param = like_param(e, &a[i]);
    else if (a[i].name && strcmp(a[i].name, "when") == 0) {
      if (!(when = when_both(e, &a[i]))) return &kd__poison;
    } else { kd__err(e, KD_D_UNKNOWN_KEYWORD, a[i].ast->span, o->def->name, a[i].name ? a[i].name : "positional"); return &kd__poison; }
  }
  return param->kind == V_POISON || grad->kind == V_POISON ? &kd__poison : kd__run_optimizer(e, o, param, grad, when, at);
}

/* The arguments of a call and those that its definition was given beforehand. */
static arg *more_args(elab *e, const def *d, const arg *a, uint32_t *n) {
  arg *all = KD_NEWN(e->a, arg, *n + d->nfixed + 1);
  if (*n) memcpy(all, a, sizeof(arg) * *n);
  for (uint32_t i = 0; i < d->nfixed; i++) {
    bool given = false;
    for (uint32_t k = 0; k < *n; k++) given = given || (all[k].name && strcmp(all[k].name, d->fixed[i].name) == 0);
    if (!given) all[(*n)++] = d->fixed[i];
  }
  return all;
}

val *kd__call_value(elab *e, scope *s, val *f, arg *a, uint32_t n, const kd_ast *at) {
  switch (f->kind) {
    case V_POISON:
      for (uint32_t i = 0; i < n; i++) if (a[i].ast->kind != KD_AST_LIST && a[i].ast->kind != KD_AST_NAME) kd__arg_eval(e, s, &a[i]);
      return f;
    case V_BUILTIN: return f->u.builtin->fn(e, s, f->u.builtin, at, a, n);
    case V_LAMBDA: return call_lambda(e, s, f, a, n, at);
    case V_NET: return kd__apply_net(e, s, f->u.net, a, n, at);
    case V_SPEC: return call_spec(e, s, f->u.spec, a, n, at);
    case V_SPLIT: return kd__take_call(e, s, f, a, n, at);
    case V_DEF:
      if (f->u.def->nfixed) { a = more_args(e, f->u.def, a, &n); }
      if (kd__def_is_net(f->u.def)) return call_net(e, s, f->u.def, a, n, at);
      if (strcmp(f->u.def->word, "optimizer") == 0) return make_spec(e, s, f->u.def, a, n, at);
      if (strcmp(f->u.def->word, "scheme") == 0) { kd__err(e, KD_D_SCHEME_CALL, at->span, f->u.def->name); return &kd__poison; }
      return call_def(e, s, f->u.def, a, n, at);
    default: {
      kd_diag *d = kd__err(e, KD_D_NOT_CALLABLE, at->kind == KD_AST_CALL ? at->kid[0]->span : at->span, kd__v_show(e, f));
      if (f->kind == V_DATA) kd__diag_help(e->sink, d, "a data set's fields are read with a dot: %s.image", e->data.v[f->u.data].name);
      return &kd__poison;
    }
  }
}

val *kd__call(elab *e, scope *s, const kd_ast *n) {
  const kd_ast *callee = n->kid[0];
  val *f = callee->kind == KD_AST_NAME ? kd__read(e, s, callee, callee->text) : kd__eval(e, s, callee);
  arg *a;
  uint32_t k = kd__args(e, s, n, &a);
  k = kd__override_args(e, f, n, &a, k);
  return kd__call_value(e, s, f, a, k, n);
}

/* A scheme's parameters bound, its body not yet run (scheme.c runs it statement by statement). */
scope *kd__bind_call(elab *e, scope *s, def *d, arg *a, uint32_t n, const kd_ast *at) {
  scope *in = kd__scope_new(e, d->scope, kd__place_at(e, s->place, at, call_name(e, s, d->name), d->name));
  in->definition = true;
  labels back = { 0 };
  return kd__bind_params(e, s, in, d->ast->kid[0], NULL, 0, a, n, &back, at, d->name) ? in : NULL;
}
