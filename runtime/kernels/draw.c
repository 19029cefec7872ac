/* draw.c: random draws, 64 Philox blocks (128 elements) side by side: loops of 16 would be unrolled before they are vectorised. random.h says
 * which element has which bits. */
#include "runtime/kernels/move.h"
#include "runtime/kernels/nest.h"
#include "runtime/kernels/par.h"
#include "runtime/kernels/random.h"

enum { BLOCKS = 64, TILE = 2 * BLOCKS };
typedef struct work {
  kd_op op;
  kd_dtype dtype;
  kd__nest s;                                    /* the result in row-major order */
  uint64_t key;
  const kd_tensor *sample;                       /* NULL: one row */
  int64_t row_size;
  char *out;
  size_t size;
} work;

bool kd__draw_takes(const kd_call *c, const kd_kernel_settings *s) {
  (void)s;
  return c->out[0].dtype == KD_F32 || c->out[0].dtype == KD_F64 || c->op == KD_OP_RANDOM_BITS;
}

/* kd__philox for the counters (first + i, row): word k of block i goes to w[k][i]. */
KD_CLONES static void philox_tile(uint64_t key, uint64_t row, uint64_t first, uint32_t w[4][BLOCKS]) {
  uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS], k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int i = 0; i < BLOCKS; i++) {
    uint64_t n = first + (uint64_t)i;
    c0[i] = (uint32_t)n, c1[i] = (uint32_t)(n >> 32), c2[i] = (uint32_t)row, c3[i] = (uint32_t)(row >> 32);
  }
  for (int r = 0; r < 10; r++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u)
    for (int i = 0; i < BLOCKS; i++) {
      uint64_t p0 = (uint64_t)0xd2511f53u * c0[i], p1 = (uint64_t)0xcd9e8d57u * c2[i];
      uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = (uint32_t)p1, c3[i] = (uint32_t)p0, c0[i] = n0, c2[i] = n2;
    }
  for (int i = 0; i < BLOCKS; i++) w[0][i] = c0[i], w[1][i] = c1[i], w[2][i] = c2[i], w[3][i] = c3[i];
}

/* A tile of elements as their type. */
KD_CLONES static void uniform_f32(const uint32_t w[4][BLOCKS], float *o) {
  for (int i = 0; i < BLOCKS; i++) o[2 * i] = (float)(w[1][i] >> 8) * 0x1p-24f, o[2 * i + 1] = (float)(w[3][i] >> 8) * 0x1p-24f;
}
KD_CLONES static void bits_i64(const uint32_t w[4][BLOCKS], int64_t *o) {
  for (int i = 0; i < BLOCKS; i++) {
    o[2 * i] = kd__random_integer((uint64_t)w[1][i] << 32 | w[0][i]);
    o[2 * i + 1] = kd__random_integer((uint64_t)w[3][i] << 32 | w[2][i]);
  }
}
static void join_words(const uint32_t w[4][BLOCKS], uint64_t *o) {
  for (int i = 0; i < BLOCKS; i++) o[2 * i] = (uint64_t)w[1][i] << 32 | w[0][i], o[2 * i + 1] = (uint64_t)w[3][i] << 32 | w[2][i];
}
static void convert(const work *w, const uint32_t words[4][BLOCKS], void *o) {
  uint64_t bits[TILE];
  if (w->op == KD_OP_RANDOM_UNIFORM && w->dtype == KD_F32) { uniform_f32(words, o); return; }
  if (w->op == KD_OP_RANDOM_BITS) { bits_i64(words, o); return; }
  join_words(words, bits);
  for (int i = 0; i < TILE; i += 2) {
    double z[2] = { kd__random_unit(bits[i]), kd__random_unit(bits[i + 1]) };
    if (w->op == KD_OP_RANDOM_NORMAL) kd__random_normals(bits + i, z);
    for (int k = 0; k < 2; k++)
      if (w->dtype == KD_F32) ((float *)o)[i + k] = (float)z[k];
      else ((double *)o)[i + k] = z[k];
  }
}

/* Elements begin..end-1 of the result, all of one row, number `i` in it and on. */
static void run_part(const work *w, uint64_t row, int64_t i, int64_t begin, int64_t end) {
  _Alignas(64) char tile[TILE * 8];
  int64_t pos[KD_MAX_RANK], off[1], z = (int64_t)w->size;
  bool flat = w->s.rank == 0 || (w->s.rank == 1 && w->s.stride[0][0] == 1);
  kd__nest_seek(&w->s, 0, begin, pos, off);
  while (begin < end) {
    uint32_t words[4][BLOCKS];
    int64_t skip = i % TILE, n = kd__min(TILE - skip, end - begin);
    philox_tile(w->key, row, (uint64_t)(i - skip) / 2, words);
    bool whole = flat && n == TILE;
    convert(w, (const uint32_t(*)[BLOCKS])words, whole ? w->out + begin * z : tile);
    if (flat && !whole) memcpy(w->out + begin * z, tile + skip * z, (size_t)(n * z));
    for (int64_t k = skip; !flat && k < skip + n; k++, kd__nest_next(&w->s, 0, pos, off)) memcpy(w->out + off[0] * z, tile + k * z, (size_t)z);
    begin += n, i += n;
  }
}

static void run_range(void *ctx, int64_t begin, int64_t end, int64_t chunk) {
  const work *w = ctx;
  (void)chunk;
  while (begin < end) {
    int64_t r = begin / w->row_size, i = begin % w->row_size, n = kd__min(w->row_size - i, end - begin);
    uint64_t row = w->sample ? (uint64_t)((const int64_t *)w->sample->data)[r * w->sample->stride[0]] : 0;
    run_part(w, row, i, begin, begin + n);
    begin += n;
  }
}

void kd__draw_run(const kd_call *c, const kd_exec *x) {
  const kd_tensor *o = &c->out[0];
  work w = { .op = c->op, .dtype = (kd_dtype)o->dtype, .out = o->data, .size = kd__dtype_size((kd_dtype)o->dtype), .sample = c->nin > 1 ? &c->in[1] : NULL };
  const int64_t *stride[1] = { o->stride };
  kd__nest_make_ordered(&w.s, 1, o->rank, o->dim, stride, UINT32_MAX);
  if (w.s.count == 0) return;
  w.key = kd__random_key((uint64_t)*(const int64_t *)c->in[0].data, (uint64_t)c->attr[0].u.i);
  w.row_size = w.sample ? w.s.count / o->dim[0] : w.s.count;
  kd__par_for(x, w.s.count, kd__par_chunks(x, w.s.count * 8), TILE, run_range, &w);
}
