/* elaborate.c: the entry points: a file to a module, one definition to a graph. */
#include "compiler/elaborate/scheme.h"

static elab *begin(kd__arena *a, kd_sink *sink, const kd_elab_options *opt) {
  elab *e = KD_NEW(a, elab);
  e->a = a; e->sink = e->aloud = sink; e->opt = opt;
  kd__map_init(&e->interned, a);
  kd__map_init(&e->modules, a);
  kd__map_init(&e->slot_names, a);
  kd__map_init(&e->plan_names, a);
  for (int i = 0; i < KD_AMBIENT_COUNT; i++) e->ambient[i] = -1;
  e->top = KD_NEW(a, place);
  e->top->path = ""; e->top->what = ""; e->turns = "";
  kd__root_new(e, ROOT_OPEN, NULL);
  e->init = kd__prog_new(e, PROG_INIT, "init");
  e->probe = kd__prog_new(e, PROG_PROBE, "probe");
  e->build = KD_NEW(a, mod_build);
  e->prelude = kd__module_load(e, "prelude", NULL);
  return e;
}

static module *open_file(elab *e, const kd_syntax *syn) {
  module *m = KD_NEW(e->a, module);
  m->name = "this file";
  m->syn = KD_NEW(e->a, kd_syntax);
  *m->syn = *syn;
  m->scope = kd__scope_new(e, NULL, e->top);
  m->scope->mod = m;
  m->state = 1;
  e->file = m;
  return m;
}

/* A formula is elaborated once where it stands, so that its errors are reported even if no stage uses it. */
void kd__probe_formula(elab *e, binding *b, const kd_ast *at) {
  prog *p = e->prog;
  e->prog = e->probe;
  if (at->kid[0] || at->text2[0] == 'l') kd__read_binding(e, b, at);
  b->used = false;
  e->prog = p;
}

const char *kd__nearest_line(elab *e, const char *name, const char *lines) {
  const char *names[512];
  size_t n = 0;
  for (const char *p = lines; *p && n < 512;) {
    size_t len = strcspn(p, "\n");
    char *one = kd__arena_strndup(e->a, p, len);
    for (char *c = one; *c; c++) if (*c == '/') *c = '.';
    names[n++] = one;
    p += len + (p[len] == '\n');
  }
  return kd__nearest(e, name, names, n);
}

static bool is_definition(const kd_ast *n) { return n->kind == KD_AST_DEFINE || n->kind == KD_AST_USE; }

static bool has_scheme(const kd_ast *file) {
  for (uint32_t i = 0; i < file->n; i++)
    if (file->kid[i]->kind == KD_AST_SCHEME || kd__scheme_is_stmt(file->kid[i])) return true;
  return false;
}

static void run_file(elab *e, module *m) {
  const kd_ast *file = m->syn->file;
  for (uint32_t i = 0; i < file->n; i++) if (is_definition(file->kid[i])) kd__exec(e, m->scope, file->kid[i]);
  kd__written_declare(e, m->scope, file);
  for (uint32_t i = 0; i < file->n; i++) {
    const kd_ast *n = file->kid[i];
    if (is_definition(n) || n->kind == KD_AST_SCHEME || kd__scheme_is_stmt(n) || n->kind == KD_AST_EXPR_STMT) continue;
    e->prog = e->probe;
    e->probe->open = NULL;
    kd__exec(e, m->scope, n);
    e->prog = NULL;
  }
  kd__late_formulas(e, m->scope);
}

static void unused_settings(elab *e, const kd_ast *file) {
  for (size_t i = 0; i < e->opt->nsetting; i++) {
    if (e->opt->setting[i].used) continue;
    kd_diag *d = kd__report(e->sink, KD_D_SETTING, file->span, e->opt->setting[i].path);
    const char *near = kd__nearest(e, e->opt->setting[i].path, e->settings_seen.v, e->settings_seen.n);
    if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
    else if (e->settings_seen.n) kd__diag_help(e->sink, d, "settings of this file are, for example, %s", e->settings_seen.v[0]);
  }
}

/* A teacher that no stage trains, no update or copy writes and no file gives weights answers with noise. */
static void untrained_teachers(elab *e) {
  for (size_t i = 0; i < e->nets.n; i++) {
    const net *w = e->nets.v[i];
    if (strcmp(w->role, "teacher") != 0) continue;
    bool trained = w->given || kd__net_from(w), params = false;
    for (size_t k = 0; k < e->build->trained.n; k++) trained = trained || e->build->trained.v[k] == w;
    for (size_t k = 0; k < e->slot.n; k++) params = params || (e->slot.v[k].owner->root_net == w && e->slot.v[k].s.kind == KD_SLOT_PARAM);
    if (trained || !params) continue;
    kd_diag *d = kd__report(e->sink, KD_D_TEACHER_UNTRAINED, w->at->span, w->place->path);
    kd__diag_help(e->sink, d, "train it in a stage: stage teacher: train %s minimizing ..., or take its weights from a file: ... from \"%s.safetensors\"", w->place->path, w->place->path);
  }
}

static void unused_names(elab *e) {
  const module *m = e->file;
  for (size_t i = 0; i < m->scope->b.n; i++) {
    const binding *b = m->scope->b.v[i];
    if (b->used || !b->is_let || !b->at || b->at->kind != KD_AST_BIND || b->v->kind == V_DATA) continue;
    kd__report(e->sink, KD_D_UNUSED, b->at->name.len ? b->at->name : b->at->span, b->name);
  }
}

/* Whether sizes agree only because of the batch that was chosen (guard G17): the experiment once more, with batches of one sample more or less. */
static void other_batch(elab *e, const kd_syntax *syn) {
  kd_elab_options opt = *e->opt;
  kd_sink sink;
  if (!e->data.n) return;
  opt.check_definitions = false;
  opt.other_batch = true;
  opt.seen = NULL; opt.planned = NULL;
  kd__sink_init(&sink, e->a);
  kd__elaborate_file(e->a, &sink, syn, &opt);
  for (size_t i = 0; i < sink.diag.n; i++) {
    kd_diag *d = sink.diag.v[i];
    if (d->code != KD_D_SIZE_DIFFERS && d->code != KD_D_FORMAL_DIFFERS && d->code != KD_D_UPDATE_SHAPE) continue;
    kd_diag *w = kd__report(e->sink, KD_D_BATCH_ONLY, d->label[0].span, (long long)e->data.v[0].d.batch, d->message);
    kd__diag_help(e->sink, w, "write the size as that of the batch: size(B), or an axis of the data set");
    return;
  }
}

static void run_all(elab *e, void *ctx) {
  (void)ctx;
  run_file(e, e->file);
  if (has_scheme(e->file->syn->file)) kd__scheme_run(e, e->file->scope, e->file->syn->file);
}

elab *kd__elaborate_file(kd__arena *a, kd_sink *sink, const kd_syntax *syn, const kd_elab_options *opt) {
  elab *e = begin(a, sink, opt);
  open_file(e, syn);
  kd__guarded(e, run_all, NULL);
  return e;
}

void kd__absences(elab *e) {
  const kd_ast *file = e->file->syn->file;
  bool scheme = has_scheme(file);
  kd__budgets(e);
  if (scheme && e->sink->errors == 0) kd__unused_rules(e);
  if (scheme && e->sink->errors == 0) { untrained_teachers(e); unused_names(e); }
  unused_settings(e, file);
}

static void finish(elab *e, void *ctx) {
  const kd_syntax *syn = e->file->syn;
  if (!e->waits && !e->opt->ndecided) kd__absences(e);
  kd_module **made = ctx;
  *made = e->sink->errors || !has_scheme(syn->file) ? NULL : kd__module_finish(e);
  if (e->waits && !e->opt->tried && !e->opt->ndecided && !e->sink->errors) kd__explore(e, syn);
  e->waits = false;
  /* Last, since what the trials own would otherwise be in the module. */
  if (e->opt->check_definitions) kd__check_definitions(e, syn->file, e->file->scope);
  if (e->opt->check_definitions && !e->sink->errors) other_batch(e, syn);
}

/* What is absent before a decision may stand behind it: that is looked at with everything that may be decided (decide.c). */
kd_module *kd__elaborate(kd__arena *a, kd_sink *sink, const kd_syntax *syn, const kd_elab_options *opt, bool *definitions_only) {
  elab *e = kd__elaborate_file(a, sink, syn, opt);
  *definitions_only = !has_scheme(syn->file);
  if (e->given_up) return NULL;
  kd_module *made = NULL;
  return kd__guarded(e, finish, &made) && !sink->errors ? made : NULL;
}

/* --- one definition ------------------------------------------------------------------------------------------------------------- */
static void entry_inputs(elab *e, const kd_entry_arg *given, size_t n, const kd_ast *at, val **out) {
  for (size_t i = 0; i < n; i++) {
    if (given[i].text) continue;
    axis ax[KD_MAX_RANK];
    for (int k = 0; k < given[i].type.rank; k++)
      ax[k] = (axis){ kd__intern(e, kd__arena_printf(e->a, "A%zu_%d", i, k)), given[i].type.dim[k], 0, true, NULL };
    int64_t slot = kd__slot_add(e, given[i].name, KD_SLOT_FIELD, (kd_dtype)given[i].type.dtype, ax, given[i].type.rank, e->top, at->span);
    out[i] = kd__read_slot(e, slot, at);
  }
}

static const kd_ast *parse_expr(elab *e, const char *text) {
  const char *line = kd__arena_printf(e->a, "let it = %s\n", text);
  kd_source *src = kd__source_new(e->a, "argument", line, strlen(line), 9999);
  kd_syntax *syn = kd__parse(e->a, e->sink, src);
  return syn->file->n && syn->file->kid[0]->n > 1 ? syn->file->kid[0]->kid[1] : NULL;
}

static void entry_gradients(elab *e, tensor *loss, const kd_entry_arg *given, size_t n, val **in, const kd_ast *at) {
  size_t cap = n + e->slot.n, k = 0;
  kd_value *wrt = KD_NEWN(e->a, kd_value, cap), *grad = KD_NEWN(e->a, kd_value, cap);
  const char **name = KD_NEWN(e->a, const char *, cap);
  for (size_t i = 0; i < n; i++) if (given[i].grad && in[i] && in[i]->kind == V_TENSOR) { wrt[k] = in[i]->u.t->v; name[k++] = given[i].name; }
  for (size_t i = 0; i < e->slot.n; i++)
    if (e->slot.v[i].s.kind == KD_SLOT_PARAM) { wrt[k] = kd__slot_input(e, e->prog, (int64_t)i); name[k++] = e->slot.v[i].s.name; }
  kd_grad_error err;
  if (!kd__gradients(e->prog->g, loss->v, wrt, k, grad, kd__origin(e, at->span), &err)) { kd__no_gradient(e, &err, at); return; }
  kd_build b = kd__b(e, at);
  for (size_t i = 0; i < k; i++)
    kd__graph_result(e->prog->g, kd__arena_printf(e->a, "grad.%s", name[i]), grad[i] ? grad[i] : kd__b_const_like(&b, 0, wrt[i]));
}

bool kd__elaborate_entry(kd__arena *a, kd_sink *sink, const kd_syntax *file, const kd_elab_options *opt, const char *entry, const kd_entry_arg *given,
                         size_t narg, kd_entry *out) {
  elab *e = begin(a, sink, opt);
  module *m = open_file(e, file);
  run_file(e, m);
  binding *f = kd__scope_here(m->scope, entry);
  if (!f || f->v->kind != V_DEF) { kd__err(e, KD_D_UNKNOWN_NAME, file->file->span, entry); return false; }
  prog *p = kd__prog_new(e, PROG_TRAIN, entry);
  e->prog = p;
  const kd_ast *at = f->v->u.def->ast;
  val **in = KD_NEWN(a, val *, narg);
  KD_VEC(arg) args = { 0 };
  entry_inputs(e, given, narg, at, in);
  for (size_t i = 0; i < narg; i++) {
    const kd_ast *text = given[i].text ? parse_expr(e, given[i].text) : NULL;
    if (text) in[i] = kd__eval(e, m->scope, text);
    KD_PUSH(a, args, (arg){ given[i].name, in[i] ? in[i] : &kd__poison, text ? text : at });
  }
  val *v = kd__force_app(kd__call_value(e, m->scope, f->v, args.v, (uint32_t)args.n, at)), *lv = v;
  for (uint32_t i = 0; v->kind == V_RECORD && i < v->u.rec.n; i++) {
    tensor *t = kd__want_tensor(e, v->u.rec.v[i], at);
    if (strcmp(v->u.rec.key[i], "loss") == 0) lv = v->u.rec.v[i];
    else if (t) kd__graph_result(p->g, v->u.rec.key[i], t->v);
  }
  tensor *loss = kd__want_tensor(e, lv, at);
  if (!loss || sink->errors) return false;
  if (loss->rank) { kd__err(e, KD_D_NOT_SCALAR, at->span, "the entry's value", kd__t_show(e, loss)); return false; }
  loss = kd__t_cast(e, loss, e->opt->real, at);
  kd__graph_result(p->g, "loss", loss->v);
  entry_gradients(e, loss, given, narg, in, at);
  kd__commit(e, p, at);
  *out = (kd_entry){ .graph = p->g, .init = e->init->g, .nslot = (uint32_t)e->slot.n, .slot = KD_NEWN(a, kd_slot, e->slot.n) };
  for (size_t i = 0; i < e->slot.n; i++) out->slot[i] = e->slot.v[i].s;
  return sink->errors == 0;
}
