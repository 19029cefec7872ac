/* wino.h: what the Winograd convolutions share. Internal to kernels/.
 *
 * The map that is transformed (x; dy for a data gradient) has `ci` channels, the result `co`; tiles of 4 x 4 results cover it image by image. */
#ifndef KD_KERNELS_WINO_H
#define KD_KERNELS_WINO_H
#include "runtime/kernels/conv.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/simd.h"

enum { KD__WINO_PAD = 16 };                      /* floats between rows of tiles: rows a power of two apart would meet in the same cache lines */

typedef struct kd__wino {
  kd__conv v;
  const kd__simd *simd;
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

/* Where tile t begins in a map of height x width with c channels, padded by (py, px); *image: its number. */
kd__tile kd__wino_tile(const kd__wino *w, int64_t t, int64_t height, int64_t width, int64_t c, int64_t py, int64_t px, int64_t *image);
size_t   kd__wino_reserve(kd__wino *w, int64_t floats);
/* A map that does not lie channels innermost is copied; the address to work with. */
float   *kd__wino_map(const kd__wino *w, kd__role role, const kd_exec *x, bool fill);
void     kd__wino_map_done(const kd__wino *w, kd__role role, const kd_exec *x);
/* What products bring near meanwhile, a line of 16 floats after another: some pieces of memory, of which `left` of `lines` are to be asked for. */
typedef struct kd__wino_ahead { const float *at[3]; int64_t lines[3], left, each; } kd__wino_ahead;
/* Adds the rows of a map that tiles first..first+n-1 reach (those that the tiles before them did not), tile 0 being `up` rows above. */
void kd__wino_ahead_map(const kd__wino *w, kd__wino_ahead *a, const float *map, int64_t first, int64_t n, const kd__tile *size, int64_t up);
/* The share of the next of KD__FREQ products. */
void kd__wino_ahead_take(kd__wino_ahead *a, kd__ahead then[2]);
/* wino_grad.c: the weight gradient. */
void     kd__wino_grad_shape(kd__wino *w);
void     kd__wino_grad_run(const kd__wino *w, const kd_exec *x);
#endif
