/* verify.c: checks what graph.h promises of every graph. For tests, the fuzzer, and after each pass on demand. */
#include "compiler/ir/graph_private.h"
#include <stdio.h>
#include <stdlib.h>

static bool breach(kd_shape_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool breach(kd_shape_error *err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(err->text, sizeof err->text, fmt, ap);
  va_end(ap);
  return false;
}

static bool check_types(const kd_graph *g, size_t id, kd_shape_error *err) {
  const kd_node *n = &g->node.v[id];
  const kd_type *few[8], **in = n->nin <= 8 ? few : KD_NEWN(g->arena, const kd_type *, n->nin);
  for (uint32_t i = 0; i < n->nin; i++) in[i] = &g->type.v[n->in[i]];
  kd_type usual[KD_MAX_RESULTS], *out = n->nout <= KD_MAX_RESULTS ? usual : KD_NEWN(g->arena, kd_type, n->nout);
  kd_shape_error why;
  if (!kd__infer((kd_op)n->op, in, n->nin, n->attr, out, &why)) return breach(err, "node %zu: %s", id, why.text);
  for (uint32_t i = 0; i < n->nout; i++) {
    char have[KD_TYPE_TEXT], want[KD_TYPE_TEXT];
    const kd_type *t = &g->type.v[n->out + i];
    if (!kd__type_equal(t, &out[i]))
      return breach(err, "%%%u has type %s, but %s is inferred", n->out + i, kd__type_text(t, have, sizeof have), kd__type_text(&out[i], want, sizeof want));
    for (int d = t->rank; d < KD_MAX_RANK; d++)
      if (t->dim[d] != 0) return breach(err, "%%%u has a size beyond its rank", n->out + i);
  }
  return true;
}

/* The body of a loop or a group is a graph like any other; that its slots fit the operands is a matter of the shape rule. */
static bool check_body(const kd_node *n, size_t id, kd_shape_error *err) {
  kd_shape_error why;
  if (n->attr[0].kind != 'g' || !n->attr[0].u.graph) return breach(err, "node %zu: no body", id);
  return kd__graph_verify(n->attr[0].u.graph, &why) || breach(err, "in the body of node %zu: %.200s", id, why.text);
}

static bool check_node(const kd_graph *g, size_t id, kd_value next, kd_shape_error *err) {
  const kd_node *n = &g->node.v[id];
  if (n->op >= KD_OP_COUNT) return breach(err, "node %zu: no operator has number %u", id, n->op);
  const kd_op_info *info = kd__op_info((kd_op)n->op);
  if (info->nattr && !n->attr) return breach(err, "node %zu: no attributes", id);
  if ((n->op == KD_OP_LOOP || n->op == KD_OP_GROUP) && !check_body(n, id, err)) return false;
  uint32_t nout = kd__result_count((kd_op)n->op, n->attr);
  if (n->nout != nout) return breach(err, "node %zu: %s has %u results, not %u", id, info->name, nout, n->nout);
  if (n->out != next || n->nout > g->type.n - next) return breach(err, "node %zu: its results are not the next values", id);
  for (uint32_t i = 0; i < n->nin; i++)
    if (n->in[i] == 0 || n->in[i] >= n->out) return breach(err, "node %zu: operand %u, %%%u, is not made above", id, i + 1, n->in[i]);
  for (uint32_t i = 0; i < n->nout; i++)
    if (g->def.v[n->out + i] != id) return breach(err, "%%%u: its node is %zu, not %u", n->out + i, id, g->def.v[n->out + i]);
  return check_types(g, id, err);
}

/* One mention of a slot: an input or a write. */
typedef struct mention { int64_t slot; kd_value v; bool write; } mention;

static int by_slot(const void *a, const void *b) {
  const mention *x = a, *y = b;
  return x->slot != y->slot ? (x->slot > y->slot) - (x->slot < y->slot) : x->write - y->write;
}

/* A slot has one type wherever it is read or written, and is written once. */
static bool check_slots(const kd_graph *g, kd_shape_error *err) {
  KD_VEC(mention) m = { 0 };
  for (size_t i = 1; i < g->node.n; i++)
    if (g->node.v[i].op == KD_OP_INPUT) KD_PUSH(g->arena, m, (mention){ kd__attr(&g->node.v[i], "slot")->u.i, g->node.v[i].out, false });
  for (size_t i = 0; i < g->write.n; i++) KD_PUSH(g->arena, m, (mention){ g->write.v[i].slot, g->write.v[i].value, true });
  if (m.n > 1) qsort(m.v, m.n, sizeof *m.v, by_slot);
  for (size_t i = 1; i < m.n; i++) {
    if (m.v[i].slot != m.v[i - 1].slot) continue;
    if (m.v[i - 1].write) return breach(err, "slot %lld is written twice", (long long)m.v[i].slot);
    char a[KD_TYPE_TEXT], b[KD_TYPE_TEXT];
    const kd_type *s = kd__type_of(g, m.v[i - 1].v), *t = kd__type_of(g, m.v[i].v);
    if (!kd__type_equal(s, t))
      return breach(err, "slot %lld is %s and %s", (long long)m.v[i].slot, kd__type_text(s, a, sizeof a), kd__type_text(t, b, sizeof b));
  }
  return true;
}

bool kd__graph_verify(const kd_graph *g, kd_shape_error *err) {
  kd_shape_error ignored;
  if (!err) err = &ignored;
  err->text[0] = 0;
  kd_value next = 1;
  if (g->node.n == 0 || g->type.n == 0 || g->def.n != g->type.n) return breach(err, "the tables do not fit each other");
  for (size_t i = 1; i < g->node.n; i++) {
    if (!check_node(g, i, next, err)) return false;
    next += g->node.v[i].nout;
  }
  if (next != g->type.n) return breach(err, "%zu values without a node", g->type.n - next);
  for (size_t i = 0; i < g->write.n; i++)
    if (g->write.v[i].value == 0 || g->write.v[i].value >= next || g->write.v[i].slot < 0) return breach(err, "write %zu: no such value or slot", i);
  for (size_t i = 0; i < g->result.n; i++)
    if (g->result.v[i].value == 0 || g->result.v[i].value >= next || !g->result.v[i].name) return breach(err, "result %zu: no such value, or no name", i);
  return check_slots(g, err);
}
