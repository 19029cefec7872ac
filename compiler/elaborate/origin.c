/* origin.c: from an origin in a finished module back to the program's text, when something happens there in a run. */
#include "compiler/elaborate/scheme.h"

bool kd__module_report(const kd_module *m, kd_sink *sink, kd_origin o, const char *text) {
  const elab *e = m->compiler;
  if (!e || o == 0 || o >= e->origin.n || !e->origin.v[o].span.src) return false;
  kd_diag *d = kd__report(sink, KD_D_RUN_FAILED, e->origin.v[o].span, text);
  int shown = 0;
  for (const frame *f = e->origin.v[o].frame; f && shown < 8; f = f->up, shown++) kd__diag_frame(sink, d, f->at, "%s", f->what);
  return true;
}

const char *kd__module_place(const kd_module *m, kd_origin o) {
  const elab *e = m->compiler;
  const place *p = e && o < e->origin.n ? e->origin.v[o].place : NULL;
  return p && p->path ? p->path : "";
}

const kd_graph *kd__module_graph(const kd_module *m, uint32_t plan) {
  const elab *e = m->compiler;
  return e && plan < e->build->plan.n ? e->build->plan.v[plan].g : NULL;
}
