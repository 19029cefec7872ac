/* move.c: gradient rules of shape changes, gathers and sorts. */
#include "compiler/autodiff/rule.h"
#include <string.h>

static const int64_t ones[KD_MAX_RANK] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

static kd_value unpermute(kd__rule *r, kd_value v, const int64_t *perm) {
  int64_t inverse[KD_MAX_RANK];
  int rank = type_at(r, v).rank;
  for (int i = 0; i < rank; i++) inverse[perm[i]] = i;
  return kd__b_permute(&r->b, v, inverse);
}

void kd__grad_reshape(kd__rule *r) {
  kd_type t = type_at(r, arg(r, 0));
  r->d[0] = kd__b_reshape(&r->b, r->g[0], t.dim, t.rank);
}

void kd__grad_permute(kd__rule *r) { r->d[0] = unpermute(r, r->g[0], r->n.attr[0].u.list); }

void kd__grad_broadcast(kd__rule *r) {
  kd_type t = type_at(r, r->n.out);
  const kd_attr *kept = &r->n.attr[1];
  int64_t axes[KD_MAX_RANK];
  int n = 0;
  for (int i = 0; i < t.rank; i++) {
    bool is_new = true;
    for (uint32_t j = 0; j < kept->n; j++) is_new &= kept->u.list[j] != i;
    if (is_new) axes[n++] = i;
  }
  r->d[0] = n ? kd__b_reduce(&r->b, KD_OP_SUM, r->g[0], axes, n) : r->g[0];
}

/* v with its elements reversed along the axis. */
static kd_value reversed(kd__rule *r, kd_value v, int axis) {
  kd_type t = type_at(r, v);
  int64_t start[KD_MAX_RANK] = { 0 }, step[KD_MAX_RANK];
  memcpy(step, ones, sizeof step);
  start[axis] = t.dim[axis] - 1;
  step[axis] = -1;
  return kd__b_slice(&r->b, v, start, t.dim, step);
}

/* v with step-1 zeros after each element along the axis. In three dimensions, so that it fits any rank. */
static kd_value dilated(kd__rule *r, kd_value v, int axis, int64_t step) {
  kd_type t = type_at(r, v);
  int64_t dim[3] = { 1, 1, 1 }, none[3] = { 0 }, high[3] = { 0, step - 1, 0 };
  for (int i = 0; i < t.rank; i++) dim[i <= axis ? 0 : 2] *= t.dim[i];
  kd_value padded = kd__b_pad(&r->b, kd__b_reshape(&r->b, v, dim, 3), none, high, 0);
  t.dim[axis] *= step;
  return kd__b_reshape(&r->b, padded, t.dim, t.rank);
}

/* Puts the elements back where they were taken from, zeros between and around. */
void kd__grad_slice(kd__rule *r) {
  kd_type x = type_at(r, arg(r, 0)), cut;
  int64_t low[KD_MAX_RANK] = { 0 }, high[KD_MAX_RANK] = { 0 }, zero[KD_MAX_RANK] = { 0 };
  kd_value v = r->g[0];
  for (int i = 0; i < x.rank; i++) {
    int64_t start = r->n.attr[0].u.list[i], n = r->n.attr[1].u.list[i], step = n > 1 ? r->n.attr[2].u.list[i] : 1;
    if (step < 0) {
      v = reversed(r, v, i);
      start += (n - 1) * step;
      step = -step;
    }
    if (step > 1) v = dilated(r, v, i, step);
    low[i] = n ? start : 0;
    high[i] = x.dim[i] - low[i] - n * step;        /* below 0 when the last gap sticks out */
  }
  cut = type_at(r, v);
  for (int i = 0; i < x.rank; i++)
    if (high[i] < 0) {
      cut.dim[i] += high[i];
      high[i] = 0;
    }
  if (!kd__same_shape(&cut, kd__type_of(r->b.g, v))) v = kd__b_slice(&r->b, v, zero, cut.dim, ones);
  r->d[0] = kd__same_shape(&cut, &x) ? v : kd__b_pad(&r->b, v, low, high, 0);
}

void kd__grad_concat(kd__rule *r) {
  int64_t axis = r->n.attr[0].u.i, start[KD_MAX_RANK] = { 0 };
  for (uint32_t i = 0; i < r->n.nin; i++) {
    kd_type t = type_at(r, arg(r, (int)i));
    if (r->need[i]) r->d[i] = kd__b_slice(&r->b, r->g[0], start, t.dim, ones);
    start[axis] += t.dim[axis];
  }
}

void kd__grad_pad(kd__rule *r) {
  kd_type t = type_at(r, arg(r, 0));
  r->d[0] = kd__b_slice(&r->b, r->g[0], r->n.attr[0].u.list, t.dim, ones);
}

void kd__grad_gather(kd__rule *r) {
  if (r->need[0])
    r->d[0] = kd__b_scatter(&r->b, KD_OP_SCATTER_ADD, fill(r, 0, arg(r, 0)), arg(r, 1), r->g[0], (int)r->n.attr[0].u.i, 0);
}

/* --- scatters: operands base [*b,N,*r], index [*b,*i], v [*b,*i,*r] ---------------------------------------------------- */

/* c [*b,*i] over the elements of v. */
static kd_value over_rows(kd__rule *r, kd_value c) {
  kd_type t = type_at(r, arg(r, 2));
  int64_t axes[KD_MAX_RANK];
  for (int i = 0; i < KD_MAX_RANK; i++) axes[i] = i;
  return kd__b_broadcast(&r->b, c, t.dim, t.rank, axes);
}

/* The index with 0 in place of the skipped -1: gather has no skipping. */
static kd_value safe_index(kd__rule *r) {
  kd_value index = arg(r, 1);
  return r->n.attr[1].u.i ? op2(r, KD_OP_MAX, index, fill(r, 0, index)) : index;
}

void kd__grad_scatter_add(kd__rule *r) {
  kd_value index = arg(r, 1);
  r->d[0] = r->g[0];
  if (!r->need[2]) return;
  r->d[2] = kd__b_gather(&r->b, r->g[0], safe_index(r), (int)r->n.attr[0].u.i);
  if (r->n.attr[1].u.i) r->d[2] = keep(r, over_rows(r, op2(r, KD_OP_LE, fill(r, 0, index), index)), r->d[2]);
}

/* [*b,*i] of the same counting numbers in every batch: which element of the index it is. */
static kd_value numbering(kd__rule *r, int batch) {
  kd_type t = type_at(r, arg(r, 1));
  int64_t n = 1, axes[KD_MAX_RANK];
  for (int i = batch; i < t.rank; i++) {
    n *= t.dim[i];
    axes[i - batch] = i;
  }
  kd_value flat = kd__b_iota(&r->b, KD_I64, &n, 1, 0);
  kd_value shaped = kd__b_reshape(&r->b, flat, t.dim + batch, t.rank - batch);
  return batch ? kd__b_broadcast(&r->b, shaped, t.dim, t.rank, axes) : shaped;
}

/* Each element of the index writes its number where it points; who reads its own number back has won. A skipped one never does. */
static kd_value winners(kd__rule *r, int batch) {
  kd_type t = type_at(r, arg(r, 0));
  kd_value number = numbering(r, batch), nobody = kd__b_const(&r->b, -1, KD_I64, t.dim, batch + 1);
  kd_value map = kd__b_scatter(&r->b, KD_OP_SCATTER_SET, nobody, arg(r, 1), number, batch, (int)r->n.attr[1].u.i);
  return op2(r, KD_OP_EQ, number, kd__b_gather(&r->b, map, safe_index(r), batch));
}

void kd__grad_scatter_set(kd__rule *r) {
  int batch = (int)r->n.attr[0].u.i, skip = (int)r->n.attr[1].u.i;
  if (r->need[0]) r->d[0] = kd__b_scatter(&r->b, KD_OP_SCATTER_SET, r->g[0], arg(r, 1), fill(r, 0, arg(r, 2)), batch, skip);
  if (!r->need[2]) return;
  kd_value won = over_rows(r, winners(r, batch));
  r->d[2] = keep(r, won, kd__b_gather(&r->b, r->g[0], safe_index(r), batch));
}

/* Also of top_k: adds each result's gradient at the position it came from, with the axis moved to the end. */
void kd__grad_sort(kd__rule *r) {
  kd_value x = arg(r, 0);
  int64_t axis = r->n.attr[0].u.i, perm[KD_MAX_RANK];
  int rank = type_at(r, x).rank;
  for (int i = 0, n = 0; i < rank; i++)
    if (i != axis) perm[n++] = i;
  perm[rank - 1] = axis;
  kd_value base = kd__b_permute(&r->b, fill(r, 0, x), perm), at = kd__b_permute(&r->b, r->n.out + 1, perm);
  kd_value sum = kd__b_scatter(&r->b, KD_OP_SCATTER_ADD, base, at, kd__b_permute(&r->b, r->g[0], perm), rank - 1, 0);
  r->d[0] = unpermute(r, sum, perm);
}
