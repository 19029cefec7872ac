/* loader.c: batches gathered ahead by a thread of their own.
 *
 * A ring of DEPTH buffers: batch k lies in buffer k % DEPTH. The thread fills `fill` while it is less than DEPTH ahead of `oldest`,
 * the first batch that the consumer may still be reading. Fields under `lock` say so; the buffers themselves need no lock. */
#include "runtime/data/data.h"
#include "runtime/files/file.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { DEPTH = 3, ALIGN = 64 };

typedef struct buffer { char *memory; void **field; int64_t *index; int64_t rows; } buffer;

struct kd_loader {
  const kd__split_data *split;
  const kd__column **column; uint32_t ncolumn;
  int64_t batch, total;                          /* rows of a batch, batches of a pass */
  bool shuffle;
  int64_t *order;
  buffer ring[DEPTH];
  int64_t give;                                  /* the consumer's own: batch to give out next */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t work, ready;                    /* to the thread; to the consumer */
  /* under lock */
  int64_t fill, oldest, end;                     /* end: batches of the pass under way, 0 for none */
  uint64_t seed, pass;
  bool fresh, busy, quit;                        /* fresh: the pass has no order yet; busy: the thread is at work without the lock */
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

static void gather(kd_loader *l, int64_t number) {
  buffer *b = &l->ring[number % DEPTH];
  int64_t from = number * l->batch, left = l->split->count - from;
  b->rows = left < l->batch ? left : l->batch;
  for (int64_t i = 0; i < b->rows; i++) b->index[i] = l->shuffle ? l->order[from + i] : from + i;
  for (uint32_t f = 0; f < l->ncolumn; f++) {
    size_t bytes = l->column[f]->sample_bytes;
    const char *src = l->column[f]->data;
    const int64_t *row = l->column[f]->row;
    char *to = b->field[f];
    if (!l->shuffle && !row) { memcpy(to, src + (size_t)from * bytes, (size_t)b->rows * bytes); continue; }
    for (int64_t i = 0; i < b->rows; i++, to += bytes) memcpy(to, src + (size_t)(row ? row[b->index[i]] : b->index[i]) * bytes, bytes);
  }
  for (int64_t i = 0; l->split->number && i < b->rows; i++) b->index[i] = l->split->number[b->index[i]];
}

static void *work(void *arg) {
  kd_loader *l = arg;
  pthread_mutex_lock(&l->lock);
  for (;;) {
    while (!l->quit && !(l->fill < l->end && l->fill - l->oldest < DEPTH)) pthread_cond_wait(&l->work, &l->lock);
    if (l->quit) break;
    int64_t number = l->fill;
    bool fresh = l->fresh;
    uint64_t seed = l->seed, pass = l->pass;
    l->fresh = false;
    l->busy = true;
    pthread_mutex_unlock(&l->lock);
    if (fresh && l->shuffle) kd__loader_order(seed, pass, l->order, l->split->count);
    gather(l, number);
    pthread_mutex_lock(&l->lock);
    l->busy = false;
    l->fill++;                                   /* a pass that begins meanwhile waits for busy, so this is still ours */
    pthread_cond_signal(&l->ready);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static bool add_size(size_t *total, size_t rows, size_t each) {
  size_t bytes;
  return !__builtin_mul_overflow(rows, each, &bytes) && !__builtin_add_overflow(bytes, (size_t)ALIGN - 1, &bytes) &&
         !__builtin_add_overflow(*total, bytes / ALIGN * ALIGN, total);
}

/* One block for each buffer: the index, then the fields, each aligned. */
static bool make_buffers(kd_loader *l) {
  size_t rows = (size_t)(l->batch < l->split->count ? l->batch : l->split->count), total = 0;
  if (!add_size(&total, rows, sizeof(int64_t))) return false;
  for (uint32_t f = 0; f < l->ncolumn; f++)
    if (!add_size(&total, rows, l->column[f]->sample_bytes)) return false;
  for (int i = 0; i < DEPTH; i++) {
    buffer *b = &l->ring[i];
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
  for (int i = 0; i < DEPTH; i++) { free(l->ring[i].memory); free(l->ring[i].field); }
  free(l->order);
  free(l->column);
  free(l);
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
  kd_loader *l = calloc(1, sizeof *l);
  if (!l) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  l->split = sp;
  l->batch = s->batch;
  l->shuffle = s->shuffle;
  l->ncolumn = s->nbind;
  l->total = s->drop_last ? sp->count / s->batch : sp->count == 0 ? 0 : (sp->count - 1) / s->batch + 1;
  l->column = calloc(s->nbind + 1, sizeof *l->column);
  for (uint32_t i = 0; i < s->nbind && l->column; i++) l->column[i] = &sp->field[s->bind[i].field];
  if (!l->column || !make_buffers(l)) { free_memory(l); return kd__why(why, n, KD_E_MEMORY, "out of memory for batches of %lld", (long long)s->batch); }
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->work, NULL);
  pthread_cond_init(&l->ready, NULL);
  int e = start_thread(l);
  if (e == 0) { *out = l; return KD_OK; }
  pthread_cond_destroy(&l->ready);
  pthread_cond_destroy(&l->work);
  pthread_mutex_destroy(&l->lock);
  free_memory(l);
  return kd__why(why, n, KD_E_MEMORY, "cannot start a thread to read data: %s", strerrordesc_np(e));
}

int64_t kd__loader_batches(const kd_loader *l) { return l->total; }
int64_t kd__loader_position(const kd_loader *l) { return l->give; }

void kd__loader_start(kd_loader *l, uint64_t seed, uint64_t pass, int64_t batch) {
  l->give = batch < 0 ? 0 : batch;
  pthread_mutex_lock(&l->lock);
  l->end = 0;
  while (l->busy) pthread_cond_wait(&l->ready, &l->lock);
  l->seed = seed;
  l->pass = pass;
  l->fresh = true;
  l->fill = l->oldest = l->give;
  l->end = l->total;
  pthread_cond_signal(&l->work);
  pthread_mutex_unlock(&l->lock);
}

bool kd__loader_next(kd_loader *l, kd__batch *out) {
  pthread_mutex_lock(&l->lock);
  l->oldest = l->give;                           /* what was given before is free again */
  pthread_cond_signal(&l->work);
  bool more = l->give < l->end;
  while (more && l->fill <= l->give) pthread_cond_wait(&l->ready, &l->lock);
  pthread_mutex_unlock(&l->lock);
  if (!more) return false;
  const buffer *b = &l->ring[l->give % DEPTH];
  *out = (kd__batch){ b->rows, l->give, b->field, b->index };
  l->give++;
  return true;
}

void kd__loader_close(kd_loader *l) {
  if (!l) return;
  pthread_mutex_lock(&l->lock);
  l->quit = true;
  pthread_cond_signal(&l->work);
  pthread_mutex_unlock(&l->lock);
  pthread_join(l->thread, NULL);
  pthread_cond_destroy(&l->ready);
  pthread_cond_destroy(&l->work);
  pthread_mutex_destroy(&l->lock);
  free_memory(l);
}
