/* rows.c: see rows.h. The file: a page with the header, the table of shards, the columns one after the other; table and columns begin at pages. */
#include "runtime/data/rows.h"
#include "runtime/files/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, VERSION = 1, ORDER_MARK = 0x01020304, TRIES = 8 };
static const int64_t lock_shards = (int64_t)1 << 60;     /* where the bytes are that stand for shards in locks: past all files */

typedef struct header { char magic[8]; uint32_t version, order; uint64_t key[2]; int64_t rows, shard, ncolumn, size; uint64_t columns, check; } header;
typedef struct entry { uint64_t data, check; } entry;    /* data: hash of the shard's rows, by column */
static const char magic[8] = "kdcrows";

struct kd__rows {
  kd__rows_spec spec;
  size_t *row_bytes, *at;                        /* at: where columns begin */
  size_t size;
  char *base;                                    /* the file as it is mapped, or the memory */
  int fd;                                        /* -1: memory */
  int64_t shards;
  bool *there;
};

static size_t paged(size_t n) { return (n + PAGE - 1) / PAGE * PAGE; }

/* --- places ------------------------------------------------------------------------------------------------------------------------------ */
static bool measure(kd__rows *r) {
  size_t n = 0, table;
  r->shards = (r->spec.rows + r->spec.shard - 1) / r->spec.shard;
  if (__builtin_mul_overflow((size_t)r->shards, sizeof(entry), &table)) return false;
  if (r->fd >= 0 || r->fd == -2) n = PAGE + paged(table);
  for (uint32_t c = 0; c < r->spec.ncolumn; c++) {
    size_t bytes;
    r->at[c] = n;
    if (__builtin_mul_overflow(r->row_bytes[c], (size_t)r->spec.rows, &bytes) || bytes > SIZE_MAX / 4 || __builtin_add_overflow(n, paged(bytes), &n)) return false;
  }
  r->size = n;
  return n <= INT64_MAX;
}

static int64_t first_of(const kd__rows *r, int64_t shard) { return shard * r->spec.shard; }
static int64_t count_of(const kd__rows *r, int64_t shard) {
  int64_t left = r->spec.rows - first_of(r, shard);
  return left < r->spec.shard ? left : r->spec.shard;
}

static uint64_t content(const kd__rows *r, int64_t shard) {
  uint64_t h = kd__mix(r->spec.key[0], (uint64_t)shard);
  for (uint32_t c = 0; c < r->spec.ncolumn; c++)
    h = kd__hash(r->base + r->at[c] + (size_t)first_of(r, shard) * r->row_bytes[c], (size_t)count_of(r, shard) * r->row_bytes[c], h);
  return h;
}

static uint64_t check_of(const kd__rows *r, int64_t shard, uint64_t data) { return kd__mix(kd__mix(data, r->spec.key[1]), (uint64_t)shard + 1); }

/* --- the file -------------------------------------------------------------------------------------------------------------------------------- */
/* One byte stands for each shard, one for the header. Locks belong to this opening of the file, and end with it. */
static bool lock(int fd, int64_t byte, bool wait) {
  struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(lock_shards + byte), .l_len = 1 };
  int e;
  do e = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l); while (e < 0 && errno == EINTR);
  return e == 0;
}

static void unlock(int fd, int64_t byte) {
  struct flock l = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = (off_t)(lock_shards + byte), .l_len = 1 };
  fcntl(fd, F_OFD_SETLK, &l);
}

static bool write_at(int fd, const void *p, size_t n, size_t at) {
  for (const char *s = p; n > 0;) {
    ssize_t k = pwrite(fd, s, n, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return false;
    s += k; n -= (size_t)k; at += (size_t)k;
  }
  return true;
}

static header header_of(const kd__rows *r) {
  header h;
  memset(&h, 0, sizeof h);                       /* padding is hashed */
  memcpy(h.magic, magic, sizeof magic);
  h.version = VERSION; h.order = ORDER_MARK;
  h.key[0] = r->spec.key[0]; h.key[1] = r->spec.key[1];
  h.rows = r->spec.rows; h.shard = r->spec.shard; h.ncolumn = r->spec.ncolumn; h.size = (int64_t)r->size;
  h.columns = kd__hash(r->row_bytes, sizeof *r->row_bytes * r->spec.ncolumn, VERSION);
  h.check = kd__hash(&h, offsetof(header, check), VERSION);
  return h;
}

/* Room is asked for at once: a full disk is known before anything is made. */
static bool begin_file(const kd__rows *r) {
  header h = header_of(r);
  bool room = fallocate(r->fd, 0, 0, (off_t)r->size) == 0 || ((errno == EOPNOTSUPP || errno == ENOSYS) && ftruncate(r->fd, (off_t)r->size) == 0);
  return room && write_at(r->fd, &h, sizeof h, 0);
}

static bool is_ours(const kd__rows *r) {
  header h, want = header_of(r);
  return pread(r->fd, &h, sizeof h, 0) == (ssize_t)sizeof h && memcmp(&h, &want, sizeof h) == 0;
}

/* What lies there under this name and is not whole, or something else, makes room for a new file. */
static kd_status open_file(kd__rows *r, const char *path, char *why, size_t n) {
  for (int i = 0; i < TRIES; i++) {
    struct stat st;
    r->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->fd < 0) return kd__why(why, n, KD_E_IO, "%s: %s", path, strerrordesc_np(errno));
    bool right = lock(r->fd, 0, true) && fstat(r->fd, &st) == 0;
    bool begun = right && st.st_size > 0;
    if (right && !begun && !begin_file(r)) {
      kd_status s = kd__why(why, n, KD_E_IO, "%s: %s", path, strerrordesc_np(errno));
      unlink(path);
      close(r->fd);
      r->fd = -1;
      return s;
    }
    right = right && (!begun || ((size_t)st.st_size == r->size && is_ours(r)));
    if (!right) unlink(path);
    if (right) { unlock(r->fd, 0); return KD_OK; }
    close(r->fd);
    r->fd = -1;
  }
  return kd__why(why, n, KD_E_IO, "%s: is in the way, and cannot be removed", path);
}

static bool intact(kd__rows *r, int64_t shard) {
  entry e;
  memcpy(&e, r->base + PAGE + (size_t)shard * sizeof e, sizeof e);
  return e.check != 0 && e.check == check_of(r, shard, e.data) && content(r, shard) == e.data;
}

static kd_status map_file(kd__rows *r, const char *folder, char *why, size_t n) {
  char *path;
  if (asprintf(&path, "%s/%016llx%016llx.kdrows", folder, (unsigned long long)r->spec.key[0], (unsigned long long)r->spec.key[1]) < 0) return KD_E_MEMORY;
  kd_status s = kd__make_folders(folder) ? open_file(r, path, why, n) : kd__why(why, n, KD_E_IO, "%s: %s", folder, strerrordesc_np(errno));
  if (s == KD_OK) {
    void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, 0);
    if (p == MAP_FAILED) s = kd__why(why, n, KD_E_IO, "%s: cannot be mapped: %s", path, strerrordesc_np(errno));
    else r->base = p;
  }
  free(path);
  for (int64_t i = 0; s == KD_OK && i < r->shards; i++) r->there[i] = intact(r, i);
  return s;
}

/* --- opening ---------------------------------------------------------------------------------------------------------------------------------------- */
kd_status kd__rows_open(const kd__rows_spec *s, const char *folder, kd__rows **out, char *why, size_t n) {
  *out = NULL;
  kd__rows *r = calloc(1, sizeof *r);
  if (!r) return kd__why(why, n, KD_E_MEMORY, "out of memory");
  r->spec = *s;
  r->fd = folder ? -2 : -1;
  r->row_bytes = calloc(s->ncolumn + (size_t)1, sizeof *r->row_bytes);
  r->at = calloc(s->ncolumn + (size_t)1, sizeof *r->at);
  kd_status st = r->row_bytes && r->at ? KD_OK : KD_E_MEMORY;
  if (st == KD_OK) {
    memcpy(r->row_bytes, s->row_bytes, sizeof *r->row_bytes * s->ncolumn);
    if (!measure(r)) st = KD_E_MEMORY;
  }
  r->spec.row_bytes = r->row_bytes;
  r->fd = -1;
  if (st == KD_OK && !(r->there = calloc((size_t)r->shards + 1, sizeof *r->there))) st = KD_E_MEMORY;
  if (st == KD_OK && folder) st = map_file(r, folder, why, n);
  else if (st == KD_OK && !(r->base = kd__block_get(r->size))) st = KD_E_MEMORY;
  if (st == KD_OK) { *out = r; return KD_OK; }
  if (st == KD_E_MEMORY) kd__why(why, n, st, "out of memory for rows of %lld samples", (long long)s->rows);
  kd__rows_close(r);
  return st;
}

void kd__rows_close(kd__rows *r) {
  if (!r) return;
  if (r->fd >= 0) {
    if (r->base) munmap(r->base, r->size);
    close(r->fd);
  } else if (r->base) kd__block_free(r->base, r->size);
  free(r->there);
  free(r->row_bytes);
  free(r->at);
  free(r);
}

int64_t kd__rows_shards(const kd__rows *r) { return r->shards; }
const void *kd__rows_column(const kd__rows *r, uint32_t column) { return r->base + r->at[column]; }

/* --- filling ------------------------------------------------------------------------------------------------------------------------------------------ */
kd__rows_state kd__rows_claim(kd__rows *r, int64_t shard) {
  if (r->there[shard]) return KD__ROWS_THERE;
  if (r->fd < 0) return KD__ROWS_MINE;
  if (!lock(r->fd, shard + 1, false)) return KD__ROWS_TAKEN;
  if (!intact(r, shard)) return KD__ROWS_MINE;
  r->there[shard] = true;                        /* another process has made it meanwhile */
  unlock(r->fd, shard + 1);
  return KD__ROWS_THERE;
}

kd_status kd__rows_put(kd__rows *r, uint32_t column, int64_t first, int64_t count, const void *from) {
  size_t at = r->at[column] + (size_t)first * r->row_bytes[column], bytes = (size_t)count * r->row_bytes[column];
  if (r->fd >= 0) return write_at(r->fd, from, bytes, at) ? KD_OK : KD_E_IO;
  memcpy(r->base + at, from, bytes);
  return KD_OK;
}

kd_status kd__rows_done(kd__rows *r, int64_t shard) {
  if (r->fd >= 0) {
    entry e = { .data = content(r, shard) };
    e.check = check_of(r, shard, e.data);
    bool ok = write_at(r->fd, &e, sizeof e, PAGE + (size_t)shard * sizeof e);
    unlock(r->fd, shard + 1);
    if (!ok) return KD_E_IO;
  }
  r->there[shard] = true;
  return KD_OK;
}

/* --- what data holds ------------------------------------------------------------------------------------------------------------------------------------ */
enum { REMEMBERED = 8 << 20 };                   /* bytes from which on */
typedef struct memory { uint64_t seen[5], hash, check; } memory;       /* seen: size, time of change, file, part of it */

static uint64_t memory_check(const memory *m) { return kd__hash(m, offsetof(memory, check), VERSION); }

uint64_t kd__rows_content(const kd__split_data *s, uint32_t field, const char *folder) {
  const kd__column *c = &s->field[field];
  size_t bytes = c->sample_bytes * (size_t)s->count;
  struct stat st;
  char *name = NULL, *real = folder && bytes >= REMEMBERED && !c->row && c->path ? realpath(c->path, NULL) : NULL;
  memory m = { .hash = 0 }, old;
  if (real && stat(real, &st) == 0) {
    uint64_t part = kd__mix(kd__mix((uint64_t)s->first, bytes), kd__mix((uint64_t)c->source->column_from, (uint64_t)c->source->column_to));
    m = (memory){ .seen = { (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ino, part } };
    uint64_t place = kd__hash(real, strlen(real), part);
    if (asprintf(&name, "%s/%016llx.kdhash", folder, (unsigned long long)place) < 0) name = NULL;
  }
  free(real);
  char *text = NULL;
  size_t n = 0;
  if (name && kd__file_read(name, sizeof m, &text, &n, NULL, 0) == KD_OK && n == sizeof old) {
    memcpy(&old, text, sizeof old);
    if (old.check == memory_check(&old) && memcmp(old.seen, m.seen, sizeof m.seen) == 0) m.hash = old.hash;
  }
  free(text);
  if (m.hash) { free(name); return m.hash; }
  m.hash = kd__hash(c->data, bytes, bytes);
  m.check = memory_check(&m);
  if (name) (void)kd__file_write(name, &m, sizeof m, NULL, 0);
  free(name);
  return m.hash;
}
