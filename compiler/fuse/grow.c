/* grow.c: nodes go to groups in one walk through the graph: each to the group of an operand whose space it fits into, which saves writing and
 * reading that operand; groups between which a node stands, and groups that read the same values, become one. */
#include "compiler/fuse/fuse.h"

/* Bytes of what two groups both read; points of the largest value of a small group; how often a group tries again. */
enum { WORTH_SHARING = 4096, SMALL = 4096, MOST_AGAIN = 1 };

int64_t kd__fuse_bytes(const kd_graph *g, kd_value v) {
  const kd_type *t = kd__type_of(g, v);
  return kd__type_count(t) * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
}

bool kd__fuse_apart(kd_op op) { return op == KD_OP_CONST || op == KD_OP_IOTA || kd__fuse_view(op); }

/* --- spaces -------------------------------------------------------------------------------------------------------------------------- */

typedef struct pair { const kd__fuser *f; uint32_t a, b; } pair;

static bool in_pair(const kd__space *s, uint32_t node) {
  const pair *p = s->ctx;
  if (!p->f->live[node] || kd__fuse_apart((kd_op)s->g->node.v[node].op) || node >= p->f->now) return false;
  uint32_t c = kd__cluster_of(p->f, node);
  return c == p->a || c == p->b;
}

static bool marked(const kd__space *s, uint32_t node) {
  const kd__fuser *f = s->ctx;
  return f->mark[node] == f->stamp;
}

void kd__fuse_free_space(kd__fuser *f, kd__space *s) {
  s->next = f->spare;
  f->spare = s;
}

/* Most spaces that are tried come to nothing: their memory serves the next one. */
kd__space *kd__fuse_new_space(kd__fuser *f) {
  kd__space *s = f->spare ? f->spare : KD_NEW(f->a, kd__space);
  if (f->spare) f->spare = s->next;
  kd__space_begin(s, f->a, f->g);
  return s;
}

kd__space *kd__fuse_space(kd__fuser *f, const uint32_t *node, size_t n) {
  kd__space *s = kd__fuse_new_space(f);
  size_t i = 0;
  f->stamp++;
  for (; i < n; i++) f->mark[node[i]] = f->stamp;
  s->inside = marked, s->ctx = f;
  for (i = 0; i < n && kd__space_take(s, node[i]);) i++;
  if (i == n && kd__space_fits(s)) return s;
  kd__fuse_free_space(f, s);
  return NULL;
}

static bool take(kd__fuser *f, uint32_t c, uint32_t node) {
  pair p = { f, c, c };
  kd__space *s = f->cluster[c].space;
  s->inside = in_pair, s->ctx = &p;
  bool good = kd__space_take(s, node), fits = good && kd__space_fits(s);
  if (good && !fits) kd__space_undo(s);
  good = fits;
  s->ctx = NULL;
  return good;
}

/* --- joining -------------------------------------------------------------------------------------------------------------------------- */

static uint8_t real_of(const kd_graph *g, const kd_node *n, bool *one) {
  uint8_t t = KD_DTYPE_COUNT;
  *one = true;
  for (uint32_t i = 0; i <= n->nin; i++) {
    uint8_t d = kd__type_of(g, i < n->nin ? n->in[i] : n->out)->dtype;
    if (!kd__dtype_real((kd_dtype)d)) continue;
    if (t != KD_DTYPE_COUNT && t != d) *one = false;
    t = d;
  }
  return t;
}

static bool reals_agree(uint8_t a, uint8_t b) { return a == b || a == KD_DTYPE_COUNT || b == KD_DTYPE_COUNT; }

/* The lowest level above the operands, but for those in cluster `c`; bars the others. */
static uint32_t level_above(kd__fuser *f, const kd_node *n, uint32_t c) {
  uint32_t level = 0;
  f->bar++;
  for (uint32_t i = 0; i < n->nin; i++) {
    uint32_t d = f->g->def.v[kd__fuse_root(f->g, n->in[i])];
    if (kd__fuse_apart((kd_op)f->g->node.v[d].op)) continue;
    uint32_t k = kd__cluster_of(f, d);
    if (k == c) continue;
    f->barred[k] = f->bar;
    if (f->cluster[k].level + 1 > level) level = f->cluster[k].level + 1;
  }
  return level;
}

static bool join(kd__fuser *f, uint32_t c, uint32_t node, uint8_t real) {
  kd__cluster *k = &f->cluster[c];
  if (!k->group || k->alone || k->node.n >= KD__FUSE_MOST || !reals_agree(k->real, real) || !take(f, c, node)) return false;
  uint32_t level = level_above(f, &f->g->node.v[node], c);
  if (level > k->level && !kd__cluster_raise(f, c, level, 0)) { kd__space_undo(k->space); return false; }
  KD_PUSH(f->a, k->node, node);
  k->writes = k->writes || f->writes[node];
  f->cluster[node].into = c;
  if (k->real == KD_DTYPE_COUNT) k->real = real;
  return true;
}

static uint32_t count_ways(const kd__space *s, kd_value v) {
  uint32_t n = 0;
  for (size_t i = 0; i < s->entry.n; i++) n += s->entry.v[i].v == v && s->entry.v[i].kind == KD__ENTRY_OUTSIDE;
  return n;
}

/* Makes one group of two; where they share no more than that both read `shared`, they must walk it alike. Gives the group that stays, or 0. */
static uint32_t merge(kd__fuser *f, uint32_t a, uint32_t b, kd_value shared) {
  if (f->cluster[a].level > f->cluster[b].level) { uint32_t t = a; a = b, b = t; }
  kd__cluster *x = &f->cluster[a], *y = &f->cluster[b];
  size_t n = x->node.n + y->node.n, i = 0, j = 0;
  if (!x->group || !y->group || x->alone || y->alone || n > KD__FUSE_MOST || !reals_agree(x->real, y->real) || x->refused == b || y->refused == a) return 0;
  uint32_t *node = KD_NEWN(f->a, uint32_t, n);
  for (size_t k = 0; k < n; k++) node[k] = j == y->node.n || (i < x->node.n && x->node.v[i] < y->node.v[j]) ? x->node.v[i++] : y->node.v[j++];
  kd__space *s = kd__fuse_space(f, node, n);
  f->bar++;
  f->barred[b] = f->bar;
  if (!s || (shared && count_ways(s, shared) > 1) || !kd__cluster_raise(f, a, y->level, b)) {
    if (s) kd__fuse_free_space(f, s);
    x->refused = b, y->refused = a;
    if (s) x->again = y->again = MOST_AGAIN;     /* in a cycle they will always be */
    return 0;
  }
  x->into = b;
  kd__fuse_free_space(f, x->space);
  kd__fuse_free_space(f, y->space);
  y->writes = x->writes || y->writes;
  y->read = x->read || y->read;
  y->space = s;
  y->node.v = node, y->node.n = y->node.cap = n;
  if (y->real == KD_DTYPE_COUNT) y->real = x->real;
  y->refused = 0;
  return b;
}

/* The operands' groups, those of the largest operands first. */
static uint32_t groups_of(const kd__fuser *f, const kd_node *n, uint32_t *to) {
  int64_t bytes[3];
  uint32_t many = 0;
  for (uint32_t i = 0; i < n->nin; i++) {
    kd_value v = kd__fuse_root(f->g, n->in[i]);
    uint32_t d = f->g->def.v[v], c;
    if (kd__fuse_apart((kd_op)f->g->node.v[d].op) || !f->cluster[c = kd__cluster_of(f, d)].group || f->cluster[c].alone) continue;
    int64_t size = kd__fuse_bytes(f->g, v);
    bool there = false;
    for (uint32_t k = 0; k < many; k++) there = there || to[k] == c;
    if (there) continue;
    uint32_t at = many++;
    for (; at > 0 && bytes[at - 1] < size; at--) bytes[at] = bytes[at - 1], to[at] = to[at - 1];
    bytes[at] = size, to[at] = c;
  }
  return many;
}

static int64_t largest(const kd__space *s) {
  int64_t most = 0;
  for (size_t i = 0; i < s->entry.n; i++) {
    int64_t n = kd__space_count(s, s->entry.v[i].place.changes);
    if (n > most) most = n;
  }
  return most;
}

/* Reading it once instead of twice saves memory traffic, or, of two small groups, a call. (One that is written to a slot, such as running
 * statistics, stays apart: where memory is short others may be made twice, and that would have to read the slot as it was.) */
static bool worth_sharing(const kd__fuser *f, uint32_t a, uint32_t b, kd_value v) {
  if (!f->cluster[a].group || !f->cluster[b].group) return false;
  if (kd__fuse_bytes(f->g, v) >= WORTH_SHARING) return true;
  return kd__type_count(kd__type_of(f->g, v)) > 1 && f->cluster[a].writes == f->cluster[b].writes && (largest(f->cluster[a].space) <= SMALL || largest(f->cluster[b].space) <= SMALL);
}

/* Groups that read what this member reads from outside. */
static void share_reads(kd__fuser *f, uint32_t node) {
  const kd_node *n = &f->g->node.v[node];
  for (uint32_t i = 0; i < n->nin; i++) {
    kd_value v = kd__fuse_root(f->g, n->in[i]);
    uint32_t d = f->g->def.v[v], c = kd__cluster_of(f, node), last = f->last[v];
    if (f->g->node.v[d].op == KD_OP_CONST || f->g->node.v[d].op == KD_OP_IOTA || kd__cluster_of(f, d) == c) continue;
    f->last[v] = node;
    if (last && kd__cluster_of(f, last) != c && worth_sharing(f, kd__cluster_of(f, last), c, v)) merge(f, kd__cluster_of(f, last), c, v);
  }
}

static void note_reads(kd__fuser *f, uint32_t node) {
  const kd_node *n = &f->g->node.v[node];
  uint32_t c = kd__cluster_of(f, node);
  for (uint32_t i = 0; i < n->nin; i++) {
    uint32_t d = f->g->def.v[kd__fuse_root(f->g, n->in[i])];
    if (kd__fuse_apart((kd_op)f->g->node.v[d].op)) continue;
    uint32_t k = kd__cluster_of(f, d);
    if (k != c) f->cluster[k].read = true;
  }
}

static void begin(kd__fuser *f, uint32_t node, bool group, uint8_t real) {
  kd__cluster *k = &f->cluster[node];
  *k = (kd__cluster){ .into = node, .group = group, .real = real, .writes = f->writes[node] };
  k->level = level_above(f, &f->g->node.v[node], UINT32_MAX);
  KD_PUSH(f->a, k->node, node);
  if (!group) return;
  k->space = kd__fuse_new_space(f);
  k->group = take(f, node, node);
}

/* Two that could not be merged have a node between them now, which may tell that axes are the same. */
static void meet_again(kd__cluster *x, kd__cluster *y, uint32_t a, uint32_t b) {
  if ((x->refused != b && y->refused != a) || x->again == MOST_AGAIN || y->again == MOST_AGAIN) return;
  x->again++, y->again++;
  x->refused = y->refused = 0;
}

static void place(kd__fuser *f, uint32_t node) {
  const kd_node *n = &f->g->node.v[node];
  uint32_t near[3], many, at = 0;
  bool one;
  uint8_t real = real_of(f->g, n, &one);
  bool member = one && kd__fuse_member(f->g, n), gather = one && !member && kd__fuse_gather(f->g, n);
  f->cluster[node].into = node;
  if (!member) {
    begin(f, node, gather, real);
    f->cluster[node].alone = gather;
    note_reads(f, node);
    return;
  }
  many = groups_of(f, n, near);
  while (at < many && !join(f, near[at], node, real)) at++;
  if (at == many) begin(f, node, true, real);
  note_reads(f, node);
  if (!f->cluster[kd__cluster_of(f, node)].group) return;
  f->now = node + 1;
  for (uint32_t i = 0; i < many; i++) {
    uint32_t a = kd__cluster_of(f, near[i]), b = kd__cluster_of(f, node);
    if (i == at || a == b) continue;
    meet_again(&f->cluster[a], &f->cluster[b], a, b);
    merge(f, a, b, 0);
  }
  share_reads(f, node);
}

void kd__fuse_grow(kd__fuser *f) {
  for (uint32_t i = 1; i < f->g->node.n; i++) {
    f->now = i;
    if (f->live[i] && !kd__fuse_apart((kd_op)f->g->node.v[i].op)) place(f, i);
  }
  f->now = (uint32_t)f->g->node.n;
}
