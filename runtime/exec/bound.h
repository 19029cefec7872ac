/* bound.h: a plan bound to memory, as bind.c makes it and run.c uses it. */
#ifndef KD_BOUND_H
#define KD_BOUND_H
#include "runtime/exec/plan.h"

/* A loop's body, bound to the memory of the loop's operands and results. */
typedef struct kd__bound_loop {
  kd_bound *body;
  kd_store store;
  int64_t turn;                                  /* the body's slot 0 */
} kd__bound_loop;

/* side.c: by call, what becomes of calls that may run side by side. */
typedef struct kd__beside {
  uint32_t n, threads;                           /* of the first of them, where it pays: so many calls on so many threads; else 0 */
  size_t scratch;                                /* of each thread */
  uint32_t thread;                               /* which one runs this call */
  double share;                                  /* plan.h: kd_each_call */
  int ran; double start, end;                    /* where it is watched: by which thread of the team, and when */
} kd__beside;

struct kd_bound {
  const kd_plan *plan;
  kd_kernel_settings set;
  kd_tensor *tensor;                             /* as the plan's tensors, with addresses */
  kd_tensor *operand;                            /* operands and results of all calls, in order: what the calls point to */
  kd_call *call;
  const kd_kernel **kernel;                      /* by call; NULL: a strided copy */
  kd__bound_loop **loop;                         /* by call; NULL where it is none */
  const kd_store *store;
  const uint64_t **version;                      /* by operand, as `operand`: kernel.h */
  kd__beside *beside;                            /* by call; NULL: nothing runs side by side */
  size_t scratch, kept;
  bool team;                                     /* some call is worth one */
  const kd_plan_call *faulted;
  kd_watch *watch;                               /* NULL: nobody looks on */
  uint32_t first;                                /* number of its first call, for the watch */
};

/* Runs one call. */
void kd__bound_call(kd_bound *b, uint32_t i, const kd_exec *x);
/* side.c: which calls run side by side, if a loop of the team takes `price` microseconds; runs those that begin with call i. False: one has faulted. */
kd_status kd__bind_side(kd_bound *b, double price);
bool      kd__run_side(kd_bound *b, uint32_t i, const kd_exec *x);
/* bind_loop.c: binds the body of call i, whose operands are there; and releases it. */
kd_status kd__bind_loop(kd_bound *b, uint32_t i);
void      kd__loop_close(kd__bound_loop *l);
/* watch.c */
double kd__watch_now(void);
#endif
