/* session.c: the environment, sessions, messages, exit codes. */
#include "compiler/cli/cli.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the environment ---------------------------------------------------------------------------------------------------------- */
/* XDG_CACHE_HOME/kdc or ~/.cache/kdc; NULL where neither is known (or out of memory: then there is no cache). */
static char *cache_folder(void) {
  const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  bool own = xdg && xdg[0] == '/';
  if (!own && !(home && home[0] == '/')) return NULL;
  const char *base = own ? xdg : home, *rest = own ? "/kdc" : "/.cache/kdc";
  char *p = malloc(strlen(base) + strlen(rest) + 1);
  return p ? strcat(strcpy(p, base), rest) : NULL;
}

bool surroundings_read(const args *a, surroundings *out) {
  const char *env = getenv("KD_DATA");
  *out = (surroundings){ .path = strdup(env ? env : ""), .cache = cache_folder() };
  size_t most = a->given[OPT_DATA].n + 1;
  for (const char *c = env; c && *c; c++) most += *c == ':';
  out->data = calloc(most, sizeof *out->data);
  if (!out->path || !out->data) { surroundings_free(out); fputs("kdc: out of memory\n", stderr); return false; }
  for (size_t i = 0; i < a->given[OPT_DATA].n; i++) out->data[out->ndata++] = a->given[OPT_DATA].v[i];
  for (char *save = NULL, *d = strtok_r(out->path, ":", &save); d; d = strtok_r(NULL, ":", &save)) out->data[out->ndata++] = d;
  return true;
}

void surroundings_free(surroundings *s) {
  free(s->data);
  free(s->path);
  free(s->cache);
  *s = (surroundings){ 0 };
}

/* --- messages -------------------------------------------------------------------------------------------------------------------- */
static bool wants_color(const args *a) {
  const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
  int choice = args_choice(a, OPT_COLOR);
  if (choice) return choice == 1;
  return isatty(STDERR_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

teller teller_new(const args *a) {
  return (teller){ .json = args_flag(a, OPT_JSON), .quiet = args_flag(a, OPT_QUIET), .color = wants_color(a) };
}

static void tell(void *ctx, const kd_message *m) {
  teller *t = ctx;
  t->errors += m->severity == KD_ERROR;
  t->warnings += m->severity == KD_WARNING;
  if (t->quiet && m->severity != KD_ERROR) return;
  if (t->progress) progress_clear(t->progress);
  if (t->json) printf("{\"event\":\"message\",\"message\":%s}\n", m->json);
  else fputs(m->text, stderr);
}

kd_session *session_open(const args *a, const surroundings *s, teller *t) {
  kd_config c = { .message = tell, .message_ctx = t, .color = t->color, .stdlib = args_text(a, OPT_STDLIB), .data = s->data, .ndata = s->ndata, .cache = s->cache };
  kd_session *out;
  kd_status st = kd_session_new(&c, &out);
  if (st != KD_OK) fprintf(stderr, "kdc: %s\n", kd_status_text(st));
  return out;
}

kd_compile_options compile_options(const args *a) {
  return (kd_compile_options){ .set = a->given[OPT_SET].v, .nset = a->given[OPT_SET].n, .double_precision = args_choice(a, OPT_PRECISION) == 1,
                               .memory_limit = args_size(a, OPT_MEMORY_LIMIT), .no_fuse = args_flag(a, OPT_NO_FUSE), .keep = (kd_keep)args_choice(a, OPT_CACHE),
                               .keep_memory = args_size(a, OPT_CACHE_BUDGET), .keep_disk = args_size(a, OPT_CACHE_BUDGET) };
}

int exit_of_compile(kd_status s) {
  switch (s) {
    case KD_OK: return EXIT_DONE;
    case KD_E_PROGRAM: return EXIT_PROGRAM;
    case KD_E_USAGE: case KD_E_IO: return EXIT_USAGE;
    default: return EXIT_RUN;
  }
}

int exit_of_run(kd_status s) { return s == KD_OK ? EXIT_DONE : s == KD_E_USAGE ? EXIT_USAGE : EXIT_RUN; }
