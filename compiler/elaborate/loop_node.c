/* loop_node.c: a loop as one node of the graph.
 *
 * The body is elaborated once, in the program as it is, with *open* values in place of the carries and the turn's number. What depends on those is then
 * cut out as the node's body; what does not is read from outside, so that it is computed once. Where one body does not do for all turns (it owns
 * something in each, changes a state, decides by the turn's number what it is made of) the trial fails and leaves no more than dead nodes. */
#include "compiler/elaborate/loop.h"

static const int64_t open_slots = (int64_t)1 << 40;                    /* no program has so many: open values are inputs that nothing reads in the end */
enum { ROUNDS = 4 };

typedef struct stack { const char *name; tensor *now, *last; } stack;  /* what a turn yields, or collects under a name; last: of an `until` */
typedef struct trying {
  elab *e;
  scope *s, *in;
  loop *l;
  uint32_t first;                                /* nodes from here on may be open */
  KD_VEC(cell) cell;
  tensor *number;                                /* of the turn, open */
  tensor *done, *done_next;
  val *yield;
  KD_VEC(stack) stack;
  kd_value made;                                 /* the node */
} trying;

static tensor *open_value(elab *e, kd_dtype t, const axis *ax, int rank, const kd_ast *at) {
  kd_type type = { .dtype = (uint8_t)t, .rank = (uint8_t)rank };
  for (int i = 0; i < rank; i++) type.dim[i] = ax[i].size;
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, kd__b_input(&b, open_slots + e->opened++, &type), ax, rank, at);
}

/* --- trials ---------------------------------------------------------------------------------------------------------------------- */
bool kd__trial_owns(elab *e) {
  if (!e->tryout || (e->applied && e->applied->serial <= e->tryout->places)) return false;
  return e->tryout->failed = true;
}

bool kd__trial_changes(elab *e) {
  if (!e->tryout || e->metric_finish || e->trial != e->tryout->trial) return false;               /* what never commits may be */
  return e->tryout->failed = true;
}

static void forget_places(place *p, uint32_t since) {
  size_t n = 0;
  for (size_t i = 0; i < p->kid.n; i++) {
    if (p->kid.v[i]->loose && p->kid.v[i]->serial > since) continue;
    p->kid.v[n++] = p->kid.v[i];
    forget_places(p->kid.v[i], since);
  }
  p->kid.n = n;
}

/* --- the open turn ----------------------------------------------------------------------------------------------------------------- */
static void begin_cells(trying *t) {
  elab *e = t->e;
  for (size_t i = 0; i < t->l->carry.n; i++) {
    leaves all = { 0 };
    kd__leaves(e, t->l->carry.v[i]->v, &all);
    for (size_t k = 0; k < all.v.n; k++) {
      val *v = all.v.v[k];
      const tensor *x = v->kind == V_TENSOR ? v->u.t : NULL;
      KD_PUSH(e->a, t->cell, (cell){ v, x ? open_value(e, x->dtype, x->ax, x->rank, t->l->n) : NULL, NULL });
    }
  }
}

/* Binds the carries to their open values, runs the body, and takes what it made of them. */
static bool run_open(trying *t, val **end) {
  elab *e = t->e;
  loop *l = t->l;
  size_t at = 0, n = l->carry.n;
  binding *was = KD_NEWN(e->a, binding, n + 1);
  val **part = KD_NEWN(e->a, val *, t->cell.n + 1);
  for (size_t k = 0; k < t->cell.n; k++) part[k] = t->cell.v[k].open ? kd__v_tensor(e, t->cell.v[k].open) : t->cell.v[k].start;
  for (size_t i = 0; i < n; i++) {
    was[i] = *l->carry.v[i];
    l->carry.v[i]->v = kd__with_leaves(e, was[i].v, part, &at);
  }
  loop_turn here = { e->loop_turn, t->number->v };
  yielded y = { 0 }, *outer = e->yielded;
  t->in = kd__scope_new(e, t->s, NULL);
  t->in->loop = true;
  e->loop_turn = &here, e->yielded = l->value ? &y : NULL;
  if (l->name) {
    kd_build b = kd__b(e, l->n);
    kd_value v = l->from ? kd__b_op2(&b, KD_OP_ADD, t->number->v, kd__b_const(&b, (double)l->from, KD_I64, NULL, 0)) : t->number->v;
    kd__scope_bind(e, t->in, l->name->text, kd__v_tensor(e, kd__t_wrap(e, v, NULL, 0, l->name)), l->name)->used = true;
  }
  kd__exec_block(e, t->in, l->body);
  bool good = !e->returned && !e->refused && !e->tryout->failed && e->sink->errors == 0;
  tensor *c = NULL;
  if (good && l->until) good = kd__until(e, t->in, l, &c);
  e->loop_turn = here.up, e->yielded = outer;
  e->returned = e->refused = false;
  for (size_t i = 0; i < n; i++) {
    end[i] = l->carry.v[i]->v;
    *l->carry.v[i] = was[i];
  }
  t->yield = y.v;
  t->done_next = c;
  return good && (!l->value || y.n == 1);
}

static bool stays(const val *a, const val *b) {
  if (a == b) return true;
  if (a->kind != b->kind) return false;
  return (a->kind == V_INT && a->u.i == b->u.i) || (a->kind == V_REAL && a->u.r == b->u.r) || (a->kind == V_BOOL && a->u.b == b->u.b) ||
         a->kind == V_NONE || (a->kind == V_STRING && strcmp(a->u.s, b->u.s) == 0);
}
static bool number(const val *v) { return kd__is_num(v) || v->kind == V_BOOL; }

/* A number that a turn changes becomes a tensor of the axes that it ends with. False: it cannot. */
static bool open_number(trying *t, cell *c, val *end) {
  if (!number(c->start) || (!number(end) && end->kind != V_TENSOR)) return false;
  if (!t->l->value && number(end) && t->l->times <= kd__few_turns(t->e)) return false;           /* stays a number known now, in each turn another */
  const tensor *x = end->kind == V_TENSOR ? end->u.t : NULL;
  kd_dtype own = c->start->kind == V_BOOL ? KD_BOOL : c->start->kind == V_INT ? KD_I64 : t->e->opt->real;
  kd_dtype now = x ? x->dtype : end->kind == V_BOOL ? KD_BOOL : end->kind == V_INT ? KD_I64 : t->e->opt->real;
  if ((own == KD_BOOL) != (now == KD_BOOL)) return false;
  kd_dtype type = kd__dtype_real(own) ? own : now;
  c->open = open_value(t->e, type, x ? x->ax : NULL, x ? x->rank : 0, t->l->n);
  c->start = kd__v_tensor(t->e, kd__t_const(t->e, c->start->kind == V_BOOL ? c->start->u.b : kd__num(c->start), type, c->open->ax, c->open->rank, t->l->n));
  return true;
}

/* Which places are valid may not change from turn to turn: what is carried or stacked says that once. */
static bool masked_here(const trying *t, const tensor *x) {
  const kd_graph *g = t->e->prog->g;
  for (int i = 0; i < x->rank; i++)
    if (x->ax[i].mask && g->def.v[x->ax[i].mask->v] >= t->first) return true;
  return false;
}

/* What the turn ends with, leaf by leaf. *again: some number had to be opened. False: this is no carry. */
static bool end_cells(trying *t, val **end, bool *again) {
  elab *e = t->e;
  size_t at = 0;
  *again = false;
  for (size_t i = 0; i < t->l->carry.n; i++) {
    leaves all = { 0 };
    if (!kd__same_parts(t->l->carry.v[i]->v, end[i])) return false;
    kd__leaves(e, end[i], &all);
    for (size_t k = 0; k < all.v.n; k++) {
      cell *c = &t->cell.v[at++];
      if (!c->open && stays(c->start, all.v.v[k])) continue;
      if (!c->open) {
        if (!open_number(t, c, all.v.v[k])) return false;
        *again = true;
        continue;
      }
      tensor *x = kd__want_tensor(e, all.v.v[k], t->l->n);
      c->next = x && !masked_here(t, x) ? kd__carried(e, c->open, x, t->l->n) : NULL;
      if (!c->next) return false;
    }
  }
  return true;
}

/* --- what it stacks ------------------------------------------------------------------------------------------------------------------ */
static bool add_stack(trying *t, const char *name, tensor *x) {
  if (!x || masked_here(t, x) || kd__t_find(x, t->l->ax.label) >= 0 || x->rank == KD_MAX_RANK) return false;
  KD_PUSH(t->e->a, t->stack, (stack){ name, x, NULL });
  return true;
}

/* The loop's own value, or of a statement the tensors that its turns bind to new names. */
static bool find_stacks(trying *t) {
  elab *e = t->e;
  leaves all = { 0 };
  if (t->l->value) kd__leaves(e, t->yield, &all);
  for (size_t i = 0; i < all.v.n; i++)
    if ((all.v.v[i]->kind != V_TENSOR && !number(all.v.v[i])) || !add_stack(t, NULL, kd__want_tensor(e, all.v.v[i], t->l->n))) return false;
  for (size_t i = 0; !t->l->value && i < t->in->b.n; i++) {
    binding *b = t->in->b.v[i];
    if (b->kind != B_VALUE || !b->v || (t->l->name && strcmp(b->name, t->l->name->text) == 0)) continue;
    val *v = kd__force_app(b->v);
    if (v->kind == V_TENSOR) (void)add_stack(t, b->name, v->u.t);
  }
  return true;
}

/* --- until: from the turn on after which it held, nothing changes --------------------------------------------------------------------- */
static tensor *hold(trying *t, tensor *old, tensor *now) {
  kd_build b = kd__b(t->e, t->l->until);
  const kd_type type = *kd__type_of(t->e->prog->g, now->v);
  kd_value c = kd__b_broadcast(&b, t->done->v, type.dim, type.rank, NULL);
  return kd__t_wrap(t->e, kd__b_where(&b, c, old->v, now->v), now->ax, now->rank, t->l->until);
}

static void hold_all(trying *t) {
  elab *e = t->e;
  kd_build b = kd__b(e, t->l->until);
  t->done = open_value(e, KD_BOOL, NULL, 0, t->l->until);
  for (size_t k = 0; k < t->cell.n; k++)
    if (t->cell.v[k].open) t->cell.v[k].next = hold(t, t->cell.v[k].open, t->cell.v[k].next);
  for (size_t k = 0; k < t->stack.n; k++) {
    stack *s = &t->stack.v[k];
    s->last = open_value(e, s->now->dtype, s->now->ax, s->now->rank, t->l->until);
    s->now = hold(t, s->last, s->now);
    tensor *zero = kd__t_const(e, 0, s->now->dtype, s->now->ax, s->now->rank, t->l->until);
    KD_PUSH(e->a, t->cell, (cell){ kd__v_tensor(e, zero), s->last, s->now });
  }
  kd_value next = kd__b_op2(&b, KD_OP_OR, t->done->v, t->done_next ? t->done_next->v : t->done->v);
  tensor *no = kd__t_const(e, 0, KD_BOOL, NULL, 0, t->l->until);
  KD_PUSH(e->a, t->cell, (cell){ kd__v_tensor(e, no), t->done, kd__t_wrap(e, next, NULL, 0, t->l->until) });
}

/* --- cutting the body out --------------------------------------------------------------------------------------------------------------- */
typedef struct cut {
  trying *t;
  kd_graph *g;
  kd_build b;                                    /* the body */
  KD_VEC(kd_value) in; KD_VEC(kd_type) type;     /* the node's operands; types of the carries */
  bool *open, *need;                             /* by node, from `first` on */
  kd_value *map; KD_VEC(kd_value) mapped;        /* by value: in the body; 0: not there yet. The array is used again by the next loop */
} cut;

static kd_value put(cut *c, kd_value v, kd_value to) {
  KD_PUSH(c->t->e->a, c->mapped, v);
  return c->map[v] = to;
}

static bool is_open(const cut *c, kd_value v) { return c->g->def.v[v] >= c->t->first && c->open[c->g->def.v[v] - c->t->first]; }

static void find_open(cut *c) {
  size_t n = c->g->node.n - c->t->first;
  c->open = KD_NEWN(c->t->e->a, bool, n + 1);
  c->need = KD_NEWN(c->t->e->a, bool, n + 1);
  while (c->t->e->mapping.n < c->g->type.n) KD_PUSH(c->t->e->a, c->t->e->mapping, 0);
  c->map = c->t->e->mapping.v;
  c->open[c->g->def.v[c->t->number->v] - c->t->first] = true;
  for (size_t k = 0; k < c->t->cell.n; k++)
    if (c->t->cell.v[k].open) c->open[c->g->def.v[c->t->cell.v[k].open->v] - c->t->first] = true;
  for (size_t i = 0; i < n; i++) {
    const kd_node *node = &c->g->node.v[c->t->first + i];
    for (uint32_t k = 0; k < node->nin && !c->open[i]; k++) c->open[i] = is_open(c, node->in[k]);
  }
}

static void need(cut *c, kd_value v) {
  if (is_open(c, v)) c->need[c->g->def.v[v] - c->t->first] = true;
}

/* A value of the outer graph in the body: made there, a number again, or a slot that reads it. */
static kd_value inside(cut *c, kd_value v) {
  if (c->map[v]) return c->map[v];
  const kd_node *n = kd__node_of(c->g, v);
  if (n->op == KD_OP_CONST || n->op == KD_OP_IOTA) return put(c, v, kd__graph_add(c->b.g, (kd_op)n->op, NULL, 0, n->attr, n->origin, NULL));
  kd_type type = *kd__type_of(c->g, v);
  KD_PUSH(c->t->e->a, c->in, v);
  return put(c, v, kd__b_input(&c->b, (int64_t)c->in.n, &type));
}

static void copy_open(cut *c) {
  KD_VEC(kd_value) in = { 0 };
  size_t n = c->g->node.n - c->t->first;
  for (size_t k = 0; k < c->t->cell.n; k++) if (c->t->cell.v[k].open) need(c, c->t->cell.v[k].next->v);
  for (size_t k = 0; k < c->t->stack.n; k++) need(c, c->t->stack.v[k].now->v);
  for (size_t i = n; i-- > 0;)
    for (uint32_t k = 0; k < c->g->node.v[c->t->first + i].nin && c->need[i]; k++) need(c, c->g->node.v[c->t->first + i].in[k]);
  for (size_t i = 0; i < n; i++) {
    const kd_node *node = &c->g->node.v[c->t->first + i];
    if (!c->need[i] || c->map[node->out]) continue;
    in.n = 0;
    for (uint32_t k = 0; k < node->nin; k++) KD_PUSH(c->t->e->a, in, inside(c, node->in[k]));
    kd_value v = kd__graph_add(c->b.g, (kd_op)node->op, in.v, node->nin, node->attr, node->origin, NULL);
    for (uint32_t k = 0; k < node->nout; k++) (void)put(c, node->out + k, v + k);
  }
}

static void make_node(trying *t) {
  elab *e = t->e;
  kd_origin from = kd__origin(e, t->l->n->span);
  cut c = { .t = t, .g = e->prog->g, .b = { kd__graph_new(e->a), from } };
  kd_type i64 = { .dtype = KD_I64 };
  find_open(&c);
  (void)put(&c, t->number->v, kd__b_input(&c.b, 0, &i64));
  for (size_t k = 0; k < t->cell.n; k++) {
    const cell *x = &t->cell.v[k];
    if (!x->open) continue;
    kd_type type = *kd__type_of(c.g, x->open->v);
    KD_PUSH(e->a, c.in, x->start->u.t->v);
    KD_PUSH(e->a, c.type, type);
    (void)put(&c, x->open->v, kd__b_input(&c.b, (int64_t)c.in.n, &type));
  }
  int64_t carries = (int64_t)c.in.n, slot = 0;
  copy_open(&c);
  for (size_t k = 0; k < t->cell.n; k++)
    if (t->cell.v[k].open) kd__graph_write(c.b.g, ++slot, inside(&c, t->cell.v[k].next->v), from);
  for (size_t k = 0; k < t->stack.n; k++) kd__graph_result(c.b.g, t->stack.v[k].name ? t->stack.v[k].name : "yield", inside(&c, t->stack.v[k].now->v));
  kd__body_save(c.b.g, carries, c.type.v);
  kd_build b = { c.g, from };
  for (size_t i = 0; i < c.mapped.n; i++) c.map[c.mapped.v[i]] = 0;
  t->made = kd__b_loop(&b, c.b.g, t->l->times, carries, c.in.v, (uint32_t)c.in.n);
}

/* --- what it leaves ---------------------------------------------------------------------------------------------------------------------- */
static tensor *stacked(trying *t, kd_value v, const tensor *row) {
  axis ax[KD_MAX_RANK];
  ax[0] = t->l->ax;
  if (row->rank) memcpy(ax + 1, row->ax, sizeof(axis) * row->rank);
  return kd__t_wrap(t->e, v, ax, row->rank + 1, t->l->n);
}

static void leave(trying *t, val **out) {
  elab *e = t->e;
  size_t at = 0;
  kd_value v = t->made;
  val **part = KD_NEWN(e->a, val *, t->cell.n + t->stack.n + 1);
  for (size_t k = 0; k < t->cell.n; k++) {
    const cell *c = &t->cell.v[k];
    part[k] = c->open ? kd__v_tensor(e, kd__t_wrap(e, v++, c->open->ax, c->open->rank, t->l->n)) : c->start;
  }
  for (size_t i = 0; i < t->l->carry.n; i++) t->l->carry.v[i]->v = kd__with_leaves(e, t->l->carry.v[i]->v, part, &at);
  at = 0;
  for (size_t k = 0; k < t->stack.n; k++) {
    const stack *s = &t->stack.v[k];
    part[k] = kd__v_tensor(e, stacked(t, v++, s->now));
    binding *o = s->name ? kd__scope_here(t->s, s->name) : NULL;
    if (!s->name || (o && o->kind != B_LIST && o->kind != B_STACK)) continue;
    o = kd__scope_bind(e, t->s, s->name, part[k], t->l->n);
    o->kind = B_STACK, o->used = true;
  }
  if (t->l->value) *out = kd__with_leaves(e, t->yield, part, &at);
}

val *kd__unstack(elab *e, binding *b, const kd_ast *at) {
  tensor *x = b->v->u.t;
  val **v = KD_NEWN(e->a, val *, x->ax[0].size);
  for (int64_t i = 0; i < x->ax[0].size; i++) v[i] = kd__v_tensor(e, kd__t_slice(e, x, 0, i, i + 1, true, at));
  b->kind = B_LIST;
  return b->v = kd__v_list(e, v, (uint32_t)x->ax[0].size);
}

/* Numbers that the turns change are tensors in a loop written out too: the same arithmetic. */
static void leave_starts(trying *t) {
  size_t at = 0;
  val **part = KD_NEWN(t->e->a, val *, t->cell.n + 1);
  for (size_t k = 0; k < t->cell.n; k++) part[k] = t->cell.v[k].start;
  for (size_t i = 0; t->l->value && i < t->l->carry.n; i++) t->l->carry.v[i]->v = kd__with_leaves(t->e, t->l->carry.v[i]->v, part, &at);
}

static bool try_body(trying *t) {
  val **end = KD_NEWN(t->e->a, val *, t->l->carry.n + 1);
  bool again = true;
  t->first = (uint32_t)t->e->prog->g->node.n;
  t->number = open_value(t->e, KD_I64, NULL, 0, t->l->n);
  begin_cells(t);
  for (int i = 0; i < ROUNDS && again; i++)
    if (!run_open(t, end) || !end_cells(t, end, &again)) return false;
  return !again && find_stacks(t) && t->e->sink->errors == 0;
}

bool kd__loop_node(elab *e, scope *s, loop *l, bool make, val **out, kd_sink *why) {
  trying t = { .e = e, .s = s, .l = l };
  tryout here = { .up = e->tryout, .places = e->places, .trial = e->trial, .rough = !make || (e->tryout && e->tryout->rough) };
  kd_sink *told = e->sink;
  place *applied = e->applied;
  e->tryout = &here, e->sink = why, e->applied = NULL;
  bool good = try_body(&t);
  if (good && make) {
    if (l->until) hold_all(&t);
    make_node(&t);
  }
  e->tryout = here.up, e->sink = told, e->applied = applied;
  if (!good) { forget_places(e->top, here.places); return false; }
  if (!make) { leave_starts(&t); return true; }
  leave(&t, out);
  for (size_t i = 0; i < why->diag.n; i++) KD_PUSH(told->arena, told->diag, why->diag.v[i]);            /* warnings and notes */
  told->warnings += why->warnings;
  return true;
}
