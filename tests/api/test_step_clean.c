/* test_step_clean.c: a training step allocates nothing and takes no lock but the thread team's.
 *
 * A program runs with 3 steps and with 20: both must call as often, but for a few calls about (the text of an epoch's line is not always as long). This program's malloc is the one that all libraries call, too; what oneDNN and
 * OpenBLAS do inside of a call of theirs is not ours to say, and not counted: dnnl_sgemm packs into memory of its own, dnnl_primitive_execute makes a
 * table of its arguments. Locks are counted on one thread, where there is no team. */
#include "tests/files/temp.h"
#include "include/kd.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);
static _Atomic long allocations, locks;
static _Atomic int sure = 1;                     /* dladdr is not asked before main */
static void count_one(const void *caller) {
  Dl_info i;
  bool library = !sure && dladdr(caller, &i) && i.dli_fname && (strstr(i.dli_fname, "dnnl") || strstr(i.dli_fname, "openblas") || strstr(i.dli_fname, "stdc++"));
  allocations += !library;
}
#define COUNT count_one(__builtin_return_address(0))
void *malloc(size_t n) { COUNT; return __libc_malloc(n); }
void *calloc(size_t n, size_t each) { COUNT; return __libc_calloc(n, each); }
void *realloc(void *p, size_t n) { COUNT; return __libc_realloc(p, n); }
void *aligned_alloc(size_t align, size_t n) { COUNT; return __libc_memalign(align, n); }
void *memalign(size_t align, size_t n);
void *memalign(size_t align, size_t n) { COUNT; return __libc_memalign(align, n); }
int posix_memalign(void **p, size_t align, size_t n) {
  COUNT;
  *p = __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}
void free(void *p) { __libc_free(p); }

int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m) { locks++; return __real_pthread_mutex_lock(m); }

static void say(void *ctx, const kd_message *m) {
  (void)ctx;
  if (m->severity == KD_ERROR) fputs(m->text, stderr);
}

enum { FEW = 8 };                                /* less than the 17 more of one a step */
typedef struct counts { long allocations, locks; } counts;

static counts count(kd_session *s, const char *text, const char *steps, int threads) {
  kd_compile_options c = { .set = &steps, .nset = 1 };
  kd_run_options o = { .threads = threads };
  kd_program *p;
  assert_int_equal(kd_compile_text(s, "step.kd", text, strlen(text), &c, &p), KD_OK);
  counts before = { allocations, locks };
  assert_int_equal(kd_run(p, &o), KD_OK);
  counts n = { allocations - before.allocations, locks - before.locks };
  kd_program_free(p);
  return n;
}

static void clean(const char *text) {
  kd_session *s;
  kd_config c = { .message = say, .data = (const char *const[]){ KD_ROOT "/examples" }, .ndata = 1 };
  assert_int_equal(kd_session_new(&c, &s), KD_OK);
  count(s, text, "steps=2", 2);                  /* the libraries keep things of their first call */
  for (int threads = 1; threads <= 2; threads++) {
    counts few = count(s, text, "steps=3", threads), many = count(s, text, "steps=20", threads);
    assert_true(few.allocations > 20 && few.locks >= 0);
    assert_in_range(many.allocations - few.allocations + FEW, 0, 2 * FEW);
    if (threads == 1) assert_in_range(many.locks - few.locks + FEW, 0, 2 * FEW);
  }
  kd_session_free(s);
}

static void perceptron(void **state) {
  (void)state;
  clean("use data.digits, nets.mlp, losses.cross_entropy, logit.kd, optim.adam\nlet steps = 2\ndata d = digits(batch: 64)\n"
        "model T = mlp(hidden: [300], classes: 10)\nstudent S = mlp(hidden: [128], classes: 10)\nlet t = T(d.image)\nlet s = S(d.image)\n"
        "scheme { stage fit { for b in d.train.take(steps) {\n"
        "  step S minimizing cross_entropy(s.logits, d.label) + kd(s.logits, t.logits, tau: 4) using adam(lr: 0.01)\n} } }\n");
}

static void convolution(void **state) {
  (void)state;
  clean("use nets.resnet, nets.wide_resnet, losses.cross_entropy, feature.fitnet, optim.sgd\nlet steps = 2\nstate x: [B: 8, C: 3, H: 32, W: 32] = normal()\n"
        "let label = random_int([B: 8], below: 10)\nmodel T = resnet(depth: 8, width: 2, classes: 10)\nstudent S = resnet(depth: 8, classes: 10)\n"
        "let t = T(x)\nlet s = S(x)\nloss hint = fitnet(s.stage2, t.stage2)\n"
        "scheme { stage fit { for steps batches { step S minimizing cross_entropy(s.logits, label) + hint using sgd(lr: 0.1, momentum: 0.9) } } }\n");
}

static void relations(void **state) {
  (void)state;
  clean("use contrastive.crd, similarity.rkd, similarity.spkd, feature.nst, optim.sgd\nlet steps = 2\n"
        "param s: [B: 32, C: 24, H: 8, W: 8] = normal()\nstate t: [B: 32, C: 24, H: 8, W: 8] = normal()\n"
        "let u = mean(s, over: [H, W])[C as D]\nlet v = mean(t, over: [H, W])[C as D]\nlet index = random_int([B: 32, M: 513], below: 5000)\n"
        "loss contrast = crd(u, v, index, samples: 5000)\n"
        "scheme { stage fit { for steps batches {\n"
        "  step s minimizing contrast + rkd(u, v) + spkd(s, t) + nst(s, t) using sgd(lr: 0.01)\n} } }\n");
}

static void sequences(void **state) {
  (void)state;
  clean("use nets.transformer.transformer_classifier, nets.recurrent.gru, layers.linear, losses.cross_entropy, optim.sgd\nlet steps = 2\n"
        "state x: [B: 4, T: 12, D: 16] = normal()\nlet label = random_int([B: 4], below: 2)\nlet word = random_int([B: 4, T: 20], below: 50)\n"
        "net last(x: [B, T, D]) = linear(gru(x, hidden: 8)[T: -1], out: 2)\n"
        "student S = transformer_classifier(vocabulary: 50, width: 16, depth: 1, drop: 0.1)\nstudent R = last()\nlet s = S(word)\nlet r = R(x)\n"
        "scheme { stage fit { for steps batches {\n"
        "  step S, R minimizing cross_entropy(s.logits, label) + cross_entropy(r, label) using sgd(lr: 0.1)\n} } }\n");
}

int main(void) {
  sure = 0;
  const struct CMUnitTest tests[] = { cmocka_unit_test(perceptron), cmocka_unit_test(convolution), cmocka_unit_test(relations), cmocka_unit_test(sequences) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
