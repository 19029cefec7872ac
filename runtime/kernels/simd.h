/* simd.h: loops written in vectors by hand, compiled for AVX-512, for AVX2 with FMA and for the base instruction set, and picked by CPUID: products
 * of dense blocks, convolutions of few channels, and the transforms of Winograd's. All three are as exact; the first two give the same bits.
 * Internal to kernels/. */
#ifndef KD_KERNELS_SIMD_H
#define KD_KERNELS_SIMD_H
#include "runtime/kernels/kernel.h"

enum { KD__PANEL = 32, KD__TILE_IN = 6, KD__TILE_OUT = 4, KD__FREQ = KD__TILE_IN * KD__TILE_IN, KD__STREAMS = 5, KD__TICK = 8 };

/* Memory that will be wanted next: so many rows, `step` floats apart, of so many lines of 16 floats. */
typedef struct kd__ahead { const float *at; int64_t rows, step, lines; } kd__ahead;
/* The same while it is asked for: `left` lines, `each` of them every KD__TICK terms; a row's last one and the next row's first are `on` floats apart. */
typedef struct kd__stream { const float *at; int64_t left, line, lines, on, each; } kd__stream;
/* C[m,n] = A[m,k] B[k,n], or C += A B. Element (i,p) of A is a[i*ars + p*aks]. B lies in panels of 32 columns: element (p,j) is
 * b[j/32*bps + p*bks + j%32]; a row-major matrix is one with bps = 32 and bks its row. `padded`: 32 columns of the last panel may be read.
 * C is row-major, or `turned`: element (i,j) at c[j*ldc + i]. Each element is a sum in the order of k, cut after every 256: its bits do not depend
 * on which rows and columns are computed together. `then` is brought near meanwhile; who says it has had A brought near in the same way. */
typedef struct kd__mm { int64_t m, n, k, ars, aks, bps, bks, ldc; bool add, padded, turned; kd__ahead then[2]; } kd__mm;

/* C[m,n] of dot products of k terms, or C += them: element (i,j) is the sum of a[i*ars + p] * b[j*brs + p]; k is a multiple of 16. `symmetric`: A is B,
 * and only half of C is computed, the rest is the same. A sum's bits do not depend on which rows are computed together. `then` is brought near meanwhile. */
typedef struct kd__dots { int64_t m, n, k, ars, brs, ldc; bool add, symmetric; kd__ahead then; } kd__dots;

/* A map with channels innermost: the place (y,x) of an image begins at (y*width + x)*c. A tile reaches from (y0,x0); parts outside are zeros, or
 * left out. Channels are multiples of 16. */
typedef struct kd__tile { int64_t y0, x0, height, width, c; } kd__tile;
/* What happens to results as they are stored: + bias[channel] + add (a map like the result) and max(., 0); NULL, false: nothing. */
typedef struct kd__post { const float *bias, *add; bool relu; } kd__post;

/* A convolution of few channels, a row of `n` places of the result at a time, co channels each without gaps. x lies in planes: c of them, cs floats
 * apart, with rows of rs floats; a term of kernel row a and column b is x[a*rs + b]. Weights, and sums for them: vectors of `width` floats [vector of
 * channels (vs floats apart), c, row (of `rows`), column]; lane i is channel i, or, of a `pair` of places, channel i/2. */
typedef struct kd__direct { int64_t c, kh, kw, cs, rs, rows, vs, n, co, height; bool pair, relu; } kd__direct;

/* The transforms of a kind of Winograd convolutions. `v` is the tile's row of frequency 0; that of frequency f is f*fs floats on. */
typedef enum kd__wino_kind {
  KD__WINO_SAME,                                 /* stride 1: 6 x 6 of x to 36, 36 to 4 x 4 of y, 4 x 4 of dy to 36 */
  KD__WINO_HALF,                                 /* stride 2: 9 x 9 of x to 81, 49 to 4 x 4 of y, 4 x 4 of dy to 49 */
  KD__WINO_BACK_EVEN, KD__WINO_BACK_ODD,         /* its gradient of x: 5 x 5 of dy to 81, 81 to 8 x 8 of dx, the first of them on an even place of the padded map or not */
  KD__WINO_KINDS
} kd__wino_kind;
typedef struct kd__wino_steps {
  void (*in)(const kd__tile *t, const float *map, float *v, int64_t fs);
  void (*grad)(const kd__tile *t, const float *map, float *v, int64_t fs);
  void (*out)(const kd__tile *t, float *map, const float *v, int64_t fs, const kd__post *post);
  /* Sixteen filters of nine taps, g[tap*16 + lane], to 36 u[f*fs + lane]; and the other way for gradients. */
  void (*filter)(const float *g, float *u, int64_t fs);
  void (*filter_grad)(const float *u, int64_t fs, float *g);
} kd__wino_steps;

typedef struct kd__simd {
  const char *name;
  int width;                                     /* floats in a vector */
  void (*mm)(const kd__mm *g, const float *a, const float *b, float *c);
  void (*dots)(const kd__dots *g, const float *a, const float *b, float *c);
  /* Columns 0..n-1, at most 32, of B as one panel [k, 32], filled up with zeros; element (p,j) is b[p*row + j*col]. */
  void (*pack)(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, float *to);
  /* Sixteen rows of sixteen, exchanged: to[j*to_row + i] = from[i*row + j]. */
  void (*turn16)(const float *from, int64_t row, float *to, int64_t to_row);
  /* Rows begin..end-1 of a symmetric matrix, of which the panels of 32 on the diagonal and above it are there: the others; begin is a multiple of 32. */
  void (*mirror)(int64_t begin, int64_t end, float *c, int64_t ldc);
  kd__wino_steps wino[KD__WINO_KINDS];
  /* One row: y = bias + x w; kh of the kernel's rows, from the one at w on. `bias` in vectors as w. A pair may read one float
   * beyond a row of x. Up to four vectors are written beyond the row of y. */
  void (*direct)(const kd__direct *d, const float *x, const float *w, const float *bias, float *y);
  /* sums += x dy over `height` rows of an image; kw is 3, 5 or 7. Whole vectors of dy are read: of a pair, half vectors. */
  void (*direct_sums)(const kd__direct *d, const float *x, const float *dy, float *sums);
} kd__simd;

/* The best for this processor. */
const kd__simd *kd__simd_best(void);
/* All that this processor can run, best first; NULL after the last. For tests. */
const kd__simd *kd__simd_nth(int i);
#endif
