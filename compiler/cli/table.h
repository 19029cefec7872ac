/* table.h: a kd_table as text and as JSON. */
#ifndef KD_CLI_TABLE_H
#define KD_CLI_TABLE_H
#include "compiler/cli/cli.h"

typedef struct table_view { const char *path; int depth; bool measured, json; } table_view;      /* depth: of layers' names that are told apart */
void table_show(const kd_table *t, const table_view *v);

/* Lines of layers folded at a depth: their number; *out is from malloc, NULL without memory. Names are cut, and so not those of the table. */
typedef struct folded { char *name; kd_line line; } folded;
size_t table_fold(const kd_table *t, size_t program, int depth, folded **out);
void   table_fold_free(folded *f, size_t n);
void   table_json(const kd_table *t, const table_view *v);
#endif
