/* group_list.c: groups as they come from training: for benchmarks, and for the tests. */
#include "tests/kernels/group_list.h"

#define ADD(a, b) b_two(o, KD_OP_ADD, a, b)
#define SUB(a, b) b_two(o, KD_OP_SUB, a, b)
#define MUL(a, b) b_two(o, KD_OP_MUL, a, b)
#define DIV(a, b) b_two(o, KD_OP_DIV, a, b)
#define ONE(op, a) b_one(o, KD_OP_##op, a)
#define SUM(a, over) b_reduce(o, KD_OP_SUM, a, over)
#define MOST(a, over) b_reduce(o, KD_OP_REDUCE_MAX, a, over)
#define C(v) b_const(o, v)
#define F32(axes) b_load(o, KD_F32, axes, NULL)

/* p, momentum and gradient of n parameters; both results in place. */
static void momentum_update(t_group *o, int64_t n) {
  b_begin(o, 1, &n, 1);
  uint32_t p = F32(1), m = F32(1), g = F32(1), lr = F32(0);
  uint32_t d = ADD(g, MUL(C(5e-4), p)), v = ADD(MUL(C(0.9), m), d);
  b_store(o, v, 1, true);
  b_store(o, SUB(p, MUL(lr, v)), 0, true);
}
static void adam_update(t_group *o, int64_t n) {
  b_begin(o, 1, &n, 1);
  uint32_t p = F32(1), m = F32(1), v = F32(1), g = F32(1), lr = F32(0), c1 = F32(0), c2 = F32(0);
  uint32_t m1 = ADD(MUL(C(0.9), m), MUL(C(0.1), g)), v1 = ADD(MUL(C(0.999), v), MUL(C(0.001), MUL(g, g)));
  b_store(o, m1, 1, true);
  b_store(o, v1, 2, true);
  b_store(o, SUB(p, DIV(MUL(lr, MUL(m1, c1)), ADD(ONE(SQRT, MUL(v1, c2)), C(1e-8)))), 0, true);
}

/* Softened rows of two tables, their divergence summed up, and its gradient for the first. */
static void soft_rows(t_group *o, int64_t rows, int64_t n) {
  b_begin(o, 2, (int64_t[]){ rows, n }, 1);
  uint32_t s = F32(3), t = F32(3), k = C(0.25);
  uint32_t x = MUL(s, k), y = MUL(t, k), a = SUB(x, MOST(x, 2)), b = SUB(y, MOST(y, 2)), ea = ONE(EXP, a), eb = ONE(EXP, b), za = SUM(ea, 2), zb = SUM(eb, 2);
  uint32_t q = DIV(eb, zb), d = SUB(SUB(b, ONE(LOG, zb)), SUB(a, ONE(LOG, za)));
  b_store(o, SUM(MUL(q, d), 3), -1, false);
  b_store(o, MUL(SUB(DIV(ea, za), q), C(0.01)), -1, false);
}
static void cross_entropy(t_group *o, int64_t rows, int64_t n) {
  b_begin(o, 2, (int64_t[]){ rows, n }, 1);
  uint32_t s = F32(3), label = b_index(o, 1, n), i = b_load(o, KD_I64, 2, NULL);
  o->ins[i].kind = KD_GROUP_IOTA, o->ins[i].over = 2, o->g.nin--;
  uint32_t a = SUB(s, MOST(s, 2)), e = ONE(EXP, a), z = SUM(e, 2), hit = b_cast(o, KD_F32, b_two(o, KD_OP_EQ, i, label));
  b_store(o, SUM(MUL(hit, SUB(a, ONE(LOG, z))), 3), -1, false);
  b_store(o, MUL(SUB(DIV(e, z), hit), C(1.0 / (double)rows)), -1, false);
}

/* Maps [n, c, p]: sums of squares over c, brought to length 1 over p, compared; and the gradient. */
static void attention(t_group *o, int64_t n, int64_t c, int64_t p) {
  b_begin(o, 3, (int64_t[]){ n, c, p }, 1);
  uint32_t s = F32(7), t = F32(7), a = SUM(MUL(s, s), 2), b = SUM(MUL(t, t), 2);
  uint32_t ra = ONE(RSQRT, SUM(MUL(a, a), 4)), rb = ONE(RSQRT, SUM(MUL(b, b), 4)), u = MUL(a, ra), e = SUB(u, MUL(b, rb));
  b_store(o, SUM(MUL(e, e), 5), -1, false);
  uint32_t dot = SUM(MUL(e, u), 4), g = MUL(MUL(SUB(e, MUL(dot, u)), ra), C(1e-4));
  b_store(o, MUL(s, g), -1, false);
}

/* Batch norm over rows [r, c], channels innermost: moments; normalised with relu; the sums of its gradient; the gradient. */
static void norm_moments(t_group *o, int64_t r, int64_t c) {
  b_begin(o, 2, (int64_t[]){ r, c }, 3);
  uint32_t m = b_reduce(o, KD_OP_MOMENTS, F32(3), 1), v = b_spread(o, m);
  b_store(o, m, -1, false);
  b_store(o, v, -1, false);
}
static void norm_relu(t_group *o, int64_t r, int64_t c) {
  b_begin(o, 2, (int64_t[]){ r, c }, 3);
  uint32_t x = F32(3), m = F32(2), v = F32(2), g = F32(2), b = F32(2);
  b_store(o, ONE(RELU, ADD(MUL(SUB(x, m), MUL(ONE(RSQRT, ADD(MUL(v, v), C(1e-5))), g)), b)), -1, false);
}
static void norm_back_sums(t_group *o, int64_t r, int64_t c) {
  b_begin(o, 2, (int64_t[]){ r, c }, 3);
  uint32_t x = F32(3), y = F32(3), dy = F32(3), m = F32(2), rs = F32(2);
  uint32_t d = b_where(o, b_two(o, KD_OP_LT, C(0), y), dy, C(0));
  b_store(o, SUM(d, 1), -1, false);
  b_store(o, SUM(MUL(d, MUL(SUB(x, m), rs)), 1), -1, false);
}
static void norm_back(t_group *o, int64_t r, int64_t c) {
  b_begin(o, 2, (int64_t[]){ r, c }, 3);
  uint32_t x = F32(3), y = F32(3), dy = F32(3), m = F32(2), rs = F32(2), g = F32(2), s1 = F32(2), s2 = F32(2), k = C(1.0 / (double)r);
  uint32_t d = b_where(o, b_two(o, KD_OP_LT, C(0), y), dy, C(0)), h = MUL(SUB(x, m), rs);
  b_store(o, MUL(MUL(g, rs), SUB(SUB(d, MUL(s1, k)), MUL(h, MUL(s2, k)))), -1, false);
}
static void layer_norm(t_group *o, int64_t r, int64_t c) {
  b_begin(o, 2, (int64_t[]){ r, c }, 1);
  uint32_t x = F32(3), m = b_reduce(o, KD_OP_MOMENTS, x, 2), v = b_spread(o, m), rs = ONE(RSQRT, ADD(v, C(1e-5)));
  b_store(o, ADD(MUL(MUL(SUB(x, m), rs), F32(2)), F32(2)), -1, false);
  b_store(o, m, -1, false);
  b_store(o, rs, -1, false);
}
static void gelu(t_group *o, int64_t r, int64_t c) {
  b_begin(o, 2, (int64_t[]){ r, c }, 3);
  uint32_t x = ADD(F32(3), F32(2));
  b_store(o, MUL(MUL(x, C(0.5)), ADD(ONE(ERF, MUL(x, C(0.70710678))), C(1))), -1, false);
}
/* Distances of all pairs of rows: x_i and x_j are two views of one memory. */
static void pair_distance(t_group *o, int64_t n, int64_t d) {
  b_begin(o, 3, (int64_t[]){ n, n, d }, 3);
  uint32_t x = b_load(o, KD_F32, 5, (int64_t[]){ d, 0, 1 }), y = b_load(o, KD_F32, 6, (int64_t[]){ 0, d, 1 }), e = SUB(x, y);
  b_store(o, ONE(SQRT, SUM(MUL(e, e), 4)), -1, false);
}
/* k rows of a bank for each of n samples: products, what a contrastive loss makes of them, and the gradient for the sample. */
static void bank(t_group *o, int64_t n, int64_t k, int64_t d, int64_t limit) {
  b_begin(o, 3, (int64_t[]){ n, k, d }, 3);
  uint32_t index = b_index(o, 3, limit), row = b_gather(o, KD_F32, index, 4, limit), v = F32(5);
  uint32_t e = ONE(EXP, MUL(SUM(MUL(row, v), 4), C(0.07))), p = DIV(e, ADD(e, C(0.1)));
  b_store(o, SUM(ONE(LOG, p), 3), -1, false);
  b_store(o, SUM(MUL(SUB(p, C(1)), row), 2), -1, false);
}
static void few(t_group *o, int64_t n, int64_t unused) {
  (void)unused;
  b_begin(o, 1, &n, 1);
  uint32_t p = F32(1), m = F32(1), g = F32(1), lr = F32(0);
  uint32_t v = ADD(MUL(C(0.9), m), ADD(g, MUL(C(5e-4), p)));
  b_store(o, v, 1, true);
  b_store(o, SUB(p, MUL(lr, v)), 0, true);
}
static void scalars(t_group *o) {
  b_begin(o, 0, NULL, 0);
  uint32_t a = F32(0), b = F32(0);
  b_store(o, ADD(MUL(a, C(0.9)), MUL(b, C(0.1))), -1, false);
  b_store(o, MUL(SUB(a, b), C(2)), -1, false);
}
/* Sums that vary along an inner and an outer axis, where a tile may have one element of the outer one: they do not lie side by side. */
static void sums_apart(t_group *o, kd_op op) {
  b_begin(o, 7, (int64_t[]){ 5, 7, 2, 6, 2, 5, 3 }, 0x50);
  b_store(o, b_one(o, KD_OP_NEG, F32(0x70)), -1, false);
  b_store(o, b_one(o, KD_OP_NEG, F32(0x0f)), -1, false);
  b_store(o, b_reduce(o, op, F32(0x55), 0x41), -1, false);
}

const char *t_group_listed(uint32_t i, t_group *o) {
  const char *name = NULL;
  switch (i) {
#define GROUP(n, text, call) case n: name = text; call; break;
    GROUP(0, "sgd with momentum, 1 M", momentum_update(o, 1 << 20))
    GROUP(1, "adam, 1 M", adam_update(o, 1 << 20))
    GROUP(2, "softened rows 256 x 1000, loss and gradient", soft_rows(o, 256, 1000))
    GROUP(3, "softened rows 16384 x 64, loss and gradient", soft_rows(o, 16384, 64))
    GROUP(4, "softened rows 152 x 16384, loss and gradient", soft_rows(o, 152, 16384))
    GROUP(5, "softened rows 128 x 10, loss and gradient", soft_rows(o, 128, 10))
    GROUP(6, "cross-entropy 128 x 10, loss and gradient", cross_entropy(o, 128, 10))
    GROUP(7, "attention maps 64 x 64 x 1024, and gradient", attention(o, 64, 64, 1024))
    GROUP(8, "attention maps 64 x 128 x 256, and gradient", attention(o, 64, 128, 256))
    GROUP(9, "attention maps 64 x 256 x 64, and gradient", attention(o, 64, 256, 64))
    GROUP(10, "batch norm 65536 x 32, moments", norm_moments(o, 65536, 32))
    GROUP(11, "batch norm 65536 x 32, apply and relu", norm_relu(o, 65536, 32))
    GROUP(12, "batch norm 65536 x 32, gradient's sums", norm_back_sums(o, 65536, 32))
    GROUP(13, "batch norm 65536 x 32, gradient", norm_back(o, 65536, 32))
    GROUP(14, "layer norm 2048 x 256", layer_norm(o, 2048, 256))
    GROUP(15, "bias and gelu 2048 x 1024", gelu(o, 2048, 1024))
    GROUP(16, "distances of 64 rows of 256", pair_distance(o, 64, 256))
    GROUP(17, "bank 50000 x 128, 64 x 4097 rows", bank(o, 64, 4097, 128, 50000))
    GROUP(18, "sgd with momentum, 10", few(o, 10, 0))
    GROUP(19, "two scalars", scalars(o))
    GROUP(20, "sums that lie apart", sums_apart(o, KD_OP_SUM))
    GROUP(21, "maxima that lie apart", sums_apart(o, KD_OP_REDUCE_MAX))
    GROUP(22, "moments that lie apart", sums_apart(o, KD_OP_MOMENTS))
#undef GROUP
    default: return NULL;
  }
  b_end(o);
  return name;
}
