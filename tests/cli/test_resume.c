/* test_resume.c: real runs killed at random moments (SIGKILL) and resumed end in the same files, bit by bit, and in the same log, as one that was
 * never killed.   usage: test_resume KDC PROGRAM [SEED]
 *
 * A moment is a number of file events in the run folder (as inotify tells them) and a pause after the last of them: so the moments spread over the
 * whole of a run, however fast the machine is: its beginning, checkpoints half-written, evaluations, weights at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <jansson.h>
#include <cmocka.h>
#include "tests/api/toy.h"

static const char *kdc, *program;
static uint64_t seed;
static toy here;                                 /* data and all run folders */
static long events;                              /* of a whole run */

enum { KILLS = 20 };
static uint64_t drawn;
static uint64_t draw(uint64_t below) {           /* the n-th number of this seed */
  uint64_t x = seed + ++drawn * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return (x ^ x >> 31) % below;
}

static char *in(const char *folder, const char *name) {
  static char path[4][512];
  static int turn;
  char *p = path[turn++ % 4];
  snprintf(p, sizeof path[0], "%s/%s%s%s", here.folder, folder, *name ? "/" : "", name);
  return p;
}

static bool exists(const char *folder, const char *name) { return access(in(folder, name), F_OK) == 0; }

static char *text_of(const char *path, size_t *n) {
  struct stat st;
  FILE *f = fopen(path, "rb");
  if (!f || fstat(fileno(f), &st) != 0) fail_msg("cannot read %s", path);
  char *text = malloc((size_t)st.st_size + 1);
  assert_non_null(text);
  *n = fread(text, 1, (size_t)st.st_size, f);
  text[*n] = 0;
  fclose(f);
  return text;
}

/* --- running and killing ------------------------------------------------------------------------------------------------------------ */
static pid_t begin(const char *const *arg) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid) return pid;
  char *argv[16] = { (char *)(uintptr_t)"kdc", (char *)(uintptr_t)"run", (char *)(uintptr_t)"--quiet" };
  for (int i = 0; i < 12 && arg[i]; i++) argv[i + 3] = (char *)(uintptr_t)arg[i];
  int fd = open(in("said", ""), O_CREAT | O_TRUNC | O_WRONLY, 0666);
  if (chdir("/") != 0) _exit(99);                /* whatever is relative is relative to the run's own folder */
  unsetenv("KD_DATA");
  setenv("XDG_CACHE_HOME", here.folder, 1);
  dup2(fd, 1);
  dup2(fd, 2);
  execv(kdc, argv);
  _exit(98);
}

static int wait_for(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static const char *said(void) {
  static char text[4096];
  size_t n;
  char *all = text_of(in("said", ""), &n);
  snprintf(text, sizeof text, "%s", all);
  free(all);
  return text;
}

/* When to kill: after so many events (0: never), or at the n-th event about a file whose name begins so; and then a pause. */
typedef struct moment { long event; const char *file; long pause_us; } moment;

/* The exit code, or 1009 when it was killed. *seen: events until then. */
static int watch(const char *folder, const char *const *arg, const moment *m, long *seen) {
  char room[8192] __attribute__((aligned(8)));
  mkdir(in(folder, ""), 0777);
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  assert_true(fd >= 0 && inotify_add_watch(fd, in(folder, ""), IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE) >= 0);
  pid_t pid = begin(arg);
  long n = 0, hits = 0;
  bool killed = false;
  for (siginfo_t info = { 0 }; !info.si_pid;) {
    struct pollfd p = { .fd = fd, .events = POLLIN };
    poll(&p, 1, 1);
    ssize_t got = read(fd, room, sizeof room);
    for (char *at = room; got > 0 && at < room + got;) {
      const struct inotify_event *e = (const void *)at;
      at += sizeof *e + e->len;
      n++;
      hits += !m->file || (e->len && strncmp(e->name, m->file, strlen(m->file)) == 0);
    }
    if (!killed && m->event && hits >= m->event) {
      if (m->pause_us) nanosleep(&(struct timespec){ .tv_nsec = m->pause_us * 1000 }, NULL);
      killed = kill(pid, SIGKILL) == 0;
    }
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
  }
  close(fd);
  if (seen) *seen = n;
  return wait_for(pid);
}

/* --- comparing ------------------------------------------------------------------------------------------------------------------------- */
/* A log without times and without what says that it was resumed: the same lines in the same order. */
static json_t *log_of(const char *folder) {
  size_t n;
  char *text = text_of(in(folder, "log.jsonl"), &n);
  json_t *list = json_array();
  for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
    json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL);
    if (!o) fail_msg("%s/log.jsonl: not JSON: %.*s", folder, (int)(end - line), line);
    json_object_del(o, "seconds");
    json_object_del(o, "time");
    json_object_del(o, "samples_per_second");
    if (strcmp(json_string_value(json_object_get(o, "event")), "resume") != 0) json_array_append(list, o);
    json_decref(o);
  }
  free(text);
  return list;
}

static int count_files(const char *folder) {
  int n = 0;
  DIR *d = opendir(in(folder, ""));
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  closedir(d);
  return n;
}

static void same_end(const char *folder) {
  DIR *d = opendir(in("whole", ""));
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (strcmp(e->d_name, "log.jsonl") == 0 || e->d_name[0] == '.' || e->d_type == DT_DIR) continue;
    size_t n, m;
    char *a = text_of(in("whole", e->d_name), &n), *b = text_of(in(folder, e->d_name), &m);
    if (n != m || memcmp(a, b, n) != 0) fail_msg("%s/%s is not what it is in a run that was never killed", folder, e->d_name);
    free(a);
    free(b);
  }
  closedir(d);
  json_t *a = log_of("whole"), *b = log_of(folder);
  if (!json_equal(a, b)) fail_msg("the log of %s has other lines:\n%s", folder, json_dumps(b, JSON_INDENT(1)));
  json_decref(a);
  json_decref(b);
  assert_int_equal(count_files(folder), count_files("whole"));         /* and nothing half-written */
}

/* --- one kill ---------------------------------------------------------------------------------------------------------------------------- */
typedef struct tally { int anew, before_settings, part, weights, ended, twice; } tally;

static bool part_left(const char *folder, const char *of) {
  bool any = false;
  DIR *d = opendir(in(folder, ""));
  for (struct dirent *e; d && (e = readdir(d));) any = any || (strncmp(e->d_name, of, strlen(of)) == 0 && strstr(e->d_name, ".part"));
  if (d) closedir(d);
  return any;
}

static void look(const char *folder, tally *t) {
  t->anew += exists(folder, "settings.json") && !exists(folder, "checkpoint.safetensors");
  t->part += part_left(folder, ".checkpoint");
  t->weights += exists(folder, "S.safetensors") || part_left(folder, ".S.safetensors");
}

static const char *const *fresh(const char *folder) {
  static char out[600], name[600];
  static const char *arg[] = { "--seed=11", "--threads=2", "--checkpoint=0", "--checkpoint-steps=40", out, name, NULL };
  snprintf(out, sizeof out, "--out=%s", in(folder, ""));
  snprintf(name, sizeof name, "%s", in("resume.kd", ""));
  return arg;
}

static const char *const *again(const char *folder) {
  static char dir[600];
  static const char *arg[] = { "--resume", dir, NULL };
  snprintf(dir, sizeof dir, "%s", in(folder, ""));
  return arg;
}

/* Killed, perhaps a second time, then to the end. */
static void kill_and_resume(const char *folder, moment m, tally *t) {
  int code = watch(folder, fresh(folder), &m, NULL);
  print_message("%s: event %ld%s%s, %ld us later: %s\n", folder, m.event, m.file ? " of " : "", m.file ? m.file : "", m.pause_us, code == 1009 ? "killed" : "had ended");
  if (code == 1009) look(folder, t);
  else assert_int_equal(code, 0);
  moment second = { .event = draw(3) == 0 ? 1 + (long)draw((uint64_t)events) : 0, .pause_us = (long)draw(3000) };
  code = watch(folder, again(folder), &second, NULL);
  if (code == 1009) {
    t->twice++;
    look(folder, t);
    code = watch(folder, again(folder), &(moment){ 0 }, NULL);
  }
  if (code == 3 && strstr(said(), "before its settings were written")) {
    t->before_settings++;
    code = watch(folder, fresh(folder), &(moment){ 0 }, NULL);
  } else if (code == 2 && strstr(said(), "the run has ended")) {
    t->ended++;
    unlink(in(folder, "checkpoint.safetensors"));/* killed between its last line and this */
    code = 0;
  }
  if (code != 0) fail_msg("exit code %d: %s", code, said());
  same_end(folder);
}

static void killed_at_random(void **state) {
  tally t = { 0 };
  char folder[32];
  (void)state;
  assert_int_equal(watch("whole", fresh("whole"), &(moment){ 0 }, &events), 0);
  print_message("a whole run: %ld events; seed %llu\n", events, (unsigned long long)seed);
  assert_true(events > 100);
  assert_true(exists("whole", "kernels.txt"));
  same_end("whole");
  for (int i = 0; i < KILLS; i++) {
    snprintf(folder, sizeof folder, "r%d", i);
    kill_and_resume(folder, (moment){ .event = 1 + (long)draw((uint64_t)events), .pause_us = draw(2) ? (long)draw(3000) : 0 }, &t);
  }
  print_message("killed twice %d, without a checkpoint %d, with one half-written %d, with weights at the end %d, after the end %d\n", t.twice, t.anew, t.part, t.weights, t.ended);
}

/* A kill comes a little after its event, so where one must hit it is tried until it does. */
static void killed_where_it_hurts(void **state) {
  tally t = { 0 };
  char folder[32];
  (void)state;
  for (int i = 0; i < 40 && (t.anew < 1 || t.part < 2 || t.weights < 1); i++) {
    bool part = t.part < 2, anew = !part && t.anew < 1;
    snprintf(folder, sizeof folder, "w%d", i);
    kill_and_resume(folder, (moment){ .event = part ? 1 + 8 * i : 1, .file = part ? ".checkpoint" : anew ? "settings" : ".S.safetensors" }, &t);
  }
  assert_true(t.anew >= 1);
  assert_true(t.part >= 2);
  assert_true(t.weights >= 1);
}

/* --- set-up --------------------------------------------------------------------------------------------------------------------------------- */
static int set_up(void **state) {
  size_t n;
  (void)state;
  here = toy_new();
  char *text = text_of(program, &n);
  FILE *f = fopen(in("resume.kd", ""), "wb");
  bool ok = f && fwrite(text, 1, n, f) == n;
  free(text);
  if (!f || fclose(f) != 0 || !ok) return -1;
  /* With measured kernels, which the run folders then hold. */
  char command[1200];
  setenv("XDG_CACHE_HOME", here.folder, 1);
  snprintf(command, sizeof command, "'%s' tune --quiet --threads=2 '%s'", kdc, in("resume.kd", ""));
  return system(command) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  toy_free(&here);
  return 0;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(killed_at_random), cmocka_unit_test(killed_where_it_hurts) };
  if (argc < 3) return 2;
  kdc = realpath(argv[1], NULL);
  program = argv[2];
  seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
  return kdc ? cmocka_run_group_tests(tests, set_up, tear_down) : 2;
}
