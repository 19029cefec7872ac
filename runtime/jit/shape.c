/* shape.c: scopes, phases, nests, buffers and chunks of a group, see shape.h. */
#include "runtime/jit/normal.h"
#include <stdio.h>

enum { REMAKE = 8, CHUNK_COST = 12000, MOST_CHUNKS = 64, FEW_ROWS = 64, SLOT_COST = 32, FAR_GROUP = 1 << 20, NEAR_UNIT = 24 << 10 };
enum { BUFFER_LIMIT = 8 << 20 };

typedef struct maker { kdj_shape *s; kd__arena *a; char *why; size_t n; bool failed; } maker;

uint32_t kdj_cost(const kd_group_ins *v) {
  switch ((kd_group_kind)v->kind) {
    case KD_GROUP_CONST: return 0;
    case KD_GROUP_GATHER: return 16;
    case KD_GROUP_ELEM: break;
    default: return 1;
  }
  switch ((kd_op)v->op) {
    case KD_OP_EXP: return 10;
    case KD_OP_EXPM1: case KD_OP_LOG: case KD_OP_SIGMOID: case KD_OP_XLOGY: return 14;
    case KD_OP_ERF: return 12;
    case KD_OP_TANH: case KD_OP_LOG1P: return 20;
    case KD_OP_SOFTPLUS: case KD_OP_SIN: case KD_OP_COS: return 30;
    case KD_OP_POW: return 60;
    case KD_OP_IDIV: case KD_OP_REM: return 24;
    case KD_OP_DIV: case KD_OP_SQRT: case KD_OP_RECIP: return 4;
    case KD_OP_RSQRT: return 6;
    default: return 1;
  }
}

static void *refuse(maker *m, const char *what) {
  if (!m->failed) snprintf(m->why, m->n, "%s", what);
  m->failed = true;
  return NULL;
}

static uint8_t scope_of(const kdj_shape *s, uint32_t points) {
  uint32_t outer = points & s->g.outer;
  if (!outer) return KDJ_ENTRY;
  return s->v_outer && !(outer >> s->v & 1) ? KDJ_ROW : KDJ_UNIT;
}
static uint32_t inner_of(const kdj_shape *s, uint32_t axes) { return axes & ~s->g.outer; }
static bool is_root(const kdj_ins *p) {
  uint8_t k = p->v.kind;
  return k == KD_GROUP_STORE || k == KD_GROUP_CHECK || k == KD_GROUP_REDUCE || k == KD_GROUP_SPREAD || p->kept || p->told;
}

/* --- phases ------------------------------------------------------------------------------------------------------------------------------ */
/* Twice those of group.h, so that a spread finds room after its mean. A store into an operand's memory comes after all of its phase that may look at
 * that operand again. They are those of the group as it was given: who may share memory depends on them. */
static void set_phases(kdj_shape *s, const kd_group *g, kd__arena *a) {
  uint16_t *phase = KD_NEWN(a, uint16_t, g->nins + 1);
  kd__group_phases(g, phase);
  for (uint32_t i = 0; i < g->nins; i++) {
    kdj_ins *p = &s->ins[i];
    bool reduces = p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD || p->was, later = false;
    p->final = p->v.kind == KD_GROUP_SPREAD ? s->ins[i - 1].final : p->v.kind == KD_GROUP_REDUCE && (p->v.over & s->g.outer);
    if (p->v.kind == KD_GROUP_STORE) later = kd__group_final(g, p->v.in[0]) && !s->ins[p->v.in[0]].was;           /* maybe no longer: complete within an outer point */
    p->phase = (uint16_t)(2 * (phase[i] - (reduces && !kd__group_final(g, i))) + (p->v.kind == KD_GROUP_SPREAD) + p->shares + 2 * later);
    p->points = p->v.axes;
    if (p->v.kind == KD_GROUP_REDUCE) p->points |= p->v.over;
    if (p->v.kind == KD_GROUP_SPREAD) p->points |= s->ins[i - 1].v.over;
    p->scope = scope_of(s, p->points);
  }
}

/* --- nests ------------------------------------------------------------------------------------------------------------------------------- */
static bool before(const kdj_nest *a, const kdj_nest *b) {
  if (a->scope != b->scope) return a->scope < b->scope;
  if (a->phase != b->phase) return a->phase < b->phase;
  int na = __builtin_popcount(a->axes), nb = __builtin_popcount(b->axes);
  return na != nb ? na < nb : a->axes < b->axes;
}

/* Kept axes first, so that a reduction's result is complete when its loops end; of both the vectors' axis last. */
static void set_order(const kdj_shape *s, kdj_nest *n) {
  n->n = 0;
  for (int k = 0; k < 2; k++) {
    uint32_t axes = (k == 1) != n->by_rows ? n->axes & n->over : n->axes & ~n->over;
    for (uint32_t a = 0; a < s->g.rank; a++)
      if ((axes >> a & 1) && (int)a != s->v) n->order[n->n++] = a;
    if (kdj_vec(s, axes)) n->order[n->n++] = (uint32_t)s->v;
  }
}

/* `over`: what a reduction that keeps some inner axes reduces; 0: any order of loops will do. */
static kdj_nest *nest_for(maker *m, uint8_t scope, uint16_t phase, uint32_t axes, uint32_t over) {
  kdj_shape *s = m->s;
  kdj_nest n = { .scope = scope, .phase = phase, .axes = axes, .over = over };
  for (size_t k = s->nest.n; k-- > 0;) {
    kdj_nest *t = &s->nest.v[k];
    if (t->scope != scope || t->phase != phase || t->axes != axes || (over && t->over && t->over != over)) continue;
    if (over) t->over = over, set_order(s, t);
    return t;
  }
  set_order(s, &n);
  KD_PUSH(m->a, s->nest, n);
  size_t at = s->nest.n - 1;
  for (; at > 0 && before(&n, &s->nest.v[at - 1]); at--) s->nest.v[at] = s->nest.v[at - 1];
  s->nest.v[at] = n;
  return &s->nest.v[at];
}

static void add_root(maker *m, uint32_t i) {
  const kdj_ins *p = &m->s->ins[i];
  bool reduces = (p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) && !p->final;
  uint32_t axes = inner_of(m->s, p->points), kept = inner_of(m->s, p->v.axes);
  kdj_nest *n = nest_for(m, p->scope, p->phase, axes, reduces && kept ? axes & ~kept : 0);
  KD_PUSH(m->a, n->root, i);
}

/* What it costs to make the value again, without what lies in buffers or is made once a scope. */
static uint32_t remake_cost(const kdj_shape *s, uint32_t i, uint32_t most) {
  const kdj_ins *p = &s->ins[i];
  if (p->buffer >= 0 || !inner_of(s, p->v.axes)) return 1;
  if (p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) return 1;
  uint32_t cost = kdj_cost(&p->v);
  for (uint32_t k = 0; k < p->nops && cost <= most; k++) cost += remake_cost(s, p->v.in[k], most);
  return cost;
}

static bool keep(maker *m, uint32_t i) {
  kdj_shape *s = m->s;
  kdj_ins *p = &s->ins[i];
  if (p->buffer >= 0) return true;
  kdj_buffer b = { .ins = i, .axes = inner_of(s, p->v.axes), .count = 1, .vec = s->v_outer && kdj_vec(s, p->v.axes), .dtype = p->v.dtype };
  for (uint32_t a = s->g.rank; a-- > 0;)         /* row-major, the vectors' axis last */
    if ((b.axes >> a & 1) && (int)a == s->v) b.stride[a] = 1, b.count = s->g.size[a];
  for (uint32_t a = s->g.rank; a-- > 0;)
    if ((b.axes >> a & 1) && (int)a != s->v) {
      b.stride[a] = b.count;
      if (__builtin_mul_overflow(b.count, s->g.size[a], &b.count)) return refuse(m, "a value too large to be kept"), false;
    }
  if (b.count > BUFFER_LIMIT / 8) return refuse(m, "a value too large to be kept"), false;
  p->buffer = (int32_t)s->buffer.n;
  KD_PUSH(m->a, s->buffer, b);
  return true;
}

static bool prefix(const kdj_nest *n, uint32_t axes) {
  for (uint32_t k = 0, left = axes; left; k++) {
    if (!(left >> n->order[k] & 1)) return false;
    left &= ~(1u << n->order[k]);
  }
  return true;
}

/* First: expensive values that a nest would make over and over get nests of their own. */
static void own_nests(maker *m, const kdj_nest *n, uint32_t i, bool *seen) {
  kdj_shape *s = m->s;
  kdj_ins *p = &s->ins[i];
  uint32_t axes = inner_of(s, p->v.axes);
  if (seen[i] || !axes || p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) return;
  seen[i] = true;
  if (!p->kept && axes != n->axes && (!prefix(n, axes) || p->scope < n->scope) && remake_cost(s, i, REMAKE) > REMAKE) p->kept = keep(m, i);
  if (p->kept) return;
  for (uint32_t k = 0; k < p->nops; k++) own_nests(m, n, p->v.in[k], seen);
}

/* `first[i]`: the number + 1 of the nest where a value was made first. What an earlier nest made, and is not cheap, was to be kept by it. */
static void find_kept(maker *m, size_t nest, uint32_t i, uint32_t *first, uint32_t *here) {
  kdj_shape *s = m->s;
  kdj_ins *p = &s->ins[i];
  if (!inner_of(s, p->v.axes) || here[i] == nest + 1) return;
  here[i] = (uint32_t)nest + 1;
  if (p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) { keep(m, i); return; }
  if (first[i] && first[i] != nest + 1) {
    if (p->buffer >= 0) return;
    if (remake_cost(s, i, REMAKE) > REMAKE) { keep(m, i); return; }
  }
  if (!first[i]) first[i] = (uint32_t)nest + 1;
  for (uint32_t k = 0; k < p->nops; k++) find_kept(m, nest, p->v.in[k], first, here);
}

static void mark_live(kdj_shape *s, uint32_t i) {
  kdj_ins *p = &s->ins[i];
  if (p->live || inner_of(s, p->v.axes)) return;
  p->live = true;
  if (p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) return;      /* a root has its operands already */
  for (uint32_t k = 0; k < p->nops; k++) mark_live(s, p->v.in[k]);
}

/* What the nest makes or reads. A buffer's value is made where it is needed first: there it is stored, later it is read. */
static void need(maker *m, kdj_nest *n, uint32_t nest, uint32_t i, uint32_t *first, bool *in) {
  kdj_shape *s = m->s;
  kdj_ins *p = &s->ins[i];
  if (!inner_of(s, p->v.axes)) { mark_live(s, i); return; }
  if (in[i]) return;
  in[i] = true;
  if (p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) return;
  if (!first[i]) first[i] = nest + 1;
  if (p->buffer >= 0 && first[i] != nest + 1) return;
  for (uint32_t k = 0; k < p->nops; k++) need(m, n, nest, p->v.in[k], first, in);
}

static void sort_roots(kdj_nest *n) {
  for (size_t a = 1; a < n->root.n; a++)
    for (size_t b = a; b > 0 && n->root.v[b - 1] > n->root.v[b]; b--) {
      uint32_t t = n->root.v[b];
      n->root.v[b] = n->root.v[b - 1], n->root.v[b - 1] = t;
    }
}
/* A root's operand; the root itself where it is a value that is kept. */
static uint32_t wanted(const kdj_shape *s, uint32_t root) {
  const kdj_ins *p = &s->ins[root];
  if (p->v.kind == KD_GROUP_SPREAD) return s->ins[root - 1].v.in[0];
  return (p->kept || p->told) && p->v.kind != KD_GROUP_REDUCE ? root : p->v.in[0];
}

/* What nobody reads, but tells of its faults. */
static void find_told(maker *m) {
  kdj_shape *s = m->s;
  bool *used = KD_NEWN(m->a, bool, s->g.nins + 1);
  for (uint32_t i = s->g.nins; i-- > 0;) {
    kdj_ins *p = &s->ins[i];
    bool divides = p->v.kind == KD_GROUP_ELEM && p->v.dtype == KD_I64 && (p->v.op == KD_OP_IDIV || p->v.op == KD_OP_REM);
    p->told = !used[i] && (divides || p->v.kind == KD_GROUP_GATHER);
    used[i] |= is_root(p);
    for (uint32_t k = 0; used[i] && k < p->nops; k++) used[p->v.in[k]] = true;
  }
}

/* Sums along columns whose operand is read once, row by row: a column at a time would touch a line of each row before the next one is asked for. */
static bool reads_rows(const kdj_shape *s, const kdj_nest *n) {
  uint32_t kept = n->axes & ~n->over;
  int64_t rows = kdj_points(&s->g, n->over), results = kdj_points(&s->g, kept);
  bool reads = false, fits = n->over && kdj_vec(s, kept) && rows >= 4 && rows <= 256 && results <= 4096 && s->g.size[s->v] >= 2 * s->lanes;
  for (size_t r = 0; r < n->root.n && fits; r++) {
    const kdj_ins *p = &s->ins[n->root.v[r]];
    fits = p->v.kind == KD_GROUP_REDUCE && !p->final && p->buffer >= 0 && p->v.op == KD_OP_SUM && p->v.dtype == KD_F32 && inner_of(s, p->points) == n->axes;
  }
  for (size_t k = 0; k < n->need.n && fits; k++) {
    const kd_group_ins *v = &s->ins[n->need.v[k] & ~(1u << 31)].v;
    uint32_t axes = inner_of(s, v->axes);
    fits = axes == n->axes || !kdj_vec(s, axes) || kdj_cost(v) <= 1;
    reads |= v->kind == KD_GROUP_LOAD && axes == n->axes && s->g.stride[v->operand][s->v] == 1;
  }
  return fits && reads;
}

static void make_nests(maker *m) {
  kdj_shape *s = m->s;
  uint32_t n = s->g.nins, *first = KD_NEWN(m->a, uint32_t, n + 1), *here = KD_NEWN(m->a, uint32_t, n + 1);
  find_told(m);
  for (uint32_t i = 0; i < n; i++)               /* when others read them, what they are made from may have been written over */
    if (s->ins[i].was && inner_of(s, s->ins[i].v.axes)) s->ins[i].kept = keep(m, i);
  for (int shares = 0; shares < 2; shares++)     /* stores into an operand's memory last: the last nest of their kind has them */
    for (uint32_t i = 0; i < n; i++) {
      const kdj_ins *p = &s->ins[i];
      bool joined = (p->v.kind == KD_GROUP_STORE && s->ins[p->v.in[0]].final) || (p->v.kind == KD_GROUP_SPREAD && p->final);   /* by the loader */
      if (is_root(p) && p->shares == (shares == 1) && !joined) add_root(m, i);
    }
  for (size_t k = 0; k < s->nest.n; k++) {
    bool *seen = KD_NEWN(m->a, bool, n + 1);
    for (size_t r = 0; r < s->nest.v[k].root.n; r++) own_nests(m, &s->nest.v[k], wanted(s, s->nest.v[k].root.v[r]), seen);
  }
  for (uint32_t i = n; i-- > 0;)                 /* operands of these come later */
    if (s->ins[i].kept) {
      bool *seen = KD_NEWN(m->a, bool, n + 1);
      kdj_nest *own = nest_for(m, s->ins[i].scope, s->ins[i].phase, inner_of(s, s->ins[i].points), 0);
      KD_PUSH(m->a, own->root, i);
      for (uint32_t k = 0; k < s->ins[i].nops; k++) own_nests(m, own, s->ins[i].v.in[k], seen);
    }
  for (size_t k = 0; k < s->nest.n; k++) {
    sort_roots(&s->nest.v[k]);
    for (size_t r = 0; r < s->nest.v[k].root.n; r++) {
      uint32_t root = s->nest.v[k].root.v[r];
      find_kept(m, k, wanted(s, root), first, here);
      if (s->ins[root].v.kind == KD_GROUP_SPREAD) mark_live(s, root - 1), find_kept(m, k, root - 1, first, here);
      if ((s->ins[root].v.kind == KD_GROUP_REDUCE || s->ins[root].v.kind == KD_GROUP_SPREAD) && !s->ins[root].final && inner_of(s, s->ins[root].v.axes)) keep(m, root);
    }
  }
  memset(first, 0, n * sizeof *first);
  for (size_t k = 0; k < s->nest.n && !m->failed; k++) {
    kdj_nest *t = &s->nest.v[k];
    bool *in = KD_NEWN(m->a, bool, n + 1);
    for (size_t r = 0; r < t->root.n; r++) {
      need(m, t, (uint32_t)k, wanted(s, t->root.v[r]), first, in);
      if (s->ins[t->root.v[r]].v.kind == KD_GROUP_SPREAD) need(m, t, (uint32_t)k, t->root.v[r] - 1, first, in);
    }
    for (uint32_t i = 0; i < n; i++)
      if (in[i]) {
        kdj_ins *p = &s->ins[i];
        KD_PUSH(m->a, t->need, p->buffer >= 0 && (first[i] != k + 1 || p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) ? i | 1u << 31 : i);
      }
    t->by_rows = reads_rows(s, t);
    if (t->by_rows) set_order(s, t);
  }
}

/* --- final reductions ---------------------------------------------------------------------------------------------------------------------- */
static void make_final(maker *m, uint32_t i) {
  kdj_shape *s = m->s;
  const kd_group *g = &s->g;
  const kdj_ins *p = &s->ins[i];
  uint32_t domain = s->ins[p->v.in[0]].v.axes, kept = p->v.axes, over = inner_of(s, p->v.over);
  int64_t turns = kdj_points(g, over), count = 1;
  bool along = kdj_vec(s, kept);
  kd_jit_final f = { .op = p->v.op, .dtype = p->v.dtype, .count = kdj_points(g, kept), .per_unit = turns };
  f.tiled = along && p->v.dtype == KD_F32 && turns <= 1024;
  uint32_t missing = g->outer & ~domain & ~(1u << (s->v < 0 ? 31 : s->v));
  if (f.tiled && f.op == KD_OP_MOMENTS && missing) { refuse(m, "moments that lack an outer axis"); return; }
  s->final_of[i] = (int32_t)s->final.n;
  for (uint32_t a = g->rank; a-- > 0;)           /* row-major, the vectors' axis last */
    if ((kept >> a & 1) && (int)a == s->v) s->kept[s->final.n][a] = 1, count = g->size[a];
  for (uint32_t a = g->rank; a-- > 0;)
    if ((kept >> a & 1) && (int)a != s->v) s->kept[s->final.n][a] = count, count *= g->size[a];
  int64_t parts = f.op == KD_OP_MOMENTS ? 3 : 1;
  f.slot = s->slots, s->slots += parts * f.count;
  if (f.tiled) f.lane = s->nlanes, s->nlanes += parts * f.count;
  KD_PUSH(m->a, s->final, f);
}

static void make_stores(maker *m) {
  kdj_shape *s = m->s;
  for (uint32_t i = 0; i < s->g.nins; i++) {
    const kd_group_ins *v = &s->ins[i].v;
    if (v->kind != KD_GROUP_STORE || !s->ins[v->in[0]].final) continue;
    bool spread = s->ins[v->in[0]].v.kind == KD_GROUP_SPREAD;
    kd_jit_store t = { .final = (uint32_t)s->final_of[v->in[0] - spread], .operand = s->g.nin + v->operand, .dtype = v->dtype, .spread = spread };
    for (uint32_t a = 0; a < s->g.rank; a++)
      if (v->axes >> a & 1) t.dim[t.rank] = s->g.size[a], t.from[t.rank] = s->kept[t.final][a], t.to[t.rank++] = s->g.stride[t.operand][a];
    KD_PUSH(m->a, s->store, t);
  }
}

/* --- lanes, units, chunks -------------------------------------------------------------------------------------------------------------------- */
static double group_cost(const kdj_shape *s, uint32_t *widest) {
  double all = 0;
  uint32_t wide = 0;
  for (uint32_t i = 0; i < s->g.nins; i++) {
    const kdj_ins *p = &s->ins[i];
    double points = (double)kdj_points(&s->g, p->points);
    uint32_t cost = kdj_cost(&p->v) * (p->v.dtype == KD_F32 || p->v.dtype == KD_BOOL ? 1u : 2u);
    all += (kdj_vec(s, p->points) ? points / 16 : points) * cost;
    if (kdj_vec(s, p->points)) wide += cost;
  }
  *widest = wide;
  return all;
}

/* As many lanes as fill a vector of 512 bits, or two or four such vectors where the work at a point is little: their chains do not wait for each
 * other. Not by the CPU: it may not change the bits. */
static void choose_lanes(kdj_shape *s, uint32_t cost) {
  bool wide = false;
  for (uint32_t i = 0; i < s->g.nins; i++) wide |= kdj_vec(s, s->ins[i].points) && (s->ins[i].v.dtype == KD_F64 || s->ins[i].v.dtype == KD_I64);
  uint32_t lanes = cost <= 8 && !wide ? 64 : cost <= 24 && !wide ? 32 : 16;
  int64_t n = s->v >= 0 ? s->g.size[s->v] : 1;
  while (lanes > 16 && n < 4 * lanes && n % lanes != 0) lanes /= 2;
  while (lanes > 4 && n <= lanes / 2) lanes /= 2;
  s->lanes = s->v >= 0 ? lanes : 1;
  s->nvec = s->v >= 0 ? n / s->lanes : 0;
  s->rest = s->v >= 0 ? (uint32_t)(n % s->lanes) : 0;
}

/* Rows side by side, where a row's reductions are short beside the time that their results take to come: the processor then works on the others. Each
 * makes the code longer; what lies in the caches must still do so. A unit is so many rows. */
static uint32_t choose_ways(const kdj_shape *s, uint32_t widest) {
  bool waits = false;
  int64_t bytes = 0;
  for (uint32_t i = 0; i < s->g.nins; i++) {
    const kdj_ins *p = &s->ins[i];
    uint32_t axes = inner_of(s, p->points);
    waits |= (p->v.kind == KD_GROUP_REDUCE || p->v.kind == KD_GROUP_SPREAD) && !p->final && axes;
    if (p->v.kind == KD_GROUP_LOAD || p->v.kind == KD_GROUP_STORE || p->buffer >= 0) bytes += kdj_points(&s->g, axes) * (int64_t)kd__dtype_size((kd_dtype)p->v.dtype);
  }
  for (size_t k = 0; k < s->final.n; k++) waits &= !(s->final.v[k].tiled && s->final.v[k].op == KD_OP_MOMENTS);
  if (!waits || s->v_outer || s->v < 0) return 1;
  uint32_t ways = KDJ_WAYS;
  while (ways > 1 && (s->rows % ways != 0 || s->rows / ways < 16 || ways * widest > 400 || ways * bytes > (ways > 2 ? 1 << 15 : 1 << 19))) ways /= 2;
  return ways;
}

static bool is_far(const kdj_shape *s) {
  int64_t all = 0, unit = 0;
  if (s->v_outer || s->v < 0 || !s->row_axes) return false;
  for (uint32_t o = 0; o < s->g.nin + s->g.nout; o++) {
    uint32_t axes = 0;
    for (uint32_t a = 0; a < s->g.rank; a++) axes |= s->g.stride[o][a] != 0 ? 1u << a : 0;
    int64_t size = (int64_t)kd__dtype_size((kd_dtype)s->g.dtype[o]);
    all += size * kdj_points(&s->g, axes);
    if (axes & s->row_axes) unit += size * kdj_points(&s->g, axes & s->inner) * s->ways;
  }
  for (uint32_t i = 0; i < s->g.nins; i++)       /* picked rows lie apart */
    if (s->ins[i].v.kind == KD_GROUP_GATHER)
      all += (int64_t)kd__dtype_size((kd_dtype)s->ins[i].v.dtype) * kdj_points(&s->g, s->ins[i].v.axes | s->ins[s->ins[i].v.in[0]].v.axes);
  return all >= FAR_GROUP && unit <= NEAR_UNIT;
}

static void make_chunks(kdj_shape *s, double cost) {
  int64_t blocks = s->v_outer ? s->nvec + (s->rest != 0) : 1, turns = 1;
  int64_t want = (int64_t)(cost / CHUNK_COST), most = MOST_CHUNKS;
  bool tiled = false, moments = false;
  for (size_t k = 0; k < s->final.n; k++) {
    tiled |= s->final.v[k].tiled, moments |= s->final.v[k].tiled && s->final.v[k].op == KD_OP_MOMENTS;
    if (s->final.v[k].tiled && s->final.v[k].per_unit * s->ways > turns) turns = s->final.v[k].per_unit * s->ways;
  }
  while (most > 1 && most * s->slots > 131072) most /= 2;
  s->cut_vec = s->v_outer && s->rows < FEW_ROWS && s->rows < blocks && (!tiled || s->rows * turns <= KDJ_SINGLE) && !moments;
  s->units = s->cut_vec ? blocks : s->rows / s->ways;
  if (tiled && !s->cut_vec) s->tile = FEW_ROWS / turns > 1 ? FEW_ROWS / turns : 1;
  int64_t chunks = want < 1 ? 1 : want > most ? most : want;
  if (chunks > s->units) chunks = s->units;
  int64_t tiles = s->tile ? (s->units + s->tile - 1) / s->tile : chunks;
  while (2 * tiles <= chunks && cost >= (double)(2 * tiles) * SLOT_COST * (double)s->slots) tiles *= 2;      /* a tile in parts: each adds up all it leaves */
  s->chunks = chunks < tiles ? chunks : tiles;
}

static void place_buffers(kdj_shape *s) {
  int64_t at = 0;
  for (size_t k = 0; k < s->buffer.n; k++) {
    kdj_buffer *b = &s->buffer.v[k];
    b->at = at;
    at += ((b->count + KDJ_MAX_LANES) * (b->vec ? s->lanes : 1) * (int64_t)kd__dtype_size((kd_dtype)b->dtype) + 63) / 64 * 64;
  }
  s->way_bytes = (size_t)at, s->scratch = s->ways * s->way_bytes;
}

static void copy_group(kdj_shape *s, const kd_group *g, kd__arena *a) {
  int64_t(*stride)[KD_GROUP_AXES] = kd__arena_get(a, sizeof *stride * (g->nin + g->nout + (size_t)1));
  memcpy(stride, g->stride, sizeof *stride * (g->nin + g->nout));
  s->g = *g;
  s->g.stride = (const int64_t(*)[KD_GROUP_AXES])stride;
  s->ins = KD_NEWN(a, kdj_ins, g->nins + 1);
  for (uint32_t i = 0; i < g->nins; i++) {
    s->ins[i] = (kdj_ins){ .v = g->ins[i], .nops = kd__group_operands(&g->ins[i]), .buffer = -1 };
    for (uint32_t in = 0; g->ins[i].kind == KD_GROUP_STORE && in < g->nin && !s->ins[i].shares; in++)
      s->ins[i].shares = kd__group_may_share(g, in, g->ins[i].operand);
  }
}

kdj_shape *kdj_shape_make(const kd_group *g, kd__arena *a, char *why, size_t n) {
  kdj_shape *s = KD_NEW(a, kdj_shape);
  maker all = { .s = s, .a = a, .why = why, .n = n }, *m = &all;
  copy_group(s, g, a);
  kdj_join_axes(s);
  kdj_choose_axes(s);
  s->v_outer = s->v >= 0 && (s->g.outer >> s->v & 1);
  s->row_axes = s->g.outer & ~(s->v_outer ? 1u << s->v : 0);
  s->inner = ~s->g.outer & (uint32_t)((1ull << s->g.rank) - 1);
  s->rows = kdj_points(&s->g, s->row_axes);
  s->final_of = KD_NEWN(a, int32_t, g->nins + 1);
  s->kept = kd__arena_get(a, sizeof *s->kept * (g->nins + (size_t)1));
  memset(s->final_of, -1, sizeof(int32_t) * g->nins);
  set_phases(s, g, a);
  uint32_t widest;
  double cost = group_cost(s, &widest);
  choose_lanes(s, widest);
  make_nests(m);
  for (uint32_t i = 0; i < g->nins && !m->failed; i++)
    if (s->ins[i].v.kind == KD_GROUP_REDUCE && s->ins[i].final) make_final(m, i);
  make_stores(m);
  s->ways = choose_ways(s, widest);
  s->far = is_far(s);
  make_chunks(s, cost);
  place_buffers(s);
  return m->failed ? NULL : s;
}
