/* program.c: running one plan: its kernels, its scalars, its random key, its results. */
#include "runtime/run/machine.h"
#include <stdio.h>

/* --- binding: at a plan's first run, so that training begins before evaluations are prepared ------------------------------------ */
static kd_status bind(kd_machine *r, uint32_t plan, uint32_t origin) {
  const kd_plan *p = r->m->plan[plan];
  kd_status s = kd__plan_bind(p, &r->store, r->arena, &r->set, &r->bound[plan]);
  if (s == KD_E_MEMORY) return kd__fail(r, s, origin, "out of memory for program `%s`", p->name);
  if (s == KD_E_UNAVAILABLE) return kd__fail(r, s, origin, "no kernel for a call of program `%s`", p->name);
  if (s != KD_OK) return kd__fail(r, s, origin, "the plan of program `%s` is broken", p->name);
  if ((s = kd__record_bound(r, plan, origin)) != KD_OK) return s;
  size_t scratch = kd__bound_scratch(r->bound[plan]);
  if (scratch <= r->scratch_size) return KD_OK;
  kd__block_free(r->exec.scratch, r->scratch_size);
  r->scratch_size = 0;
  r->exec.scratch = kd__block_get(scratch);
  if (!r->exec.scratch) return kd__fail(r, KD_E_MEMORY, origin, "out of memory for program `%s`: %zu bytes to work in", p->name, scratch);
  r->scratch_size = scratch;
  return KD_OK;
}

/* --- scalars ------------------------------------------------------------------------------------------------------------------------ */
static void set_real(const kd_machine *r, kd_ambient a, double v) {
  if (!r->ambient[a]) return;
  if (r->m->slot[r->m->ambient[a]].type.dtype == KD_F32) *(float *)r->ambient[a] = (float)v;
  else *(double *)r->ambient[a] = v;
}

/* run.h says which draws depend on what. The tags keep the kinds apart. */
static uint64_t random_key(kd_machine *r, kd__key key) {
  kd_position *p = &r->pos;
  if (key == KD__KEY_FIXED) return kd__mix(r->opt.seed, 0x6669786564u);       /* "fixed" */
  if (key == KD__KEY_ANEW) return kd__mix(kd__mix(r->opt.seed, 0x616e6577u), (uint64_t)++p->anew);       /* "anew" */
  uint64_t k = kd__mix(kd__mix(r->opt.seed, 0x706c616365u), (uint64_t)(p->stage + 1));                  /* "place" */
  if (p->stage >= 0) k = kd__mix(kd__mix(k, (uint64_t)p->entered[p->stage]), (uint64_t)p->step);
  for (uint32_t i = 0; i < r->m->ncounter; i++) if (r->looping[i]) k = kd__mix(k, (uint64_t)p->counter[i]);
  for (uint32_t i = 0; i < p->nopen; i++) k = kd__mix(kd__mix(k, (uint64_t)p->stream[p->open[i]].pass), (uint64_t)p->stream[p->open[i]].batch);
  return k;
}

static void set_scalars(kd_machine *r, kd__key how) {
  const kd_position *p = &r->pos;
  const kd_stage_info *s = p->stage < 0 ? NULL : &r->m->stage[p->stage];
  double steps = s ? (double)kd__stage_steps(r, p->stage) : 0, progress = steps > 0 ? (double)p->step / steps : 0;
  int64_t stream = kd__stream_current(r);
  set_real(r, KD_AMBIENT_STEP, (double)p->step);
  set_real(r, KD_AMBIENT_EPOCH, (double)p->epoch);
  set_real(r, KD_AMBIENT_PROGRESS, progress > 1 ? 1 : progress);
  set_real(r, KD_AMBIENT_EPOCHS, s ? (double)s->epochs : 0);
  set_real(r, KD_AMBIENT_STEPS, steps);
  set_real(r, KD_AMBIENT_GLOBAL_STEP, (double)p->steps);
  set_real(r, KD_AMBIENT_ROWS, stream < 0 ? 0 : (double)r->stream[stream].rows);
  if (r->ambient[KD_AMBIENT_KEY]) {
    uint64_t key = random_key(r, how);
    memcpy(r->ambient[KD_AMBIENT_KEY], &key, sizeof key);
  }
}

/* --- running -------------------------------------------------------------------------------------------------------------------------- */
static kd_status fault(kd_machine *r, uint32_t plan, uint32_t origin) {
  const kd_fault *f = &r->fault;
  const kd_plan_call *c = kd__bound_faulted(r->bound[plan]);
  if (c && c->origin) origin = c->origin;
  if (f->origin) origin = f->origin;
  const char *op = f->op < KD_OP_COUNT ? kd__op_info(f->op)->name : "?";
  if (f->op == KD_OP_IDIV || f->op == KD_OP_REM)
    return kd__fail(r, KD_E_DATA, origin, "division of %lld by 0, at element %lld", (long long)f->value, (long long)f->position);
  return kd__fail(r, KD_E_DATA, origin, "index %lld is out of range: %s takes 0 to %lld here; it is number %lld of the indices", (long long)f->value, op,
                  (long long)f->limit - 1, (long long)f->position);
}

kd_status kd__plan_ready(kd_machine *r, uint32_t plan, uint32_t origin) { return r->bound[plan] ? KD_OK : bind(r, plan, origin); }

kd_status kd__plan_go(kd_machine *r, uint32_t plan, kd__key key, uint32_t origin) {
  kd_status s = kd__plan_ready(r, plan, origin);
  if (s != KD_OK) return s;
  set_scalars(r, key);
  r->fault = (kd_fault){ 0 };
  kd__bound_run(r->bound[plan], &r->exec);
  return r->fault.set ? fault(r, plan, origin) : KD_OK;
}

static double element(const kd_tensor *t) {
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return (double)*(const float *)t->data;
    case KD_F64: return *(const double *)t->data;
    case KD_I64: return (double)*(const int64_t *)t->data;
    default: return (double)*(const uint8_t *)t->data;
  }
}

void kd__results(kd_machine *r, uint32_t plan, int64_t first_reg) {
  for (uint32_t i = 0; i < r->m->plan[plan]->nresult; i++) r->pos.reg[first_reg + i] = element(kd__bound_result(r->bound[plan], i));
}
