/* format.h: the table of array formats and what a reader delivers. */
#ifndef KD_FORMAT_H
#define KD_FORMAT_H
#include "runtime/op/op.h"

/* An array in memory, dense, row-major, in this machine's byte order; `data` may be unaligned when mapped. dim[0] counts rows. */
typedef struct kd_array {
  kd_type type;
  const void *data;
  void *heap;                                    /* owned storage, or NULL */
  void *map; size_t map_bytes;                   /* owned mapping, or NULL: the data lies in the file itself */
} kd_array;
void kd__array_free(kd_array *a);
/* "60000 x 28 x 28 u8", for messages; cut at n; returns buf. */
const char *kd__sample_text(const kd_type *t, char *buf, size_t n);

/* What of a file is wanted. Formats without columns or a free choice of element type ignore those members. */
typedef struct kd__read_spec {
  int64_t column_from, column_to;                /* csv: columns [from, to); to 0: the rest */
  kd_dtype dtype;                                /* csv: element type to read as */
  const char *part;                              /* safetensors: tensor name; NULL: the only one */
} kd__read_spec;

typedef struct kd__format {
  const char *name;
  /* The type with its row count, from as few bytes as the format allows (csv must count its lines). */
  kd_status (*header)(const char *path, const kd__read_spec *s, kd_type *type, char *why, size_t n);
  /* The whole array; the caller frees it. On failure *out is empty. Checks the file's exact size. */
  kd_status (*read)(const char *path, const kd__read_spec *s, kd_array *out, char *why, size_t n);
  const char *doc;
} kd__format;
const kd__format *kd__format_find(const char *name);         /* NULL: unknown */
const kd__format *kd__format_at(size_t i);                   /* rows of the table in order; NULL at the end */

#define KD_FORMAT(id, name, header, read, doc) \
  kd_status header(const char *path, const kd__read_spec *s, kd_type *type, char *why, size_t n); \
  kd_status read(const char *path, const kd__read_spec *s, kd_array *out, char *why, size_t n);
#include "runtime/files/formats.def"
#undef KD_FORMAT

/* Readers over an open input: what the functions above do after opening; for fuzzing and for bytes from elsewhere. */
struct kd__input;
kd_status kd__idx_read_input(struct kd__input *in, kd_array *out, char *why, size_t n);
kd_status kd__npy_read_input(struct kd__input *in, kd_array *out, char *why, size_t n);
kd_status kd__csv_read_input(struct kd__input *in, const kd__read_spec *s, kd_array *out, char *why, size_t n);
#endif
