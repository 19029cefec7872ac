/* The safetensors reader on any bytes; what it accepts is read to the last element. */
#include "runtime/files/safetensors.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
  char why[256];
  kd__safetensors f;
  if (kd__st_parse(p, n, "fuzz", &f, why, sizeof why) != KD_OK) return 0;
  for (size_t i = 0; i < f.n; i++) {
    const kd__st_tensor *t = &f.tensor[i];
    size_t bytes = (size_t)kd__type_count(&t->type) * kd__dtype_size(t->type.dtype);
    void *to = malloc(bytes ? bytes : 1);
    if (!to || !kd__st_copy(t, t->type.dtype, to) || kd__st_find(&f, t->name) != t) abort();
    free(to);
  }
  kd__st_close(&f);
  return 0;
}
