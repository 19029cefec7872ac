/* toy.h: modules built by hand: graphs through the builders and the planner, code by instructions. */
#ifndef KD_TEST_RUN_TOY_H
#define KD_TEST_RUN_TOY_H
#include "tests/files/temp.h"
#include "compiler/ir/graph.h"
#include "runtime/run/run.h"

enum { TOY_MAX = 64 };
typedef struct toy {
  kd__arena arena;
  kd_module m;
  kd_slot slot[TOY_MAX];
  kd_code code[TOY_MAX];
  kd_graph *graph[TOY_MAX]; const char *graph_name[TOY_MAX];
  kd_stream stream[8]; kd_group group[8]; kd_stage_info stage[8]; kd_report_row report[8]; const char *string[8];
  kd_dataset data; kd_split split[3]; kd_field_source field[3][2];
} toy;
void toy_open(toy *t);
void toy_close(toy *t);
int64_t toy_slot(toy *t, const char *name, kd_slot_kind kind, kd_dtype type, int rank, const int64_t *dim);
kd_graph *toy_graph(toy *t, const char *name, int64_t *plan);           /* a program of that name; planned by toy_finish */
int64_t toy_emit(toy *t, kd_code_op op, int64_t a, int64_t b, int64_t c);          /* its address; origins are 1000 + address */
void toy_finish(toy *t);                                                /* places slots, plans graphs, completes the module */

/* A real [1] or [] scalar that the machine sets. */
kd_value toy_ambient(toy *t, kd_build *b, kd_ambient a);
kd_value toy_input(toy *t, kd_build *b, int64_t slot, int64_t rows);    /* rows > 0: under this leading size */

/* Softmax regression's plain cousin: least squares on the digits of examples/data, with momentum, input noise that needs the random key
 * and the sample numbers, validation after each epoch, keep best, a test report and saved weights. */
enum { DIGITS_W, DIGITS_B, DIGITS_MOMENTUM, DIGITS_LABEL, DIGITS_IMAGE, DIGITS_INDEX, DIGITS_CORRECT, DIGITS_SEEN };
enum { DIGITS_BATCH = 64, DIGITS_VALID = 200, DIGITS_TRAIN = 1297, DIGITS_TEST = 300 };
void toy_digits(toy *t, int64_t epochs);
/* Where its data lies. */
extern const char *const toy_folder[1];
kd__run_options toy_options(void);               /* seed 1, 2 threads, that folder */
#endif
