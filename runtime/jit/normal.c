/* normal.c: the group with as few and as long axes as its strides allow, the vectors' axis chosen, and outer and inner axes where they serve best. */
#include "runtime/jit/normal.h"

static uint32_t one_less(uint32_t mask, uint32_t a) { return (mask & ((1u << a) - 1)) | (mask >> (a + 1) << a); }

static void drop_axis(kdj_shape *s, uint32_t a) {
  kd_group *g = &s->g;
  int64_t(*stride)[KD_GROUP_AXES] = (int64_t(*)[KD_GROUP_AXES])(uintptr_t)g->stride;
  for (uint32_t k = a; k + 1 < g->rank; k++) {
    g->size[k] = g->size[k + 1];
    for (uint32_t o = 0; o < g->nin + g->nout; o++) stride[o][k] = stride[o][k + 1];
  }
  for (uint32_t i = 0; i < g->nins; i++) {
    kd_group_ins *v = &s->ins[i].v;
    v->axes = one_less(v->axes, a);
    if (v->kind == KD_GROUP_REDUCE || v->kind == KD_GROUP_IOTA) v->over = one_less(v->over, a);
  }
  g->outer = one_less(g->outer, a);
  g->rank--;
}

/* Do axes a and a+1 form one axis of all operands and values? */
static bool joins(const kdj_shape *s, uint32_t a) {
  const kd_group *g = &s->g;
  uint32_t both = 3u << a;
  if ((g->outer & both) != 0 && (g->outer & both) != both) return false;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &s->ins[i].v;
    if ((v->axes & both) != 0 && (v->axes & both) != both) return false;
    bool over = v->kind == KD_GROUP_REDUCE || v->kind == KD_GROUP_IOTA;
    if (over && (v->over & both) != 0 && (v->kind == KD_GROUP_IOTA || (v->over & both) != both)) return false;
    if (v->kind != KD_GROUP_LOAD && v->kind != KD_GROUP_GATHER && v->kind != KD_GROUP_STORE) continue;
    const int64_t *st = g->stride[v->kind == KD_GROUP_STORE ? g->nin + v->operand : v->operand];
    if ((v->axes & both) && st[a] != st[a + 1] * g->size[a + 1]) return false;
  }
  return true;
}

/* A position that can only be 0, and a reduction of one element: its mean is the element, its variance 0. */
static void without(kdj_shape *s, uint32_t a) {
  for (uint32_t i = 0; i < s->g.nins; i++) {
    kdj_ins *p = &s->ins[i];
    kd_group_ins *v = &p->v;
    if ((v->kind != KD_GROUP_REDUCE && v->kind != KD_GROUP_IOTA) || v->over != 1u << a) continue;
    if (v->kind == KD_GROUP_IOTA) { *v = (kd_group_ins){ .kind = KD_GROUP_CONST, .dtype = v->dtype }; continue; }
    bool spread = i + 1 < s->g.nins && s->ins[i + 1].v.kind == KD_GROUP_SPREAD;
    v->kind = KD_GROUP_ELEM, v->op = KD_OP_STOP, v->over = 0, p->was = true;
    if (!spread) continue;
    kdj_ins *q = &s->ins[i + 1];
    q->v.kind = KD_GROUP_ELEM, q->v.op = KD_OP_SUB, q->v.in[0] = q->v.in[1] = v->in[0], q->nops = 2, q->was = true;
  }
  drop_axis(s, a);
}

void kdj_join_axes(kdj_shape *s) {
  kd_group *g = &s->g;
  for (uint32_t a = g->rank; a-- > 0;)
    if (g->size[a] == 1) without(s, a);
  for (uint32_t a = g->rank; a-- > 1;)
    if (joins(s, a - 1)) g->size[a] *= g->size[a - 1], drop_axis(s, a - 1);
}

/* Inner axes that every inner reduction's operand has, but none reduces, may as well be outer ones: no value is then made more often. Not so where
 * an output that may lie in an input's memory lacks the axis: its elements belong to one outer point. */
static void widen_outer(kdj_shape *s) {
  kd_group *g = &s->g;
  uint32_t every = ~0u, over = 0;
  for (uint32_t i = 0; i < g->nins; i++)
    if (s->ins[i].shares) every &= s->ins[i].v.axes;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &s->ins[i].v;
    if (v->kind != KD_GROUP_REDUCE || (v->over & g->outer)) continue;
    every &= s->ins[v->in[0]].v.axes, over |= v->over;
  }
  g->outer |= every & ~over & (uint32_t)((1ull << g->rank) - 1);
}

int64_t kdj_points(const kd_group *g, uint32_t axes) {
  int64_t n = 1;
  for (uint32_t a = 0; a < g->rank; a++)
    if (axes >> a & 1) n *= g->size[a];
  return n;
}

/* How often a value is made: for each outer point, but what depends on none of them once, and what does not depend on an outer vectors' axis less. */
static double times_made(const kdj_shape *s, uint32_t axes, uint32_t a) {
  const kd_group *g = &s->g;
  if (axes & g->outer) axes |= g->outer & ~(axes >> a & 1 ? 0 : 1u << a);
  double lanes = axes >> a & 1 ? (double)((g->size[a] + 15) / 16) / (double)g->size[a] : 1;
  return (double)kdj_points(g, axes) * lanes;
}
static double cost_along(const kdj_shape *s, uint32_t a) {
  const kd_group *g = &s->g;
  double cost = 0;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &s->ins[i].v;
    double one = kdj_cost(v);
    if (v->kind == KD_GROUP_LOAD || v->kind == KD_GROUP_STORE || v->kind == KD_GROUP_GATHER) {
      int64_t st = g->stride[v->kind == KD_GROUP_STORE ? g->nin + v->operand : v->operand][a];
      bool far = v->kind == KD_GROUP_GATHER && (s->ins[v->in[0]].v.axes >> a & 1);
      one = far || (st != 0 && st != 1) ? 16 : 1;
    }
    if (v->kind == KD_GROUP_REDUCE && (v->over >> a & 1)) cost += 12 * times_made(s, v->axes & ~v->over, a);
    cost += one * times_made(s, v->kind == KD_GROUP_REDUCE ? v->axes | v->over : v->axes, a);
  }
  return cost;
}
/* The axis with the most contiguous memory and the fewest idle lanes. */
static void choose_vector_axis(kdj_shape *s) {
  double best = 0;
  s->v = -1;
  for (uint32_t a = s->g.rank; a-- > 0;) {
    double cost = cost_along(s, a);
    if (s->v < 0 || cost < best * .999) best = cost, s->v = (int)a;
  }
}

/* A final reduction whose results lie along the lanes is kept a chunk in memory. Where that is much, or where outer axes enough are left to share
 * the work, its axes become inner: then nothing has to be joined when the chunks are done. */
static bool turn_final(kdj_shape *s) {
  kd_group *g = &s->g;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &s->ins[i].v;
    if (v->kind != KD_GROUP_REDUCE || !(v->over & g->outer)) continue;
    uint32_t domain = s->ins[v->in[0]].v.axes, kept = domain & ~v->over, row_over = v->over & g->outer, left = g->outer & ~row_over;
    bool lanes = s->v >= 0 && (kept >> s->v & 1);
    int64_t work = kdj_points(g, left), turns = kdj_points(g, row_over);
    bool rows_kept = lanes && (kept & g->outer & ~(1u << s->v));
    bool few = lanes && (g->outer >> s->v & 1) && turns <= 512 && work >= 128;
    bool large = left && kdj_points(g, kept) > 16384;
    if (left && (rows_kept || few || large)) { g->outer = left; return true; }
  }
  return false;
}

/* An outer vectors' axis along which a large array is summed column by column becomes an inner one, so that it is read row by row (reads_rows of
 * shape.c): where the other outer axes are enough to share the work. */
static void keep_rows(kdj_shape *s) {
  kd_group *g = &s->g;
  uint32_t v = s->v >= 0 ? 1u << s->v : 0, cost = 0;
  bool reads = false;
  if (!(g->outer & v) || kdj_points(g, g->outer & ~v) < 16 || g->size[s->v] < 128 || g->size[s->v] > 4096) return;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *r = &s->ins[i].v;
    cost += kdj_cost(r);
    if (r->kind == KD_GROUP_REDUCE && (r->over & g->outer)) return;
    if (r->kind != KD_GROUP_REDUCE) continue;
    uint32_t domain = s->ins[r->in[0]].v.axes;
    int64_t rows = kdj_points(g, r->over);
    if (!(domain & v) || r->op != KD_OP_SUM || r->dtype != KD_F32 || rows < 4 || rows > 256) return;
    for (uint32_t k = 0; k < i; k++)
      reads |= s->ins[k].v.kind == KD_GROUP_LOAD && s->ins[k].v.axes == domain && (g->outer & ~domain) == 0 && kdj_points(g, domain) >= 1 << 18;
  }
  if (reads && cost <= 12) g->outer &= ~v;
}

void kdj_choose_axes(kdj_shape *s) {
  widen_outer(s);
  choose_vector_axis(s);
  keep_rows(s);
  while (turn_final(s)) {}
}
