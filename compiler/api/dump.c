/* dump.c: every representation of a program as text. */
#include "compiler/api/api.h"
#include "compiler/pass/pass.h"

static const char *const before[] = { "tokens", "ast", "graph" }, *const after[] = { "split", "plan", "code" };
enum { BEFORE = sizeof before / sizeof *before, AFTER = sizeof after / sizeof *after };

const char *kd_dump_stage(size_t i) {
  if (i < BEFORE) return before[i];
  i -= BEFORE;
  size_t passes = 0;
  while (kd__passes[passes].name) passes++;
  if (i < passes) return kd__passes[i].name;
  i -= passes;
  return i < AFTER ? after[i] : NULL;
}

bool kd__dump_known(const char *stage) {
  const char *name;
  for (size_t i = 0; (name = kd_dump_stage(i)); i++)
    if (strcmp(name, stage) == 0) return true;
  return false;
}

void kd__dump_out(const kd_program *p, kd__buf *b) {
  if (b->p && !b->failed) p->opt.dump_to(p->opt.dump_ctx, b->p, b->n);
  kd__buf_free(b);
}

void kd__dump_seen(void *ctx, const char *stage, const char *program, const kd_graph *g) {
  const kd_program *p = ctx;
  if (strcmp(stage, p->opt.dump) != 0) return;
  kd__buf b = { 0 };
  kd__buf_printf(&b, "// program %s\n", program);
  kd__graph_print(g, &b);
  kd__buf_putc(&b, '\n');
  kd__dump_out(p, &b);
}

void kd__dump_planned(void *ctx, const kd_plan *plan, const kd_slot *slots) {
  const kd_program *p = ctx;
  if (strcmp("plan", p->opt.dump) != 0) return;
  kd__buf b = { 0 };
  kd__plan_print(plan, slots, &b);
  kd__buf_putc(&b, '\n');
  kd__dump_out(p, &b);
}

/* --- the scheme's code ------------------------------------------------------------------------------------------------------ */
static const struct { const char *name, *operand[3]; } codes[] = {
#define KD_CODE(ID, a, b, c, doc) [KD_CODE_##ID] = { #ID, { #a, #b, #c } },
#include "runtime/exec/code.def"
#undef KD_CODE
};

/* Operands that are indices of the module's tables are shown by what they stand for. */
static void operand(const kd_module *m, const char *what, int64_t v, kd__buf *b) {
  size_t i = (size_t)v;
  if (strcmp(what, "_") == 0) return;
  kd__buf_printf(b, " %s=", what);
  if (strcmp(what, "plan") == 0 && i < m->nplan) kd__buf_puts(b, m->plan[i]->name);
  else if (strcmp(what, "stage") == 0 && i < m->nstage) kd__buf_puts(b, m->stage[i].name);
  else if (strcmp(what, "load") == 0 && i < m->nload) kd__buf_printf(b, "%s/%u", m->load[i].network, m->load[i].n);
  else if (strcmp(what, "group") == 0 && i < m->ngroup) kd__buf_puts(b, m->group[i].name);
  else if (strcmp(what, "string") == 0 && i < m->nstring) kd__buf_json(b, m->string[i], strlen(m->string[i]));
  else if (strcmp(what, "stream") == 0 && i < m->nstream) {
    const kd_dataset *d = &m->dataset[m->stream[i].dataset];
    kd__buf_printf(b, "%s.%s/%lld%s", d->name, d->split[m->stream[i].split].name, (long long)m->stream[i].batch, m->stream[i].shuffle ? "/shuffled" : "");
  } else kd__buf_printf(b, "%lld", (long long)v);
}

void kd__dump_code(kd_program *p) {
  const kd_module *m = p->module;
  kd__buf b = { 0 };
  for (uint32_t i = 0; i < m->ncode; i++) {
    const kd_code *c = &m->code[i];
    kd__buf_printf(&b, "%4u  %s", i, codes[c->op].name);
    operand(m, codes[c->op].operand[0], c->a, &b);
    operand(m, codes[c->op].operand[1], c->b, &b);
    operand(m, codes[c->op].operand[2], c->c, &b);
    kd__buf_putc(&b, '\n');
  }
  for (uint32_t i = 0; i < m->nreport; i++) kd__buf_printf(&b, "report %s on %s: register %u\n", m->report[i].label, m->report[i].on ? m->report[i].on : "", m->report[i].reg);
  kd__dump_out(p, &b);
}
