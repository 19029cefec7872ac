/* file.h: bytes from plain or gzip files, and files written whole or not at all. The floor of every format reader.
 *
 * All functions return a kd_status and, on failure, fill the caller's text `why` (NUL-terminated, cut at n; may be NULL with n 0)
 * with the file, what is wrong and how to mend it. Nothing here prints or exits. */
#ifndef KD_FILE_H
#define KD_FILE_H
#include "runtime/base/base.h"

/* Fills `why` and returns `s`: `return kd__why(why, n, KD_E_FORMAT, "%s: ...", path)`. */
kd_status kd__why(char *why, size_t n, kd_status s, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* A file mapped for reading. An empty file has p NULL, n 0. */
typedef struct kd__map_file { const uint8_t *p; size_t n; } kd__map_file;
kd_status kd__map_open(const char *path, kd__map_file *out, char *why, size_t n);
void      kd__map_close(kd__map_file *m);

/* Sequential reading of a plain or gzip file (told apart by its first bytes). Memory use is constant. */
typedef struct kd__input kd__input;
kd_status kd__input_open(const char *path, kd__input **out, char *why, size_t n);
/* The same over bytes in memory, which must outlive it; `name` is for messages. */
kd_status kd__input_memory(const void *p, size_t bytes, const char *name, kd__input **out, char *why, size_t n);
/* Reads `want` bytes; *got is smaller only at the end. A broken or truncated gzip stream is KD_E_FORMAT. */
kd_status kd__input_read(kd__input *in, void *to, size_t want, size_t *got, char *why, size_t n);
const char *kd__input_name(const kd__input *in);
bool      kd__input_gzip(const kd__input *in);
/* No more bytes than this can follow from the start: the file's size, or for gzip what deflate could make of it at the very best.
 * Readers hold sizes claimed by a header against it before they allocate. */
uint64_t  kd__input_bound(const kd__input *in);
void      kd__input_close(kd__input *in);

/* A file written aside (temporary name in the same folder) that appears under its name only when whole. Errors are sticky. */
typedef struct kd__output { int fd, error; bool sync; char *path, *temp; uint64_t written; } kd__output;
/* `sync` false: no fsync (for files that may be lost, such as caches). */
kd_status kd__output_open(kd__output *o, const char *path, bool sync, char *why, size_t n);
void      kd__output_write(kd__output *o, const void *p, size_t bytes);
/* Syncs, renames, syncs the folder. On failure nothing is left under either name (an older file of that name stays). Ends `o`. */
kd_status kd__output_commit(kd__output *o, char *why, size_t n);
void      kd__output_abort(kd__output *o);
/* All of it in one call, synced. */
kd_status kd__file_write(const char *path, const void *p, size_t bytes, char *why, size_t n);
/* A whole (small) plain file; *out is NUL-terminated, from malloc. More than `limit` bytes is KD_E_FORMAT. */
kd_status kd__file_read(const char *path, size_t limit, char **out, size_t *bytes, char *why, size_t n);
/* Makes a folder and those above it. False: it is not there (errno says why). */
bool      kd__make_folders(const char *folder);
#endif
