/* loop.c: the gradient of a loop is a loop that runs backward.
 *
 * What a turn started from is in the stacks of carries that the loop yields (kd__body_save); everything else of the turn is computed again. The
 * backward body computes turn times - 1 - i: it takes the saved carries, repeats the forward body, and pulls back from the body's results
 * (weighted with their rows of the stacks' gradients) and the new carries (weighted with the gradients that it carries) to the old carries and
 * to what the body reads from outside. The gradients of the latter are carried too, each as the first term of the next turn's sum, so that the sums
 * run in the order of the loop written out. */
#include "compiler/autodiff/rule.h"

enum { BODY, TIMES, CARRIES };                   /* attributes */

/* The inputs of a body by slot; 0 where it does not read one. */
static kd_value *inputs_of(kd__arena *a, const kd_graph *body, uint32_t nin) {
  kd_value *input = KD_NEWN(a, kd_value, nin + 1);
  for (size_t i = 1; input && i < body->node.n; i++)
    if (body->node.v[i].op == KD_OP_INPUT) input[body->node.v[i].attr[0].u.i] = body->node.v[i].out;
  return input;
}

/* By carry: what the body makes of it; 0 where it stays. */
static kd_value *writes_of(kd__arena *a, const kd_graph *body, int64_t carries) {
  kd_value *write = KD_NEWN(a, kd_value, (size_t)carries + 1);
  for (size_t i = 0; write && i < body->write.n; i++) write[body->write.v[i].slot - 1] = body->write.v[i].value;
  return write;
}

bool kd__loop_active(const kd_node *n, const bool *in, bool *out) {
  kd_graph *body = (kd_graph *)(uintptr_t)n->attr[BODY].u.graph;       /* only its arena is used */
  kd__arena *a = body->arena;
  size_t c = (size_t)n->attr[CARRIES].u.i, nto = c + body->result.n;
  kd_value *input = inputs_of(a, body, n->nin), *to = KD_NEWN(a, kd_value, nto + 1), *from = KD_NEWN(a, kd_value, n->nin + 1);
  kd_value *write = writes_of(a, body, (int64_t)c);
  bool *active = KD_NEWN(a, bool, n->nin + 1), more = true;
  if (!input || !to || !from || !active || !write) return false;
  for (uint32_t i = 0; i < n->nin; i++) active[i] = in[i];
  for (size_t j = 0; j < c; j++) to[j] = write[j];
  for (size_t k = 0; k < body->result.n; k++) to[c + k] = body->result.v[k].value;
  while (more) {                                 /* a carry may take it from turn to turn */
    size_t nfrom = 0;
    more = false;
    for (uint32_t i = 0; i < n->nin; i++)
      if (active[i] && input[i + 1]) from[nfrom++] = input[i + 1];
    if (!kd__active(body, from, nfrom, to, out, nto)) return false;
    for (size_t j = 0; j < c; j++)
      if (out[j] && !active[j]) active[j] = more = true;
  }
  for (size_t j = 0; j < c; j++) out[j] = active[j];
  return true;
}

/* --- copies ------------------------------------------------------------------------------------------------------------------------ */

/* Adds to `to` what the values need; `map`, by value of `from`, has the inputs that are needed at first, and everything in the end. */
static bool copy_for(const kd_graph *from, kd_graph *to, const kd_value *value, size_t n, kd_value *map) {
  bool *need = KD_NEWN(to->arena, bool, from->node.n);
  size_t most = 0;
  for (size_t i = 0; need && i < n; i++) need[from->def.v[value[i]]] = true;
  for (size_t i = from->node.n; need && i-- > 1;)
    for (uint32_t k = 0; k < from->node.v[i].nin && need[i]; k++) need[from->def.v[from->node.v[i].in[k]]] = true;
  for (size_t i = 1; i < from->node.n; i++) most = from->node.v[i].nin > most ? from->node.v[i].nin : most;
  kd_value *in = KD_NEWN(to->arena, kd_value, most + 1);
  if (!need || !in) return false;
  for (size_t i = 1; i < from->node.n; i++) {
    const kd_node *node = &from->node.v[i];
    if (!need[i] || node->op == KD_OP_INPUT) continue;
    for (uint32_t k = 0; k < node->nin; k++) in[k] = map[node->in[k]];
    to->once = node->once;                       /* what may not be differentiated stays so */
    kd_value v = kd__graph_add(to, (kd_op)node->op, in, node->nin, node->attr, node->origin, NULL);
    to->once = 0;
    for (uint32_t k = 0; k < node->nout; k++) map[node->out + k] = v + k;
  }
  return true;
}

/* --- the backward loop ------------------------------------------------------------------------------------------------------------ */

typedef struct back {
  kd__rule *r;
  kd__arena *a;
  const kd_graph *fwd;                           /* the forward body */
  int64_t times, c;
  kd_value *input, *write;                       /* of the forward body: by slot, by carry */
  bool *active;                                  /* by result of the loop */
  kd_value saved;                                /* the first of stacks of all carries, made for this; 0: the loop yields them */
  kd_build b;                                    /* the backward body */
  KD_VEC(kd_value) in;                           /* operands of the backward loop */
  KD_VEC(kd_type) carry;                         /* types of those that it carries */
  KD_VEC(kd_value) end; KD_VEC(kd_value) seed;
  KD_VEC(kd_value) wrt; KD_VEC(uint32_t) of;     /* of: the operand whose gradient it is */
  KD_VEC(int64_t) slot;                          /* by wrt: where its gradient is carried */
  kd_value turn;
  kd_value *map;                                 /* forward body to backward body */
} back;

static kd_type type_of(const back *k, kd_value v) { return *kd__type_of(k->r->b.g, v); }

/* A slot of the backward body for an outer value. */
static kd_value slot_for(back *k, kd_value outer) {
  kd_type t = type_of(k, outer);
  KD_PUSH(k->a, k->in, outer);
  return kd__b_input(&k->b, (int64_t)k->in.n, &t);
}

static kd_value row(back *k, kd_value stack) { return kd__b_gather(&k->b, slot_for(k, stack), k->turn, 0); }

/* The stack of carry j at each turn's start; 0 where there is none. */
static kd_value stack_of(const back *k, int64_t j) {
  if (k->saved) return k->saved + (kd_value)(k->c + j);
  for (size_t i = 0; i < k->fwd->result.n; i++)
    if (k->fwd->result.v[i].value == k->input[j + 1]) return k->r->n.out + (kd_value)(k->c + (int64_t)i);
  return 0;
}

/* The loop once more, for its carries, where it does not yield them. */
static bool save_carries(back *k) {
  bool missing = false;
  for (int64_t j = 0; j < k->c; j++) missing |= k->write[j] && k->input[j + 1] && !stack_of(k, j);
  if (!missing) return true;
  kd_graph *body = kd__graph_new(k->a);
  kd_build b = { body, k->r->b.origin };
  kd_value *map = KD_NEWN(k->a, kd_value, k->fwd->type.n), *value = KD_NEWN(k->a, kd_value, k->fwd->write.n + 1);
  kd_type *type = KD_NEWN(k->a, kd_type, (size_t)k->c + 1);
  if (!map || !value || !type) return false;
  for (uint32_t s = 0; s <= k->r->n.nin; s++) {
    kd_type t = { 0 };
    if (!k->input[s]) continue;
    t = *kd__type_of(k->fwd, k->input[s]);
    map[k->input[s]] = kd__b_input(&b, s, &t);
  }
  for (size_t i = 0; i < k->fwd->write.n; i++) value[i] = k->fwd->write.v[i].value;
  if (!copy_for(k->fwd, body, value, k->fwd->write.n, map)) return false;
  for (size_t i = 0; i < k->fwd->write.n; i++) kd__graph_write(body, k->fwd->write.v[i].slot, map[value[i]], k->fwd->write.v[i].origin);
  for (int64_t j = 0; j < k->c; j++) type[j] = type_of(k, k->r->n.in[j]);
  kd__body_save(body, k->c, type);
  k->saved = kd__b_loop(&k->r->b, body, k->times, k->c, k->r->n.in, k->r->n.nin);
  return true;
}

/* --- its slots, in order: gradients of carries, gradients of what is read from outside, then what the turn is computed from ------------ */

static bool carries_gradient(const back *k, uint32_t i) {
  if (i >= k->c) return k->r->need[i] && k->input[i + 1];
  return k->active[i] && (k->write[i] || k->input[i + 1]);             /* else the gradient passes by */
}

/* What the sum of a captured value's gradient begins with: its gradient so far, so that all is added up in the order of the loop written out. */
static kd_value goes_on(back *k, uint32_t i) {
  for (uint32_t j = (uint32_t)k->c; j < i; j++) if (k->r->n.in[j] == k->r->n.in[i] && k->r->need[j] && k->input[j + 1]) return 0;   /* once */
  k->r->whole[i] = k->r->have[i] != 0;
  return k->r->have[i];
}

/* A gradient that is carried; as yet only its slot. */
static void carry_gradient(back *k, uint32_t i) {
  kd_value start = i < k->c ? k->r->g[i] : goes_on(k, i);
  kd_type t = type_of(k, k->r->n.in[i]);
  if (!start) start = kd__b_const_like(&k->r->b, 0, k->r->n.in[i]);
  KD_PUSH(k->a, k->carry, t);
  KD_PUSH(k->a, k->of, i);
  KD_PUSH(k->a, k->slot, (int64_t)k->in.n + 1);
  KD_PUSH(k->a, k->seed, slot_for(k, start));
}

/* The forward body's inputs as the backward turn has them. */
static void map_inputs(back *k) {
  if (k->input[0]) k->map[k->input[0]] = k->turn;
  for (uint32_t i = 0; i < k->r->n.nin; i++) {
    kd_value v = k->input[i + 1];
    if (!v) continue;
    k->map[v] = i < k->c && k->write[i] ? row(k, stack_of(k, i)) : slot_for(k, k->r->n.in[i]);
  }
}

/* What is pulled back from: results first, as in the loop written out, where the stacks come after all turns. */
static bool repeat_turn(back *k) {
  size_t carried = k->of.n, n = 0;
  KD_VEC(kd_value) seed = { 0 };
  kd_value *value = KD_NEWN(k->a, kd_value, k->fwd->result.n + carried + 1);
  if (!value) return false;
  for (size_t i = 0; i < k->fwd->result.n; i++) {
    kd_value g = k->r->g[k->c + (int64_t)i];
    if (!g || !k->active[k->c + (int64_t)i]) continue;
    value[n++] = k->fwd->result.v[i].value;
    KD_PUSH(k->a, seed, row(k, g));
  }
  for (size_t i = 0; i < carried; i++) {
    uint32_t of = k->of.v[i];
    kd_value end = of < k->c && k->write[of] ? k->write[of] : k->input[of + 1];
    value[n++] = end;
    KD_PUSH(k->a, seed, k->seed.v[i]);
  }
  if (!copy_for(k->fwd, k->b.g, value, n, k->map)) return false;
  for (size_t i = 0; i < n; i++) KD_PUSH(k->a, k->end, k->map[value[i]]);
  k->seed.v = seed.v, k->seed.n = seed.n, k->seed.cap = seed.cap;
  return true;
}

/* The gradients for the old carries and for what is read become the new ones. */
static bool pull_turn_back(back *k) {
  size_t n = k->of.n;
  kd_value *grad = KD_NEWN(k->a, kd_value, n + 1);
  if (!grad) return false;
  for (size_t i = 0; i < n; i++) {
    kd_value v = k->input[k->of.v[i] + 1];
    KD_PUSH(k->a, k->wrt, v ? k->map[v] : 0);
  }
  if (!kd__pull_back(k->b.g, k->end.v, k->seed.v, k->end.n, k->wrt.v, n, grad, k->b.origin, k->r->limit, k->r->err)) return false;
  for (size_t i = 0; i < n; i++) {
    kd_type t = k->carry.v[i];
    if (!grad[i]) grad[i] = kd__b_const(&k->b, 0, (kd_dtype)t.dtype, t.dim, t.rank);
    kd__graph_write(k->b.g, k->slot.v[i], grad[i], k->b.origin);
  }
  return true;
}

static bool build(back *k) {
  kd_node *n = &k->r->n;
  if (!save_carries(k)) return false;
  k->b = (kd_build){ kd__graph_new(k->a), k->r->b.origin };
  kd_type number = { .dtype = KD_I64 };
  kd_value back_turn = kd__b_input(&k->b, 0, &number);
  k->turn = kd__b_op2(&k->b, KD_OP_SUB, kd__b_const(&k->b, (double)(k->times - 1), KD_I64, NULL, 0), back_turn);
  for (uint32_t i = 0; i < n->nin; i++)
    if (carries_gradient(k, i)) carry_gradient(k, i);
  size_t carried = k->of.n;
  map_inputs(k);
  if (!repeat_turn(k) || !pull_turn_back(k)) return false;
  kd__body_save(k->b.g, (int64_t)carried, k->carry.v);
  kd_value v = kd__b_loop(&k->r->b, k->b.g, k->times, (int64_t)carried, k->in.v, (uint32_t)k->in.n);
  for (size_t i = 0; i < carried; i++) k->r->d[k->of.v[i]] = v + (kd_value)i;
  return true;
}

void kd__grad_loop(kd__rule *r) {
  kd_node *n = &r->n;
  back k = { .r = r, .a = r->b.g->arena, .fwd = n->attr[BODY].u.graph, .times = n->attr[TIMES].u.i, .c = n->attr[CARRIES].u.i };
  k.input = inputs_of(k.a, k.fwd, n->nin);
  k.write = writes_of(k.a, k.fwd, k.c);
  k.active = KD_NEWN(k.a, bool, (size_t)n->nout + 1);
  k.map = KD_NEWN(k.a, kd_value, k.fwd->type.n);
  r->failed = !k.input || !k.write || !k.active || !k.map || !kd__loop_active(n, r->need, k.active) || !build(&k);
  for (int64_t j = 0; j < k.c; j++)                /* a carry that the body never touches */
    if (!r->failed && !r->d[j]) r->d[j] = r->g[j];
}
