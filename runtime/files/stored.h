/* stored.h: element types as files store them, and how they widen to the types of op.h. Private to runtime/files. */
#ifndef KD_STORED_H
#define KD_STORED_H
#include "runtime/files/file.h"
#include "runtime/files/format.h"

typedef enum kd__stored_kind { KD_STORED_INT, KD_STORED_UINT, KD_STORED_FLOAT, KD_STORED_BFLOAT, KD_STORED_BOOL } kd__stored_kind;
typedef struct kd__stored { kd__stored_kind kind; uint8_t bytes; bool big; } kd__stored;   /* big: big-endian */

/* The type that holds every value of `st`: u8, bool, f32 (from f16, bf16), f64, else i64. */
kd_dtype kd__stored_dtype(const kd__stored *st);
/* Elements can be used in place, as kd__stored_dtype. */
bool     kd__stored_direct(const kd__stored *st);
bool     kd__stored_converts(const kd__stored *st, kd_dtype as);
/* `from` may overlap the end of `to` as long as both end at the same byte. u64 values beyond i64 wrap; readers refuse u64. */
void     kd__stored_widen(const kd__stored *st, const void *from, size_t count, kd_dtype as, void *to);

/* Reads the rest of `in`, which must be exactly type's elements stored as `st`; type->dtype is set. Uses the mapping where it can. */
kd_status kd__stored_read(kd__input *in, const kd__stored *st, kd_type *type, kd_array *out, char *why, size_t n);

/* Formats that are a header and then the elements, no more: `start` reads the header. */
typedef kd_status (*kd__start_fn)(kd__input *in, kd__stored *st, kd_type *type, char *why, size_t n);
kd_status kd__start_array(kd__input *in, kd__start_fn start, kd_array *out, char *why, size_t n);
kd_status kd__start_header(const char *path, kd__start_fn start, kd_type *type, char *why, size_t n);
kd_status kd__start_read(const char *path, kd__start_fn start, kd_array *out, char *why, size_t n);

/* Gives the input's file mapping away, of which `bytes` bytes from the current position are wanted. False: gzip, or not a file. */
bool kd__input_take(kd__input *in, size_t bytes, kd_array *out);
size_t kd__input_position(const kd__input *in);  /* plain input: bytes read so far */
#endif
