/* builtin_shape.c: built-in functions that make, join, size and move tensors. */
#include "compiler/elaborate/builtin.h"
#include <math.h>

static bool tensors(elab *e, arg *a, tensor ***out, int *n) {
  val *v = kd__force_app(a->v);
  if (v->kind != V_LIST || v->u.list.n == 0) { kd__err(e, KD_D_NOT_LIST, a->ast->span, kd__v_show(e, v)); return false; }
  *n = (int)v->u.list.n;
  *out = KD_NEWN(e->a, tensor *, *n);
  bool ok = true;
  for (int i = 0; i < *n; i++) ok = ((*out)[i] = kd__want_tensor(e, v->u.list.v[i], a->ast)) && ok;
  for (int i = 1; ok && i < *n; i++)
    if ((*out)[i]->dtype != (*out)[0]->dtype && ((*out)[i]->dtype == KD_BOOL || (*out)[0]->dtype == KD_BOOL)) { kd__err(e, KD_D_BOOL_ARITH, a->ast->span); ok = false; }
  return ok;
}

val *bi_concat(B) {
  PICK(2);
  tensor **x;
  int k, m;
  int64_t axes[KD_MAX_RANK];
  if (!tensors(e, p[0], &x, &k) || !kd__over(e, s, p[1]->ast, x[0], axes, &m, b->name)) return &kd__poison;
  if (m != 1) { kd__err(e, KD_D_ONE_AXIS, p[1]->ast->span, b->name); return &kd__poison; }
  return kd__v_tensor(e, kd__t_concat(e, x, k, x[0]->ax[axes[0]].label, call));
}

val *bi_stack(B) {
  PICK(2);
  tensor **x;
  int k;
  if (!tensors(e, p[0], &x, &k)) return &kd__poison;
  if (p[1]->ast->kind != KD_AST_NAME) { kd__err(e, KD_D_WANT_KIND, p[1]->ast->span, "`as` of `stack`", "a new axis name", "something else"); return &kd__poison; }
  tensor *t = kd__t_stack(e, x, k, kd__intern(e, p[1]->ast->text), call);
  if (t && s->definition) kd__scope_add_axis(e, s, t->ax[0]);
  return kd__v_tensor(e, t);
}

/* An axis by name in sight: of the definition, or bound to a variable. */
bool kd__named_axis(elab *e, scope *s, const kd_ast *n, axis *out) {
  if (n->kind == KD_AST_NAME) {
    const char *label = kd__intern(e, n->text);
    const axis *known = kd__scope_axis(s, label);
    if (known) { *out = *known; out->label = label; return true; }
    binding *b = kd__scope_find(s, n->text, NULL);
    if (b && b->kind == B_VALUE && b->v && b->v->kind == V_AXIS && b->v->u.ax.size) { b->used = true; *out = b->v->u.ax; return true; }
  }
  if (n->kind == KD_AST_NAME && kd__absent(e, s, kd__intern(e, n->text), n)) return false;
  kd_diag *d = kd__err(e, KD_D_UNKNOWN_AXIS, n->span, n->kind == KD_AST_NAME ? n->text : "this");
  kd__diag_help(e->sink, d, "an axis is known where a parameter or a declared shape names it");
  return false;
}

/* positions along axis `a`, broadcast later by name */
static tensor *positions(elab *e, axis a, kd_dtype t, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, kd__b_iota(&b, t, &a.size, 1, 0), &a, 1, at);
}

val *bi_iota(B) {
  if (n == 1 && a[0].name && strcmp(a[0].name, "axis") != 0) {
    axis ax = { kd__new_label(e, s, a[0].name), 0, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
    if (!kd__want_int(e, kd__arg_eval(e, s, &a[0]), a[0].ast, "the size of the axis", &ax.size) || ax.size <= 0) return &kd__poison;
    return kd__v_tensor(e, positions(e, ax, KD_I64, call));
  }
  PICK(1);
  axis ax;
  return kd__named_axis(e, s, p[0]->ast, &ax) ? kd__v_tensor(e, positions(e, ax, KD_I64, call)) : &kd__poison;
}

val *bi_onehot(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  axis ax;
  if (!x || !kd__named_axis(e, s, p[1]->ast, &ax)) return &kd__poison;
  if (x->dtype != KD_I64) { kd__err(e, KD_D_WANT_KIND, p[0]->ast->span, "`onehot`", "whole numbers", kd__t_show(e, x)); return &kd__poison; }
  if (x->rank == KD_MAX_RANK || kd__t_find(x, ax.label) >= 0) { kd__err(e, KD_D_AXIS_TWICE, call->span, "onehot", ax.label); return &kd__poison; }
  if (!kd__labels_fit(e, x, &ax, p[0]->ast)) return &kd__poison;
  axis out[KD_MAX_RANK];
  int64_t d[KD_MAX_RANK], xa[KD_MAX_RANK], ia = x->rank;
  for (int i = 0; i < x->rank; i++) { out[i] = x->ax[i]; xa[i] = i; }
  out[x->rank] = ax;
  for (int i = 0; i <= x->rank; i++) d[i] = out[i].size;
  kd_build bb = kd__b(e, call);
  kd_value l = kd__b_broadcast(&bb, x->v, d, x->rank + 1, xa), r = kd__b_broadcast(&bb, kd__b_iota(&bb, KD_I64, &ax.size, 1, 0), d, x->rank + 1, &ia);
  kd_value eq = kd__b_op2(&bb, KD_OP_EQ, l, r);
  return kd__v_tensor(e, kd__t_wrap(e, kd__b_cast(&bb, eq, e->opt->real), out, x->rank + 1, call));
}

val *bi_size(B) {
  if (n == 1 && !a[0].name && a[0].ast->kind == KD_AST_NAME) {
    const axis *ax = kd__scope_axis(s, kd__intern(e, a[0].ast->text));
    if (ax) return kd__v_int(e, ax->size);
  }
  if (n == 0 || n > 2) { kd__err(e, KD_D_MISSING_ARG, call->span, "size", "x"); return &kd__poison; }
  val *x = kd__force_app(kd__arg_eval(e, s, &a[0]));
  if (x->kind == V_POISON) return x;
  if (x->kind == V_AXIS && n == 1) return kd__v_int(e, x->u.ax.size);
  if (x->kind == V_SPLIT && n == 1 && e->data.v[x->u.split.data].d.made != KD_MADE_FILES) {
    kd__err(e, KD_D_ROWS_UNKNOWN, call->span, e->data.v[x->u.split.data].name);
    return &kd__poison;
  }
  if (x->kind == V_SPLIT && n == 1) return kd__v_int(e, e->data.v[x->u.split.data].rows[x->u.split.split]);
  tensor *t = kd__want_tensor(e, x, a[0].ast);
  if (!t) return &kd__poison;
  (void)b;
  if (n == 1) {
    if (t->rank == 1) return kd__v_int(e, t->ax[0].size);
    kd_diag *d = kd__err(e, KD_D_MISSING_ARG, call->span, "size", "axis");
    kd__diag_help(e->sink, d, "size(x, %s) is the length of one axis", t->rank ? t->ax[0].label : "K");
    return &kd__poison;
  }
  if (a[1].ast->kind == KD_AST_NUMBER) {
    int64_t k = (int64_t)a[1].ast->num;
    if (k >= 0 && k < t->rank) return kd__v_int(e, t->ax[k].size);
    kd__err(e, KD_D_LIST_RANGE, a[1].ast->span, (long long)k, (long long)t->rank);
    return &kd__poison;
  }
  int64_t axes[KD_MAX_RANK], product = 1;
  int m;
  if (!kd__over(e, s, a[1].ast, t, axes, &m, "size")) return &kd__poison;
  for (int i = 0; i < m; i++) product *= t->ax[axes[i]].size;
  return kd__v_int(e, product);
}

val *bi_has(B) {
  PICK(1);
  return kd__v_bool(e, p[0]->ast->kind == KD_AST_NAME && kd__scope_axis(s, kd__intern(e, p[0]->ast->text)) != NULL);
}

/* --- filling and drawing ------------------------------------------------------------------------------------------------------ */
static bool wanted_shape(elab *e, scope *s, arg *shape, const kd_ast *call, const char *what, axis *ax, uint32_t *rank) {
  if (shape) return kd__shape(e, s, shape->ast, ax, rank);
  if (e->expect) { *rank = e->expect->rank; memcpy(ax, e->expect->ax, sizeof(axis) * *rank); return true; }
  kd_diag *d = kd__err(e, KD_D_NO_SHAPE, call->span, what);
  kd__diag_help(e->sink, d, "give one: %s([B, D: 16])", what);
  return false;
}

/* Splits off a leading shape (a first argument in brackets); the other arguments are assigned to the names given. */
static bool shaped_args(elab *e, scope *s, const builtin *b, arg *a, uint32_t n, arg **shape, const char *n1, arg **v1, const char *n2, arg **v2) {
  *shape = *v1 = *v2 = NULL;
  for (uint32_t i = 0; i < n; i++) {
    if ((!a[i].name && a[i].ast->kind == KD_AST_LIST && i == 0) || (a[i].name && strcmp(a[i].name, "shape") == 0)) { *shape = &a[i]; continue; }
    arg **to = NULL;
    if (a[i].name) to = n1 && strcmp(a[i].name, n1) == 0 ? v1 : n2 && strcmp(a[i].name, n2) == 0 ? v2 : NULL;
    else to = n1 && !*v1 ? v1 : n2 && !*v2 ? v2 : NULL;
    if (!to) {
      if (a[i].name) { kd_diag *d = kd__err(e, KD_D_UNKNOWN_KEYWORD, a[i].ast->span, b->name, a[i].name); kd__diag_help(e->sink, d, "its parameters are: %s", kd__sig_text(e, b->sig)); }
      else kd__err(e, KD_D_TOO_MANY_ARGS, a[i].ast->span, b->name, 1 + (n1 != NULL) + (n2 != NULL));
      return false;
    }
    *to = &a[i];
    if (kd__arg_eval(e, s, &a[i])->kind == V_POISON) return false;
  }
  return true;
}

val *bi_fill(B) {
  arg *shape, *v1, *v2;
  axis ax[KD_MAX_RANK];
  uint32_t rank;
  if (!shaped_args(e, s, b, a, n, &shape, NULL, &v1, NULL, &v2)) return &kd__poison;
  if (!wanted_shape(e, s, shape, call, b->name, ax, &rank)) return &kd__poison;
  return kd__v_tensor(e, kd__t_const(e, b->op, !shape && e->expect ? e->expect->dtype : e->opt->real, ax, (int)rank, call));
}

val *bi_full(B) {
  arg *shape, *v1, *v2;
  axis ax[KD_MAX_RANK];
  uint32_t rank;
  double x;
  if (!shaped_args(e, s, b, a, n, &shape, "value", &v1, NULL, &v2)) return &kd__poison;
  if (!v1) { kd__err(e, KD_D_MISSING_ARG, call->span, b->name, "value"); return &kd__poison; }
  if (!wanted_shape(e, s, shape, call, b->name, ax, &rank) || !kd__want_real(e, v1->v, v1->ast, "the value", &x)) return &kd__poison;
  return kd__v_tensor(e, kd__t_const(e, x, e->opt->real, ax, (int)rank, call));
}

/* Draws under `key: k`, where one is given (and is not none): taken out of the arguments. */
static val *keyed_draw(elab *e, scope *s, kd_op op, const kd_ast *call, const axis *ax, uint32_t rank, arg *key) {
  draw_key k, *up = e->key;
  if (key && kd__arg_eval(e, s, key)->kind != V_NONE) {
    if (!kd__key_arg(e, s, key, NULL, &k)) return &kd__poison;
    e->key = &k;
  }
  val *v = kd__draw(e, s, op, call, ax, rank);
  e->key = up;
  return v;
}

static arg *take_key(elab *e, arg **a, uint32_t *n) {
  for (uint32_t i = 0; i < *n; i++) {
    if (!(*a)[i].name || strcmp((*a)[i].name, "key") != 0) continue;
    arg *key = kd__arena_copy(e->a, &(*a)[i], sizeof(arg));
    arg *rest = kd__arena_copy(e->a, *a, sizeof(arg) * *n);
    memmove(rest + i, rest + i + 1, sizeof(arg) * (--*n - i));
    *a = rest;
    return key;
  }
  return NULL;
}

val *bi_draw(B) {
  arg *shape, *v1, *v2, *key = take_key(e, &a, &n);
  axis ax[KD_MAX_RANK];
  uint32_t rank;
  bool uniform = b->op == KD_OP_RANDOM_UNIFORM;
  if (!shaped_args(e, s, b, a, n, &shape, uniform ? "low" : "mean", &v1, uniform ? "high" : "std", &v2)) return &kd__poison;
  if (!wanted_shape(e, s, shape, call, b->name, ax, &rank)) return &kd__poison;
  val *u = keyed_draw(e, s, (kd_op)b->op, call, ax, rank, key);
  val *first = v1 ? v1->v : NULL, *second = v2 ? v2->v : NULL;
  if (uniform && first && !second) { second = first; first = NULL; }      /* uniform(h) is 0 to h */
  if (uniform && second) {
    val *span = first ? kd__binary(e, call, "-", second, first) : second;
    u = kd__binary(e, call, "*", u, span);
  } else if (!uniform && second) {
    u = kd__binary(e, call, "*", u, second);
  }
  return first ? kd__binary(e, call, "+", u, first) : u;
}

val *bi_draw_int(B) {
  arg *shape, *v1, *v2, *key = take_key(e, &a, &n);
  axis ax[KD_MAX_RANK];
  uint32_t rank;
  int64_t below;
  if (!shaped_args(e, s, b, a, n, &shape, "below", &v1, NULL, &v2)) return &kd__poison;
  if (!v1) { kd__err(e, KD_D_MISSING_ARG, call->span, b->name, "below"); return &kd__poison; }
  if (!wanted_shape(e, s, shape, call, b->name, ax, &rank) || !kd__want_int(e, v1->v, v1->ast, "`below`", &below)) return &kd__poison;
  if (below <= 0) { kd__err(e, KD_D_AXIS_SIZE, v1->ast->span, "below", (long long)below); return &kd__poison; }
  return kd__binary(e, call, "%", keyed_draw(e, s, KD_OP_RANDOM_BITS, call, ax, rank, key), kd__v_int(e, below));
}

val *bi_fan(B) {
  (void)s; (void)a; (void)n;
  if (!e->expect || e->expect->rank == 0) { kd__err(e, KD_D_NO_SHAPE, call->span, b->name); return &kd__poison; }
  int64_t p = b->op ? e->expect->ax[0].size : 1;
  for (uint32_t i = b->op ? 2 : 1; i < e->expect->rank; i++) p *= e->expect->ax[i].size;
  return kd__v_int(e, p);
}

/* --- convolution and pooling ---------------------------------------------------------------------------------------------------- */
/* A number or a list of one number for each spatial axis. */
static bool per_axis(elab *e, arg *a, int n, int64_t dflt, int64_t least, const char *what, int64_t *out) {
  for (int i = 0; i < n; i++) out[i] = dflt;
  if (!a) return true;
  val *v = kd__force_app(a->v);
  if (v->kind == V_LIST) {
    if ((int)v->u.list.n != n) { kd__err(e, KD_D_UNPACK, a->ast->span, (unsigned)n, kd__v_show(e, v)); return false; }
    for (int i = 0; i < n; i++) if (!kd__want_int(e, v->u.list.v[i], a->ast, what, &out[i])) return false;
  } else {
    if (!kd__want_int(e, v, a->ast, what, &out[0])) return false;
    for (int i = 1; i < n; i++) out[i] = out[0];
  }
  for (int i = 0; i < n; i++) if (out[i] < least) { kd__err(e, KD_D_AXIS_SIZE, a->ast->span, what, (long long)out[i]); return false; }
  return true;
}

/* What windows run over: reals, and `fill` where the places that meet in one window are not valid. */
static tensor *clean_input(elab *e, tensor *x, double fill, bool channels, const kd_ast *at) {
  axis ax[KD_MAX_RANK];
  memcpy(ax, x->ax, sizeof(axis) * x->rank);
  return kd__valid_window(e, kd__t_cast(e, x, e->opt->real, at), fill, channels, ax, at);
}

val *bi_conv(B) {
  PICK(6);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast), *w = kd__want_tensor(e, p[1]->v, p[1]->ast);
  if (!x || !w) return &kd__poison;
  int k = x->rank - 2;
  if (k < 1 || w->rank != x->rank) { kd__err(e, KD_D_CONV_RANK, call->span, kd__t_show(e, x), kd__t_show(e, w)); return &kd__poison; }
  int64_t stride[KD_MAX_RANK], pad[KD_MAX_RANK], dil[KD_MAX_RANK], groups = 1;
  if (!per_axis(e, p[2], k, 1, 1, "stride", stride) || !per_axis(e, p[3], k, 0, 0, "pad", pad) || !per_axis(e, p[4], k, 1, 1, "dilation", dil)) return &kd__poison;
  if (p[5] && !kd__want_int(e, p[5]->v, p[5]->ast, "groups", &groups)) return &kd__poison;
  kd_value in[2] = { clean_input(e, x, 0, true, call)->v, w->v };
  kd_attr at[5] = { kd__al(stride, (uint32_t)k), kd__al(pad, (uint32_t)k), kd__al(pad, (uint32_t)k), kd__al(dil, (uint32_t)k), kd__ai(groups) };
  kd_shape_error err;
  kd_value v = kd__graph_add(e->prog->g, KD_OP_CONV, in, 2, at, kd__origin(e, call->span), &err);
  if (!v) {
    kd_diag *d = kd__err(e, KD_D_SHAPE_RULE, call->span, err.text);
    kd__diag_label(e->sink, d, p[0]->ast->span, "%s", kd__t_show(e, x));
    kd__diag_label(e->sink, d, p[1]->ast->span, "%s", kd__t_show(e, w));
    return &kd__poison;
  }
  const kd_type *t = kd__type_of(e->prog->g, v);
  axis ax[KD_MAX_RANK];
  ax[0] = x->ax[0]; ax[1] = w->ax[0];
  for (int i = 2; i < x->rank; i++) {
    ax[i] = x->ax[i];
    if (ax[i].size != t->dim[i]) ax[i].root = kd__root_new(e, ROOT_FEATURE, NULL);
    ax[i].size = t->dim[i];
  }
  return kd__valid_window(e, x, 0, true, ax, call) ? kd__v_tensor(e, kd__t_wrap(e, v, ax, x->rank, call)) : &kd__poison;
}

val *bi_pool(B) {
  PICK(4);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  if (!x) return &kd__poison;
  int k = x->rank - 2;
  if (k < 1) { kd__err(e, KD_D_CONV_RANK, call->span, kd__t_show(e, x), "a window"); return &kd__poison; }
  int64_t window[KD_MAX_RANK], stride[KD_MAX_RANK], pad[KD_MAX_RANK];
  if (!per_axis(e, p[1], k, 2, 1, "window", window)) return &kd__poison;
  if (p[2] ? !per_axis(e, p[2], k, 1, 1, "stride", stride) : !memcpy(stride, window, sizeof stride)) return &kd__poison;
  if (!per_axis(e, p[3], k, 0, 0, "pad", pad)) return &kd__poison;
  double fill = b->op == KD_OP_MAX_POOL ? -HUGE_VAL : 0;
  kd_value in = clean_input(e, x, fill, false, call)->v;
  kd_attr at[4] = { kd__al(window, (uint32_t)k), kd__al(stride, (uint32_t)k), kd__al(pad, (uint32_t)k), kd__al(pad, (uint32_t)k) };
  kd_shape_error err;
  kd_value v = kd__graph_add(e->prog->g, (kd_op)b->op, &in, 1, at, kd__origin(e, call->span), &err);
  if (!v) { kd_diag *d = kd__err(e, KD_D_SHAPE_RULE, call->span, err.text); kd__diag_label(e->sink, d, p[0]->ast->span, "%s", kd__t_show(e, x)); return &kd__poison; }
  axis ax[KD_MAX_RANK];
  memcpy(ax, x->ax, sizeof(axis) * x->rank);
  for (int i = 2; i < x->rank; i++) {
    ax[i].size = kd__type_of(e->prog->g, v)->dim[i];
    if (ax[i].size != x->ax[i].size) ax[i].root = kd__root_new(e, ROOT_FEATURE, NULL);
  }
  return kd__valid_window(e, x, fill, false, ax, call) ? kd__v_tensor(e, kd__t_wrap(e, v, ax, x->rank, call)) : &kd__poison;
}

/* --- moving ------------------------------------------------------------------------------------------------------------------------- */
static bool one_axis(elab *e, scope *s, arg *over, const tensor *x, const char *what, int *out) {
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!kd__over(e, s, over->ast, x, axes, &k, what)) return false;
  if (k != 1) { kd__err(e, KD_D_ONE_AXIS, over->ast->span, what); return false; }
  *out = (int)axes[0];
  return true;
}

val *bi_pad(B) {
  PICK(6);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int at;
  int64_t low[KD_MAX_RANK] = { 0 }, high[KD_MAX_RANK] = { 0 };
  double value = 0;
  if (!x || !one_axis(e, s, p[1], x, b->name, &at)) return &kd__poison;
  if ((p[2] && !kd__want_int(e, p[2]->v, p[2]->ast, "`low`", &low[at])) || (p[3] && !kd__want_int(e, p[3]->v, p[3]->ast, "`high`", &high[at]))) return &kd__poison;
  if (p[5]) {                                    /* to: the size in the end */
    int64_t to;
    if (!kd__want_int(e, p[5]->v, p[5]->ast, "`to`", &to)) return &kd__poison;
    high[at] = to - x->ax[at].size - low[at];
  }
  if (p[4] && !kd__want_real(e, p[4]->v, p[4]->ast, "`value`", &value)) return &kd__poison;
  if (low[at] < 0 || high[at] < 0) { kd__err(e, KD_D_AXIS_SIZE, call->span, "pad", (long long)(low[at] < 0 ? low[at] : high[at])); return &kd__poison; }
  axis ax[KD_MAX_RANK];
  memcpy(ax, x->ax, sizeof(axis) * x->rank);
  ax[at].size += low[at] + high[at];
  ax[at].root = kd__root_new(e, ROOT_FEATURE, NULL);
  kd__valid_pad(e, x, at, low[at], high[at], ax, call);
  kd_build bb = kd__b(e, call);
  return kd__v_tensor(e, kd__t_wrap(e, kd__b_pad(&bb, x->v, low, high, value), ax, x->rank, call));
}

val *bi_flip(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int at;
  if (!x || !one_axis(e, s, p[1], x, b->name, &at)) return &kd__poison;
  int64_t st[KD_MAX_RANK], sz[KD_MAX_RANK], step[KD_MAX_RANK];
  for (int i = 0; i < x->rank; i++) { sz[i] = x->ax[i].size; st[i] = i == at ? sz[i] - 1 : 0; step[i] = i == at ? -1 : 1; }
  kd_build bb = kd__b(e, call);
  axis ax[KD_MAX_RANK];
  memcpy(ax, x->ax, sizeof(axis) * x->rank);
  kd__valid_flip(e, x, at, ax, call);
  return kd__v_tensor(e, kd__t_wrap(e, kd__b_slice(&bb, x->v, st, sz, step), ax, x->rank, call));
}

static val *value_and_index(elab *e, kd_value v, const axis *ax, int rank, const kd_ast *call) {
  static const char *const names[2] = { "value", "index" };
  const char **key = KD_NEWN(e->a, const char *, 2);
  val **out = KD_NEWN(e->a, val *, 2);
  for (int i = 0; i < 2; i++) { key[i] = names[i]; out[i] = kd__v_tensor(e, kd__t_wrap(e, v + (kd_value)i, ax, rank, call)); }
  return kd__v_rec(e, key, out, 2);
}

val *bi_sort(B) {
  PICK(3);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int at;
  bool down = false;
  if (!x || !one_axis(e, s, p[1], x, b->name, &at) || (p[2] && !kd__want_bool(e, p[2]->v, p[2]->ast, "`descending`", &down))) return &kd__poison;
  kd_attr attr[2] = { kd__ai(at), kd__ai(down) };
  axis ax[KD_MAX_RANK];
  x = kd__valid_sort(e, x, at, down, x->ax[at].size, ax, call);
  kd_value v = kd__graph_add(e->prog->g, KD_OP_SORT, &x->v, 1, attr, kd__origin(e, call->span), NULL);
  return b->op ? kd__v_tensor(e, kd__t_wrap(e, v + 1, ax, x->rank, call)) : value_and_index(e, v, ax, x->rank, call);   /* argsort, sort */
}

val *bi_topk(B) {
  PICK(4);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int at;
  int64_t k;
  if (!x || !one_axis(e, s, p[2], x, b->name, &at) || !kd__want_int(e, p[1]->v, p[1]->ast, "`k`", &k)) return &kd__poison;
  if (k < 1 || k > x->ax[at].size) { kd__err(e, KD_D_SLICE_RANGE, p[1]->ast->span, 0LL, (long long)k, x->ax[at].label, (long long)x->ax[at].size); return &kd__poison; }
  kd_attr attr[2] = { kd__ai(at), kd__ai(k) };
  axis ax[KD_MAX_RANK];
  x = kd__valid_sort(e, x, at, true, k, ax, call);
  if (p[3]) {
    const char *was[KD_MAX_RANK], *label = p[3]->ast->kind == KD_AST_NAME ? kd__intern(e, p[3]->ast->text) : NULL;
    if (!label) { kd__err(e, KD_D_WANT_KIND, p[3]->ast->span, "`as` of `top_k`", "a new axis name", "something else"); return &kd__poison; }
    if (kd__t_find(x, label) >= 0) { kd__err(e, KD_D_AXIS_TWICE, p[3]->ast->span, "top_k", label); return &kd__poison; }
    tensor named = { .rank = x->rank };
    for (int i = 0; i < x->rank; i++) was[i] = ax[i].label;
    memcpy(named.ax, ax, sizeof ax);
    named.ax[at].label = label;
    kd__valid_rename(e, &named, was, x->rank);
    memcpy(ax, named.ax, sizeof ax);
  }
  return value_and_index(e, kd__graph_add(e->prog->g, KD_OP_TOP_K, &x->v, 1, attr, kd__origin(e, call->span), NULL), ax, x->rank, call);
}

val *bi_order(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  const kd_ast *l = p[1]->ast;
  if (!x) return &kd__poison;
  if (l->kind != KD_AST_LIST || (int)l->n != x->rank) { kd__err(e, KD_D_WANT_KIND, l->span, "`order`", "all axes of the tensor in brackets", kd__t_show(e, x)); return &kd__poison; }
  int64_t perm[KD_MAX_RANK];
  axis ax[KD_MAX_RANK];
  for (uint32_t i = 0; i < l->n; i++) {
    arg one = { NULL, NULL, l->kid[i] };
    int at;
    if (!one_axis(e, s, &one, x, b->name, &at)) return &kd__poison;
    for (uint32_t j = 0; j < i; j++) if (perm[j] == at) { kd__err(e, KD_D_AXIS_TWICE, l->kid[i]->span, "order", x->ax[at].label); return &kd__poison; }
    perm[i] = at;
    ax[i] = x->ax[at];
  }
  kd_build bb = kd__b(e, call);
  return kd__v_tensor(e, kd__t_wrap(e, kd__b_permute(&bb, x->v, perm), ax, x->rank, call));
}
