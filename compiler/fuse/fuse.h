/* fuse.h: the pass's own state, shared by its files only (README.md). Live nodes that are neither views, numbers nor positions belong to *clusters*:
 * groups, or single nodes that no group can hold. Between clusters an edge leads from a lower level to a higher one, so there is no cycle. */
#ifndef KD_FUSE_H
#define KD_FUSE_H
#include "compiler/fuse/space.h"

kd_graph *kd__pass_fuse(kd_graph *g);

enum { KD__FUSE_MOST = 160, KD__FUSE_PIECE = 65536 };  /* members of a group; elements of a piece of a vector that is worked on by itself */

typedef struct kd__cluster {
  uint32_t level;
  uint32_t into;                                 /* the cluster that took it over; itself if none */
  bool group, alone;                             /* members may join it; alone: only readers may take it in (a gather) */
  bool read;                                     /* by a cluster above */
  bool writes;                                   /* a slot is written from it */
  uint8_t real;                                  /* element type of its reals, or KD_DTYPE_COUNT */
  uint32_t refused;                              /* the last one that it could not be merged with */
  uint32_t again;                                /* times that it tried one again */
  KD_VEC(uint32_t) node;                         /* in order */
  kd__space *space;
  size_t emitted;                                /* while the new graph is made: see build.c */
} kd__cluster;

typedef struct kd__fuser {
  kd_graph *g;
  kd__arena *a;
  bool *live, *writes;                           /* by node; writes: a slot is written from it */
  kd__cluster *cluster;                          /* by node: the one that began with it */
  uint32_t *user, *user_at;                      /* by value: nodes that read it, views left out */
  bool *wanted;                                  /* by value: something reads it where it lies: a single node, a write, a result; or, in the end, another group */
  uint32_t *readers;                             /* by value: groups that read it from outside */
  uint32_t *last;                                /* by value: the last member that read it from outside; 0: none */
  uint32_t now;                                  /* nodes from here on have not been looked at */
  uint32_t *mark, stamp;                         /* by node; for sets of nodes */
  uint32_t *barred, bar;                         /* by cluster */
  kd__space *spare;                              /* memory for the next ones */
  KD_VEC(uint32_t) stack; KD_VEC(uint32_t) was;
} kd__fuser;

static inline uint32_t kd__cluster_of(const kd__fuser *f, uint32_t node) {
  while (f->cluster[node].into != node) node = f->cluster[node].into;
  return node;
}
int64_t kd__fuse_bytes(const kd_graph *g, kd_value v);
bool kd__fuse_apart(kd_op op);                   /* belongs to no cluster: taken along with what reads it */

/* cluster.c: levels. raise: cluster c comes to stand on `level`, and what reads it above; false, and nothing changed, where that would meet a barred
 * cluster (but for `direct`, where c's own edges may lead) or cost too much. */
bool kd__cluster_raise(kd__fuser *f, uint32_t c, uint32_t level, uint32_t direct);

/* grow.c: which nodes go together. */
void kd__fuse_grow(kd__fuser *f);
kd__space *kd__fuse_new_space(kd__fuser *f);
void kd__fuse_free_space(kd__fuser *f, kd__space *s);
/* A space of these nodes, in order, or NULL. */
kd__space *kd__fuse_space(kd__fuser *f, const uint32_t *node, size_t n);

/* part.c: what leaves its group again, since walking its axes whole would be in the others' way. */
void kd__fuse_part(kd__fuser *f);

/* again.c: which values groups compute again rather than read; what of the groups is then still needed. */
void kd__fuse_again(kd__fuser *f);

/* build.c: the new graph. expand.c: operators as the simpler ones that groups are made of. */
kd_graph *kd__fuse_build(kd__fuser *f);
kd_graph *kd__fuse_expand(kd_graph *g);

/* pieces.c: work on concatenations, piece by piece where one of `least` elements or more is made by what a group can hold. */
kd_graph *kd__fuse_pieces(kd_graph *g, int64_t least);
/* By node: do writes or results need it? */
bool *kd__fuse_live(const kd_graph *g);
#endif
