/* builtin_valid.c: built-in functions about which places of axes are valid, and what moving along an axis does to its mask (valid.c). */
#include "compiler/elaborate/builtin.h"
#include <math.h>

static bool some_axes(elab *e, scope *s, const arg *over, const tensor *x, int64_t *axes, int *n, const char *what) {
  if (over) return kd__over(e, s, over->ast, x, axes, n, what);
  for (*n = 0; *n < x->rank; (*n)++) axes[*n] = *n;
  return true;
}

/* How many elements a reduction runs over: a number where all are valid. */
val *bi_count(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK], all = 1;
  int k;
  if (!x || !some_axes(e, s, p[1], x, axes, &k, b->name)) return &kd__poison;
  const tensor *m = kd__valid_of(e, x, axes, k, call);
  if (m) return kd__v_tensor(e, kd__valid_count(e, x, m, axes, k, call));
  for (int i = 0; i < k; i++) all *= x->ax[axes[i]].size;
  return kd__v_int(e, all);
}

val *bi_valid(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int64_t axes[KD_MAX_RANK];
  int k, r = 0;
  if (!x || !some_axes(e, s, p[1], x, axes, &k, b->name)) return &kd__poison;
  const tensor *m = kd__valid_of(e, x, axes, k, call);
  if (m) return kd__v_tensor(e, m);
  axis ax[KD_MAX_RANK];
  for (int i = 0; i < k; i++) { ax[r] = x->ax[axes[i]]; ax[r++].mask = NULL; }
  return kd__v_tensor(e, kd__t_const(e, 1, KD_BOOL, ax, r, call));
}

/* x with a value at its invalid places, which then all count. */
val *bi_filled(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  double value = 0;
  if (!x || (p[1] && !kd__want_real(e, p[1]->v, p[1]->ast, "`value`", &value))) return &kd__poison;
  tensor *y = kd__arena_copy(e->a, kd__valid_or(e, x, kd__valid_all(e, x, call), value, call), sizeof *y);
  for (int i = 0; i < y->rank; i++) y->ax[i].mask = NULL;
  return kd__v_tensor(e, y);
}

/* Whether a place of `ax` is among the first `length`: over the axes of length and this one. */
static tensor *first_places(elab *e, tensor *length, axis ax, const kd_ast *at) {
  axis out[KD_MAX_RANK];
  for (int i = 0; i < length->rank; i++) out[i] = length->ax[i];
  ax.mask = NULL;
  out[length->rank] = ax;
  kd_build b = kd__b(e, at);
  tensor *run = kd__t_wrap(e, kd__b_iota(&b, length->dtype, &ax.size, 1, 0), &ax, 1, at);
  kd_value in = kd__b_op2(&b, KD_OP_LT, kd__t_spread(e, run, out, length->rank + 1, at), kd__t_spread(e, length, out, length->rank + 1, at));
  return kd__t_wrap(e, in, out, length->rank + 1, at);
}

val *bi_prefix(B) {
  PICK(2);
  tensor *n_ = kd__want_tensor(e, p[0]->v, p[0]->ast);
  axis ax;
  if (!n_ || !kd__named_axis(e, s, p[1]->ast, &ax)) return &kd__poison;
  if (n_->dtype == KD_BOOL) { kd__err(e, KD_D_WANT_KIND, p[0]->ast->span, "`prefix`", "lengths", "truth values"); return &kd__poison; }
  if (n_->rank == KD_MAX_RANK || kd__t_find(n_, ax.label) >= 0) { kd__err(e, KD_D_AXIS_TWICE, call->span, "prefix", ax.label); return &kd__poison; }
  return kd__v_tensor(e, first_places(e, n_, ax, call));
}

/* --- what moves ------------------------------------------------------------------------------------------------------------------------ */
/* x to be sorted along axis p: what is not valid comes last. `ax`: the result's axes, with the first `size` places of the axis. */
tensor *kd__valid_sort(elab *e, tensor *x, int p, bool descending, int64_t size, axis *ax, const kd_ast *at) {
  int64_t over = p;
  memcpy(ax, x->ax, sizeof(axis) * x->rank);
  if (size != ax[p].size) ax[p].root = kd__root_new(e, ROOT_FEATURE, NULL);
  ax[p].size = size;
  const tensor *m = kd__valid_of(e, x, &over, 1, at);
  for (int i = 0; i < x->rank; i++) if (i != p) ax[i].mask = kd__valid_left(e, x, i, &over, 1, at);
  if (!m) return x;
  ax[p].mask = first_places(e, kd__valid_count(e, x, m, &over, 1, at), ax[p], at);
  double far = kd__dtype_real(x->dtype) ? HUGE_VAL : 0x1p62;
  return kd__valid_or(e, x, m, descending ? -far : far, at);
}

/* Masks along axis p padded: what is added to a masked axis is not valid. */
void kd__valid_pad(elab *e, const tensor *x, int p, int64_t low, int64_t high, axis *ax, const kd_ast *at) {
  for (int i = 0; i < x->rank; i++) {
    const tensor *m = ax[i].mask;
    int q = m ? kd__t_find(m, x->ax[p].label) : -1;
    if (q < 0) continue;
    int64_t lo[KD_MAX_RANK] = { 0 }, hi[KD_MAX_RANK] = { 0 };
    axis out[KD_MAX_RANK];
    memcpy(out, m->ax, sizeof(axis) * m->rank);
    out[q].size += low + high;
    lo[q] = low; hi[q] = high;
    kd_build b = kd__b(e, at);
    ax[i].mask = kd__t_wrap(e, kd__b_pad(&b, m->v, lo, hi, 0), out, m->rank, at);
  }
}

void kd__valid_flip(elab *e, const tensor *x, int p, axis *ax, const kd_ast *at) {
  for (int i = 0; i < x->rank; i++) {
    const tensor *m = ax[i].mask;
    int q = m ? kd__t_find(m, x->ax[p].label) : -1;
    if (q < 0) continue;
    int64_t st[KD_MAX_RANK], sz[KD_MAX_RANK], step[KD_MAX_RANK];
    for (int k = 0; k < m->rank; k++) { sz[k] = m->ax[k].size; st[k] = k == q ? sz[k] - 1 : 0; step[k] = k == q ? -1 : 1; }
    kd_build b = kd__b(e, at);
    ax[i].mask = kd__t_wrap(e, kd__b_slice(&b, m->v, st, sz, step), m->ax, m->rank, at);
  }
}

/* x for windows over its axes after the second: `fill` at its invalid places. `ax` (sizes as they are after) keeps the masks of axes that stay as
 * they are. NULL after reporting: a masked axis that changes its size. */
tensor *kd__valid_window(elab *e, tensor *x, double fill, bool channels, axis *ax, const kd_ast *at) {
  int64_t axes[KD_MAX_RANK];
  int k = 0;
  if (!kd__masked(x)) return x;
  for (int i = channels ? 1 : 2; i < x->rank; i++) axes[k++] = i;
  const tensor *m = kd__valid_of(e, x, axes, k, at);
  for (int i = 0; i < x->rank; i++) {
    ax[i].mask = i == 1 && channels ? NULL : x->ax[i].mask;
    for (int j = 0; j < x->rank && ax[i].mask; j++) {
      if (kd__t_find(ax[i].mask, x->ax[j].label) < 0) continue;
      if (j == 1 && channels) { int64_t c = 1; ax[i].mask = kd__valid_left(e, x, i, &c, 1, at); continue; }
      if (ax[j].size == x->ax[j].size) continue;
      kd_diag *d = kd__err(e, KD_D_MASK_WINDOW, at->span, x->ax[j].label, (long long)x->ax[j].size, (long long)ax[j].size);
      kd__diag_help(e->sink, d, "filled(x) puts 0 there, and all places count from then on");
      return NULL;
    }
  }
  return kd__valid_or(e, x, m, fill, at);
}
