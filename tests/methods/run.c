/* run.c: runs a method's program, and again for each of its variants, and holds what came out against its `// expect:` lines.
 *   usage: method_run [--names | --accuracy SEEDS] FILE.kd...
 *     --names: shows what expectations can name; --accuracy: longer runs with this many seeds instead (accuracy.c)
 * README.md says what the lines mean. Exit code: 0 all hold, 1 one does not, or a program is wrong, 2 wrong use. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/methods/calc.h"
#include "tests/methods/program.h"
#include "tests/methods/saved.h"

/* --- names ------------------------------------------------------------------------------------------------------------------------------- */
/* `name` or `variant:name`. */
static variant *variant_of(method *m, const char **name) {
  const char *colon = strchr(*name, ':');
  size_t n = colon ? (size_t)(colon - *name) : 0;
  for (size_t i = 0; i < m->n; i++)
    if (strlen(m->v[i]->name) == n && strncmp(m->v[i]->name, *name, n) == 0) {
      if (colon) *name = colon + 1;
      m->v[i]->used = true;
      return m->v[i];
    }
  return NULL;
}

static bool widen(const kd_parameter *p, double *to, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(p->type, "f64") == 0) to[i] = ((const double *)p->data)[i];
    else if (strcmp(p->type, "f32") == 0) to[i] = ((const float *)p->data)[i];
    else if (strcmp(p->type, "i64") == 0) to[i] = (double)((const int64_t *)p->data)[i];
    else if (strcmp(p->type, "bool") == 0 || strcmp(p->type, "u8") == 0) to[i] = ((const unsigned char *)p->data)[i];
    else return false;
  }
  return true;
}

static size_t count_of(const kd_parameter *p) {
  size_t n = 1;
  for (int i = 0; i < p->rank; i++) n *= (size_t)p->dim[i];
  return n;
}

/* Parameters and states that match, one after the other. */
static bool pattern(calc *c, const kd_program *p, const char *name, calc_array *out) {
  kd_parameter q;
  size_t n = 0, at = 0;
  for (size_t i = 0; kd_parameter_at(p, i, &q); i++) if (q.data && fnmatch(name, q.name, 0) == 0) n += count_of(&q);
  if (!n) return false;
  *out = calc_new(c, 1, &n);
  for (size_t i = 0; kd_parameter_at(p, i, &q); i++) {
    if (!q.data || fnmatch(name, q.name, 0) != 0) continue;
    if (!widen(&q, out->v + at, count_of(&q))) return false;
    at += count_of(&q);
  }
  return true;
}

static bool find(void *ctx, calc *c, const char *name, calc_array *out) {
  method *m = ctx;
  for (size_t i = 0; i < m->nlet; i++) {
    if (strcmp(m->let[i].name, name) != 0 || m->let[i].open) continue;
    m->let[i].open = true;
    *out = calc_within(c, m->let[i].text);
    m->let[i].open = false;
    return true;
  }
  const variant *v = variant_of(m, &name);
  kd_row row;
  kd_parameter p;
  if (!v || !v->program) return false;
  for (size_t i = 0; kd_report(v->program, i, &row); i++)
    if (strcmp(row.label, name) == 0) { *out = calc_new(c, 0, NULL); out->v[0] = row.value; return true; }
  for (size_t i = 0; i < v->nseries; i++)
    if (strcmp(v->series[i].name, name) == 0) {
      *out = calc_new(c, 1, &v->series[i].n);
      memcpy(out->v, v->series[i].v, sizeof *out->v * out->n);
      return true;
    }
  if (strchr(name, '*')) return pattern(c, v->program, name, out);
  if (!kd_parameter_named(v->program, name, &p) || !p.data || p.rank > CALC_RANK) return false;
  size_t dim[CALC_RANK];
  for (int i = 0; i < p.rank; i++) dim[i] = (size_t)p.dim[i];
  *out = calc_new(c, p.rank, dim);
  return widen(&p, out->v, out->n);
}

static double stored(void *ctx, const char *file, const char *want) {
  char path[400];
  const variant *v = variant_of(ctx, &file);
  if (!v || !*v->folder) return -1;
  (void)snprintf(path, sizeof path, "%s/%s", v->folder, file);
  return saved_count(path, want);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------------------ */
/* // let NAME = EXPRESSION */
static void add_let(method *m, const char *s, size_t n, int line) {
  char *text = method_copy(s, n), *equal = strchr(text, '=');
  if (!equal || m->nlet == LETS) { method_complain(m, line, text, "// let NAME = EXPRESSION"); free(text); return; }
  char *end = equal;
  while (end > text && end[-1] == ' ') end--;
  *end = 0;
  m->let[m->nlet++] = (named){ .name = text, .text = equal + 1 };
}

/* Each line of the file in turn: first the variants and names, then, after the runs, the expectations. */
static int lines(method *m, const char *text, bool expect) {
  int line = 1, seen = 0;
  calc c = { .ctx = m, .find = find, .stored = stored, .tolerance = m->single ? 1e-4 : 1e-9 };
  for (const char *s = text; *s; line++) {
    size_t n = strcspn(s, "\n");
    if (!expect && strncmp(s, "// variant ", 11) == 0) {
      size_t k = strcspn(s + 11, ":\n");
      if (s[11 + k] != ':' || m->n == VARIANTS) { method_complain(m, line, "a variant", "// variant NAME: ITEMS"); return seen; }
      variant *v = m->v[m->n++] = method_new(s + 11, k, line, text);
      if (!method_items(m, v, s + 12 + k, line)) return seen;
      seen++;
    } else if (!expect && strncmp(s, "// let ", 7) == 0) {
      add_let(m, s + 7, n - 7, line);
    } else if (expect && strncmp(s, "// expect:", 10) == 0) {
      char *what = method_copy(method_space(s + 10), n - (size_t)(method_space(s + 10) - s));
      if (!calc_holds(&c, what)) method_complain(m, line, what, c.why);
      calc_free(&c);
      free(what);
      seen++;
    }
    s += n + (s[n] == '\n');
  }
  return seen;
}

static void show_names(const variant *v) {
  kd_row row;
  kd_parameter p;
  for (size_t i = 0; kd_report(v->program, i, &row); i++) printf("%s = %.9g\n", row.label, row.value);
  for (size_t i = 0; i < v->nseries; i++) {
    printf("%s =", v->series[i].name);
    for (size_t k = 0; k < v->series[i].n; k++) printf(" %.6g", v->series[i].v[k]);
    printf("\n");
  }
  for (size_t i = 0; kd_parameter_at(v->program, i, &p); i++) {
    printf("%s [", p.name);
    for (int k = 0; k < p.rank; k++) printf(k ? ", %lld" : "%lld", (long long)p.dim[k]);
    printf("]\n");
  }
}

static int run_method(const char *path, bool names, int seeds) {
  method m = { .path = path };
  char *text = method_read(path);
  if (!text) { fprintf(stderr, "%s: cannot be read\n", path); return 1; }
  m.single = seeds || strstr(text, "\n// precision: single\n");
  m.v[m.n++] = method_new("", 0, 1, text);
  if (!seeds) (void)lines(&m, text, false);
  for (size_t i = 0; i < m.n && !m.faults && !seeds; i++) (void)method_run(&m, m.v[i], 1);
  if (names && !m.faults) show_names(m.v[0]);
  int n = 0;
  if (!m.faults && !seeds) {
    n = lines(&m, text, true);
    if (!n) method_complain(&m, 1, "no expectation", "a program that only runs shows nothing");
    for (size_t i = 1; i < m.n; i++) if (!m.v[i]->used) method_complain(&m, m.v[i]->line, m.v[i]->name, "no expectation names this variant");
  }
  if (!m.faults) method_accuracy(&m, text, seeds);
  if (!m.faults && !seeds) printf("%s: %zu runs, %d expectations hold\n", path, m.n, n);
  for (size_t i = 0; i < m.n; i++) method_forget(m.v[i]);
  for (size_t i = 0; i < m.nlet; i++) free(m.let[i].name);
  free(text);
  return m.faults > 0;
}

int main(int argc, char **argv) {
  bool names = argc > 1 && strcmp(argv[1], "--names") == 0, accuracy = argc > 1 && strcmp(argv[1], "--accuracy") == 0;
  int bad = 0, first = names ? 2 : accuracy ? 3 : 1, seeds = accuracy && argc > 2 ? atoi(argv[2]) : 0;
  if (argc <= first || (accuracy && (seeds < 2 || seeds > SEEDS))) {
    fputs("usage: method_run [--names | --accuracy SEEDS] FILE.kd...\n", stderr);
    return 2;
  }
  for (int i = first; i < argc; i++) bad |= run_method(argv[i], names, seeds);
  return bad;
}
