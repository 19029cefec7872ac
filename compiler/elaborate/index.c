/* index.c: `over:` lists, shapes in brackets, and x[...]: views, slices, gathers (language-notes A10, A13, A14). */
#include "compiler/elaborate/elab.h"
#include <strings.h>

/* --- names of axes in an `over:` ------------------------------------------------------------------------------------------ */
static bool add_position(elab *e, int64_t p, int64_t *axes, int *n, const kd_ast *at, const char *label) {
  for (int i = 0; i < *n; i++)
    if (axes[i] == p) { kd__err(e, KD_D_AXIS_TWICE, at->span, "over", label); return false; }
  axes[(*n)++] = p;
  return true;
}

static bool missing_axis(elab *e, scope *s, const tensor *x, const char *label, const kd_ast *at) {
  const char *names[KD_MAX_RANK];
  if (kd__absent(e, s, label, at)) return false;
  for (int i = 0; i < x->rank; i++) names[i] = x->ax[i].label;
  kd_diag *d = kd__err(e, KD_D_NO_AXIS, at->span, kd__t_show(e, x), label);
  if (x->from) kd__diag_primary(e->sink, d, "%s is %s", x->from, kd__t_show(e, x));
  binding *b = kd__scope_find(s, label, NULL);
  const char *near = kd__nearest(e, label, names, x->rank);
  for (int i = 0; i < x->rank && !near; i++) if (strcasecmp(names[i], label) == 0) near = names[i];
  if (b && b->kind == B_VALUE && b->v && b->v->kind != V_AXIS) kd__diag_help(e->sink, d, "`%s` is %s here, not an axis", label, kd__v_kind(b->v));
  else if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
  else if (x->rank) kd__diag_help(e->sink, d, "say it with one of its axes, or name them where it is read: let z: [B, K] = ...");
  return false;
}

static bool over_one(elab *e, scope *s, const kd_ast *n, const tensor *x, int64_t *axes, int *count);

static bool over_value(elab *e, scope *s, val *v, const kd_ast *n, const tensor *x, int64_t *axes, int *count) {
  if (v->kind == V_AXIS) {
    if (*v->u.ax.label == '.' && v->u.ax.label[1] == '.' && !v->u.ax.label[2]) {
      for (int i = 0; i < x->rank; i++)
        if (*x->ax[i].label == '.' && !add_position(e, i, axes, count, n, "..")) return false;
      return true;
    }
    int p = kd__t_find(x, v->u.ax.label);
    return p >= 0 ? add_position(e, p, axes, count, n, v->u.ax.label) : missing_axis(e, s, x, v->u.ax.label, n);
  }
  if (v->kind == V_LIST) {
    for (uint32_t i = 0; i < v->u.list.n; i++)
      if (!over_value(e, s, v->u.list.v[i], n, x, axes, count)) return false;
    return true;
  }
  kd_diag *d = v->kind == V_POISON ? NULL : kd__err(e, KD_D_WANT_KIND, n->span, "over", "names of axes", kd__v_show(e, v));
  if (d && v->kind == V_STRING) kd__diag_help(e->sink, d, "write it without quotes: over: %s", v->u.s);
  else if (d) kd__diag_help(e->sink, d, "the axes here are %s", kd__t_show(e, x));
  return false;
}

static bool over_one(elab *e, scope *s, const kd_ast *n, const tensor *x, int64_t *axes, int *count) {
  if (n->kind == KD_AST_REST) {
    for (int i = 0; i < x->rank; i++)
      if (*x->ax[i].label == '.' && !add_position(e, i, axes, count, n, "..")) return false;
    return true;
  }
  if (n->kind == KD_AST_NAME) {
    const char *label = kd__intern(e, n->text);
    int p = kd__t_find(x, label);
    if (p >= 0) return add_position(e, p, axes, count, n, label);
    binding *b = kd__scope_find(s, n->text, NULL);
    if (b && b->kind == B_VALUE && b->v && (b->v->kind == V_AXIS || b->v->kind == V_LIST)) { b->used = true; return over_value(e, s, b->v, n, x, axes, count); }
    return missing_axis(e, s, x, label, n);
  }
  if (n->kind == KD_AST_LIST) {
    for (uint32_t i = 0; i < n->n; i++)
      if (!over_one(e, s, n->kid[i], x, axes, count)) return false;
    return true;
  }
  return over_value(e, s, kd__eval(e, s, n), n, x, axes, count);
}

bool kd__over(elab *e, scope *s, const kd_ast *over, const tensor *x, int64_t *axes, int *n, const char *what) {
  (void)what;
  *n = 0;
  if (!over_one(e, s, over, x, axes, n)) return false;
  for (int i = 1; i < *n; i++)                   /* ascending: the operators do not care, hash-consing does */
    for (int j = i; j > 0 && axes[j - 1] > axes[j]; j--) { int64_t t = axes[j]; axes[j] = axes[j - 1]; axes[j - 1] = t; }
  return true;
}

/* --- shapes --------------------------------------------------------------------------------------------------------------------- */
static bool shape_push(elab *e, axis *ax, uint32_t *rank, axis a, const kd_ast *at) {
  for (uint32_t i = 0; i < *rank; i++)
    if (ax[i].label == a.label) { kd__err(e, KD_D_AXIS_TWICE, at->span, "this shape", a.label); return false; }
  if (*rank == KD_MAX_RANK) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return false; }
  if (a.size <= 0) { kd__err(e, KD_D_AXIS_SIZE, at->span, a.label, (long long)a.size); return false; }
  ax[(*rank)++] = a;
  return true;
}

/* The label of an axis that is made: what a variable of type axis holds, else the name itself. */
const char *kd__new_label(elab *e, scope *s, const char *text) {
  binding *b = kd__scope_find(s, text, NULL);
  if (!b || b->kind != B_VALUE || !b->v || b->v->kind != V_AXIS || *b->v->u.ax.label == '.') return kd__intern(e, text);
  b->used = true;
  return b->v->u.ax.label;
}

static bool shape_name(elab *e, scope *s, const char *text, const kd_ast *size, axis *ax, uint32_t *rank, const kd_ast *at) {
  const char *label = size ? kd__new_label(e, s, text) : kd__intern(e, text);
  const axis *known = kd__scope_axis(s, label);
  if (size) {
    int64_t k;
    val *v = kd__eval(e, s, size);
    if (v->kind == V_AXIS) k = v->u.ax.size;
    else if (!kd__want_int(e, v, size, kd__arena_printf(e->a, "the size of axis `%s`", text), &k)) return false;
    axis a = { label, k, v->kind == V_AXIS ? v->u.ax.root : kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
    return shape_push(e, ax, rank, a, at);
  }
  if (!known) {
    binding *b = kd__scope_find(s, text, NULL);
    if (b && b->kind == B_VALUE && b->v && b->v->kind == V_AXIS) return shape_push(e, ax, rank, b->v->u.ax, at);
    if (kd__absent(e, s, label, at)) return false;
    kd_diag *d = kd__err(e, KD_D_UNKNOWN_AXIS, at->span, text);
    kd__diag_help(e->sink, d, "give its size: [%s: 10]", text);
    return false;
  }
  axis a = *known;
  a.label = label;
  return shape_push(e, ax, rank, a, at);
}

/* `..` in a shape: the rest of the axes, as the definition's own parameters have it. */
static bool shape_rest(elab *e, scope *s, axis *ax, uint32_t *rank, const kd_ast *at) {
  while (s->up && !s->definition) s = s->up;
  for (size_t i = 0; i < s->axes.n; i++)
    if (s->axes.v[i].label[0] == '.' && s->axes.v[i].label[1] == '.' && !shape_push(e, ax, rank, s->axes.v[i], at)) return false;
  return true;
}

bool kd__shape(elab *e, scope *s, const kd_ast *list, axis *ax, uint32_t *rank) {
  *rank = 0;
  if (list->kind != KD_AST_LIST) { kd__err(e, KD_D_WANT_KIND, list->span, "the shape", "a list of axes such as [B, M: 64]", "something else"); return false; }
  for (uint32_t i = 0; i < list->n; i++) {
    const kd_ast *k = list->kid[i];
    if (k->kind == KD_AST_NAME) { if (!shape_name(e, s, k->text, NULL, ax, rank, k)) return false; }
    else if (k->kind == KD_AST_ARG && k->text) { if (!shape_name(e, s, k->text, k->kid[0], ax, rank, k)) return false; }
    else if (k->kind == KD_AST_REST) { if (!shape_rest(e, s, ax, rank, k)) return false; }
    else { kd__err(e, KD_D_WANT_KIND, k->span, "a shape's element", "an axis such as B or M: 64", "something else"); return false; }
  }
  return true;
}

bool kd__axes_type(elab *e, scope *s, const kd_ast *axes, axis *ax, uint32_t *rank) {
  *rank = 0;
  for (uint32_t i = 0; i < axes->n; i++) {
    const kd_ast *k = axes->kid[i];
    if (!k->text || (k->flag & KD_AST_REST_AXIS)) { kd__err(e, KD_D_REST_HERE, k->span); return false; }
    if (!shape_name(e, s, k->text, k->n ? k->kid[0] : NULL, ax, rank, k)) return false;
    kd__scope_add_axis(e, s, ax[*rank - 1]);
  }
  return true;
}

/* All parts of one split, merged in another order than they were split in (guard G12). */
static void parts_in_order(elab *e, const tensor *x, const int64_t *pos, int n, const kd_ast *at) {
  const char *was[KD_MAX_RANK] = { 0 }, *a = "", *b = "";
  bool moved = false;
  for (int i = 0; i < n; i++) {
    const root *r = &e->root.v[x->ax[pos[i]].root];
    if (!r->whole || r->whole != e->root.v[x->ax[pos[0]].root].whole || r->part >= n || was[r->part]) return;
    was[r->part] = x->ax[pos[i]].label;
    moved = moved || r->part != i;
  }
  if (!moved) return;
  for (int i = 0; i < n; i++) {
    a = kd__arena_printf(e->a, "%s%s%s", a, i ? ", " : "", was[i]);
    b = kd__arena_printf(e->a, "%s%s%s", b, i ? ", " : "", x->ax[pos[i]].label);
  }
  kd_diag *d = kd__err(e, KD_D_MERGED_OTHERWISE, at->span, e->root.v[x->ax[pos[0]].root].text, a, b);
  kd__diag_help(e->sink, d, "(%s) puts every element where it was", a);
}

/* --- views ------------------------------------------------------------------------------------------------------------------------ */
tensor *kd__t_merge(elab *e, tensor *x, const int64_t *pos, int n, const char *label, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  if (n == 0) {                                  /* an empty rest merges to size 1 */
    axis ax[KD_MAX_RANK];
    int64_t d[KD_MAX_RANK];
    memcpy(ax, x->ax, sizeof(axis) * x->rank);
    ax[x->rank] = (axis){ label, 1, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
    for (int i = 0; i <= x->rank; i++) d[i] = ax[i].size;
    return kd__t_wrap(e, kd__b_reshape(&b, x->v, d, x->rank + 1), ax, x->rank + 1, at);
  }
  parts_in_order(e, x, pos, n, at);
  int first = (int)pos[0];
  for (int i = 0; i < n; i++) if (pos[i] < first) first = (int)pos[i];
  int64_t perm[KD_MAX_RANK], d[KD_MAX_RANK];
  axis ax[KD_MAX_RANK];
  int k = 0, r = 0;
  for (int i = 0; i < x->rank; i++) {
    bool in = false;
    for (int j = 0; j < n; j++) in = in || pos[j] == i;
    if (in && i != first) continue;
    if (!in) { perm[k++] = i; ax[r++] = x->ax[i]; continue; }
    int64_t size = 1;
    const char *text = "";
    for (int j = 0; j < n; j++) {
      perm[k++] = pos[j];
      size *= x->ax[pos[j]].size;
      text = kd__arena_printf(e->a, "%s%s%s %lld", text, j ? ", " : "", x->ax[pos[j]].label, (long long)x->ax[pos[j]].size);
    }
    uint32_t made = n == 1 ? x->ax[pos[0]].root : kd__root_new(e, ROOT_MERGED, text);
    ax[r++] = (axis){ label, size, made, false, NULL };
  }
  for (int i = 0; i < r; i++) d[i] = ax[i].size;
  tensor *y = kd__t_wrap(e, kd__b_reshape(&b, kd__b_permute(&b, x->v, perm), d, r), ax, r, at);
  kd__valid_merge(e, x, pos, n, label, y, at);
  return y;
}

static tensor *split_axis(elab *e, scope *s, tensor *x, int p, const kd_ast *target, const kd_ast *at) {
  axis ax[KD_MAX_RANK];
  int64_t d[KD_MAX_RANK], known = 1;
  int open = -1, r = 0;
  if (x->rank - 1 + (int)target->n > KD_MAX_RANK) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return NULL; }
  for (int i = 0; i < x->rank; i++) {
    if (i != p) { ax[r++] = x->ax[i]; continue; }
    for (uint32_t k = 0; k < target->n; k++) {
      const kd_ast *t = target->kid[k];
      int64_t size = 0;
      if (t->n) { if (!kd__want_int(e, kd__eval(e, s, t->kid[0]), t, "the size of a part", &size)) return NULL; known *= size; }
      else if (open >= 0) { kd__err(e, KD_D_SPLIT_OPEN, t->span); return NULL; }
      else open = r;
      ax[r] = (axis){ kd__intern(e, t->text), size, kd__root_new(e, ROOT_FEATURE, x->ax[p].label), false, NULL };
      e->root.v[ax[r].root].whole = ax[p].root;
      e->root.v[ax[r++].root].part = (int)k;
    }
  }
  int64_t whole = x->ax[p].size;
  if (known <= 0 || whole % known != 0 || (open < 0 && known != whole)) {
    kd__err(e, KD_D_SPLIT_SIZE, at->span, x->ax[p].label, (long long)whole, (long long)known);
    return NULL;
  }
  if (open >= 0) ax[open].size = whole / known;
  for (int i = 0; i < r; i++) d[i] = ax[i].size;
  kd_build b = kd__b(e, at);
  tensor *y = kd__t_wrap(e, kd__b_reshape(&b, x->v, d, r), ax, r, at);
  kd__valid_split(e, x, p, (int)target->n, y, at);
  return y;
}

bool kd__t_unique(elab *e, const tensor *t, const kd_ast *at) {
  for (int i = 0; i < t->rank; i++)
    for (int j = 0; j < i; j++)
      if (t->ax[i].label == t->ax[j].label) { kd__err(e, KD_D_AXIS_TWICE, at->span, "the result", t->ax[i].label); return false; }
  return true;
}

/* The condition of a mask knows the axes of what it masks, under their names before and after the view. */
static tensor *mask_cond(elab *e, scope *s, const tensor *x, const kd_ast *k, const axis *target) {
  scope *in = kd__scope_new(e, s, NULL);
  for (int i = 0; i < x->rank; i++) kd__scope_add_axis(e, in, x->ax[i]);
  if (target) kd__scope_add_axis(e, in, *target);
  return kd__want_tensor(e, kd__eval(e, in, k->kid[1]), k->kid[1]);
}

static bool all_in(const tensor *m, const tensor *x) {
  for (int i = 0; i < m->rank; i++) if (kd__t_find(x, m->ax[i].label) < 0) return false;
  return true;
}

typedef struct view_state {
  const char *from[KD_MAX_RANK], *to[KD_MAX_RANK]; int renames;          /* applied at the end, all at once */
  const char *masked[KD_MAX_RANK]; tensor *mask[KD_MAX_RANK]; const kd_ast *at[KD_MAX_RANK]; int masks;    /* given in the new names */
} view_state;

/* `L as M where m`: m in the old names masks the source, in the new ones the result. */
static tensor *mask_view(elab *e, scope *s, tensor *x, const kd_ast *k, const int64_t *pos, int np, view_state *w) {
  const kd_ast *target = k->kid[0]->kid[k->kid[0]->n - 1];
  axis t = { kd__new_label(e, s, target->kid[0]->text), 1, 0, false, NULL };
  for (int i = 0; i < np; i++) t.size *= x->ax[pos[i]].size;
  tensor *m = mask_cond(e, s, x, k, target->n == 1 ? &t : NULL);
  if (!m) return NULL;
  if (np && all_in(m, x) && (np > 1 || target->n > 1 || kd__t_find(m, t.label) < 0)) {
    int last = -1;                               /* the last source that the mask tells apart */
    for (int i = 0; i < np; i++) if (kd__t_find(m, x->ax[pos[i]].label) >= 0) last = (int)pos[i];
    return kd__valid_where(e, x, last < 0 ? (int)pos[0] : last, m, k->kid[1]);
  }
  w->masked[w->masks] = t.label; w->at[w->masks] = k->kid[1];
  w->mask[w->masks++] = m;
  return x;
}

static tensor *view_one(elab *e, scope *s, tensor *x, const kd_ast *k, view_state *w) {
  const kd_ast *v = k->kind == KD_AST_MASK ? k->kid[0] : k, *target = v->kid[v->n - 1];
  int64_t pos[KD_MAX_RANK];
  int np = 0;
  for (uint32_t j = 0; j + 1 < v->n; j++) if (!over_one(e, s, v->kid[j], x, pos, &np)) return NULL;
  if (k->kind == KD_AST_MASK && !(x = mask_view(e, s, x, k, pos, np, w))) return NULL;
  bool rest = v->n == 2 && v->kid[0]->kind == KD_AST_REST;
  if (target->n > 1) {
    if (np != 1) { kd__err(e, KD_D_SPLIT_OPEN, v->span); return NULL; }
    return split_axis(e, s, x, (int)pos[0], target, v);
  }
  const char *label = kd__new_label(e, s, target->kid[0]->text), *made = kd__intern(e, kd__arena_printf(e->a, "\001%s", label));
  bool merge = (v->flag & KD_AST_MERGE) || np != 1 || rest;
  w->from[w->renames] = merge ? made : x->ax[pos[0]].label;
  w->to[w->renames++] = label;
  if (merge) return kd__t_merge(e, x, pos, np, made, v);
  if (target->kid[0]->n) {
    int64_t want;
    if (!kd__want_int(e, kd__eval(e, s, target->kid[0]->kid[0]), v, "the size of an axis", &want)) return NULL;
    if (want != x->ax[pos[0]].size) { kd__err(e, KD_D_SPLIT_SIZE, v->span, x->ax[pos[0]].label, (long long)x->ax[pos[0]].size, (long long)want); return NULL; }
  }
  return x;
}

static tensor *mask_one(elab *e, scope *s, tensor *x, const kd_ast *k) {
  int64_t pos[KD_MAX_RANK];
  int np = 0;
  if (!over_one(e, s, k->kid[0], x, pos, &np)) return NULL;
  if (np != 1) { kd__err(e, KD_D_ONE_AXIS, k->kid[0]->span, "where"); return NULL; }
  tensor *m = mask_cond(e, s, x, k, NULL);
  return m ? kd__valid_where(e, x, (int)pos[0], m, k->kid[1]) : NULL;
}

static bool has_as(const kd_ast *k) { return k->kind == KD_AST_VIEW || (k->kind == KD_AST_MASK && k->kid[0]->kind == KD_AST_VIEW); }

/* An axis that is only named, in x[B, L where m]. */
static bool only_named(elab *e, const tensor *x, const kd_ast *k) {
  if (k->kind == KD_AST_REST) return true;
  return k->kind == KD_AST_SUB && !k->text && k->n && k->kid[0] && k->kid[0]->kind == KD_AST_NAME && kd__t_find(x, kd__intern(e, k->kid[0]->text)) >= 0;
}

/* Source axes of a view by label in the tensor as it was before the bracket. */
static tensor *view(elab *e, scope *s, tensor *x, const kd_ast *n) {
  view_state w = { .renames = 0 };
  bool as = false;
  for (uint32_t i = 1; i < n->n; i++) as = as || has_as(n->kid[i]);
  for (uint32_t i = 1; i < n->n && x; i++) {
    const kd_ast *k = n->kid[i];
    if (has_as(k)) x = view_one(e, s, x, k, &w);
    else if (k->kind == KD_AST_MASK) x = mask_one(e, s, x, k);
    else if (as || !only_named(e, x, k)) {
      kd_diag *d = kd__err(e, KD_D_VIEW_MIX, k->span);
      kd__diag_help(e->sink, d, "a merge is written x[(H, W) as N]; a view and an index each have their own brackets");
      return NULL;
    }
  }
  if (!x) return NULL;
  tensor *y = kd__arena_copy(e->a, x, sizeof *x);
  const char *was[KD_MAX_RANK];
  for (int i = 0; i < y->rank; i++) {
    was[i] = x->ax[i].label;
    for (int r = 0; r < w.renames; r++)
      if (x->ax[i].label == w.from[r]) { y->ax[i].label = w.to[r]; y->ax[i].guessed = s->place == e->top ? AXIS_NAMED : 0; }
  }
  kd__valid_rename(e, y, was, y->rank);
  if (!kd__t_unique(e, y, n)) return NULL;
  for (int i = 0; i < w.masks && y; i++) y = kd__valid_where(e, y, kd__t_find(y, w.masked[i]), w.mask[i], w.at[i]);
  return y;
}

/* --- indices ------------------------------------------------------------------------------------------------------------------------ */
tensor *kd__t_slice(elab *e, tensor *x, int p, int64_t from, int64_t to, bool drop, const kd_ast *at) {
  int64_t size = x->ax[p].size;
  if (from < 0) from += size;
  if (to < 0) to += size;
  if (from < 0 || to > size || from >= to) { kd__err(e, KD_D_SLICE_RANGE, at->span, (long long)from, (long long)to, x->ax[p].label, (long long)size); return NULL; }
  int64_t st[KD_MAX_RANK], sz[KD_MAX_RANK], step[KD_MAX_RANK];
  axis ax[KD_MAX_RANK];
  int r = 0;
  for (int i = 0; i < x->rank; i++) {
    st[i] = i == p ? from : 0;
    sz[i] = i == p ? to - from : x->ax[i].size;
    step[i] = 1;
    if (i == p && drop) continue;
    ax[r] = x->ax[i];
    ax[r++].size = sz[i];
    if (i == p && sz[i] != x->ax[i].size) ax[r - 1].root = kd__root_new(e, ROOT_FEATURE, NULL);
  }
  kd_build b = kd__b(e, at);
  kd_value v = kd__b_slice(&b, x->v, st, sz, step);
  if (drop) {
    int64_t d[KD_MAX_RANK];
    for (int i = 0; i < r; i++) d[i] = ax[i].size;
    v = kd__b_reshape(&b, v, d, r);
  }
  kd__valid_slice(e, x->ax[p].label, from, to, drop, ax, r, at);
  return kd__t_wrap(e, v, ax, r, at);
}

static val *index_list(elab *e, scope *s, val *x, const kd_ast *n) {
  const kd_ast *sub = n->kid[1];
  if (n->n != 2 || sub->kind != KD_AST_SUB || !sub->n || !sub->kid[0]) { kd__err(e, KD_D_LIST_INDEX, n->span); return &kd__poison; }
  val *i = kd__eval(e, s, sub->kid[0]);
  int64_t k, len = x->u.list.n;
  if (i->kind == V_RANGE) {
    int64_t from = i->u.range.from < 0 ? i->u.range.from + len : i->u.range.from, to = i->u.range.to == INT64_MAX ? len : i->u.range.to < 0 ? i->u.range.to + len : i->u.range.to;
    if (from < 0 || to > len || from > to) { kd__err(e, KD_D_LIST_RANGE, sub->span, (long long)from, (long long)len); return &kd__poison; }
    return kd__v_list(e, x->u.list.v + from, (uint32_t)(to - from));
  }
  if (!kd__want_int(e, i, sub, "a list's index", &k)) return &kd__poison;
  if (k < 0) k += len;
  if (k < 0 || k >= len) { kd__err(e, KD_D_LIST_RANGE, sub->span, (long long)i->u.i, (long long)len); return &kd__poison; }
  return x->u.list.v[k];
}

/* One index of axis p: a number drops it, a range slices it, a tensor is put among the picks. NULL after reporting. */
static tensor *index_one(elab *e, scope *s, tensor *x, int p, const kd_ast *at, const kd_ast *expr, pick *picks, int *npick) {
  val *i = kd__force_app(kd__eval(e, s, expr));
  if (i->kind == V_POISON) return NULL;
  if (i->kind == V_RANGE) return kd__t_slice(e, x, p, i->u.range.from, i->u.range.to == INT64_MAX ? x->ax[p].size : i->u.range.to, false, at);
  if (i->kind == V_INT) {
    int64_t k = i->u.i < 0 ? i->u.i + x->ax[p].size : i->u.i;
    return kd__t_slice(e, x, p, k, k + 1, true, at);
  }
  tensor *t = kd__want_tensor(e, i, expr);
  if (t) picks[(*npick)++] = (pick){ x->ax[p].label, t, expr };
  return t ? x : NULL;
}

/* The axis that a label in brackets means: of the operand first, else what a variable of type axis holds (A10). */
const char *kd__index_label(elab *e, scope *s, const tensor *x, const char *text) {
  const char *label = kd__intern(e, text);
  binding *b = kd__t_find(x, label) < 0 ? kd__scope_find(s, text, NULL) : NULL;
  if (!b || b->kind != B_VALUE || !b->v || b->v->kind != V_AXIS) return label;
  b->used = true;
  return b->v->u.ax.label;
}

/* The axes that the indices of one bracket stand for, in `label`. False after reporting. */
static bool index_axes(elab *e, scope *s, const tensor *t, const kd_ast *n, const char **label) {
  int at = 0;
  for (uint32_t i = 1; i < n->n; i++) {
    const kd_ast *k = n->kid[i];
    label[i] = NULL;
    if (k->kind == KD_AST_REST) { at = t->rank - (int)(n->n - 1 - i); continue; }
    if (!k->text && at >= t->rank) { kd__err(e, KD_D_INDEX_MANY, k->span, kd__t_show(e, t)); return false; }
    label[i] = k->text ? kd__index_label(e, s, t, k->text) : t->ax[at].label;
    if (kd__t_find(t, label[i]) < 0) return missing_axis(e, s, t, label[i], k);
    for (uint32_t j = 1; j < i; j++)
      if (label[j] == label[i]) { kd__err(e, KD_D_AXIS_TWICE, k->span, "this index", label[i]); return false; }
    at++;
  }
  return true;
}

val *kd__index(elab *e, scope *s, val *x, const kd_ast *n) {
  x = x->kind == V_APP && x->u.app->ret->kind != V_RECORD ? kd__force_app(x) : x;
  if (x->kind == V_POISON) return x;
  if (x->kind == V_LIST) return index_list(e, s, x, n);
  if (kd__treelike(x) && n->n == 2 && n->kid[1]->kind == KD_AST_SUB && n->kid[1]->n == 1 && !n->kid[1]->text) {
    const char *path;
    const kd_ast *at = n->kid[1]->kid[0];
    return kd__want_str(e, kd__eval(e, s, at), at, "the path of a leaf", &path) ? kd__tree_pick(e, x, path, at) : &kd__poison;
  }
  if (x->kind == V_RECORD && n->n == 2 && n->kid[1]->n == 1) {
    val *k = kd__eval(e, s, n->kid[1]->kid[0]);
    if (k->kind == V_STRING) for (uint32_t i = 0; i < x->u.rec.n; i++) if (strcmp(x->u.rec.key[i], k->u.s) == 0) return x->u.rec.v[i];
  }
  tensor *t = kd__want_tensor(e, x, n->kid[0]);
  if (!t) return &kd__poison;
  for (uint32_t i = 1; i < n->n; i++)
    if (n->kid[i]->kind == KD_AST_VIEW || n->kid[i]->kind == KD_AST_MASK) return kd__v_tensor(e, view(e, s, t, n));
  const char **label = KD_NEWN(e->a, const char *, n->n);
  pick picks[KD_MAX_RANK];
  int npick = 0;
  if (!index_axes(e, s, t, n, label)) return &kd__poison;
  for (uint32_t i = 1; i < n->n && t; i++)
    if (label[i] && n->kid[i]->n && n->kid[i]->kid[0]) t = index_one(e, s, t, kd__t_find(t, label[i]), n->kid[i], n->kid[i]->kid[0], picks, &npick);
  return kd__v_tensor(e, t && npick ? kd__t_gather_at(e, t, picks, npick, n) : t);
}

/* An index of axis p as a tensor, for writing: numbers and ranges too. NULL after reporting. */
tensor *kd__index_tensor(elab *e, const tensor *x, int p, val *i, const kd_ast *at) {
  i = kd__force_app(i);
  int64_t size = x->ax[p].size;
  if (i->kind != V_RANGE && i->kind != V_INT) return kd__want_tensor(e, i, at);
  int64_t from = i->kind == V_INT ? i->u.i : i->u.range.from, to = i->kind == V_INT ? from + 1 : i->u.range.to;
  if (from < 0) from += size;
  if (to <= 0 && i->kind == V_INT) to += size;
  if (to == INT64_MAX) to = size;
  if (to < 0) to += size;
  if (from < 0 || to > size || from >= to) { kd__err(e, KD_D_SLICE_RANGE, at->span, (long long)from, (long long)to, x->ax[p].label, (long long)size); return NULL; }
  if (i->kind == V_INT) return kd__t_const(e, (double)from, KD_I64, NULL, 0, at);
  axis a = x->ax[p];
  a.size = to - from;
  kd_build b = kd__b(e, at);
  tensor *run = kd__t_wrap(e, kd__b_iota(&b, KD_I64, &a.size, 1, 0), &a, 1, at);
  return from ? kd__t_binary(e, KD_OP_ADD, run, kd__t_const(e, (double)from, KD_I64, NULL, 0, at), at, at, at) : run;
}

bool kd__picks(elab *e, scope *s, const tensor *x, const kd_ast *n, pick *picks, int *npick) {
  const char **label = KD_NEWN(e->a, const char *, n->n);
  *npick = 0;
  if (!index_axes(e, s, x, n, label)) return false;
  for (uint32_t i = 1; i < n->n; i++) {
    const kd_ast *k = n->kid[i];
    if (!label[i] || !k->n || !k->kid[0]) continue;
    if (k->kind != KD_AST_SUB) { kd__err(e, KD_D_WRITE_INDEX, k->span); return false; }
    tensor *t = kd__index_tensor(e, x, kd__t_find(x, label[i]), kd__eval(e, s, k->kid[0]), k->kid[0]);
    if (!t) return false;
    picks[(*npick)++] = (pick){ label[i], t, k->kid[0] };
  }
  return true;
}
