/* fault.c: the one way in which a kernel can fail. */
#include "runtime/kernels/kernel.h"

void kd__fault_at(const kd_exec *x, kd_op op, uint32_t origin, int64_t value, int64_t limit, int64_t position) {
  kd_fault *f = x ? x->fault : NULL;
  if (!f || __atomic_exchange_n(&f->set, 1, __ATOMIC_ACQ_REL)) return;   /* the first one is kept, whichever thread it is on */
  f->op = op;
  f->value = value;
  f->limit = limit;
  f->position = position;
  f->origin = origin;
}

void kd__fault(const kd_exec *x, kd_op op, int64_t value, int64_t limit, int64_t position) { kd__fault_at(x, op, 0, value, limit, position); }
