/* gradients.c: the backward walk over a graph. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/autodiff/rule.h"
#include <assert.h>

/* The part of the graph between what is differentiated for and the loss: nodes lo..hi, values first..last. */
typedef struct walk {
  kd_graph *g;
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

/* A row that may be differentiated just once needs a mark on the nodes of its gradient, which a graph has no place for. */
#define KD_OP(ID, name, class, nin, nout, attrs, shape, grad, diff, ...) \
  static_assert(diff == 0 || diff == 2, #name ": once-only gradients are not tracked");
#include "runtime/op/ops.def"
#undef KD_OP

void kd__grad_zero(kd__rule *r) { (void)r; assert(!"no gradient flows through this operator"); }
void kd__grad_none(kd__rule *r) { (void)r; assert(!"this operator has no gradient"); }

static bool real(const kd_graph *g, kd_value v) { return kd__dtype_real((kd_dtype)g->type.v[v].dtype); }

static bool any_active(const walk *w, const kd_node *n) {
  for (uint32_t i = 0; i < n->nin; i++)
    if (n->in[i] >= w->first && w->active[n->in[i] - w->first]) return true;
  return false;
}

/* Finds the part between wrt and `end` and marks what depends on wrt. False when it is empty or memory ran out. */
static bool walk_begin(walk *w, kd_graph *g, const kd_value *wrt, size_t n, kd_value end) {
  *w = (walk){ .g = g, .hi = g->def.v[end], .lo = UINT32_MAX };
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
    for (kd_value v = node->out; v < node->out + node->nout; v++)
      if (real(g, v)) w->active[v - w->first] = true;
  }
  return w->active[end - w->first];
}

bool kd__reaches(const kd_graph *g, kd_value from, kd_value to) {
  walk w;
  if (!from || !to) return false;
  return walk_begin(&w, (kd_graph *)(uintptr_t)g, &from, 1, to);     /* only its arena is used */
}

static void accumulate(walk *w, kd_build *b, kd_value v, kd_value d) {
  kd_value *to = &w->adjoint[v - w->first];
  assert(kd__type_equal(kd__type_of(b->g, v), kd__type_of(b->g, d)));
  *to = *to ? kd__b_op2(b, KD_OP_ADD, *to, d) : d;
}

/* Runs the rule of node `id` where a gradient has arrived at one of its results. False if the operator forbids it. */
static bool step_back(walk *w, kd_build *b, uint32_t id, bool *need, kd_value *d, kd_grad_error *err) {
  kd__rule r = { .b = *b, .n = w->g->node.v[id], .need = need, .d = d };
  bool arrived = false;
  r.g = &w->adjoint[r.n.out - w->first];
  for (uint32_t i = 0; i < r.n.nout; i++) arrived |= r.g[i] != 0;
  if (!arrived || rules[r.n.op] == kd__grad_zero || !any_active(w, &r.n)) return true;
  if (rules[r.n.op] == kd__grad_none || kd__op_info((kd_op)r.n.op)->diff == 0) {
    if (err) *err = (kd_grad_error){ .at = r.n.out, .op = (kd_op)r.n.op };
    return false;
  }
  for (uint32_t i = 0; i < r.n.nin; i++) {
    need[i] = r.n.in[i] >= w->first && w->active[r.n.in[i] - w->first];
    d[i] = 0;
  }
  rules[r.n.op](&r);
  for (uint32_t i = 0; i < r.n.nin; i++)
    if (need[i] && d[i]) accumulate(w, b, r.n.in[i], d[i]);
  return true;
}

bool kd__gradients(kd_graph *g, kd_value loss, const kd_value *wrt, size_t n, kd_value *grad, kd_origin origin, kd_grad_error *err) {
  walk w;
  kd_build b = { g, origin };
  for (size_t i = 0; i < n; i++) grad[i] = 0;
  if (!loss) return true;
  assert(real(g, loss) && kd__type_of(g, loss)->rank == 0);
  if (err) *err = (kd_grad_error){ 0 };
  if (!walk_begin(&w, g, wrt, n, loss)) return !w.failed;
  const kd_node *end = kd__node_of(g, loss);
  w.adjoint = KD_NEWN(g->arena, kd_value, end->out + end->nout - w.first);
  bool *need = KD_NEWN(g->arena, bool, w.most_in + 1);
  kd_value *d = KD_NEWN(g->arena, kd_value, w.most_in + 1);
  if (!w.adjoint || !need || !d) return false;
  w.adjoint[loss - w.first] = kd__b_const_like(&b, 1, loss);
  for (uint32_t id = w.hi; id > w.lo; id--)
    if (!step_back(&w, &b, id, need, d, err)) return false;
  for (size_t i = 0; i < n; i++)
    if (wrt[i] && real(g, wrt[i]) && g->def.v[wrt[i]] <= w.hi) grad[i] = w.adjoint[wrt[i] - w.first];
  return true;
}
