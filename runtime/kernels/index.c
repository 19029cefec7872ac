/* index.c: gather, scatter_add and scatter_set: table [*b,N,*r], index [*b,*i], value [*b,*i,*r].
 *
 * One loop nest over all elements of the values: the index has stride 0 along *r, the table along *i (there the index says where). It is sorted
 * by the values' strides, but for a scatter the axes *i stay in their order: sums come in index order, and the last of equal indices wins.
 * The team shares one dimension: of a scatter one along which the places differ whatever the indices are, so the bits never depend on it. */
#include "runtime/kernels/move.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"

enum { VALUE, INDEX, TABLE, NUMBER, TENSORS };   /* number: which element of the index it is, in row-major order: what a fault names */
typedef struct work {
  kd__nest s;
  const kd_exec *x;
  kd_op op;
  kd_dtype dtype;
  size_t size;
  bool skip;
  char *value, *table;
  const int64_t *index;
  int64_t limit, step;                           /* positions in the table, and elements from one to the next */
  int split;
} work;

bool kd__index_takes(const kd_call *c, const kd_kernel_settings *s) {
  kd_dtype t = (kd_dtype)c->in[0].dtype;
  (void)s;
  return c->op != KD_OP_SCATTER_ADD || t == KD_F32 || t == KD_F64 || t == KD_I64;
}

/* --- one row of the nest ----------------------------------------------------------------------------------------------------------------- */
/* to[i * st] = from[i * sf] */
#define COPY(T) \
  do { \
    T *o = (T *)to; \
    const T *p = (const T *)from; \
    for (int64_t i = 0; i < n; i++) o[i * st] = p[i * sf]; \
  } while (0)
static void copy_row(char *to, const char *from, size_t size, int64_t n, int64_t st, int64_t sf) {
  if (st == 1 && sf == 1) memcpy(to, from, (size_t)n * size);
  else if (size == 4) COPY(uint32_t);
  else if (size == 8) COPY(uint64_t);
  else COPY(uint8_t);
}
/* With stride 0 all elements are added to one place, in their order. */
#define ADD(T) \
  do { \
    T *o = (T *)to; \
    const T *p = (const T *)from; \
    if (st == 1 && sf == 1) KD_IVDEP for (int64_t i = 0; i < n; i++) o[i] += p[i]; \
    else for (int64_t i = 0; i < n; i++) o[i * st] += p[i * sf]; \
  } while (0)
KD_CLONES static void add_row(char *to, const char *from, kd_dtype t, int64_t n, int64_t st, int64_t sf) {
  if (t == KD_F32) ADD(float);
  else if (t == KD_F64) ADD(double);
  else ADD(uint64_t);
}
static void zero_row(char *to, size_t size, int64_t n, int64_t st) {
  for (int64_t i = 0; i < n; i++) memset(to + i * st * (int64_t)size, 0, size);
}

/* The index is the same all along the row. */
static void run_fixed(const work *w, const int64_t *off) {
  const kd__nest *s = &w->s;
  int64_t z = (int64_t)w->size, p = w->index[off[INDEX]], n = s->dim[0], sv = s->stride[VALUE][0], st = s->stride[TABLE][0];
  bool inside = (uint64_t)p < (uint64_t)w->limit;
  char *value = w->value + off[VALUE] * z, *table = w->table + (off[TABLE] + (inside ? p : 0) * w->step) * z;
  if (!inside) {
    if (w->op == KD_OP_GATHER) zero_row(value, w->size, n, sv);
    if (!(w->skip && p == -1)) kd__fault(w->x, w->op, p, w->limit, off[NUMBER]);
  } else if (w->op == KD_OP_GATHER) {
    copy_row(value, table, w->size, n, sv, st);
  } else if (w->op == KD_OP_SCATTER_SET) {
    copy_row(table, value, w->size, n, st, sv);
  } else {
    add_row(table, value, w->dtype, n, st, sv);
  }
}

/* Each element has its own index. */
#define EACH(T, RIGHT, WRONG) \
  do { \
    T *value = (T *)w->value + off[VALUE], *table = (T *)w->table + off[TABLE]; \
    for (int64_t i = 0; i < n; i++) { \
      int64_t p = index[i * si]; \
      T *v = &value[i * sv]; \
      if ((uint64_t)p < limit) { T *t = &table[i * st + p * step]; RIGHT; } \
      else { \
        WRONG; \
        if (!(w->skip && p == -1)) kd__fault(w->x, w->op, p, w->limit, off[NUMBER] + i * s->stride[NUMBER][0]); \
      } \
    } \
  } while (0)
static void run_each(const work *w, const int64_t *off) {
  const kd__nest *s = &w->s;
  const int64_t *index = w->index + off[INDEX];
  uint64_t limit = (uint64_t)w->limit;
  int64_t n = s->dim[0], sv = s->stride[VALUE][0], si = s->stride[INDEX][0], st = s->stride[TABLE][0], step = w->step;
  if (w->op == KD_OP_SCATTER_ADD) {
    if (w->dtype == KD_F32) EACH(float, *t += *v, (void)v);
    else if (w->dtype == KD_F64) EACH(double, *t += *v, (void)v);
    else EACH(uint64_t, *t += *v, (void)v);
  } else if (w->op == KD_OP_SCATTER_SET) {
    if (w->size == 4) EACH(uint32_t, *t = *v, (void)v);
    else if (w->size == 8) EACH(uint64_t, *t = *v, (void)v);
    else EACH(uint8_t, *t = *v, (void)v);
  } else {
    if (w->size == 4) EACH(uint32_t, *v = *t, *v = 0);
    else if (w->size == 8) EACH(uint64_t, *v = *t, *v = 0);
    else EACH(uint8_t, *v = *t, *v = 0);
  }
}

/* --- the nest ------------------------------------------------------------------------------------------------------------------------------ */
/* `value` has the full shape; the table's data and the value's may be written. */
static void describe(work *w, const kd_call *c, const kd_tensor *table, const kd_tensor *value) {
  const kd_tensor *index = &c->in[1];
  int b = (int)c->attr[0].u.i, ni = index->rank - b;
  int64_t by[TENSORS][KD_MAX_RANK] = { { 0 } }, number = 1;
  uint32_t keep = 0;
  *w = (work){ .op = c->op, .dtype = (kd_dtype)table->dtype, .size = kd__dtype_size((kd_dtype)table->dtype), .limit = table->dim[b], .step = table->stride[b],
               .value = value->data, .table = table->data, .index = index->data, .skip = c->op != KD_OP_GATHER && c->attr[1].u.i != 0 };
  for (int d = value->rank - 1; d >= 0; d--) {
    bool inside = d < index->rank;
    by[VALUE][d] = value->stride[d];
    if (inside) by[INDEX][d] = index->stride[d], by[NUMBER][d] = number, number *= index->dim[d];
    if (d < b) by[TABLE][d] = table->stride[d];
    else if (inside) keep |= 1u << d;
    else by[TABLE][d] = table->stride[d - ni + 1];
  }
  const int64_t *stride[TENSORS] = { by[VALUE], by[INDEX], by[TABLE], by[NUMBER] };
  kd__nest_make_ordered(&w->s, TENSORS, value->rank, value->dim, stride, c->op == KD_OP_GATHER ? 0 : keep);
}

/* The outermost dimension that is long enough to share, else the longest; -1: none. */
static int choose_split(const work *w, int team) {
  int best = -1;
  for (int d = w->s.rank - 1; d >= 0; d--) {
    if (w->op != KD_OP_GATHER && w->s.stride[TABLE][d] == 0) continue;
    if (w->s.dim[d] >= 4 * team) return d;
    if (best < 0 || w->s.dim[d] > w->s.dim[best]) best = d;
  }
  return best;
}

static void run_range(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  work w = *(const work *)ctx;
  kd__nest *s = &w.s;
  int64_t pos[KD_MAX_RANK] = { 0 }, off[TENSORS], rows = 1;
  (void)chunk;
  for (int t = 0; t < TENSORS; t++) off[t] = s->offset[t] + (w.split < 0 ? 0 : begin * s->stride[t][w.split]);
  if (w.split >= 0) s->dim[w.split] = end - begin;
  for (int d = 1; d < s->rank; d++) rows *= s->dim[d];
  if (s->rank == 0) s->dim[0] = 1, s->stride[VALUE][0] = s->stride[INDEX][0] = s->stride[TABLE][0] = 0;
  for (int64_t r = 0; r < rows; r++, kd__nest_next(s, 1, pos, off)) {
    if (s->stride[INDEX][0] == 0) run_fixed(&w, off);
    else run_each(&w, off);
  }
}

static void run(work *w, const kd_exec *x) {
  if (w->s.count == 0) return;
  int team = (int)kd__par_chunks(x, w->s.count);
  w->x = x, w->split = team > 1 ? choose_split(w, team) : -1;
  int64_t n = w->split < 0 ? 1 : w->s.dim[w->split], align = w->split == 0 && n >= 64 ? 16 : 1;
  kd__par_for(x, n, team, align, run_range, w);
}

void kd__gather_run(const kd_call *c, const kd_exec *x) {
  work w;
  describe(&w, c, &c->in[0], &c->out[0]);
  run(&w, x);
}

void kd__scatter_run(const kd_call *c, const kd_exec *x) {
  work w;
  if (c->out[0].data != c->in[0].data) kd__copy_strided(&c->in[0], &c->out[0], x);
  describe(&w, c, &c->out[0], &c->in[2]);
  run(&w, x);
}
