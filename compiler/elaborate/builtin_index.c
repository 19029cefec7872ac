/* builtin_index.c: built-in functions that write by index, gather in segments, and move along an axis. */
#include "compiler/elaborate/builtin.h"

static bool one_axis(elab *e, scope *s, const arg *over, const tensor *x, const char *what, int *out) {
  int64_t axes[KD_MAX_RANK];
  int k;
  if (!kd__over(e, s, over->ast, x, axes, &k, what)) return false;
  if (k != 1) { kd__err(e, KD_D_ONE_AXIS, over->ast->span, what); return false; }
  *out = (int)axes[0];
  return true;
}

/* --- values with something written into them ------------------------------------------------------------------------------------------ */
typedef struct writing { tensor *x, *v, *where; pick p[KD_MAX_RANK]; int n; } writing;

/* set_at(x, N: idx, K: k, v, where: m): what is not positional names an axis of x. False after reporting. */
static bool writing_args(elab *e, scope *s, const builtin *b, const kd_ast *call, arg *a, uint32_t n, writing *w) {
  const arg *xa = NULL, *va = NULL;
  *w = (writing){ 0 };
  for (uint32_t i = 0; i < n; i++) {
    if (a[i].name) continue;
    if (va) { kd__err(e, KD_D_TOO_MANY_ARGS, a[i].ast->span, b->name, 2U); return false; }
    *(xa ? &va : &xa) = &a[i];
    if (kd__arg_eval(e, s, &a[i])->kind == V_POISON) return false;
  }
  if (!va) { kd__err(e, KD_D_MISSING_ARG, call->span, b->name, xa ? "v" : "x"); return false; }
  if (!(w->x = kd__want_tensor(e, xa->v, xa->ast)) || !(w->v = kd__want_tensor(e, va->v, va->ast))) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (!a[i].name) continue;
    if (kd__arg_eval(e, s, &a[i])->kind == V_POISON) return false;
    if (strcmp(a[i].name, "where") == 0) { if (!(w->where = kd__want_tensor(e, a[i].v, a[i].ast))) return false; continue; }
    const char *label = kd__index_label(e, s, w->x, a[i].name);
    int p = kd__t_find(w->x, label);
    if (p < 0) { kd__err(e, KD_D_NO_AXIS, a[i].ast->span, kd__t_show(e, w->x), label); return false; }
    tensor *idx = kd__index_tensor(e, w->x, p, a[i].v, a[i].ast);
    if (!idx) return false;
    w->p[w->n++] = (pick){ label, idx, a[i].ast };
  }
  if (w->n) return true;
  kd_diag *d = kd__err(e, KD_D_WRITE_INDEX, call->span);
  kd__diag_help(e->sink, d, "name the axis: %s(x, %s: index, v)", b->name, w->x->rank ? w->x->ax[0].label : "N");
  return false;
}

val *bi_write(B) {
  writing w;
  if (!writing_args(e, s, b, call, a, n, &w)) return &kd__poison;
  return kd__v_tensor(e, kd__t_scatter_at(e, (kd_op)b->op, w.x, w.p, w.n, w.v, w.where, call));
}

/* The axes of x that are picked, or that some index shares: a count for each place needs no others. */
static int counted(const writing *w, axis *ax) {
  int r = 0;
  for (int i = 0; i < w->x->rank; i++) {
    bool in = false;
    for (int k = 0; k < w->n; k++) in = in || w->p[k].label == w->x->ax[i].label || kd__t_find(w->p[k].idx, w->x->ax[i].label) >= 0;
    if (in) ax[r++] = w->x->ax[i];
  }
  return r;
}

/* Places that rows were meant for hold the mean of these; the others what they held. */
val *bi_mean_at(B) {
  writing w;
  if (!writing_args(e, s, b, call, a, n, &w)) return &kd__poison;
  axis ax[KD_MAX_RANK];
  int r = counted(&w, ax);
  kd_dtype t = kd__dtype_real(w.x->dtype) ? w.x->dtype : e->opt->real;
  tensor *x = kd__t_cast(e, w.x, t, call);
  tensor *sum = kd__t_scatter_at(e, KD_OP_SCATTER_ADD, kd__t_const(e, 0, t, x->ax, x->rank, call), w.p, w.n, w.v, w.where, call);
  tensor *count = kd__t_scatter_at(e, KD_OP_SCATTER_ADD, kd__t_const(e, 0, t, ax, r, call), w.p, w.n, kd__t_const(e, 1, t, NULL, 0, call), w.where, call);
  if (!sum || !count) return &kd__poison;
  tensor *mean = kd__t_binary(e, KD_OP_DIV, sum, kd__t_binary(e, KD_OP_MAX, count, kd__t_const(e, 1, t, NULL, 0, call), call, call, call), call, call, call);
  tensor *hit = kd__t_binary(e, KD_OP_LT, kd__t_const(e, 0, t, NULL, 0, call), count, call, call, call);
  return kd__v_tensor(e, kd__t_where(e, hit, mean, x, call));
}

/* --- segments ----------------------------------------------------------------------------------------------------------------------------- */
typedef struct segments { tensor *x, *by, *where; int over; pick p; axis ax[KD_MAX_RANK]; } segments;

static bool segment_args(elab *e, scope *s, const builtin *b, arg **p, segments *g) {
  axis into;
  g->x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  g->by = g->x ? kd__want_tensor(e, p[2]->v, p[2]->ast) : NULL;
  int64_t over[1];
  g->where = p[4] ? kd__want_tensor(e, p[4]->v, p[4]->ast) : NULL;
  if (!g->by || (p[4] && !g->where) || !one_axis(e, s, p[1], g->x, b->name, &g->over) || !kd__named_axis(e, s, p[3]->ast, &into)) return false;
  int q = kd__t_find(g->x, into.label);
  if (q >= 0 && q != g->over) { kd__err(e, KD_D_AXIS_TWICE, p[3]->ast->span, "the result", into.label); return false; }
  const char *label = g->x->ax[g->over].label;
  over[0] = g->over;
  const tensor *m = kd__valid_of(e, g->x, over, 1, p[0]->ast);
  if (m) g->where = kd__arena_copy(e->a, kd__valid_and(e, g->where, m, p[0]->ast), sizeof(tensor));
  if (kd__t_find(g->by, label) < 0) { kd__err(e, KD_D_NO_AXIS, p[2]->ast->span, kd__t_show(e, g->by), label); return false; }
  for (int i = 0; i < g->x->rank; i++) { g->ax[i] = g->x->ax[i]; g->ax[i].mask = kd__valid_left(e, g->x, i, over, 1, p[0]->ast); }
  g->ax[g->over] = into;
  g->p = (pick){ into.label, g->by, p[2]->ast };
  return true;
}

static tensor *segment_sum(elab *e, const segments *g, tensor *x, const kd_ast *at) {
  return kd__t_scatter_at(e, KD_OP_SCATTER_ADD, kd__t_const(e, 0, x->dtype, g->ax, x->rank, at), &g->p, 1, x, g->where, at);
}

val *bi_segment_sum(B) {
  PICK(5);
  segments g;
  return segment_args(e, s, b, p, &g) ? kd__v_tensor(e, segment_sum(e, &g, g.x, call)) : &kd__poison;
}

val *bi_segment_mean(B) {
  PICK(5);
  segments g;
  if (!segment_args(e, s, b, p, &g)) return &kd__poison;
  tensor *x = kd__t_cast(e, g.x, kd__dtype_real(g.x->dtype) ? g.x->dtype : e->opt->real, call), *sum = segment_sum(e, &g, x, call);
  tensor *count = segment_sum(e, &g, kd__t_const(e, 1, x->dtype, x->ax, x->rank, call), call);
  if (!sum || !count) return &kd__poison;
  return kd__v_tensor(e, kd__t_binary(e, KD_OP_DIV, sum, kd__t_binary(e, KD_OP_MAX, count, kd__t_const(e, 1, x->dtype, NULL, 0, call), call, call, call), call, call, call));
}

/* The rows of a segment in ascending order are written one over the other: the largest stays. */
val *bi_segment_extreme(B) {
  PICK(5);
  segments g;
  if (!segment_args(e, s, b, p, &g)) return &kd__poison;
  kd_attr at[2] = { kd__ai(g.over), kd__ai(b->op == KD_OP_MIN) };
  kd_value sorted = kd__graph_add(e->prog->g, KD_OP_SORT, &g.x->v, 1, at, kd__origin(e, call->span), NULL);
  axis ax[KD_MAX_RANK];                          /* what is valid has been put into `where`, which follows */
  for (int i = 0; i < g.x->rank; i++) { ax[i] = g.x->ax[i]; ax[i].mask = NULL; }
  tensor *v = kd__t_wrap(e, sorted, ax, g.x->rank, call), *pos = kd__t_wrap(e, sorted + 1, ax, g.x->rank, call);
  int q = kd__t_find(g.by, g.x->ax[g.over].label), m = g.where ? kd__t_find(g.where, g.x->ax[g.over].label) : -1;
  g.p.idx = kd__t_gather(e, g.by, q, pos, p[2]->ast);
  if (g.p.idx && m >= 0) g.where = kd__t_gather(e, g.where, m, pos, call);
  if (!g.p.idx || (m >= 0 && !g.where)) return &kd__poison;
  return kd__v_tensor(e, kd__t_scatter_at(e, KD_OP_SCATTER_SET, kd__t_const(e, 0, v->dtype, g.ax, v->rank, call), &g.p, 1, v, g.where, call));
}

/* --- moving along an axis ------------------------------------------------------------------------------------------------------------------ */
/* x[i - n] at place i; `fill` where that is outside. */
val *bi_shift(B) {
  PICK(4);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int at;
  int64_t k;
  double fill = 0;
  if (!x || !one_axis(e, s, p[2], x, b->name, &at) || !kd__want_int(e, p[1]->v, p[1]->ast, "`n`", &k)) return &kd__poison;
  if (p[3] && !kd__want_real(e, p[3]->v, p[3]->ast, "`fill`", &fill)) return &kd__poison;
  int64_t along = at;                            /* the mask stays: it is of places, not of values */
  x = kd__valid_or(e, x, kd__valid_of(e, x, &along, 1, call), fill, call);
  int64_t size = x->ax[at].size, st[KD_MAX_RANK] = { 0 }, sz[KD_MAX_RANK], step[KD_MAX_RANK], low[KD_MAX_RANK] = { 0 }, high[KD_MAX_RANK] = { 0 };
  if (k == 0) return kd__v_tensor(e, x);
  if (k >= size || -k >= size) return kd__v_tensor(e, kd__t_const(e, fill, x->dtype, x->ax, x->rank, call));
  for (int i = 0; i < x->rank; i++) { sz[i] = x->ax[i].size; step[i] = 1; }
  sz[at] = size - (k < 0 ? -k : k);
  st[at] = k < 0 ? -k : 0;
  low[at] = k > 0 ? k : 0;
  high[at] = k < 0 ? -k : 0;
  kd_build bb = kd__b(e, call);
  return kd__v_tensor(e, kd__t_wrap(e, kd__b_pad(&bb, kd__b_slice(&bb, x->v, st, sz, step), low, high, fill), x->ax, x->rank, call));
}

val *bi_unstack(B) {
  PICK(2);
  tensor *x = kd__want_tensor(e, p[0]->v, p[0]->ast);
  int at;
  if (!x || !one_axis(e, s, p[1], x, b->name, &at)) return &kd__poison;
  int64_t size = x->ax[at].size;
  if (size > 10000) { kd__err(e, KD_D_LOOP_LONG, call->span, (long long)size); return &kd__poison; }
  val **v = KD_NEWN(e->a, val *, size);
  for (int64_t i = 0; i < size; i++) v[i] = kd__v_tensor(e, kd__t_slice(e, x, at, i, i + 1, true, call));
  return kd__v_list(e, v, (uint32_t)size);
}
