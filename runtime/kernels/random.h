/* random.h: which element of a random draw has which bits. Shared by every kernel, so that all of them give the same numbers.
 *
 * The key of a draw is kd__mix(key scalar, path). The element `i` of row `row` then depends on (key, row, i) alone:
 *   with sample numbers (operand 1)   row = the sample number of its position on axis 0, i = its row-major number within that row;
 *   without                           row = 0, i = its row-major number in the whole result.
 * One Philox block, with counter (low = i / 2, high = row), serves the elements 2n and 2n+1: the even one has words 0 and 1, the odd
 * one words 2 and 3, the lower word being the low half of 64 bits.
 *   uniform   the upper 53 bits times 2^-53; an f32 has the upper 24 bits times 2^-24, so it is never 1;
 *   normal    Box-Muller on the two uniforms u, v of the block: r = sqrt(-2 log(1 - u)), the even element is r cos(2 pi v), the odd
 *             one r sin(2 pi v), computed in double and rounded once for f32;
 *   bits      the 64 bits shifted right by 2. */
#ifndef KD_RANDOM_H
#define KD_RANDOM_H
#include "runtime/base/base.h"
#include <math.h>

static inline uint64_t kd__random_key(uint64_t key, uint64_t path) { return kd__mix(key, path); }

/* The 64 bits of the elements 2*block and 2*block+1. */
static inline void kd__random_pair(uint64_t key, uint64_t row, uint64_t block, uint64_t out[2]) {
  uint32_t w[4];
  kd__philox(key, block, row, w);
  out[0] = (uint64_t)w[1] << 32 | w[0];
  out[1] = (uint64_t)w[3] << 32 | w[2];
}
static inline double kd__random_unit(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }
static inline float kd__random_unitf(uint64_t bits) { return (float)(bits >> 40) * 0x1p-24f; }  /* kd__random_unit without its low bits */
static inline int64_t kd__random_integer(uint64_t bits) { return (int64_t)(bits >> 2); }
static inline void kd__random_normals(const uint64_t bits[2], double out[2]) {
  double r = sqrt(-2 * log(1 - kd__random_unit(bits[0]))), angle = 6.283185307179586476925286766559 * kd__random_unit(bits[1]);
  out[0] = r * cos(angle);
  out[1] = r * sin(angle);
}

static inline uint64_t kd__random_raw_at(uint64_t key, uint64_t row, uint64_t i) {
  uint64_t pair[2];
  kd__random_pair(key, row, i >> 1, pair);
  return pair[i & 1];
}
static inline double kd__random_uniform_at(uint64_t key, uint64_t row, uint64_t i) { return kd__random_unit(kd__random_raw_at(key, row, i)); }
static inline float kd__random_uniformf_at(uint64_t key, uint64_t row, uint64_t i) { return kd__random_unitf(kd__random_raw_at(key, row, i)); }
static inline int64_t kd__random_bits_at(uint64_t key, uint64_t row, uint64_t i) { return kd__random_integer(kd__random_raw_at(key, row, i)); }
static inline double kd__random_normal_at(uint64_t key, uint64_t row, uint64_t i) {
  uint64_t pair[2];
  double z[2];
  kd__random_pair(key, row, i >> 1, pair);
  kd__random_normals(pair, z);
  return z[i & 1];
}
#endif
