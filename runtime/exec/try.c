/* try.c: measuring the kernels that the calls of a bound plan could have. */
#include "runtime/exec/bound.h"
#include "runtime/kernels/choice.h"
#include <inttypes.h>

enum { KERNELS_MAX = 16, ROUNDS = 3 };

static void describe(const kd_call *c, kd__buf *out) {
  kd__buf_puts(out, kd__op_info(c->op)->name);
  for (uint32_t i = 0; i < c->nin + c->nout; i++) {
    const kd_tensor *t = i < c->nin ? &c->in[i] : &c->out[i - c->nin];
    kd__buf_printf(out, "%s%s[", i < c->nin ? " " : " -> ", kd__dtype_name((kd_dtype)t->dtype));
    for (int d = 0; d < t->rank; d++) kd__buf_printf(out, "%s%" PRId64, d ? "," : "", t->dim[d]);
    kd__buf_putc(out, ']');
  }
}

typedef struct teller { bool (*wanted)(void *ctx, uint64_t key); void (*found)(void *ctx, const kd_tried *t); void *ctx; } teller;

static void try_call(const kd_bound *b, uint32_t i, const teller *to) {
  const kd_call *c = &b->call[i];
  const kd_kernel *which;
  kd_kernel_settings set = b->set;
  kd__buf what = { 0 };
  set.choices = NULL;
  kd_tried t = { .key = kd__call_key(c, &set) };
  if (!to->wanted(to->ctx, t.key)) return;
  const kd_kernel *usual = kd__kernel_find(c, &set);
  t.usual = usual->name;
  if (set.winograd == KD_WINOGRAD_AUTO) set.winograd = KD_WINOGRAD_ON;
  for (int n = 0; n < ROUNDS * KERNELS_MAX; n++) {                     /* in turn: what disturbs the machine for a while shall not decide between them */
    double seconds = kd__kernel_try(c, &set, n % KERNELS_MAX, &which);
    if (!which) { n += KERNELS_MAX - 1 - n % KERNELS_MAX; continue; }
    if (seconds <= 0) continue;
    if (which == usual && (t.usual_seconds <= 0 || seconds < t.usual_seconds)) t.usual_seconds = seconds;
    if (!t.best || seconds < t.best_seconds) t.best = which->name, t.best_seconds = seconds;
  }
  describe(c, &what);
  t.what = what.failed || !what.p ? "" : what.p;
  if (t.best && t.usual_seconds > 0) to->found(to->ctx, &t);
  kd__buf_free(&what);
}

void kd__bound_try(kd_bound *b, bool (*wanted)(void *ctx, uint64_t key), void (*found)(void *ctx, const kd_tried *t), void *ctx) {
  for (uint32_t i = 0; i < b->plan->ncall; i++) {
    if (b->loop[i]) kd__bound_try(b->loop[i]->body, wanted, found, ctx);
    else if (b->kernel[i] && kd__call_choosable(&b->call[i])) try_call(b, i, &(teller){ wanted, found, ctx });
  }
}
