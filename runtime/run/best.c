/* best.c: keep best: a copy of a group's slots aside, brought back at the end. */
#include "runtime/run/machine.h"
#include <math.h>

static size_t slot_bytes(const kd_module *m, uint32_t slot) {
  const kd_type *t = &m->slot[slot].type;
  return (size_t)kd__type_count(t) * kd__dtype_size((kd_dtype)t->dtype);
}

size_t kd__group_bytes(const kd_module *m, uint32_t group) {
  size_t n = 0;
  for (uint32_t i = 0; i < m->group[group].n; i++) n += slot_bytes(m, m->group[group].slot[i]);
  return n;
}

static void copy(kd_machine *r, uint32_t group, bool back) {
  const kd_group *g = &r->m->group[group];
  char *kept = r->best[group];
  for (uint32_t i = 0; i < g->n; i++) {
    size_t bytes = slot_bytes(r->m, g->slot[i]);
    void *slot = kd__store_at(&r->store, g->slot[i]);
    memcpy(back ? slot : kept, back ? kept : slot, bytes);
    if (back) kd__store_changed(&r->store, g->slot[i]);
    kept += bytes;
  }
}

/* A tie keeps the first; what is not finite is never best. */
kd_status kd__best_keep(kd_machine *r, uint32_t group, bool larger, double value, uint32_t origin) {
  kd__best_position *b = &r->pos.best[group];
  b->tried++;
  if (!isfinite(value) || (b->kept && !(larger ? value > b->value : value < b->value))) return KD_OK;
  if (!r->best[group]) r->best[group] = kd__block_get(kd__group_bytes(r->m, group));
  if (!r->best[group]) return kd__fail(r, KD_E_MEMORY, origin, "out of memory for a copy of what `keep best` keeps");
  copy(r, group, false);
  b->kept = true;
  b->value = value;
  b->best = b->tried;
  return KD_OK;
}

/* What was best is forgotten then: if the loop is run again it begins anew. */
kd_status kd__best_restore(kd_machine *r, uint32_t group) {
  kd__best_position b = r->pos.best[group];
  r->pos.best[group] = (kd__best_position){ 0 };
  if (b.tried == 0) return KD_OK;
  if (!b.kept) return kd__tell_note(r, "keep best: none of the %lld values was a finite number, so the last parameters stay", (long long)b.tried);
  copy(r, group, true);
  return kd__tell_note(r, "keep best: value %lld of %lld, with %.6g", (long long)b.best, (long long)b.tried, b.value);
}
