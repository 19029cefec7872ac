/* test_gathered.c: products of gathered rows and a vector, and their gradients, come out as before; nothing is gathered any more. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/pass/pass.h"
#include "tests/eval/eval.h"
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { ROOM = 1 << 17 };
typedef struct made { kd_graph *g; int64_t n, b, k, f; } made;
enum { TABLE, INDEX, VECTOR, WEIGHT, SLOTS };

/* v [*b,f] and rows [*b,k,f]: a matrix product, with the vector on the right or on the left, or a sum over a product. */
static kd_value product_of(kd_build *b, kd_value rows, kd_value v, uint64_t seed) {
  kd_type t = *kd__type_of(b->g, rows), result = t;
  int r = t.rank;
  int64_t perm[KD_MAX_RANK], kept[KD_MAX_RANK], column[KD_MAX_RANK], last = r - 1;
  for (int d = 0; d < r; d++) perm[d] = kept[d] = d, column[d] = t.dim[d];
  kept[r - 2] = r - 1, perm[r - 2] = r - 1, perm[r - 1] = r - 2;
  if (seed % 4 == 3) return kd__b_reduce(b, KD_OP_SUM, kd__b_op2(b, KD_OP_MUL, kd__b_broadcast(b, v, t.dim, r, kept), rows), &last, 1);
  column[r - 2] = seed & 1 ? 1 : t.dim[r - 1], column[r - 1] = seed & 1 ? t.dim[r - 1] : 1;
  v = kd__b_reshape(b, v, column, r);
  v = seed & 1 ? kd__b_matmul(b, v, kd__b_permute(b, rows, perm)) : kd__b_matmul(b, rows, v);
  return kd__b_reshape(b, v, result.dim, r - 1);
}

/* sum(w * (x[index] v)) and its gradient for v, the index of one axis more or not. */
static made build(kd__arena *a, uint64_t seed) {
  made m = { kd__graph_new(a), seed % 3 ? 3000 : 150, seed % 4 ? 6 : 1, 0, 16 + (int64_t)(seed * 7 % 40) };
  m.k = 3 * (1 << 16) / (m.b * m.f) + 1 + (int64_t)(seed % 5);
  kd_build b = { m.g, 1 };
  bool deep = seed % 5 > 2 && m.b == 6;
  int rank = deep ? 2 : 1;
  kd_type table = { .dtype = KD_F32, .rank = 2, .dim = { m.n, m.f } }, it = { .dtype = KD_I64, .rank = (uint8_t)(rank + 1), .dim = { deep ? 2 : m.b, deep ? 3 : m.k, deep ? m.k : 0 } };
  kd_type vt = it, wt = it;
  vt.dtype = wt.dtype = KD_F32, vt.dim[rank] = m.f;
  kd_value x = kd__b_input(&b, TABLE, &table), i = kd__b_input(&b, INDEX, &it), vector = kd__b_input(&b, VECTOR, &vt), weight = kd__b_input(&b, WEIGHT, &wt), grad;
  kd_value product = product_of(&b, kd__b_gather(&b, x, i, 0), vector, seed);
  kd_value loss = kd__b_reduce(&b, KD_OP_SUM, kd__b_op2(&b, KD_OP_MUL, product, weight), (int64_t[]){ 0, 1, 2 }, rank + 1);
  assert_true(kd__gradients(m.g, loss, &vector, 1, &grad, 1, NULL));
  kd__graph_result(m.g, "product", product);
  kd__graph_result(m.g, "grad", grad);
  return m;
}

static size_t count(const kd_graph *g, kd_op op) {
  size_t n = 0;
  for (size_t i = 1; i < g->node.n; i++) n += g->node.v[i].op == op;
  return n;
}

static void same_values(void **state) {
  static float table[ROOM * 2], vector[ROOM], weight[ROOM];
  static int64_t index[ROOM];
  size_t parted = 0;
  (void)state;
  for (uint64_t seed = 1; seed <= 24; seed++) {
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    made m = build(&a, seed);
    for (int64_t i = 0; i < m.n * m.f; i++) table[i] = (float)(kd__mix(seed, (uint64_t)i) % 2001) / 1000 - 1;
    for (int64_t i = 0; i < m.b * m.f; i++) vector[i] = (float)(kd__mix(seed + 100, (uint64_t)i) % 2001) / 1000 - 1;
    for (int64_t i = 0; i < m.b * m.k; i++) weight[i] = (float)(kd__mix(seed + 200, (uint64_t)i) % 2001) / 1000 - 1;
    for (int64_t i = 0; i < m.b * m.k; i++) index[i] = (int64_t)(kd__mix(seed + 300, (uint64_t)i) % (uint64_t)m.n);
    const kd_eval_slot slot[SLOTS] = { { TABLE, table }, { INDEX, index }, { VECTOR, vector }, { WEIGHT, weight } };
    kd_graph *after = kd__pass_find("dce")->run(kd__pass_until(m.g, "fuse", NULL, NULL));
    assert_int_equal(count(after, KD_OP_GATHER), 0);
    assert_int_equal(count(after, KD_OP_MATMUL), 0);
    assert_int_equal(count(after, KD_OP_INDEX_ORDER), 1);
    assert_int_equal(count(after, KD_OP_GATHER_DOT), 1);
    assert_int_equal(count(after, KD_OP_GATHER_SUM), 1);
    for (size_t i = 1; i < after->node.n; i++) parted += after->node.v[i].op == KD_OP_INDEX_ORDER && kd__type_of(after, after->node.v[i].out + 1)->dim[1] > 2;
    kd_eval e, f;
    assert_true(kd_eval_run(&e, m.g, slot, SLOTS, NULL, 0, KD_EVAL_DENSE));
    assert_true(kd_eval_run(&f, after, slot, SLOTS, NULL, 0, KD_EVAL_DENSE));
    for (size_t r = 0; r < m.g->result.n; r++) {
      kd_value before = m.g->result.v[r].value, now = kd_eval_result(&f, m.g->result.v[r].name);
      assert_true(kd__type_equal(kd__type_of(m.g, before), kd__type_of(after, now)));
      for (int64_t i = 0; i < kd__type_count(kd__type_of(m.g, before)); i++)
        if (fabs(kd_eval_at(&e, before, i) - kd_eval_at(&f, now, i)) > 1e-4) fail_msg("seed %llu, %s, element %lld", (unsigned long long)seed, m.g->result.v[r].name, (long long)i);
    }
    index[m.b * m.k - 1] = m.n;                  /* the fault is that of the gather */
    kd_eval wrong;
    assert_false(kd_eval_run(&wrong, after, slot, SLOTS, NULL, 0, KD_EVAL_DENSE));
    assert_true(wrong.fault.set && wrong.fault.op == KD_OP_GATHER && wrong.fault.value == m.n && wrong.fault.limit == m.n && wrong.fault.position == m.b * m.k - 1);
    kd_eval_free(&wrong);
    kd_eval_free(&e);
    kd_eval_free(&f);
    kd__arena_free(&a);
  }
  assert_true(parted > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(same_values) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
