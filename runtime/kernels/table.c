/* table.c: kernels.def as data, and the choice of a kernel. */
#include "runtime/kernels/choice.h"
#include "runtime/kernels/conv.h"
#include "runtime/kernels/elem.h"
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/group_tile.h"
#include "runtime/kernels/jit_final.h"
#include "runtime/kernels/move.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/pool.h"
#include "runtime/kernels/reduce.h"
#include <math.h>
#include <stdlib.h>

enum { LONG_GROUP = 327680, LONG_PRODUCT = 500000 };

static const kd_kernel table[] = {
#define KD_KERNEL(OP, nm, takes_fn, scratch_fn, prepare_fn, release_fn, run_fn) \
  { .name = nm, .op = KD_OP_##OP, .takes = takes_fn, .scratch = scratch_fn, .prepare = prepare_fn, .release = release_fn, .run = run_fn },
#include "runtime/kernels/kernels.def"
#undef KD_KERNEL
};

static bool takes_all(const kd_call *c, const kd_kernel_settings *s) {
  (void)c, (void)s;
  return true;
}

static const kd_kernel twins[KD_OP_COUNT] = {
#define KD_OP(ID, ...) { .name = "ref", .op = KD_OP_##ID, .takes = takes_all, .scratch = kd__ref_scratch, .run = kd__ref_run },
#include "runtime/op/ops.def"
#undef KD_OP
};

/* The kernel that was measured to be the fastest, wherever it can be had. */
static const kd_kernel *find_chosen(const kd_call *c, const kd_kernel_settings *s) {
  const char *name = kd__choices_get(s->choices, kd__call_key(c, s));
  kd_kernel_settings open = *s;
  if (s->winograd == KD_WINOGRAD_AUTO) open.winograd = KD_WINOGRAD_ON;           /* where it pays has been measured */
  for (size_t i = 0; name && i < sizeof table / sizeof table[0]; i++)
    if (table[i].op == c->op && strcmp(table[i].name, name) == 0 && table[i].takes(c, &open)) return &table[i];
  return NULL;
}

const kd_kernel *kd__kernel_find(const kd_call *c, const kd_kernel_settings *s) {
  if (c->op < 0 || c->op >= KD_OP_COUNT) return NULL;
  const kd_kernel *chosen = s->choices && !s->reference && kd__call_choosable(c) ? find_chosen(c, s) : NULL;
  if (chosen) return chosen;
  for (size_t i = 0; !s->reference && i < sizeof table / sizeof table[0]; i++)
    if (table[i].op == c->op && table[i].takes(c, s)) return &table[i];
  return &twins[c->op];
}

const char *kd__kernel_name(const char *name) {
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (strcmp(table[i].name, name) == 0) return table[i].name;
  return NULL;
}

/* A kernel may have two rows, an early one for calls that it is best at. */
static bool came_before(size_t row, const kd_call *c, const kd_kernel_settings *s) {
  for (size_t i = 0; i < row; i++)
    if (table[i].op == c->op && strcmp(table[i].name, table[row].name) == 0 && table[i].takes(c, s)) return true;
  return false;
}

const kd_kernel *kd__kernel_nth(const kd_call *c, const kd_kernel_settings *s, int n) {
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (table[i].op == c->op && table[i].takes(c, s) && !came_before(i, c, s) && n-- == 0) return &table[i];
  return NULL;
}

/* The root of the three sizes multiplied is, of a product, m n k; of a convolution, the multiplications divided by the root of the kernel's size. */
bool kd__call_long(const kd_call *c) {
  if (c->group && kd__group_effort(c->group) >= LONG_GROUP) return true;
  double product = 1;
  for (uint32_t i = 0; i < c->nin + c->nout; i++) {
    int64_t n = kd__count(i < c->nin ? &c->in[i] : &c->out[i - c->nin]);
    if (n >= KD__PAR_MIN) return true;
    if (i < 2 || i >= c->nin) product *= (double)n;
  }
  return c->op < KD_OP_COUNT && kd__op_info(c->op)->cls == KD_CLASS_CONTRACT && sqrt(product) >= LONG_PRODUCT;
}
