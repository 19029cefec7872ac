/* lower.c: graph nodes to steps over views. Views become aliases, constants one element each, everything else a kernel's step. */
#include "compiler/plan/planner.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

uint32_t kd__pl_new_store(kd__planner *p, int64_t size) {
  uint32_t id = (uint32_t)p->store.n;
  KD_PUSH(p->tmp, p->store, (kd__pl_store){ .size = size, .into = id, .first = KD__PL_NEVER });
  return id;
}

uint32_t kd__pl_new_view(kd__planner *p, const kd_type *t, uint32_t store, int64_t offset, const int64_t *stride) {
  kd__pl_view v = { .type = t, .store = store, .offset = offset };
  memcpy(v.stride, stride, sizeof(int64_t) * t->rank);
  KD_PUSH(p->tmp, p->view, v);
  return (uint32_t)p->view.n - 1;
}

void kd__pl_edge_add(kd__planner *p, uint32_t from, uint32_t to) {
  if (from == 0) return;
  assert(from != to);
  KD_PUSH(p->tmp, p->edge, (kd__pl_edge){ .to = to, .next = p->step.v[from].succ });
  p->step.v[from].succ = (uint32_t)p->edge.n - 1;
}

uint32_t kd__pl_step_add(kd__planner *p, uint32_t op, const uint32_t *in, uint32_t nin, const uint32_t *out, uint32_t nout, const kd_attr *attr,
                         kd_origin origin) {
  uint32_t id = (uint32_t)p->step.n;
  kd__pl_step s = { .op = (uint16_t)op, .nin = nin, .nout = nout, .attr = attr, .origin = origin };
  s.in = kd__arena_copy(p->tmp, in, sizeof *in * nin);
  s.out = kd__arena_copy(p->tmp, out, sizeof *out * nout);
  KD_PUSH(p->tmp, p->step, s);
  for (uint32_t i = 0; i < nin; i++) kd__pl_edge_add(p, p->view.v[in[i]].ready, id);
  for (uint32_t i = 0; i < nout; i++) p->view.v[out[i]].ready = id;
  return id;
}

uint32_t kd__pl_copy(kd__planner *p, uint32_t from, uint32_t to, kd_origin origin) {
  return kd__pl_step_add(p, KD__STEP_COPY, &from, 1, &to, 1, NULL, origin);
}

uint32_t kd__pl_materialise(kd__planner *p, uint32_t view, const int64_t *stride, kd_origin origin) {
  const kd_type *t = p->view.v[view].type;
  uint32_t to = kd__pl_new_view(p, t, kd__pl_new_store(p, kd__pl_bytes(t)), 0, stride);
  if (kd__type_count(t) > 0) kd__pl_copy(p, view, to, origin);
  return to;
}

void kd__pl_place(kd__planner *p, kd_value v, const int64_t *natural, bool strict) {
  if (kd__pl_go_home(p, v, natural, strict)) return;
  kd__pl_view *w = &p->view.v[v];
  w->store = kd__pl_new_store(p, kd__pl_bytes(w->type));
  memcpy(w->stride, natural, sizeof w->stride);
}

/* --- leaves ------------------------------------------------------------------------------------------------------------------ */

static void lower_input(kd__planner *p, const kd_node *n) {
  uint64_t slot = (uint64_t)n->attr[0].u.i;
  assert(slot < p->nslot);
  kd__pl_view *v = &p->view.v[n->out];
  uint32_t block = p->slot[slot].block;
  if (!p->block_store[block]) {
    uint32_t s = kd__pl_new_store(p, 0);
    p->store.v[s].in_slot = p->store.v[s].old = true;
    p->store.v[s].block = block;
    p->block_store[block] = s;
  }
  v->store = p->block_store[block];
  v->offset = p->slot[slot].offset;
  kd__pl_dense(v->type, v->stride);
}

/* All constants of one value share one element; a view of any shape repeats it. */
static void lower_const(kd__planner *p, const kd_node *n) {
  kd__pl_view *v = &p->view.v[n->out];
  uint64_t bits;
  memcpy(&bits, &n->attr[0].u.f, sizeof bits);
  char key[40];
  snprintf(key, sizeof key, "%d %" PRIx64, v->type->dtype, bits);
  void **known = kd__map_at(&p->consts, key);
  if (!*known) {
    kd_type *one = KD_NEW(p->tmp, kd_type);
    one->dtype = v->type->dtype;
    kd_attr *attr = KD_NEWN(p->tmp, kd_attr, 3);
    attr[0] = n->attr[0], attr[1] = n->attr[1], attr[2] = kd__al(NULL, 0);
    uint32_t store = kd__pl_new_store(p, kd__pl_bytes(one)), view = kd__pl_new_view(p, one, store, 0, p->view.v[n->out].stride);
    p->store.v[store].fixed = true;
    kd__pl_step_add(p, KD_OP_CONST, NULL, 0, &view, 1, attr, n->origin);
    *known = KD_NEW(p->tmp, uint32_t);
    *(uint32_t *)*known = view;
    v = &p->view.v[n->out];
  }
  const kd__pl_view *made = &p->view.v[*(uint32_t *)*known];
  v->store = made->store;
  v->ready = made->ready;
}

/* Only one line of positions is made; the other axes repeat it. */
static void lower_iota(kd__planner *p, const kd_node *n) {
  const kd_type *t = p->view.v[n->out].type;
  int64_t axis = n->attr[2].u.i, stride = 1;
  kd_type *line = KD_NEW(p->tmp, kd_type);
  line->dtype = t->dtype, line->rank = 1, line->dim[0] = t->dim[axis];
  kd_attr *attr = KD_NEWN(p->tmp, kd_attr, 3);
  attr[0] = n->attr[0], attr[1] = kd__al(line->dim, 1), attr[2] = kd__ai(0);
  uint32_t view = kd__pl_new_view(p, line, kd__pl_new_store(p, kd__pl_bytes(line)), 0, &stride);
  if (line->dim[0] > 0) kd__pl_step_add(p, KD_OP_IOTA, NULL, 0, &view, 1, attr, n->origin);
  kd__pl_view *v = &p->view.v[n->out];
  v->store = p->view.v[view].store;
  v->ready = p->view.v[view].ready;
  v->stride[axis] = 1;
}

/* --- views and kernels ------------------------------------------------------------------------------------------------------- */

static void lower_view(kd__planner *p, const kd_node *n) {
  kd__pl_view made;
  uint32_t from = n->in[0];
  const kd_type *type = p->view.v[n->out].type;
  if (!kd__pl_apply(n, &p->view.v[from], type, &made)) {
    /* A reshape that needs other memory: a copy to row-major, straight to where a concat wants the result if one does. */
    int64_t dense[KD_MAX_RANK] = { 0 };
    kd__pl_view source = { 0 };
    kd__pl_dense(type, dense);
    const kd_type *in = p->view.v[from].type;
    if (kd__pl_go_home(p, n->out, dense, false)) {
      kd__pl_view home = p->view.v[n->out];
      if (kd__pl_invert(n, &home, in, &source)) {
        uint32_t to = kd__pl_new_view(p, in, source.store, source.offset, source.stride);
        home.ready = kd__pl_copy(p, from, to, n->origin);
        p->view.v[n->out] = home;
        return;
      }
    }
    kd__pl_dense(in, dense);
    from = kd__pl_materialise(p, from, dense, n->origin);
    bool ok = kd__pl_apply(n, &p->view.v[from], type, &made);
    assert(ok), (void)ok;
  }
  p->view.v[n->out] = made;
}

static void lower_kernel(kd__planner *p, const kd_node *n) {
  kd_op op = (kd_op)n->op;
  uint32_t *in = KD_NEWN(p->tmp, uint32_t, n->nin), *out = KD_NEWN(p->tmp, uint32_t, n->nout);
  int64_t stride[KD_MAX_RANK] = { 0 };
  bool any = false;
  uint32_t nout = op == KD_OP_MAX_POOL && !p->read[n->out + 1] ? 1 : n->nout;    /* positions that nobody reads: a pool of a frozen network */
  for (uint32_t i = 0; i < n->nin; i++) {
    in[i] = n->in[i];
    const kd__pl_view *v = &p->view.v[in[i]];
    if (kd__op_info(op)->layout != KD_LAYOUT_DENSE || kd__pl_row_major(v->type, v->stride)) continue;
    kd__pl_dense(v->type, stride);
    in[i] = kd__pl_materialise(p, in[i], stride, n->origin);
  }
  for (uint32_t k = 0; k < nout; k++) {
    out[k] = n->out + k;
    kd__pl_natural(p, n, k, stride);
    kd__pl_place(p, out[k], stride, kd__pl_spatial(op));
    any = any || kd__type_count(p->view.v[out[k]].type) > 0;
  }
  if (any) kd__pl_step_add(p, op, in, n->nin, out, nout, n->attr, n->origin);   /* else there is nothing to compute */
}

void kd__pl_lower(kd__planner *p) {
  for (size_t i = 1; i < p->g->node.n; i++) {
    const kd_node *n = &p->g->node.v[i];
    if (!p->live[i]) continue;
    switch ((kd_op)n->op) {
      case KD_OP_INPUT: lower_input(p, n); break;
      case KD_OP_CONST: lower_const(p, n); break;
      case KD_OP_IOTA: lower_iota(p, n); break;
      case KD_OP_CONCAT: kd__pl_concat(p, n); break;
      case KD_OP_LOOP: kd__pl_loop(p, n); break;
      case KD_OP_GROUP: kd__pl_group(p, n); break;
      case KD_OP_STOP: lower_view(p, n); break;
      default:
        if (kd__op_info((kd_op)n->op)->cls == KD_CLASS_VIEW) lower_view(p, n);
        else lower_kernel(p, n);
    }
  }
}
