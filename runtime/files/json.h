/* json.h: strict reading of JSON through jansson: duplicate keys, trailing text, invalid UTF-8 and deep nesting are errors.
 * The tree is jansson's (json_object_get, json_integer_value ...; release with json_decref); objects keep the file's order.
 * For writing there are json_dumps and kd__buf_json. */
#ifndef KD_JSON_H
#define KD_JSON_H
#include <jansson.h>
#include "runtime/files/file.h"

/* `name` is for messages, which give line and column. The text is an object or an array. KD_E_FORMAT if it is not. */
kd_status kd__json_parse(const char *text, size_t bytes, const char *name, json_t **out, char *why, size_t n);
/* A whole file of at most `limit` bytes. KD_E_IO if it cannot be read. */
kd_status kd__json_load(const char *path, size_t limit, json_t **out, char *why, size_t n);
#endif
