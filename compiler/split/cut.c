/* cut.c: which frozen values to keep. Every frozen node is made either beforehand or in each run; a value that is made beforehand and needed in a run
 * has to be read. The cheapest choice is a minimal cut of a network: from the source (beforehand) to a node what it costs in a run, from the node to the
 * sink (in each run) its share of what making it beforehand costs, from a node to a value's reading what that costs, and from there to all that read it. */
#include "compiler/split/split.h"

enum { NODES_MOST = 60000 };
static const int64_t without_end = (int64_t)1 << 60;

typedef struct edge { uint32_t to, next; int64_t room; } edge;          /* edge i ^ 1 is its reverse */
typedef struct net {
  kd__arena *a;
  KD_VEC(edge) edge;
  uint32_t *first, *level, *at, *queue, *path, n;
} net;
enum { SOURCE, SINK, FREE };

static void join(net *w, uint32_t from, uint32_t to, int64_t room) {
  KD_PUSH(w->a, w->edge, (edge){ to, w->first[from], room });
  w->first[from] = (uint32_t)w->edge.n - 1;
  KD_PUSH(w->a, w->edge, (edge){ from, w->first[to], 0 });
  w->first[to] = (uint32_t)w->edge.n - 1;
}

/* How many edges from the source; true: the sink can be reached. */
static bool levels(net *w) {
  uint32_t head = 0, tail = 0;
  memset(w->level, 0, sizeof *w->level * w->n);
  w->level[SOURCE] = 1;
  w->queue[tail++] = SOURCE;
  while (head < tail) {
    uint32_t v = w->queue[head++];
    for (uint32_t i = w->first[v]; i; i = w->edge.v[i].next)
      if (w->edge.v[i].room > 0 && !w->level[w->edge.v[i].to]) { w->level[w->edge.v[i].to] = w->level[v] + 1; w->queue[tail++] = w->edge.v[i].to; }
  }
  return w->level[SINK] != 0;
}

/* One path along rising levels from the source to the sink, as edges in w->path; its length, 0: there is none any more. */
static uint32_t find_path(net *w) {
  uint32_t n = 0, v = SOURCE;
  while (v != SINK) {
    uint32_t i = w->at[v];
    while (i && !(w->edge.v[i].room > 0 && w->level[w->edge.v[i].to] == w->level[v] + 1)) i = w->edge.v[i].next;
    w->at[v] = i;
    if (i) { w->path[n++] = i; v = w->edge.v[i].to; continue; }
    if (v == SOURCE) return 0;
    v = w->edge.v[w->path[--n] ^ 1].to;
    w->at[v] = w->edge.v[w->at[v]].next;
  }
  return n;
}

static void flow(net *w) {
  while (levels(w)) {
    memcpy(w->at, w->first, sizeof *w->at * w->n);
    for (uint32_t n; (n = find_path(w)) > 0;) {
      int64_t room = without_end;
      for (uint32_t i = 0; i < n; i++) if (w->edge.v[w->path[i]].room < room) room = w->edge.v[w->path[i]].room;
      for (uint32_t i = 0; i < n; i++) { w->edge.v[w->path[i]].room -= room; w->edge.v[w->path[i] ^ 1].room += room; }
    }
  }                                              /* what has a level now is on the source's side */
}

/* --- the program as a network --------------------------------------------------------------------------------------------------------------- */
typedef struct problem {
  const kd_graph *g; const kd_frozenness *f; const kd_cut_prices *p;
  uint32_t *node, *value;                        /* vertices; 0: not in it */
  bool *asked;                                   /* by value: something live, a write or a result reads it */
} problem;

static bool frozen(const problem *q, const kd_node *n) {
  for (uint32_t k = 0; k < n->nout; k++) {
    uint8_t is = q->f[n->out + k].is;
    if (is != q->p->kind && !(q->p->kind == KD_ROWS && is == KD_CONSTANT)) return false;
  }
  return n->nout > 0;
}

static bool is_leaf(const kd_node *n) { return kd__op_info((kd_op)n->op)->cls == KD_CLASS_LEAF; }

static int64_t bytes_of(const kd_graph *g, kd_value v) {
  const kd_type *t = kd__type_of(g, v);
  int64_t n = kd__type_count(t), b;
  return n < 0 || __builtin_mul_overflow(n, (int64_t)kd__dtype_size((kd_dtype)t->dtype), &b) ? INT64_MAX : b;
}

static bool can_keep(const problem *q, kd_value v) {
  if (q->f[v].is != q->p->kind || is_leaf(kd__node_of(q->g, v)) || bytes_of(q->g, v) <= 0) return false;
  return q->p->kind == KD_CONSTANT || kd__rows_fit(q->g, v, &q->f[v], 0);
}

static bool turned(const problem *q, const kd_node *n) {
  bool is = false;
  for (uint32_t k = 0; k < n->nout; k++) is = is || (q->f[n->out + k].is == KD_ROWS && q->f[n->out + k].turned);
  return is;
}

static int64_t turns(const problem *q, kd_value v) { return q->p->turns > 1 && q->f[v].is == KD_ROWS && q->f[v].turned ? q->p->turns : 1; }

/* Bytes of it in all its turns. */
static int64_t room(const problem *q, kd_value v) {
  int64_t b;
  return __builtin_mul_overflow(bytes_of(q->g, v), turns(q, v), &b) ? INT64_MAX : b;
}

static int64_t read_price(const problem *q, kd_value v) {
  if (!can_keep(q, v)) return without_end;
  double p = (double)bytes_of(q->g, v) * q->p->read + (double)room(q, v) * q->p->dear + (double)q->p->apiece;
  return p > 1e17 ? (int64_t)1e17 : (int64_t)p + 1;
}

static void ask(problem *q) {
  for (size_t i = 1; i < q->g->node.n; i++) {
    const kd_node *n = &q->g->node.v[i];
    for (uint32_t k = 0; k < n->nin && !q->node[i]; k++) q->asked[n->in[k]] = true;
  }
  for (size_t i = 0; i < q->g->write.n; i++) q->asked[q->g->write.v[i].value] = true;
  for (size_t i = 0; i < q->g->result.n; i++) q->asked[q->g->result.v[i].value] = true;
}

static void build(net *w, problem *q) {
  for (size_t i = 1; i < q->g->node.n; i++) {
    const kd_node *n = &q->g->node.v[i];
    if (!q->node[i]) continue;
    kd_price c = kd__price_node(q->g, n);
    join(w, SOURCE, q->node[i], c);
    int64_t make = turned(q, n) ? q->p->make_turned : q->p->make;
    join(w, q->node[i], SINK, c / 1000 * make + c % 1000 * make / 1000);
    for (uint32_t k = 0; k < n->nout; k++) {
      join(w, q->node[i], q->value[n->out + k], read_price(q, n->out + k));
      if (q->asked[n->out + k]) join(w, q->value[n->out + k], SINK, without_end);
    }
    for (uint32_t k = 0; k < n->nin; k++) if (q->value[n->in[k]]) join(w, q->value[n->in[k]], q->node[i], without_end);
  }
}

/* --- what comes of it ----------------------------------------------------------------------------------------------------------------------------- */
/* By node: does a run need it, when it reads the values that are kept? */
static bool *needed(kd__arena *a, const kd_graph *g, const bool *kept) {
  bool *need = KD_NEWN(a, bool, g->node.n);
  for (size_t i = 0; i < g->write.n; i++) if (!kept[g->write.v[i].value]) need[g->def.v[g->write.v[i].value]] = true;
  for (size_t i = 0; i < g->result.n; i++) if (!kept[g->result.v[i].value]) need[g->def.v[g->result.v[i].value]] = true;
  for (size_t i = g->node.n; i-- > 1;) {
    const kd_node *n = &g->node.v[i];
    for (uint32_t k = 0; k < n->nin && need[i]; k++) if (!kept[n->in[k]]) need[g->def.v[n->in[k]]] = true;
  }
  return need;
}

static bool reads(const kd_graph *g, const bool *need, kd_value v) {
  for (size_t i = 0; i < g->write.n; i++) if (g->write.v[i].value == v) return true;
  for (size_t i = 0; i < g->result.n; i++) if (g->result.v[i].value == v) return true;
  for (size_t i = g->def.v[v] + 1; i < g->node.n; i++)
    for (uint32_t k = 0; k < g->node.v[i].nin && need[i]; k++) if (g->node.v[i].in[k] == v) return true;
  return false;
}

static int64_t kept_bytes(int64_t a, int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }

static void account(kd__arena *a, const problem *q, const bool *kept, kd_cut *c) {
  bool *none = KD_NEWN(a, bool, q->g->type.n), *all = needed(a, q->g, none), *left = needed(a, q->g, kept);
  for (kd_value v = 1; v < q->g->type.n; v++) {
    if (!kept[v] || !reads(q->g, left, v)) continue;
    c->value[c->n++] = v;
    c->saved -= read_price(q, v);
    c->bytes = kept_bytes(c->bytes, room(q, v));
    c->read = kept_bytes(c->read, bytes_of(q->g, v));
  }
  for (size_t i = 1; i < q->g->node.n; i++) {
    if (!all[i]) continue;
    kd_price p = kd__price_node(q->g, &q->g->node.v[i]);
    c->whole += p;
    if (!left[i]) c->saved += p;
    if (!left[i] && turned(q, &q->g->node.v[i])) c->turned += p;
  }
}

kd_cut kd__cut_choose(kd__arena *a, const kd_graph *g, const kd_frozenness *f, const kd_cut_prices *p) {
  problem q = { .g = g, .f = f, .p = p, .node = KD_NEWN(a, uint32_t, g->node.n), .value = KD_NEWN(a, uint32_t, g->type.n), .asked = KD_NEWN(a, bool, g->type.n) };
  kd_cut c = { .value = KD_NEWN(a, kd_value, g->type.n) };
  net w = { .a = a, .n = FREE };
  for (size_t i = 1; i < g->node.n; i++) {
    if (!frozen(&q, &g->node.v[i])) continue;
    q.node[i] = w.n++;
    for (uint32_t k = 0; k < g->node.v[i].nout; k++) q.value[g->node.v[i].out + k] = w.n++;
  }
  if (w.n == FREE || w.n > NODES_MOST) return c;
  ask(&q);
  w.first = KD_NEWN(a, uint32_t, w.n); w.level = KD_NEWN(a, uint32_t, w.n); w.at = KD_NEWN(a, uint32_t, w.n);
  w.queue = KD_NEWN(a, uint32_t, w.n); w.path = KD_NEWN(a, uint32_t, w.n);
  KD_PUSH(a, w.edge, (edge){ 0 }); KD_PUSH(a, w.edge, (edge){ 0 });      /* edge 0 is none */
  build(&w, &q);
  flow(&w);
  bool *kept = KD_NEWN(a, bool, g->type.n);
  for (kd_value v = 1; v < g->type.n; v++)
    kept[v] = q.value[v] && w.level[q.node[g->def.v[v]]] && !w.level[q.value[v]] && can_keep(&q, v);
  account(a, &q, kept, &c);
  if (c.saved <= 0) c.n = 0, c.bytes = c.read = 0, c.saved = c.turned = 0;
  return c;
}

/* A higher price for a byte leaves out what saves least for it. */
kd_cut kd__cut_within(kd__arena *a, const kd_graph *g, const kd_frozenness *f, const kd_cut_prices *p, int64_t bytes) {
  kd_cut c = kd__cut_choose(a, g, f, p), best = { 0 };
  if (c.bytes <= bytes) return c;
  double low = p->read, high = 1e9;
  for (int i = 0; i < 40 && high / low > 1.01; i++) {
    kd_cut_prices dear = *p;
    double price = low <= 0 ? high / 2 : low * __builtin_sqrt(high / low);
    dear.dear = price - p->read;
    c = kd__cut_choose(a, g, f, &dear);
    if (c.bytes > bytes) { low = price; continue; }
    high = price;
    c.saved += (kd_price)((double)c.bytes * dear.dear);
    if (c.saved > best.saved) best = c;
  }
  best.whole = c.whole;
  return best;
}
