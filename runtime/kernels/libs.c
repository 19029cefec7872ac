/* libs.c: opening OpenBLAS (its OpenMP build, by its own path) and oneDNN at first use, and saying what they are.
 *
 * OpenBLAS picks its kernels when it is opened, by the processor, but lets OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE overrule it. Which kernels a run
 * gets must not hang on its environment: AVX2 ones are half as fast where there is AVX-512, and other kernels end in other bits. So these two
 * entries are hidden for the moment of opening: their places point to a text of another name. Nothing is added, moved or freed, so whoever reads
 * the environment meanwhile, in another thread, finds the rest of it whole, and afterwards it is as it was. The environment has its say only where
 * the library's own choice fails the self-test.
 *
 * The handles are, with the queue in par.c, the only process-wide state of kernels/: set once, never changed. The system's default libblas
 * may be the pthread build, whose second pool of threads would fight with ours: so that one is refused. */
#include "runtime/kernels/libs.h"
#include "runtime/kernels/par.h"
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
/* GCC 12's leak check loses its way in the thread-local memory of libraries that are opened late, and stops the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "intercept_tls_get_addr=0"; }
#endif

static kd__blas_api blas;
static const char *blas_why;                     /* NULL: it is there */
static pthread_once_t blas_once = PTHREAD_ONCE_INIT;

/* ISO C has no conversion from object to function pointers; POSIX promises that the bytes are the same. */
static bool symbol(void *lib, const char *name, void *fn) {
  void *p = dlsym(lib, name);
  memcpy(fn, &p, sizeof p);
  return p != NULL;
}

static void *open_first(const char *const *paths) {
  for (; *paths; paths++) {
    void *lib = **paths ? dlopen(*paths, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (lib) return lib;
  }
  return NULL;
}

/* A product with odd sizes and exact small integers: any kernel that computes right gives the exact answer. */
enum { CHECK_M = 37, CHECK_N = 29, CHECK_K = 43, CHECK_ALL = CHECK_M * CHECK_K + CHECK_K * CHECK_N + CHECK_M * CHECK_N };
typedef struct check { bool dnnl, right; float f[CHECK_ALL]; double d[CHECK_ALL]; } check;

#define FILL_AND(T, v, product) \
  do { \
    T *a = v, *b = a + CHECK_M * CHECK_K, *c = b + CHECK_K * CHECK_N; \
    for (int i = 0; i < CHECK_M * CHECK_K; i++) a[i] = (T)(i * 7 % 13 - 6); \
    for (int i = 0; i < CHECK_K * CHECK_N; i++) b[i] = (T)(i * 5 % 11 - 5); \
    product; \
    for (int i = 0; i < CHECK_M * CHECK_N; i++) { \
      T want = 0; \
      for (int l = 0; l < CHECK_K; l++) want += a[i / CHECK_N * CHECK_K + l] * b[l * CHECK_N + i % CHECK_N]; \
      k->right = k->right && c[i] == want; \
    } \
  } while (0)

static void run_check(void *ctx) {
  check *k = ctx;
  k->right = true;
#ifdef KD__HAVE_DNNL
  if (k->dnnl) {
    FILL_AND(float, k->f, kd__dnnl()->f_dnnl_sgemm('N', 'N', CHECK_M, CHECK_N, CHECK_K, 1, a, CHECK_K, b, CHECK_N, 0, c, CHECK_N));
    return;
  }
#endif
  FILL_AND(float, k->f, blas.sgemm(101, 111, 111, CHECK_M, CHECK_N, CHECK_K, 1, a, CHECK_K, b, CHECK_N, 0, c, CHECK_N));
  FILL_AND(double, k->d, blas.dgemm(101, 111, 111, CHECK_M, CHECK_N, CHECK_K, 1, a, CHECK_K, b, CHECK_N, 0, c, CHECK_N));
}

static bool computes_right(bool with_dnnl) {
  check k = { .dnnl = with_dnnl };
  kd__par_alone(run_check, &k);
  return k.right;
}

/* --- OpenBLAS ----------------------------------------------------------------------------------------------------------------------- */
enum { HIDDEN_MAX = 8 };
typedef struct hidden { char *text, **at[HIDDEN_MAX], *before[HIDDEN_MAX]; int n; } hidden;
static void hide(hidden *h, const char *name) {
  for (char **e = environ; e && *e && h->n < HIDDEN_MAX; e++)
    if (strncmp(*e, name, strlen(name)) == 0) h->at[h->n] = e, h->before[h->n++] = *e, *e = h->text;
}
static void show(const hidden *h) {
  for (int i = 0; i < h->n; i++)
    if (*h->at[i] == h->text) *h->at[i] = h->before[i];
}

static void *open_as(const char *const *paths, bool own_choice) {
  static char text[] = "KDC_HIDES_OPENBLAS=";
  hidden h = { .text = text };
  if (own_choice) hide(&h, "OPENBLAS_CORETYPE="), hide(&h, "OPENBLAS_L2_SIZE=");
  void *lib = open_first(paths);
  show(&h);
  return lib;
}

static const char *find_functions(void *lib) {
  int (*get_parallel)(void);
  if (!symbol(lib, "cblas_sgemm", &blas.sgemm) || !symbol(lib, "cblas_dgemm", &blas.dgemm) || !symbol(lib, "openblas_get_config", &blas.get_config) ||
      !symbol(lib, "openblas_get_corename", &blas.get_corename) || !symbol(lib, "openblas_get_parallel", &get_parallel))
    return "the OpenBLAS library lacks a function";
  if (get_parallel() != 2) return "OpenBLAS is not the OpenMP build (Debian: libopenblas0-openmp); two thread pools would fight for the cores";
  return NULL;
}

static void open_blas(void) {
  static const char *const paths[] = {
    KD__OPENBLAS_PATH,
#ifdef KD__MULTIARCH
    "/usr/lib/" KD__MULTIARCH "/openblas-openmp/libopenblas.so.0",
#endif
    "libopenblaso.so.0", "libopenblas.so.0", NULL };
  for (int turn = 0; turn < 2; turn++) {
    void *lib = open_as(paths, turn == 0);
    if (!lib) { blas_why = "the OpenMP build of OpenBLAS was not found (Debian: libopenblas0-openmp)"; return; }
    blas_why = find_functions(lib);
    if (!blas_why && (turn == 1 || computes_right(false))) return;
    dlclose(lib);
    if (blas_why) return;
  }
}

const kd__blas_api *kd__blas(void) {
  pthread_once(&blas_once, open_blas);
  return blas_why ? NULL : &blas;
}
const char *kd__blas_why(void) { return kd__blas() ? "" : blas_why; }

#ifdef KD__HAVE_DNNL
static kd__dnnl_api dnnl;
static bool dnnl_ok;
static pthread_once_t dnnl_once = PTHREAD_ONCE_INIT;

static void open_dnnl(void) {
  static const char *const paths[] = { "libdnnl.so." KD__DNNL_SOVERSION, KD__DNNL_PATH, NULL };
  void *lib = open_first(paths);
  dnnl_ok = lib != NULL;
#define FIND(name) dnnl_ok = dnnl_ok && symbol(lib, #name, &dnnl.f_##name);
  KD__DNNL_FUNCTIONS(FIND)
#undef FIND
}
const kd__dnnl_api *kd__dnnl(void) {
  pthread_once(&dnnl_once, open_dnnl);
  return dnnl_ok ? &dnnl : NULL;
}
bool kd__dnnl_there(void) { return kd__dnnl() != NULL; }
#else
bool kd__dnnl_there(void) { return false; }
#endif

void kd__kernel_libraries(kd__buf *out) {
  const kd__blas_api *b = kd__blas();
  if (b) {
    char version[32] = "";
    sscanf(b->get_config(), "OpenBLAS %31s", version);
    kd__buf_printf(out, "OpenBLAS %s (%s, openmp)", version, b->get_corename());
  } else {
    kd__buf_printf(out, "no OpenBLAS: %s", kd__blas_why());
  }
#ifdef KD__HAVE_DNNL
  const kd__dnnl_api *d = kd__dnnl();
  if (d) {
    const dnnl_version_t *v = d->f_dnnl_version();
    kd__buf_printf(out, ", oneDNN %d.%d.%d", v->major, v->minor, v->patch);
  }
#endif
}

static bool dnnl_right;
static pthread_once_t dnnl_right_once = PTHREAD_ONCE_INIT;
static void try_dnnl(void) { dnnl_right = kd__dnnl_there() && computes_right(true); }
bool kd__dnnl_multiplies(void) {
  pthread_once(&dnnl_right_once, try_dnnl);
  return dnnl_right;
}

/* oneDNN is tried where it is all there is; else at its first product, and passed over if it is wrong. */
kd_status kd__kernel_check(char *why, size_t n) {
  if (n) why[0] = 0;
  if (!kd__blas() && !kd__dnnl_there()) { snprintf(why, n, "%s", kd__blas_why()); return KD_E_UNAVAILABLE; }
  if (kd__blas() && !computes_right(false)) { snprintf(why, n, "OpenBLAS multiplies wrong on this machine (self-test)"); return KD_E_UNAVAILABLE; }
  if (!kd__blas() && !kd__dnnl_multiplies()) { snprintf(why, n, "oneDNN multiplies wrong on this machine (self-test)"); return KD_E_UNAVAILABLE; }
  return KD_OK;
}
