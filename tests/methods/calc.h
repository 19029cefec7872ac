/* calc.h: a calculator on dense arrays of doubles: what an `// expect:` line says, evaluated over the names that its caller knows.
 *
 * Shapes meet as in NumPy: aligned at the last axis, 1 stretches. Functions that work "on rows" take the last axis. */
#ifndef KD_METHODS_CALC_H
#define KD_METHODS_CALC_H
#include <stdbool.h>
#include <stddef.h>

enum { CALC_RANK = 8 };
typedef struct calc_array { int rank; size_t dim[CALC_RANK]; size_t n; double *v; } calc_array;

typedef struct calc {
  void *ctx;
  bool (*find)(void *ctx, struct calc *c, const char *name, calc_array *out);          /* a name's value; false: there is none */
  double (*stored)(void *ctx, const char *file, const char *pattern);                    /* how many tensors of a saved file match; below 0: no file */
  double tolerance;                                                                      /* of `~` */
  struct calc_block *mem;                                                                /* all arrays, until calc_free */
  const char *at;                                                                        /* what is left of the text */
  bool failed;
  char why[800];                                                                         /* why an expectation failed, or is no expectation */
} calc;

/* Whether `a REL b` holds; REL is < <= > >= == != or ~ (equal but for `tolerance` of the larger magnitude, and absolutely below 1), and may
 * chain: `0 < x < 1`. The relation holds where it holds for all elements, != where it does for one. False: see c->why. */
bool calc_holds(calc *c, const char *text);
/* The value of another text, for `find`: where names stand for expressions. On a fault c has failed. */
calc_array calc_within(calc *c, const char *text);
/* A zeroed array that lives until calc_free. */
calc_array calc_new(calc *c, int rank, const size_t *dim);
void calc_free(calc *c);
#endif
