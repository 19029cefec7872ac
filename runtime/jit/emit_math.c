/* emit_math.c: special functions of single precision as IR, branch-free: the reductions and polynomials of runtime/kernels/vmath.h, which see.
 * Errors are those of docs/kernels.md, at most 2 units in the last place; sine, cosine and powers go by way of double precision. */
#include "runtime/jit/emit.h"
#include <math.h>

typedef struct mx { kdj_emit *e; LLVMTypeRef t, ti, td; } mx;    /* the real type at hand, integers of its width, doubles of its shape */
typedef LLVMValueRef V;

static mx math(kdj_emit *e, V a) { return (mx){ e, LLVMTypeOf(a), kdj_like(e, e->i32, a), kdj_like(e, e->f64, a) }; }
static V k(const mx *m, double v) { return kdj_real(m->t, v); }
static V ki(const mx *m, int64_t v) { return kdj_whole(m->ti, v); }
static V add(const mx *m, V a, V b) { return LLVMBuildFAdd(m->e->b, a, b, ""); }
static V sub(const mx *m, V a, V b) { return LLVMBuildFSub(m->e->b, a, b, ""); }
static V mul(const mx *m, V a, V b) { return LLVMBuildFMul(m->e->b, a, b, ""); }
static V quo(const mx *m, V a, V b) { return LLVMBuildFDiv(m->e->b, a, b, ""); }
static V neg(const mx *m, V a) { return LLVMBuildFNeg(m->e->b, a, ""); }
static V sel(const mx *m, V c, V a, V b) { return LLVMBuildSelect(m->e->b, c, a, b, ""); }
static V cmp(const mx *m, LLVMRealPredicate p, V a, V b) { return LLVMBuildFCmp(m->e->b, p, a, b, ""); }
static V bits(const mx *m, V a) { return LLVMBuildBitCast(m->e->b, a, m->ti, ""); }
static V real(const mx *m, V a) { return LLVMBuildBitCast(m->e->b, a, m->t, ""); }
static V iadd(const mx *m, V a, V b) { return LLVMBuildAdd(m->e->b, a, b, ""); }
static V isub(const mx *m, V a, V b) { return LLVMBuildSub(m->e->b, a, b, ""); }
static V shl(const mx *m, V a, int n) { return LLVMBuildShl(m->e->b, a, ki(m, n), ""); }
static V fma1(const mx *m, V a, V b, V c) { return kdj_fma(m->e, a, b, c); }
static V call1(const mx *m, const char *f, V a) {
  LLVMTypeRef t = LLVMTypeOf(a);
  return kdj_call(m->e, f, &t, 1, &a, 1);
}
static V call2(const mx *m, const char *f, V a, V b) {
  LLVMTypeRef t = LLVMTypeOf(a);
  V arg[2] = { a, b };
  return kdj_call(m->e, f, &t, 1, arg, 2);
}
static V absolute(const mx *m, V a) { return call1(m, "llvm.fabs", a); }

V kdj_fma(kdj_emit *e, V a, V b, V c) {
  LLVMTypeRef t = LLVMTypeOf(a);
  V arg[3] = { a, b, c };
  return kdj_call(e, "llvm.fmuladd", &t, 1, arg, 3);
}
/* ((c0 x + c1) x + c2) ... */
static V poly(const mx *m, V x, const double *c, int n) {
  V p = k(m, c[0]);
  for (int i = 1; i < n; i++) p = fma1(m, p, x, k(m, c[i]));
  return p;
}

/* --- exponentials --------------------------------------------------------------------------------------------------------------------------- */
static const double exp_poly[] = { 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1 };
/* n as a number and as an integer, and r = x - n log 2. */
static V reduce(const mx *m, V x, V *n_bits, V *number) {
  V t = fma1(m, x, k(m, 1.44269504088896341), k(m, 12582912.0)), n = sub(m, t, k(m, 12582912.0));
  V r = fma1(m, n, k(m, -0.693359375), x);
  *number = n;
  *n_bits = isub(m, bits(m, t), ki(m, 0x4b400000));
  return fma1(m, n, k(m, 2.12194440e-4), r);
}
static V held(const mx *m, V x, double lo, double hi) {
  x = sel(m, cmp(m, LLVMRealOGT, x, k(m, hi)), k(m, hi), x);
  return sel(m, cmp(m, LLVMRealOLT, x, k(m, lo)), k(m, lo), x);
}
/* Lanes from..from+n-1; what is beyond the last is anything. */
static V part_of(const mx *m, V a, unsigned from, unsigned n) {
  V lane[KDJ_MAX_LANES];
  for (unsigned j = 0; j < n; j++) lane[j] = from + j < LLVMGetVectorSize(LLVMTypeOf(a)) ? LLVMConstInt(m->e->i32, from + j, false) : LLVMGetUndef(m->e->i32);
  return LLVMBuildShuffleVector(m->e->b, a, LLVMGetUndef(LLVMTypeOf(a)), LLVMConstVector(lane, n), "");
}
static V joined(const mx *m, V lo, V hi) {
  unsigned lanes = 2 * LLVMGetVectorSize(LLVMTypeOf(lo));
  V lane[KDJ_MAX_LANES];
  for (unsigned j = 0; j < lanes; j++) lane[j] = LLVMConstInt(m->e->i32, j, false);
  return LLVMBuildShuffleVector(m->e->b, lo, hi, LLVMConstVector(lane, lanes), "");
}
/* a 2^n in one instruction, a vector of the processor at a time. */
static V scaled(const mx *m, V a, V n) {
  unsigned lanes = LLVMGetVectorSize(LLVMTypeOf(a)), half = lanes / 2;
  if (lanes > 16) return joined(m, scaled(m, part_of(m, a, 0, half), part_of(m, n, 0, half)), scaled(m, part_of(m, a, half, half), part_of(m, n, half, half)));
  LLVMTypeRef mask = lanes == 16 ? LLVMInt16TypeInContext(m->e->c) : m->e->i8;
  V arg[5] = { a, n, LLVMGetUndef(LLVMTypeOf(a)), LLVMConstAllOnes(mask), LLVMConstInt(m->e->i32, 4, false) };
  const char *name = lanes == 16 ? "llvm.x86.avx512.mask.scalef.ps.512" : lanes == 8 ? "llvm.x86.avx512.mask.scalef.ps.256" : "llvm.x86.avx512.mask.scalef.ps.128";
  return kdj_call(m->e, name, NULL, 0, arg, lanes == 16 ? 5 : 4);
}
/* --- tables of 16 numbers ---------------------------------------------------------------------------------------------------------------------- */
static V in_register(const mx *m, const double *of, unsigned n) {
  V lane[16];
  for (unsigned j = 0; j < n; j++) lane[j] = LLVMConstReal(m->e->f32, of[j]);
  return LLVMConstVector(lane, n);
}
/* Sixteen lanes by one permutation of the table, or eight by two and a choice. */
static V permuted(const mx *m, const double *of, V at) {
  unsigned lanes = LLVMGetVectorSize(LLVMTypeOf(at)), whole = m->e->scales ? 16 : 8;
  if (lanes > whole) return joined(m, permuted(m, of, part_of(m, at, 0, lanes / 2)), permuted(m, of, part_of(m, at, lanes / 2, lanes / 2)));
  if (lanes < whole) return part_of(m, permuted(m, of, part_of(m, at, 0, whole)), 0, lanes);
  V arg[2] = { in_register(m, of, whole), at };
  if (m->e->scales) return kdj_call(m->e, "llvm.x86.avx512.permvar.sf.512", NULL, 0, arg, 2);
  V low = kdj_call(m->e, "llvm.x86.avx2.permps", NULL, 0, arg, 2), eight = kdj_whole(LLVMTypeOf(at), 8);
  arg[0] = in_register(m, of + 8, 8);
  V high = kdj_call(m->e, "llvm.x86.avx2.permps", NULL, 0, arg, 2);
  return sel(m, LLVMBuildICmp(m->e->b, LLVMIntEQ, LLVMBuildAnd(m->e->b, at, eight, ""), eight, ""), high, low);
}
/* The entry that the last four bits of an integer name. */
static V looked(const mx *m, const double of[16], V at) {
  bool vec = kdj_is_vec(at);
  if (vec && m->e->looks) return permuted(m, of, at);
  at = LLVMBuildAnd(m->e->b, at, ki(m, 15), "");
  V table = in_register(m, of, 16), out = LLVMGetUndef(m->t);
  if (!vec) return LLVMBuildExtractElement(m->e->b, table, at, "");
  for (unsigned j = 0; j < LLVMGetVectorSize(m->t); j++) {
    V lane = LLVMConstInt(m->e->i32, j, false), v = LLVMBuildExtractElement(m->e->b, table, LLVMBuildExtractElement(m->e->b, at, lane, ""), "");
    out = LLVMBuildInsertElement(m->e->b, out, v, lane, "");
  }
  return out;
}

/* `low`: if not NULL, what the result lacks by rounding. */
static V expf_low(const mx *m, V x, V *low) {
  V n, number, r = reduce(m, held(m, x, -104.5, 89.0), &n, &number);
  V s = fma1(m, poly(m, r, exp_poly, 6), mul(m, r, r), r), p = add(m, s, k(m, 1));
  if (m->e->scales && kdj_is_vec(x) && LLVMGetVectorSize(m->t) >= 4) {
    if (low) *low = scaled(m, sub(m, s, sub(m, p, k(m, 1))), number);
    return scaled(m, p, number);
  }
  V h = LLVMBuildAShr(m->e->b, n, ki(m, 1), ""), half[2] = { real(m, shl(m, iadd(m, h, ki(m, 127)), 23)), real(m, shl(m, iadd(m, isub(m, n, h), ki(m, 127)), 23)) };
  if (low) *low = mul(m, mul(m, sub(m, s, sub(m, p, k(m, 1))), half[0]), half[1]);
  return mul(m, mul(m, p, half[0]), half[1]);
}
static V expf_of(const mx *m, V x) { return expf_low(m, x, NULL); }
static V expm1f_of(const mx *m, V x) {
  V n, number, r = reduce(m, held(m, x, -30.0, 89.0), &n, &number);
  V p = fma1(m, poly(m, r, exp_poly, 6), mul(m, r, r), r);
  V s = real(m, shl(m, iadd(m, n, ki(m, 126)), 23));
  return mul(m, fma1(m, s, p, sub(m, s, k(m, 0.5))), k(m, 2));
}

/* --- logarithms ------------------------------------------------------------------------------------------------------------------------------ */
static V log_core(const mx *m, V f, V e, V low) {
  V s = quo(m, f, add(m, k(m, 2), f)), z = mul(m, s, s), w = mul(m, z, z);
  V t1 = mul(m, w, fma1(m, w, k(m, 0.24279078841), k(m, 0.40000972152))), t2 = mul(m, z, fma1(m, w, k(m, 0.28498786688), k(m, 0.66666662693)));
  V h = mul(m, mul(m, k(m, 0.5), f), f);
  V small = fma1(m, e, k(m, 9.0580006145e-6), low);
  V r = sub(m, fma1(m, s, add(m, h, add(m, t1, t2)), small), h);
  return fma1(m, e, k(m, 6.9313812256e-1), add(m, r, f));
}
static V mantissa(const mx *m, V x, V *e) {
  V u = isub(m, bits(m, x), ki(m, 0x3f3504f3));
  *e = LLVMBuildAShr(m->e->b, u, ki(m, 23), "");
  return sub(m, real(m, iadd(m, LLVMBuildAnd(m->e->b, u, ki(m, 0x7fffff), ""), ki(m, 0x3f3504f3))), k(m, 1));
}
static V to_real(const mx *m, V i) { return LLVMBuildSIToFP(m->e->b, i, m->t, ""); }
static V logf_of(const mx *m, V x) {
  V tiny = cmp(m, LLVMRealOLT, x, k(m, 1.17549435e-38)), e;
  V f = mantissa(m, sel(m, tiny, mul(m, x, k(m, 8388608.0)), x), &e);
  V r = log_core(m, f, to_real(m, sel(m, tiny, isub(m, e, ki(m, 23)), e)), k(m, 0));
  r = sel(m, cmp(m, LLVMRealOGT, x, k(m, 3.4028234e38)), x, r);
  r = sel(m, cmp(m, LLVMRealOEQ, x, k(m, 0)), k(m, -INFINITY), r);
  r = sel(m, cmp(m, LLVMRealOLT, x, k(m, 0)), k(m, NAN), r);
  return sel(m, cmp(m, LLVMRealUNO, x, x), x, r);
}
static V log1pf_of(const mx *m, V x) {
  V v = add(m, k(m, 1), x), e, f = mantissa(m, v, &e);
  V lost = sel(m, cmp(m, LLVMRealOGT, v, k(m, 2)), sub(m, k(m, 1), sub(m, v, x)), sub(m, x, sub(m, v, k(m, 1))));
  V whole = LLVMBuildICmp(m->e->b, LLVMIntEQ, e, ki(m, 0), "");
  f = sel(m, whole, x, f);
  V r = log_core(m, f, to_real(m, e), sel(m, whole, k(m, 0), quo(m, lost, v)));
  r = sel(m, cmp(m, LLVMRealOGT, x, k(m, 3.4028234e38)), x, r);
  r = sel(m, cmp(m, LLVMRealOEQ, x, k(m, -1)), k(m, -INFINITY), r);
  r = sel(m, cmp(m, LLVMRealOLT, x, k(m, -1)), k(m, NAN), r);
  r = sel(m, cmp(m, LLVMRealOEQ, x, k(m, 0)), x, r);
  return sel(m, cmp(m, LLVMRealUNO, x, x), x, r);
}

/* --- the others ------------------------------------------------------------------------------------------------------------------------------ */
static V tanhf_of(const mx *m, V x) {
  static const double c[] = { -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1 };
  V a = absolute(m, x), z = mul(m, x, x), small = fma1(m, mul(m, poly(m, z, c, 5), z), x, x);
  V big = sub(m, k(m, 1), quo(m, k(m, 2), add(m, expf_of(m, mul(m, k(m, 2), a)), k(m, 1))));
  return sel(m, cmp(m, LLVMRealOLT, a, k(m, 0.625)), small, call2(m, "llvm.copysign", big, x));
}
static V sigmoidf_of(const mx *m, V x) {
  V low, e = expf_low(m, neg(m, absolute(m, x)), &low), below = cmp(m, LLVMRealOLT, x, k(m, 0));
  V d = add(m, k(m, 1), e), lost = add(m, sub(m, e, sub(m, d, k(m, 1))), low);
  V top = sel(m, below, e, k(m, 1)), one = quo(m, k(m, 1), d), q = mul(m, top, one);
  V rest = add(m, fma1(m, neg(m, q), d, top), sel(m, below, low, k(m, 0)));        /* what the quotient leaves, with what both sides lack */
  return fma1(m, fma1(m, neg(m, q), lost, rest), one, q);
}
static V softplusf_of(const mx *m, V x) {
  V high = sel(m, cmp(m, LLVMRealOGT, x, k(m, 0)), x, k(m, 0));
  return add(m, high, log1pf_of(m, expf_of(m, neg(m, absolute(m, x)))));
}
/* A polynomial about the nearest quarter, whose coefficients are picked from tables; within 1/8 of 0 it starts from x itself, so that no digits are lost.
 * From 3.875 on it is 1. */
static V erff_of(const mx *m, V a) {
  static const double c[6][16] = {
    { 0.111086987, 0.0808863267, 0.00826436374, -0.0522019751, -0.0690437928, -0.0469960384, -0.014903238, 0.00651265914, 0.0130251832, 0.0106461644,
      0.00612781616, 0.00277121342, 0.0010255879, 0.000317808008, 8.34922757e-05, 1.87547921e-05 },
    { 0.00025816905, 0.126076803, 0.182121187, 0.150669158, 0.068851538, -0.00528682955, -0.0436144806, -0.047405906, -0.0337126255, -0.0185432583,
      -0.00961911585, -0.00299377157, -0.00180781202, 7.47569939e-05, 0.000840475666, -0.000243507267 },
    { -0.376139551, -0.309191763, -0.146478713, 0.026777016, 0.138370663, 0.1675338, 0.138751432, 0.0901575536, 0.0482231416, 0.0217245687,
      0.00835005753, 0.00276030554, 0.000789054786, 0.000195788642, 4.22882767e-05, 1.15516159e-05 },
    { 2.25196956e-07, -0.264998764, -0.439388335, -0.482204586, -0.415101171, -0.29565987, -0.178406119, -0.0923649371, -0.041345302, -0.0160793662,
      -0.00543081248, -0.00161679974, -0.000406006497, -0.00010057717, -3.31137308e-05, 1.06399818e-06 },
    { 0.128379166, 1.06001425, 0.87878263, 0.642931104, 0.415107489, 0.236521125, 0.118930288, 0.0527749956, 0.0206669867, 0.00714231934,
      0.00217828411, 0.000586277281, 0.000139253054, 2.91890265e-05, 5.39942675e-06, 9.37432162e-07 },
    { 0, 0.276326388, 0.520499885, 0.711155653, 0.842700779, 0.92290014, 0.966105163, 0.986671686, 0.995322287, 0.998537302, 0.999593019,
      0.999899387, 0.999977887, 0.999995708, 0.999999285, 0.999999881 } };
  V t = absolute(m, a);
  t = sel(m, cmp(m, LLVMRealOGT, t, k(m, 3.87499976)), k(m, 3.87499976), t);
  V w = add(m, t, k(m, 3145728.0)), h = sub(m, t, sub(m, w, k(m, 3145728.0))), place = bits(m, w), q = looked(m, c[0], place);      /* 1.5 * 2^21 */
  for (int i = 1; i < 5; i++) q = fma1(m, q, h, looked(m, c[i], place));
  return call2(m, "llvm.copysign", fma1(m, q, h, sel(m, cmp(m, LLVMRealOLE, t, k(m, 0.125)), h, looked(m, c[5], place))), a);
}

/* --- through functions over runs -------------------------------------------------------------------------------------------------------------- */
V kdj_helped(kdj_emit *e, kdj_helper h, V a, V b) {
  LLVMTypeRef t = LLVMTypeOf(a), arg_type[3] = { e->ptr, e->ptr, e->i64 };
  V pa = kdj_alloca(e, t), pb = b ? kdj_alloca(e, t) : pa;
  LLVMBuildStore(e->b, a, pa);
  if (b) LLVMBuildStore(e->b, b, pb);
  V f = LLVMBuildLoad2(e->b, e->ptr, kdj_gep(e, e->ptr, e->helpers, kdj_int(e, h)), "");
  V arg[3] = { pa, pb, kdj_int(e, kdj_is_vec(a) ? LLVMGetVectorSize(t) : 1) };
  LLVMBuildCall2(e->b, LLVMFunctionType(LLVMVoidTypeInContext(e->c), arg_type, 3, false), f, arg, 3, "");
  return LLVMBuildLoad2(e->b, t, pa, "");
}

/* Does any lane that counts hold? */
static V any_lane(kdj_emit *e, V c) {
  if (!kdj_is_vec(c)) return c;
  if (e->mask) c = LLVMBuildAnd(e->b, c, e->mask, "");
  LLVMTypeRef t = LLVMIntTypeInContext(e->c, e->lanes);
  return LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildBitCast(e->b, c, t, ""), LLVMConstNull(t), "");
}

/* Sine and cosine: x less a multiple of pi/2 in double precision, then the polynomials of fdlibm's kernels. Beyond 1e5 the library's. */
static V trig(kdj_emit *e, bool cosine, V x) {
  static const double s_poly[] = { 2.7183114939898219064e-6, -1.98393348360966317347e-4, 8.3333293858894631756e-3, -0.166666666416265235595 };
  static const double c_poly[] = { 2.43904487962774090654e-5, -1.38867637746099294692e-3, 4.16666233237390631894e-2, -0.499999997251031003120 };
  mx s = math(e, x), d = { e, s.td, kdj_like(e, e->i64, x), s.td };
  V w = LLVMBuildFPExt(e->b, x, s.td, ""), magic = k(&d, 6755399441055744.0);                 /* 1.5 * 2^52 */
  V t = add(&d, mul(&d, w, k(&d, 0.63661977236758134308)), magic), n = sub(&d, t, magic);
  V r = sub(&d, sub(&d, w, mul(&d, n, k(&d, 1.57079631090164184570e+00))), mul(&d, n, k(&d, 1.58932547735281966916e-08)));
  V quarter = LLVMBuildBitCast(e->b, t, d.ti, "");
  if (cosine) quarter = iadd(&d, quarter, ki(&d, 1));
  V z = mul(&d, r, r);
  V sine = fma1(&d, mul(&d, poly(&d, z, s_poly, 4), z), r, r), cosi = fma1(&d, poly(&d, z, c_poly, 4), z, k(&d, 1));
  V odd = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, quarter, ki(&d, 1), ""), ki(&d, 0), "");
  V minus = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, quarter, ki(&d, 2), ""), ki(&d, 0), "");
  V v = sel(&d, odd, cosi, sine), out = LLVMBuildFPTrunc(e->b, sel(&d, minus, neg(&d, v), v), s.t, "");
  if (!cosine) out = sel(&s, cmp(&s, LLVMRealOEQ, x, k(&s, 0)), x, out);
  V place = kdj_alloca(e, s.t);
  LLVMBuildStore(e->b, out, place);
  kdj_if far = kdj_if_begin(e, any_lane(e, LLVMBuildNot(e->b, cmp(&s, LLVMRealOLE, absolute(&s, x), k(&s, 1e5)), "")));
  LLVMBuildStore(e->b, kdj_helped(e, cosine ? KDJ_COSF : KDJ_SINF, x, NULL), place);
  kdj_if_end(e, &far);
  return LLVMBuildLoad2(e->b, s.t, place, "");
}

/* A power of positive normal numbers whose result is a normal number: 2^(b log2 a) in double precision. All else is the library's. */
static V power(kdj_emit *e, V a, V b) {
  mx s = math(e, a), d = { e, s.td, kdj_like(e, e->i64, a), s.td };
  if (LLVMIsConstant(b) && b == k(&s, 2)) return mul(&s, a, a);
  V e2, w = LLVMBuildFPExt(e->b, a, s.td, ""), u = isub(&d, LLVMBuildBitCast(e->b, w, d.ti, ""), ki(&d, 0x3fe6a09e667f3bcdll));
  e2 = LLVMBuildAShr(e->b, u, ki(&d, 52), "");
  V man = LLVMBuildBitCast(e->b, iadd(&d, LLVMBuildAnd(e->b, u, ki(&d, 0xfffffffffffffll), ""), ki(&d, 0x3fe6a09e667f3bcdll)), s.td, "");
  /* log2 m = 2 / ln 2 atanh((m - 1) / (m + 1)), the argument below 0.172: 10 terms leave 1e-17 */
  static const double at[] = { 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0 };
  V q = quo(&d, sub(&d, man, k(&d, 1)), add(&d, man, k(&d, 1)));
  V log2a = fma1(&d, mul(&d, poly(&d, mul(&d, q, q), at, 10), q), k(&d, 2.88539008177792681472), LLVMBuildSIToFP(e->b, LLVMBuildTrunc(e->b, e2, s.ti, ""), s.td, ""));
  V y = mul(&d, log2a, LLVMBuildFPExt(e->b, b, s.td, "")), magic = k(&d, 6755399441055744.0);
  V inside = LLVMBuildAnd(e->b, cmp(&d, LLVMRealOLT, absolute(&d, y), k(&d, 126)),
                          LLVMBuildAnd(e->b, cmp(&s, LLVMRealOGE, a, k(&s, 1.17549435e-38)), cmp(&s, LLVMRealOLT, a, k(&s, INFINITY)), ""), "");
  y = held(&d, y, -126, 126);
  V t = add(&d, y, magic), f = mul(&d, sub(&d, y, sub(&d, t, magic)), k(&d, 0.69314718055994530942));
  static const double ex[] = { 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1 };
  V scale = LLVMBuildBitCast(e->b, LLVMBuildShl(e->b, iadd(&d, LLVMBuildBitCast(e->b, t, d.ti, ""), ki(&d, 1023)), ki(&d, 52), ""), s.td, "");
  V place = kdj_alloca(e, s.t);
  LLVMBuildStore(e->b, LLVMBuildFPTrunc(e->b, mul(&d, poly(&d, f, ex, 9), scale), s.t, ""), place);
  kdj_if rare = kdj_if_begin(e, any_lane(e, LLVMBuildNot(e->b, inside, "")));
  LLVMBuildStore(e->b, kdj_helped(e, KDJ_POWF, a, b), place);
  kdj_if_end(e, &rare);
  return LLVMBuildLoad2(e->b, s.t, place, "");
}

static V single(kdj_emit *e, kd_op op, V a, V b) {
  mx m = math(e, a);
  switch (op) {
    case KD_OP_EXP: return expf_of(&m, a);
    case KD_OP_EXPM1: return expm1f_of(&m, a);
    case KD_OP_LOG: return logf_of(&m, a);
    case KD_OP_LOG1P: return log1pf_of(&m, a);
    case KD_OP_TANH: return tanhf_of(&m, a);
    case KD_OP_SIGMOID: return sigmoidf_of(&m, a);
    case KD_OP_SOFTPLUS: return softplusf_of(&m, a);
    case KD_OP_ERF: return erff_of(&m, a);
    case KD_OP_SIN: case KD_OP_COS: return trig(e, op == KD_OP_COS, a);
    case KD_OP_XLOGY: return sel(&m, cmp(&m, LLVMRealOEQ, a, k(&m, 0)), k(&m, 0), mul(&m, a, logf_of(&m, b)));
    case KD_OP_POW: return power(e, a, b);
    default: return NULL;
  }
}

V kdj_emit_math(kdj_emit *e, kd_op op, kd_dtype t, V a, V b) {
  if (t == KD_F32) return single(e, op, a, b);
  switch (op) {
    case KD_OP_EXP: return kdj_helped(e, KDJ_EXP, a, b);
    case KD_OP_EXPM1: return kdj_helped(e, KDJ_EXPM1, a, b);
    case KD_OP_LOG: return kdj_helped(e, KDJ_LOG, a, b);
    case KD_OP_LOG1P: return kdj_helped(e, KDJ_LOG1P, a, b);
    case KD_OP_SIN: return kdj_helped(e, KDJ_SIN, a, b);
    case KD_OP_COS: return kdj_helped(e, KDJ_COS, a, b);
    case KD_OP_TANH: return kdj_helped(e, KDJ_TANH, a, b);
    case KD_OP_SIGMOID: return kdj_helped(e, KDJ_SIGMOID, a, b);
    case KD_OP_SOFTPLUS: return kdj_helped(e, KDJ_SOFTPLUS, a, b);
    case KD_OP_ERF: return kdj_helped(e, KDJ_ERF, a, b);
    case KD_OP_POW: return kdj_helped(e, KDJ_POW, a, b);
    case KD_OP_XLOGY: return kdj_helped(e, KDJ_XLOGY, a, b);
    default: return NULL;
  }
}
