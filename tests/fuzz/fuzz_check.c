/* The whole compiler on programs that are nearly right: what `kdc check` does, with the library built in, or with the small one of tests/elaborate
 * where the text names it. Programs change by words and lines (words.h). The compiler never calls itself mistaken, and never fails without a word. */
#include "include/kd.h"
#include "tests/fuzz/words.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct heard { bool error; } heard;

static void hear(void *ctx, const kd_message *m) {
  heard *h = ctx;
  if (strcmp(m->code, "E0299") == 0) { fprintf(stderr, "%s", m->text); abort(); }
  h->error |= m->severity == KD_ERROR;
}

static bool contains(const uint8_t *p, size_t n, const char *what) { return memmem(p, n, what, strlen(what)) != NULL; }
static void nothing(void *ctx, const char *text, size_t n) { (void)ctx, (void)text, (void)n; }

/* A cross of two programs: libFuzzer's own mixing of bytes makes few of them. */
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned int seed);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned int seed) { return kd_words_mutate(p, n, most, NULL, 0, seed); }
size_t LLVMFuzzerCustomCrossOver(const uint8_t *p, size_t n, const uint8_t *q, size_t m, uint8_t *out, size_t most, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *p, size_t n, const uint8_t *q, size_t m, uint8_t *out, size_t most, unsigned int seed) {
  if (n > most) n = most;
  memcpy(out, p, n);
  return kd_words_mutate(out, n, most, q, m, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
  static const char *const data = KD_ROOT "/examples", *const set = "budget.nodes=20000";
  bool small = contains(p, n, "sets.") || contains(p, n, "nets.small") || contains(p, n, "losses.mse");
  heard h = { false };
  kd_config c = { .message = hear, .message_ctx = &h, .data = &data, .ndata = 1, .stdlib = small ? KD_ROOT "/tests/elaborate/lib" : NULL };
  kd_compile_options o = { .set = &set, .nset = 1, .check = true };
  kd_session *s;
  kd_program *prog = NULL;
  if (kd_session_new(&c, &s) != KD_OK) abort();
  kd_status st = kd_compile_text(s, KD_ROOT "/tests/methods/fuzz.kd", (const char *)p, n, &o, &prog);
  if (st != KD_OK && !h.error) abort();
  if (prog) kd_program_describe(prog, nothing, NULL);
  kd_program_free(prog);
  kd_session_free(s);
  return 0;
}
