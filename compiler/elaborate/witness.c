/* witness.c: each typed definition of a file elaborated without a caller (language-notes A16).
 *
 * Every formal axis gets its own prime size, so that no two agree by accident; `..` stands for 0, 1 and 2 axes, `?` is there and is not,
 * lists have 1 and 3 items, which differ in all but their first axis (and then are alike, where that is wrong), truth
 * values and strings take each value that the body tells apart. What fails only because the primes do not divide (splits, requirements,
 * windows) is tried again with sizes that do, and is otherwise left to the calls. */
#include "compiler/elaborate/scheme.h"

typedef struct named_axis { const char *name; axis ax; } named_axis;
typedef struct witness {
  elab *e; def *d;
  int rest, items; bool optional;                /* what `..`, list(...) and `?` stand for */
  bool alike;                                    /* items of a list have equal axes */
  int64_t scale;                                 /* multiplies every prime */
  int8_t mode;                                   /* 1: evaluation mode */
  int twist; val *twisted;                       /* parameter that takes another value than its default, or -1 */
  KD_VEC(named_axis) axes;
  int prime, number;                             /* next prime for an axis; next small one for an int */
  scope *known;                                  /* the parameters that have values, for sizes such as [D: heads * d] */
  bool skip;                                     /* only a call can tell */
} witness;

static const int64_t axis_prime[] = { 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107 };
static const int64_t int_prime[] = { 2, 3, 5, 7, 11, 13, 17, 19 };
enum { NAXIS = sizeof axis_prime / sizeof *axis_prime, NINT = sizeof int_prime / sizeof *int_prime };

/* --- the tensors that stand for arguments --------------------------------------------------------------------------------------- */
static bool axis_of(witness *w, const char *name, const kd_ast *size, axis *out) {
  elab *e = w->e;
  for (size_t i = 0; i < w->axes.n; i++)
    if (strcmp(w->axes.v[i].name, name) == 0) { *out = w->axes.v[i].ax; return true; }
  if (w->prime == NAXIS) return false;
  axis a = { kd__intern(e, name), axis_prime[w->prime++] * w->scale, kd__root_new(e, ROOT_FEATURE, NULL), true, NULL };   /* a root of its own refuses nothing by itself */
  if (size) {
    val *v = kd__eval(e, w->known, size);
    if (v->kind != V_INT || v->u.i < 1) return false;
    a.size = v->u.i;
  }
  KD_PUSH(e->a, w->axes, (named_axis){ a.label, a });
  *out = a;
  return true;
}

static val *input(witness *w, const axis *ax, int rank, const char *word, const kd_ast *at) {
  elab *e = w->e;
  kd_dtype t = !word || strcmp(word, "real") == 0 ? e->opt->real : strcmp(word, "int") == 0 ? KD_I64 : KD_BOOL;
  int64_t slot = kd__slot_add(e, kd__arena_printf(e->a, "check.%zu", e->slot.n), KD_SLOT_FIELD, t, ax, rank, e->top, at->span);
  return kd__read_slot(e, slot, at);
}

static bool has_axes(const kd_ast *type) { return type && type->kind == KD_AST_TYPE && type->n && type->kid[0]; }

/* Whether a parameter that is no list has the axis too: then the items of a list share it. */
static bool of_another(const witness *w, const char *name) {
  const kd_ast *params = w->d->ast->kid[0];
  for (uint32_t i = 0; i < params->n; i++) {
    const kd_ast *type = params->kid[i]->n ? params->kid[i]->kid[0] : NULL, *axes = has_axes(type) ? type->kid[0] : NULL;
    for (uint32_t k = 0; axes && k < axes->n; k++) if (axes->kid[k]->text && strcmp(axes->kid[k]->text, name) == 0) return true;
  }
  return false;
}

static val *tensor_of(witness *w, const kd_ast *type, int item, const kd_ast *at) {
  const kd_ast *axes = type->kid[0];
  axis ax[KD_MAX_RANK];
  int rank = 0;
  for (uint32_t i = 0; i < axes->n; i++) {
    const kd_ast *k = axes->kid[i];
    bool rest = !k->text || (k->flag & KD_AST_REST_AXIS);
    if (!rest && (k->flag & KD_AST_OPTIONAL) && !w->optional) continue;
    for (int j = 0; j < (rest ? w->rest : 1); j++) {
      const char *name = rest ? kd__arena_printf(w->e->a, ".%s.%d", k->text ? k->text : "", j) : k->text;
      if (item >= 0 && i > 0 && !w->alike && !of_another(w, name)) name = kd__arena_printf(w->e->a, "%s.%d", name, item);
      if (rank == KD_MAX_RANK || !axis_of(w, name, rest || !k->n ? NULL : k->kid[0], &ax[rank])) { w->skip = true; return &kd__poison; }
      if (rest) ax[rank].label = kd__intern(w->e, kd__arena_printf(w->e->a, "R%d", j));
      else ax[rank].label = kd__intern(w->e, k->text);
      rank++;
    }
  }
  return input(w, ax, rank, type->text, at);
}

static bool type_is(const kd_ast *type, const char *word) { return type && type->kind == KD_AST_TYPE && type->text && strcmp(type->text, word) == 0; }

/* The value of one parameter; NULL: none is given, its default serves. */
static val *argument(witness *w, uint32_t i, const kd_ast *p) {
  elab *e = w->e;
  const kd_ast *type = p->n ? p->kid[0] : NULL;
  if (w->twist == (int)i) return w->twisted;
  if (p->n > 1 && p->kid[1]) return NULL;
  if (type && (type->flag & KD_AST_OPTIONAL)) return NULL;
  if (has_axes(type)) return tensor_of(w, type, -1, p);
  if (type && type->kind == KD_AST_TYPE_ARGS && strcmp(type->text, "list") == 0 && type->n == 1 && has_axes(type->kid[0])) {
    val **v = KD_NEWN(e->a, val *, w->items);
    for (int k = 0; k < w->items; k++) v[k] = tensor_of(w, type->kid[0], k, p);
    return kd__v_list(e, v, (uint32_t)w->items);
  }
  if (type_is(type, "int") && w->number < NINT) return kd__v_int(e, int_prime[w->number++]);
  if (type_is(type, "real")) return kd__v_real(e, 0.5);
  if (type_is(type, "bool")) return kd__v_bool(e, false);
  w->skip = true;
  return NULL;
}

/* --- one attempt --------------------------------------------------------------------------------------------------------------------- */
/* Numbers first: sizes of axes may be made of them. */
static void bind_numbers(witness *w, const kd_ast *params, arg *a) {
  for (uint32_t i = 0; i < params->n && !w->skip; i++) {
    const kd_ast *p = params->kid[i], *type = p->n ? p->kid[0] : NULL;
    if (has_axes(type) || (type && type->kind == KD_AST_TYPE_ARGS)) continue;
    a[i].v = argument(w, i, p);
    val *v = a[i].v ? a[i].v : p->n > 1 && p->kid[1] && !type_is(type, "axis") ? kd__eval(w->e, w->known, p->kid[1]) : NULL;
    if (v) kd__scope_bind(w->e, w->known, p->text, v, p);
  }
}

static uint32_t arguments(witness *w, arg **out) {
  const kd_ast *params = w->d->ast->kid[0];
  arg *all = KD_NEWN(w->e->a, arg, params->n + 1), *a = KD_NEWN(w->e->a, arg, params->n + 1);
  uint32_t n = 0;
  bind_numbers(w, params, all);
  for (uint32_t i = 0; i < params->n && !w->skip; i++) {
    const kd_ast *p = params->kid[i], *type = p->n ? p->kid[0] : NULL;
    if (has_axes(type) || (type && type->kind == KD_AST_TYPE_ARGS)) all[i].v = argument(w, i, p);
    if (all[i].v) a[n++] = (arg){ p->text, all[i].v, p };
  }
  *out = a;
  return n;
}

static void run_optimizer(witness *w, arg *a, uint32_t n) {
  elab *e = w->e;
  axis ax;
  if (!axis_of(w, "P", NULL, &ax)) return;
  val *f = kd__v_new(e, V_DEF);
  f->u.def = w->d;
  val *o = kd__call_value(e, w->d->scope, f, a, n, w->d->ast), *p = input(w, &ax, 1, NULL, w->d->ast), *g = input(w, &ax, 1, NULL, w->d->ast);
  if (o->kind != V_SPEC) return;
  place *up = e->opt_ctx.place;
  e->opt_ctx.place = kd__place_at(e, e->top, w->d->ast, kd__arena_printf(e->a, "check.%s", w->d->name), w->d->name);
  step_ctx none = { &(slots){ 0 } };
  e->opt_ctx.step = &none;
  kd__run_optimizer(e, o->u.spec, p, g, 0, w->d->ast);
  e->opt_ctx.place = up;
  e->opt_ctx.step = NULL;
}

/* The errors of a failure that other sizes could avoid, or that come from a place which only a call gives (fan_in outside of a `param`). */
static bool about_sizes(const kd_sink *s) {
  for (size_t i = 0; i < s->diag.n; i++)
    switch (s->diag.v[i]->code) {
      case KD_D_SPLIT_SIZE: case KD_D_REQUIRE: case KD_D_FORMAL_SIZE: case KD_D_SHAPE_RULE: case KD_D_SLICE_RANGE: case KD_D_AXIS_SIZE: case KD_D_PATTERN:
      case KD_D_LIST_RANGE: case KD_D_OWN_CHANGED: case KD_D_NO_SHAPE: case KD_D_GRAD_UNREACHED: return true;
      default: break;
    }
  return false;
}

/* Messages about sizes that agree in no use, or only in some: the trial made them up. */
static bool made_up(kd_diag_code code) {
  return code == KD_D_SIZE_DIFFERS || code == KD_D_FORMAL_DIFFERS || code == KD_D_UPDATE_SHAPE;
}

typedef enum outcome { FINE, WRONG, SIZES, AT_CALLS } outcome;

static void call(elab *e, void *ctx) {
  witness *w = ctx;
  e->prog = kd__prog_new(e, PROG_PROBE, "check");
  e->mode = w->mode;
  e->top = KD_NEW(e->a, place);                  /* each attempt owns its own instances */
  e->top->path = ""; e->top->what = "";
  w->known = kd__scope_new(e, w->d->scope, e->top);
  scope *at = kd__scope_new(e, w->d->scope, e->top);
  arg *a;
  uint32_t n = arguments(w, &a);
  if (w->skip) return;
  val *f = kd__v_new(e, V_DEF);
  f->u.def = w->d;
  if (strcmp(w->d->word, "optimizer") == 0) run_optimizer(w, a, n);
  else kd__call_value(e, at, f, a, n, w->d->ast);
}

/* As it was before a trial that was given up, but for what is only added to. */
static void go_back(elab *e, const elab *was) {
  elab now = *e;
  *e = *was;
  e->interned = now.interned, e->modules = now.modules, e->slot_names = now.slot_names, e->plan_names = now.plan_names;
  memset(&e->mapping, 0, sizeof e->mapping);
  e->given_up = true;
}

static outcome attempt(witness *w, kd_sink *sink) {
  elab *e = w->e, *was = kd__arena_copy(e->a, e, sizeof *e);
  kd__sink_init(sink, e->a);
  e->sink = e->aloud = sink;
  if (!kd__guarded(e, call, w)) go_back(e, was);
  e->sink = was->sink; e->aloud = was->aloud; e->prog = was->prog; e->top = was->top; e->mode = 0;
  return w->skip ? AT_CALLS : sink->errors == 0 ? FINE : about_sizes(sink) ? SIZES : WRONG;
}

/* Warnings and notes of a definition that is right, each place once. */
static void pass_on(elab *e, const kd_sink *from) {
  for (size_t k = 0; k < from->diag.n; k++) {
    kd_diag *d = from->diag.v[k];
    bool told = false;
    for (size_t i = 0; i < e->sink->diag.n && !told; i++) {
      const kd_diag *o = e->sink->diag.v[i];
      told = o->code == d->code && o->label[0].span.at == d->label[0].span.at && o->label[0].span.src == d->label[0].span.src;
    }
    if (told) continue;
    d->nframe = 0;
    KD_PUSH(e->a, e->sink->diag, d);
    e->sink->warnings += d->severity == KD_WARNING;
  }
}

/* True unless the definition is wrong; then its errors are told. */
static bool try_sizes(elab *e, def *d, int rest, bool optional, int items, int twist, val *twisted, int8_t mode, outcome *last) {
  static const int64_t scales[] = { 1, 8, 60 };
  kd_sink sink;
  for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
    witness w = { .e = e, .d = d, .rest = rest, .items = items, .optional = optional, .scale = scales[i], .twist = twist, .twisted = twisted, .mode = mode };
    witness again = w;
    *last = attempt(&w, &sink);
    if (*last == WRONG && items > 1) {               /* a body may ask for items of one shape */
      kd_sink other;
      again.alike = true;
      outcome alike = attempt(&again, &other);
      if (alike != WRONG) *last = alike;
    }
    if (*last == WRONG) {
      for (size_t k = 0; k < sink.diag.n; k++) {
        kd_diag *dg = sink.diag.v[k];                /* nobody called it: the last frame is this trial */
        bool ours = dg->nframe && dg->frame[dg->nframe - 1].span.at == d->ast->span.at && dg->frame[dg->nframe - 1].span.src == d->ast->span.src;
        if (ours && made_up(dg->code)) dg->frame[dg->nframe - 1].what = kd__arena_printf(e->a, "in `%s`, tried by itself with sizes that its parameters leave open", d->name);
        else if (ours) dg->nframe--;
        KD_PUSH(e->a, e->sink->diag, dg);
      }
      e->sink->errors += sink.errors;
      e->sink->warnings += sink.warnings;
      return false;
    }
    if (*last == FINE && !sink.errors) pass_on(e, &sink);
    if (*last != SIZES) break;
  }
  return true;
}

/* --- the variants ------------------------------------------------------------------------------------------------------------------------ */
typedef struct traits { bool rest, optional, list; } traits;

static void note_traits(const kd_ast *n, traits *t) {
  if (n->kind == KD_AST_TYPE_ARGS) t->list = true;
  if (n->kind == KD_AST_AXIS) {
    if (!n->text || (n->flag & KD_AST_REST_AXIS)) t->rest = true;
    else if (n->flag & KD_AST_OPTIONAL) t->optional = true;
  }
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) note_traits(n->kid[i], t);
}

/* Strings that the body compares a parameter with. */
typedef KD_VEC(const kd_ast *) asts;
static void literals(elab *e, const kd_ast *n, const char *name, asts *out) {
  if (n->kind == KD_AST_BINARY && n->n == 2 && (strcmp(n->text, "==") == 0 || strcmp(n->text, "!=") == 0))
    for (int k = 0; k < 2; k++)
      if (n->kid[k]->kind == KD_AST_NAME && strcmp(n->kid[k]->text, name) == 0 && n->kid[1 - k]->kind == KD_AST_STRING) KD_PUSH(e->a, *out, n->kid[1 - k]);
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) literals(e, n->kid[i], name, out);
}

static void check_one(elab *e, def *d) {
  const kd_ast *params = d->ast->kid[0];
  traits t = { 0 };
  note_traits(params, &t);
  outcome last = FINE;
  for (int rest = t.rest ? 2 : 0; rest >= 0; rest--)
    for (int opt = t.optional ? 0 : 1; opt < 2; opt++)
      for (int items = t.list ? 3 : 1; items > 0; items -= 2)
        if (!try_sizes(e, d, rest, opt, items, -1, NULL, 0, &last) || last == AT_CALLS) return;
  int rest = t.rest ? 1 : 0;
  if (!try_sizes(e, d, rest, true, 1, -1, NULL, 1, &last)) return;
  for (uint32_t i = 0; i < params->n; i++) {
    const kd_ast *p = params->kid[i], *type = p->n ? p->kid[0] : NULL;
    if (type_is(type, "bool") && !has_axes(type)) {
      bool by_default = p->n > 1 && p->kid[1] && p->kid[1]->kind == KD_AST_TRUE;
      if (!try_sizes(e, d, rest, true, 1, (int)i, kd__v_bool(e, !by_default), 0, &last)) return;
    }
    if (type_is(type, "string")) {
      asts lit = { 0 };
      literals(e, d->ast->kid[2], p->text, &lit);
      for (size_t k = 0; k < lit.n; k++) if (!try_sizes(e, d, rest, true, 1, (int)i, kd__v_str(e, lit.v[k]->text), 0, &last)) return;
    }
  }
}

void kd__check_definitions(elab *e, const kd_ast *file, scope *s) {
  for (uint32_t i = 0; i < file->n && !e->given_up; i++) {
    const kd_ast *n = file->kid[i];
    if (n->kind != KD_AST_DEFINE || strcmp(n->text2, "scheme") == 0 || strcmp(n->text2, "data") == 0) continue;
    binding *b = kd__scope_here(s, n->text);
    if (b && b->v->kind == V_DEF && b->v->u.def->ast == n) check_one(e, b->v->u.def);
  }
}
