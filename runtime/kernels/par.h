/* par.h: the thread team of one call, and the attribute that compiles a hot loop for several CPUs. Internal to kernels/. */
#ifndef KD_KERNELS_PAR_H
#define KD_KERNELS_PAR_H
#include "runtime/kernels/kernel.h"
#ifdef _OPENMP
#include <omp.h>
#endif

/* Hot loops are compiled for AVX-512, AVX2 with FMA, and the base instruction set; the loader picks by CPUID. Sanitizers and clang get
 * one version (their instrumentation runs too early for the resolver, or they lack the feature). */
#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KD_CLONES
#endif
/* Iterations are independent, although a result may be one of the operands. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"                                /* where a loop calls the C library it stays as it is */
#define KD_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define KD_IVDEP _Pragma("GCC ivdep")
#else
#define KD_IVDEP
#endif
#define KD_INLINE static inline __attribute__((always_inline))

enum { KD__PAR_MIN = 32768 };                    /* below this many elements a team costs more than it brings */

/* One piece of the work: items begin..end-1 of n; `chunk` numbers the piece. */
typedef void (*kd__range_fn)(void *ctx, int64_t begin, int64_t end, int64_t chunk);

/* Cuts 0..n-1 into `chunks` nearly equal ranges, their starts multiples of `align`; each is run once, by any thread of the team. */
void kd__par_for(const kd_exec *x, int64_t n, int64_t chunks, int64_t align, kd__range_fn fn, void *ctx);
/* The same with one item a chunk; every library call made by fn sees a one-thread OpenMP environment. */
void kd__par_library(const kd_exec *x, int64_t n, kd__range_fn fn, void *ctx);
/* Runs fn(ctx) so that OpenMP libraries called in it use one thread. */
void kd__par_alone(void (*fn)(void *ctx), void *ctx);

/* The number of this thread: 0 to x->threads - 1. */
static inline int kd__par_thread(void) {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}
/* Chunks for n elements of element-wise work: 1 when small, else one a thread. */
static inline int64_t kd__par_chunks(const kd_exec *x, int64_t n) { return n < KD__PAR_MIN || x->threads < 2 ? 1 : x->threads; }
static inline int64_t kd__min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t kd__max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t kd__ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
#endif
