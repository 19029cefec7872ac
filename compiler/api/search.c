/* search.c: where a program's data files are looked for, how many rows they have, and which tensors a file of weights holds. */
#include "compiler/api/api.h"
#include "runtime/data/data.h"
#include <stdlib.h>

/* Folders of the system, after the user's: Debian's dataset-* packages put theirs below the first. */
static const char *const system_folder[] = { "/usr/local/share/datasets", "/usr/share/datasets" };
enum { SYSTEM = sizeof system_folder / sizeof *system_folder };

void kd__data_folders(kd_program *p) {
  const kd_config *c = &p->session->config;
  const char *slash = strrchr(p->path, '/');
  int dir = slash ? (int)(slash - p->path) + 1 : 0;
  const kd__settings *old = p->recorded;
  const char **f = KD_NEWN(&p->arena, const char *, c->ndata + 2 + SYSTEM + (old ? old->nfolder : 0));
  size_t n = 0;
  for (size_t i = 0; i < c->ndata; i++) f[n++] = c->data[i];
  for (size_t i = 0; old && i < old->nfolder; i++) f[n++] = old->folder[i];
  p->folder = f;
  p->nfolder = n;
  if (old) return;
  f[n++] = dir ? kd__arena_printf(&p->arena, "%.*s", dir, p->path) : "./";
  f[n++] = kd__arena_printf(&p->arena, "%.*sdata", dir, p->path);
  for (size_t i = 0; i < SYSTEM; i++) f[n++] = system_folder[i];
  p->nfolder = n;
}

/* Nothing here comes from the arena, so that running out of memory cannot jump past the close. */
bool kd__data_rows(void *ctx, const kd_dataset *d, int64_t *rows, char *why, size_t n) {
  const kd_program *p = ctx;
  kd__search search = { .folder = p->folder, .nfolder = p->nfolder };
  kd_data *data;
  if (kd__data_describe(d, &search, &data, why, n) != KD_OK) return false;
  for (uint32_t i = 0; i < d->nsplit; i++) rows[i] = kd__data_split(data, i)->count;
  kd__data_close(data);
  return true;
}

/* The file stays open in the program while its names go to the arena: what closes it if there is no memory. A run that is gone on with is not
 * given this: it has its weights. */
kd_status kd__weights_header(void *ctx, const char *file, kd_weights *out, char *why, size_t n) {
  kd_program *p = ctx;
  kd__search search = { .folder = p->folder, .nfolder = p->nfolder };
  char *path;
  kd_status s = kd__weights_find(&search, file, &path, why, n);
  if (s != KD_OK) return s;
  s = kd__st_open(path, &p->weights, why, n);
  free(path);
  if (s != KD_OK) return s == KD_E_DATA ? KD_E_FORMAT : s;
  const kd__safetensors *f = &p->weights;
  kd_weight *t = KD_NEWN(&p->arena, kd_weight, f->n + 1);
  for (size_t i = 0; i < f->n; i++)
    t[i] = (kd_weight){ kd__arena_strndup(&p->arena, f->tensor[i].name, strlen(f->tensor[i].name)), kd__arena_strndup(&p->arena, f->tensor[i].stored, strlen(f->tensor[i].stored)), f->tensor[i].type };
  *out = (kd_weights){ t, f->n };
  kd__st_close(&p->weights);
  return KD_OK;
}
