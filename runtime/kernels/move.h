/* move.h: kernels that make, move and order elements: leaves, views as copies, gather and scatter, sorting, random draws. Internal to kernels/. */
#ifndef KD_KERNELS_MOVE_H
#define KD_KERNELS_MOVE_H
#include "runtime/kernels/kernel.h"

/* move.c. A view becomes a copy between two layouts; false where the two shapes of a reshape have no common cut. */
bool kd__view_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__view_run(const kd_call *c, const kd_exec *x);
bool kd__move_takes(const kd_call *c, const kd_kernel_settings *s);            /* const, iota, concat, pad: any call */
void kd__const_run(const kd_call *c, const kd_exec *x);
size_t kd__iota_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__iota_run(const kd_call *c, const kd_exec *x);
void kd__concat_run(const kd_call *c, const kd_exec *x);
void kd__pad_run(const kd_call *c, const kd_exec *x);

/* index.c */
bool kd__index_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__gather_run(const kd_call *c, const kd_exec *x);
void kd__scatter_run(const kd_call *c, const kd_exec *x);

/* rows.c */
bool kd__rows_order_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__rows_order_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__rows_order_run(const kd_call *c, const kd_exec *x);
bool kd__rows_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__rows_dot_run(const kd_call *c, const kd_exec *x);
size_t kd__rows_sum_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__rows_sum_run(const kd_call *c, const kd_exec *x);

/* sort.c */
bool kd__sort_takes(const kd_call *c, const kd_kernel_settings *s);
size_t kd__sort_scratch(const kd_call *c, const kd_kernel_settings *s);
void kd__sort_run(const kd_call *c, const kd_exec *x);

/* draw.c */
bool kd__draw_takes(const kd_call *c, const kd_kernel_settings *s);
void kd__draw_run(const kd_call *c, const kd_exec *x);
#endif
