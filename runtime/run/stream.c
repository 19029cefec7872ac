/* stream.c: batches into slots. */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"
#include <stdlib.h>

/* Loops over a stream that keeps its last short batch have a plan for each size they were compiled for: the full one and those that
 * BATCH_IF asks for. Data with another number of rows would be read past its end. */
static bool tail_known(const kd_module *m, uint32_t stream, int64_t rows) {
  const kd_stream *s = &m->stream[stream];
  int64_t tail = rows % s->batch;
  if (s->drop_last || tail == 0) return true;
  for (uint32_t i = 0; i < m->ncode; i++)
    if (m->code[i].op == KD_CODE_BATCH_IF && m->code[i].a == stream && m->code[i].b == tail) return true;
  return false;
}

/* A joined set comes after those that it is made of (check.c). */
static kd_status open_data(kd_machine *r, uint32_t d, kd__run_error *err) {
  const kd_dataset *set = &r->m->dataset[d];
  if (r->data[d]) return KD_OK;
  if (set->made == KD_MADE_FILES) return kd__data_open(set, &r->opt.search, &r->data[d], err->text, sizeof err->text);
  kd_status s = set->made == KD_MADE_JOINED ? open_data(r, set->left, err) : KD_OK;
  if (s == KD_OK && set->made == KD_MADE_JOINED) s = open_data(r, set->right, err);
  return s == KD_OK ? kd__data_empty(set, &r->data[d], err->text, sizeof err->text) : s;
}

/* Whole splits into their slots. */
static kd_status fill(kd_machine *r, const kd_stream *s, kd__run_error *err) {
  kd_status st = open_data(r, s->dataset, err);
  if (st != KD_OK) return st;
  const kd__split_data *split = kd__data_split(r->data[s->dataset], s->split);
  if (split->count != s->batch)
    return kd__why(err->text, sizeof err->text, KD_E_DATA, "data '%s': split '%s' has %lld rows now, and the program was compiled for %lld: compile it again",
                   r->m->dataset[s->dataset].name, split->name, (long long)split->count, (long long)s->batch);
  for (uint32_t i = 0; i < s->nbind; i++) {
    const kd__column *c = &split->field[s->bind[i].field];
    memcpy(kd__store_at(&r->store, (uint32_t)s->bind[i].slot), c->data, c->sample_bytes * (size_t)split->count);
  }
  return KD_OK;
}

kd_status kd__streams_open(kd_machine *r, kd__run_error *err) {
  const kd_module *m = r->m;
  for (uint32_t i = 0; i < m->nstream; i++) {
    uint32_t d = m->stream[i].dataset;
    kd_status s = open_data(r, d, err);
    if (s != KD_OK) return s;
    const kd__split_data *split = kd__data_split(r->data[d], m->stream[i].split);
    if (!tail_known(m, i, split->count))
      return kd__why(err->text, sizeof err->text, KD_E_DATA, "data '%s': split '%s' has %lld rows now, so its last batch has %lld; the program was compiled for another "
                     "number of rows: compile it again", m->dataset[d].name, split->name, (long long)split->count, (long long)(split->count % m->stream[i].batch));
  }
  kd_status s = KD_OK;
  for (uint32_t i = 0; i < m->nwhole && s == KD_OK; i++) s = fill(r, &m->whole[i], err);
  return s;
}

void kd__streams_close(kd_machine *r) {
  for (uint32_t i = 0; r->stream && i < r->m->nstream; i++) {
    kd__loader_close(r->stream[i].loader);
    r->stream[i].loader = NULL;
  }
  for (uint32_t i = 0; r->data && i < r->m->ndataset; i++) {
    kd__data_close(r->data[i]);
    r->data[i] = NULL;
  }
}

int64_t kd__stream_current(const kd_machine *r) { return r->pos.nopen ? (int64_t)r->pos.open[r->pos.nopen - 1] : -1; }

void kd__stream_fill(kd_machine *r, const kd_stream *s, const kd__batch *from, int64_t turn) {
  const kd__batch b = *from;
  const kd_split *split = &r->m->dataset[s->dataset].split[s->split];
  for (uint32_t i = 0; i < s->nbind; i++) {
    const kd_type *t = &split->field[s->bind[i].field].type;
    size_t bytes = (size_t)(kd__type_count(t) * b.rows) * kd__dtype_size((kd_dtype)t->dtype);
    memcpy(kd__store_at(&r->store, (uint32_t)s->bind[i].slot), b.field[i], bytes);
  }
  if (s->index_slot >= 0) memcpy(kd__store_at(&r->store, (uint32_t)s->index_slot), b.index, (size_t)b.rows * sizeof *b.index);
  int64_t *turned = s->replay && s->turned_slot >= 0 ? kd__store_at(&r->store, (uint32_t)s->turned_slot) : NULL;
  for (int64_t i = 0; turned && i < b.rows; i++) turned[i] = b.index[i] + KD_TURN * turn;
}

/* Of the pass that was begun last. */
static int64_t turn_of(const kd_machine *r, uint32_t stream) {
  int64_t n = r->m->stream[stream].replay, begun = r->pos.begun[stream];
  return n && begun ? (begun - 1) % n : 0;
}

/* The next batch into the field slots, with what is kept of its samples. */
static bool bring(kd_machine *r, uint32_t stream) {
  const kd_stream *s = &r->m->stream[stream];
  kd__batch b;
  if (!kd__loader_next(r->stream[stream].loader, &b)) return false;
  kd__stream_fill(r, s, &b, turn_of(r, stream));
  if (s->nkept) kd__kept_bring(r, s, b.index, b.rows, turn_of(r, stream));
  r->stream[stream].rows = b.rows;
  r->pos.stream[stream].batch = b.number;
  return true;
}

/* The order of samples depends on the seed, the stage and how often it was entered; the pass number does the rest. */
static uint64_t order_seed(const kd_machine *r) {
  if (r->pos.stage < 0) return r->opt.seed;
  return kd__mix(kd__mix(r->opt.seed, (uint64_t)r->pos.stage + 1), (uint64_t)r->pos.entered[r->pos.stage]);
}

static kd_status open_loader(kd_machine *r, uint32_t stream, uint32_t origin) {
  char why[512];
  const kd_stream *st = &r->m->stream[stream];
  const kd_dataset *set = &r->m->dataset[st->dataset];
  if (set->made != KD_MADE_FILES) {
    kd_status shown = kd__written_show(r, st->dataset);
    int64_t rows = shown == KD_OK ? kd__data_split(r->data[st->dataset], st->split)->count : 0;
    if (shown != KD_OK) return shown;
    if (rows < st->batch)
      return kd__fail(r, KD_E_DATA, origin, "data '%s' has %lld row%s when it is read, and a batch has %lld: the stage before writes too few", set->name, (long long)rows, rows == 1 ? "" : "s",
                      (long long)st->batch);
  }
  if (r->stream[stream].loader) return KD_OK;
  kd_status s = kd__loader_open(r->data[r->m->stream[stream].dataset], &r->m->stream[stream], &r->stream[stream].loader, why, sizeof why);
  return s == KD_OK ? s : kd__fail(r, s, origin, "%s", why);
}

void kd__stream_leave(kd_machine *r, uint32_t stream) {
  kd_position *p = &r->pos;
  p->stream[stream].open = false;
  for (uint32_t i = 0; i < p->nopen; i++)
    if (p->open[i] == stream) { memmove(&p->open[i], &p->open[i + 1], (p->nopen - i - 1) * sizeof *p->open); p->nopen--; break; }
}

/* `first`: it becomes the current stream; else it runs beside the one that is. */
static kd_status begin(kd_machine *r, uint32_t stream, bool first, uint32_t origin, bool *any) {
  kd_position *p = &r->pos;
  kd_status s = open_loader(r, stream, origin);
  if (s != KD_OK) return s;
  if (p->stream[stream].open) kd__stream_leave(r, stream);  /* a jump out of its loop left it open */
  bool shuffle = r->m->stream[stream].shuffle;
  p->stream[stream] = (kd__stream_position){ .open = true, .pass = shuffle ? p->passes++ : 0 };
  p->begun[stream] += shuffle;
  if ((s = kd__kept_turn(r, &r->m->stream[stream], turn_of(r, stream), origin)) != KD_OK) return s;
  if (first) p->open[p->nopen] = stream;
  else { memmove(p->open + 1, p->open, p->nopen * sizeof *p->open); p->open[0] = stream; }
  p->nopen++;
  kd__loader_start(r->stream[stream].loader, order_seed(r), (uint64_t)p->stream[stream].pass, 0);
  *any = bring(r, stream);
  if (!*any) kd__stream_leave(r, stream);
  return KD_OK;
}

kd_status kd__stream_begin(kd_machine *r, uint32_t stream, uint32_t origin, bool *any) { return begin(r, stream, true, origin, any); }

kd_status kd__stream_take(kd_machine *r, uint32_t stream, uint32_t origin) {
  bool any = r->pos.stream[stream].open && bring(r, stream);
  kd_status s = any ? KD_OK : begin(r, stream, false, origin, &any);
  const kd_dataset *d = &r->m->dataset[r->m->stream[stream].dataset];
  if (s == KD_OK && !any) return kd__fail(r, KD_E_DATA, origin, "data '%s': split '%s' has no whole batch", d->name, d->split[r->m->stream[stream].split].name);
  return s;
}

bool kd__stream_more(kd_machine *r, uint32_t stream) {
  if (r->pos.stream[stream].open && bring(r, stream)) return true;
  kd__stream_leave(r, stream);
  return false;
}

bool kd__stream_has(const kd_machine *r, uint32_t stream, int64_t batch) {
  const kd_stream *s = &r->m->stream[stream];
  int64_t rows = kd__data_split(r->data[s->dataset], s->split)->count;
  return batch < rows / s->batch + (!s->drop_last && rows % s->batch != 0);
}

kd_status kd__streams_resume(kd_machine *r) {
  for (uint32_t i = 0; i < r->pos.nopen; i++) {
    uint32_t stream = r->pos.open[i];
    const kd__stream_position *at = &r->pos.stream[stream];
    kd_status s = open_loader(r, stream, 0);
    if (s != KD_OK) return s;
    kd__loader_start(r->stream[stream].loader, order_seed(r), (uint64_t)at->pass, at->batch);
    if (!bring(r, stream)) return kd__fail(r, KD_E_FORMAT, 0, "data '%s': its place is past the end", r->m->dataset[r->m->stream[stream].dataset].name);
  }
  return KD_OK;
}
