/* kept.c: values of samples that are the same each time, kept by the sample's number (KEEP), and what holds for a while (HOLD).
 *
 * Rows are made in the order of the samples, batch by batch, before the first one is read: so their bits do not depend on which samples meet in a
 * batch of the training, nor on whether the run was stopped, or another one made them. What they come from is their key. */
#include "runtime/run/machine.h"
#include "runtime/data/rows.h"
#include "runtime/files/file.h"
#include <stdlib.h>
#include <time.h>

enum { SHARD = 4 << 20, WHY = 500 };             /* bytes of a shard, at least */
static const double tell_every = 10;             /* seconds */

static size_t row_bytes(const kd_kept_column *c) { return (size_t)kd__type_count(&c->type) * kd__dtype_size((kd_dtype)c->type.dtype); }

static int64_t turns_of(const kd_kept *k) { return k->turns ? k->turns : 1; }

static size_t all_bytes(const kd_kept *k) {
  size_t n = 0;
  for (uint32_t i = 0; i < k->ncolumn; i++) n += row_bytes(&k->column[i]);
  return n * (size_t)turns_of(k);
}

/* --- the key -------------------------------------------------------------------------------------------------------------------------------- */
static uint64_t hash_text(const char *s, uint64_t h) { return s ? kd__hash(s, strlen(s), h) : h; }

/* What they are made of in this run: what the program computes, the bytes that it reads, and the kernels. With the data: for all runs. */
static bool find_key(const kd_machine *r, const kd_kept *k, uint64_t key[2]) {
  kd__buf kernels = { 0 };
  const kd__split_data *split = kd__data_split(r->data[k->fill.dataset], k->fill.split);
  key[0] = kd__mix(kd__mix(k->makes, (uint64_t)k->fill.batch), (uint64_t)split->count);
  for (uint32_t i = 0; i < k->nreads; i++) {
    const kd_type *t = &r->m->slot[k->reads[i]].type;
    key[0] = kd__hash(kd__store_at(&r->store, k->reads[i]), (size_t)kd__type_count(t) * kd__dtype_size((kd_dtype)t->dtype), key[0]);
  }
  kd__bound_describe(r->bound[k->plan], &kernels);
  key[0] = hash_text(kernels.p, kd__mix(key[0], (uint64_t)r->set.threads << 2 | (uint64_t)r->set.deterministic << 1 | r->set.reference));
  key[1] = hash_text(r->libraries.p, hash_text(r->processor.p, hash_text(r->opt.version, key[0])));
  for (uint32_t i = 0; k->disk && i < k->fill.nbind; i++) key[1] = kd__mix(key[1], kd__rows_content(split, k->fill.bind[i].field, r->opt.search.cache));
  bool ok = !kernels.failed;
  kd__buf_free(&kernels);
  return ok;
}

/* --- making them -------------------------------------------------------------------------------------------------------------------------------- */
static bool cancelled(const kd_machine *r) { return r->opt.cancel && *r->opt.cancel; }

/* Columns of rows: those of a turn beside one another. */
static uint32_t column_of(const kd_kept *k, int64_t turn, uint32_t column) { return (uint32_t)turn * k->ncolumn + column; }

/* One batch of them. The last one may be short: what the slots hold behind it are samples too, and nobody looks at what is made of them. */
static kd_status make_batch(kd_machine *r, const kd_kept *k, kd__rows *rows, const kd__batch *b, int64_t turn, uint32_t origin) {
  kd__stream_fill(r, &k->fill, b, turn);
  kd_status s = kd__plan_go(r, k->plan, KD__KEY_FIXED, origin);
  for (uint32_t c = 0; c < k->ncolumn && s == KD_OK; c++) {
    s = kd__rows_put(rows, column_of(k, turn, c), b->number * k->fill.batch, b->rows, kd__store_at(&r->store, k->column[c].slot));
    if (s != KD_OK) kd__fail(r, s, origin, "rows of `%s` cannot be written to the cache folder: is its disk full? `--cache=memory` keeps them in memory", k->name);
  }
  return s;
}

static kd_status make_shard(kd_machine *r, const kd_kept *k, kd__rows *rows, kd_loader *l, int64_t first, int64_t batches, uint32_t origin) {
  kd__batch b;
  kd_status s = KD_OK;
  for (int64_t turn = 0; turn < turns_of(k) && s == KD_OK; turn++) {
    kd__loader_start(l, 0, 0, first);
    for (int64_t i = 0; i < batches && s == KD_OK && kd__loader_next(l, &b); i++) s = cancelled(r) ? KD_E_CANCELLED : make_batch(r, k, rows, &b, turn, origin);
  }
  return s;
}

/* All that is missing. What another process is making is left to it, and waited for at the end: should it die, its lock is free. */
static kd_status make_all(kd_machine *r, const kd_kept *k, kd__rows *rows, kd_loader *l, int64_t batches, uint32_t origin, int64_t *made) {
  int64_t n = kd__rows_shards(rows), open = n, count = kd__data_split(r->data[k->fill.dataset], k->fill.split)->count;
  double told = kd__now();
  kd_status s = KD_OK;
  while (open > 0 && s == KD_OK) {
    int64_t taken = 0, mine = 0;
    for (int64_t i = 0; i < n && s == KD_OK; i++) {
      kd__rows_state state = kd__rows_claim(rows, i);
      if (state == KD__ROWS_TAKEN) taken++;
      if (state == KD__ROWS_MINE) {
        int64_t first = i * batches * k->fill.batch, last = first + batches * k->fill.batch;
        s = make_shard(r, k, rows, l, i * batches, batches, origin);
        if (s == KD_OK && (s = kd__rows_done(rows, i)) != KD_OK) kd__fail(r, s, origin, "rows of `%s` cannot be written to the cache folder", k->name);
        *made += (last < count ? last : count) - first;
        mine++;
      }
      if (cancelled(r)) s = KD_E_CANCELLED;
      if (kd__now() - told < tell_every) continue;
      told = kd__now();
      kd__tell_only(r, "%s: %.0f %% of %lld samples", k->name, 100 * (double)(i + 1 - taken) / (double)n, (long long)count);
    }
    open = taken;
    if (open > 0 && mine == 0) nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
  }
  return s;
}

/* The first batch, and its rows in place of all others. */
static kd_status make_one(kd_machine *r, const kd_kept *k, kd__rows *rows, kd_loader *l, uint32_t origin) {
  int64_t count = kd__data_split(r->data[k->fill.dataset], k->fill.split)->count, batch = k->fill.batch;
  kd_status s = make_shard(r, k, rows, l, 0, 1, origin);
  for (int64_t at = batch; at < count && s == KD_OK; at += batch)
    for (uint32_t c = 0; c < column_of(k, turns_of(k), 0) && s == KD_OK; c++) s = kd__rows_put(rows, c, at, count - at < batch ? count - at : batch, kd__store_at(&r->store, k->column[c % k->ncolumn].slot));
  return s;
}

static kd_status make(kd_machine *r, const kd_kept *k, kd__rows *rows, int64_t batches, uint32_t origin, int64_t *made) {
  char why[WHY];
  kd_loader *l;
  kd_status s = kd__loader_open(r->data[k->fill.dataset], &k->fill, &l, why, sizeof why);
  if (s != KD_OK) return kd__fail(r, s, origin, "%s", why);
  s = r->brief ? make_one(r, k, rows, l, origin) : make_all(r, k, rows, l, batches, origin, made);
  kd__loader_close(l);
  return s;
}

/* --- opening -------------------------------------------------------------------------------------------------------------------------------------- */
static void forget(kd__kept *k) {
  kd__rows_close(k->rows);
  *k = (kd__kept){ .rows = NULL };
}

/* On disk where that is wanted and can be, else in memory. */
static kd_status open_rows(kd_machine *r, const kd_kept *k, const kd__rows_spec *spec, uint32_t origin, kd__rows **out, bool *disk) {
  char why[WHY];
  const char *folder = k->disk && !r->brief ? r->opt.search.cache : NULL;
  kd_status s = kd__rows_open(spec, folder, out, why, sizeof why);
  *disk = folder && s == KD_OK;
  if (s == KD_OK || !folder || s == KD_E_MEMORY) return s == KD_OK ? s : kd__fail(r, s, origin, "%s", why);
  kd__tell_only(r, "%s: kept in memory, since the cache folder cannot take it: %s", k->name, why);
  s = kd__rows_open(spec, NULL, out, why, sizeof why);
  return s == KD_OK ? s : kd__fail(r, s, origin, "%s", why);
}

static kd_status open_new(kd_machine *r, uint32_t kept, uint32_t origin, bool again) {
  const kd_kept *k = &r->m->kept[kept];
  kd__kept *at = &r->kept[kept];
  double begin = kd__now();
  uint32_t columns = column_of(k, turns_of(k), 0);
  size_t bytes = all_bytes(k), *row = calloc(columns + (size_t)1, sizeof *row);
  int64_t count = kd__data_split(r->data[k->fill.dataset], k->fill.split)->count, batches = (int64_t)(SHARD / (bytes * (size_t)k->fill.batch)) + 1, made = 0;
  bool disk = false;
  if (!row) return kd__fail(r, KD_E_MEMORY, origin, "out of memory");
  for (uint32_t i = 0; i < columns; i++) row[i] = row_bytes(&k->column[i % k->ncolumn]);
  kd__rows_spec spec = { .key = { at->key[0], at->key[1] }, .row_bytes = row, .ncolumn = columns, .rows = count, .shard = batches * k->fill.batch };
  kd_status s = open_rows(r, k, &spec, origin, &at->rows, &disk);
  if (s == KD_OK) s = make(r, k, at->rows, batches, origin, &made);
  free(row);
  if (s != KD_OK) { forget(at); return s; }
  return again ? KD_OK : kd__tell_kept(r, k, disk ? "disk" : "memory", count, count - made, (int64_t)bytes, kd__now() - begin);
}

kd_status kd__kept_open(kd_machine *r, uint32_t kept, int64_t end, uint32_t origin, bool again) {
  kd__kept *at = &r->kept[kept];
  uint64_t key[2];
  kd_status s = kd__plan_ready(r, r->m->kept[kept].plan, origin);
  if (s != KD_OK) return s;
  for (uint32_t i = 0; i < r->m->nkept; i++) if (r->kept[i].rows && r->kept[i].end != end) forget(&r->kept[i]);
  if (!find_key(r, &r->m->kept[kept], key)) return kd__fail(r, KD_E_MEMORY, origin, "out of memory");
  if (at->rows && at->key[0] == key[0] && at->key[1] == key[1]) return KD_OK;
  forget(at);
  at->key[0] = key[0]; at->key[1] = key[1]; at->end = end;
  return open_new(r, kept, origin, again);
}

void kd__kept_close(kd_machine *r) {
  for (uint32_t i = 0; r->kept && i < r->m->nkept; i++) forget(&r->kept[i]);
}

/* The compiler counts what a stage comes to at most: so there are. */
kd_status kd__kept_turn(kd_machine *r, const kd_stream *s, int64_t turn, uint32_t origin) {
  for (uint32_t i = 0; i < s->nkept; i++) {
    const kd_kept *k = &r->m->kept[s->kept[i].kept];
    if (k->turns && turn >= k->turns) return kd__fail(r, KD_E_USAGE, origin, "the compiled program is broken: `%s` has rows for %lld epochs", k->name, (long long)k->turns);
  }
  return KD_OK;
}

void kd__kept_bring(kd_machine *r, const kd_stream *s, const int64_t *index, int64_t rows, int64_t turn) {
  for (uint32_t i = 0; i < s->nkept; i++) {
    const kd__kept *k = &r->kept[s->kept[i].kept];
    const kd_kept *of = &r->m->kept[s->kept[i].kept];
    const kd_kept_column *c = &of->column[s->kept[i].column];
    if (k->rows) kd__copy_rows(kd__rows_column(k->rows, column_of(of, of->turns ? turn : 0, s->kept[i].column)), index, kd__store_at(&r->store, c->slot), rows, row_bytes(c), &r->exec);
  }
}

kd_status kd__kept_resume(kd_machine *r) {
  kd_status s = KD_OK;
  for (int64_t i = 0; i < r->pos.pc && s == KD_OK; i++) {
    const kd_code *c = &r->m->code[i];
    if (c->op == KD_CODE_HOLD && c->c > r->pos.pc) s = kd__plan_go(r, (uint32_t)c->a, KD__KEY_FIXED, c->origin);
    if (c->op == KD_CODE_KEEP && c->c > r->pos.pc) s = kd__kept_open(r, (uint32_t)c->a, c->c, c->origin, true);
  }
  return s;
}
