/* group_random.c: see group_random.h. */
#include "tests/kernels/group_random.h"
#include "tests/kernels/call.h"
#include <math.h>
#include <sys/mman.h>
#include <stdio.h>
#include <stdlib.h>

/* --- making groups -------------------------------------------------------------------------------------------------------------------- */
/* Of a value: its phase; `exact`: both sides compute the same bits, so that it may be compared; `small`: of absolute value 1 or so. */
typedef struct maker { t_group *o; uint64_t *state; kd_dtype real; uint16_t phase[T_GROUP_INS]; bool exact[T_GROUP_INS], small[T_GROUP_INS], final[T_GROUP_INS]; uint16_t now;
  int64_t out_stride[T_GROUP_OPERANDS][KD_GROUP_AXES]; uint8_t out_type[T_GROUP_OPERANDS]; uint32_t out_axes[T_GROUP_OPERANDS];   /* until the inputs are known */
} maker;

static int64_t any(maker *m, int64_t n) { return (int64_t)(t_random(m->state) >> 8) % n; }
static uint32_t all_axes(const maker *m) { return (1u << m->o->g.rank) - 1; }

static uint32_t put(maker *m, kd_group_ins v, uint16_t phase, bool exact, bool small) {
  uint32_t i = m->o->g.nins++;
  v.origin = i + 1;
  m->o->ins[i] = v;
  m->phase[i] = phase, m->exact[i] = exact, m->small[i] = small, m->final[i] = false;
  return i;
}

/* A layout of a domain: row-major, permuted, with gaps, backwards. */
static void lay_out(maker *m, int64_t *stride, uint32_t axes, int64_t step) {
  const kd_group *g = &m->o->g;
  uint32_t order[KD_GROUP_AXES];
  int how = (int)any(m, 4);
  for (uint32_t a = 0; a < g->rank; a++) order[a] = g->rank - 1 - a;
  for (uint32_t a = g->rank; how >= 2 && a > 1; a--) {
    uint32_t b = (uint32_t)any(m, a), x = order[a - 1];
    order[a - 1] = order[b], order[b] = x;
  }
  if (how == 1 || how == 3) step *= any(m, 3) ? 1 : 2;
  for (uint32_t k = 0; k < g->rank; k++) {
    uint32_t a = order[k];
    bool in = axes >> a & 1;
    stride[a] = !in ? 0 : how == 3 && any(m, 3) == 0 ? -step : step;
    if (in) step = step * g->size[a] + (how >= 2 && any(m, 4) == 0 ? any(m, 5) : 0);
  }
}

static uint32_t operand(maker *m, kd_dtype type, uint32_t axes, int64_t limit, int64_t step) {
  t_group *o = m->o;
  uint32_t k = o->g.nin++;
  o->dtype[k] = (uint8_t)type, o->axes[k] = axes, o->limit[k] = limit, o->step[k] = step;
  lay_out(m, o->stride[k], axes, 1);
  return k;
}
static uint32_t some_axes(maker *m) {
  uint32_t all = all_axes(m);
  return any(m, 3) ? all : (uint32_t)any(m, (int64_t)all + 1);
}
static uint32_t load(maker *m, kd_dtype type, uint32_t axes, int64_t limit) {
  uint32_t k = operand(m, type, axes, limit, 0);
  return put(m, (kd_group_ins){ .kind = KD_GROUP_LOAD, .dtype = (uint8_t)type, .operand = k, .axes = axes }, 0, true, type != KD_I64);
}

/* A random value of a type whose phase the new instruction may read; UINT32_MAX: none. `exact`: only such. */
static uint32_t pick(maker *m, kd_dtype type, bool exact, bool small) {
  uint32_t found = UINT32_MAX, n = 0;
  for (uint32_t i = 0; i < m->o->g.nins; i++) {
    const kd_group_ins *v = &m->o->ins[i];
    if (v->kind == KD_GROUP_STORE || v->kind == KD_GROUP_CHECK || v->dtype != type || m->final[i] || (exact && !m->exact[i]) || (small && !m->small[i])) continue;
    n += 1 + (i + 8 > m->o->g.nins ? 3 : 0);     /* rather young ones: longer chains */
    if (any(m, n) < 1 + (i + 8 > m->o->g.nins ? 3 : 0)) found = i;
  }
  return found;
}

static uint32_t elem(maker *m, kd_op op, kd_dtype to, const uint32_t *in, bool exact, bool small) {
  kd_group_ins v = { .kind = KD_GROUP_ELEM, .op = (uint16_t)op, .dtype = (uint8_t)to };
  uint16_t phase = 0;
  for (int k = 0; k < kd__op_info(op)->nin; k++) {
    v.in[k] = in[k], v.axes |= m->o->ins[in[k]].axes;
    exact = exact && m->exact[in[k]];
    if (m->phase[in[k]] > phase) phase = m->phase[in[k]];
  }
  if (phase != m->now) return UINT32_MAX;        /* would stand in a wrong place */
  return put(m, v, phase, exact, small);
}

static void real_unary(maker *m) {
  static const struct { kd_op op; bool exact, bounded, wants_small; } list[] = {
    { KD_OP_NEG, true, false, false }, { KD_OP_ABS, true, false, false }, { KD_OP_RELU, true, false, false }, { KD_OP_TANH, false, true, false },
    { KD_OP_SIGMOID, false, true, false }, { KD_OP_EXP, false, false, true }, { KD_OP_ERF, false, true, false }, { KD_OP_SIN, false, true, true },
    { KD_OP_EXPM1, false, false, true }, { KD_OP_SOFTPLUS, false, false, true }, { KD_OP_STOP, true, false, false } };
  int k = (int)any(m, sizeof list / sizeof list[0]);
  uint32_t a = pick(m, m->real, false, list[k].wants_small);
  if (a != UINT32_MAX) elem(m, list[k].op, m->real, &a, list[k].exact, list[k].bounded || (m->small[a] && list[k].exact));
}
static void real_binary(maker *m) {
  static const kd_op list[] = { KD_OP_ADD, KD_OP_SUB, KD_OP_MUL, KD_OP_MUL, KD_OP_MAX, KD_OP_MIN };
  kd_op op = list[any(m, 6)];
  uint32_t in[2] = { pick(m, m->real, false, op == KD_OP_MUL), pick(m, m->real, false, op == KD_OP_MUL) };
  if (in[0] == UINT32_MAX || in[1] == UINT32_MAX) return;
  elem(m, op, m->real, in, true, op != KD_OP_ADD && op != KD_OP_SUB && m->small[in[0]] && m->small[in[1]]);
}
/* Softmax's way: a value, scaled or not, less one that may stay the same along a row; its power of e and what is left when something more is taken. */
static void difference(maker *m) {
  uint32_t in[2] = { pick(m, m->real, false, true), pick(m, m->real, false, true) }, d;
  if (in[0] == UINT32_MAX || in[1] == UINT32_MAX) return;
  if (any(m, 3) && (in[0] = elem(m, KD_OP_MUL, m->real, any(m, 2) ? in : (uint32_t[]){ in[1], in[0] }, true, true)) == UINT32_MAX) return;
  in[1] = pick(m, m->real, false, true);
  if (in[1] == UINT32_MAX || (d = elem(m, KD_OP_SUB, m->real, in, true, false)) == UINT32_MAX) return;
  for (int n = (int)any(m, 3); n >= 0; n--) {
    uint32_t less[2] = { d, pick(m, m->real, false, true) };
    if (any(m, 2)) elem(m, KD_OP_EXP, m->real, &d, false, false);
    else if (less[1] != UINT32_MAX) elem(m, KD_OP_SUB, m->real, less, true, false);
  }
}
static void divide(maker *m) {                   /* by something positive */
  uint32_t in[2] = { pick(m, m->real, false, false), pick(m, m->real, false, true) };
  if (in[0] == UINT32_MAX || in[1] == UINT32_MAX) return;
  uint32_t e = elem(m, KD_OP_EXP, m->real, &in[1], false, false);
  if (e == UINT32_MAX) return;
  in[1] = e;
  elem(m, KD_OP_DIV, m->real, in, true, false);
}
static void compare(maker *m) {
  static const kd_op list[] = { KD_OP_EQ, KD_OP_NE, KD_OP_LT, KD_OP_LE };
  kd_dtype t = any(m, 3) ? m->real : KD_I64;
  uint32_t in[2] = { pick(m, t, true, false), pick(m, t, true, false) };
  if (in[0] != UINT32_MAX && in[1] != UINT32_MAX) elem(m, list[any(m, 4)], KD_BOOL, in, true, true);
}
static void choose(maker *m) {
  kd_dtype t = any(m, 3) ? m->real : KD_I64;
  uint32_t in[3] = { pick(m, KD_BOOL, true, false), pick(m, t, false, false), pick(m, t, false, false) };
  if (in[0] != UINT32_MAX && in[1] != UINT32_MAX && in[2] != UINT32_MAX) elem(m, KD_OP_WHERE, t, in, true, m->small[in[1]] && m->small[in[2]]);
}
static void bools(maker *m) {
  uint32_t in[2] = { pick(m, KD_BOOL, false, false), pick(m, KD_BOOL, false, false) };
  if (in[0] != UINT32_MAX) elem(m, any(m, 3) == 0 ? KD_OP_NOT : any(m, 2) ? KD_OP_AND : KD_OP_OR, KD_BOOL, in, true, true);
}
static void integers(maker *m) {
  static const kd_op list[] = { KD_OP_ADD, KD_OP_SUB, KD_OP_MAX, KD_OP_MIN, KD_OP_IDIV, KD_OP_REM };
  uint32_t in[2] = { pick(m, KD_I64, true, false), pick(m, KD_I64, true, false) };
  if (in[0] != UINT32_MAX) elem(m, list[any(m, 6)], KD_I64, in, true, false);
}
static void cast(maker *m) {
  static const kd_dtype from[] = { KD_BOOL, KD_I64, KD_U8, KD_BOOL };
  kd_dtype t = from[any(m, 4)];
  uint32_t a = pick(m, t, true, false);
  if (a != UINT32_MAX) elem(m, KD_OP_CAST, t == KD_BOOL && any(m, 4) == 0 ? KD_I64 : m->real, &a, true, t == KD_BOOL);
}

/* `over` within the domain of `a`, inner ones alone or with outer ones. */
static void reduce(maker *m, bool final) {
  static const kd_op list[] = { KD_OP_SUM, KD_OP_SUM, KD_OP_REDUCE_MAX, KD_OP_REDUCE_MIN, KD_OP_MOMENTS };
  const kd_group *g = &m->o->g;
  kd_dtype t = any(m, 5) ? m->real : any(m, 2) ? KD_I64 : KD_BOOL;
  uint32_t a = pick(m, t, false, false);
  if (a == UINT32_MAX) return;
  uint32_t axes = m->o->ins[a].axes, may = final ? axes : axes & ~g->outer, over = may & (uint32_t)any(m, 1 << g->rank);
  if (any(m, 2)) over = may;
  if (!over || (final && !(over & g->outer)) || (!final && m->phase[a] + 1u != m->now) || (final && m->phase[a] != m->now)) return;
  kd_op op = t == KD_BOOL ? (any(m, 2) ? KD_OP_ANY : KD_OP_ALL) : t == KD_I64 ? list[any(m, 4)] : list[any(m, 5)];
  bool exact = m->exact[a] && (t != m->real || op == KD_OP_REDUCE_MAX || op == KD_OP_REDUCE_MIN);
  uint32_t i = put(m, (kd_group_ins){ .kind = KD_GROUP_REDUCE, .op = (uint16_t)op, .dtype = (uint8_t)t, .in = { a }, .axes = axes & ~over, .over = over }, m->now, exact, false);
  m->final[i] = final;
  if (op == KD_OP_MOMENTS && any(m, 4)) {
    uint32_t s = put(m, (kd_group_ins){ .kind = KD_GROUP_SPREAD, .dtype = (uint8_t)t, .in = { i }, .axes = axes & ~over }, m->now, false, false);
    m->final[s] = final;
  }
}

static void gather(maker *m) {
  uint32_t index = pick(m, KD_I64, true, false);
  if (index == UINT32_MAX || m->o->ins[index].kind != KD_GROUP_LOAD || m->now != 0) return;
  int64_t limit = m->o->limit[m->o->ins[index].operand];
  if (any(m, 5) == 0) { put(m, (kd_group_ins){ .kind = KD_GROUP_CHECK, .dtype = KD_I64, .in = { index }, .axes = m->o->ins[index].axes, .limit = limit }, 0, true, false); return; }
  kd_dtype t = any(m, 4) ? m->real : KD_I64;
  uint32_t of = m->o->ins[index].axes, axes = any(m, 2) ? all_axes(m) : of;
  uint32_t own = axes & ~of;                     /* the table varies along these, and rarely along the index's */
  if (any(m, 4) == 0) own = axes;
  int64_t step = any(m, 2) ? 1 : 3;
  uint32_t k = operand(m, t, own, limit, step);
  if (step == 1) lay_out(m, m->o->stride[k], own, limit);
  else {
    int64_t span = 1;
    for (uint32_t a = 0; a < m->o->g.rank; a++)
      if (own >> a & 1) span += llabs(m->o->stride[k][a]) * (m->o->g.size[a] - 1);
    step = m->o->step[k] = span;
  }
  put(m, (kd_group_ins){ .kind = KD_GROUP_GATHER, .dtype = (uint8_t)t, .in = { index }, .operand = k, .axes = axes, .limit = limit, .step = step }, 0, true, t == m->real);
}

static void leaves(maker *m) {
  for (int n = 2 + (int)any(m, 3); n > 0; n--) load(m, m->real, n == 1 ? all_axes(m) : some_axes(m), 0);
  if (any(m, 2)) load(m, KD_BOOL, some_axes(m), 0);
  if (any(m, 2)) load(m, KD_U8, some_axes(m), 0);
  for (int n = (int)any(m, 3); n > 0; n--) load(m, KD_I64, some_axes(m), 1 + any(m, 50));
  for (int n = (int)any(m, 3); n > 0; n--)
    put(m, (kd_group_ins){ .kind = KD_GROUP_CONST, .dtype = (uint8_t)m->real, .value = (double)(float)(2 * t_uniform(m->state) - 1) }, 0, true, true);
  if (any(m, 3) == 0) put(m, (kd_group_ins){ .kind = KD_GROUP_CONST, .dtype = KD_I64, .value = (double)any(m, 9) - 4 }, 0, true, false);
  if (m->o->g.rank && any(m, 3) == 0) {
    uint32_t over = 1u << any(m, m->o->g.rank);
    put(m, (kd_group_ins){ .kind = KD_GROUP_IOTA, .dtype = any(m, 2) ? KD_I64 : (uint8_t)m->real, .axes = over, .over = over }, 0, true, false);
  }
}

static void store(maker *m, uint32_t i, bool wide) {
  t_group *o = m->o;
  const kd_group_ins v = o->ins[i];
  uint32_t axes = wide && !m->final[i] ? all_axes(m) : v.axes, k = o->g.nout;
  if (v.dtype == KD_U8 || k >= T_GROUP_OPERANDS - 24 || o->g.nins >= T_GROUP_INS) return;
  m->out_type[k] = v.dtype, m->out_axes[k] = axes, o->shares[k] = -1;
  lay_out(m, m->out_stride[k], axes, 1);
  uint32_t like = (uint32_t)any(m, o->g.nin);
  if (o->axes[like] == axes && o->dtype[like] == v.dtype) memcpy(m->out_stride[k], o->stride[like], sizeof o->stride[0]);
  put(m, (kd_group_ins){ .kind = KD_GROUP_STORE, .dtype = v.dtype, .in = { i }, .operand = o->g.nout++, .axes = axes }, m->phase[i], false, false);
}

static void (*const steps[])(maker *m) = { real_unary, real_unary, real_binary, real_binary, real_binary, difference, divide, compare, choose, bools, integers, cast, gather };

/* One phase: its inner reductions first, then what reads them, reductions over outer axes, and stores. */
static void phase(maker *m) {
  uint32_t before = m->o->g.nins;
  for (int n = m->now ? 1 + (int)any(m, 3) : 0; n > 0; n--)
    for (int tries = 0; tries < 6 && m->o->g.nins == before; tries++) reduce(m, false);
  for (int n = 3 + (int)any(m, 9); n > 0 && m->o->g.nins < T_GROUP_INS - 20 && m->o->g.nin < T_GROUP_OPERANDS - 24; n--) {
    steps[any(m, sizeof steps / sizeof steps[0])](m);
    uint32_t last = m->o->g.nins - 1;
    if (any(m, 12) == 0 && m->o->ins[last].kind < KD_GROUP_CHECK && !m->final[last] && m->phase[last] == m->now) store(m, last, false);
  }
  if (any(m, 2)) reduce(m, true);
  if (any(m, 3) == 0) reduce(m, true);
}

/* Stores stand in the phase of their value, so they are added phase by phase. */
static void store_some(maker *m, uint32_t from) {
  uint32_t to = m->o->g.nins, values = 0;
  for (uint32_t i = from; i < to; i++) {
    const kd_group_ins *v = &m->o->ins[i];
    if (v->kind == KD_GROUP_STORE || v->kind == KD_GROUP_CHECK) continue;
    if (m->phase[i] == m->now && (m->final[i] || ++values == to - from || any(m, 6) == 0)) store(m, i, any(m, 5) == 0);
  }
}

void t_group_close(t_group *o) {
  o->g.ins = o->ins, o->g.stride = (const int64_t(*)[KD_GROUP_AXES])o->stride, o->g.dtype = o->dtype;
  o->g.hash = kd__group_hash(&o->g);
}

static void share(t_group *o, uint64_t *state) {
  for (uint32_t k = 0; k < o->g.nout; k++)
    for (uint32_t i = 0; i < o->g.nin && o->shares[k] < 0; i++) {
      bool taken = false;
      for (uint32_t j = 0; j < k; j++) taken |= o->shares[j] == (int32_t)i;
      if (!taken && t_random(state) & 256 && kd__group_may_share(&o->g, i, k)) o->shares[k] = (int32_t)i;
    }
}

void t_group_random(t_group *o, kd_dtype real, int64_t size, uint64_t *state) {
  static const int64_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 10, 16, 17, 31, 33, 64, 65, 100, 130, 257, 1000, 2049, 5000, 20000 };
  maker m = { .o = o, .state = state, .real = real };
  memset(o, 0, sizeof *o);
  o->g.rank = (uint32_t)any(&m, 5);
  int64_t count = 1;
  for (uint32_t a = 0; a < o->g.rank; a++) {
    int64_t n = sizes[any(&m, sizeof sizes / sizeof sizes[0])];
    while (count * n > size) n = n > 3 ? n / 3 : 1;
    o->g.size[a] = n, count *= n;
  }
  o->g.outer = (uint32_t)any(&m, 1 << o->g.rank);
  if (any(&m, 3) == 0) o->g.outer = all_axes(&m);
  leaves(&m);
  uint32_t phases = 1 + (uint32_t)any(&m, 4);
  uint32_t nins = 0;
  for (m.now = 0; m.now < phases; m.now++) {
    uint32_t was = o->g.nins;
    phase(&m);
    if (m.now && o->g.nins == was) break;
    store_some(&m, nins);
    nins = was;
  }
  if (o->g.nout == 0) {
    uint32_t last = 0;
    for (uint32_t i = 0; i < o->g.nins; i++)
      if (o->ins[i].kind < KD_GROUP_CHECK && o->ins[i].dtype != KD_U8 && m.phase[i] == m.phase[o->g.nins - 1]) last = i;
    m.now = m.phase[last];
    store(&m, last, false);
  }
  memcpy(o->stride[o->g.nin], m.out_stride, o->g.nout * sizeof o->stride[0]);
  memcpy(o->dtype + o->g.nin, m.out_type, o->g.nout);
  memcpy(o->axes + o->g.nin, m.out_axes, o->g.nout * sizeof o->axes[0]);
  t_group_close(o);
  share(o, state);
}

/* --- memory -------------------------------------------------------------------------------------------------------------------------------- */
static void extent(const t_group *o, uint32_t k, int64_t *low, int64_t *high) {
  *low = *high = 0;
  for (uint32_t a = 0; a < o->g.rank; a++) {
    int64_t by = o->stride[k][a] * (o->g.size[a] - 1);
    *(by < 0 ? low : high) += by;
  }
  if (k < o->g.nin && o->step[k]) *high += o->step[k] * (o->limit[k] - 1);
}

static void fill(char *p, kd_dtype t, int64_t n, int64_t limit, uint64_t *state) {
  for (int64_t i = 0; i < n; i++)
    switch (t) {
      case KD_F32: ((float *)(void *)p)[i] = (float)(2 * t_uniform(state) - 1); break;
      case KD_F64: ((double *)(void *)p)[i] = 2 * t_uniform(state) - 1; break;
      case KD_I64: ((int64_t *)(void *)p)[i] = (int64_t)(t_random(state) >> 9) % (limit ? limit : 7); break;
      case KD_BOOL: p[i] = (char)(t_random(state) >> 20 & 1); break;
      default: p[i] = (char)(t_random(state) >> 20); break;
    }
}

/* Large operands on huge pages, as plans have them. */
static char *room(size_t n) {
  size_t page = (size_t)2 << 20;
  if (n < page) return malloc(n);
  char *p = aligned_alloc(page, (n + page - 1) / page * page);
#ifdef MADV_HUGEPAGE
  madvise(p, n, MADV_HUGEPAGE);
#endif
  return p;
}

void t_memory_make(t_memory *m, const t_group *o, uint64_t seed) {
  memset(m, 0, sizeof *m);
  for (uint32_t k = 0; k < o->g.nin + o->g.nout; k++) {
    bool in = k < o->g.nin;
    kd_tensor *t = in ? &m->in[k] : &m->out[k - o->g.nin];
    int64_t low, high, size = (int64_t)kd__dtype_size((kd_dtype)o->dtype[k]);
    extent(o, k, &low, &high);
    *t = (kd_tensor){ .dim = m->none, .stride = m->none, .dtype = o->dtype[k] };
    if (!in && o->shares[k - o->g.nin] >= 0) { t->data = m->in[o->shares[k - o->g.nin]].data; continue; }
    m->size[k] = (size_t)((high - low + 1) * size);
    m->whole[k] = room(m->size[k]);
    uint64_t state = seed * 64 + k;
    if (in) fill(m->whole[k], (kd_dtype)o->dtype[k], high - low + 1, o->step[k] ? 0 : o->limit[k], &state);
    else memset(m->whole[k], 0x5a, m->size[k]);
    t->data = m->whole[k] - low * size;
  }
}
void t_memory_free(t_memory *m, const t_group *o) {
  for (uint32_t k = 0; k < o->g.nin + o->g.nout; k++) free(m->whole[k]);
}

const char *t_memory_compare(const t_memory *a, const t_memory *want, const t_group *o, double tol) {
  static char text[160];
  for (uint32_t k = 0; k < o->g.nin + o->g.nout; k++) {
    if (!a->whole[k] || memcmp(a->whole[k], want->whole[k], a->size[k]) == 0) continue;
    kd_dtype t = (kd_dtype)o->dtype[k];
    int64_t n = (int64_t)(a->size[k] / kd__dtype_size(t));
    kd_tensor x = { .data = a->whole[k], .dtype = (uint8_t)t, .dim = &n, .stride = (int64_t[]){ 1 }, .rank = 1 }, y = x;
    y.data = want->whole[k];
    double most = n == 1 ? 1 : 1e-9;             /* one sum over all may cancel */
    for (int64_t i = 0; i < n; i++)
      if (isfinite(t_load(&y, i)) && fabs(t_load(&y, i)) > most) most = fabs(t_load(&y, i));
    for (int64_t i = 0; i < n; i++) {
      double u = t_load(&x, i), v = t_load(&y, i);
      if (u == v || (u != u && v != v) || (tol >= 0 && kd__dtype_real(t) && fabs(u - v) <= tol * most)) continue;
      snprintf(text, sizeof text, "%s %u (%s): element %lld of %lld is %.9g, not %.9g", k < o->g.nin ? "input" : "output", k < o->g.nin ? k : k - o->g.nin,
               kd__dtype_name(t), (long long)i, (long long)n, u, v);
      return text;
    }
  }
  return "";
}

/* --- running -------------------------------------------------------------------------------------------------------------------------------- */
const char *t_group_run(const t_group *o, t_memory *m, int threads, bool twin, kd_fault *fault) {
  kd_call c = { .op = KD_OP_GROUP, .nin = o->g.nin, .nout = o->g.nout, .in = m->in, .out = m->out, .group = &o->g };
  kd_kernel_settings set = { .threads = threads, .deterministic = true, .reference = twin };
  const kd_kernel *k = kd__kernel_find(&c, &set);
  if (k->prepare && k->prepare(&c, &set) != KD_OK) return "cannot be prepared";
  size_t size = k->scratch ? k->scratch(&c, &set) : 0;
  char *scratch = aligned_alloc(64, (size + 191) / 64 * 64);
  memset(scratch, 0x77, size + 64);
  k->run(&c, &(kd_exec){ .threads = threads, .deterministic = true, .scratch = scratch, .fault = fault });
  for (int i = 0; i < 64; i++)
    if (scratch[size + (size_t)i] != 0x77) { free(scratch); return "wrote beyond its scratch"; }
  free(scratch);
  if (k->release && c.prepared) k->release(c.prepared);
  return k->name;
}
