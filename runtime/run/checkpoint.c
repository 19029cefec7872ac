/* checkpoint.c: the machine's state in its run folder from time to time, and going on from there.
 *
 * A checkpoint is written between two instructions, when the slots and the position say everything, and takes the place of the last one when
 * it is whole and synced; the log is synced before, and cut back on resuming to the length that it had then. */
#include "runtime/run/machine.h"
#include "runtime/run/settings.h"
#include "runtime/files/file.h"
#include "runtime/files/safetensors.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const double seconds_default = 60;
enum { SHARE = 20 };                             /* at most one part in so many of the time goes to checkpoints that are due by time */

static double interval(const kd_machine *r) {
  double s = r->opt.checkpoint_seconds;
  return s < 0 ? INFINITY : s > 0 ? s : seconds_default;
}

bool kd__checkpoint_wanted(const kd_machine *r) { return r->folder && (isfinite(interval(r)) || r->opt.checkpoint_steps > 0); }

static void count_anew(kd_machine *r, double took) {
  double wait = interval(r);
  r->due.at = kd__now() + (wait > took * SHARE ? wait : took * SHARE);
  r->due.step = r->opt.checkpoint_steps > 0 ? r->pos.steps + r->opt.checkpoint_steps : INT64_MAX;
}

void kd__checkpoint_begin(kd_machine *r) { count_anew(r, 0); }

bool kd__checkpoint_due(const kd_machine *r) {
  return r->folder && (r->pos.steps >= r->due.step || (isfinite(r->due.at) && kd__now() >= r->due.at));
}

kd_status kd__checkpoint_write(kd_machine *r) {
  double begin = kd__now();
  kd__run_error err = { 0 };
  kd_status s = kd__record_kernels(r);
  if (s != KD_OK) return s;
  s = kd__written_sync(r);
  if (s != KD_OK) return s;
  s = kd__folder_sync(r->folder, err.text, sizeof err.text);
  char *path = s == KD_OK ? kd__folder_claim(r->folder, KD__CHECKPOINT, &s, err.text, sizeof err.text) : NULL;
  if (path) s = kd__machine_save(r, path, &err);
  free(path);
  count_anew(r, kd__now() - begin);
  return s == KD_OK ? s : kd__tell_note(r, "no checkpoint was written: %.400s", err.text);
}

/* --- what had been decided --------------------------------------------------------------------------------------------------------------- */
kd_status kd__checkpoint_decided(const char *folder, int64_t **out, size_t *count, char *why, size_t n) {
  kd__arena a;
  kd__safetensors f;
  *out = NULL;
  *count = 0;
  kd__arena_init(&a, NULL, NULL);
  const char *path = kd__arena_printf(&a, "%s/" KD__CHECKPOINT, folder);
  kd_status s = path ? KD_OK : kd__why(why, n, KD_E_MEMORY, "out of memory");
  if (s == KD_OK && access(path, F_OK) == 0) {
    s = kd__st_open(path, &f, why, n);
    const char *text = s == KD_OK ? kd__st_meta(&f, "decided") : NULL;
    if (text && !(*out = calloc(strlen(text) + 1, sizeof **out))) s = kd__why(why, n, KD_E_MEMORY, "out of memory");
    for (char *end; s == KD_OK && text && *text; text = end) {
      (*out)[(*count)++] = strtoll(text, &end, 10);
      if (end == text) { s = kd__why(why, n, KD_E_FORMAT, "%s: is not a saved run", path); break; }
    }
    kd__st_close(&f);
  }
  kd__arena_free(&a);
  if (s == KD_OK) return s;
  free(*out);
  *out = NULL;
  return s;
}

/* --- going on ------------------------------------------------------------------------------------------------------------------------- */
static kd_status failed(kd__run_error *err, kd_status s) {
  err->status = s;
  return s;
}

/* What was recorded when the run began must hold here. */
static kd_status settings_fit(kd_machine *r, kd__run_error *err) {
  kd__settings *set;
  kd_status s = kd__settings_load(r->opt.out, &set, err->text, sizeof err->text);
  if (s == KD_OK) s = kd__settings_fit(r, set, err->text, sizeof err->text);
  kd__settings_free(set);
  return failed(err, s);
}

static kd_status go_on(kd_machine *r, bool anew, int64_t log, kd__run_error *err) {
  kd_status s = kd__folder_rewind(r->folder, log, err->text, sizeof err->text);
  if (s != KD_OK) return failed(err, s);
  s = anew ? kd__record_start(r) : KD_OK;
  if (s == KD_OK) s = kd__record_resumed(r);
  if (s != KD_OK) { *err = r->error; return s; }
  kd__checkpoint_begin(r);
  kd__tell_resumed(r, anew);
  return KD_OK;
}

kd_status kd__checkpoint_resume(kd_machine *r, kd__run_error *err) {
  bool done = false;
  int64_t log = 0;
  kd_status s = kd__folder_reopen(r->opt.out, &r->folder, &done, err->text, sizeof err->text);
  if (s != KD_OK) return failed(err, s);
  if (done) return failed(err, kd__why(err->text, sizeof err->text, KD_E_USAGE, "%s: the run has ended, there is nothing left to do", r->opt.out));
  s = settings_fit(r, err);
  if (s != KD_OK) return s;
  s = kd__choices_open(r, err->text, sizeof err->text);
  if (s != KD_OK) return failed(err, s);
  char *path = kd__folder_path(r->folder, KD__CHECKPOINT);
  if (!path) return failed(err, kd__why(err->text, sizeof err->text, KD_E_MEMORY, "out of memory"));
  bool anew = access(path, F_OK) != 0;
  if (!anew) s = kd__state_read(r, path, &log, err);
  if (s == KD_OK && log < 0) s = failed(err, kd__why(err->text, sizeof err->text, KD_E_FORMAT, "%s: was not written by a run in this folder", path));
  free(path);
  return s == KD_OK ? go_on(r, anew, log, err) : s;
}
