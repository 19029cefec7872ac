/* steps.c: --steps FILE: when each training step ended and its losses, a JSON line each. Lines are written many at a time: the text of one
 * takes longer than a step of a tiny network. */
#include "compiler/cli/cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOM = 1 << 16 };                         /* numbers that wait to be written: step, seconds and the values of each line */

struct steps {
  FILE *f;
  const char *path;
  char *names;                                   /* of the lines that wait: stage, then values, each ended by a 0 */
  size_t size, nvalue;
  double *wait; size_t n;
};

steps *steps_open(const char *path, bool append) {
  steps *s = calloc(1, sizeof *s);
  if (s) s->wait = malloc(ROOM * sizeof *s->wait);
  if (s && s->wait) s->f = fopen(path, append ? "a" : "w");
  if (s && s->f) { s->path = path; return s; }
  fprintf(stderr, "kdc: cannot write %s: %s\n", path, strerror(errno));
  if (s) free(s->wait);
  free(s);
  return NULL;
}

static void flush(steps *s) {
  for (size_t at = 0; at < s->n; at += s->nvalue + 2) {
    const char *name = s->names;
    fputs("{\"stage\":", s->f);
    json_string(s->f, name);
    fprintf(s->f, ",\"step\":%.0f,\"seconds\":%.9f", s->wait[at], s->wait[at + 1]);
    for (size_t i = 0; i < s->nvalue; i++) {
      name += strlen(name) + 1;
      fputs(i ? "," : ",\"values\":{", s->f);
      json_string(s->f, name);
      putc(':', s->f);
      json_number(s->f, s->wait[at + 2 + i]);
    }
    fputs(s->nvalue ? "}}\n" : "}\n", s->f);
  }
  s->n = 0;
}

static bool same_names(const steps *s, const kd_event *e) {
  const char *name = s->names;
  if (!name || s->nvalue != e->nvalue || strcmp(name, e->stage) != 0) return false;
  for (size_t i = 0; i < e->nvalue; i++) {
    name += strlen(name) + 1;
    if (strcmp(name, e->value[i].name) != 0) return false;
  }
  return true;
}

/* Strings of an event live no longer than its callback. */
static bool take_names(steps *s, const kd_event *e) {
  size_t size = strlen(e->stage) + 1;
  for (size_t i = 0; i < e->nvalue; i++) size += strlen(e->value[i].name) + 1;
  char *p = size > s->size ? realloc(s->names, size) : s->names;
  if (!p) return false;
  s->names = p;
  if (size > s->size) s->size = size;
  s->nvalue = e->nvalue;
  p = stpcpy(p, e->stage) + 1;
  for (size_t i = 0; i < e->nvalue; i++) p = stpcpy(p, e->value[i].name) + 1;
  return true;
}

void steps_add(steps *s, const kd_event *e) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (!same_names(s, e)) {
    flush(s);
    if (e->nvalue + 2 > ROOM || !take_names(s, e)) return;
  }
  if (s->n + e->nvalue + 2 > ROOM) flush(s);
  s->wait[s->n++] = (double)e->step;
  s->wait[s->n++] = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  for (size_t i = 0; i < e->nvalue; i++) s->wait[s->n++] = e->value[i].value;
}

bool steps_close(steps *s) {
  if (!s) return true;
  flush(s);
  bool bad = ferror(s->f) != 0;
  bad = fclose(s->f) != 0 || bad;
  if (bad) fprintf(stderr, "kdc: cannot write %s: %s\n", s->path, strerror(errno));
  free(s->wait);
  free(s->names);
  free(s);
  return !bad;
}
