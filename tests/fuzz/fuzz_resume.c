/* Going on with a run whose folder holds anything: the first byte says which file the rest is put in the place of: the position in the checkpoint,
 * the checkpoint, settings.json, the marker or the log. Without a rest it is the file as the run left it. Whatever is there, kd_resume ends with
 * a status: it refuses the folder, or runs on with what it was given (until an alarm, since a position can have years to go). */
#include "compiler/front/diag.h"
#include "runtime/files/safetensors.h"
#define KD__INSIDE
#include "include/kd.h"
#include "tests/api/toy.h"
#include "tests/fuzz/words.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { POSITION, CHECKPOINT, SETTINGS, MARKER, LOG, KINDS };
static const char *const file[KINDS] = { "checkpoint.safetensors", "checkpoint.safetensors", "settings.json", ".kdc-run", "log.jsonl" };
typedef struct bytes { char *p; size_t n; } bytes;
static bytes left[KINDS];                        /* what the run wrote; of the checkpoint's position its JSON */
static toy where;
static char folder[128];
static kd__safetensors state;
static volatile int stop;

static const char *const set[] = { "mutual.epochs=2", "fit.epochs=3", "distil.epochs=2" };

static void ring(int sig) { (void)sig; stop = 1; }
static char *path_of(int kind) { static char path[256]; snprintf(path, sizeof path, "%s/%s", folder, file[kind]); return path; }

static void put(const char *path, const void *p, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0) abort();
}

static void told(void *ctx, const kd_message *m) { if (getenv("KD_FUZZ_SAY")) fprintf(stderr, "%s", m->text); (void)ctx; }
static kd_session *session(void) {
  const char *data = where.folder;
  kd_config c = { .message = told, .data = &data, .ndata = 1 };
  kd_session *s;
  if (kd_session_new(&c, &s) != KD_OK) abort();
  return s;
}

static bytes get(const char *path) {
  bytes b;
  if (kd__file_read(path, 1 << 24, &b.p, &b.n, NULL, 0) != KD_OK) abort();
  return b;
}

/* Stops in the second of three turns, where written data is read. */
static void event(void *ctx, const kd_event *e) {
  int *epochs = ctx;
  *epochs += e->kind == KD_EVENT_EPOCH && strcmp(e->stage, "fit") == 0;
  stop = *epochs > 3;
}

/* A run that is stopped on its way, and what it left. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  char why[256];
  int epochs = 0;
  (void)argc, (void)argv;
  signal(SIGALRM, ring);
  where = toy_new();
  snprintf(folder, sizeof folder, "%s/run", where.folder);
  kd_compile_options o = { .set = set, .nset = sizeof set / sizeof *set };
  kd_run_options run = { .out = folder, .checkpoint_steps = 1, .event = event, .event_ctx = &epochs, .cancel = &stop };
  kd_session *s = session();
  kd_program *p;
  if (kd_compile_file(s, KD_ROOT "/tests/cli/resume.kd", &o, &p) != KD_OK || kd_run(p, &run) != KD_E_CANCELLED) abort();
  kd_program_free(p);
  kd_session_free(s);
  for (int i = CHECKPOINT; i < KINDS; i++) left[i] = get(path_of(i));
  if (kd__st_parse(left[CHECKPOINT].p, left[CHECKPOINT].n, "checkpoint", &state, why, sizeof why) != KD_OK) abort();
  left[POSITION].p = strdup(kd__st_meta(&state, "position"));
  left[POSITION].n = strlen(left[POSITION].p);
  return 0;
}

/* The checkpoint with another position in it. */
static void put_position(const uint8_t *p, size_t n) {
  char why[256], *text = strndup((const char *)p, n);
  kd__st_item *item = calloc(state.n + 1, sizeof *item);
  kd__st_pair *meta = calloc(state.nmeta + 1, sizeof *meta);
  if (!text || !item || !meta) abort();
  for (size_t i = 0; i < state.n; i++) item[i] = (kd__st_item){ state.tensor[i].name, state.tensor[i].type, state.tensor[i].data };
  for (size_t i = 0; i < state.nmeta; i++) meta[i] = (kd__st_pair){ state.meta[i].key, strcmp(state.meta[i].key, "position") == 0 ? text : state.meta[i].value };
  (void)kd__st_write(path_of(CHECKPOINT), item, state.n, meta, state.nmeta, why, sizeof why);            /* not UTF-8: the old one stays */
  free(text);
  free(item);
  free(meta);
}

size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned int seed) {
  int kind = n ? p[0] % KINDS : (int)(seed % KINDS);
  if (n <= 1) {                                  /* begins with what is there */
    if (left[kind].n + 1 > most) return n;
    memcpy(p + 1, left[kind].p, left[kind].n);
    n = left[kind].n + 1;
  }
  p[0] = (uint8_t)kind;
  return 1 + (seed / 8 % 4 && kind != CHECKPOINT ? kd_words_mutate(p + 1, n - 1, most - 1, NULL, 0, seed) : LLVMFuzzerMutate(p + 1, n - 1, most - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
  if (!n) return 0;
  int kind = p[0] % KINDS;
  for (int i = CHECKPOINT; i < KINDS; i++) put(path_of(i), left[i].p, left[i].n);
  if (n > 1 && kind == POSITION) put_position(p + 1, n - 1);
  else if (n > 1) put(path_of(kind), p + 1, n - 1);
  kd_run_options run = { .cancel = &stop };
  struct itimerval t = { .it_value = { .tv_usec = 200000 } }, none = { 0 };
  kd_session *s = session();
  kd_program *prog;
  stop = 0;
  setitimer(ITIMER_REAL, &t, NULL);
  (void)kd_resume(s, folder, &run, &prog);
  setitimer(ITIMER_REAL, &none, NULL);
  kd_program_free(prog);
  kd_session_free(s);
  return 0;
}
