/* cases.c: see cases.h. Points are random, so kinks and ties are not met; ties and kinks have tests of their own (test_contracts.c). */
#include "tests/autodiff/cases.h"

#define COUNT(...) (sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))
#define R(a, b, ...) { .t = KD_F64, .lo = a, .hi = b, .rank = COUNT(__VA_ARGS__), .dim = { __VA_ARGS__ } }      /* reals */
#define R0(a, b) { .t = KD_F64, .lo = a, .hi = b }
#define X(...) R(-2, 2, __VA_ARGS__)
#define N(a, b, ...) { .t = KD_I64, .lo = a, .hi = b, .rank = COUNT(__VA_ARGS__), .dim = { __VA_ARGS__ } }      /* integers */
#define N0(a, b) { .t = KD_I64, .lo = a, .hi = b }
#define B(...) { .t = KD_BOOL, .lo = 0, .hi = 2, .rank = COUNT(__VA_ARGS__), .dim = { __VA_ARGS__ } }
#define K(v, ...) { .t = KD_F64, .lo = v, .constant = true, .rank = COUNT(__VA_ARGS__), .dim = { __VA_ARGS__ } }

#define I(v) { .kind = 'i', .u.i = v }
#define F(v) { .kind = 'f', .u.f = v }
#define T(v) { .kind = 't', .u.i = v }
#define L(...) { .kind = 'I', .n = COUNT(__VA_ARGS__), .u.list = (const int64_t[]){ __VA_ARGS__ } }
#define L0 { .kind = 'I', .u.list = (const int64_t[]){ 0 } }

#define IN(count, ...) .nin = count, .in = { __VA_ARGS__ }
#define ATTR(...) .attr = { __VA_ARGS__ }
#define C(OP, ...) { .op = KD_OP_##OP, __VA_ARGS__ },

#define ONE(OP, a, b) C(OP, IN(1, R(a, b, 2, 3, 2))) C(OP, IN(1, R0(a, b))) C(OP, IN(1, R(a, b, 5)))
#define TWO(OP, a, b, c, d) C(OP, IN(2, R(a, b, 3, 4), R(c, d, 3, 4))) C(OP, IN(2, R0(a, b), R0(c, d)))
#define OVER(OP) \
  C(OP, IN(1, X(3, 4)), ATTR(L(0))) C(OP, IN(1, X(3, 4)), ATTR(L(1))) C(OP, IN(1, X(2, 3, 4)), ATTR(L(0, 2))) \
  C(OP, IN(1, X(2, 3, 2)), ATTR(L(0, 1, 2))) C(OP, IN(1, X(2, 3, 2)), ATTR(L(1)))

/* Convolutions: rank 1, 2, 3; strides with a remainder, uneven pads, dilation, groups. G is the attribute list up to groups. */
#define CONV1 L(1), L(0), L(0), L(1), I(1)
#define CONV2 L(2, 1), L(1, 0), L(0, 2), L(1, 2), I(1)
#define CONV2G L(1, 2), L(1, 1), L(1, 0), L(2, 1), I(2)
#define CONV2D L(2, 2), L(1, 1), L(1, 1), L(1, 1), I(3)
#define CONV3 L(1, 2, 1), L(0, 1, 0), L(1, 0, 0), L(1, 1, 1), I(1)
#define POOL1 L(3), L(2), L(1), L(0)
#define POOL2 L(2, 3), L(1, 2), L(0, 1), L(1, 1)
#define POOL3 L(2, 2, 1), L(2, 1, 1), L(0, 1, 0), L(0, 0, 0)

const grad_case grad_cases[] = {
  /* element-wise */
  ONE(NEG, -2, 2) ONE(ABS, -2, 2) ONE(EXP, -2, 1) ONE(EXPM1, -2, 1) ONE(LOG, 0.3, 3) ONE(LOG1P, -0.6, 3) ONE(SQRT, 0.3, 3) ONE(RSQRT, 0.4, 3)
  ONE(RECIP, 0.4, 2) ONE(RECIP, -2, -0.4) ONE(SIN, -3, 3) ONE(COS, -3, 3) ONE(TANH, -2, 2) ONE(SIGMOID, -4, 4) ONE(SOFTPLUS, -4, 4)
  ONE(RELU, -2, 2) ONE(ERF, -2, 2)
  C(CAST, IN(1, X(2, 3)), ATTR(T(KD_F64)))
  C(CAST, IN(1, X(2, 3)), ATTR(T(KD_F32)), .h = 0.01, .tolerance = 1e-4)
  TWO(ADD, -2, 2, -2, 2) TWO(SUB, -2, 2, -2, 2) TWO(MUL, -2, 2, -2, 2) TWO(DIV, -2, 2, 0.5, 2) TWO(DIV, -2, 2, -2, -0.5)
  TWO(REM, -5, 5, 0.7, 1.6) TWO(POW, 0.4, 2, -2, 2) TWO(MAX, -2, 2, -2, 2) TWO(MIN, -2, 2, -2, 2) TWO(XLOGY, -2, 2, 0.4, 3)
  C(POW, IN(2, X(5), K(0, 5))) C(POW, IN(2, X(5), K(1, 5))) C(POW, IN(2, X(5), K(2, 5))) C(POW, IN(2, X(5), K(3, 5)))
  C(POW, IN(2, R(0.5, 2, 5), K(-1.5, 5)))
  C(XLOGY, IN(2, K(0, 4), R(0.5, 2, 4)))
  C(WHERE, IN(3, B(3, 4), X(3, 4), X(3, 4)))

  /* reductions */
  OVER(SUM) OVER(REDUCE_MAX) OVER(REDUCE_MIN) OVER(MOMENTS) OVER(LOGSUMEXP) OVER(SOFTMAX) OVER(LOG_SOFTMAX)
  C(CUMSUM, IN(1, X(3, 4)), ATTR(I(0), I(0))) C(CUMSUM, IN(1, X(3, 4)), ATTR(I(1), I(1))) C(CUMSUM, IN(1, X(4)), ATTR(I(0), I(1)))

  /* contractions */
  C(MATMUL, IN(2, X(2, 3), X(3, 4))) C(MATMUL, IN(2, X(2, 2, 3), X(2, 3, 1))) C(MATMUL, IN(2, X(2, 1, 2, 3), X(2, 1, 3, 2)))
  C(CONV, IN(2, X(2, 2, 6), X(3, 2, 3)), ATTR(CONV1))
  C(CONV, IN(2, X(2, 2, 5, 5), X(2, 2, 2, 3)), ATTR(CONV2))
  C(CONV, IN(2, X(1, 4, 4, 6), X(6, 2, 2, 2)), ATTR(CONV2G))
  C(CONV, IN(2, X(2, 3, 5, 4), X(3, 1, 3, 3)), ATTR(CONV2D))
  C(CONV, IN(2, X(1, 2, 3, 4, 3), X(2, 2, 2, 2, 2)), ATTR(CONV3))
  C(CONV_DATA, IN(2, X(2, 3, 4), X(3, 2, 3)), ATTR(CONV1, L(6)))
  C(CONV_DATA, IN(2, X(2, 2, 3, 3), X(2, 2, 2, 3)), ATTR(CONV2, L(5, 5)))
  C(CONV_DATA, IN(2, X(1, 6, 4, 3), X(6, 2, 2, 2)), ATTR(CONV2G, L(4, 6)))
  C(CONV_DATA, IN(2, X(2, 3, 3, 2), X(3, 1, 3, 3)), ATTR(CONV2D, L(5, 4)))
  C(CONV_DATA, IN(2, X(1, 2, 3, 2, 2), X(2, 2, 2, 2, 2)), ATTR(CONV3, L(3, 4, 3)))
  C(CONV_WEIGHT, IN(2, X(2, 2, 6), X(2, 3, 4)), ATTR(CONV1, L(3)))
  C(CONV_WEIGHT, IN(2, X(2, 2, 5, 5), X(2, 2, 3, 3)), ATTR(CONV2, L(2, 3)))
  C(CONV_WEIGHT, IN(2, X(1, 4, 4, 6), X(1, 6, 4, 3)), ATTR(CONV2G, L(2, 2)))
  C(CONV_WEIGHT, IN(2, X(2, 3, 5, 4), X(2, 3, 3, 2)), ATTR(CONV2D, L(3, 3)))
  C(CONV_WEIGHT, IN(2, X(1, 2, 3, 4, 3), X(1, 2, 3, 2, 2)), ATTR(CONV3, L(2, 2, 2)))
  C(MAX_POOL, IN(1, X(2, 2, 7)), ATTR(POOL1)) C(MAX_POOL, IN(1, X(2, 2, 4, 5)), ATTR(POOL2)) C(MAX_POOL, IN(1, X(1, 2, 4, 3, 2)), ATTR(POOL3))
  C(SUM_POOL, IN(1, X(2, 2, 7)), ATTR(POOL1)) C(SUM_POOL, IN(1, X(2, 2, 4, 5)), ATTR(POOL2)) C(SUM_POOL, IN(1, X(1, 2, 4, 3, 2)), ATTR(POOL3))
  C(SUM_POOL_DATA, IN(1, X(2, 2, 3)), ATTR(POOL1, L(7))) C(SUM_POOL_DATA, IN(1, X(2, 2, 4, 3)), ATTR(POOL2, L(4, 5)))
  C(SUM_POOL_DATA, IN(1, X(1, 2, 2, 3, 2)), ATTR(POOL3, L(4, 3, 2)))

  /* shape and movement */
  C(RESHAPE, IN(1, X(2, 3, 4)), ATTR(L(6, 2, 2))) C(RESHAPE, IN(1, X(1, 1)), ATTR(L0)) C(RESHAPE, IN(1, R0(-2, 2)), ATTR(L(1, 1)))
  C(PERMUTE, IN(1, X(2, 3, 4)), ATTR(L(2, 0, 1))) C(PERMUTE, IN(1, X(2, 3)), ATTR(L(1, 0)))
  C(BROADCAST, IN(1, X(3)), ATTR(L(2, 3, 4), L(1))) C(BROADCAST, IN(1, R0(-2, 2)), ATTR(L(2, 2), L0))
  C(BROADCAST, IN(1, X(2, 3)), ATTR(L(2, 4, 3), L(0, 2)))
  C(SLICE, IN(1, X(4, 5)), ATTR(L(1, 0), L(2, 5), L(1, 1)))
  C(SLICE, IN(1, X(5, 6)), ATTR(L(0, 1), L(3, 2), L(2, 3)))           /* the last gap of axis 0 sticks out; axis 1 leaves room */
  C(SLICE, IN(1, X(5, 6)), ATTR(L(4, 4), L(5, 2), L(-1, -3)))
  C(SLICE, IN(1, X(5, 6)), ATTR(L(3, 5), L(1, 3), L(2, -2)))
  C(CONCAT, IN(3, X(2, 1), X(2, 3), X(2, 2)), ATTR(I(1))) C(CONCAT, IN(2, X(2), X(3)), ATTR(I(0))) C(CONCAT, IN(1, X(2, 2)), ATTR(I(0)))
  C(PAD, IN(1, X(2, 3)), ATTR(L(1, 0), L(0, 2), F(0.5)))
  C(GATHER, IN(2, X(5, 3), N(0, 5, 4)), ATTR(I(0))) C(GATHER, IN(2, X(2, 5, 3), N(0, 5, 2, 4)), ATTR(I(1)))
  C(GATHER, IN(2, X(4), N(0, 4, 2, 3)), ATTR(I(0))) C(GATHER, IN(2, X(3, 2), N0(0, 3)), ATTR(I(0))) C(GATHER, IN(2, X(3, 4, 2), N(0, 4, 3)), ATTR(I(1)))
  C(SCATTER_ADD, IN(3, X(4, 3), N(0, 4, 5), X(5, 3)), ATTR(I(0), I(0))) C(SCATTER_ADD, IN(3, X(4), N(-1, 4, 2, 3), X(2, 3)), ATTR(I(0), I(1)))
  C(SCATTER_ADD, IN(3, X(2, 3, 2), N(-1, 3, 2, 4), X(2, 4, 2)), ATTR(I(1), I(1))) C(SCATTER_ADD, IN(3, X(3, 4), N(0, 4, 3), X(3)), ATTR(I(1), I(0)))
  C(SCATTER_SET, IN(3, X(4, 3), N(0, 4, 5), X(5, 3)), ATTR(I(0), I(0))) C(SCATTER_SET, IN(3, X(4), N(-1, 4, 2, 3), X(2, 3)), ATTR(I(0), I(1)))
  C(SCATTER_SET, IN(3, X(2, 3, 2), N(-1, 3, 2, 4), X(2, 4, 2)), ATTR(I(1), I(1))) C(SCATTER_SET, IN(3, X(3, 4), N(0, 4, 3), X(3)), ATTR(I(1), I(0)))
  C(SCATTER_SET, IN(3, X(3, 2), N0(0, 3), X(2)), ATTR(I(0), I(0)))
  C(SORT, IN(1, X(4, 3)), ATTR(I(0), I(0))) C(SORT, IN(1, X(2, 5)), ATTR(I(1), I(1)))
  C(SORT, IN(1, X(2, 4, 2)), ATTR(I(1), I(0))) C(SORT, IN(1, X(5)), ATTR(I(0), I(0)))
  C(TOP_K, IN(1, X(4, 3)), ATTR(I(0), I(2))) C(TOP_K, IN(1, X(2, 5)), ATTR(I(1), I(3))) C(TOP_K, IN(1, X(5)), ATTR(I(0), I(1)))
};
const size_t grad_case_count = sizeof grad_cases / sizeof *grad_cases;
