/* predict.c: seconds from operations and bytes. */
#include "runtime/cost/predict.h"
#include <math.h>

typedef struct speed { const char *kernel; double flops, bytes, alone, each, walk; } speed;
typedef struct shape { const char *kernel; kd_op op; double least, flops; bool strides; } shape;

static const speed speeds[] = {
#define KD_SPEED(kernel, flops, bytes, alone, each, walk) { kernel, flops, bytes, alone, each, walk },
#define KD_SHAPE(...)
#define KD_STRIDED(...)
#include "runtime/cost/speed.def"
#undef KD_SPEED
#undef KD_SHAPE
#undef KD_STRIDED
};
static const shape shapes[] = {
#define KD_SPEED(...)
#define KD_SHAPE(kernel, op, least, flops) { kernel, KD_OP_##op, least, flops, false },
#define KD_STRIDED(kernel, op, least, flops) { kernel, KD_OP_##op, least, flops, true },
#include "runtime/cost/speed.def"
#undef KD_SPEED
#undef KD_SHAPE
#undef KD_STRIDED
};

static bool begins(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

/* The last row takes every name. */
static const speed *speed_of(const char *kernel) {
  const speed *s = speeds;
  while (!begins(kernel, s->kernel)) s++;
  return s;
}

static double shortest(const kd_plan *p, const kd_plan_call *c) {
  const kd_type *a = &p->tensor[c->in[0]].type, *b = &p->tensor[c->in[1]].type, *o = &p->tensor[c->out[0]].type;
  if (c->op == KD_OP_MATMUL && o->rank >= 2 && a->rank) return fmin(fmin((double)o->dim[o->rank - 1], (double)o->dim[o->rank - 2]), (double)a->dim[a->rank - 1]);
  const kd_type *w = c->op == KD_OP_CONV_WEIGHT ? o : b;
  return w->rank >= 2 ? fmin((double)w->dim[0], (double)w->dim[1]) : 0;
}

static double reached(const kd_plan *p, const kd_plan_call *c, const char *kernel, double otherwise) {
  if (c->op >= KD_OP_COUNT || kd__op_info(c->op)->cls != KD_CLASS_CONTRACT || c->nin < 2) return otherwise;
  double side = shortest(p, c);
  bool strides = c->op != KD_OP_MATMUL && c->attr[0].u.list[0] > 1;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    if (shapes[i].op == c->op && (strides || !shapes[i].strides) && side >= shapes[i].least && begins(kernel, shapes[i].kernel)) return shapes[i].flops;
  return otherwise;
}

/* Of operands that are touched in part (rows of a gather) as much as the work says. */
static double moving(const double *rate, const kd__work *w, const kd__reached *r) {
  double t = 0, all = 0;
  for (int k = 0; k < KD__REACHES; k++) t += r->bytes[k] / rate[k], all += r->bytes[k];
  return all > 0 ? t * w->bytes / all : 0;
}

double kd__limit_seconds(const kd__limits *l, const kd__work *w, const kd__reached *r) {
  return fmax(w->flops / l->flops[KD__TEAM], moving(l->bytes[KD__TEAM], w, r));
}

double kd__predict_seconds(const kd__limits *l, const kd_plan *p, uint32_t call, const char *kernel, bool team, const kd__work *w, const kd__reached *r) {
  const kd_plan_call *c = &p->call[call];
  if (c->op == KD_OP_LOOP) return moving(l->bytes[KD__ALONE], w, r);
  const speed *s = speed_of(kernel);
  int how = team && w->elements >= s->alone && w->slots >= 16384 ? KD__TEAM : KD__ALONE;
  double compute = (w->slots + s->walk * w->points) / (l->flops[how] / 2 * reached(p, c, kernel, s->flops)), move = moving(l->bytes[how], w, r) / s->bytes;
  return s->each * 1e-6 + (how == KD__TEAM ? l->region : 0) + fmax(compute, move);
}

double kd__predict_dispatch(const kd__limits *l, bool team) { return 0.3e-6 + (team && l->threads > 1 ? 2e-6 : 0); }
