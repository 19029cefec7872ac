/* emit_mem.c: values from memory and back: operands by their strides, gathers with their faults, buffers. */
#include "runtime/jit/emit.h"

static LLVMValueRef all_active(kdj_emit *e) { return e->mask ? e->mask : LLVMConstAllOnes(LLVMVectorType(e->i1, e->lanes)); }

static LLVMValueRef plus(kdj_emit *e, LLVMValueRef a, LLVMValueRef b) { return a ? LLVMBuildNSWAdd(e->b, a, b, "") : b; }
static LLVMValueRef times(kdj_emit *e, LLVMValueRef a, int64_t k) { return k == 1 ? a : LLVMBuildNSWMul(e->b, a, kdj_int(e, k), ""); }

/* The address of lane 0: base, with what the loops around have added. `lane_step`: what one lane further adds; 0 where all read one element. */
static LLVMValueRef address(kdj_emit *e, uint32_t operand, uint32_t axes, LLVMTypeRef t, LLVMValueRef more, int64_t *lane_step) {
  const kd_group *g = &e->s->g;
  LLVMValueRef at = more;
  for (uint32_t a = 0; a < g->rank; a++)
    if ((axes & e->s->inner) >> a & 1 && g->stride[operand][a] != 0 && (int)a != e->s->v) at = plus(e, at, times(e, e->at[a], g->stride[operand][a]));
  *lane_step = kdj_vec(e->s, axes) ? g->stride[operand][e->s->v] : 0;
  LLVMValueRef p = at ? kdj_gep(e, t, e->base[operand], at) : e->base[operand];
  return *lane_step ? kdj_gep(e, t, p, times(e, e->at[e->s->v], *lane_step)) : p;
}

static LLVMValueRef lane_pointers(kdj_emit *e, LLVMTypeRef t, LLVMValueRef p, int64_t step) {
  LLVMValueRef k = LLVMBuildMul(e->b, kdj_lanes(e), kdj_whole(LLVMVectorType(e->i64, e->lanes), step), "");
  return kdj_gep(e, t, p, k);
}

static LLVMValueRef from_lanes(kdj_emit *e, LLVMTypeRef vec, LLVMValueRef pointers, LLVMValueRef mask) {
  LLVMTypeRef over[2] = { vec, LLVMTypeOf(pointers) };
  unsigned bytes = LLVMGetTypeKind(LLVMGetElementType(vec)) == LLVMFloatTypeKind ? 4 : LLVMGetElementType(vec) == e->i8 ? 1 : 8;
  LLVMValueRef arg[4] = { pointers, LLVMConstInt(e->i32, bytes, false), mask, LLVMConstNull(vec) };
  return kdj_call(e, "llvm.masked.gather", over, 2, arg, 4);
}

/* Reads `v->operand` at the place in the loops, `more` elements further. A vector where it varies along the lanes. */
static LLVMValueRef read_at(kdj_emit *e, const kd_group_ins *v, LLVMValueRef more) {
  LLVMTypeRef t = kdj_stored(e, (kd_dtype)v->dtype, false);
  int64_t step;
  LLVMValueRef p = address(e, v->operand, v->axes, t, more, &step), r;
  if (step == 0) r = kdj_load(e, t, p, NULL);
  else if (step == 1) r = kdj_load(e, LLVMVectorType(t, e->lanes), p, NULL);
  else r = from_lanes(e, LLVMVectorType(t, e->lanes), lane_pointers(e, t, p, step), all_active(e));
  if (kdj_vec(e->s, v->axes)) r = kdj_splat(e, r);
  return v->dtype == KD_BOOL ? kdj_bool(e, r) : r;
}

LLVMValueRef kdj_emit_load(kdj_emit *e, uint32_t i) { return read_at(e, &e->s->ins[i].v, NULL); }

/* --- faults -------------------------------------------------------------------------------------------------------------------------------- */
/* Tells of the lanes whose index is bad, by their number in the domain; returns the bad ones among those that count. */
LLVMValueRef kdj_report(kdj_emit *e, uint32_t i, uint32_t domain, LLVMValueRef index, LLVMValueRef bad) {
  const kd_group *g = &e->s->g;
  bool vec = kdj_is_vec(bad);
  if (vec && e->mask) bad = LLVMBuildAnd(e->b, bad, e->mask, "");
  LLVMValueRef bits = vec ? LLVMBuildBitCast(e->b, bad, LLVMIntTypeInContext(e->c, e->lanes), "") : bad;
  if (!vec || e->lanes < 64) bits = LLVMBuildZExt(e->b, bits, e->i64, "");
  LLVMValueRef place = kdj_alloca(e, LLVMTypeOf(index)), number = kdj_int(e, 0);
  kdj_if f = kdj_if_begin(e, LLVMBuildICmp(e->b, LLVMIntNE, bits, kdj_int(e, 0), ""));
  int64_t stride = 1, step = 0;
  for (uint32_t a = g->rank; a-- > 0;) {
    if (!(domain >> a & 1)) continue;
    number = plus(e, number, times(e, e->at[a], stride));
    if ((int)a == e->s->v) step = stride;
    stride *= g->size[a];
  }
  LLVMBuildStore(e->b, index, place);
  LLVMValueRef slot = LLVMBuildLoad2(e->b, e->ptr, kdj_gep(e, e->ptr, e->args, kdj_int(e, 1)), "");
  LLVMTypeRef arg_type[6] = { e->ptr, e->i32, e->ptr, e->i64, e->i64, e->i64 };
  LLVMValueRef arg[6] = { e->args, LLVMConstInt(e->i32, i, false), place, bits, number, kdj_int(e, step) };
  LLVMBuildCall2(e->b, LLVMFunctionType(LLVMVoidTypeInContext(e->c), arg_type, 6, false), slot, arg, 6, "");
  kdj_if_end(e, &f);
  return bad;
}

static LLVMValueRef outside(kdj_emit *e, LLVMValueRef index, int64_t limit) {
  return LLVMBuildICmp(e->b, LLVMIntUGE, index, kdj_whole(LLVMTypeOf(index), limit), "");
}
void kdj_emit_check(kdj_emit *e, uint32_t i) {
  const kd_group_ins *v = &e->s->ins[i].v;
  LLVMValueRef index = e->val[v->in[0]];
  kdj_report(e, i, e->s->ins[v->in[0]].v.axes, index, outside(e, index, v->limit));
}

LLVMValueRef kdj_emit_gather(kdj_emit *e, uint32_t i) {
  const kd_group_ins *v = &e->s->ins[i].v;
  LLVMTypeRef t = kdj_stored(e, (kd_dtype)v->dtype, false);
  bool vec = kdj_vec(e->s, v->axes);
  LLVMValueRef index = e->val[v->in[0]], bad = kdj_report(e, i, e->s->ins[v->in[0]].v.axes, index, outside(e, index, v->limit)), r;
  if (v->limit == 0) return LLVMConstNull(kdj_type(e, (kd_dtype)v->dtype, vec));
  index = LLVMBuildSelect(e->b, bad, LLVMConstNull(LLVMTypeOf(index)), index, "");
  LLVMValueRef far = LLVMBuildMul(e->b, index, kdj_whole(LLVMTypeOf(index), v->step), "");
  if (!kdj_is_vec(index)) {
    r = read_at(e, v, far);
    return LLVMBuildSelect(e->b, bad, LLVMConstNull(LLVMTypeOf(r)), r, "");
  }
  int64_t step;
  LLVMValueRef p = address(e, v->operand, v->axes, t, NULL, &step);
  LLVMValueRef lane = LLVMBuildMul(e->b, kdj_lanes(e), kdj_whole(LLVMVectorType(e->i64, e->lanes), step), "");
  LLVMValueRef pointers = kdj_gep(e, t, p, LLVMBuildAdd(e->b, lane, far, ""));
  r = from_lanes(e, LLVMVectorType(t, e->lanes), pointers, LLVMBuildAnd(e->b, all_active(e), LLVMBuildNot(e->b, bad, ""), ""));
  return v->dtype == KD_BOOL ? kdj_bool(e, r) : r;
}

/* --- stores and buffers ---------------------------------------------------------------------------------------------------------------------- */
void kdj_emit_store(kdj_emit *e, uint32_t i) {
  const kd_group_ins *v = &e->s->ins[i].v;
  LLVMTypeRef t = kdj_stored(e, (kd_dtype)v->dtype, false);
  LLVMValueRef x = e->val[v->in[0]];
  int64_t step;
  LLVMValueRef p = address(e, e->s->g.nin + v->operand, v->axes, t, NULL, &step);
  if (v->dtype == KD_BOOL) x = kdj_byte(e, x);
  if (step) x = kdj_splat(e, x);
  if (step == 0 || step == 1) { kdj_store(e, x, p); return; }
  LLVMValueRef pointers = lane_pointers(e, t, p, step);
  LLVMTypeRef over[2] = { LLVMTypeOf(x), LLVMTypeOf(pointers) };
  LLVMValueRef arg[4] = { x, pointers, LLVMConstInt(e->i32, kd__dtype_size((kd_dtype)v->dtype), false), all_active(e) };
  kdj_call(e, "llvm.masked.scatter", over, 2, arg, 4);
}

static LLVMValueRef buffer_place(kdj_emit *e, const kdj_buffer *b) {
  LLVMTypeRef t = kdj_stored(e, (kd_dtype)b->dtype, false);
  bool own = e->s->ins[b->ins].scope != KDJ_ENTRY;         /* else all rows share it */
  LLVMValueRef at = kdj_int(e, 0), p = kdj_gep(e, e->i8, e->scratch, kdj_int(e, b->at + (int64_t)(own ? e->w * e->s->way_bytes : 0)));
  for (uint32_t a = 0; a < e->s->g.rank; a++)
    if (b->axes >> a & 1) at = plus(e, at, times(e, e->at[a], b->stride[a] * (b->vec ? e->s->lanes : 1)));
  return kdj_gep(e, t, p, at);
}
LLVMValueRef kdj_buffer_load(kdj_emit *e, uint32_t i) {
  const kdj_ins *p = &e->s->ins[i];
  LLVMValueRef v = kdj_load(e, kdj_stored(e, (kd_dtype)p->v.dtype, kdj_vec(e->s, p->v.axes)), buffer_place(e, &e->s->buffer.v[p->buffer]), NULL);
  return p->v.dtype == KD_BOOL ? kdj_bool(e, v) : v;
}
void kdj_buffer_store(kdj_emit *e, uint32_t i, LLVMValueRef v) {
  const kdj_ins *p = &e->s->ins[i];
  kdj_store(e, p->v.dtype == KD_BOOL ? kdj_byte(e, v) : v, buffer_place(e, &e->s->buffer.v[p->buffer]));
}
