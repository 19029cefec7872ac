/* memory.c: programs keep to the memory that `kdc cost` says: anonymous resident memory at its peak, start-up included, is at most what it says, what a
 * run takes that has nothing to compute, and 32 MiB; and of large programs at least 0.7 of that. `kdc check` says no more than `kdc cost`.
 *   usage: memory KDC FOLDER */
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double mib = 1024 * 1024;
enum { SETTINGS = 2 };
typedef struct trial { const char *file, *set[SETTINGS]; bool large; } trial;
static const trial trials[] = {
  { "long_loop.kd", { "turns=1000", "width=192" }, true },
  { "long_loop.kd", { "turns=100", "width=64" }, false },
  { "maps.kd", { "batch=32" }, true },
  { "maps.kd", { "batch=128" }, true },
};
static const trial nothing = { "long_loop.kd", { "turns=20", "width=2" }, false };

static double unit(const char *word) { return word[0] == 'K' ? 1024 : word[0] == 'M' ? mib : word[0] == 'G' ? 1024 * mib : 1; }

/* The first number of a line of `kdc COMMAND` that begins so, and the second one if it has two; below 0: there is none. */
static double said(const char *kdc, const char *command, const char *path, const trial *t, const char *begin) {
  char line[600], a[16], b[16];
  double one, two, all = -1;
  int n = snprintf(line, sizeof line, "'%s' %s", kdc, command);
  for (int i = 0; i < SETTINGS && t->set[i]; i++) n += snprintf(line + n, sizeof line - (size_t)n, " --set %s", t->set[i]);
  (void)snprintf(line + n, sizeof line - (size_t)n, " '%s'", path);
  FILE *f = popen(line, "r");
  while (f && fgets(line, sizeof line, f)) {
    const char *at = strstr(line, begin);
    if (!at) continue;
    int found = sscanf(at + strlen(begin), " %lf %15s kept, %lf %15s while", &one, a, &two, b);
    if (found >= 2) all = one * unit(a) + (found == 4 ? two * unit(b) : 0);
  }
  return f && pclose(f) == 0 ? all : -1;
}

static double anonymous(pid_t pid) {
  char path[64], line[256];
  double kib = 0;
  (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "RssAnon: %lf", &kib) == 1) break;
  if (f) fclose(f);
  return kib * 1024;
}

/* The most anonymous memory that a run has resident, looked at every half a millisecond; below 0: it failed. */
static double peak(const char *kdc, const char *path, const trial *t, const char *out) {
  double most = 0;
  int status = 0;
  pid_t pid = fork();
  if (pid == 0) {
    const char *arg[16] = { "kdc", "run", "--quiet", "--out", out };
    int n = 5, none = open("/dev/null", O_RDWR);
    for (int i = 0; i < SETTINGS && t->set[i]; i++) arg[n++] = "--set", arg[n++] = t->set[i];
    arg[n] = path;
    dup2(none, 1);
    execv(kdc, (char *const *)(void *)arg);
    _exit(98);
  }
  while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
    double now = anonymous(pid);
    if (now > most) most = now;
    nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
  }
  return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? most : -1;
}

static int drop(const char *path, const struct stat *s, int flag, struct FTW *w) {
  (void)s, (void)flag, (void)w;
  return remove(path);
}

static bool holds(const char *kdc, const char *folder, const char *dir, const trial *t, double start) {
  char path[500], out[64];
  (void)snprintf(path, sizeof path, "%s/%s", folder, t->file);
  (void)snprintf(out, sizeof out, "%s/run", dir);
  double cost = said(kdc, "cost", path, t, "memory:"), check = said(kdc, "check", path, t, "memory:"), whole = peak(kdc, path, t, out);
  double most = cost + start + 32 * mib;
  printf("%s %s: check says %.1f MiB, cost %.1f MiB, start-up %.1f MiB, at its peak %.1f MiB\n", t->file, t->set[0], check / mib, cost / mib, start / mib, whole / mib);
  if (cost < 0 || check < 0 || whole < 0 || (t->large && cost < 80 * mib)) return false;
  return check <= cost && whole <= most && (!t->large || whole >= 0.7 * most);
}

int main(int argc, char **argv) {
  char dir[] = "/tmp/kd-memory-XXXXXX", path[500], out[64];
  if (argc != 3 || !mkdtemp(dir)) return 2;
  setenv("XDG_CACHE_HOME", dir, 1);
  (void)snprintf(path, sizeof path, "%s/%s", argv[2], nothing.file);
  (void)snprintf(out, sizeof out, "%s/start", dir);
  double start = peak(argv[1], path, &nothing, out);
  bool good = start > 0;
  for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) good = holds(argv[1], argv[2], dir, &trials[i], start) && good;
  (void)nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
  return good ? 0 : 1;
}
