/* scheme.c: schemes to machine code: the statements, stages, schemes called, the whole. */
#include "compiler/elaborate/scheme.h"

/* --- steps ------------------------------------------------------------------------------------------------------------------------------ */
static void step(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (!b->batches) {
    kd_diag *d = kd__err(e, KD_D_STEP_NO_BATCH, n->span);
    kd__diag_help(e->sink, d, "for batch in D { step ... }, for 100 batches { step ... }, or train ... on D");
    return;
  }
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m)) return;
  place *home = kd__step_home(e, n);
  if (n->kind == KD_AST_STEP_ALONG) kd__step_along(e, s, &m, n, home);
  else kd__train_step(e, s, &m, n->kid[0], n->kid[1], n->n > 2 ? n->kid[2] : NULL, home);
}

/* --- stage ---------------------------------------------------------------------------------------------------------------------------------- */
/* `keep best by` holds for its whole stage, wherever in the stage's blocks and loops it stands. */
static void find_keep(elab *e, const kd_ast *body) {
  if (body->kind == KD_AST_KEEP_BEST) {
    if (e->build->keep) kd__err(e, KD_D_DUPLICATE, body->span, "keep best");
    e->build->keep = body;
  } else if (body->kind == KD_AST_BLOCK || body->kind == KD_AST_FOR_COUNT) {
    for (uint32_t i = 0; i < body->n; i++) if (body->kid[i]) find_keep(e, body->kid[i]);
  }
}

/* Outside of batches an argument that is computed is a formula: a loss, or a schedule, that the scheme's steps elaborate where they use it. */
static scope *called(elab *e, scope *s, def *d, const kd_ast *call) {
  arg *a;
  uint32_t n = kd__args(e, s, call, &a);
  if (e->build->batches) return kd__bind_call(e, s, d, a, n, call);
  prog *up = e->prog;
  e->prog = e->probe;
  e->probe->open = NULL;
  scope *in = kd__bind_call(e, s, d, a, n, call);
  e->prog = up;
  const kd_ast *params = d->ast->kid[0];
  for (uint32_t i = 0; in && i < params->n; i++) {
    const kd_ast *p = params->kid[i], *type = p->n ? p->kid[0] : NULL;
    binding *b = kd__scope_here(in, p->text);
    if (!b || !b->v || b->v->kind == V_POISON || b->v->kind == V_NET || !kd__computed(b->v)) continue;
    if (type) { b->type = type; b->formal = in; }
    b->scope = p->n > 1 && b->at == p->kid[1] ? in : s;
    b->expr = b->at;
    b->kind = B_FORMULA;
    b->loop = e->loop;
    b->turns = e->turns;
    b->v = &kd__poison;
  }
  return in;
}

static void call_scheme(elab *e, scope *s, const kd_ast *call) {
  if (call->kind != KD_AST_CALL) { kd__eval(e, s, call); return; }
  val *f = kd__eval(e, s, call->kid[0]);
  if (f->kind != V_DEF || strcmp(f->u.def->word, "scheme") != 0) { kd__eval(e, s, call); return; }
  scope *in = called(e, s, f->u.def, call);
  if (!in) return;
  in->scheme = true;
  in->caller = s;
  if (e->build->stage_name) find_keep(e, f->u.def->ast->kid[2]);
  kd__exec_block(e, in, f->u.def->ast->kid[2]);
}

/* `fit`, or `hop[i]` with the number in place of i. */
static const char *stage_name(elab *e, scope *s, const kd_ast *name) {
  if (name->kind == KD_AST_NAME) return name->text;
  if (name->kind != KD_AST_INDEX || name->n != 2 || name->kid[1]->kind != KD_AST_SUB || name->kid[1]->n != 1) { kd__err(e, KD_D_LIST_INDEX, name->span); return NULL; }
  int64_t i;
  const kd_ast *at = name->kid[1]->kid[0];
  if (!kd__want_int(e, kd__eval(e, s, at), at, "a stage's number", &i)) return NULL;
  return kd__arena_printf(e->a, "%s[%lld]", name->kid[0]->text, (long long)i);
}

static void stage(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (b->stage_name) { kd__err(e, KD_D_STAGE_NESTED, n->span); return; }
  const kd_ast *name = n->kid[0], *body = n->kid[1];
  const char *text = stage_name(e, s, name);
  if (!text) return;
  if (e->loop && name->kind == KD_AST_NAME) text = kd__arena_printf(e->a, "%s_%zu", text, b->stage.n + 1);
  kd__begin_stage(e, text, n);
  find_keep(e, body);
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  if (body->kind == KD_AST_TRAIN) kd__train(e, in, body);
  else if (body->kind == KD_AST_EXPR_STMT || body->kind == KD_AST_CALL || body->kind == KD_AST_NAME) call_scheme(e, in, body->kind == KD_AST_EXPR_STMT ? body->kid[0] : body);
  else kd__exec(e, in, body);
  kd__end_stage(e, n);
}

bool kd__scheme_is_stmt(const kd_ast *n) {
  switch (n->kind) {
    case KD_AST_STAGE: case KD_AST_TRAIN: case KD_AST_STEP: case KD_AST_FOR_COUNT: case KD_AST_EVALUATE: case KD_AST_REPORT: case KD_AST_KEEP_BEST:
    case KD_AST_SAVE: case KD_AST_FREEZE: case KD_AST_UNFREEZE: case KD_AST_RESET: case KD_AST_COPY: case KD_AST_EVERY:
    case KD_AST_STEP_ALONG: case KD_AST_FOR_STREAMS: case KD_AST_WRITE: return true;
    default: return false;
  }
}

void kd__scheme_stmt(elab *e, scope *s, const kd_ast *n) {
  if (e->waits) return;
  switch (n->kind) {
    case KD_AST_STAGE: stage(e, s, n); break;
    case KD_AST_TRAIN: kd__train(e, s, n); break;
    case KD_AST_STEP: case KD_AST_STEP_ALONG: step(e, s, n); break;
    case KD_AST_FOR_COUNT: kd__for_count(e, s, n); break;
    case KD_AST_FOR_IN: case KD_AST_FOR_STREAMS: kd__for_data(e, s, n); break;
    case KD_AST_REPEAT: kd__scheme_repeat(e, s, n); break;
    case KD_AST_EVERY: kd__every(e, s, n); break;
    case KD_AST_UPDATE: kd__scheme_update(e, s, n); break;
    case KD_AST_COPY: kd__copy(e, s, n); break;
    case KD_AST_RESET: kd__reset(e, s, n); break;
    case KD_AST_EVALUATE: kd__evaluate(e, s, n, false); break;
    case KD_AST_REPORT: kd__evaluate(e, s, n, true); break;
    case KD_AST_KEEP_BEST: if (!e->build->keep) kd__diag_help(e->sink, kd__err(e, KD_D_KEEP_PLACE, n->span), "stage fit { keep best by m(...); train ... }"); break;
    case KD_AST_WRITE: kd__write(e, s, n); break;
    case KD_AST_SAVE: kd__save(e, s, n); break;
    case KD_AST_FREEZE: kd__freeze(e, s, n, true); break;
    case KD_AST_UNFREEZE: kd__freeze(e, s, n, false); break;
    case KD_AST_EXPR_STMT: call_scheme(e, s, n->kid[0]); break;
    default: kd__err(e, KD_D_INTERNAL, n->span, "this is not a statement of a scheme"); break;
  }
}

/* --- the whole -------------------------------------------------------------------------------------------------------------------------------- */
static void save_trained(elab *e) {
  for (size_t i = 0; i < e->build->trained.n; i++) {
    models one = { 0 };
    net *w = e->build->trained.v[i];
    if (strcmp(w->role, "transform") == 0) continue;
    KD_PUSH(e->a, one.what, (mention){ .net = w, .slot = -1, .at = w->at });
    kd__emit(e, KD_CODE_SAVE, kd__add_group(e, w->place->path, &one, false, true), kd__add_string(e, kd__arena_printf(e->a, "%s.safetensors", w->place->path)), 0, NULL);
  }
}

void kd__scheme_run(elab *e, scope *s, const kd_ast *file) {
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  kd__flow_begin(e);
  for (uint32_t i = 0; i < file->n; i++) {
    const kd_ast *n = file->kid[i];
    if (n->kind == KD_AST_SCHEME) kd__exec_block(e, in, n->kid[0]);
    else if (kd__scheme_is_stmt(n)) kd__scheme_stmt(e, in, n);
    else if (n->kind == KD_AST_EXPR_STMT && !e->waits) call_scheme(e, in, n->kid[0]);
  }
  if (e->waits) { e->prog = NULL; return; }      /* DECIDE is the last instruction */
  kd__flow_end(e, file);
  save_trained(e);
  kd__emit(e, KD_CODE_HALT, 0, 0, 0, NULL);
}
