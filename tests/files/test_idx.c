/* IDX and NPY, good and bad, plain and gzip. */
#include "tests/files/temp.h"
#include "runtime/files/file.h"
#include "runtime/files/format.h"

static const kd__read_spec none = { .part = NULL };
static const uint8_t small[] = { 0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

static void check_small(const kd_array *a) {
  assert_int_equal(a->type.dtype, KD_U8);
  assert_int_equal(a->type.rank, 3);
  assert_int_equal(a->type.dim[0], 2);
  assert_int_equal(a->type.dim[2], 3);
  assert_memory_equal(a->data, small + 16, 12);
}

static void idx_plain_is_mapped(void **state) {
  temp *t = *state;
  kd_array a;
  assert_int_equal(kd__idx_read(temp_write(t, "a", small, sizeof small), &none, &a, t->why, sizeof t->why), KD_OK);
  assert_non_null(a.map);
  check_small(&a);
  kd__array_free(&a);
}

static void idx_gzip(void **state) {
  temp *t = *state;
  kd_array a;
  kd_type type;
  temp_gzip(t, "a.gz", small, sizeof small);
  assert_int_equal(kd__idx_header(t->path, &none, &type, t->why, sizeof t->why), KD_OK);
  assert_int_equal(type.dim[1], 2);
  assert_int_equal(kd__idx_read(t->path, &none, &a, t->why, sizeof t->why), KD_OK);
  assert_null(a.map);
  check_small(&a);
  kd__array_free(&a);
}

static void idx_every_truncation(void **state) {
  temp *t = *state;
  kd_array a;
  for (int gz = 0; gz < 2; gz++)
    for (size_t n = 0; n < sizeof small; n++) {
      if (gz) temp_gzip(t, "a.gz", small, n);
      else temp_write(t, "a", small, n);
      t->why[0] = 0;
      assert_int_equal(kd__idx_read(t->path, &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
      assert_contains(t->why, t->path);
      assert_null(a.data);
    }
}

static void idx_gzip_cut_or_damaged(void **state) {
  temp *t = *state;
  uint8_t z[256];
  kd_array a;
  temp_gzip(t, "a.gz", small, sizeof small);
  FILE *f = fopen(t->path, "rb");
  size_t n = fread(z, 1, sizeof z, f);
  fclose(f);
  for (size_t k = 0; k < n; k++) {
    assert_int_equal(kd__idx_read(temp_write(t, "a.gz", z, k), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
    assert_contains(t->why, "a.gz");
  }
  z[n - 6] ^= 1;                                 /* the checksum */
  assert_int_equal(kd__idx_read(temp_write(t, "a.gz", z, n), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "damaged");
  z[n - 6] ^= 1;
  z[n] = 7;                                      /* bytes after the end */
  assert_int_equal(kd__idx_read(temp_write(t, "a.gz", z, n + 1), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "follow its end");
}

static void idx_joined_gzip(void **state) {
  temp *t = *state;
  uint8_t z[512];
  kd_array a;
  size_t n = 0;
  for (int i = 0; i < 2; i++) {
    temp_gzip(t, "part", small + (i ? 10 : 0), i ? sizeof small - 10 : 10);
    FILE *f = fopen(t->path, "rb");
    n += fread(z + n, 1, sizeof z - n, f);
    fclose(f);
  }
  assert_int_equal(kd__idx_read(temp_write(t, "a.gz", z, n), &none, &a, t->why, sizeof t->why), KD_OK);
  check_small(&a);
  kd__array_free(&a);
}

static void idx_bad_headers(void **state) {
  temp *t = *state;
  kd_array a;
  static const struct { size_t at; uint8_t value; const char *text; } bad[] = {
    { 0, 1, "not 00 00" },   { 2, 7, "element type" }, { 2, 0x0a, "element type" }, { 3, 0, "axes" },
    { 3, 17, "axes" },       { 3, 255, "axes" },       { 4, 0xff, "too early" },    { 7, 1, "more follows" },
    { 2, 0x0d, "too early" } };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    uint8_t b[sizeof small];
    memcpy(b, small, sizeof b);
    b[bad[i].at] = bad[i].value;
    assert_int_equal(kd__idx_read(temp_write(t, "a", b, sizeof b), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
    assert_contains(t->why, bad[i].text);
  }
  uint8_t huge[4 + 16 * 4 + 8];                  /* 16 axes of 2^32 - 1: the product overflows */
  memset(huge, 0xff, sizeof huge);
  memcpy(huge, (uint8_t[]){ 0, 0, 8, 16 }, 4);
  assert_int_equal(kd__idx_read(temp_write(t, "a", huge, sizeof huge), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "no memory can hold");
  /* a small gzip file that claims gigabytes is refused before anything is allocated */
  uint8_t claim[16] = { 0, 0, 8, 2, 0, 1, 0, 0, 0, 1, 0, 0 };
  assert_int_equal(kd__idx_read(temp_gzip(t, "c.gz", claim, sizeof claim), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "too early");
}

static void idx_not_there_or_not_gzip(void **state) {
  temp *t = *state;
  kd_array a;
  assert_int_equal(kd__idx_read(temp_path(t, "none"), &none, &a, t->why, sizeof t->why), KD_E_IO);
  assert_contains(t->why, "none");
  assert_int_equal(kd__idx_read(t->folder, &none, &a, t->why, sizeof t->why), KD_E_IO);
  assert_int_equal(kd__idx_read(temp_write(t, "x.gz", "<html>", 6), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "no gzip file");
}

static void idx_wider_types(void **state) {
  temp *t = *state;
  kd_array a;
  const uint8_t i16[] = { 0, 0, 0x0b, 1, 0, 0, 0, 2, 0xff, 0xfe, 1, 0 }, i8[] = { 0, 0, 9, 1, 0, 0, 0, 2, 0x80, 5 };
  const uint8_t f32[] = { 0, 0, 0x0d, 1, 0, 0, 0, 1, 0x3f, 0x80, 0, 0 }, f64[] = { 0, 0, 0x0e, 1, 0, 0, 0, 1, 0xc0, 0, 0, 0, 0, 0, 0, 0 };
  assert_int_equal(kd__idx_read(temp_write(t, "a", i16, sizeof i16), &none, &a, t->why, sizeof t->why), KD_OK);
  assert_int_equal(a.type.dtype, KD_I64);
  assert_memory_equal(a.data, ((int64_t[]){ -2, 256 }), 16);
  kd__array_free(&a);
  assert_int_equal(kd__idx_read(temp_write(t, "a", i8, sizeof i8), &none, &a, t->why, sizeof t->why), KD_OK);
  assert_memory_equal(a.data, ((int64_t[]){ -128, 5 }), 16);
  kd__array_free(&a);
  assert_int_equal(kd__idx_read(temp_write(t, "a", f32, sizeof f32), &none, &a, t->why, sizeof t->why), KD_OK);
  assert_true(a.type.dtype == KD_F32 && *(const float *)a.data == 1.0f);
  kd__array_free(&a);
  assert_int_equal(kd__idx_read(temp_write(t, "a", f64, sizeof f64), &none, &a, t->why, sizeof t->why), KD_OK);
  assert_true(a.type.dtype == KD_F64 && *(const double *)a.data == -2.0);
  kd__array_free(&a);
}

static size_t npy(uint8_t *b, const char *dict, const void *data, size_t n) {
  size_t len = strlen(dict);
  memcpy(b, "\x93NUMPY\1\0", 8);
  b[8] = (uint8_t)len;
  b[9] = 0;
  memcpy(b + 10, dict, len);
  memcpy(b + 10 + len, data, n);
  return 10 + len + n;
}

static void npy_good_and_bad(void **state) {
  temp *t = *state;
  kd_array a;
  uint8_t b[512];
  const float f[] = { 1, 2, 3, 4, 5, 6 };
  const uint16_t h[] = { 0x3c00, 0xc000, 0x0001, 0x7c00 };
  size_t n = npy(b, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }  \n", f, sizeof f);
  for (size_t k = 0; k < n; k++)
    assert_int_equal(kd__npy_read(temp_write(t, "a.npy", b, k), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_int_equal(kd__npy_read(temp_write(t, "a.npy", b, n), &none, &a, t->why, sizeof t->why), KD_OK);
  assert_true(a.type.dtype == KD_F32 && a.type.rank == 2 && a.type.dim[0] == 3 && a.type.dim[1] == 2);
  assert_memory_equal(a.data, f, sizeof f);
  kd__array_free(&a);
  n = npy(b, "{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", h, sizeof h);
  assert_int_equal(kd__npy_read(temp_gzip(t, "a.npy.gz", b, n), &none, &a, t->why, sizeof t->why), KD_OK);
  const float *v = a.data;
  assert_true(v[0] == 1.0f && v[1] == -2.0f && v[2] == 0x1p-24f && v[3] > 3e38f);
  kd__array_free(&a);
  static const char *const bad[] = {
    "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 2), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -2), }", "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "{'descr': '<f", "{", "" };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    n = npy(b, bad[i], f, sizeof f);
    assert_int_equal(kd__npy_read(temp_write(t, "a.npy", b, n), &none, &a, t->why, sizeof t->why), KD_E_FORMAT);
  }
}

static void idx_fashion_if_installed(void **state) {
  temp *t = *state;
  const char *path = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";
  if (access(path, R_OK) != 0) { print_message("dataset-fashion-mnist is not installed\n"); skip(); }
  kd_array a;
  assert_int_equal(kd__idx_read(path, &none, &a, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__type_count(&a.type), 60000 * 28 * 28);
  kd__array_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(idx_plain_is_mapped, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_gzip, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_every_truncation, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_gzip_cut_or_damaged, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_joined_gzip, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_bad_headers, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_not_there_or_not_gzip, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_wider_types, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(npy_good_and_bad, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(idx_fashion_if_installed, temp_open, temp_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
