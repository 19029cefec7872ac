/* side.c: which neighbours of the schedule may run side by side, a thread each.
 *
 * Steps that touch no memory which one of them writes are independent; in a stretch of the schedule, steps that are not fall into one *lane*, whose
 * steps run in order. Stretches are chosen so that the most time is saved, as foretold from shapes for two threads. What a stretch uses lives
 * all through it (memory.c), so that none of its steps gets memory that another one still needs. */
#include "compiler/plan/planner.h"

enum { SPAN = 32, THREADS = 2, ROOM = 64 << 10 };
/* Calls that take longer, in microseconds, are left to their kernels; so large a part of a stretch is to be saved. The first that takes no more memory. */
typedef struct choice { double longest, part; } choice;
static const choice CHOICE[] = { { 400, 1. / 32 }, { 100, 1. / 8 } };

typedef struct finder {
  const kd__planner *p;
  const choice *c;
  kd__foretold *time;                            /* by position in the schedule */
  bool *may;
  uint32_t *meets;                               /* by position: bit k, where it touches what position - 1 - k touches, and one of them writes */
  double *saved; uint32_t *from;                 /* by position: what is saved before it at most; where the stretch that ends there begins, or itself */
} finder;

/* --- steps ---------------------------------------------------------------------------------------------------------------------------- */
static uint32_t nview(const kd__pl_step *s) { return s->nin + s->nout; }
static uint32_t view_at(const kd__pl_step *s, uint32_t k) { return k < s->nin ? s->in[k] : s->out[k - s->nin]; }

static kd__foretold foretell(const kd__planner *p, const kd__pl_step *s) {
  kd_tensor *t = KD_NEWN(p->tmp, kd_tensor, nview(s) + 1);
  for (uint32_t k = 0; k < nview(s); k++) {
    const kd__pl_view *v = &p->view.v[view_at(s, k)];
    t[k] = (kd_tensor){ .dim = v->type->dim, .stride = v->stride, .dtype = v->type->dtype, .rank = v->type->rank };
  }
  kd_call c = { .op = (kd_op)s->op, .nin = s->nin, .nout = s->nout, .in = t, .out = t + s->nin, .attr = s->attr, .group = s->group };
  return kd__foretell(&c, THREADS);
}

/* Stores of the arena have no place yet: memory of their own. */
static bool overlap(const kd__planner *p, uint32_t a, uint32_t b) {
  const kd__pl_view *x = &p->view.v[a], *y = &p->view.v[b];
  const kd__pl_store *s = &p->store.v[x->store], *t = &p->store.v[y->store];
  int64_t xlo, xhi, ylo, yhi;
  if (x->store != y->store && !(s->in_slot && t->in_slot && s->block == t->block)) return false;
  if (!kd__pl_extent(x, &xlo, &xhi) || !kd__pl_extent(y, &ylo, &yhi)) return false;
  if (s->in_slot) xlo += s->base, xhi += s->base, ylo += t->base, yhi += t->base;
  return xlo < yhi && ylo < xhi;
}

static bool meet(const kd__planner *p, const kd__pl_step *a, const kd__pl_step *b) {
  for (uint32_t i = 0; i < nview(a); i++)
    for (uint32_t k = i < a->nin ? b->nin : 0; k < nview(b); k++)
      if (overlap(p, view_at(a, i), view_at(b, k))) return true;
  return false;
}

/* --- stretches ------------------------------------------------------------------------------------------------------------------------ */
typedef struct lanes { uint32_t n, of[SPAN]; double time[SPAN]; } lanes;

static void put(const finder *f, lanes *l, uint32_t first) {
  uint32_t me = l->n++, i = first + me;
  l->of[me] = me, l->time[me] = f->time[i].alone;
  for (uint32_t k = 0; k < me; k++) {
    uint32_t with = l->of[me - 1 - k], to = l->of[me];
    if (!(f->meets[i] >> k & 1) || with == to) continue;
    l->time[to] += l->time[with], l->time[with] = 0;
    for (uint32_t j = 0; j <= me; j++)
      if (l->of[j] == with) l->of[j] = to;
  }
}

static double side(const lanes *l) {
  double all = 0, most = 0;
  for (uint32_t i = 0; i < l->n; i++) all += l->time[i], most = l->time[i] > most ? l->time[i] : most;
  return most > all / THREADS ? most : all / THREADS;
}

static bool a_call(const finder *f, uint32_t pos) { return f->p->step.v[f->p->order[pos]].op != KD__STEP_JOIN; }

static bool several(const finder *f, const lanes *l, uint32_t first) {
  uint32_t lane = SPAN;
  for (uint32_t k = 0; k < l->n; k++) {
    if (!a_call(f, first + k)) continue;
    if (lane != SPAN && l->of[k] != lane) return true;
    lane = l->of[k];
  }
  return false;
}

static void grow(finder *f, uint32_t first, double price) {
  lanes l = { 0 };
  double serial = 0;
  for (uint32_t i = first; i < f->p->norder && l.n < SPAN && f->may[i]; i++) {
    put(f, &l, first);
    serial += f->time[i].team;
    double then = side(&l), all = f->saved[first] + serial - then - price;
    bool pays = kd__side_pays(serial, then, price) && (price < 0 || serial - then > serial * f->c->part);
    if (several(f, &l, first) && pays && all > f->saved[i + 1]) f->saved[i + 1] = all, f->from[i + 1] = first;
  }
}

static void mark(const finder *f, kd__planner *p, uint32_t first, uint32_t end) {
  lanes l = { 0 };
  uint32_t number[SPAN], n = 0;
  for (uint32_t i = first; i < end; i++) put(f, &l, first);
  for (uint32_t i = first; i < end; i++) {
    uint32_t k = i - first, j = 0;
    while (l.of[j] != l.of[k]) j++;
    number[k] = j < k ? number[j] : a_call(f, i) ? n++ : 0;
    p->side[i] = (kd__pl_side){ first, end - 1, number[k] };
  }
}

static void side_by_side(kd__planner *p, const choice *c) {
  uint32_t n = p->norder;
  finder f = { .p = p, .c = c, .time = KD_NEWN(p->tmp, kd__foretold, n + 1), .may = KD_NEWN(p->tmp, bool, n + 1), .meets = KD_NEWN(p->tmp, uint32_t, n + 1),
               .saved = KD_NEWN(p->tmp, double, n + 1), .from = KD_NEWN(p->tmp, uint32_t, n + 1) };
  for (uint32_t i = 0; i < n; i++) {
    const kd__pl_step *s = &p->step.v[p->order[i]];
    f.from[i + 1] = i + 1;
    if (s->op == KD__STEP_JOIN) { f.may[i] = true; continue; }
    f.time[i] = foretell(p, s);
    f.may[i] = !s->loop && f.time[i].team < c->longest;
    for (uint32_t k = 0; k < SPAN - 1 && k < i && f.may[i] && f.may[i - 1 - k]; k++)
      f.meets[i] |= (uint32_t)meet(p, &p->step.v[p->order[i - 1 - k]], s) << k;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (i > 0 && f.saved[i - 1] > f.saved[i]) f.saved[i] = f.saved[i - 1], f.from[i] = i;
    grow(&f, i, p->side_price);
  }
  if (n > 0 && f.saved[n - 1] > f.saved[n]) f.from[n] = n;
  for (uint32_t i = n; i > 0;) {
    uint32_t first = f.from[i];
    if (first < i) mark(&f, p, first, i);
    i = first < i ? first : i - 1;
  }
}

/* --- and their memory ----------------------------------------------------------------------------------------------------------------- */
void kd__pl_order(kd__planner *p) {
  kd__pl_schedule(p);
  p->side = KD_NEWN(p->tmp, kd__pl_side, p->norder + 1);
  kd__pl_side *plain = KD_NEWN(p->tmp, kd__pl_side, p->norder + 1);
  for (uint32_t i = 0; i <= p->norder; i++) plain[i] = p->side[i] = (kd__pl_side){ i, i, 0 };
  kd__pl_memory(p);
  int64_t least = p->arena_size;
  for (size_t k = 0; k < sizeof CHOICE / sizeof *CHOICE; k++) {
    side_by_side(p, &CHOICE[k]);
    if (memcmp(plain, p->side, sizeof *plain * p->norder) == 0) return;
    kd__pl_memory(p);
    if (p->arena_size <= least + least / 50 + ROOM) return;
    memcpy(p->side, plain, sizeof *plain * p->norder);
  }
  kd__pl_memory(p);
}
