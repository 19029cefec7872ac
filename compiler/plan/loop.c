/* loop.c: a loop is one step of its plan; its body is a plan of its own, over slots of its own (runtime/exec/plan.h).
 *
 * So all of its memory is known beforehand: the body's arena is one more result of the step, the carries live in the results that they end up as,
 * and what the body reads from outside it reads where that lies. No two of these share memory, since all are needed at the same step. */
#include "compiler/plan/planner.h"

enum { BODY, TIMES, CARRIES };                   /* attributes */

static kd_slot *slots_of(kd__planner *p, const kd_node *n) {
  kd_slot *slot = KD_NEWN(p->out, kd_slot, n->nin + 1);
  slot[0] = (kd_slot){ .name = "turn", .kind = KD_SLOT_SCALAR, .type = { .dtype = KD_I64 } };
  for (uint32_t i = 0; i < n->nin; i++) {
    bool carry = i < n->attr[CARRIES].u.i;
    const char *name = carry ? kd__arena_printf(p->out, "carry%u", i) : kd__arena_printf(p->out, "in%u", i - (uint32_t)n->attr[CARRIES].u.i);
    slot[i + 1] = (kd_slot){ .name = name, .kind = carry ? KD_SLOT_STATE : KD_SLOT_FIELD, .type = *kd__type_of(p->g, n->in[i]), .block = i + 1 };
  }
  return slot;
}

/* A result of its own memory, row-major: the body sees it as a slot. */
static void place(kd__planner *p, uint32_t view) {
  kd__pl_view *v = &p->view.v[view];
  int64_t stride[KD_MAX_RANK] = { 0 };
  kd__pl_dense(v->type, stride);
  v->store = kd__pl_new_store(p, kd__pl_bytes(v->type));
  memcpy(v->stride, stride, sizeof v->stride);
}

static uint32_t arena_view(kd__planner *p, int64_t size) {
  kd_type *t = KD_NEW(p->tmp, kd_type);
  *t = (kd_type){ .dtype = KD_U8, .rank = 1, .dim = { size } };
  return kd__pl_new_view(p, t, kd__pl_new_store(p, size), 0, (int64_t[KD_MAX_RANK]){ 1 });
}

void kd__pl_loop(kd__planner *p, const kd_node *n) {
  kd_plan_loop *loop = KD_NEW(p->out, kd_plan_loop);
  kd_slot *slot = slots_of(p, n);
  const kd_plan *body = kd__plan_make(p->out, n->attr[BODY].u.graph, slot, n->nin + 1, "loop", NULL, NULL);
  *loop = (kd_plan_loop){ body, slot, n->nin + 1, (uint32_t)n->attr[CARRIES].u.i, n->attr[TIMES].u.i };
  uint32_t *in = KD_NEWN(p->tmp, uint32_t, n->nin), *out = KD_NEWN(p->tmp, uint32_t, n->nout + 1u);
  for (uint32_t i = 0; i < n->nin; i++) {
    const kd__pl_view *v = &p->view.v[n->in[i]];
    int64_t stride[KD_MAX_RANK] = { 0 };
    kd__pl_dense(v->type, stride);
    in[i] = i < loop->carries || kd__pl_row_major(v->type, v->stride) ? n->in[i] : kd__pl_materialise(p, n->in[i], stride, n->origin);
  }
  for (uint32_t k = 0; k < n->nout; k++) place(p, out[k] = n->out + k);
  out[n->nout] = arena_view(p, body->arena_size);
  p->copied += body->copied;
  uint32_t step = kd__pl_step_add(p, KD_OP_LOOP, in, n->nin, out, n->nout + 1u, n->attr, n->origin);
  p->step.v[step].loop = loop;
}
