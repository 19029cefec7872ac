/* again.c: what a group reads from another it may compute itself, from values that it reads anyway or that are small: then it need not be written and
 * read. Costs are bytes of memory traffic; arithmetic counts as the traffic that takes as long. Groups are seen from the last to the first, so it is
 * known of each value who still reads it, and a group whose values nobody reads any more is gone. */
#include "compiler/fuse/fuse.h"
#include <stdlib.h>

enum { WORTH = 8192, MOST_NODES = 24, MOST_DEPTH = 12 };
static const double CHEAP = 0.25, DEAR = 3, NEVER = 1e30;              /* bytes' time for an element of an operator */

typedef struct tree {
  const kd__fuser *f;
  const kd__space *s;                            /* of the group that would compute it */
  uint32_t c;
  uint32_t node[MOST_NODES]; uint32_t n;         /* what it would take in */
} tree;

static double work(kd_op op) {
  switch (op) {
    case KD_OP_EXP: case KD_OP_EXPM1: case KD_OP_LOG: case KD_OP_LOG1P: case KD_OP_SIN: case KD_OP_COS: case KD_OP_TANH: case KD_OP_SIGMOID: case KD_OP_ERF:
      return DEAR;
    case KD_OP_SOFTPLUS: case KD_OP_POW: case KD_OP_XLOGY: return 2 * DEAR;
    default: return CHEAP;
  }
}

static bool read_already(const tree *t, kd_value v) {
  for (size_t i = 0; i < t->s->entry.n; i++)
    if (t->s->entry.v[i].v == v && t->s->entry.v[i].kind == KD__ENTRY_OUTSIDE) return true;
  return false;
}

static bool has_node(const uint32_t *node, size_t n, uint32_t x) {
  for (size_t i = 0; i < n; i++)
    if (node[i] == x) return true;
  return false;
}

static double cost(tree *t, kd_value v, int depth);

/* Of computing it, with what that takes in. */
static double compute(tree *t, kd_value v, int depth) {
  const kd_graph *g = t->f->g;
  uint32_t id = g->def.v[v];
  const kd_node *n = &g->node.v[id];
  bool gather = t->f->cluster[id].alone, elem = kd__op_info((kd_op)n->op)->cls == KD_CLASS_ELEM;
  if (depth > MOST_DEPTH || t->n == MOST_NODES || !t->f->cluster[kd__cluster_of(t->f, id)].group || !(gather || elem)) return NEVER;
  t->node[t->n++] = id;
  if (gather) return (double)kd__fuse_bytes(g, v) + cost(t, n->in[1], depth + 1);
  double sum = work((kd_op)n->op) * (double)kd__type_count(kd__type_of(g, v));
  for (uint32_t i = 0; i < n->nin && sum < NEVER; i++) sum += cost(t, n->in[i], depth + 1);
  return sum;
}

/* Of having it: reading it, or computing it, whichever is less. */
static double cost(tree *t, kd_value v, int depth) {
  const kd__fuser *f = t->f;
  v = kd__fuse_root(f->g, v);
  uint32_t id = f->g->def.v[v], before = t->n;
  if (kd__fuse_apart((kd_op)f->g->node.v[id].op)) return 0;
  if (read_already(t, v) || has_node(f->cluster[t->c].node.v, f->cluster[t->c].node.n, id) || has_node(t->node, t->n, id)) return 0;
  double load = (double)kd__fuse_bytes(f->g, v), again;
  bool member = f->cluster[kd__cluster_of(f, id)].group;
  if (!f->wanted[v] && member && !f->readers[v]) load *= 2;            /* it is not written so far */
  again = compute(t, v, depth);
  if (again < load) return again;
  t->n = before;
  return load;
}

static void count_readers(kd__fuser *f, uint32_t c, int by) {
  const kd__space *s = f->cluster[c].space;
  for (size_t i = 0; s && i < s->entry.n; i++)
    if (s->entry.v[i].kind == KD__ENTRY_OUTSIDE || s->entry.v[i].kind == KD__ENTRY_GATHERED) f->readers[kd__fuse_root(f->g, s->entry.v[i].v)] += (uint32_t)by;
}

static int by_number(const void *a, const void *b) { return (*(const uint32_t *)a > *(const uint32_t *)b) - (*(const uint32_t *)a < *(const uint32_t *)b); }

/* The group's nodes and these. */
static bool adopt(kd__fuser *f, uint32_t c, const uint32_t *node, uint32_t n) {
  kd__cluster *k = &f->cluster[c];
  if (k->node.n + n > KD__FUSE_MOST) return false;
  uint32_t *all = KD_NEWN(f->a, uint32_t, k->node.n + n);
  memcpy(all, k->node.v, sizeof *all * k->node.n);
  memcpy(all + k->node.n, node, sizeof *all * n);
  qsort(all, k->node.n + n, sizeof *all, by_number);
  kd__space *s = kd__fuse_space(f, all, k->node.n + n);
  if (!s) return false;
  count_readers(f, c, -1);
  kd__fuse_free_space(f, k->space);
  k->space = s;
  k->node.v = all, k->node.n = k->node.cap = k->node.n + n;
  count_readers(f, c, 1);
  return true;
}

/* One value that the group reads: is it cheaper to compute it here? */
static bool try_value(kd__fuser *f, uint32_t c, kd_value v) {
  tree t = { .f = f, .s = f->cluster[c].space, .c = c };
  double keep = (double)kd__fuse_bytes(f->g, v);
  if (keep < WORTH) return false;
  if (!f->wanted[v]) keep += keep / (f->readers[v] ? f->readers[v] : 1);
  double again = compute(&t, v, 0);
  return again < keep && adopt(f, c, t.node, t.n);
}

static void recompute(kd__fuser *f, uint32_t c) {
  size_t i = 0;
  while (i < f->cluster[c].space->entry.n) {
    const kd__entry *e = &f->cluster[c].space->entry.v[i];
    bool made = e->kind == KD__ENTRY_OUTSIDE && f->cluster[kd__cluster_of(f, f->g->def.v[e->v])].group;
    kd_value v = e->v;
    if (made && try_value(f, c, v)) {
      i = 0;
    } else {
      i++;
    }
  }
}

/* --- what is needed ------------------------------------------------------------------------------------------------------------------- */

static bool any_wanted(const kd__fuser *f, const kd_node *n) {
  for (kd_value v = n->out; v < n->out + n->nout; v++)
    if (f->wanted[v]) return true;
  return false;
}

/* Leaves out members that neither somebody outside nor a member needs. */
static void prune(kd__fuser *f, uint32_t c) {
  kd__cluster *k = &f->cluster[c];
  size_t kept = 0;
  count_readers(f, c, -1);
  f->stamp++;
  for (size_t i = k->node.n; i-- > 0;) {
    const kd_node *n = &f->g->node.v[k->node.v[i]];
    if (any_wanted(f, n)) f->mark[k->node.v[i]] = f->stamp;
    for (uint32_t j = 0; j < n->nin && f->mark[k->node.v[i]] == f->stamp; j++) f->mark[f->g->def.v[kd__fuse_root(f->g, n->in[j])]] = f->stamp;
  }
  uint32_t *node = KD_NEWN(f->a, uint32_t, k->node.n);
  for (size_t i = 0; i < k->node.n; i++)
    if (f->mark[k->node.v[i]] == f->stamp) node[kept++] = k->node.v[i];
  kd__space *s = kept && kept < k->node.n ? kd__fuse_space(f, node, kept) : NULL;
  if (s || !kept) {
    k->space = s;
    k->node.v = node, k->node.n = k->node.cap = kept;
  }
  count_readers(f, c, 1);
}

typedef struct ranked { uint32_t level, c; } ranked;
static int last_first(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  return x->level != y->level ? (x->level < y->level ? 1 : -1) : (x->c < y->c) - (x->c > y->c);
}

static void read_by_group(kd__fuser *f, uint32_t c) {
  const kd__space *s = f->cluster[c].space;
  for (size_t i = 0; s && i < s->entry.n; i++)
    if (s->entry.v[i].kind == KD__ENTRY_OUTSIDE || s->entry.v[i].kind == KD__ENTRY_GATHERED) f->wanted[kd__fuse_root(f->g, s->entry.v[i].v)] = true;
}

void kd__fuse_again(kd__fuser *f) {
  ranked *order = KD_NEWN(f->a, ranked, f->g->node.n);
  size_t n = 0;
  for (uint32_t i = 1; i < f->g->node.n; i++) {
    if (!f->live[i] || kd__fuse_apart((kd_op)f->g->node.v[i].op) || kd__cluster_of(f, i) != i || !f->cluster[i].group) continue;
    order[n++] = (ranked){ f->cluster[i].level, i };
    count_readers(f, i, 1);
  }
  if (n) qsort(order, n, sizeof *order, last_first);
  for (size_t i = 0; i < n; i++) {
    uint32_t c = order[i].c;
    prune(f, c);
    if (!f->cluster[c].node.n) continue;
    if (!f->cluster[c].alone) recompute(f, c);
    read_by_group(f, c);
  }
}
