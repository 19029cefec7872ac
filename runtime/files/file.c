/* file.c: messages, mapped files, files written aside and renamed. */
#include "runtime/files/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

kd_status kd__why(char *why, size_t n, kd_status s, const char *fmt, ...) {
  if (!why || !n) return s;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(why, n, fmt, ap);
  va_end(ap);
  return s;
}

/* The reason for a failed system call, with its mend where there is an obvious one. */
static kd_status failed(char *why, size_t n, const char *path, const char *doing, int error) {
  char text[128];
  const char *t = strerror_r(error, text, sizeof text);
  const char *mend = error == ENOSPC || error == EDQUOT ? "; free some space there"
                   : error == EACCES || error == EPERM || error == EROFS ? "; check who may read and write there"
                   : error == ENOENT ? "; check the name and that its folder exists" : "";
  return kd__why(why, n, error == ENOMEM ? KD_E_MEMORY : KD_E_IO, "%s: cannot %s: %s%s", path, doing, t, mend);
}

static int open_reading(const char *path) {
  int fd;
  do fd = open(path, O_RDONLY | O_CLOEXEC); while (fd < 0 && errno == EINTR);
  return fd;
}

kd_status kd__map_open(const char *path, kd__map_file *out, char *why, size_t n) {
  *out = (kd__map_file){ 0 };
  int fd = open_reading(path);
  if (fd < 0) return failed(why, n, path, "open it", errno);
  struct stat st;
  if (fstat(fd, &st) != 0) { int e = errno; close(fd); return failed(why, n, path, "look at it", e); }
  if (!S_ISREG(st.st_mode)) { close(fd); return kd__why(why, n, KD_E_IO, "%s: is not a regular file", path); }
  if (st.st_size == 0) { close(fd); return KD_OK; }
  void *p = (uintmax_t)st.st_size > SIZE_MAX ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  int e = errno;
  close(fd);
  if (p == MAP_FAILED) return failed(why, n, path, "map it into memory", e);
  *out = (kd__map_file){ p, (size_t)st.st_size };
  return KD_OK;
}

void kd__map_close(kd__map_file *m) {
  if (m->n) munmap((void *)(uintptr_t)m->p, m->n);
  *m = (kd__map_file){ 0 };
}

/* --- writing -------------------------------------------------------------------------------------------------------- */
/* The random part keeps two writers of one name apart (two runs sharing a cache); O_EXCL settles the rest. */
static int open_aside(const char *path, char **temp) {
  const char *slash = strrchr(path, '/');
  int folder = slash ? (int)(slash - path) + 1 : 0;
  for (int tries = 0; tries < 16; tries++) {
    uint32_t r = 0;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) != (ssize_t)sizeof r) r = (uint32_t)getpid() * 31u + (uint32_t)tries;
    if (asprintf(temp, "%.*s.%.200s.%08x.part", folder, path, path + folder, r) < 0) { *temp = NULL; errno = ENOMEM; return -1; }
    int fd = open(*temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return fd;
    int e = errno;
    free(*temp);
    *temp = NULL;
    errno = e;
    if (e != EEXIST && e != EINTR) return -1;
  }
  return -1;
}

static void forget(kd__output *o) {
  free(o->path);
  free(o->temp);
  *o = (kd__output){ .fd = -1 };
}

kd_status kd__output_open(kd__output *o, const char *path, bool sync, char *why, size_t n) {
  *o = (kd__output){ .fd = -1, .sync = sync, .path = strdup(path) };
  if (!o->path) return kd__why(why, n, KD_E_MEMORY, "%s: out of memory", path);
  o->fd = open_aside(path, &o->temp);
  if (o->fd >= 0) return KD_OK;
  int e = errno;
  forget(o);
  return failed(why, n, path, "create it", e);
}

void kd__output_write(kd__output *o, const void *p, size_t bytes) {
  const char *s = p;
  if (o->fd < 0 && !o->error) o->error = EBADF;
  while (bytes && !o->error) {
    ssize_t k = write(o->fd, s, bytes < (1u << 30) ? bytes : 1u << 30);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) { o->error = k < 0 ? errno : EIO; return; }
    s += k;
    bytes -= (size_t)k;
    o->written += (uint64_t)k;
  }
}

void kd__output_abort(kd__output *o) {
  if (o->fd >= 0) close(o->fd);
  if (o->temp) unlink(o->temp);
  forget(o);
}

/* Without the folder's sync a crash could lose the rename. Some file systems cannot sync folders: that is no failure of ours. */
static void sync_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  free(folder);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

kd_status kd__output_commit(kd__output *o, char *why, size_t n) {
  if (!o->error && o->sync && fsync(o->fd) != 0) o->error = errno;
  /* close may report a write that failed late (network file systems) */
  if (o->fd >= 0 && close(o->fd) != 0 && !o->error) o->error = errno;
  o->fd = -1;
  if (!o->error && rename(o->temp, o->path) != 0) o->error = errno;
  if (o->error) {
    kd_status s = failed(why, n, o->path ? o->path : "file", "write it", o->error);
    kd__output_abort(o);
    return s;
  }
  if (o->sync) sync_folder(o->path);
  forget(o);
  return KD_OK;
}

kd_status kd__file_write(const char *path, const void *p, size_t bytes, char *why, size_t n) {
  kd__output o;
  kd_status s = kd__output_open(&o, path, true, why, n);
  if (s != KD_OK) return s;
  kd__output_write(&o, p, bytes);
  return kd__output_commit(&o, why, n);
}

/* Reads rather than maps, so that the text can be NUL-terminated and files such as /proc's work. */
kd_status kd__file_read(const char *path, size_t limit, char **out, size_t *bytes, char *why, size_t n) {
  *out = NULL;
  *bytes = 0;
  int fd = open_reading(path);
  if (fd < 0) return failed(why, n, path, "open it", errno);
  size_t cap = 4096, got = 0;
  char *p = malloc(cap);
  int error = p ? 0 : ENOMEM;
  while (!error) {
    if (got + 1 == cap) {
      char *q = realloc(p, cap * 2);
      if (!q) { error = ENOMEM; break; }
      p = q;
      cap *= 2;
    }
    ssize_t k = read(fd, p + got, cap - 1 - got);
    if (k < 0 && errno != EINTR) error = errno;
    if (k == 0) break;
    if (k > 0) got += (size_t)k;
    if (got > limit) {
      free(p);
      close(fd);
      return kd__why(why, n, KD_E_FORMAT, "%s: is longer than the %zu bytes that such a file may have", path, limit);
    }
  }
  close(fd);
  if (error) { free(p); return failed(why, n, path, "read it", error); }
  p[got] = 0;
  *out = p;
  *bytes = got;
  return KD_OK;
}

bool kd__make_folders(const char *folder) {
  char *p = strdup(folder);
  if (!p) return false;
  for (char *s = p; *s; s++)
    if (*s == '/' && s > p) { *s = 0; (void)mkdir(p, 0777); *s = '/'; }
  bool ok = mkdir(p, 0777) == 0 || errno == EEXIST;
  free(p);
  return ok;
}
