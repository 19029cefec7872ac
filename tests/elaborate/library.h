/* library.h: what the elaborator's tests give it in place of a file system: modules from tests/elaborate/lib, and data sets by name. */
#ifndef KD_TEST_LIBRARY_H
#define KD_TEST_LIBRARY_H
#include "compiler/elaborate/elaborate.h"

/* The whole file in the arena, NUL-terminated; NULL if it cannot be read. */
char *kd_test_read(kd__arena *a, const char *path, size_t *size);
/* Options that load modules from lib/ (ctx: the arena) and describe data: 40 training and 10 test samples; "absent-..." is missing. */
kd_elab_options kd_test_options(kd__arena *a);
/* All diagnostics of the sink as text, in their final order. */
void kd_test_diagnostics(kd_sink *s, kd__buf *out);
#endif
