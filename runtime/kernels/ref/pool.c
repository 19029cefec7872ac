/* pool.c: twins of the pooling operators. */
#include "runtime/kernels/ref/space.h"
#include <math.h>

/* Attributes: window, stride, pad_lo, pad_hi. */
static kd__ref_window window_of(const kd_call *c) {
  kd__ref_window r = { { 1, 1, 1 }, { 1, 1, 1 }, { 0, 0, 0 }, { 1, 1, 1 } };
  for (uint32_t i = 0; i < c->attr[0].n; i++) {
    r.size[i] = c->attr[0].u.list[i];
    r.stride[i] = c->attr[1].u.list[i];
    r.pad[i] = c->attr[2].u.list[i];
  }
  return r;
}

/* A window that lies in the padding alone gives the smallest value of the type and position 0. Positions that nobody wants are no second result. */
void kd__ref_max_pool(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_vol in = kd__ref_volume(&c->in[0]), top = kd__ref_volume(&c->out[0]), place = kd__ref_volume(&c->out[c->nout - 1]);
  kd__ref_window w = window_of(c);
  int64_t n = kd__ref_count(top.dim, 5), taps = kd__ref_count(w.size, 3), i[5] = { 0 };
  kd__wide least = kd__ref_real(in.t) ? -(kd__wide)INFINITY : in.t->dtype == KD_I64 ? (kd__wide)INT64_MIN : 0;
  for (int64_t e = 0; e < n; e++, kd__ref_next(i, top.dim, 5)) {
    kd__wide best = least;
    int64_t at = 0, k[3] = { 0 }, s[3];
    bool found = false;
    for (int64_t tap = 0; tap < taps; tap++, kd__ref_next(k, w.size, 3)) {
      if (!kd__ref_under(&w, i + 2, k, in.dim + 2, s)) continue;
      kd__wide v = kd__ref_loadw(in.t, kd__ref_vat(&in, i[0], i[1], s));
      if (found && (best != best || !(v != v || v > best))) continue;
      best = v;
      at = (s[0] * in.dim[3] + s[1]) * in.dim[4] + s[2];
      found = true;
    }
    kd__ref_storew(top.t, kd__ref_vat(&top, i[0], i[1], i + 2), best);
    if (c->nout > 1) kd__ref_storei(place.t, kd__ref_vat(&place, i[0], i[1], i + 2), at);
  }
}

void kd__ref_sum_pool(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_vol in = kd__ref_volume(&c->in[0]), out = kd__ref_volume(&c->out[0]);
  kd__ref_window w = window_of(c);
  int64_t n = kd__ref_count(out.dim, 5), taps = kd__ref_count(w.size, 3), i[5] = { 0 };
  for (int64_t e = 0; e < n; e++, kd__ref_next(i, out.dim, 5)) {
    double sum = 0;
    int64_t k[3] = { 0 }, s[3];
    for (int64_t tap = 0; tap < taps; tap++, kd__ref_next(k, w.size, 3))
      if (kd__ref_under(&w, i + 2, k, in.dim + 2, s)) sum += kd__ref_load(in.t, kd__ref_vat(&in, i[0], i[1], s));
    kd__ref_store(out.t, kd__ref_vat(&out, i[0], i[1], i + 2), sum);
  }
}

void kd__ref_sum_pool_data(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_vol g = kd__ref_volume(&c->in[0]), out = kd__ref_volume(&c->out[0]);
  kd__ref_window w = window_of(c);
  int64_t n = kd__ref_count(out.dim, 5), taps = kd__ref_count(w.size, 3), i[5] = { 0 };
  for (int64_t e = 0; e < n; e++, kd__ref_next(i, out.dim, 5)) {
    double sum = 0;
    int64_t k[3] = { 0 }, t[3];
    for (int64_t tap = 0; tap < taps; tap++, kd__ref_next(k, w.size, 3))
      if (kd__ref_over(&w, i + 2, k, g.dim + 2, t)) sum += kd__ref_load(g.t, kd__ref_vat(&g, i[0], i[1], t));
    kd__ref_store(out.t, kd__ref_vat(&out, i[0], i[1], i + 2), sum);
  }
}
