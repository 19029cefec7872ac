/* tune.c: which kernels are the fastest for the shapes of a program, on this machine: measured, and kept in the cache folder for later runs. */
#include "compiler/api/api.h"
#include "runtime/kernels/choice.h"
#include <stdlib.h>

enum { WHY = 400 };
/* Others must be so much faster than the usual kernel to be taken in its place: less is noise. */
#define BETTER 0.95

typedef struct tuning { kd_choices *c; kd_tune_fn tell; void *ctx; bool failed; } tuning;

/* Layers of one shape are tried once. */
static bool wanted(void *ctx, uint64_t key) {
  const tuning *w = ctx;
  return !w->failed && !kd__choices_get(w->c, key);
}

static void found(void *ctx, const kd_tried *t) {
  tuning *w = ctx;
  bool other = t->best_seconds < BETTER * t->usual_seconds;
  const char *kernel = other ? t->best : t->usual;
  if (!kd__choices_set(w->c, t->key, kernel, t->what)) { w->failed = true; return; }
  if (w->tell) w->tell(w->ctx, &(kd_tuned){ t->what, t->usual, kernel, t->usual_seconds, other ? t->best_seconds : t->usual_seconds });
}

static kd_status try_plans(const kd_module *m, const kd_kernel_settings *set, tuning *w) {
  size_t size = 0;
  kd_store store;
  for (uint32_t i = 0; i < m->nplan; i++)
    if ((size_t)m->plan[i]->arena_size > size) size = (size_t)m->plan[i]->arena_size;
  kd_status s = kd__store_open(&store, m->slot, m->nslot);
  void *arena = s == KD_OK ? kd__block_get(size) : NULL;
  if (s == KD_OK && !arena) s = KD_E_MEMORY;
  for (uint32_t i = 0; i < m->nplan && s == KD_OK; i++) {
    kd_bound *b;
    s = kd__plan_bind(m->plan[i], &store, arena, set, &b);
    if (s != KD_OK) break;
    kd__bound_try(b, wanted, found, w);
    kd__bound_close(b);
    if (w->failed) s = KD_E_MEMORY;
  }
  kd__block_free(arena, size);
  kd__store_close(&store);
  return s;
}

kd_status kd_tune(kd_program *p, const kd_run_options *run, kd_tune_fn tell, void *ctx, char **file) {
  if (file) *file = NULL;
  if (!p || !p->module || p->session->closed || !file) return KD_E_USAGE;
  kd__run_options r = kd__run_options_of(p, run ? run : &(kd_run_options){ 0 });
  kd__run_error err = { 0 };
  kd_kernel_settings set;
  char why[WHY] = "";
  kd_status s = kd__run_settings(p->module, &r, &set, &err);
  if (s != KD_OK) { kd__say(p->session, KD__SAY_RUN_FAILED, NULL, err.text); return s; }
  if (!r.search.cache) { kd__say(p->session, KD__SAY_RUN_FAILED, NULL, "there is no cache folder to keep the choices in"); return KD_E_USAGE; }
  tuning w = { .c = kd__choices_new(), .tell = tell, .ctx = ctx };
  s = w.c ? try_plans(p->module, &set, &w) : KD_E_MEMORY;
  if (s == KD_OK) s = kd__choices_keep(r.search.cache, w.c, file, why, sizeof why);
  kd__choices_free(w.c);
  if (s != KD_OK) kd__say(p->session, KD__SAY_RUN_FAILED, NULL, why[0] ? why : kd_status_text(s));
  return s;
}
