/* run.c: runs a method's program, and again for each of its variants, and holds what came out against its `// expect:` lines.
 *   usage: method_run [--names] FILE.kd...      --names: shows what expectations can name
 * README.md says what the lines mean. Exit code: 0 all hold, 1 one does not, or a program is wrong, 2 wrong use. */
#define _POSIX_C_SOURCE 200809L
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "include/kd.h"
#include "tests/methods/calc.h"
#include "tests/methods/saved.h"

enum { VARIANTS = 24, ITEMS = 24, SERIES = 256, LETS = 60, LONGEST = 400 };

/* Mean losses of a stage's epochs, by name: `distil.loss`. */
typedef struct series { char name[120]; double *v; size_t n; } series;

typedef struct variant {
  char name[60];
  int line;
  bool used;
  char *text;                                    /* the program with this variant's replacements */
  char *set[ITEMS]; size_t nset;
  kd_session *session;
  kd_program *program;
  series series[SERIES]; size_t nseries;
  char folder[200];
} variant;

typedef struct named { char *name, *text; bool open; } named;

typedef struct method {
  const char *path;
  variant *v[VARIANTS]; size_t n;
  named let[LETS]; size_t nlet;                  /* names that stand for expressions */
  bool single;
  int faults;
} method;

static void complain(method *m, int line, const char *what, const char *why) {
  fprintf(stderr, "%s:%d: %s\n    %s\n", m->path, line, what, why);
  m->faults++;
}

/* --- text ---------------------------------------------------------------------------------------------------------------------------- */
static char *read_file(const char *path) {
  FILE *f = fopen(path, "rb");
  char *text = calloc(1, 1 << 18);
  if (!f || !text) { free(text); if (f) (void)fclose(f); return NULL; }
  (void)fread(text, 1, (1 << 18) - 1, f);
  (void)fclose(f);
  return text;
}

static char *copy_of(const char *s, size_t n) {
  char *p = calloc(1, n + 1);
  if (!p) abort();
  return memcpy(p, s, n);
}

/* Replaces every occurrence; false where there is none. */
static bool replace(char **text, const char *from, const char *to) {
  size_t n = strlen(from), count = 0;
  for (const char *p = *text; n && (p = strstr(p, from)); p += n) count++;
  if (!count) return false;
  char *out = calloc(1, strlen(*text) + count * strlen(to) + 1), *o = out;
  if (!out) abort();
  for (const char *p = *text, *q;; p = q + n) {
    q = strstr(p, from);
    size_t before = q ? (size_t)(q - p) : strlen(p);
    memcpy(o, p, before);
    o += before;
    if (!q) break;
    o += sprintf(o, "%s", to);
  }
  free(*text);
  *text = out;
  return true;
}

static const char *space(const char *s) { while (*s == ' ') s++; return s; }

/* The text between backticks at s. */
static const char *quoted(const char *s, char *out, size_t n) {
  s = space(s);
  const char *end = *s == '`' ? strchr(s + 1, '`') : NULL;
  if (!end || (size_t)(end - s) > n) return NULL;
  memcpy(out, s + 1, (size_t)(end - s - 1));
  out[end - s - 1] = 0;
  return end + 1;
}

/* Items of a variant, parted by commas: name=value, or `text` -> `text`. */
static bool items(method *m, variant *v, const char *s, int line) {
  char from[LONGEST], to[LONGEST];
  for (s = space(s); *s && *s != '\n'; s = space(s)) {
    if (*s == '`') {
      const char *q = quoted(s, from, sizeof from);
      if (!q || strncmp(q = space(q), "->", 2) != 0 || !(q = quoted(q + 2, to, sizeof to))) { complain(m, line, "a variant", "`text` -> `text`"); return false; }
      if (!replace(&v->text, from, to)) { complain(m, line, from, "this is not in the program"); return false; }
      s = q;
    } else {
      size_t n = strcspn(s, ",\n");
      while (n && isspace((unsigned char)s[n - 1])) n--;
      if (v->nset == ITEMS) { complain(m, line, "a variant", "too many settings"); return false; }
      v->set[v->nset++] = copy_of(s, n);
      s += n;
    }
    s = space(s);
    if (*s == ',') s++;
  }
  return true;
}

/* The program without its lines of expectations, with as many lines. */
static char *program_of(const char *text) {
  char *p = copy_of(text, strlen(text));
  for (char *q = p; (q = strstr(q, "// ")); q++)
    if (strncmp(q, "// variant ", 11) == 0 || strncmp(q, "// expect:", 10) == 0 || strncmp(q, "// let ", 7) == 0) while (*q && *q != '\n') *q++ = ' ';
  return p;
}

/* --- runs ------------------------------------------------------------------------------------------------------------------------------ */
static void say(void *ctx, const kd_message *m) { (void)ctx; if (m->severity != KD_NOTE) fputs(m->text, stderr); }

static void note(void *ctx, const kd_event *e) {
  variant *v = ctx;
  char name[sizeof v->series->name];
  if (e->kind != KD_EVENT_EPOCH) return;
  for (size_t i = 0, k; i < e->nvalue; i++) {
    (void)snprintf(name, sizeof name, "%s.%s", e->stage, e->value[i].name);
    for (k = 0; k < v->nseries && strcmp(v->series[k].name, name) != 0; k++) continue;
    if (k == SERIES) continue;
    series *s = &v->series[k];
    if (k == v->nseries) { v->nseries++; memcpy(s->name, name, sizeof name); }
    double *grown = realloc(s->v, sizeof *grown * (s->n + 1));
    if (!grown) abort();
    s->v = grown;
    s->v[s->n++] = e->value[i].value;
  }
}

static bool run(method *m, variant *v) {
  const char *data[] = { KD_ROOT "/examples" };
  kd_config config = { .message = say, .stdlib = KD_ROOT "/stdlib", .data = data, .ndata = 1 };
  kd_compile_options o = { .set = (const char *const *)v->set, .nset = v->nset, .double_precision = !m->single };
  kd_run_options r = { .seed = 1, .threads = 1, .event = note, .event_ctx = v };
  if (strstr(v->text, "save ")) {
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(v->folder, sizeof v->folder, "%s/kd-method-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(v->folder)) { complain(m, v->line, v->folder, "cannot be made"); return false; }
    (void)rmdir(v->folder);                      /* a run makes its folder itself */
    r.out = v->folder;
  }
  if (kd_session_new(&config, &v->session) != KD_OK) { complain(m, v->line, v->name, "no session"); return false; }
  kd_status s = kd_compile_text(v->session, m->path, v->text, strlen(v->text), &o, &v->program);
  if (s == KD_OK && !v->program) s = KD_E_PROGRAM;
  if (s == KD_OK) s = kd_run(v->program, &r);
  if (s != KD_OK) complain(m, v->line, *v->name ? v->name : "the program", kd_status_text(s));
  return s == KD_OK;
}

static void forget(variant *v) {
  char command[300];
  kd_program_free(v->program);
  kd_session_free(v->session);
  for (size_t i = 0; i < v->nset; i++) free(v->set[i]);
  for (size_t i = 0; i < v->nseries; i++) free(v->series[i].v);
  if (*v->folder) {
    (void)snprintf(command, sizeof command, "rm -rf '%s'", v->folder);
    if (system(command)) fprintf(stderr, "%s stays\n", v->folder);
  }
  free(v->text);
  free(v);
}

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
static variant *add_variant(method *m, const char *name, size_t n, int line, char *text) {
  variant *v = calloc(1, sizeof *v);
  if (!v) abort();
  memcpy(v->name, name, n < sizeof v->name ? n : sizeof v->name - 1);
  v->line = line;
  v->text = text;
  m->v[m->n++] = v;
  return v;
}

/* // let NAME = EXPRESSION */
static void add_let(method *m, const char *s, size_t n, int line) {
  char *text = copy_of(s, n), *equal = strchr(text, '=');
  if (!equal || m->nlet == LETS) { complain(m, line, text, "// let NAME = EXPRESSION"); free(text); return; }
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
      if (s[11 + k] != ':' || m->n == VARIANTS) { complain(m, line, "a variant", "// variant NAME: ITEMS"); return seen; }
      variant *v = add_variant(m, s + 11, k, line, program_of(text));
      if (!items(m, v, s + 12 + k, line)) return seen;
      seen++;
    } else if (!expect && strncmp(s, "// let ", 7) == 0) {
      add_let(m, s + 7, n - 7, line);
    } else if (expect && strncmp(s, "// expect:", 10) == 0) {
      char *what = copy_of(space(s + 10), n - (size_t)(space(s + 10) - s));
      if (!calc_holds(&c, what)) complain(m, line, what, c.why);
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

static int run_method(const char *path, bool names) {
  method m = { .path = path };
  char *text = read_file(path);
  if (!text) { fprintf(stderr, "%s: cannot be read\n", path); return 1; }
  m.single = strstr(text, "\n// precision: single\n") != NULL;
  add_variant(&m, "", 0, 1, program_of(text));
  (void)lines(&m, text, false);
  for (size_t i = 0; i < m.n && !m.faults; i++) (void)run(&m, m.v[i]);
  if (names && !m.faults) show_names(m.v[0]);
  int n = 0;
  if (!m.faults) {
    n = lines(&m, text, true);
    if (!n) complain(&m, 1, "no expectation", "a program that only runs shows nothing");
    for (size_t i = 1; i < m.n; i++) if (!m.v[i]->used) complain(&m, m.v[i]->line, m.v[i]->name, "no expectation names this variant");
  }
  if (!m.faults) printf("%s: %zu runs, %d expectations hold\n", path, m.n, n);
  for (size_t i = 0; i < m.n; i++) forget(m.v[i]);
  for (size_t i = 0; i < m.nlet; i++) free(m.let[i].name);
  free(text);
  return m.faults > 0;
}

int main(int argc, char **argv) {
  bool names = argc > 1 && strcmp(argv[1], "--names") == 0;
  int bad = 0, first = names ? 2 : 1;
  if (argc <= first) { fputs("usage: method_run [--names] FILE.kd...\n", stderr); return 2; }
  for (int i = first; i < argc; i++) bad |= run_method(argv[i], names);
  return bad;
}
