/* own.c: what definitions own: parameters, states, their updates and initial values, random draws, run-time scalars. */
#include "compiler/elaborate/elab.h"

prog *kd__prog_new(elab *e, prog_kind k, const char *name) {
  prog *p = KD_NEW(e->a, prog);
  p->kind = k; p->name = name;
  p->g = kd__graph_for(e);
  p->training = k == PROG_TRAIN || k == PROG_PROBE;
  return p;
}

enum { LOCAL = -2 };                             /* slots from here down are states of virtual steps' optimizers */

/* --- slots ------------------------------------------------------------------------------------------------------------------ */
int64_t kd__slot_add(elab *e, const char *path, kd_slot_kind k, kd_dtype t, const axis *ax, int rank, place *owner, kd_span at) {
  slot_info s = { .owner = owner, .at = at };
  s.s.name = path; s.s.kind = k;
  s.s.type.dtype = (uint8_t)t; s.s.type.rank = (uint8_t)rank;
  for (int i = 0; i < rank; i++) { s.s.type.dim[i] = ax[i].size; s.ax[i] = ax[i]; s.ax[i].mask = NULL; }
  KD_PUSH(e->a, e->slot, s);
  (void)kd__map_at(&e->slot_names, path);
  return (int64_t)e->slot.n - 1;
}

kd_value kd__slot_input(elab *e, prog *p, int64_t slot) {
  kd_build b = { p->g, 0 };
  kd_type t = e->slot.v[slot].s.type;
  const slot_info *s = &e->slot.v[slot];
  for (const opening *o = s->data ? p->open : NULL; o; o = o->up)
    if (o->data + 1 == s->data && o->bank == s->bank && t.rank > 0 && o->rows < t.dim[0]) { t.dim[0] = o->rows; break; }
  return kd__b_input(&b, slot, &t);
}

/* Updates of the trials around us, and those outside of any; not those of other trials. */
static bool in_sight(const elab *e, const trial *of) {
  const trial *t = e->trial;
  while (t && t != of) t = t->up;
  return t == of;
}

kd_value kd__slot_now(elab *e, int64_t slot, const kd_ast *at) {
  for (size_t i = 0; e->prog == e->init && i < e->init->g->write.n; i++)       /* an initial value sees those made before it */
    if (e->init->g->write.v[i].slot == slot) return e->init->g->write.v[i].value;
  (void)at;
  prog *p = e->prog;
  if (p->chain == slot + 1)
    for (size_t i = p->pending.n; i-- > 0;) if (p->pending.v[i].slot == slot && in_sight(e, p->pending.v[i].trial)) return p->pending.v[i].value;
  for (size_t i = 0; i < p->version.n; i++) if (p->version.v[i].slot == slot) return p->version.v[i].now;
  return kd__slot_input(e, p, slot);
}

void kd__slot_set(elab *e, prog *p, int64_t slot, kd_value v, const kd_ast *at) {
  net *top = e->slot.v[slot].owner->root_net;
  if (top && e->slot.v[slot].s.kind == KD_SLOT_PARAM) top->given = true;
  kd_build b = { p->g, kd__origin(e, at->span) };
  p->g->apart = true;                            /* a stored value: no later gradient goes into how it was made, nor to another that was set to the same */
  v = kd__b_op1(&b, KD_OP_STOP, v);
  kd__graph_write(p->g, slot, v, kd__origin(e, at->span));
  for (size_t i = 0; i < p->version.n; i++)
    if (p->version.v[i].slot == slot) {
      KD_PUSH(e->a, p->past, p->version.v[i]);
      p->version.v[i].now = v; p->version.v[i].version++;
      return;
    }
  slot_version w = { slot, v, 1 };
  KD_PUSH(e->a, p->version, w);
}

val *kd__read_slot(elab *e, int64_t slot, const kd_ast *at) {
  if (slot < 0) return kd__v_tensor(e, e->local.v[LOCAL - slot]);
  if (e->over) {
    val *v = kd__over_slot(e, slot, at);
    if (v) return v;
  }
  const slot_info *s = &e->slot.v[slot];
  tensor *t = kd__t_wrap(e, kd__slot_now(e, slot, at), s->ax, s->s.type.rank, at);
  return kd__v_tensor(e, t);
}

val *kd__ambient(elab *e, kd_ambient a, const kd_ast *at) {
  static const char *const names[] = {
#define KD_AMBIENT(ID, text, doc) text,
#include "runtime/exec/ambient.def"
#undef KD_AMBIENT
  };
  if (e->ambient[a] < 0)
    e->ambient[a] = kd__slot_add(e, names[a], KD_SLOT_SCALAR, a >= KD_AMBIENT_KEY ? KD_I64 : e->opt->real, NULL, 0, e->top, at->span);
  return kd__read_slot(e, e->ambient[a], at);
}

/* --- training and evaluation ---------------------------------------------------------------------------------------------------- */
static bool trains(const prog *p, const net *w) {
  for (size_t i = 0; i < p->trained.n; i++) if (p->trained.v[i] == w) return true;
  return false;
}

bool kd__training(elab *e, scope *s) {
  if (e->mode) return e->mode == 2;
  const net *w = s->place->root_net;
  if (kd__place_frozen(e, s->place)) return false;
  if (!w || strcmp(w->role, "transform") == 0) return e->prog->training;
  return e->prog->kind == PROG_PROBE ? strcmp(w->role, "teacher") != 0 && strcmp(w->role, "model") != 0 : trains(e->prog, w);
}

bool kd__commits(elab *e, const prog *p, const place *owner) {
  (void)e;
  if (p->kind == PROG_PROBE || p->kind == PROG_INIT) return false;
  const net *w = owner->root_net;
  if (p->kind == PROG_EVAL) return !w && !owner->in_loss;      /* metrics only */
  if (w && strcmp(w->role, "transform") != 0) return trains(p, w);
  return true;
}

void kd__commit(elab *e, prog *p, const kd_ast *at) {
  for (size_t i = 0; i < p->pending.n; i++)
    if (!p->pending.v[i].trial && kd__commits(e, p, p->pending.v[i].owner)) kd__slot_set(e, p, p->pending.v[i].slot, p->pending.v[i].value, at);
  p->pending.n = 0;
}

/* --- param and state -------------------------------------------------------------------------------------------------------------- */
static int64_t owned_slot(elab *e, place *p, const kd_ast *at) {
  for (size_t i = 0; i < p->owned.n; i++)
    if (p->owned.v[i].at == at && p->owned.v[i].loop == e->loop) return p->owned.v[i].slot;
  return -1;
}

static const char *own_path(elab *e, scope *s, const char *name) {
  return kd__new_name(e, &e->slot_names, kd__arena_printf(e->a, "%s%s%s%s", s->place->path, *s->place->path ? "." : "", name, e->turns));
}

/* The declared initial value, evaluated in the program at hand. */
static tensor *initial(elab *e, scope *s, const kd_ast *n, const axis *ax, int rank, kd_dtype t) {
  const kd_ast *expr = n->kid[1];
  expect want = { .rank = (uint32_t)rank, .dtype = t }, *up = e->expect;
  if (rank) memcpy(want.ax, ax, sizeof(axis) * (size_t)rank);
  const char *as = s->bound_as, *pre = s->prefix;
  uint64_t salt = e->salt, turn = e->turn;
  tryout *out = e->tryout;
  loop_turn *number = e->loop_turn;
  e->expect = &want; e->salt = e->turn = 0; e->tryout = NULL; e->loop_turn = NULL;
  s->bound_as = NULL; s->prefix = n->text;
  tensor *x = expr ? kd__want_tensor(e, kd__eval(e, s, expr), expr) : kd__t_const(e, 0, t, ax, rank, n);
  tensor to = { .rank = (uint8_t)rank, .dtype = t };
  if (rank) memcpy(to.ax, ax, sizeof(axis) * (size_t)rank);
  x = x ? kd__t_align(e, x, &to, expr ? expr : n) : NULL;
  s->bound_as = as; s->prefix = pre;
  e->expect = up; e->salt = salt; e->turn = turn; e->tryout = out; e->loop_turn = number;
  return x;
}

/* The initial value goes to the one initialisation program; resets and stage starts run parts of it. */
static void initialise(elab *e, scope *s, const kd_ast *n, int64_t slot, const axis *ax, int rank, kd_dtype t) {
  prog *p = e->prog;
  e->prog = e->init;
  tensor *x = initial(e, s, n, ax, rank, t);
  const net *top = e->slot.v[slot].owner->root_net;
  bool loaded = top && kd__net_from(top);         /* a file has its value, and is read before this program runs */
  if (x && !loaded) kd__graph_write(e->init->g, slot, x->v, kd__origin(e, n->span));
  e->prog = p;
}

/* A state of a virtual step's optimizer: its initial value, in no slot. */
static void own_apart(elab *e, scope *s, const kd_ast *n, const axis *ax, int rank, kd_dtype t, binding *b) {
  tensor *x = initial(e, s, n, ax, rank, t);
  if (!x) return;
  b->kind = B_STATE; b->slot = LOCAL - (int64_t)e->local.n; b->used = true;
  KD_PUSH(e->a, e->local, kd__t_wrap(e, x->v, ax, rank, n));
}

static bool declared_shape(elab *e, scope *s, const kd_ast *n, axis *ax, uint32_t *rank, kd_dtype *t) {
  const kd_ast *type = n->n ? n->kid[0] : NULL;
  *t = e->opt->real; *rank = 0;
  if (type && type->text) *t = strcmp(type->text, "int") == 0 ? KD_I64 : strcmp(type->text, "bool") == 0 ? KD_BOOL : *t;
  if (type && type->kind == KD_AST_TYPE && type->n && type->kid[0]) return kd__axes_type(e, s, type->kid[0], ax, rank);
  if (type) { kd__diag_help(e->sink, kd__err(e, KD_D_OWN_SHAPE, n->span, n->text2, n->text, n->text), "a single number is %s: []", n->text); return false; }
  if (e->opt_ctx.pv && e->opt_ctx.pv->kind == V_TENSOR) {      /* inside an optimizer: one value for each parameter */
    const tensor *p = e->opt_ctx.pv->u.t;
    *rank = p->rank;
    memcpy(ax, p->ax, sizeof(axis) * p->rank);
    return true;
  }
  kd__diag_help(e->sink, kd__err(e, KD_D_OWN_SHAPE, n->span, n->text2, n->text, n->text), "a single number is %s: []", n->text);
  return false;
}

void kd__own(elab *e, scope *s, const kd_ast *n) {
  axis ax[KD_MAX_RANK];
  uint32_t rank;
  kd_dtype t;
  bool param = strcmp(n->text2, "param") == 0;
  binding *b = kd__scope_bind(e, s, n->text, &kd__poison, n);
  if (kd__trial_owns(e)) return;
  if (!declared_shape(e, s, n, ax, &rank, &t)) return;
  if (param && !kd__dtype_real(t)) { kd__err(e, KD_D_PARAM_TYPE, n->span, n->text); return; }
  if (e->opt_ctx.apart && e->opt_ctx.pv && !param) { own_apart(e, s, n, ax, (int)rank, t, b); return; }
  int64_t slot = owned_slot(e, s->place, n);
  if (slot < 0) {
    kd_slot_kind k = param ? KD_SLOT_PARAM : e->opt_ctx.pv ? KD_SLOT_OPTIMIZER : KD_SLOT_STATE;
    slot = kd__slot_add(e, own_path(e, s, n->text), k, t, ax, (int)rank, s->place, n->span);
    if (k == KD_SLOT_OPTIMIZER && e->opt_ctx.step) e->slot.v[slot].of = e->opt_ctx.step->slot;
    e->slot.v[slot].apart = param && (s->scheme || s->place == e->top);
    owned_item it = { n, e->loop, slot };
    KD_PUSH(e->a, s->place->owned, it);
    initialise(e, s, n, slot, ax, (int)rank, t);
  } else {
    slot_info *si = &e->slot.v[slot];
    bool same = si->s.type.rank == rank;
    for (uint32_t i = 0; same && i < rank; i++) same = si->s.type.dim[i] == ax[i].size;
    if (!same) {
      tensor was = { .rank = si->s.type.rank }, now = { .rank = (uint8_t)rank };
      memcpy(was.ax, si->ax, sizeof(axis) * was.rank);
      memcpy(now.ax, ax, sizeof(axis) * rank);
      kd__err(e, KD_D_OWN_CHANGED, n->span, si->s.name, kd__t_show(e, &was), kd__t_show(e, &now));
      return;
    }
    memcpy(si->ax, ax, sizeof(axis) * rank);
  }
  b->kind = param ? B_PARAM : B_STATE;
  b->slot = slot;
  b->used = true;
  if (!param || !s->rewire) return;
  val *was = kd__read_slot(e, slot, n), *v = kd__rewired(e, s, n->text, was);
  if (v != was) { b->kind = B_VALUE; b->v = v; }
}

/* --- update -------------------------------------------------------------------------------------------------------------------------- */
static kd_value masked(elab *e, kd_value now, kd_value old, const kd_ast *at) {
  if (!e->opt_ctx.pv || !e->opt_ctx.when) return now;
  kd_build b = kd__b(e, at);
  const kd_type *t = kd__type_of(e->prog->g, now);
  kd_value c = kd__b_broadcast(&b, e->opt_ctx.when, t->dim, t->rank, NULL);
  return kd__b_where(&b, c, now, old);
}

/* A further update goes on from the one before, as it does for states. */
static void update_param(elab *e, scope *s, const kd_ast *n) {
  val *pv = e->opt_ctx.pv;
  e->opt_ctx.pv = e->opt_ctx.now;
  tensor *v = kd__want_tensor(e, kd__eval(e, s, n->kid[1]), n->kid[1]), *old = e->opt_ctx.now->u.t;
  e->opt_ctx.pv = pv;
  v = v ? kd__t_align(e, v, old, n->kid[1]) : NULL;
  if (v) e->opt_ctx.now = kd__v_tensor(e, kd__t_wrap(e, masked(e, v->v, old->v, n), old->ax, old->rank, n));
}

/* `update bank[N: idx, K: k] = v where m`: the state with v written there. */
static tensor *scattered(elab *e, scope *s, tensor *base, const kd_ast *target, tensor *v, tensor *where) {
  pick p[KD_MAX_RANK];
  int n;
  if (!kd__picks(e, s, base, target, p, &n)) return NULL;
  if (!n) { kd__err(e, KD_D_WRITE_INDEX, target->span); return NULL; }
  if (!kd__picks_distinct(e, base, p, n)) kd__say_equal_indices(e, target->kid[0]->text, target);
  return kd__t_scatter_at(e, KD_OP_SCATTER_SET, base, p, n, v, where, target);
}

/* What is not valid is not written. */
static tensor *kept_where_invalid(elab *e, tensor *v, tensor *old, const kd_ast *at) {
  tensor *m = kd__arena_copy(e->a, kd__valid_all(e, v, at), sizeof *m), *bare = kd__arena_copy(e->a, v, sizeof *v);
  for (int i = 0; i < bare->rank; i++) bare->ax[i].mask = NULL;
  return kd__t_where(e, m, kd__t_cast(e, bare, old->dtype, at), old, at);
}

tensor *kd__updated(elab *e, scope *s, const kd_ast *n, val *value, tensor *old) {
  const kd_ast *target = n->kid[0], *mask = n->n > 2 ? n->kid[2] : NULL;
  tensor *v = kd__want_tensor(e, value, n->kid[1]);
  tensor *where = v && mask ? kd__want_tensor(e, kd__eval(e, s, mask), mask) : NULL;
  if (!v || (mask && !where)) return NULL;
  if (target->kind == KD_AST_INDEX) return scattered(e, s, old, target, v, where);
  if (kd__masked(v)) v = kept_where_invalid(e, v, old, n->kid[1]);
  if (v && where) v = kd__t_where(e, where, kd__t_cast(e, v, old->dtype, n), old, mask);
  return v ? kd__t_align(e, v, old, n->kid[1]) : NULL;
}

void kd__update(elab *e, scope *s, const kd_ast *n) {
  if (kd__trial_changes(e)) return;
  const kd_ast *target = n->kid[0], *name = target->kind == KD_AST_INDEX ? target->kid[0] : target;
  if (name->kind != KD_AST_NAME) { kd__err(e, KD_D_UPDATE_TARGET, target->span); return; }
  binding *b = kd__scope_find(s, name->text, NULL);
  if (!b && e->opt_ctx.pv && strcmp(name->text, "param") == 0) { update_param(e, s, n); return; }
  if (!b || b->kind != B_STATE) {
    if (b && b->v && b->v->kind == V_POISON && b->kind == B_VALUE) return;
    kd_diag *d = kd__err(e, KD_D_UPDATE_TARGET, target->span);
    if (!b) {
      const char *names[64];
      size_t k = 0;
      for (scope *t = s; t && k < 64; t = t->up) for (size_t i = 0; i < t->b.n && k < 64; i++) if (t->b.v[i]->kind == B_STATE) names[k++] = t->b.v[i]->name;
      const char *near = kd__nearest(e, name->text, names, k);
      if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
    } else {
      kd__diag_help(e->sink, d, "declare it: state %s: [..] = zeros()", name->text);
    }
    return;
  }
  if (e->metric_finish) return;                  /* a metric's end reads its states and changes none */
  int64_t chain = e->prog->chain;
  e->prog->chain = b->slot + 1;
  tensor *old = kd__read_slot(e, b->slot, name)->u.t, *v = kd__updated(e, s, n, kd__eval(e, s, n->kid[1]), old);
  e->prog->chain = chain;
  if (!v) return;
  kd_build bb = kd__b(e, n);
  bool through = e->opt_ctx.apart && e->opt_ctx.pv;            /* gradients flow through a virtual step, its optimizer's states too */
  kd_value now = masked(e, through ? v->v : kd__b_op1(&bb, KD_OP_STOP, v->v), old->v, n);
  KD_PUSH(e->a, e->prog->pending, (pending){ b->slot, now, b->slot < 0 ? s->place : e->slot.v[b->slot].owner, n->span, e->trial });
}

val *kd__next(elab *e, scope *s, const kd_ast *name) {
  binding *b = name->kind == KD_AST_NAME ? kd__scope_find(s, name->text, NULL) : NULL;
  if (!b || b->kind != B_STATE) { kd__err(e, KD_D_NEXT, name->span); return &kd__poison; }
  for (size_t i = e->prog->pending.n; i-- > 0;)
    if (e->prog->pending.v[i].slot == b->slot && in_sight(e, e->prog->pending.v[i].trial)) {
      const tensor *was = b->slot < 0 ? e->local.v[LOCAL - b->slot] : NULL;
      const slot_info *si = was ? NULL : &e->slot.v[b->slot];
      return kd__v_tensor(e, kd__t_wrap(e, e->prog->pending.v[i].value, was ? was->ax : si->ax, was ? was->rank : si->s.type.rank, name));
    }
  if (e->metric_finish) return kd__read_slot(e, b->slot, name);
  kd_diag *d = kd__err(e, KD_D_NEXT_BEFORE, name->span, name->text);
  kd__diag_help(e->sink, d, "write `update %s = ...` above", name->text);
  return &kd__poison;
}

/* --- draws (design 2.7, rule 5) ------------------------------------------------------------------------------------------------------ */
/* A place's part of a draw under `key:`: its path below the network that has the key. */
uint64_t kd__below_key(const draw_key *k, const place *p) {
  const char *path = k->base && kd__within(p, k->base) ? p->path + strlen(k->base->path) : p->path;
  return kd__mix(k->hash, kd__hash(path, strlen(path), 0x6b79));
}

/* Are draws along this batch those of the sample and the epoch, modulo so many epochs? Those that prepare data are; those of networks, losses and optimizers
 * differ in every step, and so do those of a loop within the batch. */
static bool replayed(const elab *e, const scope *s, const opening *o) {
  return o->replay && !e->inside && !s->place->root_net && !s->place->in_loss && kd__turns_around(e) == o->around;
}

val *kd__draw(elab *e, scope *s, kd_op op, const kd_ast *call, const axis *ax, uint32_t rank) {
  place *p = s->place;
  size_t k = 0;
  while (k < p->draws.n && p->draws.v[k] != call) k++;
  if (k == p->draws.n) KD_PUSH(e->a, p->draws, call);
  const draw_key *dk = e->prog == e->init ? NULL : e->key;
  uint64_t path = kd__mix(kd__mix(dk ? kd__below_key(dk, p) : p->hash, k), kd__mix(e->loop, e->salt));
  path = (e->turn ? kd__mix(path, e->turn) : path) >> 2;
  if (dk && !dk->base) path = dk->hash >> 2;     /* a draw's own key: nothing of where it stands */
  kd_value in[2];
  uint32_t n = 1;
  opening *along = rank > 0 ? e->prog->open : NULL;
  while (along && !(ax[0].root == along->root && ax[0].size == along->rows)) along = along->up;
  bool again = along && replayed(e, s, along);
  tensor *key = kd__ambient(e, again ? KD_AMBIENT_KEY_REPLAY : KD_AMBIENT_KEY, call)->u.t;
  in[0] = kd__turn_key(e, key->v, call);
  if (dk && dk->v) {
    kd_build kb = kd__b(e, call);
    in[0] = kd__b_op2(&kb, KD_OP_ADD, in[0], kd__b_op2(&kb, KD_OP_MUL, dk->v, kd__b_const(&kb, 0x9e3779b1, KD_I64, NULL, 0)));
  }
  if (along) in[n++] = kd__slot_input(e, e->prog, again ? kd__data_turned(e, along, call) : kd__data_index(e, along, call));
  int64_t dim[KD_MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) dim[i] = ax[i].size;
  kd_attr at[3] = { kd__ai((int64_t)path), kd__at(op == KD_OP_RANDOM_BITS ? KD_I64 : e->opt->real), kd__al(dim, rank) };
  kd_shape_error err;
  kd_value v = kd__graph_add(e->prog->g, op, in, n, at, kd__origin(e, call->span), &err);
  if (!v) { kd__err(e, KD_D_SHAPE_RULE, call->span, err.text); return &kd__poison; }
  return kd__v_tensor(e, kd__t_wrap(e, v, ax, (int)rank, call));
}
