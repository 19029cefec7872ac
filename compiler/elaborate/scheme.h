/* scheme.h: what the files that compile schemes share. */
#ifndef KD_SCHEME_H
#define KD_SCHEME_H
#include "compiler/elaborate/elab.h"
#include <stdio.h>

typedef KD_VEC(net *) models;
typedef KD_VEC(int64_t) slots;
typedef struct step_ctx { const slots *slot; } step_ctx;

/* The module under construction. Graphs are planned at the end, when every slot has its place. */
typedef struct planned { const char *name; kd_graph *g; } planned;
typedef struct mod_build {
  KD_VEC(kd_code) code;
  KD_VEC(planned) plan;
  KD_VEC(kd_stream) stream;
  KD_VEC(const char *) string;
  KD_VEC(kd_stage_info) stage;
  KD_VEC(kd_group) group;
  KD_VEC(kd_report_row) report;
  uint32_t nreg, ncounter;
  const char *stage_name;
  place *home;                                     /* owner of the optimizer states of the stage at hand */
  const kd_ast *keep;                              /* `keep best by` of the stage at hand */
  models trained;                                  /* every network that some step trains, for the saved weights */
  prog *batch;                                     /* inside a loop over batches: its program */
  uint32_t epoch_loops;                            /* loops over epochs around us */
  models batch_models; uint32_t batch_data; bool batch_seen;            /* the data set of the last loop over batches in this stage */
} mod_build;

bool kd__models(elab *e, scope *s, const kd_ast *n, models *out);
int64_t kd__slot_rank(elab *e, int64_t slot);
/* One step in the current program; false after reporting. `home` owns the optimizer's states. */
bool kd__train_step(elab *e, scope *s, const models *m, const kd_ast *models_ast, const kd_ast *loss, const kd_ast *using_ast, place *home);

uint32_t kd__emit(elab *e, kd_code_op op, int64_t a, int64_t b, int64_t c, const kd_ast *at);
uint32_t kd__add_plan(elab *e, const char *name, kd_graph *g);
uint32_t kd__add_string(elab *e, const char *s);
/* The stream of a program that reads fields; every field it binds is one that the program reads. */
uint32_t kd__add_stream(elab *e, const prog *p, bool shuffle, bool drop_last);
/* One pass over a stream: `full` runs on whole batches, `part` (when not NULL) on the last short one of `tail` rows. As training steps when
 * `first_reg` >= 0: their results go to registers from there on. */
void kd__emit_pass(elab *e, uint32_t stream, const prog *full, const prog *part, int64_t tail, int64_t first_reg, const kd_ast *at);
/* A plan that sets the given slots to their initial values. */
uint32_t kd__reset_plan(elab *e, const char *name, const slots *s);
/* Evaluates expressions of metrics over a whole split; registers from *first on hold the values, in order. */
bool kd__eval_metrics(elab *e, scope *s, const kd_ast *const *expr, uint32_t n, uint32_t data, uint32_t split, uint32_t *first);
void kd__scheme_stmt(elab *e, scope *s, const kd_ast *n);
bool kd__scheme_is_stmt(const kd_ast *n);
#endif
