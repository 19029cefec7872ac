/* emit_reduce.c: reductions: in registers where the loops allow, along lanes, and into what a chunk leaves for the others. */
#include "runtime/jit/emit.h"
#include <math.h>

/* --- how values add up ----------------------------------------------------------------------------------------------------------------------- */
static bool is_real(LLVMValueRef v) {
  LLVMTypeRef t = LLVMTypeOf(v);
  LLVMTypeKind k = LLVMGetTypeKind(LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t);
  return k == LLVMFloatTypeKind || k == LLVMDoubleTypeKind;
}
static LLVMValueRef combine(kdj_emit *e, kd_op op, LLVMValueRef m, LLVMValueRef x) {
  bool real = is_real(x), max = op == KD_OP_REDUCE_MAX;
  if (op == KD_OP_ANY) return LLVMBuildOr(e->b, m, x, "");
  if (op == KD_OP_ALL) return LLVMBuildAnd(e->b, m, x, "");
  if (op == KD_OP_SUM) return real ? LLVMBuildFAdd(e->b, m, x, "") : LLVMBuildAdd(e->b, m, x, "");
  if (!real) return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, max ? LLVMIntSGT : LLVMIntSLT, x, m, ""), x, m, "");
  LLVMValueRef more = LLVMBuildFCmp(e->b, max ? LLVMRealOGT : LLVMRealOLT, x, m, ""), none = LLVMBuildFCmp(e->b, LLVMRealUNO, x, x, "");
  /* The inner one is one instruction, and so is the outer one. With x for x + x both would become one choice, by two comparisons and an "or". */
  return LLVMBuildSelect(e->b, none, LLVMBuildFAdd(e->b, x, x, ""), LLVMBuildSelect(e->b, more, x, m, ""), "");
}
static LLVMValueRef neutral(kd_op op, LLVMTypeRef t, bool real) {
  if (op == KD_OP_SUM || op == KD_OP_ANY) return LLVMConstNull(t);
  if (op == KD_OP_ALL) return LLVMConstAllOnes(t);
  if (real) return kdj_real(t, op == KD_OP_REDUCE_MAX ? -INFINITY : INFINITY);
  return kdj_whole(t, op == KD_OP_REDUCE_MAX ? INT64_MIN : INT64_MAX);
}
/* All lanes into one, halves onto halves. Whether one is no number is asked once, of all lanes of a vector of the processor. */
static LLVMValueRef across(kdj_emit *e, kd_op op, LLVMValueRef v) {
  if (!kdj_is_vec(v)) return v;
  LLVMValueRef broken = NULL;
  bool real = is_real(v) && (op == KD_OP_REDUCE_MAX || op == KD_OP_REDUCE_MIN);
  for (unsigned n = LLVMGetVectorSize(LLVMTypeOf(v)); n > 1; n /= 2) {
    LLVMValueRef lo[KDJ_MAX_LANES], hi[KDJ_MAX_LANES], none = LLVMGetUndef(LLVMTypeOf(v));
    for (unsigned k = 0; k < n / 2; k++) lo[k] = LLVMConstInt(e->i32, k, false), hi[k] = LLVMConstInt(e->i32, k + n / 2, false);
    LLVMValueRef a = LLVMBuildShuffleVector(e->b, v, none, LLVMConstVector(lo, n / 2), ""), b = LLVMBuildShuffleVector(e->b, v, none, LLVMConstVector(hi, n / 2), "");
    if (real && n <= 16) {
      LLVMTypeRef bits = LLVMIntTypeInContext(e->c, n);
      if (!broken) broken = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildBitCast(e->b, LLVMBuildFCmp(e->b, LLVMRealUNO, v, v, ""), bits, ""), LLVMConstNull(bits), "");
      v = LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, op == KD_OP_REDUCE_MAX ? LLVMRealOGT : LLVMRealOLT, b, a, ""), b, a, "");
    } else {
      v = combine(e, op, a, b);
    }
  }
  v = LLVMBuildExtractElement(e->b, v, LLVMConstInt(e->i32, 0, false), "");
  return broken ? LLVMBuildSelect(e->b, broken, kdj_real(LLVMTypeOf(v), NAN), v, "") : v;
}
/* To the type of slots: integers as they are, all else double. */
static LLVMValueRef to_slot(kdj_emit *e, LLVMValueRef v) {
  LLVMTypeRef t = kdj_like(e, e->f64, v);
  if (LLVMTypeOf(v) == t) return v;
  if (is_real(v)) return LLVMBuildFPExt(e->b, v, t, "");
  return LLVMTypeOf(v) == kdj_like(e, e->i1, v) ? LLVMBuildUIToFP(e->b, v, t, "") : v;
}
/* In slots truth is 1.0. */
static kd_op slot_op(kd_op op) { return op == KD_OP_ANY ? KD_OP_REDUCE_MAX : op == KD_OP_ALL ? KD_OP_REDUCE_MIN : op; }

static void update(kdj_emit *e, kd_op op, LLVMValueRef place, LLVMValueRef x) {
  LLVMValueRef old = LLVMBuildLoad2(e->b, LLVMTypeOf(x), place, "");
  LLVMBuildStore(e->b, combine(e, op, old, x), place);
}

/* --- final reductions -------------------------------------------------------------------------------------------------------------------------- */
static kd_op adds_as(const kd_group_ins *v) { return v->kind == KD_GROUP_SPREAD || v->op == KD_OP_MOMENTS ? KD_OP_SUM : (kd_op)v->op; }

void kdj_final_open(kdj_emit *e) {
  for (uint32_t i = 0; i < e->s->g.nins; i++) {
    const kd_group_ins *v = &e->s->ins[i].v;
    int32_t f = e->s->final_of[i];
    if (f < 0 || v->axes != 0) continue;
    const kd_group_ins *x = &e->s->ins[v->in[0]].v;
    kd_op op = slot_op(adds_as(v));
    LLVMTypeRef t = kdj_type(e, v->dtype == KD_I64 ? KD_I64 : KD_F64, kdj_vec(e->s, x->axes));
    for (int k = 0; k < (v->op == KD_OP_MOMENTS ? 3 : 1); k++) {
      e->fin[k][f] = kdj_alloca(e, t);
      LLVMBuildStore(e->b, neutral(op, t, v->dtype != KD_I64), e->fin[k][f]);
    }
  }
}
static LLVMValueRef slot_place(kdj_emit *e, int32_t f, int64_t part, LLVMValueRef at) {
  const kd_jit_final *r = &e->s->final.v[f];
  LLVMValueRef p = kdj_gep(e, e->i64, e->slot, kdj_int(e, r->slot + part * r->count));
  return at ? kdj_gep(e, e->i64, p, at) : p;
}
void kdj_final_close(kdj_emit *e) {
  for (uint32_t i = 0; i < e->s->g.nins; i++) {
    const kd_group_ins *v = &e->s->ins[i].v;
    int32_t f = e->s->final_of[i];
    if (f < 0 || v->axes != 0) continue;
    kd_op op = slot_op(adds_as(v));
    LLVMTypeRef t = kdj_type(e, v->dtype == KD_I64 ? KD_I64 : KD_F64, kdj_vec(e->s, e->s->ins[v->in[0]].v.axes));
    for (int k = 0; k < (v->op == KD_OP_MOMENTS ? 3 : 1); k++)
      update(e, op, slot_place(e, f, k, NULL), across(e, op, LLVMBuildLoad2(e->b, t, e->fin[k][f], "")));
  }
}

/* Where the result of a final reduction lies among its others: its position along the axes that are kept. */
static LLVMValueRef result_at(kdj_emit *e, const kdj_acc *c) {
  LLVMValueRef at = kdj_int(e, 0);
  uint32_t kept = e->s->ins[c->ins].v.axes;
  for (uint32_t a = 0; a < e->s->g.rank; a++)
    if (kept >> a & 1) at = LLVMBuildNSWAdd(e->b, at, LLVMBuildNSWMul(e->b, e->at[a], kdj_int(e, e->s->kept[c->final][a]), ""), "");
  return at;
}
static void join(kdj_emit *e, kd_op op, LLVMValueRef place, LLVMValueRef x) { kdj_store(e, combine(e, op, kdj_load(e, LLVMTypeOf(x), place, NULL), x), place); }

/* Is this the first element of a result that this call meets? */
static LLVMValueRef is_first(kdj_emit *e, const kdj_acc *c) {
  LLVMValueRef first = LLVMBuildICmp(e->b, LLVMIntEQ, e->row, e->s->cut_vec ? kdj_int(e, 0) : e->begin, "");
  for (uint32_t a = 0; a < e->s->g.rank; a++)
    if ((e->s->ins[c->ins].v.over & e->s->inner) >> a & 1)
      first = LLVMBuildAnd(e->b, first, LLVMBuildICmp(e->b, LLVMIntEQ, e->at[a], kdj_int(e, 0), ""), "");
  return first;
}
/* Moments along the lanes: differences from the first value, so that no digits cancel: the first is one of those that are added, so its distance
 * from their mean is not large beside their variance. */
static void join_moments(kdj_emit *e, const kdj_acc *c, LLVMValueRef x) {
  const kd_jit_final *r = &e->s->final.v[c->final];
  LLVMValueRef at = result_at(e, c);
  if (!r->tiled) {
    LLVMValueRef w = to_slot(e, x);
    join(e, KD_OP_SUM, slot_place(e, c->final, 0, at), kdj_real(LLVMTypeOf(w), 1));
    join(e, KD_OP_SUM, slot_place(e, c->final, 1, at), w);
    join(e, KD_OP_SUM, slot_place(e, c->final, 2, at), LLVMBuildFMul(e->b, w, w, ""));
    return;
  }
  LLVMValueRef p[3], first = is_first(e, c), zero = LLVMConstNull(LLVMTypeOf(x));
  for (int k = 0; k < 3; k++) p[k] = kdj_gep(e, e->f32, kdj_gep(e, e->f32, e->lane, kdj_int(e, r->lane + k * r->count)), at);
  LLVMValueRef shift = LLVMBuildSelect(e->b, first, x, kdj_load(e, LLVMTypeOf(x), p[0], NULL), "");
  LLVMValueRef sum = LLVMBuildSelect(e->b, first, zero, kdj_load(e, LLVMTypeOf(x), p[1], NULL), "");
  LLVMValueRef square = LLVMBuildSelect(e->b, first, zero, kdj_load(e, LLVMTypeOf(x), p[2], NULL), "");
  LLVMValueRef d = LLVMBuildFSub(e->b, x, shift, "");
  kdj_store(e, shift, p[0]);
  kdj_store(e, LLVMBuildFAdd(e->b, sum, d, ""), p[1]);
  kdj_store(e, kdj_fma(e, d, d, square), p[2]);
}

static void join_final(kdj_emit *e, const kdj_acc *c, LLVMValueRef v) {
  kd_op op = slot_op(c->op);
  if (c->whole) { update(e, op, e->fin[0][c->final], to_slot(e, v)); return; }
  LLVMValueRef at = result_at(e, c);
  if (!c->along) { update(e, op, slot_place(e, c->final, 0, at), to_slot(e, across(e, c->op, v))); return; }
  const kd_jit_final *r = &e->s->final.v[c->final];
  if (r->tiled) join(e, op, kdj_gep(e, e->f32, kdj_gep(e, e->f32, e->lane, kdj_int(e, r->lane)), at), v);
  else join(e, op, slot_place(e, c->final, 0, at), to_slot(e, v));
}

/* --- a nest ---------------------------------------------------------------------------------------------------------------------------------- */
static void open_one(kdj_emit *e, const kdj_nest *n, uint32_t i, bool aside) {
  const kdj_shape *s = e->s;
  const kd_group_ins *v = &s->ins[i].v, *mean = v->kind == KD_GROUP_SPREAD ? &s->ins[i - 1].v : v;
  kdj_acc c = { .ins = i, .x = mean->in[0], .home = n->n, .op = adds_as(v), .final = s->final_of[i], .aside = aside };
  int64_t trailing = 1;
  while (c.home > 0 && (mean->over >> n->order[c.home - 1] & 1)) trailing *= s->g.size[n->order[--c.home]];
  uint32_t axes = s->ins[c.x].v.axes;
  c.vec = kdj_vec(s, axes), c.across = c.vec && kdj_vec(s, mean->over);
  c.along = c.final >= 0 && c.vec && !c.across, c.whole = c.final >= 0 && v->axes == 0;
  bool single = v->dtype == KD_F32 && c.op == KD_OP_SUM, moments = c.final >= 0 && v->op == KD_OP_MOMENTS;
  c.joins = n->by_rows;
  if (moments || c.joins) c.home = n->n;         /* each element by itself */
  else if (c.home < n->n) {
    LLVMTypeRef t = kdj_type(e, (kd_dtype)s->ins[c.x].v.dtype, c.vec);
    for (uint32_t w = 0; w < e->ways; w++) c.lo[w] = kdj_alloca(e, t);
    c.rounds = single && (c.final >= 0 ? !(c.along && s->final.v[c.final].tiled) : trailing > (c.across ? KDJ_SINGLE : 256));
    for (uint32_t w = 0; c.rounds && w < e->ways; w++) c.hi[w] = c.whole ? e->fin[0][c.final] : kdj_alloca(e, kdj_like(e, e->f64, LLVMConstNull(t)));
  }
  KD_PUSH(e->a, e->acc, c);
}
void kdj_acc_open(kdj_emit *e, const kdj_nest *n) {
  e->acc.n = 0;
  for (size_t r = 0; r < n->root.n; r++) {
    uint8_t k = e->s->ins[n->root.v[r]].v.kind;
    if (k == KD_GROUP_SPREAD) open_one(e, n, n->root.v[r], true);
    if (k == KD_GROUP_REDUCE || k == KD_GROUP_SPREAD) open_one(e, n, n->root.v[r], false);
  }
}
bool kdj_acc_strips(const kdj_emit *e) {
  for (size_t k = 0; k < e->acc.n; k++)
    if (e->acc.v[k].rounds) return true;
  return false;
}

static void clear(kdj_emit *e, const kdj_acc *c, LLVMValueRef place) {
  LLVMTypeRef t = LLVMGetAllocatedType(place), one = LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
  LLVMBuildStore(e->b, neutral(c->op, t, one == e->f32 || one == e->f64), place);
}
void kdj_acc_enter(kdj_emit *e, uint32_t depth) {
  for (size_t k = 0; k < e->acc.n; k++) {
    const kdj_acc *c = &e->acc.v[k];
    if (c->home != depth || !c->lo[0]) continue;
    clear(e, c, c->lo[e->w]);
    if (c->rounds && !c->whole) clear(e, c, c->hi[e->w]);
  }
}

/* An inner result, of lanes or not yet joined ones: kept for later phases. */
static void finish(kdj_emit *e, const kdj_acc *c, LLVMValueRef v) {
  const kdj_shape *s = e->s;
  const kd_group_ins *r = &s->ins[c->ins].v, *mean = r->kind == KD_GROUP_SPREAD ? &s->ins[c->ins - 1].v : r;
  if (c->across) v = across(e, c->op, v);
  if (mean->op == KD_OP_MOMENTS) {
    double n = 1;
    for (uint32_t a = 0; a < s->g.rank; a++)
      if (mean->over >> a & 1) n *= (double)s->g.size[a];
    LLVMValueRef all = kdj_real(LLVMTypeOf(v), n);
    if (c->aside) { e->aside = LLVMBuildFDiv(e->b, v, all, ""); return; }
    v = LLVMBuildFDiv(e->b, v, all, "");
    if (r != mean) {                             /* the variance around the mean itself, not around its rounded value */
      v = LLVMBuildFSub(e->b, v, LLVMBuildFMul(e->b, e->aside, e->aside, ""), "");
      v = LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealOLT, v, LLVMConstNull(LLVMTypeOf(v)), ""), LLVMConstNull(LLVMTypeOf(v)), v, "");
    }
  }
  if (r->dtype == KD_F32) {
    LLVMTypeRef t = kdj_like(e, e->f32, v);
    if (LLVMTypeOf(v) != t) v = LLVMBuildFPTrunc(e->b, v, t, "");
  }
  e->val[c->ins] = v;
  if (s->ins[c->ins].buffer >= 0) kdj_buffer_store(e, c->ins, v);
}
static void result(kdj_emit *e, const kdj_acc *c, LLVMValueRef v) {
  if (c->joins) kdj_buffer_store(e, c->ins, combine(e, c->op, kdj_buffer_load(e, c->ins), v));
  else if (c->final >= 0) join_final(e, c, v);
  else finish(e, c, v);
}

/* A condition that holds at one point of the outer axes that a value does not vary over; NULL: there are none. What a final reduction's operand does not
 * vary over must not count it more than once; what is stored is stored once: threads that write the same lines wait for each other. */
LLVMValueRef kdj_once(kdj_emit *e, uint32_t axes) {
  const kdj_shape *s = e->s;
  uint32_t missing = s->g.outer & ~axes;
  LLVMValueRef cond = NULL;
  for (uint32_t a = 0; a < s->g.rank; a++) {
    if (!(missing >> a & 1)) continue;
    if ((int)a == s->v && !s->cut_vec) continue;
    LLVMValueRef zero = LLVMBuildICmp(e->b, LLVMIntEQ, (int)a == s->v ? e->begin : e->at[a], kdj_int(e, 0), "");
    cond = cond ? LLVMBuildAnd(e->b, cond, zero, "") : zero;
  }
  return cond;
}

static void add_moments(kdj_emit *e, const kdj_acc *c, LLVMValueRef x) {
  if (c->along) { join_moments(e, c, x); return; }
  LLVMValueRef w = to_slot(e, x), part[3] = { kdj_real(LLVMTypeOf(w), 1), w, LLVMBuildFMul(e->b, w, w, "") }, at = c->whole ? NULL : result_at(e, c);
  for (int k = 0; k < 3; k++) {
    if (c->vec && e->mask) part[k] = LLVMBuildSelect(e->b, e->mask, part[k], LLVMConstNull(LLVMTypeOf(w)), "");
    if (c->whole) update(e, KD_OP_SUM, e->fin[k][c->final], part[k]);
    else update(e, KD_OP_SUM, slot_place(e, c->final, k, at), across(e, KD_OP_SUM, part[k]));
  }
}

static void add_point(kdj_emit *e, const kdj_acc *c) {
  LLVMValueRef x = e->val[c->x], cond = c->final >= 0 ? kdj_once(e, e->s->ins[c->x].v.axes) : NULL;
  const kd_group_ins *v = &e->s->ins[c->ins].v;
  if (v->kind == KD_GROUP_SPREAD) {
    LLVMValueRef mean = e->val[c->ins - 1], d = LLVMBuildFSub(e->b, x, kdj_is_vec(x) ? kdj_splat(e, mean) : mean, "");
    x = c->aside ? d : LLVMBuildFMul(e->b, d, d, "");
  }
  kdj_if f = { NULL };
  if (cond) f = kdj_if_begin(e, cond);
  if (c->final >= 0 && v->op == KD_OP_MOMENTS) add_moments(e, c, x);
  else {
    if (c->across && e->mask) x = LLVMBuildSelect(e->b, e->mask, x, neutral(c->op, LLVMTypeOf(x), is_real(x)), "");
    if (c->lo[0]) update(e, c->op, c->lo[e->w], x);
    else result(e, c, x);
  }
  if (cond) kdj_if_end(e, &f);
}
void kdj_acc_point(kdj_emit *e, uint32_t i) {
  for (size_t k = 0; k < e->acc.n; k++)
    if (e->acc.v[k].ins == i) add_point(e, &e->acc.v[k]);
}

void kdj_acc_clear(kdj_emit *e) {
  for (size_t k = 0; k < e->acc.n; k++)
    kdj_buffer_store(e, e->acc.v[k].ins, LLVMConstNull(kdj_type(e, (kd_dtype)e->s->ins[e->acc.v[k].ins].v.dtype, true)));
}

static LLVMValueRef content(kdj_emit *e, LLVMValueRef place) { return LLVMBuildLoad2(e->b, LLVMGetAllocatedType(place), place, ""); }
void kdj_acc_round(kdj_emit *e) {
  for (size_t k = 0; k < e->acc.n; k++) {
    const kdj_acc *c = &e->acc.v[k];
    if (!c->rounds) continue;
    update(e, KD_OP_SUM, c->hi[e->w], to_slot(e, content(e, c->lo[e->w])));
    clear(e, c, c->lo[e->w]);
  }
}
void kdj_acc_leave(kdj_emit *e, uint32_t depth) {
  for (size_t k = 0; k < e->acc.n; k++) {
    const kdj_acc *c = &e->acc.v[k];
    if (c->home != depth || !c->lo[0] || (c->rounds && c->whole)) continue;
    result(e, c, content(e, c->rounds ? c->hi[e->w] : c->lo[e->w]));
  }
}
