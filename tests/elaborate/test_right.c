/* test_right.c: what right programs compute. the .txt files of right/ hold cases:
 *
 *   == name
 *   a program that defines `fn it(...)` or `loss it(...)`: a number, or a record whose `loss` is one
 *   -- x=[2,3]:1,2,3,4,5,6  n="4"  i=int[2]:0,1     (arguments: tensors, or texts of the language)
 *   loss 3.5
 *   grad.x 1 1 1 1 1 1                              (results by name: row-major values, worked out by hand)
 *   state.m 1 2                                     (what a slot becomes; its initial value comes from the program)
 *
 * Those of library/ use stdlib/, the others the small library of these tests.
 * In a case whose name ends in _by_differences every gradient is also checked by differences of the loss.
 * The graph runs on the naive twins in double precision, as it was elaborated and as all passes leave it; with loops as usual, all as nodes, and
 * all written out: the same bits. */
#include "tests/elaborate/library.h"
#include "tests/eval/eval.h"
#include "compiler/pass/pass.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { MAX_ARGS = 16, MAX_VALUES = 4096 };
typedef struct fixture {
  kd__arena a;
  const char *name;
  kd_entry_arg arg[MAX_ARGS]; void *data[MAX_ARGS]; size_t narg;
  kd_entry entry;
  kd_graph *graph;                               /* the entry's, or what the passes made of it */
  kd_eval_slot *slot; size_t nslot;
  kd_eval init, run;
  int64_t unroll;                                /* which loops are written out */
} fixture;

/* --- arguments ------------------------------------------------------------------------------------------------------------------- */
static void parse_tensor(fixture *f, const char *p) {
  kd_entry_arg *g = &f->arg[f->narg];
  g->type.dtype = KD_F64;
  g->grad = true;
  if (strncmp(p, "int", 3) == 0) { g->type.dtype = KD_I64; g->grad = false; p += 3; }
  if (strncmp(p, "bool", 4) == 0) { g->type.dtype = KD_BOOL; g->grad = false; p += 4; }
  char *end = NULL;
  assert_int_equal(*p++, '[');
  while (*p != ']') { g->type.dim[g->type.rank++] = strtoll(p, &end, 10); p = *end == ',' ? end + 1 : end; }
  int64_t n = kd__type_count(&g->type);
  assert_true(n <= MAX_VALUES && p[1] == ':');
  double *v = KD_NEWN(&f->a, double, n);
  int64_t *w = KD_NEWN(&f->a, int64_t, n);
  uint8_t *b = KD_NEWN(&f->a, uint8_t, n);
  p += 2;
  for (int64_t i = 0; i < n; i++) { v[i] = strtod(p, &end); w[i] = (int64_t)v[i]; b[i] = v[i] != 0; assert_true(end != p); p = *end == ',' ? end + 1 : end; }
  f->data[f->narg] = g->type.dtype == KD_I64 ? (void *)w : g->type.dtype == KD_BOOL ? (void *)b : (void *)v;
}

static void parse_args(fixture *f, char *line) {
  for (char *w = strtok(line, " "); w; w = strtok(NULL, " ")) {
    char *eq = strchr(w, '=');
    assert_non_null(eq);
    assert_true(f->narg < MAX_ARGS);
    *eq = 0;
    f->arg[f->narg].name = w;
    if (eq[1] == '"') { f->arg[f->narg].text = eq + 2; eq[strlen(eq + 1)] = 0; }
    else parse_tensor(f, eq + 1);
    f->narg++;
  }
}

static bool use_stdlib;

/* --- running ------------------------------------------------------------------------------------------------------------------------ */
static bool elaborate(fixture *f, const char *text, size_t n) {
  kd_sink sink;
  kd__sink_init(&sink, &f->a);
  kd_elab_options opt = use_stdlib ? kd_test_stdlib(&f->a) : kd_test_options(&f->a);
  opt.real = KD_F64;
  opt.unroll = f->unroll;
  kd_source *src = kd__source_new(&f->a, f->name, text, n, 0);
  bool ok = kd__elaborate_entry(&f->a, &sink, kd__parse(&f->a, &sink, src), &opt, "it", f->arg, f->narg, &f->entry);
  kd_shape_error err;
  if (ok && !kd__graph_verify(f->entry.graph, &err)) { print_error("%s: %s\n", f->name, err.text); return false; }
  if (ok) return true;
  kd__buf b = { 0 };
  kd_test_diagnostics(&sink, &b);
  print_error("%s", b.p ? b.p : "no diagnostics\n");
  kd__buf_free(&b);
  return false;
}

/* Run-time scalars are 0, arguments as given, everything else as `init` leaves it. */
static bool run(fixture *f) {
  kd_entry *e = &f->entry;
  f->slot = KD_NEWN(&f->a, kd_eval_slot, e->nslot * 2 + 1);
  for (uint32_t i = 0; i < e->nslot; i++) {
    void *data = NULL;
    for (size_t k = 0; k < f->narg; k++) if (!f->arg[k].text && strcmp(f->arg[k].name, e->slot[i].name) == 0) data = f->data[k];
    if (!data && e->slot[i].kind == KD_SLOT_SCALAR) data = kd__arena_get(&f->a, 8);
    if (data) f->slot[f->nslot++] = (kd_eval_slot){ i, data };
  }
  (void)kd_eval_run(&f->init, e->init, f->slot, f->nslot, NULL, 0, KD_EVAL_DENSE);
  for (size_t i = 0; i < e->init->write.n; i++) {
    kd_value v = e->init->write.v[i].value;
    if (!kd_eval_has(&f->init, v)) { print_error("%s: no initial value\n", f->name); return false; }
    void *to = kd__arena_get(&f->a, (size_t)kd__type_count(kd__type_of(e->init, v)) * 8 + 8);
    kd_eval_read(&f->init, v, to);
    f->slot[f->nslot++] = (kd_eval_slot){ e->init->write.v[i].slot, to };
  }
  return kd_eval_run(&f->run, f->graph, f->slot, f->nslot, NULL, 0, KD_EVAL_STRANGE) && !f->run.fault.set;
}

static kd_value find(const fixture *f, const char *name) {
  if (strncmp(name, "state.", 6) != 0) return kd_eval_result(&f->run, name);
  for (uint32_t i = 0; i < f->entry.nslot; i++)
    if (strcmp(f->entry.slot[i].name, name + 6) == 0) return kd_eval_write(&f->run, i);
  return 0;
}

static bool check_line(const fixture *f, char *line) {
  char *name = strtok(line, " "), *w;
  kd_value v = find(f, name);
  if (!v || !kd_eval_has(&f->run, v)) {
    print_error("%s: there is no %s; slots:", f->name, name);
    for (uint32_t i = 0; i < f->entry.nslot; i++) print_error(" %s", f->entry.slot[i].name);
    print_error("\n");
    return false;
  }
  int64_t n = kd__type_count(kd__type_of(f->graph, v)), i = 0;
  bool ok = true;
  for (; (w = strtok(NULL, " ")); i++) {
    double want = strtod(w, NULL), got = i < n ? kd_eval_at(&f->run, v, i) : NAN;
    if (fabs(got - want) <= 1e-9 * fmax(1, fabs(want)) || (isnan(got) && isnan(want) && i < n)) continue;
    print_error("%s: %s[%lld] is %.12g, not %.12g\n", f->name, name, (long long)i, got, want);
    ok = false;
  }
  if (i != n) print_error("%s: %s has %lld values, not %lld\n", f->name, name, (long long)n, (long long)i);
  return ok && i == n;
}

static double loss_of(const fixture *f) {
  kd_eval e = { 0 };
  assert_true(kd_eval_run(&e, f->graph, f->slot, f->nslot, NULL, 0, KD_EVAL_DENSE));
  double l = kd_eval_at(&e, kd_eval_result(&e, "loss"), 0);
  kd_eval_free(&e);
  return l;
}

/* Every gradient against central differences of the loss: where the program differentiates itself, that checks second derivatives. */
static bool check_differences(const fixture *f) {
  size_t checked = 0;
  bool ok = true;
  for (size_t i = 0; i < f->nslot; i++) {
    const char *name = f->entry.slot[f->slot[i].slot].name;
    kd_value g = kd_eval_result(&f->run, kd__arena_printf((kd__arena *)(uintptr_t)&f->a, "grad.%s", name));
    double *x = (double *)(uintptr_t)f->slot[i].data;
    int64_t n = g ? kd__type_count(kd__type_of(f->graph, g)) : 0;
    for (int64_t k = 0; k < n; k++, checked++) {
      double was = x[k], h = 1e-4 * fmax(1, fabs(was));
      double d[2];
      for (int far = 0; far < 2; far++) {        /* two widths: their difference of order h^2 goes out */
        x[k] = was + h * (1 + far); double up = loss_of(f);
        x[k] = was - h * (1 + far); double down = loss_of(f);
        d[far] = (up - down) / (2 * h * (1 + far));
      }
      x[k] = was;
      double want = (4 * d[0] - d[1]) / 3, got = kd_eval_at(&f->run, g, k);
      if (fabs(want - got) <= 1e-6 * fmax(1, fabs(want))) continue;
      print_error("%s: grad.%s[%lld] is %.12g, and by differences %.12g\n", f->name, name, (long long)k, got, want);
      ok = false;
    }
  }
  if (!checked) print_error("%s: no gradient to check\n", f->name);
  return ok && checked;
}

static size_t nodes;                             /* programs that have loops as nodes, of those where all should be */
static void count_loops(const kd_graph *g) {
  for (size_t i = 1; i < g->node.n; i++)
    if (g->node.v[i].op == KD_OP_LOOP) { nodes++; return; }
}

/* All results but gradients, whose sums may run in another order. */
static void results(const fixture *f, kd__buf *out) {
  const kd_graph *g = f->graph;
  for (size_t i = 0; i < g->result.n; i++) {
    kd_value v = g->result.v[i].value;
    if (strncmp(g->result.v[i].name, "grad.", 5) == 0 || !kd_eval_has(&f->run, v)) continue;
    for (int64_t k = 0; k < kd__type_count(kd__type_of(g, v)); k++) kd__buf_printf(out, "%s %.17g\n", g->result.v[i].name, kd_eval_at(&f->run, v, k));
  }
}

/* `bits`: where to write the results, or NULL. */
static bool check_all(fixture *f, const char *expect, kd__buf *bits) {
  size_t lines = 0;
  bool ok = run(f);
  if (ok && strstr(f->name, "_by_differences")) ok = check_differences(f);
  char *text = kd__arena_strndup(&f->a, expect, strlen(expect));
  for (char *save, *l = strtok_r(text, "\n", &save); l && ok; l = strtok_r(NULL, "\n", &save)) { ok = check_line(f, l); lines++; }
  if (ok && bits) results(f, bits);
  kd_eval_free(&f->init); kd_eval_free(&f->run);
  f->nslot = 0;
  return ok && lines;
}

static bool run_case(char *head, char *program, char *args, char *expect, int64_t unroll, kd__buf *bits) {
  fixture f = { .unroll = unroll };
  kd__buf got = { 0 };
  kd__arena_init(&f.a, NULL, NULL);
  f.name = head;
  parse_args(&f, args);
  bool ok = elaborate(&f, program, strlen(program));
  if (ok && unroll < 0) count_loops(f.entry.graph);
  for (int passed = 0; passed < 2 && ok; passed++) {
    f.graph = passed ? kd__pass_all(f.entry.graph, NULL, NULL) : f.entry.graph;
    ok = check_all(&f, expect, passed ? NULL : &got);
    if (!ok && passed) print_error("after the passes: ");
  }
  if (ok && bits->n && (bits->n != got.n || memcmp(bits->p, got.p, got.n) != 0)) { ok = false; print_error("%s: other bits:\n%s\n%s\n", head, bits->p, got.p); }
  if (!bits->n) kd__buf_add(bits, got.p, got.n);
  kd__buf_free(&got);
  if (!ok) print_error("case %s failed (unroll %lld)\n", head, (long long)unroll);
  kd__arena_free(&f.a);
  return ok;
}

/* --- files --------------------------------------------------------------------------------------------------------------------------- */
static char *cut(char *p, const char *mark) {
  char *at = strstr(p, mark);
  if (!at) return NULL;
  *at = 0;
  return at + strlen(mark);
}

static size_t ncases;
static size_t run_file(const char *path) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  size_t size, bad = 0;
  char *text = kd_test_read(&a, path, &size);
  assert_non_null(text);
  text = kd__arena_printf(&a, "\n%s", text);
  for (char *p = cut(text, "\n== "); p; ncases++) {
    char *next = cut(p, "\n== "), *program = cut(p, "\n"), *args = program ? cut(program, "\n--") : NULL, *expect = args ? cut(args, "\n") : NULL;
    if (!expect) { print_error("%s: case %s is not whole\n", path, p); bad++; }
    for (int form = 0; expect && form < 3; form++) {
      static kd__buf bits;
      static const int64_t unroll[] = { 0, -1, 1000 };
      if (form == 0) bits.n = 0;
      bad += !run_case(p, kd__arena_printf(&a, "%s\n", program), kd__arena_printf(&a, "%s", args), kd__arena_printf(&a, "%s", expect), unroll[form], &bits);
      if (form == 2) kd__buf_free(&bits);
    }
    p = next;
  }
  kd__arena_free(&a);
  return bad;
}

static void test_right_programs(void **state) {
  (void)state;
  size_t bad = kd_test_each_file("right", run_file);
  print_message("%zu programs\n", ncases);
  assert_int_equal(bad, 0);
  assert_true(nodes >= 20);
}

static void test_library_programs(void **state) {
  (void)state;
  use_stdlib = true;
  assert_int_equal(kd_test_each_file("library", run_file), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_right_programs), cmocka_unit_test(test_library_programs) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
