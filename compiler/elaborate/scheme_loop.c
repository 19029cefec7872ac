/* scheme_loop.c: stages and loops: over epochs, over batches of one or several streams, counted, `repeat`, `every`; `train`, the sugar. */
#include "compiler/elaborate/scheme.h"

/* --- stages ------------------------------------------------------------------------------------------------------------------------- */
void kd__begin_stage(elab *e, const char *name, const kd_ast *at) {
  mod_build *b = e->build;
  for (size_t i = 0; i < b->stage.n; i++)
    if (strcmp(b->stage.v[i].name, name) == 0) kd__err(e, KD_D_DUPLICATE_NAME, at->span, name);
  kd__flow_end(e, at);
  b->stage_name = name;
  b->keep = NULL;
  b->looked = false;
  b->outside = b->control;
  b->before = b->plan.n;
  b->turns = 1;
  uint64_t loop = e->loop;
  e->loop = kd__mix(loop, kd__hash(name, strlen(name), 0));                     /* a scheme's loop is a stage of its own at each call */
  b->home = kd__place_at(e, e->top, at, kd__arena_printf(e->a, "optimizer.%s", name), name);
  e->loop = loop;
  KD_PUSH(e->a, b->stage, (kd_stage_info){ .name = name });
  kd__emit(e, KD_CODE_STAGE, (int64_t)b->stage.n - 1, 0, 0, at);
  if (b->control) kd__reset_below(e, b->home, at);       /* it may be entered again: its optimizers begin anew (rule 17) */
  kd__flow_begin(e);
}

void kd__end_stage(elab *e, const kd_ast *at) {
  kd__flow_end(e, at);
  const kd_ast *keep = e->build->keep;
  if (keep && !e->build->looked && e->sink->errors == 0)
    kd__diag_help(e->sink, kd__err(e, KD_D_KEEP_IDLE, keep->span), "train ... for 10 epochs, or for 10 epochs { for batch in D { step ... } }");
  e->build->stage_name = NULL;
  e->build->keep = NULL;
  kd__flow_begin(e);
}

/* Loops outside of a stage are one by themselves. True: the statement was run within it. */
static bool own_stage(elab *e, scope *s, const kd_ast *n, const char *word, void (*run)(elab *, scope *, const kd_ast *)) {
  mod_build *b = e->build;
  if (b->stage_name) return false;
  kd__begin_stage(e, kd__arena_printf(e->a, "%s%zu", word, b->stage.n + 1), n);
  run(e, s, n);
  kd__end_stage(e, n);
  return true;
}

/* --- data -------------------------------------------------------------------------------------------------------------------------------- */
bool kd__data_of(elab *e, scope *s, const kd_ast *n, const char *split, uint32_t *data, uint32_t *which) {
  val *v = kd__eval(e, s, n);
  if (v->kind == V_SPLIT && !v->u.split.cycle && !v->u.split.take) { *data = v->u.split.data; *which = v->u.split.split; return true; }
  if (v->kind != V_DATA) {
    if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, n->span, "`on`", "a data set or one of its splits", v->kind == V_SPLIT ? "a stream for a loop" : kd__v_show(e, v));
    return false;
  }
  if (!kd__written_readable(e, v->u.data, n)) return false;
  *data = v->u.data; *which = 0;
  const kd_dataset *d = &e->data.v[v->u.data].d;
  for (uint32_t i = 0; split && i < d->nsplit; i++) if (strcmp(d->split[i].name, split) == 0) *which = i;
  return true;
}

/* Rows of the last short batch that training takes too; 0: it is dropped, or there is none. */
/* Of a set that is made while running, the last short batch is dropped, and how many there are nobody knows yet. */
static bool made(const data_set *d) { return d->d.made != KD_MADE_FILES; }
static int64_t tail_of(const data_set *d, uint32_t split) { return d->keep_last ? d->rows[split] % d->d.batch : 0; }
static int64_t batches_of(const data_set *d, uint32_t split) { return d->rows[split] / d->d.batch + (tail_of(d, split) > 0); }

/* --- groups of slots: kept, restored, saved ---------------------------------------------------------------------------------------- */
/* whole: all of the networks' parameters and states, and what belongs to none. */
uint32_t kd__add_group(elab *e, const char *name, const models *m, bool whole, bool strip) {
  kd_group g = { .name = name };
  g.slot = KD_NEWN(e->a, uint32_t, e->slot.n);
  g.path = KD_NEWN(e->a, const char *, e->slot.n);
  for (size_t i = 0; i < e->slot.n; i++) {
    const slot_info *s = &e->slot.v[i];
    if (s->s.kind != KD_SLOT_PARAM && s->s.kind != KD_SLOT_STATE) continue;
    const net *w = s->owner->root_net;
    bool in = whole && (w ? strcmp(w->role, "transform") == 0 || kd__has_net(m, w) : s->s.kind == KD_SLOT_PARAM);
    if (!in && !kd__mentioned(e, m, (int64_t)i)) continue;
    const char *path = s->s.name;
    if (strip && w && strncmp(path, w->place->path, strlen(w->place->path)) == 0 && path[strlen(w->place->path)] == '.') path += strlen(w->place->path) + 1;
    g.path[g.n] = path;
    g.slot[g.n++] = (uint32_t)i;
  }
  KD_PUSH(e->a, e->build->group, g);
  return (uint32_t)e->build->group.n - 1;
}

/* --- counted loops -------------------------------------------------------------------------------------------------------------------------- */
typedef struct counted { uint32_t counter, loop; int64_t times; uint32_t out; const kd_ast *at; } counted;

uint32_t kd__turns_around(const elab *e) { return e->build ? e->build->turning : 0; }

static void count_begin(elab *e, counted *c, int64_t times, const kd_ast *at) {
  e->build->turning++;
  *c = (counted){ .counter = e->build->ncounter++, .times = times, .at = at };
  c->loop = kd__emit(e, KD_CODE_LOOP, c->counter, times, 0, at);
}

/* A turn's end; where `until` jumps to, the counter is set back. */
static void count_end(elab *e, counted *c) {
  mod_build *b = e->build;
  kd__emit(e, KD_CODE_NEXT, c->counter, c->times, c->loop + 1, c->at);
  b->code.v[c->loop].c = kd__here(e);
  b->turning--;
  if (!c->out) return;
  b->code.v[c->out].b = kd__here(e);
  uint32_t back = kd__emit(e, KD_CODE_LOOP, c->counter, 0, 0, c->at);
  b->code.v[back].c = kd__here(e);
}

static bool times_of(elab *e, scope *s, const kd_ast *n, const char *what, val *set, int64_t *times) {
  if (!kd__want_int(e, set ? set : kd__eval(e, s, n), n, kd__arena_printf(e->a, "the number of %s", what), times)) return false;
  if (*times < 0 || *times > 1000000000) { kd__err(e, KD_D_AXIS_SIZE, n->span, what, (long long)*times); return false; }
  return true;
}

static bool length_of(elab *e, scope *s, const kd_ast *n, const char *unit, int64_t *times) {
  val *set = NULL;
  if (unit && !kd__setting(e, kd__arena_printf(e->a, "%s.%s", e->build->stage_name, unit), &set)) set = NULL;
  return times_of(e, s, n, unit, set, times);
}

/* --- what a loop's steps train ---------------------------------------------------------------------------------------------------------------- */
static void add_stepped(elab *e, const models *one, models *out) {
  for (size_t i = 0; i < one->n; i++) {
    bool seen = false;
    for (size_t k = 0; k < out->n; k++) seen = seen || out->v[k] == one->v[i];
    if (!seen) KD_PUSH(e->a, *out, one->v[i]);
  }
}

/* The networks that steps of a block train: their mode is training in the whole batch. What cannot be known yet is looked at when the
 * step itself is reached, so nothing is reported here. */
static void stepped_in(elab *e, scope *s, const kd_ast *n, models *out) {
  models one = { 0 };
  switch (n->kind) {
    case KD_AST_STEP: case KD_AST_STEP_ALONG:
      kd__models(e, s, n->kid[0], &one);
      add_stepped(e, &one, out);
      return;
    case KD_AST_FOR_IN: {
      val *v = kd__eval(e, s, n->kid[0]);
      uint32_t turns = v->kind == V_LIST ? v->u.list.n : 1, names = n->n - 2;
      for (uint32_t i = 0; i < turns; i++) {
        scope *in = kd__scope_new(e, s, NULL);
        val *item = v->kind == V_LIST ? v->u.list.v[i] : v->kind == V_RANGE ? kd__v_int(e, v->u.range.from) : &kd__none;
        for (uint32_t k = 0; k < names; k++)
          kd__scope_bind(e, in, n->kid[2 + k]->text, names == 1 ? item : item->kind == V_LIST && k < item->u.list.n ? item->u.list.v[k] : &kd__none, n->kid[2 + k]);
        stepped_in(e, in, n->kid[1], out);
      }
      return;
    }
    case KD_AST_BLOCK: case KD_AST_IF: case KD_AST_REPEAT: case KD_AST_FOR_COUNT: case KD_AST_FOR_STREAMS: case KD_AST_EVERY:
      for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) stepped_in(e, s, n->kid[i], out);
      return;
    case KD_AST_EXPR_STMT:
      if (n->kid[0]->kind == KD_AST_CALL) {
        val *f = kd__eval(e, s, n->kid[0]->kid[0]);
        arg *a;
        if (f->kind != V_DEF || strcmp(f->u.def->word, "scheme") != 0) return;
        uint32_t k = kd__args(e, s, n->kid[0], &a);
        scope *in = kd__bind_call(e, s, f->u.def, a, k, n->kid[0]);
        if (in) stepped_in(e, in, f->u.def->ast->kid[2], out);
      }
      return;
    default: return;
  }
}

static void stepped_models(elab *e, scope *s, const kd_ast *body, models *out) {
  kd_sink *sink = e->sink, quiet;
  prog *up = e->prog;
  kd__sink_init(&quiet, e->a);
  e->sink = &quiet;
  e->prog = kd__prog_new(e, PROG_PROBE, "trial");
  stepped_in(e, kd__scope_new(e, s, NULL), body, out);
  e->sink = sink;
  e->prog = up;
}

/* --- loops over batches -------------------------------------------------------------------------------------------------------------------------- */
typedef struct use { uint32_t data, split, stream; bool cycle; int64_t take, replay; const char *name; const kd_ast *at; opening *open; } use;
/* turns: of a counted loop, -1: as many as the first stream has. */
typedef struct batch_loop {
  const kd_ast *at, *until;
  use *use; uint32_t nuse;
  int64_t turns;
  const models *stepped;
  void (*body)(elab *e, scope *in, const struct batch_loop *l);
  const kd_ast *block;
  scope *in;                                     /* of the body's last form */
  const models *train; const kd_ast *train_ast; place *home;               /* of `train` */
} batch_loop;

/* One form of the body: for batches of `rows` of the first stream. */
static void body_form(elab *e, scope *s, batch_loop *l, registers *r, int64_t rows) {
  mod_build *b = e->build;
  opening *up = e->open;
  for (uint32_t i = 0; i < l->nuse; i++) {
    use *u = &l->use[i];
    fields *field = u->open ? u->open->field : NULL;
    u->open = kd__open(e, e->open, u->data, u->split, i == 0 ? rows : e->data.v[u->data].d.batch, u->at);
    if (field) u->open->field = field;
    u->open->beside = i > 0;
    u->open->replay = u->replay;
    u->open->around = b->turning;
    e->open = u->open;
  }
  scope *in = kd__flow_scope(e, s);
  for (uint32_t i = 0; i < l->nuse; i++) {
    if (!l->use[i].name) continue;
    val *v = kd__v_new(e, V_BATCH);
    v->u.batch = l->use[i].open;
    kd__scope_bind(e, in, l->use[i].name, v, l->use[i].at)->used = true;
  }
  if (b->batches == 1) { b->losses = 0; b->steps = 0; b->committed.n = 0; b->dropped.n = 0; }
  r->next = 0;
  b->regs = r;
  uint32_t start = kd__here(e);
  if (!r->again) r->from = b->nreg;
  kd__flow_begin(e);
  l->body(e, in, l);
  kd__flow_end(e, l->at);
  b->regs = r->up;
  if (!r->again) r->to = b->nreg;
  l->in = in;
  if (b->batches == 1 && b->steps) {             /* one program alone is a whole step; several end with a tick */
    if (kd__here(e) == start + 1 && b->code.v[start].op == KD_CODE_LOSS) b->code.v[start].op = KD_CODE_STEP;
    else kd__emit(e, KD_CODE_TICK, r->from, r->to - r->from, 0, l->at);
  }
  e->open = up;
}

/* What a loop that stands in no other loop over batches adds to its stage. */
static void count_batches(elab *e, const batch_loop *l, int64_t turns) {
  mod_build *b = e->build;
  const use *first = l->nuse ? &l->use[0] : NULL;
  const data_set *d = first ? &e->data.v[first->data] : NULL;
  bool counted_later = d && l->turns < 0 && made(&e->data.v[first->data]);
  if (b->steps && counted_later) KD_PUSH(e->a, b->pass, (kd_pass){ (int64_t)b->stage.n - 1, first->stream, b->turns });
  else if (b->steps) b->stage.v[b->stage.n - 1].steps += b->turns * turns;
  if (d) { b->batch_data = first->data; b->batch_seen = true; }
  if (l->stepped) add_stepped(e, l->stepped, &b->batch_models);
  if (!b->epochs) {                            /* outside of a loop over epochs one pass is one epoch */
    b->stage.v[b->stage.n - 1].epochs += b->turns;
    kd__emit(e, KD_CODE_EPOCH, 0, 0, 0, l->at);
  }
}

static void run_batches(elab *e, scope *s, batch_loop *l) {
  mod_build *b = e->build;
  const models *stepped = b->stepped;
  use *first = l->nuse ? &l->use[0] : NULL;
  const data_set *d = first ? &e->data.v[first->data] : NULL;
  bool whole = d && !made(d) && l->block && kd__only_writes(l->block);     /* every sample, in order */
  int64_t batch = d ? d->d.batch : 0, tail = d && l->turns < 0 ? whole ? d->rows[first->split] % d->d.batch : tail_of(d, first->split) : 0, turns = l->turns < 0 ? batches_of(d, first->split) : l->turns;
  int64_t pass = 0;                              /* that `keep best by` looks after */
  counted c = { 0 };
  uint32_t begin = 0;
  size_t errors = e->sink->errors;
  bool alone = !b->batches && !b->epochs;        /* no loop over epochs says when one ends */
  kd__flow_end(e, l->at);
  if (!b->batches) b->stepped = l->stepped;
  b->batches++; b->control++;
  for (uint32_t i = 0; i < l->nuse; i++) {
    l->use[i].replay = whole || l->use[i].split ? 0 : e->data.v[l->use[i].data].replay;      /* the training split, as it is trained on */
    opening o = { .data = l->use[i].data, .split = l->use[i].split, .replay = l->use[i].replay };
    l->use[i].stream = kd__add_stream(e, &o, !whole, i > 0 || l->turns >= 0 || tail == 0);
  }
  if (l->turns < 0) { begin = kd__emit(e, KD_CODE_BATCHES, first->stream, 0, 0, l->at) + 1; b->turning++; }
  else count_begin(e, &c, l->turns, l->at);
  for (uint32_t i = l->turns < 0; i < l->nuse; i++) kd__emit(e, KD_CODE_TAKE, l->use[i].stream, 0, 0, l->at);
  registers regs = { .up = b->regs };
  uint32_t branch = tail ? kd__emit(e, KD_CODE_BATCH_IF, first->stream, tail, 0, l->at) : 0;
  body_form(e, s, l, &regs, batch);
  if (tail && e->sink->errors == errors) {       /* what is wrong would only be said twice */
    uint32_t over = kd__emit(e, KD_CODE_JUMP, 0, 0, 0, l->at);
    b->code.v[branch].c = kd__here(e);
    regs.again = true;
    body_form(e, s, l, &regs, tail);
    b->code.v[over].a = kd__here(e);
  }
  if (l->turns < 0) {
    kd__emit(e, KD_CODE_MORE, first->stream, 0, begin, l->at);
    b->turning--;
    b->code.v[begin - 1].c = kd__here(e);
  } else {
    kd__flow_begin(e);
    if (alone) pass = kd__keep_every(e, l->in, l->stepped, first ? batches_of(d, first->split) : 0, l->at);
    if (l->until) c.out = kd__until_turn(e, l->in, l->until);
    kd__flow_end(e, l->at);
    count_end(e, &c);
  }
  for (uint32_t i = 0; i < l->nuse; i++) {
    kd__bind_stream(e, l->use[i].stream, l->use[i].open);
    if (i > 0 || l->turns >= 0) kd__emit(e, KD_CODE_LEAVE, l->use[i].stream, 0, 0, l->at);
  }
  b->batches--; b->control--;
  if (!b->batches) { b->stepped = stepped; count_batches(e, l, turns); }
  kd__flow_begin(e);
  if (alone && b->steps && (!pass || l->until || turns % pass)) (void)kd__look(e, s, l->stepped, NULL);
  if (alone) kd__keep_end(e, l->at);
}

static void block_body(elab *e, scope *in, const batch_loop *l) { kd__exec_block(e, in, l->block); }

static void remember_trained(elab *e, const models *m) { add_stepped(e, m, &e->build->trained); }

static void run_block_loop(elab *e, scope *s, batch_loop *l) {
  models m = { 0 };
  stepped_models(e, s, l->block, &m);
  remember_trained(e, &m);
  l->body = block_body;
  l->stepped = &m;
  run_batches(e, s, l);
}

static bool use_of(elab *e, scope *s, const kd_ast *n, const char *name, const kd_ast *at, use *u) {
  val *v = kd__eval(e, s, n);
  *u = (use){ .name = name, .at = at };
  if (v->kind == V_DATA || (v->kind == V_SPLIT && v->u.split.take >= 0)) { if (!kd__written_readable(e, v->kind == V_DATA ? v->u.data : v->u.split.data, n)) return false; }
  if (v->kind == V_DATA) { u->data = v->u.data; return true; }
  if (v->kind == V_SPLIT && v->u.split.take >= 0) {
    *u = (use){ .data = v->u.split.data, .split = v->u.split.split, .cycle = v->u.split.cycle, .take = v->u.split.take, .name = name, .at = at };
    return true;
  }
  if (v->kind == V_SPLIT) kd__err(e, KD_D_MISSING_ARG, n->span, "take", "the number of batches");
  else if (v->kind != V_POISON) kd__err(e, KD_D_WANT_KIND, n->span, "a loop over batches", "a data set or one of its splits", kd__v_show(e, v));
  return false;
}

/* `for batch in D`, `for a in D, b in E.cycle`: the first decides the length. */
void kd__for_data(elab *e, scope *s, const kd_ast *n) {
  if (own_stage(e, s, n, "loop", kd__for_data)) return;
  bool several = n->kind == KD_AST_FOR_STREAMS;
  uint32_t k = several ? n->n - 1 : 1;
  use *u = KD_NEWN(e->a, use, k);
  if (!several && n->n != 3) {
    kd_diag *d = kd__err(e, KD_D_UNPACK, n->kid[0]->span, n->n - 2, "a batch");
    kd__diag_help(e->sink, d, "a batch has one name, and its fields are read from it: for batch in ... { ... batch.FIELD ... }");
    return;
  }
  for (uint32_t i = 0; i < k; i++) {
    const kd_ast *x = several ? n->kid[i + 1] : n;
    if (!use_of(e, s, x->kid[0], several ? x->text : n->kid[2]->text, several ? x : n->kid[2], &u[i])) return;
  }
  int64_t turns = u[0].take ? u[0].take : batches_of(&e->data.v[u[0].data], u[0].split);
  if (u[0].cycle) {
    kd_diag *d = kd__err(e, KD_D_NO_BOUND, u[0].at->span);
    kd__diag_help(e->sink, d, "say how many batches: %s.take(1000), or for 1000 batches { ... }", e->data.v[u[0].data].name);
    return;
  }
  for (uint32_t i = 0; i < k; i++) {
    const data_set *d = &e->data.v[u[i].data];
    if (made(d) || made(&e->data.v[u[0].data])) continue;
    int64_t have = d->rows[u[i].split] / d->d.batch;
    if (have == 0 && (i > 0 || u[i].take)) { kd__err(e, KD_D_BATCH_MANY, u[i].at->span, (long long)d->d.batch, (long long)d->rows[u[i].split]); return; }
    if (i == 0 || u[i].cycle || (u[i].take ? u[i].take : have) >= turns) continue;
    kd_diag *dg = kd__err(e, KD_D_STREAM_SHORT, u[i].at->span, u[i].name, (long long)(u[i].take ? u[i].take : have), (long long)turns);
    const kd_span at = u[i].at->kid[0]->span;
    kd__diag_help(e->sink, dg, "let it start over at its end: %s in %.*s.cycle", u[i].name, (int)at.len, at.src->text + at.at);
    return;
  }
  run_block_loop(e, s, &(batch_loop){ .at = n, .use = u, .nuse = k, .turns = u[0].take ? u[0].take : -1, .block = several ? n->kid[0] : n->kid[1] });
}

/* --- loops over epochs ------------------------------------------------------------------------------------------------------------------------------ */
/* Begins and ends a turn of a loop over epochs. Within a batch it is a loop like any other. */
static void epochs_begin(elab *e, counted *c, int64_t epochs, const kd_ast *at) {
  mod_build *b = e->build;
  kd__flow_end(e, at);
  if (!b->batches) b->stage.v[b->stage.n - 1].epochs += b->turns * epochs;
  count_begin(e, c, epochs, at);
  b->turns *= epochs;
  b->epochs++; b->control++;
  kd__flow_begin(e);
}

static void epochs_end(elab *e, scope *s, counted *c, const models *kept, const kd_ast *until) {
  mod_build *b = e->build;
  kd__flow_end(e, c->at);
  if (!b->batches) kd__emit(e, KD_CODE_EPOCH, 0, 0, 0, c->at);
  kd__flow_begin(e);
  c->out = kd__look(e, s, !b->batches && b->epochs == 1 ? kept : NULL, until);
  kd__flow_end(e, c->at);
  count_end(e, c);
  b->epochs--; b->control--;
  b->turns = c->times ? b->turns / c->times : b->turns;
  kd__flow_begin(e);
  kd__keep_end(e, c->at);
}

void kd__for_count(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (!n->text) {
    kd_diag *d = kd__err(e, KD_D_NO_UNIT, n->span);
    kd__diag_help(e->sink, d, "for %.*s epochs {, or repeat %.*s {", (int)n->kid[0]->span.len, n->kid[0]->span.src->text + n->kid[0]->span.at,
                  (int)n->kid[0]->span.len, n->kid[0]->span.src->text + n->kid[0]->span.at);
    return;
  }
  if (own_stage(e, s, n, "loop", kd__for_count)) return;
  int64_t times;
  if (!length_of(e, s, n->kid[0], n->text, &times)) return;
  if (strcmp(n->text, "epochs") != 0) {
    run_block_loop(e, s, &(batch_loop){ .at = n, .until = n->kid[1], .turns = times, .block = n->kid[2] });
    return;
  }
  counted c;
  if (!b->batches) { b->batch_seen = false; b->batch_models = (models){ 0 }; }
  epochs_begin(e, &c, times, n);
  scope *in = kd__flow_scope(e, s);
  kd__exec_block(e, in, n->kid[2]);
  epochs_end(e, in, &c, &b->batch_models, n->kid[1]);
}

/* --- train ------------------------------------------------------------------------------------------------------------------------------------------------ */
static const kd_ast *clause(const kd_ast *n, uint32_t from, const char *word) {
  for (uint32_t i = from; i < n->n; i++) if (strcmp(n->kid[i]->text, word) == 0) return n->kid[i];
  return NULL;
}

static void train_body(elab *e, scope *in, const batch_loop *l) {
  const kd_ast *n = l->train_ast, *using_ = clause(n, 2, "using");
  kd__train_step(e, in, l->train, n->kid[0], n->kid[1], using_ ? using_->kid[0] : NULL, l->home);
}

void kd__train(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  if (own_stage(e, s, n, "train", kd__train)) return;
  const kd_ast *on = clause(n, 2, "on"), *until = clause(n, 2, "until"), *f = clause(n, 2, "for");
  int64_t times = 1;
  use u = { .at = n };
  models m = { 0 };
  if (!kd__models(e, s, n->kid[0], &m)) return;
  remember_trained(e, &m);
  if (!on) { kd_diag *d = kd__err(e, KD_D_NO_ON, n->span); if (e->data.n) kd__diag_help(e->sink, d, "add: on %s", e->data.v[0].name); return; }
  if (!kd__data_of(e, s, on->kid[0], "train", &u.data, &u.split) || (f && !length_of(e, s, f->kid[0], f->text2, &times))) return;
  batch_loop l = { .at = n, .use = &u, .nuse = 1, .turns = -1, .stepped = &m, .body = train_body, .train = &m, .train_ast = n, .home = kd__place_at(e, b->home, n, "step", "step") };
  if (f && strcmp(f->text2, "epochs") != 0) {
    l.turns = times;
    l.until = until ? until->kid[0] : NULL;
    b->batch_data = u.data; b->batch_seen = true;
    run_batches(e, s, &l);
    return;
  }
  counted c;
  epochs_begin(e, &c, times, n);
  run_batches(e, s, &l);
  epochs_end(e, s, &c, &m, until ? until->kid[0] : NULL);
}

/* --- repeat, every -------------------------------------------------------------------------------------------------------------------------------------- */
enum { UNROLL_MAX = 16 };

/* Something in it is the machine's: then the turns are, too. */
static bool needs_machine(const kd_ast *n) {
  switch (n->kind) {
    case KD_AST_FOR_COUNT: case KD_AST_FOR_STREAMS: case KD_AST_EVALUATE: case KD_AST_EVERY: case KD_AST_WRITE: case KD_AST_RESET: return true;
    case KD_AST_REPEAT: if (n->kid[1]) return true; break;
    default: break;
  }
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i] && needs_machine(n->kid[i])) return true;
  return false;
}

/* `stage hop[i]` needs a number, and what is decided is known turn by turn: the turns are elaborated each for itself. */
static bool numbered_stage(const kd_ast *n) {
  if ((n->kind == KD_AST_STAGE && n->kid[0]->kind == KD_AST_INDEX) || kd__decision_call(n)) return true;
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i] && numbered_stage(n->kid[i])) return true;
  return false;
}

static void bind_turn(elab *e, scope *in, const kd_ast *n, val *v) {
  if (n->n > 3 && n->kid[3]) kd__scope_bind(e, in, n->kid[3]->text, v, n->kid[3])->used = true;
}

/* Written out: what the turns own is one (rule 17), their draws are not. */
static void unrolled(elab *e, scope *s, const kd_ast *n, int64_t times, bool numbered) {
  uint64_t turn = e->turn, loop = e->loop;
  const char *turns = e->turns;
  for (int64_t i = 0; i < times; i++) {
    scope *in = kd__scope_new(e, s, NULL);
    in->definition = in->scheme = true;
    e->turn = kd__mix(turn, (uint64_t)i + 1);
    if (numbered) { e->loop = kd__mix(loop, (uint64_t)i + 1); e->turns = kd__arena_printf(e->a, "%s.%lld", turns, (long long)i); }
    bind_turn(e, in, n, numbered ? kd__v_int(e, i) : kd__v_tensor(e, kd__t_const(e, (double)i, KD_I64, NULL, 0, n)));
    kd__exec_block(e, in, n->kid[2]);
  }
  e->turn = turn; e->loop = loop; e->turns = turns;
}

void kd__scheme_repeat(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  int64_t times;
  if (!times_of(e, s, n->kid[0], "turns", NULL, &times)) return;
  bool numbered = numbered_stage(n->kid[2]);
  if (numbered || (b->batches && times <= UNROLL_MAX && !n->kid[1] && !needs_machine(n->kid[2]))) { unrolled(e, s, n, times, numbered); return; }
  counted c;
  kd__flow_end(e, n);
  count_begin(e, &c, times, n);
  int64_t turns = b->turns;
  b->turns *= times;
  b->control++;
  scope *in = kd__flow_scope(e, s);
  int64_t slot = -1;
  if (n->n > 3 && n->kid[3]) {
    slot = kd__value_slot(e, KD_I64, NULL, 0, n->kid[3]->span);
    kd__emit(e, KD_CODE_TURN, slot, c.counter, 0, n);
  }
  kd__flow_begin(e);
  if (slot >= 0) bind_turn(e, in, n, kd__read_slot(e, slot, n->kid[3]));
  kd__exec_block(e, in, n->kid[2]);
  if (n->kid[1]) c.out = kd__until_turn(e, in, n->kid[1]);
  kd__flow_end(e, n);
  count_end(e, &c);
  b->turns = turns;
  b->control--;
  kd__flow_begin(e);
  kd__keep_end(e, n);
}

/* `every K batches { }`: each K-th time that it is reached. */
void kd__every(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  int64_t times;
  bool epochs = strcmp(n->text, "epochs") == 0;
  if (epochs ? !b->epochs || b->batches : !b->batches) {
    kd_diag *d = kd__err(e, KD_D_EVERY_PLACE, n->span, n->text);
    kd__diag_help(e->sink, d, epochs ? "for 10 epochs { ... every 2 epochs { ... } }" : "for batch in D { ... every 100 batches { ... } }");
    return;
  }
  if (!times_of(e, s, n->kid[0], n->text, NULL, &times)) return;
  if (times < 1) { kd__err(e, KD_D_AXIS_SIZE, n->kid[0]->span, n->text, (long long)times); return; }
  kd__flow_end(e, n);
  uint32_t over = kd__emit(e, KD_CODE_EVERY, b->ncounter++, times, 0, n), arm = b->arm;
  b->control++;
  b->arm = ++b->arms;
  kd__flow_begin(e);
  kd__exec_block(e, kd__flow_scope(e, s), n->kid[1]);
  kd__flow_end(e, n);
  b->arm = arm;
  b->control--;
  b->code.v[over].c = kd__here(e);
  kd__flow_begin(e);
}
