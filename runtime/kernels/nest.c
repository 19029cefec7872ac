/* nest.c: sorting and merging the dimensions of a strided loop nest. */
#include "runtime/kernels/nest.h"

static int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

/* Does dimension a belong inside dimension b? Judged by the first tensor whose strides there are not 0 and differ. */
static bool inside(const kd__nest *s, int a, int b) {
  for (int i = 0; i < s->n; i++) {
    int64_t x = magnitude(s->stride[i][a]), y = magnitude(s->stride[i][b]);
    if (x == 0 || y == 0 || x == y) continue;
    return x < y;
  }
  return false;
}

static void swap_dims(kd__nest *s, bool *fixed, int a, int b) {
  bool f = fixed[a];
  fixed[a] = fixed[b], fixed[b] = f;
  int64_t v = s->dim[a];
  s->dim[a] = s->dim[b], s->dim[b] = v;
  for (int i = 0; i < s->n; i++) v = s->stride[i][a], s->stride[i][a] = s->stride[i][b], s->stride[i][b] = v;
}

static bool mergeable(const kd__nest *s, int inner, int outer) {
  for (int i = 0; i < s->n; i++)
    if (s->stride[i][outer] != s->stride[i][inner] * s->dim[inner]) return false;
  return true;
}

static void merge_dims(kd__nest *s) {
  int w = 0;
  for (int d = 1; d < s->rank; d++) {
    if (mergeable(s, w, d)) { s->dim[w] *= s->dim[d]; continue; }
    w++;
    s->dim[w] = s->dim[d];
    for (int i = 0; i < s->n; i++) s->stride[i][w] = s->stride[i][d];
  }
  if (s->rank > 0) s->rank = w + 1;
}

void kd__nest_make_raw(kd__nest *s, int n, int rank, const int64_t *dim, const int64_t *const *stride) { kd__nest_make_ordered(s, n, rank, dim, stride, 0); }

void kd__nest_make_ordered(kd__nest *s, int n, int rank, const int64_t *dim, const int64_t *const *stride, uint32_t keep) {
  bool fixed[KD_MAX_RANK];
  s->n = n, s->rank = 0, s->count = 1;
  for (int i = 0; i < n; i++) s->offset[i] = 0;
  for (int d = rank - 1; d >= 0; d--) {
    s->count *= dim[d];
    if (dim[d] == 1) continue;
    bool turn = stride[0][d] < 0 && !(keep >> d & 1);
    s->dim[s->rank] = dim[d], fixed[s->rank] = keep >> d & 1;
    for (int i = 0; i < n; i++) {
      s->stride[i][s->rank] = turn ? -stride[i][d] : stride[i][d];
      if (turn) s->offset[i] += stride[i][d] * (dim[d] - 1);
    }
    s->rank++;
  }
  if (s->count == 0) { s->rank = 0; return; }
  for (int d = 1; d < s->rank; d++)
    for (int e = d; e > 0 && inside(s, e, e - 1) && !(fixed[e] && fixed[e - 1]); e--) swap_dims(s, fixed, e, e - 1);
  merge_dims(s);
}

void kd__nest_make(kd__nest *s, int n, const kd_tensor *const *t) {
  const int64_t *stride[KD__NEST_TENSORS];
  for (int i = 0; i < n; i++) stride[i] = t[i]->stride;
  kd__nest_make_raw(s, n, t[0]->rank, t[0]->dim, stride);
}

void kd__nest_seek(const kd__nest *s, int from, int64_t index, int64_t *pos, int64_t *off) {
  for (int i = 0; i < s->n; i++) off[i] = 0;
  for (int d = from; d < s->rank; d++) {
    pos[d] = index % s->dim[d];
    index /= s->dim[d];
    for (int i = 0; i < s->n; i++) off[i] += pos[d] * s->stride[i][d];
  }
}

bool kd__tensor_packed(const kd_tensor *t) {
  kd__nest s;
  const kd_tensor *one[1] = { t };
  kd__nest_make(&s, 1, one);
  return s.rank == 0 || (s.rank == 1 && s.stride[0][0] == 1 && s.offset[0] == 0);
}

bool kd__tensor_dense(const kd_tensor *t) {
  int64_t want = 1;
  for (int d = t->rank - 1; d >= 0; d--) {
    if (t->dim[d] != 1 && t->stride[d] != want) return false;
    want *= t->dim[d];
  }
  return true;
}
