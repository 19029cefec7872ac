/* rows.h: values of samples, kept by the sample's number: columns of so many bytes a row, in memory, or in a file of the cache folder that several
 * processes fill and read.
 *
 * Rows are counted off in shards, which are made, written and checked as a whole. A shard of a file is there when its entry in the file's table has
 * the hash of what it holds, so one that was left half-written, or has changed since, is not. While it is made it is locked; the lock goes with the
 * process. A file belongs to one key: rows of another program, of other weights or data lie in another file. */
#ifndef KD_ROWS_H
#define KD_ROWS_H
#include "runtime/data/data.h"

typedef struct kd__rows_spec { uint64_t key[2]; const size_t *row_bytes; uint32_t ncolumn; int64_t rows, shard; } kd__rows_spec;   /* shard: rows of one */
typedef struct kd__rows kd__rows;
/* `folder` NULL: in memory. Made if need be. KD_E_IO: it cannot be, or there is no room. KD_E_MEMORY. */
kd_status   kd__rows_open(const kd__rows_spec *s, const char *folder, kd__rows **out, char *why, size_t n);
void        kd__rows_close(kd__rows *r);
int64_t     kd__rows_shards(const kd__rows *r);
const void *kd__rows_column(const kd__rows *r, uint32_t column);        /* row after row; what is there stays where it is */
/* THERE: it can be read. MINE: the caller makes it now, and ends with kd__rows_done. TAKEN: another process is at it. */
typedef enum kd__rows_state { KD__ROWS_THERE, KD__ROWS_MINE, KD__ROWS_TAKEN } kd__rows_state;
kd__rows_state kd__rows_claim(kd__rows *r, int64_t shard);
kd_status   kd__rows_put(kd__rows *r, uint32_t column, int64_t first, int64_t count, const void *from);
kd_status   kd__rows_done(kd__rows *r, int64_t shard);

/* A hash of a split's column. What is large is hashed once, and remembered in `folder` (NULL: nowhere) by its file, as long as that does not change. */
uint64_t    kd__rows_content(const kd__split_data *s, uint32_t field, const char *folder);
#endif
