/* loops.c: requires gradients (bodies go through all passes but `fuse`, which comes to them itself, and the stacks from which gradients start go where nobody asks for them); breaks
 * gradients. A loop keeps of its carries and stacks what somebody needs, of its operands what the body then still reads. A carry that never
 * changes is read from outside, a constant moves into the body. */
#include "compiler/pass/pass.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_loops(kd_graph *g);

enum { BODY, TIMES, CARRIES };                   /* attributes */

/* What stays of one loop; of a node that is none, NULL. */
typedef struct kept {
  bool *slot;                                    /* by slot of the body: it is read, or carried */
  bool *result;                                  /* by result of the loop */
  kd_value *write;                               /* by carry: what the body makes of it; 0: it never changes */
} kept;

typedef struct pruner { kd_graph *old, *g; kd__arena *a; bool *used; kept **loop; kd_value *to; bool passes; } pruner;

/* --- what is needed ------------------------------------------------------------------------------------------------------------- */

static kd_value *writes_of(kd__arena *a, const kd_node *n) {
  const kd_graph *body = n->attr[BODY].u.graph;
  kd_value *write = KD_NEWN(a, kd_value, (size_t)n->attr[CARRIES].u.i + 1);
  for (size_t i = 0; i < body->write.n; i++) {
    const kd_node *made = kd__node_of(body, body->write.v[i].value);
    bool same = made->op == KD_OP_INPUT && made->attr[0].u.i == body->write.v[i].slot;
    write[body->write.v[i].slot - 1] = same ? 0 : body->write.v[i].value;
  }
  return write;
}

/* Marks the slots that the wanted results and carries need; true when that is more than before. */
static bool mark_slots(const kd_node *n, kept *k, bool *live) {
  const kd_graph *body = n->attr[BODY].u.graph;
  int64_t c = n->attr[CARRIES].u.i;
  bool more = false;
  memset(live, 0, body->node.n);
  for (int64_t j = 0; j < c; j++)
    if (k->slot[j + 1] && k->write[j]) live[body->def.v[k->write[j]]] = true;
  for (size_t i = 0; i < body->result.n; i++)
    if (k->result[c + (int64_t)i]) live[body->def.v[body->result.v[i].value]] = true;
  for (size_t i = body->node.n; i-- > 1;) {
    const kd_node *m = &body->node.v[i];
    if (!live[i]) continue;
    for (uint32_t o = 0; o < m->nin; o++) live[body->def.v[m->in[o]]] = true;
    if (m->op != KD_OP_INPUT || k->slot[m->attr[0].u.i]) continue;
    k->slot[m->attr[0].u.i] = more = true;
  }
  return more;
}

static kept *keep(pruner *p, const kd_node *n) {
  const kd_graph *body = n->attr[BODY].u.graph;
  kept *k = KD_NEW(p->a, kept);
  k->slot = KD_NEWN(p->a, bool, n->nin + 1);
  k->result = KD_NEWN(p->a, bool, n->nout + 1u);
  k->write = writes_of(p->a, n);
  bool *live = KD_NEWN(p->a, bool, body->node.n);
  for (uint32_t i = 0; i < n->nout; i++) k->result[i] = p->used[n->out + i];
  for (int64_t j = 0; j < n->attr[CARRIES].u.i; j++) k->slot[j + 1] = k->result[j];
  while (mark_slots(n, k, live)) {}
  return k;
}

static bool any_used(const pruner *p, const kd_node *n) {
  for (uint32_t i = 0; i < n->nout; i++)
    if (p->used[n->out + i]) return true;
  return false;
}

static void find_used(pruner *p) {
  const kd_graph *g = p->old;
  p->used = KD_NEWN(p->a, bool, g->type.n);
  p->loop = KD_NEWN(p->a, kept *, g->node.n);
  for (size_t i = 0; i < g->write.n; i++) p->used[g->write.v[i].value] = true;
  for (size_t i = 0; i < g->result.n; i++) p->used[g->result.v[i].value] = true;
  for (size_t i = g->node.n; i-- > 1;) {
    const kd_node *n = &g->node.v[i];
    if (!any_used(p, n)) continue;
    if (n->op == KD_OP_LOOP) p->loop[i] = keep(p, n);
    for (uint32_t k = 0; k < n->nin; k++)
      if (!p->loop[i] || p->loop[i]->slot[k + 1]) p->used[n->in[k]] = true;
  }
}

/* --- the loop that is left -------------------------------------------------------------------------------------------------------- */

typedef struct shorter {
  kd_build b;                                    /* the new body */
  KD_VEC(kd_value) in;                           /* operands */
  int64_t *slot;                                 /* by old carry: its new slot; 0: it is no carry any more */
  kd_value *map;                                 /* by value of the old body */
  int64_t carries;
} shorter;

static kd_value new_slot(pruner *p, shorter *s, kd_value outer, int64_t first) {
  int64_t slot = 0;
  kd_type t = *kd__type_of(p->g, outer);
  for (size_t i = (size_t)first; i < s->in.n && !slot; i++)
    if (s->in.v[i] == outer) slot = (int64_t)i + 1;
  if (!slot) {
    KD_PUSH(p->a, s->in, outer);
    slot = (int64_t)s->in.n;
  }
  return kd__b_input(&s->b, slot, &t);
}

/* What the body reads from outside: a slot for each value, or the number itself. */
static kd_value outside(pruner *p, shorter *s, kd_value outer) {
  const kd_node *n = kd__node_of(p->g, outer);
  return n->op == KD_OP_CONST ? kd__graph_add(s->b.g, KD_OP_CONST, NULL, 0, n->attr, n->origin, NULL) : new_slot(p, s, outer, s->carries);
}

static void make_slots(pruner *p, shorter *s, const kd_node *n, const kept *k) {
  const kd_graph *body = n->attr[BODY].u.graph;
  int64_t c = n->attr[CARRIES].u.i;
  kd_value *at = KD_NEWN(p->a, kd_value, n->nin + 1);          /* by old slot */
  kd_type turn = { .dtype = KD_I64 };
  if (k->slot[0]) at[0] = kd__b_input(&s->b, 0, &turn);
  for (int64_t j = 0; j < c; j++) {
    if (!k->slot[j + 1] || !k->write[j]) continue;
    at[j + 1] = new_slot(p, s, p->to[n->in[j]], (int64_t)s->in.n);
    s->slot[j] = ++s->carries;
  }
  for (uint32_t i = 0; i < n->nin; i++)
    if (k->slot[i + 1] && !at[i + 1]) at[i + 1] = outside(p, s, p->to[n->in[i]]);
  for (size_t i = 1; i < body->node.n; i++)
    if (body->node.v[i].op == KD_OP_INPUT) s->map[body->node.v[i].out] = at[body->node.v[i].attr[0].u.i];
}

static void copy_body(pruner *p, shorter *s, const kd_node *n, const kept *k) {
  const kd_graph *body = n->attr[BODY].u.graph;
  int64_t c = n->attr[CARRIES].u.i;
  bool *live = KD_NEWN(p->a, bool, body->node.n);
  KD_VEC(kd_value) in = { 0 };
  mark_slots(n, (kept *)(uintptr_t)k, live);
  for (size_t i = 1; i < body->node.n; i++) {
    const kd_node *m = &body->node.v[i];
    if (!live[i] || m->op == KD_OP_INPUT) continue;
    in.n = 0;
    for (uint32_t o = 0; o < m->nin; o++) KD_PUSH(p->a, in, s->map[m->in[o]]);
    kd_value v = kd__graph_add(s->b.g, (kd_op)m->op, in.v, m->nin, m->attr, m->origin, NULL);
    for (uint32_t o = 0; o < m->nout; o++) s->map[m->out + o] = v + o;
  }
  for (size_t i = 0; i < body->write.n; i++) {
    const kd_write *w = &body->write.v[i];
    if (s->slot[w->slot - 1]) kd__graph_write(s->b.g, s->slot[w->slot - 1], s->map[w->value], w->origin);
  }
  for (size_t i = 0; i < body->result.n; i++)
    if (k->result[c + (int64_t)i]) kd__graph_result(s->b.g, body->result.v[i].name, s->map[body->result.v[i].value]);
}

/* No turn: carries as they were, stacks without rows. */
static void no_turns(pruner *p, const kd_node *n, const kept *k) {
  kd_build b = { p->g, n->origin };
  for (uint32_t i = 0; i < n->nout; i++) {
    const kd_type *t = kd__type_of(p->old, n->out + i);
    if (k->result[i]) p->to[n->out + i] = i < n->attr[CARRIES].u.i ? p->to[n->in[i]] : kd__b_const(&b, 0, (kd_dtype)t->dtype, t->dim, t->rank);
  }
}

static void rebuild_loop(pruner *p, const kd_node *n, const kept *k) {
  const kd_graph *body = n->attr[BODY].u.graph;
  int64_t c = n->attr[CARRIES].u.i;
  if (n->attr[TIMES].u.i == 0) { no_turns(p, n, k); return; }
  shorter s = { .b = { kd__graph_new(p->a), n->origin } };
  s.slot = KD_NEWN(p->a, int64_t, (size_t)c + 1);
  s.map = KD_NEWN(p->a, kd_value, body->type.n);
  make_slots(p, &s, n, k);
  copy_body(p, &s, n, k);
  kd_graph *made = p->passes ? kd__pass_until(s.b.g, "fuse", NULL, NULL) : s.b.g;
  kd_build b = { p->g, n->origin };
  kd_value v = made->result.n || s.carries ? kd__b_loop(&b, made, n->attr[TIMES].u.i, s.carries, s.in.v, (uint32_t)s.in.n) : 0;
  for (int64_t j = 0; j < c; j++)
    if (k->slot[j + 1]) p->to[n->out + j] = s.slot[j] ? v + (kd_value)(s.slot[j] - 1) : p->to[n->in[j]];
  kd_value next = v + (kd_value)s.carries;
  for (uint32_t i = (uint32_t)c; i < n->nout; i++)
    if (k->result[i]) p->to[n->out + i] = next++;
}

static kd_graph *prune(kd_graph *g, bool passes) {
  pruner p = { .old = g, .a = g->arena, .passes = passes, .to = KD_NEWN(g->arena, kd_value, g->type.n) };
  KD_VEC(kd_value) in = { 0 };
  find_used(&p);
  p.g = kd__graph_new_sized(g->arena, g->node.n, g->type.n);
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    if (!any_used(&p, n)) continue;
    if (p.loop[i]) { rebuild_loop(&p, n, p.loop[i]); continue; }
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) KD_PUSH(p.a, in, p.to[n->in[k]]);
    kd_value v = kd__graph_add(p.g, (kd_op)n->op, in.v, n->nin, n->attr, n->origin, NULL);
    for (uint32_t k = 0; k < n->nout; k++) p.to[n->out + k] = v + k;
  }
  for (size_t i = 0; i < g->write.n; i++) kd__graph_write(p.g, g->write.v[i].slot, p.to[g->write.v[i].value], g->write.v[i].origin);
  for (size_t i = 0; i < g->result.n; i++) kd__graph_result(p.g, g->result.v[i].name, p.to[g->result.v[i].value]);
  return p.g;
}

kd_graph *kd__pass_loops(kd_graph *g) {
  size_t i = 1;
  while (i < g->node.n && g->node.v[i].op != KD_OP_LOOP) i++;
  return i == g->node.n ? g : prune(prune(g, true), false);            /* after its passes a body may need less */
}
