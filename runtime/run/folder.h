/* folder.h: the run folder: log.jsonl, settings.json, source/, weights, report.json.
 *
 * A folder belongs to runs when it holds the marker file, which lists what they wrote there. A new run removes those files and nothing
 * else, and holds a lock on the marker while it is at work. Whole files are written aside, synced and renamed; the log grows by whole lines. */
#ifndef KD_FOLDER_H
#define KD_FOLDER_H
#include "runtime/run/run.h"

#define KD__RUN_MARKER ".kdc-run"
typedef struct kd__folder kd__folder;
/* Makes the folder if need be. KD_E_IO with a text: cannot be made or written, holds other files, or another run is at work in it. */
kd_status kd__folder_open(const char *path, kd__folder **out, char *why, size_t n);
/* The folder of an earlier run, to go on with it: locked, and nothing in it changed yet. *done: its log says that it ended well.
 * KD_E_IO with a text: no run's folder, or a run is at work in it. */
kd_status kd__folder_reopen(const char *path, kd__folder **out, bool *done, char *why, size_t n);
/* Of a folder opened again: the log cut back to `size` bytes (KD_E_FORMAT: it has fewer), half-written files and the report removed. */
kd_status kd__folder_rewind(kd__folder *f, int64_t size, char *why, size_t n);
int64_t   kd__folder_log_size(const kd__folder *f);
/* The path of one of its files, from malloc; NULL: no memory. */
char     *kd__folder_path(const kd__folder *f, const char *name);
void      kd__folder_remove(const kd__folder *f, const char *name);     /* if it is there */
void      kd__folder_close(kd__folder *f);
/* Appends one line (without its newline). A line that does not fit on the disk leaves no half of it. */
kd_status kd__folder_log(kd__folder *f, const kd__buf *line, char *why, size_t n);
/* A whole file under the name `name`, which is relative and may have folders in it (made if need be). With `later` it is synced by the next
 * kd__folder_sync: a run begins with many small files, and each sync is milliseconds. */
kd_status kd__folder_write(kd__folder *f, const char *name, const void *p, size_t bytes, bool later, char *why, size_t n);
/* The path of a file that is about to be written by other means (weights), from malloc; listed in the marker. NULL: see `why`. */
char     *kd__folder_claim(kd__folder *f, const char *name, kd_status *s, char *why, size_t n);
/* Everything on disk, the log too. */
kd_status kd__folder_sync(kd__folder *f, char *why, size_t n);

/* A number as JSON, as short as it can be and still come back; "nan", "inf", "-inf" as strings. Whatever the locale. */
void      kd__json_number(kd__buf *b, double v);
#endif
