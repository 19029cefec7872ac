/* tree.c: parameters as values (design 2.7, rule 10): trees of tensors by path, and what acts on them leaf by leaf. */
#include "compiler/elaborate/elab.h"
#include <fnmatch.h>

/* --- what a network or a part of it owns ----------------------------------------------------------------------------------- */
bool kd__within(const place *p, const place *top) {
  for (; p; p = p->up) if (p == top) return true;
  return false;
}

static bool starts(const char *path, const char *with) {
  size_t n = strlen(with);
  return !n || (strncmp(path, with, n) == 0 && path[n] == '.');
}

static const char *below(const char *path, const char *top) { return *top && starts(path, top) ? path + strlen(top) + 1 : path; }

bool kd__treelike(const val *v) { return v->kind == V_TREE || v->kind == V_NET || v->kind == V_PART; }

static net_part part_of(const val *v) {
  if (v->kind == V_NET) return (net_part){ v->u.net->place, v->u.net->place->path };
  return v->kind == V_PART ? *v->u.part : (net_part){ 0 };
}

bool kd__part_owns(const elab *e, const net_part *p, size_t slot) {
  const slot_info *s = &e->slot.v[slot];
  if (s->s.kind != KD_SLOT_PARAM && s->s.kind != KD_SLOT_STATE) return false;
  return kd__within(s->owner, p->top) && (strcmp(p->path, p->top->path) == 0 || starts(s->s.name, p->path));
}

bool kd__slots_of(elab *e, val *v, bool states, const kd_ast *at, slot_list *out) {
  if (v->kind == V_LIST) {
    for (uint32_t i = 0; i < v->u.list.n; i++) if (!kd__slots_of(e, v->u.list.v[i], states, at, out)) return false;
    return true;
  }
  net_part p = part_of(v);
  if (!p.top) { if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, at->span, "this", "a network or a part of one", kd__v_show(e, v)); return false; }
  for (size_t i = 0; i < e->slot.n; i++)
    if (kd__part_owns(e, &p, i) && (states || e->slot.v[i].s.kind == KD_SLOT_PARAM)) KD_PUSH(e->a, *out, (int64_t)i);
  return true;
}

/* --- making trees ------------------------------------------------------------------------------------------------------------ */
val *kd__v_tree(elab *e, leaf *l, uint32_t n, const char *of) {
  val *v = kd__v_new(e, V_TREE);
  v->u.tree = KD_NEW(e->a, tree);
  *v->u.tree = (tree){ l, n, of };
  return v;
}

/* The leaves of one network or part, appended under `prefix`. */
static bool append_leaves(elab *e, val *v, const char *prefix, const kd_ast *at, tree *out) {
  slot_list own = { 0 };
  const net_part p = part_of(v);
  if (!kd__slots_of(e, v, false, at, &own)) return false;
  const tree *with = v->kind == V_NET ? v->u.net->with : NULL;
  if (!own.n && !with) {
    kd_diag *d = kd__err(e, KD_D_NO_PARAMS, at->span, p.path);
    e->unapplied = true;
    kd__diag_help(e->sink, d, "the shapes of its parameters follow from its input, so it has them where it is first applied; above this: let y = %s(x)", p.top->path);
    return false;
  }
  uint32_t more = own.n ? (uint32_t)own.n : with->n;
  leaf *l = KD_NEWN(e->a, leaf, out->n + more);
  if (out->n) memcpy(l, out->leaf, sizeof(leaf) * out->n);
  overlay o = { e->over, p.top, (tree *)(uintptr_t)with }, *up = e->over;
  if (with) e->over = &o;
  bool ok = true;
  for (uint32_t i = 0; i < more && ok; i++) {
    leaf one = own.n ? (leaf){ .path = below(e->slot.v[own.v[i]].s.name, p.path), .slot = own.v[i] } : with->leaf[i];
    if (own.n) {
      val *x = kd__read_slot(e, own.v[i], at);
      if (x->kind == V_POISON) { ok = false; break; }
      one.t = x->u.t;
    }
    if (*prefix) one.path = kd__arena_printf(e->a, "%s.%s", prefix, one.path);
    l[out->n++] = one;
  }
  e->over = up;
  out->leaf = l;
  return ok;
}

/* A tree whose leaves are of the program at hand: those of an earlier program of the scheme are carried. NULL after reporting. */
static tree *at_hand(elab *e, tree *t, const kd_ast *at) {
  bool here = true;
  for (uint32_t i = 0; i < t->n; i++) here = here && t->leaf[i].t->in == e->prog;
  if (here) return t;
  tree *r = kd__arena_copy(e->a, t, sizeof *t);
  r->leaf = kd__arena_copy(e->a, t->leaf, sizeof *t->leaf * t->n);
  for (uint32_t i = 0; i < t->n; i++)
    if (!(r->leaf[i].t = kd__want_tensor(e, kd__v_tensor(e, t->leaf[i].t), at))) return NULL;
  return r;
}

tree *kd__tree_of(elab *e, val *v, const kd_ast *at) {
  v = kd__force_app(v);
  if (v->kind == V_POISON) return NULL;
  if (v->kind == V_TREE) return at_hand(e, v->u.tree, at);
  tree *t = KD_NEW(e->a, tree);
  if (v->kind == V_LIST) {
    for (uint32_t i = 0; i < v->u.list.n; i++) {
      const net_part p = part_of(v->u.list.v[i]);
      if (!append_leaves(e, v->u.list.v[i], p.top ? p.path : "", at, t)) return NULL;
    }
    return t;
  }
  if (!append_leaves(e, v, "", at, t)) return NULL;
  t->of = part_of(v).path;
  return t;
}

/* --- alike trees ---------------------------------------------------------------------------------------------------------------- */
const leaf *kd__leaf_at(const tree *t, const char *path) {
  for (uint32_t i = 0; i < t->n; i++) if (strcmp(t->leaf[i].path, path) == 0) return &t->leaf[i];
  return NULL;
}

static void differ(elab *e, const char *path, const tensor *x, const tensor *y, const kd_ast *at) {
  kd_diag *d = kd__err(e, KD_D_TREES_DIFFER, at->span, path, x ? kd__t_show(e, x) : "nothing", y ? kd__t_show(e, y) : "nothing");
  kd__diag_help(e->sink, d, "trees meet leaf by leaf, so both need the same paths and shapes: teacher T like S makes an alike network");
}

tensor **kd__alike(elab *e, const tree *a, const tree *b, const kd_ast *at) {
  tensor **out = KD_NEWN(e->a, tensor *, a->n + 1);
  for (uint32_t i = 0; i < a->n; i++) {
    const leaf *l = i < b->n && strcmp(a->leaf[i].path, b->leaf[i].path) == 0 ? &b->leaf[i] : kd__leaf_at(b, a->leaf[i].path);
    const tensor *x = a->leaf[i].t, *y = l ? l->t : NULL;
    bool same = y && x->rank == y->rank;
    for (int k = 0; same && k < x->rank; k++) same = x->ax[k].size == y->ax[k].size;
    if (!same) { differ(e, a->leaf[i].path, x, y, at); return NULL; }
    out[i] = kd__arena_copy(e->a, y, sizeof *y);
    memcpy(out[i]->ax, x->ax, sizeof(axis) * x->rank);             /* by position: both are the same parameter of one definition */
  }
  for (uint32_t i = 0; i < b->n && a->n < b->n; i++)
    if (!kd__leaf_at(a, b->leaf[i].path)) { differ(e, b->leaf[i].path, NULL, b->leaf[i].t, at); return NULL; }
  return out;
}

/* --- leaf by leaf ------------------------------------------------------------------------------------------------------------------ */
static bool single(elab *e, const val *v, const kd_ast *at) {
  if (v->kind != V_TENSOR || v->u.t->rank == 0) return true;
  kd_diag *d = kd__err(e, KD_D_TREE_OPERAND, at->span, kd__v_show(e, v));
  kd__diag_help(e->sink, d, "select a leaf by its path, or reduce to a number: mean(...), sum(...)");
  return false;
}

/* A network beside a tensor: not its parameters are meant, but its value. */
static bool forgot_to_apply(elab *e, val *const *given, uint32_t n, const kd_ast *at) {
  const val *network = NULL, *rows = NULL;
  for (uint32_t i = 0; i < n; i++) {
    const val *v = kd__force_app(given[i]);
    if (v->kind == V_NET) network = v;
    if (v->kind == V_TENSOR && v->u.t->rank) rows = v;
  }
  if (!network || !rows) return false;
  kd_diag *d = kd__err(e, KD_D_WANT_TENSOR, at->span, kd__arena_printf(e->a, "the network `%s` beside %s", network->u.net->place->path, kd__v_show(e, rows)));
  kd__diag_help(e->sink, d, "apply the network to an input: %s(x)", network->u.net->place->path);
  return true;
}

val *kd__tree_map(elab *e, const kd_ast *at, val **given, uint32_t n, leaf_fn f, void *ctx) {
  const tree *lead = NULL;
  if (forgot_to_apply(e, given, n, at)) return &kd__poison;
  tensor ***leaves = KD_NEWN(e->a, tensor **, n);
  val **one = KD_NEWN(e->a, val *, n);
  for (uint32_t i = 0; i < n; i++) {
    one[i] = kd__force_app(given[i]);
    if (one[i]->kind == V_POISON) return &kd__poison;
    if (!kd__treelike(one[i])) { if (!single(e, one[i], at)) return &kd__poison; continue; }
    const tree *t = kd__tree_of(e, one[i], at);
    if (!t) return &kd__poison;
    if (!lead) lead = t;
    if (!(leaves[i] = kd__alike(e, lead, t, at))) return &kd__poison;
  }
  leaf *out = KD_NEWN(e->a, leaf, lead->n + 1);
  uint64_t loop = e->loop;
  for (uint32_t k = 0; k < lead->n; k++) {
    for (uint32_t i = 0; i < n; i++) if (leaves[i]) one[i] = kd__v_tensor(e, leaves[i][k]);
    e->loop = kd__mix(loop, kd__hash(lead->leaf[k].path, strlen(lead->leaf[k].path), 0x7472));      /* draws belong to their leaf */
    val *v = f(e, ctx, at, one);
    tensor *t = kd__want_tensor(e, v, at);
    if (!t) { e->loop = loop; return &kd__poison; }
    out[k] = (leaf){ lead->leaf[k].path, t, lead->leaf[k].slot };
  }
  e->loop = loop;
  return kd__v_tree(e, out, lead->n, lead->of);
}

/* --- over all leaves ----------------------------------------------------------------------------------------------------------------- */
static tensor *whole(elab *e, kd_op op, tensor *x, const kd_ast *at) {
  int64_t axes[KD_MAX_RANK];
  for (int i = 0; i < x->rank; i++) axes[i] = i;
  return x->rank ? kd__t_reduce(e, op, x, axes, x->rank, at) : x;
}

val *kd__tree_reduce(elab *e, const kd_ast *at, kd_op op, val *v) {
  const tree *t = kd__tree_of(e, v, at);
  if (!t) return &kd__poison;
  kd_op join = op == KD_OP_SUM ? KD_OP_ADD : op == KD_OP_REDUCE_MAX ? KD_OP_MAX : op == KD_OP_REDUCE_MIN ? KD_OP_MIN : op == KD_OP_ANY ? KD_OP_OR : KD_OP_AND;
  tensor *r = NULL;
  for (uint32_t i = 0; i < t->n; i++) {
    tensor *one = t->leaf[i].t;
    bool logical = op == KD_OP_ANY || op == KD_OP_ALL;
    if (logical != (one->dtype == KD_BOOL)) { kd__err(e, KD_D_WANT_KIND, at->span, "this reduction", logical ? "truth values" : "numbers", kd__t_show(e, one)); return &kd__poison; }
    one = whole(e, op, one, at);
    r = r ? kd__t_binary(e, join, r, one, at, at, at) : one;
  }
  return kd__v_tensor(e, r);
}

val *kd__tree_dot(elab *e, const kd_ast *at, val *a, val *b) {
  const tree *x = kd__tree_of(e, a, at), *y = x ? kd__tree_of(e, b, at) : NULL;
  tensor **other = y ? kd__alike(e, x, y, at) : NULL, *r = NULL;
  for (uint32_t i = 0; other && i < x->n; i++) {
    tensor *one = whole(e, KD_OP_SUM, kd__t_binary(e, KD_OP_MUL, x->leaf[i].t, other[i], at, at, at), at);
    r = r ? kd__t_binary(e, KD_OP_ADD, r, one, at, at, at) : one;
  }
  return kd__v_tensor(e, r);
}

int64_t kd__tree_count(const tree *t) {
  int64_t n = 0;
  for (uint32_t i = 0; i < t->n; i++) {
    int64_t k = 1;
    for (int j = 0; j < t->leaf[i].t->rank; j++) k *= t->leaf[i].t->ax[j].size;
    n += k;
  }
  return n;
}

val *kd__tree_items(elab *e, const tree *t) {
  val **v = KD_NEWN(e->a, val *, t->n);
  for (uint32_t i = 0; i < t->n; i++) v[i] = kd__v_tensor(e, t->leaf[i].t);
  return kd__v_list(e, v, t->n);
}

/* --- by path ----------------------------------------------------------------------------------------------------------------------------- */
val *kd__tree_field(elab *e, const tree *t, const char *name) {
  const leaf *l = kd__leaf_at(t, name);
  if (l) return kd__v_tensor(e, l->t);
  size_t len = strlen(name);
  leaf *some = KD_NEWN(e->a, leaf, t->n + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->n; i++) {
    const char *p = t->leaf[i].path;
    if (strncmp(p, name, len) != 0 || p[len] != '.') continue;
    some[n] = t->leaf[i];
    some[n++].path = p + len + 1;
  }
  return n ? kd__v_tree(e, some, n, t->of ? kd__arena_printf(e->a, "%s.%s", t->of, name) : name) : NULL;
}

/* g["conv.W"] is a leaf; g["*.W"] the tree of the leaves whose path matches. */
val *kd__tree_pick(elab *e, val *v, const char *pattern, const kd_ast *at) {
  const tree *t = kd__tree_of(e, v, at);
  if (!t) return &kd__poison;
  const leaf *l = kd__leaf_at(t, pattern);
  if (l) return kd__v_tensor(e, l->t);
  leaf *some = KD_NEWN(e->a, leaf, t->n + 1);
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->n; i++) if (fnmatch(pattern, t->leaf[i].path, 0) == 0) some[n++] = t->leaf[i];
  if (n) return kd__v_tree(e, some, n, t->of);
  kd_diag *d = kd__err(e, KD_D_PATTERN, at->span, pattern);
  if (t->n) kd__diag_help(e->sink, d, "its leaves are named like %s", t->leaf[0].path);
  return &kd__poison;
}

/* The turn that a path goes on with after `path`: "S.h.12.W" after "S.h" is 12; -1: it is no number. */
static int64_t turn_of(const char *name, const char *path) {
  const char *p = name + strlen(path) + 1;
  int64_t k = 0;
  if (*p < '0' || *p > '9') return -1;
  for (; *p >= '0' && *p <= '9' && k < 1000000; p++) k = 10 * k + (*p - '0');
  return !*p || *p == '.' ? k : -1;
}

static val *below_path(elab *e, const net_part *p, const char *path, const kd_ast *at) {
  bool any = false;
  int64_t turns = 0;
  for (size_t i = 0; i < e->slot.n; i++) {
    if (!kd__part_owns(e, p, i)) continue;
    const char *name = e->slot.v[i].s.name;
    if (strcmp(name, path) == 0) return kd__read_slot(e, (int64_t)i, at);
    if (!starts(name, path)) continue;
    any = true;
    int64_t k = turn_of(name, path);
    if (k < 0) turns = -1;
    else if (turns >= 0 && k >= turns) turns = k + 1;
  }
  if (!any) return NULL;
  if (turns <= 0) {
    val *v = kd__v_new(e, V_PART);
    v->u.part = kd__arena_copy(e->a, &(net_part){ p->top, path }, sizeof(net_part));
    return v;
  }
  val **item = KD_NEWN(e->a, val *, turns);      /* what one static loop made under one name is a list */
  for (int64_t k = 0; k < turns; k++) {
    item[k] = below_path(e, p, kd__arena_printf(e->a, "%s.%lld", path, (long long)k), at);
    if (!item[k]) item[k] = &kd__none;
  }
  return kd__v_list(e, item, (uint32_t)turns);
}

val *kd__part_field(elab *e, const net_part *p, const char *name, const kd_ast *at) {
  return below_path(e, p, *p->path ? kd__arena_printf(e->a, "%s.%s", p->path, name) : name, at);
}

/* The names that may follow it, each once. */
const char *kd__part_names(elab *e, const net_part *p) {
  const char *seen[24];
  size_t n = 0;
  kd__buf b = { 0 };
  for (size_t i = 0; i < e->slot.n && n < 24; i++) {
    if (!kd__part_owns(e, p, i)) continue;
    const char *name = below(e->slot.v[i].s.name, p->path);
    name = kd__arena_strndup(e->a, name, strcspn(name, "."));
    bool again = false;
    for (size_t k = 0; k < n; k++) again = again || strcmp(seen[k], name) == 0;
    if (again) continue;
    seen[n++] = name;
    kd__buf_printf(&b, "%s%s", b.n ? ", " : "", name);
  }
  return b.n ? kd__buf_keep(&b, e->a) : NULL;
}

/* --- structures of tensors ------------------------------------------------------------------------------------------------------------ */
bool kd__flatten(elab *e, val *v, const kd_ast *at, const char *what, tensor_list *out) {
  v = kd__force_app(v);
  if (kd__treelike(v)) {
    const tree *t = kd__tree_of(e, v, at);
    for (uint32_t i = 0; t && i < t->n; i++) KD_PUSH(e->a, *out, t->leaf[i].t);
    return t != NULL;
  }
  switch (v->kind) {
    case V_POISON: return false;
    case V_LIST: for (uint32_t i = 0; i < v->u.list.n; i++) if (!kd__flatten(e, v->u.list.v[i], at, what, out)) return false; return true;
    case V_RECORD: for (uint32_t i = 0; i < v->u.rec.n; i++) if (!kd__flatten(e, v->u.rec.v[i], at, what, out)) return false; return true;
    case V_TENSOR: {
      tensor *t = kd__want_tensor(e, v, at);
      if (t) KD_PUSH(e->a, *out, t);
      return t != NULL;
    }
    default: kd__err(e, KD_D_WANT_KIND, at->span, what, "tensors, networks, trees, or lists and records of them", kd__v_show(e, v)); return false;
  }
}

val *kd__unflatten(elab *e, val *like, tensor *const *t, size_t *used, const kd_ast *at) {
  like = kd__force_app(like);
  if (kd__treelike(like)) {
    const tree *x = kd__tree_of(e, like, at);
    if (!x) return &kd__poison;
    leaf *l = KD_NEWN(e->a, leaf, x->n + 1);
    for (uint32_t i = 0; i < x->n; i++) l[i] = (leaf){ x->leaf[i].path, t[(*used)++], x->leaf[i].slot };
    return kd__v_tree(e, l, x->n, x->of);
  }
  if (like->kind == V_TENSOR) return kd__v_tensor(e, t[(*used)++]);
  if (like->kind != V_LIST && like->kind != V_RECORD) return like;
  bool rec = like->kind == V_RECORD;
  uint32_t n = rec ? like->u.rec.n : like->u.list.n;
  val **v = KD_NEWN(e->a, val *, n);
  for (uint32_t i = 0; i < n; i++) v[i] = kd__unflatten(e, rec ? like->u.rec.v[i] : like->u.list.v[i], t, used, at);
  return rec ? kd__v_rec(e, like->u.rec.key, v, n) : kd__v_list(e, v, n);
}

/* --- a network at other parameters -------------------------------------------------------------------------------------------------------- */
val *kd__net_at(elab *e, net *w, tree *t) {
  val *v = kd__v_new(e, V_NET);
  v->u.net = kd__arena_copy(e->a, w, sizeof *w);
  v->u.net->base = w->base ? w->base : w;
  v->u.net->with = t;
  return v;
}

/* Leaves that the network does not have, where it is known already; those it lacks are found where it reads them. */
static bool fits(elab *e, const net *w, const tree *t, const kd_ast *at) {
  slot_list own = { 0 };
  val v = { .kind = V_NET, .u.net = (net *)(uintptr_t)w };
  (void)kd__slots_of(e, &v, false, at, &own);
  for (uint32_t k = 0; k < t->n && own.n; k++) {
    const slot_info *s = NULL;
    for (size_t i = 0; i < own.n && !s; i++) if (strcmp(below(e->slot.v[own.v[i]].s.name, w->place->path), t->leaf[k].path) == 0) s = &e->slot.v[own.v[i]];
    if (s) continue;
    kd_diag *d = kd__err(e, KD_D_TREE_EXTRA, at->span, t->leaf[k].path, w->place->path);
    kd__diag_help(e->sink, d, "its parameters are named like %s", below(e->slot.v[own.v[0]].s.name, w->place->path));
    return false;
  }
  return true;
}

val *kd__eval_at(elab *e, scope *s, const kd_ast *n) {
  val *m = kd__eval(e, s, n->kid[0]), *v = kd__eval(e, s, n->kid[1]);
  if (m->kind == V_POISON || v->kind == V_POISON) return &kd__poison;
  if (m->kind != V_NET) { kd__err(e, KD_D_WANT_KIND, n->kid[0]->span, "`at`", "a network on its left", kd__v_show(e, m)); return &kd__poison; }
  if (!kd__treelike(v)) { kd__err(e, KD_D_WANT_KIND, n->kid[1]->span, "`at`", "a tree of parameters on its right", kd__v_show(e, v)); return &kd__poison; }
  tree *t = kd__tree_of(e, v, n->kid[1]);
  return t && fits(e, m->u.net, t, n->kid[1]) ? kd__net_at(e, m->u.net, t) : &kd__poison;
}

/* The value of a parameter under `M at tree`, or NULL when no tree is in force for it. */
val *kd__over_slot(elab *e, int64_t slot, const kd_ast *at) {
  const slot_info *s = &e->slot.v[slot];
  if (s->s.kind != KD_SLOT_PARAM || e->prog == e->init) return NULL;
  for (const overlay *o = e->over; o; o = o->up) {
    if (!kd__within(s->owner, o->place)) continue;
    const char *path = below(s->s.name, o->place->path);
    const leaf *l = kd__leaf_at(o->tree, path);
    tensor want = { .rank = s->s.type.rank };
    memcpy(want.ax, s->ax, sizeof(axis) * want.rank);
    bool same = l && l->t->rank == want.rank;
    for (int i = 0; same && i < want.rank; i++) same = l->t->ax[i].size == want.ax[i].size;
    if (!same) { differ(e, path, &want, l ? l->t : NULL, at); return &kd__poison; }
    val v = { .kind = V_TENSOR, .u.t = l->t };
    tensor *t = kd__want_tensor(e, &v, at);
    if (!t) return &kd__poison;
    val *r = kd__v_tensor(e, t);
    memcpy(r->u.t->ax, s->ax, sizeof(axis) * want.rank);
    return r;
  }
  return NULL;
}
