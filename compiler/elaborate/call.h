/* call.h: what args.c does for call.c. Each reports what is wrong and returns false. */
#ifndef KD_CALL_H
#define KD_CALL_H
#include "compiler/elaborate/elab.h"

/* Is it a parameter of a network through which data flows? */
bool kd__is_input(const kd_ast *p);
bool kd__unknown_keyword(elab *e, const kd_ast *params, const arg *a, const char *callee);
bool kd__assign_args(elab *e, const kd_ast *params, const arg *fixed, uint32_t nfixed, arg *a, uint32_t n, arg **slot, const kd_ast *at, const char *callee);
bool kd__bind_params(elab *e, scope *caller, scope *in, const kd_ast *params, const arg *fixed, uint32_t nfixed, arg *a, uint32_t n, labels *back, const kd_ast *at, const char *callee);
#endif
