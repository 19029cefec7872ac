/* trace.c: runs the training plan of a .kd file over given batches from given weights, and writes down what came of every step.
 *   usage: kd_torch_trace NET.kd STDLIB f32|f64 THREADS STEPS IN.safetensors OUT.safetensors
 *
 * Memory is named by slot: "S.conv1.weight", "D.image"; and "momentum.S.conv1.weight" is that parameter's part of the optimizer's flat
 * vector. Every tensor of IN is a list along its first axis: row k goes to that memory before step k, as long as there are rows; so one
 * row is a start, STEPS rows of a field are batches, STEPS rows of a parameter are a restart at every step. OUT has "loss" (f64) and every
 * parameter, state and momentum after each step, also as lists. f64 runs on the naive twins, f32 on the fast kernels. */
#include "compiler/elaborate/elaborate.h"
#include "runtime/files/safetensors.h"
#include <stdio.h>
#include <stdlib.h>

/* A named piece of memory of the module; `row` elements of a list in IN and OUT are its content at one step. */
typedef struct cell { const char *name; kd_type type; char *at; size_t bytes; char *list; bool shown; } cell;

typedef struct trace {
  kd__arena a;
  kd__oom oom;                                   /* never armed: an arena without memory gives NULL, and this program ends */
  const char *library;
  kd_module *m;
  kd_store store;
  kd_kernel_settings set;
  kd_exec exec;
  kd_fault fault;
  void *memory;                                  /* the plans' arena */
  cell *cell; size_t ncell;
  double *loss;
  int64_t steps;
} trace;

static int fail(const char *what, const char *why) {
  (void)fprintf(stderr, "kd_torch_trace: %s: %s\n", what, why);
  return 1;
}

/* --- compiling -------------------------------------------------------------------------------------------------------------------- */
static const char *load(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  (void)near;
  trace *t = ctx;
  char *text, *path = kd__arena_printf(&t->a, "%s/%s.kd", t->library, name);
  if (kd__file_read(path, KD_SOURCE_MAX, &text, size, NULL, 0) != KD_OK) return NULL;
  *shown = path;
  const char *kept = kd__arena_strndup(&t->a, text, *size);
  free(text);
  return kept;
}

/* The batches come from IN, so the data set need not be there. */
static bool describe(void *ctx, const kd_dataset *d, int64_t *rows, char *why, size_t n) {
  (void)ctx; (void)why; (void)n;
  for (uint32_t i = 0; i < d->nsplit; i++) rows[i] = d->split[i].count >= 0 ? d->split[i].count : 1000;
  return true;
}

static bool compile(trace *t, const char *path, kd_dtype real) {
  char *text, why[512];
  size_t n;
  bool definitions;
  if (kd__file_read(path, KD_SOURCE_MAX, &text, &n, why, sizeof why) != KD_OK) return fail(path, why) == 0;
  kd_sink sink;
  kd__sink_init(&sink, &t->a);
  const kd_source *src = kd__source_new(&t->a, path, text, n, 1);
  free(text);
  kd_elab_options o = { .load = load, .load_ctx = t, .describe = describe, .describe_ctx = t, .real = real };
  kd_syntax *syn = kd__parse(&t->a, &sink, src);
  if (!sink.errors) t->m = kd__elaborate(&t->a, &sink, syn, &o, &definitions);
  kd__buf b = { 0 };
  for (size_t i = 0; i < sink.diag.n; i++) kd__diag_text(sink.diag.v[i], false, &b);
  if (b.p) (void)fputs(b.p, stderr);
  kd__buf_free(&b);
  return t->m != NULL || fail(path, "no program came of it") == 0;
}

/* --- memory by name ------------------------------------------------------------------------------------------------------------------ */
static void add_cell(trace *t, const char *name, const kd_type *type, void *at, bool shown) {
  size_t bytes = (size_t)kd__type_count(type) * kd__dtype_size((kd_dtype)type->dtype);
  cell *c = &t->cell[t->ncell++];
  *c = (cell){ .name = name, .type = *type, .at = at, .bytes = bytes, .shown = shown };
  if (shown) c->list = calloc((size_t)t->steps, bytes + 1);
}

static int by_offset(const void *a, const void *b) {
  const kd_slot *p = *(const kd_slot *const *)a, *q = *(const kd_slot *const *)b;
  return p->offset < q->offset ? -1 : p->offset > q->offset;
}

/* An optimizer's state is one vector over the parameters, in the order in which they lie in memory. */
static bool split_momentum(trace *t, uint32_t slot, const kd_slot **param, uint32_t nparam) {
  const kd_slot *s = &t->m->slot[slot];
  char *at = kd__store_at(&t->store, slot);
  int64_t total = 0;
  for (uint32_t i = 0; i < nparam; i++) total += kd__type_count(&param[i]->type);
  if (s->type.rank != 1 || s->type.dim[0] != total) return fail(s->name, "is no vector over all parameters") == 0;
  for (uint32_t i = 0; i < nparam; i++) {
    add_cell(t, kd__arena_printf(&t->a, "momentum.%s", param[i]->name), &param[i]->type, at, true);
    at += t->cell[t->ncell - 1].bytes;
  }
  return true;
}

static bool name_memory(trace *t) {
  const kd_module *m = t->m;
  const kd_slot **param = KD_NEWN(&t->a, const kd_slot *, m->nslot + 1);
  uint32_t nparam = 0, vectors = 0;
  t->cell = KD_NEWN(&t->a, cell, 2 * (size_t)m->nslot + 1);
  for (uint32_t i = 0; i < m->nslot; i++) {
    const kd_slot *s = &m->slot[i];
    if (s->kind == KD_SLOT_PARAM) param[nparam++] = s;
    if (s->kind == KD_SLOT_PARAM || s->kind == KD_SLOT_STATE || s->kind == KD_SLOT_FIELD)
      add_cell(t, s->name, &s->type, kd__store_at(&t->store, i), s->kind != KD_SLOT_FIELD);
  }
  qsort(param, nparam, sizeof *param, by_offset);
  for (uint32_t i = 0; i < m->nslot; i++)
    if (m->slot[i].kind == KD_SLOT_OPTIMIZER) { if (vectors++ || !split_momentum(t, i, param, nparam)) return false; }
  for (size_t c = 0; c < t->ncell; c++) if (t->cell[c].shown && !t->cell[c].list) return fail("memory", "there is not enough") == 0;
  return true;
}

/* --- running ---------------------------------------------------------------------------------------------------------------------------- */
static bool open_memory(trace *t) {
  int64_t most = 64;
  for (uint32_t i = 0; i < t->m->nplan; i++)
    if (t->m->plan[i]->arena_size > most) most = t->m->plan[i]->arena_size;
  t->memory = aligned_alloc(64, ((size_t)most + 63) / 64 * 64);
  t->loss = calloc((size_t)t->steps + 1, sizeof *t->loss);
  if (!t->memory || !t->loss) return fail("memory", "there is not enough") == 0;
  memset(t->memory, 0, (size_t)most);
  return kd__store_open(&t->store, t->m->slot, t->m->nslot) == KD_OK || fail("memory", "there is not enough") == 0;
}

static kd_bound *bind(trace *t, int64_t plan) {
  kd_bound *b;
  kd_status s = kd__plan_bind(t->m->plan[plan], &t->store, t->memory, &t->set, &b);
  if (s != KD_OK) { (void)fail(t->m->plan[plan]->name, kd_status_text(s)); return NULL; }
  free(t->exec.scratch);
  t->exec.scratch = aligned_alloc(64, (kd__bound_scratch(b) + 127) / 64 * 64);
  if (t->exec.scratch) return b;
  kd__bound_close(b);
  (void)fail("memory", "there is not enough");
  return NULL;
}

static bool run_init(trace *t) {
  kd_bound *b = bind(t, t->m->code[0].a);        /* the first instruction gives everything its initial value */
  if (!b) return false;
  kd__bound_run(b, &t->exec);
  kd__bound_close(b);
  return true;
}

/* Before step k: every list of IN that has a row k. */
static bool take(trace *t, const kd__safetensors *in, int64_t k) {
  for (size_t i = 0; i < in->n; i++) {
    const kd__st_tensor *x = &in->tensor[i];
    size_t c = 0;
    while (c < t->ncell && strcmp(t->cell[c].name, x->name) != 0) c++;
    if (c == t->ncell) return fail(x->name, "the program has no such slot") == 0;
    const kd_type *want = &t->cell[c].type;
    bool fits = x->direct && x->type.dtype == want->dtype && x->type.rank == want->rank + 1;
    for (int d = 0; fits && d < want->rank; d++) fits = x->type.dim[d + 1] == want->dim[d];
    if (!fits) return fail(x->name, "its type is not a list of the slot's") == 0;
    if (k < x->type.dim[0]) memcpy(t->cell[c].at, (const char *)x->data + (size_t)k * t->cell[c].bytes, t->cell[c].bytes);
  }
  return true;
}

static bool run_steps(trace *t, const kd__safetensors *in) {
  uint32_t pc = 0;
  while (pc < t->m->ncode && t->m->code[pc].op != KD_CODE_STEP) pc++;
  if (pc == t->m->ncode) return fail(t->m->name, "trains nothing") == 0;
  kd_bound *b = bind(t, t->m->code[pc].a);
  bool ok = b != NULL;
  for (int64_t k = 0; ok && k < t->steps; k++) {
    ok = take(t, in, k);
    if (!ok) break;
    kd__bound_run(b, &t->exec);
    if (t->fault.set) ok = fail(kd__op_info(t->fault.op)->name, "index out of range") == 0;
    const kd_tensor *loss = kd__bound_result(b, 0);
    t->loss[k] = loss->dtype == KD_F32 ? (double)*(const float *)loss->data : *(const double *)loss->data;
    for (size_t c = 0; c < t->ncell; c++)
      if (t->cell[c].shown) memcpy(t->cell[c].list + (size_t)k * t->cell[c].bytes, t->cell[c].at, t->cell[c].bytes);
  }
  kd__bound_close(b);
  return ok;
}

static bool write_out(const trace *t, const char *path) {
  kd__st_item *item = calloc(t->ncell + 1, sizeof *item);
  size_t n = 0;
  char why[512];
  if (!item) return fail("memory", "there is not enough") == 0;
  item[n++] = (kd__st_item){ "loss", { .dtype = KD_F64, .rank = 1, .dim = { t->steps } }, t->loss };
  for (size_t c = 0; c < t->ncell; c++) {
    if (!t->cell[c].shown) continue;
    kd_type list = { .dtype = t->cell[c].type.dtype, .rank = (uint8_t)(t->cell[c].type.rank + 1), .dim = { t->steps } };
    for (int d = 0; d < t->cell[c].type.rank; d++) list.dim[d + 1] = t->cell[c].type.dim[d];
    item[n++] = (kd__st_item){ t->cell[c].name, list, t->cell[c].list };
  }
  kd_status s = kd__st_write(path, item, n, NULL, 0, why, sizeof why);
  free(item);
  return s == KD_OK || fail(path, why) == 0;
}

static bool trace_run(trace *t, const char *in_path, const char *out_path) {
  kd__safetensors in;
  char why[512];
  if (kd__kernel_check(why, sizeof why) != KD_OK) return fail("kernels", why) == 0;
  if (!open_memory(t) || !name_memory(t) || !run_init(t)) return false;
  if (kd__st_open(in_path, &in, why, sizeof why) != KD_OK) return fail(in_path, why) == 0;
  bool ok = run_steps(t, &in) && write_out(t, out_path);
  kd__st_close(&in);
  return ok;
}

int main(int argc, char **argv) {
  if (argc != 8) return fail("usage", "kd_torch_trace NET.kd STDLIB f32|f64 THREADS STEPS IN.safetensors OUT.safetensors"), 2;
  static trace t;
  bool twins = strcmp(argv[3], "f64") == 0;
  int threads = (int)strtol(argv[4], NULL, 10);
  t.library = argv[2];
  t.steps = strtoll(argv[5], NULL, 10);
  t.set = (kd_kernel_settings){ .threads = threads, .use_dnnl = true, .reference = twins };
  t.exec = (kd_exec){ .threads = threads, .fault = &t.fault };
  if (threads < 1 || t.steps < 1) return fail("usage", "THREADS and STEPS are numbers from 1 up"), 2;
  kd__arena_init(&t.a, NULL, &t.oom);
  bool ok = compile(&t, argv[1], twins ? KD_F64 : KD_F32) && trace_run(&t, argv[6], argv[7]);
  for (size_t c = 0; c < t.ncell; c++) free(t.cell[c].list);
  kd__store_close(&t.store);
  free(t.memory);
  free(t.exec.scratch);
  free(t.loss);
  kd__arena_free(&t.a);
  return ok ? 0 : 1;
}
