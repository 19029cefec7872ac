/* emit_elem.c: element-wise operators, value for value what elem_basic.c computes. */
#include "runtime/jit/emit.h"
#include <math.h>

static LLVMValueRef un(kdj_emit *e, const char *intrinsic, LLVMValueRef a) {
  LLVMTypeRef t = LLVMTypeOf(a);
  return kdj_call(e, intrinsic, &t, 1, &a, 1);
}
static LLVMValueRef zero(LLVMValueRef a) { return LLVMConstNull(LLVMTypeOf(a)); }
static LLVMValueRef choose(kdj_emit *e, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildSelect(e->b, c, a, b, ""); }
static LLVMValueRef fcmp(kdj_emit *e, LLVMRealPredicate p, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFCmp(e->b, p, a, b, ""); }
static LLVMValueRef icmp(kdj_emit *e, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildICmp(e->b, p, a, b, ""); }

static LLVMValueRef sign(kdj_emit *e, bool real, LLVMValueRef a) {
  LLVMTypeRef t = LLVMTypeOf(a);
  if (!real) return LLVMBuildSub(e->b, LLVMBuildZExt(e->b, icmp(e, LLVMIntSGT, a, zero(a)), t, ""), LLVMBuildZExt(e->b, icmp(e, LLVMIntSLT, a, zero(a)), t, ""), "");
  LLVMValueRef s = choose(e, fcmp(e, LLVMRealOGT, a, zero(a)), kdj_real(t, 1), choose(e, fcmp(e, LLVMRealOLT, a, zero(a)), kdj_real(t, -1), zero(a)));
  return choose(e, fcmp(e, LLVMRealUNO, a, a), a, s);
}

static LLVMValueRef unary(kdj_emit *e, const kd_group_ins *v, bool real, LLVMValueRef a) {
  LLVMTypeRef t = LLVMTypeOf(a);
  switch ((kd_op)v->op) {
    case KD_OP_NEG: return real ? LLVMBuildFNeg(e->b, a, "") : LLVMBuildNeg(e->b, a, "");
    case KD_OP_ABS: return real ? un(e, "llvm.fabs", a) : choose(e, icmp(e, LLVMIntSLT, a, zero(a)), LLVMBuildNeg(e->b, a, ""), a);
    case KD_OP_SIGN: return sign(e, real, a);
    case KD_OP_RELU: return choose(e, real ? fcmp(e, LLVMRealOLE, a, zero(a)) : icmp(e, LLVMIntSLT, a, zero(a)), zero(a), a);
    case KD_OP_ISFINITE: return fcmp(e, LLVMRealOLT, un(e, "llvm.fabs", a), kdj_real(t, INFINITY));
    case KD_OP_NOT: return LLVMBuildNot(e->b, a, "");
    case KD_OP_FLOOR: return un(e, "llvm.floor", a);
    case KD_OP_CEIL: return un(e, "llvm.ceil", a);
    case KD_OP_ROUND: return un(e, "llvm.rint", a);
    case KD_OP_SQRT: return un(e, "llvm.sqrt", a);
    case KD_OP_RSQRT: return LLVMBuildFDiv(e->b, kdj_real(t, 1), un(e, "llvm.sqrt", a), "");
    case KD_OP_RECIP: return LLVMBuildFDiv(e->b, kdj_real(t, 1), a, "");
    case KD_OP_STOP: return a;
    default: return kdj_emit_math(e, (kd_op)v->op, (kd_dtype)v->dtype, a, NULL);
  }
}

static LLVMValueRef cast(kdj_emit *e, kd_dtype from, kd_dtype to, LLVMValueRef a) {
  LLVMTypeRef t = kdj_like(e, kdj_type(e, to, false), a), over[2] = { t, LLVMTypeOf(a) };
  bool real = kd__dtype_real(from), real_to = kd__dtype_real(to);
  if (from == to) return a;
  if (to == KD_BOOL) return real ? fcmp(e, LLVMRealUNE, a, zero(a)) : icmp(e, LLVMIntNE, a, zero(a));
  if (from == KD_BOOL) return real_to ? LLVMBuildUIToFP(e->b, a, t, "") : LLVMBuildZExt(e->b, a, t, "");
  if (real && real_to) return to == KD_F64 ? LLVMBuildFPExt(e->b, a, t, "") : LLVMBuildFPTrunc(e->b, a, t, "");
  if (real) return kdj_call(e, to == KD_U8 ? "llvm.fptoui.sat" : "llvm.fptosi.sat", over, 2, &a, 1);
  if (real_to) return from == KD_U8 ? LLVMBuildUIToFP(e->b, a, t, "") : LLVMBuildSIToFP(e->b, a, t, "");
  return to == KD_U8 ? LLVMBuildTrunc(e->b, a, t, "") : LLVMBuildZExt(e->b, a, t, "");
}

/* The larger (or smaller); NaN if either is. */
static LLVMValueRef extreme(kdj_emit *e, bool max, bool real, LLVMValueRef a, LLVMValueRef b) {
  if (!real) return choose(e, icmp(e, max ? LLVMIntSGT : LLVMIntSLT, a, b), a, b);
  LLVMValueRef more = fcmp(e, max ? LLVMRealOGT : LLVMRealOLT, a, b), none = fcmp(e, LLVMRealUNO, a, a);
  return choose(e, none, a, choose(e, more, a, b));
}

/* Rounded down; a divisor of 0 gives 0 and is told; INT64_MIN / -1 would not fit, so -1 is apart. */
static LLVMValueRef floor_div(kdj_emit *e, uint32_t i, LLVMValueRef a, LLVMValueRef b, bool rem) {
  const kd_group_ins *v = &e->s->ins[i].v;
  LLVMTypeRef t = LLVMTypeOf(a);
  LLVMValueRef none = icmp(e, LLVMIntEQ, b, zero(b)), minus = icmp(e, LLVMIntEQ, b, kdj_whole(t, -1));
  kdj_report(e, i, v->axes, a, none);
  LLVMValueRef d = choose(e, LLVMBuildOr(e->b, none, minus, ""), kdj_whole(t, 1), b);
  LLVMValueRef q = LLVMBuildSDiv(e->b, a, d, ""), r = LLVMBuildSub(e->b, a, LLVMBuildMul(e->b, q, d, ""), "");
  LLVMValueRef other = icmp(e, LLVMIntSLT, LLVMBuildXor(e->b, a, d, ""), zero(a));
  LLVMValueRef low = LLVMBuildAnd(e->b, icmp(e, LLVMIntNE, r, zero(a)), other, "");
  LLVMValueRef out = rem ? choose(e, low, LLVMBuildAdd(e->b, r, d, ""), r) : LLVMBuildSub(e->b, q, LLVMBuildZExt(e->b, low, t, ""), "");
  out = choose(e, minus, rem ? zero(a) : LLVMBuildNeg(e->b, a, ""), out);
  return choose(e, none, zero(a), out);
}

/* In double for single precision: near a multiple of b the floor jumps. Nothing is fused: that would turn exact zeros into rounding errors. */
static LLVMValueRef remainder_of(kdj_emit *e, LLVMValueRef a, LLVMValueRef b) {
  LLVMTypeRef t = LLVMTypeOf(a), w = kdj_like(e, e->f64, a);
  if (t != w) a = LLVMBuildFPExt(e->b, a, w, ""), b = LLVMBuildFPExt(e->b, b, w, "");
  LLVMValueRef r = LLVMBuildFSub(e->b, a, LLVMBuildFMul(e->b, un(e, "llvm.floor", LLVMBuildFDiv(e->b, a, b, "")), b, ""), "");
  return t != w ? LLVMBuildFPTrunc(e->b, r, t, "") : r;
}

static LLVMValueRef compare(kdj_emit *e, kd_op op, kd_dtype t, LLVMValueRef a, LLVMValueRef b) {
  bool real = kd__dtype_real(t), plain = t == KD_BOOL || t == KD_U8;
  switch (op) {
    case KD_OP_EQ: return real ? fcmp(e, LLVMRealOEQ, a, b) : icmp(e, LLVMIntEQ, a, b);
    case KD_OP_NE: return real ? fcmp(e, LLVMRealUNE, a, b) : icmp(e, LLVMIntNE, a, b);
    case KD_OP_LT: return real ? fcmp(e, LLVMRealOLT, a, b) : icmp(e, plain ? LLVMIntULT : LLVMIntSLT, a, b);
    default: return real ? fcmp(e, LLVMRealOLE, a, b) : icmp(e, plain ? LLVMIntULE : LLVMIntSLE, a, b);
  }
}

static LLVMValueRef binary(kdj_emit *e, uint32_t i, kd_dtype t, LLVMValueRef a, LLVMValueRef b) {
  const kd_group_ins *v = &e->s->ins[i].v;
  bool real = kd__dtype_real(t);
  switch ((kd_op)v->op) {
    case KD_OP_ADD: return real ? LLVMBuildFAdd(e->b, a, b, "") : LLVMBuildAdd(e->b, a, b, "");
    case KD_OP_SUB: return real ? LLVMBuildFSub(e->b, a, b, "") : LLVMBuildSub(e->b, a, b, "");
    case KD_OP_MUL: return real ? LLVMBuildFMul(e->b, a, b, "") : LLVMBuildMul(e->b, a, b, "");
    case KD_OP_DIV: return LLVMBuildFDiv(e->b, a, b, "");
    case KD_OP_IDIV: return floor_div(e, i, a, b, false);
    case KD_OP_REM: return real ? remainder_of(e, a, b) : floor_div(e, i, a, b, true);
    case KD_OP_MAX: case KD_OP_MIN: return extreme(e, v->op == KD_OP_MAX, real, a, b);
    case KD_OP_EQ: case KD_OP_NE: case KD_OP_LT: case KD_OP_LE: return compare(e, (kd_op)v->op, t, a, b);
    case KD_OP_AND: return LLVMBuildAnd(e->b, a, b, "");
    case KD_OP_OR: return LLVMBuildOr(e->b, a, b, "");
    default: return kdj_emit_math(e, (kd_op)v->op, t, a, b);
  }
}

LLVMValueRef kdj_emit_elem(kdj_emit *e, uint32_t i) {
  const kdj_ins *p = &e->s->ins[i];
  LLVMValueRef in[3] = { NULL };
  bool vec = false;
  for (uint32_t k = 0; k < p->nops; k++) in[k] = e->val[p->v.in[k]], vec |= kdj_is_vec(in[k]);
  for (uint32_t k = 0; vec && k < p->nops; k++) in[k] = kdj_splat(e, in[k]);
  kd_dtype t = (kd_dtype)e->s->ins[p->v.in[0]].v.dtype;
  if (p->v.op == KD_OP_WHERE) return LLVMBuildSelect(e->b, in[0], in[1], in[2], "");
  if (p->v.op == KD_OP_CAST) return cast(e, t, (kd_dtype)p->v.dtype, in[0]);
  return p->nops == 1 ? unary(e, &p->v, kd__dtype_real(t), in[0]) : binary(e, i, t, in[0], in[1]);
}
