/* progress.c: how far a run is: a live line on a terminal, a line an epoch elsewhere, or JSON lines. */
#include "compiler/cli/cli.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

progress progress_new(const args *a) {
  const char *term = getenv("TERM");
  progress p = { .json = args_flag(a, OPT_JSON), .quiet = args_flag(a, OPT_QUIET) };
  p.live = !p.json && !p.quiet && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
  return p;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------------------ */
static void write_json(const kd_event *e) {
  static const char *const kind[] = { [KD_EVENT_STAGE] = "stage", [KD_EVENT_STEP] = "step", [KD_EVENT_EPOCH] = "epoch", [KD_EVENT_SAY] = "say",
                                      [KD_EVENT_NOTE] = "note" };
  printf("{\"event\":\"%s\",\"stage\":", kind[e->kind]);
  json_string(stdout, e->stage ? e->stage : "");
  printf(",\"stage_number\":%d,\"stages\":%d,\"epoch\":%lld,\"epochs\":%lld,\"step\":%lld,\"steps\":%lld,\"seconds\":", e->stage_number, e->stages,
         (long long)e->epoch, (long long)e->epochs, (long long)e->step, (long long)e->steps);
  json_number(stdout, e->seconds);
  if (e->seconds_left >= 0) { fputs(",\"seconds_left\":", stdout); json_number(stdout, e->seconds_left); }
  if (e->samples_per_second > 0) { fputs(",\"samples_per_second\":", stdout); json_number(stdout, e->samples_per_second); }
  if (e->nvalue) { fputs(",\"values\":", stdout); json_values(stdout, e->value, e->nvalue); }
  if (e->text) { fputs(",\"text\":", stdout); json_string(stdout, e->text); }
  puts("}");
  fflush(stdout);
}

/* --- text -------------------------------------------------------------------------------------------------------------------------- */
typedef struct line { char s[512]; size_t n; } line;

__attribute__((format(printf, 2, 3))) static void add(line *l, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(l->s + l->n, sizeof l->s - l->n, fmt, ap);
  va_end(ap);
  if (n > 0) l->n += (size_t)n < sizeof l->s - l->n ? (size_t)n : sizeof l->s - l->n - 1;
}

static void add_time(line *l, double seconds) {
  long s = lround(seconds);
  if (s >= 3600) add(l, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else add(l, "%ld:%02ld", s / 60, s % 60);
}

static void add_values(line *l, const kd_event *e) {
  for (size_t i = 0; i < e->nvalue; i++) add(l, "  %s %.4g", e->value[i].name, e->value[i].value);
}

static void add_place(line *l, const kd_event *e) {
  add(l, "%s", e->stage);
  if (e->stages > 1) add(l, " (%d/%d)", e->stage_number, e->stages);
  if (e->epoch > 0) add(l, "  epoch %lld", (long long)e->epoch);
  if (e->epoch > 0 && e->epochs > 0) add(l, "/%lld", (long long)e->epochs);
}

static line describe(const kd_event *e) {
  line l = { .n = 0 };
  add_place(&l, e);
  if (e->kind == KD_EVENT_STEP && e->steps > 0) add(&l, "  step %lld/%lld", (long long)e->step, (long long)e->steps);
  else if (e->kind == KD_EVENT_STEP) add(&l, "  step %lld", (long long)e->step);
  add_values(&l, e);
  if (e->samples_per_second > 0) add(&l, "  %.0f samples/s", e->samples_per_second);
  if (e->kind == KD_EVENT_STEP && e->seconds_left >= 0) { add(&l, "  "); add_time(&l, e->seconds_left); add(&l, " left"); }
  if (e->kind == KD_EVENT_EPOCH) { add(&l, "  "); add_time(&l, e->seconds); }
  return l;
}

/* --- the live line -------------------------------------------------------------------------------------------------------------- */
static size_t columns(void) {
  struct winsize w;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col : 80;
}

/* At most one screen line, cut between characters. */
static void draw(progress *p, const line *l) {
  size_t n = 0, room = columns() - 1;
  for (size_t shown = 0; l->s[n] && shown <= room; n++)
    if ((l->s[n] & 0xc0) != 0x80 && ++shown > room) break;
  memcpy(p->line, l->s, n);
  p->line[n] = 0;
  fprintf(stderr, "\r%s\033[K", p->line);
  fflush(stderr);
  p->drawn = true;
}

void progress_clear(progress *p) {
  if (p->drawn) fputs("\r\033[K", stderr);
  p->drawn = false;
}

void progress_end(progress *p) {
  if (p->drawn) putc('\n', stderr);
  p->drawn = false;
}

static void say(progress *p, const kd_event *e) {
  line l = { .n = 0 };
  if (e->kind == KD_EVENT_NOTE) add(&l, "note: %s", e->text);
  else { add_place(&l, e); add_values(&l, e); }
  progress_clear(p);
  fprintf(stderr, "%s\n", l.s);
}

void progress_event(void *ctx, const kd_event *e) {
  progress *p = ctx;
  if (p->steps && e->kind == KD_EVENT_STEP) {
    steps_add(p->steps, e);
    if (e->seconds - p->told < 0.1) return;
    p->told = e->seconds;
  }
  if (p->json) { write_json(e); return; }
  if (p->quiet) return;
  if (e->kind == KD_EVENT_SAY || e->kind == KD_EVENT_NOTE) { say(p, e); return; }
  line l = describe(e);
  if (p->live) {
    if (e->kind == KD_EVENT_STAGE) progress_end(p);                  /* the last line of the stage before stays */
    draw(p, &l);
  } else if (e->kind == KD_EVENT_EPOCH) {
    fprintf(stderr, "%s\n", l.s);
  }
}
