/* weights.c: networks that begin with what a file holds: `teacher T = net(...) from "T.safetensors"`.
 *
 * A tensor of the file is named as the parameter is below its network ("stage1.conv.W"); with "file#part" the names stand below `part`. The file gives
 * initial values: the program that makes those leaves such slots out and runs after the file was read, and a reset reads the file again. */
#include "compiler/elaborate/scheme.h"

/* --- `from` ----------------------------------------------------------------------------------------------------------------------- */
const from_file *kd__net_from(const net *w) {
  while (w && !w->from) w = w->like;
  return w ? w->from : NULL;
}

static bool inside(const kd_ast *n, const kd_ast *of) {
  return n->span.src == of->span.src && n->span.at >= of->span.at && n->span.at + n->span.len <= of->span.at + of->span.len;
}

/* NULL: a network that this binding makes. */
static const char *not_made_here(elab *e, const kd_ast *bind, const val *v) {
  if (v->kind == V_LIST) return "a list of networks";
  if (v->kind != V_NET) return kd__arena_printf(e->a, "`%s %s`", bind->text2, bind->text);
  if (v->u.net->with) return "a network at other parameters";
  const net *top = v->u.net->place->root_net;
  if (!top || top->place != v->u.net->place) return "a part of a definition";
  return inside(top->at, bind->kid[1]) ? NULL : "another name for one that was made before";
}

/* "file#part" */
static from_file *take_apart(elab *e, const char *text, const kd_ast *at) {
  from_file *f = KD_NEW(e->a, from_file);
  const char *hash = strrchr(text, '#');
  *f = (from_file){ .file = hash ? kd__arena_strndup(e->a, text, (size_t)(hash - text)) : text, .part = hash && hash[1] ? hash + 1 : NULL, .at = at };
  return f;
}

void kd__from(elab *e, const kd_ast *bind, scope *s, val *v) {
  const kd_ast *at = bind->n > 2 ? bind->kid[2] : NULL;
  if (!at || v->kind == V_POISON) return;
  const char *w = bind->text2;
  bool netlike = strcmp(w, "teacher") == 0 || strcmp(w, "student") == 0 || strcmp(w, "model") == 0 || strcmp(w, "transform") == 0;
  if (netlike && v->kind != V_NET && v->kind != V_LIST) return;         /* told: it is no network */
  const char *what = not_made_here(e, bind, v), *text;
  if (what) {
    kd_diag *d = kd__err(e, KD_D_FROM_PLACE, at->span, what);
    kd__diag_help(e->sink, d, v->kind == V_LIST ? "bind each network by itself: teacher A = net(...) from \"a.safetensors\"" : "write it where the network is made: teacher T = net(...) from \"T.safetensors\"");
    return;
  }
  if (!kd__want_str(e, kd__eval(e, s, at), at, "the file of weights", &text)) return;
  size_t len = strcspn(text, "#");
  if (!len) {
    kd__diag_help(e->sink, kd__err(e, KD_D_WEIGHTS_FILE, at->span, "the file has no name"), "name a safetensors file: from \"runs/teacher-0/T.safetensors\"");
    return;
  }
  v->u.net->from = v->u.net->place->root_net->from = take_apart(e, text, at);
}

/* --- loads ------------------------------------------------------------------------------------------------------------------------ */
static uint32_t file_number(elab *e, const char *file) {
  mod_build *b = e->build;
  for (size_t i = 0; i < b->weights.n; i++) if (strcmp(b->weights.v[i], file) == 0) return (uint32_t)i;
  KD_PUSH(e->a, b->weights, file);
  return (uint32_t)b->weights.n - 1;
}

static bool kept(const slot_info *s, const net *w) {
  return s->owner->root_net == w && (s->s.kind == KD_SLOT_PARAM || s->s.kind == KD_SLOT_STATE);
}

/* The parameter's name below its network. */
static const char *below(const elab *e, size_t slot, const net *w) {
  const char *path = e->slot.v[slot].s.name;
  size_t n = strlen(w->place->path);
  return strncmp(path, w->place->path, n) == 0 && path[n] == '.' ? path + n + 1 : path;
}

static const char *in_file(elab *e, size_t slot, const net *w) {
  const char *part = kd__net_from(w)->part;
  return part ? kd__arena_printf(e->a, "%s.%s", part, below(e, slot, w)) : below(e, slot, w);
}

static void add_load(elab *e, net *w) {
  KD_PUSH(e->a, e->build->load, ((taken){ .l = { .network = w->place->path, .file = file_number(e, kd__net_from(w)->file) }, .net = w }));
}

static void fill(elab *e, taken *t, const models *m) {
  t->l.slot = KD_NEWN(e->a, uint32_t, e->slot.n);
  t->l.name = KD_NEWN(e->a, const char *, e->slot.n);
  t->l.n = 0;
  for (size_t i = 0; i < e->slot.n; i++) {
    if (!kept(&e->slot.v[i], t->net) || (m && !kd__mentioned(e, m, (int64_t)i))) continue;
    t->l.slot[t->l.n] = (uint32_t)i;
    t->l.name[t->l.n++] = in_file(e, i, t->net);
  }
}

size_t kd__loads(elab *e, const kd_ast *at) {
  size_t n = 0;
  for (size_t i = 0; i < e->nets.n; i++) {
    if (!kd__net_from(e->nets.v[i])) continue;
    add_load(e, e->nets.v[i]);
    kd__emit(e, KD_CODE_LOAD, (int64_t)e->build->load.n - 1, 0, 0, at);
    n++;
  }
  return n;
}

void kd__loads_fill(elab *e, size_t first, size_t n, const models *m) {
  for (size_t i = first; i < first + n; i++) fill(e, &e->build->load.v[i], m);
}

/* A network that nothing has applied owns nothing yet, and needs none. */
size_t kd__loads_first(elab *e) {
  size_t first = e->build->load.n;
  for (size_t i = 0; i < e->nets.n; i++) {
    if (!kd__net_from(e->nets.v[i])) continue;
    add_load(e, e->nets.v[i]);
    fill(e, &e->build->load.v[e->build->load.n - 1], NULL);
    if (!e->build->load.v[e->build->load.n - 1].l.n) e->build->load.n--;
  }
  return first;
}

/* --- against the file's header --------------------------------------------------------------------------------------------------------- */
enum { MOST = 3 };                               /* messages of one kind for one network; the last says how many more there are */
typedef struct held { elab *e; const net *w; const from_file *f; kd_weights file; bool *used; kd_diag *last; size_t missing, shapes, types, nused, nslot; } held;   /* last: of what is missing */

static const char *plain_shape(elab *e, const kd_type *t) {
  const char *s = "";
  for (int i = 0; i < t->rank; i++) s = kd__arena_printf(e->a, "%s%s%lld", s, i ? ", " : "", (long long)t->dim[i]);
  return kd__arena_printf(e->a, "[%s]", s);
}

static const char *slot_shape(elab *e, const slot_info *s) {
  tensor t = { .rank = s->s.type.rank, .dtype = (kd_dtype)s->s.type.dtype };
  memcpy(t.ax, s->ax, sizeof t.ax);
  return t.rank ? kd__t_show(e, &t) : "[]";
}

static const char *quoted(elab *e, const char *file) { return kd__arena_printf(e->a, "\"%s\"", file); }

static size_t find(const kd_weights *f, const char *name) {
  for (size_t i = 0; i < f->n; i++) if (strcmp(f->tensor[i].name, name) == 0) return i;
  return f->n;
}

/* The same name below another part of the file: "S" of "S.first.W" for "first.W". NULL: there is none. */
static const char *other_part(const held *h, const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i < h->file.n; i++) {
    const char *have = h->file.tensor[i].name;
    size_t len = strlen(have);
    if (len > n + 1 && have[len - n - 1] == '.' && strcmp(have + len - n, name) == 0) return kd__arena_strndup(h->e->a, have, len - n - 1);
  }
  return NULL;
}

/* What nothing has taken and has the shape that is looked for, in words. */
static const char *alike_in_shape(const held *h, const kd_type *want) {
  const char *s = NULL;
  size_t n = 0;
  for (size_t i = 0; i < h->file.n && n < 4; i++) {
    const kd_type *t = &h->file.tensor[i].type;
    if (h->used[i] || t->rank != want->rank || memcmp(t->dim, want->dim, sizeof *t->dim * t->rank) != 0) continue;
    s = n++ ? kd__arena_printf(h->e->a, "%s, `%s`", s, h->file.tensor[i].name) : kd__arena_printf(h->e->a, "`%s`", h->file.tensor[i].name);
  }
  return s;
}

static void missing(held *h, size_t slot, const char *name) {
  elab *e = h->e;
  if (h->missing++ >= MOST) return;
  kd_diag *d = kd__err(e, KD_D_WEIGHTS_MISSING, h->f->at->span, quoted(e, h->f->file), name, h->w->place->path);
  h->last = d;
  const char *bare = below(e, slot, h->w), *part = other_part(h, bare), **names = KD_NEWN(e->a, const char *, h->file.n + 1);
  if (h->f->part && find(&h->file, bare) < h->file.n) { kd__diag_help(e->sink, d, "it has `%s`, below no part: from \"%s\"", bare, h->f->file); return; }
  if (part) { kd__diag_help(e->sink, d, "it has `%s.%s`: from \"%s#%s\" takes what stands below `%s`", part, bare, h->f->file, part, part); return; }
  for (size_t i = 0; i < h->file.n; i++) names[i] = h->file.tensor[i].name;
  const char *near = kd__nearest(e, name, names, h->file.n);
  if (near) kd__diag_help(e->sink, d, "it has `%s` %s, and this is %s", near, plain_shape(e, &h->file.tensor[find(&h->file, near)].type), slot_shape(e, &e->slot.v[slot]));
  else if (alike_in_shape(h, &e->slot.v[slot].s.type)) kd__diag_help(e->sink, d, "of its shape, %s, the file has %s: names must be those of the network", slot_shape(e, &e->slot.v[slot]), alike_in_shape(h, &e->slot.v[slot].s.type));
  else if (h->file.n) kd__diag_help(e->sink, d, "it has %zu tensors, such as `%s`: was it made by this network?", h->file.n, names[0]);
  else kd__diag_help(e->sink, d, "the file is empty");
}

static void wrong_shape(held *h, const slot_info *s, const kd_weight *t) {
  elab *e = h->e;
  if (h->shapes++ >= MOST) return;
  kd_diag *d = kd__err(e, KD_D_WEIGHTS_SHAPE, h->f->at->span, t->name, plain_shape(e, &t->type), quoted(e, h->f->file), slot_shape(e, s), h->w->place->path);
  kd__diag_label(e->sink, d, s->at, "declared here");
  kd__diag_help(e->sink, d, "make the network as the file's was made; to take what both have, load a network like that and copy it by overlap");
}

static void wrong_type(held *h, const slot_info *s, const kd_weight *t) {
  elab *e = h->e;
  if (h->types++ >= MOST) return;
  bool real = kd__dtype_real((kd_dtype)s->s.type.dtype), truth = s->s.type.dtype == KD_BOOL;
  kd_diag *d = kd__err(e, KD_D_WEIGHTS_TYPE, h->f->at->span, t->name, t->stored, quoted(e, h->f->file), h->w->place->path, real ? "real numbers" : truth ? "truth values" : "whole numbers");
  kd__diag_help(e->sink, d, "write the file anew with %s there", real ? "F32, F64, F16 or BF16" : truth ? "BOOL" : "I64 or any smaller whole numbers");
}

static void one_slot(held *h, size_t slot) {
  const slot_info *s = &h->e->slot.v[slot];
  const char *name = in_file(h->e, slot, h->w);
  size_t i = find(&h->file, name);
  h->nslot++;
  if (i == h->file.n) { missing(h, slot, name); return; }
  const kd_weight *t = &h->file.tensor[i];
  h->nused += !h->used[i];
  h->used[i] = true;
  if (t->type.rank != s->s.type.rank || memcmp(t->type.dim, s->s.type.dim, sizeof *t->type.dim * t->type.rank) != 0) wrong_shape(h, s, t);
  else if (!kd__load_fits((kd_dtype)t->type.dtype, (kd_dtype)s->s.type.dtype)) wrong_type(h, s, t);
}

/* Of a file of several networks only what stands below the part. */
static void extra(const held *h) {
  size_t n = 0, len = h->f->part ? strlen(h->f->part) : 0;
  const char *first = NULL;
  for (size_t i = 0; i < h->file.n; i++) {
    const char *name = h->file.tensor[i].name;
    if (h->used[i] || (len && (strncmp(name, h->f->part, len) != 0 || name[len] != '.'))) continue;
    if (!n++) first = name;
  }
  if (n) kd__report(h->e->sink, KD_D_WEIGHTS_EXTRA, h->f->at->span, quoted(h->e, h->f->file), h->w->place->path, h->nused, first, n > 1 ? kd__arena_printf(h->e->a, " and %zu others", n - 1) : "");
}

static void check_net(elab *e, const net *w) {
  char why[700] = "";
  held h = { .e = e, .w = w, .f = kd__net_from(w) };
  kd_status s = e->opt->weights(e->opt->weights_ctx, h.f->file, &h.file, why, sizeof why);
  if (s == KD_E_DATA && !w->from) return;
  if (s == KD_E_DATA) { kd__report(e->sink, KD_D_WEIGHTS_ABSENT, h.f->at->span, why); return; }
  if (s != KD_OK) {
    kd__diag_help(e->sink, kd__err(e, KD_D_WEIGHTS_FILE, h.f->at->span, why), "a run writes such files: save %s to \"%s.safetensors\"", w->place->path, w->place->path);
    return;
  }
  h.used = KD_NEWN(e->a, bool, h.file.n + 1);
  for (size_t i = 0; i < e->slot.n; i++) if (kept(&e->slot.v[i], w)) one_slot(&h, i);
  if (h.missing > MOST) kd__diag_help(e->sink, h.last, "in all it lacks %zu of the %zu names", h.missing, h.nslot);
  if (!h.missing && h.nslot && !e->waits && w->from) extra(&h);
}

/* A network like another one takes what that one's file has, of which the notes are told once. */
void kd__weights_check(elab *e) {
  for (size_t i = 0; e->opt->weights && i < e->nets.n; i++) {
    const net *w = e->nets.v[i];
    if (!kd__net_from(w)) continue;
    size_t errors = e->sink->errors;
    check_net(e, w);
    if (e->sink->errors > errors) return;
  }
}
