/* work.c: operations and bytes of calls. */
#include "runtime/cost/work.h"
#include "runtime/kernels/group.h"
#include <math.h>

enum { NOTHING, RESULT, OPERAND, PRODUCT, TAPS, WINDOW, SORTED, ALL, ROWS, ADDED, PICKED };
typedef struct row { uint8_t counted, touched; double flops, slots; } row;

static const row table[KD_OP_COUNT] = {
#define KD_WORK(OP, counted, flops, slots, touched) [KD_OP_##OP] = { counted, touched, flops, slots },
#include "runtime/cost/work.def"
#undef KD_WORK
};

/* --- counting ----------------------------------------------------------------------------------------------------------------- */
static double count(const kd_type *t) {
  double n = 1;
  for (int d = 0; d < t->rank; d++) n *= (double)t->dim[d];
  return n;
}

static const kd_type *in(const kd_plan *p, const kd_plan_call *c, uint32_t i) { return &p->tensor[c->in[i]].type; }
static const kd_type *out(const kd_plan *p, const kd_plan_call *c, uint32_t i) { return &p->tensor[c->out[i]].type; }
static double size_of(const kd_type *t) { return (double)kd__dtype_size((kd_dtype)t->dtype); }

/* Elements in memory: what a stride of 0 repeats is there once. */
static double stored(const kd_plan_tensor *t) {
  double n = 1;
  for (int d = 0; d < t->type.rank; d++)
    if (t->stride[d] || t->type.dim[d] == 0) n *= (double)t->type.dim[d];
  return n;
}
static double bytes_of(const kd_plan_tensor *t) { return stored(t) * size_of(&t->type); }

static double below(const kd_type *t) { return t->rank && t->dim[0] ? count(t) / (double)t->dim[0] : 0; }

/* The attribute of that name, or NULL. */
static const kd_attr *attribute(const kd_plan_call *c, const char *name) {
  const kd_op_info *o = kd__op_info(c->op);
  for (int i = 0; c->attr && i < o->nattr; i++)
    if (strcmp(o->attr[i].name, name) == 0) return &c->attr[i];
  return NULL;
}

/* Multiplications of a convolution: each element on the side of the channels that come out meets the whole kernel of its channel. */
static double taps(const kd_plan *p, const kd_plan_call *c) {
  switch (c->op) {
    case KD_OP_CONV: case KD_OP_CONV_POST: return count(out(p, c, 0)) * below(in(p, c, 1));
    case KD_OP_CONV_DATA: return count(in(p, c, 0)) * below(in(p, c, 1));
    default: return count(in(p, c, 1)) * below(out(p, c, 0));
  }
}

static double windows(const kd_plan *p, const kd_plan_call *c) {
  const kd_attr *a = attribute(c, "window");
  double n = c->op == KD_OP_SUM_POOL_DATA ? count(in(p, c, 0)) : count(out(p, c, 0));
  for (uint32_t i = 0; a && i < a->n; i++) n *= (double)a->u.list[i];
  return n;
}

static double sorted(const kd_plan *p, const kd_plan_call *c) {
  const kd_attr *a = attribute(c, "axis");
  const kd_type *t = in(p, c, 0);
  double n = a && a->u.i < t->rank ? (double)t->dim[a->u.i] : 1;
  return count(t) * (n > 2 ? log2(n) : 1);
}

/* Of a matrix times its own transpose in single precision half is computed, in panels of 32 columns (matmul_gram.c): the part that is. What that saves
 * where there are few panels goes into packing. */
static double mirrored(const kd_plan *p, const kd_plan_call *c) {
  const kd_plan_tensor *a = &p->tensor[c->in[0]], *b = &p->tensor[c->in[1]];
  int r = a->type.rank;
  if (a->place != b->place || a->slot != b->slot || a->offset != b->offset || a->type.dtype != KD_F32 || r < 2) return 1;
  for (int d = 0; d < r; d++)
    if (a->stride[d] != b->stride[d < r - 2 ? d : 2 * r - 3 - d] || a->type.dim[d] != b->type.dim[d < r - 2 ? d : 2 * r - 3 - d]) return 1;
  double n = (double)a->type.dim[r - 2];
  return n < 128 ? 1 : 0.5 + 16 / n;
}

static double counted(const kd_plan *p, const kd_plan_call *c) {
  switch (table[c->op].counted) {
    case RESULT: return c->nout ? count(out(p, c, 0)) : 0;
    case OPERAND: return c->nin ? count(in(p, c, 0)) : 0;
    case PRODUCT: { const kd_type *a = in(p, c, 0); return a->rank ? count(out(p, c, 0)) * (double)a->dim[a->rank - 1] * mirrored(p, c) : 0; }
    case TAPS: return taps(p, c);
    case WINDOW: return windows(p, c);
    case SORTED: return sorted(p, c);
    default: return 0;
  }
}

static double touched(const kd_plan *p, const kd_plan_call *c) {
  double n = 0;
  uint8_t how = c->op == KD_OP_COUNT ? ALL : table[c->op].touched;
  for (uint32_t i = 0; i < c->nout && how != ADDED; i++) n += bytes_of(&p->tensor[c->out[i]]);
  if (how == ROWS) n += bytes_of(&p->tensor[c->in[1]]) + count(out(p, c, 0)) * size_of(in(p, c, 0));
  if (how == ADDED) {                            /* the base lies where the result does, or is copied there */
    const kd_plan_tensor *base = &p->tensor[c->in[0]], *to = &p->tensor[c->out[0]];
    bool there = base->place == to->place && base->offset == to->offset && base->slot == to->slot;
    n += bytes_of(&p->tensor[c->in[1]]) + 3 * bytes_of(&p->tensor[c->in[2]]) + (there ? 0 : bytes_of(base) + bytes_of(to));
  }
  for (uint32_t i = 0; i < c->nin && (how == ALL || how == PICKED); i++) {
    const kd_type *entry = i == 1 && how == PICKED ? in(p, c, 2) : NULL, *bound = entry ? in(p, c, 3) : NULL;
    n += entry && bound->dim[1] == 2 ? count(entry) * below(in(p, c, 1)) * size_of(in(p, c, 1)) : bytes_of(&p->tensor[c->in[i]]);
  }
  return n;
}

/* A loop: what it copies from its body to the results; its body is a plan of its own. The last result is the body's memory. */
static double copied(const kd_plan *p, const kd_plan_call *c) {
  double n = 0;
  for (uint32_t i = 0; i + 1 < c->nout; i++) n += 2 * bytes_of(&p->tensor[c->out[i]]);
  return n;
}

/* Operands beyond the operator's own: what a kernel adds, scales or compares as it stores. */
static double followed(const kd_plan *p, const kd_plan_call *c) {
  const kd_op_info *o = kd__op_info(c->op);
  return o->cls == KD_CLASS_CONTRACT && o->nin > 0 && c->nin > (uint32_t)o->nin ? count(out(p, c, 0)) * (c->nin - (double)o->nin) : 0;
}

/* --- groups --------------------------------------------------------------------------------------------------------------------- */
static double points(const kd_group *g, uint32_t axes) {
  double n = 1;
  for (uint32_t d = 0; d < g->rank; d++)
    if (axes >> d & 1) n *= (double)g->size[d];
  return n;
}

/* Elements of an operand: over the axes along which it moves. */
static double operand(const kd_group *g, uint32_t k) {
  double n = 1;
  for (uint32_t d = 0; d < g->rank; d++)
    if (g->stride[k][d]) n *= (double)g->size[d];
  return n * (double)kd__dtype_size((kd_dtype)g->dtype[k]);
}

static kd__work instruction(const kd_group *g, uint32_t ins) {
  const kd_group_ins *v = &g->ins[ins];
  double n = points(g, v->axes);
  kd__work w = { .elements = n };
  switch (v->kind) {
    case KD_GROUP_REDUCE: w.elements = n *= points(g, v->over); w.flops = n * table[v->op].flops, w.slots = n * table[v->op].slots; break;
    case KD_GROUP_ELEM: w.flops = n * table[v->op].flops, w.slots = n * table[v->op].slots; break;
    case KD_GROUP_GATHER: w.slots = 8 * n; break;
    case KD_GROUP_LOAD: case KD_GROUP_STORE: case KD_GROUP_IOTA: case KD_GROUP_CHECK: w.slots = n; break;
    default: break;
  }
  return w;
}

static kd__work group(const kd_group *g) {
  kd__work w = { 0 };
  for (uint32_t i = 0; i < g->nins; i++) {
    kd__work one = instruction(g, i);
    w.flops += one.flops, w.slots += one.slots, w.points += one.elements, w.elements = fmax(w.elements, one.elements);
    if (g->ins[i].kind == KD_GROUP_GATHER) w.bytes += points(g, g->ins[i].axes) * (double)kd__dtype_size((kd_dtype)g->ins[i].dtype);
  }
  for (uint32_t k = 0; k < g->nin + g->nout; k++) {
    bool gathered = false;                       /* only what an index says is read of it */
    for (uint32_t i = 0; i < g->nins && k < g->nin; i++) gathered = gathered || (g->ins[i].kind == KD_GROUP_GATHER && g->ins[i].operand == k);
    if (!gathered) w.bytes += operand(g, k);
  }
  return w;
}

uint32_t kd__work_instructions(const kd_plan_call *c) { return c->op == KD_OP_GROUP && c->group ? c->group->nins : 0; }
kd__work kd__work_instruction(const kd_plan_call *c, uint32_t i, uint32_t *origin) {
  *origin = c->group->ins[i].origin ? c->group->ins[i].origin : c->origin;
  return instruction(c->group, i);
}

kd__work kd__work_call(const kd_plan *p, uint32_t call) {
  const kd_plan_call *c = &p->call[call];
  kd__work w = { 0 };
  if (c->op == KD_OP_LOOP) { w.bytes = copied(p, c); return w; }
  if (c->op == KD_OP_GROUP && c->group) return group(c->group);
  for (uint32_t i = 0; i < c->nin + c->nout; i++) w.elements = fmax(w.elements, count(i < c->nin ? in(p, c, i) : out(p, c, i - c->nin)));
  w.bytes = touched(p, c);
  if (c->op == KD_OP_COUNT) { w.slots = 2 * count(out(p, c, 0)); return w; }
  double n = counted(p, c), more = followed(p, c);
  w.flops = n * table[c->op].flops + more;
  w.slots = n * table[c->op].slots + more;
  return w;
}
