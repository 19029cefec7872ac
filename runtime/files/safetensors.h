/* safetensors.h: named tensors in a file: an 8-byte length, a JSON header, the bytes. Checkpoints, pretrained weights, results. */
#ifndef KD_SAFETENSORS_H
#define KD_SAFETENSORS_H
#include "runtime/files/file.h"
#include "runtime/op/op.h"

typedef struct kd__st_pair { const char *key, *value; } kd__st_pair;

typedef struct kd__st_tensor {
  const char *name;
  const char *stored;                            /* "F32", "I64", "BF16" ... */
  kd_type type;                                  /* dtype: what kd__st_copy makes of it by default: I8..I32, U16, U32 -> i64; F16, BF16 -> f32 */
  bool direct;                                   /* stored in that very type: `data` can be used as it is */
  const void *data; size_t bytes;                /* in the file's bytes; may be unaligned in files of others */
} kd__st_tensor;

typedef struct kd__safetensors {
  kd__st_tensor *tensor; size_t n;               /* sorted by name */
  kd__st_pair *meta; size_t nmeta;               /* in the file's order */
  kd__arena arena;
  kd__map_file map;
} kd__safetensors;
/* Maps the file and checks all of it but the numbers: header within limits, known types, shapes agree with byte ranges, which lie
 * end to end without overlap or gap. On failure *out is empty. */
kd_status kd__st_open(const char *path, kd__safetensors *out, char *why, size_t n);
/* The same over bytes in memory, which must outlive it; `name` is for messages. */
kd_status kd__st_parse(const void *p, size_t bytes, const char *name, kd__safetensors *out, char *why, size_t n);
void      kd__st_close(kd__safetensors *f);
const kd__st_tensor *kd__st_find(const kd__safetensors *f, const char *name);            /* NULL: absent */
const char          *kd__st_meta(const kd__safetensors *f, const char *key);             /* NULL: absent */
/* Copies a tensor's elements into `to`, widening as told above; `as` is t->type.dtype, or F64 for any floating one, or I64 for u8
 * and bool. False: no such conversion. */
bool      kd__st_copy(const kd__st_tensor *t, kd_dtype as, void *to);

/* What is written: dense row-major data in this machine's byte order. */
typedef struct kd__st_item { const char *name; kd_type type; const void *data; } kd__st_item;
/* Writes aside, syncs and renames: `path` is either the whole new file or what it was before. The bytes depend on nothing but the
 * content: tensors by element size (widest first, which keeps each aligned) and name, metadata by key. A name given twice: KD_E_USAGE. */
kd_status kd__st_write(const char *path, const kd__st_item *item, size_t nitem, const kd__st_pair *meta, size_t nmeta, char *why, size_t n);
#endif
