/* rig.c: see rig.h. */
#include "tests/plan/rig.h"
#include "runtime/exec/bound.h"
#include <math.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void noted(void *ctx, const kd_plan_note *n) {
  rig *r = ctx;
  r->notes++;
  r->note = *n;
}

void rig_plan(rig *r, kd__arena *a, kd_graph *g, const kd_random_slot *slot, size_t nslot, rig_places places) {
  rig_plan_at(r, a, g, slot, nslot, places, KD__SIDE_PRICE);
}

void rig_plan_at(rig *r, kd__arena *a, kd_graph *g, const kd_random_slot *slot, size_t nslot, rig_places places, double price) {
  *r = (rig){ .a = a, .g = g, .data = slot, .nslot = nslot };
  r->slot = KD_NEWN(a, kd_slot, nslot + 1);
  int64_t end[KD_DTYPE_COUNT] = { 0 };
  for (size_t i = 0; i < nslot; i++) {
    const kd_type *t = &slot[i].type;
    r->slot[i] = (kd_slot){ .name = kd__arena_printf(a, "s%zu", i), .kind = KD_SLOT_STATE, .type = *t, .block = KD_DTYPE_COUNT + (uint32_t)i };
    if (places == RIG_APART) continue;
    r->slot[i].block = t->dtype, r->slot[i].offset = end[t->dtype];
    end[t->dtype] += kd__type_count(t) * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  }
  for (size_t i = 1; i < g->node.n; i++) g->node.v[i].origin = (kd_origin)i;
  r->plan = kd__plan_make_at(a, g, r->slot, (uint32_t)nslot, "test", price, noted, r);
  assert_non_null(r->plan);
}

static void slot_type(kd_random_slot *slot, size_t *n, int64_t at, const kd_type *t) {
  assert_in_range(at, 0, 63);
  slot[at].type = *t;
  if ((size_t)at + 1 > *n) *n = (size_t)at + 1;
}

/* Contents for a slot: integers run through 0, 1, 2; reals take both signs. */
static void *contents(kd__arena *a, const kd_type *t, uint64_t seed) {
  int64_t n = kd__type_count(t);
  char *p = kd__arena_get(a, kd__dtype_size((kd_dtype)t->dtype) * (size_t)(n + 1));
  for (int64_t i = 0; i < n; i++) {
    double v = (double)(kd__mix(seed, (uint64_t)i) % 4001) / 1000 - 2;
    if (t->dtype == KD_F32) ((float *)p)[i] = (float)v;
    else if (t->dtype == KD_F64) ((double *)p)[i] = v;
    else if (t->dtype == KD_I64) ((int64_t *)p)[i] = i % 3;
    else ((uint8_t *)p)[i] = (uint8_t)(i % 2);
  }
  return p;
}

void rig_text(rig *r, kd__arena *a, const char *text, rig_places places) {
  kd_shape_error err;
  kd_graph *g = kd__graph_read(a, text, strlen(text), &err);
  if (!g || !kd__graph_verify(g, &err)) fail_msg("%s", err.text);
  kd_random_slot *slot = KD_NEWN(a, kd_random_slot, 64);
  size_t n = 0;
  for (size_t i = 1; i < g->node.n; i++)
    if (g->node.v[i].op == KD_OP_INPUT) slot_type(slot, &n, kd__attr(&g->node.v[i], "slot")->u.i, kd__type_of(g, g->node.v[i].out));
  for (size_t i = 0; i < g->write.n; i++) slot_type(slot, &n, g->write.v[i].slot, kd__type_of(g, g->write.v[i].value));
  for (size_t i = 0; i < n; i++) slot[i].data = contents(a, &slot[i].type, i);
  for (size_t i = 0; i < g->write.n; i++) g->write.v[i].origin = (kd_origin)(1000 + i);
  rig_plan(r, a, g, slot, n, places);
}

uint32_t rig_count(const rig *r, kd_op op) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < r->plan->ncall; i++) n += r->plan->call[i].op == op;
  return n;
}

char *rig_print(const rig *r) {
  kd__buf text = { 0 };
  kd__plan_print(r->plan, r->slot, &text);
  char *s = kd__arena_strndup(r->a, text.p, text.n);
  kd__buf_free(&text);
  return s;
}

/* --- comparing ---------------------------------------------------------------------------------------------------------------------- */

static double load(const kd_tensor *t, int64_t k, const void **where) {
  int64_t at = 0;
  for (int d = t->rank - 1; d >= 0; d--) at += k % t->dim[d] * t->stride[d], k /= t->dim[d];
  const char *p = (const char *)t->data + at * (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  *where = p;
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return *(const float *)p;
    case KD_F64: return *(const double *)p;
    case KD_I64: return (double)*(const int64_t *)p;
    default: return *(const uint8_t *)p;
  }
}

/* What cancels to 0 in one order of a sum need not in another. */
static const double NOISE = 1e-7;

static bool same(const kd_tensor *got, const kd_tensor *want, double tolerance, const char *what) {
  int64_t n = 1;
  if (got->rank != want->rank || got->dtype != want->dtype || (got->rank && memcmp(got->dim, want->dim, sizeof(int64_t) * got->rank) != 0)) {
    print_error("%s: another shape\n", what);
    return false;
  }
  for (int d = 0; d < got->rank; d++) n *= got->dim[d];
  double scale = 0;
  for (int64_t k = 0; k < n && tolerance > 0; k++) {
    const void *p;
    double w = fabs(load(want, k, &p));
    if (w > scale && isfinite(w)) scale = w;
  }
  for (int64_t k = 0; k < n; k++) {
    const void *pg, *pw;
    double g = load(got, k, &pg), w = load(want, k, &pw);
    bool equal = memcmp(pg, pw, kd__dtype_size((kd_dtype)got->dtype)) == 0 || (isnan(g) && isnan(w));
    if (equal || (tolerance > 0 && fabs(g - w) <= tolerance * (fabs(w) + scale + NOISE))) continue;
    print_error("%s, element %lld: %.9g instead of %.9g\n", what, (long long)k, g, w);
    return false;
  }
  return true;
}

/* --- running ------------------------------------------------------------------------------------------------------------------------ */

typedef struct session { const rig *r; kd_store store; kd_bound *b; kd_eval e; kd_exec x; kd_fault fault; void *arena; double tolerance; const char *what; } session;

static void *memory(size_t n) {
  void *p = aligned_alloc(64, (n + 63) / 64 * 64 + 64);
  assert_non_null(p);
  memset(p, 0xa5, n);
  return p;
}

/* The node of a call, if the call computes just that: constants, lines of positions and copies are the plan's own. */
static const kd_node *node_of(const session *s, const kd_plan_call *c) {
  const kd_node *n = c->origin && c->origin < s->r->g->node.n ? &s->r->g->node.v[c->origin] : NULL;
  return n && n->op == c->op && n->op != KD_OP_CONST && n->op != KD_OP_IOTA ? n : NULL;
}

static bool check_call(const session *s, uint32_t i, bool after) {
  const kd_plan_call *c = &s->r->plan->call[i];
  const kd_node *n = node_of(s, c);
  char label[200];
  if (n && c->nout < n->nout && (n->op != KD_OP_MAX_POOL || c->nout != 1)) { print_error("%s, call %u: a result is missing\n", s->what, i); return false; }
  uint32_t nout = n && c->nout < n->nout ? c->nout : n ? n->nout : 0;              /* a pool's positions that nobody reads are not made; a loop has one more */
  for (uint32_t k = 0; n && k < (after ? nout : n->op == KD_OP_GROUP ? 0 : n->nin); k++) {        /* a group's operands are its walks over them */
    kd_value v = after ? n->out + k : n->in[k];
    snprintf(label, sizeof label, "%s, call %u (%s), %s %u = %%%u", s->what, i, kd__op_info(c->op)->name, after ? "result" : "operand", k, v);
    if (!same(after ? &s->b->call[i].out[k] : &s->b->call[i].in[k], &s->e.value[v], s->tolerance, label)) return false;
  }
  return true;
}

static bool run_calls(session *s) {
  for (uint32_t i = 0; i < s->r->plan->ncall; i++) {
    if (!check_call(s, i, false)) return false;
    kd__bound_call(s->b, i, &s->x);
    if (!check_call(s, i, true)) return false;
  }
  return !s->fault.set;
}

static bool check_slots(const session *s) {
  char label[120];
  bool good = true;
  for (size_t i = 0; i < s->r->nslot && good; i++) {
    const kd_type *t = &s->r->data[i].type;
    int64_t stride[KD_MAX_RANK], n = 1;
    for (int d = t->rank - 1; d >= 0; d--) stride[d] = n, n *= t->dim[d];
    kd_tensor now = { kd__store_at(&s->store, (uint32_t)i), t->dim, stride, t->dtype, t->rank }, want = now;
    kd_value v = kd_eval_write(&s->e, (int64_t)i);
    want.data = s->r->data[i].data;
    if (v) want = s->e.value[v];
    snprintf(label, sizeof label, "%s, slot %zu at the end", s->what, i);
    good = same(&now, &want, v ? s->tolerance : 0, label);
  }
  return good;
}

static bool check_results(const session *s) {
  char label[120];
  for (uint32_t i = 0; i < s->r->plan->nresult; i++) {
    snprintf(label, sizeof label, "%s, result %s", s->what, s->r->plan->result[i].name);
    if (!same(kd__bound_result(s->b, i), &s->e.value[s->r->g->result.v[i].value], s->tolerance, label)) return false;
  }
  return true;
}

static void fill_slots(session *s) {
  for (size_t i = 0; i < s->r->nslot; i++) {
    const kd_type *t = &s->r->data[i].type;
    memcpy(kd__store_at(&s->store, (uint32_t)i), s->r->data[i].data, kd__dtype_size((kd_dtype)t->dtype) * (size_t)kd__type_count(t));
  }
}

static bool run_twice(session *s) {
  if (!run_calls(s) || !check_results(s) || !check_slots(s)) return false;
  fill_slots(s);                                 /* again with the slots as at first, in one go: the arena is dirty now */
  kd__bound_run(s->b, &s->x);
  return !kd__bound_faulted(s->b) && check_results(s) && check_slots(s);
}

/* --- side by side ------------------------------------------------------------------------------------------------------------------- */
/* Stands before every kernel: calls before this one in the plan that it depends on have ended, those after it have not begun. */
typedef enum progress { WAITS, RUNS, DONE } progress;
static struct { kd_bound *b; const kd_kernel **was; atomic_int *progress; bool *meet; uint32_t n; atomic_bool bad; } spy;

static void range(const kd_tensor *t, const char **lo, const char **hi) {
  int64_t size = (int64_t)kd__dtype_size((kd_dtype)t->dtype);
  *lo = t->data, *hi = *lo + size;
  for (int d = 0; d < t->rank; d++) {
    int64_t span = (t->dim[d] - 1) * t->stride[d] * size;
    if (t->dim[d] == 0) { *hi = *lo; return; }
    if (span < 0) *lo += span;
    else *hi += span;
  }
}

static bool calls_meet(const kd_call *a, const kd_call *b) {
  for (uint32_t i = 0; i < a->nin + a->nout; i++)
    for (uint32_t k = 0; k < b->nin + b->nout; k++) {
      const char *alo, *ahi, *blo, *bhi;
      range(i < a->nin ? &a->in[i] : &a->out[i - a->nin], &alo, &ahi);
      range(k < b->nin ? &b->in[k] : &b->out[k - b->nin], &blo, &bhi);
      if ((i >= a->nin || k >= b->nin) && alo < bhi && blo < ahi) return true;
    }
  return false;
}

static void spy_run(const kd_call *c, const kd_exec *x) {
  uint32_t i = (uint32_t)(c - spy.b->call);
  for (uint32_t k = 0; k < spy.n; k++)
    if (k != i && !spy.b->loop[k] && spy.meet[i * spy.n + k] && atomic_load(&spy.progress[k]) != (k < i ? DONE : WAITS)) atomic_store(&spy.bad, true);
  atomic_store(&spy.progress[i], RUNS);
  if (spy.was[i]) spy.was[i]->run(c, x);
  else kd__copy_strided(&c->in[0], &c->out[0], x);
  atomic_store(&spy.progress[i], DONE);
}

static const kd_kernel spying = { .name = "spying", .run = spy_run };

static void spy_on(session *s) {
  uint32_t n = s->r->plan->ncall;
  memset(&spy, 0, sizeof spy);
  spy.b = s->b, spy.n = n;
  spy.was = KD_NEWN(s->r->a, const kd_kernel *, n), spy.progress = KD_NEWN(s->r->a, atomic_int, n), spy.meet = KD_NEWN(s->r->a, bool, n * n);
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t k = 0; k < n; k++) spy.meet[i * n + k] = calls_meet(&s->b->call[i], &s->b->call[k]);
    spy.was[i] = s->b->kernel[i];
    if (!s->b->loop[i]) s->b->kernel[i] = &spying;
  }
}

static void spy_off(session *s) {
  for (uint32_t i = 0; i < spy.n; i++) s->b->kernel[i] = spy.was[i];
}

/* The bytes of all results and slots. */
static uint64_t bits_of(const session *s) {
  uint64_t h = 0;
  for (uint32_t i = 0; i < s->r->plan->nresult; i++) {
    const kd_tensor *t = kd__bound_result(s->b, i);
    int64_t n = kd__type_count(kd__type_of(s->r->g, s->r->g->result.v[i].value));
    const void *p;
    for (int64_t k = 0; k < n; k++) (void)load(t, k, &p), h = kd__hash(p, kd__dtype_size((kd_dtype)t->dtype), h);
  }
  for (size_t i = 0; i < s->r->nslot; i++) {
    const kd_type *t = &s->r->data[i].type;
    h = kd__hash(kd__store_at(&s->store, (uint32_t)i), kd__dtype_size((kd_dtype)t->dtype) * (size_t)kd__type_count(t), h);
  }
  return h;
}

static bool run_beside(session *s, rig *r) {
  uint64_t alone = bits_of(s);
  s->x.threads = 2;
  for (uint32_t i = 0; i < r->plan->ncall; i++) r->beside += (int)s->b->beside[i].n;
  spy_on(s);
  bool good = true;
  for (int turn = 0; turn < 2 && good; turn++) {
    for (uint32_t i = 0; i < spy.n; i++) atomic_store(&spy.progress[i], WAITS);
    fill_slots(s);
    memset(s->x.scratch, 0x5a, kd__bound_scratch(s->b));
    kd__bound_run(s->b, &s->x);
    good = !kd__bound_faulted(s->b) && check_results(s) && check_slots(s);
    if (atomic_load(&spy.bad)) good = false, print_error("%s: two calls at once that may not\n", s->what);
    if (good && bits_of(s) != alone) good = false, print_error("%s: other bits side by side\n", s->what);
  }
  spy_off(s);
  return good;
}

bool rig_run(rig *r, double tolerance, const char *what) {
  session s = { .r = r, .tolerance = tolerance, .what = what };
  bool side = false;
  for (uint32_t i = 0; i < r->plan->ncall; i++) side = side || r->plan->call[i].side;
  kd_kernel_settings set = { .threads = side ? 2 : 1, .deterministic = true, .reference = r->reference || tolerance == 0, .use_dnnl = true };
  kd_eval_slot *slot = KD_NEWN(r->a, kd_eval_slot, r->nslot + 1);
  for (size_t i = 0; i < r->nslot; i++) slot[i] = (kd_eval_slot){ (int64_t)i, r->data[i].data };
  bool good = kd_eval_run(&s.e, r->g, slot, r->nslot, NULL, 0, KD_EVAL_DENSE);
  if (!good) print_error("%s: the oracle cannot run it\n", what);
  assert_int_equal(kd__store_open(&s.store, r->slot, (uint32_t)r->nslot), KD_OK);
  for (size_t i = 0; i < r->nslot; i++) {
    const kd_type *t = &r->data[i].type;
    memcpy(kd__store_at(&s.store, (uint32_t)i), r->data[i].data, kd__dtype_size((kd_dtype)t->dtype) * (size_t)kd__type_count(t));
  }
  s.arena = memory((size_t)r->plan->arena_size);
  kd_status st = kd__plan_bind(r->plan, &s.store, s.arena, &set, &s.b);
  if (st != KD_OK) print_error("%s: bind: %s\n", what, kd_status_text(st));
  good = good && st == KD_OK;
  if (good && side) {
    s.b->team = true;
    good = kd__bind_side(s.b, -1) == KD_OK;
  }
  if (good) {
    s.x = (kd_exec){ .threads = 1, .deterministic = true, .scratch = memory(kd__bound_scratch(s.b)), .fault = &s.fault };
    good = run_twice(&s) && (!side || run_beside(&s, r));
    free(s.x.scratch);
  }
  kd__bound_close(s.b);
  kd__store_close(&s.store);
  kd_eval_free(&s.e);
  free(s.arena);
  return good;
}
