/* plugin.c: what the loader finds: compiles groups, or takes them from the folder of compiled ones, and links them into the process.
 *
 * The plug-in's state, all behind one lock: LLVM's linker, and the code that is in use, so that equal groups of several plans share it. */
#include "runtime/jit/build.h"
#include "runtime/jit/emit.h"
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct live {                            /* `code` first: that is what others hold */
  kd_jit_code code;
  struct live *next;
  size_t uses;
  kd__buf key;
  kd__arena arena;
  LLVMOrcResourceTrackerRef tracker;
} live;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LLVMOrcLLJITRef linker;
static live *first;

static bool tell(LLVMErrorRef err, char *why, size_t n) {
  if (!err) return true;
  char *text = LLVMGetErrorMessage(err);
  snprintf(why, n, "LLVM: %s", text);
  LLVMDisposeErrorMessage(text);
  return false;
}

static bool ready(char *why, size_t n) {
  if (linker) return true;
  if (!tell(LLVMOrcCreateLLJIT(&linker, NULL), why, n)) { linker = NULL; return false; }
#if LLVM_VERSION_MAJOR < 17
  LLVMOrcDefinitionGeneratorRef process;         /* memset and the like; later versions look there by themselves */
  if (tell(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(linker), NULL, NULL), why, n))
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(linker), process);
#endif
  return true;
}

/* --- one group ------------------------------------------------------------------------------------------------------------------------------ */
static void symbol_of(const kd__buf *key, char *name, size_t n) { snprintf(name, n, "kd_group_%016llx", (unsigned long long)kd__hash(key->p, key->n, 1)); }

/* With the lock. What others link at the same time has another name. */
static bool link_object(live *l, const kdj_object *o, char *why, size_t n) {
  char name[40];
  LLVMOrcExecutorAddress at = 0;
  if (!ready(why, n)) return false;
  symbol_of(&l->key, name, sizeof name);
  l->tracker = LLVMOrcJITDylibCreateResourceTracker(LLVMOrcLLJITGetMainJITDylib(linker));
  LLVMMemoryBufferRef m = LLVMCreateMemoryBufferWithMemoryRangeCopy(o->p, o->n, name);
  if (!tell(LLVMOrcLLJITAddObjectFileWithRT(linker, l->tracker, m), why, n) || !tell(LLVMOrcLLJITLookup(linker, &at, name), why, n)) return false;
  void *p = (void *)(uintptr_t)at;
  memcpy(&l->code.fn, &p, sizeof p);
  return true;
}

static void close_live(live *l) {
  if (l->tracker) {
    LLVMErrorRef err = LLVMOrcResourceTrackerRemove(l->tracker);
    if (err) LLVMConsumeError(err);
    LLVMOrcReleaseResourceTracker(l->tracker);
  }
  kd__buf_free(&l->key);
  kd__arena_free(&l->arena);
  free(l);
}

static live *find(const kd__buf *key) {
  live *l = first;
  while (l && !(l->key.n == key->n && memcmp(l->key.p, key->p, key->n) == 0)) l = l->next;
  return l;
}

/* --- many ------------------------------------------------------------------------------------------------------------------------------------ */
typedef struct job {                             /* a group that is not there yet */
  const kd_group *g;
  live *l;
  kdj_object object;
  bool ok;
  char why[160];
} job;
typedef struct jobs { job *v; size_t n; atomic_size_t next; const char *folder; } jobs;

static void make_code(job *j, const char *folder) {
  live *l = j->l;
  char name[40];
  kdj_shape *s = kdj_shape_make(j->g, &l->arena, j->why, sizeof j->why);
  if (!s) return;
  l->code = (kd_jit_code){ .units = s->units, .chunks = s->chunks, .tile = s->tile, .slots = s->slots, .lanes = s->nlanes, .scratch = s->scratch,
                           .nfinal = (uint32_t)s->final.n, .nstore = (uint32_t)s->store.n, .final = s->final.v, .store = s->store.v };
  symbol_of(&l->key, name, sizeof name);
  j->ok = folder && kdj_cache_get(folder, &l->key, &j->object);
  if (j->ok) return;
  j->ok = kdj_build(s, name, &l->arena, &j->object, NULL, j->why, sizeof j->why);
  if (j->ok && folder) kdj_cache_put(folder, &l->key, &j->object);
}
static void *work(void *ctx) {
  jobs *w = ctx;
  for (size_t k; (k = atomic_fetch_add(&w->next, 1)) < w->n;) make_code(&w->v[k], w->folder);
  return NULL;
}

/* Two threads where there is more than one group. */
static void run_jobs(jobs *w) {
  pthread_t other;
  bool two = w->n > 1 && pthread_create(&other, NULL, work, w) == 0;
  work(w);
  if (two) pthread_join(other, NULL);
}

static live *new_live(const kd_group *g) {
  live *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  kd__arena_init(&l->arena, NULL, NULL);
  kdj_key(g, &l->key);
  if (!l->key.failed) return l;
  close_live(l);
  return NULL;
}

/* With the lock: links what was made, unless another thread has done the same in the meantime. */
static kd_jit_code *take(job *j, char *why, size_t n) {
  live *l = j->l, *there = find(&l->key);
  bool ok = there || (j->ok && link_object(l, &j->object, j->why, sizeof j->why));
  if (!ok) snprintf(why, n, "%s", j->why);
  if (there || !ok) close_live(l), l = there;
  else l->next = first, first = l;
  if (ok) l->uses++;
  return ok ? &l->code : NULL;
}

static kd_status compile(const kd_group *const *g, size_t n, const char *folder, kd_jit_code **out, char *why, size_t nwhy) {
  if (!kdj_start(why, nwhy)) return KD_E_UNAVAILABLE;
  job *list = calloc(n + 1, sizeof *list);
  jobs w = { .v = list, .folder = folder };
  size_t *of = calloc(n + 1, sizeof *of);
  kd_status st = list && of ? KD_OK : KD_E_MEMORY;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < n; i++) {
    out[i] = NULL;
    live *l = st == KD_OK ? new_live(g[i]) : NULL, *there = l ? find(&l->key) : NULL;
    if (!l) { st = KD_E_MEMORY; continue; }
    if (there) close_live(l), there->uses++, out[i] = &there->code;
    else of[w.n] = i, list[w.n++] = (job){ .g = g[i], .l = l };
  }
  pthread_mutex_unlock(&lock);
  run_jobs(&w);
  pthread_mutex_lock(&lock);
  for (size_t k = 0; k < w.n; k++) {
    out[of[k]] = take(&list[k], why, nwhy);
    if (!out[of[k]] && st == KD_OK) st = KD_E_UNAVAILABLE;
    free(list[k].object.p);
  }
  pthread_mutex_unlock(&lock);
  free(list);
  free(of);
  return st;
}

static void release(kd_jit_code *code) {
  live *l = (live *)(void *)code, **at = &first;
  pthread_mutex_lock(&lock);
  if (--l->uses == 0) {
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    close_live(l);
  }
  pthread_mutex_unlock(&lock);
}

static const char *about(void) {
  static char text[200];
  char why[100];
  if (!kdj_start(why, sizeof why)) return NULL;
  pthread_mutex_lock(&lock);
  snprintf(text, sizeof text, "LLVM " LLVM_VERSION_STRING ", %s, vectors of %d bits", kdj_cpu(), kdj_vector_bits());
  pthread_mutex_unlock(&lock);
  return text;
}

static bool takes(const kd_group *g) {
  kd__arena a;
  char why[160];
  kd__arena_init(&a, NULL, NULL);
  bool ok = kdj_shape_make(g, &a, why, sizeof why) != NULL;
  kd__arena_free(&a);
  return ok;
}

/* The optimised IR of a group, for a look at it and for tests. */
static bool print(const kd_group *g, kd__buf *out, char *why, size_t n) {
  kd__arena a;
  kdj_object o = { NULL, 0 };
  if (!kdj_start(why, n)) return false;
  kd__arena_init(&a, NULL, NULL);
  kdj_shape *s = kdj_shape_make(g, &a, why, n);
  bool ok = s && kdj_build(s, "kd_group", &a, &o, out, why, n);
  free(o.p);
  kd__arena_free(&a);
  return ok;
}

__attribute__((visibility("default"))) extern const kd_jit_plugin kd_jit_plugin_entry;
const kd_jit_plugin kd_jit_plugin_entry = { KD_JIT_ABI, about, compile, release, takes, print, kdj_helper_table };
