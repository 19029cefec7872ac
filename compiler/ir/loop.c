/* loop.c: loops and groups: how many results, what types, and building them. A body is a program with slots of its own (ops.def). */
#include "compiler/ir/shape.h"

enum { BODY, TIMES, CARRIES };                   /* attributes */
enum { MOST_RESULTS = UINT16_MAX };

uint32_t kd__result_count(kd_op op, const kd_attr *attr) {
  int n = kd__op_info(op)->nout;
  if (n >= 0) return (uint32_t)n;
  if (attr[BODY].kind != 'g' || !attr[BODY].u.graph) return 0;
  if (op == KD_OP_GROUP) return attr[BODY].u.graph->result.n > MOST_RESULTS ? 0 : (uint32_t)attr[BODY].u.graph->result.n;
  if (attr[CARRIES].u.i < 0 || attr[CARRIES].u.i > MOST_RESULTS) return 0;
  return (uint32_t)(attr[CARRIES].u.i + (int64_t)attr[BODY].u.graph->result.n);
}

/* Slot 0 is the turn; then operands in order. NULL: there is no such slot. */
static const kd_type *slot_type(const kd__shape_call *c, int64_t slot) {
  static const kd_type turn = { .dtype = KD_I64 };
  return slot == 0 ? &turn : slot > 0 && slot <= (int64_t)c->nin ? c->in[slot - 1] : NULL;
}

static bool check_slot(const kd__shape_call *c, int64_t slot, const kd_type *t, const char *does) {
  char have[KD_TYPE_TEXT], want[KD_TYPE_TEXT];
  const kd_type *s = slot_type(c, slot);
  if (!s) return kd__no(c, "the body %s slot %lld; the loop has %u operands", does, (long long)slot, c->nin);
  if (kd__type_equal(s, t)) return true;
  return kd__no(c, "the body %s slot %lld as %.90s; it is %.90s", does, (long long)slot, kd__type_text(t, have, sizeof have), kd__type_text(s, want, sizeof want));
}

static bool check_slots(const kd__shape_call *c, const kd_graph *body, int64_t carries) {
  for (size_t i = 1; i < body->node.n; i++) {
    const kd_node *n = &body->node.v[i];
    if (n->op == KD_OP_INPUT && !check_slot(c, n->attr[0].u.i, kd__type_of(body, n->out), "reads")) return false;
  }
  for (size_t i = 0; i < body->write.n; i++) {
    const kd_write *w = &body->write.v[i];
    if (w->slot < 1 || w->slot > carries) return kd__no(c, "the body writes slot %lld, which is no carry", (long long)w->slot);
    if (!check_slot(c, w->slot, kd__type_of(body, w->value), "writes")) return false;
  }
  return true;
}

bool kd__shape_loop(const kd__shape_call *c) {
  const kd_graph *body = c->attr[BODY].u.graph;
  int64_t times = c->attr[TIMES].u.i, carries = c->attr[CARRIES].u.i;
  if (!body) return kd__no(c, "a loop needs a body");
  if (times < 0) return kd__no(c, "times is %lld", (long long)times);
  if (carries < 0 || carries > (int64_t)c->nin) return kd__no(c, "carries is %lld; there are %u operands", (long long)carries, c->nin);
  if (carries + (int64_t)body->result.n > MOST_RESULTS) return kd__no(c, "the loop has too many results");
  if (!check_slots(c, body, carries)) return false;
  for (int64_t i = 0; i < carries; i++) c->out[i] = *c->in[i];
  for (size_t k = 0; k < body->result.n; k++) {
    const kd_type *t = kd__type_of(body, body->result.v[k].value);
    kd_type *to = &c->out[carries + (int64_t)k];
    if (t->rank == KD_MAX_RANK) return kd__no(c, "result %zu of the body has rank %d: there is no room for the turns", k + 1, KD_MAX_RANK);
    *to = (kd_type){ .dtype = t->dtype, .rank = (uint8_t)(t->rank + 1), .dim[0] = times };
    memcpy(to->dim + 1, t->dim, sizeof *t->dim * t->rank);
  }
  return true;
}

/* --- groups ---------------------------------------------------------------------------------------------------------------------- */

static bool check_member(const kd__shape_call *c, const kd_graph *body, const kd_node *n) {
  char have[KD_TYPE_TEXT], want[KD_TYPE_TEXT];
  if (n->op == KD_OP_LOOP || n->op == KD_OP_GROUP) return kd__no(c, "the body of a group holds a %s", kd__op_info((kd_op)n->op)->name);
  if (n->op != KD_OP_INPUT) return true;
  int64_t slot = n->attr[0].u.i;
  const kd_type *t = kd__type_of(body, n->out);
  if (slot < 0 || slot >= (int64_t)c->nin) return kd__no(c, "the body reads slot %lld; the group has %u operands", (long long)slot, c->nin);
  if (kd__type_equal(t, c->in[slot])) return true;
  return kd__no(c, "the body reads slot %lld as %.90s; it is %.90s", (long long)slot, kd__type_text(t, have, sizeof have), kd__type_text(c->in[slot], want, sizeof want));
}

bool kd__shape_group(const kd__shape_call *c) {
  const kd_graph *body = c->attr[BODY].u.graph;
  if (!body) return kd__no(c, "a group needs a body");
  if (body->write.n) return kd__no(c, "the body of a group writes a slot");
  if (body->result.n == 0 || body->result.n > MOST_RESULTS) return kd__no(c, "a group has one result or more, and not too many");
  for (size_t i = 1; i < body->node.n; i++)
    if (!check_member(c, body, &body->node.v[i])) return false;
  for (size_t k = 0; k < body->result.n; k++) c->out[k] = *kd__type_of(body, body->result.v[k].value);
  return true;
}

kd_value kd__b_group(kd_build *b, const kd_graph *body, const kd_value *in, uint32_t nin) {
  return kd__graph_add(b->g, KD_OP_GROUP, in, nin, (kd_attr[]){ kd__ag(body) }, b->origin, NULL);
}

/* --- building -------------------------------------------------------------------------------------------------------------------- */

kd_value kd__b_loop(kd_build *b, const kd_graph *body, int64_t times, int64_t carries, const kd_value *in, uint32_t nin) {
  return kd__graph_add(b->g, KD_OP_LOOP, in, nin, (kd_attr[]){ kd__ag(body), kd__ai(times), kd__ai(carries) }, b->origin, NULL);
}

kd_value kd__body_input(const kd_graph *body, int64_t slot) {
  for (size_t i = 1; i < body->node.n; i++)
    if (body->node.v[i].op == KD_OP_INPUT && body->node.v[i].attr[0].u.i == slot) return body->node.v[i].out;
  return 0;
}

kd_value kd__body_write(const kd_graph *body, int64_t slot) {
  for (size_t i = 0; i < body->write.n; i++)
    if (body->write.v[i].slot == slot) return body->write.v[i].value;
  return 0;
}

void kd__body_save(kd_graph *body, int64_t carries, const kd_type *type) {
  kd_build b = { body, 0 };
  for (int64_t i = 0; i < carries; i++) kd__graph_result(body, "saved", kd__b_input(&b, i + 1, &type[i]));
}
