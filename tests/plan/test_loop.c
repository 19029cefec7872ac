/* test_loop.c: loops in plans: beside the oracle, with their gradients, on several threads, in place, and their faults. */
#include "tests/plan/rig.h"
#include "compiler/autodiff/autodiff.h"
#include "compiler/pass/pass.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "tests/eval/loops.h"

/* The sum of the squares of all results that are real. */
static kd_value loss_of(kd_graph *g) {
  kd_build b = { g, 0 };
  kd_value loss = 0;
  for (size_t i = 0; i < g->result.n; i++) {
    kd_value v = g->result.v[i].value;
    kd_type t = *kd__type_of(g, v);
    int64_t axes[KD_MAX_RANK];
    for (int d = 0; d < t.rank; d++) axes[d] = d;
    if (!kd__dtype_real((kd_dtype)t.dtype)) continue;
    kd_value part = kd__b_op2(&b, KD_OP_MUL, v, v);
    if (t.rank) part = kd__b_reduce(&b, KD_OP_SUM, part, axes, t.rank);
    loss = loss ? kd__b_op2(&b, KD_OP_ADD, loss, part) : part;
  }
  return loss;
}

static void print_graph(const kd_graph *g, kd__buf *out) {
  out->n = 0;
  kd__graph_print(g, out);
  kd__buf_putc(out, 0);
}

static void beside_the_oracle(void **state) {
  (void)state;
  for (int i = 0; i < KD_TEST_LOOPS * 6; i++) {
    const kd_test_loop *c = &kd_test_loops[i / 6];
    bool passes = i % 3 != 0, grads = i % 6 >= 3;
    kd__arena a;
    kd__arena_init(&a, NULL, NULL);
    kd_graph *g = kd__graph_read(&a, c->text, strlen(c->text), NULL);
    kd__buf text = { 0 };
    kd_value wrt[4], grad[4];
    size_t n = 0;
    for (size_t k = 1; g->node.v[k].op == KD_OP_INPUT; k++) wrt[n++] = g->node.v[k].out;
    if (grads) assert_true(kd__gradients(g, loss_of(g), wrt, n, grad, 0, NULL));
    for (size_t k = 0; grads && k < n; k++)
      if (grad[k]) kd__graph_write(g, (int64_t)k, grad[k], 0);          /* right into the slot that the loop starts from */
    if (passes) g = kd__pass_all(g, NULL, NULL);
    print_graph(g, &text);
    rig r;
    char what[160];
    snprintf(what, sizeof what, "%s%s%s", c->what, grads ? ", gradients" : "", passes ? ", after passes" : "");
    rig_text(&r, &a, text.p, i % 2 ? RIG_APART : RIG_TOGETHER);
    if (!rig_run(&r, 0, what) || !rig_run(&r, 1e-9, what)) fail_msg("%s:\n%s", text.p, rig_print(&r));
    kd__buf_free(&text);
    kd__arena_free(&a);
  }
}

#define RECURRENCE \
  "%h = input {slot=0, dtype=f32, shape=[40,60]}\n%w = input {slot=1, dtype=f32, shape=[60,60]}\n%x = input {slot=2, dtype=f32, shape=[30,40,60]}\n" \
  "%k = input {slot=3, dtype=i64, shape=[30]}\n" \
  "body b {\n%t = input {slot=0, dtype=i64, shape=[]}\n%h = input {slot=1, dtype=f32, shape=[40,60]}\n%w = input {slot=2, dtype=f32, shape=[60,60]}\n" \
  "%x = input {slot=3, dtype=f32, shape=[30,40,60]}\n%k = input {slot=4, dtype=i64, shape=[30]}\n%i = gather %k, %t {batch=0}\n" \
  "%xt = gather %x, %i {batch=0}\n%hw = matmul %h, %w\n%a = add %hw, %xt\n%n = tanh %a\nwrite 1 %n\nresult \"saved\" %h\n}\n" \
  "%o, %s = loop %h, %w, %x, %k {body=b, times=30, carries=1}\n"

/* The plan of the recurrence and its gradients, where each k is what `index` says of its place. */
typedef struct trial { kd__arena a; rig r; kd_store store; void *arena, *scratch; kd_bound *b; kd_fault fault; } trial;

static void plan_recurrence(trial *t) {
  kd__arena_init(&t->a, NULL, NULL);
  const char *text = RECURRENCE "result \"o\" %o\n";
  kd_graph *g = kd__graph_read(&t->a, text, strlen(text), NULL);
  kd_value wrt[3] = { 1, 2, 3 }, grad[3];
  assert_true(kd__gradients(g, loss_of(g), wrt, 3, grad, 0, NULL));
  for (size_t k = 0; k < 3; k++) kd__graph_result(g, k == 0 ? "dh" : k == 1 ? "dw" : "dx", grad[k]);
  g = kd__pass_all(g, NULL, NULL);
  kd__buf out = { 0 };
  print_graph(g, &out);
  rig_text(&t->r, &t->a, out.p, RIG_APART);
  kd__buf_free(&out);
}

static void bind(trial *t, int threads) {
  kd_kernel_settings set = { .threads = threads, .deterministic = true };
  assert_int_equal(kd__store_open(&t->store, t->r.slot, (uint32_t)t->r.nslot), KD_OK);
  for (size_t i = 0; i < t->r.nslot; i++) {
    const kd_type *s = &t->r.data[i].type;
    memcpy(kd__store_at(&t->store, (uint32_t)i), t->r.data[i].data, kd__dtype_size((kd_dtype)s->dtype) * (size_t)kd__type_count(s));
  }
  t->arena = aligned_alloc(64, ((size_t)t->r.plan->arena_size + 127) / 64 * 64);
  assert_int_equal(kd__plan_bind(t->r.plan, &t->store, t->arena, &set, &t->b), KD_OK);
  t->scratch = aligned_alloc(64, (kd__bound_scratch(t->b) + 127) / 64 * 64);
}

static void run(trial *t, int threads) {
  t->fault = (kd_fault){ 0 };
  kd__bound_run(t->b, &(kd_exec){ .threads = threads, .deterministic = true, .scratch = t->scratch, .fault = &t->fault });
}

static void unbind(trial *t) {
  kd__bound_close(t->b);
  kd__store_close(&t->store);
  free(t->arena);
  free(t->scratch);
}

static void same_bits_on_any_team(void **state) {
  (void)state;
  trial t;
  plan_recurrence(&t);
  static float one[4][30 * 40 * 60];
  for (int threads = 1; threads <= 3; threads++) {
    bind(&t, threads);
    uint32_t calls = kd__plan_calls(t.r.plan);
    double *seconds = calloc(calls, sizeof *seconds);
    int64_t *times = calloc(calls, sizeof *times);
    kd__bound_watch(t.b, &(kd_watch){ .seconds = seconds, .times = times });
    run(&t, threads), run(&t, threads);
    assert_null(kd__bound_faulted(t.b));
    kd__bound_watch(t.b, NULL);
    for (uint32_t i = 0, body = t.r.plan->ncall; i < t.r.plan->ncall; i++) {
      const kd_plan_loop *l = t.r.plan->call[i].loop;
      double inside = 0;
      assert_int_equal(times[i], 2);
      if (!l) continue;
      for (uint32_t k = 0; k < l->body->ncall; k++) {
        assert_int_equal(times[body + k], 2 * l->times);
        inside += seconds[body + k];
      }
      assert_true(inside > 0 && seconds[i] >= inside);
      body += kd__plan_calls(l->body);
    }
    free(seconds);
    free(times);
    for (uint32_t k = 0; k < 4; k++) {
      const kd_tensor *v = kd__bound_result(t.b, k);
      size_t n = 1;
      for (int d = 0; d < v->rank; d++) n *= (size_t)v->dim[d];
      if (threads == 1) memcpy(one[k], v->data, n * sizeof(float));
      else assert_memory_equal(one[k], v->data, n * sizeof(float));
    }
    unbind(&t);
  }
  kd__arena_free(&t.a);
}

/* The gradient of a sequence that the turns index is added to in its place: no turn touches more than its row. */
static void in_place(void **state) {
  (void)state;
  trial t;
  plan_recurrence(&t);
  const kd_plan_loop *back = NULL;
  for (uint32_t i = 0; i < t.r.plan->ncall; i++)
    if (t.r.plan->call[i].op == KD_OP_LOOP) back = t.r.plan->call[i].loop;
  assert_non_null(back);
  uint32_t scatters = 0;
  for (uint32_t i = 0; i < back->body->ncall; i++) {
    const kd_plan_call *c = &back->body->call[i];
    const kd_plan_tensor *to = &back->body->tensor[c->out[0]], *from = c->nin ? &back->body->tensor[c->in[0]] : NULL;
    if (c->op == KD_OP_SCATTER_ADD) scatters++, assert_true(to->place == KD_IN_SLOT && from->place == KD_IN_SLOT && to->slot == from->slot);
    assert_true(c->op == KD_OP_SCATTER_ADD || kd__type_count(&to->type) < 30 * 40 * 60);
  }
  assert_int_equal(scatters, 1);
  kd__arena_free(&t.a);
}

/* A fault in a body is that of the body's call. */
static void faults(void **state) {
  (void)state;
  trial t;
  plan_recurrence(&t);
  bind(&t, 2);
  ((int64_t *)kd__store_at(&t.store, 3))[7] = 30;
  run(&t, 2);
  assert_true(t.fault.set && t.fault.op == KD_OP_GATHER && t.fault.value == 30 && t.fault.limit == 30);
  assert_int_equal(kd__bound_faulted(t.b)->op, KD_OP_GROUP);       /* the gather is part of one */
  ((int64_t *)kd__store_at(&t.store, 3))[7] = 0;
  run(&t, 2);
  assert_null(kd__bound_faulted(t.b));
  kd__buf out = { 0 };
  kd__bound_describe(t.b, &out);
  assert_non_null(strstr(out.p, "[40,60]x[60,60]->[40,60]"));
  assert_null(strstr(out.p, "loop"));
  kd__buf_free(&out);
  unbind(&t);
  kd__arena_free(&t.a);
}

static void text(void **state) {
  (void)state;
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  rig r;
  rig_text(&r, &a, "%a = input {slot=0, dtype=f32, shape=[2]}\n%b = input {slot=1, dtype=f32, shape=[2]}\nbody b {\n%a = input {slot=1, dtype=f32, shape=[2]}\n"
           "%b = input {slot=2, dtype=f32, shape=[2]}\n%p = add %a, %b\n%n = tanh %p\nwrite 1 %n\nresult \"n\" %a\n}\n"
           "%o, %s = loop %a, %b {body=b, times=3, carries=1}\nwrite 0 %o\nresult \"s\" %s\n", RIG_APART);
  assert_string_equal(rig_print(&r),
    "plan \"test\": arena 256 bytes, copied 8 bytes\n"
    "t0 = f32[2] slot s0+0\nt1 = f32[2] slot s1+0\nt2 = f32[2] arena+128\nt3 = f32[3,2] arena+192\nt4 = u8[128] arena+0\nt5 = f32[2] slot s0+0\n"
    "loop t0, t1 -> t2, t3, t4 {body=below times=3 carries=1}\n"
    "  plan \"loop\": arena 128 bytes, copied 0 bytes\n"
    "  t0 = f32[2] slot carry0+0\n  t1 = f32[2] slot in0+0\n  t2 = f32[2] arena+0\n  t3 = f32[2] arena+64\n  t4 = f32[2] slot carry0+0\n"
    "  add t0, t1 -> t2\n  copy t0 -> t3\n  tanh t2 -> t4\n  result \"n\" t3\n  writes carry0\n"
    "copy t2 -> t5\nresult \"s\" t3\nwrites s0\n");
  kd__arena_free(&a);
}

/* Bodies that are not what their call says do not bind. */
static void broken_plans(void **state) {
  (void)state;
  trial t;
  plan_recurrence(&t);
  kd_kernel_settings set = { .threads = 1 };
  assert_int_equal(kd__store_open(&t.store, t.r.slot, (uint32_t)t.r.nslot), KD_OK);
  t.arena = aligned_alloc(64, ((size_t)t.r.plan->arena_size + 127) / 64 * 64);
  kd_plan_call *c = t.r.plan->call;
  while (c->op != KD_OP_LOOP) c++;
  kd_plan_loop good = *c->loop, *bad = (kd_plan_loop *)(uintptr_t)c->loop;
  kd_plan body = *good.body;
  for (int i = 0; i < 5; i++) {
    *bad = good;
    body = *good.body;
    if (i == 0) bad->nslot--;
    if (i == 1) bad->carries = c->nin + 1;
    if (i == 2) bad->times++;
    if (i == 3) body.arena_size += 4096, bad->body = &body;
    if (i == 4) body.nresult++, bad->body = &body;
    assert_int_equal(kd__plan_bind(t.r.plan, &t.store, t.arena, &set, &t.b), KD_E_USAGE);
    assert_null(t.b);
  }
  *bad = good;
  c->loop = NULL;
  assert_int_equal(kd__plan_bind(t.r.plan, &t.store, t.arena, &set, &t.b), KD_E_USAGE);
  kd__store_close(&t.store);
  free(t.arena);
  kd__arena_free(&t.a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(beside_the_oracle), cmocka_unit_test(same_bits_on_any_team), cmocka_unit_test(in_place), cmocka_unit_test(faults), cmocka_unit_test(text),
    cmocka_unit_test(broken_plans),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
