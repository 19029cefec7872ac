/* temp.h: a temporary folder for the tests of files and data, and small files in it. */
#ifndef KD_TEST_TEMP_H
#define KD_TEST_TEMP_H
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

typedef struct temp { char folder[256], path[512], why[1024]; } temp;

static inline const char *temp_path(temp *t, const char *name) {
  snprintf(t->path, sizeof t->path, "%s/%s", t->folder, name);
  return t->path;
}

static inline const char *temp_write(temp *t, const char *name, const void *p, size_t n) {
  FILE *f = fopen(temp_path(t, name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
  return t->path;
}

static inline const char *temp_gzip(temp *t, const char *name, const void *p, size_t n) {
  gzFile f = gzopen(temp_path(t, name), "wb");
  assert_non_null(f);
  if (n) assert_int_equal(gzwrite(f, p, (unsigned)n), n);
  assert_int_equal(gzclose(f), Z_OK);
  return t->path;
}

/* Number of files in the folder `name` under the temporary one ("" for itself); their last name in `last` if not NULL. */
static inline int temp_count(temp *t, const char *name, char *last, size_t n) {
  DIR *d = opendir(temp_path(t, name));
  int count = 0;
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d));)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
      count++;
      if (last) snprintf(last, n, "%s", e->d_name);
    }
  closedir(d);
  return count;
}

static inline int temp_open(void **state) {
  temp *t = calloc(1, sizeof *t);
  const char *base = getenv("TMPDIR");
  if (!t) return -1;
  snprintf(t->folder, sizeof t->folder, "%.200s/kdtest.XXXXXX", base && *base ? base : "/tmp");
  *state = t;
  return mkdtemp(t->folder) ? 0 : -1;
}

static inline void temp_empty(const char *folder) {
  DIR *d = opendir(folder);
  char path[1024];
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path) continue;
    if (unlink(path) != 0) { temp_empty(path); rmdir(path); }
  }
  closedir(d);
}

static inline int temp_close(void **state) {
  temp *t = *state;
  temp_empty(t->folder);
  rmdir(t->folder);
  free(t);
  return 0;
}

#define assert_contains(text, part) \
  do { if (!strstr((text), (part))) fail_msg("'%s' is not in: %s", (part), (text)); } while (0)
#endif
