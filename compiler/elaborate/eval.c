/* eval.c: expressions: one evaluator for static values and graph values. */
#include "compiler/elaborate/scheme.h"
#include <math.h>

/* --- reading names ------------------------------------------------------------------------------------------------------- */
static const char *text_of(elab *e, const kd_ast *n) {
  uint32_t len = n->span.len > 40 ? 40 : n->span.len;
  return kd__arena_strndup(e->a, n->span.src->text + n->span.at, len);
}

/* A tensor read by name at experiment level remembers the words it was read by, for messages; an application's value does too. */
static val *with_source(elab *e, scope *s, val *v, const kd_ast *n) {
  if (s->place != e->top) return v;
  if (v->kind == V_APP && v->u.app->ret->kind != V_POISON) {
    val *ret = with_source(e, s, v->u.app->ret, n);
    if (ret == v->u.app->ret) return v;
    val *r = kd__v_new(e, V_APP);
    r->u.app = kd__arena_copy(e->a, v->u.app, sizeof *v->u.app);
    r->u.app->ret = ret;
    return r;
  }
  if (v->kind != V_TENSOR || v->u.t->from) return v;
  val *r = kd__v_tensor(e, v->u.t);
  r->u.t->from = text_of(e, n);
  return r;
}

/* A formula read first in a trial and now outside of it (or in another): what it updates belongs here from now on. What trials inside it
 * tried stays theirs. */
static void adopt(elab *e, prog *p, size_t k) {
  memo *m = &p->memo.v[k];
  const trial *t = e->trial;
  while (t && t != m->trial) t = t->up;
  if (t == m->trial) return;
  trial *of = m->trial;
  for (size_t i = m->pending_from; i < m->pending_to && i < p->pending.n; i++) {
    trial *c = p->pending.v[i].trial;
    if (c == of) { p->pending.v[i].trial = e->trial; continue; }
    while (c && c->up != of) c = c->up;
    if (c) c->up = e->trial;
  }
  for (size_t i = m->memo_from; i <= k; i++) if (p->memo.v[i].trial == of) p->memo.v[i].trial = e->trial;
}

/* Under the axes that `let x: [B, K] = ...` or the parameter of a scheme declares. */
static val *named(elab *e, binding *b, const kd_ast *type, val *v) {
  scope *tmp = kd__scope_new(e, b->type ? b->formal : b->scope, NULL);
  if (b->type) return kd__typed(e, tmp, type, &v, NULL, b->expr, b->name, b->name) ? v : &kd__poison;
  tensor *t = kd__want_tensor(e, v, b->expr), out;
  labels back = { 0 };
  if (!t) return &kd__poison;
  if (!type->n || !type->kid[0] || !kd__match_axes(e, tmp, type, t, &back, b->expr, b->name, &out, b->name)) return v;
  for (int i = 0; i < out.rank; i++) out.ax[i].guessed = AXIS_NAMED;
  return kd__v_tensor(e, &out);
}

/* What a formula is does not depend on who reads it: neither loops, nor modes, nor other parameters around the reader matter. */
static val *eval_formula(elab *e, binding *b) {
  uint64_t loop = e->loop, salt = e->salt;
  frame *up = e->frame;
  const place *outside = e->outside;
  overlay *around = e->over;
  int8_t mode = e->mode;
  const char *as = b->scope->bound_as;
  const char *turns = e->turns;
  rule *rules = e->rules;
  app *inside = e->inside;
  draw_key *key = e->key;
  tryout *outer = e->tryout;
  loop_turn *number = e->loop_turn;
  yielded *y = e->yielded;
  e->loop = b->loop; e->turns = b->turns ? b->turns : ""; e->salt = 0; e->frame = NULL; e->over = NULL; e->mode = 0; e->rules = NULL; e->inside = NULL; e->key = NULL;
  e->tryout = NULL; e->loop_turn = NULL; e->yielded = NULL;
  e->outside = b->scope->place;
  b->scope->bound_as = b->name;
  val *v = kd__eval(e, b->scope, b->expr);
  b->scope->bound_as = as;
  const kd_ast *type = b->type ? b->type : b->at && b->at->kind == KD_AST_BIND && b->at->n ? b->at->kid[0] : NULL;
  if (type && v->kind != V_POISON) v = named(e, b, type, v);
  e->loop = loop; e->turns = turns; e->salt = salt; e->frame = up; e->outside = outside; e->over = around; e->mode = mode; e->rules = rules; e->inside = inside; e->key = key;
  e->tryout = outer; e->loop_turn = number; e->yielded = y;
  return v;
}

static val *read_formula(elab *e, binding *b) {
  prog *p = e->prog;
  if (!p) return &kd__poison;
  for (size_t i = 0; i < p->memo.n; i++)
    if (p->memo.v[i].key == b && p->memo.v[i].version == p->clock) { adopt(e, p, i); return p->memo.v[i].v; }
  size_t from = p->pending.n, memos = p->memo.n;
  val *v = eval_formula(e, b);
  KD_PUSH(e->a, p->memo, (memo){ b, p->clock, v, e->trial, from, p->pending.n, memos });
  return v;
}

val *kd__read_binding(elab *e, binding *b, const kd_ast *n) {
  b->used = true;
  switch (b->kind) {
    case B_FORMULA: return read_formula(e, b);
    case B_STATE: case B_PARAM: return kd__read_slot(e, b->slot, n);
    case B_STACK: return kd__unstack(e, b, n);
    default: return b->v;
  }
}

static val *ambient_name(elab *e, scope *s, const kd_ast *n, const char *name) {
  static const char *const names[] = {
#define KD_AMBIENT(ID, text, doc) text,
#include "runtime/exec/ambient.def"
#undef KD_AMBIENT
  };
  if (strcmp(name, "training") == 0) return kd__v_bool(e, kd__training(e, s));
  if (strcmp(name, "infinity") == 0) return kd__v_real(e, INFINITY);
  if (strcmp(name, "pi") == 0) return kd__v_real(e, 3.14159265358979323846);
  for (int i = 0; i < KD_AMBIENT_KEY; i++) if (strcmp(names[i], name) == 0) return kd__ambient(e, (kd_ambient)i, n);
  if (e->opt_ctx.pv && strcmp(name, "param") == 0) return e->opt_ctx.pv;
  if (e->opt_ctx.gv && strcmp(name, "grad") == 0) return e->opt_ctx.gv;
  return NULL;
}

static val *unknown_name(elab *e, scope *s, const kd_ast *n, const char *name) {
  const char *names[1024];
  size_t k = 0;
  for (scope *t = s; t; t = t->up)
    for (size_t i = 0; i < t->b.n && k < 512; i++) names[k++] = t->b.v[i]->name;
  for (size_t i = 0; e->prelude && i < e->prelude->scope->b.n && k < 768; i++) names[k++] = e->prelude->scope->b.v[i]->name;
  k += kd__builtin_names(names + k, 1024 - k);
  if (kd__absent(e, s, kd__intern(e, name), n)) return &kd__poison;
  const char *near = kd__nearest(e, name, names, k);
  kd_diag *d = kd__err(e, KD_D_UNKNOWN_NAME, n->span, name);
  if (kd__hint_name(e, d, name, n->span.src)) return &kd__poison;
  if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
  else if (kd__scope_axis(s, kd__intern(e, name))) kd__diag_help(e->sink, d, "`%s` is an axis here; size(%s) is its size", name, name);
  return &kd__poison;
}

val *kd__read(elab *e, scope *s, const kd_ast *n, const char *name) {
  val *other = e->rules ? kd__by_rule(e, s, name) : NULL;
  if (other) return other;
  binding *b = kd__scope_find(s, name, NULL);
  if (!b && e->prelude && e->prelude->scope) b = kd__scope_here(e->prelude->scope, name);
  if (b) return kd__read_binding(e, b, n);
  val *v = ambient_name(e, s, n, name);
  if (v) return v;
  const builtin *bi = kd__builtin_find(name);
  if (bi) { v = kd__v_new(e, V_BUILTIN); v->u.builtin = bi; return v; }
  const axis *ax = kd__scope_axis(s, kd__intern(e, name));
  if (ax) { v = kd__v_new(e, V_AXIS); v->u.ax = *ax; return v; }
  return unknown_name(e, s, n, name);
}

/* --- arithmetic ---------------------------------------------------------------------------------------------------------------- */
typedef struct op_row { const char *sign; kd_op op; bool swap, negate, compare; } op_row;
static const op_row op_rows[] = {
  { "+", KD_OP_ADD, 0, 0, 0 }, { "-", KD_OP_SUB, 0, 0, 0 }, { "*", KD_OP_MUL, 0, 0, 0 }, { "/", KD_OP_DIV, 0, 0, 0 }, { "%", KD_OP_REM, 0, 0, 0 },
  { "^", KD_OP_POW, 0, 0, 0 }, { "==", KD_OP_EQ, 0, 0, 1 }, { "!=", KD_OP_NE, 0, 0, 1 }, { "<", KD_OP_LT, 0, 0, 1 }, { "<=", KD_OP_LE, 0, 0, 1 },
  { ">", KD_OP_LT, 1, 0, 1 }, { ">=", KD_OP_LE, 1, 0, 1 }, { "and", KD_OP_AND, 0, 0, 0 }, { "or", KD_OP_OR, 0, 0, 0 },
};

static const op_row *row_of(const char *op) {
  for (size_t i = 0; i < sizeof op_rows / sizeof *op_rows; i++)
    if (strcmp(op_rows[i].sign, op) == 0) return &op_rows[i];
  return NULL;
}

static val *static_compare(elab *e, const char *op, double x, double y) {
  bool r = strcmp(op, "==") == 0 ? x == y : strcmp(op, "!=") == 0 ? x != y : strcmp(op, "<") == 0 ? x < y
         : strcmp(op, "<=") == 0 ? x <= y : strcmp(op, ">") == 0 ? x > y : x >= y;
  return kd__v_bool(e, r);
}

static val *static_int(elab *e, const kd_ast *n, char op, int64_t x, int64_t y) {
  int64_t r = 0;
  bool bad = false;
  switch (op) {
    case '+': bad = __builtin_add_overflow(x, y, &r); break;
    case '-': bad = __builtin_sub_overflow(x, y, &r); break;
    case '*': bad = __builtin_mul_overflow(x, y, &r); break;
    case '%':
      if (y == 0) { kd__err(e, KD_D_DIVISION, n->span); return &kd__poison; }
      r = y == -1 ? 0 : x % y;
      if (r && (r < 0) != (y < 0)) r += y;
      break;
    default: break;
  }
  if (bad) { kd__err(e, KD_D_OVERFLOW, n->span); return &kd__poison; }
  return kd__v_int(e, r);
}

static val *static_binary(elab *e, const kd_ast *n, const char *op, val *a, val *b) {
  double x = kd__num(a), y = kd__num(b);
  if (row_of(op)->compare) return static_compare(e, op, x, y);
  bool ints = a->kind == V_INT && b->kind == V_INT;
  if (strcmp(op, "/") == 0) {
    if (y == 0) { kd__err(e, KD_D_DIVISION, n->span); return &kd__poison; }
    return kd__v_real(e, x / y);
  }
  if (*op == '^') {
    double r = pow(x, y);
    return ints && y >= 0 && fabs(r) < 9e15 ? kd__v_int(e, (int64_t)r) : kd__v_real(e, r);
  }
  if (ints) return static_int(e, n, *op, a->u.i, b->u.i);
  switch (*op) {
    case '+': return kd__v_real(e, x + y);
    case '-': return kd__v_real(e, x - y);
    case '*': return kd__v_real(e, x * y);
    default:
      if (y == 0) { kd__err(e, KD_D_DIVISION, n->span); return &kd__poison; }
      return kd__v_real(e, x - floor(x / y) * y);
  }
}

val *kd__list_plus(elab *e, val *a, val *b) {
  kd__spend(e, ((int64_t)a->u.list.n + b->u.list.n) / 16);
  uint32_t n = a->u.list.n + b->u.list.n;
  val **v = KD_NEWN(e->a, val *, n);
  if (a->u.list.n) memcpy(v, a->u.list.v, sizeof(val *) * a->u.list.n);
  if (b->u.list.n) memcpy(v + a->u.list.n, b->u.list.v, sizeof(val *) * b->u.list.n);
  return kd__v_list(e, v, n);
}

static const char *together(elab *e, const char *a, const char *b) {
  kd__spend(e, (int64_t)((strlen(a) + strlen(b)) / 64));
  return kd__arena_printf(e->a, "%s%s", a, b);
}

static bool is_static(const val *v) { return kd__is_num(v) || v->kind == V_BOOL || v->kind == V_STRING || v->kind == V_NONE; }

/* Equality of static values of any kind. */
static bool same(const val *a, const val *b) {
  if (kd__is_num(a) && kd__is_num(b)) return kd__num(a) == kd__num(b);
  if (a->kind != b->kind) return false;
  return a->kind == V_NONE || (a->kind == V_BOOL && a->u.b == b->u.b) || (a->kind == V_STRING && strcmp(a->u.s, b->u.s) == 0);
}

static val *binary_leaf(elab *e, void *op, const kd_ast *at, val **v) { return kd__binary(e, at, op, v[0], v[1]); }
static val *unary_leaf(elab *e, void *op, const kd_ast *at, val **v) { return kd__unary(e, at, *(kd_op *)op, v[0]); }

val *kd__binary(elab *e, const kd_ast *n, const char *op, val *a, val *b) {
  a = kd__force_app(a); b = kd__force_app(b);
  if (a->kind == V_POISON || b->kind == V_POISON) return &kd__poison;
  bool arithmetic = kd__is_num(a) && kd__is_num(b) && strcmp(op, "and") != 0 && strcmp(op, "or") != 0;
  if (arithmetic) return static_binary(e, n, op, a, b);
  if (a->kind == V_LIST && b->kind == V_LIST && *op == '+') return kd__list_plus(e, a, b);
  bool equality = strcmp(op, "==") == 0 || strcmp(op, "!=") == 0;
  if (equality && ((is_static(a) && is_static(b)) || a->kind == V_NONE || b->kind == V_NONE)) return kd__v_bool(e, same(a, b) == (*op == '='));
  if (kd__treelike(a) || kd__treelike(b)) return kd__tree_map(e, n, (val *[]){ a, b }, 2, binary_leaf, (void *)(uintptr_t)op);
  if (a->kind == V_BOOL && b->kind == V_BOOL) return kd__v_bool(e, *op == 'a' ? a->u.b && b->u.b : a->u.b || b->u.b);
  if (a->kind == V_STRING && b->kind == V_STRING && *op == '+') return kd__v_str(e, together(e, a->u.s, b->u.s));
  const kd_ast *la = n->n > 0 ? n->kid[0] : n, *lb = n->n > 1 ? n->kid[1] : n;
  tensor *x = kd__want_tensor(e, a, la), *y = x ? kd__want_tensor(e, b, lb) : NULL;
  if (!x || !y) return &kd__poison;
  const op_row *r = row_of(op);
  return kd__v_tensor(e, r->swap ? kd__t_binary(e, r->op, y, x, n, lb, la) : kd__t_binary(e, r->op, x, y, n, la, lb));
}

val *kd__unary(elab *e, const kd_ast *n, kd_op op, val *a) {
  a = kd__force_app(a);
  if (a->kind == V_POISON) return a;
  if (op == KD_OP_NEG && a->kind == V_INT) return kd__v_int(e, a->u.i == INT64_MIN ? INT64_MAX : -a->u.i);
  if (op == KD_OP_NEG && a->kind == V_REAL) return kd__v_real(e, -a->u.r);
  if (kd__treelike(a)) return kd__tree_map(e, n, &a, 1, unary_leaf, &op);
  if (op == KD_OP_NOT && a->kind == V_BOOL) return kd__v_bool(e, !a->u.b);
  tensor *t = kd__want_tensor(e, a, n);
  if (!t) return &kd__poison;
  if ((op == KD_OP_NOT) != (t->dtype == KD_BOOL)) {
    kd__err(e, KD_D_WANT_KIND, n->span, kd__op_info(op)->name, op == KD_OP_NOT ? "truth values" : "numbers", kd__t_show(e, t));
    return &kd__poison;
  }
  return kd__v_tensor(e, kd__t_unary(e, op, t, n));
}

/* --- lists, comprehensions -------------------------------------------------------------------------------------------------------- */
bool kd__items_of(elab *e, val *v, const kd_ast *at, val_vec *out) {
  if (v->kind == V_LIST) { kd__spend(e, v->u.list.n); for (uint32_t i = 0; i < v->u.list.n; i++) KD_PUSH(e->a, *out, v->u.list.v[i]); return true; }
  if (v->kind == V_RANGE && v->u.range.to != INT64_MAX) {
    if (v->u.range.to - v->u.range.from > 1000000) { kd__err(e, KD_D_LOOP_LONG, at->span, (long long)(v->u.range.to - v->u.range.from)); return false; }
    kd__spend(e, v->u.range.to > v->u.range.from ? v->u.range.to - v->u.range.from : 0);
    for (int64_t i = v->u.range.from; i < v->u.range.to; i++) KD_PUSH(e->a, *out, kd__v_int(e, i));
    return true;
  }
  if (v->kind == V_TREE) return kd__items_of(e, kd__tree_items(e, v->u.tree), at, out);
  if (v->kind == V_RECORD) { for (uint32_t i = 0; i < v->u.rec.n; i++) KD_PUSH(e->a, *out, v->u.rec.v[i]); return true; }
  if (v->kind != V_POISON) {
    kd_diag *d = kd__err(e, KD_D_NOT_LIST, at->span, kd__v_show(e, v));
    if (v->kind == V_TENSOR) kd__diag_help(e->sink, d, "whole tensors are computed at once, by the names of their axes; loops run over lists and ranges such as 0..3");
  }
  return false;
}

/* Binds the names of a loop to one item: one name takes it whole, several take its parts. */
bool kd__bind_item(elab *e, scope *s, const kd_ast *const *names, uint32_t n, val *item, const kd_ast *at) {
  if (n == 1) { kd__scope_bind(e, s, names[0]->text, item, names[0])->used = true; return true; }
  if (item->kind != V_LIST || item->u.list.n != n) {
    kd_diag *d = item->kind == V_POISON ? NULL : kd__err(e, KD_D_UNPACK, at->span, n, kd__v_show(e, item));
    if (d) kd__hint_value(e, d, item, names[0]);
    return false;
  }
  for (uint32_t i = 0; i < n; i++) kd__scope_bind(e, s, names[i]->text, item->u.list.v[i], names[i])->used = true;
  return true;
}

/* Enters turn i of a static loop: it is part of the random key and of the paths of what is made there. */
void kd__enter_turn(elab *e, uint64_t loop, const char *turns, size_t i) {
  e->loop = kd__mix(loop, i + 1);
  e->turns = kd__arena_printf(e->a, "%s.%zu", turns, i);
}

static void comprehend(elab *e, scope *s, const kd_ast *n, uint32_t k, val_vec *out) {
  if (k == n->n) { KD_PUSH(e->a, *out, kd__eval(e, s, n->kid[0])); return; }
  const kd_ast *c = n->kid[k];
  val_vec items = { 0 };
  if (!kd__items_of(e, kd__eval(e, s, c->kid[0]), c->kid[0], &items)) return;
  uint64_t loop = e->loop;
  const char *turns = e->turns;
  for (size_t i = 0; i < items.n; i++) {
    scope *in = kd__scope_new(e, s, NULL);
    in->bound_as = s->bound_as; in->prefix = s->prefix;
    kd__enter_turn(e, loop, turns, i);
    bool take = true;
    if (!kd__bind_item(e, in, (const kd_ast *const *)c->kid + 2, c->n - 2, items.v[i], c)) break;
    if (c->kid[1] && !kd__want_bool(e, kd__eval(e, in, c->kid[1]), c->kid[1], "the condition", &take)) break;
    if (take) comprehend(e, in, n, k + 1, out);
    if (i % 64 == 63 && e->prog && kd__over_budget(e, e->prog, n->span)) { kd__give_up(e); break; }
  }
  e->loop = loop; e->turns = turns;
}

static val *eval_list(elab *e, scope *s, const kd_ast *n) {
  val **v = KD_NEWN(e->a, val *, n->n);
  uint64_t loop = e->loop;
  const char *turns = e->turns;
  for (uint32_t i = 0; i < n->n; i++) {
    kd__enter_turn(e, loop, turns, i);
    if (n->kid[i]->kind == KD_AST_REST || (n->kid[i]->kind == KD_AST_ARG && n->kid[i]->text)) {
      kd__err(e, KD_D_SHAPE_HERE, n->kid[i]->span);
      v[i] = &kd__poison;
    } else {
      v[i] = kd__eval(e, s, n->kid[i]->kind == KD_AST_ARG ? n->kid[i]->kid[0] : n->kid[i]);
    }
  }
  e->loop = loop; e->turns = turns;
  return kd__v_list(e, v, n->n);
}

static val *eval_record(elab *e, scope *s, const kd_ast *n) {
  const char **key = KD_NEWN(e->a, const char *, n->n);
  val **v = KD_NEWN(e->a, val *, n->n);
  for (uint32_t i = 0; i < n->n; i++) {
    key[i] = n->kid[i]->text ? n->kid[i]->text : "";
    for (uint32_t j = 0; j < i; j++) if (strcmp(key[i], key[j]) == 0) kd__err(e, KD_D_DUPLICATE, n->kid[i]->span, key[i]);
    v[i] = kd__eval(e, s, n->kid[i]->kid[0]);
  }
  return kd__v_rec(e, key, v, n->n);
}

static val *eval_range(elab *e, scope *s, const kd_ast *n) {
  int64_t from = 0, to = INT64_MAX;
  const kd_ast *a = n->kind == KD_AST_RANGE_TO ? NULL : n->kid[0], *b = n->kind == KD_AST_RANGE_TO ? n->kid[0] : n->kind == KD_AST_BINARY ? n->kid[1] : NULL;
  if (a && !kd__want_int(e, kd__eval(e, s, a), a, "a range's start", &from)) return &kd__poison;
  if (b && !kd__want_int(e, kd__eval(e, s, b), b, "a range's end", &to)) return &kd__poison;
  val *v = kd__v_new(e, V_RANGE);
  v->u.range.from = from; v->u.range.to = to;
  return v;
}

static val *eval_logic(elab *e, scope *s, const kd_ast *n) {
  val *a = kd__force_app(kd__eval(e, s, n->kid[0]));
  if (a->kind == V_BOOL && a->u.b != (*n->text == 'a')) return a;
  val *b = kd__force_app(kd__eval(e, s, n->kid[1]));
  if (a->kind == V_BOOL && (b->kind == V_BOOL || b->kind == V_TENSOR)) return b;
  return kd__binary(e, n, n->text, a, b);
}

/* x |> f(a) is f(x, a). */
static val *eval_pipe(elab *e, scope *s, const kd_ast *n) {
  val *x = kd__eval(e, s, n->kid[0]);
  const kd_ast *f = n->kid[1];
  arg *args = NULL;
  uint32_t k = f->kind == KD_AST_CALL ? kd__args(e, s, f, &args) : 0;
  arg *all = KD_NEWN(e->a, arg, k + 1);
  all[0] = (arg){ NULL, x, n->kid[0] };
  if (k) memcpy(all + 1, args, sizeof(arg) * k);
  return kd__call_value(e, s, kd__eval(e, s, f->kind == KD_AST_CALL ? f->kid[0] : f), all, k + 1, f);
}

static val *eval_if(elab *e, scope *s, const kd_ast *n) {
  val *c = kd__force_app(kd__eval(e, s, n->kid[0]));
  if (c->kind == V_TENSOR) {
    kd_diag *d = kd__err(e, KD_D_RUNTIME_IF, n->kid[0]->span, kd__t_show(e, c->u.t));
    kd__diag_help(e->sink, d, s->scheme ? "where(c, a, b) selects element by element; a `let` or `update` of a scheme may decide while it runs: let y = if c then a else b"
                                    : "where(c, a, b) selects element by element at run time");
    return &kd__poison;
  }
  bool b;
  return kd__want_bool(e, c, n->kid[0], "the condition", &b) ? kd__eval(e, s, n->kid[b ? 1 : 2]) : &kd__poison;
}

/* "block{i}": a name in braces stands for its value. */
static val *eval_string(elab *e, scope *s, const kd_ast *n) {
  if (!strchr(n->text, '{')) return kd__v_str(e, n->text);
  const char *done = "";
  for (const char *p = n->text; *p;) {
    size_t plain = strcspn(p, "{"), name = p[plain] ? strspn(p + plain + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") : 0;
    if (!name || p[plain + 1 + name] != '}' || (p[plain + 1] >= '0' && p[plain + 1] <= '9')) {       /* no hole */
      plain += p[plain] != 0;
      done = kd__arena_printf(e->a, "%s%.*s", done, (int)plain, p);
      p += plain;
      continue;
    }
    val *v = kd__force_app(kd__read(e, s, n, kd__arena_strndup(e->a, p + plain + 1, name)));
    if (v->kind == V_POISON) return v;
    if (!is_static(v) || v->kind == V_NONE) { kd__err(e, KD_D_WANT_KIND, n->span, "a hole in a string", "a number, a string or a truth value", kd__v_show(e, v)); return &kd__poison; }
    done = together(e, kd__arena_printf(e->a, "%s%.*s", done, (int)plain, p), v->kind == V_STRING ? v->u.s : kd__v_show(e, v));
    p += plain + name + 2;
  }
  return kd__v_str(e, done);
}

static val *eval_node(elab *e, scope *s, const kd_ast *n) {
  switch (n->kind) {
    case KD_AST_NAME: return with_source(e, s, kd__read(e, s, n, n->text), n);
    case KD_AST_NUMBER: return n->flag & KD_AST_INTEGER && n->num < 9e15 ? kd__v_int(e, (int64_t)n->num) : kd__v_real(e, n->num);
    case KD_AST_STRING: return eval_string(e, s, n);
    case KD_AST_TRUE: return kd__v_bool(e, true);
    case KD_AST_FALSE: return kd__v_bool(e, false);
    case KD_AST_NONE: return &kd__none;
    case KD_AST_BINARY:
      if (strcmp(n->text, "..") == 0) return eval_range(e, s, n);
      if (strcmp(n->text, "|>") == 0) return eval_pipe(e, s, n);
      if (strcmp(n->text, "and") == 0 || strcmp(n->text, "or") == 0) return eval_logic(e, s, n);
      { val *a = kd__eval(e, s, n->kid[0]); return kd__binary(e, n, n->text, a, kd__eval(e, s, n->kid[1])); }
    case KD_AST_RANGE_FROM: case KD_AST_RANGE_TO: return eval_range(e, s, n);
    case KD_AST_UNARY: return kd__unary(e, n, *n->text == '-' ? KD_OP_NEG : KD_OP_NOT, kd__eval(e, s, n->kid[0]));
    case KD_AST_IF_EXPR: return eval_if(e, s, n);
    case KD_AST_LAMBDA: { val *v = kd__v_new(e, V_LAMBDA); v->u.lambda.ast = n; v->u.lambda.scope = s; v->u.lambda.rule = NULL; return v; }
    case KD_AST_CALL: return kd__call(e, s, n);
    case KD_AST_INDEX: return with_source(e, s, kd__index(e, s, kd__eval(e, s, n->kid[0]), n), n);
    case KD_AST_FIELD: return with_source(e, s, kd__field(e, s, kd__eval(e, s, n->kid[0]), n), n);
    case KD_AST_RECORD: return eval_record(e, s, n);
    case KD_AST_LIST: return eval_list(e, s, n);
    case KD_AST_ARG: return kd__eval(e, s, n->kid[0]);
    case KD_AST_COMPREHENSION: { val_vec out = { 0 }; comprehend(e, s, n, 1, &out); return kd__v_list(e, out.v, (uint32_t)out.n); }
    case KD_AST_REPEAT: case KD_AST_FOR_IN: return kd__loop_value(e, s, n);
    case KD_AST_ERROR: return &kd__poison;
    case KD_AST_AT: return kd__eval_at(e, s, n);
    case KD_AST_WITH: return kd__eval_with(e, s, n);
    case KD_AST_LIKE: return kd__eval_like(e, s, n);
    case KD_AST_OF: return kd__eval_of(e, s, n);
    case KD_AST_EVALUATE: {
      kd_diag *d = kd__err(e, KD_D_EVALUATE_PLACE, n->span);
      kd__diag_help(e->sink, d, "let it = %.*s, as a statement of a scheme", (int)n->span.len, n->span.src->text + n->span.at);
      return &kd__poison;
    }
    default: kd__err(e, KD_D_INTERNAL, n->span, "this is not a value"); return &kd__poison;
  }
}

enum { DEPTH_MAX = 1500 };
val *kd__eval(elab *e, scope *s, const kd_ast *n) {
  if (!n) return &kd__none;
  if (e->depth >= DEPTH_MAX) {
    if (e->depth == DEPTH_MAX) { e->depth++; kd__err(e, KD_D_TOO_DEEP, n->span); e->depth--; }
    return &kd__poison;
  }
  e->here = n->span;
  kd__spend(e, 1);
  e->depth++;
  val *v = eval_node(e, s, n);
  e->depth--;
  if (e->prog && (int64_t)e->prog->g->node.n > KD__NODES_LOOKED_AT) kd__exhausted(e);
  return v;
}

/* --- statements ------------------------------------------------------------------------------------------------------------------------ */
static void exec_if(elab *e, scope *s, const kd_ast *n) {
  val *c = kd__force_app(kd__eval(e, s, n->kid[0]));
  if (c->kind == V_TENSOR && s->scheme && e->prog && e->prog->segment) {
    tensor *t = kd__want_tensor(e, c, n->kid[0]);
    if (t) kd__scheme_if(e, s, n, t);
    return;
  }
  if (c->kind == V_TENSOR) {
    kd_diag *d = kd__err(e, KD_D_RUNTIME_IF, n->kid[0]->span, kd__t_show(e, c->u.t));
    kd__diag_help(e->sink, d, "where(c, a, b) selects element by element at run time");
    return;
  }
  bool b;
  if (!kd__want_bool(e, c, n->kid[0], "the condition", &b)) return;
  const kd_ast *take = b ? n->kid[1] : n->n > 2 ? n->kid[2] : NULL;
  if (take) { if (take->kind == KD_AST_IF) exec_if(e, s, take); else kd__exec_block(e, s, take); }
}

/* The binding that a bare `name =` changes: in this or an enclosing block of the same definition. */
binding *kd__assignable(scope *s, const char *name) {
  for (; s; s = s->up) {
    binding *b = kd__scope_here(s, name);
    if (b) return b->kind == B_LIST || b->kind == B_STACK ? NULL : b;   /* what the turns of a loop collect is theirs */
    if (s->definition || !s->up) return NULL;
  }
  return NULL;
}

/* A body that the machine enters once, many times or not at all cannot bind a name of what is around it anew. */
static bool outer_name(elab *e, scope *s, const kd_ast *target) {
  bool entered = false;
  for (; s && s->scheme; s = s->up) {
    binding *b = entered ? kd__scope_here(s, target->text) : NULL;
    if (b && b->v && b->v->kind != V_POISON) {
      kd_diag *d = kd__err(e, KD_D_RUNTIME_ASSIGN, target->span, target->text);
      if (b->at) kd__diag_label(e->sink, d, b->at->name.len ? b->at->name : b->at->span, "bound here");
      kd__diag_help(e->sink, d, "make it a state: state %s: [] = 0, and update %s = ... here", target->text, target->text);
      return true;
    }
    entered = entered || s->entered;
  }
  return false;
}

static void assign_name(elab *e, scope *s, const kd_ast *target, val *v) {
  if (target->kind != KD_AST_NAME) { kd__err(e, KD_D_ASSIGN_TARGET, target->span); return; }
  binding *b = kd__assignable(s, target->text);
  if (b && (b->kind == B_STATE || b->kind == B_PARAM)) {
    kd_diag *d = kd__err(e, KD_D_ASSIGN_STATE, target->span, target->text);
    kd__diag_help(e->sink, d, "update %s = ...", target->text);
    return;
  }
  v = kd__rewired(e, s, target->text, v);
  if (b && b->kind != B_FORMULA) { b->v = v; b->kind = B_VALUE; b->at = target; return; }
  if (s->scheme && outer_name(e, s, target)) return;
  kd__scope_bind(e, s, target->text, v, target);
}

static void exec_assign(elab *e, scope *s, const kd_ast *n) {
  const char *as = s->bound_as;
  if (n->kid[1]->kind == KD_AST_NAME) s->bound_as = n->kid[1]->text;
  val *v = s->scheme ? kd__scheme_value(e, s, n->kid[0]) : kd__eval(e, s, n->kid[0]);
  s->bound_as = as;
  if (n->n == 2) { assign_name(e, s, n->kid[1], n->kid[1]->kind == KD_AST_NAME ? kd__own_value(e, s, n->kid[1]->text, n->kid[0], v) : v); return; }
  val *r = kd__force_app(v);
  uint32_t k = n->n - 1, have = r->kind == V_RECORD ? r->u.rec.n : r->kind == V_LIST ? r->u.list.n : 0;
  if (have != k) { if (r->kind != V_POISON) kd__err(e, KD_D_UNPACK, n->span, k, kd__v_show(e, r)); }
  for (uint32_t i = 0; i < k; i++) assign_name(e, s, n->kid[i + 1], have != k ? &kd__poison : r->kind == V_RECORD ? r->u.rec.v[i] : r->u.list.v[i]);
}

static void exec_let_many(elab *e, scope *s, const kd_ast *n) {
  val *r = kd__force_app(kd__eval(e, s, n->kid[1]));
  uint32_t k = n->n - 2, have = r->kind == V_RECORD ? r->u.rec.n : r->kind == V_LIST ? r->u.list.n : 0;
  if (have != k && r->kind != V_POISON) kd__err(e, KD_D_UNPACK, n->span, k, kd__v_show(e, r));
  for (uint32_t i = 0; i < k; i++)
    kd__scope_bind(e, s, n->kid[i + 2]->text, have != k ? &kd__poison : kd__rewired(e, s, n->kid[i + 2]->text, r->kind == V_RECORD ? r->u.rec.v[i] : r->u.list.v[i]), n->kid[i + 2]);
}

/* `for batch in D` over a data set is a run-time loop; over lists and ranges it is decided here. */
static bool over_data(elab *e, scope *s, const kd_ast *n) {
  const kd_ast *x = n->kid[0];
  bool take = x->kind == KD_AST_CALL && x->kid[0]->kind == KD_AST_FIELD && strcmp(x->kid[0]->text, "take") == 0;
  bool join = x->kind == KD_AST_CALL && x->kid[0]->kind == KD_AST_NAME && strcmp(x->kid[0]->text, "join") == 0;
  if (x->kind != KD_AST_NAME && x->kind != KD_AST_FIELD && !take && !join) return false;
  val *v = kd__eval(e, s, n->kid[0]);
  return v->kind == V_DATA || v->kind == V_SPLIT;
}

void kd__exec(elab *e, scope *s, const kd_ast *n) {
  kd__spend(e, 1);
  if (e->waits) return;
  switch (n->kind) {
    case KD_AST_USE: kd__use(e, s, n); break;
    case KD_AST_DEFINE: kd__define(e, s, n); break;
    case KD_AST_BIND: kd__bind_stmt(e, s, n); break;
    case KD_AST_LET_MANY: exec_let_many(e, s, n); break;
    case KD_AST_ASSIGN: exec_assign(e, s, n); break;
    case KD_AST_EXPR_STMT: if (s->scheme) kd__scheme_stmt(e, s, n); else kd__eval(e, s, n->kid[0]); break;
    case KD_AST_RETURN:
      if (s->scheme) kd__diag_help(e->sink, kd__err(e, KD_D_SCHEME_RETURN, n->span), "what it measures is shown with report ..., and kept in a state");
      e->result = kd__eval(e, s, n->kid[0]); e->returned = true; break;
    case KD_AST_IF: exec_if(e, s, n); break;
    case KD_AST_FOR_IN: if (s->scheme && over_data(e, s, n)) kd__scheme_stmt(e, s, n); else kd__loop_stmt(e, s, n); break;
    case KD_AST_REPEAT: if (s->scheme) kd__scheme_stmt(e, s, n); else kd__loop_stmt(e, s, n); break;
    case KD_AST_YIELD: kd__yield(e, s, n); break;
    case KD_AST_UPDATE:
      if (s->scheme) kd__scheme_stmt(e, s, n);
      else if (!s->up) kd__err(e, KD_D_WRONG_PLACE, n->span, "update");
      else kd__update(e, s, n);
      break;
    case KD_AST_BLOCK: kd__exec_block(e, s, n); break;
    case KD_AST_ERROR: break;
    default:
      if (s->scheme && kd__scheme_is_stmt(n)) kd__scheme_stmt(e, s, n);
      else kd__err(e, KD_D_WRONG_PLACE, n->span, kd__ast_kind_name((kd_ast_kind)n->kind));
      break;
  }
}

void kd__exec_block(elab *e, scope *s, const kd_ast *block) {
  for (uint32_t i = 0; i < block->n && !e->returned && !e->refused && !(e->tryout && e->tryout->failed); i++) kd__exec(e, s, block->kid[i]);
}
