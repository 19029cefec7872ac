/* written.c: data sets that the program writes, and sets joined with them.
 *
 * Each column is a file of its own that grows by appending, in NumPy's format: in the run folder NAME.COLUMN.npy, without one a file that nobody
 * sees. Streams map it; what they see changes between their passes alone (kd__written_show). How many rows there are is part of the position,
 * so a resumed run cuts the files back to the rows of its checkpoint. */
#include "runtime/run/machine.h"
#include "runtime/files/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 256 };                           /* of the file: a multiple of 64, so that rows are aligned */
typedef struct column { int fd; char *path; size_t row; void *map; size_t size; } column;
struct kd__written {
  column *column; uint32_t ncolumn;              /* WRITTEN: the set's fields */
  int64_t shown;                                 /* WRITTEN: how many of the rows streams see; JOINED: 0 when they see what is below; -1: nothing */
  int64_t *row, *number, *other;                 /* samples in order: rows here (JOINED: there on the right), what they are called, rows on the left */
  int64_t **composed; uint32_t ncomposed;        /* JOINED: rows of columns on the left that have an order of their own */
};

static const kd_dataset *set_of(const kd_machine *r, uint32_t d) { return &r->m->dataset[d]; }
static const char *field_name(const kd_machine *r, uint32_t d, uint32_t i) { return set_of(r, d)->split->field[i].name; }
static kd_status no_memory(kd_machine *r, uint32_t d) { return kd__fail(r, KD_E_MEMORY, 0, "data '%s': out of memory", set_of(r, d)->name); }

static kd_status failed(kd_machine *r, uint32_t d, uint32_t i, const char *doing, int e) {
  const char *text = strerrordesc_np(e), *path = r->written[d]->column[i].path;
  return kd__fail(r, e == ENOMEM ? KD_E_MEMORY : KD_E_IO, 0, "data '%s': cannot %s %s: %s%s", set_of(r, d)->name, doing, path ? path : field_name(r, d, i), text ? text : "unknown error",
                  e == ENOSPC || e == EDQUOT ? "; free some space there" : "");
}

/* --- opening ------------------------------------------------------------------------------------------------------------------------ */
/* A file without a name, gone with its descriptor: on disk where that can be had, else in memory. */
static int nameless(void) {
  const char *dir = getenv("TMPDIR");
  int fd = open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  return fd >= 0 ? fd : memfd_create("kdc-rows", MFD_CLOEXEC);
}

static kd_status open_column(kd_machine *r, uint32_t d, uint32_t i) {
  column *c = &r->written[d]->column[i];
  char name[300], why[700];
  struct stat st;
  kd_status s = KD_OK;
  off_t size = HEADER + (off_t)((size_t)r->pos.rows[d] * c->row);
  snprintf(name, sizeof name, "%.120s.%.120s.npy", set_of(r, d)->name, field_name(r, d, i));
  if (r->folder && !(c->path = kd__folder_claim(r->folder, name, &s, why, sizeof why))) return kd__fail(r, s, 0, "%s", why);
  c->fd = c->path ? open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : nameless();
  if (c->fd < 0 || fstat(c->fd, &st) != 0) return failed(r, d, i, "open", errno);
  if (r->pos.rows[d] && st.st_size < size)
    return kd__fail(r, KD_E_FORMAT, 0, "data '%s': %s has fewer than the %lld rows that it had when the run stopped", set_of(r, d)->name, c->path ? c->path : "a run without a folder",
                    (long long)r->pos.rows[d]);
  return ftruncate(c->fd, size) == 0 ? KD_OK : failed(r, d, i, "cut", errno);
}

static kd_status write_header(kd_machine *r, uint32_t d, uint32_t i) {
  static const char *const name[] = { [KD_F32] = "<f4", [KD_F64] = "<f8", [KD_I64] = "<i8", [KD_U8] = "|u1", [KD_BOOL] = "|b1" };
  const kd_type *t = &set_of(r, d)->split->field[i].type;
  char head[HEADER + 1];
  memset(head, ' ', sizeof head);
  memcpy(head, "\x93NUMPY\1\0", 8);
  head[8] = (char)(HEADER - 10);
  head[9] = 0;
  int at = 10 + snprintf(head + 10, HEADER - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%lld,", name[t->dtype], (long long)r->pos.rows[d]);
  for (int k = 0; k < t->rank; k++) at += snprintf(head + at, HEADER - (size_t)at, " %lld,", (long long)t->dim[k]);
  at += snprintf(head + at, HEADER - (size_t)at, "), }");
  head[at] = ' ';
  head[HEADER - 1] = '\n';
  return pwrite(r->written[d]->column[i].fd, head, HEADER, 0) == HEADER ? KD_OK : failed(r, d, i, "write", errno);
}

static kd_status open_set(kd_machine *r, uint32_t d) {
  const kd_dataset *set = set_of(r, d);
  kd__written *w = calloc(1, sizeof *w);
  if (!w) return no_memory(r, d);
  r->written[d] = w;
  w->shown = -1;
  if (set->made == KD_MADE_JOINED) return KD_OK;
  w->column = calloc(set->split->nfield + (size_t)1, sizeof *w->column);
  if (!w->column) return no_memory(r, d);
  w->ncolumn = set->split->nfield;
  for (uint32_t i = 0; i < w->ncolumn; i++) {
    const kd_type *t = &set->split->field[i].type;
    w->column[i] = (column){ .fd = -1, .row = (size_t)kd__type_count(t) * kd__dtype_size((kd_dtype)t->dtype) };
  }
  kd_status s = KD_OK;
  for (uint32_t i = 0; i < w->ncolumn && s == KD_OK; i++) {
    s = open_column(r, d, i);
    if (s == KD_OK) s = write_header(r, d, i);
  }
  return s;
}

kd_status kd__written_open(kd_machine *r) {
  kd_status s = KD_OK;
  for (uint32_t d = 0; d < r->m->ndataset && s == KD_OK; d++)
    if (set_of(r, d)->made != KD_MADE_FILES && !r->written[d]) s = open_set(r, d);
  return s;
}

/* --- closing -------------------------------------------------------------------------------------------------------------------------- */
static void forget_order(kd__written *w) {
  free(w->row);
  free(w->number);
  free(w->other);
  for (uint32_t i = 0; i < w->ncomposed; i++) free(w->composed[i]);
  free(w->composed);
  w->row = w->number = w->other = NULL;
  w->composed = NULL;
  w->ncomposed = 0;
}

static void unmap(column *c) {
  if (c->map) munmap(c->map, c->size);
  c->map = NULL;
}

void kd__written_close(kd_machine *r) {
  for (uint32_t d = 0; r->written && d < r->m->ndataset; d++) {
    kd__written *w = r->written[d];
    if (!w) continue;
    for (uint32_t i = 0; i < w->ncolumn; i++) {
      unmap(&w->column[i]);
      if (w->column[i].fd >= 0) close(w->column[i].fd);
      free(w->column[i].path);
    }
    forget_order(w);
    free(w->column);
    free(w);
    r->written[d] = NULL;
  }
}

void kd__written_move(kd_machine *from, kd_machine *to) {
  kd__streams_close(from);
  for (uint32_t d = 0; d < from->m->ndataset; d++) {
    kd__written *w = from->written[d];
    if (!w) continue;
    for (uint32_t i = 0; i < w->ncolumn; i++) unmap(&w->column[i]);
    forget_order(w);
    w->shown = -1;
    to->written[d] = w;
    from->written[d] = NULL;
  }
}

kd_status kd__written_sync(kd_machine *r) {
  for (uint32_t d = 0; r->folder && d < r->m->ndataset; d++)
    for (uint32_t i = 0; r->written[d] && i < r->written[d]->ncolumn; i++)
      if (fsync(r->written[d]->column[i].fd) != 0 && errno != EINVAL) return failed(r, d, i, "write", errno);
  return KD_OK;
}

/* --- appending -------------------------------------------------------------------------------------------------------------------------- */
static int write_at(int fd, const char *p, size_t bytes, off_t at) {
  while (bytes) {
    ssize_t k = pwrite(fd, p, bytes, at);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return k < 0 ? errno : ENOSPC;
    p += k;
    at += k;
    bytes -= (size_t)k;
  }
  return 0;
}

/* Runs of rows that the mask lets through, one after the other. */
static int write_rows(const column *c, const char *from, const bool *mask, int64_t n, int64_t at, int64_t *kept) {
  *kept = 0;
  for (int64_t i = 0, end; i < n; i = end) {
    bool in = !mask || mask[i];
    for (end = i + 1; end < n && (!mask || mask[end]) == in; end++) {}
    if (!in) continue;
    int e = write_at(c->fd, from + (size_t)i * c->row, (size_t)(end - i) * c->row, HEADER + (off_t)((size_t)(at + *kept) * c->row));
    if (e) return e;
    *kept += end - i;
  }
  return 0;
}

kd_status kd__written_append(kd_machine *r, uint32_t write) {
  const kd_append *w = &r->m->append[write];
  kd__written *to = r->written[w->dataset];
  const bool *mask = w->mask < 0 ? NULL : kd__store_at(&r->store, (uint32_t)w->mask);
  int64_t n = r->m->slot[w->slot[0]].type.dim[0], kept = 0;
  for (uint32_t i = 0; i < to->ncolumn; i++) {
    int e = write_rows(&to->column[i], kd__store_at(&r->store, w->slot[i]), mask, n, r->pos.rows[w->dataset], &kept);
    if (e) return failed(r, w->dataset, i, "write", e);
  }
  r->pos.rows[w->dataset] += kept;
  kd_status s = KD_OK;
  for (uint32_t i = 0; i < to->ncolumn && s == KD_OK; i++) s = write_header(r, w->dataset, i);
  return s;
}

/* --- showing: sets of one column order ------------------------------------------------------------------------------------------------------ */
typedef struct keyed { int64_t key, row; } keyed;
static int by_key(const void *a, const void *b) {
  const keyed *x = a, *y = b;
  return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->row > y->row) - (x->row < y->row);
}

/* In the order of keys; of equal ones the last row written. *count: how many keys there are. */
static bool order_by_key(kd__written *w, const int64_t *key, int64_t n, int64_t *count) {
  size_t room = (size_t)n + 1;
  keyed *k = malloc(room * sizeof *k);
  w->row = malloc(room * sizeof *w->row);
  w->number = malloc(room * sizeof *w->number);
  bool ok = k && w->row && w->number;
  *count = 0;
  for (int64_t i = 0; ok && i < n; i++) k[i] = (keyed){ key[i], i };
  if (ok) qsort(k, (size_t)n, sizeof *k, by_key);
  for (int64_t i = 0; ok && i < n; i++) {
    if (i + 1 < n && k[i + 1].key == k[i].key) continue;
    w->row[*count] = k[i].row;
    w->number[(*count)++] = k[i].key;
  }
  free(k);
  return ok;
}

static kd_status show_written(kd_machine *r, uint32_t d) {
  kd__written *w = r->written[d];
  int64_t n = r->pos.rows[d], count = n, key = set_of(r, d)->key;
  kd__shown *shown = calloc(w->ncolumn + (size_t)1, sizeof *shown);
  if (!shown) return no_memory(r, d);
  forget_order(w);
  for (uint32_t i = 0; i < w->ncolumn; i++) {
    column *c = &w->column[i];
    unmap(c);
    c->size = HEADER + (size_t)n * c->row;
    c->map = mmap(NULL, c->size, PROT_READ, MAP_SHARED, c->fd, 0);
    if (c->map == MAP_FAILED) { c->map = NULL; free(shown); return failed(r, d, i, "map", errno); }
    shown[i].data = (const char *)c->map + HEADER;
  }
  bool ok = key < 0 || order_by_key(w, shown[key].data, n, &count);
  for (uint32_t i = 0; i < w->ncolumn; i++) shown[i].row = w->row;
  if (ok) kd__data_show(r->data[d], count, shown, w->number);
  free(shown);
  w->shown = n;
  return ok ? KD_OK : no_memory(r, d);
}

/* --- showing: joined sets --------------------------------------------------------------------------------------------------------------------- */
static int64_t number_of(const kd__split_data *s, int64_t i) { return s->number ? s->number[i] : i; }

/* Samples that both have; numbers ascend on both sides. */
static int64_t meet(kd__written *w, const kd__split_data *left, const kd__split_data *right) {
  int64_t n = 0;
  for (int64_t i = 0, k = 0; i < left->count && k < right->count;) {
    int64_t a = number_of(left, i), b = number_of(right, k);
    if (a == b) { w->other[n] = i; w->row[n] = k; w->number[n++] = a; }
    i += a <= b;
    k += b <= a;
  }
  return n;
}

/* A column's rows for the chosen samples: `order` itself where the column has no order of its own. */
static bool compose(kd__written *w, const kd__column *c, const int64_t *order, int64_t n, kd__shown *out) {
  *out = (kd__shown){ c->data, order };
  if (!c->row) return true;
  int64_t *row = malloc(((size_t)n + 1) * sizeof *row);
  if (!row) return false;
  for (int64_t i = 0; i < n; i++) row[i] = c->row[order[i]];
  w->composed[w->ncomposed++] = row;
  out->row = row;
  return true;
}

static kd_status show_joined(kd_machine *r, uint32_t d) {
  const kd_dataset *set = set_of(r, d);
  kd__written *w = r->written[d];
  const kd__split_data *left = kd__data_split(r->data[set->left], set->left_split), *right = kd__data_split(r->data[set->right], 0);
  size_t room = (size_t)(left->count < right->count ? left->count : right->count) + 1;
  uint32_t nfield = set->split->nfield;
  forget_order(w);
  w->row = malloc(room * sizeof *w->row);
  w->number = malloc(room * sizeof *w->number);
  w->other = malloc(room * sizeof *w->other);
  w->composed = calloc(nfield + (size_t)1, sizeof *w->composed);
  kd__shown *shown = calloc(nfield + (size_t)1, sizeof *shown);
  bool ok = w->row && w->number && w->other && w->composed && shown;
  int64_t n = ok ? meet(w, left, right) : 0;
  for (uint32_t i = 0; ok && i < nfield; i++)
    ok = i < left->nfield ? compose(w, &left->field[i], w->other, n, &shown[i]) : compose(w, &right->field[i - left->nfield], w->row, n, &shown[i]);
  if (ok) kd__data_show(r->data[d], n, shown, w->number);
  free(shown);
  return ok ? KD_OK : no_memory(r, d);
}

/* Before the memory under a set changes: nobody reads it any more. */
static void hide(kd_machine *r, uint32_t d) {
  for (uint32_t i = 0; i < r->m->nstream; i++) {
    if (r->m->stream[i].dataset != d) continue;
    kd__loader_close(r->stream[i].loader);
    r->stream[i].loader = NULL;
  }
  for (uint32_t k = 0; k < r->m->ndataset; k++) {
    const kd_dataset *set = set_of(r, k);
    if (set->made != KD_MADE_JOINED || (set->left != d && set->right != d) || r->written[k]->shown < 0) continue;
    r->written[k]->shown = -1;
    hide(r, k);
  }
}

kd_status kd__written_show(kd_machine *r, uint32_t d) {
  const kd_dataset *set = set_of(r, d);
  kd__written *w = r->written[d];
  if (set->made == KD_MADE_FILES) return KD_OK;
  if (set->made == KD_MADE_WRITTEN) {
    if (w->shown == r->pos.rows[d]) return KD_OK;
    hide(r, d);
    return show_written(r, d);
  }
  kd_status s = kd__written_show(r, set->left);
  if (s == KD_OK) s = kd__written_show(r, set->right);
  if (s != KD_OK || w->shown >= 0) return s;
  hide(r, d);
  s = show_joined(r, d);
  if (s == KD_OK) w->shown = 0;
  return s;
}

/* --- what depends on it ------------------------------------------------------------------------------------------------------------------------- */
int64_t kd__stage_steps(const kd_machine *r, int64_t stage) {
  int64_t n = r->m->stage[stage].steps;
  for (uint32_t i = 0; i < r->m->npass; i++) {
    const kd_pass *p = &r->m->pass[i];
    const kd_stream *s = &r->m->stream[p->stream];
    if (p->stage == stage && r->data[s->dataset]) n += p->times * (kd__data_split(r->data[s->dataset], s->split)->count / s->batch);
  }
  return n;
}

kd_status kd__written_stage(kd_machine *r, int64_t stage) {
  kd_status s = KD_OK;
  for (uint32_t i = 0; i < r->m->npass && s == KD_OK; i++)
    if (r->m->pass[i].stage == stage) s = kd__written_show(r, r->m->stream[r->m->pass[i].stream].dataset);
  return s;
}
