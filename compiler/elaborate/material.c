/* material.c: networks as material (design 2.7, rule 11): other inner values, other parts, alike instances, applications found inside,
 * and what a composed network reaches. */
#include "compiler/elaborate/builtin.h"

/* --- N(x) with (tap: v) -------------------------------------------------------------------------------------------------------- */
/* What a body binds to a name. In a trial run the bindings are counted; then the last one (in a loop: each) gives way to the value. */
val *kd__rewired(elab *e, scope *s, const char *name, val *v) {
  while (s && !s->definition) s = s->up;
  rewire *r = s ? s->rewire : NULL;
  for (uint32_t i = 0; r && i < r->n; i++) {
    rewired *it = &r->item[i];
    if (strcmp(it->name, name) != 0) continue;
    it->seen++;
    if (!r->replacing) { it->binds = it->seen; return v; }
    if (!it->turns && it->seen != it->binds) return v;
    r->upstream = e->prog->pending.n;
    return it->turns && it->seen <= it->to->u.list.n ? it->to->u.list.v[it->seen - 1] : it->to;
  }
  return v;
}

static void report_no_tap(elab *e, const app *a, const rewired *it) {
  const char *names[64];
  size_t k = 0;
  kd__buf b = { 0 };
  for (size_t i = 0; i < a->body->b.n && k < 64; i++) {
    if (a->body->b.v[i]->param) continue;
    names[k++] = a->body->b.v[i]->name;
    kd__buf_printf(&b, "%s%s", b.n ? ", " : "", a->body->b.v[i]->name);
  }
  kd_diag *d = kd__err(e, KD_D_UNKNOWN_FIELD, it->at->span, kd__arena_printf(e->a, "`%s`", a->net->def->name), "tap", it->name);
  const char *near = kd__nearest(e, it->name, names, k);
  const char *all = b.n ? kd__buf_keep(&b, e->a) : NULL;
  if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
  else if (all) kd__diag_help(e->sink, d, "it has: %s", all);
}

/* The value with the axes of what it replaces, matched by position as in a call. NULL after reporting. */
static val *made_to_fit(elab *e, val *tap, val *v, const rewired *it) {
  tensor_list want = { 0 }, have = { 0 };
  if (!kd__flatten(e, tap, it->at, "a tap that is replaced", &want) || !kd__flatten(e, v, it->at, "what replaces a tap", &have)) return NULL;
  if (want.n != have.n) {
    kd__err(e, KD_D_TAP_SHAPE, it->at->span, it->name, kd__arena_printf(e->a, "%zu tensor%s", want.n, want.n == 1 ? "" : "s"),
            kd__arena_printf(e->a, "%zu", have.n));
    return NULL;
  }
  for (size_t i = 0; i < want.n; i++) {
    const tensor *w = want.v[i], *h = have.v[i];
    bool same = w->rank == h->rank;
    for (int k = 0; same && k < w->rank; k++) same = w->ax[k].size == h->ax[k].size;
    if (!same) {
      kd_diag *d = kd__err(e, KD_D_TAP_SHAPE, it->at->span, it->name, kd__t_show(e, w), kd__t_show(e, h));
      kd__diag_help(e->sink, d, "a trainable adapter can make it fit: transform adapt = ...");
      return NULL;
    }
    tensor *t = kd__arena_copy(e->a, h, sizeof *h);
    memcpy(t->ax, w->ax, sizeof(axis) * w->rank);
    have.v[i] = kd__t_cast(e, t, w->dtype, it->at);
  }
  size_t used = 0;
  return kd__unflatten(e, tap, have.v, &used, it->at);
}

static bool find_taps(elab *e, scope *s, app *a, rewire *r) {
  for (uint32_t i = 0; i < r->n; i++) {
    rewired *it = &r->item[i];
    binding *b = kd__scope_here(a->body, it->name);
    if (b && b->param) { kd__err(e, KD_D_TAP_INPUT, it->at->span, it->name, a->net->def->name); return false; }
    val *tap = b ? kd__app_tap(e, a, it->name) : NULL;
    if (!tap || !it->binds) { report_no_tap(e, a, it); return false; }
    it->turns = b->kind == B_LIST;
    arg one = { it->name, NULL, it->at };
    val *v = kd__arg_eval(e, s, &one);
    it->to = v->kind == V_POISON || tap->kind == V_POISON ? NULL : made_to_fit(e, tap, v, it);
    if (!it->to) return false;
  }
  return true;
}

/* First as it is, on trial, to know its taps; then with the given values in their place. What the body updates before a replaced tap is
 * upstream of it and does not commit. */
val *kd__apply_rewired(elab *e, scope *s, net *w, arg *a, uint32_t n, const kd_ast *at) {
  rewire *r = e->rewire;
  trial t = { e->trial }, *up = e->trial;
  app *inside = e->inside;
  e->rewire = NULL; r->taken = true;
  r->n = r->with->n - 1;
  r->item = KD_NEWN(e->a, rewired, r->n + 1);
  for (uint32_t i = 0; i < r->n; i++) {
    const kd_ast *k = r->with->kid[i + 1];
    r->item[i] = (rewired){ .name = k->text, .at = k->kid[0] };
  }
  e->trial = kd__arena_copy(e->a, &t, sizeof t);
  e->inside = NULL;
  val *v = kd__run_net(e, s, w, a, n, at, r);
  e->trial = up; e->inside = inside;
  if (v->kind != V_APP || !find_taps(e, s, v->u.app, r)) return v->kind == V_APP ? &kd__poison : v;
  r->replacing = true;
  for (uint32_t i = 0; i < r->n; i++) r->item[i].seen = 0;
  size_t from = e->prog->pending.n;
  v = kd__run_net(e, s, w, a, n, at, r);
  trial *dead = kd__arena_copy(e->a, &t, sizeof t);
  for (size_t i = from; i < r->upstream; i++) if (e->prog->pending.v[i].trial == e->trial) e->prog->pending.v[i].trial = dead;
  return v;
}

/* --- net with (part: other) -------------------------------------------------------------------------------------------------------- */
val *kd__by_rule(elab *e, scope *s, const char *name) {
  for (rule *r = e->rules; r; r = r->up) {
    if (strcmp(r->name, name) != 0) continue;
    scope *where = NULL;
    if (kd__scope_find(s, name, &where) && where->up) return NULL;       /* a name of the body's own */
    const rule *all = r;
    for (size_t i = 0; i < e->all_rules.n; i++) if (e->all_rules.v[i]->at == all->at && e->all_rules.v[i]->net == all->net) e->all_rules.v[i]->used = true;
    return r->to;
  }
  return NULL;
}

/* What stands for a part: a definition, with arguments or without, or a function. */
static val *part_value(elab *e, scope *s, const kd_ast *at, rule *r) {
  val *f = at->kind == KD_AST_CALL ? kd__eval(e, s, at->kid[0]) : NULL;
  if (f && f->kind == V_POISON) return f;
  def *d = f && f->kind == V_DEF && kd__def_is_net(f->u.def) ? KD_NEW(e->a, def) : NULL;
  val *v = d ? NULL : kd__eval(e, s, at);
  if (d) {
    arg *a;
    uint32_t n = kd__args(e, s, at, &a);
    *d = *f->u.def;
    if (!kd__fix_args(e, s, d, a, n, &d->fixed, &d->nfixed)) return &kd__poison;
  } else if (v->kind == V_DEF) {
    d = kd__arena_copy(e->a, v->u.def, sizeof *d);
  } else if (v->kind == V_LAMBDA) {
    v = kd__arena_copy(e->a, v, sizeof *v);
    v->u.lambda.rule = r;
  } else if (v->kind != V_BUILTIN && v->kind != V_NET) {
    if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, at->span, "a part", "a definition or a function", kd__v_show(e, v));
    return &kd__poison;
  }
  if (!d) return v;
  d->rule = r;
  d->first = NULL;
  v = kd__v_new(e, V_DEF);
  v->u.def = d;
  return v;
}

static val *with_parts(elab *e, scope *s, net *w, const kd_ast *n) {
  if (n->kid[0]->kind != KD_AST_CALL) w = kd__net_new(e, s, w->def, w->fixed, w->nfixed, w->rules, n);      /* else it was made just now */
  for (uint32_t i = 1; i < n->n; i++) {
    const kd_ast *k = n->kid[i];
    rule *r = KD_NEW(e->a, rule);
    *r = (rule){ w->rules, k->text, NULL, k, w, false };
    r->to = part_value(e, s, k->kid[0], r);
    if (r->to->kind == V_POISON) return r->to;
    w->rules = r;
    KD_PUSH(e->a, e->all_rules, r);
  }
  val *v = kd__v_new(e, V_NET);
  v->u.net = w;
  return v;
}

void kd__unused_rules(elab *e) {
  for (size_t i = 0; i < e->all_rules.n; i++) {
    const rule *r = e->all_rules.v[i];
    slot_list own = { 0 };
    val v = { .kind = V_NET, .u.net = r->net };
    if (r->used || !kd__slots_of(e, &v, true, r->at, &own) || !own.n) continue;      /* one that is not applied is told of as unused */
    kd_diag *d = kd__err(e, KD_D_RULE_UNUSED, r->at->span, r->net->place->path, r->name);
    kd__diag_help(e->sink, d, "a part is named as the body of `%s`, or what it calls, names the definition", r->net->def->name);
  }
}

val *kd__eval_with(elab *e, scope *s, const kd_ast *n) {
  rewire *r = KD_NEW(e->a, rewire), *up = e->rewire;
  *r = (rewire){ .call = n->kid[0], .with = n };
  e->rewire = r;
  val *v = kd__eval(e, s, n->kid[0]);
  e->rewire = up;
  if (r->taken || v->kind == V_POISON) return v;
  if (v->kind == V_NET) return with_parts(e, s, v->u.net, n);
  if (v->kind == V_DATA) return kd__data_with(e, s, v, n);
  kd_diag *d = kd__err(e, KD_D_WANT_KIND, n->kid[0]->span, "`with`", "a network, or its application written out", kd__v_show(e, v));
  if (v->kind == V_APP) kd__diag_help(e->sink, d, "taps are replaced where the network is applied: %s(x) with (...)", v->u.app->net->place->path);
  if (v->kind == V_DEF && kd__def_is_net(v->u.def)) kd__diag_help(e->sink, d, "make an instance of it: %s(...) with (...)", v->u.def->name);
  return &kd__poison;
}

/* --- like, of ------------------------------------------------------------------------------------------------------------------------- */
/* The same definition and arguments; its draws are those of the other, so both begin with the same values. */
static val *alike(elab *e, scope *s, val *v, const kd_ast *n) {
  if (v->kind == V_LIST) {
    val **item = KD_NEWN(e->a, val *, v->u.list.n);
    uint64_t loop = e->loop;
    const char *turns = e->turns;
    for (uint32_t i = 0; i < v->u.list.n; i++) {
      e->loop = kd__mix(loop, i + 1);
      e->turns = kd__arena_printf(e->a, "%s.%u", turns, i);
      item[i] = alike(e, s, v->u.list.v[i], n);
    }
    e->loop = loop; e->turns = turns;
    return kd__v_list(e, item, v->u.list.n);
  }
  if (v->kind == V_POISON) return v;
  if (v->kind != V_NET || v->u.net->with) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, n->kid[0]->span, "`like`", "a network", kd__v_show(e, v));
    if (v->kind == V_DEF && kd__def_is_net(v->u.def)) kd__diag_help(e->sink, d, "make an instance of it: = %s(...)", v->u.def->name);
    return &kd__poison;
  }
  net *of = v->u.net->base ? v->u.net->base : v->u.net, *w = kd__net_new(e, s, of->def, of->fixed, of->nfixed, of->rules, n);
  w->like = of;
  kd__draw_as(e, w->place, of->place->draws_as ? of->place->draws_as : of->place->path);
  val *r = kd__v_new(e, V_NET);
  r->u.net = w;
  return r;
}

val *kd__eval_like(elab *e, scope *s, const kd_ast *n) { return alike(e, s, kd__eval(e, s, n->kid[0]), n); }

val *kd__eval_of(elab *e, scope *s, const kd_ast *n) {
  int64_t count;
  if (!kd__want_int(e, kd__eval(e, s, n->kid[0]), n->kid[0], "the number of networks", &count)) return &kd__poison;
  if (count < 1 || count > 100000) { kd__err(e, KD_D_AXIS_SIZE, n->kid[0]->span, "of", (long long)count); return &kd__poison; }
  val **item = KD_NEWN(e->a, val *, count);
  uint64_t loop = e->loop;
  const char *turns = e->turns;
  for (int64_t i = 0; i < count; i++) {
    e->loop = kd__mix(loop, (uint64_t)i + 1);
    e->turns = kd__arena_printf(e->a, "%s.%lld", turns, (long long)i);
    item[i] = kd__eval(e, s, n->kid[1]);
    if (item[i]->kind == V_NET) continue;
    kd_diag *d = item[i]->kind == V_POISON ? NULL : kd__err(e, KD_D_WANT_KIND, n->kid[1]->span, "`of`", "a network", kd__v_show(e, item[i]));
    if (d && item[i]->kind == V_DEF) kd__diag_help(e->sink, d, "make an instance of it: %s(...)", item[i]->u.def->name);
    e->loop = loop; e->turns = turns;
    return &kd__poison;
  }
  e->loop = loop; e->turns = turns;
  return kd__v_list(e, item, (uint32_t)count);
}

/* --- applications inside ---------------------------------------------------------------------------------------------------------------- */
typedef KD_VEC(val *) found;

/* Applications of a definition inside one, outermost first, under the names that the body of `a` has for their axes. */
static void find_calls(elab *e, const app *a, const def *d, const kd_ast *at, found *out) {
  for (size_t i = 0; i < a->inner.n; i++) {
    app *k = a->inner.v[i];
    if (k->net->def->ast == d->ast) { val *v = kd__v_new(e, V_APP); v->u.app = k; KD_PUSH(e->a, *out, v); }
    found below = { 0 };
    find_calls(e, k, d, at, &below);
    for (size_t j = 0; j < below.n; j++) KD_PUSH(e->a, *out, kd__back(e, k->back, below.v[j], at, k->net->def->name));
  }
}

static void name_inner(elab *e, const app *a, kd__buf *b, int depth) {
  for (size_t i = 0; i < a->inner.n && depth < 8; i++) {
    const char *name = a->inner.v[i]->net->def->name;
    bool seen = b->n && strstr(kd__arena_strndup(e->a, b->p, b->n), name);
    if (!seen && b->n < 200) kd__buf_printf(b, "%s%s", b->n ? ", " : "", name);
    name_inner(e, a->inner.v[i], b, depth + 1);
  }
}

val *bi_calls(B) {
  PICK(2);
  const val *v = p[0]->v, *f = p[1]->v;
  if (v->kind != V_APP) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, p[0]->ast->span, "`calls`", "an applied network", kd__v_show(e, v));
    if (v->kind == V_NET) kd__diag_help(e->sink, d, "apply it first: let t = %s(x), then calls(t, ...)", v->u.net->place->path);
    return &kd__poison;
  }
  if (f->kind != V_DEF || !kd__def_is_net(f->u.def)) {
    kd__err(e, KD_D_WANT_KIND, p[1]->ast->span, "`calls`", "the definition of a network", kd__v_show(e, f));
    return &kd__poison;
  }
  found out = { 0 };
  find_calls(e, v->u.app, f->u.def, call, &out);
  if (!out.n) {
    kd__buf names = { 0 };
    name_inner(e, v->u.app, &names, 0);
    kd_diag *d = kd__err(e, KD_D_NO_CALLS, call->span, v->u.app->net->def->name, f->u.def->name);
    if (names.n) kd__diag_help(e->sink, d, "inside it are applied: %s", kd__buf_keep(&names, e->a));
    return &kd__poison;
  }
  for (size_t i = 0; i < out.n; i++) out.v[i] = kd__back(e, v->u.app->back, out.v[i], call, v->u.app->net->def->name);
  return kd__v_list(e, out.v, (uint32_t)out.n);
}

/* --- keys ------------------------------------------------------------------------------------------------------------------------------------ */
/* `key: k`: draws that belong to k. A number or a string is known now; a whole number of the run joins the run's own key. */
bool kd__key_arg(elab *e, scope *s, arg *key, place *base, draw_key *out) {
  val *v = kd__force_app(kd__arg_eval(e, s, key));
  *out = (draw_key){ .base = base };
  if (v->kind == V_INT) out->hash = kd__mix((uint64_t)v->u.i, 0x6b31);
  else if (v->kind == V_STRING) out->hash = kd__hash(v->u.s, strlen(v->u.s), 0x6b32);
  else if (v->kind == V_TENSOR && v->u.t->rank == 0 && v->u.t->dtype == KD_I64) {
    tensor *t = kd__want_tensor(e, v, key->ast);
    if (!t) return false;
    out->v = t->v;
    out->hash = 0x6b33;
  } else {
    if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, key->ast->span, "`key`", "a whole number or a string", kd__v_show(e, v));
    return false;
  }
  return true;
}

/* --- composed networks ----------------------------------------------------------------------------------------------------------------------- */
bool kd__reached_by(elab *e, def *d, const kd_ast *at, slot_list *out) {
  if (!d->first) {
    kd_diag *dg = kd__err(e, KD_D_NOT_APPLIED, at->span, d->name);
    kd__diag_help(e->sink, dg, "above this: let y = %s(x)", d->name);
    return false;
  }
  prog *up = e->prog, *p = d->first_in;
  trial t = { NULL }, *tried = e->trial;
  int8_t mode = e->mode;
  e->prog = p; e->trial = kd__arena_copy(e->a, &t, sizeof t); e->mode = 1;       /* as it is used: in evaluation mode */
  val *v = kd__run_net(e, d->scope, d->first->net, d->first->args, d->first->nargs, at, NULL);
  tensor_list ends = { 0 };
  bool ok = v->kind != V_POISON && kd__flatten(e, v, at, "a composed network's value", &ends);
  e->prog = up; e->trial = tried; e->mode = mode;
  if (!ok) return false;
  const kd_graph *g = p->g;
  bool *need = KD_NEWN(e->a, bool, g->node.n), *slot = KD_NEWN(e->a, bool, e->slot.n + 1);
  for (size_t i = 0; i < ends.n; i++) need[g->def.v[ends.v[i]->v]] = true;
  for (size_t i = g->node.n; i-- > 1;) {
    const kd_node *n = &g->node.v[i];
    if (!need[i]) continue;
    int64_t of = n->op == KD_OP_INPUT ? n->attr[0].u.i : -1;
    for (size_t k = 0; k < p->version.n; k++) if (g->def.v[p->version.v[k].now] == i) of = p->version.v[k].slot;
    if (of >= 0) slot[of] = true;
    for (uint32_t k = 0; of < 0 && k < n->nin; k++) need[g->def.v[n->in[k]]] = true;
  }
  for (size_t i = 0; i < e->slot.n; i++)
    if (slot[i] && (e->slot.v[i].s.kind == KD_SLOT_PARAM || e->slot.v[i].s.kind == KD_SLOT_STATE)) KD_PUSH(e->a, *out, (int64_t)i);
  return true;
}
