/* call.c: calls: arguments to parameters, formal axes to actual axes, running bodies, results back under the caller's names. */
#include "compiler/elaborate/elab.h"

bool kd__def_is_net(const def *d) { return strcmp(d->word, "net") == 0 || strcmp(d->word, "transform") == 0; }

/* --- arguments ------------------------------------------------------------------------------------------------------------ */
uint32_t kd__args(elab *e, scope *s, const kd_ast *call, arg **out) {
  (void)s;
  uint32_t n = call->n - 1;
  arg *a = KD_NEWN(e->a, arg, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    const kd_ast *k = call->kid[i + 1];
    a[i] = k->kind == KD_AST_ARG ? (arg){ k->text, NULL, k->kid[0] } : (arg){ NULL, NULL, k };
    for (uint32_t j = 0; j < i; j++)
      if (a[i].name && a[j].name && strcmp(a[i].name, a[j].name) == 0) kd__err(e, KD_D_DUPLICATE, k->span, a[i].name);
  }
  *out = a;
  return n;
}

val *kd__arg_eval(elab *e, scope *s, arg *a) {
  if (a->v) return a->v;
  const char *as = s->bound_as, *pre = s->prefix;
  s->prefix = as ? as : pre;
  s->bound_as = NULL;
  a->v = kd__eval(e, s, a->ast);
  s->bound_as = as; s->prefix = pre;
  return a->v;
}

/* An argument for a parameter of type `axis`: names are axes, not variables. */
static val *axis_value(elab *e, scope *s, const kd_ast *n) {
  if (n->kind == KD_AST_LIST) {
    val **v = KD_NEWN(e->a, val *, n->n);
    for (uint32_t i = 0; i < n->n; i++) v[i] = axis_value(e, s, n->kid[i]);
    return kd__v_list(e, v, n->n);
  }
  val *v = kd__v_new(e, V_AXIS);
  if (n->kind == KD_AST_REST) { v->u.ax.label = kd__intern(e, ".."); return v; }
  if (n->kind == KD_AST_NAME) {
    binding *b = kd__scope_find(s, n->text, NULL);
    if (b && b->kind == B_VALUE && b->v && (b->v->kind == V_AXIS || b->v->kind == V_LIST || b->v->kind == V_NONE)) { b->used = true; return b->v; }
    const axis *known = kd__scope_axis(s, kd__intern(e, n->text));
    if (known) v->u.ax = *known;
    v->u.ax.label = kd__intern(e, n->text);
    return v;
  }
  if (n->kind == KD_AST_NONE) return &kd__none;
  kd__err(e, KD_D_WANT_KIND, n->span, "this argument", "the name of an axis", "something else");
  return &kd__poison;
}

/* --- formal axes (A3 to A6) ------------------------------------------------------------------------------------------------- */
static const char *type_text(elab *e, const kd_ast *axes) { return kd__arena_strndup(e->a, axes->span.src->text + axes->span.at, axes->span.len); }

static bool rank_error(elab *e, const kd_ast *axes, const tensor *t, const kd_ast *at, const char *pname, const char *callee) {
  kd_diag *d = kd__err(e, KD_D_RANK_DIFFERS, at->span, callee, pname, type_text(e, axes), kd__t_show(e, t));
  if (t->from) kd__diag_primary(e->sink, d, "%s from %s", kd__t_show(e, t), t->from);
  int want = (int)axes->n;
  if (t->rank > want && want > 0) kd__diag_help(e->sink, d, "merge axes with x[(A, B) as N], drop one with x[A: 0], or reduce with mean(x, over: A)");
  return false;
}

/* One formal axis meets one actual axis. */
static bool meet_formal(elab *e, scope *in, const char *formal, const axis *actual, labels *back, tensor *out, const tensor *t, const kd_ast *at,
                        const char *pname, const char *callee) {
  const axis *seen = NULL;
  for (size_t i = 0; i < in->axes.n; i++) if (in->axes.v[i].label == formal) seen = &in->axes.v[i];
  axis a = *actual;
  a.label = formal;
  out->ax[out->rank++] = a;
  if (!seen) {
    kd__scope_add_axis(e, in, a);
    if (back) KD_PUSH(e->a, back->map, (relabel){ formal, actual->label });
    return true;
  }
  const char *shown = *formal == '.' ? actual->label : formal;
  if (*shown == '.') shown = "an axis";
  if (seen->size != a.size) {
    kd_diag *d = kd__err(e, KD_D_FORMAL_DIFFERS, at->span, callee, shown, (long long)seen->size, pname, (long long)a.size);
    for (size_t i = 0; i < in->b.n; i++) {       /* the arguments bound so far that have this axis */
      binding *b = in->b.v[i];
      if (b->kind != B_VALUE || !b->v || b->v->kind != V_TENSOR || kd__t_find(b->v->u.t, formal) < 0 || !b->at) continue;
      const tensor *o = b->v->u.t;
      if (o->from) kd__diag_label(e->sink, d, b->at->span, "%s from %s", o->shown ? o->shown : kd__t_show(e, o), o->from);
      else kd__diag_label(e->sink, d, b->at->span, "%s", o->shown ? o->shown : kd__t_show(e, o));
      break;
    }
    if (t->from) kd__diag_primary(e->sink, d, "%s from %s", kd__t_show(e, t), t->from);
    else kd__diag_primary(e->sink, d, "%s", kd__t_show(e, t));
    kd__fit_help(e, d, shown, t->rank, a.size);
    return false;
  }
  const root *x = &e->root.v[seen->root], *y = &e->root.v[a.root];
  if (seen->root != a.root && x->kind == ROOT_SAMPLE && y->kind == ROOT_SAMPLE) {
    kd__err(e, KD_D_ROOT_DIFFERS, at->span, shown, x->text ? x->text : "another axis", y->text ? y->text : "another axis");
    return false;
  }
  return true;
}

bool kd__match_axes(elab *e, scope *in, const kd_ast *type, tensor *t, labels *back, const kd_ast *at, const char *pname, tensor *out, const char *callee) {
  const kd_ast *axes = type->kid[0];
  int n = (int)axes->n, rest = -1, opt = -1;
  for (int i = 0; i < n; i++) {
    if (!axes->kid[i]->text || (axes->kid[i]->flag & KD_AST_REST_AXIS)) rest = i;
    else if (axes->kid[i]->flag & KD_AST_OPTIONAL) opt = i;
  }
  int fixed = rest >= 0 ? n - 1 : n;
  bool absent = opt >= 0 && t->rank == fixed - 1;
  if (rest >= 0 ? t->rank < fixed : t->rank != fixed && !absent) return rank_error(e, axes, t, at, pname, callee);
  *out = *t;
  out->rank = 0;
  out->shown = kd__t_show(e, t);
  size_t before = back ? back->map.n : 0;
  int nrest = t->rank - fixed, p = 0;
  for (int i = 0; i < n; i++) {
    const kd_ast *k = axes->kid[i];
    if (i == rest) {
      for (int j = 0; j < nrest; j++) {
        const char *label = kd__intern(e, kd__arena_printf(e->a, ".%s.%d", k->text ? k->text : "", j));
        if (!meet_formal(e, in, label, &t->ax[p++], back, out, t, at, pname, callee)) return false;
      }
      continue;
    }
    if (i == opt && absent) { KD_PUSH(e->a, in->absent, kd__intern(e, k->text)); continue; }
    const char *label = kd__intern(e, k->text);
    if (k->n && k->kid[0]) {
      int64_t want;
      val *v = kd__eval(e, in, k->kid[0]);
      if (v->kind == V_AXIS) want = v->u.ax.size;
      else if (!kd__want_int(e, v, k, kd__arena_printf(e->a, "the size of axis `%s`", k->text), &want)) return false;
      if (want != t->ax[p].size) {
        kd_diag *d = kd__err(e, KD_D_FORMAL_SIZE, at->span, callee, k->text, (long long)want, (long long)t->ax[p].size);
        if (t->from) kd__diag_primary(e->sink, d, "%s from %s", kd__t_show(e, t), t->from);
        return false;
      }
    }
    if (!meet_formal(e, in, label, &t->ax[p++], back, out, t, at, pname, callee)) return false;
  }
  if (back && !kd__like_before(e, in, t, out, back, before, at, callee)) return false;
  const char *was[KD_MAX_RANK];
  for (int i = 0; i < t->rank; i++) was[i] = t->ax[i].label;
  kd__valid_rename(e, out, was, t->rank);
  for (int i = 0; i < out->rank; i++)
    for (int j = 0; j < i; j++)
      if (out->ax[i].label == out->ax[j].label) { kd__err(e, KD_D_AXIS_TWICE, axes->span, "this parameter", out->ax[i].label); return false; }
  return true;
}

/* --- results ------------------------------------------------------------------------------------------------------------------- */
static const char *mapped(const labels *l, const char *label) {
  for (size_t i = 0; i < l->map.n; i++)
    if (l->map.v[i].formal == label) return l->map.v[i].actual;
  return label;
}

static labels *compose(elab *e, const labels *in, const labels *out) {
  labels *r = KD_NEW(e->a, labels);
  for (size_t i = 0; i < in->map.n; i++) KD_PUSH(e->a, r->map, (relabel){ in->map.v[i].formal, mapped(out, in->map.v[i].actual) });
  for (size_t i = 0; i < out->map.n; i++) {
    bool seen = false;
    for (size_t j = 0; j < in->map.n; j++) seen = seen || in->map.v[j].formal == out->map.v[i].formal;
    if (!seen) KD_PUSH(e->a, r->map, out->map.v[i]);
  }
  return r;
}

static val *back_tensor(elab *e, const labels *l, tensor *t, const kd_ast *at, const char *callee) {
  tensor *r = kd__arena_copy(e->a, t, sizeof *t);
  for (int i = 0; i < r->rank; i++) {
    r->ax[i].label = mapped(l, t->ax[i].label);
    for (int j = 0; j < i; j++)
      if (r->ax[i].label == r->ax[j].label) {
        kd_diag *d = kd__err(e, KD_D_RESULT_TWICE, at->span, callee, *r->ax[i].label == '.' ? "of the rest" : r->ax[i].label);
        kd__diag_help(e->sink, d, "rename that axis of one argument with `as`: x[%s as %s2]", r->ax[i].label, r->ax[i].label);
        return &kd__poison;
      }
  }
  const char *was[KD_MAX_RANK];
  for (int i = 0; i < t->rank; i++) was[i] = t->ax[i].label;
  kd__valid_rename(e, r, was, t->rank);
  val *v = kd__v_new(e, V_TENSOR);
  v->u.t = r;
  return v;
}

val *kd__back(elab *e, const labels *l, val *v, const kd_ast *at, const char *callee) {
  if (l->map.n == 0) return v;
  switch (v->kind) {
    case V_TENSOR: return back_tensor(e, l, v->u.t, at, callee);
    case V_APP: {
      val *r = kd__v_new(e, V_APP);
      r->u.app = kd__arena_copy(e->a, v->u.app, sizeof *v->u.app);
      r->u.app->ret = kd__back(e, l, v->u.app->ret, at, callee);
      r->u.app->back = compose(e, v->u.app->back, l);
      return r;
    }
    case V_LIST: case V_RECORD: {
      bool rec = v->kind == V_RECORD;
      uint32_t n = rec ? v->u.rec.n : v->u.list.n;
      val **items = KD_NEWN(e->a, val *, n);
      for (uint32_t i = 0; i < n; i++) items[i] = kd__back(e, l, rec ? v->u.rec.v[i] : v->u.list.v[i], at, callee);
      return rec ? kd__v_rec(e, v->u.rec.key, items, n) : kd__v_list(e, items, n);
    }
    default: return v;
  }
}

/* --- binding parameters -------------------------------------------------------------------------------------------------------- */
static bool scalar_type(elab *e, const kd_ast *type, val **v, const kd_ast *at, const char *pname, const char *callee) {
  const char *t = type->text, *what = kd__arena_printf(e->a, "`%s` of `%s`", pname, callee);
  val *x = kd__force_app(*v);
  if (x->kind == V_POISON) return false;
  if (!t) return true;
  if (strcmp(t, "int") == 0) { int64_t i; if (!kd__want_int(e, x, at, what, &i)) return false; *v = kd__v_int(e, i); return true; }
  if (strcmp(t, "bool") == 0) { bool b; return kd__want_bool(e, x, at, what, &b); }
  if (strcmp(t, "string") == 0) { const char *s; return kd__want_str(e, x, at, what, &s); }
  if (strcmp(t, "real") == 0) {
    if (x->kind == V_TENSOR && x->u.t->rank == 0) return true;
    double r;
    if (x->kind == V_TENSOR) { kd__err(e, KD_D_WANT_KIND, at->span, what, "a number", kd__t_show(e, x->u.t)); return false; }
    return kd__want_real(e, x, at, what, &r);
  }
  if (strcmp(t, "list") == 0 && x->kind != V_LIST && x->kind != V_RANGE) { kd__err(e, KD_D_WANT_KIND, at->span, what, "a list", kd__v_show(e, x)); return false; }
  if (strcmp(t, "net") == 0 && x->kind != V_NET && x->kind != V_DEF && x->kind != V_LAMBDA) { kd__err(e, KD_D_WANT_KIND, at->span, what, "a network", kd__v_show(e, x)); return false; }
  if (strcmp(t, "optimizer") == 0 && x->kind != V_SPEC) { kd__err(e, KD_D_WANT_KIND, at->span, what, "an optimizer", kd__v_show(e, x)); return false; }
  return true;
}

static bool element_type(elab *e, const kd_ast *type, tensor **t, const kd_ast *at, const char *pname, const char *callee) {
  const char *w = type->text;
  if (!w) { if ((*t)->dtype == KD_U8) *t = kd__t_cast(e, *t, e->opt->real, at); return true; }
  kd_dtype want = strcmp(w, "int") == 0 ? KD_I64 : strcmp(w, "bool") == 0 ? KD_BOOL : e->opt->real;
  if ((*t)->dtype == want) return true;
  if (kd__dtype_real(want) && (*t)->dtype != KD_BOOL) { *t = kd__t_cast(e, *t, want, at); return true; }
  kd__err(e, KD_D_ELEMENT_TYPE, at->span, pname, callee, want == KD_I64 ? "whole numbers" : "truth values", (*t)->dtype == KD_BOOL ? "truth values" : (*t)->dtype == KD_I64 ? "whole numbers" : "real numbers");
  return false;
}

static bool bind_list(elab *e, scope *in, const kd_ast *type, val **v, labels *back, const kd_ast *at, const char *pname, const char *callee) {
  val *x = kd__force_app(*v);
  if (x->kind != V_LIST) { if (x->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, at->span, kd__arena_printf(e->a, "`%s` of `%s`", pname, callee), "a list", kd__v_show(e, x)); return false; }
  if (!type->n || !type->kid[0]->n || !type->kid[0]->kid[0]) return true;
  val **items = KD_NEWN(e->a, val *, x->u.list.n);
  size_t base = in->axes.n;
  for (uint32_t i = 0; i < x->u.list.n; i++) {
    tensor *t = kd__want_tensor(e, x->u.list.v[i], at), out;
    in->axes.n = base;                           /* names are bound anew for each element, but for those of other parameters */
    if (!t || !kd__match_axes(e, in, type->kid[0], t, back, at, pname, &out, callee)) return false;
    items[i] = kd__v_tensor(e, &out);
  }
  in->axes.n = base;
  *v = kd__v_list(e, items, x->u.list.n);
  return true;
}

static bool bind_one(elab *e, scope *in, const kd_ast *p, val *v, labels *back, const kd_ast *at, const char *callee) {
  const kd_ast *type = p->n ? p->kid[0] : NULL;
  if (v->kind == V_POISON) { kd__scope_bind(e, in, p->text, v, p)->used = true; return false; }
  bool none_ok = type && (type->flag & KD_AST_OPTIONAL) && v->kind == V_NONE;
  bool default_none = v->kind == V_NONE && p->n > 1 && p->kid[1] && p->kid[1]->kind == KD_AST_NONE;
  if (type && !none_ok && !default_none) {
    if (type->kind == KD_AST_TYPE_ARGS) {
      if (!bind_list(e, in, type, &v, back, at, p->text, callee)) return false;
    } else if (type->kind == KD_AST_TYPE && type->n && type->kid[0]) {
      tensor *t = kd__want_tensor(e, v, at), out;
      if (!t || !element_type(e, type, &t, at, p->text, callee)) return false;
      if (!t->from && at->span.len < 40 && kd__force_app(v)->kind == V_TENSOR) t->from = kd__force_app(v)->u.t->from;
      if (!kd__match_axes(e, in, type, t, back, at, p->text, &out, callee)) return false;
      v = kd__v_tensor(e, &out);
    } else if (type->kind == KD_AST_TYPE && !scalar_type(e, type, &v, at, p->text, callee)) {
      return false;
    }
  }
  binding *b = kd__scope_bind(e, in, p->text, v, at);
  b->used = true; b->param = true;
  return true;
}

static bool is_axis_param(const kd_ast *p) { return p->n && p->kid[0] && p->kid[0]->kind == KD_AST_TYPE && p->kid[0]->text && strcmp(p->kid[0]->text, "axis") == 0; }

/* A parameter of a network through which data flows: a tensor (or list of tensors) without a default. */
static bool is_input(const kd_ast *p) {
  if (p->n > 1 && p->kid[1]) return false;
  const kd_ast *t = p->n ? p->kid[0] : NULL;
  return !t || (t->kind == KD_AST_TYPE && t->n && t->kid[0]) || t->kind == KD_AST_TYPE_ARGS;
}

static bool unknown_keyword(elab *e, const kd_ast *params, const arg *a, const char *callee) {
  const char *names[256];
  size_t n = 0;
  for (uint32_t i = 0; i < params->n && n < 256; i++) names[n++] = params->kid[i]->text;
  kd_diag *d = kd__err(e, KD_D_UNKNOWN_KEYWORD, a->ast->span, callee, a->name);
  const char *near = kd__nearest(e, a->name, names, n);
  if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
  else {
    kd__buf b = { 0 };
    for (size_t i = 0; i < n; i++) kd__buf_printf(&b, "%s%s", i ? ", " : "", names[i]);
    kd__diag_help(e->sink, d, "its parameters are: %s", b.n ? kd__buf_keep(&b, e->a) : "none");
  }
  return false;
}

/* Which argument belongs to which parameter: fixed ones first, then by name, then by position over what is left. */
static bool assign_args(elab *e, const kd_ast *params, const arg *fixed, uint32_t nfixed, arg *a, uint32_t n, arg **slot, const kd_ast *at, const char *callee) {
  for (uint32_t i = 0; i < nfixed; i++)
    for (uint32_t k = 0; k < params->n; k++)
      if (strcmp(params->kid[k]->text, fixed[i].name) == 0) { slot[k] = KD_NEW(e->a, arg); *slot[k] = fixed[i]; }
  bool ok = true;
  for (uint32_t i = 0; i < n; i++) {
    if (!a[i].name) continue;
    uint32_t k = 0;
    while (k < params->n && strcmp(params->kid[k]->text, a[i].name) != 0) k++;
    if (k == params->n) { ok = unknown_keyword(e, params, &a[i], callee); continue; }
    slot[k] = &a[i];
  }
  uint32_t k = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (a[i].name) continue;
    while (k < params->n && slot[k]) k++;
    if (k == params->n) { kd__err(e, KD_D_TOO_MANY_ARGS, a[i].ast->span, callee, params->n); return false; }
    slot[k] = &a[i];
  }
  (void)at;
  return ok;
}

static bool bind_params(elab *e, scope *caller, scope *in, const kd_ast *params, const arg *fixed, uint32_t nfixed, arg *a, uint32_t n, labels *back,
                        const kd_ast *at, const char *callee) {
  arg **slot = KD_NEWN(e->a, arg *, params->n + 1);
  if (!assign_args(e, params, fixed, nfixed, a, n, slot, at, callee)) return false;
  bool ok = true;
  for (uint32_t i = 0; i < params->n; i++) {
    const kd_ast *p = params->kid[i];
    if (!slot[i]) {
      if (p->n > 1 && p->kid[1]) {
        val *v = is_axis_param(p) ? axis_value(e, in, p->kid[1]) : kd__eval(e, in, p->kid[1]);
        ok = bind_one(e, in, p, v, back, p->kid[1], callee) && ok;
      } else if (p->n && p->kid[0] && (p->kid[0]->flag & KD_AST_OPTIONAL)) {
        kd__scope_bind(e, in, p->text, &kd__none, p)->used = true;
      } else {
        kd_diag *d = kd__err(e, KD_D_MISSING_ARG, at->span, callee, p->text);
        if (p->n && p->kid[0]) kd__diag_help(e->sink, d, "give it: %s(..., %s: %s)", callee, p->text, type_text(e, p->kid[0]));
        kd__scope_bind(e, in, p->text, &kd__poison, p)->used = true;
        ok = false;
      }
      continue;
    }
    val *v = is_axis_param(p) && !slot[i]->v ? axis_value(e, caller, slot[i]->ast) : kd__arg_eval(e, caller, slot[i]);
    ok = bind_one(e, in, p, v, back, slot[i]->ast, callee) && ok;
  }
  return ok;
}

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
  bool returned = e->returned;
  val *result = e->result;
  const char *turns = e->turns;
  rule *rules = e->rules;
  yielded *y = e->yielded;
  e->returned = false; e->result = NULL; e->turns = ""; e->yielded = NULL;         /* the body's own place bears the turns around it */
  if (d->rule) e->rules = without(e, rules, d->rule);           /* a part that replaces another may name what it replaces */
  if (body->kind == KD_AST_BLOCK) kd__exec_block(e, in, body);
  else e->result = kd__eval(e, in, body);
  val *v = e->result ? e->result : &kd__none;
  e->returned = returned; e->result = result; e->turns = turns; e->rules = rules; e->yielded = y;
  return check_return(e, in, d, v, at);
}

static frame *push_frame(elab *e, frame *f, const char *what, const kd_ast *at) {
  *f = (frame){ e->frame, what, at->span, e->frame ? e->frame->depth + 1 : 1 };
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
  frame f, *up = push_frame(e, &f, kd__arena_printf(e->a, "in `%s`, called here", d->name), at);
  val *v = &kd__poison;
  frame *inside = e->frame;
  e->frame = up;                                 /* argument errors belong to the caller */
  bool ok = bind_params(e, s, in, d->ast->kid[0], NULL, 0, a, n, &back, at, d->name);
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
  if (!bind_params(e, s, in, l->kid[0], NULL, 0, a, n, &back, at, "fn")) return &kd__poison;
  frame f2, *up = push_frame(e, &f2, "in a function called here", at);
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
      while (k < params->n && (is_input(params->kid[k]) || skip-- > 0)) k++;
    }
    if (k >= params->n) {
      if (a[i].name) unknown_keyword(e, params, &a[i], d->name);
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
  bool ok = bind_params(e, s, in, w->def->ast->kid[0], w->fixed, w->nfixed, a, n, ap->back, at, w->def->name);
  ok = ok && kd__inputs_in_order(e, in, w->def, ap->back, at);
  push_frame(e, &f, kd__arena_printf(e->a, "in `%s`, applied here", w->def->name), at);
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
  for (uint32_t i = 0; i < params->n; i++) any_input = any_input || is_input(params->kid[i]);
  for (uint32_t i = 0; i < n && !inputs; i++) {
    if (!a[i].name) {
      val *v = kd__force_app(kd__arg_eval(e, s, &a[i]));
      inputs = v->kind == V_TENSOR || v->kind == V_POISON || (v->kind == V_LIST && params->n && is_input(params->kid[0]));
    } else {
      for (uint32_t k = 0; k < params->n; k++) inputs = inputs || (strcmp(params->kid[k]->text, a[i].name) == 0 && is_input(params->kid[k]));
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
  if (!assign_args(e, d->ast->kid[0], NULL, 0, o->args, n, slot, at, d->name)) return &kd__poison;
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
  frame f, *up = push_frame(e, &f, kd__arena_printf(e->a, "in optimizer `%s`, used here", o->def->name), at);
  place *outer = e->opt_ctx.place;
  val *r = &kd__poison;
  if (bind_params(e, o->scope, in, o->def->ast->kid[0], NULL, 0, args, o->nargs, &back, o->at, o->def->name)) {
    e->opt_ctx.pv = param; e->opt_ctx.gv = grad; e->opt_ctx.now = param; e->opt_ctx.when = when; e->opt_ctx.place = in->place;
    run_body(e, in, o->def, at);
    r = e->opt_ctx.now;
  }
  e->opt_ctx.pv = pv; e->opt_ctx.gv = gv; e->opt_ctx.now = now; e->opt_ctx.when = wh; e->opt_ctx.place = outer;
  e->frame = up; e->loop = loop;
  return r;
}

/* inner(param: p, grad: g, when: c) inside an optimizer. */
static val *call_spec(elab *e, scope *s, spec *o, arg *a, uint32_t n, const kd_ast *at) {
  if (!e->opt_ctx.pv) { kd__err(e, KD_D_SPEC_CALL, at->span); return &kd__poison; }
  val *param = e->opt_ctx.pv, *grad = e->opt_ctx.gv;
  kd_value when = e->opt_ctx.when;
  for (uint32_t i = 0; i < n; i++) {
    val *v = kd__arg_eval(e, s, &a[i]);
    if (a[i].name && strcmp(a[i].name, "grad") == 0) grad = v;
    else if (a[i].name && strcmp(a[i].name, "param") == 0) param = v;
    else if (a[i].name && strcmp(a[i].name, "when") == 0) {
      tensor *t = kd__want_tensor(e, v, a[i].ast);
      if (!t) return &kd__poison;
      when = t->v;
    } else { kd__err(e, KD_D_UNKNOWN_KEYWORD, a[i].ast->span, o->def->name, a[i].name ? a[i].name : "positional"); return &kd__poison; }
  }
  return kd__run_optimizer(e, o, param, grad, when, at);
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
  return bind_params(e, s, in, d->ast->kid[0], NULL, 0, a, n, &back, at, d->name) ? in : NULL;
}
