/* group_plan.c: nodes get memory and become steps. */
#include "runtime/kernels/group_plan.h"

enum { AHEAD_FROM = 1 << 18, AHEAD_ALL = 1 << 22, AHEAD_STEPS = 4 };     /* bytes of an operand; of all together; steps */

static bool bit(uint32_t m, uint32_t a) { return m >> a & 1; }
static int64_t element(const kd__node *v) { return (int64_t)kd__dtype_size((kd_dtype)v->v.dtype); }
static int64_t line(int64_t n) { return (n + 63) / 64 * 64; }

/* --- memory ------------------------------------------------------------------------------------------------------------------------------ */
static uint32_t add_slot(kd__tiling *t, int32_t operand, int64_t base, const int64_t *stride, uint32_t moving) {
  int64_t *by = kd__arena_get(t->a, KD_GROUP_AXES * sizeof *by);
  bool moves = false;
  for (uint32_t a = 0; a < t->p->rank; a++) {
    by[a] = stride && bit(moving, a) ? stride[a] : 0;
    moves |= by[a] != 0;
  }
  KD_PUSH(t->a, t->slot, (kd__tile_slot){ base, operand, moves, by });
  return (uint32_t)t->slot.n - 1;
}

static void operand_slots(kd__tiling *t) {
  add_slot(t, -1, 0, NULL, 0);
  add_slot(t, -2, 0, NULL, 0);
  for (uint32_t o = 0; o < t->g->nin + t->g->nout; o++) {
    int64_t by[KD_GROUP_AXES], size = (int64_t)kd__dtype_size((kd_dtype)t->g->dtype[o]);
    for (uint32_t a = 0; a < t->p->rank; a++) by[a] = t->stride[o][a] * size;
    add_slot(t, (int32_t)o, 0, by, t->multi);
  }
}

static bool needs_memory(const kd__node *v) {
  return !v->gone && !v->view && !v->final && v->store == KD__NO_NODE && v->v.kind != KD_GROUP_STORE && v->v.kind != KD_GROUP_CHECK;
}
static bool lasts(const kd__tiling *t, const kd__node *v) {
  bool reduced = v->v.kind == KD_GROUP_REDUCE || v->v.kind == KD_GROUP_SPREAD;
  return v->hoisted || v->fixed || v->kept || (v->lists & (v->lists - 1)) || (reduced && t->p->pieces);
}
static bool is_state(const kd__node *v) { return v->v.kind == KD_GROUP_REDUCE && !v->gone && !v->final; }
static int64_t state_bytes(const kd__node *v) { return line(v->bytes / element(v) * 8 * (v->v.op == KD_OP_MOMENTS ? 3 : 1)); }

/* What lasts longer than one pass over a phase's steps. In a group without pieces all accumulators share one place. */
static int64_t lasting_memory(kd__tiling *t) {
  int64_t at = 0, shared = 0;
  for (uint32_t i = 0; i < t->node.n; i++) {
    kd__node *v = &t->node.v[i];
    if (needs_memory(v) && lasts(t, v)) {
      if (v->kept) v->bytes = kd__tiling_dense(t, v->v.axes, true, element(v), v->stride) * element(v);
      v->offset = at, v->slot = 0, at += line(v->bytes);
      if (v->kept) v->slot = add_slot(t, -1, v->offset, v->stride, t->p->pieces), v->offset = 0;
    }
    if (is_state(v) && !t->p->pieces) shared = kd__max(shared, state_bytes(v));
    if (is_state(v) && t->p->pieces) {
      int64_t by[KD_GROUP_AXES];
      for (uint32_t a = 0; a < t->p->rank; a++) by[a] = v->stride[a] / element(v) * 8;
      v->state_slot = add_slot(t, -1, at, by, t->p->pieces), v->state = 0, at += state_bytes(v);
    }
  }
  for (uint32_t i = 0; i < t->node.n; i++)
    if (is_state(&t->node.v[i]) && !t->p->pieces) t->node.v[i].state_slot = 0, t->node.v[i].state = at;
  return at + shared;
}

/* May v, made at step i, lie where w does, which it is the last to read? */
static bool takes_over(const kd__node *v, const kd__node *w, uint32_t i) {
  return w->last_use == i && v->v.kind == KD_GROUP_ELEM && !v->expand && w->v.axes == v->v.axes && element(w) == element(v);
}

static int64_t phase_memory(kd__tiling *t, uint64_t list, int64_t floor) {
  int64_t most = floor;
  for (uint32_t i = 0; i < t->node.n; i++) {
    const kd__node *v = &t->node.v[i];
    for (uint32_t k = 0; (v->lists & list) && !v->gone && k < v->nin; k++) t->node.v[v->in[k]].last_use = i;
  }
  for (uint32_t i = 0; i < t->node.n; i++) {
    kd__node *v = &t->node.v[i];
    if (!(v->lists & list) || !needs_memory(v) || lasts(t, v)) continue;
    if (v->last_use < i) v->last_use = i;
    uint32_t made = v->v.kind == KD_GROUP_SPREAD ? v->in[0] : i;
    int64_t at = floor;
    for (bool again = true; again;) {            /* the lowest place that no living value lies in */
      again = false;
      for (uint32_t j = 0; j < i; j++) {
        const kd__node *w = &t->node.v[j];
        if (!(w->lists & list) || !needs_memory(w) || lasts(t, w) || w->last_use < made || takes_over(v, w, i)) continue;
        if (at < w->offset + line(w->bytes) && w->offset < at + line(v->bytes)) at = w->offset + line(w->bytes), again = true;
      }
    }
    v->slot = 0, v->offset = at;
    most = kd__max(most, at + line(v->bytes));
  }
  return most;
}

/* --- steps ------------------------------------------------------------------------------------------------------------------------------ */
static void argument(kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES], uint32_t k, const kd__node *v) {
  s->slot[k] = v->slot, s->offset[k] = v->offset;
  memcpy(stride[k], v->stride, sizeof stride[k]);
  if (s->nargs <= k) s->nargs = (uint8_t)(k + 1);
}
static void memory_argument(const kd__tiling *t, kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES], uint32_t k, uint32_t operand, uint32_t axes, int64_t size) {
  s->slot[k] = 2 + operand, s->offset[k] = 0;
  for (uint32_t a = 0; a < t->p->rank; a++) stride[k][a] = bit(axes, a) ? t->stride[operand][a] * size : 0;
  if (s->nargs <= k) s->nargs = (uint8_t)(k + 1);
}
/* Argument k counts the points of a domain, row-major in the group's own axes. */
static void number_argument(const kd__tiling *t, kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES], uint32_t k, uint32_t axes) {
  int64_t *by = kd__arena_get(t->a, KD_GROUP_AXES * sizeof *by), n = 1;
  for (int a = (int)t->p->rank - 1; a >= 0; a--)
    if (bit(axes, (uint32_t)a)) by[a] = n, n *= t->p->size[a];
  s->number = by;
  memcpy(stride[k], by, KD_GROUP_AXES * sizeof *by);
  s->nargs = (uint8_t)(k + 1);
}

static void nests(const kd__tiling *t, kd__tile_step *s, uint32_t axes, const int64_t (*stride)[KD_GROUP_AXES]) {
  kd__tile_nest *nest = kd__arena_get(t->a, t->p->variants * sizeof *nest);
  for (uint32_t i = 0; i < t->p->variants; i++) {
    kd__tile_level *level = kd__arena_get(t->a, (t->p->rank + 1) * sizeof *level);
    nest[i] = (kd__tile_nest){ kd__tiling_nest(t, axes, i, s->nargs, stride, level), level };
  }
  s->nest = nest;
}

static void elem_step(const kd__tiling *t, const kd__node *v, kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES]) {
  kd__tile_level level[KD_GROUP_AXES];
  uint32_t levels;
  argument(s, stride, 0, v);
  for (uint32_t k = 0; k < v->nin; k++) argument(s, stride, k + 1, &t->node.v[v->in[k]]);
  const kd__node *a = &t->node.v[v->in[v->v.op == KD_OP_WHERE && v->pair == KD_OP_COUNT ? 1 : 0]];
  if (v->expand) { s->kind = KD__TILE_COPY; return; }
  uint32_t mask = kd__elem_mask(t, v, level, &levels);
  s->kind = KD__TILE_ELEM, s->op = v->v.op, s->size = (uint8_t)element(a);
  if (v->scaled) s->kind = KD__TILE_PRIM, s->prim = kd__prim_scaled(v->pair, mask);
  else if (v->pair != KD_OP_COUNT) s->kind = KD__TILE_PRIM, s->prim = kd__prim_pair((kd_op)v->v.op, v->pair, (kd_dtype)v->v.dtype, v->swapped, mask);
  else if ((s->prim = kd__prim_find((kd_op)v->v.op, (kd_dtype)a->v.dtype, mask)) != NULL) s->kind = KD__TILE_PRIM;
  else if (v->v.op == KD_OP_CAST) s->elem = kd__elem_cast((kd_dtype)a->v.dtype, (kd_dtype)v->v.dtype);
  else s->elem = kd__elem_basic((kd_op)v->v.op, (kd_dtype)a->v.dtype);
  if (s->kind == KD__TILE_ELEM && !s->elem) s->elem = kd__elem_math((kd_op)v->v.op, (kd_dtype)a->v.dtype);
  if (a->v.dtype == KD_I64 && (v->v.op == KD_OP_IDIV || v->v.op == KD_OP_REM)) {
    s->kind = KD__TILE_DIVIDE;
    number_argument(t, s, stride, 3, v->v.axes);
  }
}

/* A primitive that needs no accumulators, where the whole reduction is in one tile and looks the same in all variants. */
static kd__prim whole_reduction(const kd__tiling *t, const kd__tile_step *s, const kd__node *v) {
  kd__prim prim = NULL;
  if (v->v.dtype != KD_F32 || v->final || t->p->pieces) return NULL;
  for (uint32_t i = 0; i < t->p->variants; i++) {
    const kd__tile_nest *n = &s->nest[i];
    if (n->levels == 0 || n->levels > 2) return NULL;
    bool rows = n->level[0].stride[0] == 0;
    if (rows ? n->level[0].n > KD__BLOCK_ROW : n->levels < 2) return NULL;
    if (n->levels == 2 && (n->level[1].stride[0] == 0) == rows) return NULL;
    if (!rows && n->level[1].n > KD__BLOCK_ROWS && v->v.op == KD_OP_SUM) return NULL;
    kd_op op = s->product ? KD_OP_MUL : (kd_op)v->v.op;
    kd__prim p = rows ? kd__prim_rows(op) : kd__prim_cols(op);
    if (i && p != prim) return NULL;
    prim = p;
  }
  return prim;
}

static const kd__node *spread_of(const kd__tiling *t, uint32_t i) {
  const kd__node *w = i + 1 < t->node.n ? &t->node.v[i + 1] : NULL;
  return w && w->v.kind == KD_GROUP_SPREAD ? w : NULL;
}

static void final_results(const kd__tiling *t, uint32_t node, kd__tile_final *f) {
  kd__tile_result *r = kd__arena_get(t->a, (t->g->nout + 1) * sizeof *r);
  for (uint32_t i = 0; i < t->node.n; i++) {
    const kd__node *v = &t->node.v[i];
    bool second = v->in[0] != node;
    if (v->v.kind != KD_GROUP_STORE || (second && (v->in[0] != node + 1 || !spread_of(t, node)))) continue;
    r[f->nresult++] = (kd__tile_result){ v->v.operand, second, t->stride[t->g->nin + v->v.operand] };
  }
  f->result = r;
}

/* Accumulators of a reduction over outer axes: as large as a chunk is along the result's axes. */
static void final_state(kd__tiling *t, uint32_t i, kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES]) {
  const kd__node *v = &t->node.v[i];
  kd__tile_program *p = t->p;
  bool moments = v->v.op == KD_OP_MOMENTS;
  kd__tile_final f = { .op = (kd_op)v->v.op, .dtype = (kd_dtype)v->v.dtype, .axes = v->v.axes, .owned = true, .count = 1, .total = 1 };
  for (int a = (int)p->rank - 1; a >= 0; a--) {
    if (p->grid[a] > 1 && !(bit(v->v.axes, (uint32_t)a))) f.owned = false;
    stride[1][a] = 0;
    if (!bit(v->v.axes, (uint32_t)a)) continue;
    stride[1][a] = f.count * 8;
    f.count *= bit(p->outer, (uint32_t)a) ? kd__min(p->run[a] * p->tile[a], p->size[a]) : p->size[a];
    f.total *= p->size[a];
  }
  if (f.owned) f.at = (int64_t)p->memory, p->memory += (size_t)line(f.count * 8 * (moments ? 3 : 1));
  else f.at = p->chunk_doubles, p->chunk_doubles += f.count * (moments ? 3 : 1), f.all = p->all_doubles, p->all_doubles += f.total * (moments ? 3 : 1);
  f.reducer = f.dtype == KD_F32 ? kd__reducer_find(f.op) : NULL;
  final_results(t, i, &f);
  f.step_slot = s->slot[1] = add_slot(t, -3, (int64_t)t->final.n, stride[1], t->multi & v->v.axes);
  s->count = f.count;
  KD_PUSH(t->a, t->final, f);
}

static void reduce_step(kd__tiling *t, uint32_t i, kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES]) {
  const kd__node *v = &t->node.v[i], *o = &t->node.v[v->in[0]], *second = spread_of(t, i);
  uint32_t domain = v->v.axes | v->v.over;
  s->kind = KD__TILE_REDUCE, s->op = v->v.op, s->final = v->final, s->dtype = v->v.dtype, s->size = (uint8_t)element(v);
  argument(s, stride, 2, o);
  if (v->final) {
    final_state(t, i, s, stride);
    s->once = t->multi & ~domain;
  } else {
    argument(s, stride, 0, v);
    s->count = v->bytes / element(v);
    s->slot[1] = v->state_slot, s->offset[1] = v->state;
    for (uint32_t a = 0; a < t->p->rank; a++) stride[1][a] = v->stride[a] / element(v) * 8;
    if (second) s->second = true, argument(s, stride, 3, second);
    s->once = t->p->pieces & ~domain, s->last = t->p->pieces & domain;
  }
  s->reducer = v->v.dtype == KD_F32 ? kd__reducer_find((kd_op)v->v.op) : NULL;
  if (v->nin == 2) argument(s, stride, 3, &t->node.v[v->in[1]]), s->product = true;
  nests(t, s, domain, (const int64_t(*)[KD_GROUP_AXES])stride);
  s->prim = whole_reduction(t, s, v);
}

static void gather_step(const kd__tiling *t, const kd__node *v, kd__tile_step *s, int64_t (*stride)[KD_GROUP_AXES]) {
  const kd__node *index = &t->node.v[v->in[0]];
  bool gather = v->v.kind == KD_GROUP_GATHER;
  s->kind = gather ? KD__TILE_GATHER : KD__TILE_CHECK;
  s->limit = v->v.limit, s->origin = v->v.origin, s->size = gather ? (uint8_t)element(v) : 8, s->jump = v->v.step * s->size;
  if (gather) argument(s, stride, 0, v), memory_argument(t, s, stride, 1, v->v.operand, v->v.axes, element(v));
  argument(s, stride, 2, index);
  number_argument(t, s, stride, 3, index->v.axes);
  if (!gather) s->once = t->multi & ~v->v.axes;
  for (uint32_t a = 0; a < t->p->rank; a++)
    if (bit(index->v.axes, a) && t->p->tile[a] > 1) s->axis = a, s->ahead = index->view;
}

static void make_step(kd__tiling *t, uint32_t i, kd__tile_step *s) {
  const kd__node *v = &t->node.v[i];
  int64_t stride[KD__TILE_ARGS][KD_GROUP_AXES] = { { 0 } };
  *s = (kd__tile_step){ .op = v->v.op, .dtype = v->v.dtype, .size = (uint8_t)element(v), .origin = v->v.origin, .once = v->fixed || v->kept || v->store != KD__NO_NODE ? t->p->pieces & ~v->v.axes : 0 };
  switch ((kd_group_kind)v->v.kind) {
    case KD_GROUP_REDUCE: reduce_step(t, i, s, stride); return;
    case KD_GROUP_LOAD:
      s->kind = KD__TILE_COPY;
      argument(s, stride, 0, v);
      memory_argument(t, s, stride, 1, v->v.operand, v->v.axes, element(v));
      break;
    case KD_GROUP_STORE:
      s->kind = KD__TILE_COPY, s->once = t->multi & ~v->v.axes;
      memory_argument(t, s, stride, 0, t->g->nin + v->v.operand, v->v.axes, element(v));
      argument(s, stride, 1, &t->node.v[v->in[0]]);
      break;
    case KD_GROUP_GATHER: case KD_GROUP_CHECK: gather_step(t, v, s, stride); break;
    case KD_GROUP_IOTA:
      s->kind = KD__TILE_IOTA;
      argument(s, stride, 0, v);
      s->axis = KD_GROUP_AXES;                   /* one position alone: it is 0 */
      for (uint32_t a = 0; a < t->p->rank; a++)
        if (bit(v->v.axes, a)) s->axis = a;
      break;
    case KD_GROUP_ELEM: elem_step(t, v, s, stride); break;
    case KD_GROUP_CONST: case KD_GROUP_SPREAD: case KD_GROUP_KINDS: break;
  }
  nests(t, s, v->v.axes, (const int64_t(*)[KD_GROUP_AXES])stride);
}

static bool has_step(const kd__node *v) { return !v->gone && !v->view && v->v.kind != KD_GROUP_SPREAD && v->v.kind != KD_GROUP_CONST; }

/* --- walks ------------------------------------------------------------------------------------------------------------------------------- */
static bool in_walk(const kd__node *v, uint64_t list) { return (v->lists & list) && has_step(v) && !v->hoisted; }
static uint32_t walk_of(uint32_t *into, uint32_t i) {
  while (into[i] != i) i = into[i] = into[into[i]];
  return i;
}

/* A STORE, or what is written at once, and a reader of memory that it may share: they keep their order at each tile. */
static bool shares(const kd__tiling *t, const kd__node *w, const kd__node *v) {
  uint32_t store = w->v.kind == KD_GROUP_STORE ? w->v.operand : w->store == KD__NO_NODE ? KD__NO_NODE : t->node.v[w->store].v.operand;
  if (store == KD__NO_NODE) return false;
  if (v->v.kind == KD_GROUP_LOAD && !v->view) return kd__group_may_share(t->g, v->v.operand, store);
  for (uint32_t k = 0; k < v->nin; k++) {
    const kd__node *o = &t->node.v[v->in[k]];
    if (o->v.kind == KD_GROUP_LOAD && o->view && kd__group_may_share(t->g, o->v.operand, store)) return true;
  }
  return false;
}

/* into[]: which steps of a phase belong together: one reads another, or goes along no other pieces. pieces[]: along which. */
static void find_walks(const kd__tiling *t, uint64_t list, uint32_t *into, uint32_t *pieces) {
  for (uint32_t i = 0; i < t->node.n; i++) {
    const kd__node *v = &t->node.v[i];
    into[i] = i, pieces[i] = (v->v.axes | (v->v.kind == KD_GROUP_REDUCE ? v->v.over : 0)) & t->p->pieces;
    for (uint32_t j = 0; in_walk(v, list) && j < i; j++) {
      const kd__node *w = &t->node.v[j];
      bool together = false;
      if (!in_walk(w, list)) continue;
      for (uint32_t k = 0; k < v->nin; k++) together |= v->in[k] == j || (t->node.v[v->in[k]].v.kind == KD_GROUP_SPREAD && t->node.v[v->in[k]].in[0] == j);
      if (!together && !shares(t, w, v) && !shares(t, v, w)) continue;
      uint32_t a = walk_of(into, i), b = walk_of(into, j);
      pieces[b] |= pieces[a], into[a] = b;
    }
  }
  for (uint32_t i = 0; i < t->node.n; i++)
    for (uint32_t j = 0; j < t->node.n; j++) {
      const kd__node *v = &t->node.v[i], *w = &t->node.v[j];
      if (!in_walk(v, list) || !in_walk(w, list)) continue;
      uint32_t a = walk_of(into, i), b = walk_of(into, j);
      if ((pieces[a] & ~pieces[b]) == 0) into[a] = b;
    }
}

/* into == NULL: all steps of the phase. */
static kd__tile_list make_list(kd__tiling *t, uint32_t phase, bool hoisted, uint32_t *into, uint32_t walk) {
  kd__tile_step *step = kd__arena_get(t->a, (t->node.n + 1) * sizeof *step);
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->node.n; i++) {
    const kd__node *v = &t->node.v[i];
    if (has_step(v) && v->hoisted == hoisted && (v->lists >> phase & 1) && (!into || walk_of(into, i) == walk)) make_step(t, i, &step[n++]);
  }
  return (kd__tile_list){ step, n, t->p->pieces };
}

static void make_walks(kd__tiling *t, uint32_t phases) {
  KD_VEC(kd__tile_list) all = { 0 };
  uint32_t *into = kd__arena_get(t->a, (t->node.n + 1) * sizeof *into), *pieces = kd__arena_get(t->a, (t->node.n + 1) * sizeof *pieces);
  for (uint32_t f = 0; f < phases; f++) {
    if (t->p->pieces) find_walks(t, 1ull << f, into, pieces);
    else KD_PUSH(t->a, all, make_list(t, f, false, NULL, 0));
    for (uint32_t i = 0; t->p->pieces && i < t->node.n; i++) {
      if (!in_walk(&t->node.v[i], 1ull << f) || into[i] != i) continue;
      kd__tile_list l = make_list(t, f, false, into, i);
      l.pieces = pieces[i];
      KD_PUSH(t->a, all, l);
    }
  }
  t->p->walk = all.v, t->p->walks = (uint32_t)all.n;
}

/* Operands of which a tile reads one piece of memory. Groups without pieces walk along their last axis of several tiles. What is small is in the
 * cache already, and few steps leave no time in which memory would else have been idle: there asking takes longer than it saves. */
static void find_ahead(kd__tiling *t) {
  kd__tile_program *p = t->p;
  kd__tile_ahead *ahead = kd__arena_get(t->a, (t->g->nin + 1u) * sizeof *ahead);
  int64_t all = 0;
  int along = -1;
  for (uint32_t a = 0; a < p->rank; a++)
    if (bit(t->multi, a)) along = (int)a;
  for (uint32_t o = 0; o < t->g->nin && along >= 0 && !p->pieces; o++) {
    int64_t size = (int64_t)kd__dtype_size((kd_dtype)t->g->dtype[o]), dense = 1, whole = 1;
    bool read = false, one = t->stride[o][along] != 0;
    for (uint32_t i = 0; i < t->g->nins; i++) read |= t->g->ins[i].kind == KD_GROUP_LOAD && t->g->ins[i].operand == o;
    for (int a = (int)p->rank - 1; a >= 0; a--) {
      int64_t s = t->stride[o][a];
      if (s != 0) whole *= p->size[a];
      if (p->tile[a] == 1 || s == 0) continue;
      if (s != dense) one = false;
      dense *= p->tile[a];
    }
    if (!read || !one || whole * size < AHEAD_FROM) continue;
    ahead[p->nahead++] = (kd__tile_ahead){ 2 + o, p->tile[along] * t->stride[o][along] * size, dense * size, 0 };
    all += whole * size;
  }
  p->ahead = ahead;
  for (uint32_t i = 0; i < p->nahead && p->walks; i++) ahead[i].part = kd__ceil_div(ahead[i].bytes, kd__max(p->walk[0].n, 1) * (int64_t)64) * 64;
  if (all < AHEAD_ALL || p->walks != 1 || p->walk[0].n < AHEAD_STEPS) p->nahead = 0;
}

static void compile(kd__tiling *t) {
  kd__tile_program *p = t->p;
  kd__tiling_axes(t);
  kd__tiling_nodes(t);
  operand_slots(t);
  uint32_t phases = 1;
  for (uint32_t i = 0; i < t->node.n; i++)
    if (!t->node.v[i].gone && t->node.v[i].walk >= phases) phases = t->node.v[i].walk + 1u;
  int64_t floor = lasting_memory(t), most = floor;
  for (uint32_t f = 0; f < phases; f++) most = kd__max(most, phase_memory(t, 1ull << f, floor));
  p->memory = (size_t)line(most);
  p->prologue = make_list(t, 0, true, NULL, 0);
  make_walks(t, phases);
  p->pool = t->pool.v;
  p->slot = t->slot.v, p->nslot = (uint32_t)t->slot.n;
  p->final = t->final.v, p->nfinal = (uint32_t)t->final.n;
  find_ahead(t);
  p->memory += (size_t)line((int64_t)(p->nslot * 2 * sizeof(char *)));
}

kd_status kd__tile_compile(const kd_group *g, kd__tile_program **out) {
  kd__arena arena;
  kd__oom oom = { .armed = true };
  kd__arena_init(&arena, NULL, &oom);
  if (setjmp(oom.jump)) {
    kd__arena_free(&arena);
    return KD_E_MEMORY;
  }
  kd__tiling t = { .g = g, .a = &arena };
  t.p = KD_NEW(&arena, kd__tile_program);
  compile(&t);
  t.p->arena = arena;
  t.p->arena.oom = NULL;
  *out = t.p;
  return KD_OK;
}

void kd__tile_release(void *program) {
  kd__arena arena = ((kd__tile_program *)program)->arena;
  kd__arena_free(&arena);
}
