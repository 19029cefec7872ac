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

static LLVMValueRef outside(kdj_emit *e, LLVMValueRef index, int64_t limit) {
  return LLVMBuildICmp(e->b, LLVMIntUGE, index, kdj_whole(LLVMTypeOf(index), limit), "");
}

/* --- asking ahead ---------------------------------------------------------------------------------------------------------------------------- */
/* Short rows of a large group: the processor does not foresee where so many streams, each of a few lines, go on. What the next unit reads and writes
 * is asked for where this one does it first. */
static bool asks(kdj_emit *e, uint32_t i, uint32_t operand) {
  const kdj_shape *s = e->s;
  if (!s->far || !kdj_vec(s, s->ins[i].v.axes) || s->g.stride[operand][s->v] != 1 || (e->asked[i] >> e->w & 1)) return false;
  e->asked[i] |= (uint8_t)(1u << e->w);
  return true;
}
static uint32_t rows_axis(const kdj_shape *s) { return 31u - (uint32_t)__builtin_clz(s->row_axes); }
/* From one unit to the next. */
static int64_t unit_step(const kdj_shape *s, uint32_t operand) { return s->g.stride[operand][rows_axis(s)] * s->ways; }
static void ask(kdj_emit *e, const kd_group_ins *v, uint32_t operand, LLVMValueRef far, bool write) {
  LLVMTypeRef t = kdj_stored(e, (kd_dtype)v->dtype, false), over = e->ptr;
  int64_t step, line = 64 / (int64_t)kd__dtype_size((kd_dtype)v->dtype);
  LLVMValueRef p = address(e, operand, v->axes, t, far, &step);
  for (int64_t k = 0; k < (int64_t)e->active; k += line) {
    LLVMValueRef arg[4] = { kdj_gep(e, t, p, kdj_int(e, k)), LLVMConstInt(e->i32, write, false), LLVMConstInt(e->i32, 3, false), LLVMConstInt(e->i32, 1, false) };
    kdj_call(e, "llvm.prefetch", &over, 1, arg, 4);
  }
}
static void ask_next(kdj_emit *e, uint32_t i, uint32_t operand, bool write) {
  if (asks(e, i, operand) && unit_step(e->s, operand)) ask(e, &e->s->ins[i].v, operand, kdj_int(e, unit_step(e->s, operand)), write);
}
/* The same of a row that the next unit's index names, where one index names all of it; of the last units: of their own. */
static void ask_named(kdj_emit *e, uint32_t i) {
  const kdj_shape *s = e->s;
  const kd_group_ins *v = &s->ins[i].v, *index = &s->ins[v->in[0]].v;
  if (index->kind != KD_GROUP_LOAD || index->dtype != KD_I64 || (index->axes & s->inner) || !asks(e, i, v->operand)) return;
  uint32_t a = rows_axis(s);
  LLVMValueRef there = LLVMBuildICmp(e->b, LLVMIntSLT, LLVMBuildNSWAdd(e->b, e->at[a], kdj_int(e, s->ways), ""), kdj_int(e, s->g.size[a]), "");
  LLVMValueRef far = LLVMBuildSelect(e->b, there, kdj_int(e, unit_step(s, index->operand)), kdj_int(e, 0), "");
  LLVMValueRef next = LLVMBuildLoad2(e->b, e->i64, kdj_gep(e, e->i64, e->base[index->operand], far), "");
  next = LLVMBuildMul(e->b, LLVMBuildSelect(e->b, outside(e, next, v->limit), kdj_int(e, 0), next, ""), kdj_int(e, v->step), "");
  ask(e, v, v->operand, LLVMBuildAdd(e->b, next, kdj_int(e, unit_step(s, v->operand)), ""), false);
}

LLVMValueRef kdj_emit_load(kdj_emit *e, uint32_t i) {
  ask_next(e, i, e->s->ins[i].v.operand, false);
  return read_at(e, &e->s->ins[i].v, NULL);
}

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
    ask_named(e, i);
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
  ask_next(e, i, e->s->g.nin + v->operand, true);
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
