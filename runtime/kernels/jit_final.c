/* jit_final.c: see jit_final.h. Slots hold double precision, or i64 for reductions of i64; truth is 1. */
#include "runtime/kernels/jit_final.h"
#include "runtime/kernels/vmath.h"

typedef int64_t __attribute__((may_alias)) whole;

static bool is_max(const kd_jit_final *f) { return f->op == KD_OP_REDUCE_MAX || f->op == KD_OP_ANY; }
static bool adds(const kd_jit_final *f) { return f->op == KD_OP_SUM || f->op == KD_OP_MOMENTS; }
static int64_t parts(const kd_jit_final *f) { return f->op == KD_OP_MOMENTS ? 3 : 1; }

static void clear_lanes(const kd_jit_final *f, float *lane) {
  float none = adds(f) ? 0.0f : is_max(f) ? -KD__INF : KD__INF;
  for (int64_t k = 0; k < f->count * parts(f); k++) lane[f->lane + k] = none;
}
void kd__jit_final_begin(const kd_jit_code *k, double *slot, float *lane) {
  for (uint32_t i = 0; i < k->nfinal; i++) {
    const kd_jit_final *f = &k->final[i];
    if (f->dtype == KD_I64) {
      whole *p = (whole *)(void *)(slot + f->slot), none = adds(f) ? 0 : is_max(f) ? INT64_MIN : INT64_MAX;
      for (int64_t j = 0; j < f->count; j++) p[j] = none;
    } else {
      double none = adds(f) ? 0.0 : is_max(f) ? (double)-KD__INF : (double)KD__INF;
      for (int64_t j = 0; j < f->count * parts(f); j++) slot[f->slot + j] = none;
    }
    if (f->tiled) clear_lanes(f, lane);
  }
}

/* Mean and sum of squared distances of na and nb elements (Chan). */
KD_INLINE void merge(double *n, double *mean, double *square, double nb, double mb, double sb) {
  double all = *n + nb, d = mb - *mean, share = nb / all;
  *square += sb + d * d * *n * share;
  *mean += d * share;
  *n = all;
}
KD_CLONES static void tile_moments(int64_t count, double nb, double *restrict slot, const float *restrict lane) {
  for (int64_t j = 0; j < count; j++) {
    double s = (double)lane[count + j] / nb;
    merge(&slot[j], &slot[count + j], &slot[2 * count + j], nb, (double)lane[j] + s, (double)lane[2 * count + j] - s * s * nb);
  }
}
KD_CLONES static void tile_sum(int64_t count, double *restrict slot, float *restrict lane) {
  for (int64_t j = 0; j < count; j++) slot[j] += (double)lane[j], lane[j] = 0;
}
void kd__jit_final_tile(const kd_jit_code *k, int64_t units, double *slot, float *lane) {
  for (uint32_t i = 0; i < k->nfinal; i++) {
    const kd_jit_final *f = &k->final[i];
    double *s = slot + f->slot;
    float *l = lane + f->lane;
    if (!f->tiled) continue;
    if (f->op == KD_OP_MOMENTS) tile_moments(f->count, (double)(units * f->per_unit), s, l);
    else if (f->op == KD_OP_SUM) tile_sum(f->count, s, l);
    else {
      for (int64_t j = 0; j < f->count; j++) s[j] = is_max(f) ? kd__maxd((double)l[j], s[j]) : kd__mind((double)l[j], s[j]);
      clear_lanes(f, lane);
    }
  }
}

/* b joins a. */
static void join(const kd_jit_final *f, double *a, const double *b) {
  int64_t n = f->count;
  whole *p = (whole *)(void *)a;
  const whole *q = (const whole *)(const void *)b;
  if (f->dtype == KD_I64)
    for (int64_t j = 0; j < n; j++) p[j] = adds(f) ? (int64_t)((uint64_t)p[j] + (uint64_t)q[j]) : (is_max(f) ? q[j] > p[j] : q[j] < p[j]) ? q[j] : p[j];
  else if (f->op == KD_OP_MOMENTS && f->tiled)
    for (int64_t j = 0; j < n; j++) merge(&a[j], &a[n + j], &a[2 * n + j], b[j], b[n + j], b[2 * n + j]);
  else if (adds(f))
    for (int64_t j = 0; j < n * parts(f); j++) a[j] += b[j];
  else
    for (int64_t j = 0; j < n; j++) a[j] = is_max(f) ? kd__maxd(b[j], a[j]) : kd__mind(b[j], a[j]);
}

static double moment(const kd_jit_final *f, const double *s, int64_t j, bool spread) {
  double n = s[j], a = s[f->count + j], b = s[2 * f->count + j];
  double v = f->tiled ? (spread ? b / n : a) : spread ? b / n - (a / n) * (a / n) : a / n;
  return spread && v < 0 ? 0 : v;
}
static void put(const kd_jit_store *t, const kd_jit_final *f, const double *s, int64_t j, void *to, int64_t at) {
  double v = f->op == KD_OP_MOMENTS ? moment(f, s, j, t->spread) : s[j];
  switch ((kd_dtype)t->dtype) {
    case KD_F32: ((float *)to)[at] = (float)v; break;
    case KD_F64: ((double *)to)[at] = v; break;
    case KD_I64: ((int64_t *)to)[at] = ((const whole *)(const void *)s)[j]; break;
    default: ((uint8_t *)to)[at] = v > 0;
  }
}
static void store(const kd_jit_store *t, const kd_jit_final *f, const double *s, void *to) {
  int64_t pos[KD_GROUP_AXES] = { 0 }, from = 0, at = 0;
  for (;;) {
    put(t, f, s, from, to, at);
    int d = (int)t->rank - 1;
    for (; d >= 0; d--) {
      from += t->from[d], at += t->to[d];
      if (++pos[d] < t->dim[d]) break;
      from -= t->dim[d] * t->from[d], at -= t->dim[d] * t->to[d], pos[d] = 0;
    }
    if (d < 0) return;
  }
}

void kd__jit_final_end(const kd_jit_code *k, int64_t chunks, double *slot, void *const *operand) {
  for (int64_t c = 1; c < chunks; c++)
    for (uint32_t i = 0; i < k->nfinal; i++) join(&k->final[i], slot + k->final[i].slot, slot + c * k->slots + k->final[i].slot);
  for (uint32_t i = 0; i < k->nstore; i++) {
    const kd_jit_store *t = &k->store[i];
    store(t, &k->final[t->final], slot + k->final[t->final].slot, operand[t->operand]);
  }
}
