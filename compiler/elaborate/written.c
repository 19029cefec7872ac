/* written.c: data sets that a scheme writes (`write soft (a: x) keyed id where c`), and sets joined with them.
 *
 * The names of written sets are known from the start of a file, their columns from the first `write` on. Each statement leaves its columns in
 * slots of its own and has the machine append them, so a short batch, another loop or another stage may write to the same set. */
#include "compiler/elaborate/scheme.h"

static const char key_name[] = "key";

/* --- declaring ------------------------------------------------------------------------------------------------------------------ */
static uint32_t new_set(elab *e, const char *name, kd_made made, const kd_ast *at) {
  data_set d = { .name = name, .at = at, .known = true };
  for (int i = 0; i < KD__BANKS; i++) d.index_slot[i] = d.turned_slot[i] = -1;
  d.root[0] = kd__root_new(e, ROOT_SAMPLE, name);
  d.d = (kd_dataset){ .name = name, .split = KD_NEW(e->a, kd_split), .nsplit = 1, .made = made, .key = -1 };
  d.d.split[0] = (kd_split){ .name = "all", .count = -1 };
  KD_PUSH(e->a, e->data, d);
  return (uint32_t)e->data.n - 1;
}

static val *data_value(elab *e, uint32_t data) {
  val *v = kd__v_new(e, V_DATA);
  v->u.data = data;
  return v;
}

/* What the file declares itself under this name is told where the statement is reached. */
static bool declared(const elab *e, const char *name) {
  const kd_ast *file = e->file->syn->file;
  for (uint32_t i = 0; i < file->n; i++)
    if ((file->kid[i]->kind == KD_AST_BIND || file->kid[i]->kind == KD_AST_DEFINE) && strcmp(file->kid[i]->text, name) == 0) return true;
  return false;
}

void kd__written_declare(elab *e, scope *s, const kd_ast *n) {
  if (n->kind == KD_AST_DEFINE && strcmp(n->text2, "scheme") != 0) return;
  if (n->kind == KD_AST_WRITE && !kd__scope_here(s, n->text) && !declared(e, n->text)) kd__scope_bind(e, s, n->text, data_value(e, new_set(e, n->text, KD_MADE_WRITTEN, n)), n)->used = true;
  for (uint32_t i = 0; i < n->n; i++) if (n->kid[i]) kd__written_declare(e, s, n->kid[i]);
}

/* The set that a statement writes: of a scheme from a module it becomes one of the experiment's. */
static data_set *target(elab *e, scope *s, const kd_ast *n, uint32_t *data) {
  binding *b = kd__scope_find(s, n->text, NULL);
  if (!b) b = kd__scope_find(e->file->scope, n->text, NULL);
  if (!b) { kd__written_declare(e, e->file->scope, n); b = kd__scope_here(e->file->scope, n->text); }
  scope *top = s;
  while (top->up) top = top->up;
  if (!kd__scope_here(top, n->text) && top != e->file->scope) kd__scope_bind(e, top, n->text, b->v, n)->used = true;
  if (b->v->kind == V_POISON) return NULL;
  if (b->v->kind != V_DATA || e->data.v[b->v->u.data].d.made != KD_MADE_WRITTEN) {
    kd_diag *d = kd__err(e, KD_D_WRITE_TARGET, n->name.len ? n->name : n->span, n->text, b->v->kind == V_DATA ? "a data set of files" : kd__v_show(e, b->v));
    kd__diag_help(e->sink, d, "give what is written a name of its own");
    return NULL;
  }
  *data = b->v->u.data;
  return &e->data.v[*data];
}

/* --- columns ----------------------------------------------------------------------------------------------------------------------- */
typedef struct column { const char *name; tensor *t; const kd_ast *at; } column;
typedef struct columns { column v[KD__COLUMNS]; uint32_t n; } columns;

/* The tensor of a column, of this program; NULL after reporting. */
static tensor *column_tensor(elab *e, scope *s, const kd_ast *at, val *v) {
  tensor *t = kd__want_tensor(e, v ? v : kd__eval(e, s, at), at);
  return t && t->in && t->in != e->prog ? kd__carry(e, t, at) : t;
}

/* In a loop over batches the rows are its samples, wherever their axis stands: it is brought to the front. */
static tensor *rows_first(elab *e, tensor *t, const kd_ast *at) {
  int p = -1;
  for (const opening *o = e->open; t && o && p < 0; o = o->up)
    for (int i = 0; i < t->rank && p < 0; i++) if (t->ax[i].root == o->root) p = i;
  if (p <= 0) return t;
  tensor like = *t;
  like.ax[0] = t->ax[p];
  for (int i = 0; i < p; i++) like.ax[i + 1] = t->ax[i];
  return kd__t_align(e, t, &like, at);
}

/* Every column has a row for each row of the first one, and in a loop over batches these are the batch's samples. */
static bool has_rows(elab *e, const columns *c, const column *x) {
  const axis *rows = &c->v[0].t->ax[0];
  bool sample = c->v[0].t->rank && e->root.v[rows->root].kind == ROOT_SAMPLE;
  bool first = x == &c->v[0] ? x->t->rank > 0 : x->t->rank && x->t->ax[0].label == rows->label && x->t->ax[0].size == rows->size;
  const axis *masked = NULL;
  if (first && (sample || !e->open)) {
    for (int i = 0; i < x->t->rank && !masked; i++) if (x->t->ax[i].mask) masked = &x->t->ax[i];
    if (!masked) return true;
    kd_diag *d = kd__err(e, KD_D_WRITE_VALID, x->at->span, x->name, masked->label);
    kd__diag_help(e->sink, d, "write the mask as a column too, and attach it where the set is read: x[%s where mask]", masked->label);
    return false;
  }
  const char *want = sample ? rows->label : e->open ? "the batch's axis" : "an axis of rows";
  kd__err(e, KD_D_WRITE_ROWS, x->at->span, x->name, kd__t_show(e, x->t), want);
  return false;
}

static bool add_column(elab *e, scope *s, columns *c, const char *name, val *v, const kd_ast *at) {
  if (c->n == KD__COLUMNS) { kd__err(e, KD_D_LATER, at->span, kd__arena_printf(e->a, "more than %d columns", KD__COLUMNS)); return false; }
  column *x = &c->v[c->n++];
  *x = (column){ name, rows_first(e, column_tensor(e, s, at, v), at), at };
  return x->t && has_rows(e, c, x);
}

static bool one_dtype(elab *e, const column *x, kd_dtype t, const char *what, const char *of) {
  if (x->t->dtype == t && x->t->rank == 1) return true;
  kd__err(e, KD_D_WANT_KIND, x->at->span, what, of, kd__t_show(e, x->t));
  return false;
}

static bool read_columns(elab *e, scope *s, const kd_ast *n, columns *c, tensor **mask) {
  const kd_ast *rec = n->kid[0], *key = n->n > 1 ? n->kid[1] : NULL, *where = n->n > 2 ? n->kid[2] : NULL;
  bool ok = true;
  for (uint32_t i = 0; i < rec->n; i++) {
    const kd_ast *a = rec->kid[i];
    if (a->kind != KD_AST_ARG || !a->text) { kd__err(e, KD_D_MISSING_ARG, a->span, n->text, "a name for this column"); return false; }
    if (key && strcmp(a->text, key_name) == 0) { kd__err(e, KD_D_DUPLICATE, a->span, key_name); return false; }
    for (uint32_t k = 0; k < c->n; k++) if (strcmp(c->v[k].name, a->text) == 0) { kd__err(e, KD_D_DUPLICATE, a->span, a->text); return false; }
    if (!add_column(e, s, c, a->text, NULL, a->kid[0])) { ok = false; break; }
  }
  if (ok && key) ok = add_column(e, s, c, key_name, NULL, key) && one_dtype(e, &c->v[c->n - 1], KD_I64, "`keyed`", "a whole number for each row");
  if (!ok || !where) return ok;
  columns m = *c;                                /* the mask needs the same rows, and is no column */
  ok = add_column(e, s, &m, "where", NULL, where) && one_dtype(e, &m.v[m.n - 1], KD_BOOL, "`where`", "a truth value for each row");
  if (ok) *mask = m.v[m.n - 1].t;
  return ok;
}

/* --- the set's fields ------------------------------------------------------------------------------------------------------------------- */
static kd_type row_type(const tensor *t) {
  kd_type r = { .dtype = (uint8_t)t->dtype, .rank = (uint8_t)(t->rank - 1) };
  for (int i = 1; i < t->rank; i++) r.dim[i - 1] = t->ax[i].size;
  return r;
}

static void make_fields(elab *e, data_set *d, const columns *c, const kd_ast *n) {
  bool keyed = n->n > 1 && n->kid[1];
  kd_split *sp = (kd_split *)&d->d.split[0];
  d->at = n;
  d->nfield = sp->nfield = c->n;
  d->field = KD_NEWN(e->a, data_field, c->n);
  sp->field = KD_NEWN(e->a, kd_field_source, c->n);
  d->d.batch = c->v[0].t->ax[0].size;
  d->d.key = keyed ? (int64_t)c->n - 1 : -1;
  for (uint32_t i = 0; i < c->n; i++) {
    const tensor *t = c->v[i].t;
    sp->field[i] = (kd_field_source){ .name = c->v[i].name, .format = "npy", .path = c->v[i].name, .type = row_type(t) };
    d->field[i] = (data_field){ .name = c->v[i].name, .rank = (uint32_t)t->rank - 1, .stored = t->dtype, .real = kd__dtype_real(t->dtype), .scale = 1 };
    for (int k = 0; k < KD__BANKS; k++) d->field[i].slot[k] = -1;
    for (int k = 1; k < t->rank; k++) d->field[i].ax[k - 1] = (axis){ t->ax[k].label, t->ax[k].size, kd__root_new(e, ROOT_FEATURE, NULL), false, NULL };
  }
}

static const char *show_fields(elab *e, const data_set *d) {
  kd__buf b = { 0 };
  for (uint32_t i = 0; i < d->nfield; i++) {
    tensor t = { .rank = (uint8_t)d->field[i].rank, .dtype = d->field[i].stored };
    memcpy(t.ax, d->field[i].ax, sizeof(axis) * d->field[i].rank);
    kd__buf_printf(&b, "%s%s %s", i ? ", " : "", d->field[i].name, kd__t_show(e, &t));
  }
  return kd__buf_keep(&b, e->a);
}

static bool same_fields(elab *e, const data_set *d, const columns *c, const kd_ast *n) {
  data_set now = { 0 };
  kd_split split = { 0 };
  now.d.split = &split;
  make_fields(e, &now, c, n);
  bool same = now.nfield == d->nfield && now.d.key == d->d.key;
  for (uint32_t i = 0; same && i < d->nfield; i++) {
    same = strcmp(now.field[i].name, d->field[i].name) == 0 && kd__type_equal(&split.field[i].type, &d->d.split[0].field[i].type);
    for (uint32_t k = 0; same && k < d->field[i].rank; k++) same = now.field[i].ax[k].label == d->field[i].ax[k].label;
  }
  if (same) return true;
  kd_diag *dg = kd__err(e, KD_D_WRITE_DIFFERS, n->span, show_fields(e, &now), n->text, show_fields(e, d));
  kd__diag_label(e->sink, dg, d->at->span, "the first write");
  return false;
}

/* --- stages that write, stages that read -------------------------------------------------------------------------------------------------- */
static uint32_t stage_now(const elab *e) { return e->build->stage_name ? (uint32_t)e->build->stage.n : 0; }

static bool has_stage(const stages *s, uint32_t stage) {
  for (size_t i = 0; i < s->n; i++) if (s->v[i] == stage) return true;
  return false;
}

static void read_while_written(elab *e, const data_set *d, const kd_ast *at) {
  kd_diag *dg = kd__err(e, KD_D_WRITE_READ, at->span, d->name);
  kd__diag_help(e->sink, dg, "rows are seen when the stage that writes them has ended: read it in a later stage");
}

bool kd__written_readable(elab *e, uint32_t data, const kd_ast *at) {
  data_set *d = &e->data.v[data];
  if (d->d.made == KD_MADE_FILES) return true;
  if (d->d.made == KD_MADE_JOINED) return kd__written_readable(e, d->d.left, at) && kd__written_readable(e, d->d.right, at);
  if (d->nfield == 0 && d->told) return false;     /* its write is wrong */
  if (d->nfield == 0) {
    kd_diag *dg = kd__err(e, KD_D_WRITE_EMPTY, at->span, d->name);
    kd__diag_label(e->sink, dg, d->at->span, "it is written here");
    return false;
  }
  uint32_t stage = e->build ? stage_now(e) : 0;
  if (stage && has_stage(&d->writers, stage)) { read_while_written(e, d, at); return false; }
  if (stage && !has_stage(&d->readers, stage)) KD_PUSH(e->a, d->readers, stage);
  return true;
}

/* --- the statement ---------------------------------------------------------------------------------------------------------------------------- */
static uint32_t leave(elab *e, const column *x) {
  int64_t slot = kd__value_slot(e, x->t->dtype, x->t->ax, x->t->rank, x->at->span);
  kd__value_from(e, slot, x->t, x->at);
  return (uint32_t)slot;
}

void kd__write(elab *e, scope *s, const kd_ast *n) {
  mod_build *b = e->build;
  columns c = { 0 };
  tensor *mask = NULL;
  uint32_t data;
  if (!b->stage_name) {
    kd_diag *d = kd__err(e, KD_D_WRITE_PLACE, n->span);
    kd__diag_help(e->sink, d, "stage cache: for batch in d { write %s (...) }", n->text);
    return;
  }
  data_set *d = target(e, s, n, &data);
  if (!d) return;
  bool ok = read_columns(e, s, n, &c, &mask);
  d = &e->data.v[data];                          /* columns may have made sets */
  d->told = d->told || !ok;
  if (!ok) return;
  if (c.n == 0) { kd__err(e, KD_D_MISSING_ARG, n->span, n->text, "a column"); return; }
  if (d->nfield == 0) make_fields(e, d, &c, n);
  else if (!same_fields(e, d, &c, n)) return;
  uint32_t stage = stage_now(e);
  if (has_stage(&d->readers, stage)) { read_while_written(e, d, n); return; }
  if (!has_stage(&d->writers, stage)) KD_PUSH(e->a, d->writers, stage);
  kd_append w = { .dataset = data, .slot = KD_NEWN(e->a, uint32_t, c.n), .mask = -1 };
  for (uint32_t i = 0; i < c.n; i++) w.slot[i] = leave(e, &c.v[i]);
  if (mask) w.mask = leave(e, &(column){ "where", mask, n->kid[2] });
  KD_PUSH(e->a, b->append, w);
  kd__flow_cut(e, n);
  kd__emit(e, KD_CODE_WRITE, (int64_t)b->append.n - 1, 0, 0, n);
}

bool kd__only_writes(const kd_ast *n) {
  bool any = n->kind == KD_AST_WRITE;
  if (n->kind == KD_AST_STEP || n->kind == KD_AST_STEP_ALONG || n->kind == KD_AST_TRAIN) return false;
  for (uint32_t i = 0; i < n->n; i++) {
    if (!n->kid[i]) continue;
    if (kd__only_writes(n->kid[i])) any = true;
    else if (n->kid[i]->kind == KD_AST_STEP || n->kid[i]->kind == KD_AST_STEP_ALONG || n->kid[i]->kind == KD_AST_TRAIN) return false;
  }
  return any;
}

/* --- joined sets ---------------------------------------------------------------------------------------------------------------------------------- */
static val *no_join(elab *e, const kd_ast *at, const char *what) {
  kd_diag *d = kd__err(e, KD_D_JOIN_SETS, at->span, what);
  kd__diag_help(e->sink, d, "join(d, soft, on: index) has the samples of d whose number is a key of soft, after write soft (...) keyed d.index");
  return &kd__poison;
}

static bool side(elab *e, scope *s, arg *a, uint32_t *data, uint32_t *split) {
  val *v = kd__arg_eval(e, s, a);
  if (v->kind == V_DATA) { *data = v->u.data; *split = 0; return true; }
  if (v->kind == V_SPLIT && !v->u.split.cycle && !v->u.split.take) { *data = v->u.split.data; *split = v->u.split.split; return true; }
  if (v->kind != V_POISON) no_join(e, a->ast, kd__v_show(e, v));
  return false;
}

/* The same arguments are one set, however often the expression is evaluated. */
static val *join_sets(elab *e, uint32_t left, uint32_t split, uint32_t right, const kd_ast *at) {
  for (size_t i = 0; i < e->data.n; i++) {
    const kd_dataset *d = &e->data.v[i].d;
    if (d->made == KD_MADE_JOINED && d->left == left && d->left_split == split && d->right == right) return data_value(e, (uint32_t)i);
  }
  uint32_t data = new_set(e, kd__arena_printf(e->a, "%s.%s", e->data.v[left].name, e->data.v[right].name), KD_MADE_JOINED, at);
  data_set *d = &e->data.v[data];
  const data_set *part[2] = { &e->data.v[left], &e->data.v[right] };
  const kd_split *from[2] = { &part[0]->d.split[split], &part[1]->d.split[0] };
  kd_split *sp = (kd_split *)&d->d.split[0];
  d->d.left = left; d->d.left_split = split; d->d.right = right;
  d->d.batch = part[0]->d.batch;
  d->nfield = sp->nfield = part[0]->nfield + part[1]->nfield;
  d->field = KD_NEWN(e->a, data_field, d->nfield);
  sp->field = KD_NEWN(e->a, kd_field_source, d->nfield);
  for (uint32_t i = 0, k = 0; k < 2; k++)
    for (uint32_t j = 0; j < part[k]->nfield; j++, i++) {
      d->field[i] = part[k]->field[j];
      sp->field[i] = from[k]->field[j];
      for (int x = 0; x < KD__BANKS; x++) d->field[i].slot[x] = -1;
    }
  return data_value(e, data);
}

val *kd__join(elab *e, scope *s, const kd_ast *call, arg *a, uint32_t n) {
  arg *part[2] = { NULL, NULL }, *on = NULL;
  uint32_t data[2], split[2], k = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (a[i].name && strcmp(a[i].name, "on") == 0) on = &a[i];
    else if (!a[i].name && k < 2) part[k++] = &a[i];
    else return no_join(e, a[i].ast, a[i].name ? kd__arena_printf(e->a, "its argument `%s`", a[i].name) : "a third set");
  }
  if (k < 2 || !on) return no_join(e, call, k < 2 ? "fewer than two sets" : "sets without `on: index`");
  if (on->ast->kind != KD_AST_NAME || strcmp(on->ast->text, "index") != 0) return no_join(e, on->ast, "something else than `index`");
  for (int i = 0; i < 2; i++) if (!side(e, s, part[i], &data[i], &split[i])) return &kd__poison;
  const data_set *l = &e->data.v[data[0]], *r = &e->data.v[data[1]];
  if (r->d.made != KD_MADE_WRITTEN) return no_join(e, part[1]->ast, "a set that no stage writes");
  if (!kd__written_readable(e, data[0], part[0]->ast) || !kd__written_readable(e, data[1], part[1]->ast)) return &kd__poison;
  if (r->d.key < 0) return no_join(e, part[1]->ast, "a set that is written without a key");
  for (uint32_t i = 0; i < l->nfield; i++)
    for (uint32_t j = 0; j < r->nfield; j++)
      if (j != (uint32_t)r->d.key && strcmp(l->field[i].name, r->field[j].name) == 0)
        return no_join(e, call, kd__arena_printf(e->a, "two sets with a field `%s`", l->field[i].name));
  return join_sets(e, data[0], split[0], data[1], call);
}

opening *kd__joined_open(elab *e, const prog *p, uint32_t data) {
  for (opening *o = p->open; o; o = o->up) {
    const kd_dataset *d = &e->data.v[o->data].d;
    if (d->made == KD_MADE_JOINED && (d->left == data || d->right == data)) return o;
  }
  return NULL;
}

uint32_t kd__joined_field(elab *e, const opening *o, uint32_t data, uint32_t field) {
  const kd_dataset *d = &e->data.v[o->data].d;
  return d->made == KD_MADE_JOINED && d->right == data ? e->data.v[d->left].nfield + field : field;
}
