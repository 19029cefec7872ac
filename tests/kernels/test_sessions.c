/* test_sessions.c: the team runs each chunk of each job once; two sessions in one process: kernels at the same time from two threads give the bits that they give alone, and programs
 * take turns on the team. */
#include "runtime/kernels/par.h"
#include "tests/kernels/call.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static const struct { const char *op, *in, *out, *attrs; } list[] = {
  { "add", "f32[300,400] f32[300,400]", "f32[300,400]", "" },
  { "moments", "f32[9,16,28,28]", "f32[16] f32[16]", "axes=0,2,3" },
  { "conv", "f32[8,16,14,14] f32[16,16,3,3]", "f32[8,16,14,14]", "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1" },
  { "conv_weight", "f32[8,16,14,14] f32[8,16,14,14]", "f32[16,16,3,3]", "stride=1,1 pad_lo=1,1 pad_hi=1,1 dilation=1,1 groups=1 size=3,3" },
  { "matmul", "f32[128,784] f32[784,120]", "f32[128,120]", "" },
  { "max_pool", "f32[9,16,28,28]", "f32[9,16,14,14] i64[9,16,14,14]", "window=2,2 stride=2,2 pad_lo=0,0 pad_hi=0,0" },
  { "softmax", "f32[200,300]", "f32[200,300]", "axes=1" },
  { "sort", "f32[40,100]", "f32[40,100] i64[40,100]", "axis=1 descending=0" },
  { "random_normal", "i64[]", "f32[200,300]", "path=1" },
};
enum { CASES = sizeof list / sizeof list[0], ROUNDS = 12 };

typedef struct session { t_case c[CASES]; t_tensor in[CASES][T_MAX], want[CASES][T_MAX]; bool turns; int wrong, clashes; } session;

static void open_session(session *s, uint64_t seed, bool turns) {
  *s = (session){ .turns = turns };
  for (int k = 0; k < CASES; k++) {
    t_case *c = &s->c[k];
    assert_true(t_parse(c, list[k].op, list[k].in, list[k].out, list[k].attrs));
    for (uint32_t i = 0; i < c->nin; i++) t_make(&s->in[k][i], &c->in[i], T_NHWC, true, &seed), t_fill(&s->in[k][i], c, i, false, &seed);
    for (uint32_t i = 0; i < c->nout; i++) t_make(&s->want[k][i], &c->out[i], T_NHWC, false, &seed);
    t_run(c, s->in[k], s->want[k], (t_settings){ .threads = 2, .dnnl = true }, false);
  }
}
static void close_session(session *s) {
  for (int k = 0; k < CASES; k++) {
    for (uint32_t i = 0; i < s->c[k].nin; i++) t_free(&s->in[k][i]);
    for (uint32_t i = 0; i < s->c[k].nout; i++) t_free(&s->want[k][i]);
  }
}

static int inside;                               /* sessions that have the team */

static void run_once(void *ctx, const kd_exec *x) {
  session *s = ctx;
  s->clashes += __atomic_fetch_add(&inside, s->turns, __ATOMIC_SEQ_CST) != 0;
  for (int k = 0; k < CASES; k++) {
    t_tensor out[T_MAX];
    uint64_t state = 1;
    for (uint32_t i = 0; i < s->c[k].nout; i++) t_make(&out[i], &s->c[k].out[i], T_NHWC, false, &state);
    t_run_with(&s->c[k], s->in[k], out, (t_settings){ .threads = 2, .dnnl = true }, x->team);
    for (uint32_t i = 0; i < s->c[k].nout; i++) s->wrong += !t_same_bits(&out[i], &s->want[k][i]), t_free(&out[i]);
  }
  __atomic_fetch_sub(&inside, s->turns, __ATOMIC_SEQ_CST);
}
static void *run_session(void *ctx) {
  session *s = ctx;
  kd_exec x = { .threads = 2 };
  for (int r = 0; r < ROUNDS; r++)
    if (s->turns) kd__team_run(&x, run_once, s);
    else run_once(s, &x);
  return NULL;
}

static void run_two(bool turns) {
  session *s = malloc(2 * sizeof *s);
  pthread_t t[2];
  for (int i = 0; i < 2; i++) open_session(&s[i], 5 + (uint64_t)i, turns);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, run_session, &s[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(s[i].wrong, 0);
    assert_int_equal(s[i].clashes, 0);
    close_session(&s[i]);
  }
  free(s);
}
static void at_the_same_time(void **state) { (void)state; run_two(false); }
static void in_turns(void **state) { (void)state; run_two(true); }

/* --- many short jobs -------------------------------------------------------------------------------------------------------------------- */
enum { JOBS = 20000, PLACES = 64 };
typedef struct jobs { int times[PLACES], bad_thread, threads; } jobs;
static void count_chunk(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  jobs *w = ctx;
  if (kd__par_thread() >= w->threads || chunk < 0) __atomic_fetch_add(&w->bad_thread, 1, __ATOMIC_RELAXED);
  for (int64_t i = begin; i < end; i++) w->times[i]++;           /* not atomic: chunks do not overlap */
}
static void run_jobs(void *ctx, const kd_exec *x) {
  jobs *w = ctx;
  for (int i = 0; i < JOBS; i++) {
    kd__par_for(x, PLACES, 1 + i % 9, 1 + i % 3, count_chunk, w);
    if (i % 5000 == 0) nanosleep(&(struct timespec){ 0, 2000000 }, NULL);     /* long enough for the others to go to sleep */
  }
}
static void every_chunk_once(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; threads++) {
    jobs w = { .threads = threads };
    kd_exec x = { .threads = threads };
    kd__team_run(&x, run_jobs, &w);
    for (int i = 0; i < PLACES; i++) assert_int_equal(w.times[i], JOBS);
    assert_int_equal(w.bad_thread, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(every_chunk_once), cmocka_unit_test(at_the_same_time), cmocka_unit_test(in_turns) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
