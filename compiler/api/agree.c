/* agree.c: kd.h spells its types out so that it needs no other header; here the compiler checks that they are the inner ones. */
#include "include/kd.h"

enum {
#define KD_STATUS(id, text) INNER_##id,
#include "runtime/base/status.def"
#undef KD_STATUS
  INNER_COUNT
};
#define KD_STATUS(id, text) _Static_assert((int)INNER_##id == (int)KD_##id, "kd.h: kd_status differs from status.def at " #id);
#include "runtime/base/status.def"
#undef KD_STATUS
_Static_assert((int)INNER_COUNT == (int)KD_E_UNAVAILABLE + 1, "kd.h: kd_status has another number of rows than status.def");
_Static_assert(KD_ERROR == 0 && KD_WARNING == 1 && KD_NOTE == 2, "kd.h: kd_severity as in compiler/front/diag.h");
_Static_assert(offsetof(kd_allocator, resize) == 0 && sizeof(kd_allocator) == 2 * sizeof(void *), "kd.h: kd_allocator as in base.h");
