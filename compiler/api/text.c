/* text.c: reading sources, and finding modules: beside the file that asks, then in the standard library. */
#include "compiler/api/api.h"
#include "compiler/api/embed.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Length of the UTF-8 sequence at s (n bytes left), 0 when it is not one. */
static size_t sequence(const unsigned char *s, size_t n) {
  if (s[0] < 0x80) return s[0] != 0;
  size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
  return len;
}

kd_status kd__text_check(kd_program *p, const char *path, const char *text, size_t size) {
  if (size > KD_SOURCE_MAX) {
    kd__say(p->session, KD__SAY_TOO_LARGE, path, (int)KD_SOURCE_MAX, (long long)size);
    p->told = true;
    return KD_E_PROGRAM;
  }
  int line = 1;
  for (size_t i = 0; i < size;) {
    size_t len = sequence((const unsigned char *)text + i, size - i);
    if (!len) {
      kd__say(p->session, KD__SAY_NOT_TEXT, path, line, (unsigned char)text[i], i);
      p->told = true;
      return KD_E_PROGRAM;
    }
    line += text[i] == '\n';
    i += len;
  }
  return KD_OK;
}

static kd_status refuse(kd_program *p, kd__say_code code, const char *path, const char *why) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
  kd__say(p->session, code, path, why);
  p->told = true;
  return KD_E_IO;
}

/* Reads what the open file has, as it grows or shrinks, up to one byte more than allowed. */
static kd_status read_all(kd_program *p, const char *path, size_t expect, char **text, size_t *size) {
  size_t cap = expect + 1, n = 0;
  char *t = kd__arena_get(&p->arena, cap + 1);
  for (;;) {
    if (n == cap) {
      if (n > KD_SOURCE_MAX) break;
      char *more = kd__arena_get(&p->arena, 2 * cap + 1);
      memcpy(more, t, n);
      t = more;
      cap *= 2;
    }
    ssize_t got = read(p->fd, t + n, cap - n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return refuse(p, KD__SAY_NO_FILE, path, strerror(errno));
    if (got == 0) break;
    n += (size_t)got;
  }
  t[n] = 0;
  *text = t;
  *size = n;
  return KD_OK;
}

kd_status kd__text_read(kd_program *p, const char *path, const char **text, size_t *size) {
  struct stat st;
  p->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);           /* a pipe that nobody writes to must not hang us here */
  if (p->fd < 0) return refuse(p, KD__SAY_NO_FILE, path, strerror(errno));
  if (fstat(p->fd, &st) < 0) return refuse(p, KD__SAY_NO_FILE, path, strerror(errno));
  if (S_ISDIR(st.st_mode)) return refuse(p, KD__SAY_NOT_A_FILE, path, "it is a directory");
  if (!S_ISREG(st.st_mode)) return refuse(p, KD__SAY_NOT_A_FILE, path, "it is not a regular file");
  if (st.st_size > KD_SOURCE_MAX) {
    close(p->fd);
    p->fd = -1;
    return kd__text_check(p, path, "", (size_t)st.st_size);
  }
  char *t = NULL;
  kd_status s = read_all(p, path, (size_t)st.st_size, &t, size);
  if (s != KD_OK) return s;
  close(p->fd);
  p->fd = -1;
  *text = t;
  return kd__text_check(p, path, t, *size);
}

/* A text that was read before: in a run the only ones. */
static const char *known_text(const kd_program *p, const char *path, size_t *size, const char **shown) {
  for (size_t i = 0; i < p->source.n; i++) {
    const kd__source_copy *s = &p->source.v[i];
    if (strcmp(s->name, path) != 0) continue;
    *size = s->size;
    *shown = s->name;
    return s->text;
  }
  return NULL;
}

/* Of a run that is gone on with: the text that it was compiled from. */
static const char *recorded_text(kd_program *p, const char *path, size_t *size, const char **shown) {
  for (size_t i = 0; i < p->recorded->nsource; i++) {
    const kd__source_copy *s = &p->recorded->source[i];
    if (strcmp(s->name, path) != 0) continue;
    *size = s->size;
    *shown = s->name;
    return s->text;
  }
  return NULL;
}

/* DIR/NAME.kd when it is a file that can be read as a program. */
static const char *module_file(kd_program *p, const char *dir, size_t dir_len, const char *name, size_t *size, const char **shown) {
  struct stat st;
  const char *text = NULL;
  char *path = kd__arena_printf(&p->arena, "%.*s%s.kd", (int)dir_len, dir, name);
  text = known_text(p, path, size, shown);
  if (text || p->sealed) return text;
  if (p->recorded) return recorded_text(p, path, size, shown);
  if (stat(path, &st) < 0 || S_ISDIR(st.st_mode)) return NULL;
  if (kd__text_read(p, path, &text, size) != KD_OK) return NULL;
  *shown = path;
  return text;
}

static size_t dir_length(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? (size_t)(slash - path) + 1 : 0;
}

static const char inside[] = "<stdlib>/";

static const char *library(kd_program *p, const char *name, size_t *size, const char **shown) {
  if (p->stdlib) {
    const char *dir = kd__arena_printf(&p->arena, "%s/", p->stdlib);
    return module_file(p, dir, strlen(dir), name, size, shown);
  }
  if (p->recorded) return module_file(p, inside, sizeof inside - 1, name, size, shown);
  for (size_t i = 0; i < kd__nstdlib; i++)
    if (strcmp(kd__stdlib[i].name, name) == 0) {
      *size = kd__stdlib[i].size;
      *shown = kd__arena_printf(&p->arena, "%s%s.kd", inside, name);
      return kd__stdlib[i].text;
    }
  return NULL;
}

/* Names of the modules below DIR/PREFIX, one a line. */
static void list_folder(const char *dir, const char *prefix, int depth, kd__buf *out) {
  char path[1024], name[512];
  if (snprintf(path, sizeof path, "%s/%s", dir, prefix) >= (int)sizeof path) return;
  DIR *d = depth < 8 ? opendir(path) : NULL;
  for (struct dirent *f; d && (f = readdir(d));) {
    size_t len = strlen(f->d_name);
    if (f->d_name[0] == '.' || snprintf(name, sizeof name, "%s%s", prefix, f->d_name) >= (int)sizeof name - 1) continue;
    if (len > 3 && strcmp(f->d_name + len - 3, ".kd") == 0) kd__buf_printf(out, "%.*s\n", (int)strlen(name) - 3, name);
    else list_folder(dir, strcat(name, "/"), depth + 1, out);
  }
  if (d) closedir(d);
}

static const char *library_names(kd_program *p, size_t *size) {
  kd__buf b = { 0 };
  if (p->stdlib) list_folder(p->stdlib, "", 0, &b);
  else for (size_t i = 0; i < kd__nstdlib; i++) kd__buf_printf(&b, "%s\n", kd__stdlib[i].name);
  *size = b.n;
  return b.n ? kd__buf_keep(&b, &p->arena) : NULL;
}

/* The library's files ask for the library's files, whatever lies around the program; so does the compiler itself (`near` NULL). */
const char *kd__text_module(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  kd_program *p = ctx;
  if (strcmp(name, "?") == 0) return library_names(p, size);
  const char *text = NULL;
  if (near && strncmp(near->path, inside, sizeof inside - 1) != 0) text = module_file(p, near->path, dir_length(near->path), name, size, shown);
  if (!text) text = library(p, name, size, shown);
  if (text) kd__text_remember(p, *shown, text, *size);
  return text;
}

void kd__text_remember(kd_program *p, const char *shown, const char *text, size_t size) {
  for (size_t i = 0; i < p->source.n; i++) if (strcmp(p->source.v[i].name, shown) == 0) return;     /* elaborated more than once */
  KD_PUSH(&p->arena, p->source, (kd__source_copy){ shown, text, size });
}
