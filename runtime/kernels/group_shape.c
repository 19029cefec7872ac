/* group_shape.c: the axes of a group merged, and the shapes of tiles and chunks. They depend on the group alone. */
#include "runtime/kernels/group_plan.h"

enum { TILE = 2048, LARGE_TILE = 8192, CHUNK = 65536, MOST_CHUNKS = 32, STRIP = 256, MOST_STATES = 1 << 19 };

static bool bit(uint32_t m, uint32_t a) { return m >> a & 1; }

/* Every instruction and operand sees the axes a and b (the next one of more than one element) as one axis of size[a] * size[b]. */
static bool mergeable(const kd_group *g, uint32_t a, uint32_t b) {
  if (bit(g->outer, a) != bit(g->outer, b)) return false;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    if (bit(v->axes, a) != bit(v->axes, b)) return false;
    bool over = v->kind == KD_GROUP_REDUCE || v->kind == KD_GROUP_IOTA;
    if (over && (bit(v->over, a) != bit(v->over, b) || (v->kind == KD_GROUP_IOTA && bit(v->over, a)))) return false;
  }
  for (uint32_t o = 0; o < g->nin + g->nout; o++)
    if (g->stride[o][a] != g->stride[o][b] * g->size[b]) return false;
  return true;
}

static void merge_axes(kd__tiling *t) {
  const kd_group *g = t->g;
  kd__tile_program *p = t->p;
  int32_t before = -1;
  t->stride = kd__arena_get(t->a, (g->nin + g->nout + 1u) * sizeof *t->stride);
  for (uint32_t a = 0; a < g->rank; a++) {
    t->axis[a] = -1;
    if (g->size[a] == 1) continue;
    if (before < 0 || !mergeable(g, (uint32_t)before, a)) p->size[p->rank++] = 1;
    uint32_t m = p->rank - 1;
    t->axis[a] = (int32_t)m;
    p->size[m] *= g->size[a];
    if (bit(g->outer, a)) p->outer |= 1u << m;
    for (uint32_t o = 0; o < g->nin + g->nout; o++) t->stride[o][m] = g->stride[o][a];
    before = (int32_t)a;
  }
}

uint32_t kd__tiling_mask(const kd__tiling *t, uint32_t axes) {
  uint32_t m = 0;
  for (uint32_t a = 0; a < t->g->rank; a++)
    if (bit(axes, a) && t->axis[a] >= 0) m |= 1u << t->axis[a];
  return m;
}

/* --- tiles ------------------------------------------------------------------------------------------------------------------------------ */
/* At most `room` of an axis, in parts of nearly equal length. */
static int64_t part_of(int64_t size, int64_t room) {
  if (room >= size) return size;
  if (room <= 1) return 1;
  int64_t part = kd__ceil_div(size, kd__ceil_div(size, room));
  if (part > 64) part = kd__min(room, kd__ceil_div(part, 16) * 16);
  return part;
}

/* Operands that lie close in memory along another axis than the last: a tile should have some length there too. */
static uint32_t crossed(const kd__tiling *t) {
  uint32_t m = 0, last = t->p->rank - 1;
  for (uint32_t o = 0; o < t->g->nin + t->g->nout; o++)
    for (uint32_t a = 0; a < last; a++)
      if (t->stride[o][a] == 1 && t->stride[o][last] != 0 && t->stride[o][last] != 1) m |= 1u << a;
  return m;
}

/* Sums over an axis, of values that vary along the last one: they want many rows, so that few sums are added to accumulators. */
static bool sums_columns(const kd__tiling *t) {
  uint32_t last = t->p->rank - 1;
  for (uint32_t i = 0; i < t->g->nins; i++)
    if (t->g->ins[i].kind == KD_GROUP_REDUCE && bit(kd__tiling_mask(t, t->g->ins[i].axes), last)) return true;
  return false;
}

/* Very many values fill the cache. */
static int64_t room_of(const kd__tiling *t) { return t->g->nins > 64 ? TILE / 2 : TILE; }

/* The most elements that an instruction which goes along `axes` has, in so much of each axis; a group of none has one. */
static int64_t most_of(const kd__tiling *t, uint32_t axes, uint32_t among, const int64_t *part) {
  int64_t most = 1;
  for (uint32_t i = 0; i < t->g->nins; i++) {
    const kd_group_ins *v = &t->g->ins[i];
    uint32_t domain = kd__tiling_mask(t, v->axes | (v->kind == KD_GROUP_REDUCE ? v->over : 0));
    int64_t n = 1;
    if ((domain & axes) != axes) continue;
    for (uint32_t a = 0; a < t->p->rank; a++)
      if (bit(domain & among, a)) n = n > LARGE_TILE ? n : n * part[a];
    most = kd__max(most, n);
  }
  return most;
}

static void choose_tiles(kd__tiling *t) {
  kd__tile_program *p = t->p;
  int64_t reserve = 1, room = room_of(t);
  uint32_t all = (uint32_t)((1ull << p->rank) - 1), done = 0;
  bool whole = most_of(t, 0, all & ~p->outer, p->size) <= LARGE_TILE;
  for (uint32_t a = 0; a < p->rank; a++)
    if (whole && !bit(p->outer, a)) p->tile[a] = p->size[a], done |= 1u << a;
  bool columns = !whole && p->rank && sums_columns(t);
  if (columns) room = 2 * TILE;
  uint32_t cross = p->rank ? crossed(t) : 0;
  for (uint32_t a = 0; a < p->rank; a++)
    if (bit(cross, a) && (!whole || bit(p->outer, a))) reserve *= kd__min(p->size[a], 16);
  for (int a = (int)p->rank - 1; a >= 0; a--) {
    bool outer = bit(p->outer, (uint32_t)a), held = bit(cross, (uint32_t)a) && (outer || !whole);
    int64_t used = most_of(t, 1u << a, done, p->tile);
    if (held) reserve /= kd__min(p->size[a], 16);
    int64_t free = kd__max(room / used / reserve, held ? kd__min(16, kd__max(room / used, 1)) : 1);
    if (!whole && (outer || (columns && a == (int)p->rank - 1))) free = kd__min(free, STRIP);
    p->tile[a] = whole && !outer ? p->size[a] : part_of(p->size[a], free);
    if (p->size[a] % p->tile[a] && p->nends == KD__TILE_SPLITS) p->tile[a] = 1;
    p->tiles[a] = kd__ceil_div(p->size[a], p->tile[a]);
    done |= 1u << a;
    if (p->size[a] % p->tile[a]) p->ends[p->nends++] = (uint32_t)a;
    if (p->tiles[a] > 1) t->multi |= 1u << a;
  }
  p->variants = 1u << p->nends;
  p->pieces = t->multi & ~p->outer;
}

/* --- chunks ----------------------------------------------------------------------------------------------------------------------------- */
static double points(const kd__tiling *t, uint32_t axes) {
  double n = 1;
  for (uint32_t a = 0; a < t->p->rank; a++)
    if (bit(axes, a)) n *= (double)t->p->size[a];
  return n;
}

static void choose_chunks(kd__tiling *t) {
  kd__tile_program *p = t->p;
  uint32_t finals = 0;
  double states = 0;
  for (uint32_t i = 0; i < t->g->nins; i++)
    if (t->g->ins[i].kind == KD_GROUP_REDUCE && kd__group_final(t->g, i)) {
      finals |= kd__tiling_mask(t, t->g->ins[i].over);
      states += points(t, kd__tiling_mask(t, t->g->ins[i].axes) & ~p->outer);
    }
  int64_t left = (int64_t)kd__min(MOST_CHUNKS, (int64_t)(kd__group_effort(t->g) / CHUNK));
  for (uint32_t a = 0; a < p->rank; a++) p->grid[a] = 1, p->run[a] = p->tiles[a];
  p->chunks = 1;
  for (int pass = 0; pass < 2; pass++)           /* first along axes that no reduction crosses: their sums need no second step */
    for (uint32_t a = 0; a < p->rank; a++) {
      if (!bit(p->outer, a) || bit(finals, a) != (pass == 1)) continue;
      if (pass == 1) left = (int64_t)kd__min(left, (int64_t)(MOST_STATES / (states + 1)));
      int64_t cut = kd__max(1, kd__min(left, p->tiles[a]));
      p->run[a] = kd__ceil_div(p->tiles[a], cut);
      p->grid[a] = kd__ceil_div(p->tiles[a], p->run[a]);
      left /= p->grid[a];
      p->chunks *= p->grid[a];
    }
}

void kd__tiling_axes(kd__tiling *t) {
  merge_axes(t);
  choose_tiles(t);
  choose_chunks(t);
}

/* --- nests and layouts -------------------------------------------------------------------------------------------------------------------- */
static int64_t length(const kd__tile_program *p, uint32_t a, uint32_t variant) {
  for (uint32_t i = 0; i < p->nends; i++)
    if (p->ends[i] == a && bit(variant, i)) return p->size[a] - p->tile[a] * (p->tiles[a] - 1);
  return p->tile[a];
}

uint32_t kd__tiling_nest(const kd__tiling *t, uint32_t axes, uint32_t variant, uint32_t args, const int64_t (*stride)[KD_GROUP_AXES], kd__tile_level *level) {
  uint32_t levels = 0;
  for (int a = (int)t->p->rank - 1; a >= 0; a--) {
    if (!bit(axes, (uint32_t)a) || t->p->tile[a] == 1) continue;
    int64_t n = length(t->p, (uint32_t)a, variant);
    bool merge = levels > 0;
    for (uint32_t k = 0; merge && k < args; k++) merge = stride[k][a] == level[levels - 1].stride[k] * level[levels - 1].n;
    if (merge) { level[levels - 1].n *= n; continue; }
    level[levels] = (kd__tile_level){ .n = n };
    for (uint32_t k = 0; k < args; k++) level[levels].stride[k] = stride[k][a];
    levels++;
  }
  return levels;
}

int64_t kd__tiling_dense(const kd__tiling *t, uint32_t axes, bool whole, int64_t size, int64_t *stride) {
  int64_t n = 1;
  for (int turn = 0; turn < 2; turn++)           /* axes of one element a tile go outside, so that the others lie close */
    for (int a = (int)t->p->rank - 1; a >= 0; a--) {
      if (!turn) stride[a] = 0;
      if (!bit(axes, (uint32_t)a) || (t->p->tile[a] == 1) != (turn == 1)) continue;
      stride[a] = n * size;
      n *= whole && !bit(t->p->outer, (uint32_t)a) ? t->p->size[a] : t->p->tile[a];
    }
  return n;
}
