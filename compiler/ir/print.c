/* print.c: the text form of a graph. read.c takes what this writes; docs/ir.md describes it. */
#include "compiler/ir/graph.h"
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *kd__type_text(const kd_type *t, char *out, size_t n) {
  size_t at = (size_t)snprintf(out, n, "%s[", kd__dtype_name((kd_dtype)t->dtype));
  for (int d = 0; d < t->rank && at < n; d++) at += (size_t)snprintf(out + at, n - at, "%s%" PRId64, d ? "," : "", t->dim[d]);
  if (at < n) snprintf(out + at, n - at, "]");
  return out;
}

/* The fewest digits that read back to the same bits; a NaN that is not the usual one is written as its bits. */
static void print_double(double v, kd__buf *out) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  if (isnan(v)) {
    if (bits == 0x7ff8000000000000u) kd__buf_puts(out, "nan");
    else kd__buf_printf(out, "nan:%016" PRIx64, bits);
    return;
  }
  char s[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(s, sizeof s, "%.*g", digits, v);
    if (strtod(s, NULL) == v) break;
  }
  char *point = strchr(s, localeconv()->decimal_point[0]);     /* the host may have set a locale */
  if (point) *point = '.';
  kd__buf_puts(out, s);
}

/* The bodies that a graph's loops and groups name, in the order in which they are first named. */
typedef KD_VEC(const kd_graph *) bodies;

static size_t number_of(const bodies *b, const kd_graph *body) {
  size_t i = 0;
  while (i < b->n && b->v[i] != body) i++;
  return i;
}

static void print_attr(const kd_attr *a, const bodies *b, kd__buf *out) {
  switch (a->kind) {
    case 'i': kd__buf_printf(out, "%" PRId64, a->u.i); break;
    case 'f': print_double(a->u.f, out); break;
    case 't': kd__buf_puts(out, kd__dtype_name((kd_dtype)a->u.i)); break;
    case 'g': kd__buf_printf(out, "b%zu", number_of(b, a->u.graph) + 1); break;
    default:
      kd__buf_putc(out, '[');
      for (uint32_t i = 0; i < a->n; i++) kd__buf_printf(out, "%s%" PRId64, i ? "," : "", a->u.list[i]);
      kd__buf_putc(out, ']');
  }
}

static void print_node(const kd_graph *g, const kd_node *n, const bodies *b, kd__buf *out) {
  const kd_op_info *info = kd__op_info((kd_op)n->op);
  for (uint32_t i = 0; i < n->nout; i++) kd__buf_printf(out, "%s%%%u", i ? ", " : "", n->out + i);
  kd__buf_printf(out, " = %s", info->name);
  for (uint32_t i = 0; i < n->nin; i++) kd__buf_printf(out, "%s%%%u", i ? ", " : " ", n->in[i]);
  for (int i = 0; i < info->nattr; i++) {
    kd__buf_printf(out, "%s%s=", i ? ", " : " {", info->attr[i].name);
    print_attr(&n->attr[i], b, out);
  }
  if (info->nattr) kd__buf_putc(out, '}');
  for (uint32_t i = 0; i < n->nout; i++) {
    char text[KD_TYPE_TEXT];
    kd__buf_printf(out, "%s%s", i ? ", " : " : ", kd__type_text(kd__type_of(g, n->out + i), text, sizeof text));
  }
  kd__buf_putc(out, '\n');
}

/* Quotes, backslashes and control characters are escaped; all other bytes stay as they are, so that any name reads back. */
static void print_string(const char *s, kd__buf *out) {
  kd__buf_putc(out, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') kd__buf_printf(out, "\\%c", c);
    else if (c < 0x20 || c == 0x7f) kd__buf_printf(out, "\\x%02x", c);
    else kd__buf_putc(out, (char)c);
  }
  kd__buf_putc(out, '"');
}

static void indent(kd__buf *out, int depth) {
  for (int i = 0; i < depth; i++) kd__buf_puts(out, "  ");
}

static void print_graph(const kd_graph *g, int depth, kd__buf *out);

/* Before the first node that names it. */
static void print_body(const kd_node *n, kd__arena *a, bodies *b, int depth, kd__buf *out) {
  const kd_graph *body = n->attr[0].u.graph;
  if (number_of(b, body) < b->n) return;
  KD_PUSH(a, *b, body);
  indent(out, depth);
  kd__buf_printf(out, "body b%zu {\n", b->n);
  print_graph(body, depth + 1, out);
  indent(out, depth);
  kd__buf_puts(out, "}\n");
}

static void print_graph(const kd_graph *g, int depth, kd__buf *out) {
  bodies b = { 0 };
  for (size_t i = 1; i < g->node.n; i++) {
    if (kd__body_of(&g->node.v[i])) print_body(&g->node.v[i], g->arena, &b, depth, out);
    indent(out, depth);
    print_node(g, &g->node.v[i], &b, out);
  }
  for (size_t i = 0; i < g->write.n; i++) {
    indent(out, depth);
    kd__buf_printf(out, "write %" PRId64 " %%%u\n", g->write.v[i].slot, g->write.v[i].value);
  }
  for (size_t i = 0; i < g->result.n; i++) {
    indent(out, depth);
    kd__buf_puts(out, "result ");
    print_string(g->result.v[i].name, out);
    kd__buf_printf(out, " %%%u\n", g->result.v[i].value);
  }
}

void kd__graph_print(const kd_graph *g, kd__buf *out) { print_graph(g, 0, out); }
