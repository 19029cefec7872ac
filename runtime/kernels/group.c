/* group.c: what all back ends of fused groups share: the check, phases, who may share memory, the hash and the text form. */
#include "runtime/kernels/group.h"
#include <stdio.h>

typedef struct check { const kd_group *g; uint16_t phase[KD_GROUP_MAX_INS]; char *why; size_t n; } check;

static bool wrong(check *c, uint32_t i, const char *what) {
  if (i < c->g->nins) snprintf(c->why, c->n, "instruction %u: %s", i, what);
  else snprintf(c->why, c->n, "%s", what);
  return false;
}
#define NEED(cond, what) do { if (!(cond)) return wrong(c, i, what); } while (0)

static bool makes_value(const kd_group_ins *v) { return v->kind != KD_GROUP_STORE && v->kind != KD_GROUP_CHECK; }
static uint32_t axes_of(const kd_group *g) { return g->rank ? (uint32_t)((1ull << g->rank) - 1) : 0; }

uint32_t kd__group_operands(const kd_group_ins *v) {
  static const int8_t count[KD_GROUP_KINDS] = {
#define KD_GROUP_INS(ID, name, nin, doc) [KD_GROUP_##ID] = nin,
#include "runtime/kernels/group.def"
#undef KD_GROUP_INS
  };
  return count[v->kind] >= 0 ? (uint32_t)count[v->kind] : (uint32_t)kd__op_info((kd_op)v->op)->nin;
}

bool kd__group_final(const kd_group *g, uint32_t i) {
  const kd_group_ins *v = &g->ins[i];
  if (v->kind == KD_GROUP_SPREAD) return kd__group_final(g, i - 1);
  return v->kind == KD_GROUP_REDUCE && (v->over & g->outer) != 0;
}

/* --- the check ------------------------------------------------------------------------------------------------------------------------- */
/* The shape rules of element-wise rows of ops.def, as far as element types go. */
static bool elem_types(const kd_group *g, const kd_group_ins *v) {
  static const char *const rule[KD_OP_COUNT] = {
#define KD_OP(ID, name, class, nin, nout, attrs, shape, ...) [KD_OP_##ID] = #shape,
#include "runtime/op/ops.def"
#undef KD_OP
  };
  const char *r = rule[v->op];
  kd_dtype a = (kd_dtype)g->ins[v->in[0]].dtype, to = (kd_dtype)v->dtype;
  uint32_t n = kd__group_operands(v);
  if (strcmp(r, "cast") == 0) return to != KD_U8;
  for (uint32_t k = strcmp(r, "where") == 0 ? 2 : 1; k < n; k++)
    if (g->ins[v->in[k]].dtype != g->ins[v->in[k - 1]].dtype) return false;
  if (a == KD_U8) return false;
  if (strcmp(r, "where") == 0) return a == KD_BOOL && g->ins[v->in[1]].dtype == to && to != KD_U8;
  if (strcmp(r, "compare") == 0) return to == KD_BOOL;
  if (strcmp(r, "predicate") == 0) return kd__dtype_real(a) && to == KD_BOOL;
  if (a != to) return false;
  if (strcmp(r, "real") == 0) return kd__dtype_real(a);
  if (strcmp(r, "bools") == 0) return a == KD_BOOL;
  if (strcmp(r, "ints") == 0) return a == KD_I64;
  return v->op == KD_OP_STOP || a != KD_BOOL;
}

static bool reduce_types(const kd_group *g, const kd_group_ins *v) {
  kd_dtype a = (kd_dtype)g->ins[v->in[0]].dtype;
  if (a != v->dtype) return false;
  switch ((kd_op)v->op) {
    case KD_OP_SUM: case KD_OP_REDUCE_MAX: case KD_OP_REDUCE_MIN: return kd__dtype_real(a) || a == KD_I64;
    case KD_OP_ANY: case KD_OP_ALL: return a == KD_BOOL;
    case KD_OP_MOMENTS: return kd__dtype_real(a);
    default: return false;
  }
}

static bool one_axis(uint32_t m) { return m != 0 && (m & (m - 1)) == 0; }

/* An operand repeats its elements along the axes that it does not vary over. */
static bool strides_fit(const kd_group *g, uint32_t operand, uint32_t axes) {
  for (uint32_t a = 0; a < g->rank; a++)
    if (!(axes >> a & 1) && g->size[a] > 1 && g->stride[operand][a] != 0) return false;
  return true;
}

static bool memory(check *c, uint32_t i) {
  const kd_group *g = c->g;
  const kd_group_ins *v = &g->ins[i];
  bool store = v->kind == KD_GROUP_STORE;
  NEED(v->operand < (store ? g->nout : g->nin), "no such operand");
  uint32_t o = store ? g->nin + v->operand : v->operand;
  NEED(v->dtype == g->dtype[o], "another element type than its operand");
  NEED(strides_fit(g, o, v->axes), "strides along an axis that it does not vary over");
  if (!store) return true;
  for (uint32_t a = 0; a < g->rank; a++) NEED(!(v->axes >> a & 1) || g->size[a] == 1 || g->stride[o][a] != 0, "elements stored twice");
  for (uint32_t j = 0; j < i; j++) NEED(g->ins[j].kind != KD_GROUP_STORE || g->ins[j].operand != v->operand, "an output that was stored before");
  return true;
}

static bool instruction(check *c, uint32_t i) {
  const kd_group *g = c->g;
  const kd_group_ins *v = &g->ins[i];
  NEED(v->kind < KD_GROUP_KINDS && v->dtype < KD_DTYPE_COUNT, "no such kind or element type");
  NEED((v->axes & ~axes_of(g)) == 0, "no such axis");
  if (v->kind == KD_GROUP_ELEM) NEED(v->op < KD_OP_COUNT && kd__op_info((kd_op)v->op)->cls == KD_CLASS_ELEM, "not an element-wise operator");
  uint32_t n = kd__group_operands(v), domain = 0, phase = 0;
  for (uint32_t k = 0; k < n; k++) {
    NEED(v->in[k] < i && makes_value(&g->ins[v->in[k]]), "an operand that is no earlier value");
    NEED(!kd__group_final(g, v->in[k]) || v->kind == KD_GROUP_STORE || v->kind == KD_GROUP_SPREAD, "a reduction over outer axes is read");
    domain |= g->ins[v->in[k]].axes;
    if (c->phase[v->in[k]] > phase) phase = c->phase[v->in[k]];
  }
  const kd_group_ins *a = n ? &g->ins[v->in[0]] : v;
  bool loaded = v->kind == KD_GROUP_LOAD || v->kind == KD_GROUP_GATHER;
  NEED(loaded || v->kind == KD_GROUP_STORE || v->dtype != KD_U8, "only memory holds u8");
  switch ((kd_group_kind)v->kind) {
    case KD_GROUP_LOAD: if (!memory(c, i)) return false; break;
    case KD_GROUP_GATHER:
      NEED(a->dtype == KD_I64 && v->limit >= 0, "an index that is no i64, or a negative limit");
      NEED((domain & ~v->axes) == 0, "it does not vary over an axis of its index");
      if (!memory(c, i)) return false;
      break;
    case KD_GROUP_CONST: NEED(v->axes == 0, "a constant has no axes"); break;
    case KD_GROUP_IOTA: NEED(one_axis(v->over) && v->axes == v->over, "not along one axis"); NEED(v->dtype != KD_BOOL, "a position is no bool"); break;
    case KD_GROUP_ELEM: NEED(elem_types(g, v), "element types"); NEED(v->axes == domain, "another domain than its operands'"); break;
    case KD_GROUP_REDUCE:
      NEED(v->over != 0 && (v->over & ~domain) == 0 && v->axes == (domain & ~v->over), "axes that do not fit its operand");
      NEED(reduce_types(g, v), "not a reduction of this element type");
      phase += (v->over & g->outer) == 0;
      break;
    case KD_GROUP_SPREAD:
      NEED(v->in[0] + 1 == i && a->kind == KD_GROUP_REDUCE && a->op == KD_OP_MOMENTS, "the moments do not stand right before it");
      NEED(v->axes == a->axes && v->dtype == a->dtype, "not like its moments");
      break;
    case KD_GROUP_CHECK: NEED(a->dtype == KD_I64 && v->limit >= 0 && v->axes == domain, "not an index with its domain"); break;
    case KD_GROUP_STORE:
      NEED(v->dtype == a->dtype, "another element type than its value");
      NEED((domain & ~v->axes) == 0 && (v->axes == domain || !kd__group_final(g, v->in[0])), "it does not vary over an axis of its value");
      if (!memory(c, i)) return false;
      break;
    case KD_GROUP_KINDS: break;
  }
  c->phase[i] = (uint16_t)phase;
  NEED(i == 0 || phase >= c->phase[i - 1], "not in the order of phases");
  return true;
}

bool kd__group_valid(const kd_group *g, char *why, size_t n) {
  check all = { .g = g, .why = why, .n = n }, *c = &all;
  uint32_t i = g->nins, stores = 0;
  bool f32 = false, f64 = false;
  int64_t count = 1;
  NEED(g->rank <= KD_GROUP_AXES && (g->outer & ~axes_of(g)) == 0, "too many axes, or an outer one that is none");
  NEED(g->nins <= KD_GROUP_MAX_INS && g->nin <= KD_GROUP_MAX_INS && g->nout <= KD_GROUP_MAX_INS, "too large");
  for (uint32_t a = 0; a < g->rank; a++) NEED(g->size[a] >= 1 && !__builtin_mul_overflow(count, g->size[a], &count), "a size below 1, or too many points");
  for (i = 0; i < g->nins; i++) {
    if (!instruction(c, i)) return false;
    const kd_group_ins *v = &g->ins[i];
    stores += v->kind == KD_GROUP_STORE;
    f32 |= v->dtype == KD_F32 && makes_value(v), f64 |= v->dtype == KD_F64 && makes_value(v);
  }
  NEED(stores == g->nout, "an output that is not stored");
  NEED(!(f32 && f64), "values of f32 and of f64");
  return true;
}
#undef NEED

uint32_t kd__group_phases(const kd_group *g, uint16_t *phase) {
  uint32_t most = 0;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    uint32_t n = kd__group_operands(v), p = 0;
    for (uint32_t k = 0; k < n; k++)
      if (phase[v->in[k]] > p) p = phase[v->in[k]];
    phase[i] = (uint16_t)(p + (v->kind == KD_GROUP_REDUCE && (v->over & g->outer) == 0));
    if (phase[i] > most) most = phase[i];
  }
  return most;
}

double kd__group_effort(const kd_group *g) {
  double sum = 0;
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    bool dear = v->kind == KD_GROUP_ELEM && ((v->op >= KD_OP_EXP && v->op <= KD_OP_LOG1P) || (v->op >= KD_OP_SIN && v->op <= KD_OP_ERF) || v->op == KD_OP_POW || v->op == KD_OP_XLOGY);
    double n = v->kind == KD_GROUP_CONST ? 0 : dear ? 6 : 1;
    for (uint32_t a = 0; a < g->rank; a++)
      if ((v->axes | (v->kind == KD_GROUP_REDUCE ? v->over : 0)) >> a & 1) n *= (double)g->size[a];
    sum += n;
  }
  return sum;
}

/* --- sharing ----------------------------------------------------------------------------------------------------------------------------- */
static uint32_t long_axes(const kd_group *g, uint32_t axes) {
  for (uint32_t a = 0; a < g->rank; a++)
    if (g->size[a] == 1) axes &= ~(1u << a);
  return axes;
}

/* The last rule of group.h: nothing that would have to look at `in` again comes to a point after the STORE has been there. `from[j]`: made from an
 * element of `in` at the same point, by way of any instructions but reductions. */
static bool read_before(const kd_group *g, uint32_t in, uint32_t store, const uint16_t *phase) {
  bool from[KD_GROUP_MAX_INS], direct[KD_GROUP_MAX_INS];
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    uint32_t n = kd__group_operands(v);
    from[i] = direct[i] = v->kind == KD_GROUP_LOAD && v->operand == in;
    bool user = false;
    for (uint32_t k = 0; k < n; k++) user |= direct[v->in[k]], from[i] |= from[v->in[k]];
    if ((direct[i] || user) && i > store) return false;
    if (from[i] && phase[i] > phase[store] && v->kind != KD_GROUP_REDUCE) return false;
    if (from[i] && phase[i] == phase[store] && (long_axes(g, v->axes) & ~long_axes(g, g->ins[store].axes))) return false;
    if (v->kind == KD_GROUP_REDUCE || v->kind == KD_GROUP_SPREAD) from[i] = false;
  }
  return true;
}

bool kd__group_may_share(const kd_group *g, uint32_t in, uint32_t out) {
  uint32_t store = g->nins, load = g->nins, o = g->nin + out;
  uint16_t phase[KD_GROUP_MAX_INS];
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    if (v->kind == KD_GROUP_STORE && v->operand == out) store = i;
    if (v->kind == KD_GROUP_GATHER && v->operand == in) return false;
    if (v->kind == KD_GROUP_LOAD && v->operand == in) {
      if (load < g->nins && long_axes(g, g->ins[load].axes) != long_axes(g, v->axes)) return false;
      load = i;
    }
  }
  if (store == g->nins || load == g->nins || g->dtype[in] != g->dtype[o]) return false;
  uint32_t axes = long_axes(g, g->ins[store].axes);
  if (long_axes(g, g->ins[load].axes) != axes || (long_axes(g, g->outer) & ~axes) || kd__group_final(g, g->ins[store].in[0])) return false;
  for (uint32_t a = 0; a < g->rank; a++)
    if (g->size[a] > 1 && g->stride[in][a] != g->stride[o][a]) return false;
  kd__group_phases(g, phase);
  return read_before(g, in, store, phase);
}

/* --- hash and text --------------------------------------------------------------------------------------------------------------------- */
uint64_t kd__group_hash(const kd_group *g) {
  uint64_t h = kd__mix(kd__mix(g->rank, g->outer), kd__mix(g->nins, kd__mix(g->nin, g->nout)));
  h = kd__hash(g->size, g->rank * sizeof *g->size, h);
  for (uint32_t i = 0; i < g->nins; i++) {
    const kd_group_ins *v = &g->ins[i];
    uint64_t part[] = { v->kind, v->dtype, v->op, v->in[0], v->in[1], v->in[2], v->operand, v->axes, v->over, (uint64_t)v->limit, (uint64_t)v->step };
    h = kd__hash(part, sizeof part, h);
    h = kd__hash(&v->value, sizeof v->value, h);
  }
  for (uint32_t o = 0; o < g->nin + g->nout; o++) h = kd__hash(g->stride[o], g->rank * sizeof(int64_t), kd__mix(h, g->dtype[o]));
  return h;
}

static void put_axes(kd__buf *o, uint32_t axes) {
  const char *before = "";
  for (int a = 0; a < 32; a++)
    if (axes >> a & 1) kd__buf_printf(o, "%s%d", before, a), before = ",";
}

static void put_operand(const kd_group *g, uint32_t operand, kd__buf *o) {
  bool input = operand < g->nin;
  kd__buf_printf(o, " %s%u[", input ? "in" : "out", input ? operand : operand - g->nin);
  for (uint32_t a = 0; a < g->rank; a++) kd__buf_printf(o, "%s%lld", a ? "," : "", (long long)g->stride[operand][a]);
  kd__buf_puts(o, "]");
}

static void put_instruction(const kd_group *g, uint32_t i, kd__buf *o) {
  static const char *const kind[KD_GROUP_KINDS] = {
#define KD_GROUP_INS(ID, name, nin, doc) [KD_GROUP_##ID] = #name,
#include "runtime/kernels/group.def"
#undef KD_GROUP_INS
  };
  const kd_group_ins *v = &g->ins[i];
  uint32_t n = kd__group_operands(v);
  bool named = v->kind == KD_GROUP_ELEM || v->kind == KD_GROUP_REDUCE;
  if (makes_value(v)) kd__buf_printf(o, "v%u = ", i);
  kd__buf_puts(o, named ? kd__op_info((kd_op)v->op)->name : kind[v->kind]);
  if (v->kind == KD_GROUP_LOAD || v->kind == KD_GROUP_GATHER) put_operand(g, v->operand, o);
  if (v->kind == KD_GROUP_STORE) put_operand(g, g->nin + v->operand, o);
  for (uint32_t k = 0; k < n; k++) kd__buf_printf(o, " v%u", v->in[k]);
  if (v->kind == KD_GROUP_CONST) kd__buf_printf(o, " %.17g", v->value);
  if (v->kind == KD_GROUP_REDUCE) kd__buf_puts(o, kd__group_final(g, i) ? " finally over " : " over "), put_axes(o, v->over);
  if (v->kind == KD_GROUP_GATHER) kd__buf_printf(o, " limit %lld step %lld", (long long)v->limit, (long long)v->step);
  if (v->kind == KD_GROUP_CHECK) kd__buf_printf(o, " limit %lld", (long long)v->limit);
  kd__buf_printf(o, ": %s", kd__dtype_name((kd_dtype)v->dtype));
  if (v->axes) kd__buf_puts(o, " by "), put_axes(o, v->axes);
  kd__buf_putc(o, '\n');
}

void kd__group_print(const kd_group *g, kd__buf *out) {
  kd__buf_puts(out, "axes ");
  for (uint32_t a = 0; a < g->rank; a++) kd__buf_printf(out, "%s%lld", a ? " x " : "", (long long)g->size[a]);
  if (g->outer) kd__buf_puts(out, g->rank ? ", outer " : "outer "), put_axes(out, g->outer);
  kd__buf_putc(out, '\n');
  for (uint32_t i = 0; i < g->nins; i++) put_instruction(g, i, out);
}
