/* pieces.c: element-wise work on a vector that is put together from pieces is done piece by piece, where that lets a piece's share of it join the
 * group that makes the piece: an update of many tensors as one vector reads each large gradient while it is made, and the vector never is. Only large
 * pieces go alone; what lies between two of them stays one vector, so that many small ones do not become as many calls.
 *
 * A *set* is what hangs together of one length: element-wise operators and the concatenations that they read. It is cut only where all that reads it are
 * slices and writes. What needs the whole vector first, as its length, reads it otherwise. Nor is it cut where it reads a factor that is made from its pieces,
 * since nothing could be joined across that. */
#include "compiler/fuse/fuse.h"
#include "compiler/ir/graph_private.h"
#include <stdlib.h>

typedef struct range { uint32_t set, root; int64_t lo, hi; } range;    /* root: the node that makes it */
typedef struct pieces {
  const kd_graph *g;
  kd__arena *a;
  bool *live;
  uint32_t *set;                                 /* by node: its set's first node, by way of others; 0: in none */
  bool *refused;                                 /* by set */
  KD_VEC(range) big;                             /* pieces that may go alone; in the end those that do, by set and place */
  KD_VEC(range) slice;                           /* what is read of a set; root unused */
  uint32_t *first, *cuts;                        /* by set: its ranges in `part`, and how many */
  KD_VEC(range) part;
  kd_value **made;                               /* by node of a set that is cut: its parts in the new graph */
  kd_value *map;                                 /* by old value: the new one; 0: only its parts are there */
  uint8_t *mark;                                 /* by node; for one search */
} pieces;

static uint32_t set_of(const pieces *p, uint32_t node) {
  while (p->set[node] != node) node = p->set[node];
  return node;
}

static uint32_t def(const pieces *p, kd_value v) { return p->g->def.v[v]; }

static bool flat(const pieces *p, kd_value v) { return kd__type_of(p->g, v)->rank == 1; }

static bool element_wise(const pieces *p, const kd_node *n) {
  return kd__op_info((kd_op)n->op)->cls == KD_CLASS_ELEM && n->nout == 1 && kd__fuse_member(p->g, n);
}

static void join(pieces *p, uint32_t a, uint32_t b) {
  a = set_of(p, a), b = set_of(p, b);
  if (a < b) p->set[b] = a;
  else p->set[a] = b;
}

/* The pieces of a concatenation that an element-wise operator makes, as they are but for their shape. */
static void find_big(pieces *p, uint32_t node, int64_t least) {
  const kd_node *n = &p->g->node.v[node];
  int64_t at = 0;
  for (uint32_t k = 0; k < n->nin; k++) {
    kd_value v = n->in[k];
    int64_t size = kd__type_of(p->g, v)->dim[0];
    while (kd__node_of(p->g, v)->op == KD_OP_RESHAPE) v = kd__node_of(p->g, v)->in[0];
    if (size >= least && element_wise(p, kd__node_of(p->g, v))) KD_PUSH(p->a, p->big, ((range){ node, def(p, v), at, at + size }));
    at += size;
  }
}

static void find_sets(pieces *p, int64_t least) {
  for (uint32_t i = 1; i < p->g->node.n; i++) {
    const kd_node *n = &p->g->node.v[i];
    if (!p->live[i] || !flat(p, n->out)) continue;
    if (n->op == KD_OP_CONCAT) p->set[i] = i, find_big(p, i, least);
    else if (element_wise(p, n)) {
      bool all = true;
      for (uint32_t k = 0; k < n->nin; k++) all = all && flat(p, n->in[k]);
      if (!all) continue;
      p->set[i] = i;
      for (uint32_t k = 0; k < n->nin; k++)
        if (p->set[def(p, n->in[k])]) join(p, i, def(p, n->in[k]));
    }
  }
  for (size_t i = 0; i < p->big.n; i++) p->big.v[i].set = set_of(p, p->big.v[i].set);
}

/* Slices of what is computed, and what else reads a set, which then is not cut. */
static void find_readers(pieces *p) {
  const kd_graph *g = p->g;
  for (uint32_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    for (uint32_t k = 0; k < n->nin && p->live[i]; k++) {
      uint32_t d = def(p, n->in[k]);
      if (!p->set[d] || (p->set[i] && n->op != KD_OP_CONCAT)) continue;
      int64_t lo = n->op == KD_OP_SLICE ? kd__attr(n, "start")->u.list[0] : 0;
      if (n->op != KD_OP_SLICE || g->node.v[d].op == KD_OP_CONCAT || kd__attr(n, "step")->u.list[0] != 1) p->refused[set_of(p, d)] = true;
      else KD_PUSH(p->a, p->slice, ((range){ set_of(p, d), 0, lo, lo + kd__type_of(g, n->out)->dim[0] }));
    }
  }
  for (size_t i = 0; i < g->result.n; i++)
    if (p->set[def(p, g->result.v[i].value)]) p->refused[set_of(p, def(p, g->result.v[i].value))] = true;
}

/* Sets that read, from outside, what comes of their own pieces. */
static void find_circles(pieces *p) {
  const kd_graph *g = p->g;
  uint32_t *from = KD_NEWN(p->a, uint32_t, g->node.n);                         /* by node: the set one of whose pieces it comes of; UINT32_MAX: several */
  for (size_t i = 0; i < p->big.n; i++) {
    uint32_t *f = &from[p->big.v[i].root];
    *f = *f && *f != p->big.v[i].set ? UINT32_MAX : p->big.v[i].set;
  }
  for (uint32_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; k < g->node.v[i].nin && p->live[i]; k++) {
      uint32_t d = def(p, g->node.v[i].in[k]), f = from[d], s = p->set[i] ? set_of(p, i) : 0;
      if (s && g->node.v[i].op != KD_OP_CONCAT && !p->set[d] && (f == s || f == UINT32_MAX)) p->refused[s] = true;
      if (f) from[i] = from[i] && from[i] != f ? UINT32_MAX : f;
    }
}

/* --- what is written in place ------------------------------------------------------------------------------------------------------- */

enum { BEFORE = 1, GROUP = 2, AFTER = 4, OLD = 8 };   /* comes before the piece; may be in its group; comes of that; is the old memory, or a view of it */

/* Marks the inputs that lie where the piece does in other concatenations of its set: slots that it may end up in. */
static bool mark_slots(pieces *p, const range *r) {
  const kd_graph *g = p->g;
  bool any = false;
  for (uint32_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    if (n->op != KD_OP_CONCAT || !p->set[i] || set_of(p, i) != r->set) continue;
    int64_t at = 0;
    for (uint32_t k = 0; k < n->nin && at < r->hi; k++) {
      kd_value v = n->in[k];
      int64_t end = at + kd__type_of(g, v)->dim[0];
      while (kd__fuse_view((kd_op)kd__node_of(g, v)->op) || kd__node_of(g, v)->op == KD_OP_SLICE) v = kd__node_of(g, v)->in[0];
      if (end > r->lo && kd__node_of(g, v)->op == KD_OP_INPUT) p->mark[def(p, v)] |= OLD, any = true;
      at = end;
    }
  }
  return any;
}

/* Would something read the old value of what the piece is written over only after the group that makes the piece? Then it would have to be copied. */
static bool read_behind(pieces *p, const range *r) {
  const kd_graph *g = p->g;
  memset(p->mark, 0, g->node.n);
  if (!mark_slots(p, r)) return false;
  p->mark[r->root] |= BEFORE | GROUP;
  for (uint32_t i = r->root; i >= 1; i--) {
    const kd_node *n = &g->node.v[i];
    bool group = p->mark[i] & GROUP && (kd__fuse_view((kd_op)n->op) || kd__fuse_member(g, n));
    if (!group) p->mark[i] &= (uint8_t)~GROUP;
    for (uint32_t k = 0; k < n->nin && p->mark[i] & BEFORE; k++) p->mark[def(p, n->in[k])] |= (uint8_t)(BEFORE | (group ? GROUP : 0));
  }
  for (uint32_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    bool view = kd__fuse_view((kd_op)n->op) || n->op == KD_OP_SLICE, old = false;
    for (uint32_t k = 0; k < n->nin && p->live[i]; k++) {
      uint8_t m = p->mark[def(p, n->in[k])];
      if (m & (GROUP | AFTER)) p->mark[i] |= AFTER;
      old = old || m & OLD;
    }
    if (old && view) p->mark[i] |= OLD;
    else if (old && p->mark[i] & AFTER && !(p->mark[i] & BEFORE) && !(p->set[i] && set_of(p, i) == r->set)) return true;
  }
  return false;
}

/* --- where it is cut ---------------------------------------------------------------------------------------------------------------- */

static int by_place(const void *x, const void *y) {
  const range *a = x, *b = y;
  if (a->set != b->set) return a->set < b->set ? -1 : 1;
  if (a->lo != b->lo) return a->lo < b->lo ? -1 : 1;
  return (a->root > b->root) - (a->root < b->root);
}

static bool may_go_alone(pieces *p, const range *r) {
  if (p->refused[r->set]) return false;
  for (size_t i = 0; i < p->slice.n; i++) {
    const range *s = &p->slice.v[i];
    if (s->set == r->set && s->lo < r->hi && r->lo < s->hi && (s->lo < r->lo || s->hi > r->hi)) return false;
  }
  return !read_behind(p, r);
}

static void add_part(pieces *p, uint32_t set, int64_t lo, int64_t hi) {
  if (lo == hi) return;
  if (!p->cuts[set]++) p->first[set] = (uint32_t)p->part.n;
  KD_PUSH(p->a, p->part, ((range){ set, 0, lo, hi }));
}

static bool find_parts(pieces *p) {
  if (p->big.n) qsort(p->big.v, p->big.n, sizeof *p->big.v, by_place);
  for (size_t i = 0; i < p->big.n;) {
    uint32_t set = p->big.v[i].set;
    int64_t at = 0, end = kd__type_of(p->g, p->g->node.v[set].out)->dim[0];
    for (; i < p->big.n && p->big.v[i].set == set; i++) {
      const range *r = &p->big.v[i];
      if (r->lo < at || !may_go_alone(p, r)) continue;
      add_part(p, set, at, r->lo);
      add_part(p, set, r->lo, r->hi);
      at = r->hi;
    }
    if (p->cuts[set]) add_part(p, set, at, end);
  }
  return p->part.n > 0;
}

/* --- the new graph ------------------------------------------------------------------------------------------------------------------ */

static kd_value sliced(kd_build *b, kd_value v, int64_t lo, int64_t hi) {
  int64_t size = hi - lo, one = 1;
  return size == kd__type_of(b->g, v)->dim[0] ? v : kd__b_slice(b, v, &lo, &size, &one);
}

static kd_value part_of_concat(pieces *p, kd_build *b, const kd_node *n, const range *r) {
  KD_VEC(kd_value) in = { 0 };
  int64_t at = 0;
  for (uint32_t k = 0; k < n->nin; k++) {
    int64_t size = kd__type_of(p->g, n->in[k])->dim[0], lo = r->lo > at ? r->lo - at : 0, hi = r->hi < at + size ? r->hi - at : size;
    if (lo < hi) KD_PUSH(p->a, in, sliced(b, p->map[n->in[k]], lo, hi));
    at += size;
  }
  return in.n == 1 ? in.v[0] : kd__b_concat(b, in.v, (int)in.n, 0);
}

/* Part k of a value that a set reads or computes. */
static kd_value part_of(pieces *p, kd_build *b, kd_value v, const range *r, uint32_t k) {
  const kd_node *n = kd__node_of(p->g, v);
  int64_t size = r->hi - r->lo;
  if (p->made[def(p, v)]) return p->made[def(p, v)][k];
  if (n->op == KD_OP_CONST) return kd__b_const(b, n->attr[0].u.f, (kd_dtype)kd__type_of(p->g, v)->dtype, &size, 1);
  if (n->op == KD_OP_BROADCAST && kd__type_of(p->g, n->in[0])->rank == 0) return kd__b_broadcast(b, p->map[n->in[0]], &size, 1, NULL);
  return n->op == KD_OP_CONCAT ? part_of_concat(p, b, n, r) : sliced(b, p->map[v], r->lo, r->hi);
}

static void make_parts(pieces *p, kd_build *b, uint32_t node, uint32_t set) {
  const kd_node *n = &p->g->node.v[node];
  kd_value *made = KD_NEWN(p->a, kd_value, p->cuts[set]), *in = KD_NEWN(p->a, kd_value, n->nin);
  for (uint32_t c = 0; c < p->cuts[set]; c++) {
    for (uint32_t k = 0; k < n->nin; k++) in[k] = part_of(p, b, n->in[k], &p->part.v[p->first[set] + c], c);
    made[c] = kd__graph_add(b->g, (kd_op)n->op, in, n->nin, n->attr, n->origin, NULL);
  }
  p->made[node] = made;
}

/* A slice of a set that is cut. It lies in one of the parts: no part's edge but those of pieces, which slices do not cross. */
static kd_value slice_of_parts(pieces *p, kd_build *b, const kd_node *n) {
  uint32_t d = def(p, n->in[0]), set = set_of(p, d), c = 0;
  int64_t lo = kd__attr(n, "start")->u.list[0], size = kd__type_of(p->g, n->out)->dim[0];
  while (c + 1 < p->cuts[set] && p->part.v[p->first[set] + c].hi <= lo) c++;
  lo -= p->part.v[p->first[set] + c].lo;
  return sliced(b, p->made[d][c], lo, lo + size);
}

static kd_value whole(pieces *p, kd_build *b, kd_value v) {
  if (!p->map[v]) p->map[v] = kd__b_concat(b, p->made[def(p, v)], (int)p->cuts[set_of(p, def(p, v))], 0);
  return p->map[v];
}

static kd_graph *cut(pieces *p) {
  const kd_graph *g = p->g;
  kd_graph *to = kd__graph_new_sized(p->a, g->node.n + p->part.n * 8, g->type.n + p->part.n * 8);
  p->made = KD_NEWN(p->a, kd_value *, g->node.n), p->map = KD_NEWN(p->a, kd_value, g->type.n);
  KD_VEC(kd_value) in = { 0 };
  for (uint32_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    kd_build b = { to, n->origin };
    uint32_t set = p->live[i] && p->set[i] && n->op != KD_OP_CONCAT ? set_of(p, i) : 0;
    if (!p->live[i]) continue;
    if (set && p->cuts[set]) { make_parts(p, &b, i, set); continue; }
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) KD_PUSH(p->a, in, p->map[n->in[k]]);
    kd_value v = n->op == KD_OP_SLICE && p->made[def(p, n->in[0])] ? slice_of_parts(p, &b, n) : kd__graph_add(to, (kd_op)n->op, in.v, n->nin, n->attr, n->origin, NULL);
    for (uint32_t k = 0; k < n->nout; k++) p->map[n->out + k] = v + k;
  }
  for (size_t i = 0; i < g->write.n; i++) {
    kd_build b = { to, g->write.v[i].origin };
    kd__graph_write(to, g->write.v[i].slot, whole(p, &b, g->write.v[i].value), g->write.v[i].origin);
  }
  for (size_t i = 0; i < g->result.n; i++) kd__graph_result(to, g->result.v[i].name, p->map[g->result.v[i].value]);
  return to;
}

kd_graph *kd__fuse_pieces(kd_graph *g, int64_t least) {
  pieces p = { .g = g, .a = g->arena };
  p.live = kd__fuse_live(g);
  p.set = KD_NEWN(p.a, uint32_t, g->node.n);
  find_sets(&p, least);
  if (!p.big.n) return g;
  p.refused = KD_NEWN(p.a, bool, g->node.n), p.mark = KD_NEWN(p.a, uint8_t, g->node.n);
  p.first = KD_NEWN(p.a, uint32_t, g->node.n), p.cuts = KD_NEWN(p.a, uint32_t, g->node.n);
  find_readers(&p);
  find_circles(&p);
  return find_parts(&p) ? cut(&p) : g;
}
