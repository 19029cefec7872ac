/* foretell.c: about how long a call takes, before anything is measured: for what must be the same on every machine, as a plan is. */
#include "runtime/kernels/kernel.h"
#include "runtime/kernels/group.h"
#include <math.h>

/* A nanosecond of one thread: so many elements of simple operators, operations of a product, bytes. */
enum { EFFORT = 25, SINGLE = 200, DOUBLE = 80, BYTES = 90, CALL = 100, PRODUCT = 500, SHARE = 1500 };
static const double CUT_PRODUCT = 1.05;          /* its parts are smaller, and operands are packed twice */
enum { LONG_EFFORT = 2 * 65536, LONG_PRODUCT = 1000000, LONG = 32768 };        /* what kernels give chunks to the team for */

static double count(const kd_tensor *t) {
  double n = 1;
  for (int d = 0; d < t->rank; d++) n *= (double)t->dim[d];
  return n;
}

static bool simple(const kd_call *c) {
  kd_op_class cls = c->op < KD_OP_COUNT ? kd__op_info(c->op)->cls : KD_CLASS_MOVE;
  return c->op == KD_OP_COUNT || cls == KD_CLASS_ELEM || cls == KD_CLASS_REDUCE || c->op == KD_OP_CONST;
}

kd__foretold kd__foretell(const kd_call *c, int threads) {
  double ns = CALL, most = 0;
  bool shared;
  if (c->group) {
    double effort = kd__group_effort(c->group);
    ns += effort / EFFORT;
    shared = effort >= LONG_EFFORT;
  } else if (c->op == KD_OP_MATMUL) {
    double flops = 2 * count(&c->out[0]) * (c->in[0].rank ? (double)c->in[0].dim[c->in[0].rank - 1] : 1);
    ns += PRODUCT + flops / (c->out[0].dtype == KD_F32 ? SINGLE : DOUBLE);
    shared = flops >= LONG_PRODUCT;
  } else if (!simple(c)) {
    return (kd__foretold){ HUGE_VAL, HUGE_VAL };
  } else {
    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
      const kd_tensor *t = i < c->nin ? &c->in[i] : &c->out[i - c->nin];
      double n = count(t);
      ns += n * (double)kd__dtype_size((kd_dtype)t->dtype) / BYTES;
      most = n > most ? n : most;
    }
    shared = most >= LONG;
  }
  double cut = c->op == KD_OP_MATMUL ? CUT_PRODUCT : 1;
  return (kd__foretold){ ns / 1000, (shared && threads > 1 ? cut * ns / threads + SHARE : ns) / 1000 };
}
