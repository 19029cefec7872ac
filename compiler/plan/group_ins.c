/* group_ins.c: the nodes of a group as instructions, sorted by phase; what is stored stands at the end of its phase. */
#include "compiler/plan/lower_group.h"
#include <assert.h>

typedef struct writer {
  kd__pl_lowering *l;
  const kd_group *g;
  KD_VEC(kd_group_ins) ins;
  KD_VEC(uint32_t) phase;
  uint32_t *of;                                  /* by entry: 1 + its instruction */
  uint32_t origin;
} writer;

/* An indexed axis whose positions are compared with an index. */
static int picked_axis(const kd_node *n) { return (int)n->attr[0].u.i; }
static bool picks(const kd__pl_lowering *l, const kd__intake *in) {
  const kd_node *n = &l->body->node.v[in->node];
  if (n->op == KD_OP_SCATTER_ADD || n->op == KD_OP_SCATTER_SET) return true;
  return n->op == KD_OP_GATHER && l->s.entry.v[in->in[0]].kind != KD__ENTRY_GATHERED;
}
static const kd__place *picked_place(const kd__pl_lowering *l, const kd__intake *in) {
  bool gather = l->body->node.v[in->node].op == KD_OP_GATHER;
  return &l->s.entry.v[gather ? in->in[0] : in->out].place;
}

void kd__pl_find_apart(kd__pl_lowering *l) {
  for (size_t i = 0; i < l->s.entry.n; i++)
    if (l->s.entry.v[i].kind == KD__ENTRY_IOTA) l->apart |= l->s.entry.v[i].place.changes;
  for (size_t i = 0; i < l->s.intake.n; i++) {
    const kd__intake *in = &l->s.intake.v[i];
    if (picks(l, in)) l->apart |= kd__space_axis(picked_place(l, in), picked_axis(&l->body->node.v[in->node]));
  }
}

static uint32_t mask(const writer *w, uint64_t atoms) {
  uint32_t m = 0;
  for (; atoms; atoms &= atoms - 1) m |= 1u << w->l->axis_of[__builtin_ctzll(atoms)];
  return m;
}

static bool same(const kd_group_ins *a, const kd_group_ins *b) {
  return a->kind == b->kind && a->dtype == b->dtype && a->op == b->op && memcmp(a->in, b->in, sizeof a->in) == 0 && a->operand == b->operand && a->axes == b->axes &&
         a->over == b->over && memcmp(&a->value, &b->value, sizeof a->value) == 0 && a->limit == b->limit && a->step == b->step;
}

/* Fills in the domain and the phase; an equal instruction is found again. */
static uint32_t put(writer *w, kd_group_ins v) {
  uint32_t phase = 0, n = kd__group_operands(&v), domain = 0;
  v.origin = w->origin;
  for (uint32_t k = 0; k < n; k++) {
    domain |= w->ins.v[v.in[k]].axes;
    if (w->phase.v[v.in[k]] > phase) phase = w->phase.v[v.in[k]];
  }
  if (v.kind == KD_GROUP_ELEM || v.kind == KD_GROUP_CHECK || v.kind == KD_GROUP_SPREAD) v.axes = domain;
  if (v.kind == KD_GROUP_REDUCE) v.axes = domain & ~v.over, phase += (v.over & w->g->outer) == 0;
  for (size_t i = 0; i < w->ins.n && v.kind != KD_GROUP_REDUCE && v.kind != KD_GROUP_SPREAD; i++)
    if (same(&w->ins.v[i], &v)) return (uint32_t)i;
  KD_PUSH(w->l->p->group, w->ins, v);
  KD_PUSH(w->l->p->group, w->phase, phase);
  return (uint32_t)w->ins.n - 1;
}

static uint32_t elem(writer *w, kd_op op, kd_dtype t, uint32_t a, uint32_t b, uint32_t c) {
  if ((op == KD_OP_EQ || op == KD_OP_NE) && a > b) { uint32_t d = a; a = b, b = d; }         /* so that an equal one is found */
  return put(w, (kd_group_ins){ .kind = KD_GROUP_ELEM, .op = (uint16_t)op, .dtype = (uint8_t)t, .in = { a, b, c } });
}

static uint32_t number(writer *w, double v, kd_dtype t) { return put(w, (kd_group_ins){ .kind = KD_GROUP_CONST, .dtype = (uint8_t)t, .value = v }); }

/* The position along an axis of a place: its atoms are the digits. */
static uint32_t position(writer *w, const kd__place *p, int axis, kd_dtype t) {
  uint32_t sum = UINT32_MAX;
  for (int i = axis ? p->end[axis - 1] : 0; i < p->end[axis]; i++) {
    uint32_t digit = put(w, (kd_group_ins){ .kind = KD_GROUP_IOTA, .dtype = (uint8_t)t, .axes = mask(w, 1ull << p->atom[i]), .over = mask(w, 1ull << p->atom[i]) });
    if (sum == UINT32_MAX) { sum = digit; continue; }
    uint32_t base = number(w, (double)w->l->s.size[p->atom[i]], t);
    sum = elem(w, KD_OP_ADD, t, elem(w, KD_OP_MUL, t, sum, base, 0), digit, 0);
  }
  return sum == UINT32_MAX ? number(w, 0, t) : sum;
}

static kd_dtype type_of(const writer *w, kd_value v) { return (kd_dtype)kd__type_of(w->l->body, v)->dtype; }

/* The instruction of operand k of a node. */
static uint32_t operand(writer *w, const kd__intake *in, uint32_t k) {
  const kd_node *n = &w->l->body->node.v[in->node];
  if (in->in[k] == KD__ENTRY_CONST) {
    const kd_node *c = kd__node_of(w->l->body, kd__fuse_root(w->l->body, n->in[k]));
    return number(w, c->attr[0].u.f, type_of(w, n->in[k]));
  }
  uint32_t r = kd__entry_root(&w->l->s, in->in[k]);
  const kd__entry *e = &w->l->s.entry.v[r];
  if (w->of[r]) return w->of[r] - 1;
  uint32_t made;
  if (e->kind == KD__ENTRY_IOTA) {
    made = position(w, &e->place, (int)kd__attr(kd__node_of(w->l->body, e->v), "axis")->u.i, type_of(w, e->v));
  } else {
    assert(e->kind == KD__ENTRY_OUTSIDE);
    made = put(w, (kd_group_ins){ .kind = KD_GROUP_LOAD, .dtype = (uint8_t)type_of(w, e->v), .operand = w->l->input_of[r], .axes = mask(w, e->place.changes) });
  }
  w->of[r] = made + 1;
  return made;
}

static void write_moments(writer *w, const kd__intake *in) {
  const kd__entry *e = &w->l->s.entry.v[in->out];
  kd_dtype t = type_of(w, e->v);
  uint32_t mean = put(w, (kd_group_ins){ .kind = KD_GROUP_REDUCE, .op = KD_OP_MOMENTS, .dtype = (uint8_t)t, .in = { operand(w, in, 0) }, .over = mask(w, e->over) });
  w->of[in->out] = mean + 1;
  w->of[in->out + 1] = put(w, (kd_group_ins){ .kind = KD_GROUP_SPREAD, .dtype = (uint8_t)t, .in = { mean } }) + 1;
}

static uint32_t write_gather(writer *w, const kd__intake *in, const kd_node *n) {
  const kd__pl_lowering *l = w->l;
  const kd__pl_input *x = &l->input.v[l->input_of[in->in[0]]];
  int axis = picked_axis(n);
  kd_group_ins v = { .kind = KD_GROUP_GATHER, .dtype = (uint8_t)type_of(w, n->out), .in = { operand(w, in, 1) }, .operand = l->input_of[in->in[0]] };
  v.axes = mask(w, l->s.entry.v[in->out].place.changes);
  v.limit = kd__type_of(l->body, n->in[0])->dim[axis], v.step = l->p->view.v[x->view].stride[axis];
  return put(w, v);
}

/* One position of an axis is what an index says: compared with each position, so that what lies in between need not be stored. */
static uint32_t write_pick(writer *w, const kd__intake *in, const kd_node *n) {
  const kd__place *place = picked_place(w->l, in);
  kd_dtype t = type_of(w, n->out);
  int axis = picked_axis(n);
  bool gather = n->op == KD_OP_GATHER, skip = !gather && n->attr[1].u.i;
  uint32_t index = operand(w, in, 1), look = index;
  if (skip) look = elem(w, KD_OP_WHERE, KD_I64, elem(w, KD_OP_EQ, KD_BOOL, index, number(w, -1, KD_I64), 0), number(w, 0, KD_I64), index);
  put(w, (kd_group_ins){ .kind = KD_GROUP_CHECK, .dtype = KD_I64, .in = { look }, .limit = kd__type_of(w->l->body, n->in[0])->dim[axis] });
  uint32_t here = elem(w, KD_OP_EQ, KD_BOOL, position(w, place, axis, KD_I64), index, 0), zero = number(w, 0, t);
  if (gather) {
    uint64_t over = w->l->s.entry.v[in->out].over;
    uint32_t x = elem(w, KD_OP_WHERE, t, here, operand(w, in, 0), zero);
    return over ? put(w, (kd_group_ins){ .kind = KD_GROUP_REDUCE, .op = KD_OP_SUM, .dtype = (uint8_t)t, .in = { x }, .over = mask(w, over) }) : x;
  }
  uint32_t base = operand(w, in, 0), v = operand(w, in, 2);
  if (n->op == KD_OP_SCATTER_SET) return elem(w, KD_OP_WHERE, t, here, v, base);
  uint32_t added = elem(w, KD_OP_WHERE, t, here, v, zero);
  return base == zero ? added : elem(w, KD_OP_ADD, t, base, added, 0);
}

static void write_node(writer *w, const kd__intake *in) {
  const kd_node *n = &w->l->body->node.v[in->node];
  const kd__entry *e = &w->l->s.entry.v[in->out];
  kd_dtype t = type_of(w, n->out);
  w->origin = n->origin;
  if (n->op == KD_OP_MOMENTS) { write_moments(w, in); return; }
  uint32_t made;
  if (picks(w->l, in)) {
    made = write_pick(w, in, n);
  } else if (n->op == KD_OP_GATHER) {
    made = write_gather(w, in, n);
  } else if (e->over) {
    made = put(w, (kd_group_ins){ .kind = KD_GROUP_REDUCE, .op = n->op, .dtype = (uint8_t)t, .in = { operand(w, in, 0) }, .over = mask(w, e->over) });
  } else {
    uint32_t a[3] = { 0 };
    for (uint32_t k = 0; k < n->nin; k++) a[k] = operand(w, in, k);
    made = elem(w, (kd_op)n->op, t, a[0], a[1], a[2]);
  }
  w->of[in->out] = made + 1;
}

static void write_stores(writer *w) {
  kd__pl_lowering *l = w->l;
  for (uint32_t k = 0; k < l->n_out; k++) {
    const kd__entry *e = &l->s.entry.v[l->result[k]];
    kd_group_ins v = { .kind = KD_GROUP_STORE, .dtype = (uint8_t)type_of(w, e->v), .in = { w->of[l->result[k]] - 1 }, .operand = k };
    v.axes = mask(w, kd__pl_place_atoms(&e->place));
    put(w, v);
  }
}

void kd__pl_instructions(kd__pl_lowering *l, kd_group *g) {
  writer w = { .l = l, .g = g, .of = KD_NEWN(l->p->group, uint32_t, l->s.entry.n) };
  for (size_t i = 0; i < l->s.intake.n; i++) write_node(&w, &l->s.intake.v[i]);
  write_stores(&w);
  kd_group_ins *ins = KD_NEWN(l->p->out, kd_group_ins, w.ins.n);
  uint32_t *to = KD_NEWN(l->p->group, uint32_t, w.ins.n), last = 0, n = 0;
  for (size_t i = 0; i < w.phase.n; i++)
    if (w.phase.v[i] > last) last = w.phase.v[i];
  for (uint32_t phase = 0; phase <= last; phase++)
    for (size_t i = 0; i < w.ins.n; i++) {
      if (w.phase.v[i] != phase) continue;
      ins[n] = w.ins.v[i];
      for (uint32_t k = 0; k < kd__group_operands(&ins[n]); k++) ins[n].in[k] = to[ins[n].in[k]];
      to[i] = n++;
    }
  g->ins = ins, g->nins = n;
}
