/* group_list.h: groups as they come from training. */
#ifndef KD_TEST_GROUP_LIST_H
#define KD_TEST_GROUP_LIST_H
#include "tests/kernels/group_build.h"

/* Makes group number i; NULL: there are no more. */
const char *t_group_listed(uint32_t i, t_group *o);
#endif
