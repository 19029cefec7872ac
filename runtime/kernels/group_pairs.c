/* group_pairs.c: which instructions become one primitive, so that what lies between them is never stored. */
#include "runtime/kernels/group_plan.h"

static bool bit(uint32_t m, uint32_t a) { return m >> a & 1; }

/* The last axis of a domain along which a tile has a length; -1: none. */
int kd__tiling_last(const kd__tiling *t, uint32_t axes) {
  for (int a = (int)t->p->rank - 1; a >= 0; a--)
    if (bit(axes, (uint32_t)a) && t->p->tile[a] > 1) return a;
  return -1;
}

static bool f32_elem(const kd_group *g, uint32_t i) {
  const kd_group_ins *v = &g->ins[i];
  return v->kind == KD_GROUP_ELEM && g->ins[v->in[0]].dtype == KD_F32;
}

/* Can instruction m, whose only reader is i as its operand k, be computed with it? */
static bool joins(const kd__tiling *t, uint32_t m, uint32_t i, uint32_t k) {
  const kd_group_ins *v = &t->g->ins[i], *w = &t->g->ins[m];
  if (w->kind != KD_GROUP_ELEM) return false;
  kd_dtype type = (kd_dtype)t->g->ins[w->in[0]].dtype;
  if (v->kind == KD_GROUP_ELEM) return v->dtype == type && w->axes == v->axes && kd__prim_pair((kd_op)w->op, (kd_op)v->op, type, k == 1, 0);
  if (type != KD_F32 || v->kind != KD_GROUP_REDUCE || v->op != KD_OP_SUM || w->op != KD_OP_MUL) return false;
  /* a product to be summed: both operands vary along the last axis, in long rows; or one does, and columns are summed */
  uint32_t axes = kd__tiling_mask(t, w->axes), a = kd__tiling_mask(t, t->g->ins[w->in[0]].axes), b = kd__tiling_mask(t, t->g->ins[w->in[1]].axes);
  int last = kd__tiling_last(t, axes);
  if (last < 0 || t->p->tile[last] < KD__TILE_SHORT) return false;
  bool along = !bit(kd__tiling_mask(t, v->over), (uint32_t)last);
  return bit(a, (uint32_t)last) && bit(b, (uint32_t)last) ? true : along;
}

/* Does x stay the same along the long rows of a domain? */
static bool single(const kd__tiling *t, uint32_t x, uint32_t axes) {
  int last = kd__tiling_last(t, kd__tiling_mask(t, axes));
  return last >= 0 && t->p->tile[last] >= KD__TILE_SHORT && !bit(kd__tiling_mask(t, t->g->ins[x].axes), (uint32_t)last);
}
static bool is_op(const kd__tiling *t, uint32_t i, kd_op op, uint32_t axes) {
  return f32_elem(t->g, i) && t->g->ins[i].op == op && t->g->ins[i].axes == axes;
}

static bool reads(const kd_group *g, uint32_t i, uint32_t d) {
  bool any = false;
  for (uint32_t k = 0; k < kd__group_operands(&g->ins[i]); k++) any |= g->ins[i].in[k] == d;
  return any;
}

/* Can i be made from d = x - w at once, whose operands were read at `from`? So the power of e of d, and d less something, do. */
static bool takes_difference(const kd__tiling *t, uint32_t i, uint32_t d, uint32_t from, uint32_t stored) {
  const kd_group_ins *v = &t->g->ins[i];
  if (from < stored || t->mate[i] != KD__NO_NODE) return false;
  if (is_op(t, i, KD_OP_EXP, t->g->ins[d].axes)) return true;
  return is_op(t, i, KD_OP_SUB, t->g->ins[d].axes) && v->in[0] == d && v->in[1] != d && single(t, v->in[1], v->axes);
}

/* Rows less one number each, which may be rows times a number: a softmax's operand less its maximum. Whoever reads them makes them anew, in registers. */
static void find_differences(kd__tiling *t, const uint32_t *uses, const uint32_t *stored, bool *made_anew) {
  const kd_group *g = t->g;
  for (uint32_t d = 0; d < g->nins; d++) {
    const kd_group_ins *v = &g->ins[d], *w = &g->ins[v->in[0]];
    if (!is_op(t, d, KD_OP_SUB, v->axes) || w->axes != v->axes || !single(t, v->in[1], v->axes) || t->mate[d] != KD__NO_NODE) continue;
    uint32_t from = d, found = 0;
    if (is_op(t, v->in[0], KD_OP_MUL, v->axes) && uses[v->in[0]] == 1 && single(t, w->in[0], v->axes) != single(t, w->in[1], v->axes) &&
        (g->ins[w->in[0]].axes == v->axes || g->ins[w->in[1]].axes == v->axes)) from = v->in[0];
    for (uint32_t i = d + 1; i < g->nins; i++) found += reads(g, i, d) && takes_difference(t, i, d, from, stored[i]);
    if (found != uses[d] || found < (from == d ? 2 : 1)) continue;
    made_anew[d] = true;
    for (uint32_t i = d + 1; i < g->nins; i++) {
      if (!reads(g, i, d)) continue;
      t->mate[i] = d;
      if (from != d) t->scale[i] = from;
    }
  }
}

/* mate[i]: the instruction that is computed with i; scale[i]: the product that comes before that one. */
void kd__tiling_pairs(kd__tiling *t) {
  const kd_group *g = t->g;
  uint32_t *uses = kd__arena_get(t->a, (g->nins + 1) * sizeof *uses), *stored = kd__arena_get(t->a, (g->nins + 1) * sizeof *stored), last = 0;
  t->mate = kd__arena_get(t->a, (g->nins + 1) * sizeof *t->mate), t->scale = kd__arena_get(t->a, (g->nins + 1) * sizeof *t->scale);
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    for (uint32_t k = 0; k < kd__group_operands(v); k++) uses[v->in[k]]++;
    if (v->kind == KD_GROUP_STORE && !kd__group_final(g, v->in[0])) last = i;          /* those of sums over outer axes come at the end */
    stored[i] = last, t->mate[i] = t->scale[i] = KD__NO_NODE;
  }
  bool *made_anew = kd__arena_get(t->a, g->nins + 1);
  find_differences(t, uses, stored, made_anew);
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    for (uint32_t k = 0; k < kd__group_operands(v) && k < 2 && t->mate[i] == KD__NO_NODE && !made_anew[i]; k++) {
      uint32_t m = v->in[k];
      if (uses[m] == 1 && m >= stored[i] && t->mate[m] == KD__NO_NODE && joins(t, m, i, k)) t->mate[i] = m;
    }
  }
}

/* v is instruction i and what is computed with it. */
void kd__tiling_join(const kd__tiling *t, uint32_t i, kd__node *v) {
  const kd_group *g = t->g;
  const kd_group_ins *from = &g->ins[i];
  if (t->mate[i] == KD__NO_NODE) return;
  const kd_group_ins *w = &g->ins[t->mate[i]];
  bool swapped = from->in[1] == t->mate[i];
  v->pair = (kd_op)from->op;
  if (t->scale[i] != KD__NO_NODE) {
    const kd_group_ins *m = &g->ins[t->scale[i]];
    bool first = m->axes == g->ins[m->in[0]].axes;
    v->scaled = true, v->v.op = m->op;
    v->in[0] = m->in[first ? 0 : 1], v->in[1] = m->in[first ? 1 : 0], v->in[2] = w->in[1], v->in[3] = from->in[1];
    v->nin = from->op == KD_OP_EXP ? 3 : 4;
    return;
  }
  v->swapped = swapped && from->op != KD_OP_EXP;
  v->in[0] = w->in[0], v->in[1] = w->in[1];
  if (from->kind == KD_GROUP_REDUCE) v->nin = 2;
  else if (from->op == KD_OP_EXP) v->nin = 2, v->v.op = w->op;
  else if (from->op == KD_OP_WHERE) v->in[2] = from->in[1], v->in[3] = from->in[2], v->nin = 4, v->v.op = w->op;
  else v->in[2] = from->in[swapped ? 0 : 1], v->nin = 3, v->v.op = w->op;
}
