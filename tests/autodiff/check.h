/* check.h: a graph with its inputs' data, and gradients checked against central differences. */
#ifndef KD_TEST_CHECK_H
#define KD_TEST_CHECK_H
#include "compiler/autodiff/autodiff.h"
#include "tests/eval/eval.h"

enum { LAB_MAX = 32 };
typedef struct lab {
  kd__arena arena;
  kd_graph *g;
  kd_build b;
  uint64_t draws;                                /* how many numbers were drawn: the state of the generator */
  kd_eval_slot slot[LAB_MAX];                    /* slot i holds the data of in[i] */
  kd_value in[LAB_MAX];
  size_t nin;
} lab;

void lab_begin(lab *l, uint64_t seed);
void lab_end(lab *l);
/* A new input with random contents: reals in [lo, hi), integers in lo..hi-1. */
kd_value lab_input(lab *l, kd_dtype t, double lo, double hi, const int64_t *dim, int rank);
/* The same with given contents (reals only). */
kd_value lab_values(lab *l, const double *v, const int64_t *dim, int rank);
kd_value lab_total(lab *l, kd_value v);          /* the sum of all elements */
/* sum of w * v for a random w (as a new input), v real. */
kd_value lab_weighted(lab *l, kd_value v);

/* Element i of v, with the lab's data. Fails the test where it cannot be computed. */
double lab_at(lab *l, kd_value v, int64_t i);
/* Compares the values grad[i] (0 stands for zeros) with central differences of f, for every element of the inputs wrt[i].
 * True if all agree; else the first difference is printed under `what`. */
bool lab_agrees(lab *l, kd_value f, const kd_value *wrt, size_t n, const kd_value *grad, double h, double tolerance, const char *what);
#endif
