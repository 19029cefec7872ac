/* value.c: making and naming values. */
#include "compiler/elaborate/elab.h"
#include <math.h>

val kd__poison = { .kind = V_POISON }, kd__none = { .kind = V_NONE };

val *kd__v_new(elab *e, val_kind k) { val *v = KD_NEW(e->a, val); v->kind = (uint8_t)k; return v; }
val *kd__v_bool(elab *e, bool b) { val *v = kd__v_new(e, V_BOOL); v->u.b = b; return v; }
val *kd__v_int(elab *e, int64_t i) { val *v = kd__v_new(e, V_INT); v->u.i = i; return v; }
val *kd__v_real(elab *e, double r) { val *v = kd__v_new(e, V_REAL); v->u.r = r; return v; }
val *kd__v_str(elab *e, const char *s) { val *v = kd__v_new(e, V_STRING); v->u.s = s; return v; }

val *kd__v_list(elab *e, val **items, uint32_t n) {
  val *v = kd__v_new(e, V_LIST);
  v->u.list.v = items; v->u.list.n = n;
  return v;
}

val *kd__v_rec(elab *e, const char **key, val **items, uint32_t n) {
  val *v = kd__v_new(e, V_RECORD);
  v->u.rec.key = key; v->u.rec.v = items; v->u.rec.n = n;
  return v;
}

val *kd__v_tensor(elab *e, const tensor *t) {
  if (!t) return &kd__poison;
  val *v = kd__v_new(e, V_TENSOR);
  v->u.t = kd__arena_copy(e->a, t, sizeof *t);
  return v;
}

const char *kd__intern(elab *e, const char *s) {
  void **at = kd__map_at(&e->interned, s);
  if (!*at) *at = kd__arena_strndup(e->a, s, strlen(s));
  return *at;
}

static const char *const kind_name[] = {
  [V_POISON] = "an error", [V_NONE] = "none", [V_BOOL] = "a truth value", [V_INT] = "a whole number", [V_REAL] = "a number",
  [V_STRING] = "a string", [V_LIST] = "a list", [V_RECORD] = "a record", [V_RANGE] = "a range", [V_AXIS] = "an axis",
  [V_TENSOR] = "a tensor", [V_DEF] = "a definition", [V_LAMBDA] = "a function", [V_BUILTIN] = "a built-in function",
  [V_NET] = "a network", [V_APP] = "an applied network", [V_SPEC] = "an optimizer", [V_DATA] = "a data set",
  [V_SPLIT] = "a split of a data set", [V_MODULE] = "a module", [V_SOURCE] = "a data source",
  [V_TREE] = "a tree of parameters", [V_PART] = "a part of a network", [V_BATCH] = "a batch",
};
const char *kd__v_kind(const val *v) {
  if (v->kind == V_DEF) {
    const char *w = v->u.def->word;
    return strcmp(w, "fn") == 0 ? "a function" : strcmp(w, "net") == 0 ? "a net definition" : strcmp(w, "loss") == 0 ? "a loss definition"
         : strcmp(w, "optimizer") == 0 ? "an optimizer definition" : "a definition";
  }
  return kind_name[v->kind];
}

const char *kd__t_show(elab *e, const tensor *t) {
  kd__buf b = { 0 };
  kd__buf_putc(&b, '[');
  for (int i = 0; i < t->rank; i++) {
    const char *l = t->ax[i].label;
    if (*l == '.') kd__buf_printf(&b, "%s%lld", i ? ", " : "", (long long)t->ax[i].size);
    else kd__buf_printf(&b, "%s%s %lld", i ? ", " : "", l, (long long)t->ax[i].size);
  }
  kd__buf_putc(&b, ']');
  return kd__buf_keep(&b, e->a);
}

const char *kd__v_show(elab *e, const val *v) {
  switch (v->kind) {
    case V_TENSOR: return kd__t_show(e, v->u.t);
    case V_APP: return v->u.app->ret->kind == V_TENSOR ? kd__t_show(e, v->u.app->ret->u.t) : "an applied network";
    case V_BOOL: return v->u.b ? "true" : "false";
    case V_INT: return kd__arena_printf(e->a, "%lld", (long long)v->u.i);
    case V_REAL: return kd__arena_printf(e->a, "%g", v->u.r);
    case V_STRING: return kd__arena_printf(e->a, "the string \"%s\"", v->u.s);
    case V_LIST: return kd__arena_printf(e->a, "a list of %u", v->u.list.n);
    case V_TREE: return kd__arena_printf(e->a, "a tree of %u %s", v->u.tree->n, v->u.tree->n == 1 ? "leaf" : "leaves");
    default: return kd__v_kind(v);
  }
}

bool kd__is_num(const val *v) { return v->kind == V_INT || v->kind == V_REAL; }
double kd__num(const val *v) { return v->kind == V_INT ? (double)v->u.i : v->u.r; }

val *kd__force_app(val *v) { while (v->kind == V_APP) v = v->u.app->ret; return v; }

tensor *kd__want_tensor(elab *e, val *v, const kd_ast *at) {
  v = kd__force_app(v);
  if (v->kind == V_POISON) return NULL;
  if (v->kind == V_TENSOR) {
    if (v->u.t->in == e->prog) return v->u.t;
    tensor *t = kd__carry(e, v->u.t, at);
    if (t) return t;
    const char *decided = v->u.t->in ? kd__decided_since(e, v->u.t->in) : NULL;
    if (decided && e->prog && e->prog->segment) {
      kd_diag *d = kd__err(e, KD_D_DECIDE_LOST, at->span, kd__t_show(e, v->u.t), decided);
      kd__diag_help(e->sink, d, "bind it to a name of its own before the decision: let h = ...");
      return NULL;
    }
    kd_diag *d = kd__err(e, KD_D_OTHER_PROGRAM, at->span, kd__t_show(e, v->u.t));
    if (v->u.t->in && v->u.t->in->segment) kd__diag_help(e->sink, d, "an evaluation runs over other samples than this value was made of: write out in it what is to be measured");
    else kd__diag_help(e->sink, d, "initial values may use sizes, numbers and draws; other values are read where they are made");
    return NULL;
  }
  if (kd__is_num(v)) return kd__t_const(e, kd__num(v), v->kind == V_INT ? KD_I64 : e->opt->real, NULL, 0, at);
  if (v->kind == V_BOOL) return kd__t_const(e, v->u.b, KD_BOOL, NULL, 0, at);
  kd_diag *d = kd__err(e, KD_D_WANT_TENSOR, at->span, kd__v_show(e, v));
  if (v->kind == V_TREE && v->u.tree->n) kd__diag_help(e->sink, d, "select a leaf by its path, such as %s, or reduce to a number: sum(...)", v->u.tree->leaf[0].path);
  if (v->kind == V_PART) kd__diag_help(e->sink, d, "`%s` owns parameters; its value is a tap of an application: let t = %s(x), then t%s", v->u.part->path,
                                       v->u.part->top->path, v->u.part->path + strlen(v->u.part->top->path));
  if (v->kind == V_NET) kd__diag_help(e->sink, d, "apply the network to an input: %.*s(x)", (int)at->span.len, at->span.src->text + at->span.at);
  kd__hint_value(e, d, v, at);
  return NULL;
}

static bool wrong_kind(elab *e, val *v, const kd_ast *at, const char *what, const char *want) {
  v = kd__force_app(v);
  if (v->kind == V_POISON) return false;
  kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, what, want, kd__v_show(e, v));
  if (v->kind == V_TENSOR) kd__diag_help(e->sink, d, "this is decided before the run, when tensors have shapes but no values");
  return false;
}

bool kd__want_int(elab *e, val *v, const kd_ast *at, const char *what, int64_t *out) {
  if (v->kind == V_INT) { *out = v->u.i; return true; }
  if (v->kind == V_REAL && v->u.r == floor(v->u.r) && fabs(v->u.r) < 9e15) { *out = (int64_t)v->u.r; return true; }
  return wrong_kind(e, v, at, what, "a whole number");
}

bool kd__want_real(elab *e, val *v, const kd_ast *at, const char *what, double *out) {
  if (kd__is_num(v)) { *out = kd__num(v); return true; }
  return wrong_kind(e, v, at, what, "a number");
}

bool kd__want_bool(elab *e, val *v, const kd_ast *at, const char *what, bool *out) {
  if (v->kind == V_BOOL) { *out = v->u.b; return true; }
  return wrong_kind(e, v, at, what, "true or false");
}

bool kd__want_str(elab *e, val *v, const kd_ast *at, const char *what, const char **out) {
  if (v->kind == V_STRING) { *out = v->u.s; return true; }
  return wrong_kind(e, v, at, what, "a string");
}
