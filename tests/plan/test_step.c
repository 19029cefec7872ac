/* test_step.c: what whole training steps become, as golden plans (step_*.plan; KD_UPDATE_GOLDEN=1 rewrites them), and what must hold of them. */
#include "compiler/autodiff/autodiff.h"
#include "compiler/pass/pass.h"
#include "tests/plan/rig.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* --- building --------------------------------------------------------------------------------------------------------------------- */

enum { MAX_PARAMS = 16, PARAMS = 0, OTHERS = 100 };      /* blocks: parameters lie in block 0, every other slot in its own */
typedef struct step {
  kd__arena a;
  kd_graph *g;
  kd_build b;
  kd_slot slot[64];
  kd_random_slot data[64];
  uint32_t nslot;
  int64_t end;                                   /* of block 0 */
  kd_value param[MAX_PARAMS];
  int64_t param_slot[MAX_PARAMS];
  int nparam;
} step;

static void begin(step *s) {
  *s = (step){ .end = 0 };
  kd__arena_init(&s->a, NULL, NULL);
  s->g = kd__graph_new(&s->a);
  s->b = (kd_build){ s->g, 1 };
}

static kd_value add_slot(step *s, const char *name, bool param, const int64_t *dim, int rank) {
  kd_type t = { .dtype = KD_F32, .rank = (uint8_t)rank };
  if (rank) memcpy(t.dim, dim, sizeof *dim * (size_t)rank);
  int64_t n = kd__type_count(&t);
  float *p = kd__arena_get(&s->a, sizeof *p * (size_t)n);
  for (int64_t i = 0; i < n; i++) p[i] = (float)(kd__mix(s->nslot, (uint64_t)i) % 2001) / 1000 - 1;
  s->slot[s->nslot] = (kd_slot){ .name = name, .kind = param ? KD_SLOT_PARAM : KD_SLOT_STATE, .type = t, .block = param ? PARAMS : OTHERS + s->nslot };
  if (param) s->slot[s->nslot].offset = s->end, s->end += 4 * n;
  s->data[s->nslot] = (kd_random_slot){ t, p };
  return kd__b_input(&s->b, s->nslot++, &t);
}

static kd_value param(step *s, const char *name, const int64_t *dim, int rank) {
  s->param_slot[s->nparam] = s->nslot;
  return s->param[s->nparam++] = add_slot(s, name, true, dim, rank);
}

static kd_value op2(step *s, kd_op op, kd_value x, kd_value y) { return kd__b_op2(&s->b, op, x, y); }
static kd_value spread(step *s, kd_value v, kd_value like, int64_t axis) {
  kd_type t = *kd__type_of(s->g, like);
  return kd__b_broadcast(&s->b, v, t.dim, t.rank, &axis);
}
static kd_value all_sum(step *s, kd_value v) {
  int64_t axes[KD_MAX_RANK];
  int rank = kd__type_of(s->g, v)->rank;
  for (int d = 0; d < rank; d++) axes[d] = d;
  return kd__b_reduce(&s->b, KD_OP_SUM, v, axes, rank);
}
static kd_value times(step *s, kd_value v, double k) { return op2(s, KD_OP_MUL, v, kd__b_const_like(&s->b, k, v)); }

/* Gradients of the loss, then momentum SGD over all parameters as one vector: v = 0.9 v + g, p = p - lr v. */
static void sgd(step *s, kd_value loss) {
  kd_value grad[MAX_PARAMS], part[MAX_PARAMS], gpart[MAX_PARAMS];
  int64_t total = s->end / 4, at = 0, one = 1;
  assert_true(kd__gradients(s->g, loss, s->param, (size_t)s->nparam, grad, 1, NULL));
  for (int i = 0; i < s->nparam; i++) {
    int64_t n = kd__type_count(kd__type_of(s->g, s->param[i]));
    assert_int_not_equal(grad[i], 0);
    part[i] = kd__b_reshape(&s->b, s->param[i], &n, 1), gpart[i] = kd__b_reshape(&s->b, grad[i], &n, 1);
  }
  kd_value p = kd__b_concat(&s->b, part, s->nparam, 0), g = kd__b_concat(&s->b, gpart, s->nparam, 0);
  int64_t vslot = s->nslot;
  kd_value v = add_slot(s, "v", false, &total, 1), lr = add_slot(s, "lr", false, NULL, 0);
  v = op2(s, KD_OP_ADD, times(s, v, 0.9), g);
  kd__graph_write(s->g, vslot, v, 1);
  p = op2(s, KD_OP_SUB, p, op2(s, KD_OP_MUL, kd__b_broadcast(&s->b, lr, &total, 1, NULL), v));
  for (int i = 0; i < s->nparam; i++) {
    kd_type t = *kd__type_of(s->g, s->param[i]);
    int64_t n = kd__type_count(&t);
    kd__graph_write(s->g, s->param_slot[i], kd__b_reshape(&s->b, kd__b_slice(&s->b, p, &at, &n, &one), t.dim, t.rank), 1);
    at += n;
  }
  kd__graph_result(s->g, "loss", loss);
}

/* --- golden plans ------------------------------------------------------------------------------------------------------------------- */

static void check_golden(const char *name, const char *now) {
  char path[400];
  snprintf(path, sizeof path, "%s/%s.plan", KD_TEST_DIR, name);
  if (getenv("KD_UPDATE_GOLDEN")) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(now, f);
    fclose(f);
    return;
  }
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("%s is not there: KD_UPDATE_GOLDEN=1 makes it", path);
  kd__buf want = { 0 };
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) kd__buf_add(&want, part, n);
  fclose(f);
  if (strcmp(want.p, now) != 0) fail_msg("%s differs from what is planned now:\n%s", path, now);
  kd__buf_free(&want);
}

/* Through the passes to a plan, run on twins and on the fast kernels. */
static void plan(step *s, rig *r, const char *name) {
  kd_graph *g = kd__pass_all(s->g, NULL, NULL);
  rig_plan(r, &s->a, g, s->data, s->nslot, RIG_APART);
  memcpy(r->slot, s->slot, sizeof *r->slot * s->nslot);
  r->plan = kd__plan_make(&s->a, g, r->slot, s->nslot, name, NULL, NULL);
  check_golden(name, rig_print(r));
  assert_true(rig_run(r, 0, name));
  assert_true(rig_run(r, 1e-3, name));
}

static uint32_t total(const rig *r, const char *list) {
  uint32_t n = 0;
  for (const char *p = list; *p;) {
    size_t len = strcspn(p, " ");
    kd_op op;
    assert_true(kd__op_parse(p, len, &op));
    n += rig_count(r, op);
    p += len + (p[len] == ' ');
  }
  return n;
}

/* A small net with one hidden layer: three parameters side by side. Gradients are made where the flat gradient lies, the flat parameter is the
 * parameters' own memory, and the update writes it in place. */
static void three_parameters(void **state) {
  (void)state;
  step s;
  rig r;
  begin(&s);
  kd_value x = add_slot(&s, "x", false, (int64_t[]){ 8, 4 }, 2);
  kd_value w = param(&s, "W", (int64_t[]){ 4, 3 }, 2), b = param(&s, "b", (int64_t[]){ 3 }, 1), u = param(&s, "U", (int64_t[]){ 3, 2 }, 2);
  kd_value m = kd__b_matmul(&s.b, x, w), h = kd__b_op1(&s.b, KD_OP_RELU, op2(&s, KD_OP_ADD, m, spread(&s, b, m, 1)));
  kd_value y = kd__b_matmul(&s.b, h, u);
  sgd(&s, times(&s, all_sum(&s, op2(&s, KD_OP_MUL, y, y)), 0.0625));
  plan(&s, &r, "step_sgd");
  assert_int_equal(rig_count(&r, KD_OP_COUNT), 0);
  assert_int_equal(r.plan->copied, 0);
  assert_int_equal(total(&r, "matmul"), 5);      /* two forward, three backward: none for x */
  assert_int_equal(total(&r, "sum"), 0);         /* those of the loss and the bias are parts of groups */
  assert_int_equal(total(&r, "concat"), 0);
  assert_int_equal(r.plan->nwrites, 4);
  kd__arena_free(&s.a);
}

enum { BATCH = 4, CH = 8, SIDE = 6 };
static const int64_t nhw[3] = { 0, 2, 3 };

static kd_value conv(step *s, const char *name, kd_value x) {
  int64_t one[2] = { 1, 1 }, ch = kd__type_of(s->g, x)->dim[1];
  kd_value w = param(s, name, (int64_t[]){ CH, ch, 3, 3 }, 4);
  kd_attr attr[] = { kd__al(one, 2), kd__al(one, 2), kd__al(one, 2), kd__al(one, 2), kd__ai(1) };
  return kd__graph_add(s->g, KD_OP_CONV, (kd_value[]){ x, w }, 2, attr, 1, NULL);
}

/* As the standard library has it: x * scale + (bias - m * scale), running statistics updated. */
static kd_value batch_norm(step *s, const char *const name[4], kd_value x) {
  const int64_t c = CH;
  kd_value weight = param(s, name[0], &c, 1), bias = param(s, name[1], &c, 1), m = kd__b_reduce(&s->b, KD_OP_MOMENTS, x, nhw, 3), v = m + 1;
  for (int i = 0; i < 2; i++) {
    int64_t slot = s->nslot;
    kd_value old = add_slot(s, name[2 + i], false, &c, 1), now = kd__b_op1(&s->b, KD_OP_STOP, i ? v : m);
    old = times(s, old, 0.9), now = times(s, now, 0.1);
    kd__graph_write(s->g, slot, op2(s, KD_OP_ADD, old, now), 1);
  }
  kd_value scale = op2(s, KD_OP_MUL, weight, kd__b_op1(&s->b, KD_OP_RSQRT, op2(s, KD_OP_ADD, v, kd__b_const_like(&s->b, 1e-5, v))));
  kd_value shift = op2(s, KD_OP_SUB, bias, op2(s, KD_OP_MUL, m, scale));
  kd_value y = op2(s, KD_OP_MUL, x, spread(s, scale, x, 1)), up = spread(s, shift, x, 1);
  return op2(s, KD_OP_ADD, y, up);
}

/* Is the 4-d tensor laid out with channels innermost? */
static bool channels_innermost(const kd_plan_tensor *t) {
  return t->stride[1] == 1 && t->stride[3] == t->type.dim[1] && t->stride[2] == t->type.dim[1] * t->type.dim[3];
}

/* Stem, a residual block and a classifier. */
static void residual_block(void **state) {
  (void)state;
  static const char *const n0[] = { "bn0.w", "bn0.b", "bn0.m", "bn0.v" }, *const n1[] = { "bn1.w", "bn1.b", "bn1.m", "bn1.v" },
                    *const n2[] = { "bn2.w", "bn2.b", "bn2.m", "bn2.v" };
  step s;
  rig r;
  begin(&s);
  kd_value x = add_slot(&s, "x", false, (int64_t[]){ BATCH, 1, SIDE, SIDE }, 4);
  kd_value stem = kd__b_op1(&s.b, KD_OP_RELU, batch_norm(&s, n0, conv(&s, "conv0", x)));
  kd_value h = kd__b_op1(&s.b, KD_OP_RELU, batch_norm(&s, n1, conv(&s, "conv1", stem)));
  kd_value out = kd__b_op1(&s.b, KD_OP_RELU, op2(&s, KD_OP_ADD, batch_norm(&s, n2, conv(&s, "conv2", h)), stem));
  kd_value pool = times(&s, kd__b_reduce(&s.b, KD_OP_SUM, out, (int64_t[]){ 2, 3 }, 2), 1.0 / (SIDE * SIDE));
  kd_value target = add_slot(&s, "target", false, (int64_t[]){ BATCH, 3 }, 2), logits = kd__b_matmul(&s.b, pool, param(&s, "fc", (int64_t[]){ CH, 3 }, 2));
  kd_value logp = kd__b_reduce(&s.b, KD_OP_LOG_SOFTMAX, logits, (int64_t[]){ 1 }, 1);
  sgd(&s, times(&s, all_sum(&s, op2(&s, KD_OP_MUL, logp, target)), -1.0 / BATCH));
  plan(&s, &r, "step_residual");
  /* No copies at all, and channels innermost in every image but the input with its one channel. */
  assert_int_equal(rig_count(&r, KD_OP_COUNT), 0);
  uint32_t images = 0, whole = 0;
  for (uint32_t i = 0; i < r.plan->ncall; i++) {
    const kd_plan_call *c = &r.plan->call[i];
    const kd_plan_tensor *t = &r.plan->tensor[c->out[0]];
    bool image = t->type.rank == 4 && t->type.dim[0] == BATCH;
    if (image && !channels_innermost(t)) fail_msg("call %u does not lie nhwc:\n%s", i, rig_print(&r));
    images += image;
    for (uint32_t k = 0; k < c->nin; k++) whole += !image && r.plan->tensor[c->in[k]].type.rank == 4 && r.plan->tensor[c->in[k]].type.dim[0] == BATCH;
  }
  print_message("%u calls, %u of them make an image, %u more operands read one\n", r.plan->ncall, images, whole);
  assert_int_equal(total(&r, "conv conv_data conv_weight"), 3 + 2 + 3);
  kd__arena_free(&s.a);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(three_parameters), cmocka_unit_test(residual_block) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
