/* test_weights.c: networks that begin with what a file holds: the numbers of the file, in any width, alike networks and resets too; files that are
 * missing, changed, or of another network; a run that is stopped and gone on with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/api/toy.h"

static const char data[] =
  "data toy = dataset(batch: 8,\n"
  "  train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)),\n"
  "  test: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n";

/* Compiled and run once; what it holds is read from `p`. */
typedef struct once { heard heard; kd_session *s; kd_program *p; kd_status status; } once;

static void compile(once *o, const toy *t, const char *rest, bool wide) {
  char *text;
  memset(o, 0, sizeof *o);
  assert_true(asprintf(&text, "%s%s%s", toy_definitions, data, rest) > 0);
  o->s = toy_session(t, &o->heard, NULL);
  o->status = kd_compile_text(o->s, "weights.kd", text, strlen(text), &(kd_compile_options){ .double_precision = wide }, &o->p);
  free(text);
}

static void run(once *o, const char *out) {
  if (o->status == KD_OK) o->status = kd_run(o->p, &(kd_run_options){ .seed = 3, .threads = 2, .out = out });
}

static void go(once *o, const toy *t, const char *rest, const char *out) { compile(o, t, rest, false); run(o, out); }

static void done(once *o) { kd_program_free(o->p); kd_session_free(o->s); }

static void assert_ran(const once *o) {
  if (o->status != KD_OK) fail_msg("%s", o->heard.text);
}

static void assert_says(const once *o, kd_status want, const char *part) {
  if (o->status != want || !strstr(o->heard.text, part)) fail_msg("status %d, told:\n%s", o->status, o->heard.text);
}

static kd_parameter named(const once *o, const char *name) {
  kd_parameter q;
  if (!kd_parameter_named(o->p, name, &q) || !q.data) fail_msg("there is no %s", name);
  return q;
}

static void assert_same_bits(const once *a, const char *x, const once *b, const char *y) {
  kd_parameter p = named(a, x), q = named(b, y);
  assert_int_equal(p.bytes, q.bytes);
  if (memcmp(p.data, q.data, p.bytes) != 0) fail_msg("%s and %s differ", x, y);
}

static const char *const part[] = { "first.W", "first.b", "last.W", "last.b", "seen" };
enum { PARTS = sizeof part / sizeof *part };

static void assert_same_net(const once *a, const char *x, const once *b, const char *y) {
  char p[64], q[64];
  for (size_t i = 0; i < PARTS; i++) {
    snprintf(p, sizeof p, "%s.%s", x, part[i]);
    snprintf(q, sizeof q, "%s.%s", y, part[i]);
    assert_same_bits(a, p, b, q);
  }
}

static double report(const once *o) {
  kd_row r;
  assert_true(kd_report(o->p, 0, &r));
  return r.value;
}

/* The teacher of these tests: trained and saved, in a folder below the data's. */
#define TEACHER \
  "teacher T = two(hidden: 5, out: 3)\n" \
  "student S = two(hidden: 4, out: 3)\n" \
  "scheme {\n" \
  "  stage teach: train T minimizing ce(T(toy.x), toy.y) on toy for 3 epochs using gd(lr: 0.5)\n" \
  "  stage more: train S minimizing ce(S(toy.x), toy.y) on toy for 1 epochs using gd(lr: 0.5)\n" \
  "  save T to \"only.safetensors\"\n" \
  "  save T, S to \"both.safetensors\"\n" \
  "}\n" \
  "report right(T(toy.x), toy.y) on toy.test\n"
#define DISTIL "scheme { stage distil: train S minimizing mean((S(toy.x) - T(toy.x))^2) on toy for 2 epochs using gd(lr: 0.3) }\nreport right(T(toy.x), toy.y) on toy.test\n"
#define STUDENT "student S = two(hidden: 4, out: 3)\n"

static void taught(const toy *t, once *o) {
  char *out = toy_path(t, "taught");
  go(o, t, TEACHER, out);
  assert_ran(o);
  free(out);
}

static char *whole(const char *folder, const char *name, size_t *n) {
  char path[300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("there is no %s", path);
  char *text = calloc(1, 1 << 16);
  *n = fread(text, 1, (1 << 16) - 1, f);
  fclose(f);
  return text;
}

/* --- the numbers ----------------------------------------------------------------------------------------------------------------- */
static void a_teacher_is_what_was_saved(void **state) {
  (void)state;
  static const char *const from[] = { "taught/T.safetensors", "taught/only.safetensors", "taught/both.safetensors#T" };
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  char *out = toy_path(&t, "next");
  for (size_t i = 0; i < 3; i++) {
    char text[1000];
    snprintf(text, sizeof text, "teacher T = two(hidden: 5, out: 3) from \"%s\"\n" STUDENT DISTIL, from[i]);
    go(&b, &t, text, out);
    assert_ran(&b);
    assert_int_equal(b.heard.notes, 0);
    assert_same_net(&a, "T", &b, "T");
    assert_true(report(&a) == report(&b));
    done(&b);
  }
  size_t n;
  char *settings = whole(out, "settings.json", &n), *log = whole(out, "log.jsonl", &n);
  assert_non_null(strstr(settings, "\"weights\": [\n    { \"name\": \"taught/both.safetensors\", \"path\": \"/"));
  assert_non_null(strstr(log, "\"event\":\"load\""));
  free(settings);
  free(log);
  free(out);
  done(&a);
  toy_free(&t);
}

static void an_alike_network_begins_with_the_same(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  go(&b, &t, "model M = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\nteacher T like M\n" STUDENT DISTIL, NULL);
  assert_ran(&b);
  assert_same_net(&a, "T", &b, "T");
  done(&b);
  done(&a);
  toy_free(&t);
}

/* What is reset has the file's values again; what is not reset has not. */
static void a_reset_gives_the_file_again(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  go(&b, &t, "student T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n"
     "scheme { stage more: train T minimizing ce(T(toy.x), toy.y) on toy for 1 epochs using gd(lr: 0.5)\n  reset T }\nreport right(T(toy.x), toy.y) on toy.test\n", NULL);
  assert_ran(&b);
  assert_same_net(&a, "T", &b, "T");
  assert_true(report(&a) == report(&b));
  done(&b);
  go(&b, &t, "student T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n"
     "scheme { stage more: train T minimizing ce(T(toy.x), toy.y) on toy for 1 epochs using gd(lr: 0.5)\n  reset T.first }\n", NULL);
  assert_ran(&b);
  assert_same_bits(&a, "T.first.W", &b, "T.first.W");
  assert_memory_not_equal(named(&a, "T.last.W").data, named(&b, "T.last.W").data, named(&a, "T.last.W").bytes);
  done(&b);
  done(&a);
  toy_free(&t);
}

/* An initial value that is made of the network's is made of what the file holds. */
static void initial_values_see_the_file(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  go(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n" STUDENT "let z = T(toy.x)\nstate centre: [O: 5, D: 6] = T.first.W\n"
     "scheme { stage distil: train S minimizing mean((S(toy.x) - z)^2) + 0 * sum(centre) on toy for 1 epochs using gd(lr: 0.3) }\n", NULL);
  assert_ran(&b);
  assert_memory_equal(named(&a, "T.first.W").data, named(&b, "centre").data, named(&a, "T.first.W").bytes);
  done(&b);
  done(&a);
  toy_free(&t);
}

/* --- other widths ------------------------------------------------------------------------------------------------------------------ */
static void single_and_double(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b, c;
  taught(&t, &a);
  char *out = toy_path(&t, "wide");
  static const char again[] = "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n" STUDENT "scheme { stage distil: train S minimizing mean((S(toy.x) - T(toy.x))^2) on toy for 1 epochs using gd(lr: 0.3)\n"
                              "  save T to \"wide.safetensors\" }\n";
  compile(&b, &t, again, true);
  run(&b, out);
  assert_ran(&b);
  kd_parameter p = named(&a, "T.first.W"), q = named(&b, "T.first.W");
  assert_int_equal(q.bytes, 2 * p.bytes);
  for (size_t i = 0; i < p.bytes / 4; i++) assert_true((double)((const float *)p.data)[i] == ((const double *)q.data)[i]);
  go(&c, &t, "teacher T = two(hidden: 5, out: 3) from \"wide/wide.safetensors\"\n" STUDENT DISTIL, NULL);      /* F64 in the file */
  assert_ran(&c);
  assert_same_net(&a, "T", &c, "T");
  free(out);
  done(&c);
  done(&b);
  done(&a);
  toy_free(&t);
}

/* A file as other programs write it: half-precision numbers, a counter more. 0x3f80 is 1 as BF16, 0x3c00 as F16. */
static void written_by_others(void **state) {
  (void)state;
  toy t = toy_new();
  once b;
  char *path = toy_path(&t, "half.safetensors"), head[1200];
  int n = snprintf(head, sizeof head, "{\"first.W\":{\"dtype\":\"BF16\",\"shape\":[5,6],\"data_offsets\":[0,60]},\"first.b\":{\"dtype\":\"F16\",\"shape\":[5],\"data_offsets\":[60,70]},"
                   "\"last.W\":{\"dtype\":\"F16\",\"shape\":[3,5],\"data_offsets\":[70,100]},\"last.b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[100,106]},"
                   "\"seen\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[106,108]},\"batches\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[108,116]}}");
  FILE *f = fopen(path, "wb");
  unsigned char size[8] = { (unsigned char)n, (unsigned char)(n >> 8) };
  assert_int_equal(fwrite(size, 1, 8, f), 8);
  assert_int_equal(fwrite(head, 1, (size_t)n, f), n);
  for (int i = 0; i < 58; i++) {
    bool wide = i < 30 || i >= 50;
    unsigned short v = i >= 54 ? 0 : wide && i < 53 ? 0x3f80 : 0x3c00;
    assert_int_equal(fwrite(&v, 2, 1, f), 1);
  }
  assert_int_equal(fclose(f), 0);
  go(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"half.safetensors\"\n" STUDENT DISTIL, NULL);
  assert_ran(&b);
  assert_non_null(strstr(b.heard.text, "takes 5, and not `batches`"));
  for (size_t i = 0; i < PARTS; i++) {
    char name[64];
    snprintf(name, sizeof name, "T.%s", part[i]);
    kd_parameter p = named(&b, name);
    for (size_t k = 0; k < p.bytes / 4; k++) assert_true(((const float *)p.data)[k] == 1);
  }
  done(&b);
  free(path);
  toy_free(&t);
}

/* --- what is wrong with the file ------------------------------------------------------------------------------------------------------ */
static void wrong_files_are_told_before_the_run(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  compile(&b, &t, "teacher T = two(hidden: 7, out: 3) from \"taught/T.safetensors\"\n" STUDENT DISTIL, false);
  assert_says(&b, KD_E_PROGRAM, "`first.W` is [5, 6] in \"taught/T.safetensors\", and [O 7, D 6] in network `T`");
  done(&b);
  compile(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"taught/both.safetensors\"\n" STUDENT DISTIL, false);
  assert_says(&b, KD_E_PROGRAM, "has no `first.W`, which network `T` needs");
  assert_says(&b, KD_E_PROGRAM, "it has `S.first.W`");
  done(&b);
  compile(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"toy-x\"\n" STUDENT DISTIL, false);
  assert_says(&b, KD_E_PROGRAM, "there are no weights to take here: ");
  done(&b);
  done(&a);
  toy_free(&t);
}

/* The folder that a run writes is emptied first. */
static void a_run_does_not_remove_its_own_weights(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  char *out = toy_path(&t, "taught");
  go(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n" STUDENT DISTIL, out);
  assert_says(&b, KD_E_USAGE, "taught/T.safetensors: lies in the folder that this run writes anew");
  b.status = KD_OK;
  run(&b, NULL);                                 /* it is still there */
  assert_ran(&b);
  free(out);
  done(&b);
  done(&a);
  toy_free(&t);
}

/* Compiled before the file is there: a note, and the run says what is missing; then the file comes, of another network and of the right one. */
static void a_file_may_come_later(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  compile(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n" STUDENT DISTIL, false);
  assert_says(&b, KD_OK, "the weights are not here (cannot find taught/T.safetensors in ");
  run(&b, NULL);
  assert_says(&b, KD_E_DATA, "error: cannot find taught/T.safetensors in ");
  char *out = toy_path(&t, "taught");
  go(&a, &t, "teacher T = two(hidden: 6, out: 3)\nscheme { stage teach: train T minimizing ce(T(toy.x), toy.y) on toy for 1 epochs using gd(lr: 0.5) }\n", out);
  assert_ran(&a);
  done(&a);
  b.status = KD_OK;
  run(&b, NULL);
  assert_says(&b, KD_E_DATA, "`first.W` is [6, 6] in taught/T.safetensors, and [5, 6] in network `T`");
  taught(&t, &a);
  b.status = KD_OK;
  run(&b, NULL);
  assert_ran(&b);
  assert_same_net(&a, "T", &b, "T");
  free(out);
  done(&a);
  done(&b);
  toy_free(&t);
}

/* Memory that runs out while the header is looked at leaves nothing behind: neither memory nor, for the sanitizers, a file. */
static void memory_may_run_out(void **state) {
  (void)state;
  toy t = toy_new();
  once a;
  char *text;
  long failed = 0, fine = 0;
  taught(&t, &a);
  assert_true(asprintf(&text, "%s%s%s", toy_definitions, data, "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n" STUDENT DISTIL) > 0);
  for (long n = 1; !fine; n++) {
    counting c;
    kd_allocator alloc = counting_new(&c);
    kd_session *s = toy_session(&t, NULL, &alloc);
    kd_program *p = NULL;
    c.calls = 0;
    c.fail_at = n;
    kd_status st = kd_compile_text(s, "weights.kd", text, strlen(text), NULL, &p);
    fine += st == KD_OK;
    failed += st == KD_E_MEMORY;
    assert_true(st == KD_OK || st == KD_E_MEMORY);
    kd_program_free(p);
    kd_session_free(s);
    assert_int_equal(c.live, 0);
  }
  assert_true(failed > 3);
  free(text);
  done(&a);
  toy_free(&t);
}

/* --- stopped and gone on with -------------------------------------------------------------------------------------------------------------- */
typedef struct stopper { long left; volatile int stop; } stopper;
static void count_down(void *ctx, const kd_event *e) {
  stopper *s = ctx;
  if (e->kind == KD_EVENT_EPOCH && --s->left == 0) s->stop = 1;
}

#define FURTHER \
  "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n" \
  "student S = two(hidden: 4, out: 3) from \"taught/both.safetensors#S\"\n" \
  "scheme { stage distil: train S minimizing mean((S(toy.x) - T(toy.x))^2) on toy for 6 epochs using gd(lr: 0.3)%s }\n"

static void stop(const toy *t, const char *text, const char *out, long epochs) {
  once b;
  stopper s = { .left = epochs };
  compile(&b, t, text, false);
  assert_ran(&b);
  assert_int_equal(kd_run(b.p, &(kd_run_options){ .seed = 3, .threads = 2, .out = out, .event = count_down, .event_ctx = &s, .cancel = &s.stop }), KD_E_CANCELLED);
  done(&b);
}

static void resume(once *o, const toy *t, const char *out) {
  memset(o, 0, sizeof *o);
  o->s = toy_session(t, &o->heard, NULL);
  o->status = kd_resume(o->s, out, NULL, &o->p);
}

static void a_resumed_run_needs_no_file(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b, c;
  taught(&t, &a);
  char text[1000], *out = toy_path(&t, "stopped"), *file = toy_path(&t, "taught/T.safetensors"), *away = toy_path(&t, "away");
  snprintf(text, sizeof text, FURTHER, "");
  go(&b, &t, text, NULL);
  assert_ran(&b);
  stop(&t, text, out, 2);
  assert_int_equal(rename(file, away), 0);
  resume(&c, &t, out);
  assert_ran(&c);
  assert_int_equal(c.heard.notes, 0);
  assert_same_net(&b, "T", &c, "T");
  assert_same_net(&b, "S", &c, "S");
  free(out); free(file); free(away);
  done(&c);
  done(&b);
  done(&a);
  toy_free(&t);
}

/* A reset that is still to come reads the file: it must be there, and as it was. */
static void a_later_reset_needs_the_same_file(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b, c;
  taught(&t, &a);
  char text[1000], *out = toy_path(&t, "stopped"), *file = toy_path(&t, "taught/both.safetensors"), *other = toy_path(&t, "taught/only.safetensors"), *away = toy_path(&t, "away");
  snprintf(text, sizeof text, FURTHER, "\n  reset S");
  go(&b, &t, text, NULL);
  assert_ran(&b);
  stop(&t, text, out, 2);
  assert_int_equal(rename(file, away), 0);
  resume(&c, &t, out);
  assert_says(&c, KD_E_IO, "both.safetensors");
  done(&c);
  assert_int_equal(link(other, file), 0);
  resume(&c, &t, out);
  assert_says(&c, KD_E_DATA, "its weights are not those any more that the run began with");
  done(&c);
  assert_int_equal(unlink(file), 0);
  assert_int_equal(rename(away, file), 0);
  resume(&c, &t, out);
  assert_ran(&c);
  assert_same_net(&b, "S", &c, "S");
  assert_same_net(&a, "S", &c, "S");
  free(out); free(file); free(other); free(away);
  done(&c);
  done(&b);
  done(&a);
  toy_free(&t);
}

/* --- decided shapes --------------------------------------------------------------------------------------------------------------------------- */
static void a_network_after_a_decision(void **state) {
  (void)state;
  toy t = toy_new();
  once a, b;
  taught(&t, &a);
  go(&b, &t, "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n"
     "let u = T(toy.x)\n"
     "scheme {\n"
     "  let wide = decide(5 + 0 * round(sum(T.first.b)), min: 3, max: 8)\n"
     "  student Q = two(hidden: wide, out: 3) from \"taught/T.safetensors\"\n"
     "  stage more: train Q minimizing ce(Q(toy.x), toy.y) on toy for 1 epochs using gd(lr: 0)\n"
     "}\n", NULL);
  assert_ran(&b);
  assert_same_bits(&a, "T.first.W", &b, "Q.first.W");
  done(&b);
  done(&a);
  toy_free(&t);
}

/* Stopped between two decisions, with its files gone: what the machine before the second one holds is not read again. */
static void decisions_after_a_resume_need_no_file(void **state) {
  (void)state;
  static const char text[] =
    "teacher T = two(hidden: 5, out: 3) from \"taught/T.safetensors\"\n"
    "let u = T(toy.x)\n"
    "scheme {\n"
    "  let wide = decide(5 + 0 * round(sum(T.first.b)), min: 3, max: 8)\n"
    "  student Q = two(hidden: wide, out: 3) from \"taught/only.safetensors\"\n"
    "  stage more: train Q minimizing ce(Q(toy.x), toy.y) on toy for 4 epochs using gd(lr: 0.1)\n"
    "  let narrow = decide(3 + 0 * round(sum(Q.first.b)), min: 2, max: 4)\n"
    "  student P = two(hidden: narrow, out: 3)\n"
    "  stage last: train P minimizing mean((P(toy.x) - Q(toy.x) - T(toy.x))^2) on toy for 2 epochs using gd(lr: 0.1)\n"
    "}\n";
  toy t = toy_new();
  once a, b, c;
  taught(&t, &a);
  char *out = toy_path(&t, "stopped"), *teacher = toy_path(&t, "taught/T.safetensors"), *only = toy_path(&t, "taught/only.safetensors");
  go(&b, &t, text, NULL);
  assert_ran(&b);
  stop(&t, text, out, 2);
  size_t n;
  char *settings = whole(out, "settings.json", &n);
  assert_non_null(strstr(settings, "\"name\": \"taught/only.safetensors\""));       /* found after the first decision */
  free(settings);
  assert_int_equal(unlink(teacher) | unlink(only), 0);
  resume(&c, &t, out);
  assert_ran(&c);
  assert_same_net(&b, "T", &c, "T");
  assert_same_net(&b, "Q", &c, "Q");
  assert_same_net(&b, "P", &c, "P");
  free(out); free(teacher); free(only);
  done(&c);
  done(&b);
  done(&a);
  toy_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_teacher_is_what_was_saved), cmocka_unit_test(an_alike_network_begins_with_the_same), cmocka_unit_test(a_reset_gives_the_file_again),
    cmocka_unit_test(initial_values_see_the_file), cmocka_unit_test(single_and_double), cmocka_unit_test(written_by_others),
    cmocka_unit_test(wrong_files_are_told_before_the_run), cmocka_unit_test(memory_may_run_out), cmocka_unit_test(a_run_does_not_remove_its_own_weights), cmocka_unit_test(a_file_may_come_later), cmocka_unit_test(a_resumed_run_needs_no_file),
    cmocka_unit_test(a_later_reset_needs_the_same_file), cmocka_unit_test(a_network_after_a_decision),
    cmocka_unit_test(decisions_after_a_resume_need_no_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
