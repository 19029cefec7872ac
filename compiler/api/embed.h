/* embed.h: the standard library's texts in the binary; cmake/embed.cmake makes the table from stdlib/ at build time. */
#ifndef KD_API_EMBED_H
#define KD_API_EMBED_H
#include <stddef.h>

/* name: path under stdlib/ without ".kd". The row after the last has a NULL name. */
typedef struct kd__embedded { const char *name, *text; size_t size; } kd__embedded;
extern const kd__embedded kd__stdlib[];
extern const size_t kd__nstdlib;
#endif
