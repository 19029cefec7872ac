/* golden_case.c: see golden.h: from a file to arguments and slots, and from results to a verdict. */
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
  if (n == 0 && c->way == GOLDEN_PLAN) n = (size_t)snprintf(c->why, sizeof c->why, "as a plan in single precision: ");
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

static const kd__st_tensor *input_of(const golden_case *c, const char *name) {
  const kd__st_tensor *t = tensor_of(c, "in", name);
  return t ? t : tensor_of(c, "param", name);
}

/* Of a definition's parameter also what a result is free in (signs of singular vectors), as the reference has it. */
static const kd__st_tensor *argument_of(const golden_case *c, const char *name) {
  const kd__st_tensor *t = input_of(c, name);
  return t ? t : tensor_of(c, "out", name);
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

static kd_dtype precision(const golden_case *c) { return c->way == GOLDEN_TWINS ? KD_F64 : KD_F32; }

static bool arguments(golden_case *c, const kd_ast *def, kd_entry_arg *arg, size_t *n) {
  const kd_ast *params = def->kid[0];
  *n = 0;
  for (uint32_t i = 0; i < params->n; i++) {
    const kd_ast *p = params->kid[i];
    const kd__st_tensor *t = argument_of(c, p->text);
    bool tensor = p->n && p->kid[0] && p->kid[0]->kind == KD_AST_TYPE && p->kid[0]->n && p->kid[0]->kid[0];
    const char *text = t || tensor ? NULL : hyper_text(c, p->text);
    if (*n == GOLDEN_MANY) return wrong(c, "too many parameters; ");
    if (t) {
      kd_type type = t->type;
      if (kd__dtype_real((kd_dtype)type.dtype)) type.dtype = (uint8_t)precision(c);
      arg[(*n)++] = (kd_entry_arg){ .name = p->text, .type = type, .grad = tensor_of(c, "grad", p->text) != NULL };
    } else if (text) {
      arg[(*n)++] = (kd_entry_arg){ .name = p->text, .text = text };
    } else if (p->n < 2 || !p->kid[1]) {
      return wrong(c, "the file has no `%s`; ", p->text);
    }
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

/* A queue that the file has with its axes the other way round. */
static bool turned(const kd_type *a, const kd_type *b) { return a->rank == 2 && b->rank == 2 && a->dim[0] == b->dim[1] && a->dim[1] == b->dim[0] && a->dim[0] != a->dim[1]; }

static bool fill_turned(golden_case *c, const kd__st_tensor *t, const kd_slot *s, void *to) {
  int64_t rows = t->type.dim[0], columns = t->type.dim[1];
  size_t size = kd__dtype_size((kd_dtype)s->type.dtype);
  char *from = kd__arena_get(&c->arena, size * (size_t)(rows * columns) + 1);
  if (!kd__st_copy(t, (kd_dtype)s->type.dtype, from)) return wrong(c, "`%s` cannot be read as its state wants it; ", t->name);
  for (int64_t i = 0; i < rows; i++) for (int64_t k = 0; k < columns; k++) memcpy((char *)to + size * (size_t)(k * rows + i), from + size * (size_t)(i * columns + k), size);
  return true;
}

static bool fill_slot(golden_case *c, const kd_slot *s, const kd_eval *init, kd_value initial, void *to) {
  const char *name = file_name(c, s);
  const kd__st_tensor *t = !name ? NULL : s->kind == KD_SLOT_FIELD ? argument_of(c, name) : input_of(c, name);
  if (t) {
    if (kd__type_count(&t->type) != kd__type_count(&s->type)) return wrong(c, "`%s` and `%s` differ in size; ", name, s->name);
    if (turned(&t->type, &s->type)) return fill_turned(c, t, s, to);
    return kd__st_copy(t, (kd_dtype)s->type.dtype, to) || wrong(c, "`%s` cannot be read as its parameter wants it; ", name);
  }
  if (s->kind == KD_SLOT_PARAM) return wrong(c, "nothing in golden.def gives parameter `%s` a value; ", s->name);
  if (s->kind != KD_SLOT_STATE) return true;       /* keys and other run-time scalars: 0 */
  if (!kd_eval_has(init, initial)) return wrong(c, "state `%s` has no initial value; ", s->name);
  kd_eval_read(init, initial, to);
  return true;
}

static void **fill_slots(golden_case *c, const kd_entry *e) {
  void **data = KD_NEWN(&c->arena, void *, e->nslot + 1);
  kd_eval_slot *zero = KD_NEWN(&c->arena, kd_eval_slot, e->nslot + 1);
  for (uint32_t i = 0; i < e->nslot; i++) {
    data[i] = kd__arena_get(&c->arena, (size_t)kd__type_count(&e->slot[i].type) * 8 + 8);
    zero[i] = (kd_eval_slot){ i, data[i] };
  }
  kd_eval init;
  kd_eval_run(&init, e->init, zero, e->nslot, NULL, 0, KD_EVAL_DENSE);
  bool ok = true;
  for (uint32_t i = 0; i < e->nslot && ok; i++) ok = fill_slot(c, &e->slot[i], &init, kd_eval_write(&init, i), data[i]);
  kd_eval_free(&init);
  return ok ? data : NULL;
}

/* --- comparison --------------------------------------------------------------------------------------------------------------------- */
static double number_of(const golden_case *c, const char *key) {
  const char *s = kd__st_meta(&c->file, key);
  return s ? strtod(s, NULL) : 0;
}

static void worst(double *w, double share) { if (!(share <= *w)) *w = share; }   /* a NaN stays */

/* KIND NAME; a name of the file may have dots where the definition's parameter has underscores. */
static const golden_value *value_of(const golden_values *v, const char *kind, const char *name) {
  size_t k = strlen(kind), len = strlen(name);
  for (size_t i = 0; i < v->n; i++) {
    const char *full = v->v[i].name;
    if (strncmp(full, kind, k) != 0 || strlen(full) != k + len) continue;
    size_t j = 0;
    while (j < len && (full[k + j] == name[j] || (full[k + j] == '_' && name[j] == '.'))) j++;
    if (j == len) return &v->v[i];
  }
  return NULL;
}

static bool compare_loss(golden_case *c, const golden_values *v) {
  const golden_value *l = value_of(v, "", "loss");
  const kd__st_tensor *ref = kd__st_find(&c->file, "out.loss"), *wide = kd__st_find(&c->file, "out.loss_f64");
  double want = 0, atol = number_of(c, "loss_atol");
  if (!l || !ref) return wrong(c, "there is no loss; ");
  kd__st_copy(ref, KD_F64, &want);
  double share = fabs(*l->x - want) / (number_of(c, "loss_rtol") * fabs(want) + atol);
  worst(&c->worst_loss[c->way], share);
  if (!(share <= 1)) return wrong(c, "loss %.9g, and the reference has %.9g; ", *l->x, want);
  if (!wide || c->way != GOLDEN_TWINS) return true;
  kd__st_copy(wide, KD_F64, &want);
  if (fabs(*l->x - want) <= 1e-6 * fabs(want) + 1e-2 * atol) return true;
  return wrong(c, "loss %.12g, and the reference in double precision has %.12g; ", *l->x, want);
}

/* The gradient which the file calls NAME: of an input of that name, or of a weight through golden.def. */
static const golden_value *gradient_of(const golden_case *c, const kd_entry *e, const golden_values *v, const char *name) {
  const golden_value *g = value_of(v, "grad.", name);
  for (uint32_t i = 0; !g && i < e->nslot; i++) {
    const char *file = e->slot[i].kind == KD_SLOT_PARAM ? file_name(c, &e->slot[i]) : NULL;
    if (file && strcmp(file, name) == 0) g = value_of(v, "grad.", e->slot[i].name);
  }
  return g;
}

static bool compare_gradient(golden_case *c, const kd_entry *e, const golden_values *v, const kd__st_tensor *t) {
  const char *name = t->name + strlen("grad.");
  const golden_value *g = gradient_of(c, e, v, name);
  int64_t n = kd__type_count(&t->type);
  if (!g) return wrong(c, "no gradient for `%s`; ", name);
  if (g->count != n) return wrong(c, "the gradient of `%s` differs in size; ", name);
  double *want = kd__arena_get(&c->arena, sizeof(double) * (size_t)(n + 1)), most = 0, off = 0;
  kd__st_copy(t, KD_F64, want);
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(g->x[i] - want[i]);
    if (fabs(want[i]) > most) most = fabs(want[i]);
    if (!(d <= off)) off = d;
  }
  double share = off / (number_of(c, "grad_rtol") * most + number_of(c, "grad_atol"));
  worst(&c->worst_grad[c->way], share);
  return share <= 1 || wrong(c, "the gradient of `%s` is off by %.3g of %.3g; ", name, off, most);
}

/* What the file calls out.NAME: a further result of the definition, or what the state becomes that golden.def calls (..).NAME. */
static const golden_value *further_of(const golden_case *c, const kd_entry *e, const golden_values *v, const char *name, const kd_type **type) {
  const golden_value *g = value_of(v, "", name);
  *type = NULL;
  for (uint32_t i = 0; !g && i < e->nslot; i++)
    for (size_t k = 0; !g && e->slot[i].kind == KD_SLOT_STATE && k < sizeof weights / sizeof *weights; k++) {
      if (strcmp(weights[k].method, c->method) != 0 || !ends_with(e->slot[i].name, weights[k].slot) || !ends_with(weights[k].weight, name)) continue;
      g = value_of(v, "write.", e->slot[i].name);
      *type = &e->slot[i].type;
    }
  return g;
}

static bool compare_further(golden_case *c, const kd_entry *e, const golden_values *v, const kd__st_tensor *t) {
  const char *name = t->name + strlen("out.");
  const kd_type *type;
  const golden_value *g = further_of(c, e, v, name, &type);
  int64_t n = kd__type_count(&t->type);
  bool went_in = !tensor_of(c, "in", name) && !tensor_of(c, "param", name);
  for (uint32_t i = 0; !g && went_in && i < e->nslot; i++) if (e->slot[i].kind == KD_SLOT_FIELD && strcmp(e->slot[i].name, name) == 0) return true;
  if (!g) return wrong(c, "neither a result nor an updated state is compared with `%s`; ", t->name);
  if (g->count != n) return wrong(c, "`%s` differs in size; ", t->name);
  double *want = kd__arena_get(&c->arena, sizeof(double) * (size_t)(n + 1));
  kd__st_copy(t, KD_F64, want);
  for (int64_t i = 0; i < n; i++) {
    double x = type && turned(&t->type, type) ? g->x[i % t->type.dim[1] * t->type.dim[0] + i / t->type.dim[1]] : g->x[i];
    if (!(fabs(x - want[i]) <= 1e-5 * fabs(want[i]) + 1e-6)) return wrong(c, "`%s`[%lld] is %.9g, and the reference has %.9g; ", t->name, (long long)i, x, want[i]);
  }
  return true;
}

static bool compare_all(golden_case *c, const kd_entry *e, const golden_values *v) {
  bool ok = compare_loss(c, v);
  for (size_t i = 0; i < c->file.n; i++) {
    const kd__st_tensor *t = &c->file.tensor[i];
    if (strncmp(t->name, "grad.", 5) == 0) ok = compare_gradient(c, e, v, t) && ok;
    if (strncmp(t->name, "out.", 4) == 0 && strncmp(t->name, "out.loss", 8) != 0) ok = compare_further(c, e, v, t) && ok;
  }
  return ok;
}

/* --- one case -------------------------------------------------------------------------------------------------------------------------- */
static bool elaborate(golden_case *c, const golden_library *lib, kd_entry *entry) {
  kd_entry_arg arg[GOLDEN_MANY];
  size_t n;
  if (!arguments(c, golden_definition(lib->methods, c->method), arg, &n)) return false;
  golden_library mine = { lib->folder, lib->methods, &c->arena };
  kd_elab_options opt = { .load = load, .load_ctx = &mine, .real = precision(c) };
  kd_sink sink = { 0 };
  kd__sink_init(&sink, &c->arena);
  if (kd__elaborate_entry(&c->arena, &sink, lib->methods, &opt, c->method, arg, n, entry) && !sink.errors) return true;
  kd__buf b = { 0 };
  for (size_t i = 0; i < sink.diag.n; i++) kd__diag_text(sink.diag.v[i], false, &b);
  wrong(c, "%.*s", (int)b.n, b.p ? b.p : "no message");
  kd__buf_free(&b);
  return false;
}

static bool compare_way(golden_case *c, const golden_library *lib, golden_way way) {
  kd_entry entry;
  golden_values v;
  void **data;
  c->way = way;
  kd__arena_init(&c->arena, NULL, NULL);
  bool ok = elaborate(c, lib, &entry) && (data = fill_slots(c, &entry)) != NULL;
  if (ok) ok = golden_run(&c->arena, way, &entry, data, &v) ? compare_all(c, &entry, &v) : wrong(c, "it could not be run; ");
  kd__arena_free(&c->arena);
  return ok;
}

bool golden_compare(golden_case *c, const golden_library *lib) { return compare_way(c, lib, GOLDEN_TWINS) && compare_way(c, lib, GOLDEN_PLAN); }
