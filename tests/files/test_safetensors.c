/* safetensors: round trip, files of others, hostile headers, and writing whole or not at all. */
#include "tests/files/temp.h"
#include "runtime/files/json.h"
#include "runtime/files/safetensors.h"
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const float weights[6] = { 1, 2, 3, 4, 5, 6 };
static const int64_t labels[3] = { 7, -8, 9 };
static const uint8_t mask[3] = { 1, 0, 1 };
static const double scalar = 0.25;

static void items(kd__st_item it[5]) {
  it[0] = (kd__st_item){ "mask", { .dtype = KD_BOOL, .rank = 1, .dim = { 3 } }, mask };
  it[1] = (kd__st_item){ "S.W", { .dtype = KD_F32, .rank = 2, .dim = { 2, 3 } }, weights };
  it[2] = (kd__st_item){ "label", { .dtype = KD_I64, .rank = 1, .dim = { 3 } }, labels };
  it[3] = (kd__st_item){ "lr", { .dtype = KD_F64, .rank = 0 }, &scalar };
  it[4] = (kd__st_item){ "empty \"q\"", { .dtype = KD_U8, .rank = 2, .dim = { 0, 4 } }, NULL };
}

static void st_round_trip(void **state) {
  temp *t = *state;
  kd__st_item it[5];
  kd__safetensors f;
  char *one, *two;
  size_t n1, n2;
  items(it);
  const kd__st_pair meta[] = { { "seed", "3" }, { "kd", "line\n\"two\"" } }, swapped[] = { meta[1], meta[0] };
  assert_int_equal(kd__st_write(temp_path(t, "a.safetensors"), it, 5, meta, 2, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__file_read(t->path, 1 << 20, &one, &n1, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__st_open(t->path, &f, t->why, sizeof t->why), KD_OK);
  assert_int_equal(f.n, 5);
  assert_string_equal(kd__st_meta(&f, "kd"), "line\n\"two\"");
  assert_string_equal(kd__st_meta(&f, "seed"), "3");
  assert_null(kd__st_meta(&f, "no"));
  for (int i = 0; i < 5; i++) {
    const kd__st_tensor *x = kd__st_find(&f, it[i].name);
    assert_non_null(x);
    assert_true(x->direct && kd__type_equal(&x->type, &it[i].type));
    assert_int_equal((uintptr_t)x->data % kd__dtype_size(x->type.dtype), 0);
    if (x->bytes) assert_memory_equal(x->data, it[i].data, x->bytes);
  }
  assert_null(kd__st_find(&f, "S.V"));
  double wide[6];
  assert_true(kd__st_copy(kd__st_find(&f, "S.W"), KD_F64, wide));
  assert_true(wide[5] == 6.0);
  assert_false(kd__st_copy(kd__st_find(&f, "lr"), KD_F32, wide));
  kd__st_close(&f);
  /* the bytes do not depend on the order in which things are given */
  kd__st_item other[5] = { it[4], it[2], it[0], it[3], it[1] };
  assert_int_equal(kd__st_write(t->path, other, 5, swapped, 2, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__file_read(t->path, 1 << 20, &two, &n2, t->why, sizeof t->why), KD_OK);
  assert_true(n1 == n2 && memcmp(one, two, n1) == 0);
  free(one);
  free(two);
  other[0].name = "lr";
  assert_int_equal(kd__st_write(t->path, other, 5, NULL, 0, t->why, sizeof t->why), KD_E_USAGE);
  assert_int_equal(kd__st_write(t->path, NULL, 0, NULL, 0, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__st_open(t->path, &f, t->why, sizeof t->why), KD_OK);
  assert_int_equal(f.n, 0);
  kd__st_close(&f);
}

static size_t with_header(uint8_t *b, const char *json, size_t data) {
  size_t n = strlen(json);
  for (int i = 0; i < 8; i++) b[i] = (uint8_t)((uint64_t)n >> 8 * i);
  memcpy(b + 8, json, n);
  memset(b + 8 + n, 0, data);
  return 8 + n + data;
}

static void st_hostile(void **state) {
  temp *t = *state;
  static const struct { const char *json; size_t data; const char *part; } bad[] = {
    { "[]", 0, "no JSON object" },
    { "{\"a\":1}", 0, "data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "duplicate" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "disagree" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", 8, "outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 8, "outside" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "natural" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "natural" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,4]}}", 4, "disagree" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "disagree" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, "JSON" },
    { "{\"a\":{\"dtype\":\"F3\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'F3'" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "17 axes" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "overlap" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", 3, "gap" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3, "belong to no tensor" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "not a text" },
    { "{\"__metadata__\":[]}", 0, "texts" },
    { "{\"a\\u0000b\":{}}", 0, "JSON" },
    { "{} x", 0, "JSON" },
    { "{", 0, "JSON" } };
  kd__safetensors f;
  uint8_t b[1024];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    size_t n = with_header(b, bad[i].json, bad[i].data);
    assert_int_equal(kd__st_parse(b, n, "x.safetensors", &f, t->why, sizeof t->why), KD_E_FORMAT);
    assert_contains(t->why, "x.safetensors");
    assert_contains(t->why, bad[i].part);
    assert_int_equal(f.n, 0);
  }
  memset(b, 0xff, 16);                           /* a header longer than the file */
  assert_int_equal(kd__st_parse(b, 16, "x", &f, t->why, sizeof t->why), KD_E_FORMAT);
  size_t depth = 200000;
  uint8_t *deep = malloc(8 + depth);
  for (int i = 0; i < 8; i++) deep[i] = (uint8_t)(depth >> 8 * i);
  memset(deep + 8, '[', depth);
  assert_int_equal(kd__st_parse(deep, 8 + depth, "deep", &f, t->why, sizeof t->why), KD_E_FORMAT);
  free(deep);
}

static void st_every_truncation(void **state) {
  temp *t = *state;
  kd__st_item it[5];
  kd__safetensors f;
  char *p;
  size_t n;
  items(it);
  assert_int_equal(kd__st_write(temp_path(t, "a"), it, 5, NULL, 0, t->why, sizeof t->why), KD_OK);
  assert_int_equal(kd__file_read(t->path, 1 << 20, &p, &n, t->why, sizeof t->why), KD_OK);
  for (size_t k = 0; k < n; k++) {
    uint8_t *cut = malloc(k ? k : 1);            /* exact, so that the sanitizer sees one byte too far */
    memcpy(cut, p, k);
    assert_int_equal(kd__st_parse(cut, k, "cut", &f, t->why, sizeof t->why), KD_E_FORMAT);
    free(cut);
  }
  free(p);
}

static void st_narrow_types(void **state) {
  temp *t = *state;
  kd__safetensors f;
  uint8_t b[512];
  const char *json = "{\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[4,6]},"
                     "\"i\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[6,10]}}";
  size_t n = with_header(b, json, 10);
  memcpy(b + n - 10, (uint8_t[]){ 0, 0x3c, 0, 0x84, 0x40, 0xc0, 0xfe, 0xff, 0xff, 0xff }, 10);
  assert_int_equal(kd__st_parse(b, n, "x", &f, t->why, sizeof t->why), KD_OK);
  float h[2], g;
  int64_t i;
  assert_false(kd__st_find(&f, "h")->direct);
  assert_true(kd__st_copy(kd__st_find(&f, "h"), KD_F32, h) && h[0] == 1.0f && h[1] == -0x1p-14f);
  assert_true(kd__st_copy(kd__st_find(&f, "b"), KD_F32, &g) && g == -3.0f);
  assert_true(kd__st_copy(kd__st_find(&f, "i"), KD_I64, &i) && i == -2);
  kd__st_close(&f);
}

/* In a child, because the limit holds for the whole process: 1 means that the write failed as it should. */
static int write_limited(const char *path) {
  static uint8_t big[1 << 20];
  struct rlimit limit = { 64 << 10, 64 << 10 };
  char why[256];
  kd__st_item it = { "big", { .dtype = KD_U8, .rank = 1, .dim = { sizeof big } }, big };
  signal(SIGXFSZ, SIG_IGN);
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
  return kd__st_write(path, &it, 1, NULL, 0, why, sizeof why) == KD_E_IO && strstr(why, path) ? 1 : 0;
}

static void st_failed_write_leaves_nothing(void **state) {
  temp *t = *state;
  static const char old[] = "old content";
  char *now;
  size_t n;
  int code = 0;
  temp_path(t, "w.safetensors");
  for (int round = 0; round < 2; round++) {      /* without and with an older file of that name */
    if (round) temp_write(t, "w.safetensors", old, sizeof old);
    pid_t child = fork();
    if (child == 0) _exit(write_limited(t->path));
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 1);
    assert_int_equal(temp_count(t, "", NULL, 0), round);
    temp_path(t, "w.safetensors");
  }
  assert_int_equal(kd__file_read(t->path, 100, &now, &n, t->why, sizeof t->why), KD_OK);
  assert_memory_equal(now, old, sizeof old);
  free(now);
  kd__st_item it = { "x", { .dtype = KD_F64, .rank = 0 }, &scalar };
  assert_int_equal(kd__st_write(temp_path(t, "no/such/folder"), &it, 1, NULL, 0, t->why, sizeof t->why), KD_E_IO);
  assert_contains(t->why, "folder exists");
}

static void st_golden(void **state) {
  temp *t = *state;
  const char *env = getenv("KD_GOLDEN"), *folder = env ? env : KD_ROOT "/../shared/golden";
  DIR *d = opendir(folder);
  if (!d) { print_message("no reference vectors at %s: set KD_GOLDEN\n", folder); skip(); }
  int seen = 0;
  for (struct dirent *e; (e = readdir(d));) {
    char path[1024];
    kd__safetensors f;
    if (!strstr(e->d_name, ".safetensors")) continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path) continue;
    if (kd__st_open(path, &f, t->why, sizeof t->why) != KD_OK) fail_msg("%s", t->why);
    const kd__st_tensor *loss = kd__st_find(&f, "out.loss");
    const char *method = kd__st_meta(&f, "method");
    assert_true(loss && loss->bytes >= 4 && method && *method);
    kd__st_close(&f);
    seen++;
  }
  closedir(d);
  print_message("%d files\n", seen);
  assert_true(seen > 0);
}

static void json_strict(void **state) {
  temp *t = *state;
  json_t *j;
  assert_int_equal(kd__json_load(temp_write(t, "a.json", "{\"b\":1,\"a\":[2.5]}", 17), 100, &j, t->why, sizeof t->why), KD_OK);
  assert_int_equal(json_integer_value(json_object_get(j, "b")), 1);
  json_decref(j);
  assert_int_equal(kd__json_load(t->path, 10, &j, t->why, sizeof t->why), KD_E_FORMAT);
  assert_int_equal(kd__json_load(temp_write(t, "a.json", "{\"b\":\n1,}", 9), 100, &j, t->why, sizeof t->why), KD_E_FORMAT);
  assert_contains(t->why, "line 2");
  assert_int_equal(kd__json_load(temp_path(t, "none"), 10, &j, t->why, sizeof t->why), KD_E_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(st_round_trip, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(st_hostile, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(st_every_truncation, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(st_narrow_types, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(st_failed_write_leaves_nothing, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(st_golden, temp_open, temp_close),
    cmocka_unit_test_setup_teardown(json_strict, temp_open, temp_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
