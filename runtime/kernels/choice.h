/* choice.h: measured choices of kernels: which of those that take a product or a convolution was the fastest on this machine. `kdc tune` measures;
 * the choice of a run is a pure function of the call, the settings and what stands here, and so is a resumed run's. */
#ifndef KD_KERNELS_CHOICE_H
#define KD_KERNELS_CHOICE_H
#include "runtime/kernels/kernel.h"

/* What a choice may depend on: operator, sizes, strides, attributes, settings, and the threads where the bits may depend on them. */
uint64_t kd__call_key(const kd_call *c, const kd_kernel_settings *s);
/* Is there a choice to make for this operator? */
bool kd__call_choosable(const kd_call *c);

kd_choices *kd__choices_new(void);
void        kd__choices_free(kd_choices *c);
size_t      kd__choices_count(const kd_choices *c);
/* A later choice takes the place of an earlier one. `what` is for people. False: there is no such kernel, or no memory. */
bool        kd__choices_set(kd_choices *c, uint64_t key, const char *kernel, const char *what);
/* All of another table. False: no memory. */
bool        kd__choices_add(kd_choices *c, const kd_choices *more);
/* The kernel's name, or NULL. */
const char *kd__choices_get(const kd_choices *c, uint64_t key);

/* Lines of text: of which machine (processor, instruction sets, libraries), the choices in the order of their keys, a hash of it all. */
void        kd__choices_machine(kd__buf *out);
void        kd__choices_write(const kd_choices *c, kd__buf *out);
/* NULL: broken, or of another machine, libraries or version. Whatever the bytes are. */
kd_choices *kd__choices_read(const char *text, size_t n);

/* Seconds that the i-th kernel takes for the call, tried with these settings and a team; 0: there are no more. Operands must be there. */
double      kd__kernel_try(const kd_call *c, const kd_kernel_settings *s, int i, const kd_kernel **which);
#endif
