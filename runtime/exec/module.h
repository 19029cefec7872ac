/* module.h: a compiled experiment: slots, plans, data sources, and the scheme as code for a small machine whose whole position is
 * a plain struct, so that a run can be stopped, written down and resumed. */
#ifndef KD_MODULE_H
#define KD_MODULE_H
#include "runtime/exec/plan.h"

/* Run-time scalars that the machine sets before each program; slots of kind SCALAR are found by these indices. All are real
 * (the program's real type) but `key` (i64). */
typedef enum kd_ambient {
#define KD_AMBIENT(ID, name, doc) KD_AMBIENT_##ID,
#include "runtime/exec/ambient.def"
#undef KD_AMBIENT
  KD_AMBIENT_COUNT
} kd_ambient;

/* One column of a data set on disk, as the readers deliver it. `type` is one sample (no batch axis); element type as stored. */
typedef struct kd_field_source {
  const char *name;                              /* "image" */
  const char *format;                            /* row of formats.def: "idx", "csv" ... */
  const char *path;                              /* relative to the data search path */
  int64_t column_from, column_to;                /* csv: columns [from, to); else 0, 0 */
  kd_type type;
  int64_t below;                                 /* integer fields: values must be in 0..below-1; 0 = unchecked */
} kd_field_source;

/* A split: rows [first, first + count) of `fields`; count -1: to the end. */
typedef struct kd_split { const char *name; kd_field_source *field; uint32_t nfield; int64_t first, count; } kd_split;

/* Where a data set's rows come from. WRITTEN: the program's WRITE instructions; its one split has fields without files, `key` numbers the
 * field with each row's key (of equal keys the last row counts, rows are in the order of keys), or is -1. JOINED: the samples of `left` whose
 * number is a key of the written set `right`; its one split has left's fields, then right's. Their number of rows is known while running. */
typedef enum kd_made { KD_MADE_FILES, KD_MADE_WRITTEN, KD_MADE_JOINED } kd_made;

typedef struct kd_dataset {
  const char *name;                              /* binding name: "fashion" */
  const char *package;                           /* what to install when files are missing; may be NULL */
  kd_split *split; uint32_t nsplit;
  int64_t batch;
  kd_made made;
  int64_t key;                                   /* WRITTEN */
  uint32_t left, left_split, right;              /* JOINED: data sets by number */
} kd_dataset;

/* What a WRITE instruction appends to a written data set: the leading axis of the slots are the rows, a slot for each field. Rows whose mask is
 * false are left out. */
typedef struct kd_append { uint32_t dataset; uint32_t *slot; int64_t mask; } kd_append;      /* mask: a bool slot, or -1 */

/* What is drawn for a sample in turn t of `replay` goes by its number and KD_TURN * t. */
#define KD_TURN ((int64_t)1 << 40)

/* How a loop over batches takes samples. Each field goes to a FIELD slot; the sample's number in its split goes to `index_slot`. */
typedef struct kd_stream {
  uint32_t dataset, split;
  int64_t batch;
  bool shuffle, drop_last;
  struct { uint32_t field; int64_t slot; } *bind; uint32_t nbind;
  int64_t index_slot;                            /* i64 [batch], or -1 */
  int64_t replay, turned_slot;                   /* replay: 0: nothing; else turned_slot, i64 [batch] or -1, has number + KD_TURN * (passes begun before in the stage, modulo replay) */
  struct { uint32_t kept, column; } *kept; uint32_t nkept;               /* rows of the samples that are kept go to these columns' slots */
} kd_stream;

/* Values of samples that are the same each time, kept by the sample's number. `plan` makes them for the samples that `fill` brings, in the slots of the
 * columns, whose leading axis they are; `reads`: the slots beside `fill`'s that it depends on. `makes`: a hash of what it computes. */
typedef struct kd_kept_column { kd_type type; uint32_t slot; } kd_kept_column;              /* of one sample */
typedef struct kd_kept {
  const char *name;
  int64_t turns;                                 /* rows differ from turn to turn of the draws of `fill`, and there are those of so many; 0: they do not */
  uint32_t plan;
  kd_stream fill;
  kd_kept_column *column; uint32_t ncolumn;
  uint32_t *reads; uint32_t nreads;
  uint64_t makes;
  bool disk;                                     /* in the cache folder, for later runs too; else in memory */
} kd_kept;

/* What of a program is the same each time for a sample, and what the compiler has decided about it: for people, and for `kdc cost`. Work is counted for one
 * sample: `all` is the program's, `frozen` what needs no more than once for each, `saved` what a kept part saves. */
typedef enum kd_keeping { KD_KEEPING_OFF, KD_KEEPING_LITTLE, KD_KEEPING_ROOM, KD_KEEPING_MEMORY, KD_KEEPING_DISK } kd_keeping;
typedef struct kd_frozen_part {
  uint32_t plan;
  const char *said;                              /* the data set whose clause says so, or NULL */
  kd_keeping where;                              /* OFF: not wanted; LITTLE: it would not pay; ROOM: there is no room; else where it is kept */
  bool part;                                     /* not all of it: there is no room for the rest */
  int64_t turns;                                 /* of the draws for which rows are kept */
  int64_t rows, sample_bytes, want_bytes;        /* want_bytes: of a sample, if all of it were kept */
  double all_flops, frozen_flops, saved_flops, passes;
} kd_frozen_part;

/* Machine instructions (code.def): every operand is an integer; strings and reals go through the module's pools. */
typedef enum kd_code_op {
#define KD_CODE(ID, a, b, c, doc) KD_CODE_##ID,
#include "runtime/exec/code.def"
#undef KD_CODE
  KD_CODE_COUNT
} kd_code_op;
typedef struct kd_code { uint16_t op; int64_t a, b, c; uint32_t origin; } kd_code;

/* epochs and steps: as planned, at most; for progress. trains: the parameters that its steps change, for people. */
typedef struct kd_stage_info { const char *name; int64_t epochs, steps; const uint32_t *trains; uint32_t ntrains; } kd_stage_info;
typedef struct kd_report_row { const char *label; const char *on; uint32_t reg; } kd_report_row;

/* Passes over a set that is made while running, whose steps a stage's planned ones lack: so many, each of rows / batch steps. */
typedef struct kd_pass { int64_t stage; uint32_t stream; int64_t times; } kd_pass;

/* A set of slots that are kept, restored or saved together; `path` names each in a file (without the owner's name). */
typedef struct kd_group { const char *name; uint32_t *slot; const char **path; uint32_t n; } kd_group;

/* Slots that take their values from tensors of a safetensors file, named `name`: the initial values of a network with `from`. */
typedef struct kd_load { const char *network; uint32_t file; uint32_t *slot; const char **name; uint32_t n; } kd_load;
/* Do numbers that a reader delivers as `stored` go into a slot of this type? Real ones of any size into real ones. */
static inline bool kd__load_fits(kd_dtype stored, kd_dtype slot) {
  if (kd__dtype_real(slot)) return kd__dtype_real(stored);
  return slot == KD_I64 ? !kd__dtype_real(stored) : stored == slot;
}

/* A whole number that the rest of the program has its shapes from, and that is known while it runs. `made`: the module was compiled with `value`;
 * else it ends at the DECIDE instruction. */
typedef struct kd_decision { const char *name; int64_t low, high, value; bool made, truth; } kd_decision;     /* truth: 1 is true, 0 false */

typedef struct kd_module {
  kd__arena *arena;
  const char *name;                              /* the .kd file's base name */
  kd_dtype real;
  kd_slot *slot; uint32_t nslot;
  int64_t ambient[KD_AMBIENT_COUNT];             /* slot of each ambient scalar, or -1 where unused */
  kd_plan **plan; uint32_t nplan;
  kd_dataset *dataset; uint32_t ndataset;
  kd_stream *stream; uint32_t nstream;
  kd_stream *whole; uint32_t nwhole;             /* splits that are in slots as a whole from before the first instruction on; batch: all rows */
  kd_group *group; uint32_t ngroup;
  kd_append *append; uint32_t nappend;
  kd_load *load; uint32_t nload;
  const char **weights; uint32_t nweights;       /* files of the loads, relative to the data search path */
  kd_code *code; uint32_t ncode; uint32_t ncounter;
  const char **string; uint32_t nstring;
  kd_stage_info *stage; uint32_t nstage;
  kd_pass *pass; uint32_t npass;
  const void *compiler;                          /* where origins lie in the program (kd__module_report); nothing for the runtime */
  uint32_t nreg;                                 /* host registers (double) that programs' results land in */
  kd_report_row *report; uint32_t nreport;
  kd_decision *decision; uint32_t ndecision;
  kd_kept *kept; uint32_t nkept;
  kd_frozen_part *frozen; uint32_t nfrozen;
} kd_module;
#endif
