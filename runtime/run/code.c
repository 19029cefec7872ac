/* code.c: the instructions of code.def, a function each. A handler finds pc already past its instruction. */
#include "runtime/run/machine.h"
#include <math.h>
#include <stdio.h>

typedef kd_status (*instruction)(kd_machine *r, const kd_code *c);

static kd_status do_HALT(kd_machine *r, const kd_code *c) {
  (void)c;
  r->pos.pc--;                                   /* stays here */
  r->ended = true;
  return KD_OK;
}

static void forget_losses(kd_machine *r) {
  for (uint32_t i = 0; i < r->m->nreg; i++) r->pos.sum[i] = 0, r->pos.sums[i] = 0;
}

static kd_status do_STAGE(kd_machine *r, const kd_code *c) {
  kd_position *p = &r->pos;
  p->stage = c->a;
  p->entered[c->a]++;
  p->step = p->epoch = p->passes = 0;
  memset(p->begun, 0, sizeof *p->begun * r->m->nstream);
  forget_losses(r);
  for (uint32_t i = 0; i < r->m->ncode; i++) if (r->m->code[i].op == KD_CODE_EVERY) p->counter[r->m->code[i].a] = 0;
  r->progress.first_step = 1;
  r->progress.pass = kd__now();                  /* of loops that begin none, too */
  r->progress.samples = 0;
  kd_status s = kd__written_stage(r, c->a);
  return s == KD_OK ? kd__tell_stage(r) : s;
}

static kd_status do_RUN(kd_machine *r, const kd_code *c) { return kd__plan_go(r, (uint32_t)c->a, (kd__key)c->b, c->origin); }

static kd_status do_EVAL(kd_machine *r, const kd_code *c) {
  kd_status s = kd__plan_go(r, (uint32_t)c->a, (kd__key)c->c, c->origin);
  if (s == KD_OK) kd__results(r, (uint32_t)c->a, c->b);
  return s;
}

/* All results of a training plan are losses. The culprit is a term rather than the sum that it spoils (result 0). */
static kd_status not_finite(kd_machine *r, const kd_code *c) {
  const kd_plan *p = r->m->plan[c->a];
  uint32_t bad = 1;
  while (bad < p->nresult && isfinite(r->pos.reg[c->b + bad])) bad++;
  if (bad == p->nresult) bad = 0;
  char values[300] = "";
  size_t at = 0;
  for (uint32_t i = 0; p->nresult > 1 && i < p->nresult && at < sizeof values; i++)
    at += (size_t)snprintf(values + at, sizeof values - at, "%s%s = %g", i ? ", " : "; all terms: ", p->result[i].name, r->pos.reg[c->b + i]);
  kd__fail(r, KD_E_NUMERIC, c->origin, "the loss is not finite: `%s` is %g%s. The usual causes are steps that are too long, a log or a division of 0, a root's gradient at 0, "
          "or an exp of a large number", p->result[bad].name, r->pos.reg[c->b + bad], values);
  r->error.term = p->result[bad].name;
  return KD_E_NUMERIC;
}

/* The plan of a training batch, or one of several. */
static kd_status do_LOSS(kd_machine *r, const kd_code *c) {
  kd_position *p = &r->pos;
  const kd_plan *plan = r->m->plan[c->a];
  r->in_step = true;
  kd_status s = kd__plan_go(r, (uint32_t)c->a, KD__KEY_POSITION, c->origin);
  if (s != KD_OK) return s;
  kd__results(r, (uint32_t)c->a, c->b);
  for (uint32_t i = 0; i < plan->nresult; i++) {
    int64_t reg = c->b + i;
    if (!isfinite(p->reg[reg])) return not_finite(r, c);
    p->sum[reg] += p->reg[reg];
    p->sums[reg]++;
  }
  r->in_step = false;
  return KD_OK;
}

static kd_status step_done(kd_machine *r, int64_t first_reg, int64_t n) {
  r->pos.step++;
  r->pos.steps++;
  int64_t stream = kd__stream_current(r);
  if (stream >= 0) r->progress.samples += r->stream[stream].rows;
  kd__tell_step(r, first_reg, n);
  return KD_OK;
}

static kd_status do_STEP(kd_machine *r, const kd_code *c) {
  kd_status s = do_LOSS(r, c);
  return s == KD_OK ? step_done(r, c->b, r->m->plan[c->a]->nresult) : s;
}

static kd_status do_TICK(kd_machine *r, const kd_code *c) { return step_done(r, c->a, c->b); }

static kd_status put(kd_machine *r, int64_t slot, double v) {
  void *to = kd__store_at(&r->store, (uint32_t)slot);
  switch ((kd_dtype)r->m->slot[slot].type.dtype) {
    case KD_F32: *(float *)to = (float)v; break;
    case KD_F64: *(double *)to = v; break;
    default: *(int64_t *)to = (int64_t)v; break;
  }
  return KD_OK;
}

static kd_status do_PUT(kd_machine *r, const kd_code *c) { return put(r, c->a, r->pos.reg[c->b]); }
static kd_status do_TURN(kd_machine *r, const kd_code *c) { return put(r, c->a, (double)r->pos.counter[c->b]); }

static kd_status do_LOOP(kd_machine *r, const kd_code *c) {
  r->pos.counter[c->a] = 0;
  if (c->b <= 0) r->pos.pc = c->c;
  return KD_OK;
}

static kd_status do_NEXT(kd_machine *r, const kd_code *c) {
  if (++r->pos.counter[c->a] < c->b) r->pos.pc = c->c;
  else r->pos.counter[c->a] = 0;
  return KD_OK;
}

static kd_status do_EVERY(kd_machine *r, const kd_code *c) { return do_NEXT(r, c); }

static kd_status do_EPOCH(kd_machine *r, const kd_code *c) {
  (void)c;
  r->pos.epoch++;
  kd_status s = kd__tell_epoch(r);
  forget_losses(r);
  return s == KD_OK ? kd__record_kernels(r) : s;
}

static kd_status do_BATCHES(kd_machine *r, const kd_code *c) {
  bool any = false;
  if (r->m->stream[c->a].shuffle) {
    r->progress.pass = kd__now();
    r->progress.samples = 0;
  }
  kd_status s = kd__stream_begin(r, (uint32_t)c->a, c->origin, &any);
  if (s == KD_OK && !any) r->pos.pc = c->c;
  return s;
}

static kd_status do_MORE(kd_machine *r, const kd_code *c) {
  if (kd__stream_more(r, (uint32_t)c->a)) r->pos.pc = c->c;
  return KD_OK;
}

static kd_status do_TAKE(kd_machine *r, const kd_code *c) { return kd__stream_take(r, (uint32_t)c->a, c->origin); }

static kd_status do_LEAVE(kd_machine *r, const kd_code *c) {
  kd__stream_leave(r, (uint32_t)c->a);
  return KD_OK;
}

static kd_status do_BATCH_IF(kd_machine *r, const kd_code *c) {
  if (r->pos.stream[c->a].open && r->stream[c->a].rows == c->b) r->pos.pc = c->c;
  return KD_OK;
}

static kd_status do_JUMP(kd_machine *r, const kd_code *c) { r->pos.pc = c->a; return KD_OK; }

static kd_status do_JUMP_IF(kd_machine *r, const kd_code *c) {
  if (r->pos.reg[c->a] != 0) r->pos.pc = c->b;
  return KD_OK;
}

static kd_status do_SAY(kd_machine *r, const kd_code *c) { return kd__tell_say(r, r->m->string[c->a], c->b, c->c); }

static kd_status do_SNAPSHOT(kd_machine *r, const kd_code *c) {
  return kd__best_keep(r, (uint32_t)c->a, c->b == 1, r->pos.reg[c->c], c->origin);
}

static kd_status do_RESTORE(kd_machine *r, const kd_code *c) { return kd__best_restore(r, (uint32_t)c->a); }
static kd_status do_LOAD(kd_machine *r, const kd_code *c) { return kd__weights_load(r, (uint32_t)c->a, c->origin); }
static kd_status do_SAVE(kd_machine *r, const kd_code *c) { return kd__record_weights(r, (uint32_t)c->a, r->m->string[c->b], c->origin); }
static kd_status do_WRITE(kd_machine *r, const kd_code *c) {
  kd_status s = kd__written_append(r, (uint32_t)c->a);
  if (s != KD_OK) r->error.origin = c->origin;
  return s;
}

static kd_status stopped(kd_machine *r) {
  kd_status s = kd__checkpoint_wanted(r) ? kd__checkpoint_write(r) : KD_OK;
  return s == KD_OK ? kd__fail(r, KD_E_CANCELLED, 0, "stopped on request") : s;
}

static kd_status do_HOLD(kd_machine *r, const kd_code *c) { return kd__plan_go(r, (uint32_t)c->a, KD__KEY_FIXED, c->origin); }
static kd_status do_KEEP(kd_machine *r, const kd_code *c) {
  kd_status s = kd__kept_open(r, (uint32_t)c->a, c->c, c->origin, false);
  if (s != KD_E_CANCELLED) return s;
  r->pos.pc--;                                   /* the instruction is executed when the run is gone on with */
  return stopped(r);
}

static kd_status do_FAIL(kd_machine *r, const kd_code *c) { return kd__fail(r, KD_E_DATA, c->origin, "%s", r->m->string[c->a]); }

static kd_status do_DECIDE(kd_machine *r, const kd_code *c) {
  const kd_decision *d = &r->m->decision[c->a];
  double v = r->pos.reg[c->b];
  if (!(v >= (double)d->low && v <= (double)d->high))
    return kd__fail(r, KD_E_DATA, c->origin, "`%s` comes to %.10g, and what follows is made for %lld to %lld: widen the bounds of `decide`, or limit the value: max(min(x, %lld), %lld)", d->name, v,
                    (long long)d->low, (long long)d->high, (long long)d->high, (long long)d->low);
  if (v != floor(v)) return kd__fail(r, KD_E_DATA, c->origin, "`%s` comes to %.10g, and what is decided is a whole number: decide(round(x), ...)", d->name, v);
  if (d->made && v != (double)d->value)
    return kd__fail(r, KD_E_FORMAT, c->origin, "`%s` was decided as %lld before, and comes to %.0f now", d->name, (long long)d->value, v);
  if (d->made) return KD_OK;
  r->pos.pc--;                                   /* passed by the machine that knows it */
  r->waits = true;
  r->decided = (int64_t)v;
  if (d->truth) return kd__tell_note(r, "decided: %s is %s", d->name, r->decided ? "true" : "false");
  return kd__tell_note(r, "decided: %s = %lld", d->name, (long long)r->decided);
}

static const instruction table[] = {
#define KD_CODE(ID, a, b, c, doc) [KD_CODE_##ID] = do_##ID,
#include "runtime/exec/code.def"
#undef KD_CODE
};

kd_status kd__code_one(kd_machine *r) {
  const kd_code *c = &r->m->code[r->pos.pc++];
  return table[c->op](r, c);
}

kd_status kd__code_go(kd_machine *r, int64_t until) {
  kd_status s = KD_OK;
  while (s == KD_OK && !r->ended && !r->waits && r->pos.steps < until) {
    if (r->opt.cancel && *r->opt.cancel) return stopped(r);
    s = kd__code_one(r);
    if (s == KD_OK && !r->ended && !r->waits && kd__checkpoint_due(r)) s = kd__checkpoint_write(r);
  }
  return s;
}
