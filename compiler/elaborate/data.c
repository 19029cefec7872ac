/* data.c: data sets: sources, splits, fields of the current batch. */
#include "compiler/elaborate/elab.h"

static bool get(elab *e, scope *s, arg *a, uint32_t n, const char *name, uint32_t pos, arg **out) {
  *out = NULL;
  uint32_t p = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (a[i].name ? strcmp(a[i].name, name) == 0 : p == pos) *out = &a[i];
    p += !a[i].name;
  }
  if (*out && (*out)->ast->kind != KD_AST_LIST) return kd__arg_eval(e, s, *out)->kind != V_POISON;
  return true;
}

static bool known_keywords(elab *e, arg *a, uint32_t n, const char *callee, const char *const *names, size_t count) {
  for (uint32_t i = 0; i < n; i++) {
    bool ok = !a[i].name;
    for (size_t k = 0; k < count; k++) ok = ok || strcmp(a[i].name, names[k]) == 0;
    if (ok) continue;
    kd_diag *d = kd__err(e, KD_D_UNKNOWN_KEYWORD, a[i].ast->span, callee, a[i].name);
    const char *near = kd__nearest(e, a[i].name, names, count);
    if (near) kd__diag_help(e->sink, d, "did you mean `%s`?", near);
    return false;
  }
  return true;
}

/* idx(path, axes: [H: 28, W: 28], scale: 1/255) of real samples, idx(path, below: 10) of class numbers; csv adds columns: a..b. */
val *kd__data_source(elab *e, scope *s, const char *format, const kd_ast *call, arg *a, uint32_t n) {
  static const char *const names[] = { "path", "axes", "scale", "below", "columns" };
  arg *path, *axes, *scale, *below, *columns;
  if (!known_keywords(e, a, n, format, names, 5)) return &kd__poison;
  if (!get(e, s, a, n, "path", 0, &path) || !get(e, s, a, n, "axes", 1, &axes) || !get(e, s, a, n, "scale", 9, &scale) ||
      !get(e, s, a, n, "below", 9, &below) || !get(e, s, a, n, "columns", 9, &columns)) return &kd__poison;
  data_source *d = KD_NEW(e->a, data_source);
  bool csv = *format == 'c', bytes = *format == 'i';
  d->src.format = format;
  d->scale = 1;
  if (!path) { kd__err(e, KD_D_MISSING_ARG, call->span, format, "path"); return &kd__poison; }
  if (!kd__want_str(e, path->v, path->ast, "the path", &d->src.path)) return &kd__poison;
  if (axes && !kd__shape(e, s, axes->ast, d->ax, &d->rank)) return &kd__poison;
  if (scale && !kd__want_real(e, scale->v, scale->ast, "`scale`", &d->scale)) return &kd__poison;
  if (below && !kd__want_int(e, below->v, below->ast, "`below`", &d->src.below)) return &kd__poison;
  if (columns) {
    if (columns->v->kind != V_RANGE || !csv) { kd__err(e, KD_D_WANT_KIND, columns->ast->span, "`columns`", "a range of columns of a CSV file such as 0..64", kd__v_show(e, columns->v)); return &kd__poison; }
    d->src.column_from = columns->v->u.range.from; d->src.column_to = columns->v->u.range.to;
  }
  d->real = !below;
  d->src.type.dtype = (uint8_t)(bytes ? KD_U8 : below ? KD_I64 : KD_F32);
  for (uint32_t i = 0; i < d->rank; i++)         /* axes of size 1 exist in the program, not in the file */
    if (d->ax[i].size != 1) d->src.type.dim[d->src.type.rank++] = d->ax[i].size;
  val *v = kd__v_new(e, V_SOURCE);
  v->u.source = d;
  return v;
}

static bool add_split(elab *e, data_set *d, const char *name, val *rec, const kd_ast *at) {
  if (rec->kind != V_RECORD) { kd__err(e, KD_D_WANT_KIND, at->span, kd__arena_printf(e->a, "split `%s`", name), "a record of sources such as (image: idx(\"...\"))", kd__v_show(e, rec)); return false; }
  kd_split *sp = (kd_split *)&d->d.split[d->d.nsplit++];
  *sp = (kd_split){ .name = name, .nfield = rec->u.rec.n, .first = 0, .count = -1 };
  sp->field = KD_NEWN(e->a, kd_field_source, rec->u.rec.n);
  bool first = d->nfield == 0;
  if (first) { d->nfield = rec->u.rec.n; d->field = KD_NEWN(e->a, data_field, rec->u.rec.n); }
  if (rec->u.rec.n != d->nfield) { kd__err(e, KD_D_SPLIT_FIELDS, at->span, name); return false; }
  for (uint32_t i = 0; i < rec->u.rec.n; i++) {
    val *sv = rec->u.rec.v[i];
    if (sv->kind == V_POISON) return false;
    if (sv->kind != V_SOURCE) { kd__err(e, KD_D_WANT_KIND, at->span, kd__arena_printf(e->a, "field `%s`", rec->u.rec.key[i]), "a data source such as idx(\"...\")", kd__v_show(e, sv)); return false; }
    const data_source *src = sv->u.source;
    if (first) {
      d->field[i] = (data_field){ .name = rec->u.rec.key[i], .rank = src->rank, .stored = (kd_dtype)src->src.type.dtype, .real = src->real,
                                  .scale = src->scale, .below = src->src.below };
      for (int b = 0; b < KD__BANKS; b++) d->field[i].slot[b] = -1;
      memcpy(d->field[i].ax, src->ax, sizeof src->ax);
    } else if (strcmp(d->field[i].name, rec->u.rec.key[i]) != 0) {
      kd__err(e, KD_D_SPLIT_FIELDS, at->span, name);
      return false;
    }
    sp->field[i] = src->src;
    sp->field[i].name = rec->u.rec.key[i];
    if (d->field[i].stored == KD_F32 && e->opt->real == KD_F64) { sp->field[i].type.dtype = KD_F64; d->field[i].stored = KD_F64; }
  }
  return true;
}

static int64_t ask_rows(elab *e, const char *name, data_set *d, uint32_t nsplit, int64_t *rows, const kd_ast *at) {
  char why[512] = "";
  kd_dataset q = d->d;
  q.name = name;
  q.nsplit = nsplit;
  for (uint32_t i = 0; i < nsplit; i++) rows[i] = -1;
  d->known = e->opt->describe && e->opt->describe(e->opt->describe_ctx, &q, rows, why, sizeof why);
  for (uint32_t i = 0; i < nsplit; i++) if (rows[i] < 0) rows[i] = d->d.batch * 10;
  if (!d->known && !d->told) {
    d->told = true;
    kd_diag *dg = kd__report(e->sink, KD_D_DATA_MISSING, at->span, why[0] ? why : "no data reader");
    if (d->d.package) kd__diag_help(e->sink, dg, "Debian's package %s has it: apt-get install %s", d->d.package, d->d.package);
  }
  return rows[0];
}

/* dataset(batch: n, train: (field: source, ...), test: (...), valid: samples held out from the end of train, keep_last: training takes the
 * last short batch too, package: "...", and what clauses.c knows) */
val *kd__data_make(elab *e, scope *s, const kd_ast *call, arg *a, uint32_t n) {
  const char *names[6 + KD__CLAUSES] = { "batch", "train", "test", "valid", "package", "keep_last" };
  arg *batch, *train, *test, *valid, *package, *last;
  if (!known_keywords(e, a, n, "dataset", names, 6 + kd__clause_names(names + 6)) || !get(e, s, a, n, "keep_last", 9, &last)) return &kd__poison;
  if (!get(e, s, a, n, "batch", 0, &batch) || !get(e, s, a, n, "train", 1, &train) || !get(e, s, a, n, "test", 2, &test) ||
      !get(e, s, a, n, "valid", 9, &valid) || !get(e, s, a, n, "package", 9, &package)) return &kd__poison;
  if (!batch || !train) { kd__err(e, KD_D_MISSING_ARG, call->span, "dataset", batch ? "train" : "batch"); return &kd__poison; }
  data_set d = { .root = { kd__root_new(e, ROOT_SAMPLE, "the data set") }, .at = call };
  for (int i = 0; i < KD__BANKS; i++) d.index_slot[i] = d.turned_slot[i] = -1;
  d.d.name = e->override_name ? e->override_name : "data";   /* for messages; the binding names it for good */
  d.d.split = KD_NEWN(e->a, kd_split, 4);
  int64_t held = 0;
  if (!kd__want_int(e, batch->v, batch->ast, "`batch`", &d.d.batch)) return &kd__poison;
  if (e->opt->other_batch) d.d.batch += d.d.batch > 1 ? -1 : 1;
  if (d.d.batch < 1) { kd__err(e, KD_D_AXIS_SIZE, batch->ast->span, "batch", (long long)d.d.batch); return &kd__poison; }
  if (package && package->v->kind != V_NONE && !kd__want_str(e, package->v, package->ast, "`package`", &d.d.package)) return &kd__poison;
  if (last && !kd__want_bool(e, last->v, last->ast, "`keep_last`", &d.keep_last)) return &kd__poison;
  for (uint32_t i = 0; i < n; i++) if (a[i].name && !kd__clause(e, s, &a[i], &d)) return &kd__poison;
  if (valid && !kd__want_int(e, valid->v, valid->ast, "`valid`", &held)) return &kd__poison;
  if (!add_split(e, &d, "train", train->v, train->ast)) return &kd__poison;
  const char *name = s->bound_as ? s->bound_as : *s->place->path ? s->place->path : "dataset";
  int64_t rows = ask_rows(e, name, &d, 1, d.rows, call);
  if (!d.known && held > 0) rows += held;        /* the samples that it would have are not here to be counted */
  if (held > 0) {
    if (held >= rows) { kd__err(e, KD_D_VALID_MANY, valid->ast->span, (long long)held, (long long)rows); return &kd__poison; }
    kd_split *t = &d.d.split[0], *v = &d.d.split[d.d.nsplit++];
    *v = *t;
    v->name = "valid"; v->first = rows - held; v->count = held;
    t->count = rows - held;
  }
  if (test && test->v->kind != V_NONE && !add_split(e, &d, "test", test->v, test->ast)) return &kd__poison;
  ask_rows(e, name, &d, d.d.nsplit, d.rows, call);
  if (held > 0 && !d.known) { d.rows[0] = rows - held; d.rows[1] = held; }
  if (d.rows[0] < d.d.batch) { kd__err(e, KD_D_BATCH_MANY, batch->ast->span, (long long)d.d.batch, (long long)d.rows[0]); return &kd__poison; }
  KD_PUSH(e->a, e->data, d);
  val *v = kd__v_new(e, V_DATA);
  v->u.data = (uint32_t)e->data.n - 1;
  return v;
}

/* --- batches in sight ------------------------------------------------------------------------------------------------------------ */
static const char *data_name(elab *e, uint32_t data) { return e->data.v[data].name ? e->data.v[data].name : "this data set"; }

opening *kd__open(elab *e, opening *up, uint32_t data, uint32_t split, int64_t rows, const kd_ast *at) {
  data_set *d = &e->data.v[data];
  opening *o = KD_NEW(e->a, opening);
  *o = (opening){ .up = up, .data = data, .split = split, .rows = rows, .field = KD_NEW(e->a, fields) };
  for (const opening *k = up ? up : e->open; k; k = k->up) if (k->data == data && k->bank >= o->bank) o->bank = k->bank + 1;
  if (o->bank >= KD__BANKS) {
    kd__err(e, KD_D_LATER, at->span, kd__arena_printf(e->a, "more than %d loops over one data set within one another", KD__BANKS));
    o->bank = KD__BANKS - 1;
  }
  if (!d->root[o->bank]) d->root[o->bank] = kd__root_new(e, ROOT_SAMPLE, kd__arena_printf(e->a, "another batch of %s", data_name(e, data)));
  o->root = d->root[o->bank];
  return o;
}

opening *kd__open_of(const prog *p, uint32_t data) {
  opening *beside = NULL;
  for (opening *o = p->open; o; o = o->up) {
    if (o->data == data && !o->beside) return o;
    if (o->data == data && !beside) beside = o;
  }
  return beside;
}

/* The batch to read of a data set, or of a batch's own name; NULL after reporting. */
static opening *streaming(elab *e, uint32_t data, opening *batch, const kd_ast *n) {
  prog *p = e->prog;
  if (p->kind == PROG_INIT) { kd__err(e, KD_D_NO_STREAM, n->span, data_name(e, data)); return NULL; }
  opening *o = batch ? NULL : kd__open_of(p, data);
  if (!o && !batch) o = kd__joined_open(e, p, data);
  if (!o && !kd__written_readable(e, data, n)) return NULL;
  for (opening *k = p->open; batch && k; k = k->up) if (k == batch) o = k;
  if (!o && p->kind == PROG_PROBE) o = p->open = kd__open(e, p->open, data, 0, e->data.v[data].d.batch, n);
  if (o) return o;
  if (batch) {
    kd_diag *d = kd__err(e, KD_D_WRONG_STREAM, n->span, kd__arena_printf(e->a, "a batch of %s", data_name(e, data)), "others");
    kd__diag_help(e->sink, d, "read the data set itself, whatever batch it is at: %s.%s", data_name(e, data), n->text ? n->text : "index");
    return NULL;
  }
  kd_diag *d = kd__err(e, KD_D_WRONG_STREAM, n->span, data_name(e, data), p->open ? data_name(e, p->open->data) : "no data set");
  if (p->open && e->data.v[data].d.made == KD_MADE_WRITTEN)
    kd__diag_help(e->sink, d, "run it `on %s`, or, written with `keyed %s.index`, on join(%s, %s, on: index)", data_name(e, data), data_name(e, p->open->data), data_name(e, p->open->data), data_name(e, data));
  else if (p->open) kd__diag_help(e->sink, d, "run it `on %s`, or take a batch of each: for a in %s, b in %s.cycle { ... }", data_name(e, data), data_name(e, p->open->data), data_name(e, data));
  else kd__diag_help(e->sink, d, "read it in a loop, for batch in %s { ... }, in a report, report m(...) on %s.test, or measured: let y = evaluate m(...) on %s.test", data_name(e, data), data_name(e, data), data_name(e, data));
  return NULL;
}

/* The slot of one of an opening's fields; it is bound to the stream. */
static int64_t field_slot(elab *e, opening *o, int64_t *slot, const char *name, kd_dtype t, const axis *ax, int rank, const kd_ast *at) {
  data_set *d = &e->data.v[o->data];
  if (*slot < 0) {
    const char *set = d->name ? d->name : "data", *path = o->bank ? kd__arena_printf(e->a, "%s.%s.%u", set, name, o->bank + 1) : kd__arena_printf(e->a, "%s.%s", set, name);
    *slot = kd__slot_add(e, path, KD_SLOT_FIELD, t, ax, rank, e->top, at->span);
    e->slot.v[*slot].data = o->data + 1;
    e->slot.v[*slot].bank = o->bank;
  }
  for (size_t i = 0; i < o->field->slot.n; i++) if (o->field->slot.v[i] == *slot) return *slot;
  KD_PUSH(e->a, o->field->slot, *slot);
  return *slot;
}

static int64_t number_slot(elab *e, opening *o, int64_t *slot, const char *name, const kd_ast *at) {
  axis b = { kd__intern(e, "B"), e->data.v[o->data].d.batch, o->root, true, NULL };
  return field_slot(e, o, slot, name, KD_I64, &b, 1, at);
}

int64_t kd__data_index(elab *e, opening *o, const kd_ast *at) { return number_slot(e, o, &e->data.v[o->data].index_slot[o->bank], "index", at); }
int64_t kd__data_turned(elab *e, opening *o, const kd_ast *at) { return number_slot(e, o, &e->data.v[o->data].turned_slot[o->bank], "index.turned", at); }

/* A stored field as programs see it: with its axes of size 1, scaled. */
static val *as_program(elab *e, const data_field *f, kd_value v, const axis *ax, const kd_ast *n) {
  int64_t dim[KD_MAX_RANK];
  kd_build b = kd__b(e, n);
  for (uint32_t i = 0; i <= f->rank; i++) dim[i] = ax[i].size;
  v = kd__b_reshape(&b, v, dim, (int)f->rank + 1);
  if (f->real && f->scale != 1) v = kd__b_op2(&b, KD_OP_MUL, v, kd__b_const_like(&b, f->scale, v));
  return kd__v_tensor(e, kd__t_wrap(e, v, ax, (int)f->rank + 1, n));
}

static val *read_field(elab *e, opening *o, data_field *f, const kd_ast *n) {
  axis ax[KD_MAX_RANK], stored[KD_MAX_RANK];
  int k = 1;
  ax[0] = stored[0] = (axis){ kd__intern(e, "B"), e->data.v[o->data].d.batch, o->root, true, NULL };
  for (uint32_t i = 0; i < f->rank; i++) { ax[i + 1] = f->ax[i]; if (f->ax[i].size != 1) stored[k++] = f->ax[i]; }
  int64_t slot = field_slot(e, o, &f->slot[o->bank], f->name, f->stored, stored, k, n);
  ax[0].size = o->rows;
  kd_build b = kd__b(e, n);
  return as_program(e, f, kd__b_cast(&b, kd__slot_input(e, e->prog, slot), f->real ? e->opt->real : f->stored == KD_BOOL ? KD_BOOL : KD_I64), ax, n);
}

static val *split_value(elab *e, uint32_t data, uint32_t split) {
  val *v = kd__v_new(e, V_SPLIT);
  v->u.split.data = data; v->u.split.split = split;
  return v;
}

/* D.cycle, D.train.take(100): streams for loops. */
static val *stream_field(elab *e, const val *v, uint32_t data, const char *name) {
  val *r = split_value(e, data, v->kind == V_SPLIT ? v->u.split.split : 0);
  if (strcmp(name, "cycle") == 0) r->u.split.cycle = true;
  else if (strcmp(name, "take") == 0) r->u.split.take = -1;
  else return NULL;
  return r;
}

/* D.train.all.image: all samples of the split, along an axis N. The slot is filled before the program's first instruction. */
static val *read_whole(elab *e, uint32_t data, uint32_t split, uint32_t field, const kd_ast *n) {
  data_set *d = &e->data.v[data];
  data_field *f = &d->field[field];
  if (d->d.made != KD_MADE_FILES) { kd__err(e, KD_D_ROWS_UNKNOWN, n->span, d->name ? d->name : "this set"); return &kd__poison; }
  if (!d->whole[split]) {
    d->whole[split] = KD_NEWN(e->a, int64_t, d->nfield);
    for (uint32_t i = 0; i < d->nfield; i++) d->whole[split][i] = -1;
    d->whole_root[split] = kd__root_new(e, ROOT_SAMPLE, kd__arena_printf(e->a, "%s.%s.all", d->name ? d->name : "data", d->d.split[split].name));
  }
  axis ax[KD_MAX_RANK], stored[KD_MAX_RANK];
  int k = 1;
  if (f->rank + 1 > KD_MAX_RANK) { kd__err(e, KD_D_RANK, n->span, KD_MAX_RANK); return &kd__poison; }
  ax[0] = stored[0] = (axis){ kd__intern(e, "N"), d->rows[split], d->whole_root[split], true, NULL };
  for (uint32_t i = 0; i < f->rank; i++) { ax[i + 1] = f->ax[i]; if (f->ax[i].size != 1) stored[k++] = f->ax[i]; }
  int64_t *slot = &d->whole[split][field];
  if (*slot < 0) {
    *slot = kd__slot_add(e, kd__arena_printf(e->a, "%s.%s.all.%s", d->name ? d->name : "data", d->d.split[split].name, f->name), KD_SLOT_FIELD, f->stored, stored, k, e->top, n->span);
    e->slot.v[*slot].whole = true;
  }
  kd_build b = kd__b(e, n);
  return as_program(e, f, kd__b_cast(&b, kd__slot_input(e, e->prog, *slot), f->real ? e->opt->real : KD_I64), ax, n);
}

void kd__data_whole(elab *e, kd_module *m) {
  KD_VEC(kd_stream) all = { 0 };
  for (uint32_t i = 0; i < e->data.n; i++)
    for (uint32_t s = 0; s < e->data.v[i].d.nsplit; s++) {
      const data_set *d = &e->data.v[i];
      if (!d->whole[s]) continue;
      kd_stream st = { .dataset = i, .split = s, .batch = d->rows[s], .index_slot = -1, .bind = kd__arena_get(e->a, sizeof *st.bind * d->nfield) };
      for (uint32_t f = 0; f < d->nfield; f++)
        if (d->whole[s][f] >= 0) { st.bind[st.nbind].field = f; st.bind[st.nbind++].slot = d->whole[s][f]; }
      KD_PUSH(e->a, all, st);
    }
  m->whole = all.v; m->nwhole = (uint32_t)all.n;
}

static val *unknown_field(elab *e, const data_set *d, const char *what, const char *const *names, size_t k, const char *name, const kd_ast *n) {
  kd_diag *dg = kd__err(e, KD_D_UNKNOWN_FIELD, n->name.len ? n->name : n->span, kd__arena_printf(e->a, "data set `%s`", d->name ? d->name : "?"), what, name);
  const char *near = kd__nearest(e, name, names, k);
  kd__buf has = { 0 };
  for (size_t i = 0; !near && i < k && i < 16; i++) kd__buf_printf(&has, "%s%s", has.n ? ", " : "", names[i]);
  if (near) kd__diag_help(e->sink, dg, "did you mean `%s`?", near);
  else if (has.n) kd__diag_help(e->sink, dg, "it has: %s", kd__buf_keep(&has, e->a));
  return &kd__poison;
}

val *kd__split_field(elab *e, val *v, const char *name, const kd_ast *n) {
  const data_set *d = &e->data.v[v->u.split.data];
  if (!v->u.split.whole) {
    val *stream = stream_field(e, v, v->u.split.data, name);
    if (stream) return stream;
    if (strcmp(name, "all") == 0) { val *w = kd__v_new(e, V_SPLIT); w->u.split = v->u.split; w->u.split.whole = true; return w; }
    kd_diag *dg = kd__err(e, KD_D_NO_FIELDS, n->span, kd__v_show(e, v), name);
    kd__diag_help(e->sink, dg, "a batch's field is %s.%s, on whatever split the statement runs; all samples at once are .all.%s", d->name ? d->name : "D", name, name);
    return &kd__poison;
  }
  const char *names[64];
  size_t k = 0;
  for (uint32_t i = 0; i < d->nfield; i++) {
    if (strcmp(d->field[i].name, name) == 0) return read_whole(e, v->u.split.data, v->u.split.split, i, n);
    if (k < 64) names[k++] = d->field[i].name;
  }
  return unknown_field(e, d, "field", names, k, name, n);
}

val *kd__take_call(elab *e, scope *s, val *v, arg *a, uint32_t n, const kd_ast *at) {
  if (v->u.split.take >= 0) { kd__err(e, KD_D_NOT_CALLABLE, at->span, "a split of a data set"); return &kd__poison; }
  val *r = split_value(e, v->u.split.data, v->u.split.split);
  if (n != 1) { kd__err(e, KD_D_MISSING_ARG, at->span, "take", "the number of batches"); return &kd__poison; }
  if (!kd__want_int(e, kd__arg_eval(e, s, &a[0]), a[0].ast, "the number of batches", &r->u.split.take)) return &kd__poison;
  if (r->u.split.take < 1) { kd__err(e, KD_D_AXIS_SIZE, a[0].ast->span, "the number of batches", (long long)r->u.split.take); return &kd__poison; }
  return r;
}

val *kd__data_field(elab *e, val *v, const char *name, const kd_ast *n) {
  opening *batch = v->kind == V_BATCH ? v->u.batch : NULL, *o;
  uint32_t data = batch ? batch->data : v->u.data;
  data_set *d = &e->data.v[data];
  for (uint32_t i = 0; i < d->nfield; i++)
    if (strcmp(d->field[i].name, name) == 0) return (o = streaming(e, data, batch, n)) ? read_field(e, o, &e->data.v[o->data].field[kd__joined_field(e, o, data, i)], n) : &kd__poison;
  for (uint32_t i = 0; v->kind == V_DATA && i < d->d.nsplit; i++) if (strcmp(d->d.split[i].name, name) == 0) return split_value(e, data, i);
  val *stream = batch ? NULL : stream_field(e, v, data, name);
  if (stream) return stream;
  if (!batch && strcmp(name, "all") == 0) {                /* of the training split */
    val *sp = kd__v_new(e, V_SPLIT);
    sp->u.split.data = data; sp->u.split.whole = true;
    return sp;
  }
  if (strcmp(name, "index") == 0) {
    if (!(o = streaming(e, data, batch, n))) return &kd__poison;
    axis ax = { kd__intern(e, "B"), o->rows, o->root, true, NULL };
    return kd__v_tensor(e, kd__t_wrap(e, kd__slot_input(e, e->prog, kd__data_index(e, o, n)), &ax, 1, n));
  }
  if (d->nfield == 0 && !kd__written_readable(e, data, n)) return &kd__poison;
  const char *names[64];
  size_t k = 0;
  for (uint32_t i = 0; i < d->nfield && k < 60; i++) names[k++] = d->field[i].name;
  for (uint32_t i = 0; i < d->d.nsplit && k < 63; i++) names[k++] = d->d.split[i].name;
  names[k++] = "index";
  return unknown_field(e, d, "field or split", names, k, name, n);
}
