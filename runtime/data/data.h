/* data.h: data sets on disk, opened, checked and delivered in batches.
 *
 * A missing or unfit file is KD_E_DATA or KD_E_FORMAT with a text (`why`, cut at n) that names the file and the mend. */
#ifndef KD_DATA_H
#define KD_DATA_H
#include "runtime/exec/module.h"

/* Where files are looked for, in order, and where decoded copies are kept. All strings are borrowed. */
typedef struct kd__search {
  const char *const *folder; size_t nfolder;     /* KD_DATA, the program's folder, /usr/share/datasets ... : the caller's choice */
  const char *cache;                             /* folder for decoded copies (made if need be); NULL: none, keep in memory */
} kd__search;
/* The first FOLDER/NAME or FOLDER/NAME.gz that is a readable file, from malloc; NULL: there is none. An absolute name stands for itself. */
char *kd__data_find(const char *const *folder, size_t nfolder, const char *name);
/* A file of weights: found like data, then in the present folder, below which runs write. *out from malloc. KD_E_DATA: there is none. */
kd_status kd__weights_find(const kd__search *s, const char *name, char **out, char *why, size_t n);

typedef struct kd__column {
  const kd_field_source *source;
  const char *path;                              /* the file found */
  kd_type type;                                  /* one sample, as the source declares it */
  size_t sample_bytes;
  int64_t file_rows;                             /* rows in the file; the split takes [first, first + count) of them */
  const void *data;                              /* the split's first sample; NULL when only described */
  const int64_t *row;                            /* sample i is row[i] of `data`; NULL: row i */
} kd__column;
typedef struct kd__split_data {
  const char *name;
  int64_t first, count;
  kd__column *field; uint32_t nfield;
  const int64_t *number;                         /* what the samples are called to programs; NULL: 0, 1, 2 ... */
} kd__split_data;

/* An open data set; read-only and safe to share among threads. */
typedef struct kd_data kd_data;
/* Opens every split and field: element type and sample shape as declared, equal row counts, rows within the file, integer fields
 * below their limit. `d` must outlive it. */
kd_status kd__data_open(const kd_dataset *d, const kd__search *s, kd_data **out, char *why, size_t n);
/* The same from the files' headers alone, without reading or checking values: for `kdc check` and `kdc cost`. */
kd_status kd__data_describe(const kd_dataset *d, const kd__search *s, kd_data **out, char *why, size_t n);
/* A data set without files (`d->made`): its one split has no rows until kd__data_show says where they are. */
kd_status kd__data_empty(const kd_dataset *d, kd_data **out, char *why, size_t n);
typedef struct kd__shown { const void *data; const int64_t *row; } kd__shown;            /* as in kd__column */
/* Its rows from now on: `column` by field; all of it is borrowed until the next call. No loader may be open on it. */
void      kd__data_show(kd_data *d, int64_t count, const kd__shown *column, const int64_t *number);
uint32_t  kd__data_splits(const kd_data *d);
const kd__split_data *kd__data_split(const kd_data *d, uint32_t i);
const kd__split_data *kd__data_split_named(const kd_data *d, const char *name);          /* NULL: absent */
void      kd__data_close(kd_data *d);

/* --- batches ---------------------------------------------------------------------------------------------------------- */
/* A loader gathers batches of one stream in its own thread, ahead of the consumer. One consumer thread at a time. */
typedef struct kd_loader kd_loader;
typedef struct kd__batch {
  int64_t rows;                                  /* the stream's batch size, or fewer in the last batch */
  int64_t number;                                /* within the pass, from 0 */
  void *const *field;                            /* one buffer for each s->bind entry, rows x sample, 64-byte aligned */
  const int64_t *index;                          /* each row's number in the split */
} kd__batch;

/* `d` is the open data set that s->dataset names and must outlive the loader. s->batch 0 is KD_E_USAGE. */
kd_status kd__loader_open(const kd_data *d, const kd_stream *s, kd_loader **out, char *why, size_t n);
int64_t   kd__loader_batches(const kd_loader *l);                  /* of one pass */
/* Begins pass `pass` at batch `batch` (0, or where a stopped run goes on). The order is a pure function of (seed, pass) and
 * the split's size: nothing else needs to be written down to resume. Ends a pass under way. */
void      kd__loader_start(kd_loader *l, uint64_t seed, uint64_t pass, int64_t batch);
/* The next batch; its pointers hold until the next call on this loader. False: the pass is over (or none was begun). */
bool      kd__loader_next(kd_loader *l, kd__batch *out);
/* Number of the batch that the next call of kd__loader_next brings. */
int64_t   kd__loader_position(const kd_loader *l);
void      kd__loader_close(kd_loader *l);
/* What a loader holds of batches of so many bytes. */
int64_t   kd__loader_bytes(int64_t batch);
/* The order of a shuffled pass: order[0 .. n-1] becomes a permutation of 0 .. n-1. */
void      kd__loader_order(uint64_t seed, uint64_t pass, int64_t *order, int64_t n);
#endif
