/* layout.c: physical layouts: strides of new values, and views as strides. */
#include "compiler/plan/planner.h"
#include <assert.h>

static int64_t at_least_1(int64_t v) { return v > 1 ? v : 1; }

void kd__pl_dense(const kd_type *t, int64_t *stride) {
  int64_t s = 1;
  for (int d = t->rank - 1; d >= 0; d--) {
    stride[d] = s;
    s *= at_least_1(t->dim[d]);
  }
}

void kd__pl_dense_in_order(const kd_type *t, const uint8_t *order, int64_t *stride) {
  int64_t s = 1;
  for (int i = t->rank - 1; i >= 0; i--) {
    stride[order[i]] = s;
    s *= at_least_1(t->dim[order[i]]);
  }
}

static int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

/* Axes of size 1 stay with their left neighbour: their strides say nothing. Repeated axes say nothing either: row-major then. */
void kd__pl_dense_like(const kd_type *t, const int64_t *like, int64_t *stride) {
  uint8_t order[KD_MAX_RANK];
  int n = 0;
  for (int d = 0; d < t->rank; d++) {
    if (t->dim[d] <= 1) continue;
    if (like[d] == 0) { kd__pl_dense(t, stride); return; }
    int i = n++;
    for (; i > 0 && magnitude(like[order[i - 1]]) < magnitude(like[d]); i--) order[i] = order[i - 1];
    order[i] = (uint8_t)d;
  }
  for (int d = t->rank - 1; d >= 0; d--)
    if (t->dim[d] <= 1) order[n++] = (uint8_t)d;
  kd__pl_dense_in_order(t, order, stride);
}

void kd__pl_channels_last(const kd_type *t, int64_t *stride) {
  uint8_t order[KD_MAX_RANK] = { 0 };
  for (int d = 2; d < t->rank; d++) order[d - 1] = (uint8_t)d;
  order[t->rank - 1] = 1;
  kd__pl_dense_in_order(t, order, stride);
}

bool kd__pl_same_strides(const kd_type *t, const int64_t *a, const int64_t *b) {
  for (int d = 0; d < t->rank; d++)
    if (t->dim[d] > 1 && a[d] != b[d]) return false;
  return true;
}

bool kd__pl_row_major(const kd_type *t, const int64_t *stride) {
  int64_t dense[KD_MAX_RANK];
  kd__pl_dense(t, dense);
  return kd__pl_same_strides(t, stride, dense);
}

static bool repeats(const kd_type *t, const int64_t *stride) {
  for (int d = 0; d < t->rank; d++)
    if (t->dim[d] > 1 && stride[d] == 0) return true;
  return false;
}

int64_t kd__pl_bytes(const kd_type *t) { return kd__type_count(t) * (int64_t)kd__dtype_size((kd_dtype)t->dtype); }

bool kd__pl_extent(const kd__pl_view *v, int64_t *lo, int64_t *hi) {
  int64_t size = (int64_t)kd__dtype_size((kd_dtype)v->type->dtype);
  *lo = v->offset, *hi = v->offset + size;
  for (int d = 0; d < v->type->rank; d++) {
    if (v->type->dim[d] == 0) return false;
    int64_t span = (v->type->dim[d] - 1) * v->stride[d] * size;
    *(span < 0 ? lo : hi) += span;
  }
  return true;
}

/* --- views ---------------------------------------------------------------------------------------------------------------- */

/* numpy's rule: runs of old axes and runs of new axes of equal size correspond; within a run the old axes must lie like one axis. */
static bool reshape_strides(const kd_type *from, const int64_t *old, const kd_type *to, int64_t *stride) {
  int64_t dim[KD_MAX_RANK], st[KD_MAX_RANK];
  int n = 0, i = 0, k = 0;
  for (int d = 0; d < from->rank; d++)
    if (from->dim[d] != 1) dim[n] = from->dim[d], st[n++] = old[d];
  kd__pl_dense(to, stride);
  if (kd__type_count(to) == 0) return true;
  while (i < n || k < to->rank) {
    int i0 = i, k0 = k;
    int64_t a = i < n ? dim[i++] : 1, b = k < to->rank ? to->dim[k++] : 1;
    while (a != b) {
      if (a < b) a *= dim[i++];
      else b *= to->dim[k++];
    }
    for (int j = i0; j + 1 < i; j++)
      if (st[j] != dim[j + 1] * st[j + 1]) return false;
    int64_t s = i > i0 ? st[i - 1] : 1;
    for (int j = k - 1; j >= k0; j--) {
      stride[j] = s;
      s *= to->dim[j];
    }
  }
  return true;
}

static void slice_strides(const kd_node *n, const kd__pl_view *from, kd__pl_view *to) {
  const int64_t *start = n->attr[0].u.list, *step = n->attr[2].u.list;
  int64_t size = (int64_t)kd__dtype_size((kd_dtype)from->type->dtype);
  bool empty = kd__type_count(to->type) == 0;
  for (int d = 0; d < from->type->rank; d++) {
    if (!empty) to->offset += start[d] * from->stride[d] * size;
    to->stride[d] = from->stride[d] * step[d];
  }
}

bool kd__pl_apply(const kd_node *n, const kd__pl_view *from, const kd_type *type, kd__pl_view *to) {
  *to = (kd__pl_view){ .type = type, .store = from->store, .ready = from->ready, .offset = from->offset };
  switch ((kd_op)n->op) {
    case KD_OP_RESHAPE: return reshape_strides(from->type, from->stride, type, to->stride);
    case KD_OP_STOP: memcpy(to->stride, from->stride, sizeof to->stride); return true;
    case KD_OP_SLICE: slice_strides(n, from, to); return true;
    case KD_OP_PERMUTE:
      for (int d = 0; d < type->rank; d++) to->stride[d] = from->stride[n->attr[0].u.list[d]];
      return true;
    default:
      assert(n->op == KD_OP_BROADCAST);
      for (int d = 0; d < from->type->rank; d++) to->stride[n->attr[1].u.list[d]] = from->stride[d];
      return true;
  }
}

bool kd__pl_invertible(kd_op op) { return op == KD_OP_RESHAPE || op == KD_OP_PERMUTE || op == KD_OP_STOP; }

bool kd__pl_invert(const kd_node *n, const kd__pl_view *to, const kd_type *type, kd__pl_view *from) {
  *from = (kd__pl_view){ .type = type, .store = to->store, .offset = to->offset };
  if (n->op == KD_OP_RESHAPE) return reshape_strides(to->type, to->stride, type, from->stride);
  for (int d = 0; d < type->rank; d++) {
    if (n->op == KD_OP_PERMUTE) from->stride[n->attr[0].u.list[d]] = to->stride[d];
    else from->stride[d] = to->stride[d];
  }
  return true;
}

/* --- who wants what --------------------------------------------------------------------------------------------------------- */

bool kd__pl_spatial(kd_op op) {
  return op == KD_OP_CONV || op == KD_OP_CONV_POST || op == KD_OP_CONV_DATA || op == KD_OP_MAX_POOL || op == KD_OP_SUM_POOL || op == KD_OP_SUM_POOL_DATA;
}

static bool follows_operand(kd_op op) { return kd__op_info(op)->cls == KD_CLASS_ELEM || kd__op_info(op)->cls == KD_CLASS_NORM || op == KD_OP_PAD; }

/* Does reader `n` want operand i with its channels innermost? Only a wish: any strides are right. */
static bool wants_channels(const kd__planner *p, const kd_node *n, uint32_t i) {
  kd_op op = (kd_op)n->op;
  if (kd__type_of(p->g, n->in[i])->rank < 3) return false;
  if (op == KD_OP_CONV_POST && i > 1) return true;                               /* what is added lies as the result */
  if (kd__pl_spatial(op)) return i == 0;
  if (op == KD_OP_GROUP) {                       /* what is made of it at the same places */
    for (kd_value v = n->out; v < n->out + n->nout; v++)
      if (p->channels[v] && kd__same_shape(kd__type_of(p->g, v), kd__type_of(p->g, n->in[i]))) return true;
    return false;
  }
  return op == KD_OP_CONV_WEIGHT || (follows_operand(op) && p->channels[n->out]);
}

/* A product whose axes are exchanged and then joined, as heads of attention are: it may write its rows in the order that they are read in. */
static void wants_turned(const kd__planner *p, const kd_node *reshape) {
  const kd_graph *g = p->g;
  if (reshape->op != KD_OP_RESHAPE) return;
  const kd_node *turn = &g->node.v[g->def.v[reshape->in[0]]];
  if (turn->op != KD_OP_PERMUTE || g->node.v[g->def.v[turn->in[0]]].op != KD_OP_MATMUL) return;
  kd__pl_view plain = { .type = kd__type_of(g, turn->in[0]) }, made, out;
  kd__pl_dense(plain.type, plain.stride);
  if (kd__pl_apply(turn, &plain, kd__type_of(g, turn->out), &made) && !kd__pl_apply(reshape, &made, kd__type_of(g, reshape->out), &out)) p->turned[turn->in[0]] = turn;
}

void kd__pl_mark(kd__planner *p) {
  const kd_graph *g = p->g;
  for (size_t i = 0; i < g->write.n; i++) {
    kd_value v = g->write.v[i].value;
    p->live[g->def.v[v]] = p->row[v] = p->read[v] = true;
  }
  for (size_t i = 0; i < g->result.n; i++) p->live[g->def.v[g->result.v[i].value]] = p->read[g->result.v[i].value] = true;
  for (size_t i = g->node.n; i-- > 1;) {
    const kd_node *n = &g->node.v[i];
    if (!p->live[i]) continue;
    wants_turned(p, n);
    for (uint32_t k = 0; k < n->nin; k++) {
      p->live[g->def.v[n->in[k]]] = p->read[n->in[k]] = true;
      if (wants_channels(p, n, k)) p->channels[n->in[k]] = true;
      if (p->row[n->out] && (n->op == KD_OP_RESHAPE || n->op == KD_OP_SLICE || n->op == KD_OP_STOP)) p->row[n->in[k]] = true;
    }
  }
}

/* The layout of an operand without repeated axes; the first that is not row-major decides. */
static bool like_operand(const kd__planner *p, const kd_node *n, const kd_type *t, int64_t *stride) {
  bool found = false;
  for (uint32_t i = 0; i < n->nin; i++) {
    const kd__pl_view *v = &p->view.v[n->in[i]];
    if (repeats(v->type, v->stride)) continue;
    kd__pl_dense_like(t, v->stride, stride);
    found = true;
    if (!kd__pl_row_major(t, stride)) return true;
  }
  return found;
}

/* The order of the axes that are left. */
static void like_reduced(const kd_node *n, const kd__pl_view *from, const kd_type *t, int64_t *stride) {
  bool gone[KD_MAX_RANK] = { false };
  int64_t like[KD_MAX_RANK];
  int k = 0;
  if (n->attr[0].kind == 'i') gone[n->attr[0].u.i] = true;
  else for (uint32_t i = 0; i < n->attr[0].n; i++) gone[n->attr[0].u.list[i]] = true;
  for (int d = 0; d < from->type->rank; d++)
    if (!gone[d]) like[k++] = from->stride[d];
  assert(k == t->rank);
  kd__pl_dense_like(t, like, stride);
}

void kd__pl_natural(const kd__planner *p, const kd_node *n, uint32_t k, int64_t *stride) {
  kd_op op = (kd_op)n->op;
  kd_value v = n->out + k;
  const kd_type *t = kd__type_of(p->g, v);
  kd__pl_dense(t, stride);
  if (kd__pl_spatial(op) && t->rank >= 3) { kd__pl_channels_last(t, stride); return; }
  if (p->row[v]) return;
  if (p->turned[v]) {
    kd__pl_view turned = { .type = kd__type_of(p->g, p->turned[v]->out) }, from;
    kd__pl_dense(turned.type, turned.stride);
    if (kd__pl_invert(p->turned[v], &turned, t, &from) && from.stride[t->rank - 1] == 1) memcpy(stride, from.stride, sizeof from.stride);    /* whole rows */
    return;
  }
  if (kd__op_info(op)->cls == KD_CLASS_REDUCE) { like_reduced(n, &p->view.v[n->in[0]], t, stride); return; }
  if (op == KD_OP_SCATTER_ADD || op == KD_OP_SCATTER_SET) {
    /* Zeros under a gradient say nothing; the values of a pool's gradient have their channels innermost. */
    const kd__pl_view *base = &p->view.v[n->in[0]], *value = &p->view.v[n->in[2]];
    bool follow = repeats(base->type, base->stride) && value->type->rank == t->rank;
    kd__pl_dense_like(t, follow ? value->stride : base->stride, stride);
    return;
  }
  if (!follows_operand(op)) return;
  like_operand(p, n, t, stride);
  if (p->channels[v] && kd__pl_row_major(t, stride)) kd__pl_channels_last(t, stride);
}
