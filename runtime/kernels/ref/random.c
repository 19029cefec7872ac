/* random.c: twins of the random draws; random.h says which element has which bits. */
#include "runtime/kernels/random.h"
#include "runtime/kernels/ref/ref.h"

typedef void (*draw_fn)(const kd_tensor *o, int64_t to, uint64_t key, uint64_t row, uint64_t i);

static void draw_all(const kd_call *c, draw_fn draw) {
  const kd_tensor *o = &c->out[0], *sample = c->nin > 1 ? &c->in[1] : NULL;
  uint64_t key = kd__random_key((uint64_t)kd__ref_loadi(&c->in[0], 0), (uint64_t)c->attr[0].u.i);
  kd__ref_axes po = kd__ref_every(o);
  int64_t row_size = sample ? kd__ref_count(o->dim + 1, o->rank - 1) : po.count;
  for (int64_t k = 0; k < po.count; k++) {
    uint64_t row = sample ? (uint64_t)kd__ref_loadi(sample, k / row_size * sample->stride[0]) : 0;
    draw(o, kd__ref_pos(&po, k), key, row, (uint64_t)(k % row_size));
  }
}

static void draw_uniform(const kd_tensor *o, int64_t to, uint64_t key, uint64_t row, uint64_t i) {
  if (o->dtype == KD_F32) ((float *)o->data)[to] = kd__random_uniformf_at(key, row, i);
  else kd__ref_store(o, to, kd__random_uniform_at(key, row, i));
}
static void draw_normal(const kd_tensor *o, int64_t to, uint64_t key, uint64_t row, uint64_t i) {
  kd__ref_store(o, to, kd__random_normal_at(key, row, i));
}
static void draw_bits(const kd_tensor *o, int64_t to, uint64_t key, uint64_t row, uint64_t i) {
  kd__ref_storei(o, to, kd__random_bits_at(key, row, i));
}

void kd__ref_random_uniform(const kd_call *c, const kd_exec *x) { (void)x; draw_all(c, draw_uniform); }
void kd__ref_random_normal(const kd_call *c, const kd_exec *x) { (void)x; draw_all(c, draw_normal); }
void kd__ref_random_bits(const kd_call *c, const kd_exec *x) { (void)x; draw_all(c, draw_bits); }
