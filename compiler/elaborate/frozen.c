/* frozen.c: parts of programs that are the same each time, in the code of a module. The outermost loops within stages are looked at one by one: what
 * does nothing in it write? What a program makes of that alone is held (HOLD: made once, before the loop); what it makes of that and of one sample is
 * kept by the sample's number (KEEP), where that pays and there is room; what it makes of draws that come round, for each of their turns. */
#include "compiler/elaborate/scheme.h"
#include "compiler/split/split.h"
#include "compiler/pass/pass.h"

/* A program whose rows are kept: a program of the same body for a short batch may read them too. */
typedef struct first_form { const kd_graph *g; const kd_frozenness *f; kd_cut cut; int64_t *slot; uint32_t stream; int64_t batch; } first_form;

typedef struct insertion { uint32_t at; kd_code code; } insertion;
typedef struct spending { int64_t memory, disk; } spending;
typedef struct work {
  elab *e;
  const kd_code *code; uint32_t n;
  KD_VEC(insertion) insert;
  uint32_t *sites;                               /* by plan: how many instructions run it */
  uint32_t from, to;                             /* the loop at hand: its instructions */
  bool *written; size_t nwritten;                /* by slot, in the loop at hand */
  int64_t memory, disk;                          /* what may still be kept in the loop at hand */
  spending *spent;                               /* there, by data set */
  kd_graph *held;                                /* what makes its constant values; NULL: nothing yet */
  kd_graph *all; KD_VEC(carried) place;          /* constant values of all loops, and where they lie: of two loops the same where they are made alike */
  KD_VEC(first_form) form;                /* programs of the loop at hand that are split */
} work;

/* What one program may count on. */
typedef struct sight { const work *w; int64_t stream; } sight;

static const double hold_pays = 1e10;            /* picoseconds that holding must save in all */
/* Picoseconds: of reading a byte that is held, that is kept in memory, on disk; of a value that is read. */
static const double held_read = 10, memory_read = 125, disk_read = 200;
enum { KEPT_APIECE = 200000 };
/* AUTO keeps what saves so much: of a run of the program in parts of a hundred, and of all the runs in all. */
enum { SHARE_PAYS = 4, OF_LIMIT = 4 };           /* OF_LIMIT: the part of a limit of memory that rows may have */
static const double time_pays = 0.1e12;

static bool runs_plan(const kd_code *c) { return c->op == KD_CODE_RUN || c->op == KD_CODE_STEP || c->op == KD_CODE_LOSS || c->op == KD_CODE_EVAL; }
static bool is_loop(const kd_code *c, uint32_t at) { return (c->op == KD_CODE_BATCHES || (c->op == KD_CODE_LOOP && c->b > 0)) && c->c > (int64_t)at; }
static bool within(const work *w, uint32_t loop, uint32_t at) { return is_loop(&w->code[loop], loop) && at > loop && at < w->code[loop].c; }

static bool has_stage(const work *w, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; i++) if (w->code[i].op == KD_CODE_STAGE || w->code[i].op == KD_CODE_DECIDE) return true;
  return false;
}

/* --- the loop at hand --------------------------------------------------------------------------------------------------------------------- */
static void writes(work *w, int64_t slot) { if (slot >= 0 && (size_t)slot < w->nwritten) w->written[slot] = true; }

static void note_written(work *w) {
  const mod_build *b = w->e->build;
  w->nwritten = w->e->slot.n;
  w->written = KD_NEWN(w->e->a, bool, w->nwritten + 1);
  for (uint32_t i = w->from; i < w->to; i++) {
    const kd_code *c = &w->code[i];
    if (runs_plan(c)) for (size_t k = 0; k < b->plan.v[c->a].improved->write.n; k++) writes(w, b->plan.v[c->a].improved->write.v[k].slot);
    if (c->op == KD_CODE_PUT || c->op == KD_CODE_TURN) writes(w, c->a);
    if (c->op == KD_CODE_LOAD) for (uint32_t k = 0; k < b->load.v[c->a].l.n; k++) writes(w, b->load.v[c->a].l.slot[k]);
    if (c->op == KD_CODE_RESTORE) for (uint32_t k = 0; k < b->group.v[c->a].n; k++) writes(w, b->group.v[c->a].slot[k]);
  }
}

static int64_t rows_of(const work *w, const kd_stream *s) { return w->e->data.v[s->dataset].rows[s->split]; }

/* How often an instruction is executed each time that the loop at hand is entered, at most; 0: not known. */
static double times(const work *w, uint32_t at) {
  double n = 1;
  for (uint32_t i = w->from; i < at; i++) {
    if (!within(w, i, at)) continue;
    const kd_code *c = &w->code[i];
    if (c->op == KD_CODE_LOOP) { n *= (double)c->b; continue; }
    const kd_stream *s = &w->e->build->stream.v[c->a];
    int64_t rows = rows_of(w, s);
    if (rows < 0) return 0;
    n *= (double)(rows / s->batch + (!s->drop_last && rows % s->batch));
  }
  return n;
}

/* Is the stream's batch in its slots there? TAKE: as long as the loop that it stands in. */
static bool is_open(const work *w, uint32_t stream, uint32_t at) {
  for (uint32_t i = w->from; i < at; i++) {
    const kd_code *c = &w->code[i];
    if (c->op == KD_CODE_BATCHES && c->a == (int64_t)stream && within(w, i, at)) return true;
    if (c->op != KD_CODE_TAKE || c->a != (int64_t)stream) continue;
    uint32_t inner = i;
    for (uint32_t k = w->from; k < i; k++) if (within(w, k, i)) inner = k;
    if (within(w, inner, at)) return true;
  }
  return false;
}

static bool binds(const kd_stream *s, int64_t slot) {
  for (uint32_t i = 0; i < s->nbind; i++) if (s->bind[i].slot == slot) return true;
  return s->index_slot == slot || (s->replay && s->turned_slot == slot);
}

/* How many turns of its draws the stream comes to in the loop at hand, at most: the passes that begin in it, where they can be counted. Those of a stage begin with it. */
static int64_t turns_of(const work *w, uint32_t stream) {
  int64_t most = w->e->build->stream.v[stream].replay;
  double passes = 0;
  for (uint32_t i = 0; i < w->from; i++) if (within(w, i, w->from) && !has_stage(w, i, w->from)) return most;
  for (uint32_t i = w->from; i < w->to; i++) {
    const kd_code *c = &w->code[i];
    if (c->a != (int64_t)stream || (c->op != KD_CODE_BATCHES && c->op != KD_CODE_TAKE)) continue;
    if (c->op == KD_CODE_TAKE) return most;
    double n = 1;
    for (uint32_t k = w->from; k < i; k++) {
      if (!within(w, k, i)) continue;
      if (w->code[k].op != KD_CODE_LOOP) return most;
      n *= (double)w->code[k].b;
    }
    passes += n;
  }
  return passes < (double)most ? (int64_t)passes : most;
}

/* --- what the program and the options say ---------------------------------------------------------------------------------------------------- */
/* Options go before what the program says, and that before what is usual. Without a data set: what holds for all. */
static kd_cache_mode mode_of(const elab *e, int64_t data) {
  const kd_frozen_options *o = e->opt->frozen;
  if (o->mode != KD_CACHE_PROGRAM) return o->mode;
  return data >= 0 && e->data.v[data].cache ? (kd_cache_mode)e->data.v[data].cache : KD_CACHE_AUTO;
}

typedef struct limits { kd_cache_mode mode; int64_t memory, disk; } limits;
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static limits limits_of(const work *w, uint32_t data) {
  const data_set *d = &w->e->data.v[data];
  limits r = { mode_of(w->e, data), w->memory, w->disk };
  if (!d->cache_budget || w->e->opt->frozen->given) return r;
  r.memory = least(r.memory, d->cache_budget - w->spent[data].memory);
  r.disk = least(r.disk, d->cache_budget - w->spent[data].disk);
  return r;
}

/* --- what a program finds --------------------------------------------------------------------------------------------------------------------- */
static kd_slot_is slot_is(void *ctx, int64_t slot) {
  const sight *s = ctx;
  const slot_info *i = &s->w->e->slot.v[slot];
  switch (i->s.kind) {
    case KD_SLOT_HELD:                           /* rows change from batch to batch */
      for (size_t k = 0; k < s->w->place.n; k++) if (s->w->place.v[k].slot == slot) return KD_SLOT_CONSTANT;
      return KD_SLOT_CHANGES;
    case KD_SLOT_SCALAR: return slot == s->w->e->ambient[KD_AMBIENT_KEY_REPLAY] ? KD_SLOT_CONSTANT : KD_SLOT_CHANGES;
    case KD_SLOT_FIELD:
      if (i->whole) return KD_SLOT_CONSTANT;
      if (s->stream < 0 || !binds(&s->w->e->build->stream.v[s->stream], slot)) return KD_SLOT_CHANGES;
      return slot == s->w->e->build->stream.v[s->stream].turned_slot ? KD_SLOT_TURNS : KD_SLOT_SAMPLES;
    case KD_SLOT_PARAM: case KD_SLOT_STATE:      /* OFF: what is no network's may stand for a teacher's answer */
      if (mode_of(s->w->e, s->stream < 0 ? -1 : (int64_t)s->w->e->build->stream.v[s->stream].dataset) == KD_CACHE_OFF && !i->owner->root_net) return KD_SLOT_CHANGES;
      /* fall through */
    default: return (size_t)slot < s->w->nwritten && s->w->written[slot] ? KD_SLOT_CHANGES : KD_SLOT_CONSTANT;
  }
}

static int64_t add_slot(elab *e, const char *name, const kd_type *t) {
  slot_info s = { .s = { .name = kd__new_name(e, &e->slot_names, name), .kind = KD_SLOT_HELD, .type = *t }, .owner = e->top };
  KD_PUSH(e->a, e->slot, s);
  return (int64_t)e->slot.n - 1;
}

static uint32_t add_plan(elab *e, const char *name, kd_graph *g) {
  uint32_t plan = kd__add_plan(e, name, g);
  e->build->plan.v[plan].improved = g;
  return plan;
}

static void insert(work *w, kd_code_op op, int64_t a) {
  KD_PUSH(w->e->a, w->insert, (insertion){ w->from, { (uint16_t)op, a, 0, w->to, w->code[w->from].origin } });
}

/* --- constant values ------------------------------------------------------------------------------------------------------------------------------ */
static int64_t held_slot(work *w, kd_value v) {
  for (size_t i = 0; i < w->place.n; i++) if (w->place.v[i].v == v) return w->place.v[i].slot;
  int64_t slot = add_slot(w->e, kd__arena_printf(w->e->a, "held.%zu", w->place.n), kd__type_of(w->all, v));
  KD_PUSH(w->e->a, w->place, (carried){ v, slot });
  return slot;
}

/* One program makes all that programs of the loop hold, and each value once. */
static void hold(work *w, uint32_t plan, uint32_t at) {
  elab *e = w->e;
  kd_graph *g = e->build->plan.v[plan].improved;
  kd_slots_are are = { slot_is, &(sight){ w, -1 }, 0 };
  double runs = times(w, at);
  if (runs > 0 && runs < 2) return;
  const kd_frozenness *f = kd__frozen_values(e->a, g, &are);
  kd_cut c = kd__cut_choose(e->a, g, f, &(kd_cut_prices){ .kind = KD_CONSTANT, .read = held_read, .make = runs > 0 ? (int64_t)(1000 / runs) : 0 });
  if (c.n == 0 || (runs > 0 && (double)c.saved * runs < hold_pays)) return;
  if (!w->all) w->all = kd__graph_for(e);
  if (!w->held) {
    const char *name = e->build->plan.v[plan].name;
    w->held = kd__graph_for(e);
    insert(w, KD_CODE_HOLD, add_plan(e, kd__arena_printf(e->a, "%.*s.held", (int)strcspn(name, "."), name), w->held));
  }
  kd_value *one = kd__split_make(e->a, w->all, g, f, c.value, NULL, c.n, 0);
  int64_t *slot = KD_NEWN(e->a, int64_t, c.n);
  for (uint32_t i = 0; i < c.n; i++) slot[i] = held_slot(w, one[i]);
  kd__split_make(e->a, w->held, g, f, c.value, slot, c.n, 0);
  e->build->plan.v[plan].improved = kd__split_rest(e->a, g, f, c.value, slot, c.n, 0);
}

/* --- rows ------------------------------------------------------------------------------------------------------------------------------------------ */
static int64_t form_rows(const work *w, const kd_graph *g, uint32_t stream) {
  for (size_t i = 1; i < g->node.n; i++)
    if (g->node.v[i].op == KD_OP_INPUT && binds(&w->e->build->stream.v[stream], kd__attr(&g->node.v[i], "slot")->u.i)) return kd__type_of(g, g->node.v[i].out)->dim[0];
  return 0;
}

static double work_of(const kd_graph *g, const kd_frozenness *f) {
  double n = 0;
  for (size_t i = 1; i < g->node.n; i++) if (g->node.v[i].nout && (!f || f[g->node.v[i].out].is != KD_LIVE)) n += kd__flops_node(g, &g->node.v[i]);
  return n;
}

static void bind_fill(elab *e, kd_kept *k, const kd_stream *from, const kd_graph *g) {
  uint32_t *reads = KD_NEWN(e->a, uint32_t, g->node.n);
  k->fill = (kd_stream){ .dataset = from->dataset, .split = from->split, .batch = from->batch, .index_slot = -1, .turned_slot = -1 };
  k->fill.bind = kd__arena_get(e->a, sizeof *k->fill.bind * (from->nbind + 1));
  k->reads = reads;
  for (size_t i = 1; i < g->node.n; i++) {
    if (g->node.v[i].op != KD_OP_INPUT) continue;
    int64_t slot = kd__attr(&g->node.v[i], "slot")->u.i;
    bool seen = slot == from->index_slot, turned = from->replay && slot == from->turned_slot;
    if (seen) k->fill.index_slot = slot;
    if (turned) { k->fill.turned_slot = slot; k->fill.replay = from->replay; seen = true; }
    for (uint32_t s = 0; s < from->nbind; s++)
      if (from->bind[s].slot == slot) { k->fill.bind[k->fill.nbind].field = from->bind[s].field; k->fill.bind[k->fill.nbind++].slot = slot; seen = true; }
    if (!seen) reads[k->nreads++] = (uint32_t)slot;
  }
}

/* Slots by what they hold: fields by name, since numbers say nothing to another program. */
static uint64_t hash_of(elab *e, const kd_kept *k, const kd_graph *g) {
  int64_t *slot = KD_NEWN(e->a, int64_t, g->write.n + k->fill.nbind + k->nreads + 2u);
  uint32_t n = 0;
  uint64_t h = 0;
  for (uint32_t i = 0; i < k->nreads; i++) slot[n++] = k->reads[i];
  for (uint32_t i = 0; i < k->fill.nbind; i++) {
    const char *field = e->data.v[k->fill.dataset].field[k->fill.bind[i].field].name;
    slot[n++] = k->fill.bind[i].slot;
    h = kd__hash(field, strlen(field), h);
  }
  slot[n++] = k->fill.index_slot;
  if (k->fill.replay) slot[n++] = k->fill.turned_slot;
  return kd__mix(h, kd__split_hash(g, slot, n));
}

/* Some of the values of a program that is split, which get a program and an instruction of their own. turns: of draws; 0: rows do not differ from turn to turn. */
static void add_rows(work *w, const first_form *p, const char *name, int64_t turns, bool disk) {
  elab *e = w->e;
  kd_stream *st = &e->build->stream.v[p->stream];
  kd_kept k = { .column = KD_NEWN(e->a, kd_kept_column, p->cut.n), .disk = disk, .turns = turns };
  kd_value *value = KD_NEWN(e->a, kd_value, p->cut.n);
  int64_t *slot = KD_NEWN(e->a, int64_t, p->cut.n);
  for (uint32_t i = 0; i < p->cut.n; i++) {
    kd_value v = p->cut.value[i];
    if (p->f[v].turned != (turns > 0)) continue;
    kd_type t = kd__rows_type(p->g, v, p->f, p->batch);
    kd_kept_column *c = &k.column[k.ncolumn];
    *c = (kd_kept_column){ .slot = (uint32_t)p->slot[i], .type = { .dtype = t.dtype, .rank = (uint8_t)(t.rank - 1) } };
    memcpy(c->type.dim, t.dim + 1, sizeof *t.dim * (size_t)(t.rank - 1));
    value[k.ncolumn] = v;
    slot[k.ncolumn++] = p->slot[i];
  }
  if (k.ncolumn == 0) return;
  kd_graph *make = kd__graph_for(e);
  kd__split_make(e->a, make, p->g, p->f, value, slot, k.ncolumn, p->batch);
  k.plan = add_plan(e, name, make);
  k.name = e->build->plan.v[k.plan].name;
  bind_fill(e, &k, st, make);
  k.makes = kd__mix(hash_of(e, &k, make), (uint64_t)turns);
  KD_PUSH(e->a, e->build->rows, k);
  insert(w, KD_CODE_KEEP, (int64_t)e->build->rows.n - 1);
  void *more = kd__arena_get(e->a, sizeof *st->kept * (st->nkept + k.ncolumn));
  if (st->nkept) memcpy(more, st->kept, sizeof *st->kept * st->nkept);
  st->kept = more;
  for (uint32_t i = 0; i < k.ncolumn; i++, st->nkept++) { st->kept[st->nkept].kept = (uint32_t)e->build->rows.n - 1; st->kept[st->nkept].column = i; }
}

static void add_kept(work *w, planned *p, const kd_frozenness *f, const kd_cut *c, uint32_t stream, int64_t batch, int64_t turns, bool disk) {
  elab *e = w->e;
  int64_t *slot = KD_NEWN(e->a, int64_t, c->n);
  for (uint32_t i = 0; i < c->n; i++) {
    kd_type t = kd__rows_type(p->improved, c->value[i], f, batch);
    slot[i] = add_slot(e, kd__arena_printf(e->a, "%s.kept.%u", p->name, i), &t);
  }
  const first_form form = { p->improved, f, *c, slot, stream, batch };
  const char *name = p->name;
  p->improved = kd__split_rest(e->a, form.g, f, c->value, slot, c->n, batch);     /* p is gone when plans are added */
  add_rows(w, &form, kd__arena_printf(e->a, "%s.kept", name), 0, disk);
  if (turns) add_rows(w, &form, kd__arena_printf(e->a, "%s.replayed", name), turns, disk);
  KD_PUSH(e->a, w->form, form);
}

/* Where the rows go, and which of them: all where they fit. */
static kd_keeping choose(elab *e, const limits *o, const planned *p, const kd_frozenness *f, const kd_cut_prices *base, double runs, int64_t rows, int64_t batch, kd_cut *c) {
  kd_cut_prices prices = *base;
  bool automatic = o->mode == KD_CACHE_AUTO;
  kd_cut all = kd__cut_choose(e->a, p->improved, f, &prices);
  *c = (kd_cut){ 0 };
  if (o->mode == KD_CACHE_OFF) { *c = all; return KD_KEEPING_OFF; }
  if (all.n == 0) return KD_KEEPING_LITTLE;
  double fill = (double)((rows + batch - 1) / batch), share = (double)all.saved / ((double)all.whole + 1);
  double gain = (double)all.saved * (runs - fill) - (double)all.bytes * prices.read * fill;
  if (prices.turns > 1) gain -= (double)all.turned * fill * (double)(prices.turns - 1);
  *c = all;
  if (automatic && (gain < time_pays || share * 100 < SHARE_PAYS)) return KD_KEEPING_LITTLE;
  if (!automatic && o->mode == KD_CACHE_MEMORY && runs <= fill) return KD_KEEPING_LITTLE;
  int64_t per_row = all.bytes / batch, memory = o->memory / rows * batch, disk = o->disk / rows * batch;
  if (o->mode != KD_CACHE_DISK && (double)per_row * (double)rows <= (double)o->memory) return KD_KEEPING_MEMORY;
  if (o->mode != KD_CACHE_MEMORY && (double)per_row * (double)rows <= (double)o->disk) {
    prices.read = disk_read;
    *c = kd__cut_choose(e->a, p->improved, f, &prices);
    return c->n ? KD_KEEPING_DISK : KD_KEEPING_LITTLE;
  }
  bool on_disk = o->mode == KD_CACHE_DISK || (automatic && disk > memory);
  if (on_disk) prices.read = disk_read;
  *c = kd__cut_within(e->a, p->improved, f, &prices, on_disk ? disk : memory);
  return c->n == 0 ? KD_KEEPING_ROOM : on_disk ? KD_KEEPING_DISK : KD_KEEPING_MEMORY;
}

/* The data set whose clause was followed. */
static const char *said_by(const elab *e, uint32_t data) {
  return e->opt->frozen->mode == KD_CACHE_PROGRAM && e->data.v[data].cache ? e->data.v[data].d.name : NULL;
}

static void keep(work *w, uint32_t plan, uint32_t at, uint32_t stream) {
  elab *e = w->e;
  planned *p = &e->build->plan.v[plan];
  const kd_stream *st = &e->build->stream.v[stream];
  int64_t rows = rows_of(w, st), batch = form_rows(w, p->improved, stream);
  double runs = times(w, at);
  if (st->batch < 1 || rows < st->batch || batch < 1 || runs <= 0 || e->data.v[st->dataset].d.made != KD_MADE_FILES) return;
  kd_slots_are are = { slot_is, &(sight){ w, stream }, batch };
  const kd_frozenness *f = kd__frozen_values(e->a, p->improved, &are);
  if (batch != st->batch) {                      /* the form for a short batch reads the same rows, if it is the same program */
    for (size_t i = 0; i < w->form.n; i++) {
      const first_form *o = &w->form.v[i];
      if (o->stream != stream || !kd__split_twin(e->a, o->g, o->f, o->batch, p->improved, f, batch, o->cut.value, o->cut.n)) continue;
      p->improved = kd__split_rest(e->a, p->improved, f, o->cut.value, o->slot, o->cut.n, batch);
      return;
    }
    return;
  }
  bool trains = w->code[at].op == KD_CODE_STEP || w->code[at].op == KD_CODE_LOSS;
  double passes = runs / (double)((rows + batch - 1) / batch);
  const limits o = limits_of(w, st->dataset);
  int64_t once = trains && o.mode == KD_CACHE_DISK ? 0 : 1000, turns = st->replay ? turns_of(w, stream) : 0;
  kd_cut_prices prices = { .kind = KD_ROWS, .read = memory_read, .apiece = KEPT_APIECE, .turns = turns, .make = passes > 1 ? (int64_t)(1000 / passes) : once,
                           .make_turned = passes > (double)turns ? (int64_t)(1000 * (double)turns / passes) : once };
  kd_cut c, all = kd__cut_choose(e->a, p->improved, f, &prices);
  if (all.n == 0) return;
  kd_keeping where = choose(e, &o, p, f, &prices, runs, rows, batch, &c);
  kd_frozen_part part = { .plan = plan, .where = where, .said = said_by(e, st->dataset), .part = c.bytes < all.bytes, .rows = rows, .sample_bytes = c.bytes / batch, .want_bytes = all.bytes / batch, .passes = passes,
                          .all_flops = work_of(p->improved, NULL) / (double)batch, .frozen_flops = work_of(p->improved, f) / (double)batch };
  for (uint32_t i = 0; i < c.n; i++) if (f[c.value[i]].turned) part.turns = turns;
  bool kept = where == KD_KEEPING_MEMORY || where == KD_KEEPING_DISK;
  if (kept) {
    int64_t bytes = part.sample_bytes * rows;
    if (where == KD_KEEPING_DISK) w->disk -= bytes, w->spent[st->dataset].disk += bytes;
    else w->memory -= bytes, w->spent[st->dataset].memory += bytes;
    add_kept(w, p, f, &c, stream, batch, turns, where == KD_KEEPING_DISK);
    part.saved_flops = part.all_flops - work_of(e->build->plan.v[plan].improved, NULL) / (double)batch;
  }
  KD_PUSH(e->a, e->build->parts, part);
}

/* --- loops ------------------------------------------------------------------------------------------------------------------------------------------- */
static void look(work *w) {
  mod_build *b = w->e->build;
  note_written(w);
  w->held = NULL; w->form.n = 0;
  int64_t most = w->e->opt->memory ? w->e->opt->memory / OF_LIMIT : INT64_MAX, room = least(w->e->opt->frozen->memory, most);
  w->spent = KD_NEWN(w->e->a, spending, w->e->data.n + 1);
  w->memory = room; w->disk = w->e->opt->frozen->disk;
  for (uint32_t i = w->from; i < w->to; i++)
    if (runs_plan(&w->code[i]) && w->sites[w->code[i].a] == 1) hold(w, (uint32_t)w->code[i].a, i);
  for (uint32_t i = w->from; i < w->to; i++) {
    if (!runs_plan(&w->code[i]) || w->sites[w->code[i].a] != 1) continue;
    for (uint32_t s = 0; s < b->stream.n; s++) if (is_open(w, s, i)) keep(w, (uint32_t)w->code[i].a, i, s);
  }
  if (room - w->memory > b->row_bytes) b->row_bytes = room - w->memory;
}

/* Instructions get new addresses; who jumps to a loop from outside meets what is before it. */
static kd_code *joined(work *w, uint32_t *n) {
  kd_code *code = KD_NEWN(w->e->a, kd_code, w->n + w->insert.n);
  uint32_t *to = KD_NEWN(w->e->a, uint32_t, w->n + 1), k = 0;
  size_t next = 0;
  for (uint32_t i = 0; i < w->n; i++) {
    to[i] = k;
    for (; next < w->insert.n && w->insert.v[next].at == i; next++) code[k++] = w->insert.v[next].code;
    code[k++] = w->code[i];
  }
  to[w->n] = k;
  for (uint32_t i = 0; i < k; i++) {
    int64_t *t = kd__code_target(&code[i]);
    if (t) *t = to[*t];
  }
  *n = k;
  return code;
}

static void check_split(work *w, size_t before) {
  elab *e = w->e;
  for (size_t i = 0; i < e->build->plan.n; i++) {
    planned *p = &e->build->plan.v[i];
    kd_shape_error err;
    if (i >= before) p->improved = kd__pass_find("dce")->run(p->improved);
    if (!kd__graph_verify(p->improved, &err)) kd__err(e, KD_D_INTERNAL, (kd_span){ 0 }, kd__arena_printf(e->a, "the split left program %s broken: %s", p->name, err.text));
    if (e->opt->seen) e->opt->seen(e->opt->seen_ctx, "split", p->name, p->improved);
  }
}

kd_code *kd__frozen_split(elab *e, kd_code *code, uint32_t *n) {
  work w = { .e = e, .code = code, .n = *n };
  size_t plans = e->build->plan.n;
  if (!e->opt->frozen) return code;
  w.sites = KD_NEWN(e->a, uint32_t, plans + 1);
  for (uint32_t i = 0; i < w.n; i++) if (runs_plan(&code[i])) w.sites[code[i].a]++;
  for (uint32_t i = 0; i < w.n; i++) {
    if (!is_loop(&code[i], i) || has_stage(&w, i, (uint32_t)code[i].c)) continue;
    w.from = i; w.to = (uint32_t)code[i].c;
    look(&w);
    i = w.to - 1;
  }
  check_split(&w, plans);
  return joined(&w, n);
}
