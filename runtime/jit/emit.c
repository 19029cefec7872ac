/* emit.c: the chunk function of a group: its loops, and what is made at which level of them. */
#include "runtime/jit/emit.h"

static bool is_reduction(const kd_group_ins *v) { return v->kind == KD_GROUP_REDUCE || v->kind == KD_GROUP_SPREAD; }

static LLVMValueRef emit_iota(kdj_emit *e, const kd_group_ins *v) {
  uint32_t a = (uint32_t)__builtin_ctz(v->over);
  LLVMValueRef at = e->at[a];
  if ((int)a == e->s->v) at = LLVMBuildAdd(e->b, kdj_splat(e, at), kdj_lanes(e), "");
  return v->dtype == KD_I64 ? at : LLVMBuildSIToFP(e->b, at, kdj_type(e, (kd_dtype)v->dtype, kdj_is_vec(at)), "");
}

static LLVMValueRef emit_const(kdj_emit *e, const kd_group_ins *v) {
  LLVMTypeRef t = kdj_type(e, (kd_dtype)v->dtype, false);
  if (v->dtype == KD_I64) return LLVMConstInt(t, (uint64_t)(v->value >= 0x1p63 ? INT64_MAX : v->value <= -0x1p63 ? INT64_MIN : (int64_t)v->value), true);
  return v->dtype == KD_BOOL ? LLVMConstInt(t, v->value != 0, false) : LLVMConstReal(t, v->dtype == KD_F32 ? (double)(float)v->value : v->value);
}

static void emit_value(kdj_emit *e, uint32_t i) {
  const kd_group_ins *v = &e->s->ins[i].v;
  switch ((kd_group_kind)v->kind) {
    case KD_GROUP_LOAD: e->val[i] = kdj_emit_load(e, i); break;
    case KD_GROUP_GATHER: e->val[i] = kdj_emit_gather(e, i); break;
    case KD_GROUP_CONST: e->val[i] = emit_const(e, v); break;
    case KD_GROUP_IOTA: e->val[i] = emit_iota(e, v); break;
    case KD_GROUP_ELEM: e->val[i] = kdj_emit_elem(e, i); break;
    default: break;
  }
}

/* --- nests --------------------------------------------------------------------------------------------------------------------------------- */
static uint32_t depth_of(const kdj_emit *e, const kdj_nest *n, uint32_t i) {
  uint32_t axes = e->s->ins[i].v.axes & e->s->inner, depth = 0;
  for (uint32_t k = 0; k < n->n; k++)
    if (axes >> n->order[k] & 1) depth = k + 1;
  return depth;
}

static void emit_root(kdj_emit *e, uint32_t i) {
  const kd_group_ins *v = &e->s->ins[i].v;
  if (v->kind == KD_GROUP_STORE) {
    LLVMValueRef cond = e->s->ins[i].scope == KDJ_ENTRY ? LLVMBuildICmp(e->b, LLVMIntEQ, e->begin, kdj_int(e, 0), "") : kdj_once(e, v->axes);
    kdj_if f = { NULL };
    if (cond) f = kdj_if_begin(e, cond);
    kdj_emit_store(e, i);
    if (cond) kdj_if_end(e, &f);
  }
  else if (v->kind == KD_GROUP_CHECK) kdj_emit_check(e, i);
  else if (is_reduction(v)) kdj_acc_point(e, i);
}

/* --- rows side by side ----------------------------------------------------------------------------------------------------------------------- */
/* Each has its own values, positions and sums; loops are shared. All that is made for one is made for the others next to it. */
static void set_way(kdj_emit *e, uint32_t w) {
  e->way[e->w].aside = e->aside;
  e->w = w, e->val = e->way[w].val, e->base = e->way[w].base, e->row = e->way[w].row, e->aside = e->way[w].aside;
  for (uint32_t a = 0; a < e->s->g.rank; a++)
    if (e->s->row_axes >> a & 1) e->at[a] = e->way[w].at[a];
}
static void rounds(kdj_emit *e) {
  for (uint32_t w = 0; w < e->ways; w++) set_way(e, w), kdj_acc_round(e);
}

/* Values first: a store may go to where one of them was read. */
static void values_at(kdj_emit *e, const kdj_nest *n, uint32_t depth) {
  for (size_t k = 0; k < n->need.n; k++) {
    uint32_t i = n->need.v[k] & ~(1u << 31);
    if (depth_of(e, n, i) != depth) continue;
    if (n->need.v[k] >> 31) { e->val[i] = kdj_buffer_load(e, i); continue; }
    emit_value(e, i);
    if (e->s->ins[i].buffer >= 0) kdj_buffer_store(e, i, e->val[i]);
  }
}

static void walk(kdj_emit *e, const kdj_nest *n, uint32_t depth);

static void blocks(kdj_emit *e, const kdj_nest *n, uint32_t depth, LLVMValueRef from, LLVMValueRef to, int64_t step) {
  uint32_t a = n->order[depth];
  kdj_loop l = kdj_loop_begin(e, from, to, step);
  e->at[a] = l.i;
  walk(e, n, depth + 1);
  kdj_loop_end(e, &l);
}

/* One axis, of `count` steps: in strips where sums in single precision must not become longer. */
static void along(kdj_emit *e, const kdj_nest *n, uint32_t depth, int64_t count, int64_t step, bool last) {
  int64_t strip = last && kdj_acc_strips(e) ? (KDJ_SINGLE / KDJ_MAX_LANES) * step : count * step, whole = count * step / strip * strip;
  if (strip >= count * step) {
    blocks(e, n, depth, kdj_int(e, 0), kdj_int(e, count * step), step);
    if (last) rounds(e);
    return;
  }
  kdj_loop l = kdj_loop_begin(e, kdj_int(e, 0), kdj_int(e, whole), strip);
  blocks(e, n, depth, l.i, LLVMBuildNSWAdd(e->b, l.i, kdj_int(e, strip), ""), step);
  rounds(e);
  kdj_loop_end(e, &l);
  if (whole < count * step) {
    blocks(e, n, depth, kdj_int(e, whole), kdj_int(e, count * step), step);
    rounds(e);
  }
}

static LLVMValueRef rest_mask(kdj_emit *e) {
  LLVMValueRef lane[KDJ_MAX_LANES];
  for (uint32_t k = 0; k < e->lanes; k++) lane[k] = LLVMConstInt(e->i1, k < e->s->rest, false);
  return LLVMConstVector(lane, e->lanes);
}

static void walk(kdj_emit *e, const kdj_nest *n, uint32_t depth) {
  const kdj_shape *s = e->s;
  for (uint32_t w = 0; w < e->ways; w++) {
    set_way(e, w);
    kdj_acc_enter(e, depth);
    if (depth > 0 || n->n == 0) values_at(e, n, depth);
    for (size_t r = 0; depth == n->n && r < n->root.n; r++) emit_root(e, n->root.v[r]);
  }
  if (depth < n->n) {
    uint32_t a = n->order[depth];
    bool last = depth + 1 == n->n;
    if ((int)a != s->v) along(e, n, depth, s->g.size[a], 1, last);
    else {
      if (s->nvec) along(e, n, depth, s->nvec, s->lanes, last);
      if (s->rest) {
        e->at[a] = kdj_int(e, s->nvec * s->lanes), e->mask = rest_mask(e), e->active = s->rest;
        walk(e, n, depth + 1);
        e->mask = NULL, e->active = e->lanes;
        rounds(e);
      }
    }
  }
  for (uint32_t w = 0; w < e->ways; w++) set_way(e, w), kdj_acc_leave(e, depth);
}

/* The buffers of sums that are filled row by row: along the kept axes from n->order[depth] on. */
static void clear_sums(kdj_emit *e, const kdj_nest *n, uint32_t depth) {
  const kdj_shape *s = e->s;
  if (depth == n->n) {
    for (uint32_t w = 0; w < e->ways; w++) set_way(e, w), kdj_acc_clear(e);
    return;
  }
  uint32_t a = n->order[depth];
  bool vec = (int)a == s->v;
  if (n->over >> a & 1) { clear_sums(e, n, depth + 1); return; }
  if (!vec || s->nvec) {
    kdj_loop l = kdj_loop_begin(e, kdj_int(e, 0), kdj_int(e, vec ? s->nvec * s->lanes : s->g.size[a]), vec ? s->lanes : 1);
    e->at[a] = l.i;
    clear_sums(e, n, depth + 1);
    kdj_loop_end(e, &l);
  }
  if (!vec || !s->rest) return;
  e->at[a] = kdj_int(e, s->nvec * s->lanes), e->mask = rest_mask(e), e->active = s->rest;
  clear_sums(e, n, depth + 1);
  e->mask = NULL, e->active = e->lanes;
}

static void emit_nest(kdj_emit *e, const kdj_nest *n) {
  kdj_acc_open(e, n);
  if (n->by_rows) clear_sums(e, n, 0);
  walk(e, n, 0);
}

/* --- scopes -------------------------------------------------------------------------------------------------------------------------------- */
/* Values without inner axes and the nests of a scope, phase by phase. */
static void emit_scope(kdj_emit *e, uint8_t scope) {
  const kdj_shape *s = e->s;
  uint32_t most = 0;
  for (uint32_t i = 0; i < s->g.nins; i++)
    if (s->ins[i].phase > most) most = s->ins[i].phase;
  for (uint32_t phase = 0; phase <= most; phase++) {
    for (uint32_t i = 0; i < s->g.nins * e->ways; i++) {
      const kdj_ins *p = &s->ins[i / e->ways];
      if (!p->live || p->scope != scope || p->phase != phase || is_reduction(&p->v)) continue;
      set_way(e, i % e->ways);
      emit_value(e, i / e->ways);
    }
    for (size_t k = 0; k < s->nest.n; k++)
      if (s->nest.v[k].scope == scope && s->nest.v[k].phase == phase) emit_nest(e, &s->nest.v[k]);
  }
}

/* Positions along the axes of rows, and where the operands begin there. */
static void enter_row(kdj_emit *e, LLVMValueRef *origin, uint32_t w, LLVMValueRef row) {
  const kdj_shape *s = e->s;
  LLVMValueRef left = row;
  uint32_t rest = s->row_axes;
  e->way[w].row = row;
  for (uint32_t a = s->g.rank; a-- > 0;) {
    if (!(s->row_axes >> a & 1)) continue;
    rest &= ~(1u << a);
    LLVMValueRef n = kdj_int(e, s->g.size[a]);
    e->way[w].at[a] = rest ? LLVMBuildURem(e->b, left, n, "") : left;
    if (rest) left = LLVMBuildUDiv(e->b, left, n, "");
  }
  for (uint32_t o = 0; o < s->g.nin + s->g.nout; o++) {
    LLVMTypeRef t = kdj_stored(e, (kd_dtype)s->g.dtype[o], false);
    e->way[w].base[o] = origin[o];
    for (uint32_t a = 0; a < s->g.rank; a++)
      if ((s->row_axes >> a & 1) && s->g.stride[o][a] != 0)
        e->way[w].base[o] = kdj_gep(e, t, e->way[w].base[o], LLVMBuildNSWMul(e->b, e->way[w].at[a], kdj_int(e, s->g.stride[o][a]), ""));
  }
}

static void emit_unit(kdj_emit *e, LLVMValueRef at, bool rest) {
  if (at) e->at[e->s->v] = at;
  if (rest) e->mask = rest_mask(e), e->active = e->s->rest;
  emit_scope(e, KDJ_UNIT);
  e->mask = NULL, e->active = e->lanes;
}

/* The blocks of an outer vectors' axis: all, or those of the chunk. */
static void emit_blocks(kdj_emit *e) {
  const kdj_shape *s = e->s;
  LLVMValueRef from = kdj_int(e, 0), to = kdj_int(e, s->nvec * s->lanes), whole = kdj_int(e, s->nvec);
  if (s->cut_vec) {
    LLVMValueRef less = LLVMBuildICmp(e->b, LLVMIntSLT, e->end, whole, "");
    from = LLVMBuildNSWMul(e->b, e->begin, kdj_int(e, s->lanes), "");
    to = LLVMBuildNSWMul(e->b, LLVMBuildSelect(e->b, less, e->end, whole, ""), kdj_int(e, s->lanes), "");
  }
  if (s->nvec) {
    kdj_if f = { NULL };
    if (s->cut_vec) f = kdj_if_begin(e, LLVMBuildICmp(e->b, LLVMIntSLT, from, to, ""));
    kdj_loop l = kdj_loop_begin(e, from, to, s->lanes);
    emit_unit(e, l.i, false);
    kdj_loop_end(e, &l);
    if (s->cut_vec) kdj_if_end(e, &f);
  }
  if (s->rest) {
    kdj_if f = { NULL };
    if (s->cut_vec) f = kdj_if_begin(e, LLVMBuildICmp(e->b, LLVMIntSGT, e->end, whole, ""));
    emit_unit(e, kdj_int(e, s->nvec * s->lanes), true);
    if (s->cut_vec) kdj_if_end(e, &f);
  }
}

static void emit_body(kdj_emit *e) {
  const kdj_shape *s = e->s;
  uint32_t n = s->g.nin + s->g.nout;
  LLVMValueRef *origin = KD_NEWN(e->a, LLVMValueRef, n + 1), table = LLVMBuildLoad2(e->b, e->ptr, e->args, "");
  for (uint32_t o = 0; o < n; o++) origin[o] = e->base[o] = LLVMBuildLoad2(e->b, e->ptr, kdj_gep(e, e->ptr, table, kdj_int(e, o)), "");
  e->helpers = LLVMBuildLoad2(e->b, e->ptr, kdj_gep(e, e->ptr, e->args, kdj_int(e, 4)), "");
  kdj_final_open(e);
  emit_scope(e, KDJ_ENTRY);
  LLVMValueRef from = s->cut_vec ? kdj_int(e, 0) : e->begin, to = s->cut_vec ? kdj_int(e, s->rows) : e->end;
  kdj_loop l = kdj_loop_begin(e, from, to, 1);
  if (s->ways > 1) l.i = LLVMBuildNSWMul(e->b, l.i, kdj_int(e, s->ways), "");
  for (uint32_t w = s->ways; w-- > 0;) {
    for (uint32_t i = 0; i < s->g.nins; i++) e->way[w].val[i] = e->way[0].val[i];
    enter_row(e, origin, w, w ? LLVMBuildNSWAdd(e->b, l.i, kdj_int(e, w), "") : l.i);
  }
  e->ways = s->ways;
  set_way(e, 0);
  if (s->v_outer) {
    emit_scope(e, KDJ_ROW);
    emit_blocks(e);
  } else {
    emit_unit(e, NULL, false);
  }
  kdj_loop_end(e, &l);
  kdj_final_close(e);
}

LLVMValueRef kdj_emit_function(kdj_emit *e, const kdj_shape *s, const char *name) {
  LLVMTypeRef arg[6] = { e->ptr, e->i64, e->i64, e->ptr, e->ptr, e->ptr };
  e->s = s, e->lanes = e->active = s->lanes, e->mask = NULL, e->row = NULL;
  e->acc.n = 0;
  e->fn = LLVMAddFunction(e->m, name, LLVMFunctionType(LLVMVoidTypeInContext(e->c), arg, 6, false));
  e->args = LLVMGetParam(e->fn, 0), e->begin = LLVMGetParam(e->fn, 1), e->end = LLVMGetParam(e->fn, 2);
  e->slot = LLVMGetParam(e->fn, 3), e->lane = LLVMGetParam(e->fn, 4), e->scratch = LLVMGetParam(e->fn, 5);
  for (uint32_t w = 0; w < s->ways; w++) {
    e->way[w].val = KD_NEWN(e->a, LLVMValueRef, s->g.nins + 1), e->way[w].base = KD_NEWN(e->a, LLVMValueRef, s->g.nin + s->g.nout + 1);
    for (uint32_t a = 0; a < KD_GROUP_AXES; a++) e->way[w].at[a] = kdj_int(e, 0);
  }
  e->asked = KD_NEWN(e->a, uint8_t, s->g.nins + 1);
  e->ways = 1, e->w = 0;                         /* what all rows share is made as if for the first of them */
  for (int k = 0; k < 3; k++) e->fin[k] = KD_NEWN(e->a, LLVMValueRef, s->final.n + 1);
  for (uint32_t a = 0; a < KD_GROUP_AXES; a++) e->at[a] = kdj_int(e, 0);
  e->entry = LLVMAppendBasicBlockInContext(e->c, e->fn, "entry");
  LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(e->c, e->fn, "body");
  LLVMPositionBuilderAtEnd(e->b, body);
  set_way(e, 0);
  emit_body(e);
  LLVMBuildRetVoid(e->b);
  LLVMPositionBuilderAtEnd(e->b, e->entry);
  LLVMBuildBr(e->b, body);
  return e->fn;
}
