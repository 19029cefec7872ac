/* gradient.c: gradients as values: grad, jvp, virtual steps (design 2.7, rules 3 and 10). */
#include "compiler/elaborate/builtin.h"
#include "compiler/elaborate/scheme.h"

/* Evaluates a built-in's arguments as a trial: what is applied only there moves no state. */
static bool pick_trial(B, arg **p, int count) {
  trial t = { e->trial }, *up = e->trial;
  e->trial = kd__arena_copy(e->a, &t, sizeof t);
  bool ok = kd__pick(e, s, b, call, a, n, p, count);
  e->trial = up;
  return ok;
}

/* --- values of their own ------------------------------------------------------------------------------------------------------------- */
/* Equal values are one node, so of `d = 0 * x` and `e = 0 * x` either would have the gradient of both. What a name is bound to that the file
 * differentiates for (`wrt: d`) is therefore a node of its own, if it was computed there; what was read (a tap, a parameter, what a call found)
 * stays the very value that others were computed from. */
static void add_names(const kd_ast *n, kd__map *to) {
  if (n->kind == KD_AST_NAME) *kd__map_at(to, n->text) = to;
  else if (n->kind == KD_AST_LIST || n->kind == KD_AST_RECORD || n->kind == KD_AST_ARG) for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) add_names(n->kid[i], to);
}

static void find_wrt(const kd_ast *n, kd__map *to) {
  if (n->kind == KD_AST_CALL && n->kid[0]->kind == KD_AST_NAME && (strcmp(n->kid[0]->text, "grad") == 0 || strcmp(n->kid[0]->text, "jvp") == 0))
    for (uint32_t i = 1; i < n->n; i++) {
      const kd_ast *k = n->kid[i];
      if (k->kind == KD_AST_ARG && k->text ? strcmp(k->text, "wrt") == 0 : i == 2) add_names(k, to);
    }
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) find_wrt(n->kid[i], to);
}

/* Made of numbers alone? Looks at a few nodes only: starting values are short. */
static bool constant(const kd_graph *g, kd_value v, int depth) {
  const kd_node *n = kd__node_of(g, v);
  if (n->op == KD_OP_INPUT || n->op == KD_OP_LOOP || depth > 4) return false;
  for (uint32_t i = 0; i < n->nin; i++) if (!constant(g, n->in[i], depth + 1)) return false;
  return true;
}

static tensor *own_node(elab *e, tensor *t, bool computed, const kd_ast *at) {
  kd_graph *g = e->prog->g;
  if (!t->v || t->in != e->prog || !kd__dtype_real(t->dtype) || kd__node_of(g, t->v)->op == KD_OP_INPUT || !(computed || constant(g, t->v, 0))) return t;
  const kd_type *type = kd__type_of(g, t->v);
  kd_attr shape[] = { { .kind = 'I', .n = type->rank, .u.list = type->dim } };
  tensor *own = kd__arena_copy(e->a, t, sizeof *t);
  g->apart = true;
  own->v = kd__graph_add(g, KD_OP_RESHAPE, &t->v, 1, shape, kd__origin(e, at->span), NULL);
  return own;
}

static val *own_value(elab *e, val *v, bool computed, const kd_ast *at) {
  switch (v->kind) {
    case V_TENSOR: { tensor *t = own_node(e, v->u.t, computed, at); return t == v->u.t ? v : kd__v_tensor(e, t); }
    case V_TREE: {
      leaf *l = kd__arena_copy(e->a, v->u.tree->leaf, sizeof(leaf) * (v->u.tree->n + 1));
      for (uint32_t i = 0; i < v->u.tree->n; i++) l[i].t = own_node(e, l[i].t, computed, at);
      return kd__v_tree(e, l, v->u.tree->n, v->u.tree->of);
    }
    case V_LIST: {
      val **items = KD_NEWN(e->a, val *, v->u.list.n + 1);
      for (uint32_t i = 0; i < v->u.list.n; i++) items[i] = own_value(e, v->u.list.v[i], computed, at);
      return kd__v_list(e, items, v->u.list.n);
    }
    case V_RECORD: {
      val *r = kd__arena_copy(e->a, v, sizeof *v);
      r->u.rec.v = KD_NEWN(e->a, val *, v->u.rec.n + 1);
      for (uint32_t i = 0; i < v->u.rec.n; i++) r->u.rec.v[i] = own_value(e, v->u.rec.v[i], computed, at);
      return r;
    }
    default: return v;
  }
}

/* Is it an operation, or a list or record of them? */
static bool computes(const kd_ast *n) {
  if (n->kind == KD_AST_BINARY || n->kind == KD_AST_UNARY) return true;
  if (n->kind != KD_AST_LIST && n->kind != KD_AST_RECORD && n->kind != KD_AST_ARG && n->kind != KD_AST_COMPREHENSION) return false;
  uint32_t items = n->kind == KD_AST_COMPREHENSION ? 1 : n->n;
  for (uint32_t i = 0; i < items; i++) if (!computes(n->kid[i])) return false;
  return items > 0;
}

val *kd__own_value(elab *e, const scope *s, const char *name, const kd_ast *expr, val *v) {
  module *m = s->mod;
  if (!m || !m->syn || (v->kind != V_TENSOR && v->kind != V_TREE && v->kind != V_LIST && v->kind != V_RECORD)) return v;
  if (!m->wrt) {
    m->wrt = KD_NEW(e->a, kd__map);
    kd__map_init(m->wrt, e->a);
    find_wrt(m->syn->file, m->wrt);
  }
  return kd__map_has(m->wrt, name) ? own_value(e, v, computes(expr), expr) : v;
}

/* --- one backward walk -------------------------------------------------------------------------------------------------------- */
void kd__no_gradient(elab *e, const kd_grad_error *err, const kd_ast *at) {
  const kd_node *bad = kd__node_of(e->prog->g, err->at);
  kd_diag *d = kd__err(e, err->again ? KD_D_GRADIENT_ONCE : KD_D_NO_GRADIENT, at->span, kd__op_info(err->op)->name);
  if (bad->origin && bad->origin < e->origin.n && e->origin.v[bad->origin].span.src) kd__diag_label(e->sink, d, e->origin.v[bad->origin].span, "this operation");
}

static bool backward(elab *e, kd_value y, const tensor_list *x, kd_value *g, const kd_ast *at) {
  kd_value *wrt = KD_NEWN(e->a, kd_value, x->n + 1);
  for (size_t i = 0; i < x->n; i++) wrt[i] = x->v[i]->v;
  kd_grad_error err;
  if (kd__gradients(e->prog->g, y, wrt, x->n, g, kd__origin(e, at->span), &err)) return true;
  kd__no_gradient(e, &err, at);
  return false;
}

static val *unreached(elab *e, const kd_ast *call) {
  kd_diag *d = kd__err(e, KD_D_GRAD_UNREACHED, call->span);
  kd__diag_help(e->sink, d, "`wrt` must be the very value that went into the computation, not a copy made later");
  return &kd__poison;
}

/* Gradients as tensors like x; zeros where y does not reach, as long as it reaches one. */
static tensor **like(elab *e, const tensor_list *x, const kd_value *g, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  tensor **t = KD_NEWN(e->a, tensor *, x->n + 1);
  bool any = false;
  for (size_t i = 0; i < x->n; i++) {
    any = any || g[i];
    t[i] = kd__t_wrap(e, g[i] ? g[i] : kd__b_const_like(&b, 0, x->v[i]->v), x->v[i]->ax, x->v[i]->rank, at);
  }
  return any ? t : NULL;
}

val *bi_grad(B) {
  arg *p[2];
  tensor_list x = { 0 };
  if (!pick_trial(e, s, b, call, a, n, p, 2)) return &kd__poison;
  tensor *y = kd__want_tensor(e, p[0]->v, p[0]->ast);
  if (!y || !kd__flatten(e, p[1]->v, p[1]->ast, "`wrt`", &x)) return &kd__poison;
  if (y->rank) {
    kd_diag *d = kd__err(e, KD_D_NOT_SCALAR, p[0]->ast->span, "what `grad` differentiates", kd__t_show(e, y));
    kd__diag_help(e->sink, d, "sum(...) or mean(...) makes a scalar of it");
    return &kd__poison;
  }
  kd_value *g = KD_NEWN(e->a, kd_value, x.n + 1);
  if (!backward(e, kd__t_cast(e, y, e->opt->real, p[0]->ast)->v, &x, g, call)) return &kd__poison;
  tensor **t = like(e, &x, g, call);
  size_t used = 0;
  return t ? kd__unflatten(e, p[1]->v, t, &used, call) : unreached(e, call);
}

/* --- forward derivatives ---------------------------------------------------------------------------------------------------------- */
/* sum of y * u over all tensors */
static kd_value paired(elab *e, const tensor_list *y, const kd_value *u, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  kd_value r = 0;
  for (size_t i = 0; i < y->n; i++) {
    int64_t axes[KD_MAX_RANK];
    for (int k = 0; k < y->v[i]->rank; k++) axes[k] = k;
    kd_value one = kd__b_op2(&b, KD_OP_MUL, y->v[i]->v, u[i]);
    if (y->v[i]->rank) one = kd__b_reduce(&b, KD_OP_SUM, one, axes, y->v[i]->rank);
    r = r ? kd__b_op2(&b, KD_OP_ADD, r, one) : one;
  }
  return r;
}

/* What a gradient's seed is while the directional derivative is made: a leaf that the result is proportional to, and so does not have. Where that is
 * differentiated again, zeros meet what loops keep of it, so it is finite; an odd number of its own keeps it apart from every other constant. */
static kd_value free_leaf(elab *e, kd_build *b, kd_value as) {
  uint64_t bits = UINT64_C(0x3f50000000000000) | ++e->free_leaves;
  double odd;
  memcpy(&odd, &bits, sizeof odd);
  return kd__b_const_like(b, odd, as);
}

static bool all_real(elab *e, tensor_list *t, const arg *p) {
  for (size_t i = 0; i < t->n; i++) {
    if (kd__dtype_real(t->v[i]->dtype)) continue;
    kd__err(e, KD_D_WANT_KIND, p->ast->span, "`jvp`", "real numbers", kd__t_show(e, t->v[i]));
    return false;
  }
  return true;
}

/* `along` beside `wrt`: the same structure and shapes. */
static bool same_shapes(elab *e, const tensor_list *x, tensor_list *v, const arg *along) {
  for (size_t i = 0; i < x->n || i < v->n; i++) {
    const tensor *p = i < x->n ? x->v[i] : NULL, *q = i < v->n ? v->v[i] : NULL;
    bool same = p && q && p->rank == q->rank;
    for (int k = 0; same && k < p->rank; k++) same = p->ax[k].size == q->ax[k].size;
    if (same) continue;
    kd_diag *d = kd__err(e, KD_D_ALONG, along->ast->span, q ? kd__t_show(e, q) : "nothing", p ? kd__t_show(e, p) : "nothing");
    kd__diag_help(e->sink, d, "a direction has the structure and shapes of what `wrt` names");
    return false;
  }
  return true;
}

/* The directional derivative J v, by differentiating the gradient's dependence on its own seed. */
val *bi_jvp(B) {
  arg *p[3];
  tensor_list y = { 0 }, x = { 0 }, v = { 0 };
  if (!pick_trial(e, s, b, call, a, n, p, 3)) return &kd__poison;
  if (!kd__flatten(e, p[0]->v, p[0]->ast, "`jvp`", &y) || !kd__flatten(e, p[1]->v, p[1]->ast, "`wrt`", &x)) return &kd__poison;
  if (kd__treelike(kd__force_app(p[1]->v)) && kd__treelike(kd__force_app(p[2]->v))) {       /* trees meet by path */
    const tree *to = kd__tree_of(e, p[1]->v, p[1]->ast), *from = to ? kd__tree_of(e, p[2]->v, p[2]->ast) : NULL;
    tensor **t = from ? kd__alike(e, to, from, p[2]->ast) : NULL;
    if (!t) return &kd__poison;
    for (uint32_t i = 0; i < to->n; i++) KD_PUSH(e->a, v, t[i]);
  } else if (!kd__flatten(e, p[2]->v, p[2]->ast, "`along`", &v)) {
    return &kd__poison;
  }
  if (!all_real(e, &y, p[0]) || !all_real(e, &x, p[1]) || !all_real(e, &v, p[2]) || !same_shapes(e, &x, &v, p[2])) return &kd__poison;
  kd_build kb = kd__b(e, call);
  tensor_list u = { 0 }, gx = { 0 }, gv = { 0 };
  kd_value *uv = KD_NEWN(e->a, kd_value, y.n + 1), *g = KD_NEWN(e->a, kd_value, x.n + 1), *h = KD_NEWN(e->a, kd_value, y.n + 1), *vv = KD_NEWN(e->a, kd_value, x.n + 1);
  for (size_t i = 0; i < y.n; i++) {
    uv[i] = free_leaf(e, &kb, y.v[i]->v);
    KD_PUSH(e->a, u, kd__t_wrap(e, uv[i], y.v[i]->ax, y.v[i]->rank, call));
  }
  if (!backward(e, paired(e, &y, uv, call), &x, g, call)) return &kd__poison;
  for (size_t i = 0; i < x.n; i++) {
    if (!g[i]) continue;
    vv[gx.n] = v.v[i]->v;
    KD_PUSH(e->a, gx, kd__t_wrap(e, g[i], x.v[i]->ax, x.v[i]->rank, call));
  }
  if (!gx.n) return unreached(e, call);
  if (!backward(e, paired(e, &gx, vv, call), &u, h, call)) return &kd__poison;
  for (size_t i = 0; i < y.n; i++) KD_PUSH(e->a, gv, kd__t_wrap(e, h[i] ? h[i] : kd__b_const_like(&kb, 0, y.v[i]->v), y.v[i]->ax, y.v[i]->rank, call));
  size_t used = 0;
  return kd__unflatten(e, p[0]->v, gv.v, &used, call);
}

/* --- virtual steps ------------------------------------------------------------------------------------------------------------------- */
/* One network's part of the flat vector. */
typedef struct stepping { net *net; tree *tree; } stepping;
typedef KD_VEC(stepping) steppings;

static bool add_stepping(elab *e, val *v, const kd_ast *at, steppings *out) {
  if (v->kind == V_LIST) {
    for (uint32_t i = 0; i < v->u.list.n; i++) if (!add_stepping(e, v->u.list.v[i], at, out)) return false;
    return true;
  }
  if (v->kind != V_NET) { if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, at->span, "`stepped`", "networks", kd__v_show(e, v)); return false; }
  tree *t = kd__tree_of(e, v, at);
  if (!t) return false;
  tree *own = KD_NEW(e->a, tree);
  *own = (tree){ kd__arena_copy(e->a, t->leaf, sizeof(leaf) * (t->n + 1)), t->n, t->of };
  KD_PUSH(e->a, *out, (stepping){ v->u.net, own });
  return true;
}

typedef struct moved { leaf *leaf; kd_value grad; } moved;
typedef KD_VEC(moved) moveds;

/* The leaves that the loss reaches, with their gradients; it must reach every network. */
static bool reached_leaves(elab *e, const steppings *st, tensor *loss, const arg *nets, const arg *l, moveds *out) {
  tensor_list x = { 0 };
  for (size_t i = 0; i < st->n; i++) for (uint32_t k = 0; k < st->v[i].tree->n; k++) KD_PUSH(e->a, x, st->v[i].tree->leaf[k].t);
  kd_value *g = KD_NEWN(e->a, kd_value, x.n + 1);
  if (!backward(e, loss->v, &x, g, l->ast)) return false;
  size_t at = 0;
  for (size_t i = 0; i < st->n; i++) {
    size_t before = out->n;
    for (uint32_t k = 0; k < st->v[i].tree->n; k++, at++) if (g[at]) KD_PUSH(e->a, *out, (moved){ &st->v[i].tree->leaf[k], g[at] });
    if (out->n > before) continue;
    kd_diag *d = kd__err(e, KD_D_NOT_REACHED, nets->ast->span, st->v[i].net->place->path);
    kd__diag_label(e->sink, d, l->ast->span, "this loss");
    kd__diag_help(e->sink, d, "apply `%s` in the loss; behind `stop` nothing is stepped", st->v[i].net->place->path);
    return false;
  }
  return true;
}

static tensor *flat(elab *e, const moveds *m, bool grad, axis ax, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  kd_value *part = KD_NEWN(e->a, kd_value, m->n);
  for (size_t i = 0; i < m->n; i++) {
    kd_value v = grad ? m->v[i].grad : m->v[i].leaf->t->v;
    int64_t n = kd__type_count(kd__type_of(b.g, v));
    part[i] = kd__b_reshape(&b, v, &n, 1);
  }
  return kd__t_wrap(e, m->n == 1 ? part[0] : kd__b_concat(&b, part, (int)m->n, 0), &ax, 1, at);
}

static void unflat(elab *e, const moveds *m, const tensor *now, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  int64_t start = 0, step = 1;
  for (size_t i = 0; i < m->n; i++) {
    tensor *old = m->v[i].leaf->t;
    kd_type t = *kd__type_of(b.g, old->v);
    int64_t n = kd__type_count(&t);
    kd_value v = m->n == 1 ? now->v : kd__b_slice(&b, now->v, &start, &n, &step);
    m->v[i].leaf->t = kd__t_wrap(e, kd__b_reshape(&b, v, t.dim, t.rank), old->ax, old->rank, at);
    start += n;
  }
}

/* Runs the optimizer in the graph; its states begin at their initial values and are forgotten. */
static bool virtual_step(elab *e, scope *s, const moveds *m, spec *opt, const kd_ast *call) {
  int64_t total = 0;
  slots slot = { 0 };
  for (size_t i = 0; i < m->n; i++) {
    total += kd__type_count(kd__type_of(e->prog->g, m->v[i].leaf->t->v));
    KD_PUSH(e->a, slot, m->v[i].leaf->slot);
  }
  axis ax = { kd__intern(e, "P"), total, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
  tensor *param = flat(e, m, false, ax, call), *grad = flat(e, m, true, ax, call);
  step_ctx st = { &slot }, *up = e->opt_ctx.step;
  place *home = e->opt_ctx.place;
  bool apart = e->opt_ctx.apart;
  trial t = { e->trial }, *outer = e->trial;
  e->trial = kd__arena_copy(e->a, &t, sizeof t);
  e->opt_ctx.step = &st; e->opt_ctx.apart = true;
  e->opt_ctx.place = kd__place_at(e, s->place, call, "stepped", "stepped");
  val *now = kd__run_optimizer(e, opt, kd__v_tensor(e, param), kd__v_tensor(e, grad), 0, call);
  e->opt_ctx.step = up; e->opt_ctx.apart = apart; e->opt_ctx.place = home;
  e->trial = outer;
  if (now->kind != V_TENSOR) return false;
  unflat(e, m, now->u.t, call);
  return true;
}

/* The networks at their new parameters, in the structure they were given in. */
static val *networks(elab *e, const val *like, const steppings *st, size_t *used) {
  if (like->kind == V_NET) { const stepping *one = &st->v[(*used)++]; return kd__net_at(e, one->net, one->tree); }
  val **v = KD_NEWN(e->a, val *, like->u.list.n);
  for (uint32_t i = 0; i < like->u.list.n; i++) v[i] = networks(e, like->u.list.v[i], st, used);
  return kd__v_list(e, v, like->u.list.n);
}

val *bi_stepped(B) {
  arg *p[3];
  steppings st = { 0 };
  moveds m = { 0 };
  if (!pick_trial(e, s, b, call, a, n, p, 3) || !add_stepping(e, p[0]->v, p[0]->ast, &st)) return &kd__poison;
  tensor *loss = kd__want_tensor(e, p[1]->v, p[1]->ast);
  if (!loss) return &kd__poison;
  if (loss->rank) {
    kd_diag *d = kd__err(e, KD_D_NOT_SCALAR, p[1]->ast->span, "what a step minimises", kd__t_show(e, loss));
    kd__diag_help(e->sink, d, "mean(...) makes a scalar of it");
    return &kd__poison;
  }
  if (p[2]->v->kind != V_SPEC) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, p[2]->ast->span, "`stepped`", "an optimizer", kd__v_show(e, p[2]->v));
    (void)kd__library_help(e, d, "optimizer_value", 0);
    return &kd__poison;
  }
  if (!reached_leaves(e, &st, kd__t_cast(e, loss, e->opt->real, call), p[0], p[1], &m) || !virtual_step(e, s, &m, p[2]->v->u.spec, call)) return &kd__poison;
  size_t used = 0;
  return networks(e, p[0]->v, &st, &used);
}

val *bi_params(B) {
  PICK(1);
  val *v = kd__force_app(p[0]->v);
  if (v->kind == V_APP || (!kd__treelike(v) && v->kind != V_LIST)) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, p[0]->ast->span, "`params`", "a network, a part of one, or a list of networks", kd__v_show(e, v));
    if (p[0]->v->kind == V_APP) kd__diag_help(e->sink, d, "name the network, not its application: params(%s)", p[0]->v->u.app->net->place->path);
    return &kd__poison;
  }
  if (v->kind == V_TREE) return v;
  tree *t = kd__tree_of(e, v, p[0]->ast);
  return t ? kd__v_tree(e, t->leaf, t->n, t->of) : &kd__poison;
}
