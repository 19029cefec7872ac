/* sums.c: sums are made as their terms come: what a loop yields, where a sum over its turns is all that reads the stack, is added up by one
 * more carry; of a stack that is written out of a few parts each is added where it is made. Both in the order of the turns, so that a loop and the
 * same written out give the same bits. Nothing of the stack's size is made. */
#include "compiler/pass/pass.h"
#include "compiler/pass/rebuild.h"

kd_graph *kd__pass_sums(kd_graph *g);

enum { BODY, TIMES, CARRIES };                   /* attributes of a loop */
enum { PARTS_MAX = 64 };                         /* longer stacks stay: one pass over them is faster */

typedef struct summed { uint32_t node, next; kd_value now; } summed;    /* the sum over a stack; next of the same loop; its value in the new graph */
typedef struct term { uint32_t sum, part, next; } term;                 /* part `part` of the stack that a sum adds up; next of the same node */
typedef struct finder {
  kd__arena *a;
  const bool *live;
  uint32_t *readers, *reader, *first, *of;
  KD_VEC(summed) sum;
  uint32_t *term;                                /* by node, in `terms` */
  KD_VEC(term) terms;
  kd_value *total;                               /* by sum: of the terms so far, in the new graph */
} finder;

static bool over_first(const kd_node *n) {
  if (n->op != KD_OP_SUM) return false;
  for (uint32_t i = 0; i < n->attr[0].n; i++) if (n->attr[0].u.list[i] == 0) return true;
  return false;
}

/* By value: how many read it (writes and results too), and which node did last. */
static void find_readers(finder *f, const kd_graph *g) {
  f->readers = KD_NEWN(f->a, uint32_t, g->type.n);
  f->reader = KD_NEWN(f->a, uint32_t, g->type.n);
  for (size_t i = 0; i < g->write.n; i++) f->readers[g->write.v[i].value]++;
  for (size_t i = 0; i < g->result.n; i++) f->readers[g->result.v[i].value]++;
  for (size_t i = 1; i < g->node.n; i++)
    for (uint32_t k = 0; f->live[i] && k < g->node.v[i].nin; k++) f->readers[g->node.v[i].in[k]]++, f->reader[g->node.v[i].in[k]] = (uint32_t)i;
}

/* By loop: the sums over its stacks. By sum: which of them it is. */
static bool find_sums(finder *f, const kd_graph *g) {
  bool any = false;
  KD_PUSH(f->a, f->sum, (summed){ 0 });
  f->first = KD_NEWN(f->a, uint32_t, g->node.n);
  f->of = KD_NEWN(f->a, uint32_t, g->node.n);
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    any |= n->op == KD_OP_CONCAT;
    if (n->op != KD_OP_LOOP) continue;
    for (uint32_t k = (uint32_t)n->attr[CARRIES].u.i; k < n->nout; k++) {
      kd_value stack = n->out + k;
      if (f->readers[stack] != 1 || !f->reader[stack] || !over_first(&g->node.v[f->reader[stack]])) continue;
      KD_PUSH(f->a, f->sum, ((summed){ .node = f->reader[stack], .next = f->first[i] }));
      f->of[f->reader[stack]] = f->first[i] = (uint32_t)f->sum.n - 1;
      any = true;
    }
  }
  return any;
}

/* The axes of a sum but the first, as axes of one row. */
static int row_axes(const kd_node *sum, int64_t *axes) {
  int n = 0;
  for (uint32_t i = 0; i < sum->attr[0].n; i++) if (sum->attr[0].u.list[i] != 0) axes[n++] = sum->attr[0].u.list[i] - 1;
  return n;
}

static kd_value row_sum(kd_build *b, const kd_node *sum, kd_value row) {
  int64_t axes[KD_MAX_RANK];
  int n = row_axes(sum, axes);
  return n ? kd__b_reduce(b, KD_OP_SUM, row, axes, n) : row;
}

/* --- loops -------------------------------------------------------------------------------------------------------------------------- */
/* The body with `more` carries before its own; `map` by value of the old one. */
static void copy_body(kd__arena *a, const kd_graph *body, kd_graph *to, int64_t more, kd_value *map) {
  kd_build b = { to, 0 };
  KD_VEC(kd_value) in = { 0 };
  for (size_t i = 1; i < body->node.n; i++) {
    const kd_node *n = &body->node.v[i];
    if (n->op == KD_OP_INPUT) {
      kd_type t = *kd__type_of(body, n->out);
      map[n->out] = kd__b_input(&b, n->attr[0].u.i ? n->attr[0].u.i + more : 0, &t);
      continue;
    }
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) KD_PUSH(a, in, map[n->in[k]]);
    kd_value v = kd__graph_add(to, (kd_op)n->op, in.v, n->nin, n->attr, n->origin, NULL);
    for (uint32_t k = 0; k < n->nout; k++) map[n->out + k] = v + k;
  }
}

static kd_value adding_loop(kd__rebuild *r, finder *f, const kd_node *n, uint32_t first, const kd_value *in) {
  const kd_graph *body = n->attr[BODY].u.graph;
  int64_t more = 0, j = 0, c = n->attr[CARRIES].u.i;
  for (uint32_t i = first; i; i = f->sum.v[i].next) more++;
  kd_graph *made = kd__graph_new(f->a);
  kd_value *map = KD_NEWN(f->a, kd_value, body->type.n), *operand = KD_NEWN(f->a, kd_value, n->nin + (size_t)more + 1);
  kd_build inner = { made, n->origin }, outer = { r->g, n->origin };
  copy_body(f->a, body, made, more, map);
  for (uint32_t i = first; i; i = f->sum.v[i].next, j++) {
    const kd_node *sum = &r->old->node.v[f->sum.v[i].node];
    const kd_type t = *kd__type_of(r->old, sum->out);
    kd_value row = map[body->result.v[sum->in[0] - n->out - (kd_value)c].value], acc = kd__b_input(&inner, j + 1, &t);
    kd__graph_write(made, j + 1, kd__b_op2(&inner, KD_OP_ADD, acc, row_sum(&inner, sum, row)), n->origin);
    operand[j] = kd__b_const(&outer, 0, (kd_dtype)t.dtype, t.dim, t.rank);
  }
  for (size_t i = 0; i < body->write.n; i++) kd__graph_write(made, body->write.v[i].slot + more, map[body->write.v[i].value], body->write.v[i].origin);
  for (size_t i = 0; i < body->result.n; i++) kd__graph_result(made, body->result.v[i].name, map[body->result.v[i].value]);
  if (n->nin) memcpy(operand + more, in, sizeof *in * n->nin);
  kd_value v = kd__b_loop(&outer, made, n->attr[TIMES].u.i, c + more, operand, n->nin + (uint32_t)more);
  j = 0;
  for (uint32_t i = first; i; i = f->sum.v[i].next) f->sum.v[i].now = v + (kd_value)j++;
  return v + (kd_value)more;                     /* the old results follow each other; the stacks are not read any more */
}

/* --- stacks written out ------------------------------------------------------------------------------------------------------------- */
/* What lies in a stack's part: views that only made a row of it are looked through. */
static kd_value row_of(const kd_graph *g, kd_value part) {
  const kd_node *n = kd__node_of(g, part);
  while (n->op == KD_OP_RESHAPE) { part = n->in[0]; n = kd__node_of(g, part); }
  return part;
}

static bool short_stack(const finder *f, const kd_graph *g, const kd_node *cat) {
  if (cat->op != KD_OP_CONCAT || cat->attr[0].u.i != 0 || cat->nin > PARTS_MAX || f->readers[cat->out] != 1) return false;
  for (uint32_t k = 0; k < cat->nin; k++) if (kd__type_of(g, cat->in[k])->dim[0] != 1) return false;
  return true;
}

/* By node: the sums that its results are added to as soon as they are there, so that the terms do not wait for each other. */
static void find_terms(finder *f, const kd_graph *g) {
  f->term = KD_NEWN(f->a, uint32_t, g->node.n);
  f->total = KD_NEWN(f->a, kd_value, g->node.n);
  KD_PUSH(f->a, f->terms, (term){ 0 });
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *cat = over_first(&g->node.v[i]) && f->live[i] ? kd__node_of(g, g->node.v[i].in[0]) : NULL;
    if (!cat || !short_stack(f, g, cat)) continue;
    bool ascending = true;                       /* or else the order of the turns would be another */
    for (uint32_t k = 1; k < cat->nin && ascending; k++) ascending = g->def.v[row_of(g, cat->in[k])] >= g->def.v[row_of(g, cat->in[k - 1])];
    for (uint32_t k = cat->nin; k-- > 0 && ascending;) {
      uint32_t at = g->def.v[row_of(g, cat->in[k])];
      KD_PUSH(f->a, f->terms, ((term){ .sum = (uint32_t)i, .part = k, .next = f->term[at] }));
      f->term[at] = (uint32_t)f->terms.n - 1;
    }
  }
}

static void add_term(kd__rebuild *r, finder *f, uint32_t sum_id, uint32_t k, kd_value now) {
  const kd_node *sum = &r->old->node.v[sum_id], *cat = kd__node_of(r->old, sum->in[0]);
  const kd_type *t = kd__type_of(r->old, cat->in[k]);
  kd_build b = { r->g, sum->origin };
  kd_value row = row_sum(&b, sum, kd__b_reshape(&b, now, t->dim + 1, t->rank - 1));
  f->total[sum_id] = k ? kd__b_op2(&b, KD_OP_ADD, f->total[sum_id], row) : row;
}

/* The terms that the node leaves; `v`: its first result in the new graph. */
static void add_terms(kd__rebuild *r, finder *f, const kd_node *n, uint32_t id, kd_value v) {
  for (uint32_t i = f->term[id]; i; i = f->terms.v[i].next) {
    const term *t = &f->terms.v[i];
    const kd_node *cat = kd__node_of(r->old, r->old->node.v[t->sum].in[0]);
    add_term(r, f, t->sum, t->part, v + (row_of(r->old, cat->in[t->part]) - n->out));
  }
}

static kd_value parts_summed(kd__rebuild *r, finder *f, const kd_node *sum, uint32_t id) {
  const kd_node *cat = kd__node_of(r->old, sum->in[0]);
  if (!f->total[id] && short_stack(f, r->old, cat)) for (uint32_t k = 0; k < cat->nin; k++) add_term(r, f, id, k, r->to[cat->in[k]]);
  return f->total[id];
}

static kd_value summed_up(kd__rebuild *r, finder *f, const kd_node *n, uint32_t id, const kd_value *in) {
  if (n->op == KD_OP_LOOP && f->first[id]) return adding_loop(r, f, n, f->first[id], in);
  if (f->of[id]) return f->sum.v[f->of[id]].now;
  kd_value v = over_first(n) ? parts_summed(r, f, n, id) : 0;
  return v ? v : kd__rebuild_same(r, n, in);
}

static kd_value rule(kd__rebuild *r, const kd_node *n, const kd_value *in) {
  finder *f = r->ctx;
  uint32_t id = r->old->def.v[n->out];
  kd_value v = summed_up(r, f, n, id, in);
  add_terms(r, f, n, id, v);
  return v;
}

kd_graph *kd__pass_sums(kd_graph *g) {
  finder f = { .a = g->arena, .live = kd__rebuild_live(g) };
  find_readers(&f, g);
  if (!find_sums(&f, g)) return g;
  find_terms(&f, g);
  return kd__rebuild_run(g, rule, &f);
}
