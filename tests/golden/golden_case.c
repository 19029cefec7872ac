/* golden_case.c: see golden.h. The graph of the loss and its gradients runs on the naive twins, in double precision. */
#include "tests/golden/golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *method, *weight, *slot; } weights[] = {
#define KD_GOLDEN_PARAM(method, weight, slot) { #method, weight, slot },
#include "tests/golden/golden.def"
#undef KD_GOLDEN_PARAM
};

__attribute__((format(printf, 2, 3))) static bool wrong(golden_case *c, const char *fmt, ...) {
  size_t n = strlen(c->why);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(c->why + n, sizeof c->why - n, fmt, ap);
  va_end(ap);
  return false;
}

const kd_ast *golden_definition(const kd_syntax *methods, const char *method) {
  for (uint32_t i = 0; i < methods->file->n; i++) {
    const kd_ast *n = methods->file->kid[i];
    if (n->kind == KD_AST_DEFINE && strcmp(n->text, method) == 0) return n;
  }
  return NULL;
}

/* kd_elab_options.load: library files from the source tree. */
static const char *load(void *ctx, const char *name, const kd_source *near, size_t *size, const char **shown) {
  const golden_library *lib = ctx;
  char why[256], *text, *path = kd__arena_printf(lib->arena, "%s/%s.kd", lib->folder, name);
  (void)near;
  if (kd__file_read(path, KD_SOURCE_MAX, &text, size, why, sizeof why) != KD_OK) return NULL;
  const char *kept = kd__arena_strndup(lib->arena, text, *size);
  free(text);
  *shown = kd__arena_printf(lib->arena, "stdlib/%s.kd", name);
  return kept;
}

/* --- arguments ---------------------------------------------------------------------------------------------------------------- */
/* The tensor KIND.NAME; the file's own name may have dots where NAME, being a name of the language, has underscores. */
static const kd__st_tensor *tensor_of(const golden_case *c, const char *kind, const char *name) {
  size_t n = strlen(kind), len = strlen(name);
  for (size_t i = 0; i < c->file.n; i++) {
    const char *full = c->file.tensor[i].name;
    if (strncmp(full, kind, n) != 0 || full[n] != '.' || strlen(full) != n + 1 + len) continue;
    size_t k = 0;
    while (k < len && (full[n + 1 + k] == name[k] || (full[n + 1 + k] == '.' && name[k] == '_'))) k++;
    if (k == len) return &c->file.tensor[i];
  }
  return NULL;
}

/* A hyper-parameter in the language's own notation; NULL: the file has none of that name. */
static const char *hyper_text(golden_case *c, const char *name) {
  json_t *v = json_object_get(c->hyper, name);
  if (!v) return NULL;
  if (json_is_null(v)) return "none";
  char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
  const char *kept = kd__arena_strndup(&c->arena, text, strlen(text));
  free(text);
  return kept;
}

static kd_type widened(const kd__st_tensor *t) {
  kd_type r = t->type;
  if (kd__dtype_real((kd_dtype)r.dtype)) r.dtype = KD_F64;
  return r;
}

static bool arguments(golden_case *c, const kd_ast *def, kd_entry_arg *arg, size_t *n) {
  const kd_ast *params = def->kid[0];
  *n = 0;
  for (uint32_t i = 0; i < params->n; i++) {
    const kd_ast *p = params->kid[i];
    const kd__st_tensor *in = tensor_of(c, "in", p->text), *t = in ? in : tensor_of(c, "param", p->text);
    const char *text = t ? NULL : hyper_text(c, p->text);
    if (*n == GOLDEN_MANY) return wrong(c, "too many parameters; ");
    if (t) arg[(*n)++] = (kd_entry_arg){ .name = p->text, .type = widened(t), .grad = tensor_of(c, "grad", p->text) != NULL };
    else if (text) arg[(*n)++] = (kd_entry_arg){ .name = p->text, .text = text };
    else if (p->n < 2 || !p->kid[1]) return wrong(c, "the file has no `%s`; ", p->text);
  }
  return true;
}

/* --- values of slots ------------------------------------------------------------------------------------------------------------- */
static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), k = strlen(end);
  return n >= k && strcmp(s + n - k, end) == 0 && (n == k || s[n - k - 1] == '.');
}

/* The file's name for the value of a slot: an input's own, a weight's through golden.def. */
static const char *file_name(const golden_case *c, const kd_slot *s) {
  if (s->kind == KD_SLOT_FIELD) return s->name;
  for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
    if (strcmp(weights[i].method, c->method) == 0 && ends_with(s->name, weights[i].slot)) return weights[i].weight;
  return NULL;
}

static bool fill_slots(golden_case *c, const kd_entry *e, kd_eval *init, kd_eval_slot *out) {
  for (uint32_t i = 0; i < e->nslot; i++) {
    const kd_slot *s = &e->slot[i];
    const char *name = file_name(c, s);
    const kd__st_tensor *t = !name ? NULL : tensor_of(c, "in", name) ? tensor_of(c, "in", name) : tensor_of(c, "param", name);
    int64_t count = kd__type_count(&s->type);
    void *data = kd__arena_get(&c->arena, (size_t)count * 8 + 8);
    out[i] = (kd_eval_slot){ i, data };
    if (t) {
      if (kd__type_count(&t->type) != count) return wrong(c, "`%s` and `%s` differ in size; ", name, s->name);
      if (!kd__st_copy(t, (kd_dtype)s->type.dtype, data)) return wrong(c, "`%s` cannot be read as its parameter wants it; ", name);
    } else if (s->kind == KD_SLOT_PARAM || s->kind == KD_SLOT_STATE) {
      kd_value v = kd_eval_write(init, i);
      if (s->kind == KD_SLOT_PARAM) return wrong(c, "nothing in golden.def gives parameter `%s` a value; ", s->name);
      if (!kd_eval_has(init, v)) return wrong(c, "state `%s` has no initial value; ", s->name);
      kd_eval_read(init, v, data);
    }
  }
  return true;
}

/* --- comparison --------------------------------------------------------------------------------------------------------------------- */
static double number_of(const golden_case *c, const char *key) {
  const char *s = kd__st_meta(&c->file, key);
  return s ? strtod(s, NULL) : 0;
}

static void worst(double *w, double share) { if (!(share <= *w)) *w = share; }   /* a NaN stays */

static bool compare_loss(golden_case *c, const kd_eval *e) {
  double x = kd_eval_at(e, kd_eval_result(e, "loss"), 0), want = 0, atol = number_of(c, "loss_atol");
  kd__st_copy(kd__st_find(&c->file, "out.loss"), KD_F64, &want);
  double share = fabs(x - want) / (number_of(c, "loss_rtol") * fabs(want) + atol);
  worst(&c->worst_loss, share);
  if (!(share <= 1)) return wrong(c, "loss %.9g, and the reference has %.9g; ", x, want);
  const kd__st_tensor *wide = kd__st_find(&c->file, "out.loss_f64");
  if (!wide) return true;
  kd__st_copy(wide, KD_F64, &want);
  if (fabs(x - want) <= 1e-6 * fabs(want) + 1e-2 * atol) return true;
  return wrong(c, "loss %.12g, and the reference in double precision has %.12g; ", x, want);
}

/* The graph's result that holds the gradient which the file calls NAME. */
static kd_value gradient_of(const golden_case *c, const kd_entry *entry, const kd_eval *e, const char *name) {
  char full[512];
  snprintf(full, sizeof full, "grad.%s", name);
  kd_value v = kd_eval_result(e, full);
  for (uint32_t i = 0; !v && i < entry->nslot; i++) {
    const char *file = entry->slot[i].kind == KD_SLOT_PARAM ? file_name(c, &entry->slot[i]) : NULL;
    if (!file || strcmp(file, name) != 0) continue;
    snprintf(full, sizeof full, "grad.%s", entry->slot[i].name);
    v = kd_eval_result(e, full);
  }
  return v;
}

static bool compare_gradient(golden_case *c, const kd_entry *entry, const kd_eval *e, const kd__st_tensor *t) {
  const char *name = t->name + strlen("grad.");
  kd_value v = gradient_of(c, entry, e, name);
  if (!v || !kd_eval_has(e, v)) return wrong(c, "no gradient for `%s`; ", name);
  int64_t n = kd__type_count(&t->type);
  if (kd__type_count(kd__type_of(e->g, v)) != n) return wrong(c, "the gradient of `%s` differs in size; ", name);
  double *want = kd__arena_get(&c->arena, sizeof(double) * (size_t)(n + 1)), most = 0, off = 0;
  kd__st_copy(t, KD_F64, want);
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(kd_eval_at(e, v, i) - want[i]);
    if (fabs(want[i]) > most) most = fabs(want[i]);
    if (!(d <= off)) off = d;
  }
  double share = off / (number_of(c, "grad_rtol") * most + number_of(c, "grad_atol"));
  worst(&c->worst_grad, share);
  return share <= 1 || wrong(c, "the gradient of `%s` is off by %.3g of %.3g; ", name, off, most);
}

/* Further results that the definition returns under the names of the file's `out.` tensors. */
static bool compare_result(golden_case *c, const kd_eval *e, const kd__st_tensor *t) {
  kd_value v = kd_eval_result(e, t->name + strlen("out."));
  int64_t n = kd__type_count(&t->type);
  if (!v || !kd_eval_has(e, v)) return true;
  if (kd__type_count(kd__type_of(e->g, v)) != n) return wrong(c, "`%s` differs in size; ", t->name);
  double *want = kd__arena_get(&c->arena, sizeof(double) * (size_t)(n + 1));
  kd__st_copy(t, KD_F64, want);
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(kd_eval_at(e, v, i) - want[i]) <= 1e-5 * fabs(want[i]) + 1e-6)) return wrong(c, "`%s`[%lld] is %.9g, and the reference has %.9g; ", t->name, (long long)i, kd_eval_at(e, v, i), want[i]);
  return true;
}

static bool compare_all(golden_case *c, const kd_entry *entry, const kd_eval *e) {
  bool ok = compare_loss(c, e);
  for (size_t i = 0; i < c->file.n; i++) {
    const kd__st_tensor *t = &c->file.tensor[i];
    if (strncmp(t->name, "grad.", 5) == 0) ok = compare_gradient(c, entry, e, t) && ok;
    if (strncmp(t->name, "out.", 4) == 0 && strncmp(t->name, "out.loss", 8) != 0) ok = compare_result(c, e, t) && ok;
  }
  return ok;
}

/* --- one case -------------------------------------------------------------------------------------------------------------------------- */
static bool elaborate(golden_case *c, const golden_library *lib, kd_entry *entry) {
  kd_entry_arg arg[GOLDEN_MANY];
  size_t n;
  if (!arguments(c, golden_definition(lib->methods, c->method), arg, &n)) return false;
  golden_library mine = { lib->folder, lib->methods, &c->arena };
  kd_elab_options opt = { .load = load, .load_ctx = &mine, .real = KD_F64 };
  kd_sink sink = { 0 };
  kd__sink_init(&sink, &c->arena);
  if (kd__elaborate_entry(&c->arena, &sink, lib->methods, &opt, c->method, arg, n, entry) && !sink.errors) return true;
  kd__buf b = { 0 };
  for (size_t i = 0; i < sink.diag.n; i++) kd__diag_text(sink.diag.v[i], false, &b);
  wrong(c, "%.*s", (int)b.n, b.p ? b.p : "no message");
  kd__buf_free(&b);
  return false;
}

bool golden_compare(golden_case *c, const golden_library *lib) {
  kd_entry entry;
  kd_eval init = { 0 }, e = { 0 };
  kd__arena_init(&c->arena, NULL, NULL);
  bool ok = elaborate(c, lib, &entry);
  if (ok) {
    kd_eval_slot *slot = KD_NEWN(&c->arena, kd_eval_slot, entry.nslot + 1);
    int64_t *zero = KD_NEW(&c->arena, int64_t);
    for (uint32_t i = 0; i < entry.nslot; i++) slot[i] = (kd_eval_slot){ i, zero };   /* draws of initial values need a key */
    kd_eval_run(&init, entry.init, slot, entry.nslot, NULL, 0, KD_EVAL_DENSE);
    ok = fill_slots(c, &entry, &init, slot);
    kd_eval_free(&init);
    if (ok) {
      kd_eval_run(&e, entry.graph, slot, entry.nslot, NULL, 0, KD_EVAL_DENSE);
      ok = e.fault.set ? wrong(c, "a fault while running; ") : compare_all(c, &entry, &e);
      kd_eval_free(&e);
    }
  }
  kd__arena_free(&c->arena);
  return ok;
}
