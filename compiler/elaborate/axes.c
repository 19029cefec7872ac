/* axes.c: named axes to positional operators: broadcasting by name, reductions, contractions, joining (language-notes A9 to A12). */
#include "compiler/elaborate/elab.h"

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
      else if (strcmp(x->label, "C") == 0) kd__diag_help(e->sink, d, "a trainable adapter makes them fit: transform adapt = conv2d(out: %lld, kernel: 1)", (long long)y->size);
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
static int joined_axes(const tensor *a, const tensor *b, axis *out) {
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
static kd_value spread(elab *e, const tensor *x, const axis *ax, int rank, const kd_ast *at) {
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

static bool meet(elab *e, tensor *a, tensor *b, axis *out, int *rank, const kd_ast *at, const kd_ast *la, const kd_ast *lb, const char *op) {
  if (!labels_agree(e, a, b, at, la, lb, op)) return false;
  if (!contains(a, b) && !contains(b, a)) {
    const char *x = "", *y = "";
    for (int i = 0; i < a->rank; i++) if (!kd__axis_free(a->ax[i].label) && kd__t_find(b, a->ax[i].label) < 0) x = a->ax[i].label;
    for (int i = 0; i < b->rank; i++) if (!kd__axis_free(b->ax[i].label) && kd__t_find(a, b->ax[i].label) < 0) y = b->ax[i].label;
    kd_diag *d = kd__err(e, KD_D_NEITHER_CONTAINS, at->span, op, kd__t_show(e, a), kd__t_show(e, b), x, y);
    label_operand(e, d, a, la);
    label_operand(e, d, b, lb);
    char low = (char)(*y >= 'A' && *y <= 'Z' ? *y + 32 : 'j');
    kd__diag_help(e->sink, d, "for all pairs write %.*s[%s as %c]; to match them, %.*s[%s as %s]", (int)lb->span.len, lb->span.src->text + lb->span.at, y, low,
                  (int)lb->span.len, lb->span.src->text + lb->span.at, y, x);
    return false;
  }
  if (free_clash(e, a, b, at, la, lb) || free_clash(e, b, a, at, lb, la)) return false;
  *rank = joined_axes(a, b, out);
  return *rank >= 0 || too_deep(e, at);
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
  kd_value va = spread(e, a, ax, rank, at), vb = spread(e, b, ax, rank, at);
  kd_build bb = kd__b(e, at);
  return kd__t_wrap(e, kd__b_op2(&bb, op, va, vb), ax, rank, at);
}

tensor *kd__t_where(elab *e, tensor *c, tensor *a, tensor *b, const kd_ast *at) {
  axis ab[KD_MAX_RANK], ax[KD_MAX_RANK];
  int r1, rank;
  if (c->dtype != KD_BOOL) { kd__err(e, KD_D_WANT_KIND, at->span, "the condition of `where`", "truth values", "numbers"); return NULL; }
  if (a->dtype != b->dtype && (a->dtype == KD_BOOL || b->dtype == KD_BOOL)) { kd__err(e, KD_D_BOOL_ARITH, at->span); return NULL; }
  if (!meet_types(e, &a, &b, at) || !meet(e, a, b, ab, &r1, at, at, at, "where")) return NULL;
  tensor joint = *a;
  joint.rank = (uint8_t)r1;
  memcpy(joint.ax, ab, sizeof(axis) * (size_t)r1);
  if (!meet(e, &joint, c, ax, &rank, at, at, at, "where")) return NULL;
  kd_build bb = kd__b(e, at);
  kd_value v = kd__b_where(&bb, spread(e, c, ax, rank, at), spread(e, a, ax, rank, at), spread(e, b, ax, rank, at));
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
  return kd__t_wrap(e, spread(e, c, to->ax, to->rank, at), to->ax, to->rank, at);
}

/* --- reductions and normalisations ---------------------------------------------------------------------------------------- */
tensor *kd__t_reduce(elab *e, kd_op op, tensor *x, const int64_t *axes, int n, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  axis ax[KD_MAX_RANK];
  int rank = 0;
  for (int i = 0; i < x->rank; i++) {
    bool gone = false;
    for (int k = 0; k < n; k++) gone = gone || axes[k] == i;
    if (!gone) ax[rank++] = x->ax[i];
  }
  return kd__t_wrap(e, kd__b_reduce(&b, op, x->v, axes, n), ax, rank, at);
}

tensor *kd__t_keep(elab *e, kd_op op, tensor *x, const int64_t *axes, int n, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, kd__b_reduce(&b, op, x->v, axes, n), x->ax, x->rank, at);
}

/* --- contraction (A11) ------------------------------------------------------------------------------------------------------ */
static int64_t product(const axis *ax, int n) { int64_t p = 1; for (int i = 0; i < n; i++) p *= ax[i].size; return p; }

/* x as [*shared, free, over] or [*shared, over, free], each group merged to one axis. */
static kd_value folded(kd_build *b, const tensor *x, const axis *sh, int ns, const axis *fr, int nf, const axis *ov, int no, bool over_first) {
  int64_t perm[KD_MAX_RANK], d[3] = { product(sh, ns), product(fr, nf), product(ov, no) };
  int k = 0;
  for (int i = 0; i < ns; i++) perm[k++] = kd__t_find(x, sh[i].label);
  if (over_first) for (int i = 0; i < no; i++) perm[k++] = kd__t_find(x, ov[i].label);
  for (int i = 0; i < nf; i++) perm[k++] = kd__t_find(x, fr[i].label);
  if (!over_first) for (int i = 0; i < no; i++) perm[k++] = kd__t_find(x, ov[i].label);
  if (over_first) { int64_t t = d[1]; d[1] = d[2]; d[2] = t; }
  return kd__b_reshape(b, kd__b_permute(b, x->v, perm), d, 3);
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
  for (int i = 0; i < a->rank; i++) {
    bool contracted = false;
    for (int k = 0; k < no; k++) contracted = contracted || ov[k].label == a->ax[i].label;
    if (contracted) continue;
    if (kd__t_find(b, a->ax[i].label) >= 0) sh[ns++] = a->ax[i]; else fa[na++] = a->ax[i];
  }
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
  kd_build b = kd__b(e, at);
  return kd__t_wrap(e, n == 1 ? v[0] : kd__b_concat(&b, v, n, pos), ax, x[0]->rank, at);
}

tensor *kd__t_stack(elab *e, tensor **x, int n, const char *label, const kd_ast *at) {
  if (kd__t_find(x[0], label) >= 0) { kd__err(e, KD_D_AXIS_TWICE, at->span, "stack", label); return NULL; }
  if (x[0]->rank + 1 > KD_MAX_RANK) { too_deep(e, at); return NULL; }
  kd_value *v = KD_NEWN(e->a, kd_value, n);
  axis ax[KD_MAX_RANK];
  ax[0] = (axis){ label, 1, kd__root_new(e, ROOT_FEATURE, NULL), false };
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
  return kd__t_wrap(e, n == 1 ? v[0] : kd__b_concat(&b, v, n, 0), ax, x[0]->rank + 1, at);
}
