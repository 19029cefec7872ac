/* sort.c: twins of sort and top_k. The place of an element is the number of elements that come before it: quadratic, without any
 * memory, and plainly stable. */
#include "runtime/kernels/ref/ref.h"

/* Does element a (at position i) come before element b (at position j)? */
typedef bool (*before_fn)(kd__wide a, int64_t i, kd__wide b, int64_t j);

static void place(const kd_call *c, int64_t keep, before_fn before) {
  const kd_tensor *a = &c->in[0];
  kd__ref_axes rest, in, vrest, vin, prest, pin;
  kd__ref_split(a, &c->attr[0].u.i, 1, &rest, &in);
  kd__ref_split(&c->out[0], &c->attr[0].u.i, 1, &vrest, &vin);
  kd__ref_split(&c->out[1], &c->attr[0].u.i, 1, &prest, &pin);
  for (int64_t g = 0; g < rest.count; g++) {
    int64_t from = kd__ref_pos(&rest, g), v = kd__ref_pos(&vrest, g), p = kd__ref_pos(&prest, g);
    for (int64_t i = 0; i < in.count; i++) {
      kd__wide e = kd__ref_loadw(a, from + kd__ref_pos(&in, i));
      int64_t k = 0;
      for (int64_t j = 0; j < in.count; j++)
        if (j != i) k += before(kd__ref_loadw(a, from + kd__ref_pos(&in, j)), j, e, i);
      if (k >= keep) continue;
      kd__ref_put(&c->out[0], v + kd__ref_pos(&vin, k), a, from + kd__ref_pos(&in, i));
      kd__ref_storei(&c->out[1], p + kd__ref_pos(&pin, k), i);
    }
  }
}

/* Stable in both directions; NaN last in both. */
static bool ascending(kd__wide a, int64_t i, kd__wide b, int64_t j) {
  if (a != a || b != b) return (a != a) == (b != b) ? i < j : b != b;
  return a < b || (a == b && i < j);
}
static bool descending(kd__wide a, int64_t i, kd__wide b, int64_t j) {
  if (a != a || b != b) return ascending(a, i, b, j);
  return a > b || (a == b && i < j);
}
/* NaN counts as largest. */
static bool largest(kd__wide a, int64_t i, kd__wide b, int64_t j) {
  if (a != a || b != b) return (a != a) == (b != b) ? i < j : a != a;
  return descending(a, i, b, j);
}

void kd__ref_sort(const kd_call *c, const kd_exec *x) {
  (void)x;
  place(c, INT64_MAX, c->attr[1].u.i ? descending : ascending);
}

void kd__ref_top_k(const kd_call *c, const kd_exec *x) {
  (void)x;
  place(c, c->attr[1].u.i, largest);
}
