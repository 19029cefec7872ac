/* args.c: arguments to parameters, formal axes to actual axes, results back under the caller's names (language-notes A3 to A8). */
#include "compiler/elaborate/call.h"

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
  bool result = strcmp(pname, "the result") == 0, own = strcmp(pname, callee) == 0;
  const char *what = kd__arena_printf(e->a, result ? "the result of `%s`" : "`%s`", callee);
  kd_diag *d = result || own ? kd__err(e, KD_D_DECLARED_DIFFERS, at->span, what, type_text(e, axes), kd__t_show(e, t))
                                 : kd__err(e, KD_D_RANK_DIFFERS, at->span, callee, pname, type_text(e, axes), kd__t_show(e, t));
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
  if (strcmp(t, "list") == 0 && x->kind != V_LIST && x->kind != V_RANGE) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, what, "a list", kd__v_show(e, x));
    if (kd__is_num(x) || x->kind == V_STRING) kd__diag_help(e->sink, d, x->kind == V_STRING ? "a list of one is [\"%s\"]" : "a list of one is [%s]", x->kind == V_STRING ? x->u.s : kd__v_show(e, x));
    return false;
  }
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

/* An argument as its parameter's type has it: elements and axes; `back` (or NULL) takes what the caller calls them. */
bool kd__typed(elab *e, scope *in, const kd_ast *type, val **v, labels *back, const kd_ast *at, const char *pname, const char *callee) {
  if (type->kind == KD_AST_TYPE_ARGS) return bind_list(e, in, type, v, back, at, pname, callee);
  if (type->kind != KD_AST_TYPE) return true;
  if (!type->n || !type->kid[0]) return scalar_type(e, type, v, at, pname, callee);
  tensor *t = kd__want_tensor(e, *v, at), out;
  if (!t || !element_type(e, type, &t, at, pname, callee)) return false;
  if (!t->from && at->span.len < 40 && kd__force_app(*v)->kind == V_TENSOR) t->from = kd__force_app(*v)->u.t->from;
  if (!kd__match_axes(e, in, type, t, back, at, pname, &out, callee)) return false;
  *v = kd__v_tensor(e, &out);
  return true;
}

static bool bind_one(elab *e, scope *in, const kd_ast *p, val *v, labels *back, const kd_ast *at, const char *callee) {
  const kd_ast *type = p->n ? p->kid[0] : NULL;
  if (v->kind == V_POISON) { kd__scope_bind(e, in, p->text, v, p)->used = true; return false; }
  bool none_ok = type && (type->flag & KD_AST_OPTIONAL) && v->kind == V_NONE;
  bool default_none = v->kind == V_NONE && p->n > 1 && p->kid[1] && p->kid[1]->kind == KD_AST_NONE;
  if (type && !none_ok && !default_none && !kd__typed(e, in, type, &v, back, at, p->text, callee)) return false;
  binding *b = kd__scope_bind(e, in, p->text, v, at);
  b->used = true; b->param = true;
  return true;
}

static bool is_axis_param(const kd_ast *p) { return p->n && p->kid[0] && p->kid[0]->kind == KD_AST_TYPE && p->kid[0]->text && strcmp(p->kid[0]->text, "axis") == 0; }

/* A parameter of a network through which data flows: a tensor (or list of tensors) without a default. */
bool kd__is_input(const kd_ast *p) {
  if (p->n > 1 && p->kid[1]) return false;
  const kd_ast *t = p->n ? p->kid[0] : NULL;
  return !t || (t->kind == KD_AST_TYPE && t->n && t->kid[0]) || t->kind == KD_AST_TYPE_ARGS;
}

bool kd__unknown_keyword(elab *e, const kd_ast *params, const arg *a, const char *callee) {
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
bool kd__assign_args(elab *e, const kd_ast *params, const arg *fixed, uint32_t nfixed, arg *a, uint32_t n, arg **slot, const kd_ast *at, const char *callee) {
  for (uint32_t i = 0; i < nfixed; i++)
    for (uint32_t k = 0; k < params->n; k++)
      if (strcmp(params->kid[k]->text, fixed[i].name) == 0) { slot[k] = KD_NEW(e->a, arg); *slot[k] = fixed[i]; }
  bool ok = true;
  for (uint32_t i = 0; i < n; i++) {
    if (!a[i].name) continue;
    uint32_t k = 0;
    while (k < params->n && strcmp(params->kid[k]->text, a[i].name) != 0) k++;
    if (k == params->n) { ok = kd__unknown_keyword(e, params, &a[i], callee); continue; }
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

bool kd__bind_params(elab *e, scope *caller, scope *in, const kd_ast *params, const arg *fixed, uint32_t nfixed, arg *a, uint32_t n, labels *back,
                        const kd_ast *at, const char *callee) {
  arg **slot = KD_NEWN(e->a, arg *, params->n + 1);
  if (!kd__assign_args(e, params, fixed, nfixed, a, n, slot, at, callee)) return false;
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
