/* within.c: a plan within a limit of memory.
 *
 * What is kept for a second reader far behind is thrown away and made once more before that reader, until the plan fits. The candidates of one round:
 * a turn (where most is in use, or where the losses are known), and for it which of the values that cross it stay. Those at 0, 1, 2 .. cuts of the
 * program before it stay, so that what lies between two cuts can be made from the first; and of the others as many as the target allows, the dearest
 * to make for their size first. The cheapest candidate that meets the target wins; where none does, the one that comes nearest is taken, and a
 * further round begins with its program. Targets go down step by step until the plan itself fits: so a limit that is given as the least is met. */
#include "compiler/plan/plan_make.h"
#include "compiler/plan/recompute.h"
#include <stdlib.h>

enum { ROUNDS = 6, CUTS = 24, RUNGS = 60 };

typedef struct crossing { uint32_t node; double worth; } crossing;       /* worth: cost for each byte */
typedef struct choice { uint32_t turn, cuts, stay; double again, excess; bool any; } choice;
typedef struct search {
  kd__rc *r;
  crossing *cross; uint32_t ncross;              /* what crosses the turn, the dearest first */
  uint32_t *cut, ncut;                           /* nodes after which the program before the turn is cut */
  int64_t *flow;                                 /* by node: bytes that later nodes before the turn read */
} search;

static int by_worth(const void *x, const void *y) {
  const crossing *a = x, *b = y;
  if (a->worth != b->worth) return a->worth > b->worth ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

static void find_crossing(search *s) {
  const kd__rc *r = s->r;
  s->ncross = 0;
  for (uint32_t i = 1; i <= r->turn; i++)
    if (r->root[i] == i && !r->fixed[i] && r->bytes[i] > 0 && r->last[i] > r->turn) s->cross[s->ncross++] = (crossing){ i, r->cost[i] / (double)r->bytes[i] };
  qsort(s->cross, s->ncross, sizeof *s->cross, by_worth);
}

/* last reader of each root before the turn -> flow */
static void find_flow(search *s, uint32_t *reader) {
  const kd__rc *r = s->r;
  memset(s->flow, 0, sizeof *s->flow * (r->n + (size_t)1));
  for (uint32_t i = 1; i <= r->turn; i++) {
    const kd_node *n = &r->g->node.v[i];
    reader[i] = i;
    for (uint32_t k = 0; k < n->nin; k++) reader[r->root[r->g->def.v[n->in[k]]]] = i;
  }
  for (uint32_t i = 1; i <= r->turn; i++) {
    if (r->root[i] != i || reader[i] == i) continue;
    s->flow[i] += r->bytes[i];
    s->flow[reader[i]] -= r->bytes[i];
  }
  for (uint32_t i = 1; i <= r->turn; i++) s->flow[i] += s->flow[i - 1];
}

/* Cuts that part what crosses evenly, each moved to where the least flows through it. */
static void find_cuts(search *s, uint32_t parts) {
  const kd__rc *r = s->r;
  int64_t all = 0, so_far = 0;
  uint32_t last = 0, window = r->turn / (4 * parts) + 1;
  for (uint32_t k = 0; k < s->ncross; k++) all += r->bytes[s->cross[k].node];
  s->ncut = 0;
  for (uint32_t i = 1; i <= r->turn && s->ncut + 1 < parts; i++) {
    if (r->root[i] == i && !r->fixed[i] && r->last[i] > r->turn) so_far += r->bytes[i];
    if ((double)so_far < (double)all * (s->ncut + 1) / parts) continue;
    uint32_t from = i > last + window ? i - window : last + 1, to = i + window < r->turn ? i + window : r->turn, best = i;
    for (uint32_t c = from; c <= to; c++) if (s->flow[c] < s->flow[best]) best = c;
    s->cut[s->ncut++] = last = best;
    if (best > i) i = best;
  }
}

static bool before_a_cut(const search *s, uint32_t made, uint32_t read) {
  for (uint32_t c = 0; c < s->ncut; c++) if (made <= s->cut[c] && read > s->cut[c]) return true;
  return false;
}

/* Marks what is thrown away when the dearest `stay` values stay beside those at the cuts. A view goes with what it is a view of. */
static void mark(search *s, const uint32_t *reader, uint32_t stay) {
  kd__rc *r = s->r;
  for (uint32_t i = 0; i < r->n; i++) r->drop[i] = i > 0 && i <= r->turn && r->root[i] == i && !r->fixed[i] && !before_a_cut(s, i, reader[i]);
  for (uint32_t k = 0; k < stay; k++) r->drop[s->cross[k].node] = false;
  for (uint32_t i = 1; i <= r->turn; i++) if (r->root[i] != i) r->drop[i] = r->drop[r->root[i]];
}

static void weigh(search *s, const uint32_t *reader, uint32_t cuts, uint32_t stay, choice *best) {
  kd__rc *r = s->r;
  mark(s, reader, stay);
  kd__rc_try(r);
  bool fits = r->excess == 0, good = best->any && best->excess == 0;
  if (best->any && (fits != good ? good : fits ? r->again >= best->again : r->excess >= best->excess)) return;
  *best = (choice){ r->turn, cuts, stay, r->again, r->excess, true };
}

/* With so many cuts: the most that may stay, by halving. */
static void try_turn(search *s, uint32_t *reader, uint32_t turn, choice *best) {
  s->r->turn = turn;
  find_crossing(s);
  find_flow(s, reader);
  for (uint32_t parts = 1; parts <= CUTS && parts <= s->ncross + 1; parts += parts < 8 ? 1 : 2) {
    find_cuts(s, parts);
    uint32_t low = 0, high = s->ncross;
    weigh(s, reader, parts, 0, best);
    while (low < high) {
      uint32_t middle = low + (high - low + 1) / 2;
      weigh(s, reader, parts, middle, best);
      if (s->r->excess == 0) low = middle;
      else high = middle - 1;
    }
  }
}

/* One round: a graph that takes less, or NULL. *fits: it meets the target. */
static kd_graph *one_round(kd__arena *a, const kd_graph *g, int64_t target, bool *fits) {
  kd__rc *r = kd__rc_new(a, g);
  r->target = target;
  search s = { .r = r, .cross = KD_NEWN(a, crossing, r->n), .cut = KD_NEWN(a, uint32_t, CUTS + 1), .flow = KD_NEWN(a, int64_t, r->n + (size_t)1) };
  uint32_t *reader = KD_NEWN(a, uint32_t, r->n);
  kd__rc_try(r);
  double before = r->excess;
  choice best = { 0 };
  uint32_t at = r->at;
  if (before == 0) { *fits = true; return kd__rc_graph(r); }
  try_turn(&s, reader, at, &best);
  if (r->end && r->end != at) try_turn(&s, reader, r->end, &best);
  if (!best.any || best.excess > before * 0.99) return NULL;
  r->turn = best.turn;
  find_crossing(&s);
  find_flow(&s, reader);
  find_cuts(&s, best.cuts);
  mark(&s, reader, best.stay);
  kd__rc_try(r);
  *fits = best.excess == 0;
  return kd__rc_graph(r);
}

static kd_graph *meet(kd__arena *a, const kd_graph *g, int64_t target) {
  kd_graph *now = NULL;
  bool fits = false;
  for (int i = 0; i < ROUNDS && !fits; i++) {
    now = one_round(a, now ? now : g, target, &fits);
    if (!now) return NULL;
  }
  return fits ? now : NULL;
}

/* One rung after the other, each in memory of its own. The graph whose plan fits, in `tmp`; NULL: none does. */
static kd_graph *descend(kd__arena *tmp, const kd_graph *g, const kd_slot *slots, uint32_t nslot, int64_t limit, int64_t *least) {
  kd__rc *whole = kd__rc_new(tmp, g);
  kd__rc_try(whole);
  double target = (double)whole->peak;
  for (int rung = 0; rung < RUNGS && target > 4096; rung++) {
    target *= 0.94;
    kd__arena_free(tmp);
    kd_graph *less = meet(tmp, g, (int64_t)target);
    kd_plan *plan = less ? kd__plan_make(tmp, less, slots, nslot, "", NULL, NULL) : NULL;
    if (!plan) return NULL;
    if (plan->arena_size < *least) *least = plan->arena_size;
    if (plan->arena_size <= limit) return less;
  }
  return NULL;
}

kd_plan *kd__plan_within(kd__arena *a, const kd_graph *g, const kd_slot *slots, uint32_t nslot, const char *name, int64_t limit, int64_t *least,
                         void (*note)(void *ctx, const kd_plan_note *n), void *ctx) {
  kd_plan *volatile plan = kd__plan_make(a, g, slots, nslot, name, note, ctx);
  if (!plan) return NULL;
  *least = plan->arena_size;
  if (*least <= limit) return plan;
  kd__arena tmp;
  kd__oom here = { .armed = false }, *outer = a->oom;
  kd__arena_init(&tmp, a->alloc, &here);
  volatile bool whole = false;
  plan = NULL;
  a->oom = &here;                                /* so that the scratch arena is freed before the jump goes on */
  if (setjmp(here.jump) == 0) {
    here.armed = true;
    kd_graph *less = descend(&tmp, g, slots, nslot, limit, least);
    plan = less ? kd__plan_make(a, less, slots, nslot, name, NULL, NULL) : NULL;
    whole = true;
  }
  a->oom = outer;
  kd__arena_free(&tmp);
  if (!whole && outer && outer->armed) longjmp(outer->jump, 1);
  return plan;
}
