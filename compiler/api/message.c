/* message.c: messages on their way to the session's callback. */
#include "compiler/api/api.h"
#include <stdio.h>

static const struct { kd_severity severity; const char *code, *text; } said[] = {
#define KD_SAY(ID, severity, code, text) [KD__SAY_##ID] = { severity, code, text },
#include "compiler/api/messages.def"
#undef KD_SAY
};
static const char *const severity_name[] = { [KD_ERROR] = "error", [KD_WARNING] = "warning", [KD_NOTE] = "note" };
static const char *const severity_color[] = { [KD_ERROR] = "\033[1;31m", [KD_WARNING] = "\033[1;35m", [KD_NOTE] = "\033[1;36m" };

static void render(const kd_session *s, const kd_message *m, kd__buf *text, kd__buf *json) {
  bool c = s->config.color;
  if (m->file) kd__buf_printf(text, "%s%s:%s ", c ? "\033[1m" : "", m->file, c ? "\033[0m" : "");
  kd__buf_printf(text, "%s%s:%s %s [%s]\n", c ? severity_color[m->severity] : "", severity_name[m->severity], c ? "\033[0m" : "",
                 m->message, m->code);
  kd__buf_printf(json, "{\"severity\":\"%s\",\"code\":\"%s\",\"message\":", severity_name[m->severity], m->code);
  kd__buf_json(json, m->message, strlen(m->message));
  if (m->file) {
    kd__buf_puts(json, ",\"file\":");
    kd__buf_json(json, m->file, strlen(m->file));
  }
  kd__buf_putc(json, '}');
}

/* What was rendered as far as memory allowed: a message is never lost, only its carets. */
static void tell(kd_session *s, kd_message *m, kd__buf *text, kd__buf *json) {
  m->text = text->failed || !text->p ? m->message : text->p;
  m->json = json->failed || !json->p ? "{}" : json->p;
  s->config.message(s->config.message_ctx, m);
  kd__buf_free(text);
  kd__buf_free(json);
}

void kd__say(kd_session *s, kd__say_code code, const char *file, ...) {
  if (!s->config.message) return;
  char message[1024];
  va_list ap;
  va_start(ap, file);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  vsnprintf(message, sizeof message, said[code].text, ap);
#pragma GCC diagnostic pop
  va_end(ap);
  kd_message m = { .severity = said[code].severity, .code = said[code].code, .file = file, .message = message };
  kd__buf text = { 0 }, json = { 0 };
  render(s, &m, &text, &json);
  tell(s, &m, &text, &json);
}

void kd__say_sink(kd_session *s, kd_sink *sink) {
  kd__sink_finish(sink);
  size_t n = s->config.message ? sink->diag.n : 0;
  for (size_t i = 0; i < n; i++) {
    const kd_diag *d = sink->diag.v[i];
    kd_message m = { .severity = d->severity, .code = kd__diag_code_name(d->code), .message = d->message };
    if (d->nlabel && d->label[0].span.src) {
      m.file = d->label[0].span.src->path;
      kd__source_pos(d->label[0].span.src, d->label[0].span.at, &m.line, &m.col);
    }
    kd__buf text = { 0 }, json = { 0 };
    kd__diag_text(d, s->config.color, &text);
    kd__diag_json(d, &json);
    tell(s, &m, &text, &json);
  }
  sink->diag.n = 0;
}
