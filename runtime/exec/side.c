/* side.c: calls of different lanes (plan.h) run side by side, each lane on one thread.
 *
 * The plan says which calls may; here it is decided, from what they are foretold to take on so many threads, whether they do. Lanes are dealt out to
 * threads, the longest first. A call's chunks are the same either way, only that one thread runs them all: so are its results. Each thread has
 * scratch memory and a fault of its own. */
#include "runtime/exec/bound.h"
#include <stdlib.h>

enum { MOST_THREADS = 16, MOST_SCRATCH = 4 << 20 };

/* --- what the plan says, looked at again ---------------------------------------------------------------------------------------------- */
typedef struct range { const char *lo, *hi; bool written; } range;

static range range_at(const kd_call *c, uint32_t k) {
  const kd_tensor *t = k < c->nin ? &c->in[k] : &c->out[k - c->nin];
  int64_t lo = 0, hi = 1, bytes = (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  for (int d = 0; d < t->rank; d++) {
    int64_t span = (t->dim[d] - 1) * t->stride[d];
    if (t->dim[d] == 0) return (range){ 0 };
    if (span < 0) lo += span;
    else hi += span;
  }
  return (range){ (const char *)t->data + lo * bytes, (const char *)t->data + hi * bytes, k >= c->nin };
}

static bool apart(const kd_call *a, const kd_call *b) {
  for (uint32_t i = 0; i < a->nin + a->nout; i++) {
    range p = range_at(a, i);
    for (uint32_t k = 0; k < b->nin + b->nout; k++) {
      range q = range_at(b, k);
      if ((p.written || q.written) && p.lo < q.hi && q.lo < p.hi) return false;
    }
  }
  return true;
}

static bool lanes_apart(const kd_bound *b, uint32_t first, uint32_t n) {
  for (uint32_t i = first; i < first + n; i++) {
    if (b->loop[i] || b->plan->call[i].lane >= n) return false;
    for (uint32_t k = first; k < i; k++)
      if (b->plan->call[k].lane != b->plan->call[i].lane && !apart(&b->call[k], &b->call[i])) return false;
  }
  return true;
}

/* --- who runs what -------------------------------------------------------------------------------------------------------------------- */
/* Of each lane what it takes, by its number, in `time`; the lanes' threads in `thread`. Returns what the busiest thread takes. */
static double deal(uint32_t lanes, double *time, uint32_t *thread, uint32_t threads) {
  double load[MOST_THREADS] = { 0 }, most = 0;
  for (uint32_t done = 0; done < lanes; done++) {
    uint32_t l = 0, to = 0;
    for (uint32_t i = 1; i < lanes; i++)
      if (time[i] > time[l]) l = i;
    for (uint32_t t = 1; t < threads; t++)
      if (load[t] < load[to]) to = t;
    thread[l] = to;
    load[to] += time[l];
    most = load[to] > most ? load[to] : most;
    time[l] = -1;
  }
  return most;
}

static size_t scratch_of(const kd_bound *b, uint32_t i) {
  size_t n = b->kernel[i] && b->kernel[i]->scratch ? b->kernel[i]->scratch(&b->call[i], &b->set) : 0;
  return (n + 63) / 64 * 64;
}

/* `time` and `thread`: room for n. */
static void decide(kd_bound *b, uint32_t first, uint32_t n, double price, double *time, uint32_t *thread) {
  kd__beside *to = &b->beside[first];
  double serial = 0, all = 0, side;
  uint32_t lanes = 0, threads = b->set.threads < MOST_THREADS ? (uint32_t)b->set.threads : MOST_THREADS;
  for (uint32_t i = 0; i < n; i++) time[i] = 0;
  for (uint32_t i = first; i < first + n; i++) {
    kd__foretold f = kd__foretell(&b->call[i], b->set.threads);
    uint32_t lane = b->plan->call[i].lane;
    size_t scratch = scratch_of(b, i);
    time[lane] += f.alone, serial += f.team, all += f.alone;
    if (lane >= lanes) lanes = lane + 1;
    if (scratch > to->scratch) to->scratch = scratch;
  }
  if (threads > lanes) threads = lanes;
  side = deal(lanes, time, thread, threads);
  if (lanes < 2 || to->scratch > MOST_SCRATCH || !kd__side_pays(serial, side, price)) return;
  to->n = n, to->threads = threads;
  if (to->scratch * threads > b->scratch) b->scratch = to->scratch * threads;
  for (uint32_t i = first; i < first + n; i++) b->beside[i].thread = thread[b->plan->call[i].lane], b->beside[i].share = side / all;
}

kd_status kd__bind_side(kd_bound *b, double price) {
  uint32_t calls = b->plan->ncall, most = 0;
  for (uint32_t i = 0; i < calls; i++) {
    uint32_t n = b->plan->call[i].side;
    if (n > calls - i || (n && !lanes_apart(b, i, n))) return KD_E_USAGE;
    if (n > most) most = n;
  }
  if (!b->team || b->set.threads < 2 || most < 2) return KD_OK;
  double *time = calloc(most, sizeof *time);
  uint32_t *thread = calloc(most, sizeof *thread);
  free(b->beside);
  b->beside = calloc(calls, sizeof *b->beside);
  bool ok = time && thread && b->beside;
  for (uint32_t i = 0; ok && i < calls; i++)
    if (b->plan->call[i].side) decide(b, i, b->plan->call[i].side, price, time, thread);
  free(time);
  free(thread);
  return ok ? KD_OK : KD_E_MEMORY;
}

/* --- running -------------------------------------------------------------------------------------------------------------------------- */
typedef struct job { kd_bound *b; const kd_exec *x; uint32_t first; kd_fault fault[MOST_THREADS]; uint32_t faulted[MOST_THREADS]; } job;

static void run_thread(void *ctx, int64_t begin, int64_t end, int64_t thread) {
  job *w = ctx;
  kd_bound *b = w->b;
  const kd__beside *first = &b->beside[w->first];
  kd_exec y = *w->x;
  (void)begin, (void)end;
  y.team = NULL, y.alone = true;
  y.scratch = (char *)w->x->scratch + (size_t)thread * first->scratch;
  y.fault = w->x->fault ? &w->fault[thread] : NULL;
  for (uint32_t i = w->first; i < w->first + first->n; i++) {
    kd__beside *s = &b->beside[i];
    if (s->thread != (uint32_t)thread) continue;
    if (b->watch) s->start = kd__watch_now(), s->ran = kd__team_thread();
    kd__bound_call(b, i, &y);
    if (b->watch) s->end = kd__watch_now();
    if (y.fault && y.fault->set) { w->faulted[thread] = i; return; }
  }
}

/* The time that has passed is shared out as the calls have worked. */
static void tell_watch(kd_bound *b, uint32_t first, double passed) {
  kd_watch *w = b->watch;
  uint32_t n = b->beside[first].n;
  double worked = 0;
  for (uint32_t i = first; i < first + n; i++) worked += b->beside[i].end - b->beside[i].start;
  for (uint32_t i = first; i < first + n; i++) {
    const kd__beside *s = &b->beside[i];
    w->seconds[b->first + i] += worked > 0 ? passed * (s->end - s->start) / worked : passed / n;
    w->times[b->first + i]++;
    if (w->nevent < w->cap) w->event[w->nevent++] = (kd_watch_event){ b->first + i, s->ran, s->start, s->end };
  }
}

/* Of several faults that of the first call in the plan's order is told, as if they had run one after another. */
bool kd__run_side(kd_bound *b, uint32_t first, const kd_exec *x) {
  const kd__beside *s = &b->beside[first];
  job w = { .b = b, .x = x, .first = first };
  double start = b->watch ? kd__watch_now() : 0;
  for (uint32_t t = 0; t < s->threads; t++) w.faulted[t] = UINT32_MAX;
  kd__team_each(x, s->threads, run_thread, &w);
  uint32_t which = 0;
  for (uint32_t t = 1; t < s->threads; t++)
    if (w.faulted[t] < w.faulted[which]) which = t;
  if (w.faulted[which] != UINT32_MAX) {
    *x->fault = w.fault[which];
    b->faulted = &b->plan->call[w.faulted[which]];
    return false;
  }
  if (b->watch) tell_watch(b, first, kd__watch_now() - start);
  return true;
}
