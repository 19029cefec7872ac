/* accuracy.c: longer runs of a method's program, to see how far it comes, beside the same student without the method. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/methods/program.h"

/* WORDS; FIGURE > FLOOR; ITEMS or WORDS; FIGURE; ITEMS, and for a baseline FIGURE may be empty: the same as the method's. */
typedef struct entry { char words[120], figure[60], relation; double floor; bool same; variant *v; } entry;

/* Moves past a field that ends with `;` or the line; its text without spaces around it goes to out. */
static const char *field(const char *s, char *out, size_t n) {
  s = method_space(s);
  size_t k = strcspn(s, ";\n"), m = k;
  while (m && s[m - 1] == ' ') m--;
  (void)snprintf(out, n, "%.*s", (int)m, s);
  return s + k + (s[k] == ';');
}

/* `before`: the entry's items that a baseline has as well; NULL for the entry itself. */
static bool read_entry(method *m, entry *e, const char *s, int line, const char *text, const char *before) {
  char figure[100], *end;
  s = field(s, e->words, sizeof e->words);
  s = field(s, figure, sizeof figure);
  size_t n = strcspn(figure, " ");
  (void)snprintf(e->figure, sizeof e->figure, "%.*s", (int)n, figure);
  const char *r = method_space(figure + n);
  e->relation = *r;
  if (!before) {
    e->floor = strtod(r + (*r != 0), &end);
    if ((*r != '<' && *r != '>') || end == r + 1 || *end) { method_complain(m, line, figure, "// accuracy: WORDS; FIGURE > FLOOR; ITEMS"); return false; }
  } else if (*r) { method_complain(m, line, figure, "// baseline: WORDS; FIGURE; ITEMS"); return false; }
  e->v = before ? method_new("the baseline", 12, line, text) : method_new("the longer run", 14, line, text);
  e->same = !*method_space(s) || *method_space(s) == '\n';
  e->v->quiet = true;                            /* where the method is left out, names of it may be unused */
  return (!before || method_items(m, e->v, before, line)) && method_items(m, e->v, s, line);
}

static bool figure_of(method *m, const variant *v, const char *name, double *out) {
  kd_row row;
  for (size_t i = 0; kd_report(v->program, i, &row); i++) if (strcmp(row.label, name) == 0) { *out = row.value; return true; }
  method_complain(m, v->line, name, "the report has no such figure");
  return false;
}

static double now(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Both entries with each seed, and their line of the table, fields parted by tabs. The baseline is the same run where it changes nothing. */
static void measure(method *m, entry *e, entry *b, int seeds) {
  double it[SEEDS], other[SEEDS], mean = 0, base = 0, square = 0, begin, time = 0;
  for (int i = 0; i < seeds; i++) {
    begin = now();
    if (!method_run(m, e->v, (uint64_t)i + 1) || !figure_of(m, e->v, e->figure, &it[i])) return;
    time += (now() - begin) / seeds;
    if ((!b->same && !method_run(m, b->v, (uint64_t)i + 1)) || !figure_of(m, b->same ? e->v : b->v, b->figure, &other[i])) return;
    mean += it[i] / seeds;
    base += other[i] / seeds;
  }
  for (int i = 0; i < seeds; i++) square += (it[i] - other[i] - mean + base) * (it[i] - other[i] - mean + base);
  double error = sqrt(square / (seeds - 1) / seeds);
  printf("%s\t%s\t%s\t%.3f\t%.3f\t%+.3f\t%.3f\t%c %g\t%.1f\n", m->path, e->words, b->words, base, mean, mean - base, error, e->relation, e->floor, time);
  char why[160];
  (void)snprintf(why, sizeof why, "is %.4f, and should be %c %g; the baseline has %.4f", mean, e->relation, e->floor, base);
  if (!(e->relation == '<' ? mean < e->floor : mean > e->floor)) method_complain(m, e->v->line, e->figure, why);
}

static void compile(method *m, entry *e, entry *b) {
  double unused;
  if (!method_compile(m, e->v) || !method_compile(m, b->v)) return;
  (void)(figure_of(m, m->v[0], e->figure, &unused) && figure_of(m, m->v[0], b->figure, &unused));
}

/* The items of an entry: what stands behind its second `;`. */
static const char *items_of(const char *s) {
  for (int i = 0; i < 2; i++) { s += strcspn(s, ";\n"); s += *s == ';'; }
  return s;
}

void method_accuracy(method *m, const char *text, int seeds) {
  int line = 1, count = 0;
  const char *items = NULL;
  entry e = { .v = NULL }, b = { .v = NULL };
  for (const char *s = text; *s && !m->faults; line++) {
    size_t n = strcspn(s, "\n");
    if (strncmp(s, "// accuracy:", 12) == 0) {
      if (e.v) method_complain(m, line, "a longer run", "the one before has no // baseline:");
      else if (read_entry(m, &e, s + 12, line, text, NULL)) items = items_of(s + 12);
    } else if (strncmp(s, "// baseline:", 12) == 0) {
      if (!e.v) method_complain(m, line, "a baseline", "its // accuracy: is missing");
      else if (read_entry(m, &b, s + 12, line, text, items)) {
        if (!*b.figure) memcpy(b.figure, e.figure, sizeof b.figure);
        if (seeds) measure(m, &e, &b, seeds); else compile(m, &e, &b);
        count++;
      }
      if (b.v) method_forget(b.v);
      if (e.v) method_forget(e.v);
      b.v = e.v = NULL;
    }
    s += n + (s[n] == '\n');
  }
  if (e.v && !m->faults) method_complain(m, line, "a longer run", "the last one has no // baseline:");
  if (e.v) method_forget(e.v);
  if (!count && !m->faults) method_complain(m, 1, "no longer run", "// accuracy: and // baseline: say how far the method comes");
}
