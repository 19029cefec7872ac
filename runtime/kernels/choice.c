/* choice.c: choices as a sorted table and as text; trying kernels. */
#include "runtime/kernels/choice.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/simd.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { VERSION = 1, NAME_MAX = 40, WHAT_MAX = 200, CHOICES_MAX = 100000 };
enum { TRIALS = 100, TRIALS_LEAST = 3, LONG = 2 << 20, ROOM = 16 << 20 };       /* LONG: bytes; ROOM: floats, more than caches hold */
typedef struct choice { uint64_t key; const char *kernel; char what[WHAT_MAX]; } choice;
struct kd_choices { choice *v; size_t n, cap; };

bool kd__call_choosable(const kd_call *c) { return c->op < KD_OP_COUNT && kd__op_info(c->op)->cls == KD_CLASS_CONTRACT; }

static uint64_t mix(uint64_t h, int64_t v) { return kd__hash(&v, sizeof v, h); }
uint64_t kd__call_key(const kd_call *c, const kd_kernel_settings *s) {
  const char *name = kd__op_info(c->op)->name;
  uint64_t h = kd__hash(name, strlen(name), VERSION);
  h = mix(h, s->deterministic ? 0 : s->threads), h = mix(h, s->deterministic), h = mix(h, s->use_dnnl), h = mix(h, s->winograd);
  for (uint32_t i = 0; i < c->nin + c->nout; i++) {
    const kd_tensor *t = i < c->nin ? &c->in[i] : &c->out[i - c->nin];
    h = mix(h, t->dtype), h = mix(h, t->rank), h = mix(h, i < c->nin && c->version && c->version[i]);
    for (int d = 0; d < t->rank; d++) h = mix(h, t->dim[d]), h = mix(h, t->dim[d] == 1 ? 0 : t->stride[d]);
  }
  for (int i = 0; i < kd__op_info(c->op)->nattr; i++) {
    h = mix(h, c->attr[i].kind == 'I' ? c->attr[i].n : c->attr[i].u.i);
    for (uint32_t k = 0; c->attr[i].kind == 'I' && k < c->attr[i].n; k++) h = mix(h, c->attr[i].u.list[k]);
  }
  return h;
}

kd_choices *kd__choices_new(void) { return calloc(1, sizeof(kd_choices)); }
void kd__choices_free(kd_choices *c) {
  if (c) free(c->v);
  free(c);
}
size_t kd__choices_count(const kd_choices *c) { return c->n; }

/* The first choice whose key is not below. */
static size_t place(const kd_choices *c, uint64_t key) {
  size_t lo = 0, hi = c->n;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (c->v[mid].key < key) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

bool kd__choices_set(kd_choices *c, uint64_t key, const char *kernel, const char *what) {
  const char *known = kd__kernel_name(kernel);
  size_t at = place(c, key);
  if (!known || c->n >= CHOICES_MAX) return false;
  if (at == c->n || c->v[at].key != key) {
    if (c->n == c->cap) {
      choice *more = realloc(c->v, (2 * c->cap + 16) * sizeof *more);
      if (!more) return false;
      c->v = more, c->cap = 2 * c->cap + 16;
    }
    memmove(c->v + at + 1, c->v + at, (c->n++ - at) * sizeof *c->v);
  }
  c->v[at] = (choice){ .key = key, .kernel = known };
  snprintf(c->v[at].what, sizeof c->v[at].what, "%s", what);
  return true;
}

bool kd__choices_add(kd_choices *c, const kd_choices *more) {
  bool ok = true;
  for (size_t i = 0; ok && i < more->n; i++) ok = kd__choices_set(c, more->v[i].key, more->v[i].kernel, more->v[i].what);
  return ok;
}

const char *kd__choices_get(const kd_choices *c, uint64_t key) {
  size_t at = place(c, key);
  return at < c->n && c->v[at].key == key ? c->v[at].kernel : NULL;
}

/* --- text ------------------------------------------------------------------------------------------------------------------------------ */
void kd__choices_machine(kd__buf *out) {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  char vendor[13] = "";
  if (__get_cpuid(0, &a, &b, &c, &d)) memcpy(vendor, &b, 4), memcpy(vendor + 4, &d, 4), memcpy(vendor + 8, &c, 4);
  if (__get_cpuid(1, &a, &b, &c, &d)) kd__buf_printf(out, "%s %08x, ", vendor, a);
#endif
  kd__buf_printf(out, "%s, ", kd__simd_best()->name);
  kd__kernel_libraries(out);
}

static void head(kd__buf *out) {
  kd__buf_printf(out, "kdc kernels %d\nmachine ", VERSION);
  kd__choices_machine(out);
  kd__buf_putc(out, '\n');
}
static void put_check(kd__buf *out) {
  uint64_t h = out->p ? kd__hash(out->p, out->n, VERSION) : 0;
  kd__buf_printf(out, "check %016" PRIx64 "\n", h);
}

void kd__choices_write(const kd_choices *c, kd__buf *out) {
  head(out);
  for (size_t i = 0; i < c->n; i++) kd__buf_printf(out, "%016" PRIx64 " %s %s\n", c->v[i].key, c->v[i].kernel, c->v[i].what);
  put_check(out);
}

static bool read_line(kd_choices *c, const char *line, size_t n) {
  char text[16 + 2 + NAME_MAX + WHAT_MAX], name[NAME_MAX];
  uint64_t key;
  int at = 0;
  if (n >= sizeof text) return false;
  memcpy(text, line, n), text[n] = 0;
  return sscanf(text, "%16" SCNx64 " %39s %n", &key, name, &at) == 2 && at > 0 && kd__choices_set(c, key, name, text + at);
}

kd_choices *kd__choices_read(const char *text, size_t n) {
  kd_choices *c = kd__choices_new();
  kd__buf want = { 0 };
  head(&want);
  bool ok = c && !want.failed && n >= want.n && memcmp(text, want.p, want.n) == 0;
  for (size_t at = want.n, end; ok && at < n; at = end + 1) {
    const char *stop = memchr(text + at, '\n', n - at);
    end = stop ? (size_t)(stop - text) : n;
    if (end - at > 6 && memcmp(text + at, "check ", 6) == 0) break;
    ok = stop && read_line(c, text + at, end - at);
  }
  /* What it would be written as is what it is, hash and all. */
  want.n = 0;
  if (ok) kd__choices_write(c, &want);
  ok = ok && !want.failed && want.n == n && memcmp(text, want.p, n) == 0;
  kd__buf_free(&want);
  if (ok) return c;
  kd__choices_free(c);
  return NULL;
}

/* --- trying ------------------------------------------------------------------------------------------------------------------------------ */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct trial { const kd_kernel *k; const kd_call *c; float *room; double best; } trial;
static double run_times(const trial *t, const kd_exec *x, int n) {
  double start = now();
  for (int i = 0; i < n; i++) t->k->run(t->c, x);
  return (now() - start) / n;
}

static void wipe(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  trial *t = ctx;
  (void)chunk;
  for (int64_t i = begin; i < end; i++) t->room[i] += 1;
}

/* Short calls many times on end: reading the clock takes as long as the shortest. Long ones find nothing in the caches, as in a step, where much else
 * was touched since their operands were. */
static void run_trial(void *ctx, const kd_exec *x) {
  trial *t = ctx;
  (void)run_times(t, x, 1);                      /* pages, caches, code that is made late */
  double once = run_times(t, x, 1), spent = 0;
  int times = once < 2e-5 ? (int)(2e-5 / (once + 1e-7)) + 1 : 1;
  for (int i = 0; i < TRIALS && (i < TRIALS_LEAST || spent < 0.008); i++) {
    if (t->room) kd__par_for(x, ROOM, x->threads, 16, wipe, t);
    double took = run_times(t, x, times);
    spent += took * times;
    if (i == 0 || took < t->best) t->best = took;
  }
}

static bool is_long(const kd_call *c) {
  size_t bytes = 0;
  for (uint32_t i = 0; i < c->nin + c->nout; i++) {
    const kd_tensor *t = i < c->nin ? &c->in[i] : &c->out[i - c->nin];
    bytes += (size_t)kd__count(t) * kd__dtype_size((kd_dtype)t->dtype);
  }
  return bytes >= LONG;
}

double kd__kernel_try(const kd_call *c, const kd_kernel_settings *s, int i, const kd_kernel **which) {
  kd_call call = *c;
  kd_fault fault = { 0 };
  kd_exec x = { .threads = s->threads, .deterministic = s->deterministic, .fault = &fault };
  const kd_kernel *k = *which = kd__kernel_nth(&call, s, i);
  call.prepared = NULL, call.kept = 0;
  if (!k || (k->prepare && k->prepare(&call, s) != KD_OK)) return 0;
  x.scratch = aligned_alloc(64, (k->scratch ? k->scratch(&call, s) : 0) / 64 * 64 + 128);
  trial t = { .k = k, .c = &call, .room = is_long(&call) ? kd__block_get(ROOM * sizeof(float)) : NULL };
  if (x.scratch) kd__team_run(&x, run_trial, &t);
  kd__block_free(t.room, ROOM * sizeof(float));
  if (k->release) k->release(call.prepared);
  free(x.scratch);
  return t.best;
}
