/* builtin.c: the table of built-in functions and those that compute with values and reductions; tensor shaping is in builtin_shape.c. */
#include "compiler/elaborate/builtin.h"
#include <math.h>

/* Parameter i of a signature: its name (up to a space or `?`), and whether it is optional or an axis. */
static const char *sig_name(const char *sig, int i, bool *opt, bool *raw) {
  for (; *sig; i--) {
    size_t n = strcspn(sig, " ");
    if (i == 0) { *raw = *sig == '@'; *opt = sig[n - 1] == '?'; return sig + *raw; }
    sig += n + (sig[n] == ' ');
  }
  return NULL;
}

const char *kd__sig_text(elab *e, const char *sig) {
  kd__buf b = { 0 };
  for (; *sig; sig++) {
    if (*sig == ' ') kd__buf_puts(&b, ", ");
    else if (*sig != '@') kd__buf_putc(&b, *sig);
  }
  return b.n ? kd__buf_keep(&b, e->a) : "none";
}

static size_t name_len(const char *s) { return strcspn(s, " ?"); }

bool kd__pick(elab *e, scope *s, const builtin *b, const kd_ast *call, arg *a, uint32_t n, arg **out, int count) {
  bool opt = false, raw = false, ok = true;
  for (int i = 0; i < count; i++) out[i] = NULL;
  for (uint32_t k = 0; k < n; k++) {
    if (!a[k].name) continue;
    int i = 0;
    for (; i < count; i++) {
      const char *p = sig_name(b->sig, i, &opt, &raw);
      if (strlen(a[k].name) == name_len(p) && strncmp(a[k].name, p, name_len(p)) == 0) break;
    }
    if (i < count) { out[i] = &a[k]; continue; }
    kd_diag *d = kd__err(e, KD_D_UNKNOWN_KEYWORD, a[k].ast->span, b->name, a[k].name);
    kd__diag_help(e->sink, d, "its parameters are: %s", kd__sig_text(e, b->sig));
    ok = false;
  }
  int i = 0;
  for (uint32_t k = 0; k < n && ok; k++) {
    if (a[k].name) continue;
    while (i < count && out[i]) i++;
    if (i == count) { kd__err(e, KD_D_TOO_MANY_ARGS, a[k].ast->span, b->name, (unsigned)count); return false; }
    out[i] = &a[k];
  }
  for (i = 0; i < count && ok; i++) {
    const char *p = sig_name(b->sig, i, &opt, &raw);
    if (!out[i] && !opt) {
      kd_diag *d = kd__err(e, KD_D_MISSING_ARG, call->span, b->name, kd__arena_strndup(e->a, p, name_len(p)));
      if (strncmp(p, "over", 4) == 0) kd__diag_help(e->sink, d, "name the axis: %s(x, over: K)", b->name);
      else kd__diag_help(e->sink, d, "give it: %s(%s, ...)", b->name, kd__arena_strndup(e->a, p, name_len(p)));
      ok = false;
    }
    if (out[i] && !raw && kd__arg_eval(e, s, out[i])->kind == V_POISON) ok = false;
  }
  return ok;
}

/* --- arithmetic ---------------------------------------------------------------------------------------------------------------- */
static double unary_static(int op, double x) {
  switch (op) {
    case KD_OP_EXP: return exp(x); case KD_OP_EXPM1: return expm1(x); case KD_OP_LOG: return log(x); case KD_OP_LOG1P: return log1p(x);
    case KD_OP_SQRT: return sqrt(x); case KD_OP_RSQRT: return 1 / sqrt(x); case KD_OP_ABS: return fabs(x); case KD_OP_SIN: return sin(x);
    case KD_OP_COS: return cos(x); case KD_OP_TANH: return tanh(x); case KD_OP_FLOOR: return floor(x); case KD_OP_CEIL: return ceil(x);
    case KD_OP_ROUND: return nearbyint(x); case KD_OP_SIGN: return (x > 0) - (x < 0); case KD_OP_RELU: return x < 0 ? 0 : x;
    case KD_OP_ERF: return erf(x); case KD_OP_SIGMOID: return 1 / (1 + exp(-x)); case KD_OP_SOFTPLUS: return x > 30 ? x : log1p(exp(x));
    default: return x;
  }
}

static val *unary_leaf(elab *e, void *ctx, const kd_ast *at, val **v) {
  const builtin *b = ctx;
  arg one = { NULL, v[0], at };
  return b->fn(e, NULL, b, at, &one, 1);         /* its argument is evaluated: no scope is asked */
}

static val *bi_unary(B) {
  PICK(1);
  val *x = kd__force_app(p[0]->v);
  if (kd__treelike(x)) return kd__tree_map(e, call, &x, 1, unary_leaf, (void *)(uintptr_t)b);
  if (kd__is_num(x) && b->op != KD_OP_ISFINITE) {
    double r = unary_static(b->op, kd__num(x));
    bool whole = x->kind == V_INT || b->op == KD_OP_FLOOR || b->op == KD_OP_CEIL || b->op == KD_OP_ROUND;
    if (isnan(r)) { kd__err(e, KD_D_STATIC_NAN, call->span, b->name, kd__num(x)); return &kd__poison; }
    return whole && r == floor(r) && fabs(r) < 9e15 && b->op != KD_OP_SQRT && b->op != KD_OP_EXP ? kd__v_int(e, (int64_t)r) : kd__v_real(e, r);
  }
  if (b->op == KD_OP_STOP && (x->kind == V_RECORD || x->kind == V_LIST)) {
    bool rec = x->kind == V_RECORD;
    uint32_t m = rec ? x->u.rec.n : x->u.list.n;
    val **v = KD_NEWN(e->a, val *, m);
    for (uint32_t i = 0; i < m; i++) v[i] = kd__unary(e, call, KD_OP_STOP, rec ? x->u.rec.v[i] : x->u.list.v[i]);
    return rec ? kd__v_rec(e, x->u.rec.key, v, m) : kd__v_list(e, v, m);
  }
  tensor *t = kd__want_tensor(e, x, p[0]->ast);
  if (!t) return &kd__poison;
  if (t->dtype == KD_BOOL && b->op != KD_OP_STOP) { kd__err(e, KD_D_BOOL_ARITH, call->span); return &kd__poison; }
  bool keeps = b->op == KD_OP_STOP || b->op == KD_OP_ABS || b->op == KD_OP_SIGN || b->op == KD_OP_RELU;
  if (!keeps && !kd__dtype_real(t->dtype)) t = kd__t_cast(e, t, e->opt->real, call);
  return kd__v_tensor(e, kd__t_unary(e, (kd_op)b->op, t, call));
}

static val *bi_convert(B) {
  PICK(1);
  val *x = kd__force_app(p[0]->v);
  if (kd__treelike(x)) return kd__tree_map(e, call, &x, 1, unary_leaf, (void *)(uintptr_t)b);
  if (x->kind == V_BOOL) x = kd__v_int(e, x->u.b);
  if (kd__is_num(x)) return b->op == KD_F32 ? kd__v_real(e, kd__num(x)) : b->op == KD_I64 ? kd__v_int(e, (int64_t)kd__num(x)) : kd__v_bool(e, kd__num(x) != 0);
  tensor *t = kd__want_tensor(e, x, p[0]->ast);
  return t ? kd__v_tensor(e, kd__t_cast(e, t, b->op == KD_F32 ? e->opt->real : (kd_dtype)b->op, call)) : &kd__poison;
}

static bool over_or_all(elab *e, scope *s, const arg *over, const tensor *x, int64_t *axes, int *n, const char *what, const kd_ast *call) {
  bool free = false, bound = false;
  if (over) return kd__over(e, s, over->ast, x, axes, n, what);
  for (int i = 0; i < x->rank; i++) *(kd__axis_free(x->ax[i].label) ? &free : &bound) = true;
  if (free && bound && s->mod == e->file && strcmp(what, "mean") == 0) {      /* guard G16 */
    kd_diag *d = kd__err(e, KD_D_REDUCES_PAIRS, call->span, what, kd__t_show(e, x));
    kd__diag_help(e->sink, d, "`over` says which axes are meant");
  }
  for (*n = 0; *n < x->rank; (*n)++) axes[*n] = *n;
  return true;
}

static val *two_values(elab *e, const kd_ast *call, kd_op op, val *x, val *y);
static val *two_leaves(elab *e, void *op, const kd_ast *at, val **v) { return two_values(e, at, *(kd_op *)op, v[0], v[1]); }

static val *two_values(elab *e, const kd_ast *call, kd_op op, val *x, val *y) {
  x = kd__force_app(x); y = kd__force_app(y);
  if (kd__treelike(x) || kd__treelike(y)) return kd__tree_map(e, call, (val *[]){ x, y }, 2, two_leaves, &op);
  if (kd__is_num(x) && kd__is_num(y)) {
    double u = kd__num(x), v = kd__num(y);
    bool ints = x->kind == V_INT && y->kind == V_INT;
    if ((op == KD_OP_IDIV || op == KD_OP_REM) && v == 0) { kd__err(e, KD_D_DIVISION, call->span); return &kd__poison; }
    double r = op == KD_OP_MAX ? (u > v ? u : v) : op == KD_OP_MIN ? (u < v ? u : v) : op == KD_OP_IDIV ? floor(u / v)
             : op == KD_OP_REM ? u - floor(u / v) * v : u == 0 ? 0 : u * log(v);
    return (ints || op == KD_OP_IDIV) && op != KD_OP_XLOGY ? kd__v_int(e, (int64_t)r) : kd__v_real(e, r);
  }
  const kd_ast *la = call->n > 1 ? call->kid[1] : call, *lb = call->n > 2 ? call->kid[2] : call;
  tensor *t = kd__want_tensor(e, x, la), *u = t ? kd__want_tensor(e, y, lb) : NULL;
  if (!t || !u) return &kd__poison;
  if (op == KD_OP_IDIV && (kd__dtype_real(t->dtype) || kd__dtype_real(u->dtype))) {
    tensor *q = kd__t_binary(e, KD_OP_DIV, t, u, call, la, lb);
    return q ? kd__v_tensor(e, kd__t_unary(e, KD_OP_FLOOR, q, call)) : &kd__poison;
  }
  return kd__v_tensor(e, kd__t_binary(e, op, t, u, call, la, lb));
}

/* Of a loop that is written as the argument what its turns yield is joined, not what each of them holds: the axis that the stack has more. */
static arg *over_turns(elab *e, const arg *x, arg *over) {
  const kd_ast *n = x->ast->kind == KD_AST_ARG ? x->ast->kid[0] : x->ast;
  if (over || (n->kind != KD_AST_FOR_IN && n->kind != KD_AST_REPEAT) || !e->turned) return over;
  kd_ast *name = kd__arena_copy(e->a, &(kd_ast){ .kind = KD_AST_NAME, .span = n->span, .text = e->turned }, sizeof *name);
  return kd__arena_copy(e->a, &(arg){ "over", NULL, name }, sizeof(arg));
}

static val *bi_two(B) { PICK(2); return two_values(e, call, (kd_op)b->op, p[0]->v, p[1]->v); }

static val *fold_list(elab *e, const kd_ast *call, kd_op op, const val *list) {
  val *r = list->u.list.v[0];
  for (uint32_t i = 1; i < list->u.list.n; i++)
    r = op == KD_OP_ADD ? kd__binary(e, call, "+", r, list->u.list.v[i]) : two_values(e, call, op, r, list->u.list.v[i]);
  return r;
}

static val *select_leaf(elab *e, void *ctx, const kd_ast *at, val **v) {
  (void)ctx;
  tensor *t[3];
  for (int i = 0; i < 3; i++) if (!(t[i] = kd__want_tensor(e, v[i], at))) return &kd__poison;
  return kd__v_tensor(e, kd__t_where(e, t[0], t[1], t[2], at));
}

static val *bi_select(B) {
  PICK(3);
  val *c = kd__force_app(p[0]->v);
  if (c->kind == V_BOOL) return c->u.b ? p[1]->v : p[2]->v;
  val *all[3] = { c, kd__force_app(p[1]->v), kd__force_app(p[2]->v) };
  if (kd__treelike(all[0]) || kd__treelike(all[1]) || kd__treelike(all[2])) return kd__tree_map(e, call, all, 3, select_leaf, NULL);
  tensor *t = kd__want_tensor(e, c, p[0]->ast), *x = kd__want_tensor(e, p[1]->v, p[1]->ast), *y = kd__want_tensor(e, p[2]->v, p[2]->ast);
  return t && x && y ? kd__v_tensor(e, kd__t_where(e, t, x, y, call)) : &kd__poison;
}

/* --- reductions ------------------------------------------------------------------------------------------------------------------- */
/* A reduction along named axes: of a tensor, or of each leaf of a tree. */
typedef struct along { scope *s; const builtin *b; const kd_ast *call, *x; arg *over; } along;

static val *reduce_along(elab *e, void *ctx, const kd_ast *call, val **given) {
  const along *c = ctx;
  const builtin *b = c->b;
  tensor *t = kd__want_tensor(e, given[0], c->x);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!t || !over_or_all(e, c->s, c->over, t, axes, &k, b->name, call)) return &kd__poison;
  bool logical = b->op == KD_OP_ANY || b->op == KD_OP_ALL;
  if (logical != (t->dtype == KD_BOOL)) { kd__err(e, KD_D_WANT_KIND, c->x->span, b->name, logical ? "truth values" : "numbers", kd__t_show(e, t)); return &kd__poison; }
  if (b->op == KD_OP_LOGSUMEXP) t = kd__t_cast(e, t, e->opt->real, call);
  return kd__v_tensor(e, kd__t_reduce(e, (kd_op)b->op, t, axes, k, call));
}

static val *each_along(elab *e, along *c, val *x, val *(*f)(elab *e, void *ctx, const kd_ast *call, val **given)) {
  return kd__treelike(x) && c->over ? kd__tree_map(e, c->call, &x, 1, f, c) : f(e, c, c->call, &x);
}

static val *extreme_along(elab *e, void *ctx, const kd_ast *call, val **given) {
  const along *c = ctx;
  tensor *t = kd__want_tensor(e, given[0], c->x);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!t || !over_or_all(e, c->s, c->over, t, axes, &k, c->b->name, call)) return &kd__poison;
  if (t->dtype == KD_BOOL) { kd__err(e, KD_D_BOOL_ARITH, call->span); return &kd__poison; }
  return kd__v_tensor(e, kd__t_reduce(e, c->b->op == KD_OP_MAX ? KD_OP_REDUCE_MAX : KD_OP_REDUCE_MIN, t, axes, k, call));
}

static val *bi_extreme(B) {
  PICK(3);
  val *x = kd__force_app(p[0]->v);
  if (p[1]) return two_values(e, call, (kd_op)b->op, x, p[1]->v);
  p[2] = over_turns(e, p[0], p[2]);
  if (x->kind == V_LIST && x->u.list.n) return fold_list(e, call, (kd_op)b->op, x);
  if (kd__treelike(x) && !p[2]) return kd__tree_reduce(e, call, b->op == KD_OP_MAX ? KD_OP_REDUCE_MAX : KD_OP_REDUCE_MIN, x);
  return each_along(e, &(along){ s, b, call, p[0]->ast, p[2] }, x, extreme_along);
}

static val *bi_reduce(B) {
  PICK(2);
  val *x = kd__force_app(p[0]->v);
  p[1] = over_turns(e, p[0], p[1]);
  if (x->kind == V_LIST && b->op == KD_OP_SUM) return x->u.list.n ? fold_list(e, call, KD_OP_ADD, x) : kd__v_int(e, 0);
  if (kd__treelike(x) && !p[1] && b->op != KD_OP_LOGSUMEXP) return kd__tree_reduce(e, call, (kd_op)b->op, x);
  return each_along(e, &(along){ s, b, call, p[0]->ast, p[1] }, x, reduce_along);
}

static tensor *scaled(elab *e, tensor *t, double k, const kd_ast *at) {
  return kd__t_binary(e, KD_OP_MUL, t, kd__t_const(e, k, t->dtype, NULL, 0, at), at, at, at);
}

static val *mean_along(elab *e, void *ctx, const kd_ast *call, val **given) {
  const along *c = ctx;
  tensor *t = kd__want_tensor(e, given[0], c->x);
  int64_t axes[KD_MAX_RANK], count = 1;
  int k;
  if (!t || !over_or_all(e, c->s, c->over, t, axes, &k, c->b->name, call)) return &kd__poison;
  if (t->dtype == KD_BOOL || !kd__dtype_real(t->dtype)) t = kd__t_cast(e, t, e->opt->real, call);
  const tensor *m = kd__valid_of(e, t, axes, k, call);
  if (m) {
    tensor *n = kd__t_binary(e, KD_OP_MAX, kd__valid_count(e, t, m, axes, k, call), kd__t_const(e, 1, t->dtype, NULL, 0, call), call, call, call);
    return kd__v_tensor(e, kd__t_binary(e, KD_OP_DIV, kd__t_reduce(e, KD_OP_SUM, t, axes, k, call), n, call, call, call));
  }
  for (int i = 0; i < k; i++) count *= t->ax[axes[i]].size;
  return kd__v_tensor(e, scaled(e, kd__t_reduce(e, KD_OP_SUM, t, axes, k, call), 1.0 / (double)(count ? count : 1), call));
}

static val *bi_mean(B) {
  PICK(2);
  val *x = kd__force_app(p[0]->v);
  p[1] = over_turns(e, p[0], p[1]);
  if (x->kind == V_LIST && x->u.list.n) return kd__binary(e, call, "/", fold_list(e, call, KD_OP_ADD, x), kd__v_int(e, x->u.list.n));
  if (kd__treelike(x) && !p[1]) {
    const tree *all = kd__tree_of(e, x, p[0]->ast);
    return all ? kd__binary(e, call, "/", kd__tree_reduce(e, call, KD_OP_SUM, x), kd__v_int(e, kd__tree_count(all))) : &kd__poison;
  }
  return each_along(e, &(along){ s, b, call, p[0]->ast, p[1] }, x, mean_along);
}

static val *bi_moment(B) {
  PICK(2);
  tensor *t = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!t || !over_or_all(e, s, p[1], t, axes, &k, b->name, call)) return &kd__poison;
  tensor *m[2];
  kd__t_moments(e, kd__t_cast(e, t, e->opt->real, call), axes, k, call, m);
  return kd__v_tensor(e, m[1]);
}

/* record (mean, variance) of one stable pass */
static val *bi_moments(B) {
  static const char *const names[2] = { "mean", "variance" };
  PICK(2);
  tensor *t = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!t || !over_or_all(e, s, p[1], t, axes, &k, b->name, call)) return &kd__poison;
  tensor *m[2];
  kd__t_moments(e, kd__t_cast(e, t, e->opt->real, call), axes, k, call, m);
  const char **key = KD_NEWN(e->a, const char *, 2);
  val **out = KD_NEWN(e->a, val *, 2);
  for (int i = 0; i < 2; i++) { key[i] = names[i]; out[i] = kd__v_tensor(e, m[i]); }
  return kd__v_rec(e, key, out, 2);
}

static val *bi_position(B) {
  PICK(2);
  tensor *t = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!t || !kd__over(e, s, p[1]->ast, t, axes, &k, b->name)) return &kd__poison;
  if (k != 1) { kd__err(e, KD_D_ONE_AXIS, p[1]->ast->span, b->name); return &kd__poison; }
  kd_attr at = kd__ai(axes[0]);
  const tensor *m = kd__valid_of(e, t, axes, 1, call);
  double far = kd__dtype_real(t->dtype) ? HUGE_VAL : 0x1p62;
  kd_value in = kd__valid_or(e, t, m, b->op == KD_OP_ARGMAX ? -far : far, call)->v;
  kd_value v = kd__graph_add(e->prog->g, (kd_op)b->op, &in, 1, &at, kd__origin(e, call->span), NULL);
  axis ax[KD_MAX_RANK];
  int r = 0;
  for (int i = 0; i < t->rank; i++) if (i != axes[0]) { ax[r] = t->ax[i]; ax[r++].mask = kd__valid_left(e, t, i, axes, 1, call); }
  return kd__v_tensor(e, kd__t_wrap(e, v, ax, r, call));
}

static val *bi_normalise(B) {
  PICK(2);
  tensor *t = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!t || !kd__over(e, s, p[1]->ast, t, axes, &k, b->name)) return &kd__poison;
  if (t->dtype == KD_BOOL) { kd__err(e, KD_D_BOOL_ARITH, call->span); return &kd__poison; }
  return kd__v_tensor(e, kd__t_keep(e, (kd_op)b->op, kd__t_cast(e, t, e->opt->real, call), axes, k, call));
}

static val *bi_running(B) {
  PICK(3);
  tensor *t = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK];
  int k;
  bool reverse = false;
  if (!t || !kd__over(e, s, p[1]->ast, t, axes, &k, b->name) || (p[2] && !kd__want_bool(e, p[2]->v, p[2]->ast, "`reverse`", &reverse))) return &kd__poison;
  if (k != 1) { kd__err(e, KD_D_ONE_AXIS, p[1]->ast->span, b->name); return &kd__poison; }
  kd_attr at[2] = { kd__ai(axes[0]), kd__ai(reverse) };
  t = kd__valid_or(e, t, kd__valid_of(e, t, axes, 1, call), 0, call);
  return kd__v_tensor(e, kd__t_wrap(e, kd__graph_add(e->prog->g, KD_OP_CUMSUM, &t->v, 1, at, kd__origin(e, call->span), NULL), t->ax, t->rank, call));
}

static val *bi_dot(B) {
  PICK(3);
  val *u = kd__force_app(p[0]->v), *v = kd__force_app(p[1]->v);
  if (kd__treelike(u) && kd__treelike(v) && !p[2]) return kd__tree_dot(e, call, u, v);
  if (!p[2]) {
    kd_diag *d = kd__err(e, KD_D_MISSING_ARG, call->span, b->name, "over");
    kd__diag_help(e->sink, d, "name the axis: %s(x, y, over: K)", b->name);
    return &kd__poison;
  }
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast), *y = kd__want_tensor(e, p[1]->v, p[1]->ast);
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!x || !y || !kd__over(e, s, p[2]->ast, x, axes, &k, b->name)) return &kd__poison;
  const char *over[KD_MAX_RANK];
  for (int i = 0; i < k; i++) over[i] = x->ax[axes[i]].label;
  return kd__v_tensor(e, kd__t_dot(e, x, y, over, k, call));
}

/* --- lists ----------------------------------------------------------------------------------------------------------------------------- */
static bool as_list(elab *e, val *v, const kd_ast *at, val **out) {
  v = kd__force_app(v);
  if (v->kind == V_RANGE && v->u.range.to - v->u.range.from < 100000) {
    uint32_t n = v->u.range.to > v->u.range.from ? (uint32_t)(v->u.range.to - v->u.range.from) : 0;
    val **items = KD_NEWN(e->a, val *, n);
    for (uint32_t i = 0; i < n; i++) items[i] = kd__v_int(e, v->u.range.from + i);
    v = kd__v_list(e, items, n);
  }
  if (v->kind == V_TREE) v = kd__tree_items(e, v->u.tree);
  if (v->kind != V_LIST) { kd__err(e, KD_D_NOT_LIST, at->span, kd__v_show(e, v)); return false; }
  *out = v;
  return true;
}

static val *bi_length(B) { PICK(1); val *l; return as_list(e, p[0]->v, p[0]->ast, &l) ? kd__v_int(e, l->u.list.n) : &kd__poison; }

static val *bi_zip(B) {
  PICK(3);
  val *l[3];
  int k = p[2] ? 3 : 2;
  for (int i = 0; i < k; i++) if (!as_list(e, p[i]->v, p[i]->ast, &l[i])) return &kd__poison;
  for (int i = 1; i < k; i++)
    if (l[i]->u.list.n != l[0]->u.list.n) { kd__err(e, KD_D_ZIP, call->span, l[0]->u.list.n, l[i]->u.list.n); return &kd__poison; }
  val **out = KD_NEWN(e->a, val *, l[0]->u.list.n);
  for (uint32_t i = 0; i < l[0]->u.list.n; i++) {
    val **one = KD_NEWN(e->a, val *, k);
    for (int j = 0; j < k; j++) one[j] = l[j]->u.list.v[i];
    out[i] = kd__v_list(e, one, (uint32_t)k);
  }
  return kd__v_list(e, out, l[0]->u.list.n);
}

static val *bi_enumerate(B) {
  PICK(1);
  val *l;
  if (!as_list(e, p[0]->v, p[0]->ast, &l)) return &kd__poison;
  val **out = KD_NEWN(e->a, val *, l->u.list.n);
  for (uint32_t i = 0; i < l->u.list.n; i++) {
    val **one = KD_NEWN(e->a, val *, 2);
    one[0] = kd__v_int(e, i); one[1] = l->u.list.v[i];
    out[i] = kd__v_list(e, one, 2);
  }
  return kd__v_list(e, out, l->u.list.n);
}

static val *bi_reversed(B) {
  PICK(1);
  val *l;
  if (!as_list(e, p[0]->v, p[0]->ast, &l)) return &kd__poison;
  val **out = KD_NEWN(e->a, val *, l->u.list.n);
  for (uint32_t i = 0; i < l->u.list.n; i++) out[i] = l->u.list.v[l->u.list.n - 1 - i];
  return kd__v_list(e, out, l->u.list.n);
}

static val *bi_require(B) {
  PICK(2);
  bool ok;
  const char *text = "the requirement does not hold";
  if (!kd__want_bool(e, p[0]->v, p[0]->ast, "the condition of `require`", &ok)) return &kd__poison;
  if (p[1] && !kd__want_str(e, p[1]->v, p[1]->ast, "the message of `require`", &text)) return &kd__poison;
  if (ok) return &kd__none;
  kd__err(e, KD_D_REQUIRE, p[0]->ast->span, text);
  e->refused = true;
  return &kd__poison;
}

/* --- the rest of the language's own functions ----------------------------------------------------------------------------------------------- */
static val *bi_next(B) { PICK(1); return kd__next(e, s, p[0]->ast); }

static val *bi_mode(B) {
  PICK(1);
  if (p[0]->v->kind != V_NET) { kd__err(e, KD_D_WANT_KIND, p[0]->ast->span, b->name, "a network", kd__v_show(e, p[0]->v)); return &kd__poison; }
  val *v = kd__v_new(e, V_NET);
  v->u.net = kd__arena_copy(e->a, p[0]->v->u.net, sizeof(net));
  v->u.net->mode = (int8_t)b->op;
  v->u.net->base = p[0]->v->u.net->base ? p[0]->v->u.net->base : p[0]->v->u.net;
  return v;
}

static val *bi_matches(B) {
  PICK(1);
  const char *pattern;
  if (!kd__want_str(e, p[0]->v, p[0]->ast, "the pattern", &pattern)) return &kd__poison;
  if (!e->opt_ctx.pv) { kd__err(e, KD_D_SPEC_CALL, call->span); return &kd__poison; }
  return kd__param_mask(e, pattern, call);
}

static val *bi_source(B) {
  static const char *const format[] = { "idx", "csv", "npy" };
  return kd__data_source(e, s, format[b->op], call, a, n);
}
static val *bi_join(B) { (void)b; return kd__join(e, s, call, a, n); }
static val *bi_dataset(B) { (void)b; return kd__data_make(e, s, call, a, n); }

/* --- the table --------------------------------------------------------------------------------------------------------------------------------- */
static const builtin table[] = {
#define KD_BUILTIN(name, fn, op, sig, doc) { #name, bi_##fn, op, sig, doc },
#include "compiler/elaborate/builtins.def"
#undef KD_BUILTIN
};

const builtin *kd__builtin_find(const char *name) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(table[i].name, name) == 0) return &table[i];
  return NULL;
}

size_t kd__builtin_names(const char **out, size_t max) {
  size_t n = sizeof table / sizeof *table;
  for (size_t i = 0; i < n && i < max; i++) out[i] = table[i].name;
  return n < max ? n : max;
}
