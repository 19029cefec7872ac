/* emit.h: LLVM IR for a group. Vectors are written out as such; nothing is left to an auto-vectoriser. */
#ifndef KD_JIT_EMIT_H
#define KD_JIT_EMIT_H
#include <llvm-c/Core.h>
#include "runtime/jit/shape.h"

/* A reduction while its nest is walked. Loops deeper than `home` are reduced: there it is held in `lo`, in the values' own type; sums of many
 * elements go on to `hi`, in double precision, when the innermost loop ends or a strip of it. */
typedef struct kdj_acc {
  uint32_t ins, x, home;                         /* the reduction; its operand */
  kd_op op;                                      /* how it adds up */
  bool vec, across;                              /* its operand has lanes; they are reduced too */
  bool joins;                                    /* what it has so far stands in its buffer */
  bool along, whole, rounds;                     /* final: results lie along the lanes, or there is but one; lo goes to hi */
  int32_t final;                                 /* or -1 */
  bool aside;                                    /* of a spread: the sum of distances from the mean, which rounding leaves */
  LLVMValueRef lo[KDJ_WAYS], hi[KDJ_WAYS];
} kdj_acc;

typedef struct kdj_emit {
  const kdj_shape *s;
  LLVMContextRef c;
  LLVMModuleRef m;
  LLVMBuilderRef b;
  LLVMValueRef fn, args, begin, end, slot, lane, scratch, helpers;
  LLVMBasicBlockRef entry;
  bool scales, looks;                            /* the processor multiplies by powers of two; permutes eight numbers or more */
  LLVMTypeRef i1, i8, i32, i64, f32, f64, ptr;
  uint32_t lanes, active;                        /* of a vector; those that count: fewer in the last one */
  LLVMValueRef mask;                             /* NULL: all */
  LLVMValueRef *val;                             /* of instructions, where the builder stands */
  LLVMValueRef *base;                            /* of operands: the pointer for this outer point, without the vectors' axis */
  LLVMValueRef at[KD_GROUP_AXES];                /* the position along each axis; of the vectors' axis: of lane 0 */
  LLVMValueRef row, aside;
  uint32_t ways, w;                              /* rows side by side, and the one at hand: what of the above is its own stands in `way` */
  struct { LLVMValueRef *val, *base, at[KD_GROUP_AXES], row, aside; } way[KDJ_WAYS];
  uint8_t *asked;                                /* of instructions: the ways for whose next rows the caches were asked */
  LLVMValueRef *fin[3];                          /* of final reductions with one result: the chunk's part so far */
  KD_VEC(kdj_acc) acc;                           /* of the nest at hand */
  kd__arena *a;
} kdj_emit;

/* The functions over runs that kd_jit_args.helper holds: of n values at p (and q), in place. */
typedef enum kdj_helper { KDJ_EXP, KDJ_EXPM1, KDJ_LOG, KDJ_LOG1P, KDJ_SIN, KDJ_COS, KDJ_TANH, KDJ_SIGMOID, KDJ_SOFTPLUS, KDJ_ERF, KDJ_POW, KDJ_XLOGY,
                          KDJ_SINF, KDJ_COSF, KDJ_POWF, KDJ_HELPERS } kdj_helper;
extern const void *const kdj_helper_table[KDJ_HELPERS];

LLVMValueRef kdj_emit_function(kdj_emit *e, const kdj_shape *s, const char *name);

/* --- small things (emit_base.c) */
LLVMTypeRef kdj_type(const kdj_emit *e, kd_dtype t, bool vec);         /* of values: bool is i1 */
LLVMTypeRef kdj_stored(const kdj_emit *e, kd_dtype t, bool vec);       /* of memory: bool is i8 */
LLVMTypeRef kdj_like(const kdj_emit *e, LLVMTypeRef scalar, LLVMValueRef shape);        /* scalar or vector, as `shape` is */
LLVMValueRef kdj_int(const kdj_emit *e, int64_t v);
LLVMValueRef kdj_real(LLVMTypeRef t, double v);  /* also of vectors: all lanes */
LLVMValueRef kdj_whole(LLVMTypeRef t, int64_t v);
LLVMValueRef kdj_splat(kdj_emit *e, LLVMValueRef v);                   /* of e->lanes; a vector stays */
bool kdj_is_vec(LLVMValueRef v);
LLVMValueRef kdj_alloca(kdj_emit *e, LLVMTypeRef t);                   /* at the function's entry */
LLVMValueRef kdj_call(kdj_emit *e, const char *intrinsic, LLVMTypeRef *over, unsigned nover, LLVMValueRef *arg, unsigned n);
LLVMValueRef kdj_gep(kdj_emit *e, LLVMTypeRef t, LLVMValueRef p, LLVMValueRef i);
LLVMValueRef kdj_load(kdj_emit *e, LLVMTypeRef t, LLVMValueRef p, LLVMValueRef pass);   /* masked where e->mask is set and t is a vector */
void kdj_store(kdj_emit *e, LLVMValueRef v, LLVMValueRef p);
LLVMValueRef kdj_lanes(kdj_emit *e);             /* 0, 1, 2 ... in i64 */
LLVMValueRef kdj_bool(kdj_emit *e, LLVMValueRef v);                    /* i8 to i1 */
LLVMValueRef kdj_byte(kdj_emit *e, LLVMValueRef v);                    /* i1 to i8 */

typedef struct kdj_loop { LLVMBasicBlockRef body, done; LLVMValueRef i, phi, to, step; bool once; } kdj_loop;
kdj_loop kdj_loop_begin(kdj_emit *e, LLVMValueRef from, LLVMValueRef to, int64_t step);    /* runs at least once */
void kdj_loop_end(kdj_emit *e, kdj_loop *l);
typedef struct kdj_if { LLVMBasicBlockRef done; } kdj_if;
kdj_if kdj_if_begin(kdj_emit *e, LLVMValueRef cond);
void kdj_if_end(kdj_emit *e, kdj_if *f);

/* --- memory (emit_mem.c) */
LLVMValueRef kdj_emit_load(kdj_emit *e, uint32_t i);
LLVMValueRef kdj_emit_gather(kdj_emit *e, uint32_t i);
void kdj_emit_check(kdj_emit *e, uint32_t i);
void kdj_emit_store(kdj_emit *e, uint32_t i);
LLVMValueRef kdj_buffer_load(kdj_emit *e, uint32_t i);
void kdj_buffer_store(kdj_emit *e, uint32_t i, LLVMValueRef v);
LLVMValueRef kdj_report(kdj_emit *e, uint32_t i, uint32_t domain, LLVMValueRef index, LLVMValueRef bad);

/* --- element-wise operators (emit_elem.c, emit_math.c) */
LLVMValueRef kdj_emit_elem(kdj_emit *e, uint32_t i);
LLVMValueRef kdj_emit_math(kdj_emit *e, kd_op op, kd_dtype t, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef kdj_fma(kdj_emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);      /* fused where the CPU can */
LLVMValueRef kdj_helped(kdj_emit *e, kdj_helper h, LLVMValueRef a, LLVMValueRef b);

/* --- reductions (emit_reduce.c) */
void kdj_acc_open(kdj_emit *e, const kdj_nest *n);
void kdj_acc_clear(kdj_emit *e);                 /* a place in the buffers of those that join there */
void kdj_acc_enter(kdj_emit *e, uint32_t depth);
void kdj_acc_point(kdj_emit *e, uint32_t ins);
void kdj_acc_round(kdj_emit *e);
void kdj_acc_leave(kdj_emit *e, uint32_t depth);
bool kdj_acc_strips(const kdj_emit *e);
LLVMValueRef kdj_once(kdj_emit *e, uint32_t axes);
void kdj_final_open(kdj_emit *e);
void kdj_final_close(kdj_emit *e);
#endif
