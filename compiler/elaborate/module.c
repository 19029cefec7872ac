/* module.c: definitions, `use`, bindings, fields and taps, settings. */
#include "compiler/elaborate/elab.h"
#include <stdlib.h>

/* --- modules ---------------------------------------------------------------------------------------------------------------- */
static void report_cycle(elab *e, module *m, const char *name, const kd_ast *at) {
  kd_diag *d = kd__err(e, KD_D_CYCLE, at->span, name);
  if (m->used_at) kd__diag_label(e->sink, d, m->used_at->span, "`%s` is being loaded because of this", name);
  kd__diag_help(e->sink, d, "move what both need into a third module");
}

/* A name means a file beside the one that uses it before one of the library, so it is known by that file's folder, and the module by its own path. */
static const char *seen_from(elab *e, const char *name, const kd_source *near) {
  const char *slash = near ? strrchr(near->path, '/') : NULL;
  return kd__arena_printf(e->a, "%.*s:%s", slash ? (int)(slash - near->path) : 0, slash ? near->path : "", name);
}

module *kd__module_load(elab *e, const char *name, const kd_ast *at) {
  const kd_source *near = at ? at->span.src : NULL;
  const char *key = seen_from(e, name, near), *shown = NULL, *text = NULL;
  size_t size;
  module *m = kd__map_get(&e->modules, key);
  if (!m) {
    text = e->opt->load ? e->opt->load(e->opt->load_ctx, name, near, &size, &shown) : NULL;
    if (!text) return NULL;
    m = kd__map_get(&e->modules, shown);
    *kd__map_at(&e->modules, key) = m;
  }
  if (m && m->state == 1) { report_cycle(e, m, name, at); return NULL; }
  if (m) return m;
  m = KD_NEW(e->a, module);
  m->name = kd__arena_strndup(e->a, name, strlen(name));
  m->used_at = at;
  *kd__map_at(&e->modules, key) = m;
  *kd__map_at(&e->modules, kd__arena_strndup(e->a, shown, strlen(shown))) = m;
  kd_source *src = kd__source_new(e->a, shown, text, size, (uint32_t)e->modules.n + 1);
  m->syn = kd__parse(e->a, e->sink, src);
  m->scope = kd__scope_new(e, NULL, e->top);
  m->scope->mod = m;
  m->state = 1;
  prog *p = e->prog;
  frame *f = e->frame;
  e->frame = NULL;
  for (uint32_t i = 0; i < m->syn->file->n; i++) {
    const kd_ast *n = m->syn->file->kid[i];
    if (n->kind == KD_AST_DEFINE || n->kind == KD_AST_USE) kd__exec(e, m->scope, n);
  }
  for (uint32_t i = 0; i < m->syn->file->n; i++) {
    const kd_ast *n = m->syn->file->kid[i];
    if (n->kind == KD_AST_BIND && strcmp(n->text2, "let") == 0) kd__exec(e, m->scope, n);
  }
  e->prog = p; e->frame = f;
  m->state = 2;
  return m;
}

/* Adds the text that the library's module `help` has for a subject, with the number in the place of `%`. False: it has none. */
bool kd__library_help(elab *e, kd_diag *d, const char *subject, int64_t number) {
  module *m = kd__module_load(e, "help", NULL);
  const binding *b = m ? kd__scope_here(m->scope, subject) : NULL;
  const val *v = !b ? NULL : b->kind == B_FORMULA ? kd__eval(e, b->scope, b->expr) : b->v;
  if (!v || v->kind != V_STRING) return false;
  const char *text = v->u.s, *hole = strchr(text, '%');
  if (hole) kd__diag_help(e->sink, d, "%.*s%lld%s", (int)(hole - text), text, (long long)number, hole + 1);
  else kd__diag_help(e->sink, d, "%s", text);
  return true;
}

/* How a tensor of this rank comes to have `size` elements along the axis, if the library knows. */
void kd__fit_help(elab *e, kd_diag *d, const char *label, int rank, int64_t size) {
  if (!kd__library_help(e, d, kd__arena_printf(e->a, "fit_%s_%d", label, rank), size)) (void)kd__library_help(e, d, kd__arena_printf(e->a, "fit_%s", label), size);
}

/* `a.b.c`: file a/b/c.kd with a definition c, or that file as a name space, or definition c of file a/b.kd. */
static val *find_path(elab *e, const char *path, const kd_ast *at, module **near) {
  char *slashed = kd__arena_strndup(e->a, path, strlen(path));
  for (char *p = slashed; *p; p++) if (*p == '.') *p = '/';
  const char *last = strrchr(path, '.');
  last = last ? last + 1 : path;
  size_t errors = e->sink->errors;
  module *m = kd__module_load(e, slashed, at);
  if (e->sink->errors != errors && !m) return &kd__poison;
  if (m) {
    binding *b = kd__scope_here(m->scope, last);
    if (b) return b->v;
    val *v = kd__v_new(e, V_MODULE);
    v->u.mod = m;
    return v;
  }
  char *cut = strrchr(slashed, '/');
  if (!cut) return NULL;
  *cut = 0;
  m = kd__module_load(e, slashed, at);
  if (!m) return NULL;
  *near = m;
  binding *b = kd__scope_here(m->scope, last);
  return b ? b->v : NULL;
}

/* The nearest path among the library's modules: of the whole, or of all but the last name. */
static const char *near_module(elab *e, const kd_ast *item) {
  const char *all = e->opt->load ? e->opt->load(e->opt->load_ctx, "?", item->span.src, &(size_t){ 0 }, &(const char *){ 0 }) : NULL;
  if (!all) return NULL;
  const char *best = kd__nearest_line(e, item->text, all), *last = strrchr(item->text, '.');
  if (best || !last) return best;
  best = kd__nearest_line(e, kd__arena_strndup(e->a, item->text, (size_t)(last - item->text)), all);
  return best ? kd__arena_printf(e->a, "%s%s", best, last) : NULL;
}

static void use_one(elab *e, scope *s, const kd_ast *item) {
  module *near = NULL;
  size_t errors = e->sink->errors;
  val *v = find_path(e, item->text, item, &near);
  const char *last = strrchr(item->text, '.');
  const char *name = item->text2 ? item->text2 : last ? last + 1 : item->text;
  if (!v) {
    if (e->sink->errors == errors) {
      kd_diag *d = kd__err(e, KD_D_UNKNOWN_MODULE, item->span, item->text);
      const char *names[256];
      size_t n = 0;
      if (near) for (size_t i = 0; i < near->scope->b.n && n < 256; i++) names[n++] = near->scope->b.v[i]->name;
      const char *best = kd__nearest(e, last ? last + 1 : item->text, names, n);
      if (best) kd__diag_help(e->sink, d, "did you mean `%.*s%s`?", (int)(last ? last + 1 - item->text : 0), item->text, best);
      else {
        best = near_module(e, item);
        if (best) kd__diag_help(e->sink, d, "did you mean `%s`?", best);
      }
    }
    v = &kd__poison;
  }
  binding *old = kd__scope_here(s, name);
  if (old && old->v != v && old->v->kind != V_POISON) {
    kd_diag *d = kd__err(e, KD_D_DUPLICATE_NAME, item->span, name);
    if (old->at) kd__diag_label(e->sink, d, old->at->span, "the first one");
    kd__diag_help(e->sink, d, "give one of them another name: use %s as %s2", item->text, name);
    return;
  }
  kd__scope_bind(e, s, name, v, item)->used = true;
}

void kd__use(elab *e, scope *s, const kd_ast *n) {
  for (uint32_t i = 0; i < n->n; i++) use_one(e, s, n->kid[i]);
}

/* A parameter and an axis of one signature share no name (guard G18). */
static void no_axis_of_that_name(elab *e, const kd_ast *of, const char *name, const kd_ast *n) {
  if (n->kind == KD_AST_AXIS && n->text && !(n->flag & KD_AST_REST_AXIS) && strcmp(n->text, name) == 0) {
    kd_diag *d = kd__err(e, KD_D_PARAM_AXIS, n->span, of->text, name);
    kd__diag_help(e->sink, d, "give one of them another name");
    return;
  }
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i] && (n->kind != KD_AST_PARAM || i == 0)) no_axis_of_that_name(e, of, name, n->kid[i]);
}

void kd__define(elab *e, scope *s, const kd_ast *n) {
  binding *old = kd__scope_here(s, n->text);
  if (old && old->at != n && !(old->v && old->v->kind == V_POISON)) {
    kd_diag *d = kd__err(e, KD_D_DUPLICATE_NAME, n->name.len ? n->name : n->span, n->text);
    if (old->at) kd__diag_label(e->sink, d, old->at->name.len ? old->at->name : old->at->span, "the first one");
    return;
  }
  def *d = KD_NEW(e->a, def);
  d->ast = n; d->word = n->text2; d->name = n->text; d->scope = s;
  for (uint32_t i = 0; i < n->kid[0]->n; i++)
    for (uint32_t j = 0; j < i; j++)
      if (strcmp(n->kid[0]->kid[i]->text, n->kid[0]->kid[j]->text) == 0) kd__err(e, KD_D_DUPLICATE, n->kid[0]->kid[i]->span, n->kid[0]->kid[i]->text);
  for (uint32_t i = 0; i < n->kid[0]->n; i++) no_axis_of_that_name(e, n, n->kid[0]->kid[i]->text, n->kid[0]);
  val *v = kd__v_new(e, V_DEF);
  v->u.def = d;
  kd__scope_bind(e, s, n->text, v, n)->used = true;
}

/* --- settings ------------------------------------------------------------------------------------------------------------------ */
static val *parse_setting(elab *e, const char *text) {
  char *end;
  if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) return kd__v_bool(e, *text == 't');
  long long i = strtoll(text, &end, 10);
  if (*text && !*end) return kd__v_int(e, i);
  double d = strtod(text, &end);
  if (*text && !*end) return kd__v_real(e, d);
  return kd__v_str(e, text);
}

bool kd__setting(elab *e, const char *path, val **out) {
  KD_PUSH(e->a, e->settings_seen, path);
  for (size_t i = 0; i < e->opt->nsetting; i++)
    if (strcmp(e->opt->setting[i].path, path) == 0) {
      e->opt->setting[i].used = true;
      *out = parse_setting(e, e->opt->setting[i].value);
      return true;
    }
  return false;
}

/* A definition takes settings for its own parameters only: a stage may bear the name of a network. */
static bool takes_setting(elab *e, const val *f, const char *name) {
  if (f->kind != V_DEF) return true;
  const kd_ast *params = f->u.def->ast->kid[0];
  bool found = false;
  for (uint32_t i = 0; i < params->n; i++) {
    KD_PUSH(e->a, e->settings_seen, kd__arena_printf(e->a, "%s.%s", e->override_name, params->kid[i]->text));
    found = found || strcmp(params->kid[i]->text, name) == 0;
  }
  return found;
}

/* Arguments of the call that an experiment-level binding makes can be set from outside: NAME.argument. */
uint32_t kd__override_args(elab *e, const val *f, const kd_ast *call, arg **a, uint32_t n) {
  if (!e->override_call || e->override_call != call) return n;
  arg *r = KD_NEWN(e->a, arg, n + e->opt->nsetting + 1);
  if (n) memcpy(r, *a, sizeof(arg) * n);
  for (uint32_t i = 0; i < n; i++) {
    val *v;
    if (r[i].name && kd__setting(e, kd__arena_printf(e->a, "%s.%s", e->override_name, r[i].name), &v)) r[i].v = v;
  }
  size_t len = strlen(e->override_name);
  for (size_t i = 0; i < e->opt->nsetting; i++) {
    kd_setting *st = &e->opt->setting[i];
    const char *p = st->path;
    if (st->used || strncmp(p, e->override_name, len) != 0 || p[len] != '.' || strchr(p + len + 1, '.') || !takes_setting(e, f, p + len + 1)) continue;
    st->used = true;
    r[n++] = (arg){ kd__arena_strndup(e->a, p + len + 1, strlen(p + len + 1)), parse_setting(e, st->value), call };
  }
  *a = r;
  return n;
}

/* --- bindings --------------------------------------------------------------------------------------------------------------------- */
bool kd__computed(const val *v) {
  switch (v->kind) {
    case V_TENSOR: case V_APP: case V_TREE: case V_POISON: return true;
    case V_NET: return v->u.net->with != NULL;
    case V_LIST: for (uint32_t i = 0; i < v->u.list.n; i++) if (kd__computed(v->u.list.v[i])) return true; return false;
    case V_RECORD: for (uint32_t i = 0; i < v->u.rec.n; i++) if (kd__computed(v->u.rec.v[i])) return true; return false;
    default: return false;
  }
}

static bool word_is(const kd_ast *n, const char *w) { return strcmp(n->text2, w) == 0; }

static bool all_nets(const val *v) {
  if (v->kind == V_NET) return true;
  if (v->kind != V_LIST) return false;
  for (uint32_t i = 0; i < v->u.list.n; i++) if (!all_nets(v->u.list.v[i])) return false;
  return true;
}

static void check_word(elab *e, const kd_ast *n, const val *v) {
  if (v->kind == V_POISON) return;
  bool netlike = word_is(n, "teacher") || word_is(n, "student") || word_is(n, "model") || word_is(n, "transform");
  if (netlike && !all_nets(v)) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, n->kid[1]->span, kd__arena_printf(e->a, "%s `%s`", n->text2, n->text), "a network", kd__v_show(e, v));
    if (v->kind == V_DEF && kd__def_is_net(v->u.def)) kd__diag_help(e->sink, d, "make an instance of it: %s(...)", v->u.def->name);
  }
  if (word_is(n, "tap") && kd__treelike(v) && v->kind != V_TREE) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, n->kid[1]->span, kd__arena_printf(e->a, "tap `%s`", n->text), "a value inside an applied network", kd__v_show(e, v));
    if (v->kind == V_PART) kd__diag_help(e->sink, d, "apply it first: let t = %s(x), then t%s", v->u.part->top->path, v->u.part->path + strlen(v->u.part->top->path));
  }
  if (word_is(n, "data") && v->kind != V_DATA) kd__err(e, KD_D_WANT_KIND, n->kid[1]->span, kd__arena_printf(e->a, "data `%s`", n->text), "a data set", kd__v_show(e, v));
}

static bool duplicate(elab *e, scope *s, const kd_ast *n) {
  binding *old = kd__scope_here(s, n->text);
  if (!old || old->at == n || (old->v && old->v->kind == V_POISON)) return false;
  kd_diag *d = kd__err(e, KD_D_DUPLICATE_NAME, n->name.len ? n->name : n->span, n->text);
  if (old->at) kd__diag_label(e->sink, d, old->at->name.len ? old->at->name : old->at->span, "the first one");
  return true;
}

static bool is_formula(const kd_ast *n) { return word_is(n, "let") || word_is(n, "tap") || word_is(n, "loss") || word_is(n, "metric"); }

/* A formula of the experiment that asks for a network's parts above the network's first application waits for it: it is elaborated after the others. */
static val *eval_formula_first(elab *e, scope *s, const kd_ast *expr) {
  size_t said = e->sink->diag.n, errors = e->sink->errors, warnings = e->sink->warnings;
  e->unapplied = false;
  val *v = kd__eval(e, s, expr);
  if (e->sink->errors == errors || !e->unapplied) return v;
  e->sink->diag.n = said;                        /* what is said of it is said when it is elaborated again */
  e->sink->errors = errors;
  e->sink->warnings = warnings;
  e->late = true;
  return &kd__poison;
}

/* Those that waited, and what may read them. What is known beforehand is no formula. */
void kd__late_formulas(elab *e, scope *s) {
  if (!e->late) return;
  e->late = false;
  e->probe->clock++;
  for (size_t i = 0; i < s->b.n; i++) {
    binding *b = s->b.v[i];
    e->probe->open = NULL;
    if (b->kind != B_FORMULA || b->at->kind != KD_AST_BIND) continue;
    bool used = b->used;
    prog *p = e->prog;
    e->prog = e->probe;
    val *v = kd__read_binding(e, b, b->at);
    e->prog = p;
    b->used = used;
    if (!kd__computed(v)) { b->kind = B_VALUE; b->v = v; }
  }
}

/* Experiment level: networks and data are made once; `let`, `tap`, `loss`, `metric` of tensors are formulas. */
static void bind_top(elab *e, scope *s, const kd_ast *n) {
  if (duplicate(e, s, n)) return;
  const kd_ast *expr = n->n > 1 ? n->kid[1] : NULL;
  val *v;
  prog *p = e->prog;
  if (!e->prog) e->prog = e->probe;
  bool plain = expr && (expr->kind == KD_AST_NUMBER || expr->kind == KD_AST_STRING || expr->kind == KD_AST_TRUE || expr->kind == KD_AST_FALSE);
  if (!(plain && kd__setting(e, n->text, &v))) {
    const char *as = s->bound_as;
    s->bound_as = n->text;
    e->role = n->text2;
    const kd_ast *made = expr;                   /* the call whose arguments may be set from outside */
    while (made && (made->kind == KD_AST_WITH || made->kind == KD_AST_OF)) made = made->kid[made->kind == KD_AST_OF];
    e->override_call = made && made->kind == KD_AST_CALL ? made : NULL;
    e->override_name = n->text;
    v = is_formula(n) && e->file && s == e->file->scope ? eval_formula_first(e, s, expr) : kd__eval(e, s, expr);
    e->override_call = NULL;
    e->role = NULL;
    s->bound_as = as;
  }
  check_word(e, n, v);
  kd__from(e, n, s, v);
  e->prog = p;
  binding *b = kd__scope_bind(e, s, n->text, v, n);
  b->is_let = true;
  if (v->kind == V_DATA) { b->used = true; if (!e->data.v[v->u.data].name) { e->data.v[v->u.data].name = n->text; e->data.v[v->u.data].d.name = n->text; e->root.v[e->data.v[v->u.data].root[0]].text = n->text; } }
  if (!is_formula(n) || !kd__computed(v)) return;
  b->kind = B_FORMULA; b->expr = expr; b->scope = s; b->v = &kd__poison;
  if (!e->late) kd__probe_formula(e, b, n);
}

void kd__bind_stmt(elab *e, scope *s, const kd_ast *n) {
  if (word_is(n, "param") || word_is(n, "state")) { kd__own(e, s, n); return; }
  const kd_ast *expr = n->n > 1 ? n->kid[1] : NULL;
  if (!expr) { kd__err(e, KD_D_INTERNAL, n->span, "a binding without a value"); return; }
  if (s->up == NULL && !s->definition) { bind_top(e, s, n); return; }
  binding *old = kd__scope_here(s, n->text);
  if (old && old->is_let && word_is(n, "let") && !s->loop) { duplicate(e, s, n); return; }
  const char *as = s->bound_as, *role = e->role;
  s->bound_as = n->text;
  if (s->scheme && (word_is(n, "student") || word_is(n, "teacher") || word_is(n, "model"))) e->role = n->text2;
  val *v = s->scheme ? kd__scheme_value(e, s, expr) : kd__eval(e, s, expr);
  s->bound_as = as; e->role = role;
  const kd_ast *type = n->kid[0];
  if (type && type->kind == KD_AST_TYPE && type->n && type->kid[0] && v->kind != V_POISON) {   /* names axes at an edge */
    tensor *t = kd__want_tensor(e, v, expr), out;
    scope *tmp = kd__scope_new(e, s, NULL);
    if (t && kd__match_axes(e, tmp, type, t, NULL, expr, n->text, &out, n->text)) {
      for (int i = 0; i < out.rank; i++) kd__scope_add_axis(e, s, out.ax[i]);
      v = kd__v_tensor(e, &out);
    } else {
      v = &kd__poison;
    }
  }
  check_word(e, n, v);
  kd__from(e, n, s, v);
  v = kd__own_value(e, s, n->text, expr, v);
  binding *b = kd__scope_bind(e, s, n->text, kd__rewired(e, s, n->text, v), n);
  b->is_let = word_is(n, "let");
}

/* --- fields and taps ------------------------------------------------------------------------------------------------------------------ */
static val *unknown_field(elab *e, const kd_ast *n, const char *const *names, size_t count, const char *of, const char *what) {
  kd_diag *d = kd__err(e, KD_D_UNKNOWN_FIELD, n->name.len ? n->name : n->span, of, what, n->text);
  const char *near = kd__nearest(e, n->text, names, count);
  if (near) { kd__diag_help(e->sink, d, "did you mean `%s`?", near); return &kd__poison; }
  kd__buf b = { 0 };
  for (size_t i = 0; i < count && i < 16; i++) kd__buf_printf(&b, "%s%s", b.n ? ", " : "", names[i]);
  if (b.n) kd__diag_help(e->sink, d, "it has: %s", kd__buf_keep(&b, e->a));
  return &kd__poison;
}

val *kd__app_tap(elab *e, app *a, const char *name) {
  binding *b = kd__scope_here(a->body, name);
  if (b && b->kind != B_FORMULA && b->kind != B_STATE && b->kind != B_PARAM && b->v) return b->v;
  if (b && (b->kind == B_STATE || b->kind == B_PARAM)) {             /* as the application read it */
    overlay *up = e->over;
    e->over = a->over;
    val *v = kd__read_slot(e, b->slot, b->at);
    e->over = up;
    return v;
  }
  if (a->ret->kind == V_RECORD)
    for (uint32_t i = 0; i < a->ret->u.rec.n; i++) if (strcmp(a->ret->u.rec.key[i], name) == 0) return a->ret->u.rec.v[i];
  return NULL;
}

/* A tap of the network, or of the network whose application it returns. */
static val *find_tap(elab *e, app *a, const kd_ast *n) {
  val *r = kd__app_tap(e, a, n->text);
  if (r) return kd__scope_here(a->body, n->text) ? kd__back(e, a->back, r, n, a->net->def->name) : r;
  return a->ret->kind == V_APP ? find_tap(e, a->ret->u.app, n) : NULL;
}

static val *tap(elab *e, val *v, const kd_ast *n) {
  val *r = find_tap(e, v->u.app, n);
  if (r) return r;
  const char *names[256];
  size_t k = 0;
  for (app *a = v->u.app; a; a = a->ret->kind == V_APP ? a->ret->u.app : NULL)
    for (size_t i = 0; i < a->body->b.n && k < 256; i++)
      if (!a->body->b.v[i]->param || a->body->b.v[i]->v->kind == V_TENSOR) names[k++] = a->body->b.v[i]->name;
  return unknown_field(e, n, names, k, kd__arena_printf(e->a, "`%s`", v->u.app->net->def->name), "tap");
}

static val *module_field(elab *e, module *m, const kd_ast *n) {
  binding *b = kd__scope_here(m->scope, n->text);
  if (b) return b->v;
  const char *names[256];
  size_t k = 0;
  for (size_t i = 0; i < m->scope->b.n && k < 256; i++) names[k++] = m->scope->b.v[i]->name;
  return unknown_field(e, n, names, k, kd__arena_printf(e->a, "module `%s`", m->name), "definition");
}

static val *no_part(elab *e, const net_part *p, const kd_ast *n) {
  kd_diag *d = kd__err(e, KD_D_UNKNOWN_FIELD, n->name.len ? n->name : n->span, kd__arena_printf(e->a, "`%s`", p->path), "part or parameter", n->text);
  const char *names = kd__part_names(e, p);
  if (names) kd__diag_help(e->sink, d, "it has: %s", names);
  return &kd__poison;
}

/* A part or a parameter of the network itself; taps belong to its applications. */
static val *net_field(elab *e, const net *w, const kd_ast *n) {
  overlay o = { e->over, w->place, w->with }, *up = e->over;
  net_part whole = { w->place, w->place->path };
  if (w->with) e->over = &o;
  val *r = kd__part_field(e, &whole, n->text, n);
  e->over = up;
  if (r && w->with && r->kind != V_TENSOR) r = kd__tree_field(e, w->with, n->text);      /* a part at other parameters: its leaves */
  if (r) return r;
  kd_diag *d = kd__err(e, KD_D_NET_FIELD, n->span, n->text);
  const char *names = kd__part_names(e, &whole);
  e->unapplied = e->unapplied || !names;
  const kd_ast *of = n->kid[0];
  kd__diag_help(e->sink, d, "apply it first: let t = %.*s(x), then t.%s%s%s", (int)of->span.len, of->span.src->text + of->span.at, n->text,
                names ? "; what it owns is: " : "", names ? names : "");
  return &kd__poison;
}

val *kd__field(elab *e, scope *s, val *v, const kd_ast *n) {
  (void)s;
  switch (v->kind) {
    case V_POISON: return v;
    case V_APP: return tap(e, v, n);
    case V_MODULE: return module_field(e, v->u.mod, n);
    case V_DATA: case V_BATCH: return kd__data_field(e, v, n->text, n);
    case V_SPLIT: return kd__split_field(e, v, n->text, n);
    case V_RECORD:
      for (uint32_t i = 0; i < v->u.rec.n; i++) if (strcmp(v->u.rec.key[i], n->text) == 0) return v->u.rec.v[i];
      return unknown_field(e, n, v->u.rec.key, v->u.rec.n, "this record", "field");
    case V_NET: return net_field(e, v->u.net, n);
    case V_PART: {
      val *r = kd__part_field(e, v->u.part, n->text, n);
      return r ? r : no_part(e, v->u.part, n);
    }
    case V_TREE: {
      val *r = kd__tree_field(e, v->u.tree, n->text);
      if (r) return r;
      kd_diag *d = kd__err(e, KD_D_UNKNOWN_FIELD, n->name.len ? n->name : n->span, "this tree", "leaf", n->text);
      if (v->u.tree->n) kd__diag_help(e->sink, d, "its leaves are named like %s", v->u.tree->leaf[0].path);
      return &kd__poison;
    }
    default: {
      kd_diag *d = kd__err(e, KD_D_NO_FIELDS, n->span, kd__v_show(e, v), n->text);
      (void)kd__hint_field(e, d, n->text, n->kid[0]);
      return &kd__poison;
    }
  }
}
