/* limits_file.c: measured limits in the cache folder: a few lines of text, the last of which is a hash of the others. */
#include "runtime/cost/limits.h"
#include "runtime/files/file.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { VERSION = 2, FILE_MAX = 1 << 16 };

/* Every number by its name: what is written is what is read. */
typedef struct item { const char *name; double *at; } item;
enum { MAY_BE_0 = 10, ITEMS = 12 };             /* region and disturbed */
static void items(kd__limits *l, item *out) {
  const item all[ITEMS] = {
    { "flops.one", &l->flops[0] }, { "flops.team", &l->flops[1] },
    { "l2.one", &l->bytes[0][KD__REACH_L2] }, { "l3.one", &l->bytes[0][KD__REACH_L3] }, { "memory.one", &l->bytes[0][KD__REACH_MEMORY] },
    { "l2.team", &l->bytes[1][KD__REACH_L2] }, { "l3.team", &l->bytes[1][KD__REACH_L3] }, { "memory.team", &l->bytes[1][KD__REACH_MEMORY] },
    { "l2.size", &l->size[KD__REACH_L2] }, { "l3.size", &l->size[KD__REACH_L3] }, { "region", &l->region },
    { "disturbed", &l->disturbed } };
  memcpy(out, all, sizeof all);
}

static void head(kd__buf *b, const char *processor, int threads) { kd__buf_printf(b, "kdc limits %d\nprocessor %s\nthreads %d\n", VERSION, processor, threads); }

static void put_check(kd__buf *b) {
  uint64_t h = b->p ? kd__hash(b->p, b->n, VERSION) : 0;
  kd__buf_printf(b, "check %016" PRIx64 "\n", h);
}

static void write_text(kd__buf *b, const char *processor, kd__limits *l) {
  item it[ITEMS];
  items(l, it);
  head(b, processor, l->threads);
  for (int i = 0; i < ITEMS; i++) kd__buf_printf(b, "%s %.9g\n", it[i].name, *it[i].at);
  put_check(b);
}

/* False: broken, or of another machine or version. Whatever the bytes are. */
static bool read_text(const char *text, const char *processor, int threads, kd__limits *l) {
  item it[ITEMS];
  kd__buf want = { 0 };
  *l = (kd__limits){ .threads = threads };
  items(l, it);
  head(&want, processor, threads);
  bool ok = !want.failed && strncmp(text, want.p, want.n) == 0;
  const char *at = ok ? text + want.n : text;
  for (int i = 0; i < ITEMS && ok; i++) {
    size_t len = strlen(it[i].name);
    char *end;
    ok = strncmp(at, it[i].name, len) == 0 && at[len] == ' ';
    if (!ok) break;
    *it[i].at = strtod(at + len, &end);
    ok = *end == '\n' && isfinite(*it[i].at) && (*it[i].at > 0 || (i >= MAY_BE_0 && *it[i].at == 0));
    at = end + 1;
  }
  want.n = 0;
  if (ok) kd__buf_add(&want, text, (size_t)(at - text));
  if (ok) put_check(&want);
  ok = ok && !want.failed && strcmp(text, want.p) == 0;
  kd__buf_free(&want);
  return ok;
}

static void path_of(kd__buf *b, const char *cache, const char *processor, int threads) {
  kd__buf_printf(b, "%s/limits-%016" PRIx64 "-%d.txt", cache, kd__hash(processor, strlen(processor), VERSION), threads);
}

/* What cannot be kept is measured again the next time: no reason to fail. */
static void keep(const char *cache, const char *path, const char *processor, kd__limits *l) {
  kd__buf text = { 0 };
  kd__output o;
  write_text(&text, processor, l);
  (void)kd__make_folders(cache);
  if (!text.failed && kd__output_open(&o, path, false, NULL, 0) == KD_OK) {
    kd__output_write(&o, text.p, text.n);
    (void)kd__output_commit(&o, NULL, 0);
  }
  kd__buf_free(&text);
}

/* Other processes only make a machine slower: the better of two measurements is nearer to it. */
static void better(kd__limits *l, const kd__limits *before) {
  for (int how = 0; how < 2; how++) {
    l->flops[how] = fmax(l->flops[how], before->flops[how]);
    for (int k = 0; k < KD__REACHES; k++) l->bytes[how][k] = fmax(l->bytes[how][k], before->bytes[how][k]);
  }
  l->region = fmin(l->region, before->region);
  if (l->disturbed > 0) l->disturbed = before->disturbed + 1;
}

kd_status kd__limits_get(const char *cache, const char *processor, int threads, bool anew, kd__limits *out, bool *measured, char *why, size_t n) {
  kd__buf path = { 0 };
  char *text;
  size_t bytes;
  kd__limits kept;
  *measured = false;
  if (cache) path_of(&path, cache, processor, threads);
  bool file = path.p && !path.failed, known = false;
  if (file && !anew && kd__file_read(path.p, FILE_MAX, &text, &bytes, NULL, 0) == KD_OK) {
    known = strlen(text) == bytes && read_text(text, processor, threads, &kept);
    free(text);
  }
  if (!known || (kept.disturbed > 0 && kept.disturbed < KD__LIMITS_TRIES)) *measured = kd__limits_measure(threads, out);
  if (known && *measured) better(out, &kept);
  if (known && !*measured) *out = kept;
  if (file && *measured) keep(cache, path.p, processor, out);
  kd__buf_free(&path);
  return known || *measured ? KD_OK : kd__why(why, n, KD_E_MEMORY, "out of memory to measure the machine's limits");
}
