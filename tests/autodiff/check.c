/* check.c: see check.h. */
#include "tests/autodiff/check.h"
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

void lab_begin(lab *l, uint64_t seed) {
  *l = (lab){ .draws = seed << 32 };
  kd__arena_init(&l->arena, NULL, NULL);
  l->g = kd__graph_new(&l->arena);
  l->b = (kd_build){ l->g, 0 };
}

void lab_end(lab *l) { kd__arena_free(&l->arena); }

static double draw(lab *l) { return (double)(kd__mix(l->draws++, 17) >> 11) * 0x1p-53; }

static kd_value add_input(lab *l, kd_dtype t, const int64_t *dim, int rank, void **data, int64_t *count) {
  kd_type type = { .dtype = (uint8_t)t, .rank = (uint8_t)rank };
  for (int i = 0; i < rank; i++) type.dim[i] = dim[i];
  *count = kd__type_count(&type);
  *data = kd__arena_get(&l->arena, kd__dtype_size(t) * (size_t)(*count + 1));
  assert_true(l->nin < LAB_MAX);
  l->slot[l->nin] = (kd_eval_slot){ (int64_t)l->nin, *data };
  l->in[l->nin] = kd__b_input(&l->b, (int64_t)l->nin, &type);
  assert_int_not_equal(l->in[l->nin], 0);
  return l->in[l->nin++];
}

kd_value lab_input(lab *l, kd_dtype t, double lo, double hi, const int64_t *dim, int rank) {
  void *data;
  int64_t n;
  kd_value v = add_input(l, t, dim, rank, &data, &n);
  for (int64_t i = 0; i < n; i++) {
    double d = lo + (hi - lo) * draw(l);
    if (t == KD_F64) ((double *)data)[i] = d;
    else if (t == KD_F32) ((float *)data)[i] = (float)d;
    else if (t == KD_I64) ((int64_t *)data)[i] = (int64_t)floor(d);
    else ((uint8_t *)data)[i] = (uint8_t)floor(d);
  }
  return v;
}

kd_value lab_values(lab *l, const double *v, const int64_t *dim, int rank) {
  void *data;
  int64_t n;
  kd_value r = add_input(l, KD_F64, dim, rank, &data, &n);
  if (n) memcpy(data, v, sizeof *v * (size_t)n);
  return r;
}

kd_value lab_total(lab *l, kd_value v) {
  int64_t axes[KD_MAX_RANK];
  int rank = kd__type_of(l->g, v)->rank;
  for (int i = 0; i < rank; i++) axes[i] = i;
  return rank ? kd__b_reduce(&l->b, KD_OP_SUM, v, axes, rank) : v;
}

kd_value lab_weighted(lab *l, kd_value v) {
  kd_type t = *kd__type_of(l->g, v);
  return lab_total(l, kd__b_op2(&l->b, KD_OP_MUL, lab_input(l, KD_F64, -1, 1, t.dim, t.rank), v));
}

double lab_at(lab *l, kd_value v, int64_t i) {
  kd_eval e;
  assert_true(kd_eval_run(&e, l->g, l->slot, l->nin, &v, 1, KD_EVAL_DENSE));
  double r = kd_eval_at(&e, v, i);
  kd_eval_free(&e);
  return r;
}

static size_t input_number(const lab *l, kd_value v) {
  for (size_t i = 0; i < l->nin; i++)
    if (l->in[i] == v) return i;
  fail_msg("not an input");
  return 0;
}

bool lab_agrees(lab *l, kd_value f, const kd_value *wrt, size_t n, const kd_value *grad, double h, double tolerance, const char *what) {
  for (size_t k = 0; k < n; k++) {
    int64_t count = kd__type_count(kd__type_of(l->g, wrt[k]));
    double *x = (double *)(uintptr_t)l->slot[input_number(l, wrt[k])].data;
    kd_eval e;
    if (grad[k] && !kd_eval_run(&e, l->g, l->slot, l->nin, &grad[k], 1, KD_EVAL_STRANGE)) fail_msg("%s: the gradient cannot be computed", what);
    bool good = true;
    for (int64_t i = 0; i < count && good; i++) {
      double at = x[i], above, below, got = grad[k] ? kd_eval_at(&e, grad[k], i) : 0;
      x[i] = at + h, above = lab_at(l, f, 0);
      x[i] = at - h, below = lab_at(l, f, 0);
      x[i] = at;
      double want = (above - below) / (2 * h);
      good = fabs(got - want) <= tolerance * (1 + fabs(want));
      if (!good) print_error("%s: operand %zu, element %lld: gradient %.10g, difference quotient %.10g\n", what, k, (long long)i, got, want);
    }
    if (grad[k]) kd_eval_free(&e);
    if (!good) return false;
  }
  return true;
}
