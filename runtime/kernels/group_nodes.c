/* group_nodes.c: from instructions to nodes: which loads are read in place, where small operands are spread, what is
 * computed once a chunk, once for all pieces, in each phase anew, or kept; which values are written to an output as they are made. */
#include "runtime/kernels/group_plan.h"

static bool bit(uint32_t m, uint32_t a) { return m >> a & 1; }
static int64_t element(const kd__node *v) { return (int64_t)kd__dtype_size((kd_dtype)v->v.dtype); }
static bool makes_value(const kd__node *v) { return v->v.kind != KD_GROUP_STORE && v->v.kind != KD_GROUP_CHECK; }

/* Is a loop over rows of n out of `total` elements worth while? */
static bool smooth(const kd__tile_level *level, uint32_t levels) {
  int64_t total = 1;
  for (uint32_t i = 0; i < levels; i++) total *= level[i].n;
  return levels < 2 || level[0].n >= KD__TILE_SHORT || total <= KD__TILE_FEW;
}

/* May elements of an operand stand where they are: close together along the domain's last axis, in runs that are not too short? */
static bool in_place(const kd__tiling *t, uint32_t operand, uint32_t axes) {
  int last = kd__tiling_last(t, axes);
  int64_t stride[1][KD_GROUP_AXES];
  kd__tile_level level[KD_GROUP_AXES];
  if (last >= 0 && t->stride[operand][last] != 1) return false;
  memcpy(stride, t->stride[operand], sizeof stride);
  return smooth(level, kd__tiling_nest(t, axes, 0, 1, (const int64_t(*)[KD_GROUP_AXES])stride, level));
}

static void place_in_memory(const kd__tiling *t, kd__node *v, uint32_t operand) {
  v->slot = 2 + operand, v->offset = 0;
  for (uint32_t a = 0; a < t->p->rank; a++) v->stride[a] = bit(v->v.axes, a) ? t->stride[operand][a] * element(v) : 0;
}
static void place_in_tile(const kd__tiling *t, kd__node *v) { v->bytes = kd__tiling_dense(t, v->v.axes, false, element(v), v->stride) * element(v); }

static uint32_t add_node(kd__tiling *t, const kd__node *v) {
  KD_PUSH(t->a, t->node, *v);
  return (uint32_t)t->node.n - 1;
}

/* --- spreading ------------------------------------------------------------------------------------------------------------------------- */
static uint32_t spread(kd__tiling *t, uint32_t from, uint32_t axes, const kd__node *user) {
  for (uint32_t i = from + 1; i < t->node.n; i++)
    if (t->node.v[i].expand && t->node.v[i].in[0] == from && t->node.v[i].v.axes == axes && t->node.v[i].walk == user->walk) return i;
  const kd__node *f = &t->node.v[from];
  kd__node v = { .v = { .kind = KD_GROUP_ELEM, .op = KD_OP_STOP, .dtype = f->v.dtype, .axes = axes }, .nin = 1, .in = { from }, .order = user->order,
                 .walk = user->walk, .expand = true, .hoisted = f->hoisted, .pair = KD_OP_COUNT, .store = KD__NO_NODE };
  place_in_tile(t, &v);
  return add_node(t, &v);
}

/* The nest of an element-wise node: argument 0 its own dense layout. Returns which operands repeat one element along the innermost level. */
uint32_t kd__elem_mask(const kd__tiling *t, const kd__node *v, kd__tile_level *level, uint32_t *levels) {
  int64_t stride[KD__TILE_ARGS][KD_GROUP_AXES];
  uint32_t mask = 0;
  memcpy(stride[0], v->stride, sizeof stride[0]);
  for (uint32_t k = 0; k < v->nin; k++) memcpy(stride[k + 1], t->node.v[v->in[k]].stride, sizeof stride[0]);
  *levels = kd__tiling_nest(t, v->v.axes, 0, v->nin + 1, (const int64_t(*)[KD_GROUP_AXES])stride, level);
  for (uint32_t k = 0; *levels && k < v->nin; k++)
    if (level[0].stride[k + 1] == 0) mask |= 1u << k;
  return mask;
}

/* The operand whose element type says which primitive it is. */
static uint32_t typed(const kd__node *v) { return v->v.op == KD_OP_WHERE ? 1 : 0; }
static bool has_primitive(const kd__tiling *t, const kd__node *v, uint32_t mask) {
  if (v->scaled) return kd__prim_scaled(v->pair, mask) != NULL;
  if (v->pair != KD_OP_COUNT) return kd__prim_pair((kd_op)v->v.op, v->pair, (kd_dtype)v->v.dtype, v->swapped, mask) != NULL;
  return mask == 0 || kd__prim_find((kd_op)v->v.op, (kd_dtype)t->node.v[v->in[typed(v)]].v.dtype, mask) != NULL;
}

/* Spreads operands until the node has a primitive with long inner loops. */
static void suit(kd__tiling *t, kd__node *v) {
  kd__tile_level level[KD_GROUP_AXES];
  uint32_t levels, mask = kd__elem_mask(t, v, level, &levels);
  bool good = has_primitive(t, v, mask), hard = !good, rough = !smooth(level, levels);
  for (uint32_t k = 0; k < v->nin; k++) {
    const kd__node *o = &t->node.v[v->in[k]];
    bool small = o->v.axes != v->v.axes && levels > 1 && level[0].n < 256 && o->hoisted;
    if (o->v.axes == v->v.axes ? rough && o->view : rough || (hard && bit(mask, k)) || (small && !bit(mask, k))) v->in[k] = spread(t, v->in[k], v->v.axes, v);
  }
}

/* --- nodes ------------------------------------------------------------------------------------------------------------------------------ */
static void make_node(kd__tiling *t, uint32_t i, uint16_t phase, bool whole) {
  const kd_group *g = t->g;
  const kd_group_ins *from = &g->ins[i];
  kd__node v = { .v = *from, .nin = kd__group_operands(from), .in = { from->in[0], from->in[1], from->in[2] }, .order = i, .pair = KD_OP_COUNT, .store = KD__NO_NODE };
  v.v.axes = kd__tiling_mask(t, from->axes);
  v.v.over = from->kind == KD_GROUP_REDUCE || from->kind == KD_GROUP_IOTA ? kd__tiling_mask(t, from->over) : 0;
  v.final = kd__group_final(g, i);
  v.walk = whole ? 0 : (uint16_t)(phase - (from->kind == KD_GROUP_REDUCE && !v.final));
  kd__tiling_join(t, i, &v);
  bool still = (v.v.axes & t->multi) == 0 && phase == 0 && t->multi && makes_value(&v) && from->kind != KD_GROUP_REDUCE && from->kind != KD_GROUP_SPREAD;
  for (uint32_t k = 0; k < v.nin; k++) {
    v.in[k] = t->node_of[v.in[k]];
    still = still && t->node.v[v.in[k]].hoisted;
  }
  if (from->kind == KD_GROUP_REDUCE && v.nin == 2) {        /* the one that varies most comes first */
    uint32_t x = v.in[0], y = v.in[1];
    int last = kd__tiling_last(t, v.v.axes | v.v.over);
    if (last >= 0 && !bit(t->node.v[x].v.axes, (uint32_t)last)) v.in[0] = y, v.in[1] = x;
  }
  v.hoisted = still;
  if (from->kind == KD_GROUP_LOAD && in_place(t, v.v.operand, v.v.axes)) v.view = true, place_in_memory(t, &v, v.v.operand);
  else if (from->kind == KD_GROUP_CONST) v.view = true;
  else if (makes_value(&v) && !v.final) place_in_tile(t, &v);
  if (from->kind == KD_GROUP_ELEM) suit(t, &v);
  t->node_of[i] = add_node(t, &v);
}

static void put_constant(kd__tiling *t, kd__node *v) {
  char cell[8] = { 0 };
  double x = v->v.value;
  float f = (float)x;
  int64_t n = x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : x != x ? 0 : (int64_t)x;
  uint8_t b = x != 0;
  memcpy(cell, v->v.dtype == KD_F32 ? (void *)&f : v->v.dtype == KD_F64 ? (void *)&x : v->v.dtype == KD_I64 ? (void *)&n : (void *)&b, (size_t)element(v));
  v->slot = 1, v->offset = (int64_t)t->pool.n;
  for (int i = 0; i < 8; i++) KD_PUSH(t->a, t->pool, cell[i]);
}

/* --- phases ----------------------------------------------------------------------------------------------------------------------------- */
static int cost_again(const kd__tiling *t, const kd__node *v, uint16_t phase) {
  static const uint8_t cheap[KD_OP_COUNT] = { [KD_OP_ADD] = 1, [KD_OP_SUB] = 1, [KD_OP_MUL] = 1, [KD_OP_NEG] = 1, [KD_OP_RELU] = 1, [KD_OP_MAX] = 1, [KD_OP_MIN] = 1,
                                              [KD_OP_ABS] = 1, [KD_OP_CAST] = 1, [KD_OP_STOP] = 1, [KD_OP_LT] = 1, [KD_OP_LE] = 1, [KD_OP_WHERE] = 1 };
  if (v->view || v->hoisted || v->fixed || v->kept || (v->lists >> phase & 1)) return 0;
  if (v->v.kind == KD_GROUP_LOAD || v->v.kind == KD_GROUP_IOTA) return 1;
  if (v->v.kind != KD_GROUP_ELEM || !cheap[v->v.op] || v->pair == KD_OP_EXP) return 100;
  int sum = 1;
  for (uint32_t k = 0; k < v->nin && sum < 100; k++) sum += cost_again(t, &t->node.v[v->in[k]], phase);
  return sum;
}

static void need(kd__tiling *t, uint32_t i, uint16_t phase) {
  kd__node *v = &t->node.v[i];
  if (v->v.kind == KD_GROUP_SPREAD) { need(t, v->in[0], phase); return; }
  if (v->hoisted) phase = 0;
  else if (v->v.kind == KD_GROUP_REDUCE || v->fixed || v->kept) phase = v->walk;
  else if (phase > v->walk && cost_again(t, v, phase) > 3) v->kept = true, phase = v->walk;
  if (v->lists >> phase & 1) return;
  v->lists |= 1ull << phase;
  for (uint32_t k = 0; k < v->nin; k++) need(t, v->in[k], phase);
}

static void choose_phases(kd__tiling *t) {
  for (uint32_t i = 0; i < t->node.n; i++) {
    kd__node *v = &t->node.v[i];
    bool reduced = v->v.kind == KD_GROUP_REDUCE || v->v.kind == KD_GROUP_SPREAD;
    v->fixed = t->p->pieces && makes_value(v) && !v->view && !v->hoisted && !(v->v.axes & t->p->pieces);
    if (t->p->pieces && reduced && !v->final && !v->fixed) v->kept = true;
  }
  for (uint32_t i = 0; i < t->node.n; i++) {
    const kd__node *v = &t->node.v[i];
    bool faults = v->v.kind == KD_GROUP_CHECK || v->v.kind == KD_GROUP_GATHER || (v->v.kind == KD_GROUP_ELEM && v->v.dtype == KD_I64 && (v->v.op == KD_OP_IDIV || v->v.op == KD_OP_REM));
    if (v->v.kind == KD_GROUP_STORE ? !t->node.v[v->in[0]].final : faults || v->final) need(t, i, v->walk);
  }
  for (uint32_t i = 0; i < t->node.n; i++) t->node.v[i].gone = t->node.v[i].lists == 0;
  for (uint32_t i = 1; i < t->node.n; i++) {     /* a SPREAD comes with its moments */
    kd__node *v = &t->node.v[i];
    if (v->v.kind == KD_GROUP_SPREAD) v->gone = t->node.v[v->in[0]].gone, v->lists = t->node.v[v->in[0]].lists;
  }
}

/* --- outputs written at once --------------------------------------------------------------------------------------------------------------- */
static bool reads_shared(const kd__tiling *t, const kd__node *u, uint32_t out) {
  for (uint32_t k = 0; k < u->nin; k++) {
    const kd__node *o = &t->node.v[u->in[k]];
    if (o->v.kind == KD_GROUP_LOAD && o->view && kd__group_may_share(t->g, o->v.operand, out)) return true;
  }
  return false;
}

static void choose_direct(kd__tiling *t) {
  for (uint32_t i = 0; i < t->node.n; i++) {
    kd__node *s = &t->node.v[i];
    if (s->v.kind != KD_GROUP_STORE || s->gone) continue;
    uint32_t from = s->in[0];
    kd__node *v = &t->node.v[from];
    bool can = v->v.kind == KD_GROUP_ELEM && !v->expand && !v->final && !v->hoisted && !v->fixed && !v->kept && v->store == KD__NO_NODE;
    can = can && v->v.axes == s->v.axes && (t->multi & t->p->outer & ~v->v.axes) == 0 && v->lists == s->lists && in_place(t, t->g->nin + s->v.operand, s->v.axes);
    for (uint32_t j = from + 1; can && j < t->node.n; j++) can = t->node.v[j].gone || !reads_shared(t, &t->node.v[j], s->v.operand);
    if (!can) continue;
    v->store = i, s->gone = true;
    place_in_memory(t, v, t->g->nin + s->v.operand);
  }
}

void kd__tiling_nodes(kd__tiling *t) {
  const kd_group *g = t->g;
  uint16_t *phase = kd__arena_get(t->a, (g->nins + 1) * sizeof *phase);
  bool *taken = kd__arena_get(t->a, g->nins + 1);
  t->node_of = kd__arena_get(t->a, (g->nins + 1) * sizeof *t->node_of);
  kd__group_phases(g, phase);
  kd__tiling_pairs(t);
  for (uint32_t i = 0; i < g->nins; i++) {
    if (t->mate[i] != KD__NO_NODE) taken[t->mate[i]] = true;
    if (t->scale[i] != KD__NO_NODE) taken[t->scale[i]] = true;
  }
  for (uint32_t i = 0; i < g->nins; i++)
    if (!taken[i]) make_node(t, i, phase[i], t->p->pieces == 0);
  for (uint32_t i = 0; i < t->node.n; i++)
    if (t->node.v[i].v.kind == KD_GROUP_CONST) put_constant(t, &t->node.v[i]);
  choose_phases(t);
  choose_direct(t);
}
