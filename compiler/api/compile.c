/* compile.c: from a text to a program. */
#include "compiler/api/api.h"
#include <stdlib.h>
#include <unistd.h>

/* --- beginning and ending --------------------------------------------------------------------------------------------------- */
static kd_program *begin(kd_session *s, const char *path, const kd_compile_options *o, kd__settings *recorded) {
  kd_program *p = s->alloc.resize(s->alloc.ctx, NULL, 0, sizeof *p);
  if (!p) return NULL;
  memset(p, 0, sizeof *p);
  p->session = s;
  p->fd = -1;
  p->path = path;
  p->recorded = recorded;
  p->stdlib = recorded ? recorded->stdlib : s->config.stdlib;
  if (o) p->opt = *o;
  p->frozen = kd__room_for_rows(s, &p->opt);
  if (recorded) p->frozen.given = recorded->cache_given;
  kd__arena_init(&p->arena, &s->alloc, &p->oom);
  p->arena.lasting = true;
  kd__arena_init(&p->scratch, &s->alloc, &p->oom);
  s->programs++;
  return p;
}

static bool sound(kd_session *s, const char *path, const kd_compile_options *o, kd_program **out) {
  if (!s || s->closed || !path || !out) return false;
  if (!o) return true;
  if (o->dump && !kd__dump_known(o->dump)) { kd__say(s, KD__SAY_BAD_DUMP, NULL, o->dump); return false; }
  if ((o->dump && !o->dump_to) || o->memory_limit < 0) return false;
  for (size_t i = 0; i < o->nset; i++) {
    if (!o->set || !o->set[i]) return false;
    const char *eq = strchr(o->set[i], '=');
    if (!eq || eq == o->set[i]) { kd__say(s, KD__SAY_BAD_SET, NULL, o->set[i]); return false; }
  }
  return true;
}

static kd_setting *settings(kd_program *p, size_t *n) {
  kd_setting *st = KD_NEWN(&p->arena, kd_setting, p->opt.nset);
  const char **kept = KD_NEWN(&p->arena, const char *, p->opt.nset);
  for (size_t i = 0; i < p->opt.nset; i++) {
    kept[i] = kd__arena_strndup(&p->arena, p->opt.set[i], strlen(p->opt.set[i]));
    const char *eq = strchr(kept[i], '=');
    kd_setting now = { .path = kd__arena_strndup(&p->arena, kept[i], (size_t)(eq - kept[i])), .value = eq + 1 };
    size_t k = 0;
    while (k < *n && strcmp(st[k].path, now.path) != 0) k++;
    st[k] = now;
    if (k == *n) ++*n;
  }
  p->set = kept;
  p->nset = p->opt.nset;
  return st;
}

/* --- the stages -------------------------------------------------------------------------------------------------------------- */
static bool dumps(const kd_program *p, const char *stage) { return p->opt.dump && strcmp(p->opt.dump, stage) == 0; }

static kd_elab_options options(kd_program *p) {
  kd_elab_options o = { .load = kd__text_module, .load_ctx = p, .describe = kd__data_rows, .describe_ctx = p,
                        .weights = p->recorded ? NULL : kd__weights_header, .weights_ctx = p,
                        .real = p->opt.double_precision ? KD_F64 : KD_F32, .memory = p->opt.memory_limit, .apart = p->opt.no_fuse, .check_definitions = p->opt.check, .seen_ctx = p, .scratch = &p->scratch,
                        .frozen = &p->frozen };
  o.setting = settings(p, &o.nsetting);
  if (p->recorded) { o.decided = p->recorded->decided; o.ndecided = p->recorded->ndecided; }
  if (p->opt.dump) { o.seen = kd__dump_seen; o.planned = kd__dump_planned; }
  return o;
}

static kd_status elaborate(kd_program *p, const kd_syntax *syn) {
  bool definitions = false;
  kd_elab_options o = options(p);
  p->module = kd__elaborate(&p->arena, &p->sink, syn, &o, &definitions);
  if (p->sink.errors) return KD_E_PROGRAM;
  if (p->module && dumps(p, "code")) kd__dump_code(p);
  if (p->module || (definitions && p->opt.check)) return KD_OK;
  kd__say_sink(p->session, &p->sink);
  kd__say(p->session, KD__SAY_NOTHING, p->path);
  p->told = true;
  return KD_E_PROGRAM;
}

static kd_status compile(kd_program *p, const char *text, size_t size) {
  kd__sink_init(&p->sink, &p->arena);
  p->path = kd__arena_strndup(&p->arena, p->path, strlen(p->path));
  kd_status s = text ? kd__text_check(p, p->path, text, size) : kd__text_read(p, p->path, &text, &size);
  if (s != KD_OK) return s;
  kd__data_folders(p);
  const kd_source *src = kd__source_new(&p->arena, p->path, text, size, 1);
  kd__text_remember(p, p->path, src->text, size);
  if (dumps(p, "tokens")) {
    kd__tokens_dump(&p->arena, &p->sink, src, &p->dump);
    kd__dump_out(p, &p->dump);
    return p->sink.errors ? KD_E_PROGRAM : KD_OK;
  }
  const kd_syntax *syn = kd__parse(&p->arena, &p->sink, src);
  if (dumps(p, "ast")) {
    kd__ast_dump(syn->file, &p->dump);
    kd__dump_out(p, &p->dump);
    return p->sink.errors ? KD_E_PROGRAM : KD_OK;
  }
  /* What did not parse is missing below: going on would only report its absence. */
  return p->sink.errors ? KD_E_PROGRAM : elaborate(p, syn);
}

/* The recovery point: everything between here and a failed allocation keeps what it owns in the arena or in `p`. */
static kd_status guarded(kd_program *p, const char *text, size_t size) {
  if (setjmp(p->oom.jump)) {
    p->oom.armed = false;
    if (p->fd >= 0) close(p->fd);
    kd__st_close(&p->weights);
    kd__buf_free(&p->dump);
    kd__arena_free(&p->scratch);
    kd__say(p->session, KD__SAY_NO_MEMORY, NULL);
    return KD_E_MEMORY;
  }
  p->oom.armed = true;
  kd_status s = compile(p, text, size);
  kd__say_sink(p->session, &p->sink);
  kd__arena_free(&p->scratch);
  p->oom.armed = false;
  return s;
}

kd_status kd__compile(kd_session *s, const char *path, const char *text, size_t n, const kd_compile_options *o, kd__settings *recorded, kd_program **out) {
  if (out) *out = NULL;
  if (!sound(s, path, o, out)) { kd__settings_free(recorded); return KD_E_USAGE; }
  kd_program *p = begin(s, path, o, recorded);
  if (!p) { kd__settings_free(recorded); kd__say(s, KD__SAY_NO_MEMORY, NULL); return KD_E_MEMORY; }
  kd_status st = guarded(p, text, n);
  p->real = p->opt.double_precision ? KD_F64 : KD_F32;
  p->memory_limit = p->opt.memory_limit;
  p->no_fuse = p->opt.no_fuse;
  p->sealed = true;
  p->opt = (kd_compile_options){ 0 };
  if (st == KD_OK && p->module) *out = p;
  else kd_program_free(p);
  return st;
}

/* --- once more, in a run --------------------------------------------------------------------------------------------------------- */
void kd__compile_drop(kd_program *p, kd__arena *arena) {
  if (!arena) return;
  kd__arena_free(arena);
  p->session->alloc.resize(p->session->alloc.ctx, arena, sizeof *arena, 0);
}

void kd__compile_take(kd_program *p, kd__arena *arena, kd_module *m) {
  kd__compile_drop(p, p->again);
  p->again = arena;
  p->module = m;
}

/* The program's own text is the first of its sources. */
static kd_module *anew(kd_program *p, kd__arena *a, kd_sink *sink, const int64_t *decided, size_t n) {
  bool definitions;
  const kd_source *src = kd__source_new(a, p->path, p->source.v[0].text, p->source.v[0].size, 1);
  kd_elab_options o = options(p);
  o.decided = decided; o.ndecided = n;
  o.tried = true;
  return kd__elaborate(a, sink, kd__parse(a, sink, src), &o, &definitions);
}

kd_status kd__compile_again(kd_program *p, const int64_t *decided, size_t n, kd__arena **arena, kd_module **out, const char **why) {
  kd_sink sink;
  kd__arena *a = p->session->alloc.resize(p->session->alloc.ctx, NULL, 0, sizeof *a);
  *out = NULL;
  *why = "out of memory";
  if (!a) return KD_E_MEMORY;
  kd__arena_init(a, &p->session->alloc, &p->oom);
  if (setjmp(p->oom.jump)) {
    p->oom.armed = false;
    p->opt = (kd_compile_options){ 0 };
    kd__st_close(&p->weights);
    kd__compile_drop(p, a);
    *out = NULL;
    return KD_E_MEMORY;
  }
  p->oom.armed = true;
  kd__sink_init(&sink, a);
  p->opt = (kd_compile_options){ .set = p->set, .nset = p->nset, .double_precision = p->real == KD_F64, .memory_limit = p->memory_limit, .no_fuse = p->no_fuse };
  kd_module *m = anew(p, a, &sink, decided, n);
  p->opt = (kd_compile_options){ 0 };
  for (size_t i = 0; !m && i < sink.diag.n; i++)
    if (sink.diag.v[i]->severity == KD_ERROR) { *why = kd__arena_strndup(&p->arena, sink.diag.v[i]->message, strlen(sink.diag.v[i]->message)); break; }
  if (!m) kd__say_sink(p->session, &sink);       /* its warnings were told before */
  p->oom.armed = false;
  if (!m) { kd__compile_drop(p, a); return KD_E_PROGRAM; }
  *arena = a;
  *out = m;
  return KD_OK;
}

kd_status kd_compile_file(kd_session *s, const char *path, const kd_compile_options *o, kd_program **out) {
  return kd__compile(s, path, NULL, 0, o, NULL, out);
}

kd_status kd_compile_text(kd_session *s, const char *path, const char *text, size_t n, const kd_compile_options *o, kd_program **out) {
  if (!text) {
    if (out) *out = NULL;
    return KD_E_USAGE;
  }
  return kd__compile(s, path, text, n, o, NULL, out);
}
