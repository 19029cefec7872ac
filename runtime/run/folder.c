/* folder.c: making, claiming and filling a run folder. */
#include "runtime/run/folder.h"
#include "runtime/files/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char first_line[] = "kdc run folder 1\n";
enum { MARKER_MAX = 16 << 20 };

/* A file that grows by whole lines. */
typedef struct lines { int fd; off_t size; } lines;
struct kd__folder {
  char *path;
  lines marker, log;
  struct claim { char *name; bool later; } *claimed; size_t nclaimed;  /* later: not yet synced */
};

static kd_status failed(char *why, size_t n, const char *path, const char *doing, int e) {
  const char *text = strerrordesc_np(e);
  const char *mend = e == ENOSPC || e == EDQUOT ? "; free some space there" : e == EACCES || e == EPERM || e == EROFS ? "; check who may write there" : "";
  return kd__why(why, n, e == ENOMEM ? KD_E_MEMORY : KD_E_IO, "%s: cannot %s: %s%s", path, doing, text ? text : "unknown error", mend);
}

static char *join(const char *folder, const char *name) {
  char *p;
  size_t n = strlen(folder);
  return asprintf(&p, "%s%s%s", folder, n && folder[n - 1] != '/' ? "/" : "", name) < 0 ? NULL : p;
}

static int make_folder(const char *path) {
  struct stat st;
  if (mkdir(path, 0777) == 0) return 0;
  int e = errno;
  if (stat(path, &st) == 0) return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
  return e;
}

/* Makes every folder on the way to `path`, and `path` itself when `whole`. An error number or 0. */
static int make_folders(char *path, bool whole) {
  int e = 0;
  for (char *p = path + 1; *p && !e; p++) {
    if (*p != '/') continue;
    *p = 0;
    e = make_folder(path);
    *p = '/';
  }
  return e || !whole ? e : make_folder(path);
}

/* Relative, without empty parts, "." and "..", and without a newline: may stand in the marker. */
static bool name_ok(const char *name) {
  if (!*name || strchr(name, '\n')) return false;
  for (const char *p = name;;) {
    size_t k = strcspn(p, "/");
    if (k == 0 || (k == 1 && p[0] == '.') || (k == 2 && p[0] == '.' && p[1] == '.')) return false;
    if (!p[k]) return true;
    p += k + 1;
  }
}

/* Appends all of it or nothing. An error number or 0. */
static int append(lines *l, const char *text, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t k = write(l->fd, text + done, bytes - done);
    if (k > 0) { done += (size_t)k; continue; }
    if (k < 0 && errno == EINTR) continue;
    int e = k < 0 ? errno : ENOSPC;
    return done == 0 || ftruncate(l->fd, l->size) == 0 ? e : errno;
  }
  l->size += (off_t)bytes;
  return 0;
}

/* --- what an earlier run left ------------------------------------------------------------------------------------------------ */
static void remove_file(const kd__folder *f, const char *name) {
  char *path = join(f->path, name);
  if (path && name_ok(name)) {
    unlink(path);
    for (char *slash; (slash = strrchr(path, '/')) && (size_t)(slash - path) > strlen(f->path);) {
      *slash = 0;
      if (rmdir(path) != 0) break;
    }
  }
  free(path);
}

/* Files that a killed run was writing aside, in the folder or in `sub` below it. */
static void remove_parts(const kd__folder *f, const char *sub) {
  char *path = join(f->path, sub);
  DIR *d = path ? opendir(path) : NULL;
  for (struct dirent *e; d && (e = readdir(d));) {
    size_t n = strlen(e->d_name);
    if (e->d_name[0] != '.' || n <= 5 || strcmp(e->d_name + n - 5, ".part") != 0) continue;
    char *part = join(path, e->d_name);
    if (part) unlink(part);
    free(part);
  }
  if (d) closedir(d);
  free(path);
}

static kd_status remove_earlier(kd__folder *f, const char *marker, char *why, size_t n) {
  char *text;
  size_t bytes;
  kd_status s = kd__file_read(marker, MARKER_MAX, &text, &bytes, why, n);
  if (s != KD_OK) return s;
  bool begun = bytes < sizeof first_line - 1 && memcmp(text, first_line, bytes) == 0;   /* the disk was full then */
  if (!begun && strncmp(text, first_line, sizeof first_line - 1) != 0) {
    free(text);
    return kd__why(why, n, KD_E_IO, "%s: its file " KD__RUN_MARKER " was not written by a run; choose another folder", f->path);
  }
  for (char *rest = begun ? NULL : text + sizeof first_line - 1, *name; (name = strsep(&rest, "\n"));)
    if (rest) remove_file(f, name);              /* a last line without its end was never acted on */
  remove_parts(f, "");
  free(text);
  return KD_OK;
}

static bool holds_files(const char *path) {
  DIR *d = opendir(path);
  bool any = false;
  if (!d) return false;
  for (struct dirent *e; !any && (e = readdir(d));) any = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  closedir(d);
  return any;
}

/* --- opening ------------------------------------------------------------------------------------------------------------------- */
static kd_status lock_marker(kd__folder *f, const char *marker, char *why, size_t n) {
  int fd = open(marker, O_RDWR | O_APPEND | O_CLOEXEC);
  bool earlier = fd >= 0;
  if (!earlier && errno == ENOENT) {
    if (holds_files(f->path))
      return kd__why(why, n, KD_E_IO, "%s: holds files that no run wrote; choose a new folder, or empty this one", f->path);
    fd = open(marker, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  f->marker.fd = fd;
  if (fd < 0) return failed(why, n, f->path, "write to it", errno);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return kd__why(why, n, KD_E_IO, "%s: another run is writing there; choose another folder", f->path);
  kd_status s = earlier ? remove_earlier(f, marker, why, n) : KD_OK;
  if (s != KD_OK) return s;
  int e = ftruncate(fd, 0) == 0 ? append(&f->marker, first_line, sizeof first_line - 1) : errno;
  return e ? failed(why, n, f->path, "write to it", e) : KD_OK;
}

static kd_status open_log(kd__folder *f, char *why, size_t n) {
  kd_status s;
  char *path = kd__folder_claim(f, "log.jsonl", &s, why, n);
  if (!path) return s;
  f->log.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (f->log.fd < 0) s = failed(why, n, path, "create it", errno);
  free(path);
  return s;
}

/* Nothing is touched yet. Both are the caller's to give back, also on failure. */
static kd_status begin(const char *path, kd__folder **f, char **marker, char *why, size_t n) {
  *f = calloc(1, sizeof **f);
  *marker = join(path, KD__RUN_MARKER);
  if (*f) {
    (*f)->marker.fd = (*f)->log.fd = -1;
    (*f)->path = strdup(path);
  }
  return *f && (*f)->path && *marker ? KD_OK : kd__why(why, n, KD_E_MEMORY, "out of memory");
}

kd_status kd__folder_open(const char *path, kd__folder **out, char *why, size_t n) {
  *out = NULL;
  if (!*path) return kd__why(why, n, KD_E_IO, "the run folder has no name");
  kd__folder *f;
  char *marker;
  kd_status s = begin(path, &f, &marker, why, n);
  int e = s == KD_OK ? make_folders(f->path, true) : 0;
  if (e) s = failed(why, n, path, "make this folder", e);
  if (s == KD_OK) s = lock_marker(f, marker, why, n);
  if (s == KD_OK) s = open_log(f, why, n);
  free(marker);
  if (s == KD_OK) *out = f;
  else kd__folder_close(f);
  return s;
}

/* --- opening again -------------------------------------------------------------------------------------------------------------- */
static kd_status add_claim(kd__folder *f, const char *name, size_t len, char *why, size_t n) {
  struct claim *list = realloc(f->claimed, (f->nclaimed + 1) * sizeof *list);
  if (list) f->claimed = list;
  char *copy = list ? strndup(name, len) : NULL;
  if (!copy) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  f->claimed[f->nclaimed++] = (struct claim){ copy, true };
  return KD_OK;
}

/* What the marker lists. A last line without its end was never acted on: the marker is cut before it. */
static kd_status read_marker(kd__folder *f, const char *marker, char *why, size_t n) {
  char *text;
  size_t bytes;
  kd_status s = kd__file_read(marker, MARKER_MAX, &text, &bytes, why, n);
  if (s != KD_OK) return s;
  if (strncmp(text, first_line, sizeof first_line - 1) != 0) s = kd__why(why, n, KD_E_IO, "%s: its file " KD__RUN_MARKER " was not written by a run", f->path);
  char *at = text + (s == KD_OK ? sizeof first_line - 1 : 0), *end;
  for (; s == KD_OK && (end = strchr(at, '\n')); at = end + 1) s = add_claim(f, at, (size_t)(end - at), why, n);
  f->marker.size = at - text;
  free(text);
  return s;
}

/* Is the log's last line that of a run that ended well? */
static bool says_done(int fd, off_t size) {
  enum { TAIL = 4096 };
  char tail[TAIL + 1];
  ssize_t k = pread(fd, tail, TAIL, size > TAIL ? size - TAIL : 0);
  if (k <= 0 || tail[k - 1] != '\n') return false;
  tail[k - 1] = 0;
  char *line = strrchr(tail, '\n');
  line = line ? line + 1 : tail;
  return strncmp(line, "{\"event\":\"end\",", 15) == 0 && strstr(line, ",\"status\":\"done\"");
}

static kd_status reopen_log(kd__folder *f, bool *done, char *why, size_t n) {
  struct stat st;
  char *path = join(f->path, "log.jsonl");
  if (!path) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  f->log.fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  kd_status s = f->log.fd < 0 || fstat(f->log.fd, &st) != 0 ? failed(why, n, path, "open it", errno) : KD_OK;
  if (s == KD_OK) f->log.size = st.st_size;
  if (s == KD_OK) *done = says_done(f->log.fd, st.st_size);
  free(path);
  return s;
}

kd_status kd__folder_reopen(const char *path, kd__folder **out, bool *done, char *why, size_t n) {
  *out = NULL;
  kd__folder *f;
  char *marker;
  kd_status s = begin(path, &f, &marker, why, n);
  if (s == KD_OK && (f->marker.fd = open(marker, O_RDWR | O_APPEND | O_CLOEXEC)) < 0)
    s = errno == ENOENT ? kd__why(why, n, KD_E_IO, "%s: is not the folder of a run", path) : failed(why, n, path, "write to it", errno);
  if (s == KD_OK && flock(f->marker.fd, LOCK_EX | LOCK_NB) != 0)
    s = errno == EWOULDBLOCK ? kd__why(why, n, KD_E_IO, "%s: the run is still at work", path) : failed(why, n, path, "lock it", errno);
  if (s == KD_OK) s = read_marker(f, marker, why, n);
  if (s == KD_OK) s = reopen_log(f, done, why, n);
  free(marker);
  if (s == KD_OK) *out = f;
  else kd__folder_close(f);
  return s;
}

kd_status kd__folder_rewind(kd__folder *f, int64_t size, char *why, size_t n) {
  if (size > f->log.size)
    return kd__why(why, n, KD_E_FORMAT, "%s: log.jsonl is shorter than it was at the last checkpoint: somebody changed it", f->path);
  if (ftruncate(f->marker.fd, f->marker.size) != 0 || ftruncate(f->log.fd, size) != 0) return failed(why, n, f->path, "write to it", errno);
  f->log.size = size;
  remove_parts(f, "");
  for (size_t i = 0; i < f->nclaimed; i++) {
    char *slash = strrchr(f->claimed[i].name, '/');
    if (!slash || !name_ok(f->claimed[i].name)) continue;
    *slash = 0;
    remove_parts(f, f->claimed[i].name);
    *slash = '/';
  }
  remove_file(f, "report.json");
  return KD_OK;
}

int64_t kd__folder_log_size(const kd__folder *f) { return f->log.size; }
char *kd__folder_path(const kd__folder *f, const char *name) { return join(f->path, name); }
void kd__folder_remove(const kd__folder *f, const char *name) { remove_file(f, name); }

void kd__folder_close(kd__folder *f) {
  if (!f) return;
  if (f->log.fd >= 0) close(f->log.fd);
  if (f->marker.fd >= 0) close(f->marker.fd);    /* and with it goes the lock */
  for (size_t i = 0; i < f->nclaimed; i++) free(f->claimed[i].name);
  free(f->claimed);
  free(f->path);
  free(f);
}

/* --- writing -------------------------------------------------------------------------------------------------------------------- */
/* Lists the name in the marker before the file is there, so that no file is ever without an owner. */
static kd_status claim(kd__folder *f, const char *name, char *why, size_t n) {
  for (size_t i = 0; i < f->nclaimed; i++)
    if (strcmp(f->claimed[i].name, name) == 0) return KD_OK;
  struct claim *list = realloc(f->claimed, (f->nclaimed + 1) * sizeof *list);
  char *line;
  if (!list) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  f->claimed = list;
  int k = asprintf(&line, "%s\n", name);
  if (k < 0) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  int e = append(&f->marker, line, (size_t)k);
  line[k - 1] = 0;
  if (!e) { f->claimed[f->nclaimed++] = (struct claim){ line, false }; return KD_OK; }
  free(line);
  return failed(why, n, f->path, "write to it", e);
}

char *kd__folder_claim(kd__folder *f, const char *name, kd_status *s, char *why, size_t n) {
  char *path = join(f->path, name);
  if (!path) { *s = kd__why(why, n, KD_E_MEMORY, "out of memory"); return NULL; }
  if (!name_ok(name)) *s = kd__why(why, n, KD_E_USAGE, "%s: '%s' cannot be the name of a file in the run folder", f->path, name);
  else *s = claim(f, name, why, n);
  int e = *s == KD_OK && strchr(name, '/') ? make_folders(path, false) : 0;
  if (e) *s = failed(why, n, path, "make its folder", e);
  if (*s == KD_OK) return path;
  free(path);
  return NULL;
}

kd_status kd__folder_write(kd__folder *f, const char *name, const void *p, size_t bytes, bool later, char *why, size_t n) {
  kd_status s;
  kd__output o;
  char *path = kd__folder_claim(f, name, &s, why, n);
  if (!path) return s;
  s = kd__output_open(&o, path, !later, why, n);
  free(path);
  if (s != KD_OK) return s;
  kd__output_write(&o, p, bytes);
  s = kd__output_commit(&o, why, n);
  for (size_t i = 0; i < f->nclaimed && s == KD_OK && later; i++)
    if (strcmp(f->claimed[i].name, name) == 0) f->claimed[i].later = true;
  return s;
}

kd_status kd__folder_log(kd__folder *f, const kd__buf *line, char *why, size_t n) {
  if (line->failed || !line->p) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  line->p[line->n] = '\n';                       /* a buffer has room for its NUL */
  int e = append(&f->log, line->p, line->n + 1);
  line->p[line->n] = 0;
  return e ? failed(why, n, f->path, "write to log.jsonl", e) : KD_OK;
}

static int sync_path(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC), e = 0;
  if (fd < 0) return errno == ENOENT ? 0 : errno;                      /* somebody took it away: not our loss */
  if (fsync(fd) != 0 && errno != EINVAL) e = errno;                    /* EINVAL: a file system without it */
  close(fd);
  return e;
}

kd_status kd__folder_sync(kd__folder *f, char *why, size_t n) {
  int e = fsync(f->log.fd) == 0 && fsync(f->marker.fd) == 0 ? 0 : errno;
  for (size_t i = 0; i < f->nclaimed && !e; i++) {
    char *path = f->claimed[i].later ? join(f->path, f->claimed[i].name) : NULL, *slash;
    if (!f->claimed[i].later) continue;
    if (!path) return kd__why(why, n, KD_E_MEMORY, "out of memory");
    e = sync_path(path);
    if (!e && (slash = strrchr(path, '/'))) { *slash = 0; e = sync_path(path); }
    f->claimed[i].later = e != 0;
    free(path);
  }
  return e ? failed(why, n, f->path, "write to it", e) : KD_OK;
}

void kd__json_number(kd__buf *b, double v) {
  char text[40];
  if (!isfinite(v)) { kd__buf_puts(b, isnan(v) ? "\"nan\"" : v > 0 ? "\"inf\"" : "\"-inf\""); return; }
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  for (char *p = text; *p; p++)                  /* the locale's decimal point, whatever its bytes */
    if (!strchr("0123456789+-e", *p)) { *p = '.'; for (char *q = p + 1; *q && !strchr("0123456789e", *q);) memmove(q, q + 1, strlen(q)); }
  kd__buf_puts(b, text);
}
