/* limits.h: what this machine can do at most: measured in about a second, and kept in a file. */
#ifndef KD_LIMITS_H
#define KD_LIMITS_H
#include "runtime/cost/work.h"

enum { KD__ALONE, KD__TEAM };                    /* one thread; all of the team */
typedef struct kd__limits {
  int threads;
  double flops[2];                               /* fused multiply-adds of single precision, counted as two operations, a second */
  double bytes[2][KD__REACHES];                  /* read and written a second, by where they come from */
  double size[KD__REACH_MEMORY];                 /* of the caches: of one core, and of what is shared */
  double region;                                 /* seconds until a team has taken a loop up and finished it */
  double disturbed;                              /* times that it was measured, always while other processes took the processors; 0: once they did not */
} kd__limits;
enum { KD__LIMITS_TRIES = 5 };

/* Of a team of so many threads. False: no memory. */
bool kd__limits_measure(int threads, kd__limits *out);
/* From the cache folder's file for this processor and number of threads. Measures, and writes the file, where there is none, where it is broken or
 * another machine's, or where `anew`; also, up to KD__LIMITS_TRIES times in all, where others were at work each time: the best of all counts.
 * `cache` NULL: measures. *measured says which. */
kd_status kd__limits_get(const char *cache, const char *processor, int threads, bool anew, kd__limits *out, bool *measured, char *why, size_t n);
#endif
