/* commit.c: writes to slots. As the graph means it, all reads come first and all writes after them; here writes are made free where
 * the value can be produced right in its slot, once the last reader of the old value has run.
 *
 * Three kinds of writes:
 *  - of the old memory of slots (slot a <- slot b): a copy. It reads a slot itself, so it must precede what overwrites that one; where
 *    copies would wait for each other (a swap) one of them goes through the arena;
 *  - of arena stores whose parts are written, all of them, to slots where they would lie just the same: the store moves there;
 *  - all others: a copy, which waits for the old value's readers and nobody waits for it. */
#include "compiler/plan/planner.h"
#include "runtime/kernels/group.h"
#include <assert.h>
#include <stdlib.h>

/* --- slots by place ------------------------------------------------------------------------------------------------------------ */

static int by_place(const void *x, const void *y, void *ctx) {
  const kd_slot *slot = ctx, *a = &slot[*(const uint32_t *)x], *b = &slot[*(const uint32_t *)y];
  if (a->block != b->block) return a->block < b->block ? -1 : 1;
  return (a->offset > b->offset) - (a->offset < b->offset);
}

void kd__pl_sort_slots(kd__planner *p) {
  p->by_place = KD_NEWN(p->tmp, uint32_t, p->nslot + 1);
  for (uint32_t i = 0; i < p->nslot; i++) {
    if (p->slot[i].block >= p->nblock) p->nblock = p->slot[i].block + 1;
    if (kd__type_count(&p->slot[i].type) > 0) p->by_place[p->nplaced++] = i;
  }
  qsort_r(p->by_place, p->nplaced, sizeof *p->by_place, by_place, (void *)(uintptr_t)p->slot);
  p->block_store = KD_NEWN(p->tmp, uint32_t, p->nblock + 1);
}

uint32_t kd__pl_slot_from(const kd__planner *p, uint32_t block, int64_t at) {
  uint32_t lo = 0, hi = p->nplaced;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    const kd_slot *s = &p->slot[p->by_place[mid]];
    bool before = s->block < block || (s->block == block && s->offset + kd__pl_bytes(&s->type) <= at);
    if (before) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/* --- who reads a slot's old value --------------------------------------------------------------------------------------------- */

typedef struct item { uint32_t step, next; } item;   /* of a list of steps; 0 ends */
typedef struct commit {
  kd__planner *p;
  KD_VEC(item) item;                             /* [0] unused */
  uint32_t *readers;                             /* by slot: list of steps that read its old value; only of written slots */
  uint32_t *writers;                             /* by store, if writes come from it: list of steps that make it */
  uint32_t *next_write, *first_write;            /* writes by the store they come from: by write, by store; 1 + index, 0 ends */
  uint32_t nstore;                               /* when the lists were made */
  kd__pl_search search;
  size_t room;                                   /* of the search's arrays */
} commit;

/* The view's bytes within its block, if it lies in one. */
static bool block_range(const kd__planner *p, const kd__pl_view *v, uint32_t *block, int64_t *lo, int64_t *hi) {
  const kd__pl_store *s = &p->store.v[v->store];
  if (!s->in_slot || !kd__pl_extent(v, lo, hi)) return false;
  *block = s->block;
  *lo += s->base, *hi += s->base;
  return true;
}

static bool touches_written(const kd__planner *p, const kd__pl_view *v) {
  uint32_t block;
  int64_t lo, hi;
  if (!block_range(p, v, &block, &lo, &hi)) return false;
  for (uint32_t i = kd__pl_slot_from(p, block, lo); i < p->nplaced; i++) {
    const kd_slot *s = &p->slot[p->by_place[i]];
    if (s->block != block || s->offset >= hi) return false;
    if (p->written[p->by_place[i]]) return true;
  }
  return false;
}

/* Adds the step to a list unless it was the last one added. */
static void list_add(commit *c, uint32_t *list, uint32_t step) {
  if (*list && c->item.v[*list].step == step) return;
  KD_PUSH(c->p->tmp, c->item, (item){ step, *list });
  *list = (uint32_t)c->item.n - 1;
}

static void note_reads(commit *c, uint32_t step) {
  const kd__planner *p = c->p;
  const kd__pl_step *s = &p->step.v[step];
  for (uint32_t k = 0; k < s->nin; k++) {
    const kd__pl_view *v = &p->view.v[s->in[k]];
    uint32_t block;
    int64_t lo, hi;
    if (!p->store.v[v->store].old || !block_range(p, v, &block, &lo, &hi)) continue;
    for (uint32_t i = kd__pl_slot_from(p, block, lo); i < p->nplaced; i++) {
      uint32_t id = p->by_place[i];
      if (p->slot[id].block != block || p->slot[id].offset >= hi) break;
      if (p->written[id]) list_add(c, &c->readers[id], step);
    }
  }
}

/* --- copies into slots -------------------------------------------------------------------------------------------------------- */

/* A view of slot `slot` that takes a value of type `t`: row-major from the slot's start. */
static uint32_t target_view(kd__planner *p, uint32_t slot, const kd_type *t) {
  int64_t stride[KD_MAX_RANK] = { 0 };
  uint32_t s = kd__pl_new_store(p, 0);
  p->store.v[s].in_slot = true;
  p->store.v[s].block = p->slot[slot].block;
  kd__pl_dense(t, stride);
  return kd__pl_new_view(p, t, s, p->slot[slot].offset, stride);
}

static void count_copy(kd__planner *p, const kd_write *w) {
  int64_t bytes = kd__pl_bytes(kd__type_of(p->g, w->value));
  p->copied += bytes;
  if (bytes > 1 << 20 && p->note) p->note(p->note_ctx, &(kd_plan_note){ w->origin, (uint32_t)w->slot, bytes });
}

/* All readers of the slot's old value precede the step. */
static void after_readers(commit *c, uint32_t slot, uint32_t step) {
  for (uint32_t r = c->readers[slot]; r; r = c->item.v[r].next) kd__pl_edge_add(c->p, c->item.v[r].step, step);
}

static void copy_last(commit *c, const kd_write *w) {
  kd__planner *p = c->p;
  uint32_t to = target_view(p, (uint32_t)w->slot, kd__type_of(p->g, w->value));
  after_readers(c, (uint32_t)w->slot, kd__pl_copy(p, w->value, to, w->origin));
}

static bool already_there(const kd__planner *p, const kd_write *w) {
  const kd__pl_view *v = &p->view.v[w->value];
  const kd__pl_store *s = &p->store.v[v->store];
  const kd_slot *slot = &p->slot[w->slot];
  return s->in_slot && s->block == slot->block && s->base + v->offset == slot->offset && kd__pl_row_major(v->type, v->stride);
}

static void new_stamp(commit *c) {
  size_t n = c->p->step.n;
  kd__pl_search *s = &c->search;
  if (n > c->room) {                             /* steps were added: longer arrays, with nothing marked */
    c->room = n + n / 2 + 64;
    s->seen = KD_NEWN(c->p->tmp, uint32_t, c->room), s->mark = KD_NEWN(c->p->tmp, uint32_t, c->room);
    s->stack = KD_NEWN(c->p->tmp, uint32_t, c->room);
    s->stamp = 0;
  }
  s->stamp++;
}

/* Slot <- old memory of other slots. The copy is already a step (it counts as a reader); it must follow the target's readers. If one
 * of those must follow the copy, the copy turns into one to the arena, and a second one writes the slot at the end. */
static void order_slot_copy(commit *c, const kd_write *w, uint32_t step) {
  kd__planner *p = c->p;
  uint32_t slot = (uint32_t)w->slot;
  bool self = false;
  new_stamp(c);
  for (uint32_t r = c->readers[slot]; r; r = c->item.v[r].next) {
    c->search.mark[c->item.v[r].step] = c->search.stamp;
    self = self || c->item.v[r].step == step;
  }
  if (!self && !kd__pl_reaches(p, &c->search, &step, 1)) { after_readers(c, slot, step); return; }
  const kd_type *t = kd__type_of(p->g, w->value);
  uint32_t target = p->step.v[step].out[0];
  int64_t stride[KD_MAX_RANK] = { 0 };
  kd__pl_dense(t, stride);
  uint32_t between = kd__pl_new_view(p, t, kd__pl_new_store(p, kd__pl_bytes(t)), 0, stride);
  p->step.v[step].out[0] = between;
  p->view.v[between].ready = step;
  after_readers(c, slot, kd__pl_copy(p, between, target, w->origin));
  count_copy(p, w);
}

/* --- stores that move into slots --------------------------------------------------------------------------------------------------- */

bool kd__pl_overwrites(const kd__planner *p, const kd__pl_step *s, uint32_t k, uint32_t r) {
  const kd__pl_view *in = &p->view.v[s->in[k]], *out = &p->view.v[s->out[r]];
  if (s->op == KD_OP_GROUP) return kd__group_may_share(s->group, k, r);
  bool scatter = s->op == KD_OP_SCATTER_ADD || s->op == KD_OP_SCATTER_SET, elem = s->op < KD_OP_COUNT && kd__op_info((kd_op)s->op)->cls == KD_CLASS_ELEM;
  bool added = s->op == KD_OP_CONV_POST && s->nin == 3 + s->attr[5].u.i && k == s->nin - 1;      /* the map that a convolution's result may lie in */
  if (s->nout != 1 || !(elem || added || (scatter && k == 0))) return false;
  return kd__type_equal(in->type, out->type) && kd__pl_same_strides(out->type, in->stride, out->stride);
}

static bool may_overwrite(const kd__planner *p, const kd__pl_step *s, uint32_t operand, uint32_t result, int64_t at) {
  const kd__pl_view *in = &p->view.v[s->in[operand]], *out = &p->view.v[s->out[result]];
  return in->offset + p->store.v[in->store].base == at + out->offset && kd__pl_overwrites(p, s, operand, result);
}

static bool overlaps(const kd__planner *p, const kd__pl_view *v, uint32_t block, int64_t lo, int64_t hi) {
  uint32_t b;
  int64_t from, to;
  return p->store.v[v->store].old && block_range(p, v, &b, &from, &to) && b == block && from < hi && lo < to;
}

/* Does the step read the block's old memory between these bytes? Of a slot that is written in pieces, each waits for the readers of its own bytes only. */
static bool reads_old(const kd__planner *p, uint32_t step, uint32_t block, int64_t lo, int64_t hi) {
  const kd__pl_step *s = &p->step.v[step];
  for (uint32_t i = 0; i < s->nin; i++)
    if (overlaps(p, &p->view.v[s->in[i]], block, lo, hi)) return true;
  return false;
}

/* Could step `w` write into `block` if its result's store began at byte `at`? Marks the other steps that must come before it. */
static bool writer_fits(commit *c, uint32_t store, uint32_t w, uint32_t block, int64_t at) {
  const kd__planner *p = c->p;
  const kd__pl_step *s = &p->step.v[w];
  for (uint32_t k = 0; k < s->nout; k++) {
    const kd__pl_view *out = &p->view.v[s->out[k]];
    int64_t lo, hi;
    if (out->store != store || !kd__pl_extent(out, &lo, &hi)) continue;
    lo += at, hi += at;
    for (uint32_t i = 0; i < s->nin; i++)
      if (overlaps(p, &p->view.v[s->in[i]], block, lo, hi) && !may_overwrite(p, s, i, k, at)) return false;
    for (uint32_t i = kd__pl_slot_from(p, block, lo); i < p->nplaced; i++) {
      uint32_t id = p->by_place[i];
      if (p->slot[id].block != block || p->slot[id].offset >= hi) break;
      for (uint32_t r = c->readers[id]; r; r = c->item.v[r].next)
        if (c->item.v[r].step != w && reads_old(p, c->item.v[r].step, block, lo, hi)) c->search.mark[c->item.v[r].step] = c->search.stamp;
    }
  }
  return true;
}

static void writer_waits(commit *c, uint32_t store, uint32_t w) {
  kd__planner *p = c->p;
  for (uint32_t k = 0; k < p->step.v[w].nout; k++) {
    const kd__pl_view *out = &p->view.v[p->step.v[w].out[k]];
    uint32_t block;
    int64_t lo, hi;
    if (out->store != store || !block_range(p, out, &block, &lo, &hi)) continue;
    for (uint32_t i = kd__pl_slot_from(p, block, lo); i < p->nplaced; i++) {
      uint32_t id = p->by_place[i];
      if (p->slot[id].block != block || p->slot[id].offset >= hi) break;
      for (uint32_t r = c->readers[id]; r; r = c->item.v[r].next)
        if (c->item.v[r].step != w && reads_old(p, c->item.v[r].step, block, lo, hi)) kd__pl_edge_add(p, c->item.v[r].step, w);
    }
  }
}

/* Moves the store to byte `at` of `block` if no reader of what lies there needs to come after one of the store's writers. */
static bool move_into(commit *c, uint32_t store, uint32_t block, int64_t at) {
  kd__planner *p = c->p;
  new_stamp(c);
  uint32_t n = 0, *writer = c->search.stack;     /* the search starts from what lies on its stack */
  for (uint32_t i = c->writers[store]; i; i = c->item.v[i].next) {
    if (!writer_fits(c, store, c->item.v[i].step, block, at)) return false;
    writer[n++] = c->item.v[i].step;
  }
  for (uint32_t i = 0; i < n; i++)
    if (c->search.mark[writer[i]] == c->search.stamp) return false;            /* one writer reads what another overwrites */
  if (kd__pl_reaches(p, &c->search, writer, n)) return false;
  kd__pl_store *s = &p->store.v[store];
  s->in_slot = true, s->block = block, s->base = at;
  for (uint32_t i = c->writers[store]; i; i = c->item.v[i].next) writer_waits(c, store, c->item.v[i].step);
  return true;
}

/* The writes that come from one arena store: do they, together, say where the whole store should lie? */
static void commit_store(commit *c, uint32_t store) {
  kd__planner *p = c->p;
  int64_t at = -1, covered = 0;
  uint32_t block = 0;
  for (uint32_t i = c->first_write[store]; i; i = c->next_write[i - 1]) {
    const kd_write *w = &p->g->write.v[i - 1];
    const kd__pl_view *v = &p->view.v[w->value];
    const kd_slot *slot = &p->slot[w->slot];
    if (!kd__pl_row_major(v->type, v->stride)) continue;
    if (at < 0 && slot->offset >= v->offset) at = slot->offset - v->offset, block = slot->block;
    if (slot->block == block && slot->offset - v->offset == at) covered += kd__pl_bytes(v->type);
  }
  bool moved = at >= 0 && !p->store.v[store].fixed && covered == p->store.v[store].size && move_into(c, store, block, at);
  for (uint32_t i = c->first_write[store]; i; i = c->next_write[i - 1]) {
    const kd_write *w = &p->g->write.v[i - 1];
    if (moved && already_there(p, w)) continue;
    copy_last(c, w);
    if (!moved && !p->store.v[store].fixed) count_copy(p, w);
  }
}

/* --- all together --------------------------------------------------------------------------------------------------------------------- */

/* Results are read after the writes: those that show a slot's old value are copied aside. */
static void keep_results(kd__planner *p) {
  for (size_t i = 0; i < p->g->result.n; i++) {
    uint32_t v = p->g->result.v[i].value;
    int64_t stride[KD_MAX_RANK] = { 0 };
    kd__pl_dense(p->view.v[v].type, stride);
    p->result[i] = touches_written(p, &p->view.v[v]) ? kd__pl_materialise(p, v, stride, 0) : v;
  }
}

static bool nothing_to_write(const kd__planner *p, const kd_write *w) {
  return kd__type_count(kd__type_of(p->g, w->value)) == 0 || already_there(p, w);
}

/* Lists the writes of each store, last first; copies from old slots become steps (their numbers in `slot_copy`, by write). */
static void sort_writes(commit *c, uint32_t *slot_copy) {
  kd__planner *p = c->p;
  for (size_t i = p->g->write.n; i-- > 0;) {
    const kd_write *w = &p->g->write.v[i];
    uint32_t store = p->view.v[w->value].store;
    if (nothing_to_write(p, w)) continue;
    if (p->store.v[store].old) {
      slot_copy[i] = kd__pl_copy(p, w->value, target_view(p, (uint32_t)w->slot, kd__type_of(p->g, w->value)), w->origin);
    } else {
      c->next_write[i] = c->first_write[store];
      c->first_write[store] = (uint32_t)i + 1;
    }
  }
}

static void list_writers_and_readers(commit *c) {
  kd__planner *p = c->p;
  for (uint32_t s = (uint32_t)p->step.n; s-- > 1;) {
    if (p->step.v[s].op == KD__STEP_JOIN) continue;
    note_reads(c, s);
    for (uint32_t k = 0; k < p->step.v[s].nout; k++) {
      uint32_t store = p->view.v[p->step.v[s].out[k]].store;
      if (store >= c->nstore || !c->first_write[store]) continue;
      list_add(c, &c->writers[store], s);
    }
  }
}

void kd__pl_commit(kd__planner *p) {
  size_t nwrite = p->g->write.n;
  commit c = { .p = p, .nstore = (uint32_t)p->store.n };
  c.readers = KD_NEWN(p->tmp, uint32_t, p->nslot + 1);
  p->written = KD_NEWN(p->tmp, bool, p->nslot + 1);
  c.next_write = KD_NEWN(p->tmp, uint32_t, nwrite + 1);
  c.first_write = KD_NEWN(p->tmp, uint32_t, c.nstore);
  c.writers = KD_NEWN(p->tmp, uint32_t, c.nstore);
  KD_PUSH(p->tmp, c.item, (item){ 0, 0 });
  uint32_t *slot_copy = KD_NEWN(p->tmp, uint32_t, nwrite + 1);
  for (size_t i = 0; i < nwrite; i++) p->written[p->g->write.v[i].slot] = !nothing_to_write(p, &p->g->write.v[i]);
  keep_results(p);
  sort_writes(&c, slot_copy);
  c.search.budget = 64 * (int64_t)p->step.n + 4096;
  list_writers_and_readers(&c);
  for (size_t i = 0; i < nwrite; i++)
    if (slot_copy[i]) order_slot_copy(&c, &p->g->write.v[i], slot_copy[i]);
  for (uint32_t s = 1; s < c.nstore; s++)
    if (c.first_write[s]) commit_store(&c, s);
}
