/* scope.c: scopes, places, origins, and reporting with the chain of calls. */
#include "compiler/elaborate/elab.h"

scope *kd__scope_new(elab *e, scope *up, place *p) {
  scope *s = KD_NEW(e->a, scope);
  s->up = up;
  s->place = p ? p : up ? up->place : e->top;
  s->mod = up ? up->mod : NULL;
  s->scheme = up && up->scheme;
  return s;
}

enum { MANY = 24 };                              /* bindings from which on a scope is searched by an index */

static void index_binding(elab *e, scope *s, binding *b) {
  if (s->b.n < MANY) return;
  if (!s->index) {
    s->index = KD_NEW(e->a, kd__map);
    kd__map_init(s->index, e->a);
    for (size_t i = 0; i < s->b.n; i++) *kd__map_at(s->index, s->b.v[i]->name) = s->b.v[i];
  }
  *kd__map_at(s->index, b->name) = b;
}

binding *kd__scope_here(scope *s, const char *name) {
  if (s->index) return kd__map_get(s->index, name);
  for (size_t i = s->b.n; i-- > 0;)
    if (strcmp(s->b.v[i]->name, name) == 0) return s->b.v[i];
  return NULL;
}

binding *kd__scope_find(scope *s, const char *name, scope **where) {
  for (; s; s = s->up) {
    binding *b = kd__scope_here(s, name);
    if (b) { if (where) *where = s; return b; }
  }
  return NULL;
}

binding *kd__scope_bind(elab *e, scope *s, const char *name, val *v, const kd_ast *at) {
  binding *b = kd__scope_here(s, name);
  if (!b) {
    b = KD_NEW(e->a, binding);
    b->name = name;
    KD_PUSH(e->a, s->b, b);
    index_binding(e, s, b);
  }
  b->kind = B_VALUE; b->v = v; b->at = at;
  return b;
}

const axis *kd__scope_axis(scope *s, const char *label) {
  for (; s; s = s->up)
    for (size_t i = s->axes.n; i-- > 0;)
      if (s->axes.v[i].label == label) return &s->axes.v[i];
  return NULL;
}

bool kd__absent(elab *e, scope *s, const char *label, const kd_ast *at) {
  for (; s; s = s->up)
    for (size_t i = 0; i < s->absent.n; i++)
      if (s->absent.v[i] == label) {
        kd_diag *d = kd__err(e, KD_D_ABSENT_AXIS, at->span, label);
        kd__diag_help(e->sink, d, "has(%s) tells whether it is there: if has(%s) { ... }", label, label);
        return true;
      }
  return false;
}

void kd__scope_add_axis(elab *e, scope *s, axis a) {
  a.mask = NULL;                                 /* a mask belongs to a tensor */
  for (size_t i = 0; i < s->axes.n; i++)
    if (s->axes.v[i].label == a.label) { s->axes.v[i] = a; return; }
  KD_PUSH(e->a, s->axes, a);
}

/* `name`, or name_2, name_3 ... `taken` has the names that there are, each with the number to go on from. */
const char *kd__new_name(elab *e, kd__map *taken, const char *name) {
  void *next = kd__map_get(taken, name);
  const char *is = name;
  uintptr_t k = next ? (uintptr_t)next : 2;
  for (; kd__map_has(taken, is); k++) is = kd__arena_printf(e->a, "%s_%ju", name, (uintmax_t)k);
  *kd__map_at(taken, name) = (void *)k;
  return is;
}

/* The path of a place is what a checkpoint shows, so two places under one parent never share it. */
static const char *unique_path(elab *e, place *up, const char *name) {
  const char *dot = *up->path ? "." : "";
  const char *path = kd__arena_printf(e->a, "%s%s%s", up->path, dot, name);
  for (int k = 2;; k++) {
    bool taken = false;
    for (size_t i = 0; i < up->kid.n && !taken; i++) taken = strcmp(up->kid.v[i]->path, path) == 0;
    if (!taken) return path;
    path = kd__arena_printf(e->a, "%s%s%s_%d", up->path, dot, name, k);
  }
}

place *kd__place_at(elab *e, place *up, const kd_ast *call, const char *name, const char *what) {
  for (size_t i = 0; i < up->kid.n; i++)
    if (up->kid.v[i]->call == call && up->kid.v[i]->loop == e->loop) return up->kid.v[i];
  place *p = KD_NEW(e->a, place);
  p->up = up; p->call = call; p->loop = e->loop; p->what = what;
  p->root_net = up->root_net; p->in_loss = up->in_loss;
  p->path = unique_path(e, up, name);
  p->serial = ++e->places;
  p->loose = e->tryout && (!e->applied || e->applied->serial > e->tryout->places);
  KD_PUSH(e->a, up->kid, p);
  kd__draw_as(e, p, up->draws_as ? kd__arena_printf(e->a, "%s%s", up->draws_as, p->path + strlen(up->path)) : NULL);
  return p;
}

void kd__draw_as(elab *e, place *p, const char *path) {
  (void)e;
  p->draws_as = path;
  if (!path) path = p->path;
  p->hash = kd__hash(path, strlen(path), 0x6b64);
}

kd_origin kd__origin(elab *e, kd_span at) {
  const place *in = e->frame ? e->frame->place : e->outside;
  if (e->origin.n) {
    const origin *last = &e->origin.v[e->origin.n - 1];
    if (last->span.src == at.src && last->span.at == at.at && last->span.len == at.len && last->frame == e->frame && last->place == in) return (kd_origin)(e->origin.n - 1);
  } else {
    KD_PUSH(e->a, e->origin, (origin){ 0 });
  }
  KD_PUSH(e->a, e->origin, (origin){ at, e->frame, in });
  return (kd_origin)(e->origin.n - 1);
}

/* Reports at a place and adds the chain of calls, innermost first. */
kd_diag *kd__err(elab *e, kd_diag_code c, kd_span at, ...) {
  va_list ap;
  va_start(ap, at);
  kd_diag *d = kd__vreport(e->sink, c, at, ap);
  va_end(ap);
  int shown = 0;
  for (frame *f = e->frame; f && shown < 8; f = f->up, shown++) kd__diag_frame(e->sink, d, f->at, "%s", f->what);
  return d;
}

uint32_t kd__root_new(elab *e, root_kind k, const char *text) {
  KD_PUSH(e->a, e->root, (root){ .kind = (uint8_t)k, .text = text });
  return (uint32_t)(e->root.n - 1);
}

const char *kd__nearest(elab *e, const char *name, const char *const *names, size_t n) {
  (void)e;
  size_t len = strlen(name), best = len <= 1 ? 0 : len <= 3 ? 2 : len <= 6 ? 3 : 4;     /* one letter is near to every other */
  const char *found = NULL;
  for (size_t i = 0; i < n; i++) {
    if (!names[i] || names[i][0] == '.') continue;
    size_t d = kd__edit_distance(name, names[i], best);
    if (d < best) { best = d; found = names[i]; }
  }
  return found;
}
