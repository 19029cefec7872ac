/* split.h: what a program computes anew each time although it is always the same: found, priced, cut out.
 *
 * Of every value it is known whether it is live, constant (it depends on nothing that changes while the loop around the program runs), or made of
 * rows: along one axis lie the samples of the batch, and what belongs to a sample depends on that sample alone. A cut takes frozen values out of a
 * program: what makes them becomes a program of its own, and the rest reads them from slots. */
#ifndef KD_SPLIT_H
#define KD_SPLIT_H
#include "compiler/ir/graph.h"

/* --- rows.c: what is frozen ------------------------------------------------------------------------------------------------------- */
typedef enum kd_frozen { KD_LIVE, KD_CONSTANT, KD_ROWS } kd_frozen;
/* ROWS: place i of axis `axis` belongs to sample i / inner % batch. CONSTANT: along each axis the value repeats itself after `period` places: 1 is
 * the same everywhere, the axis' size is nothing known. turned: of ROWS: they are the sample's in one turn of its draws, of several that come round. */
typedef struct kd_frozenness { uint8_t is, axis; bool turned; int64_t inner; int64_t period[KD_MAX_RANK]; } kd_frozenness;

/* What the program finds in its slots. SAMPLES: a field of the batch: the samples lie along axis 0. TURNS: the same, and it depends on the turn. */
typedef enum kd_slot_is { KD_SLOT_CHANGES, KD_SLOT_CONSTANT, KD_SLOT_SAMPLES, KD_SLOT_TURNS } kd_slot_is;
typedef struct kd_slots_are { kd_slot_is (*of)(void *ctx, int64_t slot); void *ctx; int64_t batch; } kd_slots_are;   /* batch: 0 where there is none */

/* By value of the graph. */
kd_frozenness *kd__frozen_values(kd__arena *a, const kd_graph *g, const kd_slots_are *slots);

/* --- price.c: what it costs ---------------------------------------------------------------------------------------------------------- */
/* Picoseconds on a machine of the usual kind (two cores, AVX-512): the same everywhere, since decisions must be. */
typedef int64_t kd_price;
kd_price kd__price_node(const kd_graph *g, const kd_node *n);            /* of computing it once */
double   kd__flops_node(const kd_graph *g, const kd_node *n);

/* --- cut.c: where ------------------------------------------------------------------------------------------------------------------------ */
/* Frozen values of one kind are cut: constant ones, or rows. `read`: picoseconds that a byte of them costs each time; `apiece`: each value. `make`: the
 * share of a run's price that making them before the loop adds to each run of the program, in thousandths; `make_turned`: of rows for all `turns`. `dear`:
 * picoseconds for each byte of room beside. */
typedef struct kd_cut_prices { kd_frozen kind; double read, dear; kd_price apiece; int64_t make, make_turned, turns; } kd_cut_prices;    /* turns 0: 1 */
/* `value`: in ascending order. `saved`: of each run, by these prices, what reading costs taken off; `turned`: what is made in each turn. whole: of the
 * program; bytes: of all values, in all turns; read: of those of one. */
typedef struct kd_cut { kd_value *value; uint32_t n; kd_price saved, turned, whole; int64_t bytes, read; } kd_cut;
kd_cut kd__cut_choose(kd__arena *a, const kd_graph *g, const kd_frozenness *f, const kd_cut_prices *p);
/* The same with at most so many bytes: what saves most time for a byte first. */
kd_cut kd__cut_within(kd__arena *a, const kd_graph *g, const kd_frozenness *f, const kd_cut_prices *p, int64_t bytes);

/* --- take.c: two programs out of one --------------------------------------------------------------------------------------------------------- */
/* How a value of rows lies in its slot: the samples first. Constant values lie there as they are. */
kd_type  kd__rows_type(const kd_graph *g, kd_value v, const kd_frozenness *f, int64_t batch);
bool     kd__rows_fit(const kd_graph *g, kd_value v, const kd_frozenness *f, int64_t batch);          /* can it lie so at all? */
/* Adds to `to` (new, or begun by another program of the loop) what makes the values, written to the slots; a slot below 0: it is not written. Returns
 * the values in `to`, as they lie in their slots. */
kd_value *kd__split_make(kd__arena *a, kd_graph *to, const kd_graph *g, const kd_frozenness *f, const kd_value *value, const int64_t *slot, uint32_t n, int64_t batch);
/* The program without what makes the values: it reads them from the slots. */
kd_graph *kd__split_rest(kd__arena *a, const kd_graph *g, const kd_frozenness *f, const kd_value *value, const int64_t *slot, uint32_t n, int64_t batch);
/* Is `b`, whose batch has another size, the same program as `a`, node by node, as far as these values go? */
bool     kd__split_twin(kd__arena *tmp, const kd_graph *a, const kd_frozenness *fa, int64_t batch_a, const kd_graph *b, const kd_frozenness *fb, int64_t batch_b,
                        const kd_value *value, uint32_t n);
/* What the program computes, apart from the numbers of its slots: these are given in the order in which they are first read. */
uint64_t kd__split_hash(const kd_graph *g, const int64_t *slot, uint32_t nslot);
#endif
