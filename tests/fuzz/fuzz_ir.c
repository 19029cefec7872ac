/* The reader of graphs on any bytes. What reads and verifies must print to a text that reads back the same, stay sound through every pass,
 * and make a plan, or none where its sizes are absurd. */
#include "compiler/pass/pass.h"
#include "compiler/plan/plan_make.h"
#include "tests/fuzz/words.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SLOTS = 32 };

static void must(bool ok, const char *what, const char *why) {
  if (ok) return;
  fprintf(stderr, "%s: %s\n", what, why);
  abort();
}

static void same_text(kd__arena *a, const kd_graph *g) {
  kd__buf first = { 0 }, second = { 0 };
  kd_shape_error err = { "" };
  kd__graph_print(g, &first);
  kd_graph *again = kd__graph_read(a, first.p ? first.p : "", first.n, &err);
  must(again, "printed text does not read", err.text);
  kd__graph_print(again, &second);
  must(first.n == second.n && (first.n == 0 || memcmp(first.p, second.p, first.n) == 0), "prints otherwise", second.p ? second.p : "");
  kd__buf_free(&first);
  kd__buf_free(&second);
}

static void check_pass(void *ctx, const kd_pass_info *p, const kd_graph *g) {
  (void)ctx;
  kd_shape_error err;
  must(kd__graph_verify(g, &err), p->name, err.text);
}

/* A block for each slot; false where a slot's number is out of the fuzzer's range. */
static bool place_slots(const kd_graph *g, kd_slot *slot) {
  for (int i = 0; i < MAX_SLOTS; i++) slot[i] = (kd_slot){ .name = "s", .block = (uint32_t)i };
  for (size_t i = 1; i < g->node.n; i++) {
    if (g->node.v[i].op != KD_OP_INPUT) continue;
    int64_t s = kd__attr(&g->node.v[i], "slot")->u.i;
    if (s >= MAX_SLOTS) return false;
    slot[s].type = *kd__type_of(g, g->node.v[i].out);
  }
  for (size_t i = 0; i < g->write.n; i++) {
    if (g->write.v[i].slot >= MAX_SLOTS) return false;
    slot[g->write.v[i].slot].type = *kd__type_of(g, g->write.v[i].value);
  }
  return true;
}

size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned int seed) {
  return seed % 4 ? kd_words_mutate(p, n, most, NULL, 0, seed) : LLVMFuzzerMutate(p, n, most);
}
size_t LLVMFuzzerCustomCrossOver(const uint8_t *p, size_t n, const uint8_t *q, size_t m, uint8_t *out, size_t most, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *p, size_t n, const uint8_t *q, size_t m, uint8_t *out, size_t most, unsigned int seed) {
  n = n < most ? n : most;
  memcpy(out, p, n);
  return kd_words_mutate(out, n, most, q, m, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
  kd__arena a;
  kd__arena_init(&a, NULL, NULL);
  kd_shape_error err;
  kd_graph *g = kd__graph_read(&a, (const char *)p, n, &err);
  must(g || strncmp(err.text, "line ", 5) == 0, "an error without a line", err.text);
  if (g) same_text(&a, g);
  if (g && kd__graph_verify(g, &err)) {
    kd_slot slot[MAX_SLOTS];
    for (const kd_pass_info *i = kd__passes; i->name; i++) check_pass(NULL, i, i->run(g));
    g = kd__pass_all(g, check_pass, NULL);
    if (place_slots(g, slot)) kd__plan_make(&a, g, slot, MAX_SLOTS, "fuzz", NULL, NULL);
  }
  kd__arena_free(&a);
  return 0;
}
