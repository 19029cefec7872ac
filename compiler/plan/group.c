/* group.c: a group meets the layout of its operands. The body's space (compiler/fuse) says which axes of its values are one; here the atoms get their
 * loop order from the strides of the largest operands, results a layout that follows it, neighbours that lie alike everywhere become one axis, and
 * nodes become instructions. */
#include "compiler/fuse/space.h"
#include "compiler/plan/lower_group.h"
#include <assert.h>

enum { ENOUGH_POINTS = 16, SHORT_ROW = 16384, WHOLE = 65536 };

static int begin_of(const kd__place *p, int axis) { return axis ? p->end[axis - 1] : 0; }

void kd__pl_atom_strides(const kd__space *s, const kd__place *p, const int64_t *stride, int64_t *to) {
  memset(to, 0, sizeof *to * KD__SPACE_ATOMS);
  for (int d = 0; d < p->rank; d++) {
    int64_t along = stride[d];
    for (int i = p->end[d]; i-- > begin_of(p, d);) {
      to[p->atom[i]] = along;
      along *= s->size[p->atom[i]];
    }
  }
}

uint64_t kd__pl_place_atoms(const kd__place *p) {
  uint64_t m = 0;
  for (int i = 0; i < p->n; i++) m |= 1ull << p->atom[i];
  return m;
}

static uint32_t entry_of(const kd__space *s, kd_value v) {
  for (uint32_t i = 0; i < s->entry.n; i++)
    if (s->entry.v[i].v == v && s->entry.v[i].kind == KD__ENTRY_MEMBER) return i;
  assert(!"a result that is no member");
  return 0;
}

/* --- loop order ------------------------------------------------------------------------------------------------------------------------ */

/* An operand, or a result that must be row-major, in elements by atom. */
static void add_voter(kd__pl_lowering *l, const kd__place *p, const int64_t *stride) {
  kd__pl_voter v = { .count = kd__space_count(&l->s, kd__pl_place_atoms(p)) };
  kd__pl_atom_strides(&l->s, p, stride, v.stride);
  KD_PUSH(l->p->group, l->voter, v);
  for (size_t i = l->voter.n - 1; i > 0 && l->voter.v[i - 1].count < l->voter.v[i].count; i--) {
    kd__pl_voter t = l->voter.v[i];
    l->voter.v[i] = l->voter.v[i - 1], l->voter.v[i - 1] = t;
  }
}

static int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

static bool before(const kd__pl_lowering *l, int a, int b) {
  for (size_t i = 0; i < l->voter.n; i++) {
    int64_t x = magnitude(l->voter.v[i].stride[a]), y = magnitude(l->voter.v[i].stride[b]);
    if (x && y && x != y) return x > y;
  }
  return l->rank_of[a] < l->rank_of[b];
}

/* Where no operand has both, the order of the largest member's axes. */
static void rank_atoms(kd__pl_lowering *l) {
  for (int a = 0; a < KD__SPACE_ATOMS; a++) l->rank_of[a] = (uint8_t)(KD__PLACE_ATOMS + a);
  int64_t most = -1;
  for (size_t i = 0; i < l->s.entry.n; i++) {
    const kd__place *p = &l->s.entry.v[i].place;
    int64_t n = kd__space_count(&l->s, kd__pl_place_atoms(p));
    if (l->s.entry.v[i].kind != KD__ENTRY_MEMBER || n <= most) continue;
    most = n;
    for (int a = 0; a < KD__SPACE_ATOMS; a++) l->rank_of[a] = (uint8_t)(KD__PLACE_ATOMS + a);
    for (int k = 0; k < p->n; k++) l->rank_of[p->atom[k]] = (uint8_t)k;
  }
}

static void order_atoms(kd__pl_lowering *l) {
  rank_atoms(l);
  for (int a = 0; a < KD__SPACE_ATOMS; a++) {
    if (!(l->all >> a & 1)) continue;
    int i = l->n++;
    for (; i > 0 && before(l, a, l->order[i - 1]); i--) l->order[i] = l->order[i - 1];
    l->order[i] = (uint8_t)a;
  }
}

/* --- what is cut ------------------------------------------------------------------------------------------------------------------------- */

static int64_t largest_part(const kd__pl_lowering *l, uint64_t inner) {
  int64_t most = 1;
  for (size_t i = 0; i < l->s.entry.n; i++) {
    int64_t n = kd__space_count(&l->s, l->s.entry.v[i].place.changes & inner);
    if (n > most) most = n;
  }
  return most;
}

/* Along which axes every reduction goes that lie closest in memory: complete rows need no parts to be added up later. */
static uint64_t rows(const kd__pl_lowering *l) {
  uint64_t over = 0, row = 0;
  for (size_t i = 0; i < l->s.entry.n; i++) over |= l->s.entry.v[i].over;
  for (int i = l->n; i-- > 0;) {
    uint64_t more = row | 1ull << l->order[i];
    if (!(over >> l->order[i] & 1) || kd__space_count(&l->s, more) > SHORT_ROW || kd__space_count(&l->s, l->all & ~more) < ENOUGH_POINTS) break;
    row = more;
  }
  return row;
}

/* Sums over a part of what is cut, of values that are the same along another part: those are walked whole if that is little. */
static void cut(kd__pl_lowering *l) {
  if (!kd__space_cut(&l->s, &l->outer)) l->outer = l->all & ~rows(l);
  for (size_t i = 0; i < l->s.entry.n; i++) {
    const kd__entry *e = &l->s.entry.v[i];
    uint64_t domain = e->place.changes | e->over, lacking = l->outer & ~domain;
    if (!(e->over & l->outer) || !lacking) continue;
    if (largest_part(l, l->all & ~(l->outer & ~lacking)) <= WHOLE && kd__space_count(&l->s, l->outer & ~lacking) >= ENOUGH_POINTS) l->outer &= ~lacking;
  }
}

/* --- results ------------------------------------------------------------------------------------------------------------------------------ */

static void natural(const kd__pl_lowering *l, kd_value v, const kd__place *place, int64_t *stride) {
  const kd_type *t = kd__type_of(l->p->g, v);
  uint8_t order[KD_MAX_RANK], pos[KD__SPACE_ATOMS] = { 0 };
  int n = 0;
  kd__pl_dense(t, stride);
  if (l->p->row[v]) return;
  for (int i = 0; i < l->n; i++) pos[l->order[i]] = (uint8_t)i;
  for (int d = 0; d < t->rank; d++) {
    if (begin_of(place, d) == place->end[d]) continue;
    int i = n++;
    for (; i > 0 && pos[place->atom[begin_of(place, order[i - 1])]] > pos[place->atom[begin_of(place, d)]]; i--) order[i] = order[i - 1];
    order[i] = (uint8_t)d;
  }
  for (int d = t->rank; d-- > 0;)
    if (begin_of(place, d) == place->end[d]) order[n++] = (uint8_t)d;
  kd__pl_dense_in_order(t, order, stride);
  if (l->p->channels[v] && t->rank >= 3 && kd__pl_row_major(t, stride)) kd__pl_channels_last(t, stride);
}

static void place_results(kd__pl_lowering *l) {
  for (uint32_t k = 0; k < l->n_out; k++) {
    kd_value v = l->node->out + k;
    int64_t stride[KD_MAX_RANK] = { 0 };
    const kd__place *place = &l->s.entry.v[l->result[k]].place;
    natural(l, v, place, stride);
    kd__pl_place(l->p, v, stride, false);
    kd__pl_atom_strides(&l->s, place, l->p->view.v[v].stride, l->out_stride[k]);
  }
}

/* --- axes ---------------------------------------------------------------------------------------------------------------------------------- */

static bool both_or_none(uint64_t set, int a, int b) { return (set >> a & 1) == (set >> b & 1); }

static bool lie_alike(const kd__pl_lowering *l, uint64_t atoms, const int64_t *stride, int a, int b) {
  return both_or_none(atoms, a, b) && stride[a] == stride[b] * l->s.size[b];
}

/* Are atoms a and b, one after the other in the loop order, like one axis to everybody? */
static bool as_one(const kd__pl_lowering *l, int a, int b) {
  if (!both_or_none(l->outer, a, b) || ((l->apart >> a | l->apart >> b) & 1)) return false;
  for (size_t i = 0; i < l->s.entry.n; i++) {
    const kd__entry *e = &l->s.entry.v[i];
    if (!both_or_none(e->place.changes, a, b) || !both_or_none(e->over, a, b)) return false;
  }
  for (size_t i = 0; i < l->input.n; i++)
    if (!lie_alike(l, l->input.v[i].atoms, l->input.v[i].stride, a, b)) return false;
  for (uint32_t k = 0; k < l->n_out; k++)
    if (!lie_alike(l, kd__pl_place_atoms(&l->s.entry.v[l->result[k]].place), l->out_stride[k], a, b)) return false;
  return true;
}

static void make_axes(kd__pl_lowering *l, kd_group *g) {
  uint64_t outer = l->outer;
  for (int i = 0; i < l->n; i++) {
    int a = l->order[i];
    if (i && as_one(l, l->order[i - 1], a)) {
      g->size[g->rank - 1] *= l->s.size[a];
    } else {
      assert(g->rank < KD_GROUP_AXES);
      g->size[g->rank++] = l->s.size[a];
      if (outer >> a & 1) g->outer |= 1u << (g->rank - 1);
    }
    l->axis_of[a] = (uint8_t)(g->rank - 1);
  }
}

/* The stride of an axis is that of its last atom. */
static void axis_strides(const kd__pl_lowering *l, const int64_t *atom, int64_t *axis) {
  for (int i = 0; i < l->n; i++) axis[l->axis_of[l->order[i]]] = atom[l->order[i]];
}

/* --- all ------------------------------------------------------------------------------------------------------------------------------------- */

static void find_inputs(kd__pl_lowering *l) {
  l->input_of = KD_NEWN(l->p->group, uint32_t, l->s.entry.n);
  for (uint32_t i = 0; i < l->s.entry.n; i++) {
    const kd__entry *e = &l->s.entry.v[i];
    if (e->kind != KD__ENTRY_OUTSIDE && e->kind != KD__ENTRY_GATHERED) continue;
    kd__pl_input in = { .view = l->node->in[kd__attr(kd__node_of(l->body, e->v), "slot")->u.i], .atoms = kd__pl_place_atoms(&e->place), .gathered = e->kind == KD__ENTRY_GATHERED };
    kd__pl_atom_strides(&l->s, &e->place, l->p->view.v[in.view].stride, in.stride);
    size_t k = 0;
    while (k < l->input.n && (in.gathered || l->input.v[k].gathered || l->input.v[k].view != in.view || l->input.v[k].atoms != in.atoms ||
                              memcmp(l->input.v[k].stride, in.stride, sizeof in.stride) != 0)) k++;
    l->input_of[i] = (uint32_t)k;
    if (k < l->input.n) continue;
    KD_PUSH(l->p->group, l->input, in);
    add_voter(l, &e->place, l->p->view.v[in.view].stride);
  }
}

static void find_results(kd__pl_lowering *l) {
  l->n_out = l->node->nout;
  l->result = KD_NEWN(l->p->group, uint32_t, l->n_out);
  l->out_stride = (int64_t (*)[KD__SPACE_ATOMS])KD_NEWN(l->p->group, int64_t, l->n_out * KD__SPACE_ATOMS);
  for (uint32_t k = 0; k < l->n_out; k++) {
    l->result[k] = entry_of(&l->s, l->body->result.v[k].value);
    const kd__place *place = &l->s.entry.v[l->result[k]].place;
    l->all |= kd__pl_place_atoms(place);
    int64_t stride[KD_MAX_RANK] = { 0 };
    kd__pl_dense(kd__type_of(l->p->g, l->node->out + k), stride);
    if (l->p->row[l->node->out + k]) add_voter(l, place, stride);
  }
  for (size_t i = 0; i < l->s.entry.n; i++) l->all |= l->s.entry.v[i].place.changes | l->s.entry.v[i].over;
}

void kd__pl_group(kd__planner *p, const kd_node *n) {
  kd__arena_reset(p->group);
  kd__pl_lowering l = { .p = p, .node = n, .body = kd__body_of(n) };
  bool good = kd__space_of_body(&l.s, p->group, l.body);
  assert(good && "a group that the pass would not make"), (void)good;
  find_inputs(&l);
  find_results(&l);
  order_atoms(&l);
  place_results(&l);
  cut(&l);
  kd__pl_find_apart(&l);
  kd_group *g = KD_NEW(p->out, kd_group);
  make_axes(&l, g);
  g->nin = (uint32_t)l.input.n, g->nout = l.n_out;
  int64_t (*stride)[KD_GROUP_AXES] = (int64_t (*)[KD_GROUP_AXES])KD_NEWN(p->out, int64_t, (g->nin + g->nout) * KD_GROUP_AXES);
  uint8_t *dtype = KD_NEWN(p->out, uint8_t, g->nin + g->nout);
  uint32_t *in = KD_NEWN(p->group, uint32_t, g->nin), *out = KD_NEWN(p->group, uint32_t, g->nout);
  for (uint32_t i = 0; i < g->nin; i++) axis_strides(&l, l.input.v[i].stride, stride[i]), dtype[i] = p->view.v[in[i] = l.input.v[i].view].type->dtype;
  for (uint32_t k = 0; k < g->nout; k++) axis_strides(&l, l.out_stride[k], stride[g->nin + k]), dtype[g->nin + k] = p->view.v[out[k] = n->out + k].type->dtype;
  g->stride = (const int64_t (*)[KD_GROUP_AXES])stride, g->dtype = dtype;
  kd__pl_instructions(&l, g);
  g->hash = kd__group_hash(g);
  char why[120] = "";
  good = kd__group_valid(g, why, sizeof why);
  assert(good && "a group that no kernel takes");
  uint32_t step = kd__pl_step_add(p, KD_OP_GROUP, in, g->nin, out, g->nout, n->attr, n->origin);
  p->step.v[step].group = g;
}
