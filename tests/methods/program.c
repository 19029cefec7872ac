/* program.c: a method's program as its variants change it, and what a run leaves. */
#define _POSIX_C_SOURCE 200809L
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/methods/program.h"

void method_complain(method *m, int line, const char *what, const char *why) {
  fprintf(stderr, "%s:%d: %s\n    %s\n", m->path, line, what, why);
  m->faults++;
}

/* --- text ---------------------------------------------------------------------------------------------------------------------------- */
char *method_read(const char *path) {
  FILE *f = fopen(path, "rb");
  char *text = calloc(1, 1 << 18);
  if (!f || !text) { free(text); if (f) (void)fclose(f); return NULL; }
  (void)fread(text, 1, (1 << 18) - 1, f);
  (void)fclose(f);
  return text;
}

char *method_copy(const char *s, size_t n) {
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

const char *method_space(const char *s) { while (*s == ' ') s++; return s; }

/* The text between backticks at s. */
static const char *quoted(const char *s, char *out, size_t n) {
  s = method_space(s);
  const char *end = *s == '`' ? strchr(s + 1, '`') : NULL;
  if (!end || (size_t)(end - s) > n) return NULL;
  memcpy(out, s + 1, (size_t)(end - s - 1));
  out[end - s - 1] = 0;
  return end + 1;
}

/* A setting; one of the same name gives way. */
static bool set(variant *v, const char *s, size_t n) {
  size_t i = 0, name = strcspn(s, "=");
  while (i < v->nset && strncmp(v->set[i], s, name + 1) != 0) i++;
  if (i == ITEMS) return false;
  if (i < v->nset) free(v->set[i]); else v->nset++;
  v->set[i] = method_copy(s, n);
  return true;
}

/* Items of a variant, parted by commas: name=value, or `text` -> `text`. */
bool method_items(method *m, variant *v, const char *s, int line) {
  char from[LONGEST], to[LONGEST];
  for (s = method_space(s); *s && *s != '\n'; s = method_space(s)) {
    if (*s == '`') {
      const char *q = quoted(s, from, sizeof from);
      if (!q || strncmp(q = method_space(q), "->", 2) != 0 || !(q = quoted(q + 2, to, sizeof to))) { method_complain(m, line, "a variant", "`text` -> `text`"); return false; }
      if (!replace(&v->text, from, to)) { method_complain(m, line, from, "this is not in the program"); return false; }
      s = q;
    } else {
      size_t n = strcspn(s, ",\n");
      while (n && isspace((unsigned char)s[n - 1])) n--;
      if (!set(v, s, n)) { method_complain(m, line, "a variant", "too many settings"); return false; }
      s += n;
    }
    s = method_space(s);
    if (*s == ',') s++;
  }
  return true;
}

/* The program without its lines of expectations, with as many lines. */
static char *program_of(const char *text) {
  static const char *const mine[] = { "// variant ", "// expect:", "// let ", "// accuracy:", "// baseline:" };
  char *p = method_copy(text, strlen(text));
  for (char *q = p; (q = strstr(q, "// ")); q++)
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
      if (strncmp(q, mine[i], strlen(mine[i])) == 0) { while (*q && *q != '\n') *q++ = ' '; break; }
  return p;
}

/* --- runs ------------------------------------------------------------------------------------------------------------------------------ */
static void say(void *ctx, const kd_message *m) {
  const variant *v = ctx;
  if (m->severity != KD_NOTE && !(v->quiet && m->severity == KD_WARNING)) fputs(m->text, stderr);
}

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

static void remove_folder(variant *v) {
  char command[300];
  if (!*v->folder) return;
  (void)snprintf(command, sizeof command, "rm -rf '%s'", v->folder);
  if (system(command)) fprintf(stderr, "%s stays\n", v->folder);
  *v->folder = 0;
}

bool method_compile(method *m, variant *v) {
  const char *data[] = { KD_ROOT "/examples" };
  kd_config config = { .message = say, .message_ctx = v, .stdlib = KD_ROOT "/stdlib", .data = data, .ndata = 1 };
  kd_compile_options o = { .set = (const char *const *)v->set, .nset = v->nset, .double_precision = !m->single };
  if (v->program) return true;
  if (kd_session_new(&config, &v->session) != KD_OK) { method_complain(m, v->line, v->name, "no session"); return false; }
  kd_status s = kd_compile_text(v->session, m->path, v->text, strlen(v->text), &o, &v->program);
  if (s == KD_OK && !v->program) s = KD_E_PROGRAM;
  if (s != KD_OK) method_complain(m, v->line, *v->name ? v->name : "the program", kd_status_text(s));
  return s == KD_OK;
}

/* A folder that is not there yet; a run makes it itself. */
static bool folder(method *m, variant *v) {
  const char *tmp = getenv("TMPDIR");
  remove_folder(v);
  (void)snprintf(v->folder, sizeof v->folder, "%s/kd-method-XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(v->folder)) { method_complain(m, v->line, v->folder, "cannot be made"); *v->folder = 0; return false; }
  (void)rmdir(v->folder);
  return true;
}

bool method_run(method *m, variant *v, uint64_t seed) {
  kd_run_options r = { .seed = seed, .threads = 1, .event = note, .event_ctx = v };
  if (!method_compile(m, v)) return false;
  if (strstr(v->text, "save ")) {
    if (!folder(m, v)) return false;
    r.out = v->folder;
  }
  kd_status s = kd_run(v->program, &r);
  if (s != KD_OK) method_complain(m, v->line, *v->name ? v->name : "the program", kd_status_text(s));
  return s == KD_OK;
}

void method_forget(variant *v) {
  kd_program_free(v->program);
  kd_session_free(v->session);
  for (size_t i = 0; i < v->nset; i++) free(v->set[i]);
  for (size_t i = 0; i < v->nseries; i++) free(v->series[i].v);
  remove_folder(v);
  free(v->text);
  free(v);
}

variant *method_new(const char *name, size_t n, int line, const char *text) {
  variant *v = calloc(1, sizeof *v);
  if (!v) abort();
  memcpy(v->name, name, n < sizeof v->name ? n : sizeof v->name - 1);
  v->line = line;
  v->text = program_of(text);
  return v;
}
