/* clauses.c: what is said of a data set beside what it is: for how many epochs draws of its samples differ, and where what is the same each time is kept. They
 * are arguments of dataset(...), and stand behind any data set where it is made: digits(batch: 64) with (cache: memory). */
#include "compiler/elaborate/elab.h"
#include <errno.h>
#include <stdlib.h>

enum { REPLAY_MOST = 1000000 };
const char *const kd__cache_word[] = { [KD_CACHE_PROGRAM] = "program", [KD_CACHE_AUTO] = "auto", [KD_CACHE_OFF] = "off", [KD_CACHE_MEMORY] = "memory", [KD_CACHE_DISK] = "disk" };
static const size_t words = sizeof kd__cache_word / sizeof *kd__cache_word;

static size_t word_number(const char *text) {
  size_t k = KD_CACHE_AUTO;
  while (k < words && strcmp(kd__cache_word[k], text) != 0) k++;
  return k;
}

/* A word as it stands, unless it is a name that is known; or a string, as a parameter hands it on. */
static bool set_cache(elab *e, scope *s, arg *a, data_set *d) {
  const char *text = NULL, *shown = NULL;
  bool bare = !a->v && a->ast->kind == KD_AST_NAME && (word_number(a->ast->text) < words || !kd__scope_find(s, a->ast->text, NULL));
  val *v = bare ? NULL : kd__arg_eval(e, s, a);
  if (v && (v->kind == V_NONE || v->kind == V_POISON)) return v->kind == V_NONE;
  if (!v) { text = a->ast->text; shown = kd__arena_printf(e->a, "the name `%s`", text); }
  else { if (v->kind == V_STRING) text = v->u.s; shown = kd__v_show(e, v); }
  size_t k = text ? word_number(text) : words;
  if (k < words) { d->cache = (uint8_t)k; return true; }
  kd_diag *dg = kd__err(e, KD_D_WANT_KIND, a->ast->span, "`cache`", "one of the words off, auto, memory, disk", shown);
  const char *near = text ? kd__nearest(e, text, kd__cache_word + KD_CACHE_AUTO, words - KD_CACHE_AUTO) : NULL;
  if (near) kd__diag_help(e->sink, dg, "did you mean `%s`?", near);
  return false;
}

/* "512M", "2G", or a number of bytes; 0: it is no size. */
static int64_t size_of(const val *v) {
  if (v->kind == V_INT) return v->u.i > 0 ? v->u.i : 0;
  if (v->kind != V_STRING) return 0;
  char *end = NULL;
  errno = 0;
  unsigned long long n = v->u.s[0] >= '0' && v->u.s[0] <= '9' ? strtoull(v->u.s, &end, 10) : 0;
  int shift = n == 0 || errno ? 0 : *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
  return n == 0 || errno || end[shift > 0] || n > (unsigned long long)INT64_MAX >> shift ? 0 : (int64_t)(n << shift);
}

static bool set_budget(elab *e, scope *s, arg *a, data_set *d) {
  val *v = kd__arg_eval(e, s, a);
  if (v->kind == V_NONE || v->kind == V_POISON) return v->kind == V_NONE;
  if ((d->cache_budget = size_of(v)) > 0) return true;
  kd__err(e, KD_D_WANT_KIND, a->ast->span, "`cache_budget`", "a size such as 200000, \"512M\" or \"2G\"", kd__v_show(e, v));
  return false;
}

static bool set_replay(elab *e, scope *s, arg *a, data_set *d) {
  val *v = kd__arg_eval(e, s, a);
  if (v->kind == V_NONE || v->kind == V_POISON) return v->kind == V_NONE;
  if (!kd__want_int(e, v, a->ast, "`replay`", &d->replay)) return false;
  if (d->replay >= 1 && d->replay <= REPLAY_MOST) return true;
  kd_diag *dg = kd__err(e, KD_D_AXIS_SIZE, a->ast->span, "replay", (long long)d->replay);
  kd__diag_help(e->sink, dg, "it is a number of epochs from 1 to %d: random preparation of a sample is the same again after so many", REPLAY_MOST);
  return false;
}

static const struct { const char *name; bool (*set)(elab *e, scope *s, arg *a, data_set *d); } clause[] = {
  { "replay", set_replay }, { "cache", set_cache }, { "cache_budget", set_budget },
};
enum { CLAUSES = sizeof clause / sizeof *clause };

size_t kd__clause_names(const char **out) {
  for (size_t i = 0; i < CLAUSES; i++) out[i] = clause[i].name;
  return CLAUSES;
}

bool kd__clause(elab *e, scope *s, arg *a, data_set *d) {
  for (size_t i = 0; i < CLAUSES; i++) if (strcmp(clause[i].name, a->name) == 0) return clause[i].set(e, s, a, d);
  return true;
}

val *kd__data_with(elab *e, scope *s, val *v, const kd_ast *n) {
  const char *names[KD__CLAUSES];
  size_t count = kd__clause_names(names);
  if (n->kid[0]->kind != KD_AST_CALL || e->data.v[v->u.data].name) {
    kd_diag *d = kd__err(e, KD_D_WANT_KIND, n->kid[0]->span, "`with`", "a data set where it is made", "one that was made before");
    kd__diag_help(e->sink, d, "what is said of a data set stands behind what makes it: data d = digits(batch: 64) with (...)");
    return &kd__poison;
  }
  for (uint32_t i = 1; i < n->n; i++) {
    const kd_ast *k = n->kid[i];
    arg a = { .name = k->text, .ast = k->kid[0] };
    size_t c = 0;
    for (uint32_t j = 1; j < i; j++) if (strcmp(n->kid[j]->text, k->text) == 0) { kd__err(e, KD_D_DUPLICATE, k->span, k->text); return &kd__poison; }
    while (c < count && strcmp(names[c], k->text) != 0) c++;
    if (c == count) {
      kd_diag *d = kd__err(e, KD_D_UNKNOWN_FIELD, k->span, "a data set", "clause", k->text);
      const char *near = kd__nearest(e, k->text, names, count);
      kd__buf all = { 0 };
      for (size_t j = 0; !near && j < count; j++) kd__buf_printf(&all, "%s%s", j ? ", " : "", names[j]);
      if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
      else kd__diag_help(e->sink, d, "it has: %s", kd__buf_keep(&all, e->a));
      return &kd__poison;
    }
    data_set said = e->data.v[v->u.data];          /* what is evaluated may make data sets of its own */
    if (!kd__clause(e, s, &a, &said)) return &kd__poison;
    e->data.v[v->u.data] = said;
  }
  return v;
}
