/* axes.c: named axes to positional operators: broadcasting by name, reductions, contractions, joining (language-notes A9 to A12). */
#include "compiler/elaborate/elab.h"
#include <math.h>

#define KD_FAR 3e38                              /* near the largest number of single precision */

kd_build kd__b(elab *e, const kd_ast *at) { return (kd_build){ e->prog->g, kd__origin(e, at->span) }; }

/* Lower-case labels are free: they may meet others without being shared. */
bool kd__axis_free(const char *label) { return *label >= 'a' && *label <= 'z'; }

int kd__t_find(const tensor *t, const char *label) {
  for (int i = 0; i < t->rank; i++)
    if (t->ax[i].label == label) return i;
  return -1;
}

tensor *kd__t_wrap(elab *e, kd_value v, const axis *ax, int rank, const kd_ast *at) {
  tensor *t = KD_NEW(e->a, tensor);
  t->v = v;
  t->rank = (uint8_t)rank;
  t->dtype = (kd_dtype)kd__type_of(e->prog->g, v)->dtype;
  if (rank) memcpy(t->ax, ax, sizeof(axis) * (size_t)rank);
  t->made = at->span;
  t->in = e->prog;
  return t;
}

static void dims(const axis *ax, int rank, int64_t *out) {
  for (int i = 0; i < rank; i++) out[i] = ax[i].size;
}

tensor *kd__t_const(elab *e, double v, kd_dtype t, const axis *ax, int rank, const kd_ast *at) {
  int64_t d[KD_MAX_RANK];
  dims(ax, rank, d);
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, kd__b_const(&b, v, t, d, rank), ax, rank, at);
}

tensor *kd__t_cast(elab *e, tensor *x, kd_dtype t, const kd_ast *at) {
  if (x->dtype == t) return x;
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, kd__b_cast(&b, x->v, t), x->ax, x->rank, at);
}

tensor *kd__t_unary(elab *e, kd_op op, tensor *x, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, kd__b_op1(&b, op, x->v), x->ax, x->rank, at);
}

/* --- meeting of two operands ------------------------------------------------------------------------------------------ */
static const root *root_of(elab *e, const axis *a) { return &e->root.v[a->root]; }

static bool roots_fit(elab *e, const axis *a, const axis *b) {
  if (a->root == b->root) return true;
  const root *x = root_of(e, a), *y = root_of(e, b);
  if (x->kind == ROOT_OPEN || y->kind == ROOT_OPEN) return true;
  if (x->kind == ROOT_SAMPLE || y->kind == ROOT_SAMPLE) return x->kind == ROOT_FEATURE || y->kind == ROOT_FEATURE;
  if (x->kind == ROOT_MERGED && y->kind == ROOT_MERGED) return strcmp(x->text, y->text) == 0;
  return true;
}

static void label_operand(elab *e, kd_diag *d, const tensor *t, const kd_ast *at) {
  if (t->from) kd__diag_label(e->sink, d, at->span, "%s from %s", kd__t_show(e, t), t->from);
  else kd__diag_label(e->sink, d, at->span, "%s", kd__t_show(e, t));
}

/* Equal labels need equal sizes and compatible roots. */
static bool labels_agree(elab *e, const tensor *a, const tensor *b, const kd_ast *at, const kd_ast *la, const kd_ast *lb, const char *op) {
  for (int i = 0; i < a->rank; i++) {
    int j = kd__t_find(b, a->ax[i].label);
    if (j < 0) continue;
    const axis *x = &a->ax[i], *y = &b->ax[j];
    if (x->size == y->size && roots_fit(e, x, y)) continue;
    const char *l = *x->label == '.' ? "an axis of `..`" : kd__arena_printf(e->a, "`%s`", x->label);
    kd_diag *d;
    if (x->size != y->size) {
      d = kd__err(e, KD_D_SIZE_DIFFERS, at->span, op, l, (long long)x->size, (long long)y->size);
      if (x->size == 1 || y->size == 1) kd__diag_help(e->sink, d, "size 1 does not stretch; `x[%s: 0]` drops the axis", x->label);
      else kd__fit_help(e, d, x->label, a->rank, y->size);
    } else {
      const root *p = root_of(e, x), *q = root_of(e, y);
      d = kd__err(e, KD_D_ROOT_DIFFERS, at->span, l, p->text ? p->text : "another axis", q->text ? q->text : "another axis");
      kd__diag_help(e->sink, d, p->kind == ROOT_MERGED ? "merge both in the same order" : "rename one of them with `as` if they are meant to differ");
    }
    label_operand(e, d, a, la);
    label_operand(e, d, b, lb);
    return false;
  }
  return true;
}

static bool contains(const tensor *big, const tensor *small) {
  for (int i = 0; i < small->rank; i++)
    if (!kd__axis_free(small->ax[i].label) && kd__t_find(big, small->ax[i].label) < 0) return false;
  return true;
}

/* A free axis may not meet a bound axis of the root that it was made from (A9): i of B against B. */
static bool free_clash(elab *e, const tensor *a, const tensor *b, const kd_ast *at, const kd_ast *la, const kd_ast *lb) {
  for (int i = 0; i < a->rank; i++) {
    if (!kd__axis_free(a->ax[i].label)) continue;
    for (int j = 0; j < b->rank; j++)
      if (!kd__axis_free(b->ax[j].label) && b->ax[j].root == a->ax[i].root && kd__t_find(a, b->ax[j].label) < 0 && root_of(e, &b->ax[j])->kind != ROOT_OPEN) {
        kd_diag *d = kd__err(e, KD_D_FREE_BOUND, at->span, a->ax[i].label, b->ax[j].label);
        label_operand(e, d, a, la);
        label_operand(e, d, b, lb);
        kd__diag_help(e->sink, d, "say which is meant: %.*s[%s as %s]", (int)lb->span.len, lb->span.src->text + lb->span.at, b->ax[j].label, a->ax[i].label);
        return true;
      }
  }
  return false;
}

/* The result's axes: the order of an operand that has all labels; otherwise the left order with each right-only axis before the next
 * shared axis of the right operand, or last. */
int kd__t_joined(const tensor *a, const tensor *b, axis *out) {
  bool b_has_all = true, a_has_all = true;
  for (int i = 0; i < a->rank; i++) b_has_all = b_has_all && kd__t_find(b, a->ax[i].label) >= 0;
  for (int i = 0; i < b->rank; i++) a_has_all = a_has_all && kd__t_find(a, b->ax[i].label) >= 0;
  const tensor *base = a_has_all ? a : b_has_all ? b : a;
  int n = base->rank;
  memcpy(out, base->ax, sizeof(axis) * (size_t)n);
  if (a_has_all || b_has_all) return n;
  for (int j = 0; j < b->rank; j++) {
    if (kd__t_find(a, b->ax[j].label) >= 0) continue;
    int at = n;
    for (int k = j + 1; k < b->rank && at == n; k++)
      if (kd__t_find(a, b->ax[k].label) >= 0)
        for (int i = 0; i < n; i++) if (out[i].label == b->ax[k].label) at = i;
    if (n == KD_MAX_RANK) return -1;
    memmove(out + at + 1, out + at, sizeof(axis) * (size_t)(n - at));
    out[at] = b->ax[j];
    n++;
  }
  return n;
}

/* x permuted and broadcast to exactly the axes `ax`; every label of x is among them. */
kd_value kd__t_spread(elab *e, const tensor *x, const axis *ax, int rank, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  int64_t perm[KD_MAX_RANK], axes[KD_MAX_RANK], d[KD_MAX_RANK];
  int k = 0;
  for (int i = 0; i < rank; i++) {
    int j = kd__t_find(x, ax[i].label);
    if (j >= 0) { perm[k] = j; axes[k] = i; k++; }
  }
  dims(ax, rank, d);
  kd_value v = kd__b_permute(&b, x->v, perm);
  return k == rank ? v : kd__b_broadcast(&b, v, d, rank, axes);
}

/* The element type two operands meet in: real wins over integers and truth values. */
static bool meet_types(elab *e, tensor **a, tensor **b, const kd_ast *at) {
  if ((*a)->dtype == (*b)->dtype) return true;
  kd_dtype t = kd__dtype_real((*a)->dtype) ? (*a)->dtype : kd__dtype_real((*b)->dtype) ? (*b)->dtype : KD_I64;
  if ((*a)->dtype == KD_BOOL || (*b)->dtype == KD_BOOL) {
    kd_diag *d = kd__err(e, KD_D_BOOL_ARITH, at->span);
    kd__diag_help(e->sink, d, "real(x) makes 0 and 1 of it, where(c, a, b) selects");
    return false;
  }
  *a = kd__t_cast(e, *a, t, at);
  *b = kd__t_cast(e, *b, t, at);
  return true;
}

static bool too_deep(elab *e, const kd_ast *at) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return false; }

/* Positions compared with whole numbers: what is meant has a function. */
static bool positions_help(elab *e, kd_diag *d, const tensor *a, const tensor *b, const char *op, const kd_ast *la, const kd_ast *lb) {
  bool first = kd__node_of(e->prog->g, a->v)->op == KD_OP_IOTA && a->rank == 1;
  if (!first && (kd__node_of(e->prog->g, b->v)->op != KD_OP_IOTA || b->rank != 1)) return false;
  const kd_ast *x = first ? lb : la;
  const char *l = first ? a->ax[0].label : b->ax[0].label;
  if (strcmp(op, "==") == 0) kd__diag_help(e->sink, d, "onehot(%.*s, over: %s) is 1 where they are equal", (int)x->span.len, x->span.src->text + x->span.at, l);
  else if (*op == '<') kd__diag_help(e->sink, d, "prefix(%.*s, over: %s) says which places are before it", (int)x->span.len, x->span.src->text + x->span.at, l);
  else return false;
  return true;
}

static bool meet(elab *e, tensor *a, tensor *b, axis *out, int *rank, const kd_ast *at, const kd_ast *la, const kd_ast *lb, const char *op) {
  if (!labels_agree(e, a, b, at, la, lb, op)) return false;
  if (!contains(a, b) && !contains(b, a)) {
    const char *x = "", *y = "";
    for (int i = 0; i < a->rank; i++) if (!kd__axis_free(a->ax[i].label) && kd__t_find(b, a->ax[i].label) < 0) x = a->ax[i].label;
    for (int i = 0; i < b->rank; i++) if (!kd__axis_free(b->ax[i].label) && kd__t_find(a, b->ax[i].label) < 0) y = b->ax[i].label;
    kd_diag *d = kd__err(e, KD_D_NEITHER_CONTAINS, at->span, op, kd__t_show(e, a), kd__t_show(e, b), x, y);
    label_operand(e, d, a, la);
    label_operand(e, d, b, lb);
    if (positions_help(e, d, a, b, op, la, lb)) return false;
    char low = (char)(*y >= 'A' && *y <= 'Z' ? *y + 32 : 'j');
    kd__diag_help(e->sink, d, "for all pairs write %.*s[%s as %c]; to match them, %.*s[%s as %s]", (int)lb->span.len, lb->span.src->text + lb->span.at, y, low,
                  (int)lb->span.len, lb->span.src->text + lb->span.at, y, x);
    return false;
  }
  if (free_clash(e, a, b, at, la, lb) || free_clash(e, b, a, at, lb, la)) return false;
  *rank = kd__t_joined(a, b, out);
  if (*rank < 0) return too_deep(e, at);
  kd__valid_meet(e, a, b, out, *rank, at);
  return true;
}

/* The operator as it is written: "+" for add. */
static const char *written(kd_op op) {
  static const struct { kd_op op; const char *sign; } row[] = {
    { KD_OP_ADD, "+" }, { KD_OP_SUB, "-" }, { KD_OP_MUL, "*" }, { KD_OP_DIV, "/" }, { KD_OP_REM, "%" }, { KD_OP_POW, "^" }, { KD_OP_EQ, "==" },
    { KD_OP_NE, "!=" }, { KD_OP_LT, "<" }, { KD_OP_LE, "<=" }, { KD_OP_AND, "and" }, { KD_OP_OR, "or" },
  };
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) if (row[i].op == op) return row[i].sign;
  return kd__op_info(op)->name;
}

tensor *kd__t_binary(elab *e, kd_op op, tensor *a, tensor *b, const kd_ast *at, const kd_ast *la, const kd_ast *lb) {
  axis ax[KD_MAX_RANK];
  int rank;
  bool logical = op == KD_OP_AND || op == KD_OP_OR;
  if (!logical && !meet_types(e, &a, &b, at)) return NULL;
  if (!logical && a->dtype == KD_BOOL && op != KD_OP_EQ && op != KD_OP_NE) {
    kd_diag *d = kd__err(e, KD_D_BOOL_ARITH, at->span);
    kd__diag_help(e->sink, d, "real(x) makes 0 and 1 of it");
    return NULL;
  }
  if (logical && (a->dtype != KD_BOOL || b->dtype != KD_BOOL)) { kd__err(e, KD_D_WANT_KIND, at->span, written(op), "truth values", "numbers"); return NULL; }
  bool real_op = op == KD_OP_DIV || op == KD_OP_POW || op == KD_OP_XLOGY;
  if (real_op && !kd__dtype_real(a->dtype)) { a = kd__t_cast(e, a, e->opt->real, at); b = kd__t_cast(e, b, e->opt->real, at); }
  if (!meet(e, a, b, ax, &rank, at, la, lb, written(op))) return NULL;
  if (op == KD_OP_MUL || real_op) { a = kd__valid_factor(e, a, b, at); b = kd__valid_factor(e, b, a, at); }
  kd_value va = kd__t_spread(e, a, ax, rank, at), vb = kd__t_spread(e, b, ax, rank, at);
  kd_build bb = kd__b(e, at);
  return kd__t_wrap(e, kd__b_op2(&bb, op, va, vb), ax, rank, at);
}

tensor *kd__t_where(elab *e, tensor *c, tensor *a, tensor *b, const kd_ast *at) {
  axis joined[KD_MAX_RANK], ax[KD_MAX_RANK];
  int r1, rank;
  if (c->dtype != KD_BOOL) { kd__err(e, KD_D_WANT_KIND, at->span, "the condition of `where`", "truth values", "numbers"); return NULL; }
  if (a->dtype != b->dtype && (a->dtype == KD_BOOL || b->dtype == KD_BOOL)) { kd__err(e, KD_D_BOOL_ARITH, at->span); return NULL; }
  if (!meet_types(e, &a, &b, at) || !meet(e, a, b, joined, &r1, at, at, at, "where")) return NULL;
  tensor joint = *a;
  joint.rank = (uint8_t)r1;
  memcpy(joint.ax, joined, sizeof(axis) * (size_t)r1);
  if (!meet(e, &joint, c, ax, &rank, at, at, at, "where")) return NULL;
  kd_build bb = kd__b(e, at);
  kd_value v = kd__b_where(&bb, kd__t_spread(e, c, ax, rank, at), kd__t_spread(e, a, ax, rank, at), kd__t_spread(e, b, ax, rank, at));
  return kd__t_wrap(e, v, ax, rank, at);
}

tensor *kd__t_align(elab *e, tensor *x, const tensor *to, const kd_ast *at) {
  tensor want = *to;
  if (!labels_agree(e, x, &want, at, at, at, "update")) return NULL;
  for (int i = 0; i < x->rank; i++)
    if (kd__t_find(to, x->ax[i].label) < 0) {
      kd_diag *d = kd__err(e, KD_D_UPDATE_SHAPE, at->span, kd__t_show(e, x), kd__t_show(e, to));
      label_operand(e, d, x, at);
      return NULL;
    }
  tensor *c = kd__t_cast(e, x, to->dtype, at);
  return kd__t_wrap(e, kd__t_spread(e, c, to->ax, to->rank, at), to->ax, to->rank, at);
}

/* --- reductions and normalisations ---------------------------------------------------------------------------------------- */
/* What an invalid element is to a reduction: nothing. Exponentials get the lowest number, as -inf less -inf would be no number. */
enum { WHOLE_BITS = 62 };
static double neutral(kd_op op, kd_dtype t) {
  double far = kd__dtype_real(t) ? HUGE_VAL : (double)((int64_t)1 << WHOLE_BITS);
  return op == KD_OP_REDUCE_MAX ? -far : op == KD_OP_REDUCE_MIN ? far : op == KD_OP_ALL ? 1 : op == KD_OP_LOGSUMEXP ? -KD_FAR : 0;
}

tensor *kd__t_reduce(elab *e, kd_op op, tensor *x, const int64_t *axes, int n, const kd_ast *at) {
  const tensor *m = kd__valid_of(e, x, axes, n, at);
  kd_build b = kd__b(e, at);
  axis ax[KD_MAX_RANK];
  int rank = 0;
  for (int i = 0; i < x->rank; i++) {
    bool gone = false;
    for (int k = 0; k < n; k++) gone = gone || axes[k] == i;
    if (gone) continue;
    ax[rank] = x->ax[i];
    ax[rank++].mask = kd__valid_left(e, x, i, axes, n, at);
  }
  if (!m) return kd__t_wrap(e, kd__b_reduce(&b, op, x->v, axes, n), ax, rank, at);
  tensor *r = kd__t_wrap(e, kd__b_reduce(&b, op, kd__valid_or(e, x, m, neutral(op, x->dtype), at)->v, axes, n), ax, rank, at);
  bool zero = op == KD_OP_REDUCE_MAX || op == KD_OP_REDUCE_MIN || op == KD_OP_LOGSUMEXP;       /* nothing to run over: 0 */
  return zero ? kd__valid_or(e, r, kd__valid_some(e, x, m, axes, n, at), 0, at) : r;
}

void kd__t_moments(elab *e, tensor *x, const int64_t *axes, int n, const kd_ast *at, tensor *out[2]) {
  const tensor *m = kd__valid_of(e, x, axes, n, at);
  if (!m) {
    out[0] = kd__t_reduce(e, KD_OP_MOMENTS, x, axes, n, at);
    out[1] = kd__t_wrap(e, out[0]->v + 1, out[0]->ax, out[0]->rank, at);
    return;
  }
  tensor *count = kd__t_binary(e, KD_OP_MAX, kd__valid_count(e, x, m, axes, n, at), kd__t_const(e, 1, e->opt->real, NULL, 0, at), at, at, at);
  out[0] = kd__t_binary(e, KD_OP_DIV, kd__t_reduce(e, KD_OP_SUM, x, axes, n, at), count, at, at, at);
  tensor *d = kd__t_binary(e, KD_OP_SUB, x, out[0], at, at, at), *sq = kd__valid_or(e, d, m, 0, at);
  out[1] = kd__t_binary(e, KD_OP_DIV, kd__t_reduce(e, KD_OP_SUM, kd__t_binary(e, KD_OP_MUL, sq, sq, at, at, at), axes, n, at), count, at, at, at);
}

tensor *kd__t_keep(elab *e, kd_op op, tensor *x, const int64_t *axes, int n, const kd_ast *at) {
  const tensor *m = kd__valid_of(e, x, axes, n, at);
  kd_build b = kd__b(e, at);
  return kd__valid_or(e, kd__t_wrap(e, kd__b_reduce(&b, op, kd__valid_or(e, x, m, -KD_FAR, at)->v, axes, n), x->ax, x->rank, at), m, 0, at);
}

/* --- contraction (A11) ------------------------------------------------------------------------------------------------------ */
static int64_t product(const axis *ax, int n) { int64_t p = 1; for (int i = 0; i < n; i++) p *= ax[i].size; return p; }

/* x as [*shared, free, over] or [*shared, over, free], free and over merged to one axis each. The shared axes stay as they are: heads of attention
 * lie apart in memory, and only a copy would make one axis of them and the batch. */
static kd_value folded(kd_build *b, const tensor *x, const axis *sh, int ns, const axis *fr, int nf, const axis *ov, int no, bool over_first) {
  int64_t perm[KD_MAX_RANK], d[KD_MAX_RANK] = { 1 };
  int k = 0, r = 0;
  bool apart = ns + 2 <= KD_MAX_RANK;
  for (int i = 0; i < ns; i++) perm[k++] = kd__t_find(x, sh[i].label);
  if (over_first) for (int i = 0; i < no; i++) perm[k++] = kd__t_find(x, ov[i].label);
  for (int i = 0; i < nf; i++) perm[k++] = kd__t_find(x, fr[i].label);
  if (!over_first) for (int i = 0; i < no; i++) perm[k++] = kd__t_find(x, ov[i].label);
  for (int i = 0; i < ns && apart; i++) d[r++] = sh[i].size;
  if (ns == 0 || !apart) d[r++] = product(sh, ns);
  d[r++] = over_first ? product(ov, no) : product(fr, nf);
  d[r++] = over_first ? product(fr, nf) : product(ov, no);
  return kd__b_reshape(b, kd__b_permute(b, x->v, perm), d, r);
}

static void axes_of(const tensor *x, const char *const *label, int n, int64_t *pos) { for (int i = 0; i < n; i++) pos[i] = kd__t_find(x, label[i]); }

/* Operands with nothing at the invalid places of what is contracted, and the masks of the other axes as they are afterwards. */
static void valid_parts(elab *e, tensor **a, tensor **b, const char *const *over, int n, const kd_ast *at) {
  if (!kd__masked(*a) && !kd__masked(*b)) return;
  int64_t pa[KD_MAX_RANK], pb[KD_MAX_RANK];
  axes_of(*a, over, n, pa);
  axes_of(*b, over, n, pb);
  const tensor *ma = kd__valid_of(e, *a, pa, n, at), *mb = kd__valid_of(e, *b, pb, n, at);
  tensor *x[2] = { kd__valid_or(e, *a, ma, 0, at), kd__valid_or(e, *b, mb, 0, at) };
  for (int k = 0; k < 2; k++) {                  /* what is invalid on one side may be anything on the other */
    const tensor *m = k ? ma : mb;
    bool fits = m != NULL;
    for (int i = 0; m && i < m->rank; i++) fits = fits && kd__t_find(x[k], m->ax[i].label) >= 0;
    if (fits) x[k] = kd__valid_or(e, x[k], m, 0, at);
    x[k] = kd__arena_copy(e->a, x[k], sizeof(tensor));
    const tensor *was = k ? *b : *a;
    for (int i = 0; i < x[k]->rank; i++) x[k]->ax[i].mask = kd__valid_left(e, was, i, k ? pb : pa, n, at);
  }
  *a = x[0]; *b = x[1];
}

tensor *kd__t_dot(elab *e, tensor *a, tensor *b, const char *const *over, int n, const kd_ast *at) {
  if (!meet_types(e, &a, &b, at)) return NULL;
  if (!kd__dtype_real(a->dtype)) { a = kd__t_cast(e, a, e->opt->real, at); b = kd__t_cast(e, b, e->opt->real, at); }
  if (!labels_agree(e, a, b, at, at, at, "dot")) return NULL;
  axis sh[KD_MAX_RANK] = { 0 }, fa[KD_MAX_RANK] = { 0 }, fb[KD_MAX_RANK] = { 0 }, ov[KD_MAX_RANK] = { 0 }, out[2 * KD_MAX_RANK];
  int ns = 0, na = 0, nb = 0, no = 0;
  for (int i = 0; i < n; i++) {
    int p = kd__t_find(a, over[i]), q = kd__t_find(b, over[i]);
    if (p < 0 || q < 0) {
      kd_diag *d = kd__err(e, KD_D_DOT_AXIS, at->span, over[i], p < 0 ? "first" : "second", kd__t_show(e, p < 0 ? a : b));
      kd__diag_help(e->sink, d, "rename with `as`, so that both operands have `%s`", over[i]);
      return NULL;
    }
    ov[no++] = a->ax[p];
  }
  valid_parts(e, &a, &b, over, n, at);
  for (int i = 0; i < a->rank; i++) {
    bool contracted = false;
    for (int k = 0; k < no; k++) contracted = contracted || ov[k].label == a->ax[i].label;
    if (contracted) continue;
    if (kd__t_find(b, a->ax[i].label) >= 0) sh[ns++] = a->ax[i]; else fa[na++] = a->ax[i];
  }
  for (int i = 0; i < ns; i++) sh[i].mask = kd__valid_and(e, sh[i].mask, b->ax[kd__t_find(b, sh[i].label)].mask, at);
  for (int i = 0; i < b->rank; i++)
    if (kd__t_find(a, b->ax[i].label) < 0) fb[nb++] = b->ax[i];
  if (ns + na + nb > KD_MAX_RANK) { too_deep(e, at); return NULL; }
  kd_build bb = kd__b(e, at);
  kd_value x = folded(&bb, a, sh, ns, fa, na, ov, no, false), y = folded(&bb, b, sh, ns, fb, nb, ov, no, true);
  kd_value m = kd__b_matmul(&bb, x, y);
  /* shared and left-only axes keep the left operand's order; right-only ones follow */
  axis made[KD_MAX_RANK * 2];
  int64_t d[KD_MAX_RANK * 2], perm[KD_MAX_RANK];
  int r = 0;
  for (int i = 0; i < ns; i++) made[r++] = sh[i];
  for (int i = 0; i < na; i++) made[r++] = fa[i];
  for (int i = 0; i < nb; i++) made[r++] = fb[i];
  dims(made, r, d);
  m = kd__b_reshape(&bb, m, d, r);
  int k = 0;
  for (int i = 0; i < a->rank; i++)
    for (int j = 0; j < ns + na; j++)
      if (made[j].label == a->ax[i].label) { perm[k] = j; out[k++] = made[j]; }
  for (int j = ns + na; j < r; j++) { perm[k] = j; out[k++] = made[j]; }
  return kd__t_wrap(e, kd__b_permute(&bb, m, perm), out, r, at);
}

/* --- joining (A12) ---------------------------------------------------------------------------------------------------------- */
tensor *kd__t_concat(elab *e, tensor **x, int n, const char *label, const kd_ast *at) {
  kd_value *v = KD_NEWN(e->a, kd_value, n);
  int pos = kd__t_find(x[0], label);
  if (pos < 0) { kd__err(e, KD_D_NO_AXIS, at->span, kd__t_show(e, x[0]), label); return NULL; }
  axis ax[KD_MAX_RANK];
  memcpy(ax, x[0]->ax, sizeof(axis) * x[0]->rank);
  ax[pos].size = 0;
  ax[pos].root = kd__root_new(e, ROOT_FEATURE, NULL);
  for (int i = 0; i < n; i++) {
    tensor want = *x[0];
    int p = kd__t_find(x[i], label);
    if (p >= 0) want.ax[pos] = x[i]->ax[p];
    if (p < 0 || x[i]->rank != x[0]->rank) { kd__err(e, KD_D_JOIN, at->span, "concat", kd__t_show(e, x[0]), kd__t_show(e, x[i])); return NULL; }
    tensor *t = kd__t_align(e, x[i], &want, at);
    if (!t) return NULL;
    v[i] = t->v;
    ax[pos].size += want.ax[pos].size;
  }
  kd__valid_join(e, x, n, label, false, ax, x[0]->rank, at);
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, n == 1 ? v[0] : kd__b_concat(&b, v, n, pos), ax, x[0]->rank, at);
}

tensor *kd__t_stack(elab *e, tensor **x, int n, const char *label, const kd_ast *at) {
  if (kd__t_find(x[0], label) >= 0) { kd__err(e, KD_D_AXIS_TWICE, at->span, "stack", label); return NULL; }
  if (x[0]->rank + 1 > KD_MAX_RANK) { too_deep(e, at); return NULL; }
  kd_value *v = KD_NEWN(e->a, kd_value, n);
  axis ax[KD_MAX_RANK];
  ax[0] = (axis){ label, 1, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
  memcpy(ax + 1, x[0]->ax, sizeof(axis) * x[0]->rank);
  int64_t d[KD_MAX_RANK];
  dims(ax, x[0]->rank + 1, d);
  kd_dtype t = x[0]->dtype;
  for (int i = 1; i < n; i++) if (kd__dtype_real(x[i]->dtype)) t = x[i]->dtype;
  kd_build b = kd__b(e, at);
  for (int i = 0; i < n; i++) {
    tensor want = *x[0];
    want.dtype = t;
    if (x[i]->rank != x[0]->rank) { kd__err(e, KD_D_JOIN, at->span, "stack", kd__t_show(e, x[0]), kd__t_show(e, x[i])); return NULL; }
    tensor *y = kd__t_align(e, x[i], &want, at);
    if (!y) return NULL;
    v[i] = kd__b_reshape(&b, y->v, d, x[0]->rank + 1);
  }
  ax[0].size = n;
  kd__valid_join(e, x, n, label, true, ax, x[0]->rank + 1, at);
  return kd__t_wrap(e, n == 1 ? v[0] : kd__b_concat(&b, v, n, 0), ax, x[0]->rank + 1, at);
}
