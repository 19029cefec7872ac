/* graph.c: adding nodes, hash-consing, what a program leaves behind. */
#include "compiler/ir/graph_private.h"
#include <assert.h>
#include <stdlib.h>

enum { CONS_MIN = 64, SLOTS_MIN = 16, FEW = 8 };

kd_graph *kd__graph_new(kd__arena *a) { return kd__graph_new_sized(a, 8, 8); }

kd_graph *kd__graph_new_sized(kd__arena *a, size_t nodes, size_t values) {
  kd_graph *g = KD_NEW(a, kd_graph);
  g->arena = a;
  g->node.cap = nodes + 1;
  g->type.cap = g->def.cap = values + 1;
  g->node.v = KD_NEWN(a, kd_node, g->node.cap);
  g->type.v = KD_NEWN(a, kd_type, g->type.cap);
  g->def.v = KD_NEWN(a, uint32_t, g->def.cap);
  g->node.n = g->type.n = g->def.n = 1;          /* [0]: "no value" */
  g->ncons = CONS_MIN;
  while (g->ncons < nodes * 2) g->ncons *= 2;
  g->cons = KD_NEWN(a, uint32_t, g->ncons);
  return g;
}

/* --- hash-consing -------------------------------------------------------------------------------------------------- */

static uint64_t hash_attr(const kd_attr *a, uint64_t h) {
  if (a->kind == 'I') return kd__hash(a->u.list, a->n * sizeof(int64_t), kd__mix(h, a->n));
  uint64_t bits;                                 /* of a double too: -0 and 0, and two NaN, are different constants */
  memcpy(&bits, &a->u, sizeof bits);
  return kd__mix(h, bits);
}

static uint64_t hash_node(const kd_node *n) {
  uint64_t h = kd__hash(n->in, n->nin * sizeof(kd_value), n->op);
  int nattr = kd__op_info((kd_op)n->op)->nattr;
  for (int i = 0; i < nattr; i++) h = hash_attr(&n->attr[i], h);
  return h;
}

static bool equal_attr(const kd_attr *a, const kd_attr *b) {
  if (a->kind != 'I') return memcmp(&a->u, &b->u, sizeof a->u) == 0;
  return a->n == b->n && (a->n == 0 || memcmp(a->u.list, b->u.list, a->n * sizeof(int64_t)) == 0);
}

static bool equal_node(const kd_node *a, const kd_node *b) {
  if (a->op != b->op || a->nin != b->nin || a->once != b->once) return false;
  if (a->nin && memcmp(a->in, b->in, a->nin * sizeof(kd_value)) != 0) return false;
  int nattr = kd__op_info((kd_op)a->op)->nattr;
  for (int i = 0; i < nattr; i++)
    if (!equal_attr(&a->attr[i], &b->attr[i])) return false;
  return true;
}

/* The slot of an equal node, or the free slot where it would go. */
static size_t find_slot(const kd_graph *g, const kd_node *n) {
  size_t i = hash_node(n) & (g->ncons - 1);
  while (g->cons[i] && !equal_node(&g->node.v[g->cons[i]], n)) i = (i + 1) & (g->ncons - 1);
  return i;
}

static void grow_cons(kd_graph *g) {
  g->ncons *= 2;
  g->cons = KD_NEWN(g->arena, uint32_t, g->ncons);
  for (size_t i = 1; i < g->node.n; i++) g->cons[find_slot(g, &g->node.v[i])] = (uint32_t)i;
}

/* --- adding ------------------------------------------------------------------------------------------------------ */

/* Axes that are a set are kept in increasing order, so that equal reductions are equal nodes. Insertion sort: at most KD_MAX_RANK. */
static void sort_list(int64_t *v, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    for (uint32_t j = i; j > 0 && v[j - 1] > v[j]; j--) {
      int64_t t = v[j];
      v[j] = v[j - 1];
      v[j - 1] = t;
    }
}

/* Copies attributes to `to`, lists into `list`. */
static void settle_attrs(const kd_op_info *info, const kd_attr *attr, kd_attr *to, int64_t list[][KD_MAX_RANK]) {
  bool unordered = info->cls == KD_CLASS_REDUCE || info->cls == KD_CLASS_NORM;
  for (int i = 0; i < info->nattr; i++) {
    to[i] = attr[i];
    if (attr[i].kind != 'I') continue;
    if (attr[i].n) memcpy(list[i], attr[i].u.list, attr[i].n * sizeof(int64_t));
    if (unordered && strcmp(info->attr[i].name, "axes") == 0) sort_list(list[i], attr[i].n);
    to[i].u.list = list[i];
  }
}

/* Gives a node that was looked up with borrowed memory its own. */
static void own_node(kd_graph *g, kd_node *n, int nattr) {
  n->in = n->nin ? kd__arena_copy(g->arena, n->in, n->nin * sizeof(kd_value)) : NULL;
  kd_attr *attr = nattr ? kd__arena_copy(g->arena, n->attr, (size_t)nattr * sizeof(kd_attr)) : NULL;
  for (int i = 0; i < nattr; i++)
    if (attr[i].kind == 'I') attr[i].u.list = attr[i].n ? kd__arena_copy(g->arena, attr[i].u.list, attr[i].n * sizeof(int64_t)) : NULL;
  n->attr = attr;
}

kd_value kd__graph_add(kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr, kd_origin origin, kd_shape_error *err) {
  const kd_op_info *info = kd__op_info(op);
  bool apart = g->apart;
  g->apart = false;
  const kd_type *few[FEW], **types = nin <= FEW ? few : KD_NEWN(g->arena, const kd_type *, nin);
  for (uint32_t i = 0; i < nin; i++) {
    if (in[i] == 0) return 0;
    assert(in[i] < g->type.n);
    types[i] = &g->type.v[in[i]];
  }
  uint32_t nout = kd__result_count(op, attr);
  kd_type usual[KD_MAX_RESULTS], *out = nout <= KD_MAX_RESULTS ? usual : KD_NEWN(g->arena, kd_type, nout);
  kd_shape_error why;
  if (!kd__infer(op, types, nin, attr, out, err ? err : &why)) {
    if (!err && g->refuse) g->refuse(g->refuse_ctx, &why, origin);
    assert(err && "operands or attributes do not fit, though the caller claimed so: see `why`");
    return 0;
  }
  if (g->early && !apart) {
    kd_value (*early)(kd_graph *, kd_op, const kd_value *, uint32_t, const kd_attr *, kd_origin) = g->early;
    g->early = NULL;
    kd_value v = early(g, op, in, nin, attr, origin);
    g->early = early;
    if (v) return v;
  }
  kd_attr settled[KD_MAX_ATTRS];
  int64_t list[KD_MAX_ATTRS][KD_MAX_RANK];
  settle_attrs(info, attr, settled, list);
  kd_node n = { .op = (uint16_t)op, .nout = (uint16_t)nout, .nin = nin, .in = in, .attr = settled, .origin = origin, .once = g->once };
  size_t slot = find_slot(g, &n);
  if (g->cons[slot] && !apart) return g->node.v[g->cons[slot]].out;

  own_node(g, &n, info->nattr);
  n.out = (kd_value)g->type.n;
  uint32_t id = (uint32_t)g->node.n;
  KD_PUSH(g->arena, g->node, n);
  for (uint32_t i = 0; i < nout; i++) {
    KD_PUSH(g->arena, g->type, out[i]);
    KD_PUSH(g->arena, g->def, id);
  }
  g->cons[slot] = id;
  if (g->node.n * 2 > g->ncons) grow_cons(g);
  return n.out;
}

kd_value kd__graph_find(const kd_graph *g, kd_op op, const kd_value *in, uint32_t nin, const kd_attr *attr) {
  kd_attr settled[KD_MAX_ATTRS];
  int64_t list[KD_MAX_ATTRS][KD_MAX_RANK];
  settle_attrs(kd__op_info(op), attr, settled, list);
  kd_node n = { .op = (uint16_t)op, .nin = nin, .in = in, .attr = settled };
  uint32_t id = g->cons[find_slot(g, &n)];
  return id ? g->node.v[id].out : 0;
}

const kd_attr *kd__attr(const kd_node *n, const char *name) {
  const kd_op_info *info = kd__op_info((kd_op)n->op);
  for (int i = 0; i < info->nattr; i++)
    if (strcmp(info->attr[i].name, name) == 0) return &n->attr[i];
  assert(!"no such attribute");
  return NULL;
}

/* --- what a program leaves behind ---------------------------------------------------------------------------------- */

/* Where the slot's write is listed, or the free place where it would be. */
static uint32_t *write_of(const kd_graph *g, int64_t slot) {
  size_t i = kd__mix((uint64_t)slot, 0) & (g->nby_slot - 1);
  while (g->by_slot[i] && g->write.v[g->by_slot[i] - 1].slot != slot) i = (i + 1) & (g->nby_slot - 1);
  return &g->by_slot[i];
}

void kd__graph_write(kd_graph *g, int64_t slot, kd_value v, kd_origin origin) {
  if (g->write.n * 2 >= g->nby_slot) {
    g->nby_slot = g->nby_slot ? g->nby_slot * 2 : SLOTS_MIN;
    g->by_slot = KD_NEWN(g->arena, uint32_t, g->nby_slot);
    for (size_t i = 0; i < g->write.n; i++) *write_of(g, g->write.v[i].slot) = (uint32_t)i + 1;
  }
  uint32_t *at = write_of(g, slot);
  if (*at) { g->write.v[*at - 1] = (kd_write){ slot, v, origin }; return; }
  KD_PUSH(g->arena, g->write, (kd_write){ slot, v, origin });
  *at = (uint32_t)g->write.n;
}

void kd__graph_result(kd_graph *g, const char *name, kd_value v) {
  KD_PUSH(g->arena, g->result, (kd_result){ kd__arena_strndup(g->arena, name, strlen(name)), v });
}
