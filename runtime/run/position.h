/* position.h: where a machine stands in its program: everything that the rest of the run depends on besides the slots' contents. */
#ifndef KD_POSITION_H
#define KD_POSITION_H
#include "runtime/run/run.h"

/* A stream's pass under way: the order of its samples is a pure function of (seed, stage, entry, pass). */
typedef struct kd__stream_position { bool open; int64_t pass, batch; } kd__stream_position;
/* What `keep best` knows: how often it was asked, and of the kept copy its value and which one it was. */
typedef struct kd__best_position { int64_t tried; bool kept; double value; int64_t best; } kd__best_position;

typedef struct kd_position {
  int64_t pc;
  int64_t *counter;                              /* by loop counter */
  double *reg;                                   /* by register; NaN before anything was put there */
  int64_t stage;                                 /* -1 before the first */
  int64_t *entered;                              /* by stage: how often it was entered */
  int64_t step, epoch;                           /* done within the stage */
  int64_t steps;                                 /* done in the whole run */
  int64_t *begun;                                /* by stream: shuffled passes begun within the stage */
  int64_t passes;                                /* shuffled passes begun within the stage */
  int64_t anew;                                  /* plans run whose draws are new each time */
  kd__stream_position *stream;                   /* by stream */
  uint32_t *open, nopen;                         /* the open streams, innermost last */
  int64_t *rows;                                 /* by data set: that the program has written */
  kd__best_position *best;                       /* by group */
  double *sum; int64_t *sums;                    /* by register: losses of the epoch under way */
} kd_position;

/* At the program's start. False: no memory. */
bool      kd__position_init(kd_position *p, const kd_module *m);
void      kd__position_free(kd_position *p);
/* As a JSON object. Real numbers are written as their bits, so that every value comes back exactly. */
void      kd__position_write(const kd_position *p, const kd_module *m, kd__buf *out);
/* Into an initialised position. KD_E_FORMAT with `why` unless the text is whole and everything in it is within the module. */
kd_status kd__position_read(kd_position *p, const kd_module *m, const char *text, size_t n, const char *name, char *why, size_t nwhy);
#endif
