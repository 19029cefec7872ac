/* toy.c: see toy.h. */
#include "tests/api/toy.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFINITIONS \
  "net lin(x: [B, D], out: int) {\n"                                       \
  "  param W: [O: out, D] = normal(0, 0.3)\n"                              \
  "  param b: [O] = zeros()\n"                                             \
  "  return (dot(x, W, over: D) + b)[O as D]\n"                            \
  "}\n"                                                                    \
  "net two(x: [B, D], hidden: int, out: int) {\n"                          \
  "  transform first = lin(out: hidden)\n"                                 \
  "  transform last = lin(out: out)\n"                                     \
  "  state seen: [] = zeros()\n"                                           \
  "  if training { update seen = seen + 1 }\n"                             \
  "  return last(tanh(first(x)))\n"                                        \
  "}\n"                                                                    \
  "loss ce(z: [B, K], y: int[B]) = -mean(log_softmax(z, over: K)[K: y])\n" \
  "optimizer gd(lr: real) { update param = param - lr * grad }\n"          \
  "metric right(z: [B, K], y: int[B]) {\n"                                 \
  "  state hit: [] = zeros()\n"                                            \
  "  state all: [] = zeros()\n"                                            \
  "  update hit = hit + sum(real(argmax(z, over: K) == y))\n"              \
  "  update all = all + size(B)\n"                                         \
  "  return hit / max(all, 1)\n"                                           \
  "}\n"

const char toy_definitions[] = DEFINITIONS;

const char toy_program[] =
  DEFINITIONS
  "data toy = dataset(batch: 8,\n"
  "  train: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)),\n"
  "  test: (x: idx(\"toy-x\", axes: [D: 6], scale: 1 / 255), y: idx(\"toy-y\", below: 3)))\n"
  "student S = two(hidden: 5, out: 3)\n"
  "let z = S(toy.x)\n"
  "scheme {\n"
  "  stage fit: train S minimizing ce(z, toy.y) on toy for 3 epochs using gd(lr: 0.5)\n"
  "  save S to \"student.safetensors\"\n"
  "}\n"
  "report right(z, toy.y) on toy.test\n";

/* --- data ------------------------------------------------------------------------------------------------------------------------ */
enum { SAMPLES = 48, WIDTH = 6 };

char *toy_path(const toy *t, const char *name) {
  char *p;
  return asprintf(&p, "%s/%s", t->folder, name) < 0 ? NULL : p;
}

static void write_file(const toy *t, const char *name, const unsigned char *head, size_t nhead, const unsigned char *body, size_t nbody) {
  char *path = toy_path(t, name);
  FILE *f = path ? fopen(path, "wb") : NULL;
  if (!f || fwrite(head, 1, nhead, f) != nhead || fwrite(body, 1, nbody, f) != nbody || fclose(f) != 0) abort();
  free(path);
}

toy toy_new(void) {
  toy t;
  strcpy(t.folder, "/tmp/kd-toy-XXXXXX");
  if (!mkdtemp(t.folder)) abort();
  unsigned char x[SAMPLES * WIDTH], y[SAMPLES];
  for (int i = 0; i < SAMPLES; i++) {
    y[i] = (unsigned char)(i * 7 % 3);
    for (int k = 0; k < WIDTH; k++) x[i * WIDTH + k] = (unsigned char)((i * 31 + k * 17) % 90 + (k % 3 == y[i] ? 150 : 0));
  }
  write_file(&t, "toy-x", (const unsigned char[]){ 0, 0, 8, 2, 0, 0, 0, SAMPLES, 0, 0, 0, WIDTH }, 12, x, sizeof x);
  write_file(&t, "toy-y", (const unsigned char[]){ 0, 0, 8, 1, 0, 0, 0, SAMPLES }, 8, y, sizeof y);
  return t;
}

static void remove_tree(const char *path) {
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    char *p;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || asprintf(&p, "%s/%s", path, e->d_name) < 0) continue;
    if (unlink(p) != 0) remove_tree(p);
    free(p);
  }
  if (d) closedir(d);
  rmdir(path);
}

void toy_free(const toy *t) { remove_tree(t->folder); }

/* --- sessions --------------------------------------------------------------------------------------------------------------------- */
static void append(char *to, size_t room, const char *s) {
  size_t n = strlen(to);
  snprintf(to + n, room - n, "%s", s);
}

void hear(void *ctx, const kd_message *m) {
  heard *h = ctx;
  append(h->text, sizeof h->text, m->text);
  append(h->json, sizeof h->json, m->json);
  append(h->json, sizeof h->json, "\n");
  h->errors += m->severity == KD_ERROR;
  h->warnings += m->severity == KD_WARNING;
  h->notes += m->severity == KD_NOTE;
  snprintf(h->code, sizeof h->code, "%s", m->code);
}

kd_session *toy_session(const toy *t, heard *h, const kd_allocator *a) {
  const char *folder = t ? t->folder : NULL;
  kd_config c = { .allocator = a, .message = h ? hear : NULL, .message_ctx = h, .data = &folder, .ndata = t ? 1 : 0 };
  kd_session *s = NULL;
  return kd_session_new(&c, &s) == KD_OK ? s : NULL;
}

/* --- memory ----------------------------------------------------------------------------------------------------------------------- */
static void *count(void *ctx, void *old, size_t old_size, size_t new_size) {
  counting *c = ctx;
  if (new_size && ++c->calls == c->fail_at) return NULL;
  if (!new_size) {
    free(old);
    c->live -= old != NULL;
    c->live_bytes -= (long)old_size;
    return NULL;
  }
  void *p = realloc(old, new_size);
  if (!p) return NULL;
  c->live += old == NULL;
  c->live_bytes += (long)new_size - (long)old_size;
  return p;
}

kd_allocator counting_new(counting *c) { return (kd_allocator){ count, c }; }
