/* concat.c: concatenation without copies: an alias of neighbours, or operands produced where the whole lies. */
#include "compiler/plan/planner.h"

enum { MAX_NESTING = 64 };                       /* of concats in concats, and of views between: deeper ones are copied */

static kd_value made_by_kernel(const kd__planner *p, kd_value v) {
  const kd_node *n = kd__node_of(p->g, v);
  for (int i = 0; i < MAX_NESTING && kd__pl_invertible((kd_op)n->op); i++) n = kd__node_of(p->g, v = n->in[0]);
  return v;
}

/* Values that no kernel writes as a whole: they have no home to go to. */
static bool homeless(kd_op op) {
  return op == KD_OP_INPUT || op == KD_OP_CONST || op == KD_OP_IOTA || op == KD_OP_BROADCAST || op == KD_OP_SLICE || kd__pl_invertible(op);
}

void kd__pl_find_homes(kd__planner *p) {
  for (size_t i = 1; i < p->g->node.n; i++) {
    const kd_node *n = &p->g->node.v[i];
    if (!p->live[i] || n->op != KD_OP_CONCAT) continue;
    int64_t at = 0, axis = n->attr[0].u.i;
    for (uint32_t k = 0; k < n->nin; at += kd__type_of(p->g, n->in[k++])->dim[axis]) {
      kd_value v = made_by_kernel(p, n->in[k]);
      /* A reshape on the way may turn out to be a copy; then that copy goes home, not the kernel's result. */
      for (kd_value w = n->in[k];; w = kd__node_of(p->g, w)->in[0]) {
        bool reshape = kd__node_of(p->g, w)->op == KD_OP_RESHAPE;
        if ((reshape || (w == v && !homeless((kd_op)kd__node_of(p->g, w)->op))) && !p->home[w].node)
          p->home[w] = (kd__pl_home){ (uint32_t)i, k, at };
        if (w == v) break;
      }
    }
  }
}

/* Where operand `index`, which begins at position `at` of the axis, lies in the concat's view. */
static kd__pl_view part_of(const kd__planner *p, const kd_node *c, uint32_t index, int64_t at) {
  kd__pl_view part = p->view.v[c->out];
  int64_t axis = c->attr[0].u.i;
  part.offset += at * part.stride[axis] * (int64_t)kd__dtype_size((kd_dtype)part.type->dtype);
  part.type = kd__type_of(p->g, c->in[index]);
  part.ready = part.tensor = 0;
  return part;
}

typedef struct chain { const kd_node *node[MAX_NESTING]; int n; } chain;     /* views from the operand back to the value */

static bool chain_to(const kd__planner *p, kd_value from, kd_value to, chain *c) {
  for (c->n = 0; from != to; from = c->node[c->n++]->in[0]) {
    const kd_node *n = kd__node_of(p->g, from);
    if (c->n == MAX_NESTING || !kd__pl_invertible((kd_op)n->op)) return false;
    c->node[c->n] = n;
  }
  return true;
}

static bool go_home(kd__planner *p, kd_value v, const int64_t *natural, bool strict, int depth);

/* The concat's memory, in the order of axes that the first operand to be produced would like. */
static void make_whole(kd__planner *p, const kd_node *c, uint32_t index, const int64_t *like, int depth) {
  int64_t stride[KD_MAX_RANK] = { 0 };
  const kd_type *t = kd__type_of(p->g, c->out);
  kd__pl_dense(t, stride);
  /* An axis of one element in the operand says nothing about its place in the whole: then row-major. */
  if (like && !p->row[c->out] && kd__type_of(p->g, c->in[index])->dim[c->attr[0].u.i] > 1) kd__pl_dense_like(t, like, stride);
  if (go_home(p, c->out, stride, false, depth + 1)) return;
  kd__pl_view *w = &p->view.v[c->out];
  w->store = kd__pl_new_store(p, kd__pl_bytes(t));
  memcpy(w->stride, stride, sizeof w->stride);
}

static bool go_home(kd__planner *p, kd_value v, const int64_t *natural, bool strict, int depth) {
  kd__pl_home home = p->home[v];
  if (!home.node || depth > MAX_NESTING || kd__type_count(kd__type_of(p->g, v)) == 0) return false;
  const kd_node *c = &p->g->node.v[home.node];
  chain way;
  if (!chain_to(p, c->in[home.index], v, &way)) return false;
  if (!p->view.v[c->out].store) {
    kd__pl_view like = { .type = kd__type_of(p->g, v) }, next;
    memcpy(like.stride, natural, sizeof(int64_t) * like.type->rank);
    bool ok = true;
    for (int i = way.n - 1; i >= 0 && ok; i--, like = next) ok = kd__pl_apply(way.node[i], &like, kd__type_of(p->g, way.node[i]->out), &next);
    make_whole(p, c, home.index, ok ? like.stride : NULL, depth);
  }
  kd__pl_view at = part_of(p, c, home.index, home.at), before;
  for (int i = 0; i < way.n; i++, at = before)
    if (!kd__pl_invert(way.node[i], &at, kd__type_of(p->g, way.node[i]->in[0]), &before)) return false;
  int64_t order[KD_MAX_RANK] = { 0 };
  kd__pl_dense_like(at.type, at.stride, order);
  if (strict && !kd__pl_same_strides(at.type, order, natural)) return false;
  p->view.v[v] = at;
  return true;
}

bool kd__pl_go_home(kd__planner *p, kd_value v, const int64_t *natural, bool strict) { return go_home(p, v, natural, strict, 0); }

/* --- aliases of neighbours -------------------------------------------------------------------------------------------------- */

/* The stride along the concat's axis: of an operand with two elements there, or the distance of two operands. */
static int64_t axis_stride(const kd__planner *p, const kd_node *n, int64_t axis) {
  const kd__pl_view *one = NULL;
  for (uint32_t i = 0; i < n->nin; i++) {
    const kd__pl_view *v = &p->view.v[n->in[i]];
    if (kd__type_count(v->type) == 0) continue;
    if (v->type->dim[axis] > 1) return v->stride[axis];
    if (one) return (v->offset - one->offset) / (int64_t)kd__dtype_size((kd_dtype)v->type->dtype);
    one = v;
  }
  return one ? one->stride[axis] : 1;
}

static bool alias_of_neighbours(kd__planner *p, const kd_node *n) {
  int64_t axis = n->attr[0].u.i, along = axis_stride(p, n, axis), next = 0;
  kd__pl_view made = { 0 };
  for (uint32_t i = 0; i < n->nin; i++) {
    const kd__pl_view *v = &p->view.v[n->in[i]];
    const kd_type *t = v->type;
    if (kd__type_count(t) == 0) continue;
    if (!made.type) {
      made = *v, made.tensor = 0, made.type = kd__type_of(p->g, n->out);
      made.stride[axis] = along;
      next = v->offset;
    }
    if (v->store != made.store || v->offset != next) return false;
    if (!kd__pl_same_strides(t, v->stride, made.stride)) return false;
    next += along * t->dim[axis] * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  }
  if (!made.type) return false;
  p->view.v[n->out] = made;
  return true;
}

/* The concat may be read when all its parts are there. */
static void join(kd__planner *p, const kd_node *n, const uint32_t *part) {
  uint32_t ready = 0;
  bool several = false;
  for (uint32_t i = 0; i < n->nin; i++) {
    uint32_t r = p->view.v[part[i]].ready;
    several = several || (ready && r && r != ready);
    if (r) ready = r;
  }
  if (several) ready = kd__pl_step_add(p, KD__STEP_JOIN, part, n->nin, NULL, 0, NULL, n->origin);
  p->view.v[n->out].ready = ready;
}

void kd__pl_concat(kd__planner *p, const kd_node *n) {
  uint32_t *part = kd__arena_copy(p->tmp, n->in, sizeof *part * n->nin);
  if (p->view.v[n->out].store || !alias_of_neighbours(p, n)) {
    uint32_t big = 0;
    for (uint32_t i = 1; i < n->nin; i++)
      if (kd__type_count(p->view.v[part[i]].type) > kd__type_count(p->view.v[part[big]].type)) big = i;
    if (!p->view.v[n->out].store) make_whole(p, n, big, p->view.v[part[big]].stride, 0);
    int64_t begin = 0;
    for (uint32_t i = 0; i < n->nin; i++) {
      const kd__pl_view *v = &p->view.v[part[i]];
      kd__pl_view at = part_of(p, n, i, begin);
      begin += v->type->dim[n->attr[0].u.i];
      if (kd__type_count(v->type) == 0 || (v->store == at.store && v->offset == at.offset && kd__pl_same_strides(v->type, v->stride, at.stride))) continue;
      uint32_t to = kd__pl_new_view(p, at.type, at.store, at.offset, at.stride);
      kd__pl_copy(p, part[i], to, n->origin);
      part[i] = to;
    }
  }
  join(p, n, part);
}
