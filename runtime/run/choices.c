/* choices.c: measured choices of kernels in the cache folder, and of a run in its folder. */
#include "runtime/files/file.h"
#include "runtime/kernels/choice.h"
#include "runtime/run/machine.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 26 };
#define IN_FOLDER "kernels.txt"

static char *path_of(const char *cache) {
  kd__buf machine = { 0 }, path = { 0 };
  kd__choices_machine(&machine);
  if (!machine.failed && machine.p) kd__buf_printf(&path, "%s/kernels-%016" PRIx64 ".txt", cache, kd__hash(machine.p, machine.n, 0));
  kd__buf_free(&machine);
  if (path.failed) kd__buf_free(&path);
  return path.failed ? NULL : path.p;
}

static kd_choices *load(const char *path, bool *broken) {
  char *text = NULL;
  size_t n;
  kd_choices *c = NULL;
  if (path && kd__file_read(path, FILE_MAX, &text, &n, NULL, 0) == KD_OK) {
    c = kd__choices_read(text, n);
    *broken = !c;
    free(text);
  }
  return c;
}

kd_choices *kd__choices_load(const char *cache, bool *broken) {
  *broken = false;
  char *path = cache ? path_of(cache) : NULL;
  kd_choices *c = load(path, broken);
  free(path);
  return c;
}

/* Two processes that measure at the same time both find theirs in it in the end: who writes reads before what is there by then. */
static int lock_folder(const char *cache) {
  int fd = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (fd >= 0 && flock(fd, LOCK_EX) != 0 && errno == EINTR) {}
  return fd;
}

static kd_status write_file(const char *path, const kd_choices *c, char *why, size_t n) {
  kd__buf text = { 0 };
  kd__output o;
  kd__choices_write(c, &text);
  kd_status s = text.failed ? kd__why(why, n, KD_E_MEMORY, "out of memory") : kd__output_open(&o, path, false, why, n);
  if (s == KD_OK) {
    kd__output_write(&o, text.p, text.n);
    s = kd__output_commit(&o, why, n);
  }
  kd__buf_free(&text);
  return s;
}

kd_status kd__choices_keep(const char *cache, const kd_choices *c, char **where, char *why, size_t n) {
  bool broken = false;
  char *path = path_of(cache);
  *where = NULL;
  if (!path) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  (void)kd__make_folders(cache);
  int lock = lock_folder(cache);
  kd_choices *all = load(path, &broken);
  if (!all) all = kd__choices_new();             /* nothing yet, or nothing that can be used */
  kd_status s = all && kd__choices_add(all, c) ? write_file(path, all, why, n) : kd__why(why, n, KD_E_MEMORY, "out of memory");
  if (lock >= 0) close(lock);
  kd__choices_free(all);
  if (s == KD_OK) *where = path;
  else free(path);
  return s;
}

/* A new run takes what was measured; a resumed one what it began with, whatever has been measured since. */
kd_status kd__choices_open(kd_machine *r, char *why, size_t n) {
  bool broken = false;
  if (r->opt.reference) return KD_OK;
  if (r->opt.resume) {
    kd__buf path = { 0 };
    kd__buf_printf(&path, "%s/" IN_FOLDER, r->opt.out);
    if (!path.failed) r->choices = load(path.p, &broken);
    if (path.failed) return KD_E_MEMORY;
    kd__buf_free(&path);
    if (broken) return kd__why(why, n, KD_E_UNAVAILABLE, "%s/" IN_FOLDER " is broken, or of another processor, libraries or version: it says which kernels were measured to be "
                               "the fastest where the run began, and without it the run would end in other bits; bring the file back, or go on where it began", r->opt.out);
  } else {
    r->choices = kd__choices_load(r->opt.search.cache, &broken);
    if (broken) kd__tell_only(r, "what `kdc tune` measured is broken or of another version: not used; run it again");
  }
  r->set.choices = r->choices;
  return KD_OK;
}

/* What goes on after a decision has those of its beginning, even if more were measured since. Which machine frees them is settled at last. */
void kd__choices_lend(const kd_machine *from, kd_machine *to) {
  kd__choices_free(to->choices);
  to->choices = NULL;
  to->set.choices = from->choices;
}

void kd__choices_move(kd_machine *from, kd_machine *to) {
  to->choices = from->choices;
  from->choices = NULL;
}

kd_status kd__choices_record(kd_machine *r, char *why, size_t n) {
  if (!r->choices || !r->folder) return KD_OK;
  kd__buf text = { 0 };
  kd__choices_write(r->choices, &text);
  kd_status s = text.failed ? kd__why(why, n, KD_E_MEMORY, "out of memory") : kd__folder_write(r->folder, IN_FOLDER, text.p, text.n, true, why, n);
  kd__buf_free(&text);
  return s;
}
