/* toy.h: what the interface's tests compile and run: small programs that need no library, on data that is made here. */
#ifndef KD_TEST_TOY_H
#define KD_TEST_TOY_H
#include "include/kd.h"

/* 48 samples of 6 bytes and their labels 0..2, as IDX files in a new folder. */
typedef struct toy { char folder[64]; } toy;
toy  toy_new(void);
void toy_free(const toy *t);
char *toy_path(const toy *t, const char *name);  /* FOLDER/NAME, from malloc */

/* A program that trains for three epochs and reports an accuracy. */
extern const char toy_program[];
/* Definitions alone. */
extern const char toy_definitions[];
/* What a session told: texts and JSON objects one after the other. */
typedef struct heard { char text[8192]; char json[8192]; int errors, warnings, notes; char code[16]; } heard;
void hear(void *ctx, const kd_message *m);
kd_session *toy_session(const toy *t, heard *h, const kd_allocator *a);
/* An allocator that counts, and fails at the n-th allocation (0: never). */
typedef struct counting { long live_bytes, live, calls, fail_at; } counting;
kd_allocator counting_new(counting *c);
#endif
