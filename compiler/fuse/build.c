/* build.c: the new graph: clusters in an order that respects every edge and otherwise stays with the order of their last nodes; a group of one plain
 * node stays that node. */
#include "compiler/fuse/fuse.h"
#include "compiler/ir/graph_private.h"
#include <assert.h>

typedef struct builder {
  kd__fuser *f;
  kd_graph *g;
  kd_value *to;                                  /* by old value; 0: not made yet */
  uint32_t *order; size_t norder;                /* clusters */
  bool *done;                                    /* by cluster */
  /* of the body at hand */
  kd_graph *body;
  kd_value *in_body, *slot;                      /* by old value, where the stamp fits; slot: of what lies outside */
  uint32_t *seen, *seen_slot, stamp;
  KD_VEC(kd_value) operand;                      /* old values */
} builder;

/* --- order ----------------------------------------------------------------------------------------------------------------------------- */

/* The cluster's next operand from a cluster that is not done; 0: there is none. Goes on where it stopped. */
static uint32_t missing(builder *b, uint32_t c) {
  kd__cluster *k = &b->f->cluster[c];
  const kd_graph *g = b->f->g;
  for (; k->emitted < k->node.n; k->emitted++) {
    const kd_node *n = &g->node.v[k->node.v[k->emitted]];
    for (uint32_t i = 0; i < n->nin; i++) {
      uint32_t d = g->def.v[kd__fuse_root(g, n->in[i])];
      if (kd__fuse_apart((kd_op)g->node.v[d].op)) continue;
      uint32_t from = kd__cluster_of(b->f, d);
      bool own = k->group && b->f->mark[d] == b->f->stamp;
      if (from != c && !own && !b->done[from]) return from;
    }
  }
  return 0;
}

static void mark_members(kd__fuser *f, uint32_t c) {
  f->stamp++;
  for (size_t i = 0; i < f->cluster[c].node.n; i++) f->mark[f->cluster[c].node.v[i]] = f->stamp;
}

/* Members that another group computes for itself lie in it as well: only the first of them, in order, is the cluster's place. */
static void find_order(builder *b) {
  kd__fuser *f = b->f;
  KD_VEC(uint32_t) stack = { 0 };
  b->order = KD_NEWN(f->a, uint32_t, f->g->node.n);
  uint32_t *last = KD_NEWN(f->a, uint32_t, f->g->node.n);
  for (uint32_t i = 1; i < f->g->node.n; i++)
    if (f->live[i] && !kd__fuse_apart((kd_op)f->g->node.v[i].op)) last[kd__cluster_of(f, i)] = i;
  for (uint32_t i = 1; i < f->g->node.n; i++) {
    if (!f->live[i] || kd__fuse_apart((kd_op)f->g->node.v[i].op) || last[kd__cluster_of(f, i)] != i) continue;
    KD_PUSH(f->a, stack, kd__cluster_of(f, i));
    while (stack.n) {
      uint32_t c = stack.v[stack.n - 1];
      if (b->done[c]) { stack.n--; continue; }
      mark_members(f, c);
      uint32_t before = missing(b, c);
      if (before) { KD_PUSH(f->a, stack, before); continue; }
      b->done[c] = true;
      if (f->cluster[c].node.n) b->order[b->norder++] = c;
      stack.n--;
    }
  }
}

/* --- values ----------------------------------------------------------------------------------------------------------------------------- */

static kd_value copy_node(kd_graph *g, const kd_node *n, const kd_value *in) {
  return kd__graph_add(g, (kd_op)n->op, in, n->nin, n->attr, n->origin, NULL);
}

/* A value outside of groups: views, numbers and positions are made where they are asked for. */
static kd_value value(builder *b, kd_value v) {
  const kd_graph *g = b->f->g;
  KD_VEC(kd_value) chain = { 0 };
  for (; !b->to[v] && kd__fuse_apart((kd_op)kd__node_of(g, v)->op); v = kd__node_of(g, v)->in[0]) {
    KD_PUSH(b->f->a, chain, v);
    if (kd__node_of(g, v)->nin == 0) break;
  }
  while (chain.n) {
    const kd_node *n = kd__node_of(g, v = chain.v[--chain.n]);
    b->to[v] = copy_node(b->g, n, n->nin ? &b->to[n->in[0]] : NULL);
  }
  assert(b->to[v] && "a value that no cluster leaves behind");
  return b->to[v];
}

/* --- bodies ------------------------------------------------------------------------------------------------------------------------------ */

static kd_value outside(builder *b, kd_value v) {
  if (b->seen_slot[v] == b->stamp) return b->slot[v];
  kd_build add = { b->body, kd__node_of(b->f->g, v)->origin };
  b->seen_slot[v] = b->stamp;
  b->slot[v] = kd__b_input(&add, (int64_t)b->operand.n, kd__type_of(b->f->g, v));
  KD_PUSH(b->f->a, b->operand, v);
  return b->slot[v];
}

static kd_value in_body(builder *b, kd_value v) {
  const kd_graph *g = b->f->g;
  KD_VEC(kd_value) chain = { 0 };
  for (; b->seen[v] != b->stamp; v = kd__node_of(g, v)->in[0]) {
    KD_PUSH(b->f->a, chain, v);
    if (!kd__fuse_view((kd_op)kd__node_of(g, v)->op)) break;
  }
  kd_value made = b->seen[v] == b->stamp ? b->in_body[v] : 0;
  while (chain.n) {
    const kd_node *n = kd__node_of(g, v = chain.v[--chain.n]);
    made = kd__fuse_apart((kd_op)n->op) ? copy_node(b->body, n, n->nin ? &made : NULL) : outside(b, v);
    b->seen[v] = b->stamp, b->in_body[v] = made;
  }
  return made;
}

static void add_member(builder *b, const kd_node *n) {
  kd_value in[3];
  bool through = n->op == KD_OP_GATHER && b->f->mark[b->f->g->def.v[kd__fuse_root(b->f->g, n->in[0])]] != b->f->stamp;
  for (uint32_t i = 0; i < n->nin; i++) in[i] = through && i == 0 ? outside(b, n->in[0]) : in_body(b, n->in[i]);
  b->body->apart = true;
  kd_value v = copy_node(b->body, n, in);
  for (uint32_t k = 0; k < n->nout; k++) b->seen[n->out + k] = b->stamp, b->in_body[n->out + k] = v + k;
}

static void emit_group(builder *b, uint32_t c) {
  kd__fuser *f = b->f;
  const kd__cluster *k = &f->cluster[c];
  KD_VEC(kd_value) result = { 0 };
  KD_VEC(kd_value) in = { 0 };
  b->body = kd__graph_new_sized(f->g->arena, k->node.n + k->node.n / 2 + 4, k->node.n + k->node.n / 2 + 4);
  b->stamp++;
  b->operand.n = 0;
  mark_members(f, c);
  kd_origin origin = 0;
  for (size_t i = 0; i < k->node.n; i++) {
    const kd_node *n = &f->g->node.v[k->node.v[i]];
    add_member(b, n);
    if (kd__cluster_of(f, k->node.v[i]) != c) continue;                /* another's, computed again */
    origin = n->origin;
    for (kd_value v = n->out; v < n->out + n->nout; v++)
      if (f->wanted[v]) KD_PUSH(f->a, result, v);
  }
  for (size_t i = 0; i < result.n; i++) {
    char name[16];
    int at = 0;
    for (size_t d = 1; d <= i || d == 1; d *= 10) at++;
    name[at] = 0;
    for (size_t d = i; at > 0; d /= 10) name[--at] = (char)('0' + d % 10);
    kd__graph_result(b->body, name, b->in_body[result.v[i]]);
  }
  for (size_t i = 0; i < b->operand.n; i++) KD_PUSH(f->a, in, value(b, b->operand.v[i]));
  kd_build add = { b->g, origin };
  kd_value v = kd__b_group(&add, b->body, in.v, (uint32_t)in.n);
  for (size_t i = 0; i < result.n; i++) b->to[result.v[i]] = v + (kd_value)i;
}

/* --- all ------------------------------------------------------------------------------------------------------------------------------- */

static void emit_node(builder *b, const kd_node *n) {
  KD_VEC(kd_value) in = { 0 };
  for (uint32_t i = 0; i < n->nin; i++) KD_PUSH(b->f->a, in, value(b, n->in[i]));
  kd_attr attr[KD_MAX_ATTRS];
  kd_node m = *n;
  if (n->op == KD_OP_LOOP) {                     /* its body is a graph of its own */
    memcpy(attr, n->attr, sizeof *attr * (size_t)kd__op_info(KD_OP_LOOP)->nattr);
    attr[0] = kd__ag(kd__pass_fuse((kd_graph *)(uintptr_t)n->attr[0].u.graph));
    m.attr = attr;
  }
  kd_value v = copy_node(b->g, &m, in.v);
  for (uint32_t k = 0; k < n->nout; k++) b->to[n->out + k] = v + k;
}

/* Numbers, positions and repeated values cost a group nothing, and a call of their own or strides of 0 otherwise. */
static bool reads_aside(const kd_graph *g, const kd_node *n) {
  if (kd__op_info((kd_op)n->op)->cls != KD_CLASS_ELEM) return false;
  for (uint32_t i = 0; i < n->nin; i++) {
    kd_op op = (kd_op)kd__node_of(g, n->in[i])->op;
    if (op == KD_OP_CONST || op == KD_OP_IOTA || op == KD_OP_BROADCAST) return true;
  }
  return false;
}

/* The entry of a row, or a row with one entry: not an entry put into what is there. */
static bool pick_alone(const kd_graph *g, const kd_node *n) {
  return kd__fuse_pick(g, n) && (n->op == KD_OP_GATHER || kd__node_of(g, kd__fuse_root(g, n->in[0]))->op == KD_OP_CONST);
}

kd_graph *kd__fuse_build(kd__fuser *f) {
  const kd_graph *g = f->g;
  builder b = { .f = f, .g = kd__graph_new_sized(g->arena, g->node.n / 4, g->type.n / 4) };
  b.to = KD_NEWN(f->a, kd_value, g->type.n);
  b.in_body = KD_NEWN(f->a, kd_value, g->type.n);
  b.slot = KD_NEWN(f->a, kd_value, g->type.n);
  b.seen = KD_NEWN(f->a, uint32_t, g->type.n);
  b.seen_slot = KD_NEWN(f->a, uint32_t, g->type.n);
  b.done = KD_NEWN(f->a, bool, g->node.n);
  find_order(&b);
  for (size_t i = 0; i < b.norder; i++) {
    const kd__cluster *k = &f->cluster[b.order[i]];
    if (k->group && (k->node.n > 1 || reads_aside(g, &g->node.v[k->node.v[0]]) || pick_alone(g, &g->node.v[k->node.v[0]])) && !(k->alone && k->node.n == 1)) emit_group(&b, b.order[i]);
    else emit_node(&b, &g->node.v[k->node.v[0]]);
  }
  for (size_t i = 0; i < g->write.n; i++) kd__graph_write(b.g, g->write.v[i].slot, value(&b, g->write.v[i].value), g->write.v[i].origin);
  for (size_t i = 0; i < g->result.n; i++) kd__graph_result(b.g, g->result.v[i].name, value(&b, g->result.v[i].value));
  return b.g;
}
