/* call.c: see call.h. */
#include "tests/kernels/call.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATTERN = 0xA5 };

/* --- text to case ------------------------------------------------------------------------------------------------------------- */
static int64_t parse_list(const char *s, int64_t *list, uint32_t *n, const char **end) {
  *n = 0;
  while ((*s >= '0' && *s <= '9') || *s == '-') {
    char *e;
    list[(*n)++] = strtoll(s, &e, 10);
    s = e;
    if (*s == ',') s++;
  }
  *end = s;
  return *n ? list[0] : 0;
}
static bool parse_types(const char *s, kd_type *t, uint32_t *count) {
  *count = 0;
  while (*s) {
    size_t n = strcspn(s, "[");
    kd_dtype d;
    uint32_t rank;
    if (!kd__dtype_parse(s, n, &d)) return false;
    kd_type *o = &t[(*count)++];
    *o = (kd_type){ .dtype = (uint8_t)d };
    parse_list(s + n + 1, o->dim, &rank, &s);
    o->rank = (uint8_t)rank;
    if (*s++ != ']') return false;
    while (*s == ' ') s++;
  }
  return true;
}
static bool parse_attr(t_case *c, int i, const kd_attr_spec *spec, const char *text) {
  char key[32];
  snprintf(key, sizeof key, "%s=", spec->name);
  const char *v = text;
  while (v && !(strncmp(v, key, strlen(key)) == 0 && (v == text || v[-1] == ' '))) v = strchr(v, ' ') ? strchr(v, ' ') + 1 : NULL;
  c->attr[i] = (kd_attr){ .kind = spec->kind };
  if (!v) return false;
  v += strlen(key);
  if (spec->kind == 'f') c->attr[i].u.f = strtod(v, NULL);
  if (spec->kind == 'i') c->attr[i].u.i = strtoll(v, NULL, 10);
  if (spec->kind == 'I') {
    parse_list(v, c->lists[i], &c->attr[i].n, &v);
    c->attr[i].u.list = c->lists[i];
  }
  if (spec->kind == 't') {
    kd_dtype d;
    if (!kd__dtype_parse(v, strcspn(v, " "), &d)) return false;
    c->attr[i].u.i = d;
  }
  return true;
}
bool t_parse(t_case *c, const char *op, const char *in, const char *out, const char *attrs) {
  memset(c, 0, sizeof *c);
  if (!kd__op_parse(op, strlen(op), &c->op) || !parse_types(in, c->in, &c->nin) || !parse_types(out, c->out, &c->nout)) return false;
  const kd_op_info *info = kd__op_info(c->op);
  for (int i = 0; i < info->nattr; i++) {
    if (strcmp(info->attr[i].name, "dtype") == 0) { c->attr[i] = (kd_attr){ .kind = 't', .u.i = c->out[0].dtype }; continue; }
    if (c->nin == 0 && strcmp(info->attr[i].name, "shape") == 0) { c->attr[i] = (kd_attr){ .kind = 'I', .n = c->out[0].rank, .u.list = c->out[0].dim }; continue; }
    if (info->cls == KD_CLASS_RANDOM && strcmp(info->attr[i].name, "shape") == 0) { c->attr[i] = (kd_attr){ .kind = 'I', .n = c->out[0].rank, .u.list = c->out[0].dim }; continue; }
    if (!parse_attr(c, i, &info->attr[i], attrs)) return false;
  }
  return true;
}

/* --- tensors ------------------------------------------------------------------------------------------------------------------- */
uint64_t t_random(uint64_t *state) {
  *state += 0x9e3779b97f4a7c15u;
  uint64_t z = *state;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
double t_uniform(uint64_t *state) { return (double)(t_random(state) >> 11) * 0x1p-53; }

void t_make(t_tensor *o, const kd_type *type, t_layout layout, bool operand, uint64_t *state) {
  int r = type->rank, order[KD_MAX_RANK];
  for (int i = 0; i < r; i++) order[i] = i, o->dim[i] = type->dim[i];
  if (layout == T_NHWC && r >= 3) {              /* axis 1 innermost */
    for (int i = 1; i < r - 1; i++) order[i] = i + 1;
    order[r - 1] = 1;
  }
  if (layout == T_RANDOM)
    for (int i = r - 1; i > 0; i--) {
      int j = (int)(t_random(state) % (uint64_t)(i + 1)), v = order[i];
      order[i] = order[j], order[j] = v;
    }
  int64_t step = 1, first = 0;
  if (layout == T_RANDOM && t_random(state) % 4 == 0) step = 2;
  for (int i = r - 1; i >= 0; i--) {
    int d = order[i];
    o->stride[d] = step;
    if (operand && layout == T_BROADCAST && t_random(state) % 2) { o->stride[d] = 0; continue; }
    step *= o->dim[d] ? o->dim[d] : 1;
    if (layout == T_RANDOM && t_random(state) % 4 == 0) step += 3;
    if (layout == T_RANDOM && t_random(state) % 4 == 0 && o->dim[d] > 0) first += (o->dim[d] - 1) * o->stride[d], o->stride[d] = -o->stride[d];
  }
  size_t z = kd__dtype_size((kd_dtype)type->dtype);
  o->size = ((size_t)step + 16) * z;
  o->whole = aligned_alloc(64, (o->size + 127) / 64 * 64);
  memset(o->whole, PATTERN, o->size);
  o->t = (kd_tensor){ o->whole + (size_t)first * z, o->dim, o->stride, type->dtype, type->rank };
}
void t_free(t_tensor *o) { free(o->whole); }

int64_t t_count(const kd_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}
static int64_t offset(const kd_tensor *t, int64_t k) {
  int64_t at = 0;
  for (int i = t->rank - 1; i >= 0; i--) at += k % t->dim[i] * t->stride[i], k /= t->dim[i];
  return at;
}
/* Offsets one after the other, in row-major order. */
typedef struct walk { int64_t pos[KD_MAX_RANK], at; } walk;
static void step(walk *w, const kd_tensor *t) {
  for (int d = t->rank - 1; d >= 0; d--) {
    w->at += t->stride[d];
    if (++w->pos[d] < t->dim[d]) return;
    w->pos[d] = 0;
    w->at -= t->stride[d] * t->dim[d];
  }
}
static double load(const kd_tensor *t, int64_t at) {
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return (double)((float *)t->data)[at];
    case KD_F64: return ((double *)t->data)[at];
    case KD_I64: return (double)((int64_t *)t->data)[at];
    default: return ((uint8_t *)t->data)[at];
  }
}
double t_load(const kd_tensor *t, int64_t k) { return load(t, offset(t, k)); }
static void put(const kd_tensor *t, int64_t at, double v) {
  switch ((kd_dtype)t->dtype) {
    case KD_F32: ((float *)t->data)[at] = (float)v; break;
    case KD_F64: ((double *)t->data)[at] = v; break;
    case KD_I64: ((int64_t *)t->data)[at] = (int64_t)v; break;
    default: ((uint8_t *)t->data)[at] = (uint8_t)v; break;
  }
}

static bool is_index(const t_case *c, uint32_t i) {
  return i == 1 && (c->op == KD_OP_GATHER || c->op == KD_OP_SCATTER_ADD || c->op == KD_OP_SCATTER_SET);
}
static bool positive(const t_case *c, uint32_t i) {
  switch (c->op) {
    case KD_OP_LOG: case KD_OP_SQRT: case KD_OP_RSQRT: return true;
    case KD_OP_POW: return i == 0;
    case KD_OP_XLOGY: return i == 1;
    default: return false;
  }
}
/* Operands of gather_dot and gather_sum that fit each other: each place of a block once (up, then down), parts of equal length, in a part rows that lie together. */
static double order(const t_case *c, uint32_t i, int64_t at, uint64_t *state) {
  int64_t rows = c->in[1].dim[0], b = c->in[2].dim[0], k = c->in[2].dim[1], blocks = c->in[3].dim[0], parts = c->in[3].dim[1] - 1, block = i == 3 ? at / (parts + 1) : 0;
  while (i == 2 && b * (block + 1) / blocks * k <= at) block++;
  int64_t begin = b * block / blocks * k, places = b * (block + 1) / blocks * k - begin;
  if (i == 3) return (double)(at % (parts + 1) * places / parts);
  at -= begin;
  int64_t part = at * parts / places, first = part * rows / parts, span = rows >= parts ? rows / parts : 1;
  return (double)(first + (int64_t)(t_random(state) % (uint64_t)span)) * 0x1p32 + (double)(at < places / 2 ? at : places - 1 - (at - places / 2));
}
void t_fill(t_tensor *o, const t_case *c, uint32_t i, bool special, uint64_t *state) {
  static const double odd[] = { NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30, 88.9, -104.0, 1.0, -1.0 };
  int64_t n = t_count(&o->t);
  walk to = { 0 };
  for (int64_t k = 0; k < n; k++, step(&to, &o->t)) {
    double v = t_uniform(state) * 6 - 3;
    switch ((kd_dtype)o->t.dtype) {
      case KD_BOOL: v = v > 0; break;
      case KD_U8: v = floor((v + 3) * 42); break;
      case KD_I64: v = floor(v * 20); break;
      default:
        if (positive(c, i)) v = 0.01 + fabs(v);
        if (t_random(state) % 5 == 0) v = floor(v);     /* equal values, for ties */
        if (special && t_random(state) % 7 == 0) v = odd[t_random(state) % (sizeof odd / sizeof odd[0])];
    }
    if (is_index(c, i)) {
      int64_t rows = c->in[0].dim[c->attr[0].u.i];
      v = (double)(t_random(state) % (uint64_t)rows);
      if (c->op != KD_OP_GATHER && c->attr[1].u.i && t_random(state) % 5 == 0) v = -1;
    }
    if (c->op == KD_OP_INDEX_ORDER) v = (double)(t_random(state) % (uint64_t)c->attr[0].u.i);
    if ((c->op == KD_OP_GATHER_DOT || c->op == KD_OP_GATHER_SUM) && i >= 2) v = order(c, i, k, state);
    put(&o->t, to.at, v);
  }
}

/* --- running -------------------------------------------------------------------------------------------------------------------- */
typedef struct running { const kd_kernel *k; const kd_call *call; } running;
static void run_kernel(void *ctx, const kd_exec *x) {
  const running *r = ctx;
  r->k->run(r->call, x);
}

static const char *run_call(const t_case *c, const t_tensor *in, t_tensor *out, t_settings s, bool twin, bool program, kd__team *team) {
  kd_tensor ti[T_MAX], to[T_MAX];
  for (uint32_t i = 0; i < c->nin; i++) ti[i] = in[i].t;
  for (uint32_t i = 0; i < c->nout; i++) to[i] = out[i].t;
  kd_call call = { .op = c->op, .nin = c->nin, .nout = c->nout, .in = ti, .out = to, .attr = c->attr };
  kd_fault fault = { 0 };
  kd_exec x = { .threads = s.threads, .deterministic = s.deterministic, .fault = &fault, .team = team };
  if (twin) { kd__ref_run(&call, &x); return "ref"; }
  kd_kernel_settings set = { .threads = s.threads, .deterministic = s.deterministic, .use_dnnl = s.dnnl, .winograd = s.winograd ? KD_WINOGRAD_ON : KD_WINOGRAD_OFF };
  const kd_kernel *k = kd__kernel_find(&call, &set);
  size_t scratch = k->scratch ? k->scratch(&call, &set) : 0;
  if (k->prepare && k->prepare(&call, &set) != KD_OK) return "could not be prepared";
  unsigned char *room = aligned_alloc(64, (scratch + 64 + 127) / 64 * 64);
  memset(room, PATTERN, scratch + 64);
  x.scratch = room;
  if (program) kd__team_run(&x, run_kernel, &(running){ k, &call });
  else k->run(&call, &x);
  const char *name = k->name;
  for (int i = 0; i < 64; i++)
    if (room[scratch + (size_t)i] != PATTERN) name = "wrote behind its scratch";
  if (k->release) k->release(call.prepared);
  free(room);
  return name;
}
const char *t_run(const t_case *c, const t_tensor *in, t_tensor *out, t_settings s, bool twin) {
  bool large = t_count(&out[0].t) > 30000 || (c->nin > 0 && t_count(&in[0].t) > 30000);  /* small ones would spend the test on making teams */
  return run_call(c, in, out, s, twin, !s.deterministic && large, NULL);
}
const char *t_run_with(const t_case *c, const t_tensor *in, t_tensor *out, t_settings s, kd__team *team) {
  return run_call(c, in, out, s, false, false, team);
}

const char *t_compare(const t_tensor *a, const t_tensor *want, double tol) {
  static char text[160];
  int64_t n = t_count(&a->t);
  double scale = 0, rel = fabs(tol);
  walk wa = { 0 }, ww = { 0 };
  for (int64_t k = 0; tol > 0 && k < n; k++, step(&ww, &want->t)) {
    double v = fabs(load(&want->t, ww.at));
    if (isfinite(v) && v > scale && v < 1e20) scale = v;
  }
  ww = wa;
  for (int64_t k = 0; k < n; k++, step(&wa, &a->t), step(&ww, &want->t)) {
    double x = load(&a->t, wa.at), w = load(&want->t, ww.at);
    if ((x != x && w != w) || x == w) continue;
    if (fabs(x - w) <= rel * (fabs(w) + (tol < 0 ? 0 : scale)) + (tol > 0 ? 1e-10 : tol < 0 ? 1e-37 : 0)) continue;
    snprintf(text, sizeof text, "element %lld is %.9g, not %.9g", (long long)k, x, w);
    return text;
  }
  return "";
}
bool t_same_bits(const t_tensor *a, const t_tensor *b) { return a->size == b->size && memcmp(a->whole, b->whole, a->size) == 0; }

bool t_untouched(const t_tensor *a) {
  size_t z = kd__dtype_size((kd_dtype)a->t.dtype);
  unsigned char *copy = malloc(a->size);
  memcpy(copy, a->whole, a->size);
  int64_t n = t_count(&a->t), base = (unsigned char *)a->t.data - a->whole;
  walk w = { 0 };
  for (int64_t k = 0; k < n; k++, step(&w, &a->t)) memset(copy + base + w.at * (int64_t)z, PATTERN, z);
  bool ok = true;
  for (size_t i = 0; i < a->size; i++) ok &= copy[i] == PATTERN;
  free(copy);
  return ok;
}
