/* test_pieces.c: updates of several tensors as one vector. Cut into pieces or not, they mean the same bit by bit; plans of them keep every value until its
 * last reader; what is cut writes its slots in place; and what must not be cut is not. */
#include "compiler/fuse/fuse.h"
#include "tests/plan/rig.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { MOST = 6 };
enum { MOMENTUM = 1, SECOND = 2, RATE = 4, NORM = 8, FACTOR = 16, SHOWN = 32, KEPT = 64, READ = 128, AVERAGE = 256, ACROSS = 512, WHOLE = 1024 };
typedef struct made {
  kd__arena a;
  kd_build b;
  kd_random_slot slot[64]; kd_eval_slot eval[64];
  size_t nslot;
  uint64_t seed, draw;
  kd_dtype real;
  uint32_t with;                                 /* what the update has, of the bits above */
  int n;
  kd_value x[MOST], g[MOST], old[MOST];          /* tensors, their gradients, averages of them */
} made;

static int64_t pick(made *m, int64_t n) { return (int64_t)(kd__mix(m->seed, ++m->draw) % (uint64_t)n); }

static kd_value slot(made *m, const kd_type *like) {
  kd_type t = *like;
  size_t n = (size_t)kd__type_count(&t);
  char *p = kd__arena_get(&m->a, 8 * n);
  for (size_t i = 0; i < n; i++) {
    double v = (double)pick(m, 2001) / 1000 - 1;
    if (t.dtype == KD_F32) ((float *)p)[i] = (float)v;
    else ((double *)p)[i] = v;
  }
  m->slot[m->nslot] = (kd_random_slot){ t, p }, m->eval[m->nslot] = (kd_eval_slot){ (int64_t)m->nslot, p };
  return kd__b_input(&m->b, (int64_t)m->nslot++, &t);
}

static kd_value vector(made *m, int64_t n) { return slot(m, &(kd_type){ .dtype = (uint8_t)m->real, .rank = 1, .dim = { n } }); }
static kd_value op2(made *m, kd_op op, kd_value x, kd_value y) { return kd__b_op2(&m->b, op, x, y); }
static kd_value times(made *m, kd_value x, double k) { return op2(m, KD_OP_MUL, x, kd__b_const_like(&m->b, k, x)); }
static kd_value sum(made *m, kd_value x) {
  int64_t axes[2] = { 0, 1 };
  return kd__b_reduce(&m->b, KD_OP_SUM, x, axes, kd__type_of(m->b.g, x)->rank);
}
static kd_value scaled(made *m, kd_value x, kd_value by) {
  kd_type t = *kd__type_of(m->b.g, x);
  return op2(m, KD_OP_MUL, x, kd__b_broadcast(&m->b, by, t.dim, t.rank, NULL));
}
static kd_value part(made *m, kd_value u, int64_t at, int64_t n) {
  int64_t one = 1;
  return kd__b_slice(&m->b, u, &at, &n, &one);
}
static kd_value joined(made *m, const kd_value *x) {
  kd_value in[MOST];
  for (int i = 0; i < m->n; i++) {
    int64_t n = kd__type_count(kd__type_of(m->b.g, x[i]));
    in[i] = kd__b_reshape(&m->b, x[i], &n, 1);
  }
  return kd__b_concat(&m->b, in, m->n, 0);
}

/* Something of the shape of tensor i: element by element, through a sum that is read, by a product, by a sum alone, of another tensor's gradient. */
static kd_value gradient(made *m, int i) {
  kd_value x = m->x[i];
  const kd_type t = *kd__type_of(m->b.g, x);
  kd_type other = t;
  switch (pick(m, 7)) {
    case 0: return times(m, op2(m, KD_OP_MUL, x, x), 0.5);
    case 1: return op2(m, KD_OP_MUL, x, slot(m, &t));
    case 2: return scaled(m, kd__b_op1(&m->b, KD_OP_SIN, x), sum(m, op2(m, KD_OP_MUL, x, x)));
    case 3:
      other.dim[0] = other.dim[1] = t.dim[1];
      return t.rank == 2 ? kd__b_matmul(&m->b, x, slot(m, &other)) : kd__b_op1(&m->b, KD_OP_EXP, x);
    case 4: {
      other.rank++, other.dim[0] = 3;
      for (int d = 0; d < t.rank; d++) other.dim[d + 1] = t.dim[d];
      return kd__b_reduce(&m->b, KD_OP_SUM, slot(m, &other), (int64_t[]){ 0 }, 1);
    }
    case 5: return i ? scaled(m, x, sum(m, m->g[i - 1])) : times(m, x, 0.1);
    default: return i && kd__type_equal(&t, kd__type_of(m->b.g, m->x[i - 1])) ? op2(m, KD_OP_MUL, m->x[i - 1], m->g[i - 1]) : op2(m, KD_OP_SUB, x, slot(m, &t));
  }
}

static kd_value update(made *m, kd_value p, kd_value g) {
  const int64_t n = kd__type_of(m->b.g, p)->dim[0];
  if (m->with & NORM) g = scaled(m, g, kd__b_op1(&m->b, KD_OP_RECIP, op2(m, KD_OP_MAX, sum(m, op2(m, KD_OP_MUL, g, g)), kd__b_const(&m->b, 1, m->real, NULL, 0))));
  if (m->with & FACTOR) g = scaled(m, g, sum(m, m->g[pick(m, m->n)]));
  if (m->with & RATE) g = scaled(m, g, slot(m, &(kd_type){ .dtype = (uint8_t)m->real }));
  if (m->with & KEPT) kd__graph_write(m->b.g, (int64_t)m->nslot, g, 1), vector(m, n);
  for (int k = 0; k < 2; k++) {
    if (!(m->with & (k ? SECOND : MOMENTUM))) continue;
    int64_t at = (int64_t)m->nslot;
    kd_value now = op2(m, KD_OP_ADD, times(m, vector(m, n), 0.75), k ? op2(m, KD_OP_MUL, g, g) : g);
    kd__graph_write(m->b.g, at, now, 1);
    g = k ? op2(m, KD_OP_DIV, g, op2(m, KD_OP_ADD, kd__b_op1(&m->b, KD_OP_ABS, now), kd__b_const_like(&m->b, 1, now))) : now;
  }
  return op2(m, KD_OP_SUB, p, times(m, g, 0.125));
}

static void begin(made *m, uint64_t seed, kd_dtype real, uint32_t with) {
  *m = (made){ .seed = seed, .real = real, .with = with };
  kd__arena_init(&m->a, NULL, NULL);
  m->b = (kd_build){ kd__graph_new(&m->a), 1 };
}

static void finish(made *m) {
  kd_value u = update(m, joined(m, m->x), joined(m, m->g));
  int64_t at = 0;
  for (int i = 0; i < m->n; i++) {
    kd_type t = *kd__type_of(m->b.g, m->x[i]);
    int64_t n = kd__type_count(&t);
    kd_value now = kd__b_reshape(&m->b, part(m, u, at, n), t.dim, t.rank);
    kd__graph_write(m->b.g, i, now, 1);
    if (m->with & AVERAGE) kd__graph_write(m->b.g, m->n + i, op2(m, KD_OP_ADD, times(m, m->old[i], 0.5), times(m, now, 0.5)), 1);
    if (m->with & READ && i % 2) kd__graph_result(m->b.g, kd__arena_printf(&m->a, "read%d", i), sum(m, kd__b_op1(&m->b, KD_OP_EXP, op2(m, KD_OP_MUL, m->x[i], m->g[i]))));
    at += n;
  }
  if (m->with & ACROSS) kd__graph_result(m->b.g, "across", part(m, u, at / 3, at / 2));
  if (m->with & SHOWN) kd__graph_result(m->b.g, "shown", m->g[0]);
  if (m->with & WHOLE) kd__graph_result(m->b.g, "whole", u);
}

static void random_update(made *m, uint64_t seed, kd_dtype real) {
  begin(m, seed, real, 0);
  m->n = 2 + (int)pick(m, MOST - 1);
  for (uint32_t bit = 1; bit <= WHOLE; bit *= 2)
    if (pick(m, bit & (NORM | FACTOR | WHOLE | ACROSS) ? 8 : 3) == 0) m->with |= bit;
  for (int i = 0; i < m->n; i++)
    m->x[i] = slot(m, &(kd_type){ .dtype = (uint8_t)real, .rank = (uint8_t)(1 + pick(m, 2)), .dim = { 1 + pick(m, 5), 1 + pick(m, 5) } });
  for (int i = 0; i < m->n && m->with & AVERAGE; i++) m->old[i] = slot(m, kd__type_of(m->b.g, m->x[i]));
  for (int i = 0; i < m->n; i++) m->g[i] = gradient(m, i);
  finish(m);
}

static bool same(const made *m, const kd_graph *after) {
  kd_eval a, b;
  bool good = kd_eval_run(&a, m->b.g, m->eval, m->nslot, NULL, 0, KD_EVAL_DENSE), ran = kd_eval_run(&b, after, m->eval, m->nslot, NULL, 0, KD_EVAL_DENSE);
  good = good && ran && after->write.n == m->b.g->write.n && after->result.n == m->b.g->result.n;
  for (size_t i = 0; good && i < m->b.g->write.n + m->b.g->result.n; i++) {
    size_t k = i - m->b.g->write.n;
    bool write = i < m->b.g->write.n;
    kd_value v = write ? m->b.g->write.v[i].value : m->b.g->result.v[k].value, w = write ? kd_eval_write(&b, m->b.g->write.v[i].slot) : kd_eval_result(&b, m->b.g->result.v[k].name);
    good = w != 0 && kd__type_equal(kd__type_of(m->b.g, v), kd__type_of(after, w));
    for (int64_t e = 0; good && e < kd__type_count(kd__type_of(m->b.g, v)); e++) good = kd_eval_at(&a, v, e) == kd_eval_at(&b, w, e);
  }
  kd_eval_free(&a);
  kd_eval_free(&b);
  return good;
}

static bool check(uint64_t seed, kd_dtype real, int *cut) {
  made m;
  rig r;
  char what[60];
  kd_shape_error err = { 0 };
  random_update(&m, seed, real);
  kd_graph *after = kd__fuse_pieces(m.b.g, 1 + (int64_t)(seed % 7));
  *cut += after != m.b.g;
  snprintf(what, sizeof what, "seed %llu, %s, with %u", (unsigned long long)seed, kd__dtype_name(real), m.with);
  bool good = kd__graph_verify(after, &err);
  if (!good) print_error("%s: broken: %s\n", what, err.text);
  if (good && !same(&m, after)) good = false, print_error("%s: cut, it means something else\n", what);
  for (int fused = 0; fused < 2 && good; fused++) {
    rig_plan(&r, &m.a, fused ? kd__pass_fuse(after) : after, m.slot, m.nslot, seed % 2 ? RIG_TOGETHER : RIG_APART);
    r.reference = seed % 3 != 0;
    good = rig_run(&r, real == KD_F32 ? 5e-4 : 1e-9, what);
  }
  if (!good && getenv("KD_SHOW")) {
    kd__buf text = { 0 };
    kd__graph_print(m.b.g, &text);
    print_error("%s\n%s\n", text.p, rig_print(&r));
    kd__buf_free(&text);
  }
  kd__arena_free(&m.a);
  return good;
}

static void random_updates(void **state) {
  (void)state;
  int bad = 0, cut = 0, n = getenv("KD_SEEDS") ? atoi(getenv("KD_SEEDS")) : 300;
  for (int seed = 1; seed <= n && bad < 5; seed++) bad += !check((uint64_t)seed, KD_F64, &cut) + !check((uint64_t)seed, KD_F32, &cut);
  assert_int_equal(bad, 0);
  print_message("%d of %d updates were cut\n", cut, 2 * n);
  assert_true(cut > n / 2 && cut < 2 * n);
}

/* --- by hand ------------------------------------------------------------------------------------------------------------------------ */

/* Tensors of 40, 4, 4 and 40 elements: the first and the last are large, and element by element. */
static kd_graph *four(made *m, uint32_t with) {
  static const int64_t size[4] = { 40, 4, 4, 40 };
  begin(m, 7, KD_F32, with);
  m->n = 4;
  for (int i = 0; i < 4; i++) m->x[i] = vector(m, size[i]);
  for (int i = 0; i < 4; i++) m->g[i] = scaled(m, m->x[i], sum(m, op2(m, KD_OP_MUL, m->x[i], m->x[i])));
  finish(m);
  return m->b.g;
}

static uint32_t count(const kd_graph *g, kd_op op, int64_t size) {
  const bool *live = kd__fuse_live(g);
  uint32_t n = 0;
  for (size_t i = 1; i < g->node.n; i++) n += live[i] && g->node.v[i].op == op && kd__type_count(kd__type_of(g, g->node.v[i].out)) == size;
  return n;
}

static void large_pieces_go_alone(void **state) {
  (void)state;
  made m;
  rig r;
  kd_graph *g = kd__fuse_pieces(four(&m, MOMENTUM), 40);
  assert_int_equal(count(g, KD_OP_SUB, 40), 2);
  assert_int_equal(count(g, KD_OP_SUB, 8), 1);   /* the small ones stay together */
  assert_int_equal(count(g, KD_OP_SUB, 88) + count(g, KD_OP_SUB, 4), 0);
  g = kd__pass_fuse(g);
  rig_plan(&r, &m.a, g, m.slot, m.nslot, RIG_TOGETHER);
  assert_true(rig_run(&r, 5e-4, "four tensors"));
  assert_int_equal(r.plan->copied, 0);           /* every part in its slot, those of the momentum too */
  assert_int_equal(rig_count(&r, KD_OP_COUNT), 0);
  assert_true(r.plan->arena_size <= 512);             /* of the gradients, only those of the small ones */
  kd__arena_free(&m.a);
}

static void what_must_stay_whole(void **state) {
  (void)state;
  static const uint32_t with[] = { NORM, FACTOR, WHOLE, ACROSS };
  made m;
  for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
    kd_graph *g = four(&m, with[i]);
    if (with[i] == ACROSS) assert_int_equal(count(kd__fuse_pieces(g, 40), KD_OP_SUB, 40), 0);
    else if (kd__fuse_pieces(g, 40) != g) fail_msg("cut in spite of %u", with[i]);
    assert_ptr_equal(kd__fuse_pieces(g, 41), g);
    kd__arena_free(&m.a);
  }
}

/* The last tensor's old value is read by something that comes of its gradient: it would have to be copied. */
static void old_values_read_behind(void **state) {
  (void)state;
  made m;
  kd_graph *g = kd__fuse_pieces(four(&m, READ), 40);
  assert_int_equal(count(g, KD_OP_SUB, 40), 1);
  assert_int_equal(count(g, KD_OP_SUB, 48), 1);
  kd__arena_free(&m.a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_updates), cmocka_unit_test(large_pieces_go_alone), cmocka_unit_test(what_must_stay_whole), cmocka_unit_test(old_values_read_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
