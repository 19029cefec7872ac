/* progress.c: what the machine tells while it runs. */
#include "runtime/run/machine.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double step_every = 0.1;            /* seconds between two STEP events at least */

double kd__now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Between an epoch's end and the next one's first batch or step (evaluations) the epoch at hand is still the one that ended. */
int64_t kd__epoch_number(const kd_machine *r) {
  bool under_way = r->in_step || r->pos.epoch == 0;
  for (uint32_t i = 0; i < r->pos.nopen; i++) under_way = under_way || r->m->stream[r->pos.open[i]].shuffle;
  for (uint32_t i = 0; i < r->m->nreg; i++) under_way = under_way || r->pos.sums[i] > 0;
  return r->pos.epoch + under_way;
}

static const kd_stage_info *stage_info(const kd_machine *r) { return r->pos.stage < 0 ? NULL : &r->m->stage[r->pos.stage]; }

static kd__event event_at(const kd_machine *r, kd__event_kind kind, double now) {
  const kd_stage_info *s = stage_info(r);
  kd__event e = { .kind = kind, .stage = s ? s->name : "", .stage_number = (int)r->pos.stage + 1, .stages = (int)r->m->nstage,
                  .step = r->pos.step, .seconds = now - r->progress.opened, .seconds_left = -1 };
  if (!s) return e;
  e.epoch = kd__epoch_number(r);
  e.epochs = s->epochs;
  e.steps = kd__stage_steps(r, r->pos.stage);
  return e;
}

/* Rate of the training pass at hand, and the stage's time left at the pace so far (evaluations are part of it). The first step is left
 * out: it prepares the kernels. */
static void add_pace(const kd_machine *r, kd__event *e, double now) {
  const kd__progress *p = &r->progress;
  if (p->samples > 0 && now > p->pass) e->samples_per_second = (double)p->samples / (now - p->pass);
  int64_t done = r->pos.step - p->first_step;
  if (e->steps > r->pos.step && done > 0) e->seconds_left = (now - p->first) / (double)done * (double)(e->steps - r->pos.step);
  else if (e->steps > 0 && r->pos.step >= e->steps) e->seconds_left = 0;
}

static void call(const kd_machine *r, const kd__event *e) {
  if (r->opt.event) r->opt.event(r->opt.event_ctx, e);
}

kd_status kd__tell_stage(kd_machine *r) {
  kd__event e = event_at(r, KD__EVENT_STAGE, kd__now());
  call(r, &e);
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "stage");
  kd__buf_printf(&b, ",\"number\":%d,\"stages\":%d,\"epochs\":%lld,\"steps\":%lld}", e.stage_number, e.stages, (long long)e.epochs, (long long)e.steps);
  return kd__record_line(r, &b);
}

void kd__tell_step(kd_machine *r, int64_t first_reg, int64_t n) {
  double now = kd__now();
  if (r->pos.step <= r->progress.first_step) r->progress.first = now;
  if (!r->opt.event || (!r->opt.every_step && now - r->progress.told < step_every)) return;
  r->progress.told = now;
  kd__event e = event_at(r, KD__EVENT_STEP, now);
  add_pace(r, &e, now);
  for (int64_t i = first_reg; i < first_reg + n; i++)       /* of a batch with branches: those that were computed in this epoch */
    if (r->reg_name[i] && r->pos.sums[i] > 0) r->value[e.nvalue++] = (kd__named){ r->reg_name[i], r->pos.reg[i] };
  e.value = r->value;
  call(r, &e);
}

kd_status kd__tell_epoch(kd_machine *r) {
  double now = kd__now();
  kd__event e = event_at(r, KD__EVENT_EPOCH, now);
  e.epoch = r->pos.epoch;                        /* the one that ended, though its losses are still there */
  add_pace(r, &e, now);
  for (uint32_t i = 0; i < r->m->nreg; i++)
    if (r->pos.sums[i] > 0) r->value[e.nvalue++] = (kd__named){ r->reg_name[i], r->pos.sum[i] / (double)r->pos.sums[i] };
  e.value = r->value;
  call(r, &e);
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "epoch");
  kd__buf_printf(&b, ",\"epoch\":%lld,\"epochs\":%lld,\"step\":%lld,\"samples_per_second\":", (long long)e.epoch, (long long)e.epochs, (long long)e.step);
  kd__json_number(&b, (double)(int64_t)e.samples_per_second);
  kd__record_values(&b, e.value, e.nvalue);
  kd__buf_putc(&b, '}');
  return kd__record_line(r, &b);
}

/* Names are parted by commas; one inside of brackets or quotes belongs to the name ("f(s.logits, y)"). */
static size_t name_end(const char *s) {
  int depth = 0;
  bool quoted = false;
  size_t i = 0;
  for (; s[i] && (s[i] != ',' || depth > 0 || quoted); i++) {
    if (s[i] == '"') quoted = !quoted;
    else if (!quoted && strchr("([{", s[i])) depth++;
    else if (!quoted && strchr(")]}", s[i])) depth--;
  }
  return i;
}

kd_status kd__tell_say(kd_machine *r, const char *names, int64_t first_reg, int64_t n) {
  kd__event e = event_at(r, KD__EVENT_SAY, kd__now());
  size_t bytes = strlen(names) + 1;
  char *copy = malloc(bytes), *rest = copy;
  if (!copy) return kd__fail(r, KD_E_MEMORY, 0, "out of memory");
  memcpy(copy, names, bytes);
  for (int64_t i = 0; i < n; i++) {
    size_t end = n == 1 ? strlen(rest) : name_end(rest);       /* a single name may be anything */
    bool more = rest[end] != 0;
    rest[end] = 0;
    r->value[i] = (kd__named){ rest, r->pos.reg[first_reg + i] };
    rest += end + more;
  }
  e.value = r->value;
  e.nvalue = (size_t)n;
  call(r, &e);
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "say");
  kd__buf_printf(&b, ",\"epoch\":%lld,\"step\":%lld", (long long)e.epoch, (long long)e.step);
  kd__record_values(&b, e.value, e.nvalue);
  kd__buf_putc(&b, '}');
  kd_status s = kd__record_line(r, &b);
  free(copy);
  return s;
}

void kd__tell_resumed(kd_machine *r, bool anew) {
  char text[200];
  kd__event e = event_at(r, KD__EVENT_NOTE, kd__now());
  if (anew) snprintf(text, sizeof text, "resume: there is no checkpoint yet, so the run begins again");
  else if (!e.stage_number) snprintf(text, sizeof text, "resume: goes on before the first stage");
  else snprintf(text, sizeof text, "resume: goes on in stage `%s` after %lld steps of it, %lld in all", e.stage, (long long)e.step, (long long)r->pos.steps);
  e.text = text;
  call(r, &e);
}

void kd__tell_only(kd_machine *r, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  kd__event e = event_at(r, KD__EVENT_NOTE, kd__now());
  e.text = text;
  call(r, &e);
}

kd_status kd__tell_kept(kd_machine *r, const kd_kept *k, const char *where, int64_t rows, int64_t found, int64_t bytes, double seconds) {
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "kept");
  kd__buf_puts(&b, ",\"name\":");
  kd__buf_json(&b, k->name, strlen(k->name));
  kd__buf_printf(&b, ",\"where\":\"%s\",\"rows\":%lld,\"found\":%lld,\"made\":%lld,\"bytes\":%lld,\"took\":", where, (long long)rows, (long long)found, (long long)(rows - found), (long long)bytes);
  kd__json_number(&b, (double)(int64_t)(seconds * 1000) / 1000);
  kd__buf_putc(&b, '}');
  return kd__record_line(r, &b);
}

kd_status kd__tell_note(kd_machine *r, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  kd__event e = event_at(r, KD__EVENT_NOTE, kd__now());
  e.text = text;
  call(r, &e);
  kd__buf b = { 0 };
  kd__record_begin(r, &b, "note");
  kd__buf_puts(&b, ",\"text\":");
  kd__buf_json(&b, text, strlen(text));
  kd__buf_putc(&b, '}');
  return kd__record_line(r, &b);
}
