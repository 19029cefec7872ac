/* jit.c: groups as native code: the plug-in opened at first use, and its chunk functions run by the thread team.
 *
 * The plug-in is looked for beside the program, beside the library that this code is part of, in ../lib/kdc of either, and where it was built. Like the
 * handles of libs.c, it is set once and never changed. */
#include "runtime/kernels/jit_final.h"
#include "runtime/kernels/par.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const kd_jit_plugin *plugin;
static char about[400];
static pthread_once_t jit_once = PTHREAD_ONCE_INIT;

/* --- the plug-in ----------------------------------------------------------------------------------------------------------------------------- */
#ifdef KD__JIT_PATH
static void *open_in(const char *file, const char *sub, char *why, size_t n) {
  char path[4096];
  const char *end = file ? strrchr(file, '/') : NULL;
  if (!end || snprintf(path, sizeof path, "%.*s%s/libkd_jit.so", (int)(end - file), file, sub) >= (int)sizeof path || access(path, R_OK) != 0) return NULL;
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) snprintf(why, n, "%s", dlerror());
  return lib;
}

static void open_plugin(void) {
  char self[4096] = "", why[300] = "libkd_jit.so is not there: kdc was built without LLVM 15 to 19 (Debian: llvm-19-dev), or moved without it";
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  self[n > 0 ? n : 0] = 0;
  Dl_info me = { 0 };
  dladdr(about, &me);
  const char *const place[] = { self, self, me.dli_fname, me.dli_fname, KD__JIT_PATH }, *const sub[] = { "", "/../lib/kdc", "", "/../lib/kdc", "" };
  void *lib = NULL;
  for (size_t k = 0; k < sizeof place / sizeof place[0] && !lib; k++) lib = open_in(place[k], sub[k], why, sizeof why);
  const kd_jit_plugin *p = lib ? dlsym(lib, "kd_jit_plugin_entry") : NULL;
  if (p && p->abi != KD_JIT_ABI) p = NULL;
  if (lib && !p) snprintf(why, sizeof why, "libkd_jit.so is of another version of kdc");
  const char *text = p ? p->about() : NULL;
  if (p && !text) p = NULL, snprintf(why, sizeof why, "LLVM cannot make code for this machine");
  snprintf(about, sizeof about, "%s", p ? text : why);
  plugin = p;
}
#else
static void open_plugin(void) { snprintf(about, sizeof about, "built without it (the CMake option KD_JIT, and LLVM 15 to 19)"); }
#endif

const kd_jit_plugin *kd__jit(void) {
  pthread_once(&jit_once, open_plugin);
  return plugin;
}
bool kd__jit_there(void) { return kd__jit() != NULL; }
const char *kd__jit_about(void) {
  kd__jit();
  return about;
}

/* --- code that is held ------------------------------------------------------------------------------------------------------------------------ */
typedef struct held { size_t n; kd_jit_code *code[]; } held;

void *kd__jit_hold(const kd_group *const *g, size_t n, const kd_kernel_settings *s) {
  char why[200];
  if (!s->jit || s->reference || n == 0 || !kd__jit()) return NULL;
  held *h = calloc(1, sizeof *h + n * sizeof *h->code);
  const kd_group **good = calloc(n, sizeof *good);
  if (h && good) {
    for (size_t i = 0; i < n; i++)
      if (kd__group_valid(g[i], why, sizeof why)) good[h->n++] = g[i];
    plugin->compile(good, h->n, s->compiled, h->code, why, sizeof why);
  }
  free(good);
  return h;
}
void kd__jit_drop(void *held_) {
  held *h = held_;
  for (size_t i = 0; h && i < h->n; i++)
    if (h->code[i]) plugin->release(h->code[i]);
  free(h);
}

double kd__group_work(const kd_group *g) {
  double all = 0;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    double points = 1. / 16;
    for (uint32_t a = 0; a < g->rank; a++)
      if ((v->axes | (v->kind == KD_GROUP_REDUCE ? v->over : 0)) >> a & 1) points *= (double)g->size[a];
    all += points;
  }
  return all;
}

/* --- the kernel ------------------------------------------------------------------------------------------------------------------------------- */
/* Where LLVM fails all the same, `other` runs: what would have been chosen without native code. */
typedef struct prepared { kd_jit_code *code; const kd_kernel *other; kd_call call; void *operand[]; } prepared;

bool kd__jit_takes(const kd_call *c, const kd_kernel_settings *s) { return s->jit && c->group && kd__jit() && plugin->takes(c->group); }

kd_status kd__jit_prepare(kd_call *c, const kd_kernel_settings *s) {
  char why[200];
  prepared *p = calloc(1, sizeof *p + (c->nin + c->nout + (size_t)1) * sizeof *p->operand);
  if (!p) return KD_E_MEMORY;
  kd_status st = plugin->compile(&c->group, 1, s->compiled, &p->code, why, sizeof why);
  if (st != KD_OK) {
    kd_kernel_settings without = *s;
    without.jit = false;
    p->call = *c;
    p->other = kd__kernel_find(c, &without);
    st = p->other->prepare ? p->other->prepare(&p->call, &without) : KD_OK;
    if (st != KD_OK) { free(p); return st; }
  }
  c->prepared = p;
  return KD_OK;
}
void kd__jit_release(void *prepared_) {
  prepared *p = prepared_;
  if (p && p->code) plugin->release(p->code);
  if (p && p->call.prepared && p->other->release) p->other->release(p->call.prepared);
  free(p);
}

static int64_t aligned(int64_t n) { return (n + 63) / 64 * 64; }
static int64_t thread_bytes(const kd_jit_code *k) { return aligned(k->lanes * 4) + aligned((int64_t)k->scratch); }

size_t kd__jit_scratch(const kd_call *c, const kd_kernel_settings *s) {
  const prepared *p = c->prepared;
  if (!p) return 0;
  if (p->other) return p->other->scratch ? p->other->scratch(&p->call, s) : 0;
  return (size_t)(aligned(p->code->chunks * p->code->slots * 8) + kd__max(1, s->threads) * thread_bytes(p->code));
}

static void fault(const kd_jit_args *a, uint32_t i, const int64_t *value, uint64_t mask, int64_t number, int64_t step) {
  const kd_group_ins *v = &a->g->ins[i];
  bool index = v->kind == KD_GROUP_GATHER || v->kind == KD_GROUP_CHECK;
  for (int k = 0; k < 64; k++)
    if (mask >> k & 1) kd__fault_at(a->x, index ? KD_OP_GATHER : (kd_op)v->op, v->origin, value[k], index ? v->limit : 0, number + k * step);
}

typedef struct work { kd_jit_args a; const kd_jit_code *code; char *slot, *own; } work;

static void run_chunk(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  const kd_jit_code *k = w->code;
  double *slot = (double *)(void *)w->slot + chunk * k->slots;
  char *own = w->own + kd__par_thread() * thread_bytes(k);
  float *lane = (float *)(void *)own;
  int64_t tile = k->tile ? k->tile : end - begin;
  kd__jit_final_begin(k, slot, lane);
  for (int64_t at = begin; at < end; at += tile) {
    int64_t to = kd__min(at + tile, end);
    k->fn(&w->a, at, to, slot, lane, own + aligned(k->lanes * 4));
    if (k->lanes) kd__jit_final_tile(k, to - at, slot, lane);
  }
}

void kd__jit_run(const kd_call *c, const kd_exec *x) {
  prepared *p = c->prepared;
  if (p->other) { p->other->run(&p->call, x); return; }
  const kd_jit_code *k = p->code;
  for (uint32_t i = 0; i < c->nin + c->nout; i++) p->operand[i] = i < c->nin ? c->in[i].data : c->out[i - c->nin].data;
  work w = { { p->operand, fault, x, c->group, plugin->helper }, k, x->scratch, (char *)x->scratch + aligned(k->chunks * k->slots * 8) };
  int64_t size = kd__ceil_div(k->units, k->chunks);
  kd__par_for(x, k->units, k->chunks, 1, run_chunk, &w);
  if (k->nfinal) kd__jit_final_end(k, kd__ceil_div(k->units, size), (double *)(void *)w.slot, p->operand);
}
