/* test_kept.c: what a frozen teacher answers is kept by sample: in memory, in files that later runs and other processes find, and not at all; the runs end in
 * the same bits. A file that has changed is made anew, one of other weights or data is not used, and a run that was stopped goes on with or without it. */
#include "tests/files/temp.h"
#include "tests/api/toy.h"
#include <sys/wait.h>

enum { SAMPLES = 48, PATH = 200 };
#define PROGRAM(rest) \
  "data toy = dataset(batch: 8,\n" \
  "  train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)),\n" \
  "  test: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n" \
  "teacher T = two(hidden: 40, out: 3)\nstudent S = two(hidden: 5, out: 3)\n" \
  "let t = T(toy.x)\nlet s = S(toy.x)\n" \
  "loss soft(a: [B, K], b: [B, K]) = mean(sum(softmax(b / 2, over: K) * (log_softmax(b / 2, over: K) - log_softmax(a / 2, over: K)), over: K))\n" rest \
  "report right(s, toy.y) on toy.test\n"

static const char distil[] = PROGRAM(
  "scheme {\n  stage warm: train T minimizing ce(t, toy.y) on toy for 2 epochs using gd(lr: 0.5)\n"
  "  stage distil: train S minimizing ce(s, toy.y) + soft(s, t) on toy for 5 epochs using gd(lr: 0.5)\n}\n");
/* Two programs a batch, a teacher that changes between stages, batches that leave a rest, and a stage that is entered twice. */
static const char more[] = PROGRAM(
  "scheme {\n  repeat 2 {\n    stage warm: train T minimizing ce(t, toy.y) on toy for 2 epochs using gd(lr: 0.5)\n"
  "    stage distil { for 3 epochs { for batch in toy { let b = T(batch.x)\n      step S minimizing soft(S(batch.x), b) using gd(lr: 0.5)\n"
  "      if mean(b) > 100 { reset S }\n      step S minimizing ce(S(batch.x), batch.y) + soft(S(batch.x), T(batch.x * 2)) using gd(lr: 0.25) } } }\n  }\n}\n");

/* A teacher that learns on. */
static const char moving[] = PROGRAM(
  "scheme {\n  stage distil { for 3 epochs { for batch in toy { step S minimizing soft(S(batch.x), T(batch.x)) using gd(lr: 0.5)\n"
  "    step T minimizing ce(T(batch.x), batch.y) using gd(lr: 0.5) } } }\n}\n");

/* Draws along the batch: a teacher's answers to the sample as it is, and to one that is drawn. */
#define JITTER "fn jitter(x: [B, D]) = x + 0.5 * uniform([B, D])\nlet v = jitter(toy.x)\nlet tv = T(v)\nlet sv = S(v)\n"
static const char jittered[] = PROGRAM(JITTER
  "scheme {\n  stage warm: train T minimizing ce(t, toy.y) on toy for 2 epochs using gd(lr: 0.5)\n"
  "  stage distil: train S minimizing soft(sv, tv) + soft(s, t) on toy for 7 epochs using gd(lr: 0.5)\n}\n");
/* Stages that are entered twice, two loops over the same data in one, and streams that begin new passes in a loop counted in batches. */
static const char jittered_more[] = PROGRAM(JITTER
  "scheme {\n  repeat 2 {\n    stage warm: train T minimizing ce(tv, toy.y) on toy for 1 epochs using gd(lr: 0.5)\n"
  "    stage distil { for 3 epochs { for batch in toy { step S minimizing soft(sv, tv) using gd(lr: 0.5) }\n"
  "      for batch in toy { step S minimizing soft(S(jitter(batch.x)), T(jitter(batch.x))) using gd(lr: 0.25) } } }\n"
  "    stage passing { for b in toy.take(20), a in toy.cycle { step S minimizing soft(S(jitter(b.x)), T(jitter(b.x))) + soft(S(a.x), T(jitter(a.x))) using gd(lr: 0.25) } }\n  }\n}\n");

typedef struct place { toy t; char cache[PATH], out[PATH]; int run; } place;

static place place_new(void) {
  place p = { .t = toy_new() };
  snprintf(p.cache, sizeof p.cache, "%s/cache", p.t.folder);
  return p;
}

typedef struct line { char name[64], where[16]; long rows, found, made; } line;
typedef struct outcome { kd_status status; unsigned char bits[4096]; size_t n; line kept[8]; int nkept; long rows, found, made; } outcome;

/* Counts of the log's "kept" lines. */
static void read_log(const char *out, outcome *o) {
  char path[PATH + 20], text[2000];
  snprintf(path, sizeof path, "%s/log.jsonl", out);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  while (fgets(text, sizeof text, f)) {
    const char *name = strstr(text, "\"name\":\""), *where = strstr(text, "\"where\":\""), *rows = strstr(text, "\"rows\":");
    if (!strstr(text, "\"event\":\"kept\"") || o->nkept == 8) continue;
    line *k = &o->kept[o->nkept++];
    assert_int_equal(sscanf(name, "\"name\":\"%63[^\"]", k->name), 1);
    assert_int_equal(sscanf(where, "\"where\":\"%15[^\"]", k->where), 1);
    assert_int_equal(sscanf(rows, "\"rows\":%ld,\"found\":%ld,\"made\":%ld", &k->rows, &k->found, &k->made), 3);
    o->rows += k->rows, o->found += k->found, o->made += k->made;
  }
  fclose(f);
}

static void read_bits(const kd_program *p, outcome *o) {
  kd_parameter q;
  for (size_t i = 0; kd_parameter_at(p, i, &q); i++) {
    if (!q.data || o->n + q.bytes > sizeof o->bits) continue;
    memcpy(o->bits + o->n, q.data, q.bytes);
    o->n += q.bytes;
  }
}

static kd_session *session(const place *p) {
  const char *folder = p->t.folder;
  kd_config c = { .data = &folder, .ndata = 1, .cache = p->cache };
  kd_session *s;
  assert_int_equal(kd_session_new(&c, &s), KD_OK);
  return s;
}

/* The definitions come from the toy program's text, up to its data. */
static char *whole(const char *text) {
  size_t n = strlen(toy_definitions) + strlen(text) + 1;
  char *all = malloc(n);
  assert_non_null(all);
  snprintf(all, n, "%s%s", toy_definitions, text);
  return all;
}

static volatile int stop;
static int stop_after;
static void count_steps(void *ctx, const kd_event *e) { (void)ctx; if (e->kind == KD_EVENT_STEP && --stop_after == 0) stop = 1; }

static outcome run(place *p, const char *text, kd_keep keep, uint64_t seed, uint64_t room, int threads) {
  outcome o;
  kd_program *k;
  char *all = whole(text);
  kd_session *s = session(p);
  o = (outcome){ 0 };
  snprintf(p->out, sizeof p->out, "%s/run-%d", p->t.folder, p->run++);
  assert_int_equal(kd_compile_text(s, "kept.kd", all, strlen(all), &(kd_compile_options){ .keep = keep, .keep_memory = room, .keep_disk = room }, &k), KD_OK);
  bool steps = stop_after > 0;
  o.status = kd_run(k, &(kd_run_options){ .seed = seed, .threads = threads, .out = p->out, .checkpoint_seconds = -1, .checkpoint_steps = steps ? 3 : 0, .event = steps ? count_steps : NULL,
                                          .every_step = steps, .cancel = steps ? &stop : NULL });
  read_bits(k, &o);
  read_log(p->out, &o);
  kd_program_free(k);
  kd_session_free(s);
  free(all);
  return o;
}

static outcome resume(place *p) {
  outcome o;
  kd_program *k;
  kd_session *s = session(p);
  o = (outcome){ 0 };
  o.status = kd_resume(s, p->out, NULL, &k);
  assert_non_null(k);
  read_bits(k, &o);
  read_log(p->out, &o);
  kd_program_free(k);
  kd_session_free(s);
  return o;
}

static void same_bits(const outcome *a, const outcome *b) {
  assert_int_equal(a->status, KD_OK);
  assert_int_equal(b->status, KD_OK);
  assert_true(a->n > 100);
  assert_int_equal(a->n, b->n);
  assert_memory_equal(a->bits, b->bits, a->n);
}

/* --- files in the cache folder ------------------------------------------------------------------------------------------------------------------ */
static int each_file(const place *p, void (*on)(const char *path)) {
  int n = 0;
  DIR *d = opendir(p->cache);
  for (struct dirent *e; d && (e = readdir(d));) {
    char path[PATH + 300];
    if (!strstr(e->d_name, ".kdrows")) continue;
    snprintf(path, sizeof path, "%s/%s", p->cache, e->d_name);
    n++;
    if (on) on(path);
  }
  if (d) closedir(d);
  return n;
}

static void flip(const char *path, long at, int from) {
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  fseek(f, at, from);
  int c = fgetc(f);
  fseek(f, -1, SEEK_CUR);
  fputc(c ^ 0x10, f);
  fclose(f);
}

static void spoil_rows(const char *path) { flip(path, 8192 + 5, SEEK_SET); }          /* a page of header, one of table */
static void spoil_table(const char *path) { flip(path, 4096 + 3, SEEK_SET); }
static void spoil_header(const char *path) { flip(path, 20, SEEK_SET); }
static void cut_off(const char *path) { assert_int_equal(truncate(path, 5000), 0); }
static void replace(const char *path) { FILE *f = fopen(path, "wb"); assert_non_null(f); fputs("something else", f); fclose(f); }
static void drop(const char *path) { unlink(path); }

/* --- tests -------------------------------------------------------------------------------------------------------------------------------------------- */
/* First, while this process has no threads: two processes fill one cache at the same time. */
static void two_processes_share_it(void **state) {
  (void)state;
  place p = place_new();
  pid_t child[2];
  for (int i = 0; i < 2; i++) {
    if ((child[i] = fork()) == 0) {
      place own = p;
      own.run = 10 * (i + 1);
      outcome o = run(&own, distil, KD_KEEP_DISK, 5, 0, 1);
      _exit(o.status == KD_OK && o.nkept == 1 && o.rows == SAMPLES && strcmp(o.kept[0].where, "disk") == 0 ? 0 : 1);
    }
    assert_true(child[i] > 0);
  }
  for (int i = 0, status; i < 2; i++) { assert_int_equal(waitpid(child[i], &status, 0), child[i]); assert_int_equal(status, 0); }
  assert_int_equal(each_file(&p, NULL), 1);
  outcome third = run(&p, distil, KD_KEEP_DISK, 5, 0, 1), off = run(&p, distil, KD_KEEP_OFF, 5, 0, 1);
  assert_int_equal(third.found, SAMPLES);
  same_bits(&off, &third);
  toy_free(&p.t);
}

static void the_same_bits_wherever_it_is(void **state) {
  (void)state;
  const char *const text[] = { distil, more };
  for (int i = 0; i < 2; i++)
    for (int threads = 1; threads <= 2; threads++) {
      place p = place_new();
      outcome off = run(&p, text[i], KD_KEEP_OFF, 3, 0, threads), kept = run(&p, text[i], KD_KEEP_MEMORY, 3, 0, threads);
      assert_int_equal(each_file(&p, NULL), 0);
      assert_int_equal(kept.found, 0);
      assert_int_equal(kept.made, kept.rows);
      if (i == 0) assert_int_equal(kept.nkept, 1);
      assert_true(kept.nkept > 0);
      same_bits(&off, &kept);
      kept = run(&p, text[i], KD_KEEP_DISK, 3, 0, threads);
      assert_true(kept.nkept > 0 && strcmp(kept.kept[0].where, "disk") == 0);
      same_bits(&off, &kept);
      kept = run(&p, text[i], KD_KEEP_DISK, 3, 0, threads);
      assert_int_equal(kept.made, 0);
      assert_int_equal(kept.found, kept.rows);
      same_bits(&off, &kept);
      toy_free(&p.t);
    }
}

static void what_was_spoilt_is_made_anew(void **state) {
  (void)state;
  void (*const ways[])(const char *) = { spoil_rows, spoil_table, spoil_header, cut_off, replace, drop };
  place p = place_new();
  outcome good = run(&p, distil, KD_KEEP_DISK, 3, 0, 2);
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    assert_int_equal(each_file(&p, ways[i]), 1);
    outcome o = run(&p, distil, KD_KEEP_DISK, 3, 0, 2);
    assert_int_equal(o.made, SAMPLES);
    same_bits(&good, &o);
    o = run(&p, distil, KD_KEEP_DISK, 3, 0, 2);
    assert_int_equal(o.found, SAMPLES);
    assert_int_equal(each_file(&p, NULL), 1);
  }
  toy_free(&p.t);
}

/* Another seed has another teacher; another number of threads may have other bits; another sample is other data. */
static void what_comes_of_something_else_is_not_used(void **state) {
  (void)state;
  place p = place_new();
  outcome o = run(&p, distil, KD_KEEP_DISK, 3, 0, 2);
  assert_int_equal(o.made, SAMPLES);
  o = run(&p, distil, KD_KEEP_DISK, 4, 0, 2);
  assert_int_equal(o.made, SAMPLES);
  assert_int_equal(each_file(&p, NULL), 2);
  o = run(&p, distil, KD_KEEP_DISK, 3, 0, 1);
  assert_int_equal(o.made, SAMPLES);
  char path[PATH];
  snprintf(path, sizeof path, "%s/toy-x", p.t.folder);
  flip(path, -3, SEEK_END);
  outcome off = run(&p, distil, KD_KEEP_OFF, 3, 0, 2);
  o = run(&p, distil, KD_KEEP_DISK, 3, 0, 2);
  assert_int_equal(o.made, SAMPLES);
  same_bits(&off, &o);
  toy_free(&p.t);
}

static void what_moves_is_not_kept(void **state) {
  (void)state;
  place p = place_new();
  outcome o = run(&p, moving, KD_KEEP_MEMORY, 3, 0, 2);
  assert_int_equal(o.status, KD_OK);
  assert_int_equal(o.nkept, 0);
  toy_free(&p.t);
}

static void without_room_nothing_is_kept(void **state) {
  (void)state;
  place p = place_new();
  outcome off = run(&p, distil, KD_KEEP_OFF, 3, 0, 2), o = run(&p, distil, KD_KEEP_MEMORY, 3, 100, 2);
  assert_int_equal(off.nkept, 0);
  assert_int_equal(o.nkept, 0);
  same_bits(&off, &o);
  toy_free(&p.t);
}

/* Stopped at each of the steps, and gone on with: with what was kept, and without. */
static void stopped_and_gone_on_with(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    place p = place_new();
    kd_keep keep = i == 0 ? KD_KEEP_MEMORY : KD_KEEP_DISK;
    outcome good = run(&p, distil, keep, 3, 0, 2);
    for (int at = 1; at < 42; at += 8) {
      each_file(&p, drop);
      stop = 0, stop_after = at;
      outcome o = run(&p, distil, keep, 3, 0, 2);
      stop_after = 0;
      assert_int_equal(o.status, KD_E_CANCELLED);
      if (i == 2) each_file(&p, drop);
      o = resume(&p);
      same_bits(&good, &o);
      assert_int_equal(o.nkept, 1);
    }
    toy_free(&p.t);
  }
}

/* The text with clauses of its data set. From malloc. */
static char *with_clauses(const char *text, const char *clauses) {
  static const char head[] = "dataset(batch: 8,";
  size_t n = strlen(text) + strlen(clauses) + 8;
  char *all = malloc(n);
  const char *at = strstr(text, head);
  assert_true(all && at);
  at += strlen(head);
  snprintf(all, n, "%.*s %s,%s", (int)(at - text), text, clauses, at);
  return all;
}

/* What an option says goes before it; a run that is gone on with does as it did. */
static void as_the_program_says(void **state) {
  static const struct { const char *clauses; kd_keep keep; uint64_t room; const char *where; } c[] = {
    { "cache: off", KD_KEEP_PROGRAM, 0, NULL }, { "cache: off", KD_KEEP_MEMORY, 0, "memory" }, { "cache: memory", KD_KEEP_PROGRAM, 0, "memory" },
    { "cache: \"disk\"", KD_KEEP_PROGRAM, 0, "disk" }, { "cache: disk", KD_KEEP_OFF, 0, NULL }, { "cache: memory", KD_KEEP_AUTO, 0, NULL },
    { "cache: memory, cache_budget: 500", KD_KEEP_PROGRAM, 0, NULL }, { "cache: memory, cache_budget: 500", KD_KEEP_PROGRAM, 1 << 20, "memory" },
    { "cache: disk, cache_budget: \"1K\"", KD_KEEP_PROGRAM, 0, "disk" } };
  (void)state;
  place p = place_new();
  outcome good = run(&p, distil, KD_KEEP_OFF, 3, 0, 2);
  for (size_t i = 0; i < sizeof c / sizeof *c; i++)
    for (int stopped = 0; stopped < 2; stopped++) {
      char *text = with_clauses(distil, c[i].clauses);
      stop = 0, stop_after = stopped ? 20 : 0;
      outcome o = run(&p, text, c[i].keep, 3, c[i].room, 2);
      stop_after = 0;
      if (stopped) { assert_int_equal(o.status, KD_E_CANCELLED); o = resume(&p); }
      same_bits(&good, &o);
      assert_int_equal(o.nkept, c[i].where != NULL);
      if (c[i].where) assert_string_equal(o.kept[0].where, c[i].where);
      free(text);
    }
  toy_free(&p.t);
}

/* With fewer turns than epochs they are kept in memory; for a later run, all. */
static void draws_that_come_round_are_kept(void **state) {
  static const struct { const char *replay; int memory, disk; } c[] = { { "replay: 1", 2, 2 }, { "replay: 3", 2, 2 }, { "replay: 7", 1, 2 }, { "replay: 9", 1, 2 }, { "replay: none", 1, 1 } };
  outcome last = { 0 };
  (void)state;
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    place p = place_new();
    char *text = with_clauses(jittered, c[i].replay);
    outcome off = run(&p, text, KD_KEEP_OFF, 3, 0, 2), kept = run(&p, text, KD_KEEP_MEMORY, 3, 0, 2);
    same_bits(&off, &kept);
    assert_int_equal(kept.nkept, c[i].memory);
    assert_int_equal(kept.made, SAMPLES * c[i].memory);
    for (int k = 0; k < 2; k++) {
      kept = run(&p, text, KD_KEEP_DISK, 3, 0, 2);
      same_bits(&off, &kept);
      assert_int_equal(kept.nkept, c[i].disk);
      assert_int_equal(k ? kept.found : kept.made, SAMPLES * c[i].disk);
    }
    assert_int_equal(each_file(&p, NULL), c[i].disk);
    kept = run(&p, text, KD_KEEP_DISK, 4, 0, 2);                         /* other draws */
    assert_int_equal(kept.found, 0);
    if (i && i != 3) assert_true(memcmp(off.bits, last.bits, off.n) != 0);
    if (i == 3) assert_memory_equal(off.bits, last.bits, off.n);         /* neither comes round in seven epochs */
    last = off;
    free(text);
    toy_free(&p.t);
  }
}

static void draws_come_round_wherever_they_are(void **state) {
  static const char *const clauses[] = { "replay: 2", "replay: 2, keep_last: true" };
  (void)state;
  for (int i = 0; i < 4; i++) {
    place p = place_new();
    char *text = with_clauses(i < 2 ? jittered_more : jittered, clauses[i % 2]);
    char *at = strstr(text, "batch: 8");
    assert_non_null(at);
    if (i % 2) at[7] = '7';                      /* a rest of six */
    outcome off = run(&p, text, KD_KEEP_OFF, 3, 0, 2);
    for (int k = 0; k < 3; k++) {
      outcome kept = run(&p, text, k ? KD_KEEP_DISK : KD_KEEP_MEMORY, 3, 0, 2);
      assert_true(kept.nkept > 1);
      same_bits(&off, &kept);
    }
    free(text);
    toy_free(&p.t);
  }
}

static void a_stopped_run_goes_on_with_its_draws(void **state) {
  static const kd_keep keep[] = { KD_KEEP_OFF, KD_KEEP_MEMORY, KD_KEEP_DISK };
  (void)state;
  char *text = with_clauses(jittered, "replay: 3");
  for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
    place p = place_new();
    outcome good = run(&p, text, keep[i], 3, 0, 2);
    for (int at = 3; at < 54; at += 10) {
      stop = 0, stop_after = at;
      outcome o = run(&p, text, keep[i], 3, 0, 2);
      stop_after = 0;
      assert_int_equal(o.status, KD_E_CANCELLED);
      o = resume(&p);
      same_bits(&good, &o);
    }
    toy_free(&p.t);
  }
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_processes_share_it), cmocka_unit_test(the_same_bits_wherever_it_is), cmocka_unit_test(what_was_spoilt_is_made_anew),
    cmocka_unit_test(what_comes_of_something_else_is_not_used), cmocka_unit_test(what_moves_is_not_kept), cmocka_unit_test(without_room_nothing_is_kept), cmocka_unit_test(as_the_program_says), cmocka_unit_test(draws_that_come_round_are_kept), cmocka_unit_test(draws_come_round_wherever_they_are),
    cmocka_unit_test(a_stopped_run_goes_on_with_its_draws), cmocka_unit_test(stopped_and_gone_on_with),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
