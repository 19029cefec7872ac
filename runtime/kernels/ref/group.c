/* group.c: the twin of fused groups: one instruction after the other over its whole domain, each by the twin of its operator. Values lie in the
 * scratch memory in their element type, so a group gives what its operators would give one by one. */
#include "runtime/kernels/ref/ref.h"
#include "runtime/kernels/group.h"

typedef struct space { const kd_group *g; int64_t dim[KD_GROUP_AXES], stride[KD_GROUP_AXES]; int64_t count; } space;

/* The points of a domain, row-major; an axis that is not in it has one position. */
static space domain(const kd_group *g, uint32_t axes) {
  space s = { .g = g, .count = 1 };
  for (int a = (int)g->rank - 1; a >= 0; a--) {
    bool in = axes >> a & 1;
    s.dim[a] = in ? g->size[a] : 1;
    s.stride[a] = in ? s.count : 0;
    s.count *= s.dim[a];
  }
  return s;
}
static int64_t pos(const space *s, const int64_t *stride, int64_t k) {
  int64_t at = 0;
  for (int a = (int)s->g->rank - 1; a >= 0; a--) {
    at += k % s->dim[a] * stride[a];
    k /= s->dim[a];
  }
  return at;
}

/* Moments keep their variance behind their mean, where their SPREAD finds it. */
static size_t room(const kd_group *g, uint32_t i) {
  const kd_group_ins *v = &g->ins[i];
  if (v->kind == KD_GROUP_SPREAD || v->kind == KD_GROUP_STORE || v->kind == KD_GROUP_CHECK) return 0;
  size_t n = ((size_t)domain(g, v->axes).count * kd__dtype_size((kd_dtype)v->dtype) + 63) / 64 * 64;
  return v->kind == KD_GROUP_REDUCE && v->op == KD_OP_MOMENTS ? 2 * n : n;
}
static char *place(const kd_group *g, uint32_t i, void *scratch) {
  char *at = scratch;
  if (g->ins[i].kind == KD_GROUP_SPREAD) return place(g, i - 1, scratch) + room(g, i - 1) / 2;
  for (uint32_t j = 0; j < i; j++) at += room(g, j);
  return at;
}

size_t kd__ref_scratch(const kd_call *c, const kd_kernel_settings *s) {
  size_t n = 0;
  (void)s;
  for (uint32_t i = 0; c->group && i < c->group->nins; i++) n += room(c->group, i);
  return n;
}

/* One operator; `s` are the operand's points, of which the result has one where it is not reduced. A fault belongs to the instruction. */
static void run_op(const kd_group *g, uint32_t i, void *scratch, const kd_exec *x) {
  const kd_group_ins *v = &g->ins[i];
  uint32_t n = kd__group_operands(v);
  space s = domain(g, v->axes), whole = domain(g, v->axes | v->over), from[3];
  kd_tensor in[3], out[2] = { { place(g, i, scratch), s.dim, s.stride, v->dtype, (uint8_t)g->rank } };
  int64_t list[KD_GROUP_AXES];
  kd_attr attr = { .kind = 'I', .u.list = list };
  for (uint32_t a = 0; a < g->rank; a++)
    if (v->over >> a & 1) list[attr.n++] = a;
  for (uint32_t k = 0; k < n; k++) {
    from[k] = domain(g, g->ins[v->in[k]].axes);
    in[k] = (kd_tensor){ place(g, v->in[k], scratch), v->kind == KD_GROUP_REDUCE ? whole.dim : s.dim, from[k].stride, g->ins[v->in[k]].dtype, (uint8_t)g->rank };
  }
  out[1] = out[0];
  out[1].data = (char *)out[0].data + room(g, i) / 2;
  bool before = x->fault && x->fault->set;
  kd__ref_run(&(kd_call){ .op = (kd_op)v->op, .nin = n, .nout = v->op == KD_OP_MOMENTS ? 2 : 1, .in = in, .out = out, .attr = &attr }, x);
  if (x->fault && x->fault->set && !before) x->fault->origin = v->origin;
}

/* The i64 value in[0] of an instruction at point k of `s`, and its number among the points of its own domain. */
static int64_t index_at(const kd_group *g, const kd_group_ins *v, void *scratch, const space *s, int64_t k, int64_t *number) {
  space d = domain(g, g->ins[v->in[0]].axes);
  *number = pos(s, d.stride, k);
  return ((const int64_t *)(void *)place(g, v->in[0], scratch))[*number];
}

static void run_memory(const kd_call *c, uint32_t i, void *scratch, const kd_exec *x) {
  const kd_group *g = c->group;
  const kd_group_ins *v = &g->ins[i];
  space s = domain(g, v->axes);
  bool store = v->kind == KD_GROUP_STORE;
  space d = domain(g, store ? g->ins[v->in[0]].axes : v->axes);
  kd_tensor value = { .data = place(g, store ? v->in[0] : i, scratch), .dtype = v->dtype };
  const kd_tensor *memory = store ? &c->out[v->operand] : &c->in[v->operand];
  const int64_t *stride = g->stride[store ? g->nin + v->operand : v->operand];
  for (int64_t k = 0; k < s.count; k++) {
    int64_t at = pos(&s, stride, k), number = 0, p = 0;
    if (v->kind == KD_GROUP_GATHER) p = index_at(g, v, scratch, &s, k, &number);
    if (store) kd__ref_put(memory, at, &value, pos(&s, d.stride, k));
    else if (v->kind == KD_GROUP_LOAD || (p >= 0 && p < v->limit)) kd__ref_put(&value, k, memory, at + p * v->step);
    else kd__ref_storei(&value, k, 0), kd__fault_at(x, KD_OP_GATHER, v->origin, p, v->limit, number);
  }
}

static void run_check(const kd_group *g, uint32_t i, void *scratch, const kd_exec *x) {
  const kd_group_ins *v = &g->ins[i];
  space s = domain(g, v->axes);
  for (int64_t k = 0; k < s.count; k++) {
    int64_t number, p = index_at(g, v, scratch, &s, k, &number);
    if (p < 0 || p >= v->limit) kd__fault_at(x, KD_OP_GATHER, v->origin, p, v->limit, number);
  }
}

static void run_leaf(const kd_group *g, uint32_t i, void *scratch) {
  const kd_group_ins *v = &g->ins[i];
  kd_tensor value = { .data = place(g, i, scratch), .dtype = v->dtype };
  int64_t n = domain(g, v->axes).count;
  for (int64_t k = 0; k < n; k++)
    if (v->kind == KD_GROUP_IOTA) kd__ref_storei(&value, k, k);
    else kd__ref_store(&value, k, v->value);
}

void kd__ref_group(const kd_call *c, const kd_exec *x) {
  for (uint32_t i = 0; i < c->group->nins; i++)
    switch ((kd_group_kind)c->group->ins[i].kind) {
      case KD_GROUP_LOAD: case KD_GROUP_GATHER: case KD_GROUP_STORE: run_memory(c, i, x->scratch, x); break;
      case KD_GROUP_CONST: case KD_GROUP_IOTA: run_leaf(c->group, i, x->scratch); break;
      case KD_GROUP_ELEM: case KD_GROUP_REDUCE: run_op(c->group, i, x->scratch, x); break;
      case KD_GROUP_CHECK: run_check(c->group, i, x->scratch, x); break;
      case KD_GROUP_SPREAD: case KD_GROUP_KINDS: break;         /* the moments have written it */
    }
}
