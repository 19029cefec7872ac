/* loader.c: batches gathered ahead of the consumer.
 *
 * Small batches are gathered when they are asked for: that takes less time than to hear of another thread's. All others are gathered by a thread of
 * their own into a ring of `depth` buffers: batch k lies in buffer k % depth. The thread fills `fill` while it is less than depth ahead of `oldest`,
 * the first batch that the consumer may still be reading. Both are written by one side each, so a batch is handed over without a lock. Who has to wait
 * says so first and then looks again, and who has news tells it first and then looks whether someone waits: one of the two sees the other. A thread
 * whose ring is full sleeps until half of it is empty, so it is woken once for many batches, and never spins. */
#include "runtime/data/data.h"
#include "runtime/files/file.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { ALIGN = 64, SMALL = 16 << 10, RING = 1 << 20, DEPTH_MIN = 3, DEPTH_MAX = 32 };      /* bytes of a batch; of a ring; buffers of a ring */

typedef struct buffer { char *memory; void **field; int64_t *index; int64_t rows; } buffer;

struct kd_loader {
  const kd__split_data *split;
  const kd__column **column; uint32_t ncolumn;
  int64_t batch, total;                          /* rows of a batch, batches of a pass */
  bool shuffle;
  int64_t *order;
  buffer *ring; int64_t depth;                   /* 1: small batches, and no thread */
  int64_t give, end;                             /* the consumer's own: batch to give out next; batches of the pass, 0 for none */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t work, ready;                    /* to the thread; to the consumer */
  _Alignas(64) atomic_int_fast64_t fill;         /* written by the thread */
  atomic_bool asleep;                            /* it waits for room */
  _Alignas(64) atomic_int_fast64_t oldest;       /* written by the consumer */
  atomic_bool hungry, stop;                      /* it waits for a batch; it wants no more of this pass */
  /* under lock */
  int64_t first;
  uint64_t seed, pass;
  bool begun, idle, quit;                        /* begun: a pass waits for the thread; idle: the thread has none */
};

__extension__ typedef unsigned __int128 wide;

void kd__loader_order(uint64_t seed, uint64_t pass, int64_t *order, int64_t n) {
  uint64_t key = kd__mix(seed, 0x6f72646572u);   /* "order": apart from all other draws of this seed */
  uint32_t w[4] = { 0 };
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n - 1, k = 0; i > 0; i--, k++) {
    if (k % 2 == 0) kd__philox(key, (uint64_t)k / 2, pass, w);
    uint64_t r = k % 2 ? (uint64_t)w[2] << 32 | w[3] : (uint64_t)w[0] << 32 | w[1];
    int64_t j = (int64_t)((wide)r * (uint64_t)(i + 1) >> 64), t = order[i];
    order[i] = order[j];
    order[j] = t;
  }
}

/* The processor fetches rows of a shuffled pass only when told early. */
static void fetch_ahead(const char *row, size_t bytes) {
  for (size_t at = 0; at < bytes && at < 512; at += 64) __builtin_prefetch(row + at);
}

static void gather_rows(char *to, const char *from, size_t bytes, const int64_t *row, const int64_t *index, int64_t n) {
  enum { AHEAD = 4 };
  for (int64_t i = 0; i < n; i++, to += bytes) {
    int64_t next = index[i + AHEAD < n ? i + AHEAD : n - 1];
    fetch_ahead(from + (size_t)(row ? row[next] : next) * bytes, bytes);
    memcpy(to, from + (size_t)(row ? row[index[i]] : index[i]) * bytes, bytes);
  }
}

static void gather(kd_loader *l, int64_t number) {
  buffer *b = &l->ring[number % l->depth];
  int64_t from = number * l->batch, left = l->split->count - from;
  b->rows = left < l->batch ? left : l->batch;
  for (int64_t i = 0; i < b->rows; i++) b->index[i] = l->shuffle ? l->order[from + i] : from + i;
  for (uint32_t f = 0; f < l->ncolumn; f++) {
    const kd__column *c = l->column[f];
    if (l->shuffle || c->row) gather_rows(b->field[f], c->data, c->sample_bytes, c->row, b->index, b->rows);
    else memcpy(b->field[f], (const char *)c->data + (size_t)from * c->sample_bytes, (size_t)b->rows * c->sample_bytes);
  }
  for (int64_t i = 0; l->split->number && i < b->rows; i++) b->index[i] = l->split->number[b->index[i]];
}

/* --- the thread ----------------------------------------------------------------------------------------------------------------------- */
/* Waits until half of the ring is empty. False: nobody wants the batch any more. */
static bool wait_for_room(kd_loader *l, int64_t number) {
  if (number - atomic_load(&l->oldest) < l->depth) return !atomic_load(&l->stop);
  pthread_mutex_lock(&l->lock);
  atomic_store(&l->asleep, true);
  while (!atomic_load(&l->stop) && number - atomic_load(&l->oldest) > l->depth / 2) pthread_cond_wait(&l->work, &l->lock);
  atomic_store(&l->asleep, false);
  pthread_mutex_unlock(&l->lock);
  return !atomic_load(&l->stop);
}

static void run_pass(kd_loader *l, int64_t first, uint64_t seed, uint64_t pass) {
  if (l->shuffle) kd__loader_order(seed, pass, l->order, l->split->count);
  for (int64_t number = first; number < l->total && wait_for_room(l, number); number++) {
    gather(l, number);
    atomic_store(&l->fill, number + 1);
    if (!atomic_load(&l->hungry)) continue;
    pthread_mutex_lock(&l->lock);
    pthread_cond_signal(&l->ready);
    pthread_mutex_unlock(&l->lock);
  }
}

static void *work(void *arg) {
  kd_loader *l = arg;
  pthread_mutex_lock(&l->lock);
  for (;;) {
    l->idle = true;
    pthread_cond_signal(&l->ready);
    while (!l->quit && !l->begun) pthread_cond_wait(&l->work, &l->lock);
    if (l->quit) break;
    l->begun = l->idle = false;
    int64_t first = l->first;
    uint64_t seed = l->seed, pass = l->pass;
    pthread_mutex_unlock(&l->lock);
    run_pass(l, first, seed, pass);
    pthread_mutex_lock(&l->lock);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

/* Under the lock: the thread has no pass any more. */
static void end_pass(kd_loader *l) {
  atomic_store(&l->stop, true);
  pthread_cond_signal(&l->work);
  while (!l->idle || l->begun) {
    if (l->idle) l->begun = false;               /* it had not yet heard of the pass */
    else pthread_cond_wait(&l->ready, &l->lock);
  }
  atomic_store(&l->stop, false);
}

/* --- a loader's life --------------------------------------------------------------------------------------------------------------------- */
static bool add_size(size_t *total, size_t rows, size_t each) {
  size_t bytes;
  return !__builtin_mul_overflow(rows, each, &bytes) && !__builtin_add_overflow(bytes, (size_t)ALIGN - 1, &bytes) &&
         !__builtin_add_overflow(*total, bytes / ALIGN * ALIGN, total);
}

static int64_t depth(int64_t batch) {
  return batch <= SMALL ? 1 : batch > RING / DEPTH_MIN ? DEPTH_MIN : batch < RING / DEPTH_MAX ? DEPTH_MAX : RING / batch;
}
int64_t kd__loader_bytes(int64_t batch) { return depth(batch) * batch; }

/* One block for each buffer: the index, then the fields, each aligned. */
static bool make_buffers(kd_loader *l) {
  size_t rows = (size_t)(l->batch < l->split->count ? l->batch : l->split->count), total = 0;
  if (!add_size(&total, rows, sizeof(int64_t))) return false;
  for (uint32_t f = 0; f < l->ncolumn; f++)
    if (!add_size(&total, rows, l->column[f]->sample_bytes)) return false;
  l->depth = depth((int64_t)total);
  l->ring = calloc((size_t)l->depth, sizeof *l->ring);
  for (int64_t i = 0; i < l->depth; i++) {
    buffer *b = &l->ring[i];
    if (!l->ring) return false;
    b->memory = aligned_alloc(ALIGN, total ? total : ALIGN);
    b->field = calloc(l->ncolumn + 1, sizeof *b->field);
    if (!b->memory || !b->field) return false;
    size_t at = 0;
    b->index = (int64_t *)(void *)b->memory;
    add_size(&at, rows, sizeof(int64_t));
    for (uint32_t f = 0; f < l->ncolumn; f++) {
      b->field[f] = b->memory + at;
      add_size(&at, rows, l->column[f]->sample_bytes);
    }
  }
  if (!l->shuffle) return true;
  l->order = malloc((size_t)l->split->count * sizeof *l->order);
  return l->order != NULL;
}

static void free_memory(kd_loader *l) {
  for (int64_t i = 0; l->ring && i < l->depth; i++) { free(l->ring[i].memory); free(l->ring[i].field); }
  free(l->ring);
  free(l->order);
  free(l->column);
  free(l);
}

static void free_locks(kd_loader *l) {
  pthread_cond_destroy(&l->ready);
  pthread_cond_destroy(&l->work);
  pthread_mutex_destroy(&l->lock);
}

/* Signals are for the program's own threads: this one takes none. */
static int start_thread(kd_loader *l) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int e = pthread_create(&l->thread, NULL, work, l);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return e;
}

kd_status kd__loader_open(const kd_data *d, const kd_stream *s, kd_loader **out, char *why, size_t n) {
  *out = NULL;
  const kd__split_data *sp = kd__data_split(d, s->split);
  if (!sp || s->batch <= 0) return kd__why(why, n, KD_E_USAGE, "a stream needs a split and a batch of at least 1 (it has %lld)", (long long)s->batch);
  for (uint32_t i = 0; i < s->nbind; i++)
    if (s->bind[i].field >= sp->nfield || !sp->field[s->bind[i].field].data)
      return kd__why(why, n, KD_E_USAGE, "split '%s' has no field %u open", sp->name, s->bind[i].field);
  kd_loader *l = aligned_alloc(_Alignof(kd_loader), sizeof *l);
  if (!l) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  memset(l, 0, sizeof *l);
  l->split = sp;
  l->batch = s->batch;
  l->shuffle = s->shuffle;
  l->ncolumn = s->nbind;
  l->total = s->drop_last ? sp->count / s->batch : sp->count == 0 ? 0 : (sp->count - 1) / s->batch + 1;
  l->column = calloc(s->nbind + 1, sizeof *l->column);
  for (uint32_t i = 0; i < s->nbind && l->column; i++) l->column[i] = &sp->field[s->bind[i].field];
  if (!l->column || !make_buffers(l)) { free_memory(l); return kd__why(why, n, KD_E_MEMORY, "out of memory for batches of %lld", (long long)s->batch); }
  if (l->depth == 1) { *out = l; return KD_OK; }
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->work, NULL);
  pthread_cond_init(&l->ready, NULL);
  int e = start_thread(l);
  if (e == 0) { *out = l; return KD_OK; }
  free_locks(l);
  free_memory(l);
  return kd__why(why, n, KD_E_MEMORY, "cannot start a thread to read data: %s", strerrordesc_np(e));
}

int64_t kd__loader_batches(const kd_loader *l) { return l->total; }
int64_t kd__loader_position(const kd_loader *l) { return l->give; }

void kd__loader_start(kd_loader *l, uint64_t seed, uint64_t pass, int64_t batch) {
  l->give = batch < 0 ? 0 : batch;
  l->end = l->total;
  if (l->depth == 1) {
    if (l->shuffle) kd__loader_order(seed, pass, l->order, l->split->count);
    return;
  }
  pthread_mutex_lock(&l->lock);
  end_pass(l);
  l->seed = seed;
  l->pass = pass;
  l->first = l->give;
  atomic_store(&l->fill, l->give);
  atomic_store(&l->oldest, l->give);
  l->begun = true;
  pthread_cond_signal(&l->work);
  pthread_mutex_unlock(&l->lock);
}

/* The batch to give next is in its buffer when this returns. */
static void wait_for_batch(kd_loader *l) {
  atomic_store(&l->oldest, l->give);             /* what was given before is free again */
  bool ready = atomic_load(&l->fill) > l->give;
  if (ready && (!atomic_load(&l->asleep) || atomic_load(&l->fill) - l->give > l->depth / 2)) return;
  pthread_mutex_lock(&l->lock);
  pthread_cond_signal(&l->work);
  atomic_store(&l->hungry, true);
  while (atomic_load(&l->fill) <= l->give) pthread_cond_wait(&l->ready, &l->lock);
  atomic_store(&l->hungry, false);
  pthread_mutex_unlock(&l->lock);
}

bool kd__loader_next(kd_loader *l, kd__batch *out) {
  if (l->give >= l->end) return false;
  if (l->depth == 1) gather(l, l->give);
  else wait_for_batch(l);
  const buffer *b = &l->ring[l->give % l->depth];
  *out = (kd__batch){ b->rows, l->give, b->field, b->index };
  l->give++;
  return true;
}

void kd__loader_close(kd_loader *l) {
  if (!l) return;
  if (l->depth > 1) {
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    atomic_store(&l->stop, true);
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    free_locks(l);
  }
  free_memory(l);
}
