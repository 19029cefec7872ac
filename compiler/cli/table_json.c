/* table_json.c: the whole table as one JSON object. */
#include "compiler/cli/table.h"

static void key(const char *k, bool first) { printf("%s\"%s\":", first ? "" : ",", k); }
static void text(const char *k, const char *v, bool first) { key(k, first); json_string(stdout, v); }
static void real(const char *k, double v) { key(k, false); json_number(stdout, v); }
static void whole(const char *k, int64_t v) { key(k, false); printf("%lld", (long long)v); }
static void pair(const char *k, const double v[2]) {
  key(k, false);
  putchar('[');
  json_number(stdout, v[0]);
  putchar(',');
  json_number(stdout, v[1]);
  putchar(']');
}

static void line(const kd_line *l, const char *name, kd_line_kind kind, bool first) {
  static const char *const states[] = { "", "trained", "frozen", "dead" };
  fputs(first ? "{" : ",\n{", stdout);
  text("name", name, true);
  if (kind == KD_LINE_CALL) text("layer", l->layer, false);
  if (kind != KD_LINE_OTHER) { real("calls", l->calls); real("flops", l->flops); real("bytes", l->bytes); }
  real("seconds", l->seconds);
  if (kind != KD_LINE_OTHER) { real("limit", l->limit); whole("held", l->held); }
  if (kind == KD_LINE_LAYER) { whole("parameters", l->parameters); text("state", states[l->state], false); }
  putchar('}');
}

static void lines(const kd_table *t, size_t program, kd_line_kind kind, const char *name) {
  kd_line l;
  printf(",\n\"%s\":[", name);
  for (size_t i = 0; kd_table_line(t, program, kind, i, &l); i++) line(&l, l.name, kind, i == 0);
  putchar(']');
}

static void layers(const kd_table *t, size_t program, int depth) {
  folded *f;
  size_t n = table_fold(t, program, depth, &f);
  fputs(",\n\"layers\":[", stdout);
  for (size_t i = 0; i < n; i++) line(&f[i].line, f[i].name, KD_LINE_LAYER, i == 0);
  putchar(']');
  table_fold_free(f, n);
}

static void program(const kd_table *t, size_t i, const kd_program_cost *c, int depth) {
  fputs(i ? ",\n{" : "{", stdout);
  text("name", c->name, true);
  text("stage", c->stage, false);
  key("trains", false);
  fputs(c->trains ? "true" : "false", stdout);
  whole("runs", c->runs), whole("rows", c->rows);
  real("calls", c->calls), real("flops", c->flops), real("bytes", c->bytes), real("seconds", c->seconds), real("limit", c->limit);
  if (c->first > 0) real("first", c->first);
  real("dead_flops", c->dead_flops), real("once_flops", c->once_flops), real("kept_flops", c->kept_flops);
  whole("kept_bytes", c->kept_bytes);
  text("kept", c->kept, false);
  whole("arena", c->arena), whole("held", c->held), whole("scratch", c->scratch), whole("prepared", c->prepared);
  layers(t, i, depth);
  lines(t, i, KD_LINE_KERNEL, "kernels");
  lines(t, i, KD_LINE_CALL, "calls_in_order");
  lines(t, i, KD_LINE_KIND, "kinds");
  lines(t, i, KD_LINE_OTHER, "others");
  putchar('}');
}

void table_json(const kd_table *t, const table_view *v) {
  kd_machine_limits m;
  kd_memory_cost k;
  kd_program_cost c;
  kd_table_machine(t, &m);
  kd_table_memory(t, &k);
  putchar('{');
  text("file", v->path, true);
  text("kind", v->measured ? "profile" : "cost", false);
  fputs(",\n\"machine\":{", stdout);
  text("processor", m.processor, true);
  whole("threads", m.threads), pair("flops", m.flops), pair("l2", m.l2), pair("l3", m.l3), pair("memory", m.memory);
  key("disturbed", false);
  fputs(m.disturbed ? "true" : "false", stdout);
  fputs("},\n\"memory\":{\"kept\":", stdout);
  printf("%lld", (long long)k.kept);
  whole("arena", k.arena), whole("scratch", k.scratch), whole("prepared", k.prepared), whole("data", k.data), whole("best", k.best), whole("compiler", k.compiler), whole("total", k.total);
  fputs("},\n\"programs\":[", stdout);
  for (size_t i = 0; kd_table_program(t, i, &c); i++) program(t, i, &c, v->depth);
  puts("]}");
}
