/* machine.c: a machine's life: opening, going, closing. */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"
#include "runtime/kernels/choice.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS_MAX = 1024 };

/* --- errors ---------------------------------------------------------------------------------------------------------------------- */
kd_status kd__fail(kd_machine *r, kd_status s, uint32_t origin, const char *fmt, ...) {
  kd__run_error *e = &r->error;
  *e = (kd__run_error){ .status = s, .origin = origin };
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
  va_end(ap);
  if (r->pos.stage < 0) return s;
  e->stage = r->m->stage[r->pos.stage].name;
  e->epoch = kd__epoch_number(r);
  e->step = r->pos.step + r->in_step;
  if (n >= 0 && (size_t)n < sizeof e->text)
    snprintf(e->text + n, sizeof e->text - (size_t)n, " (stage `%s`, epoch %lld, step %lld)", e->stage, (long long)e->epoch, (long long)e->step);
  return s;
}

static kd_status wrong(kd__run_error *err, kd_status s, const char *text) {
  *err = (kd__run_error){ .status = s };
  return kd__why(err->text, sizeof err->text, s, "%s", text);
}

/* --- fused groups ------------------------------------------------------------------------------------------------------------------- */
/* Seconds: what native code costs before the first step, LLVM once and each group; and what it spares in a step, for each vector operation, which the
 * threads share, and each group that is run (docs/jit.md has the measurements). It is worth it where it spares twice what it costs. */
static const double NATIVE_ONCE = 0.06, NATIVE_GROUP = 0.003, SPARES_WORK = 2e-10, SPARES_CALL = 4e-8;
enum { THREADS_COUNTED = 2 };                    /* where the bits must not depend on how many there are */

static double spared(const kd_plan *p, int threads, double *groups) {
  double all = 0;
  for (uint32_t i = 0; i < p->ncall; i++) {
    const kd_plan_call *c = &p->call[i];
    if (c->group) all += kd__group_work(c->group) * SPARES_WORK / threads + SPARES_CALL, ++*groups;
    if (c->op == KD_OP_LOOP && c->loop) all += (double)c->loop->times * spared(c->loop->body, threads, groups);
  }
  return all;
}
/* A pure function of the program, of the number of threads and of what is installed: the plan that gains most, as often as training steps are planned,
 * against the groups of all. */
static bool worth_native(const kd_module *m, int threads) {
  double most = 0, steps = 0, groups = 0;
  for (uint32_t i = 0; i < m->nplan; i++) most = fmax(most, spared(m->plan[i], threads, &groups));
  for (uint32_t i = 0; i < m->nstage; i++) steps += (double)m->stage[i].steps;
  return most * steps >= 2 * (NATIVE_ONCE + NATIVE_GROUP * groups);
}
static kd_status choose_backend(const kd_module *m, const kd__run_options *o, kd_kernel_settings *out, char *why, size_t n) {
  if (o->backend < KD__BACKEND_AUTO || o->backend > KD__BACKEND_JIT) return kd__why(why, n, KD_E_USAGE, "the backend is 0, 1 or 2");
  out->jit = o->backend == KD__BACKEND_JIT || (o->backend == KD__BACKEND_AUTO && worth_native(m, o->deterministic ? THREADS_COUNTED : out->threads) && kd__jit_there());
  if (out->jit && !kd__jit_there()) return kd__why(why, n, KD_E_UNAVAILABLE, "there is no native code for groups: %s; the run can do without (--backend=interp)", kd__jit_about());
  out->compiled = o->search.cache;
  return KD_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------------------------ */
kd_status kd__run_settings(const kd_module *m, const kd__run_options *o, kd_kernel_settings *out, kd__run_error *err) {
  if (o->threads < 0 || o->threads > THREADS_MAX) return wrong(err, KD_E_USAGE, "the number of threads is 1 to 1024, or 0 for the cores of this machine");
  if (o->winograd < KD_WINOGRAD_AUTO || o->winograd > KD_WINOGRAD_ON) return wrong(err, KD_E_USAGE, "winograd is 0, 1 or 2");
  *out = (kd_kernel_settings){ .threads = o->threads ? o->threads : kd__cores(), .deterministic = o->deterministic, .use_dnnl = !o->no_dnnl, .reference = o->reference,
                               .winograd = (kd_winograd)o->winograd };
  char why[512];
  kd_status s = o->reference ? KD_OK : kd__kernel_check(why, sizeof why);
  if (s == KD_OK && !o->reference) s = choose_backend(m, o, out, why, sizeof why);
  return s == KD_OK ? s : wrong(err, s, why);
}

static kd_status choose_settings(kd_machine *r, kd__run_error *err) {
  kd_status s = kd__run_settings(r->m, &r->opt, &r->set, err);
  if (s != KD_OK) return s;
  r->exec = (kd_exec){ .threads = r->set.threads, .deterministic = r->set.deterministic, .fault = &r->fault };
  if (!r->opt.resume) s = kd__choices_open(r, err->text, sizeof err->text);      /* else when the folder was looked at */
  kd__record_machine(r);
  return s != KD_OK ? s : r->libraries.failed || r->processor.failed ? KD_E_MEMORY : KD_OK;
}

/* By register: under which name the training plan that fills it shows it. By counter: whether it is a loop's. */
static void read_code(kd_machine *r) {
  for (uint32_t i = 0; i < r->m->ncode; i++) {
    const kd_code *c = &r->m->code[i];
    if (c->op == KD_CODE_LOOP) r->looping[c->a] = true;
    if (c->op != KD_CODE_STEP && c->op != KD_CODE_LOSS) continue;
    for (uint32_t k = 0; k < r->m->plan[c->a]->nresult; k++) r->reg_name[c->b + k] = r->m->plan[c->a]->result[k].name;
  }
}

static kd_status get_memory(kd_machine *r) {
  const kd_module *m = r->m;
  for (uint32_t i = 0; i < m->nplan; i++)
    if ((size_t)m->plan[i]->arena_size > r->arena_size) r->arena_size = (size_t)m->plan[i]->arena_size;
  r->data = calloc(m->ndataset + (size_t)1, sizeof *r->data);
  r->written = calloc(m->ndataset + (size_t)1, sizeof *r->written);
  r->bound = calloc(m->nplan + (size_t)1, sizeof *r->bound);
  r->stream = calloc(m->nstream + (size_t)1, sizeof *r->stream);
  r->kept = calloc(m->nkept + (size_t)1, sizeof *r->kept);
  r->weights = calloc(m->nweights + (size_t)1, sizeof *r->weights);
  r->best = calloc(m->ngroup + (size_t)1, sizeof *r->best);
  r->reg_name = calloc(m->nreg + (size_t)1, sizeof *r->reg_name);
  r->looping = calloc(m->ncounter + (size_t)1, sizeof *r->looping);
  r->value = calloc(m->nreg + (size_t)1, sizeof *r->value);
  r->kernels = calloc(m->nplan + (size_t)1, sizeof *r->kernels);
  if (!r->kernels || !r->kept || !r->weights || !r->written || !r->data || !r->bound || !r->stream || !r->best || !r->reg_name || !r->looping || !r->value) return KD_E_MEMORY;
  if (!kd__position_init(&r->pos, m)) return KD_E_MEMORY;
  kd_status s = kd__store_open(&r->store, m->slot, m->nslot);
  if (s != KD_OK) return s;
  r->arena = kd__block_get(r->arena_size);
  if (!r->arena) return KD_E_MEMORY;
  for (int a = 0; a < KD_AMBIENT_COUNT; a++)
    if (m->ambient[a] >= 0) r->ambient[a] = kd__store_at(&r->store, (uint32_t)m->ambient[a]);
  uint64_t key = kd__mix(r->opt.seed, 0x7265706c61u);                                                 /* "repla"; program.c has the others */
  if (r->ambient[KD_AMBIENT_KEY_REPLAY]) memcpy(r->ambient[KD_AMBIENT_KEY_REPLAY], &key, sizeof key);
  read_code(r);
  return KD_OK;
}

static kd_status open_written(kd_machine *r, kd__run_error *err) {
  kd_status s = kd__written_open(r);
  if (s != KD_OK) *err = r->error;
  return s;
}

/* A run that is gone on with has its weights; what a reset takes is looked for there. */
static kd_status open_weights(kd_machine *r, kd__run_error *err) {
  kd_status s = r->opt.resume ? KD_OK : kd__weights_open(r);
  if (s != KD_OK) *err = r->error;
  return s;
}

static kd_status open_folder(kd_machine *r, kd__run_error *err) {
  if (!r->opt.out) return KD_OK;
  if (!kd__record_names(r)) return KD_E_MEMORY;
  kd__checkpoint_begin(r);
  if (r->opt.resume) return kd__checkpoint_resume(r, err);
  kd_status s = kd__folder_open(r->opt.out, &r->folder, err->text, sizeof err->text);
  if (s == KD_OK) s = kd__choices_record(r, err->text, sizeof err->text);
  if (s != KD_OK) return s;
  s = kd__record_start(r);
  if (s != KD_OK) *err = r->error;
  return s;
}

/* On failure it is closed, and `err` says why. */
static kd_status opened(kd_machine *r, kd_status s, kd_machine **out, kd__run_error *err) {
  if (s == KD_OK) { *out = r; return KD_OK; }
  err->status = s;
  if (!err->text[0]) wrong(err, s, s == KD_E_MEMORY ? "out of memory for the program's parameters and intermediate values" : kd_status_text(s));
  r->ended = true;
  kd__machine_close(r);
  return s;
}

kd_status kd__machine_prepare(const kd_module *m, const kd__run_options *o, kd_machine **out, kd__run_error *err) {
  *out = NULL;
  *err = (kd__run_error){ 0 };
  kd_status s = kd__module_check(m, err);
  if (s != KD_OK) return s;
  kd_machine *r = calloc(1, sizeof *r);
  if (!r) return wrong(err, KD_E_MEMORY, "out of memory");
  r->m = m;
  r->opt = *o;
  r->pos.stage = -1;
  r->progress = (kd__progress){ .opened = kd__now(), .first_step = 1 };
  r->fingerprint = r->begun = kd__module_fingerprint(m);
  s = choose_settings(r, err);
  if (s == KD_OK) s = get_memory(r);
  if (s == KD_OK) s = kd__streams_open(r, err);
  return opened(r, s, out, err);
}

kd_status kd__machine_open(const kd_module *m, const kd__run_options *o, kd_machine **out, kd__run_error *err) {
  kd_machine *r;
  kd_status s = kd__machine_prepare(m, o, &r, err);
  if (s != KD_OK) { *out = NULL; return s; }
  *out = NULL;
  s = open_weights(r, err);
  if (s == KD_OK) s = open_folder(r, err);
  if (s == KD_OK) s = open_written(r, err);
  return opened(r, s, out, err);
}

/* --- going ------------------------------------------------------------------------------------------------------------------------------- */
/* All but what came of the run: threads, files, the lock on the folder, and the larger part of the memory. */
void kd__machine_release(kd_machine *r) {
  kd__streams_close(r);
  kd__written_close(r);
  kd__kept_close(r);
  for (uint32_t i = 0; r->bound && i < r->m->nplan; i++) {
    kd__bound_close(r->bound[i]);
    r->bound[i] = NULL;
  }
  kd__block_free(r->exec.scratch, r->scratch_size);
  kd__block_free(r->arena, r->arena_size);
  r->exec.scratch = r->arena = NULL;
  r->scratch_size = r->arena_size = 0;
  kd__folder_close(r->folder);
  r->folder = NULL;
}

static kd_status go(kd_machine *r, int64_t until, kd__run_error *err) {
  kd_status s = r->error.status;
  if (s == KD_OK && !r->ended) {
    s = kd__code_go(r, until);
    if (s != KD_OK) r->ended = true;
    if (r->ended) {
      kd_status end = kd__record_end(r);
      if (s == KD_OK) s = end;
      kd__machine_release(r);
    }
  }
  *err = r->error;
  return s;
}

kd_status kd__machine_go(kd_machine *r, kd__run_error *err) { return go(r, INT64_MAX, err); }

kd_status kd__machine_steps(kd_machine *r, int64_t steps, bool *done, kd__run_error *err) {
  kd_status s = go(r, r->pos.steps + steps, err);
  *done = r->ended;
  return s;
}

void kd__machine_close(kd_machine *r) {
  if (!r) return;
  if (!r->ended) kd__record_stopped(r);
  kd__machine_release(r);
  for (uint32_t i = 0; r->best && i < r->m->ngroup; i++) kd__block_free(r->best[i], kd__group_bytes(r->m, i));
  kd__store_close(&r->store);
  kd__position_free(&r->pos);
  for (uint32_t i = 0; r->kernels && i < r->m->nplan; i++) free(r->kernels[i]);
  for (uint32_t i = 0; r->weights && i < r->m->nweights; i++) free(r->weights[i].path);
  for (size_t i = 0; r->source_file && i < r->opt.nsource; i++) free(r->source_file[i]);
  kd__choices_free(r->choices);
  kd__buf_free(&r->libraries);
  kd__buf_free(&r->processor);
  kd__buf_free(&r->data_now);
  free(r->kernels);
  free(r->source_file);
  free(r->data);
  free(r->written);
  free(r->weights);
  free(r->kept);
  free(r->bound);
  free(r->stream);
  free(r->best);
  free(r->reg_name);
  free(r->looping);
  free(r->value);
  free(r);
}

/* --- looking ------------------------------------------------------------------------------------------------------------------------------ */
double kd__machine_report(const kd_machine *r, uint32_t i) { return i < r->m->nreport ? r->pos.reg[r->m->report[i].reg] : NAN; }
const void *kd__machine_slot(const kd_machine *r, uint32_t slot) { return slot < r->m->nslot ? kd__store_at(&r->store, slot) : NULL; }
const kd__run_error *kd__machine_error(const kd_machine *r) { return &r->error; }
int kd__machine_threads(const kd_machine *r) { return r->set.threads; }
