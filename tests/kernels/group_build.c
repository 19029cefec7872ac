/* group_build.c: see group_build.h. */
#include "tests/kernels/group_build.h"

/* Outputs are kept at the end of the arrays until the inputs are known. */
enum { OUT = T_GROUP_OPERANDS / 2 };

void b_begin(t_group *o, uint32_t rank, const int64_t *size, uint32_t outer) {
  memset(o, 0, sizeof *o);
  o->g.rank = rank, o->g.outer = outer;
  for (uint32_t a = 0; a < rank; a++) o->g.size[a] = size[a];
}

static uint32_t put(t_group *o, kd_group_ins v) {
  v.origin = o->g.nins + 1;
  o->ins[o->g.nins] = v;
  return o->g.nins++;
}

static void dense(const t_group *o, int64_t *stride, uint32_t axes) {
  int64_t n = 1;
  for (int a = (int)o->g.rank - 1; a >= 0; a--) {
    stride[a] = axes >> a & 1 ? n : 0;
    if (axes >> a & 1) n *= o->g.size[a];
  }
}
static uint32_t operand(t_group *o, kd_dtype type, uint32_t axes, const int64_t *stride) {
  uint32_t k = o->g.nin++;
  o->dtype[k] = (uint8_t)type, o->axes[k] = axes;
  if (stride) memcpy(o->stride[k], stride, o->g.rank * sizeof *stride);
  else dense(o, o->stride[k], axes);
  return k;
}

uint32_t b_load(t_group *o, kd_dtype type, uint32_t axes, const int64_t *stride) {
  uint32_t k = operand(o, type, axes, stride);
  return put(o, (kd_group_ins){ .kind = KD_GROUP_LOAD, .dtype = (uint8_t)type, .operand = k, .axes = axes });
}
uint32_t b_index(t_group *o, uint32_t axes, int64_t limit) {
  uint32_t v = b_load(o, KD_I64, axes, NULL);
  o->limit[o->ins[v].operand] = limit;
  return v;
}
uint32_t b_const(t_group *o, double v) { return put(o, (kd_group_ins){ .kind = KD_GROUP_CONST, .dtype = KD_F32, .value = v }); }

static uint32_t elem(t_group *o, kd_op op, kd_dtype to, uint32_t n, const uint32_t *in) {
  kd_group_ins v = { .kind = KD_GROUP_ELEM, .op = (uint16_t)op, .dtype = (uint8_t)to };
  for (uint32_t k = 0; k < n; k++) v.in[k] = in[k], v.axes |= o->ins[in[k]].axes;
  return put(o, v);
}
uint32_t b_one(t_group *o, kd_op op, uint32_t a) { return elem(o, op, op == KD_OP_ISFINITE ? KD_BOOL : (kd_dtype)o->ins[a].dtype, 1, &a); }
uint32_t b_two(t_group *o, kd_op op, uint32_t a, uint32_t b) {
  bool compares = op >= KD_OP_EQ && op <= KD_OP_LE;
  return elem(o, op, compares ? KD_BOOL : (kd_dtype)o->ins[a].dtype, 2, (uint32_t[]){ a, b });
}
uint32_t b_where(t_group *o, uint32_t c, uint32_t a, uint32_t b) { return elem(o, KD_OP_WHERE, (kd_dtype)o->ins[a].dtype, 3, (uint32_t[]){ c, a, b }); }
uint32_t b_cast(t_group *o, kd_dtype to, uint32_t a) { return elem(o, KD_OP_CAST, to, 1, &a); }
uint32_t b_reduce(t_group *o, kd_op op, uint32_t a, uint32_t over) {
  return put(o, (kd_group_ins){ .kind = KD_GROUP_REDUCE, .op = (uint16_t)op, .dtype = o->ins[a].dtype, .in = { a }, .axes = o->ins[a].axes & ~over, .over = over });
}
uint32_t b_spread(t_group *o, uint32_t moments) {
  return put(o, (kd_group_ins){ .kind = KD_GROUP_SPREAD, .dtype = o->ins[moments].dtype, .in = { moments }, .axes = o->ins[moments].axes });
}
uint32_t b_gather(t_group *o, kd_dtype type, uint32_t index, uint32_t axes, int64_t limit) {
  uint32_t k = operand(o, type, axes, NULL);
  int64_t row = 1;
  for (uint32_t a = 0; a < o->g.rank; a++)
    if (axes >> a & 1) row *= o->g.size[a];
  o->limit[k] = limit, o->step[k] = row;
  return put(o, (kd_group_ins){ .kind = KD_GROUP_GATHER, .dtype = (uint8_t)type, .in = { index }, .operand = k, .axes = axes | o->ins[index].axes, .limit = limit, .step = row });
}

void b_store(t_group *o, uint32_t v, int32_t like, bool share) {
  uint32_t k = o->g.nout++, axes = o->ins[v].axes;
  o->dtype[OUT + k] = o->ins[v].dtype, o->axes[OUT + k] = axes, o->shares[k] = share ? like : -1;
  if (like >= 0) memcpy(o->stride[OUT + k], o->stride[like], sizeof o->stride[0]);
  else dense(o, o->stride[OUT + k], axes);
  put(o, (kd_group_ins){ .kind = KD_GROUP_STORE, .dtype = o->ins[v].dtype, .in = { v }, .operand = k, .axes = axes });
}

static void sort_by_phase(t_group *o) {
  kd_group_ins old[T_GROUP_INS];
  uint16_t phase[T_GROUP_INS];
  uint32_t to[T_GROUP_INS], n = 0, most = kd__group_phases(&o->g, phase);
  memcpy(old, o->ins, sizeof old);
  for (uint32_t f = 0; f <= most; f++)
    for (uint32_t i = 0; i < o->g.nins; i++)
      if (phase[i] == f) to[i] = n, o->ins[n++] = old[i];
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < kd__group_operands(&o->ins[i]); k++) o->ins[i].in[k] = to[o->ins[i].in[k]];
}

void b_end(t_group *o) {
  memmove(o->stride[o->g.nin], o->stride[OUT], o->g.nout * sizeof o->stride[0]);
  memmove(o->dtype + o->g.nin, o->dtype + OUT, o->g.nout);
  memmove(o->axes + o->g.nin, o->axes + OUT, o->g.nout * sizeof o->axes[0]);
  t_group_close(o);
  sort_by_phase(o);
  o->g.hash = kd__group_hash(&o->g);
}
