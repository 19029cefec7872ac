/* price.c: what an operator costs: a model good enough to tell work that is worth keeping from work that is not. */
#include "compiler/split/split.h"

/* Picoseconds: of a multiply and an add, of an element that is passed through, of one that needs a function, of a draw, of a place that is sorted, of a call. */
enum { PRODUCT = 10, PASSED = 50, FUNCTION = 250, DRAWN = 1000, SORTED = 4000, CALL = 100000 };

static bool needs_function(kd_op op) {
  switch (op) {
    case KD_OP_EXP: case KD_OP_EXPM1: case KD_OP_LOG: case KD_OP_LOG1P: case KD_OP_SIN: case KD_OP_COS: case KD_OP_TANH: case KD_OP_SIGMOID: case KD_OP_SOFTPLUS:
    case KD_OP_ERF: case KD_OP_POW: case KD_OP_XLOGY: case KD_OP_IDIV: case KD_OP_REM: case KD_OP_LOGSUMEXP: case KD_OP_SOFTMAX: case KD_OP_LOG_SOFTMAX: return true;
    default: return false;
  }
}

static double count(const kd_graph *g, kd_value v) { return (double)kd__type_count(kd__type_of(g, v)); }

static double from(const kd_type *t, int first) {
  double n = 1;
  for (int d = first; d < t->rank; d++) n *= (double)t->dim[d];
  return n;
}

static double listed(const kd_node *n, const char *name) {
  const kd_attr *a = kd__attr(n, name);
  double p = 1;
  for (uint32_t i = 0; i < a->n; i++) p *= (double)a->u.list[i];
  return p;
}

/* Products in all; 0: it is no contraction. */
static double products(const kd_graph *g, const kd_node *n) {
  switch ((kd_op)n->op) {
    case KD_OP_MATMUL: return count(g, n->out) * (double)kd__type_of(g, n->in[0])->dim[kd__type_of(g, n->in[0])->rank - 1];
    case KD_OP_CONV: case KD_OP_CONV_POST: return count(g, n->out) * from(kd__type_of(g, n->in[1]), 1);
    case KD_OP_CONV_DATA: return count(g, n->in[0]) * from(kd__type_of(g, n->in[1]), 1);
    case KD_OP_GATHER_DOT: case KD_OP_GATHER_SUM: return count(g, n->in[2]) * from(kd__type_of(g, n->in[1]), 1);
    case KD_OP_CONV_WEIGHT: return count(g, n->in[1]) * from(kd__type_of(g, n->out), 1);
    default: return 0;
  }
}

static double body(const kd_node *n, double (*of)(const kd_graph *g, const kd_node *n)) {
  const kd_graph *b = n->attr[0].u.graph;
  double sum = 0;
  for (size_t i = 1; i < b->node.n; i++) sum += of(b, &b->node.v[i]);
  return sum * (double)kd__attr(n, "times")->u.i;
}

static double elements(const kd_graph *g, const kd_node *n) {
  double most = 0;
  for (uint32_t k = 0; k < n->nin; k++) { double c = count(g, n->in[k]); if (c > most) most = c; }
  if (n->nout && count(g, n->out) > most) most = count(g, n->out);
  return most;
}

double kd__flops_node(const kd_graph *g, const kd_node *n) {
  double p = products(g, n);
  if (p > 0) return 2 * p;
  if (n->op == KD_OP_LOOP) return body(n, kd__flops_node);
  kd_op_class cls = kd__op_info((kd_op)n->op)->cls;
  return cls == KD_CLASS_LEAF || cls == KD_CLASS_VIEW || cls == KD_CLASS_MOVE || n->op == KD_OP_CAST ? 0 : elements(g, n);
}

static double price(const kd_graph *g, const kd_node *n) {
  const kd_op op = (kd_op)n->op;
  double p = products(g, n);
  if (p > 0) return p * PRODUCT + CALL;
  switch (kd__op_info(op)->cls) {
    case KD_CLASS_LEAF: case KD_CLASS_VIEW: return 0;
    case KD_CLASS_RANDOM: return elements(g, n) * DRAWN + CALL;
    case KD_CLASS_OPAQUE:
      if (op == KD_OP_LOOP) return body(n, price);
      if (op == KD_OP_SORT || op == KD_OP_TOP_K) return elements(g, n) * SORTED + CALL;
      if (op == KD_OP_MAX_POOL || op == KD_OP_SUM_POOL || op == KD_OP_SUM_POOL_DATA) return elements(g, n) * listed(n, "window") * PASSED + CALL;
      return elements(g, n) * FUNCTION + CALL;
    default: return elements(g, n) * (needs_function(op) ? FUNCTION : PASSED) + CALL;
  }
}

kd_price kd__price_node(const kd_graph *g, const kd_node *n) {
  double p = price(g, n);
  return p > 1e15 ? (kd_price)1e15 : (kd_price)p;
}
