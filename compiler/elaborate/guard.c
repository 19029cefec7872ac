/* guard.c: arguments whose axes fit by size and yet are hardly meant so (language-notes, section 6: G6, G7, G14). */
#include "compiler/elaborate/elab.h"

static const char *first_actual(const labels *back, size_t n, const char *formal) {
  for (size_t i = 0; i < n; i++) if (back->map.v[i].formal == formal) return back->map.v[i].actual;
  return NULL;
}

/* An argument's axes that meet those of arguments before it (the first n of `back`). The same names in another order are refused (guard G7);
 * other names of equal size, where the experiment gave both, are told (guard G6). */
bool kd__like_before(elab *e, scope *in, const tensor *t, const tensor *out, const labels *back, size_t n, const kd_ast *at, const char *callee) {
  const char *was[KD_MAX_RANK], *order = "[";
  int differ = 0, known = 0;
  for (int i = 0; i < t->rank; i++) {
    was[i] = first_actual(back, n, out->ax[i].label);
    order = kd__arena_printf(e->a, "%s%s%s", order, i ? ", " : "", was[i] ? was[i] : "..");
    if (!was[i] || was[i] == t->ax[i].label) continue;
    differ++;
    for (int j = 0; j < t->rank; j++) known += was[i] == t->ax[j].label;
  }
  if (differ > 1 && known == differ) {
    kd_diag *d = kd__err(e, KD_D_OTHER_ORDER, at->span, callee, kd__arena_printf(e->a, "%s]", order), kd__t_show(e, t));
    kd__diag_help(e->sink, d, "order(%.*s, %s])", (int)at->span.len, at->span.src->text + at->span.at, order);
    return false;
  }
  for (int i = 0; i < t->rank; i++) {
    if (!was[i] || was[i] == t->ax[i].label || *was[i] == '.' || t->ax[i].guessed != AXIS_NAMED) continue;
    const axis *seen = kd__scope_axis(in, out->ax[i].label);
    if (!seen || seen->guessed != AXIS_NAMED) continue;
    kd_diag *d = kd__err(e, KD_D_NAMES_MEET, at->span, callee, was[i], t->ax[i].label, (long long)seen->size);
    kd__diag_help(e->sink, d, "if they are the same, say so: %.*s[%s as %s]", (int)at->span.len, at->span.src->text + at->span.at, t->ax[i].label, was[i]);
  }
  return true;
}

/* A network's input whose axes have the names that it declares, in another order: places count there (guard G14). */
bool kd__inputs_in_order(elab *e, scope *in, const def *d, const labels *back, const kd_ast *at) {
  const kd_ast *params = d->ast->kid[0];
  for (uint32_t i = 0; i < params->n; i++) {
    const kd_ast *type = params->kid[i]->n ? params->kid[i]->kid[0] : NULL;
    if (!type || type->kind != KD_AST_TYPE || !type->n || !type->kid[0]) continue;
    const kd_ast *axes = type->kid[0];
    int differ = 0, known = 0;
    const char *text = kd__arena_strndup(e->a, axes->span.src->text + axes->span.at, axes->span.len);
    const char *has = "[";
    for (uint32_t k = 0; k < axes->n; k++) {
      const char *formal = axes->kid[k]->text ? kd__intern(e, axes->kid[k]->text) : NULL, *is = formal ? first_actual(back, back->map.n, formal) : NULL;
      has = kd__arena_printf(e->a, "%s%s%s", has, k ? ", " : "", is ? is : "..");
      if (!is || is == formal) continue;
      differ++;
      for (uint32_t j = 0; j < axes->n; j++) known += axes->kid[j]->text && strcmp(axes->kid[j]->text, is) == 0;
    }
    if (differ < 2 || known != differ) continue;
    binding *b = kd__scope_here(in, params->kid[i]->text);
    kd_diag *dg = kd__err(e, KD_D_INPUT_ORDER, b && b->at ? b->at->span : at->span, d->name, text, kd__arena_printf(e->a, "%s]", has));
    kd__diag_help(e->sink, dg, "order(x, %s) puts them so", text);
    return false;
  }
  return true;
}
