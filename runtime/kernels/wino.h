/* wino.h: what the Winograd convolutions share. Internal to kernels/.
 *
 * The map that is transformed (x; dy for a data gradient) has `ci` channels, the result `co`; tiles of 4 x 4 results (8 x 8 for a data gradient with
 * stride 2) cover it image by image. */
#ifndef KD_KERNELS_WINO_H
#define KD_KERNELS_WINO_H
#include "runtime/kernels/conv.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/simd.h"

enum { KD__WINO_PAD = 16 };                      /* floats between rows of tiles: rows a power of two apart would meet in the same cache lines */

/* One of the products of a tile: M[m] += V[v] U[u], or in a gradient U[u] += V[v]' Y[m]. */
typedef struct kd__wino_product { uint8_t v, u, m; bool add_m, add_u; } kd__wino_product;
enum { KD__WINO_PRODUCTS = 81 };

typedef struct kd__wino {
  kd__conv v;
  const kd__simd *simd;
  const kd__wino_steps *steps;
  kd__wino_product product[KD__WINO_PRODUCTS];   /* those of one filter one after the other */
  int products, nin, nout;                       /* how many there are, and matrices V and M (or Y) */
  int64_t step[KD__ROLES], off[KD__ROLES][2];    /* places from tile to tile, and where tile 0 begins above and left of the map */
  int threads;
  kd__role from, to;
  int64_t ci, co, down, across, tiles;           /* tiles: of the whole batch */
  int64_t in_row, out_row;                       /* floats from tile to tile; all frequencies of a tile lie together, for gradients all tiles of a frequency */
  int64_t block, blocks;                         /* tiles worked on together, and how many such blocks (of gradients with parts: tiles of a part) */
  int64_t parts;                                 /* of a gradient's sums, each added up on its own; 0: the whole team works on one */
  float *kept;                                   /* transformed filters of frozen weights, and the count that they were made at; else NULL */
  uint64_t made;
  bool pack[KD__ROLES], pack_add;
  size_t at[KD__ROLES], add, bias, filters, work, work_size, total;   /* byte offsets in scratch; work: for each thread, or (rounds of a gradient) for all */
} kd__wino;

/* Tile t in x or y, and the floats of the images before it. */
kd__tile kd__wino_tile(const kd__wino *w, kd__role role, int64_t t, int64_t *before);
size_t   kd__wino_reserve(kd__wino *w, int64_t floats);
/* A map that does not lie channels innermost is copied; the address to work with. */
float   *kd__wino_map(const kd__wino *w, kd__role role, const kd_exec *x, bool fill);
void     kd__wino_map_done(const kd__wino *w, kd__role role, const kd_exec *x);
/* What products bring near meanwhile, a line of 16 floats after another: some pieces of memory, of which `left` of `lines` are to be asked for. */
typedef struct kd__wino_ahead { const float *at[3]; int64_t lines[3], left, each; } kd__wino_ahead;
/* Adds the rows of a map that lies as x or y which tiles first..first+n-1 reach, and the tiles before them did not. */
void kd__wino_ahead_map(const kd__wino *w, kd__wino_ahead *a, kd__role role, const float *map, int64_t first, int64_t n);
/* The share of the next of a tile's products. */
void kd__wino_ahead_take(kd__wino_ahead *a, kd__ahead then[2]);
/* wino_grad.c: the weight gradient. */
void     kd__wino_grad_shape(kd__wino *w);
void     kd__wino_grad_run(const kd__wino *w, const kd_exec *x);
#endif
