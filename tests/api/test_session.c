/* test_session.c: sessions, compiling from memory and files, messages, dumps, misuse, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include <cmocka.h>
#include "tests/api/toy.h"

static kd_status compile(kd_session *s, const char *text, const kd_compile_options *o, kd_program **p) {
  return kd_compile_text(s, "toy.kd", text, strlen(text), o, p);
}

typedef struct collected { char *p; size_t n; } collected;
static void collect(void *ctx, const char *s, size_t n) {
  collected *t = ctx;
  t->p = realloc(t->p, t->n + n + 1);
  assert_non_null(t->p);
  memcpy(t->p + t->n, s, n);
  t->n += n;
  t->p[t->n] = 0;
}

/* --- compiling -------------------------------------------------------------------------------------------------------------------- */
static void compiles_from_memory(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p = NULL;
  (void)state;
  if (compile(s, toy_program, NULL, &p) != KD_OK) fail_msg("%s", h.text);
  assert_non_null(p);
  assert_int_equal(h.errors, 0);
  kd_parameter q;
  assert_true(kd_parameter_named(p, "S.first.W", &q));
  assert_string_equal(q.type, "f32");
  assert_int_equal(q.rank, 2);
  assert_int_equal(q.dim[0], 5);
  assert_int_equal(q.dim[1], 6);
  assert_null(q.data);
  assert_false(kd_parameter_named(p, "S.first.V", &q));
  kd_row r;
  assert_false(kd_report(p, 0, &r));
  collected d = { 0 };
  kd_program_describe(p, collect, &d);
  assert_non_null(strstr(d.p, "stage fit: 3 epochs of 6 steps, trains S 53"));
  free(d.p);
  kd_program_free(p);
  kd_session_free(s);
  toy_free(&t);
}

static void compiles_from_a_file(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  char *path = toy_path(&t, "toy.kd");
  FILE *f = fopen(path, "w");
  (void)state;
  assert_non_null(f);
  fputs(toy_program, f);
  fclose(f);
  kd_session *s = toy_session(NULL, &h, NULL);    /* data lies beside the program */
  kd_program *p = NULL;
  kd_compile_options o = { .double_precision = true, .set = (const char *const[]){ "S.hidden=5", "S.hidden=9" }, .nset = 2 };
  if (kd_compile_file(s, path, &o, &p) != KD_OK) fail_msg("%s", h.text);
  kd_parameter q;
  assert_true(kd_parameter_named(p, "S.last.W", &q));
  assert_string_equal(q.type, "f64");
  assert_int_equal(q.dim[1], 9);
  size_t count = 0;
  while (kd_parameter_at(p, count, &q)) count++;
  assert_int_equal(count, 5 + 2);                /* and the two states of the metric */
  kd_program_free(p);
  kd_session_free(s);
  free(path);
  toy_free(&t);
}

/* A file beside the program goes before a module of the library of the same name, which the library's own files go on to mean. */
static void a_module_beside_the_program(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  char *path = toy_path(&t, "toy.kd"), *beside = toy_path(&t, "losses.kd");
  FILE *f = fopen(path, "w"), *g = fopen(beside, "w");
  (void)state;
  assert_non_null(f); assert_non_null(g);
  fputs("use losses.mine\nstate a: [] = 0\nscheme { update a = mine(3) + mse(ones([B: 2, C: 1]), 0 * ones([B: 2, C: 1])) }\nreport a\n", f);
  fputs("fn mine(x) = 2 * x\n", g);
  fclose(f); fclose(g);
  kd_session *s = toy_session(NULL, &h, NULL);
  kd_program *p = NULL;
  if (kd_compile_file(s, path, NULL, &p) != KD_OK) fail_msg("%s", h.text);
  kd_program_free(p);
  kd_session_free(s);
  free(path); free(beside);
  toy_free(&t);
}

static void tells_what_is_wrong(void **state) {
  heard h = { 0 };
  kd_session *s = toy_session(NULL, &h, NULL);
  kd_program *p = (kd_program *)&h;
  (void)state;
  assert_int_equal(compile(s, "fn f(x: [B]) = x + yy\nlet a = f(zz)\nscheme { }\n", NULL, &p), KD_E_PROGRAM);
  assert_null(p);
  assert_true(h.errors >= 1);
  assert_non_null(strstr(h.text, "toy.kd:"));
  assert_non_null(strstr(h.text, "^"));
  for (char *save = NULL, *line = strtok_r(h.json, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    json_t *j = json_loads(line, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "severity")), "error");
    json_decref(j);
  }
  kd_session_free(s);
}

static void definitions_need_check(void **state) {
  heard h = { 0 };
  kd_session *s = toy_session(NULL, &h, NULL);
  kd_program *p;
  (void)state;
  if (compile(s, toy_definitions, &(kd_compile_options){ .check = true }, &p) != KD_OK) fail_msg("%s", h.text);
  assert_null(p);
  assert_int_equal(h.errors, 0);
  assert_int_equal(compile(s, toy_definitions, NULL, &p), KD_E_PROGRAM);
  assert_string_equal(h.code, "E0906");
  kd_session_free(s);
}

static void refuses_what_is_not_text(void **state) {
  heard h = { 0 };
  kd_session *s = toy_session(NULL, &h, NULL);
  kd_program *p;
  static const struct { const char *s; size_t n; const char *code; } bad[] = {
    { "let a = 1\n\xff", 11, "E0904" }, { "let a\0 = 1", 10, "E0904" }, { "// \xc0\xaf", 5, "E0904" }, { "// \xed\xa0\x80", 6, "E0904" }, { "// \xe2\x82", 5, "E0904" },
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(kd_compile_text(s, "toy.kd", bad[i].s, bad[i].n, NULL, &p), KD_E_PROGRAM);
    assert_string_equal(h.code, bad[i].code);
    h.code[0] = 0;
  }
  size_t n = (size_t)17 << 20;
  char *large = calloc(1, n);
  assert_non_null(large);
  memset(large, ' ', n);
  assert_int_equal(kd_compile_text(s, "toy.kd", large, n, NULL, &p), KD_E_PROGRAM);
  assert_string_equal(h.code, "E0903");
  free(large);
  assert_int_equal(kd_compile_file(s, "/nonexistent/toy.kd", NULL, &p), KD_E_IO);
  assert_string_equal(h.code, "E0901");
  assert_int_equal(kd_compile_file(s, "/tmp", NULL, &p), KD_E_IO);
  assert_string_equal(h.code, "E0902");
  kd_session_free(s);
}

/* --- dumps ------------------------------------------------------------------------------------------------------------------------- */
static void every_stage_dumps(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  const char *name;
  size_t stages = 0;
  (void)state;
  for (; (name = kd_dump_stage(stages)); stages++) {
    collected d = { 0 };
    kd_program *p;
    kd_compile_options o = { .dump = name, .dump_to = collect, .dump_ctx = &d };
    if (compile(s, toy_program, &o, &p) != KD_OK) fail_msg("%s", h.text);
    if (d.n < 100) fail_msg("--dump=%s gave %zu bytes", name, d.n);
    assert_true((p == NULL) == (strcmp(name, "tokens") == 0 || strcmp(name, "ast") == 0));
    free(d.p);
    kd_program_free(p);
  }
  assert_true(stages >= 7);
  kd_session_free(s);
  toy_free(&t);
}

/* --- misuse ------------------------------------------------------------------------------------------------------------------------ */
static void misuse_is_told_apart(void **state) {
  heard h = { 0 };
  kd_session *s = toy_session(NULL, &h, NULL);
  kd_program *p;
  (void)state;
  assert_int_equal(kd_session_new(NULL, NULL), KD_E_USAGE);
  assert_int_equal(kd_session_new(&(kd_config){ .ndata = 1 }, &(kd_session *){ 0 }), KD_E_USAGE);
  assert_int_equal(kd_compile_text(NULL, "a", "", 0, NULL, &p), KD_E_USAGE);
  assert_int_equal(kd_compile_text(s, NULL, "", 0, NULL, &p), KD_E_USAGE);
  assert_int_equal(kd_compile_text(s, "a", NULL, 0, NULL, &p), KD_E_USAGE);
  assert_int_equal(kd_compile_text(s, "a", "", 0, NULL, NULL), KD_E_USAGE);
  assert_int_equal(kd_compile_file(s, NULL, NULL, &p), KD_E_USAGE);
  assert_int_equal(compile(s, "", &(kd_compile_options){ .dump = "nothing", .dump_to = collect }, &p), KD_E_USAGE);
  assert_string_equal(h.code, "E0908");
  assert_int_equal(compile(s, "", &(kd_compile_options){ .dump = "ast" }, &p), KD_E_USAGE);
  assert_int_equal(compile(s, "", &(kd_compile_options){ .set = (const char *const[]){ "novalue" }, .nset = 1 }, &p), KD_E_USAGE);
  assert_string_equal(h.code, "E0907");
  assert_int_equal(kd_run(NULL, NULL), KD_E_USAGE);
  assert_false(kd_report(NULL, 0, &(kd_row){ 0 }));
  assert_false(kd_parameter_at(NULL, 0, &(kd_parameter){ 0 }));
  assert_false(kd_parameter_named(NULL, "a", &(kd_parameter){ 0 }));
  kd_program_free(NULL);
  kd_session_free(NULL);
  kd_session_free(s);
  assert_string_equal(kd_status_text(KD_E_CANCELLED), "stopped on request");
}

/* A session freed before its program: the program can still be looked at and freed, and does not run. */
static void the_wrong_order_is_safe(void **state) {
  toy t = toy_new();
  heard h = { 0 };
  kd_session *s = toy_session(&t, &h, NULL);
  kd_program *p;
  kd_parameter q;
  (void)state;
  assert_int_equal(compile(s, toy_program, NULL, &p), KD_OK);
  kd_session_free(s);
  assert_int_equal(kd_run(p, NULL), KD_E_USAGE);
  assert_true(kd_parameter_at(p, 0, &q));
  kd_program_free(p);
  toy_free(&t);
}

/* --- memory -------------------------------------------------------------------------------------------------------------------------- */
static kd_status once(const toy *t, counting *c, const char *program, const kd_compile_options *o) {
  kd_allocator a = counting_new(c);
  const char *folder = t->folder;
  kd_config config = { .allocator = &a, .data = &folder, .ndata = 1 };
  kd_session *s = NULL;
  kd_program *p = NULL;
  kd_status st = kd_session_new(&config, &s);
  if (st == KD_OK) st = compile(s, program, o, &p);
  kd_program_free(p);
  kd_session_free(s);
  return st;
}

static void discard(void *ctx, const char *s, size_t n) { (void)ctx, (void)s, (void)n; }

/* Memory comes in large blocks: a comment before the program moves what the last bytes of each block are used for. */
static char *padded(const char *program, size_t pad) {
  char *text = malloc(pad + strlen(program) + 4);
  assert_non_null(text);
  strcpy(text, "//");
  memset(text + 2, 'x', pad);
  text[2 + pad] = '\n';
  strcpy(text + 3 + pad, program);
  return text;
}

static void fails_at_each(const toy *t, const char *program, kd_status ends, const kd_compile_options *o) {
  counting whole = { 0 };
  assert_int_equal(once(t, &whole, program, o), ends);
  assert_int_equal(whole.live, 0);
  assert_int_equal(whole.live_bytes, 0);
  assert_true(whole.calls >= 3);
  for (long n = 1; n <= whole.calls; n++) {
    counting c = { .fail_at = n };
    kd_status st = once(t, &c, program, o);
    if (st != KD_E_MEMORY) fail_msg("allocation %ld of %ld failed, and the status is: %s", n, whole.calls, kd_status_text(st));
    assert_int_equal(c.live, 0);
    assert_int_equal(c.live_bytes, 0);
  }
}

/* Loops as nodes and written out, trees of parameters, a step along a gradient, a decision, branches, and data that a stage writes. */
static char *with_everything(void) {
  static const char rest[] =
    "fn walk(x: [B, D]) {\n"
    "  h = x\n"
    "  rows = repeat 20 as t until sum(h) > 1e6 {\n"
    "    h = tanh(h + x) * (1 + t)\n"
    "    yield h\n"
    "  }\n"
    "  for i in [1, 2] { h = h * i }\n"
    "  return mean(rows, over: [t, B, D]) + mean(h, over: [B, D])\n"
    "}\n"
    "data toy = dataset(batch: 8, valid: 8, train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n"
    "student S = two(hidden: 5, out: 3)\n"
    "model E like S\n"
    "let z = S(toy.x)\n"
    "scheme {\n"
    "  stage fit: for 2 epochs { for b in toy {\n"
    "    let g = grad(ce(S(b.x), b.y) + 0.1 * walk(S(b.x) - stop(E(b.x))), wrt: params(S))\n"
    "    if norm(g) > 1 { step S along g / norm(g) using gd(lr: 0.1) } else { step S along g using gd(lr: 0.1) }\n"
    "    update E = lerp(E, S, 0.1)\n"
    "  } }\n"
    "  stage keep: for b in toy { write soft (z: S(b.x)) keyed b.index where b.y < 2 }\n"
    "  stage again: for b in join(toy, soft, on: index) { step S minimizing mean((S(b.x) - b.z)^2) using gd(lr: 0.1) }\n"
    "  let acc = evaluate right(z, toy.y) on toy.valid\n"
    "  let times = decide(1 + real(acc < 0.5), min: 1, max: 2)\n"
    "  repeat times { stage more: train S minimizing ce(S(toy.x), toy.y) on toy for 1 epochs using gd(lr: 0.1) }\n"
    "}\n"
    "report right(z, toy.y) on toy.valid\n";
  char *text;
  assert_true(asprintf(&text, "%s%s", toy_definitions, rest) > 0);
  return text;
}

static void every_allocation_may_fail(void **state) {
  toy t = toy_new();
  static const char wrong[] = "let a = nothing_like_it\nscheme { stage b: train c minimizing d on e for 1 epochs using f }\n";
  char *everything = with_everything();
  const struct { const char *program; kd_status ends; kd_compile_options o; } cases[] = {
    { everything, KD_OK, { .check = true } }, { everything, KD_E_PROGRAM, { .memory_limit = 1 } },
    { toy_program, KD_OK, { 0 } }, { wrong, KD_E_PROGRAM, { 0 } }, { toy_definitions, KD_OK, { .check = true } },
    { toy_program, KD_OK, { .dump = "tokens", .dump_to = discard } }, { toy_program, KD_OK, { .dump = "plan", .dump_to = discard } },
  };
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
    for (size_t pad = 0; pad < 60000; pad += 5555) {
      char *text = padded(cases[k].program, pad);
      fails_at_each(&t, text, cases[k].ends, &cases[k].o);
      free(text);
    }
  free(everything);
  toy_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(compiles_from_memory), cmocka_unit_test(compiles_from_a_file), cmocka_unit_test(a_module_beside_the_program), cmocka_unit_test(tells_what_is_wrong),
    cmocka_unit_test(definitions_need_check), cmocka_unit_test(refuses_what_is_not_text), cmocka_unit_test(every_stage_dumps),
    cmocka_unit_test(misuse_is_told_apart), cmocka_unit_test(the_wrong_order_is_safe), cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
