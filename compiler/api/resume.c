/* resume.c: going on with a run from its folder alone. */
#include "compiler/api/api.h"
#include <stdio.h>

enum { WHY = 900 };

static kd_status refuse(kd_session *s, kd_status st, const char *why) {
  kd__say(s, KD__SAY_NO_RESUME, NULL, why);
  return st;
}

/* What the folder knows better. */
static bool only_ours(const kd_run_options *o) {
  return !o->seed && !o->threads && !o->deterministic && !o->no_dnnl && !o->backend && !o->winograd && !o->out && o->checkpoint_steps >= 0;
}

/* Before it is compiled: another version would understand the sources in another way, or not at all. */
static kd_status load(kd_session *s, const char *folder, kd__settings **out) {
  char why[WHY] = "";
  kd_status st = kd__settings_load(folder, out, why, sizeof why);
  if (st != KD_OK) return refuse(s, st, why[0] ? why : kd_status_text(st));
  if (strcmp((*out)->version, kd_version()) == 0) return KD_OK;
  snprintf(why, sizeof why, "%.300s: it was begun by kdc %.40s, and this is kdc %s, whose bits may be others", folder, (*out)->version, kd_version());
  kd__settings_free(*out);
  *out = NULL;
  return refuse(s, KD_E_FORMAT, why);
}

/* 0 stands for what is free now. */
static uint64_t room(int64_t bytes) { return bytes < 0 ? 0 : bytes == 0 ? 1 : (uint64_t)bytes; }

static kd_status compile(kd_session *s, const char *folder, kd__settings *set, kd_program **out) {
  const kd__source_copy *text = NULL;
  for (size_t i = 0; i < set->nsource && !text; i++)
    if (strcmp(set->source[i].name, set->path) == 0) text = &set->source[i];
  if (!text) {
    kd__settings_free(set);
    return refuse(s, KD_E_FORMAT, "settings.json does not name the program's text");
  }
  char why[WHY] = "";
  kd_status st = kd__checkpoint_decided(folder, &set->decided, &set->ndecided, why, sizeof why);
  if (st != KD_OK) {
    kd__settings_free(set);
    return refuse(s, st, why);
  }
  kd_compile_options c = { .set = set->setting, .nset = set->nsetting, .double_precision = set->real == KD_F64, .memory_limit = set->memory_limit, .no_fuse = !set->fuse,
                           .keep = (kd_keep)set->cache, .keep_memory = room(set->cache_memory), .keep_disk = room(set->cache_disk) };
  return kd__compile(s, set->path, text->text, text->size, &c, set, out);
}

kd_status kd_resume(kd_session *s, const char *folder, const kd_run_options *o, kd_program **out) {
  if (out) *out = NULL;
  if (!s || s->closed || !folder || !out) return KD_E_USAGE;
  kd_run_options r = o ? *o : (kd_run_options){ 0 };
  if (!only_ours(&r)) return refuse(s, KD_E_USAGE, "seed, threads, kernels and folder are the run's own and cannot be given again");
  kd__settings *set;
  kd_status st = load(s, folder, &set);
  if (st != KD_OK) return st;
  bool every = r.checkpoint_seconds != 0 || r.checkpoint_steps != 0;
  r.seed = set->seed;
  r.threads = set->threads;
  r.deterministic = set->deterministic;
  r.no_dnnl = !set->dnnl;
  r.winograd = set->winograd;
  r.backend = set->jit ? 2 : 1;
  r.checkpoint_seconds = every ? r.checkpoint_seconds : set->checkpoint_seconds;
  r.checkpoint_steps = every ? r.checkpoint_steps : set->checkpoint_steps;
  r.out = folder;
  st = compile(s, folder, set, out);
  return st == KD_OK && *out ? kd__run(*out, &r, true) : st;
}
