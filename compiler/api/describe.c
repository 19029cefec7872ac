/* describe.c: a program, and the library itself, in a few lines of text. */
#include "compiler/api/api.h"
#include "compiler/api/embed.h"
#include "compiler/api/table.h"
#include "runtime/kernels/kernel.h"
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static void hand_out(kd__buf *b, kd_writer to, void *ctx) {
  if (b->p && !b->failed) to(ctx, b->p, b->n);
  kd__buf_free(b);
}

/* --- a program ---------------------------------------------------------------------------------------------------------------- */
/* 1234567 as "1,234,567". */
static void number(kd__buf *b, int64_t v) {
  char digits[32];
  int n = snprintf(digits, sizeof digits, "%" PRId64, v);
  for (int i = 0; i < n; i++) {
    kd__buf_putc(b, digits[i]);
    if ((n - i) % 3 == 1 && i + 1 < n && digits[i] != '-') kd__buf_putc(b, ',');
  }
}

static void bytes(kd__buf *b, int64_t v) {
  if (v < 10240) kd__buf_printf(b, "%" PRId64 " bytes", v);
  else if (v < (int64_t)10 << 20) kd__buf_printf(b, "%" PRId64 " KiB", (v + 1023) >> 10);
  else kd__buf_printf(b, "%" PRId64 " MiB", (v + (1 << 20) - 1) >> 20);
}

static size_t owner(const char *name) { return strcspn(name, "."); }

/* "T 78,042, S 9,842": elements of the chosen parameters by the first part of their names, in order. */
static void owners(const kd_module *m, const bool *chosen, kd__buf *b) {
  bool any = false;
  for (uint32_t i = 0; i < m->nslot; i++) {
    const kd_slot *s = &m->slot[i];
    size_t len = owner(s->name);
    bool first = s->kind == KD_SLOT_PARAM && chosen[i];
    for (uint32_t k = 0; k < i && first; k++)
      first = !(m->slot[k].kind == KD_SLOT_PARAM && chosen[k] && owner(m->slot[k].name) == len && strncmp(m->slot[k].name, s->name, len) == 0);
    if (!first) continue;
    int64_t count = 0;
    for (uint32_t k = i; k < m->nslot; k++)
      if (m->slot[k].kind == KD_SLOT_PARAM && chosen[k] && owner(m->slot[k].name) == len && strncmp(m->slot[k].name, s->name, len) == 0) count += kd__type_count(&m->slot[k].type);
    kd__buf_printf(b, "%s%.*s ", any ? ", " : "", (int)len, s->name);
    number(b, count);
    any = true;
  }
  if (!any) kd__buf_puts(b, "none");
}

static void decision(const kd_decision *d, kd__buf *b) {
  kd__buf_printf(b, "  decides %s", d->name);
  if (d->made) kd__buf_printf(b, ": %" PRId64 "\n", d->value);
  else if (d->truth) kd__buf_puts(b, " in the run; the rest depends on it\n");
  else kd__buf_printf(b, " in the run, %" PRId64 " to %" PRId64 "; the rest depends on it\n", d->low, d->high);
}

static void stages(const kd_module *m, bool *chosen, kd__buf *b) {
  for (uint32_t i = 0; i < m->ncode; i++) {
    if (m->code[i].op == KD_CODE_DECIDE) decision(&m->decision[m->code[i].a], b);
    if (m->code[i].op != KD_CODE_STAGE) continue;
    const kd_stage_info *st = &m->stage[m->code[i].a];
    kd__buf_printf(b, "  stage %s: ", st->name);
    bool unknown = false;
    for (uint32_t k = 0; k < m->npass; k++) unknown = unknown || m->pass[k].stage == m->code[i].a;
    if (unknown) kd__buf_printf(b, "%" PRId64 " epoch%s, as long as what was written, ", st->epochs, st->epochs == 1 ? "" : "s");
    else if (st->steps > 0 && st->epochs > 0 && st->steps % st->epochs == 0) kd__buf_printf(b, "%" PRId64 " epoch%s of %" PRId64 " steps, ", st->epochs, st->epochs == 1 ? "" : "s", st->steps / st->epochs);
    else if (st->steps > 0) kd__buf_printf(b, "%" PRId64 " steps, ", st->steps);
    memset(chosen, 0, m->nslot * sizeof *chosen);
    for (uint32_t k = 0; k < st->ntrains; k++) chosen[st->trains[k]] = true;
    kd__buf_puts(b, st->ntrains ? "trains " : "trains nothing");
    if (st->ntrains) owners(m, chosen, b);
    kd__buf_putc(b, '\n');
  }
}

/* What is the same each time, and kept or for want of room not kept. */
static void frozen(const kd_module *m, kd__buf *b) {
  for (uint32_t i = 0; i < m->nfrozen; i++) {
    const kd_frozen_part *f = &m->frozen[i];
    if (f->where < KD_KEEPING_ROOM && !(f->where == KD_KEEPING_OFF && f->said)) continue;
    kd__buf_printf(b, "  %s ", m->plan[f->plan]->name);
    if (f->where == KD_KEEPING_OFF) {
      kd__buf_printf(b, "keeps nothing, as `%s` says: %.0f %% of its work is the same each time\n", f->said, 100 * f->frozen_flops / f->all_flops);
      continue;
    }
    if (f->where == KD_KEEPING_ROOM) {
      kd__buf_puts(b, "would keep ");
      bytes(b, f->want_bytes * f->rows);
      kd__buf_printf(b, ", and there is no room: %.0f %% of its work is the same each time\n", 100 * f->frozen_flops / f->all_flops);
      continue;
    }
    kd__buf_puts(b, "keeps ");
    bytes(b, f->sample_bytes * f->rows);
    kd__buf_printf(b, " %s%s%s%s, %" PRId64 " for each sample", f->where == KD_KEEPING_DISK ? "on disk" : "in memory", f->said ? ", as `" : "", f->said ? f->said : "", f->said ? "` says" : "", f->sample_bytes);
    if (f->part) kd__buf_printf(b, " (there is no room for all %" PRId64 ")", f->want_bytes);
    kd__buf_printf(b, ": %.0f %% of its work is done once", 100 * f->saved_flops / f->all_flops);
    if (f->turns) kd__buf_printf(b, ", or once for each of %" PRId64 " epochs", f->turns);
    kd__buf_putc(b, '\n');
  }
}

static void memory(const kd_module *m, kd__buf *b) {
  int64_t kept = 0, arena = 0;
  for (uint32_t i = 0; i < m->nslot; i++) kept += kd__type_count(&m->slot[i].type) * (int64_t)kd__dtype_size((kd_dtype)m->slot[i].type.dtype);
  for (uint32_t i = 0; i < m->nplan; i++)
    if (m->plan[i]->arena_size > arena) arena = m->plan[i]->arena_size;
  kd__buf_puts(b, "  memory: ");
  bytes(b, kept);
  kd__buf_puts(b, " kept, ");
  bytes(b, arena);
  kd__buf_puts(b, " while a step runs\n");
}

void kd_program_describe(const kd_program *p, kd_writer to, void *ctx) {
  if (!p || !p->module || !to) return;
  const kd_module *m = p->module;
  bool *chosen = calloc(m->nslot + (size_t)1, sizeof *chosen);
  if (!chosen) return;
  kd__buf b = { 0 };
  kd__buf_printf(&b, "%s\n", p->path);
  stages(m, chosen, &b);
  memset(chosen, 1, m->nslot);
  kd__buf_puts(&b, "  parameters: ");
  owners(m, chosen, &b);
  kd__buf_putc(&b, '\n');
  frozen(m, &b);
  memory(m, &b);
  free(chosen);
  hand_out(&b, to, ctx);
}

/* --- the library --------------------------------------------------------------------------------------------------------------- */
void kd__processor(kd__buf *b) {
  char line[512], *name;
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, "model name", 10) == 0 && (name = strchr(line, ':'))) {
      kd__buf_printf(b, "%.*s", (int)strcspn(name + 2, "\n"), name + 2);
      break;
    }
  if (f) fclose(f);
#if defined(__x86_64__)
  kd__buf_printf(b, "%s%s%s", __builtin_cpu_supports("avx2") ? " avx2" : "", __builtin_cpu_supports("fma") ? " fma" : "",
                 __builtin_cpu_supports("avx512f") ? " avx512f" : "");
#endif
}

void kd_info(kd_writer to, void *ctx) {
  if (!to) return;
  char why[256];
  kd__buf b = { 0 };
  kd__buf_printf(&b, "kdc %s\nprocessor: ", kd_version());
  kd__processor(&b);
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) kd__buf_printf(&b, ", %d cores to use", CPU_COUNT(&set));
  kd__buf_puts(&b, "\nnumeric libraries: ");
  kd__kernel_libraries(&b);
  kd__buf_printf(&b, "\nnative code: %s", kd__jit_about());
  bool right = kd__kernel_check(why, sizeof why) == KD_OK;
  kd__buf_printf(&b, "\nself-test: %s\nstandard library: %zu files built in\n", right ? "ok" : why, kd__nstdlib);
  hand_out(&b, to, ctx);
}
