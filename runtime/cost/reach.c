/* reach.c: memory in pieces: how far away it is when it is touched, and what lies in the arena at its fullest. */
#include "runtime/cost/work.h"
#include <stdlib.h>

/* The memory of a plan as equal pieces: its arena first, then each slot. */
enum { PIECES = 1 << 18, FINEST = 64 };
typedef struct pieces { const kd_plan *p; int64_t size; int64_t *slot; uint32_t nslot; size_t n; } pieces;

/* First byte, and the one after the last, of a tensor within its place. False: no elements. */
static bool extent(const kd_plan_tensor *t, int64_t *lo, int64_t *hi) {
  int64_t bytes = (int64_t)kd__dtype_size((kd_dtype)t->type.dtype);
  *lo = t->offset, *hi = t->offset + bytes;
  for (int d = 0; d < t->type.rank; d++) {
    if (t->type.dim[d] == 0) return false;
    int64_t span = (t->type.dim[d] - 1) * t->stride[d] * bytes;
    if (span < 0) *lo += span;
    else *hi += span;
  }
  return true;
}

/* By slot: how far the plan's tensors reach, then where its first piece is. */
static bool lay_out(pieces *m, const kd_plan *p) {
  *m = (pieces){ .p = p };
  for (uint32_t i = 0; i < p->ntensor; i++)
    if (p->tensor[i].place == KD_IN_SLOT && p->tensor[i].slot >= m->nslot) m->nslot = p->tensor[i].slot + 1;
  m->slot = calloc(m->nslot + (size_t)1, sizeof *m->slot);
  if (!m->slot) return false;
  int64_t all = p->arena_size, lo, hi;
  for (uint32_t i = 0; i < p->ntensor; i++) {
    const kd_plan_tensor *t = &p->tensor[i];
    if (t->place == KD_IN_SLOT && extent(t, &lo, &hi) && hi > m->slot[t->slot]) { all += hi - m->slot[t->slot]; m->slot[t->slot] = hi; }
  }
  m->size = FINEST;
  while (all / m->size > PIECES) m->size *= 2;
  int64_t at = (p->arena_size + m->size - 1) / m->size + 1;
  for (uint32_t i = 0; i < m->nslot; i++) {
    int64_t n = (m->slot[i] + m->size - 1) / m->size + 1;
    m->slot[i] = at;
    at += n;
  }
  m->n = (size_t)at;
  return true;
}

/* The pieces that the tensor lies in. */
static bool range(const pieces *m, const kd_plan_tensor *t, size_t *from, size_t *to) {
  int64_t lo, hi, base = t->place == KD_IN_SLOT ? m->slot[t->slot] : 0;
  if (!extent(t, &lo, &hi) || lo < 0) return false;
  *from = (size_t)(base + lo / m->size);
  *to = (size_t)(base + (hi - 1) / m->size);
  return *to < m->n;
}

static const kd_plan_tensor *touched(const kd_plan *p, const kd_plan_call *c, uint32_t i) {
  return &p->tensor[i < c->nin ? c->in[i] : c->out[i - c->nin]];
}

/* --- how far away --------------------------------------------------------------------------------------------------------------- */
/* Bytes of the tensor itself: less than its pieces where it has gaps. */
static double own_bytes(const kd_plan_tensor *t) {
  double n = (double)kd__dtype_size((kd_dtype)t->type.dtype);
  for (int d = 0; d < t->type.rank; d++)
    if (t->stride[d]) n *= (double)t->type.dim[d];
  return n;
}

static void touch(const pieces *m, const kd_plan_tensor *t, const double size[KD__REACH_MEMORY], double *now, double *last, kd__reached *out) {
  size_t from, to;
  if (!range(m, t, &from, &to)) return;
  double each = own_bytes(t) / (double)(to - from + 1), most = (double)m->size, step = each < most ? each : most;
  for (size_t k = from; k <= to; k++) {
    double since = last[k] < 0 ? 2 * size[KD__REACH_L3] : *now - last[k];
    *now += step;
    last[k] = *now;
    if (out) out->bytes[since < size[KD__REACH_L2] ? KD__REACH_L2 : since < size[KD__REACH_L3] ? KD__REACH_L3 : KD__REACH_MEMORY] += each;
  }
}

bool kd__work_reach(const kd_plan *p, const double size[KD__REACH_MEMORY], kd__reached *out) {
  pieces m;
  double *last = lay_out(&m, p) ? malloc((m.n + 1) * sizeof *last) : NULL, now = 0;
  for (size_t k = 0; last && k < m.n; k++) last[k] = -1;
  for (int pass = 0; last && pass < 2; pass++)   /* the first one fills the caches */
    for (uint32_t i = 0; i < p->ncall; i++) {
      const kd_plan_call *c = &p->call[i];
      if (pass) out[i] = (kd__reached){ 0 };
      for (uint32_t k = 0; k < c->nin + c->nout; k++) touch(&m, touched(p, c, k), size, &now, last, pass ? &out[i] : NULL);
    }
  free(m.slot);
  free(last);
  return last != NULL;
}

/* --- what is held --------------------------------------------------------------------------------------------------------------- */
typedef struct piece { uint32_t born, last; bool there; } piece;
typedef struct life { pieces m; piece *v; int64_t *change, *by_call; uint32_t at; } life;      /* at: the call when it is fullest; by_call NULL: being looked for */

static void ended(life *l, const piece *k) {
  if (!k->there) return;
  if (!l->by_call) l->change[k->born] += l->m.size, l->change[k->last + 1] -= l->m.size;
  else if (k->born <= l->at && l->at <= k->last) l->by_call[k->born] += l->m.size;
}

static void live(life *l) {
  const kd_plan *p = l->m.p;
  size_t from, to, arena = (size_t)((p->arena_size + l->m.size - 1) / l->m.size);
  memset(l->v, 0, (arena + 1) * sizeof *l->v);
  for (uint32_t i = 0; i < p->ncall; i++) {
    const kd_plan_call *c = &p->call[i];
    for (uint32_t k = 0; k < c->nin + c->nout; k++) {
      const kd_plan_tensor *t = touched(p, c, k);
      if (t->place != KD_IN_ARENA || !range(&l->m, t, &from, &to)) continue;
      for (; from <= to && from < arena; from++) {
        piece *x = &l->v[from];
        if (k >= c->nin && !(x->there && x->last == i)) { ended(l, x); *x = (piece){ i, i, true }; }
        else x->last = i;
      }
    }
  }
  for (size_t k = 0; k < arena; k++) ended(l, &l->v[k]);
}

int64_t kd__work_held(const kd_plan *p, int64_t *by_call) {
  life l = { 0 };
  int64_t most = -1, now = 0;
  bool ok = lay_out(&l.m, p);
  l.v = ok ? calloc(l.m.n + 1, sizeof *l.v) : NULL;
  l.change = calloc(p->ncall + (size_t)2, sizeof *l.change);
  memset(by_call, 0, p->ncall * sizeof *by_call);
  if (l.v && l.change) {
    live(&l);
    most = 0;
    for (uint32_t i = 0; i < p->ncall; i++)
      if ((now += l.change[i]) > most) most = now, l.at = i;
    l.by_call = by_call;
    live(&l);
  }
  free(l.m.slot);
  free(l.v);
  free(l.change);
  return most;
}
