/* memory.c: when each store is needed, which stores take over the memory of one that dies, and where they lie in the arena. */
#include "compiler/plan/planner.h"

static uint32_t root(const kd__planner *p, uint32_t store) { return p->store.v[store].into; }

/* What steps use that run side by side lives as long as all of them do. */
static void use(kd__planner *p, uint32_t view, uint32_t first, uint32_t last) {
  kd__pl_store *s = &p->store.v[p->view.v[view].store];
  if (s->first == KD__PL_NEVER) s->first = first;
  s->last = last;
}

static void find_lifetimes(kd__planner *p) {
  for (uint32_t i = 1; i < p->store.n; i++) p->store.v[i].first = KD__PL_NEVER, p->store.v[i].last = 0, p->store.v[i].into = i;
  for (uint32_t i = 0; i < p->norder; i++) {
    const kd__pl_step *s = &p->step.v[p->order[i]];
    if (s->op == KD__STEP_JOIN) continue;
    for (uint32_t k = 0; k < s->nin; k++) use(p, s->in[k], p->side[i].first, p->side[i].last);
    for (uint32_t k = 0; k < s->nout; k++) use(p, s->out[k], p->side[i].first, p->side[i].last);
  }
  for (size_t i = 0; i < p->g->result.n; i++) use(p, p->result[i], p->norder, p->norder);
}

/* Is operand k, whose store dies at `pos`, just what result `r` needs? The other operands must not lie in that store otherwise. */
static bool can_take_over(const kd__planner *p, const kd__pl_step *s, uint32_t k, uint32_t r, uint32_t pos) {
  const kd__pl_view *out = &p->view.v[s->out[r]], *in = &p->view.v[s->in[k]];
  const kd__pl_store *to = &p->store.v[out->store], *from = &p->store.v[root(p, in->store)];
  if (from->in_slot || from->last != pos || from->size != to->size || in->offset != out->offset) return false;
  if (!kd__pl_overwrites(p, s, k, r)) return false;
  for (uint32_t j = 0; j < s->nin; j++) {
    const kd__pl_view *other = &p->view.v[s->in[j]];
    if (j == k || root(p, other->store) != root(p, in->store)) continue;
    if (other->offset != in->offset || !kd__pl_overwrites(p, s, j, r)) return false;
  }
  for (uint32_t j = 0; j < s->nout; j++)         /* another result has taken it */
    if (j != r && root(p, p->view.v[s->out[j]].store) == root(p, in->store)) return false;
  return true;
}

static void take_over(kd__planner *p, uint32_t pos) {
  const kd__pl_step *s = &p->step.v[p->order[pos]];
  for (uint32_t r = 0; r < s->nout; r++) {
    const kd__pl_view *out = &p->view.v[s->out[r]];
    kd__pl_store *to = &p->store.v[out->store];
    if (to->in_slot || to->first != pos || kd__pl_bytes(out->type) != to->size || to->size == 0) continue;
    for (uint32_t k = 0; k < s->nin; k++) {
      if (!can_take_over(p, s, k, r, pos)) continue;
      to->into = root(p, p->view.v[s->in[k]].store);
      if (to->last > p->store.v[to->into].last) p->store.v[to->into].last = to->last;
      break;
    }
  }
}

static int64_t round_up(int64_t v) { return (v + KD__PL_ALIGN - 1) / KD__PL_ALIGN * KD__PL_ALIGN; }

void kd__pl_memory(kd__planner *p) {
  find_lifetimes(p);
  for (uint32_t i = 0; i < p->norder; i++)
    if (p->side[i].first == p->side[i].last) take_over(p, i);
  kd__pl_span *span = KD_NEWN(p->tmp, kd__pl_span, p->store.n);
  uint32_t n = 0;
  for (uint32_t i = 1; i < p->store.n; i++) {
    const kd__pl_store *s = &p->store.v[i];
    if (s->in_slot || s->into != i || s->size == 0 || s->first == KD__PL_NEVER) continue;
    span[n++] = (kd__pl_span){ .size = round_up(s->size), .first = s->first, .last = s->last, .id = i };
  }
  p->arena_size = kd__pl_fit(p->tmp, span, n);
  for (uint32_t i = 0; i < n; i++) p->store.v[span[i].id].base = span[i].at;
  for (uint32_t i = 1; i < p->store.n; i++)
    if (p->store.v[i].into != i) p->store.v[i].base = p->store.v[p->store.v[i].into].base;
}
