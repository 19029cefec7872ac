/* emit_base.c: types, constants, memory and loops of LLVM IR, see emit.h. */
#include "runtime/jit/emit.h"
#include <string.h>

static LLVMTypeRef scalar(const kdj_emit *e, kd_dtype t, LLVMTypeRef boolean) {
  return t == KD_F32 ? e->f32 : t == KD_F64 ? e->f64 : t == KD_I64 ? e->i64 : t == KD_U8 ? e->i8 : boolean;
}
static LLVMTypeRef widen(const kdj_emit *e, LLVMTypeRef t, bool vec) { return vec ? LLVMVectorType(t, e->lanes) : t; }
LLVMTypeRef kdj_type(const kdj_emit *e, kd_dtype t, bool vec) { return widen(e, scalar(e, t, e->i1), vec); }
LLVMTypeRef kdj_stored(const kdj_emit *e, kd_dtype t, bool vec) { return widen(e, scalar(e, t, e->i8), vec); }
static bool vec_type(LLVMTypeRef t) { return LLVMGetTypeKind(t) == LLVMVectorTypeKind; }
bool kdj_is_vec(LLVMValueRef v) { return vec_type(LLVMTypeOf(v)); }
LLVMTypeRef kdj_like(const kdj_emit *e, LLVMTypeRef t, LLVMValueRef shape) {
  (void)e;
  return kdj_is_vec(shape) ? LLVMVectorType(t, LLVMGetVectorSize(LLVMTypeOf(shape))) : t;
}

static LLVMValueRef all_lanes(LLVMTypeRef t, LLVMValueRef v) {
  LLVMValueRef lane[KDJ_MAX_LANES];
  unsigned n = LLVMGetVectorSize(t);
  for (unsigned k = 0; k < n; k++) lane[k] = v;
  return LLVMConstVector(lane, n);
}
LLVMValueRef kdj_int(const kdj_emit *e, int64_t v) { return LLVMConstInt(e->i64, (uint64_t)v, true); }
LLVMValueRef kdj_real(LLVMTypeRef t, double v) { return vec_type(t) ? all_lanes(t, LLVMConstReal(LLVMGetElementType(t), v)) : LLVMConstReal(t, v); }
LLVMValueRef kdj_whole(LLVMTypeRef t, int64_t v) {
  return vec_type(t) ? all_lanes(t, LLVMConstInt(LLVMGetElementType(t), (uint64_t)v, true)) : LLVMConstInt(t, (uint64_t)v, true);
}

LLVMValueRef kdj_splat(kdj_emit *e, LLVMValueRef v) {
  if (kdj_is_vec(v)) return v;
  LLVMTypeRef t = LLVMVectorType(LLVMTypeOf(v), e->lanes);
  if (LLVMIsConstant(v)) return all_lanes(t, v);
  LLVMValueRef one = LLVMBuildInsertElement(e->b, LLVMGetUndef(t), v, LLVMConstInt(e->i32, 0, false), "");
  return LLVMBuildShuffleVector(e->b, one, LLVMGetUndef(t), LLVMConstNull(LLVMVectorType(e->i32, e->lanes)), "");
}

LLVMValueRef kdj_alloca(kdj_emit *e, LLVMTypeRef t) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
  LLVMValueRef first = LLVMGetFirstInstruction(e->entry);
  if (first) LLVMPositionBuilderBefore(e->b, first);
  else LLVMPositionBuilderAtEnd(e->b, e->entry);
  LLVMValueRef v = LLVMBuildAlloca(e->b, t, "");
  LLVMPositionBuilderAtEnd(e->b, here);
  return v;
}

LLVMValueRef kdj_call(kdj_emit *e, const char *intrinsic, LLVMTypeRef *over, unsigned nover, LLVMValueRef *arg, unsigned n) {
  unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
  LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->m, id, over, nover);
  return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->c, id, over, nover), f, arg, n, "");
}

/* --- memory -------------------------------------------------------------------------------------------------------------------------------- */
LLVMValueRef kdj_gep(kdj_emit *e, LLVMTypeRef t, LLVMValueRef p, LLVMValueRef i) { return LLVMBuildGEP2(e->b, t, p, &i, 1, ""); }

static unsigned align_of(LLVMTypeRef t) {
  if (vec_type(t)) t = LLVMGetElementType(t);
  LLVMTypeKind k = LLVMGetTypeKind(t);
  return k == LLVMFloatTypeKind ? 4 : k == LLVMIntegerTypeKind ? (LLVMGetIntTypeWidth(t) + 7) / 8 : 8;
}
/* An axis shorter than a vector, one vector a row: in two whole pieces rather than one with a mask. A masked load waits until stores to its neighbours
 * are done, as if it read them too: a row's load for the store of the row before. */
static bool in_pieces(const kdj_emit *e) { return e->s->nvec == 0 && e->active < e->lanes && __builtin_popcount(e->active) <= 2; }
static unsigned first_piece(const kdj_emit *e) { return 1u << (31 - __builtin_clz(e->active)); }
static LLVMValueRef picked(kdj_emit *e, LLVMValueRef a, LLVMValueRef b, unsigned from, unsigned to, unsigned n) {        /* lane k of n: from + k of a and b in a row, or nothing */
  LLVMValueRef lane[KDJ_MAX_LANES];
  for (unsigned k = 0; k < n; k++) lane[k] = from + k < to ? LLVMConstInt(e->i32, from + k, false) : LLVMGetUndef(e->i32);
  return LLVMBuildShuffleVector(e->b, a, b ? b : LLVMGetUndef(LLVMTypeOf(a)), LLVMConstVector(lane, n), "");
}
static LLVMValueRef load_pieces(kdj_emit *e, LLVMTypeRef t, LLVMValueRef p) {
  LLVMTypeRef one = LLVMGetElementType(t);
  unsigned n = first_piece(e), left = e->active - n;
  LLVMValueRef a = LLVMBuildLoad2(e->b, LLVMVectorType(one, n), p, ""), b = NULL;
  LLVMSetAlignment(a, align_of(t));
  if (left) {
    b = LLVMBuildLoad2(e->b, LLVMVectorType(one, left), kdj_gep(e, one, p, kdj_int(e, n)), "");
    LLVMSetAlignment(b, align_of(t));
    b = picked(e, b, NULL, 0, left, n);
  }
  return picked(e, a, b, 0, e->active, e->lanes);
}
static void store_pieces(kdj_emit *e, LLVMValueRef v, LLVMValueRef p) {
  LLVMTypeRef t = LLVMTypeOf(v);
  unsigned n = first_piece(e), left = e->active - n;
  LLVMSetAlignment(LLVMBuildStore(e->b, picked(e, v, NULL, 0, n, n), p), align_of(t));
  if (left) LLVMSetAlignment(LLVMBuildStore(e->b, picked(e, v, NULL, n, n + left, left), kdj_gep(e, LLVMGetElementType(t), p, kdj_int(e, n))), align_of(t));
}

LLVMValueRef kdj_load(kdj_emit *e, LLVMTypeRef t, LLVMValueRef p, LLVMValueRef pass) {
  if (vec_type(t) && e->mask && !pass && in_pieces(e)) return load_pieces(e, t, p);
  if (vec_type(t) && e->mask) {
    LLVMTypeRef over[2] = { t, e->ptr };
    LLVMValueRef arg[4] = { p, LLVMConstInt(e->i32, align_of(t), false), e->mask, pass ? pass : LLVMConstNull(t) };
    return kdj_call(e, "llvm.masked.load", over, 2, arg, 4);
  }
  LLVMValueRef v = LLVMBuildLoad2(e->b, t, p, "");
  LLVMSetAlignment(v, align_of(t));
  return v;
}
void kdj_store(kdj_emit *e, LLVMValueRef v, LLVMValueRef p) {
  LLVMTypeRef t = LLVMTypeOf(v);
  if (vec_type(t) && e->mask && in_pieces(e)) { store_pieces(e, v, p); return; }
  if (vec_type(t) && e->mask) {
    LLVMTypeRef over[2] = { t, e->ptr };
    LLVMValueRef arg[4] = { v, p, LLVMConstInt(e->i32, align_of(t), false), e->mask };
    kdj_call(e, "llvm.masked.store", over, 2, arg, 4);
    return;
  }
  LLVMSetAlignment(LLVMBuildStore(e->b, v, p), align_of(t));
}

LLVMValueRef kdj_lanes(kdj_emit *e) {
  LLVMValueRef lane[KDJ_MAX_LANES];
  for (uint32_t k = 0; k < e->lanes; k++) lane[k] = kdj_int(e, k);
  return LLVMConstVector(lane, e->lanes);
}
LLVMValueRef kdj_bool(kdj_emit *e, LLVMValueRef v) { return LLVMBuildICmp(e->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), ""); }
LLVMValueRef kdj_byte(kdj_emit *e, LLVMValueRef v) { return LLVMBuildZExt(e->b, v, kdj_like(e, e->i8, v), ""); }

/* --- control ------------------------------------------------------------------------------------------------------------------------------- */
kdj_loop kdj_loop_begin(kdj_emit *e, LLVMValueRef from, LLVMValueRef to, int64_t step) {
  kdj_loop l = { .to = to, .step = kdj_int(e, step) };
  if (LLVMIsConstant(from) && LLVMIsConstant(to) && LLVMConstIntGetSExtValue(to) - LLVMConstIntGetSExtValue(from) <= step) {
    l.once = true, l.i = from;
    return l;
  }
  LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
  l.body = LLVMAppendBasicBlockInContext(e->c, e->fn, "loop");
  LLVMBuildBr(e->b, l.body);
  LLVMPositionBuilderAtEnd(e->b, l.body);
  l.i = l.phi = LLVMBuildPhi(e->b, e->i64, "");
  LLVMAddIncoming(l.phi, &from, &here, 1);
  return l;
}
void kdj_loop_end(kdj_emit *e, kdj_loop *l) {
  if (l->once) return;
  LLVMValueRef next = LLVMBuildNSWAdd(e->b, l->phi, l->step, "");
  LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b), done = LLVMAppendBasicBlockInContext(e->c, e->fn, "done");
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, next, l->to, ""), l->body, done);
  LLVMAddIncoming(l->phi, &next, &here, 1);
  LLVMPositionBuilderAtEnd(e->b, done);
}
kdj_if kdj_if_begin(kdj_emit *e, LLVMValueRef cond) {
  LLVMBasicBlockRef then = LLVMAppendBasicBlockInContext(e->c, e->fn, "then"), done = LLVMAppendBasicBlockInContext(e->c, e->fn, "done");
  LLVMBuildCondBr(e->b, cond, then, done);
  LLVMPositionBuilderAtEnd(e->b, then);
  return (kdj_if){ done };
}
void kdj_if_end(kdj_emit *e, kdj_if *f) {
  LLVMBuildBr(e->b, f->done);
  LLVMPositionBuilderAtEnd(e->b, f->done);
}
