/* loop_memory.c: a loop of a thousand steps trains within the memory that `kdc check` states: anonymous resident memory at its peak, start-up
 * included, is at most what it says, what a run takes that has nothing to compute, and 32 MiB.   usage: loop_memory KDC FILE */
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

static double unit(const char *word) { return word[0] == 'K' ? 1024 : word[0] == 'M' ? mib : word[0] == 'G' ? 1024 * mib : 1; }

/* Bytes that `kdc check` says: kept, and while a step runs. Below 0: it does not. */
static double planned(const char *kdc, const char *file) {
  char command[600], line[600], a[16], b[16];
  double kept, step, all = -1;
  (void)snprintf(command, sizeof command, "'%s' check '%s'", kdc, file);
  FILE *f = popen(command, "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, " memory: %lf %15s kept, %lf %15s while", &kept, a, &step, b) == 4) all = kept * unit(a) + step * unit(b);
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
static double peak(const char *kdc, const char *file, const char *out, const char *turns, const char *width) {
  double most = 0;
  int status = 0;
  pid_t pid = fork();
  if (pid == 0) {
    int none = open("/dev/null", O_RDWR);
    dup2(none, 1);
    execl(kdc, "kdc", "run", "--quiet", "--out", out, "--set", turns, "--set", width, file, (char *)NULL);
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

int main(int argc, char **argv) {
  char dir[] = "/tmp/kd-loop-XXXXXX", small[64], large[64];
  if (argc != 3 || !mkdtemp(dir)) return 2;
  (void)snprintf(small, sizeof small, "%s/small", dir);
  (void)snprintf(large, sizeof large, "%s/large", dir);
  double plan = planned(argv[1], argv[2]);
  double start = peak(argv[1], argv[2], small, "turns=20", "width=2"), whole = peak(argv[1], argv[2], large, "turns=1000", "width=192");
  (void)nftw(dir, drop, 16, FTW_DEPTH | FTW_PHYS);
  printf("planned %.1f MiB, start-up %.1f MiB, at its peak %.1f MiB\n", plan / mib, start / mib, whole / mib);
  if (plan < 0 || start < 0 || whole < 0) return 1;
  if (plan < 64 * mib || whole < plan / 2) { printf("this measures nothing\n"); return 1; }
  return whole <= plan + start + 32 * mib ? 0 : 1;
}
