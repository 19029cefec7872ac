/* par.c: the thread team. One OpenMP runtime for our loops and for the libraries, and one parallel region for a whole program.
 *
 * Thread 0 runs the program and posts a job for each loop; the others wait for jobs. A job is a number of chunks that any thread takes, so a
 * thread that another process has pushed off its core holds up no more than the chunk that it has: with a parallel region for each loop, all would
 * wait until it has come back to say that it has nothing to do. (Measured with two more busy processes on two cores: 5 to 20 times the speed.)
 * Waiting threads spin for some microseconds, about as long as the gaps between loops, and then sleep.
 *
 * OpenMP libraries are to use one thread wherever we call them (and oneDNN also where it plans a call: one planned for two would wait for ever for
 * the second). So each thread of a region sets its own thread count: that setting belongs to the region's implicit task and ends with it (OpenMP
 * 5.0, 2.4.2). Outside of one, the thread that calls sets its own, and sets it back when it is done: no other thread sees it. A region of one
 * thread would do, too, but libgomp allocates one each time. */
#include "runtime/kernels/par.h"
#include <pthread.h>
#include <stdatomic.h>

enum { SPINS = 4000 };

typedef struct cut { int64_t n, chunks, size; } cut;

struct kd__team {
  _Alignas(64) _Atomic uint64_t ticket;          /* number of the job << 32 | its chunks that nobody has taken */
  _Alignas(64) atomic_int_fast64_t left;         /* its chunks that are not done */
  atomic_int sleeping;
  atomic_bool closed;
  cut c;                                         /* the job: written while no chunk is left, read by who has taken one */
  kd__range_fn fn;
  void *ctx;
  pthread_mutex_t lock;
  pthread_cond_t wake;
};

static cut cut_range(int64_t n, int64_t chunks, int64_t align) {
  if (chunks < 1) chunks = 1;
  int64_t size = kd__ceil_div(kd__ceil_div(n, chunks), align) * align;
  if (size < 1) size = 1;
  return (cut){ n, kd__ceil_div(n, size), size };
}

static void run_chunk(const cut *c, int64_t i, kd__range_fn fn, void *ctx) {
  fn(ctx, i * c->size, kd__min((i + 1) * c->size, c->n), i);
}

/* --- the team ----------------------------------------------------------------------------------------------------------------------- */
#ifdef _OPENMP
static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Who goes to sleep counts itself first and then looks again; who has news tells them first and then looks for sleepers: one of the two sees
 * the other. */
static void wake_all(kd__team *t) {
  if (atomic_load(&t->sleeping) == 0) return;
  pthread_mutex_lock(&t->lock);
  pthread_cond_broadcast(&t->wake);
  pthread_mutex_unlock(&t->lock);
}

static bool job_there(kd__team *t) { return (uint32_t)atomic_load(&t->ticket) != 0 || atomic_load(&t->closed); }
static bool job_done(kd__team *t) { return atomic_load(&t->left) == 0; }

static void wait_until(kd__team *t, bool (*reached)(kd__team *t)) {
  for (int i = 0; i < SPINS; i++) {
    if (reached(t)) return;
    pause_briefly();
  }
  pthread_mutex_lock(&t->lock);
  atomic_fetch_add(&t->sleeping, 1);
  while (!reached(t)) pthread_cond_wait(&t->wake, &t->lock);
  atomic_fetch_sub(&t->sleeping, 1);
  pthread_mutex_unlock(&t->lock);
}

/* Takes chunks and runs them until none is left to take. The job cannot be over while a chunk of it is taken but not done: so its fields stay. */
static void work(kd__team *t) {
  uint64_t seen = atomic_load(&t->ticket);
  while ((uint32_t)seen) {
    if (!atomic_compare_exchange_weak(&t->ticket, &seen, seen - 1)) continue;
    run_chunk(&t->c, t->c.chunks - (int64_t)(uint32_t)seen, t->fn, t->ctx);
    if (atomic_fetch_sub(&t->left, 1) == 1) wake_all(t);
    seen = atomic_load(&t->ticket);
  }
}

static void post(kd__team *t, const cut *c, kd__range_fn fn, void *ctx) {
  uint64_t number = (atomic_load(&t->ticket) >> 32) + 1;
  t->c = *c, t->fn = fn, t->ctx = ctx;
  atomic_store(&t->left, c->chunks);
  atomic_store(&t->ticket, number << 32 | (uint64_t)c->chunks);
  wake_all(t);
  work(t);
  wait_until(t, job_done);
}

static void with_team(const kd_exec *x, void (*fn)(void *ctx, const kd_exec *y), void *ctx) {
  kd__team t = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };
  kd_exec y = *x;
  y.team = &t;
#pragma omp parallel num_threads(x->threads)
  {
    omp_set_num_threads(1);
    if (omp_get_thread_num() == 0) {
      fn(ctx, &y);
      atomic_store(&t.closed, true);
      wake_all(&t);
    } else {
      while (!atomic_load(&t.closed)) {
        wait_until(&t, job_there);
        work(&t);
      }
    }
  }
  pthread_cond_destroy(&t.wake);
  pthread_mutex_destroy(&t.lock);
}

/* Whose turn it is: tickets, since a plain mutex would let the same session in again and again. With libs.c the only state of the process. */
static struct { pthread_mutex_t lock; pthread_cond_t next; uint64_t taken, turn; } queue = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
static void with_turn(const kd_exec *x, void (*fn)(void *ctx, const kd_exec *y), void *ctx) {
  pthread_mutex_lock(&queue.lock);
  uint64_t mine = queue.taken++;
  while (queue.turn != mine) pthread_cond_wait(&queue.next, &queue.lock);
  pthread_mutex_unlock(&queue.lock);
  with_team(x, fn, ctx);
  pthread_mutex_lock(&queue.lock);
  queue.turn++;
  pthread_cond_broadcast(&queue.next);
  pthread_mutex_unlock(&queue.lock);
}

typedef struct single { cut c; kd__range_fn fn; void *ctx; } single;
static void run_single(void *ctx, const kd_exec *y) {
  const single *w = ctx;
  post(y->team, &w->c, w->fn, w->ctx);
}
#endif

typedef struct alone { void (*fn)(void *ctx, const kd_exec *y); void *ctx; const kd_exec *x; } alone;
static void run_alone(void *ctx) {
  const alone *w = ctx;
  w->fn(w->ctx, w->x);
}

void kd__team_run(const kd_exec *x, void (*fn)(void *ctx, const kd_exec *y), void *ctx) {
#ifdef _OPENMP
  if (x->threads > 1) { with_turn(x, fn, ctx); return; }
#endif
  alone w = { fn, ctx, x };
  kd__par_alone(run_alone, &w);
}

/* --- loops ---------------------------------------------------------------------------------------------------------------------------- */
void kd__par_for(const kd_exec *x, int64_t n, int64_t chunks, int64_t align, kd__range_fn fn, void *ctx) {
  cut c = cut_range(n, chunks, align);
#ifdef _OPENMP
  if (x->threads > 1 && c.chunks > 1 && c.chunks <= UINT32_MAX && !x->alone) {
    single w = { c, fn, ctx };
    if (x->team) post(x->team, &c, fn, ctx);
    else with_team(x, run_single, &w);
    return;
  }
#else
  (void)x;
#endif
  for (int64_t i = 0; i < c.chunks; i++) run_chunk(&c, i, fn, ctx);
}

void kd__team_each(const kd_exec *x, int64_t n, kd__range_fn fn, void *ctx) { kd__par_for(x, n, n, 1, fn, ctx); }
int kd__team_thread(void) { return kd__par_thread(); }

typedef struct items { int64_t n; kd__range_fn fn; void *ctx; } items;
static void run_items(void *ctx) {
  const items *w = ctx;
  for (int64_t i = 0; i < w->n; i++) w->fn(w->ctx, i, i + 1, i);
}

void kd__par_library(const kd_exec *x, int64_t n, kd__range_fn fn, void *ctx) {
  items w = { n, fn, ctx };
  if (x->threads > 1 && n > 1) kd__par_for(x, n, n, 1, fn, ctx);
  else kd__par_alone(run_items, &w);
}

void kd__par_alone(void (*fn)(void *ctx), void *ctx) {
#ifdef _OPENMP
  int before = omp_get_max_threads();
  if (before != 1) {
    omp_set_num_threads(1);
    fn(ctx);
    omp_set_num_threads(before);
    return;
  }
#endif
  fn(ctx);
}
