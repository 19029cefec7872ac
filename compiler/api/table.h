/* table.h: the inside of kd_table, and how cost.c and profile.c fill it. */
#ifndef KD_TABLE_H
#define KD_TABLE_H
#include "compiler/api/api.h"
#include "runtime/cost/predict.h"

typedef KD_VEC(kd_line) kd__lines;
typedef struct kd__table_program {
  kd_program_cost c;
  kd__lines line[KD_LINE_OTHER + 1];                             /* by kd_line_kind */
  kd__map seen[KD_LINE_OTHER];                   /* of layers, kernels and kinds: 1 + the line */
} kd__table_program;

typedef struct kd__table_event { const char *name, *layer; int thread; double start, end; } kd__table_event;      /* thread: of the trace: the machine, or its kernels */

struct kd_table {
  kd__arena arena;
  kd_machine_limits machine;
  kd__limits limits;
  kd_memory_cost memory;
  KD_VEC(kd__table_program) program;
  KD_VEC(kd__table_event) event;
};

/* Empty, with the machine's limits; the arena jumps to `oom`. NULL: no memory. */
kd_table *kd__table_new(kd__oom *oom);
kd_status kd__table_limits(kd_table *t, kd_session *s, int threads, bool anew);
/* A program with a line for every call of the plan as it is bound. `seconds` by the call's number, of one run; NULL: they are foretold. */
kd__table_program *kd__table_add(kd_table *t, const kd_program *p, uint32_t plan, const kd_bound *b, const double *seconds);
void kd__table_other(kd_table *t, kd__table_program *to, const char *name, double seconds);
/* dead.c: what the program's text says and nothing needs. */
void kd__table_dead(kd_table *t, kd__table_program *to, const kd_module *m, uint32_t plan);
/* Sums and states; after the last line. */
void kd__table_close(kd_table *t, kd__table_program *to, const kd_module *m, uint32_t plan);
/* cost.c: stage, samples and planned runs of the plan. */
void kd__table_place(kd_table *t, kd_program_cost *c, const kd_module *m, uint32_t plan);
void kd__processor(kd__buf *b);                  /* describe.c */
#endif
