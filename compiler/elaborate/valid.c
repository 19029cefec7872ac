/* valid.c: validity (design 2.7, rule 6): an axis may carry a mask, a tensor of truth values over axes of the tensor that it belongs to. Places
 * that are not valid are left out by what runs over the axis. Invalid values are replaced before an operator sees them, never multiplied away, so
 * that neither what they hold nor their gradient comes through. Masks carry no masks. */
#include "compiler/elaborate/elab.h"

static bool depends(const tensor *m, const tensor *x, const int64_t *axes, int n) {
  for (int i = 0; i < n; i++) if (kd__t_find(m, x->ax[axes[i]].label) >= 0) return true;
  return false;
}

static bool same_mask(const tensor *a, const tensor *b) {
  if (!a || !b || a->v != b->v || a->rank != b->rank) return a == b;
  for (int i = 0; i < a->rank; i++) if (a->ax[i].label != b->ax[i].label) return false;
  return true;
}

/* m over exactly the axes `ax`, which are among others those of m. */
static tensor *spread_mask(elab *e, const tensor *m, const axis *ax, int rank, const kd_ast *at) {
  axis bare[KD_MAX_RANK];
  for (int i = 0; i < rank; i++) { bare[i] = ax[i]; bare[i].mask = NULL; }
  return kd__t_wrap(e, kd__t_spread(e, m, bare, rank, at), bare, rank, at);
}

const tensor *kd__valid_and(elab *e, const tensor *a, const tensor *b, const kd_ast *at) {
  if (!a || !b || same_mask(a, b)) return a ? a : b;
  axis ax[KD_MAX_RANK];
  int rank = kd__t_joined(a, b, ax);
  if (rank < 0) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return a; }
  kd_build bb = kd__b(e, at);
  return kd__t_wrap(e, kd__b_op2(&bb, KD_OP_AND, kd__t_spread(e, a, ax, rank, at), kd__t_spread(e, b, ax, rank, at)), ax, rank, at);
}

bool kd__masked(const tensor *x) {
  for (int i = 0; i < x->rank; i++) if (x->ax[i].mask) return true;
  return false;
}

/* Which elements count when x is run over along `axes`: every mask that differs along one of them. NULL: all. */
const tensor *kd__valid_of(elab *e, const tensor *x, const int64_t *axes, int n, const kd_ast *at) {
  const tensor *m = NULL;
  for (int i = 0; i < x->rank; i++)
    if (x->ax[i].mask && depends(x->ax[i].mask, x, axes, n)) m = kd__valid_and(e, m, x->ax[i].mask, at);
  return m;
}

const tensor *kd__valid_all(elab *e, const tensor *x, const kd_ast *at) {
  const tensor *m = NULL;
  for (int i = 0; i < x->rank; i++) m = kd__valid_and(e, m, x->ax[i].mask, at);
  return m;
}

/* x, and `fill` where m does not hold; x itself without m. */
tensor *kd__valid_or(elab *e, tensor *x, const tensor *m, double fill, const kd_ast *at) {
  if (!m) return x;
  kd_build b = kd__b(e, at);
  kd_value c = kd__t_spread(e, m, x->ax, x->rank, at);
  const kd_node *n = kd__node_of(e->prog->g, x->v), *f = n->op == KD_OP_WHERE ? kd__node_of(e->prog->g, n->in[2]) : NULL;
  if (f && n->in[0] == c && f->op == KD_OP_CONST && kd__attr(f, "value")->u.f == fill) return x;    /* they hold it already */
  return kd__t_wrap(e, kd__b_where(&b, c, x->v, kd__b_const_like(&b, fill, x->v)), x->ax, x->rank, at);
}

/* A factor that meets another which is one value along a masked axis of x: the gradient of that one is a sum over the axis, and 0 times what an
 * invalid place holds may be no number. So 1 stands there. */
tensor *kd__valid_factor(elab *e, tensor *x, const tensor *other, const kd_ast *at) {
  const tensor *m = NULL;
  if (kd__node_of(e->prog->g, other->v)->op == KD_OP_CONST) return x;
  for (int i = 0; i < x->rank; i++) if (x->ax[i].mask && kd__t_find(other, x->ax[i].label) < 0) m = kd__valid_and(e, m, x->ax[i].mask, at);
  return kd__valid_or(e, x, m, 1, at);
}

/* m with the axes of x at `axes` reduced: any or sum. */
static tensor *reduced(elab *e, kd_op op, const tensor *m, kd_value v, const tensor *x, const int64_t *axes, int n, const kd_ast *at) {
  int64_t pos[KD_MAX_RANK];
  axis ax[KD_MAX_RANK];
  int k = 0, r = 0;
  for (int i = 0; i < m->rank; i++) {
    bool gone = false;
    for (int j = 0; j < n; j++) gone = gone || m->ax[i].label == x->ax[axes[j]].label;
    if (gone) pos[k++] = i; else ax[r++] = m->ax[i];
  }
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, k ? kd__b_reduce(&b, op, v, pos, k) : v, ax, r, at);
}

/* The mask of axis i of x when the axes at `axes` are gone: a place stays valid that was so somewhere along them. */
const tensor *kd__valid_left(elab *e, const tensor *x, int i, const int64_t *axes, int n, const kd_ast *at) {
  const tensor *m = x->ax[i].mask;
  return m && depends(m, x, axes, n) ? reduced(e, KD_OP_ANY, m, m->v, x, axes, n, at) : m;
}

/* Whether a reduction of x along `axes` has anything to run over. */
tensor *kd__valid_some(elab *e, const tensor *x, const tensor *m, const int64_t *axes, int n, const kd_ast *at) {
  return reduced(e, KD_OP_ANY, m, m->v, x, axes, n, at);
}

/* How many elements it runs over. */
tensor *kd__valid_count(elab *e, const tensor *x, const tensor *m, const int64_t *axes, int n, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  tensor *c = reduced(e, KD_OP_SUM, m, kd__b_cast(&b, m->v, e->opt->real), x, axes, n, at);
  int64_t times = 1;                             /* axes that the mask does not know are whole */
  for (int i = 0; i < n; i++) if (kd__t_find(m, x->ax[axes[i]].label) < 0) times *= x->ax[axes[i]].size;
  return times == 1 ? c : kd__t_binary(e, KD_OP_MUL, c, kd__t_const(e, (double)times, c->dtype, NULL, 0, at), at, at, at);
}

/* The result's axes of a meeting of a and b: valid where both are. */
void kd__valid_meet(elab *e, const tensor *a, const tensor *b, axis *out, int rank, const kd_ast *at) {
  for (int i = 0; i < rank; i++) {
    int p = kd__t_find(a, out[i].label), q = kd__t_find(b, out[i].label);
    out[i].mask = kd__valid_and(e, p >= 0 ? a->ax[p].mask : NULL, q >= 0 ? b->ax[q].mask : NULL, at);
  }
}

/* --- names change --------------------------------------------------------------------------------------------------------------------- */
/* x has been given new labels, in the order of its axes before: `was` are the old ones. */
void kd__valid_rename(elab *e, tensor *x, const char *const *was, int n) {
  for (int i = 0; i < x->rank; i++) {
    if (!x->ax[i].mask) continue;
    tensor *m = kd__arena_copy(e->a, x->ax[i].mask, sizeof *m);
    for (int k = 0; k < m->rank; k++)
      for (int j = 0; j < n; j++)
        if (x->ax[i].mask->ax[k].label == was[j]) m->ax[k].label = x->ax[j].label;
    x->ax[i].mask = m;
  }
}

/* --- axes change ---------------------------------------------------------------------------------------------------------------------- */
static bool is_in(const char *label, const axis *ax, int n) {
  for (int i = 0; i < n; i++) if (ax[i].label == label) return true;
  return false;
}

/* A mask over all of the axes that are merged, merged like them. */
static tensor *merged(elab *e, const tensor *m, const axis *part, int n, const char *label, const kd_ast *at) {
  axis ax[KD_MAX_RANK];
  int64_t pos[KD_MAX_RANK];
  int r = 0;
  for (int i = 0; i < m->rank; i++) ax[r++] = m->ax[i];
  for (int i = 0; i < n; i++) if (!is_in(part[i].label, ax, r)) { if (r == KD_MAX_RANK) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return NULL; } ax[r++] = part[i]; }
  tensor *all = spread_mask(e, m, ax, r, at);
  for (int i = 0; i < n; i++) pos[i] = kd__t_find(all, part[i].label);
  return kd__t_merge(e, all, pos, n, label, at);
}

/* y is x with the axes at `pos` merged to `label`: its masks are made anew. */
void kd__valid_merge(elab *e, const tensor *x, const int64_t *pos, int n, const char *label, tensor *y, const kd_ast *at) {
  if (!kd__masked(x)) return;
  axis part[KD_MAX_RANK];
  const tensor *own = NULL;
  for (int i = 0; i < n; i++) { part[i] = x->ax[pos[i]]; own = kd__valid_and(e, own, part[i].mask, at); }
  for (int i = 0; i < y->rank; i++) {
    const tensor *m = y->ax[i].label == label ? own : y->ax[i].mask;
    y->ax[i].mask = m && (m == own || depends(m, x, pos, n)) ? merged(e, m, part, n, label, at) : m;
  }
}

/* y is x with axis p split into the axes of y at p .. p + n - 1. */
void kd__valid_split(elab *e, const tensor *x, int p, int n, tensor *y, const kd_ast *at) {
  for (int i = 0; i < y->rank; i++) {
    const tensor *m = i >= p && i < p + n ? x->ax[p].mask : y->ax[i].mask;
    int q = m ? kd__t_find(m, x->ax[p].label) : -1;
    if (q >= 0) {
      axis ax[KD_MAX_RANK * 2];
      int64_t d[KD_MAX_RANK * 2], inner[KD_MAX_RANK];
      int r = 0, k = 0;
      for (int j = 0; j < m->rank; j++) {
        if (j != q) { ax[r++] = m->ax[j]; continue; }
        for (int c = 0; c < n; c++) { ax[r] = y->ax[p + c]; ax[r++].mask = NULL; }
      }
      for (int j = 0; j < r; j++) d[j] = ax[j].size;
      kd_build b = kd__b(e, at);
      tensor *w = kd__t_wrap(e, kd__b_reshape(&b, m->v, d, r), ax, r, at);
      for (int c = i + 1; i >= p && c < p + n; c++) inner[k++] = c;      /* an outer part is valid where some inner place is */
      m = k ? reduced(e, KD_OP_ANY, w, w->v, y, inner, k, at) : w;
    }
    y->ax[i].mask = m;
  }
}

void kd__valid_slice(elab *e, const char *label, int64_t from, int64_t to, bool drop, axis *ax, int rank, const kd_ast *at) {
  for (int i = 0; i < rank; i++) {
    int q = ax[i].mask ? kd__t_find(ax[i].mask, label) : -1;
    if (q >= 0) ax[i].mask = kd__t_slice(e, kd__arena_copy(e->a, ax[i].mask, sizeof(tensor)), q, from, to, drop, at);
  }
}

/* Axis p of x at idx: masks that differ along p follow. `mask`: the result's for an axis that had this one. */
const tensor *kd__valid_gather(elab *e, const tensor *x, const tensor *mask, int p, tensor *idx, const kd_ast *at) {
  int q = mask ? kd__t_find(mask, x->ax[p].label) : -1;
  return q < 0 ? mask : kd__t_gather(e, kd__arena_copy(e->a, mask, sizeof *mask), q, idx, at);
}

/* Masks along a join of x[0 .. n - 1] along `label` (an axis of theirs, or a new one: stacked): part by part where they differ. */
void kd__valid_join(elab *e, tensor **x, int n, const char *label, bool stacked, axis *ax, int rank, const kd_ast *at) {
  for (int j = 0; j < rank; j++) {
    axis all[KD_MAX_RANK];
    int r = 0;
    bool some = false, same = ax[j].label != label;
    if (stacked && ax[j].label == label) { ax[j].mask = NULL; continue; }
    const tensor **m = KD_NEWN(e->a, const tensor *, n);
    for (int i = 0; i < n; i++) {
      m[i] = x[i]->ax[kd__t_find(x[i], ax[j].label)].mask;
      some = some || m[i];
      same = same && same_mask(m[i], m[0]) && (!m[i] || kd__t_find(m[i], label) < 0);
    }
    ax[j].mask = some ? m[0] : NULL;
    if (!some || same) continue;
    for (int k = 0; k < rank; k++) {
      bool used = !stacked && ax[k].label == label;
      for (int i = 0; i < n; i++) used = used || (m[i] && kd__t_find(m[i], ax[k].label) >= 0);
      if (used) { all[r] = ax[k]; all[r++].mask = NULL; }
    }
    tensor **part = KD_NEWN(e->a, tensor *, n);
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < r; k++) if (all[k].label == label) all[k] = x[i]->ax[kd__t_find(x[i], label)], all[k].mask = NULL;
      part[i] = m[i] ? spread_mask(e, m[i], all, r, at) : kd__t_const(e, 1, KD_BOOL, all, r, at);
    }
    ax[j].mask = stacked ? kd__t_stack(e, part, n, label, at) : kd__t_concat(e, part, n, label, at);
  }
}

/* --- x[L where m] ------------------------------------------------------------------------------------------------------------------------ */
/* x with m added to the mask of axis p. NULL after reporting. */
tensor *kd__valid_where(elab *e, tensor *x, int p, tensor *m, const kd_ast *at) {
  if (m->dtype != KD_BOOL) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "`where`", "truth values", kd__t_show(e, m));
    kd__diag_help(e->sink, d, "compare: m > 0; a parameter of truth values is declared m: bool[B, T]");
    return NULL;
  }
  for (int i = 0; i < m->rank; i++) {
    int q = kd__t_find(x, m->ax[i].label);
    if (q >= 0 && x->ax[q].size == m->ax[i].size) continue;
    kd_diag *d = kd__err(e, KD_D_MASK_AXES, at->span, kd__t_show(e, m), kd__t_show(e, x));
    if (q < 0) kd__diag_help(e->sink, d, "`%s` is no axis of what is masked; rename one of them with `as`", m->ax[i].label);
    return NULL;
  }
  if (kd__t_find(m, x->ax[p].label) < 0) {
    kd_diag *d = kd__err(e, KD_D_MASK_AXES, at->span, kd__t_show(e, m), kd__t_show(e, x));
    kd__diag_help(e->sink, d, "it says nothing about `%s`; the first places of it are told by prefix(length, over: %s)", x->ax[p].label, x->ax[p].label);
    return NULL;
  }
  const kd_node *all = kd__node_of(e->prog->g, m->v);
  if (all->op == KD_OP_CONST && kd__attr(all, "value")->u.f != 0) return x;       /* as of `valid` of what has no mask: every place counts */
  tensor *y = kd__arena_copy(e->a, x, sizeof *x), *bare = kd__arena_copy(e->a, m, sizeof *m);
  for (int i = 0; i < bare->rank; i++) bare->ax[i].mask = NULL;
  y->ax[p].mask = kd__valid_and(e, x->ax[p].mask, bare, at);
  return kd__valid_or(e, y, y->ax[p].mask, 0, at);             /* nothing comes back from there either, whatever is computed of it */
}
