/* settings.h: settings.json: what a run is, written down so that it can be begun again and gone on with: the options it was given, where
 * its sources lie in the folder, the machine it began on, and which kernels its programs run. */
#ifndef KD_SETTINGS_H
#define KD_SETTINGS_H
#include "runtime/run/run.h"

typedef struct kd__settings_kernels { const char *plan, *lines; } kd__settings_kernels;  /* each kind of call once, a line each */
typedef struct kd__settings_weights { const char *name, *path; uint64_t hash; } kd__settings_weights;    /* a file that networks began with */
/* As read back; everything lies in the arena. */
typedef struct kd__settings {
  kd__arena arena;
  const char *program, *path, *version, *stdlib; /* stdlib NULL: the one that was built in */
  uint64_t fingerprint;                          /* of the module */
  const char **setting; size_t nsetting;
  uint64_t seed;
  int threads;
  bool deterministic, dnnl, reference, fuse, jit;
  int winograd;
  double checkpoint_seconds; int64_t checkpoint_steps;
  int cache; bool cache_given; int64_t cache_memory, cache_disk;   /* below 0: nothing asked for them */
  int64_t *decided; size_t ndecided;             /* at its checkpoint: from kd__checkpoint_decided, of malloc */
  kd_dtype real;
  int64_t memory_limit;
  const char *processor, *libraries;
  const char **folder; size_t nfolder;           /* where data was looked for */
  kd__source_copy *source; size_t nsource;       /* with their texts from the run folder */
  kd__settings_kernels *kernel; size_t nkernel;
  kd__settings_weights *weights; size_t nweights;
} kd__settings;
/* Reads settings.json and the sources of a run folder. KD_E_IO: there is no such folder, no run wrote it, or the run died before its
 * settings were whole; KD_E_FORMAT: a file is broken, or a source is not what was compiled. On failure *out is NULL. */
kd_status kd__settings_load(const char *folder, kd__settings **out, char *why, size_t n);
void      kd__settings_free(kd__settings *s);    /* NULL is allowed */
#endif
