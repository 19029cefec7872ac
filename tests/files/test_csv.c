/* CSV: separators, headers, quotes, element types, and what is refused. */
#include "tests/files/temp.h"
#include "runtime/files/file.h"
#include "runtime/files/format.h"

static kd_status read_text(temp *t, const char *text, kd__read_spec spec, kd_array *a) {
  temp_write(t, "a.csv", text, strlen(text));
  t->why[0] = 0;
  return kd__csv_read(t->path, &spec, a, t->why, sizeof t->why);
}

static void csv_good(void **state) {
  temp *t = *state;
  kd_array a;
  kd_type type;
  kd__read_spec all = { .dtype = KD_F64 }, middle = { 1, 3, KD_I64, NULL }, last = { 3, 0, KD_U8, NULL };
  const char *text = "\"name\",x,y,\"label\"\r\n\"a, \"\"b\"\"\",1, 2 ,3\r\n\n,4,5,\"6\"";
  assert_int_equal(read_text(t, text, middle, &a), KD_OK);
  assert_true(a.type.rank == 2 && a.type.dim[0] == 2 && a.type.dim[1] == 2 && a.type.dtype == KD_I64);
  assert_memory_equal(a.data, ((int64_t[]){ 1, 2, 4, 5 }), 32);
  kd__array_free(&a);
  assert_int_equal(kd__csv_header(t->path, &last, &type, t->why, sizeof t->why), KD_OK);
  assert_true(type.dim[0] == 2 && type.dim[1] == 1 && type.dtype == KD_U8);
  assert_int_equal(read_text(t, text, last, &a), KD_OK);
  assert_memory_equal(a.data, ((uint8_t[]){ 3, 6 }), 2);
  kd__array_free(&a);
  assert_int_equal(read_text(t, "1.5;-2e3\n0.1;7\n", all, &a), KD_OK);
  assert_memory_equal(a.data, ((double[]){ 1.5, -2000, 0.1, 7 }), 32);
  kd__array_free(&a);
  temp_gzip(t, "b.csv.gz", "1\n2\n", 4);
  assert_int_equal(kd__csv_read(t->path, &all, &a, t->why, sizeof t->why), KD_OK);
  assert_int_equal(a.type.dim[0], 2);
  kd__array_free(&a);
}

static void csv_bad(void **state) {
  temp *t = *state;
  kd_array a;
  static const struct { const char *text; kd__read_spec spec; const char *part; } bad[] = {
    { "1,2\n3\n", { .dtype = KD_F64 }, ":2: has 1 columns" },
    { "1,2\n3,4,5\n", { .dtype = KD_F64 }, ":2: has 3 columns" },
    { "1,2\n3,NA\n", { .dtype = KD_F64 }, ":2: column 1 is not a finite number: 'NA'" },
    { "1,2\n3,\n", { .dtype = KD_F64 }, ":2: column 1" },
    { "1\nnan\n", { .dtype = KD_F32 }, "finite" },
    { "1\n1e39\n", { .dtype = KD_F32 }, "finite" },
    { "1\n0x10\n", { .dtype = KD_I64 }, "whole" },
    { "1\n1.5\n", { .dtype = KD_I64 }, "whole" },
    { "1\n99999999999999999999\n", { .dtype = KD_I64 }, "whole" },
    { "1\n256\n", { .dtype = KD_U8 }, "255" },
    { "1\n\"2\n", { .dtype = KD_U8 }, "not closed" },
    { "1,2\n", { 2, 0, KD_F64, NULL }, "column 2 is asked for" },
    { "1,2\n", { 0, 3, KD_F64, NULL }, "column 2 is asked for" },
    { "", { .dtype = KD_F64 }, "is empty" } };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(read_text(t, bad[i].text, bad[i].spec, &a), KD_E_FORMAT);
    assert_contains(t->why, bad[i].part);
    assert_null(a.data);
  }
  temp_write(t, "a.csv", "1\n\0002\n", 5);
  kd__read_spec all = { .dtype = KD_F64 };
  assert_int_equal(kd__csv_read(t->path, &all, &a, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "zero byte");
}

/* Lines across the reader's chunks, and a file without a last newline. */
static void csv_long(void **state) {
  temp *t = *state;
  enum { ROWS = 40000 };
  char *text = malloc(ROWS * 16), *p = text;
  kd_array a;
  for (int i = 0; i < ROWS; i++) p += sprintf(p, "%d,%d\n", i, 2 * i);
  temp_write(t, "a.csv", text, (size_t)(p - text) - 1);
  kd__read_spec all = { .dtype = KD_F32 };
  assert_int_equal(kd__csv_read(t->path, &all, &a, t->why, sizeof t->why), KD_OK);
  assert_int_equal(a.type.dim[0], ROWS);
  for (int i = 0; i < ROWS; i++) assert_true(((const float *)a.data)[2 * i + 1] == (float)(2 * i));
  kd__array_free(&a);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(csv_good, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(csv_bad, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(csv_long, temp_open, temp_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
