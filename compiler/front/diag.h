/* diag.h: diagnostics: a table of codes, a sink, and two forms (text with carets, JSON). The library prints nothing itself. */
#ifndef KD_DIAG_H
#define KD_DIAG_H
#include "compiler/front/source.h"

typedef enum kd_diag_code {
#define KD_DIAG(ID, severity, code, text) KD_D_##ID,
#include "compiler/front/diag.def"
#undef KD_DIAG
  KD_DIAG_COUNT
} kd_diag_code;
typedef enum kd_severity { KD_ERROR, KD_WARNING, KD_NOTE } kd_severity;

/* One label under the source: a caret line with words; the first is the primary place. */
typedef struct kd_label { kd_span span; const char *text; } kd_label;
/* One frame of the chain of calls that led here: "in `kd` called at ..". */
typedef struct kd_frame { kd_span span; const char *what; } kd_frame;

typedef struct kd_diag {
  kd_diag_code code; kd_severity severity;
  const char *message;                           /* formatted from the row's text */
  kd_label *label; size_t nlabel;
  kd_frame *frame; size_t nframe;                /* innermost first */
  const char *help;                              /* the mend, possibly code; may be NULL */
} kd_diag;

typedef struct kd_sink {
  kd__arena *arena;
  KD_VEC(kd_diag *) diag;                        /* in the order given; sorted and deduplicated by kd__sink_finish */
  size_t errors, warnings;
  size_t limit;                                  /* errors after which the rest are only counted (0: 50) */
  kd_diag *spare;                                /* handed out for errors that are only counted: nothing is added to it */
} kd_sink;
void kd__sink_init(kd_sink *s, kd__arena *a);
bool kd__sink_full(const kd_sink *s);            /* further errors are only counted: their words need not be made */
/* Sorts by source and place and drops what was said twice at one place. Counts stay as they were. */
void kd__sink_finish(kd_sink *s);

/* Reports row `code` with its printf arguments at a place; returns the diagnostic so that labels, frames and help can be added.
 * Never NULL (beyond the limit a diagnostic that is not kept). */
kd_diag *kd__report(kd_sink *s, kd_diag_code code, kd_span at, ...);
kd_diag *kd__vreport(kd_sink *s, kd_diag_code code, kd_span at, va_list ap);
void kd__diag_label(kd_sink *s, kd_diag *d, kd_span at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void kd__diag_primary(kd_sink *s, kd_diag *d, const char *fmt, ...) __attribute__((format(printf, 3, 4)));  /* words at the first place */
void kd__diag_frame(kd_sink *s, kd_diag *d, kd_span at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
const char *kd__habit(const char *word, bool begins);   /* what stands here for a word of other languages, or NULL; begins: a statement */
void kd__diag_help(kd_sink *s, kd_diag *d, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The shape of design 2.6: "file:line:col: error: what [code]", the line, carets with labels, chain, help. */
void kd__diag_text(const kd_diag *d, bool color, kd__buf *out);
void kd__diag_json(const kd_diag *d, kd__buf *out);      /* one object, no newline */
const char *kd__diag_code_name(kd_diag_code c);          /* "E0102" */
#endif
