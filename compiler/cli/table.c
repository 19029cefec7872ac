/* table.c: what a program costs, for people. */
#include "compiler/cli/table.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- numbers ------------------------------------------------------------------------------------------------------------------ */
enum { CELL = 32 };
static const char *scaled(char out[CELL], double v, double base, const char *const *unit, size_t n) {
  size_t k = 0;
  while (k + 1 < n && fabs(v) >= 999.5 * (base == 1024 ? 1.024 : 1)) v /= base, k++;
  int digits = k == 0 && v == floor(v) ? 0 : v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
  (void)snprintf(out, CELL, "%.*f%s", digits, v, unit[k]);
  return out;
}

static const char *quantity(char out[CELL], double v) {
  static const char *const unit[] = { "", " k", " M", " G", " T", " P" };
  return scaled(out, v, 1000, unit, 6);
}
static const char *amount(char out[CELL], double v) {
  static const char *const unit[] = { " B", " KiB", " MiB", " GiB", " TiB" };
  return scaled(out, v, 1024, unit, 5);
}
static const char *duration(char out[CELL], double s) {
  if (s < 1e-3) (void)snprintf(out, CELL, "%.1f us", 1e6 * s);
  else if (s < 10) (void)snprintf(out, CELL, "%.*f ms", s < 0.1 ? 2 : 1, 1e3 * s);
  else if (s < 600) (void)snprintf(out, CELL, "%.0f s", s);
  else if (s < 36000) (void)snprintf(out, CELL, "%.0f min", s / 60);
  else (void)snprintf(out, CELL, "%.1f h", s / 3600);
  return out;
}
static const char *percent(char out[CELL], double part, double all) {
  (void)snprintf(out, CELL, all > 0 ? "%.1f %%" : "-", 100 * part / all);
  return out;
}
/* 1234567 as "1,234,567". */
static const char *whole(char out[CELL], int64_t v) {
  char digits[24];
  int n = snprintf(digits, sizeof digits, "%lld", (long long)v), k = 0;
  for (int i = 0; i < n && k < CELL - 2; i++) {
    out[k++] = digits[i];
    if ((n - i) % 3 == 1 && i + 1 < n && digits[i] != '-') out[k++] = ',';
  }
  out[k] = 0;
  return out;
}

static int width(const char *s) {
  int n = 0;
  for (; *s; s++) n += (*s & 0xc0) != 0x80;
  return n;
}

static void left(const char *s, int w) { printf("%s%*s", s, width(s) < w ? w - width(s) : 0, ""); }

/* --- folding ----------------------------------------------------------------------------------------------------------------------- */
static size_t cut(const char *name, int depth) {
  const char *at = name;
  for (; depth > 0 && *at; depth--) at += strcspn(at, ".") + (depth > 1 && at[strcspn(at, ".")]);
  return (size_t)(at - name);
}

/* Something that is computed is trained or frozen; what is dead stays so only among its own. */
static kd_line_state joined(kd_line_state a, kd_line_state b) {
  if (a == KD_STATE_TRAINED || b == KD_STATE_TRAINED) return KD_STATE_TRAINED;
  return a == KD_STATE_NONE ? b : a;
}

size_t table_fold(const kd_table *t, size_t program, int depth, folded **out) {
  kd_line l;
  size_t n = 0, room = 0;
  while (kd_table_line(t, program, KD_LINE_LAYER, room, &l)) room++;
  *out = calloc(room + 1, sizeof **out);
  for (size_t i = 0; *out && i < room && kd_table_line(t, program, KD_LINE_LAYER, i, &l); i++) {
    size_t len = cut(l.name, depth), k = 0;
    bool dead = l.state == KD_STATE_DEAD;
    while (k < n && (strlen((*out)[k].name) != len || strncmp((*out)[k].name, l.name, len) != 0 || ((*out)[k].line.state == KD_STATE_DEAD) != dead)) k++;
    folded *f = &(*out)[k];
    if (k == n) {
      f->name = strndup(l.name, len);
      if (!f->name) break;
      f->line.state = l.state;
      n++;
    }
    f->line.calls += l.calls, f->line.flops += l.flops, f->line.bytes += l.bytes, f->line.seconds += l.seconds, f->line.limit += l.limit;
    f->line.parameters += l.parameters, f->line.held += l.held;
    f->line.state = joined(f->line.state, l.state);
  }
  return n;
}

void table_fold_free(folded *f, size_t n) {
  for (size_t i = 0; i < n; i++) free(f[i].name);
  free(f);
}

/* --- tables ------------------------------------------------------------------------------------------------------------------------- */
static const char *state(kd_line_state s) { return s == KD_STATE_TRAINED ? "trained" : s == KD_STATE_FROZEN ? "frozen" : s == KD_STATE_DEAD ? "dead" : ""; }
static const char *named(const char *s) { return *s ? s : "(the scheme)"; }

static void head(const char *first, int w, bool layers, bool measured) {
  printf("  ");
  left(first, w);
  if (layers) printf("  %-7s %12s %10s", "", "parameters", "held");
  else printf("  %7s", "calls");
  printf(" %10s %10s %10s %7s", "flop", "moved", "time", "share");
  if (measured) printf(" %10s %9s %8s", "flop/s", "byte/s", "of limit");
  putchar('\n');
}

static void row(const char *name, int w, const kd_line *l, bool layers, bool measured, double seconds) {
  char a[CELL], b[CELL];
  printf("  ");
  left(name, w);
  if (layers) printf("  %-7s %12s %10s", state(l->state), l->parameters ? whole(a, l->parameters) : "", l->held ? amount(b, (double)l->held) : "");
  else printf("  %7.0f", l->calls);
  printf(" %10s %10s", quantity(a, l->flops), amount(b, l->bytes));
  if (l->state == KD_STATE_DEAD) { puts(""); return; }
  printf(" %10s %7s", duration(a, l->seconds), percent(b, l->seconds, seconds));
  if (measured && l->seconds > 0) {
    printf(" %10s %9s", quantity(a, l->flops / l->seconds), quantity(b, l->bytes / l->seconds));
    printf(" %8s", percent(a, l->limit, l->seconds));
  }
  putchar('\n');
}

static void layers(const kd_table *t, size_t i, const kd_program_cost *c, const table_view *v) {
  folded *f;
  size_t n = table_fold(t, i, v->depth, &f);
  int w = 12;
  for (size_t k = 0; k < n; k++) w = width(f[k].name) > w ? width(f[k].name) : w;
  head("layer", w, true, v->measured);
  for (size_t k = 0; k < n; k++) row(named(f[k].name), w, &f[k].line, true, v->measured, c->seconds);
  table_fold_free(f, n);
}

static void kernels(const kd_table *t, size_t i, const kd_program_cost *c, const table_view *v) {
  kd_line l;
  int w = 12;
  for (size_t k = 0; kd_table_line(t, i, KD_LINE_KERNEL, k, &l); k++) w = width(l.name) > w ? width(l.name) : w;
  head("kernel", w, false, v->measured);
  for (double done = HUGE_VAL;;) {               /* the slowest first */
    double next = -1;
    for (size_t k = 0; kd_table_line(t, i, KD_LINE_KERNEL, k, &l); k++) if (l.seconds < done && l.seconds > next) next = l.seconds;
    for (size_t k = 0; kd_table_line(t, i, KD_LINE_KERNEL, k, &l) && next >= 0; k++) if (l.seconds == next) row(l.name, w, &l, false, v->measured, c->seconds);
    if (next < 0) break;
    done = next;
  }
  char a[CELL], b[CELL];
  double named_time = 0;
  for (size_t k = 0; kd_table_line(t, i, KD_LINE_OTHER, k, &l); k++) {
    named_time += l.seconds;
    printf("  ");
    left(l.name, w);
    printf("  %7s %10s %10s %10s %7s\n", "", "", "", duration(a, l.seconds), percent(b, l.seconds, c->seconds));
  }
  if (v->measured) printf("  kernels take %s of a step, and so many of the machine's limits: %s\n", percent(a, c->seconds - named_time, c->seconds), percent(b, c->limit, c->seconds));
}

/* All calls of a kind together: more than the machine's multiply-adds allow is possible where fewer are done than the direct algorithm has. */
static void kinds(const kd_table *t, size_t i) {
  kd_machine_limits m;
  kd_line l;
  char a[CELL], b[CELL];
  kd_table_machine(t, &m);
  for (size_t k = 0; kd_table_line(t, i, KD_LINE_KIND, k, &l); k++)
    if (l.seconds > 0 && l.flops > 0 && (strcmp(l.name, "convolutions") == 0 || strcmp(l.name, "matrix products") == 0))
      printf("  %s: %sflop/s on average, %s of what %d thread%s of multiply-adds can do\n", l.name, quantity(a, l.flops / l.seconds),
             percent(b, l.flops / l.seconds, m.flops[1]), m.threads, m.threads == 1 ? "" : "s");
}

static void slowest(const kd_table *t, size_t i, const kd_program_cost *c) {
  enum { SHOWN = 10 };
  kd_line l, best = { 0 };
  double done = HUGE_VAL;
  char a[CELL], b[CELL];
  puts("  the slowest calls");
  for (int k = 0; k < SHOWN; k++) {
    best.seconds = -1;
    for (size_t j = 0; kd_table_line(t, i, KD_LINE_CALL, j, &l); j++) if (l.seconds < done && l.seconds > best.seconds) best = l;
    if (best.seconds <= 0) break;
    done = best.seconds;
    printf("  %10s %7s  %s%s%s\n", duration(a, best.seconds), percent(b, best.seconds, c->seconds), best.name, *best.layer ? "  " : "", best.layer);
  }
}

static void program(const kd_table *t, size_t i, const kd_program_cost *c, const table_view *v) {
  char a[CELL], b[CELL];
  printf("\n%s%s%s%s", *c->stage ? "stage " : "", c->stage, *c->stage ? ": " : "", c->name);
  if (c->runs) printf(", %s %s%s", whole(a, c->runs), v->measured ? "measured " : "", c->runs == 1 ? "step" : "steps");
  if (c->rows) printf(" of %s samples", whole(a, c->rows));
  puts("");
  layers(t, i, c, v);
  kernels(t, i, c, v);
  if (v->measured) { kinds(t, i); slowest(t, i, c); }
  printf("  %s: %s a step", v->measured ? "measured" : "predicted", duration(a, c->seconds));
  if (c->rows) printf(", %s samples/s", whole(a, (int64_t)((double)c->rows / c->seconds)));
  if (c->runs && !v->measured) printf(", %s in all", duration(a, c->seconds * (double)c->runs));
  if (c->first > 0) printf("; the first step took %s", duration(a, c->first));
  printf("\n  %s flop, %s moved", quantity(a, c->flops), amount(b, c->bytes));
  if (c->dead_flops > 0) printf("; %s flop are written and never computed", quantity(a, c->dead_flops));
  puts("");
  if (c->once_flops > 0) printf("  %s of its work as written is the same each time for a sample", percent(a, c->once_flops, 1));
  if (c->kept_bytes && c->kept_flops > 0) printf("; %s is done once, and %s kept %s", percent(a, c->kept_flops, 1), amount(b, (double)c->kept_bytes), strcmp(c->kept, "disk") == 0 ? "on disk" : "in memory");
  else if (c->kept_bytes) printf("; to keep that would take %s, and there is no room", amount(a, (double)c->kept_bytes));
  if (c->once_flops > 0) puts("");
}

static void memory(const kd_table *t) {
  char a[CELL];
  kd_memory_cost m;
  kd_table_memory(t, &m);
  if (!m.total) return;
  const struct { const char *what; int64_t n; } part[] = {
    { "parameters, states, fields", m.kept }, { "intermediate values", m.arena }, { "work space of kernels", m.scratch }, { "prepared by kernels", m.prepared },
    { "batches, orders of samples", m.data }, { "kept best", m.best }, { "the compiled program", m.compiler } };
  printf("\nmemory: %s at most, beyond what the process has at its start\n", amount(a, (double)m.total));
  for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
    if (part[i].n) printf("  %-28s %10s\n", part[i].what, amount(a, (double)part[i].n));
}

void table_show(const kd_table *t, const table_view *v) {
  char a[CELL], b[CELL];
  kd_machine_limits m;
  kd_program_cost c;
  if (v->json) { table_json(t, v); return; }
  kd_table_machine(t, &m);
  printf("%s\nmachine: %s, %d thread%s\n", v->path, m.processor, m.threads, m.threads == 1 ? "" : "s");
  printf("limits: %sflop/s, L2 %sB/s, ", quantity(a, m.flops[1]), quantity(b, m.l2[1]));
  printf("L3 %sB/s, memory %sB/s%s\n", quantity(a, m.l3[1]), quantity(b, m.memory[1]), !m.measured ? "" : m.disturbed ? " (measured now, while other processes were at work)" : " (measured now)");
  if (m.disturbed && !m.measured) puts("  other processes were at work whenever these were measured: they may be higher (kdc cost --measure)");
  for (size_t i = 0; kd_table_program(t, i, &c); i++)
    if (c.trains) program(t, i, &c, v);
  bool other = false;
  for (size_t i = 0; kd_table_program(t, i, &c); i++) {
    if (c.trains) continue;
    if (!other) printf("\nother programs\n");
    other = true;
    printf("  %-28s %10s flop %10s\n", c.name, quantity(a, c.flops), duration(b, c.seconds));
  }
  memory(t);
}
