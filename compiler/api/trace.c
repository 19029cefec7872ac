/* trace.c: what a profile kept, as a Chrome trace: one JSON object with an array of complete events, times in microseconds. */
#include "compiler/api/table.h"
#include <math.h>

static void hand_out(kd__buf *b, kd_writer to, void *ctx) {
  if (b->n && !b->failed) to(ctx, b->p, b->n);
  b->n = 0;
}

static void text(kd__buf *b, const char *key, const char *s) {
  kd__buf_printf(b, "\"%s\":", key);
  kd__buf_json(b, s, strlen(s));
}

static void thread(kd__buf *b, int number, const char *name) {
  kd__buf_printf(b, "{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":\"%s\"}}", number, name);
}

void kd_table_trace(const kd_table *t, kd_writer to, void *ctx) {
  kd__buf b = { 0 };
  double begin = HUGE_VAL;
  int last = 1;
  if (!t || !to) return;
  for (size_t i = 0; i < t->event.n; i++) {
    begin = fmin(begin, t->event.v[i].start);
    if (t->event.v[i].thread > last) last = t->event.v[i].thread;
  }
  kd__buf_puts(&b, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
  thread(&b, 0, "programs");
  kd__buf_puts(&b, ",\n");
  thread(&b, 1, "kernels");
  for (int i = 2; i <= last; i++) {
    kd__buf_puts(&b, ",\n");
    thread(&b, i, "kernels side by side");
  }
  for (size_t i = 0; i < t->event.n; i++) {
    const kd__table_event *e = &t->event.v[i];
    kd__buf_puts(&b, ",\n{\"ph\":\"X\",\"pid\":1,");
    text(&b, "name", e->name);
    kd__buf_printf(&b, ",\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", e->thread, 1e6 * (e->start - begin), 1e6 * (e->end - e->start));
    if (*e->layer) { kd__buf_puts(&b, ",\"args\":{"); text(&b, "layer", e->layer); kd__buf_putc(&b, '}'); }
    kd__buf_putc(&b, '}');
    if (b.n > 1 << 16) hand_out(&b, to, ctx);
  }
  kd__buf_puts(&b, "\n]}\n");
  hand_out(&b, to, ctx);
  kd__buf_free(&b);
}
