/* rig.h: a plan made of a graph, bound to memory, and run call by call beside the oracle. */
#ifndef KD_TEST_PLAN_RIG_H
#define KD_TEST_PLAN_RIG_H
#include "compiler/plan/plan_make.h"
#include "tests/eval/random.h"

typedef enum rig_places { RIG_APART, RIG_TOGETHER } rig_places;        /* a block for each slot; all of one type side by side in one */

typedef struct rig {
  bool reference;                                /* the naive twins; by themselves where nothing may differ */
  kd__arena *a;
  kd_graph *g;
  const kd_random_slot *data; size_t nslot;      /* type and contents of the slots at the start */
  kd_slot *slot;
  kd_plan *plan;
  int beside;                                    /* calls that ran side by side on two threads */
  int notes;                                     /* how many copies the planner told of */
  kd_plan_note note;                             /* the last */
} rig;

/* Gives the slots places and plans the graph; every node's origin becomes its number, so that calls can be traced to nodes. */
void rig_plan(rig *r, kd__arena *a, kd_graph *g, const kd_random_slot *slot, size_t nslot, rig_places places);
/* The same where a loop of the team takes so many microseconds: below 0, calls run side by side wherever they can. */
void rig_plan_at(rig *r, kd__arena *a, kd_graph *g, const kd_random_slot *slot, size_t nslot, rig_places places, double price);
/* The same from text; the slots' types are those of its inputs and writes, their contents small numbers. */
void rig_text(rig *r, kd__arena *a, const char *text, rig_places places);
/* Runs the plan in exactly the memory it asks for. Operands and results of every call, the results, and all slots at the end must be the
 * oracle's: bit by bit on the twins, within `tolerance` on the fast kernels (0: twins). Where calls may run side by side, also with two threads, the same bits,
 * and no two at once where one writes what the other reads or writes. False after printing where not. */
bool rig_run(rig *r, double tolerance, const char *what);
/* Calls of the plan with this operator; KD_OP_COUNT counts copies. */
uint32_t rig_count(const rig *r, kd_op op);
char *rig_print(const rig *r);                   /* in the rig's arena */
#endif
