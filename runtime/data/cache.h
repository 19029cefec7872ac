/* cache.h: decoded copies of arrays in a folder, mapped when they are needed again. Private to runtime/data.
 *
 * A copy is named after where it came from and carries what the source looked like then; it is used only if that still holds and its
 * own bytes are intact. Every failure means no more than that there is no copy. */
#ifndef KD_CACHE_H
#define KD_CACHE_H
#include "runtime/files/format.h"

typedef struct kd__cache_id { uint64_t place, content; } kd__cache_id;   /* which array; what its file looks like now */
bool kd__cache_identify(const char *path, const char *format, const kd__read_spec *s, kd__cache_id *id);
bool kd__cache_get(const char *folder, const kd__cache_id *id, kd_array *out);
void kd__cache_put(const char *folder, const kd__cache_id *id, const kd_array *a);
#endif
