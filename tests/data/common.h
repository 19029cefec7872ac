/* common.h: a data set of digits in the repository, and small sets in a temporary folder. */
#ifndef KD_TEST_DATA_COMMON_H
#define KD_TEST_DATA_COMMON_H
#include "tests/files/temp.h"
#include "runtime/data/data.h"

/* Fields "image" u8 [h, w] and "label" u8 below `classes`, IDX. */
typedef struct set { kd_field_source field[2]; kd_split split[2]; kd_dataset data; } set;

static inline void set_make(set *s, const char *image, const char *label, int64_t h, int64_t w, int64_t classes) {
  memset(s, 0, sizeof *s);
  s->field[0] = (kd_field_source){ .name = "image", .format = "idx", .path = image, .type = { .dtype = KD_U8, .rank = 2, .dim = { h, w } } };
  s->field[1] = (kd_field_source){ .name = "label", .format = "idx", .path = label, .type = { .dtype = KD_U8 }, .below = classes };
  s->split[0] = (kd_split){ "train", s->field, 2, 0, -1 };
  s->split[1] = (kd_split){ "test", s->field, 2, 0, -1 };
  s->data = (kd_dataset){ .name = "set", .split = s->split, .nsplit = 1, .batch = 4 };
}

/* Writes images of 2 x 2 bytes (row i holds i % 256 four times) and labels i % 3 as IDX; gz: compressed. */
static inline void set_write(temp *t, const char *image, const char *label, int rows, bool gz) {
  uint8_t *b = malloc((size_t)rows * 4 + 16);
  memcpy(b, (uint8_t[]){ 0, 0, 8, 3, 0, 0, (uint8_t)(rows >> 8), (uint8_t)rows, 0, 0, 0, 2, 0, 0, 0, 2 }, 16);
  for (int i = 0; i < rows; i++) memset(b + 16 + 4 * i, i, 4);
  (gz ? temp_gzip : temp_write)(t, image, b, (size_t)rows * 4 + 16);
  memcpy(b, (uint8_t[]){ 0, 0, 8, 1, 0, 0, (uint8_t)(rows >> 8), (uint8_t)rows }, 8);
  for (int i = 0; i < rows; i++) b[8 + i] = (uint8_t)(i % 3);
  (gz ? temp_gzip : temp_write)(t, label, b, (size_t)rows + 8);
  free(b);
}
#endif
