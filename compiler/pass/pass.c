/* pass.c: the table of passes, and the pipeline. */
#include "compiler/pass/pass.h"

#define KD_PASS(name, requires, breaks, doc) kd_graph *kd__pass_##name(kd_graph *g);
#include "compiler/pass/passes.def"
#undef KD_PASS

const kd_pass_info kd__passes[] = {
#define KD_PASS(nm, needs, loses, text) { .name = #nm, .run = kd__pass_##nm, .requires = needs, .breaks = loses, .doc = text },
#include "compiler/pass/passes.def"
#undef KD_PASS
  { 0 }
};

const kd_pass_info *kd__pass_find(const char *name) {
  for (const kd_pass_info *p = kd__passes; p->name; p++)
    if (strcmp(p->name, name) == 0) return p;
  return NULL;
}

kd_graph *kd__pass_until(kd_graph *g, const char *end, void (*seen)(void *ctx, const kd_pass_info *p, const kd_graph *g), void *ctx) {
  for (const kd_pass_info *p = kd__passes; p->name && !(end && strcmp(p->name, end) == 0); p++) {
    g = p->run(g);
    if (seen) seen(ctx, p, g);
  }
  return g;
}

kd_graph *kd__pass_all(kd_graph *g, void (*seen)(void *ctx, const kd_pass_info *p, const kd_graph *g), void *ctx) { return kd__pass_until(g, NULL, seen, ctx); }
