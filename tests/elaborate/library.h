/* library.h: what the elaborator's tests give it in place of a file system: modules from tests/elaborate/lib, and data sets by name. */
#ifndef KD_TEST_LIBRARY_H
#define KD_TEST_LIBRARY_H
#include "compiler/elaborate/elaborate.h"

/* The whole file in the arena, NUL-terminated; NULL if it cannot be read. */
char *kd_test_read(kd__arena *a, const char *path, size_t *size);
/* Options that load modules from lib/ (ctx: the arena) and describe data: 40 training and 10 test samples; "absent-..." is missing, and so are such files of weights. */
kd_elab_options kd_test_options(kd__arena *a);
/* The same with the modules of stdlib/. */
kd_elab_options kd_test_stdlib(kd__arena *a);
/* All diagnostics of the sink as text, in their final order. */
void kd_test_diagnostics(kd_sink *s, kd__buf *out);
/* Runs `run` on every .txt file of a folder beside this one, in the order of their names; the sum of what it gives (bad cases). */
size_t kd_test_each_file(const char *folder, size_t (*run)(const char *path));
/* KD_UPDATE_GOLDEN=1: writes the file anew and gives true. */
bool kd_test_update(const char *path, const kd__buf *whole);
#endif
