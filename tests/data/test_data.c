/* Data sets: search, checks and their messages, slices, the cache. */
#include "tests/data/common.h"
#include <fcntl.h>

static kd_status open_in(temp *t, const set *s, const char *cache, kd_data **d) {
  const char *folder[] = { "/nonexistent", t->folder };
  kd__search search = { folder, 2, cache };
  t->why[0] = 0;
  return kd__data_open(&s->data, &search, d, t->why, sizeof t->why);
}

static void data_find(void **state) {
  temp *t = *state;
  const char *folder[] = { "/nonexistent", t->folder };
  temp_write(t, "a.gz", "x", 1);
  temp_write(t, "b", "x", 1);
  char *a = kd__data_find(folder, 2, "a"), *b = kd__data_find(folder, 2, "b"), *abs = kd__data_find(NULL, 0, t->path);
  assert_string_equal(b, t->path);
  assert_string_equal(abs, t->path);
  assert_string_equal(a, temp_path(t, "a.gz"));
  assert_null(kd__data_find(folder, 1, "a"));
  free(a);
  free(b);
  free(abs);
}

static void data_missing(void **state) {
  temp *t = *state;
  set s;
  kd_data *d;
  set_make(&s, "fashion-mnist/x", "y", 2, 2, 3);
  s.data.package = "dataset-fashion-mnist";
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_null(d);
  assert_contains(t->why, "fashion-mnist/x");
  assert_contains(t->why, "/nonexistent, ");
  assert_contains(t->why, t->folder);
  assert_contains(t->why, "apt-get install dataset-fashion-mnist");
  assert_contains(t->why, "KD_DATA");
}

static void data_digits(void **state) {
  temp *t = *state;
  set s, test;
  kd_data *d;
  const char *folder[] = { KD_ROOT "/examples/data" };
  kd__search search = { folder, 1, NULL };
  set_make(&s, "digits/train-images-idx3-ubyte", "digits/train-labels-idx1-ubyte", 8, 8, 10);
  set_make(&test, "digits/test-images-idx3-ubyte", "digits/test-labels-idx1-ubyte", 8, 8, 10);
  s.split[1].field = test.field;
  s.data.nsplit = 2;
  assert_int_equal(kd__data_describe(&s.data, &search, &d, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__data_split(d, 0)->count, 1497);
  assert_null(kd__data_split(d, 0)->field[0].data);
  kd__data_close(d);
  assert_int_equal(kd__data_open(&s.data, &search, &d, t->why, sizeof t->why), KD_OK);
  const kd__split_data *sp = kd__data_split_named(d, "test");
  assert_int_equal(sp->count, 300);
  assert_int_equal(sp->field[0].sample_bytes, 64);
  assert_null(kd__data_split_named(d, "valid"));
  kd__data_close(d);
}

static void data_slices(void **state) {
  temp *t = *state;
  set s;
  kd_data *d;
  set_write(t, "i", "l", 10, false);
  set_make(&s, "i", "l", 2, 2, 3);
  s.split[0].count = 6;
  s.split[1].first = 6;
  s.data.nsplit = 2;
  assert_int_equal(open_in(t, &s, NULL, &d), KD_OK);
  assert_int_equal(kd__data_split(d, 1)->count, 4);
  assert_int_equal(*(const uint8_t *)kd__data_split(d, 1)->field[0].data, 6);
  kd__data_close(d);
  static const int64_t bad[][2] = { { 0, 11 }, { 6, 5 }, { -1, 2 }, { 11, -1 }, { 0, -2 }, { 0, INT64_MAX } };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    s.split[1].first = bad[i][0];
    s.split[1].count = bad[i][1];
    assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
    assert_contains(t->why, "asks for");
  }
  s.split[1].first = 10;
  s.split[1].count = -1;
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_contains(t->why, "is empty");
}

static void data_unfit(void **state) {
  temp *t = *state;
  set s;
  kd_data *d;
  set_write(t, "i", "l", 10, false);
  set_write(t, "i9", "l9", 9, false);
  set_make(&s, "i", "l9", 2, 2, 3);
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_contains(t->why, "differ in length");
  set_make(&s, "i", "l", 2, 3, 3);
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_contains(t->why, "declared as 2 x 3 u8");
  assert_contains(t->why, "holds 2 x 2 u8");
  set_make(&s, "i", "l", 2, 2, 3);
  s.field[0].type.dtype = KD_F32;
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  set_make(&s, "i", "l", 2, 2, 3);
  s.field[1].format = "tar";
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_USAGE);
}

/* Programs keep axes of size 1 to themselves: a file may have them or not. */
static void data_axes_of_size_1(void **state) {
  temp *t = *state;
  kd_data *d;
  char file[128 + 6];
  memset(file, ' ', sizeof file);
  static const char head[] = "\x93NUMPY\1\0\x76\0{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1, 2, 1), }";
  memcpy(file, head, sizeof head - 1);
  file[127] = '\n';
  for (char i = 0; i < 6; i++) file[128 + i] = i;
  temp_write(t, "x.npy", file, sizeof file);
  set s;
  set_make(&s, "x.npy", "l", 2, 2, 3);
  s.split[0].nfield = 1;
  s.field[0] = (kd_field_source){ .name = "x", .format = "npy", .path = "x.npy", .type = { .dtype = KD_U8, .rank = 1, .dim = { 2 } } };
  assert_int_equal(open_in(t, &s, NULL, &d), KD_OK);
  assert_int_equal(kd__data_split(d, 0)->count, 3);
  assert_int_equal(*((const uint8_t *)kd__data_split(d, 0)->field[0].data + 4), 4);
  kd__data_close(d);
  s.field[0].type.dim[0] = 3;
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_contains(t->why, "holds 1 x 2 x 1 u8");
}

static void data_label_out_of_range(void **state) {
  temp *t = *state;
  set s;
  kd_data *d;
  set_write(t, "i.gz", "l.gz", 10, true);
  set_make(&s, "i", "l", 2, 2, 2);
  s.split[0].first = 1;
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_contains(t->why, "l.gz: sample 2 (counted from 0; number 1 of split 'train') has label 2, and it must be from 0 to 1");
  s.split[0].count = 1;                          /* the split's rows alone are checked */
  assert_int_equal(open_in(t, &s, NULL, &d), KD_OK);
  kd__data_close(d);
  /* negative, in i64 */
  temp_write(t, "neg.csv", "1\n0\n-1\n", 7);
  s.field[1] = (kd_field_source){ .name = "label", .format = "csv", .path = "neg.csv", .type = { .dtype = KD_I64 }, .below = 2 };
  s.split[0] = (kd_split){ "train", &s.field[1], 1, 0, -1 };
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_DATA);
  assert_contains(t->why, "has label -1");
}

/* Flat rows of a table may be declared with a shape; one safetensors tensor is a field. */
static void data_other_formats(void **state) {
  temp *t = *state;
  kd_field_source f[] = {
    { .name = "image", .format = "csv", .path = "a.csv", .column_to = 4, .type = { .dtype = KD_F32, .rank = 2, .dim = { 2, 2 } } },
    { .name = "label", .format = "csv", .path = "a.csv", .column_from = 4, .type = { .dtype = KD_U8 }, .below = 3 },
    { .name = "w", .format = "safetensors", .path = "b#w", .type = { .dtype = KD_U8, .rank = 1, .dim = { 2 } } } };
  kd_split sp = { "all", f, 3, 0, -1 };
  set s = { .data = { "tab", NULL, &sp, 1, 2 } };
  kd_data *d;
  uint8_t b[128];
  const char *json = "{\"w\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}";
  memset(b, 0, sizeof b);
  b[0] = (uint8_t)strlen(json);
  memcpy(b + 8, json, strlen(json));
  memcpy(b + 8 + strlen(json), "\1\2\3\4", 4);
  temp_write(t, "b", b, 12 + strlen(json));
  temp_gzip(t, "a.csv.gz", "1,2,3,4,0\n5,6,7,8,2\n", 20);
  assert_int_equal(open_in(t, &s, temp_path(t, "c"), &d), KD_OK);
  const kd__split_data *all = kd__data_split(d, 0);
  assert_true(((const float *)all->field[0].data)[7] == 8.0f);
  assert_int_equal(((const uint8_t *)all->field[1].data)[1], 2);
  assert_memory_equal(all->field[2].data, "\1\2\3\4", 4);
  kd__data_close(d);
  f[2].path = "b#v";
  assert_int_equal(open_in(t, &s, NULL, &d), KD_E_FORMAT);
  assert_contains(t->why, "has no tensor 'v'");
}

static void flip(const char *path, off_t at) {
  int fd = open(path, O_RDWR);
  uint8_t b;
  assert_int_equal(pread(fd, &b, 1, at), 1);
  b ^= 0x40;
  assert_int_equal(pwrite(fd, &b, 1, at), 1);
  close(fd);
}

static void expect_rows(temp *t, const set *s, const char *cache, int rows) {
  kd_data *d;
  if (open_in(t, s, cache, &d) != KD_OK) fail_msg("%s", t->why);
  const kd__split_data *sp = kd__data_split(d, 0);
  assert_int_equal(sp->count, rows);
  for (int i = 0; i < rows; i++) assert_int_equal(((const uint8_t *)sp->field[0].data)[4 * i], i);
  kd__data_close(d);
}

static void data_cache(void **state) {
  temp *t = *state;
  set s;
  struct stat before, after;
  char cache[400], name[300], copy[800];
  snprintf(cache, sizeof cache, "%s/deep/cache", t->folder);
  set_write(t, "i", "l", 10, true);
  set_make(&s, "i", "l", 2, 2, 3);
  s.split[0].nfield = 1;                         /* the image alone: one copy */
  expect_rows(t, &s, cache, 10);
  assert_int_equal(temp_count(t, "deep/cache", name, sizeof name), 1);
  snprintf(copy, sizeof copy, "%s/%s", cache, name);
  assert_int_equal(stat(copy, &before), 0);
  expect_rows(t, &s, cache, 10);                 /* reused, not written again */
  assert_int_equal(stat(copy, &after), 0);
  assert_int_equal(before.st_ino, after.st_ino);
  static const off_t spots[] = { 0, 9, 20, 40, 120, 170, 4096, 4100, 4135 };
  for (size_t i = 0; i < sizeof spots / sizeof *spots; i++) {
    flip(copy, spots[i]);                        /* a damaged copy is made anew, and its content is not used */
    expect_rows(t, &s, cache, 10);
  }
  for (off_t len = 0; len < 4136; len += 517) {
    assert_int_equal(truncate(copy, len), 0);
    expect_rows(t, &s, cache, 10);
  }
  set_write(t, "i", "l", 8, true);               /* the source changed */
  expect_rows(t, &s, cache, 8);
  expect_rows(t, &s, cache, 8);
  assert_int_equal(temp_count(t, "deep/cache", NULL, 0), 1);
  temp_write(t, "file", "x", 1);                 /* no cache can be made here: that is no error */
  expect_rows(t, &s, t->path, 8);
}

static void data_fashion_if_installed(void **state) {
  temp *t = *state;
  set s;
  kd_data *d;
  const char *folder[] = { "/usr/share/datasets" };
  kd__search search = { folder, 1, temp_path(t, "cache") };
  if (access("/usr/share/datasets/fashion-mnist", R_OK) != 0) { print_message("dataset-fashion-mnist is not installed\n"); skip(); }
  set_make(&s, "fashion-mnist/train-images-idx3-ubyte", "fashion-mnist/train-labels-idx1-ubyte", 28, 28, 10);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(kd__data_open(&s.data, &search, &d, t->why, sizeof t->why), KD_OK);
    assert_int_equal(kd__data_split(d, 0)->count, 60000);
    kd__data_close(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(data_find, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_missing, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_digits, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_slices, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_unfit, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_axes_of_size_1, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_label_out_of_range, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_other_formats, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_cache, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(data_fashion_if_installed, temp_open, temp_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
