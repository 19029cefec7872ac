/* post.c: what follows a convolution and nobody else reads becomes part of it: a bias of each channel (all of a frozen batch normalisation: its
 * scale is in the filters already), a residual, relu. The map is then written once and never read in between.
 *
 * Requires gradients: conv_post has none of its own. */
#include "compiler/pass/pass.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_post(kd_graph *g);

enum { GROUPS = 4, RELU = 6 };                   /* attributes of a convolution, and after them bias, relu */
typedef struct chain { uint32_t conv; kd_value bias, add; bool relu; } chain;
typedef struct finder {
  const kd_graph *g;
  uint32_t *readers, *reader;                    /* by value: how many read it, writes and results too; the node that did last */
  bool *taken;                                   /* by node: inside of a chain */
  chain *end;                                    /* by node: the chain that ends there; conv 0: none */
} finder;

static void find_readers(finder *f, const bool *live) {
  const kd_graph *g = f->g;
  for (size_t i = 0; i < g->write.n; i++) f->readers[g->write.v[i].value]++;
  for (size_t i = 0; i < g->result.n; i++) f->readers[g->result.v[i].value]++;
  for (size_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; live[i] && k < g->node.v[i].nin; k++) f->readers[g->node.v[i].in[k]]++, f->reader[g->node.v[i].in[k]] = (uint32_t)i;
}

/* One value for each channel, repeated over the others: the value, or 0. */
static kd_value per_channel(const kd_graph *g, kd_value v) {
  const kd_node *n = kd__node_of(g, v);
  bool is = n->op == KD_OP_BROADCAST && n->attr[1].n == 1 && n->attr[1].u.list[0] == 1 && kd__type_of(g, n->in[0])->rank == 1;
  return is ? n->in[0] : 0;
}

/* Takes node `n`, which reads `cur`, into the chain; false: it ends before. */
static bool take(const finder *f, chain *c, const kd_node *n, kd_value cur) {
  if (n->op == KD_OP_RELU && !c->relu) return c->relu = true;
  if (n->op != KD_OP_ADD || c->relu || n->in[0] == n->in[1]) return false;
  kd_value other = n->in[n->in[0] == cur], bias = per_channel(f->g, other);
  if (bias && !c->bias) { c->bias = bias; return true; }
  if (c->add || kd__node_of(f->g, other)->op == KD_OP_BROADCAST || kd__node_of(f->g, other)->op == KD_OP_CONST) return false;
  c->add = other;
  return true;
}

static void follow(finder *f, uint32_t conv) {
  chain c = { .conv = conv };
  kd_value cur = f->g->node.v[conv].out;
  uint32_t end = 0;
  while (f->readers[cur] == 1 && f->reader[cur]) {
    uint32_t at = f->reader[cur];
    if (f->taken[at] || !take(f, &c, &f->g->node.v[at], cur)) break;
    f->taken[end = at] = true;
    cur = f->g->node.v[at].out;
  }
  if (end) f->end[end] = c;
}

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  const finder *f = r->ctx;
  const chain *c = &f->end[n - r->old->node.v];
  if (!c->conv) return kd__rebuild_same(r, n, in);
  const kd_node *conv = &r->old->node.v[c->conv];
  kd_value operand[4] = { r->to[conv->in[0]], r->to[conv->in[1]] };
  uint32_t count = 2;
  if (c->bias) operand[count++] = r->to[c->bias];
  if (c->add) operand[count++] = r->to[c->add];
  kd_attr attr[RELU + 1];
  for (int i = 0; i <= GROUPS; i++) attr[i] = conv->attr[i];
  attr[RELU - 1] = kd__ai(c->bias != 0), attr[RELU] = kd__ai(c->relu);
  return kd__graph_add(r->g, KD_OP_CONV_POST, operand, count, attr, conv->origin, NULL);
}

kd_graph *kd__pass_post(kd_graph *g) {
  finder f = { .g = g };
  f.readers = KD_NEWN(g->arena, uint32_t, g->type.n), f.reader = KD_NEWN(g->arena, uint32_t, g->type.n);
  f.taken = KD_NEWN(g->arena, bool, g->node.n), f.end = KD_NEWN(g->arena, chain, g->node.n);
  bool *live = kd__rebuild_live(g);
  find_readers(&f, live);
  for (size_t i = 1; i < g->node.n; i++)
    if (live[i] && g->node.v[i].op == KD_OP_CONV) follow(&f, (uint32_t)i);
  return kd__rebuild_run(g, rule, &f);
}
