/* scheme_flow.c: where a scheme's statements go: programs in a row with the machine's control between them, values carried from one to the
 * next, branches. */
#include "compiler/elaborate/scheme.h"

/* --- the module's parts --------------------------------------------------------------------------------------------------------- */
uint32_t kd__emit(elab *e, kd_code_op op, int64_t a, int64_t b, int64_t c, const kd_ast *at) {
  kd_code i = { (uint16_t)op, a, b, c, at ? kd__origin(e, at->span) : 0 };
  if (at) e->here = at->span;
  kd__spend(e, KD__CODE_WORK);
  KD_PUSH(e->a, e->build->code, i);
  return (uint32_t)e->build->code.n - 1;
}

uint32_t kd__here(elab *e) { return (uint32_t)e->build->code.n; }

/* A program's name is its address in logs and dumps, so no two share one. */
uint32_t kd__add_plan(elab *e, const char *name, kd_graph *g) {
  KD_PUSH(e->a, e->build->plan, (planned){ .name = kd__new_name(e, &e->plan_names, name), .g = g });
  return (uint32_t)e->build->plan.n - 1;
}

uint32_t kd__add_string(elab *e, const char *s) {
  KD_PUSH(e->a, e->build->string, s);
  return (uint32_t)e->build->string.n - 1;
}

uint32_t kd__add_stream(elab *e, const opening *o, bool shuffle, bool drop_last) {
  kd_stream st = { .dataset = o->data, .split = o->split, .batch = e->data.v[o->data].d.batch, .shuffle = shuffle, .drop_last = drop_last, .index_slot = -1, .turned_slot = -1, .replay = o->replay };
  KD_PUSH(e->a, e->build->stream, st);
  return (uint32_t)e->build->stream.n - 1;
}

void kd__bind_stream(elab *e, uint32_t stream, const opening *o) {
  const data_set *d = &e->data.v[o->data];
  kd_stream *st = &e->build->stream.v[stream];
  st->bind = kd__arena_get(e->a, sizeof *st->bind * (o->field->slot.n + 1));
  st->nbind = 0;
  for (size_t i = 0; i < o->field->slot.n; i++) {
    if (o->field->slot.v[i] == d->index_slot[o->bank]) { st->index_slot = o->field->slot.v[i]; continue; }
    if (o->field->slot.v[i] == d->turned_slot[o->bank]) { st->turned_slot = o->field->slot.v[i]; continue; }
    for (uint32_t f = 0; f < d->nfield; f++)
      if (d->field[f].slot[o->bank] == o->field->slot.v[i]) { st->bind[st->nbind].field = f; st->bind[st->nbind].slot = o->field->slot.v[i]; st->nbind++; }
  }
}

/* --- programs in a row ---------------------------------------------------------------------------------------------------------------- */
static const char *segment_name(elab *e) {
  const mod_build *b = e->build;
  const char *stage = b->stage_name ? b->stage_name : "scheme";
  if (!b->batches) return kd__arena_printf(e->a, "%s.run", stage);
  const opening *o = e->open;
  while (o && o->beside) o = o->up;
  return o ? kd__arena_printf(e->a, "%s.train.%lld", stage, (long long)o->rows) : kd__arena_printf(e->a, "%s.train", stage);
}

void kd__flow_begin(elab *e) {
  const mod_build *b = e->build;
  prog *p = kd__prog_new(e, PROG_TRAIN, segment_name(e));
  p->segment = true;
  p->decisions = (uint32_t)b->decision.n;
  p->open = e->open;
  p->training = b->batches > 0;
  for (size_t i = 0; b->stepped && i < b->stepped->n; i++) KD_PUSH(e->a, p->trained, b->stepped->v[i]);
  e->prog = p;
}

/* Registers for a program's results: in the form of a body for a short batch those of the form for whole ones. */
static uint32_t take_registers(elab *e, registers *r, uint32_t n) {
  if (r && r->again) return r->first.v[r->next++];
  uint32_t first = r ? take_registers(e, r->up, n) : e->build->nreg;
  if (!r) e->build->nreg += n;
  else KD_PUSH(e->a, r->first, first);
  return first;
}

static bool something(const prog *p) { return p->g->node.n > 1 || p->g->write.n || p->g->result.n; }

/* Updates that no step of the program took are dropped with it: a step further down says so if it does not make them again. */
static void drop(elab *e, const prog *p) {
  for (size_t i = 0; i < p->pending.n; i++) if (!p->pending.v[i].trial && p->pending.v[i].owner->root_net) KD_PUSH(e->a, e->build->dropped, p->pending.v[i]);
}

void kd__flow_end(elab *e, const kd_ast *at) {
  prog *p = e->prog;
  e->prog = NULL;
  if (!something(p)) return;
  drop(e, p);
  uint32_t plan = kd__add_plan(e, p->name, p->g), n = (uint32_t)p->g->result.n;
  if (p->steps && n) kd__emit(e, KD_CODE_LOSS, plan, take_registers(e, e->build->regs, n), 0, at);
  else kd__emit(e, KD_CODE_RUN, plan, 1, 0, at);
}

void kd__flow_cut(elab *e, const kd_ast *at) {
  if (!something(e->prog)) return;
  kd__flow_end(e, at);
  kd__flow_begin(e);
}

uint32_t kd__flow_register(elab *e, tensor *c, const kd_ast *at) {
  if (e->prog->steps) kd__flow_cut(e, at);       /* a training program's results are its losses */
  prog *p = e->prog;
  if (c->in != p) c = kd__carry(e, c, at);
  uint32_t reg = e->build->nreg++;
  drop(e, p);
  kd__graph_result(p->g, "value", c->v);
  kd__emit(e, KD_CODE_EVAL, kd__add_plan(e, p->name, p->g), reg, 1, at);
  kd__flow_begin(e);
  return reg;
}

/* --- carried values ----------------------------------------------------------------------------------------------------------------------- */
int64_t kd__value_slot(elab *e, kd_dtype t, const axis *ax, int rank, kd_span at) {
  return kd__slot_add(e, kd__arena_printf(e->a, "value.%zu", e->slot.n), KD_SLOT_VALUE, t, ax, rank, e->top, at);
}

int64_t kd__value_read(const elab *e, const kd_node *n) {
  if (n->op != KD_OP_INPUT || kd__is_open(e, n)) return -1;
  int64_t slot = kd__attr(n, "slot")->u.i;
  return e->slot.v[slot].s.kind == KD_SLOT_VALUE ? slot : -1;
}

void kd__value_from(elab *e, int64_t slot, tensor *v, const kd_ast *at) {
  kd__graph_write(e->prog->g, slot, v->v, kd__origin(e, at->span));
  KD_PUSH(e->a, e->build->made, (made_in){ slot, e->prog, v->v });
}

/* The slot that holds a value of an earlier program: the one that it was read from, or a new one that the earlier program now writes; -1: a
 * decision came in between, so that program has run by now, and did not write it. */
int64_t kd__carried_slot(elab *e, const tensor *t, const kd_ast *at) {
  prog *from = t->in;
  int64_t slot = kd__value_read(e, kd__node_of(from->g, t->v));
  if (slot >= 0) return slot;
  for (size_t i = 0; i < from->carried.n; i++) if (from->carried.v[i].v == t->v) return from->carried.v[i].slot;
  if (kd__decided_since(e, from)) return -1;
  slot = kd__value_slot(e, t->dtype, t->ax, t->rank, t->made.src ? t->made : at->span);
  kd__graph_write(from->g, slot, t->v, kd__origin(e, at->span));
  KD_PUSH(e->a, from->carried, (carried){ t->v, slot });
  KD_PUSH(e->a, e->build->made, (made_in){ slot, from, t->v });
  return slot;
}

/* What costs no more than reading it back is made again: a few elementwise steps and views of the batch's fields, which do not change within
 * it, of carried values and constants. Returns 0 when it is more than that. */
enum { AGAIN_MAX = 16 };

static bool stays(const elab *e, const prog *from, const prog *p, const kd_node *n) {
  if (kd__value_read(e, n) >= 0) return true;
  if (n->op != KD_OP_INPUT || kd__is_open(e, n)) return n->op != KD_OP_INPUT;
  const slot_info *s = &e->slot.v[kd__attr(n, "slot")->u.i];
  for (const opening *o = from->open; s->data && o; o = o->up)
    for (const opening *k = p->open; o->data + 1 == s->data && o->bank == s->bank && k; k = k->up) if (k == o) return true;
  return false;
}

static kd_value again(elab *e, const prog *from, kd_value v, int *left) {
  const kd_node n = *kd__node_of(from->g, v);
  const kd_op_info *op = kd__op_info((kd_op)n.op);
  if (--*left < 0 || n.nout != 1 || (op->cls != KD_CLASS_LEAF && op->cls != KD_CLASS_ELEM && op->cls != KD_CLASS_VIEW) || !stays(e, from, e->prog, &n)) return 0;
  kd_value in[8];
  if (n.nin > 8) return 0;
  for (uint32_t i = 0; i < n.nin; i++) if (!(in[i] = again(e, from, n.in[i], left))) return 0;
  if (n.op == KD_OP_INPUT) return kd__slot_input(e, e->prog, kd__attr(&n, "slot")->u.i);
  return kd__graph_add(e->prog->g, (kd_op)n.op, in, n.nin, n.attr, n.origin, NULL);
}

/* A value of an earlier program of the scheme as one of the program at hand; NULL: it cannot be one. Values of one batch mean nothing in an
 * evaluation, which runs over others. */
tensor *kd__carry(elab *e, const tensor *t, const kd_ast *at) {
  prog *p = e->prog;
  if (!p || !t->in || !t->in->segment || p->kind == PROG_INIT) return NULL;
  for (int i = 0; !p->segment && p->kind != PROG_PROBE && i < t->rank; i++) if (e->root.v[t->ax[i].root].kind == ROOT_SAMPLE) return NULL;
  int left = AGAIN_MAX;
  kd_value v = p->segment ? again(e, t->in, t->v, &left) : 0;
  int64_t slot = v ? 0 : kd__carried_slot(e, t, at);
  if (slot < 0) return NULL;
  tensor *r = kd__t_wrap(e, v ? v : kd__slot_input(e, p, slot), t->ax, t->rank, at);
  for (int i = 0; i < r->rank; i++) if (t->ax[i].mask && t->ax[i].mask->in != p) r->ax[i].mask = kd__carry(e, t->ax[i].mask, at);
  r->from = t->from; r->shown = t->shown; r->made = t->made;
  return r;
}

static bool depends(elab *e, const prog *p, kd_value v, int64_t param) {
  if (kd__reaches(p->g, kd__slot_input(e, (prog *)(uintptr_t)p, param), v)) return true;
  for (size_t i = 0; i < p->version.n; i++)
    if (p->version.v[i].slot == param && kd__reaches(p->g, p->version.v[i].now, v)) return true;
  for (size_t i = 0; i < p->past.n; i++)
    if (p->past.v[i].slot == param && kd__reaches(p->g, p->past.v[i].now, v)) return true;
  return false;
}

int64_t kd__carried_from(elab *e, int64_t slot, const slots *all) {
  for (size_t i = 0; i < e->build->made.n; i++) {
    const made_in m = e->build->made.v[i];
    if (m.slot != slot) continue;
    for (size_t k = 0; k < all->n; k++) if (depends(e, m.in, m.v, all->v[k])) return all->v[k];
    for (size_t k = 1; k <= m.in->g->def.v[m.v]; k++) {       /* values that came from yet another program */
      const kd_node *n = &m.in->g->node.v[k];
      int64_t from = kd__value_read(e, n);
      if (from < 0 || from == slot) continue;
      int64_t found = kd__reaches(m.in->g, n->out, m.v) ? kd__carried_from(e, from, all) : -1;
      if (found >= 0) return found;
    }
  }
  return -1;
}

/* --- branches --------------------------------------------------------------------------------------------------------------------------------- */
scope *kd__flow_scope(elab *e, scope *s) {
  scope *in = kd__scope_new(e, s, NULL);
  in->scheme = true;
  in->definition = true;
  in->entered = true;
  return in;
}

/* Jumps of a two-armed branch on a register: the first arm follows; returns what to patch. */
typedef struct branch { uint32_t other, over; int64_t steps, epochs, most_steps, most_epochs; uint32_t arm; } branch;

static kd_stage_info *stage_of(mod_build *b) { return b->stage_name ? &b->stage.v[b->stage.n - 1] : NULL; }

static void branch_begin(elab *e, branch *k, uint32_t reg, const kd_ast *at) {
  mod_build *b = e->build;
  const kd_stage_info *st = stage_of(b);
  *k = (branch){ .steps = st ? st->steps : 0, .epochs = st ? st->epochs : 0, .arm = b->arm };
  kd__emit(e, KD_CODE_JUMP_IF, reg, kd__here(e) + 2, 0, at);
  k->other = kd__emit(e, KD_CODE_JUMP, 0, 0, 0, at);
  b->arm = ++b->arms;
  b->control++;
}

/* The stage's plan counts the longer arm. */
static void branch_turn(elab *e, branch *k, const kd_ast *at) {
  mod_build *b = e->build;
  kd_stage_info *st = stage_of(b);
  kd__flow_end(e, at);
  if (st) { k->most_steps = st->steps; k->most_epochs = st->epochs; st->steps = k->steps; st->epochs = k->epochs; }
  k->over = kd__emit(e, KD_CODE_JUMP, 0, 0, 0, at);
  b->code.v[k->other].a = kd__here(e);
  b->arm = ++b->arms;
  kd__flow_begin(e);
}

static void branch_end(elab *e, branch *k, const kd_ast *at) {
  mod_build *b = e->build;
  kd_stage_info *st = stage_of(b);
  kd__flow_end(e, at);
  if (st && st->steps < k->most_steps) st->steps = k->most_steps;
  if (st && st->epochs < k->most_epochs) st->epochs = k->most_epochs;
  b->code.v[k->over].a = kd__here(e);
  b->control--;
  b->arm = k->arm;
  kd__flow_begin(e);
  kd__keep_end(e, at);
}

/* One stateful definition called alike in both arms is two instances, each with states of its own. */
static void warn_two(elab *e, size_t first, size_t second) {
  for (size_t i = first; i < second; i++)
    for (size_t k = second; k < e->slot.n; k++) {
      const slot_info *x = &e->slot.v[i], *y = &e->slot.v[k];
      if (x->s.kind != KD_SLOT_STATE || y->s.kind != KD_SLOT_STATE || !x->owner->call || !y->owner->call || x->owner->call == y->owner->call) continue;
      kd_span a = x->owner->call->span, c = y->owner->call->span;
      if (strcmp(x->owner->what, y->owner->what) != 0 || a.len != c.len || memcmp(a.src->text + a.at, c.src->text + c.at, a.len) != 0) continue;
      kd_diag *d = kd__err(e, KD_D_TWO_INSTANCES, c, y->owner->what);
      kd__diag_label(e->sink, d, a, "the other instance");
      kd__diag_help(e->sink, d, "bind it once outside of the branch, so that both arms use the same states: loss l = %.*s", (int)a.len, a.src->text + a.at);
      return;
    }
}

void kd__scheme_if(elab *e, scope *s, const kd_ast *n, tensor *c) {
  if (c->rank) {
    kd_diag *d = kd__err(e, KD_D_NOT_SCALAR, n->kid[0]->span, "the condition", kd__t_show(e, c));
    kd__diag_help(e->sink, d, "where(c, a, b) selects element by element; any(c) and all(c) make one truth value of many");
    return;
  }
  branch k;
  branch_begin(e, &k, kd__flow_register(e, c, n->kid[0]), n);
  size_t first = e->slot.n;
  kd__exec_block(e, kd__flow_scope(e, s), n->kid[1]);
  size_t second = e->slot.n;
  branch_turn(e, &k, n);
  const kd_ast *other = n->n > 2 ? n->kid[2] : NULL;
  if (other && other->kind == KD_AST_IF) kd__exec(e, kd__flow_scope(e, s), other);
  else if (other) kd__exec_block(e, kd__flow_scope(e, s), other);
  branch_end(e, &k, n);
  warn_two(e, first, second);
}

/* --- values of branches and evaluations ---------------------------------------------------------------------------------------------------------- */
/* What an arm leaves: the tensors of its value, each in a slot of its own that both arms write. */
typedef struct arm_leaf { int64_t slot; axis ax[KD_MAX_RANK]; int rank; kd_dtype dtype; } arm_leaf;
typedef struct arm_value { KD_VEC(arm_leaf) leaf; size_t next; bool second; const kd_ast *at; } arm_value;

static bool leave_tensor(elab *e, arm_value *w, val *v) {
  tensor *t = kd__want_tensor(e, v, w->at);
  if (!t) return false;
  if (!w->second) {
    arm_leaf l = { .slot = kd__value_slot(e, t->dtype, t->ax, t->rank, w->at->span), .rank = t->rank, .dtype = t->dtype };
    memcpy(l.ax, t->ax, sizeof(axis) * t->rank);
    KD_PUSH(e->a, w->leaf, l);
  }
  const arm_leaf *l = &w->leaf.v[w->next++];
  tensor like = { .rank = (uint8_t)l->rank, .dtype = l->dtype };
  memcpy(like.ax, l->ax, sizeof(axis) * (size_t)l->rank);
  bool same = t->rank == l->rank && t->dtype == l->dtype;
  for (int i = 0; same && i < t->rank; i++) { int p = kd__t_find(t, l->ax[i].label); same = p >= 0 && t->ax[p].size == l->ax[i].size; }
  if (!same) { kd__err(e, KD_D_ARMS, w->at->span, kd__t_show(e, &like), kd__t_show(e, t)); return false; }
  t = kd__t_align(e, t, &like, w->at);
  if (t) kd__value_from(e, l->slot, t, w->at);
  return t != NULL;
}

static bool leave(elab *e, arm_value *w, val *v) {
  if (v->kind == V_APP) v = kd__force_app(v);
  if (v->kind == V_POISON) return false;
  if (v->kind != V_RECORD && v->kind != V_LIST) return leave_tensor(e, w, v);
  uint32_t n = v->kind == V_RECORD ? v->u.rec.n : v->u.list.n;
  for (uint32_t i = 0; i < n; i++) if (!leave(e, w, v->kind == V_RECORD ? v->u.rec.v[i] : v->u.list.v[i])) return false;
  return true;
}

/* The same structure, with what the slots hold. */
static val *fetch(elab *e, arm_value *w, val *like) {
  like = kd__force_app(like);
  if (like->kind == V_RECORD || like->kind == V_LIST) {
    bool rec = like->kind == V_RECORD;
    uint32_t n = rec ? like->u.rec.n : like->u.list.n;
    val **v = KD_NEWN(e->a, val *, n);
    for (uint32_t i = 0; i < n; i++) v[i] = fetch(e, w, rec ? like->u.rec.v[i] : like->u.list.v[i]);
    return rec ? kd__v_rec(e, like->u.rec.key, v, n) : kd__v_list(e, v, n);
  }
  const arm_leaf *l = &w->leaf.v[w->next++];
  return kd__v_tensor(e, kd__t_wrap(e, kd__slot_input(e, e->prog, l->slot), l->ax, l->rank, w->at));
}

static bool alike(const val *a, const val *b) {
  a = kd__force_app((val *)(uintptr_t)a); b = kd__force_app((val *)(uintptr_t)b);
  bool rec = a->kind == V_RECORD, list = a->kind == V_LIST;
  if ((rec || list) != (b->kind == V_RECORD || b->kind == V_LIST)) return false;
  if (!rec && !list) return true;
  if (a->kind != b->kind || (rec ? a->u.rec.n != b->u.rec.n : a->u.list.n != b->u.list.n)) return false;
  for (uint32_t i = 0; i < (rec ? a->u.rec.n : a->u.list.n); i++) {
    if (rec && strcmp(a->u.rec.key[i], b->u.rec.key[i]) != 0) return false;
    if (!alike(rec ? a->u.rec.v[i] : a->u.list.v[i], rec ? b->u.rec.v[i] : b->u.list.v[i])) return false;
  }
  return true;
}

/* `let y = if c then a else b` with a condition that is known when it runs: the arm taken is computed, the other is not. */
static val *run_time_choice(elab *e, scope *s, const kd_ast *n, tensor *c) {
  if (c->rank) {
    kd_diag *d = kd__err(e, KD_D_NOT_SCALAR, n->kid[0]->span, "the condition", kd__t_show(e, c));
    kd__diag_help(e->sink, d, "where(c, a, b) selects element by element");
    return &kd__poison;
  }
  arm_value w = { .at = n->kid[1] };
  branch k;
  branch_begin(e, &k, kd__flow_register(e, c, n->kid[0]), n);
  size_t first = e->slot.n;
  val *a = kd__scheme_value(e, s, n->kid[1]);
  bool ok = leave(e, &w, a);
  size_t second = e->slot.n;
  branch_turn(e, &k, n);
  w.at = n->kid[2]; w.second = true; w.next = 0;
  val *b = kd__scheme_value(e, s, n->kid[2]);
  if (ok && b->kind != V_POISON && !alike(a, b)) { kd__err(e, KD_D_ARMS, n->kid[2]->span, kd__v_show(e, kd__force_app(a)), kd__v_show(e, kd__force_app(b))); ok = false; }
  ok = ok && leave(e, &w, b);
  branch_end(e, &k, n);
  warn_two(e, first, second);
  w.next = 0;
  return ok ? fetch(e, &w, a) : &kd__poison;
}

val *kd__scheme_value(elab *e, scope *s, const kd_ast *n) {
  if (n && n->kind == KD_AST_EVALUATE && e->prog && e->prog->segment) return kd__evaluate_value(e, s, n);
  if (!n || n->kind != KD_AST_IF_EXPR || !e->prog || !e->prog->segment) return kd__eval(e, s, n);
  val *c = kd__force_app(kd__eval(e, s, n->kid[0]));
  if (c->kind == V_TENSOR) {
    tensor *t = kd__want_tensor(e, c, n->kid[0]);
    return t ? run_time_choice(e, s, n, t) : &kd__poison;
  }
  bool b;
  return kd__want_bool(e, c, n->kid[0], "the condition", &b) ? kd__scheme_value(e, s, n->kid[b ? 1 : 2]) : &kd__poison;
}
