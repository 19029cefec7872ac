/* bind_loop.c: a loop's body meets the memory of the loop's operands and results: they are the slots of its plan. */
#include "runtime/exec/bound.h"
#include <stdlib.h>

static bool dense(const kd_tensor *t, const kd_type *want) {
  int64_t n = 1;
  if (t->rank != want->rank || t->dtype != want->dtype) return false;
  for (int d = t->rank - 1; d >= 0; d--) {
    if (t->dim[d] != want->dim[d] || (t->dim[d] > 1 && t->stride[d] != n)) return false;
    n *= t->dim[d] > 1 ? t->dim[d] : 1;
  }
  return true;
}

/* Each stack has a row for each turn, as the body yields it. */
static bool stacks_fit(const kd_plan_loop *p, const kd_call *c) {
  for (uint32_t k = 0; k < p->body->nresult; k++) {
    const kd_tensor *t = &c->out[p->carries + k];
    if (p->body->result[k].tensor >= p->body->ntensor) return false;
    const kd_type *row = &p->body->tensor[p->body->result[k].tensor].type;
    if (t->rank != row->rank + 1 || t->dtype != row->dtype || t->dim[0] != p->times || (row->rank && memcmp(t->dim + 1, row->dim, sizeof *t->dim * row->rank) != 0))
      return false;
  }
  return true;
}

/* Each slot of the body is a block: the turn's number, then carries in the memory of their results, then operands. */
static kd_status open_store(kd_bound *b, uint32_t i, kd__bound_loop *l) {
  const kd_plan_loop *p = b->plan->call[i].loop;
  const kd_call *c = &b->call[i];
  l->store = (kd_store){ .slot = p->slot, .nslot = p->nslot, .nblock = p->nslot };
  l->store.block = calloc(p->nslot, sizeof *l->store.block);
  l->store.block_size = calloc(p->nslot, sizeof *l->store.block_size);
  if (!l->store.block || !l->store.block_size) return KD_E_MEMORY;
  l->store.block[0] = &l->turn, l->store.block_size[0] = sizeof l->turn;
  for (uint32_t s = 1; s < p->nslot; s++) {
    const kd_tensor *t = s <= p->carries ? &c->out[s - 1] : &c->in[s - 1];
    if (p->slot[s].block != s || p->slot[s].offset != 0 || !dense(t, &p->slot[s].type)) return KD_E_USAGE;
    l->store.block[s] = t->data;
    l->store.block_size[s] = kd__type_count(&p->slot[s].type) * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  }
  return KD_OK;
}

kd_status kd__bind_loop(kd_bound *b, uint32_t i) {
  const kd_plan_loop *p = b->plan->call[i].loop;
  const kd_call *c = &b->call[i];
  if (!p || p->nslot != c->nin + 1 || p->carries > c->nin || c->nout != p->carries + p->body->nresult + 1) return KD_E_USAGE;
  const kd_tensor *arena = &c->out[c->nout - 1];
  if (arena->rank != 1 || arena->dtype != KD_U8 || arena->dim[0] < p->body->arena_size || !stacks_fit(p, c)) return KD_E_USAGE;
  kd__bound_loop *l = calloc(1, sizeof *l);
  if (!l) return KD_E_MEMORY;
  b->loop[i] = l;
  kd_status st = open_store(b, i, l);
  if (st == KD_OK) st = kd__plan_bind(p->body, &l->store, arena->data, &b->set, &l->body);
  if (st != KD_OK) return st;
  size_t scratch = kd__bound_scratch(l->body);
  if (scratch > b->scratch) b->scratch = scratch;
  b->team = b->team || l->body->team;
  return KD_OK;
}

void kd__loop_close(kd__bound_loop *l) {
  if (!l) return;
  kd__bound_close(l->body);
  free(l->store.block);
  free(l->store.block_size);
  free(l);
}
