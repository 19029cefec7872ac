/* print.c: plans as text (for golden tests and `kdc compile --dump=plan`), and the kernels that a bound plan uses. */
#include "runtime/exec/bound.h"
#include "runtime/kernels/group.h"
#include <inttypes.h>

static void print_dims(kd__buf *out, char open, const int64_t *v, uint32_t n, char close) {
  kd__buf_putc(out, open);
  for (uint32_t i = 0; i < n; i++) kd__buf_printf(out, "%s%" PRId64, i ? "," : "", v[i]);
  kd__buf_putc(out, close);
}

/* Strides say something only where there are two elements and they are not the row-major ones. */
static bool row_major(const kd_plan_tensor *t) {
  int64_t want = 1;
  for (int d = t->type.rank - 1; d >= 0; d--) {
    if (t->type.dim[d] == 0) return true;
    if (t->type.dim[d] != 1 && t->stride[d] != want) return false;
    want *= t->type.dim[d];
  }
  return true;
}

static void print_tensor(const kd_plan_tensor *t, const kd_slot *slots, kd__buf *out) {
  kd__buf_puts(out, kd__dtype_name((kd_dtype)t->type.dtype));
  print_dims(out, '[', t->type.dim, t->type.rank, ']');
  if (t->place == KD_IN_SLOT) kd__buf_printf(out, " slot %s", slots[t->slot].name);
  else kd__buf_puts(out, " arena");
  kd__buf_printf(out, "%+" PRId64, t->offset);
  if (row_major(t)) return;
  kd__buf_puts(out, " strides ");
  print_dims(out, '(', t->stride, t->type.rank, ')');
}

static void print_attr(const kd_attr *a, kd__buf *out) {
  switch (a->kind) {
    case 'i': kd__buf_printf(out, "%" PRId64, a->u.i); break;
    case 'f': kd__buf_printf(out, "%.17g", a->u.f); break;
    case 't': kd__buf_puts(out, kd__dtype_name((kd_dtype)a->u.i)); break;
    case 'g': kd__buf_puts(out, "below"); break;
    default: print_dims(out, '[', a->u.list, a->n, ']'); break;
  }
}

static void print_call(const kd_plan_call *c, bool beside, kd__buf *out) {
  bool copy = c->op == KD_OP_COUNT;
  kd__buf_puts(out, copy ? "copy" : kd__op_info(c->op)->name);
  for (uint32_t i = 0; i < c->nin; i++) kd__buf_printf(out, "%s t%" PRIu32, i ? "," : "", c->in[i]);
  kd__buf_puts(out, " ->");
  for (uint32_t i = 0; i < c->nout; i++) kd__buf_printf(out, "%s t%" PRIu32, i ? "," : "", c->out[i]);
  int n = copy ? 0 : kd__op_info(c->op)->nattr;
  for (int i = 0; i < n; i++) {
    kd__buf_printf(out, "%s%s=", i ? " " : " {", kd__op_info(c->op)->attr[i].name);
    print_attr(&c->attr[i], out);
  }
  kd__buf_puts(out, n ? "}" : "");
  if (beside) kd__buf_printf(out, ", lane %" PRIu32, c->lane);
  kd__buf_putc(out, '\n');
}

static void print_plan(const kd_plan *p, const kd_slot *slots, int depth, kd__buf *out);

static void line(kd__buf *out, int depth) {
  for (int i = 0; i < depth; i++) kd__buf_puts(out, "  ");
}

/* What print_call says of a loop names its body: this. */
static void print_loop(const kd_plan_loop *l, int depth, kd__buf *out) {
  if (l) print_plan(l->body, l->slot, depth + 1, out);
}

static void print_group(const kd_group *g, int depth, kd__buf *out) {
  kd__buf text = { 0 };
  kd__group_print(g, &text);
  for (const char *p = text.p ? text.p : "", *nl; (nl = strchr(p, '\n')); p = nl + 1) {
    line(out, depth + 1);
    kd__buf_add(out, p, (size_t)(nl + 1 - p));
  }
  kd__buf_free(&text);
}

static void print_plan(const kd_plan *p, const kd_slot *slots, int depth, kd__buf *out) {
  line(out, depth);
  kd__buf_printf(out, "plan \"%s\": arena %" PRId64 " bytes, copied %" PRId64 " bytes\n", p->name, p->arena_size, p->copied);
  for (uint32_t i = 0; i < p->ntensor; i++) {
    line(out, depth);
    kd__buf_printf(out, "t%" PRIu32 " = ", i);
    print_tensor(&p->tensor[i], slots, out);
    kd__buf_putc(out, '\n');
  }
  for (uint32_t i = 0, until = 0; i < p->ncall; i++) {
    if (p->call[i].side) {
      line(out, depth);
      kd__buf_printf(out, "%" PRIu32 " calls side by side\n", p->call[i].side);
      until = i + p->call[i].side;
    }
    line(out, depth);
    print_call(&p->call[i], i < until, out);
    print_loop(p->call[i].loop, depth, out);
    if (p->call[i].group) print_group(p->call[i].group, depth, out);
  }
  for (uint32_t i = 0; i < p->nresult; i++) {
    line(out, depth);
    kd__buf_printf(out, "result \"%s\" t%" PRIu32 "\n", p->result[i].name, p->result[i].tensor);
  }
  for (uint32_t i = 0; i < p->nwrites; i++) {
    line(out, depth);
    kd__buf_printf(out, "writes %s\n", slots[p->writes[i]].name);
  }
}

void kd__plan_print(const kd_plan *p, const kd_slot *slots, kd__buf *out) { print_plan(p, slots, 0, out); }

void kd__bound_describe(const kd_bound *b, kd__buf *out) {
  for (uint32_t i = 0; i < b->plan->ncall; i++) {
    const kd_call *c = &b->call[i];
    if (b->loop[i]) {
      kd__bound_describe(b->loop[i]->body, out);
      continue;
    }
    kd__buf_printf(out, "%s %s ", b->kernel[i] ? b->kernel[i]->name : "copy", kd__dtype_name((kd_dtype)c->out[0].dtype));
    for (uint32_t k = 0; k < c->nin; k++) {
      if (k) kd__buf_putc(out, 'x');
      print_dims(out, '[', c->in[k].dim, c->in[k].rank, ']');
    }
    kd__buf_puts(out, c->nin ? "->" : "");
    print_dims(out, '[', c->out[0].dim, c->out[0].rank, ']');
    kd__buf_putc(out, '\n');
  }
}
