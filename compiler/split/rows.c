/* rows.c: which values of a program are constant, and which are rows of their samples: a rule for each kind of operator. An operator without one makes
 * something live of everything but constants. */
#include "compiler/split/split.h"

/* What operand k of a node has to do with its result: operand axis d becomes result axis to[d] (-1: none). Where `mixed` says so, places along it
 * depend on one another. */
typedef struct way { int8_t to[KD_MAX_RANK]; uint32_t mixed; } way;
typedef struct call { const kd_graph *g; const kd_node *n; const kd_frozenness *all; const kd_type *type; int64_t batch; } call;

static const kd_frozenness *in(const call *c, uint32_t k) { return &c->all[c->n->in[k]]; }
static const kd_type *from(const call *c, uint32_t k) { return kd__type_of(c->g, c->n->in[k]); }

static kd_frozenness live(void) { return (kd_frozenness){ .is = KD_LIVE }; }

static kd_frozenness same_everywhere(int rank) {
  kd_frozenness f = { .is = KD_CONSTANT };
  for (int d = 0; d < rank; d++) f.period[d] = 1;
  return f;
}

static int64_t gcd(int64_t a, int64_t b) { while (b) { int64_t t = a % b; a = b; b = t; } return a; }

static int64_t joint(int64_t a, int64_t b, int64_t size) {
  if (a >= size || b >= size) return size;
  int64_t both = a / gcd(a, b);
  return both > size / b ? size : both * b;
}

/* Takes one operand into account; false: the result is live. */
static bool meet(kd_frozenness *to, const kd_frozenness *f, const kd_type *type, const kd_type *out, const way *w) {
  if (f->is == KD_LIVE) return false;
  for (int d = 0; f->is == KD_CONSTANT && d < type->rank; d++) {
    int k = w->to[d];
    if (k >= 0) to->period[k] = w->mixed >> d & 1 ? out->dim[k] : joint(to->period[k], f->period[d], out->dim[k]);
  }
  if (f->is == KD_CONSTANT) return true;
  int k = w->to[f->axis];
  if (k < 0 || w->mixed >> f->axis & 1) return false;
  to->turned |= f->turned;
  if (to->is == KD_ROWS) return to->axis == k && to->inner == f->inner;
  to->is = KD_ROWS; to->axis = (uint8_t)k; to->inner = f->inner;
  return true;
}

/* What is constant may differ from place to place, but not from sample to sample. */
static bool sound(const kd_frozenness *f) { return f->is != KD_ROWS || f->inner % f->period[f->axis] == 0; }

static way straight(int rank) {
  way w = { .mixed = 0 };
  for (int d = 0; d < KD_MAX_RANK; d++) w.to[d] = (int8_t)(d < rank ? d : -1);
  return w;
}

static uint32_t axes_of(const kd_node *n) {
  const kd_op_info *op = kd__op_info((kd_op)n->op);
  uint32_t set = 0;
  for (int i = 0; i < op->nattr; i++) {
    if (strcmp(op->attr[i].name, "axis") == 0) set |= 1u << n->attr[i].u.i;
    if (strcmp(op->attr[i].name, "axes") == 0) for (uint32_t k = 0; k < n->attr[i].n; k++) set |= 1u << n->attr[i].u.list[k];
  }
  return set;
}

static way dropped(const call *c) {
  way w = straight(from(c, 0)->rank);
  uint32_t gone = axes_of(c->n);
  for (int d = 0, k = 0; d < from(c, 0)->rank; d++) w.to[d] = (int8_t)(gone >> d & 1 ? -1 : k++);
  return w;
}

static way product(const call *c, uint32_t k) {
  int r = c->type->rank;
  way w = straight(r);
  w.to[k == 0 ? r - 1 : r - 2] = -1;
  return w;
}

/* conv, conv_data, conv_weight: batch and channels are axes 0 and 1. conv_post: what is added at the end, too: a bias to the channels, a map place by place. */
static way window(const call *c, uint32_t k) {
  way w = straight(from(c, k)->rank);
  if (k > 1) { if (from(c, k)->rank == 1) w.to[0] = 1; return w; }
  bool filter = k == 1 && c->n->op != KD_OP_CONV_WEIGHT;
  for (int d = 2; d < from(c, k)->rank; d++) {
    if (filter || c->n->op == KD_OP_CONV_WEIGHT) w.to[d] = -1;
    else w.mixed |= 1u << d;
  }
  if (c->n->op == KD_OP_CONV || c->n->op == KD_OP_CONV_POST) { if (filter) { w.to[0] = 1; w.to[1] = -1; } else w.to[1] = -1; }
  if (c->n->op == KD_OP_CONV_DATA) { if (filter) { w.to[0] = -1; w.mixed |= 2; } else w.to[1] = -1; }
  if (c->n->op == KD_OP_CONV_WEIGHT) { w.to[0] = -1; w.to[1] = (int8_t)(k == 0 ? 1 : 0); w.mixed |= 2; }
  return w;
}

static way pooled(const call *c) {
  way w = straight(from(c, 0)->rank);
  for (int d = 2; d < from(c, 0)->rank; d++) w.mixed |= 1u << d;
  return w;
}

static way gathered(const call *c, uint32_t k) {
  int batch = (int)kd__attr(c->n, "batch")->u.i, index = from(c, 1)->rank - batch;
  way w = straight(from(c, k)->rank);
  for (int d = batch; k == 0 && d < from(c, 0)->rank; d++) w.to[d] = (int8_t)(d == batch ? -1 : d - 1 + index);
  return w;
}

static way scattered(const call *c, uint32_t k) {
  int batch = (int)kd__attr(c->n, "batch")->u.i, index = from(c, 1)->rank - batch;
  way w = straight(from(c, k)->rank);
  if (k == 0) w.mixed |= 1u << batch;
  for (int d = batch; k > 0 && d < from(c, k)->rank; d++) w.to[d] = (int8_t)(k == 1 || d < batch + index ? -1 : d - index + 1);
  return w;
}

static way viewed(const call *c) {
  way w = straight(from(c, 0)->rank);
  const kd_node *n = c->n;
  for (int d = 0; d < from(c, 0)->rank; d++) {
    if (n->op == KD_OP_PERMUTE) w.to[n->attr[0].u.list[d]] = (int8_t)d;
    if (n->op == KD_OP_BROADCAST) w.to[d] = (int8_t)n->attr[1].u.list[d];
    if (n->op == KD_OP_SLICE && !(n->attr[0].u.list[d] == 0 && n->attr[2].u.list[d] == 1 && n->attr[1].u.list[d] == from(c, 0)->dim[d])) w.mixed |= 1u << d;
    if (n->op == KD_OP_PAD && (n->attr[0].u.list[d] || n->attr[1].u.list[d])) w.mixed |= 1u << d;
  }
  return w;
}

/* False: there is no rule. */
static bool way_of(const call *c, uint32_t k, way *w) {
  switch ((kd_op)c->n->op) {
    case KD_OP_MATMUL: *w = product(c, k); return true;
    case KD_OP_CONV: case KD_OP_CONV_DATA: case KD_OP_CONV_WEIGHT: case KD_OP_CONV_POST: *w = window(c, k); return true;
    case KD_OP_MAX_POOL: case KD_OP_SUM_POOL: case KD_OP_SUM_POOL_DATA: *w = pooled(c); return true;
    case KD_OP_PERMUTE: case KD_OP_BROADCAST: case KD_OP_SLICE: case KD_OP_PAD: *w = viewed(c); return true;
    case KD_OP_GATHER: *w = gathered(c, k); return true;
    case KD_OP_SCATTER_ADD: case KD_OP_SCATTER_SET: *w = scattered(c, k); return true;
    default: break;
  }
  kd_op_class cls = kd__op_info((kd_op)c->n->op)->cls;
  if (cls == KD_CLASS_REDUCE) { *w = dropped(c); return true; }
  *w = straight(c->type->rank);
  if (cls == KD_CLASS_NORM || c->n->op == KD_OP_SORT || c->n->op == KD_OP_TOP_K || c->n->op == KD_OP_CONCAT) { w->mixed = axes_of(c->n); return true; }
  return cls == KD_CLASS_ELEM;
}

/* --- reshape: the same places in row-major order ------------------------------------------------------------------------------------------ */
typedef struct piece { int a0, a1, b0, b1; } piece;         /* operand axes a0 .. a1 - 1 become result axes b0 .. b1 - 1 */

static piece next_piece(const kd_type *a, const kd_type *b, int i, int j) {
  piece p = { i, i, j, j };
  int64_t x = 1, y = 1;
  do {
    if (x <= y && p.a1 < a->rank) x *= a->dim[p.a1++];
    else if (p.b1 < b->rank) y *= b->dim[p.b1++];
    else if (p.a1 < a->rank) x *= a->dim[p.a1++];
    else break;
  } while (x != y);
  while (p.a1 < a->rank && a->dim[p.a1] == 1) p.a1++;
  while (p.b1 < b->rank && b->dim[p.b1] == 1) p.b1++;
  return p;
}

static int64_t below(const kd_type *t, int axis, int end) {
  int64_t n = 1;
  for (int d = axis + 1; d < end; d++) n *= t->dim[d];
  return n;
}

static bool rows_reshaped(const call *c, const piece *p, kd_frozenness *to) {
  const kd_frozenness *f = in(c, 0);
  int64_t step = f->inner * below(from(c, 0), f->axis, p->a1);
  for (int b = p->b0; b < p->b1; b++) {
    int64_t q = below(c->type, b, p->b1);
    if (step % q || c->type->dim[b] % (step / q * c->batch)) continue;
    to->is = KD_ROWS; to->axis = (uint8_t)b; to->inner = step / q; to->turned = f->turned;
    return true;
  }
  return false;
}

static void periods_reshaped(const call *c, const piece *p, kd_frozenness *to) {
  const kd_frozenness *f = in(c, 0);
  int j = p->a0;
  while (j < p->a1 && (f->period[j] == 1 || from(c, 0)->dim[j] == 1)) j++;
  int64_t period = j == p->a1 ? 1 : f->period[j] * below(from(c, 0), j, p->a1);
  for (int b = p->b0; b < p->b1; b++) {
    int64_t q = below(c->type, b, p->b1), size = c->type->dim[b];
    to->period[b] = size == 1 || q % period == 0 ? 1 : period % q || period / q > size ? size : period / q;
  }
}

static kd_frozenness reshaped(const call *c) {
  kd_frozenness to = same_everywhere(c->type->rank);
  if (in(c, 0)->is == KD_LIVE || kd__type_count(c->type) <= 0) return live();
  bool found = false;
  for (piece p = { 0 }; p.a1 < from(c, 0)->rank || p.b1 < c->type->rank;) {
    p = next_piece(from(c, 0), c->type, p.a1, p.b1);
    if (in(c, 0)->is == KD_CONSTANT) periods_reshaped(c, &p, &to);
    else if (in(c, 0)->axis >= p.a0 && in(c, 0)->axis < p.a1) found = rows_reshaped(c, &p, &to);
  }
  return in(c, 0)->is == KD_CONSTANT || found ? to : live();
}

/* --- leaves and draws --------------------------------------------------------------------------------------------------------------------------- */
static kd_frozenness leaf(const call *c) {
  kd_frozenness f = same_everywhere(c->type->rank);
  if (c->n->op == KD_OP_IOTA) { int64_t axis = kd__attr(c->n, "axis")->u.i; f.period[axis] = c->type->dim[axis]; }
  return f;
}

/* Keyed by position, and along axis 0 by sample where the samples are given. */
static kd_frozenness drawn(const call *c) {
  kd_frozenness to = same_everywhere(c->type->rank);
  way none = { .to = { -1 } }, w = straight(1);
  if (!meet(&to, in(c, 0), from(c, 0), c->type, &none) || to.is == KD_ROWS) return live();
  for (int d = c->n->nin > 1; d < c->type->rank; d++) to.period[d] = c->type->dim[d];
  if (c->n->nin > 1 && !meet(&to, in(c, 1), from(c, 1), c->type, &w)) return live();
  return sound(&to) ? to : live();
}

/* --- graphs ----------------------------------------------------------------------------------------------------------------------------------------- */
/* A slot's value at the program's start; `outside`: by slot of a loop's body. */
typedef struct source { const kd_slots_are *slots; const kd_frozenness *outside; } source;
static kd_frozenness *values(kd__arena *a, const kd_graph *g, const source *from, int64_t batch);

static kd_frozenness input(const kd_graph *g, const kd_node *n, const source *where, int64_t batch) {
  const kd_type *t = kd__type_of(g, n->out);
  int64_t slot = kd__attr(n, "slot")->u.i;
  if (where->outside) return where->outside[slot];
  kd_frozenness f = same_everywhere(t->rank);
  for (int d = 0; d < t->rank; d++) f.period[d] = t->dim[d];
  kd_slot_is is = where->slots->of(where->slots->ctx, slot);
  switch (is) {
    case KD_SLOT_CONSTANT: return f;
    case KD_SLOT_SAMPLES: case KD_SLOT_TURNS: if (t->rank == 0 || t->dim[0] != batch) return live(); f.is = KD_ROWS; f.inner = 1; f.turned = is == KD_SLOT_TURNS; return f;
    default: return live();
  }
}

/* What a carry is in every turn, if it is `was` when the loop starts and `next` after a turn. */
static kd_frozenness carried(const kd_frozenness *was, const kd_frozenness *next, const kd_type *t) {
  kd_frozenness to = same_everywhere(t->rank);
  way w = straight(t->rank);
  return meet(&to, was, t, t, &w) && meet(&to, next, t, t, &w) && sound(&to) ? to : live();
}

static bool equal(const kd_frozenness *a, const kd_frozenness *b, int rank) {
  if (a->is != b->is) return false;
  if (a->is == KD_ROWS) return a->axis == b->axis && a->inner == b->inner && a->turned == b->turned;
  return a->is == KD_LIVE || memcmp(a->period, b->period, sizeof *a->period * (size_t)rank) == 0;
}

/* From the carries at the start on, until a turn changes nothing: each can only become less frozen. */
static void loop(kd__arena *a, const kd_graph *g, const kd_node *n, kd_frozenness *all, int64_t batch) {
  const kd_graph *body = n->attr[0].u.graph;
  int64_t carries = kd__attr(n, "carries")->u.i, times = kd__attr(n, "times")->u.i;
  kd_frozenness *outside = KD_NEWN(a, kd_frozenness, n->nin + 1), *body_all = NULL;
  outside[0] = same_everywhere(0);
  for (uint32_t i = 0; i < n->nin; i++) outside[i + 1] = all[n->in[i]];
  for (bool again = true; again;) {
    body_all = values(a, body, &(source){ .outside = outside }, batch);
    again = false;
    for (int64_t i = 0; i < carries; i++) {
      const kd_type *t = kd__type_of(g, n->in[i]);
      kd_value w = kd__body_write(body, i + 1);
      kd_frozenness next = w ? carried(&outside[i + 1], &body_all[w], t) : outside[i + 1];
      if (equal(&next, &outside[i + 1], t->rank)) continue;
      outside[i + 1] = next;
      again = true;
    }
  }
  for (int64_t i = 0; i < carries; i++) all[n->out + (kd_value)i] = outside[i + 1];
  for (size_t k = 0; k < body->result.n; k++) {
    kd_frozenness f = body_all[body->result.v[k].value];
    int rank = kd__type_of(body, body->result.v[k].value)->rank;
    memmove(f.period + 1, f.period, sizeof *f.period * (size_t)rank);
    f.period[0] = times;
    f.axis++;
    all[n->out + (kd_value)carries + (kd_value)k] = f;
  }
}

static kd_frozenness result(const call *c) {
  kd_frozenness to = same_everywhere(c->type->rank);
  for (uint32_t k = 0; k < c->n->nin; k++) {
    way w;
    if (!way_of(c, k, &w) || !meet(&to, in(c, k), from(c, k), c->type, &w)) return live();
  }
  return sound(&to) ? to : live();
}

static kd_frozenness *values(kd__arena *a, const kd_graph *g, const source *where, int64_t batch) {
  kd_frozenness *all = KD_NEWN(a, kd_frozenness, g->type.n + 1);
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    call c = { .g = g, .n = n, .all = all, .type = n->nout ? kd__type_of(g, n->out) : NULL, .batch = batch };
    bool frozen = true;
    for (uint32_t k = 0; k < n->nin; k++) frozen = frozen && all[n->in[k]].is != KD_LIVE;
    kd_frozenness f = live();
    if (n->op == KD_OP_INPUT) f = input(g, n, where, batch);
    else if (n->op == KD_OP_LOOP && n->nout) { loop(a, g, n, all, batch); continue; }
    else if (!frozen) f = live();
    else if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_LEAF) f = leaf(&c);
    else if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_RANDOM) f = drawn(&c);
    else if (n->op == KD_OP_RESHAPE) f = reshaped(&c);
    else f = result(&c);
    for (uint32_t k = 0; k < n->nout; k++) all[n->out + k] = f;
  }
  return all;
}

kd_frozenness *kd__frozen_values(kd__arena *a, const kd_graph *g, const kd_slots_are *slots) { return values(a, g, &(source){ .slots = slots }, slots->batch); }
