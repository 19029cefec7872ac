/* part.c: what need not be in a group leaves it again. A reduction that is read must be complete before, and so its axes are walked whole. Where its
 * readers do not lead back to those axes, they could as well stand in a group behind: which they do if the axes lie apart, and a walk along others
 * would be kept from cutting them. */
#include "compiler/fuse/fuse.h"

enum { SMALL = 4096 };

/* Does one of the members, in order, that come of entry r go along its axes again? Marks them. */
static bool leads_back(const kd__space *s, uint32_t r, bool *from) {
  memset(from, 0, s->entry.n);
  for (size_t i = 0; i < s->intake.n; i++) {
    const kd__intake *in = &s->intake.v[i];
    for (int k = 0; k < 3; k++) {
      if (in->in[k] >= KD__ENTRY_CONST) continue;
      uint32_t e = kd__entry_root(s, in->in[k]);
      if (e == r || from[e]) from[in->out] = true;
    }
    if (!from[in->out]) continue;
    const kd__entry *o = &s->entry.v[in->out];
    if ((o->place.changes | o->over) & s->entry.v[r].over) return true;
    if (s->g->node.v[in->node].nout == 2) from[in->out + 1] = true;
  }
  return false;
}

/* Do the axes come last in the largest value that has them, so that a row lies together? */
static bool rows(const kd__space *s, uint64_t over) {
  const kd__place *p = NULL;
  for (size_t i = 0; i < s->entry.n; i++) {
    const kd__place *q = &s->entry.v[i].place;
    if ((q->changes & over) == over && (!p || kd__space_count(s, q->changes) > kd__space_count(s, p->changes))) p = q;
  }
  for (int i = 0; p && i < p->n - __builtin_popcountll(over); i++)
    if (over >> p->atom[i] & 1) return false;
  return true;
}

/* By place in the intake: does it leave? Gives how many. */
static size_t leaving(kd__fuser *f, const kd__space *s, bool *leaves) {
  bool *from = KD_NEWN(f->a, bool, s->entry.n);
  size_t n = 0;
  for (uint32_t r = 0; r < s->entry.n; r++) {
    const kd__entry *e = &s->entry.v[r];
    if (!e->reduced || !e->read || !e->over || rows(s, e->over) || leads_back(s, r, from)) continue;
    for (size_t i = 0; i < s->intake.n; i++) leaves[i] = leaves[i] || from[s->intake.v[i].out];
  }
  for (size_t i = 0; i < s->intake.n; i++) n += leaves[i];
  return n;
}

static uint32_t settle(kd__fuser *f, kd__cluster k, const uint32_t *node, size_t n, kd__space *s) {
  uint32_t c = node[0];
  for (size_t i = 0; i < n; i++) f->cluster[node[i]].into = c;
  k.into = c, k.space = s, k.refused = 0;
  k.node.v = KD_NEWN(f->a, uint32_t, n), k.node.n = k.node.cap = n;
  memcpy(k.node.v, node, sizeof *node * n);
  f->cluster[c] = k;
  return c;
}

static void part(kd__fuser *f, uint32_t c) {
  const kd__cluster whole = f->cluster[c];
  const kd__space *s = whole.space;
  bool *leaves = KD_NEWN(f->a, bool, s->intake.n);
  size_t n = leaving(f, s, leaves), kept = 0, gone = 0;
  if (n == 0 || n == s->intake.n) return;
  uint32_t *stay = KD_NEWN(f->a, uint32_t, s->intake.n), *leave = KD_NEWN(f->a, uint32_t, n);
  for (size_t i = 0; i < s->intake.n; i++) {
    if (leaves[i]) leave[gone++] = s->intake.v[i].node;
    else stay[kept++] = s->intake.v[i].node;
  }
  kd__space *first = kd__fuse_space(f, stay, kept), *second = first ? kd__fuse_space(f, leave, gone) : NULL;
  if (!second) return;
  settle(f, whole, stay, kept, first);
  kd__cluster behind = whole;
  behind.read = true;
  uint32_t d = settle(f, behind, leave, gone, second);
  f->bar++;
  if (kd__cluster_raise(f, d, whole.level + 1, 0)) return;
  settle(f, whole, whole.node.v, whole.node.n, whole.space);
}

void kd__fuse_part(kd__fuser *f) {
  for (uint32_t i = 1; i < f->g->node.n; i++) {
    if (!f->live[i] || kd__fuse_apart((kd_op)f->g->node.v[i].op) || kd__cluster_of(f, i) != i || !f->cluster[i].group || f->cluster[i].alone) continue;
    const kd__space *s = f->cluster[i].space;
    uint64_t outer;
    int64_t most = 0;
    for (size_t k = 0; k < s->entry.n; k++) {
      int64_t n = kd__space_count(s, s->entry.v[k].place.changes);
      if (n > most) most = n;
    }
    if (most > SMALL && kd__space_cut(s, &outer)) part(f, i);
  }
}
