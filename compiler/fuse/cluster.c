/* cluster.c: levels of clusters. Every edge between two clusters leads upward; so joining two of them makes a cycle only where what the lower one
 * reaches, raised above the upper one, would be met by it again. */
#include "compiler/fuse/fuse.h"

enum { MOST_VISITS = 4096 };

static void set_level(kd__fuser *f, uint32_t c, uint32_t level) {
  KD_PUSH(f->a, f->was, c);
  KD_PUSH(f->a, f->was, f->cluster[c].level);
  f->cluster[c].level = level;
  KD_PUSH(f->a, f->stack, c);
}

/* Raises what reads `node` of cluster c above it. */
static bool raise_users(kd__fuser *f, uint32_t c, uint32_t node, uint32_t direct, int *budget) {
  const kd_node *n = &f->g->node.v[node];
  for (kd_value v = n->out; v < n->out + n->nout; v++)
    for (uint32_t i = f->user_at[v]; i < f->user_at[v + 1]; i++) {
      if (f->user[i] >= f->now) break;           /* in order */
      if (--*budget < 0) return false;
      uint32_t to = kd__cluster_of(f, f->user[i]);
      if (to == c || to == direct) continue;
      if (f->barred[to] == f->bar) return false;
      if (f->cluster[to].level <= f->cluster[c].level) set_level(f, to, f->cluster[c].level + 1);
    }
  return true;
}

bool kd__cluster_raise(kd__fuser *f, uint32_t c, uint32_t level, uint32_t direct) {
  int budget = MOST_VISITS;
  if (!f->cluster[c].read) { f->cluster[c].level = level; return true; }
  bool good = true;
  f->stack.n = f->was.n = 0;
  set_level(f, c, level);
  while (f->stack.n && good) {
    uint32_t at = f->stack.v[--f->stack.n];
    const kd__cluster *k = &f->cluster[at];
    for (size_t i = 0; i < k->node.n && good; i++) good = raise_users(f, at, k->node.v[i], at == c ? direct : 0, &budget);
  }
  for (size_t i = f->was.n; !good && i > 0; i -= 2) f->cluster[f->was.v[i - 2]].level = f->was.v[i - 1];
  return good;
}
