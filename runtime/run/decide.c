/* decide.c: going on with a module that was compiled anew, with one more decision made.
 *
 * Both modules are alike up to the DECIDE instruction that the machine waits at: slots, registers, counters, streams and groups of what was
 * before have the same numbers in both. The new one gets a machine of its own, whose parameters and states begin as they would have at the start
 * of the run, and then takes over all that the old one holds: slots, position, run folder, and the files of written data. */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"
#include <stdlib.h>

bool kd__machine_waits(const kd_machine *r, int64_t *value, const char **name) {
  if (!r->waits || r->ended) return false;
  *value = r->decided;
  *name = r->m->decision[r->m->code[r->pos.pc].a].name;
  return true;
}

kd_status kd__machine_give_up(kd_machine *r, kd_status s, const char *text, kd__run_error *err) {
  kd__fail(r, s, r->m->code[r->pos.pc].origin, "%s", text);
  *err = r->error;
  r->ended = true;
  kd__record_end(r);
  kd__machine_release(r);
  return s;
}

/* --- taking over ---------------------------------------------------------------------------------------------------------------------- */
static bool prefix(const kd_module *a, const kd_module *b) {
  return a->nreg <= b->nreg && a->ncounter <= b->ncounter && a->nstage <= b->nstage && a->nstream <= b->nstream && a->ndataset <= b->ndataset && a->ngroup <= b->ngroup
      && a->ndecision <= b->ndecision;
}

static int64_t decide_at(const kd_module *m, int64_t decision) {
  for (uint32_t i = 0; i < m->ncode; i++) if (m->code[i].op == KD_CODE_DECIDE && m->code[i].a == decision) return i;
  return -1;
}

/* The slot of the same name and type: with the same number, where nothing came in between. */
static int64_t twin(const kd_module *from, uint32_t slot, const kd_module *to) {
  const kd_slot *s = &from->slot[slot];
  for (uint32_t k = 0; k < to->nslot; k++) {
    uint32_t i = (slot + k) % to->nslot;
    if (strcmp(to->slot[i].name, s->name) == 0 && to->slot[i].kind == s->kind && kd__type_equal(&to->slot[i].type, &s->type)) return i;
  }
  return -1;
}

static bool take_slots(const kd_machine *from, kd_machine *to) {
  for (uint32_t i = 0; i < from->m->nslot; i++) {
    if (!kd__slot_kept(from->m, i)) continue;
    int64_t t = twin(from->m, i, to->m);
    if (t < 0) return false;
    const kd_type *type = &from->m->slot[i].type;
    kd__store_changed(&to->store, (uint32_t)t);
    memcpy(kd__store_at(&to->store, (uint32_t)t), kd__store_at(&from->store, i), (size_t)kd__type_count(type) * kd__dtype_size((kd_dtype)type->dtype));
  }
  return true;
}

/* No stream is open between stages, and `keep best` has given back what it kept. */
static void take_position(const kd_machine *from, kd_machine *to, int64_t pc) {
  const kd_module *m = from->m;
  const kd_position *p = &from->pos;
  kd_position *q = &to->pos;
  q->pc = pc;
  q->stage = p->stage; q->step = p->step; q->epoch = p->epoch; q->steps = p->steps; q->passes = p->passes; q->anew = p->anew;
  memcpy(q->counter, p->counter, sizeof *p->counter * m->ncounter);
  memcpy(q->reg, p->reg, sizeof *p->reg * m->nreg);
  memcpy(q->sum, p->sum, sizeof *p->sum * m->nreg);
  memcpy(q->sums, p->sums, sizeof *p->sums * m->nreg);
  memcpy(q->entered, p->entered, sizeof *p->entered * m->nstage);
  memcpy(q->begun, p->begun, sizeof *p->begun * m->nstream);
  memcpy(q->rows, p->rows, sizeof *p->rows * m->ndataset);
  for (uint32_t i = 0; i < m->nstream; i++) q->stream[i].pass = p->stream[i].pass;
}

/* The kernels that programs were bound to before, by name: those of the first one, which sets initial values, are the run's first machine's. */
static void take_kernels(kd_machine *from, kd_machine *to) {
  for (uint32_t i = 0; i < from->m->nplan; i++)
    for (uint32_t k = 0; k < to->m->nplan && from->kernels[i]; k++) {
      if (strcmp(from->m->plan[i]->name, to->m->plan[k]->name) != 0) continue;
      to->kernels[k] = from->kernels[i];
      from->kernels[i] = NULL;
    }
}

static void take_folder(kd_machine *from, kd_machine *to) {
  to->folder = from->folder;
  from->folder = NULL;
  to->due.at = from->due.at;
  to->due.step = from->due.step;
  to->bound_new = to->folder != NULL;            /* settings.json says what was decided */
  take_kernels(from, to);
}

static kd_status lost(kd__run_error *err) {
  *err = (kd__run_error){ .status = KD_E_USAGE };
  return kd__why(err->text, sizeof err->text, KD_E_USAGE, "the program that was compiled with what was decided is another one up to there");
}

/* Files are those that the run began with; one that is new is looked at before the run goes on. */
static kd_status take_weights(const kd_machine *from, kd_machine *to) {
  for (uint32_t i = 0; i < to->m->nweights; i++)
    for (uint32_t k = 0; k < from->m->nweights && !to->weights[i].path; k++) {
      if (strcmp(to->m->weights[i], from->m->weights[k]) != 0 || !from->weights[k].path) continue;
      to->weights[i].hash = from->weights[k].hash;
      if (!(to->weights[i].path = strdup(from->weights[k].path))) return KD_E_MEMORY;
    }
  return KD_OK;
}

static bool has_all(const kd_machine *from, const kd_machine *to, const kd_load *l) {
  for (uint32_t i = 0; i < l->n; i++) if (twin(to->m, l->slot[i], from->m) < 0) return false;
  return true;
}

/* Initial values, as at the start of the run: loads, and then the first program. What the machine before holds is not loaded again. */
static kd_status initialise(const kd_machine *from, kd_machine *to) {
  kd_status s = KD_OK;
  for (bool load = true; load && s == KD_OK;) {
    const kd_code *c = &to->m->code[to->pos.pc];
    load = c->op == KD_CODE_LOAD;
    if (load && has_all(from, to, &to->m->load[c->a])) to->pos.pc++;
    else s = kd__code_one(to);
  }
  return s;
}

kd_status kd__machine_decided(kd_machine **at, const kd_module *m, kd__run_error *err) {
  kd_machine *from = *at, *to;
  const kd_code *waits = &from->m->code[from->pos.pc];
  int64_t pc = decide_at(m, waits->a);
  *err = (kd__run_error){ 0 };
  if (pc < 0 || !prefix(from->m, m) || !m->decision[waits->a].made || from->pos.nopen) return lost(err);
  kd_status s = kd__machine_prepare(m, &from->opt, &to, err);
  if (s != KD_OK) return s;
  kd__choices_lend(from, to);
  to->progress = from->progress;
  to->begun = from->begun;
  s = take_weights(from, to);
  if (s == KD_OK && !take_slots(from, to)) s = lost(&to->error);
  if (s == KD_OK) s = initialise(from, to);
  if (s == KD_OK && from->opt.out && !kd__record_names(to)) s = KD_E_MEMORY;
  if (s != KD_OK) { *err = to->error; err->status = s; }
  else if (!take_slots(from, to)) s = lost(err);
  if (s != KD_OK) { to->ended = true; kd__machine_close(to); return s; }
  take_position(from, to, pc);
  take_folder(from, to);
  kd__choices_move(from, to);
  kd__written_move(from, to);
  *at = to;
  from->ended = true;
  kd__machine_close(from);
  s = kd__written_open(to);
  if (s != KD_OK) *err = to->error;
  return s;
}
