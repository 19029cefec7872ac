/* The array readers on any bytes: IDX and NPY (plain or gzip by their first bytes), CSV. The first byte chooses. */
#include "runtime/files/file.h"
#include "runtime/files/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
  char why[256];
  kd__input *in;
  kd_array a = { 0 };
  if (!n || kd__input_memory(p + 1, n - 1, "fuzz", &in, why, sizeof why) != KD_OK) return 0;
  static const kd_dtype types[] = { KD_F64, KD_F32, KD_I64, KD_U8 };
  kd__read_spec spec = { .column_from = p[0] >> 4 & 1, .column_to = p[0] >> 5 & 3, .dtype = types[p[0] >> 2 & 3] };
  kd_status s = (p[0] & 3) == 2 ? kd__csv_read_input(in, &spec, &a, why, sizeof why)
              : (p[0] & 3) == 1 ? kd__npy_read_input(in, &a, why, sizeof why) : kd__idx_read_input(in, &a, why, sizeof why);
  if (s == KD_OK && a.data) {                    /* every byte that was promised is there */
    size_t bytes = (size_t)kd__type_count(&a.type) * kd__dtype_size(a.type.dtype);
    volatile uint64_t sum = kd__hash(a.data, bytes, 0);
    (void)sum;
  }
  kd__array_free(&a);
  kd__input_close(in);
  return 0;
}
