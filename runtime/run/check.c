/* check.c: is the module sound? And which module is it? */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"

/* What the operand columns of code.def name. */
typedef enum operand { OPERAND__, OPERAND_stage, OPERAND_plan, OPERAND_first_reg, OPERAND_reg, OPERAND_n, OPERAND_counter, OPERAND_times,
                       OPERAND_begin, OPERAND_end, OPERAND_target, OPERAND_stream, OPERAND_rows, OPERAND_string, OPERAND_group, OPERAND_better, OPERAND_write,
                       OPERAND_key, OPERAND_slot, OPERAND_decision, OPERAND_load, OPERAND_kept } operand;
typedef struct row { const char *name; operand a, b, c; } row;
static const row rows[] = {
#define KD_CODE(ID, a, b, c, doc) [KD_CODE_##ID] = { #ID, OPERAND_##a, OPERAND_##b, OPERAND_##c },
#include "runtime/exec/code.def"
#undef KD_CODE
};

static bool operand_ok(const kd_module *m, operand o, int64_t v) {
  int64_t limit = INT64_MAX;
  switch (o) {
    case OPERAND__: case OPERAND_times: case OPERAND_rows: return true;
    case OPERAND_stage: limit = m->nstage; break;
    case OPERAND_plan: limit = m->nplan; break;
    case OPERAND_first_reg: case OPERAND_n: limit = (int64_t)m->nreg + 1; break;       /* the sum is checked with the instruction */
    case OPERAND_reg: limit = m->nreg; break;
    case OPERAND_counter: limit = m->ncounter; break;
    case OPERAND_begin: case OPERAND_end: case OPERAND_target: limit = m->ncode; break;
    case OPERAND_stream: limit = m->nstream; break;
    case OPERAND_string: limit = m->nstring; break;
    case OPERAND_group: limit = m->ngroup; break;
    case OPERAND_better: limit = 2; break;
    case OPERAND_write: limit = m->nappend; break;
    case OPERAND_key: limit = 3; break;
    case OPERAND_slot: limit = m->nslot; break;
    case OPERAND_decision: limit = m->ndecision; break;
    case OPERAND_load: limit = m->nload; break;
    case OPERAND_kept: limit = m->nkept; break;
  }
  return v >= 0 && v < limit;
}

static bool scalar_results(const kd_plan *p) {
  for (uint32_t i = 0; i < p->nresult; i++)
    if (p->result[i].tensor >= p->ntensor || kd__type_count(&p->tensor[p->result[i].tensor].type) != 1) return false;
  return true;
}

static bool number_slot(const kd_slot *s) {
  kd_dtype t = (kd_dtype)s->type.dtype;
  return kd__type_count(&s->type) == 1 && (t == KD_F32 || t == KD_F64 || t == KD_I64);
}

static bool code_ok(const kd_module *m, const kd_code *c) {
  const row *r = &rows[c->op];
  if (!operand_ok(m, r->a, c->a) || !operand_ok(m, r->b, c->b) || !operand_ok(m, r->c, c->c)) return false;
  if (c->op == KD_CODE_SAY) return c->b + c->c <= m->nreg;
  if (c->op == KD_CODE_TICK) return c->a + c->b <= m->nreg;
  if (c->op == KD_CODE_PUT || c->op == KD_CODE_TURN) return number_slot(&m->slot[c->a]);
  bool step = c->op == KD_CODE_STEP || c->op == KD_CODE_LOSS;
  if (step && m->plan[c->a]->nresult == 0) return false;
  if (step || c->op == KD_CODE_EVAL) return c->b + m->plan[c->a]->nresult <= m->nreg && scalar_results(m->plan[c->a]);
  return true;
}

static int64_t bytes_of(const kd_type *t) { return kd__type_count(t) * (int64_t)kd__dtype_size((kd_dtype)t->dtype); }

static bool numbers_ok(const kd_module *m, const kd_stream *s, int64_t slot) {
  if (slot < 0) return slot == -1;
  return slot < m->nslot && m->slot[slot].type.dtype == KD_I64 && kd__type_count(&m->slot[slot].type) == s->batch;
}

static bool stream_ok(const kd_module *m, const kd_stream *s) {
  if (s->dataset >= m->ndataset || s->split >= m->dataset[s->dataset].nsplit || s->batch < 1) return false;
  const kd_split *split = &m->dataset[s->dataset].split[s->split];
  if (m->dataset[s->dataset].made != KD_MADE_FILES && !s->drop_last) return false;      /* no plan for a last batch of a size that nobody knows */
  for (uint32_t i = 0; i < s->nbind; i++) {
    if (s->bind[i].field >= split->nfield || s->bind[i].slot < 0 || s->bind[i].slot >= m->nslot) return false;
    const kd_type *to = &m->slot[s->bind[i].slot].type, *from = &split->field[s->bind[i].field].type;
    int64_t sample = bytes_of(from), batch;
    if (to->dtype != from->dtype || sample < 0 || __builtin_mul_overflow(sample, s->batch, &batch) || bytes_of(to) != batch) return false;
  }
  return s->replay >= 0 && numbers_ok(m, s, s->index_slot) && (!s->replay || numbers_ok(m, s, s->turned_slot));
}

/* The slot of a column has a batch of the rows, the plan makes them in it, and streams that bring it are of the same samples. */
static bool kept_ok(const kd_module *m, const kd_kept *k) {
  if (k->plan >= m->nplan || !stream_ok(m, &k->fill) || k->turns < 0 || k->turns > k->fill.replay || k->turns > UINT32_MAX / ((int64_t)k->ncolumn + 1) || m->dataset[k->fill.dataset].made != KD_MADE_FILES) return false;
  for (uint32_t i = 0; i < k->ncolumn; i++) {
    if (k->column[i].slot >= m->nslot) return false;
    kd_type t = m->slot[k->column[i].slot].type;
    if (t.rank == 0 || t.dim[0] != k->fill.batch) return false;
    t.rank--;
    memmove(t.dim, t.dim + 1, t.rank * sizeof *t.dim);
    t.dim[t.rank] = 0;
    if (!kd__type_equal(&t, &k->column[i].type) || kd__type_count(&t) < 1) return false;
  }
  for (uint32_t i = 0; i < k->nreads; i++) if (k->reads[i] >= m->nslot) return false;
  return true;
}

static bool brings_ok(const kd_module *m, const kd_stream *s) {
  for (uint32_t i = 0; i < s->nkept; i++) {
    if (s->kept[i].kept >= m->nkept) return false;
    const kd_kept *k = &m->kept[s->kept[i].kept];
    if (s->kept[i].column >= k->ncolumn || k->fill.dataset != s->dataset || k->fill.split != s->split || k->fill.batch != s->batch || (k->turns && k->fill.replay != s->replay)) return false;
  }
  return true;
}

static bool group_ok(const kd_module *m, const kd_group *g) {
  for (uint32_t i = 0; i < g->n; i++) if (g->slot[i] >= m->nslot) return false;
  return true;
}

/* Fields of a written set and of one joined from it have no files; what they come from stands before them. */
static bool dataset_ok(const kd_module *m, uint32_t i) {
  const kd_dataset *d = &m->dataset[i];
  if (d->made == KD_MADE_FILES) return true;
  if (d->nsplit != 1) return false;
  if (d->split->nfield == 0) return d->made == KD_MADE_WRITTEN && d->key == -1;      /* no statement that is reached writes it */
  if (d->made == KD_MADE_WRITTEN)
    return d->key == -1 || (d->key >= 0 && d->key < d->split->nfield && d->split->field[d->key].type.dtype == KD_I64 && d->split->field[d->key].type.rank == 0);
  if (d->made != KD_MADE_JOINED || d->left >= i || d->right >= i || d->left_split >= m->dataset[d->left].nsplit) return false;
  const kd_dataset *right = &m->dataset[d->right];
  const kd_split *left = &m->dataset[d->left].split[d->left_split];
  if (right->made != KD_MADE_WRITTEN || right->key < 0 || left->nfield + right->split->nfield != d->split->nfield) return false;
  for (uint32_t k = 0; k < d->split->nfield; k++)
    if (!kd__type_equal(&d->split->field[k].type, k < left->nfield ? &left->field[k].type : &right->split->field[k - left->nfield].type)) return false;
  return true;
}

static bool load_ok(const kd_module *m, const kd_load *l) {
  if (l->file >= m->nweights) return false;
  for (uint32_t i = 0; i < l->n; i++) if (l->slot[i] >= m->nslot) return false;
  return true;
}

/* Every column has as many rows of the set's type. */
static bool write_ok(const kd_module *m, const kd_append *w) {
  if (w->dataset >= m->ndataset || m->dataset[w->dataset].made != KD_MADE_WRITTEN) return false;
  const kd_split *s = m->dataset[w->dataset].split;
  int64_t count = -1;
  for (uint32_t i = 0; i < s->nfield; i++) {
    if (w->slot[i] >= m->nslot) return false;
    kd_type t = m->slot[w->slot[i]].type;
    if (t.rank == 0 || (count >= 0 && t.dim[0] != count)) return false;
    count = t.dim[0];
    t.rank--;
    memmove(t.dim, t.dim + 1, t.rank * sizeof *t.dim);
    if (!kd__type_equal(&t, &s->field[i].type)) return false;
  }
  if (w->mask < 0) return w->mask == -1;
  return w->mask < m->nslot && m->slot[w->mask].type.dtype == KD_BOOL && kd__type_count(&m->slot[w->mask].type) == count;
}

static bool pass_ok(const kd_module *m, const kd_pass *p) {
  return p->stage >= 0 && p->stage < m->nstage && p->stream < m->nstream && p->times >= 0 && m->dataset[m->stream[p->stream].dataset].made != KD_MADE_FILES;
}

static bool ambient_ok(const kd_module *m, int i) {
  if (m->ambient[i] < 0) return true;
  if (m->ambient[i] >= m->nslot) return false;
  const kd_type *t = &m->slot[m->ambient[i]].type;
  return kd__type_count(t) == 1 && (i >= KD_AMBIENT_KEY ? t->dtype == KD_I64 : kd__dtype_real((kd_dtype)t->dtype));
}

static kd_status broken(kd__run_error *err, uint32_t origin, const char *what, uint32_t i) {
  *err = (kd__run_error){ .status = KD_E_USAGE, .origin = origin };
  return kd__why(err->text, sizeof err->text, KD_E_USAGE, "the compiled program is broken: %s %u", what, i);
}

kd_status kd__module_check(const kd_module *m, kd__run_error *err) {
  for (uint32_t i = 0; i < m->ncode; i++) {
    if (m->code[i].op >= KD_CODE_COUNT) return broken(err, m->code[i].origin, "instruction", i);
    if (!code_ok(m, &m->code[i])) return broken(err, m->code[i].origin, rows[m->code[i].op].name, i);
  }
  if (m->ncode == 0) return broken(err, 0, "number of instructions", 0);
  /* No falling off the end: the last instruction goes elsewhere, stops, or waits for another module. */
  uint16_t last = m->code[m->ncode - 1].op;
  bool waits = last == KD_CODE_DECIDE && !m->decision[m->code[m->ncode - 1].a].made;
  if (!waits && last != KD_CODE_HALT && last != KD_CODE_JUMP && last != KD_CODE_FAIL) return broken(err, 0, "end at instruction", m->ncode - 1);
  for (uint32_t i = 0; i < m->ndataset; i++) if (!dataset_ok(m, i)) return broken(err, 0, "data set", i);
  for (uint32_t i = 0; i < m->nappend; i++) if (!write_ok(m, &m->append[i])) return broken(err, 0, "write", i);
  for (uint32_t i = 0; i < m->nstream; i++) if (!stream_ok(m, &m->stream[i]) || !brings_ok(m, &m->stream[i])) return broken(err, 0, "stream", i);
  for (uint32_t i = 0; i < m->nkept; i++) if (!kept_ok(m, &m->kept[i])) return broken(err, 0, "kept rows", i);
  for (uint32_t i = 0; i < m->npass; i++) if (!pass_ok(m, &m->pass[i])) return broken(err, 0, "pass", i);
  for (uint32_t i = 0; i < m->nwhole; i++) if (!stream_ok(m, &m->whole[i])) return broken(err, 0, "split in a slot", i);
  for (uint32_t i = 0; i < m->ngroup; i++) if (!group_ok(m, &m->group[i])) return broken(err, 0, "group", i);
  for (uint32_t i = 0; i < m->nload; i++) if (!load_ok(m, &m->load[i])) return broken(err, 0, "load", i);
  for (uint32_t i = 0; i < m->nreport; i++) if (m->report[i].reg >= m->nreg) return broken(err, 0, "report row", i);
  for (int i = 0; i < KD_AMBIENT_COUNT; i++) if (!ambient_ok(m, i)) return broken(err, 0, "run-time scalar", (uint32_t)i);
  return KD_OK;
}

/* The parts that decide what a saved position means: code, slots, streams and groups. */
uint64_t kd__module_fingerprint(const kd_module *m) {
  uint64_t h = kd__hash(m->name, strlen(m->name), m->nreg);
  for (uint32_t i = 0; i < m->ncode; i++) {
    int64_t word[4] = { m->code[i].op, m->code[i].a, m->code[i].b, m->code[i].c };
    h = kd__hash(word, sizeof word, h);
  }
  for (uint32_t i = 0; i < m->nslot; i++) {
    const kd_slot *s = &m->slot[i];
    h = kd__hash(s->name, strlen(s->name), kd__mix(h, (uint64_t)s->type.dtype << 8 | s->type.rank));
    h = kd__hash(s->type.dim, sizeof *s->type.dim * s->type.rank, h);
  }
  for (uint32_t i = 0; i < m->nplan; i++) h = kd__hash(m->plan[i]->name, strlen(m->plan[i]->name), kd__mix(h, m->plan[i]->ncall));
  for (uint32_t i = 0; i < m->nstream; i++) h = kd__mix(h, (uint64_t)m->stream[i].batch << 2 | (uint64_t)m->stream[i].shuffle << 1 | m->stream[i].drop_last) + (uint64_t)m->stream[i].replay;
  for (uint32_t i = 0; i < m->nkept; i++) h = kd__mix(kd__mix(h, m->kept[i].makes), (uint64_t)m->kept[i].fill.batch << 1 | m->kept[i].disk) + (uint64_t)m->kept[i].turns;
  for (uint32_t i = 0; i < m->ndataset; i++) h = kd__mix(h, (uint64_t)m->dataset[i].made << 32 | (uint64_t)(m->dataset[i].key + 1));
  for (uint32_t i = 0; i < m->nappend; i++) h = kd__hash(m->append[i].slot, sizeof(uint32_t) * m->dataset[m->append[i].dataset].split->nfield, kd__mix(h, (uint64_t)m->append[i].mask));
  for (uint32_t i = 0; i < m->ndecision; i++) h = kd__mix(h, m->decision[i].made ? (uint64_t)m->decision[i].value + 1 : 0);
  for (uint32_t i = 0; i < m->nload; i++) {
    h = kd__hash(m->weights[m->load[i].file], strlen(m->weights[m->load[i].file]), kd__hash(m->load[i].slot, sizeof(uint32_t) * m->load[i].n, h));
    for (uint32_t k = 0; k < m->load[i].n; k++) h = kd__hash(m->load[i].name[k], strlen(m->load[i].name[k]), h);
  }
  for (uint32_t i = 0; i < m->ngroup; i++) h = kd__hash(m->group[i].slot, sizeof(uint32_t) * m->group[i].n, h);
  return h;
}
