/* group_tile.h: the tile program that a fused group becomes, and the primitives that it is made of. Internal to kernels/.
 *
 * A chunk is a box of outer points; it is walked in tiles: boxes of all axes, small enough that the values of a tile stay in the cache. Where the
 * inner axes of one outer point do not fit one tile, they are cut into pieces, and each phase walks over the pieces anew: values of an earlier phase
 * are then made again, or kept for all pieces. What has nothing to do with each other in a phase and goes along different axes is walked apart. A step works on the present tile: it has up to five arguments, each at an address that moves with
 * the tile (its slot), and a loop nest over the tile's axes, merged where memory allows. A tile at the end of an axis may be smaller, so a step has
 * a nest for each combination of axes that end so ("variant"). */
#ifndef KD_KERNELS_GROUP_TILE_H
#define KD_KERNELS_GROUP_TILE_H
#include "runtime/kernels/elem.h"
#include "runtime/kernels/group.h"
#include "runtime/kernels/reduce.h"

enum { KD__TILE_ARGS = 5, KD__TILE_SPLITS = 3, KD__TILE_PHASES = 60 };

/* A primitive over rows x n elements: p[0] the result, p[1..] the operands, s: bytes from row to row. */
typedef void (*kd__prim)(int64_t rows, int64_t n, char *const *p, const int64_t *s);
/* The primitive for an operator on f32 or f64 (of `where`: a bool and two of these), or i64, whose operand k repeats one element along a row where bit k of
 * `repeated` is set; NULL: none. */
kd__prim kd__prim_find(kd_op op, kd_dtype type, uint32_t repeated);
/* Of `first` (on operands 1, 2) and then `then` on its result and operand 3, in this order or, where `swapped`, in the other; a comparison and then
 * `where` have four operands, a power of e of a difference two. */
kd__prim kd__prim_pair(kd_op first, kd_op then, kd_dtype type, bool swapped, uint32_t repeated);
/* Of operand 1 times operand 2 less operand 3, the power of e or (then: SUB) the difference to operand 4; all but operand 1 repeat one element along a row. */
kd__prim kd__prim_scaled(kd_op then, uint32_t repeated);
/* Reductions of f32 that are complete in one tile: of each row (p[0]: one float a row), or of each column (p[0]: n floats). A product of two operands
 * is summed without being stored: op KD_OP_MUL. */
kd__prim kd__prim_rows(kd_op op);
float kd__sum_products(const float *p, const float *q, int64_t n);
/* o[j]: the sum over rows of p[r][j] q[r][j], or of p[r][j] q[r] where `one`. */
void kd__column_products(const float *p, int64_t sp, const float *q, int64_t sq, bool one, int64_t rows, int64_t n, float *o);
kd__prim kd__prim_cols(kd_op op);
/* Sums in double precision: of floats and of doubles element by element, of a row; and what comes of them. */
void kd__add_floats(int64_t n, double *o, const float *p);
void kd__add_doubles(int64_t n, double *o, const double *p);
double kd__sum_doubles(int64_t n, const double *p);
void kd__round_doubles(int64_t n, float *o, const double *p);

typedef enum kd__tile_kind { KD__TILE_PRIM, KD__TILE_ELEM, KD__TILE_COPY, KD__TILE_GATHER, KD__TILE_CHECK, KD__TILE_IOTA, KD__TILE_DIVIDE, KD__TILE_REDUCE } kd__tile_kind;

typedef struct kd__tile_level { int64_t n, stride[KD__TILE_ARGS]; } kd__tile_level;      /* strides in bytes, of numbers in units */
typedef struct kd__tile_nest { uint32_t levels; const kd__tile_level *level; } kd__tile_nest;      /* level[0] is the innermost */

typedef struct kd__tile_step {
  uint8_t kind, nargs, dtype, size;              /* size: bytes of an element */
  uint16_t op;
  uint32_t once;                                 /* runs only where these axes stand at 0 */
  uint32_t slot[KD__TILE_ARGS];
  int64_t offset[KD__TILE_ARGS];                 /* bytes from the slot's address */
  const kd__tile_nest *nest;                     /* by variant */
  kd__prim prim;
  kd__elem_fn elem;
  /* GATHER, CHECK, DIVIDE: the last argument counts points; number[]: what a tile's position adds */
  int64_t limit, jump;
  uint32_t origin;
  const int64_t *number;
  bool ahead;                                    /* GATHER: indices lie in memory along `axis`, also those of the next tile */
  /* IOTA: the axis, or none. REDUCE: accumulators are argument 1: `count` states, then as many second halves and counts for moments */
  uint32_t axis, last;                           /* last: axes that stand at their end when the reduction is complete */
  bool final, second, product;                   /* second: argument 3 is the variance; product: operand 3 is multiplied with operand 2 */
  int64_t count;
  const kd__reducer *reducer;
} kd__tile_step;

typedef struct kd__tile_slot { int64_t base; int32_t operand; bool moves; const int64_t *stride; } kd__tile_slot;    /* operand -1: `base` in the thread's memory */

/* A reduction over outer axes: where its accumulators are, and where its results go. */
typedef struct kd__tile_final {
  uint32_t step_slot;
  kd_op op;
  kd_dtype dtype;
  const kd__reducer *reducer;                    /* f32; else NULL */
  uint32_t axes;                                 /* of the result */
  bool owned;                                    /* each result is in one chunk only */
  int64_t at, count;                             /* doubles: where in the chunk's (owned: the thread's) memory; states of a chunk */
  int64_t all, total;                            /* doubles: where the sums over all chunks are; how many */
  const struct kd__tile_result *result; uint32_t nresult;
} kd__tile_final;
typedef struct kd__tile_result { uint32_t out; bool second; const int64_t *stride; } kd__tile_result;      /* stride: elements */

/* What the next tile reads lies in memory right behind what this one does, or as far from it for each tile: it is asked for while this one is computed,
 * `part` of `bytes` after each step. */
typedef struct kd__tile_ahead { uint32_t slot; int64_t jump, bytes, part; } kd__tile_ahead;

/* Steps that are run together at each tile; pieces: the axes that they walk. */
typedef struct kd__tile_list { const kd__tile_step *step; uint32_t n, pieces; } kd__tile_list;

typedef struct kd__tile_program {
  kd__arena arena;
  uint32_t rank, outer;
  int64_t size[KD_GROUP_AXES], tile[KD_GROUP_AXES], tiles[KD_GROUP_AXES];
  int64_t grid[KD_GROUP_AXES], run[KD_GROUP_AXES];           /* chunks along an axis, and tiles of a chunk */
  int64_t chunks;
  uint32_t split, variants;                      /* axes of several tiles; variants */
  uint32_t ends[KD__TILE_SPLITS], nends;         /* axes whose last tile is smaller: bit i of the variant */
  uint32_t pieces;                               /* inner axes of several tiles */
  kd__tile_list prologue, *walk;                 /* a walk over the pieces after the other: one a phase or more */
  uint32_t walks;
  const kd__tile_slot *slot;
  uint32_t nslot;
  const kd__tile_ahead *ahead;
  uint32_t nahead;
  const kd__tile_final *final;
  uint32_t nfinal;
  size_t memory;                                 /* bytes of a thread */
  size_t pool_bytes;                             /* the constants at its start are copied from `pool` once a chunk */
  const char *pool;
  int64_t chunk_doubles, all_doubles;            /* accumulators of a chunk, and of all chunks together */
} kd__tile_program;

kd_status kd__tile_compile(const kd_group *g, kd__tile_program **out);
void kd__tile_release(void *program);

bool kd__group_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__group_scratch(const kd_call *c, const kd_kernel_settings *s);
kd_status kd__group_prepare(kd_call *c, const kd_kernel_settings *s);
void kd__group_run(const kd_call *c, const kd_exec *x);
#endif
