/* read.c: reads the text form of a graph. Any bytes may come in; what does not fit is told with its line. */
#include "compiler/ir/graph.h"
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* A graph that is being read: the file's, or a loop's body in it. */
typedef struct level {
  struct level *up;
  kd_graph *g;
  kd__map name;                                  /* "%x" -> value */
  kd__map body;                                  /* its loops' bodies */
  const char *called;
} level;

typedef struct reader {
  const char *p, *end;                           /* end: of the line */
  size_t line;
  kd_graph *g;                                   /* the one at hand: of `at` */
  level *at;
  int depth;
  KD_VEC(kd_value) in;                           /* operands of the line at hand */
  kd_shape_error *err;
} reader;

enum { MAX_TOKEN = 64, MAX_DEPTH = 16 };

static bool fail(reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(reader *r, const char *fmt, ...) {
  int n = snprintf(r->err->text, sizeof r->err->text, "line %zu: ", r->line);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(r->err->text + n, sizeof r->err->text - (size_t)n, fmt, ap);
  va_end(ap);
  return false;
}

/* --- tokens ------------------------------------------------------------------------------------------------------ */

static void skip_space(reader *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\r')) r->p++;
}
static bool at(reader *r, char c) {
  skip_space(r);
  return r->p < r->end && *r->p == c;
}
static bool take(reader *r, char c) {
  if (!at(r, c)) return false;
  r->p++;
  return true;
}
static bool expect(reader *r, char c) { return take(r, c) || fail(r, "`%c` is missing", c); }

/* The longest run of letters, digits and the characters in `more`, as a string in `to`. */
static bool take_word(reader *r, const char *more, char to[MAX_TOKEN]) {
  skip_space(r);
  size_t n = 0;
  while (r->p < r->end && *r->p && (isalnum((unsigned char)*r->p) || strchr(more, *r->p))) {
    if (n + 1 == MAX_TOKEN) return fail(r, "a word is too long");
    to[n++] = *r->p++;
  }
  to[n] = 0;
  return n > 0 || fail(r, "a word is missing");
}

static bool take_name(reader *r, char to[MAX_TOKEN]) { return expect(r, '%') && take_word(r, "_.", to); }

static bool take_value(reader *r, kd_value *v) {
  char name[MAX_TOKEN];
  if (!take_name(r, name)) return false;
  *v = (kd_value)(uintptr_t)kd__map_get(&r->at->name, name);
  return *v || fail(r, "no value %%%s above", name);
}

static bool take_int(reader *r, int64_t *v) {
  char s[MAX_TOKEN], *end;
  if (!take_word(r, "-", s)) return false;
  errno = 0;
  *v = strtoll(s, &end, 10);
  return (*end == 0 && errno == 0) || fail(r, "`%s` is no integer", s);
}

static bool take_double(reader *r, double *v) {
  char s[MAX_TOKEN], *end;
  if (!take_word(r, "-+.:", s)) return false;
  if (strncmp(s, "nan:", 4) == 0) {
    uint64_t bits = strtoull(s + 4, &end, 16);
    memcpy(v, &bits, sizeof bits);
    return (*end == 0 && end == s + 20 && *v != *v) || fail(r, "`%s` is no number", s);
  }
  char *point = strchr(s, '.');
  if (point) *point = localeconv()->decimal_point[0];
  *v = strtod(s, &end);
  if (strcmp(s, "nan") == 0) *v = __builtin_nan("");
  return *end == 0 || fail(r, "`%s` is no number", s);
}

static bool take_dtype(reader *r, kd_dtype *t) {
  char s[MAX_TOKEN];
  if (!take_word(r, "", s)) return false;
  return kd__dtype_parse(s, strlen(s), t) || fail(r, "no element type `%s`", s);
}

static bool take_list(reader *r, int64_t v[KD_MAX_RANK], uint32_t *n) {
  *n = 0;
  if (!expect(r, '[')) return false;
  if (take(r, ']')) return true;
  do {
    if (*n == KD_MAX_RANK) return fail(r, "more than %d entries", KD_MAX_RANK);
    if (!take_int(r, &v[(*n)++])) return false;
  } while (take(r, ','));
  return expect(r, ']');
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* A quoted string; memory from the graph's arena. */
static bool take_string(reader *r, char **to) {
  if (!expect(r, '"')) return false;
  char *s = kd__arena_get(r->g->arena, (size_t)(r->end - r->p) + 1);
  size_t n = 0;
  while (r->p < r->end && *r->p != '"') {
    char c = *r->p++;
    if (c == '\\' && r->p < r->end) {
      c = *r->p++;
      if (c == 'x') {
        int hi = r->end - r->p >= 2 ? hex_digit(r->p[0]) : -1, lo = hi >= 0 ? hex_digit(r->p[1]) : -1;
        if (lo < 0) return fail(r, "`\\x` needs two digits");
        c = (char)(hi * 16 + lo);
        r->p += 2;
      } else if (c != '"' && c != '\\') {
        return fail(r, "no such escape in a string");
      }
    }
    if (c == 0) return fail(r, "a zero byte in a string");
    s[n++] = c;
  }
  *to = s;
  return expect(r, '"');
}

/* --- nodes ------------------------------------------------------------------------------------------------------ */

typedef struct attrs { kd_attr v[KD_MAX_ATTRS]; int64_t list[KD_MAX_ATTRS][KD_MAX_RANK]; } attrs;

static bool take_body(reader *r, kd_attr *to) {
  char name[MAX_TOKEN];
  if (!take_word(r, "_", name)) return false;
  *to = kd__ag(kd__map_get(&r->at->body, name));
  return to->u.graph || fail(r, "no body %s above", name);
}

static bool take_attr(reader *r, const kd_op_info *info, attrs *a) {
  char name[MAX_TOKEN];
  if (!take_word(r, "_", name) || !expect(r, '=')) return false;
  int i = 0;
  while (i < info->nattr && strcmp(info->attr[i].name, name) != 0) i++;
  if (i == info->nattr) return fail(r, "%s has no attribute %s", info->name, name);
  if (a->v[i].kind) return fail(r, "attribute %s twice", name);
  kd_attr *to = &a->v[i];
  to->kind = info->attr[i].kind;
  kd_dtype t = KD_F32;
  switch (to->kind) {
    case 'i': return take_int(r, &to->u.i);
    case 'f': return take_double(r, &to->u.f);
    case 'g': return take_body(r, to);
    case 't':
      if (!take_dtype(r, &t)) return false;
      *to = kd__at(t);
      return true;
    default: to->u.list = a->list[i]; return take_list(r, a->list[i], &to->n);
  }
}

static bool take_attrs(reader *r, const kd_op_info *info, attrs *a) {
  if (!take(r, '{')) return true;
  if (take(r, '}')) return true;
  do {
    if (!take_attr(r, info, a)) return false;
  } while (take(r, ','));
  return expect(r, '}');
}

static bool take_operands(reader *r) {
  r->in.n = 0;
  if (!at(r, '%')) return true;
  do {
    kd_value v;
    if (!take_value(r, &v)) return false;
    KD_PUSH(r->g->arena, r->in, v);
  } while (take(r, ','));
  return true;
}

/* The types at the end of the line, if any, must be those inferred. */
static bool check_types(reader *r, kd_value v, uint32_t n) {
  if (!take(r, ':')) return true;
  for (uint32_t i = 0; i < n; i++) {
    kd_type t = { 0 };
    kd_dtype dtype;
    uint32_t rank;
    if (i && !expect(r, ',')) return false;
    if (!take_dtype(r, &dtype) || !take_list(r, t.dim, &rank)) return false;
    t.dtype = (uint8_t)dtype;
    t.rank = (uint8_t)rank;
    char have[KD_TYPE_TEXT], said[KD_TYPE_TEXT];
    if (!kd__type_equal(&t, kd__type_of(r->g, v + i)))
      return fail(r, "the type is %s, not %s", kd__type_text(kd__type_of(r->g, v + i), have, sizeof have), kd__type_text(&t, said, sizeof said));
  }
  return true;
}

/* The names before the `=`. Each is there at once, without a value, so that it is not taken twice. */
typedef KD_VEC(const char *) names;
static bool take_results(reader *r, names *to) {
  do {
    char name[MAX_TOKEN];
    if (!take_name(r, name)) return false;
    if (kd__map_has(&r->at->name, name)) return fail(r, kd__map_get(&r->at->name, name) ? "%%%s is there already" : "%%%s twice", name);
    *kd__map_at(&r->at->name, name) = NULL;
    KD_PUSH(r->g->arena, *to, kd__arena_strndup(r->g->arena, name, strlen(name)));
  } while (take(r, ','));
  return true;
}

static bool read_node(reader *r) {
  char word[MAX_TOKEN];
  names name = { 0 };
  if (!take_results(r, &name)) return false;
  kd_op op;
  if (!expect(r, '=') || !take_word(r, "_", word)) return false;
  if (!kd__op_parse(word, strlen(word), &op)) return fail(r, "no operator `%s`", word);
  const kd_op_info *info = kd__op_info(op);
  attrs a = { 0 };
  if (!take_operands(r) || !take_attrs(r, info, &a)) return false;
  uint32_t n = (uint32_t)name.n, nout = kd__result_count(op, a.v);
  if (n != nout) return fail(r, "%s has %u result%s, not %u", info->name, nout, nout == 1 ? "" : "s", n);
  kd_shape_error why;
  kd_value v = kd__graph_add(r->g, op, r->in.v, (uint32_t)r->in.n, a.v, 0, &why);
  if (!v) return fail(r, "%s", why.text);
  for (uint32_t i = 0; i < n; i++) *kd__map_at(&r->at->name, name.v[i]) = (void *)(uintptr_t)(v + i);
  return check_types(r, v, n);
}

static void enter(reader *r, const char *called, kd__arena *a) {
  level *l = KD_NEW(a, level);
  *l = (level){ .up = r->at, .g = kd__graph_new(a), .called = called };
  kd__map_init(&l->name, a);
  kd__map_init(&l->body, a);
  r->at = l, r->g = l->g;
}

static bool begin_body(reader *r) {
  char name[MAX_TOKEN];
  if (!take_word(r, "_", name) || !expect(r, '{')) return false;
  if (kd__map_has(&r->at->body, name)) return fail(r, "body %s is there already", name);
  if (++r->depth > MAX_DEPTH) return fail(r, "bodies in bodies, more than %d deep", MAX_DEPTH);
  enter(r, kd__arena_strndup(r->g->arena, name, strlen(name)), r->g->arena);
  return true;
}

static bool end_body(reader *r) {
  level *l = r->at;
  if (!l->up) return fail(r, "no body is open");
  r->depth--;
  r->at = l->up, r->g = l->up->g;
  *kd__map_at(&r->at->body, l->called) = l->g;
  return true;
}

static bool read_line(reader *r) {
  char word[MAX_TOKEN], *name = NULL;
  kd_value v;
  int64_t slot;
  skip_space(r);
  if (r->p == r->end || (r->end - r->p >= 2 && r->p[0] == '/' && r->p[1] == '/')) return true;
  if (at(r, '%')) {
    if (!read_node(r)) return false;
  } else if (take(r, '}')) {
    if (!end_body(r)) return false;
  } else {
    if (!take_word(r, "", word)) return false;
    if (strcmp(word, "write") == 0) {
      if (!take_int(r, &slot) || !take_value(r, &v)) return false;
      if (slot < 0) return fail(r, "slot is %lld", (long long)slot);
      kd__graph_write(r->g, slot, v, 0);
    } else if (strcmp(word, "result") == 0) {
      if (!take_string(r, &name) || !take_value(r, &v)) return false;
      kd__graph_result(r->g, name, v);
    } else if (strcmp(word, "body") == 0) {
      if (!begin_body(r)) return false;
    } else {
      return fail(r, "`%s` begins no line: `%%`, `write`, `result` or `body`", word);
    }
  }
  skip_space(r);
  return r->p == r->end || fail(r, "something is left at the end");
}

kd_graph *kd__graph_read(kd__arena *a, const char *text, size_t n, kd_shape_error *err) {
  kd_shape_error ignored;
  reader r = { .err = err ? err : &ignored };
  r.err->text[0] = 0;
  enter(&r, NULL, a);
  for (const char *p = text, *stop = text + n; p < stop; p = r.end + 1) {
    const char *nl = memchr(p, '\n', (size_t)(stop - p));
    r.p = p;
    r.end = nl ? nl : stop;
    r.line++;
    if (!read_line(&r)) return NULL;
  }
  if (r.at->up) return fail(&r, "the body %s has no end", r.at->called), NULL;
  return r.g;
}
