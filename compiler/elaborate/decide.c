/* decide.c: numbers that a scheme measures and that what follows has its shapes from.
 *
 * With the first n decisions known, the file is elaborated up to the next one, where the module ends; the run then says what that came to, and
 * the file is elaborated once more with it. Both times all that stands before the decision must come out alike, down to slots and registers, so
 * everything that may be read behind it gets its slot at it, and what was put off until the end of the file is done at it.
 * What follows is checked beforehand with each of a few values within the bounds. */
#include "compiler/elaborate/builtin.h"
#include "compiler/elaborate/scheme.h"
#include <math.h>

enum { TRIES = 40, DEPTH = 40 };                 /* elaborations to check what follows, and decisions one after the other in one of them */

bool kd__decision_call(const kd_ast *n) {
  return n->kind == KD_AST_CALL && n->n && n->kid[0]->kind == KD_AST_NAME && strcmp(n->kid[0]->text, "decide") == 0;
}

const char *kd__decided_since(const elab *e, const prog *p) {
  const mod_build *b = e->build;
  return p->decisions < b->decision.n ? b->decision.v[p->decisions].d.name : NULL;
}

/* --- what is known behind it ------------------------------------------------------------------------------------------------------ */
static void keep_tensor(elab *e, const tensor *t, const kd_ast *at) {
  if (!t->in || !t->in->segment || t->in == e->prog) return;
  kd__carried_slot(e, t, at);
  for (int i = 0; i < t->rank; i++) if (t->ax[i].mask) keep_tensor(e, t->ax[i].mask, at);
}

static void keep(elab *e, const val *v, const kd_ast *at) {
  if (!v) return;
  switch (v->kind) {
    case V_TENSOR: keep_tensor(e, v->u.t, at); break;
    case V_APP: keep(e, v->u.app->ret, at); break;
    case V_LIST: for (uint32_t i = 0; i < v->u.list.n; i++) keep(e, v->u.list.v[i], at); break;
    case V_RECORD: for (uint32_t i = 0; i < v->u.rec.n; i++) keep(e, v->u.rec.v[i], at); break;
    case V_TREE: for (uint32_t i = 0; i < v->u.tree->n; i++) keep_tensor(e, v->u.tree->leaf[i].t, at); break;
    case V_NET: for (uint32_t i = 0; i < v->u.net->nfixed; i++) keep(e, v->u.net->fixed[i].v, at); break;
    case V_SPEC: for (uint32_t i = 0; i < v->u.spec->nargs; i++) keep(e, v->u.spec->args[i].v, at); break;
    case V_DEF: for (uint32_t i = 0; i < v->u.def->nfixed; i++) keep(e, v->u.def->fixed[i].v, at); break;
    default: break;
  }
}

/* Every value of the names in sight, also of the schemes that called this one. */
static void keep_scope(elab *e, const scope *s, const kd_ast *at) {
  for (; s; s = s->up) {
    for (size_t i = 0; i < s->b.n; i++)
      if (s->b.v[i]->kind == B_VALUE || s->b.v[i]->kind == B_LIST) keep(e, s->b.v[i]->v, at);
    if (s->caller) keep_scope(e, s->caller, at);
  }
}

/* --- the built-in ---------------------------------------------------------------------------------------------------------------------- */
static const scope *body_of(const scope *s) {
  while (s && !s->definition && !s->scheme) s = s->up;
  return s;
}

static bool in_place(elab *e, const scope *s, const kd_ast *call) {
  const mod_build *b = e->build;
  const scope *body = body_of(s);
  const char *where = b->batches ? "a loop over batches" : b->epochs ? "a loop over epochs" : b->arm ? "a branch that is taken in the run or not"
                    : b->control ? "a loop that the run counts" : b->stage_name ? "inside a stage" : !e->prog || !e->prog->segment || e->inside || e->trial || !body || !body->scheme ? "a formula, or the body of a definition" : NULL;
  if (!where) return true;
  kd_diag *d = kd__err(e, KD_D_DECIDE_PLACE, call->span, where);
  if (b->control || b->batches || b->epochs || b->arm) kd__diag_help(e->sink, d, "measure in the loop or stage, and decide after it; turns that each decide are written for i in 0..3 { ... }");
  else if (b->stage_name) kd__diag_help(e->sink, d, "end the stage, decide, and begin another one");
  else kd__diag_help(e->sink, d, "decide in the scheme, and hand the number on: let k = decide(...)");
  return false;
}

/* Of a truth value there are none. */
static bool bounds(elab *e, bool truth, arg *const *p, const kd_ast *call, kd_decision *d) {
  d->low = 0; d->high = 1;
  if (truth && !p[1] && !p[2]) return true;
  if (truth || !p[1] || !p[2]) {
    kd_diag *g = kd__err(e, KD_D_DECIDE_BOUNDS, (truth ? p[1] ? p[1]->ast : p[2]->ast : call)->span, truth ? "a truth value has none" : p[1] || p[2] ? "one of them is missing" : "they are missing");
    if (!truth) kd__diag_help(e->sink, g, "decide(x, min: 4, max: 32): the rest of the program is checked with values from 4 to 32, and the run ends if it is none of them");
    return false;
  }
  if (!kd__want_int(e, p[1]->v, p[1]->ast, "min", &d->low) || !kd__want_int(e, p[2]->v, p[2]->ast, "max", &d->high)) return false;
  if (d->low <= d->high && d->low > -1000000000 && d->high < 1000000000) return true;
  kd__err(e, KD_D_DECIDE_BOUNDS, call->span, d->low > d->high ? kd__arena_printf(e->a, "none is from %lld to %lld", (long long)d->low, (long long)d->high) : "these are beyond a thousand millions");
  return false;
}

static const char *name_of(elab *e, const scope *s, const kd_ast *of) {
  while (s && !s->bound_as && !s->definition) s = s->up;
  return s && s->bound_as ? s->bound_as : kd__arena_strndup(e->a, of->span.src->text + of->span.at, of->span.len);
}

val *bi_decide(B) {
  PICK(3);
  kd_decision d = { 0 };
  mod_build *m = e->build;
  if (e->waits || !in_place(e, s, call)) return &kd__poison;
  tensor *t = kd__want_tensor(e, p[0]->v, p[0]->ast);
  if (!t) return &kd__poison;
  if (t->rank) { kd__err(e, KD_D_NOT_SCALAR, p[0]->ast->span, "what is decided", kd__t_show(e, t)); return &kd__poison; }
  bool truth = t->dtype == KD_BOOL;
  if (!bounds(e, truth, p, call, &d)) return &kd__poison;
  d.truth = truth;
  d.name = name_of(e, s, p[0]->ast);
  uint32_t reg = kd__flow_register(e, t, call), number = (uint32_t)m->decision.n;
  keep_scope(e, s, call);
  kd__resolve(e);
  kd__emit(e, KD_CODE_DECIDE, number, reg, 0, call);
  d.made = number < e->opt->ndecided;
  d.value = d.made ? e->opt->decided[number] : 0;
  KD_PUSH(e->a, m->decision, (decision){ d, call });
  e->prog->decisions = number + 1;
  e->waits = !d.made;
  if (e->waits) return &kd__poison;
  if (d.value < d.low || d.value > d.high) {
    kd__err(e, KD_D_RUN_FAILED, call->span, kd__arena_printf(e->a, "the run decided %lld here, and this is not from %lld to %lld", (long long)d.value, (long long)d.low, (long long)d.high));
    return &kd__poison;
  }
  return truth ? kd__v_bool(e, d.value != 0) : kd__v_int(e, d.value);
}

/* --- checking what follows --------------------------------------------------------------------------------------------------------------- */
typedef struct tries {
  elab *e; const kd_syntax *syn;
  kd__arena *a;                                  /* of the elaborations */
  int64_t value[DEPTH];
  size_t left;                                   /* elaborations that may still be made */
  size_t before;                                 /* messages that there were before */
  bool cut, whole;                               /* some were not made; one came to the file's end */
  KD_VEC(kd_diag *) absent;                      /* what nothing used in all of those */
} tries;

static bool same(const kd_diag *a, const kd_diag *b) {
  const kd_span *x = &a->label[0].span, *y = &b->label[0].span;
  if (a->code != b->code || !x->src != !y->src || strcmp(a->message, b->message) != 0) return false;
  return !x->src || (x->at == y->at && strcmp(x->src->path, y->src->path) == 0);
}

static bool among(kd_diag *const *v, size_t n, const kd_diag *d) {
  for (size_t i = 0; i < n; i++) if (same(v[i], d)) return true;
  return false;
}

static void pass_on(kd_sink *to, kd_diag *d) {
  if (among(to->diag.v, to->diag.n, d)) return;
  KD_PUSH(to->arena, to->diag, d);
  to->errors += d->severity == KD_ERROR;
  to->warnings += d->severity == KD_WARNING;
}

/* What is found, each once, with the first values that lead there. */
static void tell(tries *t, const elab *f, const kd_sink *said, size_t decided) {
  kd_sink *to = t->e->sink;
  for (size_t i = 0; i < said->diag.n; i++) {
    kd_diag *d = said->diag.v[i];
    if (among(to->diag.v, to->diag.n, d)) continue;
    for (size_t k = 0; k < decided && d->severity != KD_NOTE; k++) {
      const decision *c = &f->build->decision.v[k];
      if (c->d.truth) kd__diag_label(to, d, c->at->span, "decided as %s", t->value[k] ? "true" : "false");
      else kd__diag_label(to, d, c->at->span, "decided as %lld", (long long)t->value[k]);
    }
    pass_on(to, d);
  }
}

static void at_the_end(tries *t, elab *f) {
  kd_sink absent;
  size_t n = 0;
  kd__sink_init(&absent, f->a);
  f->sink = &absent;
  kd__absences(f);
  for (size_t i = 0; t->whole && i < t->absent.n; i++)
    if (among(absent.diag.v, absent.diag.n, t->absent.v[i])) t->absent.v[n++] = t->absent.v[i];
  t->absent.n = n;
  for (size_t i = 0; !t->whole && i < absent.diag.n; i++) KD_PUSH(t->e->a, t->absent, absent.diag.v[i]);
  t->whole = true;
}

static void follow(tries *t, size_t n, const kd_decision *next);

static void try_one(tries *t, size_t n, int64_t value) {
  kd_elab_options *opt = kd__arena_copy(t->e->a, t->e->opt, sizeof *opt);
  kd_sink *said = KD_NEW(t->e->a, kd_sink);
  if (t->left == 0) { t->cut = true; return; }
  t->left--;
  t->value[n] = value;
  opt->decided = t->value; opt->ndecided = n + 1;
  opt->check_definitions = false;
  opt->seen = NULL; opt->planned = NULL;
  kd__sink_init(said, t->a);
  elab *f = kd__elaborate_file(t->a, said, t->syn, opt);
  if (!said->errors) kd__resolve(f);
  if (!said->errors && !f->waits) kd__unhit_rules(f);
  tell(t, f, said, n + 1);
  if (said->errors) return;
  const kd_decision next = f->waits ? f->build->decision.v[n + 1].d : (kd_decision){ 0 };
  bool waits = f->waits;
  if (!waits) at_the_end(t, f);
  if (t->a != t->e->a && t->e->sink->diag.n == t->before && !t->absent.n) kd__arena_free(t->a);  /* no message lies in it, of this try or an earlier one */
  if (waits) follow(t, n + 1, &next);
}

/* The bounds and the middle between them. */
static void follow(tries *t, size_t n, const kd_decision *next) {
  int64_t low = next->low, high = next->high, middle = low + (high - low) / 2;
  if (n == DEPTH) { t->cut = true; return; }
  try_one(t, n, low);
  if (high > low) try_one(t, n, high);
  if (middle > low && middle < high) try_one(t, n, middle);
}

void kd__explore(elab *e, const kd_syntax *syn) {
  tries t = { .e = e, .syn = syn, .before = e->sink->diag.n, .a = e->opt->scratch ? e->opt->scratch : e->a, .left = TRIES };
  const decision *first = &e->build->decision.v[e->build->decision.n - 1];
  follow(&t, 0, &first->d);
  for (size_t i = 0; i < t.absent.n; i++) pass_on(e->sink, t.absent.v[i]);
  if (t.cut && !e->sink->errors) kd__report(e->sink, KD_D_DECIDE_MANY, first->at->span, TRIES);
}
