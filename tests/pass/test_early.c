/* test_early.c: rewrites that come before gradients. Values and gradients of random cases are those of the graph without them, within the errors that
 * early_gram.c and early_pairs.c state; the form is the one wanted; equal and nearly equal samples come out as they should. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/pass/early.h"
#include "tests/eval/eval.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { ROOM = 1 << 14 };
typedef kd_value (*maker)(kd_build *b, const kd_value *x, uint64_t seed);

static double draw(uint64_t seed, uint64_t i) { return (double)(kd__mix(seed, i) % 20001) / 10000 - 1; }
static int64_t size(uint64_t seed, uint64_t i, int64_t low, int64_t high) { return low + (int64_t)(kd__mix(seed, i) % (uint64_t)(high - low + 1)); }

typedef struct made { kd_graph *g; kd_value loss, grad[2]; } made;

/* A loss of two inputs and its gradients, with the rewrites or without. */
static made build(kd__arena *a, maker make, const kd_type *type, uint64_t seed, bool early) {
  made m = { .g = kd__graph_new(a) };
  kd_build b = { m.g, 1 };
  kd_value x[2] = { kd__b_input(&b, 0, &type[0]), kd__b_input(&b, 1, &type[1]) };
  m.g->early = early ? kd__early : NULL;
  m.loss = make(&b, x, seed);
  assert_true(kd__gradients(m.g, m.loss, x, 2, m.grad, 1, NULL));
  assert_true(m.g->early == (early ? kd__early : NULL));
  return m;
}

/* Live nodes of an operator with at least so many axes; *last: what the last one has along its last axis. */
static size_t count_last(const kd_graph *g, kd_op op, int rank, int64_t *last) {
  size_t n = 0;
  bool *live = KD_NEWN(g->arena, bool, g->node.n);
  for (size_t i = 0; i < g->result.n; i++) live[g->def.v[g->result.v[i].value]] = true;
  for (size_t i = g->node.n; i-- > 1;) {
    const kd_node *p = &g->node.v[i];
    for (uint32_t k = 0; k < p->nin && live[i]; k++) live[g->def.v[p->in[k]]] = true;
    const kd_type *t = kd__type_of(g, p->out);
    if (!live[i] || p->op != op || t->rank < rank) continue;
    n++;
    *last = t->dim[t->rank - 1];
  }
  return n;
}

static size_t count(const kd_graph *g, kd_op op, int rank) { return count_last(g, op, rank, &(int64_t){ 0 }); }

static double largest(const kd_eval *e, kd_value v) {
  double m = 0;
  for (int64_t i = 0; v && i < kd__type_count(kd__type_of(e->g, v)); i++) m = fmax(m, fabs(kd_eval_at(e, v, i)));
  return m;
}

static void same(const kd_eval *a, kd_value x, const kd_eval *b, kd_value y, double tolerance, const char *what, uint64_t seed) {
  if (!x && !y) return;
  double scale = largest(a, x) + largest(b, y) + 1e-300;
  assert_true(kd__type_equal(kd__type_of(a->g, x), kd__type_of(b->g, y)));
  for (int64_t i = 0; i < kd__type_count(kd__type_of(a->g, x)); i++) {
    double p = kd_eval_at(a, x, i), q = kd_eval_at(b, y, i);
    if (fabs(p - q) <= tolerance * scale) continue;
    fail_msg("%s, seed %llu, element %lld: %.12g, and %.12g before", what, (unsigned long long)seed, (long long)i, q, p);
  }
}

/* Both ways agree; the early one has fewer elements in its largest value. */
static made agree(kd__arena *a, maker make, const kd_type *type, void *const *data, uint64_t seed, double tolerance) {
  made plain = build(a, make, type, seed, false), early = build(a, make, type, seed, true);
  kd_eval e, f;
  kd_eval_slot slot[2] = { { 0, data[0] }, { 1, data[1] } };
  assert_true(kd_eval_run(&e, plain.g, slot, 2, NULL, 0, KD_EVAL_DENSE));
  assert_true(kd_eval_run(&f, early.g, slot, 2, NULL, 0, KD_EVAL_STRANGE));
  same(&e, plain.loss, &f, early.loss, tolerance, "value", seed);
  for (int i = 0; i < 2; i++) same(&e, plain.grad[i], &f, early.grad[i], tolerance * 10, i ? "second gradient" : "first gradient", seed);
  kd_eval_free(&e);
  kd_eval_free(&f);
  kd__graph_result(plain.g, "loss", plain.loss);
  kd__graph_result(early.g, "loss", early.loss);
  return early;
}

static void fill(void *data, const kd_type *t, uint64_t seed) {
  for (int64_t i = 0; i < kd__type_count(t); i++) {
    if (t->dtype == KD_F64) ((double *)data)[i] = draw(seed, (uint64_t)i);
    else ((float *)data)[i] = (float)draw(seed, (uint64_t)i);
  }
}

static kd_value total(kd_build *b, kd_value v) { return kd__b_reduce(b, KD_OP_SUM, v, (int64_t[]){ 0, 1, 2 }, kd__type_of(b->g, v)->rank); }
static kd_value square(kd_build *b, kd_value v) { return kd__b_op2(b, KD_OP_MUL, v, v); }

/* --- squares of products --------------------------------------------------------------------------------------------------------------- */
static kd_value one_square(kd_build *b, const kd_value *x, uint64_t seed) {
  return total(b, square(b, kd__b_matmul(b, x[0], kd__early_transpose(b, x[seed % 2]))));
}

/* a |SS'|^2 + c |TT'|^2 - 2 sqrt(ac) |ST'|^2 and one term more, in some order. */
static kd_value three_squares(kd_build *b, const kd_value *x, uint64_t seed) {
  double a = seed % 3 ? 0.25 : 1 + fabs(draw(seed, 1)), c = seed % 3 ? 0.25 : 2 + fabs(draw(seed, 2));
  kd_value s = kd__b_matmul(b, x[0], kd__early_transpose(b, x[0])), t = kd__b_matmul(b, x[1], kd__early_transpose(b, x[1]));
  kd_value m = kd__b_matmul(b, x[0], kd__early_transpose(b, x[1]));
  kd_value v[3] = { total(b, square(b, s)), total(b, square(b, t)), total(b, square(b, m)) };
  const double k[3] = { a, c, 2 * sqrt(a * c) };
  for (int i = 0; i < 3; i++) v[i] = kd__b_op2(b, KD_OP_MUL, v[i], kd__b_const_like(b, k[i], v[i]));
  kd_value more = total(b, x[0]);
  if (seed % 2) return kd__b_op2(b, KD_OP_SUB, kd__b_op2(b, KD_OP_ADD, v[0], kd__b_op2(b, KD_OP_ADD, more, v[1])), v[2]);
  return kd__b_op2(b, KD_OP_ADD, kd__b_op2(b, KD_OP_SUB, v[0], v[2]), v[1]);
}

static void squares(void **state) {
  (void)state;
  static double x[ROOM], y[ROOM];
  for (uint64_t seed = 1; seed <= 200; seed++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    int64_t batch = size(seed, 90, 1, 3), m = size(seed, 91, 2, 12), n = size(seed, 92, 2, 12), k = size(seed, 93, 2, 12);
    kd_type type[2] = { { .dtype = KD_F64, .rank = 3, .dim = { batch, m, k } }, { .dtype = KD_F64, .rank = 3, .dim = { batch, n, k } } };
    fill(x, &type[0], seed), fill(y, &type[1], seed + 1000);
    int64_t columns = seed % 2 ? n : m, least = m < columns ? m : columns, last = 0;
    made one = agree(&a, one_square, type, (void *[]){ x, y }, seed, 1e-12);
    size_t products = count_last(one.g, KD_OP_MATMUL, 2, &last);
    bool smaller = (double)k < 0.8 * (double)least;              /* the smaller side, where it is clearly smaller */
    assert_int_equal(last, smaller ? k : columns);
    assert_int_equal(products, smaller && seed % 2 ? 2 : 1);
    made three = agree(&a, three_squares, type, (void *[]){ x, y }, seed, 1e-11);
    if (k < 0.8 * (double)(m < n ? m : n)) assert_int_equal(count(three.g, KD_OP_MATMUL, 2), 2);
    kd__arena_free(&a);
  }
}

/* Where the terms nearly cancel, the difference is exact to the last place, and the three terms are not. */
static void cancelling(void **state) {
  (void)state;
  static float x[ROOM], y[ROOM];
  static double p[ROOM], q[ROOM];
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_type type[2] = { { .dtype = KD_F32, .rank = 3, .dim = { 2, 12, 4 } }, { .dtype = KD_F32, .rank = 3, .dim = { 2, 12, 4 } } }, wide[2] = { type[0], type[1] };
  wide[0].dtype = wide[1].dtype = KD_F64;
  fill(x, &type[0], 5);
  for (int i = 0; i < 96; i++) y[i] = x[i] + 1e-4f * (float)draw(9, (uint64_t)i), p[i] = x[i], q[i] = y[i];
  made early = build(&a, three_squares, type, 2, true), exact = build(&a, three_squares, wide, 2, false);
  kd_eval e, f;
  assert_true(kd_eval_run(&e, early.g, (kd_eval_slot[]){ { 0, x }, { 1, y } }, 2, NULL, 0, KD_EVAL_DENSE));
  assert_true(kd_eval_run(&f, exact.g, (kd_eval_slot[]){ { 0, p }, { 1, q } }, 2, NULL, 0, KD_EVAL_DENSE));
  double got = kd_eval_at(&e, early.loss, 0), want = kd_eval_at(&f, exact.loss, 0);
  assert_true(want > 0 && fabs(got - want) < 1e-2 * want);
  kd_eval_free(&e);
  kd_eval_free(&f);
  kd__arena_free(&a);
}

/* --- pairs ------------------------------------------------------------------------------------------------------------------------------ */
/* x(j) - x(i): [i, j, k] */
static kd_value pairs_of(kd_build *b, kd_value x, uint64_t seed) {
  kd_type t = *kd__type_of(b->g, x);
  int64_t n = t.dim[0], k = t.dim[1], dim[3] = { n, n, k };
  if (seed % 5 == 4) { x = kd__b_permute(b, x, (int64_t[]){ 1, 0 }); t.dim[0] = k; }
  bool turned = seed % 5 == 4;
  kd_value first, second;
  if (turned) {                                  /* [k, i, j] read as [i, j, k] */
    const int64_t whole[3] = { k, n, n };
    first = kd__b_permute(b, kd__b_broadcast(b, x, whole, 3, (int64_t[]){ 0, 2 }), (int64_t[]){ 1, 2, 0 });
    second = kd__b_permute(b, kd__b_broadcast(b, x, whole, 3, (int64_t[]){ 0, 1 }), (int64_t[]){ 1, 2, 0 });
  } else {
    first = kd__b_broadcast(b, x, dim, 3, (int64_t[]){ 1, 2 });
    second = kd__b_broadcast(b, x, dim, 3, (int64_t[]){ 0, 2 });
  }
  if (seed % 3 == 2) return kd__b_op2(b, KD_OP_ADD, first, kd__b_op1(b, KD_OP_NEG, second));
  return kd__b_op2(b, KD_OP_SUB, first, second);
}

static kd_value distances(kd_build *b, kd_value x, uint64_t seed) { return kd__b_reduce(b, KD_OP_SUM, square(b, pairs_of(b, x, seed)), (int64_t[]){ 2 }, 1); }

static kd_value distance_loss(kd_build *b, const kd_value *x, uint64_t seed) {
  kd_value d = distances(b, x[0], seed), e = distances(b, x[1], seed);
  return total(b, square(b, kd__b_op2(b, KD_OP_SUB, d, e)));
}

/* u(i, j).u(i, k) / (|u(i, j)| |u(i, k)|), 0 for equal samples; as matrix products with i as the batch. */
static kd_value angles(kd_build *b, kd_value x, uint64_t seed) {
  kd_value u = pairs_of(b, x, seed), d = distances(b, x, seed);
  kd_type t = *kd__type_of(b->g, u);
  kd_value zero = kd__b_const_like(b, 0, d), one = kd__b_const_like(b, 1, d), some = kd__b_op2(b, KD_OP_LT, zero, d);
  kd_value n = kd__b_where(b, some, kd__b_op1(b, KD_OP_SQRT, kd__b_where(b, some, d, one)), zero);
  kd_value r = kd__b_broadcast(b, kd__b_op2(b, KD_OP_MAX, n, kd__b_const_like(b, 1e-12, n)), t.dim, 3, (int64_t[]){ 0, 1 });
  kd_value e = seed % 2 ? kd__b_op2(b, KD_OP_DIV, u, r) : kd__b_op2(b, KD_OP_MUL, kd__b_op1(b, KD_OP_RECIP, r), u);
  if (!(seed % 2)) e = kd__b_op2(b, KD_OP_DIV, u, r);
  return kd__b_matmul(b, e, kd__b_permute(b, e, (int64_t[]){ 0, 2, 1 }));
}

static kd_value angle_loss(kd_build *b, const kd_value *x, uint64_t seed) {
  return total(b, square(b, kd__b_op2(b, KD_OP_SUB, angles(b, x[0], seed), angles(b, x[1], seed))));
}

static void pairs(void **state) {
  (void)state;
  static double x[ROOM], y[ROOM];
  for (uint64_t seed = 1; seed <= 60; seed++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    int64_t n = size(seed, 91, 4, 9), k = size(seed, 92, 2, 8);
    kd_type type[2] = { { .dtype = KD_F64, .rank = 2, .dim = { n, k } }, { .dtype = KD_F64, .rank = 2, .dim = { n, k } } };
    fill(x, &type[0], seed), fill(y, &type[1], seed + 1000);
    for (int64_t i = 0; i < n * k; i++) x[i] += 100;             /* a mean that differences do not see */
    if (seed % 2) memcpy(x + k, x, sizeof *x * (size_t)k), memcpy(y + k, y, sizeof *y * (size_t)k);      /* two equal samples in both */
    made d = agree(&a, distance_loss, type, (void *[]){ x, y }, seed, 1e-9), c = agree(&a, angle_loss, type, (void *[]){ x, y }, seed, 1e-8);
    assert_int_equal(count(d.g, KD_OP_MATMUL, 2), 2);            /* a Gram matrix for each */
    assert_int_equal(count(c.g, KD_OP_MATMUL, 2), 2);
    assert_int_equal(count(c.g, KD_OP_MATMUL, 3), 0);
    kd__arena_free(&a);
  }
}

/* In single precision, of samples at a distance of `near` times the others': no worse than the direct form until they are very near. */
static double angle_error(double near, bool early) {
  enum { N = 6, K = 16 };
  static float x[N * K];
  static double wide[N * K];
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_type t = { .dtype = KD_F32, .rank = 2, .dim = { N, K } }, w = { .dtype = KD_F64, .rank = 2, .dim = { N, K } };
  fill(x, &t, 3);
  for (int i = 0; i < K; i++) x[K + i] = x[i] + (float)(near * draw(4, (uint64_t)i));
  for (int i = 0; i < N * K; i++) wide[i] = x[i];
  kd_graph *g = kd__graph_new(&a), *h = kd__graph_new(&a);
  kd_build b = { g, 1 }, c = { h, 1 };
  kd_value in = kd__b_input(&b, 0, &t), exact_in = kd__b_input(&c, 0, &w);
  g->early = early ? kd__early : NULL;
  kd_value got = angles(&b, in, 1), want = angles(&c, exact_in, 1);
  kd_eval e, f;
  assert_true(kd_eval_run(&e, g, (kd_eval_slot[]){ { 0, x } }, 1, NULL, 0, KD_EVAL_DENSE));
  assert_true(kd_eval_run(&f, h, (kd_eval_slot[]){ { 0, wide } }, 1, NULL, 0, KD_EVAL_DENSE));
  double worst = 0;
  for (int64_t i = 0; i < N * N * N; i++) worst = fmax(worst, fabs(kd_eval_at(&e, got, i) - kd_eval_at(&f, want, i)));
  kd_eval_free(&e);
  kd_eval_free(&f);
  kd__arena_free(&a);
  return worst;
}

static void near_samples(void **state) {
  (void)state;
  assert_true(angle_error(1, true) < 1e-6);
  assert_true(angle_error(1e-2, true) < 1e-6);
  assert_true(angle_error(1e-4, true) < 1e-5);
  assert_true(angle_error(1e-5, true) < 1e-3);
  assert_true(angle_error(0, true) < 1e-6);      /* equal ones have no direction */
}

/* What is not of the form stays as it is: other samples, sums instead of differences, too few elements to win anything. */
static kd_value other_samples(kd_build *b, const kd_value *x, uint64_t seed) {
  kd_type t = *kd__type_of(b->g, x[0]);
  int64_t n = t.dim[0], dim[3] = { n, n, t.dim[1] };
  kd_value u = kd__b_op2(b, seed % 2 ? KD_OP_ADD : KD_OP_SUB, kd__b_broadcast(b, x[0], dim, 3, (int64_t[]){ 1, 2 }), kd__b_broadcast(b, x[seed % 2 ? 0 : 1], dim, 3, (int64_t[]){ 0, 2 }));
  return total(b, kd__b_reduce(b, KD_OP_SUM, square(b, u), (int64_t[]){ 2 }, 1));
}

static void others_stay(void **state) {
  (void)state;
  static double x[ROOM], y[ROOM];
  for (uint64_t seed = 1; seed <= 4; seed++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_type type[2] = { { .dtype = KD_F64, .rank = 2, .dim = { 6, 5 } }, { .dtype = KD_F64, .rank = 2, .dim = { 6, 5 } } };
    fill(x, &type[0], seed), fill(y, &type[1], seed + 1000);
    made m = agree(&a, other_samples, type, (void *[]){ x, y }, seed, 1e-12);
    assert_int_equal(count(m.g, KD_OP_MATMUL, 2), 0);
    type[0].dim[0] = type[1].dim[0] = 3;
    m = agree(&a, distance_loss, type, (void *[]){ x, y }, seed, 1e-12);
    assert_int_equal(count(m.g, KD_OP_MATMUL, 2), 0);
    kd__arena_free(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(squares), cmocka_unit_test(cancelling), cmocka_unit_test(pairs), cmocka_unit_test(near_samples),
                                      cmocka_unit_test(others_stay) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
