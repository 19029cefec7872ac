/* golden_run.c: the two ways of running a graph. */
#include "tests/golden/golden.h"
#include "compiler/pass/pass.h"
#include <stdlib.h>

static golden_value *add(kd__arena *a, golden_values *out, const char *name, int64_t count) {
  golden_value *v = &out->v[out->n++];
  *v = (golden_value){ name, count, kd__arena_get(a, sizeof(double) * (size_t)(count + 1)) };
  return v;
}

/* What a state becomes goes by the name of its slot. */
static const char *written(kd__arena *a, const kd_entry *e, uint32_t slot) { return kd__arena_printf(a, "write.%s", e->slot[slot].name); }

static bool run_twins(kd__arena *a, const kd_entry *e, void *const *data, golden_values *out) {
  kd_eval_slot *slot = KD_NEWN(a, kd_eval_slot, e->nslot + 1);
  for (uint32_t i = 0; i < e->nslot; i++) slot[i] = (kd_eval_slot){ i, data[i] };
  kd_eval r;
  bool ok = kd_eval_run(&r, e->graph, slot, e->nslot, NULL, 0, KD_EVAL_DENSE) && !r.fault.set;
  for (size_t i = 0; ok && i < e->graph->result.n; i++) {
    kd_value value = e->graph->result.v[i].value;
    golden_value *v = add(a, out, e->graph->result.v[i].name, kd__type_count(kd__type_of(e->graph, value)));
    for (int64_t k = 0; k < v->count; k++) v->x[k] = kd_eval_at(&r, value, k);
  }
  for (size_t i = 0; ok && i < e->graph->write.n; i++) {
    kd_value value = e->graph->write.v[i].value;
    golden_value *v = add(a, out, written(a, e, (uint32_t)e->graph->write.v[i].slot), kd__type_count(kd__type_of(e->graph, value)));
    for (int64_t k = 0; k < v->count; k++) v->x[k] = kd_eval_at(&r, value, k);
  }
  kd_eval_free(&r);
  return ok;
}

/* Element i in row-major order. */
static double element(const kd_tensor *t, int64_t i) {
  int64_t at = 0;
  for (int d = t->rank - 1; d >= 0; d--) {
    at += i % t->dim[d] * t->stride[d];
    i /= t->dim[d];
  }
  switch ((kd_dtype)t->dtype) {
    case KD_F32: return ((const float *)t->data)[at];
    case KD_F64: return ((const double *)t->data)[at];
    case KD_I64: return (double)((const int64_t *)t->data)[at];
    default: return ((const uint8_t *)t->data)[at];
  }
}

static void read_results(kd__arena *a, const kd_plan *p, const kd_bound *b, golden_values *out) {
  for (uint32_t i = 0; i < p->nresult; i++) {
    const kd_tensor *t = kd__bound_result(b, i);
    golden_value *v = add(a, out, p->result[i].name, kd__type_count(&p->tensor[p->result[i].tensor].type));
    for (int64_t k = 0; k < v->count; k++) v->x[k] = element(t, k);
  }
}

static void read_state(kd__arena *a, const kd_entry *e, const kd_store *store, uint32_t slot, golden_values *out) {
  const kd_type *t = &e->slot[slot].type;
  int64_t stride[KD_MAX_RANK], n = 1;
  for (int d = t->rank - 1; d >= 0; d--) { stride[d] = n; n *= t->dim[d]; }
  kd_tensor now = { kd__store_at(store, slot), t->dim, stride, t->dtype, t->rank };
  golden_value *v = add(a, out, written(a, e, slot), n);
  for (int64_t k = 0; k < n; k++) v->x[k] = element(&now, k);
}

static void *memory(size_t n) { return aligned_alloc(64, (n + 64) / 64 * 64); }

static bool run_plan(kd__arena *a, const kd_entry *e, void *const *data, golden_values *out) {
  kd_slot *slot = KD_NEWN(a, kd_slot, e->nslot + 1);
  for (uint32_t i = 0; i < e->nslot; i++) {        /* each in a block of its own */
    slot[i] = e->slot[i];
    slot[i].block = i; slot[i].offset = 0;
  }
  kd_plan *p = kd__plan_make(a, kd__pass_all(e->graph, NULL, NULL), slot, e->nslot, "golden", NULL, NULL);
  kd_store store;
  if (!p || kd__store_open(&store, slot, e->nslot) != KD_OK) return false;
  for (uint32_t i = 0; i < e->nslot; i++)
    memcpy(kd__store_at(&store, i), data[i], kd__dtype_size((kd_dtype)slot[i].type.dtype) * (size_t)kd__type_count(&slot[i].type));
  const char *backend = getenv("KD_TEST_BACKEND");
  kd_kernel_settings set = { .threads = 1, .use_dnnl = true, .jit = backend && strcmp(backend, "jit") == 0 };
  if (set.jit && !kd__jit_there()) return false;
  kd_bound *b = NULL;
  void *arena = memory((size_t)p->arena_size);
  bool ok = kd__plan_bind(p, &store, arena, &set, &b) == KD_OK;
  if (ok) {
    kd_fault fault = { 0 };
    void *scratch = memory(kd__bound_scratch(b));
    kd__bound_run(b, &(kd_exec){ .threads = 1, .scratch = scratch, .fault = &fault });
    ok = !fault.set;
    if (ok) read_results(a, p, b, out);
    for (uint32_t i = 0; ok && i < p->nwrites; i++) read_state(a, e, &store, p->writes[i], out);
    free(scratch);
  }
  kd__bound_close(b);
  kd__store_close(&store);
  free(arena);
  return ok;
}

bool golden_run(kd__arena *a, golden_way way, const kd_entry *e, void *const *data, golden_values *out) {
  *out = (golden_values){ KD_NEWN(a, golden_value, e->graph->result.n + e->nslot + 1), 0 };
  return way == GOLDEN_TWINS ? run_twins(a, e, data, out) : run_plan(a, e, data, out);
}
