/* gather.c: tensors as indices (language-notes A13): gathers, scatters, several indices at once, and which indices are known to be distinct. */
#include "compiler/elaborate/elab.h"

/* x as [*shared, N, *rest] for gather and scatter; `order` lists x's axes in that order. */
static int gather_order(const tensor *x, int p, const tensor *idx, int64_t *order) {
  int k = 0, batch = 0;
  for (int i = 0; i < x->rank; i++)
    if (i != p && kd__t_find(idx, x->ax[i].label) >= 0) { order[k++] = i; batch++; }
  order[k++] = p;
  for (int i = 0; i < x->rank; i++)
    if (i != p && kd__t_find(idx, x->ax[i].label) < 0) order[k++] = i;
  return batch;
}

/* idx with the shared axes first, in x's order; own axes follow. Returns the number of own axes, filled in `own`. */
static kd_value index_order(kd_build *b, const tensor *x, int p, const tensor *idx, axis *own, int *nown) {
  int64_t perm[KD_MAX_RANK];
  int k = 0;
  *nown = 0;
  for (int i = 0; i < x->rank; i++)
    if (i != p && kd__t_find(idx, x->ax[i].label) >= 0) perm[k++] = kd__t_find(idx, x->ax[i].label);
  for (int i = 0; i < idx->rank; i++)
    if (kd__t_find(x, idx->ax[i].label) < 0 || kd__t_find(x, idx->ax[i].label) == p) { perm[k++] = i; own[(*nown)++] = idx->ax[i]; }
  return kd__b_permute(b, idx->v, perm);
}

/* Class numbers read from data have no place outside of the axis that they index (guard G11). */
bool kd__labels_fit(elab *e, const tensor *idx, const axis *ax, const kd_ast *at) {
  const kd_node *n = kd__node_of(e->prog->g, idx->v);
  while (n->op == KD_OP_CAST || n->op == KD_OP_RESHAPE || n->op == KD_OP_PERMUTE || n->op == KD_OP_BROADCAST) n = kd__node_of(e->prog->g, n->in[0]);
  if (n->op != KD_OP_INPUT) return true;
  int64_t slot = kd__attr(n, "slot")->u.i;
  for (size_t i = 0; i < e->data.n; i++)
    for (uint32_t k = 0; k < e->data.v[i].nfield; k++) {
      const data_field *f = &e->data.v[i].field[k];
      bool reads = false;
      for (int b = 0; b < KD__BANKS; b++) reads = reads || f->slot[b] == slot;
      if (!reads || f->below <= ax->size) continue;
      kd_diag *d = kd__err(e, KD_D_LABEL_RANGE, at->span, e->slot.v[slot].s.name, (long long)f->below - 1, ax->label, (long long)ax->size);
      kd__diag_help(e->sink, d, "`%s` needs %lld places", ax->label, (long long)f->below);
      return false;
    }
  return true;
}

/* Whole numbers, and the sizes of shared axes. */
static bool index_fits(elab *e, const tensor *x, int p, const tensor *idx, const kd_ast *at) {
  if (idx->dtype != KD_I64) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "an index", "whole numbers", idx->dtype == KD_BOOL ? "truth values" : "real numbers");
    if (idx->dtype == KD_BOOL) kd__diag_help(e->sink, d, "a mask says which places count: x[%s where m]", x->ax[p].label);
    else kd__diag_help(e->sink, d, "int(i) rounds toward 0");
    return false;
  }
  if (!kd__labels_fit(e, idx, &x->ax[p], at)) return false;
  for (int i = 0; i < x->rank; i++) {
    int j = kd__t_find(idx, x->ax[i].label);
    if (i == p || j < 0 || idx->ax[j].size == x->ax[i].size) continue;
    kd_diag *d = kd__err(e, KD_D_SIZE_DIFFERS, at->span, "index", kd__arena_printf(e->a, "`%s`", x->ax[i].label), (long long)x->ax[i].size, (long long)idx->ax[j].size);
    kd__diag_help(e->sink, d, "rename the index's axis if all pairs are meant: idx[%s as b]", x->ax[i].label);
    return false;
  }
  return true;
}

/* The masks of a gather's result: of x they follow along the axis that is indexed; the index's own axes are valid where it is and what it finds is. */
static void gather_masks(elab *e, const tensor *x, int p, tensor *idx, const char *last, axis *out, int rank, const kd_ast *at) {
  if (!kd__masked(x) && !kd__masked(idx)) return;
  for (int i = 0; i < rank; i++) {
    int q = kd__t_find(x, out[i].label), j = kd__t_find(idx, out[i].label);
    const tensor *m = q >= 0 && q != p ? kd__valid_gather(e, x, x->ax[q].mask, p, idx, at) : NULL;
    if (out[i].label == last) m = kd__valid_and(e, m, kd__valid_gather(e, x, x->ax[p].mask, p, idx, at), at);
    out[i].mask = kd__valid_and(e, m, j >= 0 ? idx->ax[j].mask : NULL, at);
  }
}

/* Where the index is not valid, or what it runs along, it may be any number: 0 then. */
static tensor *valid_index(elab *e, const tensor *x, int p, tensor *idx, const kd_ast *at) {
  const tensor *m = kd__valid_all(e, idx, at);
  for (int i = 0; i < x->rank; i++) {
    const tensor *own = i != p && kd__t_find(idx, x->ax[i].label) >= 0 ? x->ax[i].mask : NULL;
    bool known = own != NULL;
    for (int k = 0; own && k < own->rank; k++) known = known && kd__t_find(idx, own->ax[k].label) >= 0;
    if (known) m = kd__valid_and(e, m, own, at);
  }
  return kd__valid_or(e, idx, m, 0, at);
}

tensor *kd__t_gather(elab *e, tensor *x, int p, tensor *idx, const kd_ast *at) {
  if (!index_fits(e, x, p, idx, at)) return NULL;
  idx = valid_index(e, x, p, idx, at);
  kd_build b = kd__b(e, at);
  int64_t order[KD_MAX_RANK];
  axis own[KD_MAX_RANK], made[2 * KD_MAX_RANK], out[KD_MAX_RANK];
  int nown, batch = gather_order(x, p, idx, order);
  kd_value iv = index_order(&b, x, p, idx, own, &nown);
  if (x->rank - 1 + nown > KD_MAX_RANK) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return NULL; }
  kd_value g = kd__b_gather(&b, kd__b_permute(&b, x->v, order), iv, batch);
  int r = 0, k = 0;
  int64_t perm[KD_MAX_RANK];
  for (int i = 0; i < batch; i++) made[r++] = x->ax[order[i]];
  for (int i = 0; i < nown; i++) made[r++] = own[i];
  for (int i = batch + 1; i < x->rank; i++) made[r++] = x->ax[order[i]];
  for (int i = 0; i < x->rank; i++) {            /* the index's own axes stand where N was */
    if (i == p) { for (int j = 0; j < nown; j++) { perm[k] = batch + j; out[k++] = own[j]; } continue; }
    for (int j = 0; j < r; j++)
      if (made[j].label == x->ax[i].label && !(j >= batch && j < batch + nown)) { perm[k] = j; out[k++] = made[j]; }
  }
  gather_masks(e, x, p, idx, nown ? own[nown - 1].label : NULL, out, k, at);
  tensor *t = kd__t_wrap(e, kd__b_permute(&b, g, perm), out, k, at);
  if (!kd__t_unique(e, t, at)) return NULL;
  return nown ? kd__valid_or(e, t, kd__valid_all(e, idx, at), 0, at) : t;
}

/* base with v written (or added) at index along axis p; skip: index -1 writes nothing. */
static tensor *scatter_one(elab *e, kd_op op, tensor *x, int p, tensor *idx, tensor *v, int skip, const kd_ast *at) {
  kd_build b = kd__b(e, at);
  int64_t order[KD_MAX_RANK], back[KD_MAX_RANK];
  axis own[KD_MAX_RANK];
  int nown, batch = gather_order(x, p, idx, order);
  kd_value iv = index_order(&b, x, p, idx, own, &nown);
  tensor want = { .dtype = x->dtype };
  if (x->rank - 1 + nown > KD_MAX_RANK) { kd__err(e, KD_D_RANK, at->span, KD_MAX_RANK); return NULL; }
  for (int i = 0; i < batch; i++) want.ax[want.rank++] = x->ax[order[i]];
  for (int i = 0; i < nown; i++) want.ax[want.rank++] = own[i];
  for (int i = batch + 1; i < x->rank; i++) want.ax[want.rank++] = x->ax[order[i]];
  tensor *u = kd__t_align(e, v, &want, at);
  if (!u) return NULL;
  kd_value r = kd__b_scatter(&b, op, kd__b_permute(&b, x->v, order), iv, u->v, batch, skip);
  for (int i = 0; i < x->rank; i++) back[order[i]] = i;
  return kd__t_wrap(e, kd__b_permute(&b, r, back), x->ax, x->rank, at);
}

/* --- several indices at once --------------------------------------------------------------------------------------------------------- */
static const char *joint_label(elab *e) { return kd__intern(e, "\001index"); }

static tensor *number(elab *e, double v, const kd_ast *at) { return kd__t_const(e, v, KD_I64, NULL, 0, at); }

/* 0 <= idx < size */
static tensor *inside(elab *e, tensor *idx, int64_t size, const kd_ast *at) {
  tensor *low = kd__t_binary(e, KD_OP_LE, number(e, 0, at), idx, at, at, at), *high = kd__t_binary(e, KD_OP_LT, idx, number(e, (double)size, at), at, at, at);
  return low && high ? kd__t_binary(e, KD_OP_AND, low, high, at, at, at) : NULL;
}

/* One index into the picked axes merged, slowest first. Each index is held to its own axis: outside of it the whole is outside. */
static tensor *joint_index(elab *e, const tensor *x, const pick *p, int n, const kd_ast *at) {
  tensor *flat = NULL, *ok = NULL;
  int64_t total = 1;
  for (int i = 0; i < n; i++) {
    int64_t size = x->ax[kd__t_find(x, p[i].label)].size;
    total *= size;
    flat = flat ? kd__t_binary(e, KD_OP_MUL, flat, number(e, (double)size, at), at, at, at) : NULL;
    flat = !i ? p[i].idx : flat ? kd__t_binary(e, KD_OP_ADD, flat, p[i].idx, at, p[0].at, p[i].at) : NULL;
    tensor *in = flat ? inside(e, p[i].idx, size, p[i].at) : NULL;
    ok = !in ? NULL : !i ? in : kd__t_binary(e, KD_OP_AND, ok, in, at, at, at);
    if (!ok) return NULL;
  }
  return kd__t_where(e, ok, flat, number(e, (double)total, at), at);
}

static bool picks_fit(elab *e, const tensor *x, const pick *p, int n) {
  for (int i = 0; i < n; i++) {
    if (!index_fits(e, x, kd__t_find(x, p[i].label), p[i].idx, p[i].at)) return false;
    for (int j = 0; j < i; j++)
      if (p[i].label == p[j].label) { kd__err(e, KD_D_AXIS_TWICE, p[i].at->span, "this index", p[i].label); return false; }
  }
  return true;
}

tensor *kd__t_gather_at(elab *e, tensor *x, const pick *p, int n, const kd_ast *at) {
  if (n == 1) return kd__t_gather(e, x, kd__t_find(x, p[0].label), p[0].idx, p[0].at);
  if (!picks_fit(e, x, p, n)) return NULL;
  tensor *idx = joint_index(e, x, p, n, at);
  int64_t pos[KD_MAX_RANK];
  for (int i = 0; i < n; i++) pos[i] = kd__t_find(x, p[i].label);
  tensor *m = idx ? kd__t_merge(e, x, pos, n, joint_label(e), at) : NULL;
  return m ? kd__t_gather(e, m, kd__t_find(m, joint_label(e)), idx, at) : NULL;
}

/* The picked axes of `flat` apart again, every axis where x has it. */
static tensor *unjoined(elab *e, const tensor *flat, const tensor *x, const pick *p, int n, const kd_ast *at) {
  axis ax[KD_MAX_RANK];
  int64_t d[KD_MAX_RANK];
  int r = 0;
  for (int i = 0; i < flat->rank; i++) {
    if (flat->ax[i].label != joint_label(e)) { ax[r++] = flat->ax[i]; continue; }
    for (int k = 0; k < n; k++) ax[r++] = x->ax[kd__t_find(x, p[k].label)];
  }
  for (int i = 0; i < r; i++) d[i] = ax[i].size;
  kd_build b = kd__b(e, at);
  return kd__t_align(e, kd__t_wrap(e, kd__b_reshape(&b, flat->v, d, r), ax, r, at), x, at);
}

static tensor *bare(elab *e, const tensor *x) {  /* without masks */
  tensor *y = kd__arena_copy(e->a, x, sizeof *x);
  for (int i = 0; i < y->rank; i++) y->ax[i].mask = NULL;
  return y;
}

static bool within(const tensor *x, const tensor *of) {
  for (int i = 0; i < x->rank; i++) if (kd__t_find(of, x->ax[i].label) < 0) return false;
  return true;
}

/* -1 where a row is left out; an index that is itself negative is put outside, where it is found. */
static tensor *skipping(elab *e, tensor *idx, tensor *where, int64_t size, const kd_ast *at) {
  tensor *neg = kd__t_binary(e, KD_OP_LT, idx, number(e, 0, at), at, at, at);
  tensor *out = neg ? kd__t_where(e, neg, number(e, (double)size, at), idx, at) : NULL;
  return out ? kd__t_where(e, where, out, number(e, -1, at), at) : NULL;
}

/* x with v written (or added) at the picked places; `where`, if any, says which. */
tensor *kd__t_scatter_at(elab *e, kd_op op, tensor *x, const pick *p, int n, tensor *v, tensor *where, const kd_ast *at) {
  if (!picks_fit(e, x, p, n)) return NULL;
  int64_t pos[KD_MAX_RANK];
  for (int i = 0; i < n; i++) pos[i] = kd__t_find(x, p[i].label);
  tensor *idx = n == 1 ? p[0].idx : joint_index(e, x, p, n, at), *base = n == 1 ? x : kd__t_merge(e, x, pos, n, joint_label(e), at);
  if (!idx || !base) return NULL;
  int to = n == 1 ? (int)pos[0] : kd__t_find(base, joint_label(e));
  if (where && where->dtype != KD_BOOL) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, at->span, "`where`", "truth values", kd__t_show(e, where));
    kd__diag_help(e->sink, d, "compare: m > 0; a parameter of truth values is declared m: bool[B, T]");
    return NULL;
  }
  const tensor *mask[3] = { where, kd__valid_all(e, v, at), kd__valid_all(e, idx, at) }, *rows = NULL, *fine = NULL;
  for (int i = 0; i < 3; i++) {                  /* rows are left out; so are single elements: they get what they have */
    if (mask[i] && within(mask[i], idx)) rows = kd__valid_and(e, rows, mask[i], at);
    else fine = kd__valid_and(e, fine, mask[i], at);
  }
  idx = bare(e, idx); v = bare(e, v);
  if (rows) idx = skipping(e, idx, bare(e, rows), base->ax[to].size, at);
  if (fine) {
    tensor *safe = rows && idx && op == KD_OP_SCATTER_SET ? kd__valid_or(e, idx, rows, 0, at) : idx;
    tensor *old = op == KD_OP_SCATTER_ADD ? kd__t_const(e, 0, x->dtype, NULL, 0, at) : safe ? kd__t_gather(e, base, to, safe, at) : NULL;
    v = old ? kd__t_where(e, bare(e, fine), kd__t_cast(e, v, x->dtype, at), bare(e, old), at) : NULL;
  }
  tensor *r = v && idx ? scatter_one(e, op, base, to, idx, v, rows != NULL, at) : NULL;
  return r && n > 1 ? unjoined(e, r, x, p, n, at) : r;
}

/* --- which indices are distinct (guard G20) ------------------------------------------------------------------------------------------ */
static bool uniform(elab *e, kd_value v) {       /* one value everywhere */
  const kd_node *n = kd__node_of(e->prog->g, v);
  return kd__type_of(e->prog->g, v)->rank == 0 || n->op == KD_OP_CONST || (n->op == KD_OP_BROADCAST && uniform(e, n->in[0]));
}

/* Whole numbers that follow each other: iota, moved by one number. */
static bool run_of(elab *e, kd_value v) {
  const kd_node *n = kd__node_of(e->prog->g, v);
  switch (n->op) {
    case KD_OP_IOTA: return kd__type_of(e->prog->g, v)->rank == 1;
    case KD_OP_ADD: return (run_of(e, n->in[0]) && uniform(e, n->in[1])) || (uniform(e, n->in[0]) && run_of(e, n->in[1]));
    case KD_OP_SUB: return run_of(e, n->in[0]) && uniform(e, n->in[1]);
    default: return false;
  }
}

static bool distinct(elab *e, kd_value v) {
  const kd_graph *g = e->prog->g;
  const kd_node *n = kd__node_of(g, v);
  if (kd__type_count(kd__type_of(g, v)) == 1 || run_of(e, v)) return true;
  switch (n->op) {
    case KD_OP_INPUT: {                          /* sample numbers are; what a definition is given is judged at its calls */
      int64_t slot = kd__attr(n, "slot")->u.i;
      if (kd__is_open(e, n)) return false;
      const slot_info *si = &e->slot.v[slot];
      if (si->data) return e->data.v[si->data - 1].index_slot[si->bank] == slot;
      return si->s.kind == KD_SLOT_FIELD && !si->whole;
    }
    case KD_OP_ADD: return (distinct(e, n->in[0]) && uniform(e, n->in[1])) || (uniform(e, n->in[0]) && distinct(e, n->in[1]));
    case KD_OP_SUB: return distinct(e, n->in[0]) && uniform(e, n->in[1]);
    case KD_OP_REM: {                            /* mod(head + iota(B), slots) goes round once at most */
      const kd_node *m = kd__node_of(g, n->in[1]);
      while (m->op == KD_OP_BROADCAST) m = kd__node_of(g, m->in[0]);
      return run_of(e, n->in[0]) && m->op == KD_OP_CONST && kd__attr(m, "value")->u.f >= (double)kd__type_count(kd__type_of(g, v));
    }
    case KD_OP_BROADCAST: return kd__type_count(kd__type_of(g, n->in[0])) == kd__type_count(kd__type_of(g, v)) && distinct(e, n->in[0]);
    case KD_OP_SLICE: {                          /* of joined parts: within one of them */
      const kd_node *c = kd__node_of(g, n->in[0]);
      if (c->op != KD_OP_CONCAT) return distinct(e, n->in[0]);
      int64_t a = kd__attr(c, "axis")->u.i, from = kd__attr(n, "start")->u.list[a], to = from + kd__attr(n, "size")->u.list[a], at = 0;
      for (uint32_t i = 0; i < c->nin; at += kd__type_of(g, c->in[i])->dim[a], i++)
        if (at <= from && to <= at + kd__type_of(g, c->in[i])->dim[a]) return distinct(e, c->in[i]);
      return false;
    }
    case KD_OP_RESHAPE: case KD_OP_PERMUTE: case KD_OP_CAST: return distinct(e, n->in[0]);
    case KD_OP_SORT: case KD_OP_TOP_K: return v != n->out && kd__type_of(g, v)->rank == 1;   /* positions, not values */
    default: return false;
  }
}

static bool runs_along(const tensor *x, const pick *p, int n, const char *label) {
  bool shared = kd__t_find(x, label) >= 0;
  for (int i = 0; i < n; i++) shared = shared && label != p[i].label;
  return shared;
}

/* Whether no two rows can meet in one place: one of the indices has every axis that the others have of their own, and no two equal values. */
bool kd__picks_distinct(elab *e, const tensor *x, const pick *p, int n) {
  for (int i = 0; i < n; i++) {
    bool all = true, own = false;
    for (int j = 0; j < n; j++)
      for (int k = 0; k < p[j].idx->rank; k++) {
        const char *l = p[j].idx->ax[k].label;
        if (runs_along(x, p, n, l)) continue;
        own = true;
        all = all && kd__t_find(p[i].idx, l) >= 0;
      }
    if (!own || (all && distinct(e, p[i].idx->v))) return true;
  }
  return false;
}

void kd__say_equal_indices(elab *e, const char *name, const kd_ast *at) {
  kd_diag *d = kd__err(e, KD_D_EQUAL_INDICES, at->span, name);
  kd__diag_help(e->sink, d, "add_at(%s, ...) adds them up, mean_at(...) takes their mean, set_at(...) says that the later is meant", name);
}
