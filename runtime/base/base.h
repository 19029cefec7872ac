/* base.h: allocation, arenas, strings, growable arrays, hashing. The floor of every layer.
 *
 * Ownership: an arena owns all that it hands out; a kd__buf owns its bytes until kd__buf_free.
 * Failure: out of memory in an arena or buffer jumps to the session's recovery point when one is set (compile side,
 * see kd__oom), and returns NULL otherwise; callers on the run side check for NULL. */
#ifndef KD_BASE_H
#define KD_BASE_H
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum kd_status {
#define KD_STATUS(id, text) KD_##id,
#include "runtime/base/status.def"
#undef KD_STATUS
  KD_STATUS_COUNT
} kd_status;
const char *kd_status_text(kd_status s);

/* The user's allocation hook: like realloc; new_size 0 frees. Told the old size. Returns NULL on failure. */
typedef struct kd_allocator {
  void *(*resize)(void *ctx, void *old, size_t old_size, size_t new_size);
  void *ctx;
} kd_allocator;
extern const kd_allocator kd__default_allocator;

/* Where to go when memory runs out while compiling. `armed` false: return NULL instead. */
typedef struct kd__oom { jmp_buf jump; bool armed; } kd__oom;

typedef struct kd__arena {
  const kd_allocator *alloc;
  kd__oom *oom;                    /* may be NULL */
  struct kd__arena_block *head;    /* newest block first */
  size_t used;                     /* bytes handed out, for limits and reports */
  bool lasting;                    /* holds much, for long: large blocks lie on huge pages where there are any */
} kd__arena;
void  kd__arena_init(kd__arena *a, const kd_allocator *alloc, kd__oom *oom);   /* alloc NULL: the default */
void  kd__arena_free(kd__arena *a);
void  kd__arena_reset(kd__arena *a);                               /* as free, but the newest block stays for what comes next */
void *kd__arena_get(kd__arena *a, size_t size);                    /* zeroed, 16-byte aligned */
void *kd__arena_copy(kd__arena *a, const void *src, size_t size);
char *kd__arena_strndup(kd__arena *a, const char *s, size_t n);    /* NUL-terminated */
char *kd__arena_printf(kd__arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *kd__arena_vprintf(kd__arena *a, const char *fmt, va_list ap);
#define KD_NEW(a, T) ((T *)kd__arena_get((a), sizeof(T)))
#define KD_NEWN(a, T, n) ((T *)kd__arena_get((a), sizeof(T) * (size_t)(n)))

/* Memory for numbers: zeroed, 64-byte aligned. Large blocks are mapped on huge pages: fewer page faults when they are touched first and fewer misses of
 * the page table afterwards; they cost nothing until they are touched. NULL: no memory. */
void *kd__block_get(size_t size);
void  kd__block_free(void *p, size_t size);                        /* of the size that was asked for; NULL is allowed */

/* Growable array in an arena: `KD_PUSH(arena, vec, value)` on a struct with fields `v`, `n`, `cap`. */
#define KD_VEC(T) struct { T *v; size_t n, cap; }
void kd__vec_grow(kd__arena *a, void **v, size_t *cap, size_t n, size_t elem);
#define KD_PUSH(a, vec, ...) \
  do { \
    if ((vec).n == (vec).cap) kd__vec_grow((a), (void **)&(vec).v, &(vec).cap, (vec).n, sizeof *(vec).v); \
    (vec).v[(vec).n++] = (__VA_ARGS__); \
  } while (0)

/* Growable text or bytes; always NUL-terminated when not empty. `failed` is sticky on out of memory. */
typedef struct kd__buf { char *p; size_t n, cap; bool failed; } kd__buf;
void kd__buf_add(kd__buf *b, const void *s, size_t n);
void kd__buf_puts(kd__buf *b, const char *s);
void kd__buf_putc(kd__buf *b, char c);
void kd__buf_printf(kd__buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kd__buf_free(kd__buf *b);
/* Moves the text into the arena and frees the buffer, also where the arena has no memory left and jumps. */
char *kd__buf_keep(kd__buf *b, kd__arena *a);
void kd__buf_json(kd__buf *b, const char *s, size_t n);            /* a quoted JSON string; invalid UTF-8 becomes U+FFFD */

/* FNV-1a style 64-bit hashing with a final avalanche. */
uint64_t kd__hash(const void *p, size_t n, uint64_t seed);
uint64_t kd__mix(uint64_t a, uint64_t b);                          /* combines two hashes, order matters */

/* String-keyed map in an arena; keys are copied. Iteration is in insertion order by index. */
typedef struct kd__map {
  kd__arena *arena;
  struct kd__map_item { const char *key; size_t len; uint64_t hash; void *value; } *item;
  size_t n, cap;
  uint32_t *slot; size_t nslot;
} kd__map;
void   kd__map_init(kd__map *m, kd__arena *a);
void **kd__map_at(kd__map *m, const char *key);                    /* finds or inserts (value NULL) */
void  *kd__map_get(const kd__map *m, const char *key);             /* NULL when absent */
bool   kd__map_has(const kd__map *m, const char *key);

/* Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011). Same (key, counter) gives the same four words on any thread. */
void kd__philox(uint64_t key, uint64_t ctr_lo, uint64_t ctr_hi, uint32_t out[4]);

/* Edit distance with a cap, for "did you mean". */
size_t kd__edit_distance(const char *a, const char *b, size_t cap);
#endif
