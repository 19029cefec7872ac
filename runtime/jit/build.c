/* build.c: LLVM IR optimised and turned into object code for the host's CPU. The vectors are in the IR already, so a short list of passes does. */
#include "runtime/jit/build.h"
#include "runtime/jit/emit.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char *cpu, *features, *triple;
static LLVMTargetRef target;

static void start(void) {
  char *message = NULL;
  if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter()) return;
  cpu = LLVMGetHostCPUName(), features = LLVMGetHostCPUFeatures(), triple = LLVMGetDefaultTargetTriple();
  if (LLVMGetTargetFromTriple(triple, &target, &message)) target = NULL;
  if (message) LLVMDisposeMessage(message);
}
bool kdj_start(char *why, size_t n) {
  pthread_once(&once, start);
  if (!target) snprintf(why, n, "LLVM cannot make code for this machine");
  return target != NULL;
}
const char *kdj_cpu(void) { return cpu ? cpu : ""; }
int kdj_vector_bits(void) { return strstr(kdj_features(), "+avx512f") ? 512 : strstr(kdj_features(), "+avx2") ? 256 : 128; }
const char *kdj_features(void) { return features ? features : ""; }

static void attribute(LLVMContextRef c, LLVMValueRef fn, const char *key, const char *value) {
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateStringAttribute(c, key, (unsigned)strlen(key), value, (unsigned)strlen(value)));
}
static void decorate(kdj_emit *e) {
  attribute(e->c, e->fn, "prefer-vector-width", "512");
  attribute(e->c, e->fn, "min-legal-vector-width", "512");
  attribute(e->c, e->fn, "no-trapping-math", "true");
  unsigned kind = LLVMGetEnumAttributeKindForName("nounwind", 8);
  LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->c, kind, 0));
}

#if LLVM_VERSION_MAJOR >= 18
#define COMBINE "instcombine<no-verify-fixpoint>"
#else
#define COMBINE "instcombine"
#endif
static bool optimise(kdj_emit *e, LLVMTargetMachineRef tm, char *why, size_t n) {
  LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
  LLVMErrorRef err = LLVMRunPasses(e->m, "function(sroa,early-cse," COMBINE ",simplifycfg,loop-mssa(licm),early-cse,dce)", tm, o);
  LLVMDisposePassBuilderOptions(o);
  if (!err) return true;
  char *text = LLVMGetErrorMessage(err);
  snprintf(why, n, "LLVM: %s", text);
  LLVMDisposeErrorMessage(text);
  return false;
}

static bool to_object(kdj_emit *e, LLVMTargetMachineRef tm, kdj_object *out, char *why, size_t n) {
  LLVMMemoryBufferRef buffer = NULL;
  char *message = NULL;
  if (LLVMTargetMachineEmitToMemoryBuffer(tm, e->m, LLVMObjectFile, &message, &buffer)) {
    snprintf(why, n, "LLVM: %s", message ? message : "no object code");
    LLVMDisposeMessage(message);
    return false;
  }
  out->n = LLVMGetBufferSize(buffer);
  out->p = malloc(out->n ? out->n : 1);
  if (out->p) memcpy(out->p, LLVMGetBufferStart(buffer), out->n);
  else snprintf(why, n, "out of memory");
  LLVMDisposeMemoryBuffer(buffer);
  return out->p != NULL;
}

static void set_types(kdj_emit *e) {
  e->i1 = LLVMInt1TypeInContext(e->c), e->i8 = LLVMInt8TypeInContext(e->c), e->i32 = LLVMInt32TypeInContext(e->c), e->i64 = LLVMInt64TypeInContext(e->c);
  e->f32 = LLVMFloatTypeInContext(e->c), e->f64 = LLVMDoubleTypeInContext(e->c), e->ptr = LLVMPointerTypeInContext(e->c, 0);
}

bool kdj_build(const kdj_shape *s, const char *symbol, kd__arena *a, kdj_object *out, kd__buf *text, char *why, size_t n) {
  kdj_emit e = { .a = a, .c = LLVMContextCreate(), .scales = strstr(kdj_features(), "+avx512f") && strstr(kdj_features(), "+avx512vl"),
                 .looks = strstr(kdj_features(), "+avx2") };
  LLVMTargetMachineRef tm = LLVMCreateTargetMachine(target, triple, cpu, features, LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
  *out = (kdj_object){ NULL, 0 };
  set_types(&e);
  e.m = LLVMModuleCreateWithNameInContext("group", e.c), e.b = LLVMCreateBuilderInContext(e.c);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
  LLVMSetModuleDataLayout(e.m, layout);
  LLVMDisposeTargetData(layout);
  LLVMSetTarget(e.m, triple);
  kdj_emit_function(&e, s, symbol);
  decorate(&e);
  char *message = NULL;
  bool ok = !LLVMVerifyModule(e.m, LLVMReturnStatusAction, &message);
  if (!ok) {
    snprintf(why, n, "LLVM: %s", message);
    if (text) { char *t = LLVMPrintModuleToString(e.m); kd__buf_puts(text, t); LLVMDisposeMessage(t); }
  }
  LLVMDisposeMessage(message);
  ok = ok && optimise(&e, tm, why, n);
  if (ok && text) {
    char *t = LLVMPrintModuleToString(e.m);
    kd__buf_puts(text, t);
    LLVMDisposeMessage(t);
  }
  ok = ok && to_object(&e, tm, out, why, n);
  LLVMDisposeBuilder(e.b);
  LLVMDisposeModule(e.m);
  LLVMDisposeTargetMachine(tm);
  LLVMContextDispose(e.c);
  return ok;
}
