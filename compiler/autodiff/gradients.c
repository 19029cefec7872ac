/* gradients.c: the backward walk over a graph. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/autodiff/rule.h"
#include <assert.h>

/* The part of the graph between what is differentiated for and what is differentiated: nodes lo..hi, values first..last. */
typedef struct walk {
  kd_graph *g;
  const uint8_t *limit;                          /* by operator: how often it may be differentiated */
  uint32_t lo, hi, most_in;
  kd_value first;
  bool failed;                                   /* memory ran out */
  bool *active;                                  /* by value: depends on a wrt through differentiable paths */
  kd_value *adjoint;                             /* by value: its gradient so far, or 0 */
} walk;

typedef void (*rule_fn)(kd__rule *r);
static const rule_fn rules[KD_OP_COUNT] = {
#define KD_OP(ID, name, class, nin, nout, attrs, shape, grad, ...) [KD_OP_##ID] = kd__grad_##grad,
#include "runtime/op/ops.def"
#undef KD_OP
};

/* How often each operator may be differentiated. */
static const uint8_t limits[KD_OP_COUNT] = {
#define KD_OP(ID, name, class, nin, nout, attrs, shape, grad, diff, ...) [KD_OP_##ID] = diff,
#include "runtime/op/ops.def"
#undef KD_OP
};

void kd__grad_zero(kd__rule *r) { (void)r; assert(!"no gradient flows through this operator"); }
void kd__grad_none(kd__rule *r) { (void)r; assert(!"this operator has no gradient"); }

static bool real(const kd_graph *g, kd_value v) { return kd__dtype_real((kd_dtype)g->type.v[v].dtype); }

static bool is_active(const walk *w, kd_value v) { return v >= w->first && w->active[v - w->first]; }

static bool any_active(const walk *w, const kd_node *n) {
  for (uint32_t i = 0; i < n->nin; i++)
    if (is_active(w, n->in[i])) return true;
  return false;
}

/* Of a loop only those results that the body makes of active operands. False when memory ran out. */
static bool activate_loop(walk *w, const kd_node *n) {
  bool *in = KD_NEWN(w->g->arena, bool, n->nin + 1), *out = KD_NEWN(w->g->arena, bool, n->nout + 1);
  if (!in || !out) return false;
  for (uint32_t i = 0; i < n->nin; i++) in[i] = is_active(w, n->in[i]);
  if (!kd__loop_active(n, in, out)) return false;
  for (uint32_t k = 0; k < n->nout; k++)
    if (out[k] && real(w->g, n->out + k)) w->active[n->out + k - w->first] = true;
  return true;
}

/* Finds the part between wrt and the ends and marks what depends on wrt, not through values that `past` marks (NULL: none). False when it is
 * empty or memory ran out. */
static bool walk_begin(walk *w, kd_graph *g, const kd_value *wrt, size_t n, const kd_value *end, size_t nend, const bool *past) {
  *w = (walk){ .g = g, .lo = UINT32_MAX };
  for (size_t i = 0; i < nend; i++)
    if (end[i] && g->def.v[end[i]] > w->hi) w->hi = g->def.v[end[i]];
  for (size_t i = 0; i < n; i++)
    if (wrt[i] && real(g, wrt[i]) && g->def.v[wrt[i]] < w->lo) w->lo = g->def.v[wrt[i]];
  if (w->lo > w->hi) return false;
  w->first = g->node.v[w->lo].out;
  kd_value last = g->node.v[w->hi].out + g->node.v[w->hi].nout - 1;
  w->active = KD_NEWN(g->arena, bool, last - w->first + 1);
  w->failed = !w->active;
  if (w->failed) return false;
  for (size_t i = 0; i < n; i++)
    if (wrt[i] && wrt[i] <= last && real(g, wrt[i])) w->active[wrt[i] - w->first] = true;
  for (uint32_t i = w->lo + 1; i <= w->hi; i++) {
    const kd_node *node = &g->node.v[i];
    if (rules[node->op] == kd__grad_zero || !any_active(w, node)) continue;
    if (node->nin > w->most_in) w->most_in = node->nin;
    if (node->op == KD_OP_LOOP) {
      w->failed = !activate_loop(w, node);
      if (w->failed) return false;
      continue;
    }
    for (kd_value v = node->out; v < node->out + node->nout; v++)
      if (real(g, v) && !(past && past[v])) w->active[v - w->first] = true;
  }
  for (size_t i = 0; i < nend; i++)
    if (end[i] && is_active(w, end[i])) return true;
  return false;
}

bool kd__active(kd_graph *g, const kd_value *from, size_t n, const kd_value *to, bool *reached, size_t nto) {
  walk w;
  for (size_t i = 0; i < nto; i++) reached[i] = false;
  if (!walk_begin(&w, g, from, n, to, nto, NULL)) return !w.failed;
  for (size_t i = 0; i < nto; i++) reached[i] = to[i] && is_active(&w, to[i]);
  return true;
}

bool kd__reaches_past(const kd_graph *g, const kd_value *from, size_t n, kd_value to, const bool *past) {
  walk w;
  if (!to) return false;
  return walk_begin(&w, (kd_graph *)(uintptr_t)g, from, n, &to, 1, past);    /* only its arena is used */
}

bool kd__reaches(const kd_graph *g, kd_value from, kd_value to) { return kd__reaches_past(g, &from, 1, to, NULL); }

static void add_to(walk *w, kd_build *b, kd_value v, kd_value d) {
  kd_value *to = &w->adjoint[v - w->first];
  assert(kd__type_equal(kd__type_of(b->g, v), kd__type_of(b->g, d)));
  *to = *to ? kd__b_op2(b, KD_OP_ADD, *to, d) : d;
}

/* By operand of the node at hand. */
struct room { bool *need, *whole; kd_value *d, *have; };

/* Runs the rule of node `id` where a gradient has arrived at one of its results. False if the operator forbids it. */
static bool step_back(walk *w, kd_build *b, uint32_t id, struct room *m, kd_grad_error *err) {
  bool *need = m->need;
  kd_value *d = m->d;
  kd_grad_error inner = { 0 };
  kd__rule r = { .b = *b, .n = w->g->node.v[id], .need = need, .d = d, .have = m->have, .whole = m->whole, .err = &inner, .limit = w->limit };
  if (r.n.origin) r.b.origin = r.n.origin;       /* a gradient belongs to what it is the gradient of */
  bool arrived = false;
  r.g = &w->adjoint[r.n.out - w->first];
  for (uint32_t i = 0; i < r.n.nout; i++) arrived |= r.g[i] != 0;
  if (!arrived || rules[r.n.op] == kd__grad_zero || !any_active(w, &r.n)) return true;
  if (rules[r.n.op] == kd__grad_none || w->limit[r.n.op] == 0 || r.n.once) {
    if (err) *err = (kd_grad_error){ .at = r.n.out, .op = (kd_op)(r.n.once ? r.n.once : r.n.op), .again = r.n.once != 0 };
    return false;
  }
  for (uint32_t i = 0; i < r.n.nin; i++) {
    need[i] = is_active(w, r.n.in[i]);
    d[i] = 0;
    m->have[i] = need[i] ? w->adjoint[r.n.in[i] - w->first] : 0;
    m->whole[i] = false;
  }
  if (w->limit[r.n.op] == 1) w->g->once = r.n.op;               /* what the rule adds is not to be differentiated */
  rules[r.n.op](&r);
  w->g->once = 0;
  if (r.failed) {
    if (err) *err = (kd_grad_error){ .at = inner.at ? r.n.out : 0, .op = inner.op, .again = inner.again };
    return false;
  }
  for (uint32_t i = 0; i < r.n.nin; i++)
    if (need[i] && d[i] && m->whole[i]) w->adjoint[r.n.in[i] - w->first] = d[i];
  for (uint32_t i = 0; i < r.n.nin; i++)
    if (need[i] && d[i] && !m->whole[i]) add_to(w, &r.b, r.n.in[i], d[i]);
  return true;
}

static bool pull_back(kd_graph *g, const kd_value *end, const kd_value *seed, size_t nend, const kd_value *wrt, size_t n, kd_value *grad,
                   kd_origin origin, const uint8_t *limit, kd_grad_error *err) {
  walk w;
  kd_build b = { g, origin };
  for (size_t i = 0; i < n; i++) grad[i] = 0;
  if (err) *err = (kd_grad_error){ 0 };
  if (!walk_begin(&w, g, wrt, n, end, nend, NULL)) return !w.failed;
  w.limit = limit;
  const kd_node *last = &g->node.v[w.hi];
  w.adjoint = KD_NEWN(g->arena, kd_value, last->out + last->nout - w.first);
  size_t most = w.most_in + (size_t)1;
  struct room m = { KD_NEWN(g->arena, bool, most), KD_NEWN(g->arena, bool, most), KD_NEWN(g->arena, kd_value, most), KD_NEWN(g->arena, kd_value, most) };
  if (!w.adjoint || !m.need || !m.whole || !m.d || !m.have) return false;
  for (size_t i = 0; i < nend; i++)
    if (end[i] && seed[i] && is_active(&w, end[i])) add_to(&w, &b, end[i], seed[i]);
  for (uint32_t id = w.hi; id > w.lo; id--)
    if (!step_back(&w, &b, id, &m, err)) return false;
  for (size_t i = 0; i < n; i++)
    if (wrt[i] && real(g, wrt[i]) && g->def.v[wrt[i]] <= w.hi) grad[i] = w.adjoint[wrt[i] - w.first];
  return true;
}

bool kd__pull_back(kd_graph *g, const kd_value *end, const kd_value *seed, size_t nend, const kd_value *wrt, size_t n, kd_value *grad,
                   kd_origin origin, const uint8_t *limit, kd_grad_error *err) {
  kd_value (*early)(kd_graph *, kd_op, const kd_value *, uint32_t, const kd_attr *, kd_origin) = g->early;
  g->early = NULL;
  bool good = pull_back(g, end, seed, nend, wrt, n, grad, origin, limit, err);
  g->early = early;
  return good;
}

bool kd__gradients_within(kd_graph *g, kd_value loss, const kd_value *wrt, size_t n, kd_value *grad, kd_origin origin, const uint8_t *limit,
                          kd_grad_error *err) {
  kd_build b = { g, origin };
  for (size_t i = 0; i < n; i++) grad[i] = 0;
  if (!loss) return true;
  assert(real(g, loss) && kd__type_of(g, loss)->rank == 0);
  kd_value one = kd__b_const_like(&b, 1, loss);
  return kd__pull_back(g, &loss, &one, 1, wrt, n, grad, origin, limit, err);
}

bool kd__gradients(kd_graph *g, kd_value loss, const kd_value *wrt, size_t n, kd_value *grad, kd_origin origin, kd_grad_error *err) {
  return kd__gradients_within(g, loss, wrt, n, grad, origin, limits, err);
}
