/* conv.c: cross-correlation and its two adjoints. Each result element is one sum in double. */
#include "runtime/kernels/ref/space.h"

/* Attributes: stride, pad_lo, pad_hi, dilation, groups; pad_hi only decides the result's size, which is given. */
static kd__ref_window window_of(const kd_call *c, const kd__ref_vol *w) {
  kd__ref_window r = { { 1, 1, 1 }, { 1, 1, 1 }, { 0, 0, 0 }, { 1, 1, 1 } };
  for (uint32_t i = 0; i < c->attr[0].n; i++) {
    r.size[i] = w->dim[2 + i];
    r.stride[i] = c->attr[0].u.list[i];
    r.pad[i] = c->attr[1].u.list[i];
    r.dilation[i] = c->attr[3].u.list[i];
  }
  return r;
}

/* What comes after the sum: a bias of the channel, another operand, relu. */
static double finish(const kd_call *c, double v, const int64_t *i) {
  if (c->op != KD_OP_CONV_POST) return v;
  uint32_t next = 2;
  if (c->attr[5].u.i) {
    const kd_tensor *b = &c->in[next++];
    v += kd__ref_load(b, i[1] * b->stride[0]);
  }
  if (next < c->nin) {
    kd__ref_vol add = kd__ref_volume(&c->in[next]);
    v += kd__ref_load(add.t, kd__ref_vat(&add, i[0], i[1], i + 2));
  }
  return c->attr[6].u.i && v < 0 ? 0 : v;
}

void kd__ref_conv_post(const kd_call *c, const kd_exec *x) { kd__ref_conv(c, x); }
void kd__ref_conv(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_vol in = kd__ref_volume(&c->in[0]), w = kd__ref_volume(&c->in[1]), out = kd__ref_volume(&c->out[0]);
  kd__ref_window win = window_of(c, &w);
  int64_t per_in = w.dim[1], per_out = out.dim[1] / c->attr[4].u.i;
  int64_t n = kd__ref_count(out.dim, 5), taps = kd__ref_count(win.size, 3), i[5] = { 0 };
  for (int64_t e = 0; e < n; e++, kd__ref_next(i, out.dim, 5)) {
    double sum = 0;
    int64_t first = i[1] / per_out * per_in, k[3] = { 0 }, s[3];
    for (int64_t tap = 0; tap < taps; tap++, kd__ref_next(k, win.size, 3)) {
      if (!kd__ref_under(&win, i + 2, k, in.dim + 2, s)) continue;
      for (int64_t ch = 0; ch < per_in; ch++)
        sum += kd__ref_load(in.t, kd__ref_vat(&in, i[0], first + ch, s)) * kd__ref_load(w.t, kd__ref_vat(&w, i[1], ch, k));
    }
    kd__ref_store(out.t, kd__ref_vat(&out, i[0], i[1], i + 2), finish(c, sum, i));
  }
}

void kd__ref_conv_data(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_vol g = kd__ref_volume(&c->in[0]), w = kd__ref_volume(&c->in[1]), out = kd__ref_volume(&c->out[0]);
  kd__ref_window win = window_of(c, &w);
  int64_t per_in = w.dim[1], per_out = g.dim[1] / c->attr[4].u.i;
  int64_t n = kd__ref_count(out.dim, 5), taps = kd__ref_count(win.size, 3), i[5] = { 0 };
  for (int64_t e = 0; e < n; e++, kd__ref_next(i, out.dim, 5)) {
    double sum = 0;
    int64_t first = i[1] / per_in * per_out, k[3] = { 0 }, t[3];
    for (int64_t tap = 0; tap < taps; tap++, kd__ref_next(k, win.size, 3)) {
      if (!kd__ref_over(&win, i + 2, k, g.dim + 2, t)) continue;
      for (int64_t o = first; o < first + per_out; o++)
        sum += kd__ref_load(g.t, kd__ref_vat(&g, i[0], o, t)) * kd__ref_load(w.t, kd__ref_vat(&w, o, i[1] % per_in, k));
    }
    kd__ref_store(out.t, kd__ref_vat(&out, i[0], i[1], i + 2), sum);
  }
}

void kd__ref_conv_weight(const kd_call *c, const kd_exec *x) {
  (void)x;
  kd__ref_vol in = kd__ref_volume(&c->in[0]), g = kd__ref_volume(&c->in[1]), out = kd__ref_volume(&c->out[0]);
  kd__ref_window win = window_of(c, &out);
  int64_t per_in = out.dim[1], per_out = g.dim[1] / c->attr[4].u.i;
  int64_t n = kd__ref_count(out.dim, 5), places = kd__ref_count(g.dim + 2, 3), i[5] = { 0 };
  for (int64_t e = 0; e < n; e++, kd__ref_next(i, out.dim, 5)) {
    double sum = 0;
    int64_t ch = i[0] / per_out * per_in + i[1], t[3] = { 0 }, s[3];
    for (int64_t place = 0; place < places; place++, kd__ref_next(t, g.dim + 2, 3)) {
      if (!kd__ref_under(&win, t, i + 2, in.dim + 2, s)) continue;
      for (int64_t b = 0; b < in.dim[0]; b++)
        sum += kd__ref_load(in.t, kd__ref_vat(&in, b, ch, s)) * kd__ref_load(g.t, kd__ref_vat(&g, b, i[0], t));
    }
    kd__ref_store(out.t, kd__ref_vat(&out, i[0], i[1], i + 2), sum);
  }
}
