/* builtin.h: what the files of built-in functions share. */
#ifndef KD_BUILTIN_H
#define KD_BUILTIN_H
#include "compiler/elaborate/elab.h"

#define B elab *e, scope *s, const builtin *b, const kd_ast *call, arg *a, uint32_t n
/* Assigns arguments to the signature's parameters; evaluates all but `@` ones. False after reporting. */
bool kd__pick(elab *e, scope *s, const builtin *b, const kd_ast *call, arg *a, uint32_t n, arg **out, int count);
/* A signature for people: names with commas; `?` marks what may be left out. */
const char *kd__sig_text(elab *e, const char *sig);
#define PICK(count) arg *p[count]; if (!kd__pick(e, s, b, call, a, n, p, count)) return &kd__poison

val *bi_concat(B); val *bi_stack(B); val *bi_onehot(B); val *bi_iota(B); val *bi_size(B); val *bi_has(B);
val *bi_fill(B); val *bi_full(B); val *bi_draw(B); val *bi_draw_int(B); val *bi_fan(B);
val *bi_calls(B); val *bi_grad(B); val *bi_jvp(B); val *bi_stepped(B); val *bi_params(B);
val *bi_conv(B); val *bi_pool(B); val *bi_pad(B); val *bi_flip(B); val *bi_sort(B); val *bi_topk(B); val *bi_order(B);
val *bi_write(B); val *bi_mean_at(B); val *bi_segment_sum(B); val *bi_segment_mean(B); val *bi_segment_extreme(B);
val *bi_shift(B); val *bi_unstack(B);
val *bi_decide(B);
val *bi_count(B); val *bi_valid(B); val *bi_filled(B); val *bi_prefix(B);
/* Masks and what moves places (builtin_valid.c). */
tensor *kd__valid_sort(elab *e, tensor *x, int p, bool descending, int64_t size, axis *ax, const kd_ast *at);
void kd__valid_pad(elab *e, const tensor *x, int p, int64_t low, int64_t high, axis *ax, const kd_ast *at);
void kd__valid_flip(elab *e, const tensor *x, int p, axis *ax, const kd_ast *at);
tensor *kd__valid_window(elab *e, tensor *x, double fill, bool channels, axis *ax, const kd_ast *at);
/* An axis by name in sight: of the definition, or bound to a variable. False after reporting. */
bool kd__named_axis(elab *e, scope *s, const kd_ast *n, axis *out);
/* In an optimizer: 1 for each element of `param` that belongs to a parameter whose path matches, else 0 (step.c). */
val *kd__param_mask(elab *e, const char *pattern, const kd_ast *at);
#endif
