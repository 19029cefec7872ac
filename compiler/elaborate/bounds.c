/* bounds.c: how much a program may ask of the compiler. Few lines can ask for more than any machine has: loops and calls that double, lists of lists,
 * tensors without end. Whatever asks for too much is told so once, where it happened, and all else of the file is given up by a jump (everything lies
 * in the arena). */
#include "compiler/elaborate/elab.h"
#include "compiler/pass/early.h"

static const int64_t most_work = 4000000;        /* values, statements, items of lists; calls and instructions weigh more (elab.h) */

/* Works with a place to jump to. False: it was given up, and the error told. */
bool kd__guarded(elab *e, void (*work)(elab *e, void *ctx), void *ctx) {
  jmp_buf here, *volatile outer = e->stop;
  bool done = setjmp(here) == 0;
  if (done) {
    e->stop = &here;
    work(e, ctx);
  }
  e->stop = outer;
  return done;
}

void kd__give_up(elab *e) {
  e->given_up = true;
  if (e->stop) longjmp(*e->stop, 1);
}

/* Loops look for themselves after each turn, and know more to say of it. */
static int64_t work_budget(elab *e) {
  val *v;
  if (e->most_work) return e->most_work;
  e->most_work = most_work;                      /* while the setting is read */
  if (kd__setting(e, "budget.work", &v) && v->kind == V_INT && v->u.i > 0) e->most_work = v->u.i;
  return e->most_work;
}

void kd__exhausted(elab *e) {
  if (e->given_up) return;
  if (e->prog && (int64_t)e->prog->g->node.n > 2 * kd__node_budget(e) && kd__over_budget(e, e->prog, e->here)) kd__give_up(e);
  if (e->work <= work_budget(e) || e->given_up) return;
  e->sink = e->aloud;
  kd_diag *d = kd__err(e, KD_D_WORK, e->here, (long long)e->most_work);
  kd__diag_help(e->sink, d, "look for calls and loops that multiply: what is used twice is worked out once under a name of its own, h = f(x); --set budget.work=%lld allows more",
                 (long long)e->most_work * 2);
  kd__give_up(e);
}

void kd__budgets(elab *e) {
  (void)kd__node_budget(e);
  (void)work_budget(e);
}

void kd__spend(elab *e, int64_t n) {
  e->work += n;
  if (e->work > most_work) kd__exhausted(e);
}

static void refuse(void *ctx, const kd_shape_error *why, kd_origin from) {
  elab *e = ctx;
  kd_span at = from && from < e->origin.n ? e->origin.v[from].span : e->here;
  e->sink = e->aloud;
  if (kd__is_too_large(why)) {
    kd_diag *d = kd__err(e, KD_D_TOO_LARGE, at);
    kd__diag_help(e->sink, d, "the sizes of its axes, multiplied, are more than there are bytes");
  } else kd__err(e, KD_D_INTERNAL, at, why->text);
  kd__give_up(e);
}

kd_graph *kd__graph_for(elab *e) {
  kd_graph *g = kd__graph_new(e->a);
  g->refuse = refuse;
  g->refuse_ctx = e;
  g->early = kd__early;
  return g;
}
