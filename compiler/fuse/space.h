/* space.h: the iteration space of a group: which axes of its values are the same axis of one walk.
 *
 * An *atom* is an axis of the space. A logical axis of a value is a run of atoms, major first (none where its size is 1): a reshape splits and
 * joins runs, a permutation moves them, a broadcast brings new atoms along which the value does not change. Operands of an element-wise operator
 * lie alike: their atoms become one, after splitting where one side is finer. No value may have one atom twice.
 *
 * A value from outside may be walked in several ways at once (row i and row j of one matrix): each way is an entry of its own. A space is made by
 * taking in nodes in order, so the same nodes in the same order give the same space: the pass decides with it, the planner lowers with it. */
#ifndef KD_FUSE_SPACE_H
#define KD_FUSE_SPACE_H
#include "compiler/ir/graph.h"

enum { KD__SPACE_ATOMS = 64, KD__PLACE_ATOMS = 16 };
#define KD__ENTRY_NONE UINT32_MAX
#define KD__ENTRY_CONST (UINT32_MAX - 1)         /* a number, or a view of one: it lies however one likes */

typedef struct kd__place {
  uint64_t changes;                              /* the atoms along which the value changes */
  uint8_t rank, n;
  uint8_t end[KD_MAX_RANK];                      /* axis d is atom[end[d - 1]] up to atom[end[d]] */
  uint8_t atom[KD__PLACE_ATOMS];
} kd__place;

typedef enum kd__entry_kind { KD__ENTRY_OUTSIDE, KD__ENTRY_GATHERED, KD__ENTRY_IOTA, KD__ENTRY_VIEW, KD__ENTRY_MEMBER } kd__entry_kind;
typedef struct kd__entry {
  kd_value v;
  uint8_t kind;
  bool read;                                     /* MEMBER: by another one */
  bool reduced;                                  /* MEMBER: the result of a reduction, over `over` */
  uint32_t of;                                   /* VIEW: of this entry */
  uint64_t over;
  kd__place place;
} kd__entry;

/* One node taken in: the entries of its operands and of its first result. */
typedef struct kd__intake { uint32_t node, in[3], out; } kd__intake;

typedef struct kd__space {
  kd__arena *a;
  const kd_graph *g;
  bool (*inside)(const struct kd__space *s, uint32_t node); const void *ctx;     /* is the node a member? */
  uint64_t used;                                 /* atoms */
  int64_t size[KD__SPACE_ATOMS];
  KD_VEC(kd__entry) entry;
  KD_VEC(kd__intake) intake;
  struct kd__space *next;                        /* for whoever keeps a list of them */
  /* How it was before the node at hand, if that has changed what was there. */
  kd__entry *old; size_t nold, old_cap; uint64_t old_used; int64_t old_size[KD__SPACE_ATOMS]; bool kept;
} kd__space;

/* Operators that a group can hold, by themselves. Views, numbers and positions are no members: they are taken in with what reads them. */
bool kd__fuse_member(const kd_graph *g, const kd_node *n);
bool kd__fuse_reduces(const kd_graph *g, const kd_node *n);            /* a member with a reduction in it */
bool kd__fuse_view(kd_op op);
kd_value kd__fuse_root(const kd_graph *g, kd_value v);                 /* what it is a view of */
/* A gather or scatter whose index has batch axes only: one position of an axis, for each. */
bool kd__fuse_pick(const kd_graph *g, const kd_node *n);
/* A gather that a group can read through, from a value that lies in memory. */
bool kd__fuse_gather(const kd_graph *g, const kd_node *n);

/* Of a space that was never begun all is 0; it may be begun again. */
void kd__space_begin(kd__space *s, kd__arena *a, const kd_graph *g);
/* Takes in a member; false, and the space as it was, where it has no place in it. */
bool kd__space_take(kd__space *s, uint32_t node);
void kd__space_undo(kd__space *s);               /* gives back the last one that it took in */
/* The space of a group's body; false where it has none. Slots are outside. */
bool kd__space_of_body(kd__space *s, kd__arena *a, const kd_graph *body);

int64_t kd__space_count(const kd__space *s, uint64_t atoms);           /* of points; the product of sizes */
uint64_t kd__space_axis(const kd__place *p, int axis);                 /* its atoms */
/* Atoms that must be walked whole, since members read sums over them; then `outer` is what is left to be cut: where every such sum is complete. */
bool kd__space_cut(const kd__space *s, uint64_t *outer);
/* May it be run so? Asked of a space with all its members: those between which one is still to come may not fit. */
bool kd__space_fits(const kd__space *s);
uint32_t kd__entry_root(const kd__space *s, uint32_t entry);           /* what a view is a view of */
#endif
