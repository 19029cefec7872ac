/* json.c: jansson, strictly. */
#include "runtime/files/json.h"
#include <stdlib.h>

kd_status kd__json_parse(const char *text, size_t bytes, const char *name, json_t **out, char *why, size_t n) {
  json_error_t e;
  *out = json_loadb(text ? text : "", bytes, JSON_REJECT_DUPLICATES, &e);
  if (*out) return KD_OK;
  if (json_error_code(&e) == json_error_out_of_memory) return kd__why(why, n, KD_E_MEMORY, "%s: out of memory", name);
  return kd__why(why, n, KD_E_FORMAT, "%s: line %d, column %d: not valid JSON: %s", name, e.line, e.column, e.text);
}

kd_status kd__json_load(const char *path, size_t limit, json_t **out, char *why, size_t n) {
  *out = NULL;
  char *text;
  size_t bytes;
  kd_status s = kd__file_read(path, limit, &text, &bytes, why, n);
  if (s != KD_OK) return s;
  s = kd__json_parse(text, bytes, path, out, why, n);
  free(text);
  return s;
}
