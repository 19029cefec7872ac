/* group_tile.c: runs tile programs. */
#include "runtime/kernels/group_tile.h"
#include "runtime/kernels/vmath.h"
#include <math.h>

typedef struct work {
  const kd_call *c;
  const kd_exec *x;
  const kd__tile_program *p;
  char *threads, *chunks;                        /* memory of the threads; accumulators of the chunks */
} work;

/* One chunk on its thread. */
typedef struct state {
  const work *w;
  char **base, **at;                             /* of each slot: at position 0, and now */
  char *memory;
  int64_t pos[KD_GROUP_AXES], lo[KD_GROUP_AXES], hi[KD_GROUP_AXES];      /* in elements */
  uint32_t zero, end, variant;                   /* axes that stand at 0; at their last tile */
  /* rows that the next tile gathers: they are fetched into the cache while this one is computed, some after each step */
  struct { const char *index, *table; int64_t index_step, table_step, jump, bytes, left, share; uint64_t limit; } next;
} state;

/* --- steps ------------------------------------------------------------------------------------------------------------------------------ */
/* The positions of all levels from `from` on; p moves along. */
#define EACH_OUTER(nest, from, nargs, p) \
  for (int64_t pos_[KD_GROUP_AXES] = { 0 }, more_ = 1; more_; more_ = next_position(nest, from, nargs, pos_, p))
static bool next_position(const kd__tile_nest *n, uint32_t from, uint32_t nargs, int64_t *pos, char **p) {
  for (uint32_t l = from; l < n->levels; l++) {
    const kd__tile_level *v = &n->level[l];
    for (uint32_t k = 0; k < nargs; k++) p[k] += v->stride[k];
    if (++pos[l] < v->n) return true;
    pos[l] = 0;
    for (uint32_t k = 0; k < nargs; k++) p[k] -= v->stride[k] * v->n;
  }
  return false;
}

static void run_prim(const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  static const int64_t none[KD__TILE_ARGS] = { 0 };
  if (n->levels == 0) { s->prim(1, 1, p, none); return; }
  if (n->levels == 1) { s->prim(1, n->level[0].n, p, none); return; }
  if (n->levels == 2) { s->prim(n->level[1].n, n->level[0].n, p, n->level[1].stride); return; }
  EACH_OUTER(n, 2, s->nargs, p) s->prim(n->level[1].n, n->level[0].n, p, n->level[1].stride);
}

static void run_elem(const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  int64_t len = n->levels ? n->level[0].n : 1;
  if (n->levels < 2) { s->elem(len, p[0], p[1], p[2], p[3]); return; }
  EACH_OUTER(n, 1, s->nargs, p) s->elem(len, p[0], p[1], p[2], p[3]);
}

#define COPY(T) \
  do { \
    const T *from = (const void *)p[1]; \
    T *to = (void *)p[0]; \
    if (a == (int64_t)sizeof(T) && b == 0) for (int64_t i = 0; i < len; i++) to[i] = *from; \
    else for (int64_t i = 0; i < len; i++) *(T *)(void *)(p[0] + i * a) = *(const T *)(const void *)(p[1] + i * b); \
  } while (0)
static void copy_run(size_t size, int64_t len, char *const *p, int64_t a, int64_t b) {
  if (a == (int64_t)size && b == a) memcpy(p[0], p[1], (size_t)(len * a));
  else if (size == 4) COPY(uint32_t);
  else if (size == 8) COPY(uint64_t);
  else COPY(uint8_t);
}
static void run_copy(const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  int64_t len = n->levels ? n->level[0].n : 1, a = n->levels ? n->level[0].stride[0] : s->size, b = n->levels ? n->level[0].stride[1] : s->size;
  const kd__tile_level *up = n->levels > 1 ? &n->level[1] : NULL;
  if (up && up->stride[1] == s->size && b > s->size && a == s->size && up->stride[0] % s->size == 0 && b % s->size == 0) {
    EACH_OUTER(n, 2, 2, p) kd__copy_transpose(p[0], p[1], s->size, len, up->n, up->stride[0] / s->size, b / s->size);
    return;
  }
  EACH_OUTER(n, 1, 2, p) copy_run(s->size, len, p, a, b);
}

/* Argument 3 is no address but counts points, from the thread's memory on. */
static void bad_index(const state *t, const kd__tile_step *s, int64_t value, const char *number, int64_t limit) {
  int64_t at = number - t->memory;
  for (uint32_t a = 0; a < t->w->p->rank; a++) at += t->pos[a] * s->number[a];
  kd__fault_at(t->w->x, s->kind == KD__TILE_DIVIDE ? (kd_op)s->op : KD_OP_GATHER, s->origin, value, limit, at);
}

#define GATHER(T) \
  for (int64_t i = 0; i < len; i++) { \
    int64_t m = *(const int64_t *)(const void *)(p[2] + i * st[2]); \
    bool inside = (uint64_t)m < (uint64_t)s->limit; \
    *(T *)(void *)(p[0] + i * st[0]) = inside ? *(const T *)(const void *)(p[1] + i * st[1] + m * s->jump) : (T)0; \
    if (!inside) bad_index(t, s, m, p[3] + i * st[3], s->limit); \
  }
static void gather_run(const state *t, const kd__tile_step *s, int64_t len, char *const *p, const int64_t *st) {
  int64_t k = *(const int64_t *)(const void *)p[2];
  if (st[2] != 0 || (uint64_t)k >= (uint64_t)s->limit) {
    if (s->size == 4) GATHER(uint32_t)
    else if (s->size == 8) GATHER(uint64_t)
    else GATHER(uint8_t)
    return;
  }
  char *q[2] = { p[0], p[1] + k * s->jump };
  copy_run(s->size, len, q, st[0], st[1]);
}
static void fetch_next(state *t) {
  for (int64_t r = kd__min(t->next.share, t->next.left); r > 0; r--, t->next.left--) {
    int64_t k = *(const int64_t *)(const void *)t->next.index;
    bool inside = (uint64_t)k < t->next.limit;
    for (int64_t i = 0; inside && i < t->next.bytes; i += 64) __builtin_prefetch(t->next.table + k * t->next.jump + i);
    t->next.index += t->next.index_step, t->next.table += t->next.table_step;
  }
}
static void run_gather(state *t, const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  static const kd__tile_level one = { .n = 1 };
  const kd__tile_level *l = n->levels ? &n->level[0] : &one, *up = n->levels > 1 ? &n->level[1] : &one;
  EACH_OUTER(n, 2, 4, p) {
    char *q[4] = { p[0], p[1], p[2], p[3] };
    for (int64_t r = 0; r < up->n; r++) {
      gather_run(t, s, l->n, q, l->stride);
      for (int k = 0; k < 4; k++) q[k] += up->stride[k];
    }
    int64_t after = t->hi[s->axis] - t->pos[s->axis] - up->n;
    if (!s->ahead || n->levels != 2 || up->n != t->w->p->tile[s->axis] || after <= 0 || l->stride[2] != 0 || l->stride[1] != s->size) continue;
    t->next.index = q[2], t->next.table = q[1], t->next.index_step = up->stride[2], t->next.table_step = up->stride[1];
    t->next.jump = s->jump, t->next.bytes = l->n * s->size, t->next.left = kd__min(after, up->n), t->next.limit = (uint64_t)s->limit;
  }
}

static void run_check(const state *t, const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  EACH_OUTER(n, 0, 4, p) {
    int64_t k = *(const int64_t *)(const void *)p[2];
    if ((uint64_t)k >= (uint64_t)s->limit) bad_index(t, s, k, p[3], s->limit);
  }
}

static void run_divide(const state *t, const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  EACH_OUTER(n, 0, 4, p) {
    int64_t b = *(const int64_t *)(const void *)p[2];
    if (b != 0) s->elem(1, p[0], p[1], p[2], NULL);
    else {
      bad_index(t, s, *(const int64_t *)(const void *)p[1], p[3], 0);
      *(int64_t *)(void *)p[0] = 0;
    }
  }
}

static void run_iota(const state *t, const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  int64_t from = s->axis < t->w->p->rank ? t->pos[s->axis] : 0, len = n->levels ? n->level[0].n : 1;
  for (int64_t i = 0; i < len; i++)
    switch ((kd_dtype)s->dtype) {
      case KD_F32: ((float *)(void *)p[0])[i] = (float)(from + i); break;
      case KD_F64: ((double *)(void *)p[0])[i] = (double)(from + i); break;
      default: ((int64_t *)(void *)p[0])[i] = from + i; break;
    }
}

/* --- reductions -------------------------------------------------------------------------------------------------------------------------- */
/* States: f32 as in reduce.h; f64 in double, moments by Welford's formula; i64 and bool in int64. For moments the second halves and the counts
 * follow, each `count` doubles. */
static void clear_states(kd_op op, kd_dtype type, double *a, int64_t count) {
  bool integer = type == KD_I64 || type == KD_BOOL;
  double start = op == KD_OP_REDUCE_MAX ? -INFINITY : op == KD_OP_REDUCE_MIN ? INFINITY : 0;
  int64_t first = op == KD_OP_REDUCE_MAX ? INT64_MIN : op == KD_OP_REDUCE_MIN ? INT64_MAX : op == KD_OP_ALL;
  if (op == KD_OP_MOMENTS) count *= 3;
  for (int64_t i = 0; i < count; i++)
    if (integer) memcpy(&a[i], &first, sizeof first);
    else a[i] = start;
}

/* n states, `step` doubles apart only for n = 1, take up n others of nb elements each. */
static void merge_states(const kd__reducer *red, kd_op op, int64_t n, double *a, int64_t count, const double *c, const double *d, int64_t nb) {
  if (op == KD_OP_SUM) for (int64_t j = 0; j < n; j++) a[j] += c[j];
  else if (op == KD_OP_MOMENTS) {
    double *k = a + 2 * count;
    red->merge(n, a, a + count, (int64_t)k[0], c, d, nb);
    for (int64_t j = 0; j < n; j++) k[j] += (double)nb;
  } else {
    red->merge(n, a, a, 1, c, d, nb);
  }
}

static void reduce_row(const kd__tile_step *s, char *const *p, int64_t n) {
  double *a = (void *)p[1];
  for (int64_t i = 0; i < n; i += KD__BLOCK_ROW) {
    double c, d;
    int64_t len = kd__min(n - i, KD__BLOCK_ROW);
    const float *q = (const float *)(const void *)p[2] + i;
    if (s->product) c = (double)kd__sum_products(q, (const float *)(const void *)p[3] + i, len);
    else s->reducer->row(q, len, &c, &d);
    merge_states(s->reducer, (kd_op)s->op, 1, a, s->count, &c, &d, len);
  }
}
/* Columns: st are the operands' steps from row to row; `one`: the second operand has one element a row. */
static void reduce_cols(const kd__tile_step *s, char *const *p, const int64_t *st, int64_t rows, int64_t n, bool one) {
  double c[KD__STRIP], d[KD__STRIP], *a = (void *)p[1];
  float sum[KD__STRIP];
  for (int64_t r = 0; r < rows; r += KD__BLOCK_ROWS)
    for (int64_t i = 0; i < n; i += KD__STRIP) {
      int64_t h = kd__min(rows - r, KD__BLOCK_ROWS), w = kd__min(n - i, KD__STRIP);
      const float *q = (const void *)(p[2] + r * st[2] + i * 4);
      if ((kd_op)s->op == KD_OP_SUM) {
        if (s->product) kd__column_products(q, st[2] / 4, (const void *)(p[3] + r * st[3] + (one ? 0 : i * 4)), st[3] / 4, one, h, w, sum);
        else kd__columns(KD_OP_SUM, q, st[2] / 4, h, w, sum);
        kd__add_floats(w, a + i, sum);
        continue;
      }
      s->reducer->cols(q, st[2] / 4, h, w, c, d);
      merge_states(s->reducer, (kd_op)s->op, w, a + i, s->count, c, d, h);
    }
}
static void reduce_f32(const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  static const kd__tile_level one = { .n = 1 };
  const kd__tile_level *l = n->levels ? &n->level[0] : &one, *up = n->levels > 1 ? &n->level[1] : &one;
  if (l->stride[1] == 0) { EACH_OUTER(n, 1, 4, p) reduce_row(s, p, l->n); return; }
  if (l->stride[1] != sizeof(double)) {          /* an outer axis that the tile has one element of lies between: one by one */
    EACH_OUTER(n, 0, 4, p) reduce_cols(s, p, one.stride, 1, 1, true);
    return;
  }
  bool cols = n->levels > 1 && up->stride[1] == 0;
  if (!cols) up = &one;
  EACH_OUTER(n, cols ? 2 : 1, 4, p) reduce_cols(s, p, up->stride, up->n, l->n, l->stride[3] == 0);
}

static void reduce_f64(const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  const kd__tile_level *l = n->level;
  bool row = n->levels && l->stride[1] == 0, along = n->levels && l->stride[1] == 8;
  if (s->op == KD_OP_SUM && (row || along) && l->stride[2] == 8) {
    EACH_OUTER(n, 1, 3, p)
      if (row) *(double *)(void *)p[1] += kd__sum_doubles(l->n, (const void *)p[2]);
      else kd__add_doubles(l->n, (void *)p[1], (const void *)p[2]);
    return;
  }
  EACH_OUTER(n, 0, 3, p) {
    double *a = (void *)p[1], v = *(const double *)(const void *)p[2];
    switch ((kd_op)s->op) {
      case KD_OP_SUM: *a += v; break;
      case KD_OP_REDUCE_MAX: *a = kd__maxd(v, *a); break;
      case KD_OP_REDUCE_MIN: *a = kd__mind(v, *a); break;
      default: {
        double d = v - *a, k = a[2 * s->count] += 1;
        *a += d / k, a[s->count] += d * (v - *a);
      }
    }
  }
}
static void reduce_integer(const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  EACH_OUTER(n, 0, 3, p) {
    int64_t *a = (void *)p[1], v = s->dtype == KD_BOOL ? *(const uint8_t *)p[2] != 0 : *(const int64_t *)(const void *)p[2];
    switch ((kd_op)s->op) {
      case KD_OP_SUM: *a = (int64_t)((uint64_t)*a + (uint64_t)v); break;
      case KD_OP_REDUCE_MAX: case KD_OP_ANY: *a = v > *a ? v : *a; break;
      default: *a = v < *a ? v : *a; break;
    }
  }
}

/* The result (or the second one) of state i, to memory. */
static void finish_state(const kd__reducer *red, kd_op op, kd_dtype type, const double *a, int64_t count, int64_t i, bool second, char *to) {
  int64_t n;
  float one, two = 0;
  memcpy(&n, &a[i], sizeof n);
  switch (type) {
    case KD_F32:
      red->finish(a[i], op == KD_OP_MOMENTS ? a[count + i] : 0, op == KD_OP_MOMENTS ? (int64_t)a[2 * count + i] : 1, &one, &two);
      memcpy(to, second ? &two : &one, 4);
      break;
    case KD_F64: *(double *)(void *)to = second ? kd__maxd(a[count + i] / a[2 * count + i], 0) : a[i]; break;
    case KD_I64: *(int64_t *)(void *)to = n; break;
    default: *(uint8_t *)to = (uint8_t)n; break;
  }
}

static void run_reduce(const state *t, const kd__tile_step *s, const kd__tile_nest *n, char **p) {
  if (s->prim) {
    const kd__tile_level *up = &n->level[n->levels > 1];
    char *q[3] = { p[0], p[2], p[3] };
    int64_t by[3] = { up->stride[0], up->stride[2], up->stride[3] };
    s->prim(n->levels > 1 ? n->level[1].n : 1, n->level[0].n, q, by);
    return;
  }
  uint32_t pieces = t->w->p->pieces;
  double *a = (void *)(s->final ? NULL : t->base[s->slot[1]] + s->offset[1]);
  if (!s->final && (t->zero & pieces) == pieces) clear_states((kd_op)s->op, (kd_dtype)s->dtype, a, s->count);
  if (s->dtype == KD_F32) reduce_f32(s, n, p);
  else if (s->dtype == KD_F64) reduce_f64(s, n, p);
  else reduce_integer(s, n, p);
  if (s->final || (t->end & s->last) != s->last) return;
  char *first = t->base[s->slot[0]] + s->offset[0], *second = s->second ? t->base[s->slot[3]] + s->offset[3] : NULL;
  if (s->dtype == KD_F32 && s->op == KD_OP_SUM) { kd__round_doubles(s->count, (void *)first, a); return; }
  for (int64_t i = 0; i < s->count; i++) {
    finish_state(s->reducer, (kd_op)s->op, (kd_dtype)s->dtype, a, s->count, i, false, first + i * s->size);
    if (second) finish_state(s->reducer, (kd_op)s->op, (kd_dtype)s->dtype, a, s->count, i, true, second + i * s->size);
  }
}

/* --- tiles ------------------------------------------------------------------------------------------------------------------------------- */
/* What the next tile reads, a part after each step. */
static void ask_for_next(const state *t, uint32_t i) {
  const kd__tile_program *p = t->w->p;
  for (const kd__tile_ahead *h = p->ahead; h < p->ahead + p->nahead; h++) {
    int64_t from = i * h->part, to = kd__min(h->bytes, from + h->part);
    const char *at = t->at[h->slot] + h->jump;
    for (int64_t k = from; k < to; k += 64) __builtin_prefetch(at + k);
  }
}

static void run_list(state *t, const kd__tile_list *list) {
  const kd__tile_step *s = list->step, *end = s + list->n;
  const uint32_t zero = t->zero, variant = t->variant;
  char *const *at = t->at;
  t->next.share = kd__ceil_div(t->next.left ? t->next.left : 16, list->n + 1);
  for (; s < end; s++) {
    if ((s->once & zero) != s->once) continue;
    const kd__tile_nest *n = &s->nest[variant];
    char *p[KD__TILE_ARGS];
    for (uint32_t k = 0; k < KD__TILE_ARGS; k++) p[k] = at[s->slot[k]] + s->offset[k];
    switch ((kd__tile_kind)s->kind) {
      case KD__TILE_PRIM: run_prim(s, n, p); break;
      case KD__TILE_ELEM: run_elem(s, n, p); break;
      case KD__TILE_COPY: run_copy(s, n, p); break;
      case KD__TILE_GATHER: p[3] = t->memory; run_gather(t, s, n, p); break;
      case KD__TILE_CHECK: p[3] = t->memory; run_check(t, s, n, p); break;
      case KD__TILE_DIVIDE: p[3] = t->memory; run_divide(t, s, n, p); break;
      case KD__TILE_IOTA: run_iota(t, s, n, p); break;
      case KD__TILE_REDUCE: run_reduce(t, s, n, p); break;
    }
    if (t->next.left) fetch_next(t);
    if (t->w->p->nahead) ask_for_next(t, (uint32_t)(s - list->step));
  }
}

static void place(state *t) {
  const kd__tile_program *p = t->w->p;
  t->zero = t->end = UINT32_MAX, t->variant = 0;
  for (uint32_t a = 0; a < p->rank; a++) {
    if (t->pos[a]) t->zero &= ~(1u << a);
    if (t->pos[a] + p->tile[a] < p->size[a]) t->end &= ~(1u << a);
  }
  for (uint32_t i = 0; i < p->nends; i++)
    if (t->end >> p->ends[i] & 1) t->variant |= 1u << i;
  for (uint32_t i = 0; i < p->nslot; i++) {
    if (!p->slot[i].moves) continue;
    int64_t by = 0;
    for (uint32_t a = 0; a < p->rank; a++) by += t->pos[a] * p->slot[i].stride[a];
    t->at[i] = t->base[i] + by;
  }
}

/* The next tile along the axes of `axes`; false: that was the last one, and all stand at their start again. */
static bool advance(state *t, uint32_t axes) {
  const kd__tile_program *p = t->w->p;
  for (int a = (int)p->rank - 1; a >= 0; a--) {
    if (!(axes >> a & 1)) continue;
    t->pos[a] += p->tile[a];
    if (t->pos[a] < t->hi[a]) return true;
    t->pos[a] = t->lo[a];
  }
  return false;
}

static void run_tiles(state *t) {
  const kd__tile_program *p = t->w->p;
  uint32_t multi = 0;
  for (uint32_t a = 0; a < p->rank; a++)
    if (p->tiles[a] > 1) multi |= 1u << a;
  do {
    for (const kd__tile_list *l = p->walk; l < p->walk + p->walks; l++)
      do {
        if (multi) place(t);
        run_list(t, l);
      } while (advance(t, l->pieces));
  } while (advance(t, multi & p->outer));
}

static char *final_states(const state *t, const kd__tile_final *f, int64_t chunk) {
  return f->owned ? t->memory + f->at : t->w->chunks + (chunk * t->w->p->chunk_doubles + f->at) * 8;
}

static void begin_chunk(state *t, int64_t chunk) {
  const kd__tile_program *p = t->w->p;
  int64_t left = chunk;
  for (int a = (int)p->rank - 1; a >= 0; a--) {
    int64_t g = left % p->grid[a], step = p->run[a] * p->tile[a];
    left /= p->grid[a];
    t->lo[a] = t->pos[a] = g * step;
    t->hi[a] = kd__min(p->size[a], t->lo[a] + step);
  }
  for (uint32_t i = 0; i < p->nslot; i++) {
    const kd__tile_slot *s = &p->slot[i];
    const kd_call *c = t->w->c;
    if (s->operand >= 0) t->base[i] = s->operand < (int32_t)c->nin ? c->in[s->operand].data : c->out[s->operand - (int32_t)c->nin].data;
    else if (s->operand == -1) t->base[i] = t->memory + s->base;
    else if (s->operand == -2) t->base[i] = (char *)(uintptr_t)p->pool;
    else {
      const kd__tile_final *f = &p->final[s->base];
      t->base[i] = final_states(t, f, chunk);
      clear_states(f->op, f->dtype, (void *)t->base[i], f->count);
      for (uint32_t a = 0; a < p->rank; a++) t->base[i] -= t->lo[a] * s->stride[a];
    }
    t->at[i] = t->base[i];
  }
  place(t);
}

/* --- reductions over outer axes ------------------------------------------------------------------------------------------------------------ */
/* Calls `fn` for each row of the box lo..hi-1 over `axes`: `i` numbers its first element in the box, `j` in the whole; n elements lie side by side. */
typedef void (*row_fn)(void *ctx, const int64_t *pos, int64_t i, int64_t j, int64_t n);
static void each_row(const kd__tile_program *p, uint32_t axes, const int64_t *lo, const int64_t *hi, const int64_t *box, row_fn fn, void *ctx) {
  int64_t pos[KD_GROUP_AXES], n = 1;
  int last = -1;
  for (int a = (int)p->rank - 1; a >= 0; a--) {
    pos[a] = axes >> a & 1 ? lo[a] : 0;
    if ((axes >> a & 1) && last < 0) last = a, n = hi[a] - lo[a];
  }
  for (bool more = true; more;) {
    int64_t i = 0, j = 0;
    for (uint32_t a = 0; a < p->rank; a++)
      if (axes >> a & 1) i = i * box[a] + (pos[a] - lo[a]), j = j * p->size[a] + pos[a];
    fn(ctx, pos, i, j, n);
    more = false;
    for (int a = last - 1; a >= 0 && !more; a--) {
      if (!(axes >> a & 1)) continue;
      if (++pos[a] < hi[a]) more = true;
      else pos[a] = lo[a];
    }
  }
}

typedef struct ending { const work *w; const kd__tile_final *f; const double *from; double *all; } ending;

static void store_row(void *ctx, const int64_t *pos, int64_t i, int64_t j, int64_t n) {
  const ending *e = ctx;
  const kd__tile_final *f = e->f;
  int64_t count = e->all ? f->total : f->count;
  int last = -1;
  (void)j;
  for (uint32_t a = 0; a < e->w->p->rank; a++)
    if (f->axes >> a & 1) last = (int)a;
  for (const kd__tile_result *r = f->result; r < f->result + f->nresult; r++) {
    const int64_t *stride = r->stride;
    char *to = e->w->c->out[r->out].data;
    int64_t size = (int64_t)kd__dtype_size(f->dtype), at = 0;
    for (uint32_t a = 0; a < e->w->p->rank; a++)
      if (f->axes >> a & 1) at += pos[a] * stride[a];
    if (f->dtype == KD_F32 && f->op == KD_OP_SUM && last >= 0 && stride[last] == 1) { kd__round_doubles(n, (void *)(to + at * size), e->from + i); continue; }
    for (int64_t k = 0; k < n; k++)
      finish_state(f->reducer, f->op, f->dtype, e->from, count, i + k, r->second, to + (at + (last < 0 ? 0 : k * stride[last])) * size);
  }
}

static void add_row(void *ctx, const int64_t *pos, int64_t i, int64_t j, int64_t n) {
  const ending *e = ctx;
  const kd__tile_final *f = e->f;
  const double *c = e->from + i;
  double *a = e->all + j;
  (void)pos;
  if (f->op == KD_OP_MOMENTS) {
    for (int64_t k = 0; k < n; k++) {
      double na = a[2 * f->total + k], nb = c[2 * f->count + k], d = c[k] - a[k];
      if (nb == 0) continue;
      a[k] += d * (nb / (na + nb));
      a[f->total + k] += c[f->count + k] + d * d * (na * nb / (na + nb));
      a[2 * f->total + k] = na + nb;
    }
  } else if (f->dtype == KD_I64 || f->dtype == KD_BOOL) {
    for (int64_t k = 0; k < n; k++) {
      int64_t u, v;
      memcpy(&u, &a[k], 8), memcpy(&v, &c[k], 8);
      u = f->op == KD_OP_SUM ? (int64_t)((uint64_t)u + (uint64_t)v) : f->op == KD_OP_REDUCE_MAX || f->op == KD_OP_ANY ? kd__max(u, v) : kd__min(u, v);
      memcpy(&a[k], &u, 8);
    }
  } else {
    for (int64_t k = 0; k < n; k++) a[k] = f->op == KD_OP_SUM ? a[k] + c[k] : f->op == KD_OP_REDUCE_MAX ? kd__maxd(c[k], a[k]) : kd__mind(c[k], a[k]);
  }
}

static void box_of(const kd__tile_program *p, int64_t *box) {
  for (uint32_t a = 0; a < p->rank; a++) box[a] = p->outer >> a & 1 ? kd__min(p->run[a] * p->tile[a], p->size[a]) : p->size[a];
}

static void end_chunk(const state *t) {
  const kd__tile_program *p = t->w->p;
  int64_t box[KD_GROUP_AXES];
  box_of(p, box);
  for (uint32_t i = 0; i < p->nfinal; i++) {
    const kd__tile_final *f = &p->final[i];
    if (!f->owned) continue;
    ending e = { t->w, f, (const void *)(t->memory + f->at), NULL };
    each_row(p, f->axes, t->lo, t->hi, box, store_row, &e);
  }
}

static void end_group(const work *w) {
  const kd__tile_program *p = w->p;
  int64_t box[KD_GROUP_AXES], lo[KD_GROUP_AXES], hi[KD_GROUP_AXES], zero[KD_GROUP_AXES] = { 0 };
  double *all = (void *)(w->chunks + p->chunks * p->chunk_doubles * 8);
  box_of(p, box);
  for (uint32_t i = 0; i < p->nfinal; i++) {
    const kd__tile_final *f = &p->final[i];
    if (f->owned) continue;
    double *sums = all + f->all;
    clear_states(f->op, f->dtype, sums, f->total);
    for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
      int64_t left = chunk;
      for (int a = (int)p->rank - 1; a >= 0; a--) {
        lo[a] = left % p->grid[a] * p->run[a] * p->tile[a];
        hi[a] = kd__min(p->size[a], lo[a] + p->run[a] * p->tile[a]);
        left /= p->grid[a];
      }
      ending e = { w, f, (const double *)(const void *)w->chunks + chunk * p->chunk_doubles + f->at, sums };
      each_row(p, f->axes, lo, hi, box, add_row, &e);
    }
    ending e = { w, f, sums, sums };
    each_row(p, f->axes, zero, p->size, p->size, store_row, &e);
  }
}

/* --- the kernel ---------------------------------------------------------------------------------------------------------------------------- */
static void run_chunks(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd__tile_program *p = w->p;
  state t = { .w = w };
  (void)chunk;
  t.memory = w->threads + (w->x->threads > 1 ? kd__par_thread() : 0) * (int64_t)p->memory;
  t.base = (void *)(t.memory + p->memory - (size_t)((p->nslot * 2 * sizeof(char *) + 63) / 64 * 64));
  t.at = t.base + p->nslot;
  for (int64_t i = begin; i < end; i++) {
    begin_chunk(&t, i);
    uint32_t variant = t.variant;
    t.variant = 0;
    if (p->prologue.n) run_list(&t, &p->prologue);
    t.variant = variant;
    run_tiles(&t);
    if (p->nfinal) end_chunk(&t);
  }
}

bool kd__group_takes(const kd_call *c, const kd_kernel_settings *s) {
  uint16_t phase[KD_GROUP_MAX_INS];
  (void)s;
  return c->group && kd__group_phases(c->group, phase) < KD__TILE_PHASES;
}

kd_status kd__group_prepare(kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  kd__tile_program *p = NULL;
  kd_status st = kd__tile_compile(c->group, &p);
  c->prepared = p;
  return st;
}

size_t kd__group_scratch(const kd_call *c, const kd_kernel_settings *s) {
  const kd__tile_program *p = c->prepared;
  if (!p) return 0;
  size_t threads = (size_t)kd__max(1, s->threads);
  return threads * p->memory + (size_t)(p->chunks * p->chunk_doubles + p->all_doubles) * 8;
}

void kd__group_run(const kd_call *c, const kd_exec *x) {
  const kd__tile_program *p = c->prepared;
  work w = { c, x, p, x->scratch, (char *)x->scratch + (size_t)kd__max(1, x->threads) * p->memory };
  if (p->chunks == 1) run_chunks(&w, 0, 1, 0);
  else kd__par_for(x, p->chunks, p->chunks, 1, run_chunks, &w);
  if (p->all_doubles) end_group(&w);
}
