/* schedule.c: an order of the steps that respects every edge and otherwise stays with the order in which they were made. */
#include "compiler/plan/planner.h"
#include <assert.h>

bool kd__pl_reaches(const kd__planner *p, kd__pl_search *s, const uint32_t *from, uint32_t nfrom) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < nfrom; i++) {
    s->stack[n++] = from[i];
    s->seen[from[i]] = s->stamp;
  }
  while (n > 0) {
    uint32_t step = s->stack[--n];
    for (uint32_t e = p->step.v[step].succ; e; e = p->edge.v[e].next) {
      uint32_t to = p->edge.v[e].to;
      if (s->mark[to] == s->stamp || --s->budget < 0) return true;
      if (s->seen[to] == s->stamp) continue;
      s->seen[to] = s->stamp;
      s->stack[n++] = to;
    }
  }
  return false;
}

/* A binary heap of step numbers, smallest first. */
static void heap_push(uint32_t *heap, uint32_t *n, uint32_t v) {
  uint32_t i = (*n)++;
  for (; i > 0 && heap[(i - 1) / 2] > v; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
  heap[i] = v;
}

static uint32_t heap_pop(uint32_t *heap, uint32_t *n) {
  uint32_t top = heap[0], v = heap[--*n], i = 0;
  for (uint32_t child; (child = 2 * i + 1) < *n; i = child) {
    if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= v) break;
    heap[i] = heap[child];
  }
  heap[i] = v;
  return top;
}

void kd__pl_schedule(kd__planner *p) {
  uint32_t nstep = (uint32_t)p->step.n, nready = 0;
  uint32_t *waits = KD_NEWN(p->tmp, uint32_t, nstep), *heap = KD_NEWN(p->tmp, uint32_t, nstep);
  p->order = KD_NEWN(p->tmp, uint32_t, nstep);
  for (size_t e = 1; e < p->edge.n; e++) waits[p->edge.v[e].to]++;
  for (uint32_t s = 1; s < nstep; s++)
    if (waits[s] == 0) heap_push(heap, &nready, s);
  while (nready > 0) {
    uint32_t s = heap_pop(heap, &nready);
    p->order[p->norder++] = s;
    for (uint32_t e = p->step.v[s].succ; e; e = p->edge.v[e].next)
      if (--waits[p->edge.v[e].to] == 0) heap_push(heap, &nready, p->edge.v[e].to);
  }
  assert(p->norder == nstep - 1 && "commit.c made a cycle");
}
