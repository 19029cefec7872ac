/* fuse.c: requires gradients (a group has none), breaks gradients. Element-wise operators, reductions and what lies between them become groups, each
 * one walk over memory; README.md says how. */
#include "compiler/fuse/fuse.h"

bool *kd__fuse_live(const kd_graph *g) {
  bool *live = KD_NEWN(g->arena, bool, g->node.n);
  for (size_t i = 0; i < g->write.n; i++) live[g->def.v[g->write.v[i].value]] = true;
  for (size_t i = 0; i < g->result.n; i++) live[g->def.v[g->result.v[i].value]] = true;
  for (size_t i = g->node.n; i-- > 1;)
    for (uint32_t k = 0; k < g->node.v[i].nin && live[i]; k++) live[g->def.v[g->node.v[i].in[k]]] = true;
  return live;
}

static void find_live(kd__fuser *f) {
  const kd_graph *g = f->g;
  f->live = kd__fuse_live(g);
  f->writes = KD_NEWN(f->a, bool, g->node.n);
  for (size_t i = 0; i < g->write.n; i++) f->writes[g->def.v[kd__fuse_root(g, g->write.v[i].value)]] = true;
}

/* Readers of each value, in order; a view's reader reads what it is a view of. */
static void find_users(kd__fuser *f) {
  const kd_graph *g = f->g;
  f->user_at = KD_NEWN(f->a, uint32_t, g->type.n + 2);
  for (int fill = 0; fill < 2; fill++) {
    for (uint32_t i = 1; i < g->node.n; i++) {
      const kd_node *n = &g->node.v[i];
      for (uint32_t k = 0; k < n->nin && f->live[i] && !kd__fuse_apart((kd_op)n->op); k++) {
        kd_value v = kd__fuse_root(g, n->in[k]);
        if (fill) f->user[f->user_at[v + 1]++] = i;
        else f->user_at[v + 2]++;
      }
    }
    if (fill) break;
    for (size_t v = 2; v < g->type.n + 2; v++) f->user_at[v] += f->user_at[v - 1];
    f->user = KD_NEWN(f->a, uint32_t, f->user_at[g->type.n + 1] + 1);
  }
}

/* What is read where it lies: by a node that is in no group, by a write, as a result. */
static void find_wanted(kd__fuser *f) {
  const kd_graph *g = f->g;
  for (uint32_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    if (!f->live[i] || kd__fuse_apart((kd_op)n->op) || f->cluster[kd__cluster_of(f, i)].group) continue;
    for (uint32_t k = 0; k < n->nin; k++) f->wanted[kd__fuse_root(g, n->in[k])] = true;
  }
  for (size_t i = 0; i < g->write.n; i++) f->wanted[kd__fuse_root(g, g->write.v[i].value)] = true;
  for (size_t i = 0; i < g->result.n; i++) f->wanted[kd__fuse_root(g, g->result.v[i].value)] = true;
}

kd_graph *kd__pass_fuse(kd_graph *g) {
  g = kd__fuse_pieces(kd__fuse_expand(g), KD__FUSE_PIECE);
  kd__fuser f = { .g = g, .a = g->arena };
  find_live(&f);
  find_users(&f);
  f.cluster = KD_NEWN(f.a, kd__cluster, g->node.n);
  f.wanted = KD_NEWN(f.a, bool, g->type.n);
  f.readers = KD_NEWN(f.a, uint32_t, g->type.n);
  f.last = KD_NEWN(f.a, uint32_t, g->type.n);
  f.mark = KD_NEWN(f.a, uint32_t, g->node.n);
  f.barred = KD_NEWN(f.a, uint32_t, g->node.n);
  kd__fuse_grow(&f);
  kd__fuse_part(&f);
  find_wanted(&f);
  kd__fuse_again(&f);
  return kd__fuse_build(&f);
}
