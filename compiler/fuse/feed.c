/* feed.c: what a group can hold, and how each operator's operands and results lie in its space. */
#include "compiler/fuse/feed.h"

enum { MOST_TRIES = 9, MOST_EXISTING = 4, MOST_AXES = 16, MOST_PICKED = 65536, SPARSE = 64, OPERANDS = 3 };

/* --- members ------------------------------------------------------------------------------------------------------------------------ */

bool kd__fuse_view(kd_op op) { return op == KD_OP_RESHAPE || op == KD_OP_PERMUTE || op == KD_OP_BROADCAST; }

kd_value kd__fuse_root(const kd_graph *g, kd_value v) {
  while (kd__fuse_view((kd_op)kd__node_of(g, v)->op)) v = kd__node_of(g, v)->in[0];
  return v;
}

static bool number(const kd_graph *g, kd_value v) { return kd__node_of(g, kd__fuse_root(g, v))->op == KD_OP_CONST; }

static bool real(const kd_graph *g, kd_value v) { return kd__dtype_real((kd_dtype)kd__type_of(g, v)->dtype); }

static bool has_elements(const kd_graph *g, const kd_node *n) {
  for (uint32_t i = 0; i < n->nin; i++)
    if (kd__type_count(kd__type_of(g, n->in[i])) <= 0) return false;
  return kd__type_count(kd__type_of(g, n->out)) > 0;
}

static bool element_wise(const kd_graph *g, const kd_node *n) {
  if (n->op == KD_OP_IDIV || (n->op == KD_OP_REM && !real(g, n->in[0])) || kd__type_of(g, n->out)->dtype == KD_U8) return false;
  for (uint32_t i = 0; i < n->nin; i++)          /* u8 is read from memory, and cast */
    if (kd__type_of(g, n->in[i])->dtype == KD_U8 && (n->op != KD_OP_CAST || kd__node_of(g, kd__fuse_root(g, n->in[i]))->op == KD_OP_IOTA)) return false;
  return true;
}

bool kd__fuse_pick(const kd_graph *g, const kd_node *n) {
  if (n->op != KD_OP_GATHER && n->op != KD_OP_SCATTER_ADD && n->op != KD_OP_SCATTER_SET) return false;
  const kd_type *x = kd__type_of(g, n->in[0]), *index = kd__type_of(g, n->in[1]);
  /* What lies in memory stays where it is; what is being computed takes the element in on its way there. */
  if (n->op != KD_OP_GATHER && !number(g, n->in[0]) && kd__op_info((kd_op)kd__node_of(g, kd__fuse_root(g, n->in[0]))->op)->cls != KD_CLASS_ELEM) return false;
  return real(g, n->in[0]) && index->rank == n->attr[0].u.i && x->dim[index->rank] <= MOST_PICKED;
}

bool kd__fuse_gather(const kd_graph *g, const kd_node *n) {
  return n->op == KD_OP_GATHER && (real(g, n->in[0]) || kd__type_of(g, n->in[0])->dtype == KD_I64) && has_elements(g, n) && !number(g, n->in[0]) && !number(g, n->in[1]);
}

bool kd__fuse_reduces(const kd_graph *g, const kd_node *n) {
  switch ((kd_op)n->op) {
    case KD_OP_SUM: case KD_OP_REDUCE_MAX: case KD_OP_REDUCE_MIN: case KD_OP_MOMENTS: return real(g, n->in[0]) && n->attr[0].n > 0;
    case KD_OP_ANY: case KD_OP_ALL: return n->attr[0].n > 0;
    default: return false;
  }
}

bool kd__fuse_member(const kd_graph *g, const kd_node *n) {
  if (!has_elements(g, n)) return false;
  if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_ELEM) return element_wise(g, n);
  return kd__fuse_reduces(g, n) || kd__fuse_pick(g, n);
}

/* --- operands ------------------------------------------------------------------------------------------------------------------------ */

static bool inside(const kd__space *s, kd_value v) { return s->inside(s, s->g->def.v[kd__fuse_root(s->g, v)]); }

static uint32_t outside_entry(kd__space *s, kd_value v, bool position) {
  const kd_type *t = kd__type_of(s->g, v);
  kd__place p = { 0 };
  for (int d = 0; d < t->rank; d++)
    if (!kd__space_new_axis(s, &p, t->dim[d])) return KD__ENTRY_NONE;
  for (int i = 0; i < p.n; i++) p.changes |= 1ull << p.atom[i];
  if (position) p.changes = kd__space_axis(&p, (int)kd__attr(kd__node_of(s->g, v), "axis")->u.i);
  return kd__space_entry(s, v, position ? KD__ENTRY_IOTA : KD__ENTRY_OUTSIDE, &p);
}

/* The choice-th way in which the value may lie: as it does already, as a new view of what is there, or anew. NONE: there is no such choice. */
static uint32_t pick(kd__space *s, kd_value v, uint32_t choice) {
  const kd_node *n = kd__node_of(s->g, v);
  uint32_t found = 0;
  for (uint32_t i = 0; i < s->entry.n && found < MOST_EXISTING; i++) {
    if (s->entry.v[i].v != v || s->entry.v[i].kind == KD__ENTRY_GATHERED) continue;
    if (found++ == choice) return i;
  }
  choice -= found;
  if (kd__fuse_view((kd_op)n->op)) {
    uint32_t from = pick(s, n->in[0], choice);
    return from == KD__ENTRY_NONE ? from : kd__space_view(s, n, from);
  }
  if (choice > 0 || s->inside(s, s->g->def.v[v])) return KD__ENTRY_NONE;
  return outside_entry(s, v, n->op == KD_OP_IOTA);
}

/* --- operators ----------------------------------------------------------------------------------------------------------------------- */

/* Each gives the entry of the result; else NONE, and in *bad the operand that does not fit. */
typedef uint32_t (*combine)(kd__space *s, const kd_node *n, const uint32_t *e, uint32_t *bad);

static uint64_t changes(const kd__space *s, uint32_t e) { return e == KD__ENTRY_CONST ? 0 : s->entry.v[e].place.changes; }

static uint32_t combine_elem(kd__space *s, const kd_node *n, const uint32_t *e, uint32_t *bad) {
  uint32_t first = KD__ENTRY_CONST;
  *bad = 0;
  for (uint32_t i = 0; i < n->nin; i++) {
    if (e[i] == KD__ENTRY_CONST) continue;
    *bad = i;
    if (first == KD__ENTRY_CONST) first = e[i];
    else if (!kd__space_unify(s, first, e[i])) return KD__ENTRY_NONE;
  }
  if (first == KD__ENTRY_CONST) return KD__ENTRY_NONE;
  kd__place p = s->entry.v[first].place;
  for (uint32_t i = 0; i < n->nin; i++) p.changes |= changes(s, e[i]);
  return kd__space_entry(s, n->out, KD__ENTRY_MEMBER, &p);
}

/* The place without these axes; what they are made of is reduced. */
static uint32_t reduced(kd__space *s, kd_value v, const kd__place *from, uint32_t axes, uint64_t have) {
  kd__place p = { 0 };
  uint64_t over = 0;
  for (int d = 0; d < from->rank; d++) {
    if (axes >> d & 1) over |= kd__space_axis(from, d);
    else kd__place_axis_of(&p, from, d);
  }
  p.changes = have & ~over;
  for (int i = 0; i < p.n; i++)
    if (!(p.changes >> p.atom[i] & 1)) return KD__ENTRY_NONE;          /* a sum is stored as it is: where it changes */
  uint32_t e = kd__space_entry(s, v, KD__ENTRY_MEMBER, &p);
  s->entry.v[e].reduced = over != 0, s->entry.v[e].over = over;
  return e;
}

static uint32_t combine_reduce(kd__space *s, const kd_node *n, const uint32_t *e, uint32_t *bad) {
  *bad = 0;
  if (e[0] == KD__ENTRY_CONST) return KD__ENTRY_NONE;
  kd__place from = s->entry.v[e[0]].place;
  uint32_t axes = 0;
  uint64_t over = 0;
  for (uint32_t i = 0; i < n->attr[0].n; i++) axes |= 1u << n->attr[0].u.list[i], over |= kd__space_axis(&from, (int)n->attr[0].u.list[i]);
  if (!over || (over & ~from.changes)) return KD__ENTRY_NONE;
  uint32_t out = reduced(s, n->out, &from, axes, from.changes);
  if (out != KD__ENTRY_NONE && n->nout == 2) reduced(s, n->out + 1, &from, axes, from.changes);
  return out;
}

/* gather x, i: `x` is read where it lies, at a position that a value says. */
static uint32_t combine_gather(kd__space *s, const kd_node *n, const uint32_t *e, uint32_t *bad) {
  const kd_type *x = kd__type_of(s->g, n->in[0]);
  int batch = (int)n->attr[0].u.i;
  kd__place at = { 0 }, out = { 0 };
  *bad = 1;
  if (e[1] == KD__ENTRY_CONST) return KD__ENTRY_NONE;
  kd__place index = s->entry.v[e[1]].place;
  for (int d = 0; d < index.rank; d++)
    if (!kd__place_axis_of(&out, &index, d)) return KD__ENTRY_NONE;
  for (int d = 0; d < batch; d++) kd__place_axis_of(&at, &index, d);
  at.end[at.rank++] = at.n;
  for (int d = batch + 1; d < x->rank; d++)
    if (!kd__space_new_axis(s, &out, x->dim[d]) || !kd__place_axis_of(&at, &out, out.rank - 1)) return KD__ENTRY_NONE;
  for (int i = 0; i < at.n; i++) at.changes |= 1ull << at.atom[i];
  out.changes = index.changes | at.changes;
  kd__space_entry(s, n->in[0], KD__ENTRY_GATHERED, &at);
  return kd__space_entry(s, n->out, KD__ENTRY_MEMBER, &out);
}

static uint32_t combine_pick(kd__space *s, const kd_node *n, const uint32_t *e, uint32_t *bad) {
  int axis = (int)n->attr[0].u.i;
  *bad = 1;
  if (e[1] == KD__ENTRY_CONST) return KD__ENTRY_NONE;
  for (int d = 0; d < axis; d++)
    if (!kd__space_unify_axis(s, e[0], d, e[1], d)) return KD__ENTRY_NONE;
  kd__place from = s->entry.v[e[0]].place;
  return reduced(s, n->out, &from, 1u << axis, from.changes | changes(s, e[1]));
}

/* The result's axes but for the indexed one are those of the values; what its base is a number or lies alike. */
static uint32_t combine_scatter(kd__space *s, const kd_node *n, const uint32_t *e, uint32_t *bad) {
  const kd_type *t = kd__type_of(s->g, n->out);
  int axis = (int)n->attr[0].u.i;
  kd__place p = { 0 };
  *bad = 1;
  if (e[1] == KD__ENTRY_CONST) return KD__ENTRY_NONE;
  for (int d = 0; d < t->rank; d++) {
    kd__place index = s->entry.v[e[1]].place;
    if (d < axis ? !kd__place_axis_of(&p, &index, d) : !kd__space_new_axis(s, &p, t->dim[d])) return KD__ENTRY_NONE;
  }
  uint32_t out = kd__space_entry(s, n->out, KD__ENTRY_MEMBER, &p);
  for (int d = 0; d < t->rank; d++) {
    *bad = 2;
    if (d != axis && e[2] != KD__ENTRY_CONST && !kd__space_unify_axis(s, out, d, e[2], d - (d > axis))) return KD__ENTRY_NONE;
    *bad = 0;
    if (e[0] != KD__ENTRY_CONST && !kd__space_unify_axis(s, out, d, e[0], d)) return KD__ENTRY_NONE;
  }
  s->entry.v[out].place.changes = changes(s, e[0]) | changes(s, e[1]) | changes(s, e[2]) | kd__space_axis(&s->entry.v[out].place, axis);
  return out;
}

/* --- taking in ------------------------------------------------------------------------------------------------------------------------ */

/* The operands as the choices say, and the result. NONE with the operand whose choice has to be another, or is none (`out_of`). */
static uint32_t attempt(kd__space *s, const kd_node *n, combine rule, const uint32_t *choice, uint32_t *e, uint32_t *bad, bool *out_of) {
  *out_of = false;
  for (uint32_t i = 0; i < n->nin; i++) {
    e[i] = KD__ENTRY_CONST;
    if (number(s->g, n->in[i]) || (rule == combine_gather && i == 0)) continue;
    *bad = i, *out_of = true;
    if ((e[i] = pick(s, n->in[i], choice[i])) == KD__ENTRY_NONE) return KD__ENTRY_NONE;
  }
  *out_of = false;
  return rule(s, n, e, bad);
}

static combine rule_of(const kd__space *s, const kd_node *n) {
  if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_ELEM) return combine_elem;
  if (n->op == KD_OP_GATHER) {
    if (inside(s, n->in[0])) return kd__fuse_pick(s->g, n) ? combine_pick : NULL;
    return kd__fuse_gather(s->g, n) ? combine_gather : NULL;
  }
  if (n->op == KD_OP_SCATTER_ADD || n->op == KD_OP_SCATTER_SET) return combine_scatter;
  return combine_reduce;
}

/* Not too many axes; and values that hardly share axes with the others belong elsewhere: most points of the space would be no element of any. */
bool kd__space_fits(const kd__space *s) {
  uint64_t all = 0;
  int64_t most = 1;
  for (size_t i = 0; i < s->entry.n; i++) {
    const kd__place *p = &s->entry.v[i].place;
    int64_t n = kd__space_count(s, p->changes);
    if (n > most) most = n;
    all |= p->changes | s->entry.v[i].over;
    for (int k = 0; k < p->n && s->entry.v[i].kind == KD__ENTRY_MEMBER; k++) all |= 1ull << p->atom[k];
  }
  if (__builtin_popcountll(all) > MOST_AXES || most > INT64_MAX / SPARSE) return false;
  for (int64_t room = most * SPARSE; all; all &= all - 1)
    if ((room /= s->size[__builtin_ctzll(all)]) == 0) return false;
  return kd__space_few(s);
}

/* Marks what the operands are read from: a reduction that is read must be complete within an outer point. True when one was not read before. */
static void mark_read(kd__space *s, const uint32_t *e, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    if (e[i] >= KD__ENTRY_CONST) continue;
    uint32_t r = kd__entry_root(s, e[i]);
    if (s->entry.v[r].read) continue;
    kd__space_keep(s);
    s->entry.v[r].read = true;
  }
}

bool kd__space_take(kd__space *s, uint32_t node) {
  const kd_node *n = &s->g->node.v[node];
  uint32_t choice[OPERANDS] = { 0 }, e[OPERANDS], bad = 0, out = KD__ENTRY_NONE;
  combine rule = rule_of(s, n);
  bool out_of;
  if (!rule) return false;
  kd__space_mark m = kd__space_here(s);
  for (int tries = 0; tries < MOST_TRIES; tries++) {
    out = attempt(s, n, rule, choice, e, &bad, &out_of);
    if (out != KD__ENTRY_NONE) break;
    kd__space_back(s, m);
    if (out_of) choice[bad] = 0;
    if (out_of && bad-- == 0) return false;
    while (number(s->g, n->in[bad]))
      if (bad-- == 0) return false;
    choice[bad]++;
    for (uint32_t i = bad + 1; i < n->nin; i++) choice[i] = 0;
  }
  if (out == KD__ENTRY_NONE) return false;
  mark_read(s, e, n->nin);
  kd__intake in = { .node = node, .out = out };
  for (uint32_t i = 0; i < OPERANDS; i++) in.in[i] = i < n->nin ? e[i] : KD__ENTRY_NONE;
  if (rule == combine_gather) in.in[0] = out - 1;
  KD_PUSH(s->a, s->intake, in);
  return true;
}

void kd__space_undo(kd__space *s) {
  kd__space_back(s, (kd__space_mark){ s->nold });
  s->intake.n--;
}

static bool nothing_inside(const kd__space *s, uint32_t node) {
  (void)s, (void)node;
  return false;
}

void kd__space_begin(kd__space *s, kd__arena *a, const kd_graph *g) {
  s->a = a, s->g = g, s->inside = nothing_inside, s->ctx = NULL;
  s->entry.n = s->intake.n = s->nold = 0;        /* what it has of memory it keeps */
  s->used = 0, s->kept = false;
}

static bool body_member(const kd__space *s, uint32_t node) {
  kd_op op = (kd_op)s->g->node.v[node].op;
  return op != KD_OP_INPUT && op != KD_OP_CONST && op != KD_OP_IOTA && !kd__fuse_view(op);
}

bool kd__space_of_body(kd__space *s, kd__arena *a, const kd_graph *body) {
  kd__space_begin(s, a, body);
  s->inside = body_member;
  for (uint32_t i = 1; i < body->node.n; i++)
    if (body_member(s, i) && !kd__space_take(s, i)) return false;
  return true;
}
