/* cases.h: at which shapes, attributes and points each operator's gradient is checked. An operator with a gradient rule and no case
 * here fails the test. */
#ifndef KD_TEST_CASES_H
#define KD_TEST_CASES_H
#include "runtime/op/op.h"

/* An operand: reals uniform in [lo, hi), integers in lo..hi-1, or, with constant set, a `const` of value lo. */
typedef struct operand { kd_dtype t; double lo, hi; int rank; int64_t dim[6]; bool constant; } operand;

enum { CASE_MAX_IN = 3 };
typedef struct grad_case {
  kd_op op;
  uint32_t nin;
  operand in[CASE_MAX_IN];
  kd_attr attr[KD_MAX_ATTRS];
  double h, tolerance;                           /* 0: the usual ones */
} grad_case;

extern const grad_case grad_cases[];
extern const size_t grad_case_count;
#endif
