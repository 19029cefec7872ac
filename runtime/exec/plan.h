/* plan.h: the one contract between compiler and runtime: a flat list of kernel calls over arena offsets and slots.
 *
 * The compiler (compiler/plan) makes plans; the runtime (runtime/exec) binds them to memory and runs them, without allocation,
 * look-up or counting in a step. All arrays live in one arena owned by the module. */
#ifndef KD_PLAN_H
#define KD_PLAN_H
#include "runtime/kernels/kernel.h"

typedef enum kd_slot_kind { KD_SLOT_PARAM, KD_SLOT_STATE, KD_SLOT_OPTIMIZER, KD_SLOT_FIELD, KD_SLOT_SCALAR, KD_SLOT_VALUE, KD_SLOT_HELD } kd_slot_kind;

/* A named piece of memory that outlives a program. VALUE: what one program of a scheme leaves for a later one. HELD: what HOLD
 * and KEEP instructions make again when a run is gone on with. Parameters of one owner lie contiguously in declaration order:
 * `block` numbers the contiguous region, `offset` is in bytes within it (the module's layout pass sets both; every slot is dense,
 * row-major in its logical axes). A slot may be read under a smaller leading size than stored (last short batch). */
typedef struct kd_slot {
  const char *name;                              /* binding path: "S.stage1.conv1.W"; unique in a module */
  kd_slot_kind kind;
  kd_type type;
  uint32_t block; int64_t offset;
} kd_slot;

typedef enum kd_place { KD_IN_ARENA, KD_IN_SLOT } kd_place;
/* One strided tensor of a plan. */
typedef struct kd_plan_tensor {
  kd_type type;
  int64_t stride[KD_MAX_RANK];                   /* elements */
  kd_place place;
  uint32_t slot;                                 /* KD_IN_SLOT */
  int64_t offset;                                /* bytes from the arena's or the slot's start to element 0 (may be inside, for views) */
} kd_plan_tensor;

struct kd_plan;
/* A loop's body: a plan of its own over slots of its own. Slot 0 is the turn's number; then come the call's operands, where those that are
 * carried lie in the memory of the call's first results (the runtime copies their start there). The call's last result is the body's arena,
 * those before it are the stacks of what the body yields, a row a turn. */
typedef struct kd_plan_loop { const struct kd_plan *body; const kd_slot *slot; uint32_t nslot, carries; int64_t times; } kd_plan_loop;

typedef struct kd_plan_call {
  kd_op op;                                      /* KD_OP_COUNT: a strided copy from in[0] to out[0]; max_pool has one result where nobody reads its positions */
  uint32_t nin, nout;
  const uint32_t *in, *out;                      /* indices of tensors */
  const kd_attr *attr;
  uint32_t origin;                               /* for faults: the compiler's origin */
  const kd_plan_loop *loop;                      /* KD_OP_LOOP */
  const struct kd_group *group;                  /* KD_OP_GROUP (runtime/kernels/group.h); its operands are the call's */
  /* Calls that may run side by side: the first of them says how many (else 0). Each is in a lane; calls of one lane run in order, those of two
   * lanes touch no memory that one of them writes. */
  uint32_t side, lane;
} kd_plan_call;

typedef struct kd_plan_result { const char *name; uint32_t tensor; } kd_plan_result;

typedef struct kd_plan {
  const char *name;                              /* "distil.train.128" */
  kd_plan_tensor *tensor; uint32_t ntensor;
  kd_plan_call *call; uint32_t ncall;
  kd_plan_result *result; uint32_t nresult;
  int64_t arena_size;                            /* bytes; scratch not included */
  uint32_t *writes; uint32_t nwrites;            /* slots that this plan changes */
  int64_t copied;                                /* bytes of forced copies a run, for the warning */
} kd_plan;
void kd__plan_print(const kd_plan *p, const kd_slot *slots, kd__buf *out);

/* --- running ---------------------------------------------------------------------------------------------------------- */
/* Memory of all slots of a module, block by block; 64-byte aligned. */
typedef struct kd_store { const kd_slot *slot; uint32_t nslot; void **block; int64_t *block_size; uint32_t nblock; uint64_t *version; } kd_store;
kd_status kd__store_open(kd_store *s, const kd_slot *slot, uint32_t nslot);    /* zeroed */
void      kd__store_close(kd_store *s);
void     *kd__store_at(const kd_store *s, uint32_t slot);
/* Whoever writes to a slot but by a plan says so: kernels may keep a packed copy of parameters (kernel.h). `version`, by slot, counts. */
void      kd__store_changed(const kd_store *s, uint32_t slot);

/* A plan bound to a store and an arena: kernels chosen and prepared, pointers resolved. */
typedef struct kd_bound kd_bound;
/* `arena` is shared by all plans of a run (as large as the largest); scratch too. */
/* KD_E_UNAVAILABLE: no kernel for a call; KD_E_USAGE: a tensor lies outside its memory (a broken plan). Everything is released on failure. */
kd_status kd__plan_bind(const kd_plan *p, const kd_store *s, void *arena, const kd_kernel_settings *set, kd_bound **out);
size_t    kd__bound_scratch(const kd_bound *b);
size_t    kd__bound_kept(const kd_bound *b);     /* bytes of packed copies that its kernels keep */
bool      kd__bound_team(const kd_bound *b);     /* is it worth a team of threads? */
/* Runs every call in order; stops after the call that reports the first fault (x->fault, which must be clear before). */
void      kd__bound_run(kd_bound *b, const kd_exec *x);                        /* x->scratch at least kd__bound_scratch */
/* The call that the last run stopped at, or NULL: its `origin` says where in the program. */
const kd_plan_call *kd__bound_faulted(const kd_bound *b);
void      kd__bound_close(kd_bound *b);
/* Address of a result of the last run (valid until the next run in this arena), in a plan tensor's layout. */
const kd_tensor *kd__bound_result(const kd_bound *b, uint32_t i);
/* Tries every kernel that takes a product or convolution of the plan, on what lies in memory, where its key is wanted, and tells the usual one and the fastest. */
typedef struct kd_tried { uint64_t key; const char *usual, *best; double usual_seconds, best_seconds; const char *what; } kd_tried;
void      kd__bound_try(kd_bound *b, bool (*wanted)(void *ctx, uint64_t key), void (*found)(void *ctx, const kd_tried *t), void *ctx);
/* The kernels in use, one line each: "gemm.openblas f32 [128,784]x[784,300]". */
void      kd__bound_describe(const kd_bound *b, kd__buf *out);

/* --- looking on --------------------------------------------------------------------------------------------------------- */
/* Calls of a plan and of the bodies in it are numbered: first those of the plan in order, then those of the body of its first loop (and of the
 * bodies in that), of its second loop, and so on. */
uint32_t  kd__plan_calls(const kd_plan *p);
/* Time by call, for `kdc profile` and tests; all arrays are the caller's. `event`: the last runs of calls in order, as many as there is room for.
 * A loop's time has its body's in it; that of calls side by side is shared out as each has worked. */
typedef struct kd_watch_event { uint32_t call; int thread; double start, end; } kd_watch_event;            /* seconds of the monotonic clock */
typedef struct kd_watch {
  double *seconds; int64_t *times;               /* by call: added to */
  kd_watch_event *event; size_t nevent, cap;     /* cap 0: none are kept; the first `cap` are */
} kd_watch;
/* From now on each run tells the watch; NULL ends it, and then it costs nothing. */
void      kd__bound_watch(kd_bound *b, kd_watch *w);
/* All calls in the order of their numbers: `times` is how often one runs in a run of the plan, `kernel` what runs it. `side`: the part that is
 * foretold to be left of its time on one thread where it runs side by side with others, a loop of the team included; else 0. */
typedef void (*kd_each_call)(void *ctx, const kd_plan *p, uint32_t call, double times, const char *kernel, double side);
void      kd__bound_each(const kd_bound *b, kd_each_call fn, void *ctx);
#endif
