/* calc.c: parsing and evaluating in one go; a fault leaves a zero and c->failed, so that no caller has to look in between. */
#include "tests/methods/calc.h"
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct calc_block { struct calc_block *next; double v[]; };

/* --- arrays --------------------------------------------------------------------------------------------------------------------- */
calc_array calc_new(calc *c, int rank, const size_t *dim) {
  calc_array a = { .rank = rank, .n = 1 };
  for (int i = 0; i < rank; i++) a.n *= a.dim[i] = dim[i];
  struct calc_block *b = calloc(1, sizeof *b + sizeof(double) * (a.n + 1));
  if (!b) abort();
  b->next = c->mem;
  c->mem = b;
  a.v = b->v;
  return a;
}

void calc_free(calc *c) {
  for (struct calc_block *b = c->mem, *next; b; b = next) { next = b->next; free(b); }
  c->mem = NULL;
}

static calc_array scalar(calc *c, double v) {
  calc_array a = calc_new(c, 0, NULL);
  a.v[0] = v;
  return a;
}

static calc_array fail(calc *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static calc_array fail(calc *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  if (!c->failed) (void)vsnprintf(c->why, sizeof c->why, fmt, ap);
  va_end(ap);
  c->failed = true;
  return scalar(c, 0);
}

static void shape_text(const calc_array *a, char *out, size_t n) {
  size_t k = (size_t)snprintf(out, n, "[");
  for (int i = 0; i < a->rank && k < n; i++) k += (size_t)snprintf(out + k, n - k, i ? ", %zu" : "%zu", a->dim[i]);
  if (k < n) (void)snprintf(out + k, n - k, "]");
}

/* --- element by element ------------------------------------------------------------------------------------------------------------ */
typedef double (*binary)(double, double);

/* Position in `a` of the element that meets element i of `r`. */
static size_t met(const calc_array *a, const calc_array *r, size_t i) {
  size_t at = 0, step = 1;
  for (int k = r->rank - 1, j = a->rank - 1; j >= 0; k--, j--) {
    size_t x = i % r->dim[k];
    i /= r->dim[k];
    if (a->dim[j] != 1) at += x * step;
    step *= a->dim[j];
  }
  return at;
}

static bool meet(const calc_array *a, const calc_array *b, int *rank, size_t *dim) {
  *rank = a->rank > b->rank ? a->rank : b->rank;
  for (int k = 0; k < *rank; k++) {
    size_t p = k < a->rank ? a->dim[a->rank - 1 - k] : 1, q = k < b->rank ? b->dim[b->rank - 1 - k] : 1;
    if (p != q && p != 1 && q != 1) return false;
    dim[*rank - 1 - k] = p == 1 ? q : p;
  }
  return true;
}

static calc_array both(calc *c, binary f, calc_array a, calc_array b) {
  int rank;
  size_t dim[CALC_RANK];
  char p[80], q[80];
  if (!meet(&a, &b, &rank, dim)) {
    shape_text(&a, p, sizeof p);
    shape_text(&b, q, sizeof q);
    return fail(c, "%s and %s do not meet", p, q);
  }
  calc_array r = calc_new(c, rank, dim);
  if (a.n == r.n && b.n == r.n) for (size_t i = 0; i < r.n; i++) r.v[i] = f(a.v[i], b.v[i]);
  else if (b.n == 1) for (size_t i = 0; i < r.n; i++) r.v[i] = f(a.v[i], b.v[0]);
  else for (size_t i = 0; i < r.n; i++) r.v[i] = f(a.v[met(&a, &r, i)], b.v[met(&b, &r, i)]);
  return r;
}

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double quo(double a, double b) { return a / b; }
static double relu(double a) { return a > 0 ? a : 0; }

/* --- functions -------------------------------------------------------------------------------------------------------------------------- */
typedef struct call { calc *c; calc_array a[3]; int n; } call;
typedef calc_array (*function)(call *k);

static size_t row_size(const calc_array *a) { return a->rank ? a->dim[a->rank - 1] : 1; }
static size_t row_count(const calc_array *a) { return row_size(a) ? a->n / row_size(a) : 0; }

static calc_array each(call *k, double (*f)(double)) {
  calc_array r = calc_new(k->c, k->a[0].rank, k->a[0].dim);
  for (size_t i = 0; i < r.n; i++) r.v[i] = f(k->a[0].v[i]);
  return r;
}
static calc_array f_abs(call *k) { return each(k, fabs); }
static calc_array f_sqrt(call *k) { return each(k, sqrt); }
static calc_array f_exp(call *k) { return each(k, exp); }
static calc_array f_log(call *k) { return each(k, log); }
static calc_array f_relu(call *k) { return each(k, relu); }
static calc_array f_round(call *k) { return each(k, rint); }

static calc_array fold(call *k, binary f, double from) {
  for (size_t i = 0; i < k->a[0].n; i++) from = f(from, k->a[0].v[i]);
  return scalar(k->c, from);
}
static calc_array f_sum(call *k) { return fold(k, add, 0); }
static calc_array f_max(call *k) { return fold(k, fmax, -INFINITY); }
static calc_array f_min(call *k) { return fold(k, fmin, INFINITY); }
static calc_array f_mean(call *k) { return scalar(k->c, fold(k, add, 0).v[0] / (double)k->a[0].n); }
static calc_array f_size(call *k) { return scalar(k->c, (double)k->a[0].n); }

/* What becomes of each row: one number. */
static calc_array by_row(call *k, double (*f)(const double *, size_t)) {
  const calc_array *a = &k->a[0];
  calc_array r = calc_new(k->c, a->rank ? a->rank - 1 : 0, a->dim);
  for (size_t i = 0; i < r.n; i++) r.v[i] = f(a->v + i * row_size(a), row_size(a));
  return r;
}
static double row_norm(const double *v, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += v[i] * v[i]; return sqrt(s); }
static double row_sum(const double *v, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += v[i]; return s; }
static double row_max(const double *v, size_t n) { double s = -INFINITY; for (size_t i = 0; i < n; i++) s = fmax(s, v[i]); return s; }
static double row_best(const double *v, size_t n) { size_t s = 0; for (size_t i = 1; i < n; i++) if (v[i] > v[s]) s = i; return (double)s; }
static double row_lse(const double *v, size_t n) {
  double m = row_max(v, n), s = 0;
  for (size_t i = 0; i < n; i++) s += exp(v[i] - m);
  return m + log(s);
}
static calc_array f_norms(call *k) { return by_row(k, row_norm); }
static calc_array f_sums(call *k) { return by_row(k, row_sum); }
static calc_array f_argmax(call *k) { return by_row(k, row_best); }
static calc_array f_logsumexp(call *k) { return by_row(k, row_lse); }

static calc_array over_row(call *k, double (*f)(const double *, size_t), binary g) {
  const calc_array *a = &k->a[0];
  calc_array r = calc_new(k->c, a->rank, a->dim);
  for (size_t i = 0, m = row_size(a); i < row_count(a); i++) {
    double s = f(a->v + i * m, m);
    for (size_t j = 0; j < m; j++) r.v[i * m + j] = g(a->v[i * m + j], s);
  }
  return r;
}
static calc_array f_unit(call *k) { return over_row(k, row_norm, quo); }
static calc_array f_log_softmax(call *k) { return over_row(k, row_lse, sub); }
static calc_array f_softmax(call *k) { k->a[0] = f_log_softmax(k); return f_exp(k); }

static calc_array f_dot(call *k) {
  const calc_array *a = &k->a[0], *b = &k->a[1];
  size_t m = row_size(a), dim[CALC_RANK];
  int rank = 0;
  if (row_size(b) != m || !a->rank || !b->rank || a->rank + b->rank - 2 > CALC_RANK) return fail(k->c, "`dot`: rows of %zu and of %zu", m, row_size(b));
  for (int i = 0; i < a->rank - 1; i++) dim[rank++] = a->dim[i];
  for (int i = 0; i < b->rank - 1; i++) dim[rank++] = b->dim[i];
  calc_array r = calc_new(k->c, rank, dim);
  for (size_t i = 0; i < row_count(a); i++)
    for (size_t j = 0; j < row_count(b); j++)
      for (size_t x = 0; x < m; x++) r.v[i * row_count(b) + j] += a->v[i * m + x] * b->v[j * m + x];
  return r;
}

static int order_of(const void *a, const void *b) { double x = *(const double *)a, y = *(const double *)b; return (x > y) - (x < y); }
static calc_array f_distinct(call *k) {
  calc_array s = calc_new(k->c, k->a[0].rank, k->a[0].dim);
  size_t n = s.n > 0;
  for (size_t i = 0; i < s.n; i++) s.v[i] = k->a[0].v[i];
  qsort(s.v, s.n, sizeof *s.v, order_of);
  for (size_t i = 1; i < s.n; i++) n += s.v[i] != s.v[i - 1];
  return scalar(k->c, (double)n);
}

static calc_array f_onehot(call *k) {
  calc_array *a = &k->a[0];
  size_t n = (size_t)k->a[1].v[0], dim[CALC_RANK];
  if (a->rank + 1 > CALC_RANK) return fail(k->c, "`onehot` of too many axes");
  for (int i = 0; i < a->rank; i++) dim[i] = a->dim[i];
  dim[a->rank] = n;
  calc_array r = calc_new(k->c, a->rank + 1, dim);
  for (size_t i = 0; i < a->n; i++) if (a->v[i] >= 0 && a->v[i] < (double)n) r.v[i * n + (size_t)a->v[i]] = 1;
  return r;
}

static calc_array f_column(call *k) {
  calc_array a = k->a[0];
  if (a.rank == CALC_RANK) return fail(k->c, "`column` of too many axes");
  a.dim[a.rank++] = 1;
  return a;
}

static calc_array f_flat(call *k) {
  calc_array a = k->a[0];
  a.rank = 1;
  a.dim[0] = a.n;
  return a;
}

static calc_array f_rows(call *k) {
  calc_array a = k->a[0];
  size_t n = (size_t)k->a[1].v[0];
  if (!n || a.n % n) return fail(k->c, "`rows`: %zu elements are no rows of %zu", a.n, n);
  a.rank = 2;
  a.dim[0] = a.n / n;
  a.dim[1] = n;
  return a;
}

static calc_array f_turned(call *k) {
  const calc_array *a = &k->a[0];
  if (a->rank != 2) return fail(k->c, "`turned` takes two axes, not %d", a->rank);
  calc_array r = calc_new(k->c, 2, (const size_t[]){ a->dim[1], a->dim[0] });
  for (size_t i = 0; i < a->n; i++) r.v[i % a->dim[1] * a->dim[0] + i / a->dim[1]] = a->v[i];
  return r;
}

/* How many rows of a are rows of b, but for rounding. */
static calc_array f_found(call *k) {
  const calc_array *a = &k->a[0], *b = &k->a[1];
  size_t m = row_size(a), n = 0;
  if (row_size(b) != m) return fail(k->c, "`found`: rows of %zu and of %zu", m, row_size(b));
  for (size_t i = 0; i < row_count(a); i++) {
    bool hit = false;
    for (size_t j = 0; j < row_count(b) && !hit; j++) {
      double far = 0;
      for (size_t x = 0; x < m && far < 1e-6; x++) far = fmax(far, fabs(a->v[i * m + x] - b->v[j * m + x]));
      hit = far < 1e-6;
    }
    n += hit;
  }
  return scalar(k->c, (double)n);
}

/* b's columns after a's. */
static calc_array f_join(call *k) {
  const calc_array *a = &k->a[0], *b = &k->a[1];
  size_t m = row_size(a), n = row_size(b), dim[CALC_RANK];
  if (!a->rank || a->rank != b->rank || row_count(a) != row_count(b)) return fail(k->c, "`join`: %zu and %zu rows", row_count(a), row_count(b));
  memcpy(dim, a->dim, sizeof dim);
  dim[a->rank - 1] = m + n;
  calc_array r = calc_new(k->c, a->rank, dim);
  for (size_t i = 0; i < row_count(a); i++) {
    memcpy(r.v + i * (m + n), a->v + i * m, sizeof *r.v * m);
    memcpy(r.v + i * (m + n) + m, b->v + i * n, sizeof *r.v * n);
  }
  return r;
}

static calc_array f_lerp(call *k) { return both(k->c, add, k->a[0], both(k->c, mul, k->a[2], both(k->c, sub, k->a[1], k->a[0]))); }

static const struct { const char *name; function f; int n; } known[] = {
  { "abs", f_abs, 1 }, { "sqrt", f_sqrt, 1 }, { "exp", f_exp, 1 }, { "log", f_log, 1 }, { "relu", f_relu, 1 }, { "round", f_round, 1 },
  { "sum", f_sum, 1 }, { "mean", f_mean, 1 }, { "max", f_max, 1 }, { "min", f_min, 1 }, { "size", f_size, 1 }, { "distinct", f_distinct, 1 },
  { "norms", f_norms, 1 }, { "sums", f_sums, 1 }, { "argmax", f_argmax, 1 }, { "unit", f_unit, 1 }, { "softmax", f_softmax, 1 },
  { "log_softmax", f_log_softmax, 1 }, { "logsumexp", f_logsumexp, 1 }, { "dot", f_dot, 2 }, { "onehot", f_onehot, 2 }, { "column", f_column, 1 }, { "flat", f_flat, 1 }, { "turned", f_turned, 1 }, { "rows", f_rows, 2 },
  { "found", f_found, 2 }, { "join", f_join, 2 }, { "lerp", f_lerp, 3 },
};

/* --- text ------------------------------------------------------------------------------------------------------------------------------- */
static calc_array sum_of(calc *c);

static bool take(calc *c, const char *word) {
  while (isspace((unsigned char)*c->at)) c->at++;
  size_t n = strlen(word);
  if (strncmp(c->at, word, n) != 0) return false;
  c->at += n;
  return true;
}

static void want(calc *c, const char *word) {
  if (!take(c, word)) (void)fail(c, "`%s` is missing before `%s`", word, c->at);
}

/* Letters, digits, `_`, `.`, `:`, and `*` where it touches what precedes it; anything between backticks. */
static bool name_of(calc *c, char *out, size_t n) {
  size_t k = 0;
  if (take(c, "`")) {
    while (*c->at && *c->at != '`' && k + 1 < n) out[k++] = *c->at++;
    want(c, "`");
  } else {
    while ((isalnum((unsigned char)*c->at) || (*c->at && strchr("_.:", *c->at) && strncmp(c->at, "..", 2) != 0) || (k && *c->at == '*')) && k + 1 < n) out[k++] = *c->at++;
  }
  out[k] = 0;
  return k > 0;
}

static calc_array stored(calc *c) {
  char part[2][200] = { "", "" };
  for (int i = 0; i < 2; i++) {
    want(c, i ? "," : "(");
    want(c, "\"");
    for (size_t k = 0; *c->at && *c->at != '"' && k + 1 < sizeof part[i]; k++) { part[i][k] = *c->at++; part[i][k + 1] = 0; }
    want(c, "\"");
  }
  want(c, ")");
  double n = c->stored ? c->stored(c->ctx, part[0], part[1]) : -1;
  return n < 0 ? fail(c, "no file %s was saved", part[0]) : scalar(c, n);
}

static calc_array called(calc *c, const char *name) {
  call k = { .c = c };
  size_t i = 0, count = sizeof known / sizeof *known;
  while (i < count && strcmp(known[i].name, name) != 0) i++;
  if (i == count) return fail(c, "there is no function `%s`", name);
  want(c, "(");
  do k.a[k.n++] = sum_of(c); while (k.n < 3 && !c->failed && take(c, ","));
  want(c, ")");
  if (c->failed) return scalar(c, 0);
  return k.n == known[i].n ? known[i].f(&k) : fail(c, "`%s` takes %d arguments, not %d", name, known[i].n, k.n);
}

static calc_array list(calc *c) {
  double v[64];
  size_t n = 0;
  do v[n++] = sum_of(c).v[0]; while (n < 64 && !c->failed && take(c, ","));
  want(c, "]");
  calc_array a = calc_new(c, 1, &n);
  for (size_t i = 0; i < n; i++) a.v[i] = v[i];
  return a;
}

static calc_array primary(calc *c) {
  char name[300], *end;
  calc_array a;
  if (take(c, "(")) { a = sum_of(c); want(c, ")"); return a; }
  if (take(c, "[")) return list(c);
  if (take(c, "-")) return both(c, mul, scalar(c, -1), primary(c));
  while (isspace((unsigned char)*c->at)) c->at++;
  if (isdigit((unsigned char)*c->at)) {
    double v = strtod(c->at, &end);
    if (end[-1] == '.' && *end == '.') end--;    /* 0..3 */
    c->at = end;
    return scalar(c, v);
  }
  if (!name_of(c, name, sizeof name)) return fail(c, "a value is missing before `%s`", c->at);
  if (*c->at == '(') return strcmp(name, "stored") == 0 ? stored(c) : called(c, name);
  return c->find(c->ctx, c, name, &a) ? a : fail(c, "there is no `%s`", name);
}

/* x[i] and x[a..b] along the first axis. */
static calc_array indexed(calc *c) {
  calc_array a = primary(c);
  while (*c->at == '[' && !c->failed) {
    c->at++;
    double from = sum_of(c).v[0], to = from + 1;
    bool range = take(c, "..");
    if (range) to = sum_of(c).v[0];
    want(c, "]");
    if (!a.rank || from < 0 || to < from || to > (double)a.dim[0]) return fail(c, "%g..%g is not within the first axis", from, to);
    size_t step = a.dim[0] ? a.n / a.dim[0] : 0;
    a.v += (size_t)from * step;
    a.dim[0] = (size_t)(to - from);
    a.n = a.dim[0] * step;
    if (!range) { a.rank--; memmove(a.dim, a.dim + 1, sizeof *a.dim * (size_t)a.rank); }
  }
  return a;
}

static calc_array power(calc *c) {
  calc_array a = indexed(c);
  return take(c, "^") ? both(c, pow, a, power(c)) : a;
}

static calc_array product(calc *c) {
  calc_array a = power(c);
  for (;;) {
    if (take(c, "*")) a = both(c, mul, a, power(c));
    else if (take(c, "/")) a = both(c, quo, a, power(c));
    else return a;
  }
}

static calc_array sum_of(calc *c) {
  calc_array a = product(c);
  for (;;) {
    if (take(c, "+")) a = both(c, add, a, product(c));
    else if (take(c, "-")) a = both(c, sub, a, product(c));
    else return a;
  }
}

calc_array calc_within(calc *c, const char *text) {
  const char *at = c->at;
  c->at = text;
  calc_array a = sum_of(c);
  while (isspace((unsigned char)*c->at)) c->at++;
  if (*c->at) (void)fail(c, "this is too much: `%s`", c->at);
  c->at = at;
  return a;
}

/* --- relations ---------------------------------------------------------------------------------------------------------------------------- */
typedef bool (*holding)(double a, double b, double tolerance);
static bool lt(double a, double b, double t) { (void)t; return a < b; }
static bool le(double a, double b, double t) { (void)t; return a <= b; }
static bool gt(double a, double b, double t) { (void)t; return a > b; }
static bool ge(double a, double b, double t) { (void)t; return a >= b; }
static bool eq(double a, double b, double t) { (void)t; return a == b; }
static bool near(double a, double b, double t) { return fabs(a - b) <= t * fmax(1, fmax(fabs(a), fabs(b))); }

static const struct { const char *text; holding holds; } relation[] = {      /* longer texts first */
  { "<=", le }, { ">=", ge }, { "==", eq }, { "!=", NULL }, { "<", lt }, { ">", gt }, { "~", near },
};

static bool related(calc *c, calc_array a, calc_array b, size_t how) {
  calc_array gap = both(c, sub, a, b);
  holding holds = relation[how].holds;
  size_t off = 0, first = 0;
  double largest = 0;
  for (size_t i = 0; i < gap.n && !c->failed; i++) {
    double x = a.v[met(&a, &gap, i)], y = b.v[met(&b, &gap, i)];
    if (holds ? holds(x, y, c->tolerance) : x != y) continue;
    if (!off++) first = i;
    largest = fmax(largest, fabs(x - y));
  }
  if (c->failed) return false;
  if (!gap.n) { (void)fail(c, "there is nothing to compare"); return false; }
  if (holds ? !off : off < gap.n) return true;
  (void)fail(c, "%zu of %zu are not so; the first is number %zu: %.9g %s %.9g; the largest gap is %.3g", off, gap.n, first, a.v[met(&a, &gap, first)],
             relation[how].text, b.v[met(&b, &gap, first)], largest);
  return false;
}

static void begin(calc *c, const char *text) {
  c->at = text;
  c->failed = false;
  c->why[0] = 0;
}

bool calc_holds(calc *c, const char *text) {
  size_t count = sizeof relation / sizeof *relation, how;
  begin(c, text);
  calc_array a = sum_of(c);
  int n = 0;
  for (; !c->failed; n++) {
    for (how = 0; how < count && !take(c, relation[how].text); how++) continue;
    if (how == count) break;
    calc_array b = sum_of(c);
    if (c->failed || !related(c, a, b, how)) return false;
    a = b;
  }
  if (!c->failed && !n) (void)fail(c, "nothing is compared");
  if (!c->failed && *c->at) (void)fail(c, "this is too much: `%s`", c->at);
  return !c->failed;
}
