/* dead.c: parts of a program's text that no result and no update needs: layers behind the last tap. */
#include "compiler/api/table.h"
#include <stdlib.h>

/* Which nodes something needs: operands precede their users. */
static bool *needed(const kd_graph *g) {
  bool *live = calloc(g->node.n + 1, sizeof *live);
  if (!live) return NULL;
  for (size_t i = 0; i < g->write.n; i++) if (g->write.v[i].value) live[g->def.v[g->write.v[i].value]] = true;
  for (size_t i = 0; i < g->result.n; i++) if (g->result.v[i].value) live[g->def.v[g->result.v[i].value]] = true;
  for (size_t i = g->node.n; i-- > 1;)
    for (uint32_t k = 0; live[i] && k < g->node.v[i].nin; k++) live[g->def.v[g->node.v[i].in[k]]] = true;
  return live;
}

/* What one node would cost: a plan of one call over dense tensors. */
static kd__work work_of(const kd_graph *g, const kd_node *n) {
  enum { MOST = 8 };
  kd_plan_tensor tensor[MOST] = { 0 };
  uint32_t at[MOST];
  if (n->nin + (size_t)n->nout > MOST || n->op == KD_OP_LOOP) return (kd__work){ 0 };
  for (uint32_t i = 0; i < n->nin + (uint32_t)n->nout; i++) {
    at[i] = i;
    tensor[i].type = *kd__type_of(g, i < n->nin ? n->in[i] : n->out + (i - n->nin));
    for (int d = 0; d < KD_MAX_RANK; d++) tensor[i].stride[d] = 1;
  }
  kd_plan_call call = { .op = (kd_op)n->op, .nin = n->nin, .nout = n->nout, .in = at, .out = at + n->nin, .attr = n->attr };
  return kd__work_call(&(kd_plan){ .tensor = tensor, .ntensor = MOST, .call = &call, .ncall = 1 }, 0);
}

/* A view or a constant is no work. */
static bool works(const kd_node *n) {
  kd_op_class cls = kd__op_info((kd_op)n->op)->cls;
  return cls != KD_CLASS_LEAF && cls != KD_CLASS_VIEW;
}

void kd__table_dead(kd_table *t, kd__table_program *to, const kd_module *m, uint32_t plan) {
  const kd_graph *g = kd__module_graph(m, plan);
  bool *live = g ? needed(g) : NULL;
  if (!live) return;
  kd__map alive;                                 /* layers of which something is needed */
  kd__map_init(&alive, &t->arena);
  for (size_t i = 1; i < g->node.n; i++)
    if (live[i] && works(&g->node.v[i])) *kd__map_at(&alive, kd__module_place(m, g->node.v[i].origin)) = to;
  for (size_t i = 1; i < g->node.n; i++) {
    const kd_node *n = &g->node.v[i];
    const char *layer = kd__module_place(m, n->origin);
    if (live[i] || !works(n) || !*layer || kd__map_has(&alive, layer)) continue;
    kd__work w = work_of(g, n);
    if (w.elements < 2) continue;                /* numbers that are reckoned with, such as a size, are no layer's work */
    kd_line *l;
    void **at = kd__map_at(&to->seen[0], layer);
    if (!*at) {
      KD_PUSH(&t->arena, to->line[KD_LINE_LAYER], (kd_line){ .name = kd__arena_strndup(&t->arena, layer, strlen(layer)), .layer = "", .state = KD_STATE_DEAD });
      *at = (void *)(uintptr_t)to->line[KD_LINE_LAYER].n;
    }
    l = &to->line[KD_LINE_LAYER].v[(uintptr_t)*at - 1];
    if (l->state != KD_STATE_DEAD) continue;     /* its gradient has something to do, or an update */
    l->flops += w.flops, l->bytes += w.bytes, l->calls += 1;
  }
  free(live);
}
