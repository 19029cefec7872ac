/* loop.c: what `repeat` and `for` mean (design 2.7, rule 12), and loops written out turn by turn. loop_node.c makes a node of one.
 *
 * Names that are known outside and assigned inside are carried from turn to turn. As an expression a loop is what its turns yield, stacked on a new
 * axis. A loop of a definition turns over whole numbers, the places of an axis, or the items of a list; written out are those over lists, those with few
 * turns, and those whose turns own something or are made differently. Both forms give the same bits: the turn's number is in the random key at run
 * time where one body does for all turns. */
#include "compiler/elaborate/loop.h"

enum { FEW = 16, MOST_REPEATED = 100000, MOST_ITEMS = 1000000 };
static const int64_t node_budget = 200000;

int64_t kd__few_turns(const elab *e) { return e->opt->unroll < 0 ? 0 : e->opt->unroll ? e->opt->unroll : FEW; }

/* --- random keys ----------------------------------------------------------------------------------------------------------------- */
static kd_value key_of(kd_build *b, const loop_turn *t, kd_value key) {
  static const double spread = 0x1d2b4f6a8c3e57p0, step = 0x15a4e35f7d9b23p0;                           /* odd, and exact in a double */
  if (!t) return key;
  kd_value one = kd__b_const(b, 1, KD_I64, NULL, 0), up = kd__b_op2(b, KD_OP_MUL, key_of(b, t->up, key), kd__b_const(b, spread, KD_I64, NULL, 0));
  kd_value own = kd__b_op2(b, KD_OP_MUL, kd__b_op2(b, KD_OP_ADD, t->number, one), kd__b_const(b, step, KD_I64, NULL, 0));
  return kd__b_op2(b, KD_OP_ADD, up, own);
}

kd_value kd__turn_key(elab *e, kd_value key, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  return key_of(&b, e->loop_turn, key);
}

/* --- the budget -------------------------------------------------------------------------------------------------------------------- */
int64_t kd__node_budget(elab *e) {
  val *v;
  if (e->budget) return e->budget;
  e->budget = node_budget;                       /* while the setting is read */
  if (kd__setting(e, "budget.nodes", &v) && v->kind == V_INT && v->u.i > 0) e->budget = v->u.i;
  return e->budget;
}

static bool too_large(elab *e, const prog *p, kd_span at, const kd_sink *why) {
  int64_t most = kd__node_budget(e);
  if ((int64_t)p->g->node.n - 1 <= most) return false;
  e->sink = e->aloud;                            /* of a trial too: written out it would be no smaller */
  kd_diag *d = kd__err(e, KD_D_BUDGET, at, p->name, (long long)most);
  if (why && why->diag.n) kd__diag_help(e->sink, d, "this loop is written out turn by turn, since one body does not do for all turns: %s", why->diag.v[0]->message);
  else if (why) kd__diag_help(e->sink, d, "this loop is written out turn by turn, since each turn owns something or changes a state; without that, one body would do for all turns");
  else kd__diag_help(e->sink, d, "a loop over whole numbers, such as repeat 1000 { ... }, or for i in 0..1000 { ... }, keeps one body for all turns; --set budget.nodes=%lld allows more", (long long)most * 2);
  return true;
}

bool kd__over_budget(elab *e, const prog *p, kd_span at) { return too_large(e, p, at, NULL); }

void kd__loop_made(elab *e, size_t before, kd_span at) {
  size_t n = e->prog ? e->prog->g->node.n - before : 0;
  if (n > e->heaviest.nodes) e->heaviest.nodes = n, e->heaviest.at = at;
}

/* --- leaves --------------------------------------------------------------------------------------------------------------------------- */
void kd__leaves(elab *e, val *v, leaves *out) {
  kd__spend(e, 1);
  v = kd__force_app(v);
  if (v->kind == V_LIST) for (uint32_t i = 0; i < v->u.list.n; i++) kd__leaves(e, v->u.list.v[i], out);
  else if (v->kind == V_RECORD) for (uint32_t i = 0; i < v->u.rec.n; i++) kd__leaves(e, v->u.rec.v[i], out);
  else if (v->kind == V_TREE) for (uint32_t i = 0; i < v->u.tree->n; i++) KD_PUSH(e->a, out->v, kd__v_tensor(e, v->u.tree->leaf[i].t));
  else KD_PUSH(e->a, out->v, v);
}

val *kd__with_leaves(elab *e, val *like, val *const *part, size_t *at) {
  like = kd__force_app(like);
  if (like->kind == V_TREE) {                    /* no longer the parameters themselves */
    const tree *t = like->u.tree;
    struct leaf *l = kd__arena_copy(e->a, t->leaf, sizeof *l * t->n);
    for (uint32_t i = 0; i < t->n; i++) l[i].t = part[(*at)++]->u.t, l[i].slot = -1;
    return kd__v_tree(e, l, t->n, t->of);
  }
  if (like->kind != V_LIST && like->kind != V_RECORD) return part[(*at)++];
  bool list = like->kind == V_LIST;
  uint32_t n = list ? like->u.list.n : like->u.rec.n;
  val **v = KD_NEWN(e->a, val *, n);
  for (uint32_t i = 0; i < n; i++) v[i] = kd__with_leaves(e, list ? like->u.list.v[i] : like->u.rec.v[i], part, at);
  return list ? kd__v_list(e, v, n) : kd__v_rec(e, like->u.rec.key, v, n);
}

bool kd__same_parts(const val *a, const val *b) {
  a = kd__force_app((val *)(uintptr_t)a), b = kd__force_app((val *)(uintptr_t)b);
  bool nested = a->kind == V_LIST || a->kind == V_RECORD || a->kind == V_TREE || b->kind == V_LIST || b->kind == V_RECORD || b->kind == V_TREE;
  if (a->kind == V_TREE && b->kind == V_TREE) {
    bool same = a->u.tree->n == b->u.tree->n;
    for (uint32_t i = 0; same && i < a->u.tree->n; i++) same = strcmp(a->u.tree->leaf[i].path, b->u.tree->leaf[i].path) == 0;
    return same;
  }
  if (!nested) return a->kind != V_POISON && b->kind != V_POISON;
  if (a->kind != b->kind || a->kind == V_TREE || (a->kind == V_LIST ? a->u.list.n != b->u.list.n : a->u.rec.n != b->u.rec.n)) return false;
  for (uint32_t i = 0; i < (a->kind == V_LIST ? a->u.list.n : a->u.rec.n); i++) {
    if (a->kind == V_RECORD && strcmp(a->u.rec.key[i], b->u.rec.key[i]) != 0) return false;
    if (!kd__same_parts(a->kind == V_LIST ? a->u.list.v[i] : a->u.rec.v[i], a->kind == V_LIST ? b->u.list.v[i] : b->u.rec.v[i])) return false;
  }
  return true;
}

tensor *kd__carried(elab *e, const tensor *start, tensor *end, const kd_ast *at) {
  bool same = start->rank == end->rank && (start->dtype == end->dtype || (kd__dtype_real(start->dtype) && end->dtype == KD_I64));
  for (int i = 0; same && i < end->rank; i++) {
    int p = kd__t_find(start, end->ax[i].label);
    same = p >= 0 && start->ax[p].size == end->ax[i].size;
  }
  return same ? kd__t_align(e, end, start, at) : NULL;
}

/* --- reading a loop -------------------------------------------------------------------------------------------------------------------- */
static void add_carry(elab *e, scope *s, loop *l, const kd_ast *name) {
  binding *b = name->kind == KD_AST_NAME ? kd__assignable(s, name->text) : NULL;
  if (!b || b->kind != B_VALUE || !b->v) return;
  for (size_t i = 0; i < l->carry.n; i++) if (l->carry.v[i] == b) return;
  KD_PUSH(e->a, l->carry, b);
}

/* Names that the body assigns, in blocks and loops in it too; what definitions and functions in it assign is theirs. */
static void find_carries(elab *e, scope *s, loop *l, const kd_ast *n) {
  if (!n || n->kind == KD_AST_DEFINE || n->kind == KD_AST_LAMBDA) return;
  for (uint32_t i = 1; n->kind == KD_AST_ASSIGN && i < n->n; i++) add_carry(e, s, l, n->kid[i]);
  for (uint32_t i = 0; i < n->n; i++) find_carries(e, s, l, n->kid[i]);
}

static bool count_turns(elab *e, scope *s, loop *l, const kd_ast *count) {
  val *v = kd__force_app(kd__eval(e, s, count));
  if (v->kind == V_TENSOR) {
    kd_diag *d = kd__err(e, KD_D_LOOP_BOUND, count->span, kd__t_show(e, v->u.t));
    kd__diag_help(e->sink, d, "say how often at most, and when it ends: repeat 100 until done { ... }");
    return false;
  }
  l->range = true;
  if (!kd__want_int(e, v, count, "the number of turns", &l->times)) return false;
  if (l->times < 0) l->times = 0;
  return true;
}

/* What a loop runs over, by a bare name: the axis of that name, unless a binding of that name stands nearer. (A teacher T is no sequence's T.) */
static const axis *nearest_axis(elab *e, scope *s, const kd_ast *n) {
  if (n->kind != KD_AST_NAME) return NULL;
  const char *label = kd__intern(e, n->text);
  for (; s && !kd__scope_here(s, n->text); s = s->up)
    for (size_t i = s->axes.n; i-- > 0;)
      if (s->axes.v[i].label == label) return &s->axes.v[i];
  return NULL;
}

static bool read_loop(elab *e, scope *s, const kd_ast *n, bool value, loop *l) {
  bool repeat = n->kind == KD_AST_REPEAT;
  *l = (loop){ .n = n, .value = value, .body = n->kid[repeat ? 2 : 1], .until = repeat ? n->kid[1] : NULL };
  if (repeat) {
    l->name = n->n > 3 ? n->kid[3] : NULL;
    if (!count_turns(e, s, l, n->kid[0])) return false;
  } else {
    l->name = n->n == 3 ? n->kid[2] : NULL;
    const axis *ax = l->name ? nearest_axis(e, s, n->kid[0]) : NULL;
    val *v = ax ? NULL : kd__eval(e, s, n->kid[0]);
    if (v && v->kind == V_AXIS && l->name) ax = &v->u.ax;
    if (ax) l->range = l->over_axis = true, l->times = ax->size, l->ax = *ax;
    else if (v->kind == V_RANGE && l->name && v->u.range.to != INT64_MAX) {
      l->range = true, l->from = v->u.range.from;
      l->times = v->u.range.to > v->u.range.from ? v->u.range.to - v->u.range.from : 0;
    } else if (!kd__items_of(e, v, n->kid[0], &l->items)) return false;
    if (!l->range) l->times = (int64_t)l->items.n;
  }
  if (!l->over_axis) l->ax = (axis){ kd__intern(e, l->name ? l->name->text : "i"), l->times, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
  find_carries(e, s, l, l->body);
  return true;
}

bool kd__until(elab *e, scope *s, const loop *l, tensor **c) {
  val *v = kd__force_app(kd__eval(e, s, l->until));
  *c = NULL;
  if (v->kind == V_POISON || (v->kind == V_BOOL && !v->u.b)) return v->kind != V_POISON;
  if (v->kind != V_BOOL && (v->kind != V_TENSOR || v->u.t->rank || v->u.t->dtype != KD_BOOL)) {
    kd_diag *d = kd__err(e, KD_D_UNTIL, l->until->span, "until", v->kind == V_TENSOR && !v->u.t->rank ? "a number" : kd__v_show(e, v));
    if (v->kind == V_TENSOR && v->u.t->dtype == KD_BOOL) kd__diag_help(e->sink, d, "all(c, over: [..]) or any(c, over: [..]) makes one of many");
    return false;
  }
  return (*c = kd__want_tensor(e, v, l->until)) != NULL;
}

void kd__yield(elab *e, scope *s, const kd_ast *n) {
  if (!e->yielded) {
    kd_diag *d = kd__err(e, KD_D_YIELD_PLACE, n->span);
    kd__diag_help(e->sink, d, "rows = for i in 0..3 { yield ... }");
    return;
  }
  val *v = kd__eval(e, s, n->kid[0]);
  if (e->yielded->n++ == 0) e->yielded->v = v, e->yielded->at = n;
}

/* --- written out --------------------------------------------------------------------------------------------------------------------- */
typedef struct written { loop *l; scope *s; bool alike; tensor *done; KD_VEC(val *) row; leaves last; const kd_sink *why; } written;

/* Names made in the body become lists outside, one item a turn (design 2.7, rule 7). */
static void collect(elab *e, const written *w, scope *in) {
  const kd_ast *n = w->l->n;
  for (size_t i = 0; i < in->b.n; i++) {
    binding *b = in->b.v[i];
    bool is_name = w->l->name && strcmp(w->l->name->text, b->name) == 0;
    for (uint32_t k = 2; n->kind == KD_AST_FOR_IN && k < n->n; k++) is_name = is_name || strcmp(n->kid[k]->text, b->name) == 0;
    if (is_name || b->kind == B_FORMULA || b->kind == B_STATE || b->kind == B_PARAM || !b->v) continue;
    if (b->kind == B_STACK) kd__unstack(e, b, n);
    binding *o = kd__scope_here(w->s, b->name);
    if (o && o->kind == B_STACK) kd__unstack(e, o, n);
    if (o && o->kind != B_LIST) continue;
    if (!o) { o = kd__scope_bind(e, w->s, b->name, kd__v_list(e, NULL, 0), b->at); o->kind = B_LIST; o->used = true; }
    val *one = kd__v_list(e, KD_NEWN(e->a, val *, 1), 1);
    one->u.list.v[0] = b->v;
    o->v = kd__list_plus(e, o->v, one);
  }
}

static tensor *hold(elab *e, const written *w, val *old, val *now) {
  const kd_ast *at = w->l->until;
  tensor *a = kd__want_tensor(e, old, at), *b = kd__want_tensor(e, now, at);
  return a && b ? kd__t_where(e, w->done, a, b, at) : NULL;
}

static const char *show(elab *e, val *v) {
  v = kd__force_app(v);
  if (v->kind != V_TENSOR) return kd__v_show(e, v);
  const char *of = v->u.t->dtype == KD_BOOL ? "truth values" : kd__dtype_real(v->u.t->dtype) ? "reals" : "whole numbers";
  return kd__arena_printf(e->a, "%s %s", of, kd__t_show(e, v->u.t));
}

/* One carry at the end of a turn: as it was at its start but for its values, and as it was where the loop has ended. */
static bool end_carry(elab *e, const written *w, binding *b, val *start) {
  leaves old = { 0 }, now = { 0 };
  kd__leaves(e, start, &old);
  kd__leaves(e, b->v, &now);
  bool good = kd__same_parts(start, b->v);
  if (!good && (start->kind == V_POISON || b->v->kind == V_POISON)) return false;
  for (size_t i = 0; good && i < now.v.n; i++) {
    val *x = old.v.v[i], *y = now.v.v[i];
    if (x == y) continue;
    if (x->kind == V_TENSOR) {
      tensor *t = y->kind == V_TENSOR || kd__is_num(y) || y->kind == V_BOOL ? kd__want_tensor(e, y, b->at) : NULL;
      t = t ? kd__carried(e, x->u.t, t, b->at) : NULL;
      if (!t) good = false;
      else now.v.v[i] = kd__v_tensor(e, t);
    }
    if (!good || !w->done || (y->kind != V_TENSOR && !kd__is_num(y) && y->kind != V_BOOL)) continue;
    tensor *t = hold(e, w, x, now.v.v[i]);
    if (!t) return false;
    now.v.v[i] = kd__v_tensor(e, t);
  }
  if (!good) {
    kd_diag *d = kd__err(e, KD_D_CARRY, b->at->span, b->name, show(e, start), show(e, b->v));
    kd__diag_label(e->sink, d, w->l->n->span, "this loop");
    kd__diag_help(e->sink, d, "a name from outside has the same axes before and after each turn; a name that only the body knows may be anything");
    return false;
  }
  size_t at = 0;
  b->v = kd__with_leaves(e, b->v, now.v.v, &at);
  return true;
}

static bool like_first(elab *e, const written *w, const yielded *y, const leaves *now) {
  leaves first = { 0 };
  kd__leaves(e, w->row.v[0], &first);
  if (!kd__same_parts(w->row.v[0], y->v)) return false;
  for (size_t i = 0; i < now->v.n; i++) {
    const val *a = first.v.v[i], *b = now->v.v[i];
    if (a->kind == V_TENSOR && b->kind == V_TENSOR && !kd__carried(e, a->u.t, b->u.t, y->at) && !kd__carried(e, b->u.t, a->u.t, y->at)) return false;
  }
  return true;
}

static bool end_yield(elab *e, written *w, const yielded *y) {
  if (y->n != 1) {
    kd_diag *d = kd__err(e, KD_D_YIELD_ONCE, y->n ? y->at->span : w->l->n->span, y->n);
    kd__diag_help(e->sink, d, y->n ? "yield a record of all: yield (a: x, b: y)" : "write `yield x` into its body, or the loop as a statement");
    return false;
  }
  leaves now = { 0 };
  kd__leaves(e, y->v, &now);
  for (size_t i = 0; i < now.v.n; i++) {
    val *v = now.v.v[i];
    if (v->kind == V_POISON) return false;
    if (v->kind != V_TENSOR && !kd__is_num(v) && v->kind != V_BOOL) { kd__err(e, KD_D_YIELD_KIND, y->at->span, kd__v_show(e, v)); return false; }
    if (!w->done) continue;
    tensor *t = hold(e, w, w->last.v.v[i], v);
    if (!t) return false;
    now.v.v[i] = kd__v_tensor(e, t);
  }
  if (w->row.n && !like_first(e, w, y, &now)) { kd__err(e, KD_D_JOIN, y->at->span, "yield", show(e, w->row.v[0]), show(e, y->v)); return false; }
  size_t at = 0;
  w->last = now;
  KD_PUSH(e->a, w->row, kd__with_leaves(e, y->v, now.v.v, &at));
  return true;
}

static bool end_turn(elab *e, written *w, scope *in, val *const *start, const yielded *y) {
  loop *l = w->l;
  tensor *c = NULL;
  if (e->returned && l->value) {
    e->returned = false;
    kd__err(e, KD_D_LOOP_RETURN, l->n->span);
    return false;
  }
  if (e->returned) return false;
  if (l->until && !kd__until(e, in, l, &c)) return false;
  for (size_t i = 0; (l->value || l->until) && i < l->carry.n; i++) if (!end_carry(e, w, l->carry.v[i], start[i])) return false;
  if (l->value && !end_yield(e, w, y)) return false;
  if (!l->value) collect(e, w, in);
  if (!c) return true;
  kd_build b = kd__b(e, l->until);
  w->done = w->done ? kd__t_wrap(e, kd__b_op2(&b, KD_OP_OR, w->done->v, c->v), NULL, 0, l->until) : c;
  return true;
}

static bool begin_turn(elab *e, const written *w, scope *in, int64_t k) {
  const loop *l = w->l;
  const kd_ast *n = l->n;
  if (!l->range) return kd__bind_item(e, in, (const kd_ast *const *)n->kid + 2, n->n - 2, l->items.v[k], n);
  if (l->name) kd__scope_bind(e, in, l->name->text, kd__v_int(e, l->from + k), l->name)->used = true;
  return true;
}

static bool one_turn(elab *e, written *w, int64_t k) {
  loop *l = w->l;
  scope *in = kd__scope_new(e, w->s, NULL);
  val **start = KD_NEWN(e->a, val *, l->carry.n + 1);
  yielded y = { 0 }, *outer = e->yielded;
  uint64_t around = e->loop;
  const char *turns = e->turns;
  loop_turn here = { e->loop_turn, 0 };
  size_t errors = e->sink->errors;
  in->loop = true;
  if (w->alike) {
    kd_build b = kd__b(e, l->n);
    here.number = kd__b_const(&b, (double)k, KD_I64, NULL, 0);
    e->loop_turn = &here;
  } else {
    kd__enter_turn(e, around, turns, (size_t)k);
  }
  for (size_t i = 0; i < l->carry.n; i++) start[i] = l->carry.v[i]->v;
  e->yielded = l->value ? &y : NULL;
  bool good = begin_turn(e, w, in, k);
  if (good) kd__exec_block(e, in, l->body);
  good = good && !e->refused && !(e->tryout && e->tryout->failed) && end_turn(e, w, in, start, &y);
  e->loop_turn = here.up, e->yielded = outer, e->loop = around, e->turns = turns;
  if (e->prog && e->prog->g->node.n > KD__NODES_LOOKED_AT && too_large(e, e->prog, l->n->span, w->why)) {
    kd__give_up(e);
    return false;
  }
  return good && (e->sink->errors == errors || l->times <= FEW);         /* the same mistake is not said in each of many turns */
}

/* The rows on top of each other, leaf by leaf. */
static val *stack_rows(elab *e, const written *w) {
  const loop *l = w->l;
  leaves first = { 0 };
  kd__leaves(e, w->row.v[0], &first);
  val **part = KD_NEWN(e->a, val *, first.v.n + 1);
  tensor ***x = KD_NEWN(e->a, tensor **, first.v.n + 1);
  for (size_t i = 0; i < first.v.n; i++) x[i] = KD_NEWN(e->a, tensor *, w->row.n);
  for (size_t k = 0; k < w->row.n; k++) {
    leaves row = { 0 };
    kd__leaves(e, w->row.v[k], &row);
    for (size_t i = 0; i < first.v.n; i++) if (!(x[i][k] = kd__want_tensor(e, row.v.v[i], l->n))) return &kd__poison;
  }
  for (size_t i = 0; i < first.v.n; i++) {
    tensor *t = kd__t_stack(e, x[i], (int)w->row.n, l->ax.label, l->n);
    if (!t) return &kd__poison;
    if (l->over_axis) t->ax[0] = l->ax;
    part[i] = kd__v_tensor(e, t);
  }
  size_t at = 0;
  return kd__with_leaves(e, w->row.v[0], part, &at);
}

static val *write_out(elab *e, scope *s, loop *l, bool alike, const kd_sink *why) {
  written w = { .l = l, .s = s, .alike = alike, .why = alike || !l->range ? NULL : why };
  size_t before = e->prog ? e->prog->g->node.n : 0;
  int64_t k = 0, most = l->n->kind == KD_AST_REPEAT ? MOST_REPEATED : MOST_ITEMS;
  if (l->times > most) { kd__err(e, KD_D_LOOP_LONG, l->n->kind == KD_AST_REPEAT ? l->n->span : l->n->kid[0]->span, (long long)l->times); return &kd__poison; }
  for (; k < l->times && one_turn(e, &w, k); k++) {}
  kd__loop_made(e, before, l->n->span);
  if (!l->value || (int64_t)w.row.n < l->times) return &kd__poison;
  if (l->times > 0) return stack_rows(e, &w);
  for (size_t i = 0; i < why->diag.n; i++) KD_PUSH(e->a, e->sink->diag, why->diag.v[i]);
  e->sink->errors += why->errors;
  if (!why->errors) kd__err(e, KD_D_YIELD_KIND, l->n->span, "nothing: it has no turn");
  return &kd__poison;
}

/* Does somebody replace what this body binds? Then turns are counted. */
static bool rewired_here(const scope *s) {
  while (s && !s->definition && !s->rewire) s = s->up;
  return s && s->rewire;
}

static val *run(elab *e, scope *s, const kd_ast *n, bool value) {
  loop l;
  kd_sink why;
  val *out = &kd__poison;
  kd__sink_init(&why, e->a);
  if (!read_loop(e, s, n, value, &l)) return out;
  bool tried = l.range && e->prog && !s->scheme && !rewired_here(s) && (value || l.times > 0), make = l.times > kd__few_turns(e) || l.times == 0 || (e->tryout && e->tryout->rough);
  bool alike = tried && kd__loop_node(e, s, &l, make, &out, &why);
  if (!(alike && make)) out = write_out(e, s, &l, alike, &why);
  e->turned = l.ax.label;
  return out;
}

val *kd__loop_value(elab *e, scope *s, const kd_ast *n) { return run(e, s, n, true); }
void kd__loop_stmt(elab *e, scope *s, const kd_ast *n) { (void)run(e, s, n, false); }
