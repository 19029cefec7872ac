/* session.c: sessions, and what is the same for all of them. */
#include "compiler/api/api.h"

const char *kd_version(void) { return "0.1.0"; }

/* --- the config's strings ------------------------------------------------------------------------------------------------- */
static bool keep(kd__arena *a, const char **s) {
  if (!*s) return true;
  *s = kd__arena_strndup(a, *s, strlen(*s));
  return *s != NULL;
}

static bool keep_all(kd_session *s) {
  kd_config *c = &s->config;
  c->allocator = &s->alloc;
  if (!keep(&s->arena, &c->stdlib) || !keep(&s->arena, &c->cache)) return false;
  const char **folder = KD_NEWN(&s->arena, const char *, c->ndata + 1);
  if (!folder) return false;
  for (size_t i = 0; i < c->ndata; i++) {
    folder[i] = c->data[i];
    if (!keep(&s->arena, &folder[i])) return false;
  }
  c->data = folder;
  return true;
}

static bool sound(const kd_config *c) {
  if (c->allocator && !c->allocator->resize) return false;
  for (size_t i = 0; i < c->ndata; i++)
    if (!c->data || !c->data[i]) return false;
  return true;
}

static void release(kd_session *s) {
  kd_allocator a = s->alloc;
  kd__arena_free(&s->arena);
  a.resize(a.ctx, s, sizeof *s, 0);
}

kd_status kd_session_new(const kd_config *config, kd_session **out) {
  if (!out) return KD_E_USAGE;
  *out = NULL;
  kd_config c = config ? *config : (kd_config){ 0 };
  if (!sound(&c)) return KD_E_USAGE;
  kd_allocator a = c.allocator ? *c.allocator : kd__default_allocator;
  kd_session *s = a.resize(a.ctx, NULL, 0, sizeof *s);
  if (!s) return KD_E_MEMORY;
  *s = (kd_session){ .alloc = a, .config = c };
  kd__arena_init(&s->arena, &s->alloc, NULL);
  if (!keep_all(s)) { release(s); return KD_E_MEMORY; }
  *out = s;
  return KD_OK;
}

void kd_session_free(kd_session *s) {
  if (!s || s->closed) return;
  s->closed = true;
  s->config.message = NULL;
  if (!s->programs) release(s);
}

void kd_program_free(kd_program *p) {
  if (!p) return;
  kd_session *s = p->session;
  kd__run_forget(p);
  kd__compile_drop(p, p->again);
  kd__settings_free(p->recorded);
  kd__arena_free(&p->arena);
  s->alloc.resize(s->alloc.ctx, p, sizeof *p, 0);
  s->programs--;
  if (s->closed && !s->programs) release(s);
}
