/* bind.c: a plan meets memory and kernels: addresses resolved, kernels chosen and prepared. */
#include "runtime/exec/bound.h"
#include "runtime/kernels/group.h"
#include <stdlib.h>

/* Does the tensor, whose place begins at byte `first` of `size` bytes, stay inside? Whatever the numbers are. */
static bool inside(const kd_plan_tensor *t, int64_t first, int64_t size) {
  int64_t bytes = (int64_t)kd__dtype_size((kd_dtype)t->type.dtype), lo, hi, span;
  if (__builtin_add_overflow(first, t->offset, &lo) || __builtin_add_overflow(lo, bytes, &hi)) return false;
  for (int d = 0; d < t->type.rank; d++) {
    if (__builtin_mul_overflow(t->type.dim[d] - 1, t->stride[d], &span) || __builtin_mul_overflow(span, bytes, &span)) return false;
    if (span < 0 ? __builtin_add_overflow(lo, span, &lo) : __builtin_add_overflow(hi, span, &hi)) return false;
  }
  return lo >= 0 && hi <= size;
}

static kd_status resolve(const kd_plan *p, const kd_store *s, char *arena, const kd_plan_tensor *t, kd_tensor *out) {
  char *base = arena;
  int64_t size = p->arena_size, first = 0;
  if (t->place == KD_IN_SLOT) {
    if (t->slot >= s->nslot) return KD_E_USAGE;
    const kd_slot *slot = &s->slot[t->slot];
    base = s->block[slot->block], size = s->block_size[slot->block], first = slot->offset;
  }
  *out = (kd_tensor){ .dim = t->type.dim, .stride = t->stride, .dtype = t->type.dtype, .rank = t->type.rank };
  if (kd__type_count(&t->type) == 0) { out->data = base; return KD_OK; }         /* no elements: nothing is touched */
  if (!inside(t, first, size)) return KD_E_USAGE;
  out->data = base + first + t->offset;
  return KD_OK;
}

/* Lowest and highest element that strides over these sizes come to. False where they cannot be counted. */
static bool reach(const int64_t *size, const int64_t *stride, uint32_t rank, int64_t *lo, int64_t *hi) {
  *lo = *hi = 0;
  for (uint32_t d = 0; d < rank; d++) {
    int64_t span;
    if (__builtin_mul_overflow(size[d] - 1, stride[d], &span)) return false;
    if (span < 0 ? __builtin_add_overflow(*lo, span, lo) : __builtin_add_overflow(*hi, span, hi)) return false;
  }
  return true;
}

/* Does a group stay inside its operands' tensors, which lie inside their memory? Whatever the numbers are. */
static bool group_fits(const kd_call *c) {
  const kd_group *g = c->group;
  char why[120];
  if (!g || g->nin != c->nin || g->nout != c->nout || !kd__group_valid(g, why, sizeof why)) return false;
  for (uint32_t o = 0; o < g->nin + g->nout; o++) {
    const kd_tensor *t = o < g->nin ? &c->in[o] : &c->out[o - g->nin];
    int64_t lo, hi, first, last, along = 0;
    if (t->dtype != g->dtype[o] || !reach(g->size, g->stride[o], g->rank, &lo, &hi) || !reach(t->dim, t->stride, t->rank, &first, &last)) return false;
    for (uint32_t i = 0; i < g->nins; i++)
      if (g->ins[i].kind == KD_GROUP_GATHER && g->ins[i].operand == o && __builtin_mul_overflow(g->ins[i].limit - 1, g->ins[i].step, &along)) return false;
    if (along < 0 ? __builtin_add_overflow(lo, along, &lo) : __builtin_add_overflow(hi, along, &hi)) return false;
    if (lo < first || hi > last) return false;
  }
  return true;
}

/* Parameters that this plan reads and does not write, while it trains others: what its kernels may keep packed from step to step. A plan that
 * trains nothing runs now and then, and shall not take memory for it. */
static const uint64_t *version_of(const kd_bound *b, const kd_plan_tensor *t) {
  const kd_store *s = b->store;
  if (!s->version || t->place != KD_IN_SLOT || b->plan->nwrites == 0) return NULL;
  const kd_slot *slot = &s->slot[t->slot];
  int64_t size = kd__type_count(&slot->type) * (int64_t)kd__dtype_size((kd_dtype)slot->type.dtype);
  if ((slot->kind != KD_SLOT_PARAM && slot->kind != KD_SLOT_STATE && slot->kind != KD_SLOT_VALUE) || !inside(t, 0, size)) return NULL;
  for (uint32_t i = 0; i < b->plan->nwrites; i++)
    if (b->plan->writes[i] == t->slot) return NULL;
  return &s->version[t->slot];
}

static kd_status bind_call(kd_bound *b, uint32_t i, kd_tensor *operand) {
  const kd_plan_call *from = &b->plan->call[i];
  kd_call *c = &b->call[i];
  for (uint32_t k = 0; k < from->nin + from->nout; k++)
    if ((k < from->nin ? from->in[k] : from->out[k - from->nin]) >= b->plan->ntensor) return KD_E_USAGE;
  for (uint32_t k = 0; k < from->nin; k++) operand[k] = b->tensor[from->in[k]];
  for (uint32_t k = 0; k < from->nout; k++) operand[from->nin + k] = b->tensor[from->out[k]];
  *c = (kd_call){ .op = from->op, .nin = from->nin, .nout = from->nout, .in = operand, .out = operand + from->nin, .attr = from->attr, .group = from->group };
  c->version = b->version + (operand - b->operand);
  bool contraction = from->op < KD_OP_COUNT && kd__op_info(from->op)->cls == KD_CLASS_CONTRACT;
  for (uint32_t k = 0; contraction && k < from->nin; k++)
    b->version[operand + k - b->operand] = version_of(b, &b->plan->tensor[from->in[k]]);
  if (from->op == KD_OP_COUNT && (from->nin != 1 || from->nout != 1)) return KD_E_USAGE;
  b->team = b->team || (from->op != KD_OP_GROUP && kd__call_long(c));
  if (from->op == KD_OP_COUNT) return KD_OK;
  if (from->op == KD_OP_LOOP) return kd__bind_loop(b, i);
  if (from->op == KD_OP_GROUP && !group_fits(c)) return KD_E_USAGE;
  b->team = b->team || kd__call_long(c);
  const kd_kernel *k = kd__kernel_find(c, &b->set);
  if (!k) return KD_E_UNAVAILABLE;
  b->kernel[i] = k;
  kd_status st = k->prepare ? k->prepare(c, &b->set) : KD_OK;      /* first: the scratch of a prepared call is known at once */
  size_t scratch = st == KD_OK && k->scratch ? k->scratch(c, &b->set) : 0;
  if (scratch > b->scratch) b->scratch = scratch;
  b->kept += c->kept;
  return st;
}

static kd_status bind_all(kd_bound *b, const kd_store *s, void *arena) {
  const kd_plan *p = b->plan;
  kd_status st = KD_OK;
  for (uint32_t i = 0; i < p->ntensor && st == KD_OK; i++) st = resolve(p, s, arena, &p->tensor[i], &b->tensor[i]);
  kd_tensor *operand = b->operand;
  for (uint32_t i = 0; i < p->ncall && st == KD_OK; i++) {
    st = bind_call(b, i, operand);
    operand += p->call[i].nin + p->call[i].nout;
  }
  return st;
}

/* All groups at once, and before their calls are prepared: LLVM's work is then shared by two threads. */
static void *hold_groups(const kd_plan *p, const kd_kernel_settings *set) {
  const kd_group **g = set->jit ? calloc(p->ncall + (size_t)1, sizeof *g) : NULL;
  size_t n = 0;
  for (uint32_t i = 0; g && i < p->ncall; i++)
    if (p->call[i].op == KD_OP_GROUP && p->call[i].group) g[n++] = p->call[i].group;
  void *held = g ? kd__jit_hold(g, n, set) : NULL;
  free(g);
  return held;
}

static bool allocate(kd_bound *b) {
  size_t operands = 1, calls = b->plan->ncall + (size_t)1;
  for (uint32_t i = 0; i < b->plan->ncall; i++) operands += b->plan->call[i].nin + (size_t)b->plan->call[i].nout;
  b->tensor = calloc(b->plan->ntensor + (size_t)1, sizeof *b->tensor);
  b->operand = calloc(operands, sizeof *b->operand);
  b->version = calloc(operands, sizeof *b->version);
  b->call = calloc(calls, sizeof *b->call);
  b->kernel = calloc(calls, sizeof *b->kernel);
  b->loop = calloc(calls, sizeof *b->loop);
  return b->tensor && b->operand && b->version && b->call && b->kernel && b->loop;
}

kd_status kd__plan_bind(const kd_plan *p, const kd_store *s, void *arena, const kd_kernel_settings *set, kd_bound **out) {
  *out = NULL;
  kd_bound *b = calloc(1, sizeof *b);
  if (!b) return KD_E_MEMORY;
  b->plan = p, b->store = s, b->set = *set;
  void *held = hold_groups(p, set);
  kd_status st = allocate(b) ? bind_all(b, s, arena) : KD_E_MEMORY;
  kd__jit_drop(held);
  if (st == KD_OK) st = kd__bind_side(b, KD__SIDE_PRICE);
  if (st != KD_OK) { kd__bound_close(b); return st; }
  *out = b;
  return KD_OK;
}

void kd__bound_close(kd_bound *b) {
  if (!b) return;
  for (uint32_t i = 0; b->call && b->kernel && i < b->plan->ncall; i++)
    if (b->call[i].prepared && b->kernel[i]->release) b->kernel[i]->release(b->call[i].prepared);
  for (uint32_t i = 0; b->loop && i < b->plan->ncall; i++) kd__loop_close(b->loop[i]);
  free(b->loop);
  free(b->beside);
  free(b->tensor);
  free(b->operand);
  free(b->version);
  free(b->call);
  free(b->kernel);
  free(b);
}

size_t kd__bound_scratch(const kd_bound *b) { return b->scratch; }
size_t kd__bound_kept(const kd_bound *b) { return b->kept; }
bool kd__bound_team(const kd_bound *b) { return b->team; }
const kd_tensor *kd__bound_result(const kd_bound *b, uint32_t i) { return &b->tensor[b->plan->result[i].tensor]; }
