/* matmul_panel.h: what the files of matmul.panel share. Internal to kernels/. */
#ifndef KD_KERNELS_MATMUL_PANEL_H
#define KD_KERNELS_MATMUL_PANEL_H
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/simd.h"

enum { KD__MM_ALIGN = 64, KD__MM_ROWS = 14, KD__MM_DEPTH = 256 };

typedef struct kd__mm_side { int64_t row, col, batch[KD_MAX_RANK]; } kd__mm_side;
typedef struct kd__product {
  const kd__simd *simd;
  bool swap, pack, keep, turned, copy;           /* copy: the result lies in no order we can write */
  bool gram, dots;                               /* A is B', in the same memory: the blocks below the diagonal are those above it; by dot products */
  bool local, far;                               /* local: who computes a piece packs its panels; far: items come from beyond the caches */
  enum { KD__BY_PIECE, KD__BY_ITEM, KD__BY_DEPTH } by;      /* how it is shared: pieces of all results, items of the stack, parts of the sums */
  int threads, nbatch;
  int64_t m, n, k, batch, bdim[KD_MAX_RANK], panels, mp, np, mc, nc;     /* mp x np pieces of mc rows and nc panels */
  int64_t parts, depth;                          /* parts of the sums, each of so many terms */
  kd__mm_side a, b, c;
  float *kept;                                   /* packed B of a frozen operand, and the count that it was made at; else NULL */
  uint64_t made;
  size_t packed, result, partial, each, total;            /* byte offsets in scratch; each: packed B of one item, floats */
} kd__product;

/* Operands and places in scratch of one run. */
typedef struct kd__mm_job { const kd__product *p; const float *a, *b; float *c, *packed, *partial; } kd__mm_job;

size_t kd__mm_reserve(kd__product *p, int64_t floats);
/* Where the operands and the result of an item begin: a, b, c. */
void kd__mm_item(const kd__product *p, int64_t item, int64_t off[3]);
/* The item that this thread is likely to take after one of begin..end-1; it may be one that there is not. */
int64_t kd__mm_following(const kd__product *p, int64_t item, int64_t begin, int64_t end);
/* All of a matrix, where its rows or columns have no gaps. */
kd__ahead kd__mm_ahead(const float *at, const kd__mm_side *s, int64_t rows, int64_t cols);
/* Packs k rows of panels begin..end-1 of B, one panel after the other. */
void kd__mm_pack(const kd__product *p, const float *b, float *to, int64_t k, int64_t begin, int64_t end);

/* The product of a matrix with its own transpose, from the plan of the general one; false: the call cannot be one (and *g is unset). */
bool kd__gram_describe(kd__product *g, const kd__product *plain, const kd_call *c);
/* Whether that is dot products of rows as they lie; how many floats a thread copies to; and that. `mirror`: a job of gram's, over all panels. */
bool kd__dots_take(const kd__product *p);
int64_t kd__dots_room(const kd__product *p);
void kd__dots_run(const kd__product *p, const kd__mm_job *w, const kd_exec *team, kd__range_fn mirror);
void kd__gram_run(const kd__product *p, const kd__mm_job *w, const kd_exec *team);
#endif
