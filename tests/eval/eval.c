/* eval.c: see eval.h. */
#include "tests/eval/eval.h"

static int64_t strange_strides(const kd_type *t, int64_t *stride, int64_t *first) {
  int64_t gap = 2;
  *first = 0;
  for (int i = 0; i < t->rank; i++) {
    stride[i] = i == 1 ? -gap : gap;
    if (i == 1) *first = (t->dim[i] - 1) * gap;
    gap = gap * t->dim[i] + 1;
  }
  return gap;
}

static int64_t dense_strides(const kd_type *t, int64_t *stride) {
  int64_t n = 1;
  for (int i = t->rank - 1; i >= 0; i--) {
    stride[i] = n;
    n *= t->dim[i];
  }
  return n;
}

static kd_tensor new_tensor(kd_eval *e, const kd_type *t, kd_eval_layout layout) {
  int64_t *stride = KD_NEWN(&e->arena, int64_t, t->rank + 1), first = 0, count = kd__type_count(t);
  int64_t n = layout == KD_EVAL_DENSE || count == 0 ? dense_strides(t, stride) : strange_strides(t, stride, &first);
  size_t size = kd__dtype_size((kd_dtype)t->dtype);
  char *p = kd__arena_get(&e->arena, size * (size_t)(n + 1));
  return (kd_tensor){ .data = p + (size_t)first * size, .dim = t->dim, .stride = stride, .dtype = t->dtype, .rank = t->rank };
}

/* Copies through the twin of reshape: it copies between any two layouts of one shape. */
static void copy(const kd_tensor *from, const kd_tensor *to) {
  kd_exec x = { .threads = 1 };
  kd__ref_run(&(kd_call){ .op = KD_OP_RESHAPE, .nin = 1, .nout = 1, .in = from, .out = to }, &x);
}

static kd_tensor dense_view(const kd_tensor *like, const void *data, int64_t *stride) {
  kd_tensor r = *like;
  kd_type t = { .dtype = like->dtype, .rank = like->rank };
  for (int i = 0; i < like->rank; i++) t.dim[i] = like->dim[i];
  dense_strides(&t, stride);
  r.data = (void *)(uintptr_t)data;
  r.stride = stride;
  return r;
}

static bool bind_input(kd_eval *e, const kd_node *n, const kd_eval_slot *slot, size_t nslot, kd_eval_layout layout) {
  int64_t stride[KD_MAX_RANK];
  for (size_t i = 0; i < nslot; i++)
    if (slot[i].slot == kd__attr(n, "slot")->u.i) {
      e->value[n->out] = new_tensor(e, kd__type_of(e->g, n->out), layout);
      kd_tensor from = dense_view(&e->value[n->out], slot[i].data, stride);
      copy(&from, &e->value[n->out]);
      return true;
    }
  return false;
}

static bool run_loop(kd_eval *e, const kd_node *n, kd_eval_layout layout);
static bool run_group(kd_eval *e, const kd_node *n, kd_eval_layout layout);

static bool run_node(kd_eval *e, const kd_node *n, kd_eval_layout layout) {
  if (n->op == KD_OP_LOOP) return run_loop(e, n, layout);
  if (n->op == KD_OP_GROUP) return run_group(e, n, layout);
  kd_tensor *in = KD_NEWN(&e->arena, kd_tensor, n->nin + 1), *out = &e->value[n->out];
  for (uint32_t i = 0; i < n->nin; i++) {
    if (!kd_eval_has(e, n->in[i])) return false;
    in[i] = e->value[n->in[i]];
  }
  for (uint32_t i = 0; i < n->nout; i++) out[i] = new_tensor(e, kd__type_of(e->g, n->out + i), layout);
  kd_exec x = { .threads = 1, .deterministic = true, .fault = &e->fault };
  kd__ref_run(&(kd_call){ .op = (kd_op)n->op, .nin = n->nin, .nout = n->nout, .in = in, .out = out, .attr = n->attr }, &x);
  return true;
}

/* --- loops ------------------------------------------------------------------------------------------------------------------- */

typedef struct turns {
  const kd_node *n;
  const kd_graph *body;
  int64_t times, carries, turn;
  kd_eval_slot *slot;                            /* of the body: the turn, the carries, what it reads */
  kd_value *root; size_t nroot;                  /* writes, then results */
} turns;

static size_t bytes_of(const kd_type *t) { return kd__dtype_size((kd_dtype)t->dtype) * (size_t)kd__type_count(t); }

static bool run_turn(kd_eval *e, turns *t, char **stack, kd_eval_layout layout) {
  kd_eval turn;
  bool good = kd_eval_run(&turn, t->body, t->slot, (size_t)t->n->nin + 1, t->root, t->nroot, layout);
  e->fault = turn.fault;
  for (size_t i = 0; good && i < t->body->result.n; i++)
    kd_eval_read(&turn, t->body->result.v[i].value, stack[i] + (size_t)t->turn * bytes_of(kd__type_of(t->body, t->body->result.v[i].value)));
  for (size_t i = 0; good && i < t->body->write.n; i++)                /* all reads have been: the old values may go */
    kd_eval_read(&turn, t->body->write.v[i].value, (void *)(uintptr_t)t->slot[t->body->write.v[i].slot].data);
  kd_eval_free(&turn);
  return good;
}

static kd_tensor dense_result(kd_eval *e, kd_value v, const void *data, kd_eval_layout layout) {
  int64_t stride[KD_MAX_RANK];
  kd_tensor to = new_tensor(e, kd__type_of(e->g, v), layout), from = dense_view(&to, data, stride);
  copy(&from, &to);
  return to;
}

static bool run_loop(kd_eval *e, const kd_node *n, kd_eval_layout layout) {
  turns t = { .n = n, .body = kd__attr(n, "body")->u.graph, .times = kd__attr(n, "times")->u.i, .carries = kd__attr(n, "carries")->u.i };
  t.slot = KD_NEWN(&e->arena, kd_eval_slot, n->nin + 1);
  t.root = KD_NEWN(&e->arena, kd_value, t.body->write.n + t.body->result.n + 1);
  char **stack = KD_NEWN(&e->arena, char *, t.body->result.n + 1);
  t.slot[0] = (kd_eval_slot){ 0, &t.turn };
  for (uint32_t i = 0; i < n->nin; i++) {
    if (!kd_eval_has(e, n->in[i])) return false;
    void *data = kd__arena_get(&e->arena, bytes_of(kd__type_of(e->g, n->in[i])) + 1);
    kd_eval_read(e, n->in[i], data);
    t.slot[i + 1] = (kd_eval_slot){ i + 1, data };
  }
  for (size_t i = 0; i < t.body->write.n; i++) t.root[t.nroot++] = t.body->write.v[i].value;
  for (size_t i = 0; i < t.body->result.n; i++) {
    t.root[t.nroot++] = t.body->result.v[i].value;
    stack[i] = kd__arena_get(&e->arena, bytes_of(kd__type_of(e->g, n->out + (kd_value)t.carries + (kd_value)i)) + 1);
  }
  for (; t.nroot && t.turn < t.times; t.turn++)
    if (!run_turn(e, &t, stack, layout)) return false;
  for (uint32_t k = 0; k < n->nout; k++)
    e->value[n->out + k] = dense_result(e, n->out + k, k < t.carries ? t.slot[k + 1].data : stack[k - t.carries], layout);
  return true;
}

/* A group is what its body is, node by node. */
static bool run_group(kd_eval *e, const kd_node *n, kd_eval_layout layout) {
  const kd_graph *body = kd__body_of(n);
  kd_eval_slot *slot = KD_NEWN(&e->arena, kd_eval_slot, n->nin + 1);
  kd_value *root = KD_NEWN(&e->arena, kd_value, body->result.n);
  kd_eval inside;
  for (uint32_t i = 0; i < n->nin; i++) {
    if (!kd_eval_has(e, n->in[i])) return false;
    void *data = kd__arena_get(&e->arena, bytes_of(kd__type_of(e->g, n->in[i])) + 1);
    kd_eval_read(e, n->in[i], data);
    slot[i] = (kd_eval_slot){ i, data };
  }
  for (size_t k = 0; k < body->result.n; k++) root[k] = body->result.v[k].value;
  bool good = kd_eval_run(&inside, body, slot, n->nin, root, body->result.n, layout);
  e->fault = inside.fault;
  for (uint32_t k = 0; good && k < n->nout; k++) {
    void *data = kd__arena_get(&e->arena, bytes_of(kd__type_of(e->g, n->out + k)) + 1);
    kd_eval_read(&inside, root[k], data);
    e->value[n->out + k] = dense_result(e, n->out + k, data, layout);
  }
  kd_eval_free(&inside);
  return good;
}

/* Which nodes the roots need. */
static bool *needed(kd_eval *e, const kd_value *root, size_t nroot) {
  const kd_graph *g = e->g;
  bool *need = KD_NEWN(&e->arena, bool, g->node.n);
  for (size_t i = 0; i < nroot; i++) need[g->def.v[root[i]]] = true;
  for (size_t id = g->node.n; id-- > 1;)
    for (uint32_t i = 0; i < g->node.v[id].nin && need[id]; i++) need[g->def.v[g->node.v[id].in[i]]] = true;
  return need;
}

bool kd_eval_run(kd_eval *e, const kd_graph *g, const kd_eval_slot *slot, size_t nslot, const kd_value *root, size_t nroot, kd_eval_layout layout) {
  *e = (kd_eval){ .g = g };
  kd__arena_init(&e->arena, NULL, NULL);
  e->value = KD_NEWN(&e->arena, kd_tensor, g->type.n);
  bool *need = needed(e, root, nroot), complete = true;
  for (size_t id = 1; id < g->node.n; id++) {
    const kd_node *n = &g->node.v[id];
    if (nroot && !need[id]) continue;
    complete &= n->op == KD_OP_INPUT ? bind_input(e, n, slot, nslot, layout) : run_node(e, n, layout);
  }
  return (complete || nroot == 0) && !e->fault.set;
}

void kd_eval_free(kd_eval *e) { kd__arena_free(&e->arena); }

bool kd_eval_has(const kd_eval *e, kd_value v) { return v && e->value[v].data; }

double kd_eval_at(const kd_eval *e, kd_value v, int64_t i) {
  const kd_tensor *t = &e->value[v];
  int64_t at = 0;
  for (int a = t->rank - 1; a >= 0; a--) {
    at += i % t->dim[a] * t->stride[a];
    i /= t->dim[a];
  }
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return ((const float *)t->data)[at];
    case KD_F64: return ((const double *)t->data)[at];
    case KD_I64: return (double)((const int64_t *)t->data)[at];
    default: return ((const uint8_t *)t->data)[at];
  }
}

void kd_eval_read(const kd_eval *e, kd_value v, void *to) {
  int64_t stride[KD_MAX_RANK];
  kd_tensor dense = dense_view(&e->value[v], to, stride);
  copy(&e->value[v], &dense);
}

kd_value kd_eval_result(const kd_eval *e, const char *name) {
  for (size_t i = 0; i < e->g->result.n; i++)
    if (strcmp(e->g->result.v[i].name, name) == 0) return e->g->result.v[i].value;
  return 0;
}

kd_value kd_eval_write(const kd_eval *e, int64_t slot) {
  for (size_t i = 0; i < e->g->write.n; i++)
    if (e->g->write.v[i].slot == slot) return e->g->write.v[i].value;
  return 0;
}
