/* take.c: a program apart: what makes the kept values, and the rest that reads them. */
#include "compiler/split/split.h"

/* --- how rows lie ------------------------------------------------------------------------------------------------------------------------------ */
/* The samples' axis taken apart, where places of one sample or of all lie within it, and brought to the front. */
typedef struct folds { kd_type apart; int64_t perm[KD_MAX_RANK], back[KD_MAX_RANK]; kd_type rows; } folds;

static bool fold(const kd_type *t, const kd_frozenness *f, int64_t batch, folds *o) {
  *o = (folds){ .apart = { .dtype = t->dtype }, .rows = { .dtype = t->dtype } };
  int at = 0;
  for (int d = 0; d < t->rank; d++) {
    int64_t part[3] = { t->dim[d], 1, 1 };
    if (d == f->axis) { part[0] = t->dim[d] / (batch * f->inner); part[1] = batch; part[2] = f->inner; }
    for (int k = 0; k < (d == f->axis ? 3 : 1); k++) {
      if (d == f->axis && k != 1 && part[k] == 1) continue;
      if (d == f->axis && k == 1) at = o->apart.rank;
      if (o->apart.rank == KD_MAX_RANK) return false;
      o->apart.dim[o->apart.rank++] = part[k];
    }
  }
  o->rows.rank = o->apart.rank;
  for (int d = 0, k = 1; d < o->apart.rank; d++) o->perm[d == at ? 0 : k++] = d;
  for (int d = 0; d < o->apart.rank; d++) { o->rows.dim[d] = o->apart.dim[o->perm[d]]; o->back[o->perm[d]] = d; }
  return true;
}

bool kd__rows_fit(const kd_graph *g, kd_value v, const kd_frozenness *f, int64_t batch) {
  (void)f; (void)batch;
  return kd__type_of(g, v)->rank + 2 <= KD_MAX_RANK;
}

kd_type kd__rows_type(const kd_graph *g, kd_value v, const kd_frozenness *f, int64_t batch) {
  folds o;
  if (f[v].is != KD_ROWS || !fold(kd__type_of(g, v), &f[v], batch, &o)) return *kd__type_of(g, v);
  return o.rows;
}

static kd_value to_rows(kd_graph *g, kd_value v, const kd_frozenness *f, int64_t batch, kd_origin origin) {
  kd_build b = { g, origin };
  folds o;
  if (f->is != KD_ROWS || !fold(kd__type_of(g, v), f, batch, &o)) return v;
  return kd__b_permute(&b, kd__b_reshape(&b, v, o.apart.dim, o.apart.rank), o.perm);
}

static kd_value from_slot(kd_graph *g, int64_t slot, const kd_type *t, const kd_frozenness *f, int64_t batch, kd_origin origin) {
  kd_build b = { g, origin };
  folds o;
  if (f->is != KD_ROWS || !fold(t, f, batch, &o)) return kd__b_input(&b, slot, t);
  return kd__b_reshape(&b, kd__b_permute(&b, kd__b_input(&b, slot, &o.rows), o.back), t->dim, t->rank);
}

/* --- taking apart ----------------------------------------------------------------------------------------------------------------------------------- */
typedef struct taking { kd_graph *to; const kd_graph *g; kd_value *map; bool *need; kd__arena *a; } taking;

static taking begin(kd__arena *a, kd_graph *to, const kd_graph *g) {
  return (taking){ .to = to, .g = g, .map = KD_NEWN(a, kd_value, g->type.n), .need = KD_NEWN(a, bool, g->node.n), .a = a };
}

static void want(taking *t, kd_value v) { if (!t->map[v]) t->need[t->g->def.v[v]] = true; }

/* Everything that is wanted and not there yet, in order. */
static void bring(taking *t) {
  for (size_t i = t->g->node.n; i-- > 1;)
    for (uint32_t k = 0; t->need[i] && k < t->g->node.v[i].nin; k++) want(t, t->g->node.v[i].in[k]);
  KD_VEC(kd_value) in = { 0 };
  for (size_t i = 1; i < t->g->node.n; i++) {
    const kd_node *n = &t->g->node.v[i];
    if (!t->need[i]) continue;
    in.n = 0;
    for (uint32_t k = 0; k < n->nin; k++) KD_PUSH(t->a, in, t->map[n->in[k]]);
    t->to->once = n->once;
    kd_value v = kd__graph_add(t->to, (kd_op)n->op, in.v, n->nin, n->attr, n->origin, NULL);
    for (uint32_t k = 0; k < n->nout; k++) if (!t->map[n->out + k]) t->map[n->out + k] = v + k;
  }
  t->to->once = 0;
}

kd_value *kd__split_make(kd__arena *a, kd_graph *to, const kd_graph *g, const kd_frozenness *f, const kd_value *value, const int64_t *slot, uint32_t n, int64_t batch) {
  taking t = begin(a, to, g);
  kd_value *made = KD_NEWN(a, kd_value, n + 1);
  for (uint32_t i = 0; i < n; i++) want(&t, value[i]);
  bring(&t);
  for (uint32_t i = 0; i < n; i++) {
    kd_origin o = kd__node_of(g, value[i])->origin;
    made[i] = to_rows(to, t.map[value[i]], &f[value[i]], batch, o);
    if (slot && slot[i] >= 0) kd__graph_write(to, slot[i], made[i], o);
  }
  return made;
}

kd_graph *kd__split_rest(kd__arena *a, const kd_graph *g, const kd_frozenness *f, const kd_value *value, const int64_t *slot, uint32_t n, int64_t batch) {
  taking t = begin(a, kd__graph_new(g->arena), g);
  for (uint32_t i = 0; i < n; i++) t.map[value[i]] = from_slot(t.to, slot[i], kd__type_of(g, value[i]), &f[value[i]], batch, kd__node_of(g, value[i])->origin);
  for (size_t i = 0; i < g->write.n; i++) want(&t, g->write.v[i].value);
  for (size_t i = 0; i < g->result.n; i++) want(&t, g->result.v[i].value);
  bring(&t);
  for (size_t i = 0; i < g->write.n; i++) kd__graph_write(t.to, g->write.v[i].slot, t.map[g->write.v[i].value], g->write.v[i].origin);
  for (size_t i = 0; i < g->result.n; i++) kd__graph_result(t.to, g->result.v[i].name, t.map[g->result.v[i].value]);
  return t.to;
}

/* --- the same for another batch ----------------------------------------------------------------------------------------------------------------------- */
static bool equal_attr(const kd_attr *a, const kd_attr *b, int64_t batch_a, int64_t batch_b) {
  if (a->kind != b->kind || a->n != b->n) return false;
  if (a->kind == 'f') return a->u.f == b->u.f;
  if (a->kind == 'g') return a->u.graph == b->u.graph;
  if (a->kind != 'I') return a->u.i == b->u.i;
  for (uint32_t i = 0; i < a->n; i++) {
    int64_t x = a->u.list[i], y = b->u.list[i];
    if (x != y && !(x % batch_a == 0 && y % batch_b == 0 && x / batch_a == y / batch_b)) return false;
  }
  return true;
}

static bool equal_node(const kd_graph *a, const kd_node *n, const kd_graph *b, const kd_node *m, int64_t batch_a, int64_t batch_b) {
  if (n->op != m->op || n->nin != m->nin || n->nout != m->nout) return false;
  for (int i = 0; i < kd__op_info((kd_op)n->op)->nattr; i++) if (!equal_attr(&n->attr[i], &m->attr[i], batch_a, batch_b)) return false;
  for (uint32_t k = 0; k < n->nin; k++) if (a->def.v[n->in[k]] != b->def.v[m->in[k]] || n->in[k] - a->node.v[a->def.v[n->in[k]]].out != m->in[k] - b->node.v[b->def.v[m->in[k]]].out) return false;
  return true;
}

bool kd__split_twin(kd__arena *tmp, const kd_graph *a, const kd_frozenness *fa, int64_t batch_a, const kd_graph *b, const kd_frozenness *fb, int64_t batch_b,
                    const kd_value *value, uint32_t n) {
  if (a->type.n != b->type.n || a->node.n != b->node.n) return false;
  taking t = begin(tmp, NULL, a);
  for (uint32_t i = 0; i < n; i++) {
    kd_value v = value[i];
    if (fa[v].is != fb[v].is || fa[v].axis != fb[v].axis || fa[v].inner != fb[v].inner || fa[v].turned != fb[v].turned) return false;
    kd_type x = kd__rows_type(a, v, fa, batch_a), y = kd__rows_type(b, v, fb, batch_b);
    if (x.rank != y.rank || x.dtype != y.dtype || memcmp(x.dim + 1, y.dim + 1, sizeof *x.dim * (size_t)(x.rank - 1)) != 0) return false;
    want(&t, v);
  }
  for (size_t i = a->node.n; i-- > 1;) {
    if (!t.need[i]) continue;
    if (!equal_node(a, &a->node.v[i], b, &b->node.v[i], batch_a, batch_b)) return false;
    for (uint32_t k = 0; k < a->node.v[i].nin; k++) want(&t, a->node.v[i].in[k]);
  }
  return true;
}

/* --- what it is -------------------------------------------------------------------------------------------------------------------------------------------- */
static uint64_t hash_attr(const kd_attr *a, uint64_t h, const int64_t *slot, uint32_t nslot, bool is_slot) {
  h = kd__mix(h, (uint64_t)a->kind << 32 | a->n);
  if (is_slot) {
    uint32_t k = 0;
    while (k < nslot && slot[k] != a->u.i) k++;
    return kd__mix(h, k);
  }
  if (a->kind == 'I') return kd__hash(a->u.list, sizeof *a->u.list * a->n, h);
  if (a->kind == 'g') return kd__mix(h, kd__split_hash(a->u.graph, NULL, 0));
  uint64_t bits;
  memcpy(&bits, &a->u, sizeof bits);
  return kd__mix(h, bits);
}

uint64_t kd__split_hash(const kd_graph *g, const int64_t *slot, uint32_t nslot) {
  uint64_t h = kd__mix(g->node.n, g->write.n);
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    const char *name = kd__op_info((kd_op)n->op)->name;
    h = kd__hash(name, strlen(name), kd__mix(h, n->nout));
    h = kd__hash(n->in, sizeof *n->in * n->nin, h);
    for (int k = 0; k < kd__op_info((kd_op)n->op)->nattr; k++) h = hash_attr(&n->attr[k], h, slot, nslot, slot && n->op == KD_OP_INPUT && k == 0);
  }
  for (size_t i = 0; i < g->write.n; i++) h = kd__mix(h, g->write.v[i].value);
  for (size_t i = 0; i < g->result.n; i++) h = kd__mix(h, g->result.v[i].value);
  return h;
}
