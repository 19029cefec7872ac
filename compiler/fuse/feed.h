/* feed.h: what space.c and feed.c share. */
#ifndef KD_FUSE_FEED_H
#define KD_FUSE_FEED_H
#include "compiler/fuse/space.h"

typedef struct kd__space_mark { size_t entries; } kd__space_mark;
kd__space_mark kd__space_here(kd__space *s);     /* the one place to go back to */
void kd__space_keep(kd__space *s);               /* before the first change of what was there at the mark */
void kd__space_back(kd__space *s, kd__space_mark m);
int  kd__space_atom(kd__space *s, int64_t size); /* a new one; -1: there are too many */
bool kd__space_unify(kd__space *s, uint32_t a, uint32_t b);            /* two entries lie alike */
bool kd__space_unify_axis(kd__space *s, uint32_t a, int da, uint32_t b, int db);
bool kd__place_append(kd__place *p, const uint8_t *atom, int n);
bool kd__place_axis_of(kd__place *p, const kd__place *from, int axis); /* appends an axis with the other's atoms */
bool kd__space_new_axis(kd__space *s, kd__place *p, int64_t size);     /* appends an axis with an atom of its own */
uint32_t kd__space_entry(kd__space *s, kd_value v, kd__entry_kind kind, const kd__place *p);
/* Are sums that are read over few elements, and is there enough to cut? */
bool kd__space_few(const kd__space *s);
/* The entry of view node n of an entry; NONE where it has no place. */
uint32_t kd__space_view(kd__space *s, const kd_node *n, uint32_t from);
#endif
