/* par.c: the thread team. One OpenMP runtime for our loops and for the libraries.
 *
 * Both BLAS libraries and oneDNN run on one thread inside an active parallel region. Where we want exactly T threads (also T = 1) outside
 * of one, the call is made in a parallel region of one thread whose own thread count is set: that setting belongs to the region's
 * implicit task and ends with it (OpenMP 5.0, 2.4.2), so the process never sees it. */
#include "runtime/kernels/par.h"
#include <pthread.h>

/* Whose turn it is: tickets, since a plain mutex would let the same session in again and again. With libs.c the only state of the process. */
static struct { pthread_mutex_t lock; pthread_cond_t next_turn; uint64_t taken, turn; } team_queue = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

void kd__team_take(void) {
  pthread_mutex_lock(&team_queue.lock);
  uint64_t mine = team_queue.taken++;
  while (team_queue.turn != mine) pthread_cond_wait(&team_queue.next_turn, &team_queue.lock);
  pthread_mutex_unlock(&team_queue.lock);
}

void kd__team_give(void) {
  pthread_mutex_lock(&team_queue.lock);
  team_queue.turn++;
  pthread_cond_broadcast(&team_queue.next_turn);
  pthread_mutex_unlock(&team_queue.lock);
}

typedef struct cut { int64_t n, chunks, size; } cut;

static cut cut_range(int64_t n, int64_t chunks, int64_t align) {
  if (chunks < 1) chunks = 1;
  int64_t size = kd__ceil_div(kd__ceil_div(n, chunks), align) * align;
  if (size < 1) size = 1;
  return (cut){ n, kd__ceil_div(n, size), size };
}

static void run_chunk(const cut *c, int64_t i, kd__range_fn fn, void *ctx) {
  fn(ctx, i * c->size, kd__min((i + 1) * c->size, c->n), i);
}

void kd__par_static(const kd_exec *x, int64_t n, int64_t chunks, int64_t align, kd__range_fn fn, void *ctx) {
  cut c = cut_range(n, chunks, align);
  int team = (int)kd__min(x->threads, c.chunks);
  if (team < 2) {
    for (int64_t i = 0; i < c.chunks; i++) run_chunk(&c, i, fn, ctx);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(team)
  for (int64_t i = 0; i < c.chunks; i++) run_chunk(&c, i, fn, ctx);
}

void kd__par_dynamic(const kd_exec *x, int64_t n, int64_t chunks, int64_t align, kd__range_fn fn, void *ctx) {
  cut c = cut_range(n, chunks, align);
  int team = (int)kd__min(x->threads, c.chunks);
  if (team < 2) {
    for (int64_t i = 0; i < c.chunks; i++) run_chunk(&c, i, fn, ctx);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (int64_t i = 0; i < c.chunks; i++) run_chunk(&c, i, fn, ctx);
}

typedef struct items { int64_t n; kd__range_fn fn; void *ctx; } items;

static void run_items(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const items *w = ctx;
  (void)begin, (void)end, (void)chunk;
  for (int64_t i = 0; i < w->n; i++) w->fn(w->ctx, i, i + 1, i);
}

void kd__par_library(const kd_exec *x, int64_t n, kd__range_fn fn, void *ctx) {
  if (kd__min(x->threads, n) < 2) {
    items w = { n, fn, ctx };
    kd__par_scope(1, run_items, &w);
    return;
  }
  kd__par_dynamic(x, n, n, 1, fn, ctx);
}

void kd__par_scope(int threads, kd__range_fn fn, void *ctx) {
#ifdef _OPENMP
  if (!omp_in_parallel() && omp_get_max_threads() != threads) {
#pragma omp parallel num_threads(1)
    {
      omp_set_num_threads(threads);
      fn(ctx, 0, 1, 0);
    }
    return;
  }
#else
  (void)threads;
#endif
  fn(ctx, 0, 1, 0);
}
