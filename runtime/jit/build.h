/* build.h: from a group's shape to machine code. Internal to the plug-in. */
#ifndef KD_JIT_BUILD_H
#define KD_JIT_BUILD_H
#include "runtime/jit/shape.h"

/* Raised whenever the code that is made for a group, or the layout of what goes with it, changes: compiled groups of before are then not used. */
enum { KDJ_VERSION = 14 };

/* Object code for the host's CPU, from malloc; NULL with a reason. `text`: also the optimised IR, if not NULL. */
typedef struct kdj_object { char *p; size_t n; } kdj_object;
bool kdj_build(const kdj_shape *s, const char *symbol, kd__arena *a, kdj_object *out, kd__buf *text, char *why, size_t n);
const char *kdj_cpu(void);
const char *kdj_features(void);
int kdj_vector_bits(void);
bool kdj_start(char *why, size_t n);             /* once a process; false: LLVM cannot make code for this machine */

/* What a compiled group is made from and for: group, CPU, LLVM, code maker. */
void kdj_key(const kd_group *g, kd__buf *out);
/* Compiled groups in a folder: found only if key and bytes are what was written. A failure means no more than that there is none. */
bool kdj_cache_get(const char *folder, const kd__buf *key, kdj_object *out);
void kdj_cache_put(const char *folder, const kd__buf *key, const kdj_object *o);
#endif
