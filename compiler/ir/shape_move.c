/* shape_move.c: shape rules of views, data movement, and sorting. */
#include "compiler/ir/shape.h"

bool kd__shape_reshape(const kd__shape_call *c) {
  if (!kd__shape_sizes(c, "shape", (kd_dtype)c->in[0]->dtype, c->out)) return false;
  int64_t a = kd__type_count(c->in[0]), b = kd__type_count(c->out);
  if (a == b) return true;
  if (b < 0) return kd__no_memory(c);
  return kd__no(c, "%lld elements do not make a shape of %lld", (long long)a, (long long)b);
}

bool kd__shape_permute(const kd__shape_call *c) {
  const kd_type *x = c->in[0];
  const int64_t *perm;
  uint32_t seen;
  if (!kd__need_list(c, "perm", x->rank, 0, &perm) || !kd__need_axes(c, "perm", x->rank, &seen)) return false;
  *c->out = (kd_type){ .dtype = x->dtype, .rank = x->rank };
  for (int i = 0; i < x->rank; i++) c->out->dim[i] = x->dim[perm[i]];
  return true;
}

bool kd__shape_broadcast(const kd__shape_call *c) {
  const kd_type *x = c->in[0];
  const int64_t *axes;
  uint32_t seen;
  if (!kd__shape_sizes(c, "shape", (kd_dtype)x->dtype, c->out)) return false;
  if (!kd__need_list(c, "axes", x->rank, 0, &axes) || !kd__need_axes(c, "axes", c->out->rank, &seen)) return false;
  for (int j = 0; j < x->rank; j++) {
    if (j && axes[j] < axes[j - 1]) return kd__no(c, "axes must increase: %lld after %lld", (long long)axes[j], (long long)axes[j - 1]);
    if (c->out->dim[axes[j]] != x->dim[j])
      return kd__no(c, "axis %d has size %lld, and axis %lld of the result %lld: sizes do not stretch", j, (long long)x->dim[j], (long long)axes[j],
                    (long long)c->out->dim[axes[j]]);
  }
  return true;
}

bool kd__shape_slice(const kd__shape_call *c) {
  const kd_type *x = c->in[0];
  const int64_t *start, *size, *step;
  if (!kd__need_list(c, "start", x->rank, 0, &start) || !kd__need_list(c, "size", x->rank, 0, &size)) return false;
  if (!kd__need_list(c, "step", x->rank, INT64_MIN, &step)) return false;
  *c->out = (kd_type){ .dtype = x->dtype, .rank = x->rank };
  for (int d = 0; d < x->rank; d++) {
    int64_t last = start[d], n = x->dim[d];
    if (step[d] == 0) return kd__no(c, "step is 0 on axis %d", d);
    bool far = size[d] > 1 && (__builtin_mul_overflow(size[d] - 1, step[d], &last) || __builtin_add_overflow(last, start[d], &last));
    if (far || start[d] > n || (size[d] > 0 && (start[d] >= n || last < 0 || last >= n)))
      return kd__no(c, "the slice leaves axis %d of size %lld: start %lld, size %lld, step %lld", d, (long long)n, (long long)start[d], (long long)size[d],
                    (long long)step[d]);
    c->out->dim[d] = size[d];
  }
  return true;
}

bool kd__shape_concat(const kd__shape_call *c) {
  int64_t axis;
  if (!kd__need_one_dtype(c, 0) || !kd__need_axis(c, "axis", c->in[0]->rank, &axis)) return false;
  *c->out = *c->in[0];
  for (uint32_t i = 1; i < c->nin; i++) {
    const kd_type *a = c->in[0], *b = c->in[i];
    if (a->rank != b->rank) return kd__no(c, "ranks differ: %d in operand 1, %d in operand %u", a->rank, b->rank, i + 1);
    for (int d = 0; d < a->rank; d++)
      if (d != axis && a->dim[d] != b->dim[d])
        return kd__no(c, "sizes of axis %d differ: %lld in operand 1, %lld in operand %u", d, (long long)a->dim[d], (long long)b->dim[d], i + 1);
    if (__builtin_add_overflow(c->out->dim[axis], b->dim[axis], &c->out->dim[axis])) return kd__no_memory(c);
  }
  return true;
}

bool kd__shape_pad(const kd__shape_call *c) {
  const kd_type *x = c->in[0];
  const int64_t *low, *high;
  if (!kd__need_list(c, "low", x->rank, 0, &low) || !kd__need_list(c, "high", x->rank, 0, &high)) return false;
  if (!kd__need_value(c, kd__shape_attr(c, "value")->u.f, (kd_dtype)x->dtype)) return false;
  *c->out = *x;
  for (int d = 0; d < x->rank; d++)
    if (__builtin_add_overflow(x->dim[d], low[d], &c->out->dim[d]) || __builtin_add_overflow(c->out->dim[d], high[d], &c->out->dim[d]))
      return kd__no_memory(c);
  return true;
}

/* --- by index ------------------------------------------------------------------------------------------------------ */

/* x [*b,N,*r] and index [*b,*i]: checks both, and gives the type [*b,*i,*r] of what is taken or put. */
static bool indexed(const kd__shape_call *c, kd_type *taken) {
  const kd_type *x = c->in[0], *index = c->in[1];
  int64_t batch = kd__shape_int(c, "batch");
  if (!kd__need_dtype(c, 1, KD__SET(KD_I64))) return false;
  if (batch < 0 || batch > index->rank || batch >= x->rank)
    return kd__no(c, "batch is %lld; the ranks are %d in operand 1, %d in operand 2", (long long)batch, x->rank, index->rank);
  for (int d = 0; d < batch; d++)
    if (x->dim[d] != index->dim[d])
      return kd__no(c, "sizes of axis %d differ: %lld in operand 1, %lld in operand 2", d, (long long)x->dim[d], (long long)index->dim[d]);
  int rest = x->rank - (int)batch - 1;
  if (index->rank + rest > KD_MAX_RANK) return kd__no(c, "the result would have rank %d; at most %d", index->rank + rest, KD_MAX_RANK);
  *taken = *index;
  taken->dtype = x->dtype;
  for (int d = 0; d < rest; d++) taken->dim[taken->rank++] = x->dim[batch + 1 + d];
  return true;
}

bool kd__shape_gather(const kd__shape_call *c) { return indexed(c, c->out); }

bool kd__shape_scatter(const kd__shape_call *c) {
  kd_type want = { 0 };
  const kd_type *v = c->in[2];
  if (!kd__need_dtype(c, 0, c->op == KD_OP_SCATTER_ADD ? KD__ARITH : KD__EVERY) || !indexed(c, &want) || !kd__need_flag(c, "skip")) return false;
  if (v->dtype != want.dtype)
    return kd__no(c, "element types differ: %s in operand 1, %s in operand 3", kd__dtype_name((kd_dtype)want.dtype), kd__dtype_name((kd_dtype)v->dtype));
  if (v->rank != want.rank) return kd__no(c, "operand 3 has rank %d; base and index ask for %d", v->rank, want.rank);
  for (int d = 0; d < v->rank; d++)
    if (v->dim[d] != want.dim[d])
      return kd__no(c, "axis %d of operand 3 has size %lld; base and index ask for %lld", d, (long long)v->dim[d], (long long)want.dim[d]);
  *c->out = *c->in[0];
  return true;
}

/* --- products of gathered rows -------------------------------------------------------------------------------------------- */

bool kd__shape_index_order(const kd__shape_call *c) {
  int64_t rows = kd__shape_int(c, "rows"), part = kd__shape_int(c, "part"), blocks = kd__shape_int(c, "blocks");
  if (!kd__need_dtype(c, 0, KD__SET(KD_I64))) return false;
  if (c->in[0]->rank != 2) return kd__no(c, "operand 1, the index, has rank %d, not 2", c->in[0]->rank);
  if (rows < 1 || rows > INT32_MAX || c->in[0]->dim[1] > INT32_MAX) return kd__no(c, "%lld rows of %lld places: neither may leave 1..2^31-1", (long long)rows, (long long)c->in[0]->dim[1]);
  if (part < 1 || (part & (part - 1))) return kd__no(c, "part is %lld, no power of 2", (long long)part);
  int64_t b = c->in[0]->dim[0], k = c->in[0]->dim[1];
  if (blocks < 1 || blocks > b) return kd__no(c, "%lld blocks of %lld rows of the index", (long long)blocks, (long long)b);
  if (k > 0 && (b + blocks - 1) / blocks > INT32_MAX / k) return kd__no(c, "a block of the index has more than 2^31-1 places");
  c->out[0] = *c->in[0];
  c->out[1] = (kd_type){ .dtype = KD_I64, .rank = 2, .dim = { blocks, (rows - 1) / part + 2 } };
  return true;
}

/* Vectors or weights, a table, entries and bounds of an order. */
static bool picked(const kd__shape_call *c) {
  if (!kd__need_dtype(c, 0, KD__REAL) || !kd__need_dtype(c, 1, KD__REAL) || !kd__need_dtype(c, 2, KD__SET(KD_I64)) || !kd__need_dtype(c, 3, KD__SET(KD_I64))) return false;
  if (c->in[0]->dtype != c->in[1]->dtype) return kd__no(c, "operands 1 and 2 have different element types");
  for (uint32_t i = 0; i < 4; i++)
    if (c->in[i]->rank != 2) return kd__no(c, "operand %u has rank %d, not 2", i + 1, c->in[i]->rank);
  const kd_type *v = c->in[0], *entry = c->in[2], *bound = c->in[3];
  int64_t want = c->op == KD_OP_GATHER_DOT ? c->in[1]->dim[1] : entry->dim[1];
  if (bound->dim[0] < 1 || bound->dim[0] > entry->dim[0] || bound->dim[1] < 2) return kd__no(c, "operand 4 is not where the parts of operand 3 begin");
  if (v->dim[0] != entry->dim[0] || v->dim[1] != want)
    return kd__no(c, "operand 1 is [%lld,%lld]; table and index ask for [%lld,%lld]", (long long)v->dim[0], (long long)v->dim[1], (long long)entry->dim[0], (long long)want);
  *c->out = *v;
  c->out->dim[1] = c->op == KD_OP_GATHER_DOT ? entry->dim[1] : c->in[1]->dim[1];
  return true;
}
bool kd__shape_gather_dot(const kd__shape_call *c) { return picked(c); }
bool kd__shape_gather_sum(const kd__shape_call *c) { return picked(c); }

/* --- order ------------------------------------------------------------------------------------------------------ */

bool kd__shape_sort(const kd__shape_call *c) {
  int64_t axis;
  if (!kd__need_dtype(c, 0, KD__ORDERED) || !kd__need_axis(c, "axis", c->in[0]->rank, &axis) || !kd__need_flag(c, "descending")) return false;
  c->out[0] = c->out[1] = *c->in[0];
  c->out[1].dtype = KD_I64;
  return true;
}

bool kd__shape_top_k(const kd__shape_call *c) {
  int64_t axis, k = kd__shape_int(c, "k");
  if (!kd__need_dtype(c, 0, KD__ORDERED) || !kd__need_axis(c, "axis", c->in[0]->rank, &axis)) return false;
  if (k < 0 || k > c->in[0]->dim[axis]) return kd__no(c, "k is %lld; axis %lld has size %lld", (long long)k, (long long)axis, (long long)c->in[0]->dim[axis]);
  c->out[0] = *c->in[0];
  c->out[0].dim[axis] = k;
  c->out[1] = c->out[0];
  c->out[1].dtype = KD_I64;
  return true;
}
